//! A model's tokens as the tree that grammars walk: made once for a tokenizer, when the first request needs it. It costs
//! some tens of milliseconds and some megabytes.

use std::fmt;
use std::panic::catch_unwind;
use std::sync::Arc;

use llguidance::api::{ParserLimits, TopLevelGrammar};
use llguidance::toktrie::{ApproximateTokEnv, INVALID_TOKEN, TokEnv, TokRxInfo, TokTrie};
use llguidance::{Matcher, ParserFactory};

use super::compiled::Compiled;
use super::constraint::told;

/// The stack of a thread that compiles: a schema may refer to itself in long chains, which are followed by recursion.
const STACK: usize = 64 << 20;

/// Works on a thread that has the stack for any schema.
///
/// # Errors
///
/// There is no thread, or the work panicked.
pub(crate) fn on_a_large_stack<T: Send>(work: impl FnOnce() -> T + Send) -> Result<T, String> {
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().name("grammar".to_owned()).stack_size(STACK);
        let thread = thread.spawn_scoped(scope, work).map_err(|error| error.to_string())?;
        thread.join().map_err(|_| "it can't be compiled".to_owned())
    })
}

/// Bounds of one grammar. A state of its lexer takes a kilobyte or two, and a millisecond is some 14,000 of a step's fuel.
fn limits() -> ParserLimits {
    ParserLimits {
        initial_lexer_fuel: 1_000_000,
        step_lexer_fuel: 100_000,
        step_max_items: 50_000,
        max_lexer_states: 20_000,
        max_grammar_size: 200_000,
        verbose_errors: false,
        ..ParserLimits::default()
    }
}

/// A tokenizer's tokens, for grammars.
pub(crate) struct Vocabulary {
    factory: ParserFactory,
    compiled: Compiled,
}

impl fmt::Debug for Vocabulary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Vocabulary").finish_non_exhaustive()
    }
}

impl Vocabulary {
    /// Of these words: what each token writes, or, of a special token, its name [`marked`]. One of `ends` ends an answer.
    ///
    /// # Errors
    ///
    /// The tree can't be made of them, in the library's words.
    pub(crate) fn new(words: &[Vec<u8>], ends: &[u32]) -> Result<Self, String> {
        // The tree's own checks are assertions.
        let made = catch_unwind(|| Self::made(words, ends));
        made.unwrap_or_else(|_| Err("the vocabulary can't be made a tree".to_owned()))
    }

    fn made(words: &[Vec<u8>], ends: &[u32]) -> Result<Self, String> {
        let size = u32::try_from(words.len()).map_err(|error| error.to_string())?;
        let ends: Vec<u32> = ends.iter().copied().filter(|end| *end < size).collect();
        let mut tree = TokTrie::from(&TokRxInfo::new(size, INVALID_TOKEN), words);
        if !ends.is_empty() {
            tree = tree.with_eos_tokens(&ends);
        }
        let environment: TokEnv = Arc::new(ApproximateTokEnv::new(tree));
        let mut factory = ParserFactory::new_simple(&environment).map_err(|error| told(&error))?;
        factory.quiet();
        *factory.limits_mut() = limits();
        Ok(Self { factory, compiled: Compiled::default() })
    }

    /// Compiles a grammar, [`on_a_large_stack`], and computes what it may begin with; or copies what was compiled of it.
    ///
    /// # Errors
    ///
    /// It can't be compiled within the limits, or nothing fits it.
    pub(super) fn compile(&self, grammar: String) -> Result<Matcher, String> {
        if let Some(compiled) = self.compiled.get(&grammar) {
            return Ok(compiled);
        }
        let mut matcher = self.parse(grammar.clone());
        matcher.compute_mask().map_err(|error| told(&error))?;
        self.compiled.keep(grammar, &matcher);
        Ok(matcher)
    }

    /// A grammar of which nothing is computed yet. Its fault, if it has one, is told by its first mask.
    pub(super) fn parse(&self, grammar: String) -> Matcher {
        Matcher::new(self.factory.create_parser(TopLevelGrammar::from_lark(grammar)))
    }

    /// A text as some tokens that spell it.
    pub(super) fn spell(&self, bytes: &[u8]) -> Vec<u32> {
        self.factory.tok_env().tok_trie().greedy_tokenize(bytes)
    }

    /// What tokens write.
    pub(super) fn bytes(&self, tokens: &[u32]) -> Vec<u8> {
        self.factory.tok_env().tok_trie().decode(tokens)
    }
}

/// A special token's name as a word: no text is spelled so.
pub(crate) fn marked(name: &[u8]) -> Vec<u8> {
    [&[TokTrie::SPECIAL_TOKEN_MARKER][..], name].concat()
}
