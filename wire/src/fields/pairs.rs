//! The members of a JSON object as slices of its text, without a copy: for objects that are read once, such as a message or
//! a chunk. Where a name comes twice the last value counts.

use std::{borrow::Cow, fmt, marker::PhantomData, ops::Range, vec};

use serde::{
    Deserialize, Deserializer,
    de::{Error as _, MapAccess, SeqAccess, Visitor},
    ser::SerializeMap,
};
use serde_json::value::RawValue;

use super::{MOST_FIELDS, hint::Hint};

/// The most entries of a list whose pairs are held at once: those of `{},{},{}` take a hundred times its length.
const MOST_AT_ONCE: usize = 10_000;

/// An object's names and its values, all as slices of a text.
#[derive(Debug, Default)]
pub(crate) struct Pairs<'a> {
    list: Vec<(&'a str, &'a RawValue)>,
    hint: Hint,
    /// Whether a name may come twice.
    may_have_twins: bool,
    names: Names,
}

/// How the names of an object are kept.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Names {
    /// As they are: none has escapes, and all are compared in place.
    #[default]
    Plain,
    /// In their quotes: a name has escapes. Few objects have such names.
    Quoted,
}

impl<'a> Pairs<'a> {
    /// The pairs of a text; `None` where the text is no object.
    pub(crate) fn of(text: &'a str) -> Option<Self> {
        Self::read(text).ok()
    }

    /// The pairs of each entry of a list, or `None` for one that is no object; `None` where the text is no list. A list of
    /// objects is read once, which counts where it is a conversation of a megabyte.
    pub(crate) fn each_of(list: &'a str) -> Option<Entries<'a>> {
        if let Ok(Objects(objects)) = serde_json::from_str(list) {
            return Some(Entries::Read(objects.into_iter()));
        }
        let entries: Vec<&RawValue> = serde_json::from_str(list).ok()?;
        Some(Entries::Raw(entries.into_iter()))
    }

    /// The pairs of a text.
    ///
    /// # Errors
    ///
    /// The text is not JSON, no object, or an object of too many fields.
    pub(super) fn read(text: &'a str) -> Result<Self, serde_json::Error> {
        // Reading a name as a text takes half of what it takes to find where it stands in its quotes.
        if let Ok(plain) = serde_json::from_str(text).map(|Object::<'a, Plain<'a>>(pairs, _)| pairs) {
            return Ok(plain);
        }
        serde_json::from_str(text).map(|Object::<'a, Quoted<'a>>(pairs, _)| pairs)
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
        self.list.iter().rev().find(|(known, _)| self.is(known, name)).map(|(_, value)| *value)
    }

    fn is(&self, known: &str, name: &str) -> bool {
        match self.names {
            Names::Plain => known == name,
            Names::Quoted => unquoted(known) == name,
        }
    }

    fn name(&self, known: &'a str) -> Cow<'a, str> {
        match self.names {
            Names::Plain => Cow::Borrowed(known),
            Names::Quoted => unquoted(known),
        }
    }

    /// Each name and value, where they stand in the text that was read.
    pub(super) fn places(&self, text: &'a str) -> impl Iterator<Item = Place<'a>> {
        let offset = move |part: &str| part.as_ptr().addr() - text.as_ptr().addr();
        self.list.iter().map(move |(known, value)| {
            let (begin, end) = match self.names {
                Names::Plain => (offset(known) - 1, offset(known) + known.len() + 1),
                Names::Quoted => (offset(known), offset(known) + known.len()),
            };
            let value = (offset(value.get()), value.get().len());
            Place { name: self.name(known), quoted: begin..end, value: value.0..value.0 + value.1 }
        })
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
        self.list.iter().enumerate().filter_map(|(place, (known, value))| {
            let (name, all) = (self.name(known), &self.list);
            if !self.may_have_twins {
                return Some((name, *value));
            }
            let is_again = all[..place].iter().any(|(before, _)| self.is(before, &name));
            let last = all[place + 1..].iter().rev().find(|(after, _)| self.is(after, &name));
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

/// A name and its value, and their places in the text that was read, in bytes.
pub(super) struct Place<'a> {
    /// The name, which is a slice of the text where it has no escapes.
    pub(super) name: Cow<'a, str>,
    /// The place of the name with its quotes.
    pub(super) quoted: Range<usize>,
    /// The place of the value.
    pub(super) value: Range<usize>,
}

/// A way to read a name.
trait ReadName<'de>: Deserialize<'de> {
    const NAMES: Names;

    /// The name as it is kept.
    fn kept(&self) -> &'de str;
}

/// A name without escapes.
struct Plain<'a>(&'a str);

impl<'de> Deserialize<'de> for Plain<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // Fails where the name has escapes.
        <&str>::deserialize(deserializer).map(Self)
    }
}

impl<'de> ReadName<'de> for Plain<'de> {
    const NAMES: Names = Names::Plain;

    fn kept(&self) -> &'de str {
        self.0
    }
}

/// Any name, in its quotes.
struct Quoted<'a>(&'a RawValue);

