//! Whole requests for another node.

use std::time::Duration;

use bytes::Bytes;
use http::Request;
use link::{Cut, LinkError, NotSent, Unknown};

use crate::node::{Node, SOON, ask, id, identity, link, options, said, way};

fn request(path: &str) -> Request<Bytes> {
    Request::post(path).header("host", "api.example").body(Bytes::from_static(b"body")).unwrap()
}

#[tokio::test]
async fn a_request_goes_whole_and_its_answer_comes_whole() {
    let node = Node::start(identity(1), options()).await;
    let from = link(identity(2), options());
    let peer = way(&from, 1, node.address);
    let client = "203.0.113.9".parse().unwrap();
    let mut response = peer.forward(request("/v1/balance?x=%20"), Some(client), 1, SOON).await.unwrap();
    assert_eq!(response.status(), 418);
    assert!(response.headers().get("x-mine").is_none(), "it was of one connection");
    assert_eq!(response.body_mut().next().await.unwrap().unwrap(), "body");
    assert_eq!(response.body_mut().next().await, Ok(None));
    let forwarded = node.desk.forwarded.lock().unwrap().clone();
    assert_eq!(forwarded, [("/v1/balance?x=%20".to_owned(), Some(client), 1)]);
}

#[tokio::test]
async fn an_answer_streams_and_one_that_breaks_is_no_whole_one() {
    let node = Node::start(identity(1), options()).await;
    let from = link(identity(2), options());
    let peer = way(&from, 1, node.address);
    let mut response = peer.forward(request("/stream"), None, 1, SOON).await.unwrap();
    assert_eq!(response.headers()["x-streamed"], "yes");
    let mut all = Vec::new();
    while let Some(piece) = response.body_mut().next().await.unwrap() {
        all.extend_from_slice(&piece);
    }
    assert_eq!(all, b"onetwothree");
    let mut response = peer.forward(request("/cut"), None, 1, SOON).await.unwrap();
    let sender = node.desk.pieces.lock().unwrap().pop().unwrap();
    sender.send(Ok(Bytes::from_static(b"begun"))).await.unwrap();
    assert_eq!(response.body_mut().next().await.unwrap().unwrap(), "begun");
    sender.send(Err(Cut("it broke".into()))).await.unwrap();
    assert!(response.body_mut().next().await.is_err(), "it ended as if it were whole");
}

#[tokio::test]
async fn who_leaves_an_answer_is_noticed() {
    let node = Node::start(identity(1), options()).await;
    let from = link(identity(2), options());
    let response = way(&from, 1, node.address).forward(request("/cut"), None, 1, SOON).await.unwrap();
    let sender = node.desk.pieces.lock().unwrap().pop().unwrap();
    drop(response);
    tokio::time::timeout(SOON, sender.closed()).await.unwrap();
}

#[tokio::test]
async fn an_answer_that_is_read_outlives_the_way() {
    let node = Node::start(identity(1), options()).await;
    let from = link(identity(2), options());
    let mut response = way(&from, 1, node.address).forward(request("/cut"), None, 1, SOON).await.unwrap();
    let sender = node.desk.pieces.lock().unwrap().pop().unwrap();
    from.forget(id(1));
    sender.send(Ok(Bytes::from_static(b"more"))).await.unwrap();
    assert_eq!(response.body_mut().next().await.unwrap().unwrap(), "more");
    drop(sender);
    assert_eq!(response.body_mut().next().await, Ok(None));
}

#[tokio::test]
async fn who_leaves_before_the_answer_ends_the_request() {
    let node = Node::start(identity(1), options()).await;
    let from = link(identity(2), options());
    let peer = way(&from, 1, node.address);
    let asking = tokio::spawn(async move { peer.forward(request("/never"), None, 1, SOON).await.map(drop) });
    let leaving = loop {
        if let Some(leaving) = node.desk.leaving.lock().unwrap().take() {
            break leaving;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    };
    asking.abort();
    let left = tokio::time::timeout(SOON, leaving).await.unwrap();
    assert!(left.is_err(), "it was dropped");
}

#[tokio::test]
async fn answers_that_nobody_reads_stop_no_other() {
    let node = Node::start(identity(1), options()).await;
    let from = link(identity(2), options());
    let peer = way(&from, 1, node.address);
    let mut unread = Vec::new();
    for _ in 0..200 {
        unread.push(peer.forward(request("/flood"), None, 1, SOON).await.unwrap());
    }
    // As much of each as may be is under way by now, or soon.
    for _ in 0..50 {
        let body = "x".repeat(10_000).leak();
        assert_eq!(said(&peer.ask(ask(body)).await.unwrap()), body);
    }
    assert_eq!(from.health()[0].connections, 1);
}

#[tokio::test]
async fn large_headers_pass() {
    let node = Node::start(identity(1), options()).await;
    let from = link(identity(2), options());
    let mut request = request("/");
    request.headers_mut().insert("x-large", "x".repeat(100_000).parse().unwrap());
    let response = way(&from, 1, node.address).forward(request, None, 1, SOON).await.unwrap();
    assert_eq!(response.status(), 418);
}

#[tokio::test]
async fn what_is_not_carried_out_says_so() {
    let node = Node::start(identity(1), options()).await;
    let from = link(identity(2), link::Options { hops: 9, ..options() });
    let peer = way(&from, 1, node.address);
    for hops in [3, 10] {
        let looped = peer.forward(request("/"), None, hops, SOON).await;
        assert_eq!(looped.err(), Some(LinkError::NotSent(NotSent::Loops)), "{hops}");
    }
    assert!(node.desk.forwarded.lock().unwrap().is_empty());
    let died = peer.forward(request("/panic"), None, 1, SOON).await;
    assert_eq!(died.err(), Some(LinkError::Unknown(Unknown::Unfinished)));
    let refused = peer.forward(request("/nothing-new"), None, 1, SOON).await;
    assert_eq!(refused.err(), Some(LinkError::NotSent(NotSent::Full)));
    let late = peer.forward(request("/"), None, 1, Duration::ZERO).await;
    assert_eq!(late.err(), Some(LinkError::NotSent(NotSent::Late)));
}
