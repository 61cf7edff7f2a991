//! Opening and closing a ledger. One process at a time owns it until the process stops. Opening brings the schema up to
//! date. SQLite's log is checkpointed at both ends, so that the database file alone is the ledger while no process
//! serves it.

use std::{
    path::{Path, PathBuf},
    sync::{Arc, mpsc},
    time::Duration,
};

use migrations::Migrator;
use rusqlite::Connection;
use sea_orm::{
    ConnectOptions, Database, DbBackend,
    sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqliteSynchronous},
};
use sea_orm_migration::MigratorTrait;
use tokio::sync::Mutex;

use super::{
    Ledger, LedgerError,
    append::EPOCH,
    checkpoint,
    owner::{
        Claim, Owner, in_use,
        lock::{self, Lock},
        session::Session,
    },
    place,
    pool::{Pool, Watched},
    rows,
    standing::{Fault, Standing},
    watch::Watch,
    writer::{BUSY, Writer},
};

/// The number of connections for reads.
const READERS: u32 = 4;
/// PostgreSQL plans each read for its values. One generic plan would have to fit a minute and a year, and accounts with
/// ten records and with millions; it scans whole tables.
const CUSTOM_PLANS: &[(&str, &str)] = &[("plan_cache_mode", "force_custom_plan")];
/// How long a query waits for a connection before it fails.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(10);
/// How often SQLite's files and its lock are checked between commits.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// A commit younger than this shows that the database works.
const FRESH: Duration = Duration::from_secs(1);
/// How long the database may take to show that it can commit.
const PROBE_WITHIN: Duration = Duration::from_secs(2);

/// Options for opening a ledger.
#[derive(Debug, Clone)]
pub struct Opening {
    /// Whether to take the ledger from a living owner.
    pub claim: Claim,
    /// Files that exist only beside a ledger that was served. If one exists and the database is gone, no new ledger is
    /// begun.
    pub kept: Vec<PathBuf>,
}

impl Default for Opening {
    /// A ledger without an owner, in any place.
    fn default() -> Self {
        Self { claim: Claim::IfFree, kept: Vec::new() }
    }
}

/// What a connection may do to a SQLite file. With PostgreSQL the role decides.
#[derive(Debug, Clone)]
enum Access {
    /// Create and write the file.
    Write(PathBuf),
    /// Only read the file.
    Read,
}

/// Keeps a ledger owned by this process.
#[derive(Debug)]
pub(super) struct Keeper {
    owner: Owner,
    /// One caller at a time probes whether the ledger can commit.
    probing: Mutex<()>,
    /// Ends the thread that checks SQLite's files.
    _looking: Option<mpsc::Sender<()>>,
    /// The task that keeps PostgreSQL's session open.
    session: Option<tokio::task::JoinHandle<()>>,
}

impl Drop for Keeper {
    fn drop(&mut self) {
        if let Some(session) = &self.session {
            session.abort();
        }
    }
}

impl Ledger {
    /// Connects, brings the schema up to date, and owns the ledger from then on. A refusal changes nothing, and no
    /// owner notices it. Must run within tokio.
    ///
    /// # Errors
    ///
    /// [`LedgerError::Owned`] if a living process owns the ledger: stop it, or open with [`Claim::TakeOver`].
    /// [`LedgerError::Unusable`] if the address or the files can't be used: an operator must examine them. Any other
    /// error if the database does not answer, or the schema can't be changed: try again later.
    pub async fn open(url: &str, opening: &Opening) -> Result<Self, LedgerError> {
        if url.starts_with("sqlite:") {
            Self::open_sqlite(url, opening).await
        } else {
            Self::open_postgres(url, opening.claim).await
        }
    }

