//! The meter of an answer that is given again: nothing is charged, and its usage is told as it was.

use wire::{inference::Usage, usage::Report};

/// The meter of one such answer.
#[derive(Debug, Default)]
pub(in crate::gateway) struct AgainMeter {
    /// The reports of the provider that made the answer, joined.
    report: Report,
    /// The counts of the engine that made it.
    counted: Usage,
}

impl AgainMeter {
    /// Takes a report of the provider that made the answer. Some providers tell their usage in several parts.
    pub(super) fn reported(&mut self, report: Report) {
        self.report = std::mem::take(&mut self.report).gain(report);
    }

    /// Takes the counts of the engine that made the answer.
    pub(super) const fn counted(&mut self, usage: Usage) {
        self.counted = usage;
    }

    /// The usage of the run that made the answer.
    pub(super) fn usage(&self) -> Usage {
        // An engine reports nothing, and a provider counts nothing here.
        let Report { input, output, cached_input, cache_write, reasoning, .. } = self.report;
        if input.or(output).is_none() {
            return self.counted;
        }
        Usage { input: input.unwrap_or(0), cached_input, cache_write, output: output.unwrap_or(0), reasoning }
    }

    /// The units of search that the run took.
    pub(super) fn search_units(&self) -> u64 {
        self.report.search_units.unwrap_or(0)
    }

    /// The provider's own usage object. Taken once.
    pub(super) const fn take_own(&mut self) -> Option<Box<str>> {
        self.report.own.take()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn usage_that_was_told_in_parts_is_told_whole() {
        let mut meter = AgainMeter::default();
        let begun = Report { input: Some(90), cached_input: 40, cache_write: 30, output: Some(1), ..Report::default() };
        meter.reported(Report { own: Some(r#"{"input_tokens":20,"output_tokens":1}"#.into()), ..begun });
        meter.reported(Report { output: Some(7), own: Some(r#"{"output_tokens":7}"#.into()), ..Report::default() });
        assert_eq!(meter.usage(), Usage { input: 90, cached_input: 40, cache_write: 30, output: 7, reasoning: 0 });
        assert_eq!(meter.take_own().as_deref(), Some(r#"{"input_tokens":20,"output_tokens":7}"#));
        meter.reported(Report { search_units: Some(2), ..Report::default() });
        assert_eq!(meter.search_units(), 2);
    }
}
