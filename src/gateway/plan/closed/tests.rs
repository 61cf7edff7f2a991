//! Holds, limits and tiers of requests to closed models, at the built-in prices.

use super::*;
use crate::catalogue::{Catalogue, Model};
use billing::quantity::{Cache, Key};
use proptest::prelude::*;
use wire::{
    format::{
        anthropic::read_messages,
        openai::{read_chat, read_completion},
    },
    inference::Task,
};

/// The fields of a plan that the tests compare.
#[derive(Debug)]
struct Quote {
    input: u64,
    counted: u64,
    keep: Keep,
    limit: u64,
    clamp: Option<u32>,
    hold: HoldRequest,
    output: OutputPrice,
    terms: UsageTerms,
}

/// The field named by a refusal.
fn field(error: ServeError) -> String {
    let ServeError::Invalid { field, .. } = error else { panic!("{error}") };
    field.into_owned()
}

/// Plans a request paid in credits. Returns the plan, or the refused field.
fn closed(request: &Request, model: &Arc<ClosedModel>) -> Result<Quote, String> {
    let Plan { target, hold, output, .. } = plan(model, request, Payer::Credits).map_err(field)?;
    let (Target::Closed(terms), Some(output)) = (target, output) else { panic!("planned for a pool") };
    let UsageTerms { input, counted, asked, limit, clamp, .. } = terms;
    Ok(Quote { input, counted, keep: asked.keep, limit, clamp, hold, output, terms })
}

