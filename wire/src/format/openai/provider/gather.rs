//! Assembles a stream to the whole answer that its client asked for: texts are joined, lists grown, tool calls told
//! apart by their index, and the fields of the answer as a whole kept.

use serde_json::{Map, Value, json};

use super::super::Api;
use crate::{
    fields::Fields,
    inference::{Delta, Failure, Format},
};

/// The most choices of one answer, and the most indexed parts of one list.
const MOST_PARTS: usize = 1_024;
/// Fields that each piece repeats, and does not continue.
const SAID_AGAIN: [&str; 6] = ["id", "type", "role", "format", "index", "finish_reason"];

/// Assembles an answer.
pub(super) struct Gather {
    format: Format,
    /// Fields of the answer as a whole. The last value counts, except for the answer's names.
    envelope: Map<String, Value>,
    /// The choices with their indexes.
    choices: Vec<(u64, Map<String, Value>)>,
    is_too_large: bool,
}

impl Gather {
    pub(super) fn new(format: Format) -> Self {
        Self { format, envelope: Map::new(), choices: Vec::new(), is_too_large: false }
    }

    /// Adds the delta of one event.
    pub(super) fn add(&mut self, delta: &Delta) {
        let event = delta.raw.of(self.format).map(|raw| serde_json::from_str(&raw.to_json()));
        let Some(Ok(Value::Object(event))) = event else { return };
        for (name, value) in event {
            match (name.as_str(), value) {
                ("choices", Value::Array(choices)) => choices.into_iter().enumerate().for_each(|(at, choice)| {
                    self.choice(at as u64, choice);
                }),
                ("choices", _) | (_, Value::Null) => {}
                ("id" | "created" | "model", value) => {
                    self.envelope.entry(name).or_insert(value);
                }
                (_, value) => {
                    self.envelope.insert(name, value);
                }
            }
        }
    }

    fn choice(&mut self, at: u64, choice: Value) {
        let Value::Object(choice) = choice else { return };
        let index = choice.get("index").and_then(Value::as_u64).unwrap_or(at);
        let known = self.choices.iter().position(|(known, _)| *known == index);
        if known.is_none() && self.choices.len() >= MOST_PARTS {
            self.is_too_large = true;
            return;
        }
        let place = known.unwrap_or_else(|| {
            self.choices.push((index, Map::new()));
            self.choices.len() - 1
        });
        for (name, value) in choice {
            let name = if name == "delta" { "message".to_owned() } else { name };
            self.is_too_large |= !merge(&mut self.choices[place].1, name, value);
        }
    }

    /// The whole answer.
    pub(super) fn take(&mut self) -> Result<Fields, Failure> {
        if self.is_too_large {
            let why = format!("the provider's stream has more than {MOST_PARTS} parts");
            return Err(Failure::Transport(why));
        }
        let mut choices = std::mem::take(&mut self.choices);
        choices.sort_by_key(|(index, _)| *index);
        let choices: Vec<_> = choices.into_iter().map(|(index, said)| self.whole_choice(index, said)).collect();
        let mut answer = std::mem::take(&mut self.envelope);
        let object = match Api::of(self.format) {
            Api::Chat => "chat.completion",
            Api::Completions => "text_completion",
        };
        answer.insert("object".into(), object.into());
        answer.insert("choices".into(), choices.into());
        Fields::parse(Value::Object(answer).to_string().as_bytes())
            .map_err(|error| Failure::Transport(format!("the provider's stream can't be put together: {error}")))
    }

    fn whole_choice(&self, index: u64, mut said: Map<String, Value>) -> Value {
        let mut choice = Map::new();
        choice.insert("index".into(), index.into());
        match Api::of(self.format) {
            Api::Chat => {
                let mut message = json!({"role": "assistant", "content": null, "refusal": null});
                if let (Some(message), Some(Value::Object(told))) =
                    (message.as_object_mut(), said.shift_remove("message"))
                {
                    message.extend(told);
                    if let Some(Value::Array(calls)) = message.get_mut("tool_calls") {
                        calls.iter_mut().filter_map(Value::as_object_mut).for_each(|call| {
                            call.shift_remove("index");
                        });
                    }
                }
                choice.insert("message".into(), message);
            }
            Api::Completions => {
                choice.insert("text".into(), said.shift_remove("text").unwrap_or_else(|| "".into()));
            }
        }
        for name in ["logprobs", "finish_reason"] {
            choice.insert(name.into(), said.shift_remove(name).unwrap_or(Value::Null));
        }
        said.shift_remove("index");
        choice.extend(said);
        Value::Object(choice)
    }
}

