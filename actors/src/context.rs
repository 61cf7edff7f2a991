//! The surroundings of an account's actor: the ledger, the journal, the charger of cards, the running requests. The
//! account knows them by their interfaces only, and does not know where accounts live.

use std::sync::{
    Arc, OnceLock,
    atomic::{AtomicU64, Ordering::Relaxed},
};

use billing::{account::Balance, ids::AccountId, payment::Payment};
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

/// Tells balances to other nodes.
pub trait Announces: Send + Sync {
    /// An account has this balance, which has this place among those that this process told. It is not waited for.
    fn balance(&self, account_id: AccountId, place: u64, balance: &Balance);
}

/// The balances that this process told.
#[derive(Default)]
pub struct Balances {
    told: AtomicU64,
    /// The way to other nodes, where there may be some that want to hear them.
    beyond: OnceLock<Arc<dyn Announces>>,
}

impl Balances {
    /// From now on balances are told to other nodes, too.
    pub fn announce_by(&self, beyond: Arc<dyn Announces>) {
        // A second call changes nothing.
        let _ = self.beyond.set(beyond);
    }

    /// Tells a balance to other nodes, and gives its place.
    pub fn tell(&self, account_id: AccountId, balance: &Balance) -> u64 {
        let place = self.told.fetch_add(1, Relaxed);
        if let Some(beyond) = self.beyond.get() {
            beyond.balance(account_id, place, balance);
        }
        place
    }
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
    /// The balances that were told.
    pub balances: Balances,
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
