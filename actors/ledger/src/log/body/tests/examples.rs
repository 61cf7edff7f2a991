//! Transitions for tests. The golden bodies were made of these, so they never change: other cases are new functions.

use billing::{
    Nanos, Timestamp,
    account::{Automatic, Header},
    attempt::Attempt,
    automatic::{AutoSettings, AutoState, SpendWindow, Switch},
    card::{Card, PaymentMethod},
    class::{SizeClass, Units},
    entry::{Ending, Line, LineKind, Notice, Opened, Proof, Transition, UsageRecord},
    event::{Event, EventKind},
    grant::{Grant, Source, Taken},
    hold::{Hold, Work},
    ids::{AccountId, GrantId, KeyId, PaymentId, PersonId, RequestId, ReversalId},
    key::{ApiKey, KeyLimits, Scopes},
    member::{Membership, Role},
    payment::{Maxima, Payment, PaymentStatus, Purpose},
    plan::Plan,
    price::Cost,
    resource::Resource,
    reversal::{Kind, Reversal, State},
    subscription::{AtEnd, Status, Subscription},
    time::Month,
    webhook::{Because, Endpoint},
};
use rust_decimal::Decimal;
use uuid::Uuid;

use super::super::{Field, Imported, PriceBook};

pub(super) const NOW: Timestamp = Timestamp(1_795_512_896_789);
const WEEKS: i64 = 28 * 86_400_000;

pub(super) fn id(number: u128) -> Uuid {
    Uuid::from_u128(0x0199_c0de_aaaa_7bbb_8ccc_0000_0000_0000 + number)
}

fn header(seq: u64) -> Header {
    Header {
        plan: Plan::Payg,
        created_at: Timestamp(NOW.0 - 90_000_000_000),
        subscribed_until: None,
        debt: Nanos::ZERO,
        charged: Nanos::new(12_345_678_901),
        seq,
        clock: NOW,
        wake_at: Some(Timestamp(NOW.0 + 400_000_000)),
        revision: 3,
        frozen_at: None,
    }
}

/// A purchase's grant of five dollars.
fn grant(number: u128, available: i64, held: i64) -> Grant {
    Grant {
        id: GrantId(id(number)),
        source: Source::Purchase,
        source_key: id(100 + number).to_string().into(),
        paid: Nanos::dollars(5),
        created_at: Timestamp(NOW.0 - 1_000_000_000),
        expires_at: Timestamp(NOW.0 - 1_000_000_000 + WEEKS),
        funded: Nanos::dollars(5),
        available: Nanos::new(available),
        held: Nanos::new(held),
        spent: Nanos::new(5_000_000_000 - available - held),
        expired: Nanos::ZERO,
        voided: Nanos::ZERO,
        recall: Nanos::ZERO,
        taken: Taken::default(),
        notices: 0,
    }
}

fn line(kind: LineKind, grant: u128, available: i64, held: i64, spent: i64) -> Line {
    Line {
        grant_id: Some(GrantId(id(grant))),
        request_id: Some(RequestId(id(7))),
        available: Nanos::new(available),
        held: Nanos::new(held),
        spent: Nanos::new(spent),
        ..Line::new(kind)
    }
}

pub(super) fn unchanged(seq: u64) -> Transition {
    Transition::unchanged(AccountId(id(1)), seq, NOW, header(seq))
}

/// A closed request is admitted: a hold on two grants.
pub(in crate::log::body) fn admission() -> Transition {
    Transition {
        lines: vec![
            line(LineKind::HoldPlaced, 11, -1_200_000, 1_200_000, 0),
            line(LineKind::HoldPlaced, 12, -3_400_000, 3_400_000, 0),
        ],
        grants: vec![grant(11, 0, 1_200_000), grant(12, 3_210_000_000, 3_400_000)],
        hold: Some(Hold {
            request_id: RequestId(id(7)),
            key_id: Some(KeyId(id(8))),
            work: Work::Closed,
            model: "openai/gpt-5-mini".into(),
            provider: "openai".into(),
            price_version: 3,
            allocations: vec![(GrantId(id(11)), Nanos::new(1_200_000)), (GrantId(id(12)), Nanos::new(3_400_000))],
            accrued: Nanos::ZERO,
            worst_case: Nanos::new(4_600_000),
            claimed: None,
            placed_at: NOW,
            deadline: Timestamp(NOW.0 + 1_800_000),
            is_parked: false,
            session: None,
        }),
        ..unchanged(41)
    }
}

