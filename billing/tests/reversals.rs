//! Reversals: the credits that refunds and disputes take, those that come back when one fails or is won, and the
//! effects on debts, cycles and automatic purchases. The credits taken are a function of the reversals in force,
//! however often and in whatever order news come.

#![expect(clippy::unwrap_used, reason = "unwrap is how a test fails")]

use std::collections::BTreeMap;

use billing::{
    Nanos, Timestamp,
    account::{Account, Header, Stored},
    automatic::{AutoChange, AutoSettings, Switch},
    command::{Admit, Answer, Command, Fund, Refusal, Reverse, Scale},
    decide::decide,
    entry::{Ending, UsageRecord},
    event::EventKind,
    grant::{Grant, Source},
    hold::{HoldRequest, Work},
    ids::{AccountId, GrantId, PaymentId, RequestId, ReversalId},
    key::Names,
    payment::{Payment, PaymentStatus, Purpose},
    plan::Plan,
    price::{Cost, Parts},
    reversal::{self, Kind, Listing, News, Reversal, State},
    subscription::{AtEnd, FEE, Status},
    time::{DAY_MS, FOUR_WEEKS_MS},
};
use proptest::prelude::*;
use rust_decimal::Decimal;
use uuid::Uuid;

const NOW: Timestamp = Timestamp(1_795_512_896_789);

/// An account, and its rows as in a ledger.
struct Story {
    account: Account,
    now: Timestamp,
    payments: BTreeMap<PaymentId, Payment>,
    grants: BTreeMap<GrantId, Grant>,
    rows: BTreeMap<ReversalId, Reversal>,
    events: Vec<(EventKind, String)>,
    serial: u128,
}

impl Story {
    fn new() -> Self {
        let stored = Stored::new(Header::new(Plan::Payg, NOW));
        Self {
            account: Account::load(AccountId(Uuid::from_u128(1)), stored),
            now: NOW,
            payments: BTreeMap::new(),
            grants: BTreeMap::new(),
            rows: BTreeMap::new(),
            events: Vec::new(),
            serial: 0,
        }
    }

    fn say(&mut self, command: Command) -> Answer {
        let decision = decide(&mut self.account, command, self.now);
        self.account.assert_sound();
        if let Some(transition) = decision.transition {
            self.payments.extend(transition.payments.into_iter().map(|payment| (payment.id, payment)));
            self.grants.extend(transition.grants.into_iter().map(|grant| (grant.id, grant)));
            self.rows.extend(transition.reversals.into_iter().map(|row| (row.id, row)));
            self.events.extend(transition.events.into_iter().map(|event| (event.kind, event.subject)));
        }
        decision.answer
    }

    fn pass_days(&mut self, days: i64) {
        self.now = self.now.plus_ms(days * DAY_MS);
        self.say(Command::Sweep).result.unwrap();
    }

    fn next(&mut self) -> Uuid {
        self.serial += 1;
        Uuid::from_u128(self.serial << 16)
    }

    fn buy_for(&mut self, purpose: Purpose, amount: Nanos) -> PaymentId {
        let id = PaymentId(self.next());
        let payment = Payment::new(id, purpose, amount, "card".into(), self.now);
        self.say(Command::BeginPayment(payment)).result.unwrap();
        self.pay(id);
        id
    }

    fn pay(&mut self, payment_id: PaymentId) {
        let (grant_id, reference) = (GrantId(self.next()), Some(format!("pi_{payment_id}")));
        self.say(Command::PaymentSucceeded { payment_id, grant_id, reference }).result.unwrap();
    }

    fn buy(&mut self, dollars: i64) -> PaymentId {
        self.buy_for(Purpose::Purchase, Nanos::dollars(dollars))
    }

    /// Spends an amount.
    fn spend(&mut self, dollars: i64) {
        let id = self.hold(dollars);
        self.settle(id, Nanos::dollars(dollars));
    }

    fn hold(&mut self, dollars: i64) -> RequestId {
        let (request_id, amount) = (RequestId(self.next()), Nanos::dollars(dollars));
        let admit = Admit {
            request_id,
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
        };
        self.say(Command::Admit(admit)).result.unwrap();
        request_id
    }

