//! The names nearest to an unknown name, by edit distance.

/// Longer names are not compared.
const LONGEST: usize = 64;
/// The most names suggested.
const MOST: usize = 3;

/// The nearest names, best first, without names of which more than half differs.
pub(crate) fn nearest<'a>(name: &str, names: impl Iterator<Item = &'a str>) -> Vec<String> {
    if name.len() > LONGEST {
        return Vec::new();
    }
    let mut found: Vec<_> = names
        .map(|other| (strsim::levenshtein(name, other), other))
        .filter(|(distance, other)| *distance * 2 <= name.len().max(other.len()))
        .collect();
    found.sort_unstable();
    found.into_iter().take(MOST).map(|(_, other)| other.to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_names_are_told() {
        assert_eq!(nearest("gpt-4", ["gpt-4o", "o3", "gpt-5"].into_iter()), ["gpt-4o", "gpt-5"]);
        assert!(nearest(&"x".repeat(65), ["x"].into_iter()).is_empty());
    }
}
