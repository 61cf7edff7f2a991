//! One story: nodes and a database, and what is under way between them.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use actors::cluster::lease::{Command, Commands, Held, Reading, Rules, Statement, Taken, Unknown, Why};
use ledger::log::Shard;
use runtime::node::NodeId;
use uuid::Uuid;

use crate::{
    check::{Checked, Stats, Truth, check},
    database::{Answer, Database, Fault},
    node::Node,
    random::Random,
};

/// A fault that the story must notice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mutant {
    /// A node believes that leases last longer than they do.
    LeaseOverstated,
    /// A renewal without an outcome passes for one that was carried out.
    UnknownIsRenewed,
    /// A node uses what it has begun until it hears that it must not, whatever the time.
    TimeNotAsked,
    /// The database has a fault.
    Database(Fault),
    /// Nobody is told that a shard is free.
    NudgeUnsaid,
    /// The node's wall clock passes for the database's.
    OwnClock,
    /// The time is not told.
    NoTicks,
    /// A node is not told that somebody else appends to its logs.
    IntrusionUnheard,
}

impl Mutant {
    pub(crate) const ALL: [Self; 14] = [
        Self::LeaseOverstated,
        Self::UnknownIsRenewed,
        Self::TimeNotAsked,
        Self::Database(Fault::TakeUnfenced),
        Self::Database(Fault::EpochKept),
        Self::Database(Fault::RenewalUnfenced),
        Self::Database(Fault::ReleaseUnfenced),
        Self::Database(Fault::ReleaseForgotten),
        Self::Database(Fault::LeavingUnsaid),
        Self::Database(Fault::HeartbeatLost),
        Self::NudgeUnsaid,
        Self::OwnClock,
        Self::NoTicks,
        Self::IntrusionUnheard,
    ];

    /// The fault of the database that it is, if it is one.
    const fn fault(self) -> Option<Fault> {
        if let Self::Database(fault) = self { Some(fault) } else { None }
    }
}

/// How long a node waits for a statement, in milliseconds.
const STATEMENT_MS: u64 = 2_500;

/// After how many milliseconds a change is known to all, and believed.
pub(crate) const SETTLED_MS: u64 = 12_000;

/// Something that happens at a time.
#[derive(Debug, Clone)]
pub(crate) enum Event {
    Wake(NodeId),
    Nudge(NodeId),
    Drained(NodeId, Held),
    /// A statement comes to the database.
    Arrive(NodeId, Command),
    Answer(NodeId, Statement, Answer),
    /// A node waits no longer.
    GiveUp(NodeId, Command),
    Resume(NodeId),
    Mend(NodeId),
    /// What has changed a while ago is settled now.
    Settle,
}

/// How bad the way to the database is.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Weather {
    /// In how many of a hundred statements it is lost on each way.
    pub(crate) loses: i64,
    /// How many of a hundred are late, and by how many milliseconds at most.
    pub(crate) late: i64,
    pub(crate) late_ms: i64,
}

pub(crate) struct World {
    pub(crate) random: Random,
    pub(crate) mutant: Option<Mutant>,
    pub(crate) rules: Rules,
    pub(crate) database: Database,
    pub(crate) nodes: BTreeMap<NodeId, Node>,
    /// The true time, in milliseconds.
    pub(crate) now: u64,
    queue: BTreeMap<(u64, u64), Event>,
    pushed: u64,
    born: u128,
    /// Counts whatever changes among the nodes, or may seem so to them.
    change: u64,
    pub(crate) weather: Weather,
    /// Until when the database answers nobody.
    pub(crate) down_until: u64,
    /// Since when no fault comes any more.
    pub(crate) quiet_since: u64,
    /// Shards whose log somebody else has appended to, in the epoch in which they were used then.
    pub(crate) intruded: BTreeSet<(Shard, i64)>,
    truth: Truth,
    /// Whether the story is kept: most are never read.
    is_told: bool,
    story: Vec<String>,
    pub(crate) stats: Stats,
    /// Commands other than readings since that was set to 0.
    pub(crate) moves: u64,
}

