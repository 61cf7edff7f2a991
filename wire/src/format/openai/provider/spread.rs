//! A whole answer as the pieces of a stream, for a client that asked for a stream: each choice's message as one delta,
//! then its end. The answer's names and unknown fields are in every piece.

use serde_json::{Map, Value, json};

use crate::{
    fields::Fields,
    inference::{Delta, Format},
};

/// The pieces of a whole chat answer.
pub(super) fn pieces(whole: Vec<Delta>) -> Vec<Delta> {
    let raw = whole.iter().find_map(|delta| delta.raw.of(Format::OpenAiChat));
    let parsed = raw.map(|raw| serde_json::from_str::<Map<String, Value>>(&raw.to_json()));
    let Some(Ok(mut answer)) = parsed else { return whole };
    let Some(Value::Array(choices)) = answer.shift_remove("choices") else { return whole };
    answer.insert("object".into(), "chat.completion.chunk".into());
    let mut pieces = Vec::with_capacity(2 * choices.len());
    for (at, choice) in choices.into_iter().enumerate() {
        let Value::Object(mut choice) = choice else { continue };
        let index = choice.get("index").and_then(Value::as_u64).unwrap_or(at as u64);
        choice.insert("index".into(), index.into());
        let finish = choice.insert("finish_reason".into(), Value::Null).unwrap_or(Value::Null);
        if let Some(message) = choice.shift_remove("message") {
            choice.entry("delta").or_insert_with(|| told(message));
        }
        let end = json!({"index": index, "delta": {}, "logprobs": null, "finish_reason": finish});
        pieces.extend([piece(&answer, &Value::Object(choice)), piece(&answer, &end)].into_iter().flatten());
    }
    if pieces.is_empty() { whole } else { pieces }
}

/// A message as a delta: tool calls get an index.
fn told(mut message: Value) -> Value {
    if let Some(calls) = message.get_mut("tool_calls").and_then(Value::as_array_mut) {
        for (at, call) in calls.iter_mut().enumerate() {
            if let Some(call) = call.as_object_mut() {
                call.entry("index").or_insert_with(|| at.into());
            }
        }
    }
    message
}

fn piece(answer: &Map<String, Value>, choice: &Value) -> Option<Delta> {
    let mut piece = answer.clone();
    piece.insert("choices".into(), json!([choice]));
    let fields = Fields::parse(Value::Object(piece).to_string().as_bytes()).ok()?;
    super::deltas_of(Format::OpenAiChat, fields).into_iter().next()
}
