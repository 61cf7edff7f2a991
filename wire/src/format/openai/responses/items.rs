//! The input of a response: a text, or items. Items of the model that follow each other are one message: its words, its
//! reasoning and its calls.

use serde_json::value::RawValue;

use super::{
    super::messages::{Member, member, members, members_of, no_content, note, note_others, read_as, read_text},
    request::note_tools,
};
use crate::{
    fields::{BadRequest, Fields, Pairs},
    inference::{
        Audio, Content, File, Image, Media, Message, Part, Reasoning, Role, ToolCall, ToolKind, ToolResult, Unread,
    },
};

/// The most items of an input.
const MOST_ITEMS: usize = 20_000;
/// The roles of messages.
const ROLES: [(&str, Role); 4] =
    [("system", Role::System), ("developer", Role::Developer), ("user", Role::User), ("assistant", Role::Assistant)];

/// The messages of a body: its instructions, and its input.
pub(super) fn read(body: &Fields, unread: &mut Vec<Unread>) -> Result<Vec<Message>, BadRequest> {
    let mut messages = Vec::new();
    if let Some(instructions) = body.string("instructions")? {
        messages.push(Message::text_of(Role::System, instructions));
    }
    let Some(input) = body.present("input") else { return Err(BadRequest::new("input", "is required")) };
    let bad = || BadRequest::new("input", no_content(input, "must be a string or an array of items"));
    if let Some(text) = read_text(input) {
        messages.push(Message::text_of(Role::User, text));
        return Ok(messages);
    }
    let items = Pairs::each_of(input).ok_or_else(bad)?;
    if items.len() > MOST_ITEMS {
        return Err(BadRequest::new("input", format!("must have at most {MOST_ITEMS} items")));
    }
    for (place, item) in items.enumerate() {
        put_item(item, place, &mut messages, unread)?;
    }
    Ok(messages)
}

fn put_item(
    item: Option<Pairs<'_>>,
    place: usize,
    messages: &mut Vec<Message>,
    unread: &mut Vec<Unread>,
) -> Result<(), BadRequest> {
    let at = format!("input[{place}]");
    let members = members_of(item, &at)?.ok_or_else(|| BadRequest::new(&at, "must be an object"))?;
    let text = |name: &str| member(&members, name).and_then(read_text);
    let kind = text("type").unwrap_or_else(|| "message".to_owned());
    let call_kind = if kind.starts_with("custom") { ToolKind::Custom } else { ToolKind::Function };
    let (own, part): (&[&str], Option<(Role, Part)>) = match &*kind {
        "message" => {
            let message = read_message(&members, &at, unread)?;
            match messages.last_mut().filter(|last| last.role == Role::Assistant && message.role == Role::Assistant) {
                Some(last) => last.parts.extend(message.parts),
                None => messages.push(message),
            }
            return Ok(());
        }
        "function_call" | "custom_tool_call" => {
            let input = ["arguments", "input"].into_iter().find_map(text).unwrap_or_default();
            let call =
                text("name").map(|name| ToolCall { id: text("call_id"), name, arguments: input, kind: call_kind });
            let part = call.map(|call| (Role::Assistant, Content::ToolCall(call).into()));
            (&["type", "id", "status", "call_id", "name", "arguments", "input"], part)
        }
        "function_call_output" | "custom_tool_call_output" => {
            let parts = match member(&members, "output") {
                Some(output) => read_content(output, &format!("{at}.output"), unread)?,
                None => Vec::new(),
            };
            let result = ToolResult { call_id: text("call_id"), parts, ..ToolResult::default() };
            (&["type", "id", "status", "call_id", "output"], Some((Role::Tool, Content::ToolResult(result).into())))
        }
        "reasoning" => {
            let words = ["summary", "content"].into_iter().filter_map(|name| member(&members, name)).map(words_of);
            let signature = text("encrypted_content").filter(|proof| !proof.is_empty());
            let reasoning = Reasoning { text: words.collect(), signature };
            let part = (Role::Assistant, Content::Reasoning(reasoning).into());
            (&["type", "id", "status", "summary", "content", "encrypted_content"], Some(part))
        }
        // What was made for the client; a call of which nothing is here names what is kept at the provider.
        "image_generation_call" if text("result").is_some() => {
            let base64 = text("result").unwrap_or_default();
            let media = Media::Data { media_type: text("output_format").map(|kind| format!("image/{kind}")), base64 };
            let part = (Role::Assistant, Content::Image(Image { media, detail: None }).into());
            (&["type", "id", "status", "result", "output_format"], Some(part))
        }
        _ => (&[], None),
    };
    note_others(&members, own, &at, unread);
    note_tools(&members, &at, unread);
    match part {
        Some((Role::Assistant, part)) => match messages.last_mut().filter(|last| last.role == Role::Assistant) {
            Some(last) => last.parts.push(part),
            None => messages.push(Message {
                role: Role::Assistant,
                name: None,
                parts: vec![part],
                cache: None,
                is_prefix: false,
            }),
        },
        Some((role, part)) => {
            messages.push(Message { role, name: None, parts: vec![part], cache: None, is_prefix: false });
        }
        None => {
            if !own.is_empty() {
                // All of the call counts, whatever it lacks.
                let values: Vec<&str> = members.iter().map(|(_, value)| *value).collect();
                note(unread, format!("{at}.name"), &format!("[{}]", values.join(",")));
            }
            let parts = vec![Content::Unknown { kind }.into()];
            messages.push(Message { role: Role::User, name: None, parts, cache: None, is_prefix: false });
        }
    }
    Ok(())
}

