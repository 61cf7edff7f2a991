//! Letters about events: what a member is told of, the link that stops it, and the letters themselves. An event waits beside the
//! log until its letters do, at the node that owns its account; the events of a minute are told in one letter.

mod words;

use std::{collections::BTreeMap, panic::AssertUnwindSafe, time::Duration};

use billing::{
    event::EventKind,
    ids::{AccountId, KeyId, PersonId},
    key::MOST_KEYS,
    member::Role,
    notice::Choice,
};
use futures::{FutureExt as _, StreamExt as _};
use ledger::notices::Waiting;
use uuid::Uuid;

use self::words::Names;
use super::{
    super::{
        Service, ServiceError,
        keys::{check_once, check_own},
    },
    Person, letters,
    members::{self, Member},
};
use crate::mail::Letter;

/// How often events that wait are looked for.
const EVERY: Duration = Duration::from_secs(1);
/// The events that are read at a look.
const PAGE: u64 = 1_000;
/// The accounts whose letters are written at once.
const AT_ONCE: usize = 4;
/// The events that a letter names; the others are counted.
const NAMED: usize = 50;
/// The digits of an id, and of what signs a link.
const ID: usize = 32;
const SIGNED: usize = 64;

/// What a member is told of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chosen {
    /// The member's role.
    pub role: Role,
    /// What is told.
    pub choice: Choice,
    /// Whether the member has chosen it; else it is the role's.
    pub is_own: bool,
}

/// What a member of an account is told of.
///
/// # Errors
///
/// The person is no member ([`NotFound`](ServiceError::NotFound)), or the ledger can't be read.
pub async fn look(service: &Service, account: AccountId, person: PersonId) -> Result<Chosen, ServiceError> {
    let there = service.ledger().members(account).await?;
    let member = there.into_iter().find(|member| member.person_id == person);
    let role = member.ok_or(ServiceError::NotFound("the member"))?.role;
    let own = service.ledger().notice_choices(account).await?.remove(&person);
    let is_own = own.is_some();
    Ok(Chosen { role, choice: own.unwrap_or_else(|| Choice::usual(role)), is_own })
}

/// Has a member told of this from now on; of what the role is told of, where nothing is chosen.
///
/// # Errors
///
/// A key is none of the account's, something is there twice, or there are too many ([`Invalid`](ServiceError::Invalid)), the person is no member
/// ([`NotFound`](ServiceError::NotFound)), or the ledger can't be written.
pub async fn choose(
    service: &Service,
    account: AccountId,
    person: PersonId,
    choice: Option<&Choice>,
) -> Result<Chosen, ServiceError> {
    let kinds = choice.map(|choice| choice.kinds.as_slice()).unwrap_or_default();
    let keys = choice.and_then(|choice| choice.keys.as_deref()).unwrap_or_default();
    if keys.len() as u64 > MOST_KEYS {
        return Err(ServiceError::invalid("keys", format!("must have at most {MOST_KEYS} keys")));
    }
    // What is kept for a member is no longer than what there is to choose from.
    check_once("events", kinds)?;
    check_own(service, account, "keys", keys).await?;
    look(service, account, person).await?;
    service.ledger().choose_notices(account, person, choice).await?;
    look(service, account, person).await
}

/// What a link that stops letters says, if it is ours: the account and the person.
fn read_token(service: &Service, token: &str) -> Option<(AccountId, PersonId)> {
    let (account, rest) = token.split_at_checked(ID)?;
    let (person, signed) = rest.split_at_checked(ID)?;
    let (account, person) = (AccountId(Uuid::try_parse(account).ok()?), PersonId(Uuid::try_parse(person).ok()?));
    let is_ours = signed.len() == SIGNED
        && blake3::Hash::from_hex(signed).is_ok_and(|signed| signed == signature(service, account, person));
    is_ours.then_some((account, person))
}

/// This type compares in constant time.
fn signature(service: &Service, account: AccountId, person: PersonId) -> blake3::Hash {
    service.people.signer.hash(&[b"unsubscribe", account.0.as_bytes(), person.0.as_bytes()])
}

fn link(service: &Service, account: AccountId, person: PersonId) -> String {
    let signed = signature(service, account, person).to_hex();
    service.people.link_to("unsubscribe", &format!("{}{}{signed}", account.0.simple(), person.0.simple()))
}

/// The address of the account whose letters a link stops. Nothing is stopped: programs look at links in mail too.
///
/// # Errors
///
/// The link is not ours ([`NotFound`](ServiceError::NotFound)), or the ledger can't be read.
pub async fn unsubscribes(service: &Service, token: &str) -> Result<String, ServiceError> {
    let gone = || ServiceError::NotFound("this link");
    let (account, _) = read_token(service, token).ok_or_else(gone)?;
    let found = service.ledger().account(account).await?;
    Ok(found.ok_or_else(gone)?.email)
}

