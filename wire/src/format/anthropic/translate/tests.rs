use super::*;
use crate::format::{ProviderFormat as _, anthropic::Anthropic, openai::read_chat};

const UPSTREAM: Upstream<'_> = Upstream { model: "claude-opus-5-5", max_output: 64_000, tier: None };

fn call(chat: &Value) -> Result<Value, Failure> {
    let request = read_chat(chat.to_string().as_bytes()).unwrap();
    Anthropic.call(request, &UPSTREAM).map(|call| serde_json::from_str(&call.body.to_json()).unwrap())
}

fn with(more: &Value) -> Result<Value, Failure> {
    let mut chat = json!({"model": "m", "messages": [{"role": "user", "content": "x"}]});
    chat.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    call(&chat)
}

#[test]
fn many_neighbours_of_a_large_message_are_joined_at_once() {
    let mut messages = vec![json!({"role": "user", "content": vec![json!({"type": "text", "text": "a"}); 50_000]})];
    messages.extend(vec![json!({"role": "user", "content": "b"}); 9_000]);
    messages.push(json!({"role": "tool", "tool_call_id": "c", "content": "1"}));
    let begun = std::time::Instant::now();
    let sent = call(&json!({"model": "m", "messages": messages})).unwrap();
    let content = sent["messages"][0]["content"].as_array().unwrap();
    assert_eq!((content.len(), &content[0]["type"]), (59_001, &json!("tool_result")));
    // Sorted for each of them it took minutes; at once it takes a second, and some more on a machine that is busy.
    assert!(begun.elapsed().as_secs() < 60, "{:?}", begun.elapsed());
}

#[test]
fn a_chat_with_everything_becomes_messages() {
    let chat = json!({
        "model": "anthropic/claude-opus-5-5",
        "messages": [
            {"role": "system", "content": "be brief"},
            {"role": "developer", "content": [{"type": "text", "text": "and kind", "cache_control": {"type": "ephemeral", "ttl": "1h"}}]},
            {"role": "user", "name": "ada", "content": [
                {"type": "text", "text": "look"},
                {"type": "image_url", "image_url": {"url": "https://x/y.png", "detail": "low"}},
                {"type": "image_url", "image_url": {"url": "data:image/jpeg;base64,AAAA"}},
                {"type": "file", "file": {"file_data": "data:application/pdf;base64,BB", "filename": "a.pdf"}}]},
            {"role": "assistant", "content": "hm", "reasoning_content": "unsigned", "tool_calls": [
                {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{\"a\": 1}"}},
                {"id": "d", "type": "function", "function": {"name": "g", "arguments": ""}}]},
            {"role": "tool", "tool_call_id": "c", "content": "1"},
            {"role": "tool", "tool_call_id": "d", "content": [{"type": "text", "text": "2"}]},
            {"role": "user", "content": "go on"},
            {"role": "system", "content": "now in French"},
            {"role": "assistant", "content": "Bien"}],
        "tools": [{"type": "function", "function": {"name": "f", "description": "d", "parameters": {"properties": {}}, "strict": true}},
            {"type": "function", "function": {"name": "g"}}],
        "parallel_tool_calls": false,
        "response_format": {"type": "json_schema", "json_schema": {"name": "n", "schema": {"type": "object"}}},
        "reasoning_effort": "minimal", "max_tokens": 900, "stop": "END", "seed": 7, "user": "u", "stream": true,
        "frequency_penalty": 0,
    });
    let expected = json!({
        "model": "claude-opus-5-5", "max_tokens": 900,
        "system": [{"type": "text", "text": "be brief"},
            {"type": "text", "text": "and kind", "cache_control": {"type": "ephemeral", "ttl": "1h"}}],
        "messages": [
            {"role": "user", "content": [
                {"type": "text", "text": "look"},
                {"type": "image", "source": {"type": "url", "url": "https://x/y.png"}},
                {"type": "image", "source": {"type": "base64", "media_type": "image/jpeg", "data": "AAAA"}},
                {"type": "document", "source": {"type": "base64", "media_type": "application/pdf", "data": "BB"}, "title": "a.pdf"}]},
            {"role": "assistant", "content": [
                {"type": "text", "text": "hm"},
                {"type": "tool_use", "id": "c", "name": "f", "input": {"a": 1}},
                {"type": "tool_use", "id": "d", "name": "g", "input": {}}]},
            {"role": "user", "content": [
                {"type": "tool_result", "tool_use_id": "c", "content": [{"type": "text", "text": "1"}]},
                {"type": "tool_result", "tool_use_id": "d", "content": [{"type": "text", "text": "2"}]},
                {"type": "text", "text": "go on"}]},
            {"role": "system", "content": [{"type": "text", "text": "now in French"}]},
            {"role": "assistant", "content": [{"type": "text", "text": "Bien"}]}],
        "tools": [
            {"name": "f", "input_schema": {"properties": {}, "type": "object"}, "description": "d", "strict": true},
            {"name": "g", "input_schema": {"type": "object"}}],
        "tool_choice": {"type": "auto", "disable_parallel_tool_use": true},
        "thinking": {"type": "adaptive"},
        "output_config": {"effort": "low", "format": {"type": "json_schema", "schema": {"type": "object"}}},
        "stop_sequences": ["END"], "metadata": {"user_id": "u"}, "stream": true,
    });
    let mut sent = call(&chat);
    // What costs nothing to leave out is refused nowhere.
    if let Err(Failure::Invalid { field, .. }) = &sent {
        assert_eq!(field, "", "{sent:?}");
        sent = Ok(Value::Null);
    }
    assert_eq!(sent.unwrap(), expected);
}

