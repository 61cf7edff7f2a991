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
        Head, Shard,
        body::{self, Body},
        chain::{self, Broken},
        read::Reader,
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

impl Ledger {
    /// Checks the log, and the tables as they are in this snapshot against it.
    pub(super) async fn check_log(
        &self,
        tx: &DatabaseTransaction,
        audit: &mut Audit,
        trust: Trust<'_>,
    ) -> Result<(), LedgerError> {
        let Some(log) = &self.logged else { return Ok(()) };
        let Some(place) = self.place_in(tx, Shard::ONLY).await? else { return check_begun(log, audit).await };
        let stopped = self.list_stopped(tx, audit).await?;
        let is_followed = |transition: &Transition| !stopped.contains(&transition.account_id);
        let mut tables = tables::all();
        let kept = log.checkpoint(Shard::ONLY).await?;
        if let Some(kept) = &kept {
            self.check_checkpoint(tx, audit, kept, trust).await?;
        }
        let mut apply = |transition: &Transition| {
            if is_followed(transition) {
                for table in &mut tables {
                    table.apply(transition);
                }
            }
        };
        let is_archived = match trust.archive {
            Some(folder) => self.check_archive(audit, folder, kept.as_ref(), &mut apply).await?,
            None => false,
        };
        let is_whole = (kept.is_none() || is_archived) && begins_new(log, trust).await?;
        match follow(log, place.seq, &mut apply).await {
            Ok(head) if head == place => check_rest(log, head, audit).await?,
            Ok(head) => {
                audit.note(
                    19,
                    PLACE,
                    format!("they have row {}, and the log has another one there (it ends at {})", place.seq, head.seq),
                );
                return Ok(());
            }
            Err(LedgerError::Unusable(why)) => {
                audit.note(19, CHAIN, why);
                return Ok(());
            }
            Err(error) => return Err(error),
        }
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
            if let Some(folder) = trust.archive.filter(|_| is_archived) {
                let until = kept.as_ref().map_or(0, |kept| kept.head.seq);
                read_archive(folder, until, &mut None, &mut explain)?;
            }
            follow(log, place.seq, &mut explain).await?;
        }
        for table in &tables {
            table.say(audit);
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

/// Checks the rows that the tables do not have yet, and counts them.
async fn check_rest(log: &Reader, place: Head, audit: &mut Audit) -> Result<(), LedgerError> {
    // A log that is being written has an end that moves: its present end is enough.
    let end = log.head(Shard::ONLY).await?.map_or(place, |row| row.head());
    audit.behind = end.seq.saturating_sub(place.seq);
    match follow_from(log, place, end.seq, &mut |_| {}).await {
        Ok(_) => Ok(()),
        Err(LedgerError::Unusable(why)) => {
            audit.note(19, CHAIN, why);
            Ok(())
        }
        Err(error) => Err(error),
    }
}

/// Checks a log that no tables were made from: it has nothing but a beginning.
async fn check_begun(log: &Reader, audit: &mut Audit) -> Result<(), LedgerError> {
    let Some(end) = log.head(Shard::ONLY).await? else { return Ok(()) };
    if !matches!(body::decode(&end.body), Ok(Body::Genesis(_) | Body::Imported(_))) {
        audit.behind = end.seq;
        audit.note(19, PLACE, format!("they have no place, and the log has rows up to row {}", end.seq));
    }
    Ok(())
}

/// Whether a log began with no tables before it, as far as that is known.
async fn begins_new(log: &Reader, trust: Trust<'_>) -> Result<bool, LedgerError> {
    let first = match (log.row(Shard::ONLY, 0).await?, trust.archive) {
        (None, Some(folder)) => archive::find(folder, 0)?,
        (first, _) => first,
    };
    Ok(first.as_ref().map(import::genesis_of).transpose()?.is_some_and(|genesis| !import::is_imported(&genesis)))
}

/// Follows the log from its first row, which is its newest checkpoint's if it has one, to a row, or to its end if that is
/// earlier.
async fn follow(log: &Reader, to: u64, see: &mut impl FnMut(&Transition)) -> Result<Head, LedgerError> {
    let begin = log.checkpoint(Shard::ONLY).await?.map_or(0, |kept| kept.head.seq);
    let first = log.row(Shard::ONLY, begin).await?.ok_or(Broken::Gap { after: begin, found: begin })?;
    chain::check(&first)?;
    catch_up::read(&first)?.transitions.iter().for_each(&mut *see);
    follow_from(log, first.head(), to, see).await
}

/// Follows the log from a row to a later one, or to its end if that is earlier.
async fn follow_from(
    log: &Reader,
    from: Head,
    to: u64,
    see: &mut impl FnMut(&Transition),
) -> Result<Head, LedgerError> {
    let mut head = from;
    while head.seq < to {
        let rows = log.read(Shard::ONLY, head.seq, PAGE).await?;
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
