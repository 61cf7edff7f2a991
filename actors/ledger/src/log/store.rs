//! The log's storage. SQLite's log is a file of its own, so that the tables never make an append wait. PostgreSQL's is
//! a table beside the others. An append is one statement and one durable write: it checks the owner's epoch too.

use std::{
    fs,
    path::Path,
    slice,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use migrations::LogMigrator;
use sea_orm::{DbBackend, SqlxSqliteConnector, sqlx::sqlite::SqlitePoolOptions};
use sea_orm_migration::MigratorTrait as _;

use super::{
    Row, Shard,
    connection::{Array, Bound, Connection, PAGE, writing},
    read::{Reader, number},
};
use crate::{
    LedgerError,
    pool::{Pool, Watched},
    standing::Standing,
    watch::Watch,
};

/// Appends a row if the epoch is the owner's, if the place is free, and if the row before is there: a database that was set
/// back has lost it.
const APPEND: &str = "INSERT INTO log (shard, seq, epoch, at, prev_hash, hash, body) \
                      SELECT shard, $1, epoch, $2, $3, $4, $5 FROM shard_lease WHERE shard = $6 AND epoch = $7 \
                      AND ($1 = 0 OR EXISTS (SELECT 1 FROM log WHERE shard = $6 AND seq = $1 - 1 AND hash = $3)) \
                      ON CONFLICT (shard, seq) DO NOTHING";
/// [`APPEND`] for PostgreSQL: the lease's row stays locked until the commit, so that a takeover, which locks it `FOR UPDATE`,
/// waits for it. A renewal is no update of a key, and waits for no append ("Row-Level Locks" in PostgreSQL's manual).
const APPEND_LOCKED: &str = "INSERT INTO log (shard, seq, epoch, at, prev_hash, hash, body) \
                             SELECT shard, $1, epoch, $2, $3, $4, $5 FROM shard_lease WHERE shard = $6 AND epoch = $7 \
                             AND ($1 = 0 OR EXISTS (SELECT 1 FROM log WHERE shard = $6 AND seq = $1 - 1 AND hash = $3)) \
                             FOR KEY SHARE ON CONFLICT (shard, seq) DO NOTHING";
/// [`APPEND_LOCKED`] for rows of several shards. Each is appended or not by itself; the leases are locked in one order. The row
/// before is looked up for each: for an EXISTS, PostgreSQL may read the whole log into a hash table.
const APPEND_ALL: &str = "INSERT INTO log (shard, seq, epoch, at, prev_hash, hash, body) \
                          SELECT l.shard, r.seq, l.epoch, r.at, r.prev_hash, r.hash, r.body \
                          FROM unnest($1::bigint[], $2::bigint[], $3::bigint[], $4::bigint[], $5::bytea[], $6::bytea[], \
                          $7::bytea[]) AS r (shard, seq, epoch, at, prev_hash, hash, body) \
                          JOIN shard_lease l ON l.shard = r.shard AND l.epoch = r.epoch \
                          WHERE r.seq = 0 OR \
                          (SELECT b.hash FROM log b WHERE b.shard = r.shard AND b.seq = r.seq - 1) = r.prev_hash \
                          ORDER BY l.shard FOR KEY SHARE OF l ON CONFLICT (shard, seq) DO NOTHING";
const TAKE_OVER: &str = "INSERT INTO shard_lease (shard, owner, epoch) VALUES ($1, $2, $3) ON CONFLICT (shard) \
                         DO UPDATE SET owner = excluded.owner, epoch = excluded.epoch \
                         WHERE shard_lease.epoch < excluded.epoch";

/// The pages that an append writes besides its body's.
const PAGES: u64 = 2;
/// The bytes written to SQLite's write-ahead file after which it is checkpointed.
const CHECKPOINT_AFTER: u64 = 4 * 1024 * 1024;

/// What happens when SQLite's log has no file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Missing {
    /// A new log is begun.
    Begin,
    /// It is an error: the tables were made from a log.
    Refuse,
}

/// A log that is open for appending. Clones share its connections.
#[derive(Debug, Clone)]
pub(crate) struct Log {
    append: Arc<Connection>,
    read: Reader,
    backend: DbBackend,
    standing: Standing,
    /// The watch over the files of SQLite's log.
    watched: Watched,
    /// The bytes written since the last checkpoint of SQLite's log.
    written: Arc<AtomicU64>,
}

