//! The time of a decision on an account with twenty live grants: `cargo bench -p billing`.

#![expect(clippy::unwrap_used, reason = "a benchmark that cannot go on has failed")]

use std::hint::black_box;

use billing::{
    Nanos, Timestamp,
    account::{Account, Header, Stored},
    command::{Admit, Command, Fund},
    decide::decide,
    entry::{Ending, UsageRecord},
    grant::Source,
    hold::{HoldRequest, Work},
    ids::{AccountId, GrantId, RequestId},
    key::Names,
    plan::Plan,
    price::{Cost, Price},
    quantity::Quantities,
    time::FOUR_WEEKS_MS,
};
use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use rust_decimal::Decimal;
use uuid::Uuid;

const NOW: Timestamp = Timestamp(1_790_000_000_000);
const GRANTS: u128 = 20;
/// One dollar for each grant.
const AMOUNT: Nanos = Nanos::new(1_000_000_000);

fn account() -> Account {
    let id = AccountId(Uuid::from_u128(1));
    let mut account = Account::load(id, Stored::new(Header::new(Plan::Payg, NOW)));
    for number in 0..GRANTS {
        let fund = Fund {
            grant_id: GrantId(Uuid::from_u128(number)),
            source: Source::Promo,
            source_key: number.to_string(),
            amount: AMOUNT,
            paid: Nanos::ZERO,
            expires_at: None,
            subscribed_until: Some(NOW.plus_ms(FOUR_WEEKS_MS)),
        };
        assert!(decide(&mut account, Command::Fund(fund), NOW).answer.result.is_ok());
    }
    account
}

/// A request with this worst case.
fn admit(most: Nanos) -> Command {
    Command::Admit(Admit {
        request_id: RequestId(Uuid::from_u128(7)),
        key_id: None,
        model: "gpt-4o-mini".into(),
        provider: "openai".into(),
        price_version: 1,
        work: Work::Closed,
        hold: HoldRequest { minimum: most, expected: most, worst_case: most },
        output: None,
        auto_scale: None,
        names: Names::default(),
        session: None,
    })
}

fn settle(cost: Nanos) -> Command {
    Command::Settle(UsageRecord {
        request_id: RequestId(Uuid::from_u128(7)),
        key_id: None,
        model: "gpt-4o-mini".into(),
        provider: "openai".into(),
        ending: Ending::Completed,
        parts: Price::nothing().parts(&Quantities::plain(12, 9), Decimal::ZERO),
        estimated: false,
        compute_ms: 0,
        billed_seconds: 0,
        cost: Cost::from_total(cost),
        charged: cost,
        price_version: 1,
        started_at: NOW,
        ended_at: NOW,
        attempts: Vec::new(),
        session: None,
        timings: None,
    })
}

/// Measures one command. The account is copied and dropped outside the measurement.
fn measure(criterion: &mut Criterion, name: &str, account: &Account, command: &Command) {
    let mut copy = account.clone();
    let answer = decide(&mut copy, command.clone(), NOW).answer;
    assert!(answer.result.is_ok(), "{name}: {answer:?}");
    criterion.bench_function(name, |bencher| {
        bencher.iter_batched(
            || (account.clone(), command.clone()),
            |(mut account, command)| {
                let decision = decide(black_box(&mut account), command, NOW);
                (account, decision)
            },
            BatchSize::SmallInput,
        );
    });
}

fn decisions(criterion: &mut Criterion) {
    let fresh = account();
    let small = Nanos::new(100_000);
    measure(criterion, "admit, one grant drawn of 20", &fresh, &admit(small));
    let mut admitted = fresh.clone();
    decide(&mut admitted, admit(small), NOW);
    measure(criterion, "settle, one grant drawn of 20", &admitted, &settle(Nanos::new(60_000)));
    let all = AMOUNT.times(i64::try_from(GRANTS).unwrap());
    measure(criterion, "admit, all 20 grants drawn", &fresh, &admit(all));
    measure(criterion, "sweep, nothing due", &fresh, &Command::Sweep);
}

criterion_group!(benches, decisions);
criterion_main!(benches);
