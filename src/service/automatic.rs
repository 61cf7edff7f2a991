//! Automatic purchases: the settings of auto-reload and autoScale, and the month's spending. A setting is sent as a
//! change, which the account applies to its current settings, so that two changes at once don't undo each other.

use actors::account::Look;
use billing::{
    Nanos, Timestamp,
    account::Automatic,
    automatic::{AutoChange, MethodChange, Switch},
    command::Command,
    ids::AccountId,
    payment::DEFAULT_METHOD,
};

use super::{
    Service, ServiceError,
    cards::{check_undisputed, choose_again, followed_card},
};

/// The automatic purchases of an account at a time.
#[derive(Debug, Clone)]
pub struct Set {
    /// The settings and their results; `None` where nothing was ever set.
    pub automatic: Option<Automatic>,
    /// The time of this answer, by which months begin and end.
    pub now: Timestamp,
}

/// An account's automatic purchases.
///
/// # Errors
///
/// There is no such account ([`NotFound`](ServiceError::NotFound)), its mailbox is full
/// ([`Overloaded`](ServiceError::Overloaded)), or the ledger can't be reached ([`NotReady`](ServiceError::NotReady)).
/// The last two pass; try again.
pub async fn look(service: &Service, account: AccountId) -> Result<Set, ServiceError> {
    let automatic = service.accounts.ask(account, Look).await?.automatic;
    Ok(Set { automatic, now: service.now() })
}

async fn set(service: &Service, account: AccountId, change: AutoChange) -> Result<Set, ServiceError> {
    service.accounts.decide(account, Command::SetAutomatic(change)).await?.result?;
    look(service, account).await
}

/// A change of auto-reload; `None` leaves a setting as it is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Reload {
    /// On or off.
    pub enabled: Option<bool>,
    /// The balance below which credits are bought.
    pub threshold: Option<Nanos>,
    /// The amount to buy.
    pub amount: Option<Nanos>,
    /// The most to spend in a month.
    pub monthly_max: Option<Nanos>,
    /// The card to charge.
    pub payment_method: Option<String>,
}

/// The change of the card: the named card. Where no card is named and auto-reload is turned on, the account must have a
/// card to charge.
async fn card(service: &Service, account: AccountId, wanted: &Reload) -> Result<Option<MethodChange>, ServiceError> {
    let named = wanted.payment_method.as_deref();
    if named.is_none() && wanted.enabled != Some(true) {
        return Ok(None);
    }
    let before = look(service, account).await?.automatic;
    if named.is_none() && before.is_some_and(|before| before.settings.method.is_some()) {
        return Ok(None);
    }
    let followed = followed_card(service, account, named).await?;
    // The default card is charged without being named.
    Ok(match named {
        _ if followed == DEFAULT_METHOD => None,
        Some(_) => Some(MethodChange::To(followed)),
        None => Some(MethodChange::AtFirst(followed)),
    })
}

/// Naming a card allows it again after a dispute. A card that is not named must not have been disputed since.
async fn check_card(
    service: &Service,
    account: AccountId,
    wanted: &Reload,
    change: Option<&MethodChange>,
) -> Result<(), ServiceError> {
    let card = if let Some(MethodChange::To(card) | MethodChange::AtFirst(card)) = change {
        card.clone()
    } else {
        let before = look(service, account).await?.automatic.and_then(|before| before.settings.method);
        before.unwrap_or_else(|| DEFAULT_METHOD.to_owned())
    };
    if wanted.payment_method.is_some() {
        choose_again(service, account, &card).await
    } else if wanted.enabled == Some(true) {
        check_undisputed(service, account, &card).await
    } else {
        Ok(())
    }
}

/// Changes auto-reload. Settings that are not named stay as they are.
///
/// # Errors
///
/// The card is unknown, missing or disputed ([`Invalid`](ServiceError::Invalid)), the account refuses the amounts
/// ([`Refused`](ServiceError::Refused)), or the account can't be asked just now. Nothing was changed, except that a
/// named card may already be allowed again.
pub async fn set_reload(service: &Service, account: AccountId, wanted: Reload) -> Result<Set, ServiceError> {
    let change = AutoChange {
        reload: wanted.enabled.map(Switch::from_bool),
        threshold: wanted.threshold,
        amount: wanted.amount,
        monthly_max: wanted.monthly_max,
        method: card(service, account, &wanted).await?,
        ..AutoChange::default()
    };
    check_card(service, account, &wanted, change.method.as_ref()).await?;
    set(service, account, change).await
}

/// Changes autoScale. Settings that are not named stay as they are.
///
/// # Errors
///
/// The account refuses the settings ([`Refused`](ServiceError::Refused)), or can't be asked just now
/// ([`NotReady`](ServiceError::NotReady)).
pub async fn set_scale(
    service: &Service,
    account: AccountId,
    enabled: Option<bool>,
    monthly_spend: Option<Nanos>,
) -> Result<Set, ServiceError> {
    let scale = enabled.map(Switch::from_bool);
    set(service, account, AutoChange { scale, monthly_spend, ..AutoChange::default() }).await
}