impl Log {
    /// Opens SQLite's log, and brings its schema up to date.
    ///
    /// # Errors
    ///
    /// [`LedgerError::Unusable`] if the file is missing or empty and must not be. Any other error if the file can't be
    /// used, or the schema can't be changed.
    pub(crate) async fn open_sqlite(file: &Path, missing: Missing, standing: Standing) -> Result<Self, LedgerError> {
        let is_there = fs::metadata(file).is_ok_and(|found| found.len() > 0);
        if !is_there && missing == Missing::Refuse {
            return Err(LedgerError::Unusable(format!(
                "the ledger's log {} is missing or empty. Bring it back, together with its -wal file if it has one",
                file.display()
            )));
        }
        migrate(file).await?;
        let append = Connection::sqlite(file).await?;
        let watched = Watched::default();
        let read = Reader::sqlite(file, standing.clone(), Arc::clone(&watched)).await?;
        Ok(Self::new(append, read, DbBackend::Sqlite, standing, watched))
    }

    /// Opens PostgreSQL's log, which is read over these connections.
    ///
    /// # Errors
    ///
    /// [`LedgerError::Unusable`] if the address is invalid. Any other error if the database does not answer.
    pub(crate) async fn open_postgres(url: &str, read: Pool, standing: Standing) -> Result<Self, LedgerError> {
        let append = Connection::postgres(url).await?;
        Ok(Self::new(append, Reader::new(read, DbBackend::Postgres), DbBackend::Postgres, standing, Watched::default()))
    }

    fn new(append: Connection, read: Reader, backend: DbBackend, standing: Standing, watched: Watched) -> Self {
        Self { append: Arc::new(append), read, backend, standing, watched, written: Arc::default() }
    }

    /// Reads the log.
    pub(crate) const fn reader(&self) -> &Reader {
        &self.read
    }

    /// From now on a row counts as appended only if these files are the ones that the next start will open.
    pub(crate) fn watch(&self, watch: Arc<Watch>) {
        // There is one watch for each opening.
        let _ = self.watched.set(watch);
    }

    /// Makes an epoch the owner's. PostgreSQL's log has the tables' lease, which has it already.
    ///
    /// # Errors
    ///
    /// [`LedgerError::Fenced`] if the log has this epoch or a later one. Any other error leaves the outcome unknown.
    pub(crate) async fn take_over(&self, shard: Shard, owner: &str, epoch: i64) -> Result<(), LedgerError> {
        if self.backend == DbBackend::Postgres {
            return Ok(());
        }
        let values = [Bound::Int(shard.0), Bound::Text(owner), Bound::Int(epoch)];
        match self.unless_away(self.append.execute(TAKE_OVER, &values)).await? {
            0 => Err(LedgerError::Fenced),
            _ => Ok(()),
        }
    }

    /// Appends a row. The same row may be appended again, also when it is there already.
    ///
    /// # Errors
    ///
    /// [`LedgerError::Fenced`]: there is a newer owner, and the row is not in the log. All others as for
    /// [`Self::append_all`].
    pub(crate) async fn append(&self, row: &Row) -> Result<(), LedgerError> {
        if self.append_all(slice::from_ref(row)).await?.is_empty() { Ok(()) } else { Err(LedgerError::Fenced) }
    }

    /// Appends rows, at most one of each shard, in one statement. The same rows may be appended again, also when they are
    /// there already. Returns the shards that have a newer owner: their rows are not in the log.
    ///
    /// # Errors
    ///
    /// [`LedgerError::Refused`]: no row was appended, and one of them never can be. Any other error leaves the outcome
    /// unknown: append the same rows again until it is known, and no other rows of these shards before. With PostgreSQL
    /// rows whose connection was lost may still arrive meanwhile; they take the same places, or none.
    pub(crate) async fn append_all(&self, rows: &[Row]) -> Result<Vec<Shard>, LedgerError> {
        self.checkpoint_if_due().await;
        self.again_if_lost(async || self.append_or_find(rows).await).await
    }

