//! The items of a translated answer, piece by piece: each begins, grows and ends with its events. A proof ends the
//! reasoning before it, so that of two thoughts each keeps its own.

use serde_json::{Value, json};

use super::{Item, ItemContent, Writer};
use crate::{
    format::{media::inline, openai::answer::tokens, proof::HIDDEN},
    inference::{CallDelta, Delta, Made, ToolKind},
};

impl Writer {
    /// The place of the item that a piece continues: the last one, where it is of the same kind, or a new one.
    fn place(
        &mut self,
        out: &mut String,
        is_same: impl Fn(&ItemContent) -> bool,
        new: impl Fn() -> ItemContent,
    ) -> usize {
        if let Some(place) = self.items.iter().rposition(|item| !item.is_done && is_same(&item.content)) {
            return place;
        }
        let content = new();
        let is_call = matches!(content, ItemContent::Call(..));
        // Calls may come piece by piece in turns, so they stay open beside each other.
        self.close(out, |content| !(is_call && matches!(content, ItemContent::Call(..))));
        let place = self.items.len();
        let prefix = match content {
            ItemContent::Text(_) | ItemContent::Refusal(_) => "msg",
            ItemContent::Reasoning { .. } => "rs",
            ItemContent::Call(_, ToolKind::Function) => "fc",
            ItemContent::Call(_, ToolKind::Custom) => "ctc",
            ItemContent::Image(_) => "ig",
        };
        let id = format!("{prefix}_{}{place:02}", self.id);
        let item = Item { id, content, logprobs: Vec::new(), is_done: false };
        let mut shown = self.item(&item, "in_progress");
        if shown["type"] == "message" {
            shown["content"] = json!([]);
        }
        self.put(out, "response.output_item.added", json!({"output_index": place, "item": shown}));
        let about = json!({"item_id": item.id, "output_index": place});
        match &item.content {
            ItemContent::Text(_) | ItemContent::Refusal(_) => {
                let more = json!({"content_index": 0, "part": part(&item.content, &[])});
                self.put(out, "response.content_part.added", joined(about, more));
            }
            // A reasoning has a part from its first words on.
            ItemContent::Reasoning { .. } | ItemContent::Call(..) | ItemContent::Image(_) => {}
        }
        self.items.push(item);
        place
    }

    /// Ends the open items that are to be ended.
    pub(super) fn close(&mut self, out: &mut String, ends: impl Fn(&ItemContent) -> bool) {
        for place in 0..self.items.len() {
            if self.items[place].is_done || !ends(&self.items[place].content) {
                continue;
            }
            self.fill(place, out);
            let item = &self.items[place];
            let about = json!({"item_id": item.id, "output_index": place});
            let (part, logprobs) = (part(&item.content, &item.logprobs), &item.logprobs);
            let events: Vec<(&str, Value)> = match &item.content {
                ItemContent::Text(text) => vec![
                    ("response.output_text.done", json!({"content_index": 0, "text": text, "logprobs": logprobs})),
                    ("response.content_part.done", json!({"content_index": 0, "part": part})),
                ],
                ItemContent::Refusal(refusal) => vec![
                    ("response.refusal.done", json!({"content_index": 0, "refusal": refusal})),
                    ("response.content_part.done", json!({"content_index": 0, "part": part})),
                ],
                ItemContent::Reasoning { text, .. } if text.is_empty() => Vec::new(),
                ItemContent::Reasoning { text, .. } => vec![
                    ("response.reasoning_summary_text.done", json!({"summary_index": 0, "text": text})),
                    ("response.reasoning_summary_part.done", json!({"summary_index": 0, "part": part})),
                ],
                ItemContent::Image(_) => vec![("response.image_generation_call.completed", json!({}))],
                ItemContent::Call(call, ToolKind::Function) => vec![(
                    "response.function_call_arguments.done",
                    json!({"name": call.name, "arguments": call.arguments}),
                )],
                ItemContent::Call(call, ToolKind::Custom) => {
                    vec![("response.custom_tool_call_input.done", json!({"input": call.arguments}))]
                }
            };
            let whole = self.item(item, "completed");
            for (kind, more) in events {
                self.put(out, kind, joined(about.clone(), more));
            }
            self.put(out, "response.output_item.done", json!({"output_index": place, "item": whole}));
            self.items[place].is_done = true;
        }
    }

    /// A function's call without arguments has none, which JSON says by an empty object.
    fn fill(&mut self, place: usize, out: &mut String) {
        if let ItemContent::Call(call, ToolKind::Function) = &mut self.items[place].content
            && call.arguments.is_empty()
        {
            call.arguments.push_str("{}");
            self.piece(out, "response.function_call_arguments.delta", place, json!({"delta": "{}"}));
        }
    }