    async fn open_sqlite(url: &str, opening: &Opening) -> Result<Self, LedgerError> {
        let (file, lock) = claim_file(url, opening)?;
        let mut ledger = Self::connect(url, Access::Write(file.clone())).await?;
        ledger.prepare(&file, &lock, opening).await?;
        let owner = Owner::here(Some(lock.path()));
        ledger.epoch = ledger.take_over(&owner).await?;
        lock.served()?;
        bring_in(&file);
        let watch = Arc::new(Watch::begin(&file).map_err(|error| LedgerError::Writer(error.to_string()))?);
        ledger.writer = Some(Writer::open(&file, Arc::clone(&watch))?);
        let looking = look_after(&file, lock, Arc::clone(&watch), ledger.epoch, ledger.standing.clone())?;
        let _ = ledger.watched.set(watch);
        let keeper = Keeper { owner, probing: Mutex::default(), _looking: Some(looking), session: None };
        ledger.keeper = Some(Arc::new(keeper));
        Ok(ledger)
    }

    /// Checks again that the ledger is free and usable, now that it can be read, and brings its schema up to date.
    async fn prepare(&self, file: &Path, lock: &Lock, opening: &Opening) -> Result<(), LedgerError> {
        if self.has_tables().await? {
            let lease = "SELECT owner FROM shard_lease WHERE shard = 0";
            let owner: Option<String> = self.row(lease, []).await?.map(|row| row.try_get_by_index(0)).transpose()?;
            // The owner's lock may be at another path if the database was moved or has two names.
            let elsewhere = owner.as_deref().and_then(Owner::parse);
            if let Some(owner) = elsewhere
                && opening.claim == Claim::IfFree
                && owner.lock.as_ref().is_some_and(|other| other != lock.path() && lock::is_held(other, owner.pid))
            {
                return Err(LedgerError::Owned(in_use(&owner.to_string())));
            }
        } else {
            place::check_empty(file, &opening.kept)?;
        }
        Ok(Migrator::up(self.write.connections(), None).await?)
    }

    async fn open_postgres(url: &str, claim: Claim) -> Result<Self, LedgerError> {
        let session = Session::open(url, claim).await?;
        let mut ledger = Self::connect(url, Access::Read).await?;
        Migrator::up(ledger.write.connections(), None).await?;
        let owner = Owner::here(None);
        ledger.epoch = ledger.take_over(&owner).await?;
        let session = Some(tokio::spawn(session.keep(ledger.epoch, ledger.standing.clone())));
        ledger.keeper = Some(Arc::new(Keeper { owner, probing: Mutex::default(), _looking: None, session }));
        Ok(ledger)
    }

    /// Brings the schema up to date, and nothing else. Refused beside a living owner, which would notice the change.
    ///
    /// # Errors
    ///
    /// As for [`Ledger::open`], without the possibility to take over: stop a living owner first.
    pub async fn migrate(url: &str) -> Result<(), LedgerError> {
        if url.starts_with("sqlite:") {
            let opening = Opening::default();
            let (file, lock) = claim_file(url, &opening)?;
            let ledger = Self::connect(url, Access::Write(file.clone())).await?;
            ledger.prepare(&file, &lock, &opening).await?;
            lock.served()?;
            bring_in(&file);
            return Ok(());
        }
        let _session = Session::open(url, Claim::IfFree).await?;
        let ledger = Self::connect(url, Access::Read).await?;
        Ok(Migrator::up(ledger.write.connections(), None).await?)
    }

    /// Connects to an existing ledger for reading only, also beside an owner (`farebox audit`). A missing ledger is an
    /// error, and is not created.
    ///
    /// # Errors
    ///
    /// [`LedgerError::NoLedger`] if there is no ledger at this address. [`LedgerError::Unusable`] if the address is
    /// invalid. Any other error if the database does not answer: try again later.
    pub async fn for_reading(url: &str) -> Result<Self, LedgerError> {
        if url.starts_with("sqlite:") {
            let options =
                url.parse::<SqliteConnectOptions>().map_err(|error| LedgerError::Unusable(error.to_string()))?;
            let file = options.get_filename();
            if !file.exists() {
                return Err(LedgerError::NoLedger(format!("there is no ledger: no file {}", file.display())));
            }
        }
        let ledger = Self::connect(url, Access::Read).await?;
        if !ledger.has_tables().await? {
            return Err(LedgerError::NoLedger("there is no ledger: the database has none of its tables".into()));
        }
        Ok(ledger)
    }

