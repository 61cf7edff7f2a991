//! Balances and revoked keys.

use std::time::Duration;

use billing::ids::AccountId;
use hints::{Hints, Number, Options, Revoked, Told};
use uuid::Uuid;

use crate::{
    server::{OTHER, OWNER, SOON, Server, hears, next, quick, until},
    uses::ready,
};

pub(crate) const ONE: AccountId = AccountId(Uuid::from_u128(1));
const TWO: AccountId = AccountId(Uuid::from_u128(2));

pub(crate) fn balance(place: u64, text: &'static str) -> Told {
    Told::Balance(Number { epoch: 1, place }, text.into())
}

pub(crate) fn tell(hints: &Hints, place: u64, text: &'static str) {
    hints.tell_balance(ONE, Number { epoch: 1, place }, text.into());
}

#[tokio::test]
async fn a_balance_reaches_all_who_watch_it_and_nobody_else() {
    let Some(server) = Server::start(&[]) else { return };
    let (from, to) = (server.hints(), server.others());
    ready(&from).await;
    let (mut first, mut again, mut other) =
        (to.watch(ONE, OWNER).unwrap(), to.watch(ONE, OWNER).unwrap(), to.watch(TWO, OWNER).unwrap());
    for watch in [&mut first, &mut again, &mut other] {
        assert_eq!(next(watch).await, Told::Sighted);
    }
    tell(&from, 1, "one");
    assert_eq!(next(&mut first).await, balance(1, "one"));
    assert_eq!(next(&mut again).await, balance(1, "one"));
    from.tell_balance(TWO, Number { epoch: 1, place: 1 }, "of two".into());
    assert_eq!(next(&mut other).await, balance(1, "of two"), "not that of another");
    // One that comes later than a newer one is nothing.
    tell(&from, 5, "five");
    assert_eq!(next(&mut first).await, balance(5, "five"));
    tell(&from, 4, "four");
    tell(&from, 6, "six");
    assert_eq!(next(&mut first).await, balance(6, "six"));
    assert_eq!(to.health().watched, 2);
}

#[tokio::test]
async fn who_tells_much_tells_the_newest() {
    let Some(server) = Server::start(&[]) else { return };
    let (from, to) = (server.hints(), server.others());
    ready(&from).await;
    let mut watch = to.watch(ONE, OWNER).unwrap();
    assert_eq!(next(&mut watch).await, Told::Sighted);
    for place in 1..=5_000 {
        tell(&from, place, "more");
    }
    tell(&from, 5_001, "last");
    hears(&mut watch, &balance(5_001, "last")).await;
    assert_eq!(from.health().untold, 0);
}

#[tokio::test]
async fn an_account_that_nobody_watches_is_not_told_here() {
    let Some(server) = Server::start(&[]) else { return };
    let hints = server.hints();
    let channel = format!("farebox:ledger:balance:{ONE}");
    let mut watch = hints.watch(ONE, OWNER).unwrap();
    assert_eq!(next(&mut watch).await, Told::Sighted);
    assert_eq!(server.ask(&["PUBLISH", &channel, "nonsense"]).unwrap(), ":1");
    drop(watch);
    until("it is left", async || server.ask(&["PUBLISH", &channel, "x"]).unwrap() == ":0").await;
    let mut watch = hints.watch(ONE, OWNER).unwrap();
    assert_eq!(next(&mut watch).await, Told::Sighted);
    tell(&hints, 1, "one");
    assert_eq!(next(&mut watch).await, balance(1, "one"), "what was nonsense is none");
}

#[tokio::test]
async fn a_revoked_key_is_heard_of_everywhere() {
    let Some(server) = Server::start(&[]) else { return };
    let (from, to) = (server.hints(), server.others());
    let mut revoked = to.revoked();
    let mut hear = async || tokio::time::timeout(SOON, revoked.recv()).await.unwrap().unwrap();
    assert_eq!(hear().await, Revoked::Sighted);
    assert!(to.is_sighted());
    ready(&from).await;
    from.tell_revoked("k123".to_owned());
    assert_eq!(hear().await, Revoked::Key("k123".to_owned()));
}

#[tokio::test]
async fn who_hears_of_redis_but_not_of_the_owner_is_blind() {
    let Some(server) = Server::start(&[]) else { return };
    let options = Options { silence: Duration::from_secs(1), ..quick() };
    let (from, to) = (server.hints(), Hints::open(server.place(), "ledger", OTHER, options));
    let mut watch = to.watch(ONE, OWNER).unwrap();
    assert_eq!(next(&mut watch).await, Told::Sighted);
    assert!(to.is_sighted());
    // It is cut off from Redis, or is no more.
    drop(from);
    assert_eq!(next(&mut watch).await, Told::Blind);
    assert!(to.is_sighted(), "of all others it hears");
    let from = server.hints();
    assert_eq!(next(&mut watch).await, Told::Sighted);
    ready(&from).await;
    tell(&from, 1, "one");
    hears(&mut watch, &balance(1, "one")).await;
}

#[tokio::test]
async fn a_balance_that_could_not_be_told_is_asked_for() {
    let Some(server) = Server::start(&[]) else { return };
    let options = Options { waiting: 4, ..quick() };
    let (from, to) = (Hints::open(server.place(), "ledger", OWNER, options), server.others());
    let mut watch = to.watch(ONE, OWNER).unwrap();
    assert_eq!(next(&mut watch).await, Told::Sighted);
    for place in 1..=1_000 {
        tell(&from, place, "more");
    }
    assert!(from.health().untold > 0);
    hears(&mut watch, &Told::Blind).await;
    hears(&mut watch, &Told::Sighted).await;
}
