//! The configuration of litellm's proxy, as settings of Farebox: `model_list` to providers and aliases, the router's aliases,
//! fall-backs and strategy to aliases. Pure. What has no counterpart is listed by its path, never dropped in silence.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::{
    deployment::{self, Deployment, Target},
    draft::Draft,
    tree::{Left, Part},
};
use crate::catalogue::Catalogue;

/// What a configuration comes to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Imported {
    pub(super) draft: Draft,
    /// What has no counterpart.
    pub(super) left: Vec<Left>,
    /// Models that are served once they have a price.
    pub(super) unpriced: Vec<String>,
    /// The names that clients use, each with the models that it stands for.
    pub(super) names: BTreeMap<String, Vec<Target>>,
}

/// Why a field has no counterpart, by the end of its path; the first that fits.
const REASONS: [(&str, &str); 21] = [
    ("master_key", "Farebox has a token of its own for operators: FAREBOX_ADMIN_TOKEN"),
    ("database_url", "Farebox has a ledger of its own: database.url"),
    ("rpm", "limits are dollars of keys and accounts here, not requests of a deployment"),
    ("tpm", "limits are dollars of keys and accounts here, not tokens of a deployment"),
    ("stream_timeout", "near to it are providers.NAME.first_byte_seconds and idle_seconds"),
    ("request_timeout", "near to it are providers.NAME.first_byte_seconds and idle_seconds"),
    ("timeout", "near to it are providers.NAME.first_byte_seconds and idle_seconds"),
    ("max_parallel_requests", "near to it is providers.NAME.calls"),
    ("input_cost_per_token", "prices are in the price book: docs/prices.md"),
    ("output_cost_per_token", "prices are in the price book: docs/prices.md"),
    ("max_retries", "retries are a setting of a provider: providers.NAME.retries"),
    ("drop_params", "a field that a model has no word for is refused by its name here"),
    ("set_verbose", "log.level says what is logged"),
    ("context_window_fallbacks", "models are asked one after another for any failure: list them in an alias"),
    ("content_policy_fallbacks", "what a provider refuses for its content is answered so"),
    ("allowed_fails", "circuit breakers here open after 20 failures in a row"),
    ("cooldown_time", "circuit breakers here try again every 5 s"),
    ("max_budget", "budgets are credits of accounts and limits of keys here: name the export of keys with --keys"),
    ("budget_duration", "budgets are credits of accounts and limits of keys here: name the export of keys with --keys"),
    ("mode", "the price book knows what a model does"),
    ("include", "name that file by itself"),
];

fn reason(path: &str) -> String {
    let of = |name: &str| {
        let is_part = |part: &str| part.split('[').next() == Some(name);
        path.split('.').any(is_part)
    };
    let found = REASONS.iter().find(|(name, _)| of(name)).map(|(_, why)| *why);
    found.unwrap_or("has no counterpart here").to_owned()
}

/// Reads a configuration.
pub(super) fn convert(document: Value) -> Imported {
    let (mut whole, mut imported) = (Part::whole(document), Imported::default());
    let groups = groups(&mut whole, &mut imported);
    let mut router = Router::take(&mut whole, &mut imported);
    imported.draft.retries = router.retries;
    router.leave_strangers(&groups, &mut imported.left);
    let mut texts: BTreeMap<String, String> = BTreeMap::new();
    for (name, group) in &groups {
        texts.insert(name.clone(), router.way(name, group, &groups, &mut imported.left));
        imported.names.insert(name.clone(), targets(group));
    }
    for (alias, (path, name)) in std::mem::take(&mut router.aliases) {
        let why = match (texts.get(&name), groups.get(&name)) {
            _ if groups.contains_key(&alias) => format!("{alias} is a model of the list, which comes first"),
            (Some(text), Some(group)) => {
                texts.insert(alias.clone(), text.clone());
                imported.names.insert(alias, targets(group));
                continue;
            }
            _ => format!("{name} is no model of the list"),
        };
        imported.left.push(Left::new(&path, why));
    }
    texts.retain(|name, text| !is_own(name, text, &imported.names));
    for (name, text) in &texts {
        match refusal(name, text, &texts) {
            None => imported.draft.aliases.push(format!("{name}={text}")),
            Some(why) => imported.left.push(Left::new("model_list", format!("the name {name:?}: {why}"))),
        }
    }
    for name in imported.draft.mixed() {
        let why =
            format!("providers.{name}: keys in the file and in variables; set all of them with its variable KEYS");
        imported.left.push(Left::new("model_list", why));
    }
    whole.leave(&reason, &mut imported.left);
    imported.unpriced = unpriced(&imported.names);
    imported
}

