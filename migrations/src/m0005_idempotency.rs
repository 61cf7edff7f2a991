//! Answers kept for a day under the `Idempotency-Key` of their request. A row is written before its request runs, and
//! gets the sealed answer at the end. The scope is the account, or the nil id for the operator.

use sea_orm_migration::prelude::*;

use crate::dialect;

/// The migration.
#[derive(Debug, DeriveMigrationName)]
pub(crate) struct Migration;

const TABLES: &[&str] = &[
    "CREATE TABLE idempotency_key (
        scope {uuid} NOT NULL,
        key {bytes} NOT NULL CHECK (length(key) = 32),
        fingerprint {bytes} NOT NULL CHECK (length(fingerprint) = 32),
        request_id {uuid} NOT NULL,
        state TEXT NOT NULL CHECK (state = 'started' OR state = 'kept' OR state = 'too_large'),
        answer {bytes},
        created_at BIGINT NOT NULL,
        expires_at BIGINT NOT NULL,
        PRIMARY KEY (scope, key),
        CHECK ((state = 'kept') = (answer IS NOT NULL)),
        CHECK (expires_at > created_at)
    )",
    "CREATE INDEX idempotency_key_expiry ON idempotency_key (expires_at)",
];

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        dialect::run(manager, TABLES).await
    }
}