/// The request is charged.
pub(in crate::log::body) fn settlement() -> Transition {
    Transition {
        lines: vec![
            line(LineKind::HoldCaptured, 11, 0, -1_200_000, 1_200_000),
            line(LineKind::HoldCaptured, 12, 3_271_060, -3_400_000, 128_940),
        ],
        grants: vec![grant(11, 0, 0), grant(12, 3_213_271_060, 0)],
        ended: Some(RequestId(id(7))),
        usage: Some(UsageRecord {
            request_id: RequestId(id(7)),
            key_id: Some(KeyId(id(8))),
            model: "openai/gpt-5-mini".into(),
            provider: "openai".into(),
            ending: Ending::Completed,
            parts: "tokens.input=1234@0.00000025 tokens.output=497@0.000002".parse().unwrap(),
            estimated: false,
            compute_ms: 0,
            billed_seconds: 0,
            cost: Cost::with_fee(Decimal::new(13_025, 7)),
            charged: Nanos::new(1_328_940),
            price_version: 3,
            started_at: Timestamp(NOW.0 - 2_345),
            ended_at: NOW,
            attempts: Vec::new(),
            session: None,
            timings: None,
        }),
        ..unchanged(42)
    }
}

/// An account is opened, with the free plan's dollar.
pub(in crate::log::body) fn opening() -> Transition {
    let free = Grant {
        source: Source::Free,
        source_key: format!("cycle {}", NOW.0).into(),
        paid: Nanos::ZERO,
        created_at: NOW,
        expires_at: Timestamp(NOW.0 + WEEKS),
        funded: Nanos::dollars(1),
        spent: Nanos::ZERO,
        ..grant(13, 1_000_000_000, 0)
    };
    let funded = Line { funded: free.funded, request_id: None, ..line(LineKind::GrantFunded, 13, 1_000_000_000, 0, 0) };
    Transition {
        lines: vec![funded],
        header: Header { charged: Nanos::ZERO, seq: 1, ..Header::new(Plan::Free, NOW) },
        grants: vec![free],
        opened: Some(Opened { email: "rita@example.org".into() }),
        ..unchanged(1)
    }
}

/// Every value of every enumeration, and every field of every message but those of a settlement and an opening.
pub(in crate::log::body) fn everything() -> Vec<Transition> {
    [
        credits(),
        purchases(),
        renewal(),
        notes(),
        resources(),
        usage(Ending::Failed),
        usage(Ending::Recovered),
        usage(Ending::WrittenOff),
    ]
    .into_iter()
    .chain(classes())
    .chain([admission(), settlement(), opening(), usage(Ending::ClientLeft)])
    .collect()
}

fn credits() -> Transition {
    use LineKind::{
        DebtIncurred, DebtRepaid, GrantExpired, GrantFunded, GrantVoided, HoldCaptured, HoldGrown, HoldPlaced,
        HoldReleased,
    };
    use Source::{AutoReload, AutoScale, Free, Goodwill, Plan, Promo, Purchase};
    let kinds = [
        GrantFunded,
        GrantExpired,
        GrantVoided,
        HoldPlaced,
        HoldGrown,
        HoldCaptured,
        HoldReleased,
        DebtIncurred,
        DebtRepaid,
    ];
    let full = |kind| Line {
        funded: Nanos::new(1),
        expired: Nanos::new(-2),
        voided: Nanos::new(i64::MAX),
        debt: Nanos::new(i64::MIN),
        ..line(kind, 14, 3, -4, 5)
    };
    let from = |source| Grant {
        source,
        source_key: "0199C0DE-AAAA-7BBB-8CCC-000000000000".into(),
        expired: Nanos::new(1),
        voided: Nanos::new(2),
        recall: Nanos::new(3),
        taken: Taken { unused: Nanos::new(4), gone: Nanos::new(5), held: Nanos::new(6), spent: Nanos::new(7) },
        notices: 3,
        ..grant(14, i64::MAX / 2, 9)
    };
    Transition {
        lines: kinds.map(full).to_vec(),
        header: Header {
            subscribed_until: Some(Timestamp(i64::MAX)),
            debt: Nanos::new(77),
            clock: Timestamp(i64::MIN),
            wake_at: None,
            ..header(u64::MAX)
        },
        grants: [Purchase, AutoReload, AutoScale, Plan, Free, Promo, Goodwill].map(from).to_vec(),
        beyond: Some((KeyId(id(8)), Nanos::new(909))),
        ..unchanged(u64::MAX)
    }
}

