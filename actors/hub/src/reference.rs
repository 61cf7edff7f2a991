//! How a model of a hub is named: `hf:OWNER/NAME`, with a revision behind `@` and a file, a pattern or a quantization
//! behind `:`. Names are those that the hub itself allows, so none can be part of another path.

use std::{fmt, str::FromStr};

use crate::HubError;

/// The most bytes of each part of a repository's name, as on the hub.
const LONGEST_NAME: usize = 96;
/// The most bytes of a revision, and of what is chosen.
const LONGEST_REST: usize = 255;

/// A repository of a hub, at a revision, and what is wanted of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reference {
    /// `OWNER/NAME`, or `NAME` alone for the oldest ones.
    pub repository: String,
    /// A branch, a tag or a commit; the main branch where none is named.
    pub revision: Option<String>,
    /// A file, a pattern with `*`, or a quantization's name.
    pub choice: Option<String>,
}

impl Reference {
    /// The beginning that tells such a name from a file's.
    pub const SCHEME: &'static str = "hf:";

    /// The repository's own name, without its owner.
    pub fn name(&self) -> &str {
        self.repository.rsplit('/').next().unwrap_or_default()
    }
}

impl FromStr for Reference {
    type Err = HubError;

    fn from_str(text: &str) -> Result<Self, HubError> {
        let refused = || HubError::Reference(text.chars().take(LONGEST_REST).collect());
        let rest = text.strip_prefix(Self::SCHEME).ok_or_else(refused)?;
        let (rest, choice) = rest.split_once(':').map_or((rest, None), |(rest, choice)| (rest, Some(choice)));
        let (repository, revision) = rest.split_once('@').map_or((rest, None), |(name, at)| (name, Some(at)));
        let parts: Vec<&str> = repository.split('/').collect();
        let is_sound = (1..=2).contains(&parts.len()) && parts.iter().all(|part| is_name(part));
        let is_rest = |text: &str| (1..=LONGEST_REST).contains(&text.len()) && !text.chars().any(char::is_control);
        if !is_sound || !revision.is_none_or(|at| is_rest(at) && !at.contains("..")) || !choice.is_none_or(is_rest) {
            return Err(refused());
        }
        let (revision, choice) = (revision.map(str::to_owned), choice.map(str::to_owned));
        Ok(Self { repository: repository.to_owned(), revision, choice })
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", Self::SCHEME, self.repository)?;
        if let Some(revision) = &self.revision {
            write!(f, "@{revision}")?;
        }
        match &self.choice {
            Some(choice) => write!(f, ":{choice}"),
            None => Ok(()),
        }
    }
}

/// Whether a text is a part of a repository's name.
fn is_name(text: &str) -> bool {
    let is_letter = |c: char| c.is_ascii_alphanumeric() || "-._".contains(c);
    (1..=LONGEST_NAME).contains(&text.len())
        && text.chars().all(is_letter)
        && !text.starts_with(['-', '.'])
        && !text.ends_with(['-', '.'])
        && !text.contains("..")
        && !text.contains("--")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_has_a_repository_a_revision_and_a_choice() {
        let read = |text: &str| {
            let read: Reference = text.parse().unwrap();
            assert_eq!(read.to_string(), text);
            (read.repository, read.revision.unwrap_or_default(), read.choice.unwrap_or_default())
        };
        let own = |a: &str, b: &str, c: &str| (a.to_owned(), b.to_owned(), c.to_owned());
        assert_eq!(read("hf:org/some-model_1.5"), own("org/some-model_1.5", "", ""));
        assert_eq!(read("hf:gpt2@v1.0"), own("gpt2", "v1.0", ""));
        assert_eq!(read("hf:o/n@refs/pr/1:onnx/model.onnx"), own("o/n", "refs/pr/1", "onnx/model.onnx"));
        assert_eq!(read("hf:o/n:Q4_K_M"), own("o/n", "", "Q4_K_M"));
        assert_eq!("hf:o/n".parse::<Reference>().unwrap().name(), "n");
    }

    #[test]
    fn what_could_be_another_path_is_no_name() {
        let long = format!("hf:o/{}", "n".repeat(97));
        for text in [
            "o/n",
            "hf:",
            "hf:/n",
            "hf:o/",
            "hf:a/b/c",
            "hf:../n",
            "hf:o/..",
            "hf:.o/n",
            "hf:o/n?x",
            "hf:o/a b",
            "hf:o/n%2e",
            "hf:o/n@",
            "hf:o/n:",
            "hf:o/n@a/../b",
            "hf:o/a--b",
            "hf:o\\n",
            "hf:o/n@a\nb",
            &long,
        ] {
            assert!(matches!(text.parse::<Reference>(), Err(HubError::Reference(_))), "{text}");
        }
    }
}
