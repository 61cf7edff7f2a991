//! The disk: the ledger's tables as its migrations define them and its `append` writes them. A batch is written whole
//! or not at all, by the owner with the lease's epoch. Rows that the tables' keys and checks refuse are refused here.
//! It knows no rule of money.

use std::collections::{BTreeMap, BTreeSet};

use billing::{
    Nanos, Timestamp,
    account::{Account, Automatic, Header, Stored},
    automatic::{AutoSettings, AutoState, SpendWindow},
    entry::{Line, LineKind, Transition, UsageRecord},
    grant::Grant,
    hold::Hold,
    ids::{AccountId, GrantId, KeyId, PaymentId, RequestId, ReversalId},
    key::{KeyLimits, KeyState, KeyWindow},
    learned::Learned,
    payment::{Payment, PaymentStatus},
    reversal::{Reversal, ends_cycle},
    subscription::Subscription,
    time::{DAY_MS, FOUR_WEEKS_MS, Month},
};

use crate::mutants::Mutant;

/// A line of the journal.
#[derive(Debug, Clone)]
pub(crate) struct JournalRow {
    pub(crate) seq: u64,
    pub(crate) epoch: i64,
    pub(crate) line: Line,
}

/// All rows of one account.
#[derive(Debug, Clone)]
pub(crate) struct Rows {
    pub(crate) header: Header,
    pub(crate) grants: BTreeMap<GrantId, Grant>,
    pub(crate) holds: BTreeMap<RequestId, Hold>,
    pub(crate) journal: Vec<JournalRow>,
    /// The journal's unique indexes: (seq, line) and (request, kind, line).
    places: BTreeSet<(u64, usize)>,
    once: BTreeSet<(RequestId, &'static str, usize)>,
    /// One record for each request, except with a mutant.
    pub(crate) usage: Vec<UsageRecord>,
    pub(crate) payments: BTreeMap<PaymentId, Payment>,
    pub(crate) reversals: BTreeMap<(PaymentId, ReversalId), Reversal>,
    pub(crate) subscription: Option<Subscription>,
    settings: Option<(AutoSettings, AutoState)>,
    pub(crate) windows: BTreeMap<Month, SpendWindow>,
    events: BTreeSet<(&'static str, String)>,
    pub(crate) keys: BTreeMap<KeyId, KeyLimits>,
    /// The amounts charged beyond keys' limits.
    pub(crate) beyond: BTreeMap<KeyId, Nanos>,
    /// Requests with a proof.
    pub(crate) proofs: BTreeSet<RequestId>,
}

/// Why a batch was not written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum NotWritten {
    /// There is a newer owner.
    Fenced,
    /// A key or a check refuses a row.
    Refused(String),
}

pub(crate) struct Disk {
    pub(crate) epoch: i64,
    pub(crate) accounts: BTreeMap<AccountId, Rows>,
    batches: BTreeSet<u64>,
    /// When the last delivery of each event was signed.
    pub(crate) webhooks: BTreeMap<String, Timestamp>,
    /// Accounts written since the last check.
    pub(crate) dirty: BTreeSet<AccountId>,
    mutant: Option<Mutant>,
}

type Written = Result<(), NotWritten>;

fn unless(refused: bool, why: &str) -> Written {
    if refused { Err(NotWritten::Refused(why.to_owned())) } else { Ok(()) }
}

impl Rows {
    fn new(header: Header) -> Self {
        Self {
            header,
            grants: BTreeMap::new(),
            holds: BTreeMap::new(),
            journal: Vec::new(),
            places: BTreeSet::new(),
            once: BTreeSet::new(),
            usage: Vec::new(),
            payments: BTreeMap::new(),
            reversals: BTreeMap::new(),
            subscription: None,
            settings: None,
            windows: BTreeMap::new(),
            events: BTreeSet::new(),
            keys: BTreeMap::new(),
            beyond: BTreeMap::new(),
            proofs: BTreeSet::new(),
        }
    }

    /// The amount charged for a request.
    pub(crate) fn charged(&self, request: RequestId) -> Option<Nanos> {
        self.usage.iter().find(|usage| usage.request_id == request).map(|usage| usage.charged)
    }

