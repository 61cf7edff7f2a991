//! Whose refusal it is: what a provider says to the operator's key, to the caller's own, and of a request; and how each is
//! told to clients that act by themselves.

use serde_json::{Value, json};

use crate::support::{
    client::{Answer, Customer, answer as send},
    raw_provider::{RawProvider, answer},
    server::{Options, Server},
    socket::Socket,
};

const KEY: &str = "sk-operator-0123456789abcdefwxyz";

/// A provider that refuses as `user` says, `STATUS HEADER VALUE`, and repeats secrets when it does.
fn refusing() -> RawProvider {
    RawProvider::start(|asked| {
        let user = asked.body["user"].as_str().unwrap().to_owned();
        let mut words = user.splitn(3, ' ');
        let status: u16 = words.next().unwrap().parse().unwrap();
        let header = words.next().zip(words.next());
        let key = asked.head.lines().find_map(|line| line.strip_prefix("authorization: Bearer ")).unwrap();
        let (start, end) = (&key[..7], &key[key.len() - 4..]);
        let message =
            format!("Refused: {key}, that is {start}********{end} or sk-...{end}, of org-Acme123, project proj_Acme.");
        let error = json!({"error": {"message": message, "type": "some_error", "param": "user", "code": "some_code"}});
        answer(status, &header.into_iter().collect::<Vec<_>>(), &error.to_string())
    })
}

async fn ask(customer: &Customer, user: &str, own_key: Option<&str>) -> Answer {
    let body = json!({"model": "gpt-4o-mini", "user": user, "messages": [{"role": "user", "content": "Hi"}]});
    let mut request = customer.api.request(reqwest::Method::POST, "/v1/chat/completions").json(&body);
    if let Some(key) = own_key {
        request = request.header("provider-key", key);
    }
    send(request).await
}

async fn stage(provider: &RawProvider, options: Options) -> (Server, Customer) {
    let options = options.calling(provider.url()).set("FAREBOX_PROVIDERS__OPENAI__API_KEY", KEY);
    let server = Server::start(options).await;
    let customer = server.admin().customer("payg", "5").await;
    (server, customer)
}

fn assert_no_secret(text: &str) {
    for secret in [KEY, "sk-operator", "wxyz", "Acme", "sk-own"] {
        assert!(!text.contains(secret), "{secret} is shown: {text}");
    }
}

#[tokio::test]
async fn what_a_provider_says_to_the_operators_key_is_not_the_callers_to_read() {
    let provider = refusing();
    let (server, customer) = stage(&provider, Options::default()).await;
    for status in [401, 402, 403] {
        let told = ask(&customer, &status.to_string(), None).await;
        assert_eq!((told.status, &told.json()["code"]), (502, &json!("provider_error")), "{}", told.body);
        assert!(told.body.contains("refused this gateway's") && !told.body.contains("Refused:"), "{}", told.body);
        assert_eq!(told.header("x-should-retry"), Some("false"), "it lasts until the operator acts");
        assert_eq!(told.header("retry-after"), Some("60"));
        assert_no_secret(&told.body);
        let own = ask(&customer, &status.to_string(), Some("sk-own-9876543210")).await;
        let said = own.json();
        assert_eq!((own.status, &said["status"]), (status, &json!(status)), "{}", own.body);
        assert!(said["message"].as_str().unwrap().contains("Refused: "), "{}", own.body);
        assert_eq!(own.header("x-should-retry"), Some("false"));
        assert_no_secret(&own.body);
    }
    let own = ask(&customer, "401", Some("sk-own-9876543210")).await.json();
    assert_eq!(
        (&own["error"]["type"], &own["error"]["code"]),
        (&json!("authentication_error"), &json!("some_code")),
        "{own}"
    );
    for (status, told) in
        [(400, 400), (404, 404), (413, 413), (422, 422), (429, 429), (500, 502), (503, 503), (529, 529)]
    {
        for own_key in [None, Some("sk-own-9876543210")] {
            let answer = ask(&customer, &status.to_string(), own_key).await;
            assert_eq!(answer.status, told, "{}", answer.body);
            assert!(
                answer.body.contains("Refused: [hidden], that is [hidden] or [hidden], of [hidden]"),
                "{}",
                answer.body
            );
            assert_no_secret(&answer.body);
            let error = answer.json()["error"].clone();
            let is_about_request = told < 500;
            assert_eq!(error["param"] == "user" && error["code"] == "some_code", is_about_request, "{}", answer.body);
        }
    }
    server.says("does not serve this gateway").await;
    assert_no_secret(&server.logs());
    server.admin().assert_audit().await;
}

