//! Server-sent events (WHATWG HTML, "Server-sent events"): a decoder fed whatever pieces the network makes, and the few
//! bytes an encoder needs. Only the `data` of events is kept: no format here uses the rest.

/// An event's data, at most: beyond it the stream is refused.
pub const LARGEST_EVENT: usize = 1 << 20;

/// An event larger than [`LARGEST_EVENT`], or data that is not UTF-8.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SseError {
    /// Too large.
    #[error("an event is larger than 1 MiB")]
    TooLarge,
    /// Not text.
    #[error("an event is not UTF-8")]
    NotUtf8,
}

/// An incremental decoder.
#[derive(Debug, Default)]
pub struct Decoder {
    line: Vec<u8>,
    data: Vec<u8>,
    has_data: bool,
    after_return: bool,
    started: bool,
}

impl Decoder {
    /// Takes bytes, and appends the data of every event they complete.
    pub fn feed(&mut self, bytes: &[u8], events: &mut Vec<String>) -> Result<(), SseError> {
        for &byte in bytes {
            let is_second_half = std::mem::replace(&mut self.after_return, byte == b'\r') && byte == b'\n';
            if is_second_half {
                continue;
            }
            if byte == b'\r' || byte == b'\n' {
                self.end_line(events)?;
            } else {
                self.line.push(byte);
                if self.line.len() + self.data.len() > LARGEST_EVENT {
                    return Err(SseError::TooLarge);
                }
            }
        }
        Ok(())
    }

    fn end_line(&mut self, events: &mut Vec<String>) -> Result<(), SseError> {
        let mut line = std::mem::take(&mut self.line);
        if !std::mem::replace(&mut self.started, true) && line.starts_with(b"\xEF\xBB\xBF") {
            line.drain(..3);
        }
        if line.is_empty() {
            if std::mem::take(&mut self.has_data) {
                let data = std::mem::take(&mut self.data);
                events.push(String::from_utf8(data).map_err(|_| SseError::NotUtf8)?);
            }
            return Ok(());
        }
        let (field, value) = match line.iter().position(|byte| *byte == b':') {
            Some(colon) => (&line[..colon], &line[colon + 1..]),
            None => (&line[..], &[][..]),
        };
        if field == b"data" {
            if std::mem::replace(&mut self.has_data, true) {
                self.data.push(b'\n');
            }
            self.data.extend_from_slice(value.strip_prefix(b" ").unwrap_or(value));
        }
        Ok(())
    }
}

/// One event with that data, which must have no line breaks (JSON has none).
pub fn encode(data: &str) -> String {
    format!("data: {data}\n\n")
}

/// The last word of a stream, in the formats that have one.
pub const LAST_WORD: &str = "[DONE]";

/// Whether these bytes end with the event that is a stream's last word.
pub fn is_last(bytes: &[u8]) -> bool {
    bytes.ends_with(encode(LAST_WORD).as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    const STREAM: &str = "\u{feff}data: {\"a\":\"é\"}\n\n: comment\r\nevent: x\r\ndata: one\r\ndata:two\r\n\r\nid: 1\n\ndata\r\rdata: [DONE]\n\n";

    fn expected() -> Vec<String> {
        vec!["{\"a\":\"é\"}".into(), "one\ntwo".into(), String::new(), "[DONE]".into()]
    }

    #[test]
    fn a_stream_cut_at_every_byte_is_the_same_stream() {
        let bytes = STREAM.as_bytes();
        for cut in 0..=bytes.len() {
            let (mut decoder, mut events) = (Decoder::default(), Vec::new());
            decoder.feed(&bytes[..cut], &mut events).unwrap();
            decoder.feed(&bytes[cut..], &mut events).unwrap();
            assert_eq!(events, expected(), "cut at {cut}");
        }
        let (mut decoder, mut events) = (Decoder::default(), Vec::new());
        for byte in bytes {
            decoder.feed(&[*byte], &mut events).unwrap();
        }
        assert_eq!(events, expected());
    }

    #[test]
    fn an_endless_event_is_refused() {
        let (mut decoder, mut events) = (Decoder::default(), Vec::new());
        let line = vec![b'x'; LARGEST_EVENT + 1];
        assert_eq!(decoder.feed(&line, &mut events), Err(SseError::TooLarge));
        assert_eq!(Decoder::default().feed(b"data: \xff\n\n", &mut events), Err(SseError::NotUtf8));
    }

    #[test]
    fn what_is_encoded_reads_back() {
        let (mut decoder, mut events) = (Decoder::default(), Vec::new());
        decoder.feed(encode("{}").as_bytes(), &mut events).unwrap();
        assert_eq!(events, ["{}"]);
        assert!(is_last((encode("{}") + &encode(LAST_WORD)).as_bytes()));
        assert!(!is_last(encode("[DONE] is a word").as_bytes()) && !is_last(b"data: [DONE]\n"));
    }
}
