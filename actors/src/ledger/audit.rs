//! The auditor: replays the journal against the tables and checks the invariants of the design's chapter 2.9 that can be
//! seen in the database. Reads one snapshot, so it may run beside a working process.

use std::str::FromStr;

use billing::{Nanos, price::Cost};
use rust_decimal::Decimal;
use sea_orm::{AccessMode, ConnectionTrait, DatabaseTransaction, DbBackend, IsolationLevel, TransactionTrait};
use serde::Serialize;
use uuid::Uuid;

use super::{Ledger, LedgerError, load};

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

/// A check: the invariant, what a row means, and a query whose rows are violations, named by their first column.
struct Check {
    invariant: u8,
    what: &'static str,
    sql: &'static str,
}

const CHECKS: &[Check] = &[
    Check {
        invariant: 1,
        what: "grant does not add up",
        sql: "SELECT id FROM credit_grant WHERE available + held + spent + expired + voided <> funded \
              OR available < 0 OR held < 0 OR spent < 0 OR expired < 0 OR voided < 0",
    },
    Check {
        invariant: 2,
        what: "grant differs from its journal",
        sql: "SELECT g.id FROM credit_grant g LEFT JOIN (SELECT grant_id, SUM(d_funded) AS f, SUM(d_available) AS a, \
              SUM(d_held) AS h, SUM(d_spent) AS s, SUM(d_expired) AS e, SUM(d_voided) AS v FROM journal \
              WHERE grant_id IS NOT NULL GROUP BY grant_id) j ON j.grant_id = g.id WHERE j.grant_id IS NULL \
              OR j.f <> g.funded OR j.a <> g.available OR j.h <> g.held OR j.s <> g.spent OR j.e <> g.expired OR j.v <> g.voided",
    },
    Check {
        invariant: 2,
        what: "journal names a grant that is not there",
        sql: "SELECT DISTINCT j.grant_id FROM journal j LEFT JOIN credit_grant g ON g.id = j.grant_id \
              WHERE j.grant_id IS NOT NULL AND g.id IS NULL",
    },
    Check {
        invariant: 2,
        what: "account's debt differs from its journal",
        sql: "SELECT a.id FROM account a LEFT JOIN (SELECT account_id, SUM(d_debt) AS d FROM journal GROUP BY account_id) j \
              ON j.account_id = a.id WHERE a.debt <> COALESCE(j.d, 0)",
    },
    Check {
        invariant: 3,
        what: "grant had expired at its account's last change and is still available",
        sql: "SELECT g.id FROM credit_grant g JOIN account a ON a.id = g.account_id \
              WHERE g.available > 0 AND g.expires_at <= a.clock",
    },
    Check {
        invariant: 5,
        what: "account's spent credits and debt are not what it was charged",
        sql: "SELECT a.id FROM account a LEFT JOIN (SELECT account_id, SUM(spent) AS s FROM credit_grant GROUP BY account_id) g \
              ON g.account_id = a.id WHERE COALESCE(g.s, 0) + a.debt <> a.charged",
    },
    Check {
        invariant: 5,
        what: "account's charges differ from its usage records",
        sql: "SELECT a.id FROM account a LEFT JOIN (SELECT account_id, SUM(charged) AS c FROM usage_record GROUP BY account_id) u \
              ON u.account_id = a.id WHERE COALESCE(u.c, 0) <> a.charged",
    },
    Check {
        invariant: 6,
        what: "request's journal differs from its charge",
        sql: "SELECT u.request_id FROM usage_record u LEFT JOIN (SELECT request_id, SUM(d_spent) + SUM(d_debt) AS c FROM journal \
              WHERE request_id IS NOT NULL GROUP BY request_id) j ON j.request_id = u.request_id WHERE COALESCE(j.c, 0) <> u.charged",
    },
    Check {
        invariant: 8,
        what: "recorded request never had a hold",
        sql: "SELECT request_id FROM usage_record EXCEPT SELECT request_id FROM journal WHERE kind = 'hold_placed'",
    },
    Check {
        invariant: 10,
        what: "hold ended without a record",
        sql: "SELECT request_id FROM journal WHERE kind = 'hold_placed' EXCEPT SELECT request_id FROM usage_record \
              EXCEPT SELECT request_id FROM hold",
    },
    Check {
        invariant: 10,
        what: "open hold is not in the journal",
        sql: "SELECT request_id FROM hold EXCEPT SELECT request_id FROM journal WHERE kind = 'hold_placed'",
    },
    Check {
        invariant: 10,
        what: "recorded request still has an open hold",
        sql: "SELECT request_id FROM usage_record INTERSECT SELECT request_id FROM hold",
    },
    Check {
        invariant: 10,
        what: "ended request still holds credits in the journal",
        sql: "SELECT request_id FROM journal WHERE request_id IS NOT NULL GROUP BY request_id HAVING SUM(d_held) <> 0 \
              EXCEPT SELECT request_id FROM hold",
    },
    Check {
        invariant: 11,
        what: "purchased grant without its succeeded payment",
        sql: "SELECT g.id FROM credit_grant g WHERE g.source IN ('purchase', 'auto_reload', 'auto_scale') AND NOT EXISTS \
              (SELECT 1 FROM payment p WHERE p.account_id = g.account_id AND p.amount = g.funded \
              AND p.purpose = g.source AND p.status = 'succeeded' AND p.grant_key = g.source_key)",
    },
    Check {
        invariant: 11,
        what: "succeeded payment without its grant",
        sql: "SELECT p.id FROM payment p WHERE p.status = 'succeeded' AND NOT EXISTS (SELECT 1 FROM credit_grant g \
              WHERE g.account_id = p.account_id AND g.source_key = p.grant_key)",
    },
    Check {
        invariant: 11,
        what: "grant's paid dollars are not its payment's, less what was reversed",
        sql: "SELECT g.id FROM credit_grant g LEFT JOIN payment p ON p.account_id = g.account_id AND p.grant_key = g.source_key \
              AND p.status = 'succeeded' WHERE g.paid <> COALESCE(p.amount - p.reversed, 0)",
    },
    Check {
        invariant: 12,
        what: "account's automatic spending of a month is not its payments'",
        sql: "SELECT w.account_id FROM spend_window w LEFT JOIN (SELECT account_id, \
              SUM(CASE WHEN status = 'pending' THEN amount ELSE 0 END) AS reserved FROM payment \
              WHERE purpose IN ('auto_reload', 'auto_scale') GROUP BY account_id) p ON p.account_id = w.account_id \
              WHERE w.month = (SELECT MAX(month) FROM spend_window n WHERE n.account_id = w.account_id) \
              AND w.reload_reserved + w.scale_reserved > COALESCE(p.reserved, 0)",
    },
    Check {
        invariant: 12,
        what: "account's automatic spending is beyond its maximum",
        sql: "SELECT account_id FROM spend_window WHERE reload_reserved + reload_settled > reload_max \
              OR reload_reserved + reload_settled + scale_reserved + scale_settled > spend_max",
    },
    Check {
        invariant: 13,
        what: "account's journal has a gap",
        sql: "SELECT a.id FROM account a LEFT JOIN (SELECT account_id, COUNT(DISTINCT seq) AS n, MAX(seq) AS m FROM journal \
              GROUP BY account_id) j ON j.account_id = a.id WHERE COALESCE(j.n, 0) <> a.seq OR COALESCE(j.m, 0) <> a.seq",
    },
    Check {
        invariant: 13,
        what: "an older owner wrote after a newer one in the account's journal",
        sql: "SELECT DISTINCT account_id FROM (SELECT account_id, epoch, LAG(epoch) OVER (PARTITION BY account_id \
              ORDER BY seq, line) AS before FROM journal) t WHERE before > epoch",
    },
    Check {
        invariant: 13,
        what: "journal line without its batch",
        sql: "SELECT DISTINCT j.batch_id FROM journal j LEFT JOIN batch b ON b.id = j.batch_id WHERE b.id IS NULL",
    },
];

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
            let rows = tx.query_all_raw(self.statement(check.sql, [])).await?;
            for row in rows.iter().take(MOST) {
                let id: Uuid = row.try_get_by_index(0)?;
                audit.violations.push(Violation { invariant: check.invariant, what: format!("{}: {id}", check.what) });
            }
        }
        self.check_holds(&tx, &mut audit).await?;
        audit.violations.extend(self.check_rollups(&tx).await?);
        self.check_costs(&tx, &mut audit).await?;
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
            if allocated != Nanos::new(amount) {
                let what = format!("grant {id} holds {}, open holds were allocated {allocated}", Nanos::new(amount));
                audit.violations.push(Violation { invariant: 4, what });
            }
        }
        for (id, allocated) in held.into_iter().filter(|(_, allocated)| allocated.is_positive()) {
            let what = format!("grant {id} holds nothing, open holds were allocated {allocated}");
            audit.violations.push(Violation { invariant: 4, what });
        }
        Ok(())
    }

    /// Invariant 15: what was charged is the exact cost, rounded once.
    async fn check_costs(&self, tx: &DatabaseTransaction, audit: &mut Audit) -> Result<(), LedgerError> {
        const PAGE: usize = 10_000;
        let sql = "SELECT account_id, request_id, base_cost, fee, charged FROM usage_record \
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
                if exact != Some(charged) && audit.violations.len() < MOST * CHECKS.len() {
                    let what = format!("request {after} was charged {charged} for an exact cost of {base} + {fee}");
                    audit.violations.push(Violation { invariant: 15, what });
                }
            }
            if rows.len() < PAGE {
                return Ok(());
            }
        }
    }
}
