//! A key's usage never exceeds its limits, running requests included: through any admission, growth, end or rebuild of
//! requests, and any change of windows. A request costs no more than its key allows. Only costs that were unknown in
//! advance are charged beyond, and they are counted.

#![expect(clippy::unwrap_used, clippy::panic, reason = "how a test fails")]

use std::collections::BTreeMap;

use billing::{
    Nanos, Timestamp,
    account::{Account, Header, Stored},
    class::{SizeClass, Weighting},
    command::{Admit, Command, Fund, Refusal, Reply},
    decide::decide,
    entry::{Ending, UsageRecord},
    grant::{Grant, Source},
    hold::{Hold, HoldRequest, Work},
    ids::{AccountId, GrantId, KeyId, RequestId},
    key::{ApiKey, KeyLimits, KeyState, KeyWindow, Names, Scopes},
    plan::Plan,
    price::{Cost, Parts},
    resource::{Change, Resource},
    time::DAY_MS,
};
use proptest::prelude::*;
use uuid::Uuid;

const KEY: KeyId = KeyId(Uuid::from_u128(5));
const BEGIN: Timestamp = Timestamp(1_795_478_400_000);

#[derive(Debug, Clone)]
enum Step {
    /// A request of another key, which uses the same credits.
    Admit {
        open: bool,
        limited: bool,
        expected: i64,
        worst: i64,
    },
    Accrue {
        which: usize,
        percent: i64,
        slice: i64,
    },
    /// A share of the claim; more than the claim where a provider reports more.
    Settle {
        which: usize,
        percent: i64,
        beyond: i64,
    },
    Rebuild,
}

fn step() -> impl Strategy<Value = Step> {
    let amount = 0..400_000_000_i64;
    prop_oneof![
        4 => (any::<bool>(), proptest::bool::weighted(0.8), amount.clone(), amount.clone())
            .prop_map(|(open, limited, expected, worst)| Step::Admit { open, limited, expected, worst }),
        5 => (any::<usize>(), 0..=130_i64, amount.clone())
            .prop_map(|(which, percent, slice)| Step::Accrue { which, percent, slice }),
        3 => (any::<usize>(), 0..=100_i64, prop_oneof![9 => Just(0_i64), 1 => amount])
            .prop_map(|(which, percent, beyond)| Step::Settle { which, percent, beyond }),
        1 => Just(Step::Rebuild),
    ]
}

fn record(hold: &Hold, charged: Nanos, now: Timestamp) -> UsageRecord {
    UsageRecord {
        request_id: hold.request_id,
        key_id: hold.key_id,
        model: "m".into(),
        provider: "openai".into(),
        ending: Ending::Completed,
        parts: Parts::default(),
        estimated: false,
        compute_ms: 0,
        billed_seconds: 0,
        cost: Cost::from_total(charged),
        charged,
        price_version: 1,
        started_at: now,
        ended_at: now,
        attempts: Vec::new(),
        session: None,
        timings: None,
    }
}

/// The key, opened before it is ever used.
fn open_key(limits: KeyLimits) -> Command {
    let key = ApiKey {
        id: KEY,
        account_id: AccountId(Uuid::from_u128(7)),
        name: "limited".into(),
        public: "abcdefghijkl".into(),
        hash: "00".into(),
        limits,
        scopes: Scopes::ALL,
        created_at: BEGIN,
        expires_at: None,
        revoked_at: None,
    };
    Command::Change(Change { revision: 0, resources: vec![Resource::KeyOpened(key)], events: Vec::new() })
}

struct Story {
    account: Account,
    rows: BTreeMap<GrantId, Grant>,
    now: Timestamp,
    /// The key's charges by its records, and the part beyond its limits.
    spent: Vec<(Timestamp, Nanos)>,
    beyond: Nanos,
    limits: KeyLimits,
}

