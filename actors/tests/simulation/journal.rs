//! The journal of an owner: the product's protocol, the ends of the logs as the owner knows them, and the batch that is on
//! its way to the logs. It refuses what may not become a part of a log, appends one row of each shard a batch, and repeats
//! them until their fate is known. Only then it reports to the accounts, and hands the rows to the projector. It stands in
//! for the product's writer, which is a thread: the order of its steps is the same.

use std::collections::{HashMap, HashSet, VecDeque};

use actors::{
    cluster::lease::Held,
    journal::protocol::{Incarnation, Pending, Protocol, Report, Step},
};
use billing::{Timestamp, entry::Transition, ids::AccountId, soundness};
use ledger::{
    claims::{self, Claims},
    log::{
        Row, Shard, Shards, body,
        tail::{Tail, Tails},
    },
    project::Logged,
};

use crate::{
    account::Mail,
    check::FENCED,
    disk::Disk,
    luck::{Commit, Luck},
    mutants::Mutant,
    owner::Owner,
    projector::Appended,
    tables::{Tables, logged},
    world::World,
};

/// One life of an account's actor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Life {
    pub(crate) account: AccountId,
    pub(crate) incarnation: Incarnation,
}

/// A message in the journal's mailbox.
pub(crate) enum ForJournal {
    Append(Box<Pending<Life>>),
    Open(Life),
    Ended(Life),
}

/// The accounts whose transitions are not durable, or not known to be, each with the reason.
type Failed = HashMap<AccountId, String>;

/// A change of what the journal owns. It is carried out between two batches.
pub(crate) enum Order {
    Own(Tail),
    Disown(Shard),
}

/// A batch: a row of each shard, and the transitions that it carries.
struct Batch {
    rows: Vec<Row>,
    transitions: Vec<Vec<Transition>>,
    /// What was refused of it before.
    failed: Failed,
    /// Whether an earlier try may have appended the row.
    is_unknown: bool,
}

/// The answer to an append.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Answer {
    /// All rows are in their logs but those of these shards, which have a newer owner.
    Appended(Vec<Shard>),
    /// The rows may be in their logs, or may still come into them.
    Unknown,
    /// This try changed nothing: a full disk.
    NotAppended,
}

/// What the journal's thread has taken from its queue.
enum Taken {
    Opened,
    /// A batch whose names could not be looked up.
    Unread,
    Batch {
        count: usize,
        /// Why parts of it were refused.
        refused: Vec<String>,
    },
}

/// A batch on its way to the log and back.
enum Writing {
    Sent(Batch),
    Answered(Batch, Answer),
    Done(Failed),
}

pub(crate) struct Journal {
    protocol: Protocol<Life, Life>,
    pub(crate) mailbox: VecDeque<ForJournal>,
    writing: Option<Writing>,
    tails: Tails,
    /// What the leases have ordered.
    pub(crate) orders: Vec<Order>,
    claims: Claims,
    /// Whether a mutant has reported the batch.
    has_answered: bool,
    mutant: Option<Mutant>,
}

impl Journal {
    /// The journal of a node that owns nothing yet.
    pub(crate) fn new(shards: Shards, mutant: Option<Mutant>) -> Self {
        Self {
            protocol: Protocol::default(),
            mailbox: VecDeque::new(),
            writing: None,
            tails: Tails::new(shards, []),
            orders: Vec::new(),
            claims: Claims::default(),
            has_answered: false,
            mutant,
        }
    }

    /// The number of accounts that the journal remembers.
    pub(crate) fn remembers(&self) -> usize {
        self.protocol.known()
    }

    /// Whether an earlier try of what it appends may have succeeded.
    fn is_unsure(&self) -> bool {
        matches!(&self.writing, Some(Writing::Sent(batch)) if batch.is_unknown)
    }

    /// Whether it has something to append.
    pub(crate) fn is_busy(&self) -> bool {
        self.writing.is_some() || !self.protocol.is_idle() || !self.mailbox.is_empty()
    }

