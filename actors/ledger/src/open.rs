//! Opening and closing a ledger. One process at a time owns it until the process stops. Opening brings the schema up to
//! date and the tables up to the log. SQLite's write-ahead logs are checkpointed at both ends, so that the two database
//! files alone are the ledger while no process serves it.

use std::{
    collections::BTreeMap,
    num::NonZeroU16,
    path::{Path, PathBuf},
    sync::{Arc, mpsc},
    time::Duration,
};

use migrations::Migrator;
use sea_orm::{
    ConnectionTrait, Database, DatabaseConnection, DbBackend, Statement, sqlx::sqlite::SqliteConnectOptions,
};
use sea_orm_migration::MigratorTrait;
use tokio::sync::Mutex;

use super::{
    Ledger, LedgerError,
    connections::{Access, options},
    idempotency::Turns,
    log::{
        Shard, Shards,
        read::Reader,
        store::{Log, Missing},
        tail::Tail,
    },
    nodes::Others,
    owner::{
        Claim, Owner, in_use,
        lock::{self, Lock},
        session::Session,
    },
    place,
    pool::{Pool, Watched},
    progress::Progress,
    project::EPOCH,
    recent::RecentKeys,
    standing::{Fault, Standing},
    watch::Watch,
};

/// The number of connections for reads.
const READERS: u32 = 4;
/// A transaction whose client is silent is undone by PostgreSQL. The way to it may have lost the connection without a word: a
/// projection that was under way there would hold its rows for hours, and whoever makes the tables next would wait for them.
const UNDONE_WHEN_SILENT: &[(&str, &str)] = &[("idle_in_transaction_session_timeout", "10s")];
/// PostgreSQL plans each read for its values. One generic plan would have to fit a minute and a year, and accounts with
/// ten records and with millions; it scans whole tables.
const CUSTOM_PLANS: &[(&str, &str)] = &[("plan_cache_mode", "force_custom_plan")];
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
    /// The shards of a new ledger in PostgreSQL. SQLite's have one.
    pub shards: Shards,
}

