//! One candidate of an answer in neutral words: what each piece adds, as parts. Calls stand in one part each, so they wait
//! until they are whole; a proof waits for the part that it comes with.

use serde_json::{Map, Value, json};

use crate::{
    format::{gemini::finish, gemini::proofs, in_turn::InTurn, media::inline},
    inference::{CallDelta, Delta, FinishReason, Media, TokenLogprob},
};

/// A candidate, as far as it came.
#[derive(Debug, Default)]
pub(super) struct Candidate {
    pub(super) index: u32,
    /// A proof that waits for the next part.
    proof: Option<String>,
    /// The call that grows.
    call: Option<CallDelta>,
    in_turn: InTurn,
    /// Whether a call's arguments could not be read: it is left out, because clients run what they are given.
    is_broken: bool,
    finish: Option<FinishReason>,
    /// The parts of a whole answer.
    whole: Vec<Value>,
    logprobs: Vec<TokenLogprob>,
}

impl Candidate {
    pub(super) fn new(index: u32) -> Self {
        Self { index, ..Self::default() }
    }

    /// The parts that a piece completes.
    pub(super) fn add(&mut self, delta: &Delta, hides_thoughts: bool) -> Vec<Value> {
        let mut parts = Vec::new();
        if !hides_thoughts {
            if !delta.reasoning.is_empty() {
                self.before(&mut parts);
                parts.push(json!({"text": delta.reasoning, "thought": true}));
            }
            if let Some(proof) = &delta.signature {
                self.before(&mut parts);
                self.proof = Some(proofs::written(proof));
            }
        }
        for words in [&delta.text, &delta.refusal] {
            if !words.is_empty() {
                self.put(json!({"text": words}), &mut parts);
            }
        }
        for image in delta.images() {
            self.put(image_part(image), &mut parts);
        }
        for call in self.in_turn.pass(&delta.calls, delta.finish.is_some()) {
            self.call(&call, &mut parts);
        }
        if delta.finish.is_some() {
            self.finish.clone_from(&delta.finish);
            self.end_call(&mut parts);
        }
        parts
    }

    /// Writes a proof that waits and can't go with a thought that begins behind it.
    fn before(&mut self, parts: &mut Vec<Value>) {
        self.end_call(parts);
        if let Some(proof) = self.proof.take() {
            parts.push(json!({"text": "", "thought": true, "thoughtSignature": proof}));
        }
    }

    /// Adds a part, with the proof that waits for it.
    fn put(&mut self, mut part: Value, parts: &mut Vec<Value>) {
        self.end_call(parts);
        if let Some(proof) = self.proof.take() {
            part["thoughtSignature"] = proof.into();
        }
        parts.push(part);
    }

    fn call(&mut self, call: &CallDelta, parts: &mut Vec<Value>) {
        match &mut self.call {
            Some(open) if open.index == call.index => {
                open.arguments.push_str(&call.arguments);
                open.id = open.id.take().or_else(|| call.id.clone());
                open.name = open.name.take().or_else(|| call.name.clone());
            }
            _ => {
                self.end_call(parts);
                self.call = Some(call.clone());
            }
        }
    }

    /// Writes the call that grew, where it is whole.
    fn end_call(&mut self, parts: &mut Vec<Value>) {
        let Some(CallDelta { id, name, arguments, index: _ }) = self.call.take() else { return };
        let args: Option<Map<String, Value>> = match arguments.trim() {
            "" => Some(Map::new()),
            arguments => serde_json::from_str(arguments).ok(),
        };
        let Some(args) = args else {
            self.is_broken = true;
            return;
        };
        let mut call = json!({"name": name.unwrap_or_default(), "args": args});
        if let Some(id) = id {
            call["id"] = id.into();
        }
        self.put(json!({"functionCall": call}), parts);
    }

    /// The last parts: what still waits. A stream's last answer has a part in any case, without which clients take the
    /// answer for none.
    pub(super) fn last(&mut self) -> Vec<Value> {
        let mut parts = Vec::new();
        self.end_call(&mut parts);
        match self.proof.take() {
            Some(proof) => parts.push(json!({"text": "", "thought": true, "thoughtSignature": proof})),
            None if parts.is_empty() => parts.push(json!({"text": ""})),
            None => {}
        }
        parts
    }

    /// Why the candidate ended. One that was cut ended at a limit.
    pub(super) fn reason(&self) -> &'static str {
        match &self.finish {
            Some(FinishReason::Stop | FinishReason::StopText(_) | FinishReason::ToolCalls) if self.is_broken => {
                finish::MALFORMED
            }
            Some(reason) => finish::word(reason),
            None => finish::word(&FinishReason::Length),
        }
    }

    /// Adds a piece to a whole answer: neighbouring texts are one part.
    pub(super) fn gather(&mut self, delta: &Delta, hides_thoughts: bool) {
        self.logprobs.extend(delta.logprobs.iter().cloned());
        for part in self.add(delta, hides_thoughts) {
            self.join(part);
        }
    }

    fn join(&mut self, part: Value) {
        let is_text = |part: &Value| part["text"].is_string() && part.get("thoughtSignature").is_none();
        match self.whole.last_mut() {
            Some(last) if is_text(last) && is_text(&part) && last.get("thought") == part.get("thought") => {
                let joined = [last["text"].as_str(), part["text"].as_str()].map(Option::unwrap_or_default).concat();
                last["text"] = joined.into();
            }
            _ => self.whole.push(part),
        }
    }

    /// The candidate of a whole answer.
    pub(super) fn take(mut self) -> Value {
        let last = self.last();
        let is_empty = last.len() == 1 && last[0] == json!({"text": ""});
        if !is_empty || self.whole.is_empty() {
            for part in last {
                self.join(part);
            }
        }
        let (parts, reason) = (std::mem::take(&mut self.whole), self.reason());
        written(self.index, &parts, &self.logprobs, Some(reason))
    }
}

/// A candidate of an answer.
pub(super) fn written(index: u32, parts: &[Value], logprobs: &[TokenLogprob], reason: Option<&str>) -> Value {
    let mut candidate = json!({"content": {"parts": parts, "role": "model"}, "index": index});
    if let Some(reason) = reason {
        candidate["finishReason"] = reason.into();
    }
    if !logprobs.is_empty() {
        let one = |token: &str, logprob: Option<f32>| json!({"token": token, "logProbability": logprob});
        let chosen: Vec<Value> = logprobs.iter().map(|logprob| one(&logprob.token, logprob.logprob)).collect();
        let tops = |logprob: &TokenLogprob| {
            let all = logprob.top.iter().map(|(token, _, logprob)| one(token, Some(*logprob)));
            json!({"candidates": all.collect::<Vec<_>>()})
        };
        let tops: Vec<Value> = logprobs.iter().map(tops).collect();
        candidate["logprobsResult"] = json!({"chosenCandidates": chosen, "topCandidates": tops});
    }
    candidate
}

fn image_part(image: &Media) -> Value {
    match (inline(image, "image/png"), image) {
        (Some(inline), _) => json!({"inlineData": {"mimeType": inline.media_type, "data": inline.base64}}),
        (None, Media::Url(address) | Media::Id(address)) => json!({"fileData": {"fileUri": address}}),
        (None, Media::Data { base64, .. }) => json!({"inlineData": {"mimeType": "image/png", "data": base64}}),
    }
}
