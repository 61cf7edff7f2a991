//! The usage of a closed request: the provider's report as far as it is plausible, and our own counts for the rest
//! (design, chapter 2.10). Pure.

use billing::{
    price::{Asked, Keep},
    quantity::{Cache, Direction, Key, Kind, Modality, Quantities, ServiceTier},
};
use wire::usage::{Longer, Report, Tier};

use crate::gateway::plan::{Bills, Media, Ranking, billed, tier_of};

/// The most tokens that a model can use for one request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Capacity {
    /// Input tokens: the model's context.
    pub input: u64,
    /// Output tokens of all choices together.
    pub output: u64,
    /// Searches of the web that the request allows.
    pub searches: u64,
    /// Pages of the web that it lets the provider fetch.
    pub fetches: u64,
    /// Units of search and ranking.
    pub search_units: u64,
    /// Milliseconds of a recording.
    pub milliseconds: u64,
    /// Images.
    pub images: u64,
}

/// A report above this multiple of the capacity is nonsense.
const NONSENSE: u64 = 2;

/// The reported usage of a request so far.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Known {
    report: Option<Report>,
    /// The length of the text at the last report. Later text is not covered by it.
    told_at: usize,
    /// The service tier that served the request, where that was told by itself.
    tier: Option<Tier>,
}

/// The final usage of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Used {
    /// The quantities used.
    pub quantities: Quantities,
    /// Whether any of them was counted here.
    pub estimated: bool,
}

impl Used {
    /// Nothing, as the provider says.
    const NOTHING: Self = Self { quantities: Quantities::NONE, estimated: false };
}

/// Removes implausible numbers from a report; `None` if no number is left. Of the provider's own tools, which have a fee
/// each, no more is believed than the request allows: nothing here could count them instead.
pub fn believed(mut report: Report, can: Capacity) -> Option<Report> {
    let is_sound = |number: &u64, most: u64| *number <= most.saturating_mul(NONSENSE);
    let (input, output) = (report.input, report.output);
    let uses = (report.web_searches, report.web_fetches);
    report.web_searches = report.web_searches.min(can.searches);
    report.web_fetches = report.web_fetches.min(can.fetches);
    report.input = input.filter(|input| is_sound(input, can.input));
    report.output = output.filter(|output| is_sound(output, can.output));
    let search_units = report.search_units;
    report.search_units = search_units.filter(|units| is_sound(units, can.search_units));
    let made = (report.milliseconds, report.images);
    report.milliseconds = made.0.filter(|milliseconds| is_sound(milliseconds, can.milliseconds));
    report.images = made.1.filter(|images| is_sound(images, can.images));
    let is_whole = (report.input, report.output, report.search_units) == (input, output, search_units);
    let is_whole = is_whole && (can.milliseconds == 0 || report.milliseconds == made.0);
    if !is_whole || (report.web_searches, report.web_fetches) != uses {
        report.own = None;
    }
    let units = report.search_units.or(report.milliseconds).or(report.images);
    let is_something = report.input.or(report.output).or(units).is_some();
    (is_something || report.is_free).then(|| report.fitted())
}

impl Known {
    /// Takes a report that came when the answer's text had this length. Returns whether all of it is plausible.
    pub fn hear(&mut self, report: Report, text: usize, can: Capacity) -> bool {
        if report.tier.is_some() && report == (Report { tier: report.tier, ..Report::default() }) {
            self.tier = report.tier;
            return true;
        }
        let numbers = |report: &Report| {
            let Report { input, output, web_searches, web_fetches, search_units, .. } = report;
            let milliseconds = report.milliseconds.filter(|_| can.milliseconds > 0);
            (*input, *output, *web_searches, *web_fetches, *search_units, milliseconds)
        };
        let told = numbers(&report);
        let Some(report) = believed(report, can) else { return false };
        let is_whole = told == numbers(&report);
        self.told_at = text;
        self.report = Some(match self.report.take() {
            Some(known) => known.gain(report),
            None => report,
        });
        is_whole
    }

    /// Whether any usage was reported.
    pub const fn is_reported(&self) -> bool {
        self.report.is_some()
    }

