//! Usage and history as their reader sees them: sums that are what the requests were, however grouped, filtered or paged;
//! the export; holds and payments; what is refused; and an auditor that notices a sum that is wrong.

use std::{
    collections::BTreeSet,
    time::{SystemTime, UNIX_EPOCH},
};

use billing::Nanos;
use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{
    client::{Api, Customer, answer},
    fake_openai::{Behaviour, FakeOpenAi},
    people::{PASSWORD, person},
    server::Server,
    test_ledger::TestLedger,
};

struct Stage {
    fake: FakeOpenAi,
    server: Server,
    customer: Customer,
    ledger: TestLedger,
}

impl Stage {
    async fn set() -> Self {
        let (fake, ledger) = (FakeOpenAi::start(), TestLedger::usual());
        let options = ledger.options().calling(fake.url());
        let server = Server::start(options).await;
        let customer = server.admin().customer("payg", "5").await;
        Self { fake, server, customer, ledger }
    }

    /// A second key of the customer: its id, and a client with it.
    async fn second_key(&self, name: &str) -> (String, Api) {
        let path = format!("/admin/v1/accounts/{}/keys", self.customer.id);
        let made = self.server.admin().0.post(&path, &json!({"name": name})).await.ok();
        (made["id"].as_str().unwrap().to_owned(), self.server.api(made["key"].as_str().unwrap()))
    }

    async fn get(&self, path: &str) -> Value {
        self.customer.api.get(path).await.ok()
    }

    /// Every row of a list, by pages of so many.
    async fn all(&self, path: &str, limit: usize) -> Vec<Value> {
        let mut rows = Vec::new();
        let mut cursor = String::new();
        loop {
            let page = self.get(&format!("{path}&limit={limit}{cursor}")).await;
            let data = page["data"].as_array().unwrap();
            assert!(data.len() <= limit);
            rows.extend(data.iter().cloned());
            let Some(next) = page["next_cursor"].as_str() else { return rows };
            cursor = format!("&cursor={next}");
            assert!(rows.len() < 1_000, "{path} does not end");
        }
    }
}

async fn chat(api: &Api, model: &str) -> u16 {
    let body = json!({"model": model, "messages": [{"role": "user", "content": "Say hello to me"}]});
    api.post("/v1/chat/completions", &body).await.status
}

fn cost(row: &Value) -> Nanos {
    row["cost"].as_str().unwrap().parse().unwrap()
}

/// What rows of requests come to: requests, failed, output tokens, cost.
fn summed<'a>(rows: impl Iterator<Item = &'a Value>) -> (u64, u64, u64, Nanos) {
    rows.fold((0, 0, 0, Nanos::ZERO), |(requests, failed, output, charged), row| {
        let fails = u64::from(row["ending"] == "failed");
        (requests + 1, failed + fails, output + row["output_tokens"].as_u64().unwrap(), charged + cost(row))
    })
}

/// The same of a group.
fn sums(group: &Value) -> (u64, u64, u64, Nanos) {
    let count = |name: &str| group[name].as_u64().unwrap();
    (count("requests"), count("failed"), count("output_tokens"), cost(group))
}

fn hour(request: &Value) -> String {
    format!("{}:00:00.000Z", &request["ended_at"].as_str().unwrap()[..13])
}

/// The groups of a list, by pages of any length, each of which is what its requests were.
async fn assert_groups(stage: &Stage, requests: &[Value], query: &str) -> Vec<Value> {
    let path = format!("/v1/usage?group_by={query}");
    let rows = stage.all(&path, 200).await;
    for row in &rows {
        let same = |request: &&Value| {
            let at = request["ended_at"].as_str().unwrap();
            let times =
                [("day", at[..10].to_owned()), ("hour", hour(request)), ("minute", format!("{}:00.000Z", &at[..16]))];
            let names = ["model", "provider", "key_id", "session", "member_id"];
            names.iter().all(|name| row.get(name).is_none_or(|value| *value == request[name]))
                && times.iter().all(|(name, at)| row.get(name).is_none_or(|value| value == at))
        };
        assert_eq!(sums(row), summed(requests.iter().filter(same)), "{query}: {row}");
    }
    for limit in [1, 2, 5] {
        assert_eq!(stage.all(&path, limit).await, rows, "{query} by {limit}");
    }
    rows
}