#[test]
fn a_limit_is_always_there_and_heat_is_bounded() {
    let sent = with(&json!({"temperature": 1.5, "top_p": 0.5, "top_k": 4})).unwrap();
    assert_eq!((&sent["max_tokens"], &sent["temperature"], &sent["top_k"]), (&json!(64_000), &json!(1.0), &json!(4)));
    assert_eq!(with(&json!({"max_completion_tokens": 900_000})).unwrap()["max_tokens"], 64_000);
}

#[test]
fn what_has_no_words_is_refused_by_its_field() {
    let message = |message: Value| json!({"messages": [{"role": "user", "content": "x"}, message]});
    let arguments = |arguments: &str| {
        let function = json!({"name": "f", "arguments": arguments});
        message(json!({"role": "assistant", "tool_calls": [{"id": "c", "type": "function", "function": function}]}))
    };
    for (more, field) in [
        (json!({"n": 2}), "n"),
        (json!({"logprobs": true}), "logprobs"),
        (json!({"frequency_penalty": 0.5}), "frequency_penalty"),
        (json!({"presence_penalty": 0.5}), "presence_penalty"),
        (json!({"logit_bias": {"5": 1}}), "logit_bias"),
        (json!({"response_format": {"type": "json_object"}}), "response_format"),
        (json!({"tools": [{"type": "custom", "custom": {"name": "c"}}]}), "tools"),
        (json!({"verbosity": "low"}), "verbosity"),
        (json!({"service_tier": "flex"}), "service_tier"),
        (arguments("{\"a\""), "messages[1].tool_calls"),
        (arguments("[]"), "messages[1].tool_calls"),
        (
            message(
                json!({"role": "user", "content": [{"type": "input_audio", "input_audio": {"data": "", "format": "wav"}}]}),
            ),
            "messages[1]",
        ),
        (
            message(
                json!({"role": "user", "content": [{"type": "file", "file": {"file_data": "data:text/csv;base64,AA"}}]}),
            ),
            "messages[1]",
        ),
        (json!({"messages": [{"role": "system", "content": "x"}]}), "messages"),
        (json!({"messages": [{"role": "user", "content": ""}]}), "messages"),
    ] {
        let Err(Failure::Invalid { field: named, .. }) = with(&more) else { panic!("{more}") };
        assert_eq!(named, field, "{more}");
    }
}

