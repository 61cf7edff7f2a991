//! Other projects' public price lists, as sources of the price book: [`litellm`] and [`genai`] read theirs, [`merge`]
//! brings what was read together with the entries that there are. What a list says is never believed where another one
//! contradicts it, and never goes over a person's words. Numbers are read from their text, not through floats.

pub mod genai;
pub mod litellm;
pub mod merge;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use billing::{Timestamp, price::Rate, quantity::Key};
use wire::inference::Task;

/// The providers whose models are read from lists.
pub const PROVIDERS: [&str; 5] = ["anthropic", "cohere", "google", "mistral", "openai"];

/// The rates of a price, by key.
pub type Rates = BTreeMap<Key, Rate>;

/// What a list says.
#[derive(Debug)]
pub struct Reading {
    /// The list's name, and its version where that is known: `litellm 1.110.2`.
    pub name: String,
    /// Its models of our providers.
    pub models: Vec<Listed>,
    /// The models that are left out, with the reason.
    pub skipped: Vec<(String, String)>,
}

/// A model of a list.
#[derive(Debug)]
pub struct Listed {
    /// Our name of the provider.
    pub provider: &'static str,
    /// The model's name at the provider.
    pub id: String,
    /// Other names of it.
    pub aliases: Vec<String>,
    /// The task; `None` where the list doesn't say.
    pub task: Task,
    /// The most tokens that it reads and writes, and that it writes; 0 where the list doesn't say.
    pub context: u32,
    /// The most tokens that it writes; 0 where the list doesn't say.
    pub max_output: u32,
    /// The rates that are in force.
    pub rates: Rates,
    /// The rates to come, each with its time.
    pub changes: Vec<(Timestamp, Rates)>,
    /// When the provider ends it.
    pub ends: Option<Timestamp>,
    /// Whether the provider advises against it.
    pub deprecated: bool,
    /// Why the price is not usable, though there is one.
    pub doubt: Option<String>,
}

/// A list that can't be read.
#[derive(Debug, thiserror::Error)]
pub enum ListError {
    /// It is not JSON of this list's form.
    #[error("this is not a price list of {0}: {1}")]
    Format(&'static str, serde_json::Error),
    /// A version can't stand in an entry's source.
    #[error("a list's name has letters, digits, dots, hyphens and single spaces, not {0:?}")]
    Name(String),
}

/// Whether a name is one of a model that anyone can call: not a fine-tuned one's pattern, nor a way of writing its size.
fn is_callable(id: &str) -> bool {
    let is_plain = id.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._@".contains(&byte));
    is_plain && !id.is_empty() && !id.starts_with("ft-") && !id.ends_with('-') && !id.contains(".ft-")
}

/// Leaves out what is the same thing in another unit, so that nothing is charged twice: tokens go before characters,
/// seconds and images of the same direction, and nothing costs nothing beside a unit that has a price.
fn without_alternatives(rates: &mut Rates) {
    use billing::quantity::Kind;
    let has_tokens =
        |rates: &Rates, like: Key| rates.iter().any(|(key, rate)| key.is_tokens(like.direction) && !rate.is_zero());
    let all = rates.clone();
    rates.retain(|key, _| match key.kind {
        Kind::Characters | Kind::Milliseconds | Kind::Images => !has_tokens(&all, *key),
        _ => true,
    });
    let has_other = rates.iter().any(|(key, rate)| key.kind != Kind::Tokens && is_work(key.kind) && !rate.is_zero());
    let has_paid_tokens = rates.iter().any(|(key, rate)| key.kind == Kind::Tokens && !rate.is_zero());
    if has_other && !has_paid_tokens {
        rates.retain(|key, _| key.kind != Kind::Tokens);
    }
}

/// Whether a unit is a model's own work, and not a tool's.
const fn is_work(kind: billing::quantity::Kind) -> bool {
    use billing::quantity::Kind;
    match kind {
        Kind::Tokens
        | Kind::Characters
        | Kind::Images
        | Kind::Milliseconds
        | Kind::Pages
        | Kind::AnnotatedPages
        | Kind::Requests
        | Kind::SearchUnits => true,
        Kind::ComputeSeconds | Kind::WebSearches | Kind::WebFetches | Kind::FileSearches | Kind::Containers => false,
    }
}

/// Why a model of a list is left aside that says nothing of what its work costs.
const NO_PRICE: &str = "it has no price";

/// Why rates are no price: nothing has one, or all of it is free.
fn doubt(rates: &Rates) -> Option<&'static str> {
    let mut work = rates.iter().filter(|(key, _)| is_work(key.kind)).peekable();
    if work.peek().is_none() {
        return Some(NO_PRICE);
    }
    work.all(|(_, rate)| rate.is_zero()).then_some("it costs nothing")
}

/// The name of a list with its version, as it stands in entries.
fn named(list: &'static str, version: Option<&str>) -> Result<String, ListError> {
    let name = version.map_or_else(|| list.to_owned(), |version| format!("{list} {version}"));
    let is_plain = |letter: char| letter.is_ascii_alphanumeric() || "-._ ".contains(letter);
    if name.chars().all(is_plain) && !name.ends_with(' ') { Ok(name) } else { Err(ListError::Name(name)) }
}
