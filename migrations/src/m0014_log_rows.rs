//! A batch's row of the log: its number and its whole hash, so that a receipt can name it. Batches that are older than the
//! log have none. PostgreSQL's log is beside the tables, and fills the columns here; SQLite's is another file, and the next
//! start fills them from it. For that alone SQLite's table lets a batch without a number be given one.

use sea_orm_migration::{prelude::*, sea_orm::DbBackend};

use crate::dialect;

/// The migration.
#[derive(Debug, DeriveMigrationName)]
pub(crate) struct Migration;

const COLUMNS: &[&str] = &[
    "ALTER TABLE batch ADD COLUMN seq BIGINT CHECK (seq IS NULL OR seq >= 0)",
    "ALTER TABLE batch ADD COLUMN hash {bytes} CHECK (hash IS NULL OR length(hash) = 32)",
    // There is one shard; a second one makes the number unique within its own.
    "CREATE UNIQUE INDEX batch_seq ON batch (seq)",
];

/// A batch's id is the beginning of its row's hash, with the bits of a UUID of version 8.
const FILL: &str = "UPDATE batch SET seq = l.seq, hash = l.hash FROM (SELECT seq, hash,
        CAST(encode(set_byte(set_byte(substring(hash FROM 1 FOR 16), 6, get_byte(hash, 6) & 15 | 128),
            8, get_byte(hash, 8) & 63 | 128), 'hex') AS UUID) AS id FROM log WHERE shard = 0) l
    WHERE batch.id = l.id";

const NUMBERED_ONCE: &[&str] = &[
    "DROP TRIGGER batch_no_UPDATE",
    "CREATE TRIGGER batch_no_UPDATE BEFORE UPDATE ON batch
        WHEN OLD.seq IS NOT NULL OR NEW.id <> OLD.id OR NEW.epoch <> OLD.epoch OR NEW.at <> OLD.at
            OR NEW.transitions <> OLD.transitions
        BEGIN SELECT RAISE(ABORT, 'batch is append-only'); END",
];

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        dialect::run(manager, COLUMNS).await?;
        if manager.get_database_backend() != DbBackend::Postgres {
            return dialect::run(manager, NUMBERED_ONCE).await;
        }
        dialect::changeable(manager, "batch").await?;
        dialect::run(manager, &[FILL]).await?;
        dialect::append_only(manager, "batch").await
    }
}
