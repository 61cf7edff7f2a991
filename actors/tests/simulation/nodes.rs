//! The leases of the nodes: the product's own, with a database whose statements are late or lost, and the shell around them
//! that begins, drains and ends shards. The leases' clock goes by itself: in the days that pass between two events of an
//! account, leases would be renewed thousands of times, which changes nothing.

use actors::{
    account::machine::SILENT_MS,
    cluster::{
        is_alive,
        lease::{Command, Commands, Held, Picture, Rules, Standing, Statement as Number, Why},
    },
};
use billing::ids::AccountId;
use ledger::{
    log::Shard,
    nodes::{self, Nodes},
};
use runtime::node::NodeId;

use crate::{
    account::Actor,
    check::{ALONE, Checked, FENCED, LIVES, ensure},
    database::Answer,
    journal::Order,
    mutants::Mutant,
    owner::{Owner, Use},
    world::World,
};

/// A statement on its way to the database, or its answer on its way back.
pub(crate) struct Statement {
    owner: u64,
    command: Command,
    answer: Option<Answer>,
}

/// The rows, as the product's ledger reads them.
fn rows(picture: &Picture) -> Nodes {
    let node = |member: &actors::cluster::lease::Member| nodes::Node {
        id: member.node.0,
        name: String::new(),
        address: String::new(),
        version: String::new(),
        leaves: member.standing == Standing::Leaving,
        beat: member.beat,
        beat_at: member.beat_at,
        since: member.beat_at,
        ahead_ms: 0,
    };
    Nodes { now: picture.now, nodes: picture.members.iter().map(node).collect(), leases: Vec::new() }
}

/// After how long a node that is not heard of may count as gone.
const SILENT_FOR_MS: u64 = 10_000;

impl World {
    /// The database carries statements out, nodes hear of theirs, and time passes for the leases.
    pub(crate) fn leases_go_on(&mut self) -> Checked {
        // There and back.
        for _ in 0..2 {
            for statement in std::mem::take(&mut self.statements) {
                self.a_statement_goes_on(statement)?;
            }
        }
        self.lease_ms += self.random.between(20, 1_200).unsigned_abs();
        let lease_ms = self.lease_ms;
        for owner in &mut self.owners {
            owner.heard_at = owner.heard_at.filter(|at| owner.is_alone || lease_ms <= at + SILENT_FOR_MS);
        }
        let nodes = self.owners.iter().filter(|owner| !owner.is_paused && !owner.is_alone);
        let awake: Vec<u64> = nodes.map(|owner| owner.id).collect();
        for id in awake {
            let (mut commands, lease_ms) = (Commands::new(), self.lease_ms);
            let Some(owner) = self.owner(id) else { continue };
            let now = owner.clock(lease_ms);
            for held in std::mem::take(&mut owner.lost) {
                owner.leases.intruded(held, now, &mut commands);
            }
            if owner.leases.due() <= now {
                owner.leases.tick(now, &mut commands);
            }
            self.carry_out(id, commands);
        }
        self.are_alone()
    }

    /// The database is away for a while: nothing is appended or projected, and no lease is renewed. Or its clock is set.
    pub(crate) fn the_database_goes_away(&mut self) -> bool {
        if self.random.percent(25) {
            let by = self.random.pick(&[-3_600_000, -30_000, 8_000, 30_000, 3_600_000]).unwrap_or(0);
            self.disk.leases.step(by);
            self.stats.clocks_set += 1;
            self.say(|| format!("the database's clock is set by {by} ms"));
            return true;
        }
        let lasts = self.random.between(1_000, 16_000).unsigned_abs();
        self.down_until = self.lease_ms + lasts;
        self.stats.outages += 1;
        self.say(|| format!("the database is away for {lasts} ms"));
        true
    }

    pub(crate) const fn is_down(&self) -> bool {
        !self.is_resting && self.lease_ms < self.down_until
    }

