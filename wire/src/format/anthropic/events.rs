//! One event of an answer, by its type: the piece of the answer that it adds, in neutral words.

use std::borrow::Cow;

use super::{stop, usage};
use crate::{
    fields::{Fields, Pairs, text_of},
    format::{openai::faults, proof::hidden},
    inference::{CallDelta, Delta, FinishReason, ProviderError},
    usage::Report,
};

/// What an event of a stream says.
pub(super) enum Meaning {
    /// The answer begins.
    Begun(Delta, Option<Report>),
    /// A piece of the answer, or a part of its frame.
    Piece(Delta),
    /// The answer's end is near: the reason, and the usage so far.
    Ending(Delta, Option<Report>),
    /// The end.
    End,
    /// A keep-alive.
    Ping,
    /// An error.
    Error(ProviderError),
    /// An event of a type that is not known.
    Unknown,
}

/// The state that events need of those before them.
#[derive(Debug, Default)]
pub(super) struct Course {
    /// Of each block that calls a tool its index, in the order of the calls.
    calls: Vec<u64>,
    /// The index of the block that calls a tool and has no input yet.
    bare: Option<u64>,
    /// Whether the model wrote anything.
    pub(super) has_output: bool,
}

fn text(object: &Pairs<'_>, name: &str) -> Option<String> {
    object.get(name).and_then(text_of).map(Cow::into_owned)
}

/// The type of an event.
pub(super) fn kind(event: &Fields) -> String {
    event.present("type").and_then(text_of).map(Cow::into_owned).unwrap_or_default()
}

impl Course {
    /// What an event says. Its original is not in the piece yet.
    pub(super) fn read(&mut self, event: &Fields, data: &str) -> Meaning {
        match &*kind(event) {
            "message_start" => {
                let usage = event.present("message").and_then(Pairs::of);
                let report = usage.and_then(|message| usage::read(message.get("usage")?));
                Meaning::Begun(Delta::default(), report)
            }
            "content_block_start" => Meaning::Piece(self.started(event)),
            "content_block_delta" => Meaning::Piece(self.grown(event)),
            "content_block_stop" => Meaning::Piece(self.stopped(event)),
            "message_delta" => self.ending(event),
            "message_stop" => Meaning::End,
            "ping" => Meaning::Ping,
            "error" => Meaning::Error(error(data)),
            _ => Meaning::Unknown,
        }
    }

    fn index(event: &Fields) -> u64 {
        event.present("index").and_then(|index| index.parse().ok()).unwrap_or(0)
    }

    fn started(&mut self, event: &Fields) -> Delta {
        let Some(block) = event.present("content_block").and_then(Pairs::of) else { return Delta::default() };
        let delta = self.block(Self::index(event), &block);
        if delta.calls.iter().any(|call| call.arguments.is_empty()) {
            self.bare = Some(Self::index(event));
        }
        let is_text = text(&block, "type").is_none_or(|kind| kind == "text" || kind == "thinking");
        self.has_output |= !is_text || delta.written().any(|text| !text.is_empty());
        delta
    }

    /// A block, as far as it is there.
    pub(super) fn block(&mut self, index: u64, block: &Pairs<'_>) -> Delta {
        let said = |name: &str| text(block, name).unwrap_or_default();
        match &*said("type") {
            "text" => Delta { text: said("text"), ..Delta::default() },
            "thinking" => {
                let signature = text(block, "signature").filter(|text| !text.is_empty());
                Delta { reasoning: said("thinking"), signature: signature.map(Box::from), ..Delta::default() }
            }
            "redacted_thinking" => Delta { signature: Some(hidden(&said("data")).into()), ..Delta::default() },
            "tool_use" => {
                // A stream begins with an empty object, and writes the input as a text.
                let input = block.get("input").filter(|input| Pairs::of(input).is_none_or(|input| input.len() > 0));
                let arguments = input.unwrap_or_default().to_owned();
                let call =
                    CallDelta { index: self.call(index), id: text(block, "id"), name: text(block, "name"), arguments };
                Delta { calls: vec![call], ..Delta::default() }
            }
            _ => Delta::default(),
        }
    }

    /// The number of the call in this block.
    fn call(&mut self, index: u64) -> u32 {
        let place = self.calls.iter().position(|known| *known == index).unwrap_or_else(|| {
            self.calls.push(index);
            self.calls.len() - 1
        });
        u32::try_from(place).unwrap_or(u32::MAX)
    }

    fn grown(&mut self, event: &Fields) -> Delta {
        let Some(grown) = event.present("delta").and_then(Pairs::of) else { return Delta::default() };
        let said = |name: &str| text(&grown, name).unwrap_or_default();
        let delta = match &*said("type") {
            "text_delta" => Delta { text: said("text"), ..Delta::default() },
            "thinking_delta" => Delta { reasoning: said("thinking"), ..Delta::default() },
            "signature_delta" => Delta { signature: Some(said("signature").into()), ..Delta::default() },
            // The input of a tool that the provider runs is none of the client's calls.
            "input_json_delta" => match self.calls.iter().position(|known| *known == Self::index(event)) {
                Some(place) => {
                    let index = u32::try_from(place).unwrap_or(u32::MAX);
                    let call = CallDelta { index, arguments: said("partial_json"), ..CallDelta::default() };
                    if !call.arguments.is_empty() && self.bare == Some(Self::index(event)) {
                        self.bare = None;
                    }
                    Delta { calls: vec![call], ..Delta::default() }
                }
                None => Delta::default(),
            },
            _ => Delta::default(),
        };
        self.has_output |= delta.written().any(|text| !text.is_empty());
        delta
    }

    /// A call without input has an empty object: other formats have no other word for it.
    fn stopped(&mut self, event: &Fields) -> Delta {
        let index = Self::index(event);
        let Some(place) = self.calls.iter().position(|known| Some(*known) == self.bare && *known == index) else {
            return Delta::default();
        };
        self.bare = None;
        let index = u32::try_from(place).unwrap_or(u32::MAX);
        let call = CallDelta { index, arguments: "{}".into(), ..CallDelta::default() };
        Delta { calls: vec![call], ..Delta::default() }
    }

    fn ending(&self, event: &Fields) -> Meaning {
        let delta = event.present("delta").and_then(Pairs::of);
        let said = |name: &str| delta.as_ref().and_then(|delta| text(delta, name));
        let reason = said("stop_reason").map(|reason| stop::read(&reason, said("stop_sequence")));
        let finish = reason.map(|reason| reason.with_calls(!self.calls.is_empty()));
        let report = self.billed(usage::report(event), finish.as_ref());
        Meaning::Ending(Delta { finish, ..Delta::default() }, report)
    }

    /// A report, as far as it is billed: a refusal before any output is free.
    pub(super) fn billed(&self, report: Option<Report>, finish: Option<&FinishReason>) -> Option<Report> {
        let is_free = finish == Some(&FinishReason::ContentFilter) && !self.has_output;
        if is_free { Some(Report { is_free, ..report.unwrap_or_default() }) } else { report }
    }
}

/// The error of a text.
pub(super) fn error(data: &str) -> ProviderError {
    match serde_json::from_str(data) {
        Ok(value) => faults::in_answer(&value, data),
        Err(_) => faults::in_words(faults::text_words(data)),
    }
}
