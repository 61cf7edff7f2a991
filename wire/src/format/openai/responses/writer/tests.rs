//! Streams and whole responses, of a provider of the format and of others.

use super::*;
use crate::{
    format::{
        AnswerReader as _, Particulars, Receipt,
        openai::{read_response, responses},
    },
    inference::{Event, Usage},
};

fn writer() -> Writer {
    let body = r#"{"model":"m","input":"x","stream":true,"tools":[{"type":"custom","name":"run"}],"temperature":0.5,
        "include":["reasoning.encrypted_content"]}"#;
    Writer::new(&read_response(body.as_bytes()).unwrap(), "0123", 7)
}

fn end() -> End {
    let usage = Usage { input: 10, cached_input: 4, output: 3, reasoning: 1, cache_write: 2 };
    let receipt = Receipt { cost: "0.01".into(), farebox: Particulars::default(), usage: None };
    End { usage, receipt, is_cut: false }
}

/// The events of a stream's text: each name, and its data.
fn events(text: &str) -> Vec<Value> {
    let event = |block: &str| {
        let (name, data) = block.split_once('\n').unwrap();
        let data: Value = serde_json::from_str(data.strip_prefix("data: ").unwrap()).unwrap();
        assert_eq!(name.strip_prefix("event: "), data["type"].as_str());
        data
    };
    text.split("\n\n").filter(|block| !block.is_empty()).map(event).collect()
}

fn deltas() -> Vec<Delta> {
    let call = |index, id: Option<&str>, name: Option<&str>, arguments: &str| Delta {
        calls: vec![CallDelta {
            index,
            id: id.map(str::to_owned),
            name: name.map(str::to_owned),
            arguments: arguments.to_owned(),
        }],
        ..Delta::default()
    };
    vec![
        Delta { reasoning: "h".into(), ..Delta::default() },
        Delta { reasoning: "m".into(), ..Delta::default() },
        Delta { signature: Some("S".into()), ..Delta::default() },
        Delta { text: "hel".into(), ..Delta::default() },
        Delta { text: "lo".into(), ..Delta::default() },
        call(0, Some("a"), Some("sky"), ""),
        call(1, Some("b"), Some("run"), "l"),
        call(0, None, None, "{}"),
        call(1, None, None, "s"),
        Delta { finish: Some(FinishReason::ToolCalls), ..Delta::default() },
    ]
}

#[test]
fn a_translated_stream_has_each_item_whole_and_in_order() {
    let mut writer = writer();
    let mut text: String = deltas().into_iter().filter_map(|delta| writer.delta(delta)).collect();
    text.push_str(&writer.end(&end()));
    let events = events(&text);
    let numbers: Vec<_> = events.iter().map(|event| event["sequence_number"].as_u64().unwrap()).collect();
    assert_eq!(numbers, (0..events.len() as u64).collect::<Vec<_>>());
    let kinds: Vec<_> = events.iter().map(|event| event["type"].as_str().unwrap()).collect();
    assert_eq!(
        kinds,
        [
            "response.created",
            "response.in_progress",
            "response.output_item.added",
            "response.reasoning_summary_part.added",
            "response.reasoning_summary_text.delta",
            "response.reasoning_summary_text.delta",
            "response.reasoning_summary_text.done",
            "response.reasoning_summary_part.done",
            "response.output_item.done",
            "response.output_item.added",
            "response.content_part.added",
            "response.output_text.delta",
            "response.output_text.delta",
            "response.output_text.done",
            "response.content_part.done",
            "response.output_item.done",
            "response.output_item.added",
            "response.output_item.added",
            "response.custom_tool_call_input.delta",
            "response.function_call_arguments.delta",
            "response.custom_tool_call_input.delta",
            "response.function_call_arguments.done",
            "response.output_item.done",
            "response.custom_tool_call_input.done",
            "response.output_item.done",
            "response.completed",
        ]
    );
    let response = &events.last().unwrap()["response"];
    let done: Vec<_> = events.iter().filter(|event| event["type"] == "response.output_item.done").collect();
    let items: Vec<_> = done.iter().map(|event| event["item"].clone()).collect();
    assert_eq!(response["output"], Value::Array(items));
    assert_eq!(response["output"][0]["encrypted_content"], "anthropic:S");
    assert_eq!(response["output"][1]["content"][0]["text"], "hello");
    assert_eq!((&response["output"][2]["arguments"], &response["output"][3]["input"]), (&json!("{}"), &json!("ls")));
    assert_eq!((&response["usage"]["cost"], &response["usage"]["input_tokens"]), (&json!("0.01"), &json!(10)));
    assert_eq!((&response["temperature"], &response["status"]), (&json!(0.5), &json!("completed")));
    // The reader of the format reads what its writer writes.
    let (mut reader, mut read) = (responses::Reader::default(), Vec::new());
    reader.feed(text.as_bytes(), &mut read);
    assert_eq!(read.last(), Some(&Event::Finished { compute_ms: 0 }));
}

