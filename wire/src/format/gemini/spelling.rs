//! Names as clients of this format spell them: JSON of protocol buffers has `camelCase`, and takes `snake_case` as well.
//! A name that comes in both spellings is refused, because readers differ in which one counts. Where the format has a
//! list, it takes a lone object for a list of one.

use std::borrow::Cow;

use serde_json::value::RawValue;

use crate::{
    fields::{BadRequest, Fields},
    format::openai::reading::{self, Members, read_as},
};

/// A name in `camelCase`.
pub(super) fn camel(name: &str) -> Cow<'_, str> {
    if !name.contains('_') {
        return Cow::Borrowed(name);
    }
    let (mut camel, mut is_begin) = (String::with_capacity(name.len()), false);
    for letter in name.chars() {
        match letter {
            '_' => is_begin = true,
            letter if std::mem::take(&mut is_begin) => camel.push(letter.to_ascii_uppercase()),
            letter => camel.push(letter),
        }
    }
    Cow::Owned(camel)
}

/// A name in `snake_case`.
fn snake(name: &str) -> String {
    let letters = name
        .chars()
        .flat_map(|letter| letter.is_ascii_uppercase().then_some('_').into_iter().chain([letter.to_ascii_lowercase()]));
    letters.collect()
}

/// A place below another one.
pub(super) fn below(at: &str, name: &str) -> String {
    if at.is_empty() { name.to_owned() } else { format!("{at}.{name}") }
}

/// An object's members, by their names in `camelCase`.
///
/// # Errors
///
/// The text is no object, has too many members, or has one in two spellings.
pub(super) fn members<'a>(json: &'a str, at: &str) -> Result<Members<'a>, BadRequest> {
    let members = reading::members(json, at)?.ok_or_else(|| BadRequest::new(at, "must be an object"))?;
    let mut spelled: Members<'a> = Vec::with_capacity(members.len());
    for (name, value) in members {
        let name = match camel(&name) {
            Cow::Borrowed(_) => name,
            Cow::Owned(camel) => Cow::Owned(camel),
        };
        if spelled.iter().any(|(known, _)| *known == name) {
            return Err(twice(&below(at, &name)));
        }
        spelled.push((name, value));
    }
    Ok(spelled)
}

fn twice(at: &str) -> BadRequest {
    BadRequest::new(at, "comes in two spellings, and readers differ in which one counts")
}

/// Refuses a body with a field in two spellings.
///
/// # Errors
///
/// The field.
pub(super) fn refuse_twice(body: &Fields) -> Result<(), BadRequest> {
    let mut known: Vec<Cow<'_, str>> = Vec::new();
    for name in body.names() {
        let name = camel(name);
        if known.contains(&name) {
            return Err(twice(&name));
        }
        known.push(name);
    }
    Ok(())
}

/// A field of a body by its name in `camelCase`, in either spelling, where it is there and not null.
pub(crate) fn field<'a>(body: &'a Fields, name: &str) -> Option<&'a str> {
    body.present(name).or_else(|| body.present(&snake(name)))
}

/// The entries of a list, or a lone object as its only entry.
///
/// # Errors
///
/// The text is neither.
pub(super) fn list<'a>(json: &'a str, at: &str) -> Result<Vec<&'a str>, BadRequest> {
    if json.trim_start().starts_with('{') {
        return Ok(vec![json]);
    }
    let list: Vec<&RawValue> = read_as(json).ok_or_else(|| BadRequest::new(at, "must be an array"))?;
    Ok(list.into_iter().map(RawValue::get).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_spellings_are_one_name_and_not_both_at_once() {
        assert_eq!((&*camel("max_output_tokens"), &*camel("topP")), ("maxOutputTokens", "topP"));
        assert_eq!((snake("maxOutputTokens"), snake("contents")), ("max_output_tokens".into(), "contents".into()));
        let read = members(r#"{"mime_type":"a","data":"b"}"#, "x").unwrap();
        assert_eq!(reading::member(&read, "mimeType"), Some("\"a\""));
        assert_eq!(members(r#"{"topP":1,"top_p":2}"#, "x").unwrap_err().field, "x.topP");
        assert_eq!(members("[]", "x").unwrap_err().field, "x");
        let body = Fields::parse(br#"{"generation_config":{"a":1},"tools":null}"#).unwrap();
        assert_eq!((field(&body, "generationConfig"), field(&body, "tools")), (Some(r#"{"a":1}"#), None));
        assert_eq!(refuse_twice(&body), Ok(()));
        let body = Fields::parse(br#"{"generation_config":null,"generationConfig":{}}"#).unwrap();
        assert_eq!(refuse_twice(&body).unwrap_err().field, "generationConfig");
    }

    #[test]
    fn a_lone_object_is_a_list_of_one() {
        assert_eq!(list(r#" {"a":1}"#, "x"), Ok(vec![r#" {"a":1}"#]));
        assert_eq!(list("[1, {}]", "x"), Ok(vec!["1", "{}"]));
        assert_eq!(list("7", "x").unwrap_err().field, "x");
    }
}
