//! The card processor: charges by idempotency key, which it forgets after a day; answers late, twice or never; gives money
//! back; tells of all that by webhooks, which repeat and come in any order. And a payment's pursuit, as its owner has it.

use std::collections::BTreeMap;

use billing::{
    Nanos, Timestamp,
    ids::{AccountId, PaymentId},
    payment::Payment,
    time::DAY_MS,
};

use crate::account::AskId;

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
    /// Given back, or taken back.
    pub(crate) returned: Nanos,
    refunds: BTreeMap<String, Nanos>,
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
            returned: Nanos::ZERO,
            refunds: BTreeMap::new(),
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

    /// How much of a payment is back with its card.
    pub(crate) fn returned(&self, payment: PaymentId) -> Nanos {
        self.charges.get(&payment).into_iter().flatten().map(|charge| charge.returned).sum()
    }

    /// Gives back; whether it did, now or before under the same key.
    pub(crate) fn refund(&mut self, payment: PaymentId, amount: Nanos, key: &str) -> bool {
        let Some(charge) = self.paid(payment) else { return false };
        if let Some(known) = charge.refunds.get(key) {
            return *known == amount;
        }
        if amount > charge.amount - charge.returned {
            return false;
        }
        charge.returned += amount;
        charge.refunds.insert(key.to_owned(), amount);
        self.tell(payment, About::Return);
        true
    }

    /// Its owner's bank takes all of it back.
    pub(crate) fn charge_back(&mut self, payment: PaymentId) -> bool {
        let Some(charge) = self.paid(payment).filter(|charge| charge.returned < charge.amount) else { return false };
        charge.returned = charge.amount;
        self.tell(payment, About::Return);
        true
    }
}

/// Where a pursuit stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stage {
    /// To be asked, or asked again.
    Asks,
    /// To be told to the account.
    Knows(Outcome),
    Tells(AskId, Outcome),
}

/// A payment on its way to its end.
#[derive(Debug, Clone)]
pub(crate) struct Pursuit {
    pub(crate) account: AccountId,
    pub(crate) payment: Payment,
    pub(crate) stage: Stage,
    pub(crate) tries: u32,
}