#[tokio::test]
async fn usage_is_what_the_requests_were_however_it_is_grouped() {
    let stage = Stage::set().await;
    let (second, other) = stage.second_key("=1+1, \"second\"").await;
    // An hour has just begun, and does not end in the middle of a round.
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    stage.server.admin().advance(3_605 - now % 3_600).await;
    // Three hours on two days or more, two models, two keys; one request of each round fails.
    for seconds in [0, 3_600, 86_400] {
        stage.server.admin().advance(seconds).await;
        for (api, model) in [(&stage.customer.api, "gpt-4o-mini"), (&other, "gpt-4o"), (&other, "gpt-4o-mini")] {
            assert_eq!(chat(api, model).await, 200);
        }
        stage.fake.script(Behaviour::Status(500));
        assert_eq!(chat(&stage.customer.api, "gpt-4o").await, 502);
    }
    let requests = stage.all("/v1/requests?", 5).await;
    assert_eq!(requests.len(), 12);
    assert!(requests.is_sorted_by(|a, b| a["ended_at"].as_str() >= b["ended_at"].as_str()));

    let whole = summed(requests.iter());
    assert_eq!((whole.0, whole.1), (12, 3));
    for (group_by, groups) in [
        ("day", None),
        ("hour", Some(3)),
        ("model", Some(2)),
        ("key", Some(2)),
        ("provider", Some(1)),
        ("key,hour,model", Some(12)),
    ] {
        let rows = assert_groups(&stage, &requests, group_by).await;
        assert!(groups.map_or(!rows.is_empty(), |groups| groups == rows.len()), "{group_by}: {rows:?}");
        let page = stage.get(&format!("/v1/usage?group_by={group_by}&limit=1")).await;
        assert_eq!(sums(&page["total"]), whole, "the total is of the whole range");
    }

    let of_key = stage.get(&format!("/v1/usage?group_by=hour&key_id={second}&model=gpt-4o")).await;
    assert_eq!(of_key["total"]["requests"], 3, "{of_key}");
    assert_eq!(of_key["data"].as_array().unwrap().len(), 3);
    assert_eq!(stage.get("/v1/usage?key_id=none").await["total"]["requests"], 0);
    // The newest hour alone, at a day's end or not.
    let newest = stage.get(&format!("/v1/usage?from={}", hour(&requests[0]))).await;
    assert_eq!(newest["total"]["requests"], 4, "{newest}");
    let before = stage.get(&format!("/v1/usage?group_by=model&to={}", hour(&requests[0]))).await;
    assert_eq!(before["total"]["requests"], 8, "{before}");

    for (filter, count) in [
        ("model=gpt-4o".to_owned(), 6),
        (format!("key_id={second}"), 6),
        (format!("key_id={second}&model=gpt-4o-mini"), 3),
        ("key_id=none".to_owned(), 0),
        (format!("from={}", hour(&requests[0])), 4),
        (format!("to={}&model=gpt-4o", hour(&requests[0])), 4),
    ] {
        for limit in [1, 4, 200] {
            let rows = stage.all(&format!("/v1/requests?{filter}"), limit).await;
            let ids: BTreeSet<_> = rows.iter().map(|row| row["id"].to_string()).collect();
            assert_eq!((rows.len(), ids.len()), (count, count), "{filter} by {limit}");
        }
    }
    stage.server.admin().assert_audit().await;
    exported(&stage, &requests, whole.3).await;
    a_wrong_sum_is_noticed(&stage).await;
}

