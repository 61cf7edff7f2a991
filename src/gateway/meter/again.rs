//! The meter of an answer that is given again: nothing is charged, and its usage is told as it was.

use wire::{inference::Usage, usage::Report};

/// The meter of one such answer.
#[derive(Debug, Default)]
pub(in crate::gateway) struct AgainMeter {
    usage: Usage,
    own: Option<Box<str>>,
}

impl AgainMeter {
    /// Takes the report of the provider that made the answer.
    pub(super) fn reported(&mut self, report: Report) {
        let Report { input, output, cached_input, cache_write, reasoning, own, .. } = report;
        let (input, output) = (input.unwrap_or(self.usage.input), output.unwrap_or(self.usage.output));
        self.usage = Usage { input, cached_input, cache_write, output, reasoning };
        self.own = own.or(self.own.take());
    }

    /// Takes the counts of the engine that made the answer.
    pub(super) const fn counted(&mut self, usage: Usage) {
        self.usage = usage;
    }

    /// The usage of the run that made the answer.
    pub(super) const fn usage(&self) -> Usage {
        self.usage
    }

    /// The provider's own usage object. Taken once.
    pub(super) const fn take_own(&mut self) -> Option<Box<str>> {
        self.own.take()
    }
}
