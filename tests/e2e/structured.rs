//! Answers of an open model by a schema, and its calls of tools, as the SDKs ask for them; what can't be held to is refused
//! before anything is held.

use serde_json::{Value, json};

use crate::{
    open::{MODEL, ask, settled, stage},
    support::python::{python_script, run},
};

#[tokio::test]
async fn the_sdks_read_schemas_and_calls_of_an_open_model() {
    let (server, customer) = stage("inflight").await;
    let (url, key) = (server.url().to_owned(), customer.key.clone());
    let work = move || {
        let mut python = python_script("open_structured.py");
        run(python.env("FAREBOX_URL", url).env("FAREBOX_KEY", key).env("FAREBOX_MORE", MODEL))
    };
    let output = tokio::task::spawn_blocking(work).await.unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), "ok");
    server.admin().assert_audit().await;
}

#[tokio::test]
async fn what_can_not_be_held_to_is_refused_before_any_hold_by_its_field_on_every_surface() {
    let (server, customer) = stage("inflight").await;
    let schema = json!({"type": "object", "not": {"required": ["a"]}});
    let format = json!({"type": "json_schema", "json_schema": {"name": "n", "schema": schema}});
    let user = json!([{"role": "user", "content": "hi"}]);
    let tool = json!([{"type": "function", "function": {"name": "f", "parameters": schema, "strict": true}}]);
    let of_responses = json!({"format": {"type": "json_schema", "name": "n", "schema": schema}});
    let of_messages = json!({"format": {"type": "json_schema", "schema": schema}});
    for (path, body, field) in [
        ("/v1/chat/completions", ask("hi", &json!({"response_format": format})), "response_format"),
        ("/v1/chat/completions", ask("hi", &json!({"tools": tool})), "tools"),
        ("/v1/quote", ask("hi", &json!({"response_format": format})), "response_format"),
        ("/v1/responses", json!({"model": MODEL, "input": "hi", "text": of_responses}), "text.format"),
        (
            "/v1/messages",
            json!({"model": MODEL, "max_tokens": 5, "messages": user, "output_config": of_messages}),
            "output_config.format",
        ),
        (
            "/v2/chat",
            json!({"model": MODEL, "messages": user, "response_format": {"type": "json_object", "schema": schema}}),
            "response_format",
        ),
    ] {
        let refused = customer.api.post(path, &body).await;
        let told = refused.json();
        let named = told["field"].as_str().or(told["error"]["param"].as_str());
        assert_eq!((refused.status, named), (400, Some(field)), "{path}: {}", refused.body);
        assert!(told["message"].as_str().unwrap().contains("not"), "{}", refused.body);
    }
    assert_eq!(customer.api.get("/v1/requests").await.ok()["data"], json!([]), "nothing was admitted");
    server.admin().assert_audit().await;
}

#[tokio::test]
async fn a_cut_answer_says_length_and_one_held_to_a_schema_has_its_log_probabilities() {
    let (server, customer) = stage("inflight").await;
    let properties = json!({"story": {"type": "string"}});
    let schema =
        json!({"type": "object", "properties": properties, "required": ["story"], "additionalProperties": false});
    let format = json!({"type": "json_schema", "json_schema": {"name": "n", "schema": schema}});
    let more = json!({"response_format": format, "max_tokens": 12, "logprobs": true, "top_logprobs": 2});
    let cut = customer.api.post("/v1/chat/completions", &ask("Tell a story.", &more)).await.ok();
    let choice = &cut["choices"][0];
    assert_eq!(choice["finish_reason"], "length");
    let text = choice["message"]["content"].as_str().unwrap();
    assert!(text.starts_with('{') && text.contains("\"story\""), "{text}");
    let told = choice["logprobs"]["content"].as_array().unwrap();
    assert_eq!(told.iter().map(|one| one["token"].as_str().unwrap()).collect::<String>(), text);
    let is_whole =
        |one: &Value| one["top_logprobs"].as_array().unwrap().len() == 2 && one["logprob"].as_f64() <= Some(0.0);
    assert!(told.iter().all(is_whole), "{choice}");
    let object = ask("Give me JSON.", &json!({"response_format": {"type": "json_object"}, "max_tokens": 200}));
    let whole = customer.api.post("/v1/chat/completions", &object).await.ok();
    let choice = &whole["choices"][0];
    let read = serde_json::from_str::<Value>(choice["message"]["content"].as_str().unwrap());
    assert!(choice["finish_reason"] == "length" || read.unwrap().is_object(), "{choice}");
    settled(&customer, 2).await;
    server.admin().assert_audit().await;
}
