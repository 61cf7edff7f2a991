use super::*;
use crate::{
    format::{ProviderFormat as _, cohere::Cohere},
    inference::{CallDelta, Event},
};

const ID: &str = "0123";

fn end(usage: Option<&str>) -> End {
    let receipt = Receipt { cost: "0.01".into(), farebox: Particulars::default(), usage: usage.map(Box::from) };
    End { usage: Usage { input: 7, output: 6, cached_input: 2, ..Usage::default() }, receipt, is_cut: false }
}

/// The types and the data of a stream's events, which must end with the last word.
fn events(text: &str) -> Vec<(String, Value)> {
    let text = text.strip_suffix("data: [DONE]\n\n").unwrap_or_else(|| panic!("{text}"));
    let event = |event: &str| {
        let (kind, data) = event.strip_prefix("event: ").unwrap().split_once("\ndata: ").unwrap();
        let data: Value = serde_json::from_str(data).unwrap();
        assert_eq!(data["type"], kind);
        (kind.to_owned(), data)
    };
    text.split_terminator("\n\n").map(event).collect()
}

fn kinds(events: &[(String, Value)]) -> Vec<&str> {
    events.iter().map(|(kind, _)| kind.as_str()).collect()
}

fn streamed(deltas: &[Delta], end: &End) -> Vec<(String, Value)> {
    let mut writer = Writer::new(ID);
    let mut text: String = deltas.iter().filter_map(|delta| writer.delta(delta.clone())).collect();
    text.push_str(&writer.end(end));
    events(&text)
}

fn call(index: u32, id: Option<&str>, arguments: &str) -> Delta {
    let name = id.map(|_| "sky".to_owned());
    let call = CallDelta { index, id: id.map(str::to_owned), name, arguments: arguments.into() };
    Delta { calls: vec![call], ..Delta::default() }
}

fn spoken() -> Vec<Delta> {
    let text = |text: &str| Delta { text: text.into(), ..Delta::default() };
    vec![
        Delta { reasoning: "hm".into(), ..Delta::default() },
        text("Hel"),
        text("lo"),
        call(0, Some("a"), "{\"x\""),
        call(0, None, ":1}"),
        call(1, Some("b"), ""),
        Delta { finish: Some(FinishReason::ToolCalls), ..Delta::default() },
    ]
}

#[test]
fn neutral_words_become_events_in_their_order() {
    let events = streamed(&spoken(), &end(None));
    let expected = [
        "message-start",
        "content-start",
        "content-delta",
        "content-end",
        "content-start",
        "content-delta",
        "content-delta",
        "content-end",
        "tool-call-start",
        "tool-call-delta",
        "tool-call-delta",
        "tool-call-end",
        "tool-call-start",
        "tool-call-delta",
        "tool-call-end",
        "message-end",
    ];
    assert_eq!(kinds(&events), expected);
    let of = |place: usize| events[place].1.clone();
    assert_eq!((&of(0)["id"], &of(0)["delta"]["message"]["role"]), (&json!(ID), &json!("assistant")));
    assert_eq!(of(1)["delta"]["message"]["content"], json!({"type": "thinking", "thinking": ""}));
    assert_eq!((&of(5)["index"], &of(5)["delta"]["message"]["content"]), (&json!(1), &json!({"text": "Hel"})));
    let begun = json!({"id": "a", "type": "function", "function": {"name": "sky", "arguments": ""}});
    assert_eq!((&of(8)["index"], &of(8)["delta"]["message"]["tool_calls"]), (&json!(0), &begun));
    assert_eq!((&of(12)["index"], &of(12)["delta"]["message"]["tool_calls"]["id"]), (&json!(1), &json!("b")));
    let arguments = "/delta/message/tool_calls/function/arguments";
    assert_eq!(of(13).pointer(arguments), Some(&json!("{}")), "a call of nothing has an empty object");
    let usage = json!({"billed_units": {"input_tokens": 7, "output_tokens": 6}, "tokens": {"input_tokens": 7, "output_tokens": 6},
        "cached_tokens": 2, "cost": "0.01"});
    assert_eq!(of(15)["delta"], json!({"finish_reason": "TOOL_CALL", "usage": usage}));
    assert!(of(15)["farebox"].is_object());
}

