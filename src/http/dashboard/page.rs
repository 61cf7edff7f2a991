//! What all pages have in common: who visits, the frame around the page, forms, and errors in words.

use actix_web::{HttpRequest, HttpResponse, http::StatusCode};
use askama::Template;
use billing::{
    Timestamp,
    key::Scope,
    member::{Act, Role},
};
use serde::de::DeserializeOwned;

use super::assets;
use crate::{
    gateway::serve::Caller,
    http::{
        arrival::Arrival,
        auth::{self, person},
        error::ApiError,
        pages::{after, form, to, to_sign_in, whole},
        respond::Body,
        session::{Session, Sessions, Shown},
        state::Shared,
        trail,
    },
    service::{
        people::sessions::{self, Open},
        trail::By,
    },
};

/// The path of these pages.
pub(super) const ROOT: &str = "/dashboard";

/// The pages, as they are listed on each.
const PAGES: [(&str, &str); 11] = [
    ("/dashboard", "Overview"),
    ("/dashboard/playground", "Playground"),
    ("/dashboard/usage", "Usage"),
    ("/dashboard/requests", "Requests"),
    ("/dashboard/credits", "Credits"),
    ("/dashboard/keys", "Keys"),
    ("/dashboard/models", "Models"),
    ("/dashboard/events", "Events"),
    NOTIFICATIONS,
    MEMBERS,
    SETTINGS,
];
/// Those that people have alone.
const NOTIFICATIONS: (&str, &str) = ("/dashboard/notifications", "Notifications");
const MEMBERS: (&str, &str) = ("/dashboard/members", "Members");
const SETTINGS: (&str, &str) = ("/dashboard/settings", "Settings");

/// Who visits a page of an account.
pub(super) struct Visitor {
    pub(super) caller: Caller,
    /// When the key expires; a person's keys outlast the session.
    pub(super) expires_at: Option<Timestamp>,
    session: Session,
    /// The person; none for who signed in by a key.
    open: Option<Box<Open>>,
}

/// A person who has signed in, and may be a member of no account.
pub(super) struct Signed {
    pub(super) open: Open,
    session: Session,
}

/// Who looks at a page, as it says so.
pub(super) struct Who {
    pub(super) name: String,
    /// The account's address; none for a member of none.
    pub(super) account: Option<String>,
    pub(super) role: &'static str,
}

/// The part of a page that frames it.
pub(super) struct Frame {
    pub(super) title: &'static str,
    pub(super) csrf: String,
    pub(super) version: &'static str,
    pub(super) style: &'static str,
    pub(super) script: &'static str,
    pub(super) who: Option<Who>,
}

impl Frame {
    /// Whether the page is of this name.
    pub(super) fn is(&self, name: &str) -> bool {
        self.title == name
    }

    /// The pages that are listed for who looks at this one.
    pub(super) fn pages(&self) -> &'static [(&'static str, &'static str)] {
        match &self.who {
            None => &PAGES[..PAGES.len() - 3],
            Some(Who { account: Some(_), .. }) => &PAGES,
            Some(Who { account: None, .. }) => &PAGES[PAGES.len() - 1..],
        }
    }

    /// The frame of a page for who has not signed in.
    pub(super) fn of_stranger(title: &'static str) -> Self {
        Self {
            title,
            csrf: String::new(),
            version: env!("CARGO_PKG_VERSION"),
            style: &assets::STYLE,
            script: &assets::SCRIPT,
            who: None,
        }
    }
}

impl Signed {
    /// The person who visits a page. Who has not signed in, or by a key, is led to do so, and back.
    ///
    /// # Errors
    ///
    /// The answer that leads there, or that says what is wrong.
    pub(super) async fn of(state: &Shared, request: &HttpRequest) -> Result<Self, HttpResponse> {
        let session = state.sessions.of(request, state.service.now());
        let Some(session) = session else { return Err(to_sign_in(request, ROOT)) };
        let Shown::Person(id, token) = &session.shown else { return Err(to_sign_in(request, ROOT)) };
        match sessions::open(&state.service, *id, token).await {
            Ok(Some(open)) => Ok(Self { open, session }),
            Ok(None) => Err(to_sign_in(request, ROOT)),
            Err(error) => Err(failed(request, &error.into())),
        }
    }

