//! Alerts, and letters about events. An account's lines of low credits and a key's lines are made from the log. Beside it stand who
//! wants to be told of what, the events that wait for their letters, and the addresses of calendars.

use sea_orm_migration::{prelude::*, sea_orm::DbBackend};

use crate::dialect;

/// The migration.
#[derive(Debug, DeriveMigrationName)]
pub(crate) struct Migration;

const STATEMENTS: &[&str] = &[
    // Amounts between spaces. NULL: the usual line.
    "ALTER TABLE auto_purchase ADD COLUMN alerts TEXT",
    "ALTER TABLE auto_purchase ADD COLUMN told TEXT NOT NULL DEFAULT ''",
    // Percentages between spaces. NULL: the usual line.
    "ALTER TABLE api_key ADD COLUMN alerts TEXT",
    // Kinds of events that a member wants letters about, and the keys whose events those may be (NULL: of all), between
    // spaces. A member without a row is told what the role is told.
    "CREATE TABLE notice_choice (
        account_id {uuid} NOT NULL,
        person_id {uuid} NOT NULL,
        kinds TEXT NOT NULL,
        key_ids TEXT,
        PRIMARY KEY (account_id, person_id)
    )",
    "CREATE INDEX notice_choice_person ON notice_choice (person_id)",
    // An event that waits for its letters.
    "CREATE TABLE notice (
        account_id {uuid} NOT NULL,
        event_id {uuid} NOT NULL,
        due_at BIGINT NOT NULL,
        PRIMARY KEY (account_id, event_id)
    )",
    "CREATE INDEX notice_due ON notice (due_at)",
    // The address of an account's calendar has a token, of which there is a hash.
    "CREATE TABLE calendar_feed (
        account_id {uuid} PRIMARY KEY,
        hash TEXT NOT NULL UNIQUE,
        created_at BIGINT NOT NULL
    )",
];

/// The trigger's statement for each new event: its letters are due at the end of its minute, so that the events of a minute are
/// told in one letter. Who is a member is asked then: of events and members that are written together, either may be first.
const NOTE: &str = "INSERT INTO notice (account_id, event_id, due_at) \
    VALUES (NEW.account_id, NEW.id, (NEW.at / 60000 + 1) * 60000);";

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        dialect::run(manager, STATEMENTS).await?;
        let statements = if manager.get_database_backend() == DbBackend::Postgres {
            vec![
                format!(
                    "CREATE FUNCTION event_notice() RETURNS trigger LANGUAGE plpgsql AS \
                     $$ BEGIN {NOTE} RETURN NULL; END $$"
                ),
                "CREATE TRIGGER account_event_notice AFTER INSERT ON account_event \
                 FOR EACH ROW EXECUTE FUNCTION event_notice()"
                    .to_owned(),
            ]
        } else {
            vec![format!("CREATE TRIGGER account_event_notice AFTER INSERT ON account_event BEGIN {NOTE} END")]
        };
        for statement in statements {
            manager.get_connection().execute_unprepared(&statement).await?;
        }
        Ok(())
    }
}