    async fn append_or_find(&self, rows: &[Row]) -> Result<Vec<Shard>, LedgerError> {
        let appended = match rows {
            [row] => self.append.execute(self.append_sql(), &bound(row)?).await?,
            rows => self.append.execute_arrays(APPEND_ALL, &arrays(rows)?).await?,
        };
        if appended == rows.len() as u64 {
            let page = u64::from(PAGE);
            let pages = rows.iter().map(|row| row.body.len() as u64 / page + PAGES).sum::<u64>();
            self.written.fetch_add(pages * page, Ordering::Relaxed);
            return Ok(Vec::new());
        }
        // A place is taken, or an epoch is not the owner's. An earlier try may have appended the row.
        let mut lost = Vec::new();
        for row in rows {
            if !self.is_there(row).await? {
                lost.push(row.shard);
            }
        }
        Ok(lost)
    }

    const fn append_sql(&self) -> &'static str {
        match self.backend {
            DbBackend::Postgres => APPEND_LOCKED,
            _ => APPEND,
        }
    }

    /// Whether a row that could not be appended now is in the log.
    async fn is_there(&self, row: &Row) -> Result<bool, LedgerError> {
        const HASH: &str = "SELECT hash FROM log WHERE shard = $1 AND seq = $2";
        const OWN: &str = "SELECT hash FROM log WHERE shard = $1 AND seq = $2 AND epoch = $3";
        let (shard, seq) = (Bound::Int(row.shard.0), Bound::Int(number(row.seq)?));
        if self.append.bytes(HASH, &[shard, seq]).await?.is_some_and(|found| found == row.hash) {
            return Ok(true);
        }
        if self.append.bytes(OWN, &[shard, seq, Bound::Int(row.epoch)]).await?.is_some() {
            let (shard, epoch) = (row.shard.0, row.epoch);
            tracing::error!(shard, epoch, "two processes append to one log with one lease: neither is its owner now");
        }
        if row.seq > 0 {
            let found = self.append.bytes(HASH, &[shard, Bound::Int(number(row.seq - 1)?)]).await?;
            if found.is_none_or(|found| found != row.prev_hash) {
                let lost = row.seq - 1;
                tracing::error!(
                    "the log was set back: its row {lost} is gone. This process ends, and a start says more"
                );
            }
        }
        Ok(false)
    }

    /// Shows that SQLite's log can be written, without a change to it.
    ///
    /// # Errors
    ///
    /// It can't be written now: another process may hold its lock.
    pub(crate) async fn check_writable(&self) -> Result<(), LedgerError> {
        let sql = "UPDATE shard_lease SET epoch = epoch";
        self.unless_away(self.append.execute(sql, &[])).await.map(drop).map_err(|error| {
            let why = format!("the log can't be written: {error}. If its owner is stopped or hangs, end that process");
            LedgerError::Unusable(why)
        })
    }

    /// Commits a change of the lease's owner, to show that the log can be written.
    ///
    /// # Errors
    ///
    /// [`LedgerError::Fenced`] if the epoch is not the owner's. Any other error if nothing can be committed now.
    pub(crate) async fn probe(&self, shard: Shard, owner: &str, epoch: i64) -> Result<(), LedgerError> {
        let sql = "UPDATE shard_lease SET owner = $1 WHERE shard = $2 AND epoch = $3";
        let values = [Bound::Text(owner), Bound::Int(shard.0), Bound::Int(epoch)];
        let changed = self.again_if_lost(async || self.append.execute(sql, &values).await).await;
        match changed? {
            0 => Err(LedgerError::Fenced),
            _ => Ok(()),
        }
    }

    /// Brings SQLite's write-ahead file into the log's file, if enough was appended. An append does this first, so that
    /// the file does not grow; who calls it between two appends spares the next one the wait. If it fails, it is tried
    /// again later: what was appended is durable anyway.
    pub(crate) async fn checkpoint_if_due(&self) {
        if self.backend == DbBackend::Postgres || self.written.load(Ordering::Relaxed) < CHECKPOINT_AFTER {
            return;
        }
        if let Err(error) = self.checkpoint("PRAGMA wal_checkpoint(PASSIVE)").await {
            tracing::warn!(%error, "SQLite's write-ahead file could not be brought into the log yet");
        }
    }

    async fn checkpoint(&self, sql: &'static str) -> Result<(), LedgerError> {
        self.written.store(0, Ordering::Relaxed);
        let _writing = self.watched.get().map(|watch| watch.writing());
        self.unless_away(self.append.execute(sql, &[])).await.map(drop)
    }

    /// Closes the log after the last append. SQLite's file alone is the log afterwards, unless it is being read.
    ///
    /// # Errors
    ///
    /// The files are not the ones that were opened, or they could not be written. All rows are durable anyway.
    pub(crate) async fn close(&self) -> Result<(), LedgerError> {
        if self.backend == DbBackend::Sqlite {
            self.checkpoint("PRAGMA wal_checkpoint(TRUNCATE)").await?;
            self.read.close().await?;
        }
        Ok(())
    }

    /// Runs work that may be repeated, and once more where PostgreSQL's connection was lost: one that was lost while nothing
    /// was appended shows it only now.
    async fn again_if_lost<T>(&self, work: impl AsyncFn() -> Result<T, LedgerError>) -> Result<T, LedgerError> {
        match self.unless_away(work()).await {
            Err(LedgerError::Writer(_)) if self.backend == DbBackend::Postgres => self.unless_away(work()).await,
            done => done,
        }
    }

    /// Runs work on the connection that appends, and stops waiting if the database goes away. The outcome of work that
    /// has begun is unknown then. Work on files that the next start will not open counts as failed.
    async fn unless_away<T>(&self, work: impl Future<Output = Result<T, LedgerError>>) -> Result<T, LedgerError> {
        self.standing.check()?;
        let done = tokio::select! {
            biased;
            done = work => done?,
            fault = self.standing.broken() => return Err(fault.into()),
        };
        self.look()?;
        Ok(done)
    }

    /// Checks the files that were written to.
    fn look(&self) -> Result<(), LedgerError> {
        self.watched.get().map_or(Ok(()), |watch| watch.check()).map_err(|why| {
            let error = LedgerError::Away(why);
            self.standing.not_committed(&error);
            error
        })
    }
}

