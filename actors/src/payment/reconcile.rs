//! Compares our payments, refunds and disputes with the processor's list, in both directions. Ours are read before the
//! processor's list and again after it. Only a difference present both times is reported, so that money on its way is
//! no difference.

use std::collections::{BTreeMap, HashMap};

use billing::{
    Nanos, Timestamp,
    ids::PaymentId,
    payment::{Payment, PaymentStatus},
    reversal::{Kind, News, Reversal, State},
};
use cards::{CardError, ListedCharge, Processor, Statement};
use ledger::{Ledger, LedgerError};
use serde::Serialize;
use uuid::Uuid;

/// The most payments compared in one run.
pub const MOST_COMPARED: usize = 1_000_000;
/// The most differences listed.
pub const MOST_LISTED: usize = 1_000;
/// Payments read at once.
const PAGE: u64 = 1_000;

/// A difference.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Difference {
    /// The payment.
    pub payment_id: Uuid,
    /// The processor's id of the charge, the refund or the dispute, where it has one.
    pub reference: Option<String>,
    /// The kind of difference.
    pub what: &'static str,
    /// The state in the ledger.
    pub here: String,
    /// The state at the processor.
    pub there: String,
}

/// The result of a comparison.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Reconciled {
    /// Whether there is no difference.
    pub ok: bool,
    /// The number of our payments that were compared.
    pub payments: usize,
    /// The number of our payments that the processor has forgotten: the sandbox forgets with its process.
    pub forgotten: usize,
    /// The number of charges that the processor lists for our payments.
    pub charges: usize,
    /// The number of refunds and disputes that the processor lists for them.
    pub reversals: usize,
    /// The number of differences.
    pub found: usize,
    /// The differences, at most [`MOST_LISTED`].
    pub differences: Vec<Difference>,
}

/// Why nothing could be compared.
#[derive(Debug, thiserror::Error)]
pub enum NotReconciled {
    /// The ledger could not be read.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// The processor did not answer, or refused.
    #[error(transparent)]
    Card(#[from] CardError),
    /// There are more payments than are compared at once.
    #[error("more than {MOST_COMPARED} payments: compare fewer days")]
    TooMany,
}

/// The processor's entries for one payment.
#[derive(Default)]
struct There<'a> {
    charges: Vec<&'a ListedCharge>,
    reversals: Vec<&'a News>,
}

impl There<'_> {
    fn paid(&self) -> Nanos {
        self.charges.iter().filter_map(|charge| charge.paid).sum()
    }

    fn standing(&self) -> Nanos {
        self.reversals.iter().filter(|news| news.state.stands()).map(|news| news.amount).sum()
    }
}

/// Compares the payments begun at or after a time.
///
/// # Errors
///
/// The ledger or the processor could not be read: compare again later. [`TooMany`](NotReconciled::TooMany) where there
/// are more than [`MOST_COMPARED`] payments: compare a shorter time.
pub async fn reconcile(ledger: &Ledger, processor: &Processor, since: Timestamp) -> Result<Reconciled, NotReconciled> {
    let mut ours: BTreeMap<PaymentId, Payment> = BTreeMap::new();
    loop {
        let after = ours.last_key_value().map_or(Uuid::nil(), |(id, _)| id.0);
        let page = ledger.payments_page(since, after, PAGE).await?;
        let is_last = page.len() < usize::try_from(PAGE).unwrap_or(usize::MAX);
        ours.extend(page.into_iter().map(|(_, payment)| (payment.id, payment)));
        if ours.len() > MOST_COMPARED {
            return Err(NotReconciled::TooMany);
        }
        if is_last {
            break;
        }
    }
    let rows = ledger.reversals_since(since).await?;
    let statement = processor.statement(since).await?;
    let forgotten = |payment: &Payment| statement.remembers_since.is_some_and(|from| payment.created_at < from);
    let there = by_payment(&ours, &statement);
    let mut report = Reconciled {
        charges: statement.charges.len(),
        reversals: there.values().map(|there| there.reversals.len()).sum(),
        ..Reconciled::default()
    };
    let nothing = There::default();
    for payment in ours.values() {
        let listed = there.get(&payment.id);
        if listed.is_none() && forgotten(payment) {
            report.forgotten += 1;
            continue;
        }
        report.payments += 1;
        let (of_it, listed) = (rows.get(&payment.id).map_or(&[][..], Vec::as_slice), listed.unwrap_or(&nothing));
        let is_forgetful = forgotten(payment);
        let first = compare(payment, of_it, listed, is_forgetful);
        if first.is_empty() {
            continue;
        }
        let Some((_, now)) = ledger.payment_of_anyone(payment.id).await? else { continue };
        let again = compare(&now, &ledger.reversals(payment.id).await?, listed, is_forgetful);
        report.add(first.into_iter().filter(|difference| again.contains(difference)));
    }
    for (id, listed) in there.iter().filter(|(id, _)| !ours.contains_key(id)) {
        let paid = listed.paid();
        if !paid.is_positive() {
            continue;
        }
        match ledger.payment_of_anyone(*id).await? {
            // The payment was begun before the compared time, and charged within it.
            Some((_, payment)) => {
                let rows = ledger.reversals(*id).await?;
                report.add(compare(&payment, &rows, listed, forgotten(&payment)).into_iter());
            }
            None => report.add([difference(*id, listed, "charge without a payment", "none".into(), paid)].into_iter()),
        }
    }
    report.ok = report.found == 0;
    Ok(report)
}

