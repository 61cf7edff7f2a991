//! From a stream of tokens to text: only whole UTF-8 characters, and never a stop text or a beginning that may still
//! become one. It knows bytes, not models: tokens come as their bytes.

use std::collections::VecDeque;

use wire::inference::TokenLogprob;

/// The text that may be sent now.
#[derive(Debug, Default, PartialEq)]
pub struct Piece {
    /// Text.
    pub text: String,
    /// Log probabilities of the tokens that begin in the text.
    pub logprobs: Vec<TokenLogprob>,
    /// Whether a stop text was reached.
    pub stopped: bool,
}

/// Assembles one choice's text.
#[derive(Debug, Default)]
pub struct Assembler {
    stops: Vec<String>,
    /// The place of the stop text that was reached.
    stopped_by: Option<usize>,
    /// Bytes of an incomplete character.
    partial: Vec<u8>,
    /// Text that may be the beginning of a stop text.
    held: String,
    /// Bytes sent so far.
    sent: usize,
    /// Characters before the next one sent, including those of a repeated prompt.
    characters: usize,
    /// Log probabilities not sent yet, each with the place where its token begins.
    logprobs: VecDeque<(usize, TokenLogprob)>,
}

impl Assembler {
    /// An assembler with these stop texts; empty ones are ignored.
    pub fn new(stops: &[String]) -> Self {
        Self { stops: stops.iter().filter(|stop| !stop.is_empty()).cloned().collect(), ..Self::default() }
    }

    /// Counts `characters` before the text's own: those of a repeated prompt.
    #[must_use]
    pub fn after(self, characters: usize) -> Self {
        Self { characters, ..self }
    }

    /// The stop text that was reached.
    pub fn stopped_by(&self) -> Option<&str> {
        self.stops.get(self.stopped_by?).map(String::as_str)
    }

    /// Takes a token.
    pub fn push(&mut self, bytes: &[u8], logprob: Option<TokenLogprob>) -> Piece {
        if let Some(mut logprob) = logprob {
            logprob.offset = self.characters + self.held.chars().count();
            self.logprobs.push_back((self.sent + self.held.len() + self.partial.len(), logprob));
        }
        self.partial.extend_from_slice(bytes);
        let before = self.held.len();
        let whole = whole_characters(&mut self.partial);
        self.held.push_str(&whole);
        if let Some((at, stop)) = self.first_stop(before) {
            self.stopped_by = Some(stop);
            self.held.truncate(at);
            self.partial.clear();
            let mut piece = self.send(at);
            piece.stopped = true;
            self.logprobs.clear();
            return piece;
        }
        let safe = self.held.len() - self.longest_beginning();
        self.send(safe)
    }

    /// Returns the rest of the text; an incomplete character becomes a replacement character.
    pub fn finish(&mut self) -> Piece {
        if !self.partial.is_empty() {
            let rest = std::mem::take(&mut self.partial);
            self.held.push_str(&String::from_utf8_lossy(&rest));
        }
        let mut piece = self.send(self.held.len());
        piece.logprobs.extend(self.logprobs.drain(..).map(|(_, logprob)| logprob));
        piece
    }

    fn send(&mut self, length: usize) -> Piece {
        let rest = self.held.split_off(length);
        let text = std::mem::replace(&mut self.held, rest);
        self.sent += text.len();
        self.characters += text.chars().count();
        let mut logprobs = Vec::new();
        while self.logprobs.front().is_some_and(|(start, _)| *start < self.sent) {
            logprobs.extend(self.logprobs.pop_front().map(|(_, logprob)| logprob));
        }
        Piece { text, logprobs, stopped: false }
    }

    /// Where the first stop text begins, and which it is. It can't lie wholly in the first `before` bytes.
    fn first_stop(&self, before: usize) -> Option<(usize, usize)> {
        let found = |(place, stop): (usize, &String)| {
            let mut from = before.saturating_sub(stop.len());
            while !self.held.is_char_boundary(from) {
                from -= 1;
            }
            self.held[from..].find(stop.as_str()).map(|at| (from + at, place))
        };
        self.stops.iter().enumerate().filter_map(found).min()
    }

    /// The length of the longest ending, in bytes, that is the beginning of a stop text.
    fn longest_beginning(&self) -> usize {
        let beginning = |stop: &String| {
            let longest = (stop.len() - 1).min(self.held.len());
            (1..=longest).rev().find(|&length| self.held.as_bytes().ends_with(&stop.as_bytes()[..length])).unwrap_or(0)
        };
        // A stop text can be cut inside a character only where the held text ends inside one, which never happens.
        self.stops.iter().map(beginning).max().unwrap_or(0)
    }
}

