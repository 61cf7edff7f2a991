//! Models of providers with other formats, asked by clients of OpenAI's: what they are asked, what they answer, what it
//! costs, and what their failures become. The providers are our own strict stand-ins.

use serde_json::{Value, json};

use crate::support::{
    client::{Answer, Customer},
    fake_cohere, fake_gemini, fake_mistral,
    fake_provider::{FakeProvider, Misdeed, TOOL},
    python::{python_script, run},
    server::{Options, Server},
    with,
};

const HELLO: &str = "Hello from the fake provider.";

/// A provider, its model, and what its answers cost: the notes' examples with two percent.
struct Provider {
    name: &'static str,
    model: &'static str,
    cost: &'static str,
    fake: FakeProvider,
}

struct Stage {
    providers: [Provider; 3],
    server: Server,
    customer: Customer,
}

impl Stage {
    /// A gateway before all three providers, and a customer who pays as it goes.
    async fn set() -> Self {
        let providers = [
            // (1154 x 0.75 + 4096 x 0.075 + 1000 x 3.75) / 1e6 x 1.02
            Provider { name: "google", model: fake_gemini::MODEL, cost: "0.005021154", fake: fake_gemini::start() },
            // (464 x 1.5 + 1536 x 0.15 + 400 x 7.5) / 1e6 x 1.02
            Provider { name: "mistral", model: fake_mistral::MODEL, cost: "0.004004928", fake: fake_mistral::start() },
            // (120 x 2.5 + 60 x 10) / 1e6 x 1.02
            Provider { name: "cohere", model: fake_cohere::MODEL, cost: "0.000918", fake: fake_cohere::start() },
        ];
        let keys = [fake_gemini::KEY, fake_mistral::KEY, fake_cohere::KEY];
        let options = providers.iter().zip(keys).fold(Options::default(), |options, (provider, key)| {
            let variable = |name: &str| format!("FAREBOX_PROVIDERS__{}__{name}", provider.name.to_uppercase());
            // A story says itself how often its provider is to be asked.
            let options = options.set(&variable("API_KEY"), key).set(&variable("BASE_URL"), provider.fake.url());
            options.set(&variable("RETRIES"), "0")
        });
        let server = Server::start(options).await;
        let customer = server.admin().customer("payg", "5").await;
        Self { providers, server, customer }
    }

    async fn chat(&self, model: &str, more: Value) -> Answer {
        let body = json!({"model": model, "messages": [{"role": "user", "content": "Say hello to me"}]});
        self.customer.api.post("/v1/chat/completions", &with(&body, &more)).await
    }

    async fn record(&self, answer: &Answer) -> Value {
        self.customer.record(answer).await
    }

    /// The latest record, once so many requests are settled.
    async fn settled(&self, count: usize) -> Value {
        self.customer.settled(count).await.swap_remove(0)
    }
}

/// The chunks of a stream that ended well.
fn chunks(answer: &Answer) -> Vec<Value> {
    let data: Vec<&str> = answer.body.lines().filter_map(|line| line.strip_prefix("data: ")).collect();
    assert_eq!(data.last(), Some(&"[DONE]"), "{}", answer.body);
    data[..data.len() - 1].iter().map(|chunk| serde_json::from_str(chunk).unwrap()).collect()
}

/// The texts of a member of the chunks' deltas.
fn joined(chunks: &[Value], name: &str) -> String {
    chunks.iter().filter_map(|chunk| chunk["choices"][0]["delta"][name].as_str()).collect()
}

fn tools() -> Value {
    let parameters = json!({"type": "object", "properties": {"place": {"type": "string"}}});
    json!([{"type": "function", "function": {"name": TOOL, "description": "The weather", "parameters": parameters}}])
}

