//! Rows leave the log: once nobody owns the ledger, their files were read again, and a checkpoint is signed. The checkpoint
//! and the end of the rows are one transaction.

use std::fs;

use sea_orm::{
    ConnectionTrait, Database, DatabaseConnection, DatabaseTransaction, DbBackend, Statement, TransactionTrait as _,
    Value,
};

use super::{Archive, Sign, checkpoint::Checkpoint, file};
use crate::{
    Ledger, LedgerError, Opening, catch_up,
    connections::{Access, options},
    log::{
        Head, Row, Shard,
        chain::{self, Broken},
        read::Reader,
        tail::Tail,
    },
    place,
};

/// What became of a shard's log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retired {
    /// The shard.
    pub shard: Shard,
    /// The row at which the log begins now.
    pub begins_at: u64,
    /// The number of rows that left it.
    pub rows: u64,
}

/// Takes the rows of an archive from the logs of an address, where signed checkpoints stay. Returns what became of each
/// shard's log. Nothing happens if no row can go.
///
/// # Errors
///
/// [`LedgerError::Owned`] if a process owns the ledger: stop it first. [`LedgerError::Unusable`] if the archive is not whole, if
/// the ledger was last served by an earlier version, or if an account is stopped: it is cured from the log. Any other error
/// if the database does not answer. Whatever the error is, the rows are in the log, or the checkpoint is.
pub async fn retire(url: &str, archive: &mut Archive, sign: Sign<'_>) -> Result<Vec<Retired>, LedgerError> {
    // As its owner: one that takes the ledger over meanwhile ends this by its epoch.
    let ledger = Ledger::open(url, &Opening::default()).await?;
    let Some(log) = &ledger.logged else {
        return Err(LedgerError::Corrupt("the ledger has no log any more".into()));
    };
    let (mut retired, mut going) = (Vec::new(), Vec::new());
    for tail in ledger.tails() {
        let begin = log.checkpoint(tail.shard).await?.map_or(0, |kept| kept.head.seq);
        let until = archive.until.get(&tail.shard).copied().unwrap_or(begin);
        let until = archive.manifest.end(tail.shard).map_or(begin, |end| end.seq.min(until));
        if until <= begin {
            retired.push(Retired { shard: tail.shard, begins_at: begin, rows: 0 });
            continue;
        }
        let row = log.row(tail.shard, until).await?.ok_or(Broken::Gap { after: begin, found: until })?;
        chain::check(&row)?;
        check_archived(archive, tail.shard, begin, row.head())?;
        going.push((tail, row));
    }
    if going.is_empty() {
        return Ok(retired);
    }
    // Without the rows that go, tables that a power cut loses could not be made again.
    ledger.checkpoint_tables().await?;
    let connection = connect(url).await?;
    let mut last = None;
    for (tail, row) in going {
        let text = ledger.checkpoint_of(log, &row).await?.text()?;
        let jws = sign(&text);
        // The archive says of itself that it was trusted.
        archive.manifest.checkpoints.push(jws.clone());
        archive.manifest.write(&archive.folder)?;
        let rows = replace(&connection, &tail, &row, &text, &jws).await?;
        retired.push(Retired { shard: tail.shard, begins_at: row.seq, rows });
        last = Some(tail);
    }
    ledger.close().await?;
    // The files are this process's alone still, until the ledger is given back at the end.
    if let Some(tail) = last
        && epoch_of(&connection, tail.shard).await? == Some(tail.epoch)
    {
        shrink(&connection).await;
    }
    connection.close().await?;
    retired.sort_by_key(|log| log.shard);
    Ok(retired)
}

