//! The operator's own names for models: each stands for models in an order, of which the next is asked where one is not
//! served. The order is the list's (`NAME=MODEL>MODEL`), by weight (`NAME=MODEL*3|MODEL`), by price
//! (`NAME=cheapest MODEL|MODEL`), or by how soon each answers (`NAME=fastest MODEL|MODEL`).

use std::collections::BTreeMap;

/// The aliases, by name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Aliases(BTreeMap<String, Way>);

/// The models that a name stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Way {
    /// The models, as they are listed.
    pub models: Vec<String>,
    /// The order in which they are asked.
    pub by: By,
}

/// How the models of an alias are ordered for a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum By {
    /// As they are listed.
    Order,
    /// Each is the first for its share of the conversations.
    Weight(Vec<u32>),
    /// The one is the first that costs the least for the request.
    Price,
    /// The one is the first that answers soonest of late.
    Latency,
}

/// What stands before models of which the cheapest is asked, or the fastest.
const RANKED: [(&str, By); 2] = [("cheapest ", By::Price), ("fastest ", By::Latency)];
const FORM: &str = "is written NAME=MODEL>MODEL, NAME=MODEL*WEIGHT|MODEL*WEIGHT, NAME=cheapest MODEL|MODEL or \
                    NAME=fastest MODEL|MODEL";

/// What stands in no name: where it does, a list was written as another.
const NEVER: [char; 8] = ['"', '\'', '`', '[', ']', '{', '}', ','];

/// An alias that can't be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` {message}")]
pub struct BadAlias {
    /// The alias as written.
    pub text: String,
    /// What is wrong with it.
    pub message: &'static str,
}

impl Aliases {
    /// Reads a list of aliases.
    ///
    /// # Errors
    ///
    /// The first that is not of the form, or whose name comes twice.
    pub fn read(texts: &[String]) -> Result<Self, BadAlias> {
        let mut all = BTreeMap::new();
        for text in texts {
            let bad = |message| BadAlias { text: text.clone(), message };
            let (name, models) = text.split_once('=').ok_or_else(|| bad(FORM))?;
            if text.contains(NEVER) || text.contains(char::is_control) {
                return Err(bad("has a character that no model's name has"));
            }
            let name = name.trim();
            let way = Way::read(models.trim()).filter(|_| !name.is_empty()).ok_or_else(|| bad(FORM))?;
            if way.models.iter().any(|model| model == name) {
                return Err(bad("stands for itself"));
            }
            if all.insert(name.to_owned(), way).is_some() {
                return Err(bad("has the name of another alias"));
            }
        }
        let is_alias = |way: &&Way| way.models.iter().any(|model| all.contains_key(model));
        if let Some((name, _)) = all.iter().find(|(_, way)| is_alias(way)) {
            return Err(BadAlias { text: name.clone(), message: "stands for another alias" });
        }
        Ok(Self(all))
    }

    /// What a name stands for, where it is an alias.
    pub fn way(&self, name: &str) -> Option<&Way> {
        self.0.get(name)
    }

    /// What all the names stand for.
    pub fn ways(&self) -> impl Iterator<Item = &Way> {
        self.0.values()
    }

    /// The model that a name stands for: itself, where it is no alias.
    pub fn model<'a>(&'a self, name: &'a str) -> &'a str {
        self.0.get(name).and_then(|way| way.models.first()).map_or(name, String::as_str)
    }

    /// Each alias, with the model that it stands for.
    pub fn all(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().filter_map(|(name, way)| Some((&**name, &**way.models.first()?)))
    }
}

impl Way {
    fn read(text: &str) -> Option<Self> {
        let name = |text: &str| {
            let name = text.trim();
            let is_name = !name.is_empty() && !name.contains(['>', '|', '*', ' ']);
            is_name.then(|| name.to_owned())
        };
        for (word, by) in RANKED {
            if text == word.trim_end() {
                return None;
            }
            if let Some(models) = text.strip_prefix(word) {
                return Some(Self { models: models.split('|').map(name).collect::<Option<_>>()?, by });
            }
        }
        if !text.contains(['|', '*']) {
            return Some(Self { models: text.split('>').map(name).collect::<Option<_>>()?, by: By::Order });
        }
        let weighed = text.split('|').map(|part| match part.split_once('*') {
            None => Some((name(part)?, 1)),
            Some((model, weight)) => Some((name(model)?, weight.trim().parse().ok().filter(|weight| *weight > 0)?)),
        });
        let (models, weights) = weighed.collect::<Option<Vec<_>>>()?.into_iter().unzip();
        Some(Self { models, by: By::Weight(weights) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(texts: &[&str]) -> Result<Aliases, &'static str> {
        let texts: Vec<_> = texts.iter().map(|text| (*text).to_owned()).collect();
        Aliases::read(&texts).map_err(|bad| bad.message)
    }

    #[test]
    fn a_name_stands_for_a_model_and_those_after_it() {
        let aliases = of(&["fast=gpt-5-mini > claude-haiku-4-5>gemini-3.8-flash", " best = claude-opus-5-5 "]).unwrap();
        assert_eq!(
            (aliases.model("fast"), aliases.model("best"), aliases.model("x")),
            ("gpt-5-mini", "claude-opus-5-5", "x")
        );
        let way = |text: &str| of(&[text]).unwrap().way("a").cloned().unwrap();
        let models = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        assert_eq!(aliases.way("fast").unwrap().by, By::Order);
        assert_eq!(
            aliases.way("fast").unwrap().models,
            models(&["gpt-5-mini", "claude-haiku-4-5", "gemini-3.8-flash"])
        );
        assert_eq!(way("a=b*3 | c/d"), Way { models: models(&["b", "c/d"]), by: By::Weight(vec![3, 1]) });
        assert_eq!(way("a=cheapest b|c"), Way { models: models(&["b", "c"]), by: By::Price });
        assert_eq!(way("a=fastest b|c"), Way { models: models(&["b", "c"]), by: By::Latency });
        assert_eq!(aliases.way("x"), None);
    }

    #[test]
    fn what_is_no_alias_is_refused() {
        for texts in [
            &["fast"][..],
            &["=m"],
            &["fast="],
            &["fast=a>"],
            &["a=a"],
            &["a=b>a"],
            &["a=b", "a=c"],
            &["a=b", "b=c"],
            &["a=b|"],
            &["a=b*0|c"],
            &["a=b*x|c"],
            &["a=b>c|d"],
            &["a=cheapest "],
            &["a=fastest "],
            &["a=fastest b>c"],
            &["a=dearest b|c"],
            &["[\"fast=a\"]"],
            &["[\"fast=a", "\"slow=b\"]"],
            &["fast='a'"],
            &["fast=a\tb"],
        ] {
            assert!(of(texts).is_err(), "{texts:?}");
        }
    }
}
