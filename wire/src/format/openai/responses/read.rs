//! Reads what a provider answers to a response's request: typed events, or a whole response. The last event is
//! `Finished` or `Failed`. A stream ends well only with one of its last events (`response.completed`,
//! `response.incomplete`), each of which has the whole response with its usage; `response.failed` has usage too.

use serde_json::{Value, value::RawValue};

use super::{
    super::{provider::fault, usage},
    FORMAT, output,
};
use crate::{
    fields::Fields,
    format::{AnswerReader, FINISHED, LARGEST_ANSWER},
    inference::{CallDelta, Delta, Event, Failure, FinishReason, Raw},
    sse::{Decoder, SseEvent},
    usage::Report,
};

/// Reads the whole answer to a request that did not ask for a stream.
pub fn read_answer(body: &[u8]) -> Vec<Event> {
    let text = String::from_utf8_lossy(body);
    let text = text.trim_start_matches('\u{feff}').trim();
    let mut events = Vec::new();
    if text.starts_with(['{', '[']) {
        whole(text, true, &mut events);
        return events;
    }
    let (mut reader, mut pieces) = (Reader::default(), Vec::new());
    reader.feed(body, &mut pieces);
    reader.end(&mut pieces);
    let last = pieces.iter().rev().find_map(|event| match event {
        Event::Delta(Delta { raw: Raw::Own(_, fields), .. }) if is_last(fields) => fields.present("response"),
        _ => None,
    });
    match last {
        Some(response) => whole(response, true, &mut events),
        None => {
            events.extend(pieces.into_iter().filter(|event| matches!(event, Event::Reported(_) | Event::Failed(_))));
        }
    }
    events
}

fn is_last(fields: &Fields) -> bool {
    matches!(kind_of(fields).as_deref(), Some("response.completed" | "response.incomplete"))
}

fn kind_of(fields: &Fields) -> Option<String> {
    fields.string("type").ok().flatten()
}

/// Appends the events of a whole response. `keeps` says whether the client gets the provider's own response.
fn whole(text: &str, keeps: bool, events: &mut Vec<Event>) {
    let fail = |events: &mut Vec<Event>, failure| events.push(Event::Failed(failure));
    let Ok(mut fields) = Fields::of(text) else {
        let words = fault::text_words(text);
        return fail(events, Failure::Transport(format!("the provider's answer is not a response: {words}")));
    };
    let report = report(&fields);
    let status = fields.string("status").ok().flatten();
    let failed = status.as_deref() == Some("failed") || fields.present("error").is_some_and(is_telling);
    if failed || fields.present("output").is_none() {
        events.extend(report);
        let value: Value = serde_json::from_str(text).unwrap_or_default();
        let error = if failed || value.get("message").is_some() {
            fault::in_answer(&value, text)
        } else {
            fault::in_words("the provider's answer has no output")
        };
        return fail(events, Failure::Provider(Box::new(error)));
    }
    let mut delta = output::written(&fields);
    delta.finish = Some(finish(&fields, !delta.calls.is_empty()));
    fields.remove("usage");
    delta.raw = if keeps { Raw::Own(FORMAT, fields) } else { Raw::None };
    events.push(Event::Delta(delta));
    events.extend(report);
    events.push(FINISHED);
}

/// Whether the value of an `error` member is an error.
fn is_telling(json: &str) -> bool {
    serde_json::from_str(json).is_ok_and(|value| fault::is_telling(&value))
}

/// The usage of a response, with what its tools used.
fn report(response: &Fields) -> Option<Event> {
    let mut report: Report = usage::report(response)?;
    let tools = response.read::<Value>("tool_usage", "an object").ok().flatten().unwrap_or_default();
    let searches = tools.pointer("/web_search/num_requests").and_then(Value::as_u64);
    report.web_searches = report.web_searches.max(searches.unwrap_or_else(|| output::searches(response)));
    Some(Event::Reported(Box::new(report)))
}

/// Why a response ended.
fn finish(response: &Fields, calls: bool) -> FinishReason {
    let details = response.object("incomplete_details", "an object").ok().flatten();
    let reason = details.and_then(|details| details.string("reason").ok().flatten());
    match (response.string("status").ok().flatten().as_deref(), reason.as_deref()) {
        (Some("incomplete"), Some("content_filter")) => FinishReason::ContentFilter,
        (Some("incomplete"), Some("max_output_tokens" | "max_messages") | None) => FinishReason::Length,
        (Some("incomplete"), Some(other)) => FinishReason::Other(other.to_owned()),
        _ if calls => FinishReason::ToolCalls,
        _ => FinishReason::Stop,
    }
}

