//! Embeddings, end to end: vectors come back as the provider wrote them, and their tokens are charged exactly.

use serde_json::{Value, json};

use crate::support::{
    fake_openai::{Behaviour, FakeOpenAi},
    fake_provider::{Asked, Dialect, FakeProvider, Said, stranger},
    python::{python_script, run},
    server::{Options, Server},
    with,
};

/// 5 x 0.02 / 1e6 x 1.02: five words.
const COST: &str = "0.000000102";

#[tokio::test]
async fn texts_become_vectors_and_their_tokens_are_charged() {
    let fake = FakeOpenAi::start();
    let server = Server::start(Options::default().calling(fake.url())).await;
    let customer = server.admin().customer("payg", "5").await;
    let body = json!({"model": "text-embedding-3-small", "input": ["one two three", "four five"]});
    let answer = customer.api.post("/v1/embeddings", &body).await;
    let vectors = answer.ok();
    assert_eq!(vectors["data"][1], json!({"object": "embedding", "index": 1, "embedding": [0.5, -1.0]}));
    assert_eq!(vectors["usage"], json!({"prompt_tokens": 5, "total_tokens": 5, "cost": COST}));
    assert_eq!(answer.header("x-farebox-cost"), Some(COST));
    let record = customer.record(&answer).await;
    assert_eq!(
        (&record["cost"], &record["input_tokens"], &record["output_tokens"]),
        (&json!(COST), &json!(5), &json!(0))
    );
    assert_eq!(record["estimated"], false);
    for (more, field) in [
        (json!({"input": []}), "input"),
        (json!({"input": ["", "x"]}), "input"),
        (json!({"encoding_format": "hex"}), "encoding_format"),
        (json!({"model": "gpt-4o-mini"}), "model"),
        (json!({"a_field_of_tomorrow": 1}), "a_field_of_tomorrow"),
        (json!({"max_cost": "0.0000000001"}), "max_cost"),
    ] {
        let refused = customer.api.post("/v1/embeddings", &with(&body, &more)).await;
        assert_eq!((refused.status, refused.json()["error"]["param"].as_str()), (400, Some(field)), "{more}");
    }
    let chat = json!({"model": "text-embedding-3-small", "messages": [{"role": "user", "content": "x"}]});
    assert_eq!(customer.api.post("/v1/chat/completions", &chat).await.status, 400);
    fake.script(Behaviour::Status(500));
    assert_eq!(customer.api.post("/v1/embeddings", &body).await.status, 502);
    assert_eq!(customer.api.get("/v1/balance").await.ok()["available"], "9.999999898", "a failed call costs nothing");
    assert_eq!(fake.requests().len(), 2, "what is refused here never reaches the provider");
    server.admin().assert_audit().await;
}

#[tokio::test]
async fn openais_sdk_embeds_as_it_does_anywhere() {
    let fake = FakeOpenAi::start();
    let server = Server::start(Options::default().calling(fake.url())).await;
    let customer = server.admin().customer("payg", "5").await;
    let (url, key) = (server.url().to_owned(), customer.key.clone());
    let work = move || run(python_script("openai_embeddings.py").env("FAREBOX_URL", url).env("FAREBOX_KEY", key));
    let output = tokio::task::spawn_blocking(work).await.unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), "ok");
    server.admin().assert_audit().await;
}

/// A stand-in for each provider of another format: its name, the header of its key, its model, and the cost of three
/// tokens there.
const OTHERS: [(&str, &str, &str, &str); 3] = [
    ("COHERE", "authorization", "embed-v4.0", "0.000000367"),
    ("GOOGLE", "x-goog-api-key", "gemini-embedding-001", "0.000000459"),
    ("MISTRAL", "authorization", "mistral-embed", "0.000000306"),
];

/// What is wrong with a request for vectors: the real ones refuse any member that they don't know.
fn fault(asked: &Asked) -> Option<(u16, Value)> {
    let body = &asked.body;
    let (is_there, known): (_, &[&str]) = match &*asked.target {
        "/v2/embed" => (
            body["texts"].is_array()
                && body["input_type"] == "search_document"
                && body["embedding_types"][0] == "float",
            &["model", "texts", "input_type", "embedding_types", "output_dimension"],
        ),
        "/v1beta/models/gemini-embedding-001:batchEmbedContents" => {
            let one = &body["requests"][0];
            (
                one["model"] == "models/gemini-embedding-001" && one["content"]["parts"][0]["text"].is_string(),
                &["requests"],
            )
        }
        "/v1/embeddings" => (body["input"].is_array(), &["model", "input", "output_dimension", "encoding_format"]),
        _ => return Some((404, json!({"message": "no such path"}))),
    };
    let stranger = stranger(body, known);
    (!is_there || stranger.is_some()).then(|| (422, json!({"message": format!("wrong: {stranger:?} {body}")})))
}

fn vectors(asked: &Asked, _: bool) -> Said {
    let (vector, named) = (json!([0.5, -1.0]), json!({"values": [0.5, -1.0]}));
    let whole = match &*asked.target {
        "/v2/embed" => json!({"id": "e", "embeddings": {"float": [vector, vector]},
            "meta": {"billed_units": {"input_tokens": 3.0}}}),
        "/v1/embeddings" => {
            let of = |index: u32| json!({"object": "embedding", "index": index, "embedding": vector});
            json!({"id": "e", "object": "list", "data": [of(0), of(1)], "model": asked.body["model"],
                "usage": {"prompt_tokens": 3, "total_tokens": 3, "completion_tokens": 0}})
        }
        _ => json!({"embeddings": [named, named], "usageMetadata": {"promptTokenCount": 3}}),
    };
    Said { whole, pieces: Vec::new() }
}

#[tokio::test]
async fn models_of_other_providers_embed_in_the_same_words() {
    let error = |_| json!({"message": "scripted"});
    let fakes = OTHERS.map(|(_, key_header, ..)| {
        FakeProvider::start(Dialect { key_header, fault, error, answer: vectors, is_stream: |_| false })
    });
    let options = OTHERS.iter().zip(&fakes).fold(Options::default(), |options, ((name, ..), fake)| {
        let options = options.set(&format!("FAREBOX_PROVIDERS__{name}__API_KEY"), "key-of-ours");
        options.set(&format!("FAREBOX_PROVIDERS__{name}__BASE_URL"), fake.url())
    });
    let server = Server::start(options).await;
    let customer = server.admin().customer("payg", "5").await;
    for ((_, _, model, cost), fake) in OTHERS.iter().zip(&fakes) {
        let body = json!({"model": model, "input": ["one two", "three"], "user": "u"});
        let answer = customer.api.post("/v1/embeddings", &body).await;
        let told = answer.ok();
        assert_eq!(told["data"][1], json!({"object": "embedding", "index": 1, "embedding": [0.5, -1.0]}), "{model}");
        assert_eq!((&told["usage"]["prompt_tokens"], &told["usage"]["cost"]), (&json!(3), &json!(cost)), "{model}");
        assert!(fake.asked()[0].key.ends_with("key-of-ours"), "{model}");
        let tokens = customer.api.post("/v1/embeddings", &with(&body, &json!({"input": [1, 2]}))).await;
        assert_eq!((tokens.status, tokens.json()["error"]["param"].as_str()), (400, Some("input")), "{model}");
        assert_eq!(fake.asked().len(), 1, "{model}");
    }
    server.admin().assert_audit().await;
}
