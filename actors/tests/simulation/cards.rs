//! The card processor: charges by idempotency key, which it forgets after a day; answers late, twice or never; gives money
//! back; tells of all that by webhooks, which repeat and come in any order. And a payment's pursuit, as its owner has it.

use std::collections::BTreeMap;

use billing::{
    Nanos, Timestamp,
    ids::{AccountId, PaymentId, ReversalId},
    payment::Payment,
    reversal::{Kind, News, State},
    time::DAY_MS,
};

/// What is known of a charge.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    Succeeded,
    Declined(&'static str),
}

/// What the processor is asked to do.
#[derive(Debug, Clone)]
pub(crate) struct Order {
    pub(crate) payment: PaymentId,
    pub(crate) amount: Nanos,
    pub(crate) key: String,
    pub(crate) sent_at: Timestamp,
}

pub(crate) struct Charge {
    key: String,
    at: Timestamp,
    outcome: Outcome,
    pub(crate) amount: Nanos,
    /// Refunds and disputes.
    reversals: Vec<Returned>,
}

/// A refund or a dispute of a charge.
struct Returned {
    name: String,
    /// What makes a repeated refund the same.
    key: String,
    id: Option<ReversalId>,
    kind: Kind,
    amount: Nanos,
    state: State,
}

/// What an event is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum About {
    Charge,
    Return,
}

/// An event that is to be told until it is heard.
#[derive(Debug, Clone)]
pub(crate) struct Delivery {
    pub(crate) event: String,
    pub(crate) payment: PaymentId,
    pub(crate) about: About,
}

#[derive(Default)]
pub(crate) struct Processor {
    pub(crate) charges: BTreeMap<PaymentId, Vec<Charge>>,
    /// Orders that are still on their way, though nobody waits for them.
    pub(crate) late: Vec<Order>,
    pub(crate) deliveries: Vec<Delivery>,
    events: u64,
}

impl Charge {
    pub(crate) fn is_paid(&self) -> bool {
        self.outcome == Outcome::Succeeded
    }

    /// How much of it is back with its card, never more than was paid.
    pub(crate) fn returned(&self) -> Nanos {
        let standing = self.reversals.iter().filter(|it| it.state.stands()).map(|it| it.amount);
        standing.sum::<Nanos>().min(self.amount)
    }

    fn refunded(&self) -> Nanos {
        let refunds = self.reversals.iter().filter(|it| it.kind == Kind::Refund && it.state.stands());
        refunds.map(|it| it.amount).sum()
    }
}

impl Processor {
    fn tell(&mut self, payment: PaymentId, about: About) {
        self.events += 1;
        self.deliveries.push(Delivery { event: format!("evt_{}", self.events), payment, about });
    }

    /// Charges once for a key it knows; `would` is what comes of a new charge.
    pub(crate) fn charge(&mut self, order: &Order, now: Timestamp, would: Outcome) -> Outcome {
        let charges = self.charges.entry(order.payment).or_default();
        let known = charges.iter().find(|charge| charge.key == order.key && now < charge.at.plus_ms(DAY_MS));
        if let Some(charge) = known {
            return charge.outcome;
        }
        charges.push(Charge {
            key: order.key.clone(),
            at: now,
            outcome: would,
            amount: order.amount,
            reversals: Vec::new(),
        });
        self.tell(order.payment, About::Charge);
        would
    }

    /// What became of a payment, if it was ever charged.
    pub(crate) fn find(&self, payment: PaymentId) -> Option<Outcome> {
        let charges = self.charges.get(&payment)?;
        charges.iter().find(|charge| charge.is_paid()).or_else(|| charges.last()).map(|charge| charge.outcome)
    }

    fn paid(&mut self, payment: PaymentId) -> Option<&mut Charge> {
        self.charges.get_mut(&payment)?.iter_mut().find(|charge| charge.is_paid())
    }

    /// Refunds and disputes of a payment, as they stand.
    pub(crate) fn news(&self, payment: PaymentId) -> Vec<News> {
        let charges = self.charges.get(&payment).into_iter().flatten().filter(|charge| charge.is_paid());
        charges
            .flat_map(|charge| &charge.reversals)
            .map(|it| News {
                id: it.id,
                kind: it.kind,
                reference: Some(it.name.clone()),
                amount: it.amount,
                state: it.state,
            })
            .collect()
    }

    /// Gives back: its name and state, now or before under the same key; none where it refuses.
    pub(crate) fn refund(
        &mut self,
        payment: PaymentId,
        amount: Nanos,
        key: &str,
        id: Option<ReversalId>,
    ) -> Option<(String, State)> {
        self.events += 1;
        let name = format!("re_{}", self.events);
        let charge = self.paid(payment)?;
        if let Some(known) = charge.reversals.iter().find(|it| it.key == key) {
            return Some((known.name.clone(), known.state));
        }
        if charge.refunded() + amount > charge.amount {
            return None;
        }
        let state = State::Succeeded;
        charge.reversals.push(Returned {
            name: name.clone(),
            key: key.to_owned(),
            id,
            kind: Kind::Refund,
            amount,
            state,
        });
        self.tell(payment, About::Return);
        Some((name, state))
    }

    /// Its owner's bank takes some of it back.
    pub(crate) fn dispute(&mut self, payment: PaymentId, percent: i64) -> bool {
        self.events += 1;
        let name = format!("dp_{}", self.events);
        let Some(charge) = self.paid(payment) else { return false };
        let amount = Nanos::new((charge.amount.get() / 100 * percent).max(1));
        let (key, state) = (name.clone(), State::Open);
        charge.reversals.push(Returned { name, key, id: None, kind: Kind::Dispute, amount, state });
        self.tell(payment, About::Return);
        true
    }

    /// Something of a payment moves on: a refund fails, a dispute is lost or won; what.
    pub(crate) fn move_on(&mut self, payment: PaymentId, which: usize, is_good: bool) -> Option<State> {
        let charge = self.paid(payment)?;
        let open: Vec<usize> = (0..charge.reversals.len())
            .filter(|index| matches!(charge.reversals[*index].state, State::Succeeded | State::Open))
            .collect();
        let index = *open.get(which % open.len().max(1))?;
        let moved = &mut charge.reversals[index];
        moved.state = match (moved.kind, is_good) {
            (Kind::Refund, _) => State::Failed,
            (_, true) => State::Won,
            (_, false) => State::Lost,
        };
        let state = moved.state;
        self.tell(payment, About::Return);
        Some(state)
    }
}

/// Where a pursuit stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stage {
    /// To be asked, or asked again.
    Asks,
    /// To be told to the account.
    Knows(Outcome),
    Tells(Outcome),
}

/// A payment on its way to its end.
#[derive(Debug, Clone)]
pub(crate) struct Pursuit {
    pub(crate) account: AccountId,
    pub(crate) payment: Payment,
    pub(crate) stage: Stage,
    pub(crate) tries: u32,
}
