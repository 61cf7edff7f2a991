//! The versions of the price book, as operators see them.

use std::collections::BTreeSet;

use billing::Timestamp;

use super::{Service, ServiceError};

/// The most lines of a difference.
const MOST_LINES: usize = 200;

/// A version of the price book.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Version {
    /// Its number.
    pub version: i64,
    /// Its text's hash.
    pub hash: String,
    /// Since when it was in force.
    pub at: Timestamp,
    /// The length of its text.
    pub characters: i64,
}

/// All versions, the first one first.
///
/// # Errors
///
/// The ledger can't be read just now ([`NotReady`](ServiceError::NotReady)); try again.
pub async fn versions(service: &Service) -> Result<Vec<Version>, ServiceError> {
    let versions = service.ledger().price_versions().await?.into_iter();
    let version = |it: ledger::prices::PriceVersion| Version {
        version: it.version,
        hash: it.hash,
        at: it.at,
        characters: it.characters,
    };
    Ok(versions.map(version).collect())
}

/// The lines that the newest version added (`+`) and took away (`-`).
///
/// # Errors
///
/// As for [`versions`].
pub async fn last_differences(
    service: &Service,
    versions: &[Version],
) -> Result<Vec<(&'static str, String)>, ServiceError> {
    let [.., before, after] = versions else { return Ok(Vec::new()) };
    let ledger = service.ledger();
    let [before, after] = [ledger.price_book(before.version).await?, ledger.price_book(after.version).await?];
    Ok(differences(&before.unwrap_or_default(), &after.unwrap_or_default()))
}

/// Lines of one text alone, under the section that they stand in: a book's order means nothing.
fn differences(before: &str, after: &str) -> Vec<(&'static str, String)> {
    let lines = |text: &str| {
        let mut found: BTreeSet<(String, String)> = BTreeSet::new();
        let mut section = String::new();
        for line in text.lines().map(str::trim).filter(|line| !line.is_empty()) {
            if line.starts_with('[') {
                line.clone_into(&mut section);
            }
            found.insert((section.clone(), line.to_owned()));
        }
        found
    };
    let (before, after) = (lines(before), lines(after));
    let told = |(section, line): &(String, String)| {
        if section == line || section.is_empty() { line.clone() } else { format!("{section} {line}") }
    };
    let gone = before.iter().filter(|line| !after.contains(*line)).map(|line| ("-", told(line)));
    let new = after.iter().filter(|line| !before.contains(*line)).map(|line| ("+", told(line)));
    gone.chain(new).take(MOST_LINES).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_compared_within_their_section() {
        let before = "[a]\ninput = \"1\"\noutput = \"2\"\n\n[b]\ninput = \"1\"\n";
        let after = "[b]\ninput = \"1\"\n[a]\ninput = \"3\"\noutput = \"2\"\n[c]\n";
        let found = differences(before, after);
        let lines: Vec<_> = found.iter().map(|(sign, line)| format!("{sign} {line}")).collect();
        assert_eq!(lines, ["- [a] input = \"1\"", "+ [a] input = \"3\"", "+ [c]"]);
        assert!(differences(before, before).is_empty());
    }
}
