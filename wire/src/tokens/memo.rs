//! Counts that are remembered: an agent sends its whole conversation at each turn, and all but the last messages were
//! counted before. A text is known by its hash, keyed anew by each process (`RandomState`), so that no two texts can
//! be made to share one.

use std::{
    collections::HashMap,
    hash::{BuildHasher, RandomState},
    mem,
    sync::{LazyLock, Mutex, PoisonError},
};

/// Shorter texts are counted as fast as they are found.
const SHORTEST: usize = 512;
/// The most counts of each age: about two megabytes in all.
const MOST: usize = 32_768;

static MEMO: LazyLock<Memo> = LazyLock::new(Memo::default);

/// The count of a text by an encoding with this name, by `count` where it is not remembered.
pub(super) fn remembered(encoding: &'static str, text: &str, count: impl FnOnce() -> u64) -> u64 {
    if text.len() < SHORTEST { count() } else { MEMO.find(encoding, text, count) }
}

#[derive(Default)]
struct Memo {
    hasher: RandomState,
    counts: Mutex<Ages>,
}

/// Counts that were asked for lately, and those before them. Those that nobody asks for while the first fill up are
/// forgotten.
#[derive(Default)]
struct Ages {
    young: HashMap<u64, u64>,
    old: HashMap<u64, u64>,
}

impl Memo {
    fn find(&self, encoding: &'static str, text: &str, count: impl FnOnce() -> u64) -> u64 {
        let key = self.hasher.hash_one((encoding, text));
        let known = self.ages(|ages| ages.find(key));
        // Counted outside the lock, by two threads at the same time if need be.
        known.unwrap_or_else(|| {
            let counted = count();
            self.ages(|ages| ages.note(key, counted));
            counted
        })
    }

    fn ages<R>(&self, work: impl FnOnce(&mut Ages) -> R) -> R {
        work(&mut self.counts.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Ages {
    fn find(&mut self, key: u64) -> Option<u64> {
        if let Some(count) = self.young.get(&key) {
            return Some(*count);
        }
        let count = self.old.remove(&key)?;
        self.note(key, count);
        Some(count)
    }

    fn note(&mut self, key: u64, count: u64) {
        if self.young.len() >= MOST {
            self.old = mem::take(&mut self.young);
        }
        self.young.insert(key, count);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_text_is_counted_once_and_by_each_encoding() {
        let (memo, text) = (Memo::default(), "x".repeat(SHORTEST));
        assert_eq!(memo.find("a", &text, || 7), 7);
        assert_eq!(memo.find("a", &text, || panic!("it is remembered")), 7);
        assert_eq!(memo.find("b", &text, || 8), 8);
        assert_eq!(memo.find("a", &text[1..], || 9), 9);
    }

    #[test]
    fn what_is_asked_for_stays_and_the_rest_makes_room() {
        let mut ages = Ages::default();
        for key in 0..5 * MOST as u64 {
            ages.note(key, key);
            assert_eq!(ages.find(0), Some(0), "{key}");
        }
        assert!(ages.young.len() + ages.old.len() <= 2 * MOST);
        assert_eq!(ages.find(1), None);
    }
}
