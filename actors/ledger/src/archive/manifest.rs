//! What an archive lists of itself: its files in the order of their rows, with their hashes, and the checkpoints for which
//! rows left the log. It is replaced whole after each file, so a file that it does not list does not count.

use std::{
    fs::{self, DirBuilder},
    io,
    os::unix::fs::DirBuilderExt as _,
    path::Path,
};

use serde::{Deserialize, Serialize};

use super::file::Made;
use crate::{
    LedgerError,
    backup::files::{self, Content, cannot},
    log::{Hash, Head, Shard},
};

/// The file's name.
const NAME: &str = "archive.json";
/// The version of this file's form, and of the files that it lists.
const FORMAT: u32 = 1;

/// A file of the archive.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Listed {
    pub(super) name: String,
    /// The shard whose log has the rows; 0 where an earlier version wrote no shard.
    #[serde(default)]
    pub(super) shard: i64,
    /// The number of the first row.
    pub(super) first: u64,
    /// The last row.
    #[serde(with = "head")]
    pub(super) end: Head,
    pub(super) rows: u64,
    /// The size of the rows before they were compressed.
    pub(super) plain_bytes: u64,
    #[serde(flatten)]
    pub(super) content: Content,
}

impl Listed {
    pub(super) const fn new(name: String, made: &Made, content: Content) -> Self {
        let Made { shard, first, end, rows, plain_bytes, .. } = made;
        Self { name, shard: shard.0, first: *first, end: *end, rows: *rows, plain_bytes: *plain_bytes, content }
    }
}

/// What an archive has.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Manifest {
    format: u32,
    pub(super) files: Vec<Listed>,
    /// The signed checkpoints.
    pub(super) checkpoints: Vec<String>,
}

impl Manifest {
    /// The manifest of a folder. A folder that is empty or not there gets one.
    pub(super) fn begin(folder: &Path) -> Result<Self, LedgerError> {
        if folder.join(NAME).exists() {
            return Self::read(folder);
        }
        match fs::read_dir(folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let made = DirBuilder::new().recursive(true).mode(0o700).create(folder);
                made.map_err(|error| cannot("make", folder, &error))?;
            }
            Err(error) => return Err(cannot("use", folder, &error)),
            Ok(entries) => {
                let mut names = entries.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned());
                if let Some(name) = names.find(|name| *name != format!("{NAME}.part")) {
                    return Err(LedgerError::Unusable(format!(
                        "the folder {} is no archive, and not empty ({name}): name another one. Nothing was written",
                        folder.display()
                    )));
                }
            }
        }
        let manifest = Self { format: FORMAT, files: Vec::new(), checkpoints: Vec::new() };
        manifest.write(folder)?;
        if let Some(parent) = folder.parent().filter(|parent| !parent.as_os_str().is_empty()) {
            files::sync_folder(parent)?;
        }
        Ok(manifest)
    }

    pub(super) fn read(folder: &Path) -> Result<Self, LedgerError> {
        let path = folder.join(NAME);
        let text = fs::read(&path).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => {
                LedgerError::Unusable(format!("{} is no archive: {NAME} is not there", folder.display()))
            }
            _ => cannot("read", &path, &error),
        })?;
        let damaged = |why: &str| LedgerError::Unusable(format!("{} is damaged: {why}", path.display()));
        let read: Self = serde_json::from_slice(&text).map_err(|error| damaged(&error.to_string()))?;
        if read.format > FORMAT {
            return Err(LedgerError::Unusable(format!(
                "{} was made by a newer version of this program",
                folder.display()
            )));
        }
        match read.files.iter().find(|file| Path::new(&file.name).file_name() != Some(file.name.as_ref())) {
            Some(file) => Err(damaged(&format!("{:?} is no name of a file", file.name))),
            None => Ok(read),
        }
    }

    pub(super) fn write(&self, folder: &Path) -> Result<(), LedgerError> {
        let text = serde_json::to_string_pretty(self).map_err(|error| LedgerError::Unusable(error.to_string()))?;
        files::write(&folder.join(NAME), format!("{text}\n").as_bytes())
    }

    /// The files with a shard's rows, in their order.
    pub(super) fn of_shard(&self, shard: Shard) -> impl DoubleEndedIterator<Item = &Listed> {
        self.files.iter().filter(move |file| file.shard == shard.0)
    }

    /// The last row of a shard's last file.
    pub(super) fn end(&self, shard: Shard) -> Option<Head> {
        self.of_shard(shard).next_back().map(|file| file.end)
    }
}

/// A hash in hexadecimal.
pub(super) fn hex(hash: &Hash) -> String {
    blake3::Hash::from_bytes(*hash).to_hex().to_string()
}

/// The hash that was written in hexadecimal.
pub(super) fn from_hex(text: &str) -> Option<Hash> {
    blake3::Hash::from_hex(text).ok().map(Into::into)
}

/// A row as its number and its hash in hexadecimal.
mod head {
    use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

    use super::{Head, from_hex, hex};

    #[derive(Serialize, Deserialize)]
    struct Written {
        row: u64,
        hash: String,
    }

    pub(super) fn serialize<S: Serializer>(head: &Head, serializer: S) -> Result<S::Ok, S::Error> {
        Written { row: head.seq, hash: hex(&head.hash) }.serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Head, D::Error> {
        let Written { row: seq, hash } = Written::deserialize(deserializer)?;
        let hash = from_hex(&hash).ok_or_else(|| D::Error::custom("a row's hash is not one"))?;
        Ok(Head { seq, hash })
    }
}
