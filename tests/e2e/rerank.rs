//! Reranking, end to end: documents come back in the order in which they answer a query, and what the provider bills for it,
//! units of search or tokens, is held before and charged exactly.

use std::fs;

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{
    client::{Answer, Customer, answer},
    fake_cohere,
    fake_provider::{FakeProvider, Misdeed},
    fake_vllm,
    python::{package, run, scripts},
    server::{Options, Server},
    temporary, with,
};

/// 0.002 x 1.02: a unit of search.
const UNIT: &str = "0.00204";

/// The models of two endpoints of the operator's own.
const PRICES: [(&str, &str); 2] = [
    (
        "here.toml",
        r#"
provider = "here"
[[model]]
id = "BAAI/bge-reranker-v2-m3"
task = "rerank"
context = 8192
price = { input = "1.00", output = "0" }
"#,
    ),
    (
        "cohere-here.toml",
        r#"
provider = "cohere-here"
[[model]]
id = "my-rerank"
task = "rerank"
price = { each = { search_units = "0.01" } }
"#,
    ),
];

struct Stage {
    cohere: FakeProvider,
    vllm: FakeProvider,
    server: Server,
    customer: Customer,
}

impl Stage {
    async fn set() -> Self {
        let (cohere, vllm) = (fake_cohere::start(), fake_vllm::start());
        let folder = temporary("prices");
        fs::create_dir_all(&folder).unwrap();
        for (name, text) in PRICES {
            fs::write(folder.join(name), text).unwrap();
        }
        let at = |options: Options, name: &str, key: &str, url: &str| {
            let options = options.set(&format!("FAREBOX_PROVIDERS__{name}__API_KEY"), key);
            let options = options.set(&format!("FAREBOX_PROVIDERS__{name}__BASE_URL"), url);
            options.set(&format!("FAREBOX_PROVIDERS__{name}__RETRIES"), "0")
        };
        let options = at(Options::default(), "COHERE", fake_cohere::KEY, cohere.url());
        let options = at(options, "COHERE-HERE", fake_cohere::KEY, cohere.url());
        let options = at(options, "HERE", fake_vllm::KEY, &format!("{}/v1", vllm.url()))
            .set("FAREBOX_PROVIDERS__COHERE-HERE__FORMAT", "cohere")
            .set("FAREBOX_PRICES__FOLDER", folder.to_str().unwrap());
        let server = Server::start(options).await;
        let customer = server.admin().customer("payg", "5").await;
        Self { cohere, vllm, server, customer }
    }

    async fn rerank(&self, more: Value) -> Answer {
        self.customer.api.post("/v1/rerank", &with(&body(), &more)).await
    }

    async fn available(&self) -> Value {
        self.customer.api.get("/v1/balance").await.ok()["available"].clone()
    }

    async fn record(&self, answer: &Answer) -> Value {
        self.customer.record(answer).await
    }
}

/// Three words to be found, and three documents: the second has all of them, the third two, the first none.
fn body() -> Value {
    json!({"model": "rerank-v3.5", "query": "capital of France", "documents":
        ["Berlin is in Germany", {"text": "Paris is the capital of France"}, "France has a capital"]})
}

