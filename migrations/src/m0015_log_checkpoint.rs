//! Checkpoints of the log: where its older rows were moved to an archive. A log that has one begins at the newest one's row,
//! and lets the rows before it go; all others are kept, and no checkpoint is ever changed. In both databases' logs.

use sea_orm_migration::{prelude::*, sea_orm::DbBackend};

use crate::dialect;

/// The migration.
#[derive(Debug, DeriveMigrationName)]
pub(crate) struct Migration;

const CHECKPOINT: &str = "CREATE TABLE log_checkpoint (
        shard BIGINT NOT NULL,
        seq BIGINT NOT NULL CHECK (seq > 0),
        hash {bytes} NOT NULL CHECK (length(hash) = 32),
        made_at BIGINT NOT NULL,
        content TEXT NOT NULL,
        jws TEXT NOT NULL,
        PRIMARY KEY (shard, seq)
    ) {without_rowid}";

const COVERED: &[&str] = &[
    "DROP TRIGGER log_no_DELETE",
    "CREATE TRIGGER log_no_DELETE BEFORE DELETE ON log
        WHEN NOT EXISTS (SELECT 1 FROM log_checkpoint c WHERE c.shard = OLD.shard AND c.seq > OLD.seq)
        BEGIN SELECT RAISE(ABORT, 'log is append-only'); END",
];

const COVERED_IN_POSTGRES: &[&str] = &[
    "DROP TRIGGER log_append_only ON log",
    "CREATE TRIGGER log_append_only BEFORE UPDATE OR TRUNCATE ON log
        FOR EACH STATEMENT EXECUTE FUNCTION log_is_append_only()",
    "CREATE FUNCTION log_goes_before_checkpoint() RETURNS trigger LANGUAGE plpgsql AS
        $$ BEGIN
            IF EXISTS (SELECT 1 FROM log_checkpoint c WHERE c.shard = OLD.shard AND c.seq > OLD.seq) THEN
                RETURN OLD;
            END IF;
            RAISE EXCEPTION 'log is append-only';
        END $$",
    "CREATE TRIGGER log_no_delete BEFORE DELETE ON log
        FOR EACH ROW EXECUTE FUNCTION log_goes_before_checkpoint()",
];

/// Makes checkpoints possible where the log is.
pub(crate) async fn checkpoints(manager: &SchemaManager<'_>) -> Result<(), DbErr> {
    dialect::run(manager, &[CHECKPOINT]).await?;
    dialect::append_only(manager, "log_checkpoint").await?;
    let covered = match manager.get_database_backend() {
        DbBackend::Postgres => COVERED_IN_POSTGRES,
        _ => COVERED,
    };
    dialect::run(manager, covered).await
}

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        match manager.get_database_backend() {
            DbBackend::Postgres => checkpoints(manager).await,
            _ => Ok(()),
        }
    }
}
