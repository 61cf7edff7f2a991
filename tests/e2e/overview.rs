//! What operators see and do: faults are in the one picture within a second, any request is explained, one that runs is ended, one
//! that was refused says which limit it was, and a provider is paused and called again without a failed request.

use std::{
    process::Command,
    time::{Duration, Instant},
};

use reqwest::Method;
use serde_json::{Value, json};

use super::nodes::Stage;
use crate::support::{
    client::{Answer, Customer, answer},
    fake_openai::{Behaviour, FakeOpenAi},
    server::{Options, Server},
};

/// How soon a fault must be seen. A loaded machine is given some more than the second that is promised: what is measured is that
/// nobody waits for a heartbeat, an audit or a restart.
const SOON: Duration = Duration::from_secs(10);

async fn stage() -> (FakeOpenAi, Server, Customer) {
    let fake = FakeOpenAi::start();
    let server = Server::start(Options::default().calling(fake.url()).set("FAREBOX_FAULTS", "true")).await;
    let customer = server.admin().customer("payg", "5").await;
    (fake, server, customer)
}

async fn overview(server: &Server) -> Value {
    server.admin().0.get("/admin/v1/overview").await.ok()
}

async fn fault(server: &Server, fault: Value) {
    server.admin().0.post("/admin/v1/faults", &fault).await.ok();
}

