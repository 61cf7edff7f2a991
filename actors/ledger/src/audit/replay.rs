//! Invariant 19: the log's chain is whole, and the tables are what the log makes of them up to their place. The log is
//! read once, from its first row; of each account, grant and hold the last state in the log is compared with its row.

use std::collections::{BTreeMap, BTreeSet};

use billing::{
    account::Header,
    entry::Transition,
    grant::Grant,
    ids::{AccountId, GrantId, RequestId},
};
use sea_orm::{ConnectionTrait, DatabaseTransaction};
use uuid::Uuid;

use super::Audit;
use crate::{
    Ledger, LedgerError, catch_up, load,
    log::{
        Head, Shard,
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
/// The comparisons in words.
const ACCOUNT: &str = "account's row is not what the log says";
const GRANT: &str = "grant's row is not what the log says";
const HOLD: &str = "open holds are not those of the log";

/// All checks of this file.
pub(super) const CHECKS: [&str; 6] = [CHAIN, PLACE, STOPPED, ACCOUNT, GRANT, HOLD];

/// Rows read at once.
const PAGE: usize = 256;

/// The last states in the log.
#[derive(Default)]
pub(super) struct Last {
    headers: BTreeMap<AccountId, Header>,
    grants: BTreeMap<GrantId, Grant>,
    /// Holds that were placed and did not end.
    holds: BTreeSet<RequestId>,
    /// Holds that ended.
    ended: BTreeSet<RequestId>,
}

impl Last {
    pub(super) fn apply(&mut self, transition: Transition) {
        self.headers.insert(transition.account_id, transition.header);
        self.grants.extend(transition.grants.into_iter().map(|grant| (grant.id, grant)));
        self.holds.extend(transition.hold.map(|hold| hold.request_id));
        if let Some(request) = transition.ended {
            self.holds.remove(&request);
            self.ended.insert(request);
        }
    }
}

impl Ledger {
    /// Checks the log, and the tables as they are in this snapshot against it. `last` is what is known from before it.
    pub(super) async fn check_log(
        &self,
        tx: &DatabaseTransaction,
        audit: &mut Audit,
        mut last: Last,
    ) -> Result<(), LedgerError> {
        let Some(log) = &self.logged else { return Ok(()) };
        let place = "SELECT seq, hash FROM projection WHERE shard = ?";
        let place = tx.query_one_raw(self.statement(place, [Shard::ONLY.0.into()])).await?;
        let Some(place) = place else { return Ok(()) };
        let (seq, hash): (i64, Vec<u8>) = (place.try_get_by_index(0)?, place.try_get_by_index(1)?);
        let seq = seq.unsigned_abs();
        match follow(log, seq, &mut last).await {
            Ok(head) if head.seq == seq && head.hash[..] == hash[..] => check_rest(log, head, audit).await?,
            Ok(head) => {
                audit.say(
                    PLACE,
                    format!("they have row {seq}, and the log has another one there (it ends at {})", head.seq),
                );
                return Ok(());
            }
            Err(LedgerError::Unusable(why)) => {
                audit.say(CHAIN, why);
                return Ok(());
            }
            Err(error) => return Err(error),
        }
        let stopped = self.list_stopped(tx, audit).await?;
        self.compare_accounts(tx, audit, &last, &stopped).await?;
        self.compare_grants(tx, audit, &last, &stopped).await?;
        self.compare_holds(tx, audit, &last, &stopped).await
    }

    async fn list_stopped(&self, tx: &DatabaseTransaction, audit: &mut Audit) -> Result<BTreeSet<Uuid>, LedgerError> {
        let mut stopped = BTreeSet::new();
        for row in tx.query_all_raw(self.statement("SELECT account_id, why FROM projection_fault", [])).await? {
            let (id, why): (Uuid, String) = (row.try_get_by_index(0)?, row.try_get_by_index(1)?);
            audit.say(STOPPED, format!("{id}: {why}"));
            stopped.insert(id);
        }
        Ok(stopped)
    }

    async fn compare_accounts(
        &self,
        tx: &DatabaseTransaction,
        audit: &mut Audit,
        last: &Last,
        stopped: &BTreeSet<Uuid>,
    ) -> Result<(), LedgerError> {
        let sql = "SELECT plan, created_at, subscribed_until, debt, charged, seq, clock, wake_at, revision FROM account WHERE id = ?";
        for (id, header) in last.headers.iter().filter(|(id, _)| !stopped.contains(&id.0)) {
            let row = tx.query_one_raw(self.statement(sql, [id.0.into()])).await?;
            let found = row.as_ref().map(load::header).transpose()?;
            if found.as_ref() != Some(header) {
                audit.say(ACCOUNT, format!("{}: expected {header:?}, found {found:?}", id.0));
            }
        }
        Ok(())
    }

    async fn compare_grants(
        &self,
        tx: &DatabaseTransaction,
        audit: &mut Audit,
        last: &Last,
        stopped: &BTreeSet<Uuid>,
    ) -> Result<(), LedgerError> {
        let sql = format!("SELECT account_id, {} FROM credit_grant WHERE id = ?", load::GRANT);
        for (id, grant) in &last.grants {
            let row = tx.query_one_raw(self.statement(&sql, [id.0.into()])).await?;
            let account: Option<Uuid> = row.as_ref().map(|row| row.try_get("", "account_id")).transpose()?;
            if account.is_some_and(|account| stopped.contains(&account)) {
                continue;
            }
            let found = row.as_ref().map(load::grant).transpose()?;
            if found.as_ref() != Some(grant) {
                audit.say(GRANT, format!("{}: expected {grant:?}, found {found:?}", id.0));
            }
        }
        Ok(())
    }

    async fn compare_holds(
        &self,
        tx: &DatabaseTransaction,
        audit: &mut Audit,
        last: &Last,
        stopped: &BTreeSet<Uuid>,
    ) -> Result<(), LedgerError> {
        let mut found = BTreeSet::new();
        for row in tx.query_all_raw(self.statement("SELECT account_id, request_id FROM hold", [])).await? {
            let (account, request): (Uuid, Uuid) = (row.try_get_by_index(0)?, row.try_get_by_index(1)?);
            let request = RequestId(request);
            if last.ended.contains(&request) && !stopped.contains(&account) {
                audit.say(HOLD, format!("{}: it has ended, and its hold is there", request.0));
            }
            found.insert(request);
        }
        // A stopped account's holds can't be told from here: they are listed with their account.
        if stopped.is_empty() {
            for request in last.holds.difference(&found) {
                audit.say(HOLD, format!("{}: it has not ended, and its hold is not there", request.0));
            }
        }
        Ok(())
    }
}

/// Checks the rows that the tables do not have yet.
async fn check_rest(log: &Reader, place: Head, audit: &mut Audit) -> Result<(), LedgerError> {
    // A log that is being written has an end that moves: its present end is enough.
    let end = log.head(Shard::ONLY).await?.map_or(place, |row| row.head());
    match follow_from(log, place, end.seq, &mut Last::default()).await {
        Ok(_) => Ok(()),
        Err(LedgerError::Unusable(why)) => {
            audit.say(CHAIN, why);
            Ok(())
        }
        Err(error) => Err(error),
    }
}

/// Follows the log from its first row, which is its newest checkpoint's if it has one, to a row, or to its end if that is earlier.
async fn follow(log: &Reader, to: u64, last: &mut Last) -> Result<Head, LedgerError> {
    let begin = log.checkpoint(Shard::ONLY).await?.map_or(0, |kept| kept.head.seq);
    let first = log.row(Shard::ONLY, begin).await?.ok_or(Broken::Gap { after: begin, found: begin })?;
    chain::check(&first)?;
    catch_up::read(&first)?.transitions.into_iter().for_each(|transition| last.apply(transition));
    follow_from(log, first.head(), to, last).await
}

/// Follows the log from a row to a later one, or to its end if that is earlier.
async fn follow_from(log: &Reader, from: Head, to: u64, last: &mut Last) -> Result<Head, LedgerError> {
    let mut head = from;
    while head.seq < to {
        let rows = log.read(Shard::ONLY, head.seq, PAGE).await?;
        if rows.is_empty() {
            break;
        }
        for row in rows.into_iter().take_while(|row| row.seq <= to) {
            head = chain::follow(head, &row)?;
            catch_up::read(&row)?.transitions.into_iter().for_each(|transition| last.apply(transition));
        }
    }
    Ok(head)
}
