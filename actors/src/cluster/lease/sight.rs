//! What a node knows of the others by what it has read, and by its own monotonic clock: who lives, which leases are over,
//! and whether the database's clock can be believed.
//!
//! Whether a lease is over the database's clock says, which is one for all. A node's wall clock says nothing here. Two
//! things that this clock can't say are seen by watching:
//!
//! * It was set forward, and all leases seem over. Between two readings it must pass as the own clock does, and what was
//!   written between them must lie between them; where that is not so, its word counts for nothing until a lease has
//!   passed on the own clock, by when each living owner has renewed.
//! * It was set back, and the lease of a dead node lasts for long. A row that has not changed for a whole lease, by the
//!   own clock, is nobody's who lives: so a lease can be over against the database's clock too.
//!
//! A node that has just started has watched nothing, and one that read nothing for a lease has missed what there was to
//! see: each believes the clock once it has watched for a lease. What is free is free whatever the clock says.

use std::{collections::BTreeMap, time::Duration};

use ledger::log::Shard;
use runtime::node::NodeId;

use super::rows::{Lease, Member, Picture, Rules, Standing};

/// A clock's speed may differ from another's by this part of the time, and a reading is late by some milliseconds.
const DRIFT: u32 = 100;

/// When something was read: the statement ran between these.
#[derive(Debug, Clone, Copy)]
pub(super) struct When {
    pub(super) sent: Duration,
    pub(super) received: Duration,
}

#[derive(Debug)]
pub(super) struct Sight {
    rules: Rules,
    last: Option<(When, Picture)>,
    /// Until when, by the own clock, the database's clock is not believed.
    doubted_until: Duration,
    /// Since when each row is as it is.
    leases: BTreeMap<Shard, (Lease, Duration)>,
    /// The number of a node's last heartbeat, since when that is the last, and since when the node is there without a break.
    members: BTreeMap<NodeId, (u64, Duration, Duration)>,
}

impl Sight {
    pub(super) fn new(rules: Rules) -> Self {
        Self { rules, last: None, doubted_until: Duration::ZERO, leases: BTreeMap::new(), members: BTreeMap::new() }
    }

    /// The newest reading.
    pub(super) fn picture(&self) -> Option<&Picture> {
        self.last.as_ref().map(|(_, picture)| picture)
    }

    /// Rows were read.
    pub(super) fn see(&mut self, picture: &Picture, when: When) {
        if !self.is_one_clock(picture, when) {
            self.doubted_until = when.received + self.rules.lease;
        }
        let mut before = std::mem::take(&mut self.leases);
        for lease in &picture.leases {
            let since =
                before.remove(&lease.shard).filter(|(row, _)| row.version == lease.version).map(|(_, since)| since);
            self.leases.insert(lease.shard, (lease.clone(), since.unwrap_or(when.received)));
        }
        let mut before = std::mem::take(&mut self.members);
        for member in &picture.members {
            let known = before.remove(&member.node);
            // Who was silent for long has to settle again.
            let silence = self.rules.renew * 3;
            let stays = known.filter(|(beat, since, _)| *beat == member.beat || when.received <= *since + silence);
            let first = stays.map_or(when.received, |(.., first)| first);
            let since = known.filter(|(beat, ..)| *beat == member.beat).map(|(_, since, _)| since);
            self.members.insert(member.node, (member.beat, since.unwrap_or(when.received), first));
        }
        self.last = Some((when, picture.clone()));
    }

    /// Whether the database's clock and the own one have passed the same since the reading before, which was not long ago.
    fn is_one_clock(&self, picture: &Picture, when: When) -> bool {
        let Some((before, last)) = &self.last else { return false };
        if when.sent.saturating_sub(before.received) >= self.rules.lease {
            return false;
        }
        let longest = when.received.saturating_sub(before.sent);
        let shortest = when.sent.saturating_sub(before.received);
        let slack = self.rules.margin / 4 + longest / DRIFT;
        let passed = picture.now.ms_since(last.now);
        // What was written since then was written later. A clock that was set and set back shows only in that.
        let written_at_least = last.now.plus_ms(ms(self.rules.lease.saturating_sub(slack)));
        let is_out_of_time = |lease: &Lease| {
            let is_new = self.leases.get(&lease.shard).is_none_or(|(row, _)| row.version != lease.version);
            is_new && lease.owner.is_some() && lease.expires_at < written_at_least
        };
        passed <= ms(longest + slack)
            && passed >= ms(shortest).saturating_sub(ms(slack))
            && !picture.leases.iter().any(is_out_of_time)
    }

