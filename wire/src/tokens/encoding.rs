//! One of OpenAI's encodings: its vocabulary, and how many tokens a text makes. Byte pair encoding: a piece's bytes are
//! merged, two neighbours at a time, into longer tokens, those first that are first in the vocabulary.

use std::{cmp::Reverse, collections::BinaryHeap};

use rustc_hash::FxHashMap;
use tiktoken_rs::CoreBPE;

use super::split::{Classes, Rules};

/// Longer pieces are not encoded: so many bytes are at least so many tokens. No language has such words, and merging takes
/// longer the longer they are.
const LONGEST_PIECE: usize = 64 * 1_024;

/// A vocabulary and its rules.
pub(super) struct Encoding {
    rules: Rules,
    classes: Classes,
    /// The place in the vocabulary of every token.
    ranks: FxHashMap<Box<[u8]>, u32>,
}

impl Encoding {
    /// The encoding whose vocabulary `source` has: its tokens are numbered from 0 without a gap, and after one come those
    /// that stand for no text.
    pub(super) fn new(rules: Rules, source: &CoreBPE) -> Self {
        let tokens = (0..).map_while(|rank| Some((source.decode_bytes(&[rank]).ok()?.into_boxed_slice(), rank)));
        let mut ranks: FxHashMap<_, _> = tokens.collect();
        ranks.shrink_to_fit();
        Self { rules, classes: Classes::new(), ranks }
    }

    /// How many tokens a text makes.
    pub(super) fn count(&self, text: &str) -> usize {
        let count = |piece: &str| match piece.as_bytes() {
            token if self.ranks.contains_key(token) => 1,
            long if long.len() > LONGEST_PIECE => long.len(),
            piece => self.merged(piece),
        };
        self.classes.pieces(self.rules, text).map(count).sum()
    }

    /// How many tokens a piece makes that is no token itself.
    fn merged(&self, piece: &[u8]) -> usize {
        let mut parts = Parts::new(piece.len());
        // The pairs that may be merged: first by their rank, then by their place.
        let mut pairs = BinaryHeap::with_capacity(piece.len());
        let pair = |parts: &Parts, begin: usize| {
            let end = parts.end_of_pair(begin)?;
            self.ranks.get(&piece[begin..end]).map(|rank| Reverse((*rank, begin, end)))
        };
        pairs.extend((0..piece.len()).filter_map(|begin| pair(&parts, begin)));
        let mut count = piece.len();
        while let Some(Reverse((_, begin, end))) = pairs.pop() {
            if parts.end_of_pair(begin) != Some(end) {
                // One of the two is a part of another token by now.
                continue;
            }
            parts.merge(begin, end);
            count -= 1;
            pairs.extend(pair(&parts, begin));
            pairs.extend(parts.before(begin).and_then(|before| pair(&parts, before)));
        }
        count
    }
}

/// The parts of a piece, each by where it begins.
struct Parts {
    /// Where the part that begins here ends, or 0 where none begins.
    ends: Vec<usize>,
    /// Where the part begins that ends here.
    begins: Vec<usize>,
}

impl Parts {
    /// Each byte a part.
    fn new(length: usize) -> Self {
        Self { ends: (1..=length).collect(), begins: (0..=length).map(|end| end.saturating_sub(1)).collect() }
    }

    /// Where the part ends that follows the one that begins here.
    fn end_of_pair(&self, begin: usize) -> Option<usize> {
        let middle = self.ends[begin];
        if middle == 0 { None } else { self.ends.get(middle).copied() }
    }

    /// Where the part begins that ends here.
    fn before(&self, end: usize) -> Option<usize> {
        (end > 0).then(|| self.begins[end])
    }

    fn merge(&mut self, begin: usize, end: usize) {
        let middle = std::mem::replace(&mut self.ends[begin], end);
        self.ends[middle] = 0;
        self.begins[end] = begin;
    }
}
