//! An owner process: its epoch, its journal (the real protocol) with the batch being written, its accounts' actors, the
//! requests that run in it, and the payments it pursues. The interleaving of the journal's thread and the actors'
//! threads is the world's choice.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, VecDeque},
    time::Duration,
};

use actors::journal::protocol::{Incarnation, Pending, Protocol, Step};
use billing::{
    Timestamp,
    entry::Transition,
    ids::{AccountId, PaymentId, RequestId},
};

use runtime::supervisor::back_off::BackOff;

use crate::{
    account::{Actor, Mail},
    disk::{Disk, NotWritten},
    mutants::Mutant,
    pursuits::Chase,
    random::Random,
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

/// The payment actor and its supervisor. Times are those that have really passed.
#[derive(Default)]
struct Payments {
    back_off: BackOff,
    born: Timestamp,
    /// When the payment actor is started again after its death.
    starts_at: Option<Timestamp>,
}

/// A batch on its way to the disk and back.
enum Writing {
    Sent(Vec<Transition>),
    /// The accounts whose part is not known to be written.
    Done(HashMap<AccountId, String>),
}

pub(crate) struct Owner {
    pub(crate) id: u64,
    pub(crate) epoch: i64,
    /// The owner does nothing, but messages that it sent may still arrive.
    pub(crate) is_paused: bool,
    /// The owner knows of a newer owner.
    pub(crate) is_fenced: bool,
    /// Whether the sweeper has run once.
    pub(crate) has_swept: bool,
    latest: Timestamp,
    protocol: Protocol<Life, Life>,
    pub(crate) mailbox: VecDeque<ForJournal>,
    writing: Option<Writing>,
    pub(crate) actors: BTreeMap<AccountId, Actor>,
    incarnations: Incarnation,
    pub(crate) running: BTreeSet<RequestId>,
    /// The pursuits of the payment actor's current life.
    pub(crate) pursuits: BTreeMap<PaymentId, Chase>,
    payments: Payments,
    /// The task that may change reversals now: one at a time.
    pub(crate) turn: Option<u64>,
}

impl Owner {
    pub(crate) fn new(id: u64, epoch: i64, time: Timestamp, elapsed: Timestamp) -> Self {
        Self {
            id,
            epoch,
            is_paused: false,
            is_fenced: false,
            has_swept: false,
            latest: time,
            protocol: Protocol::default(),
            mailbox: VecDeque::new(),
            writing: None,
            actors: BTreeMap::new(),
            incarnations: 0,
            running: BTreeSet::new(),
            pursuits: BTreeMap::new(),
            payments: Payments { starts_at: Some(elapsed), ..Payments::default() },
            turn: None,
        }
    }

    /// The owner's clock, which never runs backwards, whatever the system's clock does.
    pub(crate) fn now(&mut self, system: Timestamp) -> Timestamp {
        self.latest = self.latest.max(system);
        self.latest
    }

    /// Whether the payment actor is alive.
    pub(crate) const fn has_payments(&self) -> bool {
        self.payments.starts_at.is_none()
    }

    /// When the payment actor is started, if it is not alive.
    pub(crate) const fn payments_start(&self) -> Option<Timestamp> {
        self.payments.starts_at
    }

    /// The payment actor panics. Returns its supervisor's wait before the next life.
    pub(crate) fn payments_die(&mut self, elapsed: Timestamp) -> Duration {
        self.pursuits.clear();
        self.turn = None;
        let lived = elapsed.ms_since(self.payments.born).unsigned_abs();
        let wait = self.payments.back_off.ended(Duration::from_millis(lived));
        self.payments.starts_at = Some(elapsed.plus_ms(i64::try_from(wait.as_millis()).unwrap_or(i64::MAX)));
        wait
    }

    /// The payment actor begins a life.
    pub(crate) const fn payments_begin(&mut self, elapsed: Timestamp) {
        (self.payments.born, self.payments.starts_at) = (elapsed, None);
    }

    /// The actor of an account, started if there is none.
    pub(crate) fn actor(&mut self, account: AccountId) -> &mut Actor {
        if !self.actors.contains_key(&account) {
            self.incarnations += 1;
            let life = Life { account, incarnation: self.incarnations };
            self.mailbox.push_back(ForJournal::Open(life));
            self.actors.insert(account, Actor::new(life));
        }
        self.actors.get_mut(&account).expect("it is there now")
    }

    /// The journal's actor handles one message.
    pub(crate) fn journal_handles(&mut self) -> bool {
        match self.mailbox.pop_front() {
            None => return false,
            Some(ForJournal::Open(life)) => self.protocol.open(life.account, life.incarnation, life),
            Some(ForJournal::Ended(life)) => self.protocol.ended(life.account, life.incarnation),
            Some(ForJournal::Append(entry)) => {
                if let Err(sender) = self.protocol.push(*entry) {
                    self.tell(sender, Err("from an earlier life".to_owned()));
                }
            }
        }
        true
    }

    /// The journal's thread takes its next step, if there is one, and returns its description.
    pub(crate) fn journal_steps(&mut self) -> Option<String> {
        match self.protocol.next_step()? {
            Step::Write(batch) => {
                let said = format!("sends a batch of {}", batch.len());
                self.writing = Some(Writing::Sent(batch));
                Some(said)
            }
            Step::Open(lives) => {
                let said = format!("opens {}", lives.len());
                self.opened(&lives);
                Some(said)
            }
        }
    }

    pub(crate) const fn is_sending(&self) -> bool {
        matches!(self.writing, Some(Writing::Sent(_)))
    }

    /// The batch on its way arrives: written, refused, lost, or with an unknown outcome.
    pub(crate) fn batch_arrives(&mut self, disk: &mut Disk, luck: &mut Luck<'_>) -> Option<String> {
        let Some(Writing::Sent(batch)) = self.writing.take_if(|it| matches!(it, Writing::Sent(_))) else { return None };
        let all = |why: &str| batch.iter().map(|it| (it.account_id, why.to_owned())).collect::<HashMap<_, _>>();
        let (said, failed) = match self.commit_once(disk, &batch, luck) {
            Ok(()) => ("is written".to_owned(), HashMap::new()),
            Err(NotWritten::Fenced) => {
                self.is_fenced = true;
                ("is fenced".to_owned(), all("fenced"))
            }
            Err(NotWritten::Refused(why)) if why == LOST => ("is not known to be written".to_owned(), all(LOST)),
            Err(NotWritten::Refused(why)) => {
                let mut alone: BTreeMap<AccountId, Vec<Transition>> = BTreeMap::new();
                for transition in &batch {
                    alone.entry(transition.account_id).or_default().push(transition.clone());
                }
                let mut failed = HashMap::new();
                for (account, own) in alone {
                    if self.commit_once(disk, &own, luck).is_err() {
                        failed.insert(account, why.clone());
                    }
                }
                (format!("is refused ({why}), {} accounts alone", failed.len()), failed)
            }
        };
        self.writing = Some(Writing::Done(failed));
        Some(format!("batch of {} {said}", batch.len()))
    }

    /// Commits one transaction. If the outcome is unknown, the batch's row decides, if it can be read.
    fn commit_once(&self, disk: &mut Disk, batch: &[Transition], luck: &mut Luck<'_>) -> Result<(), NotWritten> {
        let id = luck.next_batch();
        let (is_there, is_told) = luck.of_a_commit();
        if luck.random.percent(luck.trouble / 4) {
            // A check of the table, broken by one account's rows.
            return Err(NotWritten::Refused("a check".to_owned()));
        }
        if is_there {
            let written = disk.commit(id, self.epoch, batch);
            if written.is_err() || is_told {
                return written;
            }
        }
        let is_found = !luck.random.percent(30) && disk.has_batch(id);
        if is_found || luck.mutant == Some(Mutant::UnknownIsDurable) {
            return Ok(());
        }
        Err(NotWritten::Refused(LOST.to_owned()))
    }

    /// Reports the batch's outcome to the protocol, and to the senders.
    pub(crate) fn batch_is_reported(&mut self) -> bool {
        let Some(Writing::Done(failed)) = self.writing.take_if(|it| matches!(it, Writing::Done(_))) else {
            return false;
        };
        let mut told = self.protocol.written(failed);
        // The protocol's order comes from a hash map, so it is made deterministic here.
        told.senders.sort_by_key(|(life, _)| *life);
        for (life, result) in told.senders {
            self.tell(life, result);
        }
        self.opened(&told.opened);
        true
    }

    /// The number of accounts that the journal remembers.
    pub(crate) fn remembers(&self) -> usize {
        self.protocol.known()
    }

    /// Whether nothing waits for the disk.
    pub(crate) const fn is_quiet(&self) -> bool {
        self.writing.is_none()
    }

    fn tell(&mut self, life: Life, result: Result<u64, String>) {
        // An actor that ended meanwhile gets no report.
        if let Some(actor) = self.actors.get_mut(&life.account).filter(|actor| actor.life == life) {
            actor.mailbox.push_back(Mail::Committed(result));
        }
    }

    fn opened(&mut self, lives: &[Life]) {
        for life in lives {
            if let Some(actor) = self.actors.get_mut(&life.account).filter(|actor| actor.life == *life) {
                actor.is_opened = true;
            }
        }
    }
}

/// Why a batch is not known to be written.
const LOST: &str = "outcome unknown";

/// Random faults of writes.
pub(crate) struct Luck<'a> {
    pub(crate) random: &'a mut Random,
    pub(crate) batches: &'a mut u64,
    /// The percentage of commits that fail.
    pub(crate) trouble: i64,
    pub(crate) mutant: Option<Mutant>,
}

impl Luck<'_> {
    const fn next_batch(&mut self) -> u64 {
        *self.batches += 1;
        *self.batches
    }

    /// Whether the commit is written, and whether its owner is told.
    fn of_a_commit(&mut self) -> (bool, bool) {
        if !self.random.percent(self.trouble) {
            return (true, true);
        }
        (self.random.percent(50), false)
    }
}
