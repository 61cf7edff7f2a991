//! One key, one act: what a request under an `Idempotency-Key` does is in one transaction with what a retry knows it by, so
//! that no lock, lost connection or kill between the two makes it act twice, and a retry after a crash is answered.

use std::time::{Duration, Instant};

use billing::Nanos;
use reqwest::Method;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::support::{
    client::{Answer, Api, Customer, answer},
    server::Server,
    test_ledger::TestLedger,
};

struct Stage {
    ledger: TestLedger,
    server: Server,
    customer: Customer,
}

impl Stage {
    async fn set() -> Self {
        Self::on(TestLedger::usual()).await
    }

    async fn on(ledger: TestLedger) -> Self {
        let options = ledger.options().set("FAREBOX_WEBHOOKS__ALLOW_PRIVATE", "true");
        let server = Server::start(options).await;
        let customer = server.admin().customer("payg", "5").await;
        Self { ledger, server, customer }
    }

    fn operator(&self) -> Api {
        self.server.admin().0
    }

    async fn restart(&mut self) {
        self.server.restart().await;
        self.customer.api = self.server.api(&self.customer.key);
    }

    /// As a process that dies after what each request did was written, and before any answer was kept.
    async fn die_before_answers_are_kept(&mut self) {
        self.server.kill_nine();
        self.ledger.run("UPDATE idempotency_key SET state = 'started', answer = NULL");
        self.restart().await;
    }

    async fn promo(&self) -> Value {
        let grants = self.customer.api.get("/v1/grants").await.ok();
        grants["data"].as_array().unwrap().iter().find(|grant| grant["source"] == "promo").unwrap().clone()
    }
}

async fn post(api: &Api, path: &str, key: &str, body: &Value) -> Answer {
    answer(api.request(Method::POST, path).header("idempotency-key", key).json(body)).await
}

/// The same, where the gateway may be gone.
async fn try_post(api: &Api, path: &str, key: &str, body: &Value) -> Option<u16> {
    let sent = api.request(Method::POST, path).header("idempotency-key", key).json(body).send().await.ok()?;
    Some(sent.status().as_u16())
}

/// An answer but for what the account has at its moment.
fn lasting(answer: &Answer) -> Value {
    let mut body = answer.ok();
    body.as_object_mut().unwrap().remove("balance");
    body
}

#[tokio::test]
async fn a_retry_after_a_crash_is_answered_from_what_was_done_and_does_nothing() {
    let mut stage = Stage::set().await;
    let account = format!("/admin/v1/accounts/{}", stage.customer.id);
    let promo = stage.promo().await["id"].as_str().unwrap().to_owned();
    answer(stage.customer.api.request(Method::DELETE, "/v1/subscription")).await.ok();
    let (grants, keys, void) =
        (format!("{account}/grants"), format!("{account}/keys"), format!("{account}/grants/{promo}/void"));
    let of_operator = [
        ("/admin/v1/accounts", json!({"email": "ada@example.com", "plan": "payg"})),
        (&*grants, json!({"source": "goodwill", "amount": "2", "reason": "kind"})),
        (&*keys, json!({"name": "theirs", "limits": {"day": "1"}})),
        (&*void, json!({"amount": "1", "reason": "mistake"})),
    ];
    let of_owner = [
        ("/v1/keys", json!({"name": "own"})),
        ("/v1/credits/purchase", json!({"amount": "10"})),
        ("/v1/payment-methods", json!({"card": "pm_card_visa"})),
        ("/v1/webhooks", json!({"url": "http://127.0.0.1:9/hook"})),
        ("/v1/subscription", json!({})),
    ];
    let mut first = Vec::new();
    for (path, body) in &of_operator {
        first.push(post(&stage.operator(), path, "k", body).await);
    }
    for (path, body) in &of_owner {
        first.push(post(&stage.customer.api, path, "k", body).await);
    }
    for _ in 0..2 {
        stage.die_before_answers_are_kept().await;
        let mut again = Vec::new();
        for (path, body) in &of_operator {
            again.push(post(&stage.operator(), path, "k", body).await);
        }
        for (path, body) in &of_owner {
            again.push(post(&stage.customer.api, path, "k", body).await);
        }
        for (first, again) in first.iter().zip(&again) {
            assert_eq!(lasting(first), lasting(again), "{}", again.body);
            assert_eq!(first.header("x-request-id"), again.header("x-request-id"), "it is the same request");
        }
    }
    let replayed = post(&stage.operator(), &void, "k", &of_operator[3].1).await;
    assert_eq!(replayed.header("idempotency-replayed"), Some("true"), "now its answer is kept");
    // Each was done once.
    assert_eq!(stage.promo().await["voided"], "1.00");
    let seen = stage.server.admin().account(&stage.customer.id).await;
    assert_eq!(seen["keys"].as_array().unwrap().len(), 3, "{seen}");
    for key in [&first[2], &first[4]] {
        let key = key.ok()["key"].as_str().unwrap().to_owned();
        assert_eq!(stage.server.api(&key).get("/v1/balance").await.status, 200, "what is shown again is the key");
    }
    for (path, count) in [("/v1/payments", 1), ("/v1/payment-methods", 1), ("/v1/webhooks", 1)] {
        let listed = stage.customer.api.get(path).await.ok();
        assert_eq!(listed["data"].as_array().unwrap().len(), count, "{path}: {listed}");
    }
    let grants = stage.customer.api.get("/v1/grants").await.ok();
    let given =
        |source: &str| grants["data"].as_array().unwrap().iter().filter(|grant| grant["source"] == source).count();
    assert_eq!((given("goodwill"), given("purchase")), (1, 1), "{grants}");
    let subscription = stage.customer.api.get("/v1/subscription").await.ok();
    assert_eq!(subscription["subscription"]["renews"], true, "{subscription}");
    assert_eq!(stage.ledger.number("SELECT COUNT(*) FROM audit_log WHERE action = 'void_grant'"), 1);
    stage.server.admin().assert_audit().await;
}

