//! The turns of a conversation and its instructions, read to messages. What a stream told in pieces comes back in pieces:
//! neighbouring turns of the model are one message, and neighbouring thoughts one thought.

use super::{
    parts::{self, Read},
    spelling::{below, list, members},
};
use crate::{
    fields::BadRequest,
    format::openai::reading::{member, note, read_text},
    inference::{Content, Message, Part, Reasoning, Role, Unread},
};

/// The most turns of one conversation.
const MOST_TURNS: usize = 100_000;

/// The instructions.
///
/// # Errors
///
/// A member with a wrong value.
pub(super) fn system(json: &str, unread: &mut Vec<Unread>) -> Result<Option<Message>, BadRequest> {
    let (_, parts) = turn(json, "systemInstruction", unread)?;
    let mut message = Message { role: Role::System, name: None, parts: Vec::new(), cache: None, is_prefix: false };
    for part in parts {
        put(&mut message.parts, part);
    }
    Ok((!message.parts.is_empty()).then_some(message))
}

/// The turns of `contents`.
///
/// # Errors
///
/// A member with a wrong value.
pub(super) fn read(json: &str, unread: &mut Vec<Unread>) -> Result<Vec<Message>, BadRequest> {
    let list = list(json, "contents")?;
    if list.is_empty() || list.len() > MOST_TURNS {
        return Err(BadRequest::new("contents", format!("must have 1 to {MOST_TURNS} turns")));
    }
    let mut messages: Vec<Message> = Vec::with_capacity(list.len());
    for (place, json) in list.into_iter().enumerate() {
        let (role, parts) = turn(json, &format!("contents[{place}]"), unread)?;
        let goes_on = role == Role::Assistant && messages.last().is_some_and(|last| last.role == role);
        if !goes_on {
            messages.push(Message {
                role,
                name: None,
                parts: Vec::with_capacity(parts.len()),
                cache: None,
                is_prefix: false,
            });
        }
        if let Some(message) = messages.last_mut() {
            for part in parts {
                put(&mut message.parts, part);
            }
        }
    }
    Ok(messages)
}

fn turn(json: &str, at: &str, unread: &mut Vec<Unread>) -> Result<(Role, Vec<Read>), BadRequest> {
    let members = members(json, at)?;
    let role = match member(&members, "role").map(read_text) {
        None => Role::User,
        // Results of functions had a role of their own once.
        Some(Some(role)) if ["user", "function", "tool", ""].contains(&&*role) => Role::User,
        Some(Some(role)) if role == "model" => Role::Assistant,
        Some(Some(role)) if role == "system" && at == "systemInstruction" => Role::System,
        Some(_) => return Err(BadRequest::new(below(at, "role"), "must be one of user, model")),
    };
    let at_parts = below(at, "parts");
    let parts = match member(&members, "parts") {
        Some(json) => list(json, &at_parts)?,
        None => Vec::new(),
    };
    let each = parts.into_iter().enumerate();
    let each = each.map(|(place, part)| parts::read(part, &format!("{at_parts}[{place}]"), unread));
    let parts = each.collect::<Result<Vec<_>, _>>()?;
    for (name, value) in members.iter().filter(|(_, value)| *value != "null") {
        if !["role", "parts"].contains(&&**name) {
            note(unread, below(at, name), value);
        }
    }
    Ok((role, parts))
}

/// Adds a part, with its proof where neutral words have it: in the thought before it.
fn put(parts: &mut Vec<Part>, Read { content, proof }: Read) {
    if let Content::Reasoning(thought) = content {
        match unproven(parts) {
            Some(before) => {
                before.text.push_str(&thought.text);
                before.signature = proof;
            }
            None => parts.push(Content::Reasoning(Reasoning { signature: proof, ..thought }).into()),
        }
        return;
    }
    let is_silent = proof.is_some() && content == Content::Text(String::new());
    if proof.is_some() {
        match unproven(parts) {
            Some(before) => before.signature = proof,
            None => parts.push(Content::Reasoning(Reasoning { text: String::new(), signature: proof }).into()),
        }
    }
    if !is_silent {
        parts.push(content.into());
    }
}

/// The last part, where it is a thought whose proof did not come yet.
fn unproven(parts: &mut [Part]) -> Option<&mut Reasoning> {
    match parts.last_mut().map(|part| &mut part.content) {
        Some(Content::Reasoning(thought)) if thought.signature.is_none() => Some(thought),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::inference::{ToolCall, ToolKind};

    #[expect(clippy::needless_pass_by_value, reason = "it is made where it is asked about")]
    fn of(contents: Value) -> Result<Vec<Message>, BadRequest> {
        read(&contents.to_string(), &mut Vec::new())
    }

    fn thought(text: &str, signature: &str) -> Part {
        Content::Reasoning(Reasoning { text: text.into(), signature: Some(signature.into()) }).into()
    }

    #[test]
    fn what_a_stream_told_in_pieces_is_one_message() {
        let piece = |part: Value| json!({"role": "model", "parts": [part]});
        let call = json!({"functionCall": {"name": "f", "id": "c"}, "thoughtSignature": "cHJvb2Y="});
        let told = of(json!([{"parts": {"text": "hi"}}, piece(json!({"text": "let ", "thought": true})),
            piece(json!({"text": "me", "thought": true})), piece(call), {"role": "function", "parts":
            [{"functionResponse": {"name": "f", "id": "c", "response": {"output": "x"}}}]}]))
        .unwrap();
        let [asked, said, result] = &told[..] else { panic!("{told:?}") };
        assert_eq!((asked.role, said.role, result.role), (Role::User, Role::Assistant, Role::User));
        let called =
            ToolCall { id: Some("c".into()), name: "f".into(), arguments: "{}".into(), kind: ToolKind::Function };
        assert_eq!(said.parts, [thought("let me", "google:cHJvb2Y="), Content::ToolCall(called).into()]);
        assert!(matches!(result.parts[0].content, Content::ToolResult(_)));
    }

    #[test]
    fn a_proof_without_a_thought_stands_before_its_part() {
        let told = of(
            json!({"role": "model", "parts": [{"text": "x", "thoughtSignature": "cHJvb2Y="}, {"text": "", "thoughtSignature": "AAAA"}]}),
        );
        assert_eq!(
            told.unwrap()[0].parts,
            [thought("", "google:cHJvb2Y="), Part::text("x"), thought("", "google:AAAA")]
        );
    }

    #[test]
    fn a_wrong_turn_is_refused_by_its_place() {
        for (contents, field) in [
            (json!([]), "contents"),
            (json!("x"), "contents"),
            (json!([7]), "contents[0]"),
            (json!([{"role": "assistant", "parts": []}]), "contents[0].role"),
            (json!([{"role": 7}]), "contents[0].role"),
            (json!([{"parts": "x"}]), "contents[0].parts"),
            (json!([{"parts": [{"text": "x"}, {}]}]), "contents[0].parts[1]"),
        ] {
            assert_eq!(of(contents.clone()).unwrap_err().field, field, "{contents}");
        }
        let mut unread = Vec::new();
        read(r#"[{"parts":[],"x":1}]"#, &mut unread).unwrap();
        assert_eq!(unread[0].at, "contents[0].x");
        let system = system(r#"{"role":"system","parts":{"text":"be brief"}}"#, &mut unread).unwrap().unwrap();
        assert_eq!((system.role, system.text()), (Role::System, "be brief".into()));
    }
}
