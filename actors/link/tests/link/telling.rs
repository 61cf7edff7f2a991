//! Messages that nobody answers.

use std::time::Duration;

use bytes::Bytes;
use link::{NotSent, Options, Tell};

use crate::{
    node::{Node, identity, link, options, until, way},
    proxy::Proxy,
};

fn tell(number: u32) -> Tell {
    Tell { shard: 1, epoch: 2, body: Bytes::copy_from_slice(&number.to_be_bytes()) }
}

#[tokio::test]
async fn messages_arrive_in_their_order() {
    let node = Node::start(identity(1), options()).await;
    let from = link(identity(2), options());
    let peer = way(&from, 1, node.address);
    for number in 0..5_000 {
        peer.tell(tell(number)).unwrap();
    }
    until("they are told", || node.desk.told.lock().unwrap().len() == 5_000).await;
    assert!(node.desk.told.lock().unwrap().iter().zip(0..).all(|(told, number)| *told == tell(number)));
    until("it is known", || peer.health().told == 5_000).await;
    assert_eq!(peer.health().lost, 0);
}

#[tokio::test]
async fn messages_wait_for_a_node_that_is_away_and_grow_old() {
    let node = Node::start(identity(1), options()).await;
    let proxy = Proxy::start(node.address).await;
    proxy.close();
    let from = link(identity(2), Options { tell_age: Duration::from_millis(400), tells: 3, ..options() });
    let peer = way(&from, 1, proxy.address);
    peer.tell(tell(1)).unwrap();
    until("it is old", || peer.health().lost == 1).await;
    peer.tell(tell(2)).unwrap();
    proxy.open();
    until("it is told", || peer.health().told >= 1 || peer.health().lost > 1).await;
    let told = node.desk.told.lock().unwrap().clone();
    assert!(told.iter().all(|told| *told == tell(2)), "{told:?}");
    proxy.close();
    let refused = (0..20).map(|number| peer.tell(tell(number))).filter(|told| *told == Err(NotSent::Full)).count();
    assert!(refused >= 10, "{refused}");
}

#[tokio::test]
async fn a_message_is_told_once_at_most_however_often_the_way_is_cut() {
    let node = Node::start(identity(1), options()).await;
    let proxy = Proxy::start(node.address).await;
    let from = link(identity(2), options());
    let peer = way(&from, 1, proxy.address);
    for number in 0..400 {
        peer.tell(tell(number)).unwrap();
        if number % 40 == 0 {
            proxy.cut_after(u64::from(number) * 3 + 1);
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    proxy.cut_after(0);
    until("each is told or lost", || {
        let health = peer.health();
        health.told + health.lost == 400
    })
    .await;
    let told = node.desk.told.lock().unwrap().clone();
    let numbers: Vec<u32> = told.iter().map(|tell| u32::from_be_bytes(tell.body[..].try_into().unwrap())).collect();
    assert!(numbers.is_sorted_by(|one, next| one < next), "{numbers:?}");
    assert!(told.len() as u64 >= peer.health().told);
}
