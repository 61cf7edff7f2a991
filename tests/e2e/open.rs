//! An open model, end to end: the demo model, fetched once, imported and run by the real binary's own engine; billed by the
//! second, stopped when its client leaves, and alive again after its pool died.

use std::{
    path::{Path, PathBuf},
    process::Command,
    sync::OnceLock,
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use super::timings::timings;
use crate::support::{
    client::Customer,
    server::{Options, Server},
    shared_folder, temporary, with,
};

pub(crate) const MODEL: &str = "smollm2-135m-instruct";

/// A file of the user's cache, which is fetched with its set where it is missing.
pub(crate) fn fetched(set: &str, file: &str) -> PathBuf {
    let home = || PathBuf::from(std::env::var_os("HOME").unwrap()).join(".cache/farebox");
    let path = std::env::var_os("FAREBOX_CACHE").map_or_else(home, PathBuf::from).join(file);
    if !path.is_file() {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fetch.py");
        assert!(Command::new("python3").arg(script).arg(set).status().unwrap().success(), "tests/fetch.py failed");
    }
    path
}

pub(crate) fn cached(file: &str) -> PathBuf {
    fetched("chat", file)
}

/// The models folder, imported once by `farebox models import`.
pub(crate) fn models() -> &'static Path {
    static MODELS: OnceLock<PathBuf> = OnceLock::new();
    MODELS.get_or_init(|| {
        let folder = shared_folder("models");
        let gguf = cached("models/smollm2-135m-instruct/model.gguf");
        let import = Command::new(env!("CARGO_BIN_EXE_farebox"))
            .args(["models", "import", "--name", MODEL])
            .arg(gguf)
            .env("FAREBOX_RUNTIME__MODELS_DIR", &folder)
            .output()
            .unwrap();
        assert!(import.status.success(), "{}", String::from_utf8_lossy(&import.stderr));
        folder
    })
}

/// Options of a gateway that runs the demo model.
pub(crate) async fn options() -> Options {
    let models = tokio::task::spawn_blocking(models).await.unwrap();
    let library = cached("onnxruntime/1.31.1/libonnxruntime.so");
    Options::default()
        .set("FAREBOX_RUNTIME__MODELS_DIR", models.to_str().unwrap())
        .set("FAREBOX_RUNTIME__ONNXRUNTIME", library.to_str().unwrap())
}

pub(crate) async fn stage(overdraft: &str) -> (Server, Customer) {
    let options = options().await.set("FAREBOX_LIMITS__OVERDRAFT", overdraft).set("FAREBOX_FAULTS", "true");
    let server = Server::start(options).await;
    let customer = server.admin().customer("payg", "5").await;
    (server, customer)
}

pub(crate) fn ask(content: &str, more: &Value) -> Value {
    let body = json!({"model": MODEL, "temperature": 0, "messages": [{"role": "user", "content": content}]});
    with(&body, more)
}

pub(crate) async fn settled(customer: &Customer, count: usize) -> Vec<Value> {
    customer.settled_within(Duration::from_mins(1), count).await
}