    pub(crate) fn has_been_held(&self, request: RequestId) -> bool {
        self.journal.iter().any(|row| row.line.request_id == Some(request) && row.line.kind == LineKind::HoldPlaced)
    }

    /// Finds a grant by its unique key.
    pub(crate) fn grant_of(&self, source_key: &str) -> Option<&Grant> {
        self.grants.values().find(|grant| *grant.source_key == *source_key)
    }

    /// A payment's refunds and disputes.
    pub(crate) fn known(&self, payment: PaymentId) -> Vec<Reversal> {
        let of_it =
            self.reversals.range((payment, ReversalId(uuid::Uuid::nil()))..=(payment, ReversalId(uuid::Uuid::max())));
        of_it.map(|(_, row)| row.clone()).collect()
    }

    /// The end of the plan's paid time by its fees, one payment excepted.
    pub(crate) fn paid_until(&self, but: Option<PaymentId>) -> Option<Timestamp> {
        let pays = |it: &&Payment| {
            it.status == PaymentStatus::Succeeded && Some(it.id) != but && !ends_cycle(&self.known(it.id), it.amount)
        };
        self.payments.values().filter(pays).filter_map(|it| it.cycle_end).max()
    }

    /// Refunds requested here without an answer.
    pub(crate) fn unanswered(&self) -> impl Iterator<Item = &Reversal> {
        self.reversals.values().filter(|row| row.is_unanswered())
    }

    pub(crate) fn automatic(&self) -> Option<Automatic> {
        let (settings, state) = self.settings.clone()?;
        let window = self.windows.last_key_value().map(|(_, window)| *window).unwrap_or_default();
        Some(Automatic { settings, state, window })
    }

    /// The sum of a key's records in each current window. Each window begins at the start of a day.
    pub(crate) fn spent_by_key(&self, key: KeyId, now: Timestamp) -> [Nanos; 4] {
        KeyWindow::ALL.map(|window| {
            let counts =
                |usage: &&UsageRecord| usage.key_id == Some(key) && usage.ended_at.floor(DAY_MS) >= window.start(now);
            self.usage.iter().filter(counts).map(|usage| usage.charged).sum()
        })
    }

    /// Writes the rows of one transition. Transitions come in the batch's order, and the last write of a row stays.
    fn write(&mut self, transition: &Transition, epoch: i64, mutant: Option<Mutant>) -> Written {
        unless(transition.header.debt < Nanos::ZERO || transition.header.charged < Nanos::ZERO, "account: amounts")?;
        self.header = transition.header.clone();
        for grant in &transition.grants {
            self.write_grant(grant)?;
        }
        if let Some(hold) = &transition.hold {
            unless(hold.accrued < Nanos::ZERO || hold.worst_case < Nanos::ZERO, "hold: amounts")?;
            match self.holds.get_mut(&hold.request_id) {
                Some(row) => {
                    row.allocations.clone_from(&hold.allocations);
                    row.accrued = hold.accrued;
                    row.claimed = hold.claimed;
                    row.deadline = hold.deadline;
                }
                None => drop(self.holds.insert(hold.request_id, hold.clone())),
            }
        }
        if let Some(id) = transition.ended {
            self.holds.remove(&id);
        }
        self.write_journal(transition, epoch, mutant)?;
        if let Some(usage) = &transition.usage {
            let is_new = self.usage.iter().all(|row| row.request_id != usage.request_id);
            unless(!is_new && mutant != Some(Mutant::NoCaptureUniqueness), "usage_record: primary key")?;
            unless(usage.charged < Nanos::ZERO, "usage_record: charged")?;
            self.usage.push(usage.clone());
        }
        for payment in &transition.payments {
            self.write_payment(payment)?;
        }
        for row in &transition.reversals {
            unless(row.amount < Nanos::ZERO || row.left_ms < 0, "payment_reversal: amounts")?;
            unless(!self.payments.contains_key(&row.payment_id), "payment_reversal: payment")?;
            self.reversals.insert((row.payment_id, row.id), row.clone());
        }
        if let Some(subscription) = &transition.subscription {
            self.subscription = Some(subscription.clone());
        }
        if let Some(automatic) = &transition.automatic {
            self.write_automatic(automatic)?;
        }
        self.beyond.extend(transition.beyond);
        if let Some(proof) = &transition.proof {
            unless(!self.proofs.insert(proof.request_id), "request_proof: primary key")?;
        }
        for event in &transition.events {
            self.events.insert((event.kind.name(), event.subject.clone()));
        }
        Ok(())
    }