#[test]
fn arguments_that_come_in_turns_are_those_of_their_calls() {
    let more = |index, arguments| call(index, None, arguments);
    let deltas = [
        call(0, Some("a"), ""),
        call(1, Some("b"), ""),
        more(1, "{\"y\""),
        more(0, "{\"x\":1}"),
        more(1, ":2}"),
        Delta { finish: Some(FinishReason::ToolCalls), ..Delta::default() },
    ];
    let told = streamed(&deltas, &end(None));
    let mut arguments = [String::new(), String::new()];
    let mut open = None;
    for (kind, event) in &told {
        let index = event["index"].as_u64().and_then(|index| usize::try_from(index).ok());
        match &**kind {
            "tool-call-start" => assert_eq!(std::mem::replace(&mut open, index), None, "{event}"),
            "tool-call-end" => assert_eq!(open.take(), index, "{event}"),
            "tool-call-delta" => {
                assert_eq!(open, index, "{event}");
                let more = event.pointer("/delta/message/tool_calls/function/arguments").unwrap();
                arguments[index.unwrap()].push_str(more.as_str().unwrap());
            }
            _ => {}
        }
    }
    assert_eq!(arguments, ["{\"x\":1}", "{\"y\":2}"]);
}

#[test]
fn a_whole_answer_has_the_same_words() {
    let whole = |deltas| -> Value { serde_json::from_slice(&Writer::new(ID).whole(deltas, &end(None))).unwrap() };
    let told = whole(spoken());
    let function = |id: &str, arguments: &str| json!({"id": id, "type": "function", "function": {"name": "sky", "arguments": arguments}});
    let message = json!({"role": "assistant",
        "content": [{"type": "thinking", "thinking": "hm"}, {"type": "text", "text": "Hello"}],
        "tool_calls": [function("a", "{\"x\":1}"), function("b", "{}")]});
    assert_eq!((&told["id"], &told["finish_reason"], &told["message"]), (&json!(ID), &json!("TOOL_CALL"), &message));
    assert_eq!((&told["usage"]["cost"], &told["usage"]["cached_tokens"]), (&json!("0.01"), &json!(2)));
    let silent = whole(Vec::new());
    assert_eq!(silent["message"], json!({"role": "assistant", "content": []}));
    assert_eq!(silent["finish_reason"], "MAX_TOKENS");
}

#[test]
fn a_proof_stands_with_its_reasoning_and_without_one_nowhere() {
    let proof = |text: &str, reasoning: &str| Delta {
        text: text.into(),
        reasoning: reasoning.into(),
        signature: Some("proof".into()),
        ..Delta::default()
    };
    let thought = Delta { reasoning: "hm".into(), ..Delta::default() };
    let whole = |deltas| -> Value { serde_json::from_slice(&Writer::new(ID).whole(deltas, &end(None))).unwrap() };
    for deltas in [vec![thought, proof("", ""), proof("hi", "")], vec![proof("hi", "hm"), proof("", "")]] {
        let told = events_of(&deltas);
        assert_eq!(told.matches("proof").count(), 1, "{told}");
        let signed = json!({"type": "thinking", "thinking": "hm", "signature": "proof"});
        assert_eq!(whole(deltas)["message"]["content"], json!([signed, {"type": "text", "text": "hi"}]));
    }
    let events = streamed(&[proof("hi", "hm")], &end(None));
    let content = |place: usize| events[place].1["delta"]["message"]["content"].clone();
    assert_eq!(kinds(&events)[1..5], ["content-start", "content-delta", "content-delta", "content-end"]);
    assert_eq!(content(3), json!({"thinking": "", "signature": "proof"}));
}

