use proptest::{collection, prelude::*, sample::select};
use serde_json::{Value, json};

use super::{Cohere, read_chat as read_own, read_embed};
use crate::{
    format::{ProviderFormat, Upstream, anthropic, gemini, mistral, openai, openai::read_chat, terms},
    inference::{Delta, Event, Failure, FinishReason, Format, ProviderError},
    sse::encode,
};

fn call(fields: &Value) -> Result<Value, Failure> {
    let mut body = json!({"model": "m", "messages": [{"role": "user", "content": "hi"}]});
    body.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    let request = read_chat(body.to_string().as_bytes()).unwrap();
    let call = Cohere.call(request, &Upstream { model: "command-a", max_output: 100, tier: None })?;
    Ok(serde_json::from_str(&call.body.to_json()).unwrap())
}

#[test]
fn a_chat_is_asked_in_coheres_words() {
    let called = json!({"id": "c", "type": "function", "function": {"name": "sky", "arguments": "{}"}});
    let tool = json!({"type": "function", "function": {"name": "sky", "description": "d", "parameters": {"type": "object"}, "strict": true}});
    let body = call(&json!({
        "messages": [
            {"role": "system", "content": "be brief"},
            {"role": "user", "name": "ada", "content": [
                {"type": "text", "text": "look"}, {"type": "image_url", "image_url": {"url": "https://x/y.png", "detail": "low"}}]},
            {"role": "assistant", "reasoning_content": "I will look", "tool_calls": [called]},
            {"role": "tool", "tool_call_id": "c", "content": "blue"},
            {"role": "assistant", "reasoning_content": "hm", "content": "It is blue"},
            {"role": "user", "content": "why"}],
        "tools": [tool], "tool_choice": "required", "user": "ada", "stream": true,
        "max_tokens": 50, "temperature": 0.7, "top_p": 1, "top_k": 900, "seed": 7, "stop": ["x"],
        "presence_penalty": 0.5, "frequency_penalty": 0.25, "reasoning_effort": "low",
    }));
    let mut plain = tool.clone();
    plain["function"].as_object_mut().unwrap().remove("strict");
    let expected = json!({
        "model": "command-a", "stream": true,
        "messages": [
            {"role": "system", "content": "be brief"},
            {"role": "user", "content": [
                {"type": "text", "text": "look"}, {"type": "image_url", "image_url": {"url": "https://x/y.png", "detail": "low"}}]},
            {"role": "assistant", "tool_plan": "I will look", "tool_calls": [called]},
            {"role": "tool", "tool_call_id": "c", "content": "blue"},
            {"role": "assistant", "content": [{"type": "thinking", "thinking": "hm"}, {"type": "text", "text": "It is blue"}]},
            {"role": "user", "content": "why"}],
        "tools": [plain], "strict_tools": true, "tool_choice": "REQUIRED",
        "thinking": {"type": "enabled", "token_budget": 1024},
        "max_tokens": 50, "frequency_penalty": 0.25, "presence_penalty": 0.5, "temperature": 0.7, "p": 0.99, "k": 500,
        "seed": 7, "stop_sequences": ["x"],
    });
    assert_eq!(body.unwrap(), expected);
}

#[test]
fn functions_of_before_there_were_tools_are_called_by_their_names() {
    let fields = json!({"messages": [{"role": "user", "content": "x"},
        {"role": "assistant", "content": null, "function_call": {"name": "sky", "arguments": "{}"}},
        {"role": "function", "name": "sky", "content": "blue"}]});
    let body = call(&fields).unwrap();
    assert_eq!(body["messages"][1]["tool_calls"][0]["id"], body["messages"][2]["tool_call_id"]);
    assert!(body["messages"][2]["tool_call_id"].is_string());
}

#[test]
fn what_can_not_be_said_is_refused_by_its_name() {
    let tools = json!([{"type": "function", "function": {"name": "f"}}]);
    for (fields, field) in [
        (json!({"frequency_penalty": -1}), "frequency_penalty"),
        (json!({"n": 2}), "n"),
        (json!({"tools": tools, "tool_choice": {"type": "function", "function": {"name": "f"}}}), "tool_choice"),
        (json!({"tools": tools, "response_format": {"type": "json_object"}}), "response_format"),
        (json!({"reasoning_effort": "hard"}), "reasoning_effort"),
        (json!({"verbosity": "low"}), "verbosity"),
    ] {
        let refused = call(&fields);
        assert!(matches!(&refused, Err(Failure::Invalid { field: named, .. }) if named == field), "{refused:?}");
    }
    let schema = json!({"type": "json_schema", "json_schema": {"name": "n", "schema": {"type": "object"}}});
    let format = call(&json!({"response_format": schema})).unwrap()["response_format"].clone();
    assert_eq!(format, json!({"type": "json_object", "json_schema": {"type": "object"}}));
}

