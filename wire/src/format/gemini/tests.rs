use proptest::{collection, prelude::*, sample::select};
use serde_json::{Value, json};

use super::Gemini;
use crate::{
    format::{ProviderFormat as _, Upstream, openai::read_chat},
    inference::{Delta, Event, Failure, FinishReason, Format, Request},
    sse::encode,
};

fn request(fields: &Value) -> Request {
    let mut body = json!({"model": "m", "messages": [{"role": "user", "content": "hi"}]});
    body.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    read_chat(body.to_string().as_bytes()).unwrap()
}

fn call(model: &str, fields: &Value) -> Result<(String, Value), Failure> {
    let call = Gemini.call(request(fields), &Upstream { model, max_output: 100, tier: None })?;
    Ok((call.path.into_owned(), serde_json::from_str(&call.body.to_json()).unwrap()))
}

#[expect(clippy::needless_pass_by_value, reason = "it is made where it is asked about")]
fn body(fields: Value) -> Value {
    call("gemini-3.8-flash", &fields).unwrap().1
}

fn refused(fields: &Value) -> String {
    match call("gemini-3.8-flash", fields) {
        Err(Failure::Invalid { field, .. }) => field,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_chat_is_asked_in_geminis_words() {
    let tool =
        json!({"type": "function", "function": {"name": "sky", "description": "d", "parameters": {"type": "object"}}});
    let (path, body) = call(
        "gemini-3.8-flash",
        &json!({
            "messages": [
                {"role": "system", "content": "be brief"},
                {"role": "user", "content": [
                    {"type": "text", "text": "look"},
                    {"type": "image_url", "image_url": {"url": "data:image/webp;base64,AAAA"}},
                    {"type": "input_audio", "input_audio": {"data": "BBBB", "format": "mp3"}},
                    {"type": "file", "file": {"file_data": "data:application/pdf;base64,CC", "filename": "a.pdf"}}]},
                {"role": "user", "content": "and"},
                {"role": "assistant", "content": "", "tool_calls": [
                    {"id": "c", "type": "function", "function": {"name": "sky", "arguments": "{\"at\": 1}"}},
                    {"id": "d", "type": "function", "function": {"name": "sky", "arguments": ""}}]},
                {"role": "tool", "tool_call_id": "c", "content": "blue"},
                {"role": "tool", "tool_call_id": "d", "content": [{"type": "text", "text": "red"}]},
                {"role": "developer", "content": "be kind"}],
            "tools": [tool], "tool_choice": "required", "stream": true, "user": "ada",
            "max_completion_tokens": 50, "temperature": 0.7, "top_p": 0.9, "top_k": 40, "seed": 5_000_000_000_u64,
            "stop": ["x"], "n": 2, "presence_penalty": 0.5, "frequency_penalty": 0.25, "logprobs": true, "top_logprobs": 3,
            "reasoning_effort": "high",
            "response_format": {"type": "json_schema", "json_schema": {"name": "n", "schema": {"type": "object"}}}
        }),
    )
    .unwrap();
    assert_eq!(path, "/models/gemini-3.8-flash:streamGenerateContent?alt=sse");
    let call = |id: &str, args: Value| json!({"functionCall": {"name": "sky", "args": args, "id": id}});
    let result =
        |id: &str, text: &str| json!({"functionResponse": {"name": "sky", "response": {"output": text}, "id": id}});
    let mut first = call("c", json!({"at": 1}));
    first["thoughtSignature"] = "skip_thought_signature_validator".into();
    let data = |kind: &str, data: &str| json!({"inlineData": {"mimeType": kind, "data": data}});
    let expected = json!({
        "contents": [
            {"role": "user", "parts": [{"text": "look"}, data("image/webp", "AAAA"), data("audio/mp3", "BBBB"),
                {"text": "a.pdf"}, data("application/pdf", "CC"), {"text": "and"}]},
            {"role": "model", "parts": [first, call("d", json!({}))]},
            {"role": "user", "parts": [result("c", "blue"), result("d", "red")]}],
        "systemInstruction": {"parts": [{"text": "be brief"}, {"text": "be kind"}]},
        "tools": [{"functionDeclarations": [{"name": "sky", "description": "d", "parametersJsonSchema": {"type": "object"}}]}],
        "toolConfig": {"functionCallingConfig": {"mode": "ANY"}},
        "generationConfig": {"maxOutputTokens": 50, "temperature": 0.7, "topP": 0.9, "topK": 40, "seed": 705_032_704,
            "presencePenalty": 0.5, "frequencyPenalty": 0.25, "stopSequences": ["x"], "candidateCount": 2,
            "responseLogprobs": true, "logprobs": 3, "responseMimeType": "application/json",
            "responseJsonSchema": {"type": "object"}, "thinkingConfig": {"thinkingLevel": "HIGH", "includeThoughts": true}}
    });
    assert_eq!(body, expected);
}

#[test]
fn what_was_not_asked_for_is_not_written() {
    let (path, plain) = call("gemini-2.5-pro", &json!({})).unwrap();
    assert_eq!(path, "/models/gemini-2.5-pro:generateContent");
    assert_eq!(plain, json!({"contents": [{"role": "user", "parts": [{"text": "hi"}]}]}));
    let limited = |fields: Value| {
        let mut call = Gemini.call(request(&fields), &Upstream { model: "m", max_output: 100, tier: None }).unwrap();
        Gemini.limit(&mut call, 7);
        call.body.read::<Value>("generationConfig", "an object").unwrap().unwrap()
    };
    assert_eq!(limited(json!({"temperature": 0.7})), json!({"temperature": 0.7, "maxOutputTokens": 7}));
    assert_eq!(limited(json!({})), json!({"maxOutputTokens": 7}));
    let alone = body(json!({"messages": [{"role": "system", "content": "sing"}]}));
    assert_eq!(alone, json!({"contents": [{"role": "user", "parts": [{"text": "sing"}]}]}));
}

#[test]
fn reasoning_is_asked_for_as_the_model_counts_it() {
    let of = |model: &str, effort: &str| {
        call(model, &json!({"reasoning_effort": effort})).unwrap().1["generationConfig"]["thinkingConfig"].clone()
    };
    assert_eq!(of("gemini-3.8-flash", "none"), json!({"thinkingLevel": "MINIMAL", "includeThoughts": false}));
    assert_eq!(of("gemini-4-argon", "xhigh"), json!({"thinkingLevel": "XHIGH", "includeThoughts": true}));
    assert_eq!(of("gemini-2.5-flash", "none"), json!({"thinkingBudget": 0, "includeThoughts": false}));
    assert_eq!(of("gemini-2.5-flash", "medium"), json!({"thinkingBudget": 8192, "includeThoughts": true}));
    assert_eq!(refused(&json!({"reasoning_effort": "hard"})), "reasoning_effort");
    // Models that always reason are asked for the least.
    assert_eq!(of("gemini-2.5-pro", "none"), json!({"thinkingBudget": 128, "includeThoughts": false}));
    assert_eq!(of("gemini-2.5-pro-preview", "low"), json!({"thinkingBudget": 1024, "includeThoughts": true}));
    assert_eq!(of("gemini-3.1-pro-preview", "none"), json!({"thinkingLevel": "LOW", "includeThoughts": false}));
    assert_eq!(of("gemini-3-pro-preview", "medium"), json!({"thinkingLevel": "HIGH", "includeThoughts": true}));
    assert_eq!(of("gemini-2.0-flash", "none"), Value::Null, "it never reasons");
    let never = call("gemini-2.0-flash", &json!({"reasoning_effort": "low"}));
    assert!(matches!(never, Err(Failure::Invalid { field, .. }) if field == "reasoning_effort"));
}

#[test]
fn an_older_model_is_not_asked_for_json_beside_tools() {
    let tool = json!({"type": "function", "function": {"name": "f"}});
    let asked = json!({"tools": [tool], "response_format": {"type": "json_object"}});
    assert!(call("gemini-3.8-flash", &asked).is_ok());
    let refused = call("gemini-2.5-flash", &asked);
    assert!(matches!(refused, Err(Failure::Invalid { field, .. }) if field == "response_format"));
}

#[test]
fn tools_are_chosen_as_they_were() {
    let mode = |choice: Value, strict: bool| {
        let tool = json!({"type": "function", "function": {"name": "f", "strict": strict}});
        body(json!({"tools": [tool], "tool_choice": choice}))["toolConfig"]["functionCallingConfig"].clone()
    };
    assert_eq!(mode(json!(null), false), Value::Null);
    assert_eq!(mode(json!("auto"), false), json!({"mode": "AUTO"}));
    assert_eq!(mode(json!(null), true), json!({"mode": "VALIDATED"}));
    assert_eq!(mode(json!("none"), true), json!({"mode": "NONE"}));
    let named = json!({"type": "function", "function": {"name": "f"}});
    assert_eq!(mode(named, true), json!({"mode": "ANY", "allowedFunctionNames": ["f"]}));
}

#[test]
fn what_can_not_be_said_is_refused_by_its_name() {
    let image = json!({"type": "image_url", "image_url": {"url": "https://x/y.png"}});
    assert_eq!(refused(&json!({"messages": [{"role": "user", "content": [image]}]})), "messages[0]");
    assert_eq!(refused(&json!({"logit_bias": {"5": 1}})), "logit_bias");
    let tool = json!({"type": "function", "function": {"name": "f"}});
    assert_eq!(refused(&json!({"tools": [tool], "parallel_tool_calls": false})), "parallel_tool_calls");
    assert_eq!(refused(&json!({"web_search_options": {}})), "web_search_options");
    let orphan = json!({"role": "tool", "tool_call_id": "c", "content": "x"});
    assert_eq!(refused(&json!({"messages": [{"role": "user", "content": "x"}, orphan]})), "messages[1]");
    let bad = json!({"role": "assistant", "tool_calls": [{"id": "c", "type": "function", "function": {"name": "f", "arguments": "{"}}]});
    assert_eq!(refused(&json!({"messages": [bad]})), "messages[0]");
}

/// The parts of the model's turns, for messages after a question.
fn model_parts(model: &str, messages: &[Value]) -> Vec<Value> {
    let all: Vec<Value> = std::iter::once(json!({"role": "user", "content": "q"})).chain(messages.to_vec()).collect();
    let body = call(model, &json!({"messages": all})).unwrap().1;
    let turns = body["contents"].as_array().unwrap().iter().filter(|turn| turn["role"] == "model");
    turns.flat_map(|turn| turn["parts"].as_array().unwrap().clone()).collect()
}

#[test]
fn a_thoughts_proof_goes_back_where_it_came() {
    let thought = |proof: &str| json!({"type": "thinking", "thinking": "hm", "signature": proof});
    let calls = json!([{"id": "a", "type": "function", "function": {"name": "f", "arguments": "{}"}},
        {"id": "b", "type": "function", "function": {"name": "g", "arguments": "{}"}}]);
    let said = json!({"type": "text", "text": "so"});
    let proofs = |parts: &[Value]| parts.iter().map(|part| part["thoughtSignature"].clone()).collect::<Vec<_>>();
    let calling = json!({"role": "assistant", "content": [thought("google:p1"), said], "tool_calls": calls});
    let found = model_parts("gemini-3.8-flash", &[calling]);
    assert_eq!(proofs(&found), [json!(null), json!("p1"), json!(null)], "the first call alone has it");
    let speaking = json!({"role": "assistant", "content": [thought("google:p2"), said]});
    assert_eq!(proofs(&model_parts("gemini-3.8-flash", &[speaking])), [json!("p2")]);
    let after = json!({"role": "assistant", "content": [said, thought("google:p3")]});
    assert_eq!(proofs(&model_parts("gemini-3.8-flash", &[after])), [json!("p3")], "as a stream tells it at its end");
    let unproven = json!({"role": "assistant", "tool_calls": calls});
    let others = json!({"role": "assistant", "content": [thought("another's")], "tool_calls": calls});
    assert_eq!(
        model_parts("gemini-3.8-flash", &[others]),
        model_parts("gemini-3.8-flash", std::slice::from_ref(&unproven))
    );
    let result = json!({"role": "tool", "tool_call_id": "a", "content": "x"});
    let all = [unproven.clone(), result.clone(), unproven.clone()];
    let (none, skip) = (json!(null), json!("skip_thought_signature_validator"));
    assert_eq!(proofs(&model_parts("gemini-3.8-flash", &all)), [skip.clone(), none.clone(), skip, none.clone()]);
    assert_eq!(proofs(&model_parts("gemini-2.5-pro", &all)), vec![none.clone(); 4]);
    let past = [unproven, result, json!({"role": "user", "content": "next"})];
    assert_eq!(proofs(&model_parts("gemini-3.8-flash", &past)), vec![none; 2], "a turn that is over is not checked");
}

/// A stream as Google sends it: thoughts, text, a call with a proof, and a running usage.
const STREAM: &str = concat!(
    "data: {\"candidates\":[{\"content\":{\"parts\":[{\"text\":\"hm é\",\"thought\":true}],\"role\":\"model\"},\"index\":0}],",
    "\"usageMetadata\":{\"promptTokenCount\":10,\"totalTokenCount\":10},\"modelVersion\":\"m\",\"responseId\":\"r1\"}\r\n\r\n",
    "data: {\"candidates\":[{\"content\":{\"parts\":[{\"text\":\"Hello\"},{\"functionCall\":{\"name\":\"sky\",\"args\":{\"at\":1}},",
    "\"thoughtSignature\":\"cHJvb2Y=\"}],\"role\":\"model\"},\"index\":0}],\"usageMetadata\":{\"promptTokenCount\":10,",
    "\"candidatesTokenCount\":3,\"thoughtsTokenCount\":2,\"totalTokenCount\":15},\"responseId\":\"r1\"}\r\n\r\n",
    "data: {\"candidates\":[{\"content\":{\"parts\":[{\"text\":\"\"}],\"role\":\"model\"},\"finishReason\":\"STOP\",\"index\":0}],",
    "\"usageMetadata\":{\"promptTokenCount\":10,\"candidatesTokenCount\":5,\"thoughtsTokenCount\":2,\"totalTokenCount\":17},",
    "\"responseId\":\"r1\"}\r\n\r\n",
);

fn read(pieces: &[&[u8]]) -> Vec<Event> {
    let (mut reader, mut events) = (Gemini.reader(Format::Gemini), Vec::new());
    for piece in pieces {
        reader.feed(piece, &mut events);
    }
    reader.end(&mut events);
    assert!(reader.is_over());
    events
}

/// What was said, and how it ended.
#[derive(Debug, Default, PartialEq)]
struct Said {
    text: String,
    thoughts: String,
    proofs: Vec<String>,
    calls: Vec<(u32, String, String)>,
    finish: Option<FinishReason>,
    usage: Option<(Option<u64>, Option<u64>)>,
    end: String,
}

fn said(events: &[Event]) -> Said {
    let mut said = Said::default();
    for event in events {
        match event {
            Event::Delta(Delta { text, reasoning, signature, calls, finish, .. }) => {
                said.text.push_str(text);
                said.thoughts.push_str(reasoning);
                said.proofs.extend(signature.as_deref().map(str::to_owned));
                said.calls
                    .extend(calls.iter().map(|call| (call.index, call.name.clone().unwrap(), call.arguments.clone())));
                said.finish = finish.clone().or(said.finish);
            }
            Event::Reported(report) => said.usage = Some((report.input, report.output)),
            Event::Finished { .. } => said.end = "finished".into(),
            Event::Failed(failure) => said.end = failure.to_string(),
            _ => {}
        }
    }
    said
}

fn whole_said() -> Said {
    Said {
        text: "Hello".into(),
        thoughts: "hm é".into(),
        proofs: vec!["google:cHJvb2Y=".into()],
        calls: vec![(0, "sky".into(), "{\"at\":1}".into())],
        finish: Some(FinishReason::ToolCalls),
        usage: Some((Some(10), Some(7))),
        end: "finished".into(),
    }
}

#[test]
fn a_stream_is_the_same_wherever_it_is_split() {
    let bytes = STREAM.as_bytes();
    for cut in 0..=bytes.len() {
        assert_eq!(said(&read(&[&bytes[..cut], &bytes[cut..]])), whole_said(), "cut at {cut}");
    }
    assert_eq!(said(&read(&bytes.chunks(1).collect::<Vec<_>>())), whole_said());
}

/// The stream's objects as one array, as without `alt=sse`.
fn array() -> String {
    let objects: Vec<&str> = STREAM.lines().filter_map(|line| line.strip_prefix("data: ")).collect();
    format!("[{}\n]", objects.join(",\r\n"))
}

#[test]
fn an_array_and_one_object_are_read_too() {
    let array = array();
    for cut in 0..=array.len() {
        assert_eq!(said(&read(&[&array.as_bytes()[..cut], &array.as_bytes()[cut..]])), whole_said(), "cut at {cut}");
    }
    assert_eq!(said(&Gemini.read_whole(Format::Gemini, array.as_bytes())), whole_said());
    assert_eq!(said(&Gemini.read_whole(Format::Gemini, STREAM.as_bytes())), whole_said());
    let whole = json!({"candidates": [{"content": {"parts": [{"text": "hi"}], "role": "model"}, "finishReason": "MAX_TOKENS"}],
        "usageMetadata": {"promptTokenCount": 1, "candidatesTokenCount": 1, "totalTokenCount": 2}});
    let events = Gemini.read_whole(Format::Gemini, whole.to_string().as_bytes());
    assert_eq!((said(&events).text.as_str(), said(&events).finish), ("hi", Some(FinishReason::Length)));
}

#[test]
fn a_stream_that_ends_before_its_finish_is_cut() {
    let end = STREAM.find("\"finishReason\"").unwrap();
    for cut in 0..end {
        let events = read(&[&STREAM.as_bytes()[..cut]]);
        let failures = events.iter().filter(|event| matches!(event, Event::Failed(_))).count();
        assert_eq!((failures, said(&events).finish), (1, None), "cut at {cut}: {events:?}");
    }
    let (mut reader, mut events) = (Gemini.reader(Format::Gemini), Vec::new());
    reader.feed(STREAM.as_bytes(), &mut events);
    reader.cut(Failure::Transport("gone".into()), &mut events);
    assert_eq!(said(&events), whole_said(), "an answer that is whole stays so");
}

#[test]
fn an_error_within_a_stream_ends_it() {
    let error = "{\n  \"error\": {\n    \"code\": 503,\n    \"message\": \"overloaded\",\n    \"status\": \"UNAVAILABLE\"\n  }\n}\n";
    let first = STREAM.split_inclusive("\r\n\r\n").next().unwrap();
    for text in
        [format!("{first}{error}"), format!("{first}data: {}\n\n", error.replace('\n', "")), format!("[{error}]")]
    {
        let events = read(&[text.as_bytes()]);
        let Some(Event::Failed(Failure::Provider(error))) = events.last() else { panic!("{events:?}") };
        assert_eq!((error.status, error.message.as_str()), (503, "overloaded"), "{text}");
    }
}

#[test]
fn every_reason_to_end_has_a_meaning() {
    let of = |reason: &str| {
        let answer = json!({"candidates": [{"content": {"parts": [{"text": "x"}]}, "finishReason": reason}],
            "usageMetadata": {"promptTokenCount": 4, "totalTokenCount": 4}});
        said(&Gemini.read_whole(Format::Gemini, answer.to_string().as_bytes()))
    };
    for (reason, finish) in [
        ("STOP", FinishReason::Stop),
        ("MAX_TOKENS", FinishReason::Length),
        ("CONTINUATION", FinishReason::Length),
        ("SAFETY", FinishReason::ContentFilter),
        ("SPII", FinishReason::ContentFilter),
        ("OTHER", FinishReason::Other("OTHER".into())),
    ] {
        assert_eq!((of(reason).finish, of(reason).end.as_str()), (Some(finish), "finished"), "{reason}");
    }
    for reason in super::finish::FAULTS {
        let said = of(reason);
        assert!(said.finish.is_none() && said.end.contains(reason) && said.usage.is_some(), "{said:?}");
    }
    let blocked = json!({"promptFeedback": {"blockReason": "SAFETY"}, "usageMetadata": {"promptTokenCount": 4}});
    let blocked = said(&Gemini.read_whole(Format::Gemini, blocked.to_string().as_bytes()));
    assert_eq!((blocked.finish, blocked.end.as_str()), (Some(FinishReason::ContentFilter), "finished"));
}

#[test]
fn bodies_without_an_answer_fail_in_words() {
    for (body, words) in [
        ("", "answered nothing"),
        ("<html><title>502</title></html>", "502"),
        ("{}", "no content"),
        ("{\"candidates\":[]}", "no content"),
        ("{\"candidates\":[{\"content\"", "was cut"),
        ("data: {\"candidates\":[{\n\ndata: x\n\n", "not of a known shape"),
    ] {
        let events = Gemini.read_whole(Format::Gemini, body.as_bytes());
        assert!(said(&events).end.contains(words), "{body}: {events:?}");
    }
}

#[test]
fn a_call_without_an_id_gets_one_that_is_its_own() {
    let of = |answer: &str, parts: Value| {
        let answer =
            json!({"responseId": answer, "candidates": [{"content": {"parts": parts}, "finishReason": "STOP"}]});
        let events = Gemini.read_whole(Format::Gemini, answer.to_string().as_bytes());
        let deltas =
            events.into_iter().filter_map(|event| if let Event::Delta(delta) = event { Some(delta) } else { None });
        deltas.flat_map(|delta| delta.calls).map(|call| call.id.unwrap()).collect::<Vec<_>>()
    };
    let call = json!({"functionCall": {"name": "f", "args": {}}});
    let named = json!({"functionCall": {"id": "own", "name": "f"}});
    let ids = of("a", json!([call, call, named]));
    assert!(ids[0] != ids[1] && ids[2] == "own" && ids[0].starts_with("call_"), "{ids:?}");
    assert_eq!(of("a", json!([call]))[0], ids[0], "the same answer has the same ids");
    assert_ne!(of("b", json!([call]))[0], ids[0]);
}

#[test]
fn searches_are_counted() {
    let answer = json!({"candidates": [{"content": {"parts": [{"text": "x"}]}, "finishReason": "STOP",
        "groundingMetadata": {"webSearchQueries": ["a", "b"]}}], "usageMetadata": {"promptTokenCount": 1, "candidatesTokenCount": 1}});
    let events = Gemini.read_whole(Format::Gemini, answer.to_string().as_bytes());
    let Some(Event::Reported(report)) = events.get(1) else { panic!("{events:?}") };
    assert_eq!(report.web_searches, 2);
}

#[test]
fn log_probabilities_are_read() {
    let chosen = json!([{"token": "é", "logProbability": -0.5}, {"token": "x", "logProbability": -1.0}]);
    let top =
        json!([{"candidates": [{"token": "é", "logProbability": -0.5}, {"token": "e", "logProbability": -2.0}]}, {}]);
    let answer = json!({"candidates": [{"content": {"parts": [{"text": "éx"}]}, "finishReason": "STOP",
        "logprobsResult": {"chosenCandidates": chosen, "topCandidates": top}}]});
    let events = Gemini.read_whole(Format::Gemini, answer.to_string().as_bytes());
    let Some(Event::Delta(delta)) = events.first() else { panic!("{events:?}") };
    let [first, second] = &delta.logprobs[..] else { panic!("{delta:?}") };
    assert_eq!((first.logprob, first.offset, first.top.len()), (Some(-0.5), 0, 2));
    assert_eq!((second.token.as_str(), second.offset, second.top.len()), ("x", 1, 0));
}

/// JSON of the kinds that stand in answers, in any place.
fn odd_json() -> impl Strategy<Value = Value> {
    let names = [
        "candidates",
        "content",
        "parts",
        "text",
        "functionCall",
        "name",
        "args",
        "usageMetadata",
        "finishReason",
        "promptTokenCount",
        "error",
        "message",
        "index",
        "promptFeedback",
        "blockReason",
        "logprobsResult",
        "id",
        "type",
        "delta",
        "usage",
        "billed_units",
        "choices",
        "tool_calls",
        "function",
    ];
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        ".{0,6}".prop_map(Value::from),
        select(vec!["STOP", "SAFETY", "MALFORMED_RESPONSE"]).prop_map(Value::from),
    ];
    leaf.prop_recursive(6, 48, 6, move |inner| {
        prop_oneof![
            collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            collection::vec((select(names.to_vec()), inner), 0..5).prop_map(|members| {
                Value::Object(members.into_iter().map(|(name, value)| (name.to_owned(), value)).collect())
            }),
        ]
    })
}

proptest! {
    #[test]
    fn no_body_panics_and_each_ends_once(objects in collection::vec(odd_json(), 0..4), bytes in collection::vec(any::<u8>(), 0..40), at in 0_usize..400) {
        let stream = objects.iter().fold(String::new(), |stream, object| stream + &encode(&object.to_string()));
        let array = Value::from(objects).to_string();
        let cut = |text: &str| text.as_bytes()[..at.min(text.len())].to_vec();
        for body in [stream.clone().into_bytes(), array.clone().into_bytes(), cut(&stream), cut(&array), bytes] {
            let events = read(&[&body]);
            let ends = events.iter().filter(|event| matches!(event, Event::Finished { .. } | Event::Failed(_))).count();
            prop_assert_eq!(ends, 1);
            let is_last = matches!(events.last(), Some(Event::Finished { .. } | Event::Failed(_)));
            prop_assert!(is_last);
            let _ = Gemini.read_refusal(400, &body);
        }
    }
}
