//! One file of the price book, read strictly: a misspelt field is an error, and not a free model. An error names the
//! file, the entry and what is wrong with it.

use std::{collections::BTreeMap, sync::Arc};

use billing::{Timestamp, price::Price};
use serde::{Deserialize, Deserializer, de};
use wire::inference::Task;

use super::ClosedModel;

/// What a price book's entry says beside the price that is in force.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct About {
    /// Where the entry is from: the names and versions of public lists, or a person's words.
    pub source: String,
    /// The day on which it was taken from there, such as `2026-11-28`.
    pub date: String,
    /// The prices to come, in the order of their times.
    pub changes: Vec<Change>,
    /// When the provider ends the model.
    pub ends: Option<Timestamp>,
    /// Whether the provider advises against it, without a date.
    pub deprecated: bool,
    /// Why nobody knows the price: its sources say different things. It is refused until a person rules.
    pub disputed: Option<String>,
    /// Parts of the price that are left out, because its sources say different things, each with the reason: a service
    /// tier, or a unit.
    pub left_out: BTreeMap<String, String>,
}

/// A price that is announced.
#[derive(Debug, Clone, PartialEq)]
pub struct Change {
    /// Since when it is in force.
    pub valid_from: Timestamp,
    /// The price from then on, all of it.
    pub price: Arc<Price>,
}

impl About {
    /// The next change after a time.
    pub fn next(&self, now: Timestamp) -> Option<&Change> {
        self.changes.iter().find(|change| change.valid_from > now)
    }
}

impl ClosedModel {
    /// The price that is in force at a time, where this is the model as it is written. A function of the two alone.
    pub(super) fn price_at(&self, now: Timestamp) -> Option<&Arc<Price>> {
        if self.about.disputed.is_some() {
            return None;
        }
        let begun = self.about.changes.iter().rfind(|change| change.valid_from <= now);
        begun.map(|change| &change.price).or(self.price.as_ref())
    }

    /// The task's word in price files.
    pub fn task_name(&self) -> &'static str {
        TASKS.iter().find(|(task, _)| *task == self.task).map_or("", |(_, word)| word)
    }

    /// Why the model has no price now; `None` where it has one.
    pub fn why_unpriced(&self) -> Option<String> {
        match (&self.price, &self.about.disputed) {
            (Some(_), _) => None,
            (None, Some(reason)) => Some(format!("{} has no price: it is disputed ({reason})", self.id)),
            (None, None) => Some(format!("{} has no price now", self.id)),
        }
    }
}

/// The tasks of price files.
pub(super) const TASKS: [(Task, &str); 9] = [
    (Task::Chat, "chat"),
    (Task::Completion, "completion"),
    (Task::Embedding, "embedding"),
    (Task::Rerank, "rerank"),
    (Task::Image, "image"),
    (Task::Speech, "speech"),
    (Task::Transcription, "transcription"),
    (Task::Decision, "decision"),
    (Task::Native, "native"),
];

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PriceFile {
    provider: String,
    #[serde(default)]
    model: Vec<Written>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    id: String,
    #[serde(default)]
    context: u32,
    #[serde(default)]
    max_output: u32,
    #[serde(default = "chat", deserialize_with = "task")]
    task: Task,
    price: Option<Price>,
    #[serde(default)]
    change: Vec<WrittenChange>,
    #[serde(default)]
    source: String,
    #[serde(default, deserialize_with = "day")]
    date: String,
    #[serde(default, deserialize_with = "time")]
    ends: Option<Timestamp>,
    #[serde(default)]
    deprecated: bool,
    disputed: Option<String>,
    #[serde(default)]
    left_out: BTreeMap<String, String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenChange {
    #[serde(deserialize_with = "begin")]
    valid_from: Timestamp,
    price: Price,
}

const fn chat() -> Task {
    Task::Chat
}

fn task<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Task, D::Error> {
    let word = String::deserialize(deserializer)?;
    TASKS.iter().find(|(_, known)| *known == word).map(|(task, _)| *task).ok_or_else(|| {
        let known: Vec<_> = TASKS.iter().map(|(_, known)| *known).collect();
        de::Error::custom(format!("`{word}` is no task: {}", known.join(", ")))
    })
}

fn begin<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Timestamp, D::Error> {
    String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
}

fn time<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Timestamp>, D::Error> {
    begin(deserializer).map(Some)
}

fn day<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    let text = String::deserialize(deserializer)?;
    match Timestamp::from_date(&text) {
        Some(_) => Ok(text),
        None => Err(de::Error::custom("must be a date such as 2026-11-28")),
    }
}

