//! One batch, one transaction: the transitions of many accounts are written whole or not at all. What is absolute (the
//! state of a grant, a hold, an account) is written once per batch, in its last form; what is a fact is written always.
//! This says what rows a batch is; PostgreSQL gets them here, SQLite by its [`super::writer`].

use std::{
    collections::{BTreeMap, HashSet},
    fmt::Write as _,
};

use billing::{
    Nanos, Timestamp,
    account::{Automatic, Header},
    automatic::SpendWindow,
    entry::{Line, Opened, Proof, Transition, UsageRecord},
    grant::{Grant, Taken},
    hold::{Hold, Work},
    ids::{AccountId, GrantId, KeyId, PaymentId, RequestId, ReversalId},
    payment::Payment,
    reversal::Reversal,
    subscription::{AtEnd, Subscription},
    time::Month,
};
use sea_orm::{ConnectionTrait, DbErr, RuntimeErr, Statement};
use uuid::Uuid;

use super::{
    Ledger, LedgerError, rollup,
    rollup::{count, written},
    rows::{Rows, Write},
};

/// What several transitions come to, merged.
struct Batch<'a> {
    headers: BTreeMap<AccountId, &'a Header>,
    grants: BTreeMap<GrantId, (AccountId, &'a Grant)>,
    /// Those of which refunds and disputes took or gave back something.
    taken: BTreeMap<GrantId, &'a Grant>,
    holds: BTreeMap<RequestId, (AccountId, &'a Hold)>,
    ended: Vec<(AccountId, RequestId)>,
    payments: BTreeMap<PaymentId, (AccountId, &'a Payment)>,
    reversals: BTreeMap<(PaymentId, ReversalId), (AccountId, &'a Reversal)>,
    subscriptions: BTreeMap<AccountId, &'a Subscription>,
    automatics: BTreeMap<AccountId, &'a Automatic>,
    windows: BTreeMap<(AccountId, Month), &'a SpendWindow>,
    /// What keys were charged beyond their limits.
    beyond: BTreeMap<KeyId, Nanos>,
}

impl Ledger {
    /// Commits transitions as one batch. [`LedgerError::Database`], [`LedgerError::Writer`] and [`LedgerError::Away`] leave
    /// the outcome unknown: [`Ledger::was_committed`] tells. With SQLite it blocks: only the journal's own thread calls it.
    pub async fn append(&self, batch_id: Uuid, transitions: &[Transition], now: Timestamp) -> Result<(), LedgerError> {
        let stamp = Stamp { batch_id, epoch: self.epoch, at: now };
        match &self.writer {
            Some(writer) => writer.append(stamp, transitions).await,
            None => tokio::select! {
                biased;
                done = self.append_to_postgres(stamp, transitions) => done,
                fault = self.standing.broken() => Err(fault.into()),
            },
        }
    }

    async fn append_to_postgres(&self, stamp: Stamp, transitions: &[Transition]) -> Result<(), LedgerError> {
        let tx = self.write.begin().await?;
        // The lease's row stays locked until the commit, so a takeover waits for it.
        let row = tx.query_one_raw(self.statement(&format!("{EPOCH} FOR SHARE"), [])).await?;
        let epoch: Option<i64> = row.map(|row| row.try_get_by_index(0)).transpose()?;
        if epoch != Some(self.epoch) {
            return Err(LedgerError::Fenced);
        }
        for rows in rows(transitions, stamp) {
            for (sql, values) in rows.statements() {
                let statement = Statement::from_sql_and_values(self.backend, sql, values);
                tx.execute_raw(statement).await.map_err(refused)?;
            }
        }
        tx.commit().await?;
        Ok(())
    }

    /// Whether a batch was committed. One that was not never will be: its place is taken, with a row that no line of the
    /// journal has, so that a commit still on its way (its connection was lost once it was sent) fails when it arrives.
    pub async fn was_committed(&self, batch_id: Uuid, now: Timestamp) -> Result<bool, LedgerError> {
        self.write.look()?;
        // In PostgreSQL this waits for a transaction that has written the row and not ended.
        let sql = "INSERT INTO batch (id, epoch, at, transitions) VALUES (?, ?, ?, 1) ON CONFLICT (id) DO NOTHING";
        let statement = self.statement(sql, [batch_id.into(), self.epoch.into(), now.0.into()]);
        Ok(self.write.execute_raw(statement).await?.rows_affected() == 0)
    }
}

/// A row that PostgreSQL refuses, by a constraint (SQLSTATE class 23) or a trigger of ours (P0001), and not a connection
/// that failed: the batch is known not to be there.
fn refused(error: DbErr) -> LedgerError {
    let code = match &error {
        DbErr::Exec(RuntimeErr::SqlxError(cause)) | DbErr::Query(RuntimeErr::SqlxError(cause)) => {
            cause.as_database_error().and_then(|cause| cause.code().map(std::borrow::Cow::into_owned))
        }
        _ => None,
    };
    match code {
        Some(code) if code.starts_with("23") || code == "P0001" => LedgerError::Refused(error.to_string()),
        _ => error.into(),
    }
}

/// The owner's epoch: a batch is written only while this process is the owner.
pub(super) const EPOCH: &str = "SELECT epoch FROM shard_lease WHERE shard = 0";

/// What every row of a batch carries.
#[derive(Debug, Clone, Copy)]
pub(super) struct Stamp {
    pub(super) batch_id: Uuid,
    pub(super) epoch: i64,
    pub(super) at: Timestamp,
}

/// The rows of a batch, table by table, in the order in which references and checks expect them. Each table's are made
/// when it is its turn, so that a large batch is never there twice.
pub(super) fn rows(transitions: &[Transition], stamp: Stamp) -> impl Iterator<Item = Rows<'_>> {
    let batch = merge(transitions);
    (0..).map_while(move |table| {
        Some(match table {
            0 => batch_row(transitions.len(), stamp),
            1 => opened_rows(transitions),
            2 => account_rows(&batch),
            3 => grant_rows(&batch),
            4 => hold_rows(&batch),
            5 => ended_rows(&batch),
            6 => journal_rows(transitions, stamp),
            7 => usage_rows(transitions),
            8 => rollup::rows(transitions),
            9 => payment_rows(&batch),
            10 => subscription_rows(&batch),
            11 => automatic_rows(&batch),
            12 => window_rows(&batch),
            13 => event_rows(transitions),
            14 => notice_rows(transitions),
            15 => action_rows(transitions),
            16 => proof_rows(transitions),
            17 => beyond_rows(&batch),
            18 => taken_rows(&batch),
            19 => reversal_rows(&batch),
            _ => return None,
        })
    })
}

fn merge(transitions: &[Transition]) -> Batch<'_> {
    let mut batch = Batch {
        headers: BTreeMap::new(),
        grants: BTreeMap::new(),
        taken: BTreeMap::new(),
        holds: BTreeMap::new(),
        ended: Vec::new(),
        payments: BTreeMap::new(),
        reversals: BTreeMap::new(),
        subscriptions: BTreeMap::new(),
        automatics: BTreeMap::new(),
        windows: BTreeMap::new(),
        beyond: BTreeMap::new(),
    };
    for transition in transitions {
        let account = transition.account_id;
        batch.headers.insert(account, &transition.header);
        for grant in &transition.grants {
            batch.grants.insert(grant.id, (account, grant));
            if grant.taken != Taken::default() || !transition.reversals.is_empty() {
                batch.taken.insert(grant.id, grant);
            }
        }
        if let Some(hold) = &transition.hold {
            batch.holds.insert(hold.request_id, (account, hold));
        }
        if let Some(id) = transition.ended {
            batch.holds.remove(&id);
            batch.ended.push((account, id));
        }
        batch.beyond.extend(transition.beyond);
        for payment in &transition.payments {
            batch.payments.insert(payment.id, (account, payment));
        }
        for row in &transition.reversals {
            batch.reversals.insert((row.payment_id, row.id), (account, row));
        }
        if let Some(subscription) = &transition.subscription {
            batch.subscriptions.insert(account, subscription);
        }
        if let Some(automatic) = &transition.automatic {
            batch.automatics.insert(account, automatic);
            if automatic.window != SpendWindow::default() {
                batch.windows.insert((account, automatic.window.month), &automatic.window);
            }
        }
    }
    batch
}

fn batch_row<'a>(size: usize, stamp: Stamp) -> Rows<'a> {
    static WRITE: Write = Write::insert("INSERT INTO batch (id, epoch, at, transitions) VALUES", "");
    let mut rows = Rows::new(&WRITE, 4, 1);
    rows.push([stamp.batch_id.into(), stamp.epoch.into(), stamp.at.0.into(), (size as u64).into()]);
    rows
}

/// New accounts: what else there is of them follows.
fn opened_rows(transitions: &[Transition]) -> Rows<'_> {
    static WRITE: Write = Write::insert("INSERT INTO account (id, email, plan, created_at, clock) VALUES", "");
    let mut rows = Rows::new(&WRITE, 5, 0);
    for transition in transitions {
        let Some(Opened { email }) = &transition.opened else { continue };
        let Header { plan, created_at, .. } = &transition.header;
        rows.push([
            transition.account_id.0.into(),
            email.as_str().into(),
            plan.name().into(),
            created_at.0.into(),
            created_at.0.into(),
        ]);
    }
    rows
}

