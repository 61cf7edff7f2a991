//! Messages and tools in the form for templates: dictionaries in the shape that Hugging Face documents ("Chat
//! templates", transformers). Each message's content is one text, as templates of text models expect.

use std::borrow::Cow;

use serde_json::{Map, Value, json};
use wire::inference::{Content, Message, Part, Role, Tool, ToolCall, ToolKind, ToolResult};

/// The messages with each result of a tool as a message of its own.
pub(super) fn turns(messages: &[Message]) -> Vec<Cow<'_, Message>> {
    let is_result = |part: &&Part| matches!(part.content, Content::ToolResult(_));
    let mut turns = Vec::new();
    for message in messages {
        if !message.parts.iter().any(|part| is_result(&part)) {
            turns.push(Cow::Borrowed(message));
            continue;
        }
        for part in message.parts.iter().filter(is_result) {
            turns.push(Cow::Owned(Message { role: Role::Tool, parts: vec![part.clone()], ..message.clone() }));
        }
        let rest: Vec<Part> = message.parts.iter().filter(|part| !is_result(part)).cloned().collect();
        if !rest.is_empty() {
            turns.push(Cow::Owned(Message { parts: rest, ..message.clone() }));
        }
    }
    turns
}

/// A message. Where a template knows no developers, a developer is the system.
pub(super) fn message(message: &Message, knows_developers: bool) -> Value {
    let role = match message.role {
        Role::Developer if !knows_developers => Role::System,
        role => role,
    };
    let mut plain = Map::new();
    plain.insert("role".to_owned(), role.name().into());
    plain.insert("content".to_owned(), message.text().into());
    let mut put = |name: &str, text: &Option<String>| {
        if let Some(text) = text {
            plain.insert(name.to_owned(), text.as_str().into());
        }
    };
    put("name", &message.name);
    let mut calls = Vec::new();
    for Part { content, .. } in &message.parts {
        match content {
            Content::Reasoning(thoughts) => put("reasoning_content", &Some(thoughts.text.clone())),
            Content::ToolCall(made) => calls.push(call(made)),
            Content::ToolResult(ToolResult { call_id, name, .. }) => {
                put("name", name);
                put("tool_call_id", call_id);
            }
            // Texts are in the content already; other content does not reach this point.
            Content::Text(_)
            | Content::Refusal(_)
            | Content::Image(_)
            | Content::Audio(_)
            | Content::File(_)
            | Content::Unknown { .. } => {}
        }
    }
    if !calls.is_empty() {
        plain.insert("tool_calls".to_owned(), calls.into());
    }
    Value::Object(plain)
}

/// A tool call. Its arguments become a map; clients send them as text.
fn call(call: &ToolCall) -> Value {
    let ToolCall { id, name, arguments, kind } = call;
    let mut plain = Map::new();
    if let Some(id) = id {
        plain.insert("id".to_owned(), id.as_str().into());
    }
    plain.insert("type".to_owned(), "function".into());
    let read = match kind {
        ToolKind::Function => serde_json::from_str::<Map<String, Value>>(arguments).ok(),
        ToolKind::Custom => None,
    };
    let arguments = read.map_or_else(|| arguments.as_str().into(), Value::Object);
    plain.insert("function".to_owned(), json!({"name": name, "arguments": arguments}));
    Value::Object(plain)
}

/// A tool, with its parameters as a schema.
pub(super) fn tool(tool: &Tool) -> Value {
    let (kind, parameters) = match tool.kind {
        ToolKind::Function => ("function", "parameters"),
        ToolKind::Custom => ("custom", "format"),
    };
    let mut plain = Map::new();
    plain.insert("name".to_owned(), tool.name.as_str().into());
    if let Some(description) = &tool.description {
        plain.insert("description".to_owned(), description.as_str().into());
    }
    if let Some(schema) = tool.parameters.as_deref().and_then(|schema| serde_json::from_str(schema).ok()) {
        plain.insert(parameters.to_owned(), schema);
    }
    if let Some(strict) = tool.strict {
        plain.insert("strict".to_owned(), strict.into());
    }
    json!({"type": kind, kind: plain})
}
