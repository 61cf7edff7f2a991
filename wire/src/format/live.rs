//! Answers as frames of the live socket (design, chapter 6): JSON texts that name their request. A request on the socket
//! has the body of its format's own route, and its answer the same frames in every format: the text in neutral words, and
//! beside it the events that the format itself would stream.

use base64::{Engine as _, prelude::BASE64_STANDARD};
use serde_json::{Map, Value, json, value::RawValue};

use super::{
    AnswerWriter, End, ErrorShape, WholeWriter,
    openai::{address, finish_word},
};
use crate::{
    inference::{Delta, FinishReason},
    sse::{Decoder, LAST_WORD},
};

/// Which pieces of an answer carry the format's own events.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Carries {
    /// All of them.
    Events,
    /// Those that say more than text: the text alone is enough for most clients.
    EventsBeyondText,
}

/// Writes the answer of one request on a socket.
pub struct LiveWriter {
    /// The surface: the frames' types begin with it.
    surface: &'static str,
    id: String,
    inner: Box<dyn WholeWriter>,
    carries: Carries,
    /// Whether the format's writer may have an event that it has not written yet.
    is_owed: bool,
    finish: Option<FinishReason>,
}

impl std::fmt::Debug for LiveWriter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LiveWriter").field("surface", &self.surface).field("id", &self.id).finish_non_exhaustive()
    }
}

impl LiveWriter {
    /// A writer for the request with this id, which its client chose. `inner` writes the format's own events.
    pub const fn new(surface: &'static str, id: String, inner: Box<dyn WholeWriter>, carries: Carries) -> Self {
        Self { surface, id, inner, carries, is_owed: false, finish: None }
    }

    fn frame(&self, kind: &str) -> Map<String, Value> {
        let mut frame = Map::new();
        frame.insert("type".into(), format!("{}.{kind}", self.surface).into());
        frame.insert("id".into(), self.id.as_str().into());
        frame
    }

    /// The last frame, of an answer that cost so much.
    fn done(&self, end: &End) -> Map<String, Value> {
        let End { usage, receipt, is_cut: _ } = end;
        let reported = receipt.usage.as_ref().and_then(|own| serde_json::from_str::<Value>(own).ok());
        let counted = || json!({"prompt_tokens": usage.input, "completion_tokens": usage.output});
        let mut frame = self.frame("done");
        // Closed models have no seconds: their only cost comes at the end.
        let facts: [(&str, Value); 6] = [
            ("request_id", receipt.farebox.request_id.as_str().into()),
            ("usage", reported.unwrap_or_else(counted)),
            ("cost", receipt.cost.as_str().into()),
            ("billed_seconds", receipt.farebox.billed_seconds.unwrap_or(0).into()),
            ("finish_reason", self.finish.as_ref().map(finish_word).into()),
            ("stop", receipt.farebox.stop.clone().into()),
        ];
        frame.extend(facts.map(|(name, value)| (name.to_owned(), value)));
        frame
    }
}

/// The frame of an error. `id` is the request's, where the error belongs to one.
pub fn error_frame(id: Option<&str>, error: &Value) -> String {
    let mut frame = Map::new();
    frame.insert("type".into(), "error".into());
    if let Some(id) = id {
        frame.insert("id".into(), id.into());
    }
    if let Value::Object(error) = error {
        frame.extend(error.iter().filter(|(name, _)| *name != "request_id").map(|(n, v)| (n.clone(), v.clone())));
    }
    Value::Object(frame).to_string()
}

/// The same frame with its place among those of its request. `frame` is an object that is not empty.
pub fn numbered(frame: &str, seq: u64) -> String {
    let open = frame.strip_suffix('}').unwrap_or(frame);
    format!("{open},\"seq\":{seq}}}")
}

/// Whether a frame is its request's last one.
pub fn is_last(surface: &str, frame: &str) -> bool {
    let kind = frame.strip_prefix("{\"type\":\"").and_then(|rest| rest.split('"').next());
    kind.is_some_and(|kind| kind == "error" || kind.strip_suffix(".done") == Some(surface))
}

