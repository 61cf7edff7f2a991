//! Signing in by an issuer elsewhere (OpenID Connect): to the issuer, back from it, and linking an identity where its person says
//! so. Whatever goes wrong is said in words, on a page of ours; nothing of what an issuer or a browser sent is shown there.

mod remembered;

use actix_web::{HttpRequest, HttpResponse, cookie::Cookie, http::StatusCode, web};
use askama::Template;
use billing::ids::PersonId;
use serde::Deserialize;

use self::remembered::{Away, Remembered, Says, Stage, forgotten};
use super::{
    super::{
        page::{Frame, ROOT, Signed},
        sign_in::{self, device},
    },
    said,
};
use crate::{
    http::{
        attempts::Attempt,
        error::ApiError,
        pages::{Empty, form_of_stranger, ours, to, whole},
        query::Query,
        respond::Body,
        session::is_same,
        state::Shared,
    },
    service::people::{
        sign_on::{self, Begun, Identity, Meant, Outcome, Returned},
        token_hash,
    },
};

/// The longest page that somebody is led to afterwards: it is remembered in a cookie.
const LONGEST_NEXT: usize = 512;

fn over() -> ApiError {
    ApiError::invalid("sign-in", "it was not begun in this browser, or is over: begin again")
}

/// Answers so, with this cookie or without any.
fn with(mut response: HttpResponse, cookie: &Cookie<'_>) -> HttpResponse {
    // Its characters are those of cookies.
    let _ = response.add_cookie(cookie);
    response
}

/// `GET /dashboard/oidc/{name}`: leads to the issuer. `next` is a page to be led to afterwards; `for=link` is said by who has
/// signed in and wants another way in; `token` is that of a link that was mailed.
pub(super) async fn begin(state: Shared, request: HttpRequest, name: web::Path<String>) -> HttpResponse {
    let query = match Query::of_form(&request, &["next", "for", "token"]) {
        Ok(query) => query,
        Err(error) => return sign_in::refused(&state, &request, &error, ROOT),
    };
    let next = ours(ROOT, query.get("next").filter(|next| next.len() <= LONGEST_NEXT)).to_owned();
    let meant = match (query.get("for"), query.get("token")) {
        (Some("link"), None) => match Signed::of(&state, &request).await {
            Ok(signed) => Meant::Link(signed.open.person.id),
            Err(answer) => return answer,
        },
        (None, Some(token)) => Meant::Join(token.to_owned()),
        (None, None) => Meant::SignIn,
        _ => return sign_in::refused(&state, &request, &ApiError::invalid("for", "must be link, alone"), &next),
    };
    let work = async {
        state.attempts.count(Attempt::SignIn, state.addresses.of(&request), None).await?;
        let Begun { address, state: shown, nonce, verifier } = sign_on::begin(&state.service, &name).await?;
        let stage = Stage::Away(Away::new((shown, nonce, verifier), next.clone(), meant));
        let cookie = Remembered::new(&name, stage, state.service.now()).cookie(&state, &request);
        Ok::<_, ApiError>(with(to(&address), &cookie.ok_or_else(|| ApiError::invalid("token", "is too long"))?))
    };
    work.await.unwrap_or_else(|error| sign_in::refused(&state, &request, &error, &next))
}

/// What an issuer sends a browser back with.
#[derive(Default)]
struct Sent {
    code: Option<String>,
    state: Option<String>,
    from: Option<String>,
    error: Option<String>,
}

/// Reads what a browser was sent back with. Issuers add parameters of their own; those that count come once (RFC 6749, section
/// 3.1).
fn sent(request: &HttpRequest) -> Result<Sent, ApiError> {
    let pairs = web::Query::<Vec<(String, String)>>::from_query(request.query_string()).map_err(|_| over())?;
    let mut sent = Sent::default();
    for (name, value) in pairs.into_inner() {
        let place = match name.as_str() {
            "code" => &mut sent.code,
            "state" => &mut sent.state,
            "iss" => &mut sent.from,
            "error" => &mut sent.error,
            _ => continue,
        };
        if place.replace(value).is_some() {
            return Err(over());
        }
    }
    Ok(sent)
}