async fn exported(stage: &Stage, requests: &[Value], whole: Nanos) {
    let answer = stage.customer.api.get("/v1/usage.csv").await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    assert!(answer.header("content-type").unwrap().starts_with("text/csv"));
    let lines: Vec<&str> = answer.body.split_terminator("\r\n").collect();
    assert!(lines[0].starts_with("request_id,started_at,ended_at,key_id,key_name,model,"), "{}", lines[0]);
    assert_eq!(lines.len(), 13);
    let fields = |line: &&str| -> Vec<String> { line.rsplitn(23, ',').map(str::to_owned).collect() };
    let charged: Nanos = lines[1..].iter().map(|line| fields(line)[9].parse::<Nanos>().unwrap()).sum();
    assert_eq!(charged, whole);
    for (line, request) in lines[1..].iter().zip(requests.iter().rev()) {
        assert!(line.starts_with(request["id"].as_str().unwrap()), "oldest first: {line}");
        assert!(line.contains(request["base_cost"].as_str().unwrap()), "exact: {line}");
        for part in request["quantities"].as_array().unwrap() {
            let [key, rate, cost] = ["quantity", "rate", "cost"].map(|name| part[name].as_str());
            let priced = rate.zip(cost).map(|(rate, cost)| format!("@{rate}:{cost}")).unwrap_or_default();
            assert!(line.contains(&format!("{}={}{priced}", key.unwrap(), part["amount"])), "{line}");
        }
    }
    let named = r#","'=1+1, ""second""",gpt-4o"#;
    assert_eq!(lines.iter().filter(|line| line.contains(named)).count(), 6, "{}", answer.body);
    let only = stage.customer.api.get("/v1/usage.csv?model=gpt-4o&from=2020-01-01").await.body;
    assert_eq!(only.lines().count(), 7);
    assert_eq!(stage.customer.api.get("/v1/usage.csv?to=2020-01-01").await.body.lines().count(), 1);
}

async fn a_wrong_sum_is_noticed(stage: &Stage) {
    for (sum, beside) in [("span = 1", "records"), ("span = 24", "hours")] {
        let sql =
            |sign: char| format!("UPDATE usage_rollup SET charged = charged {sign} 1 WHERE {sum} AND model = 'gpt-4o'");
        stage.ledger.run(&sql('+'));
        let audit = stage.server.admin().audit().await;
        assert_eq!(audit["ok"], false, "{audit}");
        let what = audit["violations"].to_string();
        assert!(what.contains(&format!("differs from its {beside}")) && what.contains(&stage.customer.id), "{what}");
        stage.ledger.run(&sql('-'));
        stage.server.admin().assert_audit().await;
    }
    stage.ledger.run("DELETE FROM usage_rollup WHERE span = 1 AND model = 'gpt-4o'");
    assert_eq!(stage.server.admin().audit().await["ok"], false, "a sum is missing");
}

/// A request in a session that its client names somehow: its id.
async fn chat_in(api: &Api, session: Option<(&str, &str)>, model: &str) -> String {
    let mut body = json!({"model": model, "messages": [{"role": "user", "content": "Say hello to me"}]});
    let mut request = api.request(Method::POST, "/v1/chat/completions");
    match session {
        Some(("session-id", name)) => request = request.header("session-id", name),
        Some((field, name)) => body[field] = name.into(),
        None => {}
    }
    let answer = answer(request.json(&body)).await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    answer.header("x-request-id").unwrap().to_owned()
}

