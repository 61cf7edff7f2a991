//! Saved cards. No card number ever reaches this server. With the sandbox, a test card is named. With Stripe, the
//! browser of the card's owner sends the number to Stripe, and this server gets the finished setup.

use billing::{Timestamp, card::Card, ids::AccountId, payment::DEFAULT_METHOD};
use cards::{CardError, Processor, sandbox, stripe::Stripe};
use ledger::cards::{MOST_METHODS, PaymentMethod, SaveAs};
use uuid::Uuid;

use super::{Service, ServiceError, acts::Origin};

/// A saved card.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SavedCard {
    /// The saved card's id.
    pub id: Uuid,
    /// The card processor's name.
    pub processor: String,
    /// The card.
    pub card: Card,
    /// Whether purchases that name no card are charged to this card.
    pub is_default: bool,
    /// When the card was saved.
    pub created_at: Timestamp,
}

impl From<PaymentMethod> for SavedCard {
    fn from(method: PaymentMethod) -> Self {
        let PaymentMethod { id, processor, card, is_default, created_at, .. } = method;
        Self { id, processor, card, is_default, created_at }
    }
}

/// The processor's id of the card that a purchase is charged to.
pub(super) async fn charged_card(
    service: &Service,
    account: AccountId,
    named: Option<&str>,
) -> Result<String, ServiceError> {
    let accounts = &service.accounts;
    let (ledger, processor) = (accounts.ledger(), accounts.processor());
    let invalid = |message: &str| ServiceError::invalid("payment_method", message);
    let Some(named) = named else {
        let saved = accounts.default_method(account).await?.map(|saved| saved.card.reference);
        return saved
            .or_else(|| processor.card_of_last_resort())
            .ok_or_else(|| invalid("no card is saved: POST /v1/payment-methods saves one"));
    };
    let saved = ledger.methods(account, processor.name()).await?;
    let is_named = |method: &&PaymentMethod| method.id.to_string() == named || method.card.reference == named;
    match (saved.iter().find(is_named), processor) {
        (Some(method), _) => Ok(method.card.reference.clone()),
        (None, Processor::Sandbox(_)) if sandbox::find_card(account, named).is_some() => Ok(named.to_owned()),
        (None, Processor::Sandbox(_)) => {
            Err(invalid(&format!("is no saved card and no test card; there are {}", test_cards())))
        }
        (None, Processor::Stripe(_)) => Err(invalid("is not one of your saved cards")),
    }
}

fn test_cards() -> String {
    sandbox::cards().collect::<Vec<_>>().join(", ")
}

/// The card of future payments: the named card, or else the default card at the time of each payment. There must be one
/// now.
pub(super) async fn followed_card(
    service: &Service,
    account: AccountId,
    named: Option<&str>,
) -> Result<String, ServiceError> {
    let follows = named.is_none() && service.accounts.default_method(account).await?.is_some();
    if follows { Ok(DEFAULT_METHOD.to_owned()) } else { charged_card(service, account, named).await }
}

/// Records that the owner chose a card, which may be charged automatically again, even after a dispute.
pub(super) async fn choose_again(service: &Service, account: AccountId, card: &str) -> Result<(), ServiceError> {
    Ok(service.ledger().choose_again(account, card, service.now()).await?)
}

/// Refuses automatic purchases with a card that was disputed and not chosen since.
pub(super) async fn check_undisputed(service: &Service, account: AccountId, card: &str) -> Result<(), ServiceError> {
    let followed = match card {
        DEFAULT_METHOD => service.accounts.default_method(account).await?.map(|saved| saved.card.reference),
        named => Some(named.to_owned()),
    };
    let Some(card) = followed else { return Ok(()) };
    if service.ledger().is_disputed(account, &card).await? {
        let message =
            "was disputed, so it is not charged automatically: name it here, save it again, or choose another";
        return Err(ServiceError::invalid("payment_method", message));
    }
    Ok(())
}

/// The processor's id of the account's owner, which is created at the first card.
async fn customer(service: &Service, account: AccountId) -> Result<String, ServiceError> {
    let accounts = &service.accounts;
    let (ledger, processor) = (accounts.ledger(), accounts.processor());
    if let Some(known) = ledger.customer(account, processor.name()).await? {
        return Ok(known);
    }
    let stored = ledger.account(account).await?.ok_or(ServiceError::NotFound("the account"))?;
    let made = processor.create_customer(account, &stored.email).await?;
    Ok(ledger.keep_customer(account, processor.name(), &made, service.now()).await?)
}

/// A card to save.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Save {
    /// A test card of the sandbox.
    pub card: Option<String>,
    /// The id of a finished setup at Stripe.
    pub setup_intent: Option<String>,
    /// Whether the card becomes the default card. The first card always does.
    pub default: bool,
}

/// The result of saving a card.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Saved {
    /// The card is saved.
    Card(SavedCard),
    /// A setup was begun, which the card's owner finishes at Stripe.
    Begun {
        /// Stripe's id of the setup.
        reference: String,
        /// The secret with which the owner's browser finishes the setup.
        client_secret: String,
    },
}

