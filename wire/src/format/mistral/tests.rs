use serde_json::{Value, json};

use super::Mistral;
use crate::{
    format::{ProviderFormat as _, Upstream, openai::read_chat},
    inference::{Delta, Event, Failure, FinishReason, Format, Request},
};

fn request(fields: &Value) -> Request {
    let mut body = json!({"model": "m", "messages": [{"role": "user", "content": "hi"}]});
    body.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    read_chat(body.to_string().as_bytes()).unwrap()
}

fn body(fields: &Value) -> Value {
    let upstream = Upstream { model: "mistral-medium-3-5", max_output: 100, tier: None };
    let call = Mistral.call(request(fields), &upstream).unwrap();
    serde_json::from_str(&call.body.to_json()).unwrap()
}

#[test]
fn a_chat_is_asked_in_mistrals_fields_alone() {
    let tool = json!({"type": "function", "function": {"name": "sky", "strict": true}});
    let call = |id: &str| json!({"id": id, "type": "function", "function": {"name": "sky", "arguments": "{}"}});
    let body = body(&json!({
        "messages": [
            {"role": "developer", "content": "be brief"},
            {"role": "user", "name": "ada", "content": [
                {"type": "text", "text": "look"},
                {"type": "image_url", "image_url": {"url": "https://x/y.png", "detail": "original"}},
                {"type": "input_audio", "input_audio": {"data": "BBBB", "format": "mp3"}},
                {"type": "file", "file": {"file_data": "data:application/pdf;base64,CC", "filename": "a.pdf"}}]},
            {"role": "assistant", "reasoning_content": "hm", "content": null, "tool_calls": [call("call_of_another"), call("abcDEF123")]},
            {"role": "tool", "tool_call_id": "call_of_another", "content": "blue"},
            {"role": "tool", "tool_call_id": "abcDEF123", "content": "red"}],
        "tools": [tool], "tool_choice": "required", "parallel_tool_calls": false, "stream": true,
        "stream_options": {"include_usage": true}, "user": "ada", "prompt_cache_key": "k", "store": true,
        "max_completion_tokens": 50, "temperature": 0.7, "top_p": 0.9, "top_k": 40, "seed": 7, "stop": ["x"], "n": 2,
        "presence_penalty": 0.5, "frequency_penalty": 0.25, "reasoning_effort": "high",
        "response_format": {"type": "json_schema", "json_schema": {"name": "n", "schema": {"type": "object"}, "strict": true}},
    }));
    let id = body["messages"][3]["tool_call_id"].clone();
    assert!(id.as_str().unwrap().len() == 9 && id.as_str().unwrap().bytes().all(|byte| byte.is_ascii_alphanumeric()));
    let mut first = call("");
    first["id"] = id.clone();
    let expected = json!({
        "model": "mistral-medium-3-5",
        "messages": [
            {"role": "system", "content": "be brief"},
            {"role": "user", "content": [
                {"type": "text", "text": "look"},
                {"type": "image_url", "image_url": {"url": "https://x/y.png"}},
                {"type": "input_audio", "input_audio": "BBBB"},
                {"type": "document_url", "document_url": "data:application/pdf;base64,CC", "document_name": "a.pdf"}]},
            {"role": "assistant", "content": [{"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]}],
                "tool_calls": [first, call("abcDEF123")]},
            {"role": "tool", "tool_call_id": id, "content": "blue"},
            {"role": "tool", "tool_call_id": "abcDEF123", "content": "red"}],
        "tools": [{"type": "function", "function": {"name": "sky", "parameters": {"type": "object", "properties": {}}, "strict": true}}],
        "parallel_tool_calls": false,
        "tool_choice": "any",
        "response_format": {"type": "json_schema", "json_schema": {"name": "n", "schema": {"type": "object"}, "strict": true}},
        "reasoning_effort": "high",
        "max_tokens": 50, "n": 2, "temperature": 0.7, "top_p": 0.9, "frequency_penalty": 0.25, "presence_penalty": 0.5,
        "top_k": 40, "random_seed": 7, "stop": ["x"], "prompt_cache_key": "k", "stream": true,
    });
    assert_eq!(body, expected);
}

#[test]
fn a_message_from_which_the_answer_goes_on_is_marked() {
    let said = |prefix: Value| {
        let start = json!({"role": "assistant", "content": "It is", "prefix": prefix});
        body(&json!({"messages": [{"role": "user", "content": "the sky?"}, start]}))["messages"][1].clone()
    };
    assert_eq!(said(json!(true)), json!({"role": "assistant", "content": "It is", "prefix": true}));
    assert_eq!(said(json!(false)).get("prefix"), None);
}

#[test]
fn functions_of_before_there_were_tools_are_called_by_their_names() {
    let fields = json!({"messages": [{"role": "user", "content": "x"},
        {"role": "assistant", "content": null, "function_call": {"name": "sky", "arguments": "{}"}},
        {"role": "function", "name": "sky", "content": "blue"}]});
    let body = body(&fields);
    assert_eq!(body["messages"][1]["tool_calls"][0]["id"], body["messages"][2]["tool_call_id"]);
    assert!(body["messages"][2]["tool_call_id"].is_string());
}

#[test]
fn what_can_not_be_said_is_refused_by_its_name() {
    for (fields, field) in [
        (json!({"logit_bias": {"5": 1}}), "logit_bias"),
        (json!({"logprobs": true}), "logprobs"),
        (json!({"min_p": 0.1}), "min_p"),
        (json!({"tools": [{"type": "custom", "custom": {"name": "run"}}]}), "tools"),
    ] {
        let refused = Mistral.call(request(&fields), &Upstream { model: "m", max_output: 1, tier: None });
        assert!(matches!(&refused, Err(Failure::Invalid { field: named, .. }) if named == field), "{refused:?}");
    }
}

/// Thoughts as a list in deltas, text as a list and plain, arguments as an object, usage with the finish.
const STREAM: &str = concat!(
    "data: {\"id\":\"i\",\"object\":\"chat.completion.chunk\",\"created\":1,\"model\":\"m\",\"choices\":[{\"index\":0,",
    "\"delta\":{\"role\":\"assistant\",\"content\":\"\"},\"finish_reason\":null}]}\n\n",
    "data: {\"id\":\"i\",\"choices\":[{\"index\":0,\"delta\":{\"content\":[{\"type\":\"thinking\",\"thinking\":[{\"type\":",
    "\"text\",\"text\":\"hm é\"}]}]},\"finish_reason\":null}]}\n\n",
    "data: {\"id\":\"i\",\"choices\":[{\"index\":0,\"delta\":{\"content\":[{\"type\":\"text\",\"text\":\"Hel\"}]}}]}\n\n",
    "data: {\"id\":\"i\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\"lo\"}}]}\n\n",
    "data: {\"id\":\"i\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\"\",\"tool_calls\":[{\"id\":\"abcDEF123\",\"function\":",
    "{\"name\":\"sky\",\"arguments\":{\"at\":1}},\"index\":0}]},\"finish_reason\":\"tool_calls\"}],",
    "\"usage\":{\"prompt_tokens\":2000,\"total_tokens\":2400,\"completion_tokens\":400,",
    "\"prompt_tokens_details\":{\"cached_tokens\":1536},\"service_tier\":\"standard\"}}\n\n",
    "data: [DONE]\n\n",
);

/// Text, thoughts, calls, finish, and reported input, cached input and output.
type Said = (String, String, String, Option<FinishReason>, (Option<u64>, u64, Option<u64>), bool);

fn said(events: &[Event]) -> Said {
    let mut said = Said::default();
    for event in events {
        match event {
            Event::Delta(Delta { text, reasoning, calls, finish, .. }) => {
                said.0.push_str(text);
                said.1.push_str(reasoning);
                for call in calls {
                    said.2.push_str(call.name.as_deref().unwrap_or_default());
                    said.2.push_str(&call.arguments);
                }
                said.3 = finish.clone().or(said.3);
            }
            Event::Reported(report) => said.4 = (report.input, report.cached_input, report.output),
            Event::Finished { .. } => said.5 = true,
            _ => {}
        }
    }
    said
}

#[test]
fn a_stream_is_the_same_wherever_it_is_split() {
    let finish = Some(FinishReason::ToolCalls);
    let whole: Said =
        ("Hello".into(), "hm é".into(), "sky{\"at\":1}".into(), finish, (Some(2_000), 1_536, Some(400)), true);
    for cut in 0..=STREAM.len() {
        let (mut reader, mut events) = (Mistral.reader(Format::Mistral), Vec::new());
        reader.feed(&STREAM.as_bytes()[..cut], &mut events);
        reader.feed(&STREAM.as_bytes()[cut..], &mut events);
        reader.end(&mut events);
        assert_eq!(said(&events), whole, "cut at {cut}");
    }
    assert_eq!(said(&Mistral.read_whole(Format::Mistral, STREAM.as_bytes())).0, "Hello");
}

#[test]
fn a_whole_answer_and_its_ends_are_read() {
    let of = |finish: &str| {
        let message = json!({"role": "assistant", "content": "hi", "tool_calls": null, "prefix": false});
        let answer = json!({"id": "i", "object": "chat.completion", "model": "m", "choices": [{"index": 0, "message": message,
            "finish_reason": finish}], "usage": {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3}});
        Mistral.read_whole(Format::Mistral, answer.to_string().as_bytes())
    };
    for (word, finish) in
        [("stop", FinishReason::Stop), ("length", FinishReason::Length), ("model_length", FinishReason::Length)]
    {
        let said = said(&of(word));
        assert_eq!((said.0.as_str(), said.3, said.5), ("hi", Some(finish), true), "{word}");
    }
    assert!(matches!(of("error").last(), Some(Event::Failed(Failure::Provider(_)))));
    for (body, words) in [
        (
            r#"{"object":"error","message":"no such model","type":"invalid_model","param":null,"code":"1500"}"#,
            "no such model",
        ),
        (
            r#"{"object":"error","message":{"detail":[{"loc":["body","n"],"msg":"Extra inputs are not permitted"}]}}"#,
            "body.n: Extra inputs are not permitted",
        ),
        (r#"{"detail":"Unauthorized"}"#, "Unauthorized"),
    ] {
        assert_eq!(Mistral.read_refusal(422, body.as_bytes()).message, words);
    }
}
