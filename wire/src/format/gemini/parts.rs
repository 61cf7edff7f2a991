//! One part of a turn, read to neutral words. A part of a kind that has no place there becomes unknown content, and its
//! members are unread.

use super::{
    proofs,
    spelling::{below, list, members},
};
use crate::{
    fields::BadRequest,
    format::openai::reading::{Member, member, note, read_text},
    inference::{Audio, Content, File, Image, Media, Part, Reasoning, ToolCall, ToolKind, ToolResult, Unread},
};

/// Members with a part's content, of which it has one.
const CONTENTS: [&str; 5] = ["text", "inlineData", "fileData", "functionCall", "functionResponse"];
/// Where Google keeps the files that its clients send it.
const FILES: &str = "generativelanguage.googleapis.com";

/// A part of a turn.
#[derive(Debug)]
pub(super) struct Read {
    pub(super) content: Content,
    /// The proof of the thoughts before it, or of the thought that it is.
    pub(super) proof: Option<String>,
}

/// Reads a part.
///
/// # Errors
///
/// A member with a wrong value.
pub(super) fn read(json: &str, at: &str, unread: &mut Vec<Unread>) -> Result<Read, BadRequest> {
    let members = members(json, at)?;
    let text = |name: &str| match member(&members, name) {
        Some(json) => read_text(json).map(Some).ok_or_else(|| BadRequest::new(below(at, name), "must be a string")),
        None => Ok(None),
    };
    let mut kinds = CONTENTS.into_iter().filter_map(|kind| Some((kind, member(&members, kind)?)));
    let (kind, more) = (kinds.next(), kinds.next());
    if let Some((more, _)) = more {
        return Err(BadRequest::new(below(at, more), "is a second content of one part"));
    }
    let is_thought = match member(&members, "thought") {
        None | Some("false") => false,
        Some("true") => true,
        Some(_) => return Err(BadRequest::new(below(at, "thought"), "must be true or false")),
    };
    let proof = text("thoughtSignature")?.filter(|proof| !proof.is_empty()).map(|proof| proofs::read(&proof));
    let strange = members.iter().find(|(name, value)| *value != "null" && !is_beside(name));
    let content = match (kind, strange) {
        (Some(("text", _)), _) if is_thought => thought(text("text")?.unwrap_or_default()),
        (Some(("text", _)), _) => Content::Text(text("text")?.unwrap_or_default()),
        (Some(("inlineData", json)), _) => inline_data(json, &below(at, "inlineData"), unread)?,
        (Some(("fileData", json)), _) => file_data(json, &below(at, "fileData"), unread)?,
        (Some(("functionCall", json)), _) => call(json, &below(at, "functionCall"), unread)?,
        (Some((_, json)), _) => result(json, &below(at, "functionResponse"), unread)?,
        (None, Some((name, _))) => Content::Unknown { kind: name.to_string() },
        // A proof alone.
        (None, None) if is_thought => thought(String::new()),
        (None, None) if proof.is_some() => Content::Text(String::new()),
        (None, None) => return Err(BadRequest::new(at, "must have a content: text, inlineData, ...")),
    };
    let is_read = |name: &str| is_beside(name) || CONTENTS.contains(&name);
    for (name, value) in members.iter().filter(|(name, value)| *value != "null" && !is_read(name)) {
        note(unread, below(at, name), value);
    }
    Ok(Read { content, proof })
}

/// Members that stand beside a part's content, and are read.
fn is_beside(name: &str) -> bool {
    ["thought", "thoughtSignature"].contains(&name)
}

const fn thought(text: String) -> Content {
    Content::Reasoning(Reasoning { text, signature: None })
}

