//! The steps of a schema's way to its first mask, one by one, for measurements.

use llguidance::Matcher;
use serde_json::Value;

use super::constraint::told;
use super::{Strictness, bounded, on_a_large_stack};
use crate::tokenizer::Tokenizer;

/// The grammar of answers that fit a schema, of which nothing is computed yet.
pub struct Unmasked(Matcher);

impl std::fmt::Debug for Unmasked {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Unmasked").finish_non_exhaustive()
    }
}

impl Unmasked {
    /// The grammar of a schema, for a model's tokens.
    ///
    /// # Errors
    ///
    /// The schema is none that answers are held to, or the tokens can't be made a tree.
    pub fn of(tokenizer: &Tokenizer, schema: &str) -> Result<Self, String> {
        let schema = bounded(schema, Strictness::Exact)?;
        let grammar = format!("start: %json {}\n", Value::Object(schema));
        let vocabulary = tokenizer.grammar_tokens()?;
        on_a_large_stack(|| Self(vocabulary.parse(grammar)))
    }

    /// Computes the tokens that an answer may begin with, and counts them.
    ///
    /// # Errors
    ///
    /// The grammar can't be compiled, or nothing fits it.
    pub fn first_mask(&mut self) -> Result<usize, String> {
        self.0.compute_mask().map(|mask| mask.num_set()).map_err(|error| told(&error))
    }
}
