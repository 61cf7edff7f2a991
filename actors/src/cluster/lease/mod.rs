//! Who owns which shard, as one node decides it: a pure machine of what was read, what became of its own statements, and
//! the monotonic time. It has no thread, no clock and no database; a shell carries its commands out, and the simulation
//! (`tests/cluster`) drives the same code.
//!
//! Leases are about progress and about reads, not about what is written: each append checks the shard's epoch, so that of
//! two nodes which both believe to own a shard the one with the older epoch is refused. What no append guards is what a
//! node answers from memory. So what holds is: **at most one node uses a shard at a time**, by the true time, as long as
//! no clock runs faster or slower than the others by more than the margin allows. It follows from these rules:
//!
//! * A shard is used only while [`Leases::may_use`] says so, which is asked with the time at each use. A process that was
//!   stopped for a while therefore finds that its leases are over before it does anything else.
//! * A lease lasts from when its renewal was *sent*, as nobody knows when it was carried out. It ends, for its owner, a
//!   margin earlier than for others.
//! * What is not known to be renewed is not renewed. A take that is not known to have failed is used only once a
//!   renewal shows that it succeeded.
//! * A take names the row that was seen ([`Command::Take`]): where it was renewed or taken in between, nothing is taken.
//!   It raises the epoch, and all other statements name the epoch: what comes late changes nothing.
//!
//! Each living node gets the same number of shards or one more (`share`). Free shards are taken at once. Shards that
//! one has too many are handed over, by a drain, only to nodes that have been there for a while, and only while no other
//! change is under way: a node that starts again and again moves nothing, and once all is even nothing moves.
//!
//! The monotonic clock must count the time in which the process, or its machine, was stopped.

mod decide;
mod known;
mod rows;
mod share;
mod sight;

use std::{collections::BTreeMap, time::Duration};

use ledger::log::Shard;
use runtime::node::NodeId;

pub use self::known::Known;
pub use self::rows::{Held, Lease, Member, Picture, Rules, Standing};
use self::sight::{Sight, When};

/// How long after the time at which a lease is over it is looked whether it is: clocks have a resolution.
const AFTER: Duration = Duration::from_millis(20);
/// The shortest time between two looks that nobody asked for.
const BETWEEN_LOOKS: Duration = Duration::from_millis(100);

/// The number of a statement, by which its outcome is told.
pub type Statement = u64;

/// What is to be done, in this order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// Stop using a shard now: forget what is in memory, answer nobody from it.
    Stop(Held, Why),
    /// Begin to use a shard: bring its tables up to its log, then serve. What an earlier use left in memory is void.
    Begin(Held),
    /// Take nothing new for a shard, finish what is appended and projected, and say when that is done
    /// ([`Leases::drained`]).
    Drain(Held),
    /// In one transaction: write the heartbeat, unless a later one is there; move the expiry of each of these leases that
    /// is still this node's, in this epoch, to a lease from the database's time; and read all rows.
    Beat {
        /// Told with the outcome; also the heartbeat's number.
        statement: Statement,
        /// What the node says of itself.
        standing: Standing,
        /// What it has.
        keep: Vec<Held>,
    },
    /// Read all rows.
    Look(Statement),
    /// If the row has still that version, make this node the owner, raise the epoch by one, and let the lease last from the
    /// database's time.
    Take(Statement, Lease),
    /// If the shard is still this node's, in this epoch, it is nobody's: and tell the other nodes to look.
    Release(Statement, Held),
}

/// Why a shard may not be used any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Why {
    /// It was not renewed in time. It is used again if it turns out that nobody has taken it.
    NotRenewed,
    /// Another node has it, or it is free.
    Lost,
    /// Its drain took too long.
    DrainedLate,
    /// Its log has a row that this node did not append.
    Intruded,
}

/// The commands of one input.
pub type Commands = Vec<Command>;

/// What a [`Command::Beat`] or a [`Command::Look`] read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Reading {
    /// All rows, after the renewal.
    pub picture: Picture,
    /// The leases that were renewed; none by a look.
    pub renewed: Vec<Held>,
}

/// Nobody knows whether a statement was carried out, or will be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unknown;

