//! The built-in processor with test cards: no money moves. Cards have the names of Stripe's test payment methods
//! (Stripe documentation, "Test card numbers"). A few cards of our own simulate lost answers and other failures. A
//! card's behaviour depends on its name, and for those few also on earlier calls in this process: never on chance.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use billing::{
    Nanos, Timestamp,
    card::Card,
    entry::Notice,
    ids::{AccountId, PaymentId},
    reversal::{Kind, Listing, News, State},
};
use uuid::Uuid;

use crate::{
    charge::{ChargeOutcome, NextAction, Order, RefundOrder, Refunded},
    finding::{Finding, ListedCharge, ProcessorEvent, ProcessorRecord, Statement, Subject},
};

/// The behaviour of a test card when it is charged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Does {
    /// Pays.
    Pay,
    /// Declines, with this code.
    Decline(&'static str),
    /// Waits for its owner.
    Authenticate,
    /// Is charged, but the first answer is lost.
    LoseFirstAnswer,
    /// Is charged, but no answer ever comes: only a look-up finds it.
    LoseEveryAnswer,
    /// Is never charged, and no answer comes.
    NeverArrive,
    /// Pays, and its event comes twice: before the answer and beside it.
    NotifyTwice,
    /// Pays, and its owner disputes it.
    Dispute,
    /// Pays, and its bank takes no refund: a refund is made, and fails later.
    FailRefunds,
}

struct TestCard {
    name: &'static str,
    brand: &'static str,
    last4: &'static str,
    does: Does,
}

const fn card(name: &'static str, brand: &'static str, last4: &'static str, does: Does) -> TestCard {
    TestCard { name, brand, last4, does }
}

const CARDS: &[TestCard] = &[
    card("pm_card_visa", "visa", "4242", Does::Pay),
    card("pm_card_mastercard", "mastercard", "4444", Does::Pay),
    card("pm_card_amex", "amex", "0005", Does::Pay),
    card("pm_card_visa_chargeDeclined", "visa", "0002", Does::Decline("card_declined")),
    card("pm_card_visa_chargeDeclinedInsufficientFunds", "visa", "9995", Does::Decline("insufficient_funds")),
    card("pm_card_visa_chargeDeclinedLostCard", "visa", "9987", Does::Decline("lost_card")),
    card("pm_card_visa_chargeDeclinedStolenCard", "visa", "9979", Does::Decline("stolen_card")),
    card("pm_card_chargeDeclinedExpiredCard", "visa", "0069", Does::Decline("expired_card")),
    card("pm_card_chargeDeclinedProcessingError", "visa", "0119", Does::Decline("processing_error")),
    card("pm_card_authenticationRequired", "visa", "3184", Does::Authenticate),
    card("pm_card_createDispute", "visa", "0259", Does::Dispute),
    card("pm_card_refundFail", "visa", "5126", Does::FailRefunds),
    card("pm_card_timesOutThenSucceeds", "visa", "0801", Does::LoseFirstAnswer),
    card("pm_card_answerNeverComes", "visa", "0802", Does::LoseEveryAnswer),
    card("pm_card_chargeNeverArrives", "visa", "0803", Does::NeverArrive),
    card("pm_card_duplicatesWebhook", "visa", "0804", Does::NotifyTwice),
];

/// The card that is charged where no card is named or saved.
pub(super) const LAST_RESORT: &str = "pm_card_visa";

/// The most charges remembered; at the limit all are forgotten. Only the cards that depend on earlier calls need the
/// memory.
const MOST: usize = 10_000;

/// What stands before and after the payment's id in the sandbox's ids.
const CHARGE: &str = "pi_sandbox_";
const DISPUTE: &str = "dp_sandbox_";
const REFUND: &str = "re_sandbox_";

fn does(method: &str) -> Option<Does> {
    CARDS.iter().find(|card| card.name == method).map(|card| card.does)
}

/// The names of all test cards.
pub fn cards() -> impl Iterator<Item = &'static str> {
    CARDS.iter().map(|card| card.name)
}

/// The sandbox's id of an account as a customer.
pub fn customer(account: AccountId) -> String {
    format!("cus_sandbox_{}", account.0.simple())
}

