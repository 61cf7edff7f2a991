//! Authentication: API keys, sessions of browsers, and the operator's token. Keys look like `fb_<12 public>_<40 secret>`. The ledger stores
//! only their BLAKE3 hash: a key has 200 random bits, so a slow hash would add nothing.

mod cache;
pub(super) mod person;

use std::borrow::Cow;

use actix_web::{
    FromRequest, HttpMessage, HttpRequest,
    http::{
        StatusCode,
        header::{AUTHORIZATION, HeaderName},
    },
    web,
};
use billing::{
    Timestamp,
    ids::{AccountId, KeyId, PersonId},
    key::{Scope, Scopes},
};
use serde::Deserialize;
use uuid::Uuid;

use cache::{Cached, Public};
pub use cache::{Keys, Over, Revocations};

use super::{error::ApiError, session, state::Shared, trail};
use crate::{
    gateway::serve::Caller,
    idempotency::Holder,
    service::{
        accounts,
        keys::{self, Opener},
        trail::By,
    },
};

/// The longest key, in bytes.
const LONGEST_KEY: usize = 128;

/// What a key or a session may do.
#[derive(Debug, Clone, Copy)]
struct Known {
    caller: Caller,
    expires_at: Option<Timestamp>,
    /// Whether the key has limits of its own.
    is_limited: bool,
}

impl Known {
    /// Whether it has fewer rights than its account.
    fn is_less(&self) -> bool {
        self.is_limited || self.caller.scopes != Scopes::ALL
    }

    fn rights(&self) -> Rights {
        Rights { caller: self.caller, holder: self.holder() }
    }

    /// Who reads what is kept of requests by this key.
    fn holder(&self) -> Holder {
        let Caller { account_id, key_id, .. } = self.caller;
        if self.is_less() { Holder::LimitedKey(account_id, key_id) } else { Holder::Account(account_id) }
    }
}

/// Other headers in which clients of other APIs send their key: Anthropic's and Google's.
const OTHERS: [HeaderName; 2] = [HeaderName::from_static("x-api-key"), HeaderName::from_static("x-goog-api-key")];

/// `Bearer <key>`, `Key <key>`, or the bare key; `None` where the header is missing or empty.
fn authorization(request: &HttpRequest) -> Result<Option<&str>, ApiError> {
    let Some(text) = only(request, &AUTHORIZATION)? else { return Ok(None) };
    let scheme = |name: &str| text.get(..name.len()).is_some_and(|start| start.eq_ignore_ascii_case(name));
    let bare = ["Bearer", "Key"].iter().find(|name| {
        scheme(name) && text.get(name.len()..).is_some_and(|rest| rest.is_empty() || rest.starts_with([' ', '\t']))
    });
    let bare = bare.map_or(text, |name| &text[name.len()..]).trim();
    Ok(Some(bare).filter(|bare| !bare.is_empty()))
}

/// A header's value. A repeated header must have the same value.
fn only<'a>(request: &'a HttpRequest, name: &HeaderName) -> Result<Option<&'a str>, ApiError> {
    let mut values = request.headers().get_all(name);
    let Some(first) = values.next() else { return Ok(None) };
    if values.any(|other| other != first) {
        return Err(ApiError::unauthorized(&format!("The header {name} came twice, and not with the same key.")));
    }
    let text = first.to_str().map_err(|_| ApiError::unauthorized(&format!("The header {name} is not text.")))?;
    Ok(Some(text.trim()).filter(|text| !text.is_empty()))
}

/// The error of a request without a key. One in the address is none: addresses stand in logs, histories and proxies.
fn missing(request: &HttpRequest) -> ApiError {
    let is_in_query = request.query_string().split('&').any(|pair| pair.starts_with("key="));
    ApiError::unauthorized(if is_in_query {
        "A key in the address is not read, because addresses are written to logs. Send it as \"x-goog-api-key: fb_...\"."
    } else {
        "No API key was sent. Send one as \"Authorization: Bearer fb_...\"."
    })
}

