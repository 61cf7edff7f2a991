//! Which of a provider's keys a call uses. Requests of one conversation keep to one key, because a provider's cache
//! belongs to a key's account: weighted rendezvous hashing (Thaler and Ravishankar, "Using name-based mappings to
//! increase hit rates"; weights as by Mosko). A key that is refused hands over to the next in the order. Pure.

use std::hash::{DefaultHasher, Hash, Hasher};

/// A provider's key, with its share of the calls relative to others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WeightedKey {
    /// The key.
    pub key: String,
    /// The weight, at least 1.
    pub weight: u32,
}

impl WeightedKey {
    /// Reads `KEY` or `KEY*WEIGHT`; `None` where the weight is not a whole number from 1.
    pub fn parse(text: &str) -> Option<Self> {
        let (key, weight) = match text.rsplit_once('*') {
            Some((key, weight)) => (key, weight.parse().ok().filter(|weight| *weight >= 1)?),
            None => (text, 1),
        };
        (!key.is_empty()).then(|| Self { key: key.to_owned(), weight })
    }
}

/// The places of the keys, in the order in which requests with this affinity use them.
pub(super) fn order(keys: &[WeightedKey], affinity: u64) -> Vec<usize> {
    if keys.len() < 2 {
        return (0..keys.len()).collect();
    }
    shares(keys.iter().map(|key| (&*key.key, key.weight)), affinity)
}

/// The places of names with weights, in the order that an affinity gives them. Each is the first for its share of all
/// affinities.
pub fn shares<'a>(named: impl Iterator<Item = (&'a str, u32)>, affinity: u64) -> Vec<usize> {
    let score = |(name, weight): (&str, u32)| {
        let mut hasher = DefaultHasher::new();
        (name, affinity).hash(&mut hasher);
        let half = u32::try_from(hasher.finish() >> u32::BITS).unwrap_or(0);
        // One half more keeps it from both 0 and 1.
        let share = (f64::from(half) + 0.5) / (f64::from(u32::MAX) + 1.0);
        -f64::from(weight) / share.ln()
    };
    let mut order: Vec<(f64, usize)> = named.map(score).zip(0..).collect();
    order.sort_by(|(one, _), (other, _)| other.total_cmp(one));
    order.into_iter().map(|(_, place)| place).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(all: &[&str]) -> Vec<WeightedKey> {
        all.iter().map(|text| WeightedKey::parse(text).unwrap()).collect()
    }

    #[test]
    fn a_conversation_keeps_its_key_and_all_get_their_share() {
        let keys = keys(&["a", "b*2", "c*5"]);
        let mut first = [0_u32; 3];
        for affinity in 0..8_000 {
            let order = order(&keys, affinity);
            assert_eq!(order, super::order(&keys, affinity));
            first[order[0]] += 1;
        }
        for (count, expected) in first.into_iter().zip([1_000, 2_000, 5_000]) {
            assert!(count.abs_diff(expected) < 200, "{first:?}");
        }
    }

    #[test]
    fn a_key_that_is_gone_moves_its_own_conversations_alone() {
        let (all, fewer) = (keys(&["a", "b", "c"]), keys(&["a", "b"]));
        for affinity in 0..1_000 {
            let (before, after) = (order(&all, affinity), order(&fewer, affinity));
            let left: Vec<_> = before.into_iter().filter(|place| *place != 2).collect();
            assert_eq!(left, after);
        }
    }

    #[test]
    fn weights_are_whole_numbers() {
        assert_eq!(WeightedKey::parse("sk-a*3"), Some(WeightedKey { key: "sk-a".into(), weight: 3 }));
        assert_eq!(WeightedKey::parse("sk-a").map(|key| key.weight), Some(1));
        for bad in ["", "*2", "sk*", "sk*0", "sk*x", "sk*-1"] {
            assert_eq!(WeightedKey::parse(bad), None, "{bad}");
        }
    }
}
