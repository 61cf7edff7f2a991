//! What follows from a reading: what is renewed or lost, what is taken, what is handed over.

use std::{collections::BTreeMap, time::Duration};

use ledger::log::Shard;
use runtime::node::NodeId;

use super::{
    AFTER, Asked, BETWEEN_LOOKS, Command, Commands, Held, Hold, Lease, Leases, Picture, Stage, Standing, Statement,
    Why,
    share::{part, targets},
    sight::When,
};

impl Leases {
    /// Ends what the time ends, before anything else.
    pub(super) fn end_in_time(&mut self, now: Duration, commands: &mut Commands) {
        let mut late = Vec::new();
        for (shard, hold) in &mut self.held {
            let held = Held { shard: *shard, epoch: hold.epoch };
            match hold.stage {
                Stage::Used if now >= hold.stop_at => {
                    commands.push(Command::Stop(held, Why::NotRenewed));
                    hold.stage = Stage::Idle;
                    // It may still be this node's: the sooner that is known, the sooner somebody serves it.
                    self.beat_at = self.beat_at.min(now);
                }
                Stage::Draining(until) if now >= until || now >= hold.stop_at => {
                    let why = if now >= hold.stop_at { Why::NotRenewed } else { Why::DrainedLate };
                    commands.push(Command::Stop(held, why));
                    late.push(*shard);
                }
                Stage::Idle | Stage::Used | Stage::Draining(_) | Stage::Releasing { .. } => {}
            }
        }
        for shard in late {
            self.release(shard, now, commands);
        }
    }

    /// Notes which leases last longer now.
    pub(super) fn renewed(&mut self, renewed: &[Held], when: When, commands: &mut Commands) {
        let stop_at = self.until(when.sent);
        for held in renewed {
            let Some(hold) = self.held.get_mut(&held.shard).filter(|hold| hold.epoch == held.epoch) else { continue };
            hold.stop_at = hold.stop_at.max(stop_at);
            if hold.stage == Stage::Idle {
                self.begin_or_release(held.shard, when.received, commands);
            }
        }
    }

    /// Compares what this node has with the rows.
    pub(super) fn compare(&mut self, picture: &Picture, statement: Statement, when: When, commands: &mut Commands) {
        for lease in &picture.leases {
            let is_ours = lease.owner == Some(self.me);
            match self.held.get(&lease.shard).copied() {
                // What was taken while the rows were read need not be in them.
                Some(hold) if statement <= hold.known => {}
                Some(hold) if is_ours && hold.epoch == lease.epoch => {
                    self.release_again(lease.shard, hold, when, commands);
                }
                Some(hold) => {
                    if matches!(hold.stage, Stage::Used | Stage::Draining(_)) {
                        let held = Held { shard: lease.shard, epoch: hold.epoch };
                        commands.push(Command::Stop(held, Why::Lost));
                    }
                    self.held.remove(&lease.shard);
                    self.found(lease, when);
                }
                None => self.found(lease, when),
            }
        }
    }

    /// A shard that is this node's by the rows alone: a take of unknown outcome was carried out. When it was nobody knows,
    /// so that it is used once it is renewed.
    fn found(&mut self, lease: &Lease, when: When) {
        let is_given_back = self.given_back.get(&lease.shard) == Some(&lease.epoch);
        if lease.owner == Some(self.me) && !is_given_back && !self.taking.contains_key(&lease.shard) {
            let (since, known) = (when.sent, self.statements);
            let hold = Hold { epoch: lease.epoch, since, known, stop_at: Duration::ZERO, stage: Stage::Idle };
            self.held.insert(lease.shard, hold);
            self.beat_at = when.received;
        }
    }

    /// Gives a shard back again, where the statement that did so failed, or was lost.
    fn release_again(&mut self, shard: Shard, hold: Hold, when: When, commands: &mut Commands) {
        if matches!(hold.stage, Stage::Releasing { again_at, .. } if when.sent >= again_at) {
            self.release(shard, when.received, commands);
        }
    }

    /// Uses a shard that is this node's, or gives it back where the node ends.
    pub(super) fn begin_or_release(&mut self, shard: Shard, now: Duration, commands: &mut Commands) {
        let Some(hold) = self.held.get_mut(&shard) else { return };
        match self.standing {
            Standing::Leaving => self.release(shard, now, commands),
            Standing::Serving if now < hold.stop_at => {
                hold.stage = Stage::Used;
                commands.push(Command::Begin(Held { shard, epoch: hold.epoch }));
            }
            // The answer came so late that the lease may be over.
            Standing::Serving => self.beat_at = self.beat_at.min(now),
        }
    }