/// Requests, their CSV and their sums have what passes a filter, and no more.
async fn assert_filter(stage: &Stage, requests: &[Value], from: &str, filter: &str, count: usize) {
    for limit in [2, 200] {
        assert_eq!(stage.all(&format!("/v1/requests?{filter}"), limit).await.len(), count, "{filter} by {limit}");
    }
    let csv = stage.customer.api.get(&format!("/v1/usage.csv?{filter}")).await.body;
    assert_eq!(csv.lines().count(), count + 1, "{filter}: {csv}");
    for by in ["day", "hour,key", "minute", "model,session", "member"] {
        let usage = stage.get(&format!("/v1/usage?group_by={by}&{filter}&from={from}")).await;
        assert_eq!(usage["total"]["requests"], count, "{by}: {filter}: {usage}");
        let listed: u64 = usage["data"].as_array().unwrap().iter().map(|row| row["requests"].as_u64().unwrap()).sum();
        let in_sessions = count as u64
            - if by == "model,session" && !filter.contains("session=") {
                requests
                    .iter()
                    .filter(|row| row["session"].is_null() && (filter.contains("none") == row["member_id"].is_null()))
                    .count() as u64
            } else {
                0
            };
        assert_eq!(listed, if count == 0 { 0 } else { in_sessions }, "{by}: {filter}: {usage}");
    }
}