    fn settle(&mut self, request_id: RequestId, charged: Nanos) {
        let now = self.now;
        let usage = UsageRecord {
            request_id,
            key_id: None,
            model: "m".into(),
            provider: "openai".into(),
            ending: Ending::Completed,
            parts: Parts::default(),
            estimated: false,
            compute_ms: 0,
            billed_seconds: 0,
            cost: Cost { base: charged.to_decimal(), fee: Decimal::ZERO },
            charged,
            price_version: 1,
            started_at: now,
            ended_at: now,
            attempts: Vec::new(),
            session: None,
            timings: None,
        };
        self.say(Command::Settle(usage)).result.unwrap();
    }

    fn reverse(&self, payment_id: PaymentId, news: Vec<News>, listing: Listing) -> Command {
        let payment = self.payments[&payment_id].clone();
        let known: Vec<Reversal> = self.rows.values().filter(|row| row.payment_id == payment_id).cloned().collect();
        let grant = self.grants.values().find(|grant| *grant.source_key == *payment.grant_key());
        let others = self.payments.values().filter(|it| it.id != payment_id && it.status == PaymentStatus::Succeeded);
        let paid_until = others
            .filter(|it| {
                let rows: Vec<Reversal> = self.rows.values().filter(|row| row.payment_id == it.id).cloned().collect();
                !reversal::ends_cycle(&rows, it.amount)
            })
            .filter_map(|it| it.cycle_end)
            .max();
        let grant = grant.cloned().map(Box::new);
        Command::Reverse(Box::new(Reverse {
            payment,
            grant,
            known,
            news,
            listing,
            card: Some("card".into()),
            paid_until,
            revision: Some(self.account.header.revision),
        }))
    }

    fn hear(&mut self, payment: PaymentId, kind: Kind, name: &str, dollars: i64, state: State) {
        let amount = Nanos::dollars(dollars);
        let news = News { id: None, kind, reference: Some(name.to_owned()), amount, state };
        let command = self.reverse(payment, vec![news], Listing::All);
        self.say(command).result.unwrap();
        self.check(payment);
    }

    fn dispute(&mut self, payment: PaymentId, name: &str, dollars: i64, state: State) {
        self.hear(payment, Kind::Dispute, name, dollars, state);
    }

    fn refund(&mut self, payment: PaymentId, name: &str, dollars: i64, state: State) {
        self.hear(payment, Kind::Refund, name, dollars, state);
    }

    fn grant_of(&self, payment: PaymentId) -> &Grant {
        let key = self.payments[&payment].grant_key();
        self.grants.values().find(|grant| *grant.source_key == *key).unwrap()
    }

    /// Checks that the credits taken are a function of the rows in force.
    fn check(&self, id: PaymentId) {
        let payment = &self.payments[&id];
        let reversed = reversal::reversed(self.rows.values().filter(|row| row.payment_id == id), payment.amount);
        let grant = self.grant_of(id);
        assert_eq!(payment.reversed, reversed);
        assert_eq!(grant.paid, payment.amount - reversed);
        assert_eq!(grant.taken.total(), reversal::credits(grant.funded, reversed, payment.amount));
    }

    fn money(&self) -> (i64, i64) {
        let balance = self.account.balance(self.now);
        (balance.available.get() / 1_000_000_000, balance.debt.get() / 1_000_000_000)
    }

    fn purchased(&self) -> Nanos {
        self.account.purchased(self.now)
    }

    fn told(&self, kind: EventKind) -> usize {
        self.events.iter().filter(|(told, _)| *told == kind).count()
    }
}

#[test]
fn a_dispute_that_is_won_and_then_refunded_takes_once() {
    let mut story = Story::new();
    let payment = story.buy(10);
    story.dispute(payment, "dp_1", 10, State::Open);
    assert_eq!((story.money(), story.purchased()), ((0, 0), Nanos::ZERO));
    story.dispute(payment, "dp_1", 10, State::Won);
    assert_eq!((story.money(), story.purchased()), ((10, 0), Nanos::dollars(10)), "credits and tier are back");
    story.refund(payment, "re_1", 10, State::Succeeded);
    assert_eq!((story.money(), story.purchased()), ((0, 0), Nanos::ZERO), "not both credits and money");
    assert_eq!((story.told(EventKind::PaymentReversed), story.told(EventKind::PaymentRestored)), (2, 1));
}

