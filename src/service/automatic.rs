//! Automatic purchases as their owner sets them: auto-reload and autoScale, with what they have spent this month. A setting is
//! a change, which the account applies to the settings that stand then: two at once never undo each other.

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

/// Automatic purchases, and of which instant that is.
#[derive(Debug, Clone)]
pub struct Set {
    /// The settings and what came of them; none where nothing was ever set.
    pub automatic: Option<Automatic>,
    /// Of which instant it is: months begin and end.
    pub now: Timestamp,
}

/// What an account buys by itself.
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

/// Auto-reload, as far as it is to be changed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Reload {
    /// On or off.
    pub enabled: Option<bool>,
    /// Below what credits are bought.
    pub threshold: Option<Nanos>,
    /// How many.
    pub amount: Option<Nanos>,
    /// The most that is spent in a month.
    pub monthly_max: Option<Nanos>,
    /// The card.
    pub payment_method: Option<String>,
}

/// The card that is named; where credits are to be bought and none is named, the account must have one to charge.
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
    // The default card is followed without being named.
    Ok(match named {
        _ if followed == DEFAULT_METHOD => None,
        Some(_) => Some(MethodChange::To(followed)),
        None => Some(MethodChange::AtFirst(followed)),
    })
}

/// A card that is named is chosen, also one that was disputed before; one that is not must not have been disputed since.
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

/// Changes auto-reload: what is not named stays as it is.
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

/// Changes autoScale: what is not named stays as it is.
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
