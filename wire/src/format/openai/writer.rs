//! Answers of chat completions and legacy completions for their client: events of a stream, or one whole answer. A
//! writer remembers what it wrote, so that each choice begins once and ends, under one name for the whole answer.

use std::collections::HashMap;

use serde_json::Value;

use super::{Api, Head, Names, details::Details, request::usage_wanted, whole_calls::WholeCalls};
use crate::{
    format::{AnswerWriter, End, WholeWriter},
    inference::{Delta, Raw, Request},
    sse,
};

/// Writes one answer.
pub struct Writer {
    head: Head,
    names: Names,
    /// Whether the client expects a usage chunk without choices.
    usage_asked: bool,
    /// Choices whose first chunk was written.
    begun: Vec<u32>,
    /// Choices whose finish reason was written.
    finished: Vec<u32>,
    /// The reasoning of each choice that was written in our words, with its proofs.
    details: HashMap<u32, Details>,
    /// The calls so far, where the client reads each in one piece.
    calls: Option<WholeCalls>,
    /// The chunk that ended a choice last, as JSON, where it waits for the usage: a client that expects no chunk of usage
    /// alone takes the last chunk's finish reason for the answer's.
    waiting: Option<String>,
}

impl Writer {
    /// A writer for the answer to a request. `id` has 32 hexadecimal digits; `created` is in seconds since 1970.
    pub fn new(request: &Request, id: &str, created: i64) -> Self {
        let api = Api::of(request.source.format);
        let kind = match api {
            Api::Chat => "chatcmpl-",
            Api::Completions => "cmpl-",
        };
        let head = Head { id: [kind, id].concat(), created, model: request.model.clone(), api };
        let usage_asked = request.stream && usage_wanted(&request.source.body).unwrap_or(false);
        Self {
            names: Names::default(),
            head,
            usage_asked,
            begun: Vec::new(),
            finished: Vec::new(),
            details: HashMap::new(),
            calls: WholeCalls::of(request),
            waiting: None,
        }
    }
}

impl Writer {
    /// A piece of the answer as a chunk, which waits for the usage if it ends a choice. Returns the events to write now.
    fn put(&mut self, chunk: String, ends: bool) -> Option<String> {
        if ends && !self.usage_asked {
            return self.waiting.replace(chunk).map(|before| sse::encode(&before));
        }
        let before = self.waiting.take().map(|before| sse::encode(&before));
        Some(before.unwrap_or_default() + &sse::encode(&chunk))
    }

    /// A piece of the answer as a chunk; `None` where it says nothing to this client.
    fn chunk(&mut self, mut delta: Delta) -> Option<String> {
        if let Some(calls) = &mut self.calls
            && !calls.keep(&mut delta)
        {
            return None;
        }
        if delta.finish.is_some() {
            self.finished.push(delta.choice);
        }
        let first = !self.begun.contains(&delta.choice);
        if first {
            self.begun.push(delta.choice);
        }
        match delta.raw {
            // The original was written with the delta before.
            Raw::Before(format) if format == self.head.api.format() => None,
            Raw::Own(format, mut fields) if format == self.head.api.format() => {
                self.names.unite(&mut fields, &self.head);
                Some(fields.to_json())
            }
            // The frame of an answer of another format.
            Raw::Own(..) | Raw::Before(_) if !first && delta.is_silent() => None,
            Raw::Own(..) | Raw::Before(_) | Raw::None => {
                let speaks = !delta.reasoning.is_empty() || delta.signature.is_some();
                let detail = if speaks { self.details.entry(delta.choice).or_default().add(&delta) } else { None };
                let chunk = self.head.chunk(&delta, first, detail);
                // A piece of ours between a provider's has its names.
                Some(if self.calls.is_some() { self.names.give(chunk) } else { chunk })
            }
        }
    }
}

impl AnswerWriter for Writer {
    fn delta(&mut self, delta: Delta) -> Option<String> {
        let ends = delta.finish.is_some();
        let chunk = self.chunk(delta)?;
        self.put(chunk, ends)
    }

    /// The cost so far, as a comment: the final cost comes in the usage chunk.
    fn cost(&mut self, cost: &str, _billed_seconds: u64) -> Option<String> {
        Some(sse::comment(&format!("cost {cost}")))
    }

    fn silence(&self) -> Option<String> {
        Some(sse::comment("waiting"))
    }

