//! The messages and the system prompt of a request, read to parts.

use super::blocks;
use crate::{
    fields::{BadRequest, Fields, Pairs},
    format::openai::reading::{member, members_of, no_content, note, read_mark, read_text},
    inference::{CacheMark, Message, Part, Role, Unread},
};

/// The most messages in one request ("Create a message", Anthropic API).
const MOST_MESSAGES: usize = 100_000;

/// The mark beside the messages, where there is one.
pub(super) fn mark_of(body: &Fields, unread: &mut Vec<Unread>) -> Option<CacheMark> {
    read_mark(body.present("cache_control")?, "cache_control", unread)
}

/// The system prompt.
pub(super) fn system(body: &Fields, unread: &mut Vec<Unread>) -> Result<Option<Message>, BadRequest> {
    let Some(json) = body.present("system") else { return Ok(None) };
    let parts = content(json, "system", unread)?;
    Ok((!parts.is_empty()).then_some(Message { role: Role::System, name: None, parts, cache: None, is_prefix: false }))
}

/// The `messages` of a body.
pub(super) fn read(body: &Fields, unread: &mut Vec<Unread>) -> Result<Vec<Message>, BadRequest> {
    let list = body.present("messages").ok_or_else(|| BadRequest::new("messages", "is required"))?;
    let list = Pairs::each_of(list).ok_or_else(|| BadRequest::new("messages", "must be an array"))?;
    if list.is_empty() || list.len() > MOST_MESSAGES {
        return Err(BadRequest::new("messages", format!("must have 1 to {MOST_MESSAGES} messages")));
    }
    list.enumerate().map(|(place, message)| read_message(place, message, unread)).collect()
}

fn read_message(place: usize, message: Option<Pairs<'_>>, unread: &mut Vec<Unread>) -> Result<Message, BadRequest> {
    let at = format!("messages[{place}]");
    let members = members_of(message, &at)?.ok_or_else(|| BadRequest::new(at.as_str(), "must be an object"))?;
    let role = match member(&members, "role").and_then(read_text).as_deref() {
        Some("user") => Role::User,
        Some("assistant") => Role::Assistant,
        Some("system") => Role::System,
        _ => return Err(BadRequest::new(format!("{at}.role"), "must be one of user, assistant, system")),
    };
    let at_content = format!("{at}.content");
    let Some(json) = member(&members, "content") else {
        return Err(BadRequest::new(at_content, "must be a string or an array of blocks"));
    };
    let parts = content(json, &at_content, unread)?;
    let mut message = Message { role, name: None, parts, cache: None, is_prefix: false };
    for (name, value) in members.iter().filter(|(_, value)| *value != "null") {
        match &**name {
            "role" | "content" => {}
            "cache_control" => message.cache = read_mark(value, &format!("{at}.{name}"), unread),
            name => note(unread, format!("{at}.{name}"), value),
        }
    }
    Ok(message)
}

/// Content as a text or as blocks.
pub(super) fn content(json: &str, at: &str, unread: &mut Vec<Unread>) -> Result<Vec<Part>, BadRequest> {
    if let Some(text) = read_text(json) {
        return Ok(vec![Part::text(text)]);
    }
    let must = || BadRequest::new(at, no_content(json, "must be a string or an array of blocks"));
    let list = Pairs::each_of(json).ok_or_else(must)?;
    let each = list.enumerate().map(|(place, block)| {
        let at = format!("{at}[{place}]");
        let members = members_of(block, &at)?;
        let kind = members.as_deref().and_then(|members| member(members, "type")).and_then(read_text);
        let Some((members, kind)) = members.zip(kind) else {
            return Err(BadRequest::new(at, "must be an object with a type"));
        };
        blocks::read(&members, &kind, &at, unread)
    });
    each.collect()
}