impl Default for Opening {
    /// A ledger without an owner, in any place.
    fn default() -> Self {
        Self { claim: Claim::IfFree, kept: Vec::new(), shards: Shards::USUAL }
    }
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
            Self::open_postgres(url, opening).await
        }
    }

    async fn open_sqlite(url: &str, opening: &Opening) -> Result<Self, LedgerError> {
        let (file, lock) = claim_file(url, opening)?;
        let mut ledger = Self::connect(url, Access::Write(file.clone())).await?;
        ledger.prepare(&file, &lock, opening).await?;
        let of_log = place::log_of(&file);
        let missing = match ledger.place(Shard::FIRST).await? {
            None => Missing::Begin,
            Some(_) => Missing::Refuse,
        };
        let log = Log::open_sqlite(&of_log, missing, ledger.standing.clone()).await?;
        // Before anything is taken from a living owner: a process that is stopped may hold the log's lock.
        log.check_writable().await?;
        let owner = Owner::here(Some(lock.path()));
        let others = log.reader().epoch(Shard::FIRST).await?.unwrap_or_default();
        let epochs = ledger.take_over(&owner, others).await?;
        let epoch = epochs.get(&Shard::FIRST).copied().unwrap_or_default();
        lock.served()?;
        ledger.bring_in().await;
        let watch = watch_of(&file)?;
        log.take_over(Shard::FIRST, &owner.text(), epoch).await?;
        let log_watch = watch_of(&of_log)?;
        log.watch(Arc::clone(&log_watch));
        ledger.follow_log(log, &epochs).await?;
        // The place of new tables is durable before the log goes on.
        ledger.bring_in().await;
        let looking = look_after(&file, lock, [Arc::clone(&watch), log_watch], epoch, ledger.standing.clone())?;
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
        Ok(Migrator::up(self.tables.connections(), None).await?)
    }

    async fn open_postgres(url: &str, opening: &Opening) -> Result<Self, LedgerError> {
        let mut session = Session::open(url, opening.claim).await?;
        let mut ledger = Self::connect(url, Access::Read).await?;
        let owner = Owner::here(None);
        let epochs = if opening.claim == Claim::Share {
            let leases = Database::connect(options(url, &Access::Read, 1, &[])).await?;
            ledger.leases = Some(Pool::new(leases, ledger.standing.clone(), Arc::clone(&ledger.watched)));
            session.alone(async || ledger.begin_shared(opening.shards).await).await?;
            ledger.shards = ledger.stored_shards().await?.unwrap_or(Shards::ONE);
            let look = Database::connect(options(url, &Access::Read, 2, &[])).await?;
            let others = Others::new(look, Arc::clone(&ledger.tails));
            ledger.read = ledger.read.after_others(&others);
            ledger.write = ledger.write.after_others(&others);
            BTreeMap::new()
        } else {
            Migrator::up(ledger.tables.connections(), None).await?;
            ledger.shards = ledger.shards_to_be(opening.shards).await?;
            ledger.take_over(&owner, 0).await?
        };
        let log = Log::open_postgres(url, ledger.as_they_are.clone(), ledger.standing.clone()).await?;
        ledger.follow_log(log, &epochs).await?;
        let epoch = epochs.get(&Shard::FIRST).copied();
        let session = Some(tokio::spawn(session.keep(epoch, ledger.standing.clone())));
        ledger.keeper = Some(Arc::new(Keeper { owner, probing: Mutex::default(), _looking: None, session }));
        Ok(ledger)
    }

    /// Brings the schema up to date, and makes the leases of a new ledger, which nobody has.
    async fn begin_shared(&self, of_new: Shards) -> Result<(), LedgerError> {
        Migrator::up(self.tables.connections(), None).await?;
        let shards = self.shards_to_be(of_new).await?;
        // In one statement: the number of rows is the number of shards.
        let rows = vec!["(?, 'nobody', 1)"; shards.count().into()].join(", ");
        let sql = format!("INSERT INTO shard_lease (shard, owner, epoch) VALUES {rows} ON CONFLICT DO NOTHING");
        self.tables.execute_raw(self.statement(&sql, shards.all().map(|shard| shard.0.into()))).await?;
        Ok(())
    }

    /// The shards that the ledger was made with, or will have.
    async fn shards_to_be(&self, of_new: Shards) -> Result<Shards, LedgerError> {
        Ok(match self.stored_shards().await? {
            Some(shards) => shards,
            // Tables from before there were leases have one log for all of them.
            None if self.has_rows().await? => Shards::ONE,
            None => of_new,
        })
    }

    /// Begins to own a shard that was taken in an epoch: brings the tables up to its log. Returns the log's end.
    ///
    /// # Errors
    ///
    /// [`LedgerError::Fenced`] if another node has taken it meanwhile. [`LedgerError::Unusable`] if the log is not whole:
    /// an operator must examine it. Any other error if the database does not answer: try again later.
    pub async fn begin_shard(&self, shard: Shard, epoch: i64) -> Result<Tail, LedgerError> {
        let log =
            self.log.as_ref().ok_or_else(|| LedgerError::NotWritten("the ledger is open for reading only".into()))?;
        let tail = Tail { shard, head: Box::pin(self.catch_up(log, shard, epoch)).await?, epoch };
        self.owned().insert(shard, tail);
        Ok(tail)
    }

    /// Ceases to own a shard.
    pub fn end_shard(&self, shard: Shard) {
        self.owned().remove(&shard);
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
            ledger.bring_in().await;
            return Ok(());
        }
        let _session = Session::open(url, Claim::IfFree).await?;
        let ledger = Self::connect(url, Access::Read).await?;
        Ok(Migrator::up(ledger.tables.connections(), None).await?)
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
        let mut ledger = Self::connect(url, Access::Read).await?;
        if !ledger.has_tables().await? {
            return Err(LedgerError::NoLedger("there is no ledger: the database has none of its tables".into()));
        }
        ledger.shards = ledger.stored_shards().await?.unwrap_or(Shards::ONE);
        ledger.logged = if ledger.backend == DbBackend::Postgres {
            Some(Reader::new(ledger.as_they_are.clone(), ledger.backend))
        } else {
            let file = place::log_of(&place::file_of(url)?);
            let standing = ledger.standing.clone();
            match ledger.place(Shard::FIRST).await? {
                // The tables are older than any log, and no owner has begun one yet.
                None if !file.exists() => None,
                None => {
                    let reader = Reader::sqlite(&file, standing, Watched::default()).await?;
                    reader.has_tables().await?.then_some(reader)
                }
                Some(_) => Some(Reader::sqlite(&file, standing, Watched::default()).await?),
            }
        };
        Ok(ledger)
    }

    pub(super) async fn connect(url: &str, access: Access) -> Result<Self, LedgerError> {
        Self::connect_as(url, access, [UNDONE_WHEN_SILENT, CUSTOM_PLANS]).await
    }

    /// Connects with these settings of PostgreSQL's connections alone.
    pub(super) async fn connect_in_schema(url: &str, schema: &'static [(&str, &str)]) -> Result<Self, LedgerError> {
        Self::connect_as(url, Access::Read, [schema; 2]).await
    }

    /// Connects. PostgreSQL's connections have the first settings, those for reads the second ones.
    async fn connect_as(
        url: &str,
        access: Access,
        [settings, of_reads]: [&'static [(&'static str, &'static str)]; 2],
    ) -> Result<Self, LedgerError> {
        let standing = Standing::default();
        let write = Database::connect(options(url, &access, 1, settings)).await?;
        let backend = write.get_database_backend();
        let read = Database::connect(options(url, &access, READERS, of_reads)).await?;
        let watched = Watched::default();
        let progress = Progress::default();
        let tables = Pool::new(write, standing.clone(), Arc::clone(&watched));
        let write = tables.after(&progress);
        let read = Pool::new(read, standing.clone(), Arc::clone(&watched)).after(&progress);
        let look = Database::connect(options(url, &access, 1, settings)).await?;
        let as_they_are = Pool::new(look, standing.clone(), Arc::clone(&watched));
        Ok(Self {
            tables,
            write,
            read,
            as_they_are,
            leases: None,
            log: None,
            logged: None,
            progress,
            recent: RecentKeys::default(),
            keys: Turns::default(),
            shards: Shards::ONE,
            tails: Arc::default(),
            backend,
            standing,
            watched,
            keeper: None,
        })
    }

    /// Brings the tables up to the logs of these shards, and owns them from then on.
    async fn follow_log(&mut self, log: Log, epochs: &BTreeMap<Shard, i64>) -> Result<(), LedgerError> {
        for (shard, epoch) in epochs {
            let head = Box::pin(self.catch_up(&log, *shard, *epoch)).await?;
            self.owned().insert(*shard, Tail { shard: *shard, head, epoch: *epoch });
        }
        self.logged = Some(log.reader().clone());
        self.log = Some(log);
        Ok(())
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

    /// The shards that the ledger was made with; `None` before its first owner.
    async fn stored_shards(&self) -> Result<Option<Shards>, LedgerError> {
        let row = self.row("SELECT COUNT(*), COALESCE(MAX(shard), -1) FROM shard_lease", []).await?;
        let row = row.ok_or_else(|| LedgerError::Corrupt("no count came back".into()))?;
        let (count, last): (i64, i64) = (row.try_get_by_index(0)?, row.try_get_by_index(1)?);
        let corrupt = || LedgerError::Corrupt(format!("{count} shards, of which the last is {last}"));
        match (NonZeroU16::new(u16::try_from(count).map_err(|_| corrupt())?), count - 1 == last) {
            (None, _) => Ok(None),
            (Some(count), true) => Ok(Some(Shards::new(count))),
            (Some(_), false) => Err(corrupt()),
        }
    }

    /// Makes an epoch of the owner's own for each shard, later than all before it and than `others`.
    async fn take_over(&self, owner: &Owner, others: i64) -> Result<BTreeMap<Shard, i64>, LedgerError> {
        let rows = vec!["(?, ?, ?)"; self.shards.count().into()].join(", ");
        let sql = format!(
            "INSERT INTO shard_lease (shard, owner, epoch) VALUES {rows} ON CONFLICT (shard) DO UPDATE SET \
             owner = excluded.owner, node = NULL, expires_at = 0, version = shard_lease.version + 1, \
             epoch = CASE WHEN shard_lease.epoch < excluded.epoch THEN excluded.epoch \
             ELSE shard_lease.epoch + 1 END RETURNING shard, epoch"
        );
        let row = |shard: Shard| [shard.0.into(), owner.text().into(), (others + 1).into()];
        let values: Vec<_> = self.shards.all().flat_map(row).collect();
        let rows = if self.backend == DbBackend::Postgres {
            let tx = self.tables.begin().await?;
            // Appends of the owner that is taken over are waited for, as a node's take does.
            let lock = "SELECT 1 FROM shard_lease ORDER BY shard FOR UPDATE";
            tx.execute_raw(self.statement(lock, [])).await?;
            let rows = tx.query_all_raw(self.statement(&sql, values)).await?;
            tx.commit().await?;
            rows
        } else {
            self.tables.query_all_raw(self.statement(&sql, values)).await?
        };
        if rows.len() != usize::from(self.shards.count()) {
            return Err(LedgerError::Corrupt(format!("{} of {} leases came back", rows.len(), self.shards.count())));
        }
        rows.iter().map(|row| Ok((Shard(row.try_get_by_index(0)?), row.try_get_by_index(1)?))).collect()
    }

    /// Checks whether the ledger can commit now, durably. If the last commit is too old to tell, a probe is committed.
    ///
    /// # Errors
    ///
    /// The reason why nothing can be committed now. After [`LedgerError::Fenced`] the process must stop; in all other
    /// cases ask again later.
    pub async fn ready(&self) -> Result<(), LedgerError> {
        let Some(keeper) = &self.keeper else { return Ok(()) };
        self.tables.look()?;
        if self.progress.is_stalled() {
            return Err(LedgerError::Away("the tables are behind the log, and do not follow it".into()));
        }
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

    /// Commits a probe to the log and to SQLite's tables: it changes only the time at which the lease's owner was seen.
    async fn probe(&self, keeper: &Keeper) -> Result<(), LedgerError> {
        let Some(log) = &self.log else { return Ok(()) };
        let owner = keeper.owner.seen_now().text();
        // A node without shards has nothing that it could probe; it is asked nothing either.
        let Some(Tail { shard, epoch, .. }) = self.tails().first().copied() else { return Ok(()) };
        let probe = async {
            log.probe(shard, &owner, epoch).await?;
            if self.backend == DbBackend::Postgres {
                return Ok(());
            }
            let sql = "UPDATE shard_lease SET owner = ? WHERE shard = 0 AND epoch = ?";
            let changed = self.tables.execute_raw(self.statement(sql, [owner.as_str().into(), epoch.into()])).await?;
            if changed.rows_affected() == 0 { Err(LedgerError::Fenced) } else { Ok(()) }
        };
        match probe.await {
            // Another node has taken the shard just now: the database is there, and this process goes on.
            Err(LedgerError::Fenced) if self.is_shared() => Ok(()),
            probed => {
                probed.inspect(|()| self.standing.committed()).inspect_err(|error| self.standing.not_committed(error))
            }
        }
    }

    /// Closes the ledger, once all writes have ended. With SQLite its two files alone are the ledger afterwards. A
    /// ledger that is no longer this process's, or whose files have changed, is left as it is.
    ///
    /// # Errors
    ///
    /// The ledger was taken over, its files are not the ones that were opened, or SQLite's log could not be emptied.
    /// All commits are durable anyway: the next start reads the log.
    pub async fn close(&self) -> Result<(), LedgerError> {
        self.tables.look()?;
        if let Some(log) = &self.log {
            log.close().await?;
        }
        if self.backend == DbBackend::Sqlite {
            self.checkpoint("TRUNCATE").await?;
        }
        // The connections end with the process, so closing them is not awaited for long.
        drop(
            tokio::time::timeout(
                PROBE_WITHIN,
                futures::future::join3(self.read.close(), self.write.close(), self.as_they_are.close()),
            )
            .await,
        );
        Ok(())
    }
}

fn watch_of(file: &Path) -> Result<Arc<Watch>, LedgerError> {
    Watch::begin(file).map(Arc::new).map_err(|error| LedgerError::Writer(error.to_string()))
}

/// Finds the file of a SQLite ledger and takes its lock, before the database is opened.
pub(super) fn claim_file(url: &str, opening: &Opening) -> Result<(PathBuf, Lock), LedgerError> {
    let file = place::file_of(url)?;
    place::check_before(&file, &opening.kept)?;
    let lock = Lock::take(&file, opening.claim)?;
    Ok((file, lock))
}

/// Starts the thread that checks the files while the ledger is open, until the sender is dropped.
fn look_after(
    file: &Path,
    lock: Lock,
    watches: [Arc<Watch>; 2],
    epoch: i64,
    standing: Standing,
) -> Result<mpsc::Sender<()>, LedgerError> {
    let failed = |error: std::io::Error| LedgerError::Writer(error.to_string());
    // A runtime of its own: a file system that hangs must stop this thread alone.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(failed)?;
    let url = place::url_of(file);
    let (end, ended) = mpsc::channel::<()>();
    let mut lease = None;
    let look = move || {
        runtime.block_on(owner_of(&url, &mut lease));
        while ended.recv_timeout(LOOK_EVERY) == Err(mpsc::RecvTimeoutError::Timeout) {
            lock.mend();
            let owner = runtime.block_on(owner_of(&url, &mut lease));
            let found = watches.iter().try_for_each(|watch| watch.check());
            standing.set(match (found, owner) {
                (_, Some(owner)) if owner != epoch => Some(Fault::Fenced),
                (Err(why), _) => Some(Fault::Away(why)),
                (Ok(()), _) => None,
            });
        }
    };
    std::thread::Builder::new().name("ledger-watch".into()).spawn(look).map_err(failed)?;
    Ok(end)
}

/// The epoch in the tables' lease, by a connection that is kept; `None` where it can't be read now.
async fn owner_of(url: &str, kept: &mut Option<DatabaseConnection>) -> Option<i64> {
    if kept.is_none() {
        *kept = Database::connect(options(url, &Access::Read, 1, &[])).await.ok();
    }
    let row = kept.as_ref()?.query_one_raw(Statement::from_string(DbBackend::Sqlite, EPOCH)).await;
    row.ok()??.try_get_by_index(0).ok()
}
