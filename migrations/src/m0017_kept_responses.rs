//! Responses that are kept for their account, so that later requests continue them. Their text is sealed before it comes
//! here. The items of a response are found by their ids too.

use sea_orm_migration::prelude::*;

use crate::dialect;

/// The migration.
#[derive(Debug, DeriveMigrationName)]
pub(crate) struct Migration;

const TABLES: &[&str] = &[
    "CREATE TABLE kept_response (
        account_id {uuid} NOT NULL,
        id TEXT NOT NULL,
        previous TEXT,
        created_at BIGINT NOT NULL,
        expires_at BIGINT NOT NULL,
        bytes BIGINT NOT NULL,
        sealed {bytes} NOT NULL,
        PRIMARY KEY (account_id, id),
        CHECK (expires_at > created_at)
    )",
    "CREATE INDEX kept_response_expiry ON kept_response (expires_at)",
    "CREATE INDEX kept_response_age ON kept_response (account_id, created_at, bytes)",
    "CREATE TABLE kept_item (
        account_id {uuid} NOT NULL,
        id TEXT NOT NULL,
        response_id TEXT NOT NULL,
        PRIMARY KEY (account_id, id)
    )",
    "CREATE INDEX kept_item_response ON kept_item (account_id, response_id)",
];

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        dialect::run(manager, TABLES).await
    }
}
