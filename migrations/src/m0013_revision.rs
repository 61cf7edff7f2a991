//! The number of changes of an account's keys, saved cards and webhooks. They are decided by the account since then, so
//! that nothing else needs to lock a row for them.

use sea_orm_migration::prelude::*;

use crate::dialect;

/// The migration.
#[derive(Debug, DeriveMigrationName)]
pub(crate) struct Migration;

const STATEMENTS: &[&str] = &[
    "ALTER TABLE account ADD COLUMN revision BIGINT NOT NULL DEFAULT 0 CHECK (revision >= 0)",
    "ALTER TABLE payment_customer DROP COLUMN touched",
];

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        dialect::run(manager, STATEMENTS).await
    }
}
