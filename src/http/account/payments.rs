//! `/v1/credits/purchase` and `/v1/payments`. A purchase is answered when its payment has ended and that is durable.
//! Where that takes longer, or the card's owner must act first, it is answered 202 and goes on by itself.

use actix_web::{HttpRequest, HttpResponse, http::StatusCode, web};
use billing::{ids::PaymentId, key::Scope};
use serde::Deserialize;
use serde_json::Value;
use utoipa::ToSchema;

use crate::{
    http::{
        arrival::Arrival,
        auth,
        error::ApiError,
        query::Query,
        respond::{Body, answer, answer_with, read},
        state::Shared,
        trail,
        values::{amount, id},
        views::{
            self, Page,
            payments::{Payment, WholePayment},
            scalar::Amount,
        },
    },
    service::{
        payments::{self, Verdict},
        purchases,
    },
};

/// A purchase of credits.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = WantedPurchase)]
pub struct Purchase {
    #[schema(value_type = Amount)]
    amount: Value,
    /// A saved card's id, or the processor's id of the card; the default card by default.
    payment_method: Option<String>,
}

/// The HTTP status of completed or pending work.
pub(in crate::http) const fn status_of(is_pending: bool) -> StatusCode {
    if is_pending { StatusCode::ACCEPTED } else { StatusCode::OK }
}

/// A payment's id in a path.
pub(in crate::http) fn payment_id(text: &str) -> Result<PaymentId, ApiError> {
    id("id", text, "must be a payment's id").map(PaymentId)
}

/// `POST /v1/credits/purchase`: charges a card and adds the credits.
pub async fn purchase(state: Shared, request: HttpRequest, body: Body) -> HttpResponse {
    let work = async {
        let caller = auth::scoped(&state, &request, Scope::Billing).await?;
        let Purchase { amount: wanted, payment_method } = read(&state, body)?;
        let (wanted, origin) = (amount("amount", &wanted)?, Arrival::origin(&request));
        let card = payment_method.as_deref();
        trail::about(&request, None, &format!("${wanted}"));
        let bought = purchases::credits(&state.service, origin, caller.account_id, wanted, card).await;
        let bought = trail::begun(&request, bought)?;
        Ok((status_of(bought.is_pending()), views::payments::Purchase::from(bought)))
    };
    answer_with(&request, work.await)
}

/// `GET /v1/payments`: payments of every status, newest first.
pub async fn list(state: Shared, request: HttpRequest) -> HttpResponse {
    let work = async {
        let caller = auth::scoped(&state, &request, Scope::Read).await?;
        let page = Query::of(&request, &["limit", "cursor"])?.page()?;
        Ok(Page::<Payment>::from(payments::list(&state.service, caller.account_id, page).await?))
    };
    answer(&request, work.await)
}

/// `GET /v1/payments/{id}`: a payment with its refunds, its disputes, and the pending step of its card's owner.
pub async fn payment(state: Shared, request: HttpRequest, id: web::Path<String>) -> HttpResponse {
    let work = async {
        let caller = auth::scoped(&state, &request, Scope::Read).await?;
        Ok(WholePayment::from(payments::whole(&state.service, caller.account_id, payment_id(&id)?).await?))
    };
    answer(&request, work.await)
}

/// The decision of a test card's owner.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Authenticate {
    verdict: OwnersVerdict,
}

/// The decision.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum OwnersVerdict {
    /// The charge is approved.
    Approve,
    /// The charge is refused.
    Refuse,
}

/// `POST /v1/payments/{id}/authenticate`: approves or refuses a charge in the place of a test card's owner, as a bank's
/// page would.
pub async fn authenticate(state: Shared, request: HttpRequest, id: web::Path<String>, body: Body) -> HttpResponse {
    let work = async {
        let caller = auth::scoped(&state, &request, Scope::Billing).await?;
        let Authenticate { verdict } = read(&state, body)?;
        let verdict = match verdict {
            OwnersVerdict::Approve => Verdict::Approve,
            OwnersVerdict::Refuse => Verdict::Refuse,
        };
        let (id, origin) = (payment_id(&id)?, Arrival::origin(&request));
        let payment = payments::authenticate(&state.service, origin, caller.account_id, id, verdict).await?;
        Ok(Payment::from(payment))
    };
    answer(&request, work.await)
}