#[tokio::test]
async fn documents_are_ordered_and_units_of_search_are_charged() {
    let stage = Stage::set().await;
    let quoted = stage.customer.api.post("/v1/quote?route=/v1/rerank", &body()).await.ok();
    assert_eq!((&quoted["hold"], &quoted["cost"]["least"]), (&json!(UNIT), &json!(UNIT)), "{quoted}");
    let answer = stage.rerank(json!({"top_n": 2, "return_documents": true, "max_tokens_per_doc": 512})).await;
    let told = answer.ok();
    let second = told["results"][1]["relevance_score"].as_f64().unwrap();
    assert!((0.6..0.7).contains(&second), "{told}");
    let expected = json!({"index": 1, "relevance_score": 1.0, "document": {"text": "Paris is the capital of France"}});
    assert_eq!((&told["results"][0], told["results"].as_array().unwrap().len()), (&expected, 2));
    assert_eq!(told["results"][1]["document"], json!({"text": "France has a capital"}));
    assert_eq!((&told["model"], &told["usage"]), (&json!("rerank-v3.5"), &json!({"search_units": 1, "cost": UNIT})));
    assert_eq!(told["meta"]["billed_units"], json!({"search_units": 1.0}));
    assert!(told["id"].as_str().unwrap().starts_with("rerank-"), "{told}");
    assert_eq!((&told["farebox"]["search_units"], &told["farebox"]["estimated"]), (&json!(1), &json!(false)));
    assert_eq!(answer.header("x-farebox-cost"), Some(UNIT));
    let record = stage.record(&answer).await;
    assert_eq!(
        (&record["cost"], &record["estimated"], &record["input_tokens"]),
        (&json!(UNIT), &json!(false), &json!(0))
    );
    let asked = json!({"model": "rerank-v3.5", "query": "capital of France", "top_n": 2, "max_tokens_per_doc": 512,
        "documents": ["Berlin is in Germany", "Paris is the capital of France", "France has a capital"]});
    assert_eq!(stage.cohere.asked()[0].body, asked);
    // A hundred and one documents are two units, and nobody asked for them back.
    let many = stage.rerank(json!({"documents": vec!["France"; 101]})).await.ok();
    assert_eq!((&many["usage"]["cost"], &many["results"][100]["document"]), (&json!("0.00408"), &Value::Null));
    assert_eq!(stage.available().await, "9.99388");
    // An endpoint of the operator's own that speaks Cohere's format, at the operator's price: 0.01 x 1.02.
    let own = stage.rerank(json!({"model": "cohere-here/my-rerank"})).await.ok();
    assert_eq!((&own["usage"]["cost"], &own["farebox"]["provider"]), (&json!("0.0102"), &json!("cohere-here")));
    stage.server.admin().assert_audit().await;
}

#[tokio::test]
async fn tokens_are_charged_where_the_price_has_tokens() {
    let stage = Stage::set().await;
    // 14 words of documents and thrice the query's three: 23 tokens.
    let told = stage.rerank(json!({"model": "rerank-v5.0-fast"})).await.ok();
    // 23 x 0.02 / 1e6 x 1.02 = 0.0000004692
    assert_eq!((&told["usage"]["cost"], &told["usage"]["total_tokens"]), (&json!("0.000000469"), &json!(23)));
    assert_eq!(told["meta"]["billed_units"], json!({"input_tokens": 23.0}));
    // 23 x 1.00 / 1e6 x 1.02
    let answer = stage.rerank(json!({"model": "here/BAAI/bge-reranker-v2-m3", "return_documents": true})).await;
    let told = answer.ok();
    assert_eq!(told["usage"], json!({"prompt_tokens": 23, "total_tokens": 23, "cost": "0.00002346"}));
    assert_eq!(told["results"][0]["document"], json!({"text": "Paris is the capital of France"}));
    assert_eq!(told["meta"]["billed_units"], json!({"input_tokens": 23}));
    let record = stage.record(&answer).await;
    assert_eq!(
        (&record["input_tokens"], &record["output_tokens"], &record["estimated"]),
        (&json!(23), &json!(0), &json!(false))
    );
    let asked = &stage.vllm.asked()[0].body;
    assert_eq!((&asked["model"], &asked["return_documents"]), (&json!(fake_vllm::MODEL), &json!(false)), "{asked}");
    stage.server.admin().assert_audit().await;
}

