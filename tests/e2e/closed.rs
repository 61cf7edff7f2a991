//! A closed provider, end to end: what an answer costs, who pays when it ends early, what is refused, and that the ledger
//! is clean after each story. The provider is our own strict stand-in.

use std::time::{Duration, Instant};

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{
    client::{Answer, Customer},
    fake_openai::{Behaviour, FakeOpenAi},
    server::{Options, Server},
    socket::Socket,
    test_ledger::TestLedger,
    with,
};

struct Stage {
    fake: FakeOpenAi,
    server: Server,
    customer: Customer,
}

impl Stage {
    /// A gateway before a fake provider, and a customer who pays as it goes: its plan's five dollars, and five more.
    async fn set() -> Self {
        Self::set_with(Options::default()).await
    }

    async fn set_with(options: Options) -> Self {
        let fake = FakeOpenAi::start();
        let options = options.calling(fake.url()).set("FAREBOX_FAULTS", "true");
        let server = Server::start(options).await;
        let customer = server.admin().customer("payg", "5").await;
        Self { fake, server, customer }
    }

    async fn chat(&self, more: Value) -> Answer {
        let body = json!({"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "Say hello to me"}]});
        self.customer.api.post("/v1/chat/completions", &with(&body, &more)).await
    }

    async fn balance(&self) -> Value {
        self.customer.api.get("/v1/balance").await.ok()
    }

    async fn records(&self) -> Vec<Value> {
        self.customer.api.get("/v1/requests").await.ok()["data"].as_array().unwrap().clone()
    }

    /// Waits until so many requests are recorded and nothing is held.
    async fn settled(&self, count: usize) -> Vec<Value> {
        self.customer.settled(count).await
    }
}

/// (7 x 0.15 + 6 x 0.60) / 1e6 x 1.02: seven prompt tokens and six words.
const COST: &str = "0.000004743";

#[tokio::test]
async fn an_answer_is_charged_its_usage_and_two_percent() {
    let stage = Stage::set().await;
    let answer = stage.chat(json!({})).await;
    let body = answer.ok();
    assert_eq!(body["choices"][0]["message"]["content"], "Hello from the fake provider.");
    assert_eq!(body["usage"]["cost"], COST);
    assert_eq!(body["usage"]["total_tokens"], 13);
    assert_eq!(answer.header("x-farebox-cost"), Some(COST));
    assert_eq!(answer.header("x-farebox-balance"), Some("9.999995257"));
    assert_eq!(answer.timing().0, ["auth", "admission", "upstream"]);
    let balance = stage.balance().await;
    assert_eq!(balance["available"], "9.999995257");
    assert_eq!(balance["held"], "0.00");
    let id = answer.header("x-request-id").unwrap();
    let record = stage.customer.api.get(&format!("/v1/requests/{id}")).await.ok();
    assert_eq!(record["cost"], COST);
    assert_eq!(record["base_cost"], "0.00000465");
    assert_eq!(record["fee"], "0.000000093");
    let read = json!({"quantity": "tokens.input", "amount": 7, "rate": "0.00000015", "cost": "0.00000105"});
    let written = json!({"quantity": "tokens.output", "amount": 6, "rate": "0.0000006", "cost": "0.0000036"});
    assert_eq!(record["quantities"], json!([read, written]));
    stage.server.admin().assert_audit().await;
}

/// What a client writes is kept as far as a database can hold it, and stops no account: PostgreSQL's texts have no NUL.
#[tokio::test]
async fn a_name_that_no_database_holds_stops_no_account() {
    let mut stage = Stage::set().await;
    for name in ["m\0", "\0", "m\u{1}\u{7f}", "\u{fffd}\u{202e}'; --"] {
        let answer =
            stage.chat(json!({"model": name, "models": ["gpt-4o-mini"], "user": name, "metadata": {"a": name}})).await;
        assert_eq!(answer.status, 200, "{name:?}: {}", answer.body);
        let refused = stage.chat(json!({"model": name})).await;
        assert_eq!(refused.status, 404, "{name:?}: {}", refused.body);
        let act = json!({"reason": name});
        let acted = stage.server.admin().0.post("/admin/v1/models/%00/load", &act).await;
        assert!((400..500).contains(&acted.status), "{name:?}: {}", acted.body);
    }
    stage.server.restart().await;
    let api = stage.server.api(&stage.customer.key);
    let records = api.get("/v1/requests").await.ok();
    let id = records["data"][3]["id"].as_str().unwrap();
    let record = api.get(&format!("/v1/requests/{id}")).await.ok();
    assert_eq!(record["attempts"][0]["model"], "m\u{fffd}", "{record}");
    // What operators did later is kept, too.
    let paused = stage.server.admin().0.post("/admin/v1/providers/openai/pause", &json!({"reason": "to see it"})).await;
    assert_eq!(paused.status, 200, "{}", paused.body);
    let acts = stage.server.admin().0.get("/admin/v1/operations").await.ok();
    let told: Vec<_> = acts["data"].as_array().unwrap().iter().map(|act| (&act["act"], &act["subject"])).collect();
    let of_names = [(&json!("pause"), &json!("provider openai")), (&json!("load"), &json!("model \u{fffd}"))];
    assert_eq!(told[..2], of_names, "{acts}");
    assert_eq!([told[2].0, told[3].0], ["create_key", "create_account"], "{acts}");
    assert_eq!(told.len(), 4, "{acts}");
    stage.server.admin().assert_audit().await;
}

#[tokio::test]
async fn a_stream_ends_with_usage_and_cost_after_it_is_durable() {
    let stage = Stage::set().await;
    let answer = stage.chat(json!({"stream": true})).await;
    let data: Vec<&str> = answer.body.lines().filter_map(|line| line.strip_prefix("data: ")).collect();
    assert_eq!(data.last(), Some(&"[DONE]"), "{}", answer.body);
    assert_eq!(answer.timing().0, ["auth", "admission", "upstream"]);
    let usage: Value = serde_json::from_str(data[data.len() - 2]).unwrap();
    assert_eq!(usage["usage"]["cost"], COST);
    let (choices, last) = (usage["choices"].as_array().unwrap(), &usage["choices"][0]);
    assert_eq!(
        (choices.len(), &last["index"], &last["finish_reason"]),
        (1, &json!(0), &json!("stop")),
        "a client that asked for no usage may read choices[0] of every chunk, and the last for how it ended"
    );
    let text: String = data[..data.len() - 2]
        .iter()
        .map(|data| {
            serde_json::from_str::<Value>(data).unwrap()["choices"][0]["delta"]["content"]
                .as_str()
                .unwrap_or_default()
                .to_owned()
        })
        .collect();
    assert_eq!(text, "Hello from the fake provider.");
    assert_eq!(stage.balance().await["available"], "9.999995257");
    let options = json!({"include_usage": true, "include_obfuscation": false});
    let asked = stage.chat(json!({"stream": true, "stream_options": options})).await;
    let data: Vec<&str> = asked.body.lines().filter_map(|line| line.strip_prefix("data: ")).collect();
    let usage: Value = serde_json::from_str(data[data.len() - 2]).unwrap();
    assert_eq!((&usage["choices"], &usage["usage"]["cost"]), (&json!([]), &json!(COST)));
    assert_eq!(stage.fake.requests()[1]["stream_options"], options);
    stage.server.admin().assert_audit().await;
}

#[tokio::test]
async fn who_pays_when_a_call_ends_early() {
    let stage = Stage::set().await;
    for (behaviour, stream, status) in [
        (Behaviour::Status(500), false, 502),
        (Behaviour::Status(429), true, 429),
        (Behaviour::Garbage, false, 502),
        (Behaviour::Garbage, true, 200),
        (Behaviour::CutAfter(3), true, 200),
    ] {
        stage.fake.script(behaviour);
        let answer = stage.chat(json!({"stream": stream})).await;
        assert_eq!(answer.status, status, "{behaviour:?}: {}", answer.body);
        assert!(answer.body.contains("provider_error"), "{behaviour:?}: {}", answer.body);
        assert!(!answer.body.contains("[DONE]"), "{behaviour:?}: {}", answer.body);
    }
    let records = stage.settled(5).await;
    assert!(records.iter().all(|record| record["cost"] == "0.00" && record["ending"] == "failed"), "{records:?}");
    stage.fake.script(Behaviour::NoUsage);
    assert_eq!(stage.chat(json!({})).await.status, 200);
    let records = stage.settled(6).await;
    assert_eq!(records[0]["estimated"], true);
    assert_ne!(records[0]["cost"], "0.00");
    stage.fake.script(Behaviour::Calls);
    assert_eq!(stage.chat(json!({})).await.status, 200);
    let records = stage.settled(7).await;
    assert_eq!(records[0]["estimated"], true);
    assert!(records[0]["output_tokens"].as_u64() > Some(5), "what a tool is called with is output: {}", records[0]);
    stage.fake.script(Behaviour::Status(400));
    let refused = stage.chat(json!({})).await;
    assert_eq!((refused.status, &refused.json()["code"]), (400, &json!("invalid_request")));
    let error = refused.json()["error"].clone();
    assert_eq!((&error["param"], &error["code"]), (&json!("messages"), &json!("scripted")), "{error}");
    stage.settled(8).await;
    stage.server.admin().assert_audit().await;
}

#[tokio::test]
async fn a_client_that_leaves_is_charged_what_was_used() {
    let stage = Stage::set().await;
    stage.fake.script(Behaviour::Slow(150));
    let body =
        json!({"model": "gpt-4o-mini", "stream": true, "messages": [{"role": "user", "content": "Say hello to me"}]});
    let request = stage.customer.api.request(reqwest::Method::POST, "/v1/chat/completions").json(&body);
    let mut response = request.send().await.unwrap();
    response.chunk().await.unwrap();
    drop(response);
    let records = stage.settled(1).await;
    assert_eq!(records[0]["ending"], "client_left");
    assert_eq!(records[0]["cost"], COST, "drained to its usage");
    // One that waits for the whole answer.
    stage.fake.script(Behaviour::Slow(700));
    let body = json!({"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "Say hello to me"}]});
    let request = stage.customer.api.request(reqwest::Method::POST, "/v1/chat/completions").json(&body);
    let asked = tokio::spawn(request.send());
    while stage.fake.requests().len() < 2 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    asked.abort();
    let records = stage.settled(2).await;
    assert_eq!((&records[0]["ending"], &records[0]["cost"]), (&json!("client_left"), &json!(COST)));
    stage.server.admin().assert_audit().await;
}

#[tokio::test]
async fn a_stream_is_read_on_for_so_long_and_a_whole_answer_as_long_as_it_takes() {
    let stage = Stage::set_with(Options::default().set("FAREBOX_LIMITS__DRAIN_SECONDS", "1")).await;
    let ask = |stream: bool| {
        let body = json!({"model": "gpt-4o-mini", "stream": stream,
            "messages": [{"role": "user", "content": "Say hello to me"}]});
        stage.customer.api.request(reqwest::Method::POST, "/v1/chat/completions").json(&body)
    };
    stage.fake.script(Behaviour::Slow(1_500));
    let mut streamed = ask(true).send().await.unwrap();
    streamed.chunk().await.unwrap();
    drop(streamed);
    let records = stage.settled(1).await;
    assert_eq!((&records[0]["ending"], &records[0]["estimated"]), (&json!("client_left"), &json!(true)));
    // It is made and billed whole whether it is read or not: nothing but its usage says what it cost.
    stage.fake.script(Behaviour::Slow(1_500));
    let asked = tokio::spawn(ask(false).send());
    while stage.fake.requests().len() < 2 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    asked.abort();
    let records = stage.settled(2).await;
    assert_eq!(
        (&records[0]["ending"], &records[0]["cost"], &records[0]["estimated"]),
        (&json!("client_left"), &json!(COST), &json!(false))
    );
    stage.server.admin().assert_audit().await;
}

#[tokio::test]
async fn a_stream_is_left_at_once_where_reading_on_would_tell_nothing() {
    let stage = Stage::set().await;
    let body =
        json!({"model": "gpt-4o-mini", "stream": true, "messages": [{"role": "user", "content": "Say hello to me"}]});
    let leave = async |own_key: bool| {
        let mut request = stage.customer.api.request(reqwest::Method::POST, "/v1/chat/completions").json(&body);
        if own_key {
            request = request.header("provider-key", "sk-own");
        }
        let mut response = request.send().await.unwrap();
        response.chunk().await.unwrap();
        drop(response);
    };
    // A chunk takes so long that an answer read to its end would not be settled in time.
    let slow = Behaviour::Slow(4_500);
    stage.fake.script(slow);
    leave(true).await;
    let records = stage.settled(1).await;
    assert_eq!((&records[0]["ending"], &records[0]["cost"]), (&json!("client_left"), &json!("0.00")), "its own key");
    stage.fake.script(Behaviour::NoUsage);
    assert_eq!(stage.chat(json!({"stream": true})).await.status, 200);
    stage.settled(2).await;
    stage.fake.script(slow);
    leave(false).await;
    let records = stage.settled(3).await;
    assert_eq!((&records[0]["ending"], &records[0]["estimated"]), (&json!("client_left"), &json!(true)));
    // One that tells its usage again is read to it again.
    assert_eq!(stage.chat(json!({"stream": true})).await.status, 200);
    stage.settled(4).await;
    stage.fake.script(Behaviour::Slow(150));
    leave(false).await;
    let records = stage.settled(5).await;
    assert_eq!(
        (&records[0]["ending"], &records[0]["cost"]),
        (&json!("client_left"), &json!(COST)),
        "read to its usage"
    );
    stage.server.admin().assert_audit().await;
}

#[tokio::test]
async fn what_a_provider_reports_is_believed_within_reason() {
    let stage = Stage::set().await;
    stage.fake.script(Behaviour::Reports(5_000_000_000_000));
    assert_eq!(stage.chat(json!({})).await.status, 200);
    let records = stage.settled(1).await;
    assert_eq!((&records[0]["estimated"], &records[0]["output_tokens"]), (&json!(true), &json!(6)), "{records:?}");
    // Longer than what is read of one answer: made, and paid for by what was set aside.
    stage.fake.script(Behaviour::Long(33 << 20));
    assert_eq!(stage.chat(json!({"max_tokens": 1_000})).await.status, 502);
    let records = stage.settled(2).await;
    assert_eq!((&records[0]["estimated"], &records[0]["ending"]), (&json!(true), &json!("failed")));
    assert_ne!(records[0]["cost"], "0.00");
    assert_eq!(stage.balance().await["debt"], "0.00");
    stage.server.admin().assert_audit().await;
}

#[tokio::test]
async fn without_overdraft_a_cost_beyond_its_hold_takes_what_is_available_and_no_more() {
    let fake = FakeOpenAi::start();
    let options = Options::default().calling(fake.url()).set("FAREBOX_LIMITS__OVERDRAFT", "none");
    let server = Server::start(options).await;
    let admin = server.admin();
    let customer = admin.customer("free", "0").await;
    let body =
        json!({"model": "gpt-4o-mini", "max_tokens": 10, "messages": [{"role": "user", "content": "Say hello"}]});
    let ask = async || customer.api.post("/v1/chat/completions", &body).await.ok();
    let most = customer.api.post("/v1/quote", &body).await.ok()["cost"]["most"].clone();
    // 10,000 tokens x 0.60 / 1e6 are 0.006, and more than was asked for.
    fake.script(Behaviour::Reports(10_000));
    let answer = ask().await;
    let cost: billing::Nanos = answer["usage"]["cost"].as_str().unwrap().parse().unwrap();
    assert!(cost > "0.006".parse().unwrap() && cost > most.as_str().unwrap().parse().unwrap(), "{answer}");
    admin.void_all(&customer).await;
    admin.grant(&customer.id, "promo", "0.001").await;
    fake.script(Behaviour::Reports(10_000));
    assert_eq!(ask().await["usage"]["cost"], "0.001", "all there was");
    let balance = customer.api.get("/v1/balance").await.ok();
    assert_eq!(
        (&balance["available"], &balance["held"], &balance["debt"]),
        (&json!("0.00"), &json!("0.00"), &json!("0.00"))
    );
    admin.assert_audit().await;
}

#[tokio::test]
async fn a_live_chat_tells_its_cost_each_second_and_ends_with_its_key() {
    let stage = Stage::set().await;
    let key = stage.server.admin().create_key(&stage.customer.id).await;
    let mut socket = Socket::open(stage.server.url(), &key).await;
    stage.fake.script(Behaviour::Slow(500));
    let create = |id: &str| {
        let messages = json!([{"role": "user", "content": "Say hello to me"}]);
        json!({"type": "chat.create", "id": id, "body": {"model": "gpt-4o-mini", "messages": messages}})
    };
    socket.send(&create("a")).await;
    let cost = socket.next_of("chat.cost").await;
    assert!(cost["cost"].as_str().unwrap().parse::<billing::Nanos>().unwrap().is_positive(), "{cost}");
    assert_eq!(socket.next_of("chat.done").await["cost"], COST);
    let public = key.split('_').nth(1).unwrap();
    let keys = stage.customer.api.get("/v1/keys").await.ok()["data"].as_array().unwrap().clone();
    let id = keys.iter().find(|listed| listed.to_string().contains(public)).unwrap()["id"].as_str().unwrap().to_owned();
    let deleted = stage.customer.api.request(reqwest::Method::DELETE, &format!("/v1/keys/{id}")).send().await.unwrap();
    assert_eq!(deleted.status(), 200);
    assert_eq!(socket.close_code().await, 1008);
    stage.settled(1).await;
    stage.server.admin().assert_audit().await;
}

#[tokio::test]
async fn what_is_wrong_is_named_and_costs_nothing() {
    let stage = Stage::set().await;
    for (more, param) in [
        (json!({"temperature": -1}), "temperature"),
        (json!({"max_tokens": 0}), "max_tokens"),
        (json!({"messages": []}), "messages"),
        (json!({"messages": "hi"}), "messages"),
        (json!({"max_cost": "NaN"}), "max_cost"),
        (json!({"max_cost": 1e30}), "max_cost"),
        (json!({"max_cost": -5e-5}), "max_cost"),
        (json!({"n": 1000}), "n"),
        (json!({"service_tier": "flex"}), "service_tier"),
    ] {
        let answer = stage.chat(more.clone()).await;
        assert_eq!(answer.status, 400, "{more}: {}", answer.body);
        assert_eq!(answer.json()["error"]["param"], param, "{more}: {}", answer.body);
    }
    let unknown = stage.chat(json!({"model": "gpt-4o-mimi"})).await;
    assert_eq!((unknown.status, &unknown.json()["code"]), (404, &json!("model_not_found")));
    assert_eq!(unknown.json()["nearest"][0], "gpt-4o-mini");
    let large = stage.chat(json!({"messages": [{"role": "user", "content": "x".repeat(11 << 20)}]})).await;
    assert_eq!(large.status, 413, "{}", large.body);
    for key in ["fb_000000000000_0000000000000000000000000000000000000000", "sk-other", ""] {
        let answer = stage.server.api(key).post("/v1/chat/completions", &json!({})).await;
        assert_eq!(answer.status, 401, "{key}: {}", answer.body);
    }
    assert_eq!(stage.fake.requests().len(), 0);
    assert_eq!(stage.records().await.len(), 0);
    stage.server.admin().assert_audit().await;
}

#[tokio::test]
async fn without_credits_there_is_a_402_and_a_purchase_ends_it() {
    let stage = Stage::set().await;
    let admin = stage.server.admin();
    let poor = admin.customer("free", "0.000001").await;
    let body = json!({"model": "gpt-4.1", "max_tokens": 16384, "messages": [{"role": "user", "content": "long ".repeat(500_000)}]});
    let refused = poor.api.post("/v1/chat/completions", &body).await;
    assert_eq!(refused.status, 402, "{}", refused.body);
    let start =
        r#"{"status":402,"error":"Payment Required","message":"Insufficient credits. Please add credits to continue.""#;
    assert!(refused.body.starts_with(start), "{}", refused.body);
    for (amount, status) in [("0", 400), ("-1", 400), ("NaN", 400), ("1e30", 400), ("1.001", 400), ("0.99", 400)] {
        let answer = poor.api.post("/v1/credits/purchase", &json!({"amount": amount})).await;
        assert_eq!(answer.status, status, "{amount}: {}", answer.body);
        assert_eq!(answer.json()["field"], "amount", "{}", answer.body);
    }
    let declined = json!({"amount": "20", "payment_method": "pm_card_visa_chargeDeclined"});
    let declined = poor.api.post("/v1/credits/purchase", &declined).await;
    assert_eq!((declined.status, &declined.json()["code"]), (422, &json!("payment_declined")));
    let bought =
        poor.api.post("/v1/credits/purchase", &json!({"amount": "20", "payment_method": "pm_card_visa"})).await.ok();
    assert_eq!(bought["payment"]["status"], "succeeded");
    assert_eq!(bought["balance"]["tier"]["largest_class"], "35B");
    assert_eq!(poor.api.post("/v1/chat/completions", &body).await.status, 200);
    admin.assert_audit().await;
}

#[tokio::test]
async fn the_callers_own_key_costs_nothing_and_is_recorded() {
    let stage = Stage::set().await;
    let body = json!({"model": "openai/gpt-4o-mini", "messages": [{"role": "user", "content": "Say hello to me"}]});
    let request = stage.customer.api.request(reqwest::Method::POST, "/v1/chat/completions").json(&body);
    let response = request.header("provider-key", "sk-own").send().await.unwrap();
    assert_eq!(response.status(), 200);
    let records = stage.settled(1).await;
    assert_eq!(records[0]["cost"], "0.00");
    assert_eq!(records[0]["output_tokens"], 6);
    assert_eq!(stage.balance().await["available"], "10.00");
    stage.server.admin().assert_audit().await;
    // Without ours either, theirs is needed.
    let options = Options::default().set("FAREBOX_PROVIDERS__OPENAI__BASE_URL", stage.fake.url());
    let server = Server::start(options).await;
    let customer = server.admin().customer("payg", "5").await;
    let refused = customer.api.post("/v1/chat/completions", &body).await;
    assert_eq!((refused.status, &refused.json()["error"]["param"]), (400, &json!("provider-key")), "{}", refused.body);
    let request = customer.api.request(reqwest::Method::POST, "/v1/chat/completions").json(&body);
    assert_eq!(request.header("provider-key", "sk-own").send().await.unwrap().status(), 200);
    assert_eq!(stage.fake.requests().len(), 2);
    // What a tier costs is between them and their provider; with our key it is the one that has a price here.
    let fast =
        json!({"model": "gpt-4o-mini", "service_tier": "priority", "messages": [{"role": "user", "content": "Hi"}]});
    let request = customer.api.request(reqwest::Method::POST, "/v1/chat/completions").json(&fast);
    assert_eq!(request.header("provider-key", "sk-own").send().await.unwrap().status(), 200);
    assert_eq!(stage.chat(json!({"service_tier": "auto"})).await.status, 200);
    let tiers: Vec<Value> = stage.fake.requests().iter().map(|sent| sent["service_tier"].clone()).collect();
    assert_eq!(json!(tiers), json!([null, null, "priority", "default"]));
    server.admin().assert_audit().await;
}

/// Sends so many requests of both customers at once; how many of each were answered 200. Others must say 502 or 503.
async fn volley(stage: &Stage, other: &Customer, count: usize) -> [usize; 2] {
    let mut calls = tokio::task::JoinSet::new();
    for n in 0..count {
        let api = if n % 2 == 0 { stage.customer.api.clone() } else { other.api.clone() };
        let body = json!({"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "Say hello to me"}]});
        calls.spawn(async move { (n % 2, api.post("/v1/chat/completions", &body).await) });
    }
    let mut answered = [0, 0];
    while let Some(call) = calls.join_next().await {
        let (whose, answer) = call.unwrap();
        assert!([200, 502, 503].contains(&answer.status), "{}", answer.body);
        answered[whose] += usize::from(answer.status == 200);
    }
    answered
}

#[tokio::test]
async fn actors_that_die_take_no_other_account_and_no_money_with_them() {
    let stage = Stage::set().await;
    let admin = stage.server.admin();
    let other = admin.customer("payg", "1").await;
    assert_eq!(volley(&stage, &other, 40).await, [20, 20]);
    let mut victims = 0;
    for _ in 0..5 {
        let fault = json!({"account": stage.customer.id});
        let (answered, _) = tokio::join!(volley(&stage, &other, 40), admin.0.post("/admin/v1/faults", &fault));
        victims += answered[0];
        assert_eq!(answered[1], 20, "another account noticed\n{}", stage.server.logs());
    }
    for fault in [json!({"provider": "openai"}), json!({"journal": {}})] {
        let _ = tokio::join!(volley(&stage, &other, 40), admin.0.post("/admin/v1/faults", &fault));
        let deadline = Instant::now() + Duration::from_secs(20);
        while volley(&stage, &other, 2).await != [1, 1] {
            assert!(Instant::now() < deadline, "did not come back after {fault}\n{}", stage.server.logs());
        }
    }
    assert_eq!(volley(&stage, &other, 40).await, [20, 20], "after {victims} of 100\n{}", stage.server.logs());
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        let audit = admin.audit().await;
        assert_eq!(audit["ok"], true, "{audit}");
        if audit["open_holds"] == 0 {
            break;
        }
        assert!(Instant::now() < deadline, "holds are left: {audit}\n{}", stage.server.logs());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let actors = admin.actors().await;
    let panics = |kind: &str| {
        let of_kind = actors["actors"].as_array().unwrap().iter().filter(|actor| actor["kind"] == kind);
        of_kind.map(|actor| actor["panics"].as_u64().unwrap()).sum::<u64>()
    };
    assert_eq!((panics("account"), panics("provider"), panics("journal")), (5, 1, 1), "{actors}");
    let waiting = |actor: &Value| actor["mailbox_depth"].as_i64() != Some(0);
    assert!(!actors["actors"].as_array().unwrap().iter().any(waiting), "what the dead had not read: {actors}");
}

#[tokio::test]
async fn nothing_acknowledged_is_lost_and_nothing_charged_twice_by_kill_nine() {
    let mut stage = Stage::set().await;
    let rounds: usize = std::env::var("FAREBOX_TEST_KILLS").map_or(8, |rounds| rounds.parse().unwrap());
    assert!(rounds > 0, "FAREBOX_TEST_KILLS=0 kills nothing");
    let mut acknowledged = std::collections::HashSet::new();
    for round in 0..rounds {
        let mut calls = tokio::task::JoinSet::new();
        for _ in 0..16 {
            let request = stage.customer.api.request(reqwest::Method::POST, "/v1/chat/completions");
            let body = json!({"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "Say hello to me"}]});
            calls.spawn(async move {
                let response = request.json(&body).send().await.ok()?;
                let id = response.headers().get("x-request-id")?.to_str().ok()?.to_owned();
                let ok = response.status() == 200;
                response.bytes().await.ok().filter(|_| ok).map(|_| id)
            });
        }
        // After some answers, in the middle of the others.
        for _ in 0..(round * 3) % 16 {
            if let Some(Ok(Some(id))) = calls.join_next().await {
                acknowledged.insert(id);
            }
        }
        stage.server.kill_nine();
        while let Some(call) = calls.join_next().await {
            acknowledged.extend(call.unwrap());
        }
        stage.server.restart().await;
        // A new life listens on a new port.
        stage.customer.api = stage.server.api(&stage.customer.key);
        let audit = stage.server.admin().audit().await;
        assert_eq!(audit["ok"], true, "round {round}: {audit}\n{}", stage.server.logs());
    }
    for id in &acknowledged {
        let record = stage.customer.api.get(&format!("/v1/requests/{id}")).await;
        assert_eq!(record.status, 200, "{id} was acknowledged and is lost");
        assert_eq!(record.json()["cost"], COST);
    }
    assert!(!acknowledged.is_empty());
    let deadline = Instant::now() + Duration::from_secs(20);
    while stage.balance().await["held"] != "0.00" {
        assert!(Instant::now() < deadline, "holds are left\n{}", stage.server.logs());
    }
    stage.server.admin().assert_audit().await;
}

#[tokio::test]
async fn a_stream_that_dies_with_the_process_is_charged_its_last_checkpoint() {
    let mut stage = Stage::set().await;
    stage.fake.script(Behaviour::Slow(600));
    let body = json!({"model": "gpt-4o-mini", "stream": true, "max_tokens": 6,
        "messages": [{"role": "user", "content": "Say hello to me"}]});
    let request = stage.customer.api.request(reqwest::Method::POST, "/v1/chat/completions").json(&body);
    let mut response = request.send().await.unwrap();
    let mut seen = String::new();
    while !seen.contains("provider") {
        seen.push_str(&String::from_utf8_lossy(&response.chunk().await.unwrap().unwrap()));
    }
    stage.server.kill_nine();
    stage.server.restart().await;
    stage.customer.api = stage.server.api(&stage.customer.key);
    let records = stage.settled(1).await;
    assert_eq!(
        (&records[0]["ending"], &records[0]["provider"]),
        (&json!("recovered"), &json!("openai")),
        "{records:?}"
    );
    assert_eq!(records[0]["estimated"], true);
    let charged: billing::Nanos = records[0]["cost"].as_str().unwrap().parse().unwrap();
    let whole: billing::Nanos = COST.parse().unwrap();
    assert!(charged.is_positive() && charged <= whole + whole, "{charged}");
    stage.server.admin().assert_audit().await;
}

#[tokio::test]
async fn a_process_that_was_taken_over_writes_nothing_more_and_ends() {
    let (ledger, fake) = (TestLedger::usual(), FakeOpenAi::start());
    let mut older = Server::start(ledger.options().calling(fake.url())).await;
    let customer = older.admin().customer("payg", "5").await;
    let body = json!({"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "Say hello to me"}]});
    assert_eq!(customer.api.post("/v1/chat/completions", &body).await.status, 200);
    let newer = Server::start(ledger.options().calling(fake.url()).with_argument("--take-over")).await;
    // It may have ended by now.
    match customer.api.request(Method::POST, "/v1/chat/completions").json(&body).send().await {
        Ok(refused) => assert_eq!(refused.status(), 503),
        Err(gone) => assert!(gone.is_connect(), "{gone}"),
    }
    let status = older.wait_for_end().await;
    assert!(!status.success(), "{status}");
    let api = newer.api(&customer.key);
    assert_eq!(api.post("/v1/chat/completions", &body).await.status, 200);
    let records = api.get("/v1/requests").await.ok()["data"].as_array().unwrap().len();
    assert_eq!((records, fake.requests().len()), (2, 2), "what was refused was never sent");
    newer.admin().assert_audit().await;
}
