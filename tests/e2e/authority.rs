//! What a key may do: every route says which scope it takes, and no key does or sees more than its own.

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{
    client::{Answer, Api, Customer, answer},
    fake_openai::{Behaviour, FakeOpenAi},
    server::{Options, Server},
};

/// Who a route lets in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Takes {
    /// Anyone.
    Nothing,
    /// What the card processor signs.
    Signature,
    /// Any key: what it answers is in inference's answers too, or is the key's own use.
    Key,
    /// A key with this scope.
    Scope(&'static str),
}

use Takes::{Key, Nothing, Scope, Signature};

/// All routes but the operator's.
const ROUTES: &[(&str, &str, Takes)] = &[
    ("GET", "/", Nothing),
    ("POST", "/v1/chat/completions", Scope("inference")),
    ("POST", "/v1/completions", Scope("inference")),
    ("POST", "/v1/embeddings", Scope("inference")),
    ("POST", "/v1/rerank", Scope("inference")),
    ("POST", "/v1/audio/speech", Scope("inference")),
    ("POST", "/v1/audio/transcriptions", Scope("inference")),
    ("POST", "/v1/audio/translations", Scope("inference")),
    ("POST", "/v1/images/generations", Scope("inference")),
    ("POST", "/v1/images/edits", Scope("inference")),
    ("POST", "/v1/images/variations", Scope("inference")),
    ("POST", "/v1/responses", Scope("inference")),
    ("GET", "/v1/responses", Nothing),
    ("GET", "/v1/responses/{id}", Scope("inference")),
    ("DELETE", "/v1/responses/{id}", Scope("inference")),
    ("GET", "/v1/responses/{id}/input_items", Scope("inference")),
    ("POST", "/v1/responses/{id}/cancel", Scope("inference")),
    ("POST", "/v1/conversations", Scope("inference")),
    ("GET", "/v1/conversations/{id}", Scope("inference")),
    ("POST", "/v1/conversations/{id}", Scope("inference")),
    ("DELETE", "/v1/conversations/{id}", Scope("inference")),
    ("GET", "/v1/conversations/{id}/items", Scope("inference")),
    ("POST", "/v1/conversations/{id}/items", Scope("inference")),
    ("GET", "/v1/conversations/{id}/items/{item}", Scope("inference")),
    ("DELETE", "/v1/conversations/{id}/items/{item}", Scope("inference")),
    ("POST", "/v1/messages", Scope("inference")),
    ("POST", "/v2/chat", Scope("inference")),
    ("POST", "/v2/embed", Scope("inference")),
    ("POST", "/v2/rerank", Scope("inference")),
    ("POST", "/v1/messages/count_tokens", Scope("inference")),
    ("POST", "/v1beta/models/{model:.+}:generateContent", Scope("inference")),
    ("POST", "/v1beta/models/{model:.+}:streamGenerateContent", Scope("inference")),
    ("POST", "/v1beta/models/{model:.+}:embedContent", Scope("inference")),
    ("POST", "/v1beta/models/{model:.+}:batchEmbedContents", Scope("inference")),
    ("POST", "/v1beta/models/{model:.+}:countTokens", Scope("inference")),
    ("POST", "/v1/models/{model:.+}:generateContent", Scope("inference")),
    ("POST", "/v1/models/{model:.+}:streamGenerateContent", Scope("inference")),
    ("POST", "/v1/models/{model:.+}:embedContent", Scope("inference")),
    ("POST", "/v1/models/{model:.+}:batchEmbedContents", Scope("inference")),
    ("POST", "/v1/models/{model:.+}:countTokens", Scope("inference")),
    ("GET", "/v1beta/models", Key),
    ("GET", "/v1beta/models/{id:.+}", Key),
    ("POST", "/v1/quote", Scope("inference")),
    ("GET", "/v1/models", Key),
    ("GET", "/v1/models/{id:.+}/status", Key),
    ("GET", "/v1/models/{id:.+}", Key),
    ("GET", "/v1/balance", Key),
    ("GET", "/v1/balance/alerts", Scope("read")),
    ("PUT", "/v1/balance/alerts", Scope("billing")),
    ("PUT", "/v1/keys/{key}/alerts", Scope("keys")),
    ("GET", "/v1/notifications", Scope("read")),
    ("PUT", "/v1/notifications", Scope("read")),
    ("GET", "/v1/calendar.ics", Nothing),
    ("GET", "/v1/grants", Scope("read")),
    ("GET", "/v1/holds", Key),
    ("GET", "/v1/usage", Key),
    ("GET", "/v1/usage.csv", Key),
    ("GET", "/v1/requests", Key),
    ("GET", "/v1/requests/running", Key),
    ("GET", "/v1/requests/refused", Key),
    ("GET", "/v1/requests/{id}", Key),
    ("POST", "/v1/requests/{id}/cancel", Scope("inference")),
    ("GET", "/v1/requests/{id}/receipt", Key),
    ("GET", "/v1/requests/{id}/output", Key),
    ("GET", "/v1/account", Scope("read")),
    ("GET", "/v1/events", Scope("read")),
    ("GET", "/v1/audit-log", Scope("read")),
    ("GET", "/v1/events/stream", Key),
    ("GET", "/v1/status/line", Key),
    ("POST", "/v1/subscription", Scope("billing")),
    ("GET", "/v1/subscription", Scope("read")),
    ("DELETE", "/v1/subscription", Scope("billing")),
    ("GET", "/v1/auto-reload", Scope("read")),
    ("PUT", "/v1/auto-reload", Scope("billing")),
    ("GET", "/v1/auto-scale", Scope("read")),
    ("PUT", "/v1/auto-scale", Scope("billing")),
    ("POST", "/v1/keys", Scope("keys")),
    ("GET", "/v1/keys", Key),
    ("DELETE", "/v1/keys/{key}", Scope("keys")),
    ("POST", "/v1/credits/purchase", Scope("billing")),
    ("GET", "/v1/payments", Scope("read")),
    ("GET", "/v1/payments/{id}", Scope("read")),
    ("GET", "/v1/payments/{id}/receipt", Scope("read")),
    ("POST", "/v1/payments/{id}/authenticate", Scope("billing")),
    ("POST", "/v1/payment-methods", Scope("billing")),
    ("GET", "/v1/payment-methods", Scope("read")),
    ("DELETE", "/v1/payment-methods/{id}", Scope("billing")),
    ("PUT", "/v1/payment-methods/{id}/default", Scope("billing")),
    ("POST", "/v1/webhooks", Scope("billing")),
    ("GET", "/v1/webhooks", Scope("billing")),
    ("GET", "/v1/webhooks/{id}", Scope("billing")),
    ("PUT", "/v1/webhooks/{id}", Scope("billing")),
    ("DELETE", "/v1/webhooks/{id}", Scope("billing")),
    ("POST", "/v1/webhooks/{id}/test", Scope("billing")),
    ("GET", "/v1/webhooks/{id}/deliveries", Scope("billing")),
    ("GET", "/v1/live", Key),
    ("POST", "/webhooks/stripe", Signature),
    ("GET", "/healthz", Nothing),
    ("GET", "/readyz", Nothing),
    ("GET", "/metrics", Nothing),
    ("GET", "/.well-known/jwks.json", Nothing),
    ("GET", "/openapi.json", Nothing),
    ("GET", "/docs", Nothing),
];

