//! Nodes that share a ledger in PostgreSQL: who is there, and until when each owns which shards. Times are the database's.
//! A ledger with one owner leaves all of this empty.

use sea_orm_migration::prelude::*;

use crate::dialect;

/// The migration.
#[derive(Debug, DeriveMigrationName)]
pub(crate) struct Migration;

const STATEMENTS: &[&str] = &[
    "ALTER TABLE shard_lease ADD COLUMN node {uuid}",
    "ALTER TABLE shard_lease ADD COLUMN expires_at BIGINT NOT NULL DEFAULT 0",
    // Raised each time that the row is written.
    "ALTER TABLE shard_lease ADD COLUMN version BIGINT NOT NULL DEFAULT 0",
    "CREATE TABLE node (
        id {uuid} PRIMARY KEY,
        name TEXT NOT NULL,
        address TEXT NOT NULL,
        version TEXT NOT NULL,
        leaves BIGINT NOT NULL CHECK (leaves IN (0, 1)),
        beat BIGINT NOT NULL CHECK (beat >= 0),
        beat_at BIGINT NOT NULL,
        since BIGINT NOT NULL
    ) {without_rowid}",
];

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        dialect::run(manager, STATEMENTS).await
    }
}