/// A user's key, from any of the headers; none where none of them is there. Clients put a placeholder into the header that they were not configured for, so
/// a key of ours wins. Two different keys of ours are refused, because either might be the wrong one.
fn credential(request: &HttpRequest) -> Result<Option<&str>, ApiError> {
    let mut keys: Vec<&str> = Vec::with_capacity(1);
    keys.extend(authorization(request)?);
    for name in &OTHERS {
        keys.extend(only(request, name)?.filter(|key| !keys.contains(key)));
    }
    let ours: Vec<&str> = keys.iter().copied().filter(|key| key.starts_with("fb_")).collect();
    match (&keys[..], &ours[..]) {
        ([], _) => Ok(None),
        ([key], _) | (_, [key]) => Ok(Some(key)),
        _ => Err(ApiError::unauthorized(
            "Authorization, x-api-key and x-goog-api-key have different keys. Send one of them.",
        )),
    }
}

/// Whether a request has a credential to compare with the operator's token.
pub fn shows_something(request: &HttpRequest) -> bool {
    matches!(authorization(request), Ok(Some(_)))
}

/// The path parameter of the operator's paths under an account.
#[derive(Deserialize)]
struct Under {
    account: String,
}

/// The account in an operator's path, such as `/admin/v1/accounts/{account}/grants`; `None` on other paths. An
/// operator's path requires the operator's token.
///
/// # Errors
///
/// The path names an account, and the operator's token is missing or wrong, the name is invalid, or there is no such
/// account.
pub async fn operated(state: &Shared, request: &HttpRequest) -> Result<Option<Caller>, ApiError> {
    if request.match_info().get("account").is_none() {
        return Ok(None);
    }
    operator(state, request)?;
    let path = web::Path::<Under>::extract(request).await;
    let Under { account } = path.map_err(|error| ApiError::invalid("account", error))?.into_inner();
    // The operator uses none of the account's keys.
    let (account_id, key_id) = (accounts::named(&state.service, &account).await?, KeyId(Uuid::nil()));
    Ok(Some(Caller { account_id, key_id, scopes: Scopes::ALL }))
}

/// The caller of a route that accepts any key, because answers to inference have the same data.
///
/// # Errors
///
/// The request has no valid key: it is missing, unknown, revoked or expired. On an operator's path, as for
/// [`operated`].
pub async fn caller(state: &Shared, request: &HttpRequest) -> Result<Caller, ApiError> {
    if let Some(caller) = operated(state, request).await? {
        return Ok(caller);
    }
    Ok(bearer(state, request).await?.caller)
}

/// The caller of a route that requires a scope. The operator may read what owners read.
///
/// # Errors
///
/// As for [`caller`], or the key lacks the scope.
pub async fn scoped(state: &Shared, request: &HttpRequest, scope: Scope) -> Result<Caller, ApiError> {
    if scope == Scope::Read
        && let Some(caller) = operated(state, request).await?
    {
        return Ok(caller);
    }
    permitted(&bearer(state, request).await?, scope)
}

fn permitted(known: &Known, scope: Scope) -> Result<Caller, ApiError> {
    if known.caller.scopes.has(scope) { Ok(known.caller) } else { Err(ApiError::out_of_scope(scope)) }
}

/// The account and the person of a member who has signed in, and whose role has this scope. A key is nobody's: it is refused.
///
/// # Errors
///
/// As for [`scoped`], or a key is shown.
pub async fn member(state: &Shared, request: &HttpRequest, scope: Scope) -> Result<(AccountId, PersonId), ApiError> {
    let caller = permitted(&bearer(state, request).await?, scope)?;
    if matches!(request.extensions().get::<Shown>(), Some(Shown::Session(..))) {
        // A member stands where a key would.
        return Ok((caller.account_id, PersonId(caller.key_id.0)));
    }
    Err(ApiError::forbidden("This takes a person who has signed in, and no key."))
}

/// The usage that a caller may see.
#[derive(Debug, Clone, Copy)]
pub struct Sight {
    /// The caller.
    pub caller: Caller,
    /// The only key whose usage is visible; `None`: all keys.
    pub only: Option<KeyId>,
}

