//! Brings a list together with the entries that there are. A list replaces what it said before; where another list is
//! the source of an entry, the two are compared. Where they agree, each adds the quantities that only it knows. Where they
//! contradict each other, the entry is disputed, with both numbers; in a service tier or a unit beside tokens, that part
//! is left out instead. A person's entry is never changed: what the list says otherwise is only told.
//!
//! A disputed entry keeps the price of the source that came first, and is not from the other list. So it is compared
//! again when either list is read again.

use std::{
    collections::{BTreeMap, BTreeSet, HashSet},
    sync::Arc,
};

use billing::{
    price::{Price, Rate},
    quantity::{Band, Cache, Direction, Key, Kind, Modality, ServiceTier},
};
use wire::inference::Task;

use super::{Listed, Rates, Reading, doubt, genai, litellm};
use crate::catalogue::{About, Change, ClosedModel};

/// Entries by provider and name.
pub type Entries = BTreeMap<(Arc<str>, Arc<str>), ClosedModel>;

/// What became of a list.
#[derive(Debug, Default)]
pub struct Report {
    /// The number of entries that are new.
    pub added: usize,
    /// The number of entries of another list that say the same.
    pub agreed: usize,
    /// The number of entries of this list that were brought up to date.
    pub updated: usize,
    /// Entries that are disputed, each with the reason.
    pub disputed: Vec<(String, String)>,
    /// Parts of entries that are left out, each with the reason.
    pub left_out: Vec<(String, String)>,
    /// Entries of a person that this list contradicts, each with the numbers.
    pub contradicted: Vec<(String, String)>,
    /// Entries that have no quantity in common with the list.
    pub apart: Vec<String>,
}

/// Brings a list together with the entries that there are. The result is all entries, by provider and name.
pub fn merge(there: &[Arc<ClosedModel>], reading: &Reading, date: &str) -> (Entries, Report) {
    let key = |model: &ClosedModel| (Arc::clone(&model.provider), Arc::clone(&model.id));
    let mut all: BTreeMap<_, _> = there.iter().map(|model| (key(model), ClosedModel::clone(model))).collect();
    let mut report = Report::default();
    let own_names: HashSet<_> = reading.models.iter().map(|listed| (listed.provider, listed.id.as_str())).collect();
    for listed in &reading.models {
        // Another name of a model stands only where the list has no model of that name.
        let aliases = listed.aliases.iter().filter(|alias| !own_names.contains(&(listed.provider, alias.as_str())));
        for name in [&listed.id].into_iter().chain(aliases) {
            let place: (Arc<str>, Arc<str>) = (listed.provider.into(), name.as_str().into());
            let next = match all.get(&place) {
                Some(model) => compared(model, listed, &reading.name, date, &mut report),
                None if *name == listed.id => {
                    report.added += 1;
                    Some(fresh(listed, &reading.name, date))
                }
                None => None,
            };
            if let Some(next) = next {
                all.insert(place, next);
            }
        }
    }
    for ((provider, id), model) in &all {
        let name = || format!("{provider}/{id}");
        report.disputed.extend(model.about.disputed.iter().map(|reason| (name(), reason.clone())));
        let left_out = model.about.left_out.values();
        report.left_out.extend(left_out.map(|reason| (name(), reason.clone())));
    }
    (all, report)
}

/// The lists, in the order in which entries name them.
const LISTS: [&str; 2] = [litellm::NAME, genai::NAME];

/// The list's name without its version.
fn list_of(source: &str) -> Option<&'static str> {
    LISTS.into_iter().find(|list| source.split(' ').next() == Some(list))
}

/// The sources of an entry; empty where it is a person's.
fn sources(model: &ClosedModel) -> Vec<&str> {
    let sources: Vec<_> = model.about.source.split(", ").collect();
    if sources.iter().all(|source| list_of(source).is_some()) { sources } else { Vec::new() }
}