impl Reconciled {
    fn add(&mut self, differences: impl Iterator<Item = Difference>) {
        for difference in differences {
            self.found += 1;
            if self.differences.len() < MOST_LISTED {
                self.differences.push(difference);
            }
        }
    }
}

/// Groups the processor's entries by payment. Refunds and disputes belong to a payment by their charge's id.
fn by_payment<'a>(ours: &BTreeMap<PaymentId, Payment>, statement: &'a Statement) -> BTreeMap<PaymentId, There<'a>> {
    let mut there: BTreeMap<PaymentId, There<'a>> = BTreeMap::new();
    let mut names: HashMap<&str, PaymentId> = HashMap::new();
    for payment in ours.values() {
        names.extend(payment.reference.as_deref().map(|reference| (reference, payment.id)));
    }
    for charge in &statement.charges {
        names.insert(&charge.reference, charge.payment_id);
        there.entry(charge.payment_id).or_default().charges.push(charge);
    }
    for (charge, news) in &statement.reversals {
        // The charge is not ours: others may use the same processor.
        if let Some(id) = names.get(charge.as_str()) {
            there.entry(*id).or_default().reversals.push(news);
        }
    }
    there
}

fn difference(id: PaymentId, there: &There<'_>, what: &'static str, here: String, paid: Nanos) -> Difference {
    let reference = there.charges.iter().find(|charge| charge.paid.is_some()).or(there.charges.first());
    let reference = reference.map(|charge| charge.reference.clone());
    Difference { payment_id: id.0, reference, what, here, there: format!("{paid} paid") }
}

/// The differences of one payment. Where the processor has forgotten the payment, entries missing from its list are no
/// differences.
fn compare(payment: &Payment, rows: &[Reversal], there: &There<'_>, is_forgetful: bool) -> Vec<Difference> {
    let mut found = Vec::new();
    let paid = there.paid();
    let of = |what, here| difference(payment.id, there, what, here, paid);
    match payment.status {
        PaymentStatus::Succeeded => {
            if paid != payment.amount {
                found.push(of("payment that succeeded", format!("{} paid", payment.amount)));
            }
            let is_named = |charge: &&ListedCharge| payment.reference.as_deref() == Some(charge.reference.as_str());
            if paid == payment.amount && !there.charges.iter().any(is_named) {
                let here = payment.reference.clone().unwrap_or_else(|| "none".to_owned());
                found.push(of("name of the charge", here));
            }
            found.extend(compare_reversals(payment, rows, there, is_forgetful));
        }
        // Money that arrived after a decline went back.
        PaymentStatus::Declined if paid > there.standing() => {
            found.push(of("payment that was declined", "nothing paid".to_owned()));
        }
        PaymentStatus::Pending if paid.is_positive() => {
            found.push(of("payment that is pending", "nothing paid".to_owned()));
        }
        PaymentStatus::Declined | PaymentStatus::Pending => {}
    }
    found
}

fn compare_reversals(payment: &Payment, rows: &[Reversal], there: &There<'_>, is_forgetful: bool) -> Vec<Difference> {
    let is_same = |row: &Reversal, news: &News| {
        row.kind == news.kind
            && row.state != State::Replaced
            && (Some(row.id) == news.id || (row.reference.is_some() && row.reference == news.reference))
    };
    let say = |amount: Nanos, state: State| format!("{amount} {}", state.name());
    let none = || "none".to_owned();
    let of = |kind: Kind, reference: Option<&String>, here, there| Difference {
        payment_id: payment.id.0,
        reference: reference.cloned(),
        what: kind.name(),
        here,
        there,
    };
    let mut found = Vec::new();
    for news in &there.reversals {
        let (kind, reference) = (news.kind, news.reference.as_ref());
        match rows.iter().find(|row| is_same(row, news)) {
            Some(row) if (row.amount, row.state) == (news.amount, news.state) => {}
            Some(row) => {
                found.push(of(kind, reference, say(row.amount, row.state), say(news.amount, news.state)));
            }
            // The reversal never took money.
            None if !news.state.stands() => {}
            None => found.push(of(kind, reference, none(), say(news.amount, news.state))),
        }
    }
    let is_listed = |row: &&Reversal| there.reversals.iter().any(|news| is_same(row, news));
    let unlisted = rows.iter().filter(|row| row.state.stands() && !is_listed(row));
    for row in unlisted.filter(|_| !is_forgetful) {
        found.push(of(row.kind, row.reference.as_ref(), say(row.amount, row.state), none()));
    }
    found
}