fn classes() -> impl Iterator<Item = Transition> {
    let classes = [SizeClass::B7, SizeClass::B15, SizeClass::B35, SizeClass::B70, SizeClass::B120];
    classes.into_iter().map(|class| {
        let hold = admission().hold.map(|hold| Hold {
            key_id: None,
            work: Work::Open { class, units: Units(3) },
            accrued: Nanos::new(555),
            claimed: Some(Nanos::ZERO),
            ..hold
        });
        Transition { hold, ..unchanged(44) }
    })
}

/// The reader of an open model's answer is slow: the request gives its permit back.
pub(in crate::log::body) fn parking() -> Transition {
    let work = Work::Open { class: SizeClass::B35, units: Units(4) };
    Transition {
        lines: vec![Line { request_id: Some(RequestId(id(7))), ..Line::new(LineKind::HoldGrown) }],
        hold: admission().hold.map(|hold| Hold { work, accrued: Nanos::new(144_000), is_parked: true, ..hold }),
        ..unchanged(45)
    }
}

/// A request is charged that another model did not serve, and of which a first name was no model's.
pub(in crate::log::body) fn after_attempts() -> Transition {
    let missed = |model: &str, status, code: &'static str| Attempt {
        request_id: None,
        model: model.into(),
        provider: None,
        status,
        code: code.into(),
        started_at: Timestamp(NOW.0 - 5_000),
        ended_at: Timestamp(NOW.0 - 4_999),
        charged: Nanos::ZERO,
    };
    let refused = Attempt {
        request_id: Some(RequestId(id(6))),
        provider: Some("anthropic".into()),
        ended_at: Timestamp(NOW.0 - 2_400),
        ..missed("claude-opus-5-5", 529, "provider_error")
    };
    let attempts = vec![missed("gpt-9", 404, "model_not_found"), refused];
    let usage = settlement().usage.map(|usage| UsageRecord { attempts, ..usage });
    Transition { usage, ..settlement() }
}

fn usage(ending: Ending) -> Transition {
    let usage = settlement().usage.map(|usage| UsageRecord {
        key_id: None,
        ending,
        parts: "tokens.input.audio.cache_read.flex.above_272000=5@0.1 compute_seconds=8 limited".parse().unwrap(),
        estimated: true,
        compute_ms: 7_999,
        billed_seconds: 8,
        cost: Cost { base: Decimal::MAX, fee: Decimal::new(-1, 28) },
        ..usage
    });
    Transition { usage, ..unchanged(45) }
}

fn purchases() -> Transition {
    Transition {
        payments: payments(),
        reversals: reversals(),
        subscription: Some(Subscription {
            status: Status::PastDue,
            at_end: AtEnd::Cancel,
            method: "pm_1".into(),
            started_at: NOW,
            failures: 2,
            retry_at: Some(Timestamp(NOW.0 + 1)),
        }),
        automatic: Some(Automatic {
            settings: AutoSettings {
                reload: Switch::On,
                threshold: Nanos::dollars(3),
                amount: Nanos::dollars(10),
                monthly_max: Nanos::dollars(100),
                scale: Switch::Off,
                monthly_spend: Nanos::dollars(200),
                method: Some("pm_2".into()),
                alerts: None,
            },
            state: AutoState {
                begun: 5,
                failures: 6,
                retry_at: Some(Timestamp(7)),
                full_month: Some(Month(24_310)),
                paused_at: Some(Timestamp(9)),
                told: Vec::new(),
            },
            window: SpendWindow {
                month: Month(24_322),
                reload_reserved: Nanos::new(1),
                reload_settled: Nanos::new(2),
                scale_reserved: Nanos::new(3),
                scale_settled: Nanos::new(4),
                reload_max: Nanos::new(5),
                spend_max: Nanos::new(6),
            },
        }),
        ..unchanged(43)
    }
}

fn payments() -> Vec<Payment> {
    let payment = |number, purpose, status| Payment {
        reversed: Nanos::new(12),
        status,
        reference: Some("pi_1".into()),
        decline_code: Some("card_declined".into()),
        ended_at: Some(Timestamp(NOW.0 + 1)),
        cycle_end: Some(Timestamp(NOW.0 + WEEKS)),
        maxima: Some(Maxima { reload: Nanos::new(13), spend: Nanos::new(14) }),
        ..Payment::new(PaymentId(id(number)), purpose, Nanos::dollars(10), "pm_1".into(), NOW)
    };
    vec![
        payment(21, Purpose::Purchase, PaymentStatus::Pending),
        payment(22, Purpose::AutoReload, PaymentStatus::Succeeded),
        payment(23, Purpose::AutoScale, PaymentStatus::Declined),
        payment(24, Purpose::Subscription, PaymentStatus::Succeeded),
    ]
}

