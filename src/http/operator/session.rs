//! Sessions of operators. A session is a cookie that only a gateway with the operator's token has made: it lasts as long as the
//! token and half a day since it was last renewed, two weeks in any case, and is sent to the operator's pages alone. Nothing of it
//! is stored until it is signed out of ([`crate::http::ended`]).

use actix_web::{
    HttpRequest,
    cookie::{Cookie, SameSite, time},
};
use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use billing::{Timestamp, time::DAY_MS};
use uuid::Uuid;

use crate::{http::ended::Ended, sealing::Sealer};

/// The cookie.
const COOKIE: &str = "farebox_operator";
/// Where it is sent.
const PATH: &str = "/operator";
/// How long a session lasts after it was last renewed.
const LASTS_MS: i64 = 12 * 60 * 60 * 1_000;
/// How long a session lasts, however often it is renewed: who has copied a cookie has it no longer.
const LONGEST_MS: i64 = 14 * DAY_MS;
/// How old a session is when it is renewed.
const RENEWED_MS: i64 = 60 * 60 * 1_000;
/// The longest cookie that is opened, in characters.
const LONGEST: usize = 256;

/// Begins and opens sessions.
#[derive(Debug)]
pub struct Sessions(Sealer, Ended);

/// An open session.
#[derive(Debug, Clone)]
pub(super) struct Session {
    /// The id, which it keeps.
    pub(super) id: Uuid,
    /// The token that forms show.
    pub(super) csrf: String,
    first_at: Timestamp,
    begun_at: Timestamp,
}

impl Session {
    /// When it is over.
    pub(super) fn ends_at(&self) -> Timestamp {
        self.begun_at.plus_ms(LASTS_MS).min(self.first_at.plus_ms(LONGEST_MS))
    }

    /// Whether it should be renewed.
    pub(super) fn is_old(&self, now: Timestamp) -> bool {
        now.ms_since(self.begun_at) >= RENEWED_MS
    }
}

impl Sessions {
    /// Sessions of gateways with this operator's token.
    pub fn new(token: &blake3::Hash, ended: Ended) -> Self {
        Self(Sealer::new("farebox 2026-11-30 sessions of operators", token), ended)
    }

    /// The cookie of a new session; none if it can't be sealed.
    pub(super) fn begin(&self, request: &HttpRequest, now: Timestamp) -> Option<Cookie<'static>> {
        self.sealed(request, (Uuid::new_v4(), now), now)
    }

    /// The cookie of a session that goes on.
    pub(super) fn renewed(&self, request: &HttpRequest, session: &Session, now: Timestamp) -> Option<Cookie<'static>> {
        self.sealed(request, (session.id, session.first_at), now)
    }

    fn sealed(&self, request: &HttpRequest, (id, first): (Uuid, Timestamp), now: Timestamp) -> Option<Cookie<'static>> {
        let text = format!("{} {id} {}", now.0, first.0);
        let sealed = BASE64_URL_SAFE_NO_PAD.encode(self.0.seal(&[b"session"], text.as_bytes())?);
        Some(cookie(request, sealed, time::Duration::milliseconds(LASTS_MS)))
    }

    /// Ends a session: no cookie of it is good any more.
    pub(super) fn sign_out(&self, session: &Session, now: Timestamp) {
        self.1.end(session.id, "operator".to_owned(), now, LASTS_MS);
    }

    /// The cookie that ends a session in its browser.
    pub(super) fn end(request: &HttpRequest) -> Cookie<'static> {
        cookie(request, String::new(), time::Duration::ZERO)
    }

    /// The session of a request; none where it has no cookie, or one that is not ours, too old, or signed out of.
    pub(super) fn of(&self, request: &HttpRequest, now: Timestamp) -> Option<Session> {
        let cookie = request.cookie(COOKIE).filter(|cookie| cookie.value().len() <= LONGEST)?;
        let sealed = BASE64_URL_SAFE_NO_PAD.decode(cookie.value()).ok()?;
        let text = String::from_utf8(self.0.open(&[b"session"], sealed)?).ok()?;
        let mut parts = text.splitn(3, ' ');
        let begun_at = Timestamp(parts.next()?.parse().ok()?);
        let id = Uuid::parse_str(parts.next()?).ok()?;
        let first_at = Timestamp(parts.next()?.parse().ok()?);
        // A renewed session has another cookie and the same token: forms that are open stay good.
        let csrf = self.0.hash(&[b"token", id.as_bytes()]).to_hex().to_string();
        let session = Session { id, csrf, first_at, begun_at };
        (now < session.ends_at() && !self.1.has(id)).then_some(session)
    }
}

fn cookie(request: &HttpRequest, value: String, lasts: time::Duration) -> Cookie<'static> {
    Cookie::build(COOKIE, value)
        .path(PATH)
        .http_only(true)
        .same_site(SameSite::Strict)
        // A proxy that ends TLS says so.
        .secure(request.connection_info().scheme() == "https")
        .max_age(lasts)
        .finish()
}

#[cfg(test)]
mod tests {
    use actix_web::test::TestRequest;

    use super::*;

    #[test]
    fn a_session_is_of_the_token_alone_and_ends() {
        let plain = TestRequest::default().to_http_request();
        let sessions = |token: &str| Sessions::new(&blake3::hash(token.as_bytes()), Ended::default());
        let (own, began) = (sessions("operator"), Timestamp(1_000));
        let cookie = own.begin(&plain, began).unwrap();
        assert_eq!((cookie.path(), cookie.same_site()), (Some(PATH), Some(SameSite::Strict)));
        assert!(cookie.http_only() == Some(true) && cookie.secure() == Some(false));
        let with = |cookie: Cookie<'static>| TestRequest::default().cookie(cookie).to_http_request();
        let request = with(cookie.clone());
        let opened = own.of(&request, began.plus_ms(LASTS_MS - 1)).unwrap();
        assert!(own.of(&request, began.plus_ms(LASTS_MS)).is_none(), "it is over");
        assert!(sessions("another").of(&request, began).is_none());
        let renewed = own.renewed(&plain, &opened, began.plus_ms(RENEWED_MS)).unwrap();
        let renewed = own.of(&with(renewed), began.plus_ms(LASTS_MS)).unwrap();
        assert_eq!(renewed.csrf, opened.csrf, "forms stay good");
        // However often it is renewed, it ends.
        let (mut session, mut now) = (opened, began);
        while let Some(open) = own.of(&with(own.renewed(&plain, &session, now).unwrap()), now) {
            (session, now) = (open, now.plus_ms(LASTS_MS / 2));
        }
        assert_eq!(now, began.plus_ms(LONGEST_MS));
        let opened = session;
        let other = own.of(&with(own.begin(&plain, began).unwrap()), began).unwrap();
        assert_ne!(other.csrf, opened.csrf, "another session's are not");
        // Whoever has copied a cookie is out with who signs out, also where it was renewed.
        let renewed = own.renewed(&plain, &opened, began).unwrap();
        assert!(own.of(&with(renewed.clone()), began).is_some());
        own.sign_out(&opened, began);
        assert!(own.of(&with(renewed), began).is_none() && own.of(&request, began).is_none());
        let other = if cookie.value().starts_with('A') { 'B' } else { 'A' };
        for forged in [Cookie::new(COOKIE, format!("{other}{}", &cookie.value()[1..])), Cookie::new(COOKIE, "!")] {
            assert!(own.of(&with(forged), began).is_none());
        }
    }
}
