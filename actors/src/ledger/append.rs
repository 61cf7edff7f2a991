//! One batch, one transaction: the transitions of many accounts are written whole or not at all. What is absolute (the
//! state of a grant, a hold, an account) is written once per batch, in its last form; what is a fact is written always.

use std::collections::HashMap;

use billing::{
    Timestamp,
    account::Header,
    entry::{Line, Payment, Transition, UsageRecord},
    grant::Grant,
    hold::{Hold, Work},
    ids::{AccountId, GrantId, PaymentId, RequestId},
};
use sea_orm::{ConnectionTrait, DatabaseTransaction, DbBackend, TransactionTrait, Value};
use uuid::Uuid;

use super::{Ledger, LedgerError, rows::Rows};

/// What several transitions come to, merged.
struct Batch<'a> {
    headers: HashMap<AccountId, &'a Header>,
    grants: HashMap<GrantId, (AccountId, &'a Grant)>,
    holds: HashMap<RequestId, (AccountId, &'a Hold, Option<Timestamp>)>,
    ended_elsewhere: Vec<(RequestId, Timestamp)>,
    payments: HashMap<PaymentId, (AccountId, &'a Payment)>,
}

impl Ledger {
    /// Commits transitions as one batch. [`LedgerError::Database`] leaves the outcome unknown where the connection broke
    /// while committing: [`Ledger::has_batch`] tells.
    pub async fn append(&self, batch_id: Uuid, transitions: &[&Transition], now: Timestamp) -> Result<(), LedgerError> {
        let tx = self.write.begin().await?;
        self.fence(&tx, batch_id, transitions.len(), now).await?;
        let batch = merge(transitions);
        // Grants before holds before the journal: as the references and checks expect them.
        for rows in [
            account_rows(&batch, self.backend),
            grant_rows(&batch),
            hold_rows(&batch),
            ended_rows(&batch, self.backend),
            journal_rows(transitions, batch_id, self.epoch),
            usage_rows(transitions),
            payment_rows(&batch),
        ] {
            for (sql, values) in rows.statements(self.backend) {
                tx.execute_raw(sea_orm::Statement::from_sql_and_values(self.backend, sql, values)).await?;
            }
        }
        tx.commit().await?;
        Ok(())
    }

    /// Whether a batch was committed.
    pub async fn has_batch(&self, batch_id: Uuid) -> Result<bool, LedgerError> {
        let statement = self.statement("SELECT 1 FROM batch WHERE id = ?", [batch_id.into()]);
        Ok(self.write.query_one_raw(statement).await?.is_some())
    }

    /// Writes the batch's row only while this process owns the ledger. In PostgreSQL the lease's row stays locked until
    /// the commit, so a takeover waits for it.
    async fn fence(&self, tx: &DatabaseTransaction, id: Uuid, size: usize, now: Timestamp) -> Result<(), LedgerError> {
        let lock = if self.backend == DbBackend::Postgres { " FOR SHARE" } else { "" };
        let sql = format!("SELECT epoch FROM shard_lease WHERE shard = 0{lock}");
        let row = tx.query_one_raw(self.statement(&sql, [])).await?;
        let epoch: Option<i64> = row.map(|row| row.try_get_by_index(0)).transpose()?;
        if epoch != Some(self.epoch) {
            return Err(LedgerError::Fenced);
        }
        let sql = "INSERT INTO batch (id, epoch, at, transitions) VALUES (?, ?, ?, ?)";
        let size = i64::try_from(size).unwrap_or(i64::MAX);
        tx.execute_raw(self.statement(sql, [id.into(), self.epoch.into(), now.0.into(), size.into()])).await?;
        Ok(())
    }
}

fn merge<'a>(transitions: &[&'a Transition]) -> Batch<'a> {
    let mut batch = Batch {
        headers: HashMap::new(),
        grants: HashMap::new(),
        holds: HashMap::new(),
        ended_elsewhere: Vec::new(),
        payments: HashMap::new(),
    };
    for transition in transitions {
        let account = transition.account_id;
        batch.headers.insert(account, &transition.header);
        for grant in &transition.grants {
            batch.grants.insert(grant.id, (account, grant));
        }
        if let Some(hold) = &transition.hold {
            batch.holds.insert(hold.request_id, (account, hold, None));
        }
        if let Some(id) = transition.ended {
            match batch.holds.get_mut(&id) {
                Some((_, _, ended_at)) => *ended_at = Some(transition.at),
                None => batch.ended_elsewhere.push((id, transition.at)),
            }
        }
        if let Some(payment) = &transition.payment {
            batch.payments.insert(payment.id, (account, payment));
        }
    }
    batch
}

