//! Where an ended request's time went, by stage, in milliseconds. Requests from before have none.

use sea_orm_migration::prelude::*;

use crate::dialect;

/// The migration.
#[derive(Debug, DeriveMigrationName)]
pub(crate) struct Migration;

const COLUMNS: &[&str] = &[
    "ALTER TABLE usage_record ADD COLUMN admission_ms BIGINT CHECK (admission_ms >= 0)",
    "ALTER TABLE usage_record ADD COLUMN load_ms BIGINT CHECK (load_ms >= 0)",
    "ALTER TABLE usage_record ADD COLUMN queue_ms BIGINT CHECK (queue_ms >= 0)",
    "ALTER TABLE usage_record ADD COLUMN run_ms BIGINT CHECK (run_ms >= 0)",
    // Of streams, the time until the first piece.
    "ALTER TABLE usage_record ADD COLUMN first_ms BIGINT CHECK (first_ms >= 0)",
];

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        dialect::run(manager, COLUMNS).await
    }
}
