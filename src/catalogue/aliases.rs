//! The operator's own names for models: each stands for one model, and for those that are asked where that one is not
//! served. Written `NAME=MODEL>MODEL`.

use std::collections::BTreeMap;

/// The aliases, by name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Aliases(BTreeMap<String, Vec<String>>);

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
            let (name, models) =
                text.split_once('=').ok_or_else(|| bad("is written NAME=MODEL or NAME=MODEL>MODEL"))?;
            let models: Vec<String> = models.split('>').map(|model| model.trim().to_owned()).collect();
            let name = name.trim();
            if name.is_empty() || models.iter().any(String::is_empty) {
                return Err(bad("is written NAME=MODEL or NAME=MODEL>MODEL"));
            }
            if models.iter().any(|model| model == name) {
                return Err(bad("stands for itself"));
            }
            if all.insert(name.to_owned(), models).is_some() {
                return Err(bad("has the name of another alias"));
            }
        }
        Ok(Self(all))
    }

    /// The model that a name stands for: itself, where it is no alias.
    pub fn model<'a>(&'a self, name: &'a str) -> &'a str {
        self.0.get(name).and_then(|models| models.first()).map_or(name, String::as_str)
    }

    /// Each alias, with the model that it stands for.
    pub fn all(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().filter_map(|(name, models)| Some((&**name, &**models.first()?)))
    }

    /// The models that are asked after the first one.
    pub fn others(&self, name: &str) -> &[String] {
        self.0.get(name).and_then(|models| models.get(1..)).unwrap_or_default()
    }

    /// Whether a name is an alias.
    pub fn has(&self, name: &str) -> bool {
        self.0.contains_key(name)
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
        assert_eq!(aliases.others("fast"), ["claude-haiku-4-5", "gemini-3.8-flash"]);
        assert!(aliases.others("best").is_empty() && aliases.others("x").is_empty() && !aliases.has("x"));
    }

    #[test]
    fn what_is_no_alias_is_refused() {
        for texts in [&["fast"][..], &["=m"], &["fast="], &["fast=a>"], &["a=a"], &["a=b>a"], &["a=b", "a=c"]] {
            assert!(of(texts).is_err(), "{texts:?}");
        }
    }
}
