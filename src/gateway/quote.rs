//! What a request may cost before it runs: pure, on the catalogue's prices (design, chapter 2.7).

use std::borrow::Cow;

use billing::{
    Nanos,
    hold::{HoldRequest, OutputPrice},
    price::{Keep, TokenPrice, Tokens},
};
use rust_decimal::{Decimal, prelude::ToPrimitive};
use wire::{fields::BadRequest, inference::TextRequest, openai::known};

use super::available::Payer;
use crate::catalogue::ClosedModel;

/// Output tokens expected until something is known of an account's requests, and the most a tiny request must have
/// credits for.
const USUAL_OUTPUT: u64 = 256;

/// The service tier that is paid for at the price book's prices.
pub const STANDARD_TIER: &str = "default";

/// What a closed request asks to have set aside, and what it may write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClosedQuote {
    /// Prompt tokens, at least as many as there are: counted, or the model's context where they can't be.
    pub input: u64,
    /// The part of `input` that was counted.
    pub counted: u64,
    /// How long the provider may be asked to keep its cache.
    pub keep: Keep,
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
    pub field: Cow<'static, str>,
    /// Why.
    pub message: String,
}

impl From<BadRequest> for BadQuote {
    fn from(bad: BadRequest) -> Self {
        Self { field: bad.field.into(), message: bad.message }
    }
}

fn bad(field: &'static str, message: impl Into<String>) -> BadQuote {
    BadQuote { field: field.into(), message: message.into() }
}

/// Quotes a request to a closed model.
pub fn closed(
    request: &TextRequest,
    model: &ClosedModel,
    price: &TokenPrice,
    payer: Payer,
) -> Result<ClosedQuote, BadQuote> {
    let terms = match payer {
        Payer::Credits => {
            check_tier(request)?;
            known::terms(request)?
        }
        Payer::OwnKey => known::Terms::default(),
    };
    let context = u64::from(model.context);
    // No prompt is more than its model reads.
    let counted = wire::tokens::count_prompt(request, &model.id).min(context);
    let input = if terms.is_uncountable { context } else { counted };
    let keep = if terms.keeps_long { Keep::Long } else { Keep::Usual };
    let limit = output_limit(request).unwrap_or(u64::MAX).min(model.max_output.into());
    let choices = u64::from(request.answers());
    let prompt = price.most_input(input, keep).total();
    let affordable = max_cost(request)?.map(|most| affordable_output(price, (input, keep), choices, most));
    let (limit, clamp) = match affordable {
        Some(0) => {
            let alone = Nanos::ceil(prompt).map_err(|_| too_much())?;
            return Err(bad("max_cost", format!("the prompt alone may cost ${alone}")));
        }
        Some(most) if most < limit => (most, u32::try_from(most).ok()),
        _ => (limit, None),
    };
    let output = OutputPrice {
        input: prompt,
        token: price.output_after(input, 1).total(),
        limit: limit.saturating_mul(choices),
    };
    let cost = |tokens: u64| output.cost(tokens.saturating_mul(choices)).ok_or_else(too_much);
    let minimum = cost(limit.min(USUAL_OUTPUT))?;
    let hold = HoldRequest { minimum, expected: minimum, worst_case: cost(limit)? };
    Ok(ClosedQuote { input, counted, keep, limit, hold, output, clamp })
}

/// The client's limit of output tokens, per choice. Of two the larger: who knows which one its provider follows.
fn output_limit(request: &TextRequest) -> Option<u64> {
    let read = |name| request.body.read::<u64>(name, "a whole number").ok().flatten();
    let written = ["max_tokens", "max_completion_tokens"].into_iter().filter_map(read);
    written.chain(request.max_tokens.map(u64::from)).max()
}

/// Refuses a service tier whose price is not in the book, which has standard prices: `priority` costs more, `flex` less.
fn check_tier(request: &TextRequest) -> Result<(), BadQuote> {
    match request.body.read::<String>("service_tier", "a string").map_err(|error| bad("service_tier", error.message))? {
        None => Ok(()),
        Some(tier) if tier == "auto" || tier == STANDARD_TIER => Ok(()),
        Some(_) => Err(bad("service_tier", "must be auto or default: other tiers have no price here")),
    }
}

/// The least that a request is expected to cost: what was counted of its prompt without any use of the cache, rounded up.
pub fn least(price: &TokenPrice, quoted: &ClosedQuote) -> Result<Nanos, BadQuote> {
    Nanos::ceil(price.cost(Tokens::plain(quoted.counted, 0)).total()).map_err(|_| too_much())
}

fn too_much() -> BadQuote {
    bad("messages", "would cost more than the ledger holds")
}

