//! Credits: an account's balance, its grants, and the credits that operators give and take back.

use actors::account::{Look, Picture};
use billing::{
    Nanos, Timestamp,
    account::Balance,
    command::{Command, Fund},
    grant::{Grant, Source},
    ids::{AccountId, GrantId},
};

use super::{
    Service, ServiceError,
    acts::{Act, Origin, carry_out},
    page::{Listed, Page},
};

/// An account's current state: balance, running requests, automatic purchases.
///
/// # Errors
///
/// There is no such account ([`NotFound`](ServiceError::NotFound)), its mailbox is full
/// ([`Overloaded`](ServiceError::Overloaded)), or the ledger can't be reached ([`NotReady`](ServiceError::NotReady)).
/// The last two pass; try again.
pub async fn look(service: &Service, account: AccountId) -> Result<Picture, ServiceError> {
    Ok(service.accounts.ask(account, Look).await?)
}

/// An account's grants, newest first.
///
/// # Errors
///
/// The ledger can't be read just now ([`NotReady`](ServiceError::NotReady)); try again.
pub async fn grants(service: &Service, account: AccountId, page: Page) -> Result<Listed<Grant>, ServiceError> {
    let rows = service.ledger().grants(account, page.before, page.limit).await?;
    Ok(page.list(rows, |grant| grant.id.0))
}

/// Credits to give without a payment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewGrant {
    /// The kind of the credits.
    pub source: Source,
    /// The amount.
    pub amount: Nanos,
    /// When the credits expire; `None`: as for their kind.
    pub expires_at: Option<Timestamp>,
    /// The operator's reason.
    pub reason: Option<String>,
}

/// Gives credits. The grant has the request's id.
///
/// # Errors
///
/// The account refuses the amount or the expiry ([`Refused`](ServiceError::Refused)), there is no such account
/// ([`NotFound`](ServiceError::NotFound)), or it can't be asked just now ([`NotReady`](ServiceError::NotReady)). A
/// repetition with the same origin gives the credits once.
pub async fn give(
    service: &Service,
    origin: Origin,
    account: AccountId,
    wanted: NewGrant,
) -> Result<(GrantId, Balance), ServiceError> {
    let NewGrant { source, amount, expires_at, reason } = wanted;
    let grant_id = GrantId(origin.id.0);
    let fund = Fund {
        grant_id,
        source,
        source_key: format!("operator {grant_id}"),
        amount,
        paid: Nanos::ZERO,
        expires_at,
        subscribed_until: None,
    };
    let reason = Some(reason.unwrap_or_else(|| "none given".to_owned()));
    let act = Act { name: "grant", subject: grant_id.to_string(), amount: Some(amount), reason };
    let balance = carry_out(service, origin, account, act, Command::Fund(fund)).await?;
    Ok((grant_id, balance))
}

/// Whether an operator may give credits of this kind: only kinds that are not paid for.
pub const fn is_given(source: Source) -> bool {
    match source {
        Source::Promo | Source::Goodwill | Source::Plan | Source::Free => true,
        Source::Purchase | Source::AutoReload | Source::AutoScale => false,
    }
}

/// Takes back the remaining credits of a grant, or part of them. Returns the balance afterwards.
///
/// # Errors
///
/// There is no such grant, or less is left of it ([`Refused`](ServiceError::Refused)), or the account can't be asked
/// just now ([`NotReady`](ServiceError::NotReady)). A repetition with the same origin takes the credits once.
pub async fn take_back(
    service: &Service,
    origin: Origin,
    account: AccountId,
    grant_id: GrantId,
    part: Option<Nanos>,
    reason: String,
) -> Result<Balance, ServiceError> {
    let act = Act { name: "void_grant", subject: grant_id.to_string(), amount: part, reason: Some(reason) };
    carry_out(service, origin, account, act, Command::VoidGrant { grant_id, amount: part }).await
}
