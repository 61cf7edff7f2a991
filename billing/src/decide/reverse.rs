//! Reversals of a payment. The reversals in force are compared with those before, and the difference is taken from the
//! payment's grant or given back to it. The tier and the plan's cycle follow.

use super::{automatic, draft::Draft, subscription, taken};
use crate::{
    command::{Refusal, Reply, Reverse},
    event::{Event, EventKind},
    grant::Grant,
    ids::GrantId,
    nanos::Nanos,
    payment::{Payment, PaymentStatus, Purpose},
    plan::Plan,
    reversal::{self, Kind, Merged, Reversal, TooMany},
    subscription::{AtEnd, Status},
    time::Timestamp,
};

pub(super) fn reverse(draft: &mut Draft<'_>, reverse: Reverse) -> Result<Reply, Refusal> {
    let Reverse { payment, grant, known, news, listing, card, paid_until, revision } = reverse;
    if payment.status != PaymentStatus::Succeeded {
        return Err(Refusal::NoPayment(payment.id));
    }
    if news.iter().any(|told| told.amount < Nanos::ZERO) {
        return Err(Refusal::bad_amount("amount", "can't be below $0"));
    }
    let merged = reversal::merge(payment.id, &known, &news, listing, draft.now);
    let Merged { mut rows, changed } = merged.map_err(|TooMany| Refusal::TooManyReversals(payment.id))?;
    if changed.is_empty() {
        return Ok(Reply::Done);
    }
    let before = Standing::of(&known, &payment);
    let after = Standing::of(&rows, &payment);
    check_cycle(draft, &payment, before, paid_until)?;
    let id = find(draft, &payment, grant, before.reversed, revision)?;
    let Some(index) = draft.account.grant_index(id) else { return Err(Refusal::GrantMoved(id)) };
    let stood = |id| known.iter().any(|row| row.id == id && row.state.stands());
    let left_ms = taken::left_ms(draft, index);
    for (place, row) in rows.iter_mut().enumerate() {
        if changed.contains(&place) && row.state.stands() && !stood(row.id) {
            (row.left_ms, row.card) = (left_ms, card.clone());
        }
    }
    let changed: Vec<&Reversal> = changed.iter().filter_map(|place| rows.get(*place)).collect();
    let came_back = changed.iter().filter(|row| !row.state.stands() && stood(row.id));
    let lasts_ms = came_back.map(|row| row.left_ms).max().unwrap_or(0);
    move_credits(draft, index, &payment, after.reversed, lasts_ms);
    if before.ends_cycle != after.ends_cycle {
        move_cycle(draft, &payment, after, paid_until);
    }
    let new_dispute = changed.iter().any(|row| row.kind == Kind::Dispute && row.state.stands() && !stood(row.id));
    if new_dispute || after.reversed > before.reversed {
        automatic::pause(draft, if new_dispute { "dispute" } else { "refund" });
    }
    for row in changed {
        tell(draft, row, stood(row.id));
        draft.write_reversal(row.clone());
    }
    draft.account.header.revision += 1;
    draft.reschedule();
    draft.end_payment(Payment { reversed: after.reversed, ..payment });
    Ok(Reply::Done)
}

/// The reversals of a payment that are in force.
#[derive(Clone, Copy)]
struct Standing {
    reversed: Nanos,
    ends_cycle: bool,
}

impl Standing {
    fn of(rows: &[Reversal], payment: &Payment) -> Self {
        let reversed = reversal::reversed(rows, payment.amount);
        Self { reversed, ends_cycle: reversal::ends_cycle(rows, payment.amount) }
    }
}

fn tell(draft: &mut Draft<'_>, row: &Reversal, stood: bool) {
    let kind = match (stood, row.state.stands()) {
        (false, true) => EventKind::PaymentReversed,
        (true, false) => EventKind::PaymentRestored,
        (true, true) | (false, false) => return,
    };
    let event = Event::new(kind, format!("{} {}", row.payment_id, row.id));
    let event = event.text("payment_id", row.payment_id.to_string()).text("kind", row.kind.name());
    draft.tell(event.text("state", row.state.name()).amount("amount", row.amount));
}

