//! Refusals of parts of a request where the gateway's key pays, in one wording for all clients' formats: a part that is
//! not known, one without a price, and a file that is kept at the provider. Such a file belongs to the one whose key is
//! used, so with the gateway's key no client may name one.

use serde_json::Value;

use crate::fields::BadRequest;

/// The most characters of a client's name that an error repeats.
const LONGEST_NAME: usize = 100;

/// The members that name such a file: in OpenAI's formats and Anthropic's, and in Google's, in both of its spellings.
const FILE_IDS: [&str; 3] = ["file_id", "fileUri", "file_uri"];

/// A client's name, as far as an error repeats it.
pub(super) fn short(name: &str) -> String {
    name.chars().take(LONGEST_NAME).collect()
}

/// A part that is not known, so its cost isn't either.
pub(super) fn unknown(name: &str) -> BadRequest {
    BadRequest::new(short(name), "is not known here, and what it costs neither; with your own provider-key it passes")
}

/// A part without a price, with a note on parts that have one.
pub(super) fn unpriced(field: impl Into<String>, note: &str) -> BadRequest {
    let why = if note.is_empty() { String::new() } else { format!(" ({note})") };
    BadRequest::new(field, format!("has no price here{why}; with your own provider-key it passes"))
}

/// A file that is kept at the provider, with the member that may be sent in its place.
pub(super) fn kept(at: &str, instead: &str) -> BadRequest {
    BadRequest::new(at, format!("files kept at the provider are not yours to read; send {instead}"))
}

/// Whether JSON that is not read further names a file that is kept at the provider. JSON that can't be read might.
pub(super) fn names_kept(json: &str) -> bool {
    fn within(value: &Value) -> bool {
        match value {
            Value::Object(members) => members.iter().any(|(name, value)| FILE_IDS.contains(&&**name) || within(value)),
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
