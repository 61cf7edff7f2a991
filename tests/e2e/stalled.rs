//! A database whose commits hang for longer than anyone waits: what was said to have failed does not happen twice when it
//! is asked for again, though it lands in the end.

use std::time::{Duration, Instant};

use reqwest::Method;
use serde_json::{Value, json};
use tokio::task::JoinHandle;

use crate::support::{
    client::{Answer, Api, answer},
    postgres,
    server::Server,
    test_ledger::TestLedger,
};

/// Longer than an account is waited for, shorter than twice that.
const STALL: u32 = 19;

async fn post(api: &Api, path: &str, key: &str, body: &Value) -> Answer {
    answer(api.request(Method::POST, path).header("idempotency-key", key).json(body)).await
}

/// The journal's batches hang from now on: each reads this row in its transaction. The rest of the database answers.
async fn stalled(ledger: &TestLedger) -> JoinHandle<String> {
    let sql = format!("BEGIN; SELECT epoch FROM shard_lease FOR UPDATE; SELECT pg_sleep({STALL}); COMMIT");
    let url = ledger.url();
    let stall = tokio::task::spawn_blocking(move || postgres::query(&url, &sql).unwrap());
    tokio::time::sleep(Duration::from_secs(1)).await;
    stall
}

#[tokio::test]
async fn a_refund_whose_commit_lands_late_is_made_once() {
    let Some(ledger) = TestLedger::postgres() else { return };
    let server = Server::start(ledger.options()).await;
    let admin = server.admin();
    let customer = admin.customer("payg", "5").await;
    let bought = post(&customer.api, "/v1/credits/purchase", "k", &json!({"amount": "10.00"})).await.ok();
    let payment = bought["payment"]["id"].as_str().unwrap();
    let (path, body) = (format!("/admin/v1/payments/{payment}/refund"), json!({"amount": "3", "reason": "late"}));
    let stall = stalled(&ledger).await;
    let began = Instant::now();
    let first = post(&admin.0, &path, "a-refund", &body).await;
    stall.await.unwrap();
    assert!(began.elapsed() > Duration::from_secs(10), "nothing hung: {}", first.body);
    let deadline = Instant::now() + Duration::from_mins(1);
    let answered = loop {
        let again = post(&admin.0, &path, "a-refund", &body).await;
        if again.status == 200 {
            break again;
        }
        assert!(Instant::now() < deadline, "{} {}\n{}", again.status, again.body, server.logs());
        tokio::time::sleep(Duration::from_millis(500)).await;
    };
    let seen = customer.api.get(&format!("/v1/payments/{payment}")).await.ok();
    let reversals: Vec<_> =
        seen["reversals"].as_array().unwrap().iter().map(|row| (&row["amount"], &row["status"])).collect();
    assert_eq!(reversals, [(&json!("3.00"), &json!("succeeded"))], "{}", answered.body);
    admin.assert_audit().await;
}

#[tokio::test]
async fn a_commit_that_lands_late_is_not_made_again() {
    let Some(ledger) = TestLedger::postgres() else { return };
    let server = Server::start(ledger.options()).await;
    let admin = server.admin();
    let customer = admin.customer("payg", "5").await;
    let (purchase, grant) =
        (json!({"amount": "10.00"}), json!({"source": "goodwill", "amount": "1", "reason": "late"}));
    let grants = format!("/admin/v1/accounts/{}/grants", customer.id);
    let stall = stalled(&ledger).await;
    let began = Instant::now();
    let (bought, granted) = tokio::join!(
        post(&customer.api, "/v1/credits/purchase", "a-purchase", &purchase),
        post(&admin.0, &grants, "a-grant", &grant),
    );
    stall.await.unwrap();
    assert!(began.elapsed() > Duration::from_secs(15), "nothing hung");
    // Nothing was durable while its buyer waited; the operator's grant is asked for again, and landed meanwhile.
    assert_eq!((bought.status, &bought.json()["code"]), (503, &json!("not_ready")), "{}", bought.body);
    assert_eq!(granted.status, 200, "it landed: {}", granted.body);
    let mut again = Vec::new();
    for _ in 0..2 {
        again.push(post(&customer.api, "/v1/credits/purchase", "a-purchase", &purchase).await);
        let answer = post(&admin.0, &grants, "a-grant", &grant).await;
        assert_eq!((answer.status, &answer.body), (200, &granted.body));
    }
    let payments: Vec<Value> = again.iter().map(|answer| answer.ok()["payment"]["id"].clone()).collect();
    assert!(payments[0].is_string() && payments[0] == payments[1], "{payments:?}");
    let count = async |source: &str| {
        let grants = customer.api.get("/v1/grants").await.ok();
        grants["data"].as_array().unwrap().iter().filter(|grant| grant["source"] == source).count()
    };
    let deadline = Instant::now() + Duration::from_secs(20);
    while count("purchase").await == 0 {
        assert!(Instant::now() < deadline, "the purchase was begun and did not end\n{}", server.logs());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!((count("purchase").await, count("goodwill").await), (1, 1));
    assert_eq!(customer.api.get("/v1/payments").await.ok()["data"].as_array().unwrap().len(), 1);
    admin.assert_audit().await;
}
