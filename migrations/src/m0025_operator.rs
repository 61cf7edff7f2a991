//! Since when an operator has an account admit no requests; what operators did to models, providers and actors; and the order
//! of the requests whose process died, which are few, by their end.

use sea_orm_migration::prelude::*;

use crate::dialect;

/// The migration.
#[derive(Debug, DeriveMigrationName)]
pub(crate) struct Migration;

const CHANGES: &[&str] = &[
    "ALTER TABLE account ADD COLUMN frozen_at BIGINT",
    // Beside the log.
    "CREATE TABLE operation (
        id {uuid} PRIMARY KEY,
        at BIGINT NOT NULL,
        node {uuid},
        known_by TEXT NOT NULL CHECK (known_by = 'token' OR known_by = 'session'),
        act TEXT NOT NULL,
        subject TEXT NOT NULL,
        reason TEXT NOT NULL,
        failed TEXT
    )",
    "CREATE INDEX usage_abandoned ON usage_record (ending, ended_at) WHERE ending = 'written_off' OR ending = 'recovered'",
];

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        dialect::run(manager, CHANGES).await
    }
}
