//! The auditor: replays the journal against the tables and checks the invariants of the design's chapter 2.9 that can be
//! seen in the database. Reads one snapshot, so it may run beside a working process.

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
use super::{
    Ledger, LedgerError, load,
    rollup::{self, count},
};

pub(super) mod checks;
mod keys;
mod payments;

/// One broken invariant.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Violation {
    /// The invariant's number in the design.
    pub invariant: u8,
    /// What is wrong, and where.
    pub what: String,
}

/// What an audit found.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Audit {
    /// Whether everything holds.
    pub ok: bool,
    /// What does not, at most [`MOST`] of each kind.
    pub violations: Vec<Violation>,
    /// Accounts looked at.
    pub accounts: i64,
    /// Journal lines replayed.
    pub lines: i64,
    /// Requests recorded.
    pub requests: i64,
    /// Requests running now.
    pub open_holds: i64,
}

/// Violations of one kind that are listed.
pub const MOST: usize = 100;

/// Violations that are listed before records are looked at for no more of them.
const LISTED: usize = 10_000;

/// Invariant 4 in words.
const HELD: &str = "grant's held credits are not what open holds were allocated";
/// Invariant 15 in words.
const EXACT: &str = "request's charge is not its exact cost, rounded once";

/// The same, of what the exact cost is made of.
const COMES_TO: &str = "request's exact cost is not what its quantities come to";
/// Invariant 16 in words.
const QUANTITIES: &str = "request's quantities are not what its counts say";

/// Invariant 18 in words.
const KEYS: &str = "key used more than its limits let it";

/// What is checked, in the words that begin each violation.
pub fn checks() -> impl Iterator<Item = &'static str> {
    let own = [HELD, EXACT, COMES_TO, QUANTITIES, KEYS].into_iter().chain(payments::CHECKS);
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
    /// Checks everything. An error means it could not be checked, not that it is wrong.
    pub async fn audit(&self) -> Result<Audit, LedgerError> {
        let tx = if self.backend == DbBackend::Postgres {
            let level = Some(IsolationLevel::RepeatableRead);
            self.read.begin_with_config(level, Some(AccessMode::ReadOnly)).await?
        } else {
            self.read.begin().await?
        };
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
        tx.rollback().await?;
        audit.ok = audit.violations.is_empty();
        Ok(audit)
    }

    async fn count(&self, tx: &DatabaseTransaction, of: &str) -> Result<i64, LedgerError> {
        let row = tx.query_one_raw(self.statement(&format!("SELECT COUNT(*) FROM {of}"), [])).await?;
        row.map_or(Ok(0), |row| Ok(row.try_get_by_index(0)?))
    }

    /// Invariant 4: what grants hold is what open holds were allocated.
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

    /// Invariants 15 and 16: what was charged is the exact cost, rounded once; that is what the quantities come to, which are
    /// what is counted.
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

/// What is wrong with the quantities of a record, whose exact cost before the fee is `base`: its row's columns from the sixth
/// on. Of what was recorded before quantities had rates, what they came to is not known; a request that was settled without
/// its process may have cost more than was counted.
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
