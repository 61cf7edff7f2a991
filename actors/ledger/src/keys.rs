//! API keys: created, found, revoked, with their limits. A key is `fb_<12 public>_<40 secret>`; only its hash is
//! stored. The spending of a limited key is read from the sums of its account's usage.

use std::collections::BTreeMap;

use billing::{
    Nanos, Timestamp,
    ids::{AccountId, KeyId},
    key::{KeyLimits, KeyState, KeyWindow, Scopes},
};
use sea_orm::QueryResult;
use uuid::Uuid;

use super::{Ledger, LedgerError, lookup::taken, rollup::Span};

/// The most unrevoked keys of one account.
pub const MOST_KEYS: i64 = 1_000;

/// A stored key, with enough to recognise its bearer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredKey {
    /// The key's id.
    pub id: KeyId,
    /// The account.
    pub account_id: AccountId,
    /// The owner's name for the key.
    pub name: String,
    /// The public part.
    pub public: String,
    /// BLAKE3 of the whole key, in hexadecimal.
    pub hash: String,
    /// The limits of the key.
    pub limits: KeyLimits,
    /// The scopes of the key.
    pub scopes: Scopes,
    /// When the key was created.
    pub created_at: Timestamp,
    /// When the key expires.
    pub expires_at: Option<Timestamp>,
    /// When the key was revoked.
    pub revoked_at: Option<Timestamp>,
}

const KEY: &str = "id, account_id, name, public, hash, limit_day, limit_week, limit_month, limit_total, models, scopes, \
                   created_at, expires_at, revoked_at";

impl Ledger {
    /// Stores a key. Returns `false` if its account has the most keys already. Writes are serial, and the count is part
    /// of the statement, so that two concurrent calls can't exceed the limit.
    ///
    /// # Errors
    ///
    /// [`LedgerError::Taken`] if the key exists already. Any other error if the database can't be written now: look the
    /// key up before repeating the call.
    pub async fn create_key(&self, key: &StoredKey) -> Result<bool, LedgerError> {
        let sql = format!(
            "INSERT INTO api_key ({KEY}) SELECT ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ? \
             WHERE (SELECT COUNT(*) FROM api_key WHERE account_id = ? AND revoked_at IS NULL) < ?"
        );
        let limit = |window| key.limits.of(window).map(Nanos::get).into();
        let models =
            (!key.limits.models.is_empty()).then(|| serde_json::Value::from(key.limits.models.clone()).to_string());
        let values = [
            key.id.0.into(),
            key.account_id.0.into(),
            key.name.as_str().into(),
            key.public.as_str().into(),
            key.hash.as_str().into(),
            limit(KeyWindow::Day),
            limit(KeyWindow::Week),
            limit(KeyWindow::Month),
            limit(KeyWindow::Total),
            models.into(),
            key.scopes.names().into(),
            key.created_at.0.into(),
            key.expires_at.map(|at| at.0).into(),
            key.revoked_at.map(|at| at.0).into(),
            key.account_id.0.into(),
            MOST_KEYS.into(),
        ];
        match self.write.execute_raw(self.statement(&sql, values)).await {
            Ok(done) => Ok(done.rows_affected() == 1),
            Err(error) => Err(taken(error, "that key")),
        }
    }

    /// Finds a key by its public part.
    ///
    /// # Errors
    ///
    /// The database can't be read now: try again later. A row is [`LedgerError::Corrupt`]: an operator must examine the
    /// database.
    pub async fn key(&self, public: &str) -> Result<Option<StoredKey>, LedgerError> {
        let sql = format!("SELECT {KEY} FROM api_key WHERE public = ?");
        // Keys are written beside the log: callers are let in even while the tables are behind it.
        let row = self.as_they_are.query_one_raw(self.statement(&sql, [public.into()])).await?;
        row.as_ref().map(key).transpose()
    }

    /// An account's keys, newest first.
    ///
    /// # Errors
    ///
    /// The database can't be read now: try again later. A row is [`LedgerError::Corrupt`]: an operator must examine the
    /// database.
    pub async fn keys(&self, account: AccountId) -> Result<Vec<StoredKey>, LedgerError> {
        let sql = format!("SELECT {KEY} FROM api_key WHERE account_id = ? ORDER BY id DESC");
        self.rows(&sql, [account.0.into()]).await?.iter().map(key).collect()
    }

