//! Saved cards. No card number ever comes here: with the sandbox a test card is named, with Stripe the browser of the
//! card's owner sends the number to Stripe, and what comes here is the finished setup.

use actix_web::{HttpRequest, HttpResponse, web};
use billing::{card::Card, ids::AccountId, key::Scope, payment::DEFAULT_METHOD};
use bytes::Bytes;
use cards::{CardError, Processor, sandbox, stripe::Stripe};
use ledger::cards::{MOST_METHODS, PaymentMethod, SaveAs};
use serde::Deserialize;
use serde_json::{Value, json};
use uuid::Uuid;

use super::{acts, admin::read, arrival::Arrival, auth, error::ApiError, respond::answer, state::Shared};

/// A saved card as clients read it.
fn method_json(method: &PaymentMethod) -> Value {
    let Card { brand, last4, exp_month, exp_year, .. } = &method.card;
    json!({
        "id": method.id.to_string(), "processor": method.processor, "brand": brand, "last4": last4,
        "exp_month": exp_month, "exp_year": exp_year, "default": method.is_default,
        "created_at": method.created_at.to_string(),
    })
}

/// The processor's name for the card that a purchase is to be charged to.
pub(super) async fn charged_card(state: &Shared, account: AccountId, named: Option<&str>) -> Result<String, ApiError> {
    let accounts = &state.gateway.accounts;
    let (ledger, processor) = (accounts.ledger(), accounts.processor());
    let Some(named) = named else {
        let saved = accounts.default_method(account).await?.map(|saved| saved.card.reference);
        return saved.or_else(|| processor.card_of_last_resort()).ok_or_else(|| {
            ApiError::invalid("payment_method", "no card is saved: POST /v1/payment-methods saves one")
        });
    };
    let saved = ledger.methods(account, processor.name()).await?;
    let is_named = |method: &&PaymentMethod| method.id.to_string() == named || method.card.reference == named;
    match (saved.iter().find(is_named), processor) {
        (Some(method), _) => Ok(method.card.reference.clone()),
        (None, Processor::Sandbox(_)) if sandbox::find_card(account, named).is_some() => Ok(named.to_owned()),
        (None, Processor::Sandbox(_)) => {
            let cards = sandbox::cards().collect::<Vec<_>>().join(", ");
            Err(ApiError::invalid("payment_method", format!("is no saved card and no test card; there are {cards}")))
        }
        (None, Processor::Stripe(_)) => Err(ApiError::invalid("payment_method", "is not one of your saved cards")),
    }
}

/// The card of payments to come: the one that is named, or whichever is the default when each of them is charged. There
/// must be one now.
pub(super) async fn followed_card(state: &Shared, account: AccountId, named: Option<&str>) -> Result<String, ApiError> {
    let follows = named.is_none() && state.gateway.accounts.default_method(account).await?.is_some();
    if follows { Ok(DEFAULT_METHOD.to_owned()) } else { charged_card(state, account, named).await }
}

/// The owner chose a card: it may be charged automatically again, also where it was disputed before.
pub(super) async fn choose_again(state: &Shared, account: AccountId, card: &str) -> Result<(), ApiError> {
    Ok(state.gateway.accounts.ledger().choose_again(account, card, state.gateway.clock().now()).await?)
}

/// Refuses to let credits be bought with a card that was disputed and not chosen since.
pub(super) async fn check_undisputed(state: &Shared, account: AccountId, card: &str) -> Result<(), ApiError> {
    let accounts = &state.gateway.accounts;
    let followed = match card {
        DEFAULT_METHOD => accounts.default_method(account).await?.map(|saved| saved.card.reference),
        named => Some(named.to_owned()),
    };
    let Some(card) = followed else { return Ok(()) };
    if accounts.ledger().is_disputed(account, &card).await? {
        let message =
            "was disputed, so it is not charged automatically: name it here, save it again, or choose another";
        return Err(ApiError::invalid("payment_method", message));
    }
    Ok(())
}

