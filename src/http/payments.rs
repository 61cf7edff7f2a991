//! Payments: begun by a purchase, listed, looked at. A purchase is answered when its payment has ended and that is
//! durable; where that takes longer, or the card's owner must act first, it is answered 202 and goes on by itself.

use ::cards::{
    CardError, NextAction, Processor,
    sandbox::{self, Verdict},
    to_cents,
};
use actix_web::{HttpRequest, HttpResponse, http::StatusCode, web};
use actors::{
    account::{AccountError, Bought, Buy, Look, Picture},
    accounts::DEADLINE,
    payment::{
        ActionOf, ApplyEvent, Given, NotRefunded, Refund,
        reconcile::{NotReconciled, reconcile as compare},
    },
};
use billing::{
    Nanos, Timestamp,
    account::Balance,
    card::Card,
    ids::{AccountId, PaymentId, ReversalId},
    key::Scope,
    payment::{DEFAULT_METHOD, Payment, PaymentStatus, Purpose},
    reversal::{Reversal, State},
    time::DAY_MS,
};
use bytes::Bytes;
use serde::Deserialize;
use serde_json::{Value, json};
use uuid::Uuid;

use super::{
    account::{amount, balance_json},
    acts::{self, Act},
    admin::{checked_reason, read},
    arrival::Arrival,
    auth, cards,
    error::ApiError,
    query::{Query, list_by_id},
    respond::answer,
    state::Shared,
};
use crate::idempotency::Life;

/// A payment as clients read it.
pub fn payment_json(payment: &Payment) -> Value {
    let receipt = (payment.status == PaymentStatus::Succeeded).then(|| format!("/v1/payments/{}/receipt", payment.id));
    json!({
        "id": payment.id.to_string(), "purpose": payment.purpose.name(), "amount": payment.amount,
        "reversed": payment.reversed, "currency": "USD", "status": payment.status.name(), "method": payment.method,
        "reference": payment.reference, "decline_code": payment.decline_code,
        "created_at": payment.created_at.to_string(), "ended_at": payment.ended_at.map(|at| at.to_string()),
        "receipt": receipt,
    })
}

/// A refund or a dispute as clients read it.
fn reversal_json(reversal: &Reversal) -> Value {
    json!({
        "id": reversal.id.to_string(), "kind": reversal.kind.name(), "reference": reversal.reference,
        "amount": reversal.amount, "status": reversal.state.name(), "created_at": reversal.created_at.to_string(),
        "changed_at": reversal.changed_at.map(|at| at.to_string()),
    })
}

fn action_json(action: &NextAction) -> Value {
    json!({"type": "authenticate", "client_secret": action.client_secret})
}

/// What is known of the card a payment was charged to: nothing, where it was never charged.
pub(super) async fn card_of(state: &Shared, account: AccountId, payment: &Payment) -> Result<Option<Card>, ApiError> {
    let accounts = &state.gateway.accounts;
    let (ledger, processor) = (accounts.ledger(), accounts.processor());
    let chosen = match payment.method.as_str() {
        DEFAULT_METHOD => ledger.chosen_card(payment.id).await?,
        named => Some(named.to_owned()),
    };
    let Some(reference) = chosen else { return Ok(None) };
    let saved = ledger.method_by_reference(account, processor.name(), &reference).await?.map(|saved| saved.card);
    Ok(match processor {
        Processor::Sandbox(_) => saved.or_else(|| sandbox::find_card(account, &reference)),
        Processor::Stripe(_) => saved,
    })
}

