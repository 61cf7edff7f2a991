//! The projection: the tables that people read, made from the log's rows afterwards. A call applies several rows of the
//! log in one transaction, which also stores the new place, so that a row is applied once whatever happens. States (of a
//! grant, a hold, an account) are written once per call, in their last form; facts are all written.
//!
//! A row that the database refuses stops its account alone: the account's part is undone, the fault is recorded, and the
//! account's transitions are skipped from then on. This file knows nothing of how the log is stored.

pub(super) mod account;
mod merge;
mod purchase;
pub(super) mod record;
mod resources;
#[cfg(test)]
mod tests;

use std::{
    borrow::Borrow,
    collections::{BTreeMap, HashSet},
};

use billing::{Timestamp, entry::Transition, ids::AccountId};
use sea_orm::{ConnectionTrait as _, DatabaseTransaction};
use uuid::Uuid;

use self::merge::Merged;
use super::{
    Ledger, LedgerError,
    log::{Hash, Head, Row, Shard, body::PriceBook},
    rollup,
    rows::{Rows, Write},
    transaction::Transaction,
};

/// A row of the log whose transitions are to be projected.
#[derive(Debug, Clone)]
pub struct Logged {
    /// The shard whose log it is.
    pub shard: Shard,
    /// The row's number.
    pub seq: u64,
    /// The row's hash.
    pub hash: Hash,
    /// The hash of the row before.
    pub prev_hash: Hash,
    /// The epoch of the owner that appended the row.
    pub epoch: i64,
    /// The time at which the row was made.
    pub at: Timestamp,
    /// The transitions, if the row is a batch of them.
    pub transitions: Vec<Transition>,
    /// The price book, if the row is one.
    pub prices: Option<PriceBook>,
}

impl Logged {
    /// The row's id in the tables.
    fn batch_id(&self) -> Uuid {
        batch_id(&self.hash)
    }
}

/// The id in the tables of a row with this hash.
pub(super) fn batch_id(hash: &Hash) -> Uuid {
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&hash[..16]);
    uuid::Builder::from_custom_bytes(bytes).into_uuid()
}

impl Logged {
    /// A row of the log that carries this.
    pub fn new(row: &Row, transitions: Vec<Transition>, prices: Option<PriceBook>) -> Self {
        let Row { shard, seq, hash, prev_hash, epoch, at, .. } = *row;
        Self { shard, seq, hash, prev_hash, epoch, at, transitions, prices }
    }

    /// The row as the end of its log.
    pub const fn head(&self) -> Head {
        Head { seq: self.seq, hash: self.hash }
    }
}

/// The rows of several shards that tables at these places still lack; `None` if a place is of another log.
pub fn lacking_of_all(rows: &[Logged], places: &BTreeMap<Shard, Head>) -> Option<Vec<Logged>> {
    let mut lacking_of_all = Vec::new();
    for rows in by_shard(rows).into_values() {
        let rest = match rows.first().and_then(|row| places.get(&row.shard)) {
            Some(place) => lacking(&rows, *place)?,
            None => &rows[..],
        };
        lacking_of_all.extend(rest.iter().map(|row| (*row).clone()));
    }
    Some(lacking_of_all)
}

/// The rows of each shard, in their order.
fn by_shard(rows: &[Logged]) -> BTreeMap<Shard, Vec<&Logged>> {
    let mut by_shard = BTreeMap::<_, Vec<_>>::new();
    for row in rows {
        by_shard.entry(row.shard).or_default().push(row);
    }
    by_shard
}

/// The rows that tables at a place still lack. Whatever brought the tables there, an earlier try or another process, took
/// the rows from the same log; `None` if it was another log.
pub fn lacking<R: Borrow<Logged>>(rows: &[R], place: Head) -> Option<&[R]> {
    let is_other = |row: &R| row.borrow().seq == place.seq && row.borrow().hash != place.hash;
    if rows.iter().any(is_other) || rows.first().is_some_and(|row| row.borrow().seq > place.seq + 1) {
        return None;
    }
    let known = rows.iter().take_while(|row| (*row).borrow().seq <= place.seq).count();
    rows.get(known..)
}

