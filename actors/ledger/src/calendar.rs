//! The addresses of accounts' calendars. An address has a token that its reader alone knows: here stands its hash, beside the log,
//! as a lost one is made anew.

use billing::{Timestamp, ids::AccountId};

use super::{Ledger, LedgerError};

impl Ledger {
    /// Gives an account's calendar an address with the token of this hash. One that it had is good no more.
    ///
    /// # Errors
    ///
    /// The database can't be written now.
    pub async fn set_calendar(&self, account: AccountId, hash: &str, now: Timestamp) -> Result<(), LedgerError> {
        let sql = "INSERT INTO calendar_feed (account_id, hash, created_at) VALUES (?, ?, ?) \
                   ON CONFLICT (account_id) DO UPDATE SET hash = excluded.hash, created_at = excluded.created_at";
        self.write_beside(sql, [account.0.into(), hash.into(), now.0.into()]).await.map(drop)
    }

    /// Takes the address of an account's calendar back. Returns whether it had one.
    ///
    /// # Errors
    ///
    /// The database can't be written now.
    pub async fn end_calendar(&self, account: AccountId) -> Result<bool, LedgerError> {
        let sql = "DELETE FROM calendar_feed WHERE account_id = ?";
        Ok(self.write_beside(sql, [account.0.into()]).await? > 0)
    }

    /// The account whose calendar has an address with the token of this hash.
    ///
    /// # Errors
    ///
    /// The database can't be read now: try again later.
    pub async fn calendar_of(&self, hash: &str) -> Result<Option<AccountId>, LedgerError> {
        let row = self.row("SELECT account_id FROM calendar_feed WHERE hash = ?", [hash.into()]).await?;
        row.map(|row| Ok(AccountId(row.try_get_by_index(0)?))).transpose()
    }

    /// Since when an account's calendar has its address; none where it has none.
    ///
    /// # Errors
    ///
    /// The database can't be read now: try again later.
    pub async fn calendar_since(&self, account: AccountId) -> Result<Option<Timestamp>, LedgerError> {
        let row = self.row("SELECT created_at FROM calendar_feed WHERE account_id = ?", [account.0.into()]).await?;
        row.map(|row| Ok(Timestamp(row.try_get_by_index(0)?))).transpose()
    }
}
