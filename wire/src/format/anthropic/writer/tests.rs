use super::*;
use crate::{
    format::{Particulars, Receipt, anthropic::read_messages},
    inference::{CallDelta, Usage},
};

fn writer() -> Writer {
    let body = br#"{"model":"m","max_tokens":9,"messages":[{"role":"user","content":"x"}]}"#;
    Writer::new(&read_messages(body).unwrap(), "0a")
}

fn end(own: Option<&str>) -> End {
    let usage = Usage { input: 35, cached_input: 7, cache_write: 3, output: 9, reasoning: 4 };
    let receipt = Receipt { cost: "0.01".into(), farebox: Particulars::default(), usage: own.map(Box::from) };
    End { usage, receipt, is_cut: false }
}

/// The events of a text: names and data.
fn events(text: &str) -> Vec<(String, Value)> {
    let one = |frame: &str| {
        let (name, data) = frame.split_once('\n').unwrap();
        let data = serde_json::from_str(data.strip_prefix("data: ").unwrap()).unwrap();
        (name.strip_prefix("event: ").unwrap().to_owned(), data)
    };
    text.split("\n\n").filter(|frame| !frame.is_empty()).map(one).collect()
}

fn call(index: u32, id: Option<&str>, arguments: &str) -> Delta {
    let (id, name) = (id.map(str::to_owned), id.map(|_| "sky".to_owned()));
    Delta { calls: vec![CallDelta { index, id, name, arguments: arguments.into() }], ..Delta::default() }
}

fn neutral() -> Vec<Delta> {
    let reasoning = |text: &str, signature: Option<&str>| Delta {
        reasoning: text.into(),
        signature: signature.map(Box::from),
        ..Delta::default()
    };
    let text = |text: &str| Delta { text: text.into(), ..Delta::default() };
    let finish = Delta { finish: Some(FinishReason::ToolCalls), ..Delta::default() };
    vec![
        reasoning("h", None),
        reasoning("m", Some("s")),
        reasoning("", Some("redacted_thinking:d")),
        text("He"),
        text("llo"),
        call(0, Some("a"), ""),
        call(0, None, "{\"at\""),
        call(0, None, ":1}"),
        call(1, Some("b"), ""),
        finish,
    ]
}

#[test]
fn an_answer_in_neutral_words_is_a_stream_of_whole_blocks() {
    let mut writer = writer();
    let mut text: String = neutral().into_iter().filter_map(|delta| writer.delta(delta)).collect();
    assert!(!text.contains("message_delta"), "the end waits for the charge");
    text.push_str(&writer.end(&end(None)));
    let all = events(&text);
    assert!(all.iter().all(|(name, data)| data["type"] == name.as_str()));
    let told: Vec<_> = all
        .iter()
        .map(|(name, data)| {
            let short = name.replace("content_block_", "").replace("message_", "m_");
            data["index"].as_u64().map_or(short.clone(), |index| format!("{short}{index}"))
        })
        .collect();
    let expected = "m_start start0 delta0 delta0 delta0 stop0 start1 stop1 start2 delta2 delta2 stop2 start3 delta3 delta3 \
                    stop3 start4 stop4 m_delta m_stop";
    assert_eq!(told.join(" "), expected.replace("                    ", ""));
    assert_eq!(all[0].1["message"]["id"], "msg_0a");
    assert_eq!(all[4].1["delta"], json!({"type": "signature_delta", "signature": "s"}));
    assert_eq!(all[6].1["content_block"], json!({"type": "redacted_thinking", "data": "d"}));
    assert_eq!(all[16].1["content_block"]["input"], json!({}));
    let last = &all[all.len() - 2].1;
    assert_eq!(last["delta"], json!({"stop_reason": "tool_use", "stop_sequence": null}));
    let usage = json!({"input_tokens": 25, "cache_creation_input_tokens": 3, "cache_read_input_tokens": 7,
        "output_tokens": 9, "cost": "0.01"});
    assert_eq!((&last["usage"], last["farebox"].is_object()), (&usage, true));
}

#[test]
fn an_answer_in_neutral_words_is_a_whole_message() {
    let mut deltas = neutral();
    deltas.push(Delta { choice: 1, text: "another answer".into(), ..Delta::default() });
    let whole: Value = serde_json::from_slice(&writer().whole(deltas, &end(None))).unwrap();
    let content = json!([
        {"type": "thinking", "thinking": "hm", "signature": "s"}, {"type": "redacted_thinking", "data": "d"},
        {"type": "text", "text": "Hello"}, {"type": "tool_use", "id": "a", "name": "sky", "input": {"at": 1}},
        {"type": "tool_use", "id": "b", "name": "sky", "input": {}}]);
    assert_eq!(whole["content"], content);
    assert_eq!(
        (&whole["type"], &whole["stop_reason"], &whole["model"]),
        (&json!("message"), &json!("tool_use"), &json!("m"))
    );
    assert_eq!(whole["usage"]["cost"], "0.01");
}

fn original(json: &str) -> Delta {
    Delta { raw: Raw::Own(Format::AnthropicMessages, Fields::parse(json.as_bytes()).unwrap()), ..Delta::default() }
}