    /// Checks that no request is settled as abandoned which runs at a node that was always heard of.
    pub(crate) fn none_is_abandoned_alive(&mut self) -> Checked {
        for (by, account, id) in std::mem::take(&mut self.abandoned) {
            let Some(request) = self.requests.get(&id) else { continue };
            let lives = |it: &Owner| it.id == request.owner && it.running.contains(&id) && it.heard_at.is_some();
            let deadline = self.disk.rows(account).holds.get(&id).map(|hold| hold.deadline);
            let is_late = deadline.is_none_or(|at| at.plus_ms(SILENT_MS) <= self.now_of(by));
            ensure(is_late || !self.owners.iter().any(lives), LIVES, || {
                format!("{id} runs at owner {}", request.owner)
            })?;
        }
        Ok(())
    }

    /// Checks that no two nodes answer for a shard.
    pub(crate) fn are_alone(&self) -> Checked {
        for shard in self.disk.shards.all() {
            let answers = |owner: &&Owner| !owner.is_paused && owner.answers_for(shard, self.lease_ms);
            let nodes: Vec<u64> = self.owners.iter().filter(answers).map(|owner| owner.id).collect();
            ensure(nodes.len() < 2, ALONE, || format!("owners {nodes:?} answer for {shard:?}"))?;
        }
        Ok(())
    }

    fn a_statement_goes_on(&mut self, statement: Statement) -> Checked {
        let Statement { owner, command, answer } = statement;
        let is_lost = self.is_down() || self.random.percent(self.trouble_now());
        let is_late = !self.is_resting && self.random.percent(5);
        match answer {
            Some(answer) if self.is_awake(owner) => {
                if !is_lost {
                    self.hears(owner, &command, answer)?;
                }
            }
            answer @ Some(_) => {
                if self.owners.iter().any(|it| it.id == owner) {
                    self.statements.push(Statement { owner, command, answer });
                }
            }
            None if is_late => self.statements.push(Statement { owner, command, answer }),
            None if is_lost => {}
            None => self.is_carried_out(owner, command)?,
        }
        Ok(())
    }

    fn is_carried_out(&mut self, id: u64, command: Command) -> Checked {
        let lease_ms = self.lease_ms;
        if let (Command::Beat { .. }, Some(owner)) = (&command, self.owner(id)) {
            owner.heard_at = owner.heard_at.map(|_| lease_ms);
        }
        let done = self.disk.leases.execute(self.lease_ms, crate::owner::name(id), &command);
        let answer = match done {
            Ok(answer) => answer,
            Err(why) => return ensure(false, FENCED, || why),
        };
        self.statements.push(Statement { owner: id, command, answer: Some(answer) });
        if std::mem::take(&mut self.disk.leases.has_released) {
            let others: Vec<u64> =
                self.owners.iter().filter(|it| it.id != id && !it.is_paused).map(|it| it.id).collect();
            for other in others {
                let (mut commands, lease_ms) = (Commands::new(), self.lease_ms);
                let Some(owner) = self.owner(other) else { continue };
                owner.leases.nudge(owner.clock(lease_ms), &mut commands);
                self.carry_out(other, commands);
            }
        }
        Ok(())
    }

    /// A node hears what became of its statement.
    fn hears(&mut self, id: u64, command: &Command, answer: Answer) -> Checked {
        let (mut commands, lease_ms) = (Commands::new(), self.lease_ms);
        let Some(owner) = self.owner(id) else { return Ok(()) };
        let now = owner.clock(lease_ms);
        match (command, answer) {
            (Command::Beat { statement, .. } | Command::Look(statement), Answer::Read(reading)) => {
                owner.sees(*statement, &reading.picture, lease_ms);
                owner.leases.read(*statement, Ok(&reading), now, &mut commands);
            }
            (Command::Take(statement, _), Answer::Took(shard, taken)) => {
                owner.leases.took(*statement, shard, taken, now, &mut commands);
            }
            (Command::Release(statement, _), Answer::Released(shard)) => {
                owner.leases.released(*statement, shard, Ok(()), now, &mut commands);
            }
            (command, answer) => ensure(false, FENCED, || format!("{answer:?} to {command:?}"))?,
        }
        self.carry_out(id, commands);
        Ok(())
    }

