//! The usual length of a model's answers for one account: the 95th percentile of its last outputs. Holds expect this
//! length instead of the model's maximum (design, chapter 2.7). It is an estimate: it decides the size of a hold, never
//! a charge.

/// Outputs remembered of each model.
pub const REMEMBERED: usize = 64;
/// The number of outputs from which the percentile is used.
const KNOWN: usize = 20;
/// The most outputs that are not below the percentile.
const LARGEST: usize = REMEMBERED - (REMEMBERED * 95).div_ceil(100) + 1;
/// Models remembered of each account.
const MODELS: usize = 32;

/// The outputs of an account's models. The list is short, so it is searched linearly.
#[derive(Debug, Clone, Default)]
pub struct Learned(Vec<(String, Outputs)>);

#[derive(Debug, Clone, Default)]
struct Outputs {
    tokens: Vec<u32>,
    next: usize,
}

impl Learned {
    /// Records the length of an answer.
    pub fn observe(&mut self, model: &str, tokens: u64) {
        let tokens = u32::try_from(tokens).unwrap_or(u32::MAX);
        if let Some((_, outputs)) = self.0.iter_mut().find(|(name, _)| name == model) {
            outputs.push(tokens);
        } else if self.0.len() < MODELS {
            let mut outputs = Outputs::default();
            outputs.push(tokens);
            self.0.push((model.to_owned(), outputs));
        }
    }

    /// The 95th percentile of a model's outputs; `None` until enough outputs are known.
    pub fn p95(&self, model: &str) -> Option<u64> {
        let (_, outputs) = self.0.iter().find(|(name, _)| name == model)?;
        if outputs.tokens.len() < KNOWN {
            return None;
        }
        let rank = (outputs.tokens.len() * 95).div_ceil(100) - 1;
        // The largest outputs down to the percentile, in their order. There are so few that sorting all would take longer.
        let mut largest = [0; LARGEST];
        let largest = largest.get_mut(..outputs.tokens.len() - rank)?;
        for tokens in &outputs.tokens {
            if *tokens > largest[0] {
                largest[0] = *tokens;
                largest.sort_unstable();
            }
        }
        Some(u64::from(largest[0]))
    }
}

impl Outputs {
    fn push(&mut self, tokens: u32) {
        if self.tokens.len() < REMEMBERED {
            self.tokens.push(tokens);
        } else {
            self.tokens[self.next] = tokens;
            self.next = (self.next + 1) % REMEMBERED;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::{collection, prelude::*};

    proptest! {
        #[test]
        fn the_percentile_is_the_one_of_all_outputs_in_order(
            tokens in collection::vec(prop_oneof![0_u64..8, 0_u64..10_000], KNOWN..=REMEMBERED),
        ) {
            let mut learned = Learned::default();
            for tokens in &tokens {
                learned.observe("m", *tokens);
            }
            let mut sorted = tokens;
            sorted.sort_unstable();
            prop_assert_eq!(learned.p95("m"), Some(sorted[(sorted.len() * 95).div_ceil(100) - 1]));
        }
    }

    #[test]
    fn nineteen_answers_of_twenty_are_covered() {
        let mut learned = Learned::default();
        (1..20).for_each(|tokens| learned.observe("m", tokens));
        assert_eq!(learned.p95("m"), None);
        learned.observe("m", 9_000);
        assert_eq!(learned.p95("m"), Some(19));
        assert_eq!(learned.p95("other"), None);
    }

    #[test]
    fn old_answers_are_forgotten_and_models_are_bounded() {
        let mut learned = Learned::default();
        (0..64).for_each(|_| learned.observe("m", 5_000));
        (0..64).for_each(|_| learned.observe("m", 7));
        assert_eq!(learned.p95("m"), Some(7));
        (0..100).for_each(|n| learned.observe(&n.to_string(), 1));
        assert_eq!(learned.0.len(), MODELS);
    }
}
