//! Cohere's format for clients, end to end: their chats, vectors and orders of documents reach Cohere as they came, and GPT,
//! Claude and an open model in theirs; everything is charged as the provider counts, and told in Cohere's words.

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{
    client::{Answer, Customer, answer},
    fake_anthropic::FakeAnthropic,
    fake_cohere, fake_gpt,
    fake_provider::{FakeProvider, Misdeed, TOOL},
    python::{package, run, scripts},
    server::{Options, Server},
    with,
};

const HELLO: &str = "Hello from the fake provider.";
/// (120 x 2.5 + 60 x 10) / 1e6 x 1.02
const COST: &str = "0.000918";
const CHAT: &str = "/v2/chat";

struct Stage {
    cohere: FakeProvider,
    gpt: FakeProvider,
    claude: FakeAnthropic,
    server: Server,
    customer: Customer,
}

impl Stage {
    async fn set() -> Self {
        let (cohere, gpt, claude) = (fake_cohere::start(), fake_gpt::start(), FakeAnthropic::start());
        let options = Options::default().calling(&format!("{}/v1", gpt.url())).calling_anthropic(claude.url());
        let options = options.set("FAREBOX_PROVIDERS__COHERE__API_KEY", fake_cohere::KEY);
        let options = options.set("FAREBOX_PROVIDERS__COHERE__BASE_URL", cohere.url());
        let server = Server::start(options.set("FAREBOX_PROVIDERS__COHERE__RETRIES", "0")).await;
        let customer = server.admin().customer("payg", "50").await;
        Self { cohere, gpt, claude, server, customer }
    }

    async fn ask(&self, path: &str, body: &Value) -> Answer {
        self.customer.api.post(path, body).await
    }

    async fn chat(&self, model: &str, more: Value) -> Answer {
        let body = json!({"model": model, "messages": [{"role": "user", "content": "Say hello to me"}]});
        self.ask(CHAT, &with(&body, &more)).await
    }

    async fn record(&self, answer: &Answer) -> Value {
        self.customer.record(answer).await
    }

    /// Waits until so many requests are recorded and nothing is held: the latest record.
    async fn settled(&self, count: usize) -> Value {
        self.customer.settled(count).await.swap_remove(0)
    }
}

/// The events of a stream, by their types. One that ended well has the last word behind them.
fn events(text: &str) -> Vec<(String, Value)> {
    let lines: Vec<&str> = text.lines().filter(|line| !line.starts_with(':')).collect();
    let frames: Vec<&[&str]> = lines.split(|line| line.is_empty()).filter(|frame| frame.len() > 1).collect();
    let event = |frame: &[&str]| {
        let data: Value = serde_json::from_str(frame[1].strip_prefix("data: ").unwrap()).unwrap();
        (frame[0].strip_prefix("event: ").unwrap().to_owned(), data)
    };
    frames.into_iter().map(event).collect()
}

fn said(events: &[(String, Value)]) -> String {
    events.iter().filter_map(|(_, data)| data["delta"]["message"]["content"]["text"].as_str()).collect()
}

fn tools() -> Value {
    let parameters =
        json!({"type": "object", "properties": {"place": {"type": "string"}, "days": {"type": "integer"}}});
    json!([{"type": "function", "function": {"name": TOOL, "description": "The weather", "parameters": parameters}}])
}