/// What became of a [`Command::Take`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Taken {
    /// The shard is this node's, in this epoch.
    Taken(i64),
    /// The row was another.
    Refused,
    /// Nobody knows.
    Unknown,
}

/// How a shard stands that is this node's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// It is not used: it was not renewed in time, or it is not known when its lease began.
    Idle,
    /// It is used.
    Used,
    /// It is used to finish what has begun, until then at the latest.
    Draining(Duration),
    /// It is not used, and a statement that gives it back is under way.
    Releasing {
        /// The statement.
        statement: Statement,
        /// A reading from then on that shows the shard still here says that the statement was not carried out.
        again_at: Duration,
    },
}

#[derive(Debug, Clone, Copy)]
struct Hold {
    epoch: i64,
    /// When the statement was sent that gave it, or showed it.
    since: Duration,
    /// The last statement that was sent before that was known. A reading up to it says nothing of it.
    known: Statement,
    /// When it may not be used any more.
    stop_at: Duration,
    stage: Stage,
}

#[derive(Debug, Clone, Copy)]
struct Asked {
    statement: Statement,
    sent: Duration,
}

/// The leases of one node.
#[derive(Debug)]
pub struct Leases {
    me: NodeId,
    rules: Rules,
    standing: Standing,
    /// Whether it was told to leave, for good.
    is_told_to_leave: bool,
    /// Whether the rows say that it leaves. Until then others leave shards to it.
    is_known_to_leave: bool,
    sight: Sight,
    held: BTreeMap<Shard, Hold>,
    taking: BTreeMap<Shard, Asked>,
    /// The epoch in which a shard was given back last. Rows that were read before say that it is still here.
    given_back: BTreeMap<Shard, i64>,
    /// The reading that is under way.
    reading: Option<Asked>,
    /// The last heartbeat that was sent.
    last_beat: Statement,
    known: Option<Known>,
    statements: Statement,
    beat_at: Duration,
    look_at: Option<Duration>,
}

impl Leases {
    /// A node that has nothing. Its first heartbeat is due at once.
    pub fn new(me: NodeId, rules: Rules, now: Duration) -> Self {
        Self {
            me,
            rules,
            standing: Standing::Serving,
            is_told_to_leave: false,
            is_known_to_leave: false,
            sight: Sight::new(rules),
            held: BTreeMap::new(),
            taking: BTreeMap::new(),
            given_back: BTreeMap::new(),
            reading: None,
            last_beat: 0,
            known: None,
            statements: 0,
            beat_at: now,
            look_at: None,
        }
    }

    /// The epoch in which a shard may be used now, if it may. To be asked at each use: memory that may be stale answers
    /// nobody.
    pub fn may_use(&self, shard: Shard, now: Duration) -> Option<i64> {
        let hold = self.held.get(&shard)?;
        let is_used = matches!(hold.stage, Stage::Used | Stage::Draining(_));
        (is_used && now < hold.stop_at).then_some(hold.epoch)
    }

    /// Who owned a shard when the rows were read last, and in which epoch.
    pub fn owner(&self, shard: Shard) -> Option<(NodeId, i64)> {
        let lease = self.sight.picture()?.leases.iter().find(|lease| lease.shard == shard)?;
        Some((lease.owner?, lease.epoch))
    }

    /// For how long the others have known without a break that this node lives; `None` before its first heartbeat.
    pub const fn known(&self) -> Option<Known> {
        self.known
    }

    /// The rows as they were read last.
    pub fn picture(&self) -> Option<&Picture> {
        self.sight.picture()
    }