const STREAM: &str = concat!(
    "event: message-start\ndata: {\"id\":\"i\",\"type\":\"message-start\",\"delta\":{\"message\":{\"role\":\"assistant\",",
    "\"content\":[],\"tool_plan\":\"\",\"tool_calls\":[],\"citations\":[]}}}\n\n",
    "event: content-start\ndata: {\"type\":\"content-start\",\"index\":0,\"delta\":{\"message\":{\"content\":{\"type\":\"thinking\",\"thinking\":\"\"}}}}\n\n",
    "event: content-delta\ndata: {\"type\":\"content-delta\",\"index\":0,\"delta\":{\"message\":{\"content\":{\"thinking\":\"hm é\"}}}}\n\n",
    "event: content-end\ndata: {\"type\":\"content-end\",\"index\":0}\n\n",
    "event: tool-plan-delta\ndata: {\"type\":\"tool-plan-delta\",\"delta\":{\"message\":{\"tool_plan\":\" then\"}}}\n\n",
    "event: content-start\ndata: {\"type\":\"content-start\",\"index\":1,\"delta\":{\"message\":{\"content\":{\"type\":\"text\",\"text\":\"\"}}}}\n\n",
    "event: content-delta\ndata: {\"type\":\"content-delta\",\"index\":1,\"delta\":{\"message\":{\"content\":{\"text\":\"Hello\"}}}}\n\n",
    "event: citation-start\ndata: {\"type\":\"citation-start\",\"index\":0,\"delta\":{\"message\":{\"citations\":{\"start\":0}}}}\n\n",
    "event: citation-end\ndata: {\"type\":\"citation-end\",\"index\":0}\n\n",
    "event: tool-call-start\ndata: {\"type\":\"tool-call-start\",\"index\":3,\"delta\":{\"message\":{\"tool_calls\":{\"id\":\"c1\",\"type\":",
    "\"function\",\"function\":{\"name\":\"sky\",\"arguments\":\"\"}}}}}\n\n",
    "event: tool-call-delta\ndata: {\"type\":\"tool-call-delta\",\"index\":3,\"delta\":{\"message\":{\"tool_calls\":{\"function\":",
    "{\"arguments\":\"{\\\"at\\\":1}\"}}}}}\n\n",
    "event: tool-call-end\ndata: {\"type\":\"tool-call-end\",\"index\":3}\n\n",
    "event: message-end\ndata: {\"type\":\"message-end\",\"id\":\"i\",\"delta\":{\"finish_reason\":\"TOOL_CALL\",\"usage\":{\"billed_units\":",
    "{\"input_tokens\":120.0,\"output_tokens\":60.0},\"tokens\":{\"input_tokens\":900.0,\"output_tokens\":70.0},\"cached_tokens\":800}}}\n\n",
);

/// Text, thoughts, calls, finish, and reported input and output.
type Said = (String, String, Vec<(u32, String)>, Option<FinishReason>, (Option<u64>, Option<u64>), String);

fn said(events: &[Event]) -> Said {
    let mut said = Said::default();
    for event in events {
        match event {
            Event::Delta(Delta { text, reasoning, calls, finish, .. }) => {
                said.0.push_str(text);
                said.1.push_str(reasoning);
                said.2.extend(calls.iter().map(|call| {
                    let names = [call.id.clone(), call.name.clone()].into_iter().flatten().collect::<String>();
                    (call.index, names + &call.arguments)
                }));
                said.3 = finish.clone().or(said.3);
            }
            Event::Reported(report) => said.4 = (report.input, report.output),
            Event::Finished { .. } => said.5 = "finished".into(),
            Event::Failed(failure) => said.5 = failure.to_string(),
            _ => {}
        }
    }
    said
}

#[test]
fn a_stream_is_the_same_wherever_it_is_split() {
    let calls = vec![(0, "c1sky".into()), (0, "{\"at\":1}".into())];
    let finish = Some(FinishReason::ToolCalls);
    let whole: Said = ("Hello".into(), "hm é then".into(), calls, finish, (Some(120), Some(60)), "finished".into());
    for cut in 0..=STREAM.len() {
        let (mut reader, mut events) = (Cohere.reader(Format::Cohere), Vec::new());
        reader.feed(&STREAM.as_bytes()[..cut], &mut events);
        reader.feed(&STREAM.as_bytes()[cut..], &mut events);
        reader.end(&mut events);
        assert_eq!(said(&events), whole, "cut at {cut}");
    }
}