#[tokio::test]
async fn a_provider_that_is_busy_says_when_to_come_back_in_whole_seconds() {
    let provider = refusing();
    let (server, customer) = stage(&provider, Options::default()).await;
    for (user, status, wait) in [
        ("429 retry-after 20", 429, "20"),
        ("429 retry-after 0.8", 429, "1"),
        ("429 retry-after-ms 1500", 429, "2"),
        ("429 retry-after Sat, 01 Jan 2000 00:00:00 GMT", 429, "1"),
        ("429 retry-after Sat, 01 Jan 2050 00:00:00 GMT", 429, "120"),
        ("429 x-ratelimit-reset-tokens 1m2s", 429, "62"),
        ("429 retry-after soon", 429, "5"),
        ("429", 429, "5"),
        ("529 retry-after 3", 529, "3"),
        ("503", 503, "5"),
        ("500 retry-after 7", 502, "7"),
        ("500", 502, "2"),
        ("504", 504, "2"),
        ("408", 504, "2"),
    ] {
        let told = ask(&customer, user, None).await;
        assert_eq!((told.status, told.header("retry-after")), (status, Some(wait)), "{user}: {}", told.body);
        assert_eq!(
            (told.header("x-should-retry"), &told.json()["retry_after"]),
            (None, &json!(wait.parse::<u64>().unwrap())),
            "{user}"
        );
    }
    assert_eq!(ask(&customer, "504", None).await.json()["stage"], "provider");
    let limited = ask(&customer, "429", None).await.json();
    assert_eq!(
        (&limited["error"]["type"], &limited["error"]["code"]),
        (&json!("rate_limit_error"), &json!("some_code"))
    );
    server.admin().assert_audit().await;
}

/// A refusal for want of credits, as a client with these headers is told it.
async fn broke(customer: &Customer, headers: &[(&str, &str)]) -> Answer {
    let body = json!({"model": "gpt-4.1", "max_tokens": 16_384, "messages": [{"role": "user", "content": "long ".repeat(500_000)}]});
    let request = customer.api.request(reqwest::Method::POST, "/v1/chat/completions").json(&body);
    send(headers.iter().fold(request, |request, (name, value)| request.header(*name, *value))).await
}

#[tokio::test]
async fn the_form_of_a_402_follows_its_client_or_the_settings() {
    const LITERAL: &str = r#"{"status":402,"error":"Payment Required","message":"Insufficient credits. Please add credits to continue.","#;
    let is_object = |answer: &Answer| {
        assert_eq!(answer.status, 402, "{}", answer.body);
        let error = answer.json()["error"].clone();
        assert_eq!(answer.body.starts_with(LITERAL), error.is_string(), "{}", answer.body);
        error["message"] == "Insufficient credits. Please add credits to continue."
    };
    let provider = refusing();
    for (form, plain, sdk) in [("auto", false, true), ("literal", false, false), ("object", true, true)] {
        let (server, _) = stage(&provider, Options::default().set("FAREBOX_HTTP__ERROR_FORM", form)).await;
        let poor = server.admin().customer("free", "0.000001").await;
        assert_eq!(is_object(&broke(&poor, &[]).await), plain, "{form}");
        for header in
            [("x-stainless-lang", "js"), ("originator", "codex_exec"), ("user-agent", "ai/5.0 ai-sdk/openai/2.0")]
        {
            assert_eq!(is_object(&broke(&poor, &[header]).await), sdk, "{form} {header:?}");
        }
        assert_eq!(broke(&poor, &[]).await.header("x-should-retry"), Some("false"));
    }
}

#[tokio::test]
async fn a_key_is_taken_from_x_api_key_and_two_that_differ_are_refused() {
    let provider = refusing();
    let (server, customer) = stage(&provider, Options::default()).await;
    let other = server.admin().customer("payg", "5").await;
    let get = |path: &str, headers: Vec<(&'static str, String)>| {
        let request = reqwest::Client::builder().no_proxy().build().unwrap().get(format!("{}{path}", server.url()));
        send(headers.into_iter().fold(request, |request, (name, value)| request.header(name, value)))
    };
    let (mine, theirs) = (customer.key.clone(), other.key.clone());
    for path in ["/v1/balance", "/v1/models", "/v1/keys", "/v1/requests"] {
        get(path, vec![("x-api-key", mine.clone())]).await.ok();
        get(path, vec![("x-api-key", mine.clone()), ("authorization", format!("Bearer {mine}"))]).await.ok();
        let refused = get(path, vec![("x-api-key", mine.clone()), ("authorization", format!("Bearer {theirs}"))]).await;
        assert_eq!((refused.status, refused.header("x-should-retry")), (401, Some("false")), "{}", refused.body);
    }
    let operator = get("/admin/v1/actors", vec![("x-api-key", Server::admin_token().to_owned())]).await;
    assert_eq!((operator.status, operator.header("x-should-retry")), (401, Some("false")), "{}", operator.body);
    let mut socket = Socket::open_with(server.url(), "x-api-key", &mine).await;
    socket.send(&json!({"type": "ping"})).await;
    let pong: Value = socket.next_of("pong").await;
    assert_eq!(pong["type"], "pong");
}
