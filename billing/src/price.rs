//! What a closed provider's usage costs: its price per token, and Farebox's fee of 2 % as a line of its own. Exact in
//! `Decimal` until the total, which is rounded once (design, chapter 2.1).

use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};

use crate::nanos::{AmountError, Nanos};

/// Farebox's fee on a provider's price: 2 %.
pub const FEE: Decimal = Decimal::from_parts(2, 0, 0, false, 2);

/// Prices are of a million tokens. To multiply with this is exact, and less work than to divide.
const MILLIONTH: Decimal = Decimal::from_parts(1, 0, 0, false, 6);

/// The largest price that is taken for one: $1 million per million tokens.
const LARGEST_PRICE: Decimal = Decimal::from_parts(1_000_000, 0, 0, false, 0);

/// Tokens a closed call read and wrote.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tokens {
    /// Prompt tokens, all of them: the next three are parts of it that do not overlap.
    pub input: u64,
    /// The part of `input` read from the provider's cache.
    pub cached_input: u64,
    /// The part of `input` written to the provider's cache, for as long as it usually keeps it.
    pub cache_write: u64,
    /// The part of `input` written to the provider's cache, to be kept for longer.
    pub cache_write_long: u64,
    /// Output tokens, reasoning included.
    pub output: u64,
}

impl Tokens {
    /// Nothing.
    pub const NONE: Self = Self { input: 0, cached_input: 0, cache_write: 0, cache_write_long: 0, output: 0 };

    /// Prompt tokens of which none met a cache, and output tokens.
    pub const fn plain(input: u64, output: u64) -> Self {
        Self { input, output, ..Self::NONE }
    }

    /// The same with parts of the input that fit into it: what a part has beyond what those before it left is taken off.
    #[must_use]
    pub fn fitted(self) -> Self {
        let cached_input = self.cached_input.min(self.input);
        let cache_write_long = self.cache_write_long.min(self.input - cached_input);
        let cache_write = self.cache_write.min(self.input - cached_input - cache_write_long);
        Self { cached_input, cache_write, cache_write_long, ..self }
    }
}

/// How long a provider is asked to keep what it writes to its cache: the dearest that a request permits.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Keep {
    /// As long as it does unasked.
    #[default]
    Usual,
    /// Longer.
    Long,
}

/// One model's price, in dollars per million tokens, as providers publish them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TokenPrice {
    /// Per million prompt tokens.
    pub input: Decimal,
    /// Per million prompt tokens read from the cache; `input` where the provider has no discount.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cached_input: Option<Decimal>,
    /// Per million prompt tokens written to the cache; `input` where the provider bills no writes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cache_write: Option<Decimal>,
    /// Per million prompt tokens written to the cache to be kept for longer; `cache_write` where that costs no more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cache_write_long: Option<Decimal>,
    /// Per million output tokens.
    pub output: Decimal,
    /// The prices of a request with a long prompt, where there are others: all of the request is charged at them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub band: Option<Box<Band>>,
}

/// A context band: the prices of requests with more than so many prompt tokens, those of the cache included.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Band {
    /// The most prompt tokens that are charged without the band.
    pub above: u64,
    /// As in [`TokenPrice`].
    pub input: Decimal,
    /// As in [`TokenPrice`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cached_input: Option<Decimal>,
    /// As in [`TokenPrice`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cache_write: Option<Decimal>,
    /// As in [`TokenPrice`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cache_write_long: Option<Decimal>,
    /// As in [`TokenPrice`].
    pub output: Decimal,
}

/// The prices of one band, all of them known.
#[derive(Debug, Clone, Copy)]
struct Rates {
    input: Decimal,
    cached_input: Decimal,
    cache_write: Decimal,
    cache_write_long: Decimal,
    output: Decimal,
}

impl Rates {
    fn new(
        input: Decimal,
        cached_input: Option<Decimal>,
        [cache_write, cache_write_long]: [Option<Decimal>; 2],
        output: Decimal,
    ) -> Self {
        let cache_write = cache_write.unwrap_or(input);
        let cache_write_long = cache_write_long.unwrap_or(cache_write);
        Self { input, cached_input: cached_input.unwrap_or(input), cache_write, cache_write_long, output }
    }
}