    fn write_grant(&mut self, grant: &Grant) -> Written {
        let buckets = [grant.available, grant.held, grant.spent, grant.expired, grant.voided];
        unless(buckets.iter().any(|bucket| *bucket < Nanos::ZERO), "credit_grant: a bucket")?;
        unless(buckets.into_iter().sum::<Nanos>() != grant.funded, "credit_grant: sum")?;
        unless(!grant.funded.is_positive() || grant.paid < Nanos::ZERO, "credit_grant: amounts")?;
        unless(grant.recall < Nanos::ZERO || grant.expires_at <= grant.created_at, "credit_grant: recall, times")?;
        if let Some(row) = self.grants.get_mut(&grant.id) {
            *row = Grant {
                source: row.source,
                source_key: row.source_key.clone(),
                created_at: row.created_at,
                funded: row.funded,
                ..grant.clone()
            };
            return Ok(());
        }
        let is_taken = self.grants.values().any(|row| row.source == grant.source && row.source_key == grant.source_key);
        unless(is_taken, "credit_grant: unique source")?;
        self.grants.insert(grant.id, grant.clone());
        Ok(())
    }

    fn write_journal(&mut self, transition: &Transition, epoch: i64, mutant: Option<Mutant>) -> Written {
        for (place, line) in transition.lines.iter().enumerate() {
            let moved = [line.available, line.held, line.spent, line.expired, line.voided];
            unless(moved.into_iter().sum::<Nanos>() != line.funded, "journal: sum")?;
            unless(!self.places.insert((transition.seq, place)), "journal: primary key")?;
            if let Some(request) = line.request_id.filter(|_| line.kind != LineKind::HoldGrown) {
                let is_new = self.once.insert((request, line.kind.name(), place));
                unless(!is_new && mutant != Some(Mutant::NoCaptureUniqueness), "journal_once")?;
            }
            self.journal.push(JournalRow { seq: transition.seq, epoch, line: line.clone() });
        }
        Ok(())
    }

    fn write_payment(&mut self, payment: &Payment) -> Written {
        let is_sound = payment.amount.is_positive() && payment.reversed >= Nanos::ZERO;
        unless(!is_sound || payment.reversed > payment.amount, "payment: amounts")?;
        match self.payments.get_mut(&payment.id) {
            Some(row) => {
                row.status = payment.status;
                row.reversed = payment.reversed;
                row.reference.clone_from(&payment.reference);
                row.decline_code.clone_from(&payment.decline_code);
                row.ended_at = payment.ended_at;
                row.cycle_end = payment.cycle_end;
            }
            // The grant's key is the payment's id, so one unique key implies the other.
            None => drop(self.payments.insert(payment.id, payment.clone())),
        }
        Ok(())
    }

    fn write_automatic(&mut self, automatic: &Automatic) -> Written {
        let Automatic { settings, state, window } = automatic;
        unless(settings.threshold < Nanos::ZERO || !settings.amount.is_positive(), "auto_purchase: amounts")?;
        self.settings = Some((settings.clone(), state.clone()));
        if *window == SpendWindow::default() {
            return Ok(());
        }
        let SpendWindow { reload_reserved, reload_settled, scale_reserved, scale_settled, .. } = *window;
        let parts = [reload_reserved, reload_settled, scale_reserved, scale_settled];
        unless(parts.iter().any(|part| *part < Nanos::ZERO), "spend_window: a part")?;
        unless(window.reloads() > window.reload_max || window.all() > window.spend_max, "spend_window: maximum")?;
        self.windows.insert(window.month, *window);
        Ok(())
    }
}

impl Disk {
    pub(crate) fn new(mutant: Option<Mutant>) -> Self {
        Self {
            epoch: 0,
            accounts: BTreeMap::new(),
            batches: BTreeSet::new(),
            webhooks: BTreeMap::new(),
            dirty: BTreeSet::new(),
            mutant,
        }
    }

