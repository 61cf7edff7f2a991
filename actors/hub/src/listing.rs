//! What a repository has at a commit, from the hub's answer. Every file has a name that stays in its folder, a size and a
//! checksum; one without them is refused, for nothing could be held against what comes.

use serde::Deserialize;

use crate::{HubError, Sum};

/// The most files of a repository.
const MOST_FILES: usize = 20_000;
/// The most bytes of one part of a file's name, and of the whole name.
const LONGEST_PART: usize = 200;
const LONGEST_PATH: usize = 1_000;

/// A repository at a commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Repository {
    /// `OWNER/NAME`.
    pub id: String,
    /// The commit that the revision meant when it was asked for: 40 hexadecimal digits.
    pub commit: String,
    /// The files, by name.
    pub files: Vec<RemoteFile>,
}

/// A file of a repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RemoteFile {
    /// Its path in the repository, with slashes.
    pub path: String,
    /// Its size in bytes.
    pub bytes: u64,
    /// Its checksum.
    pub sum: Sum,
}

#[derive(Deserialize)]
struct Told {
    sha: String,
    siblings: Vec<Sibling>,
}

#[derive(Deserialize)]
struct Sibling {
    rfilename: String,
    size: Option<u64>,
    #[serde(rename = "blobId")]
    blob: Option<String>,
    lfs: Option<Large>,
}

#[derive(Deserialize)]
struct Large {
    sha256: String,
    size: u64,
}

impl Repository {
    /// Reads the hub's answer about a repository.
    pub(crate) fn read(id: &str, answer: &[u8]) -> Result<Self, HubError> {
        let told: Told = serde_json::from_slice(answer).map_err(|error| HubError::Answer(error.to_string()))?;
        let commit = Sum::of_git(&told.sha).ok_or_else(|| HubError::Answer("it names no commit".to_owned()))?;
        if told.siblings.len() > MOST_FILES {
            let count = told.siblings.len();
            return Err(HubError::TooLarge(format!("{id} has {count} files; {MOST_FILES} are the most")));
        }
        let mut files = told.siblings.into_iter().map(file).collect::<Result<Vec<_>, _>>()?;
        files.sort_by(|a, b| a.path.cmp(&b.path));
        if let Some(pair) = files.windows(2).find(|pair| pair[0].path == pair[1].path) {
            return Err(HubError::Answer(format!("{} is there twice", pair[0].path)));
        }
        Ok(Self { id: id.to_owned(), commit: commit.digits().to_owned(), files })
    }
}

fn file(told: Sibling) -> Result<RemoteFile, HubError> {
    let path = told.rfilename;
    if !stays_in_folder(&path) {
        return Err(HubError::Name(path.chars().take(LONGEST_PART).collect()));
    }
    let (bytes, sum) = match told.lfs {
        Some(large) => (Some(large.size), Sum::of_sha256(&large.sha256)),
        None => (told.size, told.blob.as_deref().and_then(Sum::of_git)),
    };
    match (bytes, sum) {
        (Some(bytes), Some(sum)) => Ok(RemoteFile { path, bytes, sum }),
        _ => Err(HubError::Answer(format!("it tells no size or no checksum of {path}"))),
    }
}

/// Whether a file's name is one within its folder, and one that this system can keep.
fn stays_in_folder(path: &str) -> bool {
    let is_part = |part: &str| {
        (1..=LONGEST_PART).contains(&part.len())
            && part != "."
            && part != ".."
            && !part.chars().any(|c| c.is_control() || matches!(c, '\\' | ':'))
    };
    path.len() <= LONGEST_PATH && path.split('/').all(is_part)
}

#[cfg(test)]
mod tests {
    use super::*;

    const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

    fn read(siblings: &str) -> Result<Repository, HubError> {
        let answer = format!(r#"{{"id":"o/n","sha":"{COMMIT}","gated":false,"siblings":{siblings}}}"#);
        Repository::read("o/n", answer.as_bytes())
    }

    fn named(path: &str) -> String {
        serde_json::json!([{"rfilename": path, "size": 1, "blobId": COMMIT}]).to_string()
    }

    #[test]
    fn files_have_a_size_and_a_checksum() {
        let sha = "a".repeat(64);
        let large = format!(r#"{{"rfilename":"z.gguf","size":9,"blobId":"x","lfs":{{"sha256":"{sha}","size":9}}}}"#);
        let small = format!(r#"{{"rfilename":"onnx/a.json","size":2,"blobId":"{COMMIT}"}}"#);
        let found = read(&format!("[{large},{small}]")).unwrap();
        let expected = [
            RemoteFile { path: "onnx/a.json".into(), bytes: 2, sum: Sum::Git(COMMIT.into()) },
            RemoteFile { path: "z.gguf".into(), bytes: 9, sum: Sum::Sha256(sha) },
        ];
        assert_eq!((found.commit.as_str(), found.files.as_slice()), (COMMIT, &expected[..]));
        for bare in
            [r#"[{"rfilename":"a"}]"#, r#"[{"rfilename":"a","size":1}]"#, r#"[{"rfilename":"a","blobId":"00"}]"#]
        {
            assert!(matches!(read(bare), Err(HubError::Answer(_))), "{bare}");
        }
        assert!(matches!(Repository::read("o/n", b"<html>"), Err(HubError::Answer(_))));
        assert!(matches!(Repository::read("o/n", br#"{"sha":"main","siblings":[]}"#), Err(HubError::Answer(_))));
    }

    #[test]
    fn no_name_leaves_the_folder() {
        for path in ["a", "onnx/model.onnx", ".gitattributes", "a b/ü.json", "..a/b.."] {
            assert!(read(&named(path)).is_ok(), "{path}");
        }
        let (long, deep) = ("x".repeat(201), "a/".repeat(500) + "a");
        for path in [
            "../a",
            "a/../b",
            "/etc/passwd",
            "a//b",
            "a/",
            "",
            ".",
            "a/./b",
            "a\\..\\b",
            "C:x",
            "a\0b",
            "a\nb",
            &long,
            &deep,
        ] {
            assert!(matches!(read(&named(path)), Err(HubError::Name(_))), "{path:?}");
        }
        let twice = named("a").replace(['[', ']'], "");
        assert!(matches!(read(&format!("[{twice},{twice}]")), Err(HubError::Answer(_))));
    }
}