impl World {
    pub(crate) fn new(seed: u64, mutant: Option<Mutant>, is_told: bool) -> Self {
        let mut random = Random::new(seed);
        let rules = Rules::default();
        let shards = random.pick(&[1, 3, 16, 16]).unwrap_or(16);
        let database =
            Database::new(shards, rules.lease, random.between(-5_000, 5_000), mutant.and_then(Mutant::fault));
        let mut own = rules;
        if mutant == Some(Mutant::LeaseOverstated) {
            own.lease = Duration::from_secs(14);
        }
        Self {
            random,
            mutant,
            rules: own,
            database,
            nodes: BTreeMap::new(),
            now: 100_000,
            queue: BTreeMap::new(),
            pushed: 0,
            born: 0,
            change: 0,
            weather: Weather::default(),
            down_until: 0,
            quiet_since: u64::MAX,
            intruded: BTreeSet::new(),
            truth: Truth::default(),
            is_told,
            story: Vec::new(),
            stats: Stats::default(),
            moves: 0,
        }
    }

    pub(crate) fn is(&self, mutant: Mutant) -> bool {
        self.mutant == Some(mutant)
    }

    pub(crate) fn tell(&mut self, what: impl FnOnce() -> String) {
        if self.is_told {
            self.story.push(format!("{:>8} {}", self.now, what()));
        }
    }

    /// The last events, with their times in milliseconds.
    pub(crate) fn story(&self, shown: usize) -> String {
        self.story[self.story.len().saturating_sub(shown)..].join("\n")
    }

    pub(crate) fn push(&mut self, after_ms: u64, event: Event) {
        self.pushed += 1;
        self.queue.insert((self.now + after_ms, self.pushed), event);
    }

    /// Something changes among the nodes, or may seem so to them: now, and once more when they have known it for long enough.
    pub(crate) fn changes(&mut self) {
        self.change += 1;
        self.push(SETTLED_MS, Event::Settle);
    }

    pub(crate) fn start(&mut self) {
        self.born += 1;
        let id = NodeId(Uuid::from_u128(self.born));
        let (ppm, shift) = (self.random.between(-5_000, 5_000), self.random.between(0, 1 << 40));
        let mut node = Node::new(id, self.rules, ppm, shift, self.now);
        node.wall_ms = self.random.between(-7_200_000, 7_200_000);
        self.nodes.insert(id, node);
        self.changes();
        self.stats.started += 1;
        self.tell(|| format!("node {} starts", id.0.as_u128()));
        self.schedule(id);
    }

    /// Lets all happen until a time.
    pub(crate) fn pass_until(&mut self, until: u64) -> Checked {
        while let Some(entry) = self.queue.first_entry().filter(|entry| entry.key().0 <= until) {
            let ((at, _), event) = entry.remove_entry();
            self.now = self.now.max(at);
            self.happen(event)?;
        }
        self.now = until;
        Ok(())
    }

