//! The chain of hashes through a log. A row's hash covers the row before it, its own number, epoch, time and body, so
//! that a row that was changed, removed, added or moved is found. Pure: no database is known here.

use billing::Timestamp;

use super::{Hash, Head, Row, Shard};

/// The `prev_hash` of a log's first row.
pub const BEFORE_THE_FIRST: Hash = [0; 32];

/// A row does not follow the rows before it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Broken {
    /// Rows are missing, or another row stands in the place.
    #[error("the log's row {found} follows row {after}")]
    Gap {
        /// The number of the row before.
        after: u64,
        /// The number of the row.
        found: u64,
    },
    /// The row was made to follow another row.
    #[error("the log's row {0} does not follow the row before it")]
    Unchained(u64),
    /// The row is not as it was written.
    #[error("the log's row {0} was changed")]
    Changed(u64),
}

/// The first row of a log.
pub fn genesis(shard: Shard, epoch: i64, at: Timestamp, body: Vec<u8>) -> Row {
    row(shard, 0, epoch, at, BEFORE_THE_FIRST, body)
}

/// The row after the end of a log.
pub fn next(shard: Shard, head: Head, epoch: i64, at: Timestamp, body: Vec<u8>) -> Row {
    row(shard, head.seq + 1, epoch, at, head.hash, body)
}

/// Checks that a row is as it was written.
///
/// # Errors
///
/// The row's hash is not the hash of its content.
pub fn check(row: &Row) -> Result<(), Broken> {
    let expected = hash(row.shard, row.seq, row.epoch, row.at, &row.prev_hash, &row.body);
    if row.hash == expected { Ok(()) } else { Err(Broken::Changed(row.seq)) }
}

/// Checks that a row follows the end of a log, and is as it was written. Returns the new end.
///
/// # Errors
///
/// A row is missing, or a row was changed or moved.
pub fn follow(head: Head, row: &Row) -> Result<Head, Broken> {
    if row.seq != head.seq + 1 {
        return Err(Broken::Gap { after: head.seq, found: row.seq });
    }
    check(row)?;
    if row.prev_hash == head.hash { Ok(row.head()) } else { Err(Broken::Unchained(row.seq)) }
}

fn row(shard: Shard, seq: u64, epoch: i64, at: Timestamp, prev_hash: Hash, body: Vec<u8>) -> Row {
    let hash = hash(shard, seq, epoch, at, &prev_hash, &body);
    Row { shard, seq, epoch, at, prev_hash, hash, body }
}

fn hash(shard: Shard, seq: u64, epoch: i64, at: Timestamp, prev_hash: &Hash, body: &[u8]) -> Hash {
    let mut hasher = blake3::Hasher::new();
    hasher.update(prev_hash);
    for number in [shard.0.to_le_bytes(), seq.to_le_bytes(), epoch.to_le_bytes(), at.0.to_le_bytes()] {
        hasher.update(&number);
    }
    hasher.update(body);
    *hasher.finalize().as_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log() -> Vec<Row> {
        let mut rows = vec![genesis(Shard::FIRST, 1, Timestamp(5), b"first".to_vec())];
        for n in 1..5_u8 {
            let head = rows.last().unwrap().head();
            rows.push(next(Shard::FIRST, head, 1, Timestamp(5 + i64::from(n)), vec![n]));
        }
        rows
    }

    fn followed(rows: &[Row]) -> Result<Head, Broken> {
        check(&rows[0])?;
        rows[1..].iter().try_fold(rows[0].head(), follow)
    }

    #[test]
    fn rows_follow_one_another() {
        let rows = log();
        assert_eq!(followed(&rows).unwrap(), rows[4].head());
    }

    #[test]
    fn whatever_is_changed_in_a_row_is_found() {
        let changes: [fn(&mut Row); 7] = [
            |row| row.body.push(0),
            |row| row.body.clear(),
            |row| row.epoch += 1,
            |row| row.at.0 += 1,
            |row| row.shard.0 += 1,
            |row| row.prev_hash[31] ^= 1,
            |row| row.hash[0] ^= 1,
        ];
        for (place, change) in changes.iter().enumerate() {
            let mut rows = log();
            change(&mut rows[2]);
            assert_eq!(followed(&rows), Err(Broken::Changed(2)), "change {place}");
        }
    }

    #[test]
    fn rows_that_are_removed_added_or_moved_are_found() {
        let mut rows = log();
        rows.remove(2);
        assert_eq!(followed(&rows), Err(Broken::Gap { after: 1, found: 3 }));
        let mut rows = log();
        rows.swap(2, 3);
        assert_eq!(followed(&rows), Err(Broken::Gap { after: 1, found: 3 }));
        // Written anew by hand, with a hash that is right by itself.
        let mut rows = log();
        rows[2] = next(Shard::FIRST, rows[1].head(), 1, Timestamp(7), b"other".to_vec());
        assert_eq!(followed(&rows), Err(Broken::Unchained(3)));
    }
}
