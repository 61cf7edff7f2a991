//! What an account's actor is given when it is made: where it reads, where it writes, who charges its cards, which requests
//! run here. The account knows these by what they do for it; who they are, and where accounts live, it does not know.

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
    /// Has a payment charged whose row is durable, and its account told what came of it. One that is on its way already is
    /// not charged again.
    fn charge(&self, account_id: AccountId, payment: Payment);
}

/// What all accounts of a process share.
pub struct Surroundings {
    /// Where an account is read from, once.
    pub ledger: Arc<Ledger>,
    /// Where it writes.
    pub journal: Arc<dyn Append>,
    /// Who charges its cards.
    pub charges: Arc<dyn Charges>,
    /// Which requests run here: the hold of one that does is not abandoned.
    pub running: Running,
    /// What time it is.
    pub clock: Clock,
}

impl std::fmt::Debug for Surroundings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Surroundings").finish_non_exhaustive()
    }
}

/// What one life of an account works with.
#[derive(Debug, Clone)]
pub struct AccountContext {
    /// What is around it.
    pub around: Arc<Surroundings>,
    /// Which of the account's lives this is.
    pub incarnation: Incarnation,
}
