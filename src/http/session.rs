//! Sessions of browsers. A session is a cookie that has an API key sealed in it: what its holder may do is what the key may
//! do, and ends with the key. Nothing of a session is stored, so any node that knows the operator's token knows it.
//!
//! A browser sends cookies whichever page asks it to, so a request that changes something must also show the session's
//! token, which other pages can't read (OWASP, "Cross-Site Request Forgery Prevention": signed double submit).

use actix_web::{
    HttpRequest,
    cookie::{Cookie, SameSite, time},
    http::{Method, header::HeaderName},
};
use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use billing::Timestamp;

use crate::sealing::Sealer;

/// The cookie.
const COOKIE: &str = "farebox_session";
/// The header in which scripts of our pages show the session's token.
const X_CSRF_TOKEN: HeaderName = HeaderName::from_static("x-csrf-token");
/// How long a session lasts after it was last renewed.
const LASTS_MS: i64 = 12 * 60 * 60 * 1_000;
/// How old a session is when it is renewed.
const RENEWED_MS: i64 = 60 * 60 * 1_000;
/// The longest cookie that is opened, in characters.
const LONGEST: usize = 512;

/// Begins and opens sessions.
#[derive(Debug)]
pub struct Sessions(Sealer);

/// An open session.
#[derive(Debug, Clone)]
pub struct Session {
    /// The API key.
    pub key: String,
    /// The token that forms and scripts show.
    pub csrf: String,
    /// When it was begun or renewed.
    begun_at: Timestamp,
}

impl Session {
    /// Whether it should be renewed.
    pub fn is_old(&self, now: Timestamp) -> bool {
        now.ms_since(self.begun_at) >= RENEWED_MS
    }
}

impl Sessions {
    /// Sessions of gateways with this operator's token.
    pub fn new(token: &blake3::Hash) -> Self {
        Self(Sealer::new("farebox 2026-11-29 sessions of browsers", token))
    }

    /// The cookie of a session by this key; none if the key can't be sealed.
    pub fn begin(&self, request: &HttpRequest, key: &str, now: Timestamp) -> Option<Cookie<'static>> {
        let text = format!("{} {key}", now.0);
        let sealed = BASE64_URL_SAFE_NO_PAD.encode(self.0.seal(&[b"session"], text.as_bytes())?);
        Some(cookie(request, sealed, time::Duration::milliseconds(LASTS_MS)))
    }

    /// The cookie that ends a session.
    pub fn end(request: &HttpRequest) -> Cookie<'static> {
        cookie(request, String::new(), time::Duration::ZERO)
    }

    /// The session of a request; none where it has no cookie, or one that is not ours or too old.
    pub fn of(&self, request: &HttpRequest, now: Timestamp) -> Option<Session> {
        let cookie = request.cookie(COOKIE).filter(|cookie| cookie.value().len() <= LONGEST)?;
        let sealed = BASE64_URL_SAFE_NO_PAD.decode(cookie.value()).ok()?;
        let text = String::from_utf8(self.0.open(&[b"session"], sealed)?).ok()?;
        let (begun_at, key) = text.split_once(' ')?;
        let begun_at = Timestamp(begun_at.parse().ok()?);
        // A renewed session has another cookie and the same token: forms that are open stay good.
        let csrf = self.0.hash(&[b"token", key.as_bytes()]).to_hex().to_string();
        (now.ms_since(begun_at) < LASTS_MS).then(|| Session { key: key.to_owned(), csrf, begun_at })
    }

    /// The session of a request to the API, by a script of our pages. One that may change something shows the token.
    pub fn of_script(&self, request: &HttpRequest, now: Timestamp) -> Option<Session> {
        let session = self.of(request, now)?;
        let shown = request.headers().get(X_CSRF_TOKEN).map(actix_web::http::header::HeaderValue::as_bytes);
        // A page of another origin can open a socket here, and no other request of its own with a header of ours.
        let is_reading = request.method() == Method::GET && is_ours(request);
        (is_reading || shown.is_some_and(|shown| is_same(shown, &session.csrf))).then_some(session)
    }
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
        Sessions::new(&blake3::hash(token.as_bytes()))
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
        assert_eq!(opened.key, KEY);
        assert!(opened.is_old(began.plus_ms(RENEWED_MS)) && !opened.is_old(began));
        assert!(sessions.of(&request, began.plus_ms(LASTS_MS)).is_none(), "it is over");
        assert!(self::sessions("another").of(&request, began).is_none());
        let (value, other) = (cookie.value().to_owned(), Cookie::new(COOKIE, "x".repeat(LONGEST + 1)));
        for forged in [Cookie::new(COOKIE, format!("A{}", &value[1..])), Cookie::new(COOKIE, "!"), other] {
            assert!(sessions.of(&with(forged).to_http_request(), began).is_none());
        }
        let secure = TestRequest::default().insert_header(("x-forwarded-proto", "https")).to_http_request();
        assert_eq!(sessions.begin(&secure, KEY, began).unwrap().secure(), Some(true));
    }

    #[test]
    fn scripts_of_other_pages_do_nothing() {
        let plain = TestRequest::default().to_http_request();
        let (sessions, now) = (sessions("operator"), Timestamp(1_000));
        let cookie = sessions.begin(&plain, KEY, now).unwrap();
        let token = sessions.of(&with(cookie.clone()).to_http_request(), now).unwrap().csrf;
        let opens = |request: TestRequest| sessions.of_script(&request.to_http_request(), now).is_some();
        let get = || with(cookie.clone()).insert_header(("host", "box.test"));
        let post = || get().method(Method::POST);
        assert!(opens(get()) && opens(get().insert_header(("origin", "https://box.test"))));
        assert!(!opens(get().insert_header(("origin", "https://evil.test"))));
        assert!(!opens(get().insert_header(("sec-fetch-site", "cross-site"))));
        assert!(!opens(post()) && !opens(post().insert_header((X_CSRF_TOKEN, "wrong"))));
        assert!(opens(post().insert_header((X_CSRF_TOKEN, token))));
    }
}
