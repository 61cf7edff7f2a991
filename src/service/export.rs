//! An account's ended requests, oldest first, for bookkeeping. They are read from the ledger a page at a time, as fast
//! as the reader takes them, so that an export of any length needs little memory.

use std::{collections::HashMap, sync::Arc};

use billing::{
    Timestamp,
    ids::{AccountId, KeyId},
};
use ledger::{Ledger, history::Position, usage::Only};

use super::{
    Service, ServiceError,
    history::{Ended, Range},
};

/// An export in progress.
pub struct Export {
    ledger: Arc<Ledger>,
    account: AccountId,
    to: Timestamp,
    only: Only,
    /// The names of the account's keys.
    names: HashMap<KeyId, String>,
    /// Where the last page ended; `None` after the last page.
    after: Option<Position>,
}

impl Export {
    /// Begins an export.
    ///
    /// # Errors
    ///
    /// The ledger can't be read just now ([`NotReady`](ServiceError::NotReady)); try again.
    pub async fn begin(service: &Service, range: Range) -> Result<Self, ServiceError> {
        let Range { account, from, to, only } = range;
        let ledger = Arc::clone(service.ledger());
        let names = ledger.all_key_names(account).await?;
        // Requests that end from now on are left out, so that the export ends.
        let to = to.min(service.now());
        Ok(Self { ledger, account, to, only: only.into(), names, after: Some(Position::before(from)) })
    }

    /// The next page; `None` after the last page. With a filter, a page may be empty.
    ///
    /// # Errors
    ///
    /// The ledger can't be read just now. A repetition reads the same page.
    pub async fn next(&mut self) -> Result<Option<Vec<Ended>>, ServiceError> {
        let Some(after) = self.after else { return Ok(None) };
        let page = self.ledger.export(self.account, &self.only, after, self.to).await?;
        self.after = page.next;
        Ok(Some(page.rows.into_iter().map(Ended::from).collect()))
    }

    /// The name of a key; empty where the key is not known any more.
    pub fn name_of(&self, key: Option<KeyId>) -> &str {
        key.and_then(|key| self.names.get(&key)).map_or("", String::as_str)
    }
}
