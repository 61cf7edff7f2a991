//! How connections to a database are opened and kept, and when one is given up.

use std::{path::PathBuf, time::Duration};

use sea_orm::{
    ConnectOptions,
    sqlx::{
        self, Connection as _, PgConnection, SqliteConnection,
        sqlite::{SqliteJournalMode, SqliteSynchronous},
    },
};

use super::rows;

/// How long to wait for another connection's transaction. The projector's and others' are short.
pub(super) const BUSY: Duration = Duration::from_secs(5);

/// SQLite's page cache as its setting: a negative number of KiB. With the default of 2 MiB pages are read repeatedly; with
/// a much larger cache, each commit looks through more pages.
const CACHE: &str = "-4096";
/// Rows that SQLite's thread reads ahead of who takes them. With the default of 50, large reads wake each other's threads
/// all the time.
const ROWS: usize = 1_024;
/// How long a query waits for a connection before it fails.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a connection to PostgreSQL may take to show that it is there.
pub(super) const ANSWERS_WITHIN: Duration = Duration::from_secs(2);

/// What a connection may do to a SQLite file. With PostgreSQL the role decides.
#[derive(Debug, Clone)]
pub(super) enum Access {
    /// Create and write the file.
    Write(PathBuf),
    /// Only read the file.
    Read,
}

/// Whether a connection that was given back is in no transaction. One whose COMMIT failed, as on a full disk, is taken to
/// be in one for ever: SQLite has undone it by itself, and later transactions would only be savepoints that nobody commits.
/// Such a connection is not used again.
async fn is_at_rest(open: &mut SqliteConnection) -> Result<bool, sqlx::Error> {
    if open.is_in_transaction() {
        // A transaction that was dropped is being undone.
        open.ping().await?;
    }
    Ok(!open.is_in_transaction())
}

/// Whether a connection answers, before it is used and after it was. One that does not answer in time is given up: the way to
/// the database may have lost it without a word, and a pool that waits for it, as it does by itself, has one the less for ever.
async fn answers(open: &mut PgConnection) -> Result<bool, sqlx::Error> {
    let answered = tokio::time::timeout(ANSWERS_WITHIN, open.ping()).await;
    answered.unwrap_or_else(|_| Err(sqlx::Error::Io(std::io::ErrorKind::TimedOut.into()))).map(|()| true)
}

/// How connections to a database are opened, and kept.
pub(super) fn options(
    url: &str,
    access: &Access,
    connections: u32,
    postgres: &'static [(&str, &str)],
) -> ConnectOptions {
    let mut options = ConnectOptions::new(url);
    options.max_connections(connections).acquire_timeout(ACQUIRE_TIMEOUT).sqlx_logging(false);
    if url.starts_with("sqlite:") {
        // All connections are opened now and stay open. The last one that closes would delete the write-ahead log; so would
        // one that is opened when another program has emptied the database.
        options.min_connections(connections).idle_timeout(None).max_lifetime(None).test_before_acquire(false);
        options.map_sqlx_sqlite_pool_opts(|pool| pool.before_acquire(|open, _| Box::pin(is_at_rest(open))));
    } else {
        options.test_before_acquire(false);
        options.map_sqlx_postgres_pool_opts(|pool| {
            let pool = pool.before_acquire(|open, _| Box::pin(answers(open)));
            pool.after_release(|open, _| Box::pin(answers(open)))
        });
    }
    let access = access.clone();
    options.map_sqlx_sqlite_opts(move |sqlite| {
        // Whoever writes checks each account itself, once a call and not once a row; the audit checks all references.
        let sqlite = sqlite.foreign_keys(false).busy_timeout(BUSY);
        match &access {
            // Only the projector's thread checkpoints the write-ahead log, because it notifies the watch.
            Access::Write(file) => sqlite
                .filename(file)
                .create_if_missing(true)
                .journal_mode(SqliteJournalMode::Wal)
                .synchronous(SqliteSynchronous::Normal)
                .pragma("wal_autocheckpoint", "0")
                .pragma("cache_size", CACHE)
                .statement_cache_capacity(rows::STATEMENTS),
            Access::Read => sqlite.create_if_missing(false).read_only(true).row_buffer_size(ROWS),
        }
    });
    options.map_sqlx_postgres_opts(move |options| {
        let options = options.statement_cache_capacity(rows::STATEMENTS);
        if postgres.is_empty() { options } else { options.options(postgres.iter().copied()) }
    });
    options
}
