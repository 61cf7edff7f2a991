//! Stopping: within one deadline whatever is open, said beforehand, at once where it is asked for twice, and with nothing
//! lost that was acknowledged.

use std::{
    io::{ErrorKind, Read as _, Write as _},
    net::TcpStream,
    time::{Duration, Instant},
};

use futures::StreamExt as _;
use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{
    client::Customer,
    fake_openai::{Behaviour, FakeOpenAi},
    server::{Options, Server},
    socket::Socket,
};

const CHAT: &str = "/v1/chat/completions";
/// What a loaded machine may add.
const SLACK: Duration = Duration::from_secs(3);

fn streamed() -> Value {
    json!({"model": "gpt-4o-mini", "stream": true, "messages": [{"role": "user", "content": "Say hello to me"}]})
}

async fn stage(stop_seconds: u64) -> (FakeOpenAi, Server, Customer) {
    let fake = FakeOpenAi::start();
    let options = Options::default().calling(fake.url());
    let options = options.set("FAREBOX_LIMITS__STOP_SECONDS", &stop_seconds.to_string());
    let server = Server::start(options.set("FAREBOX_LIMITS__NOTICE_SECONDS", "1")).await;
    let customer = server.admin().customer("payg", "1").await;
    (fake, server, customer)
}

fn connect(server: &Server) -> TcpStream {
    TcpStream::connect(server.url().trim_start_matches("http://")).unwrap()
}

/// A stream that has begun and goes on for many seconds; what more comes of it.
async fn long_stream(fake: &FakeOpenAi, customer: &Customer) -> impl Future<Output = String> + use<> {
    fake.script(Behaviour::Slow(2_000));
    let response = customer.api.request(Method::POST, CHAT).json(&streamed()).send().await.unwrap();
    assert_eq!(response.status(), 200);
    let mut bytes = response.bytes_stream();
    let first = bytes.next().await.unwrap().unwrap();
    async move {
        let mut text = String::from_utf8_lossy(&first).into_owned();
        while let Some(Ok(piece)) = bytes.next().await {
            text.push_str(&String::from_utf8_lossy(&piece));
        }
        text
    }
}

