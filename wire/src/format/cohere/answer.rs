//! An answer of Cohere's: one object, or events that tell the same piece by piece. Only `billed_units` are paid for:
//! `tokens` are what was processed, and are more.

use serde_json::Value;

use super::stop;
use crate::{
    fields::Fields,
    format::{
        count,
        incoming::{Listener, Place},
        openai::fault,
    },
    inference::{CallDelta, Delta, Event, Failure, Format, ProviderError, Raw},
    sse::SseEvent,
    usage::Report,
};

/// The form in which a client of this format asked for an answer. Of any other form no originals are passed on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// Events.
    Stream,
    /// One object.
    Whole,
}

/// What was read of an answer.
#[derive(Debug)]
pub(super) struct Answer {
    /// `None` for a client of another format, who gets no originals.
    form: Option<Form>,
    /// Calls that began, by their index in the stream.
    calls: Vec<u64>,
    /// The call that has no arguments yet.
    bare: Option<u32>,
    has_answered: bool,
    is_over: bool,
}

/// The most calls of one answer.
const MOST_CALLS: usize = 1_024;
/// A longer report of usage is not passed on: no real one is as long.
const LONGEST_REPORT: usize = 64 << 10;

impl Listener for Answer {
    fn event(&mut self, event: &SseEvent, place: Place, events: &mut Vec<Event>) -> Result<(), Failure> {
        let data = event.data.trim();
        if data.is_empty() || data == "[DONE]" {
            return Ok(());
        }
        match serde_json::from_str::<Value>(data) {
            Ok(value) => {
                let before = events.len();
                self.read(&value, events)?;
                put_original(events, before, self.original(data, &value));
                Ok(())
            }
            Err(_) if event.is_stray || place == Place::AtEnd => Ok(()),
            Err(_) => Err(Failure::Transport("a chunk of the provider's is not of a known shape".into())),
        }
    }

    fn is_over(&self) -> bool {
        self.is_over
    }

    fn is_whole(&self) -> bool {
        self.is_over
    }

    fn has_answered(&self) -> bool {
        self.has_answered
    }
}

impl Answer {
    /// For a client of this format, who asked for that form.
    pub(super) const fn own(form: Form) -> Self {
        Self::of(Some(form))
    }

    /// For a client of another format.
    pub(super) const fn foreign() -> Self {
        Self::of(None)
    }

    const fn of(form: Option<Form>) -> Self {
        Self { form, calls: Vec::new(), bare: None, has_answered: false, is_over: false }
    }

    /// The original of an event, or of a whole answer without its usage, for a client of this format.
    fn original(&self, data: &str, value: &Value) -> Option<Raw> {
        let form = if value.get("type").is_some() { Form::Stream } else { Form::Whole };
        if self.form != Some(form) {
            return None;
        }
        let mut fields = Fields::of(data).ok()?;
        if form == Form::Whole {
            fields.remove("usage");
        }
        Some(Raw::Own(Format::Cohere, fields))
    }

    fn read(&mut self, value: &Value, events: &mut Vec<Event>) -> Result<(), Failure> {
        let message = value.pointer("/delta/message").unwrap_or(&Value::Null);
        let delta = match value.get("type").and_then(Value::as_str) {
            Some("message-start" | "content-end" | "citation-start" | "citation-end" | "debug") => {
                self.has_answered = true;
                return Ok(());
            }
            Some("content-start" | "content-delta") => content(&message["content"]),
            Some("tool-plan-delta") => Delta { reasoning: text(message, "tool_plan").into(), ..Delta::default() },
            Some("tool-call-start") => Delta { calls: vec![self.begun(value, message)?], ..Delta::default() },
            Some("tool-call-delta") => Delta { calls: self.more(value, message), ..Delta::default() },
            // A call without arguments has an empty object: other formats have no other word for it.
            Some("tool-call-end") => {
                Delta { calls: self.bare.take().map(empty).into_iter().collect(), ..Delta::default() }
            }
            Some("message-end") => return self.end(&value["delta"], Delta::default(), events),
            _ if value.get("message").is_some_and(Value::is_object) => {
                let delta = whole(&value["message"]);
                return self.end(value, delta, events);
            }
            _ if text(value, "message").is_empty() && !value.get("error").is_some_and(fault::is_telling) => {
                events.push(Event::Unknown(Raw::None));
                return Ok(());
            }
            _ => return Err(Failure::Provider(Box::new(fault::in_answer(value, "")))),
        };
        self.has_answered = true;
        let is_silent = delta.text.is_empty() && delta.reasoning.is_empty() && delta.calls.is_empty();
        events.extend((!is_silent).then_some(Event::Delta(delta)));
        Ok(())
    }

    /// A call that begins. Calls get their order from the stream.
    fn begun(&mut self, value: &Value, message: &Value) -> Result<CallDelta, Failure> {
        if self.calls.len() >= MOST_CALLS {
            return Err(Failure::Transport(format!("the provider's answer has more than {MOST_CALLS} calls")));
        }
        let index = u32::try_from(self.calls.len()).unwrap_or(u32::MAX);
        self.calls.push(value.get("index").and_then(Value::as_u64).unwrap_or(0));
        let call = call(index, &message["tool_calls"]);
        self.bare = call.arguments.is_empty().then_some(index);
        Ok(call)
    }

