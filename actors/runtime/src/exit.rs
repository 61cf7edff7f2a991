//! How the end of an actor is noticed: each actor has an [`ExitGuard`]. Its drop informs the supervisor and the health.

use crate::health::{ExitReason, Health, Kind, Life, Name};

/// A field of every actor. Its drop reports how the actor ended, also while a panic unwinds.
pub struct ExitGuard {
    health: Health,
    kind: Kind,
    name: Name,
    life: Life,
    reason: ExitReason,
    on_exit: Option<Box<dyn FnOnce(ExitReason) + Send>>,
}

impl std::fmt::Debug for ExitGuard {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ExitGuard").field("kind", &self.kind).field("name", &self.name).finish_non_exhaustive()
    }
}

impl ExitGuard {
    /// A guard for a new actor. `on_exit` runs on the actor's thread when the actor is gone, and must not panic.
    pub fn new(health: &Health, kind: Kind, name: Name, on_exit: impl FnOnce(ExitReason) + Send + 'static) -> Self {
        let life = health.born(kind, &name);
        let on_exit: Option<Box<dyn FnOnce(ExitReason) + Send>> = Some(Box::new(on_exit));
        Self { health: health.clone(), kind, name, life, reason: ExitReason::Stopped, on_exit }
    }

    /// The health where the end is noted.
    pub const fn health(&self) -> &Health {
        &self.health
    }

    /// Marks the coming end as a panic: the actor caught one.
    pub const fn panicked(&mut self) {
        self.reason = ExitReason::Panicked;
    }

    /// Marks the coming end as a failure.
    pub const fn failed(&mut self) {
        self.reason = ExitReason::Failed;
    }
}

impl Drop for ExitGuard {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.reason = ExitReason::Panicked;
        }
        if self.reason != ExitReason::Stopped {
            tracing::error!(actor = self.kind.name(), name = %self.name, reason = ?self.reason, "actor ended");
        }
        self.health.died(self.kind, &self.name, &self.life, self.reason);
        if let Some(on_exit) = self.on_exit.take() {
            on_exit(self.reason);
        }
    }
}