#[test]
fn reasoning_is_asked_for_as_the_model_takes_it() {
    let of = |model: &str, chat: Value| {
        let mut body = json!({"model": "m", "messages": [{"role": "user", "content": "x"}]});
        body.as_object_mut().unwrap().extend(chat.as_object().unwrap().clone());
        let upstream = Upstream { model, max_output: 9_000, tier: None };
        let call = Anthropic.call(read_chat(body.to_string().as_bytes()).unwrap(), &upstream).unwrap();
        let body: Value = serde_json::from_str(&call.body.to_json()).unwrap();
        (body["thinking"].clone(), body["output_config"].clone())
    };
    let budget = |tokens: u32| json!({"type": "enabled", "budget_tokens": tokens});
    let effort = |word: &str| json!({"reasoning_effort": word});
    assert_eq!(of("claude-sonnet-5-5", json!({})), (Value::Null, Value::Null));
    assert_eq!(of("claude-sonnet-5-5", effort("none")), (json!({"type": "disabled"}), Value::Null));
    assert_eq!(of("claude-sonnet-5-5", effort("high")), (json!({"type": "adaptive"}), json!({"effort": "high"})));
    assert_eq!(of("claude-haiku-4-5", effort("low")), (budget(1_024), Value::Null));
    assert_eq!(of("claude-haiku-4-5", effort("max")), (budget(8_999), Value::Null));
    assert_eq!(of("claude-opus-4-5", effort("medium")), (budget(8_192), Value::Null));
    assert_eq!(of("claude-opus-4-6", effort("xhigh")).1, json!({"effort": "high"}));
    assert_eq!(of("claude-3-5-haiku-latest", effort("none")), (Value::Null, Value::Null));
}

#[test]
fn what_claude_refuses_beside_reasoning_is_refused_by_its_field() {
    let of = |model: &str, more: &[Value]| {
        let mut body = json!({"model": "m", "messages": [{"role": "user", "content": "x"}],
            "tools": [{"type": "function", "function": {"name": "f"}}]});
        for more in more {
            body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        }
        let upstream = Upstream { model, max_output: 9_000, tier: None };
        match Anthropic.call(read_chat(body.to_string().as_bytes()).unwrap(), &upstream) {
            Ok(_) => None,
            Err(Failure::Invalid { field, .. }) => Some(field),
            Err(other) => panic!("{other:?}"),
        }
    };
    let effort = |word: &str| json!({"reasoning_effort": word});
    let forced = json!({"tool_choice": {"type": "function", "function": {"name": "f"}}});
    for (model, beside) in [("claude-opus-5-5", "high"), ("claude-haiku-4-5", "low")] {
        for (more, field) in [
            (json!({"temperature": 0.5}), Some("temperature")),
            (json!({"temperature": 1.5}), None),
            (json!({"top_p": 0.9}), Some("top_p")),
            (json!({"top_p": 1}), None),
            (json!({"top_k": 5}), Some("top_k")),
            (json!({"tool_choice": "required"}), Some("tool_choice")),
            (forced.clone(), Some("tool_choice")),
            (json!({"tool_choice": "auto"}), None),
        ] {
            assert_eq!(of(model, &[effort(beside), more.clone()]).as_deref(), field, "{model}: {more}");
            assert_eq!(of(model, &[effort("none"), more.clone()]), None, "{model}: {more}");
            assert_eq!(of(model, std::slice::from_ref(&more)), None, "{model}: {more}");
        }
    }
    let small = json!({"max_tokens": 1_024});
    assert_eq!(of("claude-haiku-4-5", &[effort("low"), small.clone()]).as_deref(), Some("reasoning_effort"));
    assert_eq!(of("claude-opus-5-5", &[effort("low"), small]), None, "it is bounded by the limit");
    assert_eq!(of("claude-3-5-haiku-latest", &[effort("low")]).as_deref(), Some("reasoning_effort"));
    for model in ["claude-haiku-4-5", "claude-opus-5-5"] {
        assert_eq!(of(model, &[effort("hard")]).as_deref(), Some("reasoning_effort"));
    }
}

#[test]
fn signed_reasoning_goes_back_before_the_call_it_led_to() {
    let details = json!([
        {"type": "reasoning.text", "text": "hm", "signature": "sig", "index": 0},
        {"type": "reasoning.encrypted", "data": "hidden", "index": 1}]);
    let calls = json!([{"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}]);
    let sent = with(&json!({"messages": [{"role": "user", "content": "x"},
        {"role": "assistant", "content": null, "reasoning_content": "hm", "reasoning_details": details, "tool_calls": calls},
        {"role": "tool", "tool_call_id": "c", "content": "1"}]}))
    .unwrap();
    let expected = json!([
        {"type": "thinking", "thinking": "hm", "signature": "sig"},
        {"type": "redacted_thinking", "data": "hidden"},
        {"type": "tool_use", "id": "c", "name": "f", "input": {}}]);
    assert_eq!(sent["messages"][1]["content"], expected);
}
