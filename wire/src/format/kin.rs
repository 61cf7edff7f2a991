//! Messages of providers whose formats are close kin of chat completions (Mistral, Cohere): the parts that they share.

use serde_json::{Value, json};

use super::openai::{address, parsed};
use crate::inference::{Content, Image, Message, Part, Role, Tool, ToolCall, ToolResult};

/// The largest number of 63 bits: such providers take no larger seed. The same seed stays the same.
const LARGEST_SEED: u64 = u64::MAX >> 1;

/// A seed as they take it.
pub(super) const fn seed(seed: u64) -> u64 {
    seed & LARGEST_SEED
}

/// The role of a message that is no tool's result.
pub(super) const fn role(message: &Message) -> &'static str {
    match message.role {
        Role::System | Role::Developer => "system",
        Role::User | Role::Tool => "user",
        Role::Assistant => "assistant",
    }
}

/// The results of tools in a message, each of which is a message. `id_of` spells a call's id as the provider takes it.
pub(super) fn results(
    message: &Message,
    id_of: impl Fn(&str) -> String,
    content: impl Fn(&[Part]) -> Value,
) -> Vec<Value> {
    let result = |part: &Part| match &part.content {
        Content::ToolResult(ToolResult { call_id, parts, .. }) => {
            let id = call_id.as_deref().map(&id_of);
            Some(json!({"role": "tool", "tool_call_id": id, "content": content(parts)}))
        }
        _ => None,
    };
    message.parts.iter().filter_map(result).collect()
}

/// The calls of a message. `id_of` spells a call's id as the provider takes it.
pub(super) fn calls(message: &Message, id_of: impl Fn(&str) -> String) -> Vec<Value> {
    let call = |part: &Part| match &part.content {
        Content::ToolCall(ToolCall { id, name, arguments, kind: _ }) => {
            let id = id.as_deref().map(&id_of);
            Some(json!({"id": id, "type": "function", "function": {"name": name, "arguments": arguments}}))
        }
        _ => None,
    };
    message.parts.iter().filter_map(call).collect()
}

/// A text; `None` where it is empty.
pub(super) fn text(text: &str) -> Option<Value> {
    (!text.is_empty()).then(|| json!({"type": "text", "text": text}))
}

/// An image, with the details that are known everywhere.
pub(super) fn image(image: &Image) -> Value {
    let mut url = json!({"url": address(&image.media, "image/png")});
    if let Some(detail) = image.detail.as_deref().filter(|detail| ["low", "auto", "high"].contains(detail)) {
        url["detail"] = detail.into();
    }
    json!({"type": "image_url", "image_url": url})
}

/// Content as one text, or as parts.
pub(super) fn joined(chunks: Vec<Value>) -> Value {
    match &chunks[..] {
        [] => "".into(),
        [only] if only["type"] == "text" => only["text"].clone(),
        _ => chunks.into(),
    }
}

/// A function that the model may call. Its parameters are required.
pub(super) fn function(tool: &Tool) -> Value {
    let mut function = json!({"name": tool.name});
    if let Some(description) = &tool.description {
        function["description"] = description.as_str().into();
    }
    let none = || json!({"type": "object", "properties": {}});
    function["parameters"] = tool.parameters.as_deref().map_or_else(none, parsed);
    json!({"type": "function", "function": function})
}
