//! A cluster of Redis servers: what is kept is on one of them, what is told is heard at all.

use std::time::Duration;

use hints::{Hints, Owner, Place, Rate, Rates, Told};
use runtime::node::NodeId;
use uuid::Uuid;

use crate::{
    server::{OTHER, OWNER, Server, hears, quick, until},
    telling::{ONE, balance, tell},
    uses::ready,
};

/// Two servers, each with half of the slots.
async fn cluster() -> Option<(Server, Server)> {
    let (one, two) = (Server::start(&["--cluster-enabled", "yes"])?, Server::start(&["--cluster-enabled", "yes"])?);
    for (server, first, last) in [(&one, "0", "8191"), (&two, "8192", "16383")] {
        assert_eq!(server.ask(&["CLUSTER", "ADDSLOTSRANGE", first, last]).unwrap(), "+OK");
    }
    assert_eq!(one.ask(&["CLUSTER", "SET-CONFIG-EPOCH", "1"]).unwrap(), "+OK");
    assert_eq!(one.ask(&["CLUSTER", "MEET", "127.0.0.1", &two.port.to_string()]).unwrap(), "+OK");
    // A name of a slot of the other one is told to be there, by each, once they know each other.
    until("the servers know each other", async || {
        let moved =
            |server: &Server, key: &str| server.ask(&["GET", key]).is_ok_and(|answer| answer.starts_with("-MOVED"));
        let has = |server: &Server, key: &str| server.ask(&["GET", key]).is_ok_and(|answer| answer == "$-1");
        // `foo` is in slot 12182, `bar` in 5061.
        moved(&one, "foo") && has(&one, "bar") && moved(&two, "bar") && has(&two, "foo")
    })
    .await;
    Some((one, two))
}

#[tokio::test]
async fn a_cluster_is_used_as_one_server_is() {
    let Some((one, two)) = cluster().await else { return };
    let place = |server: &Server| Place::parse(&format!("redis-cluster://127.0.0.1:{}", server.port)).unwrap();
    let (first, second) =
        (Hints::open(place(&one), "ledger", OWNER, quick()), Hints::open(place(&two), "ledger", OTHER, quick()));
    ready(&first).await;
    ready(&second).await;
    for shard in 0..16 {
        let owner = Owner { node: NodeId(Uuid::from_u128(1)), epoch: shard + 1, address: "a:1".into() };
        first.tell_owner(shard, &owner, Duration::from_mins(1)).await;
        assert_eq!(second.owner(shard).await, Some(owner), "{shard}");
    }
    let sizes = [&one, &two].map(|server| server.ask(&["DBSIZE"]).unwrap());
    assert!(sizes.iter().all(|size| size != ":0"), "both have some: {sizes:?}");
    let (rates, others) = (Rates::new(Some(first.clone())), Rates::new(Some(second.clone())));
    let rate = Rate::new(1, Duration::from_hours(1), 2).unwrap();
    for address in ["a", "b", "c", "d"] {
        assert_eq!(rates.count(address, rate).await, hints::Decision::Allowed(1), "{address}");
        assert_eq!(others.count(address, rate).await, hints::Decision::Allowed(0), "{address}");
    }
    let mut watch = second.watch(ONE, OWNER).unwrap();
    hears(&mut watch, &Told::Sighted).await;
    tell(&first, 1, "one");
    hears(&mut watch, &balance(1, "one")).await;
}
