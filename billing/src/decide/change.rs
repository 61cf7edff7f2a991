//! Changes of keys, saved cards, webhooks and members.

use super::draft::Draft;
use crate::{
    command::{Refusal, Reply},
    resource::{Change, Resource},
};

/// Takes a change that was decided from rows as they are.
pub(super) fn change(draft: &mut Draft<'_>, change: Change) -> Result<Reply, Refusal> {
    let Change { revision, resources, events } = change;
    if revision != draft.account.header.revision {
        return Err(Refusal::ResourcesMoved);
    }
    // Of events alone no row is decided, and the tables have no place for another revision.
    if !resources.is_empty() {
        draft.account.header.revision += 1;
    }
    for resource in &resources {
        match resource {
            // The requests of a revoked key that still run keep its limits.
            Resource::KeyOpened(key) => draft.account.open_key(key, draft.now),
            Resource::KeyAlerts { id, percents } => draft.account.set_key_alerts(*id, percents),
            _ => {}
        }
    }
    draft.resources = resources;
    for event in events {
        draft.tell(event);
    }
    Ok(Reply::Done)
}
