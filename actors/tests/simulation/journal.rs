//! The journal of an owner: the product's protocol, the end of the log as the owner knows it, and the batch that is on
//! its way to the log. It refuses what may not become a part of the log, appends one row a batch, and repeats it until
//! its fate is known. Only then it reports to the accounts, and hands the row to the projector. It stands in for the
//! product's writer, which is a thread: the order of its steps is the same.

use std::collections::{HashMap, HashSet, VecDeque};

use actors::journal::protocol::{Incarnation, Pending, Protocol, Report, Step};
use billing::{Timestamp, entry::Transition, ids::AccountId, soundness};
use ledger::{
    claims::{self, Claims},
    log::{Head, Row, Shard, body, tail::Tail},
    project::Logged,
};

use crate::{
    account::Mail,
    check::FENCED,
    disk::Disk,
    luck::{Commit, Luck},
    mutants::Mutant,
    owner::Owner,
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

/// A batch, and the row that carries it.
struct Batch {
    row: Row,
    transitions: Vec<Transition>,
    /// What was refused of it before.
    failed: Failed,
    /// Whether an earlier try may have appended the row.
    is_unknown: bool,
}

/// The answer to an append.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Answer {
    Appended,
    /// The row may be in the log, or may still come into it.
    Unknown,
    /// This try changed nothing: a full disk.
    NotAppended,
    Fenced,
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
    tail: Tail,
    claims: Claims,
    /// Whether a mutant has reported the batch.
    has_answered: bool,
    mutant: Option<Mutant>,
}

impl Journal {
    /// The journal of an owner that has the log up to `head`.
    pub(crate) fn new(head: Head, epoch: i64, mutant: Option<Mutant>) -> Self {
        Self {
            protocol: Protocol::default(),
            mailbox: VecDeque::new(),
            writing: None,
            tail: Tail { shard: Shard::FIRST, head, epoch },
            claims: Claims::default(),
            has_answered: false,
            mutant,
        }
    }

    /// The number of accounts that the journal remembers.
    pub(crate) fn remembers(&self) -> usize {
        self.protocol.known()
    }

    /// The row that is still on its way when the process dies.
    pub(crate) fn is_left(&mut self) -> Option<Row> {
        match self.writing.take() {
            Some(Writing::Sent(batch)) => Some(batch.row),
            Some(Writing::Answered(..) | Writing::Done(_)) | None => None,
        }
    }

    const fn is_sending(&self) -> bool {
        matches!(self.writing, Some(Writing::Sent(_)))
    }

    pub(crate) fn is(&self, mutant: Mutant) -> bool {
        self.mutant == Some(mutant)
    }

    /// The accounts whose transitions may not become a part of the log. `place` is how far the tables are.
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

    /// The journal's thread takes its next batch, if there is one, and makes its row.
    fn journal_steps(&mut self, tables: &Tables, now: Timestamp, luck: &mut Luck<'_>) -> Option<Taken> {
        if self.journal.writing.is_some() {
            return None;
        }
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
        let failed = self.journal.refused(&batch, tables, self.progress.place());
        batch.retain(|transition| !failed.contains_key(&transition.account_id));
        let taken = Taken::Batch { count: batch.len(), refused: failed.values().cloned().collect() };
        self.journal.writing = Some(if batch.is_empty() {
            Writing::Done(failed)
        } else {
            let row = self.journal.tail.next(&batch, now);
            Writing::Sent(Batch { row, transitions: batch, failed, is_unknown: false })
        });
        self.acts_before_the_log();
        Some(taken)
    }

    /// Mutants that do not wait for the log.
    fn acts_before_the_log(&mut self) {
        let Some(Writing::Sent(Batch { row, transitions, .. })) = &self.journal.writing else { return };
        if self.journal.is(Mutant::ProjectBeforeLog) {
            self.projector.queue.push_back(logged(row, transitions.clone()));
        }
        if self.journal.is(Mutant::AnswerBeforeLog) {
            let told = self.journal.protocol.written(&Failed::new());
            self.journal.has_answered = true;
            self.report(told);
        }
    }

    /// The row on its way arrives at the log. Its answer may be lost, it may come later or never, and the disk may be
    /// full. Returns the answer, and a row that is still on its way.
    fn batch_arrives(&mut self, disk: &mut Disk, luck: &mut Luck<'_>) -> Option<(Answer, Option<Row>)> {
        let writing = &mut self.journal.writing;
        let Some(Writing::Sent(batch)) = writing.take_if(|it| matches!(it, Writing::Sent(_))) else { return None };
        let mut append = || disk.append(&batch.row).map_or(Answer::Fenced, |()| Answer::Appended);
        let mut late = None;
        let answer = match luck.of_a_commit() {
            Commit::Done => append(),
            Commit::DoneUnheard => {
                append();
                Answer::Unknown
            }
            Commit::Late => {
                late = Some(batch.row.clone());
                Answer::Unknown
            }
            Commit::Lost => Answer::Unknown,
            Commit::Refused => Answer::NotAppended,
        };
        self.journal.writing = Some(Writing::Answered(batch, answer));
        Some((answer, late))
    }

