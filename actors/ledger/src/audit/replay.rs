//! Invariant 19: the log's chain is whole, and the tables are what the log makes of them up to their place. The log is
//! read once, from its first row. Of each row that it makes, [`tables`] remember a hash of the last state; then each table is
//! read once too, in the order of its keys. Only where a row differs the log is read again, to say what was expected.

use std::collections::HashSet;

use billing::{entry::Transition, ids::AccountId};
use sea_orm::{ConnectionTrait, DatabaseTransaction};
use uuid::Uuid;

use super::{Audit, Trust, begin::read_archive, tables};
use crate::{
    Ledger, LedgerError, archive, catch_up, import,
    log::{
        Head, Shard, Shards,
        body::{self, Body},
        chain::{self, Broken},
        read::{Kept, Reader},
    },
};

/// The chain in words.
const CHAIN: &str = "log is not whole";
/// The place in words.
const PLACE: &str = "tables are not at a row of this log";
/// An account that the tables do not follow.
const STOPPED: &str = "account's rows can't be made from the log";

/// The checks of this file. Those of the tables are [`tables::checks`].
pub(super) const CHECKS: [&str; 3] = [CHAIN, PLACE, STOPPED];

/// Rows of the log that are read at once.
const PAGE: usize = 256;

/// A shard whose log was followed up to the tables' place.
struct Followed {
    shard: Shard,
    place: Head,
    kept: Option<Kept>,
    /// Whether the archive has all rows before the log's.
    is_archived: bool,
    /// Whether the tables' rows are all of the log's making, and all those rows were seen.
    is_whole: bool,
}

impl Ledger {
    /// Checks the logs of all shards, and the tables as they are in this snapshot against them.
    pub(super) async fn check_log(
        &self,
        tx: &DatabaseTransaction,
        audit: &mut Audit,
        trust: Trust<'_>,
    ) -> Result<(), LedgerError> {
        let Some(log) = &self.logged else { return Ok(()) };
        let stopped = self.list_stopped(tx, audit).await?;
        let is_followed = |transition: &Transition| !stopped.contains(&transition.account_id);
        let mut tables = tables::all();
        let mut apply = |transition: &Transition| {
            if is_followed(transition) {
                for table in &mut tables {
                    table.apply(transition);
                }
            }
        };
        let mut followed = Vec::new();
        for shard in self.shards.all() {
            followed.extend(self.check_shard(tx, audit, (log, shard), trust, &mut apply).await?);
        }
        if followed.len() < self.shards.count().into() {
            // The tables can't be compared with what was not followed.
            return Ok(());
        }
        let is_whole = followed.iter().all(|shard| shard.is_whole);
        for table in &mut tables {
            while !table.is_done() {
                let (sql, after) = table.next();
                table.compare(&tx.query_all_raw(self.statement(sql, after)).await?, is_whole)?;
            }
        }
        if tables.iter().any(|table| table.has_differences()) {
            let mut explain = |transition: &Transition| {
                if is_followed(transition) {
                    for table in &mut tables {
                        table.explain(transition);
                    }
                }
            };
            for Followed { shard, place, kept, is_archived, .. } in &followed {
                if let Some(folder) = trust.archive.filter(|_| *is_archived) {
                    let until = kept.as_ref().map_or(0, |kept| kept.head.seq);
                    read_archive(folder, *shard, until, &mut None, &mut explain)?;
                }
                follow(log, *shard, place.seq, &mut explain).await?;
            }
        }
        for table in &tables {
            table.say(audit);
        }
        Ok(())
    }

    /// Checks a shard's log, and shows its transitions up to the tables' place. Returns `None` if it could not be
    /// followed, which is a violation, unless neither it nor the tables have anything.
    async fn check_shard(
        &self,
        tx: &DatabaseTransaction,
        audit: &mut Audit,
        (log, shard): (&Reader, Shard),
        trust: Trust<'_>,
        see: &mut impl FnMut(&Transition),
    ) -> Result<Option<Followed>, LedgerError> {
        let Some(place) = self.place_in(tx, shard).await? else {
            self.check_begun(log, shard, audit).await?;
            return Ok(None);
        };
        let kept = log.checkpoint(shard).await?;
        if let Some(kept) = &kept {
            self.check_checkpoint(tx, audit, kept, trust).await?;
        }
        let is_archived = match trust.archive {
            Some(folder) => self.check_archive(audit, folder, shard, kept.as_ref(), see).await?,
            None => false,
        };
        let is_whole = (kept.is_none() || is_archived) && begins_new(log, shard, trust).await?;
        match follow(log, shard, place.seq, see).await {
            Ok(head) if head == place => self.check_rest(log, shard, head, audit).await?,
            Ok(head) => {
                let why =
                    format!("they have row {}, and the log has another one there (it ends at {})", place.seq, head.seq);
                audit.note(19, PLACE, self.of_shard(shard, &why));
                return Ok(None);
            }
            Err(LedgerError::Unusable(why)) => {
                audit.note(19, CHAIN, self.of_shard(shard, &why));
                return Ok(None);
            }
            Err(error) => return Err(error),
        }
        Ok(Some(Followed { shard, place, kept, is_archived, is_whole }))
    }

