//! What a choice's reader gets of what is written: from the bytes of its tokens to text, thoughts and calls of tools, in
//! whole characters, with the log probabilities of the text. It knows no model and no scores.

use std::collections::VecDeque;

use rand::Rng;
use rand::distr::Alphanumeric;
use wire::inference::{CallDelta, Delta, TokenLogprob};

use super::calls::family::Id;
use super::calls::reader::{Kind, Part, Reader, Turned};
use super::detokenizer::{Assembler, Piece};

/// The transcript of one choice.
#[derive(Debug)]
pub(super) struct Transcript {
    choice: u32,
    /// `None`: all that is written is text.
    reader: Option<Reader>,
    id: Id,
    text: Assembler,
    thoughts: Assembler,
    arguments: Assembler,
    /// The calls that have begun.
    calls: u32,
    /// Bytes written.
    written: usize,
    /// Log probabilities of tokens that are not told yet, each with the place where its token begins.
    logprobs: VecDeque<(usize, TokenLogprob)>,
    has_stopped: bool,
}

impl Transcript {
    /// An empty one. Its text ends where `text` finds a stop text.
    pub(super) fn new(choice: u32, text: Assembler, reader: Option<Reader>, id: Id) -> Self {
        Self {
            choice,
            reader,
            id,
            text,
            thoughts: Assembler::default(),
            arguments: Assembler::default(),
            calls: 0,
            written: 0,
            logprobs: VecDeque::new(),
            has_stopped: false,
        }
    }

    /// What these bytes would turn to. They are not taken.
    pub(super) fn foresee(&self, bytes: &[u8]) -> Turned {
        self.reader.as_ref().map_or(Turned::Nothing, |reader| reader.clone().push(bytes).1)
    }

    /// Whether it is in the model's thoughts.
    pub(super) fn is_thinking(&self) -> bool {
        self.reader.as_ref().is_some_and(Reader::is_thinking)
    }

    /// Whether a call is whole.
    pub(super) fn has_called(&self) -> bool {
        self.reader.as_ref().is_some_and(|reader| reader.calls() > 0)
    }

    /// Whether a stop text was reached.
    pub(super) const fn has_stopped(&self) -> bool {
        self.has_stopped
    }

    /// The stop text that was reached.
    pub(super) fn stop_text(&self) -> Option<&str> {
        self.text.stopped_by()
    }

    /// Takes a token's bytes.
    pub(super) fn push(&mut self, bytes: &[u8], logprob: Option<TokenLogprob>) -> Vec<Delta> {
        let mut deltas = Vec::new();
        let Some(reader) = &mut self.reader else {
            let piece = self.text.push(bytes, logprob);
            self.tell_text(piece, &mut deltas);
            return deltas;
        };
        self.logprobs.extend(logprob.map(|logprob| (self.written, logprob)));
        self.written += bytes.len();
        let (parts, _) = reader.push(bytes);
        for part in &parts {
            self.tell(part, &mut deltas);
        }
        deltas
    }

    /// What was held back, as the answer ends.
    pub(super) fn finish(&mut self) -> Vec<Delta> {
        let mut deltas = Vec::new();
        let rest = self.reader.as_mut().map(Reader::finish).unwrap_or_default();
        for part in &rest {
            self.tell(part, &mut deltas);
        }
        if !self.has_stopped {
            let piece = self.thoughts.finish();
            self.tell_thoughts(piece, &mut deltas);
            let piece = self.text.finish();
            self.tell_text(piece, &mut deltas);
            let piece = self.arguments.finish();
            self.tell_arguments(piece, &mut deltas);
        }
        deltas
    }

    fn tell(&mut self, part: &Part, deltas: &mut Vec<Delta>) {
        if self.has_stopped {
            return;
        }
        match part.kind {
            Kind::Text => self.push_text(part, deltas),
            Kind::Thoughts => {
                let piece = self.thoughts.push(&part.bytes, None);
                self.tell_thoughts(piece, deltas);
            }
            Kind::Call => {
                let length = match self.id {
                    Id::Long => 24,
                    Id::Nine => 9,
                };
                let random: String = rand::rng().sample_iter(&Alphanumeric).take(length).map(char::from).collect();
                let id = match self.id {
                    Id::Long => format!("call_{random}"),
                    Id::Nine => random,
                };
                let name = Some(String::from_utf8_lossy(&part.bytes).into_owned());
                let call = CallDelta { index: self.calls, id: Some(id), name, arguments: String::new() };
                self.calls += 1;
                deltas.push(Delta { choice: self.choice, calls: vec![call], ..Delta::default() });
            }
            Kind::Arguments => {
                let piece = self.arguments.push(&part.bytes, None);
                self.tell_arguments(piece, deltas);
            }
            Kind::ArgumentsEnd => {
                let piece = self.arguments.finish();
                self.tell_arguments(piece, deltas);
            }
        }
    }

