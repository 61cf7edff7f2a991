//! A frozen account: it admits nothing and buys nothing by itself, until it is unfrozen. All else is as ever.

use billing::{
    Nanos, Timestamp,
    account::{Account, Header, Stored},
    automatic::{AutoChange, Switch},
    command::{Admit, Command, Fund, Refusal, Reply},
    decide::{Decision, decide},
    entry::{Ending, Proof, UsageRecord},
    event::EventKind,
    grant::Source,
    hold::{HoldRequest, Work},
    ids::{AccountId, GrantId, PaymentId, RequestId},
    key::Names,
    payment::{Payment, Purpose},
    plan::Plan,
    price::{Cost, Parts},
    subscription::FEE,
    time::FOUR_WEEKS_MS,
};
use uuid::Uuid;

const NOW: Timestamp = Timestamp(1_795_512_896_789);

struct Story {
    account: Account,
    now: Timestamp,
}

impl Story {
    /// An account with ten dollars.
    fn new() -> Self {
        let stored = Stored::new(Header::new(Plan::Payg, NOW));
        let mut story = Self { account: Account::load(AccountId(Uuid::from_u128(1)), stored), now: NOW };
        story.ok(fund(2, 10));
        story
    }

    fn decide(&mut self, command: Command) -> Decision {
        let decision = decide(&mut self.account, command, self.now);
        self.account.assert_sound();
        decision
    }

    fn say(&mut self, command: Command) -> Result<Reply, Refusal> {
        self.decide(command).answer.result
    }

    fn ok(&mut self, command: Command) -> Decision {
        let decision = self.decide(command);
        assert!(decision.answer.result.is_ok(), "{decision:?}");
        decision
    }

    fn automatic(&self) -> usize {
        self.account.pending_payments().filter(|payment| payment.purpose != Purpose::Purchase).count()
    }
}

fn fund(number: u128, dollars: i64) -> Command {
    Command::Fund(Fund {
        grant_id: GrantId(Uuid::from_u128(number)),
        source: Source::Goodwill,
        source_key: number.to_string(),
        amount: Nanos::dollars(dollars),
        paid: Nanos::ZERO,
        expires_at: None,
        subscribed_until: None,
    })
}

fn admit(number: u128, dollars: i64) -> Command {
    let amount = Nanos::dollars(dollars);
    Command::Admit(Admit {
        request_id: RequestId(Uuid::from_u128(number)),
        key_id: None,
        model: "m".into(),
        provider: "openai".into(),
        price_version: 1,
        work: Work::Closed,
        hold: HoldRequest { minimum: amount, expected: amount, worst_case: amount },
        output: None,
        auto_scale: None,
        names: Names::default(),
        session: None,
    })
}

fn settle(number: u128, dollars: i64) -> Command {
    let charged = Nanos::dollars(dollars);
    Command::Settle(UsageRecord {
        request_id: RequestId(Uuid::from_u128(number)),
        key_id: None,
        model: "m".into(),
        provider: "openai".into(),
        ending: Ending::Completed,
        parts: Parts::default(),
        estimated: false,
        compute_ms: 0,
        billed_seconds: 0,
        cost: Cost::without_fee(charged.to_decimal()),
        charged,
        price_version: 1,
        started_at: NOW,
        ended_at: NOW,
        attempts: Vec::new(),
        session: None,
        timings: None,
    })
}

