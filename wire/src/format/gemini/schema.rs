//! Google's schemas ("Schema", Gemini API reference), which are a subset of OpenAPI's, as JSON schemas. The names of
//! types lose their capitals, what may be null says so in JSON schema's way, and what only Google reads is left out.

use serde_json::{Map, Value, json};

use super::spelling::camel;

/// Numbers of 64 bits, which this format writes as texts.
const COUNTS: [&str; 6] = ["minItems", "maxItems", "minLength", "maxLength", "minProperties", "maxProperties"];
/// Formats that say how wide a number is, or that a text is one of a list.
const WIDTHS: [&str; 5] = ["int32", "int64", "float", "double", "enum"];

/// A schema of Google's as a JSON schema; `None` where it is no object.
pub(super) fn json_schema(schema: &str) -> Option<String> {
    let schema: Map<String, Value> = serde_json::from_str(schema).ok()?;
    Some(object(schema).to_string())
}

fn schema(value: Value) -> Value {
    match value {
        Value::Object(members) => object(members),
        other => other,
    }
}

fn object(members: Map<String, Value>) -> Value {
    let mut written = Map::with_capacity(members.len());
    let mut may_be_null = false;
    for (name, value) in members {
        let name = camel(&name);
        let value = match (&*name, value) {
            ("propertyOrdering", _) | (_, Value::Null) => continue,
            ("nullable", value) => {
                may_be_null = value == true;
                continue;
            }
            ("type", Value::String(kind)) if kind == "TYPE_UNSPECIFIED" => continue,
            ("type", Value::String(kind)) => kind.to_ascii_lowercase().into(),
            ("format", Value::String(format)) if WIDTHS.contains(&&*format) => continue,
            ("example", value) => {
                written.insert("examples".to_owned(), json!([value]));
                continue;
            }
            ("properties" | "defs", Value::Object(all)) => {
                Value::Object(all.into_iter().map(|(name, value)| (name, schema(value))).collect())
            }
            ("items", value) => schema(value),
            ("anyOf" | "prefixItems", Value::Array(all)) => all.into_iter().map(schema).collect(),
            (name, Value::String(count)) if COUNTS.contains(&name) => {
                count.parse::<u64>().map_or(Value::String(count), Value::from)
            }
            (_, value) => value,
        };
        let name = match &*name {
            "defs" => "$defs".to_owned(),
            "ref" => "$ref".to_owned(),
            name => name.to_owned(),
        };
        written.insert(name, value);
    }
    if may_be_null {
        null(&mut written);
    }
    Value::Object(written)
}

/// Lets a schema's value be null.
fn null(written: &mut Map<String, Value>) {
    if let Some(Value::Array(values)) = written.get_mut("enum")
        && !values.contains(&Value::Null)
    {
        values.push(Value::Null);
    }
    if let Some(kind) = written.get_mut("type") {
        if kind.is_string() {
            *kind = json!([kind.take(), "null"]);
        }
    } else if let Some(Value::Array(all)) = written.get_mut("anyOf") {
        all.push(json!({"type": "null"}));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_schema_is_written_in_json_schemas_words() {
        let own = json!({"type": "OBJECT", "title": "T", "property_ordering": ["a"], "required": ["a"], "properties": {
            "a": {"type": "STRING", "nullable": true, "enum": ["x"], "format": "enum"},
            "property_ordering": {"type": "ARRAY", "min_items": "1", "maxItems": 4, "items": {"type": "INTEGER", "format": "int64"}},
            "c": {"anyOf": [{"type": "NUMBER"}, {"type": "BOOLEAN"}], "nullable": true, "example": 4},
            "d": {"type": "STRING", "format": "date-time", "description": "TYPE", "nullable": null}}});
        let expected = json!({"type": "object", "title": "T", "required": ["a"], "properties": {
            "a": {"type": ["string", "null"], "enum": ["x", null]},
            "property_ordering": {"type": "array", "minItems": 1, "maxItems": 4, "items": {"type": "integer"}},
            "c": {"anyOf": [{"type": "number"}, {"type": "boolean"}, {"type": "null"}], "examples": [4]},
            "d": {"type": "string", "format": "date-time", "description": "TYPE"}}});
        let written: Value = serde_json::from_str(&json_schema(&own.to_string()).unwrap()).unwrap();
        assert_eq!(written, expected);
        let plain = json!({"type": "object", "properties": {"a": {"type": "string"}}, "additionalProperties": false});
        assert_eq!(json_schema(&plain.to_string()).unwrap(), plain.to_string(), "a JSON schema stays one");
        assert_eq!(json_schema("[]"), None);
    }
}
