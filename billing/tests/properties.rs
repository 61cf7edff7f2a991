//! Money under random histories: after every command, in any order and at any time, the invariants hold, and replaying
//! the journal's lines gives the state.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "unwrap is how a test fails")]

use std::collections::{BTreeMap, HashMap, HashSet};

use billing::{
    Nanos, Timestamp,
    account::{Account, Automatic, Header, Stored},
    alert,
    automatic::{AutoSettings, Switch},
    class::{SizeClass, Weighting},
    command::{Admit, Command, Fund, Reply, Reverse},
    decide::decide,
    entry::{Ending, LineKind, Transition, UsageRecord},
    event::EventKind,
    grant::{Grant, Source},
    hold::{Hold, HoldRequest, Work},
    ids::{AccountId, GrantId, KeyId, PaymentId, RequestId, ReversalId},
    key::{ApiKey, KeyLimits, KeyState, KeyWindow, Names, Scopes},
    payment::{Payment, PaymentStatus, Purpose},
    plan::Plan,
    price::{Cost, Parts},
    resource::{Change, Resource},
    reversal::{self, Kind, Listing, News, Reversal, State},
    subscription::{FEE, Subscription},
    time::DAY_MS,
};
use proptest::{prelude::*, sample::select};
use uuid::Uuid;

#[derive(Debug, Clone)]
enum Step {
    Admit {
        class: Option<usize>,
        minimum: i64,
        expected: i64,
        worst: i64,
    },
    Accrue {
        which: usize,
        cost: i64,
        slice: i64,
    },
    Park {
        which: usize,
    },
    Unpark {
        which: usize,
    },
    Settle {
        which: usize,
        cost: i64,
    },
    Fund {
        source: usize,
        amount: i64,
        days: i64,
        key: u8,
    },
    Buy {
        amount: i64,
    },
    Subscribe,
    Cancel,
    Resume,
    Paid {
        which: usize,
        succeeds: bool,
    },
    Reverse {
        which: usize,
        percent: i64,
        name: u8,
        kind: Kind,
        state: usize,
    },
    Void {
        which: usize,
        amount: Option<i64>,
    },
    Automatic {
        reload: bool,
        scale: bool,
        threshold: i64,
        amount: i64,
        most: i64,
    },
    OpenKey {
        day: Option<i64>,
        total: Option<i64>,
    },
    /// A command with nothing to choose.
    Plain(Command),
}

fn step() -> impl Strategy<Value = Step> {
    let amount = 0..3_000_000_000_i64;
    prop_oneof![
        6 => (proptest::option::of(0..5_usize), amount.clone(), amount.clone(), amount.clone())
            .prop_map(|(class, minimum, expected, worst)| Step::Admit { class, minimum: minimum.min(worst), expected, worst }),
        3 => (any::<usize>(), amount.clone(), amount.clone()).prop_map(|(which, cost, slice)| Step::Accrue { which, cost, slice }),
        2 => any::<usize>().prop_map(|which| Step::Park { which }),
        2 => any::<usize>().prop_map(|which| Step::Unpark { which }),
        5 => (any::<usize>(), amount.clone()).prop_map(|(which, cost)| Step::Settle { which, cost }),
        3 => (0..7_usize, -10..9_000_000_000_i64, -1..40_i64, any::<u8>())
            .prop_map(|(source, amount, days, key)| Step::Fund { source, amount, days, key }),
        1 => (0..2_000_i64).prop_map(|cents| Step::Buy { amount: cents * 10_000_000 }),
        1 => Just(Step::Subscribe),
        1 => prop_oneof![Just(Step::Cancel), Just(Step::Resume)],
        3 => (any::<usize>(), proptest::bool::weighted(0.7)).prop_map(|(which, succeeds)| Step::Paid { which, succeeds }),
        2 => (any::<usize>(), 0..130_i64, 0..3_u8, any::<bool>(), 0..3_usize).prop_map(|(which, percent, name, refund, state)| {
            let kind = if refund { Kind::Refund } else { Kind::Dispute };
            Step::Reverse { which, percent, name, kind, state }
        }),
        1 => (any::<usize>(), proptest::option::of(amount.clone())).prop_map(|(which, amount)| Step::Void { which, amount }),
        1 => (any::<bool>(), any::<bool>(), 0..5_i64, 1..20_i64, 0..60_i64).prop_map(|(reload, scale, threshold, amount, most)| {
            Step::Automatic { reload, scale, threshold, amount, most }
        }),
        4 => (proptest::option::of(0..9_i64), proptest::option::of(0..30_i64))
            .prop_map(|(day, total)| Step::OpenKey { day, total }),
        1 => select(vec![Command::Freeze, Command::Unfreeze, Command::Unfreeze]).prop_map(Step::Plain),
        1 => Just(Step::Plain(Command::Sweep)),
    ]
}

