//! Marks up to which a provider caches, deep within a value that is read as a whole: the contents of a document, or a block
//! of a kind that is not known. Their provider reads them wherever they stand, and the longer time costs more.

use serde_json::Value;

use super::openai::reading::read_mark;
use crate::inference::{CacheMark, CacheTtl, Unread};

/// The names of marks.
pub(super) const NAMES: [&str; 2] = ["cache_control", "prompt_cache_breakpoint"];

/// The longest of the marks within a value at this place. A time that is not known is noted as unread.
pub(super) fn within(json: &str, at: &str, unread: &mut Vec<Unread>) -> Option<CacheMark> {
    // A name may be written with escapes.
    if !json.contains('\\') && !NAMES.iter().any(|name| json.contains(name)) {
        return None;
    }
    let mut longest = None;
    match serde_json::from_str(json) {
        Ok(value) => walk(&value, at, &mut longest, unread),
        // Another reader may find marks in it.
        Err(_) => longest = Some(CacheMark { ttl: Some(CacheTtl::Hour1) }),
    }
    longest
}

fn walk(value: &Value, at: &str, longest: &mut Option<CacheMark>, unread: &mut Vec<Unread>) {
    match value {
        Value::Array(list) => {
            for (place, entry) in list.iter().enumerate() {
                walk(entry, &format!("{at}[{place}]"), longest, unread);
            }
        }
        Value::Object(members) => {
            for (name, member) in members.iter().filter(|(_, member)| !member.is_null()) {
                let at = format!("{at}.{name}");
                if NAMES.contains(&&**name) {
                    *longest = CacheMark::longer(*longest, read_mark(&member.to_string(), &at, unread));
                } else {
                    walk(member, &at, longest, unread);
                }
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_mark_counts_however_deep_it_stands() {
        let of = |json: &str| {
            let mut unread = Vec::new();
            (within(json, "at", &mut unread), unread.into_iter().map(|unread| unread.at).collect::<Vec<_>>())
        };
        let mark = |ttl| Some(CacheMark { ttl: Some(ttl) });
        let none = Vec::<String>::new();
        assert_eq!(of(r#"{"a":[{"text":"cache"}]}"#), (None, none.clone()));
        assert_eq!(of(r#"[{"cache_control":{"ttl":"5m"}}]"#), (mark(CacheTtl::Minutes5), none.clone()));
        let both = r#"{"a":[{"cache_control":{"ttl":"1h"}},{"cache_control":{"ttl":"5m"}}]}"#;
        assert_eq!(of(both), (mark(CacheTtl::Hour1), none.clone()));
        assert_eq!(of(r#"{"cache\u005fcontrol":{"ttl":"1h"}}"#), (mark(CacheTtl::Hour1), none.clone()));
        assert_eq!(of(r#"[{"prompt_cache_breakpoint":{"ttl":"12h"}}]"#), (mark(CacheTtl::Hours12), none.clone()));
        assert_eq!(of(r#"{"text":"\ud800","cache_control":{"ttl":"1h"}}"#), (mark(CacheTtl::Hour1), none));
        let odd = of(r#"{"a":[0,{"cache_control":{"ttl":"9h"}}]}"#);
        assert_eq!(odd, (Some(CacheMark { ttl: None }), vec!["at.a[1].cache_control.ttl".to_owned()]));
    }
}
