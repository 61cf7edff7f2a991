//! Alerts: the balances below which an account's owner is told, and the parts of a key's limits. Told are events; who gets letters
//! about them is `people::notices`.

use actors::{account::Look, resources::Decided};
use billing::{
    Nanos,
    account::Automatic,
    alert::{self, USUAL_LINE},
    automatic::{AlertChange, AutoChange},
    command::Command,
    ids::{AccountId, KeyId},
    key,
    resource::Resource,
};
use ledger::Ledger;

use super::{Service, ServiceError};

/// The lines of an account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lines {
    /// The balances below which the owner is told.
    pub lines: Vec<Nanos>,
    /// Whether the owner has set them; else it is the usual one.
    pub are_own: bool,
    /// Those that were told, and that the balance has not recovered from.
    pub told: Vec<Nanos>,
}

impl From<Option<Automatic>> for Lines {
    fn from(automatic: Option<Automatic>) -> Self {
        let Automatic { settings, state, .. } = automatic.unwrap_or_default();
        let usual = if settings.reload.is_on() { settings.threshold } else { USUAL_LINE };
        let are_own = settings.alerts.is_some();
        Self { lines: settings.alerts.unwrap_or_else(|| vec![usual]), are_own, told: state.told }
    }
}

/// The lines of an account.
///
/// # Errors
///
/// There is no such account ([`NotFound`](ServiceError::NotFound)), its mailbox is full
/// ([`Overloaded`](ServiceError::Overloaded)), or the ledger can't be reached ([`NotReady`](ServiceError::NotReady)).
/// The last two pass; try again.
pub async fn lines(service: &Service, account: AccountId) -> Result<Lines, ServiceError> {
    Ok(service.accounts.ask(account, Look).await?.automatic.into())
}

/// Sets the lines of an account; `None`: the usual one. Whatever was told of a line that is set still, stays told.
///
/// # Errors
///
/// The lines are refused ([`Invalid`](ServiceError::Invalid)), or the account can't be asked just now.
pub async fn set_lines(
    service: &Service,
    account: AccountId,
    lines: Option<Vec<Nanos>>,
) -> Result<Lines, ServiceError> {
    alert::check(lines.as_deref().unwrap_or_default()).map_err(|rule| ServiceError::invalid("lines", rule))?;
    let alerts = Some(lines.map_or(AlertChange::ToUsual, AlertChange::To));
    let change = Command::SetAutomatic(AutoChange { alerts, ..AutoChange::default() });
    service.accounts.decide(account, change).await?.result?;
    self::lines(service, account).await
}

/// Sets the parts of a key's limits, in percent, that the owner is told of when they are used; none of them: never.
///
/// # Errors
///
/// The parts are refused, or the key has no limits in dollars ([`Invalid`](ServiceError::Invalid)), the account has no working key
/// with this id ([`NotFound`](ServiceError::NotFound)), or the ledger can't be written.
pub async fn set_percents(
    service: &Service,
    account: AccountId,
    id: KeyId,
    percents: Vec<u8>,
) -> Result<(), ServiceError> {
    key::check_percents(&percents).map_err(|rule| ServiceError::invalid("percents", rule))?;
    let decide = async |ledger: &Ledger| -> Result<_, ServiceError> {
        let found = ledger.key_of(account, id).await?.filter(|found| found.revoked_at.is_none());
        let found = found.ok_or(ServiceError::NotFound("a working key with that id"))?;
        if found.limits.amounts.iter().all(Option::is_none) {
            return Err(ServiceError::invalid("key", "has no limits in dollars, and so no parts of them"));
        }
        Ok(Decided::new(vec![Resource::KeyAlerts { id, percents: percents.clone() }], ()))
    };
    service.accounts.change(account, decide).await
}
