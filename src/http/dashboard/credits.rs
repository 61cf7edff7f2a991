//! Credits: what there is and when it expires, buying more, automatic purchases, payments.

use actix_web::{HttpRequest, HttpResponse, http::StatusCode};
use askama::Template;
use billing::{
    Nanos,
    ids::AccountId,
    key::Scope,
    payment::{PaymentStatus, Purpose},
};
use serde::{Deserialize, de::DeserializeOwned};
use uuid::Uuid;

use super::{
    cards,
    page::{Frame, Visitor, answered, page, sent, visited},
    text::{Minute, dollars, dollars_given, minute},
};
use crate::{
    http::{
        error::ApiError,
        once::Once,
        pages::{Empty, said, to},
        query::Query,
        respond::Body,
        state::Shared,
        trail,
    },
    idempotency::Life,
    service::{
        automatic::{self, Reload},
        calendar, cards as saved_cards,
        cards::Teller,
        credits,
        page::Page,
        payments, purchases,
    },
};

/// The grants and the payments that are shown.
const ROWS: u64 = 50;
/// The sandbox's cards that a person may want to try.
const SANDBOX: [&str; 3] = ["pm_card_visa", "pm_card_visa_chargeDeclined", "pm_card_mastercard"];
/// What a form offers to buy.
const OFFERED: &str = "10.00";

struct Grant {
    source: &'static str,
    at: Minute,
    expires: Minute,
    amount: Nanos,
    available: Nanos,
    held: Nanos,
    spent: Nanos,
    expired: Nanos,
}

struct Card {
    id: Uuid,
    name: String,
    expires: String,
    since: Minute,
    is_default: bool,
}

struct Payment {
    id: Uuid,
    at: Minute,
    purpose: &'static str,
    amount: Nanos,
    state: &'static str,
    has_receipt: bool,
}

/// An automatic purchase as it is set.
struct Automatic {
    says: String,
    is_on: bool,
    threshold: String,
    amount: String,
    monthly_max: String,
}

#[derive(Template)]
#[template(path = "dashboard/credits.html")]
struct Credits {
    frame: Frame,
    message: Option<String>,
    said: Option<&'static str>,
    available: Nanos,
    debt: Nanos,
    grants: Vec<Grant>,
    may_pay: bool,
    once: Uuid,
    amount: String,
    cards: Vec<Card>,
    sandbox: Vec<&'static str>,
    /// Whether Stripe's form for cards is there.
    has_form: bool,
    reload: Automatic,
    scale: Automatic,
    payments: Vec<Payment>,
    /// The address of the calendar, which was just made.
    calendar: Option<String>,
    calendar_since: Option<Minute>,
}

/// What a page says after a form was carried out, by a word in its address.
const SAID: [(&str, &str); 6] = [
    ("bought", "The payment has ended; the credits are there."),
    ("pending", "The payment goes on by itself: it is in the list below."),
    ("set", "The settings are changed."),
    ("saved", "The card is saved."),
    ("removed", "The card is removed. It is not charged any more."),
    ("calendar", "The address of the calendar is good no more."),
];

/// `GET /dashboard/credits`.
pub(super) async fn credits(state: Shared, request: HttpRequest) -> HttpResponse {
    visited(&state, &request, async |visitor| made(&state, &request, visitor, None).await).await
}

pub(super) async fn shown(
    state: &Shared,
    request: &HttpRequest,
    visitor: &Visitor,
    wrong: Option<ApiError>,
) -> HttpResponse {
    answered(state, request, visitor, wrong, async |wrong| made(state, request, visitor, wrong).await).await
}

