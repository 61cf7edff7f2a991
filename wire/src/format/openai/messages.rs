//! Messages of a chat completion, read to parts. A malformed member with a plain meaning is refused by its name. A
//! member that has no place in the neutral words is noted as unread.

use std::{borrow::Cow, fmt};

use serde_json::value::RawValue;

use super::written;
use crate::{
    fields::{BadRequest, Fields, Pairs, text_of},
    inference::{
        Audio, CacheMark, CacheTtl, Content, File, Image, Media, Message, Part, Reasoning, Role, ToolCall, ToolKind,
        ToolResult, Unread,
    },
};

/// Roles a message may have.
const ROLES: [(&str, Role); 6] = [
    ("system", Role::System),
    ("developer", Role::Developer),
    ("user", Role::User),
    ("assistant", Role::Assistant),
    ("tool", Role::Tool),
    ("function", Role::Tool),
];
/// The most messages in one request.
const MOST_MESSAGES: usize = 10_000;
/// The most members and entries of one request that have no place in the neutral words: each is kept with its place.
const MOST_UNREAD: usize = 50_000;
/// The most members of one message or part: they are searched linearly.
const MOST_MEMBERS: usize = 64;
/// The most characters shown of an odd address.
const LONGEST_SHOWN: usize = 100;
/// Kinds of parts that have a place in the neutral words, each named like the member that holds its content.
const KINDS: [&str; 6] = ["text", "refusal", "thinking", "image_url", "input_audio", "file"];
/// Members that ask a provider to keep a prefix in its cache.
pub(super) const MARKS: [&str; 2] = ["prompt_cache_breakpoint", "cache_control"];

/// Notes a member that has no place in the neutral words. Those beyond the most are not kept: see [`all_of`].
pub(in crate::format) fn note(unread: &mut Vec<Unread>, at: String, json: &str) {
    if unread.len() <= MOST_UNREAD {
        unread.push(Unread { at, json: json.to_owned() });
    }
}

/// The members that were noted, all of them.
///
/// # Errors
///
/// There were more than are kept.
pub(in crate::format) fn all_of(unread: Vec<Unread>) -> Result<Vec<Unread>, BadRequest> {
    match unread.get(MOST_UNREAD) {
        Some(first) => {
            let message = format!("is one of more than {MOST_UNREAD} values without a meaning here");
            Err(BadRequest::new(first.at.clone(), message))
        }
        None => Ok(unread),
    }
}

/// A JSON text parsed as `T`; `None` where it is no `T`.
pub(in crate::format) fn read_as<'a, T: serde::Deserialize<'a>>(json: &'a str) -> Option<T> {
    serde_json::from_str(json).ok()
}

/// Why content is none: a string whose text can't be read has half of a character.
pub(in crate::format) fn no_content<'a>(json: &str, must: &'a str) -> &'a str {
    if json.starts_with('"') {
        "has an escape that is half of a character: a surrogate without its other half"
    } else {
        must
    }
}

/// The text of a value that is a string.
pub(in crate::format) fn read_text(json: &str) -> Option<String> {
    text_of(json).map(Cow::into_owned)
}

/// The `messages` of a body.
pub(super) fn read(body: &Fields, unread: &mut Vec<Unread>) -> Result<Vec<Message>, BadRequest> {
    let list = body.present("messages").ok_or_else(|| BadRequest::new("messages", "is required"))?;
    let list = Pairs::each_of(list).ok_or_else(|| BadRequest::new("messages", "must be an array"))?;
    if list.is_empty() {
        return Err(BadRequest::new("messages", "must not be empty"));
    }
    if list.len() > MOST_MESSAGES {
        return Err(BadRequest::new("messages", format!("must have at most {MOST_MESSAGES} messages")));
    }
    list.enumerate().map(|(place, message)| read_message(place, message, unread)).collect()
}

/// A member of an object: its name, and its value's text.
pub(in crate::format) type Member<'a> = (Cow<'a, str>, &'a str);
pub(in crate::format) type Members<'a> = Vec<Member<'a>>;

/// An object's members, limited in number; `None` where the text is no object.
pub(in crate::format) fn members(json: &str, at: impl fmt::Display) -> Result<Option<Members<'_>>, BadRequest> {
    members_of(Pairs::of(json), at)
}

