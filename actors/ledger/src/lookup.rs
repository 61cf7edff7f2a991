//! Single accounts, without their money: found by id or by email address.

use billing::{
    Timestamp,
    account::Header,
    entry::{Opened, Transition},
    ids::AccountId,
    plan::Plan,
};
use sea_orm::QueryResult;

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
    /// Creates an account without credits, for tests and benches, before there is a journal. The service opens accounts
    /// through their actors, with their credits.
    ///
    /// # Errors
    ///
    /// The address or the id is taken, or the database can't be written now: look the account up before repeating the call.
    pub async fn create_account(
        &self,
        id: AccountId,
        email: &str,
        plan: Plan,
        now: Timestamp,
    ) -> Result<(), LedgerError> {
        let opened = Some(Opened { email: email.to_owned() });
        let transition = Transition { opened, ..Transition::unchanged(id, 0, now, Header::new(plan, now)) };
        self.append_transition(transition, now).await
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

fn account(row: &QueryResult) -> Result<StoredAccount, LedgerError> {
    let plan: String = row.try_get("", "plan")?;
    Ok(StoredAccount {
        id: AccountId(row.try_get("", "id")?),
        email: row.try_get("", "email")?,
        plan: Plan::from_name(&plan).ok_or_else(|| LedgerError::Corrupt(format!("plan {plan}")))?,
        created_at: Timestamp(row.try_get("", "created_at")?),
    })
}
