//! The auditor: replays the journal, compares it with the tables, and checks the invariants of the design's chapter 2.9
//! that the database can show. It reads one snapshot, so it may run beside a working process.

use std::str::FromStr;

use billing::{
    Nanos,
    price::{Cost, Parts},
    quantity::{Direction, Kind},
};
use rust_decimal::Decimal;
use sea_orm::{AccessMode, ConnectionTrait, DatabaseTransaction, DbBackend, IsolationLevel, QueryResult};
use serde::Serialize;
use uuid::Uuid;

use self::checks::{CHECKS, Pair, Says};
pub use super::archive::checkpoint::Trust;
use super::{
    Ledger, LedgerError, load,
    rollup::{self, count},
};

mod begin;
pub(super) mod checks;
mod keys;
mod payments;
mod replay;

/// One broken invariant.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Violation {
    /// The invariant's number in the design.
    pub invariant: u8,
    /// The violation in words, with the id concerned.
    pub what: String,
}

/// The result of an audit.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Audit {
    /// Whether all checks passed.
    pub ok: bool,
    /// The violations, at most [`MOST`] of each kind.
    pub violations: Vec<Violation>,
    /// The number of accounts.
    pub accounts: i64,
    /// The number of journal lines replayed.
    pub lines: i64,
    /// The number of usage records.
    pub requests: i64,
    /// The number of running requests.
    pub open_holds: i64,
}

/// The most violations listed of one kind.
pub const MOST: usize = 100;

/// After this many violations records are not checked for more.
const LISTED: usize = 10_000;

/// Invariant 4 in words.
const HELD: &str = "grant's held credits are not what open holds were allocated";
/// Invariant 15 in words.
const EXACT: &str = "request's charge is not its exact cost, rounded once";

/// Invariant 15 for the quantities of an exact cost.
const COMES_TO: &str = "request's exact cost is not what its quantities come to";
/// Invariant 16 in words.
const QUANTITIES: &str = "request's quantities are not what its counts say";

/// Invariant 18 in words.
const KEYS: &str = "key used more than its limits let it";

/// All checks, in the words that begin their violations.
pub fn checks() -> impl Iterator<Item = &'static str> {
    let own = [HELD, EXACT, COMES_TO, QUANTITIES, KEYS].into_iter().chain(payments::CHECKS);
    let own = own.chain(replay::CHECKS).chain(begin::CHECKS);
    CHECKS.iter().map(|check| check.what).chain(own).chain(rollup::CHECKS.map(|check| check.what))
}

fn differs(
    invariant: u8,
    what: &str,
    id: Uuid,
    pair: Pair,
    expected: Option<Nanos>,
    found: Nanos,
) -> Option<Violation> {
    let difference = checks::difference(pair, expected.map(Nanos::get), Some(found.get()))?;
    Some(Violation { invariant, what: format!("{what}: {id}: {difference}") })
}

impl Ledger {
    /// Runs all checks, looking at no signature and at no archive.
    ///
    /// # Errors
    ///
    /// As for [`Ledger::audit_by`].
    pub async fn audit(&self) -> Result<Audit, LedgerError> {
        self.audit_by(Trust::default()).await
    }

    /// Runs all checks.
    ///
    /// # Errors
    ///
    /// The database can't be read now, or a row can't be parsed. The audit has no result then, good or bad: run it
    /// again.
    pub async fn audit_by(&self, trust: Trust<'_>) -> Result<Audit, LedgerError> {
        let tx = if self.backend == DbBackend::Postgres {
            let level = Some(IsolationLevel::RepeatableRead);
            self.read.begin_with_config(level, Some(AccessMode::ReadOnly)).await?
        } else {
            self.read.begin().await?
        };
        let begins_at = self.log_begins_at().await?;
        let mut audit = Audit {
            accounts: self.count(&tx, "account").await?,
            lines: self.count(&tx, "journal").await?,
            requests: self.count(&tx, "usage_record").await?,
            open_holds: self.count(&tx, "hold").await?,
            ..Audit::default()
        };
        for check in CHECKS {
            let sql = format!("{} LIMIT {MOST}", check.sql);
            for row in tx.query_all_raw(self.statement(&sql, [])).await? {
                audit.violations.push(Violation { invariant: check.invariant, what: check.say(&row)? });
            }
        }
        self.check_holds(&tx, &mut audit).await?;
        audit.violations.extend(self.check_rollups(&tx).await?);
        self.check_costs(&tx, &mut audit).await?;
        self.check_keys(&tx, &mut audit).await?;
        self.check_taken(&tx, &mut audit).await?;
        self.check_months(&tx, &mut audit).await?;
        let last = self.check_begin(&tx, &mut audit, trust).await?;
        self.check_log(&tx, &mut audit, last).await?;
        tx.rollback().await?;
        if self.log_begins_at().await? != begins_at {
            let why = "rows were archived while the log was read: run the audit again";
            return Err(LedgerError::Unusable(why.into()));
        }
        audit.ok = audit.violations.is_empty();
        Ok(audit)
    }

