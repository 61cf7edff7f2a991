//! The messages of a chat, read to parts. A content of a kind that has no place in the neutral words becomes unknown content,
//! and its members are unread.

use crate::{
    fields::{BadRequest, Fields, Pairs},
    format::openai::reading::{
        Member, member, members, members_of, no_content, note, note_others, read_calls, read_part, read_text,
    },
    inference::{Content, Message, Part, Reasoning, Role, ToolResult, Unread},
};

/// The most messages in one request.
const MOST_MESSAGES: usize = 10_000;
/// Roles a message may have.
const ROLES: [(&str, Role); 4] =
    [("system", Role::System), ("user", Role::User), ("assistant", Role::Assistant), ("tool", Role::Tool)];
/// Kinds of content that are written as other formats write them too.
const KINDS: [&str; 3] = ["text", "image_url", "thinking"];

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
    let text = |name: &str| member(&members, name).and_then(read_text);
    let spelled = text("role");
    let Some((_, role)) = ROLES.into_iter().find(|(name, _)| spelled.as_deref() == Some(name)) else {
        let names = ROLES.map(|(name, _)| name).join(", ");
        return Err(BadRequest::new(format!("{at}.role"), format!("must be one of {names}")));
    };
    let content = content(&members, role, &format!("{at}.content"), unread)?;
    let mut parts = Vec::with_capacity(1);
    // The plan stands before the calls, and is what the model thought.
    let plan = text("tool_plan").filter(|plan| role == Role::Assistant && !plan.is_empty());
    parts.extend(plan.map(|text| Content::Reasoning(Reasoning { text, signature: None }).into()));
    if role == Role::Tool {
        let call_id =
            text("tool_call_id").ok_or_else(|| BadRequest::new(format!("{at}.tool_call_id"), "must be a string"))?;
        let result = ToolResult { call_id: Some(call_id), parts: content, ..ToolResult::default() };
        parts.push(Content::ToolResult(result).into());
    } else {
        parts.extend(content);
    }
    for (name, value) in members.iter().filter(|(_, value)| *value != "null") {
        let at = format!("{at}.{name}");
        match (&**name, role) {
            ("role" | "content", _) | ("tool_call_id", Role::Tool) => {}
            ("tool_plan", Role::Assistant) if read_text(value).is_some() => {}
            ("tool_calls", Role::Assistant) => read_calls(value, &at, &mut parts, unread),
            _ => note(unread, at, value),
        }
    }
    Ok(Message { role, name: None, parts, cache: None, is_prefix: false })
}

