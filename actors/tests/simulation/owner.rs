//! An owner process: its epoch, its journal and its projector, its accounts' actors, the requests that run in it, and
//! the payments it pursues. The interleaving of its threads is the world's choice.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use actors::journal::protocol::Incarnation;
use billing::{
    Timestamp,
    ids::{AccountId, PaymentId, RequestId},
};
use ledger::{
    Progress,
    log::{Head, chain::BEFORE_THE_FIRST},
};
use runtime::supervisor::back_off::BackOff;

use crate::{
    account::{Actor, Mail},
    journal::{ForJournal, Journal, Life},
    mutants::Mutant,
    projector::Projector,
    pursuits::Chase,
};

/// The stage of a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stage {
    /// It brings the tables up to the log, and does nothing else.
    Starting,
    Serving,
}

/// The payment actor and its supervisor. Times are those that have really passed.
#[derive(Default)]
struct Payments {
    back_off: BackOff,
    born: Timestamp,
    /// When the payment actor is started again after its death.
    starts_at: Option<Timestamp>,
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
    pub(crate) stage: Stage,
    latest: Timestamp,
    pub(crate) journal: Journal,
    pub(crate) projector: Projector,
    /// How far the tables are behind the log, as this process knows it.
    pub(crate) progress: Progress,
    pub(crate) actors: BTreeMap<AccountId, Actor>,
    /// Lives whose place was taken while they worked: they answer what they had sent to the journal, and end.
    pub(crate) leaving: Vec<Actor>,
    incarnations: Incarnation,
    pub(crate) running: BTreeSet<RequestId>,
    /// The pursuits of the payment actor's current life.
    pub(crate) pursuits: BTreeMap<PaymentId, Chase>,
    payments: Payments,
    /// The task that may change reversals now: one at a time.
    pub(crate) turn: Option<u64>,
}

impl Owner {
    pub(crate) fn new(id: u64, epoch: i64, [time, elapsed]: [Timestamp; 2], mutant: Option<Mutant>) -> Self {
        Self {
            id,
            epoch,
            is_paused: false,
            is_fenced: false,
            has_swept: false,
            stage: Stage::Starting,
            latest: time,
            journal: Journal::new(Head { seq: 0, hash: BEFORE_THE_FIRST }, epoch, mutant),
            projector: Projector::default(),
            progress: Progress::default(),
            actors: BTreeMap::new(),
            leaving: Vec::new(),
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
            self.journal.mailbox.push_back(ForJournal::Open(life));
            self.actors.insert(account, Actor::new(life));
        }
        self.actors.get_mut(&account).expect("it is there now")
    }

    /// A new life takes the place of an account's, if nobody waits there for more than the journal's word. What comes to the one
    /// before, or has come, is passed on.
    pub(crate) fn succeed(&mut self, account: AccountId) -> bool {
        if !self.actors.get(&account).is_some_and(|actor| actor.machine.may_leave() && !actor.has_stopped()) {
            return false;
        }
        let Some(mut old) = self.actors.remove(&account) else { return false };
        let mail = std::mem::take(&mut old.mailbox).into_iter();
        let (own, passed) = mail.partition(|mail| matches!(mail, Mail::Committed(_)));
        old.mailbox = own;
        self.actor(account).mailbox = passed;
        self.leaving.push(old);
        true
    }

    /// The number of the last row that a read begun now must see.
    pub(crate) fn mark(&self) -> u64 {
        if self.journal.is(Mutant::ReadWithoutWaiting) {
            return 0;
        }
        self.progress.place() + self.progress.lag()
    }

    /// Whether the tables have everything that a read begun at this mark must see.
    pub(crate) fn may_read(&self, mark: u64) -> bool {
        self.is_serving() && self.progress.place() >= mark
    }

    pub(crate) fn is_serving(&self) -> bool {
        self.stage == Stage::Serving
    }
}
