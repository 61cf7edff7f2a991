//! A shard's log on the disk: rows that the owner with the lease's epoch appends, each at its place, once. A row's content is
//! not looked at. Somebody may change the log behind its owners' backs.

use ledger::log::{Head, Row};

use crate::random::Random;

/// Why a row was not appended: its place has another row, or there is a newer owner.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Fenced;

/// Whether an append looks at the owner's epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fence {
    Checked,
    Unchecked,
}

#[derive(Debug, Clone, Default)]
pub(crate) struct Log {
    rows: Vec<Row>,
}

impl Log {
    pub(crate) fn head(&self) -> Option<Head> {
        self.rows.last().map(Row::head)
    }

    pub(crate) fn row(&self, seq: u64) -> Option<&Row> {
        let at = self.rows.binary_search_by_key(&seq, |row| row.seq).ok()?;
        self.rows.get(at)
    }

    /// The rows after a number, at most so many.
    pub(crate) fn after(&self, seq: u64, most: usize) -> Vec<Row> {
        let first = self.rows.partition_point(|row| row.seq <= seq);
        self.rows[first..].iter().take(most).cloned().collect()
    }

    pub(crate) fn rows(&self) -> &[Row] {
        &self.rows
    }

    /// Appends a row in one step, as the ledger's statement does. The same row may be appended again. Returns whether
    /// the row is new.
    pub(crate) fn append(&mut self, row: &Row, lease: i64, fence: Fence) -> Result<bool, Fenced> {
        if let Some(there) = self.row(row.seq) {
            return if there.hash == row.hash { Ok(false) } else { Err(Fenced) };
        }
        if row.epoch != lease && fence == Fence::Checked {
            return Err(Fenced);
        }
        self.rows.push(row.clone());
        Ok(true)
    }

    /// Somebody changes a row after `place`, and returns what was done: every such change must be noticed.
    pub(crate) fn is_tampered_with(&mut self, place: u64, random: &mut Random) -> Option<&'static str> {
        let first = self.rows.partition_point(|row| row.seq <= place);
        let count = i64::try_from(self.rows.len() - first).ok().filter(|count| *count > 0)?;
        let at = first + usize::try_from(random.below(count)).ok()?;
        let is_last = at + 1 == self.rows.len();
        match random.below(4) {
            // Without its last row, a log is only an older log.
            0 if !is_last => {
                self.rows.remove(at);
                Some("removed")
            }
            1 if !is_last => {
                let (one, other) = (self.rows[at].body.clone(), self.rows[at + 1].body.clone());
                (self.rows[at].body, self.rows[at + 1].body) = (other, one);
                Some("swapped")
            }
            2 => {
                self.rows[at].epoch += 1;
                Some("given to another owner")
            }
            _ => {
                self.rows[at].body = self.rows[at - 1].body.clone();
                Some("replaced by a copy of the row before")
            }
        }
    }
}