#[tokio::test]
async fn each_model_answers_whole_and_as_a_stream_for_exactly_what_it_reports() {
    let stage = Stage::set().await;
    for Provider { name, model, cost, fake } in &stage.providers {
        let whole = stage.chat(model, json!({"max_tokens": 500, "user": "ada"})).await;
        let said = whole.ok();
        assert_eq!((&said["object"], &said["model"]), (&json!("chat.completion"), &json!(model)), "{name}");
        let choice = &said["choices"][0];
        assert_eq!(
            (&choice["message"]["content"], &choice["finish_reason"]),
            (&json!(HELLO), &json!("stop")),
            "{name}"
        );
        assert_eq!((&said["usage"]["cost"], whole.header("x-farebox-cost")), (&json!(cost), Some(*cost)), "{name}");
        let streamed = stage.chat(model, json!({"stream": true, "stream_options": {"include_usage": true}})).await;
        let chunks = chunks(&streamed);
        assert_eq!(joined(&chunks, "content"), HELLO, "{name}: {}", streamed.body);
        let usage = &chunks.last().unwrap()["usage"];
        assert_eq!((&usage["cost"], &usage["total_tokens"]), (&json!(cost), &said["usage"]["total_tokens"]), "{name}");
        let finishes = chunks.iter().filter(|chunk| chunk["choices"][0]["finish_reason"] == "stop").count();
        assert_eq!(finishes, 1, "{name}: {}", streamed.body);
        let record = stage.record(&streamed).await;
        assert_eq!((&record["cost"], &record["estimated"]), (&json!(cost), &json!(false)), "{name}: {record}");
        assert_eq!(fake.asked().len(), 2, "{name}");
    }
    let usage = stage.chat(fake_gemini::MODEL, json!({})).await.ok()["usage"].clone();
    let counts = [
        "/prompt_tokens",
        "/prompt_tokens_details/cached_tokens",
        "/completion_tokens",
        "/completion_tokens_details/reasoning_tokens",
    ];
    assert_eq!(
        counts.map(|count| usage.pointer(count).cloned()),
        [5_250, 4_096, 1_000, 700].map(|count| Some(json!(count)))
    );
    stage.server.admin().assert_audit().await;
}

#[tokio::test]
async fn a_tool_is_called_and_its_result_answered() {
    let stage = Stage::set().await;
    for Provider { name, model, fake, .. } in &stage.providers {
        for stream in [false, true] {
            let called = stage.chat(model, json!({"tools": tools(), "tool_choice": "auto", "stream": stream})).await;
            let message =
                if stream { assembled(&chunks(&called)) } else { called.ok()["choices"][0]["message"].clone() };
            let calls = message["tool_calls"].as_array().unwrap_or_else(|| panic!("{name}: {message}"));
            assert_eq!(calls.len(), 1, "{name}: {message}");
            let (id, function) = (calls[0]["id"].clone(), &calls[0]["function"]);
            let arguments: Value = serde_json::from_str(function["arguments"].as_str().unwrap()).unwrap();
            assert_eq!((&function["name"], arguments), (&json!(TOOL), json!({"place": "Paris", "days": 3})), "{name}");
            assert_eq!(message["reasoning_content"], "let me see", "{name}: {message}");
            let asked = json!({"role": "user", "content": "What is the weather?"});
            let result = json!({"role": "tool", "tool_call_id": id, "content": "sunny"});
            let more = json!({"tools": tools(), "messages": [asked, message, result], "stream": stream});
            let answered = stage.chat(model, more).await;
            let text = if stream {
                joined(&chunks(&answered), "content").into()
            } else {
                answered.ok()["choices"][0]["message"]["content"].clone()
            };
            assert_eq!(text, "It is sunny", "{name}: {}", answered.body);
            if *name == "google" && !stream {
                let asked = fake.asked().last().unwrap().body.clone();
                assert_eq!(asked["contents"][1]["parts"][0]["thoughtSignature"], fake_gemini::PROOF, "{asked}");
            }
        }
    }
    stage.server.admin().assert_audit().await;
}

/// The message that a stream tells.
fn assembled(chunks: &[Value]) -> Value {
    let mut calls: Vec<Value> = Vec::new();
    let pieces = chunks.iter().filter_map(|chunk| chunk["choices"][0]["delta"]["tool_calls"].as_array()).flatten();
    for piece in pieces {
        let index = usize::try_from(piece["index"].as_u64().unwrap()).unwrap();
        if index == calls.len() {
            calls.push(json!({"id": piece["id"], "type": "function", "function": {"name": piece["function"]["name"], "arguments": ""}}));
        }
        let arguments = &mut calls[index]["function"]["arguments"];
        *arguments = (arguments.as_str().unwrap().to_owned() + piece["function"]["arguments"].as_str().unwrap()).into();
    }
    assert!(chunks.iter().any(|chunk| chunk["choices"][0]["finish_reason"] == "tool_calls"), "{chunks:?}");
    json!({"role": "assistant", "content": joined(chunks, "content"), "reasoning_content": joined(chunks, "reasoning_content"),
        "tool_calls": calls})
}

