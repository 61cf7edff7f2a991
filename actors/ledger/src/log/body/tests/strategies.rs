//! Random transitions: every value of every enumeration, and the numbers where forms break.

use std::collections::BTreeMap;

use billing::{
    Nanos, Timestamp,
    account::{Automatic, Header},
    attempt::Attempt,
    automatic::{AutoSettings, AutoState, SpendWindow, Switch},
    class::{SizeClass, Units},
    entry::{Ending, Line, LineKind, Notice, Opened, Proof, Transition, UsageRecord},
    event::{Event, EventKind},
    grant::{Grant, Source, Taken},
    hold::{Hold, Work},
    ids::{AccountId, GrantId, KeyId, PaymentId, RequestId, ReversalId},
    payment::{Maxima, Payment, PaymentStatus, Purpose},
    plan::Plan,
    price::{Cost, Parts},
    quantity::{Band, Cache, Direction, Key, Kind, Modality, Resolution, ServiceTier},
    resource::Resource,
    reversal::{self, Reversal, State},
    session::Session,
    subscription::{AtEnd, Status, Subscription},
    time::Month,
    timings::Timings,
};
use proptest::{collection::vec, option, prelude::*, sample::select};
use rust_decimal::Decimal;
use uuid::Uuid;

use super::resources::resource;

/// Batches of transitions.
pub(super) fn transitions() -> impl Strategy<Value = Vec<Transition>> {
    vec(transition(), 0..4)
}

/// A strategy for a struct, from a strategy for each of its fields.
macro_rules! fields {
    ($type:ident { $($field:ident: $strategy:expr),+ $(,)? }) => {{
        let nested = Just(()).boxed();
        $(let nested = (nested, $strategy.boxed()).boxed();)+
        fields!(@map nested, $type, (), [$($field),+], [])
    }};
    (@map $nested:ident, $type:ident, $pattern:tt, [], [$($done:ident),+]) => {
        $nested.prop_map(move |$pattern| $type { $($done),+ }).boxed()
    };
    (@map $nested:ident, $type:ident, $pattern:tt, [$field:ident $(, $rest:ident)*], [$($done:ident),*]) => {
        fields!(@map $nested, $type, ($pattern, $field), [$($rest),*], [$($done,)* $field])
    };
}

pub(super) use fields;

pub(super) fn number() -> impl Strategy<Value = i64> {
    prop_oneof![
        2 => Just(0),
        1 => select(vec![i64::MIN, i64::MAX, -1, 1, 127, 128]),
        3 => 0..10_000_000_000_000_i64,
        1 => any::<i64>(),
    ]
}

pub(super) fn nanos() -> impl Strategy<Value = Nanos> {
    number().prop_map(Nanos::new)
}

pub(super) fn time() -> impl Strategy<Value = Timestamp> {
    prop_oneof![number(), 1_795_512_000_000..1_795_513_000_000_i64].prop_map(Timestamp)
}

/// Few ids, so that the same one is at several places, and any.
pub(super) fn id() -> impl Strategy<Value = Uuid> {
    prop_oneof![3 => 0..5_u128, 2 => any::<u128>()].prop_map(Uuid::from_u128)
}

pub(super) fn text() -> impl Strategy<Value = String> {
    prop_oneof![Just(String::new()), "[a-z_.]{1,12}", ".{0,8}"]
}

fn source_key() -> impl Strategy<Value = String> {
    let spelled = |id: Uuid| {
        let (plain, upper) = (id.simple().to_string(), id.to_string().to_uppercase());
        select(vec![id.to_string(), id.to_string(), plain, upper, id.braced().to_string(), id.urn().to_string()])
    };
    prop_oneof![id().prop_flat_map(spelled), text()]
}

fn line() -> BoxedStrategy<Line> {
    fields!(Line {
        kind: select(LineKind::ALL.to_vec()),
        grant_id: option::of(id().prop_map(GrantId)),
        request_id: option::of(id().prop_map(RequestId)),
        funded: nanos(),
        available: nanos(),
        held: nanos(),
        spent: nanos(),
        expired: nanos(),
        voided: nanos(),
        debt: nanos(),
    })
}

fn header() -> BoxedStrategy<Header> {
    fields!(Header {
        plan: select(vec![Plan::Free, Plan::Payg]),
        created_at: time(),
        subscribed_until: option::of(time()),
        debt: nanos(),
        charged: nanos(),
        seq: any::<u64>(),
        clock: time(),
        wake_at: option::of(time()),
        revision: any::<u64>(),
        frozen_at: option::of(time()),
    })
}

fn grant() -> BoxedStrategy<Grant> {
    let taken = fields!(Taken { unused: nanos(), gone: nanos(), held: nanos(), spent: nanos() });
    fields!(Grant {
        id: id().prop_map(GrantId),
        source: select(Source::ALL.to_vec()),
        source_key: source_key().prop_map(Into::into),
        paid: nanos(),
        created_at: time(),
        expires_at: time(),
        funded: nanos(),
        available: nanos(),
        held: nanos(),
        spent: nanos(),
        expired: nanos(),
        voided: nanos(),
        recall: nanos(),
        taken: prop_oneof![Just(Taken::default()), taken],
        notices: any::<u8>(),
    })
}

