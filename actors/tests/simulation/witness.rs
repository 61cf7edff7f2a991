//! The witness of an account: what its machine sends to the journal and releases, recorded from outside. It records the
//! journal sequence that each departure depends on, the permits taken, and the credits bought and taken back. It trusts
//! nothing that the machine reports of itself, and compares its record with the machine's behaviour.

use std::collections::{BTreeMap, VecDeque};

use actors::account::machine;
use billing::{
    Nanos, Timestamp,
    account::{Account, Automatic},
    command::{Command, Reply},
    entry::{Line, LineKind, Transition},
    event::EventKind,
    hold::{Hold, Work},
    ids::{GrantId, PaymentId, RequestId},
    payment::{Payment, PaymentStatus},
    reversal::Reversal,
};

use crate::{
    account::{AskId, Ways},
    check::{Checked, FROZEN, PERMITS, RELOAD, VOID, ensure},
};

/// A request at its admission.
struct Placed {
    seq: u64,
    /// Whether the request takes a permit, and the units in use with it.
    is_open: bool,
    used: u32,
    /// Whether no other open request runs.
    is_alone: bool,
}

/// The record of the current message.
#[derive(Default)]
pub(crate) struct AtHand {
    /// Whether the message is an operator's void.
    is_void: bool,
    /// Whether the message took credits back.
    pub(crate) has_taken: bool,
    /// Whether a parked request took its permit again with the message.
    has_resumed: bool,
    /// Requests to open models that ended with the message.
    pub(crate) ended: Vec<(RequestId, Work)>,
}

/// The record of one life of an account.
#[derive(Default)]
pub(crate) struct Witness {
    /// The last sequence number sent to the journal or loaded.
    seq: u64,
    /// The sequence number that each answer depends on: the journal's when the question had been handled.
    answers: BTreeMap<AskId, u64>,
    placed: BTreeMap<RequestId, Placed>,
    /// The sequence numbers at which payments began and ended.
    begun: BTreeMap<PaymentId, u64>,
    paid: BTreeMap<PaymentId, u64>,
    /// The sequence numbers that the balance updates depend on, in order.
    balances: VecDeque<u64>,
    /// The units of running requests to open models.
    permits: BTreeMap<RequestId, u32>,
    /// Voids of whole grants, and whether they left nothing, to be checked when they are answered.
    voids: BTreeMap<AskId, Result<(), String>>,
    /// Whether the account may buy automatically.
    may_buy: bool,
    /// Whether an operator froze the account.
    is_frozen: bool,
    pub(crate) at_hand: AtHand,
    works: BTreeMap<RequestId, Work>,
}

/// Whether an account may buy automatically. One of which nothing is known but what it was told may do so by a request alone.
fn may_buy(automatic: &Automatic) -> bool {
    automatic.is_set() && automatic.state.paused_at.is_none()
}

impl Witness {
    /// Records that the account was loaded.
    pub(crate) fn loaded(&mut self, account: &Account) {
        self.seq = account.header.seq;
        for hold in account.holds() {
            self.takes(hold);
            // An earlier life let it in, and looked at its permit.
            let placed = Placed { seq: self.seq, is_open: false, used: 0, is_alone: false };
            self.placed.insert(hold.request_id, placed);
        }
        self.may_buy = account.automatic().is_some_and(may_buy);
        self.is_frozen = account.header.frozen_at.is_some();
        self.begun.extend(account.pending_payments().map(|payment| (payment.id, self.seq)));
    }

    fn takes(&mut self, hold: &Hold) {
        if let Work::Open { units, .. } = hold.work {
            self.works.insert(hold.request_id, hold.work);
            if hold.is_parked {
                self.permits.remove(&hold.request_id);
            } else {
                self.permits.insert(hold.request_id, units.0);
            }
        }
    }

    /// Records the begin of a message: an operator's void, or another.
    pub(crate) fn begins(&mut self, is_void: bool) {
        self.at_hand = AtHand { is_void, ..AtHand::default() };
    }

    /// Records a transition that was sent to the journal.
    pub(crate) fn sent(&mut self, transition: &Transition, is_taking_back: bool) -> Checked {
        self.seq = transition.seq;
        self.balances.push_back(self.seq);
        if let Some(hold) = &transition.hold {
            let is_new = transition.lines.iter().any(|line| line.kind == LineKind::HoldPlaced);
            if is_new {
                self.takes(hold);
                let (is_open, is_alone) = (matches!(hold.work, Work::Open { .. }), self.permits.len() == 1);
                let placed = Placed { seq: self.seq, is_open, used: self.units(), is_alone };
                self.placed.insert(hold.request_id, placed);
            } else {
                let is_open = matches!(hold.work, Work::Open { .. });
                let had = self.permits.contains_key(&hold.request_id);
                self.at_hand.has_resumed |= is_open && !hold.is_parked && !had;
                self.takes(hold);
            }
        }
        if let Some(id) = transition.ended {
            self.permits.remove(&id);
            self.at_hand.ended.extend(self.works.remove(&id).map(|work| (id, work)));
        }
        for payment in &transition.payments {
            let is_begun = payment.status == PaymentStatus::Pending;
            let noted = if is_begun { &mut self.begun } else { &mut self.paid };
            noted.entry(payment.id).or_insert(self.seq);
        }
        self.is_let_in(transition)?;
        self.takes_back(transition, is_taking_back)
    }

