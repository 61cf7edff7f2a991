//! A client's JSON schema, before it is compiled: its size, its depth and its numbers are bounded, so that no schema costs
//! more than a moment, and how it is to be compiled is said in it. What the library can't do is refused by the library.

use serde_json::{Map, Value, json};

use super::meeting;

/// The most bytes of a schema.
const MOST_BYTES: usize = 256 << 10;
/// The most values in a schema.
const MOST_VALUES: usize = 20_000;
/// The deepest nesting of a schema's own values.
const DEEPEST: usize = 64;
/// The most different places that a schema's references name.
const MOST_REFERENCES: usize = 300;
/// The most characters of a regular expression.
const LONGEST_PATTERN: usize = 1_000;
/// The most regular expressions that one text may have to fit: what they have in common grows with their product.
const MOST_MEETING: usize = 2;
/// The most entries of a list, members of an object, that a schema may count.
const MOST_ENTRIES: u64 = 2_000;
/// The most characters of a text that a schema may count.
const MOST_CHARACTERS: u64 = 20_000;
/// The space between the parts of an answer: bounded, so that no model fills its answer with it.
const SPACE: &str = r"[\x20\x0A\x0D\x09]{1,40}";

/// How a schema is taken where it says what can't be enforced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Strictness {
    /// It is refused.
    Exact,
    /// The rest of it is enforced.
    Lenient,
}

/// Reads and bounds a schema, [`on_a_large_stack`](super::on_a_large_stack), and adds how it is compiled.
///
/// # Errors
///
/// It is no schema, or too large in the way that the text says.
pub(crate) fn bounded(schema: &str, strictness: Strictness) -> Result<Map<String, Value>, String> {
    if schema.len() > MOST_BYTES {
        return Err(format!("the schema has {} bytes; the most are {MOST_BYTES}", schema.len()));
    }
    let read = serde_json::from_str(schema).map_err(|error| format!("the schema can't be read: {error}"))?;
    let Value::Object(mut schema) = read else { return Err("a schema must be an object".to_owned()) };
    let mut size = Size::default();
    size.add_members(&schema, 0)?;
    if meeting::most(&schema) > MOST_MEETING {
        return Err(format!("more than {MOST_MEETING} regular expressions or formats would have to fit one text"));
    }
    let lenient = match strictness {
        Strictness::Exact => false,
        Strictness::Lenient => true,
    };
    let how = json!({"whitespace_pattern": SPACE, "lenient": lenient, "coerce_one_of": lenient});
    schema.insert("x-guidance".to_owned(), how);
    Ok(schema)
}

#[derive(Default)]
struct Size {
    values: usize,
    references: std::collections::HashSet<String>,
}

impl Size {
    fn add(&mut self, value: &Value, depth: usize) -> Result<(), String> {
        self.values += 1;
        if self.values > MOST_VALUES {
            return Err(format!("the schema has more than {MOST_VALUES} values"));
        }
        if depth > DEEPEST {
            return Err(format!("the schema has more than {DEEPEST} levels"));
        }
        match value {
            Value::Array(values) => values.iter().try_for_each(|value| self.add(value, depth + 1)),
            Value::Object(members) => self.add_members(members, depth),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => Ok(()),
        }
    }

    fn add_members(&mut self, members: &Map<String, Value>, depth: usize) -> Result<(), String> {
        for (name, value) in members {
            match &**name {
                "$ref" => self.refer(value)?,
                "pattern" if long(value) => return Err(longest("pattern")),
                "patternProperties" if value.as_object().is_some_and(|all| all.keys().any(|key| is_long(key))) => {
                    return Err(longest(name));
                }
                "minItems" | "maxItems" | "minProperties" | "maxProperties" => count(name, value, MOST_ENTRIES)?,
                "minLength" | "maxLength" => count(name, value, MOST_CHARACTERS)?,
                _ => {}
            }
            self.add(value, depth + 1)?;
        }
        Ok(())
    }

    fn refer(&mut self, value: &Value) -> Result<(), String> {
        let Some(reference) = value.as_str() else { return Ok(()) };
        if !reference.starts_with('#') {
            let shown: String = reference.chars().take(100).collect();
            return Err(format!("$ref must point into the schema (#/...), which {shown} does not"));
        }
        self.references.insert(reference.to_owned());
        if self.references.len() > MOST_REFERENCES {
            return Err(format!("the schema has more than {MOST_REFERENCES} different references"));
        }
        Ok(())
    }
}

fn is_long(pattern: &str) -> bool {
    pattern.len() > LONGEST_PATTERN
}

fn long(value: &Value) -> bool {
    value.as_str().is_some_and(is_long)
}

fn longest(name: &str) -> String {
    format!("{name} has a regular expression of more than {LONGEST_PATTERN} bytes")
}

/// Refuses a large count. One that is no number may be a property's schema, whose name is the same.
fn count(name: &str, value: &Value, most: u64) -> Result<(), String> {
    match value.as_f64() {
        #[expect(clippy::cast_precision_loss, reason = "a small bound")]
        Some(number) if number > most as f64 => Err(format!("{name} may be at most {most}")),
        Some(_) | None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(schema: &str) -> String {
        bounded(schema, Strictness::Exact).unwrap_err()
    }

    #[test]
    fn what_is_no_schema_or_too_large_is_refused_in_words() {
        assert!(refused("7").contains("object") && refused("{").contains("read"));
        assert!(refused(&format!(r#"{{"const":"{}"}}"#, "x".repeat(MOST_BYTES))).contains("bytes"));
        assert!(refused(&format!(r#"{{"enum":[0{}]}}"#, ",0".repeat(MOST_VALUES))).contains("values"));
        let deep = format!("{}true{}", r#"{"items":"#.repeat(70), "}".repeat(70));
        assert!(refused(&deep).contains("levels"));
        assert!(refused(r#"{"$ref":"https://example.com/schema.json"}"#).contains("point into"));
        let references: Vec<_> = (0..400).map(|at| format!(r##"{{"$ref":"#/$defs/d{at}"}}"##)).collect();
        assert!(refused(&format!(r#"{{"anyOf":[{}]}}"#, references.join(","))).contains("references"));
        assert!(refused(&format!(r#"{{"pattern":"{}"}}"#, "a".repeat(2_000))).contains("pattern"));
        assert!(refused(r#"{"minItems":1000000000}"#).contains("minItems"));
        assert!(refused(r#"{"maxLength":1e300}"#).contains("maxLength"));
    }

    #[test]
    fn how_it_is_compiled_is_ours_to_say() {
        let schema =
            bounded(r#"{"x-guidance":{"whitespace_pattern":".*"},"type":"object"}"#, Strictness::Exact).unwrap();
        assert_eq!(schema["x-guidance"]["whitespace_pattern"], SPACE);
        assert_eq!(schema["x-guidance"]["lenient"], false);
    }
}