/// Reads the files again that have the rows which are to go.
fn check_archived(archive: &Archive, shard: Shard, begin: u64, until: Head) -> Result<(), LedgerError> {
    let (mut before, mut found) = (None, None);
    for listed in archive.manifest.of_shard(shard) {
        if listed.end.seq >= begin && listed.first <= until.seq {
            file::read(&archive.folder, listed, before, &mut |row| {
                found = found.or_else(|| (row.seq == until.seq).then(|| row.head()));
                Ok(())
            })?;
        }
        before = Some(listed.end);
    }
    match archive.manifest.of_shard(shard).next() {
        Some(first) if first.first <= begin && found == Some(until) => Ok(()),
        _ => Err(LedgerError::Unusable(format!(
            "the archive in {} lacks rows of the log, or has others",
            archive.folder.display()
        ))),
    }
}

impl Ledger {
    async fn checkpoint_tables(&self) -> Result<(), LedgerError> {
        if self.backend == DbBackend::Sqlite { self.checkpoint("TRUNCATE").await } else { Ok(()) }
    }

    async fn checkpoint_of(&self, log: &Reader, row: &Row) -> Result<Checkpoint, LedgerError> {
        let stopped = self.row("SELECT account_id FROM projection_fault LIMIT 1", []).await?;
        if stopped.is_some() {
            let why =
                "an account's rows can't be made from the log (`farebox audit` names it): its log is still needed";
            return Err(LedgerError::Unusable(why.into()));
        }
        // The place and the balances are of one moment.
        let tx = self.snapshot().await?;
        let place = self.place_in(&tx, row.shard).await?;
        let place = place.ok_or_else(|| LedgerError::Corrupt("the tables have no place in the log".into()))?;
        let balances = self.balances_at(&tx, log, row.shard, row.head(), place).await?;
        tx.rollback().await?;
        Ok(Checkpoint::new(row, &balances, catch_up::now()))
    }
}

/// A connection that writes the log.
async fn connect(url: &str) -> Result<DatabaseConnection, LedgerError> {
    if !url.starts_with("sqlite:") {
        return Ok(Database::connect(options(url, &Access::Read, 1, &[])).await?);
    }
    let file = place::log_of(&place::file_of(url)?);
    if !fs::exists(&file).unwrap_or_default() {
        return Err(LedgerError::Unusable(format!("{} is gone", file.display())));
    }
    let connection = Database::connect(options(&place::url_of(&file), &Access::Write(file), 1, &[])).await?;
    connection.execute_unprepared("PRAGMA synchronous = FULL").await?;
    Ok(connection)
}

/// The epoch of a shard's owner. Within a transaction PostgreSQL keeps it until the end.
async fn epoch_of(connection: &impl ConnectionTrait, shard: Shard) -> Result<Option<i64>, LedgerError> {
    let backend = connection.get_database_backend();
    let lock = if backend == DbBackend::Postgres { " FOR SHARE" } else { "" };
    let sql = format!("SELECT epoch FROM shard_lease WHERE shard = $1{lock}");
    let row = connection.query_one_raw(Statement::from_sql_and_values(backend, sql, [shard.0.into()])).await?;
    Ok(row.map(|row| row.try_get_by_index(0)).transpose()?)
}

/// Writes the checkpoint, and ends the rows before its row.
async fn replace(
    connection: &DatabaseConnection,
    tail: &Tail,
    row: &Row,
    text: &str,
    jws: &str,
) -> Result<u64, LedgerError> {
    let tx = connection.begin().await?;
    let seq = i64::try_from(row.seq).map_err(|_| LedgerError::Corrupt(format!("no log has a row {}", row.seq)))?;
    let sql = "INSERT INTO log_checkpoint (shard, seq, hash, made_at, content, jws) VALUES ($1, $2, $3, $4, $5, $6)";
    let values: [Value; 6] =
        [row.shard.0.into(), seq.into(), row.hash.to_vec().into(), catch_up::now().0.into(), text.into(), jws.into()];
    run(&tx, sql, values).await.map_err(|error| {
        LedgerError::Unusable(format!("the log takes no checkpoint: serve it once with this version ({error})"))
    })?;
    // After the first write nobody else can take the ledger over before the end; in PostgreSQL the lease is locked for that.
    if epoch_of(&tx, tail.shard).await? != Some(tail.epoch) {
        return Err(LedgerError::Fenced);
    }
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