/// The entry as this list says it.
fn fresh(listed: &Listed, list: &str, date: &str) -> ClosedModel {
    let context = listed.context.max(listed.max_output);
    let is_generation = matches!(listed.task, Task::Chat | Task::Completion);
    let max_output = if is_generation && listed.max_output == 0 { context } else { listed.max_output };
    let unbounded = (is_generation && context == 0).then(|| "it does not say how much the model reads".to_owned());
    let price = Price::of_rates(listed.rates.iter().map(|(key, rate)| (*key, *rate)).collect());
    let disputed = listed.doubt.clone().or(unbounded).map(|doubt| format!("{list}: {doubt}"));
    let change = |(valid_from, rates): &(_, Rates)| {
        let price = Price::of_rates(rates.iter().map(|(key, rate)| (*key, *rate)).collect())?;
        Some(Change { valid_from: *valid_from, price: Arc::new(price) })
    };
    ClosedModel {
        id: listed.id.as_str().into(),
        provider: listed.provider.into(),
        price: price.map(Arc::new),
        context,
        max_output,
        task: listed.task,
        about: Arc::new(About {
            source: list.to_owned(),
            date: date.to_owned(),
            changes: listed.changes.iter().filter_map(change).collect(),
            ends: listed.ends,
            deprecated: listed.deprecated,
            disputed,
            left_out: BTreeMap::new(),
        }),
    }
}

/// An entry that was there, after it was compared; `None` where it stays as it is.
fn compared(model: &ClosedModel, listed: &Listed, list: &str, date: &str, report: &mut Report) -> Option<ClosedModel> {
    let name = || format!("{}/{}", model.provider, model.id);
    let ours: Rates = model.price.iter().flat_map(|price| price.rates()).collect();
    let sources = sources(model);
    let (own, others): (Vec<&str>, Vec<&str>) = sources.iter().partition(|source| list_of(source) == list_of(list));
    if sources.is_empty() {
        let numbers = Comparison::of(&ours, &listed.rates, "the entry", list).all();
        if !numbers.is_empty() {
            report.contradicted.push((name(), numbers));
        }
        return None;
    }
    if others.is_empty() {
        report.updated += 1;
        return Some(updated(model, listed, list, date, &own));
    }
    if !ours.keys().any(|key| listed.rates.contains_key(key)) {
        report.apart.push(name());
        return None;
    }
    let found = Comparison::of(&ours, &listed.rates, &others.join(", "), list);
    if !found.core.is_empty() {
        let about =
            About { source: others.join(", "), disputed: Some(found.core.join("; ")), ..About::clone(&model.about) };
        return Some(ClosedModel { about: Arc::new(about), ..model.clone() });
    }
    report.agreed += 1;
    Some(agreed(model, listed, &found, (&others, list), date))
}

/// An entry of this list alone, as the list says it now. Where another list disputes it, it stays disputed until that one
/// is read again.
fn updated(model: &ClosedModel, listed: &Listed, list: &str, date: &str, own: &[&str]) -> ClosedModel {
    let next = fresh(listed, list, date);
    let disputes = |reason: &&String| own.iter().all(|source| !reason.starts_with(&format!("{source}: ")));
    let by_another = model.about.disputed.as_ref().filter(disputes).cloned();
    let about = About::clone(&next.about);
    let disputed = about.disputed.clone().or(by_another);
    let task = model.task;
    ClosedModel { id: Arc::clone(&model.id), task, about: Arc::new(About { disputed, ..about }), ..next }
}