    /// Checks that nothing is let in or bought while an operator has the account frozen.
    fn is_let_in(&mut self, transition: &Transition) -> Checked {
        for event in &transition.events {
            match event.kind {
                EventKind::AccountFrozen => self.is_frozen = true,
                EventKind::AccountUnfrozen => self.is_frozen = false,
                _ => {}
            }
        }
        let is_new = transition.lines.iter().any(|line| line.kind == LineKind::HoldPlaced);
        let by_itself = |it: &Payment| it.purpose.is_automatic() && it.status == PaymentStatus::Pending;
        let buys = transition.payments.iter().any(by_itself);
        ensure(!self.is_frozen || !is_new && !buys, FROZEN, || format!("{transition:?}"))
    }

    /// Checks that credits taken back are not bought again.
    fn takes_back(&mut self, transition: &Transition, is_taking_back: bool) -> Checked {
        if let Some(automatic) = &transition.automatic {
            self.may_buy = may_buy(automatic);
        }
        let begins = |it: &Payment| it.status == PaymentStatus::Pending && it.purpose.is_automatic();
        let has_begun = transition.payments.iter().any(begins);
        let is_new = |row: &Reversal| row.state.stands() && row.changed_at.is_none();
        let is_void = |line: &Line| line.kind == LineKind::GrantVoided && line.voided.is_positive();
        let has_taken =
            transition.reversals.iter().any(is_new) || self.at_hand.is_void && transition.lines.iter().any(is_void);
        self.at_hand.has_taken |= has_taken;
        // Once loaded, an account handles all that waited: what it allowed before credits were taken is not known after that.
        self.at_hand.has_resumed &= !has_taken;
        ensure(!has_taken || !self.may_buy, RELOAD, || format!("not paused: {transition:?}"))?;
        let may_begin = !has_begun || self.may_buy && !is_taking_back;
        ensure(may_begin, RELOAD, || format!("credits were taken back: {transition:?}"))
    }

    fn units(&self) -> u32 {
        self.permits.values().sum()
    }

    /// Records that a question was handled: its answer depends on everything sent until now.
    pub(crate) fn answered(&mut self, ask: AskId) {
        self.answers.insert(ask, self.seq);
    }

    /// Records the end of a message.
    pub(crate) fn handled(&mut self, account: &Account, now: Timestamp) -> Checked {
        let (used, running) = (account.balance(now).units_used.0, self.units());
        ensure(used == running, PERMITS, || format!("{used} units are in use, {running} run"))?;
        let (allowed, is_alone) = (account.tier(now).units.0, self.permits.len() == 1);
        ensure(!self.at_hand.has_resumed || used <= allowed || is_alone, PERMITS, || {
            format!("a request went on: {used} units run, {allowed} are allowed")
        })
    }

    /// Records a decided void of a whole grant.
    pub(crate) fn voided(&mut self, ask: AskId, id: GrantId, account: &Account) {
        let grant = account.grants().iter().find(|grant| grant.id == id);
        let left = grant.filter(|grant| grant.available != Nanos::ZERO || grant.recall != grant.held);
        self.voids.insert(ask, left.map_or(Ok(()), |grant| Err(format!("{grant:?} was voided"))));
    }

    /// Records a new watcher, who gets the current balance.
    pub(crate) fn watched(&mut self) {
        self.balances.push_back(self.seq);
    }

    /// Records a departure, and returns the sequence number it depends on.
    pub(crate) fn departs(&mut self, departure: &machine::Departure<Ways>) -> Checked<u64> {
        Ok(match departure {
            machine::Departure::Entered(way, entered) => {
                let answer = self.answers.remove(&way.id).unwrap_or(self.seq);
                let Ok(entered) = entered else { return Ok(0) };
                let Ok(Reply::Admitted { units_allowed, .. }) = entered.answer.result else { return Ok(answer) };
                let Some(placed) = self.placed.get_mut(&entered.request_id) else {
                    let what = || format!("{} was let in, and nothing was sent to the journal", entered.request_id);
                    ensure(false, PERMITS, what)?;
                    return Ok(answer);
                };
                let Placed { seq, is_open, used, is_alone } = *placed;
                // Who asks again has the permit that it has.
                placed.is_open = false;
                ensure(!is_open || used <= units_allowed.0 || is_alone, PERMITS, || {
                    format!("{used} units run, {units_allowed} are allowed")
                })?;
                seq
            }
            machine::Departure::Answer(way, answer) => {
                if let (Some(void), Ok(true)) =
                    (self.voids.remove(&way.id), answer.as_ref().map(|it| it.result.is_ok()))
                {
                    ensure(void.is_ok(), VOID, || void.clone().err().unwrap_or_default())?;
                }
                let seq = self.answers.remove(&way.id).unwrap_or(self.seq);
                if answer.is_ok() { seq } else { 0 }
            }
            machine::Departure::Picture(way, _) => self.answers.remove(&way.id).unwrap_or(self.seq),
            machine::Departure::Bought(way, bought) => {
                let asked = self.answers.remove(&way.id).unwrap_or(self.seq);
                // What says that nothing was changed depends on nothing.
                let Ok(bought) = bought.as_ref() else { return Ok(0) };
                let ended = Some(&bought.payment).filter(|payment| payment.status != PaymentStatus::Pending);
                ended.and_then(|payment| self.paid.get(&payment.id)).copied().unwrap_or(asked)
            }
            machine::Departure::Charge(payment) => self.begun.get(&payment.id).copied().unwrap_or_default(),
            machine::Departure::Holds(id, _) => self.placed.get(id).map_or(0, |placed| placed.seq),
            machine::Departure::Balance(..) => self.balances.pop_front().unwrap_or(self.seq),
        })
    }
}

/// The grant that a command voids whole.
pub(crate) fn voided(command: &Command) -> Option<GrantId> {
    match command {
        Command::VoidGrant { grant_id, amount: None } => Some(*grant_id),
        _ => None,
    }
}
