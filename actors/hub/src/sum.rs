//! The checksums by which a hub names its files: SHA-256 of large files, and git's own (SHA-1 of a header and the bytes) of
//! small ones. Git's is no proof against one who makes two files of one sum, so it stands beside the commit that the list
//! came from.

use std::{
    fmt,
    fs::File,
    io::{self, Read as _},
    path::Path,
};

use ring::digest::{Context, SHA1_FOR_LEGACY_USE_ONLY, SHA256};

/// A checksum, in small hexadecimal digits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Sum {
    /// SHA-256.
    Sha256(String),
    /// The name of a git blob.
    Git(String),
}

impl Sum {
    /// A SHA-256 in hexadecimal digits.
    pub fn of_sha256(text: &str) -> Option<Self> {
        digits(text, 64).map(Self::Sha256)
    }

    /// A git blob's name in hexadecimal digits.
    pub fn of_git(text: &str) -> Option<Self> {
        digits(text, 40).map(Self::Git)
    }

    /// The digits.
    pub fn digits(&self) -> &str {
        match self {
            Self::Sha256(digits) | Self::Git(digits) => digits,
        }
    }

    /// The sum of the same kind of a file.
    pub(crate) fn of_file(&self, path: &Path) -> io::Result<Self> {
        let mut file = File::open(path)?;
        Ok(match self {
            Self::Sha256(_) => Self::Sha256(read(Context::new(&SHA256), &mut file)?),
            Self::Git(_) => {
                let mut context = Context::new(&SHA1_FOR_LEGACY_USE_ONLY);
                context.update(format!("blob {}\0", file.metadata()?.len()).as_bytes());
                Self::Git(read(context, &mut file)?)
            }
        })
    }
}

impl fmt::Display for Sum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self {
            Self::Sha256(_) => "sha256",
            Self::Git(_) => "git",
        };
        write!(f, "{kind}:{}", self.digits())
    }
}

/// The SHA-256 of a file, in small hexadecimal digits.
///
/// # Errors
///
/// The file can't be read.
pub fn sha256(path: &Path) -> io::Result<String> {
    read(Context::new(&SHA256), &mut File::open(path)?)
}

fn read(mut context: Context, file: &mut File) -> io::Result<String> {
    let mut piece = vec![0; 1 << 20];
    loop {
        match file.read(&mut piece)? {
            0 => break,
            count => context.update(&piece[..count]),
        }
    }
    let digit = |half: u8| char::from_digit(u32::from(half), 16).unwrap_or_default();
    Ok(context.finish().as_ref().iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect())
}

fn digits(text: &str, count: usize) -> Option<String> {
    let is_sum = text.len() == count && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    is_sum.then(|| text.to_ascii_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_are_those_that_git_and_sha256sum_tell() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("f");
        std::fs::write(&file, "hello\n").unwrap();
        let git = Sum::of_git("CE013625030BA8DBA906F756967F9E9CA394464A").unwrap();
        assert_eq!(git.of_file(&file).unwrap(), git);
        let large = Sum::of_sha256("5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03").unwrap();
        assert_eq!(large.of_file(&file).unwrap(), large);
        assert_eq!(sha256(&file).unwrap(), large.digits());
        assert_eq!(Sum::of_git("ce01"), None);
        assert_eq!(Sum::of_sha256(&"g".repeat(64)), None);
    }
}
