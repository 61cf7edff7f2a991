//! A provider's 2xx body, read to events. The body may be a stream or whole, whichever the request asked for: its first
//! bytes decide, because content types are often wrong. The last event is `Finished` or `Failed`. A stream ends well
//! only with its end marker, and only after an answer.

use std::borrow::Cow;

use serde_json::value::RawValue;

use super::{super::Api, Classified, Form, Meaning, calls::Calls, classify, deltas_of, fault, gather::Gather, spread};
use crate::{
    format::{AnswerReader, FINISHED, LARGEST_ANSWER},
    inference::{Delta, Event, Failure, Format, ProviderError, Raw},
    sse::{Decoder, SseEvent},
};

/// How a line of a stream may begin.
const STREAM_STARTS: [&[u8]; 5] = [b"data", b"event", b"id:", b"retry:", b":"];

/// The form of a body.
pub(in crate::format) enum Shape {
    Stream,
    Whole,
}

/// The form of a body by its first bytes; `None` until there are enough of them.
pub(in crate::format) fn shape_of(bytes: &[u8], is_all: bool) -> Option<Shape> {
    let bytes = bytes.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(bytes).trim_ascii_start();
    let is_start = |start: &[u8]| bytes.starts_with(start);
    if STREAM_STARTS.into_iter().any(is_start) {
        return Some(Shape::Stream);
    }
    let may_be = STREAM_STARTS.into_iter().any(|start| start.starts_with(bytes)) || b"\xEF\xBB\xBF".starts_with(bytes);
    (is_all || !may_be).then_some(Shape::Whole)
}

/// Reads the body of an answer that was requested whole.
pub fn read_answer(format: Format, body: &[u8]) -> Vec<Event> {
    let mut events = Vec::with_capacity(3);
    if let Some(Shape::Stream) = shape_of(body, true) {
        let (mut stream, mut pieces) = (Stream::new(format, Asked::Whole), Vec::new());
        stream.feed(body, &mut pieces);
        stream.end(&mut pieces);
        gather_stream(format, pieces, &mut events);
        return events;
    }
    match read_whole(format, body, &mut events) {
        // A lone piece is no answer for a client that asked for no stream.
        Ok((deltas, Form::Piece, report)) if Api::of(format) == Api::Chat => {
            let pieces = deltas.into_iter().map(Event::Delta).chain(report).chain([FINISHED]);
            gather_stream(format, pieces.collect(), &mut events);
        }
        Ok((deltas, _, report)) => events.extend(deltas.into_iter().map(Event::Delta).chain(report).chain([FINISHED])),
        Err(failure) => events.push(Event::Failed(failure)),
    }
    events
}

/// Turns the events of a stream to those of a whole answer.
fn gather_stream(format: Format, pieces: Vec<Event>, events: &mut Vec<Event>) {
    let mut gather = Gather::new(format);
    let mut reports = Vec::new();
    for event in pieces {
        match event {
            Event::Delta(delta) => gather.add(&delta),
            Event::Finished { .. } => match gather.take() {
                Ok(fields) => {
                    events.extend(deltas_of(format, fields).into_iter().map(Event::Delta));
                    events.append(&mut reports);
                    events.push(FINISHED);
                }
                Err(failure) => {
                    events.append(&mut reports);
                    events.push(Event::Failed(failure));
                }
            },
            // A report covers all that is gathered, so it follows.
            Event::Reported(report) => reports.push(Event::Reported(report)),
            // A whole answer has no place for unknown events.
            Event::Unknown(_) => events.push(Event::Unknown(Raw::None)),
            other => {
                events.append(&mut reports);
                events.push(other);
            }
        }
    }
}

/// Reads a whole body: its answer and its report of usage. A body without an answer becomes events, its report
/// included.
fn read_whole(
    format: Format,
    body: &[u8],
    events: &mut Vec<Event>,
) -> Result<(Vec<Delta>, Form, Option<Event>), Failure> {
    // Much quicker than a lossy conversion.
    let text = std::str::from_utf8(body).map_or_else(|_| String::from_utf8_lossy(body), Cow::Borrowed);
    let mut classified = classify(format, "", &text);
    if classified.meaning == Meaning::Broken {
        // An error may be followed by other text, such as the end of a stream.
        let first = serde_json::Deserializer::from_str(&text).into_iter::<&RawValue>().next();
        let first = first.and_then(Result::ok).map(|first| classify(format, "", first.get()));
        classified = first.filter(|first| matches!(first.meaning, Meaning::Error(_))).unwrap_or(classified);
    }
    let Classified { meaning, usage } = classified;
    let report = usage.map(Event::Reported);
    let unanswered = || {
        let words = fault::text_words(&text);
        let said = if words.is_empty() { String::new() } else { format!(": {words}") };
        Failure::Provider(Box::new(fault::in_words(format!("the provider's answer has no choices{said}"))))
    };
    let meaning = match meaning {
        Meaning::Answer(deltas, form) => return Ok((deltas, form, report)),
        other => other,
    };
    events.extend(report);
    match meaning {
        Meaning::Error(error) => Err(Failure::Provider(Box::new(error))),
        Meaning::Broken => {
            Err(Failure::Transport(format!("the provider's answer is not JSON: {}", fault::text_words(&text))))
        }
        Meaning::Answer(..) | Meaning::Usage | Meaning::Heartbeat | Meaning::End | Meaning::Unknown(_) => {
            Err(unanswered())
        }
    }
}

