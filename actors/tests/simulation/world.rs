//! The world: its clocks, its owners, its clients, the disk, the card processor, and a random source that picks the next
//! event. After every step the invariants of everything that changed are checked.

use std::{
    collections::{BTreeMap, BTreeSet},
    num::NonZeroU16,
};

use actors::cluster::lease::Rules;
use billing::{
    Nanos, Timestamp,
    account::Header,
    command::Command,
    ids::{AccountId, PaymentId, RequestId},
    key::KeyLimits,
    plan::Plan,
};
use ledger::log::{Row, Shards};
use uuid::Uuid;

use crate::{
    account::{Actor, AskId, Departure, Shell, moment},
    acts::Act,
    asks::{Asked, Asks},
    cards::Processor,
    check::{self, Checked, DURABLE, MEMORY, PERMITS, ensure},
    clients::Request,
    database::Database,
    disk::Disk,
    journal::{ForJournal, Journal},
    keys::{Wish, first_key},
    mutants::Mutant,
    nodes::Statement,
    owner::Owner,
    projector::Group,
    random::Random,
    stats::Stats,
    tasks::Task,
};

/// Whether the story of a seed is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Story {
    Untold,
    Told,
}

#[expect(clippy::struct_excessive_bools, reason = "independent facts")]
pub(crate) struct World {
    pub(crate) random: Random,
    pub(crate) mutant: Option<Mutant>,
    /// The time that the systems' clocks show.
    pub(crate) time: Timestamp,
    /// The time that no node's clock is set back from while it runs: it goes on by itself.
    pub(crate) latest: Timestamp,
    /// The time that has really passed.
    pub(crate) elapsed: Timestamp,
    /// The time of the leases, in milliseconds: it goes by itself.
    pub(crate) lease_ms: u64,
    /// Until when the database answers nobody, by the leases' clock.
    pub(crate) down_until: u64,
    pub(crate) skew_ms: i64,
    /// Whether clocks are set back by days. Otherwise they are set back by minutes, and the processor forgets keys
    /// after a day.
    pub(crate) has_wild_clock: bool,
    /// Whether there is one process with one shard, which is no node of several.
    pub(crate) is_alone: bool,
    seed: u64,
    pub(crate) trouble: i64,
    pub(crate) is_resting: bool,
    /// Until when it does not rest, by the leases' clock.
    pub(crate) rests_at: u64,
    pub(crate) disk: Disk,
    pub(crate) owners: Vec<Owner>,
    pub(crate) born: u64,
    /// Rows and transactions that nobody waits for any more, and that may still arrive.
    pub(crate) late_rows: Vec<Vec<Row>>,
    pub(crate) late_groups: Vec<Group>,
    pub(crate) serial: u128,
    /// The leases' statements on their way to the database and back.
    pub(crate) statements: Vec<Statement>,
    pub(crate) next_ask: AskId,
    pub(crate) asks: Asks,
    /// Questions that nobody answered for, to be asked again.
    pub(crate) moved: Vec<Asked>,
    pub(crate) requests: BTreeMap<RequestId, Request>,
    pub(crate) dispatched: BTreeMap<RequestId, AccountId>,
    /// The costs that clients were told for their requests, and the purchases that succeeded.
    pub(crate) told: BTreeMap<AccountId, Vec<(RequestId, Nanos)>>,
    pub(crate) told_paid: Vec<(AccountId, PaymentId)>,
    /// Changes of keys that are thought of.
    pub(crate) wishes: Vec<Wish>,
    pub(crate) gifts: Vec<(AccountId, billing::command::Fund)>,
    pub(crate) cards: Processor,
    pub(crate) tasks: BTreeMap<u64, Task>,
    /// All acts of keyed requests, including those that have ended.
    pub(crate) acts: BTreeMap<RequestId, Act>,
    departures: Vec<Departure>,
    pub(crate) abandoned: Vec<(u64, AccountId, RequestId)>,
    /// Actors that acted in this step.
    touched: BTreeSet<(u64, AccountId)>,
    /// Whether a question was dropped in this step.
    pub(crate) has_ended: bool,
    pub(crate) stats: Stats,
    story: Story,
    pub(crate) events: Vec<String>,
}