    fn happen(&mut self, event: Event) -> Checked {
        let id = match &event {
            Event::Arrive(node, statement) => return self.arrive(*node, statement),
            Event::Resume(node) => return self.resume(*node),
            Event::Mend(node) => {
                if let Some(node) = self.nodes.get_mut(node) {
                    node.is_cut = false;
                }
                self.changes();
                return Ok(());
            }
            Event::Settle => {
                self.change += 1;
                return Ok(());
            }
            Event::Wake(node)
            | Event::Nudge(node)
            | Event::Drained(node, _)
            | Event::Answer(node, ..)
            | Event::GiveUp(node, _) => *node,
        };
        let Some(node) = self.nodes.get(&id) else { return Ok(()) };
        if let Some(until) = node.paused_until {
            self.push(until.saturating_sub(self.now) + 1, event);
            return Ok(());
        }
        match event {
            Event::Wake(_) if node.wakes_at != Some(self.now) => Ok(()),
            Event::Wake(_) => self.input(id, |node, now, commands| node.leases.tick(now, commands)),
            Event::Nudge(_) => self.input(id, |node, now, commands| node.leases.nudge(now, commands)),
            Event::Drained(_, held) => self.input(id, |node, now, commands| node.leases.drained(held, now, commands)),
            // A node may use more from here on, or longer.
            Event::Answer(_, statement, answer) => {
                self.answer(id, statement, answer)?;
                self.check_alone(id)
            }
            Event::GiveUp(_, statement) => {
                self.give_up(id, &statement)?;
                self.check_alone(id)
            }
            Event::Arrive(..) | Event::Resume(_) | Event::Mend(_) | Event::Settle => Ok(()),
        }
    }

    fn resume(&mut self, id: NodeId) -> Checked {
        let Some(node) = self.nodes.get_mut(&id) else { return Ok(()) };
        if node.paused_until.is_some_and(|until| until <= self.now) {
            node.paused_until = None;
            self.changes();
            self.tell(|| format!("node {} goes on", id.0.as_u128()));
        }
        // Whatever was in its hands goes on before it hears of anything, also of the time.
        self.check_alone(id)?;
        let node = self.nodes.get(&id).filter(|node| node.paused_until.is_none());
        if node.is_none() {
            return Ok(());
        }
        self.input(id, |node, now, commands| node.leases.tick(now, commands))
    }

    /// Gives an input, and carries out what follows.
    pub(crate) fn input(&mut self, id: NodeId, input: impl FnOnce(&mut Node, Duration, &mut Commands)) -> Checked {
        let Some(node) = self.nodes.get_mut(&id) else { return Ok(()) };
        let mut commands = Commands::new();
        let now = node.clock(self.now);
        input(node, now, &mut commands);
        for command in commands {
            self.carry_out(id, command)?;
        }
        if self.nodes.get(&id).is_some_and(|node| node.leases.has_left()) {
            self.tell(|| format!("node {} has left", id.0.as_u128()));
            self.nodes.remove(&id);
            self.changes();
            return Ok(());
        }
        self.schedule(id);
        Ok(())
    }

    fn schedule(&mut self, id: NodeId) {
        let is_mute = self.is(Mutant::NoTicks) && self.now > 120_000;
        let Some(node) = self.nodes.get_mut(&id).filter(|_| !is_mute) else { return };
        let at = node.true_time(node.leases.due(), self.now);
        if node.wakes_at != Some(at) || at == self.now {
            // Timers go off late.
            node.wakes_at = Some(at);
            self.push(at - self.now, Event::Wake(id));
        }
    }

    /// No two nodes use a shard.
    fn check_alone(&self, id: NodeId) -> Checked {
        let asks_time = !self.is(Mutant::TimeNotAsked);
        let Some(node) = self.nodes.get(&id) else { return Ok(()) };
        for shard in node.begun.keys().filter(|shard| node.uses(**shard, self.now, asks_time)) {
            let uses = |other: &&Node| {
                other.id != id && other.paused_until.is_none() && other.uses(*shard, self.now, asks_time)
            };
            let other = self.nodes.values().find(uses).map(|other| other.id.0.as_u128());
            check(other.is_none(), || {
                format!("{shard:?} is used by node {} and by node {}", id.0.as_u128(), other.unwrap_or(0))
            })?;
        }
        Ok(())
    }

