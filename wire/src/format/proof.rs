//! Proofs that providers give with a model's reasoning, to be given back with it: whose a proof is, and what becomes of
//! one that a client gives to another provider. Each provider reads its own alone, and refuses a request with others'.
//!
//! Translated calls write no proof of others. In a call of the client's own format a block or an item with another's
//! proof is left out of the body, the same in every turn: what the provider's cache keeps of a conversation stays the
//! same. A body without such a proof stays as it came, byte for byte.

use std::borrow::Cow;

use serde_json::value::RawValue;

use super::gemini;
use crate::{
    fields::{Fields, Pairs, text_of},
    inference::{Content, Format, Reasoning, Request, Work},
};

/// Stands before the data of reasoning that a provider hides: in the neutral words that is reasoning without text, of
/// which the data is the proof.
pub(super) const HIDDEN: &str = "redacted_thinking:";
/// Stands before a proof of Google's where a client keeps it.
pub(super) const GOOGLES: &str = "google:";
/// Stands before a proof of Anthropic's where a client keeps it beside OpenAI's.
const ANTHROPICS: &str = "anthropic:";
/// The beginning of OpenAI's proofs: Fernet tokens (Fernet specification, version 0x80 and a time).
const OPENAIS: &str = "gAAAAA";

/// The proof that stands for hidden data.
pub(super) fn hidden(data: &str) -> String {
    [HIDDEN, data].concat()
}

/// A proof as clients of responses keep it: marked, where it has no mark, so that it never goes to OpenAI.
pub(super) fn marked(proof: &str) -> Cow<'_, str> {
    let is_known = [HIDDEN, GOOGLES, OPENAIS].into_iter().any(|begin| proof.starts_with(begin));
    if is_known { Cow::Borrowed(proof) } else { Cow::Owned([ANTHROPICS, proof].concat()) }
}

/// Whether a proof says whose it is.
pub(super) fn is_marked(proof: &str) -> bool {
    [HIDDEN, GOOGLES, ANTHROPICS, OPENAIS].into_iter().any(|begin| proof.starts_with(begin))
}

/// A proof as Anthropic made it; `None` where another provider made it.
pub(super) fn anthropics(proof: &str) -> Option<&str> {
    let proof = proof.strip_prefix(ANTHROPICS).unwrap_or(proof);
    let data = proof.strip_prefix(HIDDEN).unwrap_or(proof);
    let is_others = data.is_empty() || [GOOGLES, OPENAIS].into_iter().any(|begin| data.starts_with(begin));
    (!is_others).then_some(proof)
}

/// Whether a proof may be OpenAI's, or that of a server like it.
fn is_openais(proof: &str) -> bool {
    let is_marked = [HIDDEN, GOOGLES, ANTHROPICS].into_iter().any(|begin| proof.starts_with(begin));
    !(proof.is_empty() || is_marked || seems_anthropics(proof))
}

/// Whether a proof without a mark seems to be Anthropic's: base64 that begins with the byte 0x12.
fn seems_anthropics(proof: &str) -> bool {
    let is_base64 = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'=');
    matches!(proof.as_bytes(), [b'E', b'g'..=b'v', ..]) && proof.bytes().all(is_base64)
}

/// What becomes of an entry of a list.
pub(super) enum Entry {
    Kept,
    Left,
    Changed(String),
}

/// Leaves the parts with another provider's proof out of a request's body, for a provider of the body's format.
pub(super) fn leave_foreign(request: &mut Request) {
    if !may_hold_foreign(request) {
        return;
    }
    let body = &mut request.source.body;
    let (field, each): (_, fn(&str) -> Entry) = match request.source.format {
        Format::AnthropicMessages => ("messages", of_messages),
        Format::OpenAiResponses => ("input", of_input),
        Format::OpenAiChat => ("messages", of_chat),
        Format::Cohere => ("messages", of_cohere),
        Format::Gemini => ("contents", gemini::of_turn),
        Format::OpenAiCompletions
        | Format::OpenAiEmbeddings
        | Format::OpenAiSpeech
        | Format::OpenAiTranscriptions
        | Format::OpenAiImages
        | Format::GeminiEmbeddings
        | Format::Mistral
        | Format::CohereEmbed
        | Format::Rerank => {
            return;
        }
    };
    if let Some(list) = body.present(field).and_then(|json| rewritten(json, each)) {
        body.set_json(field, list);
    }
}