/// How SQLite changes an account. Each batch does so for every account that its other rows are of.
pub(super) const ACCOUNT: &str =
    "UPDATE account SET plan = ?1, subscribed_until = ?2, debt = ?3, charged = ?4, seq = ?5, clock = ?6 WHERE id = ?8";

fn account_rows<'a>(batch: &Batch<'a>) -> Rows<'a> {
    static WRITE: Write = Write::change(
        // SQLite writes an index's entry again whenever its column is named, even where it stays what it was.
        &[ACCOUNT, "UPDATE account SET wake_at = ?7 WHERE id = ?8 AND wake_at IS NOT ?7"],
        "UPDATE account SET plan = v.plan, subscribed_until = v.subscribed_until, debt = v.debt, \
                 charged = v.charged, seq = v.seq, clock = v.clock, wake_at = v.wake_at FROM (VALUES",
        ") AS v (plan, subscribed_until, debt, charged, seq, clock, wake_at, id) WHERE account.id = v.id",
    );
    let mut rows = Rows::new(&WRITE, 8, batch.headers.len());
    for (id, header) in &batch.headers {
        rows.push([
            header.plan.name().into(),
            header.subscribed_until.map(|until| until.0).into(),
            header.debt.get().into(),
            header.charged.get().into(),
            header.seq.into(),
            header.clock.0.into(),
            header.wake_at.map(|at| at.0).into(),
            id.0.into(),
        ]);
    }
    rows
}