/// An entry on which two lists agree: each adds what only it knows.
fn agreed(
    model: &ClosedModel,
    listed: &Listed,
    found: &Comparison,
    (others, list): (&[&str], &str),
    date: &str,
) -> ClosedModel {
    let mut left_out = model.about.left_out.clone();
    left_out.extend(found.left_out.clone());
    let mut rates: Rates = listed.rates.clone();
    for (key, rate) in model.price.iter().flat_map(|price| price.rates()) {
        // Of two that are rounded, the one with more digits.
        let theirs = rates.get(&key).filter(|theirs| theirs.unit_text().len() > rate.unit_text().len());
        rates.insert(key, theirs.copied().unwrap_or(rate));
    }
    rates.retain(|key, _| !left_out.contains_key(group(*key)));
    let context = model.context.max(listed.context).max(listed.max_output);
    let is_generation = matches!(model.task, Task::Chat | Task::Completion);
    let known = [model.max_output, listed.max_output].into_iter().max().filter(|known| *known > 0);
    let max_output = known.unwrap_or(if is_generation { context } else { 0 });
    let images = Key::of(Kind::Images, Direction::Output);
    let doubt = match doubt(&rates) {
        Some(doubt) => Some(doubt),
        None if is_generation && context == 0 => Some("neither list says how much the model reads"),
        None if is_generation
            && rates.contains_key(&images)
            && !rates.contains_key(&Key::OUTPUT.in_modality(Modality::Image)) =>
        {
            Some("its images have a price each, and their tokens none")
        }
        None => None,
    };
    let announced = fresh(listed, list, date).about.changes.clone();
    let mut sources: Vec<_> = others.iter().copied().chain([list]).collect();
    sources.sort_by_key(|source| LISTS.iter().position(|known| list_of(source) == Some(known)));
    let about = About {
        source: sources.join(", "),
        date: date.to_owned(),
        changes: if announced.is_empty() { model.about.changes.clone() } else { announced },
        ends: model.about.ends.or(listed.ends),
        deprecated: model.about.deprecated || listed.deprecated,
        disputed: doubt.map(str::to_owned),
        left_out,
    };
    let price = Price::of_rates(rates.into_iter().collect()).map(Arc::new);
    ClosedModel { price, context, max_output, about: Arc::new(about), ..model.clone() }
}

/// The part of a price that a key belongs to: nothing for what every request of text uses, else its tier or its unit.
fn group(key: Key) -> &'static str {
    match (key.tier, key.kind) {
        (ServiceTier::Standard, Kind::Tokens) => "",
        (ServiceTier::Standard, kind) => kind.name(),
        (tier, _) => tier.name(),
    }
}

/// Whether two rates are the same. Those of an hour are divided, and rounded by some.
fn is_same(key: Key, ours: Rate, theirs: Rate) -> bool {
    ours == theirs || key.kind == Kind::Milliseconds && ours.is_about(theirs)
}

/// Where two prices contradict each other.
struct Comparison {
    /// In what every request may use.
    core: Vec<String>,
    /// In other parts.
    left_out: BTreeMap<String, String>,
}

impl Comparison {
    fn of(ours: &Rates, theirs: &Rates, us: &str, them: &str) -> Self {
        let mut found = Self { core: Vec::new(), left_out: BTreeMap::new() };
        for (key, our) in ours {
            let Some(their) = theirs.get(key).filter(|their| !is_same(*key, *our, **their)) else { continue };
            let numbers = format!("{key}: {} in {us}, {} in {them}", text(*key, *our), text(*key, *their));
            found.add(group(*key), numbers);
        }
        let bands = |rates: &Rates| -> BTreeSet<(&'static str, Band)> {
            let input = rates.keys().filter(|key| key.is_tokens(Direction::Input) && key.cache == Cache::Uncached);
            let text = input.filter(|key| key.modality == Modality::Text && key.band != Band(0));
            text.map(|key| (group(*key), key.band)).collect()
        };
        let has_tier =
            |rates: &Rates, part: &str| rates.keys().any(|key| key.is_tokens(Direction::Input) && group(*key) == part);
        for (part, band) in bands(ours).symmetric_difference(&bands(theirs)) {
            if has_tier(ours, part) && has_tier(theirs, part) {
                let (has, lacks) = if bands(ours).contains(&(part, *band)) { (us, them) } else { (them, us) };
                found.add(part, format!("prices above {} tokens: in {has}, not in {lacks}", band.0));
            }
        }
        found
    }

    fn add(&mut self, part: &str, numbers: String) {
        if part.is_empty() {
            self.core.push(numbers);
            return;
        }
        let known = self.left_out.entry(part.to_owned()).or_default();
        if !known.is_empty() {
            known.push_str("; ");
        }
        known.push_str(&numbers);
    }

    /// All contradictions in words.
    fn all(&self) -> String {
        self.core.iter().chain(self.left_out.values()).cloned().collect::<Vec<_>>().join("; ")
    }
}

/// A rate as lists write it.
fn text(key: Key, rate: Rate) -> String {
    if key.kind == Kind::Tokens { rate.million_text() } else { rate.unit_text() }
}
