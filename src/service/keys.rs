//! API keys, created, listed and revoked by their account's owner and by operators. A key's text is shown once, when it
//! is created; the ledger stores its hash alone. A key may be limited: dollars per day, week, month or in total,
//! models, an expiry, and scopes. A key can't create a key with more rights than its own.

use std::collections::HashMap;

use actors::{
    account::{KeyUse, Look, Picture},
    resources::Decided,
};
use billing::{
    Nanos, Timestamp,
    ids::{AccountId, KeyId, PersonId},
    key::{ApiKey, KeyLimits, MOST_KEYS, Scope, Scopes},
    resource::Resource,
};
use ledger::Ledger;
use uuid::Uuid;

use super::{
    Service, ServiceError,
    acts::Origin,
    page::{Listed, Page},
};

/// The most models a key may be limited to.
const MOST_MODELS: usize = 100;
/// The most a limit can be: $1 million.
const LARGEST: Nanos = Nanos::dollars(1_000_000);
/// The most characters of a name.
const LONGEST_NAME: usize = 100;

/// A key to create.
#[derive(Debug, Clone, Default)]
pub struct NewKey {
    /// The key's name.
    pub name: String,
    /// The spending limits and the allowed models.
    pub limits: KeyLimits,
    /// The scopes; `None`: the usual scopes for the limits.
    pub scopes: Option<Scopes>,
    /// When the key expires.
    pub expires_at: Option<Timestamp>,
}

impl NewKey {
    fn check(&self, now: Timestamp) -> Result<(), ServiceError> {
        let Self { name, limits, scopes, expires_at } = self;
        if name.is_empty() || name.chars().count() > LONGEST_NAME || name.chars().any(char::is_control) {
            let rule = "must have 1 to 100 characters, none of them a control character";
            return Err(ServiceError::invalid("name", rule));
        }
        if limits.models.len() > MOST_MODELS {
            return Err(ServiceError::invalid("models", format!("must have at most {MOST_MODELS} models")));
        }
        if expires_at.is_some_and(|at| at <= now) {
            return Err(ServiceError::invalid("expires_at", "must be in the future"));
        }
        if *scopes == Some(Scopes::default()) {
            let rule = "must name at least one; leave it out for the usual ones";
            return Err(ServiceError::invalid("scopes", rule));
        }
        if scopes.is_some_and(|scopes| scopes.has(Scope::Keys)) && !limits.is_unlimited() {
            let rule = "a key with limits can't open keys: those could have none";
            return Err(ServiceError::invalid("scopes", rule));
        }
        Ok(())
    }

    /// The key with the rights that the opener can hand on. An explicit wish beyond them is refused.
    fn within(mut self, opener: &Opener) -> Result<Self, ServiceError> {
        let usual = Scopes::usual(&self.limits).within(opener.scopes);
        let scopes = *self.scopes.get_or_insert(usual);
        if let Some(beyond) = scopes.iter().find(|scope| !opener.scopes.has(*scope)) {
            return Err(ServiceError::OutOfScope(beyond));
        }
        if let Some(until) = opener.expires_at
            && *self.expires_at.get_or_insert(until) > until
        {
            let rule = format!("must be at latest when this key expires, {until}");
            return Err(ServiceError::invalid("expires_at", rule));
        }
        Ok(self)
    }
}

/// Checks a limit in dollars, and returns it.
///
/// # Errors
///
/// The amount is not above $0, or is more than $1,000,000 ([`Invalid`](ServiceError::Invalid)).
pub fn check_limit(field: &str, amount: Nanos) -> Result<Nanos, ServiceError> {
    if amount <= Nanos::ZERO || amount > LARGEST {
        return Err(ServiceError::invalid(field, "must be above $0 and at most $1,000,000"));
    }
    Ok(amount)
}

/// The creator of a key, and the rights that it can hand on.
#[derive(Debug, Clone, Copy)]
pub struct Opener {
    /// The account of the new key.
    pub account_id: AccountId,
    /// The scopes that the new key may have.
    pub scopes: Scopes,
    /// The latest expiry of the new key.
    pub expires_at: Option<Timestamp>,
    /// The key or the member that makes it; none for an operator.
    pub by: Option<KeyId>,
}

