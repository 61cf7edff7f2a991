use serde_json::{Value, json};

use super::*;
use crate::format::{
    ProviderFormat,
    anthropic::{Anthropic, read_messages},
    cohere::{self, Cohere},
    gemini::{self, Gemini},
    mistral::Mistral,
    openai::{OpenAi, OpenAiCompatible, read_chat, read_response},
};

const TARGETS: [(&str, &dyn ProviderFormat); 6] = [
    ("openai", &OpenAi),
    ("compatible", &OpenAiCompatible),
    ("anthropic", &Anthropic),
    ("google", &Gemini),
    ("mistral", &Mistral),
    ("cohere", &Cohere),
];

fn sent(format: &dyn ProviderFormat, request: Request) -> Result<Value, Failure> {
    let upstream = Upstream { model: "m", max_output: 900, tier: None };
    format.call(request, &upstream).map(|call| serde_json::from_str(&call.body.to_json()).unwrap())
}

fn refused(format: &dyn ProviderFormat, request: Request) -> (String, String) {
    match sent(format, request) {
        Err(Failure::Invalid { field, message }) => (field, message),
        other => panic!("{other:?}"),
    }
}

fn messages(more: &Value) -> Request {
    let mut body = json!({"model": "m", "max_tokens": 50, "messages": [{"role": "user", "content": "x"}]});
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    read_messages(body.to_string().as_bytes()).unwrap()
}

fn chat(more: &Value) -> Request {
    let mut body = json!({"model": "m", "messages": [{"role": "user", "content": "x"}]});
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    read_chat(body.to_string().as_bytes()).unwrap()
}

fn response(input: &Value) -> Request {
    read_response(json!({"model": "m", "input": input}).to_string().as_bytes()).unwrap()
}

#[test]
fn no_more_output_is_asked_for_than_the_model_writes() {
    let places = [
        "/max_completion_tokens",
        "/max_tokens",
        "/max_tokens",
        "/generationConfig/maxOutputTokens",
        "/max_tokens",
        "/max_tokens",
    ];
    for ((name, format), place) in TARGETS.into_iter().zip(places) {
        for (asked, told) in [(50, 50), (900, 900), (64_000, 900)] {
            // OpenAI's client is of another format than its own provider here.
            let request = match name {
                "anthropic" => chat(&json!({"max_tokens": asked})),
                _ => messages(&json!({"max_tokens": asked})),
            };
            assert_eq!(sent(format, request).unwrap().pointer(place), Some(&json!(told)), "{name} {asked}");
        }
    }
    let unknown = Upstream { model: "m", max_output: 0, tier: None };
    let call = Anthropic.call(chat(&json!({"max_tokens": 64_000})), &unknown).unwrap();
    assert_eq!(call.body.get("max_tokens"), Some("64000"), "how much it writes is not known");
    let refused = Anthropic.call(chat(&json!({})), &unknown);
    assert!(matches!(&refused, Err(Failure::Invalid { field, .. }) if field == "max_tokens"), "{refused:?}");
    let own = sent(&OpenAi, chat(&json!({"max_tokens": 64_000}))).unwrap();
    assert_eq!(own["max_tokens"], 64_000, "a client's own body stays as it came");
    assert_eq!(sent(&OpenAiCompatible, response(&json!("x"))).unwrap().get("max_tokens"), None);
}

