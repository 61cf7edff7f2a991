//! Checkpoints of SQLite's log, in its own file.

use sea_orm_migration::prelude::*;

use crate::m0015_log_checkpoint::checkpoints;

/// The migration.
#[derive(Debug, DeriveMigrationName)]
pub(crate) struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        checkpoints(manager).await
    }
}