    /// Whether the provider bills nothing.
    fn is_free(&self) -> bool {
        self.report.as_ref().is_some_and(|report| report.is_free)
    }

    /// What was asked, at the tier that is known to have served it.
    fn served(&self, asked: Asked) -> Asked {
        Asked { tier: self.tier.map_or(asked.tier, of_tier), ..asked }
    }

    /// Only the reported usage: missing numbers count as zero.
    pub fn reported(&self, asked: Asked) -> Used {
        let asked = self.served(asked);
        let report = self.report.as_ref();
        if self.is_free() {
            return Used::NOTHING;
        }
        let input = report.and_then(|report| report.input).unwrap_or(0);
        let output = report.and_then(|report| report.output).unwrap_or(0);
        Used { quantities: quantities(report, input, output, asked), estimated: false }
    }

    /// The usage for a prompt with this count of tokens and a text of this length. `count` counts the text, and is
    /// called where no report covers it. The usage is at most the capacity.
    pub fn used(&self, prompt: u64, text: usize, asked: Asked, can: Capacity, count: impl FnOnce() -> u64) -> Used {
        let asked = self.served(asked);
        if self.is_free() {
            return Used::NOTHING;
        }
        let report = self.report.as_ref();
        let input = report.and_then(|report| report.input);
        let output = report.and_then(|report| report.output);
        let is_behind = text > self.told_at;
        let written = match output {
            Some(output) if !is_behind => output,
            output => count().min(can.output).max(output.unwrap_or(0)),
        };
        let quantities = quantities(report, input.unwrap_or(prompt.min(can.input)), written, asked);
        Used { quantities, estimated: input.is_none() || output != Some(written) }
    }

    /// The usage of documents that were ordered: of each quantity that is billed what was reported, or else what was
    /// counted.
    pub(in crate::gateway) fn ranked(&self, ranking: Ranking) -> Used {
        let told = self.ranked_reported(ranking);
        let report = self.report.as_ref();
        let is_missing = |counted: Option<u64>, told: Option<u64>| counted.filter(|_| told.is_none());
        let tokens = is_missing(ranking.tokens, report.and_then(|report| report.input));
        let units = is_missing(ranking.search_units, report.and_then(|report| report.search_units));
        let counted = billed(tokens.unwrap_or(0), units.unwrap_or(0));
        Used { quantities: told.quantities.and(&counted), estimated: tokens.or(units).is_some() }
    }

    /// The same as far as it was reported: missing numbers count as zero.
    pub(in crate::gateway) fn ranked_reported(&self, ranking: Ranking) -> Used {
        let report = self.report.as_ref();
        let tokens = ranking.tokens.and_then(|_| report?.input).unwrap_or(0);
        let units = ranking.search_units.and_then(|_| report?.search_units).unwrap_or(0);
        Used { quantities: billed(tokens, units), estimated: false }
    }

    /// The usage of speech, of a transcription or of images: what was reported, or else what was counted.
    pub(in crate::gateway) fn made(&self, media: &Media) -> Used {
        // Nothing that the provider does changes how many characters it was sent.
        let counted = || Used { quantities: media.counted, estimated: media.bills != Bills::Characters };
        self.made_reported(media).unwrap_or_else(counted)
    }

    /// The same as far as it was reported.
    pub(in crate::gateway) fn made_reported(&self, media: &Media) -> Option<Used> {
        let report = self.report.as_ref()?;
        let exact = |quantities| Used { quantities, estimated: false };
        match media.bills {
            Bills::Characters => None,
            Bills::Milliseconds => report.milliseconds.map(|amount| exact(media.told(amount))),
            Bills::Images => report.images.map(|amount| exact(media.told(amount))),
            Bills::Tokens => {
                report.input.or(report.output)?;
                let (input, output) = media.counted_tokens();
                let (input, output) = (report.input.unwrap_or(input), report.output.unwrap_or(output));
                let estimated = report.input.is_none() || report.output.is_none();
                Some(Used { quantities: quantities(Some(report), input, output, Asked::default()), estimated })
            }
        }
    }