#[test]
fn a_stream_that_ends_before_its_end_is_cut() {
    let end = STREAM.find("\"message-end\"").unwrap();
    for cut in 0..end {
        let (mut reader, mut events) = (Cohere.reader(Format::Cohere), Vec::new());
        reader.feed(&STREAM.as_bytes()[..cut], &mut events);
        reader.end(&mut events);
        let failures = events.iter().filter(|event| matches!(event, Event::Failed(_))).count();
        assert_eq!(failures, 1, "cut at {cut}: {events:?}");
    }
}

#[test]
fn a_whole_answer_and_its_ends_are_read() {
    let of = |finish: &str, more: Value| {
        let mut answer = json!({"id": "i", "finish_reason": finish, "message": {"role": "assistant",
            "tool_plan": "plan", "content": [{"type": "thinking", "thinking": "hm"}, {"type": "text", "text": "hi"}],
            "tool_calls": [{"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}]},
            "usage": {"billed_units": {"input_tokens": 5.0, "output_tokens": 418}, "tokens": {"input_tokens": 71}}});
        answer.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        said(&Cohere.read_whole(Format::Cohere, answer.to_string().as_bytes()))
    };
    let (text, thoughts, calls, finish, usage, end) = of("COMPLETE", json!({}));
    assert_eq!((text.as_str(), thoughts.as_str(), calls), ("hi", "planhm", vec![(0, "cf{}".into())]));
    // The reason is said by the calls, also where the provider has another word.
    assert_eq!((finish, usage, end.as_str()), (Some(FinishReason::ToolCalls), (Some(5), Some(418)), "finished"));
    let without = json!({"message": {"role": "assistant", "content": [{"type": "text", "text": "hi"}]}});
    assert_eq!(of("COMPLETE", without).3, Some(FinishReason::Stop));
    assert_eq!(of("MAX_TOKENS", json!({})).3, Some(FinishReason::Length));
    assert_eq!(of("STOP_SEQUENCE", json!({"usage": {"tokens": {"input_tokens": 71}}})).4, (None, None));
    let failed = of("ERROR", json!({}));
    assert!(
        failed.3.is_none() && failed.4 == (Some(5), Some(418)) && failed.5.contains("gave the answer up"),
        "{failed:?}"
    );
    assert!(of("TIMEOUT", json!({"error": "too slow"})).5.contains("504: too slow"));
}

#[test]
fn errors_are_read_in_answers_and_refusals() {
    let refusal = Cohere.read_refusal(401, br#"{"id":"x","message":"invalid api token"}"#);
    assert_eq!(refusal, ProviderError { status: 401, message: "invalid api token".into(), ..ProviderError::default() });
    for body in [
        r#"{"message":"too long"}"#,
        "data: {\"message\":\"too long\"}\n\n",
        "data: {\"type\":\"x\",\"error\":\"too long\"}\n\n",
    ] {
        assert!(said(&Cohere.read_whole(Format::Cohere, body.as_bytes())).5.contains("too long"), "{body}");
    }
    for body in ["", "{}", "<html>", "data: {\n\ndata: x\n\n"] {
        assert!(!said(&Cohere.read_whole(Format::Cohere, body.as_bytes())).5.contains("finished"), "{body}");
    }
}

/// Events with members of any kind.
fn odd_event() -> impl Strategy<Value = Value> {
    let kinds = vec![
        "message-start",
        "content-start",
        "content-delta",
        "tool-plan-delta",
        "tool-call-start",
        "tool-call-delta",
        "citation-start",
        "message-end",
        "x",
    ];
    let odd = prop_oneof![
        Just(json!(null)),
        Just(json!([])),
        Just(json!({})),
        Just(json!("x")),
        Just(json!(-1.5)),
        any::<u64>().prop_map(Value::from)
    ];
    (select(kinds), collection::vec(odd, 8)).prop_map(|(kind, odd)| {
        json!({"type": kind, "index": odd[0], "message": odd[7], "delta": {"finish_reason": odd[1], "error": odd[2],
            "usage": {"billed_units": {"input_tokens": odd[3], "output_tokens": odd[4]}},
            "message": {"content": odd[5], "tool_plan": odd[6],
                "tool_calls": {"id": odd[7], "function": {"arguments": odd[5]}}}}})
    })
}

/// Values of any shape, with the names that requests have.
fn odd_value() -> impl Strategy<Value = Value> {
    let names = [
        "role",
        "content",
        "type",
        "text",
        "image_url",
        "url",
        "document",
        "data",
        "tool_calls",
        "function",
        "name",
        "thinking",
    ];
    let words = [
        "user",
        "assistant",
        "tool",
        "text",
        "image_url",
        "document",
        "thinking",
        "function",
        "enabled",
        "json_object",
        "",
    ];
    let leaf = prop_oneof![
        Just(json!(null)),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        select(words.to_vec()).prop_map(Value::from)
    ];
    leaf.prop_recursive(4, 24, 4, move |inner| {
        let object = collection::vec((select(names.to_vec()), inner.clone()), 0..4);
        let object = object.prop_map(|pairs| pairs.into_iter().map(|(name, value)| (name.to_owned(), value)).collect());
        prop_oneof![collection::vec(inner, 0..3).prop_map(Value::from), object.prop_map(Value::Object)]
    })
}

proptest! {
    #[test]
    fn no_request_panics(odd in collection::vec(odd_value(), 8), texts in any::<bool>()) {
        let chat = json!({"model": "m", "messages": [{"role": "user", "content": odd[0]}, odd[1], {"role": "assistant",
            "content": [odd[2]], "tool_calls": odd[3]}], "tools": odd[4], "response_format": odd[5], "thinking": odd[6],
            "stop_sequences": odd[7]});
        let inputs = if texts { "texts" } else { "inputs" };
        let embed = json!({"model": "m", "input_type": "search_query", inputs: [odd[0], {"content": odd[1]}], "embedding_types": odd[2]});
        for request in [read_own(chat.to_string().as_bytes()), read_embed(embed.to_string().as_bytes())].into_iter().flatten() {
            let _ = terms(&request);
            let upstream = Upstream { model: "up", max_output: 100, tier: None };
            let formats: [&dyn ProviderFormat; 4] = [&Cohere, &openai::OpenAi, &anthropic::Anthropic, &gemini::Gemini];
            for format in formats {
                let _ = format.call(request.clone(), &upstream);
            }
        }
    }

    #[test]
    fn no_body_panics_and_each_ends_once(all in collection::vec(odd_event(), 0..6), bytes in collection::vec(any::<u8>(), 0..40), at in 0_usize..600) {
        let stream = all.iter().fold(String::new(), |stream, event| stream + &encode(&event.to_string()));
        let whole = Value::from(all).to_string();
        for body in [stream.clone().into_bytes(), stream.as_bytes()[..at.min(stream.len())].to_vec(), whole.into_bytes(), bytes] {
            let events = Cohere.read_whole(Format::Cohere, &body);
            let ends = events.iter().filter(|event| matches!(event, Event::Finished { .. } | Event::Failed(_))).count();
            let is_last = matches!(events.last(), Some(Event::Finished { .. } | Event::Failed(_)));
            prop_assert!(ends == 1 && is_last);
        }
    }
}

#[test]
fn a_clients_bytes_and_headers_pass_and_the_model_is_named_as_cohere_does() {
    let text = r#"{ "model" : "command-a","messages": [ {"role":"user","content":"h\u00e9"} ], "documents":["d"],
        "citation_options":{"mode":"FAST"},"logprobs":true,"new":[1] }"#;
    let mut request = read_own(text.as_bytes()).unwrap();
    request.source.headers = vec![("x-client-name".into(), "app".into())];
    let upstream = Upstream { model: "command-a", max_output: 100, tier: None };
    let call = Cohere.call(request.clone(), &upstream).unwrap();
    assert_eq!((&*call.path, call.body.to_json(), call.is_forwarded), ("/chat", text.to_owned(), true));
    assert_eq!(call.headers, [("x-client-name".into(), "app".into())]);
    let mut other = Cohere.call(request, &Upstream { model: "other", ..upstream }).unwrap();
    Cohere.limit(&mut other, 5);
    let expected = text.replace("\"command-a\"", "\"other\"").replace("[1] }", "[1],\"max_tokens\":5 }");
    assert_eq!(other.body.to_json(), expected);
}

/// A chat of Cohere's with all that others have words for.
fn chat() -> Value {
    let called = json!({"id": "c", "type": "function", "function": {"name": "sky", "arguments": "{}"}});
    let tool = json!({"type": "function", "function": {"name": "sky", "description": "d", "parameters": {"type": "object", "additionalProperties": false}}});
    json!({"model": "m", "messages": [
            {"role": "system", "content": "be brief"},
            {"role": "user", "content": [{"type": "text", "text": "look"}, {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA"}}]},
            {"role": "assistant", "tool_plan": "I will look", "tool_calls": [called]},
            {"role": "tool", "tool_call_id": "c", "content": [{"type": "document", "document": {"id": "d", "data": {"sky": "blue"}}}]}],
        "tools": [tool], "tool_choice": "REQUIRED", "strict_tools": true, "max_tokens": 50, "temperature": 0.5, "p": 0.75,
        "stop_sequences": ["x"], "stream": true, "priority": 1})
}

#[test]
fn a_chat_is_asked_of_others_in_their_words() {
    let upstream = Upstream { model: "up", max_output: 100, tier: None };
    let sent = |format: &dyn ProviderFormat| -> Value {
        let call = format.call(read_own(chat().to_string().as_bytes()).unwrap(), &upstream).unwrap();
        serde_json::from_str(&call.body.to_json()).unwrap()
    };
    let openais = sent(&openai::OpenAi);
    assert_eq!(openais["messages"][3], json!({"role": "tool", "tool_call_id": "c", "content": "{\"sky\":\"blue\"}"}));
    assert_eq!(
        (&openais["tools"][0]["function"]["strict"], &openais["tool_choice"]),
        (&json!(true), &json!("required"))
    );
    assert_eq!((&openais["top_p"], &openais["stop"], &openais["stream"]), (&json!(0.75), &json!(["x"]), &json!(true)));
    let anthropics = sent(&anthropic::Anthropic);
    assert_eq!(
        (&anthropics["system"][0]["text"], &anthropics["tool_choice"]["type"]),
        (&json!("be brief"), &json!("any"))
    );
    assert_eq!(anthropics["messages"][2]["content"][0]["tool_use_id"], "c");
    let googles = sent(&gemini::Gemini);
    assert_eq!(googles["generationConfig"]["maxOutputTokens"], 50);
    let mistrals = sent(&mistral::Mistral);
    assert_eq!(mistrals["tool_choice"], "any");
}

#[test]
fn what_others_have_no_words_for_is_refused_by_coheres_name() {
    let formats: [&dyn ProviderFormat; 4] =
        [&openai::OpenAi, &anthropic::Anthropic, &gemini::Gemini, &mistral::Mistral];
    for (more, field, refusing) in [
        (json!({"documents": ["d"]}), "documents", 4),
        (json!({"citation_options": {"mode": "ACCURATE"}}), "citation_options", 4),
        (json!({"safety_mode": "STRICT"}), "safety_mode", 4),
        (json!({"logprobs": true}), "logprobs", 4),
        (json!({"k": 5}), "k", 1),
        (json!({"frequency_penalty": 0.5}), "frequency_penalty", 1),
        (json!({"response_format": {"type": "json_object"}}), "response_format", 1),
    ] {
        let mut body = json!({"model": "m", "messages": [{"role": "user", "content": "x"}]});
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let request = read_own(body.to_string().as_bytes()).unwrap();
        let upstream = Upstream { model: "up", max_output: 100, tier: None };
        let refused = formats.into_iter().filter_map(|format| format.call(request.clone(), &upstream).err());
        let fields: Vec<_> = refused
            .map(|failure| match failure {
                Failure::Invalid { field, .. } => field,
                other => panic!("{other:?}"),
            })
            .collect();
        assert_eq!(fields, vec![field; refusing], "{more}");
    }
}

#[test]
fn a_call_without_arguments_has_an_empty_object_and_a_stop_text_a_reason_of_its_own() {
    let arguments = STREAM.find("event: tool-call-delta").unwrap()..STREAM.rfind("event: tool-call-end").unwrap();
    let bare = [&STREAM[..arguments.start], &STREAM[arguments.end..]].concat();
    let told = said(&Cohere.read_whole(Format::Cohere, bare.replace("TOOL_CALL", "COMPLETE").as_bytes()));
    assert_eq!(told.2, [(0, "c1sky".to_owned()), (0, "{}".to_owned())]);
    assert_eq!(told.3, Some(FinishReason::ToolCalls));
    let stopped = r#"{"id":"i","finish_reason":"STOP_SEQUENCE","message":{"content":[{"type":"text","text":"hi"}]}}"#;
    assert_eq!(said(&Cohere.read_whole(Format::Cohere, stopped.as_bytes())).3, Some(FinishReason::StopText(None)));
}
