//! Forms with files (RFC 7578): read from a body that is there whole, and written for a provider. What separates the
//! parts of a client's form separates those of the provider's: it is known to be in none of them. This file knows no
//! field.

use std::{borrow::Cow, sync::Arc};

use bytes::Bytes;
use serde_json::Value;

use crate::{
    fields::{BadRequest, Fields},
    inference::Upload,
};

/// The most parts of a form, and the longest head of one.
const MOST_PARTS: usize = 128;
const LONGEST_HEAD: usize = 8 << 10;
/// The longest separator (RFC 2046, section 5.1.1).
const LONGEST_BOUNDARY: usize = 70;

/// A form.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Form {
    /// What separates its parts.
    pub boundary: Arc<str>,
    /// Its parts, in their order.
    pub parts: Vec<Part>,
}

/// One part of a form.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// The field's name.
    pub name: String,
    /// The name of its file, where it is one.
    pub file_name: Option<String>,
    /// Its media type.
    pub media_type: Option<String>,
    /// Its bytes.
    pub bytes: Bytes,
}

fn bad(message: impl Into<String>) -> BadRequest {
    BadRequest::new("body", message)
}

/// The separator that a content type names; `None` where it is no form's.
pub fn boundary(content_type: &str) -> Option<&str> {
    let (kind, parameters) = content_type.split_once(';')?;
    if !kind.trim().eq_ignore_ascii_case("multipart/form-data") {
        return None;
    }
    let named = |parameter: &'_ str| parameter.split_once('=').is_some_and(|(name, _)| is_named(name, "boundary"));
    let (_, value) = parameters.split(';').find(|parameter| named(parameter))?.split_once('=')?;
    let value = value.trim();
    let value = value.strip_prefix('"').and_then(|value| value.strip_suffix('"')).unwrap_or(value);
    let may_be = |byte: u8| byte.is_ascii_alphanumeric() || b"'()+_,-./:=? ".contains(&byte);
    let is_one = (1..=LONGEST_BOUNDARY).contains(&value.len()) && value.bytes().all(may_be) && !value.ends_with(' ');
    is_one.then_some(value)
}

fn is_named(name: &str, wanted: &str) -> bool {
    name.trim().eq_ignore_ascii_case(wanted)
}

/// Reads a form.
///
/// # Errors
///
/// The body is no form, or breaks off. The error is for the client.
pub fn read(content_type: &str, body: &Bytes) -> Result<Form, BadRequest> {
    let boundary = boundary(content_type).ok_or_else(|| bad("must be a form: content-type multipart/form-data"))?;
    let line = format!("\r\n--{boundary}");
    let first = line.trim_start();
    let mut place = if body.starts_with(first.as_bytes()) {
        first.len()
    } else {
        find(body, 0, line.as_bytes()).map(|begin| begin + line.len()).ok_or_else(|| bad("has no parts"))?
    };
    let mut parts = Vec::new();
    loop {
        let rest = &body[place..];
        if rest.starts_with(b"--") {
            return Ok(Form { boundary: boundary.into(), parts });
        }
        let blanks = rest.iter().take_while(|byte| matches!(byte, b' ' | b'\t')).count();
        if !rest[blanks..].starts_with(b"\r\n") {
            return Err(bad("is no form: its separator stands where it separates nothing"));
        }
        if parts.len() == MOST_PARTS {
            return Err(bad(format!("must have at most {MOST_PARTS} parts")));
        }
        // The line end before the head may be the one that ends it.
        let head_begin = place + blanks;
        let head_end = find(&body[..body.len().min(head_begin + LONGEST_HEAD)], head_begin, b"\r\n\r\n");
        let head_end = head_end.ok_or_else(|| bad("has a part without a head, or with too long a one"))?;
        let begin = head_end + 4;
        let end = find(body, begin - 2, line.as_bytes()).ok_or_else(|| bad("breaks off"))?;
        let head = std::str::from_utf8(&body[head_begin..head_end]).map_err(|_| bad("has a head that is no text"))?;
        parts.push(part(head, body.slice(begin.min(end)..end))?);
        place = end + line.len();
    }
}

