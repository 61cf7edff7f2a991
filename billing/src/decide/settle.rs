//! The cost of a running request: accrued while it runs, captured once when it ends. Settling never fails for lack of
//! credits: the part that neither the hold nor the available credits cover becomes debt.

use super::draft::Draft;
use crate::{
    command::{Refusal, Reply},
    entry::{Ending, Line, LineKind, UsageRecord},
    event::{Event, EventKind},
    hold::{DEADLINE_MS, Work},
    ids::{GrantId, RequestId},
    nanos::Nanos,
    quantity::Direction,
};

/// Records the cost so far, and grows the hold to cover another slice, as far as credits and the key's limits allow.
/// Nothing is written while the hold suffices and the durable cost is recent enough.
pub(super) fn accrue(draft: &mut Draft<'_>, id: RequestId, accrued: Nanos, slice: Nanos) -> Result<Reply, Refusal> {
    let hold = draft.account.holds.get(&id).ok_or(Refusal::NoHold(id))?;
    let (held, claim) = (hold.total(), hold.claim());
    if accrued < hold.accrued {
        return Ok(Reply::Accrued { held, claimed: hold.claimed });
    }
    let room = draft.account.room_of(hold.key_id, draft.now);
    // The most that the key allows, including the amount held now. A claim never shrinks, and no cost beyond it makes it grow.
    let allowed = hold.claimed.unwrap_or(claim);
    let claimed = room.map(|room| allowed.max((accrued + slice).min(allowed + room)));
    // A second of an open model beyond its claim began because a token took long. It is not billed.
    let accrued = match (hold.work, claimed) {
        (Work::Open { .. }, Some(claimed)) => accrued.min(claimed),
        (Work::Open { .. }, None) | (Work::Closed, _) => accrued,
    };
    let wanted = claimed.map_or(accrued + slice, |claimed| (accrued + slice).min(claimed));
    let missing = (wanted - held).max(Nanos::ZERO);
    if !missing.is_positive() && claimed == hold.claimed && !hold.wants_checkpoint(accrued, draft.now) {
        return Ok(Reply::Accrued { held, claimed });
    }
    let mut grown = draft.draw(missing, |grant_id, part| {
        let mut line = Draft::line(LineKind::HoldGrown, grant_id, Some(id));
        line.available = -part;
        line.held = part;
        line
    });
    let gained: Nanos = grown.iter().map(|(_, part)| *part).sum();
    if grown.is_empty() {
        let mut line = Line::new(LineKind::HoldGrown);
        line.request_id = Some(id);
        draft.record(line);
    }
    let deadline = draft.now.plus_ms(DEADLINE_MS);
    let hold = draft.account.holds.get_mut(&id).ok_or(Refusal::NoHold(id))?;
    for (grant_id, part) in grown.drain(..) {
        match hold.allocations.iter_mut().find(|(held_of, _)| *held_of == grant_id) {
            Some((_, amount)) => *amount += part,
            None => hold.allocations.push((grant_id, part)),
        }
    }
    hold.accrued = accrued;
    hold.claimed = claimed;
    hold.deadline = deadline;
    let after = hold.claim();
    if let Some(key) = hold.key_id.and_then(|id| draft.account.keys.get_mut(&id)) {
        key.hold(after - claim);
    }
    draft.hold = Some(hold.clone());
    Ok(Reply::Accrued { held: held + gained, claimed })
}