fn work() -> impl Strategy<Value = Work> {
    let open = (select(SizeClass::ALL.to_vec()), any::<u32>());
    prop_oneof![Just(Work::Closed), open.prop_map(|(class, units)| Work::Open { class, units: Units(units) })]
}

fn hold() -> BoxedStrategy<Hold> {
    fields!(Hold {
        request_id: id().prop_map(RequestId),
        key_id: option::of(id().prop_map(KeyId)),
        work: work(),
        model: text().prop_map(Into::into),
        provider: text().prop_map(Into::into),
        price_version: number(),
        allocations: vec((id().prop_map(GrantId), nanos()), 0..4),
        accrued: nanos(),
        worst_case: nanos(),
        claimed: option::of(nanos()),
        placed_at: time(),
        deadline: time(),
        is_parked: any::<bool>(),
        session: session(),
    })
}

fn key() -> impl Strategy<Value = Key> {
    use {Cache as C, Direction as D, Kind as K, Modality as M, Resolution as R, ServiceTier as T};
    let kinds = vec![
        K::Tokens,
        K::Characters,
        K::Images,
        K::Milliseconds,
        K::Pages,
        K::ComputeSeconds,
        K::Requests,
        K::WebSearches,
        K::WebFetches,
        K::FileSearches,
        K::Containers,
        K::SearchUnits,
    ];
    let key = fields!(Key {
        kind: select(kinds),
        direction: select(vec![D::Neither, D::Input, D::Output]),
        modality: select(vec![M::Text, M::Reasoning, M::Audio, M::Image, M::Video]),
        cache: select(vec![C::Uncached, C::Read, C::Write, C::Write1h, C::Write12h]),
        tier: select(T::ALL.to_vec()),
        band: prop_oneof![Just(0), any::<u32>()].prop_map(Band),
        resolution: select(vec![R::Any, R::Low, R::Medium, R::High, R::Wide1k, R::Wide2k, R::Wide4k]),
    });
    key.prop_map(|key| {
        let plain = Key { cache: Cache::Uncached, band: Band(0), modality: Modality::Text, ..key };
        let neither = Key { direction: Direction::Neither, ..plain };
        [key, plain, neither].into_iter().find(|key| key.is_sound()).unwrap_or(Key::INPUT)
    })
}

fn parts() -> impl Strategy<Value = Parts> {
    let rate = (0..=1_000_000_000_i64, 6..=28_u32).prop_map(|(number, scale)| Decimal::new(number, scale));
    let part = (key(), (any::<u64>(), option::of(rate)));
    (vec(part, 0..5), any::<bool>()).prop_map(|(parts, is_limited)| {
        let word = |(key, (amount, rate)): (Key, (u64, Option<Decimal>))| {
            let rate = rate.map(|rate| format!("@{rate}")).unwrap_or_default();
            format!("{key}={amount}{rate}")
        };
        // In the order of their keys, each once.
        let words = parts.into_iter().collect::<BTreeMap<_, _>>().into_iter().map(word);
        let words: Vec<_> = words.chain(is_limited.then(|| "limited".to_owned())).collect();
        words.join(" ").parse().unwrap()
    })
}

fn decimal() -> impl Strategy<Value = Decimal> {
    let any = (any::<[u32; 3]>(), any::<bool>(), 0..=28_u32);
    let any = any.prop_map(|([low, middle, high], sign, scale)| Decimal::from_parts(low, middle, high, sign, scale));
    let usual = (0..100_000_000_i64, 0..12_u32).prop_map(|(number, scale)| Decimal::new(number, scale));
    prop_oneof![usual, any, select(vec![Decimal::ZERO, Decimal::MAX, Decimal::MIN])]
}

fn usage() -> BoxedStrategy<UsageRecord> {
    use Ending::{ClientLeft, Completed, Failed, Recovered, WrittenOff};
    fields!(UsageRecord {
        request_id: id().prop_map(RequestId),
        key_id: option::of(id().prop_map(KeyId)),
        model: text().prop_map(Into::into),
        provider: text().prop_map(Into::into),
        ending: select(vec![Completed, ClientLeft, Failed, Recovered, WrittenOff]),
        parts: parts(),
        estimated: any::<bool>(),
        compute_ms: any::<u64>(),
        billed_seconds: any::<u64>(),
        cost: fields!(Cost { base: decimal(), fee: decimal() }),
        charged: nanos(),
        price_version: number(),
        started_at: time(),
        ended_at: time(),
        attempts: prop_oneof![3 => Just(Vec::new()), 1 => vec(attempt(), 1..4)],
        session: session(),
        timings: option::of(timings().prop_map(Box::new)),
    })
}

fn timings() -> BoxedStrategy<Timings> {
    fields!(Timings {
        admission_ms: any::<u64>(),
        load_ms: any::<u64>(),
        queue_ms: any::<u64>(),
        run_ms: any::<u64>(),
        first_ms: option::of(any::<u64>()),
    })
}

