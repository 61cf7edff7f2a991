//! Usage: the charge, the exact cost and the quantities of each record (invariants 15 and 16), and its sums by the hour and
//! by the day (invariant 2). Records and sums are read once each, in the order of their accounts, so that the sums of one
//! account at a time are in memory.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    mem,
    str::FromStr as _,
};

use billing::{
    Nanos, Timestamp,
    price::{Cost, Parts},
    quantity::{Direction, Kind},
};
use rust_decimal::Decimal;
use sea_orm::{ConnectionTrait as _, DatabaseTransaction, QueryResult, Value};
use uuid::Uuid;

use super::{
    Audit, Violation,
    checks::{Pair, Says, difference},
    differs,
};
use crate::{
    Ledger, LedgerError,
    rollup::{Span, count},
};

/// Invariant 15 in words.
const EXACT: &str = "request's charge is not its exact cost, rounded once";
/// Invariant 15 for the quantities of an exact cost.
const COMES_TO: &str = "request's exact cost is not what its quantities come to";
/// Invariant 16 in words.
const QUANTITIES: &str = "request's quantities are not what its counts say";
/// Invariant 2 for the sums: hours compared with records, and days with hours.
const HOURS: &str = "usage summed by the hour differs from its records";
const DAYS: &str = "usage summed by the day differs from its hours";

/// All checks of this file.
pub(super) const CHECKS: [&str; 5] = [EXACT, COMES_TO, QUANTITIES, HOURS, DAYS];

/// After this many violations records are not checked for more.
const LISTED: usize = 10_000;

/// Rows read at once: the queries say so too.
const PAGE: usize = 2_000;

const RECORDS: &str = "SELECT account_id, request_id, base_cost, fee, charged, quantities, ending, input_tokens, \
                       cached_input_tokens, cache_write_tokens, output_tokens, reasoning_tokens, billed_seconds, compute_ms, \
                       model, provider, key_id, ended_at FROM usage_record WHERE (account_id, request_id) > (?, ?) \
                       ORDER BY account_id, request_id LIMIT 2000";

const SUMS: &str = "SELECT account_id, span, starts_at, model, provider, key_id, requests, failed, input_tokens, \
                    cached_input_tokens, cache_write_tokens, output_tokens, reasoning_tokens, compute_ms, billed_seconds, \
                    charged FROM usage_rollup WHERE (account_id, span, starts_at, model, provider, key_id) > (?, ?, ?, ?, ?, ?) \
                    ORDER BY account_id, span, starts_at, model, provider, key_id LIMIT 2000";

/// The summed columns.
pub(super) const SUMMED: [Pair; 10] = [
    ("requests", Says::Count),
    ("failed", Says::Count),
    ("input_tokens", Says::Count),
    ("cached_input_tokens", Says::Count),
    ("cache_write_tokens", Says::Count),
    ("output_tokens", Says::Count),
    ("reasoning_tokens", Says::Count),
    ("compute_ms", Says::Count),
    ("billed_seconds", Says::Count),
    ("charged", Says::Dollars),
];

/// What is summed: the time from which, the model, its provider, and the key; the nil id if there is none.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Place {
    starts_at: i64,
    model: String,
    provider: String,
    key: Uuid,
}

/// Sums of one account and one span.
#[derive(Debug, Default)]
struct Sums(BTreeMap<Place, [i64; SUMMED.len()]>);

impl Sums {
    fn add(&mut self, place: Place, amounts: &[i64; SUMMED.len()]) {
        let sums = self.0.entry(place).or_default();
        for (sum, amount) in sums.iter_mut().zip(amounts) {
            *sum = sum.saturating_add(*amount);
        }
    }

    /// Adds a record to its hour.
    fn add_record(&mut self, row: &QueryResult) -> Result<(), LedgerError> {
        let (ending, ended_at): (String, i64) = (row.try_get_by_index(6)?, row.try_get_by_index(17)?);
        let key: Option<Uuid> = row.try_get_by_index(16)?;
        let place = Place {
            starts_at: ended_at - ended_at % Span::Hour.ms(),
            model: row.try_get_by_index(14)?,
            provider: row.try_get_by_index(15)?,
            key: key.unwrap_or_default(),
        };
        let mut amounts = [0; SUMMED.len()];
        amounts[0] = 1;
        amounts[1] = i64::from(ending != "completed" && ending != "client_left");
        // Of the columns of records, those that are summed, in the order of the sums.
        for (amount, column) in amounts[2..].iter_mut().zip([7, 8, 9, 10, 11, 13, 12, 4]) {
            *amount = row.try_get_by_index(column)?;
        }
        self.add(place, &amounts);
        Ok(())
    }

    /// The same by the day.
    fn days(&self) -> Self {
        let mut days = Self::default();
        for (place, amounts) in &self.0 {
            let starts_at = place.starts_at - place.starts_at % Span::Day.ms();
            days.add(Place { starts_at, ..place.clone() }, amounts);
        }
        days
    }

    /// Tells where other sums differ from these.
    fn compare(&self, found: &Self, what: &str, account: Uuid, audit: &mut Audit) {
        let none = [0; SUMMED.len()];
        for place in self.0.keys().chain(found.0.keys()).collect::<BTreeSet<_>>() {
            let (expected, found) = (self.0.get(place).unwrap_or(&none), found.0.get(place).unwrap_or(&none));
            let pairs = SUMMED.into_iter().zip(expected.iter().zip(found));
            let differences: Vec<_> =
                pairs.filter_map(|(pair, (expected, found))| difference(pair, Some(*expected), Some(*found))).collect();
            if !differences.is_empty() {
                let (starts_at, differences) = (Timestamp(place.starts_at), differences.join(", "));
                let Place { model, key, .. } = place;
                let why = format!("{account}: from {starts_at}, model {model}, key {key}: {differences}");
                audit.note(2, what, why);
            }
        }
    }
}