    /// The frame of a page.
    pub(super) fn frame(&self, title: &'static str) -> Frame {
        framed(title, &self.session, Some(&self.open))
    }

    /// Reads a form of this person's.
    ///
    /// # Errors
    ///
    /// It is not of a page of ours, or does not read.
    pub(super) fn form<T: DeserializeOwned>(&self, request: &HttpRequest, body: Body) -> Result<T, ApiError> {
        form(request, body, |shown| self.session.is_shown(shown))
    }

    /// A page for this person.
    pub(super) async fn page(
        &self,
        state: &Shared,
        request: &HttpRequest,
        status: StatusCode,
        page: &impl Template,
    ) -> HttpResponse {
        let mut response = whole(request, status, page);
        renew(state, request, &mut response, &self.session, Some(&self.open)).await;
        response
    }
}

impl Visitor {
    /// Who visits a page of an account. Who has not signed in is led there, and back; who is a member of none, to the list of
    /// accounts.
    ///
    /// # Errors
    ///
    /// The answer that leads there, or that says what is wrong.
    pub(super) async fn of(state: &Shared, request: &HttpRequest) -> Result<Self, HttpResponse> {
        let session = state.sessions.of(request, state.service.now());
        let Some(session) = session else { return Err(to_sign_in(request, ROOT)) };
        let Shown::Key(key) = &session.shown else {
            let Signed { open, session } = Signed::of(state, request).await?;
            let Some(caller) = person::caller(&open) else { return Err(to("/dashboard/accounts")) };
            trail::asks(request, caller.account_id, By::Member(open.person.id));
            return Ok(Self { caller, expires_at: None, session, open: Some(Box::new(open)) });
        };
        match auth::by_key(state, key).await {
            Ok((caller, expires_at)) => {
                trail::asks(request, caller.account_id, By::Key(caller.key_id.0));
                Ok(Self { caller, expires_at, session, open: None })
            }
            // The key was revoked, or has expired.
            Err(error) if error.status() == StatusCode::UNAUTHORIZED => Err(to_sign_in(request, ROOT)),
            Err(error) => Err(failed(request, &error)),
        }
    }

    /// The visitor, who may do something.
    ///
    /// # Errors
    ///
    /// The key or the role lacks the scope.
    pub(super) fn may(&self, scope: Scope) -> Result<Caller, ApiError> {
        if self.caller.scopes.has(scope) { Ok(self.caller) } else { Err(ApiError::out_of_scope(scope)) }
    }

    /// The person's role in the account; none for who signed in by a key.
    pub(super) fn role(&self) -> Option<Role> {
        self.open.as_ref()?.seat.as_ref().map(|(member, _)| member.role)
    }

    /// The person, who may do something that takes a person.
    ///
    /// # Errors
    ///
    /// The role does not allow it, or the visitor signed in by a key.
    pub(super) fn person(&self, act: Act) -> Result<&Open, ApiError> {
        let open = self.open.as_deref();
        let open =
            open.ok_or_else(|| ApiError::forbidden("This takes a person, and no key: sign in by a password."))?;
        if self.role().is_some_and(|role| role.may(act)) {
            return Ok(open);
        }
        Err(ApiError::forbidden(match act {
            Act::Members => "Only an owner of the account may do this.",
            Act::Ask => "You need not ask: you may do it yourself.",
            Act::Read | Act::Inference | Act::Keys | Act::Billing => "Your role does not allow this.",
        }))
    }

    /// The frame of a page.
    pub(super) fn frame(&self, title: &'static str) -> Frame {
        framed(title, &self.session, self.open.as_deref())
    }

    /// Reads a form of this visitor's.
    ///
    /// # Errors
    ///
    /// It is not of a page of ours, or of one of another account (in another tab, the session was turned to this one), or does
    /// not read.
    pub(super) fn form<T: DeserializeOwned>(&self, request: &HttpRequest, body: Body) -> Result<T, ApiError> {
        form(request, body, |shown| self.session.is_shown_for(shown, self.caller.account_id))
    }
}

