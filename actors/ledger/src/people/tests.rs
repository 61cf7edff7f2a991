//! People, links and sessions, on a ledger of its own.

use billing::{account::Header, entry::Transition, plan::Plan, resource::Resource};

use super::{
    identities::{StoredIdentity, Unlinked},
    links::Purpose,
    links::StoredLink,
    sessions::StoredSession,
    *,
};
use crate::tests::new_ledger;

const NOW: Timestamp = Timestamp(1_000_000);
const ADA: PersonId = PersonId(Uuid::from_u128(7));
const ACCOUNT: AccountId = AccountId(Uuid::from_u128(1));

fn link(hash: &str, email: &str, purpose: Purpose) -> StoredLink {
    let id = Uuid::from_u128(hash.bytes().fold(1, |sum, byte| sum * 256 + u128::from(byte)));
    StoredLink { hash: hash.into(), id, purpose, email: email.into(), created_at: NOW, expires_at: NOW.plus_ms(100) }
}

fn ada() -> StoredPerson {
    StoredPerson {
        id: ADA,
        email: "ada@example.com".into(),
        name: "Ada".into(),
        password: Some("$argon2id$".into()),
        verified_at: NOW,
        created_at: NOW,
        disabled_at: None,
    }
}

fn session(number: u128, at: Timestamp) -> StoredSession {
    StoredSession {
        id: Uuid::from_u128(number),
        person_id: ADA,
        account_id: None,
        hash: format!("hash-{number}"),
        previous: None,
        device: "a browser".into(),
        issuer: None,
        created_at: at,
        rotated_at: at,
        seen_at: at,
        ends_at: at.plus_ms(1_000),
    }
}

#[tokio::test]
async fn a_link_makes_one_person_once() {
    let (ledger, _folder) = new_ledger().await;
    ledger.add_link(&link("one", "ada@example.com", Purpose::SignUp)).await.unwrap();
    assert!(!ledger.add_person(&ada(), "another", NOW).await.unwrap());
    assert!(!ledger.add_person(&ada(), "one", NOW.plus_ms(100)).await.unwrap(), "it has ended");
    assert!(ledger.add_person(&ada(), "one", NOW).await.unwrap());
    assert!(!ledger.add_person(&ada(), "one", NOW).await.unwrap(), "it is used up");
    ledger.add_link(&link("two", "ada@example.com", Purpose::SignUp)).await.unwrap();
    let twin = StoredPerson { id: PersonId(Uuid::from_u128(8)), ..ada() };
    assert!(!ledger.add_person(&twin, "two", NOW).await.unwrap(), "the address is taken");
    assert!(ledger.link("two", NOW).await.unwrap().is_some(), "and the link is as it was");
    assert_eq!(ledger.person_by_email("ada@example.com").await.unwrap(), Some(ada()));
    assert_eq!(ledger.people(Some("ada@"), None, 10).await.unwrap(), [ada()]);
    assert!(ledger.people(Some("%"), None, 10).await.unwrap().is_empty());
    ledger.add_session(&session(1, NOW)).await.unwrap();
    ledger.forget_person(&ada()).await.unwrap();
    assert!(
        ledger.person(ADA).await.unwrap().is_none() && ledger.session(Uuid::from_u128(1), NOW).await.unwrap().is_none()
    );
    assert!(ledger.link("two", NOW).await.unwrap().is_none());
}

#[tokio::test]
async fn the_newest_link_of_a_kind_is_good() {
    let (ledger, _folder) = new_ledger().await;
    let invite = Purpose::Invite { account_id: ACCOUNT, role: Role::Billing, by: Some(ADA) };
    let elsewhere = Purpose::Invite { account_id: AccountId(Uuid::from_u128(2)), role: Role::Reader, by: None };
    for (hash, purpose) in
        [("a", Purpose::Reset), ("b", invite), ("c", elsewhere), ("d", Purpose::Reset), ("e", invite)]
    {
        ledger.add_link(&link(hash, "ada@example.com", purpose)).await.unwrap();
    }
    ledger.add_link(&link("f", "bob@example.com", Purpose::Reset)).await.unwrap();
    let mut good = Vec::new();
    for hash in ["a", "b", "c", "d", "e", "f"] {
        good.extend(ledger.link(hash, NOW).await.unwrap().map(|link| link.hash));
    }
    assert_eq!(good, ["c", "d", "e", "f"]);
    let open = ledger.invitations(ACCOUNT, NOW).await.unwrap();
    assert_eq!(open.iter().map(|link| (link.hash.as_str(), link.purpose)).collect::<Vec<_>>(), [("e", invite)]);
    assert!(!ledger.withdraw(AccountId(Uuid::from_u128(2)), open[0].id).await.unwrap(), "of another account");
    assert!(
        ledger.withdraw(ACCOUNT, open[0].id).await.unwrap() && !ledger.withdraw(ACCOUNT, open[0].id).await.unwrap()
    );
    ledger.add_link(&link("g", "ada@example.com", invite)).await.unwrap();
    ledger.withdraw_of(ACCOUNT, PersonId(Uuid::from_u128(8))).await.unwrap();
    assert!(ledger.link("g", NOW).await.unwrap().is_some(), "of another member");
    ledger.withdraw_of(ACCOUNT, ADA).await.unwrap();
    assert!(ledger.link("g", NOW).await.unwrap().is_none());
    assert!(ledger.use_link("c", NOW).await.unwrap() && !ledger.use_link("c", NOW).await.unwrap());
}

