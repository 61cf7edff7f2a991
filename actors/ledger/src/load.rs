//! Loads an account from its rows: header, live grants, open holds, pending payments, its plan and its automatic
//! purchases. The cost does not grow with the account's history.

use billing::{
    Nanos, Timestamp,
    account::{Account, Automatic, Header, Stored},
    automatic::{AutoSettings, AutoState, SpendWindow, Switch},
    class::{SizeClass, Units},
    grant::{Grant, Source, Taken},
    hold::{Hold, Work},
    ids::{AccountId, GrantId, KeyId, PaymentId, RequestId},
    learned::{Learned, REMEMBERED},
    payment::{Maxima, Payment, PaymentStatus, Purpose},
    plan::Plan,
    session::Session,
    subscription::{AtEnd, Status, Subscription},
    time::{FOUR_WEEKS_MS, Month},
};
use sea_orm::QueryResult;
use uuid::Uuid;

use super::{Ledger, LedgerError, project::fault};

/// The columns [`payment`] reads.
pub(super) const PAYMENT: &str = "id, purpose, amount, reversed, status, method, reference, decline_code, created_at, ended_at, cycle_end, reload_max, \
     spend_max";

/// An account's row, with flags for its other rows, and why it is stopped.
const ACCOUNT: &str = "SELECT plan, created_at, subscribed_until, debt, charged, seq, clock, wake_at, revision, frozen_at, \
    CAST((CASE WHEN EXISTS (SELECT 1 FROM hold WHERE account_id = a.id) THEN 1 ELSE 0 END) AS BIGINT) AS has_holds, \
    CAST((CASE WHEN EXISTS (SELECT 1 FROM payment WHERE account_id = a.id AND status = 'pending') THEN 1 ELSE 0 END) AS BIGINT) \
        AS has_payments, \
    CAST((CASE WHEN EXISTS (SELECT 1 FROM subscription WHERE account_id = a.id) THEN 1 ELSE 0 END) AS BIGINT) AS has_subscription, \
    CAST((CASE WHEN EXISTS (SELECT 1 FROM auto_purchase WHERE account_id = a.id) THEN 1 ELSE 0 END) AS BIGINT) AS has_automatic, \
    CAST((CASE WHEN EXISTS (SELECT 1 FROM api_key WHERE account_id = a.id AND (limit_day IS NOT NULL \
        OR limit_week IS NOT NULL OR limit_month IS NOT NULL OR limit_total IS NOT NULL OR models IS NOT NULL)) \
        THEN 1 ELSE 0 END) AS BIGINT) AS has_limited_keys, \
    (SELECT why FROM projection_fault WHERE account_id = a.id) AS stopped \
    FROM account a WHERE a.id = ?";

impl Ledger {
    /// Loads an account's state; `None` if there is no such account. Rows that the flags exclude are not read: most
    /// accounts are a row and a few grants.
    ///
    /// # Errors
    ///
    /// The database can't be read now: try again later. A row is [`LedgerError::Corrupt`], or the account was stopped
    /// because its rows can't be made: an operator must examine the database.
    ///
    /// # Panics
    ///
    /// If the rows break an invariant: see [`Account::load`]. The account must not run, and an operator must examine
    /// it.
    pub async fn load_account(&self, id: AccountId, now: Timestamp) -> Result<Option<Account>, LedgerError> {
        self.as_owner().load(id, now).await
    }

    async fn load(&self, id: AccountId, now: Timestamp) -> Result<Option<Account>, LedgerError> {
        let Some(row) = self.row(ACCOUNT, [id.0.into()]).await? else {
            // An account that was stopped when it was opened has no row.
            let stopped = self.row("SELECT why FROM projection_fault WHERE account_id = ?", [id.0.into()]).await?;
            return stopped.map_or(Ok(None), |row| Err(fault(&row.try_get_by_index::<String>(0)?)));
        };
        if let Some(why) = row.try_get::<Option<String>>("", "stopped")? {
            return Err(fault(&why));
        }
        let header = header(&row)?;
        let has = |column| Ok::<_, LedgerError>(row.try_get::<i64>("", column)? != 0);
        let sql = format!(
            "SELECT {GRANT} FROM credit_grant WHERE account_id = ? AND \
             (expires_at > ? OR available > 0 OR held > 0 OR (paid > 0 AND created_at > ?))"
        );
        // Ledger time may be ahead of this process's clock.
        let now = now.max(header.clock);
        let window = now.plus_ms(-FOUR_WEEKS_MS).0;
        let grants = self.rows(&sql, [id.0.into(), now.0.into(), window.into()]).await?;
        let mut stored = Stored::new(header);
        stored.grants = grants.iter().map(grant).collect::<Result<_, _>>()?;
        if has("has_holds")? {
            let sql = "SELECT request_id, key_id, class, units, model, provider, price_version, allocations, accrued, worst_case, claimed, placed_at, deadline, \
                       parked, session FROM hold WHERE account_id = ?";
            stored.holds = self.rows(sql, [id.0.into()]).await?.iter().map(hold).collect::<Result<_, _>>()?;
        }
        if has("has_payments")? {
            let sql = format!("SELECT {PAYMENT} FROM payment WHERE account_id = ? AND status = 'pending'");
            stored.payments = self.rows(&sql, [id.0.into()]).await?.iter().map(payment).collect::<Result<_, _>>()?;
        }
        if has("has_subscription")? {
            stored.subscription = self.subscription(id).await?;
        }
        if has("has_automatic")? {
            stored.automatic = self.automatic(id).await?;
        }
        if has("has_limited_keys")? {
            stored.keys = self.limited_keys(id, now).await?;
        }
        if stored.header.charged.is_positive() {
            stored.learned = self.learned(id).await?;
        }
        Ok(Some(Account::load(id, stored)))
    }

