//! A provider's 2xx body, read to events. The body may be a stream or whole, whichever the request asked for: its first
//! bytes decide. A stream ends well only with `message_stop`.

use super::{
    events::{self, Course, Meaning},
    whole,
};
use crate::{
    fields::Fields,
    format::{AnswerReader, FINISHED, LARGEST_ANSWER, openai::faults},
    inference::{Delta, Event, Failure, Format, Raw},
    sse::{Decoder, SseEvent},
};

/// Reads the body of an answer that was requested whole.
pub(super) fn read_whole(body: &[u8]) -> Vec<Event> {
    let begun = body.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(body).trim_ascii_start();
    if !(begun.starts_with(b"event") || begun.starts_with(b"data") || begun.starts_with(b":")) {
        return whole::read(body);
    }
    // A stream that nobody asked for: the answer is put together from its pieces.
    let (mut reader, mut events) = (Reader::default(), Vec::new());
    reader.feed(body, &mut events);
    reader.end(&mut events);
    events.iter_mut().for_each(forget);
    events
}

/// Takes a piece's original away, where the client asked for another form of the answer.
fn forget(event: &mut Event) {
    match event {
        Event::Delta(delta) => delta.raw = Raw::None,
        Event::Unknown(raw) => *raw = Raw::None,
        Event::Loaded
        | Event::Headers(_)
        | Event::Started
        | Event::Second(_)
        | Event::Usage(_)
        | Event::Reported(_)
        | Event::Finished { .. }
        | Event::Failed(_) => {}
    }
}

/// Reads a body piece by piece.
#[derive(Default)]
pub(super) struct Reader {
    body: Body,
    decoder: Decoder,
    course: Course,
    has_begun: bool,
    /// Text that is no event, where some came.
    stray: Option<String>,
    over: bool,
}

/// The form of the body.
#[derive(Default)]
enum Body {
    /// Not known yet: white space alone came.
    #[default]
    Unknown,
    Stream,
    Whole(Vec<u8>),
}

impl AnswerReader for Reader {
    fn is_over(&self) -> bool {
        self.over
    }

    fn feed(&mut self, bytes: &[u8], events: &mut Vec<Event>) {
        if self.over {
            return;
        }
        if let Body::Unknown = self.body {
            match bytes.trim_ascii_start().first() {
                None => return,
                Some(b'{') => self.body = Body::Whole(Vec::new()),
                Some(_) => self.body = Body::Stream,
            }
        }
        match &mut self.body {
            Body::Whole(whole) if whole.len() + bytes.len() > LARGEST_ANSWER => {
                *whole = Vec::new();
                self.fail(Failure::TooLarge(LARGEST_ANSWER), events);
            }
            Body::Whole(whole) => whole.extend_from_slice(bytes),
            Body::Stream | Body::Unknown => self.stream(bytes, events),
        }
    }

    fn end(&mut self, events: &mut Vec<Event>) {
        self.close(None, events);
    }

    fn cut(&mut self, failure: Failure, events: &mut Vec<Event>) {
        self.close(Some(failure), events);
    }
}

impl Reader {
    fn stream(&mut self, bytes: &[u8], events: &mut Vec<Event>) {
        let mut read = Vec::new();
        let fed = self.decoder.feed(bytes, &mut read);
        for event in read {
            self.event(event, events);
        }
        if let Err(error) = fed {
            self.fail(Failure::Transport(error.to_string()), events);
        }
    }

    /// Ends the body: `failure` says why the connection broke off, where it did.
    fn close(&mut self, failure: Option<Failure>, events: &mut Vec<Event>) {
        if self.over {
            return;
        }
        if let (Body::Whole(whole), None) = (&self.body, &failure) {
            self.over = true;
            let mut read = whole::read(whole);
            read.iter_mut().for_each(forget);
            events.append(&mut read);
            return;
        }
        let mut read = Vec::new();
        self.decoder.end(&mut read);
        for event in read {
            // An event that was cut is no event.
            if event.is_stray || Fields::of(&event.data).is_ok() {
                self.event(event, events);
            }
        }
        let failure = failure.unwrap_or_else(|| match (&self.stray, self.has_begun, &self.body) {
            (Some(words), false, _) => Failure::Provider(Box::new(faults::in_words(format!(
                "the provider's stream has no answer, but: {words}"
            )))),
            (None, false, Body::Unknown) => Failure::Transport("the provider answered nothing".into()),
            _ => Failure::Transport("the provider's stream was cut".into()),
        });
        self.fail(failure, events);
    }

    fn event(&mut self, event: SseEvent, events: &mut Vec<Event>) {
        if self.over {
            return;
        }
        let SseEvent { name, data, is_stray } = event;
        if is_stray {
            return self.stray(&data, events);
        }
        if data.trim().is_empty() && name != "error" {
            return;
        }
        let Ok(mut fields) = Fields::of(&data) else {
            let failure = match &*name {
                "error" => Failure::Provider(Box::new(events::error(&data))),
                _ => Failure::Transport("an event of the provider's is not of a known shape".into()),
            };
            return self.fail(failure, events);
        };
        if fields.present("type").is_none() && !name.is_empty() {
            fields.set("type", &name);
        }
        let meaning = self.course.read(&fields, &data);
        let raw = Raw::Own(Format::AnthropicMessages, fields);
        let is_end = matches!(meaning, Meaning::End);
        let (delta, report) = match meaning {
            Meaning::Begun(delta, report) => {
                self.has_begun = true;
                (delta, report)
            }
            Meaning::Piece(delta) => (delta, None),
            Meaning::Ending(delta, report) => (delta, report),
            Meaning::Ping | Meaning::End if self.has_begun => (Delta::default(), None),
            Meaning::Ping => return,
            Meaning::Unknown => return events.push(Event::Unknown(raw)),
            Meaning::Error(error) => return self.fail(Failure::Provider(Box::new(error)), events),
            Meaning::End => {
                let error = faults::in_words("the provider's stream has no answer");
                return self.fail(Failure::Provider(Box::new(error)), events);
            }
        };
        events.push(Event::Delta(Delta { raw, ..delta }));
        // A report covers all pieces up to and with its own.
        events.extend(report.map(|report| Event::Reported(Box::new(report))));
        if is_end {
            events.push(FINISHED);
            self.over = true;
        }
    }

    /// Text in a stream that is no event: only an error ends the stream.
    fn stray(&mut self, text: &str, events: &mut Vec<Event>) {
        let fields = Fields::of(text.trim()).ok();
        if fields.is_some_and(|fields| events::kind(&fields) == "error" || fields.present("error").is_some()) {
            return self.fail(Failure::Provider(Box::new(events::error(text))), events);
        }
        self.stray = Some(faults::text_words(text));
        events.push(Event::Unknown(Raw::None));
    }

    fn fail(&mut self, failure: Failure, events: &mut Vec<Event>) {
        if !std::mem::replace(&mut self.over, true) {
            events.push(Event::Failed(failure));
        }
    }
}

#[cfg(test)]
mod tests;
