//! Random histories of a few accounts, decided by the rules.

use std::collections::BTreeMap;

use billing::{
    Nanos, Timestamp,
    account::{Account, Header, Stored},
    automatic::{AutoChange, AutoSettings, Switch},
    class::{SizeClass, Weighting},
    command::{Admit, Command, Fund, Reverse},
    decide::{decide, open},
    entry::{Ending, Notice, Proof, Transition, UsageRecord},
    grant::{Grant, Source},
    hold::{HoldRequest, Work},
    ids::{AccountId, GrantId, KeyId, PaymentId, RequestId, ReversalId},
    key::Names,
    payment::{Payment, Purpose},
    plan::Plan,
    price::{Cost, Parts},
    reversal::{Kind, Listing, News, Reversal, State},
    session::Session,
    subscription::FEE,
    time::DAY_MS,
    timings::Timings,
};
use proptest::prelude::*;
use uuid::Uuid;

use super::resources::{Resources, open_key};

pub(super) const BEGIN: Timestamp = Timestamp(1_790_000_000_000);
/// Accounts that exist before the history; one more opens with it.
pub(super) const EXISTING: u128 = 2;

#[derive(Debug, Clone)]
enum Act {
    Admit { class: Option<usize>, worst: i64 },
    Accrue { which: usize, cost: i64 },
    Settle { which: usize, cost: i64, ending: Ending },
    Fund { amount: i64, days: i64 },
    Buy { cents: i64 },
    Subscribe,
    Cancel,
    Paid { which: usize, succeeds: bool },
    Reverse { which: usize, percent: i64, name: u8, kind: Kind, state: usize },
    Void { which: usize, amount: Option<i64> },
    Automatic { reload: bool, threshold: i64 },
    Change { kind: u8, which: usize },
    Freeze,
    Unfreeze,
    Sweep,
}

/// How a command comes.
#[derive(Debug, Clone, Copy)]
enum By {
    Customer,
    /// With a proof, and an operator's reason.
    Operator,
    Processor(u8),
    Proof,
}

/// A step of a history: an account, what it does, and the time since the step before.
#[derive(Debug, Clone)]
pub(super) struct Step {
    who: usize,
    act: Act,
    by: By,
    wait: i64,
}

pub(super) fn step() -> impl Strategy<Value = Step> {
    let amount = 0..3_000_000_000_i64;
    let ending = prop_oneof![Just(Ending::Completed), Just(Ending::Failed), Just(Ending::ClientLeft)];
    let act = prop_oneof![
        8 => (proptest::option::of(0..5_usize), amount.clone()).prop_map(|(class, worst)| Act::Admit { class, worst }),
        4 => (any::<usize>(), amount.clone()).prop_map(|(which, cost)| Act::Accrue { which, cost }),
        8 => (any::<usize>(), amount.clone(), ending)
            .prop_map(|(which, cost, ending)| Act::Settle { which, cost, ending }),
        3 => (1..9_000_000_000_i64, 1..40_i64)
            .prop_map(|(amount, days)| Act::Fund { amount, days }),
        2 => (500..2_000_i64).prop_map(|cents| Act::Buy { cents }),
        1 => Just(Act::Subscribe),
        1 => Just(Act::Cancel),
        4 => (any::<usize>(), proptest::bool::weighted(0.8)).prop_map(|(which, succeeds)| Act::Paid { which, succeeds }),
        3 => (any::<usize>(), 0..130_i64, 0..3_u8, any::<bool>(), 0..3_usize)
            .prop_map(|(which, percent, name, refund, state)| {
                let kind = if refund { Kind::Refund } else { Kind::Dispute };
                Act::Reverse { which, percent, name, kind, state }
            }),
        1 => (any::<usize>(), proptest::option::of(amount)).prop_map(|(which, amount)| Act::Void { which, amount }),
        1 => (any::<bool>(), 0..5_i64).prop_map(|(reload, threshold)| Act::Automatic { reload, threshold }),
        4 => (0..10_u8, any::<usize>()).prop_map(|(kind, which)| Act::Change { kind, which }),
        1 => prop_oneof![Just(Act::Freeze), Just(Act::Unfreeze)],
        1 => Just(Act::Sweep),
    ];
    let by = prop_oneof![8 => Just(By::Customer), 1 => Just(By::Operator), 1 => (0..9_u8).prop_map(By::Processor),
        1 => Just(By::Proof)];
    let wait = prop_oneof![6 => 0..2_000_i64, 1 => 0..20 * DAY_MS];
    (0..=usize::try_from(EXISTING).unwrap(), act, by, wait).prop_map(|(who, act, by, wait)| Step { who, act, by, wait })
}

