//! Sessions of browsers. There are two kinds, in one cookie. A session by an API key has the key sealed in it: what its holder
//! may do is what the key may do, and ends with the key; nothing of it is stored until it is signed out of ([`super::ended`]), so any
//! node that knows the operator's token knows it. A person's session has an id and a token, which is looked up by `service::people::sessions`.
//!
//! A browser sends cookies whichever page asks it to, so a request that changes something must also show the session's
//! token against forgery, which other pages can't read (OWASP, "Cross-Site Request Forgery Prevention": signed double submit).

use actix_web::{
    HttpRequest,
    cookie::{Cookie, SameSite, time},
    http::{Method, header::HeaderName},
};
use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use billing::{Timestamp, ids::AccountId};
use uuid::Uuid;

use super::ended::Ended;
use crate::sealing::Sealer;

/// The cookie.
const COOKIE: &str = "farebox_session";
/// The header in which scripts of our pages show the session's token.
const X_CSRF_TOKEN: HeaderName = HeaderName::from_static("x-csrf-token");
/// How long a session by a key lasts after it was last renewed.
const LASTS_MS: i64 = 12 * 60 * 60 * 1_000;
/// How old a session by a key is when it is renewed.
const RENEWED_MS: i64 = 60 * 60 * 1_000;
/// The longest cookie that is opened, in characters.
const LONGEST: usize = 512;
/// How the cookie of a person's session begins. No sealed one has a dot.
const PERSONS: &str = "p.";
/// How the handle of a person's session begins.
const HANDLE: &str = "fbs_";

/// Begins and opens sessions.
#[derive(Debug)]
pub struct Sessions(Sealer, Ended);

/// What a session's cookie shows.
#[derive(Clone)]
pub enum Shown {
    /// An API key.
    Key(String),
    /// A person's session, by its id and its token. Whether the token is right is not known here.
    Person(Uuid, String),
}

/// A session as a cookie shows it.
#[derive(Clone)]
pub struct Session {
    /// What it shows.
    pub shown: Shown,
    /// The token that forms and scripts show. Those of a page of an account show it with the account: [`Self::token_of`].
    csrf: String,
    /// The account of the page whose script shows the token; none where it is of no page of an account.
    page_of: Option<String>,
    /// The id, and when it was begun or renewed; of a person's this stands elsewhere.
    sealed: Option<(Uuid, Timestamp)>,
}

impl Session {
    /// The token as a page of this account has it; of no account, as a page that is of none. The account is no secret: a form says by
    /// it which account its page showed, as the session may look at another by now.
    pub fn token_of(&self, account: Option<AccountId>) -> String {
        match account {
            Some(account) => format!("{}.{}", self.csrf, account.0.simple()),
            None => self.csrf.clone(),
        }
    }

    /// Whether a form shows the token, whatever account its page was of.
    pub fn is_shown(&self, shown: &str) -> bool {
        is_same(shown.split_once('.').map_or(shown, |(token, _)| token).as_bytes(), &self.csrf)
    }

    /// Whether a form shows the token, and its page was of no other account than this.
    pub fn is_shown_for(&self, shown: &str, account: AccountId) -> bool {
        self.is_shown(shown) && shown.split_once('.').is_none_or(|(_, of)| is_named(of, account))
    }

    /// Whether the script that showed the token is of a page of no other account than this.
    pub fn is_for(&self, account: AccountId) -> bool {
        self.page_of.as_deref().is_none_or(|of| is_named(of, account))
    }

    /// The id, if it is a session by a key.
    pub fn id(&self) -> Option<Uuid> {
        self.sealed.map(|(id, _)| id)
    }
}

impl Sessions {
    /// Sessions of gateways with this operator's token.
    pub fn new(token: &blake3::Hash, ended: Ended) -> Self {
        Self(Sealer::new("farebox 2026-11-29 sessions of browsers", token), ended)
    }

