//! Classifies what a provider sends: one classifier for a whole answer and for each event of a stream. [`read_answer`]
//! and [`Reader`] use it to make events of a body, in either form, whichever form the request asked for.

mod body;
mod calls;
pub(in crate::format) mod fault;
mod gather;
mod given_back;
mod logprobs;
mod reader;
mod spread;

use std::borrow::Cow;

use serde::{Deserialize, de::DeserializeOwned};
use serde_json::{Value, value::RawValue};

use crate::{
    fields::{Fields, text_of},
    format::original,
    inference::{CallDelta, Delta, FinishReason, Format, ProviderError},
    usage::Report,
};
pub(super) use body::{limit_fields, own_body};
pub use fault::read_refusal;
pub use reader::{Reader, read_answer};
pub(in crate::format) use reader::{Shape, shape_of};

use super::{usage, written};

/// A provider's choice, as far as it is read: a whole choice has a message, a chunk's has a delta, a completion's has a
/// text. A member of an unexpected type is passed on unread.
#[derive(Deserialize)]
struct Choice<'a> {
    #[serde(borrow, default)]
    index: Option<&'a RawValue>,
    #[serde(borrow, default)]
    message: Option<&'a RawValue>,
    #[serde(borrow, default)]
    delta: Option<&'a RawValue>,
    #[serde(borrow, default)]
    text: Option<&'a RawValue>,
    #[serde(borrow, default)]
    logprobs: Option<&'a RawValue>,
    #[serde(borrow, default)]
    finish_reason: Option<&'a RawValue>,
    #[serde(borrow, default)]
    error: Option<&'a RawValue>,
}

/// A message or a delta, as far as the model wrote it.
#[derive(Deserialize)]
struct Written<'a> {
    #[serde(borrow, default)]
    content: Option<&'a RawValue>,
    #[serde(borrow, default)]
    tool_calls: Option<&'a RawValue>,
    #[serde(borrow, default)]
    function_call: Option<&'a RawValue>,
    #[serde(borrow, default)]
    refusal: Option<&'a RawValue>,
    #[serde(borrow, default)]
    reasoning_content: Option<&'a RawValue>,
    #[serde(borrow, default)]
    reasoning: Option<&'a RawValue>,
    #[serde(borrow, default)]
    reasoning_details: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct ToolCall {
    index: Option<u32>,
    id: Option<String>,
    function: Option<Called>,
    custom: Option<Called>,
}

#[derive(Deserialize)]
struct Called {
    name: Option<String>,
    /// A text; some servers write the object itself.
    arguments: Option<Value>,
    input: Option<String>,
}

impl Called {
    fn delta(self, index: u32, id: Option<String>) -> CallDelta {
        let arguments = match self.arguments {
            Some(Value::String(text)) => Some(text),
            Some(Value::Null) | None => None,
            Some(object) => Some(object.to_string()),
        };
        CallDelta { index, id, name: self.name, arguments: arguments.or(self.input).unwrap_or_default() }
    }
}

fn read<T: DeserializeOwned>(value: Option<&RawValue>) -> Option<T> {
    serde_json::from_str(value?.get()).ok()
}

/// A value's text, where it is one.
fn text(value: Option<&RawValue>) -> Option<Cow<'_, str>> {
    value.and_then(|value| text_of(value.get()))
}