/// An account with what its tables have.
struct Story {
    account: Account,
    grants: BTreeMap<GrantId, Grant>,
    payments: BTreeMap<PaymentId, Payment>,
    reversals: BTreeMap<(PaymentId, ReversalId), Reversal>,
    resources: Resources,
}

pub(super) fn account_id(number: u128) -> AccountId {
    AccountId(Uuid::from_u128(number + 1))
}

/// Half of the requests name one of three sessions.
fn session(id: Uuid) -> Option<Session> {
    let number = id.as_u128();
    number.is_multiple_of(2).then(|| Session::new(format!("ses {}", number % 3)).ok()).flatten()
}

/// The key of an account.
pub(super) fn key_id(account: AccountId) -> KeyId {
    KeyId(Uuid::from_u128(account.0.as_u128() << 64))
}

/// The transitions of a history.
pub(super) fn transitions(steps: &[Step]) -> Vec<Transition> {
    let mut stories: Vec<_> = (0..EXISTING).map(|number| Story::new(existing(number))).collect();
    let (account, opened) = open(account_id(EXISTING), "opened@example.com".into(), Plan::Payg, BEGIN);
    stories.push(Story::new(account));
    let mut transitions = Vec::from_iter(opened.transition.map(|transition| *transition));
    for story in &mut stories {
        let opens = open_key(key_id(story.account.id), story.account.id, BEGIN);
        let opened = story.decide(opens, BEGIN);
        transitions.extend(opened);
    }
    let mut now = BEGIN;
    for (serial, Step { who, act, by, wait }) in steps.iter().enumerate() {
        now = now.plus_ms(*wait);
        let id = Uuid::from_u128(1_000 + serial as u128);
        let story = &mut stories[*who];
        let Some(command) = story.command(act, id, now) else { continue };
        transitions.extend(story.decide(by.wrap(command, id, now), now));
    }
    transitions
}

pub(super) fn existing(number: u128) -> Account {
    Account::load(account_id(number), Stored::new(Header::new(Plan::Payg, BEGIN)))
}

impl By {
    fn wrap(self, command: Command, id: Uuid, now: Timestamp) -> Command {
        let command = Box::new(command);
        let proof = |reason| Proof {
            request_id: RequestId(id),
            act: "act".into(),
            subject: "subject".into(),
            amount: Some(Nanos::new(5)),
            reason,
        };
        match self {
            Self::Customer => *command,
            Self::Operator => Command::Proven { proof: proof(Some("a reason".into())), command },
            Self::Proof => Command::Proven { proof: proof(None), command },
            Self::Processor(name) => {
                let notice = Notice {
                    processor: "stripe".into(),
                    id: format!("evt_{name}"),
                    kind: "charge".into(),
                    signed_at: now,
                };
                Command::Notified { notice, command }
            }
        }
    }
}

fn pick<T>(from: Vec<T>, which: usize) -> Option<T> {
    let count = from.len().max(1);
    from.into_iter().nth(which % count)
}

impl Story {
    fn new(account: Account) -> Self {
        Self {
            account,
            grants: BTreeMap::new(),
            payments: BTreeMap::new(),
            reversals: BTreeMap::new(),
            resources: Resources::default(),
        }
    }

    fn decide(&mut self, command: Command, now: Timestamp) -> Option<Transition> {
        let transition = decide(&mut self.account, command, now).transition?;
        self.note(&transition);
        Some(*transition)
    }

    fn note(&mut self, transition: &Transition) {
        self.grants.extend(transition.grants.iter().map(|grant| (grant.id, grant.clone())));
        self.payments.extend(transition.payments.iter().map(|payment| (payment.id, payment.clone())));
        self.reversals.extend(transition.reversals.iter().map(|row| ((row.payment_id, row.id), row.clone())));
        self.resources.note(transition);
    }

    fn open_request(&self, which: usize) -> Option<RequestId> {
        let mut open: Vec<_> = self.account.holds().map(|hold| hold.request_id).collect();
        open.sort();
        pick(open, which)
    }

