//! Secrets in a provider's texts: keys, whole or abbreviated (`sk-...abcd`), and the names of organisations and
//! projects. They are removed from every text that reaches tenants or logs. Pure.

use std::borrow::Cow;

/// The replacement of a secret.
pub(super) const HIDDEN: &str = "[hidden]";
/// The prefixes of secrets and ids, and the least number of characters after each.
const PREFIXES: [(&str, usize); 12] = [
    ("sk-", 3),
    ("sk_", 3),
    ("rk-", 3),
    ("rk_", 3),
    ("gsk_", 3),
    ("xai-", 6),
    ("AIza", 6),
    ("sess-", 6),
    ("org-", 1),
    ("org_", 1),
    ("proj_", 1),
    ("proj-", 1),
];
/// Words that have a prefix and are no secrets.
const WORDS: [&str; 3] = ["org-wide", "org-level", "org-owned"];
/// Keys of this length or more are found inside words; a shorter key may be an ordinary word.
const LONG_KEY: usize = 8;
/// The least characters of a key's end that count as an abbreviation, where the key is long enough to be recognized by
/// them.
const SHORTEST_END: usize = 4;
const RANDOM_KEY: usize = 20;

/// Removes the secrets of a text. `keys` are the keys in use.
pub(super) fn hide<'a>(text: &'a str, keys: &[&str]) -> Cow<'a, str> {
    let mut text = Cow::Borrowed(text);
    for key in keys.iter().filter(|key| key.len() >= LONG_KEY) {
        if text.contains(key) {
            text = text.replace(key, HIDDEN).into();
        }
    }
    for key in keys.iter().filter(|key| key.len() >= LONG_KEY) {
        if let Some(shown) = without_cut_key(&text, key) {
            text = shown.into();
        }
    }
    let is_inside = |c: char| c.is_alphanumeric() || "-_*.\u{2026}\u{2022}".contains(c);
    let mut shown = String::with_capacity(text.len());
    let mut left: &str = &text;
    while let Some(start) = left.find(is_inside) {
        let (before, rest) = left.split_at(start);
        let end = rest.find(|c| !is_inside(c)).unwrap_or(rest.len());
        let (word, after) = rest.split_at(end);
        shown.push_str(before);
        let bare = word.trim_end_matches('.');
        if is_secret(bare, keys) {
            shown.push_str(HIDDEN);
            shown.push_str(&word[bare.len()..]);
        } else {
            shown.push_str(word);
        }
        left = after;
    }
    shown.push_str(left);
    if shown == *text { text } else { shown.into() }
}

/// The text without a key's beginning at its end: texts that are too long are cut, even within a key.
fn without_cut_key(text: &str, key: &str) -> Option<String> {
    let bare = text.trim_end_matches(['.', '\u{2026}']);
    let mut starts = (SHORTEST_END..key.len()).rev().filter_map(|length| key.get(..length));
    let start = starts.find(|start| bare.ends_with(start))?;
    Some([&bare[..bare.len() - start.len()], HIDDEN].concat())
}

fn is_secret(word: &str, keys: &[&str]) -> bool {
    let has_prefix = PREFIXES.iter().any(|(prefix, least)| {
        // Also after dots or stars.
        let word = word.trim_start_matches(['.', '*']);
        word.strip_prefix(prefix).is_some_and(|rest| rest.len() >= *least) && !WORDS.contains(&word)
    });
    has_prefix || keys.iter().any(|key| tells(word, key))
}

/// Whether a word is a key, or a provider's abbreviation of it: a beginning and an end, with stars or dots between.
fn tells(word: &str, key: &str) -> bool {
    if word == key {
        return true;
    }
    let is_masked = ["**", "..", "\u{2026}", "\u{2022}"].iter().any(|mask| word.contains(mask));
    if is_masked {
        let mask = ['*', '.', '\u{2026}', '\u{2022}'];
        let start = word.find(mask).map_or("", |at| &word[..at]);
        let end = word.rfind(mask).map_or("", |at| word[at..].trim_start_matches(mask));
        return (start.len() >= 2 && key.starts_with(start)) || (end.len() >= 3 && key.ends_with(end));
    }
    key.len() >= RANDOM_KEY && word.len() >= SHORTEST_END && key.ends_with(word)
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "sk-proj-AbCdEf0123456789wxyz";

    #[test]
    fn keys_and_ids_are_cut_out_however_they_are_repeated() {
        for (said, shown) in [
            (format!("Incorrect API key provided: {KEY}."), "Incorrect API key provided: [hidden]."),
            (format!("(key={KEY})"), "(key=[hidden])"),
            (format!("x{KEY}y"), "x[hidden]y"),
            ("provided: sk-proj-****************wxyz. You".into(), "provided: [hidden]. You"),
            ("provided: sk-...wxyz".into(), "provided: [hidden]"),
            ("provided: 'sk-pr…xyz'".into(), "provided: '[hidden]'"),
            ("the key ending in ...wxyz is".into(), "the key ending in [hidden] is"),
            ("the key ending in wxyz is".into(), "the key ending in [hidden] is"),
            ("other sk-live0123 too".into(), "other [hidden] too"),
            ("in organization org-aB3dE on tokens".into(), "in organization [hidden] on tokens"),
            ("Project `proj_x1` does not".into(), "Project `[hidden]` does not"),
            ("AIzaSyA-123456".into(), "[hidden]"),
            (
                "a task-force is org-wide, and wait... it asks sk-".into(),
                "a task-force is org-wide, and wait... it asks sk-",
            ),
            ("é … ünïcode ** ...".into(), "é … ünïcode ** ..."),
            (format!("cut within: {}", &KEY[..17]), "cut within: [hidden]"),
        ] {
            assert_eq!(hide(&said, &[KEY]), shown);
        }
    }

    #[test]
    fn a_short_key_is_a_word_of_its_own() {
        assert_eq!(hide("no task with key sk here", &["sk"]), "no task with key [hidden] here");
        assert_eq!(hide("Incorrect: topsecret!", &["topsecret"]), "Incorrect: [hidden]!");
        assert_eq!(hide("Incorrect: top***ret", &["topsecret"]), "Incorrect: [hidden]");
        assert!(matches!(hide("nothing to hide", &["topsecret"]), Cow::Borrowed(_)));
    }
}