/// Reads an answer that was requested as a stream, piece by piece.
#[derive(Default)]
pub struct Reader {
    /// The body so far, while it may be a whole response and not a stream.
    begun: Vec<u8>,
    is_stream: bool,
    decoder: Decoder,
    /// How many pieces of the answer came.
    pieces: usize,
    has_calls: bool,
    over: bool,
}

impl AnswerReader for Reader {
    fn is_over(&self) -> bool {
        self.over
    }

    fn feed(&mut self, bytes: &[u8], events: &mut Vec<Event>) {
        if self.over {
            return;
        }
        if self.is_stream {
            return self.decode(bytes, events);
        }
        self.begun.extend_from_slice(bytes);
        match self.begun.trim_ascii_start().first() {
            None => self.begun.clear(),
            Some(b'{' | b'[') if self.begun.len() > LARGEST_ANSWER => {
                self.fail(Failure::TooLarge(LARGEST_ANSWER), events);
            }
            Some(b'{' | b'[') => {}
            Some(_) => {
                self.is_stream = true;
                let begun = std::mem::take(&mut self.begun);
                self.decode(&begun, events);
            }
        }
    }

    fn end(&mut self, events: &mut Vec<Event>) {
        self.finish(Failure::Transport("the provider's stream was cut".into()), events);
    }

    fn cut(&mut self, failure: Failure, events: &mut Vec<Event>) {
        self.finish(failure, events);
    }
}

impl Reader {
    fn decode(&mut self, bytes: &[u8], events: &mut Vec<Event>) {
        let mut sse_events = Vec::new();
        let fed = self.decoder.feed(bytes, &mut sse_events);
        for event in &sse_events {
            self.event(event, false, events);
        }
        if let Err(error) = fed {
            self.fail(Failure::Transport(error.to_string()), events);
        }
    }

    /// Ends the body, which was cut where the last event has not come.
    fn finish(&mut self, failure: Failure, events: &mut Vec<Event>) {
        if self.over {
            return;
        }
        if !self.is_stream && !self.begun.trim_ascii().is_empty() {
            let text = String::from_utf8_lossy(&self.begun).into_owned();
            self.over = true;
            return whole(text.trim(), false, events);
        }
        let mut sse_events = Vec::new();
        self.decoder.end(&mut sse_events);
        for event in &sse_events {
            self.event(event, true, events);
        }
        self.fail(failure, events);
    }

    fn fail(&mut self, failure: Failure, events: &mut Vec<Event>) {
        if !std::mem::replace(&mut self.over, true) {
            events.push(Event::Failed(failure));
        }
    }

    fn event(&mut self, event: &SseEvent, may_be_cut: bool, events: &mut Vec<Event>) {
        let data = event.data.trim();
        if self.over || data.is_empty() || data == "[DONE]" {
            return;
        }
        let Ok(fields) = Fields::of(data) else {
            let is_known = event.is_stray || !event.name.starts_with("response.");
            return match (may_be_cut, is_known) {
                (true, _) => {}
                (false, true) => events.push(Event::Unknown(Raw::None)),
                (false, false) => {
                    self.fail(Failure::Transport("an event of the provider's is not of a known shape".into()), events);
                }
            };
        };
        let kind = kind_of(&fields).unwrap_or_else(|| event.name.clone());
        match &*kind {
            "error" => self.error(data, events),
            "response.completed" | "response.incomplete" | "response.failed" => self.last(&kind, fields, events),
            _ if kind.starts_with("response.") => {
                let mut delta = self.piece(&kind, &fields);
                delta.raw = Raw::Own(FORMAT, fields);
                self.pieces += 1;
                events.push(Event::Delta(delta));
            }
            // A frame that is no event of the format may be an error all the same.
            _ if fields.present("error").is_some_and(is_telling) => self.error(data, events),
            _ => events.push(Event::Unknown(Raw::Own(FORMAT, fields))),
        }
    }

    fn error(&mut self, data: &str, events: &mut Vec<Event>) {
        let value: Value = serde_json::from_str(data).unwrap_or_default();
        self.fail(Failure::Provider(Box::new(fault::in_answer(&value, data))), events);
    }

