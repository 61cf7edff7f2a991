//! The live socket as its clients use it: requests in each format, under the caller's own key and once under a key of
//! theirs; and what is refused, and closed, in words.

use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Message;

use crate::support::{
    client::{Customer, answer},
    fake_anthropic::FakeAnthropic,
    fake_media::{FakeMedia, SOUND},
    fake_openai::{Behaviour, FakeOpenAi},
    fake_responses::FakeResponses,
    pages::hidden,
    server::{Options, Server},
    socket::Socket,
};

pub(crate) struct Stage {
    pub(crate) fake: FakeOpenAi,
    pub(crate) server: Server,
    pub(crate) customer: Customer,
    _claude: FakeAnthropic,
}

impl Stage {
    pub(crate) async fn set() -> Self {
        Self::set_with(Options::default()).await
    }

    pub(crate) async fn set_with(options: Options) -> Self {
        let (fake, claude) = (FakeOpenAi::start(), FakeAnthropic::start());
        let server = Server::start(options.calling(fake.url()).calling_anthropic(claude.url())).await;
        let customer = server.admin().customer("payg", "5").await;
        Self { fake, server, customer, _claude: claude }
    }

    pub(crate) async fn socket(&self) -> Socket {
        Socket::open(self.server.url(), &self.customer.key).await
    }
}

