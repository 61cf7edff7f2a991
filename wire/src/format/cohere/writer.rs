//! Answers of chats for their client: events of a stream, or one whole answer. Where the provider is Cohere too, its events pass
//! as they came. The one that ends the answer is sent when the charge is durable, with the cost.

mod blocks;

use std::borrow::Cow;

use serde::{Serialize, Serializer, ser::SerializeMap};
use serde_json::{Value, json};

use super::stop;
use crate::{
    fields::{Fields, Pairs, text_of},
    format::{AnswerWriter, End, ErrorShape, Particulars, Receipt, WholeWriter, receipt::UsageObject},
    inference::{Delta, FinishReason, Format, Raw, Usage},
    sse,
};
use blocks::Blocks;

/// More bytes than an answer's usage and particulars take.
const ROOM: usize = 1_024;
/// The event that ends an answer.
const END: &str = "message-end";

/// Writes one answer.
pub struct Writer {
    id: String,
    /// The blocks of an answer in neutral words.
    blocks: Blocks,
    has_begun: bool,
    finish: Option<FinishReason>,
    /// The provider's event that ends the answer.
    last: Option<Fields>,
    /// How the provider's block or call ends that has not ended.
    open: Option<(&'static str, Option<u64>)>,
}

/// What begins at the provider, and how it ends.
const PAIRS: [(&str, &str); 3] =
    [("content-start", "content-end"), ("tool-call-start", "tool-call-end"), ("citation-start", "citation-end")];

/// An event with a place and what it adds to the message.
fn indexed(kind: &str, index: usize, message: &Value) -> String {
    let data = match message {
        Value::Null => json!({"type": kind, "index": index}),
        message => json!({"type": kind, "index": index, "delta": {"message": message}}),
    };
    sse::named(kind, &data.to_string())
}

impl Writer {
    /// A writer for the answer to a request.
    pub fn new(id: &str) -> Self {
        Self { id: id.to_owned(), blocks: Blocks::new(id), has_begun: false, finish: None, last: None, open: None }
    }

    /// The first event of an answer in neutral words, if it was not written.
    fn begin(&mut self, text: &mut String) {
        if std::mem::replace(&mut self.has_begun, true) {
            return;
        }
        let message = json!({"role": "assistant", "content": [], "tool_plan": "", "tool_calls": [], "citations": []});
        let data = json!({"id": self.id, "type": "message-start", "delta": {"message": message}});
        text.push_str(&sse::named("message-start", &data.to_string()));
    }

    /// Writes a provider's event, or holds back the one that ends the answer.
    fn pass(&mut self, fields: Fields) -> Option<String> {
        let kind = fields.present("type").and_then(text_of)?.into_owned();
        if kind == END {
            self.last = Some(fields);
            return None;
        }
        if kind == "message-start" {
            self.has_begun = true;
            // An answer has one id, also where its end is written here.
            self.id =
                fields.present("id").and_then(text_of).map_or_else(|| std::mem::take(&mut self.id), Cow::into_owned);
        }
        let index = || fields.present("index").and_then(|index| index.parse().ok());
        if let Some((_, end)) = PAIRS.into_iter().find(|(start, _)| *start == kind) {
            self.open = Some((end, index()));
        } else if self.open.is_some_and(|(end, _)| end == kind) {
            self.open = None;
        }
        Some(sse::named(&kind, &fields.to_json()))
    }

    /// The event that ends the answer, where the provider sent none.
    fn ending(&self) -> Fields {
        let mut fields = Fields::default();
        fields.set("id", &self.id);
        fields.set("type", END);
        fields.set("delta", &json!({"finish_reason": stop::word(self.finish.as_ref())}));
        fields
    }

