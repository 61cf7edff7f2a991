//! Server-sent events (WHATWG HTML, "Server-sent events"): a decoder of pieces of any size, and a small encoder. The
//! decoder tolerates what real servers send: a last event without its empty line, text that is not UTF-8, and lines
//! that belong to no event, which become stray events.

use memchr::memchr2;

/// The most bytes of an event's data: as much as a whole answer, because one event may hold a whole answer (such as an
/// image). A larger event fails the stream.
pub const LARGEST_EVENT: usize = 32 << 20;
/// The most bytes kept of lines that belong to no event.
const LARGEST_STRAY: usize = 1 << 20;

/// How a line of an event begins.
const FIELDS: [&[u8]; 4] = [b"data", b"event", b"id", b"retry"];

/// An event larger than [`LARGEST_EVENT`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SseError {
    /// The event is too large.
    #[error("an event is larger than {} MiB", LARGEST_EVENT >> 20)]
    TooLarge,
}

/// One event. Bytes that are not UTF-8 are replaced, as browsers do.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SseEvent {
    /// The event's name; empty where it has none.
    pub name: String,
    /// The event's data, lines joined by line feeds.
    pub data: String,
    /// Whether these are lines that belong to no event, such as an error written without `data:`.
    pub is_stray: bool,
}

/// An incremental decoder.
#[derive(Debug, Default)]
pub struct Decoder {
    line: Vec<u8>,
    name: Vec<u8>,
    data: Vec<u8>,
    stray: Vec<u8>,
    has_data: bool,
    after_return: bool,
    started: bool,
}

impl Decoder {
    /// Takes bytes, and appends every event they complete.
    ///
    /// # Errors
    ///
    /// An event is larger than [`LARGEST_EVENT`]. The stream can't be read further.
    pub fn feed(&mut self, bytes: &[u8], events: &mut Vec<SseEvent>) -> Result<(), SseError> {
        let mut left = bytes;
        while let Some(&first) = left.first() {
            if std::mem::take(&mut self.after_return) && first == b'\n' {
                left = &left[1..];
                continue;
            }
            let end = memchr2(b'\r', b'\n', left);
            let part = &left[..end.unwrap_or(left.len())];
            if self.line.len() + part.len() + self.data.len() > LARGEST_EVENT {
                return Err(SseError::TooLarge);
            }
            let Some(end) = end else {
                self.line.extend_from_slice(part);
                break;
            };
            self.after_return = left[end] == b'\r';
            left = &left[end + 1..];
            if self.line.is_empty() {
                self.end_line(part, events);
            } else {
                let mut line = std::mem::take(&mut self.line);
                line.extend_from_slice(part);
                self.end_line(&line, events);
            }
        }
        Ok(())
    }

    /// Appends the last event, even without its empty line. The event may be cut.
    pub fn end(&mut self, events: &mut Vec<SseEvent>) {
        let line = std::mem::take(&mut self.line);
        if !FIELDS.iter().any(|field| field.starts_with(&line)) {
            self.end_line(&line, events);
        }
        self.end_line(&[], events);
    }

    /// Ends a line; an empty line ends an event.
    fn end_line(&mut self, line: &[u8], events: &mut Vec<SseEvent>) {
        let is_first = !std::mem::replace(&mut self.started, true);
        let line = line.strip_prefix(b"\xEF\xBB\xBF").filter(|_| is_first).unwrap_or(line);
        if line.is_empty() {
            if !self.stray.is_empty() {
                let data = text(std::mem::take(&mut self.stray));
                events.push(SseEvent { name: String::new(), data, is_stray: true });
            }
            if std::mem::take(&mut self.has_data) || !self.name.is_empty() {
                let (name, data) = (text(std::mem::take(&mut self.name)), text(std::mem::take(&mut self.data)));
                events.push(SseEvent { name, data, is_stray: false });
            }
            return;
        }
        let (field, value) = match line.iter().position(|byte| *byte == b':') {
            Some(colon) => (&line[..colon], &line[colon + 1..]),
            None => (line, &[][..]),
        };
        let value = value.strip_prefix(b" ").unwrap_or(value);
        match field {
            b"data" => {
                if std::mem::replace(&mut self.has_data, true) {
                    self.data.push(b'\n');
                }
                self.data.extend_from_slice(value);
            }
            b"event" => self.name = value.to_vec(),
            // A comment, or a field that no format here uses.
            b"" | b"id" | b"retry" => {}
            _ if self.stray.len() + line.len() < LARGEST_STRAY => {
                self.stray.extend_from_slice(line);
                self.stray.push(b'\n');
            }
            _ => {}
        }
    }
}

/// Bytes as text; invalid UTF-8 is replaced.
fn text(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes).unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned())
}

/// A comment: a keep-alive, so that proxies do not close a silent stream. One line without an empty line after it,
/// because some decoders end an event at every empty line.
pub fn comment(text: &str) -> String {
    format!(": {text}\n")
}

/// One event with this data, which must have no line breaks (JSON has none).
pub fn encode(data: &str) -> String {
    if memchr2(b'\n', b'\r', data.as_bytes()).is_some() {
        // Each line gets its own field name, or the decoder would end the data at the first line.
        let lines = data.split(['\n', '\r']).filter(|line| !line.is_empty());
        return lines.map(|line| format!("data: {line}\n")).chain(["\n".to_owned()]).collect();
    }
    ["data: ", data, "\n\n"].concat()
}

