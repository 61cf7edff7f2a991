//! Files that are kept at a provider. They belong to the one whose key is used, so with the gateway's key no client may
//! name one.

use serde_json::Value;

/// The member that names such a file, in OpenAI's formats and in Anthropic's.
const FILE_ID: &str = "file_id";

/// Whether JSON that is not read further names a file that is kept at the provider. JSON that can't be read might.
pub(super) fn names_kept(json: &str) -> bool {
    fn within(value: &Value) -> bool {
        match value {
            Value::Object(members) => members.iter().any(|(name, value)| name == FILE_ID || within(value)),
            Value::Array(values) => values.iter().any(within),
            _ => false,
        }
    }
    serde_json::from_str(json).map_or(true, |value| within(&value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_files_name_is_found_at_any_depth_and_however_it_is_spelled() {
        assert!(names_kept(r#"{"a":[{"source":{"file\u005fid":"f"}}]}"#));
        assert!(names_kept("not JSON"));
        assert!(names_kept(&format!("{}{}", "[".repeat(500), "]".repeat(500))), "too deep to read");
        assert!(!names_kept(r#"{"text":"file_id","a":[1,null]}"#));
    }
}
