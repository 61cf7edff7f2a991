//! SQLite's log: its rows, and its owner's epoch. The lease is here too, because one statement checks it and appends.

use sea_orm_migration::prelude::*;

use crate::{dialect, m0012_log::LOG};

/// The migration.
#[derive(Debug, DeriveMigrationName)]
pub(crate) struct Migration;

const LEASE: &str = "CREATE TABLE shard_lease (
        shard BIGINT PRIMARY KEY,
        owner TEXT NOT NULL,
        epoch BIGINT NOT NULL CHECK (epoch > 0)
    )";

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        dialect::run(manager, &[LOG, LEASE]).await?;
        dialect::append_only(manager, "log").await
    }
}
