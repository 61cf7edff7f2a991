//! What a model wrote where it is not one text: reasoning under several servers' names, and content in parts. It is
//! output like any other text, and is counted where no usage is reported.

use serde_json::{Value, value::RawValue};

/// Fields of a part that hold a model's words, or further parts.
const WORDS: [&str; 7] = ["text", "thinking", "reasoning", "refusal", "content", "summary", "transcript"];

/// All words of a text, a part, or nested parts, in order. A value without text has none.
pub(super) fn words(value: &RawValue) -> String {
    let mut words = String::new();
    if let Ok(value) = serde_json::from_str::<Value>(value.get()) {
        gather(&value, &mut words);
    }
    words
}

fn gather(value: &Value, words: &mut String) {
    match value {
        Value::String(text) => words.push_str(text),
        Value::Array(parts) => parts.iter().for_each(|part| gather(part, words)),
        Value::Object(part) => WORDS.iter().filter_map(|name| part.get(*name)).for_each(|value| gather(value, words)),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

/// Sorts the words of content in parts: reasoning to the reasoning, all others to the text.
pub(super) fn put_parts(content: &RawValue, text: &mut String, thoughts: &mut String) {
    match serde_json::from_str(content.get()) {
        Ok(Value::Array(parts)) => parts.iter().for_each(|part| {
            let is_thought = matches!(part["type"].as_str(), Some("thinking" | "reasoning"));
            gather(part, if is_thought { &mut *thoughts } else { &mut *text });
        }),
        Ok(other) => gather(&other, text),
        Err(_) => {}
    }
}

/// A model's reasoning. Some servers send it under several names at once: the longest counts.
pub(super) fn thoughts(names: [Option<&RawValue>; 3]) -> String {
    names.into_iter().flatten().map(words).max_by_key(String::len).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_found_in_parts() {
        let of = |json: &str| words(&RawValue::from_string(json.into()).unwrap());
        assert_eq!(of(r#""plain""#), "plain");
        let parts = r#"[{"type":"thinking","thinking":[{"type":"text","text":"hm"}],"signature":"x"},{"type":"text","text":"yes"}]"#;
        assert_eq!(of(parts), "hmyes");
        for none in ["null", "7", "[]", r#"{"type":"image"}"#] {
            assert_eq!(of(none), "", "{none}");
        }
    }

    #[test]
    fn thoughts_under_two_names_are_counted_once() {
        let raw = |json: &str| RawValue::from_string(json.into()).unwrap();
        let (short, long) = (raw(r#""hm""#), raw(r#""hmm""#));
        assert_eq!(thoughts([Some(&short), Some(&long), None]), "hmm");
        assert_eq!(thoughts([None; 3]), "");
    }
}