/// The methods and paths of the table of routes, as it is written.
fn written() -> Vec<(String, String)> {
    let table = include_str!("../../src/http/routes.rs");
    let table = table.split("fn detached").next().unwrap().to_owned()
        + table.split("fn configure_payments").nth(1).unwrap().split("fn get").next().unwrap();
    let mut routes = Vec::new();
    for service in table.split(".service(").skip(1) {
        let Some((made, rest)) = service.split_once('"') else { continue };
        let path = rest.split('"').next().unwrap().to_owned();
        let by = made.trim().trim_end_matches('(');
        let first =
            [("post", "POST"), ("act", "POST"), ("get", "GET")].into_iter().find(|(name, _)| by.ends_with(name));
        let others =
            ["get", "put", "delete", "post"].into_iter().filter(|name| rest.contains(&format!("web::{name}()")));
        let methods = first.map(|(_, method)| method.to_owned()).into_iter().chain(others.map(str::to_uppercase));
        routes.extend(methods.map(|method| (method, path.clone())));
    }
    routes
}

async fn call(api: &Api, method: &str, path: &str) -> Answer {
    let path = path.replace("{id:.+}", "gpt-4o-mini").replace("{model:.+}", "gpt-4o-mini");
    let path: String = path
        .split('/')
        .map(|part| if part.starts_with('{') { "00000000-0000-0000-0000-000000000000" } else { part })
        .collect::<Vec<_>>()
        .join("/");
    // A stream that is let in does not end.
    let path = path.replace("/v1/events/stream", "/v1/events/stream?topics=none");
    answer(api.request(Method::from_bytes(method.as_bytes()).unwrap(), &path).json(&json!({}))).await
}

