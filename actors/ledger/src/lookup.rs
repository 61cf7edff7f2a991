//! Single accounts, without their money: found by id or by email address.

use billing::{Timestamp, ids::AccountId, plan::Plan};
use sea_orm::{QueryResult, SqlErr};

use super::{Ledger, LedgerError};

/// An account's row, without money.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredAccount {
    /// The account's id.
    pub id: AccountId,
    /// The owner's email address.
    pub email: String,
    /// The plan.
    pub plan: Plan,
    /// When the account was opened.
    pub created_at: Timestamp,
}

impl Ledger {
    /// Creates an account without credits, for tests and benches. The service opens accounts through their actors, with
    /// their credits.
    ///
    /// # Errors
    ///
    /// [`LedgerError::Taken`] if the email address has an account. Any other error if the database can't be written
    /// now: look the account up before repeating the call.
    pub async fn create_account(
        &self,
        id: AccountId,
        email: &str,
        plan: Plan,
        now: Timestamp,
    ) -> Result<(), LedgerError> {
        let sql = "INSERT INTO account (id, email, plan, created_at, clock) VALUES (?, ?, ?, ?, ?)";
        let values = [id.0.into(), email.into(), plan.name().into(), now.0.into(), now.0.into()];
        match self.write.execute_raw(self.statement(sql, values)).await {
            Ok(_) => Ok(()),
            Err(error) => Err(taken(error, "that email address")),
        }
    }

    /// Finds an account by its id.
    ///
    /// # Errors
    ///
    /// The database can't be read now: try again later. A row is [`LedgerError::Corrupt`]: an operator must examine the
    /// database.
    pub async fn account(&self, id: AccountId) -> Result<Option<StoredAccount>, LedgerError> {
        let row = self.row("SELECT id, email, plan, created_at FROM account WHERE id = ?", [id.0.into()]).await?;
        row.as_ref().map(account).transpose()
    }

    /// Finds an account by its owner's email address.
    ///
    /// # Errors
    ///
    /// The database can't be read now: try again later. A row is [`LedgerError::Corrupt`]: an operator must examine the
    /// database.
    pub async fn account_by_email(&self, email: &str) -> Result<Option<StoredAccount>, LedgerError> {
        let row = self.row("SELECT id, email, plan, created_at FROM account WHERE email = ?", [email.into()]).await?;
        row.as_ref().map(account).transpose()
    }
}

pub(super) fn taken(error: LedgerError, what: &'static str) -> LedgerError {
    match error {
        LedgerError::Database(error) if matches!(error.sql_err(), Some(SqlErr::UniqueConstraintViolation(_))) => {
            LedgerError::Taken(what)
        }
        error => error,
    }
}

fn account(row: &QueryResult) -> Result<StoredAccount, LedgerError> {
    let plan: String = row.try_get("", "plan")?;
    Ok(StoredAccount {
        id: AccountId(row.try_get("", "id")?),
        email: row.try_get("", "email")?,
        plan: Plan::from_name(&plan).ok_or_else(|| LedgerError::Corrupt(format!("plan {plan}")))?,
        created_at: Timestamp(row.try_get("", "created_at")?),
    })
}