fn session() -> impl Strategy<Value = Option<Session>> {
    prop_oneof![3 => Just(None), 1 => "[^\\p{C}]{1,40}".prop_map(|name| Session::new(name).ok())]
}

fn attempt() -> BoxedStrategy<Attempt> {
    fields!(Attempt {
        request_id: option::of(id().prop_map(RequestId)),
        model: text().prop_map(Into::into),
        provider: option::of(text().prop_map(Into::into)),
        status: any::<u16>(),
        code: text().prop_map(Into::into),
        started_at: time(),
        ended_at: time(),
        charged: nanos(),
    })
}

fn payment() -> BoxedStrategy<Payment> {
    fields!(Payment {
        id: id().prop_map(PaymentId),
        purpose: select(Purpose::ALL.to_vec()),
        amount: nanos(),
        reversed: nanos(),
        status: select(PaymentStatus::ALL.to_vec()),
        method: text(),
        reference: option::of(text()),
        decline_code: option::of(text()),
        created_at: time(),
        ended_at: option::of(time()),
        cycle_end: option::of(time()),
        maxima: option::of(fields!(Maxima { reload: nanos(), spend: nanos() })),
    })
}

fn reversal() -> BoxedStrategy<Reversal> {
    fields!(Reversal {
        id: id().prop_map(ReversalId),
        payment_id: id().prop_map(PaymentId),
        kind: select(reversal::Kind::ALL.to_vec()),
        reference: option::of(text()),
        card: option::of(text()),
        amount: nanos(),
        state: select(State::ALL.to_vec()),
        created_at: time(),
        changed_at: option::of(time()),
        left_ms: number(),
    })
}

fn subscription() -> BoxedStrategy<Subscription> {
    fields!(Subscription {
        status: select(vec![Status::Active, Status::PastDue, Status::Ended]),
        at_end: select(vec![AtEnd::Renew, AtEnd::Cancel]),
        method: text(),
        started_at: time(),
        failures: any::<u32>(),
        retry_at: option::of(time()),
    })
}

fn automatic() -> BoxedStrategy<Automatic> {
    let switch = || select(vec![Switch::On, Switch::Off]);
    let settings = fields!(AutoSettings {
        reload: switch(),
        threshold: nanos(),
        amount: nanos(),
        monthly_max: nanos(),
        scale: switch(),
        monthly_spend: nanos(),
        method: option::of(text()),
        alerts: option::of(vec(nanos(), 0..3)),
    });
    let state = fields!(AutoState {
        begun: any::<u64>(),
        failures: any::<u32>(),
        retry_at: option::of(time()),
        full_month: option::of(number().prop_map(Month)),
        paused_at: option::of(time()),
        told: vec(nanos(), 0..3),
    });
    let window = fields!(SpendWindow {
        month: number().prop_map(Month),
        reload_reserved: nanos(),
        reload_settled: nanos(),
        scale_reserved: nanos(),
        scale_settled: nanos(),
        reload_max: nanos(),
        spend_max: nanos(),
    });
    fields!(Automatic { settings: settings, state: state, window: window })
}

fn event() -> BoxedStrategy<Event> {
    let datum = (text().prop_map(Into::into), text());
    fields!(Event { kind: select(EventKind::ALL.to_vec()), subject: text(), data: vec(datum, 0..3) })
}

fn notice() -> BoxedStrategy<Notice> {
    fields!(Notice { processor: text().prop_map(Into::into), id: text(), kind: text(), signed_at: time() })
}

fn proof() -> BoxedStrategy<Proof> {
    fields!(Proof {
        request_id: id().prop_map(RequestId),
        act: text().prop_map(Into::into),
        subject: text(),
        amount: option::of(nanos()),
        reason: option::of(text()),
    })
}

/// Resources belong to their transition's account.
fn of_account(mut transition: Transition) -> Transition {
    for resource in &mut transition.resources {
        match resource {
            Resource::KeyOpened(key) => key.account_id = transition.account_id,
            Resource::Card(card) => card.account_id = transition.account_id,
            Resource::Endpoint(endpoint) => endpoint.account_id = transition.account_id,
            Resource::Member(member) => member.account_id = transition.account_id,
            _ => {}
        }
    }
    transition
}

fn transition() -> impl Strategy<Value = Transition> {
    any_transition().prop_map(of_account)
}

fn any_transition() -> BoxedStrategy<Transition> {
    fields!(Transition {
        account_id: id().prop_map(AccountId),
        seq: any::<u64>(),
        at: time(),
        lines: vec(line(), 0..4),
        header: header(),
        grants: vec(grant(), 0..3),
        hold: option::of(hold()),
        ended: option::of(id().prop_map(RequestId)),
        usage: option::of(usage()),
        payments: vec(payment(), 0..3),
        reversals: vec(reversal(), 0..3),
        subscription: option::of(subscription()),
        automatic: option::of(automatic()),
        events: vec(event(), 0..3),
        notice: option::of(notice()),
        beyond: option::of((id().prop_map(KeyId), nanos())),
        proof: option::of(proof()),
        opened: option::of(text().prop_map(|email| Opened { email })),
        resources: vec(resource(), 0..4),
    })
}