impl Choice<'_> {
    /// The choice in neutral words.
    fn delta(&self) -> Delta {
        let is_whole = self.message.is_some();
        let message = self.message.or(self.delta);
        let message: Option<Written<'_>> = message.and_then(|message| serde_json::from_str(message.get()).ok());
        let mut delta = message.map(|message| message.delta()).unwrap_or_default();
        if let Some(text) = text(self.text).filter(|_| delta.text.is_empty()) {
            delta.text = text.into_owned();
        }
        if is_whole {
            // Each that is listed is a call of its own, however it is numbered.
            delta.calls.iter_mut().zip(0..).for_each(|(call, place)| call.index = place);
        }
        delta.choice = self.index();
        delta.logprobs = self.logprobs.map(|said| logprobs::read(said.get())).unwrap_or_default();
        delta.finish = self.finish().map(|finish| finish.with_calls(!delta.calls.is_empty()));
        delta
    }

    fn index(&self) -> u32 {
        self.index.and_then(|index| index.get().parse().ok()).unwrap_or(0)
    }

    /// Why the provider aborted this choice, where it did.
    fn error(&self) -> Option<ProviderError> {
        let error = self.error.map(|error| format!(r#"{{"error":{}}}"#, error.get()));
        let error = error.and_then(|error| serde_json::from_str::<Value>(&error).ok());
        if let Some(error) = error.filter(|error| error.get("error").is_some_and(fault::is_telling)) {
            return Some(fault::in_answer(&error, ""));
        }
        let is_given_up = text(self.finish_reason).is_some_and(|word| word.eq_ignore_ascii_case("error"));
        is_given_up.then(|| fault::in_words("the provider gave the answer up, and does not say why"))
    }

    fn finish(&self) -> Option<FinishReason> {
        text(self.finish_reason).as_deref().map(parse_finish)
    }
}

impl Written<'_> {
    /// Text and reasoning (which may be content in parts), tool calls and refusals.
    fn delta(&self) -> Delta {
        let mut delta = Delta {
            reasoning: written::thoughts([self.reasoning_content, self.reasoning, self.reasoning_details]),
            refusal: text(self.refusal).unwrap_or_default().into_owned(),
            calls: self.calls(),
            ..Delta::default()
        };
        match self.content {
            Some(content) if content.get().starts_with(['[', '{']) => {
                written::put_parts(content, &mut delta.text, &mut delta.reasoning);
            }
            content => delta.text = text(content).unwrap_or_default().into_owned(),
        }
        delta
    }

    fn calls(&self) -> Vec<CallDelta> {
        let listed: Vec<ToolCall> = read(self.tool_calls).unwrap_or_default();
        let listed = listed.into_iter().zip(0_u32..).filter_map(|(call, place)| {
            let ToolCall { index, id, function, custom } = call;
            Some(function.or(custom)?.delta(index.unwrap_or(place), id))
        });
        let alone = read::<Called>(self.function_call).map(|called| called.delta(0, None));
        listed.chain(alone).collect()
    }
}

fn parse_finish(word: &str) -> FinishReason {
    match word {
        // Together's, and Mistral's.
        "stop" | "eos" => FinishReason::Stop,
        "length" | "model_length" => FinishReason::Length,
        "tool_calls" | "function_call" => FinishReason::ToolCalls,
        "content_filter" => FinishReason::ContentFilter,
        other => FinishReason::Other(other.to_owned()),
    }
}

/// The class of a provider's body or event.
#[derive(Debug, Clone, PartialEq)]
enum Meaning {
    /// A piece of an answer, or a whole one, without its usage: a delta for each choice. The first delta carries the
    /// original.
    Answer(Vec<Delta>, Form),
    /// Only usage.
    Usage,
    /// A keep-alive.
    Heartbeat,
    /// An error.
    Error(ProviderError),
    /// The end marker of a stream.
    End,
    /// A text that begins as JSON and is not complete.
    Broken,
    /// An unknown text; as fields where it is an object.
    Unknown(Option<Fields>),
}

/// The form of a piece of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    /// Choices with messages.
    Whole,
    /// Choices with deltas.
    Piece,
}

/// A classified body or event, with the usage that it reports.
#[derive(Debug, Clone, PartialEq)]
struct Classified {
    meaning: Meaning,
    usage: Option<Box<Report>>,
}

impl From<Meaning> for Classified {
    fn from(meaning: Meaning) -> Self {
        Self { meaning, usage: None }
    }
}

/// Names that servers give to keep-alives.
const HEARTBEATS: [&str; 5] = ["ping", "keepalive", "keep-alive", "keep_alive", "heartbeat"];
/// Fields that carry no answer, in an event without choices.
const ENVELOPE: [&str; 8] =
    ["id", "object", "created", "model", "choices", "usage", "system_fingerprint", "service_tier"];

