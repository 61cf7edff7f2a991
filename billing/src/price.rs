//! What a closed provider's usage costs: its price per token, and Farebox's fee of 2 % as a line of its own. Exact in
//! `Decimal` until the total, which is rounded once (design, chapter 2.1).

use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};

use crate::nanos::{AmountError, Nanos};

/// Farebox's fee on a provider's price: 2 %.
pub const FEE: Decimal = Decimal::from_parts(2, 0, 0, false, 2);

/// Prices are of a million tokens. To multiply with this is exact, and less work than to divide.
const MILLIONTH: Decimal = Decimal::from_parts(1, 0, 0, false, 6);

/// Tokens a closed call read and wrote.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tokens {
    /// Prompt tokens, cached ones included.
    pub input: u64,
    /// The part of `input` read from the provider's cache.
    pub cached_input: u64,
    /// Output tokens, reasoning included.
    pub output: u64,
}

/// One model's price, in dollars per million tokens, as providers publish them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TokenPrice {
    /// Per million prompt tokens.
    pub input: Decimal,
    /// Per million cached prompt tokens; `input` where the provider has no discount.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cached_input: Option<Decimal>,
    /// Per million output tokens.
    pub output: Decimal,
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
        let sound = |price: Decimal| price >= Decimal::ZERO && price <= Decimal::from(1_000_000);
        sound(self.input) && sound(self.output) && self.cached_input.is_none_or(sound)
    }

    /// What so many tokens cost, fee included. Cached tokens beyond the input count as input.
    pub fn cost(&self, tokens: Tokens) -> Cost {
        let cached = tokens.cached_input.min(tokens.input);
        let input = Decimal::from(tokens.input - cached) * self.input;
        let cached = Decimal::from(cached) * self.cached_input.unwrap_or(self.input);
        let output = Decimal::from(tokens.output) * self.output;
        Cost::with_fee((input + cached + output) * MILLIONTH)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::str::FromStr;

    fn decimal(text: &str) -> Decimal {
        Decimal::from_str(text).unwrap()
    }

    fn gpt_4o_mini() -> TokenPrice {
        TokenPrice { input: decimal("0.15"), cached_input: Some(decimal("0.075")), output: decimal("0.60") }
    }

    #[test]
    fn usage_is_priced_exactly_with_the_fee_on_top() {
        let cost = gpt_4o_mini().cost(Tokens { input: 1_000, cached_input: 400, output: 50 });
        assert_eq!(cost.base, decimal("0.00015"));
        assert_eq!(cost.fee, decimal("0.000003"));
        assert_eq!(cost.charged(), Ok(Nanos::new(153_000)));
    }

    #[test]
    fn one_token_is_not_rounded_before_the_total() {
        let cost = gpt_4o_mini().cost(Tokens { input: 1, cached_input: 1, output: 0 });
        assert_eq!(cost.total(), decimal("0.0000000765"));
        assert_eq!(cost.charged(), Ok(Nanos::new(76)));
    }

    #[test]
    fn more_cached_than_read_is_not_cheaper_than_all_cached() {
        let price = gpt_4o_mini();
        let all = price.cost(Tokens { input: 10, cached_input: 10, output: 0 });
        assert_eq!(price.cost(Tokens { input: 10, cached_input: 99, output: 0 }), all);
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
