//! Who owns a shard, and what a node runs: words that end by themselves.

use std::{sync::LazyLock, time::Duration};

use bytes::Bytes;
use futures::future::join_all;
use redis::{Script, cmd};
use runtime::node::NodeId;
use uuid::Uuid;

use crate::store::{Store, ms};

/// The owner of a shard.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Owner {
    /// The node.
    pub node: NodeId,
    /// In which epoch.
    pub epoch: i64,
    /// Where it listens for other nodes.
    pub address: String,
}

/// The longest address that is read.
const LONGEST: usize = 300;

/// Says who the owner is, unless one with a newer epoch is there. What is there and can't be read is replaced.
static TELL: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        "local there = redis.call('GET', KEYS[1])
         local epoch = there and tonumber(string.match(there, '^(%d+) '))
         if epoch and epoch > tonumber(ARGV[1]) then return 0 end
         redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
         return 1",
    )
});

impl Owner {
    fn text(&self) -> String {
        format!("{} {} {}", self.epoch, self.node, self.address)
    }

    fn read(text: &str) -> Option<Self> {
        let mut parts = text.splitn(3, ' ');
        let (epoch, node) = (parts.next()?.parse().ok()?, Uuid::parse_str(parts.next()?).ok()?);
        let address = parts.next().filter(|address| !address.is_empty() && address.len() <= LONGEST)?;
        Some(Self { node: NodeId(node), epoch, address: address.to_owned() })
    }
}

pub(crate) async fn tell(store: &Store, shard: i64, owner: &Owner, lasts: Duration) {
    let name = store.name(format_args!("owner:{shard}"));
    let mut script = TELL.key(name);
    // Whether it was said or somebody newer was there: both are what is wanted.
    let _: Option<i64> = store.run(script.arg(owner.epoch).arg(owner.text()).arg(ms(lasts))).await;
}

pub(crate) async fn ask(store: &Store, shard: i64) -> Option<Owner> {
    let name = store.name(format_args!("owner:{shard}"));
    let text: Option<String> = store.call(cmd("GET").arg(name)).await?;
    Owner::read(&text?)
}

pub(crate) async fn tell_runs(store: &Store, node: NodeId, what: &[u8], lasts: Duration) {
    let name = store.name(format_args!("runs:{node}"));
    let _: Option<String> = store.call(cmd("SET").arg(name).arg(what).arg("PX").arg(ms(lasts))).await;
}

/// Each is asked for by itself, as a cluster has each elsewhere; all are under way at once.
pub(crate) async fn runs(store: &Store, nodes: &[NodeId]) -> Vec<Option<Bytes>> {
    let asking = nodes.iter().map(async |node| {
        let name = store.name(format_args!("runs:{node}"));
        let there: Option<Option<Vec<u8>>> = store.call(cmd("GET").arg(name)).await;
        there.flatten().map(Bytes::from)
    });
    join_all(asking).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_owner_is_read_as_it_was_written_and_nothing_else_is() {
        let owner = Owner { node: NodeId(Uuid::from_u128(5)), epoch: 7, address: "10.0.0.1:9000".into() };
        assert_eq!(Owner::read(&owner.text()), Some(owner.clone()));
        for text in ["", "7", "7 5 x", "x 00000000-0000-0000-0000-000000000005 a:1", "+OK"] {
            assert_eq!(Owner::read(text), None, "{text}");
        }
        assert_eq!(Owner::read(&format!("7 {} ", owner.node)), None);
        assert_eq!(Owner::read(&format!("7 {} {}", owner.node, "a".repeat(LONGEST + 1))), None);
    }
}