#[test]
fn it_admits_nothing_while_what_runs_is_settled_and_credits_come_and_go() {
    let mut story = Story::new();
    story.ok(admit(10, 1));
    let proof = Proof {
        request_id: RequestId(Uuid::from_u128(11)),
        act: "freeze".into(),
        subject: "it".into(),
        amount: None,
        reason: Some("a stolen card".into()),
    };
    let frozen = story.ok(Command::Proven { proof: proof.clone(), command: Box::new(Command::Freeze) });
    let written = frozen.transition.unwrap();
    assert_eq!((written.header.frozen_at, &written.proof), (Some(NOW), &Some(proof)));
    assert_eq!(written.events.iter().map(|event| event.kind).collect::<Vec<_>>(), [EventKind::AccountFrozen]);
    assert!(!format!("{:?}", written.events).contains("stolen"), "the reason is not the owner's");
    assert_eq!(story.say(admit(12, 1)), Err(Refusal::Frozen { since: NOW }));
    assert_eq!(story.say(Command::Freeze), Err(Refusal::AlreadyFrozen(NOW)));
    let accrued = Command::Accrue {
        request_id: RequestId(Uuid::from_u128(10)),
        accrued: Nanos::dollars(2),
        slice: Nanos::dollars(1),
    };
    story.ok(accrued);
    story.ok(settle(10, 2));
    story.ok(fund(3, 5));
    story.ok(Command::VoidGrant { grant_id: GrantId(Uuid::from_u128(3)), amount: None });
    let payment_id = PaymentId(Uuid::from_u128(20));
    let payment = Payment::new(payment_id, Purpose::Purchase, Nanos::dollars(10), "card".into(), NOW);
    story.ok(Command::BeginPayment(payment));
    story.ok(Command::PaymentSucceeded { payment_id, grant_id: GrantId(Uuid::from_u128(20)), reference: None });
    assert_eq!(story.account.balance(NOW).available, Nanos::dollars(18));
    let unfrozen = story.ok(Command::Unfreeze).transition.unwrap();
    assert_eq!((unfrozen.header.frozen_at, unfrozen.events[0].kind), (None, EventKind::AccountUnfrozen));
    assert_eq!(story.say(Command::Unfreeze), Err(Refusal::NotFrozen));
    story.ok(admit(12, 1));
}

#[test]
fn it_buys_nothing_by_itself_and_what_was_due_is_bought_once_it_is_unfrozen() {
    let mut story = Story::new();
    let change = AutoChange { reload: Some(Switch::On), ..AutoChange::default() };
    story.ok(Command::SetAutomatic(change));
    story.ok(admit(10, 9));
    assert_eq!(story.automatic(), 1, "it reloads below its threshold");
    let first = story.account.pending_payments().next().unwrap().id;
    story.ok(Command::Freeze);
    // One that was begun before is paid, and what it brought is spent by what runs.
    story.ok(Command::PaymentSucceeded { payment_id: first, grant_id: GrantId(Uuid::from_u128(30)), reference: None });
    story.ok(settle(10, 19));
    assert_eq!((story.account.balance(NOW).available, story.automatic()), (Nanos::dollars(1), 0));
    story.ok(Command::Sweep);
    assert_eq!(story.automatic(), 0);
    let unfrozen = story.ok(Command::Unfreeze);
    assert_eq!(unfrozen.transition.unwrap().payments.len(), 1, "in the same commit");
}

#[test]
fn its_plan_is_not_renewed_and_not_woken_for_that_until_it_is_unfrozen() {
    let mut story = Story::new();
    let payment_id = PaymentId(Uuid::from_u128(20));
    story.ok(Command::BeginPayment(Payment::new(payment_id, Purpose::Subscription, FEE, "card".into(), NOW)));
    story.ok(Command::PaymentSucceeded { payment_id, grant_id: GrantId(Uuid::from_u128(20)), reference: None });
    story.ok(Command::Freeze);
    story.now = NOW.plus_ms(2 * FOUR_WEEKS_MS);
    story.ok(Command::Sweep);
    assert_eq!(story.automatic(), 0, "nobody is charged for what is frozen");
    assert!(story.account.next_wake().is_none_or(|at| at > story.now), "{:?}", story.account.next_wake());
    let unfrozen = story.ok(Command::Unfreeze).transition.unwrap();
    assert_eq!(
        (unfrozen.payments.len(), unfrozen.payments[0].purpose),
        (1, Purpose::Subscription),
        "in the same commit"
    );
    // One that was cancelled ends all the same.
    let mut story = Story::new();
    story.ok(Command::BeginPayment(Payment::new(payment_id, Purpose::Subscription, FEE, "card".into(), NOW)));
    story.ok(Command::PaymentSucceeded { payment_id, grant_id: GrantId(Uuid::from_u128(20)), reference: None });
    story.ok(Command::CancelSubscription);
    story.ok(Command::Freeze);
    story.now = NOW.plus_ms(FOUR_WEEKS_MS);
    let ended = story.ok(Command::Sweep).transition.unwrap();
    assert!(ended.events.iter().any(|event| event.kind == EventKind::SubscriptionEnded));
}
