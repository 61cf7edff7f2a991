//! Names that come twice in one object, at any depth. Readers of JSON differ in which of two values counts, so what was
//! read here of such an object may not be what the provider reads.

use std::{borrow::Cow, collections::HashSet, fmt};

use serde::{
    Deserialize, Deserializer,
    de::{DeserializeSeed, Error as _, MapAccess, SeqAccess, Visitor},
};

use super::{BadRequest, hint::Hint};

/// The most names of an object that are searched one after the other.
const FEW: usize = 64;
/// The most characters of a name that an error repeats, and the most names.
const LONGEST_NAME: usize = 100;
const MOST_NAMES: usize = 16;

/// Refuses JSON in which a name comes twice within one object. `at` is the place of the JSON.
///
/// # Errors
///
/// The place of the name, or of JSON that is too deep to be read.
pub(crate) fn refuse_twins(json: &str, at: &str) -> Result<(), BadRequest> {
    let mut found = Found::default();
    let mut deserializer = serde_json::Deserializer::from_str(json);
    if Within(&mut found).deserialize(&mut deserializer).is_ok() {
        return Ok(());
    }
    let message = if found.is_twin {
        "comes twice, and readers differ in which one counts"
    } else {
        "can't be read to its end: it is too deep, or has a number that is too large"
    };
    let skipped = found.steps.len().saturating_sub(MOST_NAMES);
    let steps: String = found.steps.into_iter().skip(skipped).rev().collect();
    Err(BadRequest::new(format!("{at}{steps}"), message))
}

/// What was found, and on the way back the steps to it, the last one first.
#[derive(Debug, Default)]
struct Found {
    is_twin: bool,
    steps: Vec<String>,
}

impl Found {
    fn step(&mut self, name: &str) {
        let name: String = name.chars().take(LONGEST_NAME).collect();
        self.steps.push(format!(".{name}"));
    }
}

/// The names of an object so far.
#[derive(Default)]
struct Names<'a> {
    hint: Hint,
    few: Vec<Cow<'a, str>>,
    /// All names, where they are many.
    many: HashSet<Cow<'a, str>>,
}

impl<'a> Names<'a> {
    /// Notes a name. Returns whether it is there already.
    fn note(&mut self, name: Cow<'a, str>) -> bool {
        if !self.many.is_empty() {
            return !self.many.insert(name);
        }
        if self.hint.note(&name) && self.few.contains(&name) {
            return true;
        }
        self.few.push(name);
        if self.few.len() > FEW {
            self.many.extend(self.few.drain(..));
        }
        false
    }
}

/// A name, without a copy where it has no escapes.
#[derive(Deserialize)]
struct Name<'a>(#[serde(borrow)] Cow<'a, str>);

/// Reads a value for the names in it.
struct Within<'f>(&'f mut Found);

impl<'de> DeserializeSeed<'de> for Within<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Within<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        for place in 0_usize.. {
            match seq.next_element_seed(Within(&mut *self.0)) {
                Ok(Some(())) => {}
                Ok(None) => break,
                Err(error) => {
                    self.0.steps.push(format!("[{place}]"));
                    return Err(error);
                }
            }
        }
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let mut names = Names::default();
        while let Some(Name(name)) = map.next_key()? {
            if names.note(name.clone()) {
                self.0.is_twin = true;
                self.0.step(&name);
                return Err(A::Error::custom("a name comes twice"));
            }
            if let Err(error) = map.next_value_seed(Within(&mut *self.0)) {
                self.0.step(&name);
                return Err(error);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
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
    }
}
