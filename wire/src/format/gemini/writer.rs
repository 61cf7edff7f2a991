//! Answers of `generateContent` for their client: one whole answer, or a stream of answers with further parts each. Where
//! the provider spoke this format too, its answers pass as they came, but for the usage, which stands in the last one,
//! with the cost: that one waits until the charge is durable.

mod candidate;
mod frame;

use std::marker::PhantomData;

use serde_json::{Value, json};

use crate::{
    fields::Fields,
    format::{AnswerWriter, End, ErrorShape, WholeWriter},
    inference::{Delta, Format, Raw, Request},
};
use candidate::{Candidate, written};
pub use frame::{Entries, Events};
use frame::{Framing, GAINED, Gain, ROOM};

use super::{config::hides_thoughts, spelling::field};

/// Writes one answer.
pub struct Writer<F> {
    id: String,
    model: String,
    hides_thoughts: bool,
    candidates: Vec<Candidate>,
    /// The provider's latest answer, from one on that ends a candidate: the last one is told with the usage.
    held: Option<Fields>,
    has_begun: bool,
    framing: PhantomData<F>,
}

impl<F: Framing> Writer<F> {
    /// A writer for the answer to a request. `id` has 32 hexadecimal digits.
    pub fn new(request: &Request, id: &str) -> Self {
        Self {
            id: id.to_owned(),
            model: request.model.clone(),
            hides_thoughts: field(&request.source.body, "generationConfig").is_some_and(hides_thoughts),
            candidates: Vec::new(),
            held: None,
            has_begun: false,
            framing: PhantomData,
        }
    }

    fn candidate(&mut self, index: u32) -> &mut Candidate {
        let known = self.candidates.iter().position(|candidate| candidate.index == index);
        let place = known.unwrap_or_else(|| {
            self.candidates.push(Candidate::new(index));
            self.candidates.len() - 1
        });
        &mut self.candidates[place]
    }

    fn piece(&mut self, json: &str) -> String {
        F::piece(json, !std::mem::replace(&mut self.has_begun, true))
    }

    /// An answer with these candidates.
    fn answer(&self, candidates: &[Value]) -> Fields {
        let mut fields = Fields::default();
        fields.set("candidates", candidates);
        fields.set("modelVersion", &self.model);
        fields.set("responseId", &self.id);
        fields
    }

    /// Writes a provider's answer, or holds it back where it may be the last one.
    fn pass(&mut self, fields: Fields) -> Option<String> {
        let says = |name: &str, word: &str| fields.present(name).is_some_and(|json| json.contains(word));
        let is_ending = says("candidates", "\"finishReason\"") || says("promptFeedback", "\"blockReason\"");
        let now = match self.held.take() {
            None if !is_ending => return Some(self.piece(&fields.to_json())),
            before => before,
        };
        self.held = Some(fields);
        now.map(|before| self.piece(&before.to_json()))
    }
}

impl<F: Framing> AnswerWriter for Writer<F> {
    fn errors(&self) -> ErrorShape {
        ErrorShape::Google
    }

    fn stream_type(&self) -> &'static str {
        F::TYPE
    }

    fn delta(&mut self, delta: Delta) -> Option<String> {
        match delta.raw {
            Raw::Own(Format::Gemini, fields) => return self.pass(fields),
            Raw::Before(Format::Gemini) => return None,
            Raw::Own(..) | Raw::Before(_) | Raw::None => {}
        }
        let hides_thoughts = self.hides_thoughts;
        let candidate = self.candidate(delta.choice);
        let parts = candidate.add(&delta, hides_thoughts);
        if parts.is_empty() && delta.logprobs.is_empty() {
            return None;
        }
        let candidate = written(delta.choice, &parts, &delta.logprobs, None);
        let json = self.answer(&[candidate]).to_json();
        Some(self.piece(&json))
    }

    /// Clients of this format read no comments: the cost comes with the usage.
    fn cost(&mut self, _: &str, _: u64) -> Option<String> {
        None
    }

    /// An empty line, which clients of this format skip. A comment they would take for an answer.
    fn silence(&self) -> Option<String> {
        Some("\n".to_owned())
    }

    fn end(&mut self, end: &End) -> String {
        let mut candidates = std::mem::take(&mut self.candidates);
        if candidates.is_empty() {
            candidates.push(Candidate::new(0));
        }
        let last = |candidate: &mut Candidate| {
            let parts = candidate.last();
            written(candidate.index, &parts, &[], Some(candidate.reason()))
        };
        let held = self.held.take();
        let fields = held.unwrap_or_else(|| self.answer(&candidates.iter_mut().map(last).collect::<Vec<_>>()));
        let json = fields.to_json_with(&GAINED, &Gain::of(end), ROOM);
        self.piece(&String::from_utf8(json).unwrap_or_default()) + F::END
    }

    fn failed(&mut self, error: &Value) -> String {
        let held = self.held.take().map(|held| self.piece(&held.to_json())).unwrap_or_default();
        // Clients know an error by the name with which it begins.
        let error = json!({"error": error["error"]});
        held + &self.piece(&error.to_string()) + F::END
    }

    fn cut(error: &Value) -> String {
        crate::sse::encode(&json!({"error": error["error"]}).to_string())
    }
}

impl<F: Framing> WholeWriter for Writer<F> {
    fn whole(&mut self, deltas: Vec<Delta>, end: &End) -> Vec<u8> {
        let gain = Gain::of(end);
        if let Some(raw) = deltas.iter().find_map(|delta| delta.raw.of(Format::Gemini)) {
            return raw.to_json_with(&GAINED, &gain, ROOM);
        }
        let hides_thoughts = self.hides_thoughts;
        for delta in &deltas {
            self.candidate(delta.choice).gather(delta, hides_thoughts);
        }
        let mut candidates = std::mem::take(&mut self.candidates);
        if candidates.is_empty() {
            candidates.push(Candidate::new(0));
        }
        let candidates: Vec<Value> = candidates.into_iter().map(Candidate::take).collect();
        self.answer(&candidates).to_json_with(&GAINED, &gain, ROOM)
    }
}

#[cfg(test)]
mod tests;