async fn stage() -> (FakeOpenAi, Server, Customer) {
    let fake = FakeOpenAi::start();
    let server = Server::start(Options::default().calling(fake.url())).await;
    let customer = server.admin().customer("payg", "5").await;
    (fake, server, customer)
}

async fn key(server: &Server, customer: &Customer, body: Value) -> (String, Api) {
    let made = customer.api.post("/v1/keys", &body).await.ok();
    (made["id"].as_str().unwrap().to_owned(), server.api(made["key"].as_str().unwrap()))
}

#[tokio::test]
async fn every_route_takes_the_authority_it_says() {
    let (_fake, server, customer) = stage().await;
    let mut keys = vec![("no limits", vec!["inference", "read", "billing", "keys"], customer.api.clone())];
    let limited = key(&server, &customer, json!({"limits": {"day": "1"}})).await.1;
    keys.push(("limits", vec!["inference"], limited));
    keys.push(("models", vec!["inference"], key(&server, &customer, json!({"models": ["gpt-4o-mini"]})).await.1));
    for scope in ["inference", "read", "billing", "keys"] {
        keys.push((scope, vec![scope], key(&server, &customer, json!({"scopes": [scope]})).await.1));
    }
    let mut left = written();
    assert!(left.len() > 40, "the table was not read: {left:?}");
    let nobody = server.api("fb_nobody");
    for (method, path, takes) in ROUTES {
        let before = left.len();
        left.retain(|(it, at)| !(it == method && at == path));
        assert_eq!(left.len() + 1, before, "{method} {path} is in the table of routes once");
        for (name, scopes, api) in &keys {
            let said = call(api, method, path).await;
            let refused = said.status == 403 && said.body.contains("\"scope\"");
            let is_let_in = match takes {
                Scope(scope) => scopes.contains(scope),
                Key | Nothing | Signature => true,
            };
            assert_eq!(refused, !is_let_in, "{method} {path} with {name}: {} {}", said.status, said.body);
        }
        if matches!(takes, Scope(_) | Key) {
            let refused = call(&nobody, method, path).await;
            assert_eq!(refused.status, 401, "{method} {path}");
            assert_eq!(refused.header("www-authenticate"), Some("Bearer"), "{method} {path}");
        }
    }
    // The rest is the operator's, and no key's: not of one that may do everything. All at once, as wrong ones soon wait.
    let (_, _, most) = &keys[0];
    let calls = left.iter().map(|(method, path)| async move { (path, call(most, method, path).await) });
    for (path, said) in futures::future::join_all(calls).await {
        assert!(path.starts_with("/admin/v1/"), "{path} does not say what it takes");
        assert!(matches!(said.status, 401 | 429), "{path}: {} {}", said.status, said.body);
    }
}

