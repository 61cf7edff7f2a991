//! Saved cards: adding one, in a form of Stripe's own that this server sees nothing of, choosing, removing; and a payment that
//! waits for its card's owner.

use actix_web::{
    HttpRequest, HttpResponse,
    http::{
        StatusCode,
        header::{CONTENT_SECURITY_POLICY, HeaderValue},
    },
    web,
};
use askama::Template;
use billing::{
    Nanos,
    ids::{PaymentId, RequestId},
    key::Scope,
    payment::PaymentStatus,
};
use serde::Deserialize;
use url::Url;
use uuid::Uuid;

use super::{
    assets, credits,
    page::{Frame, Visitor, page, sent, visited},
    text::{Minute, minute},
};
use crate::{
    http::{
        account::payments::payment_id,
        error::ApiError,
        once::Once,
        pages::{Empty, policy_with, takes_form, to},
        query::Query,
        respond::Body,
        routes::get,
        state::Shared,
        trail, values,
    },
    idempotency::Life,
    service::{
        acts::Origin,
        cards::{self, Save, Saved, Teller},
        payments::{self, Verdict},
    },
};

/// The routes of these pages.
pub(super) fn configure(app: &mut web::ServiceConfig) {
    app.service(takes_form("/dashboard/credits/cards", save))
        .service(takes_form("/dashboard/credits/cards/begin", begin))
        .service(get("/dashboard/credits/cards/finish", finish))
        .service(takes_form("/dashboard/credits/cards/{id}/default", choose))
        .service(takes_form("/dashboard/credits/cards/{id}/remove", remove))
        .service(get("/dashboard/credits/payments/{id}", payment))
        .service(takes_form("/dashboard/credits/payments/{id}/verdict", verdict));
}

/// What a page of ours that speaks with Stripe says to its browser.
struct Stripe {
    key: String,
    script: String,
    ours: &'static str,
    policy: HeaderValue,
}

impl Stripe {
    /// What such a page may load (Stripe's guide "Security at Stripe", section "Content Security Policy"), and no other.
    fn of(teller: &Teller<'_>) -> Option<Self> {
        let Teller::Browser { browser, api } = teller else { return None };
        let origin = |url: &str| Some(Url::parse(url).ok()?.origin().ascii_serialization());
        let (script, api) = (origin(&browser.script)?, origin(api)?);
        let policy = policy_with(
            &format!("{script} https://*.js.stripe.com"),
            &api,
            &format!("{script} https://*.js.stripe.com https://hooks.stripe.com"),
        );
        Some(Self {
            key: browser.publishable_key.clone(),
            script: browser.script.clone(),
            ours: &assets::CARDS,
            policy: HeaderValue::try_from(policy).ok()?,
        })
    }
}

/// A page that speaks with Stripe.
async fn beside_stripe(
    state: &Shared,
    request: &HttpRequest,
    visitor: &Visitor,
    policy: HeaderValue,
    shown: &impl Template,
) -> HttpResponse {
    let mut response = page(state, request, visitor, StatusCode::OK, shown).await;
    response.headers_mut().insert(CONTENT_SECURITY_POLICY, policy);
    response
}

/// A card to save: a test card, or what Stripe's form has set up.
#[derive(Deserialize)]
struct Wanted {
    card: Option<String>,
    setup_intent: Option<String>,
    /// The form's id: sent twice it saves one card.
    once: Once,
}

/// `POST /dashboard/credits/cards`.
async fn save(state: Shared, request: HttpRequest, body: Body) -> HttpResponse {
    credits::carried_out(&state, &request, body, async |account, Wanted { card, setup_intent, once }| {
        let wanted = Save { card, setup_intent, default: false };
        let origin = state.onces.origin(account, once, Life::First)?;
        match cards::save(&state.service, origin, account, &wanted).await? {
            Saved::Card(card) => {
                trail::makes(&request, &card.id, "");
                Ok("saved")
            }
            Saved::Begun { .. } => Err(ApiError::invalid("setup_intent", "is missing: begin with \"Add a card\"")),
        }
    })
    .await
}