/// The caller of a route that shows usage: the key's own, unless the key may read everything.
///
/// # Errors
///
/// As for [`caller`].
pub async fn sight(state: &Shared, request: &HttpRequest) -> Result<Sight, ApiError> {
    let caller = caller(state, request).await?;
    Ok(Sight { caller, only: (!caller.scopes.has(Scope::Read)).then_some(caller.key_id) })
}

/// The caller of a route that creates a key. A key with limits never has this scope, because its new key would have no
/// limits.
///
/// # Errors
///
/// The request has no valid key, or the key lacks the scope `keys`.
pub async fn opener(state: &Shared, request: &HttpRequest) -> Result<Opener, ApiError> {
    let known = bearer(state, request).await?;
    let Caller { account_id, scopes, key_id } = permitted(&known, Scope::Keys)?;
    // What a member makes outlasts the session in which it was made.
    let is_person = matches!(request.extensions().get::<Shown>(), Some(Shown::Session(..)));
    Ok(Opener { account_id, scopes, expires_at: known.expires_at.filter(|_| !is_person), by: Some(key_id) })
}

/// The key or the session of a request. It is parsed and hashed once; its validity is checked each time.
async fn bearer(state: &Shared, request: &HttpRequest) -> Result<Known, ApiError> {
    let read = request.extensions().get::<Shown>().copied();
    let shown = match read {
        Some(shown) => shown,
        None => show(state, request).await?,
    };
    let known = holds(state, shown).await?;
    let Caller { account_id, key_id, .. } = known.caller;
    let by = match shown {
        Shown::Key(..) => By::Key(key_id.0),
        // A member stands where a key would.
        Shown::Session(..) => By::Member(PersonId(key_id.0)),
    };
    trail::asks(request, account_id, by);
    if read.is_none() {
        request.extensions_mut().insert(shown);
    }
    Ok(known)
}

/// What a request shows: a key in a header, or a browser's session with the gateway's own pages.
async fn show(state: &Shared, request: &HttpRequest) -> Result<Shown, ApiError> {
    if let Some(key) = credential(request)? {
        return Shown::read(state, key);
    }
    let session = state.sessions.of_script(request, state.gateway.clock().now());
    let session = session.ok_or_else(|| missing(request))?;
    match &session.shown {
        session::Shown::Key(key) => Shown::read(state, key),
        session::Shown::Person(id, token) => match person::opened(state, *id, token).await? {
            Shown::Session(_, account) if !session.is_for(account) => Err(ApiError::forbidden(
                "This page is of another account than the session looks at by now: open it again.",
            )),
            shown => Ok(shown),
        },
    }
}

/// The key of a request whose caller is known: of a header, or of a browser's session with the gateway's own pages. Of a
/// person's session it is the handle.
///
/// # Errors
///
/// The request has no key, or two that differ.
pub fn key<'a>(state: &Shared, request: &'a HttpRequest) -> Result<Cow<'a, str>, ApiError> {
    if let Some(key) = credential(request)? {
        return Ok(key.into());
    }
    if let Some(Shown::Session(id, account)) = request.extensions().get::<Shown>().copied() {
        return Ok(state.sessions.handle(id, account).into());
    }
    let session = state.sessions.of_script(request, state.gateway.clock().now());
    match session.map(|session| session.shown) {
        Some(session::Shown::Key(key)) => Ok(key.into()),
        Some(session::Shown::Person(..)) | None => Err(missing(request)),
    }
}

/// The key of a browser's session; of a person's the handle.
///
/// # Errors
///
/// It is a person's, and is over, or its person is no member of any account.
pub async fn key_of_session(state: &Shared, session: session::Session) -> Result<String, ApiError> {
    match session.shown {
        session::Shown::Key(key) => Ok(key),
        session::Shown::Person(id, token) => match person::opened(state, id, &token).await? {
            Shown::Session(id, account) => Ok(state.sessions.handle(id, account)),
            Shown::Key(..) => Err(wrong()),
        },
    }
}

/// The caller of a key or of a handle, and its expiry.
///
/// # Errors
///
/// The key is unknown, revoked or expired, or the ledger can't be read just now.
pub async fn by_key(state: &Shared, key: &str) -> Result<(Caller, Option<Timestamp>), ApiError> {
    let known = holds(state, Shown::read(state, key)?).await?;
    Ok((known.caller, known.expires_at))
}

