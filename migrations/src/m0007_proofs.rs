//! Proofs of requests, and scopes of keys. A proof is written in the transaction of its effect. If the effect has a row
//! with the request's id (a grant, a payment, a key), that row is the proof; an operator's action is proved by its
//! entry in the operators' log. A key's scopes are names between spaces; NULL: by its limits. The claim of a running
//! request under its key's limits is kept with its hold.

use sea_orm_migration::prelude::*;

use crate::dialect;

/// The migration.
#[derive(Debug, DeriveMigrationName)]
pub(crate) struct Migration;

const STATEMENTS: &[&str] = &[
    "CREATE TABLE request_proof (
        id {uuid} PRIMARY KEY,
        at BIGINT NOT NULL,
        account_id {uuid} NOT NULL REFERENCES account (id),
        act TEXT NOT NULL,
        subject TEXT NOT NULL,
        amount BIGINT
    ) {without_rowid}",
    "ALTER TABLE api_key ADD COLUMN scopes TEXT",
    // Charges beyond the key's limits.
    "ALTER TABLE api_key ADD COLUMN beyond BIGINT NOT NULL DEFAULT 0 CHECK (beyond >= 0)",
    // Earlier charges were limited at admission only, and may exceed any of the limits.
    "UPDATE api_key SET beyond = COALESCE((SELECT CAST(SUM(r.charged) AS BIGINT) FROM usage_rollup r
            WHERE r.account_id = api_key.account_id AND r.span = 24 AND r.key_id = api_key.id), 0)
        WHERE limit_day IS NOT NULL OR limit_week IS NOT NULL OR limit_month IS NOT NULL OR limit_total IS NOT NULL",
    "ALTER TABLE hold ADD COLUMN claimed BIGINT CHECK (claimed >= 0)",
];

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        dialect::run(manager, STATEMENTS).await?;
        dialect::append_only(manager, "request_proof").await
    }
}