/// The text of a member, where it is there.
fn string(members: &[Member<'_>], name: &str, at: &str) -> Result<Option<String>, BadRequest> {
    let text = member(members, name).map(read_text);
    text.map(|text| text.ok_or_else(|| BadRequest::new(below(at, name), "must be a string"))).transpose()
}

fn required(members: &[Member<'_>], name: &str, at: &str) -> Result<String, BadRequest> {
    string(members, name, at)?.ok_or_else(|| BadRequest::new(below(at, name), "is required"))
}

/// Notes the members that were not read.
fn rest(members: &[Member<'_>], known: &[&str], at: &str, unread: &mut Vec<Unread>) {
    for (name, value) in members.iter().filter(|(name, value)| *value != "null" && !known.contains(&&**name)) {
        note(unread, below(at, name), value);
    }
}

/// Base64 as other formats have it: this one takes the letters for addresses too, and no padding (RFC 4648).
fn plain(base64: String) -> String {
    let mut plain = if base64.contains(['-', '_']) { base64.replace('-', "+").replace('_', "/") } else { base64 };
    while plain.len() % 4 != 0 && !plain.is_empty() {
        plain.push('=');
    }
    plain
}

fn inline_data(json: &str, at: &str, unread: &mut Vec<Unread>) -> Result<Content, BadRequest> {
    let members = members(json, at)?;
    let (media_type, base64) = (required(&members, "mimeType", at)?, required(&members, "data", at)?);
    let name = string(&members, "displayName", at)?;
    rest(&members, &["mimeType", "data", "displayName"], at, unread);
    let media = Media::Data { media_type: Some(media_type.clone()), base64: plain(base64) };
    Ok(of_media(media, Some(&media_type), name))
}

fn file_data(json: &str, at: &str, unread: &mut Vec<Unread>) -> Result<Content, BadRequest> {
    let members = members(json, at)?;
    let (uri, media_type) = (required(&members, "fileUri", at)?, string(&members, "mimeType", at)?);
    let name = string(&members, "displayName", at)?;
    rest(&members, &["mimeType", "fileUri", "displayName"], at, unread);
    let is_address = ["https://", "http://"].iter().any(|begin| uri.starts_with(begin));
    let media = if is_address && !uri.contains(FILES) {
        Media::Url(uri)
    } else {
        // It belongs to whoever's key is used.
        note(unread, below(at, "fileUri"), &serde_json::Value::from(&*uri).to_string());
        Media::Id(uri)
    };
    Ok(of_media(media, media_type.as_deref(), name))
}

fn of_media(media: Media, media_type: Option<&str>, name: Option<String>) -> Content {
    match media_type.and_then(|kind| kind.split_once('/')) {
        Some(("image", _)) => Content::Image(Image { media, detail: None }),
        Some(("audio", kind)) => {
            let kind = kind.split(';').next().unwrap_or(kind);
            let format = match kind {
                "mpeg" => "mp3",
                "x-wav" | "wave" | "vnd.wave" => "wav",
                other => other,
            };
            Content::Audio(Audio { media, format: Some(format.to_owned()) })
        }
        _ => Content::File(File { media: Some(media), name }),
    }
}

fn call(json: &str, at: &str, unread: &mut Vec<Unread>) -> Result<Content, BadRequest> {
    let members = members(json, at)?;
    let arguments = match member(&members, "args") {
        None => "{}",
        Some(json) if json.trim_start().starts_with('{') => json,
        Some(_) => return Err(BadRequest::new(below(at, "args"), "must be an object")),
    };
    let (id, name) = (string(&members, "id", at)?, required(&members, "name", at)?);
    rest(&members, &["id", "name", "args"], at, unread);
    Ok(Content::ToolCall(ToolCall { id, name, arguments: arguments.to_owned(), kind: ToolKind::Function }))
}

fn result(json: &str, at: &str, unread: &mut Vec<Unread>) -> Result<Content, BadRequest> {
    let own = members(json, at)?;
    let (call_id, name) = (string(&own, "id", at)?, required(&own, "name", at)?);
    let response = member(&own, "response").unwrap_or("{}");
    let (text, is_error) = said(response, &below(at, "response"))?;
    let mut parts = vec![Part::text(text)];
    if let Some(json) = member(&own, "parts") {
        let at = below(at, "parts");
        for (place, json) in list(json, &at)?.into_iter().enumerate() {
            let Read { content, proof: _ } = read(json, &format!("{at}[{place}]"), unread)?;
            parts.push(content.into());
        }
    }
    rest(&own, &["id", "name", "response", "parts"], at, unread);
    Ok(Content::ToolResult(ToolResult { call_id, name: Some(name), parts, is_error }))
}

/// What a tool said, and whether it failed: the text under a name by which this format's clients tell that, or all of the
/// object.
fn said(response: &str, at: &str) -> Result<(String, bool), BadRequest> {
    let members = members(response, at)?;
    let only = match &members[..] {
        [(name, value)] => read_text(value).map(|text| (&**name, text)),
        _ => None,
    };
    Ok(match only {
        Some(("output" | "result", text)) => (text, false),
        Some(("error", text)) => (text, true),
        _ => (response.to_owned(), matches!(&members[..], [(name, _)] if name == "error")),
    })
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[expect(clippy::needless_pass_by_value, reason = "it is made where it is asked about")]
    fn of(part: Value) -> Result<(Read, Vec<String>), BadRequest> {
        let mut unread = Vec::new();
        let read = read(&part.to_string(), "p", &mut unread)?;
        Ok((read, unread.into_iter().map(|unread| unread.at).collect()))
    }

    fn content(part: Value) -> Content {
        let (read, unread) = of(part).unwrap();
        assert_eq!(unread, Vec::<String>::new());
        read.content
    }

    #[test]
    fn each_kind_of_a_part_is_read_in_either_spelling() {
        assert_eq!(content(json!({"text": "x"})), Content::Text("x".into()));
        let image =
            Image { media: Media::Data { media_type: Some("image/png".into()), base64: "+/A=".into() }, detail: None };
        for name in [("inlineData", "mimeType"), ("inline_data", "mime_type")] {
            assert_eq!(content(json!({name.0: {name.1: "image/png", "data": "-_A"}})), Content::Image(image.clone()));
        }
        let Content::Audio(audio) = content(json!({"inlineData": {"mimeType": "audio/mpeg", "data": "AAAA"}})) else {
            panic!()
        };
        assert_eq!(audio.format.as_deref(), Some("mp3"));
        let pdf = json!({"inlineData": {"mimeType": "application/pdf", "data": "AAAA", "displayName": "a.pdf"}});
        assert!(matches!(content(pdf), Content::File(File { name: Some(name), .. }) if name == "a.pdf"));
        let far = json!({"file_data": {"file_uri": "https://x/y.mp4", "mime_type": "video/mp4"}});
        assert!(matches!(content(far), Content::File(File { media: Some(Media::Url(_)), .. })));
        let call = content(json!({"functionCall": {"name": "f", "args": {"a": 1}, "id": "c"}}));
        let Content::ToolCall(call) = call else { panic!("{call:?}") };
        assert_eq!((&*call.name, &*call.arguments, call.id.as_deref()), ("f", r#"{"a":1}"#, Some("c")));
    }

    #[test]
    fn a_tools_result_is_its_words_or_all_of_its_object() {
        for (response, expected) in [
            (json!({"output": "x"}), ("x", false)),
            (json!({"result": "x"}), ("x", false)),
            (json!({"error": "no"}), ("no", true)),
            (json!({"error": {"code": 1}}), (r#"{"error":{"code":1}}"#, true)),
            (json!({"result": 4}), (r#"{"result":4}"#, false)),
            (json!({"a": "x", "b": 1}), (r#"{"a":"x","b":1}"#, false)),
        ] {
            let Content::ToolResult(result) = content(json!({"functionResponse": {"name": "f", "response": response}}))
            else {
                panic!()
            };
            assert_eq!((&*result.name.unwrap(), result.is_error), ("f", expected.1));
            assert_eq!(result.parts, [Part::text(expected.0)]);
        }
        let shown = json!({"functionResponse": {"name": "f", "id": "c", "response": {"output": "x"},
            "parts": [{"inlineData": {"mimeType": "image/png", "data": "AAAA"}}]}});
        let Content::ToolResult(result) = content(shown) else { panic!() };
        assert!(result.call_id.as_deref() == Some("c") && matches!(result.parts[1].content, Content::Image(_)));
    }

    #[test]
    fn a_proof_is_read_with_its_part_and_what_is_strange_is_told() {
        let (read, _) = of(json!({"text": "hm", "thought": true, "thought_signature": "cHJvb2Y="})).unwrap();
        assert!(matches!(read.content, Content::Reasoning(_)));
        assert_eq!(read.proof.as_deref(), Some("google:cHJvb2Y="));
        let (read, unread) = of(json!({"executableCode": {"code": "1"}, "thoughtSignature": "cHJvb2Y="})).unwrap();
        assert!(matches!(read.content, Content::Unknown { kind } if kind == "executableCode"));
        assert_eq!(unread, ["p.executableCode"]);
        let kept = json!({"fileData": {"fileUri": "https://generativelanguage.googleapis.com/v1beta/files/a"}});
        let (read, unread) = of(kept).unwrap();
        assert!(matches!(read.content, Content::File(File { media: Some(Media::Id(_)), .. })));
        assert_eq!(unread, ["p.fileData.fileUri"]);
        let (_, unread) = of(json!({"text": "x", "videoMetadata": {"fps": 5}})).unwrap();
        assert_eq!(unread, ["p.videoMetadata"]);
    }

    #[test]
    fn a_wrong_member_is_refused_by_its_name() {
        for (part, field) in [
            (json!({}), "p"),
            (json!({"text": 7}), "p.text"),
            (json!({"text": "x", "inlineData": {}}), "p.inlineData"),
            (json!({"inlineData": {"data": "x"}}), "p.inlineData.mimeType"),
            (json!({"inlineData": {"mimeType": "x/y", "mime_type": "x/y", "data": "x"}}), "p.inlineData.mimeType"),
            (json!({"functionCall": {"args": {}}}), "p.functionCall.name"),
            (json!({"functionCall": {"name": "f", "args": "x"}}), "p.functionCall.args"),
            (json!({"functionResponse": {"name": "f", "response": []}}), "p.functionResponse.response"),
            (json!({"text": "x", "thought": 1}), "p.thought"),
            (json!({"text": "x", "thoughtSignature": 1}), "p.thoughtSignature"),
        ] {
            assert_eq!(of(part.clone()).unwrap_err().field, field, "{part}");
        }
    }
}
