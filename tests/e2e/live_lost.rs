//! Requests that outlive their sockets: taken up again with nothing lost and nothing twice, fetched later, and gone in
//! words where they are gone.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::{
    live::{COST, Stage, TEXT, create, kinds, text},
    nodes,
    support::{fake_openai::Behaviour, server::Options, socket::Socket},
};

fn finish() -> Value {
    json!({"on_disconnect": "finish"})
}

fn resume(id: &str, after: u64) -> Value {
    json!({"type": "resume", "id": id, "after": after})
}

/// The frames of a slow chat on a socket that is lost after its first piece.
async fn lost(socket: &mut Socket, id: &str, more: &Value) -> Vec<Value> {
    socket.send(&create(id, more)).await;
    let mut frames = Vec::new();
    loop {
        let frame = socket.next().await;
        let is_piece = frame["type"] == "chat.delta";
        if frame["id"] == id {
            frames.push(frame);
        }
        if is_piece {
            return frames;
        }
    }
}

fn last_seq(frames: &[Value]) -> u64 {
    frames.last().unwrap()["seq"].as_u64().unwrap()
}

#[tokio::test]
async fn a_stream_goes_on_at_another_socket_with_nothing_lost_and_nothing_twice() {
    let stage = Stage::set().await;
    stage.fake.script(Behaviour::Slow(200));
    let mut frames = {
        let mut socket = stage.socket().await;
        lost(&mut socket, "a", &finish()).await
    };
    let mut socket = stage.socket().await;
    socket.send(&resume("a", last_seq(&frames))).await;
    let resumed = socket.next_of("resumed").await;
    assert_eq!((&resumed["id"], &resumed["after"]), (&json!("a"), &json!(last_seq(&frames))));
    frames.extend(socket.frames_of("a").await);
    let seqs: Vec<_> = frames.iter().map(|frame| frame["seq"].as_u64().unwrap()).collect();
    assert_eq!(seqs, (1..=frames.len() as u64).collect::<Vec<_>>());
    assert_eq!((text(&frames).as_str(), &frames.last().unwrap()["cost"]), (TEXT, &json!(COST)));
    // All of it, once it is over, and as often as wanted.
    socket.send(&resume("a", 0)).await;
    socket.next_of("resumed").await;
    assert_eq!(socket.frames_of("a").await, frames);
    // What is taken, what never was, and what is another's.
    socket.send(&create("a", &finish())).await;
    assert_eq!(socket.next_of("error").await["code"], "conflict");
    socket.send(&resume("a", 999)).await;
    assert_eq!(socket.next_of("error").await["field"], "after");
    let stranger = stage.server.admin().customer("payg", "5").await;
    let mut other = Socket::open(stage.server.url(), &stranger.key).await;
    other.send(&resume("a", 0)).await;
    assert_eq!(other.next_of("error").await["code"], "not_found");
    let records = stage.customer.settled(1).await;
    assert_eq!(records[0]["ending"], "completed", "it was charged once, whole");
    // What was refused did not run: its id is free.
    let mut wrong = create("w", &finish());
    wrong["body"]["model"] = "no-such-model".into();
    socket.send(&wrong).await;
    assert_eq!(socket.frames_of("w").await[0]["code"], "model_not_found");
    socket.send(&create("w", &finish())).await;
    assert_eq!(text(&socket.frames_of("w").await), TEXT);
    stage.server.admin().assert_audit().await;
}

#[tokio::test]
async fn a_request_ends_with_its_socket_unless_it_is_said_to_go_on() {
    let stage = Stage::set().await;
    stage.fake.script(Behaviour::Slow(300));
    drop({
        let mut socket = stage.socket().await;
        lost(&mut socket, "a", &json!({})).await
    });
    assert_eq!(stage.customer.settled(1).await[0]["ending"], "client_left");
    let mut socket = stage.socket().await;
    socket.send(&resume("a", 1)).await;
    assert_eq!(socket.next_of("error").await["code"], "not_found");
    // One that goes on is cancelled by whoever took it up.
    stage.fake.script(Behaviour::Slow(300));
    let frames = {
        let mut first = stage.socket().await;
        lost(&mut first, "b", &finish()).await
    };
    socket.send(&resume("b", last_seq(&frames))).await;
    socket.send(&json!({"type": "cancel", "id": "b"})).await;
    let rest = socket.frames_of("b").await;
    assert!(text(&frames).len() + text(&rest).len() < TEXT.len(), "{rest:?}");
    assert_eq!(stage.customer.settled(2).await[0]["ending"], "client_left");
    stage.server.admin().assert_audit().await;
}