/// Ends a hold. The charge is taken from the hold, then from the available credits, and the rest becomes debt. The
/// unused part of the hold is released, or expires with its grant.
pub(super) fn settle(draft: &mut Draft<'_>, usage: UsageRecord) -> Result<Reply, Refusal> {
    let id = usage.request_id;
    if usage.charged < Nanos::ZERO {
        return Err(Refusal::bad_amount("charged", "a charge can't be negative"));
    }
    let hold = draft.account.remove_hold(id).ok_or(Refusal::NoHold(id))?;
    let claim = hold.claim();
    let mut owed = usage.charged;
    let mut captured = false;
    let mut released = false;
    for (grant_id, part) in hold.allocations {
        let taken = part.min(owed);
        let recall = take_recall(draft, grant_id, part, taken);
        owed -= taken;
        captured |= taken.is_positive();
        released |= end_part(draft, id, grant_id, (part, taken, recall)) && !taken.is_positive();
    }
    if owed.is_positive() {
        let beyond = draft.draw(owed, |grant_id, part| {
            let mut line = Draft::line(LineKind::HoldCaptured, grant_id, Some(id));
            line.available = -part;
            line.spent = part;
            line
        });
        captured |= !beyond.is_empty();
        owed -= beyond.into_iter().map(|(_, part)| part).sum();
    }
    if owed.is_positive() {
        let mut line = Line::new(LineKind::DebtIncurred);
        line.request_id = Some(id);
        line.debt = owed;
        draft.record(line);
    }
    if !captured && usage.charged.is_positive() {
        // Every charge writes a capture, even if the whole charge became debt. The capture makes a second one
        // impossible.
        let mut line = Line::new(LineKind::HoldCaptured);
        line.request_id = Some(id);
        draft.record(line);
    }
    if !usage.charged.is_positive() && !released {
        let mut line = Line::new(LineKind::HoldReleased);
        line.request_id = Some(id);
        draft.record(line);
    }
    draft.account.header.charged += usage.charged;
    let output = usage.parts.tokens(Direction::Output);
    if hold.work == Work::Closed && usage.ending == Ending::Completed && !usage.estimated && output > 0 {
        draft.account.learned.observe(&usage.model, output);
    }
    spend_key(draft, &usage, claim);
    let charged = usage.charged;
    draft.ended = Some(id);
    draft.usage = Some(usage);
    Ok(Reply::Settled { charged, debt: owed })
}

/// Counts a charge against its key's limits, and notifies the owner of a limit that is nearly used up.
fn spend_key(draft: &mut Draft<'_>, usage: &UsageRecord, claim: Nanos) {
    let Some(id) = usage.key_id else { return };
    let Some(key) = draft.account.keys.get_mut(&id) else { return };
    let before = key.beyond();
    key.spend(usage.charged, claim, usage.ended_at);
    if key.beyond() != before {
        draft.beyond = Some((id, key.beyond()));
    }
    for reached in key.newly_reached() {
        let event = Event::new(EventKind::KeyLimitNear, reached.subject(id));
        let event = event.text("key_id", id.to_string()).text("window", reached.window.name());
        let event = event.text("percent", reached.percent.to_string());
        draft.tell(event.amount("limit", reached.limit).amount("spent", reached.spent));
    }
}

/// The recalled part of a hold's share of one grant.
#[derive(Clone, Copy)]
struct Recall {
    /// From the released credits.
    released: Nanos,
    /// From the captured credits.
    captured: Nanos,
}

fn take_recall(draft: &mut Draft<'_>, id: GrantId, part: Nanos, taken: Nanos) -> Recall {
    let mut recall = Recall { released: Nanos::ZERO, captured: Nanos::ZERO };
    let Some(index) = draft.account.grant_index(id) else { return recall };
    let grant = &mut draft.account.grants[index];
    recall.released = grant.recall.min(part - taken);
    grant.recall -= recall.released;
    recall.captured = grant.recall.min(taken);
    grant.recall -= recall.captured;
    // Credits taken by refunds and disputes come before those voided by an operator. The result is the same.
    let unused = grant.taken.held.min(recall.released);
    let spent = (grant.taken.held - unused).min(recall.captured);
    grant.taken.held -= unused + spent;
    grant.taken.unused += unused;
    grant.taken.spent += spent;
    recall
}

/// Ends the share of one grant in one line: the captured credits are spent, and the rest becomes available, expires
/// with the grant, or is voided if it was recalled. Captured credits that were recalled become debt. Returns whether
/// there was a share.
fn end_part(
    draft: &mut Draft<'_>,
    id: RequestId,
    grant_id: GrantId,
    (part, taken, recall): (Nanos, Nanos, Recall),
) -> bool {
    if !part.is_positive() {
        return false;
    }
    let expired =
        draft.account.grant_index(grant_id).is_some_and(|index| draft.account.grants[index].is_expired(draft.now));
    let kind = if taken.is_positive() { LineKind::HoldCaptured } else { LineKind::HoldReleased };
    let mut line = Draft::line(kind, grant_id, Some(id));
    line.held = -part;
    line.spent = taken - recall.captured;
    line.voided = recall.released + recall.captured;
    line.debt = recall.captured;
    let back = part - taken - recall.released;
    if expired {
        line.expired = back;
    } else {
        line.available = back;
    }
    draft.record(line);
    true
}
