//! Grammars that were compiled lately, by their text: many requests ask for the same schema or bring the same tools. What
//! is kept is as it was compiled, and is copied whole: requests share nothing that grows or that they would wait for.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

use llguidance::Matcher;

/// The most grammars of one tokenizer.
const MOST: usize = 32;
/// The longest text of a grammar that is kept, in bytes. What is compiled of it is some ten times as large.
const LONGEST: usize = 32 << 10;

/// The grammars, the latest used last.
#[derive(Default)]
pub(super) struct Compiled(Mutex<VecDeque<(String, Matcher)>>);

impl Compiled {
    /// A copy of what was compiled of a grammar.
    pub(super) fn get(&self, grammar: &str) -> Option<Matcher> {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let at = kept.iter().position(|(text, _)| text == grammar)?;
        let found = kept.remove(at)?;
        let copy = found.1.deep_clone();
        kept.push_back(found);
        Some(copy)
    }

    /// Keeps what was compiled of a grammar.
    pub(super) fn keep(&self, grammar: String, compiled: &Matcher) {
        if grammar.len() > LONGEST {
            return;
        }
        let compiled = compiled.deep_clone();
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // Another request may have compiled it meanwhile.
        kept.retain(|(text, _)| *text != grammar);
        if kept.len() >= MOST {
            kept.pop_front();
        }
        kept.push_back((grammar, compiled));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::grammar::vocabulary::Vocabulary;

    #[test]
    fn the_latest_used_are_kept_and_copies_share_nothing() {
        let words: Vec<Vec<u8>> = (b'a'..=b'z').map(|letter| vec![letter]).chain([b"\xff<end>".to_vec()]).collect();
        let vocabulary = Vocabulary::new(&words, &[26]).unwrap();
        let grammar = |length: usize| format!("start: /a{{{length}}}/");
        let compiled = Compiled::default();
        for length in 1..=MOST {
            compiled.keep(grammar(length), &vocabulary.compile(grammar(length)).unwrap());
        }
        let mut copy = compiled.get(&grammar(1)).unwrap();
        copy.consume_token(0).unwrap();
        assert!(compiled.get(&grammar(1)).unwrap().try_consume_tokens(&[0]).is_ok_and(|taken| taken == 1));
        compiled.keep(grammar(99), &vocabulary.compile(grammar(99)).unwrap());
        assert!(compiled.get(&grammar(2)).is_none(), "it was used least recently");
        assert!(compiled.get(&grammar(1)).is_some() && compiled.get(&grammar(99)).is_some());
        let long = format!("start: \"{}\"", "a".repeat(LONGEST));
        compiled.keep(long.clone(), &vocabulary.compile(grammar(3)).unwrap());
        assert!(compiled.get(&long).is_none());
    }
}