async fn made(
    state: &Shared,
    request: &HttpRequest,
    visitor: &Visitor,
    message: Option<String>,
) -> Result<Credits, ApiError> {
    let (service, account) = (&state.service, visitor.may(Scope::Read)?.account_id);
    let query = Query::of_form(request, &["amount", "said"])?;
    let balance = credits::look(service, account).await?.balance;
    let page = Page { before: None, limit: ROWS };
    let grants = credits::grants(service, account, page).await?.rows;
    let payments = payments::list(service, account, page).await?.rows;
    let (cards, teller) = (saved_cards::list(service, account).await?, saved_cards::teller(service));
    let set = automatic::look(service, account).await?.automatic.unwrap_or_default();
    let settings = &set.settings;
    let (reloads, scales) = (settings.reload.is_on(), settings.scale.is_on());
    Ok(Credits {
        frame: visitor.frame("Credits"),
        message,
        said: said(&query, &SAID),
        available: balance.available,
        debt: balance.debt,
        grants: grants
            .into_iter()
            .map(|grant| Grant {
                source: grant.source.name(),
                at: minute(grant.created_at),
                expires: minute(grant.expires_at),
                amount: grant.funded,
                available: grant.available,
                held: grant.held,
                spent: grant.spent,
                expired: grant.expired,
            })
            .collect(),
        may_pay: visitor.caller.scopes.has(Scope::Billing),
        once: state.onces.make(account),
        amount: query.get("amount").unwrap_or(OFFERED).to_owned(),
        cards: cards
            .into_iter()
            .map(|saved| Card {
                id: saved.id,
                name: format!("{} ending in {}", saved.card.brand, saved.card.last4),
                expires: format!("{}/{}", saved.card.exp_month, saved.card.exp_year),
                since: minute(saved.created_at),
                is_default: saved.is_default,
            })
            .collect(),
        sandbox: if matches!(teller, Teller::Sandbox) { SANDBOX.to_vec() } else { Vec::new() },
        has_form: matches!(teller, Teller::Browser { .. }),
        reload: Automatic {
            says: if reloads { "It is on." } else { "It is off." }.to_owned(),
            is_on: reloads,
            threshold: settings.threshold.to_string(),
            amount: settings.amount.to_string(),
            monthly_max: settings.monthly_max.to_string(),
        },
        scale: Automatic {
            says: format!(
                "It buys concurrency units for requests that would be refused without them. It is {}.",
                if scales { "on" } else { "off" }
            ),
            is_on: scales,
            threshold: String::new(),
            amount: String::new(),
            monthly_max: settings.monthly_spend.to_string(),
        },
        payments: payments.into_iter().map(Payment::from).collect(),
        calendar: None,
        calendar_since: calendar::shared_since(service, account).await?.map(minute),
    })
}

impl From<billing::payment::Payment> for Payment {
    fn from(payment: billing::payment::Payment) -> Self {
        Self {
            id: payment.id.0,
            at: minute(payment.created_at),
            purpose: match payment.purpose {
                Purpose::Purchase => "credits",
                Purpose::AutoReload => "auto-reload",
                Purpose::AutoScale => "auto-scale",
                Purpose::Subscription => "subscription",
            },
            amount: payment.amount,
            state: match payment.status {
                PaymentStatus::Pending => "pending",
                PaymentStatus::Succeeded if payment.reversed == payment.amount => "reversed",
                PaymentStatus::Succeeded => "paid",
                PaymentStatus::Declined => "declined",
            },
            has_receipt: payment.status == PaymentStatus::Succeeded,
        }
    }
}

/// A purchase.
#[derive(Deserialize)]
struct Purchase {
    #[serde(default)]
    amount: String,
    card: Option<String>,
    /// The form's id: sent twice it charges once.
    once: Once,
}

/// `POST /dashboard/credits/buy`. Where the card's bank asks its owner first, the payment's own page is next.
pub(super) async fn buy(state: Shared, request: HttpRequest, body: Body) -> HttpResponse {
    let act = async |visitor: &Visitor, Purchase { amount, card, once }| {
        let (account, card) = (visitor.caller.account_id, card.as_deref());
        let (amount, origin) = (dollars("amount", &amount)?, state.onces.origin(account, once, Life::First)?);
        trail::makes(&request, &origin.id, &format!("${amount}"));
        let bought = purchases::credits(&state.service, origin, account, amount, card).await;
        let bought = trail::begun(&request, bought)?;
        Ok(match &bought.action {
            Some(_) => to(&cards::path_of(bought.payment.id)),
            None => to_credits(if bought.is_pending() { "pending" } else { "bought" }),
        })
    };
    let again = async |visitor: &Visitor, error| shown(&state, &request, visitor, Some(error)).await;
    sent(&state, &request, body, Scope::Billing, act, again).await
}

