//! No charge is more than what was held for the worst case: for every provider, whose models answer ten thousand generated
//! requests each, and use the dearest branch that the request permits each time (design, chapter 2.7). Plan and meter are the
//! product's own; the provider's part is a report of all that it may read, write, keep and run.

use std::collections::BTreeMap;

use billing::{
    price::Keep,
    quantity::{Kind, ServiceTier},
};
use wire::{
    format::{
        ClientFormat,
        anthropic::Messages,
        openai::{Chat, Completions, Embeddings, Responses},
        rerank::Reranking,
    },
    inference::Request,
    usage::{Longer, Tier},
};

use super::*;
use crate::{
    catalogue::Book,
    gateway::plan::{Plan, Target, UsageTerms},
};

/// Requests of each provider.
const REQUESTS: usize = 10_000;
/// Of them, those that must at least be planned and not refused.
const PLANNED: usize = 4_000;

/// Repeatable random numbers: Steele, Lea and Flood's `SplitMix64`.
struct Random(u64);

impl Random {
    fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((mixed ^ mixed >> 31) % end as u64).unwrap_or(0)
    }

    fn one_in(&mut self, count: usize) -> bool {
        self.below(count) == 0
    }

    fn pick<'a>(&mut self, from: &[&'a str]) -> &'a str {
        from[self.below(from.len())]
    }
}

/// Fields, some of which a request has.
const CHAT: [&str; 14] = [
    r#""n":3"#,
    r#""max_tokens":50"#,
    r#""max_completion_tokens":70000"#,
    r#""reasoning_effort":"high""#,
    r#""service_tier":"priority""#,
    r#""service_tier":"flex""#,
    r#""service_tier":"auto""#,
    r#""prompt_cache_options":{"mode":"explicit","ttl":"12h"}"#,
    r#""prompt_cache_retention":"24h""#,
    r#""max_cost":"0.05""#,
    r#""tools":[{"type":"function","function":{"name":"f","parameters":{"type":"object"}}}]"#,
    r#""response_format":{"type":"json_object"}"#,
    r#""logprobs":true"#,
    r#""stream":true"#,
];
const MESSAGES: [&str; 10] = [
    r#""cache_control":{"type":"ephemeral","ttl":"1h"}"#,
    r#""cache_control":{"type":"ephemeral"}"#,
    r#""tools":[{"type":"web_search_20250305","name":"web_search","max_uses":3}]"#,
    r#""tools":[{"type":"web_fetch_20250910","name":"web_fetch","max_uses":2}]"#,
    r#""thinking":{"type":"enabled","budget_tokens":1024}"#,
    r#""service_tier":"auto""#,
    r#""speed":"fast""#,
    r#""inference_geo":"us""#,
    r#""stream":true"#,
    r#""max_cost":"1.5""#,
];
const RESPONSES: [&str; 7] = [
    r#""max_output_tokens":900"#,
    r#""tools":[{"type":"web_search"}],"max_tool_calls":2"#,
    r#""tools":[{"type":"web_search"}]"#,
    r#""service_tier":"priority""#,
    r#""prompt_cache_retention":"24h""#,
    r#""reasoning":{"effort":"high"}"#,
    r#""stream":true"#,
];

fn some(random: &mut Random, fields: &[&str]) -> String {
    let mut names: Vec<&str> = Vec::new();
    let mut text = String::new();
    for _ in 0..random.below(5) {
        let field = random.pick(fields);
        let name = field.split(':').next().unwrap_or_default();
        if !names.contains(&name) {
            names.push(name);
            text = text + "," + field;
        }
    }
    text
}

/// A prompt, now and then with what can't be counted.
fn content(random: &mut Random) -> String {
    let words = "word ".repeat(random.below(60));
    match random.below(8) {
        0 => r#"[{"type":"image_url","image_url":{"url":"https://x/y.png"}}]"#.to_owned(),
        1 => r#"[{"type":"file","file":{"file_data":"data:application/pdf;base64,xx"}}]"#.to_owned(),
        _ => format!("{words:?}"),
    }
}