#[tokio::test]
async fn everything_that_is_open_ends_within_one_deadline() {
    let (fake, mut server, customer) = stage(6).await;
    let _socket = Socket::open(server.url(), &customer.key).await;
    let mut unfinished = connect(&server);
    let head = format!(
        "POST {CHAT} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {}\r\ncontent-length: 1000\r\n\r\n{{",
        customer.key
    );
    unfinished.write_all(head.as_bytes()).unwrap();
    let mut stranger = connect(&server);
    stranger.write_all(b"POST /v1/quote HTTP/1.1\r\nhost: x\r\ncontent-length: 1000\r\n\r\n{").unwrap();
    let mut headless = connect(&server);
    headless.write_all(b"GET /v1/ba").unwrap();
    let mut idle = connect(&server);
    idle.write_all(b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n").unwrap();
    assert!(idle.read(&mut [0; 64]).unwrap() > 0);
    let rest = tokio::spawn(long_stream(&fake, &customer).await);
    let began = Instant::now();
    let ended = server.stop().await;
    assert_eq!(ended.code(), Some(0), "{}", server.logs());
    assert!(began.elapsed() < Duration::from_secs(6) + SLACK, "it took {:?}\n{}", began.elapsed(), server.logs());
    rest.await.unwrap();
    server.restart().await;
    server.admin().assert_audit().await;
}

#[tokio::test]
async fn idle_connections_do_not_hold_it_up() {
    let (_fake, mut server, _) = stage(30).await;
    let mut idle: Vec<_> = (0..8).map(|_| connect(&server)).collect();
    for connection in &mut idle {
        connection.write_all(b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n").unwrap();
        assert!(connection.read(&mut [0; 64]).unwrap() > 0);
    }
    let began = Instant::now();
    assert_eq!(server.stop().await.code(), Some(0), "{}", server.logs());
    assert!(began.elapsed() < Duration::from_secs(4) + SLACK, "it took {:?}", began.elapsed());
}

#[tokio::test]
async fn a_stream_that_outlasts_the_deadline_is_ended_and_charged() {
    let (fake, mut server, customer) = stage(6).await;
    let rest = tokio::spawn(long_stream(&fake, &customer).await);
    assert_eq!(server.stop().await.code(), Some(0), "{}", server.logs());
    let text = rest.await.unwrap();
    assert!(text.ends_with("data: [DONE]\n\n") && text.contains("\"cost\""), "{text}");
    assert!(text.contains("\"finish_reason\":\"length\"") && text.contains("\"stop\":\"cancelled\""), "{text}");
    server.restart().await;
    let customer = server.api(&customer.key);
    let request = customer.get("/v1/requests").await.ok()["data"][0].clone();
    assert_eq!(request["ending"], "client_left", "{request}");
    assert_eq!(customer.get("/v1/balance").await.ok()["held"], "0.00");
    assert!(customer.get("/v1/balance").await.ok()["available"] != "6.00", "it was charged");
    server.admin().assert_audit().await;
}

#[tokio::test]
async fn it_says_that_it_stops_before_it_is_not_to_be_reached() {
    let (_fake, mut server, _) = stage(8).await;
    let address = server.url().trim_start_matches("http://").to_owned();
    server.ask_to_stop();
    let (mut said, began) = (0, Instant::now());
    let seen = tokio::task::spawn_blocking(move || {
        loop {
            assert!(began.elapsed() < Duration::from_secs(20), "it is reached for ever");
            let mut connection = match TcpStream::connect(&address) {
                Ok(connection) => connection,
                Err(error) => return (said, error.kind()),
            };
            connection.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
            connection.write_all(b"GET /readyz HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").unwrap();
            let mut answer = String::new();
            match connection.read_to_string(&mut answer) {
                Ok(_) if answer.starts_with("HTTP/1.1 503") => {
                    assert!(answer.contains("stopping") && answer.contains("retry-after"), "{answer}");
                    said += 1;
                }
                Ok(_) => assert!(said == 0 && answer.starts_with("HTTP/1.1 200"), "{answer:?}"),
                // One that was made just as the listener closed.
                Err(error) => assert!(said > 0 && error.kind() == ErrorKind::ConnectionReset, "{error}"),
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    });
    let (said, last) = seen.await.unwrap();
    assert!(said > 0, "it never said so");
    assert_eq!(last, ErrorKind::ConnectionRefused);
    assert_eq!(server.wait_for_end().await.code(), Some(0), "{}", server.logs());
}

#[tokio::test]
async fn a_request_whose_body_still_comes_is_answered_and_its_connection_closed() {
    let (_fake, mut server, customer) = stage(30).await;
    let body = json!({"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "Say hello"}]}).to_string();
    let (first, rest) = body.split_at(20);
    let mut uploading = connect(&server);
    let head = format!(
        "POST {CHAT} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
        customer.key,
        body.len()
    );
    uploading.write_all((head + first).as_bytes()).unwrap();
    server.ask_to_stop();
    let (address, began) = (server.url().trim_start_matches("http://").to_owned(), Instant::now());
    while TcpStream::connect(&address).is_ok() {
        assert!(began.elapsed() < Duration::from_secs(20), "it is reached for ever");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    uploading.write_all(rest.as_bytes()).unwrap();
    let mut answer = String::new();
    uploading.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert!(answer.to_lowercase().contains("\r\nconnection: close\r\n") && answer.contains("\"usage\""), "{answer}");
    assert_eq!(server.wait_for_end().await.code(), Some(0), "{}", server.logs());
}

#[tokio::test]
async fn asked_twice_it_stops_at_once_and_says_so() {
    for signals in [["TERM", "TERM"], ["INT", "INT"], ["TERM", "INT"]] {
        let (fake, mut server, customer) = stage(60).await;
        let rest = tokio::spawn(long_stream(&fake, &customer).await);
        server.signal(signals[0]);
        let deadline = Instant::now() + Duration::from_secs(20);
        while server.get("/readyz").await.status == 200 {
            assert!(Instant::now() < deadline, "it does not stop");
        }
        let began = Instant::now();
        server.signal(signals[1]);
        let ended = server.wait_for_end().await;
        assert!(began.elapsed() < SLACK, "{signals:?} took {:?}", began.elapsed());
        assert_eq!(ended.code(), Some(1), "{signals:?}");
        server.says("stopping now").await;
        rest.await.unwrap();
        server.restart().await;
        server.admin().assert_audit().await;
    }
}

#[tokio::test]
async fn what_was_acknowledged_while_it_stopped_is_there_afterwards() {
    let (_fake, mut server, customer) = stage(10).await;
    let body = json!({"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "Say hello to me"}]});
    let clients: Vec<_> = (0..8)
        .map(|_| {
            let (api, body) = (customer.api.clone(), body.clone());
            tokio::spawn(async move {
                let mut answered = 0;
                loop {
                    let sent = api.request(Method::POST, CHAT).json(&body).send().await;
                    match sent {
                        Ok(response) if response.status() == 200 => {
                            if response.text().await.is_ok() {
                                answered += 1;
                            }
                        }
                        Ok(response) => assert_eq!(response.status(), 503),
                        Err(_) => return answered,
                    }
                }
            })
        })
        .collect();
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(server.stop().await.code(), Some(0), "{}", server.logs());
    let mut answered = 0;
    for client in clients {
        answered += client.await.unwrap();
    }
    assert!(answered > 0);
    server.restart().await;
    let usage = server.api(&customer.key).get("/v1/usage").await.ok();
    let requests: u64 = usage["data"].as_array().unwrap().iter().filter_map(|row| row["requests"].as_u64()).sum();
    assert!(requests >= answered, "{requests} of {answered}: {usage}");
    server.admin().assert_audit().await;
}