#[tokio::test]
async fn an_answer_fits_its_schema_and_what_can_not_be_asked_costs_nothing() {
    let stage = Stage::set().await;
    let schema = json!({"type": "object", "properties": {"sky": {"type": "string"}}, "required": ["sky"]});
    let format = json!({"type": "json_schema", "json_schema": {"name": "sky", "schema": schema, "strict": true}});
    for Provider { name, model, fake, .. } in &stage.providers {
        let said = stage.chat(model, json!({"response_format": format, "reasoning_effort": "low"})).await.ok();
        assert_eq!(said["choices"][0]["message"]["content"], "{\"sky\":\"blue\"}", "{name}");
        for (more, param) in [
            (json!({"logit_bias": {"5": 1}}), "logit_bias"),
            (json!({"tools": [{"type": "custom", "custom": {"name": "run"}}]}), "tools"),
            (json!({"verbosity": "low"}), "verbosity"),
        ] {
            let refused = stage.chat(model, more.clone()).await;
            assert_eq!(refused.status, 400, "{name} {more}: {}", refused.body);
            assert_eq!(refused.json()["error"]["param"], param, "{name} {more}: {}", refused.body);
            let quote = with(&json!({"model": model, "messages": [{"role": "user", "content": "x"}]}), &more);
            assert_eq!(stage.customer.api.post("/v1/quote", &quote).await.status, 400, "{name} {more}");
        }
        assert_eq!(fake.asked().len(), 1, "{name}");
    }
    let quote = json!({"model": fake_gemini::MODEL, "max_tokens": 10, "messages": [{"role": "user", "content": "hello world"}]});
    let quote = stage.customer.api.post("/v1/quote", &quote).await.ok();
    // Nine tokens, twice: Google counts by itself.
    assert_eq!(quote["cost"]["most"], "0.00005202", "{quote}");
    stage.settled(3).await;
    stage.server.admin().assert_audit().await;
}

#[tokio::test]
async fn what_a_provider_refuses_or_breaks_is_told_and_charged_as_it_was_reported() {
    let stage = Stage::set().await;
    let mut count = 0;
    for Provider { name, model, fake, .. } in &stage.providers {
        for (misdeed, stream, status) in [
            (Misdeed::Status(500, None), false, 502),
            (Misdeed::Status(429, None), true, 429),
            (Misdeed::Status(400, None), false, 400),
            (Misdeed::Status(401, None), false, 502),
            (Misdeed::Garbage, false, 502),
            (Misdeed::Garbage, true, 502),
            (Misdeed::CutAt(20), true, 502),
        ] {
            fake.script(misdeed);
            let answer = stage.chat(model, json!({"stream": stream})).await;
            count += 1;
            assert_eq!(answer.status, status, "{name} {misdeed:?}: {}", answer.body);
            assert!(!answer.body.contains("[DONE]"), "{name} {misdeed:?}: {}", answer.body);
            assert!(!answer.body.contains("-test"), "a key in {}", answer.body);
            let record = stage.settled(count).await;
            assert_eq!((&record["cost"], &record["ending"]), (&json!("0.00"), &json!("failed")), "{name} {misdeed:?}");
        }
        fake.script(Misdeed::NoUsage);
        let answer = stage.chat(model, json!({})).await;
        count += 1;
        assert_eq!(answer.ok()["choices"][0]["message"]["content"], HELLO, "{name}");
        let record = stage.settled(count).await;
        assert_eq!((&record["estimated"], &record["output_tokens"]), (&json!(true), &json!(6)), "{name}: {record}");
        assert!(record["input_tokens"].as_u64() < Some(20), "the plain count, and not the bound: {record}");
    }
    // What a cut stream reported before it broke is paid: Google's usage is a running total.
    let Provider { model, fake, .. } = &stage.providers[0];
    fake.script(Misdeed::CutAt(700));
    assert_eq!(stage.chat(model, json!({"stream": true})).await.status, 200);
    let record = stage.settled(count + 1).await;
    assert_eq!((&record["input_tokens"], &record["output_tokens"]), (&json!(5_000), &json!(0)), "{record}");
    assert_eq!((&record["ending"], record["cost"] == "0.00"), (&json!("failed"), false), "{record}");
    stage.server.admin().assert_audit().await;
}

