//! The live socket of operators: what its topics tell, that it says no more than what changed, and who may open it.

use std::{
    io::{BufRead, BufReader},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use serde_json::{Map, Value, json};

use crate::support::{
    client::{Customer, answer},
    fake_openai::FakeOpenAi,
    pages::{client, hidden},
    python::package,
    server::{Options, Server},
    socket::Socket,
    temporary,
};

const PAGE: &str = include_str!("../../docs/live.md");

async fn stage() -> (FakeOpenAi, Server, Customer) {
    let fake = FakeOpenAi::start();
    let server = Server::start(Options::default().calling(fake.url()).set("FAREBOX_FAULTS", "true")).await;
    let customer = server.admin().customer("payg", "5").await;
    (fake, server, customer)
}

fn token() -> String {
    format!("Bearer {}", Server::admin_token())
}

/// RFC 7396, chapter 2.
fn merge(target: &mut Value, patch: &Value) {
    let Value::Object(changes) = patch else {
        *target = patch.clone();
        return;
    };
    if !target.is_object() {
        *target = Value::Object(Map::new());
    }
    for (name, change) in changes {
        let fields = target.as_object_mut().unwrap();
        if change.is_null() {
            fields.remove(name);
        } else {
            merge(fields.entry(name.clone()).or_insert(Value::Null), change);
        }
    }
}

/// A topic, as a reader knows it.
struct Topic {
    socket: Socket,
    name: &'static str,
    known: Value,
}

impl Topic {
    async fn subscribe(mut socket: Socket, name: &'static str) -> Self {
        socket.send(&json!({"type": "subscribe", "topics": [name]})).await;
        assert_eq!(socket.next_of("subscribed").await["topics"], json!([name]));
        let first = socket.next_of(name).await;
        assert!(first["at"].is_string() && first.get("patch").is_none(), "{first}");
        Self { socket, name, known: first["whole"].clone() }
    }

    /// The picture once it is so.
    async fn until(&mut self, is_so: impl Fn(&Value) -> bool) -> &Value {
        while !is_so(&self.known) {
            let frame = self.socket.next_of(self.name).await;
            assert!(frame.get("whole").is_none() && frame["patch"] != json!({}), "{frame}");
            merge(&mut self.known, &frame["patch"]);
        }
        &self.known
    }
}

async fn topic(server: &Server, name: &'static str) -> Topic {
    Topic::subscribe(Socket::open_with(server.url(), "authorization", &token()).await, name).await
}

fn has_trouble(actors: &Value, what: &str) -> bool {
    actors["troubles"].as_array().unwrap().iter().any(|trouble| trouble["what"] == what)
}

#[tokio::test]
async fn an_operator_is_told_of_actors_providers_pools_and_money_as_they_change() {
    let (_fake, server, customer) = stage().await;
    let admin = server.admin();
    let mut actors = topic(&server, "actors").await;
    let mut providers = topic(&server, "providers").await;
    let mut money = topic(&server, "money").await;
    let pools = topic(&server, "pools").await;
    // What is told is what the routes answer.
    let overview = admin.0.get("/admin/v1/overview").await.ok();
    assert_eq!(actors.known["version"], overview["version"]);
    for actor in overview["actors"].as_array().unwrap() {
        let (kind, name) = (actor["kind"].as_str().unwrap(), actor["name"].as_str().unwrap());
        let key = if kind == name { name.to_owned() } else { format!("{kind} {name}") };
        assert_eq!(actors.known["actors"][&key]["since"], actor["since"], "{key}: {}", actors.known);
        assert!(actors.known["actors"][&key].get("heartbeat_ms").is_none(), "ages are no news");
    }
    assert_eq!(
        pools.known["devices"].as_object().unwrap().len(),
        overview["pools"]["devices"].as_array().unwrap().len()
    );
    assert_eq!(providers.known["providers"]["openai"]["circuit"], "closed");
    let treasury = admin.0.get("/admin/v1/money").await.ok();
    assert_eq!((&money.known["accounts"], &money.known["debt"]), (&treasury["accounts"], &treasury["debt"]));
    // A crash, an act and a grant are told.
    admin.0.post("/admin/v1/faults", &json!({"provider": "openai"})).await.ok();
    actors.until(|now| has_trouble(now, "provider openai") && now["verdict"] != "ok").await;
    admin.0.post("/admin/v1/providers/openai/pause", &json!({"reason": "why not"})).await.ok();
    let seen = providers.until(|now| now["providers"]["openai"]["circuit"] == "paused").await;
    assert_eq!(seen["providers"]["openai"]["why"], "why not");
    admin.0.post("/admin/v1/providers/openai/resume", &json!({"reason": "why not"})).await.ok();
    let seen = providers.until(|now| now["providers"]["openai"]["circuit"] != "paused").await;
    assert!(seen["providers"]["openai"]["why"] != "why not", "what is gone is gone: {seen}");
    let grant = json!({"source": "goodwill", "amount": "7", "reason": "kind"});
    admin.0.post(&format!("/admin/v1/accounts/{}/grants", customer.id), &grant).await.ok();
    let more = |now: &Value| now["available"].as_str().unwrap().parse::<f64>().unwrap() >= 12.0;
    money.until(more).await;
    // Nothing that was unsubscribed from is told.
    money.socket.send(&json!({"type": "unsubscribe", "topics": ["money"]})).await;
    money.socket.next_of("unsubscribed").await;
    admin.0.post(&format!("/admin/v1/accounts/{}/grants", customer.id), &grant).await.ok();
    assert_eq!(money.socket.next_within(Duration::from_secs(3)).await, None);
    money.socket.send(&json!({"type": "ping"})).await;
    assert_eq!(money.socket.next().await["type"], "pong");
}

#[tokio::test]
async fn it_says_at_most_once_a_second_what_has_changed_and_nothing_else() {
    let (_fake, server, customer) = stage().await;
    let mut actors = topic(&server, "actors").await;
    let (whole, began) = (actors.known.to_string().len(), Instant::now());
    let (mut frames, mut largest) = (0_u32, 0);
    let chat = json!({"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "hi"}]});
    while began.elapsed() < Duration::from_secs(4) {
        let (asked, told) =
            tokio::join!(customer.api.post("/v1/chat/completions", &chat), actors.socket.next_within(Duration::ZERO));
        assert_eq!(asked.status, 200);
        if let Some(frame) = told {
            merge(&mut actors.known, &frame["patch"]);
            largest = largest.max(frame.to_string().len());
            frames += 1;
        }
    }
    // However long it took: one look a second, and the one that was under way.
    assert!(u64::from(frames) <= began.elapsed().as_secs() + 1, "{frames} in {:?}", began.elapsed());
    assert!(frames == 0 || largest < whole, "{largest} of {whole}");
    let handled = |now: &Value| now["kinds"]["account"]["handled"].as_u64().unwrap() > 0;
    actors.until(handled).await;
}

#[tokio::test]
async fn it_runs_no_models_and_tells_nothing_of_an_account() {
    let (_fake, server, customer) = stage().await;
    let mut socket = Socket::open_with(server.url(), "authorization", &token()).await;
    let chat = json!({"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "hi"}]});
    for frame in [
        json!({"type": "chat.create", "id": "a", "body": chat}),
        json!({"type": "resume", "id": "a", "after": 0}),
        json!({"type": "cancel", "id": "a"}),
    ] {
        socket.send(&frame).await;
        let refused = socket.next_of("error").await;
        assert_eq!(
            (&refused["id"], &refused["code"], &refused["status"]),
            (&json!("a"), &json!("forbidden"), &json!(403))
        );
    }
    for topic in ["balance", "events", "weather"] {
        socket.send(&json!({"type": "subscribe", "topics": ["actors", topic]})).await;
        let refused = socket.next_of("error").await;
        assert_eq!(refused["field"], "topics", "{refused}");
    }
    let (path, token) = (format!("/v1/live?account={}", customer.id), token());
    let opened = Socket::try_open_at(server.url(), &path, &[("authorization", &token)]).await;
    assert_eq!(opened.err(), Some(400), "it is of no account");
    // An account's socket stays an account's.
    let mut own = Socket::open(server.url(), &customer.key).await;
    own.next_of("balance").await;
    for topic in ["actors", "pools", "providers", "money"] {
        own.send(&json!({"type": "subscribe", "topics": ["usage", topic]})).await;
        let refused = own.next_of("error").await;
        assert!(refused["message"].as_str().unwrap().contains("for operators"), "{refused}");
        let stream = customer.api.get(&format!("/v1/events/stream?topics={topic}")).await;
        assert_eq!((stream.status, &stream.json()["field"]), (400, &json!("topics")), "{}", stream.body);
    }
    assert!(customer.settled(0).await.is_empty(), "nothing ran");
}

#[tokio::test]
async fn the_token_opens_it_or_a_session_of_our_own_pages_and_guesses_are_slowed_down() {
    let (_fake, server, _) = stage().await;
    let url = server.url();
    let form = [("token", Server::admin_token()), ("next", "/operator")];
    let signed_in = client().post(format!("{url}/operator/sign-in")).form(&form).send().await.unwrap();
    let cookie = signed_in.headers()["set-cookie"].to_str().unwrap().split(';').next().unwrap().to_owned();
    let at = async |headers: &[(&'static str, &str)]| Socket::try_open_at(url, "/operator/live", headers).await.err();
    for headers in [
        &[("cookie", &*cookie)][..],
        &[("cookie", &*cookie), ("origin", "https://evil.test")],
        &[("cookie", &*cookie), ("origin", "null")],
    ] {
        assert_eq!(at(headers).await, Some(403), "{headers:?}");
    }
    assert_eq!(at(&[("cookie", "farebox_operator=AAAA"), ("origin", url)]).await, Some(303), "it leads to the sign-in");
    let own = Socket::try_open_at(url, "/operator/live", &[("cookie", &cookie), ("origin", url)]).await;
    let mut own = Topic::subscribe(own.unwrap_or_else(|status| panic!("{status}")), "providers").await;
    // The cookie is for the pages alone.
    assert_eq!(Socket::try_open(url, &[("cookie", &cookie), ("origin", url)]).await.err(), Some(401));
    let mut answers = Vec::new();
    for _ in 0..14 {
        answers.push(Socket::try_open(url, &[("authorization", "Bearer a guess")]).await.err());
    }
    assert!(answers.starts_with(&[Some(401); 10]) && answers.ends_with(&[Some(429), Some(429)]), "{answers:?}");
    // Whoever has copied the cookie is out with who signs out, and so is the socket.
    let get =
        async |cookie: &str| answer(client().get(format!("{url}/operator/accounts")).header("cookie", cookie)).await;
    let page = get(&cookie).await;
    assert_eq!(page.status, 200);
    let csrf = hidden(&page.body, "csrf");
    let out = client().post(format!("{url}/operator/sign-out")).header("cookie", &cookie).form(&[("csrf", &csrf)]);
    assert_eq!(answer(out).await.header("location"), Some("/operator/sign-in"));
    assert_eq!(own.socket.closed().await, (1008, "the session is over".to_owned()));
    assert_eq!(get(&cookie).await.status, 303);
    let act = [("csrf", &*csrf), ("act", "reload"), ("subject", "settings")];
    let act = client().post(format!("{url}/operator/acts")).header("cookie", &cookie).form(&act);
    let act = answer(act).await;
    assert!(act.header("location").is_some_and(|to| to.starts_with("/operator/sign-in")), "{}", act.body);
    assert_eq!(at(&[("cookie", &*cookie), ("origin", url)]).await, Some(303));
    let plain = answer(client().get(format!("{url}/v1/live")).header("authorization", token())).await;
    assert_eq!((plain.status, &plain.json()["field"]), (400, &json!("upgrade")), "{}", plain.body);
}

#[tokio::test]
async fn the_operators_client_of_the_page_works() {
    let (_fake, server, _) = stage().await;
    let (_, section) = PAGE.split_once("## For operators").unwrap();
    let (_, program) = section.split_once("```python\n").unwrap();
    let script = temporary("operator-client").with_extension("py");
    std::fs::write(&script, program.split_once("```").unwrap().0).unwrap();
    let packages = tokio::task::spawn_blocking(|| package("websockets==17.4")).await.unwrap();
    let mut command = Command::new("python3");
    command.arg(&script).env("PYTHONPATH", packages).stdout(Stdio::piped());
    command.env("FAREBOX_URL", server.url()).env("FAREBOX_ADMIN_TOKEN", Server::admin_token());
    let mut running = command.spawn().unwrap();
    let mut lines = BufReader::new(running.stdout.take().unwrap()).lines();
    let mut next = tokio::task::spawn_blocking(move || (lines.next().unwrap().unwrap(), lines));
    let (first, rest) = next.await.unwrap();
    assert!(first.starts_with("ok [] with $") && first.ends_with("to spend"), "{first}");
    lines = rest;
    server.admin().0.post("/admin/v1/providers/openai/pause", &json!({"reason": "to see it"})).await.ok();
    next = tokio::task::spawn_blocking(move || (lines.next().unwrap().unwrap(), lines));
    let (second, _) = next.await.unwrap();
    assert!(second.starts_with("degraded ['provider openai'] with $"), "{second}");
    running.kill().unwrap();
    running.wait().unwrap();
    std::fs::remove_file(script).unwrap();
}