/// Reads the body of an answer that was requested as a stream, piece by piece.
pub struct Reader {
    format: Format,
    body: Body,
    over: bool,
}

enum Body {
    /// The first bytes, of a form not known yet.
    Begun(Vec<u8>),
    Whole(Vec<u8>),
    Stream(Box<Stream>),
}

impl Reader {
    /// A reader of answers in this format.
    pub fn new(format: Format) -> Self {
        Self { format, body: Body::Begun(Vec::new()), over: false }
    }
}

impl AnswerReader for Reader {
    fn is_over(&self) -> bool {
        self.over
    }

    fn feed(&mut self, bytes: &[u8], events: &mut Vec<Event>) {
        if self.over {
            return;
        }
        match &mut self.body {
            Body::Begun(begun) => {
                begun.extend_from_slice(bytes);
                if begun.trim_ascii().is_empty() {
                    // Empty lines keep a connection alive, for any length of time.
                    begun.clear();
                }
                let Some(shape) = shape_of(begun, false) else { return };
                let begun = std::mem::take(begun);
                self.body = match shape {
                    Shape::Stream => Body::Stream(Box::new(Stream::new(self.format, Asked::Stream))),
                    Shape::Whole => Body::Whole(Vec::new()),
                };
                self.feed(&begun, events);
            }
            Body::Whole(whole) if whole.len() + bytes.len() > LARGEST_ANSWER => {
                *whole = Vec::new();
                events.push(Event::Failed(Failure::TooLarge(LARGEST_ANSWER)));
                self.over = true;
            }
            Body::Whole(whole) => whole.extend_from_slice(bytes),
            Body::Stream(stream) => {
                stream.feed(bytes, events);
                self.over = stream.over;
            }
        }
    }

    fn end(&mut self, events: &mut Vec<Event>) {
        if std::mem::replace(&mut self.over, true) {
            return;
        }
        match &mut self.body {
            Body::Stream(stream) => stream.end(events),
            Body::Begun(body) if body.trim_ascii().is_empty() => {
                events.push(Event::Failed(Failure::Transport("the provider answered nothing".into())));
            }
            Body::Begun(body) | Body::Whole(body) => match read_whole(self.format, body, events) {
                Ok((deltas, form, report)) => {
                    let begin = events.len();
                    put_pieces(self.format, deltas, form, events);
                    Calls::default().tell_apart_all(&mut events[begin..]);
                    events.extend(report);
                    events.push(FINISHED);
                }
                Err(failure) => events.push(Event::Failed(failure)),
            },
        }
    }

    fn cut(&mut self, failure: Failure, events: &mut Vec<Event>) {
        if std::mem::replace(&mut self.over, true) {
            return;
        }
        if let Body::Stream(stream) = &mut self.body {
            stream.cut = Some(failure);
            stream.end(events);
        } else {
            events.push(Event::Failed(failure));
        }
    }
}

/// Appends the events of a piece of an answer, for a client that asked for a stream.
fn put_pieces(format: Format, deltas: Vec<Delta>, form: Form, events: &mut Vec<Event>) {
    match (form, Api::of(format)) {
        (Form::Whole, Api::Chat) => events.extend(spread::pieces(deltas).into_iter().map(Event::Delta)),
        // A completion's piece and a whole completion look alike.
        (Form::Piece, _) | (Form::Whole, Api::Completions) => {
            events.extend(deltas.into_iter().map(Event::Delta));
        }
    }
}

/// The form that the request asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Asked {
    Stream,
    Whole,
}

/// A stream's events.
struct Stream {
    format: Format,
    asked: Asked,
    decoder: Decoder,
    calls: Calls,
    has_answered: bool,
    over: bool,
    /// The text of the last event, where it was unknown.
    unknown: Option<String>,
    /// Why the connection broke off, where it did.
    cut: Option<Failure>,
}

/// Whether the text may be cut.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    Within,
    AtEnd,
}