    /// The provider's own usage object, if it covers the whole text of this length.
    pub fn own(self, text: usize) -> Option<Box<str>> {
        self.report.filter(|_| text <= self.told_at)?.own
    }
}

/// The service tier used: as reported, or else the one requested.
fn served(report: Option<&Report>, asked: ServiceTier) -> ServiceTier {
    report.map_or(asked, |report| of_tier(report.served(tier_of(asked))))
}

/// A provider's tier, as prices name it.
const fn of_tier(tier: Tier) -> ServiceTier {
    match tier {
        Tier::Standard => ServiceTier::Standard,
        Tier::Batch => ServiceTier::Batch,
        Tier::Flex => ServiceTier::Flex,
        Tier::Priority => ServiceTier::Priority,
        Tier::Us => ServiceTier::Us,
        Tier::PriorityUs => ServiceTier::PriorityUs,
    }
}

/// Splits input and output into disjoint quantities. Cache writes of unknown duration count as the longest that was
/// requested. Audio and images of unknown cache state are taken from the uncached input, as far as that reaches.
fn quantities(report: Option<&Report>, input: u64, output: u64, asked: Asked) -> Quantities {
    let tier = served(report, asked.tier);
    let Some(report) = report else {
        return [(Key::INPUT.in_tier(tier), input), (Key::OUTPUT.in_tier(tier), output)].into_iter().collect();
    };
    let is_told = report.input.is_some();
    let part = |part: u64, of: &mut u64| {
        let part = if is_told { part.min(*of) } else { 0 };
        *of -= part;
        part
    };
    let mut text = input;
    let read = part(report.cached_input, &mut text);
    let write = part(report.cache_write, &mut text);
    let long = report.cache_write_long.unwrap_or(match asked.keep {
        Keep::Usual => 0,
        Keep::Long => write,
    });
    let long = long.min(write);
    let kept = match report.longer {
        Longer::TwelveHours => Cache::Write12h,
        Longer::Hour => Cache::Write1h,
    };
    let audio = part(report.audio_input, &mut text);
    let image = part(report.image_input, &mut text);
    let mut written = output;
    let reasoning = report.reasoning.min(written);
    written -= reasoning;
    let spoken = report.audio_output.min(written);
    written -= spoken;
    let drawn = report.image_output.min(written);
    written -= drawn;
    let tokens = [
        (Key::INPUT, text),
        (Key::CACHE_READ, read),
        (Key::CACHE_WRITE, write - long),
        (Key::INPUT.cached(kept), long),
        (Key::INPUT.in_modality(Modality::Audio), audio),
        (Key::INPUT.in_modality(Modality::Image), image),
        (Key::OUTPUT, written),
        (Key::REASONING, reasoning),
        (Key::OUTPUT.in_modality(Modality::Audio), spoken),
        (Key::OUTPUT.in_modality(Modality::Image), drawn),
    ];
    let mut all: Quantities = tokens.into_iter().map(|(key, amount)| (key.in_tier(tier), amount)).collect();
    all.add(Key::of(Kind::WebSearches, Direction::Neither), report.web_searches);
    all.add(Key::of(Kind::WebFetches, Direction::Neither), report.web_fetches);
    match largest_prompt(report, input) {
        Some(tokens) => all.with_largest_prompt(tokens),
        None => all,
    }
}

/// The input tokens of the largest prompt, where the answer took several. A provider that runs its own tools reads the
/// conversation again after each use, and most report only the sum. Then no prompt is known to be larger than the mean,
/// and none is charged as if it were.
fn largest_prompt(report: &Report, input: u64) -> Option<u64> {
    let uses = report.web_searches.saturating_add(report.web_fetches);
    let mean = (uses > 0).then(|| input.div_ceil(uses.saturating_add(1)));
    report.input.and(report.largest_prompt.or(mean))
}

#[cfg(test)]
mod tests {
    use super::*;

    const CAN: Capacity =
        Capacity { input: 1_000, output: 100, searches: 3, fetches: 0, search_units: 4, milliseconds: 0, images: 0 };