fn grant_rows<'a>(batch: &Batch<'a>) -> Rows<'a> {
    static WRITE: Write = Write::insert(
        "INSERT INTO credit_grant (id, account_id, source, source_key, paid, created_at, expires_at, funded, available, \
         held, spent, expired, voided, recall, notices) VALUES",
        "ON CONFLICT (id) DO UPDATE SET paid = excluded.paid, available = excluded.available, held = excluded.held, \
         spent = excluded.spent, expired = excluded.expired, voided = excluded.voided, recall = excluded.recall, \
         notices = excluded.notices",
    );
    let mut rows = Rows::new(&WRITE, 15, batch.grants.len());
    for (account_id, grant) in batch.grants.values() {
        rows.push([
            grant.id.0.into(),
            account_id.0.into(),
            grant.source.name().into(),
            (&*grant.source_key).into(),
            grant.paid.get().into(),
            grant.created_at.0.into(),
            grant.expires_at.0.into(),
            grant.funded.get().into(),
            grant.available.get().into(),
            grant.held.get().into(),
            grant.spent.get().into(),
            grant.expired.get().into(),
            grant.voided.get().into(),
            grant.recall.get().into(),
            i64::from(grant.notices).into(),
        ]);
    }
    rows
}

/// What refunds and disputes change of a grant, apart from the rest: few grants ever have any.
fn taken_rows<'a>(batch: &Batch<'a>) -> Rows<'a> {
    static WRITE: Write = Write::change(
        &["UPDATE credit_grant SET expires_at = ?1, taken_unused = ?2, taken_gone = ?3, taken_held = ?4, \
           taken_spent = ?5 WHERE id = ?6"],
        "UPDATE credit_grant SET expires_at = v.expires_at, taken_unused = v.unused, taken_gone = v.gone, \
         taken_held = v.held, taken_spent = v.spent FROM (VALUES",
        ") AS v (expires_at, unused, gone, held, spent, id) WHERE credit_grant.id = v.id",
    );
    let mut rows = Rows::new(&WRITE, 6, batch.taken.len());
    for grant in batch.taken.values() {
        let Taken { unused, gone, held, spent } = grant.taken;
        rows.push([
            grant.expires_at.0.into(),
            unused.get().into(),
            gone.get().into(),
            held.get().into(),
            spent.get().into(),
            grant.id.0.into(),
        ]);
    }
    rows
}

