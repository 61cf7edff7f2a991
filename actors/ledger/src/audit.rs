//! The auditor: replays the journal, compares it with the tables, and checks the invariants of the design's chapter 2.9
//! that the database can show. It reads snapshots, so it may run beside a working process.

use billing::Nanos;
use sea_orm::{ConnectionTrait, DatabaseTransaction};
use serde::Serialize;
use uuid::Uuid;

use self::checks::{CHECKS, Pair, Says, TOGETHER};
pub use super::archive::checkpoint::Trust;
use super::{Ledger, LedgerError, load};

mod begin;
pub(super) mod checks;
mod keys;
mod payments;
mod replay;
mod sessions;
mod tables;
mod usage;

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
    /// The number of rows of the log that are not in the tables yet. A process that serves brings them in a moment later.
    pub behind: u64,
}

/// The most violations listed of one kind.
pub const MOST: usize = 100;

/// The most rows that are read of checks made together.
const LISTED: usize = 10_000;

/// Invariant 4 in words.
const HELD: &str = "grant's held credits are not what open holds were allocated";
/// Invariant 18 in words.
const KEYS: &str = "key used more than its limits let it";

/// All checks, in the words that begin their violations.
pub fn checks() -> impl Iterator<Item = &'static str> {
    let own = [HELD, KEYS].into_iter().chain(usage::CHECKS).chain(sessions::CHECKS).chain(payments::CHECKS);
    let own = own.chain(replay::CHECKS).chain(begin::CHECKS).chain(tables::checks());
    let together = TOGETHER.iter().flat_map(|together| together.parts).map(|part| part.what);
    CHECKS.iter().map(|check| check.what).chain(together).chain(own)
}

impl Audit {
    /// Adds a violation, unless there are many of its kind.
    fn note(&mut self, invariant: u8, what: &str, why: impl std::fmt::Display) {
        let told = self.violations.iter().filter(|violation| violation.what.starts_with(what)).count();
        if told < MOST {
            self.violations.push(Violation { invariant, what: format!("{what}: {why}") });
        }
    }
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

    /// Runs all checks. A process that serves has other work, and makes them one after another; else they are made at the
    /// same time.
    ///
    /// # Errors
    ///
    /// The database can't be read now, or a row can't be parsed. The audit has no result then, good or bad: run it
    /// again.
    pub async fn audit_by(&self, trust: Trust<'_>) -> Result<Audit, LedgerError> {
        self.standing.unless_broken(self.audit_all(trust)).await
    }

    async fn audit_all(&self, trust: Trust<'_>) -> Result<Audit, LedgerError> {
        let begins_at = self.log_begins_at().await?;
        let (mut audit, sums, rows) = if self.keeper.is_some() {
            (self.audit_by_queries().await?, self.audit_sums().await?, self.audit_row_by_row(trust).await?)
        } else {
            futures::try_join!(self.audit_by_queries(), self.audit_sums(), self.audit_row_by_row(trust))?
        };
        if self.log_begins_at().await? != begins_at {
            let why = "rows were archived while the log was read: run the audit again";
            return Err(LedgerError::Unusable(why.into()));
        }
        audit.behind = rows.behind;
        audit.violations.extend(sums.violations.into_iter().chain(rows.violations));
        audit.ok = audit.violations.is_empty();
        Ok(audit)
    }

    /// The checks that the database makes.
    async fn audit_by_queries(&self) -> Result<Audit, LedgerError> {
        let tx = self.snapshot().await?;
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
        tx.rollback().await?;
        Ok(audit)
    }

    /// The checks of grants, accounts and requests against the sums of their journal, which the database makes too.
    async fn audit_sums(&self) -> Result<Audit, LedgerError> {
        let (tx, mut audit) = (self.snapshot().await?, Audit::default());
        for together in TOGETHER {
            let sql = format!("{} LIMIT {LISTED}", together.sql);
            for row in tx.query_all_raw(self.statement(&sql, [])).await? {
                for (part, why) in together.say(&row)? {
                    audit.note(part.invariant, part.what, why);
                }
            }
        }
        tx.rollback().await?;
        Ok(audit)
    }

    /// The checks that are made here.
    async fn audit_row_by_row(&self, trust: Trust<'_>) -> Result<Audit, LedgerError> {
        let (tx, mut audit) = (self.snapshot().await?, Audit::default());
        self.check_holds(&tx, &mut audit).await?;
        self.check_usage(&tx, &mut audit).await?;
        self.check_sessions(&tx, &mut audit).await?;
        self.check_keys(&tx, &mut audit).await?;
        self.check_taken(&tx, &mut audit).await?;
        self.check_months(&tx, &mut audit).await?;
        self.check_log(&tx, &mut audit, trust).await?;
        tx.rollback().await?;
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
}
