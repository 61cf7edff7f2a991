//! Invariant 18: the spending of a limited key in each window, with the claims of its running requests, is within its
//! limits, except for charges that were counted as beyond them.

use std::collections::BTreeMap;

use billing::{
    Nanos, Timestamp,
    key::{KeyLimits, KeyWindow},
};
use sea_orm::{ConnectionTrait, DatabaseTransaction, QueryResult};
use uuid::Uuid;

use super::{Audit, KEYS, differs};
use crate::{Ledger, LedgerError, audit::checks::Says, load::parse_allocations};

/// The condition for keys with limits in dollars.
const LIMITED: &str =
    "(k.limit_day IS NOT NULL OR k.limit_week IS NOT NULL OR k.limit_month IS NOT NULL OR k.limit_total IS NOT NULL)";

/// A limited key.
struct Key {
    limits: KeyLimits,
    /// All charges beyond the limits.
    beyond: Nanos,
    /// The time of the account's last change. Running requests count in the windows of that time.
    clock: Timestamp,
    /// The amount used, by window and start of the window.
    used: BTreeMap<(KeyWindow, Timestamp), Nanos>,
}

impl Key {
    fn add(&mut self, at: Timestamp, amount: Nanos) {
        for window in KeyWindow::ALL {
            *self.used.entry((window, window.start(at))).or_default() += amount;
        }
    }
}

impl Ledger {
    /// Checks every limited key.
    pub(super) async fn check_keys(&self, tx: &DatabaseTransaction, audit: &mut Audit) -> Result<(), LedgerError> {
        let mut keys = BTreeMap::new();
        let sql = format!(
            "SELECT k.id, k.limit_day, k.limit_week, k.limit_month, k.limit_total, k.beyond, a.clock FROM api_key k \
             JOIN account a ON a.id = k.account_id WHERE {LIMITED}"
        );
        for row in tx.query_all_raw(self.statement(&sql, [])).await? {
            keys.insert(row.try_get_by_index(0)?, key(&row)?);
        }
        let sql = format!(
            "SELECT k.id, r.starts_at, CAST(SUM(r.charged) AS BIGINT) FROM api_key k JOIN usage_rollup r ON \
             r.account_id = k.account_id AND r.span = 24 AND r.key_id = k.id WHERE {LIMITED} GROUP BY k.id, r.starts_at"
        );
        for row in tx.query_all_raw(self.statement(&sql, [])).await? {
            let (id, at, charged): (Uuid, i64, i64) =
                (row.try_get_by_index(0)?, row.try_get_by_index(1)?, row.try_get_by_index(2)?);
            if let Some(key) = keys.get_mut(&id) {
                key.add(Timestamp(at), Nanos::new(charged));
            }
        }
        let sql = format!(
            "SELECT k.id, h.class, h.claimed, h.worst_case, h.accrued, h.allocations FROM api_key k JOIN hold h ON \
             h.account_id = k.account_id AND h.key_id = k.id WHERE {LIMITED}"
        );
        for row in tx.query_all_raw(self.statement(&sql, [])).await? {
            let id: Uuid = row.try_get_by_index(0)?;
            if let Some(key) = keys.get_mut(&id) {
                key.add(key.clock, claim(&row)?);
            }
        }
        for (id, key) in keys {
            for ((window, _), used) in key.used {
                let Some(most) = key.limits.of(window).map(|limit| limit + key.beyond) else { continue };
                if used > most {
                    let pair = (window.name(), Says::DollarsAtMost);
                    audit.violations.extend(differs(18, KEYS, id, pair, Some(most), used));
                }
            }
        }
        Ok(())
    }
}

fn key(row: &QueryResult) -> Result<Key, LedgerError> {
    let limit = |index| Ok::<_, LedgerError>(row.try_get_by_index::<Option<i64>>(index)?.map(Nanos::new));
    let amounts = [limit(1)?, limit(2)?, limit(3)?, limit(4)?];
    Ok(Key {
        limits: KeyLimits { amounts, models: Vec::new() },
        beyond: Nanos::new(row.try_get_by_index(5)?),
        clock: Timestamp(row.try_get_by_index(6)?),
        used: BTreeMap::new(),
    })
}

/// The claim of a running request, as [`billing::hold::Hold::claim`] computes it.
fn claim(row: &QueryResult) -> Result<Nanos, LedgerError> {
    let (class, claimed): (Option<String>, Option<i64>) = (row.try_get_by_index(1)?, row.try_get_by_index(2)?);
    let (worst_case, accrued): (i64, i64) = (row.try_get_by_index(3)?, row.try_get_by_index(4)?);
    let allocations: String = row.try_get_by_index(5)?;
    let held: Nanos = parse_allocations(&allocations)?.into_iter().map(|(_, amount)| amount).sum();
    let unlimited = if class.is_none() { worst_case } else { 0 };
    Ok(Nanos::new(claimed.unwrap_or(unlimited).max(accrued)).max(held))
}
