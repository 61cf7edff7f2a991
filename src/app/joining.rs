//! Whether this process may join the nodes of a ledger: looked at before it owns anything. What is wrong is named, and the
//! start ends with it.

use std::time::Duration;

use actors::{
    accounts::Accounts,
    cluster::{clocks, is_alive, lease::Rules},
};
use anyhow::{Context, Result, bail};
use link::{Link, Refusal, Standing};
use runtime::{clock::Clock, node::NodeId};

/// Compares the clock with the database's, and keeps it steady from now on: what is decided by a wrong clock is not undone,
/// as credits that have expired stay so.
///
/// # Errors
///
/// The two are too far apart, or the database's can't be read.
pub(super) async fn has_the_time(accounts: &Accounts, clock: &Clock) -> Result<()> {
    clock.keep_steady();
    let before = clock.now();
    let theirs = accounts.ledger().nodes().await.context("can't read the database's clock")?.now;
    match clocks::fault(clocks::ahead_ms(before, theirs, clock.now())) {
        Some(why) => bail!("{why}: set both by NTP, and start again"),
        None => Ok(()),
    }
}

/// How long a node that starts waits for another one's word.
const HEARD_WITHIN: Duration = Duration::from_secs(3);
/// How often it is looked whether there is one.
const LOOK: Duration = Duration::from_millis(10);

/// Looks whether the nodes that are there work with this one: what a node has that no other can ask is nobody's.
///
/// # Errors
///
/// One of them does not. One that does not answer says nothing.
pub(super) async fn fits_in(accounts: &Accounts, link: &Link, rules: Rules) -> Result<()> {
    let seen = accounts.ledger().nodes().await.context("can't read the other nodes")?;
    let serving: Vec<_> = seen.nodes.iter().filter(|node| is_alive(node, &seen, &rules)).collect();
    let ways: Vec<_> = serving.iter().map(|node| (node, link.peer(NodeId(node.id), &node.address))).collect();
    let until = tokio::time::Instant::now() + HEARD_WITHIN;
    for (node, way) in &ways {
        while way.health().standing == Standing::Connecting && tokio::time::Instant::now() < until {
            tokio::time::sleep(LOOK).await;
        }
        match way.health().standing {
            // Another process has that one's place by now.
            Standing::Refused(Refusal::Another(_) | Refusal::Itself) => link.forget(NodeId(node.id)),
            Standing::Refused(refusal) => {
                bail!("the node {} at {} does not work with this one: {refusal}", node.name, node.address)
            }
            Standing::Connecting | Standing::Connected { .. } | Standing::Away(_) => {}
        }
    }
    Ok(())
}
