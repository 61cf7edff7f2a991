//! Messages as Gemini's `contents`: turns of the user and of the model, whose parts are texts, data within the request,
//! calls and their results. Instructions stand beside them.
//!
//! A thought's proof (`thoughtSignature`) goes back in the part in which it came: a call, or else a text. Calls that came
//! from elsewhere have none, which Gemini 3 and later refuse in the turn that runs; Google names a word for them ("Thought
//! signatures", Gemini API documentation). Proofs of others are refused too: Google's are marked where clients keep them.

use std::collections::HashMap;

use serde_json::{Map, Value, json};

use super::proofs::NO_PROOF;
use crate::{
    format::{feature, media::inline, prepare::nothing, proof::GOOGLES},
    inference::{Audio, Content, Failure, File, Format, Image, Message, Part, Role, ToolCall, ToolResult},
};

/// A conversation in Gemini's words.
#[derive(Debug, Default)]
pub(super) struct Written {
    /// Parts of `systemInstruction`.
    pub(super) instructions: Vec<Value>,
    /// The turns.
    pub(super) turns: Vec<Value>,
}

/// Who speaks in a turn. Results of tools have turns of their own: Google counts the parts of a turn against its calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Speaker {
    User,
    Tools,
    Model,
}

/// What of a conversation was written so far.
struct Writer<'a> {
    format: Format,
    written: Written,
    speaker: Option<Speaker>,
    /// The tools of calls, by the calls' ids.
    names: HashMap<&'a str, &'a str>,
}

/// The messages in Gemini's words.
///
/// # Errors
///
/// A message that Gemini can't read: arguments that are no object, or the result of a call that is not there.
pub(super) fn of(format: Format, messages: &[Message], needs_proof: bool) -> Result<Written, Failure> {
    let mut writer = Writer { format, written: Written::default(), speaker: None, names: HashMap::new() };
    let running = messages.iter().rposition(is_asked).unwrap_or(0);
    for (place, message) in messages.iter().enumerate() {
        writer.message(message, place, needs_proof && place > running)?;
    }
    let Writer { mut written, .. } = writer;
    if written.turns.is_empty() {
        // Instructions alone are what is asked.
        let parts = std::mem::take(&mut written.instructions);
        if parts.is_empty() {
            return Err(nothing(format));
        }
        written.turns.push(json!({"role": "user", "parts": parts}));
    }
    Ok(written)
}

/// Whether a person asks something in a message: a turn begins.
fn is_asked(message: &Message) -> bool {
    let is_result = |part: &Part| matches!(part.content, Content::ToolResult(_));
    message.role == Role::User && !message.parts.iter().all(is_result)
}

/// The proof of a message's thoughts, on its way to the part that takes it.
#[derive(Debug, Clone, Copy)]
struct Proof<'a> {
    text: Option<&'a str>,
    /// Whether the message has calls: then the proof is theirs.
    is_of_call: bool,
    /// Whether the first call needs one.
    is_needed: bool,
}

impl<'a> Proof<'a> {
    const fn of_text(&mut self) -> Option<&'a str> {
        if self.is_of_call { None } else { self.text.take() }
    }

    fn of_call(&mut self) -> Option<&'a str> {
        let is_needed = std::mem::take(&mut self.is_needed);
        self.text.take().or(is_needed.then_some(NO_PROOF))
    }
}

impl<'a> Writer<'a> {
    fn message(&mut self, message: &'a Message, place: usize, needs_proof: bool) -> Result<(), Failure> {
        let is_of_call = message.parts.iter().any(|part| matches!(part.content, Content::ToolCall(_)));
        let mut proof = Proof { text: None, is_of_call, is_needed: needs_proof };
        let mut has_text = false;
        for part in &message.parts {
            if let (Some(name), Role::User) = (name_of(&part.content), message.role) {
                self.put(Speaker::User, json!({"text": name}));
            }
            match (self.part(&part.content, &mut proof), message.role) {
                (Err(why), _) => {
                    let field = feature::message_field(self.format, place).into_owned();
                    return Err(Failure::Invalid { field, message: why.to_owned() });
                }
                (Ok(None), _) => {}
                (Ok(Some(part)), Role::System | Role::Developer) => self.written.instructions.push(part),
                (Ok(Some(part)), Role::Assistant) => {
                    has_text |= part.get("text").is_some();
                    self.put(Speaker::Model, part);
                }
                (Ok(Some(part)), _) if part.get("functionResponse").is_some() => self.put(Speaker::Tools, part),
                (Ok(Some(part)), Role::User | Role::Tool) => self.put(Speaker::User, part),
            }
        }
        // A proof that came after its text.
        if let Some(text) = proof.of_text().filter(|_| has_text)
            && let Some(part) = self.written.turns.last_mut().and_then(|turn| turn["parts"].as_array_mut()?.last_mut())
        {
            part["thoughtSignature"] = text.into();
        }
        Ok(())
    }

