//! Whether a running request stands still, because its reader is slow, and has given its permit back.

use sea_orm_migration::prelude::*;

use crate::dialect;

/// The migration.
#[derive(Debug, DeriveMigrationName)]
pub(crate) struct Migration;

const COLUMN: &[&str] = &["ALTER TABLE hold ADD COLUMN parked BIGINT NOT NULL DEFAULT 0 \
                         CHECK (parked = 0 OR parked = 1 AND class IS NOT NULL)"];

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        dialect::run(manager, COLUMN).await
    }
}
