//! Anthropic's format on both sides: clients of messages call Claude, GPT and an open model, clients of chats call Claude.
//! What agents need arrives at the provider byte for byte, and everything is charged as the provider counts.

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{
    client::{Answer, Customer, answer},
    fake_anthropic::{Behaviour, FakeAnthropic},
    fake_openai::{self, FakeOpenAi},
    python::{python_script, run},
    server::{Options, Server},
    with,
};

struct Stage {
    claude: FakeAnthropic,
    gpt: FakeOpenAi,
    server: Server,
    customer: Customer,
}

impl Stage {
    async fn set() -> Self {
        let (claude, gpt) = (FakeAnthropic::start(), FakeOpenAi::start());
        let server = Server::start(Options::default().calling(gpt.url()).calling_anthropic(claude.url())).await;
        let customer = server.admin().customer("payg", "50").await;
        Self { claude, gpt, server, customer }
    }

    async fn ask(&self, more: Value) -> Answer {
        self.customer.api.post("/v1/messages?beta=true", &with(&body(), &more)).await
    }

    /// Waits until so many requests are recorded and nothing is held.
    async fn settled(&self, count: usize) -> Vec<Value> {
        self.customer.settled(count).await
    }
}

fn body() -> Value {
    json!({"model": "claude-opus-5-5", "max_tokens": 100, "messages": [{"role": "user", "content": "Say hello to me"}]})
}

/// (7 x 4 + 6 x 20) / 1e6 x 1.02: seven tokens of input and six words.
const COST: &str = "0.00015096";

/// The events of a stream: names and data.
fn events(text: &str) -> Vec<(String, Value)> {
    let lines = |frame: &str| -> Vec<String> {
        frame.lines().filter(|line| !line.starts_with(':')).map(str::to_owned).collect()
    };
    let one = |lines: Vec<String>| {
        let (name, data) = (lines[0].strip_prefix("event: ").unwrap(), lines[1].strip_prefix("data: ").unwrap());
        (name.to_owned(), serde_json::from_str(data).unwrap())
    };
    text.split("\n\n").map(lines).filter(|lines| !lines.is_empty()).map(one).collect()
}

#[tokio::test]
async fn an_answer_of_claude_is_charged_its_usage_and_two_percent_whole_and_streamed() {
    let stage = Stage::set().await;
    let whole = stage.ask(json!({})).await;
    let body = whole.ok();
    assert_eq!(body["content"], json!([{"type": "text", "text": "Hello from the fake Claude."}]));
    assert_eq!((&body["usage"]["cost"], &body["usage"]["input_tokens"]), (&json!(COST), &json!(7)));
    assert_eq!((&body["usage"]["inference_geo"], &body["id"]), (&json!("global"), &json!("msg_fake")));
    assert_eq!(whole.header("x-farebox-cost"), Some(COST));
    assert!(body["farebox"]["request_id"].is_string());

    let streamed = stage.ask(json!({"stream": true})).await;
    let all = events(&streamed.body);
    let names: Vec<&str> = all.iter().map(|(name, _)| &**name).collect();
    assert_eq!(&names[..3], ["message_start", "ping", "content_block_start"]);
    assert_eq!(&names[names.len() - 3..], ["event_of_tomorrow", "message_delta", "message_stop"]);
    assert_eq!(all[names.len() - 3].1, json!({"type": "event_of_tomorrow", "x": 1.5}));
    let end = &all[names.len() - 2].1;
    assert_eq!((&end["usage"]["cost"], &end["usage"]["output_tokens"]), (&json!(COST), &json!(6)));
    assert_eq!((&end["delta"]["stop_reason"], end["farebox"].is_object()), (&json!("end_turn"), true));
    let records = stage.settled(2).await;
    assert!(records.iter().all(|record| record["cost"] == COST && record["estimated"] == false), "{records:?}");
    stage.server.admin().assert_audit().await;
}