    /// The cookie of a session by this key; none if the key can't be sealed.
    pub fn begin(&self, request: &HttpRequest, key: &str, now: Timestamp) -> Option<Cookie<'static>> {
        self.sealed(request, (Uuid::new_v4(), key), now)
    }

    /// The cookie of a session by a key that goes on, where it should be renewed.
    pub fn renewed(&self, request: &HttpRequest, session: &Session, now: Timestamp) -> Option<Cookie<'static>> {
        match (&session.shown, session.sealed) {
            (Shown::Key(key), Some((id, begun_at))) if now.ms_since(begun_at) >= RENEWED_MS => {
                self.sealed(request, (id, key), now)
            }
            (Shown::Key(_) | Shown::Person(..), _) => None,
        }
    }

    /// Ends a session by a key: no cookie of it is good any more.
    pub fn sign_out(&self, session: &Session, now: Timestamp) {
        if let (Shown::Key(key), Some((id, _))) = (&session.shown, session.sealed) {
            // The key without its secret.
            let public = key.rsplit_once('_').map_or("", |(public, _)| public);
            self.1.end(id, format!("key {public}"), now, LASTS_MS);
        }
    }

    fn sealed(&self, request: &HttpRequest, (id, key): (Uuid, &str), now: Timestamp) -> Option<Cookie<'static>> {
        let text = format!("{} {} {key}", now.0, id.simple());
        let sealed = BASE64_URL_SAFE_NO_PAD.encode(self.0.seal(&[b"session"], text.as_bytes())?);
        Some(cookie(request, sealed, time::Duration::milliseconds(LASTS_MS)))
    }

    /// The cookie of a person's session that lasts so long yet.
    pub fn of_person(request: &HttpRequest, id: Uuid, token: &str, lasts_ms: i64) -> Cookie<'static> {
        cookie(request, format!("{PERSONS}{}.{token}", id.simple()), time::Duration::milliseconds(lasts_ms))
    }

    /// The cookie that ends a session.
    pub fn end(request: &HttpRequest) -> Cookie<'static> {
        cookie(request, String::new(), time::Duration::ZERO)
    }

    /// The session of a request; none where it has no cookie, or one that is not ours, too old, or signed out of.
    pub fn of(&self, request: &HttpRequest, now: Timestamp) -> Option<Session> {
        let cookie = request.cookie(COOKIE).filter(|cookie| cookie.value().len() <= LONGEST)?;
        if let Some(rest) = cookie.value().strip_prefix(PERSONS) {
            let (id, token) = rest.split_once('.')?;
            let id = Uuid::try_parse(id).ok()?;
            // A rotated session has another cookie and the same token against forgery: forms that are open stay good.
            let csrf = self.0.hash(&[b"person", id.as_bytes()]).to_hex().to_string();
            return Some(Session { shown: Shown::Person(id, token.to_owned()), csrf, page_of: None, sealed: None });
        }
        let sealed = BASE64_URL_SAFE_NO_PAD.decode(cookie.value()).ok()?;
        let text = String::from_utf8(self.0.open(&[b"session"], sealed)?).ok()?;
        let mut parts = text.splitn(3, ' ');
        let begun_at = Timestamp(parts.next()?.parse().ok()?);
        let id = Uuid::try_parse(parts.next()?).ok()?;
        let key = parts.next()?;
        // So does a renewed one.
        let csrf = self.0.hash(&[b"token", key.as_bytes()]).to_hex().to_string();
        let session = Session { shown: Shown::Key(key.to_owned()), csrf, page_of: None, sealed: Some((id, begun_at)) };
        (now.ms_since(begun_at) < LASTS_MS && !self.1.has(id)).then_some(session)
    }

    /// The session of a request to the API, by a script of our pages. One that may change something shows the token.
    pub fn of_script(&self, request: &HttpRequest, now: Timestamp) -> Option<Session> {
        let session = self.of(request, now)?;
        let shown = request.headers().get(X_CSRF_TOKEN).and_then(|shown| shown.to_str().ok());
        // A page of another origin can open a socket here, and no other request of its own with a header of ours.
        let is_reading = request.method() == Method::GET && is_ours(request);
        let may = is_reading || shown.is_some_and(|shown| session.is_shown(shown));
        let page_of = shown.and_then(|shown| shown.split_once('.')).map(|(_, of)| of.to_owned());
        may.then_some(Session { page_of, ..session })
    }

    /// A person's session that was opened, and the account that it looks at, in words that nobody else can make. What goes on
    /// after its request (a live socket) knows the session by them: they stay as the token is rotated. No client sees them.
    pub fn handle(&self, session: Uuid, account: AccountId) -> String {
        let made = self.0.hash(&[b"handle", session.as_bytes(), account.0.as_bytes()]);
        format!("{HANDLE}{}_{}_{}", session.simple(), account.0.simple(), made.to_hex())
    }

    /// The session and the account of such words; none where they are not ours.
    pub fn of_handle(&self, handle: &str) -> Option<(Uuid, AccountId)> {
        let mut parts = handle.strip_prefix(HANDLE)?.splitn(3, '_');
        let mut id = || Uuid::try_parse(parts.next()?).ok();
        let (session, account) = (id()?, AccountId(id()?));
        is_same(handle.as_bytes(), &self.handle(session, account)).then_some((session, account))
    }
}

