//! Answers of messages for their client: events of a stream, or one whole answer. Where the provider spoke this format
//! too, its events pass as they came. Those that end the answer are sent when the charge is durable, with the cost.

mod blocks;
mod frame;

use serde_json::{Value, json};

use crate::{
    fields::Fields,
    format::{AnswerWriter, End, ErrorShape, WholeWriter},
    inference::{Delta, FinishReason, Format, Raw, Request},
    sse,
};
use blocks::Blocks;
use frame::{Gain, ROOM, usage};

use super::{events::kind, stop};

/// The most events that wait for the answer's end.
const MOST_HELD: usize = 64;

/// Writes one answer.
pub struct Writer {
    /// `msg_...`.
    id: String,
    model: String,
    /// The blocks of an answer in neutral words.
    blocks: Blocks,
    has_begun: bool,
    finish: Option<FinishReason>,
    /// The stop text of the request, where it has one alone.
    only_stop: Option<String>,
    /// The index of the provider's block that has not stopped.
    open: Option<u64>,
    /// The provider's events from the one with the reason on: they end the answer.
    held: Vec<Fields>,
}

fn original(fields: &Fields) -> String {
    sse::named(&kind(fields), &fields.to_json())
}

impl Writer {
    /// A writer for the answer to a request. `id` has 32 hexadecimal digits.
    pub fn new(request: &Request, id: &str) -> Self {
        Self {
            id: ["msg_", id].concat(),
            model: request.model.clone(),
            blocks: Blocks::new(id),
            has_begun: false,
            finish: None,
            only_stop: match request.generation().map(|generation| &generation.sampling.stop[..]) {
                Some([only]) => Some(only.clone()),
                Some(_) | None => None,
            },
            open: None,
            held: Vec::new(),
        }
    }

    /// The first event of an answer in neutral words, if it was not written.
    fn begin(&mut self, text: &mut String) {
        if std::mem::replace(&mut self.has_begun, true) {
            return;
        }
        let usage = json!({"input_tokens": 0, "output_tokens": 0});
        let message = json!({"id": self.id, "type": "message", "role": "assistant", "model": self.model, "content": [],
            "stop_reason": null, "stop_sequence": null, "usage": usage});
        text.push_str(&sse::named("message_start", &json!({"type": "message_start", "message": message}).to_string()));
    }

    /// Writes a provider's event, or holds it back.
    fn pass(&mut self, fields: Fields) -> Option<String> {
        let name = kind(&fields);
        let is_ending = name == "message_delta" || name == "message_stop";
        if is_ending || !self.held.is_empty() {
            if is_ending || (name != "ping" && self.held.len() < MOST_HELD) {
                self.held.push(fields);
            }
            return None;
        }
        self.has_begun |= name == "message_start";
        let index = || fields.present("index").and_then(|index| index.parse().ok());
        match &*name {
            "content_block_start" => self.open = index(),
            "content_block_stop" => self.open = None,
            _ => {}
        }
        Some(sse::named(&name, &fields.to_json()))
    }

    /// The last `message_delta`, with usage and cost.
    fn priced(mut fields: Fields, end: &End) -> String {
        fields.remove("usage");
        let gain = Gain { usage: usage(&end.usage, &end.receipt), farebox: &end.receipt.farebox };
        let json = fields.to_json_with(&["usage", "farebox"], &gain, ROOM);
        sse::named("message_delta", &String::from_utf8(json).unwrap_or_default())
    }

    fn ending(&self) -> Fields {
        // A cut answer ended at a limit.
        let reason = self.finish.as_ref().map_or("max_tokens", stop::word);
        let mut fields = Fields::default();
        fields.set("type", "message_delta");
        fields.set("delta", &json!({"stop_reason": reason, "stop_sequence": self.stop_text(self.finish.as_ref())}));
        fields
    }

