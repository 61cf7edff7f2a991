//! The states that transitions leave behind, each in its last form. A state that changes many times within a call of
//! the projection is written once.

use std::collections::{BTreeMap, HashSet};

use billing::{
    Nanos, Timestamp,
    account::{Automatic, Header},
    automatic::SpendWindow,
    entry::{LineKind, Notice, Transition},
    grant::{Grant, Taken},
    hold::Hold,
    ids::{AccountId, GrantId, KeyId, PaymentId, RequestId, ReversalId},
    payment::Payment,
    reversal::Reversal,
    subscription::Subscription,
    time::Month,
};

use super::{Entry, resources::Resources};

/// Several transitions, merged.
#[derive(Default)]
pub(super) struct Merged<'a> {
    pub(super) headers: BTreeMap<AccountId, &'a Header>,
    pub(super) grants: BTreeMap<GrantId, (AccountId, &'a Grant)>,
    /// Grants that refunds and disputes took credits from or gave credits back to.
    pub(super) taken: BTreeMap<GrantId, &'a Grant>,
    pub(super) holds: BTreeMap<RequestId, (AccountId, &'a Hold)>,
    /// Holds that ended and have a row. A hold that was placed here too never had one.
    pub(super) ended: Vec<(AccountId, RequestId)>,
    placed: HashSet<RequestId>,
    pub(super) payments: BTreeMap<PaymentId, (AccountId, &'a Payment)>,
    pub(super) reversals: BTreeMap<(PaymentId, ReversalId), (AccountId, &'a Reversal)>,
    pub(super) subscriptions: BTreeMap<AccountId, &'a Subscription>,
    pub(super) automatics: BTreeMap<AccountId, &'a Automatic>,
    pub(super) windows: BTreeMap<(AccountId, Month), &'a SpendWindow>,
    /// The amounts charged beyond keys' limits.
    pub(super) beyond: BTreeMap<KeyId, Nanos>,
    /// Processors' events by their ids.
    pub(super) notices: BTreeMap<(&'a str, &'a str), Noted<'a>>,
    pub(super) resources: Resources<'a>,
}

/// A processor's event: its first delivery, and when the last one was signed.
pub(super) struct Noted<'a> {
    pub(super) first: &'a Notice,
    pub(super) at: Timestamp,
    pub(super) signed_at: Timestamp,
}

impl<'a> Merged<'a> {
    pub(super) fn new(entries: &[Entry<'a>]) -> Self {
        let mut merged = Self::default();
        for entry in entries {
            merged.add(entry.transition);
        }
        merged
    }

    fn add(&mut self, transition: &'a Transition) {
        let account = transition.account_id;
        self.headers.insert(account, &transition.header);
        for grant in &transition.grants {
            self.grants.insert(grant.id, (account, grant));
            if grant.taken != Taken::default() || !transition.reversals.is_empty() {
                self.taken.insert(grant.id, grant);
            }
        }
        self.add_hold(transition);
        self.beyond.extend(transition.beyond);
        self.resources.add(transition);
        for payment in &transition.payments {
            self.payments.insert(payment.id, (account, payment));
        }
        for row in &transition.reversals {
            self.reversals.insert((row.payment_id, row.id), (account, row));
        }
        if let Some(subscription) = &transition.subscription {
            self.subscriptions.insert(account, subscription);
        }
        if let Some(automatic) = &transition.automatic {
            self.automatics.insert(account, automatic);
            if automatic.window != SpendWindow::default() {
                self.windows.insert((account, automatic.window.month), &automatic.window);
            }
        }
        if let Some(notice) = &transition.notice {
            let first = || Noted { first: notice, at: transition.at, signed_at: notice.signed_at };
            let noted = self.notices.entry((&*notice.processor, &notice.id)).or_insert_with(first);
            noted.signed_at = noted.signed_at.max(notice.signed_at);
        }
    }

    fn add_hold(&mut self, transition: &'a Transition) {
        let account = transition.account_id;
        if let Some(hold) = &transition.hold {
            let is_placed = |line: &billing::entry::Line| {
                line.kind == LineKind::HoldPlaced && line.request_id == Some(hold.request_id)
            };
            if transition.lines.iter().any(is_placed) {
                self.placed.insert(hold.request_id);
            }
            self.holds.insert(hold.request_id, (account, hold));
        }
        if let Some(id) = transition.ended {
            self.holds.remove(&id);
            if !self.placed.remove(&id) {
                self.ended.push((account, id));
            }
        }
    }
}