    /// The journal's thread hears how its row fared.
    pub(crate) fn batch_is_heard(&mut self) -> Option<&'static str> {
        let writing = &mut self.journal.writing;
        let answered = writing.take_if(|it| matches!(it, Writing::Answered(..)));
        let Some(Writing::Answered(mut batch, answer)) = answered else { return None };
        let is_final = !batch.is_unknown || self.journal.is(Mutant::UnknownForgotten);
        let (next, said) = match answer {
            Answer::Appended => (self.is_appended(batch), "has its row in the log"),
            Answer::Unknown if self.journal.is(Mutant::UnknownIsDurable) => (self.is_appended(batch), "believes"),
            // The same row again, until its fate is known. What a later try says of itself says nothing of an earlier
            // one.
            Answer::NotAppended if is_final => (fails(batch, "the disk is full"), "has no room for its row"),
            Answer::Unknown | Answer::NotAppended => {
                batch.is_unknown = true;
                (Writing::Sent(batch), "does not know, and sends its row again")
            }
            Answer::Fenced => {
                self.is_fenced = true;
                (fails(batch, "fenced"), "is fenced")
            }
        };
        self.journal.writing = Some(next);
        Some(said)
    }

    fn is_appended(&mut self, batch: Batch) -> Writing {
        self.goes_on_after(logged(&batch.row, batch.transitions));
        Writing::Done(batch.failed)
    }

    /// Goes on after a row that is in the log: everything that the owner knows of it precedes every report of it.
    fn goes_on_after(&mut self, row: Logged) {
        let Journal { tail, claims, .. } = &mut self.journal;
        tail.head = Head { seq: row.seq, hash: row.hash };
        claims.take(row.seq, &row.transitions);
        self.progress.appended(row.seq);
        if !self.journal.is(Mutant::ProjectBeforeLog) {
            self.projector.queue.push_back(row);
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

    /// The journal's thread dies of a panic where its row's fate is known, or before it has sent one, and lives
    /// again. It takes over its own rows that are in the log. Those of a newer owner are not its own.
    fn journal_dies(&mut self, disk: &Disk) -> bool {
        let is_known = |it: &mut Writing| match it {
            Writing::Answered(_, Answer::Appended | Answer::Fenced) | Writing::Done(_) => true,
            Writing::Answered(batch, Answer::NotAppended) => !batch.is_unknown,
            Writing::Answered(_, Answer::Unknown) | Writing::Sent(_) => false,
        };
        if self.journal.writing.take_if(is_known).is_none() {
            return false;
        }
        let epoch = self.epoch;
        let own = |row: &Row| row.epoch == epoch;
        for row in disk.log.after(self.journal.tail.head.seq, usize::MAX).into_iter().take_while(own) {
            if let Ok(body::Body::Transitions(transitions)) = body::decode(&row.body) {
                self.goes_on_after(logged(&row, transitions));
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
    failed.extend(all(&transitions, why));
    Writing::Done(failed)
}

impl World {
    /// Advances the journal's mailbox, its thread, or its row on the way to the log and back.
    pub(crate) fn journal_goes_on(&mut self) -> bool {
        // A row that was sent arrives even if its owner sleeps.
        let sending = self.owners.iter().filter(|owner| owner.journal.is_sending());
        let sending: Vec<u64> = sending.map(|owner| owner.id).collect();
        if self.random.percent(30)
            && let Some(id) = self.random.pick(&sending)
        {
            return self.a_batch_arrives(id);
        }
        let Some(id) = self.any_owner() else { return false };
        match self.random.below(3) {
            0 => self.owner(id).is_some_and(Owner::journal_handles),
            1 => self.a_batch_is_taken(id),
            _ => self.a_batch_is_heard(id) || self.owner(id).is_some_and(Owner::batch_is_reported),
        }
    }

    pub(crate) fn a_batch_is_taken(&mut self, id: u64) -> bool {
        let now = self.now_of(id);
        let trouble = self.trouble_now();
        let mut luck = Luck { random: &mut self.random, trouble, mutant: self.mutant };
        let Some(owner) = self.owners.iter_mut().find(|it| it.id == id && it.is_serving()) else { return false };
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
        let trouble = self.trouble_now();
        let mut luck = Luck { random: &mut self.random, trouble, mutant: self.mutant };
        let Some(owner) = self.owners.iter_mut().find(|it| it.id == id) else { return false };
        let Some((answer, late)) = owner.batch_arrives(&mut self.disk, &mut luck) else { return false };
        self.late_rows.extend(late);
        self.stats.fenced += u64::from(answer == Answer::Fenced);
        self.stats.lost += u64::from(answer == Answer::Unknown);
        let head = self.disk.log.head().map_or(0, |head| head.seq);
        self.say(|| format!("owner {id}: the journal's row is {answer:?}, and the log is at row {head}"));
        true
    }

    pub(crate) fn a_batch_is_heard(&mut self, id: u64) -> bool {
        let Some(owner) = self.owners.iter_mut().find(|it| it.id == id) else { return false };
        let Some(said) = owner.batch_is_heard() else { return false };
        if owner.is_fenced && owner.epoch == self.disk.epoch {
            self.disk.breaks(FENCED, format!("owner {id} is the newest"));
        }
        self.say(|| format!("owner {id} {said}"));
        true
    }

    /// A row arrives that nobody waits for any more.
    pub(crate) fn a_late_row_arrives(&mut self) -> bool {
        let Some(row) = self.late_rows.pop() else { return false };
        let appended = self.disk.append(&row);
        self.say(|| format!("row {} of epoch {} arrives late: {appended:?}", row.seq, row.epoch));
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