/// An account whose rows can't be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stopped {
    /// The account.
    pub account_id: AccountId,
    /// The reason of the database.
    pub why: String,
}

/// A transition with its row of the log.
#[derive(Debug, Clone, Copy)]
pub(super) struct Entry<'a> {
    pub(super) transition: &'a Transition,
    pub(super) batch_id: Uuid,
    pub(super) epoch: i64,
}

/// The transitions of each account, with the row of the log that has the first of them.
type Parts<'a> = BTreeMap<AccountId, (&'a Logged, Vec<Entry<'a>>)>;

impl Ledger {
    /// Applies rows of the logs of some shards, each log's in their order, to the tables, in one transaction that also
    /// stores the new places. Returns the accounts that this call stopped.
    ///
    /// # Errors
    ///
    /// [`LedgerError::Fenced`]: the tables are further on, and nothing was written. [`LedgerError::Corrupt`]: the tables
    /// are at another place, or the rows do not follow one another; nothing was written.
    /// [`LedgerError::Refused`]: a row that belongs to no account breaks a rule of the database; nothing was written. All
    /// other errors leave the outcome unknown: [`Ledger::place`] tells.
    pub async fn project(&self, rows: &[Logged]) -> Result<Vec<Stopped>, LedgerError> {
        self.standing.unless_broken(self.project_rows(rows)).await
    }

    async fn project_rows(&self, rows: &[Logged]) -> Result<Vec<Stopped>, LedgerError> {
        let moves = moves(rows)?;
        match self.project_together(&moves, rows).await {
            Err(LedgerError::Refused(why)) => {
                tracing::error!(why, "the database refused a row: each account is projected by itself");
                self.project_apart(&moves, rows).await
            }
            done => done.map(|()| Vec::new()),
        }
    }

    async fn project_together(&self, moves: &[Move], rows: &[Logged]) -> Result<(), LedgerError> {
        let mut tx = self.tables.begin_to_write().await?;
        move_places(&mut tx, moves).await?;
        let stopped = stopped(&mut tx).await?;
        let entries = entries(rows).map(|(_, entry)| entry);
        let entries = entries.filter(|entry| !stopped.contains(&entry.transition.account_id)).collect();
        write_facts(&mut tx, rows).await?;
        write_entries(&mut tx, entries).await?;
        self.commit(tx).await
    }

    /// Applies each account's part under a savepoint of its own.
    async fn project_apart(&self, moves: &[Move], rows: &[Logged]) -> Result<Vec<Stopped>, LedgerError> {
        let mut tx = self.tables.begin_to_write().await?;
        move_places(&mut tx, moves).await?;
        let known = stopped(&mut tx).await?;
        write_facts(&mut tx, rows).await?;
        let mut parts = Parts::new();
        for (row, entry) in entries(rows) {
            parts.entry(entry.transition.account_id).or_insert_with(|| (row, Vec::new())).1.push(entry);
        }
        let mut stopped = Vec::new();
        for (account_id, (first, entries)) in parts {
            if known.contains(&account_id) {
                continue;
            }
            tx.begin_part().await?;
            match write_entries(&mut tx, entries).await {
                Ok(()) => tx.keep_part().await?,
                Err(LedgerError::Refused(why)) => {
                    tx.undo_part().await?;
                    stop_account(&mut tx, account_id, first, &why).await?;
                    stopped.push(Stopped { account_id, why });
                }
                Err(error) => return Err(error),
            }
        }
        self.commit(tx).await?;
        for Stopped { account_id, why } in &stopped {
            tracing::error!(account.id = %account_id, why, "ACCOUNT STOPPED: its rows can't be made from the log");
        }
        Ok(stopped)
    }

    /// Commits. A commit to files that the next start will not open counts as failed.
    pub(super) async fn commit(&self, tx: Transaction) -> Result<(), LedgerError> {
        tx.commit().await?;
        self.tables.look()
    }

