//! This process as one of several nodes with one ledger.

use std::{io, net::SocketAddr, path::PathBuf, sync::Arc, time::Duration};

use actors::{
    accounts::Accounts,
    cluster::{Cluster, Membership, PROTOCOL, lease::Rules},
    journal::Journal,
};
use anyhow::{Context, Result};
use hints::{Hints, Place};
use ledger::{Ledger, LedgerError};
use link::{Identity, Link, Options, Tls};
use runtime::{clock::Clock, node::NodeId};
use tokio::net::TcpListener;

use super::{actor_threads, joining};
use crate::{
    config::{self, Settings},
    http::{
        relay,
        state::{Shared, Stage},
    },
};

/// How often it is looked whether what this node has of open models has changed.
const LOOK: Duration = Duration::from_millis(250);

/// This life of the process, as one of several with the same ledger.
pub(super) struct Node {
    id: NodeId,
    /// The ledger's database.
    database: String,
    clock: Clock,
    /// What nodes tell each other by Redis, where there is one.
    pub(super) hints: Option<Hints>,
}

/// This process as a node, if the settings say that there may be others. Redis need not be there now.
///
/// # Errors
///
/// The database does not answer, or `redis.url` is no address of a Redis.
pub(super) async fn node(settings: &Settings, ledger: &Ledger, clock: Clock) -> Result<Option<Node>> {
    if settings.cluster.listen.is_none() {
        if settings.redis.url.is_some() {
            tracing::warn!("`redis.url` has no effect without `cluster.listen`: there is one node");
        }
        return Ok(None);
    }
    let id = NodeId(uuid::Uuid::new_v4());
    let database = ledger.database().await.context("can't read the database's name")?;
    let place = settings.redis.url.as_ref().map(|url| Place::parse(url.as_str())).transpose();
    let place = place.context("setting `redis.url`")?;
    let hints = place.map(|place| Hints::open(place, &database, id, hints::Options::default()));
    Ok(Some(Node { id, database, clock, hints }))
}

/// Joins the other nodes. The successor of a node on the same machine is a node of its own, beside it.
///
/// # Errors
///
/// The address for other nodes is taken, the secret can't be used, the clock is too far from the database's, or another node
/// does not work with this one.
pub(super) async fn join(
    settings: &Settings,
    node: Node,
    accounts: &Accounts,
    journal: &Arc<Journal>,
    is_successor: bool,
    on_begin: impl Fn() + Send + Sync + 'static,
) -> Result<Option<Cluster>> {
    let &config::Cluster { listen: Some(listen), ref address, secret: Some(ref secret), .. } = &settings.cluster else {
        return Ok(None);
    };
    let Node { id, database, clock, hints } = node;
    joining::has_the_time(accounts, &clock).await?;
    let listener = bind(listen, is_successor).await;
    let listener = listener.with_context(|| format!("can't listen for other nodes on {listen} (cluster.listen)"))?;
    let own = listener.local_addr()?;
    let identity = Identity {
        node: id,
        protocol: PROTOCOL,
        program: env!("CARGO_PKG_VERSION").to_owned(),
        database,
        ledger: String::new(),
        shards: accounts.ledger().shards().count().into(),
    };
    let most = settings.limits.body_bytes.max(settings.limits.long_body_bytes);
    // Whole requests go to other nodes.
    let options = Options::default();
    let options = Options { body: options.body.max(most), ..options };
    let tls = tls(&settings.cluster.tls)?;
    let link = Link::new(identity, secret.expose().as_bytes(), options, tls, clock);
    let link = link.context("setting `cluster.secret`")?;
    joining::fits_in(accounts, &link, rules(settings)).await?;
    let membership = Membership {
        id,
        name: name(),
        address: address.as_deref().map_or_else(|| own.to_string(), |address| at_port(address, listen, own)),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        rules: rules(settings),
        link,
        hints,
        listener,
        on_begin: Arc::new(on_begin),
    };
    Ok(Some(Cluster::join(membership, accounts.clone(), Arc::clone(journal)).context("no thread for the cluster")?))
}

