//! Where a model came from, and the checksums of its files, as its card keeps them. Sums are made and held against files by
//! those who call this: here they are texts.

use serde::{Deserialize, Serialize};

/// Where a model came from.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Source {
    /// A repository of a hub (`hf:OWNER/NAME`), or the name of a file or folder of this machine.
    pub from: String,
    /// The repository's commit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub commit: Option<String>,
    /// The files that it was made of.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub files: Vec<FileSum>,
}

/// A file and its checksum.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FileSum {
    /// The file's path in its folder, with slashes.
    pub name: String,
    /// Its size.
    pub bytes: u64,
    /// `sha256:` and hexadecimal digits; or `git:` and those of its git blob, as hubs tell it of small files.
    pub sum: String,
}

impl Source {
    /// The source in one word: the repository at its commit, which is shortened, or the file's name.
    pub fn shown(&self) -> String {
        match &self.commit {
            Some(commit) => format!("{}@{}", self.from, commit.get(..12).unwrap_or(commit)),
            None => self.from.clone(),
        }
    }
}