    /// Finds a key of an account.
    ///
    /// # Errors
    ///
    /// The database can't be read now: try again later. A row is [`LedgerError::Corrupt`]: an operator must examine the
    /// database.
    pub async fn key_of(&self, account: AccountId, id: KeyId) -> Result<Option<StoredKey>, LedgerError> {
        let sql = format!("SELECT {KEY} FROM api_key WHERE account_id = ? AND id = ?");
        self.row(&sql, [account.0.into(), id.0.into()]).await?.as_ref().map(key).transpose()
    }

    /// Revokes a key of an account, and returns its public part; `None` if there was no key to revoke.
    ///
    /// # Errors
    ///
    /// The database can't be written now. The key may or may not be revoked; repeating the call is safe, and returns
    /// `None` if it was revoked.
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

    /// An account's limited keys with their spending: the unrevoked ones, and those with running requests.
    pub(super) async fn limited_keys(
        &self,
        account: AccountId,
        now: Timestamp,
    ) -> Result<BTreeMap<KeyId, KeyState>, LedgerError> {
        let sql = format!(
            "SELECT {KEY}, beyond FROM api_key WHERE account_id = ? AND (limit_day IS NOT NULL OR limit_week IS NOT NULL \
             OR limit_month IS NOT NULL OR limit_total IS NOT NULL OR models IS NOT NULL) \
             AND (revoked_at IS NULL OR id IN (SELECT key_id FROM hold WHERE account_id = ?))"
        );
        let mut states = BTreeMap::new();
        for row in self.rows(&sql, [account.0.into(), account.0.into()]).await? {
            let StoredKey { id, limits, .. } = key(&row)?;
            let beyond = Nanos::new(row.try_get("", "beyond")?);
            let spent = self.spent_by_key(account, id, now).await?;
            states.insert(id, KeyState::new(limits, spent, now).with_beyond(beyond));
        }
        Ok(states)
    }

    /// The amount spent with a key in each window of `now`.
    ///
    /// # Errors
    ///
    /// The database can't be read now: try again later.
    pub async fn spent_by_key(&self, account: AccountId, id: KeyId, now: Timestamp) -> Result<[Nanos; 4], LedgerError> {
        // Every window begins at the start of a day.
        let sql = "SELECT CAST(COALESCE(SUM(charged), 0) AS BIGINT) FROM usage_rollup WHERE account_id = ? AND span = ? \
                   AND key_id = ? AND starts_at >= ?";
        let mut spent = [Nanos::ZERO; 4];
        for (spent, window) in spent.iter_mut().zip(KeyWindow::ALL) {
            let values = [account.0.into(), Span::Day.hours().into(), id.0.into(), window.start(now).0.into()];
            if let Some(row) = self.row(sql, values).await? {
                *spent = Nanos::new(row.try_get_by_index(0)?);
            }
        }
        Ok(spent)
    }
}

fn key(row: &QueryResult) -> Result<StoredKey, LedgerError> {
    let (id, account_id): (Uuid, Uuid) = (row.try_get("", "id")?, row.try_get("", "account_id")?);
    let instant = |column| Ok::<_, LedgerError>(row.try_get::<Option<i64>>("", column)?.map(Timestamp));
    let limit = |column| Ok::<_, LedgerError>(row.try_get::<Option<i64>>("", column)?.map(Nanos::new));
    let models: Option<String> = row.try_get("", "models")?;
    let models = models.map(|text| serde_json::from_str(&text)).transpose();
    let limits = KeyLimits {
        amounts: [limit("limit_day")?, limit("limit_week")?, limit("limit_month")?, limit("limit_total")?],
        models: models.map_err(|error| LedgerError::Corrupt(format!("models: {error}")))?.unwrap_or_default(),
    };
    let scopes: Option<String> = row.try_get("", "scopes")?;
    let scopes = scopes.map_or(Ok(Scopes::usual(&limits)), |names| {
        Scopes::from_names(&names).map_err(|name| LedgerError::Corrupt(format!("scope {name}")))
    })?;
    Ok(StoredKey {
        id: KeyId(id),
        account_id: AccountId(account_id),
        name: row.try_get("", "name")?,
        public: row.try_get("", "public")?,
        hash: row.try_get("", "hash")?,
        limits,
        scopes,
        created_at: Timestamp(row.try_get("", "created_at")?),
        expires_at: instant("expires_at")?,
        revoked_at: instant("revoked_at")?,
    })
}