fn reversal_rows<'a>(batch: &Batch<'a>) -> Rows<'a> {
    static WRITE: Write = Write::insert(
        "INSERT INTO payment_reversal (payment_id, id, account_id, kind, reference, card, amount, state, created_at, \
         changed_at, left_ms) VALUES",
        "ON CONFLICT (payment_id, id) DO UPDATE SET reference = excluded.reference, card = excluded.card, \
         state = excluded.state, changed_at = excluded.changed_at, left_ms = excluded.left_ms",
    );
    let mut rows = Rows::new(&WRITE, 11, batch.reversals.len());
    for (account_id, row) in batch.reversals.values() {
        rows.push([
            row.payment_id.0.into(),
            row.id.0.into(),
            account_id.0.into(),
            row.kind.name().into(),
            row.reference.as_deref().into(),
            row.card.as_deref().into(),
            row.amount.get().into(),
            row.state.name().into(),
            row.created_at.0.into(),
            row.changed_at.map(|at| at.0).into(),
            row.left_ms.into(),
        ]);
    }
    rows
}

fn hold_rows<'a>(batch: &Batch<'a>) -> Rows<'a> {
    static WRITE: Write = Write::insert(
        "INSERT INTO hold (account_id, request_id, key_id, class, units, model, provider, price_version, allocations, accrued, worst_case, \
         claimed, placed_at, deadline) VALUES",
        "ON CONFLICT (account_id, request_id) DO UPDATE SET allocations = excluded.allocations, \
                accrued = excluded.accrued, claimed = excluded.claimed, deadline = excluded.deadline",
    );
    let mut rows = Rows::new(&WRITE, 14, batch.holds.len());
    for (account_id, hold) in batch.holds.values() {
        let (class, units) = match hold.work {
            Work::Open { class, units } => (Some(class.name()), units.0),
            Work::Closed => (None, 0),
        };
        rows.push([
            account_id.0.into(),
            hold.request_id.0.into(),
            hold.key_id.map(|id| id.0).into(),
            class.into(),
            i64::from(units).into(),
            (&*hold.model).into(),
            (&*hold.provider).into(),
            hold.price_version.into(),
            allocations_text(hold).into(),
            hold.accrued.get().into(),
            hold.worst_case.get().into(),
            hold.claimed.map(Nanos::get).into(),
            hold.placed_at.0.into(),
            hold.deadline.0.into(),
        ]);
    }
    rows
}

/// `grant=nanos` pairs, separated by spaces.
fn allocations_text(hold: &Hold) -> String {
    let mut text = String::with_capacity(48 * hold.allocations.len());
    for (grant, amount) in &hold.allocations {
        let between = if text.is_empty() { "" } else { " " };
        // A String takes whatever is written to it.
        let _ = write!(text, "{between}{}={}", grant.0.simple(), amount.get());
    }
    text
}

