//! How a connection becomes a live socket and how it ends, byte by byte; and what one is told that becomes none. By a client
//! that does what those of libraries never do.

use std::time::{Duration, Instant};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use crate::support::{
    client::Customer,
    plain,
    server::{Options, Server},
};

const LONG: Duration = Duration::from_mins(1);
const PONG: &str = r#"{"type":"pong"}"#;
const SWITCHED: &str = "101 Switching Protocols";
/// What asks for a socket, beside a key.
const OPENING: &str = "connection: upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\n\
                       sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
/// The kinds of frames.
const TEXT: u8 = 1;
const CLOSE: u8 = 8;

async fn stage() -> (Server, Customer) {
    let server = Server::start(Options::default()).await;
    let customer = server.admin().customer("payg", "5").await;
    (server, customer)
}

/// The head of a GET.
fn get(path: &str, key: &str, more: &str) -> Vec<u8> {
    format!("GET {path} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {key}\r\n{more}\r\n").into_bytes()
}

/// A frame of a client, whose mask changes nothing.
fn frame(code: u8, payload: &[u8]) -> Vec<u8> {
    let length = u16::try_from(payload.len()).unwrap();
    let short = u8::try_from(length).ok().filter(|length| *length < 126);
    let mut frame = vec![0x80 | code, 0x80 | short.unwrap_or(126)];
    if short.is_none() {
        frame.extend_from_slice(&length.to_be_bytes());
    }
    frame.extend_from_slice(&[0; 4]);
    frame.extend_from_slice(payload);
    frame
}

fn ping() -> Vec<u8> {
    frame(TEXT, br#"{"type":"ping"}"#)
}

/// A connection, and all that came by it.
struct Line {
    connection: TcpStream,
    heard: Vec<u8>,
}

impl Line {
    async fn to(server: &Server) -> Self {
        Self { connection: TcpStream::connect(plain::address(server.url())).await.unwrap(), heard: Vec::new() }
    }

    async fn send(&mut self, bytes: &[u8]) {
        self.connection.write_all(bytes).await.unwrap();
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.heard).into_owned()
    }

    /// Reads until a text has come so often.
    async fn hears(&mut self, text: &str, times: usize) {
        while self.text().matches(text).count() < times {
            assert!(self.read().await > 0, "it ended behind {:?}", self.text());
        }
    }

    async fn read(&mut self) -> usize {
        let read = tokio::time::timeout(LONG, self.connection.read_buf(&mut self.heard)).await;
        read.unwrap_or_else(|_| panic!("nothing comes behind {:?}", self.text())).unwrap()
    }

    /// All that came, once the connection has ended.
    async fn all(mut self) -> String {
        while self.read().await > 0 {}
        self.text()
    }
}

