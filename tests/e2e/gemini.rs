//! Google's format as clients write it: its own SDK and plain requests call Gemini, GPT, Claude and an open model. What
//! Gemini is sent is the client's to the byte; everything is charged as the provider counts.

use std::process::Command;

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{
    client::{Answer, Customer, answer},
    fake_anthropic::FakeAnthropic,
    fake_gemini, fake_gpt,
    fake_provider::{FakeProvider, Misdeed},
    python::{package, run, scripts},
    raw_provider::{self, RawProvider},
    server::{Options, Server},
    with,
};

const HELLO: &str = "Hello from the fake provider.";
/// (1154 x 0.75 + 4096 x 0.075 + 1000 x 3.75) / 1e6 x 1.02
const COST: &str = "0.005021154";
const MODEL: &str = fake_gemini::MODEL;

struct Stage {
    gemini: FakeProvider,
    gpt: FakeProvider,
    claude: FakeAnthropic,
    server: Server,
    customer: Customer,
}

fn calling_google(options: Options, url: &str) -> Options {
    options
        .set("FAREBOX_PROVIDERS__GOOGLE__API_KEY", fake_gemini::KEY)
        .set("FAREBOX_PROVIDERS__GOOGLE__BASE_URL", url)
        .set("FAREBOX_PROVIDERS__GOOGLE__RETRIES", "0")
}

impl Stage {
    async fn set() -> Self {
        let (gemini, gpt, claude) = (fake_gemini::start(), fake_gpt::start(), FakeAnthropic::start());
        let options = Options::default().calling(&format!("{}/v1", gpt.url())).calling_anthropic(claude.url());
        let server = Server::start(calling_google(options, gemini.url())).await;
        let customer = server.admin().customer("payg", "50").await;
        Self { gemini, gpt, claude, server, customer }
    }

    /// Asks this of a model: `gemini-x:generateContent`.
    async fn ask(&self, what: &str, more: &Value) -> Answer {
        self.customer.api.post(&format!("/v1beta/models/{what}"), &with(&body(), more)).await
    }

    /// The latest record, once so many requests are settled.
    async fn settled(&self, count: usize) -> Value {
        self.customer.settled(count).await.swap_remove(0)
    }
}

fn body() -> Value {
    json!({"contents": [{"role": "user", "parts": [{"text": "Say hello to me"}]}]})
}

/// The answers of a stream of events.
fn events(text: &str) -> Vec<Value> {
    text.lines()
        .filter_map(|line| line.strip_prefix("data: "))
        .map(|data| serde_json::from_str(data).unwrap())
        .collect()
}

/// The texts of answers.
fn joined(answers: &[Value]) -> String {
    let parts = answers.iter().filter_map(|answer| answer["candidates"][0]["content"]["parts"].as_array());
    parts.flatten().filter_map(|part| part["text"].as_str()).collect()
}

#[tokio::test]
async fn an_answer_of_gemini_is_charged_its_usage_whole_as_events_and_as_an_array() {
    let stage = Stage::set().await;
    let whole = stage.ask(&format!("{MODEL}:generateContent"), &json!({})).await;
    let said = whole.ok();
    assert_eq!((joined(std::slice::from_ref(&said)), &said["responseId"]), (HELLO.to_owned(), &json!("r1")));
    assert_eq!((&said["usageMetadata"]["cost"], whole.header("x-farebox-cost")), (&json!(COST), Some(COST)));
    assert_eq!(
        (&said["usageMetadata"]["thoughtsTokenCount"], &said["usageMetadata"]["serviceTier"]),
        (&json!(700), &json!("standard"))
    );
    assert!(said["farebox"]["request_id"].is_string(), "{said}");
    let streamed = stage.ask(&format!("google%2F{MODEL}:streamGenerateContent?alt=sse"), &json!({})).await;
    assert_eq!(streamed.header("content-type"), Some("text/event-stream"));
    let listed = stage.ask(&format!("google/{MODEL}:streamGenerateContent"), &json!({})).await;
    assert_eq!(listed.header("content-type"), Some("application/json"));
    for all in [events(&streamed.body), serde_json::from_str(&listed.body).unwrap()] {
        assert_eq!(joined(&all), HELLO);
        let (last, others) = all.split_last().unwrap();
        assert_eq!(
            (&last["usageMetadata"]["cost"], &last["candidates"][0]["finishReason"]),
            (&json!(COST), &json!("STOP"))
        );
        assert_eq!(last["usageMetadata"]["totalTokenCount"], 6_250);
        assert!(others.iter().all(|answer| answer.get("usageMetadata").is_none()), "{others:?}");
    }
    let record = stage.settled(3).await;
    assert_eq!((&record["cost"], &record["estimated"]), (&json!(COST), &json!(false)));
    stage.server.admin().assert_audit().await;
}

