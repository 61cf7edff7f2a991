//! Rules that random histories reach too rarely, each tested on its own: the expected cost that a hold learns, a
//! chargeback of held credits, the repayment of a debt, the rest of a voided grant.

#![expect(clippy::unwrap_used, reason = "unwrap is how a test fails")]

use billing::{
    Nanos, Timestamp,
    account::{Account, Header, Stored},
    class::{SizeClass, Units, Weighting},
    command::{Admit, Command, Fund, Refusal, Reply, Reverse},
    decide::decide,
    entry::{Ending, UsageRecord},
    grant::Source,
    hold::{HoldRequest, OutputPrice, Work},
    ids::{AccountId, GrantId, PaymentId, RequestId},
    key::Names,
    payment::{Payment, Purpose},
    plan::Plan,
    price::{Cost, Price},
    quantity::Quantities,
    reversal::{Kind, Listing, News, State},
    time::FOUR_WEEKS_MS,
};
use rust_decimal::Decimal;
use uuid::Uuid;

const NOW: Timestamp = Timestamp(1_795_512_896_789);

struct Story(Account);

impl Story {
    /// An account on the pay-as-you-go plan: no automatic dollar and no rate limit.
    fn new() -> Self {
        let id = AccountId(Uuid::from_u128(1));
        let header = Header { subscribed_until: Some(NOW.plus_ms(FOUR_WEEKS_MS)), ..Header::new(Plan::Payg, NOW) };
        Self(Account::load(id, Stored::new(header)))
    }

    fn say(&mut self, command: Command) -> Result<Reply, Refusal> {
        let answer = decide(&mut self.0, command, NOW).answer;
        self.0.assert_sound();
        answer.result
    }

    fn promo(&mut self, number: u128, dollars: i64) {
        let fund = Fund {
            grant_id: GrantId(Uuid::from_u128(number)),
            source: Source::Promo,
            source_key: number.to_string(),
            amount: Nanos::dollars(dollars),
            paid: Nanos::ZERO,
            expires_at: None,
            subscribed_until: None,
        };
        self.say(Command::Fund(fund)).unwrap();
    }

    /// A purchase that was paid. Returns the payment as it is stored.
    fn purchase(&mut self, number: u128, dollars: i64) -> Payment {
        let id = PaymentId(Uuid::from_u128(number));
        let payment = Payment::new(id, Purpose::Purchase, Nanos::dollars(dollars), "card".into(), NOW);
        self.say(Command::BeginPayment(payment)).unwrap();
        let grant_id = GrantId(Uuid::from_u128(number));
        let paid = Command::PaymentSucceeded { payment_id: id, grant_id, reference: None };
        decide(&mut self.0, paid, NOW).transition.unwrap().payments.remove(0)
    }

    fn admit(&mut self, number: u128, hold: HoldRequest, output: Option<OutputPrice>) -> Result<Nanos, Refusal> {
        let admit = Admit {
            request_id: RequestId(Uuid::from_u128(number)),
            key_id: None,
            model: "m".into(),
            provider: "openai".into(),
            price_version: 1,
            work: Work::Closed,
            hold,
            output,
            auto_scale: None,
            names: Names::default(),
            session: None,
        };
        match self.say(Command::Admit(admit))? {
            Reply::Admitted { held, .. } => Ok(held),
            other => panic!("{other:?}"),
        }
    }

    /// A request to a model of the smallest class, which weighs one unit.
    fn open(&mut self, number: u128) -> Result<Reply, Refusal> {
        let class = SizeClass::B7;
        self.say(Command::Admit(Admit {
            request_id: RequestId(Uuid::from_u128(number)),
            key_id: None,
            model: "m".into(),
            provider: "farebox".into(),
            price_version: 1,
            work: Work::Open { class, units: class.weight(Weighting::Weighted) },
            hold: HoldRequest::FREE,
            output: None,
            auto_scale: None,
            names: Names::default(),
            session: None,
        }))
    }

    fn park(&mut self, number: u128) {
        let parked = self.say(Command::Park { request_id: RequestId(Uuid::from_u128(number)) });
        assert_eq!(parked, Ok(Reply::Done));
    }

    fn resume(&mut self, number: u128) -> Result<Reply, Refusal> {
        self.say(Command::Resume { request_id: RequestId(Uuid::from_u128(number)) })
    }

    fn hold(&mut self, number: u128, amount: Nanos) {
        let hold = HoldRequest { minimum: amount, expected: amount, worst_case: amount };
        assert_eq!(self.admit(number, hold, None), Ok(amount));
    }