#[tokio::test]
async fn an_agents_bytes_headers_and_query_arrive_and_its_cache_is_priced() {
    let stage = Stage::set().await;
    let send = |text: String| {
        let request = stage.customer.api.request(Method::POST, "/v1/messages?beta=true").body(text);
        let request = request.header("content-type", "application/json").header("anthropic-version", "2023-06-01");
        answer(request.header("anthropic-beta", "a-2026,b-2026").header("x-app", "cli"))
    };
    let system =
        r#""system": [ {"type":"text", "text":"one two three", "cache_control":{"type":"ephemeral","ttl":"1h"}} ]"#;
    let tools = r#""tools":[{"name":"sky","description":"h\u00e9","input_schema":{"type":"object" }}]"#;
    let turn = |messages: &str| {
        format!(
            r#"{{"model":"claude-opus-5-5","messages":[{messages}], {system},{tools},"tool_choice":{{"type":"none"}},
            "metadata":{{"user_id":"u"}},"max_tokens":50,"thinking":{{"type":"adaptive"}},"context_management":{{"edits":[]}}}}"#
        )
    };
    let said = r#"{"role":"user","content":[{"type":"text","text":"four five","cache_control":{"type":"ephemeral"}}]}"#;
    let first = turn(said);
    let told = send(first.clone()).await.ok();
    let [_, answered] = told["content"].as_array().unwrap().as_slice() else { panic!("{told}") };
    let mut thought = told["content"][0].clone();
    thought["signature"] = "sig-of-the-fake".into();
    let unmarked = said.replace(r#","cache_control":{"type":"ephemeral"}"#, "");
    let second = turn(&format!(
        r#"{unmarked},{{"role":"assistant","content":[{thought},{answered}]}},{{"role":"user","content":[{{"type":"text","text":"six","cache_control":{{"type":"ephemeral"}}}}]}}"#
    ));
    let told_again = send(second.clone()).await.ok();
    let asked = stage.claude.requests();
    for (asked, sent) in asked.iter().zip([&first, &second]) {
        let sent = sent.strip_suffix('}').unwrap();
        assert_eq!(asked.text, format!(r#"{sent},"service_tier":"standard_only"}}"#), "every byte, and our tier");
    }
    assert_eq!(asked[0].path, "/v1/messages?beta=true");
    for line in
        ["anthropic-beta: a-2026,b-2026", "anthropic-version: 2023-06-01", "x-app: cli", "x-api-key: sk-ant-test"]
    {
        assert!(asked[0].head.contains(line), "{line} in {}", asked[0].head);
    }
    assert!(!asked[0].head.contains("fb_"), "the caller's key stays here");
    assert!(told_again["usage"]["cache_read_input_tokens"].as_u64().unwrap() > 0, "{told_again}");
    for told in [&told, &told_again] {
        let count = |at: &str| told["usage"].pointer(at).and_then(Value::as_u64).unwrap();
        let nanos = count("/input_tokens") * 4_000
            + count("/cache_read_input_tokens") * 200
            + count("/cache_creation/ephemeral_5m_input_tokens") * 5_000
            + count("/cache_creation/ephemeral_1h_input_tokens") * 8_000
            + count("/output_tokens") * 20_000;
        let cost = told["usage"]["cost"].as_str().unwrap().parse::<billing::Nanos>().unwrap();
        assert_eq!(u64::try_from(cost.get()).unwrap(), nanos * 102 / 100, "{told}");
    }
    stage.server.admin().assert_audit().await;
}

#[tokio::test]
async fn who_pays_when_a_call_of_claude_ends_early() {
    let stage = Stage::set().await;
    for (behaviour, stream, status, kind) in [
        (Behaviour::Status(500, None), false, 502, "api_error"),
        (Behaviour::Status(429, Some("8")), false, 429, "rate_limit_error"),
        (Behaviour::Status(429, None), true, 429, "rate_limit_error"),
        (Behaviour::Status(529, None), true, 529, "overloaded_error"),
        (Behaviour::Garbage, false, 502, "api_error"),
    ] {
        stage.claude.script(behaviour);
        let answer = stage.ask(json!({"stream": stream})).await;
        assert_eq!((answer.status, answer.json()["error"]["type"].as_str()), (status, Some(kind)), "{behaviour:?}");
        let wait = if matches!(behaviour, Behaviour::Status(429, Some(_))) { "8" } else { "" };
        assert!(answer.header("retry-after").is_some_and(|after| wait.is_empty() || after == wait), "{behaviour:?}");
    }
    let records = stage.settled(5).await;
    assert!(records.iter().all(|record| record["cost"] == "0.00"), "{records:?}");

    // The input and one token of output were told before the end: (7 x 4 + 1 x 20) / 1e6 x 1.02.
    for behaviour in [Behaviour::CutAfter(5), Behaviour::ErrorAfter(5), Behaviour::Garbage] {
        stage.claude.script(behaviour);
        let answer = stage.ask(json!({"stream": true})).await;
        let all = events(&answer.body);
        assert_eq!((answer.status, &*all.last().unwrap().0), (200, "error"), "{behaviour:?}: {}", answer.body);
        assert_eq!(all.last().unwrap().1["type"], "error");
        assert!(!answer.body.contains("message_stop"), "{}", answer.body);
    }
    let records = stage.settled(8).await;
    assert!(records[..3].iter().all(|record| record["cost"] == "0.00004896"), "{records:?}");

    for stream in [false, true] {
        stage.claude.script(Behaviour::Refuses);
        let answer = stage.ask(json!({"stream": stream})).await;
        assert!(answer.body.contains("\"refusal\"") && answer.body.contains("\"cost\":\"0.00\""), "{}", answer.body);
    }
    let records = stage.settled(10).await;
    assert!(records[..2].iter().all(|record| record["cost"] == "0.00"), "a refusal before any output is free");

    stage.claude.script(Behaviour::NoUsage);
    stage.ask(json!({})).await.ok();
    let records = stage.settled(11).await;
    assert_eq!(records[0]["estimated"], true, "{records:?}");
    stage.server.admin().assert_audit().await;
}

#[tokio::test]
async fn a_client_that_leaves_pays_what_the_provider_reports() {
    let stage = Stage::set().await;
    stage.claude.script(Behaviour::Slow(60));
    let request =
        stage.customer.api.request(Method::POST, "/v1/messages").json(&with(&body(), &json!({"stream": true})));
    let mut response = request.send().await.unwrap();
    response.chunk().await.unwrap();
    drop(response);
    let records = stage.settled(1).await;
    assert_eq!((&records[0]["cost"], &records[0]["estimated"]), (&json!(COST), &json!(false)), "{records:?}");
    stage.server.admin().assert_audit().await;
}

#[tokio::test]
async fn what_has_no_price_is_refused_unless_the_caller_pays_its_provider() {
    let stage = Stage::set().await;
    for (more, named) in [
        (json!({"mcp_servers": [{"type": "url", "name": "x", "url": "https://x"}]}), "mcp_servers"),
        (json!({"container": "c"}), "container"),
        (json!({"fallbacks": [{"model": "m"}]}), "fallbacks"),
        (json!({"inference_geo": "eu"}), "inference_geo"),
        (json!({"model": "claude-haiku-4-5", "inference_geo": "us"}), "inference_geo"),
        (json!({"model": "claude-haiku-4-5", "speed": "fast"}), "speed"),
        (json!({"tools": [{"type": "web_search_20260318", "name": "web_search"}]}), "tools[0].max_uses"),
        (json!({"max_tokens": null}), "max_tokens"),
    ] {
        let answer = stage.ask(more.clone()).await;
        assert_eq!(answer.status, 400, "{more}: {}", answer.body);
        assert_eq!((&answer.json()["field"], &answer.json()["type"]), (&json!(named), &json!("error")), "{more}");
    }
    assert!(stage.claude.requests().is_empty());
    let own = stage.customer.api.request(Method::POST, "/v1/messages").header("provider-key", "sk-ant-own");
    let told =
        answer(own.json(&with(&body(), &json!({"mcp_servers": [{"type": "url", "name": "x", "url": "https://x"}]}))))
            .await
            .ok();
    assert_eq!(told["usage"]["cost"], "0.00");
    assert!(stage.claude.requests()[0].head.contains("x-api-key: sk-ant-own"));
    // A bounded search is held for, and charged as it was used.
    let tool = json!({"tools": [{"type": "web_search_20260318", "name": "web_search", "max_uses": 8}], "tool_choice": {"type": "none"}});
    stage.claude.script(Behaviour::Usage(
        r#"{"input_tokens":500,"cache_read_input_tokens":20000,"cache_creation_input_tokens":3000,"output_tokens":800,
            "cache_creation":{"ephemeral_5m_input_tokens":1000,"ephemeral_1h_input_tokens":2000},"server_tool_use":{"web_search_requests":2}}"#,
    ));
    let told = stage.ask(tool).await.ok();
    // $0.063, of which two cents are the searches' (notes on usage), and two percent.
    assert_eq!(told["usage"]["cost"], "0.06426", "{told}");
    // Fast mode costs twice as much, and one place a tenth more, where they were served: (1,000 x 4 + 100 x 20) / 1e6 x 1.02
    // so many times.
    let (fast, us) = (json!({"speed": "fast"}), json!({"inference_geo": "us"}));
    let both = with(&fast, &us);
    for (asked, served, cost) in [
        (&fast, r#"{"input_tokens":1000,"output_tokens":100,"service_tier":"standard","speed":"fast"}"#, "0.01224"),
        (&fast, r#"{"input_tokens":1000,"output_tokens":100,"service_tier":"standard","speed":"standard"}"#, "0.00612"),
        (
            &us,
            r#"{"input_tokens":1000,"output_tokens":100,"service_tier":"standard","inference_geo":"us"}"#,
            "0.006732",
        ),
        (&both, r#"{"input_tokens":1000,"output_tokens":100,"inference_geo":"us","speed":"fast"}"#, "0.013464"),
    ] {
        stage.claude.script(Behaviour::Usage(served));
        let told = stage.ask(asked.clone()).await.ok();
        assert_eq!(told["usage"]["cost"], cost, "{told}");
    }
    stage.server.admin().assert_audit().await;
}

#[tokio::test]
async fn a_count_is_free_and_so_is_what_agents_look_at() {
    let stage = Stage::set().await;
    let counted = json!({"model": "claude-opus-5-5", "messages": [{"role": "user", "content": "Say hello to me"}]});
    for _ in 0..18 {
        let told = stage.customer.api.post("/v1/messages/count_tokens?beta=true", &counted).await.ok();
        assert_eq!(told, json!({"input_tokens": 7}));
    }
    assert_eq!(stage.claude.requests()[17].path, "/v1/messages/count_tokens?beta=true");
    let other = with(&counted, &json!({"model": "gpt-4o-mini"}));
    let told = stage.customer.api.post("/v1/messages/count_tokens", &other).await.ok();
    assert!(told["input_tokens"].as_u64().is_some_and(|count| (7..20).contains(&count)), "{told}");
    let wrong = stage.customer.api.post("/v1/messages/count_tokens", &json!({"model": "m"})).await;
    assert_eq!((wrong.status, &wrong.json()["error"]["type"]), (400, &json!("invalid_request_error")));
    assert_eq!(stage.settled(0).await.len(), 0);
    let models = stage.customer.api.get("/v1/models?limit=1000").await.ok();
    assert!(models["data"].as_array().unwrap().iter().any(|model| model["id"] == "claude-opus-5-5"));
    assert_eq!(answer(stage.customer.api.request(Method::HEAD, "/")).await.status, 200);
    let bare = reqwest::Client::new().post(format!("{}/v1/messages", stage.server.url())).json(&body());
    let refused = answer(bare.header("x-api-key", "fb_wrong")).await;
    assert_eq!((refused.status, refused.header("x-should-retry")), (401, Some("false")));
    let (error, id) = (&refused.json()["error"], &refused.json()["request_id"]);
    assert_eq!((&error["type"], id.is_string()), (&json!("authentication_error"), true));
    let bare = reqwest::Client::new().post(format!("{}/v1/messages", stage.server.url())).json(&body());
    assert_eq!(answer(bare.header("x-api-key", &stage.customer.key)).await.status, 200);
}

#[tokio::test]
async fn a_long_conversation_fits_where_agents_send_one() {
    let stage = Stage::set().await;
    let image =
        json!({"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "A".repeat(20 << 20)}});
    let long = json!({"messages": [{"role": "user", "content": [image]}]});
    stage.ask(long).await.ok();
}

#[tokio::test]
async fn a_client_of_messages_calls_gpt() {
    let stage = Stage::set().await;
    let more = json!({"model": "gpt-4o-mini", "system": "Be brief", "stop_sequences": ["END"], "metadata": {"user_id": "u"},
        "thinking": {"type": "adaptive"}, "cache_control": {"type": "ephemeral"}});
    let told = stage.ask(more.clone()).await.ok();
    assert_eq!(told["content"], json!([{"type": "text", "text": "Hello from the fake provider."}]));
    assert_eq!(
        (&told["stop_reason"], &told["model"], &told["type"]),
        (&json!("end_turn"), &json!("gpt-4o-mini"), &json!("message"))
    );
    // (12 x 0.15 + 6 x 0.60) / 1e6 x 1.02: two messages.
    let usage = json!({"input_tokens": 12, "cache_creation_input_tokens": 0, "cache_read_input_tokens": 0,
        "output_tokens": 6, "cost": "0.000005508"});
    assert_eq!(told["usage"], usage);
    let sent = &stage.gpt.requests()[0];
    assert_eq!(sent["messages"][0], json!({"role": "system", "content": "Be brief"}));
    assert_eq!((&sent["max_completion_tokens"], &sent["stop"]), (&json!(100), &json!(["END"])));
    let all = events(&stage.ask(with(&more, &json!({"stream": true}))).await.body);
    let text: String = all.iter().filter_map(|(_, data)| data["delta"]["text"].as_str()).collect();
    assert_eq!(text, "Hello from the fake provider.");
    let names: Vec<&str> = all.iter().map(|(name, _)| &**name).filter(|name| *name != "content_block_delta").collect();
    assert_eq!(names, ["message_start", "content_block_start", "content_block_stop", "message_delta", "message_stop"]);
    assert_eq!(all[all.len() - 2].1["usage"], usage);
    for (more, named) in [
        (json!({"top_k": 5}), "top_k"),
        (
            json!({"messages": [{"role": "user", "content": [{"type": "block_of_tomorrow"}]}]}),
            "messages[0].content[0].type",
        ),
    ] {
        let refused = stage.ask(with(&more, &json!({"model": "gpt-4o-mini"}))).await;
        assert_eq!((refused.status, &refused.json()["field"]), (400, &json!(named)), "{}", refused.body);
    }
    stage.settled(2).await;
    stage.server.admin().assert_audit().await;
}

#[tokio::test]
async fn a_client_of_chats_calls_claude_with_tools_and_its_thoughts_come_back() {
    let stage = Stage::set().await;
    let chat = |messages: Value, stream: bool| {
        let tool = json!({"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}});
        let body = json!({"model": "claude-opus-5-5", "messages": messages, "tools": [tool], "reasoning_effort": "low",
            "stream": stream});
        let api = stage.customer.api.clone();
        async move { api.post("/v1/chat/completions", &body).await }
    };
    let asked = json!({"role": "user", "content": "How is the weather?"});
    let told = chat(json!([asked]), false).await.ok();
    let message = &told["choices"][0]["message"];
    assert_eq!(told["choices"][0]["finish_reason"], "tool_calls");
    assert_eq!((&message["content"], &message["reasoning_content"]), (&Value::Null, &json!("I think")));
    let detail = json!({"type": "reasoning.text", "text": "I think", "signature": "sig-of-the-fake", "index": 0});
    assert_eq!(message["reasoning_details"], json!([detail]));
    assert_eq!(message["tool_calls"][0]["function"]["arguments"], r#"{"place":"Paris"}"#);
    let result = json!({"role": "tool", "tool_call_id": message["tool_calls"][0]["id"], "content": "rain"});
    let told = chat(json!([asked, message, result]), false).await.ok();
    assert_eq!(told["choices"][0]["message"]["content"], "Hello from the fake Claude.", "{told}");
    let sent = stage.claude.requests()[1].clone();
    assert_eq!(sent.body["messages"][1]["content"][0]["signature"], "sig-of-the-fake");
    assert_eq!((&sent.body["max_tokens"], &sent.body["output_config"]["effort"]), (&json!(128_000), &json!("low")));
    assert!(sent.head.contains("anthropic-version: 2026-10-21"), "{}", sent.head);
    let streamed = chat(json!([asked]), true).await;
    let chunks = streamed.body.lines().filter_map(|line| line.strip_prefix("data: {"));
    let chunks: Vec<Value> = chunks.map(|chunk| serde_json::from_str(&format!("{{{chunk}")).unwrap()).collect();
    let deltas = || chunks.iter().map(|chunk| &chunk["choices"][0]["delta"]);
    assert_eq!(deltas().find_map(|delta| delta.get("reasoning_details")), Some(&json!([detail])));
    let arguments: String =
        deltas().filter_map(|delta| delta["tool_calls"][0]["function"]["arguments"].as_str()).collect();
    assert_eq!(arguments, r#"{"place":"Paris"}"#);
    assert!(chunks.last().unwrap()["usage"]["cost"].is_string(), "{}", streamed.body);
    stage.settled(3).await;
    stage.server.admin().assert_audit().await;
}

#[tokio::test]
async fn thoughts_of_other_models_do_not_reach_claude() {
    let stage = Stage::set().await;
    let thought = |proof: &str| json!({"type": "thinking", "thinking": "hm", "signature": proof});
    let (two, user) = (json!({"type": "text", "text": "two"}), |text: &str| json!({"role": "user", "content": text}));
    let said = |content: Value| json!([user("one"), {"role": "assistant", "content": content}, user("three")]);
    // The fake refuses a proof that is not its own, as Claude does.
    let told = stage.ask(json!({"messages": said(json!([thought("google:p"), thought(""), two]))})).await.ok();
    assert_eq!(told["type"], "message", "{told}");
    assert_eq!(stage.claude.requests()[0].body["messages"], said(json!([two])));
    stage.settled(1).await;
    stage.server.admin().assert_audit().await;
}

#[tokio::test]
async fn a_client_of_messages_calls_an_open_model() {
    let (server, customer) = super::open::stage("inflight").await;
    let asked = json!({"model": super::open::MODEL, "max_tokens": 5, "temperature": 0, "system": "Be brief.",
        "messages": [{"role": "user", "content": [{"type": "text", "text": "Name three colors.", "cache_control": {"type": "ephemeral"}}]}],
        "metadata": {"user_id": "u"}});
    let told = customer.api.post("/v1/messages", &asked).await.ok();
    assert!(!told["content"][0]["text"].as_str().unwrap().is_empty(), "{told}");
    assert_eq!((&told["stop_reason"], &told["usage"]["output_tokens"]), (&json!("max_tokens"), &json!(5)));
    assert!(told["farebox"]["billed_seconds"].as_u64() > Some(0) && told["usage"]["cost"].is_string(), "{told}");
    let all = events(&customer.api.post("/v1/messages", &with(&asked, &json!({"stream": true}))).await.body);
    let text: String = all.iter().filter_map(|(_, data)| data["delta"]["text"].as_str()).collect();
    assert_eq!(told["content"][0]["text"], text, "greedy: the same text streamed or not");
    assert_eq!(all.last().unwrap().0, "message_stop");
    let counted = with(&asked, &json!({"max_tokens": null, "temperature": null}));
    let counted = customer.api.post("/v1/messages/count_tokens", &counted).await.ok();
    assert_eq!(counted["input_tokens"], told["usage"]["input_tokens"]);
    for (more, named) in [
        (json!({"tools": [{"name": "f", "input_schema": {"type": "string"}}]}), "tools"),
        (json!({"thinking": {"type": "adaptive"}}), "thinking"),
        (json!({"max_tokens": 0}), "max_tokens"),
    ] {
        let refused = customer.api.post("/v1/messages", &with(&asked, &more)).await;
        assert_eq!((refused.status, &refused.json()["field"]), (400, &json!(named)), "{}", refused.body);
    }
    let long = json!({"messages": [{"role": "user", "content": "word ".repeat(20_000)}]});
    let refused = customer.api.post("/v1/messages", &with(&asked, &long)).await;
    let message = refused.json()["error"]["message"].as_str().unwrap().to_owned();
    assert!(message.starts_with("prompt is too long: ") && message.contains(" tokens > "), "{message}");
    server.admin().assert_audit().await;
}

/// Runs a script of `tests/sdk` against a gateway before both providers.
async fn script(name: &'static str) {
    let stage = Stage::set().await;
    let poor = stage.server.admin().customer("free", "0").await;
    let (url, key) = (stage.server.url().to_owned(), stage.customer.key.clone());
    let work = move || {
        run(python_script(name).env("FAREBOX_URL", url).env("FAREBOX_KEY", key).env("FAREBOX_POOR_KEY", poor.key))
    };
    let output = tokio::task::spawn_blocking(work).await.unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), "ok");
    stage.server.admin().assert_audit().await;
}

#[tokio::test]
async fn anthropics_python_sdk_calls_claude_and_gpt_and_raises_its_own_exceptions() {
    script("anthropic_python.py").await;
}

#[tokio::test]
async fn openais_python_sdk_calls_claude() {
    script("openai_python_claude.py").await;
}

#[tokio::test]
async fn the_callers_own_key_goes_to_no_other_provider() {
    let stage = Stage::set().await;
    let body = json!({"model": "gpt-4o-mini", "models": ["claude-sonnet-5-5", "gpt-4o"],
        "messages": [{"role": "user", "content": "Say hello to me"}]});
    stage.gpt.script(fake_openai::Behaviour::Status(503));
    let own = stage.customer.api.request(Method::POST, "/v1/chat/completions").header("provider-key", "sk-own");
    let answer = own.json(&body).send().await.unwrap();
    let route = answer.headers().get("x-farebox-route").map(|route| route.to_str().unwrap().to_owned());
    assert_eq!((answer.status().as_u16(), route.as_deref()), (200, Some("gpt-4o-mini 503, gpt-4o")));
    assert_eq!((stage.claude.requests().len(), stage.gpt.requests().len()), (0, 2));
}
