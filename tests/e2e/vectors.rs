//! Vectors that are made here, end to end: a real encoder from its folder, asked in every client's format, billed by
//! started seconds.

use std::{
    path::{Path, PathBuf},
    process::Command,
    sync::OnceLock,
};

use serde_json::{Value, json};

use crate::{
    open::{cached, fetched},
    support::{
        client::Customer,
        server::{Options, Server},
        shared_folder, temporary, with,
    },
};

const MODEL: &str = "all-minilm-l6-v2";

/// The folder as it is found on a hub.
fn source() -> PathBuf {
    fetched("embeddings", "models/all-minilm-l6-v2/model.onnx").parent().unwrap().to_owned()
}

fn import(source: &Path, models: &Path, name: &str) -> (bool, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_farebox"))
        .args(["models", "import", "--name", name])
        .arg(source)
        .env("FAREBOX_RUNTIME__MODELS_DIR", models)
        .output()
        .unwrap();
    (output.status.success(), String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned())
}

/// The models folder, imported once.
fn models() -> &'static Path {
    static MODELS: OnceLock<PathBuf> = OnceLock::new();
    MODELS.get_or_init(|| {
        let folder = shared_folder("encoders");
        let (is_imported, said) = import(&source(), &folder, MODEL);
        assert!(is_imported, "{said}");
        folder
    })
}

async fn stage() -> (Server, Customer) {
    let models = tokio::task::spawn_blocking(models).await.unwrap();
    let library = cached("onnxruntime/1.31.1/libonnxruntime.so");
    let options = Options::default()
        .set("FAREBOX_RUNTIME__MODELS_DIR", models.to_str().unwrap())
        .set("FAREBOX_RUNTIME__ONNXRUNTIME", library.to_str().unwrap());
    let server = Server::start(options).await;
    let customer = server.admin().customer("payg", "5").await;
    (server, customer)
}

fn vector(value: &Value) -> Vec<f32> {
    serde_json::from_value(value.clone()).unwrap()
}

fn cosine(one: &[f32], other: &[f32]) -> f32 {
    one.iter().zip(other).map(|(one, other)| one * other).sum()
}

#[tokio::test]
async fn a_real_models_vectors_say_what_is_alike_and_seconds_are_charged() {
    let (server, customer) = stage().await;
    let texts = ["A man is eating food.", "A man is eating a piece of bread.", "The girl is carrying a baby."];
    let body = json!({"model": MODEL, "input": texts});
    let quote = customer.api.post("/v1/quote?route=/v1/embeddings", &body).await.ok();
    assert_eq!((&quote["prompt_tokens"], &quote["max_output_tokens"]), (&json!(28), &json!(0)), "{quote}");
    assert_eq!((&quote["cost"]["least"], &quote["admitted"]), (&json!("0.000072"), &json!(true)));
    let answer = customer.api.post("/v1/embeddings", &body).await;
    let told = answer.ok();
    let vectors: Vec<Vec<f32>> = (0..3).map(|place| vector(&told["data"][place]["embedding"])).collect();
    assert!(vectors.iter().all(|vector| vector.len() == 384));
    let (alike, other) = (cosine(&vectors[0], &vectors[1]), cosine(&vectors[0], &vectors[2]));
    assert!((alike - 0.7535).abs() < 0.03 && (other + 0.1055).abs() < 0.03, "{alike} {other}");
    assert_eq!(told["usage"], json!({"prompt_tokens": 28, "total_tokens": 28, "cost": "0.000072"}));
    assert_eq!(answer.header("x-farebox-billed-seconds"), Some("1"));
    let record = customer.record(&answer).await;
    assert_eq!((&record["provider"], &record["input_tokens"]), (&json!("farebox"), &json!(28)), "{record}");
    assert_eq!((&record["output_tokens"], &record["billed_seconds"]), (&json!(0), &json!(1)));
    server.admin().assert_audit().await;
}

#[tokio::test]
async fn every_clients_format_gets_the_same_vectors() {
    let (server, customer) = stage().await;
    let openai = json!({"model": MODEL, "input": "Hello there", "encoding_format": "base64"});
    let floats = with(&openai, &json!({"encoding_format": "float"}));
    let expected = vector(&customer.api.post("/v1/embeddings", &floats).await.ok()["data"][0]["embedding"]);
    let encoded = customer.api.post("/v1/embeddings", &openai).await.ok()["data"][0]["embedding"].clone();
    let bytes: Vec<u8> = expected.iter().flat_map(|number| number.to_le_bytes()).collect();
    assert_eq!(encoded, base64::Engine::encode(&base64::engine::general_purpose::STANDARD, bytes));
    let cohere =
        json!({"model": MODEL, "texts": ["Hello there"], "input_type": "search_query", "embedding_types": ["float"]});
    let cohere = customer.api.post("/v2/embed", &cohere).await.ok();
    assert_eq!(vector(&cohere["embeddings"]["float"][0]), expected, "{cohere}");
    let google = json!({"content": {"parts": [{"text": "Hello there"}]}});
    let google = customer.api.post(&format!("/v1beta/models/{MODEL}:embedContent"), &google).await.ok();
    assert_eq!(vector(&google["embedding"]["values"]), expected, "{google}");
    server.admin().assert_audit().await;
}

