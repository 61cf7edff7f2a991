//! The blocks of an answer in neutral words: each begins, grows and stops, in a stream or in a whole answer.

use serde_json::{Value, json};

use super::event;
use crate::{
    format::{in_turn::InTurn, proof::HIDDEN},
    inference::{CallDelta, Delta, Media},
};

/// The blocks of one answer.
pub(super) struct Blocks {
    /// The answer's id, for calls without one.
    id: String,
    /// The number of blocks that began.
    begun: usize,
    /// The block that grows, if one does.
    open: Option<Open>,
    /// Each call's index in the answer, with its block.
    calls: Vec<(u32, usize)>,
    /// A block stops before the next begins.
    in_turn: InTurn,
    /// The blocks of a whole answer.
    whole: Vec<Value>,
}

/// What an open block holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Open {
    Text,
    Thinking,
    Call,
}

impl Blocks {
    pub(super) fn new(id: &str) -> Self {
        Self {
            id: id.to_owned(),
            begun: 0,
            open: None,
            calls: Vec::new(),
            in_turn: InTurn::default(),
            whole: Vec::new(),
        }
    }

    /// Writes what a piece adds to a stream.
    pub(super) fn stream(&mut self, delta: &Delta, text: &mut String) {
        if !delta.reasoning.is_empty() {
            self.open(Open::Thinking, || json!({"type": "thinking", "thinking": "", "signature": ""}), text);
            self.grow(&json!({"type": "thinking_delta", "thinking": delta.reasoning}), text);
        }
        let (before, behind) = self.proofs(delta);
        if let Some(proof) = before {
            self.prove(proof, text);
        }
        for words in [&delta.text, &delta.refusal] {
            if !words.is_empty() {
                self.open(Open::Text, || json!({"type": "text", "text": ""}), text);
                self.grow(&json!({"type": "text_delta", "text": words}), text);
            }
        }
        for words in delta.images().iter().map(instead) {
            self.open(Open::Text, || json!({"type": "text", "text": ""}), text);
            self.grow(&json!({"type": "text_delta", "text": words}), text);
        }
        if let Some(proof) = behind {
            self.prove(proof, text);
        }
        let calls = self.in_turn.pass(&delta.calls, delta.finish.is_some());
        calls.iter().for_each(|call| self.call(call, text));
    }