/// The member who makes a key with these scopes: by a session, or with a key that the member made.
///
/// # Errors
///
/// Whoever makes it may do so no more ([`OutOfScope`](ServiceError::OutOfScope)): the membership or the key has ended since it
/// was shown, the role is another, or an operator has turned the member away. Or the ledger can't be read.
async fn maker(ledger: &Ledger, opener: &Opener, scopes: Scopes) -> Result<Option<PersonId>, ServiceError> {
    let Some(by) = opener.by else { return Ok(None) };
    let over = || ServiceError::OutOfScope(Scope::Keys);
    // A member stands where a key would.
    let members = ledger.members(opener.account_id).await?;
    if let Some(member) = members.iter().find(|member| member.person_id.0 == by.0) {
        let own = member.role.scopes();
        let is_in = ledger.person(member.person_id).await?.is_some_and(|person| person.disabled_at.is_none());
        let may = is_in && own.has(Scope::Keys) && scopes.iter().all(|scope| own.has(scope));
        return may.then_some(Some(member.person_id)).ok_or_else(over);
    }
    let with = ledger.key_of(opener.account_id, by).await?;
    with.filter(|key| key.revoked_at.is_none()).ok_or_else(over)?;
    Ok(ledger.maker_of(by).await?)
}

/// Checks that nothing of a list is there twice. `name` is the list's field.
pub(super) fn check_once<T: Eq>(name: &str, all: &[T]) -> Result<(), ServiceError> {
    match (0..all.len()).find(|place| all[..*place].contains(&all[*place])) {
        None => Ok(()),
        Some(place) => Err(ServiceError::invalid(format!("{name}[{place}]"), "is there twice")),
    }
}

/// Checks that these are some of an account's keys, each once. `name` is the list's field.
pub(super) async fn check_own(
    service: &Service,
    account: AccountId,
    name: &str,
    keys: &[KeyId],
) -> Result<(), ServiceError> {
    check_once(name, keys)?;
    if keys.is_empty() {
        return Ok(());
    }
    let known = names(service, account, keys.iter().map(|key| key.0)).await?;
    match keys.iter().position(|key| !known.contains_key(&key.0)) {
        None => Ok(()),
        Some(place) => Err(ServiceError::invalid(format!("{name}[{place}]"), "is no key of this account")),
    }
}

/// A key's text.
fn key_text(public: &str, secret: &str) -> String {
    format!("fb_{public}_{secret}")
}

/// The hash of a key's text, which is stored.
fn key_hash(text: &str) -> String {
    blake3::hash(text.as_bytes()).to_hex().to_string()
}

/// A new key: the text to show once, and the row to store. The secret part is random unless one is given.
fn new_key(id: KeyId, account_id: AccountId, wanted: NewKey, secret: Option<&str>, now: Timestamp) -> (String, ApiKey) {
    let random = |length: usize| -> String {
        let bits = format!("{}{}", Uuid::new_v4().simple(), Uuid::new_v4().simple());
        blake3::hash(bits.as_bytes()).to_hex().chars().take(length).collect()
    };
    let public = random(12);
    let text = key_text(&public, secret.unwrap_or(&random(40)));
    let hash = key_hash(&text);
    let NewKey { name, limits, scopes, expires_at } = wanted;
    let scopes = scopes.unwrap_or_else(|| Scopes::usual(&limits));
    let (created_at, revoked_at) = (now, None);
    let stored = ApiKey { id, account_id, name, public, hash, limits, scopes, created_at, expires_at, revoked_at };
    (text, stored)
}

/// Creates a key for a request. The key's text is returned now, and again to later attempts of the same request,
/// because `secret` is the same in all attempts.
///
/// # Errors
///
/// A wanted value is invalid ([`Invalid`](ServiceError::Invalid)), the opener lacks a wanted scope
/// ([`OutOfScope`](ServiceError::OutOfScope)), or as for [`open`]. An earlier key of the same origin that can't be
/// shown again is a [`Conflict`](ServiceError::Conflict).
pub async fn create(
    service: &Service,
    origin: Origin,
    opener: &Opener,
    wanted: NewKey,
    secret: Option<&str>,
) -> Result<(KeyId, String), ServiceError> {
    let id = KeyId(origin.id.0);
    if origin.is_done() {
        return Ok((id, opened(service, id, opener.account_id, secret).await?));
    }
    wanted.check(service.now())?;
    let wanted = wanted.within(opener)?;
    Ok((id, open(service, id, opener, wanted, secret).await?))
}

