//! API keys: made, looked up, revoked, with what each may spend. A key is `fb_<12 public>_<40 secret>`; only its hash is
//! stored. What a limited key has spent is read from the sums of its account's usage.

use std::collections::BTreeMap;

use billing::{
    Nanos, Timestamp,
    ids::{AccountId, KeyId},
    key::{KeyLimits, KeyState, KeyWindow, Scopes},
};
use sea_orm::QueryResult;
use uuid::Uuid;

use super::{Ledger, LedgerError, lookup::taken, rollup::Span};

/// Keys of one account that work, at most.
pub const MOST_KEYS: i64 = 1_000;

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
    /// What it may spend, and on what.
    pub limits: KeyLimits,
    /// What it may do.
    pub scopes: Scopes,
    /// When it was made.
    pub created_at: Timestamp,
    /// From when on it is refused.
    pub expires_at: Option<Timestamp>,
    /// Since when it is refused.
    pub revoked_at: Option<Timestamp>,
}

const KEY: &str = "id, account_id, name, public, hash, limit_day, limit_week, limit_month, limit_total, models, scopes, \
                   created_at, expires_at, revoked_at";

impl Ledger {
    /// Stores a key; false where its account has as many that work as it may have. One at a time writes, and counts in the
    /// same statement: two at once can't both be the last.
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

    /// A key by its public part.
    pub async fn key(&self, public: &str) -> Result<Option<StoredKey>, LedgerError> {
        let sql = format!("SELECT {KEY} FROM api_key WHERE public = ?");
        self.row(&sql, [public.into()]).await?.as_ref().map(key).transpose()
    }

    /// An account's keys, newest first.
    pub async fn keys(&self, account: AccountId) -> Result<Vec<StoredKey>, LedgerError> {
        let sql = format!("SELECT {KEY} FROM api_key WHERE account_id = ? ORDER BY id DESC");
        self.rows(&sql, [account.0.into()]).await?.iter().map(key).collect()
    }

    /// A key of an account.
    pub async fn key_of(&self, account: AccountId, id: KeyId) -> Result<Option<StoredKey>, LedgerError> {
        let sql = format!("SELECT {KEY} FROM api_key WHERE account_id = ? AND id = ?");
        self.row(&sql, [account.0.into(), id.0.into()]).await?.as_ref().map(key).transpose()
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

    /// An account's limited keys, with what they have spent: those that work, and those whose requests still run.
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

    /// What a key has spent in each window of now.
    pub async fn spent_by_key(&self, account: AccountId, id: KeyId, now: Timestamp) -> Result<[Nanos; 4], LedgerError> {
        // Every window begins with a day.
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
