//! PostgreSQL is restarted as nodes append: by its operator, and as by a crash. The nodes come back by themselves, and what
//! they say meanwhile is that they can't be asked.

use std::time::Duration;

use crate::support::{
    cluster::{Cluster, Load},
    postgres::Postgres,
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn postgres_is_restarted_as_nodes_append_and_they_go_on_by_themselves() {
    let Some(mut own) = Postgres::start() else { return };
    let cluster = Cluster::at(own.fresh_database(), 3, |options| options).await;
    let mut patrons = cluster.patrons(6).await;
    let urls: Vec<_> = cluster.nodes.iter().map(|node| node.server.url().to_owned()).collect();
    for stop in [Postgres::stop_fast, Postgres::stop] {
        let load = Load::start(patrons, &urls);
        tokio::time::sleep(Duration::from_millis(700)).await;
        tokio::task::block_in_place(|| stop(&mut own));
        tokio::time::sleep(Duration::from_millis(1_500)).await;
        for node in &cluster.nodes {
            let ready = node.server.get("/readyz").await;
            assert_eq!(ready.status, 503, "{}", ready.body);
        }
        tokio::task::block_in_place(|| own.resume());
        cluster
            .until("ready again", async || {
                for node in &cluster.nodes {
                    if node.server.get("/readyz").await.status != 200 {
                        return false;
                    }
                }
                true
            })
            .await;
        let (rested, refusals) = load.end().await;
        assert!(!refusals.is_empty(), "nothing was asked while it was away");
        assert!(!refusals.iter().any(|refusal| refusal == "broken"), "{refusals:?}");
        patrons = rested;
        // All accounts are answered for, at each node.
        for patron in &mut patrons {
            for node in 0..cluster.nodes.len() {
                cluster.chat(patron, node).await;
            }
        }
    }
    cluster.is_even().await;
    cluster.assert_right(&patrons).await;
}