/// The sum of the journal's lines.
#[derive(Default)]
struct Replay {
    grants: BTreeMap<GrantId, [Nanos; 6]>,
    rows: BTreeMap<GrantId, Grant>,
    holds: HashMap<RequestId, Hold>,
    payments: BTreeMap<PaymentId, Payment>,
    reversals: BTreeMap<(PaymentId, ReversalId), Reversal>,
    subscription: Option<Subscription>,
    automatic: Option<Automatic>,
    events: HashSet<(EventKind, String)>,
    /// Lines of low credits that were told, and that the balance has not recovered from.
    told: HashSet<Nanos>,
    spent: BTreeMap<i64, Nanos>,
    captured: HashSet<RequestId>,
    ended: HashSet<RequestId>,
    debt: Nanos,
    charged: Nanos,
    seq: u64,
}

impl Replay {
    fn apply(&mut self, transition: &Transition) {
        assert_eq!(
            transition.seq,
            self.seq + u64::from(!transition.lines.is_empty()),
            "the journal's sequence is dense"
        );
        self.seq = transition.seq;
        for line in &transition.lines {
            let moved = [line.available, line.held, line.spent, line.expired, line.voided];
            assert_eq!(moved.into_iter().sum::<Nanos>(), line.funded, "a line adds up");
            self.debt += line.debt;
            if let Some(id) = line.grant_id {
                let grant = self.grants.entry(id).or_default();
                let changes = [line.funded, line.available, line.held, line.spent, line.expired, line.voided];
                grant.iter_mut().zip(changes).for_each(|(bucket, change)| *bucket += change);
            }
            if line.kind == LineKind::HoldCaptured {
                self.captured.insert(line.request_id.unwrap());
            }
        }
        for grant in &transition.grants {
            self.rows.insert(grant.id, grant.clone());
        }
        if let Some(hold) = &transition.hold {
            assert!(!self.ended.contains(&hold.request_id), "a hold came back after its end");
            self.holds.insert(hold.request_id, hold.clone());
        }
        if let Some(id) = transition.ended {
            assert!(self.ended.insert(id), "a hold ended twice");
            self.holds.remove(&id).expect("only an open hold ends");
        }
        for payment in &transition.payments {
            let before = self.payments.insert(payment.id, payment.clone());
            assert!(payment.reversed >= Nanos::ZERO && payment.reversed <= payment.amount);
            if before.is_some_and(|payment| payment.status != PaymentStatus::Pending) {
                assert_eq!(payment.status, PaymentStatus::Succeeded, "a payment ends once");
            }
        }
        for row in &transition.reversals {
            self.reversals.insert((row.payment_id, row.id), row.clone());
        }
        if let Some(subscription) = &transition.subscription {
            self.subscription = Some(subscription.clone());
        }
        if let Some(automatic) = &transition.automatic {
            self.automatic = Some(automatic.clone());
        }
        self.hear(transition);
        for event in &transition.events {
            let is_new = self.events.insert((event.kind, event.subject.clone()));
            // A tier's fall or a limit that changes back is notified again, under the same subject. An account that is frozen
            // twice in one millisecond is told so once.
            let may_return = matches!(
                event.kind,
                EventKind::TierFalling
                    | EventKind::KeyLimitNear
                    | EventKind::ReloadCapped
                    | EventKind::AccountFrozen
                    | EventKind::AccountUnfrozen
            );
            assert!(is_new || may_return, "told twice: {event:?}");
        }
        if let Some(usage) = &transition.usage {
            let day = usage.ended_at.0.div_euclid(DAY_MS);
            *self.spent.entry(day).or_default() += if usage.key_id.is_some() { usage.charged } else { Nanos::ZERO };
            self.charged += usage.charged;
            assert_eq!(
                usage.charged.is_positive(),
                self.captured.contains(&usage.request_id),
                "charged means captured"
            );
        }
    }

