//! What a browser remembers of a sign-in by an issuer: from its beginning until it comes back, and, where an identity is to be
//! linked, until its person says so. It is sealed in a cookie of its own, so that any node that knows the operator's token goes
//! on with it, and nobody else reads it or makes one. Each is used once: the page that uses it takes it away.

use actix_web::{
    HttpRequest,
    cookie::{Cookie, SameSite, time},
};
use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use billing::{Timestamp, ids::PersonId};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::{
    http::state::State,
    service::people::sign_on::{CONFIRM_MS, Identity, Meant},
};

/// The cookie.
const COOKIE: &str = "farebox_sign_on";
/// How long somebody may take at an issuer.
const AT_ISSUER_MS: i64 = 10 * 60 * 1_000;
/// The longest cookie that is opened, in characters.
const LONGEST: usize = 4_000;

/// A sign-in by an issuer.
#[derive(Serialize, Deserialize)]
pub(super) struct Remembered {
    /// The issuer, as the settings call it.
    pub(super) issuer: String,
    at: i64,
    /// How far it is.
    pub(super) stage: Stage,
}

/// How far a sign-in by an issuer is.
#[derive(Serialize, Deserialize)]
pub(super) enum Stage {
    /// The browser is at the issuer.
    Away(Away),
    /// The issuer has said who it is, and its person is to say whether the identity is to be linked.
    Asked {
        /// The issuer's name for the person.
        subject: String,
        /// The address that the issuer told.
        email: Option<String>,
        /// Who says so.
        by: Says,
    },
}

/// What is remembered of the beginning.
#[derive(Serialize, Deserialize)]
pub(super) struct Away {
    pub(super) state: String,
    pub(super) nonce: String,
    pub(super) verifier: String,
    /// The page to be led to.
    pub(super) next: String,
    /// The person who wants another way in.
    link: Option<Uuid>,
    /// The token of a link that was mailed.
    token: Option<String>,
}

/// Who says whether an identity is to be linked.
#[derive(Serialize, Deserialize)]
pub(super) enum Says {
    /// A person who has signed in.
    Person(Uuid),
    /// Whoever reads a letter to this address, whose token has this hash.
    Reader {
        /// The address.
        email: String,
        /// The hash.
        hash: String,
    },
}

impl Away {
    /// What is remembered of a beginning that means this.
    pub(super) fn new((state, nonce, verifier): (String, String, String), next: String, meant: Meant) -> Self {
        let (link, token) = match meant {
            Meant::SignIn => (None, None),
            Meant::Link(person) => (Some(person.0), None),
            Meant::Join(token) => (None, Some(token)),
        };
        Self { state, nonce, verifier, next, link, token }
    }

    /// What it means.
    pub(super) fn meant(&self) -> Meant {
        match (self.link, &self.token) {
            (Some(person), _) => Meant::Link(PersonId(person)),
            (None, Some(token)) => Meant::Join(token.clone()),
            (None, None) => Meant::SignIn,
        }
    }
}

impl Remembered {
    /// One that is at this stage now.
    pub(super) fn new(issuer: &str, stage: Stage, now: Timestamp) -> Self {
        Self { issuer: issuer.to_owned(), at: now.0, stage }
    }

    /// That of a request; none where it has no cookie, or one that is not ours or too old.
    pub(super) fn of(state: &State, request: &HttpRequest) -> Option<Self> {
        let cookie = request.cookie(COOKIE).filter(|cookie| cookie.value().len() <= LONGEST)?;
        let sealed = BASE64_URL_SAFE_NO_PAD.decode(cookie.value()).ok()?;
        let found: Self = serde_json::from_slice(&state.sign_ons.open(&[b"remembered"], sealed)?).ok()?;
        (state.service.now().ms_since(Timestamp(found.at)) < found.lasts_ms()).then_some(found)
    }

    /// The identity that is to be linked, and who says so.
    pub(super) fn asked(&self) -> Option<(Identity, &Says)> {
        match &self.stage {
            Stage::Asked { subject, email, by } => {
                // The address is a label here: nothing is decided by it any more.
                let identity =
                    Identity { subject: subject.clone(), email: email.clone(), is_verified: false, name: None };
                Some((identity, by))
            }
            Stage::Away(_) => None,
        }
    }

    const fn lasts_ms(&self) -> i64 {
        match self.stage {
            Stage::Away(_) => AT_ISSUER_MS,
            Stage::Asked { .. } => CONFIRM_MS,
        }
    }

    /// The cookie; none where it can't be sealed, or is too long.
    pub(super) fn cookie(&self, state: &State, request: &HttpRequest) -> Option<Cookie<'static>> {
        let text = serde_json::to_vec(self).ok()?;
        let sealed = BASE64_URL_SAFE_NO_PAD.encode(state.sign_ons.seal(&[b"remembered"], &text)?);
        let lasts = time::Duration::milliseconds(self.lasts_ms());
        (sealed.len() <= LONGEST).then(|| cookie(request, sealed, lasts))
    }
}

/// The cookie that ends one.
pub(super) fn forgotten(request: &HttpRequest) -> Cookie<'static> {
    cookie(request, String::new(), time::Duration::ZERO)
}

fn cookie(request: &HttpRequest, value: String, lasts: time::Duration) -> Cookie<'static> {
    Cookie::build(COOKIE, value)
        .path("/dashboard")
        .http_only(true)
        // An issuer sends the browser back by a link: it must be shown then.
        .same_site(SameSite::Lax)
        // A proxy that ends TLS says so.
        .secure(request.connection_info().scheme() == "https")
        .max_age(lasts)
        .finish()
}