    fn command(&self, act: &Act, id: Uuid, now: Timestamp) -> Option<Command> {
        Some(match *act {
            Act::Admit { class, worst } => Command::Admit(self.admit(class, worst, id)),
            Act::Accrue { which, cost } => Command::Accrue {
                request_id: self.open_request(which)?,
                accrued: Nanos::new(cost),
                slice: Nanos::new(1_000_000),
            },
            Act::Settle { which, cost, ending } => {
                Command::Settle(self.usage(self.open_request(which)?, Nanos::new(cost), ending, now))
            }
            Act::Fund { amount, days } => Command::Fund(Fund {
                grant_id: GrantId(id),
                source: Source::Promo,
                source_key: id.to_string(),
                amount: Nanos::new(amount),
                paid: Nanos::ZERO,
                expires_at: Some(now.plus_ms(days * DAY_MS)),
                subscribed_until: None,
            }),
            Act::Buy { cents } => begin(id, Purpose::Purchase, Nanos::new(cents * 10_000_000), now),
            Act::Subscribe => begin(id, Purpose::Subscription, FEE, now),
            Act::Cancel => Command::CancelSubscription,
            Act::Paid { which, succeeds } => {
                let pending = self.account.pending_payments().map(|payment| payment.id).collect();
                let payment_id = pick(pending, which)?;
                if succeeds {
                    Command::PaymentSucceeded { payment_id, grant_id: GrantId(id), reference: Some("ch_1".into()) }
                } else {
                    Command::PaymentDeclined { payment_id, decline_code: "card_declined".into() }
                }
            }
            Act::Reverse { which, percent, name, kind, state } => self.reverse(which, percent, name, kind, state)?,
            Act::Void { which, amount } => Command::VoidGrant {
                grant_id: pick(self.account.grants().iter().map(|grant| grant.id).collect(), which)?,
                amount: amount.map(Nanos::new),
            },
            Act::Automatic { reload, threshold } => Command::SetAutomatic(AutoChange::from(AutoSettings {
                reload: Switch::from_bool(reload),
                scale: Switch::from_bool(!reload),
                threshold: Nanos::dollars(threshold),
                amount: Nanos::dollars(10),
                monthly_max: Nanos::dollars(50),
                monthly_spend: Nanos::dollars(90),
                method: None,
                alerts: (threshold % 2 == 0).then(|| vec![Nanos::dollars(threshold + 2), Nanos::dollars(1)]),
            })),
            Act::Change { kind, which } => self.resources.change(&self.account, kind, which, id, now)?,
            Act::Freeze => Command::Freeze,
            Act::Unfreeze => Command::Unfreeze,
            Act::Sweep => Command::Sweep,
        })
    }

    fn admit(&self, class: Option<usize>, worst: i64, id: Uuid) -> Admit {
        Admit {
            request_id: RequestId(id),
            key_id: id.as_u128().is_multiple_of(2).then(|| key_id(self.account.id)),
            model: "m".into(),
            provider: "openai".into(),
            price_version: 1,
            work: class.map_or(Work::Closed, |class| {
                let class = SizeClass::ALL[class];
                Work::Open { class, units: class.weight(Weighting::Weighted) }
            }),
            hold: HoldRequest {
                minimum: Nanos::new(worst / 9),
                expected: Nanos::new(worst / 2),
                worst_case: Nanos::new(worst),
            },
            output: None,
            auto_scale: None,
            names: Names::default(),
            session: session(id),
        }
    }

    fn usage(&self, request_id: RequestId, charged: Nanos, ending: Ending, now: Timestamp) -> UsageRecord {
        UsageRecord {
            request_id,
            key_id: request_id.0.as_u128().is_multiple_of(2).then(|| key_id(self.account.id)),
            model: "m".into(),
            provider: "openai".into(),
            ending,
            parts: Parts::default(),
            estimated: false,
            compute_ms: 3,
            billed_seconds: 1,
            cost: Cost::from_total(charged),
            charged,
            price_version: 1,
            started_at: now,
            ended_at: now,
            attempts: Vec::new(),
            session: session(request_id.0),
            timings: request_id.0.as_u128().is_multiple_of(3).then(Box::<Timings>::default),
        }
    }

    fn reverse(&self, which: usize, percent: i64, name: u8, kind: Kind, state: usize) -> Option<Command> {
        let payment = pick(self.payments.values().cloned().collect(), which)?;
        let states = match kind {
            Kind::Refund => [State::Pending, State::Succeeded, State::Failed],
            Kind::Dispute | Kind::Earlier => [State::Open, State::Lost, State::Won],
        };
        let amount = Nanos::new(payment.amount.get() / 100 * percent);
        let news = News { id: None, kind, reference: Some(name.to_string()), amount, state: states[state] };
        let grant = self.grants.values().find(|grant| *grant.source_key == *payment.grant_key());
        Some(Command::Reverse(Box::new(Reverse {
            grant: grant.cloned().map(Box::new),
            known: self.reversals.values().filter(|row| row.payment_id == payment.id).cloned().collect(),
            news: vec![news],
            listing: Listing::All,
            card: None,
            paid_until: None,
            revision: None,
            payment,
        })))
    }
}

fn begin(id: Uuid, purpose: Purpose, amount: Nanos, now: Timestamp) -> Command {
    Command::BeginPayment(Payment::new(PaymentId(id), purpose, amount, "pm_card_visa".into(), now))
}