#[tokio::test]
async fn another_password_ends_all_sessions_but_the_own() {
    let (ledger, _folder) = new_ledger().await;
    for number in 1..=3 {
        ledger.add_session(&session(number, NOW)).await.unwrap();
    }
    ledger.add_link(&link("r", "ada@example.com", Purpose::Reset)).await.unwrap();
    let own = Some(Uuid::from_u128(2));
    assert!(!ledger.set_password(&ada(), "$new", Some("x"), own, NOW).await.unwrap());
    assert_eq!(ledger.sessions_of(ADA, NOW).await.unwrap().len(), 3, "nothing was done");
    assert!(ledger.set_password(&ada(), "$new", None, own, NOW).await.unwrap());
    let left: Vec<_> = ledger.sessions_of(ADA, NOW).await.unwrap().into_iter().map(|session| session.id).collect();
    assert_eq!(left, [Uuid::from_u128(2)]);
    assert!(ledger.link("r", NOW).await.unwrap().is_none(), "nor does an older link set one");
}

#[tokio::test]
async fn a_token_is_rotated_once_and_sessions_are_bounded() {
    let (ledger, _folder) = new_ledger().await;
    let first = session(1, NOW);
    ledger.add_session(&first).await.unwrap();
    let later = NOW.plus_ms(10);
    let rotate =
        async |new: &str| ledger.rotate_session(first.id, ("hash-1", later.plus_ms(60)), new, later).await.unwrap();
    assert!(rotate("two").await && !rotate("three").await, "of two at once, one");
    let found = ledger.session(first.id, later).await.unwrap().unwrap();
    let previous = Some(("hash-1".to_owned(), later.plus_ms(60)));
    assert_eq!((found.hash.as_str(), found.previous, found.rotated_at), ("two", previous, later));
    assert!(ledger.session(first.id, NOW.plus_ms(1_000)).await.unwrap().is_none(), "it has ended");
    ledger.turn_session(first.id, ACCOUNT).await.unwrap();
    let found = ledger.session(first.id, later).await.unwrap().unwrap();
    assert_eq!((found.account_id, found.rotated_at), (Some(ACCOUNT), Timestamp(0)));
    for number in 2..=u128::try_from(MOST).unwrap() + 1 {
        ledger.add_session(&session(number, later)).await.unwrap();
    }
    assert_eq!(ledger.sessions_of(ADA, later).await.unwrap().len(), usize::try_from(MOST).unwrap());
    assert!(ledger.session(first.id, later).await.unwrap().is_none(), "the oldest made room");
    ledger.add_session(&session(99, NOW.plus_ms(5_000))).await.unwrap();
    assert_eq!(ledger.sessions_of(ADA, NOW).await.unwrap().len(), 1, "those that have ended are forgotten");
    assert!(!ledger.end_session(PersonId(Uuid::from_u128(9)), Uuid::from_u128(99)).await.unwrap());
    assert!(ledger.end_session(ADA, Uuid::from_u128(99)).await.unwrap());
}

const MOST: i64 = sessions::MOST_SESSIONS;