fn ended_rows<'a>(batch: &Batch<'a>) -> Rows<'a> {
    static WRITE: Write = Write::change(
        &["DELETE FROM hold WHERE account_id = ? AND request_id = ?"],
        "DELETE FROM hold USING (VALUES",
        ") AS v (account_id, request_id) WHERE hold.account_id = v.account_id AND hold.request_id = v.request_id",
    );
    let mut rows = Rows::new(&WRITE, 2, batch.ended.len());
    for (account_id, request_id) in &batch.ended {
        rows.push([account_id.0.into(), request_id.0.into()]);
    }
    rows
}

fn journal_rows(transitions: &[Transition], stamp: Stamp) -> Rows<'_> {
    static WRITE: Write = Write::insert(
        "INSERT INTO journal (account_id, seq, line, at, batch_id, epoch, kind, grant_id, request_id, d_funded, \
         d_available, d_held, d_spent, d_expired, d_voided, d_debt) VALUES",
        "",
    );
    let mut rows = Rows::new(&WRITE, 16, 2 * transitions.len());
    for transition in transitions {
        for (place, line) in transition.lines.iter().enumerate() {
            let Line { kind, grant_id, request_id, funded, available, held, spent, expired, voided, debt } = line;
            rows.push([
                transition.account_id.0.into(),
                transition.seq.into(),
                (place as u64).into(),
                transition.at.0.into(),
                stamp.batch_id.into(),
                stamp.epoch.into(),
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

fn usage_rows(transitions: &[Transition]) -> Rows<'_> {
    static WRITE: Write = Write::insert(
        "INSERT INTO usage_record (account_id, request_id, key_id, model, provider, ending, input_tokens, \
         cached_input_tokens, cache_write_tokens, output_tokens, estimated, compute_ms, billed_seconds, base_cost, fee, charged, \
         price_version, started_at, ended_at) VALUES",
        "",
    );
    let mut rows = Rows::new(&WRITE, 19, transitions.len());
    for transition in transitions {
        let Some(usage) = &transition.usage else { continue };
        let UsageRecord { tokens, cost, .. } = usage;
        rows.push([
            transition.account_id.0.into(),
            usage.request_id.0.into(),
            usage.key_id.map(|id| id.0).into(),
            (&*usage.model).into(),
            (&*usage.provider).into(),
            usage.ending.name().into(),
            count(tokens.input).into(),
            count(tokens.cached_input).into(),
            count(written(*tokens)).into(),
            count(tokens.output).into(),
            i64::from(usage.estimated).into(),
            count(usage.compute_ms).into(),
            count(usage.billed_seconds).into(),
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

fn payment_rows<'a>(batch: &Batch<'a>) -> Rows<'a> {
    static WRITE: Write = Write::insert(
        "INSERT INTO payment (id, account_id, purpose, amount, reversed, status, method, reference, decline_code, \
         grant_key, created_at, ended_at, cycle_end, reload_max, spend_max) VALUES",
        "ON CONFLICT (id) DO UPDATE SET status = excluded.status, reversed = excluded.reversed, \
         reference = excluded.reference, decline_code = excluded.decline_code, ended_at = excluded.ended_at, \
         cycle_end = excluded.cycle_end",
    );
    let mut rows = Rows::new(&WRITE, 15, batch.payments.len());
    for (account_id, payment) in batch.payments.values() {
        rows.push([
            payment.id.0.into(),
            account_id.0.into(),
            payment.purpose.name().into(),
            payment.amount.get().into(),
            payment.reversed.get().into(),
            payment.status.name().into(),
            payment.method.as_str().into(),
            payment.reference.as_deref().into(),
            payment.decline_code.as_deref().into(),
            payment.grant_key().into(),
            payment.created_at.0.into(),
            payment.ended_at.map(|at| at.0).into(),
            payment.cycle_end.map(|at| at.0).into(),
            payment.maxima.map(|maxima| maxima.reload.get()).into(),
            payment.maxima.map(|maxima| maxima.spend.get()).into(),
        ]);
    }
    rows
}

fn subscription_rows<'a>(batch: &Batch<'a>) -> Rows<'a> {
    static WRITE: Write = Write::insert(
        "INSERT INTO subscription (account_id, status, cancels, method, started_at, failures, retry_at) VALUES",
        "ON CONFLICT (account_id) DO UPDATE SET status = excluded.status, cancels = excluded.cancels, \
         method = excluded.method, started_at = excluded.started_at, failures = excluded.failures, \
         retry_at = excluded.retry_at",
    );
    let mut rows = Rows::new(&WRITE, 7, batch.subscriptions.len());
    for (account_id, subscription) in &batch.subscriptions {
        rows.push([
            account_id.0.into(),
            subscription.status.name().into(),
            i64::from(subscription.at_end == AtEnd::Cancel).into(),
            subscription.method.as_str().into(),
            subscription.started_at.0.into(),
            i64::from(subscription.failures).into(),
            subscription.retry_at.map(|at| at.0).into(),
        ]);
    }
    rows
}

fn automatic_rows<'a>(batch: &Batch<'a>) -> Rows<'a> {
    static WRITE: Write = Write::insert(
        "INSERT INTO auto_purchase (account_id, reload, threshold, amount, monthly_max, scale, monthly_spend, method, \
         begun, failures, retry_at, full_month, paused_at) VALUES",
        "ON CONFLICT (account_id) DO UPDATE SET reload = excluded.reload, threshold = excluded.threshold, \
         amount = excluded.amount, monthly_max = excluded.monthly_max, scale = excluded.scale, \
         monthly_spend = excluded.monthly_spend, method = excluded.method, begun = excluded.begun, \
         failures = excluded.failures, retry_at = excluded.retry_at, full_month = excluded.full_month, \
         paused_at = excluded.paused_at",
    );
    let mut rows = Rows::new(&WRITE, 13, batch.automatics.len());
    for (account_id, Automatic { settings, state, .. }) in &batch.automatics {
        rows.push([
            account_id.0.into(),
            i64::from(settings.reload.is_on()).into(),
            settings.threshold.get().into(),
            settings.amount.get().into(),
            settings.monthly_max.get().into(),
            i64::from(settings.scale.is_on()).into(),
            settings.monthly_spend.get().into(),
            settings.method.as_deref().into(),
            state.begun.into(),
            i64::from(state.failures).into(),
            state.retry_at.map(|at| at.0).into(),
            state.full_month.map(|month| month.0).into(),
            state.paused_at.map(|at| at.0).into(),
        ]);
    }
    rows
}

fn window_rows<'a>(batch: &Batch<'a>) -> Rows<'a> {
    static WRITE: Write = Write::insert(
        "INSERT INTO spend_window (account_id, month, reload_reserved, reload_settled, scale_reserved, \
         scale_settled, reload_max, spend_max) VALUES",
        "ON CONFLICT (account_id, month) DO UPDATE SET reload_reserved = excluded.reload_reserved, \
         reload_settled = excluded.reload_settled, scale_reserved = excluded.scale_reserved, \
         scale_settled = excluded.scale_settled, reload_max = excluded.reload_max, spend_max = excluded.spend_max",
    );
    let mut rows = Rows::new(&WRITE, 8, batch.windows.len());
    for ((account_id, month), window) in &batch.windows {
        rows.push([
            account_id.0.into(),
            month.0.into(),
            window.reload_reserved.get().into(),
            window.reload_settled.get().into(),
            window.scale_reserved.get().into(),
            window.scale_settled.get().into(),
            window.reload_max.get().into(),
            window.spend_max.get().into(),
        ]);
    }
    rows
}

