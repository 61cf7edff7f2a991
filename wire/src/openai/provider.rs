//! What a provider answers, read: whole, in chunks, or with an error.

use serde::{Deserialize, de::DeserializeOwned};
use serde_json::{Value, json, value::RawValue};

use crate::{
    fields::Fields,
    inference::{Delta, Event, Failure, FinishReason, Usage},
};

/// A provider's usage object, as far as it is read. One that is not of this shape is taken as absent.
#[derive(Deserialize)]
struct ProviderUsage {
    prompt_tokens: u64,
    completion_tokens: Option<u64>,
    prompt_tokens_details: Option<Details>,
    completion_tokens_details: Option<Details>,
}

#[derive(Deserialize)]
struct Details {
    cached_tokens: Option<u64>,
    reasoning_tokens: Option<u64>,
}

fn parse_usage(value: &str) -> Option<Usage> {
    let usage: ProviderUsage = serde_json::from_str(value).ok()?;
    Some(Usage {
        input: usage.prompt_tokens,
        cached_input: usage.prompt_tokens_details.and_then(|details| details.cached_tokens).unwrap_or(0),
        output: usage.completion_tokens.unwrap_or(0),
        reasoning: usage.completion_tokens_details.and_then(|details| details.reasoning_tokens).unwrap_or(0),
    })
}

/// A provider's choice, as far as it is read: a whole one has a message, a chunk's a delta, a completion's a text. What is
/// of another type than is read here is passed on all the same.
#[derive(Deserialize)]
struct Choice<'a> {
    #[serde(borrow, default)]
    index: Option<&'a RawValue>,
    #[serde(borrow, default, alias = "delta")]
    message: Option<&'a RawValue>,
    #[serde(borrow, default)]
    text: Option<&'a RawValue>,
    #[serde(borrow, default)]
    finish_reason: Option<&'a RawValue>,
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
}

#[derive(Deserialize)]
struct ToolCall {
    function: Option<Called>,
    custom: Option<Called>,
}

#[derive(Deserialize)]
struct Called {
    name: Option<String>,
    arguments: Option<String>,
    input: Option<String>,
}

fn read<T: DeserializeOwned>(value: Option<&RawValue>) -> Option<T> {
    serde_json::from_str(value?.get()).ok()
}

impl Choice<'_> {
    /// Its text, and what else the model wrote beside it.
    fn written(&self) -> (String, String) {
        let message: Option<Written<'_>> = self.message.and_then(|message| serde_json::from_str(message.get()).ok());
        let content = message.as_ref().and_then(|message| read(message.content));
        let text = content.or_else(|| read(self.text)).unwrap_or_default();
        (text, message.map(|message| message.beside()).unwrap_or_default())
    }

    fn index(&self) -> u32 {
        self.index.and_then(|index| index.get().parse().ok()).unwrap_or(0)
    }

    fn finish(&self) -> Option<FinishReason> {
        read::<String>(self.finish_reason).as_deref().map(parse_finish)
    }
}

impl Written<'_> {
    /// Calls of tools, with their arguments, and refusals.
    fn beside(&self) -> String {
        let calls: Option<Vec<ToolCall>> = read(self.tool_calls);
        let calls = calls.into_iter().flatten().flat_map(|call| [call.function, call.custom]);
        let called = calls.chain([read(self.function_call)]).flatten();
        let texts = called.flat_map(|called: Called| [called.name, called.arguments, called.input]);
        texts.chain([read(self.refusal)]).flatten().collect()
    }
}

fn parse_finish(word: &str) -> FinishReason {
    match word {
        "stop" => FinishReason::Stop,
        "length" => FinishReason::Length,
        "tool_calls" => FinishReason::ToolCalls,
        "content_filter" => FinishReason::ContentFilter,
        other => FinishReason::Other(other.to_owned()),
    }
}

/// A provider's whole answer, as events: one delta that carries it as it came, and its usage where it has one.
pub fn parse_answer(bytes: &[u8]) -> Result<Vec<Event>, Failure> {
    let garbage = |what: &str| Failure::Transport(format!("the provider's answer {what}"));
    let mut answer = Fields::parse(bytes).map_err(|_| garbage("is not a JSON object"))?;
    let usage = answer.get("usage").and_then(parse_usage);
    answer.remove("usage");
    let choices = answer.get("choices").ok_or_else(|| garbage("has no choices"))?;
    let choices: Vec<Choice<'_>> =
        serde_json::from_str(choices).map_err(|_| garbage("has choices of no known shape"))?;
    let (text, beside) = choices.iter().map(Choice::written).unzip();
    let finish = choices.first().and_then(Choice::finish);
    let delta = Delta { text, beside, finish, raw: Some(answer), ..Delta::default() };
    Ok(std::iter::once(Event::Delta(delta)).chain(usage.map(Event::Usage)).collect())
}