/// Creates a key. The account knows its limits with it. Without a request's secret the text can't be returned again: a
/// key whose text was not returned is known to nobody. A key of this id is made once.
///
/// # Errors
///
/// There is no such account ([`NotFound`](ServiceError::NotFound)), it has as many working keys as are allowed
/// ([`Conflict`](ServiceError::Conflict)), the opener may make none any more ([`OutOfScope`](ServiceError::OutOfScope)), or the
/// ledger or the account can't be reached. A key of this id that can't be shown again is a [`Conflict`](ServiceError::Conflict).
pub async fn open(
    service: &Service,
    id: KeyId,
    opener: &Opener,
    wanted: NewKey,
    secret: Option<&str>,
) -> Result<String, ServiceError> {
    let (account, now) = (opener.account_id, service.now());
    let (text, key) = new_key(id, account, wanted, secret, now);
    let decide = async |ledger: &Ledger| -> Result<_, ServiceError> {
        if ledger.key_of(account, id).await?.is_some() {
            return Ok(Decided::new(Vec::new(), false));
        }
        if ledger.working_keys(account).await? >= MOST_KEYS {
            let message = format!("This account has {MOST_KEYS} working keys; revoke one first.");
            return Err(ServiceError::Conflict(message));
        }
        // Decided with the key: whose membership ends meanwhile takes it along, or makes none.
        if let Some(person) = maker(ledger, opener, key.scopes).await? {
            ledger.note_maker(id, account, person, now).await?;
        }
        Ok(Decided::new(vec![Resource::KeyOpened(key.clone())], true))
    };
    if service.accounts.change(account, decide).await? { Ok(text) } else { opened(service, id, account, secret).await }
}

/// The text of a key that an earlier attempt of the request created.
async fn opened(
    service: &Service,
    id: KeyId,
    account: AccountId,
    secret: Option<&str>,
) -> Result<String, ServiceError> {
    let stored = service.ledger().key_of(account, id).await?;
    let stored = stored.ok_or(ServiceError::NotFound("the key"))?;
    let text = secret.map(|secret| key_text(&stored.public, secret));
    // A change of the operator's token changes the secret.
    let text = text.filter(|text| key_hash(text) == stored.hash);
    let text = text.ok_or_else(|| ServiceError::conflict("The key was made, and can't be shown again; revoke it."))?;
    Ok(text)
}

/// A key, as its account's owner sees it.
#[derive(Debug, Clone)]
pub struct Key {
    /// The key's id.
    pub id: KeyId,
    /// The key's name.
    pub name: String,
    /// The public part of the key's text.
    pub public: String,
    /// The spending limits and the allowed models.
    pub limits: KeyLimits,
    /// The amounts used of each limit. The spending of a key without limits is in the usage.
    pub used: Option<[Nanos; 4]>,
    /// The parts of each limit, in percent, that the owner is told of; `None` for a key without limits in dollars.
    pub alerts: Option<Vec<u8>>,
    /// The scopes.
    pub scopes: Scopes,
    /// When the key was created.
    pub created_at: Timestamp,
    /// When the key expires.
    pub expires_at: Option<Timestamp>,
    /// When the key was revoked.
    pub revoked_at: Option<Timestamp>,
}

impl Key {
    fn of(stored: ApiKey, used: &[KeyUse]) -> Self {
        let ApiKey { id, name, public, limits, scopes, created_at, expires_at, revoked_at, .. } = stored;
        let used = used.iter().find(|used| used.id == id);
        let (used, alerts) = used.map(|used| (used.amounts, used.alerts.clone())).unzip();
        let alerts = alerts.filter(|_: &Vec<u8>| limits.amounts.iter().any(Option::is_some));
        Self { id, name, public, limits, used, alerts, scopes, created_at, expires_at, revoked_at }
    }
}

