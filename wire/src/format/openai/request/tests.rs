//! Requests as clients write them, and the fields that are refused.

use proptest::prelude::*;

use super::*;
use crate::format::{ProviderFormat as _, Upstream, openai::OpenAi};

fn chat(body: &str) -> Result<Request, BadRequest> {
    read_chat(body.as_bytes())
}

fn with(fields: &str) -> String {
    format!(r#"{{"model":"m","messages":[{{"role":"user","content":"x"}}]{fields}}}"#)
}

#[test]
fn a_bad_field_is_named() {
    for (body, field) in [
        ("[]".to_owned(), "body"),
        ("{".to_owned(), "body"),
        ("[".repeat(100_000), "body"),
        (r#"{"messages":[]}"#.to_owned(), "model"),
        (r#"{"model":"m"}"#.to_owned(), "messages"),
        (r#"{"model":"m","messages":[]}"#.to_owned(), "messages"),
        (r#"{"model":"m","messages":[{"role":"king","content":"x"}]}"#.to_owned(), "messages[0].role"),
        (r#"{"model":"m","messages":[{"role":"user"}]}"#.to_owned(), "messages[0].content"),
        (r#"{"model":"m","messages":[{"role":"user","content":["x"]}]}"#.to_owned(), "messages[0].content"),
        (with(r#","temperature":-0.1"#), "temperature"),
        (with(r#","temperature":"hot""#), "temperature"),
        (with(r#","temperature":1e999"#), "temperature"),
        (with(&format!(r#","messages":{}{}"#, "[".repeat(1_000), "]".repeat(1_000))), "messages[0]"),
        (with(r#","top_p":1.1"#), "top_p"),
        (with(r#","max_tokens":0"#), "max_tokens"),
        (with(r#","max_tokens":1.5"#), "max_tokens"),
        (with(r#","max_completion_tokens":1e30"#), "max_completion_tokens"),
        (with(r#","n":17"#), "n"),
        (with(r#","stop":["a","b","c","d","e"]"#), "stop"),
        (with(r#","top_logprobs":3"#), "top_logprobs"),
        (with(r#","logit_bias":{"x":1}"#), "logit_bias"),
        (with(r#","stream_options":{}"#), "stream_options"),
        (with(r#","max_cost":[]"#), "max_cost"),
        (with(r#","farebox_magic":1"#), "farebox_magic"),
    ] {
        assert_eq!(chat(&body).unwrap_err().field, field, "{}", &body[..body.len().min(200)]);
    }
}

#[test]
fn a_completion_writes_as_many_answers_as_the_best_is_chosen_of() {
    let of = |format, fields: &str| {
        let prompt = r#""prompt":"x","messages":[{"role":"user","content":"x"}]"#;
        read(format, format!(r#"{{"model":"m",{prompt}{fields}}}"#).as_bytes())
    };
    let answers = |format, fields: &str| of(format, fields).unwrap().generation().unwrap().answers();
    assert_eq!(answers(Api::Completions, ""), 1);
    assert_eq!(answers(Api::Completions, r#","n":3"#), 3);
    assert_eq!(answers(Api::Completions, r#","n":3,"best_of":null"#), 3);
    assert_eq!(answers(Api::Completions, r#","n":3,"best_of":20"#), 20);
    assert_eq!(answers(Api::Chat, r#","n":3,"best_of":20"#), 3, "not a field of chats");
    for bad in [r#","best_of":0"#, r#","best_of":21"#, r#","n":3,"best_of":2"#, r#","best_of":"2""#] {
        assert_eq!(of(Api::Completions, bad).unwrap_err().field, "best_of", "{bad}");
    }
}

#[test]
fn values_that_ask_for_nothing_are_taken() {
    for (fields, top_k) in [
        (r#","top_k":0"#, Some(0)),
        (r#","top_k":-1"#, Some(0)),
        (r#","top_k":40"#, Some(40)),
        (r#","top_k":null,"temperature":null,"top_p":null,"n":1,"frequency_penalty":0,"logit_bias":{}"#, None),
        (r#","logprobs":false,"top_logprobs":0,"stop":[],"stream_options":null,"seed":null"#, None),
    ] {
        let request = chat(&with(fields)).unwrap();
        let generation = request.generation().unwrap();
        assert_eq!((generation.sampling.top_k, generation.logprobs), (top_k, None), "{fields}");
    }
    assert_eq!(chat(&with(r#","top_k":-2"#)).unwrap_err().field, "top_k");
    let completion = |fields: &str| {
        let read = read_completion(format!(r#"{{"model":"m","prompt":"x"{fields}}}"#).as_bytes());
        read.map(|request| request.generation().unwrap().clone())
    };
    assert_eq!(completion(r#","logprobs":false"#).unwrap().logprobs, None);
    assert_eq!(completion(r#","logprobs":0"#).unwrap().logprobs, Some(0));
    let limit = |fields: &str| completion(fields).map(|generation| generation.limit.unwrap());
    assert_eq!(limit(r#","max_tokens":0,"echo":true"#).unwrap().tokens, 0);
    assert_eq!(limit(r#","max_tokens":0"#).unwrap_err().field, "max_tokens");
    let both = limit(r#","max_tokens":9,"max_completion_tokens":5"#).unwrap();
    assert_eq!(both, OutputLimit { tokens: 5, largest: 9, field: "max_completion_tokens" });
}

#[test]
fn an_assistants_message_is_taken_back_as_it_was_answered() {
    for message in [
        r#"{"role":"assistant","content":null,"refusal":"I can't."}"#,
        r#"{"role":"assistant","content":null,"refusal":null,"tool_calls":[{"id":"a","type":"function"}]}"#,
        r#"{"role":"assistant","content":null,"refusal":null,"tool_calls":null,"function_call":null}"#,
        r#"{"role":"assistant","audio":{"id":"audio_1"}}"#,
        r#"{"role":"function","name":"f","content":null}"#,
    ] {
        let body = format!(r#"{{"model":"m","messages":[{{"role":"user","content":"x"}},{message}]}}"#);
        let call = OpenAi.call(chat(&body).unwrap(), &Upstream { model: "m", max_output: 9, tier: None }).unwrap();
        assert_eq!(call.body.to_json(), body);
    }
}

proptest! {
    #[test]
    fn no_body_panics(body in ".{0,200}") {
        let _ = chat(&body);
    }
}