impl Story {
    fn begin(limits: KeyLimits, credits: i64) -> Self {
        let id = AccountId(Uuid::from_u128(7));
        let account = Account::load(id, Stored::new(Header::new(Plan::Payg, BEGIN)));
        let (rows, spent) = (BTreeMap::new(), Vec::new());
        let mut story = Self { account, rows, now: BEGIN, spent, beyond: Nanos::ZERO, limits: limits.clone() };
        story.does(open_key(limits)).unwrap();
        let fund = Fund {
            grant_id: GrantId(Uuid::from_u128(8)),
            source: Source::Purchase,
            source_key: "all".into(),
            amount: Nanos::new(credits),
            paid: Nanos::new(credits),
            expires_at: Some(BEGIN.plus_ms(300 * DAY_MS)),
            subscribed_until: Some(BEGIN.plus_ms(300 * DAY_MS)),
        };
        story.does(Command::Fund(fund)).unwrap();
        story
    }

    fn does(&mut self, command: Command) -> Result<Reply, Refusal> {
        let decision = decide(&mut self.account, command, self.now);
        for grant in decision.transition.iter().flat_map(|transition| &transition.grants) {
            self.rows.insert(grant.id, grant.clone());
        }
        decision.answer.result
    }

    fn spent_in(&self, window: KeyWindow) -> Nanos {
        self.spent.iter().filter(|(at, _)| *at >= window.start(self.now)).map(|(_, charged)| *charged).sum()
    }

    fn step(&mut self, step: &Step, serial: u128) {
        let mut holds: Vec<Hold> = self.account.holds().cloned().collect();
        holds.sort_by_key(|hold| hold.request_id);
        let pick = |which: usize| (!holds.is_empty()).then(|| holds[which % holds.len()].clone());
        match *step {
            Step::Admit { open, limited, expected, worst } => {
                let class = SizeClass::ALL[0];
                let units = class.weight(Weighting::Weighted);
                let minimum = Nanos::new(expected.min(worst) / 4);
                let admit = Admit {
                    request_id: RequestId(Uuid::from_u128(serial)),
                    key_id: Some(if limited { KEY } else { KeyId(Uuid::from_u128(6)) }),
                    model: "m".into(),
                    provider: "openai".into(),
                    price_version: 1,
                    work: if open { Work::Open { class, units } } else { Work::Closed },
                    hold: HoldRequest { minimum, expected: Nanos::new(expected), worst_case: Nanos::new(worst) },
                    output: None,
                    auto_scale: None,
                    names: Names::default(),
                    session: None,
                };
                if let Ok(Reply::Admitted { held, claimed, .. }) = self.does(Command::Admit(admit)) {
                    let is_bound = limited && self.limits.amounts.iter().any(Option::is_some);
                    assert_eq!(claimed.is_some(), is_bound);
                    assert!(claimed.is_none_or(|claimed| held <= claimed && claimed.get() <= worst.max(held.get())));
                }
            }
            Step::Accrue { which, percent, slice } => {
                let Some(hold) = pick(which) else { return };
                // The task of a limited request stops where its claim is used up. An open model's last token may take longer.
                let is_open = matches!(hold.work, Work::Open { .. });
                let percent = if is_open { percent } else { percent.min(100) };
                let most = hold.claimed.unwrap_or(Nanos::new(2_000_000_000));
                let accrued = Nanos::new(most.get() * percent / 100);
                let slice = Nanos::new(slice);
                let reply = self.does(Command::Accrue { request_id: hold.request_id, accrued, slice });
                let Ok(Reply::Accrued { claimed, .. }) = reply else { panic!("{reply:?}") };
                assert!(claimed >= hold.claimed, "a claim once given stays");
                let grown = self.account.holds().find(|grown| grown.request_id == hold.request_id).unwrap();
                assert!(!is_open || claimed.is_none_or(|claimed| grown.accrued <= claimed), "what is not billed");
            }
            Step::Settle { which, percent, beyond } => {
                let Some(hold) = pick(which) else { return };
                let most = hold.claimed.unwrap_or(Nanos::new(500_000_000));
                let charged = Nanos::new(most.get() * percent / 100 + if percent == 100 { beyond } else { 0 });
                self.does(Command::Settle(record(&hold, charged, self.now))).unwrap();
                if hold.key_id == Some(KEY) {
                    self.spent.push((self.now, charged));
                    self.beyond += (charged - hold.claim()).max(Nanos::ZERO);
                }
            }
            Step::Rebuild => {
                let spent = KeyWindow::ALL.map(|window| self.spent_in(window));
                let key = KeyState::new(self.limits.clone(), spent, self.now).with_beyond(self.beyond);
                let stored = Stored {
                    grants: self.rows.values().filter(|grant| grant.is_live(self.now)).cloned().collect(),
                    holds,
                    keys: BTreeMap::from([(KEY, key)]),
                    ..Stored::new(self.account.header.clone())
                };
                self.account = Account::load(self.account.id, stored);
            }
        }
    }

