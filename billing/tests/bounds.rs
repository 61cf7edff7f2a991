//! The ends of the ledger's range. An account that holds the most it can refuses more with a reason, before anything
//! overflows. No credits last beyond the last year with four digits.

use billing::{
    Nanos, Timestamp,
    account::{Account, Header, MOST, Stored},
    command::{Command, Fund, Refusal, Reply},
    decide::decide,
    grant::{Grant, Source, Taken},
    ids::{AccountId, GrantId, PaymentId},
    payment::{Payment, Purpose},
    plan::Plan,
    time::FOUR_WEEKS_MS,
};
use uuid::Uuid;

const NOW: Timestamp = Timestamp(1_795_512_896_789);
const MILLION: Nanos = Nanos::dollars(1_000_000);

/// An account with these credits, bought or given.
fn with(available: Nanos, paid: Nanos) -> Account {
    let header = Header { subscribed_until: Some(NOW.plus_ms(FOUR_WEEKS_MS)), ..Header::new(Plan::Payg, NOW) };
    let grant = Grant {
        id: GrantId(Uuid::from_u128(1)),
        source: Source::Promo,
        source_key: "1".into(),
        paid,
        created_at: NOW,
        expires_at: NOW.plus_ms(FOUR_WEEKS_MS),
        funded: available,
        available,
        held: Nanos::ZERO,
        spent: Nanos::ZERO,
        expired: Nanos::ZERO,
        voided: Nanos::ZERO,
        recall: Nanos::ZERO,
        taken: Taken::default(),
        notices: 0,
    };
    Account::load(AccountId(Uuid::from_u128(1)), Stored { grants: vec![grant], ..Stored::new(header) })
}

fn say(account: &mut Account, command: Command) -> Result<Reply, Refusal> {
    let answer = decide(account, command, NOW).answer;
    account.assert_sound();
    answer.result
}

fn fund(account: &mut Account, number: u128, expires_at: Option<Timestamp>) -> Result<Reply, Refusal> {
    let fund = Fund {
        grant_id: GrantId(Uuid::from_u128(number)),
        source: Source::Goodwill,
        source_key: number.to_string(),
        amount: MILLION,
        paid: Nanos::ZERO,
        expires_at,
        subscribed_until: None,
    };
    say(account, Command::Fund(fund))
}

fn buy(account: &mut Account, number: u128) -> Result<Reply, Refusal> {
    let payment = Payment::new(PaymentId(Uuid::from_u128(number)), Purpose::Purchase, MILLION, "card".to_owned(), NOW);
    say(account, Command::BeginPayment(payment))
}

fn is_about(answer: &Result<Reply, Refusal>, wanted: &str) -> bool {
    matches!(answer, Err(Refusal::BadAmount { field, .. }) if field == wanted)
}

#[test]
fn an_account_takes_all_it_can_hold_and_refuses_one_dollar_more() {
    let mut account = with(MOST - MILLION - MILLION, Nanos::ZERO);
    assert_eq!(fund(&mut account, 2, None), Ok(Reply::Done));
    assert_eq!(buy(&mut account, 3), Ok(Reply::Done));
    assert!(is_about(&fund(&mut account, 4, None), "amount"), "what is being paid for has its room");
    assert!(is_about(&buy(&mut account, 5), "amount"));
    let paid = Command::PaymentSucceeded {
        payment_id: PaymentId(Uuid::from_u128(3)),
        grant_id: GrantId(Uuid::from_u128(3)),
        reference: None,
    };
    assert_eq!(say(&mut account, paid), Ok(Reply::Done));
    assert_eq!(account.balance(NOW).available, MOST);
    assert!(is_about(&fund(&mut account, 6, None), "amount"));
    // Credits expire, and there is room again.
    let later = NOW.plus_ms(FOUR_WEEKS_MS);
    decide(&mut account, Command::Sweep, later);
    account.assert_sound();
    assert!(account.balance(later).available < MILLION);
}

#[test]
fn what_was_bought_in_four_weeks_is_bounded_though_it_is_spent() {
    let mut account = with(MILLION, MOST);
    assert_eq!(fund(&mut account, 2, None), Ok(Reply::Done));
    assert!(is_about(&buy(&mut account, 3), "amount"));
}

#[test]
fn credits_end_in_a_year_that_can_be_written() {
    let mut account = with(MILLION, Nanos::ZERO);
    assert_eq!(fund(&mut account, 2, Some(Timestamp::LAST)), Ok(Reply::Done));
    for at in [Timestamp::LAST.plus_ms(1), Timestamp(i64::MAX)] {
        assert!(is_about(&fund(&mut account, 3, Some(at)), "expires_at"), "{at}");
    }
    assert!(is_about(&fund(&mut account, 3, Some(NOW)), "expires_at"));
}
