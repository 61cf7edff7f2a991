//! A decision in progress. Every change of a grant goes through here and writes its line, so that lines and state
//! always agree.

use uuid::Uuid;

use crate::{
    account::{Account, Automatic},
    entry::{Line, LineKind, Notice, Proof, Transition, UsageRecord},
    event::Event,
    grant::Grant,
    hold::Hold,
    ids::{GrantId, KeyId, PaymentId, RequestId, derived},
    nanos::Nanos,
    payment::{Maxima, Payment, Purpose},
    resource::Resource,
    reversal::Reversal,
    subscription::Subscription,
    time::Timestamp,
};

/// Changes to one account that will be written together.
pub(super) struct Draft<'a> {
    pub(super) account: &'a mut Account,
    pub(super) now: Timestamp,
    lines: Vec<Line>,
    touched: Vec<GrantId>,
    /// Grants that no longer matter to the account, already removed from its memory.
    retired: Vec<Grant>,
    pub(super) hold: Option<Hold>,
    pub(super) ended: Option<RequestId>,
    pub(super) usage: Option<UsageRecord>,
    payments: Vec<Payment>,
    reversals: Vec<Reversal>,
    is_subscription_changed: bool,
    is_automatic_changed: bool,
    events: Vec<Event>,
    /// The event that caused the command. It is written only if something changes.
    pub(super) notice: Option<Notice>,
    /// The total charged beyond a key's limits, if it grew.
    pub(super) beyond: Option<(KeyId, Nanos)>,
    /// The proof that a request was carried out. It is written even if nothing changes.
    pub(super) proof: Option<Proof>,
    /// Keys, saved cards and webhooks that change.
    pub(super) resources: Vec<Resource>,
    /// Whether the time of the next due work may have changed.
    reschedule: bool,
}

impl<'a> Draft<'a> {
    pub(super) const fn new(account: &'a mut Account, now: Timestamp) -> Self {
        Self {
            account,
            now,
            lines: Vec::new(),
            touched: Vec::new(),
            retired: Vec::new(),
            hold: None,
            ended: None,
            usage: None,
            payments: Vec::new(),
            reversals: Vec::new(),
            is_subscription_changed: false,
            is_automatic_changed: false,
            events: Vec::new(),
            notice: None,
            beyond: None,
            proof: None,
            resources: Vec::new(),
            reschedule: false,
        }
    }

    /// Marks that the time of the next due work may have changed.
    pub(super) const fn reschedule(&mut self) {
        self.reschedule = true;
    }

    /// Writes a grant even if no line changes it.
    pub(super) fn touch(&mut self, id: GrantId) {
        if !self.touched.contains(&id) {
            self.touched.push(id);
        }
    }

    /// Adds an event for the owner.
    pub(super) fn tell(&mut self, event: Event) {
        self.events.push(event);
    }

    /// The subscription, marked as changed; `None` if there never was one.
    pub(super) fn subscription(&mut self) -> Option<&mut Subscription> {
        let subscription = self.account.subscription.as_deref_mut()?;
        self.is_subscription_changed = true;
        self.reschedule = true;
        Some(subscription)
    }

    /// Replaces any earlier subscription.
    pub(super) fn begin_subscription(&mut self, subscription: Subscription) {
        self.account.subscription = Some(Box::new(subscription));
        self.is_subscription_changed = true;
        self.reschedule = true;
    }

    /// The automatic purchases, marked as changed.
    pub(super) fn automatic(&mut self) -> &mut Automatic {
        self.is_automatic_changed = true;
        self.reschedule = true;
        self.account.automatic.get_or_insert_default()
    }

    /// Begins a payment by the rules. At one time, an account begins at most one with the same purpose and number.
    pub(super) fn begin_payment(
        &mut self,
        (purpose, number): (Purpose, u64),
        amount: Nanos,
        method: String,
        maxima: Option<Maxima>,
    ) {
        let number = number << 3 | purpose as u64;
        let id = PaymentId(derived(self.account.id, self.now, number));
        self.insert_payment(Payment { maxima, ..Payment::new(id, purpose, amount, method, self.now) });
    }

    /// Adds a payment that has not ended.
    pub(super) fn insert_payment(&mut self, payment: Payment) {
        self.reschedule = true;
        self.account.payments.insert(payment.id, payment.clone());
        self.payments.push(payment);
    }

    /// Writes a payment that has ended.
    pub(super) fn end_payment(&mut self, payment: Payment) {
        self.reschedule = true;
        self.payments.push(payment);
    }

    /// Writes a refund or a dispute.
    pub(super) fn write_reversal(&mut self, reversal: Reversal) {
        self.reversals.push(reversal);
    }

    /// An id for a grant made by the rules, from a number used once.
    pub(super) fn new_grant_id(&self, at: Timestamp, number: u64) -> GrantId {
        GrantId(derived(self.account.id, at, number))
    }