/// Has a person get no more letters about an account's events, by a link. Doing it again changes nothing. Returns the address of
/// the account.
///
/// # Errors
///
/// As [`unsubscribes`], or the ledger can't be written.
pub async fn unsubscribe(service: &Service, token: &str) -> Result<String, ServiceError> {
    let email = unsubscribes(service, token).await?;
    let (account, person) = read_token(service, token).ok_or(ServiceError::NotFound("this link"))?;
    service.ledger().choose_notices(account, person, Some(&Choice::NOTHING)).await?;
    Ok(email)
}

/// Writes the letters that are due, for as long as the process runs.
pub async fn follow(service: &Service) {
    loop {
        tokio::time::sleep(EVERY).await;
        // Whatever panics is no reason to tell nobody of anything any more.
        match AssertUnwindSafe(tell_due(service)).catch_unwind().await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(%error, "letters about events could not be written: they are tried again"),
            Err(_) => tracing::error!("letters about events: a panic; they are tried again"),
        }
    }
}

/// One account's letters that can't be written keep no other's back.
async fn tell_due(service: &Service) -> Result<(), ServiceError> {
    let mut by_account: BTreeMap<AccountId, Vec<Waiting>> = BTreeMap::new();
    for waiting in service.ledger().due_notices(service.now(), PAGE).await? {
        by_account.entry(waiting.account_id).or_default().push(waiting);
    }
    let told = by_account.into_iter().map(async |(account, events)| tell(service, account, &events).await);
    let told: Vec<_> = futures::stream::iter(told).buffer_unordered(AT_ONCE).collect().await;
    told.into_iter().collect()
}

/// Writes to members of an account what they want to be told of some events.
async fn tell(service: &Service, account: AccountId, events: &[Waiting]) -> Result<(), ServiceError> {
    let choices = service.ledger().notice_choices(account).await?;
    let members = members::list(service, account).await?;
    let mut readers = Vec::new();
    for Member { membership, person } in members {
        let Some(person) = person.filter(|person| person.disabled_at.is_none()) else { continue };
        let usual = || Choice::usual(membership.role);
        let choice = choices.get(&person.id).cloned().unwrap_or_else(usual);
        let wanted: Vec<_> = events.iter().filter(|event| choice.wants(event.kind, key_of(event))).collect();
        if !wanted.is_empty() {
            readers.push((person, wanted));
        }
    }
    let names = if readers.is_empty() { Names::default() } else { names(service, account, events).await? };
    let letters = readers.iter().map(|(person, wanted)| letter(service, account, person, wanted, &names));
    let letters: Vec<Letter> = letters.collect();
    let ids: Vec<Uuid> = events.iter().map(|event| event.event_id).collect();
    letters::post_notices(service, (account, &ids), &letters).await
}

/// The key that an event is about.
fn key_of(event: &Waiting) -> Option<KeyId> {
    event.data.get("key_id").and_then(|id| Uuid::try_parse(id).ok()).map(KeyId)
}

/// The names of what events are about.
async fn names(service: &Service, account: AccountId, events: &[Waiting]) -> Result<Names, ServiceError> {
    let found = service.ledger().account(account).await?;
    let mut names = Names { account: found.map(|found| found.email).unwrap_or_default(), ..Names::default() };
    for event in events {
        if let Some(id) = key_of(event)
            && let Some(key) = service.ledger().key_of(account, id).await?
        {
            names.of.insert(id.to_string(), key.name);
        }
        for field in ["person_id", "by"] {
            if let Some(text) = event.data.get(field) {
                names.of.insert(text.clone(), members::named(service, text).await?);
            }
        }
    }
    Ok(names)
}

fn letter(service: &Service, account: AccountId, to: &Person, events: &[&Waiting], names: &Names) -> Letter {
    let stop = link(service, account, to.id);
    let subject = match events {
        [event] => words::subject(event.kind, &event.data),
        several => format!("{} events of your account", several.len()),
    };
    let named = events.iter().take(NAMED);
    let told =
        named.map(|event| format!("{}\n  {}\n", words::minute(&event.at.to_string()), words::says(event, names)));
    let told = told.collect::<Vec<_>>().join("\n");
    let more = events.len().saturating_sub(NAMED);
    let more = if more > 0 { format!("\nand {more} more.\n") } else { String::new() };
    let text = format!(
        "Of the account {}:\n\n{told}{more}\nAll events: {}\nWhat you are told of: {}\nNo more letters about this account: {stop}\n",
        names.account,
        service.people.page("events"),
        service.people.page("notifications"),
    );
    Letter { to: to.email.clone(), subject, text, unsubscribe: Some(stop) }
}

/// A kind of event in words, as people choose among them.
pub fn describe(kind: EventKind) -> &'static str {
    words::describe(kind)
}
