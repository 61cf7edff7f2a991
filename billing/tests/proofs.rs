//! A request's proof is in the same transition as its effect, or alone if nothing changes. A refusal leaves no proof.

use billing::{
    Nanos, Timestamp,
    account::{Account, Header, Stored},
    command::{Command, Refusal, Reply},
    decide::{decide, open},
    entry::{Opened, Proof},
    ids::{AccountId, GrantId, RequestId},
    plan::Plan,
};
use uuid::Uuid;

const NOW: Timestamp = Timestamp(1_700_000_000_000);

fn proven(request: u128, command: Command) -> Command {
    Command::Proven { proof: proof(request), command: Box::new(command) }
}

fn proof(request: u128) -> Proof {
    let reason = Some("mistake".to_owned());
    Proof {
        request_id: RequestId(Uuid::from_u128(request)),
        act: "void_grant".into(),
        subject: "it".into(),
        amount: None,
        reason,
    }
}

#[test]
fn a_proof_is_in_the_transition_of_what_it_proves() {
    let (mut account, opened) = open(AccountId(Uuid::from_u128(1)), "ada@example.com".into(), Plan::Payg, NOW);
    let grant_id = opened.transition.unwrap().grants[0].id;
    let void = |amount| proven(9, Command::VoidGrant { grant_id, amount });
    let voided = decide(&mut account, void(Some(Nanos::dollars(2))), NOW).transition.unwrap();
    assert_eq!((voided.proof, voided.grants[0].voided), (Some(proof(9)), Nanos::dollars(2)));
    let again = decide(&mut account, void(Some(Nanos::dollars(2))), NOW);
    assert_eq!((again.answer.result, again.transition), (Ok(Reply::Done), None), "one request is carried out once");
}

#[test]
fn what_changes_nothing_else_is_proved_and_what_is_refused_is_not() {
    let mut account = Account::load(AccountId(Uuid::from_u128(1)), Stored::new(Header::new(Plan::Payg, NOW)));
    decide(&mut account, Command::Sweep, NOW);
    let seq = account.header.seq;
    let nothing = decide(&mut account, proven(9, Command::Sweep), NOW).transition.unwrap();
    assert_eq!((nothing.proof, nothing.seq), (Some(proof(9)), seq), "it takes no place in the journal");
    let grant_id = GrantId(Uuid::from_u128(2));
    for attempt in ["the first", "the second"] {
        let refused = decide(&mut account, proven(10, Command::VoidGrant { grant_id, amount: None }), NOW);
        assert_eq!(refused.answer.result, Err(Refusal::NoGrant(grant_id)), "{attempt}");
        assert_eq!(refused.transition, None, "{attempt}");
    }
}

#[test]
fn an_account_is_opened_with_its_plan_and_its_first_credits() {
    for (plan, credits) in [(Plan::Free, Nanos::dollars(1)), (Plan::Payg, Nanos::dollars(5))] {
        let (account, decision) = open(AccountId(Uuid::from_u128(1)), "ada@example.com".into(), plan, NOW);
        let transition = decision.transition.unwrap();
        assert_eq!(transition.opened, Some(Opened { email: "ada@example.com".into() }));
        assert_eq!((transition.header.plan, transition.grants[0].available), (plan, credits));
        assert_eq!(transition.header, account.header);
        assert_eq!(account.is_subscribed(NOW), plan == Plan::Payg);
        account.assert_sound();
    }
}