#[tokio::test]
async fn an_open_answer_is_billed_by_started_seconds() {
    let (server, customer) = stage("inflight").await;
    let quote = customer.api.post("/v1/quote", &ask("Name three colors.", &json!({"max_cost": "0.0002"}))).await.ok();
    assert_eq!(quote["cost"], json!({"least": "0.000072", "expected": "0.000144", "most": "0.000144"}));
    assert_eq!((&quote["admitted"], &quote["hold"]), (&json!(true), &json!("0.000144")));
    let answer = customer.api.post("/v1/chat/completions", &ask("Name three colors.", &json!({"max_tokens": 5}))).await;
    let body = answer.ok();
    assert!(!body["choices"][0]["message"]["content"].as_str().unwrap().is_empty(), "{body}");
    let seconds = body["farebox"]["billed_seconds"].as_u64().unwrap();
    assert_eq!(seconds, body["farebox"]["compute_ms"].as_u64().unwrap().div_ceil(1_000).max(1));
    assert_eq!(answer.header("x-farebox-billed-seconds"), Some(seconds.to_string().as_str()));
    let (stages, took) = answer.timing();
    assert_eq!(stages, ["auth", "admission", "queue", "load", "compute"]);
    assert!(took[3] > 1.0 && took[4] > 0.0, "it loaded the model, and ran: {took:?}");
    let nanos = 72_000 * seconds;
    assert_eq!(
        body["usage"]["cost"].as_str().unwrap().parse::<billing::Nanos>().unwrap().get(),
        i64::try_from(nanos).unwrap()
    );
    assert_eq!(body["choices"][0]["finish_reason"], "length");
    assert_eq!(body["usage"]["completion_tokens"], 5);

    let body_streamed = ask("Name three colors.", &json!({"max_tokens": 5, "stream": true}));
    let streamed = customer.api.post("/v1/chat/completions", &body_streamed).await;
    let data: Vec<&str> = streamed.body.lines().filter_map(|line| line.strip_prefix("data: ")).collect();
    assert_eq!(data.last(), Some(&"[DONE]"), "{}", streamed.body);
    let text: String = data[..data.len() - 2]
        .iter()
        .map(|data| serde_json::from_str::<Value>(data).unwrap())
        .map(|chunk| chunk["choices"][0]["delta"]["content"].as_str().unwrap_or_default().to_owned())
        .collect();
    assert_eq!(body["choices"][0]["message"]["content"], text, "greedy: the same text streamed or not");
    let (stages, took) = streamed.timing();
    assert_eq!(stages, ["auth", "admission", "queue", "load", "compute"]);
    assert!(took[3] < f64::EPSILON, "the model was loaded: {took:?}");
    let records = settled(&customer, 2).await;
    let [of_streamed, of_whole] = [&records[0], &records[1]].map(timings);
    assert!(of_whole[1].unwrap() > 0 && of_whole[3].unwrap() > 0, "it loaded the model, and ran: {of_whole:?}");
    assert_eq!(of_streamed[1], Some(0), "the model was loaded");
    for [_, load, queue, run, first] in [of_streamed, of_whole] {
        let all = load.unwrap() + queue.unwrap() + run.unwrap();
        assert!((1..=all + 3).contains(&first.unwrap()), "each number is rounded down: {first:?} of {all}");
    }
    server.admin().assert_audit().await;
}

#[tokio::test]
async fn requests_that_run_together_are_answered_as_alone_and_each_is_billed() {
    let (server, customer) = stage("inflight").await;
    let prompts = ["Name three colors.", "Name three animals.", "Count from one to ten.", "Say hello in French."];
    let body = |prompt: &str| ask(prompt, &json!({"max_tokens": 24}));
    let mut alone = Vec::new();
    for prompt in prompts {
        // An account of its own: nothing of it is read before.
        let other = server.admin().customer("payg", "5").await;
        alone.push(other.api.post("/v1/chat/completions", &body(prompt)).await.ok());
    }
    let bodies = prompts.map(body);
    let asked = bodies.iter().map(|body| customer.api.post("/v1/chat/completions", body));
    let together = futures::future::join_all(asked).await;
    for (together, alone) in together.iter().zip(&alone) {
        let together = together.ok();
        assert_eq!(together["choices"], alone["choices"], "what else runs changes no answer");
        assert_eq!(together["usage"]["prompt_tokens"], alone["usage"]["prompt_tokens"]);
        let seconds = together["farebox"]["compute_ms"].as_u64().unwrap().div_ceil(1_000).max(1);
        assert_eq!(together["farebox"]["billed_seconds"], seconds);
    }
    // What was read is not read again, and says so.
    let again = customer.api.post("/v1/chat/completions", &body(prompts[0])).await.ok();
    let usage = &again["usage"];
    let (read, cached) = (usage["prompt_tokens"].as_u64(), usage["prompt_tokens_details"]["cached_tokens"].as_u64());
    assert!(cached > Some(10) && cached < read, "{usage}");
    assert_eq!(again["choices"], alone[0]["choices"], "a cache changes no answer");
    assert_eq!(alone[0]["usage"]["prompt_tokens_details"]["cached_tokens"].as_u64().unwrap_or(0), 0);
    settled(&customer, 5).await;
    server.admin().assert_audit().await;
}

#[tokio::test]
async fn a_client_that_leaves_stops_the_engine_and_pays_for_what_ran() {
    let (server, customer) = stage("inflight").await;
    let body =
        ask("Write a very long story about a lighthouse.", &json!({"stream": true, "temperature": 1, "seed": 7}));
    let request = customer.api.request(reqwest::Method::POST, "/v1/chat/completions").json(&body);
    let mut response = request.send().await.unwrap();
    assert!(response.chunk().await.unwrap().is_some());
    drop(response);
    let records = settled(&customer, 1).await;
    assert_eq!(records[0]["ending"], "client_left");
    assert!(records[0]["billed_seconds"].as_u64() >= Some(1), "{}", records[0]);
    // One that waits for the whole answer.
    let body = ask("Write a very long story about a lighthouse.", &json!({"temperature": 1, "seed": 7}));
    let request = customer.api.request(reqwest::Method::POST, "/v1/chat/completions").json(&body);
    assert!(request.timeout(Duration::from_millis(1_500)).send().await.is_err(), "the story was short");
    let left = Instant::now();
    let records = settled(&customer, 2).await;
    assert_eq!(records[0]["ending"], "client_left");
    assert!(records[0]["output_tokens"].as_u64() < Some(2_000), "the engine went on: {}", records[0]);
    assert!(left.elapsed() < Duration::from_secs(20), "the engine went on for {:?}", left.elapsed());
    server.admin().assert_audit().await;
}