    pub(crate) fn create(&mut self, id: AccountId, header: Header) {
        self.accounts.insert(id, Rows::new(header));
    }

    /// Sets a key's limits.
    pub(crate) fn limit(&mut self, id: AccountId, key: KeyId, limits: KeyLimits) {
        if let Some(rows) = self.accounts.get_mut(&id) {
            rows.keys.insert(key, limits);
        }
    }

    /// Gives a new owner its epoch.
    pub(crate) const fn take_over(&mut self) -> i64 {
        self.epoch += 1;
        self.epoch
    }

    pub(crate) fn rows(&self, id: AccountId) -> &Rows {
        &self.accounts[&id]
    }

    pub(crate) fn has_batch(&self, batch: u64) -> bool {
        self.batches.contains(&batch)
    }

    /// Commits one transaction.
    pub(crate) fn commit(&mut self, batch: u64, epoch: i64, transitions: &[Transition]) -> Written {
        if epoch != self.epoch && self.mutant != Some(Mutant::NoFence) {
            return Err(NotWritten::Fenced);
        }
        let mut changed: BTreeMap<AccountId, Rows> = BTreeMap::new();
        for transition in transitions {
            let id = transition.account_id;
            let rows = changed.entry(id).or_insert_with(|| self.accounts[&id].clone());
            rows.write(transition, epoch, self.mutant)?;
        }
        for notice in transitions.iter().filter_map(|transition| transition.notice.as_ref()) {
            self.note(&notice.id, notice.signed_at);
        }
        self.batches.insert(batch);
        self.dirty.extend(changed.keys().copied());
        self.accounts.extend(changed);
        Ok(())
    }

    /// Records an event, or a later delivery of it.
    pub(crate) fn note(&mut self, event: &str, signed_at: Timestamp) {
        let noted = self.webhooks.entry(event.to_owned()).or_insert(signed_at);
        *noted = signed_at.max(*noted);
    }

    /// Loads an account from its rows, as the ledger does.
    pub(crate) fn load(&self, id: AccountId, now: Timestamp) -> Account {
        let rows = self.rows(id);
        let window = now.max(rows.header.clock).plus_ms(-FOUR_WEEKS_MS);
        let is_wanted = |grant: &&Grant| {
            grant.expires_at > now
                || grant.available.is_positive()
                || grant.held.is_positive()
                || (grant.paid.is_positive() && grant.created_at > window)
        };
        let at = now.max(rows.header.clock);
        let keys = rows
            .keys
            .iter()
            .map(|(key, limits)| {
                let beyond = rows.beyond.get(key).copied().unwrap_or_default();
                (*key, KeyState::new(limits.clone(), rows.spent_by_key(*key, at), at).with_beyond(beyond))
            })
            .collect();
        let stored = Stored {
            header: rows.header.clone(),
            grants: rows.grants.values().filter(is_wanted).cloned().collect(),
            holds: rows.holds.values().cloned().collect(),
            payments: rows.payments.values().filter(|it| it.status == PaymentStatus::Pending).cloned().collect(),
            subscription: rows.subscription.clone(),
            automatic: rows.automatic(),
            keys,
            learned: Learned::default(),
        };
        Account::load(id, stored)
    }

    /// Accounts with due work.
    pub(crate) fn due(&self, now: Timestamp) -> Vec<AccountId> {
        let is_due = |rows: &Rows| rows.header.wake_at.is_some_and(|at| at <= now);
        self.accounts.iter().filter(|(_, rows)| is_due(rows)).map(|(id, _)| *id).collect()
    }

    /// Accounts with open holds or pending payments.
    pub(crate) fn unfinished(&self) -> Vec<AccountId> {
        let is_unfinished = |rows: &Rows| {
            !rows.holds.is_empty() || rows.payments.values().any(|it| it.status == PaymentStatus::Pending)
        };
        self.accounts.iter().filter(|(_, rows)| is_unfinished(rows)).map(|(id, _)| *id).collect()
    }
}