/// An event told again is there already.
fn event_rows(transitions: &[Transition]) -> Rows<'_> {
    static WRITE: Write = Write::insert(
        "INSERT INTO account_event (account_id, id, kind, subject, at, data) VALUES",
        "ON CONFLICT (account_id, kind, subject) DO NOTHING",
    );
    let mut rows = Rows::new(&WRITE, 6, 0);
    for transition in transitions {
        for event in &transition.events {
            let data: serde_json::Map<_, _> =
                event.data.iter().map(|(name, text)| ((*name).to_owned(), text.as_str().into())).collect();
            rows.push([
                transition.account_id.0.into(),
                Uuid::now_v7().into(),
                event.kind.name().into(),
                event.subject.as_str().into(),
                transition.at.0.into(),
                serde_json::Value::Object(data).to_string().into(),
            ]);
        }
    }
    rows
}

/// An event is noted with what it changed. One that is there already is one whose effect is, too: a command that comes from
/// it again changes nothing, and is not here.
fn notice_rows(transitions: &[Transition]) -> Rows<'_> {
    static WRITE: Write = Write::insert(NOTICE, NOTED);
    let mut rows = Rows::new(&WRITE, 5, 0);
    let mut noted = HashSet::new();
    for transition in transitions {
        let Some(notice) = &transition.notice else { continue };
        // PostgreSQL refuses a statement that would write a row twice.
        if !noted.insert((notice.processor, notice.id.as_str())) {
            continue;
        }
        rows.push([
            notice.processor.into(),
            notice.id.as_str().into(),
            notice.kind.as_str().into(),
            notice.signed_at.0.into(),
            transition.at.0.into(),
        ]);
    }
    rows
}

