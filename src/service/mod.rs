//! What people do beside inference: accounts, keys, credits, purchases, cards, subscriptions, webhooks, and reading
//! them. Plain functions over the actors and the ledger, with typed input, a typed answer and one [`ServiceError`].
//! There is no HTTP and no JSON here: callers are authenticated and bodies are parsed before a service is called.
//! Services don't know the gateway either.

pub mod accounts;
pub mod acts;
pub mod alerts;
pub mod automatic;
pub mod calendar;
pub mod cards;
pub mod credits;
mod error;
pub mod export;
#[cfg(feature = "faults")]
pub mod faults;
pub mod history;
pub mod keys;
pub mod money;
pub mod operations;
pub mod operators;
pub mod page;
pub mod payments;
pub mod people;
pub mod prices;
pub mod purchases;
pub mod receipts;
pub mod subscription;
pub mod trail;
pub mod usage;
pub mod webhooks;

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use actors::{accounts::Accounts, delivery::Webhooks, journal::Journal, payment::PaymentActor};
use billing::Timestamp;
use ledger::Ledger;
use runtime::mailbox::Handle;

use self::people::People;

pub use error::ServiceError;

/// The actors and the settings that services use.
pub struct Service {
    accounts: Accounts,
    journal: Arc<Journal>,
    /// The actor that charges cards.
    payments: Handle<PaymentActor>,
    /// The actor that delivers webhooks.
    webhooks: Webhooks,
    /// The longest time a webhook may take to answer.
    webhook_timeout: Duration,
    /// What people need beside the ledger.
    people: People,
    /// Opens checkpoints that this gateway signed.
    open: Box<Open>,
    /// Money as operators were shown it last.
    money: money::Shown,
    /// The last audit.
    last_audit: Mutex<Option<money::LastAudit>>,
    /// What operators did that is not kept yet.
    unkept: operators::Unkept,
}

/// Opens what was signed, or says why it is not trusted.
type Open = dyn Fn(&str) -> Result<String, String> + Send + Sync;

impl Service {
    /// The services, over these actors.
    pub fn new(
        accounts: Accounts,
        journal: Arc<Journal>,
        payments: Handle<PaymentActor>,
        webhooks: Webhooks,
        webhook_timeout: Duration,
        people: People,
        open: impl Fn(&str) -> Result<String, String> + Send + Sync + 'static,
    ) -> Self {
        Self {
            accounts,
            journal,
            payments,
            webhooks,
            webhook_timeout,
            people,
            open: Box::new(open),
            money: money::Shown::default(),
            last_audit: Mutex::default(),
            unkept: operators::Unkept::default(),
        }
    }

    /// Whether all decisions of accounts are written to the ledger.
    pub fn is_written(&self) -> bool {
        self.journal.is_idle()
    }

    /// What people need beside the ledger.
    pub const fn people(&self) -> &People {
        &self.people
    }

    fn ledger(&self) -> &Arc<Ledger> {
        self.accounts.ledger()
    }

    /// The time by the ledger's clock.
    pub fn now(&self) -> Timestamp {
        self.accounts.clock().now()
    }
}
