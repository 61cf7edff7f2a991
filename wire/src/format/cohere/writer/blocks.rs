//! The content and the calls of an answer in neutral words: each begins, grows and ends, in a stream or in a whole answer.
//! Reasoning is content of its own: whether it was a plan for calls is not known before they come. Its provider's proof stands
//! with it as `signature`, so that clients that send it back have the model go on from it; a proof without reasoning has no
//! place here, because clients read the first content as the answer.

use serde_json::{Map, Value, json};

use super::indexed;
use crate::{
    format::in_turn::InTurn,
    inference::{CallDelta, Delta},
};

/// The blocks of one answer.
pub(super) struct Blocks {
    /// The answer's id, for calls without one.
    id: String,
    /// The number of contents that began.
    begun: usize,
    /// What grows, if anything does.
    open: Option<Open>,
    /// Each call's index in the answer, in the order in which calls began.
    calls: Vec<u32>,
    /// A call ends before the next begins.
    in_turn: InTurn,
    /// The contents of a whole answer, and its calls.
    whole: (Vec<Value>, Vec<Value>),
}

/// What is open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Open {
    /// Content of this type.
    Content(Kind),
    /// A call at this place, and whether it has no arguments yet.
    Call(usize, bool),
}

/// The type of a content, which is the name of the member that holds it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Text,
    Thinking,
}

impl Kind {
    const fn name(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Thinking => "thinking",
        }
    }
}

impl Blocks {
    pub(super) fn new(id: &str) -> Self {
        Self {
            id: id.to_owned(),
            begun: 0,
            open: None,
            calls: Vec::new(),
            in_turn: InTurn::default(),
            whole: (Vec::new(), Vec::new()),
        }
    }

    /// Writes what a piece adds to a stream.
    pub(super) fn stream(&mut self, delta: &Delta, text: &mut String) {
        self.say(Kind::Thinking, &delta.reasoning, text);
        if let Some(proof) = self.proof(delta) {
            text.push_str(&indexed(
                "content-delta",
                self.begun - 1,
                &json!({"content": {"thinking": "", "signature": proof}}),
            ));
            self.close(text);
        }
        self.say(Kind::Text, &delta.text, text);
        self.say(Kind::Text, &delta.refusal, text);
        let calls = self.in_turn.pass(&delta.calls, delta.finish.is_some());
        calls.iter().for_each(|call| self.call(call, text));
    }

    /// The proof of the reasoning that is open.
    fn proof<'d>(&self, delta: &'d Delta) -> Option<&'d str> {
        delta.signature.as_deref().filter(|_| self.open == Some(Open::Content(Kind::Thinking)))
    }

    /// Writes words to content of their type.
    fn say(&mut self, kind: Kind, words: &str, text: &mut String) {
        if words.is_empty() {
            return;
        }
        if self.open != Some(Open::Content(kind)) {
            self.close(text);
            let content = json!({"content": {"type": kind.name(), kind.name(): ""}});
            text.push_str(&indexed("content-start", self.begun, &content));
            (self.open, self.begun) = (Some(Open::Content(kind)), self.begun + 1);
        }
        text.push_str(&indexed("content-delta", self.begun - 1, &json!({"content": {kind.name(): words}})));
    }

    fn call(&mut self, call: &CallDelta, text: &mut String) {
        let place = self.calls.iter().position(|known| *known == call.index).unwrap_or_else(|| {
            self.close(text);
            let place = self.calls.len();
            self.calls.push(call.index);
            text.push_str(&indexed("tool-call-start", place, &json!({"tool_calls": self.begun_call(call)})));
            self.open = Some(Open::Call(place, true));
            place
        });
        if !call.arguments.is_empty() {
            text.push_str(&grown(place, &call.arguments));
            if self.open == Some(Open::Call(place, true)) {
                self.open = Some(Open::Call(place, false));
            }
        }
    }

    /// A call without its arguments.
    fn begun_call(&self, call: &CallDelta) -> Value {
        let id = call.id.clone().unwrap_or_else(|| format!("call_{}{}", self.id, call.index));
        json!({"id": id, "type": "function", "function": {"name": call.name.as_deref().unwrap_or_default(), "arguments": ""}})
    }

    /// Ends what is open. A call without arguments has none, which JSON says by an empty object.
    pub(super) fn close(&mut self, text: &mut String) {
        match self.open.take() {
            Some(Open::Content(_)) => text.push_str(&indexed("content-end", self.begun - 1, &Value::Null)),
            Some(Open::Call(place, is_bare)) => {
                if is_bare {
                    text.push_str(&grown(place, "{}"));
                }
                text.push_str(&indexed("tool-call-end", place, &Value::Null));
            }
            None => {}
        }
    }

    /// Adds a piece to a whole answer.
    pub(super) fn gather(&mut self, delta: &Delta) {
        self.add(Kind::Thinking, &delta.reasoning);
        if let (Some(proof), Some(thought)) = (self.proof(delta), self.whole.0.last_mut()) {
            thought["signature"] = proof.into();
            self.open = None;
        }
        self.add(Kind::Text, &delta.text);
        self.add(Kind::Text, &delta.refusal);
        for call in &delta.calls {
            let place = self.calls.iter().position(|known| *known == call.index).unwrap_or_else(|| {
                self.calls.push(call.index);
                let begun = self.begun_call(call);
                self.whole.1.push(begun);
                self.calls.len() - 1
            });
            self.open = Some(Open::Call(place, false));
            grow(&mut self.whole.1[place]["function"]["arguments"], &call.arguments);
        }
    }

    /// Adds words to content of their type.
    fn add(&mut self, kind: Kind, words: &str) {
        if words.is_empty() {
            return;
        }
        if self.open != Some(Open::Content(kind)) {
            self.whole.0.push(json!({"type": kind.name(), kind.name(): ""}));
            self.open = Some(Open::Content(kind));
        }
        if let Some(content) = self.whole.0.last_mut() {
            grow(&mut content[kind.name()], words);
        }
    }

    /// The message of a whole answer.
    pub(super) fn take(&mut self) -> Value {
        let (contents, mut calls) = std::mem::take(&mut self.whole);
        for call in calls.iter_mut().filter(|call| call["function"]["arguments"] == "") {
            call["function"]["arguments"] = "{}".into();
        }
        let mut message = Map::new();
        message.insert("role".into(), "assistant".into());
        if !contents.is_empty() || calls.is_empty() {
            message.insert("content".into(), contents.into());
        }
        if !calls.is_empty() {
            message.insert("tool_calls".into(), calls.into());
        }
        Value::Object(message)
    }
}

/// More of a call's arguments.
fn grown(place: usize, arguments: &str) -> String {
    indexed("tool-call-delta", place, &json!({"tool_calls": {"function": {"arguments": arguments}}}))
}

fn grow(text: &mut Value, more: &str) {
    if let Value::String(text) = text {
        text.push_str(more);
    }
}