    /// Carries out what a node's leases ask for.
    pub(crate) fn carry_out(&mut self, id: u64, commands: Commands) {
        for command in commands {
            if !matches!(command, Command::Look(_) | Command::Beat { .. }) {
                self.say(|| format!("owner {id}: {command:?}"));
            }
            match command {
                Command::Stop(held, why) => {
                    self.stats.lapsed += u64::from(why == Why::NotRenewed);
                    self.forgets(id, held.shard);
                }
                Command::Begin(held) => {
                    self.stats.takeovers += 1;
                    self.forgets(id, held.shard);
                    if let Some(owner) = self.owner(id) {
                        owner.begins(held);
                    }
                }
                Command::Drain(held) => {
                    if let Some(owner) = self.owner(id) {
                        owner.begun.insert(held.shard, (held, Use::Draining));
                    }
                }
                Command::Beat { .. } | Command::Look(_) | Command::Take(..) => {
                    self.statements.push(Statement { owner: id, command, answer: None });
                }
                Command::Release(_, held) => {
                    if let Some(owner) = self.owner(id) {
                        owner.begun.remove(&held.shard);
                    }
                    self.statements.push(Statement { owner: id, command, answer: None });
                }
            }
        }
    }

    /// A node ends what it has begun of a shard, without waiting for anything.
    fn forgets(&mut self, id: u64, shard: Shard) {
        let Some(owner) = self.owner(id) else { return };
        owner.begun.remove(&shard);
        owner.journal.orders.push(Order::Disown(shard));
        for account in self.actors_of(id, shard) {
            self.end_actor(id, account);
        }
    }

    fn actors_of(&self, id: u64, shard: Shard) -> Vec<AccountId> {
        let owner = self.owners.iter().find(|owner| owner.id == id);
        let accounts = owner.into_iter().flat_map(|owner| owner.actors.keys().copied());
        accounts.filter(|account| self.disk.shard_of(*account) == shard).collect()
    }

    /// A shard is handed over: its accounts leave, one after the other; then the tables get what the journal has of them.
    pub(crate) fn a_drain_goes_on(&mut self) -> Checked<bool> {
        let awake = self.owners.iter().filter(|owner| !owner.is_paused);
        let draining = awake.flat_map(|owner| owner.draining().map(move |held| (owner.id, held)));
        let draining: Vec<(u64, Held)> = draining.collect();
        let Some((id, held)) = self.random.pick(&draining) else { return Ok(false) };
        let staying = self.actors_of(id, held.shard);
        if let Some(account) = self.random.pick(&staying) {
            self.act((id, account), Actor::leaves)?;
            return Ok(true);
        }
        let gives_up = self.random.percent(10);
        let lease_ms = self.lease_ms;
        let Some(owner) = self.owner(id) else { return Ok(false) };
        if !owner.may_read(owner.progress.last()) && !gives_up {
            return Ok(false);
        }
        let mut commands = Commands::new();
        owner.journal.orders.push(Order::Disown(held.shard));
        owner.leases.drained(held, owner.clock(lease_ms), &mut commands);
        self.stats.handed_over += 1;
        self.say(|| format!("owner {id} has handed {held:?} over"));
        self.carry_out(id, commands);
        Ok(true)
    }

    /// Whether each shard has an owner that serves it.
    pub(crate) fn all_are_served(&self) -> bool {
        let is_served = |shard| self.owners.iter().any(|owner| owner.answers_for(shard, self.lease_ms));
        self.disk.shards.all().all(is_served)
    }
}

impl Owner {
    fn draining(&self) -> impl Iterator<Item = Held> + '_ {
        self.begun.values().filter(|(_, stage)| *stage == Use::Draining).map(|(held, _)| *held)
    }

    /// Whether the rows that were read last have a node: others are answered nothing.
    pub(crate) fn knows(&self, node: NodeId) -> bool {
        self.leases.picture().is_some_and(|picture| picture.members.iter().any(|member| member.node == node))
    }

    /// Learns which other nodes live, of rows that were read.
    fn sees(&mut self, statement: Number, picture: &Picture, lease_ms: u64) {
        let (rules, now) = (Rules::default(), self.clock(lease_ms));
        if self.hearing.read(statement, &rows(picture), now, &rules) {
            let seen = rows(picture);
            let by_clock = |id: &NodeId| seen.nodes.iter().any(|node| node.id == id.0 && is_alive(node, &seen, &rules));
            let asks_clock = self.journal.is(Mutant::GoneByTheClock);
            let others = self.hearing.others(self.node, &rules);
            self.others.others(others.filter(|id| !asks_clock || by_clock(id)));
        }
    }
}
