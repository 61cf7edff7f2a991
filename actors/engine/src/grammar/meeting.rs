//! How many regular expressions of a schema one text may have to fit: those of all that holds at one place, which are
//! intersected when a grammar is made. An upper bound, as no schema is compiled to find it.

use std::collections::HashMap;

use serde_json::{Map, Value};

/// Members with one schema for a place below.
const BELOW: [&str; 4] = ["items", "additionalItems", "additionalProperties", "contains"];
/// Members with a map of schemas for places below.
const MAPS: [&str; 2] = ["properties", "patternProperties"];

/// The most regular expressions at one place of a schema.
pub(super) fn most(schema: &Map<String, Value>) -> usize {
    Meeting { root: schema, known: HashMap::new() }.of(schema)
}

struct Meeting<'a> {
    root: &'a Map<String, Value>,
    /// By reference; `None` while it is followed.
    known: HashMap<&'a str, Option<usize>>,
}

impl<'a> Meeting<'a> {
    fn of(&mut self, schema: &'a Map<String, Value>) -> usize {
        let own =
            ["pattern", "format"].into_iter().filter(|name| schema.get(*name).is_some_and(Value::is_string)).count();
        let mut below = 0;
        for (name, value) in schema {
            if BELOW.contains(&&**name) {
                below = below.max(self.at(value));
            }
            if let (true, Some(map)) = (MAPS.contains(&&**name), value.as_object()) {
                below = map.values().fold(below, |below, value| below.max(self.at(value)));
            }
            if let ("items" | "prefixItems", Some(list)) = (&**name, value.as_array()) {
                below = list.iter().fold(below, |below, value| below.max(self.at(value)));
            }
        }
        let entries = |name: &str| schema.get(name).and_then(Value::as_array).into_iter().flatten();
        let all: usize = entries("allOf").map(|entry| self.at(entry)).sum();
        let one = |meeting: &mut Self, name| entries(name).map(|entry| meeting.at(entry)).max().unwrap_or(0);
        let (any, one) = (one(self, "anyOf"), one(self, "oneOf"));
        let referred = schema.get("$ref").and_then(Value::as_str).map_or(0, |reference| self.referred(reference));
        own.max(below) + all + any + one + referred
    }

    fn at(&mut self, value: &'a Value) -> usize {
        value.as_object().map_or(0, |schema| self.of(schema))
    }

    fn referred(&mut self, reference: &'a str) -> usize {
        if let Some(known) = self.known.get(reference) {
            // One that refers to itself adds nothing at its own place.
            return known.unwrap_or(0);
        }
        self.known.insert(reference, None);
        let path = reference.trim_start_matches('#').trim_start_matches('/');
        let found =
            if path.is_empty() { self.of(self.root) } else { self.found(path).map_or(0, |found| self.at(found)) };
        self.known.insert(reference, Some(found));
        found
    }

    /// The value at a path, which names entries of lists too.
    fn found(&self, path: &str) -> Option<&'a Value> {
        let (first, rest) = path.split_once('/').map_or((path, None), |(first, rest)| (first, Some(rest)));
        let first = self.root.get(first)?;
        rest.into_iter().flat_map(|rest| rest.split('/')).try_fold(first, |value, name| match value {
            Value::Array(values) => values.get(name.parse::<usize>().ok()?),
            other => other.get(name),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(schema: &str) -> usize {
        most(&serde_json::from_str(schema).unwrap())
    }

    #[test]
    fn expressions_at_one_place_are_counted_and_those_at_others_are_not() {
        for (schema, count) in [
            (r#"{"properties":{"a":{"pattern":"x"},"b":{"pattern":"y","format":"z"},"pattern":{"type":"string"}}}"#, 2),
            (r#"{"allOf":[{"pattern":"x"},{"pattern":"y"},{"pattern":"z"}]}"#, 3),
            (r#"{"anyOf":[{"pattern":"x"},{"pattern":"y"},{"pattern":"z"}]}"#, 1),
            (r#"{"pattern":"x","oneOf":[{"pattern":"y"}]}"#, 2),
            (r#"{"allOf":[{"properties":{"a":{"pattern":"x"}}},{"patternProperties":{"a":{"format":"y"}}}]}"#, 2),
            (
                r##"{"pattern":"w","$ref":"#/$defs/a","$defs":{"a":{"pattern":"x","$ref":"#/$defs/b"},"b":{"pattern":"y"}}}"##,
                3,
            ),
            (r##"{"items":{"$ref":"#"},"pattern":"x"}"##, 1),
            (r##"{"allOf":[{"$ref":"#/x/0"},{"$ref":"#/x/0"}],"x":[{"pattern":"a"}]}"##, 2),
        ] {
            assert_eq!(of(schema), count, "{schema}");
        }
    }
}