#[test]
fn the_providers_events_pass_as_they_came_and_the_end_gains_the_cost() {
    let first = r#"{"type":"message_start","message":{"id":"msg_1", "usage":{"input_tokens":5}}}"#;
    let unknown = r#"{"type":"event_of_tomorrow","x":1.50}"#;
    let ending = r#"{"type":"message_delta","delta":{"stop_reason":"end_turn"},"usage":{"output_tokens":2},"y":1}"#;
    let stop = r#"{"type":"message_stop","metrics":{}}"#;
    let mut writer = writer();
    let sent: Vec<_> = [first, unknown].into_iter().map(|json| writer.delta(original(json)).unwrap()).collect();
    assert_eq!(sent[0], format!("event: message_start\ndata: {first}\n\n"));
    assert_eq!(sent[1], format!("event: event_of_tomorrow\ndata: {unknown}\n\n"));
    for held in [ending, r#"{"type":"ping"}"#, stop] {
        assert_eq!(writer.delta(original(held)), None);
    }
    let own = r#"{"input_tokens":5,"output_tokens":2,"z":1}"#;
    let text = writer.end(&end(Some(own)));
    let all = events(&text);
    assert_eq!((all.len(), &all[0].1["y"], all[1].1.to_string()), (2, &json!(1), stop.to_owned()));
    assert_eq!(all[0].1["usage"], json!({"input_tokens": 5, "output_tokens": 2, "z": 1, "cost": "0.01"}));
    assert!(sse::is_last(text.as_bytes()));
    let mut whole = original(r#"{"id":"msg_1","content":[],"x":1}"#);
    whole.finish = Some(FinishReason::Stop);
    let whole: Value = serde_json::from_slice(&super::tests::writer().whole(vec![whole], &end(Some(own)))).unwrap();
    assert_eq!((&whole["id"], &whole["x"], &whole["usage"]["z"]), (&json!("msg_1"), &json!(1), &json!(1)));
}

#[test]
fn a_cut_answer_closes_what_is_open_and_a_failed_one_has_no_end() {
    let mut cut = writer();
    cut.delta(original(r#"{"type":"message_start","message":{}}"#));
    cut.delta(original(r#"{"type":"content_block_start","index":3,"content_block":{"type":"text","text":""}}"#));
    let all = events(&cut.end(&End { is_cut: true, ..end(None) }));
    let names: Vec<_> = all.iter().map(|(name, _)| &**name).collect();
    assert_eq!(names, ["content_block_stop", "message_delta", "message_stop"]);
    assert_eq!((&all[0].1["index"], &all[1].1["delta"]["stop_reason"]), (&json!(3), &json!("max_tokens")));
    let mut failed = writer();
    failed.delta(Delta { text: "a".into(), ..Delta::default() });
    let error = json!({"type": "error", "error": {"type": "api_error", "message": "x"}});
    let text = failed.failed(&error);
    assert_eq!(text, format!("event: error\ndata: {error}\n\n"));
    assert!(!sse::is_last(text.as_bytes()));
    assert_eq!(events(&failed.silence().unwrap())[0].0, "ping");
}

#[test]
fn a_proof_without_a_thought_before_it_has_a_block_of_its_own() {
    let said = |text: &str, proof: Option<&str>| Delta {
        text: text.into(),
        signature: proof.map(Box::from),
        ..Delta::default()
    };
    let proof = Some("google:p");
    let (thought, text) = (
        json!({"type": "thinking", "thinking": "", "signature": "google:p"}),
        |text: &str| json!({"type": "text", "text": text}),
    );
    let called = json!({"type": "tool_use", "id": "a", "name": "sky", "input": {}});
    for (deltas, content) in [
        (vec![said("hello", proof)], vec![thought.clone(), text("hello")]),
        (vec![said("hel", None), said("lo", proof)], vec![text("hello"), thought.clone()]),
        (
            vec![said("hello", None), said("", proof), call(0, Some("a"), "")],
            vec![text("hello"), thought.clone(), called],
        ),
    ] {
        let whole: Value = serde_json::from_slice(&writer().whole(deltas.clone(), &end(None))).unwrap();
        assert_eq!(whole["content"], Value::from(content.clone()));
        let mut writer = writer();
        let streamed: String = deltas.into_iter().filter_map(|delta| writer.delta(delta)).collect();
        let all = events(&(streamed + &writer.end(&end(None))));
        let begun = all.iter().filter(|(name, _)| name == "content_block_start");
        let kinds: Vec<_> = begun.map(|(_, data)| data["content_block"]["type"].clone()).collect();
        assert_eq!(kinds, content.iter().map(|block| block["type"].clone()).collect::<Vec<_>>());
        let proofs = all.iter().filter(|(_, data)| data["delta"]["signature"] == "google:p").count();
        assert_eq!(proofs, 1);
    }
}

#[test]
fn a_stop_text_that_came_is_told_where_it_is_known() {
    let told = |stops: &str, text: Option<&str>| {
        let body = format!(
            r#"{{"model":"m","max_tokens":9,"stop_sequences":{stops},"messages":[{{"role":"user","content":"x"}}]}}"#
        );
        let asked = read_messages(body.as_bytes()).unwrap();
        let finish = Some(FinishReason::StopText(text.map(Box::from)));
        let delta = Delta { text: "hi".into(), finish, ..Delta::default() };
        let whole: Value =
            serde_json::from_slice(&Writer::new(&asked, "0a").whole(vec![delta.clone()], &end(None))).unwrap();
        let mut writer = Writer::new(&asked, "0a");
        let text = writer.delta(delta).unwrap() + &writer.end(&end(None));
        let events = events(&text);
        let (_, last) = events.iter().find(|(name, _)| name == "message_delta").unwrap();
        assert_eq!(last["delta"]["stop_reason"], whole["stop_reason"]);
        assert_eq!(last["delta"]["stop_sequence"], whole["stop_sequence"]);
        (whole["stop_reason"].clone(), whole["stop_sequence"].clone())
    };
    assert_eq!(told(r#"["a","b"]"#, Some("b")), (json!("stop_sequence"), json!("b")));
    assert_eq!(told(r#"["a"]"#, None), (json!("stop_sequence"), json!("a")));
    assert_eq!(told(r#"["a","b"]"#, None), (json!("stop_sequence"), Value::Null));
}
