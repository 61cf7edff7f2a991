//! `/admin/v1/payments/{id}/refund` and `/admin/v1/reconcile`: money given back, and our books held against the processor's.

use actix_web::{HttpRequest, HttpResponse, web};
use serde::Deserialize;
use serde_json::Value;
use utoipa::ToSchema;

use crate::{
    http::{
        account::payments::{payment_id, status_of},
        arrival::Arrival,
        auth,
        respond::{Body, answer, answer_with, read},
        state::Shared,
        values::{amount_given, reason},
        views::{
            payments::{Reconciled, Refunded},
            scalar::Amount,
        },
    },
    service::payments,
};

/// Money that is to be given back.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = Refund)]
pub struct GiveBack {
    /// All that was not given back before, unless it says less.
    #[schema(value_type = Option<Amount>)]
    amount: Option<Value>,
    reason: String,
}

/// `POST /admin/v1/payments/{id}/refund`: gives money back to its card, and takes the credits it bought. 202 where the
/// processor has not answered yet: it is asked on, and the credits are taken already.
pub async fn refund(state: Shared, request: HttpRequest, id: web::Path<String>, body: Body) -> HttpResponse {
    let work = async {
        auth::operator(&state, &request)?;
        let GiveBack { amount, reason: why } = read(&state, body)?;
        let why = reason(why)?;
        let amount = amount_given("amount", amount.as_ref())?;
        let amount = amount.map(|amount| payments::check_cents("amount", amount)).transpose()?;
        let (id, origin) = (payment_id(&id)?, Arrival::origin(&request));
        let refunded = payments::refund(&state.service, origin, id, amount, why).await?;
        Ok((status_of(refunded.refund.is_unanswered()), Refunded::from(refunded)))
    };
    answer_with(&request, work.await)
}

/// What is to be compared.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = Reconcile)]
pub struct Compare {
    /// Payments begun in so many days; all, unless it says so.
    days: Option<u32>,
}

/// `POST /admin/v1/reconcile`: what differs between our payments, refunds and disputes and the processor's.
pub async fn reconcile(state: Shared, request: HttpRequest, body: Body) -> HttpResponse {
    let work = async {
        auth::operator(&state, &request)?;
        let Compare { days } = read(&state, body)?;
        Ok(Reconciled::from(payments::reconcile(&state.service, days).await?))
    };
    answer(&request, work.await)
}