/// The certificate by which nodes speak TLS, where the settings name one.
fn tls(settings: &config::Tls) -> Result<Option<Tls>> {
    let Some([certificate, key, authority]) = settings.files() else { return Ok(None) };
    let read = |file: &PathBuf, setting: &str| {
        std::fs::read(file).with_context(|| format!("can't read {} (cluster.tls.{setting})", file.display()))
    };
    let (certificate, key) = (read(certificate, "certificate")?, read(key, "key")?);
    let authority = read(authority, "authority")?;
    let tls = Tls::new(&certificate, &key, &authority, settings.name.as_deref());
    Ok(Some(tls.context("setting `cluster.tls`")?))
}

/// Serves requests to open models that other nodes pass on, and tells the others what this node has.
pub(super) fn relay(state: &Shared) {
    let Some(cluster) = state.cluster.clone() else { return };
    cluster.serve_relays(relay::serve(state, actor_threads()));
    let state = state.clone();
    actix_rt::spawn(async move {
        loop {
            // A node that ends has nothing.
            let offers = if state.stage() < Stage::Leaving { state.gateway.offers().await } else { Vec::new() };
            cluster.offer(offers);
            tokio::time::sleep(LOOK).await;
        }
    });
}

/// Listens for other nodes. A predecessor on this machine has the port until it ends; its successor has any other.
async fn bind(listen: SocketAddr, is_successor: bool) -> io::Result<TcpListener> {
    match TcpListener::bind(listen).await {
        Err(error) if is_successor && error.kind() == io::ErrorKind::AddrInUse => {
            TcpListener::bind(SocketAddr::new(listen.ip(), 0)).await
        }
        bound => bound,
    }
}

/// The address for other nodes of a node that listens at another port than the settings say.
fn at_port(address: &str, wanted: SocketAddr, own: SocketAddr) -> String {
    match address.rsplit_once(':') {
        Some((host, _)) if ![0, own.port()].contains(&wanted.port()) => format!("{host}:{}", own.port()),
        _ => address.to_owned(),
    }
}

/// The machine and the process, for people.
fn name() -> String {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    format!("{} {}", host.trim(), std::process::id()).trim().to_owned()
}

/// The times of leases: those of the settings, and what depends on them.
fn rules(settings: &Settings) -> Rules {
    let (lease, renew) = (settings.cluster.lease_seconds, settings.cluster.renew_seconds);
    let (lease, renew) = (Duration::from_secs(lease), Duration::from_secs(renew));
    Rules { lease, renew, margin: lease / 10, settle: renew * 2 + Duration::from_secs(1), ..Rules::default() }
}

/// Who gives a price book its version.
#[derive(Clone)]
pub(super) enum Versions {
    /// This process, which owns the whole ledger.
    Own(Arc<Journal>),
    /// The node that owns the first shard.
    Shared(Arc<Cluster>),
}

impl Versions {
    /// The version of a price book: its existing version, or a new one.
    ///
    /// # Errors
    ///
    /// The ledger can't be used now. Repeating the call is safe: a book has one version.
    pub(super) async fn of(&self, hash: String, text: String) -> Result<i64, LedgerError> {
        match self {
            Self::Own(journal) => journal.price_version(hash, text).await,
            Self::Shared(cluster) => cluster.price_version(hash, text).await,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_successor_listens_beside_its_predecessor_and_says_where() {
        let first = bind("127.0.0.1:0".parse().unwrap(), false).await.unwrap();
        let taken = first.local_addr().unwrap();
        assert_eq!(bind(taken, false).await.unwrap_err().kind(), io::ErrorKind::AddrInUse);
        let second = bind(taken, true).await.unwrap().local_addr().unwrap();
        assert_ne!(second.port(), taken.port());
        assert_eq!(at_port("node-1.lan:8300", taken, taken), "node-1.lan:8300");
        assert_eq!(at_port("node-1.lan:8300", taken, second), format!("node-1.lan:{}", second.port()));
    }
}