/// A generated request for a model, in one of the formats that may ask for its task; `None` where none of them does here.
fn request(random: &mut Random, model: &ClosedModel) -> Option<Request> {
    let id = &model.id;
    let read = |read: fn(&[u8]) -> Result<Request, wire::fields::BadRequest>, body: String| {
        Some(read(body.as_bytes()).unwrap_or_else(|bad| panic!("{}: {}: {body}", bad.field, bad.message)))
    };
    match model.task {
        Task::Chat if random.one_in(3) => {
            let words = "word ".repeat(random.below(60));
            let (most, more) = (1 + random.below(200_000), some(random, &MESSAGES));
            let said = format!(r#""messages":[{{"role":"user","content":{words:?}}}]"#);
            read(Messages::read, format!(r#"{{"model":"{id}","max_tokens":{most},{said}{more}}}"#))
        }
        Task::Chat if random.one_in(3) => {
            let (words, more) = ("word ".repeat(random.below(60)), some(random, &RESPONSES));
            read(Responses::read, format!(r#"{{"model":"{id}","input":{words:?}{more}}}"#))
        }
        Task::Chat => {
            let (content, more) = (content(random), some(random, &CHAT));
            let said = format!(r#""messages":[{{"role":"user","content":{content}}}]"#);
            read(Chat::read, format!(r#"{{"model":"{id}",{said}{more}}}"#))
        }
        Task::Completion => {
            let most = 1 + random.below(5_000);
            let of = 1 + random.below(9);
            read(Completions::read, format!(r#"{{"model":"{id}","prompt":"x y","max_tokens":{most},"best_of":{of}}}"#))
        }
        Task::Embedding => {
            let inputs = vec![r#""one two three""#; 1 + random.below(20)].join(",");
            read(Embeddings::read, format!(r#"{{"model":"{id}","input":[{inputs}]}}"#))
        }
        Task::Rerank => {
            let documents =
                vec![format!("{:?}", "word ".repeat(1 + random.below(60))); 1 + random.below(130)].join(",");
            read(Reranking::read, format!(r#"{{"model":"{id}","query":"which","documents":[{documents}]}}"#))
        }
        Task::Image | Task::Speech | Task::Transcription | Task::Decision | Task::Native => None,
    }
}

/// All that a provider may do for a request, in one of the ways that it may do it.
fn all_of_it(random: &mut Random, terms: &UsageTerms) -> Report {
    let input = if terms.turns > 1 { terms.context.saturating_mul(terms.turns) } else { terms.input };
    let output = terms.most_output();
    let part = |random: &mut Random, of: u64| match random.below(3) {
        0 => 0,
        1 => of,
        _ => of / 100 * random.below(101) as u64,
    };
    let write = part(random, input);
    let long = if terms.asked.keep == Keep::Long { Some(part(random, write)) } else { Some(0) };
    // Another tier than the usual one may be served at the usual one.
    let tier = match (terms.asked.tier, random.one_in(2)) {
        (ServiceTier::Standard, _) | (_, true) => Tier::Standard,
        (ServiceTier::Batch, false) => Tier::Batch,
        (ServiceTier::Flex, false) => Tier::Flex,
        (ServiceTier::Priority, false) => Tier::Priority,
        (ServiceTier::Us, false) => Tier::Us,
        (ServiceTier::PriorityUs, false) => Tier::PriorityUs,
    };
    let (reasoning, tells_uses) = (part(random, output), !random.one_in(3));
    Report {
        input: Some(input),
        output: Some(output),
        // In the highest context band that a prompt can reach: each turn's is told, or the sum of all and how many there
        // were, or the sum alone.
        largest_prompt: random.one_in(2).then_some(input.min(terms.context)),
        listed_input: input,
        cache_write: write,
        cache_write_long: if terms.asked.keep == Keep::Long && random.one_in(2) { None } else { long },
        longer: if *terms.model.provider == *"anthropic" { Longer::Hour } else { Longer::TwelveHours },
        cached_input: part(random, input - write),
        image_input: part(random, input - write),
        reasoning,
        web_searches: if tells_uses { terms.searches } else { 0 },
        web_fetches: if tells_uses { terms.fetches } else { 0 },
        search_units: terms.ranking.map(|ranking| ranking.most_units),
        tier: (!random.one_in(4)).then_some(tier),
        ..Report::default()
    }
}

/// A provider's requests. Returns how many were planned and the most that one was charged, with the refusals of the others.
fn requests_of(provider: &str, book: &Book) -> (usize, Nanos, BTreeMap<String, usize>) {
    let rules = Rules { overdraft_none: true, ..RULES };
    let priced = |model: &&Arc<ClosedModel>| *model.provider == *provider && model.price.is_some();
    let models: Vec<_> = book.entries().iter().filter(priced).cloned().collect();
    let (mut random, mut planned, mut refused, mut dearest) =
        (Random(17 + provider.len() as u64), 0, BTreeMap::<String, usize>::new(), Nanos::ZERO);
    for _ in 0..REQUESTS {
        let model = &models[random.below(models.len())];
        let Some(request) = request(&mut random, model) else { continue };
        let Plan { target, hold, .. } = match plan(&Model::Closed(model.clone()), rules, &request, Payer::Credits) {
            Ok(plan) => plan,
            Err(error) => {
                *refused.entry(error.to_string().chars().take(60).collect()).or_default() += 1;
                continue;
            }
        };
        let Target::Closed(terms) = &target else { panic!("{}", model.id) };
        let report = all_of_it(&mut random, terms);
        planned += 1;
        let mut meter = Meter::new(target, Instant::now());
        let is_believed = meter.reported(report.clone());
        // Without the limit of the hold, so that it is seen whether the limit is needed.
        let metered = meter.used(None, Bounds { held: hold.worst_case, claimed: None, overdraft_none: false });
        let charged = metered.cost.charged().unwrap();
        let asked = || request.source.body.to_json();
        let context = || format!("{provider} {}: {}\n{report:?}\n{:?}", model.id, asked(), metered.quantities);
        assert!(is_believed, "{}", context());
        assert!(charged <= hold.worst_case, "{charged} of {}: {}", hold.worst_case, context());
        // Fetches of pages without a price cost nothing.
        let unpriced = meter.unpriced(&metered).filter(|key| key.kind != Kind::WebFetches);
        assert_eq!(unpriced, None, "{}", context());
        // Where less is held, no more is charged.
        let less = Bounds { held: hold.minimum, claimed: None, overdraft_none: true };
        let mut bounded = metered;
        Meter::bound(&mut bounded, less);
        assert!(bounded.cost.charged().unwrap() <= hold.minimum, "{}", context());
        dearest = dearest.max(charged);
    }
    (planned, dearest, refused)
}

#[test]
fn no_charge_is_more_than_its_worst_case_at_any_model_of_any_provider() {
    let book = Book::built_in().unwrap();
    std::thread::scope(|scope| {
        for provider in ["openai", "anthropic", "google", "mistral", "cohere"] {
            let book = &book;
            scope.spawn(move || {
                let (planned, dearest, refused) = requests_of(provider, book);
                assert!(planned >= PLANNED && dearest.is_positive(), "{provider}: {planned} planned; {refused:#?}");
            });
        }
    });
}