/// The sums that are stored, account by account.
struct Stored {
    /// The key of the last row that was read.
    after: Vec<Value>,
    rows: VecDeque<QueryResult>,
    is_read: bool,
}

impl Stored {
    fn new() -> Self {
        let (nil, none) = (Uuid::nil(), String::new());
        let after = vec![nil.into(), 0_i64.into(), 0_i64.into(), none.clone().into(), none.into(), Uuid::nil().into()];
        Self { after, rows: VecDeque::new(), is_read: false }
    }

    /// The account of the next row.
    async fn account(&mut self, ledger: &Ledger, tx: &DatabaseTransaction) -> Result<Option<Uuid>, LedgerError> {
        if self.rows.is_empty() && !self.is_read {
            let rows = tx.query_all_raw(ledger.statement(SUMS, self.after.clone())).await?;
            self.is_read = rows.len() < PAGE;
            self.rows = rows.into();
            if let Some(last) = self.rows.back() {
                self.after = key(last)?;
            }
        }
        Ok(self.rows.front().map(|row| row.try_get_by_index(0)).transpose()?)
    }

    /// The next account's hours and days.
    async fn next(
        &mut self,
        ledger: &Ledger,
        tx: &DatabaseTransaction,
    ) -> Result<Option<(Uuid, Sums, Sums)>, LedgerError> {
        let Some(account) = self.account(ledger, tx).await? else { return Ok(None) };
        let (mut hours, mut days) = (Sums::default(), Sums::default());
        while self.account(ledger, tx).await? == Some(account)
            && let Some(row) = self.rows.pop_front()
        {
            let span: i64 = row.try_get_by_index(1)?;
            let place = Place {
                starts_at: row.try_get_by_index(2)?,
                model: row.try_get_by_index(3)?,
                provider: row.try_get_by_index(4)?,
                key: row.try_get_by_index(5)?,
            };
            let mut amounts = [0; SUMMED.len()];
            for (at, amount) in amounts.iter_mut().enumerate() {
                *amount = row.try_get_by_index(6 + at)?;
            }
            let sums = if span == Span::Hour.hours() { &mut hours } else { &mut days };
            sums.add(place, &amounts);
        }
        Ok(Some((account, hours, days)))
    }

    /// Compares the records of an account with its sums; those of accounts before it have no records. `None` is after all
    /// accounts.
    async fn compare(
        &mut self,
        ledger: &Ledger,
        tx: &DatabaseTransaction,
        (account, mut records): (Option<Uuid>, Sums),
        audit: &mut Audit,
    ) -> Result<(), LedgerError> {
        while let Some(next) = self.account(ledger, tx).await?
            && account.is_none_or(|account| next <= account)
            && let Some((of, hours, days)) = self.next(ledger, tx).await?
        {
            let records = if Some(of) == account { mem::take(&mut records) } else { Sums::default() };
            records.compare(&hours, HOURS, of, audit);
            hours.days().compare(&days, DAYS, of, audit);
        }
        if let Some(account) = account {
            records.compare(&Sums::default(), HOURS, account, audit);
        }
        Ok(())
    }
}

/// The key of a stored sum.
fn key(row: &QueryResult) -> Result<Vec<Value>, LedgerError> {
    let (account, span, starts_at): (Uuid, i64, i64) =
        (row.try_get_by_index(0)?, row.try_get_by_index(1)?, row.try_get_by_index(2)?);
    let (model, provider, key): (String, String, Uuid) =
        (row.try_get_by_index(3)?, row.try_get_by_index(4)?, row.try_get_by_index(5)?);
    Ok(vec![account.into(), span.into(), starts_at.into(), model.into(), provider.into(), key.into()])
}

impl Ledger {
    /// Checks every record, and every sum.
    pub(super) async fn check_usage(&self, tx: &DatabaseTransaction, audit: &mut Audit) -> Result<(), LedgerError> {
        let (mut account, mut after) = (Uuid::nil(), Uuid::nil());
        let (mut records, mut stored) = (Sums::default(), Stored::new());
        loop {
            let rows = tx.query_all_raw(self.statement(RECORDS, [account.into(), after.into()])).await?;
            for row in &rows {
                let of: Uuid = row.try_get_by_index(0)?;
                if of != account {
                    stored.compare(self, tx, (Some(account), mem::take(&mut records)), audit).await?;
                }
                (account, after) = (of, row.try_get_by_index(1)?);
                records.add_record(row)?;
                if audit.violations.len() < LISTED {
                    audit.violations.extend(check_record(after, row)?);
                }
            }
            if rows.len() < PAGE {
                break;
            }
        }
        stored.compare(self, tx, (Some(account), records), audit).await?;
        stored.compare(self, tx, (None, Sums::default()), audit).await
    }
}

/// The charge is the exact cost, rounded once; the exact cost is the sum of the quantities; and the quantities match the
/// counts.
fn check_record(id: Uuid, row: &QueryResult) -> Result<Vec<Violation>, LedgerError> {
    let (base, fee): (String, String) = (row.try_get_by_index(2)?, row.try_get_by_index(3)?);
    let charged = Nanos::new(row.try_get_by_index(4)?);
    let exact = match (Decimal::from_str(&base), Decimal::from_str(&fee)) {
        (Ok(base), Ok(fee)) => Cost { base, fee }.charged().ok(),
        _ => None,
    };
    let mut violations = Vec::from_iter(differs(15, EXACT, id, ("charged", Says::Dollars), exact, charged));
    violations.extend(check_parts(id, &base, row)?);
    Ok(violations)
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
        let difference = difference((name, Says::Count), Some(counted), i64::try_from(count(listed)).ok());
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
