//! A story's course: faults, then quiet in which all comes right, then one change at a time, each within its bound.

use actors::cluster::lease::Lease;
use runtime::node::NodeId;

use crate::{
    check::{Checked, check},
    world::{Event, SETTLED_MS, Weather, World},
};

/// How long things go wrong, in milliseconds.
const FAULTS_MS: u64 = 90_000;
/// A step of waiting.
const STEP_MS: u64 = 20;
/// How long all must be still once it is even.
const STILL_MS: u64 = 15_000;

impl World {
    pub(crate) fn run(&mut self) -> Checked {
        for _ in 0..self.random.between(1, 4) {
            self.start();
        }
        let until = self.now + FAULTS_MS;
        while self.now < until {
            let next = self.now + self.random.between(50, 6_000).unsigned_abs();
            self.pass_until(next)?;
            self.fault()?;
        }
        self.mend();
        self.rest()?;
        self.one_dies()?;
        self.one_leaves()?;
        self.one_comes()
    }

    /// Nothing goes wrong any more. What was late is lost: a take of a dead node that is carried out now would begin a
    /// lease.
    fn mend(&mut self) {
        (self.weather, self.down_until, self.quiet_since) = (Weather::default(), self.now, self.now);
        self.changes();
        self.lose_late();
        let nodes: Vec<NodeId> = self.nodes.keys().copied().collect();
        for id in nodes {
            if let Some(node) = self.nodes.get_mut(&id) {
                (node.is_cut, node.paused_until) = (false, None);
            }
            self.push(0, Event::Resume(id));
        }
        while self.nodes.values().filter(|node| !node.is_leaving).count() < 2 {
            self.start();
        }
        self.tell(|| "all is well from now on".to_owned());
    }

    fn ms(duration: std::time::Duration) -> u64 {
        u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
    }

    /// Waits until something is so; gives the milliseconds that it took.
    fn wait(&mut self, most: u64, what: &str, is_so: impl Fn(&Self) -> Checked) -> Result<u64, String> {
        let began = self.now;
        loop {
            let Err(why) = is_so(self) else { return Ok(self.now - began) };
            check(self.now < began + most, || format!("after {most} ms, {what}: {why}"))?;
            self.pass_until(self.now + STEP_MS)?;
        }
    }

    fn all_used(&self) -> Checked {
        check(self.unused().is_empty(), || format!("nobody uses {:?}", self.unused()))
    }

    fn even(&self) -> Checked {
        let nodes: Vec<NodeId> = self.nodes.values().filter(|node| !node.is_leaving).map(|node| node.id).collect();
        self.all_used()?;
        check(self.nodes.len() == nodes.len(), || "one has not left".to_owned())?;
        self.database.is_even(&nodes)
    }

    /// All shards are used soon, and even later; then nothing moves.
    fn rest(&mut self) -> Checked {
        let (lease, renew) = (Self::ms(self.rules.lease), Self::ms(self.rules.renew));
        // A heartbeat may just have failed; then a clock may have to be doubted for a lease.
        let took = self.wait(lease + 1_000 + renew, "recovery", Self::all_used)?;
        self.stats.longest_recovery = self.stats.longest_recovery.max(took);
        self.intruders_are_out()?;
        self.settle()
    }

    /// A log that somebody else has appended to has a later epoch now: neither of the two appends anything more.
    fn intruders_are_out(&self) -> Checked {
        let is_in = |row: &&Lease| self.intruded.contains(&(row.shard, row.epoch));
        let left = self.database.leases().iter().find(is_in);
        check(left.is_none(), || format!("somebody else can still append: {left:?}"))
    }

    fn settle(&mut self) -> Checked {
        self.wait(60_000, "even", Self::even)?;
        // What was under way, and the heartbeats of the dead.
        self.pass_until(self.now + SETTLED_MS)?;
        self.moves = 0;
        self.pass_until(self.now + STILL_MS)?;
        check(self.moves == 0, || format!("{} moves though all was even", self.moves))
    }

    fn one_dies(&mut self) -> Checked {
        self.start();
        self.settle()?;
        self.kill();
        let took = self.wait(Self::ms(self.rules.lease) + 1_000, "takeover", Self::all_used)?;
        self.stats.longest_takeover = self.stats.longest_takeover.max(took);
        self.settle()
    }

    fn one_leaves(&mut self) -> Checked {
        self.start();
        self.settle()?;
        self.leave()?;
        // Drains take up to 150 ms here.
        let took = self.wait(500, "handover", |world| {
            world.all_used()?;
            check(world.nodes.values().all(|node| !node.is_leaving), || "it is there".to_owned())
        })?;
        self.stats.longest_handover = self.stats.longest_handover.max(took);
        self.settle()
    }

    fn one_comes(&mut self) -> Checked {
        self.start();
        self.settle()
    }
}
