//! The quantities of a request in its record, each with the rate it was charged at, and reasoning in a column of its
//! own, so that it can be summed. Earlier records keep their counts as quantities without rates, because their rates
//! were not kept. Records refuse all other changes.

use sea_orm_migration::prelude::*;

use crate::dialect;

/// The migration.
#[derive(Debug, DeriveMigrationName)]
pub(crate) struct Migration;

const COLUMNS: &[&str] = &[
    "ALTER TABLE usage_record ADD COLUMN quantities TEXT NOT NULL DEFAULT ''",
    "ALTER TABLE usage_record ADD COLUMN reasoning_tokens BIGINT NOT NULL DEFAULT 0 CHECK (reasoning_tokens >= 0)",
    "ALTER TABLE usage_rollup ADD COLUMN reasoning_tokens BIGINT NOT NULL DEFAULT 0 CHECK (reasoning_tokens >= 0)",
];

/// In the order of the keys. The cache's counts are parts of the input.
const FILL: &str = "UPDATE usage_record SET quantities = TRIM(
        CASE WHEN input_tokens > cached_input_tokens + cache_write_tokens
            THEN 'tokens.input=' || (input_tokens - cached_input_tokens - cache_write_tokens) || ' ' ELSE '' END ||
        CASE WHEN cached_input_tokens > 0 THEN 'tokens.input.cache_read=' || cached_input_tokens || ' ' ELSE '' END ||
        CASE WHEN cache_write_tokens > 0 THEN 'tokens.input.cache_write=' || cache_write_tokens || ' ' ELSE '' END ||
        CASE WHEN output_tokens > 0 THEN 'tokens.output=' || output_tokens || ' ' ELSE '' END ||
        CASE WHEN billed_seconds > 0 THEN 'compute_seconds=' || billed_seconds ELSE '' END)";

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        dialect::run(manager, COLUMNS).await?;
        dialect::changeable(manager, "usage_record").await?;
        dialect::run(manager, &[FILL]).await?;
        dialect::append_only(manager, "usage_record").await
    }
}