#[tokio::test]
async fn what_comes_behind_the_opening_request_is_not_lost_wherever_it_is_cut() {
    let (server, customer) = stage().await;
    let opening = get("/v1/live", &customer.key, OPENING);
    let (head, bytes) = (opening.len(), [&*opening, &ping().repeat(3)].concat());
    for cut in [1, head - 1, head, head + 1, head + 10, head + 30, bytes.len() - 1, bytes.len()] {
        let mut line = Line::to(&server).await;
        line.send(&bytes[..cut]).await;
        if cut >= head {
            line.hears(SWITCHED, 1).await;
        }
        line.send(&bytes[cut..]).await;
        line.hears(PONG, 3).await;
    }
    // Behind another request of the same connection, and as much at once as may come.
    let mut line = Line::to(&server).await;
    line.send(&get("/v1/balance", &customer.key, "")).await;
    line.hears("next_expiry", 1).await;
    line.send(&[&*opening, &ping().repeat(200)].concat()).await;
    line.hears(PONG, 200).await;
    // A frame that is larger than what is read at once.
    let large = format!(r#"{{"type":"{}"}}"#, "x".repeat(60_000));
    let mut line = Line::to(&server).await;
    line.send(&[&*opening, &frame(TEXT, large.as_bytes())].concat()).await;
    line.hears("is none", 1).await;
    line.send(&ping()).await;
    line.hears(PONG, 1).await;
}

#[tokio::test]
async fn a_connection_that_becomes_no_socket_is_answered_as_any_other() {
    let (server, customer) = stage().await;
    let key = customer.key.as_str();
    let balance = get("/v1/balance", key, "");
    // What asks for a socket has no end, so its connection ends with the refusal.
    for (path, key, more, status) in [
        ("/v1/live", "fb_nobody", OPENING.to_owned(), "401"),
        ("/v1/live", key, OPENING.replace(": 13", ": 12"), "400"),
        ("/v1/live", key, OPENING.replace("connection: upgrade", "x-none: 1"), "400"),
        ("/v1/live", key, format!("{OPENING}content-length: 17\r\n"), "400"),
        ("/v1/live", key, format!("{OPENING}transfer-encoding: chunked\r\n"), "400"),
        ("/v1/responses", key, OPENING.to_owned(), "426"),
        ("/v1/balance", key, OPENING.to_owned(), "200"),
        ("/nothing", key, OPENING.to_owned(), "404"),
    ] {
        let mut line = Line::to(&server).await;
        // What is no chunk would be refused for that.
        let behind = if more.contains("chunked") { Vec::new() } else { ping() };
        line.send(&[get(path, key, &more), behind].concat()).await;
        let said = line.all().await;
        assert!(said.starts_with(&format!("HTTP/1.1 {status} ")), "{path} {more}: {said}");
        assert!(said.contains("connection: close") && said.contains("x-request-id: "), "{path} {more}: {said}");
        assert!(said.ends_with('}') && said.matches("HTTP/1.1").count() == 1, "{path} {more}: {said}");
    }
    // What names no socket has one, and its connection goes on.
    let mut line = Line::to(&server).await;
    line.send(&get("/v1/live", key, "")).await;
    line.hears("this path speaks WebSocket only", 1).await;
    line.send(&get("/v1/responses", key, "upgrade: h2c\r\n")).await;
    line.hears("HTTP/1.1 426", 1).await;
    line.send(&balance).await;
    line.hears("next_expiry", 1).await;
    // A body is read though another protocol is offered beside it.
    let quote = r#"{"model": "gpt-4o-mini", "max_tokens": 5, "messages": [{"role": "user", "content": "Hi"}]}"#;
    let head = plain::post("/v1/quote", Some(key), &format!("upgrade: h2c\r\ncontent-length: {}\r\n", quote.len()));
    line.send(format!("{head}{quote}").as_bytes()).await;
    line.hears(r#""hold":"#, 1).await;
    line.send(&balance).await;
    line.hears("next_expiry", 2).await;
    assert_eq!(line.text().matches("HTTP/1.1 200 OK").count(), 3, "{}", line.text());
}

#[tokio::test]
async fn a_socket_ends_with_its_last_frame_and_at_once() {
    let (server, customer) = stage().await;
    let opening = get("/v1/live", &customer.key, OPENING);
    for (sent, code) in [
        (frame(CLOSE, &1_000_u16.to_be_bytes()), 1_000_u16),
        (frame(CLOSE, b""), 1_000),
        (frame(TEXT, b"\xff"), 1_007),
        (frame(3, b""), 1_002),
        (b"\x81\x01x".to_vec(), 1_002),
    ] {
        let mut line = Line::to(&server).await;
        line.send(&opening).await;
        line.hears("next_expiry", 1).await;
        let (began, before) = (Instant::now(), line.heard.len());
        line.send(&sent).await;
        while line.read().await > 0 {}
        let last = &line.heard[before..];
        assert!(last.len() >= 4 && last[0] == 0x88, "{last:?}");
        assert_eq!(last[2..4], code.to_be_bytes(), "{last:?}");
        // The client need not hang up first.
        assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
    }
}

#[tokio::test]
async fn sockets_that_nobody_answers_for_do_not_hold_the_end_up() {
    const SECONDS: u64 = 8;
    let options = Options::default().set("FAREBOX_LIMITS__STOP_SECONDS", &SECONDS.to_string());
    let mut server = Server::start(options.set("FAREBOX_LIMITS__NOTICE_SECONDS", "1")).await;
    let customer = server.admin().customer("payg", "5").await;
    let mut deaf = Vec::new();
    for _ in 0..50 {
        let mut line = Line::to(&server).await;
        line.send(&get("/v1/live", &customer.key, OPENING)).await;
        line.hears("next_expiry", 1).await;
        deaf.push(line);
    }
    assert_eq!(server.stop().await.code(), Some(0), "{}", server.logs());
    let logs = server.logs();
    let took = logs.split("stopped ms=").nth(1).and_then(|ms| ms.split_whitespace().next()?.parse::<u64>().ok());
    assert!(took.unwrap() < SECONDS * 1_000, "{logs}");
    for line in deaf {
        let said = line.all().await;
        assert!(said.ends_with("the server stops"), "{said}");
    }
}

#[tokio::test]
async fn a_head_opens_no_socket() {
    let (server, customer) = stage().await;
    let opening = get("/v1/live", &customer.key, OPENING);
    let mut line = Line::to(&server).await;
    line.send(&[b"HEAD", &opening[3..]].concat()).await;
    line.send(&ping()).await;
    let told = line.all().await;
    assert!(told.starts_with("HTTP/1.1 400 ") && !told.contains(PONG) && !told.contains("101"), "{told}");
}
