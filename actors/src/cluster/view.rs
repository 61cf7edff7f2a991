//! What this node knows of all shards: until when it answers for each, and which node does otherwise. Read at each
//! question, written by the member.

use std::{
    sync::{
        PoisonError, RwLock,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use ledger::log::{Shard, Shards};
use runtime::{clock::since_boot as now, node::NodeId};
use tokio::sync::watch;

use super::lease;

/// The owner of a shard, as it was read last.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Owner {
    pub(super) node: NodeId,
    pub(super) epoch: i64,
    /// Where other nodes reach it; empty if that is not known.
    pub(super) address: String,
}

/// What is known of one shard.
#[derive(Debug, Default)]
struct Known {
    /// Until when this node answers for it, in milliseconds of [`since_boot`](now); 0 if it does not.
    until: AtomicU64,
    owner: RwLock<Option<Owner>>,
}

/// What is known of all shards, and what keeps this node from asking for new work.
#[derive(Debug)]
pub(super) struct View {
    shards: Vec<Known>,
    fault: RwLock<Option<String>>,
    /// For how long the others have known of this node.
    known: RwLock<Option<lease::Known>>,
    /// Told when a shard has another owner.
    moves: watch::Sender<()>,
}

impl View {
    /// Nothing is known yet.
    pub(super) fn new(shards: Shards) -> Self {
        Self {
            shards: shards.all().map(|_| Known::default()).collect(),
            fault: RwLock::default(),
            known: RwLock::default(),
            moves: watch::Sender::new(()),
        }
    }

    fn of(&self, shard: Shard) -> Option<&Known> {
        self.shards.get(usize::try_from(shard.0).ok()?)
    }

    /// Whether this node answers for a shard now.
    pub(super) fn is_here(&self, shard: Shard) -> bool {
        let until = self.of(shard).map_or(0, |known| known.until.load(Ordering::Acquire));
        until > 0 && now().as_millis() < u128::from(until)
    }

    /// This node answers for a shard until then, or not at all.
    pub(super) fn answers_until(&self, shard: Shard, until: Option<Duration>) {
        let until = until.map_or(0, |until| u64::try_from(until.as_millis()).unwrap_or(u64::MAX));
        if let Some(known) = self.of(shard) {
            known.until.store(until, Ordering::Release);
        }
    }

    /// The others know of this node for so long.
    pub(super) fn is_known(&self, known: Option<lease::Known>) {
        *self.known.write().unwrap_or_else(PoisonError::into_inner) = known;
    }

    /// Whether no other node has counted this one as gone from a time until now.
    pub(super) fn is_known_since(&self, from: Duration) -> bool {
        let known = *self.known.read().unwrap_or_else(PoisonError::into_inner);
        known.is_some_and(|known| known.has_lasted(from, now()))
    }

    /// Why this node may not let anything in, if it may not.
    pub(super) fn fault(&self) -> Option<String> {
        self.fault.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Notes why this node may not let anything in. Returns whether that is new.
    pub(super) fn has_fault(&self, fault: Option<String>) -> bool {
        let mut known = self.fault.write().unwrap_or_else(PoisonError::into_inner);
        let is_new = known.is_some() != fault.is_some();
        *known = fault;
        is_new
    }

    /// The owner of a shard.
    pub(super) fn owner(&self, shard: Shard) -> Option<Owner> {
        self.of(shard)?.owner.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Notes the owner of a shard, unless a newer one is known.
    pub(super) fn is_owned_by(&self, shard: Shard, owner: Option<Owner>) {
        let Some(known) = self.of(shard) else { return };
        let mut there = known.owner.write().unwrap_or_else(PoisonError::into_inner);
        let epoch = |owner: &Option<Owner>| owner.as_ref().map_or(0, |owner| owner.epoch);
        if *there != owner && (owner.is_none() || epoch(&owner) >= epoch(&there)) {
            *there = owner;
            drop(there);
            self.moves.send_replace(());
        }
    }

    /// Changes whenever a shard has another owner.
    pub(super) fn moves(&self) -> watch::Receiver<()> {
        self.moves.subscribe()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_answers_for_a_shard_until_its_time_is_over() {
        let view = View::new(Shards::USUAL);
        let shard = Shard(3);
        assert!(!view.is_here(shard));
        view.answers_until(shard, Some(now() + Duration::from_mins(1)));
        assert!(view.is_here(shard) && !view.is_here(Shard(4)) && !view.is_here(Shard(99)));
        view.answers_until(shard, Some(now()));
        assert!(!view.is_here(shard), "its time is over");
        view.answers_until(shard, None);
        assert!(!view.is_here(shard));
    }
}