#[tokio::test]
async fn credits_and_max_cost_end_an_answer_at_what_they_pay() {
    let (server, customer) = stage("none").await;
    let long = |more: Value| ask("Write a very long story about a lighthouse.", &more);
    let body = long(json!({"max_cost": "0.000144", "temperature": 1, "seed": 7}));
    let answer = customer.api.post("/v1/chat/completions", &body).await.ok();
    assert!(answer["farebox"]["billed_seconds"].as_u64() <= Some(2), "{answer}");
    assert_eq!(answer["choices"][0]["finish_reason"], "length");
    assert_eq!(answer["farebox"]["stop"], "max_cost");
    // Three seconds' worth: the free dollar is replaced by an account that was given only that.
    let admin = server.admin();
    let poor = admin.customer("free", "0").await;
    let body = json!({"model": MODEL, "max_cost": "0.00001", "messages": [{"role": "user", "content": "hi"}]});
    let refused = poor.api.post("/v1/chat/completions", &body).await;
    assert_eq!((refused.status, &refused.json()["error"]["param"]), (400, &json!("max_cost")));
    // What an open model would ignore is refused before anything is held.
    let image = json!([{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "https://x/y.png"}}]}]);
    for (more, param) in [
        (json!({"response_format": {"type": "grammar"}}), "response_format"),
        (json!({"tools": [{"type": "web_search"}]}), "tools[0].type"),
        (json!({"messages": image}), "messages"),
    ] {
        let refused = customer.api.post("/v1/chat/completions", &ask("hi", &more)).await;
        assert_eq!((refused.status, &refused.json()["error"]["param"]), (400, &json!(param)), "{}", refused.body);
        assert_eq!(customer.api.post("/v1/quote", &ask("hi", &more)).await.status, 400);
    }
    settled(&customer, 1).await;
    admin.assert_audit().await;
}

#[tokio::test]
async fn permits_are_one_for_the_free_plan_and_come_back() {
    let (server, _) = stage("inflight").await;
    let admin = server.admin();
    let free = admin.customer("free", "0").await;
    let body =
        ask("Write a very long story about a lighthouse.", &json!({"stream": true, "temperature": 1, "seed": 7}));
    let mut first = free.api.request(reqwest::Method::POST, "/v1/chat/completions").json(&body).send().await.unwrap();
    assert!(first.chunk().await.unwrap().is_some());
    let second = free.api.post("/v1/chat/completions", &ask("hi", &json!({"max_tokens": 2}))).await;
    assert_eq!((second.status, &second.json()["code"]), (429, &json!("concurrency_limit")), "{}", second.body);
    assert_eq!(second.json()["next_tier"]["dollars"], "3.00");
    assert!(second.header("retry-after").is_some());
    drop(first);
    settled(&free, 1).await;
    assert_eq!(free.api.post("/v1/chat/completions", &ask("hi", &json!({"max_tokens": 2}))).await.status, 200);
    admin.assert_audit().await;
}

#[tokio::test]
async fn a_pool_that_died_comes_back_and_its_requests_are_settled() {
    let (server, customer) = stage("inflight").await;
    let admin = server.admin();
    let body = ask("Name three colors.", &json!({"max_tokens": 4}));
    assert_eq!(customer.api.post("/v1/chat/completions", &body).await.status, 200);
    let long =
        ask("Write a very long story about a lighthouse.", &json!({"stream": true, "temperature": 1, "seed": 7}));
    let mut running =
        customer.api.request(reqwest::Method::POST, "/v1/chat/completions").json(&long).send().await.unwrap();
    assert!(running.chunk().await.unwrap().is_some());
    admin.0.post("/admin/v1/faults", &json!({"pool": "7B"})).await.ok();
    let mut rest = Vec::new();
    while let Ok(Some(piece)) = running.chunk().await {
        rest.extend_from_slice(&piece);
    }
    let rest = String::from_utf8(rest).unwrap();
    assert!(rest.contains("\"error\"") && !rest.contains("[DONE]"), "it looks whole: {rest}");
    let deadline = Instant::now() + Duration::from_mins(1);
    while customer.api.post("/v1/chat/completions", &body).await.status != 200 {
        assert!(Instant::now() < deadline, "the pool did not come back\n{}", server.logs());
    }
    let records =
        settled(&customer, customer.api.get("/v1/requests").await.ok()["data"].as_array().unwrap().len()).await;
    let ended = |ending: &str| records.iter().filter(|record| record["ending"] == ending).count();
    assert_eq!(ended("completed"), 2, "{records:?}");
    let cut = records.iter().rfind(|record| record["ending"] == "failed").unwrap();
    assert!(cut["billed_seconds"].as_u64() >= Some(1), "what it had written is charged: {cut}");
    let audit = admin.audit().await;
    assert_eq!((&audit["ok"], &audit["open_holds"]), (&json!(true), &json!(0)), "{audit}");
    let actors = admin.actors().await;
    let pool = actors["actors"].as_array().unwrap().iter().find(|actor| actor["kind"] == "pool").unwrap().clone();
    assert_eq!(pool["panics"], 1, "{pool}");
}

