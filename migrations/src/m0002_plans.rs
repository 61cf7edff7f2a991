//! Plans and automatic purchases: subscriptions, auto-reload and autoScale with their monthly windows, limits of keys,
//! reversals of payments, events, operators' reasons, and the time at which an account has work due.

use sea_orm_migration::prelude::*;

use crate::dialect;

/// The migration.
#[derive(Debug, DeriveMigrationName)]
pub(crate) struct Migration;

const STATEMENTS: &[&str] = &[
    // Zero means due at once, so that existing accounts are processed.
    "ALTER TABLE account ADD COLUMN wake_at BIGINT DEFAULT 0",
    "CREATE INDEX account_wake ON account (wake_at) WHERE wake_at IS NOT NULL",
    "DROP INDEX credit_grant_due",
    "ALTER TABLE credit_grant ADD COLUMN recall BIGINT NOT NULL DEFAULT 0 CHECK (recall >= 0)",
    "ALTER TABLE credit_grant ADD COLUMN notices BIGINT NOT NULL DEFAULT 0 CHECK (notices >= 0)",
    "ALTER TABLE payment ADD COLUMN purpose TEXT NOT NULL DEFAULT 'purchase'
        CHECK (purpose IN ('purchase', 'auto_reload', 'auto_scale', 'subscription'))",
    "ALTER TABLE payment ADD COLUMN reversed BIGINT NOT NULL DEFAULT 0 CHECK (reversed >= 0 AND reversed <= amount)",
    "ALTER TABLE payment ADD COLUMN reference TEXT",
    "ALTER TABLE payment ADD COLUMN ended_at BIGINT",
    "ALTER TABLE api_key ADD COLUMN limit_day BIGINT CHECK (limit_day >= 0)",
    "ALTER TABLE api_key ADD COLUMN limit_week BIGINT CHECK (limit_week >= 0)",
    "ALTER TABLE api_key ADD COLUMN limit_month BIGINT CHECK (limit_month >= 0)",
    "ALTER TABLE api_key ADD COLUMN limit_total BIGINT CHECK (limit_total >= 0)",
    // A JSON list of names; NULL: all models.
    "ALTER TABLE api_key ADD COLUMN models TEXT",
    "ALTER TABLE api_key ADD COLUMN expires_at BIGINT",
    "CREATE TABLE subscription (
        account_id {uuid} PRIMARY KEY REFERENCES account (id),
        status TEXT NOT NULL CHECK (status IN ('active', 'past_due', 'ended')),
        cancels BIGINT NOT NULL CHECK (cancels IN (0, 1)),
        method TEXT NOT NULL,
        started_at BIGINT NOT NULL,
        failures BIGINT NOT NULL CHECK (failures >= 0),
        retry_at BIGINT
    )",
    "CREATE TABLE auto_purchase (
        account_id {uuid} PRIMARY KEY REFERENCES account (id),
        reload BIGINT NOT NULL CHECK (reload IN (0, 1)),
        threshold BIGINT NOT NULL CHECK (threshold >= 0),
        amount BIGINT NOT NULL CHECK (amount > 0),
        monthly_max BIGINT NOT NULL CHECK (monthly_max >= 0),
        scale BIGINT NOT NULL CHECK (scale IN (0, 1)),
        monthly_spend BIGINT NOT NULL CHECK (monthly_spend >= 0),
        method TEXT,
        begun BIGINT NOT NULL CHECK (begun >= 0),
        failures BIGINT NOT NULL CHECK (failures >= 0),
        retry_at BIGINT,
        full_month BIGINT
    )",
    // Months are counted from January of the year 0. The table itself checks invariant 12.
    "CREATE TABLE spend_window (
        account_id {uuid} NOT NULL REFERENCES account (id),
        month BIGINT NOT NULL,
        reload_reserved BIGINT NOT NULL CHECK (reload_reserved >= 0),
        reload_settled BIGINT NOT NULL CHECK (reload_settled >= 0),
        scale_reserved BIGINT NOT NULL CHECK (scale_reserved >= 0),
        scale_settled BIGINT NOT NULL CHECK (scale_settled >= 0),
        reload_max BIGINT NOT NULL,
        spend_max BIGINT NOT NULL,
        PRIMARY KEY (account_id, month),
        CHECK (reload_reserved + reload_settled <= reload_max),
        CHECK (reload_reserved + reload_settled + scale_reserved + scale_settled <= spend_max)
    ) {without_rowid}",
    "CREATE TABLE account_event (
        account_id {uuid} NOT NULL REFERENCES account (id),
        id {uuid} NOT NULL,
        kind TEXT NOT NULL,
        subject TEXT NOT NULL,
        at BIGINT NOT NULL,
        data TEXT NOT NULL,
        PRIMARY KEY (account_id, id),
        UNIQUE (account_id, kind, subject)
    )",
    // Operators' actions on accounts, with their reasons.
    "CREATE TABLE audit_log (
        id {uuid} PRIMARY KEY,
        at BIGINT NOT NULL,
        account_id {uuid},
        action TEXT NOT NULL,
        subject TEXT NOT NULL,
        amount BIGINT,
        reason TEXT NOT NULL
    )",
    "CREATE INDEX audit_log_account ON audit_log (account_id, id)",
];

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        dialect::run(manager, STATEMENTS).await?;
        dialect::append_only(manager, "audit_log").await
    }
}