#[tokio::test]
async fn a_chat_reaches_cohere_as_it_came_and_its_answer_has_the_cost() {
    let stage = Stage::set().await;
    let more = json!({"documents": [{"id": "d", "data": {"title": "t"}}], "citation_options": {"mode": "FAST"},
        "safety_mode": "STRICT", "priority": 3, "k": 5, "max_tokens": 500});
    let answer = stage.chat(&format!("cohere/{}", fake_cohere::MODEL), more.clone()).await;
    let told = answer.ok();
    let expected = with(
        &json!({"model": fake_cohere::MODEL, "messages": [{"role": "user", "content": "Say hello to me"}]}),
        &more,
    );
    assert_eq!(stage.cohere.asked()[0].body, expected);
    assert_eq!((&told["id"], &told["finish_reason"]), (&json!("c1"), &json!("COMPLETE")));
    assert_eq!(told["message"]["content"], json!([{"type": "text", "text": HELLO}]));
    assert_eq!(told["message"]["citations"][0]["text"], "Hello", "what no other format has comes too");
    let billed = json!({"input_tokens": 120.0, "output_tokens": 60.0});
    assert_eq!((&told["usage"]["billed_units"], &told["usage"]["cost"]), (&billed, &json!(COST)));
    assert_eq!((&told["usage"]["cached_tokens"], answer.header("x-farebox-cost")), (&json!(512.0), Some(COST)));
    let record = stage.record(&answer).await;
    assert_eq!((&record["cost"], &record["estimated"]), (&json!(COST), &json!(false)));
    let streamed = stage.chat(fake_cohere::MODEL, with(&more, &json!({"stream": true}))).await;
    let all = events(&streamed.body);
    let kinds: Vec<&str> = all.iter().map(|(kind, _)| kind.as_str()).collect();
    assert_eq!((kinds[0], kinds[1], kinds[kinds.len() - 1]), ("message-start", "content-start", "message-end"));
    assert!(kinds.contains(&"citation-start") && kinds.contains(&"citation-end"), "{kinds:?}");
    assert_eq!(said(&all), HELLO);
    let end = &all.last().unwrap().1;
    assert_eq!((&end["delta"]["usage"]["billed_units"], &end["delta"]["usage"]["cost"]), (&billed, &json!(COST)));
    assert_eq!((&end["delta"]["finish_reason"], &end["farebox"]["provider"]), (&json!("COMPLETE"), &json!("cohere")));
    assert!(streamed.body.ends_with("data: [DONE]\n\n"), "{}", streamed.body);
    let called = stage.chat(fake_cohere::MODEL, json!({"tools": tools(), "stream": true})).await;
    let kinds: Vec<String> = events(&called.body).into_iter().map(|(kind, _)| kind).collect();
    for kind in ["tool-plan-delta", "tool-call-start", "tool-call-delta", "tool-call-end"] {
        assert!(kinds.iter().any(|told| told == kind), "{kind}: {kinds:?}");
    }
    stage.settled(3).await;
    stage.server.admin().assert_audit().await;
}

