//! Asks and their answers, and their bounds.

use std::{sync::atomic::Ordering::SeqCst, time::Duration};

use bytes::Bytes;
use link::{Answer, Ask, LinkError, NotSent, NotSubscribed, Options, Unknown};

use crate::node::{Node, SOON, ask, id, identity, link, options, said, until, way};

#[tokio::test]
async fn an_answer_comes_back_as_it_was_given() {
    let node = Node::start(identity(1), options()).await;
    let from = link(identity(2), options());
    let peer = way(&from, 1, node.address);
    assert_eq!(said(&peer.ask(ask("echo")).await.unwrap()), "echo");
    assert_eq!(peer.ask(ask("owner")).await.unwrap(), Answer::NotOwner { owner: Some(id(9)), epoch: 8 });
    let large = Bytes::from(vec![7; 3 << 20]);
    let answer = peer.ask(Ask { body: large.clone(), ..ask("") }).await.unwrap();
    assert_eq!(answer, Answer::Answered(large));
    let asks: Vec<_> = (0..200)
        .map(|_| {
            tokio::spawn({
                let peer = peer.clone();
                async move { peer.ask(ask("many")).await }
            })
        })
        .collect();
    for asked in asks {
        assert_eq!(said(&asked.await.unwrap().unwrap()), "many");
    }
    assert_eq!(from.health()[0].connections, 1, "all by one connection");
}

#[tokio::test]
async fn time_travels_as_what_is_left() {
    let node = Node::start(identity(1), options()).await;
    let from = link(identity(2), options());
    let peer = way(&from, 1, node.address);
    let left: u64 =
        said(&peer.ask(Ask { left: Duration::from_secs(9), ..ask("left") }).await.unwrap()).parse().unwrap();
    assert!((1..=9_000).contains(&left), "{left}");
    let none = peer.ask(Ask { left: Duration::ZERO, ..ask("x") }).await;
    assert_eq!(none, Err(LinkError::NotSent(NotSent::Late)));
}

#[tokio::test]
async fn an_ask_that_takes_too_long_may_have_been_done_and_is_done() {
    let node = Node::start(identity(1), options()).await;
    let from = link(identity(2), options());
    let peer = way(&from, 1, node.address);
    peer.ask(ask("x")).await.unwrap();
    let late = peer.ask(Ask { left: Duration::from_millis(50), ..ask("wait") }).await;
    assert_eq!(late, Err(LinkError::Unknown(Unknown::Late)));
    // Nobody waits for it any more, and it goes on.
    node.desk.go_on.notify_one();
    until("it was carried out", || node.desk.ended.load(SeqCst) == 2).await;
}

#[tokio::test]
async fn a_handler_that_dies_has_an_unknown_outcome_and_kills_nothing_else() {
    let node = Node::start(identity(1), options()).await;
    let from = link(identity(2), options());
    let peer = way(&from, 1, node.address);
    assert_eq!(peer.ask(ask("panic")).await, Err(LinkError::Unknown(Unknown::Unfinished)));
    assert_eq!(said(&peer.ask(ask("x")).await.unwrap()), "x");
}

#[tokio::test]
async fn an_ask_that_goes_round_is_refused() {
    let node = Node::start(identity(1), options()).await;
    let from = link(identity(2), Options { hops: 9, ..options() });
    let peer = way(&from, 1, node.address);
    assert_eq!(said(&peer.ask(Ask { hops: 2, ..ask("x") }).await.unwrap()), "x");
    for hops in [3, 9, 10] {
        assert_eq!(peer.ask(Ask { hops, ..ask("x") }).await.unwrap(), Answer::Loops, "{hops}");
    }
    assert_eq!(node.desk.asked.load(SeqCst), 1);
}

#[tokio::test]
async fn each_bound_refuses_at_once() {
    let node = Node::start(identity(1), Options { asks: 2, subscriptions: 1, body: 100, ..options() }).await;
    let near = link(identity(2), Options { asks: 1, body: 100, ..options() });
    let peer = way(&near, 1, node.address);
    let waits = tokio::spawn({
        let peer = peer.clone();
        async move { peer.ask(ask("wait")).await }
    });
    until("it is asked", || node.desk.asked.load(SeqCst) == 1).await;
    assert_eq!(peer.ask(ask("x")).await, Err(LinkError::NotSent(NotSent::Full)), "the own bound");
    assert_eq!(near.health()[0].under_way, 1);
    let long = peer.ask(Ask { body: vec![0; 101].into(), ..ask("") }).await;
    assert_eq!(long, Err(LinkError::NotSent(NotSent::TooLarge(100))));
    node.desk.go_on.notify_one();
    waits.await.unwrap().unwrap();

    // One that has wider bounds meets those of the other side.
    let wide = link(identity(3), options());
    let peer = way(&wide, 1, node.address);
    let waits: Vec<_> = (0..2)
        .map(|_| {
            tokio::spawn({
                let peer = peer.clone();
                async move { peer.ask(ask("wait")).await }
            })
        })
        .collect();
    until("they are asked", || node.desk.asked.load(SeqCst) == 3).await;
    assert!(matches!(peer.ask(ask("x")).await, Ok(Answer::Busy(_))));
    node.desk.go_on.notify_waiters();
    for waits in waits {
        waits.await.unwrap().unwrap();
    }
    let _one = peer.subscribe(ask("")).await.unwrap();
    assert!(matches!(peer.subscribe(ask("")).await, Err(NotSubscribed::Answer(Answer::Busy(_)))));
}

#[tokio::test]
async fn a_subscription_brings_its_messages_in_order_and_ends() {
    let node = Node::start(identity(1), options()).await;
    let from = link(identity(2), options());
    let peer = way(&from, 1, node.address);
    let elsewhere = peer.subscribe(Ask { shard: 4, ..ask("") }).await;
    assert_eq!(elsewhere.err(), Some(NotSubscribed::Answer(Answer::NotOwner { owner: None, epoch: 0 })));
    let mut subscription = peer.subscribe(ask("")).await.unwrap();
    let sender = node.desk.subscribers.lock().unwrap().pop().unwrap();
    let sending = tokio::spawn(async move {
        for number in 0..500_u32 {
            // Lengths of all kinds, so that messages do not end where pieces end.
            let message = Bytes::from(vec![number.to_be_bytes()[3]; usize::try_from(number * 7 % 301).unwrap()]);
            sender.send(message).await.unwrap();
        }
        drop(sender);
    });
    for number in 0..500_u32 {
        let message = subscription.next().await.unwrap().unwrap();
        assert_eq!(message.len(), usize::try_from(number * 7 % 301).unwrap());
        assert!(message.iter().all(|byte| *byte == number.to_be_bytes()[3]));
    }
    assert_eq!(subscription.next().await, Ok(None));
    sending.await.unwrap();
}

#[tokio::test]
async fn who_leaves_a_subscription_is_noticed() {
    let node = Node::start(identity(1), options()).await;
    let from = link(identity(2), options());
    let subscription = way(&from, 1, node.address).subscribe(ask("")).await.unwrap();
    let sender = node.desk.subscribers.lock().unwrap().pop().unwrap();
    assert!(!sender.is_closed());
    drop(subscription);
    tokio::time::timeout(SOON, sender.closed()).await.unwrap();
}