    /// The rows that are still on their way when the process dies.
    pub(crate) fn is_left(&mut self) -> Option<Vec<Row>> {
        match self.writing.take() {
            Some(Writing::Sent(batch)) => Some(batch.rows),
            Some(Writing::Answered(..) | Writing::Done(_)) | None => None,
        }
    }

    const fn is_sending(&self) -> bool {
        matches!(self.writing, Some(Writing::Sent(_)))
    }

    pub(crate) fn is(&self, mutant: Mutant) -> bool {
        self.mutant == Some(mutant)
    }

    /// A mutant puts each shard's transitions into another one's row.
    fn mixes(&self, rows: &mut [Row], transitions: &[Vec<Transition>], now: Timestamp) {
        for (place, row) in rows.iter_mut().enumerate() {
            if let Some(tail) = self.tails.of(row.shard) {
                *row = tail.next(&transitions[(place + 1) % transitions.len()], now);
            }
        }
    }

    /// The accounts whose transitions may not become a part of a log. `place` is how far the tables are.
    fn refused(&mut self, batch: &[Transition], tables: &Tables, place: u64) -> Failed {
        if self.is(Mutant::ClaimsForgotten) {
            self.claims = Claims::default();
        }
        self.claims.forget(place);
        let tabled: HashSet<_> = batch.iter().flat_map(claims::of).filter(|claim| tables.is_claimed(claim)).collect();
        let mut refused = claims::refused(batch, &self.claims, &tabled);
        if self.is(Mutant::FaultsLogged) {
            refused.retain(|account, _| {
                batch.iter().filter(|it| it.account_id == *account).all(|it| soundness::fault(it).is_none())
            });
        }
        refused
    }
}

impl Owner {
    /// The journal's actor handles one message.
    pub(crate) fn journal_handles(&mut self) -> bool {
        let protocol = &mut self.journal.protocol;
        match self.journal.mailbox.pop_front() {
            None => return false,
            Some(ForJournal::Open(life)) => protocol.open(life.account, life.incarnation, life),
            Some(ForJournal::Ended(life)) => protocol.ended(life.account, life.incarnation),
            Some(ForJournal::Append(entry)) => {
                if let Err(sender) = protocol.push(*entry) {
                    self.tell(sender, Err("from an earlier life".to_owned()));
                }
            }
        }
        true
    }

    fn carries_out_orders(&mut self) {
        for order in std::mem::take(&mut self.journal.orders) {
            match order {
                Order::Own(tail) => self.journal.tails.own(tail),
                Order::Disown(shard) => self.journal.tails.disown(shard),
            }
        }
    }

    /// The journal's thread takes its next batch, if there is one, and makes its rows.
    fn journal_steps(&mut self, tables: &Tables, now: Timestamp, luck: &mut Luck<'_>) -> Option<Taken> {
        if self.journal.writing.is_some() {
            return None;
        }
        self.carries_out_orders();
        let mut batch = match self.journal.protocol.next_step()? {
            Step::Write(batch) => batch,
            Step::Open(lives) => {
                self.opened(&lives);
                return Some(Taken::Opened);
            }
        };
        if luck.strikes(8) {
            self.journal.writing = Some(Writing::Done(all(&batch, "the tables can't be read")));
            return Some(Taken::Unread);
        }
        luck.distort(&mut batch);
        let mut failed = self.journal.refused(&batch, tables, self.progress.place());
        batch.retain(|transition| !failed.contains_key(&transition.account_id));
        let taken = Taken::Batch { count: batch.len(), refused: failed.values().cloned().collect() };
        let (batches, not_owned) = self.journal.tails.next(batch, now);
        failed.extend(all(&not_owned, "fenced"));
        let (mut rows, transitions): (Vec<_>, Vec<_>) = batches.into_iter().unzip();
        if self.journal.is(Mutant::ShardsMixed) && rows.len() > 1 {
            self.journal.mixes(&mut rows, &transitions, now);
        }
        self.journal.writing = Some(if rows.is_empty() {
            Writing::Done(failed)
        } else {
            Writing::Sent(Batch { rows, transitions, failed, is_unknown: false })
        });
        self.acts_before_the_log();
        Some(taken)
    }

