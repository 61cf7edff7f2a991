//! When live sockets end, and what they say then.

use std::time::{Duration, Instant, SystemTime};

use billing::{Timestamp, time::DAY_MS};
use futures::{SinkExt, StreamExt};
use serde_json::json;
use tokio::net::TcpStream;
use tokio_tungstenite::{
    MaybeTlsStream, WebSocketStream, connect_async_with_config,
    tungstenite::{Error, Message, client::IntoClientRequest, protocol::WebSocketConfig},
};

use crate::support::{
    client::Customer,
    fake_openai::{Behaviour, FakeOpenAi},
    server::{Options, Server},
};

type Stream = WebSocketStream<MaybeTlsStream<TcpStream>>;

async fn connect(server: &Server, key: &str) -> Result<Stream, Error> {
    let mut request = format!("{}/v1/live", server.url().replacen("http", "ws", 1)).into_client_request().unwrap();
    request.headers_mut().insert("authorization", format!("Bearer {key}").parse().unwrap());
    let config = WebSocketConfig::default().max_message_size(None).max_frame_size(None);
    let connected = connect_async_with_config(request, Some(config), false).await?;
    Ok(connected.0)
}

/// What a socket says until it is closed: its texts, its close's code and reason, and how long that took.
async fn closed(mut stream: Stream) -> (Vec<String>, u16, String, Duration) {
    let (began, mut texts) = (Instant::now(), Vec::new());
    loop {
        let message = tokio::time::timeout(Duration::from_mins(1), stream.next()).await.unwrap();
        match message.unwrap().unwrap() {
            Message::Text(text) => texts.push(text.to_string()),
            Message::Close(frame) => {
                let frame = frame.unwrap();
                return (texts, frame.code.into(), frame.reason.to_string(), began.elapsed());
            }
            _ => {}
        }
    }
}

/// A socket that has told its balance: it is watched.
async fn watched(server: &Server, key: &str) -> Stream {
    let mut stream = connect(server, key).await.unwrap();
    let first = tokio::time::timeout(Duration::from_secs(30), stream.next()).await.unwrap().unwrap().unwrap();
    assert!(first.to_text().unwrap().contains("balance"), "{first}");
    stream
}

async fn stage() -> (Server, Customer) {
    let server = Server::start(Options::default()).await;
    let customer = server.admin().customer("payg", "5").await;
    (server, customer)
}

/// This time tomorrow, as the API writes times.
fn tomorrow() -> String {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_millis();
    Timestamp(i64::try_from(now).unwrap() + DAY_MS).to_string()
}

#[tokio::test]
async fn one_socket_too_many_is_refused_before_it_opens() {
    const MOST: usize = 256;
    let (server, customer) = stage().await;
    let mut open = futures::future::join_all((0..MOST).map(|_| connect(&server, &customer.key))).await;
    let refused: Vec<_> = open.iter().filter_map(|opened| opened.as_ref().err()).collect();
    assert!(refused.is_empty(), "{refused:?}");
    let Err(Error::Http(refused)) = connect(&server, &customer.key).await else { panic!("it was let in") };
    let body = String::from_utf8(refused.body().clone().unwrap_or_default()).unwrap();
    assert_eq!(refused.status(), 429, "{body}");
    let other = server.admin().customer("payg", "5").await;
    watched(&server, &other.key).await;
    open.pop();
    let began = Instant::now();
    while connect(&server, &customer.key).await.is_err() {
        assert!(began.elapsed() < Duration::from_secs(30), "its place is not free");
    }
}

#[tokio::test]
async fn a_frame_that_is_too_large_closes_the_socket_with_its_reason() {
    let (server, customer) = stage().await;
    let mut stream = watched(&server, &customer.key).await;
    // The server may close before it is sent whole.
    let _ = stream.send(Message::text("x".repeat(12 << 20))).await;
    let (_, code, reason, _) = closed(stream).await;
    assert_eq!(code, 1009);
    assert!(reason.contains("larger than"), "{reason}");
}

#[tokio::test]
async fn a_socket_lives_no_longer_than_its_key() {
    let (server, customer) = stage().await;
    let made = customer.api.post("/v1/keys", &json!({"name": "to be revoked"})).await.ok();
    let (id, key) = (made["id"].as_str().unwrap(), made["key"].as_str().unwrap());
    let (doomed, other) = (watched(&server, key).await, watched(&server, &customer.key).await);
    let revoked = customer.api.request(reqwest::Method::DELETE, &format!("/v1/keys/{id}")).send().await.unwrap();
    assert_eq!(revoked.status(), 200);
    let (_, code, reason, took) = closed(doomed).await;
    assert_eq!((code, reason.as_str()), (1008, "the key was revoked"));
    assert!(took < Duration::from_secs(10), "{took:?}");

    let expires_at = tomorrow();
    let made = customer.api.post("/v1/keys", &json!({"name": "to expire", "expires_at": expires_at})).await.ok();
    let expiring = watched(&server, made["key"].as_str().unwrap()).await;
    server.admin().advance(2 * 86_400).await;
    let (_, code, reason, _) = closed(expiring).await;
    assert_eq!((code, reason.as_str()), (1008, "the key has expired"));
    drop(other);
}

#[tokio::test]
async fn sockets_are_told_that_the_server_stops_at_once_or_when_their_chats_have_ended() {
    let fake = FakeOpenAi::start();
    let mut server = Server::start(Options::default().calling(fake.url())).await;
    let customer = server.admin().customer("payg", "5").await;
    let (idle, mut busy) = (watched(&server, &customer.key).await, watched(&server, &customer.key).await);
    fake.script(Behaviour::Slow(300));
    let body = json!({"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "Say hello to me"}]});
    busy.send(Message::text(json!({"type": "chat.create", "id": "a", "body": body}).to_string())).await.unwrap();
    loop {
        let frame = tokio::time::timeout(Duration::from_secs(30), busy.next()).await.unwrap().unwrap().unwrap();
        if frame.to_string().contains("chat.delta") {
            break;
        }
    }
    server.ask_to_stop();
    let (_, code, reason, took) = closed(idle).await;
    assert_eq!((code, reason.as_str()), (1001, "the server stops"));
    assert!(took < Duration::from_secs(10), "{took:?}");
    let (texts, code, ..) = closed(busy).await;
    assert_eq!(code, 1001);
    assert!(texts.last().unwrap().contains("chat.done"), "{texts:?}");
    assert!(server.wait_for_end().await.success());
}
