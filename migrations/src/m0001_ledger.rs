//! The ledger: accounts, keys, grants, the journal, holds, usage, payments, prices, batches and the owner's lease.
//! Amounts are nano-dollars, times milliseconds of UTC, exact costs decimal text. Checks on the busiest tables are
//! chains of OR, because SQLite builds a table in memory for an IN of more than two values, in every statement.

use sea_orm_migration::prelude::*;

use crate::dialect;

/// The migration.
#[derive(Debug, DeriveMigrationName)]
pub(crate) struct Migration;

const TABLES: &[&str] = &[
    "CREATE TABLE account (
        id {uuid} PRIMARY KEY,
        email TEXT NOT NULL UNIQUE,
        plan TEXT NOT NULL CHECK (plan IN ('free', 'payg')),
        created_at BIGINT NOT NULL,
        subscribed_until BIGINT,
        debt BIGINT NOT NULL DEFAULT 0 CHECK (debt >= 0),
        charged BIGINT NOT NULL DEFAULT 0 CHECK (charged >= 0),
        seq BIGINT NOT NULL DEFAULT 0 CHECK (seq >= 0),
        clock BIGINT NOT NULL
    )",
    "CREATE TABLE api_key (
        id {uuid} PRIMARY KEY,
        account_id {uuid} NOT NULL REFERENCES account (id),
        name TEXT NOT NULL,
        public TEXT NOT NULL UNIQUE,
        hash TEXT NOT NULL,
        created_at BIGINT NOT NULL,
        revoked_at BIGINT
    )",
    "CREATE INDEX api_key_account ON api_key (account_id)",
    "CREATE TABLE credit_grant (
        id {uuid} PRIMARY KEY,
        account_id {uuid} NOT NULL REFERENCES account (id),
        source TEXT NOT NULL,
        source_key TEXT NOT NULL,
        paid BIGINT NOT NULL CHECK (paid >= 0),
        created_at BIGINT NOT NULL,
        expires_at BIGINT NOT NULL,
        funded BIGINT NOT NULL CHECK (funded > 0),
        available BIGINT NOT NULL CHECK (available >= 0),
        held BIGINT NOT NULL CHECK (held >= 0),
        spent BIGINT NOT NULL CHECK (spent >= 0),
        expired BIGINT NOT NULL CHECK (expired >= 0),
        voided BIGINT NOT NULL CHECK (voided >= 0),
        UNIQUE (account_id, source, source_key),
        CHECK (available + held + spent + expired + voided = funded),
        CHECK (expires_at > created_at)
    )",
    "CREATE INDEX credit_grant_expiry ON credit_grant (account_id, expires_at)",
    "CREATE INDEX credit_grant_due ON credit_grant (expires_at) WHERE available > 0",
    "CREATE TABLE batch (
        id {uuid} PRIMARY KEY,
        epoch BIGINT NOT NULL,
        at BIGINT NOT NULL,
        transitions BIGINT NOT NULL CHECK (transitions > 0)
    ) {without_rowid}",
    "CREATE TABLE journal (
        account_id {uuid} NOT NULL REFERENCES account (id),
        seq BIGINT NOT NULL CHECK (seq > 0),
        line BIGINT NOT NULL CHECK (line >= 0),
        at BIGINT NOT NULL,
        batch_id {uuid} NOT NULL,
        epoch BIGINT NOT NULL,
        kind TEXT NOT NULL CHECK (kind = 'hold_placed' OR kind = 'hold_captured' OR kind = 'hold_released'
            OR kind = 'hold_grown' OR kind = 'grant_funded' OR kind = 'grant_expired' OR kind = 'grant_voided'
            OR kind = 'debt_incurred' OR kind = 'debt_repaid'),
        grant_id {uuid},
        request_id {uuid},
        d_funded BIGINT NOT NULL,
        d_available BIGINT NOT NULL,
        d_held BIGINT NOT NULL,
        d_spent BIGINT NOT NULL,
        d_expired BIGINT NOT NULL,
        d_voided BIGINT NOT NULL,
        d_debt BIGINT NOT NULL,
        PRIMARY KEY (account_id, seq, line),
        CHECK (d_available + d_held + d_spent + d_expired + d_voided = d_funded)
    ) {without_rowid}",
    // A hold may grow many times; all other lines of a request occur once.
    "CREATE UNIQUE INDEX journal_once ON journal (request_id, kind, line)
        WHERE request_id IS NOT NULL AND kind <> 'hold_grown'",
    // Only holds of running requests: their history is in the journal, and a small table stays fast.
    "CREATE TABLE hold (
        account_id {uuid} NOT NULL REFERENCES account (id),
        request_id {uuid} NOT NULL,
        key_id {uuid},
        class TEXT,
        units BIGINT NOT NULL CHECK (units >= 0),
        model TEXT NOT NULL,
        provider TEXT NOT NULL,
        price_version BIGINT NOT NULL,
        allocations TEXT NOT NULL,
        accrued BIGINT NOT NULL CHECK (accrued >= 0),
        worst_case BIGINT NOT NULL CHECK (worst_case >= 0),
        placed_at BIGINT NOT NULL,
        deadline BIGINT NOT NULL,
        PRIMARY KEY (account_id, request_id)
    ) {without_rowid}",
    "CREATE TABLE usage_record (
        account_id {uuid} NOT NULL REFERENCES account (id),
        request_id {uuid} NOT NULL,
        key_id {uuid},
        model TEXT NOT NULL,
        provider TEXT NOT NULL,
        ending TEXT NOT NULL CHECK (ending = 'completed' OR ending = 'client_left' OR ending = 'failed'
            OR ending = 'recovered' OR ending = 'written_off'),
        input_tokens BIGINT NOT NULL CHECK (input_tokens >= 0),
        cached_input_tokens BIGINT NOT NULL CHECK (cached_input_tokens >= 0),
        output_tokens BIGINT NOT NULL CHECK (output_tokens >= 0),
        estimated BIGINT NOT NULL CHECK (estimated = 0 OR estimated = 1),
        compute_ms BIGINT NOT NULL CHECK (compute_ms >= 0),
        billed_seconds BIGINT NOT NULL CHECK (billed_seconds >= 0),
        base_cost TEXT NOT NULL,
        fee TEXT NOT NULL,
        charged BIGINT NOT NULL CHECK (charged >= 0),
        price_version BIGINT NOT NULL,
        started_at BIGINT NOT NULL,
        ended_at BIGINT NOT NULL,
        PRIMARY KEY (account_id, request_id)
    ) {without_rowid}",
    "CREATE TABLE payment (
        id {uuid} PRIMARY KEY,
        account_id {uuid} NOT NULL REFERENCES account (id),
        amount BIGINT NOT NULL CHECK (amount > 0),
        status TEXT NOT NULL CHECK (status IN ('pending', 'succeeded', 'declined')),
        method TEXT NOT NULL,
        decline_code TEXT,
        grant_key TEXT NOT NULL UNIQUE,
        created_at BIGINT NOT NULL
    )",
    "CREATE INDEX payment_account ON payment (account_id, id)",
    "CREATE INDEX payment_pending ON payment (account_id) WHERE status = 'pending'",
    "CREATE TABLE price_version (
        version BIGINT PRIMARY KEY,
        hash TEXT NOT NULL UNIQUE,
        at BIGINT NOT NULL,
        prices TEXT NOT NULL
    )",
    "CREATE TABLE shard_lease (
        shard BIGINT PRIMARY KEY,
        owner TEXT NOT NULL,
        epoch BIGINT NOT NULL CHECK (epoch > 0)
    )",
];

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        dialect::run(manager, TABLES).await?;
        for table in ["journal", "usage_record", "price_version", "batch"] {
            dialect::append_only(manager, table).await?;
        }
        Ok(())
    }
}