fn is_named(text: &str, account: AccountId) -> bool {
    text == account.0.simple().encode_lower(&mut Uuid::encode_buffer())
}

/// Whether a form shows the session's token.
pub fn is_same(shown: &[u8], token: &str) -> bool {
    // Hashes compare in constant time.
    blake3::hash(shown) == blake3::hash(token.as_bytes())
}

/// Whether a request comes from a page of ours, or from nobody's page: the browser says which origin it is from.
pub fn is_ours(request: &HttpRequest) -> bool {
    let headers = request.headers();
    if let Some(site) = headers.get("sec-fetch-site") {
        return matches!(site.as_bytes(), b"same-origin" | b"none");
    }
    let Some(origin) = headers.get("origin") else { return true };
    let host = headers.get("host").and_then(|host| host.to_str().ok());
    let from = origin.to_str().ok().and_then(|origin| origin.split_once("://")).map(|(_, host)| host);
    host.is_some() && host == from
}

fn cookie(request: &HttpRequest, value: String, lasts: time::Duration) -> Cookie<'static> {
    Cookie::build(COOKIE, value)
        .path("/")
        .http_only(true)
        .same_site(SameSite::Lax)
        // A proxy that ends TLS says so.
        .secure(request.connection_info().scheme() == "https")
        .max_age(lasts)
        .finish()
}

#[cfg(test)]
mod tests {
    use actix_web::test::TestRequest;

    use super::*;

    const KEY: &str = "fb_abcdefabcdef_0123456789012345678901234567890123456789";

    fn sessions(token: &str) -> Sessions {
        Sessions::new(&blake3::hash(token.as_bytes()), Ended::default())
    }

    fn with(cookie: Cookie<'static>) -> TestRequest {
        TestRequest::default().cookie(cookie)
    }

    #[test]
    fn a_session_is_opened_by_gateways_with_the_token_until_it_is_over() {
        let plain = TestRequest::default().to_http_request();
        let (sessions, began) = (sessions("operator"), Timestamp(1_000));
        let cookie = sessions.begin(&plain, KEY, began).unwrap();
        assert!(cookie.http_only() == Some(true) && cookie.same_site() == Some(SameSite::Lax));
        assert!(!cookie.value().contains(KEY) && cookie.secure() == Some(false));
        let request = with(cookie.clone()).to_http_request();
        let opened = sessions.of(&request, began.plus_ms(LASTS_MS - 1)).unwrap();
        assert!(matches!(&opened.shown, Shown::Key(key) if key == KEY));
        assert!(sessions.renewed(&plain, &opened, began).is_none());
        let renewed = sessions.renewed(&plain, &opened, began.plus_ms(RENEWED_MS)).unwrap();
        assert!(sessions.of(&request, began.plus_ms(LASTS_MS)).is_none(), "it is over");
        assert!(self::sessions("another").of(&request, began).is_none());
        let (value, other) = (cookie.value().to_owned(), Cookie::new(COOKIE, "x".repeat(LONGEST + 1)));
        let first = if value.starts_with('A') { 'B' } else { 'A' };
        for forged in [Cookie::new(COOKIE, format!("{first}{}", &value[1..])), Cookie::new(COOKIE, "!"), other] {
            assert!(sessions.of(&with(forged).to_http_request(), began).is_none());
        }
        let secure = TestRequest::default().insert_header(("x-forwarded-proto", "https")).to_http_request();
        let other = sessions.begin(&secure, KEY, began).unwrap();
        assert_eq!(other.secure(), Some(true));
        // Whoever has copied a cookie is out with who signs out, and another session by the key is not.
        sessions.sign_out(&opened, began.plus_ms(RENEWED_MS));
        for over in [cookie, renewed] {
            assert!(sessions.of(&with(over).to_http_request(), began.plus_ms(RENEWED_MS)).is_none());
        }
        assert!(sessions.of(&with(other).to_http_request(), began).is_some());
    }