/// Whether the neutral words have reasoning that may have to be left out: few requests do.
fn may_hold_foreign(request: &Request) -> bool {
    let Work::Conversation(conversation) = &request.work else { return false };
    let format = request.source.format;
    let is_suspect = |Reasoning { signature, .. }: &Reasoning| match (format, signature.as_deref()) {
        (Format::AnthropicMessages, proof) => proof.and_then(anthropics).is_none(),
        (Format::OpenAiResponses, proof) => !proof.is_some_and(is_openais),
        (Format::Gemini, proof) => proof.is_some_and(|proof| !proof.starts_with(GOOGLES)),
        (_, proof) => proof.is_some(),
    };
    let mut parts = conversation.messages.iter().flat_map(|message| &message.parts);
    parts.any(|part| matches!(&part.content, Content::Reasoning(reasoning) if is_suspect(reasoning)))
        || request.unread.iter().any(|unread| unread.at.ends_with(DETAILS))
}

/// A list with what becomes of its entries; `None` where all are kept.
fn rewritten(json: &str, each: impl Fn(&str) -> Entry) -> Option<String> {
    let list: Vec<&RawValue> = serde_json::from_str(json).ok()?;
    let mut kept = Vec::with_capacity(list.len());
    let mut is_other = false;
    for entry in list {
        match each(entry.get()) {
            Entry::Kept => kept.push(Cow::Borrowed(entry.get())),
            Entry::Left => is_other = true,
            Entry::Changed(json) => {
                is_other = true;
                kept.push(Cow::Owned(json));
            }
        }
    }
    is_other.then(|| format!("[{}]", kept.join(",")))
}

fn text<'a>(members: &Pairs<'a>, name: &str) -> Option<Cow<'a, str>> {
    members.get(name).and_then(text_of)
}

/// An entry that is left out where its members say so.
fn unless(json: &str, is_left: impl Fn(&Pairs<'_>) -> bool) -> Entry {
    if Pairs::of(json).is_some_and(|members| is_left(&members)) { Entry::Left } else { Entry::Kept }
}

/// A message of Anthropic's, without the thoughts that the provider would refuse: those of others, and those without a
/// proof. A message of nothing else goes whole, because an empty one would be refused.
fn of_messages(json: &str) -> Entry {
    let is_left = |block: &Pairs<'_>| {
        let proof = match text(block, "type").as_deref() {
            Some("thinking") => text(block, "signature"),
            Some("redacted_thinking") => text(block, "data"),
            _ => return false,
        };
        proof.as_deref().and_then(anthropics).is_none()
    };
    match changed(json, "content", |block| unless(block, is_left)) {
        Some((_, list)) if list == "[]" => Entry::Left,
        Some((mut message, list)) => {
            message.set_json("content", list);
            Entry::Changed(message.to_json())
        }
        None => Entry::Kept,
    }
}

/// An item of a response's input: reasoning with another's proof is left out, and reasoning without one that has an id of
/// ours. OpenAI looks reasoning without a proof up by its id, and refuses one that is not there.
fn of_input(json: &str) -> Entry {
    unless(json, |item| {
        let is_reasoning = text(item, "type").as_deref() == Some("reasoning");
        let is_foreign = || match text(item, "encrypted_content") {
            Some(proof) => !is_openais(&proof),
            None => text(item, "id").is_some_and(|id| is_ours(&id)),
        };
        is_reasoning && is_foreign()
    })
}

/// Whether an id of reasoning was made here, of an answer's id and the item's place. OpenAI's are longer.
fn is_ours(id: &str) -> bool {
    let digits = id.strip_prefix("rs_").unwrap_or_default();
    (34..=36).contains(&digits.len()) && digits.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// The member of a chat's message that holds proofs.
const DETAILS: &str = "reasoning_details";

/// A message of a chat without the proofs that were written here, which name no format of their own, and without thoughts
/// of others among its parts. Its reasoning as words stays.
fn of_chat(json: &str) -> Entry {
    let is_ours = |detail: &Pairs<'_>| {
        let has_proof = ["signature", "data"].into_iter().any(|name| text(detail, name).is_some());
        has_proof && text(detail, "format").is_none()
    };
    let is_others = |part: &Pairs<'_>| {
        let proof = text(part, "signature").filter(|proof| !proof.is_empty());
        text(part, "type").as_deref() == Some("thinking") && proof.is_some_and(|proof| !is_openais(&proof))
    };
    let mut now = Cow::Borrowed(json);
    if let Some((mut message, list)) = changed(&now, DETAILS, |detail| unless(detail, is_ours)) {
        if list == "[]" {
            message.remove(DETAILS);
        } else {
            message.set_json(DETAILS, list);
        }
        now = Cow::Owned(message.to_json());
    }
    if let Some((mut message, list)) = changed(&now, "content", |part| unless(part, is_others)) {
        message.set_json("content", if list == "[]" { "\"\"".to_owned() } else { list });
        now = Cow::Owned(message.to_json());
    }
    match now {
        Cow::Borrowed(_) => Entry::Kept,
        Cow::Owned(message) => Entry::Changed(message),
    }
}