    async fn subscription(&self, id: AccountId) -> Result<Option<Subscription>, LedgerError> {
        let sql =
            "SELECT status, cancels, method, started_at, failures, retry_at FROM subscription WHERE account_id = ?";
        self.row(sql, [id.0.into()]).await?.as_ref().map(subscription).transpose()
    }

    async fn automatic(&self, id: AccountId) -> Result<Option<Automatic>, LedgerError> {
        let sql = "SELECT reload, threshold, amount, monthly_max, scale, monthly_spend, method, begun, failures, retry_at, \
                   full_month, paused_at, alerts, told FROM auto_purchase WHERE account_id = ?";
        let Some(row) = self.row(sql, [id.0.into()]).await? else { return Ok(None) };
        let sql = "SELECT month, reload_reserved, reload_settled, scale_reserved, scale_settled, reload_max, spend_max \
                   FROM spend_window WHERE account_id = ? ORDER BY month DESC LIMIT 1";
        let spent = self.row(sql, [id.0.into()]).await?;
        Ok(Some(automatic(&row, spent.as_ref())?))
    }

    /// Learns from the account's last closed answers.
    async fn learned(&self, id: AccountId) -> Result<Learned, LedgerError> {
        let sql = "SELECT model, provider, ending, estimated, output_tokens FROM usage_record WHERE account_id = ? \
                   ORDER BY request_id DESC LIMIT ?";
        let last = i64::try_from(2 * REMEMBERED).unwrap_or(i64::MAX);
        let mut learned = Learned::default();
        // Oldest first, in the order of the requests.
        for row in self.rows(sql, [id.0.into(), last.into()]).await?.iter().rev() {
            let (model, provider, ending): (String, String, String) =
                (row.try_get_by_index(0)?, row.try_get_by_index(1)?, row.try_get_by_index(2)?);
            let (estimated, output): (i64, i64) = (row.try_get_by_index(3)?, row.try_get_by_index(4)?);
            if provider != "farebox" && ending == "completed" && estimated == 0 && output > 0 {
                learned.observe(&model, output.unsigned_abs());
            }
        }
        Ok(learned)
    }

    /// Accounts with unfinished work: open holds of an earlier process, or pending payments.
    ///
    /// # Errors
    ///
    /// The database can't be read now: try again later.
    pub async fn unfinished_accounts(&self) -> Result<Vec<AccountId>, LedgerError> {
        let its = self.in_owned_shards("account_id");
        let sql = format!(
            "SELECT account_id FROM hold WHERE {its} \
             UNION SELECT account_id FROM payment WHERE status = 'pending' AND {its}"
        );
        let rows = self.as_owner().rows(&sql, []).await?;
        rows.iter().map(|row| Ok(AccountId(row.try_get_by_index(0)?))).collect()
    }

    /// Accounts with due work, the longest due first, at most `limit`.
    ///
    /// # Errors
    ///
    /// The database can't be read now: try again later.
    pub async fn due_accounts(&self, now: Timestamp, limit: u64) -> Result<Vec<AccountId>, LedgerError> {
        let its = self.in_owned_shards("id");
        let sql = format!("SELECT id FROM account WHERE wake_at <= ? AND {its} ORDER BY wake_at LIMIT ?");
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let rows = self.as_owner().rows(&sql, [now.0.into(), limit.into()]).await?;
        rows.iter().map(|row| Ok(AccountId(row.try_get_by_index(0)?))).collect()
    }
}

