//! A provider's 2xx body as it comes, of a format whose answers are JSON objects: events of a stream, objects of one
//! array, or one object. Its first bytes decide, because content types are often wrong. A format's [`Listener`] reads
//! each object; this file knows no object's meaning. The last event is `Finished` or `Failed`.

use super::{
    AnswerReader, FINISHED,
    openai::{Shape, fault, shape_of},
};
use crate::{
    inference::{Event, Failure},
    sse::{Decoder, LARGEST_EVENT, SseEvent},
};

/// The most bytes kept of text that is no part of an object.
const MOST_STRANGE: usize = 4 << 10;

/// Whether an event may be cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::format) enum Place {
    Within,
    AtEnd,
}

/// Reads the objects of one answer.
pub(in crate::format) trait Listener: Send {
    /// Reads an event of a stream, or an object.
    ///
    /// # Errors
    ///
    /// The answer failed.
    fn event(&mut self, event: &SseEvent, place: Place, events: &mut Vec<Event>) -> Result<(), Failure>;

    /// Whether nothing more comes: the answer said that it ends.
    fn is_over(&self) -> bool {
        false
    }

    /// Whether the answer is whole, where its body ends now.
    fn is_whole(&self) -> bool;

    /// Whether any part of an answer came.
    fn has_answered(&self) -> bool;
}

/// Reads a body.
pub(in crate::format) struct Incoming<L> {
    listener: L,
    body: Body,
    over: bool,
}

enum Body {
    /// The first bytes, of a form not known yet.
    Begun(Vec<u8>),
    Stream(Decoder),
    Objects(Splitter),
}

/// Reads a body that came whole.
pub(in crate::format) fn read_all(listener: impl Listener, body: &[u8]) -> Vec<Event> {
    let (mut incoming, mut events) = (Incoming::new(listener), Vec::with_capacity(4));
    incoming.feed(body, &mut events);
    incoming.end(&mut events);
    events
}

impl<L: Listener> Incoming<L> {
    pub(in crate::format) const fn new(listener: L) -> Self {
        Self { listener, body: Body::Begun(Vec::new()), over: false }
    }

    fn hear(&mut self, all: &[SseEvent], place: Place, events: &mut Vec<Event>) {
        for event in all {
            if self.over {
                return;
            }
            match self.listener.event(event, place, events) {
                Ok(()) if self.listener.is_over() => self.close(FINISHED, events),
                Ok(()) => {}
                Err(failure) => self.close(Event::Failed(failure), events),
            }
        }
    }

    fn close(&mut self, last: Event, events: &mut Vec<Event>) {
        if !std::mem::replace(&mut self.over, true) {
            events.push(last);
        }
    }

    /// Reads what is left.
    fn drain(&mut self, events: &mut Vec<Event>) {
        if let Body::Begun(begun) = &mut self.body {
            let begun = std::mem::take(begun);
            if !begun.trim_ascii().is_empty() {
                self.take_shape(&shape_of(&begun, true).unwrap_or(Shape::Whole), &begun, events);
            }
        }
        let mut left = Vec::new();
        if let Body::Stream(decoder) = &mut self.body {
            decoder.end(&mut left);
        }
        self.hear(&left, Place::AtEnd, events);
    }

    fn take_shape(&mut self, shape: &Shape, begun: &[u8], events: &mut Vec<Event>) {
        self.body = match shape {
            Shape::Stream => Body::Stream(Decoder::default()),
            Shape::Whole => Body::Objects(Splitter::default()),
        };
        self.feed(begun, events);
    }

    /// Why a body without an answer, or without its end, is none.
    fn missing(&self) -> Failure {
        let said = match &self.body {
            Body::Objects(splitter) => fault::text_words(&String::from_utf8_lossy(&splitter.strange)),
            Body::Begun(_) | Body::Stream(_) => String::new(),
        };
        match (self.listener.has_answered(), &self.body) {
            (true, _) => Failure::Transport("the provider's answer was cut".into()),
            (false, Body::Begun(_)) => Failure::Transport("the provider answered nothing".into()),
            (false, Body::Objects(splitter)) if splitter.is_within() => {
                Failure::Transport("the provider's answer is not JSON: it was cut".into())
            }
            (false, _) if said.is_empty() => none("the provider's answer has no content"),
            (false, _) => none(&format!("the provider's answer is none, but: {said}")),
        }
    }
}