    /// Mutants that do not wait for the log.
    fn acts_before_the_log(&mut self) {
        let Some(Writing::Sent(Batch { rows, transitions, .. })) = &self.journal.writing else { return };
        if self.journal.is(Mutant::ProjectBeforeLog) {
            let rows = rows.iter().zip(transitions).map(|(row, its)| logged(row, its.clone())).collect();
            self.projector.queue.push_back(Appended { number: self.progress.last(), rows });
        }
        if self.journal.is(Mutant::AnswerBeforeLog) {
            let told = self.journal.protocol.written(&Failed::new());
            self.journal.has_answered = true;
            self.report(told);
        }
    }

    /// The rows on their way arrive at their logs. The answer may be lost, they may come later or never, and the disk may be
    /// full. Returns the answer, and rows that are still on their way.
    fn batch_arrives(&mut self, disk: &mut Disk, luck: &mut Luck<'_>) -> Option<(Answer, Option<Vec<Row>>)> {
        let writing = &mut self.journal.writing;
        let Some(Writing::Sent(batch)) = writing.take_if(|it| matches!(it, Writing::Sent(_))) else { return None };
        let mut append = || Answer::Appended(disk.append_all(&batch.rows));
        let mut late = None;
        let answer = match luck.of_a_commit() {
            Commit::Done => append(),
            Commit::DoneUnheard => {
                append();
                Answer::Unknown
            }
            Commit::Late => {
                late = Some(batch.rows.clone());
                Answer::Unknown
            }
            Commit::Lost => Answer::Unknown,
            Commit::Refused => Answer::NotAppended,
        };
        self.journal.writing = Some(Writing::Answered(batch, answer.clone()));
        Some((answer, late))
    }