#[derive(Template)]
#[template(path = "dashboard/card.html")]
struct Card {
    frame: Frame,
    stripe: Stripe,
    setup: String,
    secret: String,
    once: Uuid,
}

/// The form's id alone.
#[derive(Deserialize)]
struct Begin {
    once: Once,
}

/// `POST /dashboard/credits/cards/begin`: begins a setup, and shows Stripe's form for it. Nothing leads there: its secret must
/// not stand in an address.
async fn begin(state: Shared, request: HttpRequest, body: Body) -> HttpResponse {
    let act = async |visitor: &Visitor, Begin { once }| {
        let elsewhere = || ApiError::invalid("form", "cards are not saved on this page here");
        let stripe = Stripe::of(&cards::teller(&state.service)).ok_or_else(elsewhere)?;
        let nothing = Save { card: None, setup_intent: None, default: false };
        let account = visitor.caller.account_id;
        let origin = state.onces.origin(account, once, Life::First)?;
        let begun = cards::save(&state.service, origin, account, &nothing).await?;
        let Saved::Begun { reference, client_secret } = begun else { return Err(elsewhere()) };
        let (frame, policy) = (visitor.frame("Add a card"), stripe.policy.clone());
        let shown = Card { frame, stripe, setup: reference, secret: client_secret, once: state.onces.make(account) };
        Ok(beside_stripe(&state, &request, visitor, policy, &shown).await)
    };
    let again = async |visitor: &Visitor, error| credits::shown(&state, &request, visitor, Some(error)).await;
    sent(&state, &request, body, Scope::Billing, act, again).await
}

#[derive(Template)]
#[template(path = "dashboard/card_finish.html")]
struct Finish {
    frame: Frame,
    setup: String,
    failed: bool,
    once: Uuid,
}

/// `GET /dashboard/credits/cards/finish`: where banks lead back to that asked the owner on a page of their own. The names are
/// Stripe's.
async fn finish(state: Shared, request: HttpRequest) -> HttpResponse {
    visited(&state, &request, async |visitor| {
        visitor.may(Scope::Billing)?;
        let query = Query::of_form(&request, &["setup_intent", "setup_intent_client_secret", "redirect_status"])?;
        let missing = || ApiError::invalid("setup_intent", "is missing");
        Ok(Finish {
            frame: visitor.frame("Save the card"),
            setup: query.get("setup_intent").ok_or_else(missing)?.to_owned(),
            failed: query.get("redirect_status") == Some("failed"),
            once: state.onces.make(visitor.caller.account_id),
        })
    })
    .await
}

fn card_id(text: &str) -> Result<Uuid, ApiError> {
    values::id("id", text, "must be a saved card's id")
}

/// `POST /dashboard/credits/cards/{id}/default`.
async fn choose(state: Shared, request: HttpRequest, id: web::Path<String>, body: Body) -> HttpResponse {
    credits::carried_out(&state, &request, body, async |account, Empty {}| {
        cards::set_default(&state.service, account, card_id(&id)?).await?;
        Ok("set")
    })
    .await
}

/// `POST /dashboard/credits/cards/{id}/remove`.
async fn remove(state: Shared, request: HttpRequest, id: web::Path<String>, body: Body) -> HttpResponse {
    credits::carried_out(&state, &request, body, async |account, Empty {}| {
        cards::remove(&state.service, account, card_id(&id)?).await?;
        Ok("removed")
    })
    .await
}

/// How a card's owner says yes or no.
enum Asked {
    /// In the browser, by Stripe.
    Stripe { stripe: Stripe, secret: String, card: String },
    /// Here, for a test card's bank.
    Sandbox,
    /// At a client of the owner's.
    Client,
    /// Nobody is asked.
    Nobody,
}

