//! Checks of payments that SQL alone can't make. The credits taken by refunds and disputes are a share of the funded
//! amount (a product beyond 64 bits), and automatic spending is counted by calendar month.

use std::collections::BTreeMap;

use billing::{
    Nanos, Timestamp,
    payment::{PaymentStatus, Purpose},
    reversal::{ROUNDED, credits},
    time::Month,
};
use sea_orm::{ConnectionTrait, DatabaseTransaction};
use uuid::Uuid;

use super::{Audit, MOST, Violation, checks::Says, differs};
use crate::{Ledger, LedgerError};

/// Invariant 17 in words.
const TAKEN: &str = "credits taken of a payment's grant are not what its refunds and disputes say";
/// Invariant 12 in words: the reserved and settled amounts of a month, and the maxima at reservation.
const RELOADS: &str = "account's auto-reloads of a month are not its payments'";
const SCALES: &str = "account's autoScale purchases of a month are not its payments'";
const RELOAD_MAXIMUM: &str = "month's maximum of auto-reload is not what it was reserved within";
const SPEND_MAXIMUM: &str = "month's maximum of automatic spending is not what it was reserved within";

/// All checks of this file.
pub(super) const CHECKS: [&str; 5] = [TAKEN, RELOADS, SCALES, RELOAD_MAXIMUM, SPEND_MAXIMUM];

/// Rows read at once.
const PAGE: usize = 10_000;

/// The sums of one purpose in one month, by its payments.
#[derive(Debug, Clone, Copy, Default)]
struct Spent {
    pending: Nanos,
    settled: Nanos,
    declined: Nanos,
}

/// The sums of one month, by its payments.
#[derive(Debug, Clone, Copy, Default)]
struct InMonth {
    reloads: Spent,
    scales: Spent,
    /// The highest maxima, if every payment has its own.
    reload_max: Option<Nanos>,
    spend_max: Option<Nanos>,
    is_unknown: bool,
}

/// A stored window.
#[derive(Debug, Clone, Copy, Default)]
struct Window {
    reloads: (Nanos, Nanos),
    scales: (Nanos, Nanos),
    reload_max: Nanos,
    spend_max: Nanos,
}

impl Audit {
    fn tell(&mut self, invariant: u8, what: &str, id: Uuid, name: &'static str, expected: Nanos, found: Nanos) {
        let told = self.violations.iter().filter(|violation| violation.what.starts_with(what)).count();
        if told < MOST {
            let violation: Option<Violation> =
                differs(invariant, what, id, (name, Says::Dollars), Some(expected), found);
            self.violations.extend(violation);
        }
    }
}

impl Ledger {
    /// Invariant 17: the credits taken from a payment's grant are a function of its reversals in force.
    pub(super) async fn check_taken(&self, tx: &DatabaseTransaction, audit: &mut Audit) -> Result<(), LedgerError> {
        let sql = "SELECT g.id, g.funded, g.taken_unused + g.taken_gone + g.taken_held + g.taken_spent AS taken, \
                   COALESCE(p.reversed, 0), COALESCE(p.amount, 1), CASE WHEN EXISTS (SELECT 1 FROM payment_reversal e WHERE \
                   e.payment_id = p.id AND e.kind = 'earlier') THEN 1 ELSE 0 END AS is_earlier FROM credit_grant g LEFT JOIN payment p ON \
                   p.account_id = g.account_id AND p.grant_key = g.source_key AND p.status = 'succeeded' WHERE g.id > ? \
                   AND (p.reversed > 0 OR g.taken_unused + g.taken_gone + g.taken_held + g.taken_spent > 0) \
                   ORDER BY g.id LIMIT 10000";
        let mut after = Uuid::nil();
        loop {
            let rows = tx.query_all_raw(self.statement(sql, [after.into()])).await?;
            for row in &rows {
                after = row.try_get_by_index(0)?;
                let (funded, taken) = (Nanos::new(row.try_get_by_index(1)?), Nanos::new(row.try_get_by_index(2)?));
                let (reversed, amount) = (Nanos::new(row.try_get_by_index(3)?), Nanos::new(row.try_get_by_index(4)?));
                let expected = credits(funded, reversed, amount);
                let rounded = if row.try_get_by_index::<i32>(5)? == 1 { ROUNDED } else { Nanos::ZERO };
                if !(Nanos::ZERO..=rounded).contains(&(expected - taken)) {
                    audit.tell(17, TAKEN, after, "taken", expected, taken);
                }
            }
            if rows.len() < PAGE {
                return Ok(());
            }
        }
    }

