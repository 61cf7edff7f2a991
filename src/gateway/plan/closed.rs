//! The plan of a request to a closed model: its highest and expected cost at the frozen price (design, chapter 2.7),
//! and the output limit that keeps it within the amount it may cost.

use std::sync::Arc;

use billing::{
    Nanos,
    hold::{HoldRequest, OutputPrice, Work},
    price::{Asked, Keep, Permitted, Price, Rate, Unpriced, affordable},
    quantity::{Direction, Key, Kind, Quantities, ServiceTier},
};
use rust_decimal::Decimal;
use wire::{
    format::{self, Terms},
    inference::{Request, Work as Asking},
    tokens::Pairs,
    usage::Tier,
};

use super::{Bounds, Payer, Plan, Target, invalid, max_cost::max_cost, ranking::Ranking};
use crate::{catalogue::ClosedModel, gateway::serve::ServeError};

/// Output tokens expected before an account's usual length is known, and the most that a tiny request needs credits
/// for.
const USUAL_OUTPUT: u64 = 256;

/// The terms on which a provider runs a request.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::gateway) struct UsageTerms {
    /// The model.
    pub(in crate::gateway) model: Arc<ClosedModel>,
    /// The frozen price.
    pub(in crate::gateway) price: Arc<Price>,
    /// Who pays the provider.
    pub(in crate::gateway) payer: Payer,
    /// An upper bound of the input tokens: counted with the margin of the model's encoding, or the model's context if
    /// they can't be counted.
    pub(in crate::gateway) input: u64,
    /// The most tokens that the model reads for the request.
    pub(in crate::gateway) context: u64,
    /// The input tokens charged where the provider reports none: counted, or the model's context.
    pub(in crate::gateway) estimated: u64,
    /// The part of `input` that was counted, without a margin.
    counted: u64,
    /// How long the provider may keep its cache, and the requested tier.
    pub(in crate::gateway) asked: Asked,
    /// The highest cost of the prompt, and of an output token, both with the fee. Where the provider's own tools return
    /// any number of tokens, the cost of what is known of the prompt.
    dearest: (Decimal, Rate),
    /// The output tokens that the client's limit or the model allows, per choice.
    limit: u64,
    /// The number of choices, times the turns.
    pub(in crate::gateway) choices: u64,
    /// How often the provider may read the conversation, for tools that it runs itself.
    pub(in crate::gateway) turns: u64,
    /// The most searches of the web that the provider may run.
    pub(in crate::gateway) searches: u64,
    /// The most pages of the web that it may fetch.
    pub(in crate::gateway) fetches: u64,
    /// What is billed of the ordering of documents.
    pub(in crate::gateway) ranking: Option<Ranking>,
    /// The output limit to send, if `max_cost` pays for less than the client's limit.
    clamp: Option<u32>,
}

/// An output limit below the client's own, and its reason.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::gateway) struct Limit {
    /// Output tokens, per choice.
    pub(in crate::gateway) tokens: u32,
    /// `max_cost`, `credits` or `key_limit`.
    pub(in crate::gateway) why: &'static str,
}

