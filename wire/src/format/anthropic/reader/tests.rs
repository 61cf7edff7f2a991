use serde_json::{Value, json};

use super::*;
use crate::{
    inference::{FinishReason, ProviderError},
    usage::Report,
};

/// A stream as the public documentation shows it: thoughts, a text, a call of a tool, and what is not known.
const STREAM: &str = concat!(
    "event: message_start\ndata: {\"type\":\"message_start\",\"message\":{\"id\":\"msg_1\",\"type\":\"message\",\"role\":\"assistant\",\"model\":\"claude-x\",\"content\":[],\"stop_reason\":null,\"stop_sequence\":null,\"usage\":{\"input_tokens\":25,\"cache_read_input_tokens\":7,\"output_tokens\":1}}}\n\n",
    "event: content_block_start\ndata: {\"type\":\"content_block_start\",\"index\":0,\"content_block\":{\"type\":\"thinking\",\"thinking\":\"\",\"signature\":\"\"}}\n\n",
    "event: ping\ndata: {\"type\": \"ping\"}\n\n",
    "event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"index\":0,\"delta\":{\"type\":\"thinking_delta\",\"thinking\":\"hm é\"}}\n\n",
    "event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"index\":0,\"delta\":{\"type\":\"signature_delta\",\"signature\":\"c2ln\"}}\n\n",
    "event: content_block_stop\ndata: {\"type\":\"content_block_stop\",\"index\":0}\n\n",
    "event: content_block_start\ndata: {\"type\":\"content_block_start\",\"index\":1,\"content_block\":{\"type\":\"text\",\"text\":\"\"}}\n\n",
    "event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"index\":1,\"delta\":{\"type\":\"text_delta\",\"text\":\"Hello\"}}\n\n",
    "event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"index\":1,\"delta\":{\"type\":\"delta_of_tomorrow\",\"x\":1}}\n\n",
    "event: content_block_stop\ndata: {\"type\":\"content_block_stop\",\"index\":1}\n\n",
    "event: event_of_tomorrow\ndata: {\"type\":\"event_of_tomorrow\",\"x\":1}\n\n",
    "event: content_block_start\ndata: {\"type\":\"content_block_start\",\"index\":2,\"content_block\":{\"type\":\"tool_use\",\"id\":\"toolu_1\",\"name\":\"sky\",\"input\":{}}}\n\n",
    "event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"index\":2,\"delta\":{\"type\":\"input_json_delta\",\"partial_json\":\"\"}}\n\n",
    "event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"index\":2,\"delta\":{\"type\":\"input_json_delta\",\"partial_json\":\"{\\\"at\\\":1}\"}}\n\n",
    "event: content_block_stop\ndata: {\"type\":\"content_block_stop\",\"index\":2}\n\n",
    "event: message_delta\ndata: {\"type\":\"message_delta\",\"delta\":{\"stop_reason\":\"tool_use\",\"stop_sequence\":null},\"usage\":{\"output_tokens\":89}}\n\n",
    "event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n",
);

fn read(pieces: &[&[u8]]) -> Vec<Event> {
    let (mut reader, mut events) = (Reader::default(), Vec::new());
    for piece in pieces {
        reader.feed(piece, &mut events);
    }
    reader.end(&mut events);
    assert!(reader.is_over());
    events
}

fn deltas(events: &[Event]) -> Vec<&Delta> {
    events.iter().filter_map(|event| if let Event::Delta(delta) = event { Some(delta) } else { None }).collect()
}

fn reports(events: &[Event]) -> Vec<&Report> {
    events.iter().filter_map(|event| if let Event::Reported(report) = event { Some(&**report) } else { None }).collect()
}

fn failure(events: &[Event]) -> &Failure {
    let Some(Event::Failed(failure)) = events.last() else { panic!("{events:?}") };
    failure
}

fn refused(events: &[Event]) -> &ProviderError {
    let Failure::Provider(error) = failure(events) else { panic!("{events:?}") };
    error
}