/// Why a file can't be read: the entry, where there is one, and what is wrong.
pub(super) struct Wrong {
    pub(super) entry: Option<String>,
    pub(super) what: String,
}

/// Reads one file.
pub(super) fn read(text: &str) -> Result<Vec<ClosedModel>, Wrong> {
    let PriceFile { provider, model } = toml::from_str(text).map_err(|error| Wrong {
        entry: error.span().and_then(|span| entry_at(text, span.start)),
        what: format!("{}{}", error.message(), line_of(text, error.span().map(|span| span.start))),
    })?;
    if provider.is_empty() || provider.contains('/') {
        return Err(Wrong { entry: None, what: "`provider` must be a name without a slash".to_owned() });
    }
    let provider: Arc<str> = provider.into();
    let mut models = Vec::with_capacity(model.len());
    let mut ids = std::collections::HashSet::with_capacity(model.len());
    for written in model {
        let wrong = |what: &str| Wrong { entry: Some(written.id.clone()), what: what.to_owned() };
        if let Some(what) = unsound(&written) {
            return Err(wrong(what));
        }
        if !ids.insert(written.id.clone()) {
            return Err(wrong("is there twice"));
        }
        models.push(model_of(written, &provider));
    }
    Ok(models)
}

/// What contradicts itself in an entry.
fn unsound(written: &Written) -> Option<&'static str> {
    let Written { id, context, max_output, task, price, change, disputed, .. } = written;
    let is_priced = disputed.is_none() && (price.is_some() || !change.is_empty());
    let is_generation = matches!(task, Task::Chat | Task::Completion);
    if id.is_empty() || !id.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Some("`id` must be visible characters");
    }
    if is_priced && is_generation && (*context == 0 || *max_output == 0) {
        return Some("`context` and `max_output` are needed: without them no cost has an upper bound");
    }
    if !change.windows(2).all(|pair| pair[0].valid_from < pair[1].valid_from) {
        return Some("each `change` must begin after the one before");
    }
    None
}

fn model_of(written: Written, provider: &Arc<str>) -> ClosedModel {
    let Written { id, context, max_output, task, price, change, source, date, ends, deprecated, disputed, left_out } =
        written;
    let of = |WrittenChange { valid_from, price }| Change { valid_from, price: Arc::new(price) };
    let changes = change.into_iter().map(of).collect();
    let about = About { source, date, changes, ends, deprecated, disputed, left_out };
    ClosedModel {
        id: id.into(),
        provider: Arc::clone(provider),
        price: price.map(Arc::new),
        context,
        max_output,
        task,
        about: Arc::new(about),
    }
}

/// The name of the entry that a place of the file is in.
fn entry_at(text: &str, place: usize) -> Option<String> {
    let before = text.get(..place)?;
    // An error of the header itself is reported at the header.
    let begin = before.rfind("[[model]]").or_else(|| text.get(place..)?.starts_with("[[model]]").then_some(place))?;
    let rest = text.get(begin + "[[model]]".len()..)?;
    let entry = rest.split("[[model]]").next().unwrap_or(rest);
    let id = entry.lines().find_map(|line| line.trim().strip_prefix("id")?.trim_start().strip_prefix('='))?;
    Some(id.trim().trim_matches('"').to_owned())
}