#[tokio::test]
async fn what_is_wrong_is_refused_before_anything_is_held() {
    let stage = Stage::set().await;
    for (more, field) in [
        (json!({"query": ""}), "query"),
        (json!({"query": 5}), "query"),
        (json!({"documents": []}), "documents"),
        (json!({"documents": "France"}), "documents"),
        (json!({"documents": vec!["x"; 1_001]}), "documents"),
        (json!({"documents": ["x", ""]}), "documents[1]"),
        (json!({"documents": [{"text": "x", "image": "y"}]}), "documents[0]"),
        (json!({"top_n": 0}), "top_n"),
        (json!({"return_documents": 1}), "return_documents"),
        (json!({"relevant_spans": {}}), "relevant_spans"),
        (json!({"stream": true}), "stream"),
        (json!({"model": "command-a-03-2025"}), "model"),
        (json!({"model": "embed-v4.0"}), "model"),
        (json!({"max_cost": "0.002"}), "max_cost"),
    ] {
        let refused = stage.rerank(more.clone()).await;
        assert_eq!((refused.status, refused.json()["error"]["param"].as_str()), (400, Some(field)), "{}", refused.body);
    }
    let chat = json!({"model": "rerank-v3.5", "messages": [{"role": "user", "content": "x"}]});
    for route in ["/v1/chat/completions", "/v1/messages"] {
        let refused = stage.customer.api.post(route, &with(&chat, &json!({"max_tokens": 5}))).await;
        assert_eq!(refused.status, 400, "{route}: {}", refused.body);
    }
    let (api, text) = (&stage.customer.api, serde_json::to_string(&body()).unwrap());
    let limited = answer(api.request(Method::POST, "/v1/rerank").header("x-max-cost", "0.002").body(text)).await;
    assert_eq!((limited.status, &limited.json()["error"]["param"]), (400, &json!("max_cost")), "{}", limited.body);
    // Chunks of one token, of six words for up to twelve: 12,000 of them, which are 120 units at 0.01 x 1.02.
    let poor = stage.server.admin().customer("free", "0.001").await;
    let documents = vec!["Paris is the capital of France"; 1_000];
    let dear = json!({"model": "my-rerank", "documents": documents, "max_tokens_per_doc": 1});
    let refused = poor.api.post("/v1/rerank", &with(&body(), &dear)).await;
    assert_eq!((refused.status, &refused.json()["needed"]), (402, &json!("1.224")), "{}", refused.body);
    let long = with(&body(), &json!({"documents": vec!["word ".repeat(900); 50]}));
    let long = stage.customer.api.post("/v1/quote?route=/v1/rerank", &long).await.ok();
    // 900 tokens are up to 1,800 of Cohere's, and a chunk has 500 with the query's six: four for each, two hundred.
    assert_eq!(long["hold"], "0.00408");
    assert!(stage.cohere.asked().is_empty(), "what is refused here never reaches the provider");
    assert_eq!(
        (stage.available().await, &poor.api.get("/v1/requests").await.ok()["data"]),
        (json!("10.00"), &json!([]))
    );
    stage.server.admin().assert_audit().await;
}

