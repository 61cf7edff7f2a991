//! What the events of these routes share: each is an object with a `type`, the last has the usage, and it is held back
//! until the answer is paid for.

use serde_json::{Value, json};

use super::super::{provider::fault, usage_object};
use crate::{
    fields::Fields,
    format::{
        End,
        incoming::{Listener, Place},
    },
    inference::{Event, Failure, Format, Raw},
    sse::{self, SseEvent},
};

/// How far an answer came.
#[derive(Debug, Default)]
pub(super) struct SoFar {
    /// Whether some of it did.
    pub(super) has_some: bool,
    /// Whether all of it did.
    pub(super) is_done: bool,
}

/// Reads an event by its type.
pub(super) type Read = fn(&mut SoFar, &str, Fields, &mut Vec<Event>) -> Result<(), Failure>;

/// Reads the events of one answer.
pub(super) struct Listening {
    read: Read,
    so_far: SoFar,
}

impl Listening {
    /// To the events that `read` reads.
    pub(super) fn to(read: Read) -> Self {
        Self { read, so_far: SoFar::default() }
    }
}

impl Listener for Listening {
    fn event(&mut self, event: &SseEvent, place: Place, events: &mut Vec<Event>) -> Result<(), Failure> {
        match object(event, place == Place::AtEnd)? {
            Some((kind, fields)) => (self.read)(&mut self.so_far, &kind, fields, events),
            None => Ok(()),
        }
    }

    fn is_over(&self) -> bool {
        self.so_far.is_done
    }

    fn is_whole(&self) -> bool {
        self.so_far.is_done
    }

    fn has_answered(&self) -> bool {
        self.so_far.has_some
    }
}

/// An event's object, with its type; `None` for what says nothing. Errors are failures.
fn object(event: &SseEvent, is_at_end: bool) -> Result<Option<(String, Fields)>, Failure> {
    let data = event.data.trim();
    if data.is_empty() || data == sse::LAST_WORD {
        return Ok(None);
    }
    let Ok(fields) = Fields::of(data) else {
        let is_nothing = event.is_stray || is_at_end;
        let broken = Failure::Transport("an event of the provider's is not of a known shape".into());
        return if is_nothing { Ok(None) } else { Err(broken) };
    };
    let kind = fields.string("type").ok().flatten().unwrap_or_default();
    let is_error = kind == "error" || event.name == "error" || fields.present("error").is_some();
    if is_error {
        let value: Value = serde_json::from_str(data).unwrap_or_default();
        if kind == "error" || event.name == "error" || value.get("error").is_some_and(fault::is_telling) {
            return Err(Failure::Provider(Box::new(fault::in_answer(&value, data))));
        }
    }
    Ok(Some((kind, fields)))
}

/// An event of an unknown type.
pub(super) fn unknown(format: Format, fields: Fields) -> Event {
    Event::Unknown(Raw::Own(format, fields))
}

/// The members that an answer gains: its usage with its cost, and ours.
pub(super) fn gain(end: &End, counted: Value) -> Value {
    json!({"usage": usage_object(&end.receipt, counted), "farebox": end.receipt.farebox})
}

/// Tokens, as these routes name them.
pub(super) fn tokens(end: &End) -> Value {
    let (input, output) = (end.usage.input, end.usage.output);
    json!({"input_tokens": input, "output_tokens": output, "total_tokens": input.saturating_add(output)})
}

/// An object with what it gains.
pub(super) fn with_gain(fields: &Fields, gain: &Value) -> Vec<u8> {
    fields.to_json_with(&["usage", "farebox"], gain, 1_024)
}

/// The last events of a stream.
pub(super) fn ended(last: &[u8]) -> String {
    let last = sse::encode(&String::from_utf8_lossy(last));
    last + &sse::encode(sse::LAST_WORD)
}

/// A failure within a stream.
pub(super) fn failed(error: &Value) -> String {
    sse::encode(&error.to_string())
}