#[test]
fn a_stream_is_read_to_the_neutral_words_and_each_event_is_kept() {
    let events = read(&[STREAM.as_bytes()]);
    let all = deltas(&events);
    let joined = |part: fn(&Delta) -> &str| all.iter().map(|delta| part(delta)).collect::<String>();
    assert_eq!((joined(|delta| &delta.text), joined(|delta| &delta.reasoning)), ("Hello".into(), "hm é".into()));
    assert_eq!(all.iter().find_map(|delta| delta.signature.as_deref()), Some("c2ln"));
    let calls: Vec<_> = all.iter().flat_map(|delta| &delta.calls).collect();
    assert_eq!((calls[0].index, calls[0].id.as_deref(), calls[0].name.as_deref()), (0, Some("toolu_1"), Some("sky")));
    assert_eq!(calls.iter().map(|call| &*call.arguments).collect::<String>(), r#"{"at":1}"#);
    assert_eq!(all.iter().find_map(|delta| delta.finish.clone()), Some(FinishReason::ToolCalls));
    let told: Vec<_> = reports(&events).into_iter().map(|report| (report.input, report.output)).collect();
    assert_eq!(told, [(Some(32), Some(1)), (None, Some(89))]);
    assert_eq!(events.last(), Some(&FINISHED));
    let kept = |event: &Event| match event {
        Event::Delta(Delta { raw: Raw::Own(_, fields), .. }) | Event::Unknown(Raw::Own(_, fields)) => {
            Some(fields.to_json())
        }
        _ => None,
    };
    let sent: Vec<_> = STREAM.lines().filter_map(|line| line.strip_prefix("data: ")).map(str::to_owned).collect();
    assert_eq!(events.iter().filter_map(kept).collect::<Vec<_>>(), sent, "nothing is lost");
}

#[test]
fn a_stream_cut_at_every_byte_is_the_same_stream() {
    let (bytes, expected) = (STREAM.as_bytes(), read(&[STREAM.as_bytes()]));
    for cut in 0..=bytes.len() {
        assert_eq!(read(&[&bytes[..cut], &bytes[cut..]]), expected, "cut at {cut}");
    }
    assert_eq!(read(&bytes.chunks(1).collect::<Vec<_>>()), expected);
}

#[test]
fn a_stream_that_ends_at_any_byte_before_its_end_has_failed() {
    let end = STREAM.len() - 2;
    for cut in 0..end {
        let events = read(&[&STREAM.as_bytes()[..cut]]);
        let is_whole = events.last() == Some(&FINISHED);
        assert!(!is_whole || cut >= end - 1, "{cut}: {events:?}");
        assert!(is_whole || matches!(failure(&events), Failure::Transport(_)), "{cut}: {events:?}");
    }
    let (mut reader, mut events) = (Reader::default(), Vec::new());
    reader.feed(&STREAM.as_bytes()[..900], &mut events);
    reader.cut(Failure::Timeout("idle"), &mut events);
    assert_eq!(failure(&events), &Failure::Timeout("idle"));
}

const WHOLE: &str = r#"{"id":"msg_1","type":"message","role":"assistant","model":"claude-x","content":[
    {"type":"thinking","thinking":"hm","signature":"s"},{"type":"redacted_thinking","data":"d"},{"type":"text","text":"Hello"},
    {"type":"tool_use","id":"t","name":"sky","input":{"at": 1}},{"type":"tool_use","id":"u","name":"sea","input":{}},
    {"type":"block_of_tomorrow","x":1}],"stop_reason":"tool_use","stop_sequence":null,"x":1,
    "usage":{"input_tokens":25,"output_tokens":8}}"#;

