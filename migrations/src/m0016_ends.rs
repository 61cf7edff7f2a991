//! What each closed request writes costs less. A request's lines are found by its end alone, which receipts read, and it
//! still ends once; the audit looks for other lines that are there twice. In PostgreSQL the account of a line or a record
//! is not looked up for each of them: the same transaction changes the account, and fails where there is none.

use sea_orm_migration::{prelude::*, sea_orm::DbBackend};

use crate::dialect;

/// The migration.
#[derive(Debug, DeriveMigrationName)]
pub(crate) struct Migration;

const INDEX: &[&str] = &[
    "DROP INDEX journal_once",
    "CREATE UNIQUE INDEX journal_end ON journal (request_id, line) WHERE kind = 'hold_captured' OR kind = 'hold_released'",
];

const REFERENCES: &[&str] = &[
    "ALTER TABLE journal DROP CONSTRAINT journal_account_id_fkey",
    "ALTER TABLE usage_record DROP CONSTRAINT usage_record_account_id_fkey",
];

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        dialect::run(manager, INDEX).await?;
        if manager.get_database_backend() == DbBackend::Postgres {
            dialect::run(manager, REFERENCES).await?;
        }
        Ok(())
    }
}