    async fn connect(url: &str, access: Access) -> Result<Self, LedgerError> {
        let standing = Standing::default();
        let write = Database::connect(options(url, &access, 1, &[])).await?;
        let backend = write.get_database_backend();
        let read = Database::connect(options(url, &access, READERS, CUSTOM_PLANS)).await?;
        let watched = Watched::default();
        let write = Pool::new(write, standing.clone(), Arc::clone(&watched));
        let read = Pool::new(read, standing.clone(), Arc::clone(&watched));
        Ok(Self { write, read, writer: None, backend, epoch: 0, standing, watched, keeper: None })
    }

    async fn has_tables(&self) -> Result<bool, LedgerError> {
        let sql = match self.backend {
            DbBackend::Postgres => "SELECT CASE WHEN to_regclass('shard_lease') IS NULL THEN 0 ELSE 1 END",
            _ => "SELECT COUNT(*) FROM sqlite_master WHERE name = 'shard_lease'",
        };
        let row = self.row(sql, []).await?;
        let count = match (row, self.backend) {
            (Some(row), DbBackend::Postgres) => i64::from(row.try_get_by_index::<i32>(0)?),
            (Some(row), _) => row.try_get_by_index(0)?,
            (None, _) => 0,
        };
        Ok(count > 0)
    }

    async fn take_over(&self, owner: &Owner) -> Result<i64, LedgerError> {
        let sql = "INSERT INTO shard_lease (shard, owner, epoch) VALUES (0, ?, 1) \
                   ON CONFLICT (shard) DO UPDATE SET owner = excluded.owner, epoch = shard_lease.epoch + 1 RETURNING epoch";
        let row = self.write.query_one_raw(self.statement(sql, [owner.text().into()])).await?;
        let row = row.ok_or_else(|| LedgerError::Corrupt("no lease came back".into()))?;
        Ok(row.try_get_by_index(0)?)
    }

    /// Checks whether the ledger can commit now, durably. If the last commit is too old to tell, a probe is committed.
    ///
    /// # Errors
    ///
    /// The reason why nothing can be committed now. After [`LedgerError::Fenced`] the process must stop; in all other
    /// cases ask again later.
    pub async fn ready(&self) -> Result<(), LedgerError> {
        let Some(keeper) = &self.keeper else { return Ok(()) };
        self.write.look()?;
        let is_fresh = || self.standing.last_commit().is_ok_and(|age| age < FRESH);
        if is_fresh() {
            return Ok(());
        }
        let probe = async {
            let _turn = keeper.probing.lock().await;
            if is_fresh() { Ok(()) } else { self.probe(keeper).await }
        };
        let late = || LedgerError::Away("the database does not commit in time".into());
        tokio::time::timeout(PROBE_WITHIN, probe).await.unwrap_or_else(|_| Err(late()))
    }

    /// Commits a probe that changes only the time at which the lease's owner was seen.
    async fn probe(&self, keeper: &Keeper) -> Result<(), LedgerError> {
        let text = keeper.owner.seen_now().text();
        let sql = "UPDATE shard_lease SET owner = ? WHERE shard = 0 AND epoch = ?";
        let changed = if let Some(writer) = &self.writer {
            writer.execute(sql, (text, self.epoch)).await
        } else {
            let statement = self.statement(sql, [text.into(), self.epoch.into()]);
            self.write.execute_raw(statement).await.map(|done| done.rows_affected())
        };
        match changed {
            Ok(0) => Err(LedgerError::Fenced),
            Ok(_) => Ok(()),
            Err(error) => Err(error),
        }
        .inspect(|()| self.standing.committed())
        .inspect_err(|error| self.standing.not_committed(error))
    }