/// An exact cost in dollars.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Cost {
    /// What the provider takes, or the open model's compute.
    pub base: Decimal,
    /// Farebox's fee.
    pub fee: Decimal,
}

impl Cost {
    /// The whole.
    pub fn total(&self) -> Decimal {
        self.base + self.fee
    }

    /// The whole, rounded once.
    pub fn charged(&self) -> Result<Nanos, AmountError> {
        Nanos::round(self.total())
    }

    /// A provider's price with the fee on top.
    pub fn with_fee(base: Decimal) -> Self {
        Self { base, fee: base * FEE }
    }

    /// This cost, or exactly `limit` where it is larger: for estimates, which never exceed their hold.
    #[must_use]
    pub fn at_most(self, limit: Nanos) -> Self {
        if self.total() <= limit.to_decimal() { self } else { Self::from_total(limit) }
    }

    /// A cost of exactly so much with the fee in it.
    pub fn from_total(total: Nanos) -> Self {
        let total = total.to_decimal();
        let base = (total / (Decimal::ONE + FEE)).round_dp(12);
        Self { base, fee: total - base }
    }
}

impl TokenPrice {
    /// Whether every number is one a price can be: not negative, at most $1 million per million tokens.
    pub fn is_sound(&self) -> bool {
        let sound = |rates: Rates| {
            let Rates { input, cached_input, cache_write, cache_write_long, output } = rates;
            let all = [input, cached_input, cache_write, cache_write_long, output];
            all.into_iter().all(|price| price >= Decimal::ZERO && price <= LARGEST_PRICE)
        };
        sound(self.rates(0)) && sound(self.rates(u64::MAX))
    }

    /// The prices of a request with so many prompt tokens.
    fn rates(&self, prompt: u64) -> Rates {
        match &self.band {
            Some(band) if prompt > band.above => {
                let writes = [band.cache_write, band.cache_write_long];
                Rates::new(band.input, band.cached_input, writes, band.output)
            }
            _ => Rates::new(self.input, self.cached_input, [self.cache_write, self.cache_write_long], self.output),
        }
    }

    /// What so many tokens cost, fee included. Parts of the input beyond it are taken off.
    pub fn cost(&self, tokens: Tokens) -> Cost {
        let tokens = tokens.fitted();
        let rates = self.rates(tokens.input);
        let uncached = tokens.input - tokens.cached_input - tokens.cache_write - tokens.cache_write_long;
        let parts = [
            (uncached, rates.input),
            (tokens.cached_input, rates.cached_input),
            (tokens.cache_write, rates.cache_write),
            (tokens.cache_write_long, rates.cache_write_long),
            (tokens.output, rates.output),
        ];
        let sum: Decimal = parts.into_iter().filter(|(count, _)| *count > 0).map(priced).sum();
        Cost::with_fee(sum * MILLIONTH)
    }

    /// The most that so many prompt tokens can cost, whatever part of them meets the cache, fee included.
    pub fn most_input(&self, prompt: u64, keep: Keep) -> Cost {
        let rates = self.rates(prompt);
        let long = match keep {
            Keep::Usual => rates.cache_write,
            Keep::Long => rates.cache_write_long,
        };
        let dearest = rates.input.max(rates.cached_input).max(rates.cache_write).max(long);
        Cost::with_fee(priced((prompt, dearest)) * MILLIONTH)
    }

    /// What so many output tokens cost after a prompt of so many, fee included.
    pub fn output_after(&self, prompt: u64, output: u64) -> Cost {
        Cost::with_fee(priced((output, self.rates(prompt).output)) * MILLIONTH)
    }
}

