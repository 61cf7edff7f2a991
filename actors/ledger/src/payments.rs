//! Reads of payments: lists, payments by id in any account, and pending ones, which the payment actor must bring to an
//! end. Only the journal writes payments, with their effects.

use billing::{
    ids::{AccountId, PaymentId},
    payment::Payment,
};
use uuid::Uuid;

use super::{Ledger, LedgerError, load, load::PAYMENT, query};

impl Ledger {
    /// An account's payments, newest first, older than `before`.
    ///
    /// # Errors
    ///
    /// The database can't be read now: try again later. A row is [`LedgerError::Corrupt`]: an operator must examine the
    /// database.
    pub async fn payments(
        &self,
        account: AccountId,
        before: Option<Uuid>,
        limit: u64,
    ) -> Result<Vec<Payment>, LedgerError> {
        let sql = format!("SELECT {PAYMENT} FROM payment WHERE account_id = ? AND id < ? ORDER BY id DESC LIMIT ?");
        let values = [account.0.into(), before.unwrap_or(Uuid::max()).into(), query::page(limit).into()];
        self.rows(&sql, values).await?.iter().map(load::payment).collect()
    }

    /// Finds a payment and its account.
    ///
    /// # Errors
    ///
    /// The database can't be read now: try again later. A row is [`LedgerError::Corrupt`]: an operator must examine the
    /// database.
    pub async fn payment_of_anyone(&self, id: PaymentId) -> Result<Option<(AccountId, Payment)>, LedgerError> {
        let row = self.row(&format!("SELECT account_id, {PAYMENT} FROM payment WHERE id = ?"), [id.0.into()]).await?;
        row.as_ref().map(|row| Ok((AccountId(row.try_get("", "account_id")?), load::payment(row)?))).transpose()
    }

    /// All pending payments, oldest first.
    ///
    /// # Errors
    ///
    /// The database can't be read now: try again later. A row is [`LedgerError::Corrupt`]: an operator must examine the
    /// database.
    pub async fn pending_payments(&self) -> Result<Vec<(AccountId, Payment)>, LedgerError> {
        let its = self.in_owned_shards("account_id");
        let sql = format!("SELECT account_id, {PAYMENT} FROM payment WHERE status = 'pending' AND {its} ORDER BY id");
        let rows = self.as_owner().rows(&sql, []).await?;
        rows.iter().map(|row| Ok((AccountId(row.try_get("", "account_id")?), load::payment(row)?))).collect()
    }
}
