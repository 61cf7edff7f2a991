//! The card processor: it charges by idempotency key, and forgets keys after a day; it answers late, twice or never; it
//! makes refunds; and it reports all of this by webhooks, which repeat and come in any order.

use std::collections::BTreeMap;

use billing::{
    Nanos, Timestamp,
    ids::{PaymentId, ReversalId},
    reversal::{Kind, News, State},
    time::DAY_MS,
};
use cards::{ChargeOutcome, NextAction, RefundOrder, Refunded};

/// The outcome of a new charge.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Would {
    Succeed,
    Decline,
    /// The card's owner must act first.
    Ask,
}

/// An order to the processor.
#[derive(Debug, Clone)]
pub(crate) struct Order {
    pub(crate) payment: PaymentId,
    pub(crate) amount: Nanos,
    pub(crate) key: String,
    pub(crate) sent_at: Timestamp,
}

pub(crate) struct Charge {
    name: String,
    key: String,
    at: Timestamp,
    outcome: ChargeOutcome,
    pub(crate) amount: Nanos,
    /// Refunds and disputes.
    reversals: Vec<Returned>,
}

/// A refund or a dispute of a charge.
struct Returned {
    name: String,
    /// The idempotency key of the refund.
    key: String,
    id: Option<ReversalId>,
    kind: Kind,
    amount: Nanos,
    state: State,
}

impl Returned {
    fn answer(&self) -> Refunded {
        Refunded::Made { reference: self.name.clone(), state: self.state }
    }
}

/// The object of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum About {
    Charge,
    Return,
}

/// An event to be delivered until it is accepted.
#[derive(Debug, Clone)]
pub(crate) struct Delivery {
    pub(crate) event: String,
    pub(crate) payment: PaymentId,
    pub(crate) about: About,
}

#[derive(Default)]
pub(crate) struct Processor {
    pub(crate) charges: BTreeMap<PaymentId, Vec<Charge>>,
    /// Orders still on their way, although nobody waits for them.
    pub(crate) late: Vec<Order>,
    pub(crate) deliveries: Vec<Delivery>,
    events: u64,
}

impl Charge {
    pub(crate) fn is_paid(&self) -> bool {
        matches!(self.outcome, ChargeOutcome::Succeeded { .. })
    }

    fn is_open(&self) -> bool {
        matches!(self.outcome, ChargeOutcome::NeedsAuthentication(_))
    }

    fn succeeds(&mut self) {
        self.outcome = ChargeOutcome::Succeeded { reference: self.name.clone(), amount: self.amount };
    }

    fn fails(&mut self, code: &str) {
        self.outcome = ChargeOutcome::Declined { code: code.to_owned() };
    }

    /// The amount reversed, at most the amount paid.
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

    /// Charges once for each key. `would` is the outcome of a new charge.
    pub(crate) fn charge(&mut self, order: &Order, now: Timestamp, would: Would) -> ChargeOutcome {
        let charges = self.charges.entry(order.payment).or_default();
        let known = charges.iter().find(|charge| charge.key == order.key && now < charge.at.plus_ms(DAY_MS));
        if let Some(charge) = known {
            return charge.outcome.clone();
        }
        self.events += 1;
        let name = format!("ch_{}", self.events);
        let outcome = match would {
            Would::Succeed => ChargeOutcome::Succeeded { reference: name.clone(), amount: order.amount },
            Would::Decline => ChargeOutcome::Declined { code: "card_declined".to_owned() },
            Would::Ask => ChargeOutcome::NeedsAuthentication(NextAction {
                reference: name.clone(),
                client_secret: "secret".to_owned(),
            }),
        };
        charges.push(Charge {
            name,
            key: order.key.clone(),
            at: now,
            outcome: outcome.clone(),
            amount: order.amount,
            reversals: Vec::new(),
        });
        self.tell(order.payment, About::Charge);
        outcome
    }

    fn named(&mut self, name: &str) -> Option<(PaymentId, &mut Charge)> {
        let mut all = self.charges.iter_mut().flat_map(|(id, charges)| charges.iter_mut().map(|charge| (*id, charge)));
        all.find(|(_, charge)| charge.name == name)
    }

    /// The state of a charge.
    pub(crate) fn look(&mut self, name: &str) -> ChargeOutcome {
        let unknown = || ChargeOutcome::Unknown { why: "there is no such charge".to_owned() };
        self.named(name).map_or_else(unknown, |(_, charge)| charge.outcome.clone())
    }

    /// Cancels a charge that waits for its owner, unless it was paid before.
    pub(crate) fn cancel(&mut self, name: &str) -> ChargeOutcome {
        if let Some((payment, charge)) = self.named(name).filter(|(_, charge)| charge.is_open()) {
            charge.fails("canceled");
            self.tell(payment, About::Charge);
        }
        self.look(name)
    }

    /// Payments that wait for a card's owner.
    pub(crate) fn waiting(&self) -> Vec<PaymentId> {
        let waits = |charges: &Vec<Charge>| charges.iter().any(Charge::is_open);
        self.charges.iter().filter(|(_, charges)| waits(charges)).map(|(id, _)| *id).collect()
    }

    /// A card's owner acts, if a charge waits for it.
    pub(crate) fn owner_acts(&mut self, payment: PaymentId, is_good: bool) -> bool {
        let charges = self.charges.get_mut(&payment).into_iter().flatten();
        let Some(charge) = charges.into_iter().find(|charge| charge.is_open()) else { return false };
        if is_good {
            charge.succeeds();
        } else {
            charge.fails("authentication_failed");
        }
        self.tell(payment, About::Charge);
        true
    }

    /// The outcome of a payment's charge; `None` if there was no charge.
    pub(crate) fn find(&self, payment: PaymentId) -> Option<ChargeOutcome> {
        let charges = self.charges.get(&payment)?;
        charges.iter().find(|charge| charge.is_paid()).or_else(|| charges.last()).map(|charge| charge.outcome.clone())
    }

    fn paid(&mut self, payment: PaymentId) -> Option<&mut Charge> {
        self.charges.get_mut(&payment)?.iter_mut().find(|charge| charge.is_paid())
    }

    /// The current refunds and disputes of a payment.
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

    /// Makes a refund, once for each key.
    pub(crate) fn refund(&mut self, order: &RefundOrder) -> Refunded {
        self.events += 1;
        let name = format!("re_{}", self.events);
        let refused = |code: &str| Refunded::Refused { code: code.to_owned(), message: code.to_owned() };
        let Some((payment, charge)) = self.named(&order.reference) else { return refused("no_such_charge") };
        if let Some(known) = charge.reversals.iter().find(|it| it.key == order.key) {
            return known.answer();
        }
        if !charge.is_paid() || charge.refunded() + order.amount > charge.amount {
            return refused("too_much");
        }
        let (key, id, amount) = (order.key.clone(), order.id, order.amount);
        let made = Returned { name, key, id, kind: Kind::Refund, amount, state: State::Succeeded };
        let answer = made.answer();
        charge.reversals.push(made);
        self.tell(payment, About::Return);
        answer
    }

    /// The outcome of a refund; `None` if it was never made.
    pub(crate) fn find_refund(&mut self, order: &RefundOrder) -> Option<Refunded> {
        let (_, charge) = self.named(&order.reference)?;
        charge.reversals.iter().find(|it| it.key == order.key).map(Returned::answer)
    }

    /// A bank disputes part of a payment.
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

    /// Advances a reversal of a payment: a refund fails, a dispute is lost or won. Returns the new state.
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
