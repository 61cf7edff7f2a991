//! The surroundings of an account's actor: the ledger, the journal, the charger of cards, the running requests. The
//! account knows them by their interfaces only, and does not know where accounts live.

use std::sync::Arc;

use billing::{ids::AccountId, payment::Payment};
use ledger::Ledger;
use runtime::clock::Clock;

use crate::{
    journal::{Append, protocol::Incarnation},
    running::Running,
};

/// Carries payments to their end.
pub trait Charges: Send + Sync {
    /// Has a payment charged whose row is durable, and reports the result to its account. A payment that is on its way
    /// already is not charged again.
    fn charge(&self, account_id: AccountId, payment: Payment);
}

/// What all accounts of a process share.
pub struct Surroundings {
    /// The ledger, from which an account is read once.
    pub ledger: Arc<Ledger>,
    /// The journal, to which an account writes.
    pub journal: Arc<dyn Append>,
    /// The charger of the accounts' cards.
    pub charges: Arc<dyn Charges>,
    /// The requests that run in this process: their holds are not abandoned.
    pub running: Running,
    /// The process's clock.
    pub clock: Clock,
}

impl std::fmt::Debug for Surroundings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Surroundings").finish_non_exhaustive()
    }
}

/// The context of one life of an account.
#[derive(Debug, Clone)]
pub struct AccountContext {
    /// The surroundings.
    pub around: Arc<Surroundings>,
    /// The number of this life.
    pub incarnation: Incarnation,
}