/// A test card in the form in which cards are saved.
pub fn find_card(account: AccountId, name: &str) -> Option<Card> {
    let found = CARDS.iter().find(|card| card.name == name)?;
    Some(Card {
        customer: customer(account),
        reference: found.name.to_owned(),
        brand: found.brand.to_owned(),
        last4: found.last4.to_owned(),
        exp_month: 12,
        exp_year: 2_099,
    })
}

/// The answer of a card's owner to the bank.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Charge the card.
    Approve,
    /// Do not charge the card.
    Refuse,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Waiting,
    Paid,
    Refused,
    Canceled,
}

#[derive(Debug)]
struct Charged {
    amount: Nanos,
    stage: Stage,
    does: Option<Does>,
}

#[derive(Debug)]
struct Memory {
    charges: HashMap<PaymentId, Charged>,
    refunds: HashMap<PaymentId, Vec<News>>,
    /// When the memory began: it does not outlive the process.
    since: Timestamp,
}

/// The processor, shared by clones.
#[derive(Debug, Clone)]
pub struct Sandbox(Arc<Mutex<Memory>>);

impl Default for Sandbox {
    fn default() -> Self {
        Self::new(Timestamp(0))
    }
}

impl Sandbox {
    /// A processor whose memory begins now.
    pub fn new(now: Timestamp) -> Self {
        Self(Arc::new(Mutex::new(Memory { charges: HashMap::new(), refunds: HashMap::new(), since: now })))
    }

    fn memory(&self) -> MutexGuard<'_, Memory> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Remembers a charge. Returns whether the charge was known already, and its stage.
    fn remember(&self, order: &Order, stage: Stage) -> (bool, Stage) {
        let mut memory = self.memory();
        if let Some(charged) = memory.charges.get(&order.payment_id) {
            return (true, charged.stage);
        }
        if memory.charges.len() >= MOST {
            memory.charges.clear();
            memory.refunds.clear();
            memory.since = Timestamp(i64::MAX);
        }
        let does = does(&order.method);
        memory.charges.insert(order.payment_id, Charged { amount: order.amount, stage, does });
        (false, stage)
    }

    /// Charges a card.
    pub(super) fn charge(&self, order: &Order) -> ChargeOutcome {
        let lost = || ChargeOutcome::Unknown { why: "the answer was lost".into() };
        match does(&order.method) {
            Some(Does::Decline(code)) => declined(code),
            Some(Does::Authenticate) => {
                let (_, stage) = self.remember(order, Stage::Waiting);
                outcome(order.payment_id, order.amount, stage)
            }
            Some(Does::LoseFirstAnswer) => match self.remember(order, Stage::Paid) {
                (true, _) => paid(order.payment_id, order.amount),
                (false, _) => lost(),
            },
            Some(Does::LoseEveryAnswer) => {
                self.remember(order, Stage::Paid);
                lost()
            }
            Some(Does::NeverArrive) => lost(),
            Some(Does::Pay | Does::NotifyTwice | Does::Dispute | Does::FailRefunds) => {
                self.remember(order, Stage::Paid);
                paid(order.payment_id, order.amount)
            }
            None => declined("no_such_card"),
        }
    }

    /// Looks a charge up.
    pub(super) fn find(&self, order: &Order) -> Option<ChargeOutcome> {
        // The card was charged, whether this process remembers the charge or not.
        if does(&order.method) == Some(Does::LoseEveryAnswer) {
            self.remember(order, Stage::Paid);
            return Some(paid(order.payment_id, order.amount));
        }
        let stage = self.memory().charges.get(&order.payment_id)?.stage;
        Some(outcome(order.payment_id, order.amount, stage))
    }

    /// Fetches a charge's state.
    pub(super) fn look(&self, reference: &str) -> ChargeOutcome {
        let known = payment_of(CHARGE, reference)
            .and_then(|id| self.memory().charges.get(&id).map(|charged| outcome(id, charged.amount, charged.stage)));
        known.unwrap_or_else(|| ChargeOutcome::Unknown { why: "the sandbox remembers no such charge".into() })
    }

