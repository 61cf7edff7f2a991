//! Cards and processors: customers, saved payment methods, and the webhook events whose effects are in the ledger. Card
//! numbers are never stored: only the processor's references, and the fields that people recognise.

use sea_orm_migration::prelude::*;

use crate::dialect;

/// The migration.
#[derive(Debug, DeriveMigrationName)]
pub(crate) struct Migration;

const TABLES: &[&str] = &[
    // The processor's id of an account. Changes of the account's methods lock this row.
    "CREATE TABLE payment_customer (
        account_id {uuid} NOT NULL REFERENCES account (id),
        processor TEXT NOT NULL,
        reference TEXT NOT NULL,
        created_at BIGINT NOT NULL,
        touched BIGINT NOT NULL DEFAULT 0,
        PRIMARY KEY (account_id, processor)
    ) {without_rowid}",
    "CREATE TABLE payment_method (
        id {uuid} PRIMARY KEY,
        account_id {uuid} NOT NULL REFERENCES account (id),
        processor TEXT NOT NULL,
        customer TEXT NOT NULL,
        reference TEXT NOT NULL,
        brand TEXT NOT NULL,
        last4 TEXT NOT NULL,
        exp_month BIGINT NOT NULL CHECK (exp_month BETWEEN 1 AND 12),
        exp_year BIGINT NOT NULL CHECK (exp_year > 0),
        is_default BIGINT NOT NULL CHECK (is_default = 0 OR is_default = 1),
        created_at BIGINT NOT NULL,
        removed_at BIGINT,
        CHECK (removed_at IS NULL OR is_default = 0)
    )",
    "CREATE UNIQUE INDEX payment_method_default ON payment_method (account_id, processor) WHERE is_default = 1",
    "CREATE UNIQUE INDEX payment_method_once ON payment_method (account_id, processor, reference)
        WHERE removed_at IS NULL",
    "CREATE INDEX payment_method_account ON payment_method (account_id, id)",
    // The card of a payment that names none, chosen before its first charge.
    "CREATE TABLE payment_card (
        payment_id {uuid} PRIMARY KEY REFERENCES payment (id),
        reference TEXT NOT NULL
    ) {without_rowid}",
    "CREATE TABLE webhook_event (
        processor TEXT NOT NULL,
        id TEXT NOT NULL,
        kind TEXT NOT NULL,
        signed_at BIGINT NOT NULL,
        at BIGINT NOT NULL,
        PRIMARY KEY (processor, id)
    ) {without_rowid}",
];

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        dialect::run(manager, TABLES).await
    }
}