/// The first trouble of a picture that is so, as soon as there is one.
async fn trouble(server: &Server, is_so: impl Fn(&Value) -> bool) -> Value {
    let began = Instant::now();
    loop {
        let seen = overview(server).await;
        if let Some(found) = seen["troubles"].as_array().unwrap().iter().find(|trouble| is_so(trouble)) {
            assert_ne!(seen["verdict"], "ok", "{seen}");
            return found.clone();
        }
        assert!(began.elapsed() < SOON, "{:#}", seen["troubles"]);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

fn says(trouble: &Value, what: &str, why: &str) -> bool {
    trouble["what"].as_str().unwrap().contains(what) && trouble["why"].as_str().unwrap().contains(why)
}

fn chat(stream: bool) -> Value {
    json!({"model": "gpt-4o-mini", "stream": stream, "messages": [{"role": "user", "content": "Say hello"}]})
}

async fn ask(customer: &Customer) -> Answer {
    customer.api.post("/v1/chat/completions", &chat(false)).await
}

#[tokio::test]
async fn one_picture_has_all_that_runs_and_nothing_is_wrong_with_it() {
    let (_fake, server, customer) = stage().await;
    assert_eq!(ask(&customer).await.status, 200);
    let seen = overview(&server).await;
    assert_eq!((&seen["verdict"], &seen["troubles"]), (&json!("ok"), &json!([])), "{seen}");
    let named = |list: &str, name: &str| {
        let found = seen[list].as_array().unwrap().iter().find(|it| it["name"] == name || it["message"] == name);
        found.unwrap_or_else(|| panic!("no {name} in {list}: {seen}")).clone()
    };
    for thread in ["requests-0", "actors-0", "journal", "projector", "main"] {
        let thread = named("executors", thread);
        assert!(thread["busy_permille"].as_u64().unwrap() <= 1_000 && thread["blocked_ms"].is_null(), "{thread}");
    }
    for message in ["Enter", "Settle"] {
        let times = named("messages", message);
        assert!(times["handled"].as_u64().unwrap() >= 1 && times["kind"] == "account", "{times}");
        assert!(times["wait"]["p50_us"].as_u64().unwrap() <= times["wait"]["longest_us"].as_u64().unwrap(), "{times}");
    }
    let provider = named("providers", "openai");
    assert_eq!(
        (&provider["circuit"], &provider["keys"], &provider["completed"]),
        (&json!("closed"), &json!(1), &json!(1))
    );
    assert!(!provider.to_string().contains("sk-test"), "a key is shown: {provider}");
    assert!(provider["whole_p99_ms"].as_u64().is_some(), "{provider}");
    assert!(seen["kinds"].as_array().unwrap().iter().all(|kind| kind["lost"] == 0 && kind["refused"] == 0), "{seen}");
    let money = server.admin().0.get("/admin/v1/money").await.ok();
    assert_eq!((&money["accounts"], &money["last_audit"]), (&json!(1), &Value::Null), "{money}");
    server.admin().assert_audit().await;
    let money = server.admin().0.get("/admin/v1/money").await.ok();
    assert_eq!(money["last_audit"]["found"]["ok"], true, "{money}");
}

#[tokio::test]
async fn a_panic_a_freeze_a_full_mailbox_and_a_failing_provider_are_seen_at_once() {
    let (fake, server, customer) = stage().await;
    fault(&server, json!({"journal": {}})).await;
    trouble(&server, |it| says(it, "journal", "panicked")).await;
    // A frozen actor takes its thread with it: the thread is seen, and since when.
    fault(&server, json!({"freeze": {"provider": "openai", "ms": 4_000}})).await;
    let blocked = trouble(&server, |it| says(it, "thread actors-0", "blocked for")).await;
    assert_eq!(blocked["verdict"], "down", "{blocked}");
    // What the actor that charges cards can't take any more is refused at once, and counted.
    let body = json!({"amount": "10", "payment_method": "pm_card_authenticationRequired"});
    let began = Instant::now();
    let payment = loop {
        let waits = customer.api.post("/v1/credits/purchase", &body).await;
        if waits.status == 202 {
            break waits.json()["payment"]["id"].as_str().unwrap().to_owned();
        }
        assert!(began.elapsed() < SOON * 3, "{} {}", waits.status, waits.body);
    };
    fault(&server, json!({"freeze": {"ms": 4_000}})).await;
    let path = format!("/v1/payments/{payment}");
    let asked = (0..400).map(|_| customer.api.get(&path));
    let (_, full) = tokio::join!(
        futures::future::join_all(asked),
        trouble(&server, |it| says(it, "payment mailboxes", "found a full mailbox"))
    );
    assert_eq!(full["verdict"], "degraded", "{full}");
    // A provider that fails: its circuit opens, and the picture says why.
    for _ in 0..25 {
        fake.script(Behaviour::Status(500));
    }
    for _ in 0..25 {
        assert_ne!(ask(&customer).await.status, 200);
    }
    trouble(&server, |it| says(it, "provider openai", "calls failed (HTTP 500)")).await;
    let provider = openai(&server).await;
    assert!(provider["failed"].as_u64().unwrap() >= 20, "{provider}");
    server.admin().assert_audit().await;
}

/// The provider, as the picture has it.
async fn openai(server: &Server) -> Value {
    let seen = overview(server).await;
    let found = seen["providers"].as_array().unwrap().iter().find(|provider| provider["name"] == "openai");
    found.unwrap_or_else(|| panic!("no openai: {seen}")).clone()
}

async fn explain(server: &Server, id: &str) -> Value {
    server.admin().0.get(&format!("/admin/v1/requests/{id}/explain")).await.ok()
}

#[tokio::test]
async fn a_request_is_explained_while_it_runs_ended_by_its_owner_and_explained_again() {
    let (fake, server, customer) = stage().await;
    let other = server.admin().customer("payg", "5").await;
    fake.script(Behaviour::Slow(700));
    let started = customer.api.request(Method::POST, "/v1/chat/completions").json(&chat(true)).send();
    let mut stream = started.await.unwrap();
    let id = stream.headers()["x-request-id"].to_str().unwrap().to_owned();
    let said = explain(&server, &id).await;
    assert_eq!((&said["state"], &said["account_id"]), (&json!("running"), &json!(customer.id)), "{said}");
    let running = &said["running"];
    assert!(["calling", "answering"].contains(&running["stage"].as_str().unwrap()), "{running}");
    assert!(running["held"].as_str().unwrap().parse::<f64>().unwrap() > 0.0, "{running}");
    // The owner sees it run, nobody else does, and the owner alone ends it.
    let listed = customer.api.get("/v1/requests/running").await.ok();
    assert_eq!((&listed["running"], &listed["data"][0]["id"]), (&json!(1), &json!(id)), "{listed}");
    assert_eq!(other.api.get("/v1/requests/running").await.ok()["running"], 0);
    let cancel = format!("/v1/requests/{id}/cancel");
    assert_eq!(other.api.post(&cancel, &json!({})).await.status, 404);
    assert_eq!(customer.api.post(&cancel, &json!({})).await.ok()["status"], "cancelling");
    while stream.chunk().await.unwrap().is_some() {}
    let record = customer.settled(1).await[0].clone();
    assert_eq!((&record["id"], &record["ending"]), (&json!(id), &json!("client_left")), "{record}");
    assert_eq!(customer.api.post(&cancel, &json!({})).await.status, 404, "it runs no more");
    let said = explain(&server, &id).await;
    assert_eq!((&said["state"], &said["ended"]["ending"]), (&json!("ended"), &json!("client_left")), "{said}");
    assert!(said["says"].as_str().unwrap().contains("client_left"), "{said}");
    let nobody = server.admin().0.get(&format!("/admin/v1/requests/{}/explain", uuid::Uuid::nil())).await;
    assert_eq!(nobody.status, 404, "{}", nobody.body);
    server.admin().assert_audit().await;
}

#[tokio::test]
async fn a_refused_request_says_which_limit_it_was_and_what_lifts_it() {
    let (_fake, server, _) = stage().await;
    let poor = server.admin().customer("free", "0").await;
    let spent = json!({"name": "small", "limits": {"day": "0.000001"}});
    let small = poor.api.post("/v1/keys", &spent).await.ok();
    let small = server.api(small["key"].as_str().unwrap());
    let large = json!({"model": "gpt-4o", "messages": [{"role": "user", "content": "word ".repeat(90_000)}]});
    // A dollar is enough for a few.
    let mut refused = poor.api.post("/v1/chat/completions", &large).await;
    for _ in 0..6 {
        if refused.status != 200 {
            break;
        }
        refused = poor.api.post("/v1/chat/completions", &large).await;
    }
    let limited = small.post("/v1/chat/completions", &chat(false)).await;
    assert_eq!((refused.status, limited.status), (402, 403), "{} {}", refused.body, limited.body);
    let listed = poor.api.get("/v1/requests/refused").await.ok();
    let listed = listed["data"].as_array().unwrap();
    assert_eq!(listed.iter().map(|it| &it["code"]).collect::<Vec<_>>(), ["key_limit", "insufficient_credits"]);
    let told = &listed[1];
    assert_eq!(told["id"], refused.header("x-request-id").unwrap());
    assert_eq!((&told["status"], &told["price"]), (&json!(402), &told["error"]["needed"]), "{told}");
    assert_eq!(told["error"]["available"], refused.json()["available"], "as it was answered");
    // A key that sees its own use alone sees its own refusals.
    assert_eq!(small.get("/v1/requests/refused").await.ok()["data"].as_array().unwrap().len(), 1);
    let said = explain(&server, told["id"].as_str().unwrap()).await;
    assert_eq!(
        (&said["state"], &said["refused"]["code"]),
        (&json!("refused"), &json!("insufficient_credits")),
        "{said}"
    );
    let none = server.admin().customer("payg", "5").await;
    assert_eq!(none.api.get("/v1/requests/refused").await.ok()["data"], json!([]));
}

#[tokio::test]
async fn a_provider_is_paused_and_resumed_and_an_actor_restarted_without_a_failed_request() {
    let (fake, server, customer) = stage().await;
    let admin = server.admin();
    let act = async |path: &str, body: Value| admin.0.post(&format!("/admin/v1/{path}"), &body).await;
    fake.script(Behaviour::Slow(300));
    let running = tokio::spawn({
        let api = customer.api.clone();
        async move { api.post("/v1/chat/completions", &chat(false)).await.status }
    });
    let began = Instant::now();
    while customer.api.get("/v1/requests/running").await.ok()["data"][0]["stage"] != "calling" {
        assert!(began.elapsed() < SOON, "it does not run");
    }
    let refused = act("providers/openai/pause", json!({})).await;
    assert_eq!((refused.status, &refused.json()["field"]), (400, &json!("reason")), "{}", refused.body);
    let paused = act("providers/openai/pause", json!({"reason": "their invoice"})).await.ok();
    assert_eq!((&paused["act"], &paused["subject"]), (&json!("pause"), &json!("provider openai")), "{paused}");
    assert_eq!(paused["reach"], "this process alone, until it ends", "{paused}");
    let told = ask(&customer).await;
    assert!(told.status == 503 && told.header("retry-after").is_some(), "{} {}", told.status, told.body);
    assert!(!told.body.contains("invoice"), "the reason is not the client's: {}", told.body);
    assert_eq!(running.await.unwrap(), 200, "what ran was finished");
    assert_eq!(openai(&server).await["circuit"], "paused");
    act("providers/openai/resume", json!({"reason": "paid"})).await.ok();
    assert_eq!(ask(&customer).await.status, 200);
    // Its actor is restarted under load: no request notices.
    let load = (0..40).map(|_| ask(&customer));
    let restart = async {
        for _ in 0..5 {
            let body = json!({"actor": "provider openai", "reason": "to be sure"});
            assert_eq!(act("actors/restart", body).await.ok()["done"], "restarted");
        }
        act("actors/restart", json!({"actor": "sweeper", "reason": "to be sure"})).await.ok();
    };
    let (answers, ()) = tokio::join!(futures::future::join_all(load), restart);
    assert!(answers.iter().all(|answer| answer.status == 200));
    for (actor, status) in [("journal", 409), ("provider nobody", 409), ("nothing", 400)] {
        let refused = act("actors/restart", json!({"actor": actor, "reason": "why not"})).await;
        assert_eq!(refused.status, status, "{actor}: {}", refused.body);
    }
    let done = admin.0.get("/admin/v1/operations").await.ok();
    let done = done["data"].as_array().unwrap();
    assert_eq!(done.len(), 12, "ten, and the customer and its key: {done:#?}");
    assert_eq!((&done[9]["act"], &done[9]["reason"]), (&json!("pause"), &json!("their invoice")));
    assert!(done[0]["failed"].is_string() && done[9]["failed"].is_null(), "{done:#?}");
    admin.assert_audit().await;
}

/// A command's arguments, run against a server in `program`: its exit status and what it printed.
async fn run(server: &Server, program: &str, arguments: &[&str]) -> (Option<i32>, String) {
    let mut command = Command::new(program);
    command
        .args(arguments)
        .env("FAREBOX_LISTEN", server.url().trim_start_matches("http://"))
        .env("FAREBOX_ADMIN_TOKEN", Server::admin_token())
        .env("TERM", "xterm-256color")
        .current_dir(server.folder());
    let output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code(), text(&output.stdout) + &text(&output.stderr))
}

#[tokio::test]
async fn top_shows_it_in_a_terminal_and_as_text_and_commands_do_what_pages_do() {
    const FAREBOX: &str = env!("CARGO_BIN_EXE_farebox");
    let (_fake, server, customer) = stage().await;
    assert_eq!(ask(&customer).await.status, 200);
    let terminal = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/e2e/support/terminal.py");
    let steps = ["", "requests-0", "2", "SEEN ms", "4", "CIRCUIT", "6", "to spend $"];
    let (status, shown) = run(&server, "python3", &[&[terminal, FAREBOX], &steps[..]].concat()).await;
    assert_eq!(status, Some(0), "{shown}");
    assert!(shown.contains("All is well.") && shown.contains("gpt-4o-mini"), "{shown}");
    let (status, text) = run(&server, FAREBOX, &["top", "--once"]).await;
    assert_eq!(status, Some(0), "{text}");
    for heading in ["TROUBLES", "ACTORS BY KIND", "THREADS", "PROVIDERS", "REQUESTS"] {
        assert!(text.contains(heading), "{heading}: {text}");
    }
    let (status, said) = run(&server, FAREBOX, &["top"]).await;
    assert!(status != Some(0) && said.contains("--once"), "{said}");
    let (status, said) = run(&server, FAREBOX, &["providers", "pause", "openai", "--reason", "to see it"]).await;
    assert!(status == Some(0) && said.contains("\"paused\""), "{said}");
    assert_eq!(ask(&customer).await.status, 503);
    let refused = ask(&customer).await.header("x-request-id").unwrap().to_owned();
    let (status, said) = run(&server, FAREBOX, &["requests", "explain", &refused]).await;
    assert!(status == Some(0) && said.contains("an operator paused it"), "{said}");
    let (_, said) = run(&server, FAREBOX, &["providers", "list"]).await;
    assert!(said.contains("paused"), "{said}");
    let (status, said) = run(&server, FAREBOX, &["providers", "resume", "openai", "--reason", "seen"]).await;
    assert_eq!(status, Some(0), "{said}");
    let (status, said) = run(&server, FAREBOX, &["restart", "provider", "openai", "--reason", "to see it"]).await;
    assert_eq!(status, Some(0), "{said}");
    let (_, said) = run(&server, FAREBOX, &["operations"]).await;
    assert!(["pause", "resume", "restart", "to see it"].iter().all(|word| said.contains(word)), "{said}");
}

#[tokio::test]
async fn a_request_of_another_node_is_explained_and_ended_at_any_node() {
    let Some(stage) = Stage::with(2, &[]).await else { return };
    let customer = stage.nodes[0].admin().customer("payg", "5").await;
    stage.fake.script(Behaviour::Slow(700));
    let (here, there) = (&stage.nodes[0], &stage.nodes[1]);
    let started = here.api(&customer.key).request(Method::POST, "/v1/chat/completions").json(&chat(true)).send();
    let mut stream = started.await.unwrap();
    let id = stream.headers()["x-request-id"].to_str().unwrap().to_owned();
    let said = explain(there, &id).await;
    assert_eq!((&said["state"], &said["account_id"]), (&json!("running"), &json!(customer.id)), "{said}");
    assert_eq!(there.api(&customer.key).get("/v1/requests/running").await.ok()["running"], 0, "it runs at the other");
    let ended = there.api(&customer.key).post(&format!("/v1/requests/{id}/cancel"), &json!({})).await.ok();
    assert_eq!(ended["status"], "cancelling", "{ended}");
    while stream.chunk().await.unwrap().is_some() {}
    let record = customer.settled(1).await[0].clone();
    assert_eq!((&record["id"], &record["ending"]), (&json!(id), &json!("client_left")), "{record}");
    for node in &stage.nodes {
        assert_eq!(explain(node, &id).await["state"], "ended");
    }
    here.admin().assert_audit().await;
}

#[tokio::test]
async fn an_owner_sees_refusals_and_stops_a_request_on_the_dashboard() {
    let (fake, server, customer) = stage().await;
    let browser = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).build().unwrap();
    let at = |page: &str| format!("{}/dashboard{page}", server.url());
    let signed_in = browser.post(at("/sign-in")).form(&[("key", &*customer.key)]).send().await.unwrap();
    let cookie = signed_in.headers()["set-cookie"].to_str().unwrap().split(';').next().unwrap().to_owned();
    let page = async |page: &str| answer(browser.get(at(page)).header("cookie", &cookie)).await.body;
    assert!(!page("/requests").await.contains("Refused of late"));
    let unknown = json!({"model": "gpt-9", "messages": [{"role": "user", "content": "hi"}]});
    assert_eq!(customer.api.post("/v1/chat/completions", &unknown).await.status, 404);
    let shown = page("/requests").await;
    assert!(shown.contains("Refused of late") && shown.contains("model not found"), "{shown}");
    fake.script(Behaviour::Slow(700));
    let started = customer.api.request(Method::POST, "/v1/chat/completions").json(&chat(true)).send();
    let mut stream = started.await.unwrap();
    let id = stream.headers()["x-request-id"].to_str().unwrap().to_owned();
    let (shown, stop) = (page("").await, format!("/requests/{id}/stop"));
    assert!(shown.contains(&stop), "{shown}");
    let csrf = shown.split("name=\"csrf\" value=\"").nth(1).unwrap().split('"').next().unwrap();
    let send =
        async |csrf: &str| answer(browser.post(at(&stop)).header("cookie", &cookie).form(&[("csrf", csrf)])).await;
    assert_eq!(send("forged").await.status, 403);
    assert_eq!(send(csrf).await.status, 303);
    while stream.chunk().await.unwrap().is_some() {}
    assert_eq!(customer.settled(1).await[0]["ending"], "client_left");
    assert_eq!(send(csrf).await.status, 404, "it runs no more");
}
