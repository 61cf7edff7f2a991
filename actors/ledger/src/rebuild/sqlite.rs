//! SQLite's tables, made again in a new file beside them.

use std::{
    collections::BTreeMap,
    fs, io,
    os::unix::fs::{MetadataExt as _, chown},
    path::{Path, PathBuf},
};

use sea_orm::{ConnectionTrait, Statement};

use super::{
    Rebuilt, Then,
    compare::{compare, count},
    places_of,
};
use crate::{
    Ledger, LedgerError, Opening,
    backup::files,
    catch_up,
    connections::Access,
    log::{Shard, read::Reader},
    owner::lock::Lock,
    place,
    pool::Watched,
    standing::Standing,
    tables::BESIDE,
    webhooks::RETRIED_MS,
};

/// The suffix of the file that is made.
const NEW: &str = ".rebuilt";
/// The suffix of the file that is locked meanwhile.
const TURN: &str = ".rebuilt.lock";
/// The suffix of the file that was replaced.
const OLD: &str = ".before-rebuild";

pub(super) async fn rebuild(url: &str, then: Then, archive: Option<&Path>) -> Result<Rebuilt, LedgerError> {
    let file = place::file_of(url)?;
    let is_there = fs::metadata(&file).is_ok_and(|found| found.len() > 0);
    match (is_there, then) {
        (true, Then::Discard) => check(url, &file, archive).await,
        (true, Then::Replace) => replace(url, &file, archive).await,
        (false, then) => from_the_log_alone(&file, then, archive).await,
    }
}

/// Compares the tables as they are in one moment, also beside their owner.
async fn check(url: &str, file: &Path, archive: Option<&Path>) -> Result<Rebuilt, LedgerError> {
    let there = Ledger::for_reading(url).await?;
    let log = there.logged.clone().ok_or_else(|| LedgerError::NoLedger("the ledger has no log yet".into()))?;
    let moment = there.snapshot().await?;
    let places = places_of(&there, &moment).await?;
    let made = Made::new(file).await?;
    let (places, stopped) = made.ledger.make_from(&log, archive, &places).await?;
    let (rows, differences) = compare(&moment, made.ledger.tables.connections()).await?;
    moment.rollback().await?;
    let rebuilt = Rebuilt::new(&places, rows, &stopped);
    Ok(Rebuilt { differences, is_compared: true, ..rebuilt })
}

/// Makes the tables, takes along what was written beside the log, and puts them in the old ones' place.
async fn replace(url: &str, file: &Path, archive: Option<&Path>) -> Result<Rebuilt, LedgerError> {
    // The owner alone may do this, and the tables have the whole log then.
    let owned = Ledger::open(url, &Opening::default()).await?;
    let log = owned.logged.clone().ok_or_else(|| LedgerError::NoLedger("the ledger has no log".into()))?;
    let made = Made::new(file).await?;
    let ends = owned.tails().into_iter().map(|tail| (tail.shard, tail.head)).collect();
    let (places, stopped) = made.ledger.make_from(&log, archive, &ends).await?;
    let (rows, differences) = compare(owned.read.connections(), made.ledger.tables.connections()).await?;
    take_along(&made.ledger, file).await?;
    owned.close().await?;
    made.take_place(file, Some(&place::beside(file, OLD))).await?;
    let rebuilt = Rebuilt::new(&places, rows, &stopped);
    Ok(Rebuilt { differences, is_compared: true, is_replaced: true, ..rebuilt })
}

/// Makes the tables where there are none. Kept answers are lost with them. Deliveries are made again, but for those that
/// nobody would try any more.
async fn from_the_log_alone(file: &Path, then: Then, archive: Option<&Path>) -> Result<Rebuilt, LedgerError> {
    let _lock = Lock::take(file, crate::Claim::IfFree)?;
    let log = Reader::sqlite(&place::log_of(file), Standing::default(), Watched::default()).await?;
    let left = place::beside(file, "-wal");
    if fs::metadata(&left).is_ok_and(|found| found.len() > 0) {
        let left = left.display();
        return Err(LedgerError::Unusable(format!("{left} belongs to tables that are gone: move it away first")));
    }
    let made = Made::new(file).await?;
    let end = log.head(Shard::FIRST).await?.map(|row| (Shard::FIRST, row.head()));
    let (places, stopped) = made.ledger.make_from(&log, archive, &BTreeMap::from_iter(end)).await?;
    let rows = count(made.ledger.tables.connections()).await?;
    let rebuilt = Rebuilt::new(&places, rows, &stopped);
    if then == Then::Discard {
        return Ok(rebuilt);
    }
    made.ledger.give_up_deliveries(catch_up::now().plus_ms(-RETRIED_MS)).await?;
    made.ledger.forget_notices().await?;
    made.take_place(file, None).await?;
    Ok(Rebuilt { is_replaced: true, ..rebuilt })
}