#[test]
fn of_two_disputes_the_second_takes_after_the_first_was_won() {
    let mut story = Story::new();
    let payment = story.buy(10);
    story.dispute(payment, "dp_1", 10, State::Won);
    assert_eq!(story.money(), (10, 0), "won before it was ever heard of");
    story.dispute(payment, "dp_2", 4, State::Open);
    story.dispute(payment, "dp_2", 4, State::Lost);
    assert_eq!((story.money(), story.purchased()), ((6, 0), Nanos::dollars(6)));
    story.dispute(payment, "dp_2", 4, State::Open);
    assert_eq!(story.money(), (6, 0), "old news change nothing");
}

#[test]
fn a_refund_that_fails_gives_back_what_it_took() {
    let mut story = Story::new();
    let payment = story.buy(10);
    story.refund(payment, "re_1", 4, State::Pending);
    assert_eq!(story.money(), (6, 0), "on its way is gone");
    story.refund(payment, "re_1", 4, State::Succeeded);
    story.refund(payment, "re_2", 6, State::Succeeded);
    assert_eq!(story.money(), (0, 0));
    story.refund(payment, "re_1", 4, State::Failed);
    assert_eq!((story.money(), story.purchased()), ((4, 0), Nanos::dollars(4)));
}

#[test]
fn a_refund_and_a_dispute_never_take_more_than_was_paid() {
    let mut story = Story::new();
    let payment = story.buy(10);
    story.refund(payment, "re_1", 7, State::Succeeded);
    story.dispute(payment, "dp_1", 10, State::Lost);
    assert_eq!((story.money(), story.payments[&payment].reversed), ((0, 0), Nanos::dollars(10)));
    story.dispute(payment, "dp_1", 10, State::Won);
    assert_eq!(story.money(), (3, 0), "the refund still stands");
}

#[test]
fn what_expired_unused_counts_before_what_was_spent() {
    let mut story = Story::new();
    let payment = story.buy(10);
    story.spend(3);
    story.pass_days(29);
    assert_eq!(story.money(), (0, 0));
    story.refund(payment, "re_1", 7, State::Succeeded);
    assert_eq!(story.money(), (0, 0), "seven expired, so nothing is owed");
    story.refund(payment, "re_2", 2, State::Succeeded);
    assert_eq!(story.money(), (0, 2));
    story.refund(payment, "re_2", 2, State::Failed);
    story.refund(payment, "re_1", 7, State::Failed);
    assert_eq!(story.money(), (0, 0), "what had expired does not come back");
    assert_eq!(story.grant_of(payment).taken.total(), Nanos::ZERO);
}

#[test]
fn what_two_nodes_decide_from_the_same_rows_is_taken_once() {
    let mut story = Story::new();
    let payment = story.buy(10);
    story.spend(3);
    story.pass_days(29);
    let (reference, amount) = (Some("dp_1".to_owned()), Nanos::dollars(10));
    let news = News { id: None, kind: Kind::Dispute, reference, amount, state: State::Open };
    // The grant is not in memory, so that only the revision tells that the rows are old.
    let [first, second] = [(); 2].map(|()| story.reverse(payment, vec![news.clone()], Listing::All));
    story.say(first).result.unwrap();
    assert_eq!(story.money(), (0, 3));
    assert!(matches!(story.say(second).result, Err(Refusal::GrantMoved(_))));
    let again = story.reverse(payment, vec![news], Listing::All);
    story.say(again).result.unwrap();
    assert_eq!(story.money(), (0, 3));
    story.check(payment);
}

#[test]
fn a_debt_that_a_dispute_made_is_undone_first() {
    let mut story = Story::new();
    let payment = story.buy(10);
    story.spend(6);
    story.dispute(payment, "dp_1", 10, State::Open);
    assert_eq!(story.money(), (0, 6));
    story.dispute(payment, "dp_1", 10, State::Won);
    assert_eq!(story.money(), (4, 0));
    assert_eq!(story.grant_of(payment).spent, Nanos::dollars(6));
}

