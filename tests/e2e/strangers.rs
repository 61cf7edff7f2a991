//! What strangers and slow clients may take: little memory, little time, and nothing of others.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use serde_json::json;
use tokio::{io::AsyncWriteExt, net::TcpStream};

use crate::support::{
    client::{Api, Customer, answer},
    memory::resident_mib,
    plain::{self, STREAM, chunk, post},
    server::{Options, Server},
};

const MIB: usize = 1 << 20;

/// Sends as much of a body as is taken within a moment.
async fn pour(connection: &mut TcpStream, bytes: usize) {
    let piece = vec![b' '; 64 << 10];
    for _ in 0..bytes / piece.len() {
        let sent = tokio::time::timeout(Duration::from_millis(200), connection.write_all(&piece)).await;
        if !matches!(sent, Ok(Ok(()))) {
            return;
        }
    }
}

async fn customer(server: &Server) -> Customer {
    server.admin().customer("payg", "20").await
}

#[tokio::test]
async fn bodies_without_a_key_are_refused_on_their_heads_and_not_read() {
    let server = Server::start(Options::default()).await;
    for _ in 0..20 {
        server.get("/healthz").await;
    }
    let before = resident_mib(server.id());
    let announced = format!("content-length: {}\r\n", 10 * MIB);
    let paths = ["/v1/chat/completions", "/v1/keys", "/admin/v1/accounts", "/webhooks/stripe", "/v1/quote"];
    let strangers = (0..150).map(|n| {
        let (path, url, announced) = (paths[n % paths.len()], server.url().to_owned(), announced.clone());
        tokio::spawn(async move {
            let mut connection = TcpStream::connect(plain::address(&url)).await.unwrap();
            let (more, size) = match n % 3 {
                0 => ("transfer-encoding: chunked\r\n".to_owned(), format!("{:x}\r\n", 10 * MIB)),
                1 => (announced, String::new()),
                _ => (announced + "idempotency-key: k\r\n", String::new()),
            };
            let key = (n % 2 == 0).then_some("fb_abcdefabcdef_0000000000000000000000000000000000000000");
            connection.write_all((post(path, key, &more) + &size).as_bytes()).await.unwrap();
            pour(&mut connection, 10 * MIB).await;
            // It is answered, and closed though the body never ends.
            (path, plain::to_end(&mut connection).await)
        })
    });
    let strangers: Vec<_> = strangers.collect();
    let mut peak = 0.0_f64;
    for stranger in strangers {
        let (path, answer) = stranger.await.unwrap();
        if let (Some(before), Some(now)) = (before, resident_mib(server.id())) {
            peak = peak.max(now - before);
        }
        let expected = if path == "/webhooks/stripe" { ["413", "404"] } else { ["401", "429"] };
        assert!(expected.iter().any(|status| answer.contains(&format!("HTTP/1.1 {status}"))), "{path}: {answer}");
    }
    assert!(peak < 20.0, "{peak} MiB more");
}