#[tokio::test]
async fn another_request_under_a_key_whose_process_died_is_refused() {
    let mut stage = Stage::set().await;
    post(&stage.customer.api, "/v1/keys", "k", &json!({"name": "own"})).await.ok();
    stage.die_before_answers_are_kept().await;
    let other = post(&stage.customer.api, "/v1/keys", "k", &json!({"name": "other"})).await;
    assert_eq!((other.status, &other.json()["code"]), (409, &json!("idempotency_key_reused")), "{}", other.body);
}

/// Voids a cent under each key, again and again until it is told to be done.
async fn void_until_told(stage: &Stage, keys: std::ops::Range<usize>, path: &str) {
    let body = json!({"amount": "0.01", "reason": "one cent"});
    let mut calls = JoinSet::new();
    for key in keys {
        let (api, path, body) = (stage.operator(), path.to_owned(), body.clone());
        calls.spawn(async move {
            let deadline = Instant::now() + Duration::from_mins(2);
            loop {
                match try_post(&api, &path, &format!("cent {key}"), &body).await {
                    Some(200) => return true,
                    // The gateway is gone: the next round asks again.
                    None => return false,
                    Some(status) => assert!([409, 500, 503].contains(&status), "{status}"),
                }
                assert!(Instant::now() < deadline, "it was never done");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        });
    }
    calls.join_all().await;
}

/// What makes commits fail, late or not known to be there.
async fn trouble(ledger: &TestLedger) {
    match ledger {
        TestLedger::Sqlite(folder) => {
            let connection = rusqlite::Connection::open(folder.join("ledger.db")).unwrap();
            connection.busy_timeout(Duration::from_secs(10)).unwrap();
            connection.execute_batch("BEGIN IMMEDIATE").unwrap();
            // Longer than a batch waits.
            tokio::time::sleep(Duration::from_millis(6_500)).await;
            connection.execute_batch("COMMIT").unwrap();
        }
        TestLedger::Postgres(_) => {
            for _ in 0..20 {
                let others = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
                              WHERE datname = current_database() AND pid <> pg_backend_pid()";
                ledger.run(others);
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

async fn cents(ledger: TestLedger) {
    let mut stage = Stage::on(ledger).await;
    let promo = stage.promo().await["id"].as_str().unwrap().to_owned();
    let path = format!("/admin/v1/accounts/{}/grants/{promo}/void", stage.customer.id);
    // While the database is locked, or drops its connections.
    let (voids, troubles) = (void_until_told(&stage, 0..80, &path), trouble(&stage.ledger));
    tokio::join!(voids, troubles);
    // While the process is killed.
    for round in 0..4 {
        let keys = 80 + 20 * round..100 + 20 * round;
        let (api, body) = (stage.operator(), json!({"amount": "0.01", "reason": "one cent"}));
        let mut calls = JoinSet::new();
        for key in keys.clone() {
            let (api, path, body) = (api.clone(), path.clone(), body.clone());
            calls.spawn(async move { try_post(&api, &path, &format!("cent {key}"), &body).await });
        }
        for _ in 0..round * 5 {
            calls.join_next().await;
        }
        stage.server.kill_nine();
        calls.join_all().await;
        stage.restart().await;
        void_until_told(&stage, keys, &path).await;
    }
    assert_eq!(stage.promo().await["voided"], "1.60");
    assert_eq!(stage.ledger.number("SELECT COUNT(*) FROM audit_log WHERE action = 'void_grant'"), 160);
    stage.server.admin().assert_audit().await;
}

#[tokio::test]
async fn a_hundred_and_sixty_keyed_cents_are_a_dollar_sixty_whatever_commits_do() {
    cents(TestLedger::usual()).await;
}

#[tokio::test]
async fn a_hundred_and_sixty_keyed_cents_are_a_dollar_sixty_on_postgres() {
    let Some(ledger) = TestLedger::postgres() else { return };
    cents(ledger).await;
}

#[tokio::test]
async fn an_account_is_there_with_its_credits_or_not_at_all() {
    let mut stage = Stage::set().await;
    let body = |n: usize| json!({"email": format!("{n}@example.com"), "plan": "payg"});
    for round in 0..4 {
        let numbers = 20 * round..20 * (round + 1);
        let mut calls = JoinSet::new();
        for n in numbers.clone() {
            let (api, body) = (stage.operator(), body(n));
            calls.spawn(async move { try_post(&api, "/admin/v1/accounts", &n.to_string(), &body).await });
        }
        for _ in 0..=round * 4 {
            calls.join_next().await;
        }
        stage.server.kill_nine();
        calls.join_all().await;
        let poor =
            "SELECT COUNT(*) FROM account a WHERE NOT EXISTS (SELECT 1 FROM credit_grant g WHERE g.account_id = a.id)";
        assert_eq!(stage.ledger.number(poor), 0, "an account without its plan's credits");
        stage.restart().await;
        for n in numbers {
            let made = post(&stage.operator(), "/admin/v1/accounts", &n.to_string(), &body(n)).await.ok();
            let seen = stage.server.admin().account(made["id"].as_str().unwrap()).await;
            let available: Nanos = seen["balance"]["available"].as_str().unwrap().parse().unwrap();
            assert_eq!((available, &seen["plan"]), (Nanos::dollars(5), &json!("payg")), "{seen}");
        }
    }
    assert_eq!(stage.ledger.number("SELECT COUNT(*) FROM account"), 81);
    let taken = post(&stage.operator(), "/admin/v1/accounts", "another key", &body(0)).await;
    assert_eq!((taken.status, &taken.json()["code"]), (409, &json!("conflict")), "{}", taken.body);
    stage.server.admin().assert_audit().await;
}

#[tokio::test]
async fn an_account_has_no_more_keys_than_it_may_however_many_are_asked_for_at_once() {
    let stage = Stage::set().await;
    let account = stage.ledger.id(&stage.customer.id);
    let n = match stage.ledger {
        TestLedger::Sqlite(_) => {
            "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 990) INSERT INTO api_key \
             (id, account_id, name, public, hash, created_at) SELECT randomblob(16), {account}, 'k', 'p' || i, 'h', 0 FROM n"
        }
        TestLedger::Postgres(_) => {
            "INSERT INTO api_key (id, account_id, name, public, hash, created_at) \
             SELECT gen_random_uuid(), {account}, 'k', 'p' || i, 'h', 0 FROM generate_series(1, 990) AS i"
        }
    };
    stage.ledger.run(&n.replace("{account}", &account));
    let calls = (0..20).map(|_| async { stage.customer.api.post("/v1/keys", &json!({})).await.status });
    let statuses = futures::future::join_all(calls).await;
    assert_eq!(statuses.iter().filter(|status| **status == 200).count(), 9, "{statuses:?}");
    assert!(statuses.iter().all(|status| [200, 409].contains(status)), "{statuses:?}");
}

#[tokio::test]
async fn changes_that_come_at_once_are_all_made() {
    let stage = Stage::set().await;
    let api = &stage.customer.api;
    let opened = (0..80).map(|_| async { api.post("/v1/keys", &json!({})).await.ok() });
    let opened = futures::future::join_all(opened).await;
    let revoked = opened.iter().map(|key| async move {
        let path = format!("/v1/keys/{}", key["id"].as_str().unwrap());
        answer(api.request(reqwest::Method::DELETE, &path)).await.status
    });
    let statuses = futures::future::join_all(revoked).await;
    assert!(statuses.iter().all(|status| *status == 200), "{statuses:?}");
    for key in opened.iter().step_by(9) {
        let refused = stage.server.api(key["key"].as_str().unwrap()).get("/v1/balance").await;
        assert_eq!(refused.status, 401, "{}", refused.body);
    }
    stage.server.admin().assert_audit().await;
}