    /// A subject for an event that is unique to this decision.
    pub(super) fn event_subject(&self) -> String {
        Uuid::from_u64_pair(self.account.header.seq, self.now.0.unsigned_abs()).simple().to_string()
    }

    /// Applies a line to its grant and the account, and adds it to the transition.
    pub(super) fn record(&mut self, line: Line) {
        let index = line.grant_id.map(|id| {
            let index = self.account.grant_index(id);
            index.unwrap_or_else(|| panic!("grant {id} is not in memory"))
        });
        self.record_at(index, line);
    }

    /// [`Self::record`] with a known index of the grant.
    fn record_at(&mut self, index: Option<usize>, line: Line) {
        if let Some(index) = index {
            let grant = &mut self.account.grants[index];
            grant.funded += line.funded;
            grant.available += line.available;
            grant.held += line.held;
            grant.spent += line.spent;
            grant.expired += line.expired;
            grant.voided += line.voided;
            grant.assert_sound();
            let id = grant.id;
            self.account.available += line.available;
            self.touch(id);
        }
        self.account.header.debt += line.debt;
        assert!(self.account.header.debt >= Nanos::ZERO, "more debt repaid than owed");
        self.lines.push(line);
    }

    /// Draws up to `wanted` from the available credits, in draw order. `line_of` makes the line of each grant and
    /// amount.
    pub(super) fn draw(&mut self, wanted: Nanos, line_of: impl Fn(GrantId, Nanos) -> Line) -> Vec<(GrantId, Nanos)> {
        let mut missing = wanted;
        let mut taken = Vec::new();
        let mut index = 0;
        while missing.is_positive() && index < self.account.grants.len() {
            let grant = &self.account.grants[index];
            index += 1;
            if !grant.available.is_positive() || grant.is_expired(self.now) {
                continue;
            }
            let (id, amount) = (grant.id, grant.available.min(missing));
            self.record_at(Some(index - 1), line_of(id, amount));
            taken.push((id, amount));
            missing -= amount;
        }
        taken
    }

    /// Moves a grant whose expiry changed to its place in the draw order, and returns the new index.
    pub(super) fn place_again(&mut self, index: usize) -> usize {
        let grant = self.account.grants.remove(index);
        let place = self.account.grants.partition_point(|other| other.draw_order() < grant.draw_order());
        self.account.grants.insert(place, grant);
        place
    }

    /// Removes grants that no rule needs any more from memory. Their last state is still written.
    pub(super) fn retire_dead_grants(&mut self) {
        let now = self.now;
        if self.account.grants.iter().all(|grant| grant.is_live(now)) {
            return;
        }
        let (live, dead) = std::mem::take(&mut self.account.grants).into_iter().partition(|grant| grant.is_live(now));
        self.account.grants = live;
        self.retired = dead;
    }

    /// A line for a grant.
    pub(super) const fn line(kind: LineKind, grant_id: GrantId, request_id: Option<RequestId>) -> Line {
        let mut line = Line::new(kind);
        line.grant_id = Some(grant_id);
        line.request_id = request_id;
        line
    }

    /// The transition, if anything changed.
    pub(super) fn finish(mut self) -> Option<Box<Transition>> {
        self.retire_dead_grants();
        let mut is_changed = !self.lines.is_empty()
            || !self.payments.is_empty()
            || !self.reversals.is_empty()
            || !self.events.is_empty()
            || !self.touched.is_empty()
            || self.is_subscription_changed
            || self.is_automatic_changed
            || self.proof.is_some()
            || !self.resources.is_empty();
        if self.reschedule || is_changed && self.account.due_at <= self.now {
            let wake_at = self.account.next_due(self.now);
            self.account.due_at = wake_at.unwrap_or(Timestamp(i64::MAX));
            is_changed |= self.account.header.wake_at != wake_at;
            self.account.header.wake_at = wake_at;
        }
        if !is_changed {
            return None;
        }
        let Self {
            account,
            now,
            lines,
            touched,
            retired,
            hold,
            ended,
            usage,
            payments,
            reversals,
            events,
            notice,
            proof,
            resources,
            ..
        } = self;
        // A transition without lines (a payment, an event) takes no sequence number, so that the journal stays dense.
        account.header.seq += u64::from(!lines.is_empty());
        account.header.clock = now;
        let is_touched = |grant: &&Grant| touched.contains(&grant.id);
        let grants = account.grants.iter().chain(&retired).filter(is_touched).cloned().collect();
        let subscription = account.subscription.as_deref().filter(|_| self.is_subscription_changed).cloned();
        let automatic = account.automatic.as_deref().filter(|_| self.is_automatic_changed).cloned();
        Some(Box::new(Transition {
            account_id: account.id,
            seq: account.header.seq,
            at: now,
            lines,
            header: account.header.clone(),
            grants,
            hold,
            ended,
            usage,
            payments,
            reversals,
            subscription,
            automatic,
            events,
            notice,
            beyond: self.beyond,
            proof,
            opened: None,
            resources,
        }))
    }
}
