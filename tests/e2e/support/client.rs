//! Clients of a gateway under test: an operator's and a user's, both thin, both giving the whole answer back.

use std::time::{Duration, Instant};

use reqwest::header::HeaderMap;
use reqwest::{Client, Method};
use serde_json::{Value, json};

/// A whole answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: String,
}

impl Answer {
    /// The body, which must be JSON.
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {} {:?}", self.status, self.body))
    }

    /// The body of a success; anything else fails the test.
    #[track_caller]
    pub(crate) fn ok(&self) -> Value {
        assert!((200..300).contains(&self.status), "{} {}", self.status, self.body);
        self.json()
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }

    /// The stages of `server-timing` and their milliseconds.
    pub(crate) fn timing(&self) -> (Vec<&str>, Vec<f64>) {
        let stages = self.header("server-timing").unwrap_or_else(|| panic!("no server-timing: {:?}", self.headers));
        stages
            .split(", ")
            .map(|stage| stage.split_once(";dur=").unwrap())
            .map(|(name, duration)| (name, duration.parse::<f64>().unwrap()))
            .unzip()
    }
}

/// Speaks with one bearer, or with none.
#[derive(Clone)]
pub(crate) struct Api {
    http: Client,
    url: String,
    bearer: Option<String>,
}

impl Api {
    pub(crate) fn new(url: &str, bearer: Option<&str>) -> Self {
        // Only the first call installs it; all want the same.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let http = Client::builder().no_proxy().build().unwrap();
        Self { http, url: url.to_owned(), bearer: bearer.map(str::to_owned) }
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        answer(self.request(Method::GET, path)).await
    }

    pub(crate) async fn post(&self, path: &str, body: &Value) -> Answer {
        answer(self.request(Method::POST, path).json(body)).await
    }

    /// A request to finish by hand: other methods, headers, streams.
    pub(crate) fn request(&self, method: Method, path: &str) -> reqwest::RequestBuilder {
        let request = self.http.request(method, format!("{}{path}", self.url));
        match &self.bearer {
            Some(bearer) => request.bearer_auth(bearer),
            None => request,
        }
    }
}

/// Sends a request and reads the whole answer.
pub(crate) async fn answer(request: reqwest::RequestBuilder) -> Answer {
    let response = request.send().await.unwrap();
    let (status, headers) = (response.status().as_u16(), response.headers().clone());
    Answer { status, headers, body: response.text().await.unwrap() }
}

/// An operator.
pub(crate) struct Admin(pub(crate) Api);

/// An account made for a test, and its key.
pub(crate) struct Customer {
    pub(crate) id: String,
    pub(crate) key: String,
    pub(crate) api: Api,
}

impl Customer {
    /// The record of an answer.
    pub(crate) async fn record(&self, answer: &Answer) -> Value {
        let id = answer.header("x-request-id").unwrap();
        self.api.get(&format!("/v1/requests/{id}")).await.ok()
    }

    /// All records, the latest first, once there are so many and nothing is held.
    pub(crate) async fn settled(&self, count: usize) -> Vec<Value> {
        self.settled_within(Duration::from_secs(20), count).await
    }

    /// The same within another time.
    pub(crate) async fn settled_within(&self, longest: Duration, count: usize) -> Vec<Value> {
        let deadline = Instant::now() + longest;
        loop {
            let records = self.api.get("/v1/requests?limit=200").await.ok()["data"].as_array().unwrap().clone();
            let held = self.api.get("/v1/balance").await.ok()["held"].clone();
            if records.len() == count && held == "0.00" {
                return records;
            }
            assert!(Instant::now() < deadline, "{} of {count} settled, {held} held: {records:?}", records.len());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

impl Admin {
    /// A new account's id.
    pub(crate) async fn create_account(&self, plan: &str) -> String {
        let email = format!("{}@example.com", uuid::Uuid::new_v4().simple());
        text(&self.0.post("/admin/v1/accounts", &json!({"email": email, "plan": plan})).await.ok(), "id")
    }

    /// A new key of an account.
    pub(crate) async fn create_key(&self, account: &str) -> String {
        text(&self.0.post(&format!("/admin/v1/accounts/{account}/keys"), &json!({"name": "test"})).await.ok(), "key")
    }

    /// Credits in dollars, such as `"5"`, from a source such as `promo`.
    pub(crate) async fn grant(&self, account: &str, source: &str, amount: &str) -> Value {
        let body = json!({"source": source, "amount": amount, "reason": "test"});
        self.0.post(&format!("/admin/v1/accounts/{account}/grants"), &body).await.ok()
    }

    /// A new account with a key and this many dollars of promotional credits.
    pub(crate) async fn customer(&self, plan: &str, dollars: &str) -> Customer {
        let id = self.create_account(plan).await;
        let key = self.create_key(&id).await;
        if dollars != "0" {
            self.grant(&id, "promo", dollars).await;
        }
        let api = Api { bearer: Some(key.clone()), ..self.0.clone() };
        Customer { id, key, api }
    }

    /// Takes all credits of an account back.
    pub(crate) async fn void_all(&self, customer: &Customer) {
        let grants = customer.api.get("/v1/grants").await.ok()["data"].as_array().unwrap().clone();
        for grant in grants {
            let path = format!("/admin/v1/accounts/{}/grants/{}/void", customer.id, text(&grant, "id"));
            self.0.post(&path, &json!({"reason": "a story"})).await.ok();
        }
    }

    pub(crate) async fn account(&self, account: &str) -> Value {
        self.0.get(&format!("/admin/v1/accounts/{account}")).await.ok()
    }

    pub(crate) async fn actors(&self) -> Value {
        self.0.get("/admin/v1/actors").await.ok()
    }

    /// Moves the test clock forward.
    pub(crate) async fn advance(&self, seconds: u64) {
        self.0.post("/admin/v1/clock", &json!({"advance_seconds": seconds})).await.ok();
    }

    pub(crate) async fn audit(&self) -> Value {
        self.0.post("/admin/v1/audit", &json!({})).await.ok()
    }

    /// Fails the test when the books do not balance.
    pub(crate) async fn assert_audit(&self) {
        let audit = self.audit().await;
        assert_eq!(audit["ok"], true, "{audit:#}");
        assert_eq!(audit["violations"], json!([]), "{audit:#}");
    }
}

#[track_caller]
fn text(body: &Value, field: &str) -> String {
    body[field].as_str().unwrap_or_else(|| panic!("no {field} in {body}")).to_owned()
}
