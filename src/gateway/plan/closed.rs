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

use super::{
    Bounds, Payer, Plan, Target, invalid,
    max_cost::max_cost,
    media::{self, Media},
    ranking::Ranking,
};
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
    /// The most tokens that one prompt may have. The hold is that of its context band, and no other is charged: what a
    /// provider adds up over turns that it does not tell apart says nothing of a larger prompt.
    pub(in crate::gateway) largest: u64,
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
    /// What is billed of speech, of a transcription, or of images.
    pub(in crate::gateway) media: Option<Box<Media>>,
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
    if let Some(media) = Media::of(model, &price, request, payer)? {
        return planned(model, price, payer, Box::new(media), max_cost(request)?);
    }
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
    let (most_input, prompt_of_most) =
        if turns > 1 { (context.saturating_mul(turns), context) } else { (input, input) };
    let of_prompt = |input| match ranking {
        Some(ranking) => Ok((ranking.most(&price, input, prompt_of_most)?.total(), Rate::default())),
        None => dearest(&price, (input, prompt_of_most), &permitted),
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
        largest: prompt_of_most,
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
        media: None,
        clamp,
    };
    Ok(Plan { target: Target::Closed(terms), work: Work::Closed, hold, output: Some(output) })
}

/// The plan of work whose amounts are no text. Nothing in its body bounds what it costs, so all of that is held.
fn planned(
    model: &Arc<ClosedModel>,
    price: Arc<Price>,
    payer: Payer,
    media: Box<Media>,
    max_cost: Option<Nanos>,
) -> Result<Plan, ServeError> {
    let cost = media.most_cost(&price).map_err(|Unpriced(_)| ServeError::Unpriced(model.id.to_string()))?;
    let most = Nanos::ceil(cost.total()).map_err(|_| too_much())?;
    if max_cost.is_some_and(|allowed| allowed < most) && payer == Payer::Credits {
        return Err(invalid("max_cost", format!("the request may cost ${most}")));
    }
    let hold = match payer {
        Payer::Credits => HoldRequest { minimum: most, expected: most, worst_case: most },
        Payer::OwnKey => HoldRequest::FREE,
    };
    let terms = UsageTerms {
        model: Arc::clone(model),
        price,
        payer,
        input: media.can.input,
        context: media.can.input,
        largest: media.can.input,
        estimated: 0,
        counted: 0,
        asked: Asked::default(),
        dearest: (Decimal::ZERO, Rate::default()),
        limit: media.can.output,
        choices: 1,
        turns: 1,
        searches: 0,
        fetches: 0,
        ranking: None,
        media: Some(media),
        clamp: None,
    };
    Ok(Plan { target: Target::Closed(terms), work: Work::Closed, hold, output: None })
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
                let counted = match (&self.media, self.ranking) {
                    (Some(media), _) => media.counted,
                    (None, Some(ranking)) => ranking.counted(),
                    (None, None) => Quantities::plain(self.counted, 0),
                };
                let counted = self.price.charge(&counted);
                Nanos::ceil(counted.cost.total()).map_err(|_| too_much())
            }
        }
    }

    /// The cost, where it is known before the request runs: nothing that the provider does changes it.
    pub(in crate::gateway) fn known_cost(&self) -> Option<Nanos> {
        let media = self.media.as_ref().filter(|media| media.bills == media::Bills::Characters)?;
        match self.payer {
            Payer::OwnKey => Some(Nanos::ZERO),
            Payer::Credits => self.price.charge(&media.counted).cost.charged().ok(),
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
        tier_of(self.asked.tier)
    }

    /// The output limit to send: the one that `max_cost` pays for, or a lower one. The hold lowers it where debt may
    /// not arise, and the key's limits lower it in any case.
    pub(super) fn limit_within(&self, bounds: Bounds) -> Option<Limit> {
        let mut limit = self.clamp.map(|tokens| Limit { tokens, why: "max_cost" });
        if self.payer == Payer::OwnKey || self.media.is_some() {
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

/// A tier of prices, as providers' formats name it.
pub(in crate::gateway) const fn tier_of(tier: ServiceTier) -> Tier {
    match tier {
        ServiceTier::Standard => Tier::Standard,
        ServiceTier::Batch => Tier::Batch,
        ServiceTier::Flex => Tier::Flex,
        ServiceTier::Priority => Tier::Priority,
        ServiceTier::Us => Tier::Us,
        ServiceTier::PriorityUs => Tier::PriorityUs,
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
        Some(Tier::Us) => Some(ServiceTier::Us),
        Some(Tier::PriorityUs) => Some(ServiceTier::PriorityUs),
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
        ServiceTier::Us => &[ServiceTier::Us, ServiceTier::Standard],
        // Each has a price where both together have one.
        ServiceTier::PriorityUs => {
            &[ServiceTier::PriorityUs, ServiceTier::Us, ServiceTier::Priority, ServiceTier::Standard]
        }
    };
    let permitted = Permitted { keep: asked.keep, tiers, uses, ..Permitted::TEXT };
    let token = if writes { price.most_output(largest, &permitted)? } else { Rate::default() };
    Ok((price.most_input(input, largest, &permitted)?.total(), token))
}

fn too_much() -> ServeError {
    invalid("messages", "would cost more than the ledger holds")
}

#[cfg(test)]
mod tests;
