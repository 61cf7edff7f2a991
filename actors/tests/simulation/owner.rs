//! An owner: a node, with the leases of the shards that it owns, its journal and its projector, its accounts' actors, the
//! requests that run in it, and the payments it pursues. The interleaving of its threads is the world's choice.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use actors::{
    cluster::{
        hearing::Hearing,
        lease::{Held, Leases, Rules},
    },
    journal::protocol::Incarnation,
    running::Running,
};
use billing::{
    Timestamp,
    ids::{AccountId, PaymentId, RequestId},
};
use ledger::{
    Progress,
    log::{Head, Shard, Shards, tail::Tail},
};
use runtime::{node::NodeId, supervisor::back_off::BackOff};
use uuid::Uuid;

use crate::{
    account::{Actor, Mail},
    asks::Letter,
    journal::{ForJournal, Journal, Life, Order},
    mutants::Mutant,
    projector::Projector,
    pursuits::Chase,
};

/// How an owner uses a shard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Use {
    /// Its journal is to decide first what an earlier use has sent: all before this entry.
    Waiting(Incarnation),
    /// It brings the tables up to the log.
    Starting,
    Serving,
    /// It hands the shard over: its accounts finish what they have begun.
    Draining,
}

/// The payment actor and its supervisor. Times are those that have really passed.
#[derive(Default)]
struct Payments {
    back_off: BackOff,
    born: Timestamp,
    /// When the payment actor is started again after its death.
    starts_at: Option<Timestamp>,
}

#[expect(clippy::struct_excessive_bools, reason = "independent facts")]
pub(crate) struct Owner {
    pub(crate) id: u64,
    pub(crate) node: NodeId,
    pub(crate) leases: Leases,
    /// The shards that are begun, or are being begun or handed over.
    pub(crate) begun: BTreeMap<Shard, (Held, Use)>,
    /// Shards whose logs have a row of somebody else, as the journal has said and the leases have not heard.
    pub(crate) lost: Vec<Held>,
    pub(crate) hearing: Hearing,
    /// Which other nodes live, as far as the rows told.
    pub(crate) others: Running,
    /// Questions of other nodes that have arrived.
    pub(crate) inbox: Vec<Letter>,
    /// It is the one process, and no node of several: it has its shard from its start to its end.
    pub(crate) is_alone: bool,
    /// By how much its clock is ahead of the true time.
    pub(crate) ahead_ms: i64,
    /// The owner does nothing, but messages that it sent may still arrive.
    pub(crate) is_paused: bool,
    /// When its last heartbeat was, by the leases' clock; `None` once others may have taken it for dead.
    pub(crate) heard_at: Option<u64>,
    /// It was told to leave.
    pub(crate) is_leaving: bool,
    /// Whether the sweeper has run once.
    pub(crate) has_swept: bool,
    pub(crate) journal: Journal,
    pub(crate) projector: Projector,
    /// How far the tables are behind what this process has appended.
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

/// The name of a node. Its requests have its mark in their ids, as the product's have.
pub(crate) fn name(id: u64) -> NodeId {
    NodeId(Uuid::from_u128(u128::from(id) << 40))
}

impl Owner {
    pub(crate) fn new(id: u64, shards: Shards, elapsed: Timestamp, lease_ms: u64, mutant: Option<Mutant>) -> Self {
        let node = name(id);
        let mut owner = Self {
            id,
            node,
            leases: Leases::new(node, Rules::default(), Duration::ZERO),
            begun: BTreeMap::new(),
            lost: Vec::new(),
            hearing: Hearing::default(),
            others: Running::default(),
            inbox: Vec::new(),
            is_alone: false,
            ahead_ms: 0,
            is_paused: false,
            heard_at: Some(lease_ms),
            is_leaving: false,
            has_swept: false,
            journal: Journal::new(shards, mutant),
            projector: Projector::default(),
            progress: Progress::default(),
            actors: BTreeMap::new(),
            leaving: Vec::new(),
            incarnations: 0,
            running: BTreeSet::new(),
            pursuits: BTreeMap::new(),
            payments: Payments { starts_at: Some(elapsed), ..Payments::default() },
            turn: None,
        };
        owner.leases = Leases::new(node, Rules::default(), owner.clock(lease_ms));
        owner
    }

    /// Whether it takes requests. The one process is not asked before it has begun its shard.
    pub(crate) fn takes_requests(&self) -> bool {
        !self.is_alone || self.begun.values().any(|(_, stage)| *stage == Use::Serving)
    }

    /// The owner's monotonic clock, by which its leases end.
    pub(crate) fn clock(&self, lease_ms: u64) -> Duration {
        Duration::from_millis(lease_ms + self.id * 77_777)
    }

    /// Whether the owner answers for a shard now. To be asked at each question.
    pub(crate) fn answers_for(&self, shard: Shard, lease_ms: u64) -> bool {
        let now = self.clock(lease_ms);
        if self.is_alone {
            return self.takes_requests();
        }
        let is_begun = |held: Held| self.begun.get(&held.shard) == Some(&(held, Use::Serving));
        let mut answers = self.leases.answers(is_begun);
        answers.any(|(its, until)| its == shard && (now < until || self.journal.is(Mutant::TimeNotAsked)))
    }

    /// The epoch in which the owner has a shard, from its first question to the end of its last one's work.
    pub(crate) fn owns(&self, shard: Shard) -> Option<i64> {
        let is_owned = |(_, stage): &&(Held, Use)| matches!(stage, Use::Serving | Use::Draining);
        self.begun.get(&shard).filter(is_owned).map(|(held, _)| held.epoch)
    }

    /// The shards that are being begun.
    pub(crate) fn starting(&self) -> impl Iterator<Item = Held> + '_ {
        self.begun.values().filter(|(_, stage)| *stage == Use::Starting).map(|(held, _)| *held)
    }

    /// Begins a shard, once the journal has decided what an earlier use of it has sent.
    pub(crate) fn begins(&mut self, held: Held) {
        if self.is_alone || self.journal.is(Mutant::BegunBesideAppend) {
            self.begun.insert(held.shard, (held, Use::Starting));
            return;
        }
        self.incarnations += 1;
        let nobodys = Life { account: AccountId(Uuid::nil()), incarnation: self.incarnations };
        self.journal.mailbox.push_back(ForJournal::Open(nobodys));
        self.begun.insert(held.shard, (held, Use::Waiting(self.incarnations)));
    }

    /// The journal has decided everything that was sent before nobody's entry.
    pub(crate) fn has_decided(&mut self, nobodys: Life) {
        self.journal.mailbox.push_back(ForJournal::Ended(nobodys));
        for (_, stage) in self.begun.values_mut().filter(|(_, stage)| *stage == Use::Waiting(nobodys.incarnation)) {
            *stage = Use::Starting;
        }
    }

    /// A shard is begun: its log goes on after this row.
    pub(crate) fn serves(&mut self, shard: Shard, head: Head) {
        if let Some((held, stage)) = self.begun.get_mut(&shard) {
            *stage = Use::Serving;
            self.journal.orders.push(Order::Own(Tail { shard, head, epoch: held.epoch }));
        }
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

    /// The number of the last append of this process that a read begun now must see.
    pub(crate) fn mark(&self) -> u64 {
        if self.journal.is(Mutant::ReadWithoutWaiting) {
            return 0;
        }
        self.progress.last()
    }

    /// Whether the tables have everything of this process that a read begun at this mark must see.
    pub(crate) fn may_read(&self, mark: u64) -> bool {
        self.progress.place() >= mark
    }
}