/// Content as a text or as blocks. A message of the model's may have none.
fn content(members: &[Member<'_>], role: Role, at: &str, unread: &mut Vec<Unread>) -> Result<Vec<Part>, BadRequest> {
    let must = || BadRequest::new(at, "must be a string or an array of blocks");
    let Some(json) = member(members, "content") else {
        return if role == Role::Assistant { Ok(Vec::new()) } else { Err(must()) };
    };
    if let Some(text) = read_text(json) {
        return Ok(vec![Part::text(text)]);
    }
    let bad = || BadRequest::new(at, no_content(json, "must be a string or an array of blocks"));
    let list = Pairs::each_of(json).ok_or_else(bad)?;
    let each = list.enumerate().map(|(place, block)| {
        let at = format!("{at}[{place}]");
        let members = members_of(block, &at)?;
        let kind = members.as_deref().and_then(|members| member(members, "type")).and_then(read_text);
        let Some((members, kind)) = members.zip(kind) else {
            return Err(BadRequest::new(at, "must be an object with a type"));
        };
        Ok(block_of(&members, &kind, &at, unread))
    });
    each.collect()
}

fn block_of(members: &[Member<'_>], kind: &str, at: &str, unread: &mut Vec<Unread>) -> Part {
    if KINDS.contains(&kind) {
        return read_part(members, kind, at, unread);
    }
    let text =
        (kind == "document").then(|| document(member(members, kind)?, &format!("{at}.{kind}"), unread)).flatten();
    if text.is_none() {
        note(unread, format!("{at}.type"), &serde_json::Value::String(kind.to_owned()).to_string());
    }
    note_others(members, if text.is_some() { &["type", "document"] } else { &["type"] }, at, unread);
    text.map_or_else(|| Content::Unknown { kind: kind.to_owned() }.into(), Part::text)
}

/// A document as the text that other models read: its data as they came. Its id is only there to be cited.
fn document(json: &str, at: &str, unread: &mut Vec<Unread>) -> Option<String> {
    let members = members(json, at).ok()??;
    let data = member(&members, "data")?;
    note_others(&members, &["data"], at, unread);
    Some(read_text(data).unwrap_or_else(|| data.to_owned()))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::inference::{Image, Media, ToolCall, ToolKind};

    fn of(messages: &Value) -> (Vec<Message>, Vec<String>) {
        let mut unread = Vec::new();
        let body = json!({"messages": messages}).to_string();
        let messages = read(&Fields::parse(body.as_bytes()).unwrap(), &mut unread).unwrap();
        (messages, unread.into_iter().map(|unread| unread.at).collect())
    }

    #[test]
    fn messages_are_read_to_parts() {
        let call = json!({"id": "c", "type": "function", "function": {"name": "sky", "arguments": "{\"at\":1}"}});
        let (messages, unread) = of(&json!([
            {"role": "system", "content": "be brief"},
            {"role": "user", "content": [{"type": "text", "text": "look"},
                {"type": "image_url", "image_url": {"url": "https://x/y.png", "detail": "low"}}]},
            {"role": "assistant", "tool_plan": "I will look", "tool_calls": [call]},
            {"role": "tool", "tool_call_id": "c", "content": [{"type": "document", "document": {"data": {"sky":"blue"}}},
                {"type": "document", "document": {"id": "d", "data": "grey"}}, {"type": "text", "text": "x"}]},
            {"role": "assistant", "content": [{"type": "thinking", "thinking": "hm"}, {"type": "text", "text": "It is blue"}],
                "citations": []},
        ]));
        let thought = |text: &str| Content::Reasoning(Reasoning { text: text.into(), signature: None });
        let contents: Vec<Vec<Content>> =
            messages.into_iter().map(|message| message.parts.into_iter().map(|part| part.content).collect()).collect();
        let image = Image { media: Media::Url("https://x/y.png".into()), detail: Some("low".into()) };
        let called = ToolCall {
            id: Some("c".into()),
            name: "sky".into(),
            arguments: "{\"at\":1}".into(),
            kind: ToolKind::Function,
        };
        let parts = vec![Part::text(r#"{"sky":"blue"}"#), Part::text("grey"), Part::text("x")];
        let result = ToolResult { call_id: Some("c".into()), parts, ..ToolResult::default() };
        let expected = [
            vec![Content::Text("be brief".into())],
            vec![Content::Text("look".into()), Content::Image(image)],
            vec![thought("I will look"), Content::ToolCall(called)],
            vec![Content::ToolResult(result)],
            vec![thought("hm"), Content::Text("It is blue".into())],
        ];
        assert_eq!(contents, expected);
        assert_eq!(unread, ["messages[3].content[1].document.id", "messages[4].citations"]);
    }

    #[test]
    fn what_has_no_place_is_unread() {
        let (_, unread) = of(&json!([
            {"role": "user", "content": [{"type": "sound", "sound": 1}], "tool_plan": "x", "tool_calls": []},
            {"role": "assistant", "tool_plan": 7, "tool_calls": [{"id": "c"}]},
            {"role": "user", "content": [{"type": "document", "document": 7}, {"type": "text"}]},
        ]));
        let expected = [
            "messages[0].content[0].type",
            "messages[0].content[0].sound",
            "messages[0].tool_plan",
            "messages[0].tool_calls",
            "messages[1].tool_plan",
            "messages[1].tool_calls[0]",
            "messages[2].content[0].type",
            "messages[2].content[0].document",
            "messages[2].content[1].text",
        ];
        assert_eq!(unread, expected);
    }
}