/// `GET /dashboard/oidc/{name}/callback`: where an issuer sends browsers back to.
pub(super) async fn callback(state: Shared, request: HttpRequest, name: web::Path<String>) -> HttpResponse {
    // What was begun is over, whatever comes of it.
    let end = forgotten(&request);
    let remembered = Remembered::of(&state, &request).filter(|remembered| remembered.issuer == *name);
    let Some(Remembered { stage: Stage::Away(away), .. }) = remembered else {
        return with(sign_in::refused(&state, &request, &over(), ROOT), &end);
    };
    match came_back(&state, &request, &name, &away).await {
        Ok(answer) => answer,
        Err(error) => with(sign_in::refused(&state, &request, &error, &away.next), &end),
    }
}

async fn came_back(state: &Shared, request: &HttpRequest, name: &str, away: &Away) -> Result<HttpResponse, ApiError> {
    let sent = sent(request)?;
    if !is_same(sent.state.unwrap_or_default().as_bytes(), &away.state) {
        return Err(over());
    }
    if let Some(code) = sent.error {
        return Err(sign_on::refused(&state.service, name, &code)?.into());
    }
    let code = sent.code.filter(|code| !code.is_empty()).ok_or_else(over)?;
    let from = sent.from.as_deref();
    let returned = Returned { code: &code, from, nonce: &away.nonce, verifier: &away.verifier };
    let identity = sign_on::finish(&state.service, name, &returned).await?;
    let outcome = sign_on::come_in(&state.service, (name, &identity), &away.meant(), &device(request)).await?;
    match outcome {
        Outcome::In(begun) => Ok(with(sign_in::begin(state, request, &begun, &away.next).await, &forgotten(request))),
        Outcome::Confirm(person) => ask_person(state, request, (name, identity), person).await,
        Outcome::Mail(email) => {
            state.attempts.count(Attempt::Letter, state.addresses.of(request), Some(&email)).await?;
            let hash = sign_on::ask_by_letter(&state.service, name, &email).await?;
            let says = format!(
                "{email} is known here, and this way in is not yet. A letter is on its way: open the link in it within half an \
                 hour, in this browser."
            );
            let by = Says::Reader { email, hash };
            asked(state, request, (name, identity), by, said(request, "Sign in", says))
        }
    }
}

/// Remembers an identity whose person is asked by this answer.
fn asked(
    state: &Shared,
    request: &HttpRequest,
    (name, identity): (&str, Identity),
    by: Says,
    answer: HttpResponse,
) -> Result<HttpResponse, ApiError> {
    let stage = Stage::Asked { subject: identity.subject, email: identity.email, by };
    let cookie = Remembered::new(name, stage, state.service.now()).cookie(state, request);
    Ok(with(answer, &cookie.ok_or_else(|| ApiError::invalid("sign-in", "what the issuer said is too long"))?))
}

#[derive(Template)]
#[template(path = "dashboard/link.html")]
struct Link {
    frame: Frame,
    action: &'static str,
    label: String,
    whom: String,
    person: String,
    token: String,
}

/// What an issuer is called on pages.
fn label(state: &Shared, name: &str) -> String {
    let found = state.service.people().issuers().find(|(known, _)| *known == name);
    found.map_or(name, |(_, label)| label).to_owned()
}