#[tokio::test]
async fn members_are_made_from_the_log() {
    let (ledger, _folder) = new_ledger().await;
    ledger.create_account(ACCOUNT, "a@b.org", Plan::Free, NOW).await.unwrap();
    let member = |person, role| Membership {
        account_id: ACCOUNT,
        person_id: PersonId(Uuid::from_u128(person)),
        role,
        since: NOW,
    };
    let header = Header::new(Plan::Free, NOW);
    let append = async |resources: Vec<Resource>| {
        let unchanged = Transition::unchanged(ACCOUNT, 0, NOW, header.clone());
        ledger.append_transition(Transition { resources, ..unchanged }, NOW).await.unwrap();
    };
    append(vec![Resource::Member(member(7, Role::Owner)), Resource::Member(member(8, Role::Reader))]).await;
    assert_eq!(ledger.members(ACCOUNT).await.unwrap(), [member(7, Role::Owner), member(8, Role::Reader)]);
    ledger.add_link(&link("one", "ada@example.com", Purpose::SignUp)).await.unwrap();
    assert!(ledger.add_person(&ada(), "one", NOW).await.unwrap());
    let people = [(member(7, Role::Owner), Some(ada())), (member(8, Role::Reader), None)];
    assert_eq!(ledger.people_of(ACCOUNT).await.unwrap(), people);
    append(vec![Resource::Member(member(8, Role::Owner)), Resource::MemberLeft(ADA)]).await;
    assert_eq!(ledger.members(ACCOUNT).await.unwrap(), [member(8, Role::Owner)]);
    let of = ledger.memberships(PersonId(Uuid::from_u128(8))).await.unwrap();
    assert_eq!(of, [(member(8, Role::Owner), "a@b.org".to_owned())]);
    assert!(ledger.memberships(ADA).await.unwrap().is_empty());
}

fn identity(number: u128, issuer: &str, subject: &str) -> StoredIdentity {
    StoredIdentity {
        id: Uuid::from_u128(number),
        person_id: ADA,
        issuer: issuer.into(),
        subject: subject.into(),
        email: Some("ada@work.example".into()),
        linked_at: NOW,
        used_at: NOW,
    }
}

#[tokio::test]
async fn an_identity_is_one_persons_and_the_last_way_in_stays() {
    let (ledger, _folder) = new_ledger().await;
    let without = StoredPerson { password: None, ..ada() };
    let (work, home) = (identity(1, "https://work", "a"), identity(2, "https://home", "a"));
    assert!(ledger.add_person_by_identity(&without, &work, None, NOW).await.unwrap());
    let twin = StoredPerson { id: PersonId(Uuid::from_u128(8)), ..ada() };
    let of_twin = StoredIdentity { id: Uuid::from_u128(3), person_id: twin.id, ..home.clone() };
    assert!(!ledger.add_person_by_identity(&twin, &of_twin, None, NOW).await.unwrap(), "the address is taken");
    assert!(ledger.identity("https://home", "a").await.unwrap().is_none(), "nothing of it was done");
    let other = StoredPerson { email: "bob@example.com".into(), ..twin };
    let stolen = StoredIdentity { issuer: "https://work".into(), ..of_twin };
    assert!(!ledger.add_person_by_identity(&other, &stolen, None, NOW).await.unwrap(), "the identity is taken");
    assert!(ledger.person(other.id).await.unwrap().is_none());
    assert!(!ledger.add_person_by_identity(&other, &home, Some("no link"), NOW).await.unwrap());
    assert!(ledger.link_identity(&home).await.unwrap() && !ledger.link_identity(&home).await.unwrap());
    assert!(!ledger.link_identity(&stolen).await.unwrap(), "it is another's");
    assert_eq!(ledger.identity("https://work", "a").await.unwrap(), Some(work.clone()));
    ledger.see_identity(work.id, NOW.plus_ms(5)).await.unwrap();
    let of_ada = ledger.identities(ADA).await.unwrap();
    assert_eq!(
        of_ada.iter().map(|it| (it.id, it.used_at)).collect::<Vec<_>>(),
        [(work.id, NOW.plus_ms(5)), (home.id, NOW)]
    );
    // Of these issuers alone somebody can come in.
    let (both, one) = (["https://work", "https://home"], ["https://work"]);
    let unlink = async |id: Uuid, passwords: bool, issuers: &[&str]| {
        ledger.unlink_identity(ADA, id, passwords, issuers).await.unwrap()
    };
    assert_eq!(unlink(work.id, true, &one).await, Unlinked::LastWayIn, "the other issuer is gone");
    assert_eq!(unlink(Uuid::from_u128(9), true, &both).await, Unlinked::None);
    assert_eq!(unlink(work.id, true, &both).await, Unlinked::Done);
    assert_eq!(unlink(home.id, true, &both).await, Unlinked::LastWayIn);
    assert!(ledger.set_password(&without, "$new", None, None, NOW).await.unwrap());
    assert_eq!(unlink(home.id, false, &both).await, Unlinked::LastWayIn, "passwords open nothing");
    assert_eq!(unlink(home.id, true, &both).await, Unlinked::Done);
    assert!(ledger.link_identity(&home).await.unwrap());
    ledger.forget_person(&without).await.unwrap();
    assert!(ledger.identity("https://home", "a").await.unwrap().is_none());
}