#[tokio::test]
async fn a_provider_that_misbehaves_is_paid_what_it_can_have_done_and_no_more() {
    let stage = Stage::set().await;
    for (misdeed, status) in [
        (Misdeed::Status(500, None), 502),
        (Misdeed::Status(429, None), 429),
        (Misdeed::Status(400, Some(r#"{"message":"too many documents"}"#)), 400),
        (Misdeed::Garbage, 502),
        (Misdeed::CutAt(40), 502),
        (Misdeed::Says(r#"{"results":[]}"#), 502),
        (Misdeed::Says(r#"{"results":[{"index":"one","relevance_score":1}]}"#), 502),
    ] {
        stage.cohere.script(misdeed);
        let failed = stage.rerank(json!({})).await;
        assert_eq!(failed.status, status, "{misdeed:?}: {}", failed.body);
        assert_eq!(stage.available().await, "10.00", "{misdeed:?}: a failed call costs nothing");
    }
    let told = r#"{"message":"gave up","meta":{"billed_units":{"search_units":1}}}"#;
    stage.cohere.script(Misdeed::Says(told));
    let failed = stage.rerank(json!({})).await;
    assert_eq!((failed.status, stage.record(&failed).await["cost"].clone()), (502, json!(UNIT)), "{}", failed.body);
    for misdeed in [
        Misdeed::NoUsage,
        Misdeed::Says(r#"{"results":[{"index":1,"relevance_score":1}],"meta":{"billed_units":{"search_units":3}}}"#),
        Misdeed::Says(r#"{"results":[{"index":1,"relevance_score":1}],"meta":{"billed_units":{"search_units":0.5}}}"#),
        Misdeed::Says(r#"{"results":[{"index":1,"relevance_score":1}],"meta":{"billed_units":{"search_units":0}}}"#),
    ] {
        stage.cohere.script(misdeed);
        let told = stage.rerank(json!({})).await.ok();
        assert_eq!(
            (&told["usage"]["cost"], &told["farebox"]["estimated"]),
            (&json!(UNIT), &json!(true)),
            "{misdeed:?}"
        );
        assert_eq!(told["meta"]["billed_units"], json!({"search_units": 1}), "{misdeed:?}");
    }
    // The unit that was billed for a failure, and four times a counted one: 5 x 0.00204.
    assert_eq!(stage.available().await, "9.9898");
    stage.vllm.script(Misdeed::NoUsage);
    let answer = stage.rerank(json!({"model": "here/BAAI/bge-reranker-v2-m3"})).await;
    let (told, record) = (answer.ok(), stage.record(&answer).await);
    assert_eq!(record["estimated"], true, "{record}");
    // Counted here: 14 tokens, and thrice the query's three and eight around a pair: 47 x 1.00 / 1e6 x 1.02.
    assert_eq!((&told["usage"]["total_tokens"], &told["usage"]["cost"]), (&json!(47), &json!("0.00004794")));
    stage.server.admin().assert_audit().await;
}

#[tokio::test]
async fn own_keys_fall_backs_and_retries_are_as_on_other_routes() {
    let stage = Stage::set().await;
    let request = |more: &Value| stage.customer.api.request(Method::POST, "/v1/rerank").json(&with(&body(), more));
    let own = answer(request(&json!({"priority": 3})).header("provider-key", "cohere-test-of-mine")).await;
    assert_eq!((&own.ok()["usage"]["cost"], own.header("x-farebox-cost")), (&json!("0.00"), Some("0.00")));
    let asked = &stage.cohere.asked()[0];
    assert_eq!((&*asked.key, &asked.body["priority"]), ("Bearer cohere-test-of-mine", &json!(3)));
    stage.cohere.script(Misdeed::Status(503, None));
    let second = stage.rerank(json!({"models": ["rerank-v4.0-pro"]})).await;
    assert_eq!(second.header("x-farebox-route"), Some("rerank-v3.5 503, rerank-v4.0-pro"), "{}", second.body);
    // 0.0025 x 1.02
    assert_eq!((&second.ok()["usage"]["cost"], &second.ok()["model"]), (&json!("0.00255"), &json!("rerank-v4.0-pro")));
    let keyed = || request(&json!({})).header("idempotency-key", "once");
    let (first, again) = (answer(keyed()).await, answer(keyed()).await);
    assert_eq!((&first.body, again.header("idempotency-replayed")), (&again.body, Some("true")));
    // 10 - 0.00255 - 0.00204
    assert_eq!(stage.available().await, "9.99541", "once");
    assert_eq!(stage.cohere.asked().len(), 4);
    stage.server.admin().assert_audit().await;
}

#[tokio::test]
async fn coheres_sdk_reranks_as_it_does_anywhere() {
    let stage = Stage::set().await;
    let (url, key) = (stage.server.url().to_owned(), stage.customer.key.clone());
    let work = move || {
        let mut python = std::process::Command::new("python3");
        python.arg(scripts().join("cohere_rerank.py")).env("PYTHONPATH", package("cohere==7.3.1"));
        run(python.env("FAREBOX_URL", url).env("FAREBOX_KEY", key))
    };
    let output = tokio::task::spawn_blocking(work).await.unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), "ok");
    assert_eq!(stage.available().await, "9.99796");
    stage.server.admin().assert_audit().await;
}