    fn check(&self) {
        self.account.assert_sound();
        let key = self.account.key(KEY).unwrap();
        assert_eq!(key.beyond(), self.beyond);
        let claims: Nanos = self.account.holds().filter(|hold| hold.key_id == Some(KEY)).map(Hold::claim).sum();
        for window in KeyWindow::ALL {
            let used = self.spent_in(window) + claims;
            assert_eq!(key.used(window, self.now), used, "{window:?}");
            if let Some(limit) = self.limits.of(window) {
                assert!(used <= limit + self.beyond, "{used} of {limit} in a {window:?}, {} beyond", self.beyond);
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(600))]
    #[test]
    fn a_key_never_uses_more_than_its_limits_with_all_that_runs(
        amounts in proptest::array::uniform4(proptest::option::of(1..3_000_000_000_i64)),
        credits in 100_000_000..20_000_000_000_i64,
        steps in proptest::collection::vec((step(), prop_oneof![5 => 0..5_000_i64, 1 => 0..9 * DAY_MS]), 1..150),
    ) {
        let limits = KeyLimits { amounts: amounts.map(|amount| amount.map(Nanos::new)), models: Vec::new() };
        prop_assume!(!limits.is_unlimited());
        let mut story = Story::begin(limits, credits);
        for (serial, (step, wait)) in steps.into_iter().enumerate() {
            story.now = story.now.plus_ms(wait);
            story.step(&step, serial as u128 + 100);
            story.check();
        }
    }
}

/// An open request of a limited key, and its story.
fn running(limit: i64, slice: i64) -> (Story, RequestId) {
    let mut story = Story::begin(
        KeyLimits { amounts: [None, None, None, Some(Nanos::new(limit))], ..KeyLimits::default() },
        5_000_000_000,
    );
    story.step(&Step::Admit { open: true, limited: true, expected: slice, worst: slice }, 100);
    let id = story.account.holds().next().unwrap().request_id;
    (story, id)
}

/// Each second beyond the claim once made the claim larger by the time of the next one.
#[test]
fn a_token_that_takes_long_does_not_raise_the_claim() {
    let (mut story, request_id) = running(144_000, 72_000);
    for seconds in 1..=6_i64 {
        let accrue = Command::Accrue { request_id, accrued: Nanos::new(72_000 * seconds), slice: Nanos::ZERO };
        let Ok(Reply::Accrued { claimed, .. }) = story.does(accrue) else { panic!() };
        assert!(claimed <= Some(Nanos::new(144_000)), "{claimed:?} after {seconds} seconds");
        assert!(story.account.holds().all(|hold| hold.accrued <= Nanos::new(144_000)));
        story.check();
    }
}

#[test]
fn a_running_request_grows_as_far_as_its_key_has_room_and_no_further() {
    let (mut story, request_id) = running(144_000, 72_000);
    for seconds in 1..=10_i64 {
        let accrued = Nanos::new(72_000 * seconds.min(2));
        let reply = story.does(Command::Accrue { request_id, accrued, slice: Nanos::new(360_000) });
        let limit = Nanos::new(144_000);
        assert_eq!(reply, Ok(Reply::Accrued { held: limit, claimed: Some(limit) }));
        story.check();
    }
}
