//! Sums of usage by session (invariant 2), which the database compares itself: an account may have a million sessions.

use sea_orm::{ConnectionTrait as _, DatabaseTransaction, Value};
use uuid::Uuid;

use super::{
    Audit, MOST, Violation,
    checks::{
        Check, Pair,
        Says::{Count, Dollars},
    },
};
use crate::{Ledger, LedgerError};

/// The summed columns.
const SUMMED: [Pair; 10] = [
    ("requests", Count),
    ("failed", Count),
    ("input_tokens", Count),
    ("cached_input_tokens", Count),
    ("cache_write_tokens", Count),
    ("output_tokens", Count),
    ("reasoning_tokens", Count),
    ("compute_ms", Count),
    ("billed_seconds", Count),
    ("charged", Dollars),
];

/// Hours compared with records. Its value is the nil id, which stands for no key.
const HOURS: Check = Check {
    invariant: 2,
    what: "usage of a session by the hour differs from its records",
    pairs: &SUMMED,
    sql: "SELECT account_id, CAST(SUM(side * requests) AS BIGINT), CAST(SUM((1 - side) * requests) AS BIGINT), \
               CAST(SUM(side * failed) AS BIGINT), CAST(SUM((1 - side) * failed) AS BIGINT), CAST(SUM(side * \
               input_tokens) AS BIGINT), CAST(SUM((1 - side) * input_tokens) AS BIGINT), CAST(SUM(side * \
               cached_input_tokens) AS BIGINT), CAST(SUM((1 - side) * cached_input_tokens) AS BIGINT), CAST(SUM(side * \
               cache_write_tokens) AS BIGINT), CAST(SUM((1 - side) * cache_write_tokens) AS BIGINT), CAST(SUM(side * \
               output_tokens) AS BIGINT), CAST(SUM((1 - side) * output_tokens) AS BIGINT), CAST(SUM(side * \
               reasoning_tokens) AS BIGINT), CAST(SUM((1 - side) * reasoning_tokens) AS BIGINT), CAST(SUM(side * \
               compute_ms) AS BIGINT), CAST(SUM((1 - side) * compute_ms) AS BIGINT), CAST(SUM(side * billed_seconds) AS \
               BIGINT), CAST(SUM((1 - side) * billed_seconds) AS BIGINT), CAST(SUM(side * charged) AS BIGINT), \
               CAST(SUM((1 - side) * charged) AS BIGINT) FROM (SELECT 1 AS side, account_id, session, ended_at - \
               ended_at % 3600000 AS starts_at, model, provider, COALESCE(key_id, ?) AS key_id, 1 AS requests, CASE \
               WHEN ending = 'completed' OR ending = 'client_left' THEN 0 ELSE 1 END AS failed, input_tokens, \
               cached_input_tokens, cache_write_tokens, output_tokens, reasoning_tokens, compute_ms, billed_seconds, \
               charged FROM usage_record WHERE session IS NOT NULL UNION ALL SELECT 0 AS side, account_id, session, \
               starts_at, model, provider, key_id, requests, failed, input_tokens, cached_input_tokens, \
               cache_write_tokens, output_tokens, reasoning_tokens, compute_ms, billed_seconds, charged FROM \
               usage_session WHERE span = 1) t GROUP BY account_id, session, starts_at, model, provider, key_id HAVING \
               SUM((2 * side - 1) * requests) <> 0 OR SUM((2 * side - 1) * failed) <> 0 OR SUM((2 * side - 1) * \
               input_tokens) <> 0 OR SUM((2 * side - 1) * cached_input_tokens) <> 0 OR SUM((2 * side - 1) * \
               cache_write_tokens) <> 0 OR SUM((2 * side - 1) * output_tokens) <> 0 OR SUM((2 * side - 1) * \
               reasoning_tokens) <> 0 OR SUM((2 * side - 1) * compute_ms) <> 0 OR SUM((2 * side - 1) * billed_seconds) \
               <> 0 OR SUM((2 * side - 1) * charged) <> 0",
};