#[tokio::test]
async fn what_the_model_can_not_do_is_refused_before_anything_is_held() {
    let (server, customer) = stage().await;
    let body = json!({"model": MODEL, "input": "x"});
    for (more, field) in [
        (json!({"input": []}), "input"),
        (json!({"input": [1, 2, 3]}), "input"),
        (json!({"input": "word ".repeat(300)}), "input"),
        (json!({"dimensions": 64}), "dimensions"),
        (json!({"input_type": "search_query"}), "input_type"),
        (json!({"a_field_of_tomorrow": 1}), "a_field_of_tomorrow"),
        (json!({"max_cost": "0.00001"}), "max_cost"),
    ] {
        let refused = customer.api.post("/v1/embeddings", &with(&body, &more)).await;
        assert_eq!((refused.status, refused.json()["error"]["param"].as_str()), (400, Some(field)), "{more}");
    }
    let long = customer.api.post("/v1/embeddings", &with(&body, &json!({"input": "word ".repeat(300)}))).await;
    assert_eq!(long.json()["error"]["code"], "context_length_exceeded", "{}", long.body);
    let chat = json!({"model": MODEL, "messages": [{"role": "user", "content": "x"}]});
    let refused = customer.api.post("/v1/chat/completions", &chat).await;
    assert_eq!((refused.status, &refused.json()["error"]["param"]), (400, &json!("model")), "{}", refused.body);
    let listed = customer.api.get("/v1/models").await.ok();
    let listed = listed["data"].as_array().unwrap().iter().find(|model| model["id"] == MODEL).unwrap();
    assert_eq!((&listed["task"], &listed["available"]), (&json!("embedding"), &json!(true)), "{listed}");
    assert_eq!(customer.api.get("/v1/balance").await.ok()["available"], "10.00");
    let command = |command: &str| {
        let library = cached("onnxruntime/1.31.1/libonnxruntime.so");
        let output = Command::new(env!("CARGO_BIN_EXE_farebox"))
            .args(["models", command])
            .env("FAREBOX_RUNTIME__MODELS_DIR", models())
            .env("FAREBOX_RUNTIME__ONNXRUNTIME", library)
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    assert!(command("list").contains("  embedding  7B "), "{}", command("list"));
    assert!(command("check").contains("makes vectors"), "{}", command("check"));
    server.admin().assert_audit().await;
}

#[tokio::test]
async fn many_clients_at_once_share_runs_and_each_gets_its_own() {
    let (server, customer) = stage().await;
    let text = |client: usize, text: usize| format!("client {client} asks about {}", "things ".repeat(1 + text % 5));
    let alone: Vec<f32> = {
        let body = json!({"model": MODEL, "input": text(7, 3)});
        vector(&customer.api.post("/v1/embeddings", &body).await.ok()["data"][0]["embedding"])
    };
    // The plan's tier runs four at once; the others wait for their turn or are refused.
    let asked = (0..4).map(|client| {
        let texts: Vec<String> = (0..40).map(|place| text(client + 4, place)).collect();
        let (api, body) = (customer.api.clone(), json!({"model": MODEL, "input": texts}));
        tokio::spawn(async move { api.post("/v1/embeddings", &body).await.ok() })
    });
    let answers: Vec<Value> = {
        let mut all = Vec::new();
        for asked in asked.collect::<Vec<_>>() {
            all.push(asked.await.unwrap());
        }
        all
    };
    for answer in &answers {
        let places: Vec<_> = answer["data"].as_array().unwrap().iter().map(|entry| entry["index"].as_u64()).collect();
        assert_eq!(places, (0..40).map(Some).collect::<Vec<_>>());
    }
    let found = vector(&answers[3]["data"][3]["embedding"]);
    assert!(cosine(&found, &alone) > 0.97, "a text has another's vector");
    assert_eq!(customer.settled(5).await.len(), 5);
    server.admin().assert_audit().await;
}

#[test]
fn a_folder_that_does_not_say_how_vectors_are_made_is_not_imported() {
    let folder = temporary("encoder");
    let (copy, models) = (folder.join("copy"), folder.join("models"));
    std::fs::create_dir_all(&copy).unwrap();
    for file in ["model.onnx", "tokenizer.json", "config.json"] {
        std::fs::copy(source().join(file), copy.join(file)).unwrap();
    }
    let (is_imported, said) = import(&copy, &models, "m");
    assert!(!is_imported && said.contains("modules.json") && !said.contains("panicked"), "{said}");
    std::fs::write(copy.join("modules.json"), r#"[{"path":"../1_Pooling","type":"x.Pooling"}]"#).unwrap();
    assert!(!import(&copy, &models, "m").0, "a module outside the folder");
    std::fs::write(copy.join("modules.json"), r#"[{"path":"1_Pooling","type":"x.Pooling"}]"#).unwrap();
    std::fs::create_dir(copy.join("1_Pooling")).unwrap();
    std::fs::write(copy.join("1_Pooling/config.json"), r#"{"pooling_mode_cls_token":true}"#).unwrap();
    std::fs::write(copy.join("model.onnx"), b"\x08\x01 no model").unwrap();
    let (is_imported, said) = import(&copy, &models, "m");
    assert!(!is_imported && said.contains("model.onnx"), "{said}");
    assert!(!models.join("m").exists(), "nothing is left");
    std::fs::remove_dir_all(&folder).unwrap();
}
