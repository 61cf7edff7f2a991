//! An account's rows in the ledger's tables, as its migrations define them and its projection writes them: facts are
//! added, states are replaced, sums grow. Transitions are written one by one, or several at once. Rows that the tables'
//! keys and checks refuse are refused here. No rule of money is known here.

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
    resource::Resource,
    reversal::{Reversal, ends_cycle},
    subscription::Subscription,
    time::{DAY_MS, FOUR_WEEKS_MS, Month},
};

use crate::{mutants::Mutant, states::States};

/// A transition, with the epoch of the owner that appended it.
#[derive(Clone, Copy)]
pub(crate) struct Entry<'a> {
    pub(crate) transition: &'a Transition,
    pub(crate) epoch: i64,
}

/// A line of the journal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct JournalRow {
    pub(crate) seq: u64,
    pub(crate) epoch: i64,
    pub(crate) line: Line,
}

/// All rows of one account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Rows {
    pub(crate) header: Header,
    pub(crate) grants: BTreeMap<GrantId, Grant>,
    pub(crate) holds: BTreeMap<RequestId, Hold>,
    pub(crate) journal: Vec<JournalRow>,
    /// The journal's unique indexes: (seq, line), and (request, line) of a request's end.
    places: BTreeSet<(u64, usize)>,
    ends: BTreeSet<(RequestId, usize)>,
    /// One record for each request, except with a mutant.
    pub(crate) usage: Vec<UsageRecord>,
    /// What each key spent on each day. It is added to, so that a transition that is written twice is noticed.
    spent: BTreeMap<(KeyId, Timestamp), Nanos>,
    pub(crate) payments: BTreeMap<PaymentId, Payment>,
    pub(crate) reversals: BTreeMap<(PaymentId, ReversalId), Reversal>,
    pub(crate) subscription: Option<Subscription>,
    settings: Option<(AutoSettings, AutoState)>,
    pub(crate) windows: BTreeMap<Month, SpendWindow>,
    events: BTreeSet<(&'static str, String)>,
    pub(crate) keys: BTreeMap<KeyId, KeyLimits>,
    /// Keys that were opened here and not revoked.
    pub(crate) working: BTreeSet<KeyId>,
    /// The amounts charged beyond keys' limits.
    pub(crate) beyond: BTreeMap<KeyId, Nanos>,
    /// Requests with a proof.
    pub(crate) proofs: BTreeSet<RequestId>,
}

/// Why the tables refuse a row: a key or a check.
pub(crate) type Refused = String;

pub(crate) type Written = Result<(), Refused>;

fn unless(refused: bool, why: &str) -> Written {
    if refused { Err(why.to_owned()) } else { Ok(()) }
}

