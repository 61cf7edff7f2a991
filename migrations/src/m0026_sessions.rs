//! Sessions: which one each request was part of, where its client named one, with sums of usage by them; and of a webhook the
//! keys whose events it is told alone. No request from before named one, so there is nothing to sum.

use sea_orm_migration::{prelude::*, sea_orm::DbBackend};

use crate::dialect;

/// The migration.
#[derive(Debug, DeriveMigrationName)]
pub(crate) struct Migration;

/// Like `usage_rollup`, for requests that name a session alone. A session's rows are together: a page of sessions reads the
/// rows of each.
const TABLE: &str = "CREATE TABLE usage_session (
        account_id {uuid} NOT NULL REFERENCES account (id),
        span BIGINT NOT NULL CHECK (span = 1 OR span = 24),
        session TEXT NOT NULL,
        starts_at BIGINT NOT NULL CHECK (starts_at % (span * 3600000) = 0),
        model TEXT NOT NULL,
        provider TEXT NOT NULL,
        key_id {uuid} NOT NULL,
        requests BIGINT NOT NULL CHECK (requests > 0),
        failed BIGINT NOT NULL CHECK (failed >= 0),
        input_tokens BIGINT NOT NULL CHECK (input_tokens >= 0),
        cached_input_tokens BIGINT NOT NULL CHECK (cached_input_tokens >= 0),
        cache_write_tokens BIGINT NOT NULL CHECK (cache_write_tokens >= 0),
        output_tokens BIGINT NOT NULL CHECK (output_tokens >= 0),
        reasoning_tokens BIGINT NOT NULL CHECK (reasoning_tokens >= 0),
        compute_ms BIGINT NOT NULL CHECK (compute_ms >= 0),
        billed_seconds BIGINT NOT NULL CHECK (billed_seconds >= 0),
        charged BIGINT NOT NULL CHECK (charged >= 0),
        PRIMARY KEY (account_id, span, session, starts_at, model, provider, key_id),
        CHECK (failed <= requests)
    ) {without_rowid}";

const CHANGES: &[&str] = &[
    "ALTER TABLE hold ADD COLUMN session TEXT",
    "ALTER TABLE usage_record ADD COLUMN session TEXT",
    TABLE,
    // The order of sessions by the last hour or day that they were used in.
    "CREATE INDEX usage_session_time ON usage_session (account_id, span, starts_at, session)",
    // The requests of one session in the order of their end.
    "CREATE INDEX usage_record_session ON usage_record (account_id, session, ended_at, request_id) WHERE session IS NOT NULL",
    // Ids of keys between spaces; NULL: of all keys.
    "ALTER TABLE webhook_endpoint ADD COLUMN key_ids TEXT",
];

/// The trigger's statement for each new event: to each enabled endpoint that wants its kind, and its key. `{wants}` is the
/// condition on its kind, and `{key}` the one on its key, which is NULL for an event of no key: to that the keys do not matter.
const DELIVER: &str = "INSERT INTO webhook_delivery \
    (endpoint_id, event_id, account_id, kind, at, data, status, attempts, due_at) \
    SELECT e.id, NEW.id, NEW.account_id, NEW.kind, NEW.at, NEW.data, 'waiting', 0, NEW.at FROM webhook_endpoint e \
    WHERE e.account_id = NEW.account_id AND e.enabled = 1 AND (e.kinds IS NULL OR {wants} > 0) \
    AND (e.key_ids IS NULL OR COALESCE({key}, 1) > 0);";

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        dialect::run(manager, CHANGES).await?;
        let statements = if manager.get_database_backend() == DbBackend::Postgres {
            let deliver = DELIVER
                .replace("{wants}", "strpos(e.kinds, ' ' || NEW.kind || ' ')")
                .replace("{key}", "strpos(e.key_ids, ' ' || (CAST(NEW.data AS JSONB) ->> 'key_id') || ' ')");
            vec![format!(
                "CREATE OR REPLACE FUNCTION webhook_deliver() RETURNS trigger LANGUAGE plpgsql AS \
                 $$ BEGIN {deliver} RETURN NULL; END $$"
            )]
        } else {
            let deliver = DELIVER
                .replace("{wants}", "instr(e.kinds, ' ' || NEW.kind || ' ')")
                .replace("{key}", "instr(e.key_ids, ' ' || json_extract(NEW.data, '$.key_id') || ' ')");
            vec![
                "DROP TRIGGER account_event_deliver".to_owned(),
                format!("CREATE TRIGGER account_event_deliver AFTER INSERT ON account_event BEGIN {deliver} END"),
            ]
        };
        for statement in statements {
            manager.get_connection().execute_unprepared(&statement).await?;
        }
        Ok(())
    }
}