    /// A line of low credits is told again only after the balance has recovered from it.
    fn hear(&mut self, transition: &Transition) {
        let owned: Nanos = self.grants.values().map(|[_, available, held, ..]| *available + *held).sum();
        let settings = self.automatic.clone().unwrap_or_default().settings;
        let usual = if settings.reload.is_on() { settings.threshold } else { alert::USUAL_LINE };
        let lines = settings.alerts.unwrap_or_else(|| vec![usual]);
        self.told.retain(|line| lines.contains(line) && owned < alert::recovered(*line));
        for event in transition.events.iter().filter(|event| event.kind == EventKind::LowBalance) {
            let amount =
                |name: &str| -> Nanos { event.data.iter().find(|(it, _)| it == name).unwrap().1.parse().unwrap() };
            let line = amount("threshold");
            assert!(amount("balance") == owned && owned < line && lines.contains(&line), "{event:?} at {owned}");
            assert!(self.told.insert(line), "told again, and the balance had not recovered: {event:?}");
        }
    }

    /// Invariants 11 and 12: the purchased amount is the sum of the payments, and automatic ones stay within their
    /// month.
    fn compare_payments(&self, account: &Account) {
        for grant in self.rows.values().filter(|grant| PAID.contains(&grant.source)) {
            let Some(payment) = self.payments.values().find(|payment| *payment.grant_key() == *grant.source_key) else {
                continue;
            };
            assert_eq!(grant.paid, payment.amount - payment.reversed, "a grant and its payment differ");
        }
        for payment in self.payments.values().filter(|payment| payment.status == PaymentStatus::Succeeded) {
            let grants = self.rows.values().filter(|grant| *grant.source_key == *payment.grant_key()).count();
            assert_eq!(grants, 1, "a payment that succeeded has one grant");
            let reversed = reversal::reversed(&self.known(payment.id), payment.amount);
            assert_eq!(payment.reversed, reversed, "reversed is what stands");
            let grant = self.rows.values().find(|grant| *grant.source_key == *payment.grant_key()).unwrap();
            let taken = reversal::credits(grant.funded, reversed, payment.amount);
            assert_eq!(grant.taken.total(), taken, "credits taken are a function of what stands");
        }
        if self.subscription.is_some() {
            assert_eq!(account.header.subscribed_until, self.paid_until(None), "paid until what fees say");
        }
        assert_eq!(account.automatic(), self.automatic.as_ref());
        assert_eq!(account.subscription(), self.subscription.as_ref());
        if let Some(Automatic { window, .. }) = &self.automatic {
            let of = |purpose, status| -> Nanos {
                let is = |payment: &&Payment| {
                    payment.purpose == purpose && payment.status == status && payment.created_at.month() == window.month
                };
                self.payments.values().filter(is).map(|payment| payment.amount).sum()
            };
            assert_eq!(window.reload_reserved, of(Purpose::AutoReload, PaymentStatus::Pending));
            assert_eq!(window.reload_settled, of(Purpose::AutoReload, PaymentStatus::Succeeded));
            assert_eq!(window.scale_reserved, of(Purpose::AutoScale, PaymentStatus::Pending));
            assert_eq!(window.scale_settled, of(Purpose::AutoScale, PaymentStatus::Succeeded));
        }
        assert!(account.pending_payments().filter(|payment| payment.purpose.is_automatic()).count() <= 1);
        assert!(account.pending_payments().filter(|payment| payment.purpose == Purpose::Subscription).count() <= 1);
    }

    fn known(&self, id: PaymentId) -> Vec<Reversal> {
        self.reversals.values().filter(|row| row.payment_id == id).cloned().collect()
    }

    /// The end of the plan's paid time by its fees, one payment excepted.
    fn paid_until(&self, but: Option<PaymentId>) -> Option<Timestamp> {
        let pays = |it: &&Payment| {
            it.status == PaymentStatus::Succeeded
                && Some(it.id) != but
                && !reversal::ends_cycle(&self.known(it.id), it.amount)
        };
        self.payments.values().filter(pays).filter_map(|payment| payment.cycle_end).max()
    }