    fn settle(&mut self, number: u128, charged: Nanos, output: u64) {
        let usage = UsageRecord {
            request_id: RequestId(Uuid::from_u128(number)),
            key_id: None,
            model: "m".into(),
            provider: "openai".into(),
            ending: Ending::Completed,
            parts: Price::nothing().parts(&Quantities::plain(1, output), Decimal::ZERO),
            estimated: false,
            compute_ms: 0,
            billed_seconds: 0,
            cost: Cost { base: charged.to_decimal(), fee: Decimal::ZERO },
            charged,
            price_version: 1,
            started_at: NOW,
            ended_at: NOW,
            attempts: Vec::new(),
            session: None,
            timings: None,
        };
        self.say(Command::Settle(usage)).unwrap();
    }

    /// A dispute of a payment without other reversals.
    fn dispute(&mut self, payment: &Payment, amount: Nanos) {
        let news = News { id: None, kind: Kind::Dispute, reference: Some("dp".into()), amount, state: State::Open };
        self.say(Command::Reverse(Box::new(Reverse {
            payment: payment.clone(),
            grant: None,
            known: Vec::new(),
            news: vec![news],
            listing: Listing::All,
            card: None,
            paid_until: None,
            revision: None,
        })))
        .unwrap();
    }

    fn money(&self) -> (Nanos, Nanos, Nanos) {
        let balance = self.0.balance(NOW);
        (balance.available, balance.held, balance.debt)
    }
}

#[test]
fn a_hold_expects_what_answers_were_long_once_that_is_known() {
    let mut story = Story::new();
    story.promo(1, 1);
    // A token costs a thousandth of a dollar, so a quarter of a dollar would pay for 250 tokens.
    let output = OutputPrice { input: Decimal::ZERO, token: "0.001".parse().unwrap(), limit: 900 };
    let milli = |count: i64| Nanos::new(count * 1_000_000);
    let hold = HoldRequest { minimum: milli(256), expected: milli(256), worst_case: milli(900) };
    for number in 0..20 {
        assert_eq!(story.admit(number, hold, Some(output)), Ok(milli(256)), "nothing is known yet");
        story.settle(number, Nanos::ZERO, 600);
    }
    assert_eq!(story.admit(50, hold, Some(output)), Ok(milli(600)));
    story.settle(50, Nanos::ZERO, 600);
    // At most the request's own output limit.
    let short = OutputPrice { limit: 300, ..output };
    let hold = HoldRequest { worst_case: milli(300), ..hold };
    assert_eq!(story.admit(51, hold, Some(short)), Ok(milli(300)));
}

#[test]
fn a_chargeback_takes_what_is_left_and_what_was_spent_and_what_is_held_when_that_ends() {
    let mut story = Story::new();
    let payment = story.purchase(10, 10);
    story.hold(1, Nanos::dollars(2));
    story.settle(1, Nanos::dollars(2), 1);
    story.hold(2, Nanos::dollars(3));
    assert_eq!(story.money(), (Nanos::dollars(5), Nanos::dollars(3), Nanos::ZERO));
    story.dispute(&payment, payment.amount);
    // Five were available and two spent. Three are held by a running request.
    assert_eq!(story.money(), (Nanos::ZERO, Nanos::dollars(3), Nanos::dollars(2)));
    assert_eq!(story.0.balance(NOW).purchased, Nanos::ZERO, "the tier falls with the payment");
    assert!(matches!(
        story.admit(3, HoldRequest { minimum: Nanos::new(1), expected: Nanos::new(1), worst_case: Nanos::new(1) }, None),
        Err(Refusal::InsufficientCredits { debt, .. }) if debt == Nanos::dollars(2)
    ));
    story.settle(2, Nanos::dollars(1), 1);
    // One of the three was used and became debt. Two went back to the operator.
    assert_eq!(story.money(), (Nanos::ZERO, Nanos::ZERO, Nanos::dollars(3)));
    story.promo(11, 5);
    assert_eq!(story.money(), (Nanos::dollars(2), Nanos::ZERO, Nanos::ZERO), "the next grant pays the debt first");
}

#[test]
fn a_payment_that_is_begun_again_is_the_same_payment() {
    let mut story = Story::new();
    let id = PaymentId(Uuid::from_u128(1));
    let begin = || Command::BeginPayment(Payment::new(id, Purpose::Purchase, Nanos::dollars(5), "card".into(), NOW));
    assert_eq!(story.say(begin()), Ok(Reply::Done));
    let again = decide(&mut story.0, begin(), NOW.plus_ms(20));
    assert_eq!((again.answer.result, again.transition), (Ok(Reply::Done), None), "it goes on as it is");
    let paid = Command::PaymentSucceeded { payment_id: id, grant_id: GrantId(Uuid::from_u128(1)), reference: None };
    story.say(paid).unwrap();
    assert_eq!(story.say(begin()), Err(Refusal::AlreadyFunded(id.to_string())), "it is not charged again");
}

