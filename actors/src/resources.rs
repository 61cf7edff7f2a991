//! Changes of an account's keys, saved cards and webhooks. They are decided from the tables, and taken by the account if
//! nothing has changed meanwhile; else they are decided again.

use billing::{
    command::{Answer, Command, Refusal},
    event::Event,
    ids::AccountId,
    resource::{Change, Resource},
};
use ledger::{Ledger, LedgerError};

use crate::{account::AccountError, accounts::Accounts};

/// How often a change is decided. Each time, another change of the same account came first.
const TRIES: usize = 20;

/// A decision on resources.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decided<T> {
    /// The resources that change.
    pub resources: Vec<Resource>,
    /// Events for the owner.
    pub events: Vec<Event>,
    /// The answer, once the change is durable.
    pub answer: T,
}

impl<T> Decided<T> {
    /// A decision without events.
    pub const fn new(resources: Vec<Resource>, answer: T) -> Self {
        Self { resources, events: Vec::new(), answer }
    }
}

/// Why resources were not changed.
#[derive(Debug, thiserror::Error)]
pub enum NotChanged {
    /// The account can't answer, or does not exist.
    #[error(transparent)]
    Account(#[from] AccountError),
    /// The ledger can't be read.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// The account refused, for another reason than a change meanwhile.
    #[error(transparent)]
    Refused(#[from] Refusal),
}

impl Accounts {
    /// Changes an account's resources. `decide` reads the ledger and may be called several times. Where it changes
    /// nothing, nothing is written.
    ///
    /// # Errors
    ///
    /// As `decide`, or for the reasons in [`NotChanged`]. After [`AccountError::Unavailable`] the change may have been
    /// made: deciding it again shows whether it was.
    pub async fn change<T, E: From<NotChanged>>(
        &self,
        id: AccountId,
        decide: impl AsyncFn(&Ledger) -> Result<Decided<T>, E>,
    ) -> Result<T, E> {
        // Those who come at once wait for one another. Another process that takes the ledger over may still be first.
        let _turn = self.turn(id).lock().await;
        let mut tries = 0;
        loop {
            // Before the rows: what is read afterwards may be newer, never older.
            let revision = self.ledger().revision(id).await.map_err(NotChanged::from)?;
            let revision = revision.ok_or(NotChanged::Account(AccountError::NoAccount))?;
            let Decided { resources, events, answer } = decide(self.ledger()).await?;
            if resources.is_empty() && events.is_empty() {
                return Ok(answer);
            }
            let change = Command::Change(Change { revision, resources, events });
            let Answer { result, .. } = self.decide(id, change).await.map_err(NotChanged::from)?;
            match result {
                Ok(_) => return Ok(answer),
                Err(Refusal::ResourcesMoved) if tries < TRIES => tries += 1,
                Err(refusal) => return Err(NotChanged::from(refusal).into()),
            }
        }
    }
}