fn priced((count, price): (u64, Decimal)) -> Decimal {
    Decimal::from(count) * price
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::str::FromStr;

    fn decimal(text: &str) -> Decimal {
        Decimal::from_str(text).unwrap()
    }

    fn gpt_4o_mini() -> TokenPrice {
        TokenPrice {
            input: decimal("0.15"),
            cached_input: Some(decimal("0.075")),
            cache_write: None,
            cache_write_long: None,
            output: decimal("0.60"),
            band: None,
        }
    }

    /// A model whose provider bills writes to its cache, and long prompts at other prices.
    fn gpt_6_sol() -> TokenPrice {
        let band = Band {
            above: 272_000,
            input: decimal("4"),
            cached_input: Some(decimal("0.4")),
            cache_write: Some(decimal("5")),
            cache_write_long: Some(decimal("10")),
            output: decimal("15"),
        };
        TokenPrice {
            input: decimal("2"),
            cached_input: Some(decimal("0.2")),
            cache_write: Some(decimal("2.5")),
            cache_write_long: Some(decimal("5")),
            output: decimal("10"),
            band: Some(Box::new(band)),
        }
    }

    #[test]
    fn a_write_to_the_cache_costs_what_its_provider_takes() {
        let tokens =
            Tokens { input: 12_000, cached_input: 8_000, cache_write: 3_000, cache_write_long: 0, output: 900 };
        assert_eq!(gpt_6_sol().cost(tokens).base, decimal("0.0201"));
        let kept = Tokens { cache_write: 1_000, cache_write_long: 2_000, ..tokens };
        assert_eq!(gpt_6_sol().cost(kept).base, decimal("0.0251"));
        // Where no writes are billed they are input.
        assert_eq!(
            gpt_4o_mini().cost(Tokens { input: 1_000, cache_write: 600, ..Tokens::NONE }),
            gpt_4o_mini().cost(Tokens::plain(1_000, 0))
        );
    }

    #[test]
    fn a_long_prompt_moves_its_whole_request_into_the_band() {
        let (price, input) = (gpt_6_sol(), 272_000);
        assert_eq!(price.cost(Tokens::plain(input, 10)).base, decimal("0.5441"));
        let long = Tokens { input: input + 1, cached_input: input, ..Tokens::plain(0, 10) };
        // One at $4, the others at $0.40, and ten at $15 a million.
        assert_eq!(price.cost(long).base, decimal("0.108954"));
        assert_eq!(price.output_after(input + 1, 10).base, decimal("0.00015"));
    }

    #[test]
    fn no_use_of_the_cache_costs_more_than_the_most() {
        for price in [gpt_4o_mini(), gpt_6_sol()] {
            for (input, keep) in [(100, Keep::Usual), (300_000, Keep::Usual), (100, Keep::Long), (300_000, Keep::Long)]
            {
                let most = price.most_input(input, keep).total();
                for part in [0, input / 3, input] {
                    let long = if keep == Keep::Long { part } else { 0 };
                    let mixed = Tokens {
                        input,
                        cached_input: input - part,
                        cache_write: part - long,
                        cache_write_long: long,
                        output: 0,
                    };
                    assert!(price.cost(mixed).total() <= most, "{mixed:?}");
                }
            }
        }
    }

    #[test]
    fn usage_is_priced_exactly_with_the_fee_on_top() {
        let cost = gpt_4o_mini().cost(Tokens { cached_input: 400, ..Tokens::plain(1_000, 50) });
        assert_eq!(cost.base, decimal("0.00015"));
        assert_eq!(cost.fee, decimal("0.000003"));
        assert_eq!(cost.charged(), Ok(Nanos::new(153_000)));
    }

    #[test]
    fn one_token_is_not_rounded_before_the_total() {
        let cost = gpt_4o_mini().cost(Tokens { cached_input: 1, ..Tokens::plain(1, 0) });
        assert_eq!(cost.total(), decimal("0.0000000765"));
        assert_eq!(cost.charged(), Ok(Nanos::new(76)));
    }

    #[test]
    fn more_cached_than_read_is_not_cheaper_than_all_cached() {
        let price = gpt_4o_mini();
        let all = price.cost(Tokens { cached_input: 10, ..Tokens::plain(10, 0) });
        assert_eq!(price.cost(Tokens { cached_input: 99, ..Tokens::plain(10, 0) }), all);
    }

    #[test]
    fn an_estimate_never_exceeds_its_hold() {
        let cost = Cost::with_fee(decimal("3.1234567"));
        let hold = Nanos::new(1_000_000_007);
        assert_eq!(cost.at_most(hold).charged(), Ok(hold));
        assert_eq!(cost.at_most(Nanos::dollars(4)), cost);
    }

    #[test]
    fn absurd_prices_are_not_sound() {
        assert!(gpt_4o_mini().is_sound());
        assert!(!TokenPrice { output: decimal("-1"), ..gpt_4o_mini() }.is_sound());
        assert!(!TokenPrice { input: Decimal::MAX, ..gpt_4o_mini() }.is_sound());
    }
}