fn framed(title: &'static str, session: &Session, open: Option<&Open>) -> Frame {
    let who = open.map(|open| Who {
        name: open.person.name.clone(),
        account: open.seat.as_ref().map(|(_, account)| account.clone()),
        role: open.seat.as_ref().map_or("", |(member, _)| member.role.name()),
    });
    let account = open.and_then(|open| open.seat.as_ref()).map(|(member, _)| member.account_id);
    Frame { csrf: session.token_of(account), who, ..Frame::of_stranger(title) }
}

/// Answers with a page that is made for its visitor.
pub(super) async fn visited<T: Template>(
    state: &Shared,
    request: &HttpRequest,
    make: impl AsyncFnOnce(&Visitor) -> Result<T, ApiError>,
) -> HttpResponse {
    match Visitor::of(state, request).await {
        Ok(visitor) => answered(state, request, &visitor, None, async |_| make(&visitor).await).await,
        Err(answer) => answer,
    }
}

/// Answers with a page that is made for its visitor, or again where a form of it was wrong: then with the words for that.
pub(super) async fn answered<T: Template>(
    state: &Shared,
    request: &HttpRequest,
    visitor: &Visitor,
    wrong: Option<ApiError>,
    make: impl AsyncFnOnce(Option<String>) -> Result<T, ApiError>,
) -> HttpResponse {
    let status = wrong.as_ref().map_or(StatusCode::OK, ApiError::status);
    match make(wrong.map(|error| error.message().to_owned())).await {
        Ok(made) => page(state, request, visitor, status, &made).await,
        Err(error) => failed(request, &error),
    }
}

/// Carries out a form of a visitor who may do that. Where it can't be, its page is shown again, with the reason.
pub(super) async fn sent<T: DeserializeOwned>(
    state: &Shared,
    request: &HttpRequest,
    body: Body,
    scope: Scope,
    act: impl AsyncFnOnce(&Visitor, T) -> Result<HttpResponse, ApiError>,
    again: impl AsyncFnOnce(&Visitor, ApiError) -> HttpResponse,
) -> HttpResponse {
    let visitor = match Visitor::of(state, request).await {
        Ok(visitor) => visitor,
        Err(answer) => return answer,
    };
    let work = async {
        visitor.may(scope)?;
        act(&visitor, visitor.form(request, body)?).await
    };
    match work.await {
        Ok(answer) => answer,
        Err(error) => again(&visitor, error).await,
    }
}

/// A page for a visitor. A session that is getting old is renewed with it.
pub(super) async fn page(
    state: &Shared,
    request: &HttpRequest,
    visitor: &Visitor,
    status: StatusCode,
    page: &impl Template,
) -> HttpResponse {
    let mut response = whole(request, status, page);
    renew(state, request, &mut response, &visitor.session, visitor.open.as_deref()).await;
    response
}

/// Renews a session that is getting old, by the cookie of this answer alone: one that the browser never gets would end it.
async fn renew(
    state: &Shared,
    request: &HttpRequest,
    response: &mut HttpResponse,
    session: &Session,
    open: Option<&Open>,
) {
    let now = state.service.now();
    let renewed = match open {
        Some(open) if open.is_old(now) => match sessions::rotate(&state.service, &open.session).await {
            Ok(Some(next)) => {
                let lasts = open.session.ends_at.ms_since(now);
                Some(Sessions::of_person(request, next.id, &next.token, lasts))
            }
            // Another request has done it, or the next one will.
            Ok(None) | Err(_) => None,
        },
        Some(_) => None,
        None => state.sessions.renewed(request, session, now),
    };
    if let Some(cookie) = renewed {
        // A cookie that can't be written leaves the session as it is.
        let _ = response.add_cookie(&cookie);
    }
}

#[derive(Template)]
#[template(path = "dashboard/error.html")]
struct Failed {
    frame: Frame,
    message: String,
    request_id: String,
}

/// A page that says what is wrong.
pub(in crate::http) fn failed(request: &HttpRequest, error: &ApiError) -> HttpResponse {
    let page = Failed {
        frame: Frame::of_stranger("That did not work"),
        message: error.message().to_owned(),
        request_id: Arrival::of(request).id.to_string(),
    };
    after(whole(request, error.status(), &page), error)
}
