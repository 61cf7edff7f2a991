//! One block of a message, read to a part. A block of a kind that has no place in the neutral words becomes unknown
//! content, and its members are unread.

use super::messages;
use crate::{
    fields::BadRequest,
    format::{
        marks,
        openai::reading::{Member, member, members, note, read_as, read_mark, read_text},
        proof::hidden,
    },
    inference::{CacheMark, Content, File, Image, Media, Part, Reasoning, ToolCall, ToolKind, ToolResult, Unread},
    object::Object,
};

/// A block by its members.
pub(super) fn read(members: &[Member<'_>], kind: &str, at: &str, unread: &mut Vec<Unread>) -> Result<Part, BadRequest> {
    let text = |name: &str| member(members, name).and_then(read_text);
    // The content, and the members that it was read from.
    let (content, own): (Option<Content>, &[&str]) = match kind {
        "text" => (text("text").map(Content::Text), &["text"]),
        "thinking" => {
            // Thoughts without a proof come with an empty one.
            let signature = text("signature").filter(|proof| !proof.is_empty());
            let thought = text("thinking").map(|text| Reasoning { text, signature });
            (thought.map(Content::Reasoning), &["thinking", "signature"])
        }
        "redacted_thinking" => (text("data").map(|data| thought_hidden(&data)), &["data"]),
        "image" => (image(members, at, unread), &["source"]),
        "document" => match document(members, at, unread) {
            // A text has room for all that stands beside it.
            Some(content @ Content::Text(_)) => (Some(content), &["source", "title", "context"]),
            content => (content, &["source", "title"]),
        },
        "search_result" => (search_result(members), &["source", "title", "content"]),
        "tool_use" => (call(members).map(Content::ToolCall), &["id", "name", "input"]),
        "tool_result" => {
            (Some(Content::ToolResult(result(members, at, unread)?)), &["tool_use_id", "content", "is_error"])
        }
        _ => (None, &[]),
    };
    if content.is_none() {
        note(unread, format!("{at}.type"), &serde_json::Value::String(kind.to_owned()).to_string());
    }
    let is_read = content.is_some();
    let mut part = Part::from(content.unwrap_or_else(|| Content::Unknown { kind: kind.to_owned() }));
    for (name, value) in members.iter().filter(|(_, value)| *value != "null") {
        match &**name {
            "type" => {}
            "cache_control" => {
                let mark = read_mark(value, &format!("{at}.{name}"), unread);
                part.cache = CacheMark::longer(part.cache, mark);
            }
            // What is read as one text may have marks of its own.
            "source" | "content" if is_read && ["document", "search_result"].contains(&kind) => {
                part.cache = CacheMark::longer(part.cache, marks::within(value, &format!("{at}.{name}"), unread));
            }
            name if is_read && own.contains(&name) => {}
            name => note(unread, format!("{at}.{name}"), value),
        }
    }
    Ok(part)
}

/// Reasoning that the provider hides: its data is the proof.
fn thought_hidden(data: &str) -> Content {
    Content::Reasoning(Reasoning { text: String::new(), signature: Some(hidden(data)) })
}

/// The place of a source's bytes, by its type.
fn media(source: &[Member<'_>]) -> Option<Media> {
    let text = |name: &str| member(source, name).and_then(read_text);
    match &*text("type")? {
        "base64" => Some(Media::Data { media_type: text("media_type"), base64: text("data")? }),
        "url" => text("url").map(Media::Url),
        "file" => text("file_id").map(Media::Id),
        _ => None,
    }
}

fn source<'a>(members: &[Member<'a>], at: &str) -> Option<Vec<Member<'a>>> {
    self::members(member(members, "source")?, at).ok()?
}

/// Notes a file that is kept at the provider: it belongs to whoever's key is used.
fn note_kept(media: &Media, at: &str, unread: &mut Vec<Unread>) {
    if let Media::Id(id) = media {
        note(unread, format!("{at}.source.file_id"), &serde_json::Value::String(id.clone()).to_string());
    }
}