impl Rows {
    pub(crate) fn new(header: Header) -> Self {
        Self {
            header,
            grants: BTreeMap::new(),
            holds: BTreeMap::new(),
            journal: Vec::new(),
            places: BTreeSet::new(),
            ends: BTreeSet::new(),
            usage: Vec::new(),
            spent: BTreeMap::new(),
            payments: BTreeMap::new(),
            reversals: BTreeMap::new(),
            subscription: None,
            settings: None,
            windows: BTreeMap::new(),
            events: BTreeSet::new(),
            keys: BTreeMap::new(),
            working: BTreeSet::new(),
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

    /// What a key spent in each current window. Each window begins at the start of a day.
    pub(crate) fn spent_by_key(&self, key: KeyId, now: Timestamp) -> [Nanos; 4] {
        KeyWindow::ALL.map(|window| {
            let days = self.spent.range((key, window.start(now))..=(key, Timestamp(i64::MAX)));
            days.map(|(_, sum)| *sum).sum()
        })
    }

    /// Writes transitions of the account, in their order: the facts of all, and the states that are left.
    pub(crate) fn write(&mut self, entries: &[Entry<'_>], mutant: Option<Mutant>) -> Written {
        let states = States::of(entries.iter().map(|entry| entry.transition));
        if let Some(header) = states.header {
            unless(header.debt < Nanos::ZERO || header.charged < Nanos::ZERO, "account: amounts")?;
            self.header = header.clone();
        }
        states.grants.values().try_for_each(|grant| self.write_grant(grant))?;
        states.holds.values().try_for_each(|hold| self.write_hold(hold))?;
        for id in &states.ended {
            self.holds.remove(id);
        }
        entries.iter().try_for_each(|entry| self.write_facts(entry, mutant))?;
        self.add_sums(entries);
        states.payments.values().try_for_each(|payment| self.write_payment(payment))?;
        for (key, row) in states.reversals {
            unless(row.amount < Nanos::ZERO || row.left_ms < 0, "payment_reversal: amounts")?;
            unless(!self.payments.contains_key(&row.payment_id), "payment_reversal: payment")?;
            self.reversals.insert(key, row.clone());
        }
        if let Some(subscription) = states.subscription {
            self.subscription = Some(subscription.clone());
        }
        if let Some(automatic) = states.automatic {
            self.write_automatic(automatic)?;
        }
        states.windows.into_values().try_for_each(|window| self.write_window(window))?;
        self.beyond.extend(states.beyond);
        Ok(())
    }

    /// Adds what never changes again.
    fn write_facts(&mut self, entry: &Entry<'_>, mutant: Option<Mutant>) -> Written {
        let Entry { transition, epoch } = *entry;
        self.write_journal(transition, epoch, mutant)?;
        if let Some(usage) = &transition.usage {
            let is_new = self.usage.iter().all(|row| row.request_id != usage.request_id);
            unless(!is_new && mutant != Some(Mutant::NoCaptureUniqueness), "usage_record: primary key")?;
            unless(usage.charged < Nanos::ZERO, "usage_record: charged")?;
            self.usage.push(usage.clone());
        }
        if let Some(proof) = &transition.proof {
            unless(!self.proofs.insert(proof.request_id), "request_proof: primary key")?;
        }
        for event in &transition.events {
            self.events.insert((event.kind.name(), event.subject.clone()));
        }
        transition.resources.iter().try_for_each(|resource| self.write_key(resource))
    }

    /// Other resources are not simulated.
    fn write_key(&mut self, resource: &Resource) -> Written {
        match resource {
            Resource::KeyOpened(key) => {
                let taken = self.keys.insert(key.id, key.limits.clone()).is_some();
                unless(taken || !self.working.insert(key.id), "api_key: primary key")?;
            }
            Resource::KeyRevoked { id, .. } => drop(self.working.remove(id)),
            _ => {}
        }
        Ok(())
    }

    /// Adds what keys spent to the sums of the days, once for each.
    fn add_sums(&mut self, entries: &[Entry<'_>]) {
        let mut sums: BTreeMap<(KeyId, Timestamp), Nanos> = BTreeMap::new();
        for usage in entries.iter().filter_map(|entry| entry.transition.usage.as_ref()) {
            if let Some(key) = usage.key_id {
                *sums.entry((key, usage.ended_at.floor(DAY_MS))).or_default() += usage.charged;
            }
        }
        for (place, sum) in sums {
            *self.spent.entry(place).or_default() += sum;
        }
    }

    fn write_hold(&mut self, hold: &Hold) -> Written {
        unless(hold.accrued < Nanos::ZERO || hold.worst_case < Nanos::ZERO, "hold: amounts")?;
        match self.holds.get_mut(&hold.request_id) {
            Some(row) => {
                row.allocations.clone_from(&hold.allocations);
                row.accrued = hold.accrued;
                row.claimed = hold.claimed;
                row.deadline = hold.deadline;
                row.is_parked = hold.is_parked;
            }
            None => drop(self.holds.insert(hold.request_id, hold.clone())),
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
            let is_end = matches!(line.kind, LineKind::HoldCaptured | LineKind::HoldReleased);
            if let Some(request) = line.request_id.filter(|_| is_end) {
                let is_new = self.ends.insert((request, place));
                unless(!is_new && mutant != Some(Mutant::NoCaptureUniqueness), "journal_end")?;
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
        let Automatic { settings, state, .. } = automatic;
        unless(settings.threshold < Nanos::ZERO || !settings.amount.is_positive(), "auto_purchase: amounts")?;
        self.settings = Some((settings.clone(), state.clone()));
        Ok(())
    }

    fn write_window(&mut self, window: SpendWindow) -> Written {
        let SpendWindow { reload_reserved, reload_settled, scale_reserved, scale_settled, .. } = window;
        let parts = [reload_reserved, reload_settled, scale_reserved, scale_settled];
        unless(parts.iter().any(|part| *part < Nanos::ZERO), "spend_window: a part")?;
        unless(window.reloads() > window.reload_max || window.all() > window.spend_max, "spend_window: maximum")?;
        self.windows.insert(window.month, window);
        Ok(())
    }

    /// Loads the account, as the ledger does.
    pub(crate) fn load(&self, id: AccountId, now: Timestamp) -> Account {
        let at = now.max(self.header.clock);
        let window = at.plus_ms(-FOUR_WEEKS_MS);
        let is_wanted = |grant: &&Grant| {
            grant.expires_at > now
                || grant.available.is_positive()
                || grant.held.is_positive()
                || (grant.paid.is_positive() && grant.created_at > window)
        };
        let keys = self
            .keys
            .iter()
            .map(|(key, limits)| {
                let beyond = self.beyond.get(key).copied().unwrap_or_default();
                (*key, KeyState::new(limits.clone(), self.spent_by_key(*key, at), at).with_beyond(beyond))
            })
            .collect();
        let stored = Stored {
            header: self.header.clone(),
            grants: self.grants.values().filter(is_wanted).cloned().collect(),
            holds: self.holds.values().cloned().collect(),
            payments: self.pending().cloned().collect(),
            subscription: self.subscription.clone(),
            automatic: self.automatic(),
            keys,
            learned: Learned::default(),
        };
        Account::load(id, stored)
    }

    /// The payments without an outcome.
    pub(crate) fn pending(&self) -> impl Iterator<Item = &Payment> {
        self.payments.values().filter(|payment| payment.status == PaymentStatus::Pending)
    }
}
