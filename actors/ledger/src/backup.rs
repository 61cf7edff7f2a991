//! Backups of a SQLite ledger: a folder with a copy of both files, and with [`Manifest`], which is written last. A backup is
//! taken beside a running owner, over connections that only read: each file by SQLite's own means, the tables first, so
//! that the log is never older than its tables. What the log has and the tables lack is brought in when the copy is opened.
//!
//! A folder without a manifest is not a backup. Nothing that exists is ever overwritten.

pub(crate) mod files;
mod manifest;
mod restore;

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use sea_orm::sqlx::{self, ConnectOptions as _, Connection as _, sqlite::SqliteConnectOptions};

use self::{files::cannot, manifest::Manifest};
pub use self::{manifest::End, restore::Restoring};
use crate::{
    Ledger, LedgerError,
    audit::{Audit, Trust},
    catch_up,
    connections::BUSY,
    log::Shard,
    place,
};

/// The copies' names, whatever the ledger's files are called.
const TABLES: &str = "farebox.db";
const LOG: &str = "farebox-log.db";

/// A small file that is kept with a ledger.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Beside {
    /// The file's name, without a folder.
    pub name: String,
    /// The content.
    pub content: Vec<u8>,
}

/// A backup that is complete.
#[derive(Debug)]
pub struct Backup {
    folder: PathBuf,
    end: End,
    bytes: u64,
}

impl Backup {
    /// Copies the ledger of an address, and small files with it, into a folder that is empty or not there. The ledger may be
    /// in use, and nobody notices. The copy has everything that was acknowledged before the call.
    ///
    /// # Errors
    ///
    /// [`LedgerError::NoLedger`] if there is no ledger. [`LedgerError::Unusable`] if it has no log yet, if the folder is used,
    /// or if a file can't be read or written. Whatever the error is, what was copied is removed.
    pub async fn take(url: &str, folder: &Path, beside: &[Beside]) -> Result<Self, LedgerError> {
        let ledger = Ledger::for_reading(url).await?;
        if ledger.logged.is_none() {
            let why =
                "the ledger was last served by a version without a log: serve it once with this one, then back it up";
            return Err(LedgerError::Unusable(why.into()));
        }
        drop(ledger);
        let is_new = files::begin(folder, &files::part_of(&folder.join(manifest::NAME)))?;
        let taken = match fs::canonicalize(folder) {
            Ok(whole) => copy(&place::file_of(url)?, whole, beside).await,
            Err(error) => Err(cannot("use", folder, &error)),
        };
        if taken.is_err() {
            files::clear(folder, is_new);
        }
        taken
    }

    /// The folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The log's end in the backup.
    pub const fn end(&self) -> &End {
        &self.end
    }

    /// The size of all files.
    pub const fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Audits the copy, which is only read, by what is trusted.
    ///
    /// # Errors
    ///
    /// The copy can't be read, so that nothing is known of it.
    pub async fn audit(&self, trust: Trust<'_>) -> Result<Audit, LedgerError> {
        Ledger::for_reading(&place::url_of(&self.folder.join(TABLES))).await?.audit_by(trust).await
    }
}

async fn copy(source: &Path, folder: PathBuf, beside: &[Beside]) -> Result<Backup, LedgerError> {
    let mut copied = BTreeMap::new();
    for (from, name) in [(source, TABLES), (&*place::log_of(source), LOG)] {
        let to = folder.join(name);
        vacuum(from, &to).await?;
        copied.insert(name.to_owned(), files::content_of(&to)?);
    }
    for Beside { name, content } in beside {
        let to = folder.join(name);
        files::write(&to, content)?;
        copied.insert(name.clone(), files::content_of(&to)?);
    }
    let end = end_of(&folder.join(TABLES)).await?;
    let bytes = copied.values().map(|file| file.bytes).sum();
    Manifest::new(catch_up::now().0, end.clone(), copied).write(&folder)?;
    if let Some(parent) = folder.parent() {
        files::sync_folder(parent)?;
    }
    Ok(Backup { folder, end, bytes })
}

/// Copies a database as it is at one moment. The target appears when it is whole and durable.
async fn vacuum(from: &Path, to: &Path) -> Result<(), LedgerError> {
    let failed = |error: sqlx::Error| LedgerError::Unusable(format!("can't copy {}: {error}", from.display()));
    let part = files::part_of(to);
    let name = part.to_str().ok_or_else(|| LedgerError::Unusable("the folder's name is not Unicode".into()))?;
    // SQLite accepts an empty file, and keeps its mode.
    drop(files::create(&part)?);
    let options = SqliteConnectOptions::new()
        .filename(from)
        .create_if_missing(false)
        .read_only(true)
        .busy_timeout(BUSY)
        .disable_statement_logging();
    let mut connection = options.connect().await.map_err(failed)?;
    let done = sqlx::query("VACUUM INTO ?").bind(name).execute(&mut connection).await;
    connection.close().await.map_err(failed)?;
    done.map_err(failed)?;
    files::publish(&part, to)
}

/// The end of a copied ledger's log.
async fn end_of(tables: &Path) -> Result<End, LedgerError> {
    let ledger = Ledger::for_reading(&place::url_of(tables)).await?;
    let log = ledger.logged.as_ref().ok_or_else(|| LedgerError::Corrupt("the copy has no log".into()))?;
    let last = log.head(Shard::FIRST).await?;
    let last = last.ok_or_else(|| LedgerError::Unusable("the ledger's log has no row".into()))?;
    Ok(End::of(last.head()))
}