/// Saves a test card of the sandbox. With Stripe, begins a setup, or finishes the one in `setup_intent`.
///
/// # Errors
///
/// The card or setup is invalid ([`Invalid`](ServiceError::Invalid)), as many cards are saved as are allowed
/// ([`Conflict`](ServiceError::Conflict)), or the processor or the ledger can't be reached
/// ([`NotReady`](ServiceError::NotReady)).
pub async fn save(service: &Service, origin: Origin, account: AccountId, save: &Save) -> Result<Saved, ServiceError> {
    if origin.is_done() {
        let saved = service.ledger().method(account, origin.id.0).await?;
        return saved.map(|saved| Saved::Card(saved.into())).ok_or(ServiceError::NotFound("the saved card"));
    }
    match service.accounts.processor() {
        Processor::Sandbox(_) => {
            let card = test_card(account, save)?;
            keep(service, origin, account, &card, save).await
        }
        Processor::Stripe(stripe) => set_up(service, origin, account, stripe, save).await,
    }
}

fn test_card(account: AccountId, save: &Save) -> Result<Card, ServiceError> {
    if save.setup_intent.is_some() {
        let rule = "the sandbox has none; name a test card in \"card\"";
        return Err(ServiceError::invalid("setup_intent", rule));
    }
    let named = save.card.as_deref().unwrap_or_default();
    let missing = || ServiceError::invalid("card", format!("is no test card; there are {}", test_cards()));
    sandbox::find_card(account, named).ok_or_else(missing)
}

async fn set_up(
    service: &Service,
    origin: Origin,
    account: AccountId,
    stripe: &Stripe,
    save: &Save,
) -> Result<Saved, ServiceError> {
    if save.card.is_some() {
        let rule = "cards are sent to Stripe, never here; begin with an empty body";
        return Err(ServiceError::invalid("card", rule));
    }
    let customer = customer(service, account).await?;
    let Some(setup) = &save.setup_intent else {
        let key = format!("setup-{}", origin.id);
        let setup = stripe.begin_setup(&customer, account, &key).await?;
        return Ok(Saved::Begun { reference: setup.reference, client_secret: setup.client_secret });
    };
    let card = stripe.finish_setup(setup, &customer).await.map_err(|error| match error {
        CardError::Refused { message, .. } => ServiceError::invalid("setup_intent", message),
        CardError::Unavailable(_) => error.into(),
    })?;
    keep(service, origin, account, &card, save).await
}

/// Saves a card under its request's id. If it becomes the default card, that is the same transaction.
async fn keep(
    service: &Service,
    origin: Origin,
    account: AccountId,
    card: &Card,
    save: &Save,
) -> Result<Saved, ServiceError> {
    let save_as = if save.default { SaveAs::Default } else { SaveAs::OneMore };
    let processor = service.accounts.processor().name();
    let saved = service.ledger().save_method(origin.id.0, account, processor, card, save_as, service.now()).await?;
    let full = || ServiceError::Conflict(format!("{MOST_METHODS} cards are saved, which is the most"));
    let saved = saved.ok_or_else(full)?;
    choose_again(service, account, &saved.card.reference).await?;
    Ok(Saved::Card(saved.into()))
}

/// Saved cards, newest first.
///
/// # Errors
///
/// The ledger can't be read just now ([`NotReady`](ServiceError::NotReady)); try again.
pub async fn list(service: &Service, account: AccountId) -> Result<Vec<SavedCard>, ServiceError> {
    let methods = service.ledger().methods(account, service.accounts.processor().name()).await?;
    Ok(methods.into_iter().map(SavedCard::from).collect())
}

const MISSING: ServiceError = ServiceError::NotFound("a saved card with that id");

/// Makes a saved card the default card.
///
/// # Errors
///
/// There is no saved card with this id ([`NotFound`](ServiceError::NotFound)), or the ledger can't be written just now.
pub async fn set_default(service: &Service, account: AccountId, id: Uuid) -> Result<SavedCard, ServiceError> {
    let ledger = service.ledger();
    if !ledger.set_default_method(account, id).await? {
        return Err(MISSING);
    }
    let chosen = ledger.method(account, id).await?.ok_or(MISSING)?;
    choose_again(service, account, &chosen.card.reference).await?;
    Ok(chosen.into())
}

/// Removes a saved card, which is not charged any more. No other card becomes the default card.
///
/// # Errors
///
/// There is no saved card with this id ([`NotFound`](ServiceError::NotFound)), or the ledger can't be written just now.
/// A processor that can't be reached is only logged: the card is not charged any more.
pub async fn remove(service: &Service, account: AccountId, id: Uuid) -> Result<(), ServiceError> {
    let removed = service.ledger().remove_method(account, id, service.now()).await?;
    let removed = removed.ok_or(MISSING)?;
    if let Err(error) = service.accounts.processor().forget(&removed.card).await {
        // The card is not charged any more, even where the processor still knows it.
        tracing::warn!(account.id = %account, %error, "a removed card is still known to the processor");
    }
    Ok(())
}
