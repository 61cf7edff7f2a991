//! Webhooks of accounts' owners, and their deliveries. A trigger on the table of events creates the deliveries, so that
//! they exist exactly if their event does: one for each enabled endpoint that wants the kind. Deliveries refer to their
//! endpoint without a foreign key: an endpoint deleted meanwhile must never make a batch of money fail.

use sea_orm_migration::{prelude::*, sea_orm::DbBackend};

use crate::dialect;

/// The migration.
#[derive(Debug, DeriveMigrationName)]
pub(crate) struct Migration;

const TABLES: &[&str] = &[
    // The secret signs deliveries, so it is stored in plain text. Kinds are names between spaces; NULL: all kinds.
    "CREATE TABLE webhook_endpoint (
        id {uuid} PRIMARY KEY,
        account_id {uuid} NOT NULL REFERENCES account (id),
        url TEXT NOT NULL,
        description TEXT NOT NULL,
        secret TEXT NOT NULL,
        kinds TEXT,
        enabled BIGINT NOT NULL CHECK (enabled = 0 OR enabled = 1),
        created_at BIGINT NOT NULL,
        failing_since BIGINT,
        disabled_at BIGINT,
        disabled_because TEXT,
        CHECK ((enabled = 0) = (disabled_at IS NOT NULL)),
        CHECK ((enabled = 0) = (disabled_because IS NOT NULL))
    )",
    "CREATE INDEX webhook_endpoint_account ON webhook_endpoint (account_id, id)",
    // `due_at`: the time of the next attempt. `ended_at`: the time since which there are no more attempts.
    "CREATE TABLE webhook_delivery (
        endpoint_id {uuid} NOT NULL,
        event_id {uuid} NOT NULL,
        account_id {uuid} NOT NULL,
        kind TEXT NOT NULL,
        at BIGINT NOT NULL,
        data TEXT NOT NULL,
        status TEXT NOT NULL CHECK (status = 'waiting' OR status = 'delivered' OR status = 'failed'),
        attempts BIGINT NOT NULL CHECK (attempts >= 0),
        due_at BIGINT,
        ended_at BIGINT,
        attempted_at BIGINT,
        answer_status BIGINT,
        answer_body TEXT,
        error TEXT,
        PRIMARY KEY (endpoint_id, event_id),
        CHECK ((status = 'waiting') = (due_at IS NOT NULL)),
        CHECK ((status = 'waiting') = (ended_at IS NULL))
    )",
    "CREATE INDEX webhook_delivery_due ON webhook_delivery (due_at) WHERE due_at IS NOT NULL",
    "CREATE INDEX webhook_delivery_ended ON webhook_delivery (ended_at) WHERE ended_at IS NOT NULL",
];

/// The trigger's statement for each new event. `{wants}` is the condition that an endpoint wants its kind.
const DELIVER: &str = "INSERT INTO webhook_delivery \
    (endpoint_id, event_id, account_id, kind, at, data, status, attempts, due_at) \
    SELECT e.id, NEW.id, NEW.account_id, NEW.kind, NEW.at, NEW.data, 'waiting', 0, NEW.at FROM webhook_endpoint e \
    WHERE e.account_id = NEW.account_id AND e.enabled = 1 AND (e.kinds IS NULL OR {wants} > 0);";

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        dialect::run(manager, TABLES).await?;
        let statements = if manager.get_database_backend() == DbBackend::Postgres {
            let deliver = DELIVER.replace("{wants}", "strpos(e.kinds, ' ' || NEW.kind || ' ')");
            vec![
                format!(
                    "CREATE FUNCTION webhook_deliver() RETURNS trigger LANGUAGE plpgsql AS \
                     $$ BEGIN {deliver} RETURN NULL; END $$"
                ),
                "CREATE TRIGGER account_event_deliver AFTER INSERT ON account_event \
                 FOR EACH ROW EXECUTE FUNCTION webhook_deliver()"
                    .to_owned(),
            ]
        } else {
            let deliver = DELIVER.replace("{wants}", "instr(e.kinds, ' ' || NEW.kind || ' ')");
            vec![format!("CREATE TRIGGER account_event_deliver AFTER INSERT ON account_event BEGIN {deliver} END")]
        };
        for statement in statements {
            manager.get_connection().execute_unprepared(&statement).await?;
        }
        Ok(())
    }
}
