//! The permit of a request whose reader is slow: given back while the request stands still, so that others may run, and
//! taken again before it goes on. Its hold stays, and what it costs.

use super::draft::Draft;
use crate::{
    command::{Refusal, Reply, Scale},
    entry::{Line, LineKind},
    hold::Hold,
    ids::RequestId,
};

/// Gives a request's permit back. One that has given it back, or has none, stays as it is; so does one beyond as many units
/// as the account may use: an account has no more than twice its units of requests, however slowly it reads.
pub(super) fn park(draft: &mut Draft<'_>, id: RequestId) -> Result<Reply, Refusal> {
    let hold = draft.account.hold(id).ok_or(Refusal::NoHold(id))?;
    let units = hold.units();
    let given_back: u32 = draft.account.holds.values().filter(|hold| hold.is_parked).map(|hold| hold.weight().0).sum();
    let has_room = given_back == 0 || given_back + units.0 <= draft.account.tier(draft.now).units.0;
    if units.0 == 0 || !has_room {
        return Ok(Reply::Done);
    }
    draft.account.give_back(units);
    change(draft, id, |hold| hold.is_parked = true)
}

/// Takes a request's permit again, if one is free now. No permit is bought for it. A tier that fell meanwhile has fewer
/// units, and locks out no class that was let in.
pub(super) fn resume(draft: &mut Draft<'_>, id: RequestId) -> Result<Reply, Refusal> {
    let hold = draft.account.hold(id).ok_or(Refusal::NoHold(id))?;
    let needed = hold.weight();
    if !hold.is_parked {
        return Ok(Reply::Done);
    }
    let (used, tier) = (draft.account.units_used, draft.account.tier(draft.now));
    if !draft.account.has_units(needed, tier) {
        return Err(Refusal::ConcurrencyLimit { allowed: tier.units, used, needed, next: None, scale: Scale::Off });
    }
    draft.account.units_used.0 += needed.0;
    change(draft, id, |hold| hold.is_parked = false)
}

/// Changes a hold, with a line of the journal that moves nothing.
fn change(draft: &mut Draft<'_>, id: RequestId, change: impl FnOnce(&mut Hold)) -> Result<Reply, Refusal> {
    let hold = draft.account.holds.get_mut(&id).ok_or(Refusal::NoHold(id))?;
    change(hold);
    draft.hold = Some(hold.clone());
    let mut line = Line::new(LineKind::HoldGrown);
    line.request_id = Some(id);
    draft.record(line);
    Ok(Reply::Done)
}