    /// The proof of a piece, where it stands before the piece's text, and where behind: a text that has begun stays one.
    fn proofs<'d>(&self, delta: &'d Delta) -> (Option<&'d str>, Option<&'d str>) {
        let proof = delta.signature.as_deref();
        let goes_on = self.open == Some(Open::Text) && !delta.text.is_empty();
        if goes_on { (None, proof) } else { (proof, None) }
    }

    /// A proof ends its block. One without reasoning before it has a block of its own, without words.
    fn prove(&mut self, proof: &str, text: &mut String) {
        if let Some(data) = proof.strip_prefix(HIDDEN) {
            self.close(text);
            self.start(&json!({"type": "redacted_thinking", "data": data}), text);
            self.open = Some(Open::Thinking);
        } else {
            self.open(Open::Thinking, || json!({"type": "thinking", "thinking": "", "signature": ""}), text);
            self.grow(&json!({"type": "signature_delta", "signature": proof}), text);
        }
        self.close(text);
    }

    fn call(&mut self, call: &CallDelta, text: &mut String) {
        let known = self.calls.iter().find(|(index, _)| *index == call.index).map(|(_, block)| *block);
        let block = known.unwrap_or_else(|| {
            self.close(text);
            self.calls.push((call.index, self.begun));
            let start = json!({"type": "tool_use", "id": self.call_id(call), "name": call.name, "input": {}});
            self.start(&start, text);
            self.open = Some(Open::Call);
            self.begun - 1
        });
        if !call.arguments.is_empty() {
            let grown = json!({"type": "input_json_delta", "partial_json": call.arguments});
            Self::put(block, &grown, text);
        }
    }

    fn call_id(&self, call: &CallDelta) -> String {
        call.id.clone().unwrap_or_else(|| format!("toolu_{}{}", self.id, call.index))
    }

    /// Opens a block of this kind, unless the open one is of it.
    fn open(&mut self, kind: Open, block: impl FnOnce() -> Value, text: &mut String) {
        if self.open != Some(kind) {
            self.close(text);
            self.start(&block(), text);
            self.open = Some(kind);
        }
    }

    fn start(&mut self, block: &Value, text: &mut String) {
        let data = json!({"type": "content_block_start", "index": self.begun, "content_block": block});
        text.push_str(&event("content_block_start", &data.to_string()));
        self.begun += 1;
    }

    /// Adds to the open block.
    fn grow(&self, delta: &Value, text: &mut String) {
        Self::put(self.begun.saturating_sub(1), delta, text);
    }

    fn put(block: usize, delta: &Value, text: &mut String) {
        let data = json!({"type": "content_block_delta", "index": block, "delta": delta});
        text.push_str(&event("content_block_delta", &data.to_string()));
    }

    /// Stops the open block, if there is one.
    pub(super) fn close(&mut self, text: &mut String) {
        if self.open.take().is_some() {
            let data = json!({"type": "content_block_stop", "index": self.begun.saturating_sub(1)});
            text.push_str(&event("content_block_stop", &data.to_string()));
        }
    }

    /// Adds a piece to a whole answer.
    pub(super) fn gather(&mut self, delta: &Delta) {
        if !delta.reasoning.is_empty() {
            self.add(Open::Thinking, "thinking", &delta.reasoning);
        }
        let (before, behind) = self.proofs(delta);
        if let Some(proof) = before {
            self.prove_whole(proof);
        }
        for words in [&delta.text, &delta.refusal] {
            if !words.is_empty() {
                self.add(Open::Text, "text", words);
            }
        }
        for words in delta.images().iter().map(instead) {
            self.add(Open::Text, "text", &words);
        }
        if let Some(proof) = behind {
            self.prove_whole(proof);
        }
        for call in &delta.calls {
            let known = self.calls.iter().find(|(index, _)| *index == call.index).map(|(_, block)| *block);
            let block = known.unwrap_or_else(|| {
                self.calls.push((call.index, self.whole.len()));
                self.whole.push(json!({"type": "tool_use", "id": self.call_id(call), "name": call.name, "input": ""}));
                self.whole.len() - 1
            });
            self.open = Some(Open::Call);
            grow(&mut self.whole[block]["input"], &call.arguments);
        }
    }

    fn prove_whole(&mut self, proof: &str) {
        if let Some(data) = proof.strip_prefix(HIDDEN) {
            self.whole.push(json!({"type": "redacted_thinking", "data": data}));
        } else {
            self.add(Open::Thinking, "thinking", "");
            if let Some(block) = self.whole.last_mut() {
                block["signature"] = proof.into();
            }
        }
        self.open = None;
    }

    fn add(&mut self, kind: Open, name: &str, words: &str) {
        if self.open != Some(kind) {
            let block = match kind {
                Open::Thinking => json!({"type": "thinking", "thinking": "", "signature": ""}),
                Open::Text | Open::Call => json!({"type": "text", "text": ""}),
            };
            self.whole.push(block);
            self.open = Some(kind);
        }
        if let Some(block) = self.whole.last_mut() {
            grow(&mut block[name], words);
        }
    }

    /// The blocks of a whole answer. A call's input that is no object becomes an empty one.
    pub(super) fn take(&mut self) -> Vec<Value> {
        let mut blocks = std::mem::take(&mut self.whole);
        for block in blocks.iter_mut().filter(|block| block["type"] == "tool_use") {
            let input = block["input"].as_str().and_then(|input| serde_json::from_str::<Value>(input).ok());
            block["input"] = input.filter(Value::is_object).unwrap_or_else(|| json!({}));
        }
        blocks
    }
}

/// Words in place of an image: answers of this format have none. Models that make images are refused before they are
/// asked.
fn instead(image: &Media) -> String {
    let kind = match image {
        Media::Data { media_type: Some(kind), .. } => kind,
        Media::Data { media_type: None, .. } | Media::Url(_) | Media::Id(_) => "image",
    };
    format!("[{kind}: messages have no place for an image that a model made]")
}

fn grow(text: &mut Value, more: &str) {
    if let Value::String(text) = text {
        text.push_str(more);
    }
}
