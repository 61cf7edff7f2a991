//! Reads of the tables: each sees what was in the logs when it began. What this process has appended it waits for; for the
//! shards of other nodes it waits a second, and then reads what there is.

use ledger::nodes::PATIENCE;

use crate::{mutants::Mutant, owner::Owner, world::World};

/// The most shards here.
const SHARDS: usize = 3;

/// What a read must see.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Mark {
    /// The last append of the own process.
    own: u64,
    /// The last row of each shard that another node has.
    others: [u64; SHARDS],
    /// When the read began.
    since: u64,
}

impl World {
    /// The mark of a read that begins now at an owner.
    pub(crate) fn mark_of(&self, id: u64) -> Mark {
        let Some(owner) = self.owners.iter().find(|it| it.id == id) else { return Mark::default() };
        if self.mutant == Some(Mutant::ReadWithoutWaiting) {
            return Mark::default();
        }
        let mut mark = Mark { own: owner.mark(), others: [0; SHARDS], since: self.lease_ms };
        for (shard, other) in self.disk.shards.all().zip(&mut mark.others) {
            *other = if owner.owns(shard).is_some() { 0 } else { self.disk.end(shard) };
        }
        mark
    }

    /// Whether the tables have everything that a read begun at a mark must see, or it has waited for long enough.
    pub(crate) fn may_read(&self, id: u64, mark: Mark) -> bool {
        let is_able = |it: &&Owner| it.id == id && !it.is_paused && it.may_read(mark.own);
        let places = &self.disk.tables.places;
        let has_other = |(shard, other): (_, &u64)| places.get(&shard).is_some_and(|place| place.seq >= *other);
        let is_over = u128::from(self.lease_ms - mark.since) >= PATIENCE.as_millis();
        let has_all = is_over || self.disk.shards.all().zip(&mark.others).all(has_other);
        has_all && self.owners.iter().any(|it| is_able(&it))
    }
}
