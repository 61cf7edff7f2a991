//! A batch's row of the log: its number and its whole hash, so that a receipt can name it. Batches that are older than the
//! log have none.

use sea_orm_migration::prelude::*;

use crate::dialect;

/// The migration.
#[derive(Debug, DeriveMigrationName)]
pub(crate) struct Migration;

const COLUMNS: &[&str] = &[
    "ALTER TABLE batch ADD COLUMN seq BIGINT CHECK (seq IS NULL OR seq >= 0)",
    "ALTER TABLE batch ADD COLUMN hash {bytes} CHECK (hash IS NULL OR length(hash) = 32)",
];

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        dialect::run(manager, COLUMNS).await
    }
}