#[test]
fn results_come_right_behind_their_calls_whatever_was_said_between() {
    let call = |id: &str| json!({"type": "function_call", "call_id": id, "name": "f", "arguments": "{}"});
    let output = |id: &str| json!({"type": "function_call_output", "call_id": id, "output": id});
    let said = |text: &str| json!({"role": "user", "content": text});
    let input = json!([
        said("hi"),
        call("aaaaaaaaa"),
        call("bbbbbbbbb"),
        output("aaaaaaaaa"),
        said("wait"),
        output("bbbbbbbbb")
    ]);
    for (name, format) in TARGETS.into_iter().filter(|(name, _)| !["openai", "anthropic", "google"].contains(name)) {
        let body = sent(format, response(&input)).unwrap();
        let roles: Vec<_> =
            body["messages"].as_array().unwrap().iter().map(|message| message["role"].clone()).collect();
        assert_eq!(roles, ["user", "assistant", "tool", "tool", "user"], "{name}");
        assert_eq!(body["messages"][3]["tool_call_id"], "bbbbbbbbb", "{name}");
    }
    let google = sent(&Gemini, response(&input)).unwrap();
    assert_eq!(google["contents"][2]["parts"].as_array().map(Vec::len), Some(2), "{google}");
    assert_eq!(google["contents"][3]["parts"][0]["text"], "wait");
    let anthropic = sent(&Anthropic, response(&input)).unwrap();
    let kinds: Vec<_> =
        anthropic["messages"][2]["content"].as_array().unwrap().iter().map(|block| block["type"].clone()).collect();
    assert_eq!(kinds, ["tool_result", "tool_result", "text"]);
    // A later message of the model between them, and a mark that stays with its text.
    let late = json!([
        said("hi"),
        call("aaaaaaaaa"),
        said("wait"),
        call("bbbbbbbbb"),
        output("aaaaaaaaa"),
        output("bbbbbbbbb")
    ]);
    let body = sent(&Mistral, response(&late)).unwrap();
    let roles: Vec<_> = body["messages"].as_array().unwrap().iter().map(|message| message["role"].clone()).collect();
    assert_eq!(roles, ["user", "assistant", "tool", "user", "assistant", "tool"]);
}

#[test]
fn what_is_in_order_stays_as_it_is() {
    let input = json!([{"role": "user", "content": "hi"}, {"type": "function_call", "call_id": "a", "name": "f", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "a", "output": "1"}, {"type": "function_call_output", "call_id": "z", "output": "2"},
        {"role": "user", "content": "go on"}]);
    let Work::Conversation(mut conversation) = response(&input).work else { panic!() };
    let before = conversation.messages.clone();
    put_results_behind_calls(&mut conversation.messages);
    assert_eq!(conversation.messages, before);
}

#[test]
fn a_long_name_of_a_person_is_hashed_and_the_same_stays_the_same() {
    let named = |name: &str| messages(&json!({"metadata": {"user_id": name}}));
    let at_openai = |name: &str| sent(&OpenAi, named(name)).unwrap()["safety_identifier"].as_str().unwrap().to_owned();
    let (long, other) = ("u".repeat(159), "v".repeat(159));
    assert_eq!(at_openai(&"u".repeat(128)), "u".repeat(128));
    assert!(
        at_openai(&long).len() == 64 && at_openai(&long) == at_openai(&long) && at_openai(&long) != at_openai(&other)
    );
    let at_anthropic = |name: &str| {
        sent(&Anthropic, chat(&json!({"user": name}))).unwrap()["metadata"]["user_id"].as_str().unwrap().len()
    };
    assert_eq!((at_anthropic(&"u".repeat(256)), at_anthropic(&"u".repeat(300))), (256, 64));
}

#[test]
fn strict_calls_are_asked_for_where_the_schema_is_strict_itself() {
    let of = |format: &dyn ProviderFormat, schema: &Value| {
        let body = json!({"contents": [{"parts": [{"text": "x"}]}], "tools": [{"functionDeclarations": [
            {"name": "f", "parametersJsonSchema": schema}]}], "toolConfig": {"functionCallingConfig": {"mode": "VALIDATED"}}});
        let request = gemini::read_generate(body.to_string().as_bytes(), Some("m"), false).unwrap();
        sent(format, request).unwrap()
    };
    let open = json!({"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"]});
    let closed = json!({"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"], "additionalProperties": false});
    let optional = json!({"type": "object", "properties": {"a": {"type": "string"}}, "additionalProperties": false});
    let deep = json!({"type": "object", "properties": {"a": open}, "required": ["a"], "additionalProperties": false});
    for (schema, is_strict) in [(&open, false), (&closed, true), (&optional, false), (&deep, false)] {
        assert_eq!(of(&OpenAi, schema)["tools"][0]["function"]["strict"] == true, is_strict, "{schema}");
        assert_eq!(of(&Anthropic, schema)["tools"][0]["strict"] == true, is_strict, "{schema}");
    }
    let own =
        chat(&json!({"tools": [{"type": "function", "function": {"name": "f", "parameters": open, "strict": true}}]}));
    assert_eq!(sent(&Anthropic, own).unwrap()["tools"][0]["strict"], true, "it was asked for by itself");
}

