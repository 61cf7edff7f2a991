//! A model in several files, as `llama-gguf-split` writes them: `NAME-00001-of-00003.gguf` and so on. The first has the
//! metadata, each has tensors of its own, and all say which part they are. Any part stands for the whole model. What is
//! missing, or contradicts another part, is refused with its name.

use std::fs::File;
use std::io::BufReader;
use std::path::{Path, PathBuf};

use super::{Gguf, GgufError};

/// The most parts of a model.
const MOST_PARTS: u64 = 999;

/// A part's place: its number, from 1, and the number of parts.
pub type Place = (u64, u64);

/// A file's name without the part that it is: `NAME` of `NAME-00001-of-00003`.
pub fn whole_name(stem: &str) -> &str {
    split_name(stem).map_or(stem, |(name, _)| name)
}

/// The name of a model and the place of a part, from the part's name: of `NAME-00001-of-00003` `NAME`, 1 and 3. `None`
/// where the name is not a part's.
pub fn split_name(stem: &str) -> Option<(&str, Place)> {
    let (before, count) = stem.rsplit_once("-of-")?;
    let (name, number) = before.rsplit_once('-')?;
    let read = |digits: &str| {
        let is_number = digits.len() == 5 && digits.bytes().all(|digit| digit.is_ascii_digit());
        is_number.then(|| digits.parse().ok()).flatten()
    };
    (!name.is_empty()).then_some((name, (read(number)?, read(count)?)))
}

/// Reads all parts of a model, of which `path` is the one that was named, and `place` what it says it is.
pub(super) fn join(path: &Path, place: Place) -> Result<Gguf, GgufError> {
    let (number, count) = place;
    let misnamed = || {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        GgufError::Part { name: name.into_owned(), part: number, count }
    };
    if count > MOST_PARTS {
        return Err(GgufError::Malformed(format!("a model of {count} parts; {MOST_PARTS} are the most")));
    }
    let stem = path.file_stem().and_then(|stem| stem.to_str()).ok_or_else(misnamed)?;
    let (name, _) = split_name(stem).filter(|(_, named)| *named == place).ok_or_else(misnamed)?;
    let of = |number: u64| path.with_file_name(format!("{name}-{number:05}-of-{count:05}.gguf"));
    let mut whole = read(&of(1), (1, count))?;
    for number in 2..=count {
        whole.append(read(&of(number), (number, count))?, number)?;
    }
    match whole.number("split.tensors.count") {
        Some(wanted) if wanted != whole.tensors().count() as u64 => {
            let found = whole.tensors().count();
            Err(GgufError::Malformed(format!("{found} tensors in all parts; split.tensors.count is {wanted}")))
        }
        Some(_) | None => Ok(whole),
    }
}

/// Reads a part, which must be the one that its name says.
fn read(path: &PathBuf, place: Place) -> Result<Gguf, GgufError> {
    let named = |error: GgufError| GgufError::InPart { path: path.clone(), source: Box::new(error) };
    let file = File::open(path).map_err(|error| named(error.into()))?;
    let part = Gguf::read_part(BufReader::new(file)).map_err(named)?;
    match part.place() {
        found if found == place => Ok(part),
        (number, count) => {
            Err(named(GgufError::Malformed(format!("it says that it is part {number} of {count} of a model"))))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_parts_name_says_which_it_is() {
        assert_eq!(split_name("a-b-00002-of-00010"), Some(("a-b", (2, 10))));
        for other in ["a-b", "a-2-of-3", "-00001-of-00002", "a-00001-of-0000x", "a-00001-of-+0002"] {
            assert_eq!(split_name(other), None, "{other}");
            assert_eq!(whole_name(other), other);
        }
        assert_eq!(whole_name("a-00001-of-00002"), "a");
    }
}
