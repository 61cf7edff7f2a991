//! Messages of another format as this format has them: instructions before all messages, neighbours of one role joined,
//! the results of tools before the rest of their message.

use serde_json::{Map, Value, json};

use super::mark;
use crate::{
    format::{
        feature::{Feature, is_data, message_field},
        proof::{HIDDEN, anthropics},
    },
    inference::{Content, Failure, File, Format, Image, Media, Message, Part, Reasoning, Role, ToolCall, ToolResult},
};

/// A conversation's system prompt and messages.
#[derive(Debug, Default)]
pub(super) struct Written {
    pub(super) system: Vec<Value>,
    pub(super) messages: Vec<Value>,
}

/// Writes a conversation.
pub(super) fn write(messages: &[Message], client: Format) -> Result<Written, Failure> {
    let mut written = Written::default();
    for (place, message) in messages.iter().enumerate() {
        let at = message_field(client, place);
        let mut blocks = blocks(&message.parts, &at)?;
        if let (Some(cache), Some(last)) = (message.cache, blocks.last_mut()) {
            last["cache_control"] = mark(cache);
        }
        if blocks.is_empty() {
            continue;
        }
        match message.role {
            Role::System | Role::Developer if written.messages.is_empty() => written.system.append(&mut blocks),
            Role::System | Role::Developer => put(&mut written.messages, "system", blocks),
            Role::User | Role::Tool => put(&mut written.messages, "user", blocks),
            Role::Assistant => put(&mut written.messages, "assistant", blocks),
        }
    }
    trim_end(&mut written.messages);
    if written.messages.is_empty() {
        let field = Feature::TextPrompt.field(client);
        let field = if client == Format::OpenAiChat { "messages" } else { field };
        let message = "must have a message that is no instruction, and not empty".to_owned();
        return Err(Failure::Invalid { field: field.to_owned(), message });
    }
    put_results_first(&mut written.messages);
    Ok(written)
}

/// Adds a message, or its blocks to a neighbour of the same role.
fn put(messages: &mut Vec<Value>, role: &str, mut blocks: Vec<Value>) {
    let last = messages.last_mut().filter(|last| last["role"] == role);
    match last.and_then(|last| last["content"].as_array_mut()) {
        Some(content) => content.append(&mut blocks),
        None => messages.push(json!({"role": role, "content": blocks})),
    }
}

/// The text from which the answer goes on has no white space at its end: the provider refuses it.
fn trim_end(messages: &mut Vec<Value>) {
    while let Some(content) = messages.last_mut().filter(|last| last["role"] == "assistant") {
        let Some(content) = content["content"].as_array_mut() else { return };
        let Some(block) = content.last_mut().filter(|block| block["type"] == "text") else { return };
        let text = block["text"].as_str().unwrap_or_default().trim_end().to_owned();
        if !text.is_empty() {
            block["text"] = text.into();
            return;
        }
        content.pop();
        if content.is_empty() {
            messages.pop();
        }
    }
}

/// Puts the results of tools first in their message. Once for each message, when all of its blocks are there.
fn put_results_first(messages: &mut [Value]) {
    let of_users = messages.iter_mut().filter(|message| message["role"] == "user");
    for content in of_users.filter_map(|message| message["content"].as_array_mut()) {
        content.sort_by_key(|block| block["type"] != "tool_result");
    }
}

fn blocks(parts: &[Part], at: &str) -> Result<Vec<Value>, Failure> {
    let mut blocks = Vec::with_capacity(parts.len());
    for part in parts {
        let Some(mut block) = block(&part.content, at)? else { continue };
        if let Some(cache) = part.cache {
            block["cache_control"] = mark(cache);
        }
        blocks.push(block);
    }
    Ok(blocks)
}

fn invalid(field: String, message: &str) -> Failure {
    Failure::Invalid { field, message: message.to_owned() }
}

/// A block; `None` for what the format refuses or has no words for: blank texts, reasoning without proof.
fn block(content: &Content, at: &str) -> Result<Option<Value>, Failure> {
    Ok(match content {
        Content::Text(text) | Content::Refusal(text) => {
            (!text.trim().is_empty()).then(|| json!({"type": "text", "text": text}))
        }
        Content::Image(Image { media, .. }) => Some(json!({"type": "image", "source": source(media, "image/png")})),
        Content::File(file) => Some(document(file, at)?),
        // Another provider's proof is none here.
        Content::Reasoning(Reasoning { text, signature }) => {
            signature.as_deref().and_then(anthropics).map(|proof| match proof.strip_prefix(HIDDEN) {
                Some(data) => json!({"type": "redacted_thinking", "data": data}),
                None => json!({"type": "thinking", "thinking": text, "signature": proof}),
            })
        }
        Content::ToolCall(ToolCall { id, name, arguments, .. }) => {
            let input =
                if arguments.trim().is_empty() { Ok(json!({})) } else { serde_json::from_str::<Value>(arguments) };
            let input = input.ok().filter(Value::is_object);
            let must = || invalid(arguments_of(at), "a call's arguments must be a JSON object");
            Some(json!({"type": "tool_use", "id": id, "name": name, "input": input.ok_or_else(must)?}))
        }
        Content::ToolResult(result) => Some(returned(result, at)?),
        Content::Audio(_) | Content::Unknown { .. } => None,
    })
}

fn returned(result: &ToolResult, at: &str) -> Result<Value, Failure> {
    let mut block = Map::new();
    block.insert("type".into(), "tool_result".into());
    block.insert("tool_use_id".into(), result.call_id.clone().into());
    let content = blocks(&result.parts, at)?;
    if !content.is_empty() {
        block.insert("content".into(), content.into());
    }
    if result.is_error {
        block.insert("is_error".into(), true.into());
    }
    Ok(Value::Object(block))
}

/// The field of a call's arguments: in lists of messages they stand in a message's calls, in lists of items beside messages.
fn arguments_of(at: &str) -> String {
    if at.starts_with("messages[") { format!("{at}.tool_calls") } else { at.to_owned() }
}

/// A media type and the bytes of a `data:` address (RFC 2397).
fn data_of(url: &str) -> Option<(&str, &str)> {
    let (head, data) = url.get(5..)?.split_once(',')?;
    Some((head.split(';').next().unwrap_or_default(), data))
}

fn source(media: &Media, usual: &str) -> Value {
    let base64 = |kind: &str, data: &str| {
        let kind = if kind.is_empty() { usual } else { kind };
        json!({"type": "base64", "media_type": kind, "data": data})
    };
    match media {
        Media::Url(url) | Media::Data { base64: url, .. } if is_data(url) => {
            let (kind, data) = data_of(url).unwrap_or_default();
            base64(kind, data)
        }
        Media::Url(url) => json!({"type": "url", "url": url}),
        Media::Data { media_type, base64: data } => base64(media_type.as_deref().unwrap_or_default(), data),
        Media::Id(id) => json!({"type": "file", "file_id": id}),
    }
}

/// A file as a document: PDFs alone have bytes that the format takes.
fn document(file: &File, at: &str) -> Result<Value, Failure> {
    let pdf = "application/pdf";
    let media = file.media.as_ref().ok_or_else(|| invalid(at.to_owned(), "a file must have its bytes"))?;
    let source = source(media, pdf);
    if source["type"] == "base64" && source["media_type"] != pdf {
        return Err(invalid(at.to_owned(), "a file must be a PDF for Anthropic's models; send its text as text"));
    }
    let mut block = json!({"type": "document", "source": source});
    if let Some(name) = &file.name {
        block["title"] = name.as_str().into();
    }
    Ok(block)
}
