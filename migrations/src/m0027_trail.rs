//! The audit log of accounts: who changed what.

use sea_orm_migration::prelude::*;

use crate::dialect;

/// The migration.
#[derive(Debug, DeriveMigrationName)]
pub(crate) struct Migration;

const CHANGES: &[&str] = &[
    // Beside the log.
    "CREATE TABLE trail (
        id {uuid} PRIMARY KEY,
        account_id {uuid} NOT NULL,
        at BIGINT NOT NULL,
        by_kind TEXT NOT NULL CHECK (by_kind = 'key' OR by_kind = 'member'),
        by_id {uuid} NOT NULL,
        act TEXT NOT NULL,
        subject TEXT,
        detail TEXT
    )",
    "CREATE INDEX trail_account ON trail (account_id, id)",
];

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        dialect::run(manager, CHANGES).await
    }
}
