//! A backup on its way to the place of a ledger. It is copied to a folder beside the place, opened there as a start opens a
//! ledger, and audited. Only a clean copy is put in its place, by renaming its files.

use std::{
    fs::{self, DirBuilder},
    os::unix::fs::DirBuilderExt as _,
    path::{Path, PathBuf},
};

use sea_orm::sqlx::{self, ConnectOptions as _, Connection as _, sqlite::SqliteConnectOptions};

use super::{
    Beside, End, LOG, TABLES,
    files::{self, Content, cannot},
    manifest::Manifest,
};
use crate::{
    Ledger, LedgerError, Opening,
    audit::{Audit, Trust},
    owner::{Claim, lock::Lock},
    place,
};

/// A backup that was copied and checked, and is not in its place yet.
#[derive(Debug)]
pub struct Restoring {
    target: PathBuf,
    copy: Copy,
    lock: Lock,
    audit: Audit,
    end: End,
    beside: Vec<Beside>,
    bytes: u64,
}

/// The folder of a copy, removed on drop.
#[derive(Debug)]
struct Copy(PathBuf);

impl Drop for Copy {
    fn drop(&mut self) {
        // What remains is removed by the next restore.
        let _ = fs::remove_dir_all(&self.0);
    }
}

impl Restoring {
    /// Copies a backup to a folder beside the place of a ledger, brings the copy's tables up to its log, and audits it by what
    /// is trusted. The backup is only read.
    ///
    /// # Errors
    ///
    /// [`LedgerError::Owned`] if a process owns the place. [`LedgerError::Unusable`] if there is a ledger, or if the backup is
    /// incomplete, damaged, changed, or made of files that do not belong together.
    pub async fn begin(url: &str, backup: &Path, trust: Trust<'_>) -> Result<Self, LedgerError> {
        let target = place::file_of(url)?;
        place::check_free(&target)?;
        let manifest = Manifest::read(backup)?;
        let lock = Lock::take(&target, Claim::IfFree)?;
        place::check_free(&target)?;
        let copy = Copy::begin(&target)?;
        let refused = |error: LedgerError| {
            LedgerError::Unusable(format!("the backup in {} can't be restored: {error}", backup.display()))
        };
        let mut copied = Vec::new();
        for name in [TABLES, LOG] {
            copied.push((name, files::copy(&backup.join(name), &copy.0.join(name))?));
        }
        let (audit, end) = check(&copy.0.join(TABLES), trust).await.map_err(refused)?;
        let mut bytes = 0;
        let mut beside = Vec::new();
        if audit.ok {
            if end != manifest.log {
                return Err(refused(shorter(&end, &manifest.log)));
            }
            for (name, content) in copied {
                bytes += is_as_it_was(&manifest, name, &content).map_err(refused)?;
            }
            for name in manifest.files.keys().filter(|name| ![TABLES, LOG].contains(&name.as_str())) {
                let path = backup.join(name);
                bytes += is_as_it_was(&manifest, name, &files::content_of(&path)?).map_err(refused)?;
                let content = fs::read(&path).map_err(|error| cannot("read", &path, &error))?;
                beside.push(Beside { name: name.clone(), content });
            }
        }
        Ok(Self { target, copy, lock, audit, end, beside, bytes })
    }

    /// The audit of the copy.
    pub const fn audit(&self) -> &Audit {
        &self.audit
    }

    /// The log's end.
    pub const fn end(&self) -> &End {
        &self.end
    }

    /// The small files of the backup.
    pub fn beside(&self) -> &[Beside] {
        &self.beside
    }

    /// The size of the backup.
    pub const fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Puts the copy in its place. The log comes first: a log without tables is refused by a start and by another restore.
    ///
    /// # Errors
    ///
    /// The audit found violations, or the files can't be put in their place.
    pub fn place(self) -> Result<(), LedgerError> {
        if !self.audit.ok {
            return Err(LedgerError::Unusable("the backup is not clean".into()));
        }
        place::check_free(&self.target)?;
        files::publish(&self.copy.0.join(LOG), &place::log_of(&self.target))?;
        files::publish(&self.copy.0.join(TABLES), &self.target)?;
        self.lock.served()
    }
}

impl Copy {
    /// Makes an empty folder beside the place of a ledger, which this process owns.
    fn begin(target: &Path) -> Result<Self, LedgerError> {
        let folder = place::beside(target, ".restoring");
        if folder.exists() {
            fs::remove_dir_all(&folder).map_err(|error| cannot("remove", &folder, &error))?;
        }
        DirBuilder::new().mode(0o700).create(&folder).map_err(|error| cannot("make", &folder, &error))?;
        Ok(Self(folder))
    }
}

/// Opens a copied ledger as a start does, audits it, and leaves it in its two files alone.
async fn check(tables: &Path, trust: Trust<'_>) -> Result<(Audit, End), LedgerError> {
    forget_owner(tables).await?;
    let ledger = Ledger::open(&place::url_of(tables), &Opening::default()).await?;
    let audit = ledger.audit_by(trust).await?;
    let end = End::of(ledger.tail(crate::log::Shard::FIRST)?.head);
    ledger.close().await?;
    drop(ledger);
    for file in [tables.to_owned(), place::log_of(tables)] {
        let ahead = place::beside(&file, "-wal");
        if fs::metadata(&ahead).is_ok_and(|found| found.len() > 0) {
            return Err(LedgerError::Writer(format!("{} is not empty", ahead.display())));
        }
    }
    Ok((audit, end))
}

/// The owner in a backup's lease may still serve the ledger that was backed up. It does not own the copy.
async fn forget_owner(tables: &Path) -> Result<(), LedgerError> {
    let failed = |error: sqlx::Error| LedgerError::Unusable(format!("{TABLES}: {error}"));
    let options = SqliteConnectOptions::new().filename(tables).create_if_missing(false).disable_statement_logging();
    let mut connection = options.connect().await.map_err(failed)?;
    let done = sqlx::query("UPDATE shard_lease SET owner = 'restored'").execute(&mut connection).await;
    connection.close().await.map_err(failed)?;
    done.map(drop).map_err(failed)
}

fn shorter(found: &End, expected: &End) -> LedgerError {
    LedgerError::Unusable(format!(
        "its log ends at row {} ({}), and ended at row {} ({}) when it was backed up",
        found.row, found.hash, expected.row, expected.hash
    ))
}

/// Compares a file with its manifest, and returns its size.
fn is_as_it_was(manifest: &Manifest, name: &str, found: &Content) -> Result<u64, LedgerError> {
    if manifest.files.get(name) == Some(found) {
        return Ok(found.bytes);
    }
    Err(LedgerError::Unusable(format!("{name} was changed after it was backed up")))
}