    /// Begins to hand a shard over.
    pub(super) fn hand_over(&mut self, shard: Shard, now: Duration, commands: &mut Commands) {
        let Some(hold) = self.held.get_mut(&shard) else { return };
        match hold.stage {
            Stage::Used => {
                hold.stage = Stage::Draining(now + self.rules.drain);
                commands.push(Command::Drain(Held { shard, epoch: hold.epoch }));
            }
            Stage::Idle => self.release(shard, now, commands),
            Stage::Draining(_) | Stage::Releasing { .. } => {}
        }
    }

    /// Gives a shard back.
    pub(super) fn release(&mut self, shard: Shard, now: Duration, commands: &mut Commands) {
        let statement = self.number();
        if let Some(hold) = self.held.get_mut(&shard) {
            hold.stage = Stage::Releasing { statement, again_at: now + self.rules.renew };
            commands.push(Command::Release(statement, Held { shard, epoch: hold.epoch }));
        }
    }

    /// How many shards each of these nodes has, as far as they live.
    fn counts(&self, picture: &Picture, nodes: impl Iterator<Item = NodeId>) -> BTreeMap<NodeId, usize> {
        let mut counts: BTreeMap<NodeId, usize> = nodes.filter(|node| *node != self.me).map(|node| (node, 0)).collect();
        for lease in picture.leases.iter().filter(|lease| !self.sight.is_over(lease)) {
            if let Some(count) = lease.owner.and_then(|owner| counts.get_mut(&owner)) {
                *count += 1;
            }
        }
        let own = self.held.values().filter(|hold| !matches!(hold.stage, Stage::Releasing { .. })).count();
        counts.insert(self.me, own + self.taking.len());
        counts
    }

    /// Takes what is free and this node's part. The rest is looked after: who read other rows may have left it to this node.
    pub(super) fn take_free(&mut self, now: Duration, commands: &mut Commands) {
        let Some(picture) = self.sight.picture() else { return };
        let is_free = |lease: &&Lease| {
            let is_known = self.held.contains_key(&lease.shard) || self.taking.contains_key(&lease.shard);
            !is_known && lease.owner != Some(self.me) && self.sight.is_over(lease)
        };
        let free: Vec<&Lease> = picture.leases.iter().filter(is_free).collect();
        let shards: Vec<Shard> = free.iter().map(|lease| lease.shard).collect();
        let counts = self.counts(picture, self.sight.serving());
        let part = part(&shards, &counts, &targets(&counts, picture.leases.len()), self.me);
        if shards.len() > part.len() {
            let soon = now + BETWEEN_LOOKS;
            self.look_at = Some(self.look_at.map_or(soon, |at| at.min(soon)));
        }
        let taken: Vec<Lease> = free.into_iter().filter(|lease| part.contains(&lease.shard)).cloned().collect();
        for lease in taken {
            let statement = self.number();
            self.taking.insert(lease.shard, Asked { statement, sent: now });
            commands.push(Command::Take(statement, lease));
        }
    }

    /// Hands over what this node has too many. It waits while anything else may change: a node that is silent, a shard
    /// that is nobody's or changes its owner, a clock that is not believed, a node that has only just come.
    pub(super) fn hand_over_too_many(&mut self, now: Duration, commands: &mut Commands) {
        let Some(picture) = self.sight.picture() else { return };
        let serving: Vec<NodeId> = self.sight.serving().collect();
        let is_silent = |node: &NodeId| *node != self.me && self.sight.is_silent(*node);
        let is_moving = |lease: &Lease| {
            let is_others = lease.owner.is_some_and(|owner| owner != self.me && serving.contains(&owner));
            !is_others && !self.held.contains_key(&lease.shard)
        };
        let is_changing = self.sight.is_doubted() || !self.taking.is_empty() || serving.iter().any(is_silent);
        if is_changing || picture.leases.iter().any(is_moving) {
            return;
        }
        let settled = serving.into_iter().filter(|node| self.sight.is_settled(*node));
        let counts = self.counts(picture, settled);
        let target = targets(&counts, picture.leases.len()).get(&self.me).copied().unwrap_or(0);
        let is_draining = |hold: &&Hold| matches!(hold.stage, Stage::Draining(_));
        let draining = self.held.values().filter(is_draining).count();
        let many = counts.get(&self.me).copied().unwrap_or(0).saturating_sub(draining).saturating_sub(target);
        let mut used: Vec<(Duration, Shard)> = self
            .held
            .iter()
            .filter(|(_, hold)| hold.stage == Stage::Used)
            .map(|(shard, hold)| (hold.since, *shard))
            .collect();
        // Those that have been here longest: what has just moved stays.
        used.sort();
        for (_, shard) in used.into_iter().take(many.min(self.rules.drains.saturating_sub(draining))) {
            self.hand_over(shard, now, commands);
        }
    }

    /// When to look again, if nothing else happens: as the next lease of another node would be over.
    pub(super) fn next_look(&self, now: Duration) -> Option<Duration> {
        self.sight.next_end(self.me).map(|end| (end + AFTER).max(now + BETWEEN_LOOKS))
    }
}
