//! The database of the leases: its rows, its clock, and what a statement does. The shell of the product writes the same in
//! SQL. The accounts' simulation has it, too.

use std::{collections::BTreeMap, time::Duration};

use actors::cluster::lease::{Command, Held, Lease, Member, Picture, Reading, Standing, Taken};
use billing::Timestamp;
use ledger::log::Shard;
use runtime::node::NodeId;

/// A fault of the database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// A take does not look at the row.
    TakeUnfenced,
    /// A take does not raise the epoch.
    EpochKept,
    /// A renewal does not look whose the shard is.
    RenewalUnfenced,
    /// A release does not look whose the shard is. In the leases' own story it comes once more, late.
    ReleaseUnfenced,
    /// A release is not carried out.
    ReleaseForgotten,
    /// A node that leaves does not say so.
    LeavingUnsaid,
    /// Heartbeats are not written.
    HeartbeatLost,
}

/// What a statement answers.
#[derive(Debug, Clone)]
pub(crate) enum Answer {
    Read(Reading),
    Took(Shard, Taken),
    Released(Shard),
}

pub(crate) struct Database {
    fault: Option<Fault>,
    lease: Duration,
    /// Millionths by which its clock is faster.
    ppm: i64,
    offset_ms: i64,
    members: BTreeMap<NodeId, Member>,
    leases: Vec<Lease>,
    /// Whether a release had an effect since that was asked.
    pub(crate) has_released: bool,
}

impl Database {
    pub(crate) fn new(shards: i64, lease: Duration, ppm: i64, fault: Option<Fault>) -> Self {
        let free = |shard| Lease { shard: Shard(shard), owner: None, epoch: 0, expires_at: Timestamp(0), version: 0 };
        Self {
            fault,
            lease,
            ppm,
            offset_ms: 1_800_000_000_000,
            members: BTreeMap::new(),
            leases: (0..shards).map(free).collect(),
            has_released: false,
        }
    }

    /// Its clock, at a true time.
    pub(crate) fn now(&self, at: u64) -> Timestamp {
        let at = i64::try_from(at).unwrap_or(i64::MAX);
        Timestamp(self.offset_ms + at + at * self.ppm / 1_000_000)
    }

    /// Its clock is set.
    pub(crate) fn step(&mut self, by_ms: i64) {
        self.offset_ms += by_ms;
    }

    pub(crate) fn leases(&self) -> &[Lease] {
        &self.leases
    }

    fn is(&self, fault: Fault) -> bool {
        self.fault == Some(fault)
    }

    fn picture(&self, at: u64) -> Picture {
        Picture { now: self.now(at), members: self.members.values().cloned().collect(), leases: self.leases.clone() }
    }

    /// Carries a statement out.
    pub(crate) fn execute(&mut self, at: u64, node: NodeId, statement: &Command) -> Result<Answer, String> {
        let until = self.now(at).plus_ms(i64::try_from(self.lease.as_millis()).unwrap_or(0));
        match statement {
            Command::Beat { statement, standing, keep } => {
                self.beat(at, node, *statement, *standing);
                let renewed = keep.iter().filter(|held| self.renew(node, **held, until)).copied().collect();
                Ok(Answer::Read(Reading { picture: self.picture(at), renewed }))
            }
            Command::Look(_) => Ok(Answer::Read(Reading { picture: self.picture(at), renewed: Vec::new() })),
            Command::Take(_, seen) => Ok(Answer::Took(seen.shard, self.take(node, seen, until)?)),
            Command::Release(_, held) => {
                self.release(node, *held);
                Ok(Answer::Released(held.shard))
            }
            Command::Stop(..) | Command::Begin(_) | Command::Drain(_) => Err("is no statement".to_owned()),
        }
    }

    fn beat(&mut self, at: u64, node: NodeId, beat: u64, standing: Standing) {
        let is_unsaid = self.is(Fault::LeavingUnsaid);
        if self.is(Fault::HeartbeatLost) || self.members.get(&node).is_some_and(|member| member.beat >= beat) {
            return;
        }
        let standing = if is_unsaid { Standing::Serving } else { standing };
        self.members.insert(node, Member { node, standing, beat, beat_at: self.now(at) });
    }

    fn renew(&mut self, node: NodeId, held: Held, until: Timestamp) -> bool {
        let is_unfenced = self.is(Fault::RenewalUnfenced);
        let Some(row) = self.leases.iter_mut().find(|row| row.shard == held.shard) else { return false };
        let is_own = row.owner == Some(node) && row.epoch == held.epoch;
        if is_own {
            row.expires_at = until;
            row.version += 1;
        }
        is_own || is_unfenced
    }

    fn take(&mut self, node: NodeId, seen: &Lease, until: Timestamp) -> Result<Taken, String> {
        let (is_unfenced, is_kept) = (self.is(Fault::TakeUnfenced), self.is(Fault::EpochKept));
        let Some(row) = self.leases.iter_mut().find(|row| row.shard == seen.shard) else {
            return Err(format!("{:?} is no shard", seen.shard));
        };
        if row.version != seen.version && !is_unfenced {
            return Ok(Taken::Refused);
        }
        (row.owner, row.expires_at) = (Some(node), until);
        row.version += 1;
        row.epoch += i64::from(!is_kept);
        Ok(Taken::Taken(row.epoch))
    }

    fn release(&mut self, node: NodeId, held: Held) {
        let is_unfenced = self.is(Fault::ReleaseUnfenced);
        let is_forgotten = self.is(Fault::ReleaseForgotten);
        let Some(row) = self.leases.iter_mut().find(|row| row.shard == held.shard) else { return };
        if (row.owner == Some(node) && row.epoch == held.epoch || is_unfenced) && !is_forgotten {
            row.owner = None;
            row.version += 1;
            self.has_released = true;
        }
    }

    /// Each of these nodes has as many shards as any other, or one more or less.
    pub(crate) fn is_even(&self, nodes: &[NodeId]) -> Result<(), String> {
        let count = |node: &NodeId| self.leases.iter().filter(|row| row.owner == Some(*node)).count();
        let counts: Vec<usize> = nodes.iter().map(count).collect();
        let (least, most) = (counts.iter().min().copied().unwrap_or(0), counts.iter().max().copied().unwrap_or(0));
        if most <= least + 1 && counts.iter().sum::<usize>() == self.leases.len() {
            return Ok(());
        }
        Err(format!("the nodes have {counts:?} of {} shards", self.leases.len()))
    }
}
