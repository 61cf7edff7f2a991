//! Accounts and API keys: made, looked up, revoked. A key is `fb_<12 public>_<40 secret>`; only its hash is stored.

use billing::{
    Timestamp,
    ids::{AccountId, KeyId},
    plan::Plan,
};
use sea_orm::{ConnectionTrait, DbErr, QueryResult, SqlErr};
use uuid::Uuid;

use super::{Ledger, LedgerError};

/// A key as it is stored: enough to know its bearer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredKey {
    /// Its id.
    pub id: KeyId,
    /// Whose it is.
    pub account_id: AccountId,
    /// What its owner calls it.
    pub name: String,
    /// Its public part.
    pub public: String,
    /// BLAKE3 of the whole key, in hexadecimal.
    pub hash: String,
    /// When it was made.
    pub created_at: Timestamp,
    /// Since when it is refused.
    pub revoked_at: Option<Timestamp>,
}

/// An account's row, without money.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredAccount {
    /// Its id.
    pub id: AccountId,
    /// Its owner's address.
    pub email: String,
    /// Its plan.
    pub plan: Plan,
    /// When it was made.
    pub created_at: Timestamp,
}

impl Ledger {
    /// Makes an account without credits.
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

    /// An account by its id.
    pub async fn account(&self, id: AccountId) -> Result<Option<StoredAccount>, LedgerError> {
        let row = self.row("SELECT id, email, plan, created_at FROM account WHERE id = ?", [id.0.into()]).await?;
        row.as_ref().map(account).transpose()
    }

    /// An account by its owner's address.
    pub async fn account_by_email(&self, email: &str) -> Result<Option<StoredAccount>, LedgerError> {
        let row = self.row("SELECT id, email, plan, created_at FROM account WHERE email = ?", [email.into()]).await?;
        row.as_ref().map(account).transpose()
    }

    /// Stores a key.
    pub async fn create_key(&self, key: &StoredKey) -> Result<(), LedgerError> {
        let sql = "INSERT INTO api_key (id, account_id, name, public, hash, created_at) VALUES (?, ?, ?, ?, ?, ?)";
        let values = [
            key.id.0.into(),
            key.account_id.0.into(),
            key.name.as_str().into(),
            key.public.as_str().into(),
            key.hash.as_str().into(),
            key.created_at.0.into(),
        ];
        match self.write.execute_raw(self.statement(sql, values)).await {
            Ok(_) => Ok(()),
            Err(error) => Err(taken(error, "that key")),
        }
    }

    /// A key by its public part.
    pub async fn key(&self, public: &str) -> Result<Option<StoredKey>, LedgerError> {
        let sql = "SELECT id, account_id, name, public, hash, created_at, revoked_at FROM api_key WHERE public = ?";
        self.row(sql, [public.into()]).await?.as_ref().map(key).transpose()
    }

    /// An account's keys, newest first.
    pub async fn keys(&self, account: AccountId) -> Result<Vec<StoredKey>, LedgerError> {
        let sql = "SELECT id, account_id, name, public, hash, created_at, revoked_at FROM api_key WHERE account_id = ? ORDER BY id DESC";
        self.rows(sql, [account.0.into()]).await?.iter().map(key).collect()
    }

    /// Revokes a key of an account; its public part, where there was one to revoke.
    pub async fn revoke_key(
        &self,
        account: AccountId,
        id: KeyId,
        now: Timestamp,
    ) -> Result<Option<String>, LedgerError> {
        let sql =
            "UPDATE api_key SET revoked_at = ? WHERE id = ? AND account_id = ? AND revoked_at IS NULL RETURNING public";
        let values = [now.0.into(), id.0.into(), account.0.into()];
        let row = self.write.query_one_raw(self.statement(sql, values)).await?;
        row.map(|row| Ok(row.try_get_by_index(0)?)).transpose()
    }
}

fn taken(error: DbErr, what: &'static str) -> LedgerError {
    match error.sql_err() {
        Some(SqlErr::UniqueConstraintViolation(_)) => LedgerError::Taken(what),
        _ => LedgerError::Database(error),
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

fn key(row: &QueryResult) -> Result<StoredKey, LedgerError> {
    let (id, account_id): (Uuid, Uuid) = (row.try_get("", "id")?, row.try_get("", "account_id")?);
    let revoked_at: Option<i64> = row.try_get("", "revoked_at")?;
    Ok(StoredKey {
        id: KeyId(id),
        account_id: AccountId(account_id),
        name: row.try_get("", "name")?,
        public: row.try_get("", "public")?,
        hash: row.try_get("", "hash")?,
        created_at: Timestamp(row.try_get("", "created_at")?),
        revoked_at: revoked_at.map(Timestamp),
    })
}
