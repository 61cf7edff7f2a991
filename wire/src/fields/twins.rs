//! Names that come twice in one object, at any depth. Readers of JSON differ in which of two values counts, so what was
//! read here of such an object may not be what the provider reads. The text is known to be JSON, so that only quotes and
//! brackets are looked for: a body of a megabyte is searched at each turn of an agent.

use std::{borrow::Cow, collections::HashSet};

use memchr::memchr2;

use super::{BadRequest, hint::Hint, pairs::text_of};

/// The most names of an object that are searched one after the other.
const FEW: usize = 64;
/// The deepest nesting that every reader here takes (`serde_json`).
const DEEPEST: usize = 126;
/// Shorter numbers without an exponent fit a float.
const LONG_NUMBER: usize = 300;
/// The most characters of a name that an error repeats, and the most names.
const LONGEST_NAME: usize = 100;
const MOST_NAMES: usize = 16;

const TWICE: &str = "comes twice, and readers differ in which one counts";
const UNREADABLE: &str =
    "can't be read to its end: it is too deep, has a number that is too large, or half of a character";

/// Refuses JSON in which a name comes twice within one object. `at` is the place of the JSON, which was read as such.
///
/// # Errors
///
/// The place of the name, or of JSON that no reader takes.
pub(crate) fn refuse_twins(json: &str, at: &str) -> Result<(), BadRequest> {
    let mut search = Search { json, place: 0, open: Vec::new(), expects_name: false };
    search.run().map_err(|message| BadRequest::new(format!("{at}{}", search.steps()), message))
}

/// A search through a text.
struct Search<'a> {
    json: &'a str,
    /// The next byte.
    place: usize,
    /// The objects and arrays around it.
    open: Vec<Open<'a>>,
    /// Whether the next text is a name.
    expects_name: bool,
}

/// An object or an array that has not ended.
enum Open<'a> {
    Object(Names<'a>),
    /// With the place of its current entry.
    Array(usize),
}

impl<'a> Search<'a> {
    fn run(&mut self) -> Result<(), &'static str> {
        while let Some(byte) = self.json.as_bytes().get(self.place) {
            self.place += 1;
            match byte {
                b'"' => self.text()?,
                b'{' => self.enter(Open::Object(Names::default()))?,
                b'[' => self.enter(Open::Array(0))?,
                b'}' | b']' => {
                    self.open.pop();
                    self.expects_name = false;
                }
                b',' => match self.open.last_mut() {
                    Some(Open::Array(entry)) => *entry += 1,
                    Some(Open::Object(_)) => self.expects_name = true,
                    None => {}
                },
                b':' => self.expects_name = false,
                b'-' | b'0'..=b'9' => self.number()?,
                _ => {}
            }
        }
        Ok(())
    }

    fn enter(&mut self, open: Open<'a>) -> Result<(), &'static str> {
        if self.open.len() > DEEPEST {
            return Err(UNREADABLE);
        }
        self.expects_name = matches!(open, Open::Object(_));
        self.open.push(open);
        Ok(())
    }

    /// Passes a text, whose first quote was passed.
    fn text(&mut self) -> Result<(), &'static str> {
        let (begin, mut may_be_half) = (self.place - 1, false);
        let bytes = self.json.as_bytes();
        while let Some(found) = bytes.get(self.place..).and_then(|left| memchr2(b'"', b'\\', left)) {
            self.place += found + 1;
            if bytes[self.place - 1] == b'"' {
                break;
            }
            // A surrogate: half of a character, which is nothing without the other half (RFC 8259, 8.2).
            may_be_half |= matches!(bytes.get(self.place..), Some([b'u', b'd' | b'D', ..]));
            self.place += 1;
        }
        let quoted = self.json.get(begin..self.place).unwrap_or_default();
        if may_be_half && text_of(quoted).is_none() {
            return Err(UNREADABLE);
        }
        if self.expects_name
            && let Some(Open::Object(names)) = self.open.last_mut()
        {
            self.expects_name = false;
            return names.note(text_of(quoted).unwrap_or_default());
        }
        Ok(())
    }

    /// Passes a number, whose first byte was passed.
    fn number(&mut self) -> Result<(), &'static str> {
        let begin = self.place - 1;
        let left = self.json.as_bytes().get(self.place..).unwrap_or_default();
        let is_of_number = |byte: &u8| matches!(byte, b'0'..=b'9' | b'.' | b'e' | b'E' | b'+' | b'-');
        self.place += left.iter().take_while(|byte| is_of_number(byte)).count();
        let number = self.json.get(begin..self.place).unwrap_or_default();
        let may_be_large = number.len() > LONG_NUMBER || number.contains(['e', 'E']);
        if may_be_large && serde_json::from_str::<f64>(number).is_err() {
            return Err(UNREADABLE);
        }
        Ok(())
    }

    /// The way to the current place.
    fn steps(&self) -> String {
        let steps = self.open.iter().map(|open| match open {
            Open::Object(names) => {
                let name: String = names.last.chars().take(LONGEST_NAME).collect();
                format!(".{name}")
            }
            Open::Array(entry) => format!("[{entry}]"),
        });
        steps.take(MOST_NAMES).collect()
    }
}

/// The names of an object so far.
#[derive(Default)]
struct Names<'a> {
    hint: Hint,
    few: Vec<Cow<'a, str>>,
    /// All names, where they are many.
    many: HashSet<Cow<'a, str>>,
    last: Cow<'a, str>,
}

