//! The place of the tables in the log, and the accounts whose rows can't be made from it. The log itself is in the same
//! database with PostgreSQL; with SQLite it has a file of its own, whose migrations are in [`LogMigrator`].
//!
//! [`LogMigrator`]: crate::LogMigrator

use sea_orm_migration::{prelude::*, sea_orm::DbBackend};

use crate::dialect;

/// The migration.
#[derive(Debug, DeriveMigrationName)]
pub(crate) struct Migration;

const STATEMENTS: &[&str] = &[
    "CREATE TABLE projection (
        shard BIGINT PRIMARY KEY,
        seq BIGINT NOT NULL CHECK (seq >= 0),
        hash {bytes} NOT NULL CHECK (length(hash) = 32)
    )",
    "CREATE TABLE projection_fault (
        account_id {uuid} PRIMARY KEY,
        shard BIGINT NOT NULL,
        seq BIGINT NOT NULL CHECK (seq >= 0),
        at BIGINT NOT NULL,
        why TEXT NOT NULL
    ) {without_rowid}",
];

/// One row is one batch of transitions. In both databases' logs.
pub(crate) const LOG: &str = "CREATE TABLE log (
        shard BIGINT NOT NULL,
        seq BIGINT NOT NULL CHECK (seq >= 0),
        epoch BIGINT NOT NULL CHECK (epoch > 0),
        at BIGINT NOT NULL,
        prev_hash {bytes} NOT NULL CHECK (length(prev_hash) = 32),
        hash {bytes} NOT NULL CHECK (length(hash) = 32),
        body {bytes} NOT NULL,
        PRIMARY KEY (shard, seq)
    ) {without_rowid}";

/// An append answers before anything else may: PostgreSQL's compression of a body would delay it.
const UNCOMPRESSED: &str = "ALTER TABLE log ALTER body SET STORAGE EXTERNAL";

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        dialect::run(manager, STATEMENTS).await?;
        if manager.get_database_backend() == DbBackend::Postgres {
            dialect::run(manager, &[LOG, UNCOMPRESSED]).await?;
            dialect::append_only(manager, "log").await?;
        }
        Ok(())
    }
}