/// What a key or a session may do, for who goes on by it after it was checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rights {
    /// The caller.
    pub caller: Caller,
    /// Who reads what is kept of the caller's requests.
    pub holder: Holder,
}

/// What a connection that outlives this check must know of its key.
#[derive(Debug, Clone, Copy)]
pub struct Opened {
    /// What it may do.
    pub rights: Rights,
    /// The key's expiry.
    pub expires_at: Option<Timestamp>,
    /// Whether it was opened by a person's session instead of a key.
    pub is_session: bool,
}

/// Opens a connection by a key.
///
/// # Errors
///
/// The key is unknown, revoked or expired, or the ledger can't be read just now.
pub async fn opened(state: &Shared, key: &str) -> Result<Opened, ApiError> {
    let shown = Shown::read(state, key)?;
    let known = holds(state, shown).await?;
    let is_session = matches!(shown, Shown::Session(..));
    Ok(Opened { rights: known.rights(), expires_at: known.expires_at, is_session })
}

/// Whether a request shows a key in a header.
///
/// # Errors
///
/// It shows two that differ.
pub fn shows_key(request: &HttpRequest) -> Result<bool, ApiError> {
    Ok(credential(request)?.is_some())
}

/// Whether a request shows what can only be the operator's token: no key of ours, in the header that tokens are in.
///
/// # Errors
///
/// It shows two that differ.
pub fn shows_token(request: &HttpRequest) -> Result<bool, ApiError> {
    let is_key = credential(request)?.is_some_and(|key| key.starts_with("fb_"));
    Ok(!is_key && authorization(request)?.is_some())
}

/// Checks that a key is still valid, may do what it could when a connection was opened by it, and may run models.
///
/// # Errors
///
/// The key is unknown, revoked or expired, lacks the scope `inference`, or may do something else by now; or the ledger can't be
/// read just now.
pub async fn still(state: &Shared, key: &str, rights: Rights) -> Result<(), ApiError> {
    let known = holds(state, Shown::read(state, key)?).await?;
    permitted(&known, Scope::Inference)?;
    if known.rights() == rights {
        return Ok(());
    }
    Err(ApiError::forbidden("What this key or session may do has changed: open another socket."))
}

/// How it stands with what goes on by a key that had these rights; none where it goes on, or that can't be told just now.
async fn over(state: &Shared, key: &str, rights: Rights) -> Option<Over> {
    let known = async { holds(state, Shown::read(state, key)?).await };
    match known.await {
        Ok(known) => (known.rights() != rights).then_some(Over::Changed),
        Err(error) => (error.status() == StatusCode::UNAUTHORIZED).then_some(Over::Ended),
    }
}

fn wrong() -> ApiError {
    ApiError::unauthorized("This API key is not known, or was revoked.")
}

/// What is shown.
#[derive(Debug, Clone, Copy)]
enum Shown {
    /// A key: its public part, and the hash of the whole.
    Key(Public, blake3::Hash),
    /// A person's session that was opened by its token, looking at an account.
    Session(Uuid, AccountId),
}

impl Shown {
    fn read(state: &Shared, key: &str) -> Result<Self, ApiError> {
        if let Some((session, account)) = state.sessions.of_handle(key) {
            return Ok(Self::Session(session, account));
        }
        let public = key.strip_prefix("fb_").and_then(|rest| rest.split_once('_')).map(|(public, _)| public);
        let public = public.and_then(|public| Public::try_from(public.as_bytes()).ok()).ok_or_else(wrong)?;
        if key.len() > LONGEST_KEY {
            return Err(wrong());
        }
        Ok(Self::Key(public, blake3::hash(key.as_bytes())))
    }
}

async fn holds(state: &Shared, shown: Shown) -> Result<Known, ApiError> {
    let (public, hash) = match shown {
        Shown::Key(public, hash) => (public, hash),
        Shown::Session(id, account) => return person::known(state, id, account).await,
    };
    let Cached { hash: own, known } = match state.keys.get(&public) {
        Some(cached) => cached,
        None => look_up(state, public).await?.ok_or_else(wrong)?,
    };
    // This type compares hashes in constant time.
    if own != hash {
        return Err(wrong());
    }
    if known.expires_at.is_some_and(|at| state.gateway.clock().now() >= at) {
        return Err(ApiError::unauthorized("This API key has expired."));
    }
    Ok(known)
}

