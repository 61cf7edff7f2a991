//! `/admin/v1/payments/{id}/refund` and `/admin/v1/reconcile`: refunds, and the comparison with the card processor.

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

/// A refund to make.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = Refund)]
pub struct GiveBack {
    /// The amount; by default all that was not refunded yet.
    #[schema(value_type = Option<Amount>)]
    amount: Option<Value>,
    reason: String,
}

/// `POST /admin/v1/payments/{id}/refund`: refunds a payment to its card, and takes back the credits it bought. 202
/// where the processor has not answered yet: it is asked further, and the credits are already taken back.
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

/// The payments to compare.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = Reconcile)]
pub struct Compare {
    /// Payments begun in the last so many days; by default all payments.
    days: Option<u32>,
}

/// `POST /admin/v1/reconcile`: the differences between the ledger's payments, refunds and disputes and the processor's.
pub async fn reconcile(state: Shared, request: HttpRequest, body: Body) -> HttpResponse {
    let work = async {
        auth::operator(&state, &request)?;
        let Compare { days } = read(&state, body)?;
        Ok(Reconciled::from(payments::reconcile(&state.service, days).await?))
    };
    answer(&request, work.await)
}
