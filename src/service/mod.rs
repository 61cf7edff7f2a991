//! All that people do beside inference: accounts, keys, credits, purchases, cards, subscriptions, webhooks, and what is read
//! of them. Plain functions over the actors and the ledger, with typed input, a typed answer and one [`ServiceError`]. It knows
//! no HTTP and no JSON: who asks was checked, and what was written was read, before it is called. Nor does it know of the
//! gateway, which runs what is paid for.

pub mod accounts;
pub mod acts;
pub mod automatic;
pub mod cards;
pub mod credits;
mod error;
pub mod export;
#[cfg(feature = "faults")]
pub mod faults;
pub mod history;
pub mod keys;
pub mod operations;
pub mod page;
pub mod payments;
pub mod purchases;
pub mod subscription;
pub mod usage;
pub mod webhooks;

use std::{sync::Arc, time::Duration};

use actors::{accounts::Accounts, delivery::Webhooks, journal::Journal, payment::PaymentActor};
use billing::Timestamp;
use ledger::Ledger;
use runtime::mailbox::Handle;

pub use error::ServiceError;

/// What it stands on.
pub struct Service {
    accounts: Accounts,
    journal: Arc<Journal>,
    /// Who charges cards.
    payments: Handle<PaymentActor>,
    /// Who calls owners' webhooks.
    webhooks: Webhooks,
    /// How long one of them may take to answer.
    webhook_timeout: Duration,
}

impl Service {
    /// Over these actors.
    pub const fn new(
        accounts: Accounts,
        journal: Arc<Journal>,
        payments: Handle<PaymentActor>,
        webhooks: Webhooks,
        webhook_timeout: Duration,
    ) -> Self {
        Self { accounts, journal, payments, webhooks, webhook_timeout }
    }

    /// Whether all that accounts decided is written.
    pub fn is_written(&self) -> bool {
        self.journal.is_idle()
    }

    fn ledger(&self) -> &Arc<Ledger> {
        self.accounts.ledger()
    }

    /// The time by the ledger's clock.
    pub fn now(&self) -> Timestamp {
        self.accounts.clock().now()
    }
}