/// PostgreSQL takes parameters of a VALUES list as text unless they are cast where they are compared.
fn account_rows(batch: &Batch<'_>, backend: DbBackend) -> Rows {
    let after = if backend == DbBackend::Postgres {
        ") AS v (id, subscribed_until, debt, charged, seq, clock) WHERE account.id = v.id"
    } else {
        ")) AS v WHERE account.id = v.id"
    };
    let before = if backend == DbBackend::Postgres {
        "UPDATE account SET subscribed_until = v.subscribed_until, debt = v.debt, charged = v.charged, seq = v.seq, \
         clock = v.clock FROM (VALUES"
    } else {
        "UPDATE account SET subscribed_until = v.subscribed_until, debt = v.debt, charged = v.charged, seq = v.seq, \
         clock = v.clock FROM (SELECT column1 AS id, column2 AS subscribed_until, column3 AS debt, column4 AS charged, \
         column5 AS seq, column6 AS clock FROM (VALUES"
    };
    let mut rows = Rows::new(before, 6, after);
    for (id, header) in &batch.headers {
        rows.push([
            id.0.into(),
            header.subscribed_until.map(|until| until.0).into(),
            header.debt.get().into(),
            header.charged.get().into(),
            unsigned(header.seq),
            header.clock.0.into(),
        ]);
    }
    rows
}

fn grant_rows(batch: &Batch<'_>) -> Rows {
    let mut rows = Rows::new(
        "INSERT INTO credit_grant (id, account_id, source, source_key, paid, created_at, expires_at, funded, available, \
         held, spent, expired, voided) VALUES",
        13,
        "ON CONFLICT (id) DO UPDATE SET paid = excluded.paid, available = excluded.available, held = excluded.held, \
         spent = excluded.spent, expired = excluded.expired, voided = excluded.voided",
    );
    for (account_id, grant) in batch.grants.values() {
        rows.push([
            grant.id.0.into(),
            account_id.0.into(),
            grant.source.name().into(),
            grant.source_key.as_str().into(),
            grant.paid.get().into(),
            grant.created_at.0.into(),
            grant.expires_at.0.into(),
            grant.funded.get().into(),
            grant.available.get().into(),
            grant.held.get().into(),
            grant.spent.get().into(),
            grant.expired.get().into(),
            grant.voided.get().into(),
        ]);
    }
    rows
}

fn hold_rows(batch: &Batch<'_>) -> Rows {
    let mut rows = Rows::new(
        "INSERT INTO hold (request_id, account_id, key_id, class, units, model, provider, price_version, allocations, accrued, worst_case, \
         placed_at, deadline, ended_at) VALUES",
        14,
        "ON CONFLICT (request_id) DO UPDATE SET allocations = excluded.allocations, accrued = excluded.accrued, \
         deadline = excluded.deadline, ended_at = excluded.ended_at",
    );
    for (account_id, hold, ended_at) in batch.holds.values() {
        let (class, units) = match hold.work {
            Work::Open { class, units } => (Some(class.name()), units.0),
            Work::Closed => (None, 0),
        };
        rows.push([
            hold.request_id.0.into(),
            account_id.0.into(),
            hold.key_id.map(|id| id.0).into(),
            class.into(),
            i64::from(units).into(),
            hold.model.as_str().into(),
            hold.provider.as_str().into(),
            hold.price_version.into(),
            allocations_text(hold).into(),
            hold.accrued.get().into(),
            hold.worst_case.get().into(),
            hold.placed_at.0.into(),
            hold.deadline.0.into(),
            ended_at.map(|at| at.0).into(),
        ]);
    }
    rows
}