/// How many output tokens per choice so much money pays, after the prompt.
pub fn affordable_output(price: &TokenPrice, (input, keep): (u64, Keep), choices: u64, most: Nanos) -> u64 {
    let prompt = price.most_input(input, keep).total();
    let token = price.output_after(input, choices.max(1)).total();
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
    use proptest::prelude::*;
    use wire::{inference::Task, openai};

    fn quote(fields: &str) -> Result<ClosedQuote, BadQuote> {
        let body =
            format!(r#"{{"model":"gpt-4o-mini","messages":[{{"role":"user","content":"hello world"}}]{fields}}}"#);
        let request = openai::parse_request(Task::Chat, body.as_bytes()).unwrap();
        let Ok(Model::Closed(model)) = Catalogue::built_in().unwrap().find(&request.model) else { panic!() };
        closed(&request, &model, model.price.as_ref().unwrap(), Payer::Credits)
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
            closed(&request, &model, model.price.as_ref().unwrap(), Payer::Credits).unwrap()
        };
        assert_eq!(of(r#","n":2,"best_of":20"#).output.limit, 2_000);
        assert_eq!(of(r#","best_of":16"#).hold, of(r#","n":16"#).hold);
    }

    fn quoted(model: &str, fields: &str) -> Result<(ClosedQuote, u64), BadQuote> {
        let Ok(Model::Closed(model)) = Catalogue::built_in().unwrap().find(model) else { panic!() };
        let content = r#""messages":[{"role":"user","content":"hello world"}]"#;
        let body = format!(r#"{{"model":"{}",{content}{fields}}}"#, model.id);
        let request = openai::parse_request(Task::Chat, body.as_bytes()).unwrap();
        let quote = closed(&request, &model, model.price.as_ref().unwrap(), Payer::Credits)?;
        Ok((quote, model.context.into()))
    }

    #[test]
    fn no_prompt_is_more_than_its_model_reads() {
        let (quote, context) = quoted("gpt-4o-mini", &format!(r#","user":"{}""#, "x ".repeat(300_000))).unwrap();
        assert!(quote.input < 20, "what is not read is not counted");
        let long = format!(r#","functions":["{}"]"#, "x ".repeat(300_000));
        assert_eq!(quoted("gpt-4o-mini", &long).unwrap().0.input, context);
        let file = r#"{"type":"file","file":{"file_data":"data:application/pdf;base64,xx"}}"#;
        let file = format!(r#","messages":[{{"role":"user","content":[{file}]}}]"#);
        let (quote, _) = quoted("gpt-4o-mini", &file).unwrap();
        assert!(quote.input == context && quote.counted < 20, "{quote:?}");
    }

    #[test]
    fn a_cache_that_is_written_is_held_at_its_dearest() {
        let mark = |ttl: &str| {
            let part = format!(
                r#"{{"type":"text","text":"x","prompt_cache_breakpoint":{{"mode":"explicit","ttl":"{ttl}"}}}}"#
            );
            let fields = format!(r#","messages":[{{"role":"user","content":[{part}]}}]"#);
            quoted("gpt-6-sol", &fields).unwrap().0
        };
        let (usual, long) = (mark("30m"), mark("12h"));
        assert_eq!(long.output.input, usual.output.input * Decimal::TWO, "at $5 and not at $2.50 a million");
        assert_eq!((long.keep, usual.keep), (Keep::Long, Keep::Usual));
    }

    #[test]
    fn of_two_limits_the_larger_is_held_for() {
        let limit = |fields| quoted("gpt-4o-mini", fields).unwrap().0.limit;
        assert_eq!(limit(r#","max_tokens":900,"max_completion_tokens":10"#), 900);
        assert_eq!(limit(r#","max_tokens":10,"max_completion_tokens":900"#), 900);
        assert_eq!(limit(r#","max_tokens":4000000000"#), 16_384);
    }

    /// Fields of which a request may have any, with what they do to what is written or read.
    fn known_fields() -> impl Strategy<Value = String> {
        let fields = [
            r#""n":3"#,
            r#""max_tokens":50"#,
            r#""max_completion_tokens":700"#,
            r#""reasoning_effort":"high""#,
            r#""service_tier":"auto""#,
            r#""store":true"#,
            r#""logit_bias":{"5":-10}"#,
            r#""prompt_cache_options":{"mode":"explicit","ttl":"12h"}"#,
            r#""tools":[{"type":"function","function":{"name":"f","parameters":{"type":"object"},"strict":true}}]"#,
            r#""functions":[{"name":"f"}]"#,
            r#""response_format":{"type":"json_schema","json_schema":{"name":"x"}}"#,
            r#""messages":[{"role":"user","content":[{"type":"image_url","image_url":{"url":"https://x/y.png"}}]}]"#,
            r#""messages":[{"role":"user","content":[{"type":"file","file":{"file_data":"data:x"}}]}]"#,
        ];
        let some = proptest::sample::subsequence(fields.to_vec(), 0..fields.len());
        some.prop_map(|fields| fields.iter().flat_map(|field| [",", field]).collect())
    }

    proptest! {
        #[test]
        fn the_worst_case_is_the_worst_that_a_model_can_do(
            model in proptest::sample::select(vec!["gpt-4o-mini", "gpt-4-turbo", "gpt-5", "gpt-5.4", "gpt-6-sol", "gpt-6.1-terra"]),
            fields in known_fields(),
            prompt in 0_u64..300_000,
            parts in proptest::array::uniform5(0_u64..=100),
        ) {
            let text = format!(r#","prompt_cache_key":"k","user":"u"{fields}"#);
            let pad = format!(r#","functions":["{}"]"#, "x ".repeat(usize::try_from(prompt % 3_000).unwrap()));
            let (quote, _) = quoted(model, &(pad + &text)).unwrap();
            let Ok(Model::Closed(model)) = Catalogue::built_in().unwrap().find(model) else { panic!() };
            let part = |of: u64, hundredths: u64| of * hundredths / 100;
            let input = part(quote.input, parts[0]).max(if parts[1] > 50 { quote.input } else { 0 });
            let long = if quote.keep == Keep::Long { part(input, parts[2]) } else { 0 };
            let cache_write = part(input - long, parts[3]);
            let cached_input = part(input - long - cache_write, parts[4]);
            let output = part(quote.output.limit, parts[2]);
            let tokens = Tokens { input, cached_input, cache_write, cache_write_long: long, output };
            let charged = model.price.as_ref().unwrap().cost(tokens).charged().unwrap();
            prop_assert!(charged <= quote.hold.worst_case, "{charged} for {tokens:?} of {quote:?}");
        }
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
                .map_err(|error| (error.field.into_owned(), error.message))
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