    /// Whether the database's clock was not believed at the newest reading.
    pub(super) fn is_doubted(&self) -> bool {
        self.last.as_ref().is_some_and(|(when, _)| when.sent < self.doubted_until)
    }

    /// Whether a node shows that it lives: its heartbeat is not older than a lease.
    pub(super) fn lives(&self, member: &Member) -> bool {
        let Some((when, picture)) = &self.last else { return false };
        let Some((_, since, _)) = self.members.get(&member.node) else { return false };
        let is_fresh = picture.now.ms_since(member.beat_at) < ms(self.rules.lease);
        when.sent.saturating_sub(*since) < self.rules.lease && (is_fresh || self.is_doubted())
    }

    /// Whether a node that lives was silent for two renewals: it may be dead, and then it is known soon.
    pub(super) fn is_silent(&self, node: NodeId) -> bool {
        let Some((when, picture)) = &self.last else { return true };
        let Some((_, since, _)) = self.members.get(&node) else { return true };
        let beat = picture.members.iter().find(|member| member.node == node).map(|member| member.beat_at);
        let is_late = beat.is_none_or(|at| picture.now.ms_since(at) > ms(self.rules.renew * 2));
        is_late || when.sent.saturating_sub(*since) > self.rules.renew * 2
    }

    /// Whether a node has been there long enough to be handed shards.
    pub(super) fn is_settled(&self, node: NodeId) -> bool {
        let Some((when, _)) = &self.last else { return false };
        self.members.get(&node).is_some_and(|(.., first)| when.sent >= *first + self.rules.settle)
    }

    /// The nodes that live and take shards.
    pub(super) fn serving(&self) -> impl Iterator<Item = NodeId> + '_ {
        let members = self.picture().into_iter().flat_map(|picture| &picture.members);
        let serves = |member: &&Member| member.standing == Standing::Serving && self.lives(member);
        members.filter(serves).map(|member| member.node)
    }

    /// Whether a shard is free, or its lease over.
    pub(super) fn is_over(&self, lease: &Lease) -> bool {
        let Some((when, picture)) = &self.last else { return false };
        let since = self.leases.get(&lease.shard).map_or(when.received, |(_, since)| *since);
        let is_past = !self.is_doubted() && lease.expires_at <= picture.now;
        lease.owner.is_none() || is_past || when.sent.saturating_sub(since) >= self.rules.lease
    }

    /// When, by the own clock, the next lease of another node is over or its heartbeat too old, if nothing renews them.
    pub(super) fn next_end(&self, me: NodeId) -> Option<Duration> {
        let picture = self.picture()?;
        let leases =
            picture.leases.iter().filter(|lease| lease.owner.is_some_and(|owner| owner != me) && !self.is_over(lease));
        let leases = leases.filter_map(|lease| {
            let (_, since) = self.leases.get(&lease.shard)?;
            self.end_of(lease.expires_at.ms_since(picture.now), *since)
        });
        let members = picture.members.iter().filter(|member| member.node != me && self.lives(member));
        let members = members.filter_map(|member| {
            let (_, since, _) = self.members.get(&member.node)?;
            self.end_of(member.beat_at.plus_ms(ms(self.rules.lease)).ms_since(picture.now), *since)
        });
        leases.chain(members).min()
    }

    /// When something ends that has so many milliseconds left by the database's clock, and is as it is since then.
    fn end_of(&self, left_ms: i64, since: Duration) -> Option<Duration> {
        let (when, _) = self.last.as_ref()?;
        let by_clock = when.received + Duration::from_millis(u64::try_from(left_ms).unwrap_or(0));
        Some(by_clock.max(self.doubted_until).min(since + self.rules.lease))
    }
}

fn ms(time: Duration) -> i64 {
    i64::try_from(time.as_millis()).unwrap_or(i64::MAX)
}