/// A row's values, as [`APPEND`] names them.
fn bound(row: &Row) -> Result<[Bound<'_>; 7], LedgerError> {
    let (prev_hash, hash, body) = (Bound::Bytes(&row.prev_hash), Bound::Bytes(&row.hash), Bound::Bytes(&row.body));
    let (seq, shard, epoch) = (Bound::Int(number(row.seq)?), Bound::Int(row.shard.0), Bound::Int(row.epoch));
    Ok([seq, Bound::Int(row.at.0), prev_hash, hash, body, shard, epoch])
}

/// The values of rows, column by column, as [`APPEND_ALL`] names them.
fn arrays(rows: &[Row]) -> Result<[Array<'_>; 7], LedgerError> {
    let numbers = rows.iter().map(|row| number(row.seq)).collect::<Result<_, _>>()?;
    let ints = |of: fn(&Row) -> i64| Array::Ints(rows.iter().map(of).collect());
    let bytes = |of: fn(&Row) -> &[u8]| Array::Bytes(rows.iter().map(of).collect());
    Ok([
        ints(|row| row.shard.0),
        Array::Ints(numbers),
        ints(|row| row.epoch),
        ints(|row| row.at.0),
        bytes(|row| &row.prev_hash),
        bytes(|row| &row.hash),
        bytes(|row| &row.body),
    ])
}

/// Brings the schema of SQLite's log up to date. Creates the file if it is missing.
async fn migrate(file: &Path) -> Result<(), LedgerError> {
    let failed = |error: sea_orm::sqlx::Error| LedgerError::Writer(error.to_string());
    let options = writing(file).create_if_missing(true);
    let pool = SqlitePoolOptions::new().max_connections(1).connect_with(options).await.map_err(failed)?;
    let connection = SqlxSqliteConnector::from_sqlx_sqlite_pool(pool);
    LogMigrator::up(&connection, None).await?;
    Ok(connection.close().await?)
}

#[cfg(test)]
mod tests {
    use billing::Timestamp;

    use super::*;
    use crate::log::chain::{self, Broken};

    const OWNER: &str = "one 1";