    fn compare(&self, account: &Account) {
        assert_eq!(self.debt, account.header.debt);
        assert_eq!(self.charged, account.header.charged);
        assert_eq!(self.seq, account.header.seq);
        for (id, grant) in &self.rows {
            let row = [grant.funded, grant.available, grant.held, grant.spent, grant.expired, grant.voided];
            assert_eq!(self.grants[id], row, "the lines of a grant and its row differ");
        }
        for grant in account.grants() {
            assert_eq!(&self.rows[&grant.id], grant, "memory and row differ");
        }
        self.compare_payments(account);
        let spent: Nanos = self.rows.values().map(|grant| grant.spent).sum();
        assert_eq!(spent + self.debt, self.charged, "spent and debt together are what was charged");
        assert_eq!(account.holds().count(), self.holds.len());
        for hold in account.holds() {
            assert_eq!(&self.holds[&hold.request_id], hold);
        }
    }
}

const PAID: [Source; 4] = [Source::Purchase, Source::AutoReload, Source::AutoScale, Source::Plan];

/// The only key with limits. Every other request uses it.
const KEY: KeyId = KeyId(Uuid::from_u128(5));

fn key_of(request_id: RequestId) -> Option<KeyId> {
    request_id.0.as_u128().is_multiple_of(2).then_some(KEY)
}

fn usage(request_id: RequestId, charged: Nanos, now: Timestamp) -> UsageRecord {
    UsageRecord {
        request_id,
        key_id: key_of(request_id),
        model: "m".into(),
        provider: "openai".into(),
        ending: Ending::Completed,
        parts: Parts::default(),
        estimated: false,
        compute_ms: 0,
        billed_seconds: 0,
        cost: Cost { base: charged.to_decimal(), fee: rust_decimal::Decimal::ZERO },
        charged,
        price_version: 1,
        started_at: now,
        ended_at: now,
        attempts: Vec::new(),
        session: None,
        timings: None,
    }
}

fn pick<T: Copy + Ord>(mut from: Vec<T>, which: usize) -> Option<T> {
    from.sort();
    if from.is_empty() { None } else { Some(from[which % from.len()]) }
}

fn settings([reload, scale]: [bool; 2], threshold: i64, amount: i64, most: i64) -> AutoSettings {
    AutoSettings {
        reload: Switch::from_bool(reload),
        scale: Switch::from_bool(scale),
        threshold: Nanos::dollars(threshold),
        amount: Nanos::dollars(amount),
        monthly_max: Nanos::dollars(most),
        monthly_spend: Nanos::dollars(most + 5),
        method: None,
        alerts: (threshold % 2 == 0).then(|| vec![Nanos::dollars(threshold + 2), Nanos::dollars(1)]),
    }
}

