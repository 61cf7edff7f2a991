//! Reversals: a row for each refund and each dispute of a payment, the credits that they took from its grant, the time
//! since which a card is not charged automatically, and values that an audit compares: the end of the cycle that a fee
//! pays for, and the maxima within which an automatic purchase was reserved. Earlier reversals are kept as one row for
//! each payment.

use sea_orm_migration::prelude::*;

use crate::dialect;

/// The migration.
#[derive(Debug, DeriveMigrationName)]
pub(crate) struct Migration;

const STATEMENTS: &[&str] = &[
    // An id is that of the request for the refund, or derived from the processor's id: unique within a payment.
    "CREATE TABLE payment_reversal (
        payment_id {uuid} NOT NULL REFERENCES payment (id),
        id {uuid} NOT NULL,
        account_id {uuid} NOT NULL REFERENCES account (id),
        kind TEXT NOT NULL CHECK (kind IN ('refund', 'dispute', 'earlier')),
        reference TEXT,
        card TEXT,
        amount BIGINT NOT NULL CHECK (amount >= 0),
        state TEXT NOT NULL CHECK (state IN ('pending', 'succeeded', 'failed', 'open', 'lost', 'won', 'replaced')),
        created_at BIGINT NOT NULL,
        changed_at BIGINT,
        left_ms BIGINT NOT NULL CHECK (left_ms >= 0),
        PRIMARY KEY (payment_id, id)
    ) {without_rowid}",
    "CREATE INDEX payment_reversal_id ON payment_reversal (id)",
    "CREATE INDEX payment_reversal_card ON payment_reversal (account_id, card) WHERE kind = 'dispute'",
    "CREATE INDEX payment_reversal_unanswered ON payment_reversal (created_at)
        WHERE kind = 'refund' AND state = 'pending' AND reference IS NULL",
    // When the owner last saved or chose a card. A card disputed after that is not charged automatically.
    "CREATE TABLE card_choice (
        account_id {uuid} NOT NULL REFERENCES account (id),
        reference TEXT NOT NULL,
        at BIGINT NOT NULL,
        PRIMARY KEY (account_id, reference)
    ) {without_rowid}",
    "ALTER TABLE credit_grant ADD COLUMN taken_unused BIGINT NOT NULL DEFAULT 0 CHECK (taken_unused >= 0)",
    "ALTER TABLE credit_grant ADD COLUMN taken_gone BIGINT NOT NULL DEFAULT 0 CHECK (taken_gone >= 0)",
    "ALTER TABLE credit_grant ADD COLUMN taken_held BIGINT NOT NULL DEFAULT 0 CHECK (taken_held >= 0)",
    "ALTER TABLE credit_grant ADD COLUMN taken_spent BIGINT NOT NULL DEFAULT 0 CHECK (taken_spent >= 0)",
    "ALTER TABLE payment ADD COLUMN cycle_end BIGINT",
    "ALTER TABLE payment ADD COLUMN reload_max BIGINT",
    "ALTER TABLE payment ADD COLUMN spend_max BIGINT",
    "ALTER TABLE auto_purchase ADD COLUMN paused_at BIGINT",
    "INSERT INTO payment_reversal (payment_id, id, account_id, kind, amount, state, created_at, left_ms)
        SELECT id, id, account_id, 'earlier', reversed, 'succeeded', COALESCE(ended_at, created_at), 0
        FROM payment WHERE reversed > 0",
    // A plan's fee of $3 brings $5; other payments bring the amount paid. All credits taken are first recorded as gone,
    // and then split as far as the grant's buckets show.
    "UPDATE credit_grant SET taken_gone = (SELECT CASE p.purpose WHEN 'subscription' THEN p.reversed * 5 / 3 ELSE p.reversed END
        FROM payment p WHERE p.account_id = credit_grant.account_id AND p.grant_key = credit_grant.source_key)
        WHERE EXISTS (SELECT 1 FROM payment p WHERE p.account_id = credit_grant.account_id
            AND p.grant_key = credit_grant.source_key AND p.reversed > 0)",
    "UPDATE credit_grant SET taken_held = CASE WHEN recall < taken_gone THEN recall ELSE taken_gone END WHERE taken_gone > 0",
    "UPDATE credit_grant SET taken_gone = taken_gone - taken_held WHERE taken_gone > 0",
    "UPDATE credit_grant SET taken_unused = CASE WHEN voided < taken_gone THEN voided ELSE taken_gone END WHERE taken_gone > 0",
    "UPDATE credit_grant SET taken_gone = taken_gone - taken_unused WHERE taken_gone > 0",
    // Each refund was rounded down on its own: together they took up to a nano-dollar less per refund.
    "UPDATE credit_grant SET taken_gone = expired + (voided - taken_unused) + (recall - taken_held)
        WHERE taken_gone > expired + (voided - taken_unused) + (recall - taken_held)",
    // The last fee pays until the plan's end; each earlier one paid for four weeks.
    "UPDATE payment SET cycle_end = COALESCE(ended_at, created_at) + 2419200000
        WHERE purpose = 'subscription' AND status = 'succeeded'",
    "UPDATE payment SET cycle_end = (SELECT a.subscribed_until FROM account a WHERE a.id = payment.account_id)
        WHERE purpose = 'subscription' AND status = 'succeeded'
        AND NOT EXISTS (SELECT 1 FROM payment later WHERE later.account_id = payment.account_id
            AND later.purpose = 'subscription' AND later.status = 'succeeded' AND later.id > payment.id)
        AND EXISTS (SELECT 1 FROM account a WHERE a.id = payment.account_id
            AND a.subscribed_until >= COALESCE(payment.ended_at, payment.created_at))",
];

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        dialect::run(manager, STATEMENTS).await
    }
}