#[tokio::test]
async fn a_detached_answer_is_fetched_whole_by_who_asked_and_nobody_else() {
    let stage = Stage::set().await;
    let made = stage.customer.api.post("/v1/keys", &json!({"limits": {"day": "1"}})).await.ok();
    let limited = made["key"].as_str().unwrap();
    stage.fake.script(Behaviour::Slow(300));
    let (frames, of_limited) = {
        let mut socket = stage.socket().await;
        let frames = lost(&mut socket, "a", &json!({"on_disconnect": "detach"})).await;
        let mut own = Socket::open(stage.server.url(), limited).await;
        own.send(&create("l", &json!({"on_disconnect": "detach"}))).await;
        (frames, own.frames_of("l").await)
    };
    let id = frames[0]["request_id"].as_str().unwrap().to_owned();
    let path = format!("/v1/requests/{id}/output");
    let api = &stage.customer.api;
    // A limited key's output is that key's alone, while its request runs as well.
    let theirs = format!("/v1/requests/{}/output", of_limited[0]["request_id"].as_str().unwrap());
    assert_eq!(api.get(&theirs).await.status, 404);
    let began = Instant::now();
    let output = loop {
        let answer = api.get(&path).await;
        if answer.status == 200 {
            break answer.json();
        }
        assert_eq!((answer.status, &answer.json()["code"]), (409, &json!("conflict")), "{}", answer.body);
        assert!(began.elapsed() < Duration::from_secs(30));
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
    let all = output["frames"].as_array().unwrap();
    assert_eq!((&output["status"], &output["text"], &output["id"]), (&json!("completed"), &json!(TEXT), &json!("a")));
    assert_eq!(all[..frames.len()], frames[..]);
    assert_eq!((&all.last().unwrap()["cost"], &output["request_id"]), (&json!(COST), &json!(id)));
    // Nobody else's; and a key with limits has its own.
    let stranger = stage.server.admin().customer("payg", "5").await;
    let keyed = stage.server.api(limited);
    for (api, path, status) in
        [(&stranger.api, &path, 404), (&keyed, &path, 404), (&keyed, &theirs, 200), (api, &theirs, 404)]
    {
        assert_eq!(api.get(path).await.status, status, "{path}");
    }
    assert_eq!(api.get("/v1/requests/00000000-0000-0000-0000-000000000000/output").await.status, 404);
    assert_eq!(api.get("/v1/requests/x/output").await.status, 400);
    // It is sealed: nothing of it stands in the database.
    for file in ["farebox.db", "farebox.db-wal", "farebox-log.db", "farebox-log.db-wal"] {
        let bytes = std::fs::read(stage.server.folder().join(file)).unwrap_or_default();
        assert!(!bytes.windows(TEXT.len()).any(|window| window == TEXT.as_bytes()), "{file}");
    }
    stage.customer.settled(2).await;
    stage.server.admin().assert_audit().await;
}

#[tokio::test]
async fn what_is_not_remembered_any_more_is_said_by_its_number() {
    let options = Options::default().set("FAREBOX_LIMITS__LIVE_REPLAY_BYTES", "1024");
    let stage = Stage::set_with(options).await;
    let mut socket = stage.socket().await;
    let chunk = |text: &str, finish: Option<&str>| {
        let choice = json!({"index": 0, "delta": {"role": "assistant", "content": text}, "finish_reason": finish});
        let chunk =
            json!({"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [choice]});
        &*chunk.to_string().leak()
    };
    let [one, two, three] = ["a", "b", "c"].map(|letter| chunk(&letter.repeat(700), None));
    let chunks = [one, two, three, chunk("", Some("stop"))];
    stage.fake.script(Behaviour::Says(chunks.to_vec().leak()));
    socket.send(&create("a", &json!({"on_disconnect": "detach"}))).await;
    let id = stage.customer.settled(1).await[0]["id"].as_str().unwrap().to_owned();
    let mut other = stage.socket().await;
    let gone = loop {
        other.send(&resume("a", 0)).await;
        let frames = other.frames_of("a").await;
        if frames.last().unwrap()["type"] == "error" {
            break frames.last().unwrap().clone();
        }
    };
    assert_eq!((&gone["code"], &gone["status"]), (&json!("frames_forgotten"), &json!(410)), "{gone}");
    let first = gone["first"].as_u64().unwrap();
    other.send(&resume("a", first - 1)).await;
    let rest = other.frames_of("a").await;
    assert_eq!((kinds(&rest)[0], rest.last().unwrap()["type"].as_str()), ("resumed", Some("chat.done")));
    let output = stage.customer.api.get(&format!("/v1/requests/{id}/output")).await.ok();
    assert_eq!((&output["status"], &output["frames"]), (&json!("too_large"), &json!([])));
    stage.server.admin().assert_audit().await;
}

#[tokio::test]
async fn nothing_is_remembered_after_the_end_where_the_settings_say_so() {
    let options = Options::default().set("FAREBOX_LIMITS__LIVE_REPLAY_SECONDS", "0");
    let stage = Stage::set_with(options).await;
    let mut socket = stage.socket().await;
    socket.send(&create("a", &finish())).await;
    assert_eq!(text(&socket.frames_of("a").await), TEXT);
    let began = Instant::now();
    loop {
        socket.send(&resume("a", 0)).await;
        let told = socket.frames_of("a").await;
        if told.last().unwrap()["code"] == "not_found" {
            break;
        }
        assert!(began.elapsed() < Duration::from_secs(30), "{told:?}");
    }
    socket.send(&create("a", &finish())).await;
    assert_eq!(text(&socket.frames_of("a").await), TEXT, "its id is free again");
}

#[tokio::test]
async fn a_detached_request_ends_at_its_credits_as_any_other() {
    let stage = Stage::set_with(Options::default().set("FAREBOX_LIMITS__OVERDRAFT", "none")).await;
    let admin = stage.server.admin();
    admin.void_all(&stage.customer).await;
    admin.grant(&stage.customer.id, "promo", "0.001").await;
    let mut socket = stage.socket().await;
    stage.fake.script(Behaviour::Fills);
    socket.send(&create("a", &json!({"on_disconnect": "detach"}))).await;
    let id = socket.next_of("chat.created").await["request_id"].as_str().unwrap().to_owned();
    drop(socket);
    stage.customer.settled(1).await;
    let output = stage.customer.api.get(&format!("/v1/requests/{id}/output")).await.ok();
    let done = output["frames"].as_array().unwrap().last().unwrap().clone();
    assert_eq!((&done["finish_reason"], &done["stop"]), (&json!("length"), &json!("credits")), "{done}");
    let balance = stage.customer.api.get("/v1/balance").await.ok();
    assert_eq!(balance["debt"], "0.00", "{balance}");
    admin.assert_audit().await;
}

#[tokio::test]
async fn another_node_takes_a_request_up_and_has_its_output() {
    let Some(stage) = nodes::Stage::with(2, &[]).await else { return };
    let customer = &stage.customers(1).await[0];
    stage.fake.script(Behaviour::Slow(300));
    let mut frames = {
        let mut socket = Socket::open(stage.nodes[0].url(), &customer.key).await;
        lost(&mut socket, "a", &json!({"on_disconnect": "detach"})).await
    };
    let path = format!("/v1/requests/{}/output", frames[0]["request_id"].as_str().unwrap());
    let other = stage.nodes[1].api(&customer.key);
    assert_eq!(other.get(&path).await.status, 409, "the node that runs it says so");
    let mut socket = Socket::open(stage.nodes[1].url(), &customer.key).await;
    socket.send(&resume("a", last_seq(&frames))).await;
    socket.next_of("resumed").await;
    frames.extend(socket.frames_of("a").await);
    let seqs: Vec<_> = frames.iter().map(|frame| frame["seq"].as_u64().unwrap()).collect();
    assert_eq!(seqs, (1..=frames.len() as u64).collect::<Vec<_>>());
    assert_eq!(text(&frames), TEXT);
    assert_eq!(other.get(&path).await.ok()["text"], TEXT);
    socket.send(&resume("a", 999)).await;
    assert_eq!(socket.next_of("error").await["field"], "after");
    socket.send(&resume("nobody", 0)).await;
    assert_eq!(socket.next_of("error").await["code"], "not_found");
    // An id that another node keeps is taken here, too: what may have arrived there is not run twice.
    let before = stage.fake.requests().len();
    for more in [finish(), json!({"idempotency_key": "one"})] {
        socket.send(&create("a", &more)).await;
        let taken = socket.next_of("error").await;
        assert_eq!((&taken["code"], &taken["id"]), (&json!("conflict"), &json!("a")), "{taken}");
    }
    assert_eq!(stage.fake.requests().len(), before, "nothing ran");
    socket.send(&create("c", &finish())).await;
    assert_eq!(text(&socket.frames_of("c").await), TEXT, "another is free");
    // One is cancelled there, too.
    stage.fake.script(Behaviour::Slow(300));
    let lost = {
        let mut first = Socket::open(stage.nodes[0].url(), &customer.key).await;
        lost(&mut first, "b", &finish()).await
    };
    socket.send(&resume("b", last_seq(&lost))).await;
    socket.next_of("resumed").await;
    socket.send(&json!({"type": "cancel", "id": "b"})).await;
    let rest = socket.frames_of("b").await;
    assert!(text(&lost).len() + text(&rest).len() < TEXT.len(), "{rest:?}");
    // A node that does not say whether it keeps the id may keep it.
    stage.nodes[0].signal("STOP");
    socket.send(&create("d", &finish())).await;
    let unknown = socket.next_of("error").await;
    assert_eq!((&unknown["code"], &unknown["status"]), (&json!("not_ready"), &json!(503)), "{unknown}");
    stage.nodes[0].signal("CONT");
    let began = Instant::now();
    loop {
        socket.send(&create("d", &finish())).await;
        let frames = socket.frames_of("d").await;
        if text(&frames) == TEXT {
            break;
        }
        assert!(began.elapsed() < Duration::from_secs(40), "{frames:?}");
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    stage.assert_clean().await;
}
