//! The tables made again from the log, beside those that there are, and compared with them. In SQLite they are a new file,
//! which can take the old one's place; in PostgreSQL a schema of its own, whose rows can take the place of the others.
//! Rows that are written beside the log are kept where there are any.

mod compare;
mod postgres;
mod sqlite;

use std::{collections::BTreeMap, path::Path};

use migrations::Migrator;
use sea_orm::DatabaseTransaction;
use sea_orm_migration::MigratorTrait as _;

use self::compare::Compared;
use super::{
    Ledger, LedgerError,
    archive::Pages,
    catch_up, import,
    log::{
        Head, Row, Shard,
        body::{self, Body},
        chain,
        read::Reader,
    },
    project::{Logged, Stopped, move_places, moves},
};

/// Rows of the log that are read at once.
const PAGE: usize = 512;

/// What becomes of the tables that are made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Then {
    /// They are compared and thrown away. A server may run meanwhile.
    Discard,
    /// They take the place of those that there are.
    Replace,
}

/// Tables that were made from the log.
#[derive(Debug, Clone, serde::Serialize)]
pub struct Rebuilt {
    /// The last row of each shard's log that they have.
    pub places: Vec<u64>,
    /// The number of their rows.
    pub rows: u64,
    /// Each table with differences to the one that was there.
    pub differences: Vec<Compared>,
    /// Whether there were tables to compare them with.
    pub is_compared: bool,
    /// Whether they are the ledger's tables now.
    pub is_replaced: bool,
    /// Accounts whose rows can't be made, each with the reason.
    pub stopped: Vec<String>,
}

/// The rows of a log: those in its archive up to the row at which the log begins, and then its own.
struct Source {
    archived: Option<Pages>,
    log: Reader,
    shard: Shard,
    /// The row at which the log begins, if not with its genesis.
    joint: Option<Head>,
}

impl Source {
    async fn new(log: Reader, shard: Shard, archive: Option<&Path>) -> Result<Self, LedgerError> {
        let joint = log.checkpoint(shard).await?.map(|kept| kept.head);
        // A log that has all its rows needs no archive.
        let archived = archive.filter(|_| joint.is_some()).map(|folder| Pages::of(folder, shard)).transpose()?;
        Ok(Self { archived, log, shard, joint })
    }

    /// Some of the rows after a row, or the first ones; none at the end.
    async fn after(&mut self, done: Option<Head>) -> Result<Vec<Row>, LedgerError> {
        while let Some(pages) = &mut self.archived {
            let Some(mut rows) = pages.next_page()? else { break };
            let until = self.joint.map_or(0, |joint| joint.seq);
            rows.retain(|row| row.seq <= until && done.is_none_or(|done| row.seq > done.seq));
            if !rows.is_empty() {
                return Ok(rows);
            }
        }
        self.archived = None;
        if let (Some(done), Some(joint)) = (done, self.joint)
            && done.seq <= joint.seq
            && done != joint
        {
            let (at, begins) = (done.seq, joint.seq);
            return Err(LedgerError::Unusable(format!(
                "the archive is another ledger's, or lacks rows: it ends at row {at}, and the log begins at row {begins} with \
                 another hash or later"
            )));
        }
        let Some(done) = done else {
            let first = self.log.row(self.shard, 0).await?;
            return first.map(|first| vec![first]).ok_or_else(|| {
                LedgerError::NoLedger(
                    "the log's first rows are not there: name the archive that they were moved to".into(),
                )
            });
        };
        self.log.read(self.shard, done.seq, PAGE).await
    }
}

impl Ledger {
    /// Makes the tables of a ledger again from its log, and compares them with those that there are. Rows that have left the
    /// log are read from its archive.
    ///
    /// # Errors
    ///
    /// [`LedgerError::Owned`] if they are to replace those of a living owner: stop it first. [`LedgerError::NoLedger`] if
    /// there is no log, or not its first rows. [`LedgerError::Unusable`] if the log or the archive can't be read, or the files
    /// can't be used. Nothing has changed then. Any other error if the database does not answer: repeating the call is safe.
    pub async fn rebuild(url: &str, then: Then, archive: Option<&Path>) -> Result<Rebuilt, LedgerError> {
        if url.starts_with("sqlite:") {
            sqlite::rebuild(url, then, archive).await
        } else {
            postgres::rebuild(url, then, archive).await
        }
    }

