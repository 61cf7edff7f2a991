//! Redis goes away in every way: nothing waits for it, nothing fails, and it is used again when it is back.

use std::time::Duration;

use hints::{Decision, Hints, Options, Owner, Place, Rate, Rates, Revoked, Standing, Told};
use runtime::node::NodeId;
use uuid::Uuid;

use crate::{
    server::{OWNER, SOON, Server, hears, next, quick, talker, until},
    telling::{ONE, balance, tell},
    uses::ready,
};

fn owner() -> Owner {
    Owner { node: NodeId(Uuid::from_u128(1)), epoch: 1, address: "a:1".into() }
}

/// Every call ends, with nothing; rates are counted here.
async fn does_without(hints: &Hints) {
    let all = async {
        hints.tell_owner(1, &owner(), Duration::from_mins(1)).await;
        assert_eq!(hints.owner(1).await, None);
        hints.tell_runs(owner().node, b"x", Duration::from_mins(1)).await;
        assert_eq!(hints.runs(&[owner().node; 3]).await, [None, None, None]);
        hints.tell_revoked("k123".to_owned());
        tell(hints, 1, "untold");
        let rates = Rates::new(Some(hints.clone()));
        let rate = Rate::new(1, Duration::from_hours(1), 1).unwrap();
        assert_eq!(rates.count("a", rate).await, Decision::Allowed(0));
        assert!(matches!(rates.count("a", rate).await, Decision::Refused(_)));
    };
    tokio::time::timeout(SOON, all).await.unwrap();
}

#[tokio::test]
async fn a_redis_that_was_never_there_is_done_without() {
    // Nobody listens at the port of a listener that is gone.
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    for scheme in ["redis", "rediss", "redis-cluster"] {
        let hints = Hints::open(Place::parse(&format!("{scheme}://{free}")).unwrap(), "ledger", OWNER, quick());
        let mut watch = hints.watch(ONE, OWNER).unwrap();
        does_without(&hints).await;
        assert!(
            tokio::time::timeout(Duration::from_millis(50), watch.next()).await.is_err(),
            "it is blind from the start"
        );
        until("it is known", async || matches!(hints.health().standing, Standing::Resting(..))).await;
        assert!(!hints.is_sighted());
    }
}

#[tokio::test]
async fn a_redis_that_was_not_there_at_the_start_is_used_once_it_is() {
    let Some(mut server) = Server::start(&[]) else { return };
    server.stop();
    let hints = server.hints();
    does_without(&hints).await;
    let mut watch = hints.watch(ONE, OWNER).unwrap();
    server.resume();
    ready(&hints).await;
    hears(&mut watch, &Told::Sighted).await;
}

#[tokio::test]
async fn a_redis_that_is_stopped_is_done_without_and_used_again() {
    let Some(mut server) = Server::start(&[]) else { return };
    let hints = server.hints();
    ready(&hints).await;
    let (mut watch, mut revoked) = (hints.watch(ONE, OWNER).unwrap(), hints.revoked());
    hears(&mut watch, &Told::Sighted).await;
    for round in 1..=3 {
        server.stop();
        hears(&mut watch, &Told::Blind).await;
        until("it is heard of", async || matches!(revoked.try_recv(), Ok(Revoked::Blind))).await;
        does_without(&hints).await;
        server.resume();
        ready(&hints).await;
        hears(&mut watch, &Told::Sighted).await;
        until("it is heard of", async || matches!(revoked.try_recv(), Ok(Revoked::Sighted))).await;
        tell(&hints, round * 10, "again");
        assert_eq!(next(&mut watch).await, balance(round * 10, "again"));
    }
    assert!(hints.health().untold >= 3, "{:?}", hints.health());
}

#[tokio::test]
async fn a_redis_that_freezes_is_noticed_and_used_again() {
    let Some(server) = Server::start(&[]) else { return };
    let options = Options { call: Duration::from_millis(100), ..quick() };
    let hints = Hints::open(server.place(), "ledger", OWNER, options);
    ready(&hints).await;
    let mut watch = hints.watch(ONE, OWNER).unwrap();
    hears(&mut watch, &Told::Sighted).await;
    server.freeze();
    does_without(&hints).await;
    hears(&mut watch, &Told::Blind).await;
    assert!(matches!(hints.health().standing, Standing::Resting(..)));
    server.thaw();
    ready(&hints).await;
    hears(&mut watch, &Told::Sighted).await;
    tell(&hints, 50, "again");
    hears(&mut watch, &balance(50, "again")).await;
}

#[tokio::test]
async fn a_redis_that_is_flushed_has_forgotten_and_goes_on() {
    let Some(server) = Server::start(&[]) else { return };
    let hints = server.hints();
    ready(&hints).await;
    let mut watch = hints.watch(ONE, OWNER).unwrap();
    hears(&mut watch, &Told::Sighted).await;
    hints.tell_owner(1, &owner(), Duration::from_mins(1)).await;
    let rates = Rates::new(Some(hints.clone()));
    let rate = Rate::new(1, Duration::from_hours(1), 1).unwrap();
    rates.count("a", rate).await;
    assert_eq!(server.ask(&["FLUSHALL"]).unwrap(), "+OK");
    assert_eq!(server.ask(&["SCRIPT", "FLUSH"]).unwrap(), "+OK");
    assert_eq!(hints.owner(1).await, None);
    hints.tell_owner(1, &owner(), Duration::from_mins(1)).await;
    assert_eq!(hints.owner(1).await, Some(owner()), "its script is told again");
    assert_eq!(rates.count("a", rate).await, Decision::Allowed(0));
    tell(&hints, 1, "one");
    assert_eq!(next(&mut watch).await, balance(1, "one"), "channels are not flushed");
    assert_eq!(hints.health().standing, Standing::Ready);
}

#[tokio::test]
async fn a_redis_that_refuses_us_is_done_without() {
    let Some(server) = Server::start(&[]) else { return };
    server.ask(&["CONFIG", "SET", "requirepass", "secret"]).unwrap();
    let hints = server.hints();
    does_without(&hints).await;
    until("it is named", async || {
        hints.owner(1).await;
        matches!(hints.health().standing, Standing::Resting(_, why) if why.contains("NOAUTH"))
    })
    .await;
    let with = Place::parse(&format!("redis://:secret@127.0.0.1:{}", server.port)).unwrap();
    ready(&Hints::open(with, "ledger", OWNER, quick())).await;
}

#[tokio::test]
async fn what_talks_nonsense_is_done_without() {
    let nonsense: [&[u8]; 8] = [
        b"",
        b"HTTP/1.1 400 Bad Request\r\n\r\n",
        b"+OK\r\n",
        b":7\r\n",
        b"$99999999999\r\n",
        b"*1000000000\r\n",
        b"-LOADING it loads\r\n",
        &[0xff; 300],
    ];
    for says in nonsense {
        let options = Options { call: Duration::from_millis(100), connect: Duration::from_millis(200), ..quick() };
        let place = Place::parse(&format!("redis://{}", talker(says))).unwrap();
        let hints = Hints::open(place, "ledger", OWNER, options);
        let watch = hints.watch(ONE, OWNER).unwrap();
        for _ in 0..3 {
            does_without(&hints).await;
            tokio::time::sleep(Duration::from_millis(60)).await;
        }
        assert_eq!(hints.health().watched, 1);
        drop(watch);
    }
}
