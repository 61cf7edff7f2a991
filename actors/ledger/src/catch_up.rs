//! The log and the tables when a ledger is opened: whether they belong together, and the rows of the log that the tables
//! do not have yet. A ledger without a log gets one.

use std::time::{SystemTime, UNIX_EPOCH};

use billing::Timestamp;
use uuid::Uuid;

use super::{
    Ledger, LedgerError,
    log::{
        Head, Row, Shard,
        body::{self, Began, Body, Genesis},
        chain::{self, Broken},
        store::Log,
    },
    project::{Logged, lacking},
};

/// Rows of the log that are read and projected at once.
const ROWS: usize = 256;

/// How often a former owner's transactions may arrive while the tables are brought up to the log.
const OVERTAKEN: usize = 16;

impl From<Broken> for LedgerError {
    fn from(broken: Broken) -> Self {
        Self::Unusable(format!("{broken}: the log was changed after it was written. Bring the log back from a backup"))
    }
}

impl Ledger {
    /// Begins the log of a ledger that has none, or checks that the tables belong to the log and brings them up to it.
    /// Returns the end of the log.
    pub(super) async fn catch_up(&self, log: &Log, shard: Shard) -> Result<Head, LedgerError> {
        let (head, place) = (log.reader().head(shard).await?, self.place(shard).await?);
        match (head, place) {
            (None, None) => self.begin_log(log, shard).await,
            (Some(first), None) if first.seq == 0 => {
                // The process died between the log's first row and the tables' place.
                self.begin_place(shard, first.head()).await?;
                Ok(first.head())
            }
            (None, Some(place)) => Err(LedgerError::Unusable(format!(
                "the tables were made from a log up to its row {}, and that log is gone: bring it back",
                place.seq
            ))),
            (Some(head), None) => Err(LedgerError::Unusable(format!(
                "there is a log of {} rows, and the tables were not made from it: bring the tables of this log back",
                head.seq
            ))),
            (Some(head), Some(place)) => self.follow(log, shard, place, &head).await,
        }
    }

    async fn begin_log(&self, log: &Log, shard: Shard) -> Result<Head, LedgerError> {
        let has_accounts = self.row("SELECT 1 FROM account LIMIT 1", []).await?.is_some();
        let began = if has_accounts { Began::AfterTables } else { Began::New };
        let genesis = Genesis { log_id: Uuid::new_v4(), began };
        let row = chain::genesis(shard, self.epoch, now(), body::encode_genesis(&genesis));
        log.append(&row).await?;
        self.begin_place(shard, row.head()).await?;
        Ok(row.head())
    }

    /// Brings the tables from their place to the end of the log.
    async fn follow(&self, log: &Log, shard: Shard, place: Head, end: &Row) -> Result<Head, LedgerError> {
        if place.seq > end.seq {
            return Err(LedgerError::Unusable(format!(
                "the log ends at row {}, and the tables have row {}: the log is older than its tables. Bring the newest log back",
                end.seq, place.seq
            )));
        }
        if log.reader().row(shard, place.seq).await?.is_none_or(|row| row.hash != place.hash) {
            return Err(LedgerError::Unusable(format!(
                "the tables were made from another log: row {} of this log is not the one that they have",
                place.seq
            )));
        }
        let (mut done, mut overtaken) = (place, 0);
        while done.seq < end.seq {
            let rows = log.reader().read(shard, done.seq, ROWS).await?;
            let (mut logged, mut last) = (Vec::with_capacity(rows.len()), done);
            for row in rows {
                last = chain::follow(last, &row)?;
                logged.push(read(&row)?);
            }
            if logged.is_empty() {
                return Err(Broken::Gap { after: done.seq, found: end.seq }.into());
            }
            match self.project(shard, &logged).await {
                Ok(_) => done = last,
                // A transaction of the former owner arrived meanwhile: it made the same rows.
                Err(LedgerError::Fenced) if overtaken < OVERTAKEN => {
                    overtaken += 1;
                    let place = self.place(shard).await?.unwrap_or(done);
                    done = if lacking(&logged, place).is_some() { place } else { done };
                }
                Err(error) => return Err(error),
            }
        }
        if end.seq > place.seq {
            tracing::info!(rows = end.seq - place.seq, "the tables have been brought up to the log");
        }
        Ok(done)
    }
}

/// A row of the log, as it is projected.
///
/// # Errors
///
/// [`LedgerError::Unusable`]: the row's body can't be read, because a newer version of this program wrote it or because it
/// was changed.
pub(super) fn read(row: &Row) -> Result<Logged, LedgerError> {
    let transitions = match body::decode(&row.body) {
        Ok(Body::Transitions(transitions)) => transitions,
        Ok(Body::Genesis(_)) => Vec::new(),
        Err(error) => return Err(LedgerError::Unusable(format!("row {} of the log {error}", row.seq))),
    };
    let Row { seq, hash, prev_hash, epoch, at, .. } = *row;
    Ok(Logged { seq, hash, prev_hash, epoch, at, transitions })
}

fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}