fn reversals() -> Vec<Reversal> {
    let reversal = |number, kind, state| Reversal {
        id: ReversalId(id(number)),
        payment_id: PaymentId(id(21)),
        kind,
        reference: Some("re_1".into()),
        card: Some("card_1".into()),
        amount: Nanos::new(15),
        state,
        created_at: NOW,
        changed_at: Some(Timestamp(NOW.0 + 2)),
        left_ms: 16,
    };
    vec![
        reversal(31, Kind::Refund, State::Pending),
        reversal(32, Kind::Refund, State::Succeeded),
        reversal(33, Kind::Refund, State::Failed),
        reversal(34, Kind::Dispute, State::Open),
        reversal(35, Kind::Dispute, State::Lost),
        reversal(36, Kind::Dispute, State::Won),
        reversal(37, Kind::Earlier, State::Replaced),
    ]
}

fn notes() -> Transition {
    use EventKind::{
        CreditsExpiring, KeyLimitNear, LowBalance, PaymentRestored, PaymentReversed, ReloadCapped, ReloadDisabled,
        ReloadFailed, ReloadPaused, SubscriptionEnded, SubscriptionFailed, SubscriptionRenewed, TierFalling,
        WebhookDisabled,
    };
    let kinds = [
        LowBalance,
        CreditsExpiring,
        ReloadFailed,
        ReloadDisabled,
        ReloadCapped,
        TierFalling,
        KeyLimitNear,
        SubscriptionRenewed,
        SubscriptionFailed,
        SubscriptionEnded,
        PaymentReversed,
        PaymentRestored,
        ReloadPaused,
        WebhookDisabled,
    ];
    let subscription = |status, at_end| Subscription { status, at_end, ..Subscription::new("default".into(), NOW) };
    Transition {
        events: kinds.map(|kind| Event::new(kind, "it").amount("amount", Nanos::dollars(1)).at("at", NOW)).to_vec(),
        notice: Some(Notice {
            processor: "stripe".into(),
            id: "evt_1".into(),
            kind: "payment_intent.succeeded".into(),
            signed_at: Timestamp(NOW.0 - 50),
        }),
        proof: Some(Proof {
            request_id: RequestId(id(9)),
            act: "void_grant".into(),
            subject: "it".into(),
            amount: Some(Nanos::new(-1)),
            reason: Some("asked for".into()),
        }),
        subscription: Some(subscription(Status::Ended, AtEnd::Renew)),
        ..unchanged(46)
    }
}

fn renewal() -> Transition {
    Transition { subscription: Some(Subscription::new("default".into(), NOW)), ..unchanged(47) }
}

fn resources() -> Transition {
    let key = ApiKey {
        id: KeyId(id(41)),
        account_id: AccountId(id(1)),
        name: "laptop".into(),
        public: "0123456789ab".into(),
        hash: "c0de".into(),
        limits: KeyLimits {
            amounts: [Some(Nanos::dollars(1)), Some(Nanos::dollars(2)), None, Some(Nanos::dollars(3))],
            models: vec!["openai/gpt-5".into()],
        },
        scopes: Scopes::ALL,
        created_at: NOW,
        expires_at: Some(Timestamp(NOW.0 + WEEKS)),
        revoked_at: None,
    };
    let card = PaymentMethod {
        id: id(42),
        account_id: AccountId(id(1)),
        processor: "stripe".into(),
        card: Card {
            customer: "cus_1".into(),
            reference: "pm_1".into(),
            brand: "visa".into(),
            last4: "4242".into(),
            exp_month: 12,
            exp_year: 2030,
        },
        is_default: true,
        created_at: NOW,
        removed_at: Some(Timestamp(NOW.0 + 1)),
    };
    let endpoint = |number, kinds, because| Endpoint {
        id: id(number),
        account_id: AccountId(id(1)),
        url: "https://example.com/".into(),
        description: "mine".into(),
        secret: "whsec_1".into(),
        kinds,
        keys: None,
        created_at: NOW,
        disabled: Some((NOW, because)),
    };
    Transition {
        resources: vec![
            Resource::KeyOpened(key),
            Resource::KeyRevoked { id: KeyId(id(43)), public: "ba9876543210".into(), at: NOW },
            Resource::Customer { processor: "stripe".into(), reference: "cus_1".into() },
            Resource::Card(card),
            Resource::CardChosen { reference: "pm_1".into(), at: NOW },
            Resource::PaymentCard { payment_id: PaymentId(id(21)), reference: "pm_1".into() },
            Resource::Endpoint(endpoint(44, None, Because::Failing)),
            Resource::Endpoint(endpoint(45, Some(vec![EventKind::LowBalance]), Because::Gone)),
            Resource::Endpoint(endpoint(46, Some(Vec::new()), Because::Owner)),
            Resource::EndpointDeleted(id(47)),
        ],
        ..unchanged(48)
    }
}

