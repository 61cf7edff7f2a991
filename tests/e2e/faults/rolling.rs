//! All nodes are restarted, one after the other, behind a balancer that asks whether they are ready. No request fails.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use tokio::{sync::watch, task::JoinHandle};

use crate::support::{
    client::Api,
    cluster::{Cluster, Outcome, Patron, chat_once},
};

/// How often a node is asked whether it is ready.
const LOOK: Duration = Duration::from_millis(50);

/// Knows which nodes are ready, as a balancer's health checks do.
#[derive(Clone)]
struct Balancer(Arc<Mutex<Vec<(String, bool)>>>);

impl Balancer {
    fn start(urls: impl Iterator<Item = String>) -> Self {
        let balancer = Self(Arc::new(Mutex::new(urls.map(|url| (url, true)).collect())));
        let own = balancer.clone();
        tokio::spawn(async move {
            loop {
                let urls: Vec<_> = own.0.lock().unwrap().iter().map(|(url, _)| url.clone()).collect();
                for url in urls {
                    let asked = Api::new(&url, None).request(reqwest::Method::GET, "/readyz");
                    let asked = asked.timeout(Duration::from_secs(2)).send().await;
                    let is_ready = asked.is_ok_and(|answer| answer.status().as_u16() == 200);
                    if let Some(node) = own.0.lock().unwrap().iter_mut().find(|(known, _)| *known == url) {
                        node.1 = is_ready;
                    }
                }
                tokio::time::sleep(LOOK).await;
            }
        });
        balancer
    }

    /// A node has another address now.
    fn moved(&self, from: &str, to: &str) {
        let mut nodes = self.0.lock().unwrap();
        nodes.retain(|(url, _)| url != from);
        nodes.push((to.to_owned(), true));
    }

    /// The nodes that are ready, beginning with another one each turn.
    fn ready(&self, turn: usize) -> Vec<String> {
        let nodes = self.0.lock().unwrap();
        let ready: Vec<_> = nodes.iter().filter(|(_, is_ready)| *is_ready).map(|(url, _)| url.clone()).collect();
        let first = turn % ready.len().max(1);
        ready[first..].iter().chain(&ready[..first]).cloned().collect()
    }
}

/// A patron chats until told to stop; a request whose connection was not taken or broke, or that a node did not take as it
/// stops, goes to the next one under its key, and nothing else is tried again.
fn chats(mut patron: Patron, balancer: Balancer, stopped: watch::Receiver<bool>) -> JoinHandle<Patron> {
    tokio::spawn(async move {
        let mut turn = 0;
        while !*stopped.borrow() {
            turn += 1;
            let (mut is_answered, request) = (false, uuid::Uuid::new_v4().to_string());
            for url in balancer.ready(turn) {
                match chat_once(&url, &patron.key, &request).await {
                    Outcome::Told(id, cost) => {
                        patron.told.push((id, cost));
                        is_answered = true;
                    }
                    // A connection may be begun as its node stops listening: what was sent on it is asked again under its key.
                    Outcome::Refused | Outcome::Broken => continue,
                    // It takes nothing any more, and nothing was done.
                    Outcome::NotNow(503, said) if said.contains("\"stopping\"") => continue,
                    Outcome::NotNow(status, said) => panic!("a request failed: {status} {said}"),
                }
                break;
            }
            assert!(is_answered, "no node is ready");
            tokio::time::sleep(Duration::from_millis(300)).await;
        }
        patron
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rolling_restart_of_all_nodes_fails_no_request() {
    let Some(mut cluster) = Cluster::of(3).await else { return };
    let patrons = cluster.patrons(12).await;
    let balancer = Balancer::start(cluster.nodes.iter().map(|node| node.server.url().to_owned()));
    let (stop, stopped) = watch::channel(false);
    let chats: Vec<_> = patrons.into_iter().map(|patron| chats(patron, balancer.clone(), stopped.clone())).collect();
    for place in 0..cluster.nodes.len() {
        let before = cluster.nodes[place].server.url().to_owned();
        cluster.nodes[place].server.ask_to_stop();
        let ended = cluster.nodes[place].server.wait_for_end().await;
        assert!(ended.success(), "{ended} {}", cluster.nodes[place].logs());
        cluster.nodes[place].server.restart().await;
        balancer.moved(&before, cluster.nodes[place].server.url());
        cluster.is_even().await;
        assert!(chats.iter().all(|chat| !chat.is_finished()), "a request failed");
    }
    stop.send_replace(true);
    let mut patrons = Vec::new();
    for chat in chats {
        patrons.push(chat.await.unwrap());
    }
    assert!(patrons.iter().all(|patron| patron.told.len() > 3));
    // Their sockets ended with the node that they were at.
    for patron in &mut patrons {
        patron.watch(&cluster.nodes[0]).await;
    }
    cluster.assert_right(&patrons).await;
}
