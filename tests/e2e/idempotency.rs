//! `Idempotency-Key`: a request that is sent again runs once, is charged once and gets one answer, whether its duplicates
//! come later, at the same time, after its client left or after the process was killed.

use std::{
    collections::HashSet,
    io::{Read, Write},
    net::TcpStream,
    time::{Duration, Instant},
};

use billing::{
    Nanos, Timestamp,
    ids::{AccountId, RequestId},
};
use ledger::{
    Ledger, Opening,
    idempotency::{KeyChange, Slot, Stage, Trace},
};
use reqwest::{Method, header::HeaderValue};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::support::{
    client::{Answer, Api, Customer, answer},
    fake_openai::{Behaviour, FakeOpenAi},
    postgres,
    server::{Database, Options, Server},
    temporary,
};

/// Seven prompt tokens and six words of gpt-4o-mini, and 2 %.
const COST: &str = "0.000004743";
const CHAT: &str = "/v1/chat/completions";
const DAY: u64 = 86_400;

struct Theatre {
    fake: FakeOpenAi,
    server: Server,
    customer: Customer,
}

fn hello() -> Value {
    json!({"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "Say hello to me"}]})
}

/// With a small hold, of which a tenth is soon used: then the cost so far is made durable.
fn streamed() -> Value {
    let mut body = hello();
    body["max_tokens"] = 6.into();
    body["stream"] = true.into();
    body
}

/// A POST under a key.
async fn post(api: &Api, path: &str, key: &str, body: &Value) -> Answer {
    answer(api.request(Method::POST, path).header("idempotency-key", key).json(body)).await
}

fn is_replay(answer: &Answer) -> bool {
    answer.header("idempotency-replayed") == Some("true")
}

#[track_caller]
fn assert_same(first: &Answer, again: &Answer) {
    assert!(is_replay(again), "{} {}", again.status, again.body);
    assert_eq!((first.status, &first.body), (again.status, &again.body));
    for name in ["x-request-id", "x-farebox-cost", "x-farebox-balance", "content-type", "cache-control"] {
        assert_eq!(first.header(name), again.header(name), "{name}");
    }
}

#[track_caller]
fn assert_refused(answer: &Answer, status: u16, code: &str) {
    assert_eq!((answer.status, &answer.json()["code"]), (status, &json!(code)), "{}", answer.body);
}

impl Theatre {
    async fn set() -> Self {
        let fake = FakeOpenAi::start();
        let options = Options::default().calling(fake.url()).set("FAREBOX_FAULTS", "true");
        let server = Server::start(options).await;
        let customer = server.admin().customer("payg", "5").await;
        Self { fake, server, customer }
    }

    async fn chat(&self, key: &str) -> Answer {
        post(&self.customer.api, CHAT, key, &hello()).await
    }

    async fn restart(&mut self) {
        self.server.restart().await;
        // A new life listens on a new port.
        self.customer.api = self.server.api(&self.customer.key);
    }

    /// Waits until so many requests are recorded and nothing is held.
    async fn settled(&self, count: usize) -> Vec<Value> {
        self.customer.settled(count).await
    }

    async fn purchases(&self) -> usize {
        let grants = self.customer.api.get("/v1/grants").await.ok();
        grants["data"].as_array().unwrap().iter().filter(|grant| grant["source"] == "purchase").count()
    }

    async fn audit(&self) {
        self.server.admin().assert_audit().await;
    }
}

#[tokio::test]
async fn the_same_key_and_body_is_one_call_one_charge_and_one_answer() {
    let stage = Theatre::set().await;
    let first = stage.chat("a-key").await;
    assert_eq!(first.status, 200, "{}", first.body);
    assert!(!is_replay(&first));
    assert_eq!(first.header("x-farebox-cost"), Some(COST));
    for key in ["a-key", "\"a-key\""] {
        assert_same(&first, &stage.chat(key).await);
    }
    let stream = post(&stage.customer.api, CHAT, "a-stream", &streamed()).await;
    assert!(stream.body.ends_with("data: [DONE]\n\n"), "{}", stream.body);
    assert_same(&stream, &post(&stage.customer.api, CHAT, "a-stream", &streamed()).await);
    let quote = post(&stage.customer.api, "/v1/quote", "a-key", &hello()).await;
    assert_eq!(quote.ok()["object"], "quote", "another route is another key");
    assert_same(&quote, &post(&stage.customer.api, "/v1/quote", "a-key", &hello()).await);
    assert_eq!(stage.fake.requests().len(), 2);
    assert!(stage.settled(2).await.iter().all(|record| record["cost"] == COST));
    let other = stage.server.admin().customer("payg", "1").await;
    let foreign = post(&other.api, CHAT, "a-key", &hello()).await;
    assert!(foreign.status == 200 && !is_replay(&foreign), "another account's key is another key");
    let second_key = stage.server.api(&stage.server.admin().create_key(&stage.customer.id).await);
    assert_same(&first, &post(&second_key, CHAT, "a-key", &hello()).await);
    stage.audit().await;
}

#[tokio::test]
async fn another_request_under_a_used_key_is_409_and_costs_nothing() {
    let stage = Theatre::set().await;
    assert_eq!(stage.chat("k").await.status, 200);
    assert_refused(&post(&stage.customer.api, CHAT, "k", &streamed()).await, 409, "idempotency_key_reused");
    for (name, value) in [("x-max-cost", "1"), ("provider-key", "sk-own"), ("accept", "text/plain")] {
        let request = stage.customer.api.request(Method::POST, CHAT).header("idempotency-key", "k").header(name, value);
        assert_refused(&answer(request.json(&hello())).await, 409, "idempotency_key_reused");
    }
    // While the first one runs, too.
    stage.fake.script(Behaviour::Slow(200));
    let running = stage.customer.api.request(Method::POST, CHAT).header("idempotency-key", "slow").json(&streamed());
    let mut running = running.send().await.unwrap();
    running.chunk().await.unwrap();
    assert_refused(&stage.chat("slow").await, 409, "idempotency_key_reused");
    drop(running);
    stage.settled(2).await;
    assert_eq!(stage.fake.requests().len(), 2);
    stage.audit().await;
}

#[tokio::test]
async fn twenty_duplicates_at_once_are_one_charge_and_one_answer() {
    let stage = Theatre::set().await;
    for (key, body, behaviour, status) in [
        ("whole", hello(), None, 200),
        ("stream", streamed(), Some(Behaviour::Slow(60)), 200),
        ("failed", hello(), Some(Behaviour::Status(500)), 502),
    ] {
        if let Some(behaviour) = behaviour {
            stage.fake.script(behaviour);
        }
        let mut calls = tokio::task::JoinSet::new();
        for _ in 0..20 {
            let (api, body) = (stage.customer.api.clone(), body.clone());
            calls.spawn(async move { post(&api, CHAT, key, &body).await });
        }
        let answers = calls.join_all().await;
        // One that comes after the failure runs anew; all others get the first one's answer.
        let statuses: HashSet<_> = answers.iter().map(|answer| answer.status).collect();
        if key == "failed" {
            assert!(statuses.contains(&status), "{statuses:?}");
            continue;
        }
        let first = answers.iter().find(|answer| !is_replay(answer)).unwrap();
        assert_eq!(first.status, status, "{}", first.body);
        assert_eq!(answers.iter().filter(|answer| is_replay(answer)).count(), 19);
        answers.iter().filter(|answer| is_replay(answer)).for_each(|answer| assert_same(first, answer));
    }
    let records = stage.settled(stage.fake.requests().len()).await;
    assert!(records.len() <= 4, "{records:?}");
    assert!(records.iter().filter(|record| record["cost"] == COST).count() <= 3, "{records:?}");
    stage.audit().await;
}

#[tokio::test]
async fn a_client_that_leaves_finds_the_whole_answer_when_it_asks_again() {
    let stage = Theatre::set().await;
    stage.fake.script(Behaviour::Slow(100));
    let request = stage.customer.api.request(Method::POST, CHAT).header("idempotency-key", "left").json(&streamed());
    let mut response = request.send().await.unwrap();
    let id = response.headers()["x-request-id"].to_str().unwrap().to_owned();
    let piece = response.chunk().await.unwrap().unwrap();
    drop(response);
    let again = post(&stage.customer.api, CHAT, "left", &streamed()).await;
    assert_eq!((again.status, again.header("x-request-id")), (200, Some(id.as_str())), "{}", again.body);
    assert!(is_replay(&again) && again.body.as_bytes().starts_with(&piece), "{}", again.body);
    assert!(again.body.ends_with("data: [DONE]\n\n"), "{}", again.body);
    let records = stage.settled(1).await;
    assert_eq!((&records[0]["cost"], &records[0]["ending"]), (&json!(COST), &json!("completed")));
    assert_eq!(stage.fake.requests().len(), 1);
    // One that leaves before there is any answer, too.
    stage.fake.script(Behaviour::Slow(300));
    let request = stage.customer.api.request(Method::POST, CHAT).header("idempotency-key", "early").json(&streamed());
    assert!(request.timeout(Duration::from_millis(150)).send().await.is_err());
    let again = post(&stage.customer.api, CHAT, "early", &streamed()).await;
    assert!(is_replay(&again) && again.body.ends_with("data: [DONE]\n\n"), "{} {}", again.status, again.body);
    assert_eq!(stage.settled(2).await[0]["ending"], "completed");
    stage.audit().await;
}

#[tokio::test]
async fn what_depends_on_the_moment_is_not_pinned() {
    let stage = Theatre::set().await;
    let admin = stage.server.admin();
    // 402, until credits are bought.
    let poor = admin.customer("free", "0.000001").await;
    // Half a million tokens, which only a model of a million reads.
    let long = json!({"model": "gpt-4.1", "max_tokens": 16384, "messages": [{"role": "user", "content": "long ".repeat(500_000)}]});
    for _ in 0..2 {
        let refused = post(&poor.api, CHAT, "k", &long).await;
        assert!(refused.status == 402 && !is_replay(&refused), "{}", refused.body);
    }
    post(&poor.api, "/v1/credits/purchase", "k", &json!({"amount": "20"})).await.ok();
    assert_eq!(post(&poor.api, CHAT, "k", &long).await.status, 200);
    // 429, until the second is over.
    let hasty = admin.customer("free", "1").await;
    let mut calls = tokio::task::JoinSet::new();
    for n in 0..40 {
        let api = hasty.api.clone();
        calls.spawn(async move { (n, post(&api, CHAT, &format!("hasty-{n}"), &hello()).await.status) });
    }
    let refused: Vec<i32> =
        calls.join_all().await.into_iter().filter(|(_, status)| *status == 429).map(|(n, _)| n).collect();
    assert!(!refused.is_empty());
    admin.advance(2).await;
    assert_eq!(post(&hasty.api, CHAT, &format!("hasty-{}", refused[0]), &hello()).await.status, 200);
    // A provider that is overloaded costs nothing, nor does a stream that broke off.
    for (key, body, behaviour, status) in
        [("down", hello(), Behaviour::Status(503), 503), ("cut", streamed(), Behaviour::CutAfter(3), 200)]
    {
        stage.fake.script(behaviour);
        let failed = post(&stage.customer.api, CHAT, key, &body).await;
        assert_eq!(failed.status, status, "{}", failed.body);
        assert!(failed.body.contains("error") && !failed.body.contains("[DONE]"), "{}", failed.body);
        let retried = post(&stage.customer.api, CHAT, key, &body).await;
        assert!(retried.status == 200 && !is_replay(&retried), "{}", retried.body);
        assert_same(&retried, &post(&stage.customer.api, CHAT, key, &body).await);
    }
    // A refusal of what was sent stays as it is.
    let wrong = json!({"model": "gpt-4o-mini", "messages": []});
    let refused = post(&stage.customer.api, CHAT, "wrong", &wrong).await;
    assert_eq!(refused.status, 400);
    assert_same(&refused, &post(&stage.customer.api, CHAT, "wrong", &wrong).await);
    stage.audit().await;
}

#[tokio::test]
async fn a_503_is_not_pinned_and_its_retry_is_charged_once() {
    let stage = Theatre::set().await;
    let admin = stage.server.admin();
    let (mut keys, mut refused) = (0, 0);
    let deadline = Instant::now() + Duration::from_mins(1);
    while refused == 0 {
        assert!(Instant::now() < deadline, "nothing was refused");
        let mut calls = tokio::task::JoinSet::new();
        for _ in 0..20 {
            let (api, key) = (stage.customer.api.clone(), format!("k{keys}"));
            keys += 1;
            calls.spawn(async move { (post(&api, CHAT, &key, &hello()).await.status, key) });
        }
        let faults = async {
            for _ in 0..5 {
                admin.0.post("/admin/v1/faults", &json!({"account": stage.customer.id})).await.ok();
            }
        };
        let (answers, ()) = tokio::join!(calls.join_all(), faults);
        for (status, key) in answers {
            if status == 200 {
                continue;
            }
            refused += 1;
            // What was charged though its answer was a 503 is told as lost; everything else runs.
            loop {
                let again = stage.chat(&key).await;
                if again.status == 200 {
                    break;
                }
                let code = again.json()["code"].clone();
                if code == "answer_lost" {
                    break;
                }
                assert!(code == "idempotency_in_progress" || again.status == 503, "{}", again.body);
                assert!(Instant::now() < deadline, "{}\n{}", again.body, stage.server.logs());
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
    let deadline = Instant::now() + Duration::from_secs(20);
    while admin.audit().await["open_holds"] != 0 {
        assert!(Instant::now() < deadline, "holds are left");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(charged(&stage.customer.api).await, keys, "each key was charged once");
    stage.audit().await;
}

#[tokio::test]
async fn a_key_with_limits_gets_no_answer_it_could_not_have_asked_for() {
    let stage = Theatre::set().await;
    let made = post(&stage.customer.api, "/v1/keys", "k", &json!({"name": "secret"})).await;
    assert_eq!(made.status, 200, "{}", made.body);
    assert_same(&made, &post(&stage.customer.api, "/v1/keys", "k", &json!({"name": "secret"})).await);
    let limited =
        post(&stage.customer.api, "/v1/keys", "limited", &json!({"name": "small", "limits": {"day": "1"}})).await.ok();
    let limited = stage.server.api(limited["key"].as_str().unwrap());
    let refused = post(&limited, "/v1/keys", "k", &json!({"name": "secret"})).await;
    assert_eq!(refused.status, 403, "{}", refused.body);
    let first = stage.chat("chat").await;
    let own = post(&limited, CHAT, "chat", &hello()).await;
    assert!(own.status == 200 && !is_replay(&own), "{}", own.body);
    assert_same(&own, &post(&limited, CHAT, "chat", &hello()).await);
    assert_same(&first, &stage.chat("chat").await);
    assert_eq!(stage.fake.requests().len(), 2);
    stage.audit().await;
}

/// How many requests were charged.
async fn charged(api: &Api) -> usize {
    let (mut count, mut path) = (0, "/v1/requests?limit=100".to_owned());
    loop {
        let page = api.get(&path).await.ok();
        let data = page["data"].as_array().unwrap();
        count += data.iter().filter(|record| record["cost"] != "0.00").count();
        let Some(next) = page["next_cursor"].as_str() else { return count };
        path = format!("/v1/requests?limit=100&cursor={next}");
    }
}

#[tokio::test]
async fn a_key_is_free_again_after_a_day() {
    let stage = Theatre::set().await;
    let first = stage.chat("k").await;
    stage.server.admin().advance(DAY - 60).await;
    assert_same(&first, &stage.chat("k").await);
    stage.server.admin().advance(61).await;
    let anew = post(&stage.customer.api, CHAT, "k", &streamed()).await;
    assert!(anew.status == 200 && !is_replay(&anew), "{}", anew.body);
    assert_same(&anew, &post(&stage.customer.api, CHAT, "k", &streamed()).await);
    assert_eq!(stage.settled(2).await.len(), stage.fake.requests().len());
    stage.audit().await;
}

/// Sends a slow stream under a key, reads until a word has come, and kills the gateway.
async fn killed_after(stage: &mut Theatre, key: &str, ms: u64, word: &str) -> String {
    stage.fake.script(Behaviour::Slow(ms));
    let request = stage.customer.api.request(Method::POST, CHAT).header("idempotency-key", key).json(&streamed());
    let mut response = request.send().await.unwrap();
    let id = response.headers()["x-request-id"].to_str().unwrap().to_owned();
    let mut seen = String::new();
    while !seen.contains(word) {
        seen.push_str(&String::from_utf8_lossy(&response.chunk().await.unwrap().unwrap()));
    }
    stage.server.kill_nine();
    stage.restart().await;
    id
}

#[tokio::test]
async fn after_kill_nine_a_retry_runs_what_was_not_charged_and_never_what_was() {
    let mut stage = Theatre::set().await;
    // What was read to its end is kept, however soon after it the process dies.
    for body in [hello(), streamed()] {
        let (key, kept) = (format!("kept {}", body["stream"]), body);
        let first = post(&stage.customer.api, CHAT, &key, &kept).await;
        stage.server.kill_nine();
        stage.restart().await;
        assert_same(&first, &post(&stage.customer.api, CHAT, &key, &kept).await);
    }
    killed_after(&mut stage, "young", 50, "Hello").await;
    // It had no checkpoint: written off, so it runs.
    let again = post(&stage.customer.api, CHAT, "young", &streamed()).await;
    assert!(again.status == 200 && !is_replay(&again), "{}", again.body);
    assert_same(&again, &post(&stage.customer.api, CHAT, "young", &streamed()).await);
    let endings = |records: &[Value]| -> Vec<Value> { records.iter().map(|record| record["ending"].clone()).collect() };
    assert_eq!(endings(&stage.settled(4).await), ["completed", "written_off", "completed", "completed"]);
    // It had one: charged, so it does not run.
    let id = killed_after(&mut stage, "old", 600, "provider").await;
    let calls = stage.fake.requests().len();
    for _ in 0..2 {
        let lost = post(&stage.customer.api, CHAT, "old", &streamed()).await;
        assert_refused(&lost, 409, "answer_lost");
        assert_eq!(lost.json()["original_request_id"], id.as_str());
        let record = stage.customer.api.get(&format!("/v1/requests/{id}")).await.ok();
        assert_eq!((&record["ending"], &record["cost"]), (&json!("recovered"), &lost.json()["amount"]));
        assert_ne!(record["cost"], "0.00");
    }
    assert_refused(&stage.chat("old").await, 409, "idempotency_key_reused");
    assert_eq!(stage.fake.requests().len(), calls);
    stage.settled(5).await;
    stage.audit().await;
}

#[tokio::test]
async fn keys_that_are_retried_over_kill_nines_are_charged_once_each() {
    let mut stage = Theatre::set().await;
    let (mut chats, mut bought) = (0, 0);
    for round in 0..6 {
        let keys: Vec<String> = (0..12).map(|n| format!("{round}-{n}")).collect();
        let mut calls = tokio::task::JoinSet::new();
        for (n, key) in keys.iter().enumerate() {
            let (api, key) = (stage.customer.api.clone(), key.clone());
            calls.spawn(async move { send(&api, n, &key).await.ok().map(|response| response.status().as_u16()) });
        }
        for _ in 0..round * 2 {
            calls.join_next().await;
        }
        stage.server.kill_nine();
        calls.shutdown().await;
        stage.restart().await;
        for (n, key) in keys.iter().enumerate() {
            let deadline = Instant::now() + Duration::from_secs(20);
            loop {
                let response = send(&stage.customer.api, n, key).await.unwrap();
                let (status, text) = (response.status().as_u16(), response.text().await.unwrap());
                if status == 200 || text.contains("answer_lost") {
                    break;
                }
                assert!(text.contains("idempotency_in_progress") || status == 503, "{status} {text}");
                assert!(Instant::now() < deadline, "{text}\n{}", stage.server.logs());
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            if is_purchase(n) { bought += 1 } else { chats += 1 }
        }
        assert_eq!(stage.purchases().await, bought, "round {round}: a card was charged twice, or not");
        assert_eq!(charged(&stage.customer.api).await, chats, "round {round}: a request was charged twice, or not");
    }
    stage.audit().await;
}

const fn is_purchase(n: usize) -> bool {
    n.is_multiple_of(4)
}

async fn send(api: &Api, n: usize, key: &str) -> reqwest::Result<reqwest::Response> {
    let (path, body) = if is_purchase(n) { ("/v1/credits/purchase", json!({"amount": "1"})) } else { (CHAT, hello()) };
    api.request(Method::POST, path).header("idempotency-key", key).json(&body).send().await
}

#[tokio::test]
async fn a_purchase_under_one_key_charges_the_card_once() {
    let stage = Theatre::set().await;
    let mut calls = tokio::task::JoinSet::new();
    for _ in 0..20 {
        let api = stage.customer.api.clone();
        calls.spawn(async move { post(&api, "/v1/credits/purchase", "buy", &json!({"amount": "10"})).await });
    }
    let answers = calls.join_all().await;
    assert_eq!(answers.iter().filter(|answer| !is_replay(answer)).count(), 1);
    let ids: HashSet<_> = answers.iter().map(|answer| answer.ok()["payment"]["id"].to_string()).collect();
    assert_eq!((ids.len(), stage.purchases().await), (1, 1));
    let more = post(&stage.customer.api, "/v1/credits/purchase", "buy", &json!({"amount": "11"})).await;
    assert_refused(&more, 409, "idempotency_key_reused");
    let declined = json!({"amount": "10", "payment_method": "pm_card_visa_chargeDeclined"});
    let first = post(&stage.customer.api, "/v1/credits/purchase", "declined", &declined).await;
    assert_refused(&first, 422, "payment_declined");
    assert_same(&first, &post(&stage.customer.api, "/v1/credits/purchase", "declined", &declined).await);
    post(&stage.customer.api, "/v1/credits/purchase", "buy more", &json!({"amount": "10"})).await.ok();
    assert_eq!(stage.purchases().await, 2);
    stage.audit().await;
}

#[tokio::test]
async fn what_an_operator_makes_twice_under_one_key_is_there_once_and_its_secret_is_not_stored() {
    let mut stage = Theatre::set().await;
    let api = stage.server.admin().0;
    let account = json!({"email": "ada@example.com", "plan": "free"});
    let first = post(&api, "/admin/v1/accounts", "k", &account).await;
    assert_same(&first, &post(&api, "/admin/v1/accounts", "k", &account).await);
    let id = first.ok()["id"].as_str().unwrap().to_owned();
    let path = format!("/admin/v1/accounts/{id}/keys");
    let made = post(&api, &path, "k", &json!({"name": "shown once"})).await;
    assert_same(&made, &post(&api, &path, "k", &json!({"name": "shown once"})).await);
    let path = format!("/admin/v1/accounts/{id}/grants");
    let grant = json!({"source": "promo", "amount": "2"});
    let granted = post(&api, &path, "k", &grant).await;
    assert_same(&granted, &post(&api, &path, "k", &grant).await);
    let seen = api.get(&format!("/admin/v1/accounts/{id}")).await.ok();
    assert_eq!(seen["keys"].as_array().unwrap().len(), 1);
    assert_eq!(seen["balance"]["available"], "3.00", "{seen}");
    let secret = made.ok()["key"].as_str().unwrap().to_owned();
    assert_eq!(stage.server.api(&secret).get("/v1/balance").await.status, 200);
    // Nobody else gets at it.
    let stranger = post(&stage.customer.api, "/admin/v1/accounts", "k", &account).await;
    assert_eq!(stranger.status, 401, "{}", stranger.body);
    assert!(stage.server.stop().await.success());
    let folder = stage.server.folder().join("data");
    let files: Vec<_> = std::fs::read_dir(folder).into_iter().flatten().map(|file| file.unwrap().path()).collect();
    let on_postgres = std::env::var("FAREBOX_TEST_DATABASE").is_ok_and(|name| name == "postgres");
    assert!(on_postgres || files.iter().any(|file| file.ends_with("farebox.db")), "{files:?}");
    for file in files {
        let bytes = std::fs::read(&file).unwrap();
        let needle = &secret.as_bytes()[16..];
        assert!(!bytes.windows(needle.len()).any(|window| window == needle), "the secret lies in {}", file.display());
    }
    stage.restart().await;
    let path = format!("/admin/v1/accounts/{id}/keys");
    assert_same(&made, &post(&stage.server.admin().0, &path, "k", &json!({"name": "shown once"})).await);
    stage.audit().await;
}

#[tokio::test]
async fn a_bad_key_is_400_and_named_and_nothing_runs() {
    let stage = Theatre::set().await;
    let long = "k".repeat(10_000);
    for (path, native) in [(CHAT, false), ("/v1/credits/purchase", true)] {
        for bad in [b"".as_slice(), b"\"\"", b"\"open", b"a\tb", b"k\xc3\xa9y", long.as_bytes()] {
            let request = stage.customer.api.request(Method::POST, path).json(&hello());
            let refused = answer(request.header("idempotency-key", HeaderValue::from_bytes(bad).unwrap())).await;
            assert_refused(&refused, 400, "invalid_request");
            let body = refused.json();
            let named = if native { &body["field"] } else { &body["error"]["param"] };
            assert_eq!(named, "idempotency-key", "{}", refused.body);
        }
        let twice = stage.customer.api.request(Method::POST, path).header("idempotency-key", "a");
        assert_refused(&answer(twice.header("idempotency-key", "b").json(&hello())).await, 400, "invalid_request");
    }
    // What no client library sends.
    let mut raw = TcpStream::connect(stage.server.url().trim_start_matches("http://")).unwrap();
    raw.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    raw.write_all(b"POST /v1/quote HTTP/1.1\r\nhost: x\r\nidempotency-key: a\x01b\r\ncontent-length: 2\r\n\r\n{}")
        .unwrap();
    let mut line = [0; 12];
    raw.read_exact(&mut line).unwrap();
    assert_eq!(&line, b"HTTP/1.1 400");
    let nobody = post(&stage.server.api("fb_nobody"), CHAT, "k", &hello()).await;
    assert_eq!(nobody.status, 401);
    let large = post(&stage.customer.api, CHAT, "k", &json!({"messages": "x".repeat(11 << 20)})).await;
    assert_eq!(large.status, 413);
    assert_eq!(stage.customer.api.get("/v1/balance").await.ok()["available"], "10.00");
    assert_eq!(stage.fake.requests().len(), 0);
    stage.audit().await;
}

#[tokio::test]
async fn an_answer_too_large_to_keep_is_sent_whole_and_then_lost() {
    let stage = Theatre::set().await;
    stage.fake.script(Behaviour::Long(5 << 20));
    let first = stage.chat("k").await;
    assert!(first.status == 200 && first.body.len() > 5 << 20, "{}", first.status);
    for _ in 0..2 {
        let lost = stage.chat("k").await;
        assert_refused(&lost, 409, "answer_lost");
        let body = lost.json();
        assert_eq!(body["original_request_id"], first.header("x-request-id").unwrap());
        assert_eq!((&body["made"], &body["amount"]), (&json!("request"), &json!(COST)));
        assert!(body["message"].as_str().unwrap().contains("too large"), "{body}");
    }
    assert_eq!((stage.settled(1).await.len(), stage.fake.requests().len()), (1, 1));
    stage.audit().await;
}

#[tokio::test]
async fn with_another_operators_token_an_answer_is_lost_and_nothing_is_charged_again() {
    let fake = FakeOpenAi::start();
    let folder = temporary("idempotency");
    std::fs::create_dir_all(&folder).unwrap();
    let url = match std::env::var("FAREBOX_TEST_DATABASE").as_deref() {
        Ok("postgres") => postgres::fresh_database(),
        _ => None,
    };
    let url = url.unwrap_or_else(|| format!("sqlite://{}/ledger.db", folder.display()));
    let options = Options::default().on(Database::At(url)).calling(fake.url());
    let mut first = Server::start(options.clone()).await;
    let customer = first.admin().customer("payg", "5").await;
    assert_eq!(post(&customer.api, CHAT, "k", &hello()).await.status, 200);
    assert!(first.stop().await.success());
    let second = Server::start(options.set("FAREBOX_ADMIN_TOKEN", "another-token-of-the-tests")).await;
    let api = second.api(&customer.key);
    let lost = post(&api, CHAT, "k", &hello()).await;
    assert_refused(&lost, 409, "answer_lost");
    assert_eq!(lost.json()["amount"], COST);
    assert_refused(&post(&api, CHAT, "k", &streamed()).await, 409, "idempotency_key_reused");
    assert_eq!(fake.requests().len(), 1);
    assert_eq!(charged(&api).await, 1);
    std::fs::remove_dir_all(&folder).unwrap();
}

/// The rows themselves.
async fn rows(url: &str) {
    let ledger = Ledger::open(url, &Opening::default()).await.unwrap();
    let slot = Slot { scope: Uuid::now_v7(), key: [1; 32] };
    let id = |n: u128| RequestId(Uuid::from_u128(n));
    let start = |request: u128, earlier: u128, now: i64| KeyChange::Start {
        slot,
        fingerprint: [2; 32],
        request_id: id(request),
        earlier: id(earlier),
        now: Timestamp(now),
        expires_at: Timestamp(now + 100),
    };
    let stage = async |now: i64| {
        let row = ledger.stored_key(slot, Timestamp(now)).await.unwrap();
        row.map(|row| (row.request_id.0.as_u128(), row.stage))
    };
    assert_eq!(stage(0).await, None);
    assert_eq!(ledger.change_key(start(1, 0, 0)).await.unwrap(), 1);
    assert_eq!(ledger.change_key(start(2, 0, 99)).await.unwrap(), 0, "the slot is taken");
    assert_eq!(ledger.change_key(start(2, 3, 99)).await.unwrap(), 0, "by another");
    assert_eq!(stage(99).await, Some((1, Stage::Started)));
    assert_eq!(ledger.change_key(start(2, 1, 50)).await.unwrap(), 1, "taken over");
    let keep = |request| KeyChange::Keep { slot, request_id: id(request), answer: vec![9; 3] };
    assert_eq!(ledger.change_key(keep(1)).await.unwrap(), 0, "the row is no longer its own");
    assert_eq!(ledger.change_key(KeyChange::Forget { slot, request_id: id(1) }).await.unwrap(), 0);
    assert_eq!(ledger.change_key(keep(2)).await.unwrap(), 1);
    assert_eq!(ledger.change_key(KeyChange::TooLarge { slot, request_id: id(2) }).await.unwrap(), 0, "it is kept");
    assert_eq!(stage(149).await, Some((2, Stage::Kept(vec![9; 3]))));
    assert_eq!(stage(150).await, None, "expired, though not swept");
    assert_eq!(ledger.change_key(start(3, 0, 150)).await.unwrap(), 1, "an expired slot is free");
    assert_eq!(ledger.change_key(KeyChange::TooLarge { slot, request_id: id(3) }).await.unwrap(), 1);
    assert_eq!(stage(150).await, Some((3, Stage::TooLarge)));
    assert_eq!(ledger.change_key(KeyChange::Forget { slot, request_id: id(3) }).await.unwrap(), 1);
    for n in 0..5_u8 {
        let slot = Slot { key: [n; 32], ..slot };
        let KeyChange::Start { fingerprint, request_id, earlier, .. } = start(4, 0, 0) else { unreachable!() };
        let (now, expires_at) = (Timestamp(0), Timestamp(i64::from(n) + 1));
        let change = KeyChange::Start { slot, fingerprint, request_id, earlier, now, expires_at };
        assert_eq!(ledger.change_key(change).await.unwrap(), 1);
    }
    let sweep = |limit| KeyChange::Sweep { now: Timestamp(4), limit };
    assert_eq!(ledger.change_key(sweep(3)).await.unwrap(), 3, "a small batch");
    assert_eq!(ledger.change_key(sweep(3)).await.unwrap(), 1, "what has not expired stays");
    assert_eq!(ledger.change_key(sweep(3)).await.unwrap(), 0);
    let trace = ledger.trace(AccountId(slot.scope), id(1)).await.unwrap();
    assert_eq!(trace, Trace::Nothing);
    let account = AccountId(Uuid::now_v7());
    ledger.create_account(account, "trace@example.com", billing::plan::Plan::Free, Timestamp(0)).await.unwrap();
    let trace = ledger.trace(AccountId(Uuid::nil()), RequestId(account.0)).await.unwrap();
    assert_eq!(trace, Trace::Done { what: "account", amount: Nanos::ZERO });
}

#[tokio::test]
async fn a_row_belongs_to_its_request_until_it_expires_on_sqlite() {
    let folder = temporary("idempotency");
    std::fs::create_dir_all(&folder).unwrap();
    rows(&format!("sqlite://{}/ledger.db", folder.display())).await;
    std::fs::remove_dir_all(&folder).unwrap();
}

#[tokio::test]
async fn a_row_belongs_to_its_request_until_it_expires_on_postgres() {
    let Some(url) = postgres::fresh_database() else { return };
    rows(&url).await;
}
