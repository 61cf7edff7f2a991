//! The log and the tables when a ledger is opened: whether they belong together, and the rows of the log that the tables
//! do not have yet. A ledger without a log gets one.

use std::time::{SystemTime, UNIX_EPOCH};

use billing::Timestamp;
use uuid::Uuid;

use super::{
    Ledger, LedgerError, import,
    log::{
        Head, Row, Shard, Shards,
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
    /// Begins the log of a shard that has none, or checks that the tables belong to the log and brings them up to it.
    /// Returns the end of the log.
    pub(super) async fn catch_up(&self, log: &Log, shard: Shard, epoch: i64) -> Result<Head, LedgerError> {
        let (head, place) = (log.reader().head(shard).await?, self.place(shard).await?);
        match (head, place) {
            (None, None) => self.begin_log(log, shard, epoch).await,
            (None, Some(place)) => Err(LedgerError::Unusable(format!(
                "the tables were made from a log up to its row {}, and that log is gone: bring it back",
                place.seq
            ))),
            // A process died between the log's first row and the tables' place.
            (Some(head), None) => self.go_on_beginning(log, shard, epoch, &head).await,
            (Some(head), Some(place)) => self.follow(log, shard, place, &head).await,
        }
    }

    async fn begin_log(&self, log: &Log, shard: Shard, epoch: i64) -> Result<Head, LedgerError> {
        let began = if self.has_rows_of(shard).await? { Began::AfterTables } else { Began::New };
        let genesis = Genesis { log_id: Uuid::new_v4(), began, schema: import::schema() };
        let row = chain::genesis(shard, epoch, now(), body::encode_genesis(&genesis));
        log.append(&row).await?;
        self.go_on_beginning(log, shard, epoch, &row).await
    }

    /// Goes on with a log that has its genesis, and that tables without a place belong to.
    async fn go_on_beginning(&self, log: &Log, shard: Shard, epoch: i64, head: &Row) -> Result<Head, LedgerError> {
        let first = log.reader().row(shard, 0).await?;
        let genesis = first.as_ref().map(import::genesis_of).transpose()?;
        let has_rows = self.has_rows_of(shard).await?;
        match (first, genesis) {
            (_, Some(genesis)) if import::is_imported(&genesis) && has_rows => {
                let end = self.import(log, shard, epoch, &genesis).await?;
                self.begin_place(shard, end).await?;
                if head.seq > end.seq { self.follow(log, shard, end, head).await } else { Ok(end) }
            }
            // Tables that have nothing lack all of a log that began with nothing: they were not durable when it was.
            (Some(first), Some(genesis)) if !import::is_imported(&genesis) && !has_rows => {
                self.begin_place(shard, first.head()).await?;
                self.follow(log, shard, first.head(), head).await
            }
            _ => Err(LedgerError::Unusable(format!(
                "there is a log of {} rows, and the tables were not made from it: bring the tables of this log back, or move \
                 these away and run `farebox rebuild --replace`",
                head.seq
            ))),
        }
    }

    /// Whether the tables have anything. A ledger that was served has its prices at least.
    pub(super) async fn has_rows(&self) -> Result<bool, LedgerError> {
        let sql = "SELECT 1 WHERE EXISTS (SELECT 1 FROM account) OR EXISTS (SELECT 1 FROM price_version)";
        Ok(self.row(sql, []).await?.is_some())
    }

    /// Whether the tables have anything of a shard. What belongs to no account is the first one's.
    async fn has_rows_of(&self, shard: Shard) -> Result<bool, LedgerError> {
        if self.shards == Shards::ONE {
            return self.has_rows().await;
        }
        let of_shard = self.in_shards("id", &[shard]);
        let of_all = if shard == Shard::FIRST { " OR EXISTS (SELECT 1 FROM price_version)" } else { "" };
        let sql = format!("SELECT 1 WHERE EXISTS (SELECT 1 FROM account WHERE {of_shard}){of_all}");
        Ok(self.row(&sql, []).await?.is_some())
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
            match self.project(&logged).await {
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
    let (transitions, prices) = match body::decode(&row.body) {
        Ok(Body::Transitions(transitions)) => (transitions, None),
        Ok(Body::Prices(book)) => (Vec::new(), Some(book)),
        // The tables had imported rows before the log had them.
        Ok(Body::Genesis(_) | Body::Imported(_)) => (Vec::new(), None),
        Err(error) => return Err(LedgerError::Unusable(format!("row {} of the log {error}", row.seq))),
    };
    Ok(Logged::new(row, transitions, prices))
}

/// The system's time, which no test moves.
pub(super) fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}

#[cfg(test)]
mod tests {
    use std::{fs, path::Path, slice, time::Duration};

    use billing::{account::Header, entry::Transition, ids::AccountId, plan::Plan};

    use super::*;
    use crate::Opening;

    const LOG: &str = "ledger-log.db";

    /// Opens the ledger, once the one that was dropped has given it back.
    async fn open(folder: &Path) -> Result<Ledger, LedgerError> {
        let url = format!("sqlite://{}/ledger.db", folder.display());
        for _ in 0..500 {
            match Ledger::open(&url, &Opening::default()).await {
                Err(LedgerError::Owned(_)) => tokio::time::sleep(Duration::from_millis(10)).await,
                opened => return opened,
            }
        }
        panic!("the ledger is not given back");
    }

    fn account() -> AccountId {
        AccountId(Uuid::from_u128(1))
    }

    /// Appends rows that nobody projects, each of one transition that moves the account's clock.
    async fn append(ledger: &Ledger, count: i64) {
        let mut tail = ledger.tail(Shard::FIRST).unwrap();
        for at in 1..=count {
            let mut header = Header::new(Plan::Free, Timestamp(0));
            header.clock = Timestamp(at);
            let row = tail.next(&[Transition::unchanged(account(), 0, Timestamp(at), header)], Timestamp(at));
            assert!(ledger.append(slice::from_ref(&row)).await.unwrap().is_empty());
            tail.advance(&row);
        }
    }

    fn head(ledger: &Ledger) -> Head {
        ledger.tail(Shard::FIRST).unwrap().head
    }

    async fn clock(ledger: &Ledger) -> Timestamp {
        ledger.load_account(account(), Timestamp(0)).await.unwrap().unwrap().header.clock
    }

    async fn with_account(folder: &Path) -> Ledger {
        let ledger = open(folder).await.unwrap();
        ledger.create_account(account(), "a@b.org", Plan::Free, Timestamp(0)).await.unwrap();
        ledger
    }

    #[tokio::test]
    async fn rows_that_were_not_projected_are_brought_in_at_the_next_start() {
        let folder = tempfile::tempdir().unwrap();
        let ledger = with_account(folder.path()).await;
        append(&ledger, 700).await;
        assert_eq!(clock(&ledger).await, Timestamp(0));
        drop(ledger);
        for _ in 0..2 {
            let again = open(folder.path()).await.unwrap();
            assert_eq!((clock(&again).await, head(&again).seq), (Timestamp(700), 701));
            assert_eq!(again.place(Shard::FIRST).await.unwrap(), Some(head(&again)));
        }
    }

    #[tokio::test]
    async fn tables_that_lost_everything_in_a_power_cut_are_made_again() {
        let (folder, empty) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        // Tables that have their schema and nothing else.
        let ledger = open(empty.path()).await.unwrap();
        ledger.tables.execute_raw(ledger.statement("DELETE FROM projection", [])).await.unwrap();
        ledger.close().await.unwrap();
        drop(ledger);
        let ledger = with_account(folder.path()).await;
        append(&ledger, 300).await;
        ledger.close().await.unwrap();
        drop(ledger);
        fs::copy(empty.path().join("ledger.db"), folder.path().join("ledger.db")).unwrap();
        let again = open(folder.path()).await.unwrap();
        assert_eq!((clock(&again).await, head(&again).seq), (Timestamp(300), 301));
    }

    #[tokio::test]
    async fn a_log_that_is_older_or_another_one_is_refused() {
        let (folder, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let ledger = with_account(folder.path()).await;
        append(&ledger, 2).await;
        ledger.close().await.unwrap();
        drop(ledger);
        fs::copy(folder.path().join(LOG), other.path().join("older")).unwrap();
        let ledger = open(folder.path()).await.unwrap();
        append(&ledger, 3).await;
        ledger.close().await.unwrap();
        drop(ledger);
        open(folder.path()).await.unwrap().close().await.unwrap();

        fs::copy(other.path().join("older"), folder.path().join(LOG)).unwrap();
        let said = open(folder.path()).await.unwrap_err().to_string();
        assert!(said.contains("ends at row 3, and the tables have row 6"), "{said}");

        let ledger = with_account(other.path()).await;
        append(&ledger, 9).await;
        ledger.close().await.unwrap();
        drop(ledger);
        fs::copy(other.path().join(LOG), folder.path().join(LOG)).unwrap();
        let said = open(folder.path()).await.unwrap_err().to_string();
        assert!(said.contains("made from another log"), "{said}");
    }
}
