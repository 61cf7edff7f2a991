//! Nodes that reach only some of what they need: not the database, not the other nodes, or one way only. Nobody answers
//! from a lease that is over.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
    time::{Duration, Instant},
};

use billing::Nanos;

use crate::support::{
    client::Api,
    cluster::{Cluster, Load, Outcome, PATIENCE, chat},
    proxy::Way,
};

/// What is available or held: only a charge makes it less, in these stories.
fn in_all(balance: &serde_json::Value) -> Nanos {
    let amount = |field: &str| balance[field].as_str().unwrap().parse::<Nanos>().unwrap();
    amount("available") + amount("held")
}

/// Asks a node for a balance again and again, until told to stop: each answer, and when it was asked for.
fn asks_for_balances(url: &str, key: &str, stop: Arc<AtomicBool>) -> tokio::task::JoinHandle<Vec<(Instant, Nanos)>> {
    let api = Api::new(url, Some(key));
    tokio::spawn(async move {
        let mut seen = Vec::new();
        while !stop.load(SeqCst) {
            let asked_at = Instant::now();
            let request = api.request(reqwest::Method::GET, "/v1/balance").timeout(Duration::from_secs(20));
            if let Ok(response) = request.send().await {
                let status = response.status().as_u16();
                let body: serde_json::Value = response.json().await.unwrap_or_default();
                assert!(status == 200 || status == 503, "{status}: {body}");
                if status == 200 {
                    seen.push((asked_at, in_all(&body)));
                }
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        seen
    })
}

/// A node loses its database one way or both; others take its accounts, and it answers nothing from before.
#[tokio::test]
async fn a_node_without_its_database_answers_nothing_from_an_old_lease() {
    let Some(cluster) = Cluster::of(2).await else { return };
    let mut patrons = cluster.patrons(16).await;
    for ways in [&[Way::There, Way::Back][..], &[Way::Back], &[Way::There]] {
        let place = patrons.iter().position(|patron| cluster.owner_of(patron.shard()) == Some(0)).unwrap();
        let patron = &mut patrons[place];
        let stop = Arc::new(AtomicBool::new(false));
        let asks = asks_for_balances(cluster.nodes[0].server.url(), &patron.key, Arc::clone(&stop));
        // A request is under way as the database is lost.
        cluster.chat(patron, 0).await;
        let running = tokio::spawn({
            let (url, key) = (cluster.nodes[0].server.url().to_owned(), patron.key.clone());
            async move { chat(&url, &key).await }
        });
        let frozen = Instant::now();
        for way in ways {
            cluster.nodes[0].database.freeze(*way);
        }
        // The other node answers for the account, once the lease is over.
        cluster.chat(patron, 1).await;
        let took = frozen.elapsed();
        assert!(took >= Duration::from_secs(1), "{took:?}: the lease was not over");
        let balance = cluster.nodes[1].server.api(&patron.key).get("/v1/balance").await.ok();
        let changed_at = Instant::now();
        let lost = chat(cluster.nodes[0].server.url(), &patron.key).await;
        assert!(matches!(lost, Outcome::NotNow(503, _)), "it lets requests in without a database");
        let not_ready = cluster.nodes[0].server.get("/readyz").await;
        assert_eq!(not_ready.status, 503, "{}", not_ready.body);
        cluster.nodes[0].database.thaw();
        if let Outcome::Told(id, cost) = running.await.unwrap() {
            patron.told.push((id, cost));
        }
        cluster.chat(patron, 0).await;
        stop.store(true, SeqCst);
        let known = in_all(&balance);
        for (asked_at, seen) in asks.await.unwrap() {
            let is_old = asked_at > changed_at && seen > known;
            assert!(!is_old, "{seen} was told, and it was {known} before it was asked for");
        }
        cluster.is_even().await;
    }
    cluster.assert_right(&patrons).await;
}

/// The way to the database forgets all connections, and says nothing: they are given up, and others take their place.
#[tokio::test]
async fn connections_that_are_lost_without_a_word_are_given_up() {
    let Some(cluster) = Cluster::of(2).await else { return };
    let mut patrons = cluster.patrons(6).await;
    for node in 0..2 {
        cluster.nodes[node].database.strand();
        for patron in &mut patrons {
            cluster.chat(patron, node).await;
        }
        cluster.is_even().await;
        cluster.until("ready", async || cluster.nodes[node].server.get("/readyz").await.status == 200).await;
    }
    cluster.assert_right(&patrons).await;
}

/// Nodes lose one another, all of them or one way, and keep the database.
#[tokio::test]
async fn nodes_that_lose_one_another_serve_what_is_theirs_and_refuse_the_rest() {
    let Some(cluster) = Cluster::of(3).await else { return };
    let mut patrons = cluster.patrons(9).await;
    // The others do not reach the first node, which reaches them.
    cluster.nodes[0].link.close();
    let of = |cluster: &Cluster, shard: i64| cluster.owner_of(shard).unwrap();
    let mut asked = Vec::new();
    for (place, patron) in patrons.iter_mut().enumerate() {
        let owner = of(&cluster, patron.shard());
        cluster.chat(patron, 0).await;
        if owner == 0 {
            let (url, key) = (cluster.nodes[1].server.url().to_owned(), patron.key.clone());
            asked.push(tokio::spawn(async move { (place, chat(&url, &key).await) }));
        } else {
            cluster.chat(patron, 3 - owner).await;
        }
    }
    assert!(!asked.is_empty(), "no account lives at the first node");
    for asked in asked {
        let (_, outcome) = asked.await.unwrap();
        assert!(matches!(outcome, Outcome::NotNow(503, _)), "a node that can't be reached answered");
    }
    // Nobody reaches anybody, slowly at first.
    for node in &cluster.nodes {
        node.link.delay(Duration::from_millis(30));
        node.link.open();
    }
    for patron in &mut patrons {
        cluster.chat(patron, 1).await;
    }
    cluster.nodes.iter().for_each(|node| node.link.freeze_both());
    let mut asked = Vec::new();
    for (place, patron) in patrons.iter_mut().enumerate() {
        let owner = of(&cluster, patron.shard());
        cluster.chat(patron, owner).await;
        let (url, key) = (cluster.nodes[(owner + 1) % 3].server.url().to_owned(), patron.key.clone());
        asked.push(tokio::spawn(async move { (place, chat(&url, &key).await) }));
    }
    for asked in asked {
        let (place, outcome) = asked.await.unwrap();
        // What was asked as the link froze may have been carried out.
        if let Outcome::Told(id, cost) = outcome {
            patrons[place].told.push((id, cost));
        }
    }
    for node in &cluster.nodes {
        node.link.delay(Duration::ZERO);
        node.link.thaw();
        node.link.cut();
    }
    let urls: Vec<_> = cluster.nodes.iter().map(|node| node.server.url().to_owned()).collect();
    let began = Instant::now();
    loop {
        let load = Load::start(patrons, &urls);
        tokio::time::sleep(Duration::from_millis(500)).await;
        let (rested, refusals) = load.end().await;
        patrons = rested;
        if refusals.is_empty() {
            break;
        }
        assert!(began.elapsed() < PATIENCE, "{refusals:?}");
    }
    cluster.assert_right(&patrons).await;
}
