//! The audit log of an account: who changed what.

use std::{collections::HashMap, time::Duration};

use billing::{
    Timestamp,
    ids::{AccountId, PersonId, RequestId},
};
use ledger::trail::Entry;
use uuid::Uuid;

use super::{
    Service, ServiceError, keys,
    page::{Listed, Page},
};

/// How long a request waits for its change to be noted.
const WITHIN: Duration = Duration::from_secs(2);
/// The longest detail that is kept, in characters.
const LONGEST: usize = 500;

/// Who changes an account.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum By {
    /// Who has this key.
    Key(Uuid),
    /// A member, by a session.
    Member(PersonId),
}

/// A change that was made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Made {
    /// The request that asked for it.
    pub id: RequestId,
    /// The account.
    pub account: AccountId,
    /// Who asked for it.
    pub by: By,
    /// What was done: `keys.create`.
    pub act: &'static str,
    /// The object that was changed.
    pub subject: Option<String>,
    /// What else is to be known of it.
    pub detail: Option<String>,
    /// Whether the object is made once: it is noted once, too.
    pub once: bool,
}

/// Notes a change that was made. One that can't be noted is in the process's log: the change itself is durable.
pub async fn note(service: &Service, made: Made) {
    let Made { id, account, by, act, subject, detail, once } = made;
    let (by_kind, by) = match by {
        By::Key(key) => ("key", key),
        By::Member(person) => ("member", person.0),
    };
    let short = |text: String| text.chars().take(LONGEST).collect();
    let entry = Entry {
        id: id.0,
        account_id: account,
        at: service.now(),
        by_kind: by_kind.to_owned(),
        by,
        act: act.to_owned(),
        subject: subject.map(short),
        detail: detail.map(short),
    };
    match tokio::time::timeout(WITHIN, service.ledger().note_change(&entry, once)).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => {
            tracing::error!(account.id = %account, request.id = %id, act, %error, "a change was not noted");
        }
        Err(_) => tracing::error!(account.id = %account, request.id = %id, act, "a change may not be noted"),
    }
}

/// A change, and who made it in words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// The id of the request that asked for it.
    pub id: Uuid,
    /// When.
    pub at: Timestamp,
    /// `member` or `key`.
    pub by_kind: String,
    /// The member or the key.
    pub by: Uuid,
    /// The member's address or the key's name; none where either is gone.
    pub by_name: Option<String>,
    /// What was done: `keys.create`.
    pub act: String,
    /// The object that was changed.
    pub subject: Option<String>,
    /// What else is known of it.
    pub detail: Option<String>,
}

/// The changes of an account, newest first.
///
/// # Errors
///
/// The ledger can't be read just now ([`NotReady`](ServiceError::NotReady)); try again.
pub async fn list(service: &Service, account: AccountId, page: Page) -> Result<Listed<Seen>, ServiceError> {
    let ledger = service.ledger();
    let found = ledger.trail(account, page.before, page.limit).await?;
    let keys = found.iter().filter(|entry| entry.by_kind == "key").map(|entry| entry.by);
    let mut names: HashMap<Uuid, String> = keys::names(service, account, keys).await?;
    for entry in found.iter().filter(|entry| entry.by_kind == "member") {
        if !names.contains_key(&entry.by)
            && let Some(person) = ledger.person(PersonId(entry.by)).await?
        {
            names.insert(entry.by, person.email);
        }
    }
    Ok(page.list(found, |entry| entry.id).map(|entry| {
        let Entry { id, account_id: _, at, by_kind, by, act, subject, detail } = entry;
        Seen { id, at, by_kind, by_name: names.get(&by).cloned(), by, act, subject, detail }
    }))
}