fn events_of(deltas: &[Delta]) -> String {
    let mut writer = Writer::new(ID);
    deltas.iter().filter_map(|delta| writer.delta(delta.clone())).collect()
}

#[test]
fn reasons_are_coheres() {
    for (finish, word) in [
        (FinishReason::Stop, "COMPLETE"),
        (FinishReason::Length, "MAX_TOKENS"),
        (FinishReason::ContentFilter, "ERROR_TOXIC"),
        (FinishReason::Other("pause".into()), "pause"),
    ] {
        let events = streamed(&[Delta { finish: Some(finish), ..Delta::default() }], &end(None));
        assert_eq!(events.last().unwrap().1["delta"]["finish_reason"], word);
    }
}

#[test]
fn a_failure_ends_the_message_with_its_words_and_is_no_end() {
    let failed = |status: u16| {
        let mut writer = Writer::new(ID);
        let text = writer.failed(&json!({"status": status, "message": "no answer", "code": "x"}));
        assert!(!sse::is_last(text.as_bytes()));
        events(&(text + "data: [DONE]\n\n")).remove(0).1
    };
    assert_eq!(failed(502)["delta"], json!({"finish_reason": "ERROR", "error": "no answer"}));
    assert_eq!(
        (&failed(504)["delta"]["finish_reason"], &failed(504)["farebox"]["code"]),
        (&json!("TIMEOUT"), &json!("x"))
    );
}

const USAGE: &str = r#"{"billed_units":{"input_tokens":120.0,"output_tokens":60.0},"tokens":{"input_tokens":900.0}}"#;

