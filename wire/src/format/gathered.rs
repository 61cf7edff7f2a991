//! Reads answers that come whole, also where a stream was expected.

use super::AnswerReader;
use crate::inference::{Event, Failure};

/// Gathers a body, and reads it at its end.
pub(super) struct Gathered {
    read: fn(&[u8]) -> Vec<Event>,
    body: Vec<u8>,
    is_over: bool,
}

impl Gathered {
    /// A reader that reads bodies so.
    pub(super) const fn new(read: fn(&[u8]) -> Vec<Event>) -> Self {
        Self { read, body: Vec::new(), is_over: false }
    }
}

impl AnswerReader for Gathered {
    fn feed(&mut self, bytes: &[u8], _: &mut Vec<Event>) {
        self.body.extend_from_slice(bytes);
    }

    fn end(&mut self, events: &mut Vec<Event>) {
        if !std::mem::replace(&mut self.is_over, true) {
            events.append(&mut (self.read)(&self.body));
        }
    }

    fn cut(&mut self, failure: Failure, events: &mut Vec<Event>) {
        if !std::mem::replace(&mut self.is_over, true) {
            events.push(Event::Failed(failure));
        }
    }

    fn is_over(&self) -> bool {
        self.is_over
    }
}