/// Adds a value to a field. Returns whether there was room.
fn merge(into: &mut Map<String, Value>, name: String, value: Value) -> bool {
    if value.is_null() {
        return true;
    }
    let Some(there) = into.get_mut(&name) else {
        // The first piece of a list may also have the same part twice.
        return match value {
            Value::Array(list) => {
                let mut there = Vec::with_capacity(list.len());
                let fits = grow(&mut there, list);
                into.insert(name, Value::Array(there));
                fits
            }
            value => {
                into.insert(name, value);
                true
            }
        };
    };
    match (there, value) {
        (Value::String(there), Value::String(more)) => {
            // Some servers repeat a tool's name with every piece of its call.
            let is_same = name == "name" && *there == more;
            if SAID_AGAIN.contains(&name.as_str()) {
                if !more.is_empty() {
                    *there = more;
                }
            } else if !is_same {
                there.push_str(&more);
            }
            true
        }
        (Value::Object(there), Value::Object(more)) => {
            more.into_iter().fold(true, |fits, (name, value)| merge(there, name, value) && fits)
        }
        (Value::Array(there), Value::Array(more)) => grow(there, more),
        // Content may continue in the other of its two forms.
        (Value::Array(there), Value::String(more)) if name == "content" => grow(there, vec![part(&more)]),
        (there @ Value::String(_), Value::Array(more)) if name == "content" => {
            let mut parts = Vec::with_capacity(more.len() + 1);
            if let Value::String(text) = there.take()
                && !text.is_empty()
            {
                parts.push(part(&text));
            }
            let fits = grow(&mut parts, more);
            *there = Value::Array(parts);
            fits
        }
        (there, more) => {
            *there = more;
            true
        }
    }
}

fn part(text: &str) -> Value {
    json!({"type": "text", "text": text})
}

/// Adds entries to a list. An indexed entry continues the last entry with its index. A call of another id and with a name is
/// another call; one without index, id and name continues the last call. Returns whether there was room.
fn grow(list: &mut Vec<Value>, more: Vec<Value>) -> bool {
    let index_of = |entry: &Value| entry.get("index").and_then(Value::as_u64);
    let text = |entry: &Value, at: &str| {
        entry.pointer(at).and_then(Value::as_str).filter(|text| !text.is_empty()).map(str::to_owned)
    };
    let mut indexed = list.iter().filter(|entry| index_of(entry).is_some()).count();
    for entry in more {
        let index = index_of(&entry);
        let (id, name) = (text(&entry, "/id"), text(&entry, "/function/name"));
        let is_other = |known: &Value| {
            let known = text(known, "/id");
            name.is_some() && id.is_some() && known.is_some() && known != id
        };
        let is_call = |entry: &Value| entry.get("function").is_some();
        let goes_on = index.is_none() && is_call(&entry) && name.is_none() && id.is_none();
        let known = match index {
            Some(_) => list.iter().rposition(|known| index_of(known) == index).filter(|place| !is_other(&list[*place])),
            None if goes_on => list.iter().rposition(is_call),
            None => None,
        };
        let known = known.and_then(|place| list.get_mut(place));
        match (known, entry) {
            (Some(Value::Object(known)), Value::Object(entry)) => {
                if !entry.into_iter().fold(true, |fits, (name, value)| merge(known, name, value) && fits) {
                    return false;
                }
            }
            (_, entry) => {
                indexed += usize::from(index.is_some());
                if indexed > MOST_PARTS {
                    return false;
                }
                list.push(entry);
            }
        }
    }
    true
}