/// The members of an object as it was read; `None` where it is none.
pub(in crate::format) fn members_of(
    pairs: Option<Pairs<'_>>,
    at: impl fmt::Display,
) -> Result<Option<Members<'_>>, BadRequest> {
    let Some(pairs) = pairs else { return Ok(None) };
    if pairs.len() > MOST_MEMBERS {
        return Err(BadRequest::new(at.to_string(), format!("must have at most {MOST_MEMBERS} members")));
    }
    Ok(Some(pairs.each().collect()))
}

/// A member's value where the member is present and not null.
pub(in crate::format) fn member<'a>(members: &[Member<'a>], name: &str) -> Option<&'a str> {
    members.iter().find(|(known, value)| known == name && *value != "null").map(|(_, value)| *value)
}

fn read_message(place: usize, message: Option<Pairs<'_>>, unread: &mut Vec<Unread>) -> Result<Message, BadRequest> {
    let at = |field: &str| format!("messages[{place}]{field}");
    let members = members_of(message, format_args!("messages[{place}]"))?
        .ok_or_else(|| BadRequest::new(at(""), "must be an object"))?;
    let text = |name: &str| member(&members, name).and_then(read_text);
    let spelled =
        member(&members, "role").and_then(text_of).ok_or_else(|| BadRequest::new(at(".role"), "must be a string"))?;
    let Some((_, role)) = ROLES.into_iter().find(|(name, _)| *name == spelled) else {
        let names = ROLES.map(|(name, _)| name).join(", ");
        return Err(BadRequest::new(at(".role"), format!("must be one of {names}")));
    };
    let mut message = Message { role, name: None, parts: Vec::with_capacity(1), cache: None, is_prefix: false };
    let reasoning = ["reasoning_content", "reasoning"].into_iter().find(|name| text(name).is_some());
    // Reasoning with its proofs says all that the words alone do.
    let details = member(&members, "reasoning_details").and_then(super::details::read);
    if let Some(details) = &details {
        message.parts.extend(details.iter().cloned().map(|thought| Part::from(Content::Reasoning(thought))));
    } else {
        let words = reasoning.and_then(text).map(|text| Reasoning { text, signature: None });
        message.parts.extend(words.map(|thought| Part::from(Content::Reasoning(thought))));
    }
    let content = read_content(&members, &spelled, || at(".content"), unread)?;
    match role {
        Role::Tool => {
            let (call_id, name) = (text("tool_call_id"), text("name"));
            let result = ToolResult { call_id, name, parts: content, is_error: false };
            message.parts.push(Content::ToolResult(result).into());
        }
        Role::System | Role::Developer | Role::User | Role::Assistant => {
            message.parts.extend(content);
            message.name = text("name");
        }
    }
    message.parts.extend(text("refusal").map(|words| Content::Refusal(words).into()));
    for (name, value) in members.iter().filter(|(_, value)| *value != "null") {
        match &**name {
            "role" | "content" => {}
            "name" | "refusal" if text(name).is_some() => {}
            "tool_call_id" if role == Role::Tool && text(name).is_some() => {}
            name if reasoning == Some(name) => {}
            "reasoning_details" if details.is_some() => {}
            "images" if role == Role::Assistant => match read_images(value, &at(".images"), unread) {
                Some(images) => message.parts.extend(images),
                None => note(unread, at(".images"), value),
            },
            "tool_calls" => read_calls(value, &at(".tool_calls"), &mut message.parts, unread),
            "function_call" => match read_function(value, None) {
                Some(call) => message.parts.push(Content::ToolCall(call).into()),
                None => note(unread, at(".function_call"), value),
            },
            // `false` is what some libraries write of each message, and other providers refuse.
            "prefix" if role == Role::Assistant && *value == "true" => message.is_prefix = true,
            name if MARKS.contains(&name) => {
                let mark = read_mark(value, &at(&format!(".{name}")), unread);
                message.cache = CacheMark::longer(message.cache, mark);
            }
            name => note(unread, at(&format!(".{name}")), value),
        }
    }
    Ok(message)
}

