//! Funding: a grant is made, and repays a debt first, in the same commit.

use super::draft::Draft;
use crate::{
    command::{Fund, Refusal, Reply},
    entry::LineKind,
    grant::{Grant, Source, Taken},
    ids::GrantId,
    nanos::Nanos,
    payment::DEFAULT_METHOD,
    plan::Plan,
    subscription::Subscription,
    time::{FOUR_WEEKS_MS, Timestamp},
};

/// The largest grant: $1 million.
pub(super) const LARGEST_GRANT: Nanos = Nanos::dollars(1_000_000);

/// The refusal of an account that has reached the most it can hold.
pub(super) const FULL: Refusal =
    Refusal::bad_amount("amount", "would bring the account above $9,000,000,000, the most it can hold");

/// Adds credits if the account has room for them.
pub(super) fn fund(draft: &mut Draft<'_>, fund: Fund) -> Result<Reply, Refusal> {
    if fund.expires_at.is_some_and(|at| at > Timestamp::LAST) {
        return Err(Refusal::bad_amount("expires_at", "must be in the year 9999 or before"));
    }
    if !draft.account.has_room(fund.amount, fund.paid, draft.now) {
        return Err(FULL);
    }
    add(draft, fund)
}

/// Adds credits without checking the room, which a payment has reserved since it began.
pub(super) fn add(draft: &mut Draft<'_>, fund: Fund) -> Result<Reply, Refusal> {
    if !fund.amount.is_positive() || fund.amount > LARGEST_GRANT {
        return Err(Refusal::bad_amount("amount", "must be above $0 and at most $1,000,000"));
    }
    let expires_at = fund.expires_at.unwrap_or(draft.now.plus_ms(FOUR_WEEKS_MS));
    if expires_at <= draft.now {
        return Err(Refusal::bad_amount("expires_at", "must be in the future"));
    }
    if draft.account.grants.iter().any(|grant| grant.source == fund.source && *grant.source_key == *fund.source_key) {
        return Err(Refusal::AlreadyFunded(fund.source_key));
    }
    let grant = new_grant(draft, fund.grant_id, (fund.source, fund.source_key), fund.paid, expires_at);
    place(draft, grant, fund.amount);
    if let Some(until) = fund.subscribed_until {
        draft.account.header.subscribed_until = Some(until);
        draft.account.header.plan = Plan::Payg;
        draft.begin_subscription(Subscription::new(DEFAULT_METHOD.to_owned(), draft.now));
    }
    Ok(Reply::Done)
}

/// The credits of a cycle.
pub(super) struct Cycle {
    pub(super) grant_id: GrantId,
    pub(super) source: Source,
    pub(super) begin: Timestamp,
    pub(super) amount: Nanos,
    pub(super) expires_at: Timestamp,
}

/// Makes the grant of a cycle. The rules know that it does not exist yet.
pub(super) fn insert(draft: &mut Draft<'_>, cycle: &Cycle) {
    let source = (cycle.source, format!("cycle {}", cycle.begin.0));
    let grant = new_grant(draft, cycle.grant_id, source, Nanos::ZERO, cycle.expires_at);
    place(draft, grant, cycle.amount);
}

fn new_grant(
    draft: &Draft<'_>,
    id: GrantId,
    (source, source_key): (Source, String),
    paid: Nanos,
    expires_at: Timestamp,
) -> Grant {
    let mut grant = Grant {
        id,
        source,
        source_key: source_key.into(),
        paid,
        created_at: draft.now,
        expires_at,
        funded: Nanos::ZERO,
        available: Nanos::ZERO,
        held: Nanos::ZERO,
        spent: Nanos::ZERO,
        expired: Nanos::ZERO,
        voided: Nanos::ZERO,
        recall: Nanos::ZERO,
        taken: Taken::default(),
        notices: 0,
    };
    // Credits with a short life from the start need no notice of it.
    grant.pass_notices(draft.now);
    grant
}

fn place(draft: &mut Draft<'_>, grant: Grant, amount: Nanos) {
    let id = grant.id;
    let index = draft.account.grants.partition_point(|other| other.draw_order() < grant.draw_order());
    // An account has few grants, and there are many accounts.
    draft.account.grants.reserve_exact(1);
    draft.account.grants.insert(index, grant);
    draft.reschedule();
    let mut line = Draft::line(LineKind::GrantFunded, id, None);
    line.funded = amount;
    line.available = amount;
    draft.record(line);
    let repaid = draft.account.header.debt.min(amount);
    if repaid.is_positive() {
        let mut line = Draft::line(LineKind::DebtRepaid, id, None);
        line.available = -repaid;
        line.spent = repaid;
        line.debt = -repaid;
        draft.record(line);
    }
}