/// Who the account is to the processor: made known at its first card.
async fn customer(state: &Shared, account: AccountId) -> Result<String, ApiError> {
    let accounts = &state.gateway.accounts;
    let (ledger, processor) = (accounts.ledger(), accounts.processor());
    if let Some(known) = ledger.customer(account, processor.name()).await? {
        return Ok(known);
    }
    let stored = ledger.account(account).await?.ok_or_else(|| ApiError::not_found("the account"))?;
    let made = processor.create_customer(account, &stored.email).await?;
    Ok(ledger.keep_customer(account, processor.name(), &made, state.gateway.clock().now()).await?)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Save {
    /// A test card of the sandbox.
    card: Option<String>,
    /// A finished setup of Stripe's.
    setup_intent: Option<String>,
    /// Whether it becomes the default card; the first one always does.
    #[serde(default)]
    default: bool,
}

/// `POST /v1/payment-methods`: saves a test card, or begins (without `setup_intent`) or finishes to save one with Stripe.
pub async fn save(state: Shared, request: HttpRequest, body: Result<Bytes, actix_web::Error>) -> HttpResponse {
    let work = async {
        let caller = auth::scoped(&state, &request, Scope::Billing).await?;
        let save: Save = read(&state, body)?;
        let account = caller.account_id;
        if acts::is_done(&request) {
            let saved = state.gateway.accounts.ledger().method(account, Arrival::of(&request).id.0).await?;
            return saved.as_ref().map(method_json).ok_or_else(|| ApiError::not_found("the saved card"));
        }
        match state.gateway.accounts.processor() {
            Processor::Sandbox(_) => {
                let card = test_card(account, &save)?;
                keep(&state, &request, account, &card, &save).await
            }
            Processor::Stripe(stripe) => set_up(&state, &request, account, stripe, &save).await,
        }
    };
    answer(&request, work.await)
}

fn test_card(account: AccountId, save: &Save) -> Result<Card, ApiError> {
    if save.setup_intent.is_some() {
        return Err(ApiError::invalid("setup_intent", "the sandbox has none; name a test card in \"card\""));
    }
    let named = save.card.as_deref().unwrap_or_default();
    sandbox::find_card(account, named).ok_or_else(|| {
        let cards = sandbox::cards().collect::<Vec<_>>().join(", ");
        ApiError::invalid("card", format!("is no test card; there are {cards}"))
    })
}

async fn set_up(
    state: &Shared,
    request: &HttpRequest,
    account: AccountId,
    stripe: &Stripe,
    save: &Save,
) -> Result<Value, ApiError> {
    if save.card.is_some() {
        return Err(ApiError::invalid("card", "cards are sent to Stripe, never here; begin with an empty body"));
    }
    let customer = customer(state, account).await?;
    let Some(setup) = &save.setup_intent else {
        let key = format!("setup-{}", Arrival::of(request).id);
        let setup = stripe.begin_setup(&customer, account, &key).await?;
        return Ok(json!({"setup_intent": {"id": setup.reference, "client_secret": setup.client_secret}}));
    };
    let card = stripe.finish_setup(setup, &customer).await.map_err(|error| match error {
        CardError::Refused { message, .. } => ApiError::invalid("setup_intent", message),
        CardError::Unavailable(_) => error.into(),
    })?;
    keep(state, request, account, &card, save).await
}

/// Saves a card under its request's id, in one transaction with the default it becomes.
async fn keep(
    state: &Shared,
    request: &HttpRequest,
    account: AccountId,
    card: &Card,
    save: &Save,
) -> Result<Value, ApiError> {
    let save_as = if save.default { SaveAs::Default } else { SaveAs::OneMore };
    let accounts = &state.gateway.accounts;
    let (processor, now) = (accounts.processor().name(), state.gateway.clock().now());
    let id = Arrival::of(request).id.0;
    let saved = accounts.ledger().save_method(id, account, processor, card, save_as, now).await?;
    let saved =
        saved.ok_or_else(|| ApiError::conflict(format!("{MOST_METHODS} cards are saved, which is the most")))?;
    choose_again(state, account, &saved.card.reference).await?;
    Ok(method_json(&saved))
}

/// `GET /v1/payment-methods`: saved cards, newest first.
pub async fn list(state: Shared, request: HttpRequest) -> HttpResponse {
    let work = async {
        let caller = auth::scoped(&state, &request, Scope::Read).await?;
        let accounts = &state.gateway.accounts;
        let methods = accounts.ledger().methods(caller.account_id, accounts.processor().name()).await?;
        Ok(json!({"data": methods.iter().map(method_json).collect::<Vec<_>>()}))
    };
    answer(&request, work.await)
}

fn method_id(text: &str) -> Result<Uuid, ApiError> {
    Uuid::parse_str(text).map_err(|_| ApiError::invalid("id", "must be a saved card's id"))
}

/// `PUT /v1/payment-methods/{id}/default`.
pub async fn set_default(state: Shared, request: HttpRequest, id: web::Path<String>) -> HttpResponse {
    let work = async {
        let caller = auth::scoped(&state, &request, Scope::Billing).await?;
        let (id, ledger) = (method_id(&id)?, state.gateway.accounts.ledger());
        let missing = || ApiError::not_found("a saved card with that id");
        if !ledger.set_default_method(caller.account_id, id).await? {
            return Err(missing());
        }
        let chosen = ledger.method(caller.account_id, id).await?.ok_or_else(missing)?;
        choose_again(&state, caller.account_id, &chosen.card.reference).await?;
        Ok(method_json(&chosen))
    };
    answer(&request, work.await)
}

/// `DELETE /v1/payment-methods/{id}`: no purchase is charged to it any more, and no other card takes its place by itself.
pub async fn remove(state: Shared, request: HttpRequest, id: web::Path<String>) -> HttpResponse {
    let work = async {
        let caller = auth::scoped(&state, &request, Scope::Billing).await?;
        let (id, accounts) = (method_id(&id)?, &state.gateway.accounts);
        let removed = accounts.ledger().remove_method(caller.account_id, id, state.gateway.clock().now()).await?;
        let removed = removed.ok_or_else(|| ApiError::not_found("a saved card with that id"))?;
        if let Err(error) = accounts.processor().forget(&removed.card).await {
            // It is not charged any more, whether or not the processor still knows it.
            tracing::warn!(account.id = %caller.account_id, %error, "a removed card is still known to the processor");
        }
        Ok(json!({"id": id.to_string(), "removed": true}))
    };
    answer(&request, work.await)
}