    /// A part of the text, with the log probabilities of the tokens that begin in it.
    fn push_text(&mut self, part: &Part, deltas: &mut Vec<Delta>) {
        let end = part.at + part.bytes.len();
        while self.logprobs.front().is_some_and(|(at, _)| *at < part.at) {
            self.logprobs.pop_front();
        }
        let mut begun = Vec::new();
        while self.logprobs.front().is_some_and(|(at, _)| *at < end) {
            begun.extend(self.logprobs.pop_front());
        }
        let first = begun.first().map_or(end, |(at, _)| *at);
        let mut cuts = vec![(part.at, first, None)];
        for (place, (at, logprob)) in begun.iter().enumerate() {
            let next = begun.get(place + 1).map_or(end, |(next, _)| *next);
            cuts.push((*at, next, Some(logprob.clone())));
        }
        for (from, to, logprob) in cuts {
            if self.has_stopped || (from == to && logprob.is_none()) {
                continue;
            }
            let bytes = part.bytes.get(from - part.at..to - part.at).unwrap_or_default();
            let piece = self.text.push(bytes, logprob);
            self.tell_text(piece, deltas);
        }
    }

    fn tell_text(&mut self, piece: Piece, deltas: &mut Vec<Delta>) {
        let Piece { text, logprobs, stopped } = piece;
        self.has_stopped |= stopped;
        if text.is_empty() && logprobs.is_empty() {
            return;
        }
        match deltas.last_mut().filter(|last| last.reasoning.is_empty() && last.calls.is_empty()) {
            Some(last) => {
                last.text.push_str(&text);
                last.logprobs.extend(logprobs);
            }
            None => deltas.push(Delta { choice: self.choice, text, logprobs, ..Delta::default() }),
        }
    }

    fn tell_thoughts(&self, piece: Piece, deltas: &mut Vec<Delta>) {
        if !piece.text.is_empty() {
            deltas.push(Delta { choice: self.choice, reasoning: piece.text, ..Delta::default() });
        }
    }

    fn tell_arguments(&self, piece: Piece, deltas: &mut Vec<Delta>) {
        if !piece.text.is_empty() {
            let call = CallDelta { index: self.calls.saturating_sub(1), arguments: piece.text, ..CallDelta::default() };
            deltas.push(Delta { choice: self.choice, calls: vec![call], ..Delta::default() });
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::calls::family::{Family, Thoughts};
    use crate::calls::reader::Expected;

    fn transcript(stops: &[&str]) -> Transcript {
        let names: Arc<[String]> = ["f".to_owned()].into();
        let expected = Expected { calls: Some((Family::Hermes.syntax(), names)), thoughts: Some(Thoughts::ALL[0]) };
        let stops: Vec<String> = stops.iter().map(|stop| (*stop).to_owned()).collect();
        Transcript::new(2, Assembler::new(&stops), Some(Reader::new(expected, false)), Id::Nine)
    }

    /// Each byte is a token, with its own log probability.
    fn written(mut transcript: Transcript, text: &str) -> Vec<Delta> {
        let token = |byte: u8| {
            let name = char::from(byte).to_string();
            Some(TokenLogprob { token: name, bytes: vec![byte], logprob: Some(-1.0), offset: 0, top: Vec::new() })
        };
        let mut deltas = Vec::new();
        for byte in text.bytes() {
            deltas.extend(transcript.push(&[byte], token(byte)));
            if transcript.has_stopped() {
                break;
            }
        }
        deltas.extend(transcript.finish());
        deltas
    }

    #[test]
    fn parts_come_in_their_own_places_and_text_alone_has_log_probabilities() {
        let call = "<tool_call>\n{\"name\": \"f\", \"arguments\": {\"a\": \"é\"}}\n</tool_call>";
        let deltas = written(transcript(&[]), &format!("<think>hm é</think>\n\nSo, é:\n{call}\n{call}"));
        let all = |part: fn(&Delta) -> String| deltas.iter().map(part).collect::<String>();
        assert_eq!(all(|delta| delta.reasoning.clone()), "hm é");
        assert_eq!(all(|delta| delta.text.clone()), "So, é:");
        let of_text: Vec<u8> =
            deltas.iter().flat_map(|delta| &delta.logprobs).flat_map(|it| it.bytes.clone()).collect();
        assert_eq!(String::from_utf8(of_text).unwrap(), "So, é:", "each token of the text, and no other");
        let calls: Vec<&CallDelta> = deltas.iter().flat_map(|delta| &delta.calls).collect();
        let begun: Vec<_> = calls
            .iter()
            .filter_map(|call| Some((call.index, call.id.as_ref()?.len(), call.name.as_deref()?)))
            .collect();
        assert_eq!(begun, [(0, 9, "f"), (1, 9, "f")]);
        for index in 0..2 {
            let of_call = calls.iter().filter(|call| call.index == index).map(|call| call.arguments.as_str());
            assert_eq!(of_call.collect::<String>(), "{\"a\": \"é\"}");
        }
        assert!(deltas.iter().all(|delta| delta.choice == 2));
    }

    #[test]
    fn a_stop_text_ends_the_text_and_is_not_looked_for_elsewhere() {
        let deltas = written(transcript(&["STOP"]), "<think>STOP</think>One STOP two");
        let text: String = deltas.iter().map(|delta| delta.text.as_str()).collect();
        assert_eq!(text, "One ");
        let thoughts: String = deltas.iter().map(|delta| delta.reasoning.as_str()).collect();
        assert_eq!(thoughts, "STOP");
        let mut told = transcript(&["never", "STOP"]);
        told.push(b"One STOP two", None);
        assert_eq!(told.stop_text(), Some("STOP"));
    }
}
