//! What becomes of asks when the way breaks: each error says whether the ask may have been carried out, and is right.

use std::{
    sync::atomic::Ordering::SeqCst,
    time::{Duration, Instant},
};

use link::{Ask, LinkError, NotSent, Options, Standing};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
};

use crate::{
    node::{Node, SOON, ask, identity, link, options, said, until, way},
    proxy::Proxy,
};

fn quick() -> Options {
    Options {
        alive: Duration::from_millis(200),
        connect: Duration::from_millis(500),
        back_off: Duration::from_millis(20),
        ..options()
    }
}

#[tokio::test]
async fn a_node_that_is_not_there_is_told_at_once() {
    let free = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let from = link(identity(2), quick());
    let peer = way(&from, 1, free);
    until("it is away", || matches!(peer.health().standing, Standing::Away(_))).await;
    let refused = peer.ask(ask("x")).await.unwrap_err();
    assert!(matches!(refused, LinkError::NotSent(NotSent::Away(_))), "{refused:?}");
    // It comes up, and is found by itself.
    let node = Node::of(link(identity(1), options()), &free.to_string()).await;
    until("it is there", || matches!(peer.health().standing, Standing::Connected { .. })).await;
    assert_eq!(said(&peer.ask(ask("x")).await.unwrap()), "x");
    assert_eq!(node.desk.asked.load(SeqCst), 1);
}

#[tokio::test]
async fn wherever_an_ask_is_cut_its_error_does_not_lie() {
    let node = Node::start(identity(1), options()).await;
    let proxy = Proxy::start(node.address).await;
    let from = link(identity(2), quick());
    let peer = way(&from, 1, proxy.address);
    let (mut unsure, mut done) = (0, 0);
    for bytes in 1..120 {
        until("it is there", || matches!(peer.health().standing, Standing::Connected { .. })).await;
        let before = node.desk.asked.load(SeqCst);
        proxy.cut_after(bytes);
        let asked = peer.ask(Ask { left: SOON, ..ask("twenty bytes of body") }).await;
        proxy.cut_after(0);
        match asked {
            Ok(_) => done += 1,
            Err(error) if error.may_be_done() => unsure += 1,
            // What was surely not sent was not carried out, now or later.
            Err(_) => {
                tokio::time::sleep(Duration::from_millis(5)).await;
                assert_eq!(node.desk.asked.load(SeqCst), before, "cut after {bytes}");
            }
        }
        proxy.cut();
    }
    assert!(unsure > 20, "{unsure} and {done}");
}

#[tokio::test]
async fn a_node_that_freezes_is_given_up_and_found_again() {
    let node = Node::start(identity(1), options()).await;
    let proxy = Proxy::start(node.address).await;
    let from = link(identity(2), quick());
    let peer = way(&from, 1, proxy.address);
    peer.ask(ask("x")).await.unwrap();
    proxy.freeze();
    let began = Instant::now();
    let lost = peer.ask(ask("y")).await.unwrap_err();
    assert!(lost.may_be_done(), "{lost:?}");
    assert!(began.elapsed() < SOON / 2, "it was waited for to the ask's own end");
    proxy.thaw();
    until("it is there", || matches!(peer.health().standing, Standing::Connected { .. })).await;
    assert_eq!(said(&peer.ask(ask("z")).await.unwrap()), "z");
    assert!(proxy.connections() >= 2);
}

#[tokio::test]
async fn a_way_that_loses_answers_is_given_up() {
    let node = Node::start(identity(1), options()).await;
    let proxy = Proxy::start(node.address).await;
    let from = link(identity(2), quick());
    let peer = way(&from, 1, proxy.address);
    let mut subscription = peer.subscribe(ask("")).await.unwrap();
    proxy.halve();
    assert!(peer.ask(ask("x")).await.unwrap_err().may_be_done());
    until("it was carried out", || node.desk.asked.load(SeqCst) == 1).await;
    assert!(subscription.next().await.is_err(), "it ended as if it were whole");
}

#[tokio::test]
async fn a_slow_way_is_slow_and_right() {
    let node = Node::start(identity(1), options()).await;
    let proxy = Proxy::start(node.address).await;
    proxy.delay(Duration::from_millis(30));
    let from = link(identity(2), options());
    let peer = way(&from, 1, proxy.address);
    for _ in 0..5 {
        assert_eq!(said(&peer.ask(ask("x")).await.unwrap()), "x");
    }
    assert_eq!(proxy.connections(), 1);
}

