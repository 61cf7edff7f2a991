//! Answers as frames of the live socket (design, chapter 6): JSON texts that name their chat. Requests on the socket
//! have the body of a chat completion.

use serde_json::{Value, json};

use super::{
    AnswerWriter, End, ErrorShape,
    openai::{address, finish_word},
};
use crate::inference::{Delta, FinishReason};

/// Writes the answer of one chat on a socket.
#[derive(Debug)]
pub struct LiveWriter {
    id: String,
    finish: Option<FinishReason>,
}

impl LiveWriter {
    /// A writer for the chat with this id, which its client chose.
    pub const fn new(id: String) -> Self {
        Self { id, finish: None }
    }
}

/// The frame of an error. `id` is the chat's, where the error belongs to a chat.
pub fn error_frame(id: Option<&str>, error: &Value) -> String {
    let mut frame = error.clone();
    if let Value::Object(map) = &mut frame {
        map.shift_remove("request_id");
        map.insert("type".into(), "error".into());
        if let Some(id) = id {
            map.insert("id".into(), id.into());
        }
    }
    frame.to_string()
}

impl AnswerWriter for LiveWriter {
    fn errors(&self) -> ErrorShape {
        ErrorShape::Phrase
    }

    fn delta(&mut self, delta: Delta) -> Option<String> {
        let mut frame = json!({"type": "chat.delta", "id": self.id, "choice": delta.choice, "delta": delta.text});
        if !delta.images().is_empty() {
            let images = delta.images().iter().map(|image| address(image, "image/png"));
            frame["images"] = images.collect();
        }
        self.finish = delta.finish.or_else(|| self.finish.take());
        Some(frame.to_string())
    }

    fn cost(&mut self, cost: &str, billed_seconds: u64) -> Option<String> {
        let frame = json!({"type": "chat.cost", "id": self.id, "cost": cost, "billed_seconds": billed_seconds});
        Some(frame.to_string())
    }

    /// None: the socket has pings of its own.
    fn silence(&self) -> Option<String> {
        None
    }

    fn end(&mut self, end: &End) -> String {
        let End { usage, receipt, is_cut: _ } = end;
        let reported = receipt.usage.as_ref().and_then(|own| serde_json::from_str::<Value>(own).ok());
        let counted = || json!({"prompt_tokens": usage.input, "completion_tokens": usage.output});
        // Closed models have no seconds: their only cost comes at the end.
        let frame = json!({
            "type": "chat.done", "id": self.id, "request_id": receipt.farebox.request_id,
            "usage": reported.unwrap_or_else(counted),
            "cost": receipt.cost, "billed_seconds": receipt.farebox.billed_seconds.unwrap_or(0),
            "finish_reason": self.finish.as_ref().map(finish_word), "stop": receipt.farebox.stop,
        });
        frame.to_string()
    }

    fn failed(&mut self, error: &Value) -> String {
        error_frame(Some(&self.id), error)
    }
}