/// Classifies a whole body, or an event of a stream by its name and data.
fn classify(format: Format, name: &str, data: &str) -> Classified {
    let data = data.trim_start_matches('\u{feff}').trim();
    if name == "error" {
        return match Fields::of(data) {
            Ok(mut fields) => Classified { usage: take_usage(&mut fields), meaning: error_of(data) },
            Err(_) => error_of(data).into(),
        };
    }
    if data.is_empty() || HEARTBEATS.contains(&name) || HEARTBEATS.contains(&data) {
        return Meaning::Heartbeat.into();
    }
    if data.trim_start_matches('"').starts_with("[DONE]") {
        return Meaning::End.into();
    }
    match Fields::of(data) {
        Ok(mut fields) => {
            let usage = take_usage(&mut fields);
            Classified { meaning: classify_object(format, fields, usage.is_some(), data), usage }
        }
        Err(_) => classify_other(format, data).into(),
    }
}

/// Takes the reported usage out of an answer, a chunk or an error.
fn take_usage(fields: &mut Fields) -> Option<Box<Report>> {
    let usage = usage::report(fields);
    fields.remove("usage");
    usage.map(Box::new)
}

/// An error, from its text.
fn error_of(text: &str) -> Meaning {
    Meaning::Error(match serde_json::from_str(text) {
        Ok(value) => fault::in_answer(&value, text),
        Err(_) if text.is_empty() => fault::in_words("the provider reported an error and no words for it"),
        Err(_) => fault::in_words(fault::text_words(text)),
    })
}