/// What keys were charged beyond their limits, ever.
fn beyond_rows<'a>(batch: &Batch<'_>) -> Rows<'a> {
    static WRITE: Write = Write::change(
        &["UPDATE api_key SET beyond = ?1 WHERE id = ?2"],
        "UPDATE api_key SET beyond = v.beyond FROM (VALUES",
        ") AS v (beyond, id) WHERE api_key.id = v.id",
    );
    let mut rows = Rows::new(&WRITE, 2, batch.beyond.len());
    for (id, beyond) in &batch.beyond {
        rows.push([beyond.get().into(), id.0.into()]);
    }
    rows
}

/// What operators did, and why.
fn action_rows(transitions: &[Transition]) -> Rows<'_> {
    static WRITE: Write =
        Write::insert("INSERT INTO audit_log (id, at, account_id, action, subject, amount, reason) VALUES", "");
    let mut rows = Rows::new(&WRITE, 7, 0);
    for transition in transitions {
        let Some(Proof { request_id, act, subject, amount, reason: Some(reason) }) = &transition.proof else {
            continue;
        };
        rows.push([
            request_id.0.into(),
            transition.at.0.into(),
            transition.account_id.0.into(),
            (*act).into(),
            subject.as_str().into(),
            amount.map(Nanos::get).into(),
            reason.as_str().into(),
        ]);
    }
    rows
}

/// What other requests did that has no row of its own.
fn proof_rows(transitions: &[Transition]) -> Rows<'_> {
    static WRITE: Write =
        Write::insert("INSERT INTO request_proof (id, at, account_id, act, subject, amount) VALUES", "");
    let mut rows = Rows::new(&WRITE, 6, 0);
    for transition in transitions {
        let Some(Proof { request_id, act, subject, amount, reason: None }) = &transition.proof else { continue };
        rows.push([
            request_id.0.into(),
            transition.at.0.into(),
            transition.account_id.0.into(),
            (*act).into(),
            subject.as_str().into(),
            amount.map(Nanos::get).into(),
        ]);
    }
    rows
}

/// How an event is noted, around its values.
pub(super) const NOTICE: &str = "INSERT INTO webhook_event (processor, id, kind, signed_at, at) VALUES";
pub(super) const NOTED: &str = "ON CONFLICT (processor, id) DO UPDATE SET signed_at = excluded.signed_at \
                                WHERE webhook_event.signed_at < excluded.signed_at";
