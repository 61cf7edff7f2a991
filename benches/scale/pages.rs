//! How long pages take for the owner of a million ended requests, and for the operator, one visit after another.

use std::{
    path::Path,
    thread,
    time::{Duration, Instant},
};

use reqwest::{Client, Method, RequestBuilder, StatusCode, redirect::Policy};
use rusqlite::{Connection, OpenFlags};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::{made, measured};

/// The visits to a page.
const VISITS: usize = 100;

/// Somebody who visits: the headers to send.
struct Visitor<'a> {
    client: &'a Client,
    url: &'a str,
    header: (&'static str, String),
}

impl Visitor<'_> {
    fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let (name, value) = &self.header;
        self.client.request(method, format!("{}{path}", self.url)).header(*name, value)
    }

    /// Visits a page, and says how long it took.
    async fn visit(&self, path: &str) {
        let (mut took, mut bytes) = (Vec::with_capacity(VISITS), 0);
        for _ in 0..VISITS {
            let began = Instant::now();
            let answer = self.request(Method::GET, path).send().await.unwrap();
            let status = answer.status();
            let body = answer.bytes().await.unwrap();
            took.push(began.elapsed());
            assert_eq!(status, StatusCode::OK, "{path}: {}", String::from_utf8_lossy(&body));
            bytes = body.len();
        }
        took.sort_unstable();
        let ms = |part: usize| took[(VISITS - 1) * part / 100].as_secs_f64() * 1_000.0;
        println!(
            "  {:6.1} ms p50, {:6.1} ms p95, {:6.1} ms the slowest, {:4} kB  {path}",
            ms(50),
            ms(95),
            ms(100),
            bytes / 1_000
        );
    }
}

/// Somebody who signs in to pages.
async fn signed_in<'a>(client: &'a Client, url: &'a str, page: &str, field: (&str, &str)) -> Visitor<'a> {
    let answer = client.post(format!("{url}{page}")).form(&[field]).send().await.unwrap();
    assert_eq!(answer.status(), StatusCode::SEE_OTHER, "{page}");
    let cookie = answer.headers()["set-cookie"].to_str().unwrap().split(';').next().unwrap().to_owned();
    Visitor { client, url, header: ("cookie", cookie) }
}

/// Visits each page of a ledger.
pub(crate) fn visit(folder: &Path) {
    let tables = Connection::open_with_flags(made::file(folder), OpenFlags::SQLITE_OPEN_READ_ONLY).unwrap();
    let requests: i64 = tables.query_row("SELECT COUNT(*) FROM usage_record", [], |row| row.get(0)).unwrap();
    let account: Vec<u8> = tables.query_row("SELECT id FROM account LIMIT 1", [], |row| row.get(0)).unwrap();
    let account = Uuid::from_slice(&account).unwrap();
    drop(tables);
    let mut serving = measured::serve(folder);
    let url = format!("http://{}", measured::address(&mut serving));
    while !measured::is_ready(&url["http://".len()..]) {
        thread::sleep(measured::LOOK);
    }
    println!("pages, with {requests} ended requests of one account");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(visited(&url, account));
    serving.kill().unwrap();
    serving.wait().unwrap();
}

async fn visited(url: &str, account: Uuid) {
    rustls::crypto::ring::default_provider().install_default().unwrap();
    let client = Client::builder().redirect(Policy::none()).timeout(Duration::from_mins(1)).build().unwrap();
    let operator = Visitor { client: &client, url, header: ("authorization", format!("Bearer {}", measured::TOKEN)) };
    let made = operator.request(Method::POST, &format!("/admin/v1/accounts/{account}/keys"));
    let made: Value = made.json(&json!({"name": "pages"})).send().await.unwrap().json().await.unwrap();
    let key = made["key"].as_str().unwrap_or_else(|| panic!("{made}"));
    let caller = Visitor { client: &client, url, header: ("authorization", format!("Bearer {key}")) };
    let listed = caller.request(Method::GET, "/v1/requests?limit=100").send().await.unwrap();
    let listed: Value = listed.json().await.unwrap();
    let one = listed["data"][0]["id"].as_str().unwrap_or_else(|| panic!("{listed}"));
    let next = listed["next_cursor"].as_str().unwrap_or_else(|| panic!("{listed}"));
    let owner = signed_in(&client, url, "/dashboard/sign-in", ("key", key)).await;
    for page in [
        "/dashboard",
        "/dashboard/usage",
        "/dashboard/usage?days=hours",
        "/dashboard/usage?days=1",
        "/dashboard/usage?days=90",
        "/dashboard/usage?days=90&model=gpt-4.1",
        "/dashboard/usage?days=90&key=00000000-0000-0000-0000-000000000001",
        "/dashboard/requests",
        "/dashboard/requests?model=o4-mini",
        "/dashboard/requests?model=never-asked",
        &format!("/dashboard/requests?cursor={next}"),
        &format!("/dashboard/requests/{one}"),
        "/dashboard/credits",
        "/dashboard/keys",
        "/dashboard/models",
        "/dashboard/playground",
        "/dashboard/events",
    ] {
        owner.visit(page).await;
    }
    let operator = signed_in(&client, url, "/operator/sign-in", ("token", measured::TOKEN)).await;
    for page in [
        "/operator",
        "/operator/actors",
        "/operator/pools",
        "/operator/providers",
        "/operator/money",
        "/operator/nodes",
        "/operator/accounts",
        &format!("/operator/accounts/{account}"),
        "/operator/requests",
        "/operator/prices",
        "/operator/acts",
    ] {
        operator.visit(page).await;
    }
    for route in [
        "/v1/balance",
        "/v1/requests?limit=100",
        "/v1/usage?group_by=day,model",
        "/v1/usage?group_by=hour,model,key",
        "/v1/events",
    ] {
        caller.visit(route).await;
    }
}
