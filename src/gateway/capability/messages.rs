//! The content of a conversation that an open model accepts: texts, and members that name or describe them. Any content
//! that the model would not read is refused by its place.

use wire::inference::{Content, Part, Request, Role, Unread, Work};

use super::Unable;

/// Members that have no place in the neutral words and change nothing: ids, earlier reasoning in other forms,
/// citations. By pattern.
const DESCRIBING: [&str; 13] = [
    "messages[].content[].citations",
    "messages[].content[].caller",
    "system[].citations",
    "messages[].id",
    "messages[].parsed",
    "messages[].provider_specific_fields",
    "messages[].thinking_blocks",
    "messages[].extra_content",
    "messages[].reasoning_signature",
    "messages[].annotations",
    "messages[].reasoning",
    "messages[].reasoning_details",
    "messages[].content[].annotations",
];
/// Unread members of a call, besides its function.
const OF_A_CALL: &str = "messages[].tool_calls[].";
/// Marks of an answer to be continued; refused where the mark is set.
const CONTINUED: [&str; 2] = ["messages[].prefix", "messages[].partial"];

/// Refuses content that the model would not read.
pub(super) fn check(request: &Request) -> Result<(), Unable> {
    let Work::Conversation(conversation) = &request.work else { return Ok(()) };
    for (place, message) in conversation.messages.iter().enumerate() {
        message.parts.iter().try_for_each(|part| check_part(place, message.role, part))?;
    }
    let is_content = |unread: &&Unread| unread.at.starts_with("messages") || unread.at.starts_with("system");
    request.unread.iter().filter(is_content).try_for_each(check_unread)
}

fn short(text: &str) -> String {
    text.chars().take(100).collect()
}

fn check_part(place: usize, role: Role, part: &Part) -> Result<(), Unable> {
    let unable = |kind: &str| {
        if kind == "text" || kind == "refusal" {
            let message = format!("a part of type {kind} must have a {kind} that is a string");
            return Err(Unable::new(format!("messages[{place}].content"), message));
        }
        let message =
            format!("messages[{place}].content has a part of type {}; open models read text only", short(kind));
        Err(Unable::new("messages", message))
    };
    match &part.content {
        Content::Text(_) | Content::Refusal(_) | Content::Reasoning(_) => Ok(()),
        Content::ToolResult(result) => result.parts.iter().try_for_each(|part| check_part(place, role, part)),
        Content::ToolCall(_) if role == Role::Assistant => Ok(()),
        Content::ToolCall(_) => {
            Err(Unable::new(format!("messages[{place}].tool_calls"), "only an assistant calls tools"))
        }
        Content::Image(_) => unable("image_url"),
        Content::Audio(_) => unable("input_audio"),
        Content::File(_) => unable("file"),
        Content::Unknown { kind } => unable(kind),
    }
}

fn check_unread(unread: &Unread) -> Result<(), Unable> {
    let pattern = unread.pattern();
    let is_harmless = match &*unread.json {
        "null" => true,
        "false" if CONTINUED.contains(&&*pattern) => true,
        _ => DESCRIBING.contains(&&*pattern) || pattern.starts_with(OF_A_CALL),
    };
    if is_harmless {
        return Ok(());
    }
    Err(Unable::new(short(&unread.at), "is not read by open models, so it is refused"))
}