    /// Cancels a waiting charge.
    pub(super) fn cancel(&self, reference: &str) -> ChargeOutcome {
        if let Some(id) = payment_of(CHARGE, reference)
            && let Some(charged) = self.memory().charges.get_mut(&id)
            && charged.stage == Stage::Waiting
        {
            charged.stage = Stage::Canceled;
        }
        self.look(reference)
    }

    /// Approves or refuses a charge in the place of the card's owner. Returns the event, where the charge was waiting.
    pub fn authenticate(&self, id: PaymentId, verdict: Verdict, now: Timestamp) -> Option<ProcessorEvent> {
        let mut memory = self.memory();
        let charged = memory.charges.get_mut(&id).filter(|charged| charged.stage == Stage::Waiting)?;
        charged.stage = match verdict {
            Verdict::Approve => Stage::Paid,
            Verdict::Refuse => Stage::Refused,
        };
        let kind = match verdict {
            Verdict::Approve => "payment_intent.succeeded",
            Verdict::Refuse => "payment_intent.payment_failed",
        };
        Some(notice(id, kind, Subject::Charge(reference(CHARGE, id)), now))
    }

    /// Gives money back. A charge from before the process's last start is assumed to exist: no money moves.
    pub(super) fn refund(&self, order: &RefundOrder) -> Refunded {
        let refused = |code: &str, message: &str| Refunded::Refused { code: code.into(), message: message.into() };
        let Some(payment) = payment_of(CHARGE, &order.reference) else {
            return refused("resource_missing", "no such charge");
        };
        let name = refund_name(order);
        let mut memory = self.memory();
        let paid = memory.charges.get(&payment).map(|charged| charged.amount);
        let made = memory.refunds.entry(payment).or_default();
        if let Some(made) = made.iter().find(|made| made.reference.as_deref() == Some(&name)) {
            return Refunded::Made { reference: name, state: made.state };
        }
        let before: Nanos = made.iter().filter(|made| made.state.stands()).map(|made| made.amount).sum();
        if paid.is_some_and(|paid| before + order.amount > paid) {
            return refused("charge_already_refunded", "more than is left of the charge");
        }
        let reference = Some(name.clone());
        made.push(News { id: order.id, kind: Kind::Refund, reference, amount: order.amount, state: State::Succeeded });
        Refunded::Made { reference: name, state: State::Succeeded }
    }

    /// Looks a refund up.
    pub(super) fn find_refund(&self, order: &RefundOrder) -> Option<Refunded> {
        let payment = payment_of(CHARGE, &order.reference)?;
        let name = refund_name(order);
        let memory = self.memory();
        let made = memory.refunds.get(&payment)?.iter().find(|made| made.reference.as_deref() == Some(&name))?;
        Some(Refunded::Made { reference: name, state: made.state })
    }

    /// The events of a new refund: where the bank takes none, that the refund failed.
    pub(super) fn refund_notices(&self, order: &RefundOrder, now: Timestamp) -> Vec<ProcessorEvent> {
        let Some(payment) = payment_of(CHARGE, &order.reference) else { return Vec::new() };
        let name = refund_name(order);
        let mut memory = self.memory();
        if memory.charges.get(&payment).and_then(|charged| charged.does) != Some(Does::FailRefunds) {
            return Vec::new();
        }
        let made = memory.refunds.get_mut(&payment).into_iter().flatten();
        for made in made.filter(|made| made.reference.as_deref() == Some(&name)) {
            made.state = State::Failed;
        }
        drop(memory);
        let mut told = notice(payment, "refund.failed", Subject::Refund(order.reference.clone()), now);
        told.notice.id = format!("evt_sandbox_{name}_failed");
        vec![told]
    }