/// The models of the list, by the name that clients use.
fn groups(whole: &mut Part, imported: &mut Imported) -> BTreeMap<String, Vec<Deployment>> {
    let mut groups: BTreeMap<String, Vec<Deployment>> = BTreeMap::new();
    for mut entry in whole.take("model_list").map(Part::items).unwrap_or_default() {
        let name = entry.take_text("model_name");
        let path = entry.path.clone();
        match (name, entry.take("litellm_params")) {
            (Some(name), Some(mut params)) => {
                match deployment::read(&mut params, &mut imported.draft, &mut imported.left) {
                    Ok(deployment) => groups.entry(name).or_default().extend(deployment),
                    Err(left) => imported.left.push(left),
                }
                params.leave(&reason, &mut imported.left);
            }
            (_, _) => imported.left.push(Left::new(&path, "has no model_name or no litellm_params")),
        }
        entry.leave(&reason, &mut imported.left);
    }
    groups.retain(|_, group| !group.is_empty());
    groups
}

/// The models of a group, each once.
fn targets(group: &[Deployment]) -> Vec<Target> {
    let mut targets: Vec<Target> = Vec::new();
    for deployment in group {
        if !targets.contains(&deployment.target) {
            targets.push(deployment.target.clone());
        }
    }
    targets
}

/// How the router chooses among a group's deployments.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Strategy {
    Shuffle,
    Latency,
    Cost,
}

/// The router's settings.
struct Router {
    strategy: Strategy,
    retries: Option<u64>,
    /// The groups that are asked after a group, and where that is said.
    fallbacks: BTreeMap<String, (String, Vec<String>)>,
    /// Those after every other group.
    default: Option<(String, Vec<String>)>,
    /// Other names of groups, and where each is said.
    aliases: BTreeMap<String, (String, String)>,
}

impl Router {
    /// Takes what is understood of the router, from both places where it may stand.
    fn take(whole: &mut Part, imported: &mut Imported) -> Self {
        let mut router = Self {
            strategy: Strategy::Shuffle,
            retries: None,
            fallbacks: BTreeMap::new(),
            default: None,
            aliases: BTreeMap::new(),
        };
        for section in ["router_settings", "litellm_settings"] {
            let Some(mut settings) = whole.take(section) else { continue };
            router.take_strategy(&mut settings, imported);
            if let Some(retries) = settings.take_number("num_retries") {
                if retries > 10 {
                    let path = format!("{section}.num_retries");
                    imported.left.push(Left::new(&path, format!("{retries}: at most 10 here, which is set")));
                }
                router.retries = router.retries.or(Some(retries.min(10)));
            }
            for entry in settings.take("fallbacks").map(Part::items).unwrap_or_default() {
                for (name, list) in entry.fields() {
                    match list.names() {
                        Some(names) if name == "*" => router.default = router.default.or(Some((list.path, names))),
                        Some(names) => {
                            router.fallbacks.entry(name).or_insert((list.path, names));
                        }
                        None => imported.left.push(Left::new(&list.path, "is no list of names")),
                    }
                }
            }
            if let Some(list) = settings.take("default_fallbacks") {
                match list.names() {
                    Some(names) => router.default = router.default.or(Some((list.path, names))),
                    None => imported.left.push(Left::new(&list.path, "is no list of names")),
                }
            }
            for (alias, mut group) in settings.take("model_group_alias").map(Part::fields).unwrap_or_default() {
                let path = group.path.clone();
                match group.text().map(str::to_owned).or_else(|| group.take_text("model")) {
                    Some(name) => {
                        router.aliases.insert(alias, (path, name));
                    }
                    None => imported.left.push(Left::new(&path, "names no model")),
                }
                if group.text().is_none() {
                    group.leave(&reason, &mut imported.left);
                }
            }
            settings.leave(&reason, &mut imported.left);
        }
        router
    }

    /// Lists the fall-backs of names that are no models of the list.
    fn leave_strangers(&self, groups: &BTreeMap<String, Vec<Deployment>>, left: &mut Vec<Left>) {
        for (name, (path, _)) in self.fallbacks.iter().filter(|(name, _)| !groups.contains_key(*name)) {
            left.push(Left::new(path, format!("{name} is no model of the list")));
        }
    }

    fn take_strategy(&mut self, settings: &mut Part, imported: &mut Imported) {
        let Some(strategy) = settings.take_text("routing_strategy") else { return };
        self.strategy = match &*strategy {
            "simple-shuffle" => Strategy::Shuffle,
            "latency-based-routing" => Strategy::Latency,
            "cost-based-routing" => Strategy::Cost,
            other => {
                let why = format!("{other}: by weight instead");
                imported.left.push(Left::new(&format!("{}.routing_strategy", settings.path), why));
                Strategy::Shuffle
            }
        };
    }