    /// Takes a piece of a translated answer, and writes its events.
    pub(super) fn take(&mut self, delta: Delta, out: &mut String) {
        // Responses have one answer.
        if delta.choice > 0 {
            return;
        }
        let Delta { text, reasoning, signature, refusal, calls, logprobs, made, finish, .. } = delta;
        let logprobs = if self.wants.logprobs { tokens(&logprobs) } else { Vec::new() };
        self.finish = finish.or_else(|| self.finish.take());
        if !reasoning.is_empty() {
            self.think(&reasoning, out);
        }
        // The proof of a text stands before it, or behind one that has begun, so that the text stays one.
        let goes_on = !text.is_empty() && self.items.iter().any(|item| !item.is_done && item.content.is_text());
        let (before, behind) = if goes_on { (None, signature) } else { (signature, None) };
        if let Some(proof) = before {
            self.prove(proof, out);
        }
        if !text.is_empty() {
            let place = self.place(out, ItemContent::is_text, || ItemContent::Text(String::new()));
            if let ItemContent::Text(known) = &mut self.items[place].content {
                known.push_str(&text);
            }
            let more = json!({"content_index": 0, "delta": text, "logprobs": logprobs});
            self.piece(out, "response.output_text.delta", place, more);
        }
        // Tokens may be told of behind their text.
        if let Some(item) = self.items.iter_mut().rfind(|item| !item.is_done && item.content.is_text()) {
            item.logprobs.extend(logprobs);
        }
        if let Some(proof) = behind {
            self.prove(proof, out);
        }
        if !refusal.is_empty() {
            let is_refusal = |content: &ItemContent| matches!(content, ItemContent::Refusal(_));
            let place = self.place(out, is_refusal, || ItemContent::Refusal(String::new()));
            if let ItemContent::Refusal(known) = &mut self.items[place].content {
                known.push_str(&refusal);
            }
            self.piece(out, "response.refusal.delta", place, json!({"content_index": 0, "delta": refusal}));
        }
        let images = if let Some(Made::Images(images)) = made.map(|made| *made) { images } else { Vec::new() };
        for image in &images {
            let base64 = inline(image, "image/png").map(|inline| inline.base64.to_owned()).unwrap_or_default();
            self.place(out, |_| false, || ItemContent::Image(base64.clone()));
            self.close(out, |content| matches!(content, ItemContent::Image(_)));
        }
        for call in &calls {
            self.call(call, out);
        }
    }

    /// The place of the reasoning that has no proof yet, or of a new one.
    fn thought(&mut self, out: &mut String) -> usize {
        self.place(out, ItemContent::is_reasoning, || ItemContent::Reasoning { text: String::new(), signature: None })
    }

    fn think(&mut self, reasoning: &str, out: &mut String) {
        let place = self.thought(out);
        let ItemContent::Reasoning { text, .. } = &mut self.items[place].content else { return };
        let is_first = text.is_empty();
        text.push_str(reasoning);
        if is_first {
            let more = json!({"summary_index": 0, "part": {"type": "summary_text", "text": ""}});
            self.piece(out, "response.reasoning_summary_part.added", place, more);
        }
        let more = json!({"summary_index": 0, "delta": reasoning});
        self.piece(out, "response.reasoning_summary_text.delta", place, more);
    }

    /// A proof ends the reasoning before it. One without words before it is an item of its own, for clients that give
    /// proofs back.
    fn prove(&mut self, proof: Box<str>, out: &mut String) {
        if proof.starts_with(HIDDEN) {
            self.close(out, ItemContent::is_reasoning);
        }
        let is_open = self.items.iter().any(|item| !item.is_done && item.content.is_reasoning());
        if !is_open && !self.wants.signatures && !self.is_kept {
            return;
        }
        let place = self.thought(out);
        if let ItemContent::Reasoning { signature, .. } = &mut self.items[place].content {
            *signature = Some(proof);
        }
        self.close(out, ItemContent::is_reasoning);
    }

    fn call(&mut self, piece: &CallDelta, out: &mut String) {
        let index = piece.index;
        let is_custom = piece.name.as_ref().is_some_and(|name| self.custom.contains(name));
        let kind = if is_custom { ToolKind::Custom } else { ToolKind::Function };
        let is_same = |content: &ItemContent| matches!(content, ItemContent::Call(call, _) if call.index == index);
        let place = self.place(out, is_same, || {
            let CallDelta { id, name, .. } = piece;
            let call = CallDelta { index, id: id.clone(), name: name.clone(), arguments: String::new() };
            ItemContent::Call(call, kind)
        });
        let ItemContent::Call(call, kind) = &mut self.items[place].content else { return };
        call.arguments.push_str(&piece.arguments);
        let event = match kind {
            ToolKind::Function => "response.function_call_arguments.delta",
            ToolKind::Custom => "response.custom_tool_call_input.delta",
        };
        if !piece.arguments.is_empty() {
            self.piece(out, event, place, json!({"delta": piece.arguments}));
        }
    }

    /// Writes an event about a piece of an item.
    fn piece(&mut self, out: &mut String, kind: &str, place: usize, more: Value) {
        let about = json!({"item_id": self.items[place].id, "output_index": place});
        self.put(out, kind, joined(about, more));
    }
}

/// The part of a message, or of a reasoning.
pub(super) fn part(content: &ItemContent, logprobs: &[Value]) -> Value {
    match content {
        ItemContent::Text(text) => {
            json!({"type": "output_text", "text": text, "annotations": [], "logprobs": logprobs})
        }
        ItemContent::Refusal(refusal) => json!({"type": "refusal", "refusal": refusal}),
        ItemContent::Reasoning { text, .. } => json!({"type": "summary_text", "text": text}),
        ItemContent::Call(..) | ItemContent::Image(_) => Value::Null,
    }
}

fn joined(one: Value, other: Value) -> Value {
    match (one, other) {
        (Value::Object(mut one), Value::Object(other)) => {
            one.extend(other);
            Value::Object(one)
        }
        (one, _) => one,
    }
}
