//! The members of a JSON object as slices of its text, without a copy: for objects that are read once, such as a message or
//! a chunk. Where a name comes twice the last value counts.

use std::{borrow::Cow, fmt};

use serde::{
    Deserialize, Deserializer,
    de::{Error as _, MapAccess, Visitor},
    ser::SerializeMap,
};
use serde_json::value::RawValue;

use super::{MOST_FIELDS, hint::Hint};

/// An object's names, in their quotes, and its values, all as slices of a text.
#[derive(Debug, Default)]
pub(crate) struct Pairs<'a> {
    list: Vec<(&'a RawValue, &'a RawValue)>,
    hint: Hint,
    /// Whether a name may come twice.
    may_have_twins: bool,
    /// Whether a name has escapes. Few names do; all others are compared in place.
    has_escapes: bool,
}

impl<'a> Pairs<'a> {
    /// The pairs of a text; `None` where the text is no object.
    pub(crate) fn of(text: &'a str) -> Option<Self> {
        serde_json::from_str(text).ok()
    }

    /// A field's text. Where a name comes twice the last value counts.
    #[inline]
    pub(crate) fn get(&self, name: &str) -> Option<&'a str> {
        self.value(name).map(RawValue::get)
    }

    #[inline]
    fn value(&self, name: &str) -> Option<&'a RawValue> {
        if self.hint.may_have(name) { self.searched(name) } else { None }
    }

    fn searched(&self, name: &str) -> Option<&'a RawValue> {
        self.list.iter().rev().find(|(quoted, _)| self.is(quoted.get(), name)).map(|(_, value)| *value)
    }

    fn is(&self, quoted: &str, name: &str) -> bool {
        if self.has_escapes {
            return unquoted(quoted) == name;
        }
        quoted.len() == name.len() + 2 && quoted.as_bytes().get(1..=name.len()) == Some(name.as_bytes())
    }

    /// One of the names, without its quotes.
    pub(super) fn unquoted(&self, quoted: &'a str) -> Cow<'a, str> {
        match quoted.get(1..quoted.len() - 1) {
            Some(plain) if !self.has_escapes => Cow::Borrowed(plain),
            _ => unquoted(quoted),
        }
    }

    /// The names, in their quotes, and the values, as they stand in the text.
    pub(super) fn quoted(&self) -> impl Iterator<Item = (&'a str, &'a str)> {
        self.list.iter().map(|(quoted, value)| (quoted.get(), value.get()))
    }

    /// The number of pairs.
    pub(crate) fn len(&self) -> usize {
        self.list.len()
    }

    /// Each name with its value's text, in their order. Of a name that comes twice: the last value, at the first place.
    pub(crate) fn each(&self) -> impl Iterator<Item = (Cow<'a, str>, &'a str)> {
        self.unique().map(|(name, value)| (name, value.get()))
    }

    fn unique(&self) -> impl Iterator<Item = (Cow<'a, str>, &'a RawValue)> {
        self.list.iter().enumerate().filter_map(|(place, (quoted, value))| {
            let (name, all) = (self.unquoted(quoted.get()), &self.list);
            if !self.may_have_twins {
                return Some((name, *value));
            }
            let is_again = all[..place].iter().any(|(before, _)| self.is(before.get(), &name));
            let last = all[place + 1..].iter().rev().find(|(after, _)| self.is(after.get(), &name));
            (!is_again).then(|| (name, last.map_or(*value, |(_, value)| *value)))
        })
    }

    /// Writes the fields except one into a map, each name once.
    pub(crate) fn write_but<M: SerializeMap>(&self, but: &str, map: &mut M) -> Result<(), M::Error> {
        self.unique().filter(|(name, _)| name != but).try_for_each(|(name, value)| map.serialize_entry(&*name, value))
    }
}

/// A name without its quotes.
fn unquoted(quoted: &str) -> Cow<'_, str> {
    text_of(quoted).unwrap_or_default()
}

/// The text of a JSON value that is a string; `None` where it is something else, or no text. The value was read from
/// JSON already, so that what stands between quotes without a backslash is the text itself.
pub(crate) fn text_of(json: &str) -> Option<Cow<'_, str>> {
    let within = json.strip_prefix('"')?.strip_suffix('"')?;
    if within.contains('\\') { serde_json::from_str(json).ok().map(Cow::Owned) } else { Some(Cow::Borrowed(within)) }
}

