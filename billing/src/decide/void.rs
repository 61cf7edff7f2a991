//! Credits that an operator takes back: first the available ones, then those held by running requests, which are
//! recalled when the requests end.

use super::{automatic, draft::Draft, taken};
use crate::{
    account::Automatic,
    command::{Refusal, Reply},
    ids::GrantId,
    nanos::Nanos,
};

pub(super) fn void(draft: &mut Draft<'_>, id: GrantId, amount: Option<Nanos>) -> Result<Reply, Refusal> {
    let index = draft.account.grant_index(id).ok_or(Refusal::NoGrant(id))?;
    let grant = &draft.account.grants[index];
    let (available, held) = (grant.available, grant.held - grant.recall);
    let left = available + held;
    if !left.is_positive() {
        return Err(Refusal::NoGrant(id));
    }
    let amount = amount.unwrap_or(left);
    if !amount.is_positive() || amount > left {
        let message = "must be above $0 and at most what is available or held by running requests";
        return Err(Refusal::bad_amount("amount", message));
    }
    let now = amount.min(available);
    draft.account.grants[index].recall += amount - now;
    draft.touch(id);
    if now.is_positive() {
        draft.record(taken::voided(id, now));
    }
    draft.reschedule();
    if draft.account.automatic().is_some_and(Automatic::is_set) {
        automatic::pause(draft, "void");
    }
    Ok(Reply::Done)
}