/// Days compared with hours.
const DAYS: Check = Check {
    invariant: 2,
    what: "usage of a session by the day differs from its hours",
    pairs: &SUMMED,
    sql: "SELECT account_id, CAST(SUM(side * requests) AS BIGINT), CAST(SUM((1 - side) * requests) AS BIGINT), \
               CAST(SUM(side * failed) AS BIGINT), CAST(SUM((1 - side) * failed) AS BIGINT), CAST(SUM(side * \
               input_tokens) AS BIGINT), CAST(SUM((1 - side) * input_tokens) AS BIGINT), CAST(SUM(side * \
               cached_input_tokens) AS BIGINT), CAST(SUM((1 - side) * cached_input_tokens) AS BIGINT), CAST(SUM(side * \
               cache_write_tokens) AS BIGINT), CAST(SUM((1 - side) * cache_write_tokens) AS BIGINT), CAST(SUM(side * \
               output_tokens) AS BIGINT), CAST(SUM((1 - side) * output_tokens) AS BIGINT), CAST(SUM(side * \
               reasoning_tokens) AS BIGINT), CAST(SUM((1 - side) * reasoning_tokens) AS BIGINT), CAST(SUM(side * \
               compute_ms) AS BIGINT), CAST(SUM((1 - side) * compute_ms) AS BIGINT), CAST(SUM(side * billed_seconds) AS \
               BIGINT), CAST(SUM((1 - side) * billed_seconds) AS BIGINT), CAST(SUM(side * charged) AS BIGINT), \
               CAST(SUM((1 - side) * charged) AS BIGINT) FROM (SELECT 1 AS side, account_id, session, starts_at - \
               starts_at % 86400000 AS starts_at, model, provider, key_id, requests, failed, input_tokens, \
               cached_input_tokens, cache_write_tokens, output_tokens, reasoning_tokens, compute_ms, billed_seconds, \
               charged FROM usage_session WHERE span = 1 UNION ALL SELECT 0 AS side, account_id, session, starts_at, \
               model, provider, key_id, requests, failed, input_tokens, cached_input_tokens, cache_write_tokens, \
               output_tokens, reasoning_tokens, compute_ms, billed_seconds, charged FROM usage_session WHERE span = 24) \
               t GROUP BY account_id, session, starts_at, model, provider, key_id HAVING SUM((2 * side - 1) * requests) \
               <> 0 OR SUM((2 * side - 1) * failed) <> 0 OR SUM((2 * side - 1) * input_tokens) <> 0 OR SUM((2 * side - \
               1) * cached_input_tokens) <> 0 OR SUM((2 * side - 1) * cache_write_tokens) <> 0 OR SUM((2 * side - 1) * \
               output_tokens) <> 0 OR SUM((2 * side - 1) * reasoning_tokens) <> 0 OR SUM((2 * side - 1) * compute_ms) \
               <> 0 OR SUM((2 * side - 1) * billed_seconds) <> 0 OR SUM((2 * side - 1) * charged) <> 0",
};

/// All checks of this file.
pub(super) const CHECKS: [&str; 2] = [HOURS.what, DAYS.what];

impl Ledger {
    /// Checks every sum of a session.
    pub(super) async fn check_sessions(&self, tx: &DatabaseTransaction, audit: &mut Audit) -> Result<(), LedgerError> {
        let checks: [(Check, Vec<Value>); 2] = [(HOURS, vec![Uuid::nil().into()]), (DAYS, Vec::new())];
        for (check, values) in checks {
            let sql = format!("{} LIMIT {MOST}", check.sql);
            for row in tx.query_all_raw(self.statement(&sql, values)).await? {
                audit.violations.push(Violation { invariant: check.invariant, what: check.say(&row)? });
            }
        }
        Ok(())
    }
}