#[cfg(test)]
mod tests {
    use billing::{ids::ReversalId, payment::Purpose};

    use super::*;

    const NOW: Timestamp = Timestamp(1_000);

    fn payment(status: PaymentStatus) -> Payment {
        let id = PaymentId(Uuid::from_u128(1));
        let payment = Payment::new(id, Purpose::Purchase, Nanos::dollars(10), "card".into(), NOW);
        Payment { status, reference: Some("pi_1".into()), ..payment }
    }

    fn charge(paid: Option<i64>) -> ListedCharge {
        let paid = paid.map(Nanos::dollars);
        ListedCharge { payment_id: PaymentId(Uuid::from_u128(1)), reference: "pi_1".into(), paid, is_open: false }
    }

    fn news(reference: &str, dollars: i64, state: State) -> News {
        let amount = Nanos::dollars(dollars);
        News { id: None, kind: Kind::Refund, reference: Some(reference.into()), amount, state }
    }

    fn row(reference: &str, dollars: i64, state: State) -> Reversal {
        Reversal {
            id: ReversalId(Uuid::from_u128(7)),
            payment_id: PaymentId(Uuid::from_u128(1)),
            kind: Kind::Refund,
            reference: Some(reference.into()),
            card: None,
            amount: Nanos::dollars(dollars),
            state,
            created_at: NOW,
            changed_at: None,
            left_ms: 0,
        }
    }

    fn said(status: PaymentStatus, rows: &[Reversal], charges: &[ListedCharge], listed: &[News]) -> Vec<String> {
        let there = There { charges: charges.iter().collect(), reversals: listed.iter().collect() };
        let found = compare(&payment(status), rows, &there, false);
        found.into_iter().map(|it| format!("{}: {} / {}", it.what, it.here, it.there)).collect()
    }

    #[test]
    fn what_is_the_same_is_no_difference() {
        let paid = [charge(Some(10))];
        assert!(said(PaymentStatus::Succeeded, &[], &paid, &[]).is_empty());
        let (ours, theirs) = ([row("re_1", 4, State::Succeeded)], [news("re_1", 4, State::Succeeded)]);
        assert!(said(PaymentStatus::Succeeded, &ours, &paid, &theirs).is_empty());
        assert!(said(PaymentStatus::Succeeded, &[], &paid, &[news("re_1", 4, State::Failed)]).is_empty());
        assert!(said(PaymentStatus::Declined, &[], &[charge(None)], &[]).is_empty());
        assert!(said(PaymentStatus::Declined, &[], &[], &[]).is_empty());
        let returned = [news("re_1", 10, State::Succeeded)];
        assert!(said(PaymentStatus::Declined, &[], &paid, &returned).is_empty(), "it went back");
    }

    #[test]
    fn each_way_of_differing_is_said_with_both_sides() {
        let paid = [charge(Some(10))];
        for (status, rows, charges, listed, expected) in [
            (PaymentStatus::Succeeded, vec![], vec![], vec![], "payment that succeeded: 10.00 paid / 0.00 paid"),
            (
                PaymentStatus::Succeeded,
                vec![],
                vec![charge(Some(9))],
                vec![],
                "payment that succeeded: 10.00 paid / 9.00 paid",
            ),
            (
                PaymentStatus::Declined,
                vec![],
                paid.to_vec(),
                vec![],
                "payment that was declined: nothing paid / 10.00 paid",
            ),
            (
                PaymentStatus::Pending,
                vec![],
                paid.to_vec(),
                vec![],
                "payment that is pending: nothing paid / 10.00 paid",
            ),
            (
                PaymentStatus::Succeeded,
                vec![],
                paid.to_vec(),
                vec![news("re_1", 4, State::Succeeded)],
                "refund: none / 4.00 succeeded",
            ),
            (
                PaymentStatus::Succeeded,
                vec![row("re_1", 4, State::Succeeded)],
                paid.to_vec(),
                vec![],
                "refund: 4.00 succeeded / none",
            ),
            (
                PaymentStatus::Succeeded,
                vec![row("re_1", 4, State::Succeeded)],
                paid.to_vec(),
                vec![news("re_1", 4, State::Failed)],
                "refund: 4.00 succeeded / 4.00 failed",
            ),
        ] {
            assert_eq!(said(status, &rows, &charges, &listed), [expected]);
        }
        let another = ListedCharge { reference: "pi_2".into(), ..charge(Some(10)) };
        let found = said(PaymentStatus::Succeeded, &[], &[another], &[]);
        assert_eq!(found, ["name of the charge: pi_1 / 10.00 paid"]);
    }
}