impl<'a> Names<'a> {
    /// Notes a name.
    ///
    /// # Errors
    ///
    /// It is there already.
    fn note(&mut self, name: Cow<'a, str>) -> Result<(), &'static str> {
        self.last.clone_from(&name);
        let is_twin = if self.many.is_empty() {
            let is_there = self.hint.note(&name) && self.few.contains(&name);
            self.few.push(name);
            is_there
        } else {
            !self.many.insert(name)
        };
        if self.few.len() > FEW {
            self.many.extend(self.few.drain(..));
        }
        if is_twin { Err(TWICE) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use proptest::{collection, prelude::*};
    use serde::{
        Deserialize, Deserializer,
        de::{Error as _, MapAccess, SeqAccess, Visitor},
    };
    use serde_json::value::RawValue;

    use super::*;

    fn found(json: &str) -> Option<String> {
        refuse_twins(json, "x").err().map(|error| error.field)
    }

    #[test]
    fn a_name_that_comes_twice_in_one_object_is_found_at_its_place() {
        for (json, place) in [
            (r#"[{"a":1,"a":1}]"#, "x[0].a"),
            (r#"[{"b":1},{"c":[0,{"d":{"max_uses":1,"max_uses":9}}]}]"#, "x[1].c[1].d.max_uses"),
            (r#"{"m\u0061x":1,"max":2}"#, "x.max"),
            (r#"{"":1,"":2}"#, "x."),
        ] {
            assert_eq!(found(json).as_deref(), Some(place), "{json}");
        }
        for json in
            [r#"[{"a":1},{"a":1},{"a":{"a":[{"a":1}]}}]"#, "7", "-1.5", "null", r#""\u00e9""#, "true", "[]", "{}"]
        {
            assert_eq!(found(json), None, "{json}");
        }
        let many = |last: &str| {
            let names: Vec<_> = (0..200).map(|number| format!("\"n{number}\":0")).collect();
            format!("{{{},\"{last}\":1}}", names.join(","))
        };
        assert_eq!((found(&many("n3")).as_deref(), found(&many("n150")).as_deref()), (Some("x.n3"), Some("x.n150")));
        assert_eq!(found(&many("other")), None);
    }

    #[test]
    fn what_is_too_deep_to_be_read_is_refused_in_few_words() {
        let deep = format!("{}{}", "{\"a\":".repeat(500), "1".to_owned() + &"}".repeat(500));
        let error = refuse_twins(&deep, "tools").unwrap_err();
        assert!(error.field.len() < 100 && error.message.contains("too deep"), "{error}");
        for json in ["1e999", "[-1e400]", &"9".repeat(400), r#"{"a":"\ud800"}"#, r#"{"\uD800x":1}"#] {
            assert!(refuse_twins(json, "x").is_err_and(|error| error.message == UNREADABLE), "{json}");
        }
    }

    proptest! {
        /// What is accepted is what `serde_json` reads, and what has no name twice.
        #[test]
        fn it_finds_what_a_reader_of_json_finds(json in text(), cut in 0_usize..200) {
            if serde_json::from_str::<&RawValue>(&json).is_ok() {
                let reader = serde_json::from_str::<Once>(&json);
                prop_assert_eq!(refuse_twins(&json, "x").is_ok(), reader.is_ok(), "{}", json);
            }
            // No text makes it panic.
            let _ = refuse_twins(json.get(cut..).unwrap_or_default(), "x");
            let _ = refuse_twins(json.get(..cut).unwrap_or_default(), "x");
        }
    }

    /// A text that is JSON, mostly, with few names, so that some come twice.
    fn text() -> impl Strategy<Value = String> {
        let name = prop::sample::select(vec![r#""a""#, r#""b""#, r#""\u0061""#, r#""a\"b""#, r#""\\""#, r#""é""#]);
        let leaf = prop::sample::select(vec![
            "1",
            "-1.5e3",
            "1e999",
            "true",
            "null",
            r#""x,{\"a\":1}""#,
            r#""\ud83d\ude00""#,
            r#""\ud83d""#,
            r#""\\""#,
        ]);
        let leaf = leaf.prop_map(str::to_owned);
        leaf.prop_recursive(5, 40, 5, move |inner| {
            let object = collection::vec((name.clone(), inner.clone()), 0..4).prop_map(|pairs| {
                let pairs: Vec<_> = pairs.iter().map(|(name, value)| format!("{name} : {value}")).collect();
                format!("{{{}}}", pairs.join(" ,"))
            });
            let array = collection::vec(inner, 0..4).prop_map(|entries| format!("[ {}]", entries.join(",")));
            prop_oneof![object, array]
        })
    }

    /// JSON that is read whole by `serde_json`, with each name once.
    struct Once;

    impl<'de> Deserialize<'de> for Once {
        fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            deserializer.deserialize_any(Self)
        }
    }

    impl<'de> Visitor<'de> for Once {
        type Value = Self;

        fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("JSON")
        }

        fn visit_unit<E>(self) -> Result<Self, E> {
            Ok(self)
        }

        fn visit_bool<E>(self, _: bool) -> Result<Self, E> {
            Ok(self)
        }

        fn visit_i64<E>(self, _: i64) -> Result<Self, E> {
            Ok(self)
        }

        fn visit_u64<E>(self, _: u64) -> Result<Self, E> {
            Ok(self)
        }

        fn visit_f64<E>(self, _: f64) -> Result<Self, E> {
            Ok(self)
        }

        fn visit_str<E>(self, _: &str) -> Result<Self, E> {
            Ok(self)
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self, A::Error> {
            while seq.next_element::<Self>()?.is_some() {}
            Ok(self)
        }

        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self, A::Error> {
            let mut names = HashSet::new();
            while let Some((name, Self)) = map.next_entry::<String, Self>()? {
                if !names.insert(name) {
                    return Err(A::Error::custom("a name comes twice"));
                }
            }
            Ok(self)
        }
    }
}