/// The objects of a text of events; a format's last word and its comments are none.
fn objects(text: &str) -> Vec<Value> {
    let (mut decoder, mut events) = (Decoder::default(), Vec::new());
    if decoder.feed(text.as_bytes(), &mut events).is_err() {
        return Vec::new();
    }
    let data = events.into_iter().filter(|event| !event.is_stray && event.data != LAST_WORD);
    data.filter_map(|event| serde_json::from_str(&event.data).ok()).collect()
}

impl AnswerWriter for LiveWriter {
    fn errors(&self) -> ErrorShape {
        ErrorShape::Phrase
    }

    fn delta(&mut self, delta: Delta) -> Option<String> {
        let mut frame = self.frame("delta");
        frame.insert("choice".into(), delta.choice.into());
        frame.insert("delta".into(), delta.text.as_str().into());
        if !delta.images().is_empty() {
            let images = delta.images().iter().map(|image| address(image, "image/png"));
            frame.insert("images".into(), images.collect());
        }
        if let Some(sound) = delta.sound() {
            frame.insert("audio".into(), BASE64_STANDARD.encode(sound).into());
        }
        self.finish = delta.finish.clone().or_else(|| self.finish.take());
        let is_wanted = match self.carries {
            Carries::Events => delta.sound().is_none(),
            Carries::EventsBeyondText => self.is_owed || delta.is_beyond_text(),
        };
        // An event that ends a choice may wait in its writer for the next.
        self.is_owed = delta.finish.is_some();
        let written = self.inner.delta(delta);
        if let Some(events) = written.filter(|_| is_wanted).map(|text| objects(&text)).filter(|all| !all.is_empty()) {
            frame.insert("events".into(), events.into());
        }
        Some(Value::Object(frame).to_string())
    }

    fn cost(&mut self, cost: &str, billed_seconds: u64) -> Option<String> {
        let mut frame = self.frame("cost");
        frame.insert("cost".into(), cost.into());
        frame.insert("billed_seconds".into(), billed_seconds.into());
        Some(Value::Object(frame).to_string())
    }

    /// None: the socket has pings of its own.
    fn silence(&self) -> Option<String> {
        None
    }

    fn end(&mut self, end: &End) -> String {
        let mut frame = self.done(end);
        let events = objects(&self.inner.end(end));
        if !events.is_empty() && (self.carries == Carries::Events || self.is_owed) {
            frame.insert("events".into(), events.into());
        }
        Value::Object(frame).to_string()
    }

    fn kept(&mut self) -> Option<String> {
        self.inner.kept()
    }

    fn named(&self, delta: &Delta) -> Option<String> {
        self.inner.named(delta)
    }

    fn rename(&mut self) {
        self.inner.rename();
    }

    fn charged(&mut self, end: &End) {
        self.inner.charged(end);
    }

    fn failed(&mut self, error: &Value) -> String {
        // What its format tells of a failure is kept where such answers are.
        drop(self.inner.failed(error));
        error_frame(Some(&self.id), error)
    }
}

impl WholeWriter for LiveWriter {
    /// The last frame, with the answer as its route gives it.
    fn whole(&mut self, deltas: Vec<Delta>, end: &End) -> Vec<u8> {
        let frame = Value::Object(self.done(end)).to_string();
        let whole = self.inner.whole(deltas, end);
        let answer = String::from_utf8(whole).ok().and_then(|json| RawValue::from_string(json).ok());
        let answer = answer.as_deref().map_or("null", RawValue::get);
        // A frame is a line.
        let answer = answer.replace('\n', " ");
        let open = frame.strip_suffix('}').unwrap_or(&frame);
        format!("{open},\"answer\":{answer}}}").into_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        format::{
            ClientFormat, Particulars, Receipt,
            anthropic::Messages,
            openai::{Chat, Embeddings},
        },
        inference::{CallDelta, Usage},
    };