    fn carry_out(&mut self, id: NodeId, command: Command) -> Checked {
        let name = id.0.as_u128();
        if !matches!(command, Command::Look(_) | Command::Beat { .. }) {
            self.moves += 1;
            self.tell(|| format!("node {name}: {command:?}"));
        }
        let Some(node) = self.nodes.get_mut(&id) else { return Ok(()) };
        match command {
            Command::Stop(held, why) => {
                check(node.begun.remove(&held.shard).is_some(), || format!("{held:?} is stopped and not used"))?;
                node.stopped.insert(held.shard, held.epoch);
                match why {
                    Why::NotRenewed => self.stats.expired += 1,
                    Why::DrainedLate => self.stats.drained_late += 1,
                    Why::Intruded => self.stats.intruded += 1,
                    Why::Lost => return Err(format!("{held:?} was taken while it was used")),
                }
            }
            Command::Begin(held) => {
                self.stats.begun += 1;
                self.stats.begun_again += u64::from(node.stopped.get(&held.shard) == Some(&held.epoch));
                node.begun.insert(held.shard, held.epoch);
                let is_intruded = self.intruded.contains(&(held.shard, held.epoch));
                check(!is_intruded, || format!("{held:?} is used again, and somebody else appends to its log"))?;
                self.truth.begin(held.shard, id, held.epoch)?;
            }
            Command::Drain(held) => {
                let is_leaving = node.is_leaving;
                check(node.begun.contains_key(&held.shard), || format!("{held:?} is drained and not used"))?;
                if !is_leaving {
                    self.stats.handed_over += 1;
                    self.truth.hand_over(held.shard, self.change)?;
                    self.check_uneven()?;
                }
                let is_slow = self.now < self.quiet_since && self.random.percent(3);
                let takes = if is_slow { self.random.between(4_000, 12_000) } else { self.random.between(5, 150) };
                self.push(takes.unsigned_abs(), Event::Drained(id, held));
            }
            Command::Release(statement, held) => {
                // It was drained, or stopped.
                node.begun.remove(&held.shard);
                self.send(id, statement, Command::Release(statement, held));
            }
            Command::Beat { statement, .. } | Command::Look(statement) | Command::Take(statement, _) => {
                self.send(id, statement, command);
            }
        }
        Ok(())
    }

    /// Nothing is handed over where all is even.
    fn check_uneven(&self) -> Checked {
        let nodes: Vec<NodeId> = self.nodes.values().filter(|node| !node.is_leaving).map(|node| node.id).collect();
        check(self.now < self.quiet_since.saturating_add(SETTLED_MS) || self.database.is_even(&nodes).is_err(), || {
            "all was even".to_owned()
        })
    }

    /// Milliseconds that one way takes.
    fn way(&mut self) -> u64 {
        let is_late = self.random.percent(self.weather.late);
        self.stats.late_statements += u64::from(is_late);
        let takes = if is_late { self.random.between(0, self.weather.late_ms) } else { self.random.between(0, 8) };
        takes.unsigned_abs()
    }

    fn send(&mut self, id: NodeId, statement: Statement, command: Command) {
        let is_lost = self.random.percent(self.weather.loses) || self.now < self.down_until;
        let (takes, is_told) = (self.way(), self.random.percent(50));
        let Some(node) = self.nodes.get_mut(&id) else { return };
        node.waits_for.insert(statement);
        let is_lost = is_lost || node.is_cut;
        let gives_up = if is_lost && is_told { 5 } else { STATEMENT_MS };
        self.push(gives_up, Event::GiveUp(id, command.clone()));
        if self.is(Mutant::Database(Fault::ReleaseUnfenced)) && matches!(command, Command::Release(..)) {
            self.push(takes + 9_000, Event::Arrive(id, command.clone()));
        }
        if !is_lost {
            self.push(takes, Event::Arrive(id, command));
        }
    }