#[tokio::test]
async fn usage_is_summed_by_session_member_and_minute() {
    let stage = Stage::set().await;
    let admin = stage.server.admin();
    let mut ada = person(&stage.server, "ada@example.com", Some((&stage.customer.id, "developer"))).await;
    let made = ada.call(Method::POST, "/v1/keys", &json!({"name": "ada's"})).await.ok();
    let (adas, by_ada) = (made["id"].clone(), stage.server.api(made["key"].as_str().unwrap()));
    let members = admin.0.get(&format!("/admin/v1/accounts/{}/members", stage.customer.id)).await.ok();
    let id_of_ada = members["data"][0]["person_id"].clone();
    // A day has just begun.
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    admin.advance(86_405 - now % 86_400).await;
    let long = "long ".repeat(60);
    let owner = &stage.customer.api;
    let mut receipt = String::new();
    for seconds in [0, 61, 3_600, 86_400] {
        admin.advance(seconds).await;
        for (api, session) in [
            (owner, Some(("prompt_cache_key", "agent, \"1\""))),
            (owner, Some(("user", "user_1_session_agent, \"1\""))),
            (&by_ada, Some(("session-id", "ses_2"))),
            (&by_ada, Some(("user", "ada@example.com"))),
        ] {
            receipt = chat_in(api, session, "gpt-4o-mini").await;
        }
        chat_in(&by_ada, Some(("prompt_cache_key", if seconds == 61 { &*long } else { "ses_2" })), "gpt-4o").await;
    }
    let on_page = json!({"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "Say hello to me"}]});
    // Her session ended meanwhile.
    assert_eq!(ada.sign_in("ada@example.com", PASSWORD).await.status, 303);
    assert_eq!(ada.call(Method::POST, "/v1/chat/completions", &on_page).await.status, 200);
    let mut requests = stage.all("/v1/requests?", 200).await;
    assert_eq!(requests.len(), 21);
    // Who made the key, or ran it on the pages; what no session was named for is in no group by session.
    for request in &mut requests {
        let is_adas = request["key_id"] == adas || request["key_id"] == id_of_ada;
        request["member_id"] = if is_adas { id_of_ada.clone() } else { Value::Null };
    }
    let from = hour(requests.last().unwrap());
    for (query, groups) in [
        ("session", 3),
        ("session&from=2020-01-02&to=2020-02-02", 0),
        ("day,session", 5),
        ("hour,session,model", 10),
        ("member", 2),
        ("hour,member", 6),
        ("day,member,session", 5),
        ("minute", 4),
        ("minute,model,key", 13),
        ("minute,session,member", 9),
    ] {
        let query = &if query.contains("from") { query.to_owned() } else { format!("{query}&from={from}") };
        let rows = assert_groups(&stage, &requests, query).await;
        assert_eq!(rows.len(), groups, "{query}: {rows:#?}");
        let whole = stage.get(&format!("/v1/usage?group_by={query}&limit=1")).await["total"]["requests"].clone();
        assert_eq!(whole, if groups == 0 { 0 } else { 21 }, "{query}");
    }
    let sessions = stage.all("/v1/usage?group_by=session", 200).await;
    let names: Vec<_> = sessions.iter().map(|row| row["session"].as_str().unwrap()).collect();
    assert!(names[..2] == ["ses_2", "agent, \"1\""] && names[2].starts_with("blake3:"), "used last: {names:?}");
    let ada = id_of_ada.as_str().unwrap();
    for (filter, count) in [
        ("session=ses_2".to_owned(), 7),
        (format!("session={}", long.replace(' ', "%20")), 1),
        ("session=ses_2&model=gpt-4o".to_owned(), 3),
        ("session=ses_3".to_owned(), 0),
        (format!("member_id={ada}"), 13),
        ("member_id=none".to_owned(), 8),
        (format!("member_id={ada}&session=ses_2"), 7),
        (format!("member_id=none&key_id={}", adas.as_str().unwrap()), 0),
    ] {
        assert_filter(&stage, &requests, &from, &filter, count).await;
    }
    // The receipt of the last one says nothing of a session: none was named.
    assert_eq!(stage.get(&format!("/v1/requests/{receipt}/receipt")).await["session"], Value::Null);
    let first = requests.last().unwrap();
    let first = stage.get(&format!("/v1/requests/{}/receipt", first["id"].as_str().unwrap())).await;
    assert_eq!(first["session"], "agent, \"1\"", "{first}");
    // A key that may not read everything sees its own alone.
    let limited = stage.customer.api.post("/v1/keys", &json!({"name": "small", "limits": {"day": "1"}})).await.ok();
    let limited = stage.server.api(limited["key"].as_str().unwrap());
    chat_in(&limited, Some(("session-id", "ses_4")), "gpt-4o-mini").await;
    for (by, rows) in [("session", 1), ("member", 1), ("minute,session", 1), ("session&session=ses_2", 0)] {
        let seen = limited.get(&format!("/v1/usage?group_by={by}")).await.ok();
        assert_eq!(seen["data"].as_array().unwrap().len(), rows, "{by}: {seen}");
    }
    // The sums as CSV, with the same lines.
    let csv = stage.customer.api.get("/v1/usage.csv?group_by=session,day,member").await.body;
    let lines: Vec<_> = csv.lines().collect();
    assert!(lines[0].starts_with("day,member_id,session,requests,failed,input_tokens,"), "{csv}");
    assert!(
        lines.len() == 7 && csv.contains(",\"agent, \"\"1\"\"\",") && csv.contains(&format!(",{ada},ses_2,")),
        "{csv}"
    );
    admin.assert_audit().await;
    let falsify = |sign: char, span| format!("UPDATE usage_session SET charged = charged {sign} 1 WHERE span = {span}");
    for (span, beside) in [(1, "records"), (24, "hours")] {
        stage.ledger.run(&falsify('+', span));
        let audit = admin.audit().await["violations"].to_string();
        assert!(audit.contains(&format!("differs from its {beside}")), "{audit}");
        stage.ledger.run(&falsify('-', span));
        admin.assert_audit().await;
    }
}

#[tokio::test]
async fn what_is_wrong_in_a_query_is_named() {
    let stage = Stage::set().await;
    for (path, field) in [
        ("/v1/usage?from=yesterday", "from"),
        ("/v1/usage?from=2026-02-30", "from"),
        ("/v1/usage?to=2026-11-24T25:00:00Z", "to"),
        ("/v1/usage?from=2026-11-02&to=2026-11-01", "from"),
        ("/v1/usage?from=2026-11-01T00:00:00Z&to=2026-11-01T00:00:00Z", "from"),
        ("/v1/usage?from=2020-01-01&to=2026-01-01", "from"),
        ("/v1/usage?group_by=week", "group_by"),
        ("/v1/usage?group_by=", "group_by"),
        ("/v1/usage?group_by=day,hour", "group_by"),
        ("/v1/usage?group_by=day,minute", "group_by"),
        ("/v1/usage?group_by=minute&from=2026-01-01&to=2026-01-08", "from"),
        ("/v1/usage?member_id=me", "member_id"),
        ("/v1/usage?session=", "session"),
        ("/v1/usage.csv?group_by=year", "group_by"),
        ("/v1/requests?member_id=1", "member_id"),
        ("/v1/usage?limit=0", "limit"),
        ("/v1/usage?limit=1000000", "limit"),
        ("/v1/usage?cursor=zz", "cursor"),
        ("/v1/usage?cursor=5b5d", "cursor"),
        ("/v1/usage?key_id=7", "key_id"),
        ("/v1/usage?model=%00", "model"),
        ("/v1/usage?groupby=day", "groupby"),
        ("/v1/usage?limit=1&limit=2", "limit"),
        ("/v1/usage.csv?limit=1", "limit"),
        ("/v1/usage.csv?from=x", "from"),
        ("/v1/requests?cursor=1", "cursor"),
        ("/v1/requests?cursor=-1-0192", "cursor"),
        ("/v1/requests?limit=-1", "limit"),
        ("/v1/requests?before=1", "before"),
        ("/v1/payments?cursor=1", "cursor"),
        ("/v1/grants?cursor=1", "cursor"),
        ("/v1/holds?limit=1", "limit"),
    ] {
        let answer = stage.customer.api.get(path).await;
        assert_eq!((answer.status, &answer.json()["field"]), (400, &json!(field)), "{path}: {}", answer.body);
    }
    for path in ["/v1/usage", "/v1/usage.csv", "/v1/payments", "/v1/holds", "/v1/requests"] {
        assert_eq!(stage.server.get(path).await.status, 401, "{path}");
        assert_eq!(stage.customer.api.post(path, &json!({})).await.status, 405, "{path}");
    }
}

#[tokio::test]
async fn a_running_request_is_seen_as_its_hold() {
    let stage = Stage::set().await;
    stage.fake.script(Behaviour::Slow(200));
    let body = json!({"model": "gpt-4o-mini", "stream": true, "max_tokens": 6,
        "messages": [{"role": "user", "content": "Say hello to me"}]});
    let request = stage.customer.api.request(Method::POST, "/v1/chat/completions").json(&body);
    let mut response = request.send().await.unwrap();
    response.chunk().await.unwrap();
    let holds = stage.get("/v1/holds").await;
    assert_eq!((&holds["open"], &holds["truncated"]), (&json!(1), &json!(false)), "{holds}");
    let hold = &holds["data"][0];
    let id = response.headers()["x-request-id"].to_str().unwrap().to_owned();
    for (name, value) in [
        ("request_id", json!(id)),
        ("model", json!("gpt-4o-mini")),
        ("provider", json!("openai")),
        ("class", Value::Null),
        ("units", Value::Null),
    ] {
        assert_eq!(hold[name], value, "{hold}");
    }
    let amount = |name: &str| hold[name].as_str().unwrap().parse::<Nanos>().unwrap();
    assert!(amount("amount").is_positive() && amount("accrued") <= amount("worst_case"), "{hold}");
    assert!(hold["placed_at"].as_str() < hold["deadline"].as_str(), "{hold}");
    while response.chunk().await.unwrap().is_some() {}
    assert_eq!(stage.get("/v1/holds").await["open"], 0);
    stage.server.admin().assert_audit().await;
}

#[tokio::test]
async fn payments_are_listed_whatever_came_of_them() {
    let stage = Stage::set().await;
    for card in ["pm_card_visa", "pm_card_visa_chargeDeclined", "pm_card_visa"] {
        let body = json!({"amount": "10", "payment_method": card});
        stage.customer.api.post("/v1/credits/purchase", &body).await;
    }
    let payments = stage.all("/v1/payments?", 2).await;
    let statuses: Vec<_> = payments.iter().map(|payment| payment["status"].as_str().unwrap()).collect();
    assert_eq!(statuses, ["succeeded", "declined", "succeeded"]);
    assert_eq!(stage.all("/v1/payments?", 1).await, payments);
    let stranger = stage.server.admin().customer("payg", "0").await;
    assert_eq!(stranger.api.get("/v1/payments").await.ok()["data"], json!([]));
}