fn none(words: &str) -> Failure {
    Failure::Provider(Box::new(fault::in_words(words)))
}

impl<L: Listener> AnswerReader for Incoming<L> {
    fn is_over(&self) -> bool {
        self.over
    }

    fn feed(&mut self, bytes: &[u8], events: &mut Vec<Event>) {
        if self.over {
            return;
        }
        let mut all = Vec::new();
        let fed = match &mut self.body {
            Body::Begun(begun) => {
                begun.extend_from_slice(bytes);
                if begun.trim_ascii().is_empty() {
                    // Empty lines keep a connection alive, for any length of time.
                    begun.clear();
                }
                let Some(shape) = shape_of(begun, false) else { return };
                let begun = std::mem::take(begun);
                return self.take_shape(&shape, &begun, events);
            }
            Body::Stream(decoder) => {
                decoder.feed(bytes, &mut all).map_err(|error| Failure::Transport(error.to_string()))
            }
            Body::Objects(splitter) => splitter.feed(bytes, &mut all),
        };
        self.hear(&all, Place::Within, events);
        if let Err(failure) = fed {
            self.close(Event::Failed(failure), events);
        }
    }

    fn end(&mut self, events: &mut Vec<Event>) {
        if self.over {
            return;
        }
        self.drain(events);
        let last = if self.listener.is_whole() { FINISHED } else { Event::Failed(self.missing()) };
        self.close(last, events);
    }

    /// An answer that is whole stays so, whatever becomes of its connection.
    fn cut(&mut self, failure: Failure, events: &mut Vec<Event>) {
        if self.over {
            return;
        }
        self.drain(events);
        let last = if self.listener.is_whole() { FINISHED } else { Event::Failed(failure) };
        self.close(last, events);
    }
}

/// Splits a text into the objects at its top, or in an array at its top.
#[derive(Debug, Default)]
struct Splitter {
    object: Vec<u8>,
    depth: usize,
    is_text: bool,
    is_escaped: bool,
    /// The beginning of what is no part of an object.
    strange: Vec<u8>,
}

impl Splitter {
    const fn is_within(&self) -> bool {
        self.depth > 0
    }

    fn feed(&mut self, bytes: &[u8], all: &mut Vec<SseEvent>) -> Result<(), Failure> {
        for byte in bytes {
            self.note(*byte);
            if self.depth > 0 {
                self.object.push(*byte);
            } else if !self.object.is_empty() {
                self.object.push(*byte);
                let data = String::from_utf8_lossy(&self.object).into_owned();
                self.object.clear();
                all.push(SseEvent { data, ..SseEvent::default() });
            } else if !matches!(byte, b'[' | b']' | b',') && self.strange.len() < MOST_STRANGE {
                self.strange.push(*byte);
            }
        }
        if self.object.len() > LARGEST_EVENT { Err(Failure::TooLarge(LARGEST_EVENT)) } else { Ok(()) }
    }

    /// Notes where in its object a byte stands.
    const fn note(&mut self, byte: u8) {
        match (self.is_text, byte) {
            (true, _) if self.is_escaped => self.is_escaped = false,
            (true, b'\\') => self.is_escaped = true,
            (true, b'"') => self.is_text = false,
            (false, b'"') if self.depth > 0 => self.is_text = true,
            (false, b'{') => self.depth += 1,
            (false, b'}') => self.depth = self.depth.saturating_sub(1),
            (true | false, _) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split(pieces: &[&[u8]]) -> (Vec<String>, bool) {
        let (mut splitter, mut all) = (Splitter::default(), Vec::new());
        for piece in pieces {
            splitter.feed(piece, &mut all).unwrap();
        }
        (all.into_iter().map(|event| event.data).collect(), splitter.is_within())
    }

    #[test]
    fn objects_are_split_wherever_the_bytes_are_cut() {
        let text = "\u{feff}[{\"a\":\"} \\\" {é\"},\n {\"b\":[{\"c\":{}}]}\n]{\"d\":1}{\"open".as_bytes();
        let expected = (vec!["{\"a\":\"} \\\" {é\"}".into(), "{\"b\":[{\"c\":{}}]}".into(), "{\"d\":1}".into()], true);
        for cut in 0..=text.len() {
            assert_eq!(split(&[&text[..cut], &text[cut..]]), expected, "cut at {cut}");
        }
        assert_eq!(split(&[b"} ] \"{\" x"]).0, Vec::<String>::new());
    }
}