/// The words of a list of `{type, text}`.
fn words_of(json: &str) -> String {
    let parts: Vec<&RawValue> = read_as(json).unwrap_or_default();
    let text = |part: &RawValue| {
        let members = members(part.get(), "").ok()??;
        member(&members, "text").and_then(read_text)
    };
    parts.into_iter().filter_map(text).collect()
}

fn read_message(members: &[Member<'_>], at: &str, unread: &mut Vec<Unread>) -> Result<Message, BadRequest> {
    let spelled = member(members, "role").and_then(read_text);
    let spelled = spelled.ok_or_else(|| BadRequest::new(format!("{at}.role"), "must be a string"))?;
    let Some((_, role)) = ROLES.into_iter().find(|(name, _)| *name == spelled) else {
        let names = ROLES.map(|(name, _)| name).join(", ");
        return Err(BadRequest::new(format!("{at}.role"), format!("must be one of {names}")));
    };
    let content = member(members, "content");
    let content = content.ok_or_else(|| BadRequest::new(format!("{at}.content"), "is required"))?;
    let parts = read_content(content, &format!("{at}.content"), unread)?;
    note_others(members, &["type", "id", "status", "role", "content"], at, unread);
    Ok(Message { role, name: None, parts, cache: None, is_prefix: false })
}

/// A text, or a list of parts.
fn read_content(json: &str, at: &str, unread: &mut Vec<Unread>) -> Result<Vec<Part>, BadRequest> {
    if let Some(text) = read_text(json) {
        return Ok(vec![Part::text(text)]);
    }
    let bad = || BadRequest::new(at, no_content(json, "must be a string or an array of parts"));
    let parts = Pairs::each_of(json).ok_or_else(bad)?;
    let each = parts.enumerate().map(|(place, part)| {
        let at = format!("{at}[{place}]");
        let members = members_of(part, &at)?.ok_or_else(bad)?;
        let kind = member(&members, "type").and_then(read_text).ok_or_else(bad)?;
        Ok(read_part(&members, &kind, &at, unread))
    });
    each.collect()
}

fn read_part(members: &[Member<'_>], kind: &str, at: &str, unread: &mut Vec<Unread>) -> Part {
    let text = |name: &str| member(members, name).and_then(read_text);
    let (content, own): (Option<Content>, &[&str]) = match kind {
        "input_text" | "output_text" | "text" | "summary_text" => {
            (text("text").map(Content::Text), &["type", "text", "annotations", "logprobs"])
        }
        "refusal" => (text("refusal").map(Content::Refusal), &["type", "refusal"]),
        "input_image" => {
            let media = text("image_url").map(Media::Url).or_else(|| text("file_id").map(Media::Id));
            let image = media.map(|media| Content::Image(Image { media, detail: text("detail") }));
            (image, &["type", "image_url", "file_id", "detail"])
        }
        "input_file" => {
            let data = text("file_data").map(|data| {
                if data.starts_with("data:") {
                    Media::Url(data)
                } else {
                    Media::Data { media_type: None, base64: data }
                }
            });
            let media = data.or_else(|| text("file_url").map(Media::Url)).or_else(|| text("file_id").map(Media::Id));
            let file = media.map(|media| Content::File(File { media: Some(media), name: text("filename") }));
            (file, &["type", "file_data", "file_url", "file_id", "filename", "detail"])
        }
        "input_audio" => {
            let audio = member(members, "input_audio").and_then(|json| {
                let members = self::members(json, at).ok()??;
                let text = |name: &str| member(&members, name).and_then(read_text);
                let media = Media::Data { media_type: None, base64: text("data")? };
                Some(Content::Audio(Audio { media, format: text("format") }))
            });
            (audio, &["type", "input_audio"])
        }
        _ => (None, &["type"]),
    };
    if content.is_none() {
        note(unread, format!("{at}.type"), &serde_json::Value::String(kind.to_owned()).to_string());
    }
    note_others(members, own, at, unread);
    content.unwrap_or_else(|| Content::Unknown { kind: kind.to_owned() }).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(fields: &str) -> (Vec<Message>, Vec<String>) {
        let body = Fields::parse(format!("{{{fields}}}").as_bytes()).unwrap();
        let mut unread = Vec::new();
        let messages = read(&body, &mut unread).unwrap();
        (messages, unread.into_iter().map(|unread| unread.at).collect())
    }

    #[test]
    fn items_of_one_turn_are_one_message() {
        let (messages, unread) = of(r#""instructions":"be brief","input":[
              {"role":"user","content":[{"type":"input_text","text":"look"},{"type":"input_image","image_url":"https://x/y.png","detail":"low"},
                {"type":"input_file","file_data":"AA","filename":"a.pdf"}]},
              {"type":"reasoning","id":"r","summary":[{"type":"summary_text","text":"hm"}],"encrypted_content":"E"},
              {"type":"message","id":"i","role":"assistant","status":"completed","content":[{"type":"output_text","text":"I will","annotations":[]}]},
              {"type":"function_call","call_id":"c","name":"f","arguments":"{}"},
              {"type":"custom_tool_call","call_id":"d","name":"run","input":"ls"},
              {"type":"function_call_output","call_id":"c","output":"1"},
              {"type":"custom_tool_call_output","call_id":"d","output":[{"type":"input_text","text":"2"}]}]"#);
        assert_eq!(unread, Vec::<String>::new());
        let roles: Vec<_> = messages.iter().map(|message| (message.role, message.parts.len())).collect();
        let expected = [(Role::System, 1), (Role::User, 3), (Role::Assistant, 4), (Role::Tool, 1), (Role::Tool, 1)];
        assert_eq!(roles, expected);
        let thought = Reasoning { text: "hm".into(), signature: Some("E".into()) };
        assert_eq!(messages[2].parts[0].content, Content::Reasoning(thought));
        let call = |id: &str, name: &str, arguments: &str, kind| {
            Content::ToolCall(ToolCall { id: Some(id.into()), name: name.into(), arguments: arguments.into(), kind })
        };
        assert_eq!(messages[2].parts[2].content, call("c", "f", "{}", ToolKind::Function));
        assert_eq!(messages[2].parts[3].content, call("d", "run", "ls", ToolKind::Custom));
        assert_eq!(messages[4].text(), "2");
    }

    #[test]
    fn what_is_not_known_is_told() {
        let (messages, unread) = of(
            r#""input":[{"type":"web_search_call","id":"w","action":{"x":1}},{"role":"user","content":[{"type":"input_video","v":1}],"x":1},
              {"type":"function_call","call_id":"c"},{"type":"compaction_trigger"}]"#,
        );
        assert_eq!(messages.len(), 4);
        assert_eq!(
            unread,
            [
                "input[0].type",
                "input[0].id",
                "input[0].action",
                "input[1].content[0].type",
                "input[1].content[0].v",
                "input[1].x",
                "input[2].name",
                "input[3].type",
            ]
        );
    }
}