/// One event under its name.
pub fn named(name: &str, data: &str) -> String {
    ["event: ", name, "\n", &encode(data)].concat()
}

/// The end marker of a stream, in the formats that have one.
pub const LAST_WORD: &str = "[DONE]";

/// The name of the last event of a stream, in the formats that name it.
const LAST_NAME: &[u8] = b"event: message_stop\n";

/// The members of the last event of a stream, in the format whose streams have no marker: its usage, with the bill. A text
/// has no such quotes within its own.
const LAST_MEMBERS: [&str; 2] = ["\"usageMetadata\":{", "\"farebox\":{\"request_id\":"];

/// Whether these bytes end with the end marker's event.
pub fn is_last(bytes: &[u8]) -> bool {
    let has_all = |event: &[u8]| {
        if !event.ends_with(b"}}") {
            return false;
        }
        let event = String::from_utf8_lossy(event);
        LAST_MEMBERS.into_iter().all(|member| event.contains(member))
    };
    bytes.ends_with(encode(LAST_WORD).as_bytes())
        || last_event(bytes).is_some_and(|event| event.starts_with(LAST_NAME) || has_all(event))
}

/// The last event of bytes that end with one.
fn last_event(bytes: &[u8]) -> Option<&[u8]> {
    let within = bytes.strip_suffix(b"\n\n")?;
    let begin = within.windows(2).rposition(|pair| pair == b"\n\n").map_or(0, |place| place + 2);
    Some(&within[begin..])
}

#[cfg(test)]
mod tests {
    use super::*;

    const STREAM: &str = "\u{feff}data: {\"a\":\"é\"}\n\n: comment\r\nevent: x\r\ndata: one\r\ndata:two\r\n\r\nid: 1\n\ndata\r\revent:error\n\ndata: [DONE]\n\n";

    fn expected() -> Vec<SseEvent> {
        let event = |name: &str, data: &str| SseEvent { name: name.into(), data: data.into(), is_stray: false };
        let named = [event("x", "one\ntwo"), event("", ""), event("error", "")];
        [&[event("", "{\"a\":\"é\"}")], &named[..], &[event("", "[DONE]")]].concat()
    }

    fn decode(pieces: &[&[u8]]) -> Vec<SseEvent> {
        let (mut decoder, mut events) = (Decoder::default(), Vec::new());
        for piece in pieces {
            decoder.feed(piece, &mut events).unwrap();
        }
        decoder.end(&mut events);
        events
    }

    #[test]
    fn a_stream_cut_at_every_byte_is_the_same_stream() {
        let bytes = STREAM.as_bytes();
        for cut in 0..=bytes.len() {
            assert_eq!(decode(&[&bytes[..cut], &bytes[cut..]]), expected(), "cut at {cut}");
        }
        assert_eq!(decode(&bytes.chunks(1).collect::<Vec<_>>()), expected());
    }

    #[test]
    fn the_last_event_needs_no_empty_line() {
        for (end, data) in [("data: [DONE]", "[DONE]"), ("data:x\r\n", "x"), ("data: a\ndata: b\nda", "a\nb")] {
            let mut decoder = Decoder::default();
            let mut events = Vec::new();
            decoder.feed(end.as_bytes(), &mut events).unwrap();
            assert!(events.is_empty());
            decoder.end(&mut events);
            assert_eq!(events, [SseEvent { data: data.into(), ..SseEvent::default() }], "{end:?}");
        }
    }

    #[test]
    fn what_is_not_utf_8_is_replaced_and_what_is_no_event_is_told_apart() {
        assert_eq!(decode(&[b"data: \xff\xc3", b"\xa9\n\n"])[0].data, "\u{fffd}é");
        let events = decode(&[b"{\"error\": {\n \"code\": 503\n}}\n\ndata: x\n\n"]);
        let stray =
            SseEvent { data: "{\"error\": {\n \"code\": 503\n}}\n".into(), is_stray: true, ..SseEvent::default() };
        assert_eq!((&events[0], &*events[1].data), (&stray, "x"));
        assert!(decode(&[b"x\n".repeat(LARGEST_STRAY).as_slice()])[0].data.len() <= LARGEST_STRAY);
    }

    #[test]
    fn an_event_may_be_as_large_as_an_answer_and_an_endless_one_is_refused() {
        let image = "x".repeat(3 << 20);
        assert!(decode(&encode(&image).as_bytes().chunks(1_000).collect::<Vec<_>>())[0].data == image);
        let line = vec![b'x'; LARGEST_EVENT + 1];
        assert_eq!(Decoder::default().feed(&line, &mut Vec::new()), Err(SseError::TooLarge));
    }

    #[test]
    fn what_is_encoded_reads_back() {
        assert_eq!(decode(&[encode("{}").as_bytes()])[0].data, "{}");
        let event = &decode(&[named("x", "{\n}").as_bytes()])[0];
        assert_eq!((&*event.name, &*event.data), ("x", "{\n}"));
        assert!(!comment("cost 0.01").contains("\n\n"));
        let commented = comment("waiting") + &encode("1") + &comment("");
        let events = decode(&[commented.as_bytes()]);
        assert_eq!((events.len(), events[0].data.as_str()), (1, "1"), "comments are no events");
        assert!(is_last((encode("{}") + &encode(LAST_WORD)).as_bytes()));
        assert!(!is_last(encode("[DONE] is a word").as_bytes()) && !is_last(b"data: [DONE]\n"));
    }
}
