//! Stored purchases: payments, their reversals, and the subscription.

use billing::{
    Nanos,
    ids::{PaymentId, ReversalId},
    payment, reversal, subscription,
};

use super::{
    BadBody,
    context::{Reading, Writing},
    numbers::{Numbered as _, value},
};

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Payment {
    #[prost(uint32, tag = "1")]
    id: u32,
    #[prost(uint32, tag = "2")]
    pub(super) purpose: u32,
    #[prost(int64, tag = "3")]
    amount: i64,
    #[prost(int64, tag = "4")]
    reversed: i64,
    #[prost(uint32, tag = "5")]
    pub(super) status: u32,
    #[prost(string, tag = "6")]
    method: String,
    #[prost(string, optional, tag = "7")]
    reference: Option<String>,
    #[prost(string, optional, tag = "8")]
    decline_code: Option<String>,
    #[prost(sint64, tag = "9")]
    created_at: i64,
    #[prost(sint64, optional, tag = "10")]
    ended_at: Option<i64>,
    #[prost(sint64, optional, tag = "11")]
    cycle_end: Option<i64>,
    #[prost(message, optional, tag = "12")]
    maxima: Option<Maxima>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Maxima {
    #[prost(int64, tag = "1")]
    reload: i64,
    #[prost(int64, tag = "2")]
    spend: i64,
}

impl Payment {
    pub(super) fn write(payment: &payment::Payment, to: &mut Writing) -> Self {
        let payment::Payment {
            id,
            purpose,
            amount,
            reversed,
            status,
            method,
            reference,
            decline_code,
            created_at,
            ended_at,
            cycle_end,
            maxima,
        } = payment;
        Self {
            id: to.id(id.0),
            purpose: purpose.number(),
            amount: amount.get(),
            reversed: reversed.get(),
            status: status.number(),
            method: method.clone(),
            reference: reference.clone(),
            decline_code: decline_code.clone(),
            created_at: to.time(*created_at),
            ended_at: to.maybe_time(*ended_at),
            cycle_end: to.maybe_time(*cycle_end),
            maxima: maxima.map(|payment::Maxima { reload, spend }| Maxima { reload: reload.get(), spend: spend.get() }),
        }
    }

    pub(super) fn read(self, from: &Reading) -> Result<payment::Payment, BadBody> {
        let Self {
            id,
            purpose,
            amount,
            reversed,
            status,
            method,
            reference,
            decline_code,
            created_at,
            ended_at,
            cycle_end,
            maxima,
        } = self;
        let read_maxima =
            |Maxima { reload, spend }| payment::Maxima { reload: Nanos::new(reload), spend: Nanos::new(spend) };
        Ok(payment::Payment {
            id: PaymentId(from.id(id, "payment.id")?),
            purpose: value(purpose, "payment.purpose")?,
            amount: Nanos::new(amount),
            reversed: Nanos::new(reversed),
            status: value(status, "payment.status")?,
            method,
            reference,
            decline_code,
            created_at: from.time(created_at),
            ended_at: from.maybe_time(ended_at),
            cycle_end: from.maybe_time(cycle_end),
            maxima: maxima.map(read_maxima),
        })
    }
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Reversal {
    #[prost(uint32, tag = "1")]
    id: u32,
    #[prost(uint32, tag = "2")]
    payment_id: u32,
    #[prost(uint32, tag = "3")]
    pub(super) kind: u32,
    #[prost(string, optional, tag = "4")]
    reference: Option<String>,
    #[prost(string, optional, tag = "5")]
    card: Option<String>,
    #[prost(int64, tag = "6")]
    amount: i64,
    #[prost(uint32, tag = "7")]
    pub(super) state: u32,
    #[prost(sint64, tag = "8")]
    created_at: i64,
    #[prost(sint64, optional, tag = "9")]
    changed_at: Option<i64>,
    #[prost(sint64, tag = "10")]
    left_ms: i64,
}

impl Reversal {
    pub(super) fn write(reversal: &reversal::Reversal, to: &mut Writing) -> Self {
        let reversal::Reversal {
            id,
            payment_id,
            kind,
            reference,
            card,
            amount,
            state,
            created_at,
            changed_at,
            left_ms,
        } = reversal;
        Self {
            id: to.id(id.0),
            payment_id: to.id(payment_id.0),
            kind: kind.number(),
            reference: reference.clone(),
            card: card.clone(),
            amount: amount.get(),
            state: state.number(),
            created_at: to.time(*created_at),
            changed_at: to.maybe_time(*changed_at),
            left_ms: *left_ms,
        }
    }

    pub(super) fn read(self, from: &Reading) -> Result<reversal::Reversal, BadBody> {
        let Self { id, payment_id, kind, reference, card, amount, state, created_at, changed_at, left_ms } = self;
        Ok(reversal::Reversal {
            id: ReversalId(from.id(id, "reversal.id")?),
            payment_id: PaymentId(from.id(payment_id, "reversal.payment_id")?),
            kind: value(kind, "reversal.kind")?,
            reference,
            card,
            amount: Nanos::new(amount),
            state: value(state, "reversal.state")?,
            created_at: from.time(created_at),
            changed_at: from.maybe_time(changed_at),
            left_ms,
        })
    }
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Subscription {
    #[prost(uint32, tag = "1")]
    pub(super) status: u32,
    #[prost(uint32, tag = "2")]
    pub(super) at_end: u32,
    #[prost(string, tag = "3")]
    method: String,
    #[prost(sint64, tag = "4")]
    started_at: i64,
    #[prost(uint32, tag = "5")]
    failures: u32,
    #[prost(sint64, optional, tag = "6")]
    retry_at: Option<i64>,
}

impl Subscription {
    pub(super) fn write(subscription: &subscription::Subscription, to: &Writing) -> Self {
        let subscription::Subscription { status, at_end, method, started_at, failures, retry_at } = subscription;
        Self {
            status: status.number(),
            at_end: at_end.number(),
            method: method.clone(),
            started_at: to.time(*started_at),
            failures: *failures,
            retry_at: to.maybe_time(*retry_at),
        }
    }

    pub(super) fn read(self, from: &Reading) -> Result<subscription::Subscription, BadBody> {
        let Self { status, at_end, method, started_at, failures, retry_at } = self;
        Ok(subscription::Subscription {
            status: value(status, "subscription.status")?,
            at_end: value(at_end, "subscription.at_end")?,
            method,
            started_at: from.time(started_at),
            failures,
            retry_at: from.maybe_time(retry_at),
        })
    }
}