/// Tables in a file of their own, which is deleted unless it takes another file's place.
struct Made {
    ledger: Ledger,
    file: PathBuf,
    /// Held while the file is used, so that nobody else makes one here.
    _turn: fs::File,
}

impl Made {
    async fn new(beside: &Path) -> Result<Self, LedgerError> {
        let file = place::beside(beside, NEW);
        let lock = place::beside(beside, TURN);
        let turn = fs::File::options().write(true).create(true).truncate(false).open(&lock);
        let turn = files::take_turn(turn, &lock, LedgerError::Owned("another rebuild of this ledger runs".into()))?;
        // What an earlier call left.
        clear(&file);
        // For its owner's eyes alone, as it has secrets; SQLite accepts an empty file, and keeps its mode.
        drop(files::create(&file)?);
        let opened = Ledger::connect(&place::url_of(&file), Access::Write(file.clone())).await;
        let ledger = opened.inspect_err(|_| clear(&file))?;
        Ok(Self { ledger, file, _turn: turn })
    }

    /// Puts the file in another one's place, which gets a name of its own.
    async fn take_place(&self, of: &Path, kept: Option<&Path>) -> Result<(), LedgerError> {
        self.ledger.checkpoint("TRUNCATE").await?;
        let io = |error: io::Error| LedgerError::Unusable(format!("can't replace {}: {error}", of.display()));
        // Whoever served the ledger must be able to go on.
        let like = if kept.is_some() { of.to_owned() } else { place::log_of(of) };
        let like = fs::metadata(like).map_err(io)?;
        fs::set_permissions(&self.file, like.permissions()).map_err(io)?;
        let made = fs::metadata(&self.file).map_err(io)?;
        if (made.uid(), made.gid()) != (like.uid(), like.gid()) {
            chown(&self.file, Some(like.uid()), Some(like.gid())).map_err(io)?;
        }
        fs::File::open(&self.file).and_then(|file| file.sync_all()).map_err(io)?;
        if let Some(kept) = kept {
            clear(kept);
            fs::hard_link(of, kept).map_err(io)?;
            // The write-ahead log is empty, and would not belong to the new file.
            for more in ["-wal", "-shm"] {
                drop(fs::remove_file(place::beside(of, more)));
            }
        }
        fs::rename(&self.file, of).map_err(io)?;
        let folder = of.parent().unwrap_or(Path::new("."));
        fs::File::open(folder).and_then(|folder| folder.sync_all()).map_err(io)
    }
}

impl Drop for Made {
    fn drop(&mut self) {
        clear(&self.file);
    }
}

/// Removes a database's files, if they are there.
fn clear(file: &Path) {
    for more in ["", "-wal", "-shm"] {
        drop(fs::remove_file(place::beside(file, more)));
    }
}

/// Copies what was written beside the log.
async fn take_along(made: &Ledger, from: &Path) -> Result<(), LedgerError> {
    let connection = made.tables.connections();
    let run = async |sql: String| connection.execute_raw(Statement::from_string(made.backend, sql)).await;
    let attach = "ATTACH DATABASE ? AS there";
    connection.execute_raw(made.statement(attach, [from.display().to_string().into()])).await?;
    for table in BESIDE {
        run(format!("DELETE FROM {table}")).await?;
        run(format!("INSERT INTO {table} SELECT * FROM there.{table}")).await?;
    }
    run("INSERT INTO shard_lease SELECT * FROM there.shard_lease".to_owned()).await?;
    let failing = "UPDATE webhook_endpoint SET failing_since = \
                   (SELECT e.failing_since FROM there.webhook_endpoint e WHERE e.id = webhook_endpoint.id)";
    run(failing.to_owned()).await?;
    run("DETACH DATABASE there".to_owned()).await?;
    Ok(())
}
