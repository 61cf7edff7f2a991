//! Answers of chat completions and legacy completions for their client: events of a stream, or one whole answer. A
//! writer remembers what it wrote, so that each choice begins once and ends, under one name for the whole answer.

use std::collections::HashMap;

use serde_json::Value;

use super::{Api, Head, Names, details::Details, request::usage_wanted, whole_calls::WholeCalls};
use crate::{
    format::{AnswerWriter, End, ErrorShape, WholeWriter},
    inference::{Delta, Raw, Request},
    sse,
};

/// Writes one answer.
pub struct Writer {
    head: Head,
    names: Names,
    /// Whether the client expects a usage chunk without choices.
    usage_asked: bool,
    /// Choices whose first chunk was written.
    begun: Vec<u32>,
    /// Choices whose finish reason was written.
    finished: Vec<u32>,
    /// The reasoning of each choice that was written in our words, with its proofs.
    details: HashMap<u32, Details>,
    /// The calls so far, where the client reads each in one piece.
    calls: Option<WholeCalls>,
}

impl Writer {
    /// A writer for the answer to a request. `id` has 32 hexadecimal digits; `created` is in seconds since 1970.
    pub fn new(request: &Request, id: &str, created: i64) -> Self {
        let api = Api::of(request.source.format);
        let kind = match api {
            Api::Chat => "chatcmpl-",
            Api::Completions => "cmpl-",
        };
        let head = Head { id: [kind, id].concat(), created, model: request.model.clone(), api };
        let usage_asked = request.stream && usage_wanted(&request.source.body).unwrap_or(false);
        Self {
            names: Names::default(),
            head,
            usage_asked,
            begun: Vec::new(),
            finished: Vec::new(),
            details: HashMap::new(),
            calls: WholeCalls::of(request),
        }
    }
}

impl AnswerWriter for Writer {
    const ERRORS: ErrorShape = ErrorShape::Object;

    fn delta(&mut self, mut delta: Delta) -> Option<String> {
        if let Some(calls) = &mut self.calls
            && !calls.keep(&mut delta)
        {
            return None;
        }
        if delta.finish.is_some() {
            self.finished.push(delta.choice);
        }
        let first = !self.begun.contains(&delta.choice);
        if first {
            self.begun.push(delta.choice);
        }
        match delta.raw {
            // The original was written with the delta before.
            Raw::Before(format) if format == self.head.api.format() => None,
            Raw::Own(format, mut fields) if format == self.head.api.format() => {
                self.names.unite(&mut fields, &self.head);
                Some(sse::encode(&fields.to_json()))
            }
            // The frame of an answer of another format.
            Raw::Own(..) | Raw::Before(_) if !first && delta.is_silent() => None,
            Raw::Own(..) | Raw::Before(_) | Raw::None => {
                let speaks = !delta.reasoning.is_empty() || delta.signature.is_some();
                let detail = if speaks { self.details.entry(delta.choice).or_default().add(&delta) } else { None };
                let chunk = self.head.chunk(&delta, first, detail);
                // A piece of ours between a provider's has its names.
                Some(sse::encode(&if self.calls.is_some() { self.names.give(chunk) } else { chunk }))
            }
        }
    }

    /// The cost so far, as a comment: the final cost comes in the usage chunk.
    fn cost(&mut self, cost: &str, _billed_seconds: u64) -> Option<String> {
        Some(sse::comment(&format!("cost {cost}")))
    }

    fn silence(&self) -> Option<String> {
        Some(sse::comment("waiting"))
    }

    fn end(&mut self, end: &End) -> String {
        let mut text = String::new();
        if end.is_cut {
            // Each open choice is marked as not whole.
            for choice in self.begun.iter().filter(|choice| !self.finished.contains(choice)) {
                text.push_str(&sse::encode(&self.names.give(self.head.chunk(&Delta::cut(*choice), false, None))));
            }
        }
        let last = if self.usage_asked {
            self.head.usage_chunk(&end.usage, &end.receipt)
        } else {
            self.head.closing_chunk(&end.usage, &end.receipt)
        };
        text.push_str(&sse::encode(&self.names.give(last)));
        text.push_str(&sse::encode(sse::LAST_WORD));
        text
    }

    fn failed(&mut self, error: &Value) -> String {
        sse::encode(&error.to_string())
    }
}

impl WholeWriter for Writer {
    fn whole(&mut self, mut deltas: Vec<Delta>, end: &End) -> Vec<u8> {
        if end.is_cut {
            say_cut(&mut deltas);
        }
        self.head.answer(&deltas, &end.usage, &end.receipt)
    }
}

/// Marks each choice of a cut answer as not whole.
fn say_cut(deltas: &mut Vec<Delta>) {
    let mut open: Vec<u32> = deltas.iter().filter(|delta| !delta.raw.is_some()).map(|delta| delta.choice).collect();
    open.sort_unstable();
    open.dedup();
    open.retain(|choice| !deltas.iter().any(|delta| delta.choice == *choice && delta.finish.is_some()));
    deltas.extend(open.into_iter().map(Delta::cut));
}