#[test]
fn what_paid_a_debt_meanwhile_comes_back_as_credits_for_the_time_that_was_left() {
    let mut story = Story::new();
    let payment = story.buy(10);
    story.spend(6);
    story.pass_days(20);
    story.dispute(payment, "dp_1", 10, State::Open);
    story.buy(20);
    assert_eq!(story.money(), (14, 0), "the next purchase paid the debt");
    story.pass_days(40);
    assert_eq!(story.money(), (0, 0), "and expired");
    story.dispute(payment, "dp_1", 10, State::Won);
    assert_eq!(story.money(), (10, 0));
    let left = story.grant_of(payment).expires_at.ms_since(story.now);
    assert_eq!(left, 8 * DAY_MS, "they had eight days when they were taken");
    story.pass_days(7);
    assert_eq!(story.money(), (10, 0));
    story.pass_days(1);
    assert_eq!(story.money(), (0, 0));
}

#[test]
fn held_parts_are_recalled_as_their_requests_end_and_not_when_the_dispute_is_won_before() {
    for is_won in [false, true] {
        let mut story = Story::new();
        let payment = story.buy(10);
        let (used, unused) = (story.hold(4), story.hold(6));
        story.dispute(payment, "dp_1", 10, State::Open);
        assert_eq!(story.money(), (0, 0));
        story.settle(used, Nanos::dollars(3));
        assert_eq!(story.money(), (0, 3), "what was used of it is owed");
        story.check(payment);
        if is_won {
            story.dispute(payment, "dp_1", 10, State::Won);
            assert_eq!(story.money(), (1, 0));
        }
        story.settle(unused, Nanos::ZERO);
        assert_eq!(story.money(), if is_won { (7, 0) } else { (0, 3) });
        story.check(payment);
    }
}

#[test]
fn what_an_operator_voided_is_not_taken_again() {
    let mut story = Story::new();
    let payment = story.buy(10);
    story.spend(3);
    let request = story.hold(2);
    let grant_id = story.grant_of(payment).id;
    story.say(Command::VoidGrant { grant_id, amount: None }).result.unwrap();
    story.refund(payment, "re_1", 7, State::Succeeded);
    assert_eq!(story.money(), (0, 0), "five were voided, two are recalled");
    story.settle(request, Nanos::ZERO);
    assert_eq!(story.money(), (0, 0));
    story.refund(payment, "re_1", 7, State::Failed);
    assert_eq!(story.money(), (0, 0), "the void stands");
}

#[test]
fn a_row_of_ours_that_was_heard_of_before_its_answer_came_is_one_row() {
    let mut story = Story::new();
    let payment = story.buy(10);
    let id = ReversalId(story.next());
    let ours = |reference: Option<&str>, state| News {
        id: Some(id),
        kind: Kind::Refund,
        reference: reference.map(str::to_owned),
        amount: Nanos::dollars(2),
        state,
    };
    let begun = story.reverse(payment, vec![ours(None, State::Pending)], Listing::Some);
    story.say(begun).result.unwrap();
    assert_eq!(story.money(), (8, 0));
    story.refund(payment, "re_1", 2, State::Succeeded);
    let answered = story.reverse(payment, vec![ours(Some("re_1"), State::Succeeded)], Listing::Some);
    story.say(answered).result.unwrap();
    story.check(payment);
    assert_eq!(story.money(), (8, 0), "once");
    story.refund(payment, "re_1", 2, State::Failed);
    assert_eq!(story.money(), (10, 0), "the row that stands is the one that fails");
}

#[test]
fn what_was_reversed_before_rows_gives_way_to_the_processors_list() {
    let mut story = Story::new();
    let payment = story.buy(10);
    let earlier =
        News { id: None, kind: Kind::Earlier, reference: None, amount: Nanos::dollars(4), state: State::Succeeded };
    let kept = story.reverse(payment, vec![earlier], Listing::Some);
    story.say(kept).result.unwrap();
    assert_eq!(story.money(), (6, 0));
    let listed = [("re_1", 4), ("re_2", 1)].map(|(name, dollars)| News {
        id: None,
        kind: Kind::Refund,
        reference: Some(name.to_owned()),
        amount: Nanos::dollars(dollars),
        state: State::Succeeded,
    });
    let heard = story.reverse(payment, listed.to_vec(), Listing::All);
    story.say(heard).result.unwrap();
    story.check(payment);
    assert_eq!(story.money(), (5, 0));
}