fn line_of(text: &str, place: Option<usize>) -> String {
    let before = place.and_then(|place| text.get(..place));
    before.map_or_else(String::new, |before| format!(" (line {})", before.matches('\n').count() + 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn book(more: &str) -> String {
        let good = "[[model]]\nid = \"good\"\ncontext = 1\nmax_output = 1\n";
        format!("provider = \"p\"\n{good}[[model]]\nid = \"m\"\ncontext = 8\nmax_output = 8\n{more}")
    }

    fn refused(more: &str) -> String {
        let Err(wrong) = read(&book(more)) else { panic!("{more} was read") };
        assert_eq!(wrong.entry.as_deref(), Some("m"), "{}", wrong.what);
        wrong.what
    }

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    #[test]
    fn what_is_misspelt_absurd_or_contradicts_itself_is_refused_by_its_entry() {
        assert!(refused("prise = { input = \"1\", output = \"2\" }").contains("unknown field `prise`"));
        assert!(refused("price = { input = \"1\", outputs = \"2\" }").contains("unknown field `outputs`"));
        assert!(refused("price = { input = \"1\", output = \"2\", batch = { imput = \"1\" } }").contains("imput"));
        assert!(refused("price = { input = \"1\", output = \"-2\" }").contains("absurd"));
        assert!(refused("price = { input = \"1\" }").contains("go together"));
        assert!(refused("price = { per_million = { \"tokens.inputs\" = \"1\" } }").contains("tokens.inputs"));
        assert!(refused("task = \"chatting\"").contains("`chatting` is no task"));
        assert!(refused("date = \"yesterday\"").contains("must be a date"));
        assert!(refused("ends = \"soon\"").contains("must be a date"));
        assert!(refused("id = \"n\"").contains("duplicate key"));
        assert!(refused("[[model.change]]\nvalid_from = \"2027-01-01\"").contains("price"));
        let two = "[[model.change]]\nvalid_from = \"2027-01-01\"\nprice = { input = \"1\", output = \"2\" }\n";
        assert!(refused(&two.repeat(2)).contains("after the one before"));
        let needed = "[[model]]\nid = \"n\"\nprice = { input = \"1\", output = \"2\" }";
        assert!(read(&book(needed)).is_err_and(|wrong| wrong.entry.as_deref() == Some("n")));
        assert!(read(&book("[[model]]\nid = \"m\"")).is_err_and(|wrong| wrong.what == "is there twice"));
        assert!(read("provider = \"a/b\"").is_err() && read("").is_err());
        assert_eq!(read(&book("")).ok().unwrap()[1].price, None);
    }

    #[test]
    fn an_announced_price_is_in_force_from_its_second_on_and_not_before() {
        let row = |number: u8| format!("price = {{ input = \"{number}\", output = \"{number}\" }}\n");
        let change = |from: &str, number: u8| format!("[[model.change]]\nvalid_from = \"{from}\"\n{}", row(number));
        let text = row(1) + &change("2027-01-01T00:00:00Z", 2) + &change("2027-02-01", 3);
        let model = read(&book(&text)).ok().unwrap().remove(1);
        let input = |now: &str| model.price_at(at(now)).unwrap().rate(billing::quantity::Key::INPUT).unwrap();
        assert_eq!(input("2026-12-31T23:59:59Z").million_text(), "1.00");
        assert_eq!(input("2027-01-01T00:00:00Z").million_text(), "2.00");
        assert_eq!(input("2027-01-31T23:59:59Z").million_text(), "2.00");
        assert_eq!(input("2030-01-01").million_text(), "3.00");
        assert_eq!(model.about.next(at("2027-01-01")).map(|next| next.valid_from), Some(at("2027-02-01")));
        // A model that begins with a change has no price before.
        let model = read(&book(&change("2027-01-01", 2))).ok().unwrap().remove(1);
        assert!(model.price_at(at("2026-12-31T23:59:59Z")).is_none() && model.price_at(at("2027-01-01")).is_some());
    }

    #[test]
    fn a_disputed_price_is_none() {
        let text = "disputed = \"two say two things\"\nprice = { input = \"1\", output = \"2\" }";
        let model = read(&book(text)).ok().unwrap().remove(1);
        assert!(model.price.is_some() && model.price_at(at("2026-11-28")).is_none());
    }
}
