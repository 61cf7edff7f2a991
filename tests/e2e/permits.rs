//! Permits of open models, with the demo model: who waits in line for one, who buys more, and who is refused with what
//! would help. The ledger is clean after each story.

use std::time::{Duration, Instant};

use reqwest::{Method, Response};
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;

use crate::{
    open::{ask, options, settled, stage},
    support::{
        client::{Answer, Customer, answer},
        plain,
        server::Server,
        with,
    },
    timings::timings,
};

/// A request that holds its permit until its answer is dropped.
async fn long(customer: &Customer) -> Response {
    let body =
        ask("Write a very long story about a lighthouse.", &json!({"stream": true, "temperature": 1, "seed": 7}));
    let mut response = customer.api.request(Method::POST, "/v1/chat/completions").json(&body).send().await.unwrap();
    assert_eq!(response.status(), 200);
    assert!(response.chunk().await.unwrap().is_some());
    response
}

async fn short(customer: &Customer, more: &Value, prefer: Option<&str>) -> Answer {
    let body = with(&ask("hi", &json!({"max_tokens": 2})), more);
    let request = customer.api.request(Method::POST, "/v1/chat/completions").json(&body);
    answer(prefer.into_iter().fold(request, |request, prefer| request.header("prefer", prefer))).await
}