/// A message of Cohere's without the thoughts that have a proof: Cohere makes none, so they are others'.
fn of_cohere(json: &str) -> Entry {
    let is_others = |block: &Pairs<'_>| {
        text(block, "type").as_deref() == Some("thinking")
            && block.get("signature").is_some_and(|proof| proof != "null")
    };
    match changed(json, "content", |block| unless(block, is_others)) {
        None => Entry::Kept,
        Some((message, list)) if list == "[]" && message.present("tool_calls").is_none() => Entry::Left,
        Some((mut message, list)) => {
            if list == "[]" {
                message.remove("content");
            } else {
                message.set_json("content", list);
            }
            Entry::Changed(message.to_json())
        }
    }
}

/// A message, and the list in one of its members, where an entry of it is left out.
fn changed(json: &str, name: &str, each: impl Fn(&str) -> Entry) -> Option<(Fields, String)> {
    let message = Fields::of(json).ok()?;
    let list = rewritten(message.present(name)?, each)?;
    Some((message, list))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::format::{ProviderFormat, Upstream, anthropic, cohere, openai};

    fn sent(format: &dyn ProviderFormat, request: Request) -> String {
        format.call(request, &Upstream { model: "m", max_output: 9, tier: None }).unwrap().body.to_json()
    }

    /// What a provider of each format is sent of these messages or items.
    fn messages(all: &str) -> String {
        let body = format!(r#"{{"model":"m", "max_tokens":9,"messages": {all}, "x":[1.50]}}"#);
        sent(&anthropic::Anthropic, anthropic::read_messages(body.as_bytes()).unwrap())
    }

    fn responses(all: &str) -> String {
        sent(&openai::OpenAi, openai::read_response(format!(r#"{{"model":"m","input": {all} }}"#).as_bytes()).unwrap())
    }

    #[test]
    fn thoughts_of_others_do_not_go_to_cohere() {
        let sent = |all: &str| {
            let body = format!(r#"{{"model":"m","messages": {all} }}"#);
            sent(&cohere::Cohere, cohere::read_chat(body.as_bytes()).unwrap())
        };
        let with = |all: &str| format!(r#"{{"model":"m","messages": {all} }}"#);
        let own = r#"[ {"role":"assistant","content":[{"type":"thinking","thinking":"h\u006d"}, {"type":"text","text":"x"}]}]"#;
        assert_eq!(sent(own), with(own));
        let proven = r#"{"type":"thinking","thinking":"hm","signature":"s"}"#;
        let text = r#"{"type":"text","text":"x"}"#;
        let user = r#"{"role":"user","content":"h\u00e9"}"#;
        let all = format!(r#"[{user},{{"role":"assistant","content":[{proven},{text}],"citations":[]}}]"#);
        let left = format!(r#"[{user},{{"role":"assistant","content":[{text}],"citations":[]}}]"#);
        assert_eq!(sent(&all), with(&left));
        let calls = r#""tool_calls":[{"id":"c","type":"function","function":{"name":"f","arguments":"{}"}}]"#;
        let all = format!(
            r#"[{{"role":"assistant","content":[{proven}],{calls}}},{{"role":"assistant","content":[{proven}]}}]"#
        );
        assert_eq!(sent(&all), with(&format!(r#"[{{"role":"assistant",{calls}}}]"#)));
    }

    fn chats(all: &str) -> String {
        sent(&openai::OpenAi, openai::read_chat(format!(r#"{{"model":"m","messages": {all} }}"#).as_bytes()).unwrap())
    }

    fn list(json: &str, field: &str) -> Value {
        serde_json::from_str::<Value>(json).unwrap()[field].clone()
    }

    /// Claude's, and others'.
    const CLAUDES: [&str; 3] = ["EqQBCkgIARABGAI=", "anthropic:sig", "redacted_thinking:EmwKAhgB"];

    #[test]
    fn claude_gets_no_thought_without_its_own_proof() {
        let (hi, own) = (
            json!({"role": "user", "content": "hi"}),
            json!({"type": "thinking", "thinking": "a", "signature": "sig"}),
        );
        let (said, call) =
            (json!({"type": "text", "text": "b"}), json!({"type": "tool_use", "id": "c", "name": "f", "input": {}}));
        let turn = |blocks: &[&Value]| json!({"role": "assistant", "content": blocks});
        let thought = |proof: Value| json!({"type": "thinking", "thinking": "hm", "signature": proof});
        for foreign in [
            thought(json!("google:cHJvb2Y=")),
            thought(json!("gAAAAABo")),
            thought(json!("")),
            thought(Value::Null),
            json!({"type": "thinking", "thinking": "hm"}),
            json!({"type": "redacted_thinking", "data": "google:x"}),
        ] {
            let with = json!([hi, turn(&[&foreign, &own, &said]), hi, turn(&[&foreign, &call]), turn(&[&foreign])]);
            let without = json!([hi, turn(&[&own, &said]), hi, turn(&[&call])]);
            let told = messages(&with.to_string());
            assert_eq!(list(&told, "messages"), without, "{foreign}");
            assert!(
                told.starts_with(r#"{"model":"m", "max_tokens":9,"#) && told.ends_with(r#", "x":[1.50]}"#),
                "{told}"
            );
            // A later turn begins as the earlier one did.
            let earlier = messages(&json!([hi, turn(&[&foreign, &own, &said]), hi]).to_string());
            assert_eq!(list(&earlier, "messages"), json!([hi, turn(&[&own, &said]), hi]), "{foreign}");
        }
    }

    #[test]
    fn openai_gets_no_reasoning_of_others() {
        let item = |proof: &str| json!({"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": proof});
        let (own, said) = (item("gAAAAABoxyz"), json!({"role": "assistant", "content": "b"}));
        for foreign in CLAUDES.into_iter().chain(["google:x", ""]) {
            let told =
                responses(&json!([{"role": "user", "content": "a"}, own, said, item(foreign), said]).to_string());
            assert_eq!(list(&told, "input"), json!([{"role": "user", "content": "a"}, own, said, said]), "{foreign}");
        }
        let bare =
            |id: &str| json!({"type": "reasoning", "id": id, "summary": [{"type": "summary_text", "text": "hm"}]});
        let stored = bare("rs_68af4030baa48193b0b43b4c2a176a1a0e6967589f080e77");
        let ours = bare(&format!("rs_{}00", "0a".repeat(16)));
        let told = responses(&json!([{"role": "user", "content": "a"}, stored, said, ours, said]).to_string());
        assert_eq!(list(&told, "input"), json!([{"role": "user", "content": "a"}, stored, said, said]));
        // What was told of a thought goes back where it came from.
        assert_eq!(anthropics(&marked("sig")), Some("sig"));
        assert_eq!(
            [marked("google:x"), marked("gAAAAAx"), marked("redacted_thinking:x")],
            ["google:x", "gAAAAAx", "redacted_thinking:x"]
        );
    }

    #[test]
    fn a_chats_server_gets_no_proof_that_was_written_here() {
        let own = json!({"type": "reasoning.text", "text": "a", "signature": "Eq==", "format": "anthropic-claude-v1", "index": 0});
        let ours = |proof: &str| json!({"type": "reasoning.text", "text": "a", "signature": proof, "index": 0});
        let said = |details: Value| {
            json!([{"role": "user", "content": "x"}, {"role": "assistant", "content": "b",
            "reasoning_content": "a", "reasoning_details": details}])
        };
        let told = list(&chats(&said(json!([ours("google:x"), own])).to_string()), "messages");
        assert_eq!(told, said(json!([own])));
        let told = list(
            &chats(&said(json!([ours("sig"), {"type": "reasoning.encrypted", "data": "d"}])).to_string()),
            "messages",
        );
        assert_eq!(told[1], json!({"role": "assistant", "content": "b", "reasoning_content": "a"}));
        let thought = json!({"type": "thinking", "thinking": "hm", "signature": "google:x"});
        let parts = json!([{"role": "assistant", "content": [thought, {"type": "text", "text": "b"}]}, {"role": "assistant", "content": [thought]}]);
        let told = list(&chats(&parts.to_string()), "messages");
        assert_eq!(
            told,
            json!([{"role": "assistant", "content": [{"type": "text", "text": "b"}]}, {"role": "assistant", "content": ""}])
        );
    }

    #[test]
    fn a_body_without_foreign_proofs_passes_byte_for_byte() {
        let all = r#"[ {"role":"user" , "content":"h\u00e9"},{"role":"assistant","content":[ {"type":"thinking","thinking":"", "signature":"sig"},
            {"type":"redacted_thinking","data":"EmwK"}, {"type":"text","text":"x"} ]} ]"#;
        assert_eq!(messages(all), format!(r#"{{"model":"m", "max_tokens":9,"messages": {all}, "x":[1.50]}}"#));
        let all = r#"[ {"type":"reasoning", "summary":[ ],"encrypted_content":"gAAAAAB"},{"type":"reasoning","id":"rs","summary":[]}, {"role":"user","content":"x"}]"#;
        assert_eq!(responses(all), format!(r#"{{"model":"m","input": {all} }}"#));
        let all =
            r#"[ {"role":"assistant", "content":"x","reasoning_details":[ {"type":"reasoning.text","text":"a"}] }]"#;
        assert_eq!(chats(all), format!(r#"{{"model":"m","messages": {all} }}"#));
    }
}
