//! Credits that refunds and disputes take from a grant, and credits that come back. Taken first are the available
//! credits, then those already lost (expired, or voided by an operator: no debt arises from them), then those held by
//! running requests, and last the spent ones, which become debt. They come back in reverse order: debt is undone first.
//! Credits that become usable again keep the remaining life that they had when they were taken.

use super::draft::Draft;
use crate::{
    entry::{Line, LineKind},
    ids::GrantId,
    nanos::Nanos,
    time::FOUR_WEEKS_MS,
};

/// Repays debt from the available credits. Debt and available credits meet only where credits come back: a hold is
/// released, or a reversal leaves other grants untouched.
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

pub(super) fn voided(id: GrantId, amount: Nanos) -> Line {
    let mut line = Draft::line(LineKind::GrantVoided, id, None);
    line.available = -amount;
    line.voided = amount;
    line
}

/// A line that turns spent credits into debt because their money was taken back. A negative amount reduces the debt.
fn owed_again(kind: LineKind, id: GrantId, amount: Nanos) -> Line {
    let mut line = Draft::line(kind, id, None);
    line.spent = -amount;
    line.voided = amount;
    line.debt = amount;
    line
}

/// Takes as much of the missing amount as there is.
fn part(missing: &mut Nanos, there: Nanos) -> Nanos {
    let part = there.min(*missing);
    *missing -= part;
    part
}

/// Takes another amount from a grant.
pub(super) fn take(draft: &mut Draft<'_>, index: usize, amount: Nanos) {
    let mut missing = amount;
    let grant = &mut draft.account.grants[index];
    let id = grant.id;
    let unused = part(&mut missing, grant.available);
    let gone = part(&mut missing, grant.gone() - grant.taken.gone);
    let held = part(&mut missing, grant.held - grant.recall);
    let spent = part(&mut missing, grant.spent);
    assert!(missing == Nanos::ZERO, "more is to be taken than grant {id} ever had");
    grant.taken.gone += gone;
    grant.taken.held += held;
    grant.recall += held;
    grant.taken.unused += unused;
    grant.taken.spent += spent;
    draft.touch(id);
    // One line for everything: in between, the grant would not be sound.
    let mut line = voided(id, unused);
    line.spent = -spent;
    line.voided += spent;
    line.debt = spent;
    if unused.is_positive() || spent.is_positive() {
        line.kind = if unused.is_positive() { LineKind::GrantVoided } else { LineKind::DebtIncurred };
        draft.record(line);
    }
}

/// The remaining life of credits taken from a grant now, in milliseconds. From an expired grant only spent credits can
/// come back usable, if they were paid for by other credits meanwhile. Those get a full life.
pub(super) fn left_ms(draft: &Draft<'_>, index: usize) -> i64 {
    let grant = &draft.account.grants[index];
    if grant.is_expired(draft.now) && grant.spent.is_positive() {
        return FOUR_WEEKS_MS;
    }
    grant.expires_at.ms_since(draft.now)
}

/// Gives an amount of the credits taken back to its grant.
pub(super) fn give_back(draft: &mut Draft<'_>, index: usize, amount: Nanos, left_ms: i64) {
    let (now, debt) = (draft.now, draft.account.header.debt);
    let mut missing = amount;
    let grant = &mut draft.account.grants[index];
    let id = grant.id;
    let owed = part(&mut missing, grant.taken.spent.min(debt));
    grant.taken.spent -= owed;
    // The debt was repaid with other credits: these take their place.
    let repaid = part(&mut missing, grant.taken.spent);
    grant.taken.spent -= repaid;
    let held = part(&mut missing, grant.taken.held);
    grant.taken.held -= held;
    grant.recall -= held;
    let gone = part(&mut missing, grant.taken.gone);
    grant.taken.gone -= gone;
    let unused = part(&mut missing, grant.taken.unused);
    grant.taken.unused -= unused;
    assert!(missing == Nanos::ZERO, "more comes back to grant {id} than was taken");
    let usable = repaid + unused;
    let lasts_until = now.plus_ms(left_ms);
    if usable.is_positive() && lasts_until > grant.expires_at {
        grant.expires_at = lasts_until;
        // The owner is notified again before the new expiry.
        grant.notices = 0;
        grant.pass_notices(now);
    }
    let index = draft.place_again(index);
    let is_over = draft.account.grants[index].is_expired(now);
    draft.touch(id);
    if owed.is_positive() {
        draft.record(owed_again(LineKind::DebtRepaid, id, -owed));
    }
    if usable.is_positive() {
        let mut line = voided(id, -usable);
        if is_over {
            line.available = Nanos::ZERO;
            line.expired = usable;
        }
        draft.record(line);
    }
}