/// A payment of the caller's, by the id in a path.
pub(super) async fn find(state: &Shared, account: AccountId, id: &str) -> Result<Payment, ApiError> {
    let id = Uuid::parse_str(id).map_err(|_| ApiError::invalid("id", "must be a payment's id"))?;
    let found = state.gateway.accounts.ledger().payment(account, PaymentId(id)).await?;
    found.ok_or_else(|| ApiError::not_found("this payment"))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Purchase {
    amount: Value,
    payment_method: Option<String>,
}

/// `POST /v1/credits/purchase`: charges a card and adds the credits.
pub async fn purchase(state: Shared, request: HttpRequest, body: Result<Bytes, actix_web::Error>) -> HttpResponse {
    let work = async {
        let caller = auth::scoped(&state, &request, Scope::Billing).await?;
        let Purchase { amount: wanted, payment_method } = read(&state, body)?;
        let amount = amount("amount", &wanted)?;
        if acts::is_done(&request) {
            return bought_before(&state, caller.account_id, PaymentId(Arrival::of(&request).id.0)).await;
        }
        let method = cards::charged_card(&state, caller.account_id, payment_method.as_deref()).await?;
        let created_at = state.gateway.clock().now();
        // What a request makes has its id: a retry after a crash asks the ledger by it.
        let id = PaymentId(Arrival::of(&request).id.0);
        let payment = Payment::new(id, Purpose::Purchase, amount, method, created_at);
        buy(&state, caller.account_id, payment).await
    };
    answer_bought(&request, work.await)
}

/// An answer with the status of what was bought.
pub(super) fn answer_bought(request: &HttpRequest, result: Result<(StatusCode, Value), ApiError>) -> HttpResponse {
    let (status, result) = match result {
        Ok((status, body)) => (status, Ok(body)),
        Err(error) => (error.status(), Err(error)),
    };
    let mut response = answer(request, result);
    *response.status_mut() = status;
    response
}

/// Begins a payment and waits for its end, a while.
pub(super) async fn buy(state: &Shared, account: AccountId, payment: Payment) -> Result<(StatusCode, Value), ApiError> {
    let (accounts, id) = (&state.gateway.accounts, payment.id);
    let (payment, balance, action) = match accounts.ask(account, Buy(payment)).await {
        Ok(Bought { payment, answer, action }) => {
            answer.result?;
            (payment, answer.balance, action)
        }
        // No answer came in time, or the account was rebuilt meanwhile: where the payment was begun, it goes on.
        Err(error @ AccountError::Unavailable(_)) => {
            let begun = accounts.ledger().payment(account, id).await?;
            let Some(payment) = begun else { return Err(error.into()) };
            let picture: Picture = accounts.ask(account, Look).await?;
            (payment, picture.balance, None)
        }
        Err(error) => return Err(error.into()),
    };
    bought(&payment, &balance, action.as_ref())
}

/// What came of a payment that an earlier life of its request began.
async fn bought_before(state: &Shared, account: AccountId, id: PaymentId) -> Result<(StatusCode, Value), ApiError> {
    let accounts = &state.gateway.accounts;
    let payment = accounts.ledger().payment(account, id).await?.ok_or_else(|| ApiError::not_found("this payment"))?;
    let picture: Picture = accounts.ask(account, Look).await?;
    bought(&payment, &picture.balance, None)
}

fn bought(payment: &Payment, balance: &Balance, action: Option<&NextAction>) -> Result<(StatusCode, Value), ApiError> {
    if let Some(code) = &payment.decline_code {
        return Err(ApiError::payment_declined(code, &payment.id.to_string()));
    }
    let status = if payment.status == PaymentStatus::Pending { StatusCode::ACCEPTED } else { StatusCode::OK };
    let mut body = json!({"payment": payment_json(payment), "balance": balance_json(balance)});
    if let Some(action) = action {
        body["next_action"] = action_json(action);
    }
    Ok((status, body))
}

/// `GET /v1/payments`: whatever came of them, newest first.
pub async fn list(state: Shared, request: HttpRequest) -> HttpResponse {
    let work = async {
        let caller = auth::scoped(&state, &request, Scope::Read).await?;
        let query = Query::of(&request, &["limit", "cursor"])?;
        let (before, limit) = (query.cursor_id()?, query.limit()?);
        let payments = state.gateway.accounts.ledger().payments(caller.account_id, before, limit).await?;
        Ok(list_by_id(payments.iter().map(payment_json).collect(), limit))
    };
    answer(&request, work.await)
}

/// `GET /v1/payments/{id}`: with its refunds and disputes, and what its card's owner must do, while it waits for that.
pub async fn payment(state: Shared, request: HttpRequest, id: web::Path<String>) -> HttpResponse {
    let work = async {
        let caller = auth::scoped(&state, &request, Scope::Read).await?;
        let payment = find(&state, caller.account_id, &id).await?;
        let mut body = payment_json(&payment);
        let card = card_of(&state, caller.account_id, &payment).await?;
        body["card"] = card.map_or(Value::Null, |card| json!({"brand": card.brand, "last4": card.last4}));
        let reversals = state.gateway.accounts.ledger().reversals(payment.id).await?;
        body["reversals"] = reversals.iter().map(reversal_json).collect();
        if payment.status == PaymentStatus::Pending {
            let asked = state.payments.ask(ActionOf(payment.id), DEADLINE);
            let action: Option<NextAction> = asked.await.unwrap_or_default();
            body["next_action"] = action.as_ref().map_or(Value::Null, action_json);
        }
        Ok(body)
    };
    answer(&request, work.await)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Authenticate {
    verdict: OwnersVerdict,
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum OwnersVerdict {
    Approve,
    Refuse,
}

/// `POST /v1/payments/{id}/authenticate`: says yes or no in the place of a test card's owner, as a bank's page would.
pub async fn authenticate(
    state: Shared,
    request: HttpRequest,
    id: web::Path<String>,
    body: Result<Bytes, actix_web::Error>,
) -> HttpResponse {
    let work = async {
        let caller = auth::scoped(&state, &request, Scope::Billing).await?;
        let Authenticate { verdict } = read(&state, body)?;
        let verdict = match verdict {
            OwnersVerdict::Approve => Verdict::Approve,
            OwnersVerdict::Refuse => Verdict::Refuse,
        };
        let payment = find(&state, caller.account_id, &id).await?;
        // That it ended so is the proof of an earlier life of this request.
        let ended_so = match verdict {
            Verdict::Approve => PaymentStatus::Succeeded,
            Verdict::Refuse => PaymentStatus::Declined,
        };
        if Arrival::of(&request).life != Life::First && payment.status == ended_so {
            return Ok(payment_json(&payment));
        }
        let accounts = &state.gateway.accounts;
        let Processor::Sandbox(sandbox) = accounts.processor() else {
            return Err(ApiError::conflict("This is between the card's owner and the bank, by the client_secret."));
        };
        let told = sandbox.authenticate(payment.id, verdict, state.gateway.clock().now());
        let told = told.ok_or_else(|| ApiError::conflict("This payment does not wait for its card's owner."))?;
        state.payments.ask(ApplyEvent(told), DEADLINE).await??;
        Ok(payment_json(&find(&state, caller.account_id, &id).await?))
    };
    answer(&request, work.await)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct GiveBack {
    /// All that was not given back before, unless it says less.
    amount: Option<Value>,
    reason: String,
}

/// `POST /admin/v1/payments/{id}/refund`: gives money back to its card, and takes the credits it bought. 202 where the
/// processor has not answered yet: it is asked on, and the credits are taken already.
pub async fn refund(
    state: Shared,
    request: HttpRequest,
    id: web::Path<String>,
    body: Result<Bytes, actix_web::Error>,
) -> HttpResponse {
    let work = async {
        auth::operator(&state, &request)?;
        let GiveBack { amount: wanted, reason } = read(&state, body)?;
        let reason = checked_reason(&reason)?;
        let amount = wanted.as_ref().map(|wanted| cents("amount", wanted)).transpose()?;
        let payment_id = Uuid::parse_str(&id).map_err(|_| ApiError::invalid("id", "must be a payment's id"))?;
        let accounts = &state.gateway.accounts;
        let found = accounts.ledger().payment_of_anyone(PaymentId(payment_id)).await?;
        let (account_id, payment) = found.ok_or_else(|| ApiError::not_found("this payment"))?;
        let (subject, reason) = (payment.id.to_string(), Some(reason.to_owned()));
        let proof = Act { name: "refund_payment", subject, amount, reason }.proof(&request);
        // The refund has its request's id: asked for in another life, it is the same refund.
        let order = Refund { account_id, payment_id: payment.id, id: ReversalId(proof.request_id.0), amount, proof };
        let Given { payment, refund } = state.payments.ask(order, DEADLINE).await??;
        if refund.state == State::Failed && acts::is_done(&request) {
            // Another life of this request asked for it, and was refused.
            let message = "the refund was not made".to_owned();
            return Err(NotRefunded::from(CardError::Refused { code: "refund_failed".to_owned(), message }).into());
        }
        let status = if refund.is_unanswered() { StatusCode::ACCEPTED } else { StatusCode::OK };
        let body = json!({"account_id": account_id.to_string(), "payment": payment_json(&payment),
            "refund": reversal_json(&refund)});
        Ok((status, body))
    };
    answer_bought(&request, work.await)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Compare {
    /// Of payments begun in so many days; all, unless it says so.
    days: Option<u32>,
}

/// `POST /admin/v1/reconcile`: what differs between our payments, refunds and disputes and the processor's.
pub async fn reconcile(state: Shared, request: HttpRequest, body: Result<Bytes, actix_web::Error>) -> HttpResponse {
    let work = async {
        auth::operator(&state, &request)?;
        let Compare { days } = read(&state, body)?;
        let accounts = &state.gateway.accounts;
        let since = since(state.gateway.clock().now(), days);
        let found = compare(accounts.ledger(), accounts.processor(), since).await;
        let found = found.map_err(|error| match error {
            NotReconciled::Ledger(error) => error.into(),
            NotReconciled::Card(error) => error.into(),
            NotReconciled::TooMany => ApiError::invalid("days", error),
        })?;
        serde_json::to_value(found).map_err(|error| ApiError::internal(&error))
    };
    answer(&request, work.await)
}

/// The instant from which payments of so many days count; none: of all time.
pub fn since(now: Timestamp, days: Option<u32>) -> Timestamp {
    days.map_or(Timestamp(0), |days| now.plus_ms(-i64::from(days) * DAY_MS))
}

/// An amount that a card network can move.
fn cents(field: &str, value: &Value) -> Result<Nanos, ApiError> {
    let amount = amount(field, value)?;
    match to_cents(amount) {
        Some(cents) if cents > 0 => Ok(amount),
        _ => Err(ApiError::invalid(field, "must be whole cents, at least one")),
    }
}