    #[test]
    fn a_tier_that_is_told_by_itself_is_the_one_charged_and_says_nothing_of_usage() {
        let asked = Asked { tier: ServiceTier::Priority, ..Asked::default() };
        let told = |tier| Report { tier: Some(tier), ..Report::default() };
        let mut known = Known::default();
        assert!(known.hear(told(Tier::Standard), 0, CAN) && !known.is_reported());
        let counted = known.used(10, 5, asked, CAN, || 2);
        assert_eq!((counted.quantities, counted.estimated), (Quantities::plain(10, 2), true));
        known.hear(report(Some(7), Some(3)), 5, CAN);
        assert_eq!(known.reported(asked).quantities, Quantities::plain(7, 3));
        // What the usage itself says goes before.
        known.hear(Report { tier: Some(Tier::Flex), ..report(Some(7), Some(3)) }, 5, CAN);
        assert_eq!(known.reported(asked).quantities.amount(Key::INPUT.in_tier(ServiceTier::Flex)), 7);
    }

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

    /// Input, output and whether they were estimated, after a text of length ten that counts as five tokens.
    fn used(known: &Known) -> (u64, u64, bool) {
        let Used { quantities, estimated } = known.used(40, 10, Asked::default(), CAN, || 5);
        (quantities.amount(Key::INPUT), quantities.amount(Key::OUTPUT), estimated)
    }

    #[test]
    fn what_is_not_reported_is_counted() {
        assert_eq!(used(&known([])), (40, 5, true));
        assert_eq!(used(&known([(report(Some(7), Some(6)), 10)])), (7, 6, false));
        assert_eq!(used(&known([(report(Some(7), None), 10)])), (7, 5, true));
        assert_eq!(used(&known([(report(None, Some(6)), 10)])), (40, 6, true));
        let most = known([]).used(5_000, 10, Asked::default(), CAN, || 5_000).quantities;
        assert_eq!(most, Quantities::plain(1_000, 100));
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
    fn what_the_provider_does_not_bill_is_nothing() {
        let refused = Report { is_free: true, ..report(None, Some(1)) };
        let refused = known([(report(Some(700), Some(1)), 0), (refused, 0)]);
        assert_eq!(refused.used(40, 0, Asked::default(), CAN, || 5), Used::NOTHING);
        assert_eq!(refused.reported(Asked::default()), Used::NOTHING);
        assert_eq!(
            known([(Report { is_free: true, ..Report::default() }, 0)]).reported(Asked::default()),
            Used::NOTHING
        );
    }

    #[test]
    fn no_more_uses_of_tools_are_believed_than_were_allowed() {
        let searches = |told: u64| {
            let mut known = Known::default();
            let told = Report { web_searches: told, web_fetches: told, ..report(Some(7), Some(6)) };
            let is_whole = known.hear(told, 10, CAN);
            let used = known.used(40, 10, Asked::default(), CAN, || 5).quantities;
            let of = |kind| used.amount(Key::of(kind, Direction::Neither));
            (of(Kind::WebSearches), of(Kind::WebFetches), is_whole)
        };
        assert_eq!(searches(0), (0, 0, true));
        assert_eq!(searches(3), (3, 0, false), "no fetch was allowed");
        assert_eq!(searches(1_000_000), (3, 0, false));
    }

    #[test]
    fn of_ordered_documents_what_is_billed_is_what_was_told_or_counted() {
        let of = |told: (Option<u64>, Option<u64>), tokens: bool, units: bool| {
            let mut known = Known::default();
            let is_whole = known.hear(Report { input: told.0, search_units: told.1, ..Report::default() }, 0, CAN);
            let ranking = Ranking {
                tokens: tokens.then_some(40),
                search_units: units.then_some(2),
                most_units: CAN.search_units,
            };
            let Used { quantities, estimated } = known.ranked(ranking);
            let (reported, own) = (known.ranked_reported(ranking).quantities, known.is_reported());
            let units = |all: &Quantities| all.sum(|key| key.kind == Kind::SearchUnits);
            assert!(!is_whole || own);
            (
                (quantities.amount(Key::INPUT), units(&quantities), estimated),
                (reported.amount(Key::INPUT), units(&reported)),
            )
        };
        assert_eq!(of((None, Some(1)), false, true), ((0, 1, false), (0, 1)));
        assert_eq!(of((Some(7), Some(1)), false, true), ((0, 1, false), (0, 1)), "tokens have no price");
        assert_eq!(of((Some(7), None), true, false), ((7, 0, false), (7, 0)));
        assert_eq!(of((Some(7), None), false, true), ((0, 2, true), (0, 0)), "what is billed was not told");
        assert_eq!(of((Some(7), None), true, true), ((7, 2, true), (7, 0)));
        assert_eq!(of((None, Some(8)), false, true), ((0, 8, false), (0, 8)), "twice is not more");
        assert_eq!(of((None, Some(9)), false, true), ((0, 2, true), (0, 0)), "nonsense is absent");
        assert_eq!(of((Some(2_001), None), true, false), ((40, 0, true), (0, 0)));
    }

    #[test]
    fn the_largest_prompt_is_the_one_told_or_the_mean_of_the_turns() {
        let largest = |told: Option<u64>, searches: u64| {
            let told = Report { largest_prompt: told, listed_input: 900, ..report(Some(900), Some(6)) };
            let report = Report { web_searches: searches, ..told };
            known([(report, 10)]).reported(Asked::default()).quantities.largest_prompt()
        };
        assert_eq!((largest(None, 0), largest(Some(400), 0)), (900, 400));
        assert_eq!((largest(None, 2), largest(Some(400), 2)), (300, 400));
        assert_eq!(largest(Some(1_000), 0), 900, "no prompt is more than all");
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
            let used = known([(report, 0)]).reported(Asked { keep, ..Asked::default() }).quantities;
            (used.amount(Key::CACHE_WRITE), used.amount(Key::INPUT.cached(Cache::Write12h)))
        };
        assert_eq!(of(None, Keep::Usual), (30, 0));
        assert_eq!(of(None, Keep::Long), (0, 30));
        assert_eq!(of(Some(10), Keep::Long), (20, 10));
        assert_eq!(of(Some(10), Keep::Usual), (20, 10));
    }