#[test]
fn credits_that_come_back_from_a_hold_pay_a_debt() {
    let mut story = Story::new();
    story.promo(1, 2);
    story.hold(1, Nanos::dollars(1));
    story.hold(2, Nanos::dollars(1));
    story.settle(1, Nanos::new(1_500_000_000), 1);
    assert_eq!(story.money(), (Nanos::ZERO, Nanos::dollars(1), Nanos::new(500_000_000)));
    story.settle(2, Nanos::new(200_000_000), 1);
    assert_eq!(story.money(), (Nanos::new(300_000_000), Nanos::ZERO, Nanos::ZERO));
}

#[test]
fn an_operator_voids_what_is_left_and_what_requests_hold_as_they_end() {
    let mut story = Story::new();
    story.promo(1, 3);
    story.hold(1, Nanos::dollars(1));
    story.hold(2, Nanos::dollars(1));
    let void = |amount: Option<i64>| Command::VoidGrant {
        grant_id: GrantId(Uuid::from_u128(1)),
        amount: amount.map(Nanos::dollars),
    };
    assert!(matches!(story.say(void(Some(4))), Err(Refusal::BadAmount { field, .. }) if field == "amount"));
    story.say(void(Some(2))).unwrap();
    assert_eq!(story.money(), (Nanos::ZERO, Nanos::dollars(2), Nanos::ZERO), "one was left, one is held");
    story.say(void(None)).unwrap();
    assert!(matches!(story.say(void(None)), Err(Refusal::NoGrant(_))), "all of it is recalled already");
    story.settle(1, Nanos::ZERO, 0);
    assert_eq!(story.money(), (Nanos::ZERO, Nanos::dollars(1), Nanos::ZERO), "nothing comes back");
    story.settle(2, Nanos::new(400_000_000), 0);
    assert_eq!(story.money(), (Nanos::ZERO, Nanos::ZERO, Nanos::new(400_000_000)), "what was used is owed");
    assert!(matches!(
        story.say(Command::VoidGrant { grant_id: GrantId(Uuid::from_u128(9)), amount: None }),
        Err(Refusal::NoGrant(_))
    ));
}

#[test]
fn a_request_that_stands_still_gives_its_permit_back_and_takes_it_in_its_turn() {
    let mut story = Story::new();
    for number in 1..=4 {
        assert!(matches!(story.open(number), Ok(Reply::Admitted { .. })));
    }
    let used = |story: &Story| story.0.balance(NOW).units_used;
    assert!(matches!(story.open(5), Err(Refusal::ConcurrencyLimit { .. })), "its tier has four units");
    story.park(1);
    story.park(1);
    assert_eq!(used(&story), Units::whole(3), "given back once");
    assert!(matches!(story.open(5), Ok(Reply::Admitted { .. })));
    assert!(matches!(story.resume(1), Err(Refusal::ConcurrencyLimit { .. })), "never above the limit");
    story.settle(2, Nanos::ZERO, 0);
    assert_eq!(story.resume(1), Ok(Reply::Done));
    assert_eq!(story.resume(1), Ok(Reply::Done));
    assert_eq!(used(&story), Units::whole(4), "taken once");
    for number in [1, 3, 4, 5] {
        story.park(number);
    }
    for number in 11..=14 {
        assert!(matches!(story.open(number), Ok(Reply::Admitted { .. })));
        story.park(number);
    }
    assert_eq!(used(&story), Units::whole(4), "no more are given back than may be used");
    for number in [3, 4, 5, 11, 12, 13] {
        story.settle(number, Nanos::ZERO, 0);
    }
    assert_eq!(used(&story), Units::whole(1));
    story.open(2).unwrap();
    story.open(3).unwrap();
    story.settle(1, Nanos::ZERO, 0);
    assert_eq!(used(&story), Units::whole(3), "one that ends meanwhile has nothing more to give back");
    assert!(matches!(story.resume(1), Err(Refusal::NoHold(_))));
    story.hold(9, Nanos::ZERO);
    story.park(9);
    assert!(!story.0.hold(RequestId(Uuid::from_u128(9))).unwrap().is_parked, "it has none to give back");
}
