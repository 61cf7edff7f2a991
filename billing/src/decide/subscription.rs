//! The pay-as-you-go plan under commands and time: renewed at the end of its paid time (of a frozen account not until it
//! is unfrozen), tried again after a decline, ended when cancelled or when no attempt is left.

use super::{draft::Draft, due};
use crate::{
    command::{Refusal, Reply},
    event::{Event, EventKind},
    payment::{Payment, Purpose},
    plan::Plan,
    subscription::{AtEnd, FEE, RETRIES_MS, Status, Subscription, paid_until},
    time::Timestamp,
};

/// Begins a due renewal, or ends a cancelled subscription.
pub(super) fn renew(draft: &mut Draft<'_>) {
    let Some(subscription) = draft.account.subscription() else { return };
    let due = subscription.due_at(draft.account.header.subscribed_until);
    if due.is_none_or(|at| draft.now < at) || draft.account.is_paying(Purpose::Subscription) {
        return;
    }
    match subscription.at_end {
        AtEnd::Renew if draft.account.header.frozen_at.is_some() => {}
        AtEnd::Renew => {
            let method = subscription.method.clone();
            // Between two renewals lies a cycle, or the wait after a decline, so the number may repeat.
            draft.begin_payment((Purpose::Subscription, 0), FEE, method, None);
        }
        AtEnd::Cancel => end(draft, "cancelled"),
    }
}

/// The end of the paid time if a payment succeeds now.
pub(super) fn next_end(draft: &Draft<'_>) -> Timestamp {
    let status = draft.account.subscription().map_or(Status::Ended, |subscription| subscription.status);
    paid_until(draft.account.header.subscribed_until, status, draft.now)
}

/// Records a paid cycle.
pub(super) fn paid(draft: &mut Draft<'_>, payment: &Payment, until: Timestamp) {
    let is_renewal = draft.account.subscription().is_some_and(|subscription| subscription.status != Status::Ended);
    if is_renewal {
        if let Some(subscription) = draft.subscription() {
            subscription.status = Status::Active;
            subscription.failures = 0;
            subscription.retry_at = None;
        }
        let event = Event::new(EventKind::SubscriptionRenewed, payment.id.to_string());
        draft.tell(event.amount("fee", payment.amount).at("paid_until", until));
    } else {
        draft.begin_subscription(Subscription::new(payment.method.clone(), draft.now));
    }
    draft.account.header.plan = Plan::Payg;
    draft.account.header.subscribed_until = Some(until);
}

/// Records a declined payment of a cycle. A declined sign-up changes nothing; a renewal is tried again a limited number
/// of times.
pub(super) fn declined(draft: &mut Draft<'_>, payment: &Payment, decline_code: &str) {
    let now = draft.now;
    if draft.account.subscription().is_none_or(|subscription| subscription.status == Status::Ended) {
        return;
    }
    let Some(subscription) = draft.subscription() else { return };
    subscription.failures += 1;
    let failures = subscription.failures;
    let retry = usize::try_from(failures - 1).ok().and_then(|place| RETRIES_MS.get(place));
    let Some(wait) = retry.filter(|_| subscription.at_end == AtEnd::Renew) else {
        end(draft, decline_code);
        return;
    };
    let retry_at = now.plus_ms(*wait);
    subscription.status = Status::PastDue;
    subscription.retry_at = Some(retry_at);
    let event = Event::new(EventKind::SubscriptionFailed, payment.id.to_string());
    draft.tell(event.text("decline_code", decline_code).at("retry_at", retry_at));
}

pub(super) fn end(draft: &mut Draft<'_>, why: &str) {
    if let Some(subscription) = draft.subscription() {
        subscription.status = Status::Ended;
        subscription.retry_at = None;
    }
    draft.account.header.plan = Plan::Free;
    let event = Event::new(EventKind::SubscriptionEnded, draft.event_subject());
    draft.tell(event.text("reason", why));
    due::refresh_free(draft);
}

pub(super) fn cancel(draft: &mut Draft<'_>) -> Result<Reply, Refusal> {
    match draft.account.subscription().map(|subscription| subscription.status) {
        Some(Status::Active) => {
            if let Some(subscription) = draft.subscription() {
                subscription.at_end = AtEnd::Cancel;
            }
            // Of a frozen account the paid time may be over already.
            renew(draft);
        }
        Some(Status::PastDue) if draft.account.is_paying(Purpose::Subscription) => {
            if let Some(subscription) = draft.subscription() {
                subscription.at_end = AtEnd::Cancel;
            }
        }
        Some(Status::PastDue) => end(draft, "cancelled"),
        Some(Status::Ended) | None => return Err(Refusal::NotSubscribed),
    }
    Ok(Reply::Done)
}

pub(super) fn resume(draft: &mut Draft<'_>) -> Result<Reply, Refusal> {
    let is_active = draft.account.subscription().is_some_and(|subscription| subscription.status == Status::Active);
    match draft.subscription() {
        Some(subscription) if is_active => {
            subscription.at_end = AtEnd::Renew;
            Ok(Reply::Done)
        }
        _ => Err(Refusal::NotSubscribed),
    }
}