    /// All accounts that are stopped, as the tables have them.
    ///
    /// # Errors
    ///
    /// The database can't be read now: try again later.
    pub async fn stopped_accounts(&self) -> Result<Vec<Stopped>, LedgerError> {
        let sql = "SELECT account_id, why FROM projection_fault";
        let rows = self.as_they_are.query_all_raw(self.statement(sql, [])).await?;
        let stopped = |row: &sea_orm::QueryResult| {
            Ok(Stopped { account_id: AccountId(row.try_get_by_index(0)?), why: row.try_get_by_index(1)? })
        };
        rows.iter().map(stopped).collect()
    }

    /// How far the tables are in each shard that has a place.
    ///
    /// # Errors
    ///
    /// As for [`Self::place`].
    pub async fn places(&self) -> Result<BTreeMap<Shard, Head>, LedgerError> {
        let rows =
            self.as_they_are.query_all_raw(self.statement("SELECT seq, hash, shard FROM projection", [])).await?;
        rows.iter().map(place_of_shard).collect()
    }

    /// How far the tables are; `None` before the first place.
    ///
    /// # Errors
    ///
    /// The database can't be read now: try again later. The place is [`LedgerError::Corrupt`]: an operator must examine
    /// the database.
    pub async fn place(&self, shard: Shard) -> Result<Option<Head>, LedgerError> {
        // By a connection that does not write: it sees what was committed, and nothing else.
        let row = self.as_they_are.query_one_raw(self.statement(PLACE, [shard.0.into()])).await?;
        row.as_ref().map(place).transpose()
    }

    /// How far the tables are in a snapshot.
    pub(super) async fn place_in(&self, tx: &DatabaseTransaction, shard: Shard) -> Result<Option<Head>, LedgerError> {
        let row = tx.query_one_raw(self.statement(PLACE, [shard.0.into()])).await?;
        row.as_ref().map(place).transpose()
    }

    /// Stores the first place of the tables. If it is stored already, nothing changes.
    ///
    /// # Errors
    ///
    /// [`LedgerError::Corrupt`]: the tables have another place. All other errors leave the outcome unknown; repeating
    /// the call is safe.
    pub async fn begin_place(&self, shard: Shard, genesis: Head) -> Result<(), LedgerError> {
        let sql = "INSERT INTO projection (shard, seq, hash) VALUES (?, ?, ?) ON CONFLICT (shard) DO NOTHING";
        let values = [shard.0.into(), number(genesis.seq)?.into(), genesis.hash.to_vec().into()];
        self.tables.execute_raw(self.statement(sql, values)).await?;
        match self.place(shard).await? {
            Some(place) if place != genesis => {
                let (place, genesis) = (spelled(place), spelled(genesis));
                Err(LedgerError::Corrupt(format!(
                    "the tables are at the log's row {place}, and begin at row {genesis}"
                )))
            }
            _ => Ok(()),
        }
    }
}

/// Writes the rows that belong to no account.
async fn write_facts(tx: &mut Transaction, rows: &[Logged]) -> Result<(), LedgerError> {
    tx.write(batch_rows(rows)).await?;
    tx.write(price_rows(rows)).await?;
    Ok(())
}

/// How one shard's place moves.
#[derive(Debug, Clone, Copy)]
pub(super) struct Move {
    shard: Shard,
    from: Head,
    to: Head,
}

/// How the places move over rows, each shard's in their order.
///
/// # Errors
///
/// [`LedgerError::Corrupt`]: the rows of a shard do not follow one another.
pub(super) fn moves(rows: &[Logged]) -> Result<Vec<Move>, LedgerError> {
    let mut moves = Vec::new();
    for (shard, rows) in by_shard(rows) {
        follow_one_another(&rows)?;
        if let Some((first, last)) = rows.first().zip(rows.last()) {
            let from = Head { seq: first.seq.saturating_sub(1), hash: first.prev_hash };
            moves.push(Move { shard, from, to: last.head() });
        }
    }
    Ok(moves)
}

