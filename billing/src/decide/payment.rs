//! Payments: begun, then succeeded or declined. The effects of a success (credits, tier, permits, the plan's next
//! cycle) are in the same commit as the success.

use super::{
    automatic,
    draft::Draft,
    fund::{self, LARGEST_GRANT},
    subscription,
};
use crate::{
    command::{Fund, Refusal, Reply},
    ids::{GrantId, PaymentId},
    nanos::Nanos,
    payment::{Payment, PaymentStatus, Purpose, SMALLEST},
    subscription::{FEE, Status},
};

/// The most pending payments of one account, waiting for an answer or for the card's owner.
const MOST_PENDING: usize = 10;

pub(super) fn begin(draft: &mut Draft<'_>, payment: Payment) -> Result<Reply, Refusal> {
    // A payment begins once: asked for again it goes on as it is, and one that was paid is not charged again.
    if draft.account.payments.contains_key(&payment.id) {
        return Ok(Reply::Done);
    }
    let (source, key) = (payment.purpose.source(), payment.grant_key());
    if draft.account.grants.iter().any(|grant| grant.source == source && *grant.source_key == *key) {
        return Err(Refusal::AlreadyFunded(key));
    }
    match payment.purpose {
        Purpose::Purchase => {
            check_amount(payment.amount)?;
            if !draft.account.has_room(payment.amount, payment.amount, draft.now) {
                return Err(fund::FULL);
            }
            if draft.account.payments.len() >= MOST_PENDING {
                return Err(Refusal::PaymentInFlight);
            }
        }
        Purpose::Subscription => {
            let status = draft.account.subscription().map(|subscription| subscription.status);
            if draft.account.is_subscribed(draft.now) || status == Some(Status::Active) {
                return Err(Refusal::AlreadySubscribed);
            }
            if draft.account.is_paying(Purpose::Subscription) {
                return Err(Refusal::PaymentInFlight);
            }
            if payment.amount != FEE {
                return Err(Refusal::bad_amount("amount", "must be the plan's fee"));
            }
        }
        Purpose::AutoReload | Purpose::AutoScale => {
            return Err(Refusal::bad_amount("purpose", "is for the rules alone to begin"));
        }
    }
    draft.insert_payment(payment);
    Ok(Reply::Done)
}

fn check_amount(amount: Nanos) -> Result<(), Refusal> {
    if amount < SMALLEST || amount > LARGEST_GRANT {
        return Err(Refusal::bad_amount("amount", "must be at least $1 and at most $1,000,000"));
    }
    if amount.get() % 10_000_000 != 0 {
        return Err(Refusal::bad_amount("amount", "must be whole cents"));
    }
    Ok(())
}

pub(super) fn succeeded(
    draft: &mut Draft<'_>,
    id: PaymentId,
    grant_id: GrantId,
    reference: Option<String>,
) -> Result<Reply, Refusal> {
    let payment = draft.account.payments.get(&id).cloned().ok_or(Refusal::NoPayment(id))?;
    let (amount, subscribed_until) = match payment.purpose {
        Purpose::Subscription => (crate::plan::Plan::Payg.credits(), Some(subscription::next_end(draft))),
        Purpose::Purchase | Purpose::AutoReload | Purpose::AutoScale => (payment.amount, None),
    };
    let reply = fund::add(
        draft,
        Fund {
            grant_id,
            source: payment.purpose.source(),
            source_key: payment.grant_key(),
            amount,
            paid: payment.amount,
            expires_at: None,
            subscribed_until: None,
        },
    )?;
    if let Some(until) = subscribed_until {
        subscription::paid(draft, &payment, until);
    }
    draft.account.payments.remove(&id);
    automatic::succeeded(draft, &payment);
    let ended_at = Some(draft.now);
    let cycle_end = subscribed_until;
    draft.end_payment(Payment { status: PaymentStatus::Succeeded, reference, ended_at, cycle_end, ..payment });
    Ok(reply)
}

pub(super) fn declined(draft: &mut Draft<'_>, id: PaymentId, decline_code: String) -> Result<Reply, Refusal> {
    let payment = draft.account.payments.remove(&id).ok_or(Refusal::NoPayment(id))?;
    automatic::declined(draft, &payment, &decline_code);
    if payment.purpose == Purpose::Subscription {
        subscription::declined(draft, &payment, &decline_code);
    }
    let ended_at = Some(draft.now);
    let decline_code = Some(decline_code);
    draft.end_payment(Payment { status: PaymentStatus::Declined, decline_code, ended_at, ..payment });
    Ok(Reply::Done)
}
