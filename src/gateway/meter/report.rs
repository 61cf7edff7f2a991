//! What a closed request used: what its provider reported, as far as it is believed, and what is counted where that is
//! silent (design, chapter 2.10). Pure.

use billing::price::{Keep, Tokens};
use wire::usage::Report;

/// The most a model can read and write for one request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Capacity {
    /// Prompt tokens: its context.
    pub input: u64,
    /// Output tokens, of all answers together.
    pub output: u64,
}

/// A report of more than so many times what the model can do is nonsense.
const NONSENSE: u64 = 2;

/// What is known of a request's usage so far.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Known {
    report: Option<Report>,
    /// How long the text was when the last report came: more of it is not in the report.
    told_at: usize,
}

/// What a request used, in the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Used {
    /// Tokens.
    pub tokens: Tokens,
    /// Whether some of them were counted here.
    pub estimated: bool,
}

/// A report without those of its numbers that are nonsense; none where nothing is left of it.
pub fn believed(mut report: Report, can: Capacity) -> Option<Report> {
    let is_sound = |number: &u64, most: u64| *number <= most.saturating_mul(NONSENSE);
    let (input, output) = (report.input, report.output);
    report.input = input.filter(|input| is_sound(input, can.input));
    report.output = output.filter(|output| is_sound(output, can.output));
    if (report.input, report.output) != (input, output) {
        report.own = None;
    }
    (report.input.is_some() || report.output.is_some()).then(|| report.fitted())
}

impl Known {
    /// Takes a report that came when the answer's text was so long. Whether all of it is believed.
    pub fn hear(&mut self, report: Report, text: usize, can: Capacity) -> bool {
        let numbers = (report.input, report.output);
        let Some(report) = believed(report, can) else { return false };
        let is_whole = numbers == (report.input, report.output);
        self.told_at = text;
        self.report = Some(match self.report.take() {
            Some(known) => known.gain(report),
            None => report,
        });
        is_whole
    }

    /// Whether anything was reported.
    pub const fn is_reported(&self) -> bool {
        self.report.is_some()
    }

    /// Only what was reported: what is absent is nothing.
    pub fn reported(&self, keep: Keep) -> Used {
        let report = self.report.as_ref();
        let input = report.and_then(|report| report.input).unwrap_or(0);
        let output = report.and_then(|report| report.output).unwrap_or(0);
        Used { tokens: tokens(report, input, output, keep), estimated: false }
    }

    /// What was used for a prompt that was counted as so many tokens and a text of this length; `count` counts the text,
    /// and is asked where no report has it. At most what the model can do.
    pub fn used(&self, prompt: u64, text: usize, keep: Keep, can: Capacity, count: impl FnOnce() -> u64) -> Used {
        let report = self.report.as_ref();
        let input = report.and_then(|report| report.input);
        let output = report.and_then(|report| report.output);
        let is_behind = text > self.told_at;
        let written = match output {
            Some(output) if !is_behind => output,
            output => count().min(can.output).max(output.unwrap_or(0)),
        };
        let tokens = tokens(report, input.unwrap_or(prompt.min(can.input)), written, keep);
        Used { tokens, estimated: input.is_none() || output != Some(written) }
    }

    /// The provider's own object, where it is of all of a text of this length.
    pub fn own(self, text: usize) -> Option<Box<str>> {
        self.report.filter(|_| text <= self.told_at)?.own
    }
}

/// Disjoint parts. Writes to a cache that are not told apart count as the dearest that was asked for.
fn tokens(report: Option<&Report>, input: u64, output: u64, keep: Keep) -> Tokens {
    let Some(report) = report.filter(|report| report.input.is_some()) else { return Tokens::plain(input, output) };
    let long = report.cache_write_long.unwrap_or(match keep {
        Keep::Usual => 0,
        Keep::Long => report.cache_write,
    });
    let long = long.min(report.cache_write);
    let cached_input = report.cached_input;
    Tokens { input, cached_input, cache_write: report.cache_write - long, cache_write_long: long, output }.fitted()
}

#[cfg(test)]
mod tests {
    use super::*;

    const CAN: Capacity = Capacity { input: 1_000, output: 100 };

    fn report(input: Option<u64>, output: Option<u64>) -> Report {
        Report { input, output, own: Some("{}".into()), ..Report::default() }
    }

    fn known(reports: impl IntoIterator<Item = (Report, usize)>) -> Known {
        let mut known = Known::default();
        for (report, text) in reports {
            known.hear(report, text, CAN);
        }
        known
    }

    /// Input, output and whether they were estimated, after a text of ten that counts as five.
    fn used(known: &Known) -> (u64, u64, bool) {
        let Used { tokens, estimated } = known.used(40, 10, Keep::Usual, CAN, || 5);
        (tokens.input, tokens.output, estimated)
    }

    #[test]
    fn what_is_not_reported_is_counted() {
        assert_eq!(used(&known([])), (40, 5, true));
        assert_eq!(used(&known([(report(Some(7), Some(6)), 10)])), (7, 6, false));
        assert_eq!(used(&known([(report(Some(7), None), 10)])), (7, 5, true));
        assert_eq!(used(&known([(report(None, Some(6)), 10)])), (40, 6, true));
        assert_eq!(known([]).used(5_000, 10, Keep::Usual, CAN, || 5_000).tokens, Tokens::plain(1_000, 100));
    }

    #[test]
    fn a_report_of_before_the_text_is_no_report_of_it() {
        let running = || known([(report(Some(7), Some(0)), 0)]);
        assert_eq!(used(&running()), (7, 5, true));
        assert_eq!(running().own(10), None);
        assert_eq!(used(&known([(report(Some(7), Some(60)), 4)])), (7, 60, false), "more than the text has by itself");
        let ended = known([(report(Some(7), Some(1)), 3), (report(Some(7), Some(6)), 10)]);
        assert_eq!((used(&ended), ended.own(10).as_deref()), ((7, 6, false), Some("{}")));
    }

    #[test]
    fn nonsense_is_absent_and_erases_nothing() {
        assert_eq!(used(&known([(report(Some(2_000), Some(200)), 10)])), (2_000, 200, false), "twice is not more");
        assert_eq!(used(&known([(report(Some(2_001), Some(6)), 10)])), (40, 6, true));
        assert_eq!(used(&known([(report(Some(7), Some(201)), 10)])), (7, 5, true));
        assert_eq!(known([(report(Some(7), Some(201)), 10)]).own(10), None);
        let mut good = known([(report(Some(7), Some(6)), 10)]);
        assert!(!good.hear(report(Some(u64::MAX), Some(u64::MAX)), 10, CAN));
        assert!(!good.hear(report(Some(u64::MAX), Some(6)), 10, CAN));
        assert_eq!(used(&good), (7, 6, false));
    }

    #[test]
    fn writes_that_are_not_told_apart_are_the_dearest_that_was_asked_for() {
        let of = |long: Option<u64>, keep| {
            let report = Report { cache_write: 30, cache_write_long: long, ..report(Some(100), Some(1)) };
            let tokens = known([(report, 0)]).reported(keep).tokens;
            (tokens.cache_write, tokens.cache_write_long)
        };
        assert_eq!(of(None, Keep::Usual), (30, 0));
        assert_eq!(of(None, Keep::Long), (0, 30));
        assert_eq!(of(Some(10), Keep::Long), (20, 10));
        assert_eq!(of(Some(10), Keep::Usual), (20, 10));
    }
}
