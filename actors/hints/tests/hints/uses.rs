//! Owners, what nodes run, and rates of addresses.

use std::time::Duration;

use hints::{Decision, Health, Hints, Owner, Rate, Rates, Standing};
use runtime::node::NodeId;
use uuid::Uuid;

use crate::server::{OWNER, Server, quick, until};

fn node(number: u128) -> NodeId {
    NodeId(Uuid::from_u128(number))
}

fn owner(epoch: i64) -> Owner {
    Owner { node: node(epoch.unsigned_abs().into()), epoch, address: "10.0.0.1:9000".into() }
}

/// Waits until calls are answered.
pub(crate) async fn ready(hints: &Hints) {
    until("Redis is there", async || {
        hints.tell_runs(node(1), b"x", Duration::from_mins(1)).await;
        hints.runs(&[node(1)]).await == [Some("x".into())]
    })
    .await;
}

#[tokio::test]
async fn the_owner_with_the_newest_epoch_is_told_until_it_ends() {
    let Some(server) = Server::start(&[]) else { return };
    let (one, two) = (server.hints(), server.hints());
    ready(&one).await;
    ready(&two).await;
    let long = Duration::from_mins(10);
    one.tell_owner(3, &owner(5), long).await;
    assert_eq!(two.owner(3).await, Some(owner(5)));
    one.tell_owner(3, &owner(4), long).await;
    assert_eq!(two.owner(3).await, Some(owner(5)), "an older one changes nothing");
    two.tell_owner(3, &owner(6), long).await;
    assert_eq!(one.owner(3).await, Some(owner(6)));
    assert_eq!(one.owner(4).await, None);
    server.ask(&["SET", "farebox:ledger:owner:4", "nonsense"]).unwrap();
    assert_eq!(one.owner(4).await, None);
    one.tell_owner(4, &owner(1), Duration::from_millis(1)).await;
    until("it ends", async || one.owner(4).await.is_none()).await;
    let Health { standing, answered, failed, .. } = one.health();
    assert_eq!((standing, failed), (Standing::Ready, 0));
    assert!(answered > 5, "{answered}");
}

#[tokio::test]
async fn ledgers_on_one_redis_hear_nothing_of_each_other() {
    let Some(server) = Server::start(&[]) else { return };
    let (one, other) = (server.hints(), Hints::open(server.place(), "another", OWNER, quick()));
    ready(&one).await;
    ready(&other).await;
    one.tell_owner(1, &owner(1), Duration::from_mins(1)).await;
    assert_eq!((one.owner(1).await, other.owner(1).await), (Some(owner(1)), None));
}

#[tokio::test]
async fn what_nodes_run_is_told_in_the_order_of_who_asks() {
    let Some(server) = Server::start(&[]) else { return };
    let hints = server.hints();
    ready(&hints).await;
    hints.tell_runs(node(2), b"7B", Duration::from_mins(1)).await;
    let runs = hints.runs(&[node(9), node(2), node(1)]).await;
    assert_eq!(runs, [None, Some("7B".into()), Some("x".into())]);
}

/// One an hour, five at once: nothing comes back during a test.
fn hourly() -> Rate {
    Rate::new(24, Duration::from_hours(24), 5).unwrap()
}

async fn five_and_no_more(one: &Rates, two: &Rates, address: &str) {
    for left in (0..5).rev() {
        let rates = if left % 2 == 0 { one } else { two };
        assert_eq!(rates.count(address, hourly()).await, Decision::Allowed(left));
    }
    for rates in [one, two] {
        let Decision::Refused(wait) = rates.count(address, hourly()).await else { panic!("a sixth is let in") };
        assert!((Duration::from_mins(55)..=Duration::from_hours(1)).contains(&wait), "{wait:?}");
    }
}

#[tokio::test]
async fn addresses_are_counted_by_all_nodes_together_and_as_one_node_would() {
    let Some(server) = Server::start(&[]) else { return };
    let (one, two) = (server.hints(), server.hints());
    ready(&one).await;
    ready(&two).await;
    let alone = Rates::new(None);
    five_and_no_more(&alone, &alone, "192.0.2.1").await;
    let (one, two) = (Rates::new(Some(one)), Rates::new(Some(two)));
    five_and_no_more(&one, &two, "192.0.2.1").await;
    five_and_no_more(&two, &one, "192.0.2.2").await;
    // What is kept ends by itself.
    let left: i64 =
        server.ask(&["PTTL", "farebox:ledger:rate:192.0.2.1"]).unwrap().trim_start_matches(':').parse().unwrap();
    assert!((1..=5 * 3_600_000).contains(&left), "{left}");
}

#[tokio::test]
async fn a_rate_is_let_in_again_as_time_passes() {
    let Some(server) = Server::start(&[]) else { return };
    let hints = server.hints();
    ready(&hints).await;
    let (rates, rate) = (Rates::new(Some(hints)), Rate::new(100, Duration::from_secs(1), 1).unwrap());
    assert_eq!(rates.count("a", rate).await, Decision::Allowed(0));
    until("its time comes", async || rates.count("a", rate).await == Decision::Allowed(0)).await;
    // What somebody else wrote there counts as nothing.
    server.ask(&["SET", "farebox:ledger:rate:b", "nonsense"]).unwrap();
    assert_eq!(rates.count("b", rate).await, Decision::Allowed(0));
    server.ask(&["SET", "farebox:ledger:rate:c", "9999999999999999"]).unwrap();
    assert_eq!(rates.count("c", rate).await, Decision::Allowed(0), "as after a clock was set back");
}