    /// The journal's thread hears how its rows fared.
    pub(crate) fn batch_is_heard(&mut self) -> Option<&'static str> {
        let writing = &mut self.journal.writing;
        let answered = writing.take_if(|it| matches!(it, Writing::Answered(..)));
        let Some(Writing::Answered(mut batch, answer)) = answered else { return None };
        let is_final = !batch.is_unknown || self.journal.is(Mutant::UnknownForgotten);
        let (next, said) = match answer {
            Answer::Appended(lost) if lost.is_empty() => (self.is_appended(batch, &lost), "has its rows in the logs"),
            Answer::Appended(lost) => (self.is_appended(batch, &lost), "is fenced"),
            Answer::Unknown if self.journal.is(Mutant::UnknownIsDurable) => (self.is_appended(batch, &[]), "believes"),
            // The same rows again, until their fate is known. What a later try says of itself says nothing of an earlier
            // one.
            Answer::NotAppended if is_final => (fails(batch, "the disk is full"), "has no room for its rows"),
            Answer::Unknown | Answer::NotAppended => {
                batch.is_unknown = true;
                (Writing::Sent(batch), "does not know, and sends its rows again")
            }
        };
        self.journal.writing = Some(next);
        Some(said)
    }

    /// Goes on after a batch whose fate is known: the rows of these shards are not in their logs.
    fn is_appended(&mut self, Batch { rows, transitions, mut failed, .. }: Batch, lost: &[Shard]) -> Writing {
        self.has_lost(lost);
        let mut appended = Vec::new();
        for (row, transitions) in rows.iter().zip(transitions) {
            if lost.contains(&row.shard) && !self.journal.is(Mutant::LossUnheard) {
                failed.extend(all(&transitions, "fenced"));
            }
            if !lost.contains(&row.shard) {
                appended.push(logged(row, transitions));
            }
        }
        self.goes_on_after(appended);
        Writing::Done(failed)
    }

    /// Other nodes own these shards now: the leases are to hear of that.
    fn has_lost(&mut self, lost: &[Shard]) {
        for shard in lost {
            if let Some(tail) = self.journal.tails.of(*shard) {
                self.lost.push(Held { shard: *shard, epoch: tail.epoch });
            }
            self.journal.tails.disown(*shard);
        }
    }

    /// Goes on after rows that are in their logs: everything that the owner knows of them precedes every report of them.
    fn goes_on_after(&mut self, rows: Vec<Logged>) {
        let (number, Journal { tails, claims, .. }) = (self.progress.last() + 1, &mut self.journal);
        for row in &rows {
            tails.advance(row.shard, row.head());
            claims.take(number, &row.transitions);
        }
        self.progress.appended(number);
        if self.journal.is(Mutant::ProjectBeforeLog) {
            self.progress.projected(number);
        } else {
            self.projector.queue.push_back(Appended { number, rows });
        }
    }

    /// Reports the batch's fate to the protocol, and to the senders.
    pub(crate) fn batch_is_reported(&mut self) -> bool {
        let writing = &mut self.journal.writing;
        let Some(Writing::Done(failed)) = writing.take_if(|it| matches!(it, Writing::Done(_))) else { return false };
        if !std::mem::take(&mut self.journal.has_answered) {
            let told = self.journal.protocol.written(&failed);
            self.report(told);
        }
        true
    }

    /// The journal's thread dies of a panic where its rows' fate is known, or before it has sent any, and lives
    /// again. It takes over its own rows that are in the logs. A log that has those of a newer owner is lost.
    fn journal_dies(&mut self, disk: &Disk) -> bool {
        let is_known = |it: &mut Writing| match it {
            Writing::Answered(_, Answer::Appended(_)) | Writing::Done(_) => true,
            Writing::Answered(batch, Answer::NotAppended) => !batch.is_unknown,
            Writing::Answered(_, Answer::Unknown) | Writing::Sent(_) => false,
        };
        if self.journal.writing.take_if(is_known).is_none() {
            return false;
        }
        for Tail { shard, head, epoch } in self.journal.tails.all() {
            let rows = disk.log(shard).after(head.seq, usize::MAX);
            if rows.iter().any(|row| row.epoch != epoch) {
                self.has_lost(&[shard]);
                continue;
            }
            for row in rows {
                if let Ok(body::Body::Transitions(transitions)) = body::decode(&row.body) {
                    self.goes_on_after(vec![logged(&row, transitions)]);
                }
            }
        }
        let told = self.journal.protocol.interrupted("the journal died");
        self.report(told);
        true
    }

    fn report(&mut self, mut told: Report<Life, Life>) {
        // The protocol's order comes from a hash map, so it is made deterministic here.
        told.senders.sort_by_key(|(life, _)| *life);
        for (life, result) in told.senders {
            self.tell(life, result);
        }
        self.opened(&told.opened);
    }

    fn tell(&mut self, life: Life, result: Result<u64, String>) {
        let is_deaf = self.journal.is(Mutant::PredecessorUntold);
        let leaving = self.leaving.iter_mut().filter(|_| !is_deaf);
        // An actor that ended meanwhile gets no report.
        if let Some(actor) = self.actors.values_mut().chain(leaving).find(|actor| actor.life == life) {
            actor.mailbox.push_back(Mail::Committed(result));
        }
    }

    fn opened(&mut self, lives: &[Life]) {
        let mark = self.mark();
        for life in lives {
            if life.account.0.is_nil() {
                self.has_decided(*life);
                continue;
            }
            if let Some(actor) = self.actors.get_mut(&life.account).filter(|actor| actor.life == *life) {
                actor.reads_from = Some(mark);
            }
        }
    }
}

fn all(batch: &[Transition], why: &str) -> Failed {
    batch.iter().map(|transition| (transition.account_id, why.to_owned())).collect()
}

fn fails(batch: Batch, why: &str) -> Writing {
    let Batch { transitions, mut failed, .. } = batch;
    failed.extend(all(&transitions.concat(), why));
    Writing::Done(failed)
}

