//! Saved cards, the processors' ids of accounts, and the processors' events that were received. Of cards only
//! references and the fields that people recognise are kept. An account has at most one default card: the database
//! refuses a second.

use billing::{
    Timestamp,
    card::Card,
    entry::Notice,
    ids::{AccountId, PaymentId},
};
use sea_orm::{ConnectionTrait, DatabaseTransaction, QueryResult};
use uuid::Uuid;

use super::{
    Ledger, LedgerError,
    project::record::{NOTED, NOTICE},
};

/// The most saved cards of one account.
pub const MOST_METHODS: usize = 10;

/// A saved card.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PaymentMethod {
    /// The card's id in the ledger.
    pub id: Uuid,
    /// The account.
    pub account_id: AccountId,
    /// The processor that knows the card.
    pub processor: String,
    /// The card.
    pub card: Card,
    /// Whether the card is charged for purchases that name none.
    pub is_default: bool,
    /// When it was saved.
    pub created_at: Timestamp,
    /// When the card was removed.
    pub removed_at: Option<Timestamp>,
}

/// How to save a card.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SaveAs {
    /// As the default, in place of any other.
    Default,
    /// As another card; it becomes the default only if there is none.
    OneMore,
}

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

    /// Stores the processor's id of an account unless there is one, and returns the stored id.
    ///
    /// # Errors
    ///
    /// The database can't be written now. The change may or may not have been made; repeating the call is safe.
    pub async fn keep_customer(
        &self,
        account: AccountId,
        processor: &str,
        reference: &str,
        now: Timestamp,
    ) -> Result<String, LedgerError> {
        let sql = "INSERT INTO payment_customer (account_id, processor, reference, created_at) VALUES (?, ?, ?, ?) \
                   ON CONFLICT (account_id, processor) DO UPDATE SET touched = payment_customer.touched + 1 \
                   RETURNING reference";
        let values = [account.0.into(), processor.into(), reference.into(), now.0.into()];
        let row = self.write.query_one_raw(self.statement(sql, values)).await?;
        let row = row.ok_or_else(|| LedgerError::Corrupt("no customer came back".into()))?;
        Ok(row.try_get_by_index(0)?)
    }

    /// Saves a card under this id, or returns the card that was saved before. `None` if the account has too many cards.
    ///
    /// # Errors
    ///
    /// The database can't be written now. The change may or may not have been made; repeating the call is safe.
    pub async fn save_method(
        &self,
        id: Uuid,
        account: AccountId,
        processor: &str,
        card: &Card,
        save_as: SaveAs,
        now: Timestamp,
    ) -> Result<Option<PaymentMethod>, LedgerError> {
        self.keep_customer(account, processor, &card.customer, now).await?;
        let tx = self.begin_on_methods(account, processor).await?;
        let sql = format!("SELECT {METHOD} FROM payment_method WHERE account_id = ? AND removed_at IS NULL");
        let rows = tx.query_all_raw(self.statement(&sql, [account.0.into()])).await?;
        let saved = rows.iter().map(method).collect::<Result<Vec<_>, _>>()?;
        let has_default = saved.iter().any(|saved| saved.is_default && saved.processor == processor);
        let becomes_default = save_as == SaveAs::Default || !has_default;
        let same = |saved: &PaymentMethod| saved.processor == processor && saved.card.reference == card.reference;
        let kept = match saved.iter().find(|saved| same(saved)) {
            Some(known) => known.id,
            None if saved.len() >= MOST_METHODS => {
                tx.rollback().await?;
                return Ok(None);
            }
            None => self.insert_method(&tx, id, (account, processor), card, now).await?,
        };
        if becomes_default {
            self.move_default(&tx, account, processor, kept).await?;
        }
        tx.commit().await?;
        self.method(account, kept).await
    }

    async fn insert_method(
        &self,
        tx: &DatabaseTransaction,
        id: Uuid,
        (account, processor): (AccountId, &str),
        card: &Card,
        now: Timestamp,
    ) -> Result<Uuid, LedgerError> {
        let sql = "INSERT INTO payment_method (id, account_id, processor, customer, reference, brand, last4, exp_month, \
                   exp_year, is_default, created_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, 0, ?)";
        let values = [
            id.into(),
            account.0.into(),
            processor.into(),
            card.customer.as_str().into(),
            card.reference.as_str().into(),
            card.brand.as_str().into(),
            card.last4.as_str().into(),
            card.exp_month.into(),
            card.exp_year.into(),
            now.0.into(),
        ];
        tx.execute_raw(self.statement(sql, values)).await?;
        Ok(id)
    }

    async fn move_default(
        &self,
        tx: &DatabaseTransaction,
        account: AccountId,
        processor: &str,
        to: Uuid,
    ) -> Result<bool, LedgerError> {
        let sql = "UPDATE payment_method SET is_default = 0 WHERE account_id = ? AND processor = ? AND is_default = 1";
        tx.execute_raw(self.statement(sql, [account.0.into(), processor.into()])).await?;
        let sql = "UPDATE payment_method SET is_default = 1 WHERE id = ? AND removed_at IS NULL";
        let moved = tx.execute_raw(self.statement(sql, [to.into()])).await?;
        Ok(moved.rows_affected() == 1)
    }

    /// Begins a transaction by writing the customer's row. Changes of an account's cards therefore wait for one
    /// another, and SQLite's lock is taken before the first read.
    async fn begin_on_methods(&self, account: AccountId, processor: &str) -> Result<DatabaseTransaction, LedgerError> {
        let tx = self.write.begin().await?;
        let sql = "UPDATE payment_customer SET touched = touched + 1 WHERE account_id = ? AND processor = ?";
        tx.execute_raw(self.statement(sql, [account.0.into(), processor.into()])).await?;
        Ok(tx)
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

    /// Makes a saved card the default. Returns `false` if there is no such card.
    ///
    /// # Errors
    ///
    /// The database can't be written now. The change may or may not have been made; repeating the call is safe.
    pub async fn set_default_method(&self, account: AccountId, id: Uuid) -> Result<bool, LedgerError> {
        let Some(found) = self.method(account, id).await?.filter(|found| found.removed_at.is_none()) else {
            return Ok(false);
        };
        let tx = self.begin_on_methods(account, &found.processor).await?;
        let moved = self.move_default(&tx, account, &found.processor, id).await?;
        if moved {
            tx.commit().await?;
        } else {
            tx.rollback().await?;
        }
        Ok(moved)
    }

    /// Removes a saved card and returns it; `None` if there was none. No other card becomes the default.
    ///
    /// # Errors
    ///
    /// The database can't be written now. The card may or may not be removed; repeating the call is safe, and returns
    /// `None` if it was removed.
    pub async fn remove_method(
        &self,
        account: AccountId,
        id: Uuid,
        now: Timestamp,
    ) -> Result<Option<PaymentMethod>, LedgerError> {
        let sql = format!(
            "UPDATE payment_method SET removed_at = ?, is_default = 0 WHERE account_id = ? AND id = ? \
             AND removed_at IS NULL RETURNING {METHOD}"
        );
        let values = [now.0.into(), account.0.into(), id.into()];
        let row = self.write.query_one_raw(self.statement(&sql, values)).await?;
        row.as_ref().map(method).transpose()
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

    /// Chooses the card of a payment before its first charge, so that repeated attempts charge the same card.
    ///
    /// # Errors
    ///
    /// The database can't be written now. The change may or may not have been made; repeating the call is safe.
    pub async fn choose_card(&self, payment: PaymentId, reference: &str) -> Result<(), LedgerError> {
        let sql = "INSERT INTO payment_card (payment_id, reference) VALUES (?, ?) ON CONFLICT (payment_id) DO NOTHING";
        self.write.execute_raw(self.statement(sql, [payment.0.into(), reference.into()])).await?;
        Ok(())
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

    /// Records an event that changed nothing, or that was delivered again. An event with an effect is recorded in the
    /// same commit as the effect.
    ///
    /// # Errors
    ///
    /// The database can't be written now. The change may or may not have been made; repeating the call is safe.
    pub async fn note_webhook(&self, notice: &Notice, now: Timestamp) -> Result<(), LedgerError> {
        let sql = format!("{NOTICE} (?, ?, ?, ?, ?) {NOTED}");
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

fn method(row: &QueryResult) -> Result<PaymentMethod, LedgerError> {
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