async fn look_up(state: &Shared, public: Public) -> Result<Option<Cached>, ApiError> {
    let forgotten = state.keys.forgotten();
    let text = std::str::from_utf8(&public).map_err(|_| wrong())?;
    let Some(found) = keys::look_up(&state.service, text).await? else { return Ok(None) };
    let keys::Known { hash, id, account_id, scopes, expires_at, is_limited } = found;
    let known = Known { caller: Caller { account_id, key_id: id, scopes }, expires_at, is_limited };
    let cached = Cached { hash, known };
    state.keys.insert(public, cached, forgotten);
    Ok(Some(cached))
}

/// The holder of the caller's idempotency keys.
///
/// # Errors
///
/// The request has no valid key.
pub async fn holder(state: &Shared, request: &HttpRequest) -> Result<Holder, ApiError> {
    Ok(bearer(state, request).await?.holder())
}

/// Checks the operator's token.
///
/// # Errors
///
/// The request has no operator's token, or a wrong one.
pub fn operator(state: &Shared, request: &HttpRequest) -> Result<(), ApiError> {
    let missing = "No operator's token was sent. Send it as \"Authorization: Bearer ...\".";
    token_is_right(state, authorization(request)?.ok_or_else(|| ApiError::unauthorized(missing))?)
}

/// Checks the operator's token.
///
/// # Errors
///
/// It is another.
pub fn token_is_right(state: &Shared, token: &str) -> Result<(), ApiError> {
    let hash = blake3::hash(token.as_bytes());
    if hash == state.admin_token { Ok(()) } else { Err(ApiError::unauthorized("This is not the operator's token.")) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use actix_web::test::TestRequest;

    #[test]
    fn a_key_is_read_from_either_header_and_two_that_differ_are_refused() {
        let of = |headers: &[(&'static str, &str)]| {
            let request = headers.iter().fold(TestRequest::default(), |request, header| request.append_header(*header));
            let request = request.to_http_request();
            let key = credential(&request).and_then(|key| key.ok_or_else(|| missing(&request)));
            key.map(str::to_owned).map_err(|error| error.status().as_u16())
        };
        let (bearer, bare, x) = (("authorization", "Bearer fb_a"), ("authorization", "fb_a"), ("x-api-key", "fb_a"));
        let goog = ("x-goog-api-key", "fb_a");
        for headers in [
            &[bearer][..],
            &[bare],
            &[("authorization", "key\tfb_a ")],
            &[x],
            &[bearer, x],
            &[bearer, bearer],
            &[("authorization", "Bearer "), x],
            &[("authorization", "bearer"), x],
            &[bearer, ("x-api-key", "")],
            &[goog],
            &[bearer, x, goog],
            &[goog, ("authorization", "Bearer placeholder"), ("x-api-key", "another")],
        ] {
            assert_eq!(of(headers), Ok("fb_a".into()), "{headers:?}");
        }
        for headers in [
            &[][..],
            &[("authorization", "Bearer ")],
            &[("x-api-key", " ")],
            &[bearer, ("x-api-key", "fb_b")],
            &[x, ("x-api-key", "fb_b")],
            &[x, ("x-goog-api-key", "fb_b")],
            &[("authorization", "Bearer one"), ("x-goog-api-key", "another")],
            &[bearer, ("authorization", "Bearer fb_b")],
            &[("x-api-key", "\u{e9}")],
        ] {
            assert_eq!(of(headers), Err(401), "{headers:?}");
        }
        let in_query = TestRequest::with_uri("/v1beta/models?key=fb_a").to_http_request();
        let refused = missing(&in_query);
        assert_eq!((refused.status().as_u16(), refused.message().contains("address")), (401, true));
        let request = TestRequest::default().append_header(x).to_http_request();
        assert_eq!(authorization(&request).unwrap(), None, "an operator's token is not read from it");
    }
}