/// `grant=nanos` pairs, separated by spaces.
fn allocations_text(hold: &Hold) -> String {
    let parts = hold.allocations.iter().map(|(grant, amount)| format!("{}={}", grant.0.simple(), amount.get()));
    parts.collect::<Vec<_>>().join(" ")
}

fn ended_rows(batch: &Batch<'_>, backend: DbBackend) -> Rows {
    let (before, after) = if backend == DbBackend::Postgres {
        ("UPDATE hold SET ended_at = v.ended_at FROM (VALUES", ") AS v (id, ended_at) WHERE hold.request_id = v.id")
    } else {
        (
            "UPDATE hold SET ended_at = v.ended_at FROM (SELECT column1 AS id, column2 AS ended_at FROM (VALUES",
            ")) AS v WHERE hold.request_id = v.id",
        )
    };
    let mut rows = Rows::new(before, 2, after);
    for (id, at) in &batch.ended_elsewhere {
        rows.push([id.0.into(), at.0.into()]);
    }
    rows
}

fn journal_rows(transitions: &[&Transition], batch_id: Uuid, epoch: i64) -> Rows {
    let mut rows = Rows::new(
        "INSERT INTO journal (account_id, seq, line, at, batch_id, epoch, kind, grant_id, request_id, d_funded, \
         d_available, d_held, d_spent, d_expired, d_voided, d_debt) VALUES",
        16,
        "",
    );
    for transition in transitions {
        for (place, line) in transition.lines.iter().enumerate() {
            let Line { kind, grant_id, request_id, funded, available, held, spent, expired, voided, debt } = line;
            rows.push([
                transition.account_id.0.into(),
                unsigned(transition.seq),
                unsigned(place as u64),
                transition.at.0.into(),
                batch_id.into(),
                epoch.into(),
                kind.name().into(),
                grant_id.map(|id| id.0).into(),
                request_id.map(|id| id.0).into(),
                funded.get().into(),
                available.get().into(),
                held.get().into(),
                spent.get().into(),
                expired.get().into(),
                voided.get().into(),
                debt.get().into(),
            ]);
        }
    }
    rows
}

fn usage_rows(transitions: &[&Transition]) -> Rows {
    let mut rows = Rows::new(
        "INSERT INTO usage_record (request_id, account_id, key_id, model, provider, ending, input_tokens, \
         cached_input_tokens, output_tokens, estimated, compute_ms, billed_seconds, base_cost, fee, charged, \
         price_version, started_at, ended_at) VALUES",
        18,
        "",
    );
    for transition in transitions {
        let Some(usage) = &transition.usage else { continue };
        let UsageRecord { tokens, cost, .. } = usage;
        rows.push([
            usage.request_id.0.into(),
            transition.account_id.0.into(),
            usage.key_id.map(|id| id.0).into(),
            usage.model.as_str().into(),
            usage.provider.as_str().into(),
            usage.ending.name().into(),
            unsigned(tokens.input),
            unsigned(tokens.cached_input),
            unsigned(tokens.output),
            i64::from(usage.estimated).into(),
            unsigned(usage.compute_ms),
            unsigned(usage.billed_seconds),
            cost.base.normalize().to_string().into(),
            cost.fee.normalize().to_string().into(),
            usage.charged.get().into(),
            usage.price_version.into(),
            usage.started_at.0.into(),
            usage.ended_at.0.into(),
        ]);
    }
    rows
}

fn payment_rows(batch: &Batch<'_>) -> Rows {
    let mut rows = Rows::new(
        "INSERT INTO payment (id, account_id, amount, status, method, decline_code, grant_key, created_at) VALUES",
        8,
        "ON CONFLICT (id) DO UPDATE SET status = excluded.status, decline_code = excluded.decline_code",
    );
    for (account_id, payment) in batch.payments.values() {
        rows.push([
            payment.id.0.into(),
            account_id.0.into(),
            payment.amount.get().into(),
            payment.status.name().into(),
            payment.method.as_str().into(),
            payment.decline_code.as_deref().into(),
            payment.id.to_string().into(),
            payment.created_at.0.into(),
        ]);
    }
    rows
}

/// Counts fit `i64`; one that does not (a provider's nonsense) is written as the largest there is.
fn unsigned(count: u64) -> Value {
    i64::try_from(count).unwrap_or(i64::MAX).into()
}