    /// More of a call's arguments.
    fn more(&mut self, value: &Value, message: &Value) -> Vec<CallDelta> {
        let index = value.get("index").and_then(Value::as_u64).unwrap_or(0);
        let place = self.calls.iter().rposition(|known| *known == index).or(self.calls.len().checked_sub(1));
        let arguments = text(&message["tool_calls"]["function"], "arguments").to_owned();
        let index = place.and_then(|place| u32::try_from(place).ok());
        if !arguments.is_empty() {
            self.bare = self.bare.filter(|bare| Some(*bare) != index);
        }
        index.map(|index| CallDelta { index, arguments, ..CallDelta::default() }).into_iter().collect()
    }

    /// Reads why an answer ended, and its usage. `delta` is what is said with it.
    fn end(&mut self, end: &Value, mut delta: Delta, events: &mut Vec<Event>) -> Result<(), Failure> {
        let word = text(end, "finish_reason");
        let said = text(end, "error");
        let is_fault = matches!(word, "ERROR" | "TIMEOUT") || !said.is_empty();
        if !is_fault {
            let has_calls = !self.calls.is_empty() || !delta.calls.is_empty();
            delta.finish = Some(stop::read(word).with_calls(has_calls));
            events.push(Event::Delta(delta));
        }
        events.extend(report(end).map(|report| Event::Reported(Box::new(report))));
        if is_fault {
            let said = if said.is_empty() { "the provider gave the answer up, and does not say why" } else { said };
            let error = fault::in_words(fault::text_words(said));
            let status = if word == "TIMEOUT" { 504 } else { error.status };
            return Err(Failure::Provider(Box::new(ProviderError { status, ..error })));
        }
        self.has_answered = true;
        self.is_over = true;
        Ok(())
    }
}

/// A member's text, or none.
fn text<'a>(value: &'a Value, name: &str) -> &'a str {
    value.get(name).and_then(Value::as_str).unwrap_or_default()
}

/// A piece of content: text, or reasoning.
fn content(content: &Value) -> Delta {
    Delta { text: text(content, "text").into(), reasoning: text(content, "thinking").into(), ..Delta::default() }
}

fn call(index: u32, call: &Value) -> CallDelta {
    let function = call.get("function").unwrap_or(&Value::Null);
    CallDelta {
        index,
        id: Some(text(call, "id").to_owned()),
        name: Some(text(function, "name").to_owned()),
        arguments: text(function, "arguments").to_owned(),
    }
}

/// The arguments of a call that has none.
fn empty(index: u32) -> CallDelta {
    CallDelta { index, arguments: "{}".to_owned(), ..CallDelta::default() }
}

/// A whole message. Its plan for the tools is reasoning.
fn whole(message: &Value) -> Delta {
    let mut delta = Delta { reasoning: text(message, "tool_plan").into(), ..Delta::default() };
    match &message["content"] {
        Value::String(text) => text.clone_into(&mut delta.text),
        Value::Array(parts) => parts.iter().map(content).for_each(|part| {
            delta.text.push_str(&part.text);
            delta.reasoning.push_str(&part.reasoning);
        }),
        _ => {}
    }
    let calls = message.get("tool_calls").and_then(Value::as_array).into_iter().flatten().take(MOST_CALLS);
    delta.calls = (0..).zip(calls).map(|(index, said)| call(index, said)).collect();
    for call in delta.calls.iter_mut().filter(|call| call.arguments.is_empty()) {
        call.arguments.push_str("{}");
    }
    delta
}

/// The usage that is billed; `None` where none is.
fn report(end: &Value) -> Option<Report> {
    let usage = end.get("usage")?;
    let billed = usage.get("billed_units")?;
    let number = |name: &str| billed.get(name).and_then(count);
    let (input, output) = (number("input_tokens"), number("output_tokens"));
    let is_nothing = input.unwrap_or(0) == 0 && output.unwrap_or(0) == 0;
    let own = usage.to_string();
    let own = (own.len() <= LONGEST_REPORT).then(|| own.into_boxed_str());
    (!is_nothing).then(|| Report { input, output, own, ..Report::default() })
}

/// Puts an original to the first piece from a place on, or on a piece of its own where it says nothing in neutral words.
fn put_original(events: &mut Vec<Event>, from: usize, raw: Option<Raw>) {
    let Some(raw) = raw else { return };
    let place = events.iter_mut().skip(from).find_map(|event| match event {
        Event::Delta(delta) => Some(&mut delta.raw),
        Event::Unknown(raw) => Some(raw),
        _ => None,
    });
    match place {
        Some(place) => *place = raw,
        None => events.insert(from, Event::Delta(Delta { raw, ..Delta::default() })),
    }
}
