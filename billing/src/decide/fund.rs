//! Credits in: grants, and the payments that make them. A debt is paid first, in the same commit.

use super::draft::Draft;
use crate::{
    command::{Fund, Refusal, Reply},
    entry::{LineKind, Payment, PaymentStatus},
    grant::{Grant, Source},
    ids::{GrantId, PaymentId},
    nanos::Nanos,
    time::FOUR_WEEKS_MS,
};

/// The most one grant can be: $1 million.
const LARGEST_GRANT: Nanos = Nanos::dollars(1_000_000);

pub(super) fn fund(draft: &mut Draft<'_>, fund: Fund) -> Result<Reply, Refusal> {
    if !fund.amount.is_positive() || fund.amount > LARGEST_GRANT {
        return Err(Refusal::BadAmount { field: "amount", message: "must be above $0 and at most $1,000,000" });
    }
    let expires_at = fund.expires_at.unwrap_or(draft.now.plus_ms(FOUR_WEEKS_MS));
    if expires_at <= draft.now {
        return Err(Refusal::BadAmount { field: "expires_at", message: "must be in the future" });
    }
    if draft.account.grants.iter().any(|grant| grant.source == fund.source && grant.source_key == fund.source_key) {
        return Err(Refusal::AlreadyFunded(fund.source_key));
    }
    let grant = Grant {
        id: fund.grant_id,
        source: fund.source,
        source_key: fund.source_key,
        paid: fund.paid,
        created_at: draft.now,
        expires_at,
        funded: Nanos::ZERO,
        available: Nanos::ZERO,
        held: Nanos::ZERO,
        spent: Nanos::ZERO,
        expired: Nanos::ZERO,
        voided: Nanos::ZERO,
    };
    let place = draft.account.grants.partition_point(|other| other.draw_order() < grant.draw_order());
    // An account has few grants, and there are many accounts.
    draft.account.grants.reserve_exact(1);
    draft.account.grants.insert(place, grant);
    let mut line = Draft::line(LineKind::GrantFunded, fund.grant_id, None);
    line.funded = fund.amount;
    line.available = fund.amount;
    draft.record(line);
    let repaid = draft.account.header.debt.min(fund.amount);
    if repaid.is_positive() {
        let mut line = Draft::line(LineKind::DebtRepaid, fund.grant_id, None);
        line.available = -repaid;
        line.spent = repaid;
        line.debt = -repaid;
        draft.record(line);
    }
    if let Some(until) = fund.subscribed_until {
        draft.account.header.subscribed_until = Some(until);
    }
    Ok(Reply::Done)
}

pub(super) fn begin_payment(draft: &mut Draft<'_>, payment: Payment) -> Result<Reply, Refusal> {
    if payment.amount < Nanos::dollars(1) || payment.amount > LARGEST_GRANT {
        return Err(Refusal::BadAmount { field: "amount", message: "must be at least $1 and at most $1,000,000" });
    }
    if payment.amount.get() % 10_000_000 != 0 {
        return Err(Refusal::BadAmount { field: "amount", message: "must be whole cents" });
    }
    draft.account.payments.insert(payment.id, payment.clone());
    draft.payment = Some(payment);
    Ok(Reply::Done)
}

pub(super) fn payment_succeeded(draft: &mut Draft<'_>, id: PaymentId, grant_id: GrantId) -> Result<Reply, Refusal> {
    let payment = draft.account.payments.remove(&id).ok_or(Refusal::NoPayment(id))?;
    let reply = fund(
        draft,
        Fund {
            grant_id,
            source: Source::Purchase,
            source_key: id.to_string(),
            amount: payment.amount,
            paid: payment.amount,
            expires_at: None,
            subscribed_until: None,
        },
    )?;
    draft.payment = Some(Payment { status: PaymentStatus::Succeeded, ..payment });
    Ok(reply)
}

pub(super) fn payment_declined(draft: &mut Draft<'_>, id: PaymentId, decline_code: String) -> Result<Reply, Refusal> {
    let payment = draft.account.payments.remove(&id).ok_or(Refusal::NoPayment(id))?;
    draft.payment = Some(Payment { status: PaymentStatus::Declined, decline_code: Some(decline_code), ..payment });
    Ok(Reply::Done)
}