    /// Makes tables in an empty database from the logs of all shards, up to these rows or to their ends. Returns the
    /// tables' places, and the accounts that were stopped.
    async fn make_from(
        &self,
        log: &Reader,
        archive: Option<&Path>,
        ends: &BTreeMap<Shard, Head>,
    ) -> Result<(BTreeMap<Shard, Head>, Vec<Stopped>), LedgerError> {
        let (mut places, mut stopped) = (BTreeMap::new(), Vec::new());
        for shard in self.shards.all() {
            let source = Source::new(log.clone(), shard, archive).await?;
            let (place, of_shard) = Box::pin(self.make_shard(source, ends.get(&shard).copied())).await?;
            places.insert(shard, place);
            stopped.extend(of_shard);
        }
        Ok((places, stopped))
    }

    /// Makes the rows of one shard.
    async fn make_shard(&self, mut source: Source, to: Option<Head>) -> Result<(Head, Vec<Stopped>), LedgerError> {
        let (mut done, mut stopped, mut is_importing) = (None, Vec::new(), false);
        loop {
            let mut rows = source.after(done).await?;
            rows.retain(|row| to.is_none_or(|to| row.seq <= to.seq));
            if rows.is_empty() {
                break;
            }
            let mut batch = Vec::new();
            for row in &rows {
                done = Some(match done {
                    None => {
                        is_importing = self.begin_from(row).await?;
                        row.head()
                    }
                    Some(done) => {
                        let next = chain::follow(done, row)?;
                        if is_importing {
                            is_importing = self.import_row(row).await?;
                        } else {
                            batch.push(catch_up::read(row)?);
                        }
                        next
                    }
                });
                if batch.len() >= PAGE {
                    stopped.extend(self.project(&std::mem::take(&mut batch)).await?);
                }
            }
            stopped.extend(self.project(&batch).await?);
            self.keep_small().await;
        }
        match done {
            Some(done) if to.is_some_and(|to| to != done) => Err(LedgerError::Unusable(format!(
                "the tables are not at a row of this log: they have row {}, and the log, at row {}, another one or none",
                to.map_or(0, |to| to.seq),
                done.seq
            ))),
            Some(done) if !is_importing => Ok((done, stopped)),
            _ => Err(LedgerError::Unusable("the log lacks rows of the tables that it begins after".into())),
        }
    }

    /// Makes the tables that a log begins with, empty. Returns whether rows of earlier tables follow.
    async fn begin_from(&self, first: &Row) -> Result<bool, LedgerError> {
        chain::check(first)?;
        let genesis = import::genesis_of(first)?;
        let is_importing = import::is_imported(&genesis);
        if is_importing && genesis.schema == 0 {
            return Err(LedgerError::Unusable("this log begins after tables that it does not have".into()));
        }
        Migrator::up(self.tables.connections(), is_importing.then_some(genesis.schema)).await?;
        self.begin_place(first.shard, first.head()).await?;
        Ok(is_importing)
    }

    /// Writes a row of the log that has rows of an earlier table. Returns whether further ones follow.
    async fn import_row(&self, row: &Row) -> Result<bool, LedgerError> {
        let imported = match body::decode(&row.body) {
            Ok(Body::Imported(imported)) => imported,
            Ok(_) => return Err(LedgerError::Unusable(format!("row {} of the log is no import", row.seq))),
            Err(error) => return Err(LedgerError::Unusable(format!("row {} of the log {error}", row.seq))),
        };
        let mut tx = self.tables.begin_to_write().await?;
        let logged: [Logged; 1] = [catch_up::read(row)?];
        move_places(&mut tx, &moves(&logged)?).await?;
        self.write_imported(&mut tx, &imported).await?;
        self.commit(tx).await?;
        if imported.is_last {
            // What came after those tables.
            Migrator::up(self.tables.connections(), None).await?;
        }
        Ok(!imported.is_last)
    }
}

/// The places of the tables in a snapshot.
async fn places_of(ledger: &Ledger, moment: &DatabaseTransaction) -> Result<BTreeMap<Shard, Head>, LedgerError> {
    let mut places = BTreeMap::new();
    for shard in ledger.shards.all() {
        let none = || LedgerError::NoLedger("the tables have no place in a log yet: serve the ledger once".into());
        places.insert(shard, ledger.place_in(moment, shard).await?.ok_or_else(none)?);
    }
    Ok(places)
}

impl Rebuilt {
    /// Tables that were compared with none yet, and are not the ledger's.
    fn new(places: &BTreeMap<Shard, Head>, rows: u64, stopped: &[Stopped]) -> Self {
        let stopped = stopped.iter().map(|Stopped { account_id, why }| format!("{account_id}: {why}")).collect();
        Self {
            places: places.values().map(|place| place.seq).collect(),
            rows,
            differences: Vec::new(),
            is_compared: false,
            is_replaced: false,
            stopped,
        }
    }
}