#[tokio::test]
async fn a_chat_reaches_gpt_and_claude_in_their_words() {
    let stage = Stage::set().await;
    for (model, hello, after) in [
        ("gpt-4o-mini", HELLO, "It is sunny"),
        ("claude-opus-5-5", "Hello from the fake Claude.", "Hello from the fake Claude."),
    ] {
        let answer = stage.chat(model, json!({"max_tokens": 50, "p": 0.75, "priority": 1})).await;
        let told = answer.ok();
        assert_eq!(told["message"], json!({"role": "assistant", "content": [{"type": "text", "text": hello}]}));
        assert_eq!(told["finish_reason"], "COMPLETE");
        let (billed, record) = (&told["usage"]["billed_units"], stage.record(&answer).await);
        assert_eq!(
            (&billed["input_tokens"], &billed["output_tokens"]),
            (&record["input_tokens"], &record["output_tokens"])
        );
        assert_eq!((&told["usage"]["cost"], &record["estimated"]), (&record["cost"], &json!(false)));
        let streamed = events(&stage.chat(model, json!({"stream": true})).await.body);
        assert_eq!(said(&streamed), hello);
        let end = &streamed.last().unwrap().1["delta"];
        assert_eq!((&end["finish_reason"], &end["usage"]["tokens"]), (&json!("COMPLETE"), &told["usage"]["tokens"]));
        let limited = stage.chat(model, json!({"tools": tools(), "tool_choice": "REQUIRED"})).await.ok();
        assert_eq!(limited["finish_reason"], "TOOL_CALL", "{limited}");
        let call = &limited["message"]["tool_calls"][0];
        let arguments: Value = serde_json::from_str(call["function"]["arguments"].as_str().unwrap()).unwrap();
        assert_eq!((&call["function"]["name"], &arguments["place"]), (&json!(TOOL), &json!("Paris")));
        let document = json!({"type": "document", "document": {"id": "d", "data": "sunny"}});
        let messages = json!([{"role": "system", "content": "be brief"}, {"role": "user", "content": "weather?"}, limited["message"],
            {"role": "tool", "tool_call_id": call["id"], "content": [document]}]);
        let answered = stage.chat(model, json!({"messages": messages, "tools": tools()})).await.ok();
        let text = answered["message"]["content"][0]["text"].as_str().unwrap();
        assert!(text.starts_with(after), "{text}");
        let schema = json!({"type": "object", "properties": {"sky": {"type": "string"}}, "required": ["sky"], "additionalProperties": false});
        let format = json!({"response_format": {"type": "json_object", "json_schema": schema}});
        let typed = stage.chat(model, format).await.ok();
        assert_eq!(typed["message"]["content"][0]["text"], "{\"sky\":\"Paris\"}");
    }
    // Thoughts are content of their own, streamed or not.
    let thinking = json!({"thinking": {"type": "enabled", "token_budget": 1_024}, "max_tokens": 2_000});
    let told = stage.chat("claude-opus-5-5", thinking.clone()).await.ok();
    let thought = &told["message"]["content"][0];
    assert_eq!((&thought["type"], &thought["thinking"]), (&json!("thinking"), &json!("I think")));
    // Claude gets its proof back, and Cohere the answer without what another thought.
    let turns =
        json!({"messages": [{"role": "user", "content": "x"}, told["message"], {"role": "user", "content": "y"}]});
    stage.chat("claude-opus-5-5", with(&thinking, &turns)).await.ok();
    let sent = stage.claude.requests().pop().unwrap().body["messages"][1]["content"][0].clone();
    assert_eq!((&sent["signature"], thought["signature"].is_string()), (&thought["signature"], true), "{sent}");
    stage.chat(fake_cohere::MODEL, turns).await.ok();
    let sent = stage.cohere.asked().pop().unwrap().body["messages"][1]["content"].clone();
    assert_eq!(sent.as_array().unwrap().len(), 1, "{sent}");
    let streamed = events(&stage.chat("claude-opus-5-5", with(&thinking, &json!({"stream": true}))).await.body);
    assert_eq!(streamed[1].1["delta"]["message"]["content"]["type"], "thinking");
    for (more, field) in [
        (json!({"documents": ["x"]}), "documents"),
        (json!({"citation_options": {"mode": "ACCURATE"}}), "citation_options"),
        (json!({"safety_mode": "STRICT"}), "safety_mode"),
        (json!({"logprobs": true}), "logprobs"),
        (json!({"k": 5}), "k"),
        (json!({"a_field_of_tomorrow": 1}), "a_field_of_tomorrow"),
        (json!({"messages": [{"role": "user", "content": [{"type": "sound"}]}]}), "messages[0].content[0].type"),
        (json!({"thinking": {"type": "enabled", "token_budget": 2_048}}), "thinking"),
    ] {
        let refused = stage.chat("gpt-4o-mini", more.clone()).await;
        let body = refused.json();
        assert_eq!((refused.status, body["field"].as_str()), (400, Some(field)), "{}", refused.body);
        assert!(body["id"].is_string() && body["message"].as_str().unwrap().starts_with(field), "{body}");
    }
    assert_eq!(stage.cohere.asked().len(), 1, "what is refused reaches no provider");
    stage.settled(14).await;
    stage.server.admin().assert_audit().await;
}