    /// Invariant 12: a month's reserved and settled amounts equal those of its payments. In past months, amounts still
    /// reserved at the month's end stay reserved, whatever became of their payments.
    pub(super) async fn check_months(&self, tx: &DatabaseTransaction, audit: &mut Audit) -> Result<(), LedgerError> {
        let paid = self.automatic_by_month(tx).await?;
        let windows = self.windows(tx).await?;
        let mut last = BTreeMap::new();
        for (account, month) in windows.keys() {
            last.insert(*account, *month);
        }
        let months = paid.keys().chain(windows.keys()).copied().collect::<std::collections::BTreeSet<_>>();
        for key @ (account, month) in months {
            let paid = paid.get(&key).copied().unwrap_or_default();
            let window = windows.get(&key).copied().unwrap_or_default();
            let is_last = last.get(&account) == Some(&month);
            for (what, of, (reserved, settled)) in
                [(RELOADS, paid.reloads, window.reloads), (SCALES, paid.scales, window.scales)]
            {
                if is_last {
                    audit.compare_months(what, account, ("reserved", of.pending, reserved));
                    audit.compare_months(what, account, ("settled", of.settled, settled));
                } else {
                    let all = of.pending + of.settled + of.declined;
                    audit.compare_months(what, account, ("settled", of.settled.min(settled), settled));
                    let both = reserved + settled;
                    audit.compare_months(what, account, ("reserved and settled", both.clamp(of.settled, all), both));
                }
            }
            if !paid.is_unknown {
                let (reload, spend) = (paid.reload_max.unwrap_or_default(), paid.spend_max.unwrap_or_default());
                audit.compare_months(RELOAD_MAXIMUM, account, ("maximum", reload, window.reload_max));
                audit.compare_months(SPEND_MAXIMUM, account, ("maximum", spend, window.spend_max));
            }
        }
        Ok(())
    }

    async fn automatic_by_month(
        &self,
        tx: &DatabaseTransaction,
    ) -> Result<BTreeMap<(Uuid, Month), InMonth>, LedgerError> {
        let sql = "SELECT id, account_id, purpose, status, amount, created_at, reload_max, spend_max FROM payment \
                   WHERE id > ? AND purpose IN ('auto_reload', 'auto_scale') ORDER BY id LIMIT 10000";
        let mut months: BTreeMap<(Uuid, Month), InMonth> = BTreeMap::new();
        let mut after = Uuid::nil();
        loop {
            let rows = tx.query_all_raw(self.statement(sql, [after.into()])).await?;
            for row in &rows {
                after = row.try_get_by_index(0)?;
                let (account, purpose): (Uuid, String) = (row.try_get_by_index(1)?, row.try_get_by_index(2)?);
                let (status, amount): (String, i64) = (row.try_get_by_index(3)?, row.try_get_by_index(4)?);
                let month = Timestamp(row.try_get_by_index(5)?).month();
                let maxima: (Option<i64>, Option<i64>) = (row.try_get_by_index(6)?, row.try_get_by_index(7)?);
                let is_reload = Purpose::from_name(&purpose) == Some(Purpose::AutoReload);
                let of = months.entry((account, month)).or_default();
                let spent = if is_reload { &mut of.reloads } else { &mut of.scales };
                match PaymentStatus::from_name(&status) {
                    Some(PaymentStatus::Pending) => spent.pending += Nanos::new(amount),
                    Some(PaymentStatus::Succeeded) => spent.settled += Nanos::new(amount),
                    Some(PaymentStatus::Declined) | None => spent.declined += Nanos::new(amount),
                }
                match maxima {
                    (Some(reload), Some(spend)) => {
                        of.spend_max = of.spend_max.max(Some(Nanos::new(spend)));
                        of.reload_max = of.reload_max.max(is_reload.then_some(Nanos::new(reload)));
                    }
                    _ => of.is_unknown = true,
                }
            }
            if rows.len() < PAGE {
                return Ok(months);
            }
        }
    }

    async fn windows(&self, tx: &DatabaseTransaction) -> Result<BTreeMap<(Uuid, Month), Window>, LedgerError> {
        let sql = "SELECT account_id, month, reload_reserved, reload_settled, scale_reserved, scale_settled, reload_max, \
                   spend_max FROM spend_window";
        let mut windows = BTreeMap::new();
        for row in tx.query_all_raw(self.statement(sql, [])).await? {
            let amount = |index| Ok::<_, LedgerError>(Nanos::new(row.try_get_by_index(index)?));
            let window = Window {
                reloads: (amount(2)?, amount(3)?),
                scales: (amount(4)?, amount(5)?),
                reload_max: amount(6)?,
                spend_max: amount(7)?,
            };
            windows.insert((row.try_get_by_index(0)?, Month(row.try_get_by_index(1)?)), window);
        }
        Ok(windows)
    }
}

impl Audit {
    fn compare_months(&mut self, what: &str, account: Uuid, (name, expected, found): (&'static str, Nanos, Nanos)) {
        if expected != found {
            self.tell(12, what, account, name, expected, found);
        }
    }
}