#[tokio::test]
async fn gemini_is_sent_the_clients_bytes_headers_and_query_and_no_key_of_ours() {
    let told = json!({"candidates": [{"content": {"parts": [{"text": "x"}], "role": "model"}, "finishReason": "STOP"}],
        "usageMetadata": {"promptTokenCount": 5, "candidatesTokenCount": 1, "totalTokenCount": 6}});
    let google = RawProvider::start(move |_| {
        raw_provider::answer(200, &[("content-type", "application/json")], &told.to_string())
    });
    let url = google.url().trim_end_matches("/v1").to_owned();
    let server = Server::start(calling_google(Options::default(), &url)).await;
    let customer = server.admin().customer("payg", "5").await;
    let signed = r#"{"role":"model","parts":[{"text":"h\u00e9","thoughtSignature":"cHJvb2Y="}]}"#;
    let text = format!(
        r#"{{ "contents" : [ {{"parts":[ {{"text":"a"}} ]}}, {signed}, {{"parts":{{"text":"b"}} }} ],
        "generation_config":{{ "temperature":1.50,"max_output_tokens" : 50}}, "max_cost": 1, "safetySettings":[] }}"#
    );
    let path = format!("/v1/models/google/{MODEL}:generateContent?prettyPrint=false&$alt=json");
    let request = customer.api.request(Method::POST, &path).body(text.clone()).header("x-goog-api-client", "genai/3");
    let answered = answer(request.header("content-type", "application/json").header("x-goog-user-project", "p")).await;
    assert_eq!(answered.ok()["usageMetadata"]["promptTokenCount"], 5);
    let asked = &google.asked()[0];
    assert_eq!(asked.text, text.replace(r#" "max_cost": 1,"#, ""));
    assert!(
        asked.head.starts_with(&format!("POST /v1beta/models/{MODEL}:generateContent?prettyPrint=false ")),
        "{}",
        asked.head
    );
    assert!(asked.head.contains("x-goog-api-key: goog-test") && asked.head.contains("x-goog-api-client: genai/3"));
    assert!(!asked.head.contains("fb_") && !asked.head.contains("x-goog-user-project"), "{}", asked.head);
    server.admin().assert_audit().await;
}

#[tokio::test]
async fn the_tier_that_an_answers_header_tells_is_charged_and_addresses_are_read_for_their_tokens() {
    let told = json!({"candidates": [{"content": {"parts": [{"text": "x"}], "role": "model"}, "finishReason": "STOP"}],
        "usageMetadata": {"promptTokenCount": 600, "toolUsePromptTokenCount": 400, "candidatesTokenCount": 100,
            "totalTokenCount": 1100}});
    let google = RawProvider::start(move |asked| {
        let tier = if asked.text.contains("busy") { "standard" } else { "PRIORITY" };
        let (kind, text) = if asked.head.contains(":stream") {
            ("text/event-stream", format!("data: {told}\r\n\r\n"))
        } else {
            ("application/json", told.to_string())
        };
        raw_provider::answer(200, &[("content-type", kind), ("x-gemini-service-tier", tier)], &text)
    });
    let url = google.url().trim_end_matches("/v1").to_owned();
    let server = Server::start(calling_google(Options::default(), &url)).await;
    let customer = server.admin().customer("payg", "50").await;
    // (1,000 x 1.35 + 100 x 6.75) / 1e6 x 1.02, and (1,000 x 0.75 + 100 x 3.75) / 1e6 x 1.02
    let (priority, standard) = ("0.0020655", "0.0011475");
    let mut count = 0;
    for (text, tier, cost) in [("Say hello", "priority", priority), ("It is busy", "priority", standard)] {
        for what in ["generateContent", "streamGenerateContent?alt=sse"] {
            let asked =
                json!({"contents": [{"parts": [{"text": text}]}], "serviceTier": tier, "tools": [{"urlContext": {}}]});
            let path = format!("/v1beta/models/{MODEL}:{what}");
            let answered = customer.api.post(&path, &asked).await;
            assert_eq!(answered.status, 200, "{}", answered.body);
            count += 1;
            let record = customer.settled(count).await.swap_remove(0);
            assert_eq!((&record["cost"], &record["estimated"]), (&json!(cost), &json!(false)), "{text} {what}");
        }
    }
    assert_eq!(google.asked()[0].body["tools"], json!([{"urlContext": {}}]), "it passes as it came");
    server.admin().assert_audit().await;
}

#[tokio::test]
async fn gpt_and_claude_answer_in_googles_words() {
    let stage = Stage::set().await;
    for (model, says, finish) in
        [("openai/gpt-4o-mini", HELLO, "STOP"), ("claude-opus-5-5", "Hello from the fake Claude.", "STOP")]
    {
        let more = json!({"system_instruction": {"parts": {"text": "Be brief"}},
            "generation_config": {"max_output_tokens": 500, "stop_sequences": ["END"], "top_p": 0.5}});
        let said = stage.ask(&format!("{model}:generateContent"), &more).await.ok();
        assert_eq!(
            (joined(std::slice::from_ref(&said)), &said["candidates"][0]["finishReason"]),
            (says.to_owned(), &json!(finish))
        );
        let cost = said["usageMetadata"]["cost"].as_str().unwrap().to_owned();
        let streamed = stage.ask(&format!("{model}:streamGenerateContent?alt=sse"), &more).await;
        let all = events(&streamed.body);
        assert_eq!(
            (joined(&all), &all.last().unwrap()["usageMetadata"]),
            (says.to_owned(), &said["usageMetadata"]),
            "{model}"
        );
        assert_eq!(stage.settled_cost(&streamed).await, cost);
    }
    let asked = stage.gpt.asked()[0].body.clone();
    assert_eq!(asked["messages"][0], json!({"role": "system", "content": "Be brief"}), "{asked}");
    assert_eq!((&asked["max_completion_tokens"], &asked["stop"]), (&json!(500), &json!(["END"])));
    assert_eq!(stage.claude.requests()[0].body["max_tokens"], 500);
    stage.server.admin().assert_audit().await;
}

impl Stage {
    async fn settled_cost(&self, answer: &Answer) -> String {
        self.customer.record(answer).await["cost"].as_str().unwrap().to_owned()
    }
}

#[tokio::test]
async fn what_has_no_price_or_no_words_is_refused_by_its_name_before_anything_is_held() {
    let stage = Stage::set().await;
    for (model, more, field) in [
        (MODEL, json!({"tools": [{"google_search": {}}]}), "tools[0].googleSearch"),
        (MODEL, json!({"cachedContent": "cachedContents/x"}), "cachedContent"),
        (MODEL, json!({"fieldOfTomorrow": 1}), "fieldOfTomorrow"),
        (MODEL, json!({"generationConfig": {"speechConfig": {"a": 1}}}), "generationConfig.speechConfig"),
        (
            MODEL,
            json!({"generationConfig": {"maxOutputTokens": 9, "max_output_tokens": 9_000}}),
            "generationConfig.maxOutputTokens",
        ),
        (MODEL, json!({"model": "models/gemini-3-pro"}), "model"),
        (MODEL, json!({"max_cost": "0.0000000001"}), "max_cost"),
        (
            "gpt-4o-mini",
            json!({"safetySettings": [{"category": "c", "threshold": "BLOCK_LOW_AND_ABOVE"}]}),
            "safetySettings",
        ),
        ("gpt-4o-mini", json!({"generationConfig": {"topK": 4}}), "generationConfig.topK"),
        ("claude-opus-5-5", json!({"generation_config": {"candidate_count": 2}}), "generationConfig.candidateCount"),
    ] {
        let refused = stage.ask(&format!("{model}:generateContent"), &more).await;
        assert_eq!(
            (refused.status, &refused.json()["field"]),
            (400, &json!(field)),
            "{model} {more}: {}",
            refused.body
        );
        assert_eq!(refused.json()["error"]["status"], "INVALID_ARGUMENT");
        let quote = format!("/v1/quote?route=/v1beta/models/{model}:generateContent");
        let quote = stage.customer.api.post(&quote, &with(&body(), &more)).await;
        assert_eq!(quote.status, 400, "{model} {more}: {}", quote.body);
    }
    let quote =
        stage.customer.api.post(&format!("/v1/quote?route=/v1beta/models/{MODEL}:generateContent"), &body()).await.ok();
    assert_eq!((&quote["model"], &quote["admitted"]), (&json!(MODEL), &json!(true)));
    assert!(stage.gemini.asked().is_empty() && stage.gpt.asked().is_empty() && stage.claude.requests().is_empty());
    // With a key of the caller's own all of it passes, and costs nothing here.
    let path = format!("/v1beta/models/{MODEL}:generateContent");
    let own = stage.customer.api.request(Method::POST, &path).header("provider-key", fake_gemini::KEY);
    let told = answer(own.json(&with(&body(), &json!({"tools": [{"googleSearch": {}}]})))).await.ok();
    assert_eq!(told["usageMetadata"]["cost"], "0.00");
    stage.settled(1).await;
    stage.server.admin().assert_audit().await;
}

#[tokio::test]
async fn a_key_is_read_from_googles_header_and_never_from_an_address() {
    let stage = Stage::set().await;
    let http = reqwest::Client::new();
    let post = |path: &str| http.post(format!("{}{path}", stage.server.url())).json(&body());
    let path = format!("/v1beta/models/{MODEL}:generateContent");
    let key = &stage.customer.key;
    assert_eq!(answer(post(&path).header("x-goog-api-key", key)).await.status, 200);
    let shown = answer(post(&format!("{path}?key={key}"))).await;
    assert_eq!((shown.status, &shown.json()["error"]["status"]), (401, &json!("UNAUTHENTICATED")), "{}", shown.body);
    assert!(shown.body.contains("x-goog-api-key") && !shown.body.contains(key.as_str()), "{}", shown.body);
    let both = answer(post(&format!("{path}?key={key}")).header("x-goog-api-key", key)).await;
    assert_eq!((both.status, &both.json()["field"]), (400, &json!("key")), "{}", both.body);
    assert_eq!(stage.gemini.asked().len(), 1);
    let get = |path: &str| http.get(format!("{}{path}", stage.server.url()));
    let googles = answer(get("/v1/models").header("x-goog-api-key", key)).await.ok();
    assert!(googles["models"].as_array().unwrap().len() > 100, "Google's clients ask under /v1 too");
    let openais = answer(get("/v1/models").header("authorization", format!("Bearer {key}"))).await.ok();
    assert_eq!(openais["object"], "list");
    let page = answer(get("/v1beta/models?pageSize=3").header("x-goog-api-key", key)).await.ok();
    let next = format!("/v1beta/models?pageSize=2&pageToken={}", page["nextPageToken"].as_str().unwrap());
    let next = answer(get(&next).header("x-goog-api-key", key)).await.ok();
    let of = |page: &Value| page["models"].as_array().unwrap().clone();
    assert_eq!((&of(&page)[..], &of(&next)[..]), (&of(&googles)[..3], &of(&googles)[3..5]));
    for (path, status) in [("/v1beta/models?pageSize=0", 400), ("/v1beta/models/nope", 404), ("/v1beta/files", 404)] {
        let refused = answer(get(path).header("x-goog-api-key", key)).await;
        assert_eq!(
            (refused.status, &refused.json()["error"]["code"]),
            (status, &json!(status)),
            "{path}: {}",
            refused.body
        );
    }
}

#[tokio::test]
async fn who_pays_when_a_call_ends_early_and_how_it_is_told() {
    let stage = Stage::set().await;
    for (count, (misdeed, status, word)) in [
        (Misdeed::Status(500, None), 502, "UNAVAILABLE"),
        (Misdeed::Status(429, None), 429, "RESOURCE_EXHAUSTED"),
        (Misdeed::Status(400, None), 400, "INVALID_ARGUMENT"),
        (Misdeed::Garbage, 502, "UNAVAILABLE"),
    ]
    .into_iter()
    .enumerate()
    {
        stage.gemini.script(misdeed);
        let method = if count % 2 == 0 { "generateContent" } else { "streamGenerateContent?alt=sse" };
        let told = stage.ask(&format!("{MODEL}:{method}"), &json!({})).await;
        assert_eq!(
            (told.status, &told.json()["error"]["status"]),
            (status, &json!(word)),
            "{misdeed:?}: {}",
            told.body
        );
        assert_eq!(stage.settled(count + 1).await["cost"], "0.00", "{misdeed:?}");
    }
    let limited = json!({"retryDelay": "7s", "@type": "type.googleapis.com/google.rpc.RetryInfo"});
    stage.gemini.script(Misdeed::Status(429, None));
    assert_eq!(stage.ask(&format!("{MODEL}:generateContent"), &json!({})).await.json()["error"]["details"][1], limited);
    // What a cut stream reported before it broke is paid, and its error is the last answer, in either form.
    for (count, method) in [(6, "streamGenerateContent?alt=sse"), (7, "streamGenerateContent")] {
        stage.gemini.script(Misdeed::CutAt(700));
        let cut = stage.ask(&format!("{MODEL}:{method}"), &json!({})).await;
        let all = if method.ends_with("sse") { events(&cut.body) } else { serde_json::from_str(&cut.body).unwrap() };
        let error = all.last().unwrap();
        assert_eq!((cut.status, &error["error"]["status"]), (200, &json!("UNAVAILABLE")), "{}", cut.body);
        assert!(!cut.body.contains("usageMetadata"), "{}", cut.body);
        let record = stage.settled(count).await;
        assert_eq!((&record["ending"], &record["input_tokens"]), (&json!("failed"), &json!(5_000)), "{record}");
    }
    // What is no answer to clients of other formats is told to those of this one, and charged as it was used.
    stage.gemini.script(Misdeed::Says(
        r#"{"candidates":[{"finishReason":"MALFORMED_FUNCTION_CALL"}],"usageMetadata":{"promptTokenCount":100,"totalTokenCount":100}}"#,
    ));
    let told = stage.ask(&format!("{MODEL}:generateContent"), &json!({})).await.ok();
    // 100 x 0.75 / 1e6 x 1.02
    assert_eq!(
        (&told["candidates"][0]["finishReason"], &told["usageMetadata"]["cost"]),
        (&json!("MALFORMED_FUNCTION_CALL"), &json!("0.0000765"))
    );
    stage.settled(8).await;
    stage.gemini.script(Misdeed::Slow(60));
    let path = format!("/v1beta/models/{MODEL}:streamGenerateContent?alt=sse");
    let mut left = stage.customer.api.request(Method::POST, &path).json(&body()).send().await.unwrap();
    left.chunk().await.unwrap();
    drop(left);
    let record = stage.settled(9).await;
    assert_eq!((&record["ending"], &record["cost"]), (&json!("client_left"), &json!(COST)), "{record}");
    stage.server.admin().assert_audit().await;
}

#[tokio::test]
async fn a_stream_sent_again_under_its_key_is_answered_as_the_first_time() {
    let stage = Stage::set().await;
    for (method, kind) in
        [("streamGenerateContent?alt=sse", "text/event-stream"), ("streamGenerateContent", "application/json")]
    {
        let path = format!("/v1beta/models/{MODEL}:{method}");
        let send =
            || answer(stage.customer.api.request(Method::POST, &path).header("idempotency-key", kind).json(&body()));
        let (first, again) = (send().await, send().await);
        assert_eq!((first.status, &first.body), (200, &again.body), "{kind}");
        assert_eq!((again.header("idempotency-replayed"), again.header("content-type")), (Some("true"), Some(kind)));
    }
    assert_eq!(stage.gemini.asked().len(), 2);
    stage.settled(2).await;
}

#[tokio::test]
async fn texts_become_vectors_one_and_many_at_any_provider() {
    let stage = Stage::set().await;
    let one = json!({"content": {"parts": [{"text": "one two three"}]}, "taskType": "RETRIEVAL_QUERY"});
    let path = |model: &str, method: &str| format!("/v1beta/models/{model}:{method}");
    let told = stage.customer.api.post(&path("google/gemini-embedding-001", "embedContent"), &one).await;
    // 3 x 0.15 / 1e6 x 1.02
    let usage = json!({"promptTokenCount": 3, "cost": "0.000000459"});
    assert_eq!((&told.ok()["embedding"], &told.ok()["usageMetadata"]), (&json!({"values": [0.5, -1.0]}), &usage));
    assert_eq!(told.header("x-farebox-cost"), Some("0.000000459"));
    let many = json!({"requests": [{"model": "models/text-embedding-3-small", "content": {"parts": [{"text": "a"}]}}, {"content": {"parts": {"text": "b"}}}]});
    let told = stage.customer.api.post(&path("text-embedding-3-small", "batchEmbedContents"), &many).await.ok();
    assert_eq!(told["embeddings"], json!([{"values": [0.5, -1.0]}, {"values": [0.5, -1.0]}]));
    assert_eq!(stage.gpt.asked()[0].body["input"], json!(["a", "b"]));
    for (model, method, body, field) in [
        ("text-embedding-3-small", "embedContent", one.clone(), "taskType"),
        ("gemini-embedding-001", "embedContent", json!({}), "content"),
        ("gemini-embedding-001", "batchEmbedContents", one.clone(), "requests"),
        (
            "gemini-embedding-001",
            "embedContent",
            json!({"content": {"parts": [{"inlineData": {}}]}}),
            "content.parts[0].inlineData",
        ),
        (MODEL, "embedContent", one, "model"),
    ] {
        let refused = stage.customer.api.post(&path(model, method), &body).await;
        assert_eq!((refused.status, &refused.json()["field"]), (400, &json!(field)), "{}", refused.body);
        assert_eq!(refused.json()["error"]["status"], "INVALID_ARGUMENT");
    }
    stage.settled(2).await;
    stage.server.admin().assert_audit().await;
}

#[tokio::test]
async fn an_open_model_answers_in_googles_words() {
    let (server, customer) = super::open::stage("inflight").await;
    let of = |method: &str| format!("/v1beta/models/{}:{method}", super::open::MODEL);
    let asked = json!({"contents": [{"parts": [{"text": "Name three colors."}]}], "systemInstruction": {"parts": [{"text": "Be brief."}]},
        "generationConfig": {"maxOutputTokens": 5, "temperature": 0, "topK": 40}});
    let told = customer.api.post(&of("generateContent"), &asked).await;
    let said = told.ok();
    assert!(!joined(std::slice::from_ref(&said)).is_empty(), "{said}");
    assert_eq!(
        (&said["candidates"][0]["finishReason"], &said["usageMetadata"]["candidatesTokenCount"]),
        (&json!("MAX_TOKENS"), &json!(5))
    );
    assert!(
        said["farebox"]["billed_seconds"].as_u64() > Some(0) && told.header("x-farebox-billed-seconds").is_some(),
        "{said}"
    );
    let all = events(&customer.api.post(&of("streamGenerateContent?alt=sse"), &asked).await.body);
    assert_eq!(joined(&all), joined(std::slice::from_ref(&said)), "greedy: the same text streamed or not");
    let counted = customer.api.post(&of("countTokens"), &json!({"generateContentRequest": asked})).await.ok();
    assert_eq!(counted["totalTokens"], said["usageMetadata"]["promptTokenCount"]);
    for (more, field) in [
        (json!({"tools": [{"functionDeclarations": [{"name": "not a name"}]}]}), "tools"),
        (json!({"fieldOfTomorrow": 1}), "fieldOfTomorrow"),
    ] {
        let refused = customer.api.post(&of("generateContent"), &with(&asked, &more)).await;
        assert_eq!((refused.status, &refused.json()["field"]), (400, &json!(field)), "{}", refused.body);
    }
    let long = json!({"contents": [{"parts": [{"text": "word ".repeat(20_000)}]}]});
    let refused = customer.api.post(&of("generateContent"), &with(&asked, &long)).await;
    let message = refused.json()["error"]["message"].as_str().unwrap().to_owned();
    assert!(message.starts_with("The input token count (") && message.contains("exceeds"), "{message}");
    server.admin().assert_audit().await;
}

#[tokio::test]
async fn googles_python_sdk_calls_gemini_gpt_and_claude_and_raises_its_own_errors() {
    let stage = Stage::set().await;
    let poor = stage.server.admin().customer("free", "0").await;
    stage.server.admin().void_all(&poor).await;
    let (url, key) = (stage.server.url().to_owned(), stage.customer.key.clone());
    let work = move || {
        let mut command = Command::new("python3");
        command.arg(scripts().join("google_genai_python.py")).env("PYTHONPATH", package("google-genai==3.6.1"));
        run(command.env("FAREBOX_URL", url).env("FAREBOX_KEY", key).env("FAREBOX_POOR_KEY", poor.key))
    };
    let output = tokio::task::spawn_blocking(work).await.unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), "ok");
    stage.server.admin().assert_audit().await;
}
