//! A card processor's event is written in the same transition as its effect. Without an effect it is not written.

use billing::{
    Nanos, Timestamp,
    account::{Account, Header, Stored},
    command::{Command, Refusal},
    decide::decide,
    entry::Notice,
    ids::{AccountId, GrantId, PaymentId},
    payment::{Payment, Purpose},
    plan::Plan,
};
use uuid::Uuid;

const NOW: Timestamp = Timestamp(1_700_000_000_000);

fn notice() -> Notice {
    Notice { processor: "stripe".into(), id: "evt_1".into(), kind: "payment_intent.succeeded".into(), signed_at: NOW }
}

#[test]
fn a_notice_is_kept_with_what_it_changed_and_only_then() {
    let stored = Stored::new(Header::new(Plan::Payg, NOW));
    let mut account = Account::load(AccountId(Uuid::from_u128(1)), stored);
    let payment_id = PaymentId(Uuid::from_u128(2));
    let payment = Payment::new(payment_id, Purpose::Purchase, Nanos::dollars(10), "pm_1".into(), NOW);
    decide(&mut account, Command::BeginPayment(payment), NOW);
    let told = || {
        let succeeded =
            Command::PaymentSucceeded { payment_id, grant_id: GrantId(Uuid::from_u128(3)), reference: None };
        Command::Notified { notice: notice(), command: Box::new(succeeded) }
    };
    let first = decide(&mut account, told(), NOW);
    let transition = first.transition.unwrap();
    assert_eq!(transition.notice, Some(notice()));
    assert_eq!(transition.grants.len(), 1);
    let again = decide(&mut account, told(), NOW);
    assert_eq!(again.answer.result, Err(Refusal::NoPayment(payment_id)));
    assert_eq!(again.transition, None, "told twice, it changes nothing");
}