    /// Lists all charges and refunds in memory.
    pub(super) fn statement(&self) -> Statement {
        let memory = self.memory();
        let charges = memory.charges.iter().map(|(id, charged)| ListedCharge {
            payment_id: *id,
            reference: reference(CHARGE, *id),
            paid: (charged.stage == Stage::Paid).then_some(charged.amount),
            is_open: charged.stage == Stage::Waiting,
        });
        let disputed = |charged: &Charged| charged.does == Some(Does::Dispute) && charged.stage == Stage::Paid;
        let disputes = memory.charges.iter().filter(|(_, charged)| disputed(charged));
        let disputes = disputes.map(|(id, charged)| (reference(CHARGE, *id), dispute(*id, charged.amount)));
        let of = |id: &PaymentId| reference(CHARGE, *id);
        let refunds = memory.refunds.iter().flat_map(|(id, made)| made.iter().map(move |made| (of(id), made.clone())));
        Statement {
            charges: charges.collect(),
            reversals: disputes.chain(refunds).collect(),
            remembers_since: Some(memory.since),
        }
    }

    /// The events of a new charge.
    #[expect(clippy::unused_self, reason = "a processor's method")]
    pub(super) fn notices(&self, order: &Order, now: Timestamp) -> Vec<ProcessorEvent> {
        let id = order.payment_id;
        let of_charge = || notice(id, "payment_intent.succeeded", Subject::Charge(reference(CHARGE, id)), now);
        match does(&order.method) {
            Some(Does::NotifyTwice) => vec![of_charge(), of_charge()],
            Some(Does::Dispute) => {
                let disputed = Subject::Dispute(reference(DISPUTE, id));
                vec![of_charge(), notice(id, "charge.dispute.created", disputed, now)]
            }
            _ => Vec::new(),
        }
    }

    /// Fetches the state of the object that an event is about.
    pub(super) fn fetch(&self, subject: &Subject) -> Vec<Finding> {
        let found = match subject {
            Subject::Charge(reference) => {
                payment_of(CHARGE, reference).map(|id| (id, ProcessorRecord::Charge(self.look(reference))))
            }
            Subject::Dispute(reference) => payment_of(DISPUTE, reference).and_then(|id| {
                let amount = self.memory().charges.get(&id)?.amount;
                Some((id, ProcessorRecord::Reversals(vec![dispute(id, amount)], Listing::Some)))
            }),
            Subject::Refund(reference) => payment_of(CHARGE, reference).and_then(|id| {
                let made = self.memory().refunds.get(&id)?.clone();
                Some((id, ProcessorRecord::Reversals(made, Listing::Some)))
            }),
            Subject::Other => None,
        };
        found.map(|(payment_id, record)| Finding { payment_id, record }).into_iter().collect()
    }
}

fn dispute(id: PaymentId, amount: Nanos) -> News {
    let reference = Some(reference(DISPUTE, id));
    News { id: None, kind: Kind::Dispute, reference, amount, state: State::Open }
}

fn refund_name(order: &RefundOrder) -> String {
    match order.id {
        Some(id) => format!("{REFUND}{}", id.0.simple()),
        None => format!("{REFUND}{}", order.key),
    }
}

fn reference(kind: &str, id: PaymentId) -> String {
    format!("{kind}{}", id.0.simple())
}

fn payment_of(kind: &str, reference: &str) -> Option<PaymentId> {
    Uuid::parse_str(reference.strip_prefix(kind)?).ok().map(PaymentId)
}

fn notice(id: PaymentId, kind: &str, subject: Subject, now: Timestamp) -> ProcessorEvent {
    let event = format!("evt_sandbox_{}_{kind}", id.0.simple());
    ProcessorEvent {
        notice: Notice { processor: "sandbox".into(), id: event, kind: kind.into(), signed_at: now },
        subject,
    }
}

fn paid(id: PaymentId, amount: Nanos) -> ChargeOutcome {
    ChargeOutcome::Succeeded { reference: reference(CHARGE, id), amount }
}

fn declined(code: &str) -> ChargeOutcome {
    ChargeOutcome::Declined { code: code.to_owned() }
}