#[test]
fn rows_that_were_read_before_an_earlier_reversal_was_written_are_refused() {
    let mut story = Story::new();
    let payment = story.buy(10);
    let of = |name: &str| News {
        id: None,
        kind: Kind::Refund,
        reference: Some(name.to_owned()),
        amount: Nanos::dollars(3),
        state: State::Succeeded,
    };
    let stale = story.reverse(payment, vec![of("re_2")], Listing::Some);
    let first = story.reverse(payment, vec![of("re_1")], Listing::Some);
    story.say(first).result.unwrap();
    assert!(matches!(story.say(stale).result, Err(Refusal::GrantMoved(_))));
    assert_eq!(story.money(), (7, 0));
}

fn reloading() -> Story {
    let mut story = Story::new();
    story.say(Command::Fund(Fund {
        grant_id: GrantId(Uuid::from_u128(77)),
        source: Source::Promo,
        source_key: "promo".into(),
        amount: Nanos::dollars(5),
        paid: Nanos::ZERO,
        expires_at: None,
        subscribed_until: None,
    }));
    story.say(Command::SetAutomatic(on().into())).result.unwrap();
    story
}

fn on() -> AutoSettings {
    AutoSettings { reload: Switch::On, scale: Switch::On, ..AutoSettings::default() }
}

fn pending(story: &Story) -> Vec<PaymentId> {
    story.account.pending_payments().map(|payment| payment.id).collect()
}

#[test]
fn only_spending_and_expiry_reload_and_what_is_taken_back_pauses_it() {
    let mut story = reloading();
    story.spend(3);
    let [reload] = pending(&story)[..] else { panic!("spending reloads") };
    story.pay(reload);
    assert_eq!(story.money(), (12, 0));
    story.dispute(reload, "dp_1", 10, State::Open);
    assert_eq!((pending(&story).len(), story.money()), (0, (2, 0)), "a dispute buys nothing");
    assert_eq!(story.told(EventKind::ReloadPaused), 1);
    story.spend(1);
    story.pass_days(29);
    assert_eq!(pending(&story).len(), 0, "nor does anything after it");
    story.say(Command::SetAutomatic(on().into())).result.unwrap();
    assert_eq!(pending(&story).len(), 1, "until its owner sets it again");
}

#[test]
fn a_void_reloads_nothing_and_pauses() {
    let mut story = reloading();
    let void = Command::VoidGrant { grant_id: GrantId(Uuid::from_u128(77)), amount: Some(Nanos::dollars(4)) };
    story.say(void).result.unwrap();
    assert_eq!((pending(&story).len(), story.told(EventKind::ReloadPaused)), (0, 1));
    story.pass_days(1);
    assert_eq!(pending(&story).len(), 0);
    // Purchases that are turned off, or set without being turned on, stay paused. Turning on another one does not
    // resume them.
    for change in [
        AutoChange { scale: Some(Switch::Off), ..AutoChange::default() },
        AutoChange { threshold: Some(Nanos::dollars(9)), ..AutoChange::default() },
        AutoChange { scale: Some(Switch::On), ..AutoChange::default() },
        AutoChange::default(),
    ] {
        story.say(Command::SetAutomatic(change.clone())).result.unwrap();
        assert_eq!(pending(&story).len(), 0, "{change:?}");
    }
    story.say(Command::SetAutomatic(AutoChange { reload: Some(Switch::On), ..AutoChange::default() })).result.unwrap();
    assert_eq!(pending(&story).len(), 1);
}