#[tokio::test]
async fn a_node_that_ends_finishes_what_it_has_begun() {
    let node = Node::start(identity(1), options()).await;
    let from = link(identity(2), quick());
    let peer = way(&from, 1, node.address);
    let desk = node.desk.clone();
    let waits = tokio::spawn({
        let peer = peer.clone();
        async move { peer.ask(ask("wait")).await }
    });
    until("it is asked", || desk.asked.load(SeqCst) == 1).await;
    let ends = tokio::spawn(node.stop());
    // What comes now is not begun.
    until("it ends", || {
        !matches!(peer.health().standing, Standing::Connected { .. })
            || ends.is_finished()
            || desk.asked.load(SeqCst) == 1
    })
    .await;
    desk.go_on.notify_one();
    assert_eq!(said(&waits.await.unwrap().unwrap()), "waited");
    ends.await.unwrap();
    let after = peer.ask(Ask { left: Duration::from_secs(3), ..ask("x") }).await.unwrap_err();
    assert!(!after.may_be_done(), "{after:?}");
}

#[tokio::test]
async fn a_node_that_is_killed_leaves_outcomes_unknown() {
    let node = Node::start(identity(1), options()).await;
    let from = link(identity(2), quick());
    let peer = way(&from, 1, node.address);
    let desk = node.desk.clone();
    let waits = tokio::spawn({
        let peer = peer.clone();
        async move { peer.ask(ask("wait")).await }
    });
    until("it is asked", || desk.asked.load(SeqCst) == 1).await;
    node.kill().await;
    assert!(waits.await.unwrap().unwrap_err().may_be_done());
}

/// What answers each connection with this, and closes it or not.
async fn talker(says: &'static [u8], closes: bool) -> std::net::SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let _ = stream.read(&mut [0; 1_024]).await;
                let _ = stream.write_all(says).await;
                let mut rest = [0; 1_024];
                while !closes && stream.read(&mut rest).await.is_ok_and(|count| count > 0) {}
            });
        }
    });
    address
}

#[tokio::test]
async fn what_talks_nonsense_is_no_node() {
    let nonsense: [&[u8]; 5] = [
        b"",
        b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi",
        b"\x00\x00\x00\x04\x00\x00\x00\x00\x00\xff\xff\xff\xff\xff\xff\xff\xff\xff",
        // Settings, then an answer to the first request that is no nonce.
        b"\x00\x00\x00\x04\x00\x00\x00\x00\x00\x00\x00\x01\x01\x04\x00\x00\x00\x01\x88\x00\x00\x02\x00\x01\x00\x00\x00\x01hi",
        &[0; 4_096],
    ];
    for says in nonsense {
        for closes in [true, false] {
            let from = link(identity(2), quick());
            let peer = way(&from, 1, talker(says, closes).await);
            let refused = peer.ask(Ask { left: Duration::from_secs(3), ..ask("x") }).await.unwrap_err();
            assert!(!refused.may_be_done(), "{refused:?}");
            assert_eq!(from.health()[0].connections, 0);
        }
    }
}

#[tokio::test]
async fn who_does_not_prove_itself_is_answered_nothing_and_is_gone_soon() {
    let node = Node::start(identity(1), quick()).await;
    let mut stream = tokio::net::TcpStream::connect(node.address).await.unwrap();
    stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00").await.unwrap();
    let mut all = Vec::new();
    tokio::time::timeout(SOON, stream.read_to_end(&mut all)).await.unwrap().unwrap();
    assert_eq!(node.desk.asked.load(SeqCst), 0);
}

#[tokio::test]
async fn an_ask_on_a_connection_that_is_not_proven_is_refused() {
    let node = Node::start(identity(1), options()).await;
    let stream = tokio::net::TcpStream::connect(node.address).await.unwrap();
    let io = hyper_util::rt::TokioIo::new(stream);
    let executor = hyper_util::rt::TokioExecutor::new();
    let (mut requests, serving) = hyper::client::conn::http2::handshake(executor, io).await.unwrap();
    tokio::spawn(serving);
    for path in ["/link/ask", "/link/tell", "/link/subscribe", "/link/forward/v1/balance", "/"] {
        let body = http_body_util::Full::new(bytes::Bytes::from_static(&[0; 32]));
        let request = http::Request::post(format!("http://node{path}")).body(body).unwrap();
        assert_eq!(requests.send_request(request).await.unwrap().status(), 401, "{path}");
    }
    assert_eq!(node.desk.asked.load(SeqCst), 0);
    assert!(node.desk.told.lock().unwrap().is_empty() && node.desk.forwarded.lock().unwrap().is_empty());
}