#[tokio::test]
async fn failures_are_told_in_coheres_words_and_charged_by_the_rules() {
    let stage = Stage::set().await;
    let stream = json!({"stream": true});
    for (misdeed, status, words) in [
        (Misdeed::Status(429, None), 429, "scripted"),
        (Misdeed::Status(400, Some(r#"{"id":"x","message":"no such thing"}"#)), 400, "no such thing"),
        (Misdeed::Status(500, None), 502, "scripted"),
        (Misdeed::Garbage, 502, "Busy"),
    ] {
        stage.cohere.script(misdeed);
        let failed = stage.chat(fake_cohere::MODEL, stream.clone()).await;
        let body = failed.json();
        assert_eq!(failed.status, status, "{misdeed:?}: {}", failed.body);
        assert!(body["message"].as_str().unwrap().contains(words) && body["id"].is_string(), "{body}");
    }
    // An error within a stream that has begun is its end.
    stage.cohere.script(Misdeed::CutAt(700));
    let cut = stage.chat(fake_cohere::MODEL, stream.clone()).await;
    let end = events(&cut.body).pop().unwrap();
    assert_eq!((&*end.0, &end.1["delta"]["finish_reason"]), ("message-end", &json!("ERROR")), "{}", cut.body);
    assert!(end.1["delta"]["error"].is_string() && !cut.body.contains("[DONE]"), "{}", cut.body);
    let record = stage.settled(5).await;
    assert_eq!((&record["cost"], &record["ending"]), (&json!("0.00"), &json!("failed")), "{record}");
    // Without usage the text is counted.
    stage.cohere.script(Misdeed::NoUsage);
    let told = stage.chat(fake_cohere::MODEL, json!({})).await.ok();
    assert_eq!((&told["farebox"]["estimated"], told["usage"]["cost"] != "0.00"), (&json!(true), true), "{told}");
    assert!(told["usage"]["billed_units"]["output_tokens"].as_u64().unwrap() > 0, "{told}");
    // A client that leaves pays what was made until then.
    stage.cohere.script(Misdeed::Slow(200));
    let request = stage.customer.api.request(Method::POST, CHAT);
    let body = json!({"model": fake_cohere::MODEL, "stream": true, "messages": [{"role": "user", "content": "x"}]});
    let mut running = request.json(&body).send().await.unwrap();
    running.chunk().await.unwrap();
    drop(running);
    let record = stage.settled(7).await;
    assert_eq!((&record["cost"], &record["estimated"]), (&json!(COST), &json!(false)), "drained: {record}");
    let unknown = stage.customer.api.get("/v2/batches").await;
    assert_eq!((unknown.status, unknown.json()["id"].is_string()), (404, true));
    let missing = stage.server.get("/v2/nowhere").await;
    assert_eq!(missing.json()["error"], "Not Found");
    let poor = stage.server.admin().customer("free", "0").await;
    stage.server.admin().void_all(&poor).await;
    let refused = poor.api.post(CHAT, &with(&body, &json!({"stream": false}))).await;
    let begins =
        r#"{"status":402,"error":"Payment Required","message":"Insufficient credits. Please add credits to continue.""#;
    assert!(refused.status == 402 && refused.body.starts_with(begins), "{}", refused.body);
    stage.server.admin().assert_audit().await;
}

#[tokio::test]
async fn vectors_come_from_cohere_by_any_type_and_from_others_as_floats() {
    let stage = Stage::set().await;
    let body = json!({"model": "embed-v4.0", "texts": ["one two", "three"], "input_type": "search_document",
        "embedding_types": ["int8", "float"], "truncate": "END", "output_dimension": 256});
    let quoted = stage.ask("/v1/quote?route=/v2/embed", &body).await.ok();
    assert_eq!(
        (&quoted["prompt_tokens"], &quoted["admitted"]),
        (&json!(6), &json!(true)),
        "with the margin of another encoding: {quoted}"
    );
    let first = stage.ask("/v2/embed", &body).await;
    let told = first.ok();
    let vectors = json!({"int8": [[64, -128], [64, -128]], "float": [[0.5, -1.0], [0.5, -1.0]]});
    assert_eq!((&told["id"], &told["embeddings"]), (&json!("e1"), &vectors));
    // 3 x 0.12 / 1e6 x 1.02
    let meta = json!({"api_version": {"version": "2"}, "billed_units": {"input_tokens": 3.0}, "cost": "0.000000367"});
    assert_eq!((&told["meta"], &told["texts"]), (&meta, &json!(["one two", "three"])));
    assert_eq!(stage.cohere.asked()[0].body, body);
    let record = stage.record(&first).await;
    assert_eq!((&record["input_tokens"], &record["estimated"]), (&json!(3), &json!(false)));
    let plain = json!({"embedding_types": ["float", "base64"], "truncate": null, "output_dimension": null});
    let other = with(&with(&body, &plain), &json!({"model": "text-embedding-3-small"}));
    let told = stage.ask("/v2/embed", &other).await.ok();
    let vectors = json!({"float": [[0.5, -1.0], [0.5, -1.0]], "base64": ["AAAAPwAAgL8=", "AAAAPwAAgL8="]});
    assert_eq!((&told["embeddings"], &told["texts"]), (&vectors, &json!(["one two", "three"])));
    // 20 x 0.02 / 1e6 x 1.02
    assert_eq!(
        (&told["meta"]["billed_units"]["input_tokens"], &told["meta"]["cost"]),
        (&json!(20), &json!("0.000000408"))
    );
    assert_eq!(stage.gpt.asked()[0].body, json!({"model": "text-embedding-3-small", "input": ["one two", "three"]}));
    for (more, field) in [
        (json!({"embedding_types": ["int8"]}), "embedding_types"),
        (json!({"truncate": "START"}), "truncate"),
        (json!({"texts": []}), "texts"),
        (json!({"texts": null, "images": ["data:image/png;base64,AA"]}), "images"),
        (json!({"input_type": null}), "input_type"),
        (json!({"a_field_of_tomorrow": 1}), "a_field_of_tomorrow"),
        (json!({"model": "gpt-4o-mini"}), "model"),
    ] {
        let refused = stage.ask("/v2/embed", &with(&other, &more)).await;
        assert_eq!((refused.status, refused.json()["field"].as_str()), (400, Some(field)), "{}", refused.body);
    }
    // With a key of the caller's own all passes to Cohere, images too, and nothing is charged.
    let images = json!({"model": "embed-v4.0", "input_type": "image", "images": ["data:image/png;base64,AA"]});
    let own = stage.customer.api.request(Method::POST, "/v2/embed").header("provider-key", "cohere-test-of-mine");
    let own = answer(own.json(&images)).await;
    assert_eq!((&own.ok()["meta"]["cost"], &stage.cohere.asked()[1].body), (&json!("0.00"), &images));
    stage.settled(3).await;
    stage.server.admin().assert_audit().await;
}

#[tokio::test]
async fn documents_are_ordered_in_coheres_shape() {
    let stage = Stage::set().await;
    let body = json!({"model": "rerank-v3.5", "query": "capital of France", "top_n": 1, "priority": 5,
        "documents": ["Berlin is in Germany", "Paris is the capital of France"]});
    let told = stage.ask("/v2/rerank", &body).await.ok();
    assert_eq!(told["results"], json!([{"index": 1, "relevance_score": 1.0}]));
    assert_eq!(
        (&told["meta"]["billed_units"], &told["meta"]["cost"]),
        (&json!({"search_units": 1.0}), &json!("0.00204"))
    );
    assert!(told["model"].is_null() && told["usage"].is_null() && told["id"].is_string(), "{told}");
    assert_eq!(stage.cohere.asked()[0].body, body);
    for (more, field) in [
        (json!({"return_documents": true}), "return_documents"),
        (json!({"relevant_spans": {"mode": "enabled"}}), "relevant_spans"),
        (json!({"documents": []}), "documents"),
    ] {
        let refused = stage.ask("/v2/rerank", &with(&body, &more)).await;
        assert_eq!((refused.status, refused.json()["field"].as_str()), (400, Some(field)), "{}", refused.body);
    }
    let quoted = stage.ask("/v1/quote?route=/v2/rerank", &body).await.ok();
    assert_eq!(quoted["hold"], "0.00204");
    stage.settled(1).await;
    stage.server.admin().assert_audit().await;
}

#[tokio::test]
async fn a_chat_reaches_an_open_model() {
    let (server, customer) = super::open::stage("inflight").await;
    let asked = json!({"model": super::open::MODEL, "max_tokens": 5, "temperature": 0,
        "messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Name three colors."}]});
    let told = customer.api.post(CHAT, &asked).await.ok();
    let text = told["message"]["content"][0]["text"].as_str().unwrap();
    assert!(!text.is_empty() && told["finish_reason"] == "MAX_TOKENS", "{told}");
    assert_eq!(told["usage"]["billed_units"]["output_tokens"], 5);
    assert!(told["farebox"]["billed_seconds"].as_u64() > Some(0) && told["usage"]["cost"].is_string(), "{told}");
    let streamed = events(&customer.api.post(CHAT, &with(&asked, &json!({"stream": true}))).await.body);
    assert_eq!(said(&streamed), text, "greedy: the same text streamed or not");
    assert_eq!(streamed.last().unwrap().0, "message-end");
    for (more, field) in [
        (json!({"thinking": {"type": "enabled", "token_budget": 50}}), "thinking"),
        (json!({"logprobs": true}), "logprobs"),
        (json!({"documents": ["x"]}), "documents"),
        (json!({"new": 1}), "new"),
    ] {
        let refused = customer.api.post(CHAT, &with(&asked, &more)).await;
        assert_eq!((refused.status, refused.json()["field"].as_str()), (400, Some(field)), "{}", refused.body);
    }
    let none = json!({"tools": tools(), "tool_choice": "NONE", "k": 5, "p": 0.9, "seed": 3, "logprobs": false,
        "thinking": {"type": "disabled"}});
    assert_eq!(customer.api.post(CHAT, &with(&asked, &none)).await.status, 200);
    sdk("cohere_python_open.py", &server, &customer.key, super::open::MODEL).await;
    server.admin().assert_audit().await;
}

#[tokio::test]
async fn coheres_python_sdk_calls_cohere_gpt_and_claude_and_raises_its_own_exceptions() {
    let stage = Stage::set().await;
    let poor = stage.server.admin().customer("free", "0").await;
    stage.server.admin().void_all(&poor).await;
    sdk("cohere_python.py", &stage.server, &stage.customer.key, &poor.key).await;
    // What the SDK sends back of a message has the proof that Claude wants.
    let has_proof = |asked: &crate::support::fake_anthropic::Asked| asked.text.contains("\"signature\":\"sig-");
    assert!(stage.claude.requests().iter().any(has_proof));
    let asked = stage.cohere.asked().len() + stage.gpt.asked().len() + stage.claude.requests().len();
    stage.settled(asked).await;
    stage.server.admin().assert_audit().await;
}

/// Runs a script of `tests/sdk` with Cohere's SDK. `more` is another customer's key, or a model.
async fn sdk(script: &'static str, server: &Server, key: &str, more: &str) {
    let (url, key, more) = (server.url().to_owned(), key.to_owned(), more.to_owned());
    let work = move || {
        let mut python = std::process::Command::new("python3");
        python.arg(scripts().join(script)).env("PYTHONPATH", package("cohere==7.3.1"));
        run(python.env("FAREBOX_URL", url).env("FAREBOX_KEY", key).env("FAREBOX_MORE", more))
    };
    let output = tokio::task::spawn_blocking(work).await.unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), "ok");
}