    /// What is this node's: how each stands, and until when it may be used.
    pub fn held(&self) -> impl Iterator<Item = (Held, Stage, Duration)> + '_ {
        self.held.iter().map(|(shard, hold)| (Held { shard: *shard, epoch: hold.epoch }, hold.stage, hold.stop_at))
    }

    /// The shards that this node answers for, each until then, of those that are begun. One that is handed over is asked
    /// elsewhere from now on, though it is used to finish what has begun.
    pub fn answers(&self, is_begun: impl Fn(Held) -> bool) -> impl Iterator<Item = (Shard, Duration)> {
        let used = self.held().filter(move |(held, stage, _)| *stage == Stage::Used && is_begun(*held));
        used.map(|(held, _, stop_at)| (held.shard, stop_at))
    }

    /// Whether the node was told to leave, has handed over all, and has said so.
    pub fn has_left(&self) -> bool {
        self.is_told_to_leave && self.is_known_to_leave && self.held.is_empty() && self.taking.is_empty()
    }

    /// When [`Self::tick`] is due next.
    pub fn due(&self) -> Duration {
        let lost = self.taking.values().chain(&self.reading).map(|asked| asked.sent + self.rules.renew);
        let holds = self.held.values().filter_map(|hold| match hold.stage {
            Stage::Used => Some(hold.stop_at),
            Stage::Draining(until) => Some(hold.stop_at.min(until)),
            Stage::Idle | Stage::Releasing { .. } => None,
        });
        let look = self.look_at.filter(|_| self.reading.is_none());
        lost.chain(holds).chain(look).fold(self.beat_at, Duration::min)
    }

    /// Time has passed.
    pub fn tick(&mut self, now: Duration, commands: &mut Commands) {
        self.end_in_time(now, commands);
        let is_lost = |asked: &Asked| now >= asked.sent + self.rules.renew;
        if self.reading.as_ref().is_some_and(is_lost) {
            self.reading = None;
        }
        let before = self.taking.len();
        self.taking.retain(|_, asked| now < asked.sent + self.rules.renew);
        if self.taking.len() < before {
            self.look_at = Some(now);
        }
        self.ask(now, commands);
    }

    /// The rows may have changed, says another node.
    pub fn nudge(&mut self, now: Duration, commands: &mut Commands) {
        self.end_in_time(now, commands);
        self.look_at = Some(now);
        self.ask(now, commands);
    }

    /// The node ends: it hands over all that it has. Where the database is away that has no end; the process then ends in its
    /// own time, and its leases by themselves.
    pub fn leave(&mut self, now: Duration, commands: &mut Commands) {
        self.is_told_to_leave = true;
        self.hand_over_all(now, commands);
    }

    /// The node may own shards, or may not for a while: then it hands over all that it has, as if it ended, and others
    /// leave none to it.
    pub fn may_own(&mut self, may: bool, now: Duration, commands: &mut Commands) {
        match (may, self.standing) {
            (false, Standing::Serving) => self.hand_over_all(now, commands),
            (true, Standing::Leaving) if !self.is_told_to_leave => {
                self.end_in_time(now, commands);
                (self.standing, self.reading, self.beat_at) = (Standing::Serving, None, now);
                self.ask(now, commands);
            }
            (true, Standing::Leaving | Standing::Serving) | (false, Standing::Leaving) => {}
        }
    }

    fn hand_over_all(&mut self, now: Duration, commands: &mut Commands) {
        self.end_in_time(now, commands);
        self.standing = Standing::Leaving;
        let shards: Vec<Shard> = self.held.keys().copied().collect();
        for shard in shards {
            self.hand_over(shard, now, commands);
        }
        // The others are to know before the first shard is free: a reading that is under way does not matter any more.
        (self.reading, self.beat_at) = (None, now);
        self.ask(now, commands);
    }

    /// A drain is done.
    pub fn drained(&mut self, held: Held, now: Duration, commands: &mut Commands) {
        self.end_in_time(now, commands);
        let is_drained = |hold: &Hold| hold.epoch == held.epoch && matches!(hold.stage, Stage::Draining(_));
        if self.held.get(&held.shard).is_some_and(is_drained) {
            self.release(held.shard, now, commands);
        }
    }

    /// The log of a shard that this node has in this epoch has a row of somebody else: another node has taken the shard, and
    /// the rows will say so, or two processes have one lease. It is given back: who takes it next raises the epoch, and
    /// neither of the two appends anything more.
    pub fn intruded(&mut self, held: Held, now: Duration, commands: &mut Commands) {
        self.end_in_time(now, commands);
        let hold = self.held.get(&held.shard).filter(|hold| hold.epoch == held.epoch);
        match hold.map(|hold| hold.stage) {
            Some(Stage::Used | Stage::Draining(_)) => commands.push(Command::Stop(held, Why::Intruded)),
            Some(Stage::Idle) => {}
            Some(Stage::Releasing { .. }) | None => return,
        }
        self.release(held.shard, now, commands);
        self.ask(now, commands);
    }

    /// What became of a take.
    pub fn took(&mut self, statement: Statement, shard: Shard, taken: Taken, now: Duration, commands: &mut Commands) {
        self.end_in_time(now, commands);
        let Some(asked) = self.taking.get(&shard).copied().filter(|asked| asked.statement == statement) else { return };
        self.taking.remove(&shard);
        if let Taken::Taken(epoch) = taken {
            let stop_at = self.until(asked.sent);
            self.held
                .insert(shard, Hold { epoch, since: asked.sent, known: self.statements, stop_at, stage: Stage::Idle });
            self.begin_or_release(shard, now, commands);
        } else {
            self.look_at = Some(now);
        }
        self.ask(now, commands);
    }

    /// What became of a release.
    pub fn released(
        &mut self,
        statement: Statement,
        shard: Shard,
        released: Result<(), Unknown>,
        now: Duration,
        commands: &mut Commands,
    ) {
        self.end_in_time(now, commands);
        let stage = self.held.get_mut(&shard).map(|hold| &mut hold.stage);
        if let Some(Stage::Releasing { statement: own, again_at }) = stage
            && *own == statement
        {
            self.look_at = Some(now);
            if released.is_err() {
                // The rows show whether it is to be given back once more.
                *again_at = now;
            } else if let Some(hold) = self.held.remove(&shard) {
                // What else there is to hand over is seen by the rows.
                self.given_back.insert(shard, hold.epoch);
            }
        }
        self.ask(now, commands);
    }

    /// What became of a heartbeat or a look.
    pub fn read(
        &mut self,
        statement: Statement,
        reading: Result<&Reading, Unknown>,
        now: Duration,
        commands: &mut Commands,
    ) {
        self.end_in_time(now, commands);
        let Some(asked) = self.reading.filter(|asked| asked.statement == statement) else { return };
        self.reading = None;
        match reading {
            Ok(reading) => {
                let when = When { sent: asked.sent, received: now };
                if statement == self.last_beat {
                    self.known = Some(Known::after(self.known, when, &self.rules));
                }
                let has_said = |member: &Member| member.node == self.me && member.standing == Standing::Leaving;
                self.is_known_to_leave = reading.picture.members.iter().any(has_said);
                self.sight.see(&reading.picture, when);
                // A look that was asked for since is still due: what it is to show may be newer.
                self.look_at = self.look_at.or_else(|| self.next_look(now));
                self.renewed(&reading.renewed, when, commands);
                self.compare(&reading.picture, statement, when, commands);
                if self.standing == Standing::Serving {
                    self.take_free(now, commands);
                    self.hand_over_too_many(now, commands);
                }
            }
            Err(Unknown) => self.beat_at = self.beat_at.min(now + self.rules.renew / 6),
        }
        self.ask(now, commands);
    }

    /// Until when a shard may be used whose lease began with a statement that was sent then.
    fn until(&self, sent: Duration) -> Duration {
        sent + self.rules.lease.saturating_sub(self.rules.margin)
    }

    fn number(&mut self) -> Statement {
        self.statements += 1;
        self.statements
    }

    /// Sends what is due to be read. A heartbeat waits for no look.
    fn ask(&mut self, now: Duration, commands: &mut Commands) {
        if now >= self.beat_at {
            let is_kept = |hold: &Hold| !matches!(hold.stage, Stage::Releasing { .. });
            let kept = self.held.iter().filter(|(_, hold)| is_kept(hold));
            let keep = kept.map(|(shard, hold)| Held { shard: *shard, epoch: hold.epoch }).collect();
            let statement = self.number();
            self.last_beat = statement;
            commands.push(Command::Beat { statement, standing: self.standing, keep });
            self.reading = Some(Asked { statement, sent: now });
            self.beat_at = now + self.rules.renew;
            self.look_at = None;
        } else if self.reading.is_none() && self.look_at.is_some_and(|at| now >= at) {
            let statement = self.number();
            commands.push(Command::Look(statement));
            self.reading = Some(Asked { statement, sent: now });
            self.look_at = None;
        }
    }
}