    fn of<F: ClientFormat>(surface: &'static str, carries: Carries, body: &str) -> LiveWriter {
        let request = F::read(body.as_bytes()).unwrap();
        LiveWriter::new(surface, "a".into(), Box::new(F::writer(&request, "1", 1)), carries)
    }

    fn end() -> End {
        let farebox = Particulars { request_id: "r".into(), ..Particulars::default() };
        End { usage: Usage::default(), receipt: Receipt { cost: "0.01".into(), farebox, usage: None }, is_cut: false }
    }

    fn text(text: &str, finish: Option<FinishReason>) -> Delta {
        Delta { text: text.into(), finish, ..Delta::default() }
    }

    const BODY: &str = r#"{"model":"m","messages":[{"role":"user","content":"x"}],"max_tokens":9,"stream":true}"#;

    #[test]
    fn text_is_told_in_the_same_words_in_every_format_and_events_where_they_say_more() {
        let mut chat = of::<Chat>("chat", Carries::EventsBeyondText, BODY);
        let plain: Value = serde_json::from_str(&chat.delta(text("hi", None)).unwrap()).unwrap();
        assert_eq!(plain, json!({"type": "chat.delta", "id": "a", "choice": 0, "delta": "hi"}));
        let call = CallDelta { index: 0, id: Some("c".into()), name: Some("f".into()), ..CallDelta::default() };
        let called = chat.delta(Delta { calls: vec![call], ..Delta::default() }).unwrap();
        let called: Value = serde_json::from_str(&called).unwrap();
        assert_eq!(called["events"][0]["choices"][0]["delta"]["tool_calls"][0]["function"]["name"], "f", "{called}");
        chat.delta(text("", Some(FinishReason::Stop)));
        let done: Value = serde_json::from_str(&chat.end(&end())).unwrap();
        assert_eq!(
            (&done["finish_reason"], &done["cost"], &done["type"]),
            (&json!("stop"), &json!("0.01"), &json!("chat.done"))
        );
        assert_eq!(done["events"][0]["choices"][0]["finish_reason"], "stop", "what waited is not lost: {done}");

        let mut messages = of::<Messages>("messages", Carries::Events, BODY);
        let first: Value = serde_json::from_str(&messages.delta(text("hi", None)).unwrap()).unwrap();
        let kinds: Vec<_> = first["events"].as_array().unwrap().iter().map(|event| event["type"].clone()).collect();
        assert_eq!(kinds[..2], [json!("message_start"), json!("content_block_start")], "{first}");
        let done: Value = serde_json::from_str(&messages.end(&end())).unwrap();
        let last = done["events"].as_array().unwrap().last().unwrap().clone();
        assert_eq!((&done["type"], &last["type"]), (&json!("messages.done"), &json!("message_stop")));
    }

    #[test]
    fn a_whole_answer_is_in_the_last_frame_which_is_one_line() {
        let mut writer = of::<Embeddings>("embeddings", Carries::Events, r#"{"model":"m","input":"x"}"#);
        let frame = String::from_utf8(writer.whole(Vec::new(), &end())).unwrap();
        let read: Value = serde_json::from_str(&frame).unwrap();
        assert_eq!((&read["answer"]["object"], &read["request_id"]), (&json!("list"), &json!("r")), "{frame}");
        assert!(is_last("embeddings", &frame) && !is_last("chat", &frame) && !frame.contains('\n'));
    }

    #[test]
    fn a_frame_has_its_number_and_an_error_is_the_last() {
        let error = error_frame(Some("a"), &json!({"status": 400, "request_id": "r", "code": "x"}));
        assert_eq!(error, r#"{"type":"error","id":"a","status":400,"code":"x"}"#);
        assert_eq!(numbered(&error, 7), r#"{"type":"error","id":"a","status":400,"code":"x","seq":7}"#);
        assert!(is_last("chat", &error) && !is_last("chat", r#"{"type":"chat.delta"}"#));
    }
}
