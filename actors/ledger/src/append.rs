//! One batch, one transaction: the transitions of many accounts are written whole or not at all. States (of a grant, a
//! hold, an account) are written once per batch, in their last form; facts are all written. This file makes the rows of
//! a batch. PostgreSQL is written here, SQLite by its `writer`.

pub(super) mod account;
mod purchase;
pub(super) mod record;

use std::collections::BTreeMap;

use billing::{
    Nanos, Timestamp,
    account::{Automatic, Header},
    automatic::SpendWindow,
    entry::Transition,
    grant::{Grant, Taken},
    hold::Hold,
    ids::{AccountId, GrantId, KeyId, PaymentId, RequestId, ReversalId},
    payment::Payment,
    reversal::Reversal,
    subscription::Subscription,
    time::Month,
};
use sea_orm::{ConnectionTrait, DbErr, RuntimeErr, Statement};
use uuid::Uuid;

use super::{
    Ledger, LedgerError, rollup,
    rows::{Rows, Write},
};

/// Several transitions, merged.
struct Batch<'a> {
    headers: BTreeMap<AccountId, &'a Header>,
    grants: BTreeMap<GrantId, (AccountId, &'a Grant)>,
    /// Grants that refunds and disputes took credits from or gave credits back to.
    taken: BTreeMap<GrantId, &'a Grant>,
    holds: BTreeMap<RequestId, (AccountId, &'a Hold)>,
    ended: Vec<(AccountId, RequestId)>,
    payments: BTreeMap<PaymentId, (AccountId, &'a Payment)>,
    reversals: BTreeMap<(PaymentId, ReversalId), (AccountId, &'a Reversal)>,
    subscriptions: BTreeMap<AccountId, &'a Subscription>,
    automatics: BTreeMap<AccountId, &'a Automatic>,
    windows: BTreeMap<(AccountId, Month), &'a SpendWindow>,
    /// The amounts charged beyond keys' limits.
    beyond: BTreeMap<KeyId, Nanos>,
}

impl Ledger {
    /// Commits transitions as one batch. With SQLite it blocks, so that only the journal's own thread calls it.
    ///
    /// # Errors
    ///
    /// [`LedgerError::Refused`]: nothing was written. [`LedgerError::Database`], [`LedgerError::Writer`] and
    /// [`LedgerError::Away`] leave the outcome unknown: ask [`Ledger::was_committed`]. [`LedgerError::Fenced`]: this
    /// process must stop, and the new owner knows what was written.
    pub async fn append(&self, batch_id: Uuid, transitions: &[Transition], now: Timestamp) -> Result<(), LedgerError> {
        let stamp = Stamp { batch_id, epoch: self.epoch, at: now };
        if let Some(writer) = &self.writer {
            return writer.append(stamp, transitions).await;
        }
        tokio::select! {
            biased;
            done = self.append_to_postgres(stamp, transitions) => done,
            fault = self.standing.broken() => Err(fault.into()),
        }
    }

    async fn append_to_postgres(&self, stamp: Stamp, transitions: &[Transition]) -> Result<(), LedgerError> {
        let tx = self.write.begin().await?;
        // The lease's row stays locked until the commit, so a takeover waits for the commit.
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

    /// Whether a batch was committed. A batch that was not will never be: its id is taken by a row without journal
    /// lines, so that a late commit (sent before its connection was lost) fails when it arrives.
    ///
    /// # Errors
    ///
    /// The database does not answer: the outcome stays unknown, and must be asked for again. After
    /// [`LedgerError::Fenced`] a new owner reads the outcome instead.
    pub async fn was_committed(&self, batch_id: Uuid, now: Timestamp) -> Result<bool, LedgerError> {
        self.write.look()?;
        // PostgreSQL waits here for a transaction that has written the row and has not ended.
        let sql = "INSERT INTO batch (id, epoch, at, transitions) VALUES (?, ?, ?, 1) ON CONFLICT (id) DO NOTHING";
        let statement = self.statement(sql, [batch_id.into(), self.epoch.into(), now.0.into()]);
        Ok(self.write.execute_raw(statement).await?.rows_affected() == 0)
    }
}

/// Recognises a row that PostgreSQL refuses by a constraint (SQLSTATE class 23) or by a trigger of ours (P0001). In
/// that case the batch is known not to be written, unlike after a failed connection.
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

/// Reads the owner's epoch: a batch is written only while this process is the owner.
pub(super) const EPOCH: &str = "SELECT epoch FROM shard_lease WHERE shard = 0";

/// The fields shared by all rows of a batch.
#[derive(Debug, Clone, Copy)]
pub(super) struct Stamp {
    pub(super) batch_id: Uuid,
    pub(super) epoch: i64,
    pub(super) at: Timestamp,
}

/// The rows of a batch, table by table, in the order that references and checks need. Each table's rows are made in its
/// turn, so that a large batch is never in memory twice.
pub(super) fn rows(transitions: &[Transition], stamp: Stamp) -> impl Iterator<Item = Rows<'_>> {
    let batch = merge(transitions);
    (0..).map_while(move |table| {
        Some(match table {
            0 => batch_row(transitions.len(), stamp),
            1 => account::opened_rows(transitions),
            2 => account::account_rows(&batch),
            3 => account::grant_rows(&batch),
            4 => account::hold_rows(&batch),
            5 => account::ended_rows(&batch),
            6 => record::journal_rows(transitions, stamp),
            7 => record::usage_rows(transitions),
            8 => rollup::rows(transitions),
            9 => purchase::payment_rows(&batch),
            10 => purchase::subscription_rows(&batch),
            11 => purchase::automatic_rows(&batch),
            12 => purchase::window_rows(&batch),
            13 => record::event_rows(transitions),
            14 => record::notice_rows(transitions),
            15 => record::action_rows(transitions),
            16 => record::proof_rows(transitions),
            17 => record::beyond_rows(&batch),
            18 => account::taken_rows(&batch),
            19 => purchase::reversal_rows(&batch),
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