async fn until(customer: &Customer, what: impl Fn(&Value) -> bool) {
    let deadline = Instant::now() + Duration::from_mins(3);
    loop {
        let account = customer.api.get("/v1/account").await.ok();
        if what(&account) {
            return;
        }
        assert!(Instant::now() < deadline, "{account:#}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn a_freed_permit_goes_to_who_has_waited_longest() {
    let (server, _) = stage("inflight").await;
    let admin = server.admin();
    let free = admin.customer("free", "0").await;
    let running = long(&free).await;
    let late = short(&free, &json!({}), Some("wait=1")).await;
    assert_eq!((late.status, late.json()["place"].as_u64()), (429, Some(1)), "{}", late.body);
    let plain = json!({});
    let first = short(&free, &plain, Some("respond-async, wait=60"));
    let second = async {
        until(&free, |account| account["concurrency"]["waiting"] == 1).await;
        short(&free, &json!({}), Some("wait=60")).await
    };
    let leave = async {
        until(&free, |account| account["concurrency"]["waiting"] == 2).await;
        // Who does not wait is refused, and does not overtake.
        let hasty = short(&free, &json!({}), None).await;
        assert_eq!((hasty.status, hasty.json()["code"].as_str()), (429, Some("concurrency_limit")));
        drop(running);
    };
    let (first, second, ()) = futures::future::join3(first, second, leave).await;
    assert_eq!((first.status, first.header("x-farebox-queue-place")), (200, Some("1")), "{}", first.body);
    assert_eq!((second.status, second.header("x-farebox-queue-place")), (200, Some("2")), "{}", second.body);
    // The wait in the line is in their records: the second one's too, which waited for the first.
    for waited in [&first, &second] {
        let id = waited.header("x-request-id").unwrap();
        let record = free.api.get(&format!("/v1/requests/{id}")).await.ok();
        let in_line = f64::from(u32::try_from(timings(&record)[0].unwrap()).unwrap());
        let in_head = waited.timing().1[1];
        assert!((in_head - 1.0..=in_head).contains(&in_line) && in_line > 0.0, "{record} {in_head}");
    }
    until(&free, |account| account["concurrency"]["used"] == "0").await;
    let audit = admin.audit().await;
    assert_eq!((&audit["ok"], &audit["open_holds"]), (&json!(true), &json!(0)), "{audit}");
}

#[tokio::test]
async fn permits_are_bought_for_who_wants_that_within_the_month() {
    let (server, _) = stage("inflight").await;
    let admin = server.admin();
    let free = admin.customer("free", "0").await;
    let running = long(&free).await;
    let refused = short(&free, &json!({}), None).await;
    assert_eq!((refused.status, &refused.json()["auto_scale"]), (429, &Value::Null));
    // Bought, then run: nobody sees a 429.
    free.api.post("/v1/payment-methods", &json!({"card": "pm_card_visa"})).await.ok();
    let bought = short(&free, &json!({"autoScale": true}), None).await;
    assert_eq!(bought.status, 200, "{}", bought.body);
    let account = free.api.get("/v1/account").await.ok();
    assert_eq!((&account["tier"]["units"], &account["purchased"]), (&json!("4"), &json!("3.00")));
    assert_eq!(account["auto_scale"]["spent_this_month"], "3.00");
    let payments = free.api.get("/v1/payments").await.ok();
    assert_eq!(
        (&payments["data"][0]["purpose"], &payments["data"][0]["amount"]),
        (&json!("auto_scale"), &json!("3.00"))
    );
    drop(running);
    until(&free, |account| account["concurrency"]["used"] == "0").await;

    // The account's own setting, and a maximum that leaves no room for the next tier.
    let set =
        free.api.request(Method::PUT, "/v1/auto-scale").json(&json!({"enabled": true, "max_monthly_spend": "20"}));
    answer(set).await.ok();
    let story =
        ask("Write a very long story about a lighthouse.", &json!({"stream": true, "temperature": 1, "seed": 7}));
    let begin = || tokio::spawn(free.api.request(Method::POST, "/v1/chat/completions").json(&story).send());
    let held: Vec<_> = (0..4).map(|_| begin()).collect();
    until(&free, |account| account["concurrency"]["used"] == "4").await;
    let refused = short(&free, &json!({}), None).await;
    let body = refused.json();
    assert_eq!((refused.status, body["code"].as_str()), (429, Some("concurrency_limit")), "{}", refused.body);
    assert_eq!(body["auto_scale"], json!({"status": "max_monthly_spend_reached", "amount": "22.00"}));
    assert_eq!(body["next_tier"], json!({"dollars": "22.00", "units": "10"}));
    // One request may say no for itself.
    assert_eq!(short(&free, &json!({"autoScale": false}), None).await.json()["auto_scale"], Value::Null);
    for request in held {
        request.abort();
    }
    until(&free, |account| account["concurrency"]["used"] == "0").await;

    let broke = admin.customer("free", "0").await;
    broke.api.post("/v1/payment-methods", &json!({"card": "pm_card_visa_chargeDeclined"})).await.ok();
    let running = long(&broke).await;
    let refused = short(&broke, &json!({"autoScale": true}), None).await;
    assert_eq!((refused.status, refused.json()["auto_scale"]["status"].as_str()), (429, Some("card_declined")));
    drop(running);
    until(&broke, |account| account["concurrency"]["used"] == "0").await;
    admin.assert_audit().await;
}

#[tokio::test]
async fn a_request_whose_reader_is_slow_lends_its_permit_and_goes_on_in_its_turn() {
    let options = options().await.set("FAREBOX_LIMITS__UNREAD_BYTES", "1024");
    let server = Server::start(options).await;
    let admin = server.admin();
    let free = admin.customer("free", "0").await;
    until(&free, |account| account["concurrency"]["units"] == "1").await;
    // Much to write, so that it soon waits to be read.
    let body = ask(
        "Write a very long story about a lighthouse.",
        &json!({"stream": true, "temperature": 1, "seed": 7, "n": 8, "logprobs": true, "top_logprobs": 20,
            "max_tokens": 300}),
    );
    let body = body.to_string();
    let more = format!("content-length: {}\r\nconnection: close\r\n", body.len());
    let head = plain::post("/v1/chat/completions", Some(&free.key), &more);
    let mut slow = plain::connect(server.url()).await;
    slow.write_all(format!("{head}{body}").as_bytes()).await.unwrap();
    let began = plain::until(&mut slow, "\r\n\r\n").await;
    assert!(began.starts_with("HTTP/1.1 200"), "{began}");
    let units = |used: &'static str| move |account: &Value| account["concurrency"]["used"] == used;
    until(&free, units("0")).await;
    // Its permit is another's now, and stays so while the slow one is read again.
    let running = long(&free).await;
    let reading = tokio::spawn(async move { plain::to_end(&mut slow).await });
    until(&free, |account| account["concurrency"]["waiting"] == 1).await;
    assert!(units("1")(&free.api.get("/v1/account").await.ok()));
    let behind = short(&free, &json!({}), None).await;
    assert_eq!((behind.status, behind.json()["code"].as_str()), (429, Some("concurrency_limit")), "{}", behind.body);
    drop(running);
    let all = reading.await.unwrap();
    assert!(all.contains("data: [DONE]"), "it is read to its end: {}", &all[all.len() - 500..]);
    until(&free, units("0")).await;
    let ended = settled(&free, 2).await;
    assert!(ended.iter().any(|request| request["ending"] == "completed"), "{ended:?}");
    admin.assert_audit().await;
}