/// The most nodes at once.
const MOST_OWNERS: usize = 4;
/// 2026-11-24.
const BEGIN: Timestamp = Timestamp(1_795_478_400_000);

impl World {
    /// Whether operators freeze accounts: in one seed of four, as a frozen account does little of all else.
    pub(crate) const fn has_freezes(&self) -> bool {
        self.seed % 4 == 3
    }

    pub(crate) fn new(seed: u64, mutant: Option<Mutant>, story: Story) -> Self {
        let mut random = Random::new(seed);
        // As most users have it: in one seed of five.
        let is_alone = seed % 5 == 4;
        let shards = if is_alone { 1 } else { random.between(2, 3) };
        let database = Database::new(shards, Rules::default().lease, 0, mutant.and_then(Mutant::of_database));
        let shards = u16::try_from(shards).ok().and_then(NonZeroU16::new).map_or(Shards::ONE, Shards::new);
        let mut disk = Disk::new(shards, database, mutant);
        for number in 1..=random.between(2, 3) {
            let id = AccountId(Uuid::from_u128(u128::from(number.unsigned_abs())));
            disk.create(id, &Header::new(Plan::Free, BEGIN));
            if random.percent(40) {
                // The usual key has limits from the start.
                let most =
                    [10_000_000, 3_000_000_000].map(|least| Some(Nanos::new(least + random.below(2_000_000_000))));
                let limits = KeyLimits { amounts: [most[0], None, None, most[1]], models: Vec::new() };
                disk.limit(id, first_key(id, false), &limits);
            }
        }
        let has_wild_clock = random.percent(30);
        let trouble = random.between(0, 12);
        let mut world = Self {
            random,
            mutant,
            time: BEGIN,
            latest: BEGIN,
            elapsed: BEGIN,
            lease_ms: 0,
            down_until: 0,
            skew_ms: 0,
            has_wild_clock,
            is_alone,
            seed,
            trouble,
            is_resting: false,
            rests_at: 0,
            disk,
            owners: Vec::new(),
            born: 0,
            late_rows: Vec::new(),
            late_groups: Vec::new(),
            serial: 0,
            statements: Vec::new(),
            next_ask: 0,
            asks: BTreeMap::new(),
            moved: Vec::new(),
            requests: BTreeMap::new(),
            dispatched: BTreeMap::new(),
            told: BTreeMap::new(),
            told_paid: Vec::new(),
            wishes: Vec::new(),
            gifts: Vec::new(),
            cards: Processor::default(),
            tasks: BTreeMap::new(),
            acts: BTreeMap::new(),
            departures: Vec::new(),
            abandoned: Vec::new(),
            touched: BTreeSet::new(),
            has_ended: false,
            stats: Stats::default(),
            story,
            events: Vec::new(),
        };
        for _ in 0..if is_alone { 1 } else { world.random.between(2, 3) } {
            world.a_node_comes();
        }
        world
    }

    /// Runs a number of steps, then lets everything come to rest.
    pub(crate) fn run(&mut self, steps: u32) -> Checked {
        // Most stories begin with nodes that have their shards.
        for _ in 0..if self.random.percent(80) { 40 } else { 0 } {
            self.leases_go_on()?;
            self.a_start_goes_on()?;
            self.checked()?;
        }
        for _ in 0..steps {
            self.step()?;
        }
        self.rest()
    }

    pub(crate) fn say(&mut self, what: impl FnOnce() -> String) {
        if self.story == Story::Told {
            self.events.push(format!("{:>5} {} {}", self.stats.steps, self.time, what()));
        }
    }

