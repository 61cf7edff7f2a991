//! Nodes that do not belong together: another secret, another protocol, another database, an address that leads elsewhere,
//! two processes with one lease, a question that goes round in a circle. Each is refused, and told in words; nothing is
//! lost.

use std::time::Duration;

use actors::cluster::PROTOCOL;
use billing::Timestamp;
use ledger::log::{Head, Shard, tail::Tail};
use link::{Answer, Ask, Identity, Link, Options, Refusal, Standing};
use runtime::{clock::Clock, node::NodeId};

use crate::support::{
    cluster::{Cluster, Outcome, Patron, SECRET, chat},
    free_port,
    proxy::Proxy,
    server::Server,
};

impl Cluster {
    /// Starts a node that is to be refused: what it says.
    async fn refuses(
        &self,
        change: impl Fn(crate::support::server::Options) -> crate::support::server::Options,
    ) -> String {
        let listen = free_port();
        let database = Proxy::start(self.nodes[0].database.address());
        let link = Proxy::start(([127, 0, 0, 1], listen).into());
        let output = change(self.options(&database, listen, &link)).output(&["serve"]).await;
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success(), "{said}");
        said
    }

    /// What the first node says of itself to others.
    fn identity(&self) -> Identity {
        let database = self.query(
            "SELECT current_database() || '/' || oid || '/' || current_schema() FROM pg_database \
             WHERE datname = current_database()",
        );
        let (program, ledger) = (env!("CARGO_PKG_VERSION").to_owned(), String::new());
        Identity { node: NodeId(uuid::Uuid::new_v4()), protocol: PROTOCOL, program, database, ledger, shards: 16 }
    }

    fn node_id(&self, node: usize) -> NodeId {
        let id = self.query(&format!("SELECT id FROM node WHERE address = '{}'", self.nodes[node].link.address()));
        NodeId(id.parse().unwrap())
    }
}

/// A link of the test's own to the first node, as a node that says this.
fn link_as(identity: Identity, secret: &str) -> Link {
    Link::new(identity, secret.as_bytes(), Options::default(), None, Clock::default()).unwrap()
}

/// How the way to the first node stands, once that is known.
async fn standing(cluster: &Cluster, link: &Link) -> Standing {
    let peer = link.peer(cluster.node_id(0), &cluster.nodes[0].link.address().to_string());
    for _ in 0..500 {
        match peer.health().standing {
            Standing::Connecting => tokio::time::sleep(Duration::from_millis(10)).await,
            standing => return standing,
        }
    }
    panic!("nobody answers");
}

#[tokio::test]
async fn nodes_that_do_not_belong_together_are_refused_by_name() {
    let Some(cluster) = Cluster::of(1).await else { return };
    let mut patrons = cluster.patrons(2).await;
    let said = cluster
        .refuses(|options| options.set("FAREBOX_CLUSTER__SECRET", "another secret of the same length, or longer"))
        .await;
    assert!(said.contains("another secret"), "{said}");
    cluster.nodes[0].server.says("another secret").await;
    // Nodes of another ledger whose addresses lead here.
    let address = cluster.nodes[0].link.address().to_string();
    let other = Cluster::at(crate::support::postgres::fresh_database().unwrap(), 0, move |options| {
        options.set("FAREBOX_CLUSTER__ADDRESS", &address)
    });
    let mut other = other.await;
    other.join().await;
    let said = other.refuses(|options| options).await;
    assert!(said.contains("another database"), "{said}");
    cluster.nodes[0].server.says("another database").await;
    drop(other);

    // Another protocol, as a later version of the program may have.
    let own = cluster.identity();
    let later = Identity { protocol: PROTOCOL + 1, program: "99.0".to_owned(), ..own.clone() };
    let refused = standing(&cluster, &link_as(later, SECRET)).await;
    assert!(matches!(refused, Standing::Refused(Refusal::Protocol { .. })), "{refused:?}");
    cluster.nodes[0].server.says("another version of the link").await;
    // A copy of this database can't be told from it by its name; its nodes are in the copy alone.
    let copy = link_as(own.clone(), SECRET);
    assert!(matches!(standing(&cluster, &copy).await, Standing::Connected { .. }));
    let peer = copy.peer(cluster.node_id(0), &cluster.nodes[0].link.address().to_string());
    let ask = Ask { shard: 0, epoch: 1, hops: 0, left: Duration::from_secs(5), body: "{}".into() };
    let answered = peer.ask(ask.clone()).await.unwrap();
    assert!(matches!(answered, Answer::NotOwner { .. }), "{answered:?}");
    cluster.nodes[0].server.says("is not, or not yet, in this database").await;
    // A question that nodes pass in a circle.
    let looped = peer.ask(Ask { hops: 9, ..ask }).await;
    let is_refused = matches!(&looped, Ok(Answer::Loops) | Err(link::LinkError::NotSent(link::NotSent::Loops)));
    assert!(is_refused, "{looped:?}");
    for patron in &mut patrons {
        cluster.chat(patron, 0).await;
    }
    cluster.assert_right(&patrons).await;
}

