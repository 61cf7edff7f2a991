//! JSON objects. Serde takes a list for a struct as well: its fields by their places, without their names.

use std::{fmt, marker::PhantomData};

use serde::{
    Deserialize, Deserializer,
    de::{MapAccess, Visitor, value::MapAccessDeserializer},
};

/// A struct that is read from an object alone. Each struct of what clients send is behind one, those within others too.
#[derive(Debug, Default)]
pub struct Object<T>(pub T);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Object<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(Fields(PhantomData)).map(Self)
    }
}

struct Fields<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for Fields<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON object")
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<T, A::Error> {
        T::deserialize(MapAccessDeserializer::new(map))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::value::RawValue;

    use super::*;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Outer {
        raw: Option<Box<RawValue>>,
        #[serde(default)]
        inner: Object<Inner>,
    }

    #[derive(Debug, Default, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Inner {
        day: Option<u8>,
    }

    #[test]
    fn a_list_is_no_object_at_any_depth() {
        let read = |text: &str| serde_json::from_str::<Object<Outer>>(text).map_err(|error| error.to_string());
        let Object(outer) = read(r#"{"raw": {"a":  1}, "inner": {"day": 3}}"#).unwrap();
        assert_eq!((outer.raw.unwrap().get(), outer.inner.0.day), (r#"{"a":  1}"#, Some(3)));
        assert_eq!(read("{}").unwrap().0.inner.0.day, None);
        for wrong in ["[]", "[null, [3]]", r#"{"inner": [3]}"#, r#"{"inner": null}"#, r#"{"inner": "day"}"#, "7"] {
            let why = read(wrong).unwrap_err();
            assert!(why.contains("expected a JSON object"), "{wrong}: {why}");
        }
        for (wrong, named) in [(r#"{"inner": {"week": 1}}"#, "week"), (r#"{"inner": {"day": 1, "day": 2}}"#, "day")] {
            let why = read(wrong).unwrap_err();
            assert!(why.contains(&format!("field `{named}`")), "{wrong}: {why}");
        }
    }
}
