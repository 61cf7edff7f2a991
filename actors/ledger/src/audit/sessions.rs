//! Sums of usage by session (invariant 2), which the database compares itself: an account may have a million sessions.

use sea_orm::{ConnectionTrait as _, DatabaseTransaction, Value};
use uuid::Uuid;

use super::{Audit, MOST, checks::differences, usage::SUMMED};
use crate::{Ledger, LedgerError};

/// Hours compared with records, and days with hours.
const HOURS: &str = "usage of a session by the hour differs from its records";
const DAYS: &str = "usage of a session by the day differs from its hours";

/// All checks of this file.
pub(super) const CHECKS: [&str; 2] = [HOURS, DAYS];

/// What is summed by the hour. Its value is the nil id, which stands for no key.
const RECORDS: &str = "SELECT 1 AS side, account_id, session, ended_at - ended_at % 3600000 AS starts_at, model, provider, \
                       COALESCE(key_id, ?) AS key_id, 1 AS requests, \
                       CASE WHEN ending = 'completed' OR ending = 'client_left' THEN 0 ELSE 1 END AS failed, input_tokens, \
                       cached_input_tokens, cache_write_tokens, output_tokens, reasoning_tokens, compute_ms, billed_seconds, \
                       charged FROM usage_record WHERE session IS NOT NULL";

/// Sums of a span of so many hours, as what they should be (side 1) or what they are (side 0).
fn sums(side: u8, starts_at: &str, span: u8) -> String {
    let summed = SUMMED.map(|(column, _)| column).join(", ");
    format!(
        "SELECT {side} AS side, account_id, session, {starts_at} AS starts_at, model, provider, key_id, {summed} \
         FROM usage_session WHERE span = {span}"
    )
}

/// The query whose rows are accounts with sums that differ: the expected and the found value of each column.
fn compared(expected: &str, found: &str) -> String {
    let pair =
        |(column, _)| format!("CAST(SUM(side * {column}) AS BIGINT), CAST(SUM((1 - side) * {column}) AS BIGINT)");
    let differs = |(column, _)| format!("SUM((2 * side - 1) * {column}) <> 0");
    let (pairs, differ) = (SUMMED.map(pair).join(", "), SUMMED.map(differs).join(" OR "));
    format!(
        "SELECT account_id, {pairs} FROM ({expected} UNION ALL {found}) t \
         GROUP BY account_id, session, starts_at, model, provider, key_id HAVING {differ} LIMIT {MOST}"
    )
}

impl Ledger {
    /// Checks every sum of a session.
    pub(super) async fn check_sessions(&self, tx: &DatabaseTransaction, audit: &mut Audit) -> Result<(), LedgerError> {
        let hours = compared(RECORDS, &sums(0, "starts_at", 1));
        let days = compared(&sums(1, "starts_at - starts_at % 86400000", 1), &sums(0, "starts_at", 24));
        let checks: [(_, _, Vec<Value>); 2] = [(HOURS, hours, vec![Uuid::nil().into()]), (DAYS, days, Vec::new())];
        for (what, sql, values) in checks {
            for row in tx.query_all_raw(self.statement(&sql, values)).await? {
                let account: Uuid = row.try_get_by_index(0)?;
                audit.note(2, what, format!("{account}: {}", differences(&SUMMED, &row, 1)?.join(", ")));
            }
        }
        Ok(())
    }
}