impl<'de> Deserialize<'de> for Quoted<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        <&RawValue>::deserialize(deserializer).map(Self)
    }
}

impl<'de> ReadName<'de> for Quoted<'de> {
    const NAMES: Names = Names::Quoted;

    fn kept(&self) -> &'de str {
        self.0.get()
    }
}

/// Pairs whose names are read in one of these ways.
struct Object<'a, N>(Pairs<'a>, PhantomData<N>);

impl<'de, N: ReadName<'de>> Deserialize<'de> for Object<'de, N> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(Self(Pairs { names: N::NAMES, ..Pairs::default() }, PhantomData))
    }
}

impl<'de, N: ReadName<'de>> Visitor<'de> for Object<'de, N> {
    type Value = Self;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON object")
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut map: A) -> Result<Self, A::Error> {
        let read = &mut self.0;
        read.list = Vec::with_capacity(8);
        while let Some((name, value)) = map.next_entry::<N, &RawValue>()? {
            if read.list.len() >= MOST_FIELDS {
                return Err(A::Error::custom(format!("an object of more than {MOST_FIELDS} fields")));
            }
            let known = name.kept();
            read.may_have_twins |= read.hint.note(&read.name(known));
            read.list.push((known, value));
        }
        Ok(self)
    }
}

/// The pairs of a list's entries.
pub(crate) enum Entries<'a> {
    /// As they were read with the list.
    Read(vec::IntoIter<Pairs<'a>>),
    /// Read one after the other: there are many, or one is not read with the list.
    Raw(vec::IntoIter<&'a RawValue>),
}

impl Entries<'_> {
    /// Whether there are none.
    pub(crate) fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl<'a> Iterator for Entries<'a> {
    type Item = Option<Pairs<'a>>;

    fn next(&mut self) -> Option<Self::Item> {
        match self {
            Self::Read(list) => list.next().map(Some),
            Self::Raw(list) => list.next().map(|entry| Pairs::of(entry.get())),
        }
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        match self {
            Self::Read(list) => list.size_hint(),
            Self::Raw(list) => list.size_hint(),
        }
    }
}

impl ExactSizeIterator for Entries<'_> {}

/// A list of objects whose names have no escapes, and of no more than may be held at once.
struct Objects<'a>(Vec<Pairs<'a>>);

impl<'de> Deserialize<'de> for Objects<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_seq(Self(Vec::new()))
    }
}

impl<'de> Visitor<'de> for Objects<'de> {
    type Value = Self;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array of objects")
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut list: A) -> Result<Self, A::Error> {
        while let Some(Object(pairs, _)) = list.next_element::<Object<'de, Plain<'de>>>()? {
            if self.0.len() >= MOST_AT_ONCE {
                return Err(A::Error::custom("too many to be held at once"));
            }
            self.0.push(pairs);
        }
        Ok(self)
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
    fn entries_are_the_same_however_many_there_are_and_few_are_held_at_once() {
        let list = |entries: usize| format!("[{}]", vec![r#"{"a":1}"#; entries].join(","));
        for (entries, is_read) in [(0, true), (MOST_AT_ONCE, true), (MOST_AT_ONCE + 1, false)] {
            let list = list(entries);
            let mut read = Pairs::each_of(&list).unwrap();
            assert_eq!((read.len(), read.is_empty()), (entries, entries == 0));
            assert_eq!(matches!(read, Entries::Read(_)), is_read, "{entries}");
            assert!(read.all(|pairs| pairs.unwrap().get("a") == Some("1")));
        }
        let odd: Vec<_> = Pairs::each_of(r#"[{"a":1},7,{"\u0061":2}]"#).unwrap().collect();
        let values: Vec<_> = odd.iter().map(|pairs| pairs.as_ref().and_then(|pairs| pairs.get("a"))).collect();
        assert_eq!(values, [Some("1"), None, Some("2")]);
        assert!(["{}", "7", "[", "[{}"].iter().all(|text| Pairs::each_of(text).is_none()));
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
