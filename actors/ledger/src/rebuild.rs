//! The tables made again from the log, beside those that there are, and compared with them. In SQLite they are a new file,
//! which can take the old one's place; in PostgreSQL a schema of its own, whose rows can take the place of the others.
//! Rows that are written beside the log are kept where there are any.

mod compare;
mod postgres;
mod sqlite;

use migrations::Migrator;
use sea_orm_migration::MigratorTrait as _;

use self::compare::Compared;
use super::{
    Ledger, LedgerError, catch_up, import,
    log::{
        Head, Shard,
        body::{self, Body},
        chain,
        read::Reader,
    },
    project::{Logged, Stopped},
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
    /// The last row of the log that they have.
    pub place: u64,
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

impl Ledger {
    /// Makes the tables of a ledger again from its log, and compares them with those that there are.
    ///
    /// # Errors
    ///
    /// [`LedgerError::Owned`] if they are to replace those of a living owner: stop it first. [`LedgerError::NoLedger`] if
    /// there is no log. [`LedgerError::Unusable`] if the log can't be read from its first row, or the files can't be used.
    /// Nothing has changed then. Any other error if the database does not answer: repeating the call is safe.
    pub async fn rebuild(url: &str, then: Then) -> Result<Rebuilt, LedgerError> {
        if url.starts_with("sqlite:") { sqlite::rebuild(url, then).await } else { postgres::rebuild(url, then).await }
    }

    /// Makes tables in an empty database, up to a row of the log or to its end. Returns their place, and the accounts that
    /// were stopped.
    async fn make_from(
        &self,
        log: &Reader,
        shard: Shard,
        to: Option<u64>,
    ) -> Result<(Head, Vec<Stopped>), LedgerError> {
        let first = log.row(shard, 0).await?;
        let first =
            first.ok_or_else(|| LedgerError::NoLedger("there is no log that begins at its first row".into()))?;
        chain::check(&first)?;
        let genesis = import::genesis_of(&first)?;
        let mut is_importing = import::is_imported(&genesis);
        if is_importing && genesis.schema == 0 {
            return Err(LedgerError::Unusable("this log begins after tables that it does not have".into()));
        }
        let steps = is_importing.then_some(genesis.schema);
        Migrator::up(self.tables.connections(), steps).await?;
        self.begin_place(shard, first.head()).await?;
        let (mut done, mut stopped) = (first.head(), Vec::new());
        loop {
            let mut rows = log.read(shard, done.seq, PAGE).await?;
            rows.retain(|row| to.is_none_or(|to| row.seq <= to));
            if rows.is_empty() {
                break;
            }
            let mut batch = Vec::new();
            for row in &rows {
                done = chain::follow(done, row)?;
                if is_importing {
                    is_importing = self.import_row(shard, row).await?;
                } else {
                    batch.push(catch_up::read(row)?);
                }
            }
            stopped.extend(self.project(shard, &batch).await?);
            self.keep_small().await;
        }
        if is_importing {
            return Err(LedgerError::Unusable("the log lacks rows of the tables that it begins after".into()));
        }
        Ok((done, stopped))
    }

    /// Writes a row of the log that has rows of an earlier table. Returns whether further ones follow.
    async fn import_row(&self, shard: Shard, row: &super::log::Row) -> Result<bool, LedgerError> {
        let imported = match body::decode(&row.body) {
            Ok(Body::Imported(imported)) => imported,
            Ok(_) => return Err(LedgerError::Unusable(format!("row {} of the log is no import", row.seq))),
            Err(error) => return Err(LedgerError::Unusable(format!("row {} of the log {error}", row.seq))),
        };
        let tx = self.tables.begin().await?;
        let logged: [Logged; 1] = [catch_up::read(row)?];
        self.move_place(&tx, shard, &logged).await?;
        self.write_imported(&tx, &imported).await?;
        self.commit(tx).await?;
        if imported.is_last {
            // What came after those tables.
            Migrator::up(self.tables.connections(), None).await?;
        }
        Ok(!imported.is_last)
    }
}

fn stopped_text(stopped: &[Stopped]) -> Vec<String> {
    stopped.iter().map(|Stopped { account_id, why }| format!("{account_id}: {why}")).collect()
}
