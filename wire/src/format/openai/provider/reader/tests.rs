//! Bodies as providers write them, cut at every byte.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::{fields::Fields, sse::encode};

const USAGE: &str = r#"{"id":"c","choices":[],"usage":{"prompt_tokens":7,"completion_tokens":3,"total_tokens":10}}"#;

fn piece(text: &str) -> String {
    json!({"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m",
        "choices": [{"index": 0, "delta": {"content": text}, "finish_reason": null}]})
    .to_string()
}

fn stream_of(events: &[&str]) -> String {
    events.iter().map(|data| encode(data)).collect()
}

/// A stream with every kind of event, its usage before its end.
fn whole_stream() -> String {
    let end = r#"{"id":"c","choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}"#;
    let words = [piece("Hé"), piece("llo")];
    let events = stream_of(&[&words[0], r#"{"type":"new","of":1}"#, &words[1], end, USAGE, "[DONE]"]);
    format!("\u{feff}: OK\r\n\r\n{events}")
}

/// All events of a body that comes in these pieces.
fn read(pieces: &[&[u8]]) -> Vec<Event> {
    let (mut reader, mut events) = (Reader::new(Format::OpenAiChat), Vec::new());
    for piece in pieces {
        reader.feed(piece, &mut events);
    }
    reader.end(&mut events);
    assert!(reader.is_over());
    events
}

fn failure(events: &[Event]) -> Option<String> {
    match events.last() {
        Some(Event::Failed(Failure::Provider(error))) => Some(error.message.clone()),
        Some(Event::Failed(failure)) => Some(failure.to_string()),
        Some(Event::Finished { .. }) => None,
        other => panic!("{other:?} is no end"),
    }
}

fn has_usage(events: &[Event]) -> bool {
    events.iter().any(|event| matches!(event, Event::Reported(_)))
}

fn text(events: &[Event]) -> String {
    let deltas =
        events.iter().filter_map(|event| if let Event::Delta(delta) = event { Some(&*delta.text) } else { None });
    deltas.collect()
}

/// The JSON of every delta.
fn raws(events: &[Event]) -> Vec<Value> {
    let raws = events.iter().filter_map(|event| match event {
        Event::Delta(Delta { raw: Raw::Own(_, fields), .. }) => Some(fields),
        _ => None,
    });
    raws.map(|raw| serde_json::from_str(&raw.to_json()).unwrap()).collect()
}

#[test]
fn a_stream_cut_at_any_byte_failed_and_has_its_usage_only_if_that_came() {
    let stream = whole_stream();
    let usage_at = stream.find(USAGE).unwrap() + USAGE.len();
    let done_at = stream.find("[DONE]").unwrap() + "[DONE]".len();
    for cut in 0..=stream.len() {
        let bytes = &stream.as_bytes()[..cut];
        for events in [read(&[bytes]), read(&bytes.chunks(1).collect::<Vec<_>>())] {
            assert_eq!(has_usage(&events), cut >= usage_at, "cut at {cut}: {events:?}");
            assert_eq!(failure(&events).is_none(), cut >= done_at, "cut at {cut}: {events:?}");
            let ends = events.iter().filter(|event| matches!(event, Event::Finished { .. } | Event::Failed(_)));
            assert_eq!(ends.count(), 1, "cut at {cut}: {events:?}");
        }
    }
    assert_eq!(text(&read(&[stream.as_bytes()])), "Héllo");
}

#[test]
fn a_whole_answer_cut_at_any_byte_failed() {
    let body =
        br#" {"id":"c","choices":[{"message":{"content":"x"}}],"usage":{"prompt_tokens":1,"completion_tokens":1}}"#;
    for cut in 0..body.len() {
        for events in [read(&[&body[..cut]]), read_answer(Format::OpenAiChat, &body[..cut])] {
            assert!(failure(&events).is_some() && !has_usage(&events), "cut at {cut}: {events:?}");
        }
    }
    assert!(failure(&read_answer(Format::OpenAiChat, body)).is_none());
}

#[test]
fn errors_end_a_stream_in_their_words_whatever_their_shape() {
    for (error, words) in [
        (r#"data: {"object":"error","message":"no room","code":50000}"#, "no room"),
        (r#"data: {"error":{"message":"no room","code":502}}"#, "no room"),
        (r#"data: {"error":"no room"}"#, "no room"),
        (r#"data: {"detail":"no room"}"#, "no room"),
        (r#"data: {"type":"error","error":{"type":"overloaded_error","message":"no room"}}"#, "no room"),
        (
            r#"data: {"id":"c","choices":[{"delta":{"content":""},"finish_reason":"error"}],"error":{"message":"no room"}}"#,
            "no room",
        ),
        ("event: error\ndata: no room", "no room"),
        ("event: error\ndata: {\"message\":\"no room\"}", "no room"),
        ("data: no room", "no room"),
        ("{\"error\": {\n  \"message\": \"no room\"\n}}", "no room"),
    ] {
        for end in ["\n\ndata: [DONE]\n\n", "\n\n"] {
            let stream = stream_of(&[&piece("Hi"), USAGE]) + error + end;
            let events = read(&[stream.as_bytes()]);
            assert_eq!(failure(&events).as_deref(), Some(words), "{stream}");
            assert!(has_usage(&events) && text(&events) == "Hi", "{events:?}");
        }
        let alone = format!("{error}\n\n");
        let ended = format!("{alone}data: [DONE]\n\n");
        assert_eq!(failure(&read(&[ended.as_bytes()])).as_deref(), Some(words), "{ended}");
        assert_eq!(failure(&read(&[alone.as_bytes()])).as_deref(), Some(words), "{alone}");
        assert_eq!(failure(&read_answer(Format::OpenAiChat, alone.as_bytes())).as_deref(), Some(words), "{alone}");
    }
}

#[test]
fn what_is_not_known_is_passed_on_and_is_no_answer() {
    let stream = stream_of(&[r#"{"type":"new"}"#, "[1]", &piece("Hi"), "{}", "[DONE]"]);
    let events = read(&[stream.as_bytes()]);
    let unknown: Vec<_> = events.iter().filter(|event| matches!(event, Event::Unknown(_))).collect();
    assert!(matches!(unknown[..], [Event::Unknown(Raw::Own(..)), Event::Unknown(Raw::None)]), "{events:?}");
    assert_eq!(failure(&events), None);
    for stream in [stream_of(&[r#"{"type":"new"}"#, "[DONE]"]), stream_of(&[r#"{"type":"new"}"#])] {
        let words = failure(&read(&[stream.as_bytes()])).unwrap();
        assert!(words.contains(r#"{"type":"new"}"#), "{words}");
    }
    for silent in [stream_of(&["[DONE]"]), stream_of(&[USAGE, "[DONE]"]), String::new(), ": ping\n\n".into()] {
        assert!(failure(&read(&[silent.as_bytes()])).is_some(), "{silent}");
    }
    for body in
        ["{}", "[]", "null", r#"{"choices":[]}"#, r#"{"choices":{}}"#, "", " ", r#"{"usage":{"prompt_tokens":1}}"#]
    {
        assert!(failure(&read_answer(Format::OpenAiChat, body.as_bytes())).is_some(), "{body}");
        assert!(failure(&read(&[body.as_bytes()])).is_some(), "{body}");
    }
}

#[test]
fn a_whole_answer_is_told_in_pieces_to_whoever_asked_for_a_stream() {
    let body = json!({"id": "c", "object": "chat.completion", "created": 1, "model": "m", "system_fingerprint": "f",
        "choices": [
            {"index": 0, "message": {"role": "assistant", "content": "Hi", "refusal": null}, "logprobs": null, "finish_reason": "stop"},
            {"index": 1, "message": {"role": "assistant", "content": null, "tool_calls": [
                {"id": "a", "type": "function", "function": {"name": "sky", "arguments": "{}"}}]}, "finish_reason": "tool_calls"}],
        "usage": {"prompt_tokens": 7, "completion_tokens": 3}});
    let bodies = [
        body.to_string(),
        format!("\n\n{body}\n"),
        format!(": wait\n\n: wait\n\n{body}\n"),
        stream_of(&[&body.to_string(), "[DONE]"]),
    ];
    for body in bodies {
        let whole = read_answer(Format::OpenAiChat, body.as_bytes());
        assert_eq!((failure(&whole), &raws(&whole)[0]["object"]), (None, &json!("chat.completion")), "{body}");
        let events = read(&body.as_bytes().chunks(3).collect::<Vec<_>>());
        assert_eq!((failure(&events), has_usage(&events), &*text(&events)), (None, true, "Hi"));
        let raws = raws(&events);
        assert_eq!(raws.len(), 4);
        for raw in &raws {
            assert_eq!(
                (&raw["id"], &raw["object"], &raw["system_fingerprint"]),
                (&json!("c"), &json!("chat.completion.chunk"), &json!("f"))
            );
            assert!(raw["choices"][0].get("message").is_none(), "{raw}");
        }
        assert_eq!(raws[0]["choices"][0]["delta"]["content"], "Hi");
        assert_eq!(raws[1]["choices"][0]["finish_reason"], "stop");
        assert_eq!(raws[2]["choices"][0]["delta"]["tool_calls"][0]["index"], 0);
        assert_eq!(
            (&raws[3]["choices"][0]["index"], &raws[3]["choices"][0]["finish_reason"]),
            (&json!(1), &json!("tool_calls"))
        );
    }
}

#[test]
fn a_stream_is_put_together_for_whoever_asked_for_a_whole_answer() {
    let chunk = |choices: Value| {
        json!({"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m", "service_tier": "default", "choices": choices}).to_string()
    };
    let call = |call: Value| json!([{"index": 1, "delta": {"tool_calls": [call]}, "finish_reason": null}]);
    let logprob = |token: &str| json!({"content": [{"token": token, "logprob": -0.5}], "refusal": null});
    let stream = stream_of(&[
        &chunk(
            json!([{"index": 0, "delta": {"role": "assistant", "content": ""}, "logprobs": null, "finish_reason": null}]),
        ),
        &chunk(json!([{"index": 0, "delta": {"content": "He"}, "logprobs": logprob("He"), "finish_reason": null}])),
        &chunk(call(json!({"index": 0, "id": "a", "type": "function", "function": {"name": "sky", "arguments": ""}}))),
        &chunk(call(json!({"index": 0, "function": {"arguments": "{\"at\""}}))),
        &chunk(call(
            json!({"index": 1, "id": "b", "type": "function", "function": {"name": "sea", "arguments": "{}"}}),
        )),
        &chunk(call(json!({"index": 0, "function": {"arguments": ":1}"}}))),
        &chunk(json!([{"index": 0, "delta": {"content": "llo"}, "logprobs": logprob("llo"), "finish_reason": null}])),
        &chunk(json!([{"index": 1, "delta": {}, "finish_reason": "tool_calls"}])),
        &chunk(json!([{"index": 0, "delta": {}, "finish_reason": "stop"}])),
        USAGE,
        "[DONE]",
    ]);
    let events = read_answer(Format::OpenAiChat, stream.as_bytes());
    assert_eq!((failure(&events), has_usage(&events), &*text(&events)), (None, true, "Hello"));
    let function = |name: &str, arguments: &str| json!({"name": name, "arguments": arguments});
    assert_eq!(
        raws(&events),
        [
            json!({"id": "c", "object": "chat.completion", "created": 1, "model": "m", "service_tier": "default", "choices": [
            {"index": 0, "message": {"role": "assistant", "content": "Hello", "refusal": null},
                "logprobs": {"content": [{"token": "He", "logprob": -0.5}, {"token": "llo", "logprob": -0.5}], "refusal": null}, "finish_reason": "stop"},
            {"index": 1, "message": {"role": "assistant", "content": null, "refusal": null, "tool_calls": [
                {"id": "a", "type": "function", "function": function("sky", "{\"at\":1}")},
                {"id": "b", "type": "function", "function": function("sea", "{}")}]},
                "logprobs": null, "finish_reason": "tool_calls"}]})
        ]
    );
    let deltas: Vec<_> =
        events.iter().filter_map(|event| if let Event::Delta(delta) = event { Some(delta) } else { None }).collect();
    let [_, called] = deltas[..] else { panic!("{deltas:?}") };
    assert_eq!(called.written().collect::<String>(), r#"sky{"at":1}sea{}"#, "counted as written");

    let completion = |text: &str, tokens: Value, finish: Value| {
        json!({"id": "c", "object": "text_completion", "choices": [{"index": 0, "text": text, "logprobs": {"tokens": tokens}, "finish_reason": finish}]}).to_string()
    };
    let pieces = [completion("a", json!(["a"]), Value::Null), completion("b", json!(["b"]), "stop".into())];
    let events = read_answer(Format::OpenAiCompletions, stream_of(&[&pieces[0], &pieces[1], "[DONE]"]).as_bytes());
    let choice = &raws(&events)[0]["choices"][0];
    assert_eq!(
        (&choice["text"], &choice["logprobs"]["tokens"], &choice["finish_reason"]),
        (&json!("ab"), &json!(["a", "b"]), &json!("stop"))
    );

    let parts: Vec<String> =
        (0..=1_024).map(|index| chunk(json!([{"index": index, "delta": {"content": "x"}}]))).collect();
    let parts: Vec<&str> = parts.iter().map(String::as_str).chain(["[DONE]"]).collect();
    assert!(failure(&read_answer(Format::OpenAiChat, stream_of(&parts).as_bytes())).unwrap().contains("1024 parts"));
}

#[test]
fn a_connection_that_breaks_keeps_its_reason() {
    let (mut reader, mut events) = (Reader::new(Format::OpenAiChat), Vec::new());
    reader.feed(stream_of(&[&piece("Hi"), USAGE]).as_bytes(), &mut events);
    reader.cut(Failure::Timeout("idle"), &mut events);
    assert_eq!((failure(&events).as_deref(), has_usage(&events)), (Some("timeout: idle"), true));
    let (mut reader, mut events) = (Reader::new(Format::OpenAiChat), Vec::new());
    reader.feed((stream_of(&[&piece("Hi")]) + "data: [DONE]").as_bytes(), &mut events);
    reader.cut(Failure::Transport("reset".into()), &mut events);
    assert_eq!(failure(&events), None, "its last word had come");
}

proptest! {
    #[test]
    fn no_body_panics_and_each_has_one_end(body in "(data: |event: |error|\\{\"choices\":\\[|\\[DONE\\]|\n|\\}|.){0,60}", cut in 0_usize..200) {
        let bytes = body.as_bytes();
        let (begin, end) = bytes.split_at(cut.min(bytes.len()));
        for events in [read(&[begin, end]), read_answer(Format::OpenAiChat, bytes), read_answer(Format::OpenAiCompletions, bytes)] {
            let ends = events.iter().filter(|event| matches!(event, Event::Finished { .. } | Event::Failed(_)));
            prop_assert_eq!(ends.count(), 1);
        }
        prop_assert_eq!(read(&[begin, end]), read(&[bytes]), "however it is cut");
    }
}

/// The calls of an answer, each by its number with its name and arguments, and the reason of the end.
fn calls_of(events: &[Event]) -> (Vec<(u32, String)>, Option<crate::inference::FinishReason>) {
    let (mut calls, mut finish) = (Vec::<(u32, String)>::new(), None);
    for event in events {
        let Event::Delta(delta) = event else { continue };
        for call in &delta.calls {
            let words = call.name.clone().unwrap_or_default() + &call.arguments;
            match calls.iter_mut().find(|(index, _)| *index == call.index) {
                Some((_, known)) => known.push_str(&words),
                None => calls.push((call.index, words)),
            }
        }
        finish = finish.or_else(|| delta.finish.clone());
    }
    (calls, finish)
}

#[test]
fn calls_of_other_ids_are_other_calls_however_they_are_numbered() {
    let call = |number: Option<u32>, id: &str, name: &str, arguments: &str| {
        let mut call = json!({"function": {"arguments": arguments}});
        if !id.is_empty() {
            call = json!({"id": id, "type": "function", "function": {"name": name, "arguments": arguments}});
        }
        if let Some(number) = number {
            call["index"] = number.into();
        }
        json!({"choices": [{"index": 0, "delta": {"tool_calls": [call]}}]}).to_string()
    };
    let expected = (
        vec![(0, "sky{\"a\":1}".to_owned()), (1, "sea{}".to_owned())],
        Some(crate::inference::FinishReason::ToolCalls),
    );
    for number in [None, Some(0)] {
        let pieces = [call(number, "a", "sky", "{\"a\""), call(number, "", "", ":1}"), call(number, "b", "sea", "")];
        let end = r#"{"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}"#;
        let body = stream_of(&[&pieces[0], &pieces[1], &pieces[2], end, "[DONE]"]);
        let events = read(&[body.as_bytes()]);
        assert_eq!(calls_of(&events), expected, "{number:?}");
        // Clients of this format join the pieces by the numbers that the original says.
        let originals = events.iter().filter_map(|event| match event {
            Event::Delta(delta) => delta.raw.of(Format::OpenAiChat).map(Fields::to_json),
            _ => None,
        });
        let numbers = originals.filter_map(|json| {
            let chunk: Value = serde_json::from_str(&json).unwrap();
            chunk.pointer("/choices/0/delta/tool_calls/0/index").cloned()
        });
        assert_eq!(numbers.collect::<Vec<_>>(), [0, 0, 1], "{number:?}");
        // The same as a whole answer, where the provider streamed though none was asked for.
        let (calls, finish) = calls_of(&read_answer(Format::OpenAiChat, body.as_bytes()));
        assert_eq!((calls.len(), finish), (2, expected.1.clone()), "{number:?}");
        assert_eq!(calls[0], expected.0[0], "{number:?}");
    }
    let whole = r#"{"choices":[{"message":{"tool_calls":[{"index":0,"id":"a","function":{"name":"sky","arguments":"{\"a\":1}"}},
        {"index":0,"id":"b","function":{"name":"sea","arguments":"{}"}}]},"finish_reason":"stop"}]}"#;
    assert_eq!(calls_of(&read_answer(Format::OpenAiChat, whole.as_bytes())), expected);
    assert_eq!(calls_of(&read(&[whole.as_bytes()])), expected);
}