/// A provider's events, as it sent them.
fn sent() -> Vec<String> {
    let of = |kind: &str, more: &str| format!("event: {kind}\ndata: {{\"type\": \"{kind}\"{more}}}\n\n");
    vec![
        of("message-start", r#", "id":"i","delta":{"message":{"role":"assistant"}}"#),
        of("tool-plan-delta", r#","delta":{"message":{"tool_plan":"then"}}"#),
        of("content-start", r#","index":0,"delta":{"message":{"content":{"type":"text","text":""}}}"#),
        of(
            "content-delta",
            r#","index":0,"delta":{"message":{"content":{"text":"h\u00e9"}}},"logprobs":{"token_ids":[1]}"#,
        ),
        of("citation-start", r#","index":0,"delta":{"message":{"citations":{"start":0}}}"#),
        of("citation-end", r#","index":0"#),
        of("content-end", r#","index":0"#),
        of("novelty", r#","x":1"#),
        of(
            "message-end",
            &format!(r#","id":"i","delta":{{"finish_reason":"COMPLETE", "usage":{USAGE},"new":1}},"y":2"#),
        ),
    ]
}

/// The pieces of a provider's stream, and its own usage.
fn read(stream: &str) -> (Vec<Delta>, Option<Box<str>>) {
    let (mut reader, mut events) = (Cohere.own_reader(Format::Cohere), Vec::new());
    reader.feed(stream.as_bytes(), &mut events);
    let mut own = None;
    let mut deltas = Vec::new();
    for event in events {
        match event {
            Event::Delta(delta) => deltas.push(delta),
            Event::Unknown(raw) => deltas.push(Delta { raw, ..Delta::default() }),
            Event::Reported(report) => own = report.own,
            _ => {}
        }
    }
    (deltas, own)
}

#[test]
fn coheres_own_events_pass_as_they_came_and_the_last_has_the_cost() {
    let (deltas, own) = read(&sent().concat());
    let mut writer = Writer::new(ID);
    let passed: Vec<String> = deltas.into_iter().filter_map(|delta| writer.delta(delta)).collect();
    assert_eq!(passed, sent()[..8]);
    let last = events(&writer.end(&end(own.as_deref()))).remove(0).1;
    let mut usage: Value = serde_json::from_str(USAGE).unwrap();
    usage["cost"] = "0.01".into();
    assert_eq!(last["delta"], json!({"finish_reason": "COMPLETE", "new": 1, "usage": usage}));
    assert_eq!((&last["id"], &last["y"], last["farebox"].is_object()), (&json!("i"), &json!(2), true));
}

#[test]
fn coheres_events_pass_the_same_wherever_the_stream_is_split() {
    let stream = sent().concat();
    let expected = sent()[..8].concat();
    for cut in (0..=stream.len()).filter(|cut| stream.is_char_boundary(*cut)) {
        let (mut reader, mut events, mut writer) = (Cohere.own_reader(Format::Cohere), Vec::new(), Writer::new(ID));
        reader.feed(&stream.as_bytes()[..cut], &mut events);
        reader.feed(&stream.as_bytes()[cut..], &mut events);
        reader.end(&mut events);
        let passed = events.into_iter().filter_map(|event| match event {
            Event::Delta(delta) => writer.delta(delta),
            Event::Unknown(raw) => writer.delta(Delta { raw, ..Delta::default() }),
            _ => None,
        });
        assert_eq!(passed.collect::<String>(), expected, "cut at {cut}");
    }
}

#[test]
fn what_coheres_stream_left_open_is_ended() {
    let (deltas, _) = read(&sent()[..4].concat());
    let mut cut = deltas;
    cut.push(Delta::cut(0));
    let events = streamed(&cut, &end(None));
    assert_eq!(kinds(&events)[4..], ["content-end", "message-end"]);
    assert_eq!((&events[4].1["index"], &events[5].1["delta"]["finish_reason"]), (&json!(0), &json!("MAX_TOKENS")));
    assert_eq!(events[5].1["id"], "i", "an answer has one id");
}

#[test]
fn coheres_own_answer_passes_as_it_came_with_the_cost() {
    let body = format!(
        r#"{{"id" : "i","finish_reason":"COMPLETE","message":{{"role":"assistant","content":[{{"type":"text","text":"h\u00e9"}}],"citations":[{{"start":0}}]}},"usage":{USAGE},"new":1}}"#
    );
    let mut whole = Vec::new();
    let mut own = None;
    for event in Cohere.read_own_whole(Format::Cohere, body.as_bytes()) {
        match event {
            Event::Delta(delta) => whole.push(delta),
            Event::Reported(report) => own = report.own,
            _ => {}
        }
    }
    let written = String::from_utf8(Writer::new(ID).whole(whole, &end(own.as_deref()))).unwrap();
    let begin = body.split(r#","usage""#).next().unwrap();
    assert!(written.starts_with(&format!(r#"{begin},"new":1,"usage":{{"#)), "{written}");
    let written: Value = serde_json::from_str(&written).unwrap();
    let billed = json!({"input_tokens": 120.0, "output_tokens": 60.0});
    assert_eq!((&written["usage"]["billed_units"], &written["usage"]["cost"]), (&billed, &json!("0.01")));
}

#[test]
fn an_answer_of_the_other_form_is_written_in_the_form_that_was_asked_for() {
    let whole = r#"{"id":"i","finish_reason":"COMPLETE","message":{"content":[{"type":"text","text":"hi"}]}}"#;
    let events = streamed(&read(whole).0, &end(None));
    assert_eq!(kinds(&events), ["message-start", "content-start", "content-delta", "content-end", "message-end"]);
    let deltas =
        Cohere.read_own_whole(Format::Cohere, sent().concat().as_bytes()).into_iter().filter_map(|event| match event {
            Event::Delta(delta) => Some(delta),
            _ => None,
        });
    let told: Value = serde_json::from_slice(&Writer::new(ID).whole(deltas.collect(), &end(None))).unwrap();
    let content = json!([{"type": "thinking", "thinking": "then"}, {"type": "text", "text": "hé"}]);
    assert_eq!((&told["message"]["content"], &told["finish_reason"]), (&content, &json!("COMPLETE")));
}
