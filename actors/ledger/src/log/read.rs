//! Reads a log. Also beside its owner, and without any change to it. The chain is not checked here.

use std::path::Path;

use billing::Timestamp;
use sea_orm::{Database, DbBackend, QueryResult, Statement, Value};

use super::{Hash, Head, Row, Shard};
use crate::{
    LedgerError,
    connections::{Access, options},
    place::url_of,
    pool::{Pool, Watched},
    standing::Standing,
};

/// The number of connections to SQLite's log. A replay uses one, and the end of the log is rarely read.
const READERS: u32 = 2;

/// A checkpoint as the log keeps it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Kept {
    /// The shard whose log it is.
    pub(crate) shard: Shard,
    /// The row at which the log begins.
    pub(crate) head: Head,
    /// What the checkpoint says.
    pub(crate) content: String,
    /// The same, signed.
    pub(crate) jws: String,
}

/// Connections that read the log.
#[derive(Debug, Clone)]
pub(crate) struct Reader {
    pool: Pool,
    backend: DbBackend,
}

impl Reader {
    /// Opens an existing log of SQLite, only to read it.
    ///
    /// # Errors
    ///
    /// [`LedgerError::NoLedger`] if there is no file. Any other error if it can't be read.
    pub(crate) async fn sqlite(file: &Path, standing: Standing, watched: Watched) -> Result<Self, LedgerError> {
        if !file.exists() {
            return Err(LedgerError::NoLedger(format!("there is no log: no file {}", file.display())));
        }
        let connections = Database::connect(options(&url_of(file), &Access::Read, READERS, &[])).await?;
        Ok(Self::new(Pool::new(connections, standing, watched), DbBackend::Sqlite))
    }

    /// Whether SQLite's file has the log's tables. Its owner may have died before it made the last of them.
    ///
    /// # Errors
    ///
    /// The file can't be read.
    pub(crate) async fn has_tables(&self) -> Result<bool, LedgerError> {
        let sql = "SELECT COUNT(*) FROM sqlite_master WHERE name IN ('log', 'log_checkpoint')";
        let row = self.pool.query_one_raw(Statement::from_string(self.backend, sql)).await?;
        let count: Option<i64> = row.map(|row| row.try_get_by_index(0)).transpose()?;
        Ok(count == Some(2))
    }

    /// Reads the log over connections that exist: PostgreSQL's log is in the tables' database.
    pub(crate) const fn new(pool: Pool, backend: DbBackend) -> Self {
        Self { pool, backend }
    }

    /// The last row; `None` if the log has none.
    ///
    /// # Errors
    ///
    /// The database does not answer, or the row is not one of a log.
    pub(crate) async fn head(&self, shard: Shard) -> Result<Option<Row>, LedgerError> {
        let sql = "SELECT shard, seq, epoch, at, prev_hash, hash, body FROM log \
                   WHERE shard = $1 ORDER BY seq DESC LIMIT 1";
        Ok(self.rows(sql, vec![shard.0.into()]).await?.pop())
    }

    /// A row by its number.
    ///
    /// # Errors
    ///
    /// The database does not answer, or the row is not one of a log.
    pub(crate) async fn row(&self, shard: Shard, seq: u64) -> Result<Option<Row>, LedgerError> {
        let sql = "SELECT shard, seq, epoch, at, prev_hash, hash, body FROM log WHERE shard = $1 AND seq = $2";
        Ok(self.rows(sql, vec![shard.0.into(), number(seq)?.into()]).await?.pop())
    }

    /// The rows after a row, in order, and at most so many. Fewer are returned only at the log's end.
    ///
    /// # Errors
    ///
    /// The database does not answer, or a row is not one of a log.
    pub(crate) async fn read(&self, shard: Shard, after: u64, most: usize) -> Result<Vec<Row>, LedgerError> {
        let sql = "SELECT shard, seq, epoch, at, prev_hash, hash, body FROM log \
                   WHERE shard = $1 AND seq > $2 ORDER BY seq LIMIT $3";
        let most = i64::try_from(most).unwrap_or(i64::MAX);
        self.rows(sql, vec![shard.0.into(), number(after)?.into(), most.into()]).await
    }

