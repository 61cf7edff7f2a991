//! Open models that some of several nodes have: any node takes requests for them, the node that has the model runs them, and
//! their clients see no difference, whatever becomes of that node.

use std::time::{Duration, Instant};

use reqwest::{Method, Response};
use serde_json::{Value, json};

use crate::{
    open::{self, MODEL, ask},
    support::{
        client::{Customer, answer},
        fake_openai::FakeOpenAi,
        server::Server,
        socket::Socket,
        temporary,
        test_ledger::TestLedger,
    },
};

const CHAT: &str = "/v1/chat/completions";
const SECRET: &str = "what all nodes of the tests know, and nobody else";
/// How long a machine that is busy with other tests may take for what takes a moment.
const PATIENCE: Duration = Duration::from_mins(1);

struct Stage {
    ledger: TestLedger,
    nodes: Vec<Server>,
    _fake: FakeOpenAi,
}

impl Stage {
    /// Three nodes, of which those at these places have the model; `None` where PostgreSQL is not to be had.
    async fn with_model_at(places: &[usize], settings: &[(&str, String)]) -> Option<Self> {
        let (ledger, fake) = (TestLedger::postgres()?, FakeOpenAi::start());
        let with_model = open::options().await;
        let mut nodes = Vec::new();
        for place in 0..3 {
            let options = if places.contains(&place) {
                with_model.clone()
            } else {
                let empty = temporary("no-models");
                std::fs::create_dir_all(&empty).unwrap();
                with_model.clone().set("FAREBOX_RUNTIME__MODELS_DIR", empty.to_str().unwrap())
            };
            let options = options.on(crate::support::server::Database::At(ledger.url())).calling(fake.url());
            let options = options.set("FAREBOX_CLOCK", "system").set("FAREBOX_CLUSTER__LISTEN", "127.0.0.1:0");
            let options = options.set("FAREBOX_CLUSTER__SECRET", SECRET).set("FAREBOX_CLUSTER__LEASE_SECONDS", "3");
            let options = settings.iter().fold(options, |options, (name, value)| options.set(name, value));
            nodes.push(Server::start(options.set("FAREBOX_CLUSTER__RENEW_SECONDS", "1")).await);
        }
        let stage = Self { ledger, nodes, _fake: fake };
        stage.all_know_the_model().await;
        Some(stage)
    }

