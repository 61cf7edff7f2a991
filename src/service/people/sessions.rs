//! Sessions of people: begun by a password or an issuer's word, each with a token of its own, which is rotated. A token that was rotated away is good
//! for a moment, for requests on their way; shown later it was stolen, or its successor was, and the session ends.

use billing::{
    Timestamp,
    ids::{AccountId, PersonId},
    member::Membership,
    time::DAY_MS,
};
use ledger::people::sessions::StoredSession;
pub use ledger::people::sessions::{EndedSession, MOST_ENDED};
use uuid::Uuid;

use super::{
    super::{Service, ServiceError},
    Person, check_name, check_password, joining, new_token, token_hash,
};
use crate::email;

/// How long a session lasts that is not used.
const IDLE_MS: i64 = 12 * 60 * 60 * 1_000;
/// How long a session lasts, however much it is used.
pub const LASTS_MS: i64 = 14 * DAY_MS;
/// How old a token is when it is rotated.
const ROTATED_MS: i64 = 60 * 60 * 1_000;
/// How long a token that was rotated away is good.
const GRACE_MS: i64 = 60 * 1_000;
/// How exactly it is known when a session was last used.
const SEEN_MS: i64 = 5 * 60 * 1_000;
/// The most characters of what a browser calls itself.
const LONGEST_DEVICE: usize = 200;

/// A token to give to a browser.
#[derive(Clone)]
pub struct Begun {
    /// The session's id.
    pub id: Uuid,
    /// The token, which is shown nowhere else.
    pub token: String,
}

/// A session that is good.
#[derive(Debug, Clone)]
pub struct Open {
    /// The session.
    pub session: StoredSession,
    /// The person.
    pub person: Person,
    /// The account that the person looks at, with the role in it, and its address; none for a member of no account.
    pub seat: Option<(Membership, String)>,
}

impl Open {
    /// Whether the token should be rotated.
    pub fn is_old(&self, now: Timestamp) -> bool {
        now.ms_since(self.session.rotated_at) >= ROTATED_MS
    }
}

/// Signs a person in. None where the address or the password is wrong, or an operator has turned the person away: which of
/// them is not told, nor can it be told by the time that the answer takes.
///
/// # Errors
///
/// Passwords open nothing here ([`Conflict`](ServiceError::Conflict)), too many sign in at once
/// ([`Overloaded`](ServiceError::Overloaded)), or the ledger can't be reached.
pub async fn sign_in(
    service: &Service,
    email: &str,
    password: &str,
    device: &str,
) -> Result<Option<Begun>, ServiceError> {
    service.people.check_passwords()?;
    let found = match email::canonical(email) {
        Ok(email) => service.ledger().person_by_email(&email).await?,
        Err(_) => None,
    };
    let stored = found.as_ref().and_then(|person| person.password.as_deref());
    let is_right = service.people.passwords.is_right(password, stored).await?;
    match found {
        Some(person) if is_right && person.disabled_at.is_none() => begin(service, person.id, device).await.map(Some),
        _ => Ok(None),
    }
}

/// Begins a session of a person who has proved to be one.
///
/// # Errors
///
/// The ledger can't be written just now.
pub async fn begin(service: &Service, person: PersonId, device: &str) -> Result<Begun, ServiceError> {
    begin_by(service, person, None, device).await
}

/// The same, by the word of an issuer of this name.
pub(super) async fn begin_by(
    service: &Service,
    person: PersonId,
    issuer: Option<&str>,
    device: &str,
) -> Result<Begun, ServiceError> {
    let (id, token, now) = (Uuid::now_v7(), new_token(), service.now());
    let device: String = device.chars().filter(|letter| !letter.is_control()).take(LONGEST_DEVICE).collect();
    let new = StoredSession {
        id,
        person_id: person,
        account_id: None,
        hash: token_hash(&token),
        previous: None,
        device,
        issuer: issuer.map(str::to_owned),
        created_at: now,
        rotated_at: now,
        seen_at: now,
        ends_at: now.plus_ms(LASTS_MS),
    };
    service.ledger().add_session(&new).await?;
    Ok(Begun { id, token })
}

/// Opens a session by its token; none where it is not good.
///
/// # Errors
///
/// The ledger can't be reached just now.
pub async fn open(service: &Service, id: Uuid, token: &str) -> Result<Option<Open>, ServiceError> {
    let now = service.now();
    let Some(session) = service.ledger().session(id, now).await? else { return Ok(None) };
    let shown = blake3::hash(token.as_bytes());
    // This type compares in constant time.
    let is = |hash: &str| blake3::Hash::from_hex(hash).is_ok_and(|hash| hash == shown);
    if !is(&session.hash) {
        match &session.previous {
            Some((hash, until)) if is(hash) && now < *until => {}
            Some((hash, _)) if is(hash) => {
                tracing::warn!(person.id = %session.person_id, "a token that was rotated away was shown again: its session ends");
                service.ledger().end_session(session.person_id, id).await?;
                return Ok(None);
            }
            _ => return Ok(None),
        }
    }
    let Some(open) = look(service, session).await? else { return Ok(None) };
    if now.ms_since(open.session.seen_at) >= SEEN_MS {
        service.ledger().see_session(id, now).await?;
    }
    Ok(Some(open))
}