#[test]
fn permits_are_not_bought_again_for_a_tier_that_was_taken_back() {
    let mut story = reloading();
    let payment = story.buy(25);
    story.refund(payment, "re_1", 25, State::Succeeded);
    let class = billing::class::SizeClass::B7;
    let units = class.weight(billing::class::Weighting::Weighted);
    let mut open = |number: u128| {
        let admit = Admit {
            request_id: RequestId(Uuid::from_u128(number)),
            key_id: None,
            model: "m".into(),
            provider: "farebox".into(),
            price_version: 1,
            work: Work::Open { class, units },
            hold: HoldRequest { minimum: Nanos::new(1), expected: Nanos::new(1), worst_case: Nanos::new(1) },
            output: None,
            auto_scale: Some(Switch::On),
            names: Names::default(),
            session: None,
        };
        story.say(Command::Admit(admit)).result
    };
    open(1).unwrap();
    let refused = open(2);
    assert!(matches!(refused, Err(Refusal::ConcurrencyLimit { scale: Scale::Paused, .. })), "{refused:?}");
    assert_eq!(pending(&story).len(), 0);
}

#[test]
fn a_fee_that_is_charged_back_ends_its_cycle_and_a_dispute_won_gives_the_rest_of_it_back() {
    let mut story = Story::new();
    let fee = story.buy_for(Purpose::Subscription, FEE);
    assert_eq!((story.money(), story.account.tier(story.now).purchased), ((5, 0), Nanos::dollars(3)));
    story.spend(2);
    story.dispute(fee, "dp_1", 3, State::Open);
    assert!(!story.account.is_subscribed(story.now));
    assert_eq!(story.account.tier(story.now).purchased, Nanos::ZERO);
    assert_eq!(story.account.subscription().unwrap().status, Status::Ended);
    // The free plan's dollar repays one of the two owed.
    assert_eq!(story.money(), (0, 1));
    story.pass_days(10);
    story.dispute(fee, "dp_1", 3, State::Won);
    assert!(story.account.is_subscribed(story.now));
    let subscription = story.account.subscription().unwrap().clone();
    assert_eq!(
        (subscription.status, subscription.at_end),
        (Status::Active, AtEnd::Cancel),
        "renewed by its owner only"
    );
    assert_eq!((story.money(), story.account.header.subscribed_until), ((4, 0), Some(NOW.plus_ms(FOUR_WEEKS_MS))));
    story.pass_days(18);
    assert!(!story.account.is_subscribed(story.now));
}

#[test]
fn a_fee_of_a_cycle_that_is_over_leaves_the_one_that_runs() {
    let mut story = Story::new();
    let first = story.buy_for(Purpose::Subscription, FEE);
    story.pass_days(28);
    let [renewal] = pending(&story)[..] else { panic!("it is renewed") };
    story.pay(renewal);
    story.dispute(first, "dp_1", 3, State::Lost);
    assert!(story.account.is_subscribed(story.now));
    assert_eq!(story.money(), (5, 0), "what the first brought had expired unused");
    story.refund(renewal, "re_1", 3, State::Succeeded);
    assert!(!story.account.is_subscribed(story.now));
    assert_eq!(story.account.header.subscribed_until, None, "no fee pays for any time");
}

#[test]
fn a_part_of_a_fee_takes_its_part_of_the_credits_and_leaves_the_cycle() {
    let mut story = Story::new();
    let fee = story.buy_for(Purpose::Subscription, FEE);
    story.refund(fee, "re_1", 1, State::Succeeded);
    assert!(story.account.is_subscribed(story.now));
    assert_eq!(story.account.balance(story.now).available, Nanos::new(3_333_333_334));
    story.refund(fee, "re_2", 2, State::Succeeded);
    assert_eq!(story.grant_of(fee).taken.total(), Nanos::dollars(5));
    assert!(!story.account.is_subscribed(story.now));
}

