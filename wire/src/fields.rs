//! A JSON object read field by field: what is needed is parsed, with errors that name the field, and everything else stays
//! the text it came as, so that a provider reads exactly what its client wrote and a client what its provider wrote.

use std::fmt;

use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{DeserializeOwned, Error as _, MapAccess, Visitor},
    ser::SerializeMap,
};
use serde_json::value::RawValue;

/// A field that is not what it must be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {message}")]
pub struct BadRequest {
    /// Which; `body` where the body as a whole is meant.
    pub field: String,
    /// What is wrong with it.
    pub message: String,
}

impl BadRequest {
    /// An error of a field.
    pub fn new(field: impl Into<String>, message: impl Into<String>) -> Self {
        Self { field: field.into(), message: message.into() }
    }
}

/// Fields of one object, at most: they are searched one by one.
const MOST_FIELDS: usize = 1_024;

/// The fields of a JSON object, in their order. Where a name comes twice the last value counts, in its first place, and is
/// the only one that is written again: nobody downstream can read another one than was read here.
#[derive(Debug, Clone, Default)]
pub struct Fields(Vec<(String, Box<RawValue>)>);

impl PartialEq for Fields {
    fn eq(&self, other: &Self) -> bool {
        let texts = |fields: &Self| -> Vec<(String, String)> {
            fields.0.iter().map(|(name, value)| (name.clone(), value.get().to_owned())).collect()
        };
        texts(self) == texts(other)
    }
}

impl<'de> Deserialize<'de> for Fields {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Object;

        impl<'de> Visitor<'de> for Object {
            type Value = Fields;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a JSON object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Fields, A::Error> {
                let mut fields = Fields::default();
                while let Some((name, value)) = map.next_entry::<String, Box<RawValue>>()? {
                    if fields.0.len() >= MOST_FIELDS {
                        return Err(A::Error::custom(format!("an object of more than {MOST_FIELDS} fields")));
                    }
                    fields.put(name, value);
                }
                Ok(fields)
            }
        }

        deserializer.deserialize_map(Object)
    }
}

impl Serialize for Fields {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (name, value) in &self.0 {
            map.serialize_entry(name, value)?;
        }
        map.end()
    }
}

impl fmt::Display for Fields {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&serde_json::to_string(self).map_err(|_| fmt::Error)?)
    }
}

impl Fields {
    /// A body that must be a JSON object.
    pub fn parse(body: &[u8]) -> Result<Self, BadRequest> {
        serde_json::from_slice(body).map_err(|error| match error.classify() {
            serde_json::error::Category::Data => BadRequest::new("body", "must be a JSON object"),
            _ => BadRequest::new("body", format!("is not JSON: {error}")),
        })
    }

    fn put(&mut self, name: String, value: Box<RawValue>) {
        match self.0.iter_mut().find(|(known, _)| *known == name) {
            Some((_, old)) => *old = value,
            None => self.0.push((name, value)),
        }
    }

    /// Sets a field. What can't be written as JSON (a map with keys that are no text) is written as null.
    pub fn set(&mut self, name: &str, value: &(impl Serialize + ?Sized)) {
        let value = serde_json::value::to_raw_value(value).unwrap_or_else(|_| RawValue::NULL.to_owned());
        self.put(name.to_owned(), value);
    }

    /// Takes a field out.
    pub fn remove(&mut self, name: &str) -> Option<Box<RawValue>> {
        let place = self.0.iter().position(|(known, _)| known == name)?;
        Some(self.0.remove(place).1)
    }

    /// A field's text, as it came.
    pub fn get(&self, name: &str) -> Option<&RawValue> {
        self.0.iter().find(|(known, _)| known == name).map(|(_, value)| &**value)
    }

    /// A field's text, where it is there and not null.
    pub fn present(&self, name: &str) -> Option<&RawValue> {
        self.get(name).filter(|value| value.get() != "null")
    }

    /// The names.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|(name, _)| name.as_str())
    }

    /// A field that may be absent or null; `must` says what it must be.
    pub fn read<T: DeserializeOwned>(&self, name: &str, must: &str) -> Result<Option<T>, BadRequest> {
        let value = self.present(name).map(|value| serde_json::from_str(value.get()));
        value.transpose().map_err(|_| BadRequest::new(name, format!("must be {must}")))
    }

    pub(crate) fn string(&self, name: &str) -> Result<Option<String>, BadRequest> {
        self.read(name, "a string")
    }

    pub(crate) fn boolean(&self, name: &str) -> Result<Option<bool>, BadRequest> {
        self.read(name, "true or false")
    }

    /// A whole number within a range.
    pub(crate) fn whole(&self, name: &str, least: u64, most: u64) -> Result<Option<u64>, BadRequest> {
        let must = || format!("a whole number from {least} to {most}");
        match self.present(name).map(|value| serde_json::from_str::<u64>(value.get())) {
            None => Ok(None),
            Some(Ok(number)) if (least..=most).contains(&number) => Ok(Some(number)),
            Some(_) => Err(BadRequest::new(name, format!("must be {}", must()))),
        }
    }

    /// A number within a range.
    #[expect(clippy::cast_possible_truncation, reason = "the range is far inside f32")]
    pub(crate) fn number(&self, name: &str, least: f64, most: f64) -> Result<Option<f32>, BadRequest> {
        match self.present(name).map(|value| serde_json::from_str::<f64>(value.get())) {
            None => Ok(None),
            Some(Ok(number)) if (least..=most).contains(&number) => Ok(Some(number as f32)),
            Some(_) => Err(BadRequest::new(name, format!("must be a number from {least} to {most}"))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_touched_is_written_as_it_came() {
        let text = r#"{"a":1.50,"b":{"x" : [1e2]},"é":"\u00e9","c":null}"#;
        let mut fields = Fields::parse(text.as_bytes()).unwrap();
        assert_eq!(fields.to_string(), text);
        assert!(fields.present("c").is_none() && fields.get("c").is_some());
        fields.set("a", "new");
        assert_eq!(fields.remove("b").unwrap().get(), r#"{"x" : [1e2]}"#);
        assert_eq!(fields.to_string(), r#"{"a":"new","é":"\u00e9","c":null}"#);
    }

    #[test]
    fn a_name_that_comes_twice_is_read_and_written_once() {
        let fields = Fields::parse(br#"{"model":"a","n":1,"model":"b"}"#).unwrap();
        assert_eq!(fields.string("model").unwrap().as_deref(), Some("b"));
        assert_eq!(fields.to_string(), r#"{"model":"b","n":1}"#);
    }

    #[test]
    fn a_body_that_is_no_object_is_refused() {
        for body in ["[]", "1", "", "{", r#"{"a":1}x"#, r#"{"a":}"#, "\u{feff}{}"] {
            assert_eq!(Fields::parse(body.as_bytes()).unwrap_err().field, "body", "{body}");
        }
        let many: Vec<_> = (0..=MOST_FIELDS).map(|n| format!("\"{n}\":0")).collect();
        assert!(Fields::parse(format!("{{{}}}", many.join(",")).as_bytes()).is_err());
    }
}