#[tokio::test]
async fn a_body_that_does_not_come_in_time_is_a_408_that_names_it() {
    let server = Server::start(Options::default().set("FAREBOX_LIMITS__BODY_SECONDS", "1")).await;
    let customer = customer(&server).await;
    for more in
        ["content-length: 100\r\n", "transfer-encoding: chunked\r\n", "content-length: 9\r\nidempotency-key: k\r\n"]
    {
        for path in ["/v1/chat/completions", "/v1/keys"] {
            let answer = plain::exchange(server.url(), &post(path, Some(&customer.key), more)).await;
            assert!(answer.starts_with("HTTP/1.1 408"), "{answer}");
            assert!(answer.contains(r#""code":"timeout""#) && answer.contains(r#""stage":"body""#), "{answer}");
        }
    }
    let admin = post("/admin/v1/accounts", Some(Server::admin_token()), "content-length: 9\r\n");
    assert!(plain::exchange(server.url(), &admin).await.starts_with("HTTP/1.1 408"));
}

#[tokio::test]
async fn bodies_on_their_way_are_bounded_in_sum() {
    let options = Options::default()
        .set("FAREBOX_LIMITS__BODY_BYTES", &MIB.to_string())
        .set("FAREBOX_LIMITS__LONG_BODY_BYTES", &MIB.to_string())
        .set("FAREBOX_LIMITS__BODIES_BYTES", &MIB.to_string());
    let server = Server::start(options).await;
    let customer = customer(&server).await;
    let head = post("/v1/quote", Some(&customer.key), &format!("connection: close\r\ncontent-length: {MIB}\r\n"));
    let mut first = TcpStream::connect(plain::address(server.url())).await.unwrap();
    first.write_all(head.as_bytes()).await.unwrap();
    pour(&mut first, MIB / 2).await;
    // Until the first one's bytes are counted, the second one may be let in: it then ends by its nonsense.
    let began = Instant::now();
    let refused = loop {
        let answer = plain::exchange(server.url(), &(head.clone() + &" ".repeat(MIB))).await;
        if answer.starts_with("HTTP/1.1 503") {
            break answer;
        }
        assert!(began.elapsed() < Duration::from_secs(20), "{answer}");
    };
    assert!(refused.contains("retry-after: ") && refused.contains(r#""code":"overloaded""#), "{refused}");
    drop(first);
    let body = json!({"model": "gpt-4o-mini", "max_tokens": 5, "messages": [{"role": "user", "content": "x".repeat(MIB / 2)}]});
    let began = Instant::now();
    while customer.api.post("/v1/quote", &body).await.status == 503 {
        assert!(began.elapsed() < Duration::from_secs(20), "what was taken is not given back");
    }
}

#[tokio::test]
async fn large_bodies_are_read_without_waiting_for_timers() {
    let server = Server::start(Options::default()).await;
    let customer = customer(&server).await;
    let message = json!({"role": "user", "content": "x".repeat(MIB)});
    let body = json!({"model": "gpt-4o-mini", "max_tokens": 5, "messages": [message]});
    let began = Instant::now();
    for _ in 0..10 {
        // A new connection each: the first body of a connection is the one that finds a small buffer.
        let answer = Api::new(server.url(), Some(&customer.key)).post("/v1/quote", &body).await;
        answer.ok();
    }
    // A sender whose segments are larger than the receiver's buffer waits for a timer again and again: six seconds a body.
    assert!(began.elapsed() < Duration::from_secs(20), "{:?}", began.elapsed());
}

#[tokio::test]
async fn a_body_on_its_way_is_awaited_no_longer_than_the_gateway_may_take_to_stop() {
    let mut server = Server::start(Options::default().set("FAREBOX_LIMITS__STOP_SECONDS", "4")).await;
    let customer = customer(&server).await;
    let mut connection = TcpStream::connect(plain::address(server.url())).await.unwrap();
    // What came after it was answered, so its head was read.
    connection.write_all(post("/v1/quote", Some(&customer.key), "content-length: 100\r\n").as_bytes()).await.unwrap();
    assert_eq!(customer.api.get("/v1/balance").await.status, 200);
    let began = Instant::now();
    server.ask_to_stop();
    let answer = plain::to_end(&mut connection).await;
    assert!(answer.starts_with("HTTP/1.1 503") && answer.contains("stopping"), "{answer}");
    assert!(server.wait_for_end().await.success());
    assert!(began.elapsed() < Duration::from_secs(20), "{:?}", began.elapsed());
}

#[tokio::test]
async fn streams_that_nobody_reads_take_little_memory_and_their_provider_waits() {
    const STREAMS: u32 = 300;
    const SHARED_MIB: u32 = 16;
    const STREAM_KIB: u32 = 256;
    let written = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&written);
    let url = plain::provider(move |mut connection| {
        let count = Arc::clone(&count);
        async move {
            let chunks = chunk("many words and no end ", None).repeat(100);
            let _ = connection.write_all(STREAM.as_bytes()).await;
            while connection.write_all(chunks.as_bytes()).await.is_ok() {
                count.fetch_add(chunks.len(), Ordering::Relaxed);
            }
        }
    })
    .await;
    // Beyond what all unread answers may share, each stream has its own buffers: of the socket to its provider, of the
    // pieces read of it, and of its connection.
    let options = Options::default().set("FAREBOX_LIMITS__UNREAD_BYTES", &(SHARED_MIB << 20).to_string());
    let server = Server::start(options.calling(&url)).await;
    let customer = customer(&server).await;
    let body = json!({"model": "gpt-4o-mini", "stream": true, "max_tokens": 16, "messages": [{"role": "user", "content": "x"}]});
    let request = {
        let body = body.to_string();
        post("/v1/chat/completions", Some(&customer.key), &format!("content-length: {}\r\n", body.len())) + &body
    };
    // The first stream brings the program's own pages into memory.
    let mut read = plain::connect(server.url()).await;
    read.write_all(request.as_bytes()).await.unwrap();
    assert!(plain::until(&mut read, "\n\n").await.contains("many words"));
    drop(read);
    let before = resident_mib(server.id());
    let mut unread = Vec::new();
    for _ in 0..STREAMS {
        let mut connection = plain::connect(server.url()).await;
        connection.write_all(request.as_bytes()).await.unwrap();
        unread.push(connection);
    }
    // Until the provider waits too.
    let (began, mut seen, mut still) = (Instant::now(), 0, 0);
    while still < 10 {
        tokio::time::sleep(Duration::from_millis(100)).await;
        let now = written.load(Ordering::Relaxed);
        still = if now == seen && now > STREAMS as usize * 10_000 { still + 1 } else { 0 };
        seen = now;
        assert!(began.elapsed() < Duration::from_mins(1), "{} MiB were read of the provider", now / MIB);
    }
    if let (Some(before), Some(now)) = (before, resident_mib(server.id())) {
        let most = f64::from(SHARED_MIB) + f64::from(STREAMS * STREAM_KIB) / 1_024.0;
        assert!(now - before < most, "{} MiB more", now - before);
    }
    // A stream that is read is not held up by those.
    let mut read = plain::connect(server.url()).await;
    read.write_all(request.as_bytes()).await.unwrap();
    let text = plain::until(&mut read, "\n\n").await;
    assert!(text.contains("many words"), "{text}");
    drop((unread, read));
    let began = Instant::now();
    while customer.api.get("/v1/balance").await.ok()["held"] != "0.00" {
        assert!(began.elapsed() < Duration::from_mins(1), "their requests do not end");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    server.admin().assert_audit().await;
}

#[tokio::test]
async fn guesses_of_the_operators_token_are_slowed_down_and_the_operator_is_let_in() {
    let server = Server::start(Options::default()).await;
    let began = Instant::now();
    let mut guesses = 0;
    let guessers = (0..4).map(|_| Api::new(server.url(), Some("a-wrong-token"))).collect::<Vec<_>>();
    while began.elapsed() < Duration::from_secs(3) {
        let answers = futures::future::join_all(guessers.iter().map(|api| api.get("/admin/v1/actors"))).await;
        guesses += answers.len();
        assert!(answers.iter().all(|answer| matches!(answer.status, 401 | 429)));
    }
    assert!(guesses < 60, "{guesses} guesses in 3 seconds");
    let refused = guessers[0].get("/admin/v1/actors").await;
    assert_eq!((refused.status, refused.header("retry-after")), (429, Some("1")), "{}", refused.body);
    let let_in = server.admin().0.get("/admin/v1/actors").await;
    assert_eq!(let_in.status, 200, "{}", let_in.body);
    // Nor by another spelling of the path, or with a key beside the token.
    let spelled = guessers[0].get("/%61dmin/v1/actors").await;
    let beside = guessers[0].request(reqwest::Method::GET, "/admin/v1/actors").header("x-api-key", "y");
    for guess in [spelled, answer(beside).await] {
        assert_eq!(guess.status, 429, "{}", guess.body);
    }
    let told = server.logs().lines().filter(|line| line.contains("wrong operator's tokens")).count();
    assert_eq!(told, 1, "{}", server.logs());
}

#[tokio::test]
async fn bodies_that_come_slowly_from_one_network_keep_nobody_else_from_signing_in() {
    let server = Server::start(Options::default().set("FAREBOX_HTTP__TRUSTED_PROXIES", "127.0.0.1/32")).await;
    let from = |address: &str| format!("x-forwarded-for: {address}\r\n");
    let mut slow = Vec::new();
    for _ in 0..100 {
        let mut connection = TcpStream::connect(plain::address(server.url())).await.unwrap();
        let more = from("198.51.100.7") + &format!("content-length: {}\r\n", 256 << 10);
        connection.write_all(post("/dashboard/sign-in", None, &more).as_bytes()).await.unwrap();
        pour(&mut connection, 64 << 10).await;
        slow.push(connection);
    }
    // It needs more than what so many leave of their network's part.
    let form = format!("key=fb_{}", "x".repeat(250 << 10));
    let sign_in = |address: &str| {
        post(
            "/dashboard/sign-in",
            None,
            &(from(address) + &format!("connection: close\r\ncontent-length: {}\r\n", form.len())),
        ) + &form
    };
    let there = plain::exchange(server.url(), &sign_in("198.51.100.7")).await;
    assert!(there.starts_with("HTTP/1.1 503"), "{there}");
    let elsewhere = plain::exchange(server.url(), &sign_in("203.0.113.9")).await;
    assert!(elsewhere.starts_with("HTTP/1.1 401"), "{elsewhere}");
}
