//! Providers of closed models, as operators see them: whether they are called, what runs there, and how that goes.

pub use actors::provider::gates::Circuit;

use super::{Gateway, lately::Minute, plan::OURS};

/// A provider, as it is seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProviderSeen {
    /// Its name.
    pub name: String,
    /// How its circuits stand.
    pub circuit: Circuit,
    /// The number of our keys there.
    pub keys: usize,
    /// Calls that run.
    pub running: usize,
    /// The most that may run at a time.
    pub most: usize,
    /// Why an operator has it not called; `None` where it is.
    pub paused: Option<String>,
    /// What became of its requests in the last minute.
    pub minute: Minute,
}

impl Gateway {
    /// All providers that can be called from here, by their names.
    pub fn providers_seen(&self) -> Vec<ProviderSeen> {
        let seen = self.providers.values().map(|handle| ProviderSeen {
            name: handle.name().to_owned(),
            circuit: handle.circuit(),
            keys: handle.keys(),
            running: handle.running(),
            most: handle.most_calls(),
            paused: handle.paused(),
            minute: self.measures.minute(handle.name()),
        });
        let mut seen: Vec<_> = seen.collect();
        seen.sort_by(|one, other| one.name.cmp(&other.name));
        seen
    }

    /// What became of requests to open models in the last minute.
    pub fn open_minute(&self) -> Minute {
        self.measures.minute(OURS)
    }
}