/// Where some bytes stand first, from a place on.
fn find(bytes: &[u8], from: usize, wanted: &[u8]) -> Option<usize> {
    let (first, mut place) = (*wanted.first()?, from);
    loop {
        place += bytes.get(place..)?.iter().position(|byte| *byte == first)?;
        if bytes[place..].starts_with(wanted) {
            return Some(place);
        }
        place += 1;
    }
}

fn part(head: &str, bytes: Bytes) -> Result<Part, BadRequest> {
    let header = |wanted: &str| {
        let headers = head.split("\r\n").filter_map(|line| line.split_once(':'));
        headers.into_iter().find(|(name, _)| is_named(name, wanted)).map(|(_, value)| value.trim())
    };
    let disposition = header("content-disposition").unwrap_or_default();
    let name = parameter(disposition, "name").ok_or_else(|| bad("has a part without a name"))?;
    let file_name = parameter(disposition, "filename");
    let media_type = header("content-type").filter(|value| !value.is_empty()).map(str::to_owned);
    Ok(Part { name, file_name, media_type, bytes })
}

/// A parameter of a header: quoted, as browsers and clients write it, or bare.
fn parameter(header: &str, wanted: &str) -> Option<String> {
    let (_, mut rest) = header.split_once(';')?;
    loop {
        let (name, value) = rest.split_once('=')?;
        let (value, after) = match value.trim_start().strip_prefix('"') {
            Some(quoted) => quoted_text(quoted)?,
            None => value
                .split_once(';')
                .map_or((value.trim().to_owned(), ""), |(value, after)| (value.trim().to_owned(), after)),
        };
        if is_named(name.trim_start_matches(';'), wanted) {
            return Some(value);
        }
        rest = after;
    }
}

/// A text up to its closing quote, and what follows.
fn quoted_text(text: &str) -> Option<(String, &str)> {
    let (mut value, mut is_escaped) = (String::new(), false);
    for (place, character) in text.char_indices() {
        match character {
            '"' if !is_escaped => return Some((unescaped(&value), &text[place + 1..])),
            '\\' if !is_escaped => is_escaped = true,
            other => {
                // Old browsers wrote paths with backslashes: only a quote is escaped by one.
                if is_escaped && other != '"' {
                    value.push('\\');
                }
                value.push(other);
                is_escaped = false;
            }
        }
    }
    None
}

/// The characters that browsers write so in a name (WHATWG HTML, "Multipart form data").
const ESCAPES: [(&str, &str); 3] = [("\"", "%22"), ("\r", "%0D"), ("\n", "%0A")];

fn unescaped(text: &str) -> String {
    ESCAPES.iter().fold(text.to_owned(), |text, (plain, escaped)| text.replace(escaped, plain))
}

fn escaped(text: &str) -> String {
    ESCAPES.iter().fold(text.to_owned(), |text, (plain, escaped)| text.replace(plain, escaped))
}