/// Finds the payment's grant, and loads it into memory if it was no longer there. The credits taken from it must match
/// the reversals in force, and the account's revision must be the one that was read. Otherwise the rows were read before an
/// earlier reversal was written. Of a grant that is not in memory the revision alone says so: another node may have reported
/// that one.
fn find(
    draft: &mut Draft<'_>,
    payment: &Payment,
    stored: Option<Box<Grant>>,
    reversed: Nanos,
    revision: Option<u64>,
) -> Result<GrantId, Refusal> {
    let key = payment.grant_key();
    let source = payment.purpose.source();
    let is_current = revision.is_none_or(|revision| revision == draft.account.header.revision);
    let is_read = |grant: &Grant| {
        let missing = reversal::credits(grant.funded, reversed, payment.amount) - grant.taken.total();
        is_current && (Nanos::ZERO..=reversal::ROUNDED).contains(&missing)
    };
    if let Some(grant) = draft.account.grants.iter().find(|grant| grant.source == source && *grant.source_key == *key) {
        return if is_read(grant) { Ok(grant.id) } else { Err(Refusal::GrantMoved(grant.id)) };
    }
    let grant = stored.filter(|grant| *grant.source_key == *key).ok_or(Refusal::NoPayment(payment.id))?;
    if grant.is_live(draft.now) || !is_read(&grant) {
        // The grant was in memory when it was read, and has changed since.
        return Err(Refusal::GrantMoved(grant.id));
    }
    let id = grant.id;
    let index = draft.account.grants.partition_point(|other| other.draw_order() < grant.draw_order());
    draft.account.grants.insert(index, *grant);
    Ok(id)
}

/// Adjusts a grant to the part of its payment that is not reversed.
fn move_credits(draft: &mut Draft<'_>, index: usize, payment: &Payment, reversed: Nanos, lasts_ms: i64) {
    let grant = &mut draft.account.grants[index];
    grant.paid = payment.amount - reversed;
    let id = grant.id;
    let (was, is) = (grant.taken.total(), reversal::credits(grant.funded, reversed, payment.amount));
    draft.touch(id);
    if is > was {
        taken::take(draft, index, is - was);
    } else if is < was {
        taken::give_back(draft, index, was - is, lasts_ms);
    }
}

/// Checks that the end of the plan's paid time matches its fees. Otherwise the fees were read before the last of them
/// was written.
fn check_cycle(
    draft: &Draft<'_>,
    payment: &Payment,
    before: Standing,
    paid_until: Option<Timestamp>,
) -> Result<(), Refusal> {
    let own = payment.cycle_end.filter(|_| !before.ends_cycle);
    let is_later = draft.account.header.subscribed_until > paid_until.max(own);
    if payment.purpose == Purpose::Subscription && is_later {
        return Err(Refusal::CycleMoved(payment.id));
    }
    Ok(())
}

/// Ends or restores the cycle of a fee. If the fee paid for the current time, the plan ends. If it pays again, the plan
/// runs for the rest of that time, and renews only if its owner resumes it.
fn move_cycle(draft: &mut Draft<'_>, payment: &Payment, after: Standing, paid_until: Option<Timestamp>) {
    if payment.purpose != Purpose::Subscription {
        return;
    }
    let until = paid_until.max(payment.cycle_end.filter(|_| !after.ends_cycle));
    let before = draft.account.header.subscribed_until;
    if until == before {
        return;
    }
    let now = draft.now;
    draft.account.header.subscribed_until = until;
    draft.reschedule();
    let is_paid = until.is_some_and(|until| now < until);
    let status = draft.account.subscription().map(|subscription| subscription.status);
    match status {
        Some(Status::Active | Status::PastDue) if !is_paid => subscription::end(draft, "payment_reversed"),
        Some(Status::Ended | Status::PastDue) if is_paid => {
            if let Some(subscription) = draft.subscription() {
                subscription.status = Status::Active;
                subscription.at_end = AtEnd::Cancel;
                subscription.failures = 0;
                subscription.retry_at = None;
            }
            draft.account.header.plan = Plan::Payg;
        }
        Some(Status::Active | Status::PastDue | Status::Ended) | None => {}
    }
}