    fn arrive(&mut self, id: NodeId, statement: &Command) -> Checked {
        if self.now < self.down_until {
            return Ok(());
        }
        let answer = self.database.execute(self.now, id, statement)?;
        if matches!(answer, Answer::Took(_, Taken::Refused)) {
            self.stats.refused_takes += 1;
        }
        if std::mem::take(&mut self.database.has_released) && !self.is(Mutant::NudgeUnsaid) {
            let others: Vec<NodeId> = self.nodes.keys().filter(|other| **other != id).copied().collect();
            for other in others {
                let (takes, is_lost) = (self.way(), self.random.percent(self.weather.loses));
                let is_cut = self.nodes.get(&other).is_none_or(|node| node.is_cut);
                if !is_lost && !is_cut {
                    self.push(takes, Event::Nudge(other));
                }
            }
        }
        let number = match statement {
            Command::Beat { statement, .. }
            | Command::Look(statement)
            | Command::Take(statement, _)
            | Command::Release(statement, _) => *statement,
            Command::Stop(..) | Command::Begin(_) | Command::Drain(_) => return Ok(()),
        };
        let (takes, is_lost) = (self.way(), self.random.percent(self.weather.loses));
        if !is_lost {
            self.push(takes, Event::Answer(id, number, answer));
        }
        Ok(())
    }

    fn answer(&mut self, id: NodeId, statement: Statement, answer: Answer) -> Checked {
        let has_own_clock = self.is(Mutant::OwnClock);
        let Some(node) = self.nodes.get_mut(&id) else { return Ok(()) };
        if node.is_cut || !node.waits_for.remove(&statement) {
            return Ok(());
        }
        match answer {
            Answer::Read(mut reading) => {
                if has_own_clock {
                    reading.picture.now = reading.picture.now.plus_ms(node.wall_ms);
                }
                self.input(id, |node, now, commands| node.leases.read(statement, Ok(&reading), now, commands))
            }
            Answer::Took(shard, taken) => {
                self.input(id, |node, now, commands| node.leases.took(statement, shard, taken, now, commands))
            }
            Answer::Released(shard) => {
                self.input(id, |node, now, commands| node.leases.released(statement, shard, Ok(()), now, commands))
            }
        }
    }

    fn give_up(&mut self, id: NodeId, command: &Command) -> Checked {
        let believes = self.is(Mutant::UnknownIsRenewed);
        let waits_for = |node: &mut Node, statement: &Statement| node.waits_for.remove(statement);
        let Some(node) = self.nodes.get_mut(&id) else { return Ok(()) };
        match command {
            Command::Beat { statement, keep, .. } if waits_for(node, statement) => {
                let picture = node.leases.picture().cloned().filter(|_| believes);
                let reading = picture.map(|mut picture| {
                    picture.now = picture.now.plus_ms(3_000);
                    Reading { picture, renewed: keep.clone() }
                });
                let reading = reading.as_ref().ok_or(Unknown);
                self.input(id, |node, now, commands| node.leases.read(*statement, reading, now, commands))
            }
            Command::Look(statement) if waits_for(node, statement) => {
                self.input(id, |node, now, commands| node.leases.read(*statement, Err(Unknown), now, commands))
            }
            Command::Take(statement, seen) if waits_for(node, statement) => self.input(id, |node, now, commands| {
                node.leases.took(*statement, seen.shard, Taken::Unknown, now, commands);
            }),
            Command::Release(statement, held) if waits_for(node, statement) => self.input(id, |node, now, commands| {
                node.leases.released(*statement, held.shard, Err(Unknown), now, commands);
            }),
            _ => Ok(()),
        }
    }

    /// Statements that are under way for long never arrive.
    pub(crate) fn lose_late(&mut self) {
        let soon = self.now + 1_000;
        self.queue.retain(|(at, _), event| *at <= soon || !matches!(event, Event::Arrive(..)));
    }

    /// Shards that nobody uses.
    pub(crate) fn unused(&self) -> Vec<Shard> {
        let is_used = |shard: Shard| {
            self.nodes.values().any(|node| node.paused_until.is_none() && node.uses(shard, self.now, true))
        };
        self.database.leases().iter().map(|row| row.shard).filter(|shard| !is_used(*shard)).collect()
    }
}