fn image(members: &[Member<'_>], at: &str, unread: &mut Vec<Unread>) -> Option<Content> {
    let media = media(&source(members, at)?)?;
    note_kept(&media, at, unread);
    Some(Content::Image(Image { media, detail: None }))
}

/// A document: a file with its title as its name, or a text in itself, with its title and its context before it.
fn document(members: &[Member<'_>], at: &str, unread: &mut Vec<Unread>) -> Option<Content> {
    let source = source(members, at)?;
    let text = |name: &str| member(&source, name).and_then(read_text);
    if let Some(media) = media(&source) {
        note_kept(&media, at, unread);
        return Some(Content::File(File { media: Some(media), name: member(members, "title").and_then(read_text) }));
    }
    let words = match &*text("type")? {
        "text" => text("data")?,
        "content" => member(&source, "content").and_then(words)?,
        _ => return None,
    };
    let beside = ["title", "context"].into_iter().filter_map(|name| member(members, name).and_then(read_text));
    let beside: Vec<String> = beside.filter(|text| !text.is_empty()).collect();
    let head = if beside.is_empty() { String::new() } else { beside.join("\n") + "\n\n" };
    Some(Content::Text(head + &words))
}

/// A block with a text.
#[derive(serde::Deserialize)]
struct Words {
    #[serde(rename = "type")]
    kind: String,
    text: String,
}

/// The texts of content, where it has nothing else.
fn words(json: &str) -> Option<String> {
    if let Some(text) = read_text(json) {
        return Some(text);
    }
    let blocks: Vec<Object<Words>> = read_as(json)?;
    if blocks.iter().any(|Object(block)| block.kind != "text") {
        return None;
    }
    Some(blocks.into_iter().map(|Object(block)| block.text).collect::<Vec<_>>().join("\n"))
}

/// A search's result as its text: other formats have no words for one.
fn search_result(members: &[Member<'_>]) -> Option<Content> {
    let text = |name: &str| member(members, name).and_then(read_text);
    let (title, source, content) = (text("title")?, text("source")?, member(members, "content").and_then(words)?);
    Some(Content::Text(format!("{title}\n{source}\n\n{content}")))
}

fn call(members: &[Member<'_>]) -> Option<ToolCall> {
    let text = |name: &str| member(members, name).and_then(read_text);
    let arguments = member(members, "input").unwrap_or("{}").to_owned();
    Some(ToolCall { id: text("id"), name: text("name")?, arguments, kind: ToolKind::Function })
}

fn result(members: &[Member<'_>], at: &str, unread: &mut Vec<Unread>) -> Result<ToolResult, BadRequest> {
    let parts = match member(members, "content") {
        Some(json) => messages::content(json, &format!("{at}.content"), unread)?,
        None => Vec::new(),
    };
    let is_error = member(members, "is_error") == Some("true");
    Ok(ToolResult { call_id: member(members, "tool_use_id").and_then(read_text), name: None, parts, is_error })
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::{
        fields::Fields,
        inference::{CacheTtl, Role},
    };

    #[expect(clippy::needless_pass_by_value, reason = "it is made where it is asked about")]
    fn of(block: Value) -> (Part, Vec<String>) {
        let body = json!({"messages": [{"role": "user", "content": [block]}]}).to_string();
        let mut unread = Vec::new();
        let mut messages = messages::read(&Fields::parse(body.as_bytes()).unwrap(), &mut unread).unwrap();
        assert_eq!(messages[0].role, Role::User);
        (messages.remove(0).parts.remove(0), unread.into_iter().map(|unread| unread.at).collect())
    }

    #[test]
    fn every_known_block_is_read() {
        let data = |kind: &str, base64: &str| Media::Data { media_type: Some(kind.into()), base64: base64.into() };
        let thought = |text: &str, signature: &str| {
            Content::Reasoning(Reasoning { text: text.into(), signature: Some(signature.into()) })
        };
        let file =
            |media, name: Option<&str>| Content::File(File { media: Some(media), name: name.map(str::to_owned) });
        for (block, content) in [
            (json!({"type": "text", "text": "a"}), Content::Text("a".into())),
            (json!({"type": "thinking", "thinking": "hm", "signature": "s"}), thought("hm", "s")),
            (json!({"type": "redacted_thinking", "data": "d"}), thought("", "redacted_thinking:d")),
            (
                json!({"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "AA"}}),
                Content::Image(Image { media: data("image/png", "AA"), detail: None }),
            ),
            (
                json!({"type": "image", "source": {"type": "url", "url": "https://x/y.png"}}),
                Content::Image(Image { media: Media::Url("https://x/y.png".into()), detail: None }),
            ),
            (
                json!({"type": "document", "title": "t", "source": {"type": "base64", "media_type": "application/pdf", "data": "AA"}}),
                file(data("application/pdf", "AA"), Some("t")),
            ),
            (
                json!({"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "words"}}),
                Content::Text("words".into()),
            ),
            (
                json!({"type": "document", "source": {"type": "content", "content": [{"type": "text", "text": "w"}]}}),
                Content::Text("w".into()),
            ),
            (
                json!({"type": "document", "title": "t", "context": "c", "source": {"type": "text", "media_type": "text/plain", "data": "words"}}),
                Content::Text("t\nc\n\nwords".into()),
            ),
            (
                json!({"type": "document", "title": "t", "source": {"type": "content", "content": "w"}}),
                Content::Text("t\n\nw".into()),
            ),
            (
                json!({"type": "search_result", "title": "t", "source": "u", "content": [{"type": "text", "text": "w"}]}),
                Content::Text("t\nu\n\nw".into()),
            ),
        ] {
            assert_eq!(of(block.clone()), (content.into(), Vec::new()), "{block}");
        }
        let (part, unread) = of(json!({"type": "tool_use", "id": "i", "name": "f", "input": {"a": 1}}));
        let Content::ToolCall(call) = part.content else { panic!() };
        assert_eq!(
            (call.id.as_deref(), &*call.name, &*call.arguments, unread.len()),
            (Some("i"), "f", r#"{"a":1}"#, 0)
        );
    }

    #[test]
    fn a_tools_result_has_blocks_marks_and_what_is_unknown_in_it() {
        let (part, unread) = of(json!({"type": "tool_result", "tool_use_id": "i", "is_error": true,
            "cache_control": {"type": "ephemeral", "ttl": "1h"},
            "content": [{"type": "text", "text": "a"}, {"type": "tool_reference", "tool_name": "f"}]}));
        assert_eq!(part.cache, Some(CacheMark { ttl: Some(CacheTtl::Hour1) }));
        let Content::ToolResult(result) = part.content else { panic!() };
        assert!(result.is_error && result.call_id.as_deref() == Some("i"));
        assert_eq!(result.parts[1].content, Content::Unknown { kind: "tool_reference".into() });
        let at = "messages[0].content[0].content[1]";
        assert_eq!(unread, [format!("{at}.type"), format!("{at}.tool_name")]);
    }

    #[test]
    fn marks_within_what_is_read_as_one_text_are_the_parts() {
        let words = json!([{"type": "text", "text": "w", "cache_control": {"type": "ephemeral", "ttl": "1h"}}]);
        for block in [
            json!({"type": "document", "source": {"type": "content", "content": words}}),
            json!({"type": "search_result", "title": "t", "source": "u", "content": words}),
            json!({"type": "search_result", "title": "t", "source": "u", "content": words, "cache_control": {"ttl": "5m"}}),
        ] {
            let (part, unread) = of(block.clone());
            let mark = Some(CacheMark { ttl: Some(CacheTtl::Hour1) });
            assert_eq!((part.cache, unread.len()), (mark, 0), "{block}");
        }
        let odd = json!([{"type": "text", "text": "w", "cache_control": {"type": "ephemeral", "ttl": "9h"}}]);
        let (_, unread) = of(json!({"type": "search_result", "title": "t", "source": "u", "content": odd}));
        assert_eq!(unread, ["messages[0].content[0].content[0].cache_control.ttl"]);
    }

    #[test]
    fn what_is_not_known_is_told() {
        let (part, unread) = of(json!({"type": "web_search_tool_result", "tool_use_id": "i", "content": []}));
        assert_eq!(part.content, Content::Unknown { kind: "web_search_tool_result".into() });
        assert_eq!(unread.len(), 3);
        let (_, unread) = of(json!({"type": "document", "source": {"type": "file", "file_id": "f"}}));
        assert_eq!(unread, ["messages[0].content[0].source.file_id"]);
        let url = json!({"type": "url", "url": "https://x/y.pdf"});
        let (_, unread) = of(json!({"type": "document", "title": "t", "context": "c", "source": url}));
        assert_eq!(unread, ["messages[0].content[0].context"], "a file has no place for it");
        let (part, _) = of(json!({"type": "search_result", "title": "t", "source": "u", "content": [["text", "w"]]}));
        assert_eq!(part.content, Content::Unknown { kind: "search_result".into() }, "a list is no block");
        let (_, unread) = of(json!({"type": "text", "text": "x", "citations": [], "y": null}));
        assert_eq!(unread, ["messages[0].content[0].citations"]);
    }
}