/// Plans a request to a closed model.
pub(super) fn plan(model: &Arc<ClosedModel>, request: &Request, payer: Payer) -> Result<Plan, ServeError> {
    if model.task != request.task() {
        return Err(invalid("model", format!("{} does not do that; try its other route", model.id)));
    }
    let price = model.price.clone().ok_or_else(|| ServeError::Unpriced(model.id.to_string()))?;
    let (terms, tier) = match payer {
        Payer::Credits => {
            searches_unasked(&model.id)?;
            let terms = format::terms(request);
            let terms = terms.map_err(|bad| ServeError::Invalid { field: bad.field.into(), message: bad.message })?;
            let tier = tier(&terms, &price)?;
            (terms, tier)
        }
        // The provider's own tools are the caller's affair.
        Payer::OwnKey => {
            let terms = Terms { web_searches: u64::MAX, web_fetches: u64::MAX, ..Terms::default() };
            (terms, ServiceTier::Standard)
        }
    };
    let unpriced = |Unpriced(_)| ServeError::Unpriced(model.id.to_string());
    let pairs = match &request.work {
        Asking::Rerank(rerank) => Some(Pairs::count(rerank, &model.id)),
        _ => None,
    };
    let ranking = pairs.as_ref().map(|pairs| Ranking::of(pairs, &model.id, &price)).transpose().map_err(unpriced)?;
    let counted = pairs.map_or_else(|| wire::tokens::count_prompt(request, &model.id), |pairs| pairs.tokens());
    let counted = counted.saturating_add(terms.more_input);
    let most = counted.saturating_mul(wire::tokens::margin(&model.id));
    // A model reads each input of an embedding by itself, and each document with the query. Where the price file does not
    // say how much it reads, what was counted is the bound.
    let context = match u64::from(model.context).saturating_mul(inputs(request)) {
        0 => most,
        context => context,
    };
    // A prompt never exceeds the model's context.
    let (counted, most) = (counted.min(context), most.min(context));
    let (once, estimated) = if terms.is_uncountable { (context, context) } else { (most, counted) };
    let turns = terms.turns.saturating_add(1);
    let input = once.saturating_mul(turns);
    let asked = Asked { keep: if terms.keeps_long { Keep::Long } else { Keep::Usual }, tier };
    let generation = request.generation();
    let largest = generation.and_then(|generation| generation.limit).map(|limit| u64::from(limit.largest));
    let limit = if request.writes() { largest.unwrap_or(u64::MAX).min(model.max_output.into()) } else { 0 };
    let choices = generation.map_or(1, |generation| u64::from(generation.answers())).saturating_mul(turns);
    let uses = match payer {
        Payer::Credits => uses(&terms, &price)?,
        Payer::OwnKey => Quantities::NONE,
    };
    let permitted = Allowed { asked, uses, writes: request.writes() };
    // What the provider's own tools return may fill the context in each further turn.
    let (most_input, largest) = if turns > 1 { (context.saturating_mul(turns), context) } else { (input, input) };
    let of_prompt = |input| match ranking {
        Some(ranking) => Ok((ranking.most(&price, input, largest)?.total(), Rate::default())),
        None => dearest(&price, (input, largest), &permitted),
    };
    let (prompt, token) = of_prompt(input).map_err(unpriced)?;
    let (most_prompt, most_token) = of_prompt(most_input).map_err(unpriced)?;
    let affordable = max_cost(request)?.map(|most| affordable(most, most_prompt, most_token) / choices.max(1));
    let (limit, clamp) = match affordable {
        Some(0) if most_prompt > Decimal::ZERO => {
            let alone = Nanos::ceil(most_prompt).map_err(|_| too_much())?;
            return Err(invalid("max_cost", format!("the prompt alone may cost ${alone}")));
        }
        Some(most) if most < limit => (most, u32::try_from(most).ok()),
        _ => (limit, None),
    };
    let output = OutputPrice { input: prompt, token, limit: limit.saturating_mul(choices) };
    let cost = |tokens: u64| output.cost(tokens.saturating_mul(choices)).ok_or_else(too_much);
    let minimum = cost(limit.min(USUAL_OUTPUT))?;
    let most = OutputPrice { input: most_prompt, token: most_token, ..output };
    let worst_case = most.cost(most.limit).ok_or_else(too_much)?;
    let priced = HoldRequest { minimum, expected: minimum, worst_case };
    let hold = match payer {
        Payer::Credits => priced,
        Payer::OwnKey => HoldRequest::FREE,
    };
    let model = Arc::clone(model);
    let dearest = (prompt, token);
    let terms = UsageTerms {
        model,
        price,
        payer,
        input,
        context,
        estimated,
        counted,
        asked,
        dearest,
        limit,
        choices,
        turns,
        searches: terms.web_searches,
        fetches: terms.web_fetches,
        ranking,
        clamp,
    };
    Ok(Plan { target: Target::Closed(terms), work: Work::Closed, hold, output: Some(output) })
}