impl<'de> Deserialize<'de> for Pairs<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Object;

        impl<'de> Visitor<'de> for Object {
            type Value = Pairs<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a JSON object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Pairs<'de>, A::Error> {
                let mut read = Pairs { list: Vec::with_capacity(8), ..Pairs::default() };
                while let Some((name, value)) = map.next_entry::<&RawValue, &RawValue>()? {
                    if read.list.len() >= MOST_FIELDS {
                        return Err(A::Error::custom(format!("an object of more than {MOST_FIELDS} fields")));
                    }
                    let plain = unquoted(name.get());
                    read.has_escapes |= matches!(plain, Cow::Owned(_));
                    read.may_have_twins |= read.hint.note(&plain);
                    read.list.push((name, value));
                }
                Ok(read)
            }
        }

        deserializer.deserialize_map(Object)
    }
}

#[cfg(test)]
mod tests {
    use proptest::{collection, prelude::*};
    use serde::Serialize;

    use super::*;
    use crate::fields::Fields;

    /// Serializes [`Pairs`] without one name.
    struct But<'a>(Pairs<'a>, &'a str);

    impl Serialize for But<'_> {
        fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            let mut map = serializer.serialize_map(None)?;
            self.0.write_but(self.1, &mut map)?;
            map.end()
        }
    }

    #[test]
    fn pairs_are_read_and_written_as_fields_are() {
        for text in [
            "{}",
            r#"{"a":1.50,"b":{"x" : [1e2]},"c":null}"#,
            r#"{"a":1,"b":2,"a":3,"cost":4,"c":5}"#,
            r#"{"\u0061":1,"a":2,"b\"":3,"b\"":4,"":5}"#,
            r#"{"cost":1,"\u0063ost":2}"#,
        ] {
            let mut fields = Fields::parse(text.as_bytes()).unwrap();
            for name in ["a", "b", "b\"", "", "c", "cost", "d"] {
                assert_eq!(Pairs::of(text).unwrap().get(name), fields.get(name), "{text}: {name}");
            }
            let written = serde_json::to_string(&But(Pairs::of(text).unwrap(), "cost")).unwrap();
            while fields.remove("cost") {}
            let parsed: serde_json::Value = serde_json::from_str(&fields.to_json()).unwrap();
            assert_eq!(serde_json::from_str::<serde_json::Value>(&written).unwrap(), parsed, "{text}");
            assert_eq!(Fields::parse(written.as_bytes()).unwrap().names().count(), fields.names().count(), "{text}");
        }
        assert!(["[]", "7", "{", ""].iter().all(|text| Pairs::of(text).is_none()));
    }

    proptest! {
        #[test]
        fn whatever_the_names_are_the_last_value_is_found(
            names in collection::vec(r#"[a-c\\"é]{0,3}"#, 0..12),
            asked in r#"[a-c\\"é]{0,3}"#,
        ) {
            let quoted = |name: &str| serde_json::to_string(name).unwrap();
            let members: Vec<_> = names.iter().enumerate().map(|(at, name)| format!("{}:{at}", quoted(name))).collect();
            let text = format!("{{{}}}", members.join(","));
            for name in names.iter().chain([&asked]) {
                let last = names.iter().rposition(|known| known == name).map(|at| at.to_string());
                prop_assert_eq!(Pairs::of(&text).unwrap().get(name), last.as_deref());
                let fields = Fields::parse(text.as_bytes()).unwrap();
                prop_assert_eq!(fields.get(name), last.as_deref());
            }
            let pairs = Pairs::of(&text).unwrap();
            let each = pairs.each().map(|(name, value)| format!("{}:{value}", quoted(&name)));
            let read: serde_json::Map<String, serde_json::Value> = serde_json::from_str(&text).unwrap();
            let read = read.iter().map(|(name, value)| format!("{}:{value}", quoted(name)));
            prop_assert!(each.eq(read));
        }
    }

    #[test]
    fn a_text_without_escapes_is_what_stands_between_its_quotes() {
        for json in [
            r#""""#,
            r#""a b""#,
            r#""\u00e9\n""#,
            r#""\ud83d\ude00""#,
            r#""é""#,
            r#""\ud800""#,
            "1",
            "null",
            "[]",
            "{}",
        ] {
            assert_eq!(text_of(json).map(Cow::into_owned), serde_json::from_str::<String>(json).ok(), "{json}");
        }
        assert!(matches!(text_of(r#""plain""#), Some(Cow::Borrowed("plain"))));
    }
}