    struct Stage {
        folder: tempfile::TempDir,
        log: Log,
    }

    impl Stage {
        /// A new log whose owner has epoch 1.
        async fn new() -> Self {
            let folder = tempfile::tempdir().unwrap();
            let log = open(&folder, Missing::Begin).await;
            log.take_over(Shard::FIRST, OWNER, 1).await.unwrap();
            Self { folder, log }
        }

        /// A log with so many rows.
        async fn with(rows: u64) -> (Self, Vec<Row>) {
            let stage = Self::new().await;
            let rows = rows_of(1, rows);
            for row in &rows {
                stage.log.append(row).await.unwrap();
            }
            (stage, rows)
        }

        async fn rows(&self) -> u64 {
            self.log.reader().head(Shard::FIRST).await.unwrap().map_or(0, |row| row.seq + 1)
        }

        /// Another program's change of the file.
        async fn change(&self, sql: &'static str) -> Result<u64, LedgerError> {
            Connection::sqlite(&file(&self.folder)).await.unwrap().execute(sql, &[]).await
        }
    }

    fn file(folder: &tempfile::TempDir) -> std::path::PathBuf {
        folder.path().join("t-log.db")
    }

    async fn open(folder: &tempfile::TempDir, missing: Missing) -> Log {
        Log::open_sqlite(&file(folder), missing, Standing::default()).await.unwrap()
    }

    fn rows_of(epoch: i64, count: u64) -> Vec<Row> {
        let mut rows = vec![chain::genesis(Shard::FIRST, epoch, Timestamp(1), b"first".to_vec())];
        for n in 1..count {
            let body = vec![u8::try_from(n % 250).unwrap(); 700];
            rows.push(after(rows.last().unwrap(), epoch, body));
        }
        rows
    }

    fn after(row: &Row, epoch: i64, body: Vec<u8>) -> Row {
        chain::next(row.shard, row.head(), epoch, Timestamp(row.at.0 + 1), body)
    }

    #[tokio::test]
    async fn rows_are_read_as_they_were_appended() {
        let (stage, rows) = Stage::with(5).await;
        drop(stage.log);
        let log = open(&stage.folder, Missing::Refuse).await;
        let reader = log.reader();
        assert_eq!(reader.head(Shard::FIRST).await.unwrap().as_ref(), rows.last());
        assert_eq!(reader.row(Shard::FIRST, 0).await.unwrap().as_ref(), rows.first());
        assert_eq!(reader.row(Shard::FIRST, 5).await.unwrap(), None);
        assert_eq!(reader.read(Shard::FIRST, 0, 2).await.unwrap(), rows[1..3]);
        assert_eq!(reader.read(Shard::FIRST, 2, 9).await.unwrap(), rows[3..]);
        assert_eq!(reader.head(Shard(1)).await.unwrap(), None, "another shard has another log");
    }

    #[tokio::test]
    async fn the_same_row_may_be_appended_again_but_no_other_in_its_place() {
        let (stage, rows) = Stage::with(3).await;
        for row in &rows {
            stage.log.append(row).await.unwrap();
        }
        let other = after(&rows[1], 1, b"other".to_vec());
        let refused = stage.log.append(&other).await;
        assert!(matches!(refused, Err(LedgerError::Fenced)), "{refused:?}");
        assert_eq!(stage.log.reader().head(Shard::FIRST).await.unwrap().as_ref(), rows.last());
    }

    #[tokio::test]
    async fn an_owner_that_was_taken_over_appends_nothing() {
        let (stage, rows) = Stage::with(3).await;
        let late = after(&rows[2], 1, b"late".to_vec());
        assert_eq!(stage.log.reader().epoch(Shard::FIRST).await.unwrap(), Some(1));
        let new_owner = open(&stage.folder, Missing::Refuse).await;
        new_owner.take_over(Shard::FIRST, "two 2", 2).await.unwrap();
        let outcomes = [
            stage.log.append(&late).await,
            stage.log.probe(Shard::FIRST, OWNER, 1).await,
            stage.log.take_over(Shard::FIRST, OWNER, 1).await,
            stage.log.take_over(Shard::FIRST, OWNER, 2).await,
        ];
        for outcome in outcomes {
            assert!(matches!(outcome, Err(LedgerError::Fenced)), "{outcome:?}");
        }
        assert_eq!(stage.rows().await, 3, "nothing was left");
        // The old owner learns of the rows that it did append, although it is fenced now.
        stage.log.append(&rows[2]).await.unwrap();
        new_owner.append(&after(&rows[2], 2, b"new".to_vec())).await.unwrap();
        new_owner.probe(Shard::FIRST, "two 2", 2).await.unwrap();
    }

