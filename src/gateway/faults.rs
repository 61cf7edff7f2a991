//! Faults of what runs models, as tests and developers ask for them: one message a call of the operator's.

use std::time::Duration;

use actors::{
    faults::{Freeze, Panic},
    pool,
    provider::ProviderHandle,
};
use billing::class::SizeClass;
use runtime::mailbox;

use super::Gateway;

impl Gateway {
    /// Has a provider's actor die of a panic; whether there is one.
    pub fn panic_provider(&self, name: &str) -> bool {
        let actor = self.providers.get(name).and_then(ProviderHandle::actor);
        actor.map(|actor| mailbox::tell(&actor, Panic)).is_some()
    }

    /// Has a provider's actor stand still for so long; whether there is one.
    pub fn freeze_provider(&self, name: &str, span: Duration) -> bool {
        let actor = self.providers.get(name).and_then(ProviderHandle::actor);
        actor.map(|actor| mailbox::tell(&actor, Freeze(span))).is_some()
    }

    /// Has a pool's actor die of a panic; whether there is one.
    pub fn panic_pool(&self, class: SizeClass) -> bool {
        self.pools.of(class).map(|pool| mailbox::tell(&pool.address(), Panic)).is_some()
    }

    /// Has every engine that writes text hang in its next step for so long.
    pub fn hang_engines(&self, span: Duration) {
        pool::faults::hang(span);
    }
}