impl UsageTerms {
    /// The most output tokens of all choices together.
    pub(in crate::gateway) const fn most_output(&self) -> u64 {
        self.limit.saturating_mul(self.choices)
    }

    /// The cost of the counted prompt without any cache, rounded up; zero with the caller's own key.
    pub(super) fn least(&self) -> Result<Nanos, ServeError> {
        match self.payer {
            Payer::OwnKey => Ok(Nanos::ZERO),
            Payer::Credits => {
                let counted =
                    self.ranking.map_or_else(|| Quantities::plain(self.counted, 0), |ranking| ranking.counted());
                let counted = self.price.charge(&counted);
                Nanos::ceil(counted.cost.total()).map_err(|_| too_much())
            }
        }
    }

    /// The price of the request; `None` with the caller's own key.
    pub(super) fn charged_price(&self) -> Option<Arc<Price>> {
        match self.payer {
            Payer::OwnKey => None,
            Payer::Credits => Some(Arc::clone(&self.price)),
        }
    }

    /// The service tier to ask for.
    pub(in crate::gateway) const fn tier(&self) -> Tier {
        match self.asked.tier {
            ServiceTier::Standard => Tier::Standard,
            ServiceTier::Batch => Tier::Batch,
            ServiceTier::Flex => Tier::Flex,
            ServiceTier::Priority => Tier::Priority,
        }
    }

    /// The output limit to send: the one that `max_cost` pays for, or a lower one. The hold lowers it where debt may
    /// not arise, and the key's limits lower it in any case.
    pub(super) fn limit_within(&self, bounds: Bounds) -> Option<Limit> {
        let mut limit = self.clamp.map(|tokens| Limit { tokens, why: "max_cost" });
        if self.payer == Payer::OwnKey {
            return limit;
        }
        let held = Some(bounds.held).filter(|_| bounds.overdraft_none);
        for (most, why) in [(held, "credits"), (bounds.claimed, "key_limit")] {
            let Some(most) = most else { continue };
            let (prompt, token) = self.dearest;
            let pays = affordable(most, prompt, token) / self.choices.max(1);
            if pays < limit.map_or(self.limit, |limit| limit.tokens.into()) {
                limit = u32::try_from(pays.max(1)).ok().map(|tokens| Limit { tokens, why });
            }
        }
        limit
    }
}

/// The requested service tier, by its name: only one that the model has prices for. `priority` costs more than others,
/// `flex` less.
fn tier(terms: &Terms, price: &Price) -> Result<ServiceTier, ServeError> {
    let Some((field, asked)) = terms.tier else { return Ok(ServiceTier::Standard) };
    let asked = match asked {
        Some(Tier::Standard) => return Ok(ServiceTier::Standard),
        Some(Tier::Flex) => Some(ServiceTier::Flex),
        Some(Tier::Priority) => Some(ServiceTier::Priority),
        // Batches are not made here.
        Some(Tier::Batch) | None => None,
    };
    asked
        .filter(|tier| price.has_tier(*tier))
        .ok_or_else(|| invalid(field, "asks for a tier that has no price here: leave it out, or ask for the usual one"))
}

/// The number of texts, or of documents, that the model reads one by one.
const fn inputs(request: &Request) -> u64 {
    match &request.work {
        Asking::Embedding(embedding) => embedding.inputs.len() as u64,
        Asking::Rerank(rerank) => rerank.documents.len() as u64,
        _ => 1,
    }
}