fn quote(fields: &str) -> Result<Quote, String> {
    let body = format!(r#"{{"model":"gpt-4o-mini","messages":[{{"role":"user","content":"hello world"}}]{fields}}}"#);
    let request = read_chat(body.as_bytes()).unwrap();
    let Ok(Model::Closed(model)) = Catalogue::built_in().unwrap().find(&request.model) else { panic!() };
    closed(&request, &model)
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
    assert_eq!(super::tests::quote(r#","max_cost":"0.000001""#).unwrap_err(), "max_cost");
    assert_eq!(super::tests::quote(r#","max_cost":-1"#).unwrap_err(), "max_cost");
    assert_eq!(super::tests::quote(r#","max_cost":1e300"#).unwrap_err(), "max_cost");
}

/// A model for text completions.
fn completing() -> Arc<ClosedModel> {
    let Ok(Model::Closed(model)) = Catalogue::built_in().unwrap().find("gpt-4o-mini") else { panic!() };
    Arc::new(ClosedModel { task: Task::Completion, ..ClosedModel::clone(&model) })
}

#[test]
fn the_worst_case_has_every_answer_that_is_generated() {
    let model = completing();
    let of = |fields: &str| {
        let body = format!(r#"{{"model":"gpt-4o-mini","prompt":"hello world","max_tokens":100{fields}}}"#);
        let request = read_completion(body.as_bytes()).unwrap();
        closed(&request, &model).unwrap()
    };
    assert_eq!(of(r#","n":2,"best_of":20"#).output.limit, 2_000);
    assert_eq!(of(r#","best_of":16"#).hold, of(r#","n":16"#).hold);
}

fn quoted(model: &str, fields: &str) -> Result<(Quote, u64), String> {
    let Ok(Model::Closed(model)) = Catalogue::built_in().unwrap().find(model) else { panic!() };
    let content = r#""messages":[{"role":"user","content":"hello world"}]"#;
    let body = format!(r#"{{"model":"{}",{content}{fields}}}"#, model.id);
    let request = read_chat(body.as_bytes()).unwrap();
    let quote = closed(&request, &model)?;
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
fn a_prompt_that_its_provider_counts_otherwise_is_held_with_a_margin_and_estimated_without() {
    let of = |model: &str| {
        let terms = quoted(model, "").unwrap().0.terms;
        (terms.input, terms.estimated)
    };
    assert_eq!(of("gpt-4o-mini"), (9, 9));
    assert_eq!(of("gemini-3.8-flash"), (18, 9));
    let file = r#","messages":[{"role":"user","content":[{"type":"file","file":{"file_data":"data:application/pdf;base64,xx"}}]}]"#;
    let (quote, context) = quoted("gemini-3.8-flash", file).unwrap();
    assert_eq!((quote.terms.input, quote.terms.estimated), (context, context));
}

#[test]
fn a_cache_that_is_written_is_held_at_its_dearest() {
    let mark = |ttl: &str| {
        let part =
            format!(r#"{{"type":"text","text":"x","prompt_cache_breakpoint":{{"mode":"explicit","ttl":"{ttl}"}}}}"#);
        let fields = format!(r#","messages":[{{"role":"user","content":[{part}]}}]"#);
        quoted("gpt-6-sol", &fields).unwrap().0
    };
    let (usual, long) = (mark("30m"), mark("12h"));
    assert_eq!(long.output.input, usual.output.input * Decimal::TWO, "at $5 and not at $2.50 a million");
    assert_eq!((long.keep, usual.keep), (Keep::Long, Keep::Usual));
}

#[test]
fn tools_of_the_providers_own_are_held_for_each_use_and_each_turn() {
    let Ok(Model::Closed(model)) = Catalogue::built_in().unwrap().find("claude-opus-5-5") else { panic!() };
    let of = |tools: &str| {
        let said = r#""messages":[{"role":"user","content":"hello world"}]"#;
        let body = format!(r#"{{"model":"claude-opus-5-5","max_tokens":100,{said},"tools":{tools}}}"#);
        closed(&read_messages(body.as_bytes()).unwrap(), &model)
    };
    let searching = of(r#"[{"type":"web_search_20260318","name":"w","max_uses":2}]"#).unwrap();
    // Three readings of a million tokens, written to the cache at $5, three answers at $20, two searches, the fee.
    assert_eq!(searching.hold.worst_case, Nanos::new(15_326_520_000));
    assert!(searching.hold.minimum < Nanos::dollars(1), "what is known of it is little: {:?}", searching.hold);
    assert!(of("[]").unwrap().hold.worst_case < Nanos::new(3_000_000));
    assert_eq!(of(r#"[{"type":"web_search_20260318","name":"w"}]"#).unwrap_err(), "tools[0].max_uses");
}

#[test]
fn of_two_limits_the_larger_is_held_for() {
    let limit = |fields| quoted("gpt-4o-mini", fields).unwrap().0.limit;
    assert_eq!(limit(r#","max_tokens":900,"max_completion_tokens":10"#), 900);
    assert_eq!(limit(r#","max_tokens":10,"max_completion_tokens":900"#), 900);
    assert_eq!(limit(r#","max_tokens":4000000000"#), 16_384);
}

/// Random fields of a request, each with its effect on input or output.
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
        let reasoning = part(output, parts[3]);
        let tokens: Quantities = [
            (Key::INPUT, input - long - cache_write - cached_input),
            (Key::CACHE_READ, cached_input),
            (Key::CACHE_WRITE, cache_write),
            (Key::INPUT.cached(Cache::Write12h), long),
            (Key::OUTPUT, output - reasoning),
            (Key::REASONING, reasoning),
        ]
        .into_iter()
        .collect();
        let charged = model.price.as_ref().unwrap().cost(&tokens).unwrap().charged().unwrap();
        prop_assert!(charged <= quote.hold.worst_case, "{charged} for {tokens:?} of {quote:?}");
    }
}

#[test]
fn only_tiers_that_have_prices_are_taken_and_the_dearest_is_held_for() {
    let plain = Price::per_million(Decimal::ONE, Decimal::TEN).unwrap();
    let written = "input = '1'\noutput = '10'\n[per_million]\n'tokens.input.priority' = '2'\n\
                   'tokens.output.priority' = '20'\n'tokens.input.flex' = '0.5'\n'tokens.output.flex' = '5'";
    let priced: Price = toml::from_str(written).unwrap();
    let of = |asked: &str, price: &Price| {
        let body = format!(r#"{{"model":"m","prompt":"x","service_tier":{asked}}}"#);
        let terms = format::terms(&read_completion(body.as_bytes()).unwrap());
        terms.map_err(|bad| bad.field).and_then(|terms| tier(&terms, price).map_err(field))
    };
    for taken in ["null", "\"auto\"", "\"default\""] {
        assert_eq!(of(taken, &plain), Ok(ServiceTier::Standard), "{taken}");
    }
    for refused in ["\"priority\"", "\"flex\"", "\"batch\"", "\"scale\"", "\"\"", "1"] {
        assert_eq!(of(refused, &plain).unwrap_err(), "service_tier", "{refused}");
    }
    assert_eq!(of("\"flex\"", &priced), Ok(ServiceTier::Flex));
    assert_eq!(of("\"batch\"", &priced).unwrap_err(), "service_tier", "batches are not made here");
    let allowed = |tier| Allowed { asked: Asked { keep: Keep::Usual, tier }, uses: Quantities::NONE, writes: true };
    let prompt = |tier| dearest(&priced, (1_000, 1_000), &allowed(tier)).unwrap().0;
    assert_eq!(prompt(ServiceTier::Priority), prompt(ServiceTier::Standard) * Decimal::TWO);
    assert_eq!(prompt(ServiceTier::Flex), prompt(ServiceTier::Standard), "it may be served at the usual one");
}

#[test]
fn the_limit_that_is_sent_is_the_lowest_and_says_what_lowered_it() {
    let within = |fields: &str, held: i64, claimed: Option<i64>, overdraft_none| {
        let bounds = Bounds { held: Nanos::new(held), claimed: claimed.map(Nanos::new), overdraft_none };
        let limit = quote(fields).unwrap().terms.limit_within(bounds);
        limit.map(|Limit { tokens, why }| (tokens, why))
    };
    // The prompt's 9 tokens cost 1,377 nano-dollars, each output token 612.
    let (clamped, usual) = (r#","max_cost":"0.00001""#, r#","max_tokens":100"#);
    assert_eq!(within(usual, 0, None, false), None, "debt may arise");
    assert_eq!(within(clamped, 0, None, false), Some((14, "max_cost")));
    assert_eq!(within(clamped, 10_000, None, true), Some((14, "max_cost")), "not lower");
    assert_eq!(within(clamped, 9_000, None, true), Some((12, "credits")));
    assert_eq!(within(usual, 9_000, Some(5_000), true), Some((5, "key_limit")));
    assert_eq!(within(usual, 9_000, Some(10_000), true), Some((12, "credits")));
    assert_eq!(within(usual, 0, Some(0), false), Some((1, "key_limit")), "no provider takes a limit of nothing");
}

#[test]
fn nothing_is_held_and_nothing_bounds_what_the_caller_pays_its_provider() {
    let Ok(Model::Closed(model)) = Catalogue::built_in().unwrap().find("gpt-4o-mini") else { panic!() };
    let body = br#"{"model":"gpt-4o-mini","prompt":"hello world","service_tier":"flex"}"#;
    let request = read_completion(body).unwrap();
    assert_eq!(closed(&request, &model).unwrap_err(), "model", "it does chats");
    let model = completing();
    assert_eq!(closed(&request, &model).unwrap_err(), "service_tier");
    let plan = plan(&model, &request, Payer::OwnKey).unwrap();
    assert_eq!((plan.hold, plan.least().unwrap(), plan.most()), (HoldRequest::FREE, Nanos::ZERO, Some(Nanos::ZERO)));
    let Target::Closed(terms) = plan.target else { panic!("planned for a pool") };
    let bounds = Bounds { held: Nanos::ZERO, claimed: Some(Nanos::ZERO), overdraft_none: true };
    assert_eq!(terms.limit_within(bounds), None);
    let free = ClosedModel { price: None, ..ClosedModel::clone(&model) };
    assert!(matches!(super::plan(&Arc::new(free), &request, Payer::OwnKey), Err(ServeError::Unpriced(_))));
}
