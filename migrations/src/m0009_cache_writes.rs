//! Tokens that a request wrote to its provider's cache, beside those that it read from it: a column of the record, and
//! of the sums. The counts of earlier requests are unknown.

use sea_orm_migration::prelude::*;

use crate::dialect;

/// The migration.
#[derive(Debug, DeriveMigrationName)]
pub(crate) struct Migration;

const COLUMNS: &[&str] = &[
    "ALTER TABLE usage_record ADD COLUMN cache_write_tokens BIGINT NOT NULL DEFAULT 0 CHECK (cache_write_tokens >= 0)",
    "ALTER TABLE usage_rollup ADD COLUMN cache_write_tokens BIGINT NOT NULL DEFAULT 0 CHECK (cache_write_tokens >= 0)",
];

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        dialect::run(manager, COLUMNS).await
    }
}