/// Classifies an object.
fn classify_object(format: Format, mut fields: Fields, reports: bool, text: &str) -> Meaning {
    if is_refusing(&fields, "error") || is_refusing(&fields, "x_groq") || calls_itself(&fields, "error") {
        return error_of(text);
    }
    let choices = fields.present("choices").and_then(|choices| serde_json::from_str::<Vec<Choice<'_>>>(choices).ok());
    match choices {
        Some(choices) if !choices.is_empty() => {
            if let Some(error) = choices.iter().find_map(Choice::error) {
                return Meaning::Error(error);
            }
            let is_whole = choices.iter().any(|choice| choice.message.is_some() && choice.delta.is_none());
            let deltas = choices.iter().map(Choice::delta).collect();
            // Some clients read an empty `error` as an error.
            fields.remove("error");
            Meaning::Answer(written_as(format, deltas, fields), if is_whole { Form::Whole } else { Form::Piece })
        }
        Some(_) if reports => Meaning::Usage,
        Some(_) if fields.names().all(|name| ENVELOPE.contains(&name)) => Meaning::Heartbeat,
        None if speaks(&fields) => error_of(text),
        None if reports => Meaning::Usage,
        None if fields.names().next().is_none() || HEARTBEATS.iter().any(|beat| calls_itself(&fields, beat)) => {
            Meaning::Heartbeat
        }
        Some(_) | None => Meaning::Unknown(Some(fields)),
    }
}

/// Whether a field is an error, or holds one.
fn is_refusing(fields: &Fields, name: &str) -> bool {
    let value = fields.present(name).and_then(|value| serde_json::from_str::<Value>(value).ok());
    value.is_some_and(|value| match name {
        "error" => fault::is_telling(&value),
        _ => value.get("error").is_some_and(fault::is_telling),
    })
}

/// Whether `object` or `type` has this value.
fn calls_itself(fields: &Fields, word: &str) -> bool {
    let is = |name| fields.get(name).and_then(|quoted| quoted.strip_prefix('"')?.strip_suffix('"')) == Some(word);
    is("object") || is("type")
}

/// Whether an object without choices can only be an error: it has an `error`, even an empty one, or a message and no
/// other name for itself.
fn speaks(fields: &Fields) -> bool {
    let value = |name: &str| fields.present(name).and_then(|value| serde_json::from_str::<Value>(value).ok());
    let error = value("error");
    let is_denied = error.as_ref() == Some(&Value::Bool(false));
    let is_other = ["object", "type"].into_iter().any(|name| {
        let word = value(name).and_then(|word| word.as_str().map(str::to_ascii_lowercase));
        word.is_some_and(|word| !["error", "exception", "fail"].iter().any(|part| word.contains(part)))
    });
    let has_words = ["message", "detail", "errors", "msg"].into_iter().any(|name| {
        value(name).is_some_and(|value| (value.is_string() || value.is_array()) && fault::is_telling(&value))
    });
    !is_denied && (error.is_some() || (has_words && !is_other))
}

fn classify_other(format: Format, text: &str) -> Meaning {
    match serde_json::from_str(text) {
        Ok(Value::Array(list)) if list.first().is_some_and(Value::is_object) => {
            match classify(format, "", &list[0].to_string()).meaning {
                Meaning::Error(error) => Meaning::Error(error),
                _ => Meaning::Unknown(None),
            }
        }
        Ok(_) => Meaning::Unknown(None),
        Err(_) if text.starts_with(['{', '[']) => Meaning::Broken,
        Err(_) => error_of(text),
    }
}

/// Deltas with their provider's original. All stand in one event or answer, which the first delta carries.
fn written_as(format: Format, mut deltas: Vec<Delta>, fields: Fields) -> Vec<Delta> {
    if deltas.is_empty() {
        deltas.push(Delta::default());
    }
    original::put(&mut deltas, format, fields);
    deltas
}

/// The deltas of an answer that was assembled here.
fn deltas_of(format: Format, fields: Fields) -> Vec<Delta> {
    let choices = fields.present("choices").and_then(|choices| serde_json::from_str::<Vec<Choice<'_>>>(choices).ok());
    let deltas = choices.iter().flatten().map(Choice::delta).collect();
    written_as(format, deltas, fields)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inference::Raw;
    use proptest::prelude::*;

    const CHAT: Format = Format::OpenAiChat;

    #[test]
    fn calls_and_refusals_are_output_beside_the_text() {
        let of = |choices: &str| match classify(CHAT, "", &format!(r#"{{"choices":{choices}}}"#)).meaning {
            Meaning::Answer(deltas, _) => deltas.iter().flat_map(|delta| delta.written().skip(1)).collect(),
            _ => String::new(),
        };
        let calls = r#"[{"id":"a","type":"function","function":{"name":"sky","arguments":"{\"at\":1}"}},
            {"id":"b","type":"custom","custom":{"name":"run","input":"ls"}}]"#;
        assert_eq!(of(&format!(r#"[{{"message":{{"content":null,"tool_calls":{calls}}}}}]"#)), r#"sky{"at":1}runls"#);
        assert_eq!(of(r#"[{"message":{"content":"yes","reasoning":"hm","reasoning_content":"hm"}}]"#), "hm");
        assert_eq!(of(r#"[{"delta":{"reasoning_content":"so"}}]"#), "so");
        let parts = r#"[{"type":"thinking","thinking":[{"type":"text","text":"hm"}]},{"type":"text","text":"yes"}]"#;
        let meaning = classify(CHAT, "", &format!(r#"{{"choices":[{{"message":{{"content":{parts}}}}}]}}"#)).meaning;
        let Meaning::Answer(deltas, Form::Whole) = meaning else { panic!("{meaning:?}") };
        assert_eq!((&*deltas[0].text, &*deltas[0].reasoning), ("yes", "hm"));
        let chunk = r#"[{"delta":{"tool_calls":[{"index":0,"function":{"arguments":"{\"a"}}]}}]"#;
        assert_eq!(of(chunk), r#"{"a"#);
        assert_eq!(of(r#"[{"delta":{"function_call":{"name":"f","arguments":"{}"}}}]"#), "f{}");
        assert_eq!(
            of(r#"[{"message":{"content":null,"refusal":"No."}},{"message":{"refusal":"Nor I."}}]"#),
            "No.Nor I."
        );
        for nothing in
            [r#"[{"message":{"content":"tool_calls","refusal":null}}]"#, "[]", "7", r#"[{"message":{"tool_calls":7}}]"#]
        {
            assert_eq!(of(nothing), "", "{nothing}");
        }
    }

    #[test]
    fn what_several_choices_gain_is_told_apart_and_written_once() {
        let chunk = r#"{"choices":[{"index":1,"delta":{"content":"b"}},{"index":0,"delta":{"content":"a"},"finish_reason":"stop"}]}"#;
        let Meaning::Answer(deltas, Form::Piece) = classify(CHAT, "", chunk).meaning else { panic!() };
        let told: Vec<_> = deltas.iter().map(|delta| (delta.choice, &*delta.text, delta.finish.clone())).collect();
        assert_eq!(told, [(1, "b", None), (0, "a", Some(FinishReason::Stop))]);
        assert_eq!(deltas[0].raw.of(CHAT).map(Fields::to_json).as_deref(), Some(chunk));
        assert_eq!(deltas[1].raw, Raw::Before(CHAT));
    }

    #[test]
    fn every_meaning_is_told_apart() {
        let of = |name: &str, data: &str| match classify(CHAT, name, data) {
            Classified { meaning: Meaning::Answer(_, Form::Whole), .. } => "whole",
            Classified { meaning: Meaning::Answer(_, Form::Piece), .. } => "piece",
            Classified { meaning: Meaning::Usage, usage: Some(_) } => "usage",
            Classified { meaning: Meaning::Usage, usage: None } => "usage that is none",
            Classified { meaning: Meaning::Heartbeat, .. } => "heartbeat",
            Classified { meaning: Meaning::Error(_), .. } => "error",
            Classified { meaning: Meaning::End, .. } => "end",
            Classified { meaning: Meaning::Broken, .. } => "broken",
            Classified { meaning: Meaning::Unknown(_), .. } => "unknown",
        };
        for (data, kind) in [
            (r#"{"choices":[{"message":{"content":"x"}}]}"#, "whole"),
            (r#"{"choices":[{"delta":{"content":"x"}}],"error":null}"#, "piece"),
            (r#"{"choices":[{"delta":{}}],"error":{}}"#, "piece"),
            (r#"{"choices":[{"delta":{}}],"error":{"message":"x"}}"#, "error"),
            (r#"{"choices":[{"delta":{},"finish_reason":"error"}]}"#, "error"),
            (r#"{"choices":[{"delta":{},"error":{"code":502}}]}"#, "error"),
            (r#"{"choices":[],"usage":{"prompt_tokens":1,"completion_tokens":1}}"#, "usage"),
            (r#"{"id":"x","choices":[],"usage":null}"#, "heartbeat"),
            (r#"{"choices":[],"prompt_filter_results":[1]}"#, "unknown"),
            (r#"{"choices":7}"#, "unknown"),
            (r#"{"object":"error","message":"x","code":400}"#, "error"),
            (r#"{"type":"error","error":{"type":"overloaded_error"}}"#, "error"),
            (r#"{"x_groq":{"error":"over capacity"}}"#, "error"),
            (r#"{"error":"text"}"#, "error"),
            (r#"{"error":{}}"#, "error"),
            (r#"{"error":["text"]}"#, "error"),
            (r#"{"error":null}"#, "unknown"),
            (r#"{"error":false,"message":"fine"}"#, "unknown"),
            (r#"{"detail":"text"}"#, "error"),
            (r#"{"detail":[{"loc":["body"],"msg":"x"}]}"#, "error"),
            (r#"{"message":"text"}"#, "error"),
            (r#"{"type":"BadRequestError","message":"text"}"#, "error"),
            (r#"{"type":"message_start","message":{"id":"x"}}"#, "unknown"),
            (r#"{"type":"notice","message":"hello"}"#, "unknown"),
            (r#"{"type":"ping"}"#, "heartbeat"),
            ("{}", "heartbeat"),
            ("", "heartbeat"),
            ("keepalive", "heartbeat"),
            ("[DONE]", "end"),
            ("[DONE] ", "end"),
            (r#""[DONE]""#, "end"),
            ("[]", "unknown"),
            ("7", "unknown"),
            (r#"[{"error":{"code":503}}]"#, "error"),
            ("{garbage", "broken"),
            ("upstream connect error", "error"),
            ("<html>Bad gateway</html>", "error"),
        ] {
            assert_eq!(of("", data), kind, "{data}");
        }
        assert_eq!(
            (of("ping", "x"), of("error", "x"), of("error", "{}"), of("new", "{}")),
            ("heartbeat", "error", "error", "heartbeat")
        );
    }

    proptest! {
        #[test]
        fn no_answer_panics(body in ".{0,200}") {
            let _ = classify(CHAT, "", &body);
            let _ = classify(CHAT, "error", &format!("{{{body}}}"));
        }
    }
}
