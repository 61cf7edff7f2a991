use serde_json::json;

use super::*;
use crate::{
    format::{Particulars, ProviderFormat as _, Receipt, gemini::Gemini, gemini::read_generate},
    inference::{CallDelta, Event, FinishReason, TokenLogprob, Usage},
    sse,
};

fn writer<F: Framing>(config: &str) -> Writer<F> {
    let body = format!(r#"{{"contents":[{{"parts":[{{"text":"x"}}]}}],"generationConfig":{config}}}"#);
    Writer::new(&read_generate(body.as_bytes(), Some("openai/m"), true).unwrap(), "0a")
}

fn end(own: Option<&str>) -> End {
    let usage = Usage { input: 35, cached_input: 7, cache_write: 3, output: 9, reasoning: 4 };
    let farebox = Particulars { request_id: "r".into(), ..Particulars::default() };
    let receipt = Receipt { cost: "0.01".into(), farebox, usage: own.map(Box::from) };
    End { usage, receipt, is_cut: false }
}

fn text(text: &str) -> Delta {
    Delta { text: text.into(), ..Delta::default() }
}

fn finish(reason: FinishReason) -> Delta {
    Delta { finish: Some(reason), ..Delta::default() }
}

fn call(index: u32, name: Option<&str>, arguments: &str) -> Delta {
    let (id, name) = (name.map(|name| format!("call_{name}")), name.map(str::to_owned));
    Delta { calls: vec![CallDelta { index, id, name, arguments: arguments.into() }], ..Delta::default() }
}

/// The answers of a stream.
fn streamed(deltas: Vec<Delta>, config: &str) -> Vec<Value> {
    let mut writer = writer::<Events>(config);
    let text: String = deltas.into_iter().filter_map(|delta| writer.delta(delta)).collect();
    let text = text + &writer.end(&end(None));
    assert!(sse::is_last(text.as_bytes()), "{text}");
    let frames = text.split("\n\n").filter(|frame| !frame.is_empty());
    frames.map(|frame| serde_json::from_str(frame.strip_prefix("data: ").unwrap()).unwrap()).collect()
}

/// The parts of a stream, and of the same answer told whole.
fn parts(deltas: &[Delta], config: &str) -> (Vec<Value>, Value, Value) {
    let all = streamed(deltas.to_vec(), config);
    let of = |answer: &Value| answer["candidates"][0]["content"]["parts"].as_array().unwrap().clone();
    assert!(all.iter().all(|answer| !of(answer).is_empty()), "clients take an answer without parts for none");
    let whole: Value = serde_json::from_slice(&writer::<Events>(config).whole(deltas.to_vec(), &end(None))).unwrap();
    let reason = &all.last().unwrap()["candidates"][0]["finishReason"];
    assert_eq!(reason, &whole["candidates"][0]["finishReason"]);
    let parts = all.iter().flat_map(of).filter(|part| *part != json!({"text": ""})).collect();
    (parts, whole["candidates"][0]["content"]["parts"].clone(), reason.clone())
}

#[test]
fn an_answer_ends_with_its_usage_and_cost_and_no_other_has_them() {
    let all = streamed(vec![text("Hel"), text("lo"), finish(FinishReason::Stop)], "{}");
    let [first, second, last] = &all[..] else { panic!("{all:?}") };
    assert_eq!(first["candidates"][0], json!({"content": {"parts": [{"text": "Hel"}], "role": "model"}, "index": 0}));
    assert_eq!((&first["responseId"], &first["modelVersion"]), (&json!("0a"), &json!("openai/m")));
    assert!(first.get("usageMetadata").is_none() && second.get("farebox").is_none());
    let usage = json!({"promptTokenCount": 35, "cachedContentTokenCount": 7, "candidatesTokenCount": 5, "thoughtsTokenCount": 4,
        "totalTokenCount": 44, "cost": "0.01"});
    assert_eq!((&last["usageMetadata"], &last["farebox"]["request_id"]), (&usage, &json!("r")));
    assert_eq!(last["candidates"][0]["finishReason"], "STOP");
    let whole: Value =
        serde_json::from_slice(&writer::<Events>("{}").whole(vec![text("Hel"), text("lo")], &end(None))).unwrap();
    assert_eq!(whole["candidates"][0]["content"]["parts"], json!([{"text": "Hello"}]));
    assert_eq!((&whole["candidates"][0]["finishReason"], &whole["usageMetadata"]), (&json!("MAX_TOKENS"), &usage));
}

#[test]
fn calls_are_told_whole_however_they_are_cut() {
    let arguments = r#"{"place":"Par\"is","days":[1,2]}"#;
    for cut in 0..=arguments.len() {
        let (head, tail) = arguments.split_at(cut);
        let deltas = [
            text("see"),
            call(0, Some("f"), head),
            call(0, None, tail),
            call(1, Some("g"), ""),
            finish(FinishReason::ToolCalls),
        ];
        let (streamed, whole, reason) = parts(&deltas, "{}");
        let expected = json!([{"text": "see"},
            {"functionCall": {"name": "f", "args": {"place": "Par\"is", "days": [1, 2]}, "id": "call_f"}},
            {"functionCall": {"name": "g", "args": {}, "id": "call_g"}}]);
        assert_eq!((json!(streamed), whole, reason), (expected.clone(), expected, json!("STOP")), "cut at {cut}");
    }
}

#[test]
fn arguments_that_come_in_turns_are_those_of_their_calls() {
    let deltas = vec![
        call(0, Some("sky"), ""),
        call(1, Some("sea"), "{\"y\""),
        call(0, None, "{\"x\":1}"),
        call(1, None, ":2}"),
        finish(FinishReason::ToolCalls),
    ];
    let (told, whole, reason) = parts(&deltas, "{}");
    assert_eq!(json!(told), whole);
    let calls: Vec<_> =
        told.iter().map(|part| (&part["functionCall"]["name"], &part["functionCall"]["args"])).collect();
    assert_eq!(calls, [(&json!("sky"), &json!({"x": 1})), (&json!("sea"), &json!({"y": 2}))], "{told:?}");
    assert_eq!(reason, "STOP");
}

#[test]
fn a_call_that_can_not_be_read_is_none() {
    let broken = [text("a"), call(0, Some("f"), r#"{"rm":"#)];
    for (finished, expected) in [
        (Some(FinishReason::ToolCalls), "MALFORMED_FUNCTION_CALL"),
        (Some(FinishReason::Length), "MAX_TOKENS"),
        (None, "MAX_TOKENS"),
    ] {
        let deltas: Vec<Delta> = broken.iter().cloned().chain(finished.map(finish)).collect();
        let (streamed, whole, reason) = parts(&deltas, "{}");
        assert_eq!((json!(streamed), whole, reason), (json!([{"text": "a"}]), json!([{"text": "a"}]), json!(expected)));
    }
}

#[test]
fn a_proof_goes_with_the_part_behind_its_thought() {
    let thought = |text: &str| Delta { reasoning: text.into(), ..Delta::default() };
    let proof = |proof: &str| Delta { signature: Some(proof.into()), ..Delta::default() };
    let kept = super::super::proofs::written("sig");
    let alone = json!({"text": "", "thought": true, "thoughtSignature": kept});
    let called = json!({"functionCall": {"name": "f", "args": {}, "id": "call_f"}, "thoughtSignature": kept});
    let deltas = [thought("a"), thought("b"), proof("sig"), call(0, Some("f"), "{}"), finish(FinishReason::ToolCalls)];
    let (streamed, whole, _) = parts(&deltas, "{}");
    let thoughts = json!({"text": "ab", "thought": true});
    assert_eq!(whole, json!([thoughts, called]));
    assert_eq!(streamed[2], called);
    let (streamed, whole, _) = parts(&[thought("ab"), proof("sig"), thought("c"), finish(FinishReason::Stop)], "{}");
    let expected = json!([thoughts, alone, {"text": "c", "thought": true}]);
    assert_eq!((json!(streamed), whole), (expected.clone(), expected));
    let (streamed, whole, _) = parts(&[thought("ab"), proof("sig"), finish(FinishReason::Stop)], "{}");
    assert_eq!((json!(streamed), whole), (json!([thoughts, alone]), json!([thoughts, alone])));
    let hidden = r#"{"thinking_config":{"include_thoughts":false}}"#;
    let (streamed, whole, _) = parts(&[thought("ab"), proof("sig"), text("x"), finish(FinishReason::Stop)], hidden);
    assert_eq!((json!(streamed), whole), (json!([{"text": "x"}]), json!([{"text": "x"}])));
}

#[test]
fn each_candidate_has_its_parts_its_reason_and_its_logprobs() {
    let of = |choice: u32, delta: Delta| Delta { choice, ..delta };
    let logprob = TokenLogprob {
        token: "b".into(),
        bytes: b"b".to_vec(),
        logprob: Some(-0.5),
        offset: 0,
        top: vec![("c".into(), b"c".to_vec(), -1.0)],
    };
    let told = Delta { logprobs: vec![logprob], ..text("b") };
    let deltas = vec![text("a"), of(1, told), of(1, finish(FinishReason::Length)), finish(FinishReason::ContentFilter)];
    let all = streamed(deltas.clone(), "{}");
    let logprobs = json!({"chosenCandidates": [{"token": "b", "logProbability": -0.5}], "topCandidates": [{"candidates": [{"token": "c", "logProbability": -1.0}]}]});
    assert_eq!(all[1]["candidates"][0]["logprobsResult"], logprobs);
    let reasons = |answer: &Value| -> Vec<Value> {
        answer["candidates"].as_array().unwrap().iter().map(|one| json!([one["index"], one["finishReason"]])).collect()
    };
    let expected = vec![json!([0, "SAFETY"]), json!([1, "MAX_TOKENS"])];
    assert_eq!(reasons(all.last().unwrap()), expected);
    let whole: Value = serde_json::from_slice(&writer::<Events>("{}").whole(deltas, &end(None))).unwrap();
    assert_eq!((reasons(&whole), &whole["candidates"][1]["logprobsResult"]), (expected, &logprobs));
}

/// What a provider of this format tells of a body.
fn told(body: &[u8]) -> Vec<Event> {
    let (mut reader, mut events) = (Gemini.own_reader(Format::Gemini), Vec::new());
    reader.feed(body, &mut events);
    reader.end(&mut events);
    events
}

fn deltas(events: Vec<Event>) -> Vec<Delta> {
    events.into_iter().filter_map(|event| if let Event::Delta(delta) = event { Some(delta) } else { None }).collect()
}

#[test]
fn a_providers_answers_pass_as_they_came_but_for_their_usage() {
    let answers = [
        r#"{"candidates" : [{"content":{"parts":[{"text":"a"},{"text":"b","thoughtSignature":"cHI="}]}}],"x":1.50,"usageMetadata":{"promptTokenCount":5}}"#,
        r#"{"candidates":[{"content":{"parts":[{"text":""}]},"finishReason":"STOP","avgLogprobs":-0.10}],"usageMetadata":{"promptTokenCount":5,"candidatesTokenCount":2}}"#,
        r#"{"candidates":[{"groundingMetadata":{"a":1}}],"usageMetadata":{"promptTokenCount":5,"candidatesTokenCount":2}}"#,
    ];
    let body = answers.map(|answer| format!("data: {answer}\r\n\r\n")).concat();
    let mut writer = writer::<Events>("{}");
    let pieces: Vec<_> = deltas(told(body.as_bytes())).into_iter().map(|delta| writer.delta(delta)).collect();
    let own = r#"{"promptTokenCount":5,"candidatesTokenCount":2}"#;
    let last = writer.end(&end(Some(own)));
    let all: String = pieces.into_iter().flatten().chain([last.clone()]).collect();
    let first = r#"data: {"candidates" : [{"content":{"parts":[{"text":"a"},{"text":"b","thoughtSignature":"cHI="}]}}],"x":1.50}"#;
    let second =
        r#"data: {"candidates":[{"content":{"parts":[{"text":""}]},"finishReason":"STOP","avgLogprobs":-0.10}]}"#;
    let third = r#"data: {"candidates":[{"groundingMetadata":{"a":1}}],"usageMetadata":{"promptTokenCount":5,"candidatesTokenCount":2,"cost":"0.01"},"farebox":{"#;
    assert!(all.starts_with(&format!("{first}\n\n{second}\n\n{third}")), "{all}");
    assert!(last.starts_with(third) && sse::is_last(last.as_bytes()), "the last one waits for the charge");

    let whole = Gemini.read_own_whole(Format::Gemini, answers[0].as_bytes());
    let written = self::writer::<Events>("{}").whole(deltas(whole), &end(Some(r#"{"promptTokenCount":5}"#)));
    let expected = first.strip_prefix("data: ").unwrap().strip_suffix('}').unwrap().to_owned()
        + r#","usageMetadata":{"promptTokenCount":5,"cost":"0.01"},"#;
    assert!(String::from_utf8(written).unwrap().starts_with(&expected));
    // Told in several answers where one was asked for: it is put together.
    let list = format!("[{},\n{}]", answers[0], answers[1]);
    let put: Value = serde_json::from_slice(
        &self::writer::<Events>("{}").whole(deltas(Gemini.read_own_whole(Format::Gemini, list.as_bytes())), &end(None)),
    )
    .unwrap();
    assert_eq!(
        put["candidates"][0]["content"]["parts"],
        json!([{"text": "a"}, {"text": "b", "thoughtSignature": "cHI="}])
    );
}

#[test]
fn a_providers_stream_passes_the_same_wherever_it_is_cut() {
    let answers = [
        r#"{"candidates":[{"content":{"parts":[{"text":"h\u00e9"},{"functionCall":{"name":"f","args":{"a":"}{"}}}]}}],"usageMetadata":{"promptTokenCount":5}}"#,
        r#"{"candidates":[{"content":{"parts":[{"text":"é"}]},"finishReason":"STOP"}],"usageMetadata":{"promptTokenCount":5}}"#,
    ];
    let body = answers.map(|answer| format!("data: {answer}\n\n")).concat();
    let written = |pieces: [&[u8]; 2]| {
        let (mut reader, mut events) = (Gemini.own_reader(Format::Gemini), Vec::new());
        for piece in pieces {
            reader.feed(piece, &mut events);
        }
        reader.end(&mut events);
        let mut writer = writer::<Events>("{}");
        let all: String = deltas(events).into_iter().filter_map(|delta| writer.delta(delta)).collect();
        all + &writer.end(&end(None))
    };
    let whole = written([body.as_bytes(), b""]);
    assert_eq!(whole.matches("data: ").count(), 2, "{whole}");
    for cut in 0..=body.len() {
        let (head, tail) = body.as_bytes().split_at(cut);
        assert_eq!(written([head, tail]), whole, "cut at {cut}");
    }
}

#[test]
fn a_blocked_prompt_passes_with_its_reason() {
    let blocked = r#"{"promptFeedback":{"blockReason":"SAFETY"},"usageMetadata":{"promptTokenCount":9}}"#;
    let mut writer = writer::<Events>("{}");
    assert!(deltas(told(blocked.as_bytes())).into_iter().all(|delta| writer.delta(delta).is_none()));
    let last = writer.end(&end(None));
    assert!(last.starts_with(r#"data: {"promptFeedback":{"blockReason":"SAFETY"},"usageMetadata":{"#), "{last}");
}

#[test]
fn a_client_of_the_format_is_told_what_is_no_answer_to_others() {
    let malformed = r#"{"candidates":[{"finishReason":"MALFORMED_FUNCTION_CALL","finishMessage":"f("}]}"#;
    let sound = r#"{"candidates":[{"content":{"parts":[{"inlineData":{"mimeType":"audio/L16","data":"AAAA"}}]},"finishReason":"STOP"}]}"#;
    for answer in [malformed, sound] {
        assert!(
            matches!(Gemini.read_whole(Format::Gemini, answer.as_bytes()).last(), Some(Event::Failed(_))),
            "{answer}"
        );
        let events = Gemini.read_own_whole(Format::Gemini, answer.as_bytes());
        assert!(matches!(events.last(), Some(Event::Finished { .. })), "{events:?}");
        let written = String::from_utf8(writer::<Events>("{}").whole(deltas(events), &end(None))).unwrap();
        assert!(written.starts_with(answer.strip_suffix('}').unwrap()), "{written}");
        let (mut reader, mut streamed) = (Gemini.own_reader(Format::Gemini), Vec::new());
        reader.feed(format!("data: {answer}\n\n").as_bytes(), &mut streamed);
        reader.end(&mut streamed);
        let mut writer = writer::<Events>("{}");
        let all: String = deltas(streamed).into_iter().filter_map(|delta| writer.delta(delta)).collect();
        assert!((all + &writer.end(&end(None))).contains(answer.strip_suffix('}').unwrap()));
    }
}

#[test]
fn an_array_is_one_json_text_however_it_ends() {
    let mut list = writer::<Entries>("{}");
    assert_eq!(list.silence().as_deref(), Some("\n"));
    let begun = "\n".to_owned() + &list.delta(text("a")).unwrap() + "\n" + &list.delta(text("b")).unwrap();
    let whole: Vec<Value> = serde_json::from_str(&(begun + &list.end(&end(None)))).unwrap();
    assert!(whole.len() == 3 && whole[2]["usageMetadata"]["cost"] == "0.01", "{whole:?}");
    let error = json!({"error": {"code": 502, "message": "m", "status": "UNAVAILABLE"}, "request_id": "r"});
    let mut list = writer::<Entries>("{}");
    let failed: Vec<Value> = serde_json::from_str(&(list.delta(text("a")).unwrap() + &list.failed(&error))).unwrap();
    assert_eq!(failed[1]["error"]["code"], 502);
    let alone: Vec<Value> = serde_json::from_str(&writer::<Entries>("{}").failed(&error)).unwrap();
    assert_eq!(alone.len(), 1);
    let event = writer::<Events>("{}").failed(&error);
    assert!(event.starts_with("data: {\"error\":{\"code\":502") && !sse::is_last(event.as_bytes()), "{event}");
}