    pub(crate) fn new_id(&mut self) -> Uuid {
        self.serial += 1;
        Uuid::from_u128(1 << 64 | self.serial)
    }

    pub(crate) fn any_account(&mut self) -> AccountId {
        let ids: Vec<AccountId> = self.disk.truth.keys().copied().collect();
        self.random.pick(&ids).expect("there is an account")
    }

    pub(crate) fn any_owner(&mut self) -> Option<u64> {
        let able = self.owners.iter().filter(|it| !it.is_paused && it.takes_requests());
        let awake: Vec<u64> = able.map(|it| it.id).collect();
        self.random.pick(&awake)
    }

    pub(crate) fn owner(&mut self, id: u64) -> Option<&mut Owner> {
        self.owners.iter_mut().find(|owner| owner.id == id)
    }

    pub(crate) fn is_awake(&self, id: u64) -> bool {
        self.owners.iter().any(|owner| owner.id == id && !owner.is_paused)
    }

    /// The percentage of writes that fail.
    pub(crate) const fn trouble_now(&self) -> i64 {
        if self.is_resting { 0 } else { self.trouble }
    }

    /// The time that a node shows whose clock is neither ahead nor behind.
    pub(crate) fn shown(&self) -> Timestamp {
        self.latest.max(self.time)
    }

    /// The time that a node shows, now that it is looked at.
    pub(crate) fn now_of(&self, id: u64) -> Timestamp {
        let owner = self.owners.iter().find(|owner| owner.id == id);
        self.shown().plus_ms(owner.map_or(0, |owner| owner.ahead_ms))
    }

    /// Runs one event with its immediate consequences, and the checks.
    fn step(&mut self) -> Checked {
        self.stats.steps += 1;
        for _ in 0..8 {
            if self.happens()? {
                break;
            }
        }
        self.checked()
    }

    /// Picks and runs an event. Returns whether it was possible.
    fn happens(&mut self) -> Checked<bool> {
        match self.random.below(1_430) {
            0..262 => self.mail_is_handled(),
            262..270 => Ok(self.act_goes_on()),
            270..510 => Ok(self.journal_goes_on()),
            510..590 => Ok(self.projector_goes_on()),
            600..640 => self.an_account_loads(),
            640..740 => self.request_goes_on(),
            740..790 => Ok(self.request()),
            790..840 => Ok(self.cards_actor_starts() || self.pursuit_goes_on()),
            840..870 | 1_361..1_391 => Ok(self.task_goes_on()),
            870..895 => Ok(self.webhook_arrives()),
            895..930 => Ok(self.someone_acts()),
            930..960 => Ok(self.clocks_go_on()),
            960..970 => Ok(self.a_sweeper_looks()),
            970..980 => self.an_account_ticks(),
            980..1_040 => self.leases_go_on().map(|()| true),
            590..600 | 1_040..1_160 => self.a_start_goes_on(),
            1_160..1_260 => self.a_question_arrives(),
            1_260..1_280 => self.a_question_is_asked_again(),
            1_280..1_360 => self.a_drain_goes_on(),
            1_360 if self.random.percent(40) => Ok(self.the_database_goes_away()),
            1_391..1_402 => self.an_owner_sleeps(),
            _ => self.trouble_comes(),
        }
    }

    fn trouble_comes(&mut self) -> Checked<bool> {
        match self.random.below(30) {
            0..6 => self.an_owner_sleeps(),
            6..8 => Ok(self.a_late_row_arrives()),
            8 if !self.is_alone && self.owners.len() < MOST_OWNERS => {
                self.a_node_comes();
                Ok(true)
            }
            9 if self.random.percent(50) => Ok(self.an_owner_crashes()),
            9 => Ok(self.a_node_leaves()),
            10..13 => Ok(self.an_account_ends()),
            13..16 => self.someone_waits_no_longer(),
            16..19 => self.an_alarm_rings(),
            19 => Ok(self.cards_actor_panics()),
            20 => Ok(self.refunds_are_taken_up()),
            21 => Ok(self.cards_owner_acts()),
            22 => Ok(self.a_journal_dies()),
            23..25 => self.an_account_leaves(),
            25..27 => Ok(self.a_late_group_arrives()),
            _ => Ok(self.late_order_arrives()),
        }
    }