#[tokio::test]
async fn a_stream_cut_at_any_byte_is_charged_what_was_reported_before() {
    const LONGEST: usize = 4_000;
    let stage = Stage::set().await;
    for Provider { name, model, cost, fake } in &stage.providers {
        let (full, mut before, mut endings) = (cost.parse::<f64>().unwrap(), 0.0, [0, 0]);
        for cut in (0..LONGEST).step_by(83) {
            fake.script(Misdeed::CutAt(cut));
            let answer = stage.chat(model, json!({"stream": true})).await;
            let record = stage.record(&answer).await;
            let charged: f64 = record["cost"].as_str().unwrap().parse().unwrap();
            assert!(before <= charged && charged <= full, "{name} cut at {cut}: {record}");
            before = charged;
            let is_whole = answer.body.contains("[DONE]");
            assert_eq!(
                record["ending"],
                if is_whole { "completed" } else { "failed" },
                "{name} cut at {cut}: {record}"
            );
            assert!(!is_whole || record["cost"] == *cost, "{name} cut at {cut}: {record}");
            endings[usize::from(is_whole)] += 1;
            // A provider that does nothing but fail is left alone.
            stage.chat(model, json!({})).await.ok();
        }
        assert!(endings[0] > 5 && endings[1] > 5, "{name}: {endings:?}");
    }
    stage.server.admin().assert_audit().await;
}

#[tokio::test]
async fn a_blocked_prompt_and_a_call_that_can_not_be_read_end_as_such() {
    let stage = Stage::set().await;
    let Provider { model, fake, .. } = &stage.providers[0];
    fake.script(Misdeed::Says(
        r#"{"promptFeedback":{"blockReason":"SAFETY"},"usageMetadata":{"promptTokenCount":9,"totalTokenCount":9}}"#,
    ));
    let blocked = stage.chat(model, json!({})).await.ok();
    assert_eq!(blocked["choices"][0]["finish_reason"], "content_filter", "{blocked}");
    fake.script(Misdeed::Says(
        r#"{"candidates":[{"finishReason":"MALFORMED_FUNCTION_CALL","finishMessage":"Malformed function call: f("}]}"#,
    ));
    let malformed = stage.chat(model, json!({})).await;
    assert!(malformed.status == 502 && malformed.body.contains("Malformed function call"), "{}", malformed.body);
    fake.script(Misdeed::Status(429, None));
    let busy = stage.chat(model, json!({})).await;
    assert_eq!((busy.status, busy.header("retry-after")), (429, Some("7")), "{}", busy.body);
    stage.server.admin().assert_audit().await;
}

#[tokio::test]
async fn a_client_that_leaves_is_charged_what_was_used() {
    let stage = Stage::set().await;
    for (count, Provider { name, model, cost, fake }) in stage.providers.iter().enumerate() {
        fake.script(Misdeed::Slow(100));
        let body =
            json!({"model": model, "stream": true, "messages": [{"role": "user", "content": "Say hello to me"}]});
        let request = stage.customer.api.request(reqwest::Method::POST, "/v1/chat/completions").json(&body);
        let mut response = request.send().await.unwrap();
        response.chunk().await.unwrap();
        drop(response);
        let record = stage.settled(count + 1).await;
        assert_eq!((&record["ending"], &record["cost"]), (&json!("client_left"), &json!(cost)), "{name}: {record}");
    }
    stage.server.admin().assert_audit().await;
}

#[tokio::test]
async fn the_callers_own_key_is_sent_where_its_provider_reads_it() {
    let stage = Stage::set().await;
    for Provider { name, model, .. } in &stage.providers {
        let body = json!({"model": model, "messages": [{"role": "user", "content": "Say hello to me"}]});
        let ask = |key: &'static str| {
            let request = stage.customer.api.request(reqwest::Method::POST, "/v1/chat/completions").json(&body);
            request.header("provider-key", key).send()
        };
        let key = match *name {
            "google" => fake_gemini::KEY,
            "mistral" => fake_mistral::KEY,
            _ => fake_cohere::KEY,
        };
        assert_eq!(ask(key).await.unwrap().status(), 200, "{name}");
        assert_eq!(ask("wrong").await.unwrap().status(), 401, "{name}: a bad key of theirs is theirs");
    }
    assert_eq!(stage.customer.api.get("/v1/balance").await.ok()["available"], "10.00");
    stage.server.admin().assert_audit().await;
}

#[tokio::test]
async fn openais_python_sdk_reaches_them_all() {
    let stage = Stage::set().await;
    let models: Vec<&str> = stage.providers.iter().map(|provider| provider.model).collect();
    let (url, key, models) = (stage.server.url().to_owned(), stage.customer.key.clone(), models.join(" "));
    let work = move || {
        let mut command = python_script("openai_python_others.py");
        run(command.env("FAREBOX_URL", url).env("FAREBOX_KEY", key).env("MODELS", models))
    };
    let output = tokio::task::spawn_blocking(work).await.unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), "ok");
    stage.server.admin().assert_audit().await;
}
