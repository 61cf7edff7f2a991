//! What a backup says of itself: its files, with their hashes, and the log's end. It is the last file that is written, so a
//! backup that was cut off has none.

use std::{collections::BTreeMap, fs, io, path::Path};

use serde::{Deserialize, Serialize};

use super::{
    LOG, TABLES,
    files::{self, Content, cannot},
};
use crate::{LedgerError, log::Head};

/// The file's name.
pub(super) const NAME: &str = "backup.json";
/// The version of this file's form.
const FORMAT: u32 = 1;

/// The last row of a log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct End {
    /// The row's number.
    pub row: u64,
    /// The row's hash.
    pub hash: String,
}

impl End {
    pub(super) fn of(head: Head) -> Self {
        Self { row: head.seq, hash: blake3::Hash::from_bytes(head.hash).to_hex().to_string() }
    }
}

/// What a backup has.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Manifest {
    format: u32,
    /// When the backup was complete, in milliseconds of UTC.
    made_at: i64,
    pub(super) log: End,
    pub(super) files: BTreeMap<String, Content>,
}

impl Manifest {
    pub(super) const fn new(made_at: i64, log: End, files: BTreeMap<String, Content>) -> Self {
        Self { format: FORMAT, made_at, log, files }
    }

    /// Completes a backup.
    pub(super) fn write(&self, folder: &Path) -> Result<(), LedgerError> {
        let text = serde_json::to_string_pretty(self).map_err(|error| LedgerError::Unusable(error.to_string()))?;
        files::write(&folder.join(NAME), format!("{text}\n").as_bytes())
    }

    /// Reads a backup's manifest, and checks that all files are there.
    pub(super) fn read(folder: &Path) -> Result<Self, LedgerError> {
        let path = folder.join(NAME);
        let text = fs::read(&path).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => LedgerError::Unusable(format!(
                "{} is no complete backup: {NAME}, which is written last, is not there",
                folder.display()
            )),
            _ => cannot("read", &path, &error),
        })?;
        let damaged =
            |why: &dyn std::fmt::Display| LedgerError::Unusable(format!("{} is damaged: {why}", path.display()));
        let format: Format = serde_json::from_slice(&text).map_err(|error| damaged(&error))?;
        if format.format > FORMAT {
            let why = format!("{} was made by a newer version of this program", folder.display());
            return Err(LedgerError::Unusable(why));
        }
        let read: Self = serde_json::from_slice(&text).map_err(|error| damaged(&error))?;
        if let Some(name) = read.files.keys().find(|name| Path::new(name).file_name() != Some(name.as_ref())) {
            return Err(damaged(&format!("{name:?} is no name of a file")));
        }
        let mut needed = [TABLES, LOG].into_iter().chain(read.files.keys().map(String::as_str));
        let missing = needed.find(|name| !read.files.contains_key(*name) || !folder.join(name).is_file());
        if let Some(name) = missing {
            let why = format!("the backup in {} is not complete: {name} is not there", folder.display());
            return Err(LedgerError::Unusable(why));
        }
        drop(needed);
        Ok(read)
    }
}

/// The part of a manifest that every version can read.
#[derive(Deserialize)]
struct Format {
    format: u32,
}