#[derive(Template)]
#[template(path = "dashboard/payment.html")]
struct Payment {
    frame: Frame,
    id: Uuid,
    at: Minute,
    amount: Nanos,
    status: &'static str,
    decline: String,
    card: String,
    asked: Asked,
    may_pay: bool,
}

/// `GET /dashboard/credits/payments/{id}`.
async fn payment(state: Shared, request: HttpRequest, id: web::Path<String>) -> HttpResponse {
    let visitor = match Visitor::of(&state, &request).await {
        Ok(visitor) => visitor,
        Err(answer) => return answer,
    };
    match asked(&state, &visitor, &id).await {
        Ok(shown) => {
            let policy = match &shown.asked {
                Asked::Stripe { stripe, .. } => Some(stripe.policy.clone()),
                Asked::Sandbox | Asked::Client | Asked::Nobody => None,
            };
            match policy {
                Some(policy) => beside_stripe(&state, &request, &visitor, policy, &shown).await,
                None => page(&state, &request, &visitor, StatusCode::OK, &shown).await,
            }
        }
        Err(error) => super::page::failed(&request, &error),
    }
}

async fn asked(state: &Shared, visitor: &Visitor, id: &str) -> Result<Payment, ApiError> {
    let account = visitor.may(Scope::Read)?.account_id;
    let whole = payments::whole(&state.service, account, payment_id(id)?).await?;
    let may_pay = visitor.caller.scopes.has(Scope::Billing);
    let reference = whole.card.as_ref().map(|card| card.reference.clone());
    let teller = cards::teller(&state.service);
    let asked = match (whole.action, &teller) {
        (Some(_), Teller::Sandbox) => Asked::Sandbox,
        (Some(action), Teller::Browser { .. }) => match (Stripe::of(&teller), reference) {
            (Some(stripe), Some(card)) if may_pay => Asked::Stripe { stripe, secret: action.client_secret, card },
            _ => Asked::Client,
        },
        (Some(_), Teller::Client) => Asked::Client,
        (None, _) => Asked::Nobody,
    };
    let payment = whole.payment;
    Ok(Payment {
        frame: visitor.frame("Payment"),
        id: payment.id.0,
        at: minute(payment.created_at),
        amount: payment.amount,
        status: match payment.status {
            PaymentStatus::Pending => "pending",
            PaymentStatus::Succeeded => "paid",
            PaymentStatus::Declined => "declined",
        },
        decline: payment.decline_code.unwrap_or_default().replace('_', " "),
        card: whole.card.map(|card| format!("{} ending in {}", card.brand, card.last4)).unwrap_or_default(),
        asked,
        may_pay,
    })
}

/// What the owner of a test card says.
#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum Says {
    Approve,
    Refuse,
}

#[derive(Deserialize)]
struct Said {
    verdict: Says,
}

/// `POST /dashboard/credits/payments/{id}/verdict`: approves or refuses a test card's charge, as its bank's page would.
async fn verdict(state: Shared, request: HttpRequest, id: web::Path<String>, body: Body) -> HttpResponse {
    let act = async |visitor: &Visitor, Said { verdict }| {
        let (account, id) = (visitor.caller.account_id, payment_id(&id)?);
        let verdict = match verdict {
            Says::Approve => Verdict::Approve,
            Says::Refuse => Verdict::Refuse,
        };
        // It makes nothing: what it changes has the payment's id.
        let origin = Origin { id: RequestId(Uuid::now_v7()), life: Life::First };
        payments::authenticate(&state.service, origin, account, id, verdict).await?;
        Ok(to(&path_of(id)))
    };
    let again = async |visitor: &Visitor, error| credits::shown(&state, &request, visitor, Some(error)).await;
    sent(&state, &request, body, Scope::Billing, act, again).await
}

/// The page of a payment.
pub(super) fn path_of(id: PaymentId) -> String {
    format!("/dashboard/credits/payments/{id}")
}