#[test]
fn a_whole_translated_response_is_the_streams_last() {
    let (mut streamed, mut whole) = (writer(), writer());
    let text: String = deltas().into_iter().filter_map(|delta| streamed.delta(delta)).collect();
    assert!(!text.is_empty());
    let last = events(&streamed.end(&end())).pop().unwrap();
    let whole: Value = serde_json::from_slice(&whole.whole(deltas(), &end())).unwrap();
    assert_eq!(last["response"], whole);
}

#[test]
fn a_providers_own_events_pass_and_the_last_one_waits_for_its_cost() {
    let mut writer = writer();
    let own = |json: &str, finish| Delta {
        finish,
        raw: Raw::Own(FORMAT, Fields::parse(json.as_bytes()).unwrap()),
        ..Delta::default()
    };
    let json = r#"{"type": "response.output_text.delta","delta" : "x","x":[1.50]}"#;
    let passed = writer.delta(own(json, None)).unwrap();
    assert_eq!(passed, format!("event: response.output_text.delta\ndata: {json}\n\n"));
    let json = r#"{"type":"response.completed","response":{"id":"r","usage":{"input_tokens":10},"x":[1.50]},"y":1}"#;
    assert_eq!(writer.delta(own(json, Some(FinishReason::Stop))), None);
    let mut end = end();
    end.receipt.usage = Some(r#"{"input_tokens" : 10,"cost":5}"#.into());
    let last = writer.end(&end);
    let expected = r#"{"type":"response.completed","response":{"id":"r","usage":{"input_tokens":10,"cost":"0.01"},"x":[1.50],"farebox":"#;
    assert!(last.contains(expected) && last.ends_with("},\"y\":1}\n\n"), "{last}");
}

#[test]
fn a_response_whose_name_is_anothers_has_ours_from_its_first_event_on() {
    let mut request = read_response(br#"{"model":"m","input":"x","stream":true}"#).unwrap();
    let own = |json: &str, finish| Delta {
        raw: Raw::Own(FORMAT, Fields::parse(json.as_bytes()).unwrap()),
        finish,
        ..Delta::default()
    };
    let created = || own(r#"{"type":"response.created","response":{"id":"resp_1","status":"in_progress"}}"#, None);
    let writer = |request: &Request| Writer::new(request, "0a", 7);
    assert_eq!(writer(&request).named(&created()), None, "it is not kept");
    request.source.is_kept = true;
    let mut renamed = writer(&request);
    assert_eq!(renamed.named(&created()).as_deref(), Some("resp_1"));
    assert_eq!(renamed.named(&Delta { text: "x".into(), ..Delta::default() }), None);
    renamed.rename();
    let last = own(r#"{"type":"response.completed","response":{"id":"resp_1","output":[]}}"#, Some(FinishReason::Stop));
    let text = [renamed.delta(created()), renamed.delta(last)].into_iter().flatten().collect::<String>()
        + &renamed.end(&end());
    let ids: Vec<_> = events(&text).iter().map(|event| event["response"]["id"].clone()).collect();
    assert_eq!(ids, ["resp_0a", "resp_0a"]);
    assert!(renamed.kept().unwrap().contains("resp_0a"));
    let mut whole = writer(&request);
    let answer = own(r#"{"id":"resp_1","object":"response","output":[]}"#, Some(FinishReason::Stop));
    assert_eq!(whole.named(&answer).as_deref(), Some("resp_1"));
    whole.rename();
    let body: Value = serde_json::from_slice(&whole.whole(vec![answer], &end())).unwrap();
    assert_eq!(body["id"], "resp_0a");
}

#[test]
fn a_failure_is_an_event_that_agents_read() {
    let mut writer = writer();
    writer.delta(Delta { text: "a".into(), ..Delta::default() });
    let error = json!({"error": {"code": "rate_limit_exceeded", "message": "slow down"}, "status": 429});
    let last = events(&writer.failed(&error)).pop().unwrap();
    assert_eq!((&last["type"], &last["response"]["status"]), (&json!("response.failed"), &json!("failed")));
    assert_eq!(last["response"]["error"], json!({"code": "rate_limit_exceeded", "message": "slow down"}));
    assert_eq!((&last["response"]["usage"], last["response"].get("farebox")), (&Value::Null, None));
    writer.charged(&end());
    let last = events(&writer.failed(&error)).pop().unwrap();
    let usage = &last["response"]["usage"];
    assert_eq!((&usage["cost"], usage["input_tokens"].is_u64()), (&json!("0.01"), true), "what was charged is told");
    assert!(last["response"]["farebox"].is_object());
    assert_eq!(writer.silence().unwrap(), "event: keepalive\ndata: {\"type\":\"keepalive\"}\n\n");
}

#[test]
fn a_failure_of_the_providers_keeps_its_names_and_its_usage() {
    let own = |json: &str| Delta { raw: Raw::Own(FORMAT, Fields::parse(json.as_bytes()).unwrap()), ..Delta::default() };
    let begun = || {
        let mut writer = writer();
        writer.delta(own(r#"{"type":"response.created","sequence_number":0,"response":{"id":"resp_own","status":"in_progress","usage":null}}"#));
        writer
    };
    let error = json!({"error": {"code": "invalid_prompt", "message": "The provider refused: no"}, "status": 400});
    let told = json!({"code": "invalid_prompt", "message": "The provider refused: no"});
    let mut failed = begun();
    let event = r#"{"type":"response.failed","sequence_number":7,"response":{"id":"resp_own","status":"failed","error":{"code":"x","message":"no"},"usage":{"input_tokens":5}}}"#;
    assert_eq!(failed.delta(own(event)), None, "it waits for the charge");
    let last = events(&failed.failed(&error)).pop().unwrap();
    let response = json!({"id": "resp_own", "status": "failed", "error": told, "usage": {"input_tokens": 5}});
    assert_eq!((&last["response"], &last["sequence_number"]), (&response, &json!(7)));
    // Where the connection broke off, the names stay.
    let last = events(&begun().failed(&error)).pop().unwrap();
    let response = json!({"id": "resp_own", "status": "failed", "usage": null, "output": [], "error": told});
    assert_eq!((&last["response"], &last["sequence_number"]), (&response, &json!(1)));
}

#[test]
fn a_cut_answer_is_not_complete() {
    let mut writer = writer();
    writer.delta(Delta { text: "a".into(), ..Delta::default() });
    let last = events(&writer.end(&End { is_cut: true, ..end() })).pop().unwrap();
    assert_eq!(last["type"], "response.incomplete");
}

fn thought(text: &str, proof: Option<&str>) -> Delta {
    Delta { reasoning: text.into(), signature: proof.map(Box::from), ..Delta::default() }
}

/// The output of a stream, which is that of the whole response too.
fn output(new: fn() -> Writer, deltas: Vec<Delta>) -> Vec<Value> {
    let mut streamed = new();
    let text: String = deltas.clone().into_iter().filter_map(|delta| streamed.delta(delta)).collect();
    let all = events(&(text + &streamed.end(&end())));
    let whole: Value = serde_json::from_slice(&new().whole(deltas, &end())).unwrap();
    assert_eq!(all.last().unwrap()["response"]["output"], whole["output"]);
    let count = |kind: &str| all.iter().filter(|event| event["type"] == kind).count();
    assert_eq!(count("response.output_item.done"), whole["output"].as_array().unwrap().len());
    let added = count("response.reasoning_summary_part.added");
    assert_eq!(added, count("response.reasoning_summary_part.done"));
    let spoken = |item: &&Value| item["summary"].as_array().is_some_and(|summary| !summary.is_empty());
    assert_eq!(added, whole["output"].as_array().unwrap().iter().filter(spoken).count());
    whole["output"].as_array().unwrap().clone()
}

fn reasoning(words: &str, proof: &str) -> Value {
    let summary = if words.is_empty() { json!([]) } else { json!([{"type": "summary_text", "text": words}]) };
    json!({"type": "reasoning", "summary": summary, "encrypted_content": proof})
}

fn without_ids(mut items: Vec<Value>) -> Vec<Value> {
    for item in items.iter_mut().filter_map(Value::as_object_mut) {
        item.shift_remove("id");
    }
    items
}

#[test]
fn each_of_two_thoughts_keeps_its_own_proof() {
    let thoughts = [thought("a", None), thought("b", None), thought("", Some("one")), thought("c", Some("two"))];
    let hidden = thought("", Some("redacted_thinking:d"));
    let items = without_ids(output(writer, thoughts.into_iter().chain([hidden]).collect()));
    let expected = [("ab", "anthropic:one"), ("c", "anthropic:two"), ("", "redacted_thinking:d")];
    assert_eq!(items, expected.map(|(words, proof)| reasoning(words, proof)));
}

#[test]
fn the_proof_of_a_text_is_an_item_beside_it_where_the_client_keeps_proofs() {
    let said = |text: &str, proof: Option<&str>| Delta { text: text.into(), ..thought("", proof) };
    let kinds =
        |items: &[Value]| items.iter().map(|item| item["type"].as_str().unwrap().to_owned()).collect::<Vec<_>>();
    let proof = Some("google:p");
    let before = output(writer, vec![said("hello", proof)]);
    assert_eq!(
        (kinds(&before), &before[0]["encrypted_content"]),
        (vec!["reasoning".into(), "message".into()], &json!("google:p"))
    );
    for last in [said("lo", proof), said("", proof)] {
        let behind = output(writer, vec![said("hel", None), last]);
        assert_eq!(
            (kinds(&behind), &behind[1]["encrypted_content"]),
            (vec!["message".into(), "reasoning".into()], &json!("google:p"))
        );
    }
    let forgetful = || Writer::new(&read_response(br#"{"model":"m","input":"x"}"#).unwrap(), "0123", 7);
    assert_eq!(kinds(&output(forgetful, vec![said("hel", None), said("lo", proof), said("", proof)])), ["message"]);
    assert_eq!(output(forgetful, vec![thought("a", Some("one")), thought("b", Some("two"))]).len(), 2);
}

#[test]
fn a_call_without_arguments_has_an_empty_object_and_tokens_their_logarithms() {
    let body = r#"{"model":"m","input":"x","stream":true,"include":["message.output_text.logprobs"],"top_logprobs":1}"#;
    let asked = read_response(body.as_bytes()).unwrap();
    let token = |text: &str| crate::inference::TokenLogprob {
        token: text.into(),
        bytes: text.into(),
        logprob: Some(-0.5),
        offset: 0,
        top: vec![(text.into(), text.into(), -0.5)],
    };
    let said = |text: &str| Delta { text: text.into(), logprobs: vec![token(text)], ..Delta::default() };
    let call = CallDelta { index: 0, id: Some("a".into()), name: Some("sky".into()), arguments: String::new() };
    let deltas = [said("he"), said("llo"), Delta { calls: vec![call], ..Delta::default() }];
    let mut writer = Writer::new(&asked, "0123", 7);
    let text: String = deltas.iter().cloned().filter_map(|delta| writer.delta(delta)).collect();
    let events = events(&(text + &writer.end(&end())));
    let of = |kind: &str| -> Vec<&Value> { events.iter().filter(|event| event["type"] == kind).collect() };
    let token = |text: &str| {
        let one = json!({"token": text, "bytes": text.as_bytes(), "logprob": -0.5});
        let mut whole = one.clone();
        whole["top_logprobs"] = json!([one]);
        whole
    };
    let both = json!([token("he"), token("llo")]);
    assert_eq!(of("response.output_text.delta")[0]["logprobs"], json!([token("he")]));
    assert_eq!(of("response.output_text.done")[0]["logprobs"], both);
    assert_eq!(of("response.content_part.done")[0]["part"]["logprobs"], both);
    let output = &of("response.completed")[0]["response"]["output"];
    assert_eq!(output[0]["content"][0]["logprobs"], both);
    assert_eq!(of("response.function_call_arguments.done")[0]["arguments"], "{}");
    assert_eq!(of("response.function_call_arguments.delta")[0]["delta"], "{}");
    assert_eq!(output[1]["arguments"], "{}");
    let mut other = self::writer();
    let unasked = other.delta(deltas[0].clone()).unwrap();
    assert!(unasked.contains(r#""logprobs":[]"#), "{unasked}");
}
