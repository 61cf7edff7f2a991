//! A running request's cost: accrued while it runs, captured once when it ends. Settling never fails for want of credits:
//! what neither the hold nor the rest covers becomes debt.

use super::draft::Draft;
use crate::{
    command::{Refusal, Reply},
    entry::{Line, LineKind, UsageRecord},
    hold::DEADLINE_MS,
    ids::{GrantId, RequestId},
    nanos::Nanos,
};

/// Notes the cost so far, and grows the hold so that a slice more is covered, as far as credits reach. Nothing is written
/// while the hold covers it and what is durable is fresh enough.
pub(super) fn accrue(draft: &mut Draft<'_>, id: RequestId, accrued: Nanos, slice: Nanos) -> Result<Reply, Refusal> {
    let hold = draft.account.holds.get(&id).ok_or(Refusal::NoHold(id))?;
    let held = hold.total();
    if accrued < hold.accrued {
        return Ok(Reply::Accrued { held, covered: true });
    }
    let missing = accrued + slice - held;
    if !missing.is_positive() && !hold.wants_checkpoint(accrued, draft.now) {
        return Ok(Reply::Accrued { held, covered: true });
    }
    let missing = missing.max(Nanos::ZERO);
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
    hold.deadline = deadline;
    draft.hold = Some(hold.clone());
    Ok(Reply::Accrued { held: held + gained, covered: gained == missing })
}

/// Ends a hold: the charge is taken from it, then from what is available, then becomes debt; the rest is given back, or
/// expires where its grant has.
pub(super) fn settle(draft: &mut Draft<'_>, usage: UsageRecord) -> Result<Reply, Refusal> {
    let id = usage.request_id;
    if usage.charged < Nanos::ZERO {
        return Err(Refusal::BadAmount { field: "charged", message: "a charge can't be negative" });
    }
    let hold = draft.account.remove_hold(id).ok_or(Refusal::NoHold(id))?;
    let mut owed = usage.charged;
    let mut captured = false;
    let mut released = false;
    for (grant_id, part) in hold.allocations {
        let taken = part.min(owed);
        owed -= taken;
        captured |= taken.is_positive();
        released |= end_part(draft, id, grant_id, (part, taken)) && !taken.is_positive();
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
        // Every charge leaves a capture, even one that became debt whole: it is what makes a second one impossible.
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
    let charged = usage.charged;
    draft.ended = Some(id);
    draft.usage = Some(usage);
    Ok(Reply::Settled { charged, debt: owed })
}

/// Ends what is held of one grant: some is taken, the rest given back, in one line. Whether there was anything.
fn end_part(draft: &mut Draft<'_>, id: RequestId, grant_id: GrantId, (part, taken): (Nanos, Nanos)) -> bool {
    if !part.is_positive() {
        return false;
    }
    let expired =
        draft.account.grant_index(grant_id).is_some_and(|index| draft.account.grants[index].is_expired(draft.now));
    let kind = if taken.is_positive() { LineKind::HoldCaptured } else { LineKind::HoldReleased };
    let mut line = Draft::line(kind, grant_id, Some(id));
    line.held = -part;
    line.spent = taken;
    if expired {
        line.expired = part - taken;
    } else {
        line.available = part - taken;
    }
    draft.record(line);
    true
}
