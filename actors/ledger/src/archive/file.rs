//! A file of an archive: rows of the log, each a protobuf message with its length before it, compressed as one frame of
//! Zstandard. What is read is checked: the file's hash, each row's own hash, and the chain through all of them.

use std::{
    fs,
    io::{Cursor, Read as _},
    path::Path,
};

use billing::Timestamp;
use prost::Message as _;
use ruzstd::{
    decoding::StreamingDecoder,
    encoding::{CompressionLevel, compress_to_vec},
};

use super::manifest::Listed;
use crate::{
    LedgerError,
    backup::files::{self, cannot},
    log::{Hash, Head, Row, Shard, chain},
};

/// A row as a file has it.
#[derive(Clone, PartialEq, prost::Message)]
struct Archived {
    #[prost(int64, tag = "1")]
    shard: i64,
    #[prost(uint64, tag = "2")]
    seq: u64,
    #[prost(int64, tag = "3")]
    epoch: i64,
    #[prost(sint64, tag = "4")]
    at: i64,
    #[prost(bytes = "vec", tag = "5")]
    prev_hash: Vec<u8>,
    #[prost(bytes = "vec", tag = "6")]
    hash: Vec<u8>,
    #[prost(bytes = "vec", tag = "7")]
    body: Vec<u8>,
}

impl From<&Row> for Archived {
    fn from(row: &Row) -> Self {
        Self {
            shard: row.shard.0,
            seq: row.seq,
            epoch: row.epoch,
            at: row.at.0,
            prev_hash: row.prev_hash.to_vec(),
            hash: row.hash.to_vec(),
            body: row.body.clone(),
        }
    }
}

impl Archived {
    fn row(self) -> Option<Row> {
        let hash = |bytes: Vec<u8>| Hash::try_from(bytes).ok();
        Some(Row {
            shard: Shard(self.shard),
            seq: self.seq,
            epoch: self.epoch,
            at: Timestamp(self.at),
            prev_hash: hash(self.prev_hash)?,
            hash: hash(self.hash)?,
            body: self.body,
        })
    }
}

/// A file that is being filled.
pub(super) struct Writing {
    shard: Shard,
    plain: Vec<u8>,
    rows: u64,
    ends: Option<(u64, Head)>,
}

/// A file's content.
pub(super) struct Made {
    pub(super) shard: Shard,
    pub(super) first: u64,
    pub(super) end: Head,
    pub(super) rows: u64,
    pub(super) plain_bytes: u64,
    pub(super) bytes: Vec<u8>,
}

impl Writing {
    /// A file for rows of a shard.
    pub(super) const fn new(shard: Shard) -> Self {
        Self { shard, plain: Vec::new(), rows: 0, ends: None }
    }

    /// Adds the next row.
    pub(super) fn add(&mut self, row: &Row) {
        self.plain.extend(Archived::from(row).encode_length_delimited_to_vec());
        self.rows += 1;
        self.ends = Some((self.ends.map_or(row.seq, |(first, _)| first), row.head()));
    }

    /// The bytes so far, before they are compressed.
    pub(super) const fn bytes(&self) -> usize {
        self.plain.len()
    }

    /// Compresses the rows; `None` if there are none.
    pub(super) fn finish(self) -> Option<Made> {
        let (first, end) = self.ends?;
        let bytes = compress_to_vec(Cursor::new(&self.plain), CompressionLevel::Fastest);
        Some(Made { shard: self.shard, first, end, rows: self.rows, plain_bytes: self.plain.len() as u64, bytes })
    }
}

/// Checks a file against what is listed of it. `before` is the end of the file before.
pub(super) fn check(folder: &Path, listed: &Listed, before: Option<Head>) -> Result<(), LedgerError> {
    read(folder, listed, before, &mut |_| Ok(())).map(drop)
}

/// Reads a file's rows in order, and checks it. Returns its end.
pub(super) fn read(
    folder: &Path,
    listed: &Listed,
    before: Option<Head>,
    each: &mut impl FnMut(&Row) -> Result<(), LedgerError>,
) -> Result<Head, LedgerError> {
    let path = folder.join(&listed.name);
    let wrong = |why: &str| LedgerError::Unusable(format!("{}: {why}", path.display()));
    if files::content_of(&path)? != listed.content {
        return Err(wrong("it was changed after it was written"));
    }
    let compressed = fs::File::open(&path).map_err(|error| cannot("read", &path, &error))?;
    let plain = StreamingDecoder::new(compressed).map_err(|error| wrong(&error.to_string()))?;
    let mut bytes = Vec::new();
    // What is listed bounds what is read.
    let read = plain.take(listed.plain_bytes.saturating_add(1)).read_to_end(&mut bytes);
    read.map_err(|error| wrong(&error.to_string()))?;
    let (mut left, mut head, mut rows) = (&bytes[..], before, 0_u64);
    while !left.is_empty() {
        let row = Archived::decode_length_delimited(&mut left).ok().and_then(Archived::row);
        let row = row.ok_or_else(|| wrong("a row can't be read"))?;
        let broken = |error: chain::Broken| wrong(&error.to_string());
        match head {
            Some(head) => drop(chain::follow(head, &row).map_err(broken)?),
            None => chain::check(&row).map_err(broken)?,
        }
        if row.shard.0 != listed.shard {
            return Err(wrong("it has rows of another shard"));
        }
        if rows == 0 && row.seq != listed.first {
            return Err(wrong("it begins with another row than is listed"));
        }
        each(&row)?;
        head = Some(row.head());
        rows += 1;
    }
    if rows != listed.rows || head != Some(listed.end) {
        return Err(wrong("it has other rows than are listed"));
    }
    Ok(listed.end)
}