/// A page of an account's keys with the amounts used in its picture, newest first.
pub(super) async fn of(
    service: &Service,
    account: AccountId,
    picture: &Picture,
    page: Page,
) -> Result<Listed<Key>, ServiceError> {
    let keys = service.ledger().keys(account, page.before, page.limit).await?;
    Ok(page.list(keys, |key| key.id.0).map(|key| Key::of(key, &picture.keys)))
}

/// A page of an account's keys, newest first, or one of them.
///
/// # Errors
///
/// There is no such account ([`NotFound`](ServiceError::NotFound)), its mailbox is full
/// ([`Overloaded`](ServiceError::Overloaded)), or the ledger can't be reached ([`NotReady`](ServiceError::NotReady)).
/// The last two pass; try again.
pub async fn list(
    service: &Service,
    account: AccountId,
    only: Option<KeyId>,
    page: Page,
) -> Result<Listed<Key>, ServiceError> {
    let picture = service.accounts.ask(account, Look).await?;
    let Some(only) = only else { return of(service, account, &picture, page).await };
    let found = service.ledger().key_of(account, only).await?;
    // The one key is the first page.
    let found = found.filter(|key| page.before.is_none_or(|before| key.id.0 < before));
    Ok(Listed { rows: found.into_iter().map(|key| Key::of(key, &picture.keys)).collect(), next: None })
}

/// An account's keys that are not revoked, newest first. Their number is bounded.
///
/// # Errors
///
/// As for [`list`].
pub async fn unrevoked(service: &Service, account: AccountId) -> Result<Vec<Key>, ServiceError> {
    let picture: Picture = service.accounts.ask(account, Look).await?;
    let keys = service.ledger().unrevoked_keys(account).await?;
    Ok(keys.into_iter().map(|key| Key::of(key, &picture.keys)).collect())
}

/// The names of these keys, as far as they are the account's.
///
/// # Errors
///
/// The ledger can't be read just now ([`NotReady`](ServiceError::NotReady)); try again.
pub async fn names(
    service: &Service,
    account: AccountId,
    ids: impl IntoIterator<Item = Uuid>,
) -> Result<HashMap<Uuid, String>, ServiceError> {
    let mut ids: Vec<Uuid> = ids.into_iter().collect();
    ids.sort_unstable();
    ids.dedup();
    Ok(service.ledger().key_names(account, &ids).await?)
}

/// Revokes a key. Returns its public part, by which caches know the key.
///
/// # Errors
///
/// The account has no working key with this id ([`NotFound`](ServiceError::NotFound)), or the ledger can't be written
/// just now.
pub async fn revoke(service: &Service, account: AccountId, key: KeyId) -> Result<String, ServiceError> {
    let at = service.now();
    let decide = async |ledger: &Ledger| -> Result<_, ServiceError> {
        let found = ledger.key_of(account, key).await?.filter(|found| found.revoked_at.is_none());
        let public = found.ok_or(ServiceError::NotFound("a working key with that id"))?.public;
        Ok(Decided::new(vec![Resource::KeyRevoked { id: key, public: public.clone(), at }], public))
    };
    service.accounts.change(account, decide).await
}

/// The stored part of a key, to check a shown key against.
#[derive(Debug, Clone, Copy)]
pub struct Known {
    /// The hash of the key's text.
    pub hash: blake3::Hash,
    /// The key's id.
    pub id: KeyId,
    /// The key's account.
    pub account_id: AccountId,
    /// The scopes.
    pub scopes: Scopes,
    /// When the key expires.
    pub expires_at: Option<Timestamp>,
    /// Whether the key has limits of its own.
    pub is_limited: bool,
}

/// The key with this public part, unless it was revoked.
///
/// # Errors
///
/// The ledger can't be read just now, or its hash of the key is damaged ([`Internal`](ServiceError::Internal)).
pub async fn look_up(service: &Service, public: &str) -> Result<Option<Known>, ServiceError> {
    let stored = service.ledger().key(public).await?;
    let Some(stored) = stored.filter(|stored| stored.revoked_at.is_none()) else { return Ok(None) };
    Ok(Some(Known {
        hash: blake3::Hash::from_hex(&stored.hash).map_err(|error| ServiceError::Internal(error.to_string()))?,
        id: stored.id,
        account_id: stored.account_id,
        scopes: stored.scopes,
        expires_at: stored.expires_at,
        is_limited: !stored.limits.is_unlimited(),
    }))
}
