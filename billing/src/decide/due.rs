//! Effects of time, applied before every command: credits expire, the free plan's dollar is replaced, a cycle of the
//! plan ends, and the owner is notified in advance.

use super::{
    draft::Draft,
    expire,
    fund::{self, Cycle},
    subscription,
};
use crate::{
    account::TIER_NOTICE_MS,
    event::{Event, EventKind},
    grant::Source,
    ids::GrantId,
    plan::Plan,
    time::FOUR_WEEKS_MS,
};

/// Applies everything that is due by now.
pub(super) fn pass_time(draft: &mut Draft<'_>) {
    if draft.now < draft.account.due_at {
        return;
    }
    draft.reschedule();
    expire::sweep(draft);
    subscription::renew(draft);
    refresh_free(draft);
    notify_of_expiry(draft);
    notify_of_tier(draft);
}

/// Grants the free plan's dollar: one for each cycle since sign-up. It lasts until the cycle's end, so that two never
/// add up.
pub(super) fn refresh_free(draft: &mut Draft<'_>) {
    let (now, header) = (draft.now, &draft.account.header);
    if header.plan != Plan::Free || now < draft.account.free_until {
        return;
    }
    let begin = header.created_at.plus_ms(now.ms_since(header.created_at) / FOUR_WEEKS_MS * FOUR_WEEKS_MS);
    let end = begin.plus_ms(FOUR_WEEKS_MS);
    draft.account.free_until = end;
    let grant_id = draft.new_grant_id(now, begin.0.unsigned_abs());
    let cycle = Cycle { grant_id, source: Source::Free, begin, amount: Plan::Free.credits(), expires_at: end };
    fund::insert(draft, &cycle);
}

fn notify_of_expiry(draft: &mut Draft<'_>) {
    let now = draft.now;
    let due: Vec<GrantId> = draft
        .account
        .grants
        .iter()
        .filter(|grant| grant.next_notice().is_some_and(|at| at <= now))
        .map(|grant| grant.id)
        .collect();
    for id in due {
        let Some(index) = draft.account.grant_index(id) else { continue };
        let grant = &mut draft.account.grants[index];
        let Some(days) = grant.pass_notices(now) else { continue };
        let left = grant.available + grant.held;
        let (source, expires_at) = (grant.source, grant.expires_at);
        draft.touch(id);
        if left.is_positive() && now < expires_at {
            let event = Event::new(EventKind::CreditsExpiring, format!("{id} {days} {}", expires_at.0))
                .text("grant_id", id.to_string())
                .text("source", source.name())
                .text("days", days.to_string())
                .amount("amount", left)
                .at("expires_at", expires_at);
            draft.tell(event);
        }
    }
}

fn notify_of_tier(draft: &mut Draft<'_>) {
    let Some(fall) = draft.account.tier_fall(draft.now) else { return };
    let is_near = fall.at.plus_ms(-TIER_NOTICE_MS) <= draft.now;
    if !is_near || draft.account.fall_told == Some(fall.at) {
        return;
    }
    draft.account.fall_told = Some(fall.at);
    let from = draft.account.tier(draft.now);
    let event = Event::new(EventKind::TierFalling, fall.at.0.to_string())
        .at("at", fall.at)
        .amount("from", from.purchased)
        .amount("to", fall.to.purchased)
        .text("largest_class", fall.to.largest.name())
        .text("units", fall.to.units.to_string());
    draft.tell(event);
}
