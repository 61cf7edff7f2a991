//! API keys, found with their limits. The spending of a limited key is read from the sums of its account's usage.

use std::collections::{BTreeMap, HashMap};

use billing::{
    Nanos, Timestamp,
    ids::{AccountId, KeyId},
    key::{ApiKey, KeyLimits, KeyState, KeyWindow, MOST_KEYS, Scopes},
};
use sea_orm::{QueryResult, Value};
use uuid::Uuid;

use super::{Ledger, LedgerError, query::page, recent::Recent, rollup::Span};

pub(super) const KEY: &str = "id, account_id, name, public, hash, limit_day, limit_week, limit_month, limit_total, models, scopes, \
                   created_at, expires_at, revoked_at";

/// The keys that are named at a time.
const NAMED: usize = 500;

impl Ledger {
    /// Finds a key by its public part. Keys are known from the log before the tables have them, so that callers are let in,
    /// or kept out, even while the tables are behind it.
    ///
    /// # Errors
    ///
    /// The database can't be read now: try again later. A row is [`LedgerError::Corrupt`]: an operator must examine the
    /// database.
    pub async fn key(&self, public: &str) -> Result<Option<ApiKey>, LedgerError> {
        let Recent { opened, revoked_at, .. } = self.recent.of(public);
        let found = if opened.is_some() {
            opened
        } else {
            let sql = format!("SELECT {KEY} FROM api_key WHERE public = ?");
            let statement = self.statement(&sql, [public.into()]);
            let row = if self.is_shared() {
                // Another node may have opened or revoked it just now: its tables may be behind its log.
                self.read.after_others_alone().query_one_raw(statement).await?
            } else {
                self.as_they_are.query_one_raw(statement).await?
            };
            row.as_ref().map(key).transpose()?
        };
        Ok(found.map(|key| ApiKey { revoked_at: revoked_at.or(key.revoked_at), ..key }))
    }

    /// The number of an account's keys that are not revoked.
    ///
    /// # Errors
    ///
    /// The database can't be read now: try again later.
    pub async fn working_keys(&self, account: AccountId) -> Result<u64, LedgerError> {
        let sql = "SELECT COUNT(*) FROM api_key WHERE account_id = ? AND revoked_at IS NULL";
        let row = self.row(sql, [account.0.into()]).await?;
        let count: i64 = row.map_or(Ok(0), |row| row.try_get_by_index(0))?;
        Ok(count.unsigned_abs())
    }

    /// An account's keys, newest first, older than `before`, at most `limit`. Revoked ones stay for ever.
    ///
    /// # Errors
    ///
    /// The database can't be read now: try again later. A row is [`LedgerError::Corrupt`]: an operator must examine the
    /// database.
    pub async fn keys(&self, account: AccountId, before: Option<Uuid>, limit: u64) -> Result<Vec<ApiKey>, LedgerError> {
        let sql = format!("SELECT {KEY} FROM api_key WHERE account_id = ? AND id < ? ORDER BY id DESC LIMIT ?");
        let values = [account.0.into(), before.unwrap_or(Uuid::max()).into(), page(limit).into()];
        self.rows(&sql, values).await?.iter().map(key).collect()
    }

    /// An account's keys that are not revoked, newest first. There are at most [`MOST_KEYS`].
    ///
    /// # Errors
    ///
    /// The database can't be read now: try again later. A row is [`LedgerError::Corrupt`]: an operator must examine the
    /// database.
    pub async fn unrevoked_keys(&self, account: AccountId) -> Result<Vec<ApiKey>, LedgerError> {
        let sql = format!(
            "SELECT {KEY} FROM api_key WHERE account_id = ? AND revoked_at IS NULL ORDER BY id DESC LIMIT {MOST_KEYS}"
        );
        self.rows(&sql, [account.0.into()]).await?.iter().map(key).collect()
    }

    /// The names of these keys, as far as they are the account's.
    ///
    /// # Errors
    ///
    /// The database can't be read now: try again later.
    pub async fn key_names(&self, account: AccountId, ids: &[Uuid]) -> Result<HashMap<Uuid, String>, LedgerError> {
        let mut names = HashMap::new();
        for some in ids.chunks(NAMED) {
            let marks = vec!["?"; some.len()].join(", ");
            let sql = format!("SELECT id, name FROM api_key WHERE account_id = ? AND id IN ({marks})");
            let values: Vec<Value> =
                std::iter::once(account.0.into()).chain(some.iter().map(|id| (*id).into())).collect();
            for row in self.rows(&sql, values).await? {
                names.insert(row.try_get("", "id")?, row.try_get("", "name")?);
            }
        }
        Ok(names)
    }

    /// The names of all keys that an account ever had.
    ///
    /// # Errors
    ///
    /// The database can't be read now: try again later.
    pub async fn all_key_names(&self, account: AccountId) -> Result<HashMap<KeyId, String>, LedgerError> {
        let rows = self.rows("SELECT id, name FROM api_key WHERE account_id = ?", [account.0.into()]).await?;
        rows.iter().map(|row| Ok((KeyId(row.try_get("", "id")?), row.try_get("", "name")?))).collect()
    }

    /// Finds a key of an account.
    ///
    /// # Errors
    ///
    /// The database can't be read now: try again later. A row is [`LedgerError::Corrupt`]: an operator must examine the
    /// database.
    pub async fn key_of(&self, account: AccountId, id: KeyId) -> Result<Option<ApiKey>, LedgerError> {
        let sql = format!("SELECT {KEY} FROM api_key WHERE account_id = ? AND id = ?");
        self.row(&sql, [account.0.into(), id.0.into()]).await?.as_ref().map(key).transpose()
    }

    /// An account's limited keys with their spending: the unrevoked ones, and those with running requests.
    pub(super) async fn limited_keys(
        &self,
        account: AccountId,
        now: Timestamp,
    ) -> Result<BTreeMap<KeyId, KeyState>, LedgerError> {
        let sql = format!(
            "SELECT {KEY}, beyond, alerts FROM api_key WHERE account_id = ? AND (limit_day IS NOT NULL OR limit_week IS NOT NULL \
             OR limit_month IS NOT NULL OR limit_total IS NOT NULL OR models IS NOT NULL) \
             AND (revoked_at IS NULL OR id IN (SELECT key_id FROM hold WHERE account_id = ?))"
        );
        let mut states = BTreeMap::new();
        for row in self.rows(&sql, [account.0.into(), account.0.into()]).await? {
            let ApiKey { id, limits, .. } = key(&row)?;
            let beyond = Nanos::new(row.try_get("", "beyond")?);
            let spent = self.spent_by_key(account, id, now).await?;
            let state = KeyState::new(limits, spent, now).with_beyond(beyond);
            states.insert(id, state.with_alerts(percents(row.try_get("", "alerts")?)?));
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

/// Percentages between spaces.
fn percents(text: Option<String>) -> Result<Option<Vec<u8>>, LedgerError> {
    let Some(text) = text else { return Ok(None) };
    let percents = text.split_whitespace().map(str::parse).collect::<Result<_, _>>();
    percents.map(Some).map_err(|_| LedgerError::Corrupt(format!("alerts of a key: {text}")))
}

pub(super) fn key(row: &QueryResult) -> Result<ApiKey, LedgerError> {
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
    Ok(ApiKey {
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
