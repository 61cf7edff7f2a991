//! Money under random histories: whatever commands come in whatever order at whatever times, the invariants hold after
//! every one, and replaying the journal's lines gives the state.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "unwrap is how a test fails")]

use std::collections::{BTreeMap, HashMap, HashSet};

use billing::{
    Nanos, Timestamp,
    account::{Account, Header},
    class::{SizeClass, Weighting},
    command::{Admit, Command, Fund, Reply},
    decide::decide,
    entry::{Ending, LineKind, Payment, PaymentStatus, Transition, UsageRecord},
    grant::{Grant, Source},
    hold::{Hold, HoldRequest, Work},
    ids::{AccountId, GrantId, PaymentId, RequestId},
    plan::Plan,
    price::{Cost, Tokens},
    time::DAY_MS,
};
use proptest::prelude::*;
use uuid::Uuid;

#[derive(Debug, Clone)]
enum Step {
    Admit { class: Option<usize>, minimum: i64, expected: i64, worst: i64 },
    Accrue { which: usize, cost: i64, slice: i64 },
    Settle { which: usize, cost: i64 },
    Fund { source: usize, amount: i64, days: i64, key: u8 },
    Buy { amount: i64 },
    Paid { which: usize, succeeds: bool },
    Sweep,
}

fn step() -> impl Strategy<Value = Step> {
    let amount = 0..3_000_000_000_i64;
    prop_oneof![
        6 => (proptest::option::of(0..5_usize), amount.clone(), amount.clone(), amount.clone())
            .prop_map(|(class, minimum, expected, worst)| Step::Admit { class, minimum: minimum.min(worst), expected, worst }),
        3 => (any::<usize>(), amount.clone(), amount.clone()).prop_map(|(which, cost, slice)| Step::Accrue { which, cost, slice }),
        5 => (any::<usize>(), amount.clone()).prop_map(|(which, cost)| Step::Settle { which, cost }),
        3 => (0..7_usize, -10..9_000_000_000_i64, -1..40_i64, any::<u8>())
            .prop_map(|(source, amount, days, key)| Step::Fund { source, amount, days, key }),
        1 => (0..2_000_i64).prop_map(|cents| Step::Buy { amount: cents * 10_000_000 }),
        1 => (any::<usize>(), any::<bool>()).prop_map(|(which, succeeds)| Step::Paid { which, succeeds }),
        1 => Just(Step::Sweep),
    ]
}

/// Everything the journal's lines say, added up.
#[derive(Default)]
struct Replay {
    grants: BTreeMap<GrantId, [Nanos; 6]>,
    rows: BTreeMap<GrantId, Grant>,
    holds: HashMap<RequestId, Hold>,
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
        if let Some(usage) = &transition.usage {
            self.charged += usage.charged;
            assert_eq!(
                usage.charged.is_positive(),
                self.captured.contains(&usage.request_id),
                "charged means captured"
            );
        }
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
        let spent: Nanos = self.rows.values().map(|grant| grant.spent).sum();
        assert_eq!(spent + self.debt, self.charged, "spent and debt together are what was charged");
        assert_eq!(account.holds().count(), self.holds.len());
        for hold in account.holds() {
            assert_eq!(&self.holds[&hold.request_id], hold);
        }
    }
}

fn usage(request_id: RequestId, charged: Nanos, now: Timestamp) -> UsageRecord {
    UsageRecord {
        request_id,
        key_id: None,
        model: "m".into(),
        provider: "openai".into(),
        ending: Ending::Completed,
        tokens: Tokens::default(),
        estimated: false,
        compute_ms: 0,
        billed_seconds: 0,
        cost: Cost { base: charged.to_decimal(), fee: rust_decimal::Decimal::ZERO },
        charged,
        price_version: 1,
        started_at: now,
        ended_at: now,
    }
}

fn pick<T: Copy + Ord>(mut from: Vec<T>, which: usize) -> Option<T> {
    from.sort();
    if from.is_empty() { None } else { Some(from[which % from.len()]) }
}

fn command(step: &Step, account: &Account, serial: u128, now: Timestamp) -> Option<Command> {
    let id = Uuid::from_u128(serial);
    let open = || account.holds().map(|hold| hold.request_id).collect::<Vec<_>>();
    Some(match *step {
        Step::Admit { class, minimum, expected, worst } => Command::Admit(Admit {
            request_id: RequestId(id),
            key_id: None,
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
        }),
        Step::Accrue { which, cost, slice } => {
            Command::Accrue { request_id: pick(open(), which)?, accrued: Nanos::new(cost), slice: Nanos::new(slice) }
        }
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
        Step::Buy { amount } => Command::BeginPayment(Payment {
            id: PaymentId(id),
            amount: Nanos::new(amount),
            status: PaymentStatus::Pending,
            method: "pm_card_visa".into(),
            decline_code: None,
            created_at: now,
        }),
        Step::Paid { which, succeeds } => {
            let payment_id = pick(account.pending_payments().map(|payment| payment.id).collect(), which)?;
            if succeeds {
                Command::PaymentSucceeded { payment_id, grant_id: GrantId(id) }
            } else {
                Command::PaymentDeclined { payment_id, decline_code: "card_declined".into() }
            }
        }
        Step::Sweep => Command::Sweep,
    })
}

fn run(steps: Vec<(Step, i64)>) {
    let mut now = Timestamp(1_000_000_000_000);
    let id = AccountId(Uuid::from_u128(7));
    let mut account = Account::load(id, Header::new(Plan::Free, now), vec![], vec![], vec![]);
    let mut replay = Replay::default();
    for (serial, (step, wait)) in steps.into_iter().enumerate() {
        now = Timestamp(now.0 + wait);
        let Some(command) = command(&step, &account, serial as u128 + 100, now) else { continue };
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
                assert!(before.header.debt == Nanos::ZERO || admit.hold.worst_case == Nanos::ZERO);
                assert!(*held >= admit.hold.minimum && *held <= admit.hold.worst_case.max(admit.hold.minimum));
            }
            (_, Err(_)) => assert_eq!(account.holds().count(), before.holds().count(), "a refusal takes nothing"),
            (_, Ok(_)) => {}
        }
        // What is loaded from the rows is what memory holds: a rebuilt actor goes on as the old one would.
        let rows = replay.rows.values().filter(|grant| grant.is_live(at)).cloned().collect();
        let loaded = Account::load(
            id,
            account.header.clone(),
            rows,
            replay.holds.values().cloned().collect(),
            account.pending_payments().cloned().collect(),
        );
        assert_eq!(loaded.balance(at), account.balance(at));
        loaded.assert_sound();
    }
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