fn outcome(id: PaymentId, amount: Nanos, stage: Stage) -> ChargeOutcome {
    match stage {
        Stage::Waiting => {
            let reference = reference(CHARGE, id);
            let client_secret = format!("{reference}_secret_sandbox");
            ChargeOutcome::NeedsAuthentication(NextAction { reference, client_secret })
        }
        Stage::Paid => paid(id, amount),
        Stage::Refused => declined("authentication_failed"),
        Stage::Canceled => declined("authentication_required"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn order(method: &str) -> Order {
        let (payment_id, account_id) = (PaymentId(Uuid::now_v7()), AccountId(Uuid::now_v7()));
        Order { payment_id, account_id, amount: Nanos::dollars(10), customer: None, method: method.into() }
    }

    #[test]
    fn cards_do_what_their_names_say() {
        let sandbox = Sandbox::default();
        let visa = order("pm_card_visa");
        assert_eq!(sandbox.find(&visa), None);
        assert_eq!(sandbox.charge(&visa), paid(visa.payment_id, visa.amount));
        assert_eq!(sandbox.find(&visa), Some(paid(visa.payment_id, visa.amount)));
        assert_eq!(sandbox.charge(&order("pm_card_visa_chargeDeclined")), declined("card_declined"));
        assert_eq!(sandbox.charge(&order("pm_card_of_gold")), declined("no_such_card"));
        assert!(find_card(visa.account_id, "pm_card_of_gold").is_none());
        assert_eq!(find_card(visa.account_id, "pm_card_amex").unwrap().last4, "0005");
    }

    #[test]
    fn a_charge_whose_answer_was_lost_is_the_same_charge_when_asked_again() {
        let sandbox = Sandbox::default();
        let lost = order("pm_card_timesOutThenSucceeds");
        assert!(matches!(sandbox.charge(&lost), ChargeOutcome::Unknown { .. }));
        assert_eq!(sandbox.charge(&lost), paid(lost.payment_id, lost.amount));
        assert_eq!(sandbox.find(&order("pm_card_chargeNeverArrives")), None);
        let silent = order("pm_card_answerNeverComes");
        for _ in 0..2 {
            assert!(matches!(sandbox.charge(&silent), ChargeOutcome::Unknown { .. }));
        }
        // Its statement has the charge too, or whoever compares would find it missing.
        let listed: Vec<_> = sandbox.statement().charges.into_iter().map(|it| (it.payment_id, it.paid)).collect();
        assert!(listed.contains(&(silent.payment_id, Some(silent.amount))), "{listed:?}");
        assert_eq!(sandbox.find(&silent), Some(paid(silent.payment_id, silent.amount)));
    }

    #[test]
    fn a_charge_waits_for_its_owner_who_answers_once() {
        let sandbox = Sandbox::default();
        let now = Timestamp(1);
        for (verdict, expected) in
            [(Verdict::Approve, None), (Verdict::Refuse, Some(declined("authentication_failed")))]
        {
            let order = order("pm_card_authenticationRequired");
            let ChargeOutcome::NeedsAuthentication(action) = sandbox.charge(&order) else { panic!("does not wait") };
            let notice = sandbox.authenticate(order.payment_id, verdict, now).unwrap();
            assert_eq!(sandbox.authenticate(order.payment_id, Verdict::Approve, now), None);
            let expected = expected.unwrap_or_else(|| paid(order.payment_id, order.amount));
            let finding = Finding { payment_id: order.payment_id, record: ProcessorRecord::Charge(expected.clone()) };
            assert_eq!(sandbox.fetch(&notice.subject), [finding]);
            assert_eq!(sandbox.cancel(&action.reference), expected, "what ended is not canceled");
        }
        let given_up = order("pm_card_authenticationRequired");
        let ChargeOutcome::NeedsAuthentication(action) = sandbox.charge(&given_up) else { panic!("does not wait") };
        assert_eq!(sandbox.cancel(&action.reference), declined("authentication_required"));
        assert_eq!(sandbox.authenticate(given_up.payment_id, Verdict::Approve, now), None);
    }

    #[test]
    fn a_duplicated_notice_is_one_event() {
        let sandbox = Sandbox::default();
        let order = order("pm_card_duplicatesWebhook");
        sandbox.charge(&order);
        let notices = sandbox.notices(&order, Timestamp(1));
        assert_eq!(notices.len(), 2);
        assert_eq!(notices[0], notices[1]);
    }
}
