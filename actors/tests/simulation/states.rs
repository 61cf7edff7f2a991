//! The states that an account's transitions leave behind, each in its last form, as the projection merges them: a state
//! that changes many times within a group of rows is written once, and a hold that began and ended in it never.

use std::collections::{BTreeMap, BTreeSet};

use billing::{
    Nanos,
    account::{Automatic, Header},
    automatic::SpendWindow,
    entry::{LineKind, Transition},
    grant::Grant,
    hold::Hold,
    ids::{GrantId, KeyId, PaymentId, RequestId, ReversalId},
    payment::Payment,
    reversal::Reversal,
    subscription::Subscription,
    time::Month,
};

#[derive(Default)]
pub(crate) struct States<'a> {
    pub(crate) header: Option<&'a Header>,
    pub(crate) grants: BTreeMap<GrantId, &'a Grant>,
    pub(crate) holds: BTreeMap<RequestId, &'a Hold>,
    /// Holds that ended and have a row.
    pub(crate) ended: Vec<RequestId>,
    placed: BTreeSet<RequestId>,
    pub(crate) payments: BTreeMap<PaymentId, &'a Payment>,
    pub(crate) reversals: BTreeMap<(PaymentId, ReversalId), &'a Reversal>,
    pub(crate) subscription: Option<&'a Subscription>,
    pub(crate) automatic: Option<&'a Automatic>,
    pub(crate) windows: BTreeMap<Month, SpendWindow>,
    pub(crate) beyond: BTreeMap<KeyId, Nanos>,
}

impl<'a> States<'a> {
    /// Merges transitions of one account, in their order.
    pub(crate) fn of(transitions: impl Iterator<Item = &'a Transition>) -> Self {
        let mut states = Self::default();
        transitions.for_each(|transition| states.add(transition));
        states
    }

    fn add(&mut self, transition: &'a Transition) {
        self.header = Some(&transition.header);
        self.grants.extend(transition.grants.iter().map(|grant| (grant.id, grant)));
        if let Some(hold) = &transition.hold {
            if transition.lines.iter().any(|line| line.kind == LineKind::HoldPlaced) {
                self.placed.insert(hold.request_id);
            }
            self.holds.insert(hold.request_id, hold);
        }
        if let Some(id) = transition.ended {
            self.holds.remove(&id);
            if !self.placed.remove(&id) {
                self.ended.push(id);
            }
        }
        self.payments.extend(transition.payments.iter().map(|payment| (payment.id, payment)));
        self.reversals.extend(transition.reversals.iter().map(|row| ((row.payment_id, row.id), row)));
        self.subscription = transition.subscription.as_ref().or(self.subscription);
        self.beyond.extend(transition.beyond);
        if let Some(automatic) = &transition.automatic {
            self.automatic = Some(automatic);
            if automatic.window != SpendWindow::default() {
                self.windows.insert(automatic.window.month, automatic.window);
            }
        }
    }
}
