//! What a request may cost before it runs: pure, on the catalogue's prices (design, chapter 2.7).

use std::borrow::Cow;

use billing::{
    Nanos,
    hold::{HoldRequest, OutputPrice},
    price::{TokenPrice, Tokens},
};
use rust_decimal::{Decimal, prelude::ToPrimitive};
use wire::inference::TextRequest;

use crate::catalogue::ClosedModel;

/// Output tokens expected until something is known of an account's requests, and the most a tiny request must have
/// credits for.
const USUAL_OUTPUT: u64 = 256;

/// The service tier that is paid for at the price book's prices.
pub const STANDARD_TIER: &str = "default";

/// What a closed request asks to have set aside, and what it may write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClosedQuote {
    /// Counted prompt tokens.
    pub input: u64,
    /// Output tokens the client's limit or the model allows, per choice.
    pub limit: u64,
    /// What is asked to be held.
    pub hold: HoldRequest,
    /// What the account makes of it that knows how long its answers are.
    pub output: OutputPrice,
    /// The output limit to send where `max_cost` is lower than the client's own.
    pub clamp: Option<u32>,
}

/// A request that can't be quoted: the field, and why.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {message}")]
pub struct BadQuote {
    /// Which field.
    pub field: &'static str,
    /// Why.
    pub message: String,
}

fn bad(field: &'static str, message: impl Into<String>) -> BadQuote {
    BadQuote { field, message: message.into() }
}

/// Quotes a request to a closed model.
pub fn closed(request: &TextRequest, model: &ClosedModel, price: &TokenPrice) -> Result<ClosedQuote, BadQuote> {
    let input = wire::tokens::count_prompt(request, &model.id);
    let limit = u64::from(request.max_tokens.unwrap_or(model.max_output).min(model.max_output));
    let choices = u64::from(request.answers());
    let affordable = max_cost(request)?.map(|most| affordable_output(price, input, choices, most));
    let (limit, clamp) = match affordable {
        Some(0) => return Err(bad("max_cost", format!("the prompt alone costs ${}", cost(price, input, 0)?))),
        Some(most) if most < limit => (most, u32::try_from(most).ok()),
        _ => (limit, None),
    };
    let output = OutputPrice {
        input: price.cost(Tokens { input, cached_input: 0, output: 0 }).total(),
        token: price.cost(Tokens { input: 0, cached_input: 0, output: 1 }).total(),
        limit: limit.saturating_mul(choices),
    };
    let cost = |tokens: u64| output.cost(tokens.saturating_mul(choices)).ok_or_else(too_much);
    let minimum = cost(limit.min(USUAL_OUTPUT))?;
    let hold = HoldRequest { minimum, expected: minimum, worst_case: cost(limit)? };
    Ok(ClosedQuote { input, limit, hold, output, clamp })
}

/// Refuses a service tier whose price is not in the book, which has standard prices: `priority` costs more, `flex` less.
/// Only where we pay the provider.
pub fn check_tier(request: &TextRequest) -> Result<(), BadQuote> {
    match request.body.read::<String>("service_tier", "a string").map_err(|error| bad("service_tier", error.message))? {
        None => Ok(()),
        Some(tier) if tier == "auto" || tier == STANDARD_TIER => Ok(()),
        Some(_) => Err(bad("service_tier", "must be auto or default: other tiers have no price here")),
    }
}

/// What so many tokens cost, rounded up.
pub fn cost(price: &TokenPrice, input: u64, output: u64) -> Result<Nanos, BadQuote> {
    let total = price.cost(Tokens { input, cached_input: 0, output }).total();
    Nanos::ceil(total).map_err(|_| too_much())
}

fn too_much() -> BadQuote {
    bad("messages", "would cost more than the ledger holds")
}

/// How many output tokens per choice so much money pays, after the prompt.
pub fn affordable_output(price: &TokenPrice, input: u64, choices: u64, most: Nanos) -> u64 {
    let prompt = price.cost(Tokens { input, cached_input: 0, output: 0 }).total();
    let token = price.cost(Tokens { input: 0, cached_input: 0, output: choices.max(1) }).total();
    let left = most.to_decimal() - prompt;
    if left <= Decimal::ZERO {
        return 0;
    }
    left.checked_div(token).map_or(u64::MAX, |tokens| tokens.floor().to_u64().unwrap_or(u64::MAX))
}

/// The caller's own limit on the cost, if there is one.
pub fn max_cost(request: &TextRequest) -> Result<Option<Nanos>, BadQuote> {
    let Some(text) = &request.max_cost else { return Ok(None) };
    match plain(text).parse::<Nanos>() {
        Ok(amount) if amount.is_positive() => Ok(Some(amount)),
        Ok(_) => Err(bad("max_cost", "must be above $0")),
        Err(error) => Err(bad("max_cost", error.to_string())),
    }
}

/// The longest number whose point is moved: no amount is longer.
const LONGEST_NUMBER: usize = 64;
/// The longest shift of the point that is written out; what is beyond it is no amount that anyone means.
const LONGEST_SHIFT: u32 = 30;