    /// The stop text that ended an answer. Not all who tell that one came tell which.
    fn stop_text<'a>(&'a self, finish: Option<&'a FinishReason>) -> Option<&'a str> {
        match finish {
            Some(FinishReason::StopText(text)) => text.as_deref().or(self.only_stop.as_deref()),
            Some(
                FinishReason::Stop
                | FinishReason::Length
                | FinishReason::ToolCalls
                | FinishReason::ContentFilter
                | FinishReason::Other(_),
            )
            | None => None,
        }
    }
}

impl AnswerWriter for Writer {
    fn errors(&self) -> ErrorShape {
        ErrorShape::Anthropic
    }

    fn delta(&mut self, delta: Delta) -> Option<String> {
        if delta.finish.is_some() {
            self.finish.clone_from(&delta.finish);
        }
        match delta.raw {
            Raw::Own(Format::AnthropicMessages, fields) => self.pass(fields),
            // This format has one answer.
            _ if delta.choice != 0 => None,
            _ => {
                let mut text = String::new();
                self.begin(&mut text);
                self.blocks.stream(&delta, &mut text);
                (!text.is_empty()).then_some(text)
            }
        }
    }

    /// The cost so far, as a comment: the final cost comes with the usage.
    fn cost(&mut self, cost: &str, _billed_seconds: u64) -> Option<String> {
        Some(sse::comment(&format!("cost {cost}")))
    }

    fn silence(&self) -> Option<String> {
        Some(sse::named("ping", r#"{"type": "ping"}"#))
    }

    fn end(&mut self, end: &End) -> String {
        let mut text = String::new();
        self.begin(&mut text);
        let mut held = std::mem::take(&mut self.held);
        let is_delta = |fields: &Fields| kind(fields) == "message_delta";
        if !held.iter().any(is_delta) {
            self.blocks.close(&mut text);
            if let Some(index) = self.open.take() {
                let stop = json!({"type": "content_block_stop", "index": index});
                text.push_str(&sse::named("content_block_stop", &stop.to_string()));
            }
            held.insert(0, self.ending());
        }
        let last = held.iter().rposition(is_delta);
        let has_stop = held.iter().any(|fields| kind(fields) == "message_stop");
        for (place, fields) in held.into_iter().enumerate() {
            let written = if Some(place) == last { Self::priced(fields, end) } else { original(&fields) };
            text.push_str(&written);
        }
        if !has_stop {
            text.push_str(&sse::named("message_stop", r#"{"type":"message_stop"}"#));
        }
        text
    }

    fn failed(&mut self, error: &Value) -> String {
        Self::cut(error)
    }

    fn cut(error: &Value) -> String {
        sse::named("error", &error.to_string())
    }
}

impl WholeWriter for Writer {
    fn whole(&mut self, deltas: Vec<Delta>, end: &End) -> Vec<u8> {
        let gain = Gain { usage: usage(&end.usage, &end.receipt), farebox: &end.receipt.farebox };
        if let Some(raw) = deltas.iter().find_map(|delta| delta.raw.of(Format::AnthropicMessages)) {
            return raw.to_json_with(&["usage", "farebox"], &gain, ROOM);
        }
        let finish = deltas.iter().filter(|delta| delta.choice == 0).find_map(|delta| delta.finish.as_ref());
        let reason = finish.map_or("max_tokens", stop::word).to_owned();
        let stop_text = self.stop_text(finish).map(str::to_owned);
        deltas.iter().filter(|delta| delta.choice == 0).for_each(|delta| self.blocks.gather(delta));
        let mut fields = Fields::default();
        fields.set("id", &self.id);
        fields.set("type", "message");
        fields.set("role", "assistant");
        fields.set("model", &self.model);
        fields.set("content", &self.blocks.take());
        fields.set("stop_reason", &reason);
        fields.set("stop_sequence", &stop_text);
        fields.to_json_with(&[], &gain, ROOM)
    }
}

#[cfg(test)]
mod tests;