fn read_content(
    members: &[Member<'_>],
    role: &str,
    at: impl Fn() -> String,
    unread: &mut Vec<Unread>,
) -> Result<Vec<Part>, BadRequest> {
    let bad = |must: &str| BadRequest::new(at(), must);
    let Some(content) = member(members, "content") else {
        // An assistant's message may have no content where it calls tools, refuses or speaks. So may a function's that
        // returned nothing.
        let may_be_silent = role == "assistant" || role == "function";
        return if may_be_silent { Ok(Vec::new()) } else { Err(bad("must be a string or an array of parts")) };
    };
    if let Some(text) = read_text(content) {
        return Ok(vec![Part::text(text)]);
    }
    let must = no_content(content, "must be a string or an array of parts");
    let parts = Pairs::each_of(content).ok_or_else(|| bad(must))?;
    let whole = at();
    let each = parts.enumerate().map(|(place, part)| {
        let at = format!("{whole}[{place}]");
        let members = members_of(part, &at)?;
        let kind = members.as_deref().and_then(|members| member(members, "type")).and_then(read_text);
        let Some((members, kind)) = members.zip(kind) else {
            return Err(bad("every part must be an object with a type"));
        };
        Ok(read_part(&members, &kind, &at, unread))
    });
    each.collect()
}

/// A part by its members. The part's content stands in the member named like its kind.
pub(in crate::format) fn read_part(members: &[Member<'_>], kind: &str, at: &str, unread: &mut Vec<Unread>) -> Part {
    let at_kind = format!("{at}.{kind}");
    let value = member(members, kind);
    let content = match (kind, value) {
        ("text", Some(value)) => read_text(value).map(Content::Text),
        ("refusal", Some(value)) => read_text(value).map(Content::Refusal),
        ("thinking", value) => value.or_else(|| member(members, "text")).and_then(read_as).map(|thoughts| {
            let signature = member(members, "signature").and_then(read_text).filter(|proof| !proof.is_empty());
            Content::Reasoning(Reasoning { text: written::words(thoughts), signature })
        }),
        ("image_url", Some(value)) => read_image(value, &at_kind, unread).map(Content::Image),
        ("input_audio", Some(value)) => read_audio(value, &at_kind, unread).map(Content::Audio),
        ("file", Some(value)) => Some(Content::File(read_file(value, &at_kind, unread))),
        _ => None,
    };
    let own: &[&str] = match kind {
        "thinking" => &["type", "thinking", "text", "signature"],
        known if KINDS.contains(&known) => &["type", known],
        _ => &["type"],
    };
    match (&content, own) {
        (Some(_), _) => {}
        (None, ["type"]) => note(unread, format!("{at}.type"), &serde_json::Value::String(kind.to_owned()).to_string()),
        // The kind is known, but the member with the content is missing.
        (None, _) => note(unread, at_kind, value.unwrap_or("null")),
    }
    let mut part = Part::from(content.unwrap_or_else(|| Content::Unknown { kind: kind.to_owned() }));
    for (name, value) in members.iter().filter(|(name, value)| *value != "null" && !own.contains(&&**name)) {
        if MARKS.contains(&&**name) {
            part.cache = CacheMark::longer(part.cache, read_mark(value, &format!("{at}.{name}"), unread));
        } else {
            note(unread, format!("{at}.{name}"), value);
        }
    }
    part
}

/// Notes the members of an object that are not in `own`.
pub(in crate::format) fn note_others(members: &[Member<'_>], own: &[&str], at: &str, unread: &mut Vec<Unread>) {
    for (name, value) in members.iter().filter(|(name, value)| *value != "null" && !own.contains(&&**name)) {
        note(unread, format!("{at}.{name}"), value);
    }
}

/// An image by its address. Some clients write the address in place of the object that holds it. An address of another
/// kind of file, or of a file kept at the provider, is no image.
fn read_image(json: &str, at: &str, unread: &mut Vec<Unread>) -> Option<Image> {
    let plain = read_text(json);
    let members = members(json, at).ok()?;
    let of = |name: &str| members.as_deref().and_then(|members| member(members, name)).and_then(read_text);
    note_others(members.as_deref().unwrap_or_default(), &["url", "detail"], at, unread);
    let address: String = plain.or_else(|| of("url"))?;
    let begins = |with: &str| address.get(..with.len()).is_some_and(|begin| begin.eq_ignore_ascii_case(with));
    if !["https://", "http://", "data:image/"].into_iter().any(begins) {
        let shown: String = address.chars().take(LONGEST_SHOWN).collect();
        note(unread, format!("{at}.url"), &serde_json::Value::String(shown).to_string());
    }
    Some(Image { media: Media::Url(address), detail: of("detail") })
}

/// Images that the model made in an earlier answer.
fn read_images(json: &str, at: &str, unread: &mut Vec<Unread>) -> Option<Vec<Part>> {
    let list: Vec<&RawValue> = read_as(json)?;
    let each = list.into_iter().enumerate().map(|(place, image)| {
        let at = format!("{at}[{place}]");
        let members = members(image.get(), &at).ok()??;
        note_others(&members, &["type", "index", "image_url"], &at, unread);
        let image = read_image(member(&members, "image_url")?, &format!("{at}.image_url"), unread)?;
        Some(Content::Image(image).into())
    });
    each.collect()
}

/// Audio in base64, alone or with its encoding.
fn read_audio(json: &str, at: &str, unread: &mut Vec<Unread>) -> Option<Audio> {
    let data = |base64| Media::Data { media_type: None, base64 };
    if let Some(base64) = read_text(json) {
        return Some(Audio { media: data(base64), format: None });
    }
    let members = members(json, at).ok()??;
    let base64: String = member(&members, "data").and_then(read_text)?;
    note_others(&members, &["data", "format"], at, unread);
    Some(Audio { media: data(base64), format: member(&members, "format").and_then(read_text) })
}

/// A file in the request, or kept at the provider. A member that is neither becomes a file without media.
fn read_file(json: &str, at: &str, unread: &mut Vec<Unread>) -> File {
    let Ok(Some(members)) = members(json, at) else {
        note(unread, at.to_owned(), json);
        return File { media: None, name: None };
    };
    let text = |name: &str| member(&members, name).and_then(read_text);
    // An id is noted even where it is null: another reader may read the object differently.
    if let Some((_, id)) = members.iter().find(|(name, _)| name == "file_id") {
        note(unread, format!("{at}.file_id"), id);
    }
    note_others(&members, &["file_data", "file_id", "filename"], at, unread);
    let data = text("file_data").map(|data| {
        if data.starts_with("data:") { Media::Url(data) } else { Media::Data { media_type: None, base64: data } }
    });
    if data.is_none() {
        note(unread, format!("{at}.file_data"), member(&members, "file_data").unwrap_or("null"));
    }
    File { media: data.or_else(|| text("file_id").map(Media::Id)), name: text("filename") }
}

/// A mark that asks a provider to keep a prefix in its cache. Any other value is unread.
pub(in crate::format) fn read_mark(json: &str, at: &str, unread: &mut Vec<Unread>) -> Option<CacheMark> {
    let Ok(Some(members)) = members(json, at) else {
        note(unread, at.to_owned(), json);
        return None;
    };
    let ttl = member(&members, "ttl");
    let read = ttl.and_then(read_text).as_deref().and_then(CacheTtl::parse);
    if let Some(ttl) = ttl.filter(|_| read.is_none()) {
        note(unread, format!("{at}.ttl"), ttl);
    }
    Some(CacheMark { ttl: read })
}

/// Calls of tools, each of which becomes a part.
pub(in crate::format) fn read_calls(json: &str, at: &str, parts: &mut Vec<Part>, unread: &mut Vec<Unread>) {
    let Some(calls) = read_as::<Vec<&RawValue>>(json) else { return note(unread, at.to_owned(), json) };
    for (place, call) in calls.into_iter().enumerate() {
        let at = format!("{at}[{place}]");
        match read_call(call.get(), &at, unread) {
            Some(call) => parts.push(Content::ToolCall(call).into()),
            None => note(unread, at, call.get()),
        }
    }
}

fn read_call(json: &str, at: &str, unread: &mut Vec<Unread>) -> Option<ToolCall> {
    let members = members(json, at).ok()??;
    let id = member(&members, "id").and_then(read_text);
    let call = match member(&members, "custom") {
        Some(custom) => {
            let custom = self::members(custom, at).ok()??;
            let name = member(&custom, "name").and_then(read_text)?;
            let arguments = member(&custom, "input").and_then(read_text).unwrap_or_default();
            ToolCall { id, name, arguments, kind: ToolKind::Custom }
        }
        None => read_function(member(&members, "function")?, id)?,
    };
    note_others(&members, &["id", "type", "function", "custom"], at, unread);
    Some(call)
}

/// A function's call. Some clients write the arguments as an object, and not as its text.
fn read_function(json: &str, id: Option<String>) -> Option<ToolCall> {
    let members = members(json, "").ok()??;
    let name = member(&members, "name").and_then(read_text)?;
    let arguments = member(&members, "arguments");
    let arguments = arguments.map(|json| read_text(json).unwrap_or_else(|| json.to_owned()));
    Some(ToolCall { id, name, arguments: arguments.unwrap_or_default(), kind: ToolKind::Function })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(messages: &str) -> (Vec<Message>, Vec<String>) {
        let body = Fields::parse(format!(r#"{{"messages":{messages}}}"#).as_bytes()).unwrap();
        let mut unread = Vec::new();
        let messages = read(&body, &mut unread).unwrap();
        (messages, unread.into_iter().map(|unread| unread.at).collect())
    }

    #[test]
    fn all_that_a_message_has_is_read_or_told() {
        let (messages, unread) = of(
            r#"[{"role":"assistant","content":[{"type":"text","text":"a","cache_control":{"type":"ephemeral","ttl":"1h"},"x":1}],
              "reasoning_content":"hm","reasoning":"hm","refusal":"no","name":"ada","annotations":[],"audio":null,
              "tool_calls":[{"id":"c","type":"function","function":{"name":"f","arguments":"{}"},"index":0},
                            {"type":"custom","custom":{"name":"run","input":"ls"}}, {"function":{}}]},
             {"role":"tool","tool_call_id":"c","content":[{"type":"text","text":"r"},{"type":"video","video":"v"}]}]"#,
        );
        let call = |id: Option<&str>, name: &str, arguments: &str, kind| {
            let (id, name, arguments) = (id.map(str::to_owned), name.to_owned(), arguments.to_owned());
            Part::from(Content::ToolCall(ToolCall { id, name, arguments, kind }))
        };
        let mark = Some(CacheMark { ttl: Some(CacheTtl::Hour1) });
        assert_eq!(
            messages[0].parts,
            [
                Content::Reasoning(Reasoning { text: "hm".into(), signature: None }).into(),
                Part { content: Content::Text("a".into()), cache: mark },
                Content::Refusal("no".into()).into(),
                call(Some("c"), "f", "{}", ToolKind::Function),
                call(None, "run", "ls", ToolKind::Custom),
            ]
        );
        assert_eq!((messages[0].role, messages[0].name.as_deref()), (Role::Assistant, Some("ada")));
        let unknown = Content::Unknown { kind: "video".into() }.into();
        let parts = vec![Part::text("r"), unknown];
        let result = ToolResult { call_id: Some("c".into()), name: None, parts, is_error: false };
        assert_eq!(messages[1].parts, [Content::ToolResult(result).into()]);
        assert_eq!(
            unread,
            [
                "messages[0].content[0].x",
                "messages[0].reasoning",
                "messages[0].annotations",
                "messages[0].tool_calls[0].index",
                "messages[0].tool_calls[2]",
                "messages[1].content[1].type",
                "messages[1].content[1].video",
            ]
        );
    }

    #[test]
    fn a_file_by_its_id_is_told_even_where_it_is_null() {
        let part = |file: &str| {
            let (messages, unread) = of(&format!(r#"[{{"role":"user","content":[{{"type":"file","file":{file}}}]}}]"#));
            (messages[0].parts[0].content.clone(), unread)
        };
        let (content, unread) =
            part(r#"{"file_data":"data:application/pdf;base64,xx","filename":"a.pdf","file_id":null}"#);
        let media = Some(Media::Url("data:application/pdf;base64,xx".into()));
        assert_eq!(content, Content::File(File { media, name: Some("a.pdf".into()) }));
        assert_eq!(unread, ["messages[0].content[0].file.file_id"]);
        assert_eq!(part("7").1, ["messages[0].content[0].file"]);
    }

    #[test]
    fn a_message_with_too_many_members_is_refused() {
        let members: Vec<_> = (0..=MOST_MEMBERS).map(|place| format!(r#""m{place}":1"#)).collect();
        let body = format!(r#"{{"messages":[{{"role":"user","content":"x",{}}}]}}"#, members.join(","));
        let error = read(&Fields::parse(body.as_bytes()).unwrap(), &mut Vec::new()).unwrap_err();
        assert_eq!(error.field, "messages[0]");
    }
}