/// Moves the places, or finds out why that is impossible.
pub(super) async fn move_places(tx: &mut Transaction, moves: &[Move]) -> Result<(), LedgerError> {
    for Move { shard, from, to } in moves {
        let sql = "UPDATE projection SET seq = ?, hash = ? WHERE shard = ? AND seq = ? AND hash = ?";
        let values = [
            number(to.seq)?.into(),
            to.hash.as_slice().into(),
            shard.0.into(),
            number(from.seq)?.into(),
            from.hash.as_slice().into(),
        ];
        if tx.execute(sql, values).await? == 1 {
            continue;
        }
        let row = tx.rows(PLACE, shard.0).await?.pop();
        return match row.map(head).transpose()? {
            Some(place) if place.seq > from.seq => Err(LedgerError::Fenced),
            Some(place) => {
                let (place, from) = (spelled(place), spelled(*from));
                Err(LedgerError::Corrupt(format!("the tables are at the log's row {place}, not at row {from}")))
            }
            None => Err(LedgerError::Corrupt(format!("the tables of shard {} have no place in the log", shard.0))),
        };
    }
    Ok(())
}

async fn stopped(tx: &mut Transaction) -> Result<HashSet<AccountId>, LedgerError> {
    let rows: Vec<(Uuid,)> = tx.rows("SELECT account_id FROM projection_fault WHERE shard >= ?", 0).await?;
    Ok(rows.into_iter().map(|(id,)| AccountId(id)).collect())
}

async fn stop_account(
    tx: &mut Transaction,
    account_id: AccountId,
    first: &Logged,
    why: &str,
) -> Result<(), LedgerError> {
    let sql = "INSERT INTO projection_fault (account_id, shard, seq, at, why) VALUES (?, ?, ?, ?, ?)";
    let values = [account_id.0.into(), first.shard.0.into(), number(first.seq)?.into(), first.at.0.into(), why.into()];
    tx.execute(sql, values).await?;
    Ok(())
}

/// Writes transitions, in the log's order. What changes where events are delivered is written after the events
/// before it, and before those after it.
async fn write_entries(tx: &mut Transaction, entries: Vec<Entry<'_>>) -> Result<(), LedgerError> {
    for part in entries.chunk_by(|_, next| !resources::changes_endpoints(next.transition)) {
        write_part(tx, part.to_vec()).await?;
    }
    Ok(())
}

async fn write_part(tx: &mut Transaction, mut entries: Vec<Entry<'_>>) -> Result<(), LedgerError> {
    let merged = Merged::new(&entries);
    // An account's facts are neighbours in most tables.
    entries.sort_by_key(|entry| entry.transition.account_id);
    for table in 0.. {
        let Some(rows) = rows(table, &entries, &merged) else { return Ok(()) };
        let expected = (table == ACCOUNTS).then(|| rows.len() as u64);
        let changed = tx.write(rows).await?;
        if expected.is_some_and(|expected| changed < expected) {
            return Err(LedgerError::Refused("an account is not there".into()));
        }
    }
    Ok(())
}

/// The reason of an account's fault in the tables.
pub(super) fn fault(why: &str) -> LedgerError {
    LedgerError::Corrupt(format!("its rows can't be made from the log: {why}"))
}

const PLACE: &str = "SELECT seq, hash FROM projection WHERE shard = ?";

pub(super) fn place(row: &sea_orm::QueryResult) -> Result<Head, LedgerError> {
    head((row.try_get_by_index(0)?, row.try_get_by_index(1)?))
}

/// A place, with its shard in the third column.
pub(super) fn place_of_shard(row: &sea_orm::QueryResult) -> Result<(Shard, Head), LedgerError> {
    Ok((Shard(row.try_get_by_index(2)?), place(row)?))
}

fn head((seq, hash): (i64, Vec<u8>)) -> Result<Head, LedgerError> {
    let corrupt = || LedgerError::Corrupt(format!("the place of the tables: row {seq}"));
    Ok(Head { seq: u64::try_from(seq).map_err(|_| corrupt())?, hash: hash.try_into().map_err(|_| corrupt())? })
}

fn spelled(Head { seq, hash }: Head) -> String {
    let [a, b, c, d, ..] = hash;
    format!("{seq} ({a:02x}{b:02x}{c:02x}{d:02x})")
}

fn number(seq: u64) -> Result<i64, LedgerError> {
    i64::try_from(seq).map_err(|_| LedgerError::Corrupt(format!("the log's row {seq}")))
}

