//! An append whose outcome nobody knows: its connection is cut as it is sent, or before its answer comes, or its session
//! is ended as it waits. It is in the log once, or not at all, and the request is answered accordingly.

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use crate::support::{
    cluster::{Cluster, LEASE, Outcome, Patron, chat},
    postgres::HeldSession,
    proxy::Trap,
};

/// How often each trap is set for each node.
const TIMES: usize = 4;

#[tokio::test]
async fn an_append_that_is_cut_off_is_in_the_log_once_or_not_at_all() {
    let Some(cluster) = Cluster::of(2).await else { return };
    // Each node has some of their accounts.
    let mut patrons = cluster.patrons(4).await;
    let owner = |patron: &Patron| cluster.owner_of(patron.shard());
    while patrons.iter().map(owner).collect::<BTreeSet<_>>().len() < cluster.nodes.len() {
        patrons.extend(cluster.patrons(1).await);
    }
    for node in &cluster.nodes {
        node.database.delay(Duration::from_millis(5));
    }
    for turn in 0..TIMES {
        for trap in [Trap::AnswerLost, Trap::HalfSent] {
            let before: Vec<_> = cluster.nodes.iter().map(|node| node.database.sprung()).collect();
            cluster.nodes.iter().for_each(|node| node.database.set(trap));
            let began = Instant::now();
            // All accounts are asked, so that both nodes append something.
            while cluster.nodes.iter().zip(&before).any(|(node, before)| node.database.sprung() == *before) {
                assert!(began.elapsed() < Duration::from_secs(20), "{trap:?} was not met");
                for patron in &mut patrons {
                    // The connection is opened again, and the append repeated: nobody notices.
                    match chat(cluster.nodes[turn % 2].server.url(), &patron.key).await {
                        Outcome::Told(id, cost) => patron.told.push((id, cost)),
                        Outcome::NotNow(status, said) => panic!("{trap:?}: {status} {said}"),
                        Outcome::Refused | Outcome::Broken => panic!("{trap:?}: broken"),
                    }
                }
            }
        }
    }
    // All connections to the database are cut at once, as requests run.
    for turn in 0..TIMES {
        cluster.nodes[turn % 2].database.cut();
        for patron in &mut patrons {
            cluster.chat(patron, turn % 2).await;
        }
    }
    cluster.assert_right(&patrons).await;
}

#[tokio::test]
async fn a_session_that_is_ended_as_its_append_waits_leaves_nothing_in_doubt_and_no_lease_behind() {
    let Some(cluster) = Cluster::of(2).await else { return };
    let mut patrons = cluster.patrons(1).await;
    let (shard, key) = (patrons[0].shard(), patrons[0].key.clone());
    let of_shard = |what: &str| format!("SELECT {what} FROM shard_lease WHERE shard = {shard}");
    let owner = of_shard("node || ' ' || epoch");
    let owned = cluster.query(&owner);
    // Somebody holds the place of the next row: the append waits for that to be decided, with the lease's row locked.
    let mut held = HeldSession::open(&cluster.url);
    held.run(&format!(
        "BEGIN; INSERT INTO log (shard, seq, epoch, at, prev_hash, hash, body) \
         SELECT shard, seq + 1, epoch, at, hash, prev_hash, body FROM log WHERE shard = {shard} ORDER BY seq DESC LIMIT 1"
    ));
    let url = cluster.nodes[0].server.url().to_owned();
    let asked = tokio::spawn(async move { chat(&url, &key).await });
    let waiting = "FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock' \
                   AND query LIKE 'INSERT INTO log%'";
    for _ in 0..3 {
        // The append is repeated by a new session, which waits as the one before did.
        cluster.until("waiting", async || cluster.number(&format!("SELECT COUNT(*) {waiting}")) > 0).await;
        assert_eq!(cluster.number(&format!("SELECT COUNT(pg_terminate_backend(pid)) {waiting}")), 1);
    }
    // It takes longer than a lease lasts, and the lease is renewed all the same.
    tokio::time::sleep(LEASE + Duration::from_secs(2)).await;
    let left = "expires_at - CAST(extract(epoch FROM clock_timestamp()) * 1000 AS BIGINT)";
    assert!(cluster.number(&of_shard(left)) > 0, "the lease is over");
    assert_eq!(cluster.query(&owner), owned, "the shard has another owner");
    drop(held);
    match asked.await.unwrap() {
        Outcome::Told(id, cost) => patrons[0].told.push((id, cost)),
        Outcome::NotNow(status, said) => panic!("{status} {said}"),
        Outcome::Refused | Outcome::Broken => panic!("broken"),
    }
    assert_eq!(cluster.query(&owner), owned, "the shard has another owner");
    cluster.assert_right(&patrons).await;
}
