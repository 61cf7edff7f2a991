//! The auditor's queries, and the words of their violations. Each row of a query is a violation of the object in its
//! first column, followed by pairs of expected and found values. Sums are cast, because PostgreSQL sums integers to
//! another type.

use billing::Nanos;
use sea_orm::QueryResult;
use uuid::Uuid;

use crate::LedgerError;

/// How a pair of columns is compared and worded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Says {
    /// Dollars that must be equal.
    Dollars,
    /// Dollars that must not be higher than expected.
    DollarsAtMost,
    /// Numbers that must be equal.
    Count,
    /// A number that must not be lower than expected.
    CountAtLeast,
}

use Says::{Count, CountAtLeast, Dollars, DollarsAtMost};

/// A pair of columns: its name, and its comparison.
pub(crate) type Pair = (&'static str, Says);

/// A check: the invariant, the meaning of a row, its pairs, and a query whose rows are violations.
pub(super) struct Check {
    pub(super) invariant: u8,
    pub(super) what: &'static str,
    pub(super) pairs: &'static [Pair],
    pub(super) sql: &'static str,
}

/// The difference of one pair in words; `None` if there is none.
pub(crate) fn difference(pair: Pair, expected: Option<i64>, found: Option<i64>) -> Option<String> {
    if expected == found {
        return None;
    }
    let (name, says) = pair;
    let (bound, in_dollars) = match says {
        Dollars => ("", true),
        DollarsAtMost => ("at most ", true),
        Count => ("", false),
        CountAtLeast => ("at least ", false),
    };
    let say = |number: Option<i64>| match number {
        None => "none".to_owned(),
        Some(number) if in_dollars => Nanos::new(number).to_string(),
        Some(number) => number.to_string(),
    };
    Some(format!("{name} expected {bound}{}, found {}", say(expected), say(found)))
}

impl Check {
    /// A row of the query, in words.
    pub(super) fn say(&self, row: &QueryResult) -> Result<String, LedgerError> {
        let id: Uuid = row.try_get_by_index(0)?;
        Ok(format!("{}: {id}: {}", self.what, differences(self.pairs, row, 1)?.join(", ")))
    }
}

/// The differences of the pairs that begin at a column of a row.
pub(super) fn differences(pairs: &[Pair], row: &QueryResult, begin: usize) -> Result<Vec<String>, LedgerError> {
    let mut differences = Vec::new();
    for (at, pair) in pairs.iter().enumerate() {
        let (expected, found) = (row.try_get_by_index(begin + 2 * at)?, row.try_get_by_index(begin + 1 + 2 * at)?);
        differences.extend(difference(*pair, expected, found));
    }
    Ok(differences)
}

/// One of several checks that are made together: the invariant, what it means that a pair differs, and its pairs.
pub(super) struct Part {
    pub(super) invariant: u8,
    pub(super) what: &'static str,
    pub(super) pairs: &'static [Pair],
}

/// Checks that read the same tables, in one scan. Each row of the query is an object for which one of them fails at least,
/// with the pairs of all: those of a check that does not fail are equal.
pub(super) struct Together {
    pub(super) parts: &'static [Part],
    pub(super) sql: &'static str,
}

impl Together {
    /// The checks that fail in a row of the query, and why.
    pub(super) fn say(&self, row: &QueryResult) -> Result<Vec<(&'static Part, String)>, LedgerError> {
        let id: Uuid = row.try_get_by_index(0)?;
        let (mut violations, mut begin) = (Vec::new(), 1);
        for part in self.parts {
            let differences = differences(part.pairs, row, begin)?;
            if !differences.is_empty() {
                violations.push((part, format!("{id}: {}", differences.join(", "))));
            }
            begin += 2 * part.pairs.len();
        }
        Ok(violations)
    }
}

/// The checks of grants, accounts and requests against the journal. It is sorted once for each.
pub(super) const TOGETHER: &[Together] = &[
    Together {
        parts: &[
            Part {
                invariant: 2,
                what: "grant differs from its journal",
                pairs: &[
                    ("funded", Dollars),
                    ("available", Dollars),
                    ("held", Dollars),
                    ("spent", Dollars),
                    ("expired", Dollars),
                    ("voided", Dollars),
                ],
            },
            Part { invariant: 2, what: "journal names a grant that is not there", pairs: &[("funded", Dollars)] },
        ],
        sql: "SELECT COALESCE(g.id, j.id), CASE WHEN g.id IS NULL THEN NULL ELSE j.funded END, g.funded, CASE WHEN \
              g.id IS NULL THEN NULL ELSE j.available END, g.available, CASE WHEN g.id IS NULL THEN NULL ELSE j.held \
              END, g.held, CASE WHEN g.id IS NULL THEN NULL ELSE j.spent END, g.spent, CASE WHEN g.id IS NULL THEN \
              NULL ELSE j.expired END, g.expired, CASE WHEN g.id IS NULL THEN NULL ELSE j.voided END, g.voided, CASE \
              WHEN g.id IS NULL THEN j.funded END, CAST(NULL AS BIGINT) FROM (SELECT grant_id AS id, \
              CAST(SUM(d_funded) AS BIGINT) AS funded, CAST(SUM(d_available) AS BIGINT) AS available, \
              CAST(SUM(d_held) AS BIGINT) AS held, CAST(SUM(d_spent) AS BIGINT) AS spent, CAST(SUM(d_expired) AS \
              BIGINT) AS expired, CAST(SUM(d_voided) AS BIGINT) AS voided FROM journal WHERE grant_id IS NOT NULL \
              GROUP BY grant_id) j FULL JOIN credit_grant g ON g.id = j.id WHERE g.id IS NULL OR j.id IS NULL OR \
              j.funded <> g.funded OR j.available <> g.available OR j.held <> g.held OR j.spent <> g.spent OR \
              j.expired <> g.expired OR j.voided <> g.voided",
    },
    Together {
        parts: &[
            Part { invariant: 2, what: "account's debt differs from its journal", pairs: &[("debt", Dollars)] },
            Part {
                invariant: 13,
                what: "account's journal has a gap",
                pairs: &[("transitions", Count), ("last transition", Count)],
            },
        ],
        sql: "SELECT a.id, COALESCE(j.debt, 0), a.debt, a.seq, COALESCE(j.n, 0), a.seq, COALESCE(j.m, 0) FROM account \
              a LEFT JOIN (SELECT account_id, CAST(SUM(d_debt) AS BIGINT) AS debt, COUNT(DISTINCT seq) AS n, MAX(seq) \
              AS m FROM journal GROUP BY account_id) j ON j.account_id = a.id WHERE a.debt <> COALESCE(j.debt, 0) OR \
              COALESCE(j.n, 0) <> a.seq OR COALESCE(j.m, 0) <> a.seq",
    },
    Together {
        parts: &[
            Part { invariant: 6, what: "request's journal differs from its charge", pairs: &[("charged", Dollars)] },
            Part { invariant: 8, what: "recorded request never had a hold", pairs: &[("holds placed", Count)] },
            Part { invariant: 10, what: "hold ended without a record", pairs: &[("records", Count)] },
            Part { invariant: 10, what: "open hold is not in the journal", pairs: &[("holds placed", Count)] },
            Part { invariant: 10, what: "recorded request still has an open hold", pairs: &[("open holds", Count)] },
            Part {
                invariant: 10,
                what: "ended request still holds credits in the journal",
                pairs: &[("held", Dollars)],
            },
        ],
        sql: "SELECT id, CASE WHEN records > 0 THEN journalled ELSE charged END, charged, CAST(CASE WHEN records > 0 AND \
              placed = 0 THEN 1 ELSE 0 END AS BIGINT), CAST(0 AS BIGINT), CAST(CASE WHEN placed > 0 AND records + holds \
              = 0 THEN 1 ELSE 0 END AS BIGINT), CAST(0 AS BIGINT), CAST(CASE WHEN holds > 0 AND placed = 0 THEN 1 ELSE 0 \
              END AS BIGINT), CAST(0 AS BIGINT), CAST(0 AS BIGINT), CAST(CASE WHEN records > 0 AND holds > 0 THEN 1 ELSE \
              0 END AS BIGINT), CAST(0 AS BIGINT), CASE WHEN holds = 0 THEN held ELSE 0 END FROM (SELECT id, \
              CAST(SUM(placed) AS BIGINT) AS placed, CAST(SUM(journalled) AS BIGINT) AS journalled, CAST(SUM(held) AS \
              BIGINT) AS held, CAST(SUM(records) AS BIGINT) AS records, CAST(SUM(charged) AS BIGINT) AS charged, \
              CAST(SUM(holds) AS BIGINT) AS holds FROM (SELECT request_id AS id, CASE WHEN kind = 'hold_placed' THEN 1 \
              ELSE 0 END AS placed, d_spent + d_debt AS journalled, d_held AS held, 0 AS records, 0 AS charged, 0 AS holds \
              FROM journal WHERE request_id IS NOT NULL UNION ALL SELECT request_id, 0, 0, 0, 1, charged, 0 FROM \
              usage_record UNION ALL SELECT request_id, 0, 0, 0, 0, 0, 1 FROM hold) t GROUP BY id) r WHERE (records > 0 \
              AND journalled <> charged) OR (records > 0 AND placed = 0) OR (placed > 0 AND records + holds = 0) OR \
              (holds > 0 AND placed = 0) OR (records > 0 AND holds > 0) OR (holds = 0 AND held <> 0)",
    },
];

/// All other checks made by a query alone.
pub(super) const CHECKS: &[Check] = &[
    Check {
        invariant: 1,
        what: "grant does not add up",
        pairs: &[("sum", Dollars)],
        sql: "SELECT id, funded, available + held + spent + expired + voided FROM credit_grant WHERE available + \
              held + spent + expired + voided <> funded",
    },
    Check {
        invariant: 1,
        what: "grant has an amount below zero",
        pairs: &[
            ("available", Dollars),
            ("held", Dollars),
            ("spent", Dollars),
            ("expired", Dollars),
            ("voided", Dollars),
        ],
        sql: "SELECT id, CASE WHEN available < 0 THEN 0 ELSE available END, available, CASE WHEN held < 0 THEN 0 \
              ELSE held END, held, CASE WHEN spent < 0 THEN 0 ELSE spent END, spent, CASE WHEN expired < 0 THEN 0 \
              ELSE expired END, expired, CASE WHEN voided < 0 THEN 0 ELSE voided END, voided FROM credit_grant \
              WHERE available < 0 OR held < 0 OR spent < 0 OR expired < 0 OR voided < 0",
    },
    Check {
        invariant: 3,
        what: "grant had expired at its account's last change and is still available",
        pairs: &[("available", Dollars)],
        sql: "SELECT g.id, CAST(0 AS BIGINT), g.available FROM credit_grant g JOIN account a ON a.id = \
              g.account_id WHERE g.available > 0 AND g.expires_at <= a.clock",
    },
    Check {
        invariant: 5,
        what: "account's spent credits and debt are not what it was charged",
        pairs: &[("spent and debt", Dollars)],
        sql: "SELECT a.id, a.charged, COALESCE(g.spent, 0) + a.debt FROM account a LEFT JOIN (SELECT account_id, \
              CAST(SUM(spent) AS BIGINT) AS spent FROM credit_grant GROUP BY account_id) g ON g.account_id = a.id \
              WHERE COALESCE(g.spent, 0) + a.debt <> a.charged",
    },
    Check {
        invariant: 5,
        what: "account's charges differ from its usage records",
        pairs: &[("charged", Dollars)],
        sql: "SELECT a.id, COALESCE(u.charged, 0), a.charged FROM account a LEFT JOIN (SELECT account_id, \
              CAST(SUM(charged) AS BIGINT) AS charged FROM usage_record GROUP BY account_id) u ON u.account_id = \
              a.id WHERE COALESCE(u.charged, 0) <> a.charged",
    },
    Check {
        invariant: 6,
        what: "request has a line of the journal twice",
        pairs: &[("lines", Count)],
        sql: "SELECT request_id, CAST(1 AS BIGINT), COUNT(*) FROM journal WHERE request_id IS NOT NULL AND kind <> \
              'hold_grown' GROUP BY request_id, kind, line HAVING COUNT(*) > 1",
    },
    Check {
        invariant: 14,
        what: "request without a permit gave one back",
        pairs: &[("parked", Count)],
        sql: "SELECT request_id, CAST(0 AS BIGINT), parked FROM hold WHERE parked <> 0 AND class IS NULL",
    },
    Check {
        invariant: 15,
        what: "attempt before a request's last was not charged what its record says",
        pairs: &[("charged", Dollars)],
        sql: "SELECT a.attempt_id, u.charged, a.charged FROM request_attempt a LEFT JOIN usage_record u ON u.account_id = \
              a.account_id AND u.request_id = a.attempt_id WHERE a.attempt_id IS NOT NULL AND (u.charged IS NULL OR \
              u.charged <> a.charged)",
    },
    Check {
        invariant: 6,
        what: "attempt before a request's last was charged too",
        pairs: &[("charged", Dollars)],
        sql: "SELECT request_id, CAST(0 AS BIGINT), charged FROM request_attempt WHERE charged <> 0",
    },
    Check {
        invariant: 11,
        what: "purchased grant without its succeeded payment",
        pairs: &[("paid", Dollars)],
        sql: "SELECT g.id, g.funded, (SELECT CAST(SUM(p.amount) AS BIGINT) FROM payment p WHERE p.account_id = \
              g.account_id AND p.purpose = g.source AND p.status = 'succeeded' AND p.grant_key = g.source_key) \
              FROM credit_grant g WHERE g.source IN ('purchase', 'auto_reload', 'auto_scale') AND NOT EXISTS \
              (SELECT 1 FROM payment p WHERE p.account_id = g.account_id AND p.purpose = g.source AND p.status = \
              'succeeded' AND p.grant_key = g.source_key AND p.amount = g.funded)",
    },
    Check {
        invariant: 11,
        what: "succeeded payment without its grant",
        pairs: &[("funded", Dollars)],
        sql: "SELECT p.id, p.amount, CAST(NULL AS BIGINT) FROM payment p WHERE p.status = 'succeeded' AND NOT \
              EXISTS (SELECT 1 FROM credit_grant g WHERE g.account_id = p.account_id AND g.source_key = \
              p.grant_key)",
    },
    Check {
        invariant: 11,
        what: "grant's paid dollars are not its payment's, less what was reversed",
        pairs: &[("paid", Dollars)],
        sql: "SELECT g.id, COALESCE(p.amount - p.reversed, 0), g.paid FROM credit_grant g LEFT JOIN payment p ON \
              p.account_id = g.account_id AND p.grant_key = g.source_key AND p.status = 'succeeded' WHERE g.paid \
              <> COALESCE(p.amount - p.reversed, 0)",
    },
    Check {
        invariant: 11,
        what: "payment's reversed dollars are not its refunds and disputes that stand",
        pairs: &[("reversed", Dollars)],
        sql: "SELECT p.id, CASE WHEN COALESCE(r.standing, 0) > p.amount THEN p.amount ELSE COALESCE(r.standing, 0) \
              END, p.reversed FROM payment p LEFT JOIN (SELECT payment_id, CAST(SUM(amount) AS BIGINT) AS standing \
              FROM payment_reversal WHERE state IN ('pending', 'succeeded', 'open', 'lost') GROUP BY payment_id) r \
              ON r.payment_id = p.id WHERE p.reversed <> CASE WHEN COALESCE(r.standing, 0) > p.amount THEN p.amount \
              ELSE COALESCE(r.standing, 0) END",
    },
    Check {
        invariant: 11,
        what: "payment has one refund or dispute of its processor's twice",
        pairs: &[("rows", Count)],
        sql: "SELECT payment_id, CAST(1 AS BIGINT), COUNT(*) FROM payment_reversal WHERE reference IS NOT NULL AND \
              state <> 'replaced' GROUP BY payment_id, kind, reference HAVING COUNT(*) > 1",
    },
    Check {
        invariant: 11,
        what: "succeeded payment without its processor's name for it",
        pairs: &[("names", Count)],
        sql: "SELECT id, CAST(1 AS BIGINT), CAST(0 AS BIGINT) FROM payment WHERE status = 'succeeded' AND reference \
              IS NULL",
    },
    Check {
        invariant: 11,
        what: "payment has another payment's charge",
        pairs: &[("payments of the charge", Count)],
        sql: "SELECT p.id, CAST(1 AS BIGINT), r.n FROM payment p JOIN (SELECT reference, COUNT(*) AS n FROM payment \
              WHERE reference IS NOT NULL GROUP BY reference HAVING COUNT(*) > 1) r ON r.reference = p.reference",
    },
    Check {
        invariant: 11,
        what: "account's plan is not paid until what its fees say",
        pairs: &[("paid until", Count)],
        sql: "SELECT a.id, f.paid_until, a.subscribed_until FROM account a LEFT JOIN (SELECT account_id, \
              MAX(paid_until) AS paid_until FROM (SELECT p.account_id, p.cycle_end AS paid_until FROM payment p WHERE \
              p.purpose = 'subscription' AND p.status = 'succeeded' AND (p.reversed < p.amount OR EXISTS (SELECT 1 \
              FROM payment_reversal e WHERE e.payment_id = p.id AND e.kind = 'earlier' AND e.state = 'succeeded')) \
              AND NOT EXISTS (SELECT 1 FROM payment_reversal r WHERE r.payment_id = p.id AND r.kind = 'dispute' AND r.state IN ('open', \
              'lost')) UNION ALL SELECT account_id, expires_at FROM credit_grant WHERE source = 'plan' AND source_key \
              LIKE 'cycle %') t GROUP BY account_id) f ON f.account_id = a.id WHERE COALESCE(f.paid_until, -1) <> \
              COALESCE(a.subscribed_until, -1)",
    },
    Check {
        invariant: 11,
        what: "grant's expiry is not what its source and its beginning say",
        pairs: &[("expires at", Count)],
        sql: "SELECT g.id, e.expected, g.expires_at FROM credit_grant g JOIN (SELECT c.id, CASE WHEN c.source_key LIKE \
              'cycle %' THEN CAST(SUBSTR(c.source_key, 7) AS BIGINT) + 2419200000 WHEN r.lasts > c.created_at + \
              2419200000 THEN r.lasts ELSE c.created_at + 2419200000 END AS expected, r.lasts FROM credit_grant c LEFT \
              JOIN payment p ON p.account_id = c.account_id AND p.grant_key = c.source_key LEFT JOIN (SELECT \
              payment_id, MAX(changed_at + left_ms) AS lasts FROM payment_reversal WHERE state IN ('failed', 'won', 'replaced') \
              GROUP BY payment_id) r ON r.payment_id = p.id WHERE p.id IS NOT NULL OR (c.source IN ('free', 'plan') AND \
              c.source_key LIKE 'cycle %')) e ON e.id = g.id WHERE g.expires_at <> e.expected AND NOT (e.lasts IS NOT \
              NULL AND g.expires_at >= g.created_at + 2419200000 AND g.expires_at <= e.expected)",
    },
    Check {
        invariant: 12,
        what: "account's auto-reload is beyond its monthly maximum",
        pairs: &[("reserved and settled", DollarsAtMost)],
        sql: "SELECT account_id, reload_max, reload_reserved + reload_settled FROM spend_window WHERE \
              reload_reserved + reload_settled > reload_max",
    },
    Check {
        invariant: 12,
        what: "account's automatic spending is beyond its monthly maximum",
        pairs: &[("reserved and settled", DollarsAtMost)],
        sql: "SELECT account_id, spend_max, reload_reserved + reload_settled + scale_reserved + scale_settled FROM \
              spend_window WHERE reload_reserved + reload_settled + scale_reserved + scale_settled > spend_max",
    },
    Check {
        invariant: 13,
        what: "an older owner wrote after a newer one in the account's journal",
        pairs: &[("owner's epoch", CountAtLeast)],
        sql: "SELECT account_id, MAX(before), MIN(epoch) FROM (SELECT account_id, epoch, LAG(epoch) OVER \
              (PARTITION BY account_id ORDER BY seq, line) AS before FROM journal) t WHERE before > epoch GROUP BY \
              account_id",
    },
    Check {
        invariant: 13,
        what: "rows of an account that is not there",
        pairs: &[("accounts", Count)],
        sql: "SELECT account_id, CAST(1 AS BIGINT), CAST(0 AS BIGINT) FROM (SELECT account_id FROM journal UNION SELECT \
              account_id FROM usage_record UNION SELECT account_id FROM usage_rollup UNION SELECT account_id FROM usage_session UNION SELECT account_id FROM request_attempt UNION SELECT account_id FROM \
              credit_grant UNION SELECT account_id FROM hold UNION SELECT account_id FROM payment UNION SELECT account_id \
              FROM payment_reversal UNION SELECT account_id FROM payment_customer UNION SELECT account_id FROM \
              payment_method UNION SELECT account_id FROM card_choice UNION SELECT account_id FROM subscription UNION \
              SELECT account_id FROM auto_purchase UNION SELECT account_id FROM spend_window UNION SELECT account_id FROM \
              account_event UNION SELECT account_id FROM api_key UNION SELECT account_id FROM request_proof UNION SELECT \
              account_id FROM webhook_endpoint EXCEPT SELECT id FROM account) t",
    },
    Check {
        invariant: 11,
        what: "rows of a payment that is not there",
        pairs: &[("payments", Count)],
        sql: "SELECT payment_id, CAST(1 AS BIGINT), CAST(0 AS BIGINT) FROM (SELECT payment_id FROM payment_reversal \
              UNION SELECT payment_id FROM payment_card EXCEPT SELECT id FROM payment) t",
    },
    Check {
        invariant: 13,
        what: "journal line without its batch",
        pairs: &[("batches", Count)],
        sql: "SELECT DISTINCT j.batch_id, CAST(1 AS BIGINT), CAST(0 AS BIGINT) FROM journal j LEFT JOIN batch b ON \
              b.id = j.batch_id WHERE b.id IS NULL",
    },
];
