//! Faults of what keeps money, as tests and developers ask for them: one message a call of the operator's.

use std::time::Duration;

use actors::faults::{Freeze, Panic};
use billing::ids::AccountId;
use runtime::mailbox;

use super::Service;

/// An actor of money that is to die of a panic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// An account's.
    Account(AccountId),
    /// The journal's writer.
    Journal,
    /// Who charges cards.
    Payment,
    /// Who calls owners' webhooks.
    Webhook,
}

/// Has it die of a panic.
pub fn panic(service: &Service, fault: Fault) {
    match fault {
        Fault::Account(id) => service.accounts.tell(id, Panic),
        Fault::Journal => service.journal.panic(),
        Fault::Payment => mailbox::tell(&service.payments.address(), Panic),
        Fault::Webhook => mailbox::tell(&service.webhooks.actor.address(), Panic),
    }
}

/// Has the actor that charges cards stand still for so long.
pub fn freeze_payments(service: &Service, span: Duration) {
    mailbox::tell(&service.payments.address(), Freeze(span));
}
