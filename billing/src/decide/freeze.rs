//! A frozen account: it admits no requests, and buys nothing by itself. What runs goes on and is settled, grants and payments by
//! hand are as ever, and so are refunds and disputes.

use super::{draft::Draft, subscription};
use crate::{
    command::{Refusal, Reply},
    event::{Event, EventKind},
};

/// Admits no more requests from now on.
pub(super) fn freeze(draft: &mut Draft<'_>) -> Result<Reply, Refusal> {
    if let Some(since) = draft.account.header.frozen_at {
        return Err(Refusal::AlreadyFrozen(since));
    }
    draft.account.header.frozen_at = Some(draft.now);
    tell(draft, EventKind::AccountFrozen);
    Ok(Reply::Done)
}

/// Admits requests again. A renewal that was due meanwhile begins now.
pub(super) fn unfreeze(draft: &mut Draft<'_>) -> Result<Reply, Refusal> {
    if draft.account.header.frozen_at.take().is_none() {
        return Err(Refusal::NotFrozen);
    }
    tell(draft, EventKind::AccountUnfrozen);
    subscription::renew(draft);
    Ok(Reply::Done)
}

/// Tells the owner. An operator's reason is not the owner's to read.
fn tell(draft: &mut Draft<'_>, kind: EventKind) {
    draft.reschedule();
    let event = Event::new(kind, draft.event_subject());
    let at = draft.now;
    draft.tell(event.at("at", at));
}