/// One event's data of a provider's stream.
#[derive(Debug, Clone, PartialEq)]
pub enum Chunk {
    /// What it says.
    Events(Vec<Event>),
    /// `[DONE]`.
    Done,
}

/// Reads one event's data of a provider's stream.
pub fn parse_chunk(data: &str) -> Result<Chunk, Failure> {
    if data.trim() == "[DONE]" {
        return Ok(Chunk::Done);
    }
    let garbage = || Failure::Transport("a chunk of the provider's is not of a known shape".into());
    let mut chunk = Fields::parse(data.as_bytes()).map_err(|_| garbage())?;
    if let Some(error) = chunk.present("error") {
        let error: Value = serde_json::from_str(error).map_err(|_| garbage())?;
        let message = error.get("message").and_then(Value::as_str).unwrap_or("error in the stream").to_owned();
        let body = Some(json!({"error": error}));
        return Err(Failure::Provider { status: 200, message, retry_after: None, body });
    }
    let usage = chunk.get("usage").and_then(parse_usage);
    chunk.remove("usage");
    let mut events = Vec::new();
    if let Some(choices) = chunk.present("choices") {
        let choices: Vec<Choice<'_>> = serde_json::from_str(choices).map_err(|_| garbage())?;
        if let Some(first) = choices.first() {
            let (choice, finish) = (first.index(), first.finish());
            let (mut texts, beside): (Vec<String>, String) = choices.iter().map(Choice::written).unzip();
            let text = texts.swap_remove(0);
            events.push(Event::Delta(Delta { choice, text, beside, finish, raw: Some(chunk), ..Delta::default() }));
        }
    }
    events.extend(usage.map(Event::Usage));
    Ok(Chunk::Events(events))
}

/// A provider's error answer.
pub fn parse_error(status: u16, retry_after: Option<u64>, bytes: &[u8]) -> Failure {
    let body: Option<Value> = serde_json::from_slice(bytes).ok();
    let message = body.as_ref().and_then(|body| body.pointer("/error/message")).and_then(Value::as_str);
    let message = message.map_or_else(|| format!("HTTP status {status}"), str::to_owned);
    Failure::Provider { status, message, retry_after, body }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn garbage_is_a_transport_failure() {
        assert!(matches!(parse_answer(b"<html>"), Err(Failure::Transport(_))));
        assert!(matches!(parse_answer(b"{}"), Err(Failure::Transport(_))));
        let odd = parse_answer(br#"{"choices":[{"index":"x","message":{"content":[1]},"finish_reason":7}],"usage":1}"#);
        assert!(matches!(odd.unwrap().as_slice(), [Event::Delta(delta)] if delta.text.is_empty()));
        assert!(matches!(parse_chunk("nope"), Err(Failure::Transport(_))));
        assert!(matches!(parse_chunk(r#"{"error":{"message":"x"}}"#), Err(Failure::Provider { .. })));
        assert_eq!(parse_chunk(" [DONE]"), Ok(Chunk::Done));
    }

    #[test]
    fn calls_and_refusals_are_output_beside_the_text() {
        let of = |choices: &str| match parse_answer(format!(r#"{{"choices":{choices}}}"#).as_bytes()).as_deref() {
            Ok([Event::Delta(delta)]) => delta.beside.clone(),
            Err(_) => String::new(),
            Ok(other) => panic!("{other:?}"),
        };
        let calls = r#"[{"id":"a","type":"function","function":{"name":"sky","arguments":"{\"at\":1}"}},
            {"id":"b","type":"custom","custom":{"name":"run","input":"ls"}}]"#;
        assert_eq!(of(&format!(r#"[{{"message":{{"content":null,"tool_calls":{calls}}}}}]"#)), r#"sky{"at":1}runls"#);
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

    proptest! {
        #[test]
        fn no_answer_panics(body in ".{0,200}") {
            let _ = parse_answer(body.as_bytes());
            let _ = parse_chunk(&body);
        }
    }
}