    /// Closes the ledger, once all writes have ended. With SQLite the database file alone is the ledger afterwards. A
    /// ledger that is no longer this process's, or whose files have changed, is left as it is.
    ///
    /// # Errors
    ///
    /// The ledger was taken over, its files are not the ones that were opened, or SQLite's log could not be emptied.
    /// All commits are durable anyway: the next start reads the log.
    pub async fn close(&self) -> Result<(), LedgerError> {
        self.write.look()?;
        if let Some(writer) = &self.writer {
            writer.close().await?;
        }
        // The connections end with the process, so closing them is not awaited for long.
        drop(tokio::time::timeout(PROBE_WITHIN, futures::future::join(self.read.close(), self.write.close())).await);
        Ok(())
    }
}

/// Finds the file of a SQLite ledger and takes its lock, before the database is opened.
fn claim_file(url: &str, opening: &Opening) -> Result<(PathBuf, Lock), LedgerError> {
    let file = place::file_of(url)?;
    place::check_before(&file, &opening.kept)?;
    let lock = Lock::take(&file, opening.claim)?;
    Ok((file, lock))
}

/// Checkpoints the whole log into the database. Any rest is read at the next start.
fn bring_in(file: &Path) {
    let bring = || {
        let connection = Connection::open(file)?;
        connection.busy_timeout(BUSY)?;
        checkpoint::truncate(&connection)
    };
    if let Err(error) = bring() {
        tracing::warn!(%error, "SQLite's log could not be brought into the database yet");
    }
}

/// Starts the thread that checks the files while the ledger is open, until the sender is dropped.
fn look_after(
    file: &Path,
    lock: Lock,
    watch: Arc<Watch>,
    epoch: i64,
    standing: Standing,
) -> Result<mpsc::Sender<()>, LedgerError> {
    let failed = |error: std::io::Error| LedgerError::Writer(error.to_string());
    let lease = Connection::open(file)?;
    lease.busy_timeout(BUSY)?;
    let (end, ended) = mpsc::channel::<()>();
    let look = move || {
        while ended.recv_timeout(LOOK_EVERY) == Err(mpsc::RecvTimeoutError::Timeout) {
            lock.mend();
            let owner =
                lease.prepare_cached(EPOCH).and_then(|mut epoch| epoch.query_row([], |row| row.get::<_, i64>(0)));
            standing.set(match (watch.check(), owner) {
                (_, Ok(owner)) if owner != epoch => Some(Fault::Fenced),
                (Err(why), _) => Some(Fault::Away(why)),
                (Ok(()), _) => None,
            });
        }
    };
    std::thread::Builder::new().name("ledger-watch".into()).spawn(look).map_err(failed)?;
    Ok(end)
}

fn options(url: &str, access: &Access, connections: u32, postgres: &'static [(&str, &str)]) -> ConnectOptions {
    let mut options = ConnectOptions::new(url);
    options.max_connections(connections).acquire_timeout(ACQUIRE_TIMEOUT).sqlx_logging(false);
    let access = access.clone();
    options.map_sqlx_sqlite_opts(move |sqlite| {
        let sqlite = sqlite.foreign_keys(true).busy_timeout(BUSY);
        match &access {
            // Only the writer's threads checkpoint the log, because they notify the watch.
            Access::Write(file) => sqlite
                .filename(file)
                .create_if_missing(true)
                .journal_mode(SqliteJournalMode::Wal)
                .synchronous(SqliteSynchronous::Full)
                .pragma("wal_autocheckpoint", "0"),
            Access::Read => sqlite.create_if_missing(false).read_only(true),
        }
    });
    options.map_sqlx_postgres_opts(move |options| {
        let options = options.statement_cache_capacity(rows::STATEMENTS);
        if postgres.is_empty() { options } else { options.options(postgres.iter().copied()) }
    });
    options
}
