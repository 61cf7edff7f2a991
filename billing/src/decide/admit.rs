//! Admission: all limits are checked first, and then taken together or not at all, so that a refusal uses up nothing.

use super::{automatic, draft::Draft};
use crate::{
    account::FREE_RATE,
    class::Units,
    command::{Admit, Refusal, Reply},
    entry::{Line, LineKind},
    hold::{DEADLINE_MS, Hold, Work},
    nanos::Nanos,
    tier::Tier,
};

/// The permits that a request may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Permits {
    /// Those of its account's tier that nothing runs on.
    OfTier,
    /// None: they are those of requests that wait.
    Others,
}

pub(super) fn admit(draft: &mut Draft<'_>, admit: Admit, permits: Permits) -> Result<Reply, Refusal> {
    let now = draft.now;
    if draft.account.hold(admit.request_id).is_some() {
        return Err(Refusal::AlreadyAdmitted(admit.request_id));
    }
    if let Some(since) = draft.account.header.frozen_at {
        return Err(Refusal::Frozen { since });
    }
    let tier = draft.account.tier(now);
    if let Work::Open { class, .. } = admit.work {
        check_class(draft, class, tier)?;
    }
    let amount = size_hold(draft, &admit)?;
    if let Work::Open { units, .. } = admit.work {
        check_permits(draft, &admit, (units, permits), tier)?;
    }
    let mut rate_remaining = None;
    if admit.work == Work::Closed && !draft.account.is_payg(now) {
        draft
            .account
            .bucket
            .take(now)
            .map_err(|retry_after_ms| Refusal::RateLimit { limit: FREE_RATE, retry_after_ms })?;
        rate_remaining = Some(draft.account.bucket.remaining());
    }
    let claimed = place(draft, admit, amount);
    Ok(Reply::Admitted { held: amount, rate_remaining, units_allowed: tier.units, claimed })
}

fn check_class(draft: &Draft<'_>, class: crate::class::SizeClass, tier: Tier) -> Result<(), Refusal> {
    if class <= tier.largest {
        return Ok(());
    }
    let unlock = Tier::that_unlocks(class).to_buy(draft.account.purchased(draft.now));
    Err(Refusal::ModelLocked { class, largest: tier.largest, unlock })
}

/// Checks the permits. Checked last, because this is the only limit that a purchase can lift.
fn check_permits(
    draft: &mut Draft<'_>,
    admit: &Admit,
    (needed, permits): (Units, Permits),
    tier: Tier,
) -> Result<(), Refusal> {
    if permits == Permits::OfTier && draft.account.has_units(needed, tier) {
        return Ok(());
    }
    let used = draft.account.units_used;
    let purchased = draft.account.purchased(draft.now);
    let next = tier.next_with_more_units().map(|next| (next.to_buy(purchased), next.units));
    let scale = automatic::scale(draft, admit.auto_scale, tier);
    Err(Refusal::ConcurrencyLimit { allowed: tier.units, used, needed, next, scale })
}

fn size_hold(draft: &Draft<'_>, admit: &Admit) -> Result<Nanos, Refusal> {
    let (available, debt) = (draft.account.available, draft.account.header.debt);
    let mut wanted = admit.hold;
    if let Some(output) = &admit.output
        && let Some(tokens) = draft.account.learned.p95(&admit.model)
        && let Some(expected) = output.cost(tokens)
    {
        wanted.expected = expected;
    }
    let key = admit.key_id.and_then(|id| draft.account.keys.get(&id));
    let room = key.map_or(Ok(None), |key| key.room(&admit.model, &admit.names, wanted.minimum, draft.now));
    let room = room.map_err(Refusal::KeyLimit)?;
    let free = !wanted.worst_case.is_positive();
    match wanted.size(room.map_or(available, |room| available.min(room))) {
        Some(amount) if free || !debt.is_positive() => Ok(amount),
        _ => Err(Refusal::InsufficientCredits {
            available,
            held: draft.account.holds.values().map(Hold::total).sum(),
            debt,
            needed: wanted.minimum,
            reload_due: draft.account.is_buying_automatically(),
        }),
    }
}

/// Places a hold, and returns the most that the request may cost under its key's limits. This claim is the request's
/// worst case as far as the key has room. Parallel requests therefore can't exceed a limit together, whatever each of
/// them costs in the end.
fn place(draft: &mut Draft<'_>, admit: Admit, amount: Nanos) -> Option<Nanos> {
    let room = draft.account.room_of(admit.key_id, draft.now);
    let claimed = room.map(|room| admit.hold.worst_case.min(room).max(amount));
    let request_id = admit.request_id;
    let allocations = draft.draw(amount, |grant_id, part| {
        let mut line = Draft::line(LineKind::HoldPlaced, grant_id, Some(request_id));
        line.available = -part;
        line.held = part;
        line
    });
    if allocations.is_empty() {
        let mut line = Line::new(LineKind::HoldPlaced);
        line.request_id = Some(request_id);
        draft.record(line);
    }
    let hold = Hold {
        request_id,
        key_id: admit.key_id,
        work: admit.work,
        model: admit.model,
        provider: admit.provider,
        price_version: admit.price_version,
        allocations,
        accrued: Nanos::ZERO,
        worst_case: admit.hold.worst_case,
        claimed,
        placed_at: draft.now,
        deadline: draft.now.plus_ms(DEADLINE_MS),
        is_parked: false,
        session: admit.session,
    };
    assert!(hold.total() == amount, "a hold of {amount} drew {}", hold.total());
    draft.account.insert_hold(hold.clone());
    draft.hold = Some(hold);
    claimed
}
