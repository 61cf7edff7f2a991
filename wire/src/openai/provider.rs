//! What a provider answers, read: whole, in chunks, or with an error.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::{Value, json};

use crate::{
    fields::Fields,
    inference::{Delta, Event, Failure, FinishReason, Usage},
    json::{self, Unexpected, Walk},
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
#[derive(Default)]
struct Choice<'a> {
    index: u32,
    message: Option<Cow<'a, str>>,
    text: Option<Cow<'a, str>>,
    finish: Option<FinishReason>,
}

impl<'a> Choice<'a> {
    fn read(walk: &mut Walk<'a>) -> Result<Self, Unexpected> {
        let mut choice = Self::default();
        walk.object(|walk, name| {
            match name.read().as_ref() {
                "message" | "delta" if walk.is_object() => {
                    walk.object(|walk, name| {
                        let value = walk.value()?;
                        if name.read() == "content" {
                            choice.message = json::string(value);
                        }
                        Ok(())
                    })?;
                }
                "index" => choice.index = walk.value()?.parse().unwrap_or(0),
                "text" => choice.text = json::string(walk.value()?),
                "finish_reason" => choice.finish = json::string(walk.value()?).as_deref().map(parse_finish),
                _ => {
                    walk.value()?;
                }
            }
            Ok(())
        })?;
        Ok(choice)
    }

    fn text(&self) -> &str {
        self.message.as_deref().or(self.text.as_deref()).unwrap_or_default()
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

/// A whole answer or a chunk.
struct Said<'a> {
    /// All of it but its usage.
    fields: Fields,
    /// None where it has none, or null.
    choices: Option<Vec<Choice<'a>>>,
    usage: Option<Usage>,
}

impl<'a> Said<'a> {
    /// None where it is no JSON object, or has choices of no known shape.
    fn read(bytes: &'a [u8]) -> Option<Self> {
        let (mut choices, mut usage) = (None, None);
        let fields = Fields::parse_with(bytes, |walk, name| {
            match name {
                "choices" if !walk.is_null() => {
                    let mut all = Vec::with_capacity(1);
                    walk.array(|walk| {
                        all.push(Choice::read(walk)?);
                        Ok(())
                    })?;
                    choices = Some(all);
                }
                "usage" => usage = parse_usage(walk.value()?),
                _ => {
                    walk.value()?;
                }
            }
            Ok(())
        });
        let mut fields = fields.ok()?;
        fields.remove("usage");
        Some(Self { fields, choices, usage })
    }
}

/// A provider's whole answer, as events: one delta that carries it as it came, and its usage where it has one.
pub fn parse_answer(bytes: &[u8]) -> Result<Vec<Event>, Failure> {
    let garbage = |what: &str| Failure::Transport(format!("the provider's answer {what}"));
    let said = Said::read(bytes).ok_or_else(|| garbage("is not a JSON object of a known shape"))?;
    let choices = said.choices.ok_or_else(|| garbage("has no choices"))?;
    let text = choices.iter().map(Choice::text).collect();
    let finish = choices.into_iter().next().and_then(|choice| choice.finish);
    let mut events = Vec::with_capacity(2);
    events.push(Event::Delta(Delta { text, finish, raw: Some(said.fields), ..Delta::default() }));
    events.extend(said.usage.map(Event::Usage));
    Ok(events)
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
    let said = Said::read(data.as_bytes()).ok_or_else(garbage)?;
    if let Some(error) = said.fields.present("error") {
        let error: Value = serde_json::from_str(error).map_err(|_| garbage())?;
        let message = error.get("message").and_then(Value::as_str).unwrap_or("error in the stream").to_owned();
        let body = Some(json!({"error": error}));
        return Err(Failure::Provider { status: 200, message, retry_after: None, body });
    }
    let mut events = Vec::with_capacity(1);
    if let Some(first) = said.choices.into_iter().flatten().next() {
        let text = first.text().to_owned();
        let (choice, finish) = (first.index, first.finish);
        events.push(Event::Delta(Delta { choice, text, finish, raw: Some(said.fields), ..Delta::default() }));
    }
    events.extend(said.usage.map(Event::Usage));
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

    proptest! {
        #[test]
        fn no_answer_panics(body in ".{0,200}") {
            let _ = parse_answer(body.as_bytes());
            let _ = parse_chunk(&body);
        }
    }
}