    /// A part; `None` where nothing of it is written. The error says why it can't be.
    fn part(&mut self, content: &'a Content, proof: &mut Proof<'a>) -> Result<Option<Value>, &'static str> {
        Ok(Some(match content {
            Content::Text(text) | Content::Refusal(text) if text.is_empty() => return Ok(None),
            Content::Text(text) | Content::Refusal(text) => proven(json!({"text": text}), proof.of_text()),
            Content::Reasoning(reasoning) => {
                let own = reasoning.signature.as_deref().and_then(|signature| signature.strip_prefix(GOOGLES));
                proof.text = own.or(proof.text);
                return Ok(None);
            }
            Content::ToolCall(call) => {
                let part = call_part(call).ok_or("has a call whose arguments are not a JSON object")?;
                self.names.extend(call.id.as_deref().map(|id| (id, &*call.name)));
                proven(part, proof.of_call())
            }
            Content::ToolResult(result) => {
                let name = result.call_id.as_deref().and_then(|id| self.names.get(id).copied());
                let name = name.or(result.name.as_deref());
                result_part(result, name.ok_or("answers a call that is not in the conversation")?)
            }
            Content::Image(_) | Content::Audio(_) | Content::File(_) | Content::Unknown { .. } => {
                return Ok(data(content));
            }
        }))
    }

    /// Adds a part to the turn of its speaker: neighbours are one turn.
    fn put(&mut self, speaker: Speaker, part: Value) {
        if self.speaker == Some(speaker)
            && let Some(parts) = self.written.turns.last_mut().and_then(|turn| turn["parts"].as_array_mut())
        {
            parts.push(part);
            return;
        }
        let role = match speaker {
            Speaker::User | Speaker::Tools => "user",
            Speaker::Model => "model",
        };
        self.written.turns.push(json!({"role": role, "parts": [part]}));
        self.speaker = Some(speaker);
    }
}

fn proven(mut part: Value, proof: Option<&str>) -> Value {
    if let Some(proof) = proof {
        part["thoughtSignature"] = proof.into();
    }
    part
}

/// A call; `None` where its arguments are no object.
fn call_part(ToolCall { id, name, arguments, kind: _ }: &ToolCall) -> Option<Value> {
    let args: Map<String, Value> =
        if arguments.trim().is_empty() { Map::new() } else { serde_json::from_str(arguments).ok()? };
    let mut call = json!({"name": name, "args": args});
    if let Some(id) = id {
        call["id"] = id.as_str().into();
    }
    Some(json!({"functionCall": call}))
}

/// A tool's result: its text by a name that says whether the tool failed, and data beside it.
fn result_part(result: &ToolResult, name: &str) -> Value {
    let text: String = result.parts.iter().map(|part| text_of(&part.content)).collect();
    let names = result.parts.iter().filter_map(|part| name_of(&part.content));
    let text = names.fold(text, |text, name| if text.is_empty() { name.to_owned() } else { format!("{text}\n{name}") });
    let key = if result.is_error { "error" } else { "output" };
    let mut response = json!({"name": name, "response": {key: text}});
    if let Some(id) = &result.call_id {
        response["id"] = id.as_str().into();
    }
    let parts: Vec<Value> = result.parts.iter().filter_map(|part| data(&part.content)).collect();
    if !parts.is_empty() {
        response["parts"] = parts.into();
    }
    json!({"functionResponse": response})
}

/// The name of a file: data has no place for one, so it stands in words beside it.
fn name_of(content: &Content) -> Option<&str> {
    match content {
        Content::File(File { media: Some(_), name }) => name.as_deref().filter(|name| !name.is_empty()),
        _ => None,
    }
}

fn text_of(content: &Content) -> &str {
    match content {
        Content::Text(text) | Content::Refusal(text) => text,
        Content::Image(_)
        | Content::Audio(_)
        | Content::File(_)
        | Content::Reasoning(_)
        | Content::ToolCall(_)
        | Content::ToolResult(_)
        | Content::Unknown { .. } => "",
    }
}

/// Images, sound and files within the request.
fn data(content: &Content) -> Option<Value> {
    let (media, usual) = match content {
        Content::Image(Image { media, .. }) => (media, "image/png".to_owned()),
        Content::Audio(Audio { media, format }) => (media, format!("audio/{}", format.as_deref().unwrap_or("wav"))),
        Content::File(File { media: Some(media), .. }) => (media, "application/pdf".to_owned()),
        Content::File(File { media: None, .. })
        | Content::Text(_)
        | Content::Refusal(_)
        | Content::Reasoning(_)
        | Content::ToolCall(_)
        | Content::ToolResult(_)
        | Content::Unknown { .. } => return None,
    };
    let inline = inline(media, &usual)?;
    Some(json!({"inlineData": {"mimeType": inline.media_type, "data": inline.base64}}))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inference::Media;

    #[test]
    fn the_name_of_a_tools_file_stands_in_its_result() {
        let media = Some(Media::Data { media_type: Some("application/pdf".into()), base64: "AA".into() });
        let file = Content::File(File { media, name: Some("a.pdf".into()) });
        let result = ToolResult { parts: vec![Part::text("found"), file.into()], ..ToolResult::default() };
        let written = result_part(&result, "f");
        assert_eq!(written["functionResponse"]["response"]["output"], "found\na.pdf");
        assert_eq!(written["functionResponse"]["parts"][0]["inlineData"]["data"], "AA");
    }
}
