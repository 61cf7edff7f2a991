//! Opening an account: its row, its plan and the plan's first credits are one transition, so that none of them exists
//! without the others.

use super::{Decision, decide};
use crate::{
    account::{Account, Header, Stored},
    command::{Command, Fund},
    entry::Opened,
    grant::Source,
    ids::{AccountId, GrantId, derived},
    nanos::Nanos,
    plan::Plan,
    time::{FOUR_WEEKS_MS, Timestamp},
};

/// Opens an account. The rules grant the free plan's first dollar; the operator vouches for the first cycle of the
/// other plan. Opening the same account twice gives the same grant.
///
/// # Panics
///
/// If the rules refuse the plan's first credits, which would be a defect of the rules.
pub fn open(id: AccountId, email: String, plan: Plan, now: Timestamp) -> (Account, Decision) {
    let mut account = Account::load(id, Stored::new(Header::new(plan, now)));
    let cycle_end = Some(now.plus_ms(FOUR_WEEKS_MS));
    let first = match plan {
        Plan::Free => Command::Sweep,
        Plan::Payg => Command::Fund(Fund {
            grant_id: GrantId(derived(id, now, 0)),
            source: Source::Plan,
            source_key: format!("cycle {}", now.0),
            amount: plan.credits(),
            paid: Nanos::ZERO,
            expires_at: cycle_end,
            subscribed_until: cycle_end,
        }),
    };
    let mut decision = decide(&mut account, first, now);
    assert!(decision.answer.result.is_ok(), "a plan's first credits were refused");
    if let Some(transition) = &mut decision.transition {
        transition.opened = Some(Opened { email });
    }
    (account, decision)
}