    async fn count(&self, tx: &DatabaseTransaction, of: &str) -> Result<i64, LedgerError> {
        let row = tx.query_one_raw(self.statement(&format!("SELECT COUNT(*) FROM {of}"), [])).await?;
        row.map_or(Ok(0), |row| Ok(row.try_get_by_index(0)?))
    }

    /// Invariant 4: the held credits of grants equal the allocations of open holds.
    async fn check_holds(&self, tx: &DatabaseTransaction, audit: &mut Audit) -> Result<(), LedgerError> {
        let mut held = std::collections::BTreeMap::<Uuid, Nanos>::new();
        for row in tx.query_all_raw(self.statement("SELECT allocations FROM hold", [])).await? {
            let text: String = row.try_get_by_index(0)?;
            for (grant, amount) in load::parse_allocations(&text)? {
                *held.entry(grant.0).or_default() += amount;
            }
        }
        for row in tx.query_all_raw(self.statement("SELECT id, held FROM credit_grant WHERE held > 0", [])).await? {
            let (id, amount): (Uuid, i64) = (row.try_get_by_index(0)?, row.try_get_by_index(1)?);
            let allocated = held.remove(&id).unwrap_or_default();
            audit.violations.extend(differs(4, HELD, id, ("held", Says::Dollars), Some(allocated), Nanos::new(amount)));
        }
        for (id, allocated) in held {
            audit.violations.extend(differs(4, HELD, id, ("held", Says::Dollars), Some(allocated), Nanos::ZERO));
        }
        Ok(())
    }

    /// Invariants 15 and 16: the charge is the exact cost, rounded once; the exact cost is the sum of the quantities;
    /// and the quantities match the counts.
    async fn check_costs(&self, tx: &DatabaseTransaction, audit: &mut Audit) -> Result<(), LedgerError> {
        const PAGE: usize = 10_000;
        let sql = "SELECT account_id, request_id, base_cost, fee, charged, quantities, ending, input_tokens, \
                   cached_input_tokens, cache_write_tokens, output_tokens, reasoning_tokens, billed_seconds FROM usage_record \
                   WHERE (account_id, request_id) > (?, ?) ORDER BY account_id, request_id LIMIT 10000";
        let (mut account, mut after) = (Uuid::nil(), Uuid::nil());
        loop {
            let rows = tx.query_all_raw(self.statement(sql, [account.into(), after.into()])).await?;
            for row in &rows {
                (account, after) = (row.try_get_by_index(0)?, row.try_get_by_index(1)?);
                let (base, fee): (String, String) = (row.try_get_by_index(2)?, row.try_get_by_index(3)?);
                let charged = Nanos::new(row.try_get_by_index(4)?);
                let exact = match (Decimal::from_str(&base), Decimal::from_str(&fee)) {
                    (Ok(base), Ok(fee)) => Cost { base, fee }.charged().ok(),
                    _ => None,
                };
                if audit.violations.len() < LISTED {
                    let pair = ("charged", Says::Dollars);
                    audit.violations.extend(differs(15, EXACT, after, pair, exact, charged));
                    audit.violations.extend(check_parts(after, &base, row)?);
                }
            }
            if rows.len() < PAGE {
                return Ok(());
            }
        }
    }
}

/// Checks the quantities of a record against its exact cost before the fee, `base`, and its counts, the row's columns
/// from the sixth on. For quantities recorded before they had rates the cost is unknown. A request settled without its
/// process may have cost more than was counted.
fn check_parts(id: Uuid, base: &str, row: &QueryResult) -> Result<Vec<Violation>, LedgerError> {
    let (text, ending): (String, String) = (row.try_get_by_index(5)?, row.try_get_by_index(6)?);
    let Ok(parts) = text.parse::<Parts>() else {
        let what = format!("{QUANTITIES}: {id}: {text:?} is no list of quantities");
        return Ok(vec![Violation { invariant: 16, what }]);
    };
    let counts = [
        ("input tokens", parts.tokens(Direction::Input)),
        ("cached input tokens", parts.cache_read()),
        ("cache write tokens", parts.cache_write()),
        ("output tokens", parts.tokens(Direction::Output)),
        ("reasoning tokens", parts.reasoning()),
        ("billed seconds", parts.sum(|key| key.kind == Kind::ComputeSeconds)),
    ];
    let mut wrong = Vec::new();
    for (place, (name, listed)) in counts.into_iter().enumerate() {
        let counted: i64 = row.try_get_by_index(7 + place)?;
        let difference = checks::difference((name, Says::Count), Some(counted), i64::try_from(count(listed)).ok());
        wrong.extend(difference.map(|difference| format!("{QUANTITIES}: {id}: {difference}")).map(|what| (16, what)));
    }
    let full = parts.full();
    let is_so = match Decimal::from_str(base) {
        Ok(_) if parts.iter().all(|part| part.rate.is_none()) => true,
        Ok(base) if parts.is_limited() => base < full,
        Ok(base) if ending == "recovered" => base >= full,
        Ok(base) => base == full,
        Err(_) => false,
    };
    if !is_so {
        wrong.push((15, format!("{COMES_TO}: {id}: base cost expected {}, found {base}", full.normalize())));
    }
    Ok(wrong.into_iter().map(|(invariant, what)| Violation { invariant, what }).collect())
}