#[tokio::test]
async fn a_model_that_answers_leaves_no_trace_in_the_users_folders_and_few_words_in_the_log() {
    let options = options().await;
    let home = temporary("home");
    std::fs::create_dir_all(&home).unwrap();
    let options = ["HOME", "XDG_CACHE_HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME", "TMPDIR"]
        .into_iter()
        .fold(options.unset("ORT_DISABLE_TELEMETRY"), |options, name| options.set(name, home.to_str().unwrap()));
    let mut server = Server::start(options).await;
    let customer = server.admin().customer("payg", "5").await;
    let before = server.logs().lines().count();
    let body = ask("Name three colors.", &json!({"max_tokens": 20}));
    assert_eq!(customer.api.post("/v1/chat/completions", &body).await.status, 200);
    server.says("model loaded").await;
    let logs = server.logs();
    assert!(logs.lines().count() < before + 10, "{} lines for 20 tokens:\n{logs}", logs.lines().count() - before);
    // What is written as it ends is looked for too.
    assert!(server.stop().await.success());
    let found: Vec<_> = std::fs::read_dir(&home).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert!(found.is_empty(), "{found:?}");
    std::fs::remove_dir_all(&home).unwrap();
}

#[tokio::test]
async fn the_live_socket_tells_tokens_cost_end_and_balance() {
    let (server, customer) = stage("inflight").await;
    let mut socket = crate::support::socket::Socket::open(server.url(), &customer.key).await;
    let first = socket.next_of("balance").await;
    assert_eq!(first["available"], "10.00");
    socket.send(&json!({"type": "ping"})).await;
    socket.next_of("pong").await;
    let body = json!({"model": MODEL, "temperature": 0, "max_tokens": 5, "messages": [{"role": "user", "content": "Name three colors."}]});
    socket.send(&json!({"type": "chat.create", "id": "a", "body": body})).await;
    let mut kinds = Vec::new();
    let done = loop {
        let frame = socket.next().await;
        kinds.push(frame["type"].as_str().unwrap().to_owned());
        if frame["type"] == "chat.done" {
            break frame;
        }
    };
    assert!(kinds.iter().any(|kind| kind == "chat.delta") && kinds.iter().any(|kind| kind == "chat.cost"), "{kinds:?}");
    assert_eq!((&done["id"], &done["usage"]["completion_tokens"]), (&json!("a"), &json!(5)), "{done}");
    let spent: billing::Nanos = done["cost"].as_str().unwrap().parse().unwrap();
    let left = (billing::Nanos::dollars(10) - spent).to_string();
    // The balance is told with the end, before or after it.
    socket.send(&json!({"type": "chat.create", "id": "b", "body": {"model": MODEL, "messages": []}})).await;
    let refused = socket.next_of("error").await;
    assert_eq!((&refused["id"], &refused["code"]), (&json!("b"), &json!("invalid_request")));
    assert_eq!(customer.api.get("/v1/balance").await.ok()["available"], left);

    let long = json!({"model": MODEL, "temperature": 1, "seed": 7,
        "messages": [{"role": "user", "content": "Write a very long story about a lighthouse."}]});
    socket.send(&json!({"type": "chat.create", "id": "c", "body": long})).await;
    socket.next_of("chat.delta").await;
    socket.send(&json!({"type": "chat.cancel", "id": "c"})).await;
    let done = socket.next_of("chat.done").await;
    assert_eq!(done["id"], "c");
    assert_ne!(done["cost"], "0.00");
    socket.send(&json!({"type": "chat.create", "id": "d", "body": long})).await;
    socket.next_of("chat.delta").await;
    drop(socket);
    let records = settled(&customer, 3).await;
    assert_eq!((&records[0]["ending"], &records[1]["ending"]), (&json!("client_left"), &json!("client_left")));
    server.admin().assert_audit().await;
}