/// Random news, in order of time.
fn life() -> impl Strategy<Value = Vec<News>> {
    let states = |kind: Kind| match kind {
        Kind::Refund => [State::Pending, State::Succeeded, State::Failed],
        Kind::Dispute | Kind::Earlier => [State::Open, State::Lost, State::Won],
    };
    let one = (0..4_u8, any::<bool>(), 1..12_i64, 1..=3_usize).prop_map(move |(name, is_refund, dollars, steps)| {
        let kind = if is_refund { Kind::Refund } else { Kind::Dispute };
        let reference = Some(format!("{name}"));
        let news =
            |state| News { id: None, kind, reference: reference.clone(), amount: Nanos::dollars(dollars), state };
        states(kind)[..steps].iter().map(|state| news(*state)).collect::<Vec<_>>()
    });
    proptest::collection::vec(one, 1..5).prop_map(|lives| {
        // One amount for each row.
        let mut amounts = BTreeMap::new();
        let mut news: Vec<News> = lives.into_iter().flatten().collect();
        for told in &mut news {
            let amount = *amounts.entry((told.kind.name(), told.reference.clone())).or_insert(told.amount);
            told.amount = amount;
        }
        news
    })
}

proptest! {
    #[test]
    fn what_stands_does_not_depend_on_order_or_repetition(
        news in life(),
        shuffled in any::<prop::sample::Index>(),
        again in proptest::collection::vec(any::<prop::sample::Index>(), 0..6),
    ) {
        let id = PaymentId(Uuid::from_u128(5));
        let all = |news: &[News]| {
            let rows = news.iter().fold(Vec::new(), |known, told| {
                reversal::merge(id, &known, std::slice::from_ref(told), Listing::Some, NOW).unwrap().rows
            });
            let mut states: Vec<_> = rows.iter().map(|row| (row.id, row.amount, row.state)).collect();
            states.sort_by_key(|(id, ..)| *id);
            states
        };
        let mut other = news.clone();
        other.rotate_left(shuffled.index(news.len()));
        other.reverse();
        other.extend(again.iter().map(|index| news[index.index(news.len())].clone()));
        prop_assert_eq!(all(&news), all(&other));
        let at_once = reversal::merge(id, &[], &other, Listing::Some, NOW).unwrap().rows;
        prop_assert_eq!(at_once.len(), all(&news).len());
    }

    #[test]
    fn what_is_taken_is_a_share_of_what_was_funded_exactly(
        funded in 1..9_000_000_000_000_i64, amount in 1..9_000_000_000_000_i64, one in 0..100_i64, other in 0..100_i64,
    ) {
        let (funded, amount) = (Nanos::new(funded), Nanos::new(amount));
        let part = |percent: i64| Nanos::new(amount.get() / 100 * percent);
        let (less, more) = (part(one.min(other)), part(one.max(other)));
        prop_assert!(reversal::credits(funded, less, amount) <= reversal::credits(funded, more, amount));
        prop_assert_eq!(reversal::credits(funded, amount, amount), funded);
        prop_assert_eq!(reversal::credits(funded, Nanos::ZERO, amount), Nanos::ZERO);
    }

    #[test]
    fn a_grant_comes_out_the_same_whatever_stood_meanwhile(
        news in life(), spent in 0..10_i64, days in 0..40_i64, held in 0..4_i64,
    ) {
        let mut story = Story::new();
        let payment = story.buy(10);
        if spent > 0 {
            story.spend(spent);
        }
        let request = (held > 0 && held <= 10 - spent).then(|| story.hold(held));
        for (at, told) in news.iter().enumerate() {
            if at == news.len() / 2 {
                story.pass_days(days);
            }
            let command = story.reverse(payment, vec![told.clone()], Listing::Some);
            story.say(command).result.unwrap();
            story.check(payment);
        }
        if let Some(request) = request {
            story.settle(request, Nanos::dollars(held));
        }
        // In the end all fail or are won: no credits stay taken, and no debt remains.
        let rows: Vec<Reversal> = story.rows.values().cloned().collect();
        for row in rows {
            let state = if row.kind == Kind::Refund { State::Failed } else { State::Won };
            let back = News { id: Some(row.id), kind: row.kind, reference: row.reference, amount: row.amount, state };
            let command = story.reverse(payment, vec![back], Listing::Some);
            story.say(command).result.unwrap();
            story.check(payment);
        }
        let grant = story.grant_of(payment);
        prop_assert_eq!(grant.taken.total(), Nanos::ZERO);
        prop_assert_eq!(grant.voided, Nanos::ZERO);
        prop_assert_eq!(story.account.balance(story.now).debt, Nanos::ZERO);
        prop_assert_eq!(grant.paid, Nanos::dollars(10));
    }
}