/// A session that was opened before, looking at this account; none where it is good no more.
///
/// # Errors
///
/// The ledger can't be read just now.
pub async fn still(service: &Service, id: Uuid, account: AccountId) -> Result<Option<Open>, ServiceError> {
    let Some(session) = service.ledger().session(id, service.now()).await? else { return Ok(None) };
    let session = StoredSession { account_id: Some(account), ..session };
    let open = look(service, session).await?;
    Ok(open.filter(|open| open.seat.as_ref().is_some_and(|(member, _)| member.account_id == account)))
}

async fn look(service: &Service, session: StoredSession) -> Result<Option<Open>, ServiceError> {
    let ledger = service.ledger();
    if service.now().ms_since(session.seen_at) >= IDLE_MS {
        ledger.end_session(session.person_id, session.id).await?;
        return Ok(None);
    }
    let person = ledger.person(session.person_id).await?.filter(|person| person.disabled_at.is_none());
    let Some(person) = person else { return Ok(None) };
    let mut seats = ledger.memberships(person.id).await?;
    let chosen = seats.iter().position(|(member, _)| Some(member.account_id) == session.account_id).unwrap_or(0);
    let seat = (chosen < seats.len()).then(|| seats.swap_remove(chosen));
    Ok(Some(Open { session, person, seat }))
}

/// Rotates the token of a session that was opened by it. None where another request has just done it.
///
/// # Errors
///
/// The ledger can't be written just now.
pub async fn rotate(service: &Service, session: &StoredSession) -> Result<Option<Begun>, ServiceError> {
    let (token, now) = (new_token(), service.now());
    let old = (session.hash.as_str(), now.plus_ms(GRACE_MS));
    let is_done = service.ledger().rotate_session(session.id, old, &token_hash(&token), now).await?;
    Ok(is_done.then_some(Begun { id: session.id, token }))
}

/// Ends a session of a person.
///
/// # Errors
///
/// The person has no such session ([`NotFound`](ServiceError::NotFound)), or the ledger can't be written.
pub async fn end(service: &Service, person: PersonId, id: Uuid) -> Result<(), ServiceError> {
    let is_there = service.ledger().end_session(person, id).await?;
    is_there.then_some(()).ok_or(ServiceError::NotFound("a session with that id"))
}

/// Ends all sessions of a person.
///
/// # Errors
///
/// The ledger can't be written just now.
pub async fn end_all(service: &Service, person: PersonId) -> Result<(), ServiceError> {
    Ok(service.ledger().end_sessions_of(person, None).await?)
}

/// Notes that a session has ended of which nothing is stored.
///
/// # Errors
///
/// The ledger can't be written just now.
pub async fn note_ended(service: &Service, ended: &EndedSession) -> Result<(), ServiceError> {
    Ok(service.ledger().note_ended_session(ended).await?)
}

/// The sessions of which nothing was stored, and that have ended since.
///
/// # Errors
///
/// The ledger can't be read just now.
pub async fn ended_since(service: &Service, since: Timestamp) -> Result<Vec<EndedSession>, ServiceError> {
    Ok(service.ledger().ended_sessions(since, service.now()).await?)
}

/// A person's sessions, the last used first.
///
/// # Errors
///
/// The ledger can't be read just now.
pub async fn list(service: &Service, person: PersonId) -> Result<Vec<StoredSession>, ServiceError> {
    let now = service.now();
    let mut sessions = service.ledger().sessions_of(person, now).await?;
    sessions.retain(|session| now.ms_since(session.seen_at) < IDLE_MS);
    Ok(sessions)
}

/// Has a session look at another account of its person.
///
/// # Errors
///
/// The person is no member of it ([`NotFound`](ServiceError::NotFound)), or the ledger can't be reached.
pub async fn turn(service: &Service, open: &Open, account: AccountId) -> Result<(), ServiceError> {
    let seats = service.ledger().memberships(open.person.id).await?;
    if !seats.iter().any(|(member, _)| member.account_id == account) {
        return Err(ServiceError::NotFound("the account"));
    }
    Ok(service.ledger().turn_session(open.session.id, account).await?)
}

/// A person's accounts, each with the role and its address.
///
/// # Errors
///
/// The ledger can't be read just now.
pub async fn accounts(service: &Service, person: PersonId) -> Result<Vec<(Membership, String)>, ServiceError> {
    Ok(service.ledger().memberships(person).await?)
}

/// Gives a person another name.
///
/// # Errors
///
/// The name is refused ([`Invalid`](ServiceError::Invalid)), or the ledger can't be written.
pub async fn rename(service: &Service, person: PersonId, name: &str) -> Result<(), ServiceError> {
    Ok(service.ledger().rename_person(person, &check_name(name)?).await?)
}

/// Gives a person another password, who knows the one before. All other sessions end. Returns whether the one before was
/// right.
///
/// # Errors
///
/// The new password is refused ([`Invalid`](ServiceError::Invalid)), passwords open nothing
/// ([`Conflict`](ServiceError::Conflict)), too many are changed at once, or the ledger can't be written.
pub async fn change_password(service: &Service, open: &Open, old: &str, new: &str) -> Result<bool, ServiceError> {
    service.people.check_passwords()?;
    check_password(&open.person.email, new)?;
    let passwords = &service.people.passwords;
    if !passwords.is_right(old, open.person.password.as_deref()).await? {
        return Ok(false);
    }
    let hash = passwords.hash(new).await?;
    let (own, now) = (Some(open.session.id), service.now());
    service.ledger().set_password(&open.person, &hash, None, own, now).await?;
    // Whoever had a token of this session too is out at its next page.
    service.ledger().rotate_sessions_of(open.person.id).await?;
    joining::tell_of_password(service, &open.person).await?;
    Ok(true)
}