    #[tokio::test]
    async fn a_shard_without_an_owner_takes_no_row() {
        let stage = Stage::new().await;
        let refused = stage.log.append(&chain::genesis(Shard(7), 1, Timestamp(1), Vec::new())).await;
        assert!(matches!(refused, Err(LedgerError::Fenced)), "{refused:?}");
    }

    #[tokio::test]
    async fn rows_can_t_be_changed_or_removed() {
        let (stage, _) = Stage::with(2).await;
        for sql in ["UPDATE log SET body = x'00'", "DELETE FROM log", "DELETE FROM log WHERE seq = 1"] {
            let refused = stage.change(sql).await.unwrap_err().to_string();
            assert!(refused.contains("append-only"), "{refused}");
        }
        assert_eq!(stage.rows().await, 2);
    }

    #[tokio::test]
    async fn rows_that_were_removed_past_the_triggers_are_found() {
        let (stage, rows) = Stage::with(6).await;
        stage.change("DROP TRIGGER log_no_DELETE").await.unwrap();
        assert_eq!(stage.change("DELETE FROM log WHERE seq = 3").await.unwrap(), 1);
        let read = stage.log.reader().read(Shard::FIRST, 0, 100).await.unwrap();
        let followed = read.iter().try_fold(rows[0].head(), chain::follow);
        assert_eq!(followed, Err(Broken::Gap { after: 2, found: 4 }));
    }

    #[tokio::test]
    async fn a_log_that_should_be_there_is_not_begun_anew() {
        let folder = tempfile::tempdir().unwrap();
        for state in [None, Some("")] {
            if let Some(bytes) = state {
                fs::write(file(&folder), bytes).unwrap();
            }
            let refused = Log::open_sqlite(&file(&folder), Missing::Refuse, Standing::default()).await.unwrap_err();
            assert!(matches!(&refused, LedgerError::Unusable(why) if why.contains("t-log.db")), "{refused}");
        }
    }

    #[tokio::test]
    async fn checkpoints_keep_the_write_ahead_file_small_and_surprise_no_watch() {
        let stage = Stage::new().await;
        let watch = Arc::new(Watch::begin(&file(&stage.folder)).unwrap());
        stage.log.watch(Arc::clone(&watch));
        let mut row = chain::genesis(Shard::FIRST, 1, Timestamp(1), vec![7; 300_000]);
        let known = watch.known_change();
        for _ in 0..40 {
            stage.log.append(&row).await.unwrap();
            row = after(&row, 1, vec![8; 300_000]);
        }
        let wal = fs::metadata(stage.folder.path().join("t-log.db-wal")).unwrap().len();
        assert!(wal < 2 * CHECKPOINT_AFTER, "{wal} bytes");
        assert_ne!(watch.known_change(), known, "checkpoints were noted");
        stage.log.close().await.unwrap();
        assert_eq!(fs::metadata(stage.folder.path().join("t-log.db-wal")).map_or(0, |found| found.len()), 0);
    }

    #[tokio::test]
    async fn a_row_in_files_that_the_next_start_will_not_open_does_not_count() {
        let (stage, rows) = Stage::with(2).await;
        let path = file(&stage.folder);
        stage.log.watch(Arc::new(Watch::begin(&path).unwrap()));
        fs::rename(&path, stage.folder.path().join("moved.db")).unwrap();
        let next = after(&rows[1], 1, b"next".to_vec());
        let unknown = stage.log.append(&next).await;
        assert!(matches!(unknown, Err(LedgerError::Away(_))), "{unknown:?}");
        fs::rename(stage.folder.path().join("moved.db"), &path).unwrap();
        stage.log.standing.set(None);
        stage.log.append(&next).await.unwrap();
    }
}
