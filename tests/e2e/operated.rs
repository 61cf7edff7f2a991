//! What operators do to accounts and to what runs models, and what stays of it: an account that is frozen admits nothing
//! anywhere, and loses nothing; acts are kept over restarts, from all nodes; what was lost with a process is told in money.

use reqwest::Method;
use serde_json::{Value, json};

use super::nodes::Stage;
use crate::support::{
    client::{Answer, Api, Customer, answer},
    fake_openai::{Behaviour, FakeOpenAi},
    pages::{Visitor, client, hidden},
    server::{Options, Server},
    socket::Socket,
};

async fn stage() -> (FakeOpenAi, Server, Customer) {
    let fake = FakeOpenAi::start();
    let server = Server::start(Options::default().calling(fake.url())).await;
    let customer = server.admin().customer("payg", "5").await;
    (fake, server, customer)
}

pub(super) fn chat(stream: bool) -> Value {
    json!({"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "Say hello to me"}], "stream": stream})
}

pub(super) async fn ask(api: &Api) -> Answer {
    api.post("/v1/chat/completions", &chat(false)).await
}

/// Has an account frozen or unfrozen.
pub(super) async fn freeze(server: &Server, account: &str, act: &str) -> Answer {
    server.admin().0.post(&format!("/admin/v1/accounts/{account}/{act}"), &json!({"reason": "a stolen card"})).await
}

fn assert_frozen(refused: &Answer) {
    assert_eq!(refused.status, 403, "{}", refused.body);
    assert!(refused.body.contains("is frozen"), "{}", refused.body);
    assert_eq!(refused.header("x-should-retry"), Some("false"), "it lasts until somebody acts");
}

/// Asks in every format, over HTTP and on a socket: all are refused, each in its own form.
async fn is_refused_everywhere(server: &Server, customer: &Customer) {
    let refused = ask(&customer.api).await;
    assert_frozen(&refused);
    assert_eq!(
        (&refused.json()["code"], &refused.json()["error"]["code"]),
        (&json!("account_frozen"), &json!("account_frozen"))
    );
    assert!(refused.json()["since"].is_string(), "{}", refused.body);
    for (path, body) in [
        ("/v1/chat/completions", chat(true)),
        ("/v1/completions", json!({"model": "gpt-3.5-turbo-instruct", "prompt": "hello"})),
        ("/v1/responses", json!({"model": "gpt-4o-mini", "input": "hello"})),
        (
            "/v1/messages",
            json!({"model": "gpt-4o-mini", "max_tokens": 9, "messages": [{"role": "user", "content": "x"}]}),
        ),
        ("/v2/chat", json!({"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "x"}]})),
        (
            "/v1beta/models/gpt-4o-mini:generateContent",
            json!({"contents": [{"role": "user", "parts": [{"text": "x"}]}]}),
        ),
        ("/v1/embeddings", json!({"model": "text-embedding-3-small", "input": "hello"})),
    ] {
        let refused = customer.api.post(path, &body).await;
        assert_frozen(&refused);
    }
    // With a key of the caller's own nothing would be charged, and nothing runs either.
    let own = customer.api.request(Method::POST, "/v1/chat/completions").header("provider-key", "sk-own");
    assert_frozen(&answer(own.json(&chat(false))).await);
    let quote = customer.api.post("/v1/quote", &chat(false)).await;
    assert!(quote.body.contains("account_frozen"), "{}", quote.body);
    let mut socket = Socket::open(server.url(), &customer.key).await;
    socket.send(&json!({"type": "chat.create", "id": "1", "body": chat(false)})).await;
    let refused = socket.next_of("error").await;
    assert_eq!((&refused["code"], &refused["status"]), (&json!("account_frozen"), &json!(403)), "{refused}");
}

#[tokio::test]
async fn a_frozen_account_admits_nothing_in_any_format_while_what_runs_ends_and_money_comes_and_goes_by_hand() {
    let (fake, mut server, mut customer) = stage().await;
    let bought = json!({"amount": "10", "payment_method": "pm_card_visa"});
    let bought = customer.api.post("/v1/credits/purchase", &bought).await.ok();
    fake.script(Behaviour::Slow(300));
    let started = customer.api.request(Method::POST, "/v1/chat/completions").json(&chat(true)).send();
    let mut stream = started.await.unwrap();
    let unsaid = server.admin().0.post(&format!("/admin/v1/accounts/{}/freeze", customer.id), &json!({})).await;
    assert_eq!((unsaid.status, &unsaid.json()["field"]), (400, &json!("reason")), "{}", unsaid.body);
    let frozen = freeze(&server, &customer.id, "freeze").await.ok();
    assert_eq!((&frozen["id"], &frozen["frozen"]), (&json!(customer.id), &json!(true)), "{frozen}");
    is_refused_everywhere(&server, &customer).await;
    // What ran is answered to its end, and charged.
    let mut text = String::new();
    while let Some(chunk) = stream.chunk().await.unwrap() {
        text.push_str(&String::from_utf8_lossy(&chunk));
    }
    assert!(text.contains("[DONE]"), "{text}");
    let record = customer.settled(1).await[0].clone();
    assert!(record["ending"] == "completed" && record["cost"] != "0.00", "{record}");
    // It lasts over a restart, and is told to owner and operator.
    server.restart().await;
    customer.api = server.api(&customer.key);
    is_refused_everywhere(&server, &customer).await;
    let own = customer.api.get("/v1/account").await.ok();
    assert!(own["frozen_at"].is_string(), "{own}");
    let listed = server.admin().0.get("/admin/v1/accounts").await.ok();
    assert_eq!(listed["data"][0]["frozen_at"], own["frozen_at"], "{listed}");
    let seen = server.admin().account(&customer.id).await;
    assert_eq!(
        (&seen["frozen_at"], &seen["last_actions"][0]["action"]),
        (&own["frozen_at"], &json!("freeze")),
        "{seen}"
    );
    assert_eq!(seen["last_actions"][0]["reason"], "a stolen card");
    let events = customer.api.get("/v1/events").await.ok();
    assert_eq!(events["data"][0]["kind"], "account_frozen", "{events}");
    assert!(!events.to_string().contains("stolen"), "the operator's reason is not the owner's: {events}");
    let refused = ask(&customer.api).await;
    let explain = format!("/admin/v1/requests/{}/explain", refused.header("x-request-id").unwrap());
    let explained = server.admin().0.get(&explain).await.ok();
    assert!(explained["says"].as_str().unwrap().contains("account_frozen"), "{explained}");
    // Keys stay, money comes and goes by hand, and a second freeze says so.
    assert_eq!(customer.api.get("/v1/keys").await.status, 200);
    let again = json!({"amount": "20", "payment_method": "pm_card_visa"});
    assert_eq!(customer.api.post("/v1/credits/purchase", &again).await.status, 200);
    let payment = bought["payment"]["id"].as_str().unwrap();
    let refund = server.admin().0.post(&format!("/admin/v1/payments/{payment}/refund"), &json!({"reason": "x"})).await;
    assert!(matches!(refund.status, 200 | 202), "{}", refund.body);
    server.admin().grant(&customer.id, "goodwill", "1").await;
    let twice = freeze(&server, &customer.id, "freeze").await;
    assert_eq!((twice.status, &twice.json()["code"]), (409, &json!("conflict")), "{}", twice.body);
    // One request under one key acts once.
    let unfreeze = format!("/admin/v1/accounts/{}/unfreeze", customer.id);
    for _ in 0..2 {
        let request = server.admin().0.request(Method::POST, &unfreeze).header("idempotency-key", "one");
        assert_eq!(answer(request.json(&json!({"reason": "found"}))).await.ok()["frozen"], false);
    }
    assert_eq!(ask(&customer.api).await.status, 200);
    let actions = server.admin().0.get(&format!("/admin/v1/accounts/{}/actions", customer.id)).await.ok();
    let names: Vec<_> = actions["data"].as_array().unwrap().iter().map(|row| row["action"].clone()).collect();
    assert_eq!(names.iter().filter(|name| *name == "unfreeze").count(), 1, "{names:?}");
    assert_eq!(freeze(&server, &customer.id, "unfreeze").await.status, 409);
    assert_eq!(freeze(&server, "nobody@example.com", "freeze").await.status, 404);
    assert_eq!(customer.api.post(&unfreeze, &json!({"reason": "mine"})).await.status, 401, "an owner can't");
    server.admin().assert_audit().await;
}

#[tokio::test]
async fn a_frozen_account_buys_nothing_by_itself_until_it_is_unfrozen() {
    let (_fake, server, customer) = stage().await;
    freeze(&server, &customer.id, "freeze").await.ok();
    let reload = json!({"enabled": true, "threshold": "100", "amount": "10", "payment_method": "pm_card_visa"});
    let set = answer(customer.api.request(Method::PUT, "/v1/auto-reload").json(&reload)).await;
    assert_eq!(set.status, 200, "{}", set.body);
    let payments = async || customer.api.get("/v1/payments").await.ok()["data"].as_array().unwrap().len();
    assert_eq!(payments().await, 0);
    freeze(&server, &customer.id, "unfreeze").await.ok();
    assert_eq!(payments().await, 1, "in the same commit");
    server.admin().assert_audit().await;
}

#[tokio::test]
async fn an_account_that_is_frozen_at_one_node_is_frozen_at_all_and_acts_of_all_nodes_are_listed() {
    let Some(stage) = Stage::with(2, &[]).await else { return };
    let customers = stage.customers(8).await;
    let ask_at = async |node: &Server, customer: &Customer| ask(&node.api(&customer.key)).await;
    for (number, customer) in customers.iter().enumerate() {
        freeze(&stage.nodes[number % 2], &customer.id, "freeze").await.ok();
        for node in &stage.nodes {
            assert_frozen(&ask_at(node, customer).await);
        }
    }
    for (number, node) in stage.nodes.iter().enumerate() {
        let reason = json!({"reason": format!("node {number}")});
        node.admin().0.post("/admin/v1/providers/openai/pause", &reason).await.ok();
        node.admin().0.post("/admin/v1/providers/openai/resume", &reason).await.ok();
    }
    let listed = stage.nodes[0].admin().0.get("/admin/v1/operations").await.ok();
    let of = |row: &Value| (row["act"].clone(), row["reason"].clone(), row["node"].clone());
    // Customers were made before.
    let is_of_provider = |row: &&Value| row["subject"] == "provider openai";
    let rows: Vec<_> = listed["data"].as_array().unwrap().iter().filter(is_of_provider).map(of).collect();
    assert_eq!(rows.len(), 4, "{listed}");
    assert!(rows[0].2.is_string() && rows[2].2.is_string() && rows[0].2 != rows[2].2, "each tells its node: {rows:?}");
    assert_eq!(stage.nodes[1].admin().0.get("/admin/v1/operations").await.ok(), listed);
    for customer in &customers {
        freeze(&stage.nodes[1], &customer.id, "unfreeze").await.ok();
        assert_eq!(ask_at(&stage.nodes[0], customer).await.status, 200);
    }
    stage.assert_clean().await;
}

#[tokio::test]
async fn an_operator_freezes_an_account_from_the_command_line_and_from_its_page() {
    let (_fake, server, customer) = stage().await;
    let cli = |arguments: &[&str]| {
        let output = server.cli(arguments);
        let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        (output.status.success(), said)
    };
    let (is_done, said) = cli(&["account", "freeze", &customer.id, "--reason", "a stolen card"]);
    assert!(is_done && said.contains("frozen"), "{said}");
    assert_frozen(&ask(&customer.api).await);
    let (is_done, said) = cli(&["account", "freeze", &customer.id, "--reason", "again"]);
    assert!(!is_done && said.contains("frozen since"), "{said}");
    let form = [("token", Server::admin_token()), ("next", "/operator")];
    let signed_in = client().post(format!("{}/operator/sign-in", server.url())).form(&form).send().await.unwrap();
    let operator = Visitor::signed_in(&server, "/operator", signed_in, &[], "").await;
    let page = format!("/accounts/{}", customer.id);
    let shown = operator.get(&page).await.body;
    assert!(shown.contains("Unfreeze the account") && shown.contains("a stolen card"), "{shown}");
    assert!(operator.get("/accounts").await.body.contains("frozen"));
    let once = hidden(&shown, "once");
    let fields = [("once", once.as_str()), ("reason", "found")];
    for _ in 0..2 {
        let sent = operator.send(&format!("{page}/unfreeze"), &fields).await;
        assert_eq!((sent.status, sent.header("location")), (303, Some(&*format!("/operator{page}?said=unfrozen"))));
    }
    assert_eq!(ask(&customer.api).await.status, 200);
    let once = hidden(&operator.get(&page).await.body, "once");
    assert_eq!(
        operator.send(&format!("{page}/freeze"), &[("once", once.as_str())]).await.status,
        400,
        "without a reason"
    );
    operator.send(&format!("{page}/freeze"), &[("once", once.as_str()), ("reason", "again")]).await;
    assert_frozen(&ask(&customer.api).await);
    // The owner's page says it.
    let url = format!("{}/dashboard/sign-in", server.url());
    let signed_in = client().post(url).form(&[("key", &*customer.key)]).send().await.unwrap();
    let owner = Visitor::signed_in(&server, "/dashboard", signed_in, &[], "").await;
    let shown = owner.get("").await.body;
    assert!(shown.contains("has been frozen since") && !shown.contains("again"), "{shown}");
    server.admin().assert_audit().await;
}

#[tokio::test]
async fn acts_are_kept_over_restarts_page_by_page_with_who_why_and_what_came_of_them() {
    let (_fake, mut server, _) = stage().await;
    let admin = server.admin();
    for (act, reason) in [("pause", "their invoice"), ("resume", "paid")] {
        admin.0.post(&format!("/admin/v1/providers/openai/{act}"), &json!({"reason": reason})).await.ok();
    }
    let refused = json!({"actor": "journal", "reason": "why not"});
    assert_eq!(admin.0.post("/admin/v1/actors/restart", &refused).await.status, 409);
    let form = [("token", Server::admin_token()), ("next", "/operator")];
    let signed_in = client().post(format!("{}/operator/sign-in", server.url())).form(&form).send().await.unwrap();
    let operator = Visitor::signed_in(&server, "/operator", signed_in, &[], "").await;
    let sent = operator.send("/acts", &[("act", "restart"), ("subject", "sweeper"), ("reason", "<b>dull</b>")]).await;
    assert_eq!(sent.status, 303, "{}", sent.body);
    let before = admin.0.get("/admin/v1/operations").await.ok();
    server.kill_nine();
    server.restart().await;
    let admin = server.admin();
    let kept = admin.0.get("/admin/v1/operations").await.ok();
    assert_eq!(kept, before, "nothing was lost");
    let of = |row: &Value| {
        [&row["act"], &row["subject"], &row["reason"], &row["known_by"]].map(|it| it.as_str().unwrap().to_owned())
    };
    let rows: Vec<_> = kept["data"].as_array().unwrap().iter().map(of).collect();
    let made = rows[4..].iter().map(|[act, ..]| act.as_str());
    assert!(made.eq(["create_key", "create_account"]), "{rows:?}");
    assert_eq!(
        rows[..4],
        [
            ["restart", "sweeper", "<b>dull</b>", "session"],
            ["restart", "journal", "why not", "token"],
            ["resume", "provider openai", "paid", "token"],
            ["pause", "provider openai", "their invoice", "token"],
        ]
    );
    assert!(kept["data"][1]["failed"].is_string() && kept["data"][0]["failed"].is_null(), "{kept}");
    let first = admin.0.get("/admin/v1/operations?limit=3").await.ok();
    let cursor = first["next_cursor"].as_str().unwrap();
    let rest = admin.0.get(&format!("/admin/v1/operations?limit=3&cursor={cursor}")).await.ok();
    assert_eq!((rest["data"].as_array().unwrap().len(), &rest["data"][0]), (3, &kept["data"][3]));
    let form = [("token", Server::admin_token()), ("next", "/operator")];
    let signed_in = client().post(format!("{}/operator/sign-in", server.url())).form(&form).send().await.unwrap();
    let operator = Visitor::signed_in(&server, "/operator", signed_in, &[], "").await;
    let shown = operator.get("/acts").await.body;
    assert!(shown.contains("their invoice") && !shown.contains("<b>dull"), "{shown}");
    assert!(String::from_utf8_lossy(&server.cli(&["operations"]).stdout).contains("their invoice"));
    admin.assert_audit().await;
}

#[tokio::test]
async fn what_was_lost_with_a_process_is_told_by_month_and_kind() {
    let (fake, mut server, mut customer) = stage().await;
    assert_eq!(server.admin().0.get("/admin/v1/money").await.ok()["write_offs"], json!([]));
    fake.script(Behaviour::Slow(400));
    let started = customer.api.request(Method::POST, "/v1/chat/completions").json(&chat(true)).send();
    let mut stream = started.await.unwrap();
    assert!(stream.chunk().await.unwrap().is_some());
    server.kill_nine();
    server.restart().await;
    customer.api = server.api(&customer.key);
    let record = customer.settled(1).await[0].clone();
    assert!(["written_off", "recovered"].contains(&record["ending"].as_str().unwrap()), "{record}");
    let money = server.admin().0.get("/admin/v1/money").await.ok();
    let lost = &money["write_offs"][0];
    assert_eq!((&lost["kind"], &lost["requests"]), (&record["ending"], &json!(1)), "{money}");
    assert_eq!(lost["month"].as_str(), record["ended_at"].as_str().map(|at| &at[..7]), "{money}");
    assert_eq!(lost["charged"], record["cost"], "{money}");
    assert!(lost["given_back"].as_str().unwrap().parse::<f64>().unwrap() > 0.0, "what was held: {money}");
    server.admin().assert_audit().await;
}