/// Members who come, change and go, and the events of form 4.
pub(in crate::log::body) fn members() -> Transition {
    use EventKind::{MemberJoined, MemberLeft, MemberRoleChanged, MoreWanted};
    let member = |number, role| {
        let (account_id, person_id) = (AccountId(id(1)), PersonId(id(number)));
        Resource::Member(Membership { account_id, person_id, role, since: NOW })
    };
    Transition {
        events: [MemberJoined, MemberRoleChanged, MemberLeft, MoreWanted].map(|kind| Event::new(kind, "it")).to_vec(),
        resources: vec![
            member(51, Role::Owner),
            member(52, Role::Billing),
            member(53, Role::Developer),
            member(54, Role::Reader),
            Resource::MemberLeft(PersonId(id(55))),
        ],
        ..unchanged(49)
    }
}

/// An account that is frozen, a request that goes on meanwhile, an owner who wants to be told, and the end of it: form 5.
pub(in crate::log::body) fn freezing() -> Vec<Transition> {
    use EventKind::{AccountFrozen, AccountUnfrozen};
    let told = |kind| Event::new(kind, "it").at("at", NOW);
    let frozen = || Header { frozen_at: Some(NOW), ..header(50) };
    let proof = Proof {
        request_id: RequestId(id(56)),
        act: "freeze".into(),
        subject: id(1).to_string(),
        amount: None,
        reason: Some("a stolen card".into()),
    };
    let wanted = Endpoint {
        id: id(57),
        account_id: AccountId(id(1)),
        url: "https://example.com/".into(),
        description: String::new(),
        secret: "whsec_2".into(),
        kinds: Some(vec![AccountFrozen, AccountUnfrozen]),
        keys: None,
        created_at: NOW,
        disabled: None,
    };
    vec![
        Transition { header: frozen(), events: vec![told(AccountFrozen)], proof: Some(proof), ..unchanged(50) },
        Transition { header: frozen(), ..unchanged(50) },
        Transition { resources: vec![Resource::Endpoint(wanted)], ..unchanged(50) },
        Transition { events: vec![told(AccountUnfrozen)], ..unchanged(50) },
    ]
}

/// An account's own lines and those that were told, and a key's: what form 6 is for.
pub(in crate::log::body) fn alerts() -> Transition {
    Transition {
        automatic: Some(Automatic {
            settings: AutoSettings {
                alerts: Some(vec![Nanos::dollars(5), Nanos::new(250_000_000)]),
                ..AutoSettings::default()
            },
            state: AutoState { told: vec![Nanos::dollars(5)], ..AutoState::default() },
            window: SpendWindow::default(),
        }),
        resources: vec![
            Resource::KeyAlerts { id: KeyId(id(61)), percents: vec![50, 80, 100] },
            Resource::KeyAlerts { id: KeyId(id(62)), percents: Vec::new() },
        ],
        ..unchanged(50)
    }
}

/// A price book.
pub(in crate::log::body) fn prices() -> PriceBook {
    PriceBook { version: 3, hash: "c0de".into(), at: NOW, prices: "[models]\n".into() }
}

/// Rows from before there was a log.
pub(in crate::log::body) fn imported() -> Imported {
    Imported {
        table: "account".into(),
        columns: vec!["id".into(), "email".into(), "debt".into(), "wake_at".into(), "hash".into()],
        rows: vec![vec![
            Field::Id(id(1)),
            Field::Text("a@b.org".into()),
            Field::Int(-5),
            Field::Null,
            Field::Bytes(vec![7; 3]),
        ]],
        is_last: true,
    }
}