fn follow_one_another(rows: &[&Logged]) -> Result<(), LedgerError> {
    match rows.windows(2).find(|pair| pair[1].seq != pair[0].seq + 1 || pair[1].prev_hash != pair[0].hash) {
        Some(pair) => {
            Err(LedgerError::Corrupt(format!("the log's row {} does not follow row {}", pair[1].seq, pair[0].seq)))
        }
        None => Ok(()),
    }
}

fn entries(rows: &[Logged]) -> impl Iterator<Item = (&Logged, Entry<'_>)> {
    rows.iter().flat_map(|row| {
        let (batch_id, epoch) = (row.batch_id(), row.epoch);
        row.transitions.iter().map(move |transition| (row, Entry { transition, batch_id, epoch }))
    })
}

/// The table of the accounts' own rows in [`rows`].
const ACCOUNTS: u32 = 1;

/// The rows of a call, table by table, in the order that references and checks need. Each table's rows are made in its
/// turn, so that a large call is never in memory twice.
fn rows<'a>(table: u32, entries: &[Entry<'a>], merged: &Merged<'a>) -> Option<Rows<'a>> {
    Some(match table {
        0 => account::opened_rows(entries),
        1 => account::account_rows(merged),
        2 => account::wake_rows(merged),
        3 => account::grant_rows(merged),
        4 => account::hold_rows(merged),
        5 => account::ended_rows(merged),
        6 => record::journal_rows(entries),
        7 => record::usage_rows(entries),
        8 => rollup::rows(entries),
        9 => purchase::payment_rows(merged),
        10 => purchase::subscription_rows(merged),
        11 => purchase::automatic_rows(merged),
        12 => purchase::window_rows(merged),
        13 => resources::revision_rows(merged),
        14 => resources::opened_key_rows(merged),
        15 => resources::revoked_key_rows(merged),
        16 => resources::customer_rows(merged),
        17 => resources::card_rows(merged),
        18 => resources::chosen_card_rows(merged),
        19 => resources::payment_card_rows(merged),
        20 => resources::endpoint_rows(merged),
        21 => resources::ended_delivery_rows(merged),
        22 => resources::deleted_endpoint_rows(merged),
        23 => resources::deleted_delivery_rows(merged),
        24 => record::event_rows(entries),
        25 => record::notice_rows(merged),
        26 => record::action_rows(entries),
        27 => record::proof_rows(entries),
        28 => record::beyond_rows(merged),
        29 => account::taken_rows(merged),
        30 => purchase::reversal_rows(merged),
        31 => record::attempt_rows(entries),
        32 => resources::member_rows(merged),
        33 => resources::left_member_rows(merged),
        34 => resources::key_alert_rows(merged),
        35 => rollup::session_rows(entries),
        _ => return None,
    })
}

/// One row for each row of the log. The genesis has no transitions, and no row here.
fn batch_rows(rows: &[Logged]) -> Rows<'_> {
    let mut batches = Rows::new(&BATCH, 6, rows.len());
    for row in rows.iter().filter(|row| !row.transitions.is_empty()) {
        let (transitions, hash) = (row.transitions.len() as u64, &row.hash[..]);
        batches.push([
            row.batch_id().into(),
            row.epoch.into(),
            row.at.0.into(),
            transitions.into(),
            row.seq.into(),
            hash.into(),
        ]);
    }
    batches
}

fn price_rows(rows: &[Logged]) -> Rows<'_> {
    static WRITE: Write = Write::new("INSERT INTO price_version (version, hash, at, prices)", "");
    let mut books = Rows::new(&WRITE, 4, 0);
    for PriceBook { version, hash, at, prices } in rows.iter().filter_map(|row| row.prices.as_ref()) {
        books.push([(*version).into(), hash.as_str().into(), at.0.into(), prices.as_str().into()]);
    }
    books
}

pub(super) static BATCH: Write = Write::new("INSERT INTO batch (id, epoch, at, transitions, seq, hash)", "");

/// Reads the owner's epoch.
pub(super) const EPOCH: &str = "SELECT epoch FROM shard_lease WHERE shard = 0";