#[tokio::test]
async fn an_address_that_leads_to_another_node_is_named_and_its_accounts_are_not_confused() {
    let Some(mut cluster) = Cluster::of(1).await else { return };
    // Before the second node owns anything: the first can't ask it.
    let mut patrons = cluster.patrons(8).await;
    let address = cluster.nodes[0].link.address();
    cluster.join_with(|options| options.set("FAREBOX_CLUSTER__ADDRESS", &address.to_string())).await;
    cluster.until("shared", async || cluster.number("SELECT COUNT(DISTINCT node) FROM shard_lease") == 2).await;
    let second = cluster.query("SELECT node FROM shard_lease JOIN node n ON n.id = node ORDER BY n.since DESC LIMIT 1");
    for patron in &mut patrons {
        // The second node reaches the first, and not the other way: each account is answered by its owner, or not at all.
        cluster.chat(patron, 1).await;
    }
    let at_second = async |patron: &Patron| {
        let owner = cluster.query(&format!("SELECT node FROM shard_lease WHERE shard = {}", patron.shard()));
        let outcome = chat(cluster.nodes[0].server.url(), &patron.key).await;
        match outcome {
            Outcome::NotNow(503, _) => assert_eq!(owner, second, "an owner does not answer for its account"),
            Outcome::Told(..) => assert_ne!(owner, second, "another node answers for an account"),
            Outcome::NotNow(..) | Outcome::Refused | Outcome::Broken => panic!("it was not answered"),
        }
        outcome
    };
    for (patron, outcome) in futures::future::join_all(patrons.iter().map(at_second)).await.into_iter().enumerate() {
        if let Outcome::Told(id, cost) = outcome {
            patrons[patron].told.push((id, cost));
        }
    }
    cluster.nodes[0].server.says("the address is the node's own").await;
    let seen = cluster.nodes[0].server.api(Server::admin_token()).get("/admin/v1/nodes").await.ok();
    assert!(seen.to_string().contains("the address is the node's own"), "{seen}");
    let last = cluster.nodes.pop().unwrap();
    drop(last);
    for patron in &mut patrons {
        cluster.chat(patron, 0).await;
        patron.watch(&cluster.nodes[0]).await;
    }
    cluster.assert_right(&patrons).await;
}

#[tokio::test]
async fn two_processes_with_one_lease_are_found_and_neither_goes_on_with_it() {
    let Some(cluster) = Cluster::of(2).await else { return };
    let mut patrons = cluster.patrons(1).await;
    cluster.chat(&mut patrons[0], 0).await;
    cluster.until("in the tables", async || cluster.number("SELECT COUNT(*) FROM hold") == 0).await;
    let shard = patrons[0].shard();
    let read =
        |what: &str| cluster.query(&format!("SELECT {what} FROM log WHERE shard = {shard} ORDER BY seq DESC LIMIT 1"));
    let epoch: i64 = cluster.number(&format!("SELECT epoch FROM shard_lease WHERE shard = {shard}"));
    // Another process that believes to have the lease appends a row.
    let hash = read("encode(hash, 'hex')");
    let byte = |at: usize| u8::from_str_radix(&hash[2 * at..2 * at + 2], 16).unwrap();
    let head = Head { seq: read("seq").parse().unwrap(), hash: std::array::from_fn(byte) };
    let row = Tail { shard: Shard(shard), head, epoch }.next(&[], Timestamp(read("at").parse().unwrap()));
    let hex = |bytes: &[u8]| bytes.iter().fold(String::new(), |hex, byte| format!("{hex}{byte:02x}"));
    cluster.query(&format!(
        "INSERT INTO log (shard, seq, epoch, at, prev_hash, hash, body) \
         VALUES ({shard}, {}, {epoch}, {}, '\\x{}', '\\x{}', '\\x{}')",
        row.seq,
        row.at.0,
        hex(&row.prev_hash),
        hex(&row.hash),
        hex(&row.body)
    ));
    let outcome = chat(cluster.nodes[0].server.url(), &patrons[0].key).await;
    if let Outcome::Told(id, cost) = outcome {
        patrons[0].told.push((id, cost));
    }
    for node in 0..2 {
        cluster.chat(&mut patrons[0], node).await;
    }
    assert!(cluster.number(&format!("SELECT epoch FROM shard_lease WHERE shard = {shard}")) > epoch);
    let said = "two processes append to one log with one lease";
    cluster.until("told", async || cluster.nodes.iter().any(|node| node.logs().contains(said))).await;
    cluster.assert_right(&patrons).await;
}