fn subscription(row: &QueryResult) -> Result<Subscription, LedgerError> {
    let (status, cancels): (String, i64) = (row.try_get("", "status")?, row.try_get("", "cancels")?);
    Ok(Subscription {
        status: Status::from_name(&status).ok_or_else(|| LedgerError::Corrupt(format!("status {status}")))?,
        at_end: if cancels == 0 { AtEnd::Renew } else { AtEnd::Cancel },
        method: row.try_get("", "method")?,
        started_at: Timestamp(row.try_get("", "started_at")?),
        failures: count(row, "failures")?,
        retry_at: instant(row, "retry_at")?,
    })
}

fn automatic(row: &QueryResult, spent: Option<&QueryResult>) -> Result<Automatic, LedgerError> {
    let switch = |column| Ok::<_, LedgerError>(Switch::from_bool(row.try_get::<i64>("", column)? != 0));
    let (begun, full_month): (i64, Option<i64>) = (row.try_get("", "begun")?, row.try_get("", "full_month")?);
    Ok(Automatic {
        settings: AutoSettings {
            reload: switch("reload")?,
            threshold: amount(row, "threshold")?,
            amount: amount(row, "amount")?,
            monthly_max: amount(row, "monthly_max")?,
            scale: switch("scale")?,
            monthly_spend: amount(row, "monthly_spend")?,
            method: row.try_get("", "method")?,
            alerts: row.try_get::<Option<String>>("", "alerts")?.as_deref().map(amounts).transpose()?,
        },
        state: AutoState {
            begun: begun.unsigned_abs(),
            failures: count(row, "failures")?,
            retry_at: instant(row, "retry_at")?,
            full_month: full_month.map(Month),
            paused_at: instant(row, "paused_at")?,
            told: amounts(&row.try_get::<String>("", "told")?)?,
        },
        window: spent.map(window).transpose()?.unwrap_or_default(),
    })
}

/// Amounts in nano-dollars between spaces.
fn amounts(text: &str) -> Result<Vec<Nanos>, LedgerError> {
    let amount = |part: &str| part.parse().map(Nanos::new).map_err(|_| LedgerError::Corrupt(format!("amounts {text}")));
    text.split_whitespace().map(amount).collect()
}

fn window(row: &QueryResult) -> Result<SpendWindow, LedgerError> {
    Ok(SpendWindow {
        month: Month(row.try_get("", "month")?),
        reload_reserved: amount(row, "reload_reserved")?,
        reload_settled: amount(row, "reload_settled")?,
        scale_reserved: amount(row, "scale_reserved")?,
        scale_settled: amount(row, "scale_settled")?,
        reload_max: amount(row, "reload_max")?,
        spend_max: amount(row, "spend_max")?,
    })
}

fn count(row: &QueryResult, column: &str) -> Result<u32, LedgerError> {
    let count: i64 = row.try_get("", column)?;
    u32::try_from(count).map_err(|_| LedgerError::Corrupt(format!("{column} {count}")))
}

pub(super) fn instant(row: &QueryResult, column: &str) -> Result<Option<Timestamp>, LedgerError> {
    Ok(row.try_get::<Option<i64>>("", column)?.map(Timestamp))
}

/// The columns [`grant`] reads, in order.
pub(super) const GRANT: &str = "id, source, source_key, paid, created_at, expires_at, funded, available, held, spent, expired, voided, recall, notices, \
     taken_unused, taken_gone, taken_held, taken_spent";

pub(super) fn amount(row: &QueryResult, column: &str) -> Result<Nanos, LedgerError> {
    Ok(Nanos::new(row.try_get("", column)?))
}

/// An account's header from its row.
pub(super) fn header(row: &QueryResult) -> Result<Header, LedgerError> {
    let plan: String = row.try_get("", "plan")?;
    let seq: i64 = row.try_get("", "seq")?;
    let until: Option<i64> = row.try_get("", "subscribed_until")?;
    Ok(Header {
        plan: Plan::from_name(&plan).ok_or_else(|| LedgerError::Corrupt(format!("plan {plan}")))?,
        created_at: Timestamp(row.try_get("", "created_at")?),
        subscribed_until: until.map(Timestamp),
        debt: amount(row, "debt")?,
        charged: amount(row, "charged")?,
        seq: u64::try_from(seq).map_err(|_| LedgerError::Corrupt(format!("seq {seq}")))?,
        clock: Timestamp(row.try_get("", "clock")?),
        wake_at: instant(row, "wake_at")?,
        revision: row.try_get::<i64>("", "revision")?.unsigned_abs(),
        frozen_at: instant(row, "frozen_at")?,
    })
}

