//! The attempts with other models that came before the one that a request's record is of. Few requests have any.

use sea_orm_migration::prelude::*;

use crate::dialect;

/// The migration.
#[derive(Debug, DeriveMigrationName)]
pub(crate) struct Migration;

const TABLES: &[&str] = &["CREATE TABLE request_attempt (
        account_id {uuid} NOT NULL,
        request_id {uuid} NOT NULL,
        place BIGINT NOT NULL CHECK (place >= 0),
        attempt_id {uuid},
        model TEXT NOT NULL,
        provider TEXT,
        status BIGINT NOT NULL,
        code TEXT NOT NULL,
        started_at BIGINT NOT NULL,
        ended_at BIGINT NOT NULL,
        charged BIGINT NOT NULL CHECK (charged >= 0),
        PRIMARY KEY (account_id, request_id, place)
    ) {without_rowid}"];

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        dialect::run(manager, TABLES).await?;
        dialect::append_only(manager, "request_attempt").await
    }
}