    #[test]
    fn scripts_of_other_pages_do_nothing() {
        let plain = TestRequest::default().to_http_request();
        let (sessions, now) = (sessions("operator"), Timestamp(1_000));
        let cookie = sessions.begin(&plain, KEY, now).unwrap();
        let token = sessions.of(&with(cookie.clone()).to_http_request(), now).unwrap().token_of(None);
        let opens = |request: TestRequest| sessions.of_script(&request.to_http_request(), now).is_some();
        let get = || with(cookie.clone()).insert_header(("host", "box.test"));
        let post = || get().method(Method::POST);
        assert!(opens(get()) && opens(get().insert_header(("origin", "https://box.test"))));
        assert!(!opens(get().insert_header(("origin", "https://evil.test"))));
        assert!(!opens(get().insert_header(("sec-fetch-site", "cross-site"))));
        assert!(!opens(post()) && !opens(post().insert_header((X_CSRF_TOKEN, "wrong"))));
        assert!(opens(post().insert_header((X_CSRF_TOKEN, token))));
    }

    #[test]
    fn a_persons_session_is_known_by_a_handle_that_nobody_else_makes() {
        let (ours, theirs) = (sessions("operator"), sessions("another"));
        let (id, account) = (Uuid::from_u128(7), AccountId(Uuid::from_u128(8)));
        let plain = TestRequest::default().to_http_request();
        let cookie = Sessions::of_person(&plain, id, "a-token", 5_000);
        assert!(cookie.http_only() == Some(true) && cookie.same_site() == Some(SameSite::Lax));
        let opened = ours.of(&with(cookie).to_http_request(), Timestamp(0)).unwrap();
        assert!(matches!(&opened.shown, Shown::Person(it, token) if *it == id && token == "a-token"));
        assert!(ours.renewed(&plain, &opened, Timestamp(i64::MAX)).is_none() && opened.id().is_none());
        let (of_page, other) = (opened.token_of(Some(account)), AccountId(Uuid::from_u128(9)));
        assert!(opened.is_shown(&of_page) && opened.is_shown_for(&of_page, account));
        assert!(!opened.is_shown_for(&of_page, other), "the session looks at another account by now");
        assert!(opened.is_shown_for(&opened.token_of(None), other) && !opened.is_shown(&of_page[1..]));
        for value in ["p.", "p.x.y", "p.00000000000000000000000000000007", "p"] {
            assert!(ours.of(&with(Cookie::new(COOKIE, value)).to_http_request(), Timestamp(0)).is_none(), "{value}");
        }
        let handle = ours.handle(id, account);
        assert_eq!(ours.of_handle(&handle), Some((id, account)));
        let elsewhere = ours.handle(id, AccountId(Uuid::from_u128(9)));
        let forged = format!("{}{}", &elsewhere[..70], &handle[70..]);
        for wrong in [theirs.handle(id, account), forged, "fbs_".into(), "fbs_a_b_c".into(), handle.to_uppercase()] {
            assert_eq!(ours.of_handle(&wrong), None, "{wrong}");
        }
    }
}