/// Writes a form: the members of an object, then the files. A list is written as so many fields of one name. The boundary
/// separates the parts: it stands in none of them.
pub fn write(fields: &Fields, uploads: &[Upload], boundary: &str) -> Vec<u8> {
    let bytes = uploads.iter().map(|upload| upload.bytes.len()).sum::<usize>();
    let mut form = Vec::with_capacity(bytes + (4 << 10));
    let mut put = |head: &str, value: &[u8]| {
        for piece in [b"--", boundary.as_bytes(), b"\r\ncontent-disposition: form-data; ", head.as_bytes()] {
            form.extend_from_slice(piece);
        }
        form.extend_from_slice(b"\r\n\r\n");
        form.extend_from_slice(value);
        form.extend_from_slice(b"\r\n");
    };
    for name in fields.names() {
        let head = format!("name=\"{}\"", escaped(name));
        for text in texts(fields.get(name).unwrap_or("null")) {
            put(&head, text.as_bytes());
        }
    }
    for Upload { field, name, media_type, bytes, .. } in uploads {
        let mut head = format!("name=\"{}\"", escaped(field));
        if let Some(name) = name {
            head.push_str("; filename=\"");
            head.push_str(&escaped(name));
            head.push('"');
        }
        if let Some(media_type) = media_type.as_deref().filter(|text| !text.contains(['\r', '\n'])) {
            head.push_str("\r\ncontent-type: ");
            head.push_str(media_type);
        }
        put(&head, bytes);
    }
    form.extend_from_slice(b"--");
    form.extend_from_slice(boundary.as_bytes());
    form.extend_from_slice(b"--\r\n");
    form
}

/// The values of a member, as a form has them.
fn texts(json: &str) -> Vec<String> {
    let text = |value: Value| match value {
        Value::String(text) => text,
        other => other.to_string(),
    };
    match serde_json::from_str(json) {
        Ok(Value::Null) | Err(_) => Vec::new(),
        Ok(Value::Array(list)) => list.into_iter().map(text).collect(),
        // As it was written: no number changes.
        Ok(Value::Number(_)) => vec![json.to_owned()],
        Ok(other) => vec![text(other)],
    }
}