#[tokio::test]
async fn a_key_sees_its_own_use_alone_unless_it_may_read_all() {
    let (fake, server, customer) = stage().await;
    let (own, limited) = key(&server, &customer, json!({"name": "mine", "limits": {"day": "1"}})).await;
    let reader = key(&server, &customer, json!({"limits": {"day": "1"}, "scopes": ["read"]})).await.1;
    let body = json!({"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "Say hello"}]});
    let theirs = customer.api.post("/v1/chat/completions", &body).await;
    let mine = limited.post("/v1/chat/completions", &body).await;
    assert_eq!((theirs.status, mine.status), (200, 200));
    fake.script(Behaviour::Slow(400));
    let streamed =
        json!({"model": "gpt-4o-mini", "stream": true, "messages": [{"role": "user", "content": "Say hello"}]});
    let mut running = customer.api.request(Method::POST, "/v1/chat/completions").json(&streamed).send().await.unwrap();
    assert!(running.chunk().await.unwrap().is_some());
    for (api, holds, requests) in [(&limited, 0, 1), (&reader, 1, 2), (&customer.api, 1, 2)] {
        assert_eq!(api.get("/v1/holds").await.ok()["open"], holds);
        let listed = api.get("/v1/requests").await.ok();
        assert_eq!(listed["data"].as_array().unwrap().len(), requests, "{listed}");
        assert_eq!(api.get("/v1/usage").await.ok()["total"]["requests"], requests);
        assert_eq!(api.get("/v1/usage?group_by=key").await.ok()["data"].as_array().unwrap().len(), requests);
        assert_eq!(api.get("/v1/usage.csv").await.body.lines().count(), 1 + requests);
        let other = api.get(&format!("/v1/requests/{}", theirs.header("x-request-id").unwrap())).await;
        assert_eq!(other.status, if requests == 1 { 404 } else { 200 });
        assert_eq!(api.get(&format!("/v1/requests/{}", mine.header("x-request-id").unwrap())).await.status, 200);
    }
    for path in ["/v1/usage", "/v1/usage.csv", "/v1/requests"] {
        assert_eq!(limited.get(&format!("{path}?key_id=none")).await.status, 403, "{path}");
        assert_eq!(limited.get(&format!("{path}?key_id={own}")).await.status, 200, "{path}");
    }
    let listed = limited.get("/v1/keys").await.ok();
    let ids: Vec<_> = listed["data"].as_array().unwrap().iter().map(|key| key["id"].clone()).collect();
    assert_eq!(ids, [json!(own)], "{listed}");
    assert_eq!(listed["data"][0]["scopes"], json!(["inference"]));
    assert_eq!(customer.api.get("/v1/keys").await.ok()["data"].as_array().unwrap().len(), 3);
}

#[tokio::test]
async fn a_limited_key_does_not_approve_what_its_owner_buys() {
    let (_fake, server, customer) = stage().await;
    let limited = key(&server, &customer, json!({"limits": {"day": "1"}})).await.1;
    let body = json!({"amount": "10", "payment_method": "pm_card_authenticationRequired"});
    let waits = customer.api.post("/v1/credits/purchase", &body).await;
    assert_eq!(waits.status, 202, "{}", waits.body);
    let path = format!("/v1/payments/{}/authenticate", waits.json()["payment"]["id"].as_str().unwrap());
    let approve = json!({"verdict": "approve"});
    assert_eq!(limited.post(&path, &approve).await.status, 403);
    assert_eq!(customer.api.post(&path, &approve).await.ok()["status"], "succeeded");
    // Nor does it have permits bought that its owner did not say are to be.
    let scaled = json!({"model": "gpt-4o-mini", "autoScale": true, "messages": [{"role": "user", "content": "Hi"}]});
    let refused = limited.post("/v1/chat/completions", &scaled).await;
    assert_eq!((refused.status, &refused.json()["scope"]), (403, &json!("billing")), "{}", refused.body);
    assert_eq!(customer.api.post("/v1/chat/completions", &scaled).await.status, 200);
}

#[tokio::test]
async fn no_key_opens_one_that_may_do_more_than_itself() {
    let (_fake, server, customer) = stage().await;
    for (body, field) in [
        (json!({"scopes": []}), "scopes"),
        (json!({"scopes": ["read", "root"]}), "scopes[1]"),
        (json!({"scopes": ["keys"], "limits": {"day": "1"}}), "scopes"),
        (json!({"scopes": ["keys"], "models": ["gpt-4o-mini"]}), "scopes"),
    ] {
        let refused = customer.api.post("/v1/keys", &body).await;
        assert_eq!((refused.status, &refused.json()["field"]), (400, &json!(field)), "{}", refused.body);
    }
    let opener = json!({"scopes": ["keys", "inference"], "expires_at": "2099-01-01"});
    let opener = key(&server, &customer, opener).await.1;
    let beyond = opener.post("/v1/keys", &json!({"scopes": ["billing"]})).await;
    assert_eq!((beyond.status, &beyond.json()["scope"]), (403, &json!("billing")), "{}", beyond.body);
    let longer = opener.post("/v1/keys", &json!({"expires_at": "2099-01-02"})).await;
    assert_eq!((longer.status, &longer.json()["field"]), (400, &json!("expires_at")), "{}", longer.body);
    let usual = opener.post("/v1/keys", &json!({})).await.ok();
    let listed = customer.api.get("/v1/keys").await.ok();
    let made = listed["data"].as_array().unwrap().iter().find(|key| key["id"] == usual["id"]).unwrap().clone();
    assert_eq!(made["scopes"], json!(["inference", "keys"]));
    assert!(made["expires_at"].as_str().unwrap().starts_with("2099-01-01"), "{made}");
}

#[tokio::test]
async fn the_document_says_of_each_route_what_it_takes() {
    let server = Server::start(Options::default()).await;
    let document = server.get("/openapi.json").await.ok();
    for (method, path, takes) in ROUTES {
        let operation = &document["paths"][path.replace(":.+}", "}")][method.to_lowercase()];
        let said = operation["security"][0]["key"].clone();
        let expected = match takes {
            Nothing | Signature => Value::Null,
            Key => json!([]),
            Scope(scope) => json!([scope]),
        };
        assert!(operation.is_object(), "{method} {path}");
        assert_eq!(said, expected, "{method} {path}");
    }
}