    /// The newest checkpoint, at whose row the log begins; `None` if it begins at row 0.
    ///
    /// # Errors
    ///
    /// The database does not answer, or the checkpoint is not one.
    pub(crate) async fn checkpoint(&self, shard: Shard) -> Result<Option<Kept>, LedgerError> {
        // A log that was last served by an earlier version has no such table.
        let there = match self.backend {
            DbBackend::Postgres => "SELECT 1 WHERE to_regclass('log_checkpoint') IS NOT NULL",
            _ => "SELECT 1 FROM sqlite_master WHERE name = 'log_checkpoint'",
        };
        if self.one(there, Vec::new()).await?.is_none() {
            return Ok(None);
        }
        let sql = "SELECT seq, hash, content, jws FROM log_checkpoint WHERE shard = $1 ORDER BY seq DESC LIMIT 1";
        let Some(row) = self.one(sql, vec![shard.0.into()]).await? else { return Ok(None) };
        let seq: i64 = row.try_get_by_index(0)?;
        let head = Head { seq: seq.unsigned_abs(), hash: hash(&row, 1, seq)? };
        Ok(Some(Kept { shard, head, content: row.try_get_by_index(2)?, jws: row.try_get_by_index(3)? }))
    }

    /// The number of the first row that was made after a time; `None` if there is none.
    ///
    /// # Errors
    ///
    /// The database does not answer.
    pub(crate) async fn first_after(&self, shard: Shard, at: Timestamp) -> Result<Option<u64>, LedgerError> {
        let sql = "SELECT MIN(seq) FROM log WHERE shard = $1 AND at > $2";
        let row = self.one(sql, vec![shard.0.into(), at.0.into()]).await?;
        let seq: Option<i64> = row.map(|row| row.try_get_by_index(0)).transpose()?.flatten();
        Ok(seq.map(i64::unsigned_abs))
    }

    async fn one(&self, sql: &str, values: Vec<Value>) -> Result<Option<QueryResult>, LedgerError> {
        self.pool.query_one_raw(Statement::from_sql_and_values(self.backend, sql, values)).await
    }

    /// The epoch of the log's owner; `None` if it never had one.
    ///
    /// # Errors
    ///
    /// The database does not answer.
    pub(crate) async fn epoch(&self, shard: Shard) -> Result<Option<i64>, LedgerError> {
        let sql = "SELECT epoch FROM shard_lease WHERE shard = $1";
        let statement = Statement::from_sql_and_values(self.backend, sql, [shard.0.into()]);
        let row = self.pool.query_one_raw(statement).await?;
        Ok(row.map(|row| row.try_get_by_index(0)).transpose()?)
    }

    async fn rows(&self, sql: &str, values: Vec<Value>) -> Result<Vec<Row>, LedgerError> {
        let statement = Statement::from_sql_and_values(self.backend, sql, values);
        self.pool.query_all_raw(statement).await?.iter().map(decode).collect()
    }

    /// Closes the connections, once they are unused.
    pub(super) async fn close(&self) -> Result<(), LedgerError> {
        self.pool.close().await
    }
}

/// A row's number as the database has it.
pub(super) fn number(seq: u64) -> Result<i64, LedgerError> {
    i64::try_from(seq).map_err(|_| LedgerError::Corrupt(format!("no log has a row {seq}")))
}

fn decode(row: &QueryResult) -> Result<Row, LedgerError> {
    let seq: i64 = row.try_get_by_index(1)?;
    Ok(Row {
        shard: Shard(row.try_get_by_index(0)?),
        seq: u64::try_from(seq).map_err(|_| LedgerError::Corrupt(format!("the log has a row {seq}")))?,
        epoch: row.try_get_by_index(2)?,
        at: Timestamp(row.try_get_by_index(3)?),
        prev_hash: hash(row, 4, seq)?,
        hash: hash(row, 5, seq)?,
        body: row.try_get_by_index(6)?,
    })
}

fn hash(row: &QueryResult, column: usize, seq: i64) -> Result<Hash, LedgerError> {
    let bytes: Vec<u8> = row.try_get_by_index(column)?;
    bytes.try_into().map_err(|_| LedgerError::Corrupt(format!("a hash of the log's row {seq} is not one")))
}