#[test]
fn a_whole_answer_is_a_piece_for_each_block() {
    let events = read_whole(WHOLE.as_bytes());
    let all = deltas(&events);
    assert_eq!(all.len(), 6);
    assert_eq!((&*all[0].reasoning, all[0].signature.as_deref()), ("hm", Some("s")));
    assert_eq!(all[1].signature.as_deref(), Some("redacted_thinking:d"));
    assert_eq!(&*all[2].text, "Hello");
    let calls: Vec<_> = all.iter().flat_map(|delta| &delta.calls).map(|call| (call.index, &*call.arguments)).collect();
    assert_eq!(calls, [(0, r#"{"at": 1}"#), (1, "{}")]);
    assert_eq!(all[5].finish, Some(FinishReason::ToolCalls));
    let raw = all[0].raw.of(Format::AnthropicMessages).unwrap();
    assert!(raw.get("usage").is_none() && raw.get("x").is_some());
    assert_eq!(reports(&events)[0].own.as_deref(), Some(r#"{"input_tokens":25,"output_tokens":8}"#));
    assert_eq!(events.last(), Some(&FINISHED));
    // Asked for as a stream, it is the same in neutral words.
    let streamed = read(&[WHOLE.as_bytes()]);
    assert!(deltas(&streamed).iter().all(|delta| delta.raw == Raw::None) && streamed.last() == Some(&FINISHED));
    let gathered = read_whole(STREAM.as_bytes());
    assert!(deltas(&gathered).iter().all(|delta| delta.raw == Raw::None) && gathered.last() == Some(&FINISHED));
}

#[test]
fn a_count_is_a_report() {
    let body = r#"{"input_tokens":2095,"context_management":{"original_input_tokens":70000}}"#;
    let events = read_whole(body.as_bytes());
    let [report] = reports(&events)[..] else { panic!("{events:?}") };
    assert_eq!((report.input, report.own.as_deref()), (Some(2_095), Some(body)));
}

#[test]
fn a_refusal_before_any_output_is_free_and_one_after_is_not() {
    let start = json!({"type": "message_start", "message": {"usage": {"input_tokens": 50_000, "output_tokens": 1}}});
    let end = json!({"type": "message_delta", "delta": {"stop_reason": "refusal"}, "usage": {"output_tokens": 1}});
    let begun = json!({"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}});
    let said = json!({"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "I"}});
    let stop = json!({"type": "message_stop"});
    let free = |events: &[&Value]| {
        let frame = |event: &&Value| {
            format!(
                "event: {}
data: {event}

",
                event["type"].as_str().unwrap()
            )
        };
        let stream = events.iter().map(frame).collect::<Vec<_>>().concat();
        let events = read(&[stream.as_bytes()]);
        assert_eq!(events.last(), Some(&FINISHED));
        reports(&events).into_iter().cloned().reduce(Report::gain).unwrap().is_free
    };
    assert!(free(&[&start, &end, &stop]) && free(&[&start, &begun, &end, &stop]));
    assert!(!free(&[&start, &begun, &said, &end, &stop]));
    let whole = |content: Value| {
        let body =
            json!({"content": content, "stop_reason": "refusal", "usage": {"input_tokens": 5, "output_tokens": 1}});
        reports(&read_whole(body.to_string().as_bytes()))[0].is_free
    };
    assert!(whole(json!([])) && !whole(json!([{"type": "text", "text": "I"}])));
}

#[test]
fn errors_are_told_wherever_they_stand() {
    let error = r#"{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"},"request_id":"r"}"#;
    let begun = STREAM.split("event: ping").next().unwrap();
    for stream in [
        format!("{begun}event: error\ndata: {error}\n\n"),
        format!("event: error\ndata: {error}\n\n"),
        format!("{begun}{error}\n\n"),
    ] {
        let events = read(&[stream.as_bytes()]);
        assert_eq!((refused(&events).status, &*refused(&events).message), (529, "Overloaded"), "{stream}");
    }
    assert_eq!(refused(&read_whole(error.as_bytes())).status, 529);
    assert_eq!(refused(&read(&[error.as_bytes()])).status, 529);
    assert_eq!(refused(&read_whole(b"{\"what\":1}")).status, 200);
    for (body, words) in [("<html>Bad gateway</html>", "Bad gateway"), ("", "")] {
        let events = read_whole(body.as_bytes());
        let Failure::Transport(why) = failure(&events) else { panic!("{events:?}") };
        assert!(why.contains(words), "{why}");
    }
    let broken = read(&[format!("{begun}event: content_block_delta\ndata: {{garbage\n\n").as_bytes()]);
    assert!(matches!(failure(&broken), Failure::Transport(_)));
    assert!(matches!(failure(&read(&[b""])), Failure::Transport(_)));
    assert_eq!(refused(&read(&[b"event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n"])).status, 200);
}

#[test]
fn a_call_without_input_has_an_empty_object_and_its_answer_the_reason_of_calls() {
    let begin = STREAM.find("event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"index\":2,\"delta\":{\"type\":\"input_json_delta\",\"partial_json\":\"{").unwrap();
    let end = STREAM.find("event: content_block_stop\ndata: {\"type\":\"content_block_stop\",\"index\":2}").unwrap();
    let bare = [&STREAM[..begin], &STREAM[end..]]
        .concat()
        .replace("\"stop_reason\":\"tool_use\"", "\"stop_reason\":\"end_turn\"");
    let events = read(&[bare.as_bytes()]);
    let arguments: String =
        deltas(&events).iter().flat_map(|delta| &delta.calls).map(|call| &*call.arguments).collect();
    assert_eq!(arguments, "{}");
    let finish = deltas(&events).into_iter().find_map(|delta| delta.finish.clone());
    assert_eq!(finish, Some(FinishReason::ToolCalls));
}

#[test]
fn a_stop_text_is_told_with_the_end() {
    let told = STREAM.replace(
        "\"stop_reason\":\"tool_use\",\"stop_sequence\":null",
        "\"stop_reason\":\"stop_sequence\",\"stop_sequence\":\"END\"",
    );
    let finish = deltas(&read(&[told.as_bytes()])).into_iter().find_map(|delta| delta.finish.clone());
    assert_eq!(finish, Some(FinishReason::StopText(Some("END".into()))));
}