/// A grant from its row.
pub(super) fn grant(row: &QueryResult) -> Result<Grant, LedgerError> {
    let source: String = row.try_get("", "source")?;
    Ok(Grant {
        id: GrantId(row.try_get("", "id")?),
        source: Source::from_name(&source).ok_or_else(|| LedgerError::Corrupt(format!("source {source}")))?,
        source_key: row.try_get::<String>("", "source_key")?.into(),
        paid: amount(row, "paid")?,
        created_at: Timestamp(row.try_get("", "created_at")?),
        expires_at: Timestamp(row.try_get("", "expires_at")?),
        funded: amount(row, "funded")?,
        available: amount(row, "available")?,
        held: amount(row, "held")?,
        spent: amount(row, "spent")?,
        expired: amount(row, "expired")?,
        voided: amount(row, "voided")?,
        recall: amount(row, "recall")?,
        taken: Taken {
            unused: amount(row, "taken_unused")?,
            gone: amount(row, "taken_gone")?,
            held: amount(row, "taken_held")?,
            spent: amount(row, "taken_spent")?,
        },
        notices: u8::try_from(count(row, "notices")?).unwrap_or(u8::MAX),
    })
}

/// A hold from its row.
pub(super) fn hold(row: &QueryResult) -> Result<Hold, LedgerError> {
    let class: Option<String> = row.try_get("", "class")?;
    let units: i64 = row.try_get("", "units")?;
    let work = match class {
        None => Work::Closed,
        Some(name) => Work::Open {
            class: SizeClass::from_name(&name).ok_or_else(|| LedgerError::Corrupt(format!("class {name}")))?,
            units: Units(u32::try_from(units).map_err(|_| LedgerError::Corrupt(format!("units {units}")))?),
        },
    };
    let key_id: Option<Uuid> = row.try_get("", "key_id")?;
    let allocations: String = row.try_get("", "allocations")?;
    Ok(Hold {
        request_id: RequestId(row.try_get("", "request_id")?),
        key_id: key_id.map(KeyId),
        work,
        model: row.try_get::<String>("", "model")?.into(),
        provider: row.try_get::<String>("", "provider")?.into(),
        price_version: row.try_get("", "price_version")?,
        allocations: parse_allocations(&allocations)?,
        accrued: amount(row, "accrued")?,
        worst_case: amount(row, "worst_case")?,
        claimed: row.try_get::<Option<i64>>("", "claimed")?.map(Nanos::new),
        placed_at: Timestamp(row.try_get("", "placed_at")?),
        deadline: Timestamp(row.try_get("", "deadline")?),
        is_parked: row.try_get::<i64>("", "parked")? != 0,
        session: row
            .try_get::<Option<String>>("", "session")?
            .map(Session::new)
            .transpose()
            .map_err(|error| LedgerError::Corrupt(error.to_string()))?,
    })
}

/// Parses the allocations of a hold's row: `grant=nanos` pairs, separated by spaces.
pub(super) fn parse_allocations(text: &str) -> Result<Vec<(GrantId, Nanos)>, LedgerError> {
    let corrupt = || LedgerError::Corrupt(format!("allocations {text}"));
    let pair = |part: &str| {
        let (grant, nanos) = part.split_once('=').ok_or_else(corrupt)?;
        let grant = Uuid::parse_str(grant).map_err(|_| corrupt())?;
        Ok((GrantId(grant), Nanos::new(nanos.parse().map_err(|_| corrupt())?)))
    };
    text.split_whitespace().map(pair).collect()
}

fn maxima(row: &QueryResult) -> Result<Option<Maxima>, LedgerError> {
    let (reload, spend): (Option<i64>, Option<i64>) = (row.try_get("", "reload_max")?, row.try_get("", "spend_max")?);
    Ok(reload.zip(spend).map(|(reload, spend)| Maxima { reload: Nanos::new(reload), spend: Nanos::new(spend) }))
}

/// A payment from its row.
pub(super) fn payment(row: &QueryResult) -> Result<Payment, LedgerError> {
    let (status, purpose): (String, String) = (row.try_get("", "status")?, row.try_get("", "purpose")?);
    Ok(Payment {
        id: PaymentId(row.try_get("", "id")?),
        purpose: Purpose::from_name(&purpose).ok_or_else(|| LedgerError::Corrupt(format!("purpose {purpose}")))?,
        amount: amount(row, "amount")?,
        reversed: amount(row, "reversed")?,
        status: PaymentStatus::from_name(&status).ok_or_else(|| LedgerError::Corrupt(format!("status {status}")))?,
        method: row.try_get("", "method")?,
        reference: row.try_get("", "reference")?,
        decline_code: row.try_get("", "decline_code")?,
        created_at: Timestamp(row.try_get("", "created_at")?),
        ended_at: instant(row, "ended_at")?,
        cycle_end: instant(row, "cycle_end")?,
        maxima: maxima(row)?,
    })
}