fn command(step: &Step, account: &Account, replay: &Replay, serial: u128, now: Timestamp) -> Option<Command> {
    let id = Uuid::from_u128(serial);
    let open = || account.holds().map(|hold| hold.request_id).collect::<Vec<_>>();
    Some(match *step {
        Step::Admit { class, minimum, expected, worst } => Command::Admit(Admit {
            request_id: RequestId(id),
            key_id: key_of(RequestId(id)),
            model: "m".into(),
            provider: "openai".into(),
            price_version: 1,
            work: class.map_or(Work::Closed, |class| {
                let class = SizeClass::ALL[class];
                Work::Open { class, units: class.weight(Weighting::Weighted) }
            }),
            hold: HoldRequest {
                minimum: Nanos::new(minimum),
                expected: Nanos::new(expected),
                worst_case: Nanos::new(worst),
            },
            output: None,
            auto_scale: None,
            names: Names::default(),
            session: None,
        }),
        Step::Accrue { which, cost, slice } => {
            Command::Accrue { request_id: pick(open(), which)?, accrued: Nanos::new(cost), slice: Nanos::new(slice) }
        }
        Step::Park { which } => Command::Park { request_id: pick(open(), which)? },
        Step::Unpark { which } => Command::Resume { request_id: pick(open(), which)? },
        Step::Settle { which, cost } => Command::Settle(usage(pick(open(), which)?, Nanos::new(cost), now)),
        Step::Fund { source, amount, days, key } => {
            let source = Source::ALL[source];
            Command::Fund(Fund {
                grant_id: GrantId(id),
                source,
                source_key: key.to_string(),
                amount: Nanos::new(amount),
                paid: if source.is_paid() { Nanos::new(amount) } else { Nanos::ZERO },
                expires_at: Some(now.plus_ms(days * DAY_MS)),
                subscribed_until: None,
            })
        }
        Step::Buy { amount } => Command::BeginPayment(Payment::new(
            PaymentId(id),
            Purpose::Purchase,
            Nanos::new(amount),
            "pm_card_visa".into(),
            now,
        )),
        Step::Subscribe => {
            Command::BeginPayment(Payment::new(PaymentId(id), Purpose::Subscription, FEE, "pm_card_visa".into(), now))
        }
        Step::Cancel => Command::CancelSubscription,
        Step::Resume => Command::ResumeSubscription,
        Step::Paid { which, succeeds } => {
            let payment_id = pick(account.pending_payments().map(|payment| payment.id).collect(), which)?;
            if succeeds {
                Command::PaymentSucceeded { payment_id, grant_id: GrantId(id), reference: None }
            } else {
                Command::PaymentDeclined { payment_id, decline_code: "card_declined".into() }
            }
        }
        Step::Reverse { which, percent, name, kind, state } => {
            let payment = &replay.payments[&pick(replay.payments.keys().copied().collect(), which)?];
            let grant = replay.rows.values().find(|grant| *grant.source_key == *payment.grant_key());
            let states = match kind {
                Kind::Refund => [State::Pending, State::Succeeded, State::Failed],
                Kind::Dispute | Kind::Earlier => [State::Open, State::Lost, State::Won],
            };
            let amount = Nanos::new(payment.amount.get() / 100 * percent);
            let news = News { id: None, kind, reference: Some(format!("{name}")), amount, state: states[state] };
            Command::Reverse(Box::new(Reverse {
                payment: payment.clone(),
                grant: grant.cloned().map(Box::new),
                known: replay.known(payment.id),
                news: vec![news],
                listing: Listing::All,
                card: None,
                paid_until: replay.paid_until(Some(payment.id)),
                revision: Some(account.header.revision),
            }))
        }
        Step::Void { which, amount } => Command::VoidGrant {
            grant_id: pick(account.grants().iter().map(|grant| grant.id).collect(), which)?,
            amount: amount.map(Nanos::new),
        },
        Step::Automatic { reload, scale, threshold, amount, most } => {
            Command::SetAutomatic(settings([reload, scale], threshold, amount, most).into())
        }
        // Once, before the key is ever used.
        Step::OpenKey { day, total } if account.header.revision == 0 && replay.is_unused(account) => {
            open_key(account.id, limits(day, total), now)
        }
        Step::OpenKey { .. } => return None,
        Step::Plain(ref command) => command.clone(),
    })
}

fn open_key(account_id: AccountId, limits: KeyLimits, now: Timestamp) -> Command {
    let key = ApiKey {
        id: KEY,
        account_id,
        name: "limited".into(),
        public: "abcdefghijkl".into(),
        hash: "00".into(),
        limits,
        scopes: Scopes::ALL,
        created_at: now,
        expires_at: None,
        revoked_at: None,
    };
    Command::Change(Change { revision: 0, resources: vec![Resource::KeyOpened(key)], events: Vec::new() })
}

fn limits(day: Option<i64>, total: Option<i64>) -> KeyLimits {
    KeyLimits { amounts: [day.map(Nanos::dollars), None, None, total.map(Nanos::dollars)], models: Vec::new() }
}

impl Replay {
    /// Whether no request with the key was charged or runs.
    fn is_unused(&self, account: &Account) -> bool {
        self.spent.is_empty() && account.holds().all(|hold| hold.key_id != Some(KEY))
    }

    /// The sum of the key's usage records in each current window.
    fn key_spent(&self, now: Timestamp) -> [Nanos; 4] {
        KeyWindow::ALL.map(|window| {
            let from = window.start(now).0.div_euclid(DAY_MS);
            self.spent.range(from..).map(|(_, spent)| *spent).sum()
        })
    }
}

