//! The settings that an import comes to, and their text.

use std::fmt::Write as _;

use crate::config::{KNOWN_PROVIDERS, Secret};

/// A key of a provider, as the other configuration has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Key {
    /// The key itself.
    Text(Secret),
    /// The variable that has it.
    Variable(String),
}

/// An address of a provider.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Address {
    /// The one that is known by the provider's name.
    Known,
    Text(String),
    /// A variable, and what follows its value.
    Variable(String, &'static str),
}

/// A provider to be set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Provider {
    pub(super) name: String,
    pub(super) address: Address,
    pub(super) format: Option<&'static str>,
    pub(super) key_header: Option<&'static str>,
    /// The keys, each with its weight.
    pub(super) keys: Vec<(Key, u32)>,
}

/// Settings.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Draft {
    pub(super) providers: Vec<Provider>,
    pub(super) aliases: Vec<String>,
    pub(super) retries: Option<u64>,
}

/// The longest name of a provider.
const LONGEST_NAME: usize = 32;

impl Draft {
    /// The name of the provider like this one, which is added where there is none: a name like `wanted`.
    pub(super) fn provider(&mut self, wanted: &str, like: Provider) -> String {
        let is_same = |known: &&mut Provider| {
            // What is known by its name has no address to tell it by.
            (like.address != Address::Known || known.name == wanted)
                && known.address == like.address
                && known.format == like.format
                && known.key_header == like.key_header
        };
        if let Some(known) = self.providers.iter_mut().find(is_same) {
            for (key, weight) in like.keys {
                if !known.keys.iter().any(|(other, _)| *other == key) {
                    known.keys.push((key, weight));
                }
            }
            return known.name.clone();
        }
        let wanted = plain(wanted);
        let is_free = |name: &str| {
            let is_known = KNOWN_PROVIDERS.contains(&name);
            (!is_known || like.address == Address::Known) && !self.providers.iter().any(|other| other.name == name)
        };
        let numbered = |number: u32| format!("{}_{number}", cut(&wanted, LONGEST_NAME - 4));
        let name = std::iter::once(wanted.clone()).chain((2..1_000).map(numbered)).find(|name| is_free(name));
        let name = name.unwrap_or_else(|| cut(&format!("x{wanted}"), LONGEST_NAME).to_owned());
        self.providers.push(Provider { name: name.clone(), ..like });
        name
    }

    /// Variables that must be set for these settings, each with the text that a shell gives it.
    pub(super) fn variables(&self) -> Vec<(String, String)> {
        let mut variables = Vec::new();
        for provider in &self.providers {
            let named = |field: &str| format!("FAREBOX_PROVIDERS__{}__{field}", provider.name.to_uppercase());
            if let Address::Variable(variable, rest) = &provider.address {
                variables.push((named("BASE_URL"), format!("\"${{{variable}%/}}{rest}\"")));
            }
            let is_one = provider.keys.len() == 1;
            let of_variables = provider.keys.iter().filter_map(|(key, weight)| match key {
                Key::Variable(variable) if is_one || *weight == 1 => Some(format!("${{{variable}}}")),
                Key::Variable(variable) => Some(format!("${{{variable}}}*{weight}")),
                Key::Text(_) => None,
            });
            let of_variables: Vec<String> = of_variables.collect();
            match &of_variables[..] {
                [] => {}
                [one] if is_one => variables.push((named("API_KEY"), format!("\"{one}\""))),
                many => variables.push((named("KEYS"), format!("\"{}\"", many.join(",")))),
            }
        }
        variables
    }

    /// The settings as a file of them.
    pub(super) fn toml(&self) -> String {
        let mut text = String::new();
        // Writing to a text can't fail.
        for provider in &self.providers {
            let Provider { name, address, format, key_header, keys } = provider;
            let _ = writeln!(text, "\n[providers.{name}]");
            match address {
                Address::Known => {}
                Address::Text(address) => put(&mut text, "base_url", address),
                Address::Variable(..) => text.push_str("# base_url: by the variable above\n"),
            }
            for (field, value) in [("format", format), ("key_header", key_header)] {
                if let Some(value) = value {
                    put(&mut text, field, value);
                }
            }
            let is_one = keys.len() == 1;
            let texts: Vec<&(Key, u32)> = keys.iter().filter(|(key, _)| matches!(key, Key::Text(_))).collect();
            if texts.len() < keys.len() {
                text.push_str("# its key: by the variable above\n");
            }
            // Several keys of which some are in variables: a variable of `keys` would take the place of all of them here.
            for (place, (key, weight)) in texts.iter().enumerate() {
                let Key::Text(key) = key else { continue };
                let key = key.expose();
                let weighed = if is_one || *weight == 1 { key.to_owned() } else { format!("{key}*{weight}") };
                match place {
                    0 => put(&mut text, "api_key", &weighed),
                    1 if texts.len() == keys.len() => {
                        let more = texts.iter().skip(1).map(|(key, weight)| match (key, weight) {
                            (Key::Text(key), 1) => quoted(key.expose()),
                            (Key::Text(key), weight) => quoted(&format!("{}*{weight}", key.expose())),
                            (Key::Variable(_), _) => String::new(),
                        });
                        let _ = writeln!(text, "keys = [{}]", more.collect::<Vec<_>>().join(", "));
                    }
                    _ => {}
                }
            }
            if let Some(retries) = self.retries {
                let _ = writeln!(text, "retries = {retries}");
            }
        }
        if !self.aliases.is_empty() {
            text.push_str("\n[routing]\naliases = [\n");
            for alias in &self.aliases {
                let _ = writeln!(text, "    {},", quoted(alias));
            }
            text.push_str("]\n");
        }
        text
    }

    /// Providers of which not all keys can be set: some are in variables and several in the file.
    pub(super) fn mixed(&self) -> impl Iterator<Item = &str> {
        let is_mixed = |provider: &&Provider| {
            let texts = provider.keys.iter().filter(|(key, _)| matches!(key, Key::Text(_))).count();
            texts > 1 && texts < provider.keys.len()
        };
        self.providers.iter().filter(is_mixed).map(|provider| &*provider.name)
    }
}

fn put(text: &mut String, field: &str, value: &str) {
    let _ = writeln!(text, "{field} = {}", quoted(value));
}

/// A text as TOML writes it.
pub(super) fn quoted(text: &str) -> String {
    toml::Value::String(text.to_owned()).to_string()
}

/// A name as a provider may have it, and as a variable too.
fn plain(name: &str) -> String {
    let letter = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '_' };
    let mut plain: String = name.chars().map(letter).collect();
    while plain.contains("__") {
        plain = plain.replace("__", "_");
    }
    let plain = cut(plain.trim_matches('_'), LONGEST_NAME).trim_end_matches('_').to_owned();
    if plain.is_empty() { "endpoint".to_owned() } else { plain }
}

/// At most so many letters, all of which are ASCII.
fn cut(text: &str, most: usize) -> &str {
    text.get(..most).unwrap_or(text)
}