/// Refuses a model that searches the web in each answer. Each search has a fee (OpenAI, Pricing, `Web search`), and the
/// usage of such a model does not tell how many there were.
fn searches_unasked(model: &str) -> Result<(), ServeError> {
    if ["-search-preview", "-search-api"].into_iter().any(|name| model.contains(name)) {
        let message = "searches the web by itself and does not tell how often, so it has no price here; with your own \
                       provider-key it passes";
        return Err(invalid("model", message));
    }
    Ok(())
}

/// The most that the provider's own tools may use. Fetches cost nothing where they have no price.
fn uses(terms: &Terms, price: &Price) -> Result<Quantities, ServeError> {
    let key = |kind| Key::of(kind, Direction::Neither);
    let mut uses = Quantities::NONE;
    if terms.web_searches > 0 {
        uses.add(key(Kind::WebSearches), terms.web_searches);
        if price.rate(key(Kind::WebSearches)).is_none() {
            return Err(invalid("tools", "ask for a search of the web, which has no price here for this model"));
        }
    }
    if terms.web_fetches > 0 && price.rate(key(Kind::WebFetches)).is_some() {
        uses.add(key(Kind::WebFetches), terms.web_fetches);
    }
    Ok(uses)
}

/// What a request allows its provider to charge for.
#[derive(Debug, Clone, Copy)]
struct Allowed {
    /// How long the cache may be kept, and the tier.
    asked: Asked,
    /// The most that the provider's own tools may use.
    uses: Quantities,
    /// Whether the answer is text.
    writes: bool,
}

/// The highest cost of prompts of at most so many tokens together, and so many in the largest, and of an output token
/// after them, both with the fee. Of work that writes nothing, the second is zero.
fn dearest(price: &Price, (input, largest): (u64, u64), allowed: &Allowed) -> Result<(Decimal, Rate), Unpriced> {
    let Allowed { asked, uses, writes } = *allowed;
    // A provider may serve a request for another tier at its usual one.
    let tiers: &[ServiceTier] = match asked.tier {
        ServiceTier::Standard => &[ServiceTier::Standard],
        ServiceTier::Batch => &[ServiceTier::Batch, ServiceTier::Standard],
        ServiceTier::Flex => &[ServiceTier::Flex, ServiceTier::Standard],
        ServiceTier::Priority => &[ServiceTier::Priority, ServiceTier::Standard],
    };
    let permitted = Permitted { keep: asked.keep, tiers, uses, ..Permitted::TEXT };
    let token = if writes { price.most_output(largest, &permitted)? } else { Rate::default() };
    Ok((price.most_input(input, largest, &permitted)?.total(), token))
}

fn too_much() -> ServeError {
    invalid("messages", "would cost more than the ledger holds")
}

#[cfg(test)]
mod tests {
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
        let body =
            format!(r#"{{"model":"gpt-4o-mini","messages":[{{"role":"user","content":"hello world"}}]{fields}}}"#);
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
        let body = br#"{"model":"gpt-4o-mini","prompt":"hello world","service_tier":"priority"}"#;
        let request = read_completion(body).unwrap();
        assert_eq!(closed(&request, &model).unwrap_err(), "model", "it does chats");
        let model = completing();
        assert_eq!(closed(&request, &model).unwrap_err(), "service_tier");
        let plan = plan(&model, &request, Payer::OwnKey).unwrap();
        assert_eq!(
            (plan.hold, plan.least().unwrap(), plan.most()),
            (HoldRequest::FREE, Nanos::ZERO, Some(Nanos::ZERO))
        );
        let Target::Closed(terms) = plan.target else { panic!("planned for a pool") };
        let bounds = Bounds { held: Nanos::ZERO, claimed: Some(Nanos::ZERO), overdraft_none: true };
        assert_eq!(terms.limit_within(bounds), None);
        let free = ClosedModel { price: None, ..ClosedModel::clone(&model) };
        assert!(matches!(super::plan(&Arc::new(free), &request, Payer::OwnKey), Err(ServeError::Unpriced(_))));
    }
}
