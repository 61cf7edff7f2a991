//! A decision in the making: every change of a grant goes through here and leaves its line, so that lines and state
//! can't part.

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
    /// Grants that no longer matter to the account, already taken from its memory.
    retired: Vec<Grant>,
    pub(super) hold: Option<Hold>,
    pub(super) ended: Option<RequestId>,
    pub(super) usage: Option<UsageRecord>,
    payments: Vec<Payment>,
    reversals: Vec<Reversal>,
    is_subscription_changed: bool,
    is_automatic_changed: bool,
    events: Vec<Event>,
    /// What the command comes from: written only with what it changes.
    pub(super) notice: Option<Notice>,
    /// What a key was charged beyond its limits, ever, where that grew.
    pub(super) beyond: Option<(KeyId, Nanos)>,
    /// Which request it carries out: written whatever it changes.
    pub(super) proof: Option<Proof>,
    /// Whether something may now be due at another time.
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
            reschedule: false,
        }
    }

    /// Something may now be due at another time than before.
    pub(super) const fn reschedule(&mut self) {
        self.reschedule = true;
    }

    /// Has a grant written though no line changed it.
    pub(super) fn touch(&mut self, id: GrantId) {
        if !self.touched.contains(&id) {
            self.touched.push(id);
        }
    }

    /// Tells the owner.
    pub(super) fn tell(&mut self, event: Event) {
        self.events.push(event);
    }

    /// The subscription, to be changed; none where there never was one.
    pub(super) fn subscription(&mut self) -> Option<&mut Subscription> {
        let subscription = self.account.subscription.as_deref_mut()?;
        self.is_subscription_changed = true;
        self.reschedule = true;
        Some(subscription)
    }

    /// Begins a subscription in place of any before it.
    pub(super) fn begin_subscription(&mut self, subscription: Subscription) {
        self.account.subscription = Some(Box::new(subscription));
        self.is_subscription_changed = true;
        self.reschedule = true;
    }

    /// The automatic purchases, to be changed.
    pub(super) fn automatic(&mut self) -> &mut Automatic {
        self.is_automatic_changed = true;
        self.reschedule = true;
        self.account.automatic.get_or_insert_default()
    }

    /// Begins a payment of the rules' own: at one instant, an account begins none of the same purpose and number.
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

    /// Keeps a payment that has not ended.
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

    /// An id for a grant that the rules make, from a number used once.
    pub(super) fn new_grant_id(&self, at: Timestamp, number: u64) -> GrantId {
        GrantId(derived(self.account.id, at, number))
    }

    /// An id that no other of this decision has.
    pub(super) fn event_subject(&self) -> String {
        Uuid::from_u64_pair(self.account.header.seq, self.now.0.unsigned_abs()).simple().to_string()
    }

    /// Applies a line to its grant and the account, and keeps it.
    pub(super) fn record(&mut self, line: Line) {
        let index = line.grant_id.map(|id| {
            let index = self.account.grant_index(id);
            index.unwrap_or_else(|| panic!("grant {id} is not in memory"))
        });
        self.record_at(index, line);
    }

    /// The same, where the grant's place is known.
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

    /// Takes up to `wanted` from what is available, in draw order, telling `line_of` each grant and amount.
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

    /// Puts a grant whose expiry changed where it is in the draw order now; its place.
    pub(super) fn place_again(&mut self, index: usize) -> usize {
        let grant = self.account.grants.remove(index);
        let place = self.account.grants.partition_point(|other| other.draw_order() < grant.draw_order());
        self.account.grants.insert(place, grant);
        place
    }

    /// Removes from memory the grants that no rule will look at again; their last state is still written.
    pub(super) fn retire_dead_grants(&mut self) {
        let now = self.now;
        if self.account.grants.iter().all(|grant| grant.is_live(now)) {
            return;
        }
        let (live, dead) = std::mem::take(&mut self.account.grants).into_iter().partition(|grant| grant.is_live(now));
        self.account.grants = live;
        self.retired = dead;
    }

    /// A line of the current kind for a grant.
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
            || self.proof.is_some();
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
            ..
        } = self;
        // What leaves no line (a payment, an event) takes no place in the journal: its sequence stays dense.
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
        }))
    }
}
