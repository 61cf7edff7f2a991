//! Saved cards, the processors' ids of accounts, and the processors' events that were received. Of cards only
//! references and the fields that people recognise are kept.

use billing::{
    Timestamp,
    card::{Card, PaymentMethod},
    entry::Notice,
    ids::{AccountId, PaymentId},
};
use sea_orm::QueryResult;
use uuid::Uuid;

use super::{
    Ledger, LedgerError,
    project::record::{NOTED, NOTICE},
};

const METHOD: &str = "id, account_id, processor, customer, reference, brand, last4, exp_month, exp_year, is_default, \
                      created_at, removed_at";

impl Ledger {
    /// The processor's id of an account.
    ///
    /// # Errors
    ///
    /// The database can't be read now: try again later.
    pub async fn customer(&self, account: AccountId, processor: &str) -> Result<Option<String>, LedgerError> {
        let sql = "SELECT reference FROM payment_customer WHERE account_id = ? AND processor = ?";
        let row = self.row(sql, [account.0.into(), processor.into()]).await?;
        row.map(|row| Ok(row.try_get_by_index(0)?)).transpose()
    }

    /// An account's saved cards at all processors, oldest first.
    ///
    /// # Errors
    ///
    /// The database can't be read now: try again later.
    pub async fn saved_methods(&self, account: AccountId) -> Result<Vec<PaymentMethod>, LedgerError> {
        let sql =
            format!("SELECT {METHOD} FROM payment_method WHERE account_id = ? AND removed_at IS NULL ORDER BY id");
        self.rows(&sql, [account.0.into()]).await?.iter().map(method).collect()
    }

    /// An account's saved cards at a processor, newest first.
    ///
    /// # Errors
    ///
    /// The database can't be read now: try again later.
    pub async fn methods(&self, account: AccountId, processor: &str) -> Result<Vec<PaymentMethod>, LedgerError> {
        let sql = format!(
            "SELECT {METHOD} FROM payment_method WHERE account_id = ? AND processor = ? AND removed_at IS NULL \
             ORDER BY id DESC"
        );
        self.rows(&sql, [account.0.into(), processor.into()]).await?.iter().map(method).collect()
    }

    /// Finds a card of an account, also a removed one.
    ///
    /// # Errors
    ///
    /// The database can't be read now: try again later.
    pub async fn method(&self, account: AccountId, id: Uuid) -> Result<Option<PaymentMethod>, LedgerError> {
        let sql = format!("SELECT {METHOD} FROM payment_method WHERE account_id = ? AND id = ?");
        self.row(&sql, [account.0.into(), id.into()]).await?.as_ref().map(method).transpose()
    }

    /// The card for purchases that name none.
    ///
    /// # Errors
    ///
    /// The database can't be read now: try again later.
    pub async fn default_method(
        &self,
        account: AccountId,
        processor: &str,
    ) -> Result<Option<PaymentMethod>, LedgerError> {
        let sql =
            format!("SELECT {METHOD} FROM payment_method WHERE account_id = ? AND processor = ? AND is_default = 1");
        self.row(&sql, [account.0.into(), processor.into()]).await?.as_ref().map(method).transpose()
    }

    /// Finds a card by the processor's id, also a removed one, which an earlier payment may have charged.
    ///
    /// # Errors
    ///
    /// The database can't be read now: try again later.
    pub async fn method_by_reference(
        &self,
        account: AccountId,
        processor: &str,
        reference: &str,
    ) -> Result<Option<PaymentMethod>, LedgerError> {
        let sql = format!(
            "SELECT {METHOD} FROM payment_method WHERE account_id = ? AND processor = ? AND reference = ? \
             ORDER BY id DESC LIMIT 1"
        );
        let values = [account.0.into(), processor.into(), reference.into()];
        self.row(&sql, values).await?.as_ref().map(method).transpose()
    }

    /// The card chosen for a payment that names none, once there is one.
    ///
    /// # Errors
    ///
    /// The database can't be read now: try again later.
    pub async fn chosen_card(&self, payment: PaymentId) -> Result<Option<String>, LedgerError> {
        let row = self.row("SELECT reference FROM payment_card WHERE payment_id = ?", [payment.0.into()]).await?;
        row.map(|row| Ok(row.try_get_by_index(0)?)).transpose()
    }

    /// When the newest accepted delivery of an event was signed.
    ///
    /// # Errors
    ///
    /// The database can't be read now: try again later.
    pub async fn webhook_signed_at(&self, processor: &str, id: &str) -> Result<Option<Timestamp>, LedgerError> {
        let sql = "SELECT signed_at FROM webhook_event WHERE processor = ? AND id = ?";
        let row = self.row(sql, [processor.into(), id.into()]).await?;
        row.map(|row| Ok(Timestamp(row.try_get_by_index(0)?))).transpose()
    }

    /// Records an event that changed nothing, or that was delivered again. An event with an effect is recorded with the
    /// effect, in the log. Such a record may be lost: the event is then looked up at the processor once more.
    ///
    /// # Errors
    ///
    /// The database can't be written now. The change may or may not have been made; repeating the call is safe.
    pub async fn note_webhook(&self, notice: &Notice, now: Timestamp) -> Result<(), LedgerError> {
        let sql = format!("{NOTICE} VALUES (?, ?, ?, ?, ?) {NOTED}");
        let values = [
            notice.processor.as_ref().into(),
            notice.id.as_str().into(),
            notice.kind.as_str().into(),
            notice.signed_at.0.into(),
            now.0.into(),
        ];
        self.write.execute_raw(self.statement(&sql, values)).await?;
        Ok(())
    }
}

pub(super) fn method(row: &QueryResult) -> Result<PaymentMethod, LedgerError> {
    let (is_default, removed_at): (i64, Option<i64>) = (row.try_get("", "is_default")?, row.try_get("", "removed_at")?);
    Ok(PaymentMethod {
        id: row.try_get("", "id")?,
        account_id: AccountId(row.try_get("", "account_id")?),
        processor: row.try_get("", "processor")?,
        card: Card {
            customer: row.try_get("", "customer")?,
            reference: row.try_get("", "reference")?,
            brand: row.try_get("", "brand")?,
            last4: row.try_get("", "last4")?,
            exp_month: row.try_get("", "exp_month")?,
            exp_year: row.try_get("", "exp_year")?,
        },
        is_default: is_default != 0,
        created_at: Timestamp(row.try_get("", "created_at")?),
        removed_at: removed_at.map(Timestamp),
    })
}