    /// What is said of a shard. Of a ledger with one the shard is not named.
    pub(super) fn of_shard(&self, shard: Shard, why: &str) -> String {
        if self.shards == Shards::ONE { why.to_owned() } else { format!("shard {}: {why}", shard.0) }
    }

    /// Checks the rows that the tables do not have yet, and counts them.
    async fn check_rest(&self, log: &Reader, shard: Shard, place: Head, audit: &mut Audit) -> Result<(), LedgerError> {
        // A log that is being written has an end that moves: its present end is enough.
        let end = log.head(shard).await?.map_or(place, |row| row.head());
        audit.behind += end.seq.saturating_sub(place.seq);
        match follow_from(log, shard, place, end.seq, &mut |_| {}).await {
            Ok(_) => Ok(()),
            Err(LedgerError::Unusable(why)) => {
                audit.note(19, CHAIN, self.of_shard(shard, &why));
                Ok(())
            }
            Err(error) => Err(error),
        }
    }

    /// Checks a log that no tables were made from: it has nothing but a beginning.
    async fn check_begun(&self, log: &Reader, shard: Shard, audit: &mut Audit) -> Result<(), LedgerError> {
        let Some(end) = log.head(shard).await? else { return Ok(()) };
        if !matches!(body::decode(&end.body), Ok(Body::Genesis(_) | Body::Imported(_))) {
            audit.behind += end.seq;
            let why = format!("they have no place, and the log has rows up to row {}", end.seq);
            audit.note(19, PLACE, self.of_shard(shard, &why));
        }
        Ok(())
    }

    async fn list_stopped(
        &self,
        tx: &DatabaseTransaction,
        audit: &mut Audit,
    ) -> Result<HashSet<AccountId>, LedgerError> {
        let mut stopped = HashSet::new();
        for row in tx.query_all_raw(self.statement("SELECT account_id, why FROM projection_fault", [])).await? {
            let (id, why): (Uuid, String) = (row.try_get_by_index(0)?, row.try_get_by_index(1)?);
            audit.note(19, STOPPED, format!("{id}: {why}"));
            stopped.insert(AccountId(id));
        }
        Ok(stopped)
    }
}

/// Whether a log began with no tables before it, as far as that is known.
async fn begins_new(log: &Reader, shard: Shard, trust: Trust<'_>) -> Result<bool, LedgerError> {
    let first = match (log.row(shard, 0).await?, trust.archive) {
        (None, Some(folder)) => archive::find(folder, shard, 0)?,
        (first, _) => first,
    };
    Ok(first.as_ref().map(import::genesis_of).transpose()?.is_some_and(|genesis| !import::is_imported(&genesis)))
}

/// Follows the log from its first row, which is its newest checkpoint's if it has one, to a row, or to its end if that is
/// earlier.
async fn follow(log: &Reader, shard: Shard, to: u64, see: &mut impl FnMut(&Transition)) -> Result<Head, LedgerError> {
    let begin = log.checkpoint(shard).await?.map_or(0, |kept| kept.head.seq);
    let first = log.row(shard, begin).await?.ok_or(Broken::Gap { after: begin, found: begin })?;
    chain::check(&first)?;
    catch_up::read(&first)?.transitions.iter().for_each(&mut *see);
    follow_from(log, shard, first.head(), to, see).await
}

/// Follows the log from a row to a later one, or to its end if that is earlier.
async fn follow_from(
    log: &Reader,
    shard: Shard,
    from: Head,
    to: u64,
    see: &mut impl FnMut(&Transition),
) -> Result<Head, LedgerError> {
    let mut head = from;
    while head.seq < to {
        let rows = log.read(shard, head.seq, PAGE).await?;
        if rows.is_empty() {
            break;
        }
        for row in rows.into_iter().take_while(|row| row.seq <= to) {
            head = chain::follow(head, &row)?;
            for transition in &catch_up::read(&row)?.transitions {
                see(transition);
            }
        }
    }
    Ok(head)
}
