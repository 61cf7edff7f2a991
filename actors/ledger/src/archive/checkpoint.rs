//! A checkpoint: what is signed when rows leave the log. It names the row at which the log begins from then on, and what all
//! accounts had at that row, so that a change of the tables or of the log after it is found without the rows before.

use std::path::Path;

use billing::Nanos;
use sea_orm::DatabaseTransaction;
use serde::{Deserialize, Serialize};

use super::{
    Open,
    balances::Balances,
    manifest::{from_hex, hex},
};
use crate::{
    Ledger, LedgerError,
    log::{Head, Row, read::Kept},
};

/// The version of a checkpoint's form.
const FORMAT: u32 = 1;

/// What a checkpoint says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Checkpoint {
    format: u32,
    shard: i64,
    /// The row at which the log begins.
    row: u64,
    hash: String,
    /// When that row was made, and when the checkpoint was.
    row_at: String,
    made_at: String,
    /// The number of accounts that have or had anything, and the hash over their balances at that row.
    accounts: u64,
    balances: String,
    /// The sums over all accounts, in dollars.
    totals: Totals,
}

/// The sums over all accounts, in dollars.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Totals {
    funded: String,
    available: String,
    held: String,
    spent: String,
    expired: String,
    voided: String,
    debt: String,
}

impl Totals {
    fn of(balances: &Balances) -> Self {
        let dollars =
            |nanos: i128| i64::try_from(nanos).map_or_else(|_| nanos.to_string(), |n| Nanos::new(n).to_string());
        let [funded, available, held, spent, expired, voided, debt] = balances.totals().map(dollars);
        Self { funded, available, held, spent, expired, voided, debt }
    }
}

impl Checkpoint {
    pub(super) fn new(row: &Row, balances: &Balances, now: billing::Timestamp) -> Self {
        Self {
            format: FORMAT,
            shard: row.shard.0,
            row: row.seq,
            hash: hex(&row.hash),
            row_at: row.at.to_string(),
            made_at: now.to_string(),
            accounts: balances.accounts(),
            balances: hex(&balances.root()),
            totals: Totals::of(balances),
        }
    }

    /// The text that is signed.
    pub(super) fn text(&self) -> Result<String, LedgerError> {
        serde_json::to_string(self).map_err(|error| LedgerError::Unusable(error.to_string()))
    }
}

/// By what an audit tells whether a checkpoint and an archive are right.
#[derive(Default, Clone, Copy)]
pub struct Trust<'a> {
    /// Knows what was signed; without it no signature is looked at.
    pub open: Option<Open<'a>>,
    /// The archive with the rows before the checkpoint.
    pub archive: Option<&'a Path>,
}

impl std::fmt::Debug for Trust<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Trust").field("open", &self.open.is_some()).field("archive", &self.archive).finish()
    }
}

/// Whether a checkpoint is what was signed, and names the row that it has beside it.
pub(crate) fn check_signed(kept: &Kept, open: Option<Open<'_>>) -> Result<(), String> {
    if let Some(open) = open {
        let content = open(&kept.jws)?;
        if content != kept.content {
            return Err("something else was signed".to_owned());
        }
    }
    let says: Checkpoint = serde_json::from_str(&kept.content).map_err(|error| error.to_string())?;
    let is_it = says.shard == kept.shard.0 && says.row == kept.head.seq && from_hex(&says.hash) == Some(kept.head.hash);
    if is_it { Ok(()) } else { Err(format!("it is of row {} ({})", says.row, says.hash)) }
}

impl Ledger {
    /// What the tables and the log have otherwise than a checkpoint says of the balances at its row.
    pub(crate) async fn balances_differ(
        &self,
        tx: &DatabaseTransaction,
        kept: &Kept,
        place: Head,
    ) -> Result<Option<String>, LedgerError> {
        let Some(log) = &self.logged else { return Ok(None) };
        let Ok(says) = serde_json::from_str::<Checkpoint>(&kept.content) else { return Ok(None) };
        let found = self.balances_at(tx, log, kept.shard, kept.head, place).await?;
        let (root, totals) = (hex(&found.root()), Totals::of(&found));
        if root == says.balances && totals == says.totals && found.accounts() == says.accounts {
            return Ok(None);
        }
        Ok(Some(format!(
            "expected {} of {} accounts, {:?}; found {root} of {} accounts, {totals:?}",
            says.balances,
            says.accounts,
            says.totals,
            found.accounts()
        )))
    }
}