    /// The last event, with the whole response.
    fn last(&mut self, kind: &str, fields: Fields, events: &mut Vec<Event>) {
        let response = fields.object("response", "an object").ok().flatten().unwrap_or_default();
        let report = report(&response);
        if kind == "response.failed" {
            let text = response.to_json();
            // Before any piece a failure is no answer. After one, its event has the usage for the client.
            if self.pieces > 0 {
                events.push(Event::Delta(Delta { raw: Raw::Own(FORMAT, fields), ..Delta::default() }));
            }
            events.extend(report);
            return self.error(&text, events);
        }
        let finish = Some(finish(&response, self.has_calls));
        events.push(Event::Delta(Delta { finish, raw: Raw::Own(FORMAT, fields), ..Delta::default() }));
        events.extend(report);
        events.push(FINISHED);
        self.over = true;
    }

    /// What an event adds to the answer.
    fn piece(&mut self, kind: &str, fields: &Fields) -> Delta {
        let text = |name: &str| fields.string(name).ok().flatten().unwrap_or_default();
        let index = fields.whole("output_index", 0, u64::from(u32::MAX)).ok().flatten();
        let index = index.and_then(|index| u32::try_from(index).ok()).unwrap_or(0);
        let mut delta = Delta::default();
        match kind {
            "response.output_text.delta" => delta.text = text("delta"),
            "response.refusal.delta" => delta.refusal = text("delta"),
            "response.reasoning_text.delta" | "response.reasoning_summary_text.delta" => {
                delta.reasoning = text("delta");
            }
            "response.function_call_arguments.delta"
            | "response.custom_tool_call_input.delta"
            | "response.mcp_call_arguments.delta" => {
                delta.calls.push(CallDelta { index, arguments: text("delta"), ..CallDelta::default() });
            }
            "response.output_item.added" => {
                let item: Option<&RawValue> = fields.get("item").and_then(|json| serde_json::from_str(json).ok());
                if let Some((id, name)) = item.and_then(|item| output::called(item.get())) {
                    self.has_calls = true;
                    delta.calls.push(CallDelta { index, id, name: Some(name), arguments: String::new() });
                }
            }
            _ => {}
        }
        delta
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const RESPONSE: &str = r#"{"id":"resp_1","object":"response","status":"completed","output":[
        {"type":"reasoning","id":"r","summary":[{"type":"summary_text","text":"hm"}]},
        {"type":"message","id":"m","role":"assistant","content":[{"type":"output_text","text":"hello","annotations":[]}]},
        {"type":"function_call","id":"f","call_id":"c","name":"sky","arguments":"{}"}],
        "usage":{"input_tokens":100,"input_tokens_details":{"cached_tokens":40},"output_tokens":9,
        "output_tokens_details":{"reasoning_tokens":4},"total_tokens":109},
        "tool_usage":{"web_search":{"num_requests":2}}}"#;

    fn stream() -> String {
        let event = |kind: &str, rest: &str| format!("event: {kind}\ndata: {{\"type\":\"{kind}\"{rest}}}\n\n");
        let last = format!(r#","response":{}"#, RESPONSE.replace('\n', ""));
        [
            event("response.created", r#","sequence_number":0,"response":{"id":"resp_1"}"#),
            event("response.reasoning_summary_text.delta", r#","delta":"hm""#),
            event("response.output_text.delta", r#","output_index":1,"delta":"hel""#),
            "data: {\"type\":\"keepalive\"}\n\n".to_owned(),
            event("response.output_text.delta", r#","output_index":1,"delta":"lo""#),
            event(
                "response.output_item.added",
                r#","output_index":2,"item":{"type":"function_call","call_id":"c","name":"sky","arguments":""}"#,
            ),
            event("response.function_call_arguments.delta", r#","output_index":2,"delta":"{}""#),
            event("response.completed", &last),
        ]
        .concat()
    }

    fn read(pieces: &[&[u8]]) -> Vec<Event> {
        let (mut reader, mut events) = (Reader::default(), Vec::new());
        for piece in pieces {
            reader.feed(piece, &mut events);
        }
        reader.end(&mut events);
        events
    }

    fn told(events: &[Event]) -> (String, String, String, Option<FinishReason>) {
        let deltas =
            || events.iter().filter_map(|event| if let Event::Delta(delta) = event { Some(delta) } else { None });
        let calls = deltas().flat_map(|delta| &delta.calls);
        let calls = calls.map(|call| format!("{}{}", call.name.as_deref().unwrap_or_default(), call.arguments));
        (
            deltas().map(|delta| &*delta.text).collect(),
            deltas().map(|delta| &*delta.reasoning).collect(),
            calls.collect(),
            deltas().find_map(|delta| delta.finish.clone()),
        )
    }

    fn usage_of(events: &[Event]) -> (Option<u64>, u64, Option<u64>, u64, u64) {
        let report =
            events.iter().find_map(|event| if let Event::Reported(report) = event { Some(report) } else { None });
        let report = report.unwrap();
        (report.input, report.cached_input, report.output, report.reasoning, report.web_searches)
    }

    #[test]
    fn a_stream_and_a_whole_response_say_the_same() {
        let expected = ("hello".into(), "hm".into(), "sky{}".into(), Some(FinishReason::ToolCalls));
        for events in [read(&[stream().as_bytes()]), read_answer(RESPONSE.as_bytes()), read_answer(stream().as_bytes())]
        {
            assert_eq!(told(&events), expected);
            assert_eq!(usage_of(&events), (Some(100), 40, Some(9), 4, 2));
            assert_eq!(events.last(), Some(&FINISHED));
        }
        // A server that does not stream.
        assert_eq!(told(&read(&[RESPONSE.as_bytes()])), expected);
    }

    #[test]
    fn a_stream_split_anywhere_is_the_same_stream() {
        let stream = stream();
        let whole = read(&[stream.as_bytes()]);
        for at in 0..stream.len() {
            let (head, tail) = stream.as_bytes().split_at(at);
            assert_eq!(read(&[head, tail]), whole, "split at {at}");
        }
    }

    #[test]
    fn a_stream_cut_anywhere_before_its_last_event_has_failed() {
        let stream = stream();
        let last = stream.find("event: response.completed").unwrap();
        for at in 0..last {
            let events = read(&[&stream.as_bytes()[..at]]);
            assert!(matches!(events.last(), Some(Event::Failed(_))), "cut at {at}");
        }
    }

    #[test]
    fn failures_say_why_and_keep_their_usage() {
        let failed = r#"data: {"type":"response.failed","response":{"status":"failed","error":{"code":"rate_limit_exceeded","message":"slow"},"usage":{"input_tokens":5,"output_tokens":1}}}"#;
        let events = read(&[failed.as_bytes(), b"\n\n"]);
        let [Event::Reported(report), Event::Failed(Failure::Provider(error))] = &events[..] else {
            panic!("{events:?}")
        };
        assert_eq!((report.input, error.status, error.code.as_deref()), (Some(5), 429, Some("rate_limit_exceeded")));
        let begun = "data: {\"type\":\"response.created\",\"response\":{\"id\":\"r\"}}\n\n";
        let events = read(&[begun.as_bytes(), failed.as_bytes(), b"\n\n"]);
        let [Event::Delta(_), Event::Delta(last), Event::Reported(_), Event::Failed(_)] = &events[..] else {
            panic!("{events:?}")
        };
        assert!(last.finish.is_none() && last.raw.of(FORMAT).is_some_and(|event| event.to_json().contains("usage")));
        let event = "event: error\ndata: {\"type\":\"error\",\"code\":\"server_error\",\"message\":\"oh\"}\n\n";
        let events = read(&[event.as_bytes()]);
        assert!(
            matches!(&events[..], [Event::Failed(Failure::Provider(error))] if error.message == "oh"),
            "{events:?}"
        );
        for body in [r#"{"error":{"message":"no"}}"#, "{}", "7", "[]", "", "nonsense", r#"{"status":"failed"}"#] {
            assert!(matches!(read_answer(body.as_bytes()).last(), Some(Event::Failed(_))), "{body}");
        }
    }

    #[test]
    fn a_response_that_is_not_complete_says_why() {
        let of = |reason: &str| {
            let body = format!(r#"{{"status":"incomplete","incomplete_details":{{"reason":"{reason}"}},"output":[]}}"#);
            told(&read_answer(body.as_bytes())).3.unwrap()
        };
        assert_eq!(of("max_output_tokens"), FinishReason::Length);
        assert_eq!(of("content_filter"), FinishReason::ContentFilter);
        assert_eq!(of("steered"), FinishReason::Other("steered".into()));
    }

    proptest! {
        #[test]
        fn no_body_panics_and_each_has_one_end(body in ".{0,300}", at in 0_usize..300) {
            for body in [body.clone(), format!("data: {body}\n\n"), format!("data: {{\"type\":\"response.{body}\"}}\n\n")] {
                let (head, tail) = body.as_bytes().split_at(at.min(body.len()));
                for events in [read(&[head, tail]), read_answer(body.as_bytes())] {
                    let ends = events.iter().filter(|event| matches!(event, Event::Finished { .. } | Event::Failed(_)));
                    prop_assert_eq!(ends.count(), 1);
                }
            }
        }
    }
}