    /// What a group's name stands for, as an alias writes it.
    fn way(
        &self,
        name: &str,
        group: &[Deployment],
        groups: &BTreeMap<String, Vec<Deployment>>,
        left: &mut Vec<Left>,
    ) -> String {
        let own = targets(group);
        let after = match (self.fallbacks.get(name), &self.default) {
            (Some((path, names)), _) => Some((path, names)),
            // A model that others fall back to has none to follow.
            (None, Some((path, names))) if !names.iter().any(|other| other == name) => Some((path, names)),
            (None, _) => None,
        };
        if let [only] = &own[..] {
            let mut models = vec![only.name()];
            for other in after.iter().flat_map(|(_, names)| names.iter()) {
                if let Some(group) = groups.get(other) {
                    models.extend(targets(group).iter().map(Target::name));
                } else {
                    let path = after.map_or("", |(path, _)| &**path);
                    left.push(Left::new(path, format!("{name}: {other} is no model of the list")));
                }
            }
            let mut seen = BTreeSet::new();
            models.retain(|model| seen.insert(model.clone()));
            return models.join(">");
        }
        if let Some((path, names)) = after {
            let why = format!(
                "{name} has several models, which follow each other where one is not served; {} can't follow them",
                names.join(", ")
            );
            left.push(Left::new(path, why));
        }
        let names = || own.iter().map(Target::name).collect::<Vec<_>>();
        match self.strategy {
            Strategy::Latency => format!("{}{}", RANKED[0], names().join("|")),
            Strategy::Cost => format!("{}{}", RANKED[1], names().join("|")),
            Strategy::Shuffle => ordered(group).unwrap_or_else(|| {
                let weight = |target: &Target| -> u32 {
                    let of_it = group.iter().filter(|deployment| deployment.target == *target);
                    of_it.fold(0, |sum, deployment| sum.saturating_add(deployment.weight))
                };
                let weighed = own.iter().map(|target| format!("{}*{}", target.name(), weight(target)));
                weighed.collect::<Vec<_>>().join("|")
            }),
        }
    }
}

/// A group whose deployments are ranked.
fn ordered(group: &[Deployment]) -> Option<String> {
    let mut ranked =
        group.iter().map(|deployment| Some((deployment.order?, deployment))).collect::<Option<Vec<_>>>()?;
    ranked.sort_by_key(|(order, _)| *order);
    let ranked: Vec<Deployment> = ranked.into_iter().map(|(_, deployment)| deployment.clone()).collect();
    Some(targets(&ranked).iter().map(Target::name).collect::<Vec<_>>().join(">"))
}

/// Whether a name is the model's own, so that no alias is needed.
fn is_own(name: &str, text: &str, names: &BTreeMap<String, Vec<Target>>) -> bool {
    match names.get(name).map(Vec::as_slice) {
        Some([only]) => text == only.name() && (name == text || name == only.model && is_known(only)),
        _ => false,
    }
}

/// Why a name can be no alias; `None` where it can.
fn refusal(name: &str, text: &str, aliases: &BTreeMap<String, String>) -> Option<&'static str> {
    if name.is_empty() || name.contains('=') || name.chars().any(char::is_control) || name.trim() != name {
        return Some("can't be the name of an alias");
    }
    let text = RANKED.iter().find_map(|word| text.strip_prefix(word)).unwrap_or(text);
    let models = text.split(['>', '|']).map(|model| model.split('*').next().unwrap_or(model));
    let stands_for_alias = |model: &str| aliases.contains_key(model);
    models
        .into_iter()
        .any(stands_for_alias)
        .then_some("one of its models has the name of an alias, and none can stand for one")
}

/// What stands before models that are ranked.
const RANKED: [&str; 2] = ["fastest ", "cheapest "];

/// Whether a model's bare name is its own: a known provider's.
fn is_known(target: &Target) -> bool {
    crate::config::KNOWN_PROVIDERS.contains(&&*target.provider)
}

/// The models without a price in the program's own book.
fn unpriced(names: &BTreeMap<String, Vec<Target>>) -> Vec<String> {
    let Ok(catalogue) = Catalogue::built_in() else { return Vec::new() };
    let all: BTreeSet<String> = names.values().flatten().map(Target::name).collect();
    all.into_iter().filter(|name| catalogue.find(name).is_err()).collect()
}