    fn end(&mut self, end: &End) -> String {
        let mut text = String::new();
        if end.is_cut {
            // Each open choice is marked as not whole.
            let open: Vec<u32> = self.begun.iter().filter(|choice| !self.finished.contains(choice)).copied().collect();
            for choice in open {
                let chunk = self.names.give(self.head.chunk(&Delta::cut(choice), false, None));
                text.push_str(&self.put(chunk, true).unwrap_or_default());
            }
        }
        let last = match self.waiting.take() {
            Some(chunk) => self.head.ended_chunk(&chunk, &end.usage, &end.receipt),
            None if self.usage_asked => self.names.give(self.head.usage_chunk(&end.usage, &end.receipt)),
            None => self.names.give(self.head.closing_chunk(&end.usage, &end.receipt)),
        };
        text.push_str(&sse::encode(&last));
        text.push_str(&sse::encode(sse::LAST_WORD));
        text
    }

    fn failed(&mut self, error: &Value) -> String {
        let before = self.waiting.take().map(|before| sse::encode(&before));
        before.unwrap_or_default() + &sse::encode(&error.to_string())
    }
}

impl WholeWriter for Writer {
    fn whole(&mut self, mut deltas: Vec<Delta>, end: &End) -> Vec<u8> {
        if end.is_cut {
            say_cut(&mut deltas);
        }
        self.head.answer(&deltas, &end.usage, &end.receipt)
    }
}

/// Marks each choice of a cut answer as not whole.
fn say_cut(deltas: &mut Vec<Delta>) {
    let mut open: Vec<u32> = deltas.iter().filter(|delta| !delta.raw.is_some()).map(|delta| delta.choice).collect();
    open.sort_unstable();
    open.dedup();
    open.retain(|choice| !deltas.iter().any(|delta| delta.choice == *choice && delta.finish.is_some()));
    deltas.extend(open.into_iter().map(Delta::cut));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        format::{Particulars, Receipt, openai::read_chat},
        inference::{FinishReason, Usage},
    };

    fn chunks(fields: &str, deltas: Vec<Delta>, is_cut: bool) -> Vec<Value> {
        let body = format!(r#"{{"model":"m","messages":[{{"role":"user","content":"x"}}],"stream":true{fields}}}"#);
        let mut writer = Writer::new(&read_chat(body.as_bytes()).unwrap(), "1", 1);
        let mut text: String = deltas.into_iter().filter_map(|delta| writer.delta(delta)).collect();
        let receipt = Receipt { cost: "0.01".into(), farebox: Particulars::default(), usage: None };
        text.push_str(&writer.end(&End { usage: Usage::default(), receipt, is_cut }));
        let data = text.split("\n\n").filter_map(|event| event.strip_prefix("data: "));
        data.filter(|data| *data != "[DONE]").map(|data| serde_json::from_str(data).unwrap()).collect()
    }

    fn said(choice: u32, text: &str, finish: Option<FinishReason>) -> Delta {
        Delta { choice, text: text.to_owned(), finish, ..Delta::default() }
    }

    #[test]
    fn the_chunk_with_the_usage_is_the_one_that_ends_the_answer() {
        let stop = || Some(FinishReason::Stop);
        let told = chunks("", vec![said(0, "hi", None), said(0, "", stop())], false);
        assert_eq!((told.len(), &told[0]["choices"][0]["finish_reason"]), (2, &Value::Null));
        assert_eq!(
            (&told[1]["choices"][0]["finish_reason"], &told[1]["usage"]["cost"]),
            (&"stop".into(), &"0.01".into())
        );
        let of_two = chunks(r#","n":2"#, vec![said(0, "a", stop()), said(1, "b", None), said(1, "", stop())], false);
        let ends: Vec<_> =
            of_two.iter().map(|chunk| (chunk["choices"][0]["index"].clone(), chunk["usage"].is_object())).collect();
        assert_eq!(ends, [(0.into(), false), (1.into(), false), (1.into(), true)]);
        let asked = r#","stream_options":{"include_usage":true}"#;
        let told = chunks(asked, vec![said(0, "hi", stop())], false);
        assert_eq!((told.len(), &told[1]["choices"]), (2, &Value::from(Vec::<Value>::new())));
        let cut = chunks("", vec![said(0, "hi", None)], true);
        assert_eq!((cut.len(), &cut[1]["choices"][0]["finish_reason"]), (2, &"length".into()));
        let asked = read_chat(br#"{"model":"m","messages":[{"role":"user","content":"x"}],"stream":true}"#).unwrap();
        let mut writer = Writer::new(&asked, "1", 1);
        assert_eq!(writer.delta(said(0, "all of it", stop())), None);
        let failed = writer.failed(&Value::Null);
        assert!(failed.contains("all of it") && failed.ends_with("data: null\n\n"), "{failed}");
        let unended = chunks("", vec![said(0, "hi", None)], false);
        assert_eq!((unended.len(), &unended[1]["usage"]["cost"]), (2, &"0.01".into()));
    }
}