    async fn all_know_the_model(&self) {
        let began = Instant::now();
        let customer = self.customer().await;
        for node in &self.nodes {
            while node.api(&customer.key).get(&format!("/v1/models/{MODEL}")).await.status != 200 {
                assert!(began.elapsed() < PATIENCE, "a node does not hear of the model: {}", node.logs());
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }

    async fn customer(&self) -> Customer {
        self.nodes[0].admin().customer("payg", "5").await
    }

    /// Begins to stream a long story at a node.
    async fn story(&self, node: usize, customer: &Customer) -> Response {
        let mut response = self.telling(node, customer).send().await.unwrap();
        assert_eq!(response.status(), 200);
        assert!(response.chunk().await.unwrap().is_some());
        response
    }

    fn telling(&self, node: usize, customer: &Customer) -> reqwest::RequestBuilder {
        let body =
            ask("Write a very long story about a lighthouse.", &json!({"stream": true, "temperature": 1, "seed": 7}));
        self.nodes[node].api(&customer.key).request(Method::POST, CHAT).json(&body)
    }

    /// The place of the node that runs a request.
    async fn running(&self) -> usize {
        for (place, node) in self.nodes.iter().enumerate() {
            let told = node.get("/metrics").await.body;
            if told.lines().any(|line| line == "farebox_requests_running 1") {
                return place;
            }
        }
        panic!("no node runs a request");
    }

    async fn nothing_is_held(&self) {
        let began = Instant::now();
        while self.ledger.number("SELECT COUNT(*) FROM hold") > 0 {
            assert!(began.elapsed() < PATIENCE, "a hold stays");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

/// Settings with a certificate for this machine, and its authority.
fn certificate() -> Vec<(&'static str, String)> {
    let mut params = rcgen::CertificateParams::default();
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let authority = rcgen::CertifiedIssuer::self_signed(params, rcgen::KeyPair::generate().unwrap()).unwrap();
    let key = rcgen::KeyPair::generate().unwrap();
    let made = rcgen::CertificateParams::new(["127.0.0.1".to_owned()]).unwrap().signed_by(&key, &*authority).unwrap();
    let folder = temporary("certificates");
    std::fs::create_dir_all(&folder).unwrap();
    let files = [
        ("FAREBOX_CLUSTER__TLS__CERTIFICATE", made.pem()),
        ("FAREBOX_CLUSTER__TLS__KEY", key.serialize_pem()),
        ("FAREBOX_CLUSTER__TLS__AUTHORITY", authority.pem()),
    ];
    let write = |(setting, pem): (&'static str, String)| {
        let file = folder.join(setting);
        std::fs::write(&file, pem).unwrap();
        (setting, file.to_str().unwrap().to_owned())
    };
    files.into_iter().map(write).collect()
}

/// What is left of a stream.
async fn rest(mut response: Response) -> String {
    let mut rest = Vec::new();
    while let Ok(Some(piece)) = response.chunk().await {
        rest.extend_from_slice(&piece);
    }
    String::from_utf8(rest).unwrap()
}

#[tokio::test]
async fn a_request_that_is_passed_on_counts_once_for_its_address() {
    let limit = 60;
    let settings = [
        ("FAREBOX_LIMITS__ADDRESS_PER_MINUTE", limit.to_string()),
        ("FAREBOX_HTTP__TRUSTED_PROXIES", "127.0.0.0/8".to_owned()),
    ];
    let Some(stage) = Stage::with_model_at(&[0], &settings).await else { return };
    let customer = stage.customer().await;
    let get = async |node: usize| {
        let request = stage.nodes[node].api(&customer.key).request(Method::GET, &format!("/v1/models/{MODEL}"));
        answer(request.header("x-forwarded-for", "198.51.100.7")).await.status
    };
    // Without Redis each node counts by itself; the node that has the model is asked by both others.
    for _ in 0..limit {
        for node in [1, 2] {
            assert_eq!(get(node).await, 200, "at node {node}");
        }
    }
    assert_eq!(get(0).await, 200, "what came by other nodes was counted there");
}

#[tokio::test]
async fn a_model_of_one_node_is_served_by_all() {
    let Some(stage) = Stage::with_model_at(&[1], &[]).await else { return };
    let customer = stage.customer().await;
    let of = |node: usize| stage.nodes[node].api(&customer.key);
    let body = ask("Name three colors.", &json!({"max_tokens": 5}));
    let mut texts = Vec::new();
    for node in 0..3 {
        let answered = of(node).post(CHAT, &body).await;
        texts.push(answered.ok()["choices"][0]["message"]["content"].clone());
        let cost = answered.json()["usage"]["cost"].as_str().map(str::to_owned);
        assert!(cost.is_some() && answered.header("x-farebox-cost") == cost.as_deref(), "{:?}", answered.headers);
        let record = customer.record(&answered).await;
        assert_eq!((&record["model"], &record["ending"]), (&json!(MODEL), &json!("completed")), "{record}");
    }
    assert!(texts.iter().all(|text| *text == texts[0]), "{texts:?}");
    every_surface_answers(&stage, &customer).await;

    // What is known of the model is known everywhere; the list says how it stands where it stands best.
    for node in 0..3 {
        let listed = of(node).get("/v1/models").await.ok();
        let listed = listed["data"].as_array().unwrap().iter().find(|model| model["id"] == MODEL).cloned();
        let listed = listed.unwrap_or_else(|| panic!("node {node} does not list it"));
        let told = (&listed["state"], &listed["available"], &listed["class"]);
        assert_eq!(told, (&json!("warm"), &json!(true), &json!("7B")), "{listed}");
        assert_eq!(of(node).get(&format!("/v1/models/{MODEL}/status")).await.ok()["state"], "warm");
        let quote = of(node).post("/v1/quote", &body).await.ok();
        assert_eq!((&quote["admitted"], &quote["cost"]["least"]), (&json!(true), &json!("0.000072")), "{quote}");
    }
    let seen = stage.nodes[0].admin().0.get("/admin/v1/nodes").await.ok();
    let had: Vec<_> = seen["models"].as_array().unwrap().iter().map(|had| (&had["model"], &had["state"])).collect();
    assert_eq!(had, [(&json!(MODEL), &json!("warm"))], "{seen}");

    // An error is the running node's own, and what no node has is refused as ever.
    let bad = of(0).post(CHAT, &ask("hi", &json!({"tools": [{"type": "web_search"}]}))).await;
    assert_eq!((bad.status, &bad.json()["error"]["param"]), (400, &json!("tools[0].type")), "{}", bad.body);
    let unknown =
        of(0).post(CHAT, &json!({"model": "smollm2-135m", "messages": [{"role": "user", "content": "hi"}]})).await;
    assert_eq!(
        (unknown.status, &unknown.json()["error"]["code"]),
        (404, &json!("model_not_found")),
        "{}",
        unknown.body
    );
    let wrong = stage.nodes[0].api("fb_000000000000_none").post(CHAT, &body).await;
    assert_eq!(wrong.status, 401);

    // A key runs once, whichever nodes hear of it.
    let before = customer.api.get("/v1/requests?limit=200").await.ok()["data"].as_array().unwrap().len();
    let mut ids = Vec::new();
    for node in [0, 2, 1, 0] {
        let request = of(node).request(Method::POST, CHAT).json(&body).header("idempotency-key", "once");
        let answered = answer(request).await;
        ids.push(answered.ok()["id"].clone());
        assert_eq!(answered.header("idempotency-replayed"), (ids.len() > 1).then_some("true"));
    }
    assert!(ids.iter().all(|id| *id == ids[0]), "{ids:?}");
    assert_eq!(open::settled(&customer, before + 1).await.len(), before + 1);

    // A client that leaves ends its request over there: within its stream, and before its answer.
    drop(stage.story(0, &customer).await);
    assert_eq!(open::settled(&customer, before + 2).await[0]["ending"], "client_left");
    let long = ask("Write a very long story about a lighthouse.", &json!({"temperature": 1, "seed": 7}));
    let request = of(2).request(Method::POST, CHAT).json(&long).timeout(Duration::from_millis(1_500));
    assert!(request.send().await.is_err(), "the story was short");
    let left = open::settled(&customer, before + 3).await.remove(0);
    assert_eq!(left["ending"], "client_left", "{left}");
    assert!(left["output_tokens"].as_u64() < Some(2_000), "the engine went on: {left}");
    // A live socket's chats run there too, and are cancelled there.
    let mut socket = Socket::open(stage.nodes[2].url(), &customer.key).await;
    let create =
        |id: &str, more: Value| json!({"type": "chat.create", "id": id, "body": ask("Name three colors.", &more)});
    socket.send(&create("a", json!({"max_tokens": 5}))).await;
    let done = socket.next_of("chat.done").await;
    assert_eq!((&done["id"], &done["usage"]["completion_tokens"]), (&json!("a"), &json!(5)), "{done}");
    socket.send(&create("b", json!({"tools": [{"type": "web_search"}]}))).await;
    let refused = socket.next_of("error").await;
    assert_eq!((&refused["id"], &refused["code"]), (&json!("b"), &json!("invalid_request")), "{refused}");
    for id in ["c", "d"] {
        let endless = json!({"temperature": 1, "seed": 7, "logit_bias": {"2": -100, "0": -100}});
        runs_until_cancelled(&stage, &customer, &mut socket, create(id, endless)).await;
    }
    // One that outlives its socket runs there too, and is taken up and fetched at any node.
    let mut detached = create("e", json!({"max_tokens": 5}));
    detached["on_disconnect"] = "detach".into();
    socket.send(&detached).await;
    let id = socket.next_of("chat.created").await["request_id"].as_str().unwrap().to_owned();
    drop(socket);
    let mut socket = Socket::open(stage.nodes[0].url(), &customer.key).await;
    socket.send(&json!({"type": "resume", "id": "e", "after": 1})).await;
    let rest = socket.frames_of("e").await;
    assert_eq!(rest.last().unwrap()["usage"]["completion_tokens"], 5, "{rest:?}");
    let text: String = rest.iter().filter_map(|frame| frame["delta"].as_str()).collect();
    assert_eq!(of(1).get(&format!("/v1/requests/{id}/output")).await.ok()["text"], text);
    drop(socket);
    let records = open::settled(&customer, before + 7).await;
    assert_eq!((&records[0]["id"], &records[0]["ending"]), (&json!(id), &json!("completed")));
    let before: Vec<_> = records[1..4].iter().map(|record| &record["ending"]).collect();
    assert_eq!(before, ["client_left", "client_left", "completed"]);
    let relayed = stage.nodes[0].get("/metrics").await.body;
    assert!(relayed.contains("farebox_relayed_requests_total{outcome=\"answered\"}"), "{relayed}");
    stage.nodes[2].admin().assert_audit().await;
}

/// The other ways to ask an open model, at a node that does not have it.
/// A request that would not end: each node says that it runs, and its socket cancels it.
async fn runs_until_cancelled(stage: &Stage, customer: &Customer, socket: &mut Socket, mut endless: Value) {
    endless["on_disconnect"] = "detach".into();
    socket.send(&endless).await;
    let request = socket.next_of("chat.created").await["request_id"].as_str().unwrap().to_owned();
    socket.next_of("chat.delta").await;
    for node in &stage.nodes {
        let early = node.api(&customer.key).get(&format!("/v1/requests/{request}/output")).await;
        assert_eq!(early.status, 409, "{}", early.body);
    }
    socket.send(&json!({"type": "chat.cancel", "id": endless["id"]})).await;
    let done = socket.next_of("chat.done").await;
    assert_eq!(done["id"], endless["id"], "{done}");
}

async fn every_surface_answers(stage: &Stage, customer: &Customer) {
    let api = stage.nodes[2].api(&customer.key);
    let messages = json!([{"role": "user", "content": "Name three colors."}]);
    let stream = api.post(CHAT, &ask("Name three colors.", &json!({"max_tokens": 5, "stream": true}))).await;
    assert!(stream.body.contains("\"cost\"") && stream.body.ends_with("data: [DONE]\n\n"), "{}", stream.body);
    assert_eq!(stream.header("x-accel-buffering"), Some("no"));
    let google =
        json!({"contents": [{"parts": [{"text": "Name three colors."}]}], "generationConfig": {"maxOutputTokens": 5}});
    for (path, body) in [
        ("/v1/completions", json!({"model": MODEL, "prompt": "One, two,", "max_tokens": 4})),
        ("/v1/messages", json!({"model": MODEL, "messages": messages, "max_tokens": 4})),
        ("/v1/responses", json!({"model": MODEL, "input": "Name three colors.", "max_output_tokens": 16})),
        ("/v2/chat", json!({"model": MODEL, "messages": messages, "max_tokens": 4})),
        ("/v1/messages/count_tokens", json!({"model": MODEL, "messages": messages})),
        (&format!("/v1beta/models/{MODEL}:generateContent"), google.clone()),
        (&format!("/v1beta/models/{MODEL}:countTokens"), json!({"contents": google["contents"]})),
    ] {
        let answered = api.post(path, &body).await;
        assert_eq!(answered.status, 200, "{path}: {}", answered.body);
    }
    // One in the background is made over there: any node tells how far it is, and cancels it.
    let begun = json!({"model": MODEL, "input": "Name three colors.", "max_output_tokens": 16, "background": true});
    let begun = api.post("/v1/responses", &begun).await.ok();
    let path = format!("/v1/responses/{}", begun["id"].as_str().unwrap());
    let (other, started) = (stage.nodes[0].api(&customer.key), Instant::now());
    loop {
        let told = other.get(&path).await.ok();
        if told["status"] == "completed" || told["status"] == "incomplete" {
            break;
        }
        assert!(told["status"] == "queued" || told["status"] == "in_progress", "{told}");
        assert!(started.elapsed() < PATIENCE, "{told}");
    }
    let long = json!({"model": MODEL, "input": "Write a very long story about a lighthouse.", "background": true});
    let long = api.post("/v1/responses", &long).await.ok();
    let cancelled =
        other.post(&format!("/v1/responses/{}/cancel", long["id"].as_str().unwrap()), &json!({})).await.ok();
    assert_eq!(cancelled["status"], "cancelled", "{cancelled}");
    let vectors = api.post("/v1/embeddings", &json!({"model": MODEL, "input": "x"})).await;
    assert_eq!((vectors.status, &vectors.json()["error"]["param"]), (400, &json!("model")), "{}", vectors.body);
    stage.nothing_is_held().await;
}

#[tokio::test]
async fn a_node_that_goes_leaves_its_requests_settled_and_the_model_to_another() {
    let Some(mut stage) = Stage::with_model_at(&[1, 2], &certificate()).await else { return };
    let customer = stage.customer().await;
    let body = ask("Name three colors.", &json!({"max_tokens": 5}));
    assert_eq!(stage.nodes[0].api(&customer.key).post(CHAT, &body).await.status, 200);
    open::settled(&customer, 1).await;

    // Killed in the middle of an answer: the stream ends as with an engine that dies, and is charged as far as it was noted.
    let mut story = stage.telling(0, &customer).header("idempotency-key", "story").send().await.unwrap();
    assert!(story.chunk().await.unwrap().is_some());
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    let dying = stage.running().await;
    assert!(dying > 0, "it runs where the model is");
    stage.nodes[dying].kill_nine();
    let end = rest(story).await;
    let told = end.lines().rfind(|line| line.starts_with("data: ")).unwrap_or_else(|| panic!("{end}"));
    let told: Value = serde_json::from_str(told.trim_start_matches("data: ")).unwrap();
    assert_eq!(told["error"]["code"], "internal", "{told}");
    assert!(!end.contains("[DONE]"), "it looks whole: {end}");
    stage.nodes.remove(dying);

    // The other node that has it goes on with it at once, for all.
    let began = Instant::now();
    for node in &stage.nodes {
        while node.api(&customer.key).post(CHAT, &body).await.status != 200 {
            assert!(began.elapsed() < PATIENCE, "{}", node.logs());
        }
    }
    stage.nothing_is_held().await;
    let records = stage.nodes[0].api(&customer.key).get("/v1/requests").await.ok()["data"].as_array().unwrap().clone();
    let ended = |ending: &str| records.iter().filter(|record| record["ending"] == ending).count();
    assert_eq!((ended("completed"), ended("recovered") + ended("written_off")), (3, 1), "{records:?}");

    // Its key still stands for it, at every node: what was charged never runs again.
    if ended("recovered") == 1 {
        let again = answer(stage.telling(0, &customer).header("idempotency-key", "story")).await;
        assert_eq!((again.status, &again.json()["error"]["code"]), (409, &json!("answer_lost")), "{}", again.body);
    }

    // Told to stop in the middle of an answer: it finishes, and then no node has the model.
    let body =
        ask("Write a long story.", &json!({"max_tokens": 60, "stream": true, "logit_bias": {"2": -100, "0": -100}}));
    let request = stage.nodes[0].api(&customer.key).request(Method::POST, CHAT).json(&body);
    let mut story = request.send().await.unwrap();
    assert!(story.chunk().await.unwrap().is_some());
    let stopping = stage.nodes.len() - 1;
    stage.nodes[stopping].ask_to_stop();
    let end = rest(story).await;
    assert!(end.ends_with("data: [DONE]\n\n"), "it was cut: {end}\n{}", stage.nodes[stopping].logs());
    let mut stopped = stage.nodes.remove(stopping);
    assert!(stopped.wait_for_end().await.success(), "{}", stopped.logs());
    let refused = stage.nodes[0].api(&customer.key).post(CHAT, &body).await;
    assert_eq!(
        (refused.status, &refused.json()["error"]["code"]),
        (404, &json!("model_not_found")),
        "{}",
        refused.body
    );
    stage.nothing_is_held().await;
    stage.nodes[0].admin().assert_audit().await;
}