#[test]
fn a_request_of_which_nothing_is_left_is_refused_in_words() {
    for (name, format) in TARGETS {
        let nothing = match name {
            "openai" | "compatible" => messages(&json!({"messages": [{"role": "user", "content": []}]})),
            _ => chat(&json!({"messages": [{"role": "user", "content": ""}]})),
        };
        let (field, message) = refused(format, nothing);
        assert_eq!(field, "messages", "{name}");
        assert!(message.contains("not empty"), "{name}: {message}");
    }
}

#[test]
fn more_stop_texts_than_a_provider_takes_are_refused_by_their_field() {
    let stops = |count: usize| json!({"stop_sequences": vec!["x"; count]});
    assert_eq!(refused(&OpenAi, messages(&stops(5))).0, "stop_sequences");
    assert_eq!(sent(&OpenAi, messages(&stops(4))).unwrap()["stop"].as_array().map(Vec::len), Some(4));
    assert_eq!(refused(&Cohere, messages(&stops(6))).0, "stop_sequences");
    assert!(sent(&Cohere, messages(&stops(5))).is_ok() && sent(&OpenAiCompatible, messages(&stops(9))).is_ok());
    assert_eq!(refused(&Gemini, messages(&stops(6))).0, "stop_sequences");
}

#[test]
fn what_anthropic_refuses_is_left_out_or_refused_in_words() {
    let blank = json!({"messages": [{"role": "user", "content": "hi"}, {"role": "user", "content": " \n"},
        {"role": "assistant", "content": "It is \n"}]});
    let body = sent(&Anthropic, chat(&blank)).unwrap();
    assert_eq!(body["messages"][0]["content"], json!([{"type": "text", "text": "hi"}]));
    assert_eq!(body["messages"][1]["content"], json!([{"type": "text", "text": "It is"}]));
    let (field, message) = refused(&Anthropic, chat(&json!({"stop": ["\n"]})));
    assert!(field == "stop" && message.contains("white space"), "{field}: {message}");
    let of = |temperature: f32, top_p: f32| {
        let body = sent(&Anthropic, chat(&json!({"temperature": temperature, "top_p": top_p}))).unwrap();
        (body.get("temperature").is_some(), body.get("top_p").is_some())
    };
    assert_eq!((of(0.5, 1.0), of(0.5, 0.5), of(1.0, 1.0)), ((true, false), (true, true), (true, false)));
    let bad = json!([{"role": "user", "content": "hi"}, {"type": "function_call", "call_id": "a", "name": "f", "arguments": "[]"}]);
    assert_eq!(refused(&Anthropic, response(&bad)).0, "input");
}

#[test]
fn a_field_that_is_refused_is_one_that_was_written() {
    let of = |more: &str| {
        let body = format!(r#"{{"model":"m","input":"x"{more}}}"#);
        refused(&Anthropic, read_response(body.as_bytes()).unwrap()).0
    };
    assert_eq!(of(r#","include":["message.output_text.logprobs"]"#), "include");
    assert_eq!(of(r#","top_logprobs":3"#), "top_logprobs");
    let half = [
        read_chat(br#"{"model":"m","messages":[{"role":"user","content":"\ud800"}]}"#),
        read_messages(br#"{"model":"m","max_tokens":9,"messages":[{"role":"user","content":"\ud800"}]}"#),
        read_response(br#"{"model":"m","input":[{"role":"user","content":"\ud800"}]}"#),
        read_response(br#"{"model":"m","input":"\ud800"}"#),
        cohere::read_chat(br#"{"model":"m","messages":[{"role":"user","content":"\ud800"}]}"#),
    ];
    for half in half {
        assert!(half.unwrap_err().message.contains("surrogate"));
    }
}
