//! Calls that are made again: a provider's passing trouble is none of the client's, one key's limit is none of the
//! next's, and an answer that began is never asked for twice. Each request is charged once.

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicUsize, Ordering},
};

use serde_json::{Value, json};

use crate::support::{
    client::Customer,
    free_port,
    raw_provider::{RawProvider, answer, broken, serve_one},
    server::{Options, Server},
};

const DONE: &str = r#"{"id":"c","object":"chat.completion","created":1,"model":"gpt-4o-mini","choices":[{"index":0,
    "message":{"role":"assistant","content":"hi"},"finish_reason":"stop"}],"usage":{"prompt_tokens":10,"completion_tokens":5}}"#;
/// (10 x 0.15 + 5 x 0.60) / 1e6 x 1.02.
const COST: &str = "0.00000459";

fn error(code: &str) -> String {
    json!({"error": {"message": "no", "type": code, "code": code}}).to_string()
}

async fn stage(provider: &RawProvider, options: Options) -> (Server, Customer) {
    let options = options.calling(provider.url()).set("FAREBOX_PROVIDERS__OPENAI__RETRIES", "2");
    let server = Server::start(options).await;
    let customer = server.admin().customer("payg", "5").await;
    (server, customer)
}

fn chat(session: &str) -> Value {
    json!({"model": "gpt-4o-mini", "prompt_cache_key": session, "messages": [{"role": "user", "content": "hello"}]})
}

#[tokio::test]
async fn passing_trouble_is_waited_out_and_charged_once() {
    for (status, code) in
        [(429, "rate_limit_exceeded"), (500, "server_error"), (503, "overloaded"), (529, "overloaded")]
    {
        let asked = AtomicUsize::new(0);
        let provider = RawProvider::start(move |_| match asked.fetch_add(1, Ordering::Relaxed) {
            0 | 1 => answer(status, &[], &error(code)),
            _ => answer(200, &[], DONE),
        });
        let (server, customer) = stage(&provider, Options::default()).await;
        let done = customer.api.post("/v1/chat/completions", &chat("s")).await;
        assert_eq!((done.status, provider.asked().len()), (200, 3), "{status}");
        assert_eq!(done.ok()["usage"]["cost"], COST);
        let records = customer.api.get("/v1/requests").await.ok();
        assert_eq!(records["data"].as_array().unwrap().len(), 1);
        server.admin().assert_audit().await;
    }
}

#[tokio::test]
async fn what_is_final_or_may_be_paid_twice_is_asked_once() {
    for (said, status) in [
        (answer(400, &[], &error("invalid_request_error")), 400),
        (answer(429, &[], &error("insufficient_quota")), 502),
        (answer(429, &[("retry-after", "40")], &error("rate_limit_exceeded")), 429),
        // The provider may have worked on it.
        (broken(DONE), 502),
    ] {
        let provider = RawProvider::start(move |_| said.clone());
        let (_server, customer) = stage(&provider, Options::default()).await;
        let done = customer.api.post("/v1/chat/completions", &chat("s")).await;
        assert_eq!((done.status, provider.asked().len()), (status, 1), "{}", done.body);
    }
}

#[tokio::test]
async fn a_session_keeps_its_key_until_that_is_used_up() {
    let (used, full) = (Arc::<Mutex<Vec<String>>>::default(), Arc::<Mutex<Option<String>>>::default());
    let (noted, limited) = (Arc::clone(&used), Arc::clone(&full));
    let provider = RawProvider::start(move |asked| {
        let key = asked.head.lines().find(|line| line.starts_with("authorization")).unwrap_or_default().to_owned();
        noted.lock().unwrap().push(key.clone());
        if limited.lock().unwrap().as_ref() == Some(&key) {
            return answer(429, &[("retry-after", "60")], &error("rate_limit_exceeded"));
        }
        answer(200, &[], DONE)
    });
    let options = Options::default().set("FAREBOX_PROVIDERS__OPENAI__KEYS", "sk-two,sk-three*2");
    let (server, customer) = stage(&provider, options).await;
    let ask = async |session: &str| {
        used.lock().unwrap().clear();
        assert_eq!(customer.api.post("/v1/chat/completions", &chat(session)).await.status, 200);
        used.lock().unwrap().clone()
    };
    let mut seen = Vec::new();
    for session in 0..24 {
        let first = ask(&session.to_string()).await;
        assert_eq!(ask(&session.to_string()).await, first, "a provider's cache belongs to a key");
        seen.extend(first);
    }
    seen.sort();
    seen.dedup();
    assert_eq!(seen.len(), 3, "all keys are used");
    let [key] = &ask("0").await[..] else { panic!() };
    *full.lock().unwrap() = Some(key.clone());
    let two = ask("0").await;
    assert!(two.len() == 2 && two[0] == *key && two[1] != *key, "{two:?}");
    assert!(!server.logs().contains("sk-three"));
    server.admin().assert_audit().await;
}

#[tokio::test]
async fn a_provider_that_is_away_for_a_moment_is_waited_for() {
    // Nobody listens on it yet.
    let port = free_port();
    let options = Options::default()
        .calling(&format!("http://127.0.0.1:{port}/v1"))
        .set("FAREBOX_PROVIDERS__OPENAI__RETRIES", "4");
    let server = Server::start(options).await;
    let customer = server.admin().customer("payg", "5").await;
    std::thread::spawn(move || {
        std::thread::sleep(std::time::Duration::from_millis(500));
        let listener = std::net::TcpListener::bind(("127.0.0.1", port)).unwrap();
        for connection in listener.incoming().map_while(Result::ok) {
            serve_one(connection, &answer(200, &[], DONE));
        }
    });
    let done = customer.api.post("/v1/chat/completions", &chat("s")).await;
    assert_eq!(done.ok()["usage"]["cost"], COST);
    server.admin().assert_audit().await;
}
