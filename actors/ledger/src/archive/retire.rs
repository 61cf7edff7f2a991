//! Rows leave the log: once nobody owns the ledger, their files were read again, and a checkpoint is signed. The checkpoint
//! and the end of the rows are one transaction.

use std::{fs, path::PathBuf};

use sea_orm::{
    ConnectionTrait as _, Database, DatabaseConnection, DatabaseTransaction, DbBackend, Statement,
    TransactionTrait as _, Value,
};

use super::{Archive, Sign, checkpoint::Checkpoint, file};
use crate::{
    Ledger, LedgerError, Opening, catch_up,
    log::{
        Head, Row, Shard,
        chain::{self, Broken},
        read::Reader,
    },
    open::{Access, claim_file, options},
    owner::{Claim, lock::Lock, session::Session},
    place,
};

/// What became of a log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retired {
    /// The row at which the log begins now.
    pub begins_at: u64,
    /// The number of rows that left it.
    pub rows: u64,
}

/// Keeps others from owning the ledger.
enum Alone {
    Sqlite { _lock: Lock },
    Postgres { _session: Box<Session> },
}

/// Takes the rows of an archive from the log of an address, where a signed checkpoint stays. Nothing happens if none can go.
///
/// # Errors
///
/// [`LedgerError::Owned`] if a process owns the ledger: stop it first. [`LedgerError::Unusable`] if the archive is not whole, if
/// the ledger was last served by an earlier version, or if an account is stopped: it is cured from the log. Any other error
/// if the database does not answer. Whatever the error is, the rows are in the log, or the checkpoint is.
pub async fn retire(url: &str, archive: &mut Archive, sign: Sign<'_>) -> Result<Retired, LedgerError> {
    let _alone = alone(url).await?;
    let ledger = Ledger::for_reading(url).await?;
    let (Some(log), Some(place)) = (&ledger.logged, ledger.place(Shard::ONLY).await?) else {
        return Err(LedgerError::Corrupt("the ledger has no log any more".into()));
    };
    let begin = log.checkpoint(Shard::ONLY).await?.map_or(0, |kept| kept.head.seq);
    let until = archive.manifest.end().map_or(begin, |end| end.seq.min(archive.until));
    if until <= begin {
        return Ok(Retired { begins_at: begin, rows: 0 });
    }
    let row = log.row(Shard::ONLY, until).await?.ok_or(Broken::Gap { after: begin, found: until })?;
    chain::check(&row)?;
    check_archived(archive, begin, row.head())?;
    let text = ledger.checkpoint_of(log, &row, place).await?.text()?;
    let jws = sign(&text);
    keep_tables(url).await?;
    // The archive says of itself that it was trusted.
    archive.manifest.checkpoints.push(jws.clone());
    archive.manifest.write(&archive.folder)?;
    let connection = connect(url).await?;
    let rows = replace(&connection, &row, &text, &jws).await?;
    shrink(&connection).await;
    connection.close().await?;
    Ok(Retired { begins_at: until, rows })
}

async fn alone(url: &str) -> Result<Alone, LedgerError> {
    if url.starts_with("sqlite:") {
        return Ok(Alone::Sqlite { _lock: claim_file(url, &Opening::default())?.1 });
    }
    Ok(Alone::Postgres { _session: Box::new(Session::open(url, Claim::IfFree).await?) })
}

/// Reads the files again that have the rows which are to go.
fn check_archived(archive: &Archive, begin: u64, until: Head) -> Result<(), LedgerError> {
    let (mut before, mut found) = (None, None);
    for listed in &archive.manifest.files {
        if listed.end.seq >= begin && listed.first <= until.seq {
            file::read(&archive.folder, listed, before, &mut |row| {
                found = found.or_else(|| (row.seq == until.seq).then(|| row.head()));
                Ok(())
            })?;
        }
        before = Some(listed.end);
    }
    match archive.manifest.files.first() {
        Some(first) if first.first <= begin && found == Some(until) => Ok(()),
        _ => Err(LedgerError::Unusable(format!(
            "the archive in {} lacks rows of the log, or has others",
            archive.folder.display()
        ))),
    }
}