/// A decimal number without its exponent (`5e-05`, as Python writes 0.00005, is `0.00005`): digits are moved and none is
/// lost. What is not such a number stays as it is.
fn plain(text: &str) -> Cow<'_, str> {
    let moved = || {
        if text.len() > LONGEST_NUMBER {
            return None;
        }
        let (number, exponent) = text.split_once(['e', 'E'])?;
        let exponent: i32 = exponent.parse().ok().filter(|shift: &i32| shift.unsigned_abs() <= LONGEST_SHIFT)?;
        let (sign, number) = number.strip_prefix('-').map_or(("", number), |rest| ("-", rest));
        let (whole, decimals) = number.split_once('.').unwrap_or((number, ""));
        let digits = [whole, decimals].concat();
        if whole.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        let point = i32::try_from(whole.len()).ok()?.checked_add(exponent)?;
        let Ok(point) = usize::try_from(point) else {
            return Some(format!("{sign}0.{}{digits}", "0".repeat(point.unsigned_abs() as usize)));
        };
        let padded = format!("{digits:0<point$}");
        let (whole, decimals) = padded.split_at(point);
        Some(format!("{sign}0{whole}.{decimals}0"))
    };
    moved().map_or(Cow::Borrowed(text), Cow::Owned)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalogue::{Catalogue, Model};
    use wire::{inference::Task, openai};

    fn quote(fields: &str) -> Result<ClosedQuote, BadQuote> {
        let body =
            format!(r#"{{"model":"gpt-4o-mini","messages":[{{"role":"user","content":"hello world"}}]{fields}}}"#);
        let request = openai::parse_request(Task::Chat, body.as_bytes()).unwrap();
        let Ok(Model::Closed(model)) = Catalogue::built_in().unwrap().find(&request.model) else { panic!() };
        closed(&request, &model, model.price.as_ref().unwrap())
    }

    #[test]
    fn the_worst_case_is_the_prompt_and_the_limit_with_the_fee() {
        let quote = quote(r#","max_tokens":100"#).unwrap();
        assert_eq!(quote.input, 9);
        // (9 x 0.15 + 100 x 0.60) / 1e6 x 1.02
        assert_eq!(quote.hold.worst_case, Nanos::new(62_577));
        assert_eq!(quote.hold.minimum, quote.hold.worst_case);
    }

    #[test]
    fn a_tiny_prompt_needs_little_whatever_its_limit() {
        let quote = quote("").unwrap();
        assert_eq!(quote.limit, 16_384);
        assert!(quote.hold.minimum < Nanos::new(160_000), "{quote:?}");
        assert!(quote.hold.worst_case > Nanos::new(10_000_000));
    }

    #[test]
    fn max_cost_lowers_the_output_limit() {
        let quote = quote(r#","max_cost":"0.00001""#).unwrap();
        assert_eq!(quote.clamp, Some(14));
        assert!(quote.hold.worst_case <= Nanos::new(10_000));
        assert_eq!(super::tests::quote(r#","max_cost":"0.000001""#).unwrap_err().field, "max_cost");
        assert_eq!(super::tests::quote(r#","max_cost":-1"#).unwrap_err().field, "max_cost");
        assert_eq!(super::tests::quote(r#","max_cost":1e300"#).unwrap_err().field, "max_cost");
    }

    #[test]
    fn the_worst_case_has_every_answer_that_is_generated() {
        let model = {
            let Ok(Model::Closed(model)) = Catalogue::built_in().unwrap().find("gpt-4o-mini") else { panic!() };
            model
        };
        let of = |fields: &str| {
            let body = format!(r#"{{"model":"gpt-4o-mini","prompt":"hello world","max_tokens":100{fields}}}"#);
            let request = openai::parse_request(Task::Completion, body.as_bytes()).unwrap();
            closed(&request, &model, model.price.as_ref().unwrap()).unwrap()
        };
        assert_eq!(of(r#","n":2,"best_of":20"#).output.limit, 2_000);
        assert_eq!(of(r#","best_of":16"#).hold, of(r#","n":16"#).hold);
    }

    #[test]
    fn only_tiers_at_standard_prices_are_taken() {
        let tier = |tier: &str| {
            let body = format!(r#"{{"model":"m","prompt":"x","service_tier":{tier}}}"#);
            check_tier(&openai::parse_request(Task::Completion, body.as_bytes()).unwrap())
        };
        for taken in ["null", "\"auto\"", "\"default\""] {
            assert_eq!(tier(taken), Ok(()), "{taken}");
        }
        for refused in ["\"priority\"", "\"flex\"", "\"scale\"", "\"\"", "1"] {
            assert_eq!(tier(refused).unwrap_err().field, "service_tier", "{refused}");
        }
    }

    #[test]
    fn max_cost_is_taken_with_an_exponent_and_exactly() {
        let most = |text: &str| {
            let request = format!(r#"{{"model":"m","prompt":"x","max_cost":{text}}}"#);
            let request = openai::parse_request(Task::Completion, request.as_bytes());
            max_cost(&request.map_err(|error| (error.field, String::new()))?)
                .map_err(|error| (error.field.to_owned(), error.message))
        };
        for (text, nanos) in [
            ("5e-05", 50_000),
            ("5E-5", 50_000),
            ("1.25e-4", 125_000),
            ("1e0", 1_000_000_000),
            ("1.5e+1", 15_000_000_000),
            ("12345678.9e-7", 1_234_567_890),
            ("1e-9", 1),
        ] {
            assert_eq!(most(text), Ok(Some(Nanos::new(nanos))), "{text}");
            assert_eq!(most(&format!("\"{text}\"")), Ok(Some(Nanos::new(nanos))), "{text}");
        }
        for text in [
            "-5e-05",
            "0e5",
            "1e-10",
            "1.23e-8",
            "1e30",
            "1e400",
            "1e99999999999",
            "\"NaN\"",
            "\"inf\"",
            "\"e5\"",
            "\"1e\"",
            &format!("\"{}e1\"", "1".repeat(70_000)),
        ] {
            assert_eq!(most(text).unwrap_err().0, "max_cost", "{text}");
        }
    }
}