impl Stream {
    fn new(format: Format, asked: Asked) -> Self {
        let (decoder, calls) = (Decoder::default(), Calls::default());
        Self { format, asked, decoder, calls, has_answered: false, over: false, unknown: None, cut: None }
    }

    fn feed(&mut self, bytes: &[u8], events: &mut Vec<Event>) {
        let mut sse_events = Vec::new();
        let fed = self.decoder.feed(bytes, &mut sse_events);
        for event in sse_events {
            self.event(&event, Place::Within, events);
        }
        if let Err(error) = fed {
            self.fail(Failure::Transport(error.to_string()), events);
        }
    }

    fn end(&mut self, events: &mut Vec<Event>) {
        let mut sse_events = Vec::new();
        self.decoder.end(&mut sse_events);
        for event in sse_events {
            self.event(&event, Place::AtEnd, events);
        }
        let failure = match (self.cut.take(), &self.unknown) {
            (Some(failure), _) => failure,
            (None, Some(_)) => Failure::Provider(Box::new(self.unanswered())),
            (None, None) => Failure::Transport("the provider's stream was cut".into()),
        };
        self.fail(failure, events);
    }

    /// The error where no answer came.
    fn unanswered(&self) -> ProviderError {
        fault::in_words(match &self.unknown {
            Some(words) => format!("the provider's stream has no answer, but: {words}"),
            None => "the provider's stream has no answer".into(),
        })
    }

    fn answer(&mut self, deltas: Vec<Delta>, form: Form, events: &mut Vec<Event>) {
        self.has_answered = true;
        self.unknown = None;
        let begin = events.len();
        match self.asked {
            Asked::Stream => put_pieces(self.format, deltas, form, events),
            Asked::Whole => events.extend(deltas.into_iter().map(Event::Delta)),
        }
        self.calls.tell_apart_all(&mut events[begin..]);
    }

    /// Reads text in a stream without `data:`. Only a known error or answer ends the stream.
    fn stray(&mut self, text: &str, events: &mut Vec<Event>) {
        let classified = classify(self.format, "", text);
        match classified.meaning {
            Meaning::Error(error) if text.trim_start().starts_with(['{', '[']) => {
                events.extend(classified.usage.map(Event::Reported));
                self.fail(Failure::Provider(Box::new(error)), events);
            }
            // A whole answer after comments that kept its connection alive.
            Meaning::Answer(deltas, Form::Whole) => {
                self.answer(deltas, Form::Whole, events);
                events.extend(classified.usage.map(Event::Reported));
                self.over = true;
                events.push(FINISHED);
            }
            _ => {
                self.unknown = Some(fault::text_words(text));
                events.push(Event::Unknown(Raw::None));
            }
        }
    }

    fn event(&mut self, event: &SseEvent, place: Place, events: &mut Vec<Event>) {
        if self.over {
            return;
        }
        if event.is_stray {
            return self.stray(&event.data, events);
        }
        let Classified { meaning, usage } = classify(self.format, &event.name, &event.data);
        // A report covers all pieces up to and with its own.
        let mut report = usage.map(Event::Reported);
        if !matches!(meaning, Meaning::Answer(..)) {
            events.extend(report.take());
        }
        match meaning {
            Meaning::Answer(deltas, form) => {
                self.answer(deltas, form, events);
                events.extend(report);
            }
            Meaning::Broken if place == Place::Within => {
                let why = "a chunk of the provider's is not of a known shape";
                self.fail(Failure::Transport(why.into()), events);
            }
            // Broken text at the end was cut.
            Meaning::Usage | Meaning::Heartbeat | Meaning::Broken => {}
            Meaning::Error(error) if place == Place::Within => self.fail(Failure::Provider(Box::new(error)), events),
            Meaning::Error(error) => {
                // The event may be a part of a larger one. Whether the stream ended well is unknown, so it failed.
                let is_whole = serde_json::from_str::<&RawValue>(event.data.trim()).is_ok();
                if is_whole || event.name == "error" {
                    self.fail(Failure::Provider(Box::new(error)), events);
                }
            }
            Meaning::End if self.has_answered => {
                self.over = true;
                events.push(FINISHED);
            }
            Meaning::End => self.fail(Failure::Provider(Box::new(self.unanswered())), events),
            Meaning::Unknown(fields) => {
                self.unknown = Some(fault::text_words(&event.data));
                let raw = fields.map_or(Raw::None, |fields| Raw::Own(self.format, fields));
                events.push(Event::Unknown(raw));
            }
        }
    }

    fn fail(&mut self, failure: Failure, events: &mut Vec<Event>) {
        if !std::mem::replace(&mut self.over, true) {
            events.push(Event::Failed(failure));
        }
    }
}

#[cfg(test)]
mod tests;