/// Takes the whole characters off the front; invalid bytes become replacement characters at once.
fn whole_characters(bytes: &mut Vec<u8>) -> String {
    let mut text = String::new();
    loop {
        match std::str::from_utf8(bytes) {
            Ok(valid) => {
                text.push_str(valid);
                bytes.clear();
                return text;
            }
            Err(error) => {
                let valid = error.valid_up_to();
                text.push_str(&String::from_utf8_lossy(&bytes[..valid]));
                match error.error_len() {
                    None => {
                        bytes.drain(..valid);
                        return text;
                    }
                    Some(length) => {
                        text.push('\u{fffd}');
                        bytes.drain(..valid + length);
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[expect(clippy::unnecessary_wraps, reason = "what `push` takes")]
    fn logprob(name: &str) -> Option<TokenLogprob> {
        let (token, bytes) = (name.to_owned(), name.into());
        Some(TokenLogprob { token, bytes, logprob: Some(-1.0), offset: 0, top: Vec::new() })
    }

    #[test]
    fn a_character_of_four_bytes_comes_whole() {
        let mut assembler = Assembler::new(&[]);
        let texts: Vec<String> = "a🦀b".bytes().map(|byte| assembler.push(&[byte], None).text).collect();
        assert_eq!(texts, ["a", "", "", "", "🦀", "b"]);
        assert_eq!(assembler.push(&"é".as_bytes()[..1], None).text, "");
        assert_eq!(assembler.finish().text, "\u{fffd}");
        let mut broken = Assembler::new(&[]);
        assert_eq!(broken.push(&[0xff, b'x', 0xc3], None).text, "\u{fffd}x");
    }

    #[test]
    fn a_stop_text_across_tokens_is_never_sent() {
        let mut assembler = Assembler::new(&["END.".to_owned(), "###".to_owned()]);
        assert_eq!(assembler.push(b"The E", None).text, "The ");
        assert_eq!(assembler.push(b"N", None).text, "");
        assert_eq!(assembler.push(b"ormous E", None).text, "ENormous ");
        assert_eq!(assembler.push(b"ND", None).text, "");
        let last = assembler.push(b". more", None);
        assert_eq!((last.text.as_str(), last.stopped), ("", true));
    }

    #[test]
    fn log_probabilities_go_with_the_text_their_token_begins_in() {
        let mut assembler = Assembler::new(&["bc".to_owned()]);
        assert_eq!(assembler.push(b"a", logprob("a")).logprobs.len(), 1);
        assert!(assembler.push(b"b", logprob("b")).logprobs.is_empty());
        let piece = assembler.push(b"x", logprob("x"));
        assert_eq!((piece.text.as_str(), piece.logprobs.len()), ("bx", 2));
        let piece = assembler.push(b"zb", logprob("zb"));
        assert_eq!((piece.text.as_str(), piece.logprobs.len()), ("z", 1));
        let piece = assembler.push(b"c", logprob("c"));
        assert!(piece.stopped && piece.logprobs.is_empty());
    }

    #[test]
    fn a_token_knows_the_character_it_begins_at() {
        let mut assembler = Assembler::new(&["xyz".to_owned()]).after(10);
        let crab = "🦀".as_bytes();
        let pieces: [&[u8]; 6] = ["é".as_bytes(), &crab[..2], &crab[2..], b"x", b"y!", b"end"];
        let mut offsets: Vec<usize> = Vec::new();
        for bytes in pieces {
            offsets.extend(assembler.push(bytes, logprob("t")).logprobs.iter().map(|logprob| logprob.offset));
        }
        offsets.extend(assembler.finish().logprobs.iter().map(|logprob| logprob.offset));
        assert_eq!(offsets, [10, 11, 11, 12, 13, 15], "a part of a character begins where it does");
    }

    proptest! {
        #[test]
        fn any_cut_of_a_text_gives_the_text_up_to_its_first_stop(
            text in "[abé🦀 ]{0,40}",
            stop in "[abé]{1,3}",
            sizes in prop::collection::vec(1_usize..5, 1..60),
        ) {
            let mut assembler = Assembler::new(std::slice::from_ref(&stop));
            let (mut out, mut rest, mut stopped) = (String::new(), text.as_bytes(), false);
            for size in sizes.into_iter().cycle() {
                if rest.is_empty() || stopped {
                    break;
                }
                let (now, later) = rest.split_at(size.min(rest.len()));
                let piece = assembler.push(now, None);
                let replaced = piece.text.contains('\u{fffd}');
                prop_assert!(!replaced);
                out.push_str(&piece.text);
                stopped = piece.stopped;
                rest = later;
            }
            if !stopped {
                out.push_str(&assembler.finish().text);
            }
            let expected = text.find(&stop).map_or(text.as_str(), |at| &text[..at]);
            prop_assert_eq!(out, expected);
            prop_assert_eq!(stopped, text.contains(&stop));
        }
    }
}