/// Asks a person who has signed in: what another page has led here to is not done.
async fn ask_person(
    state: &Shared,
    request: &HttpRequest,
    (name, identity): (&str, Identity),
    person: PersonId,
) -> Result<HttpResponse, ApiError> {
    // Who has signed out meanwhile is not led back here: the code is used up.
    let signed = Signed::of(state, request).await.ok().filter(|signed| signed.open.person.id == person);
    let signed = signed.ok_or_else(over)?;
    let page = Link {
        frame: signed.frame("Another way in"),
        action: "/dashboard/identities/link",
        label: label(state, name),
        whom: identity.email.clone().unwrap_or_else(|| identity.subject.clone()),
        person: signed.open.person.email.clone(),
        token: String::new(),
    };
    let shown = signed.page(state, request, StatusCode::OK, &page).await;
    asked(state, request, (name, identity), Says::Person(person.0), shown)
}

/// `POST /dashboard/identities/link`: a person who has signed in links an identity.
pub(super) async fn link(state: Shared, request: HttpRequest, body: Body) -> HttpResponse {
    let signed = match Signed::of(&state, &request).await {
        Ok(signed) => signed,
        Err(answer) => return answer,
    };
    let work = async {
        let Empty {} = signed.form(&request, body)?;
        let person = &signed.open.person;
        let remembered = Remembered::of(&state, &request).ok_or_else(over)?;
        let (identity, by) = remembered.asked().ok_or_else(over)?;
        if !matches!(by, Says::Person(id) if *id == person.id.0) {
            return Err(over());
        }
        sign_on::link(&state.service, (&remembered.issuer, &identity), person).await?;
        Ok::<_, ApiError>(to("/dashboard/settings?said=linked"))
    };
    let answer = work.await.unwrap_or_else(|error| super::super::page::failed(&request, &error));
    with(answer, &forgotten(&request))
}

/// What a browser remembers that a letter with this token is about: the issuer, the identity and the letter's address.
fn of_letter(state: &Shared, request: &HttpRequest, token: &str) -> Result<(String, Identity, String), ApiError> {
    let elsewhere = || {
        ApiError::invalid(
            "token",
            "this link opens in the browser alone in which you came from the issuer, within half an hour, and once: sign in by \
             it again",
        )
    };
    let remembered = Remembered::of(state, request).ok_or_else(elsewhere)?;
    match remembered.asked() {
        Some((identity, Says::Reader { email, hash })) if is_same(token_hash(token).as_bytes(), hash) => {
            Ok((remembered.issuer.clone(), identity, email.clone()))
        }
        _ => Err(elsewhere()),
    }
}

/// `GET /dashboard/identities/confirm`: where a letter leads. Looking at it does nothing.
pub(super) async fn confirm_page(state: Shared, request: HttpRequest) -> HttpResponse {
    let made = || {
        let token = Query::of_form(&request, &["token"])?.get("token").unwrap_or_default().to_owned();
        let (name, identity, person) = of_letter(&state, &request, &token)?;
        let whom = identity.email.unwrap_or(identity.subject);
        let (frame, action) = (Frame::of_stranger("Another way in"), "/dashboard/identities/confirm");
        Ok::<_, ApiError>(Link { frame, action, label: label(&state, &name), whom, person, token })
    };
    match made() {
        Ok(page) => whole(&request, StatusCode::OK, &page),
        Err(error) => sign_in::refused(&state, &request, &error, ROOT),
    }
}

/// A letter that was opened.
#[derive(Deserialize)]
struct Opened {
    #[serde(default)]
    token: String,
}

/// `POST /dashboard/identities/confirm`: whoever reads a person's letters links an identity, and is in.
pub(super) async fn confirm(state: Shared, request: HttpRequest, body: Body) -> HttpResponse {
    let work = async {
        let Opened { token } = form_of_stranger(&request, body)?;
        state.attempts.count(Attempt::Link, state.addresses.of(&request), None).await?;
        let (name, identity, email) = of_letter(&state, &request, &token)?;
        let begun = sign_on::confirm(&state.service, (&name, &identity), &email, &device(&request)).await?;
        Ok::<_, ApiError>(with(sign_in::begin(&state, &request, &begun, ROOT).await, &forgotten(&request)))
    };
    work.await.unwrap_or_else(|error| sign_in::refused(&state, &request, &error, ROOT))
}
