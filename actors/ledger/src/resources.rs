//! The revision of an account's keys, saved cards, webhooks and reversals. A change of them is decided from rows read after
//! it.

use billing::ids::AccountId;

use super::{Ledger, LedgerError};

impl Ledger {
    /// The number of changes of an account's resources; `None` if there is no such account. Rows that are read afterwards
    /// have these changes, and perhaps later ones: then the account refuses a change that was decided from them.
    ///
    /// # Errors
    ///
    /// The database can't be read now: try again later.
    pub async fn revision(&self, account: AccountId) -> Result<Option<u64>, LedgerError> {
        let row = self.row("SELECT revision FROM account WHERE id = ?", [account.0.into()]).await?;
        let Some(row) = row else { return Ok(None) };
        let revision: i64 = row.try_get_by_index(0)?;
        Ok(Some(revision.unsigned_abs()))
    }
}