/// Leads to this page, which says by one of [`SAID`] that a form was carried out.
fn to_credits(said: &str) -> HttpResponse {
    to(&format!("/dashboard/credits?said={said}"))
}

/// Carries out a form of this page. Gives the word by which the page says that it was, one of [`SAID`].
pub(super) async fn carried_out<T: DeserializeOwned>(
    state: &Shared,
    request: &HttpRequest,
    body: Body,
    act: impl AsyncFnOnce(AccountId, T) -> Result<&'static str, ApiError>,
) -> HttpResponse {
    let act = async |visitor: &Visitor, wanted| Ok(to_credits(act(visitor.caller.account_id, wanted).await?));
    let again = async |visitor: &Visitor, error| shown(state, request, visitor, Some(error)).await;
    sent(state, request, body, Scope::Billing, act, again).await
}

/// A change of auto-reload.
#[derive(Deserialize)]
struct SetReload {
    enabled: bool,
    threshold: Option<String>,
    amount: Option<String>,
    monthly_max: Option<String>,
    card: Option<String>,
}

/// `POST /dashboard/credits/auto-reload`.
pub(super) async fn auto_reload(state: Shared, request: HttpRequest, body: Body) -> HttpResponse {
    carried_out(&state, &request, body, async |account, wanted: SetReload| {
        let wanted = Reload {
            enabled: Some(wanted.enabled),
            threshold: dollars_given("threshold", wanted.threshold.as_deref())?,
            amount: dollars_given("amount", wanted.amount.as_deref())?,
            monthly_max: dollars_given("monthly_max", wanted.monthly_max.as_deref())?,
            payment_method: wanted.card,
        };
        automatic::set_reload(&state.service, account, wanted).await?;
        Ok("set")
    })
    .await
}

/// A change of auto-scale.
#[derive(Deserialize)]
struct SetScale {
    enabled: bool,
    max_monthly_spend: Option<String>,
}

/// `POST /dashboard/credits/auto-scale`.
pub(super) async fn auto_scale(state: Shared, request: HttpRequest, body: Body) -> HttpResponse {
    carried_out(&state, &request, body, async |account, SetScale { enabled, max_monthly_spend }| {
        let most = dollars_given("max_monthly_spend", max_monthly_spend.as_deref())?;
        automatic::set_scale(&state.service, account, Some(enabled), most).await?;
        Ok("set")
    })
    .await
}

/// `POST /dashboard/credits/calendar`: makes an address of the calendar, and shows it, once.
pub(super) async fn share_calendar(state: Shared, request: HttpRequest, body: Body) -> HttpResponse {
    let share = async |visitor: &Visitor, Empty {}| {
        let address = calendar::share(&state.service, visitor.caller.account_id).await?;
        let credits = Credits { calendar: Some(address), ..made(&state, &request, visitor, None).await? };
        Ok(page(&state, &request, visitor, StatusCode::OK, &credits).await)
    };
    let again = async |visitor: &Visitor, error| shown(&state, &request, visitor, Some(error)).await;
    sent(&state, &request, body, Scope::Billing, share, again).await
}

/// `POST /dashboard/credits/calendar/end`.
pub(super) async fn withdraw_calendar(state: Shared, request: HttpRequest, body: Body) -> HttpResponse {
    carried_out(&state, &request, body, async |account, Empty {}| {
        trail::unless_changed(&request, calendar::withdraw(&state.service, account).await?);
        Ok("calendar")
    })
    .await
}
