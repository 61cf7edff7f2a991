//! A transcription for a client: the provider's object with its cost, the text alone, or events.

use serde_json::{Value, json};

use super::{
    super::events::{self, ended, gain, tokens, with_gain},
    FORMAT,
    answer::{DONE, PIECE},
};
use crate::{
    fields::Fields,
    format::{AnswerWriter, End, WholeWriter},
    inference::{Delta, Raw, Request, TranscriptForm, Work},
    sse,
};

/// Writes one answer.
#[derive(Debug)]
pub struct Writer {
    form: TranscriptForm,
    /// How long the recording is, where nobody else tells it.
    milliseconds: Option<u64>,
    /// All of the text.
    text: String,
    /// The last event, until it is paid for.
    done: Option<Fields>,
}

impl Writer {
    pub(super) fn new(request: &Request) -> Self {
        let (form, milliseconds) = match &request.work {
            Work::Transcription(transcription) => (transcription.form, transcription.milliseconds),
            _ => (TranscriptForm::Object, None),
        };
        Self { form, milliseconds, text: String::new(), done: None }
    }

    /// The usage, where the provider told none in words that pass.
    fn counted(&self, end: &End) -> Value {
        let mut counted = match self.milliseconds {
            Some(milliseconds) if (end.usage.input, end.usage.output) == (0, 0) => {
                json!({"seconds": milliseconds.div_ceil(1_000), "type": "duration"})
            }
            _ => tokens(end),
        };
        if counted.get("type").is_none() {
            counted["type"] = "tokens".into();
        }
        counted
    }

    fn gain(&self, end: &End) -> Value {
        gain(end, self.counted(end))
    }
}

impl AnswerWriter for Writer {
    fn delta(&mut self, delta: Delta) -> Option<String> {
        self.text.push_str(&delta.text);
        match (delta.raw, delta.finish) {
            (Raw::Own(FORMAT, fields), Some(_)) => {
                self.done = Some(fields);
                None
            }
            (Raw::Own(FORMAT, fields), None) => Some(sse::encode(&fields.to_json())),
            _ if delta.text.is_empty() => None,
            _ => Some(sse::encode(&json!({"type": PIECE, "delta": delta.text}).to_string())),
        }
    }

    fn cost(&mut self, _: &str, _: u64) -> Option<String> {
        None
    }

    fn silence(&self) -> Option<String> {
        Some(sse::comment("waiting"))
    }

    fn end(&mut self, end: &End) -> String {
        let gain = self.gain(end);
        if let Some(done) = self.done.take().filter(|done| done.present("type").is_some()) {
            return ended(&with_gain(&done, &gain));
        }
        let mut done = json!({"type": DONE, "text": self.text});
        if let (Value::Object(done), Value::Object(gain)) = (&mut done, gain) {
            done.extend(gain);
        }
        ended(done.to_string().as_bytes())
    }

    fn failed(&mut self, error: &Value) -> String {
        events::failed(error)
    }
}

impl WholeWriter for Writer {
    fn whole(&mut self, deltas: Vec<Delta>, end: &End) -> Vec<u8> {
        let own = deltas.iter().find_map(|delta| delta.raw.of(FORMAT));
        let text: String = deltas.iter().map(|delta| &*delta.text).collect();
        match (self.form, own) {
            (TranscriptForm::Object, Some(own)) => with_gain(own, &self.gain(end)),
            (TranscriptForm::Object, None) => {
                let gain = self.gain(end);
                json!({"text": text, "usage": gain["usage"], "farebox": gain["farebox"]}).to_string().into_bytes()
            }
            // The API ends a text with a line end; an object has none.
            (TranscriptForm::Text, Some(_)) => (text + "\n").into_bytes(),
            (TranscriptForm::Text, None) | (TranscriptForm::Subtitles, _) => text.into_bytes(),
        }
    }

    fn media_type(&self) -> &'static str {
        match self.form {
            TranscriptForm::Object => "application/json",
            TranscriptForm::Text | TranscriptForm::Subtitles => "text/plain; charset=utf-8",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        format::{Particulars, Receipt},
        inference::{FinishReason, Usage},
    };

    fn writer(form: TranscriptForm) -> Writer {
        Writer { form, milliseconds: Some(1_500), text: String::new(), done: None }
    }

    fn end(usage: Option<&str>) -> End {
        let receipt = Receipt { cost: "0.01".into(), farebox: Particulars::default(), usage: usage.map(Into::into) };
        End { usage: Usage::default(), receipt, is_cut: false }
    }

    fn whole(json: &str) -> Delta {
        let fields = Fields::parse(json.as_bytes()).unwrap();
        Delta {
            text: "hey".into(),
            finish: Some(FinishReason::Stop),
            raw: Raw::Own(FORMAT, fields),
            ..Delta::default()
        }
    }

    #[test]
    fn an_object_has_its_cost_and_a_text_is_a_text() {
        let object = r#"{"text":"hey","logprobs":[]}"#;
        let of = |form, usage| String::from_utf8(writer(form).whole(vec![whole(object)], &end(usage))).unwrap();
        let told = of(TranscriptForm::Object, Some(r#"{"type":"duration","seconds":2}"#));
        assert!(
            told.starts_with(
                r#"{"text":"hey","logprobs":[],"usage":{"type":"duration","seconds":2,"cost":"0.01"},"farebox":"#
            ),
            "{told}"
        );
        let counted = of(TranscriptForm::Object, None);
        assert!(counted.contains(r#""usage":{"seconds":2,"type":"duration","cost":"0.01"}"#), "{counted}");
        assert_eq!(of(TranscriptForm::Text, None), "hey\n");
        let subtitles = Delta { text: "WEBVTT\n".into(), ..Delta::default() };
        assert_eq!(writer(TranscriptForm::Subtitles).whole(vec![subtitles], &end(None)), b"WEBVTT\n");
    }

    #[test]
    fn the_last_event_is_held_back_until_it_is_paid() {
        let mut streamed = writer(TranscriptForm::Object);
        let piece = Fields::parse(br#"{"type":"transcript.text.delta","delta":"hey"}"#).unwrap();
        let piece = Delta { text: "hey".into(), raw: Raw::Own(FORMAT, piece), ..Delta::default() };
        assert!(streamed.delta(piece).unwrap().contains("transcript.text.delta"));
        assert_eq!(streamed.delta(whole(r#"{"type":"transcript.text.done","text":"hey"}"#)), None);
        let last = streamed.end(&end(Some(r#"{"type":"tokens","input_tokens":4}"#)));
        assert!(last.starts_with("data: {\"type\":\"transcript.text.done\",\"text\":\"hey\",\"usage\":{\"type\":\"tokens\",\"input_tokens\":4,\"cost\":\"0.01\"}"), "{last}");
        assert!(sse::is_last(last.as_bytes()));
        let mut of_object = writer(TranscriptForm::Object);
        assert_eq!(of_object.delta(whole(r#"{"text":"hey"}"#)), None);
        assert!(of_object.end(&end(None)).starts_with("data: {\"type\":\"transcript.text.done\",\"text\":\"hey\","));
    }
}