    #[test]
    fn what_is_reported_becomes_parts_that_do_not_overlap() {
        let report = Report {
            cached_input: 40,
            cache_write: 20,
            cache_write_long: Some(15),
            longer: Longer::Hour,
            audio_input: 30,
            image_input: 50,
            reasoning: 5,
            audio_output: 2,
            image_output: 1,
            web_searches: 3,
            ..report(Some(100), Some(10))
        };
        let of = |report: Report, tier| known([(report, 0)]).reported(Asked { tier, ..Asked::default() }).quantities;
        let said = |used: &Quantities| {
            used.iter().map(|(key, amount)| format!("{key}={amount}")).collect::<Vec<_>>().join(" ")
        };
        assert_eq!(
            said(&of(report.clone(), ServiceTier::Standard)),
            "tokens.input.cache_read=40 tokens.input.cache_write=5 tokens.input.cache_write_1h=15 tokens.input.audio=30 \
             tokens.input.image=10 tokens.output=2 tokens.output.reasoning=5 tokens.output.audio=2 tokens.output.image=1 web_searches=3"
        );
        // At the reported tier, or else at the requested one.
        let plain = Report { reasoning: 0, ..super::tests::report(Some(7), Some(6)) };
        assert_eq!(said(&of(plain.clone(), ServiceTier::Priority)), "tokens.input.priority=7 tokens.output.priority=6");
        let told = Report { tier: Some(Tier::Standard), ..plain };
        assert_eq!(said(&of(told.clone(), ServiceTier::Priority)), "tokens.input=7 tokens.output=6");
        // Where speed is told apart, a word of the service tier says nothing of it.
        let apart = Report { apart: Some(wire::usage::Apart::default()), ..told };
        assert_eq!(said(&of(apart, ServiceTier::Priority)), "tokens.input.priority=7 tokens.output.priority=6");
    }
}