    /// Ends what the provider began and did not end.
    fn close(&mut self, text: &mut String) {
        self.blocks.close(text);
        if let Some((kind, index)) = self.open.take() {
            text.push_str(&sse::named(kind, &json!({"type": kind, "index": index.unwrap_or(0)}).to_string()));
        }
    }
}

/// The last event of a stream that failed.
fn failure(id: &str, error: &Value) -> String {
    let finish = if error["status"] == 504 { "TIMEOUT" } else { "ERROR" };
    let delta = json!({"finish_reason": finish, "error": error["message"]});
    sse::named(END, &json!({"id": id, "type": END, "delta": delta, "farebox": error}).to_string())
}

impl AnswerWriter for Writer {
    fn errors(&self) -> ErrorShape {
        ErrorShape::Cohere
    }

    fn delta(&mut self, delta: Delta) -> Option<String> {
        if delta.finish.is_some() {
            self.finish.clone_from(&delta.finish);
        }
        match delta.raw {
            Raw::Own(Format::Cohere, fields) => self.pass(fields),
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
        Some(sse::comment("waiting"))
    }

    fn end(&mut self, end: &End) -> String {
        let mut text = String::new();
        self.begin(&mut text);
        let mut last = self.last.take().unwrap_or_else(|| {
            self.close(&mut text);
            self.ending()
        });
        let delta = last.present("delta").unwrap_or("{}").to_owned();
        let delta = Priced { delta: Pairs::of(&delta), usage: usage(&end.usage, &end.receipt) };
        last.set("delta", &delta);
        let json = last.to_json_with(&["farebox"], &Gain { farebox: &end.receipt.farebox }, ROOM);
        text.push_str(&sse::named(END, &String::from_utf8(json).unwrap_or_default()));
        text.push_str(&sse::encode(sse::LAST_WORD));
        text
    }

    /// A failure is the end of the message, with its words.
    fn failed(&mut self, error: &Value) -> String {
        failure(&self.id, error)
    }

    fn cut(error: &Value) -> String {
        failure("", error)
    }
}

impl WholeWriter for Writer {
    fn whole(&mut self, deltas: Vec<Delta>, end: &End) -> Vec<u8> {
        let gain = WholeGain { usage: usage(&end.usage, &end.receipt), farebox: &end.receipt.farebox };
        if let Some(raw) = deltas.iter().find_map(|delta| delta.raw.of(Format::Cohere)) {
            return raw.to_json_with(&["usage", "farebox"], &gain, ROOM);
        }
        let own = || deltas.iter().filter(|delta| delta.choice == 0);
        let finish = own().find_map(|delta| delta.finish.as_ref());
        own().for_each(|delta| self.blocks.gather(delta));
        let mut fields = Fields::default();
        fields.set("id", &self.id);
        fields.set("finish_reason", stop::word(finish));
        fields.set("message", &self.blocks.take());
        fields.to_json_with(&[], &gain, ROOM)
    }
}

/// The fields added to the last event.
#[derive(Serialize)]
struct Gain<'a> {
    farebox: &'a Particulars,
}

/// The fields added to a whole answer.
#[derive(Serialize)]
struct WholeGain<'a> {
    usage: UsageObject<'a, Counted<'a>>,
    farebox: &'a Particulars,
}

/// What the last event says, with usage and cost.
struct Priced<'a> {
    delta: Option<Pairs<'a>>,
    usage: UsageObject<'a, Counted<'a>>,
}

impl Serialize for Priced<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        if let Some(delta) = &self.delta {
            delta.write_but("usage", &mut map)?;
        }
        map.serialize_entry("usage", &self.usage)?;
        map.end()
    }
}

/// The usage object of an answer whose tokens were counted here, or told by another provider.
#[derive(Serialize)]
struct Counted<'a> {
    billed_units: Units,
    tokens: Units,
    cached_tokens: u64,
    cost: &'a str,
}

#[derive(Clone, Copy, Serialize)]
struct Units {
    input_tokens: u64,
    output_tokens: u64,
}

fn usage<'a>(usage: &Usage, receipt: &'a Receipt) -> UsageObject<'a, Counted<'a>> {
    let units = Units { input_tokens: usage.input, output_tokens: usage.output };
    let cached_tokens = usage.cached_input;
    receipt.usage_object(Counted { billed_units: units, tokens: units, cached_tokens, cost: &receipt.cost })
}

#[cfg(test)]
mod tests;