impl Ledger {
    async fn checkpoint_of(&self, log: &Reader, row: &Row, place: Head) -> Result<Checkpoint, LedgerError> {
        let stopped = self.row("SELECT account_id FROM projection_fault LIMIT 1", []).await?;
        if stopped.is_some() {
            let why =
                "an account's rows can't be made from the log (`farebox audit` names it): its log is still needed";
            return Err(LedgerError::Unusable(why.into()));
        }
        let tx = self.read.begin().await?;
        let balances = self.balances_at(&tx, log, row.head(), place).await?;
        tx.rollback().await?;
        Ok(Checkpoint::new(row, &balances, catch_up::now()))
    }
}

/// Makes SQLite's tables durable, which are not at each commit: without the rows that go they could not be made again.
async fn keep_tables(url: &str) -> Result<(), LedgerError> {
    if !url.starts_with("sqlite:") {
        return Ok(());
    }
    let connection = write(place::file_of(url)?).await?;
    let sql = "PRAGMA wal_checkpoint(TRUNCATE)";
    let row = connection.query_one_raw(Statement::from_string(DbBackend::Sqlite, sql)).await?;
    let is_busy = row.map(|row| row.try_get_by_index::<i32>(0)).transpose()?.is_none_or(|busy| busy != 0);
    connection.close().await?;
    if is_busy { Err(LedgerError::Writer("the tables' write-ahead log is still read".into())) } else { Ok(()) }
}

/// A connection that writes the log.
async fn connect(url: &str) -> Result<DatabaseConnection, LedgerError> {
    if !url.starts_with("sqlite:") {
        return Ok(Database::connect(options(url, &Access::Read, 1, &[])).await?);
    }
    let connection = write(place::log_of(&place::file_of(url)?)).await?;
    connection.execute_unprepared("PRAGMA synchronous = FULL").await?;
    Ok(connection)
}

/// A connection that writes a file of SQLite's, which must be there.
async fn write(file: PathBuf) -> Result<DatabaseConnection, LedgerError> {
    if !fs::exists(&file).unwrap_or_default() {
        return Err(LedgerError::Unusable(format!("{} is gone", file.display())));
    }
    Ok(Database::connect(options(&place::url_of(&file), &Access::Write(file), 1, &[])).await?)
}

/// Writes the checkpoint, and ends the rows before its row.
async fn replace(connection: &DatabaseConnection, row: &Row, text: &str, jws: &str) -> Result<u64, LedgerError> {
    let tx = connection.begin().await?;
    let seq = i64::try_from(row.seq).map_err(|_| LedgerError::Corrupt(format!("no log has a row {}", row.seq)))?;
    let sql = "INSERT INTO log_checkpoint (shard, seq, hash, made_at, content, jws) VALUES ($1, $2, $3, $4, $5, $6)";
    let values: [Value; 6] =
        [row.shard.0.into(), seq.into(), row.hash.to_vec().into(), catch_up::now().0.into(), text.into(), jws.into()];
    run(&tx, sql, values).await.map_err(|error| {
        LedgerError::Unusable(format!("the log takes no checkpoint: serve it once with this version ({error})"))
    })?;
    let gone = run(&tx, "DELETE FROM log WHERE shard = $1 AND seq < $2", [row.shard.0.into(), seq.into()]).await?;
    tx.commit().await?;
    Ok(gone)
}

async fn run<const N: usize>(tx: &DatabaseTransaction, sql: &str, values: [Value; N]) -> Result<u64, LedgerError> {
    let statement = Statement::from_sql_and_values(tx.get_database_backend(), sql, values);
    Ok(tx.execute_raw(statement).await?.rows_affected())
}

/// Gives SQLite's space back. If that fails it is used by later rows.
async fn shrink(connection: &DatabaseConnection) {
    if connection.get_database_backend() != DbBackend::Sqlite {
        return;
    }
    for sql in ["VACUUM", "PRAGMA wal_checkpoint(TRUNCATE)"] {
        if let Err(error) = connection.execute_unprepared(sql).await {
            tracing::warn!(%error, "the log's file could not be made smaller");
        }
    }
}