impl World {
    /// Advances the journal's mailbox, its thread, or its row on the way to the log and back.
    pub(crate) fn journal_goes_on(&mut self) -> bool {
        // Rows that were sent arrive even if their owner sleeps.
        let sending = self.owners.iter().filter(|owner| owner.journal.is_sending());
        let sending: Vec<u64> = sending.map(|owner| owner.id).collect();
        if self.random.percent(30)
            && let Some(id) = self.random.pick(&sending)
        {
            return self.a_batch_arrives(id);
        }
        let busy = self.owners.iter().filter(|owner| !owner.is_paused && owner.journal.is_busy());
        let busy: Vec<u64> = busy.map(|owner| owner.id).collect();
        let Some(id) = self.random.pick(&busy) else { return false };
        match self.random.below(3) {
            0 => {
                let most = self.random.between(1, 6);
                (0..most).filter(|_| self.owner(id).is_some_and(Owner::journal_handles)).count() > 0
            }
            1 => self.a_batch_is_taken(id),
            _ => self.a_batch_is_heard(id) || self.owner(id).is_some_and(Owner::batch_is_reported),
        }
    }

    pub(crate) fn a_batch_is_taken(&mut self, id: u64) -> bool {
        let now = self.now_of(id);
        let trouble = self.trouble_now();
        let mut luck = Luck { random: &mut self.random, trouble, mutant: self.mutant };
        let Some(owner) = self.owners.iter_mut().find(|it| it.id == id) else { return false };
        let Some(taken) = owner.journal_steps(&self.disk.tables, now, &mut luck) else { return false };
        self.stats.refused += u64::from(matches!(&taken, Taken::Batch { refused, .. } if !refused.is_empty()));
        self.say(|| match taken {
            Taken::Opened => format!("owner {id}: the journal opens accounts"),
            Taken::Unread => format!("owner {id}: the journal can't look up the names of a batch"),
            Taken::Batch { count, refused } => {
                format!("owner {id}: the journal sends a batch of {count}, refused {refused:?}")
            }
        });
        true
    }

    pub(crate) fn a_batch_arrives(&mut self, id: u64) -> bool {
        if self.is_down() {
            return false;
        }
        let Some(owner) = self.owners.iter_mut().find(|it| it.id == id) else { return false };
        // Troubles come together.
        let trouble = if self.is_resting { 0 } else { self.trouble * if owner.journal.is_unsure() { 3 } else { 1 } };
        let mut luck = Luck { random: &mut self.random, trouble, mutant: self.mutant };
        let Some((answer, late)) = owner.batch_arrives(&mut self.disk, &mut luck) else { return false };
        self.late_rows.extend(late);
        self.stats.fenced += u64::from(matches!(&answer, Answer::Appended(lost) if !lost.is_empty()));
        self.stats.lost += u64::from(answer == Answer::Unknown);
        let ends: Vec<u64> = self.disk.shards.all().map(|shard| self.disk.end(shard)).collect();
        self.say(|| format!("owner {id}: the journal's rows are {answer:?}, and the logs are at rows {ends:?}"));
        true
    }

    pub(crate) fn a_batch_is_heard(&mut self, id: u64) -> bool {
        let Some(owner) = self.owners.iter_mut().find(|it| it.id == id) else { return false };
        let before = owner.lost.len();
        let Some(said) = owner.batch_is_heard() else { return false };
        let lost = owner.lost[before..].to_vec();
        if let Some(held) = lost.iter().find(|held| self.disk.epoch(held.shard) == held.epoch) {
            self.disk.breaks(FENCED, format!("owner {id} is the newest of {held:?}"));
        }
        self.say(|| format!("owner {id} {said}: {lost:?}"));
        true
    }

    /// Rows arrive that nobody waits for any more.
    pub(crate) fn a_late_row_arrives(&mut self) -> bool {
        if self.is_down() {
            return false;
        }
        let Some(rows) = self.late_rows.pop() else { return false };
        let lost = self.disk.append_all(&rows);
        let rows: Vec<_> = rows.iter().map(|row| (row.shard.0, row.seq, row.epoch)).collect();
        self.say(|| format!("rows {rows:?} arrive late, but for {lost:?}"));
        true
    }

    pub(crate) fn a_journal_dies(&mut self) -> bool {
        let Some(id) = self.any_owner() else { return false };
        let Some(owner) = self.owners.iter_mut().find(|it| it.id == id) else { return false };
        let is_dead = owner.journal_dies(&self.disk);
        if is_dead {
            self.stats.journals += 1;
            self.say(|| format!("owner {id}: the journal dies and lives again"));
        }
        is_dead
    }
}