/// The body of a chat.
pub(crate) fn chat() -> Value {
    json!({"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "Say hello to me"}]})
}

/// The frame that asks for one, with more fields.
pub(crate) fn create(id: &str, more: &Value) -> Value {
    let mut frame = json!({"type": "chat.create", "id": id, "body": chat()});
    frame.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    frame
}

pub(crate) fn kinds(frames: &[Value]) -> Vec<&str> {
    frames.iter().map(|frame| frame["type"].as_str().unwrap()).collect()
}

/// The text of a request's frames.
pub(crate) fn text(frames: &[Value]) -> String {
    frames.iter().filter_map(|frame| frame["delta"].as_str()).collect()
}

/// (7 x 0.15 + 6 x 0.60) / 1e6 x 1.02: seven prompt tokens and six words.
pub(crate) const COST: &str = "0.000004743";
pub(crate) const TEXT: &str = "Hello from the fake provider.";

#[tokio::test]
async fn each_format_is_asked_for_by_its_frame_and_charged_as_on_its_route() {
    let stage = Stage::set().await;
    let mut socket = stage.socket().await;
    let messages = json!([{"role": "user", "content": "Say hello to me"}]);
    let contents = json!([{"role": "user", "parts": [{"text": "Say hello to me"}]}]);
    let claude = json!({"model": "claude-opus-5-5", "max_tokens": 100, "messages": messages});
    for (place, (surface, route, body, event)) in [
        ("chat", "/v1/chat/completions", chat(), None),
        ("messages", "/v1/messages", claude, Some("/type")),
        ("gemini", "", json!({"model": "gpt-4o-mini", "contents": contents}), Some("/candidates")),
        ("cohere", "/v2/chat", json!({"model": "gpt-4o-mini", "messages": messages}), Some("/type")),
    ]
    .into_iter()
    .enumerate()
    {
        let id = surface.to_owned();
        socket.send(&json!({"type": format!("{surface}.create"), "id": id, "body": body})).await;
        let frames = socket.frames_of(&id).await;
        let seqs: Vec<_> = frames.iter().map(|frame| frame["seq"].as_u64().unwrap()).collect();
        assert_eq!(seqs, (1..=frames.len() as u64).collect::<Vec<_>>(), "{frames:?}");
        assert_eq!(frames[0]["type"], format!("{surface}.created"), "{frames:?}");
        let done = frames.last().unwrap();
        assert_eq!(done["type"], format!("{surface}.done"), "{done}");
        assert_eq!((&done["request_id"], &frames[0]["request_id"]), (&frames[0]["request_id"], &done["request_id"]));
        let records = stage.customer.settled(place * 2 + 1 - usize::from(place > 2)).await;
        assert_eq!((&records[0]["id"], &records[0]["cost"]), (&done["request_id"], &done["cost"]), "{surface}");
        if let Some(pointer) = event {
            let told = frames.iter().flat_map(|frame| frame["events"].as_array().cloned().unwrap_or_default());
            assert!(told.filter(|event| event.pointer(pointer).is_some()).count() > 0, "{surface}: {frames:?}");
        }
        assert!(text(&frames).starts_with("Hello"), "{surface}: {frames:?}");
        // The same by its route costs the same.
        if !route.is_empty() {
            let whole = stage.customer.api.post(route, &body).await;
            assert_eq!(whole.header("x-farebox-cost"), done["cost"].as_str(), "{surface}: {}", whole.body);
        }
    }
    stage.server.admin().assert_audit().await;
}

#[tokio::test]
async fn a_response_on_the_socket_is_kept_and_continued_as_on_its_route() {
    let gpt = FakeResponses::start();
    let server = Server::start(Options::default().calling(gpt.url())).await;
    let customer = server.admin().customer("payg", "5").await;
    let mut socket = Socket::open(server.url(), &customer.key).await;
    let body = json!({"model": "gpt-4o-mini", "input": "Say hello"});
    socket.send(&json!({"type": "responses.create", "id": "a", "body": body})).await;
    let done = socket.frames_of("a").await.pop().unwrap();
    let last = done["events"].as_array().unwrap().last().unwrap().clone();
    assert_eq!((&done["type"], &last["type"]), (&json!("responses.done"), &json!("response.completed")), "{done}");
    let id = last["response"]["id"].as_str().unwrap();
    assert_eq!(customer.api.get(&format!("/v1/responses/{id}")).await.ok()["status"], "completed");
    let body = json!({"model": "gpt-4o-mini", "input": "And again", "previous_response_id": id});
    socket.send(&json!({"type": "responses.create", "id": "b", "body": body})).await;
    assert_eq!(socket.frames_of("b").await.last().unwrap()["type"], "responses.done");
    let asked = gpt.seen().pop().unwrap().json();
    assert!(asked["input"].to_string().contains("Say hello"), "all that came before is sent: {asked}");
    customer.settled(2).await;
    server.admin().assert_audit().await;
}

#[tokio::test]
async fn sounds_images_and_what_comes_whole_are_frames_too() {
    let fake = FakeMedia::start();
    let server = Server::start(Options::default().calling(fake.url())).await;
    let customer = server.admin().customer("payg", "5").await;
    let mut socket = Socket::open(server.url(), &customer.key).await;
    let speech = json!({"model": "tts-1", "input": "Hello", "voice": "alloy"});
    socket.send(&json!({"type": "speech.create", "id": "s", "body": speech})).await;
    let frames = socket.frames_of("s").await;
    let sound: Vec<u8> = frames
        .iter()
        .filter_map(|frame| frame["audio"].as_str())
        .flat_map(|audio| base64::Engine::decode(&base64::prelude::BASE64_STANDARD, audio).unwrap())
        .collect();
    assert_eq!(sound, SOUND.concat(), "{:?}", kinds(&frames));
    assert!(frames.iter().all(|frame| frame["events"].is_null() || frame["type"] == "speech.done"));
    let image = json!({"model": "gpt-image-1", "prompt": "a cat", "size": "1024x1024", "quality": "low"});
    socket.send(&json!({"type": "images.create", "id": "i", "body": image})).await;
    let frames = socket.frames_of("i").await;
    let done = frames.last().unwrap();
    assert!(done["answer"]["data"][0]["b64_json"].is_string(), "{done}");
    let records = customer.settled(2).await;
    assert_eq!((&records[0]["cost"], &records[1]["cost"]), (&done["cost"], &json!("0.0000765")));
    server.admin().assert_audit().await;
}

#[tokio::test]
async fn a_request_under_a_key_runs_once_and_the_callers_own_key_pays() {
    let stage = Stage::set().await;
    let mut socket = stage.socket().await;
    let once = json!({"idempotency_key": "one"});
    socket.send(&create("a", &once)).await;
    let first = socket.frames_of("a").await;
    assert_eq!((text(&first).as_str(), &first.last().unwrap()["cost"]), (TEXT, &json!(COST)));
    socket.send(&create("b", &once)).await;
    let again = socket.frames_of("b").await;
    assert_eq!((text(&again), &again.last().unwrap()["request_id"]), (text(&first), &first[0]["request_id"]));
    assert_eq!(stage.fake.requests().len(), 1, "it ran once");
    let mut other = create("c", &once);
    other["body"]["max_tokens"] = 7.into();
    socket.send(&other).await;
    assert_eq!(socket.frames_of("c").await[0]["code"], "idempotency_key_reused");
    socket.send(&create("d", &json!({"provider_key": "sk-mine"}))).await;
    let own = socket.frames_of("d").await;
    assert_eq!((text(&own).as_str(), &own.last().unwrap()["cost"]), (TEXT, &json!("0.00")));
    stage.customer.settled(2).await;
    stage.server.admin().assert_audit().await;
}

#[tokio::test]
async fn what_is_wrong_is_refused_in_words_and_the_socket_stays() {
    let stage = Stage::set().await;
    let mut socket = stage.socket().await;
    socket.next_of("balance").await;
    let mut said = async |message: Message| {
        socket.send_raw(message).await.unwrap();
        socket.next_of("error").await
    };
    let binary = said(Message::binary(vec![1, 2])).await;
    assert_eq!((&binary["field"], &binary["id"]), (&json!("frame"), &Value::Null));
    for (frame, field) in [
        (json!({"type": "video.create", "id": "a", "body": {}}), "type"),
        (json!({"type": "transcriptions.create", "id": "a", "body": {}}), "type"),
        (json!({"type": "cancel", "id": "a"}), "id"),
        (json!({"type": "subscribe", "topics": ["money"]}), "topics"),
        (create("a", &json!({"colour": 1})), "colour"),
        (
            json!({"type": "messages.create", "id": "a", "body": {"model": "gpt-4o-mini", "messages": chat()["messages"]}}),
            "max_tokens",
        ),
        (
            json!({"type": "responses.create", "id": "a", "body": {"model": "gpt-4o-mini", "input": "x", "background": true}}),
            "background",
        ),
    ] {
        let error = said(Message::text(frame.to_string())).await;
        assert_eq!((&error["code"], &error["field"]), (&json!("invalid_request"), &json!(field)), "{frame}: {error}");
    }
    let unknown = said(Message::text(json!({"type": "resume", "id": "nobody"}).to_string())).await;
    assert_eq!((&unknown["code"], &unknown["id"]), (&json!("not_found"), &json!("nobody")));
    socket.send(&create("a", &json!({}))).await;
    assert_eq!(text(&socket.frames_of("a").await), TEXT, "the socket still serves");
}

#[tokio::test]
async fn a_flood_of_frames_closes_the_socket() {
    let stage = Stage::set().await;
    let mut socket = stage.socket().await;
    for _ in 0..5_000 {
        // It may be closed meanwhile.
        if socket.send_raw(Message::text(r#"{"type":"ping"}"#)).await.is_err() {
            break;
        }
    }
    assert_eq!(socket.closed().await, (4029, "too many frames a second".to_owned()));
}

#[tokio::test]
async fn a_client_that_answers_no_ping_is_gone() {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let stage = Stage::set_with(Options::default().set("FAREBOX_HTTP__HEARTBEAT_SECONDS", "1")).await;
    let mut deaf = tokio::net::TcpStream::connect(stage.server.url().trim_start_matches("http://")).await.unwrap();
    let head = format!(
        "GET /v1/live HTTP/1.1\r\nhost: x\r\nconnection: upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\n\
         sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\nauthorization: Bearer {}\r\n\r\n",
        stage.customer.key
    );
    deaf.write_all(head.as_bytes()).await.unwrap();
    let code = 4009_u16.to_be_bytes();
    let is_close = |bytes: &[u8]| bytes[0] == 0x88 && bytes[2..] == code;
    let (mut said, mut piece) = (Vec::new(), [0; 1024]);
    while !said.windows(4).any(is_close) {
        let read = tokio::time::timeout(std::time::Duration::from_mins(1), deaf.read(&mut piece)).await;
        let count = read.unwrap().unwrap();
        assert!(count > 0, "it ended without a word: {:?}", String::from_utf8_lossy(&said));
        said.extend_from_slice(&piece[..count]);
    }
    // One that answers stays.
    let mut alive = stage.socket().await;
    alive.is_pinged(6).await;
    alive.send(&json!({"type": "ping"})).await;
    assert_eq!(alive.next_of("pong").await["type"], "pong");
}

#[tokio::test]
async fn a_reader_that_does_not_read_is_closed_with_its_code() {
    let options = Options::default().set("FAREBOX_LIMITS__LIVE_BUFFER_BYTES", "1024");
    let stage = Stage::set_with(options).await;
    let mut socket = stage.socket().await;
    let choice =
        json!({"index": 0, "delta": {"role": "assistant", "content": "x".repeat(2_000)}, "finish_reason": null});
    let chunk = json!({"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [choice]});
    stage.fake.script(Behaviour::Says(vec![&*chunk.to_string().leak()].leak()));
    socket.send(&create("a", &json!({}))).await;
    let (code, reason) = socket.closed().await;
    assert_eq!(code, 4008, "{reason}");
    assert!(reason.contains("1024 bytes"), "{reason}");
    // It is settled as for a client that left.
    stage.customer.settled(1).await;
    stage.server.admin().assert_audit().await;
}

#[tokio::test]
async fn a_session_opens_a_socket_for_pages_of_ours_alone() {
    let options = Options::default().set("FAREBOX_HTTP__CORS_ORIGINS", "https://app.example.com");
    let stage = Stage::set_with(options).await;
    let url = stage.server.url();
    let client = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).build().unwrap();
    let form = [("key", stage.customer.key.as_str()), ("next", "/dashboard")];
    let signed_in = client.post(format!("{url}/dashboard/sign-in")).form(&form).send().await.unwrap();
    let cookie = signed_in.headers()["set-cookie"].to_str().unwrap().split(';').next().unwrap().to_owned();
    let mut open = Vec::new();
    for origin in [url, "https://app.example.com"] {
        let mut socket = Socket::try_open(url, &[("cookie", &cookie), ("origin", origin)]).await.ok().unwrap();
        assert_eq!(socket.next_of("balance").await["currency"], "USD", "{origin}");
        open.push(socket);
    }
    for headers in [
        vec![("cookie", cookie.as_str())],
        vec![("cookie", cookie.as_str()), ("sec-fetch-site", "same-origin")],
        vec![("cookie", &cookie), ("origin", "https://evil.example.com")],
        vec![("cookie", &cookie), ("origin", "null")],
        vec![("cookie", &cookie), ("origin", "https://app.example.com.evil.com")],
    ] {
        assert_eq!(Socket::try_open(url, &headers).await.err(), Some(403), "{headers:?}");
    }
    assert_eq!(Socket::try_open(url, &[("origin", url)]).await.err(), Some(401));
    let bearer = format!("Bearer {}", stage.customer.key);
    let with_key = [("authorization", bearer.as_str()), ("origin", "https://evil.example.com")];
    assert!(Socket::try_open(url, &with_key).await.is_ok(), "a key is no cookie");
    // They end with the session, whoever else has its cookie; the key goes on.
    let get = async |path: &str| answer(client.get(format!("{url}{path}")).header("cookie", &cookie)).await;
    let csrf = hidden(&get("/dashboard").await.body, "csrf");
    let out = client.post(format!("{url}/dashboard/sign-out")).header("cookie", &cookie).form(&[("csrf", csrf)]);
    assert_eq!(answer(out).await.status, 303);
    for mut socket in open {
        assert_eq!(socket.closed().await, (1008, "the session is over".to_owned()));
    }
    assert!(get("/dashboard").await.header("location").is_some_and(|to| to.starts_with("/dashboard/sign-in")));
    assert_eq!(get("/v1/balance").await.status, 401);
    assert_eq!(stage.customer.api.get("/v1/balance").await.status, 200);
}
