//! The items of a provider's response as far as its events told them. The last event has the whole response; of a stream
//! that ends before it, this is what was said.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::fields::Fields;

/// The most items, and the most parts of one: more are nonsense.
const MOST: usize = 4_096;

/// The items, by their places.
#[derive(Debug, Default)]
pub(super) struct Partial(BTreeMap<usize, Value>);

impl Partial {
    /// Takes an event. What is no part of an item, or is out of place, is ignored.
    pub(super) fn hear(&mut self, kind: &str, event: &Fields) {
        let Some(of_item) = kind.strip_prefix("response.") else { return };
        let Some(place) = number(event, "output_index") else { return };
        if of_item.starts_with("output_item.") {
            if let Some(item) = value(event, "item").filter(|_| place < MOST) {
                self.0.insert(place, item);
            }
            return;
        }
        if let Some(item) = self.0.get_mut(&place) {
            grow(item, of_item, event);
        }
    }

    /// The items. Those that were not done are incomplete.
    pub(super) fn items(&self) -> Vec<Value> {
        let mut items: Vec<Value> = self.0.values().cloned().collect();
        for status in items.iter_mut().filter_map(|item| item.get_mut("status")) {
            if status == "in_progress" {
                *status = "incomplete".into();
            }
        }
        items
    }
}

/// Grows an item by an event of one of its parts.
fn grow(item: &mut Value, kind: &str, event: &Fields) {
    match kind {
        "content_part.added" | "content_part.done" => set_part(item, ("content", "content_index"), event),
        "reasoning_summary_part.added" | "reasoning_summary_part.done" => {
            set_part(item, ("summary", "summary_index"), event);
        }
        "output_text.delta" | "reasoning_text.delta" => push_part(item, ("content", "content_index"), "text", event),
        "refusal.delta" => push_part(item, ("content", "content_index"), "refusal", event),
        "reasoning_summary_text.delta" => push_part(item, ("summary", "summary_index"), "text", event),
        "function_call_arguments.delta" => push(item, "arguments", event),
        "custom_tool_call_input.delta" => push(item, "input", event),
        _ => {}
    }
}

/// Sets a part of an item, or adds it after the last one.
fn set_part(item: &mut Value, (list, index): (&str, &str), event: &Fields) {
    let (Some(place), Some(part)) = (number(event, index), value(event, "part")) else { return };
    let Some(item) = item.as_object_mut() else { return };
    let Some(parts) = item.entry(list).or_insert_with(|| json!([])).as_array_mut() else { return };
    let is_next = place == parts.len() && place < MOST;
    match parts.get_mut(place) {
        Some(known) => *known = part,
        None if is_next => parts.push(part),
        None => {}
    }
}

/// Appends to a text of a part.
fn push_part(item: &mut Value, (list, index): (&str, &str), name: &str, event: &Fields) {
    let place = number(event, index);
    if let Some(part) = place.and_then(|place| item.get_mut(list)?.get_mut(place)) {
        push(part, name, event);
    }
}

/// Appends to a text.
fn push(of: &mut Value, name: &str, event: &Fields) {
    if let (Some(Value::String(text)), Ok(Some(more))) = (of.get_mut(name), event.string("delta")) {
        text.push_str(&more);
    }
}

fn number(event: &Fields, name: &str) -> Option<usize> {
    event.read(name, "a number").ok().flatten()
}

fn value(event: &Fields, name: &str) -> Option<Value> {
    event.read(name, "an object").ok().flatten().filter(Value::is_object)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn heard(events: &[Value]) -> Vec<Value> {
        let mut partial = Partial::default();
        for event in events {
            let fields = Fields::parse(event.to_string().as_bytes()).unwrap();
            partial.hear(event["type"].as_str().unwrap(), &fields);
        }
        partial.items()
    }

    #[test]
    fn what_was_said_before_the_end_is_there() {
        let message = |status: &str, content: Value| json!({"id": "msg_1", "type": "message", "status": status, "role": "assistant", "content": content});
        let thought = |summary: Value| json!({"id": "rs_1", "type": "reasoning", "summary": summary});
        let call = |arguments: &str| json!({"id": "fc_1", "type": "function_call", "status": "in_progress", "name": "f", "arguments": arguments});
        let part = |text: &str| json!({"type": "output_text", "text": text, "annotations": []});
        let summary = |text: &str| json!({"type": "summary_text", "text": text});
        let events = [
            json!({"type": "response.created", "response": {"id": "resp_1"}}),
            json!({"type": "response.output_item.added", "output_index": 0, "item": thought(json!([]))}),
            json!({"type": "response.reasoning_summary_part.added", "output_index": 0, "summary_index": 0, "part": summary("")}),
            json!({"type": "response.reasoning_summary_text.delta", "output_index": 0, "summary_index": 0, "delta": "Hm"}),
            json!({"type": "response.output_item.done", "output_index": 0, "item": thought(json!([summary("Hmm")]))}),
            json!({"type": "response.output_item.added", "output_index": 1, "item": message("in_progress", json!([]))}),
            json!({"type": "response.content_part.added", "output_index": 1, "content_index": 0, "part": part("")}),
            json!({"type": "response.output_text.delta", "output_index": 1, "content_index": 0, "delta": "He"}),
            json!({"type": "response.output_text.delta", "output_index": 1, "content_index": 0, "delta": "llo"}),
            json!({"type": "response.output_item.added", "output_index": 2, "item": call("")}),
            json!({"type": "response.function_call_arguments.delta", "output_index": 2, "delta": "{\"a"}),
        ];
        let mut begun = call("{\"a");
        begun["status"] = "incomplete".into();
        let expected = [thought(json!([summary("Hmm")])), message("incomplete", json!([part("Hello")])), begun];
        assert_eq!(heard(&events), expected);
    }

    #[test]
    fn nonsense_is_ignored() {
        let item = json!({"type": "response.output_item.added", "output_index": 0, "item": {"content": 7}});
        let part = json!({"type": "response.content_part.added", "output_index": 0, "content_index": 9, "part": {}});
        let text = json!({"type": "response.output_text.delta", "output_index": 5, "content_index": 0, "delta": "x"});
        let far = json!({"type": "response.output_item.added", "output_index": 1_u64 << 60, "item": {}});
        let strange = json!({"type": "response.output_item.done", "output_index": "one", "item": {}});
        assert_eq!(heard(&[item, part, text, far, strange]), [json!({"content": 7})]);
    }
}