fn run(steps: Vec<(Step, i64)>) {
    let mut now = Timestamp(1_000_000_000_000);
    let id = AccountId(Uuid::from_u128(7));
    let mut account = Account::load(id, Stored::new(Header::new(Plan::Free, now)));
    let mut replay = Replay::default();
    for (serial, (step, wait)) in steps.into_iter().enumerate() {
        now = Timestamp(now.0 + wait);
        let Some(command) = command(&step, &account, &replay, serial as u128 + 100, now) else { continue };
        let before = account.clone();
        let asked = command.clone();
        let decision = decide(&mut account, command, now);
        account.assert_sound();
        if let Some(transition) = &decision.transition {
            replay.apply(transition);
        }
        replay.compare(&account);
        let at = now.max(before.header.clock);
        assert!(account.grants().iter().all(|grant| !grant.is_expired(at) || grant.available == Nanos::ZERO));
        match (&asked, &decision.answer.result) {
            (Command::Admit(admit), Ok(Reply::Admitted { held, .. })) => {
                // A cycle that began with this command may have repaid a debt first.
                assert!(account.header.debt == Nanos::ZERO || admit.hold.worst_case == Nanos::ZERO);
                assert!(*held >= admit.hold.minimum && *held <= admit.hold.worst_case.max(admit.hold.minimum));
            }
            (Command::Resume { request_id }, result) => {
                let is_parked = |account: &Account| account.hold(*request_id).is_some_and(|hold| hold.is_parked);
                let (used, tier) = (account.balance(at).units_used, account.tier(at));
                let is_alone = account.holds().filter(|hold| hold.units().0 > 0).count() == 1;
                let was_parked = is_parked(&before);
                assert!(result.is_err() || !was_parked || used <= tier.units || is_alone, "{used} of {}", tier.units);
                assert_eq!(is_parked(&account), result.is_err(), "it goes on, or waits as it was");
            }
            (_, Err(_)) => assert_eq!(account.holds().count(), before.holds().count(), "a refusal takes nothing"),
            (_, Ok(_)) => {}
        }
        if let Some(key) = account.key(KEY) {
            let held: Nanos = account.holds().filter(|hold| hold.key_id == Some(KEY)).map(Hold::claim).sum();
            for (window, spent) in KeyWindow::ALL.into_iter().zip(replay.key_spent(at)) {
                assert_eq!(key.used(window, at), spent + held, "a key's use is not its records and holds: {window:?}");
            }
        }
        assert!(
            account.header.debt == Nanos::ZERO || account.balance(at).available == Nanos::ZERO,
            "a debt beside credits that could pay it"
        );
        let free = account.grants().iter().filter(|grant| is_live_cycle(grant, at)).count();
        assert!(free <= 1, "the free plan's dollar stacks");
        // Loading the rows gives the state in memory: a rebuilt actor continues like the old one.
        let rows = replay.rows.values().filter(|grant| grant.is_live(at)).cloned().collect();
        let keys = account.key(KEY).map(|key| {
            let held = KeyState::new(key.limits().clone(), replay.key_spent(at), at);
            (KEY, held)
        });
        let mut loaded = Account::load(
            id,
            Stored {
                grants: rows,
                holds: replay.holds.values().cloned().collect(),
                payments: account.pending_payments().cloned().collect(),
                subscription: replay.subscription.clone(),
                automatic: replay.automatic.clone(),
                keys: keys.into_iter().collect(),
                ..Stored::new(account.header.clone())
            },
        );
        assert_eq!(loaded.balance(at), account.balance(at));
        loaded.assert_sound();
        // All due work was done: a rebuilt account has at most a notice to repeat.
        let again = decide(&mut loaded, Command::Sweep, at);
        let undone = again.transition.filter(|again| !again.lines.is_empty() || !again.payments.is_empty());
        assert_eq!(undone, None, "after {asked:?}");
    }
}

fn is_live_cycle(grant: &Grant, at: Timestamp) -> bool {
    grant.source == Source::Free && grant.source_key.starts_with("cycle ") && !grant.is_expired(at)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]
    #[test]
    fn the_invariants_hold_under_any_history(
        steps in proptest::collection::vec(
            (step(), prop_oneof![4 => 0..2_000_i64, 1 => 0..20 * DAY_MS, 1 => -5_000..0_i64]),
            1..120,
        )
    ) {
        run(steps);
    }
}
