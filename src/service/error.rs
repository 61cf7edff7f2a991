//! Why a service failed, by what the caller can do: send another value, use another key, remove a conflict, add
//! credits, use another card, or try again. Errors of the ledger, the actors and the card processor become one of these
//! here. Errors that are not the caller's fault are logged here, once.

use actors::{
    account::AccountError,
    delivery::NotTested,
    payment::{EventNotApplied, NotRefunded, reconcile::NotReconciled},
    resources::NotChanged,
};
use billing::{command::Refusal, ids::PaymentId, key::Scope};
use cards::CardError;
use ledger::LedgerError;
use runtime::mailbox::AskError;

/// Why a service failed.
#[derive(Debug, thiserror::Error)]
pub enum ServiceError {
    /// A value is invalid: send another one.
    #[error("{field}: {message}")]
    Invalid {
        /// The field.
        field: String,
        /// The rule that the value breaks.
        message: String,
    },
    /// The key lacks this scope: use a key that has it.
    #[error("this takes the scope \"{}\"", .0.name())]
    OutOfScope(Scope),
    /// There is no such object.
    #[error("{0} was not found")]
    NotFound(&'static str),
    /// The request conflicts with an existing object or state.
    #[error("{0}")]
    Conflict(String),
    /// The rules of money refuse it.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The card was declined: pay with another.
    #[error("the card was declined: {code}")]
    Declined {
        /// The processor's code for the reason.
        code: String,
        /// The payment.
        payment: PaymentId,
    },
    /// The card processor refused the call.
    #[error("the card processor refused: {message}")]
    CardRefused {
        /// The processor's code for the reason.
        code: String,
        /// The processor's message for people.
        message: String,
    },
    /// Too many requests at once: try again soon.
    #[error("{0}")]
    Overloaded(String),
    /// Not possible just now: try again.
    #[error("{0}")]
    NotReady(String),
    /// A fault of another's server, which was logged: trying again does not help.
    #[error("{0}")]
    Elsewhere(String),
    /// A fault of this server, which was not logged yet.
    #[error("{0}")]
    Internal(String),
}

impl ServiceError {
    /// An invalid value.
    pub fn invalid(field: impl Into<String>, message: impl std::fmt::Display) -> Self {
        Self::Invalid { field: field.into(), message: message.to_string() }
    }

    /// A conflict with an existing object or state.
    pub fn conflict(message: impl Into<String>) -> Self {
        Self::Conflict(message.into())
    }

    fn not_ready(message: impl Into<String>) -> Self {
        Self::NotReady(message.into())
    }
}

impl From<AccountError> for ServiceError {
    fn from(error: AccountError) -> Self {
        match error {
            AccountError::NoAccount => Self::NotFound("the account"),
            AccountError::Unavailable(_) => {
                let message = "The ledger can't be reached just now, and this may have been done: look, or ask again. With an \
                               Idempotency-Key it is done once.";
                Self::not_ready(message)
            }
            AccountError::Overloaded => Self::Overloaded("Too many requests of this account are waiting.".into()),
            AccountError::Apart(why) => Self::not_ready(format!(
                "The account is at a node that this one does not work with ({why}). Nothing was done: ask another node."
            )),
            AccountError::Moved => Self::Overloaded("The account moves to another node just now.".into()),
        }
    }
}

impl From<LedgerError> for ServiceError {
    fn from(error: LedgerError) -> Self {
        match error {
            LedgerError::Taken(what) => Self::Conflict(format!("{what} is taken already")),
            LedgerError::Database(_)
            | LedgerError::Writer(_)
            | LedgerError::NotWritten(_)
            | LedgerError::Refused(_) => {
                tracing::error!(%error, "ledger");
                Self::not_ready("The ledger can't be reached just now.")
            }
            // Logged once, where it was found.
            LedgerError::Away(why)
            | LedgerError::Owned(why)
            | LedgerError::Unusable(why)
            | LedgerError::NoLedger(why) => Self::not_ready(format!("The ledger can't be used just now: {why}.")),
            LedgerError::Fenced => Self::not_ready("Another process has taken this ledger over."),
            LedgerError::Corrupt(_) => Self::Internal(error.to_string()),
        }
    }
}

impl From<NotChanged> for ServiceError {
    fn from(error: NotChanged) -> Self {
        match error {
            NotChanged::Account(error) => error.into(),
            NotChanged::Ledger(error) => error.into(),
            NotChanged::Refused(Refusal::ResourcesMoved) => {
                Self::Overloaded("Too many changes of this account come at once: ask again.".into())
            }
            NotChanged::Refused(refusal) => refusal.into(),
        }
    }
}

impl From<CardError> for ServiceError {
    fn from(error: CardError) -> Self {
        match error {
            CardError::Unavailable(_) => {
                tracing::warn!(%error, "card processor");
                Self::not_ready("The card processor can't be reached just now.")
            }
            CardError::Refused { code, message } => Self::CardRefused { code, message },
        }
    }
}

impl From<EventNotApplied> for ServiceError {
    fn from(error: EventNotApplied) -> Self {
        match &error {
            EventNotApplied::Replayed(_) => Self::Conflict(error.to_string()),
            EventNotApplied::Unfounded(_) => Self::invalid("body", &error),
            EventNotApplied::NotNow(_) | EventNotApplied::Overloaded => {
                tracing::warn!(%error, "an event of the card processor was not applied");
                Self::not_ready("This can't be taken just now; tell it again.")
            }
        }
    }
}

impl From<NotRefunded> for ServiceError {
    fn from(error: NotRefunded) -> Self {
        match error {
            NotRefunded::NoPayment => Self::NotFound("this payment"),
            NotRefunded::NotPaid(_) | NotRefunded::TooMany => Self::Conflict(error.to_string()),
            NotRefunded::MoreThanLeft(_) => Self::invalid("amount", &error),
            NotRefunded::Card(error) => error.into(),
            NotRefunded::NotNow(_) => {
                tracing::error!(%error, "refund");
                Self::not_ready("The refund could not be completed just now; asking again gives nothing back twice.")
            }
        }
    }
}

impl From<NotReconciled> for ServiceError {
    fn from(error: NotReconciled) -> Self {
        match error {
            NotReconciled::Ledger(error) => error.into(),
            NotReconciled::Card(error) => error.into(),
            NotReconciled::TooMany => Self::invalid("days", error),
        }
    }
}

impl From<NotTested> for ServiceError {
    fn from(error: NotTested) -> Self {
        match error {
            NotTested::Busy => {
                Self::Overloaded("A test of this account, or too many of others', are under way.".into())
            }
            NotTested::Ledger(error) => error.into(),
        }
    }
}

impl From<AskError> for ServiceError {
    fn from(error: AskError) -> Self {
        match error {
            AskError::Full => Self::Overloaded("Too much is waiting.".into()),
            AskError::Gone | AskError::Late | AskError::Nobody => Self::not_ready("No answer came in time; try again."),
        }
    }
}