/// A body without the separator of its form, by which clients write one form anew each time.
pub fn without_boundary<'a>(content_type: &str, body: &'a [u8]) -> Cow<'a, [u8]> {
    let Some(boundary) = boundary(content_type) else { return Cow::Borrowed(body) };
    let line = format!("--{boundary}");
    let (mut same, mut place) = (Vec::with_capacity(body.len()), 0);
    while let Some(found) = find(body, place, line.as_bytes()) {
        // What stays marks the place, so that no other form is the same.
        same.extend_from_slice(&body[place..found]);
        same.extend_from_slice(b"\r\n--");
        place = found + line.len();
    }
    same.extend_from_slice(&body[place..]);
    Cow::Owned(same)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const TYPE: &str = "multipart/form-data; boundary=xYz";

    fn form(parts: &[&str]) -> Bytes {
        let mut text = parts.join("\r\n--xYz\r\n");
        text.insert_str(0, "--xYz\r\n");
        text.push_str("\r\n--xYz--\r\n");
        text.into()
    }

    #[test]
    fn fields_and_files_are_read_in_any_order() {
        let body = form(&[
            "Content-Disposition: form-data; name=\"file\"; filename=\"a \\\"b\\\".mp3\"\r\nContent-Type: audio/mpeg\r\n\r\n\r\n--xY\r\n",
            "content-disposition: form-data; name=model\r\n\r\nwhisper-1",
            "Content-Disposition: form-data; name=\"empty%22\"\r\n\r\n",
        ]);
        let read = read(TYPE, &body).unwrap();
        let [file, model, empty] = &read.parts[..] else { panic!("{read:?}") };
        assert_eq!((&*file.name, file.file_name.as_deref()), ("file", Some("a \"b\".mp3")));
        assert_eq!((file.media_type.as_deref(), &file.bytes[..]), (Some("audio/mpeg"), &b"\r\n--xY\r\n"[..]));
        assert_eq!((&*model.name, &model.bytes[..], model.file_name.as_deref()), ("model", &b"whisper-1"[..], None));
        assert_eq!((&*empty.name, &empty.bytes[..]), ("empty\"", &b""[..]));
        let preamble = [&b"ignored\r\n"[..], &body].concat();
        assert_eq!(super::read(TYPE, &preamble.into()).unwrap(), read);
    }

    #[test]
    fn what_is_no_form_is_refused() {
        let whole = form(&["content-disposition: form-data; name=\"a\"\r\n\r\nb"]);
        for end in 0..whole.len() - 4 {
            assert!(read(TYPE, &whole.slice(..end)).is_err(), "cut at {end}");
        }
        for body in [
            form(&["content-disposition: form-data\r\n\r\nb"]),
            form(&["\r\n\r\nb"]),
            form(&["content-disposition: form-data; name=\"a\"\r\n\r\nb\r\n--xYzz"]),
            form(&["content-disposition: form-data; name=\"a\r\n\r\nb"]),
        ] {
            assert_eq!(read(TYPE, &body).unwrap_err().field, "body", "{body:?}");
        }
        for kind in [
            "application/json",
            "multipart/form-data",
            "multipart/form-data; boundary=",
            "multipart/mixed; boundary=xYz",
        ] {
            assert!(read(kind, &whole).is_err(), "{kind}");
        }
        assert_eq!(boundary("Multipart/Form-Data; charset=utf-8; Boundary=\"a b\""), Some("a b"));
    }

    #[test]
    fn a_form_that_is_written_reads_as_it_was() {
        let fields =
            br#"{"model":"m","stream":true,"temperature":0.20,"include[]":["a","b"],"gone":null,"q\"":"x\r\ny"}"#;
        let fields = Fields::parse(fields).unwrap();
        let upload = |field: &str, bytes| Upload {
            field: field.into(),
            name: Some("a\".wav".into()),
            media_type: Some("audio/wav".into()),
            bytes: Bytes::from_static(bytes),
            boundary: "xYz".into(),
        };
        let uploads = [upload("image[]", b"\r\n\0--"), upload("image[]", b"two")];
        let form = read(TYPE, &write(&fields, &uploads, "xYz").into()).unwrap();
        let texts: Vec<_> = form.parts.iter().map(|part| (&*part.name, &part.bytes[..])).collect();
        assert_eq!(
            texts,
            [
                ("model", &b"m"[..]),
                ("stream", b"true"),
                ("temperature", b"0.20"),
                ("include[]", b"a"),
                ("include[]", b"b"),
                ("q\"", b"x\r\ny"),
                ("image[]", b"\r\n\0--"),
                ("image[]", b"two"),
            ]
        );
        let file = form.parts.last().unwrap();
        assert_eq!((file.file_name.as_deref(), file.media_type.as_deref()), (Some("a\".wav"), Some("audio/wav")));
    }

    #[test]
    fn the_same_form_is_the_same_with_another_separator() {
        let of = |boundary: &str, value: &str| {
            let body = format!(
                "--{boundary}\r\ncontent-disposition: form-data; name=\"a\"\r\n\r\n{value}\r\n--{boundary}--\r\n"
            );
            without_boundary(&format!("multipart/form-data; boundary={boundary}"), body.as_bytes()).into_owned()
        };
        assert_eq!(of("one", "x"), of("another", "x"));
        assert_ne!(of("one", "x"), of("one", "y"));
        assert_eq!(&*without_boundary("application/json", b"--one"), b"--one");
    }

    proptest! {
        #[test]
        fn nothing_panics(body in proptest::collection::vec(any::<u8>(), 0..200), cut in 0_usize..80) {
            let _ = read(TYPE, &body.clone().into());
            let whole = form(&["content-disposition: form-data; name=\"a\"; filename=\"b\"\r\n\r\nb"]);
            let mixed = [&whole[..cut.min(whole.len())], &body, &whole[cut.min(whole.len())..]].concat();
            let _ = read(TYPE, &mixed.into());
        }

        #[test]
        fn any_file_comes_back(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let (field, bytes_of, boundary) = ("file".into(), bytes.clone().into(), "xYz".into());
            let upload = Upload { field, name: None, media_type: None, bytes: bytes_of, boundary };
            let form = read(TYPE, &write(&Fields::default(), &[upload], "xYz").into()).unwrap();
            prop_assert_eq!(&form.parts[0].bytes[..], &bytes[..]);
        }
    }
}
