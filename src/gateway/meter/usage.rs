//! The meter of a closed model: the usage that its provider reports, at the frozen price. Where the provider reports
//! nothing, the text is counted. With the caller's own key nothing is charged.

use std::time::{Duration, Instant};

use actors::admission::Metered;
use billing::{
    Nanos,
    quantity::{Key, Quantities},
};
use wire::{
    inference::{Delta, Failure},
    usage::Report,
};

use super::{
    Accrual, Step,
    report::{Capacity, Known, Used},
};
use crate::gateway::plan::{Most, Payer, UsageTerms};

/// How often a running stream's cost is reported.
const REPORT_EVERY: Duration = Duration::from_secs(1);

/// The meter of one request to a closed model.
#[derive(Debug)]
pub(in crate::gateway) struct UsageMeter {
    terms: UsageTerms,
    /// The most tokens that the model can use for the request.
    can: Capacity,
    /// The usage reported by the provider.
    known: Known,
    /// The text written so far.
    text: String,
    /// When the cost so far was last reported.
    reported_at: Instant,
}

impl UsageMeter {
    pub(super) fn new(terms: UsageTerms, began: Instant) -> Self {
        let output = u64::from(terms.model.max_output).saturating_mul(terms.choices);
        // The provider's own tools read the conversation again and again, and usage adds up.
        let input = terms.context.saturating_mul(terms.turns);
        let can = Capacity {
            input,
            output,
            searches: terms.searches,
            fetches: terms.fetches,
            search_units: terms.ranking.map_or(0, |ranking| ranking.most_units),
            milliseconds: 0,
            images: 0,
        };
        let can = match &terms.media {
            Some(media) => {
                let Most { input, output, milliseconds, images } = media.can;
                Capacity { input, output, milliseconds, images, ..can }
            }
            None => can,
        };
        Self { terms, can, known: Known::default(), text: String::new(), reported_at: began }
    }

    pub(super) fn delta(&mut self, delta: &Delta, held: Nanos, now: Instant) -> Step {
        delta.written().for_each(|text| self.text.push_str(text));
        // The charge if the task dies, and, reported each second, if the process does. A cheap estimate: four bytes a
        // token.
        let used = self.used(|text| text.len() as u64 / 4);
        let metered = self.metered(Used { estimated: true, ..used }, held);
        let is_due = now.saturating_duration_since(self.reported_at) >= REPORT_EVERY;
        let cost = is_due.then(|| metered.cost.charged().ok()).flatten();
        if cost.is_some() {
            self.reported_at = now;
        }
        Step { metered, accrual: cost.map(|cost| Accrual { cost, slice: Nanos::ZERO }) }
    }

    pub(super) fn reported(&mut self, report: Report) -> bool {
        self.known.hear(report, self.text.len(), self.can)
    }

    /// Whether a report changes the charge: not where the caller pays the provider, nor where the cost is known beforehand.
    pub(super) fn learns(&self) -> bool {
        self.terms.payer == Payer::Credits && self.terms.known_cost().is_none()
    }

    pub(super) const fn is_told(&self) -> bool {
        self.known.is_reported()
    }

    pub(super) fn charged(&self, failure: Option<&Failure>, held: Nanos) -> Metered {
        if let Some(media) = &self.terms.media {
            let used = match failure {
                // The provider made the whole answer where it is too large.
                None | Some(Failure::TooLarge(_)) => Some(self.known.made(media)),
                Some(_) => self.known.made_reported(media),
            };
            return used.map_or(Metered::NOTHING, |used| self.metered(used, held));
        }
        let used = match failure {
            None => self.used(|text| wire::tokens::count_text(&self.terms.model.id, text)),
            Some(_)
                if self.known.is_reported()
                    && let Some(ranking) = self.terms.ranking =>
            {
                self.known.ranked_reported(ranking)
            }
            Some(_) if self.known.is_reported() => self.known.reported(self.terms.asked),
            // The provider made the whole answer, so it is charged, at most the hold.
            Some(Failure::TooLarge(_)) if self.terms.ranking.is_some() => self.used(|_| 0),
            Some(Failure::TooLarge(_)) => {
                Used { quantities: Quantities::plain(self.terms.estimated, self.can.output), estimated: true }
            }
            Some(_) => return Metered::NOTHING,
        };
        self.metered(used, held)
    }

    pub(super) fn take_own(&mut self) -> Option<Box<str>> {
        std::mem::take(&mut self.known).own(self.text.len())
    }

    /// The usage so far. `count` counts the text where no report covers it.
    fn used(&self, count: impl FnOnce(&str) -> u64) -> Used {
        if let Some(ranking) = self.terms.ranking {
            return self.known.ranked(ranking);
        }
        if let Some(media) = &self.terms.media {
            return self.known.made(media);
        }
        self.known.used(self.terms.estimated, self.text.len(), self.terms.asked, self.can, || count(&self.text))
    }

    /// No context band is charged that is dearer than the hold's.
    fn metered(&self, Used { quantities, estimated }: Used, held: Nanos) -> Metered {
        let quantities = quantities.with_prompts_of_at_most(self.terms.largest);
        let cost = match self.terms.payer {
            Payer::Credits => self.terms.price.charge(&quantities).cost,
            Payer::OwnKey => return Metered { quantities, estimated, ..Metered::NOTHING },
        };
        let cost = if estimated { cost.at_most(held) } else { cost };
        Metered { quantities, estimated, cost, ..Metered::NOTHING }
    }

    /// The first quantity charged at the rate of another one, because it has none.
    pub(super) fn unpriced(&self, quantities: &Quantities) -> Option<Key> {
        match self.terms.payer {
            Payer::Credits => self.terms.price.unpriced(quantities),
            Payer::OwnKey => None,
        }
    }
}
