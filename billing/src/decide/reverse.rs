//! Credits taken back: by an operator, or because a payment was refunded or charged back. What is left of a reversed grant
//! is voided, what was spent becomes debt, and what a running request holds is taken when its hold ends.

use super::draft::Draft;
use crate::{
    command::{Refusal, Reply},
    entry::{Line, LineKind},
    event::{Event, EventKind},
    grant::Grant,
    ids::GrantId,
    nanos::Nanos,
    payment::{Payment, PaymentStatus},
};

/// Pays a debt from whatever is available. A debt and credits beside it only meet where credits come back: a hold that is
/// released, a reversal that leaves other grants.
pub(super) fn repay_debt(draft: &mut Draft<'_>) {
    let debt = draft.account.header.debt;
    if !debt.is_positive() || !draft.account.available.is_positive() {
        return;
    }
    draft.draw(debt, |grant_id, part| {
        let mut line = Draft::line(LineKind::DebtRepaid, grant_id, None);
        line.available = -part;
        line.spent = part;
        line.debt = -part;
        line
    });
}

pub(super) fn void(draft: &mut Draft<'_>, id: GrantId, amount: Option<Nanos>) -> Result<Reply, Refusal> {
    let left = draft.account.grants.iter().find(|grant| grant.id == id).map(|grant| grant.available);
    let left = left.filter(|left| left.is_positive()).ok_or(Refusal::NoGrant(id))?;
    let amount = amount.unwrap_or(left);
    if !amount.is_positive() || amount > left {
        return Err(Refusal::BadAmount { field: "amount", message: "must be above $0 and at most what is available" });
    }
    draft.record(voided(id, amount));
    draft.reschedule();
    Ok(Reply::Done)
}

fn voided(id: GrantId, amount: Nanos) -> Line {
    let mut line = Draft::line(LineKind::GrantVoided, id, None);
    line.available = -amount;
    line.voided = amount;
    line
}

/// Spent credits whose money was taken back: owed again.
pub(super) fn owed_again(id: GrantId, amount: Nanos) -> Line {
    let mut line = Draft::line(LineKind::DebtIncurred, id, None);
    line.spent = -amount;
    line.voided = amount;
    line.debt = amount;
    line
}

pub(super) fn reverse(
    draft: &mut Draft<'_>,
    payment: Payment,
    stored: Option<Box<Grant>>,
    total: Nanos,
) -> Result<Reply, Refusal> {
    if payment.status != PaymentStatus::Succeeded {
        return Err(Refusal::NoPayment(payment.id));
    }
    if total < Nanos::ZERO || total > payment.amount {
        return Err(Refusal::BadAmount { field: "amount", message: "is more than was paid" });
    }
    let fresh = total - payment.reversed;
    if !fresh.is_positive() {
        return Ok(Reply::Done);
    }
    let id = find(draft, &payment, stored)?;
    if let Some(index) = draft.account.grant_index(id) {
        take(draft, index, fresh, payment.amount);
    }
    draft.reschedule();
    let event = Event::new(EventKind::PaymentReversed, format!("{} {}", payment.id, total.get()));
    draft.tell(event.text("payment_id", payment.id.to_string()).amount("amount", fresh));
    draft.end_payment(Payment { reversed: total, ..payment });
    Ok(Reply::Done)
}

/// The payment's grant, brought into memory where it no longer was.
fn find(draft: &mut Draft<'_>, payment: &Payment, stored: Option<Box<Grant>>) -> Result<GrantId, Refusal> {
    let key = payment.grant_key();
    let source = payment.purpose.source();
    if let Some(grant) = draft.account.grants.iter().find(|grant| grant.source == source && grant.source_key == key) {
        return Ok(grant.id);
    }
    let grant = stored.filter(|grant| grant.source_key == key).ok_or(Refusal::NoPayment(payment.id))?;
    if grant.is_live(draft.now) {
        // It was in memory when it was read, and has changed since.
        return Err(Refusal::GrantMoved(grant.id));
    }
    let id = grant.id;
    let index = draft.account.grants.partition_point(|other| other.draw_order() < grant.draw_order());
    draft.account.grants.insert(index, *grant);
    Ok(id)
}

/// Takes the credits that so much of a payment bought: first what is available, then what was spent, then what is held.
fn take(draft: &mut Draft<'_>, index: usize, fresh: Nanos, amount: Nanos) {
    let grant = &mut draft.account.grants[index];
    grant.paid -= fresh.min(grant.paid);
    let (id, funded) = (grant.id, grant.funded);
    let bought = i128::from(funded.get()) * i128::from(fresh.get()) / i128::from(amount.get().max(1));
    let mut missing = Nanos::new(i64::try_from(bought).unwrap_or(i64::MAX)).min(funded);
    let left = grant.available.min(missing);
    missing -= left;
    let spent = grant.spent.min(missing);
    missing -= spent;
    grant.recall += missing.min(grant.held - grant.recall);
    draft.touch(id);
    if left.is_positive() {
        draft.record(voided(id, left));
    }
    if spent.is_positive() {
        draft.record(owed_again(id, spent));
    }
}
