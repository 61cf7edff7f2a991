//! Saved cards. No card number ever reaches this server. With the sandbox, a test card is named. With Stripe, the
//! browser of the card's owner sends the number to Stripe, and this server gets the finished setup.

use actors::resources::Decided;
use billing::{
    Timestamp,
    card::{self, Card, PaymentMethod, SaveAs},
    ids::AccountId,
    payment::DEFAULT_METHOD,
    resource::Resource,
};
use cards::{
    CardError, Processor, sandbox,
    stripe::{Browser, Stripe},
};
use ledger::Ledger;
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
    let chosen = Resource::CardChosen { reference: card.to_owned(), at: service.now() };
    service.accounts.change(account, async |_| Ok(Decided::new(vec![chosen.clone()], ()))).await
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
    let decide = async |ledger: &Ledger| -> Result<_, ServiceError> {
        // Another request may have been quicker.
        if let Some(known) = ledger.customer(account, processor.name()).await? {
            return Ok(Decided::new(Vec::new(), known));
        }
        let customer = Resource::Customer { processor: processor.name().to_owned(), reference: made.clone() };
        Ok(Decided::new(vec![customer], made.clone()))
    };
    accounts.change(account, decide).await
}

/// Where the owner of a card tells its number. It is never here.
#[derive(Debug)]
pub enum Teller<'a> {
    /// Nowhere: test cards are named.
    Sandbox,
    /// In a form of Stripe's own, in the owner's browser.
    Browser {
        /// How the browser speaks with Stripe.
        browser: &'a Browser,
        /// The address of Stripe's API.
        api: &'a str,
    },
    /// At a client of the owner's that finishes setups with Stripe.
    Client,
}

/// Where the owners of cards tell their numbers.
pub fn teller(service: &Service) -> Teller<'_> {
    match service.accounts.processor() {
        Processor::Sandbox(_) => Teller::Sandbox,
        Processor::Stripe(stripe) => match stripe.browser() {
            Some(browser) => Teller::Browser { browser, api: stripe.base_url() },
            None => Teller::Client,
        },
    }
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

/// Saves a card under its request's id. The owner has chosen it by that.
async fn keep(
    service: &Service,
    origin: Origin,
    account: AccountId,
    card: &Card,
    save: &Save,
) -> Result<Saved, ServiceError> {
    let save_as = if save.default { SaveAs::Default } else { SaveAs::OneMore };
    let (processor, now) = (service.accounts.processor().name(), service.now());
    let decide = async |ledger: &Ledger| -> Result<_, ServiceError> {
        let new = PaymentMethod {
            id: origin.id.0,
            account_id: account,
            processor: processor.to_owned(),
            card: card.clone(),
            is_default: false,
            created_at: now,
            removed_at: None,
        };
        // Its form was sent before, for another card or one that was removed since.
        let before = ledger.method(account, new.id).await?;
        if before.is_some_and(|before| before.card.reference != card.reference || before.removed_at.is_some()) {
            return Err(ServiceError::conflict("A card was saved by this form already: open the page again."));
        }
        let saved = ledger.saved_methods(account).await?;
        let full = |full: card::TooManyCards| ServiceError::Conflict(full.to_string());
        let (kept, mut resources) = card::save(&saved, &new, save_as).map_err(full)?;
        if ledger.customer(account, processor).await?.is_none() {
            let (processor, reference) = (processor.to_owned(), card.customer.clone());
            resources.push(Resource::Customer { processor, reference });
        }
        resources.push(Resource::CardChosen { reference: kept.card.reference.clone(), at: now });
        Ok(Decided::new(resources, kept))
    };
    let kept: PaymentMethod = service.accounts.change(account, decide).await?;
    Ok(Saved::Card(kept.into()))
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
    let now = service.now();
    let decide = async |ledger: &Ledger| -> Result<_, ServiceError> {
        let saved = ledger.saved_methods(account).await?;
        let (chosen, mut resources) = card::choose_default(&saved, id).ok_or(MISSING)?;
        resources.push(Resource::CardChosen { reference: chosen.card.reference.clone(), at: now });
        Ok(Decided::new(resources, chosen))
    };
    let chosen: PaymentMethod = service.accounts.change(account, decide).await?;
    Ok(chosen.into())
}

/// Removes a saved card, which is not charged any more. No other card becomes the default card.
///
/// # Errors
///
/// There is no saved card with this id ([`NotFound`](ServiceError::NotFound)), or the ledger can't be written just now.
/// A processor that can't be reached is only logged: the card is not charged any more.
pub async fn remove(service: &Service, account: AccountId, id: Uuid) -> Result<(), ServiceError> {
    let now = service.now();
    let decide = async |ledger: &Ledger| -> Result<_, ServiceError> {
        let removed = card::remove(&ledger.saved_methods(account).await?, id, now).ok_or(MISSING)?;
        Ok(Decided::new(vec![Resource::Card(removed.clone())], removed))
    };
    let removed: PaymentMethod = service.accounts.change(account, decide).await?;
    if let Err(error) = service.accounts.processor().forget(&removed.card).await {
        // The card is not charged any more, even where the processor still knows it.
        tracing::warn!(account.id = %account, %error, "a removed card is still known to the processor");
    }
    Ok(())
}