    /// Runs an actor's action at the time of its owner.
    pub(crate) fn act(
        &mut self,
        (owner, account): (u64, AccountId),
        does: impl FnOnce(&mut Actor, &mut Shell<'_>) -> Checked,
    ) -> Checked<bool> {
        self.touched.insert((owner, account));
        let now = moment(self.now_of(owner), self.elapsed);
        let Some(owner) = self.owners.iter_mut().find(|it| it.id == owner) else { return Ok(false) };
        let Owner { id, actors, journal: Journal { mailbox, .. }, running, others, .. } = owner;
        let Some(actor) = actors.get_mut(&account) else { return Ok(false) };
        let (departures, abandoned, mutant) = (&mut self.departures, &mut self.abandoned, self.mutant);
        does(actor, &mut Shell { owner: *id, now, journal: mailbox, running, others, departures, abandoned, mutant })?;
        Ok(true)
    }

    /// Runs an action of a life whose place was taken.
    fn act_of_leaving(
        &mut self,
        owner: u64,
        place: usize,
        does: impl FnOnce(&mut Actor, &mut Shell<'_>) -> Checked,
    ) -> Checked<bool> {
        let now = moment(self.now_of(owner), self.elapsed);
        let Some(owner) = self.owners.iter_mut().find(|it| it.id == owner) else { return Ok(false) };
        let Owner { id, leaving, journal: Journal { mailbox, .. }, running, others, .. } = owner;
        let Some(life) = leaving.get_mut(place) else { return Ok(false) };
        let (departures, abandoned, mutant) = (&mut self.departures, &mut self.abandoned, self.mutant);
        does(life, &mut Shell { owner: *id, now, journal: mailbox, running, others, departures, abandoned, mutant })?;
        if life.has_stopped() {
            let ended = leaving.remove(place).life;
            mailbox.push_back(ForJournal::Ended(ended));
        }
        self.has_ended = true;
        Ok(true)
    }

    fn a_leaving_life_hears(&mut self, owner: u64, place: usize) -> Checked<bool> {
        let mail = self.owner(owner).and_then(|owner| owner.leaving.get_mut(place)?.mailbox.pop_front());
        let Some(mail) = mail else { return Ok(false) };
        self.say(|| format!("owner {owner}: a life that leaves hears {}", mail.brief()));
        self.act_of_leaving(owner, place, |life, shell| life.handle(mail, shell))
    }

    fn actors_that(&self, able: impl Fn(&Actor) -> bool) -> Vec<(u64, AccountId)> {
        let awake = self.owners.iter().filter(|owner| !owner.is_paused);
        awake
            .flat_map(|owner| owner.actors.iter().map(move |(account, actor)| (owner.id, *account, actor)))
            .filter(|(.., actor)| able(actor))
            .map(|(owner, account, _)| (owner, account))
            .collect()
    }

    pub(crate) fn mail_is_handled(&mut self) -> Checked<bool> {
        let able = self.actors_that(|actor| !actor.mailbox.is_empty());
        if able.is_empty() || self.stats.steps.is_multiple_of(3) {
            let awake = self.owners.iter().filter(|owner| !owner.is_paused);
            let mut told =
                awake.filter_map(|it| Some((it.id, it.leaving.iter().position(|life| !life.mailbox.is_empty())?)));
            if let Some((owner, place)) = told.next_back() {
                return self.a_leaving_life_hears(owner, place);
            }
        }
        let Some((owner, account)) = self.random.pick(&able) else { return Ok(false) };
        let mail = self.owner(owner).and_then(|owner| owner.actors.get_mut(&account)?.mailbox.pop_front());
        let Some(mail) = mail else { return Ok(false) };
        self.say(|| format!("owner {owner}: account {} handles {}", account.0.as_u128(), mail.brief()));
        self.act((owner, account), |actor, shell| actor.handle(mail, shell))
    }

    pub(crate) fn an_account_loads(&mut self) -> Checked<bool> {
        let mut able = self.actors_that(|actor| actor.reads_from.is_some() && actor.machine.account().is_none());
        able.retain(|(owner, account)| {
            let owner = self.owners.iter().find(|it| it.id == *owner);
            owner.is_some_and(|it| it.actors[account].reads_from.is_some_and(|mark| it.may_read(mark)))
        });
        let Some((owner, account)) = self.random.pick(&able) else { return Ok(false) };
        let now = self.now_of(owner);
        if !self.is_resting && self.random.percent(5) {
            self.say(|| format!("owner {owner}: account {} could not be loaded", account.0.as_u128()));
            return self.act((owner, account), |actor, shell| actor.loaded(Err("away".to_owned()), shell));
        }
        let loaded = self.disk.tables.rows(account).load(account, now);
        let (seq, durable) = (loaded.header.seq, self.disk.rows(account).header.seq);
        let (shard, epoch) = (self.disk.shard_of(account), self.disk.epoch(self.disk.shard_of(account)));
        let is_owner = self.owners.iter().any(|it| it.id == owner && it.owns(shard) == Some(epoch));
        ensure(!is_owner || seq == durable, MEMORY, || {
            format!("{account} is read at {seq}, and the log is at {durable}")
        })?;
        self.say(|| format!("owner {owner}: account {} is loaded at {}", account.0.as_u128(), loaded.header.seq));
        self.act((owner, account), |actor, shell| actor.loaded(Ok(loaded), shell))
    }

    fn an_account_ticks(&mut self) -> Checked<bool> {
        let able = self.actors_that(|actor| actor.machine.account().is_some());
        let Some(which) = self.random.pick(&able) else { return Ok(false) };
        match self.random.below(10) {
            0 => self.act(which, Actor::is_watched),
            1 => self.act(which, Actor::is_left_alone),
            _ => self.act(which, Actor::tick),
        }
    }

    /// Fires an alarm: a queued request has timed out, or the queue may be tried again.
    pub(crate) fn an_alarm_rings(&mut self) -> Checked<bool> {
        let now = moment(self.time, self.elapsed).elapsed;
        let able = self.actors_that(|actor| actor.next_alarm().is_some_and(|at| at <= now));
        let Some(which) = self.random.pick(&able) else { return Ok(false) };
        self.act(which, Actor::call_line)
    }

    fn a_sweeper_looks(&mut self) -> bool {
        let Some(id) = self.any_owner() else { return false };
        if !self.may_read(id, self.mark_of(id)) {
            return false;
        }
        let now = self.now_of(id);
        let mut due = self.disk.tables.due(now);
        if let Some(owner) = self.owner(id)
            && !std::mem::replace(&mut owner.has_swept, true)
        {
            due.extend(self.disk.tables.unfinished());
        }
        let owner = self.owners.iter().find(|it| it.id == id);
        due.retain(|account| owner.is_some_and(|it| it.owns(self.disk.shard_of(*account)).is_some()));
        self.say(|| format!("owner {id} sweeps {} accounts", due.len()));
        for account in due {
            self.post(id, account, Command::Sweep);
        }
        true
    }

    /// An actor dies of a panic.
    fn an_account_ends(&mut self) -> bool {
        let able = self.actors_that(|_| true);
        let Some((owner, account)) = self.random.pick(&able) else { return false };
        self.say(|| format!("owner {owner}: account {} ends", account.0.as_u128()));
        self.end_actor(owner, account);
        true
    }

    /// An account leaves to another node, and comes back at once: its next life is another one. Or an operator has a new life take
    /// its place here.
    fn an_account_leaves(&mut self) -> Checked<bool> {
        let able = self.actors_that(|actor| !actor.has_stopped());
        let Some(which) = self.random.pick(&able) else { return Ok(false) };
        let succeeds = self.is_alone || self.stats.steps.is_multiple_of(2);
        if succeeds && self.owner(which.0).is_some_and(|owner| owner.succeed(which.1)) {
            self.stats.succeeded += 1;
            self.say(|| format!("owner {}: a new life of account {} takes its place", which.0, which.1.0.as_u128()));
            let last = self.owner(which.0).map_or(0, |owner| owner.leaving.len());
            return self.act_of_leaving(which.0, last.saturating_sub(1), Actor::leaves);
        }
        if self.is_alone {
            return Ok(false);
        }
        self.stats.left += 1;
        self.say(|| format!("owner {}: account {} leaves", which.0, which.1.0.as_u128()));
        self.act(which, Actor::leaves)
    }

    /// Ends an actor, and tells its callers that it is gone.
    pub(crate) fn end_actor(&mut self, owner: u64, account: AccountId) {
        self.has_ended = true;
        let Some(owner) = self.owner(owner) else { return };
        let Some(actor) = owner.actors.remove(&account) else { return };
        owner.journal.mailbox.push_back(ForJournal::Ended(actor.life));
    }

    /// Runs the immediate consequences (departures arrive, failed actors end), then checks the invariants.
    pub(crate) fn checked(&mut self) -> Checked {
        // Before what follows from it.
        self.disk.is_sound()?;
        self.the_unsure_give_up()?;
        for departure in std::mem::take(&mut self.departures) {
            self.departed(departure)?;
        }
        self.none_is_abandoned_alive()?;
        let has_stopped = |(id, account): &&(u64, AccountId)| {
            let owner = self.owners.iter().find(|owner| owner.id == *id);
            owner.and_then(|owner| owner.actors.get(account)).is_some_and(Actor::has_stopped)
        };
        let stopped: Vec<_> = self.touched.iter().filter(has_stopped).copied().collect();
        for (owner, account) in stopped {
            self.say(|| format!("owner {owner}: account {} has ended", account.0.as_u128()));
            self.end_actor(owner, account);
        }
        // Only an account that acts or ends leaves callers without an answer.
        while (self.has_ended || !self.touched.is_empty()) && self.nobody_answers()? {}
        self.has_ended = false;
        self.disk.compare()?;
        for id in std::mem::take(&mut self.disk.dirty) {
            let rows = self.disk.rows(id);
            check::rows(id, rows)?;
            for act in self.acts.values().filter(|act| act.account == id) {
                check::act(rows, act.amount, act.is_told())?;
            }
            let parked =
                |it: &&Request| it.account == id && it.runs() && rows.holds.get(&it.id).is_some_and(|it| it.is_parked);
            let parked = self.requests.values().find(parked).map(|it| it.id);
            ensure(parked.is_none(), PERMITS, || format!("{parked:?} runs, and gave its permit back"))?;
            for (request, charged) in self.told.get(&id).into_iter().flatten() {
                let recorded = rows.charged(*request);
                ensure(recorded == Some(*charged), DURABLE, || {
                    format!("{request} was told to cost {charged}, on disk {recorded:?}")
                })?;
            }
        }
        for (owner, account) in std::mem::take(&mut self.touched) {
            let now = self.now_of(owner);
            let (shard, epoch) = (self.disk.shard_of(account), self.disk.epoch(self.disk.shard_of(account)));
            let is_owner = |it: &&Owner| it.id == owner && it.owns(shard) == Some(epoch);
            let Some(owner) = self.owners.iter().find(is_owner) else { continue };
            let actor = owner.actors.get(&account).filter(|actor| actor.is_settled());
            if let Some(account) = actor.and_then(|actor| actor.machine.account()) {
                account.assert_sound();
                check::memory(account, self.disk.rows(account.id), now)?;
            }
        }
        Ok(())
    }
}
