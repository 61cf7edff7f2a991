//! Sums of usage for each account, hour or day, model, provider and key. They are written with the records they sum, in
//! the same transaction; this migration sums the earlier records. Requests without a key are under the nil id, which no
//! key has. Also adds the order of requests by their end, for lists and exports.

use sea_orm_migration::{prelude::*, sea_orm::DbBackend};

use crate::dialect;

/// The migration.
#[derive(Debug, DeriveMigrationName)]
pub(crate) struct Migration;

/// A span is 1 or 24 hours. With daily sums a year has some hundred rows for each model and key, not thousands.
const TABLE: &str = "CREATE TABLE usage_rollup (
        account_id {uuid} NOT NULL REFERENCES account (id),
        span BIGINT NOT NULL CHECK (span = 1 OR span = 24),
        starts_at BIGINT NOT NULL CHECK (starts_at % (span * 3600000) = 0),
        model TEXT NOT NULL,
        provider TEXT NOT NULL,
        key_id {uuid} NOT NULL,
        requests BIGINT NOT NULL CHECK (requests > 0),
        failed BIGINT NOT NULL CHECK (failed >= 0),
        input_tokens BIGINT NOT NULL CHECK (input_tokens >= 0),
        cached_input_tokens BIGINT NOT NULL CHECK (cached_input_tokens >= 0),
        output_tokens BIGINT NOT NULL CHECK (output_tokens >= 0),
        compute_ms BIGINT NOT NULL CHECK (compute_ms >= 0),
        billed_seconds BIGINT NOT NULL CHECK (billed_seconds >= 0),
        charged BIGINT NOT NULL CHECK (charged >= 0),
        PRIMARY KEY (account_id, span, starts_at, model, provider, key_id),
        CHECK (failed <= requests)
    )";

/// PostgreSQL keeps rows in the order of their insertion. Hours and days are stored apart, or a year's days would be
/// scattered among its hours. Free space beside a row is for its next version, so that the indexes need no change.
const APART: &[&str] = &[
    "CREATE TABLE usage_rollup_hour PARTITION OF usage_rollup FOR VALUES IN (1) WITH (fillfactor = 70)",
    "CREATE TABLE usage_rollup_day PARTITION OF usage_rollup FOR VALUES IN (24) WITH (fillfactor = 70)",
];

const OTHERS: &[&str] = &[
    "INSERT INTO usage_rollup (account_id, span, starts_at, model, provider, key_id, requests, failed, input_tokens,
            cached_input_tokens, output_tokens, compute_ms, billed_seconds, charged)
        SELECT account_id, span, ended_at - ended_at % (span * 3600000), model, provider, COALESCE(key_id, {nil}), COUNT(*),
            SUM(CASE WHEN ending = 'completed' OR ending = 'client_left' THEN 0 ELSE 1 END), SUM(input_tokens),
            SUM(cached_input_tokens), SUM(output_tokens), SUM(compute_ms), SUM(billed_seconds), SUM(charged)
        FROM usage_record CROSS JOIN (SELECT 1 AS span UNION ALL SELECT 24) AS spans GROUP BY 1, 2, 3, 4, 5, 6",
    // Rows change only in their sums, so these indexes cost something once an hour, not once a request.
    "CREATE INDEX usage_rollup_model ON usage_rollup (account_id, span, model, starts_at)",
    "CREATE INDEX usage_rollup_key ON usage_rollup (account_id, span, key_id, starts_at)",
    "CREATE INDEX usage_record_ended ON usage_record (account_id, ended_at, request_id)",
];

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        if manager.get_database_backend() == DbBackend::Postgres {
            dialect::run(manager, &[&format!("{TABLE} PARTITION BY LIST (span)")]).await?;
            dialect::run(manager, APART).await?;
        } else {
            dialect::run(manager, &[&format!("{TABLE} {{without_rowid}}")]).await?;
        }
        dialect::run(manager, OTHERS).await
    }
}
