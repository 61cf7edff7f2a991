//! An account from its rows: header, live grants, open holds, pending payments. What it costs does not grow with the
//! account's history.

use billing::{
    Nanos, Timestamp,
    account::{Account, Header},
    class::{SizeClass, Units},
    entry::{Payment, PaymentStatus},
    grant::{Grant, Source},
    hold::{Hold, Work},
    ids::{AccountId, GrantId, KeyId, PaymentId, RequestId},
    plan::Plan,
    time::FOUR_WEEKS_MS,
};
use sea_orm::QueryResult;
use uuid::Uuid;

use super::{Ledger, LedgerError};

impl Ledger {
    /// An account's state; none where there is no such account.
    pub async fn load_account(&self, id: AccountId, now: Timestamp) -> Result<Option<Account>, LedgerError> {
        let sql = "SELECT plan, created_at, subscribed_until, debt, charged, seq, clock FROM account WHERE id = ?";
        let Some(row) = self.row(sql, [id.0.into()]).await? else { return Ok(None) };
        let header = header(&row)?;
        let sql = format!(
            "SELECT {GRANT} FROM credit_grant WHERE account_id = ? AND \
             (expires_at > ? OR available > 0 OR held > 0 OR (paid > 0 AND created_at > ?))"
        );
        let window = now.plus_ms(-FOUR_WEEKS_MS).0;
        let grants = self.rows(&sql, [id.0.into(), now.0.into(), window.into()]).await?;
        let sql = "SELECT request_id, key_id, class, units, model, provider, price_version, allocations, accrued, worst_case, placed_at, deadline \
                   FROM hold WHERE account_id = ?";
        let holds = self.rows(sql, [id.0.into()]).await?;
        let sql = "SELECT id, amount, status, method, decline_code, created_at FROM payment \
                   WHERE account_id = ? AND status = 'pending'";
        let payments = self.rows(sql, [id.0.into()]).await?;
        Ok(Some(Account::load(
            id,
            header,
            grants.iter().map(grant).collect::<Result<_, _>>()?,
            holds.iter().map(hold).collect::<Result<_, _>>()?,
            payments.iter().map(payment).collect::<Result<_, _>>()?,
        )))
    }

    /// Accounts with something to do by themselves: open holds of an earlier process, or payments nobody answered.
    pub async fn unfinished_accounts(&self) -> Result<Vec<AccountId>, LedgerError> {
        let sql = "SELECT account_id FROM hold \
                   UNION SELECT account_id FROM payment WHERE status = 'pending'";
        let rows = self.rows(sql, []).await?;
        rows.iter().map(|row| Ok(AccountId(row.try_get_by_index(0)?))).collect()
    }

    /// Accounts with credits that have run out of time, at most `limit`.
    pub async fn due_accounts(&self, now: Timestamp, limit: u64) -> Result<Vec<AccountId>, LedgerError> {
        let sql = "SELECT DISTINCT account_id FROM credit_grant WHERE available > 0 AND expires_at <= ? LIMIT ?";
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let rows = self.rows(sql, [now.0.into(), limit.into()]).await?;
        rows.iter().map(|row| Ok(AccountId(row.try_get_by_index(0)?))).collect()
    }
}

/// The columns [`grant`] reads, in order.
pub(super) const GRANT: &str =
    "id, source, source_key, paid, created_at, expires_at, funded, available, held, spent, expired, voided";

fn amount(row: &QueryResult, column: &str) -> Result<Nanos, LedgerError> {
    Ok(Nanos::new(row.try_get("", column)?))
}

fn header(row: &QueryResult) -> Result<Header, LedgerError> {
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
    })
}

/// A grant from its row.
pub(super) fn grant(row: &QueryResult) -> Result<Grant, LedgerError> {
    let source: String = row.try_get("", "source")?;
    Ok(Grant {
        id: GrantId(row.try_get("", "id")?),
        source: Source::from_name(&source).ok_or_else(|| LedgerError::Corrupt(format!("source {source}")))?,
        source_key: row.try_get("", "source_key")?,
        paid: amount(row, "paid")?,
        created_at: Timestamp(row.try_get("", "created_at")?),
        expires_at: Timestamp(row.try_get("", "expires_at")?),
        funded: amount(row, "funded")?,
        available: amount(row, "available")?,
        held: amount(row, "held")?,
        spent: amount(row, "spent")?,
        expired: amount(row, "expired")?,
        voided: amount(row, "voided")?,
    })
}

fn hold(row: &QueryResult) -> Result<Hold, LedgerError> {
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
        model: row.try_get("", "model")?,
        provider: row.try_get("", "provider")?,
        price_version: row.try_get("", "price_version")?,
        allocations: parse_allocations(&allocations)?,
        accrued: amount(row, "accrued")?,
        worst_case: amount(row, "worst_case")?,
        placed_at: Timestamp(row.try_get("", "placed_at")?),
        deadline: Timestamp(row.try_get("", "deadline")?),
    })
}

/// The reverse of what a hold's row is written with: `grant=nanos` pairs, separated by spaces.
pub(super) fn parse_allocations(text: &str) -> Result<Vec<(GrantId, Nanos)>, LedgerError> {
    let corrupt = || LedgerError::Corrupt(format!("allocations {text}"));
    let pair = |part: &str| {
        let (grant, nanos) = part.split_once('=').ok_or_else(corrupt)?;
        let grant = Uuid::parse_str(grant).map_err(|_| corrupt())?;
        Ok((GrantId(grant), Nanos::new(nanos.parse().map_err(|_| corrupt())?)))
    };
    text.split_whitespace().map(pair).collect()
}

/// A payment from its row.
pub(super) fn payment(row: &QueryResult) -> Result<Payment, LedgerError> {
    let status: String = row.try_get("", "status")?;
    Ok(Payment {
        id: PaymentId(row.try_get("", "id")?),
        amount: amount(row, "amount")?,
        status: PaymentStatus::from_name(&status).ok_or_else(|| LedgerError::Corrupt(format!("status {status}")))?,
        method: row.try_get("", "method")?,
        decline_code: row.try_get("", "decline_code")?,
        created_at: Timestamp(row.try_get("", "created_at")?),
    })
}
