//! Expiry of credits. Credits held by a running request stay usable for that request.

use super::draft::Draft;
use crate::{entry::LineKind, nanos::Nanos};

/// Expires the available credits of grants past their time. Runs before every command.
pub(super) fn sweep(draft: &mut Draft<'_>) {
    let now = draft.now;
    // The draw order begins with the expiry, so expired grants are in front.
    let due: Vec<_> = draft
        .account
        .grants
        .iter()
        .take_while(|grant| grant.is_expired(now))
        .filter(|grant| grant.available.is_positive())
        .map(|grant| (grant.id, grant.available))
        .collect();
    for (id, amount) in due {
        let mut line = Draft::line(LineKind::GrantExpired, id, None);
        line.available = Nanos::ZERO - amount;
        line.expired = amount;
        draft.record(line);
    }
}
