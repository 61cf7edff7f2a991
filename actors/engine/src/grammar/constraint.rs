//! What holds an answer to its grammar: the grammar of a request ([`Constraint`]), and where in it one choice stands
//! ([`Guide`]). A guide knows tokens alone: what they say is read beside it, and told to it where that begins or ends a
//! part of the answer.

use std::fmt;
use std::sync::Arc;

use llguidance::Matcher;
use llguidance::toktrie::SimpleVob;
use wire::inference::Failure;

use super::vocabulary::Vocabulary;
use crate::calls::reader::Turned;

/// The longest text of a grammar's error.
const LONGEST: usize = 300;

/// The library's words for an error: without a trace, and not longer than a line.
pub(super) fn told(error: &impl fmt::Display) -> String {
    let text = error.to_string();
    if text.starts_with("panic") {
        return "it can't be compiled".to_owned();
    }
    // Behind the first line stand the grammar, and where in it the library was.
    let line = text.lines().map(str::trim).find(|line| !line.is_empty()).unwrap_or_default();
    let line = match line.split_once("): ") {
        Some((place, why)) if place.starts_with("at ") => why,
        _ => line,
    };
    match line {
        // A mask without tokens.
        "NoExtensionBias" => "nothing can be written that fits it".to_owned(),
        line => line.chars().take(LONGEST).collect(),
    }
}

/// The grammar of a request's answers.
#[derive(Clone)]
pub struct Constraint(Arc<Inner>);

struct Inner {
    vocabulary: Arc<Vocabulary>,
    /// The client's field that asks for it.
    field: String,
    grammars: Grammars,
    start: Option<Matcher>,
    behind: Option<Matcher>,
    opens_thoughts: Option<u32>,
}

/// The parts of a constraint, as grammars.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Grammars {
    /// What the answer is from its beginning, or from the end of its thoughts. `None`: it may be any text.
    pub(crate) start: Option<String>,
    /// Whether an answer that is whole and closed by a bracket or a quote is at its end.
    pub(crate) ends_when_closed: bool,
    /// What follows the mark with which a text goes over to a call.
    pub(crate) behind: Option<String>,
    /// Whether a text may follow a call.
    pub(crate) goes_on: bool,
}

impl PartialEq for Constraint {
    fn eq(&self, other: &Self) -> bool {
        self.0.grammars == other.0.grammars && self.0.field == other.0.field
    }
}

impl fmt::Debug for Constraint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Constraint").field("grammars", &self.0.grammars).finish_non_exhaustive()
    }
}

impl Constraint {
    /// Compiles the grammars. `opens_thoughts` is the token with which a model may think first.
    ///
    /// # Errors
    ///
    /// A grammar can't be compiled, or can't be met: [`Invalid`](Failure::Invalid) with the field.
    pub(crate) fn compile(
        vocabulary: Arc<Vocabulary>,
        field: &str,
        grammars: Grammars,
        opens_thoughts: Option<u32>,
    ) -> Result<Self, Failure> {
        let invalid = |message: String| Failure::Invalid { field: field.to_owned(), message };
        let compiled = |grammar: &Option<String>| {
            let matcher = grammar.as_ref().map(|grammar| vocabulary.compile(grammar.clone()));
            matcher.transpose().map_err(|why| invalid(format!("can't be held to: {why}")))
        };
        let (start, behind) = (compiled(&grammars.start)?, compiled(&grammars.behind)?);
        let field = field.to_owned();
        Ok(Self(Arc::new(Inner { vocabulary, field, grammars, start, behind, opens_thoughts })))
    }

    /// A guide of one choice.
    pub(crate) fn guide(&self, beginning: Beginning) -> Guide {
        let state = match (beginning, &self.0.start) {
            (Beginning::Thoughts, _) => State::Thinking,
            (Beginning::Answer, Some(start)) => State::Bound { matcher: Box::new(start.clone()), part: Part::Start },
            (Beginning::Answer, None) => State::Free,
        };
        Guide { constraint: self.clone(), state, is_first: beginning == Beginning::Answer }
    }
}

/// What a choice begins with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Beginning {
    /// The prompt has opened the model's thoughts.
    Thoughts,
    /// The answer, though the model may think first.
    Answer,
}

/// What came of a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Taken {
    /// The answer goes on.
    On,
    /// The answer is at its end.
    Ended,
    /// The token can't be here: another must be chosen.
    Refused,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    Start,
    Behind,
}

enum State {
    /// Any text.
    Free,
    /// The model's thoughts.
    Thinking,
    /// By a grammar.
    Bound { matcher: Box<Matcher>, part: Part },
}

/// Where in its grammar a choice stands.
pub(crate) struct Guide {
    constraint: Constraint,
    state: State,
    /// Whether nothing is written yet.
    is_first: bool,
}

impl fmt::Debug for Guide {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Guide").field("constraint", &self.constraint).finish_non_exhaustive()
    }
}

/// The tokens that may come next.
#[derive(Debug, Default)]
pub(crate) struct Mask {
    allowed: Option<SimpleVob>,
    refused: Vec<u32>,
}

impl Mask {
    /// Takes a token out.
    pub(crate) fn refuse(&mut self, token: u32) {
        self.refused.push(token);
    }

    /// The number of tokens taken out.
    pub(crate) fn refusals(&self) -> usize {
        self.refused.len()
    }

    /// Gives the tokens that may not come a score that is never chosen.
    pub(crate) fn apply(&self, scores: &mut [f32]) {
        if let Some(allowed) = &self.allowed {
            let words = allowed.as_slice();
            for (word, scores) in words.iter().chain(std::iter::repeat(&0)).zip(scores.chunks_mut(32)) {
                match *word {
                    0 => scores.fill(f32::NEG_INFINITY),
                    u32::MAX => {}
                    word => {
                        for (bit, score) in scores.iter_mut().enumerate() {
                            if word & (1 << bit) == 0 {
                                *score = f32::NEG_INFINITY;
                            }
                        }
                    }
                }
            }
        }
        for token in &self.refused {
            if let Some(score) = scores.get_mut(*token as usize) {
                *score = f32::NEG_INFINITY;
            }
        }
    }
}

impl Guide {
    /// The tokens that may come next; `None` where any may. `ends` are the tokens that end an answer.
    ///
    /// # Errors
    ///
    /// The grammar can't be followed within its limits.
    pub(crate) fn mask(&mut self, ends: &[u32]) -> Result<Option<Mask>, Failure> {
        let inner = &self.constraint.0;
        match &mut self.state {
            State::Free => Ok(None),
            // What must follow the thoughts is still to be written.
            State::Thinking => Ok(inner.start.is_some().then(|| Mask { allowed: None, refused: ends.to_vec() })),
            State::Bound { matcher, part: _ } => {
                let mut allowed = matcher.compute_mask().map_err(|error| failed(&inner.field, &error))?;
                if let Some(token) = inner.opens_thoughts.filter(|_| self.is_first) {
                    allowed.allow_token(token);
                }
                Ok(Some(Mask { allowed: Some(allowed), refused: Vec::new() }))
            }
        }
    }

    /// Takes a token, which writes these bytes, and is none that ends an answer.
    ///
    /// # Errors
    ///
    /// The grammar can't be followed within its limits.
    pub(crate) fn take(&mut self, token: u32, bytes: &[u8], turned: &Turned) -> Result<Taken, Failure> {
        let Constraint(inner) = &self.constraint;
        let is_first = std::mem::take(&mut self.is_first);
        match (&mut self.state, turned) {
            (State::Bound { .. }, Turned::Thoughts) if is_first => self.state = State::Thinking,
            (State::Bound { matcher, part }, _) => {
                matcher.consume_token(token).map_err(|error| failed(&inner.field, &error))?;
                let ends = match part {
                    Part::Start => inner.grammars.ends_when_closed && matches!(bytes.last(), Some(b'}' | b']' | b'"')),
                    Part::Behind => false,
                };
                let accepts = ends && matcher.is_accepting().map_err(|error| failed(&inner.field, &error))?;
                if !matcher.is_stopped() && !accepts {
                    return Ok(Taken::On);
                }
                match part {
                    Part::Behind if inner.grammars.goes_on => self.state = State::Free,
                    Part::Behind | Part::Start => return Ok(Taken::Ended),
                }
            }
            (State::Free, Turned::Thoughts) => self.state = State::Thinking,
            (State::Thinking, Turned::Answer(rest)) => {
                let rest = rest.trim_ascii_start();
                match inner.start.as_ref().map(|start| self.begin(start, rest)) {
                    None => self.state = State::Free,
                    Some(Some(matcher)) => self.state = State::Bound { matcher, part: Part::Start },
                    Some(None) => return Ok(Taken::Refused),
                }
            }
            (State::Free, Turned::Call(rest)) => match inner.behind.as_ref().map(|behind| self.begin(behind, rest)) {
                None => {}
                Some(Some(matcher)) => self.state = State::Bound { matcher, part: Part::Behind },
                Some(None) => {
                    self.is_first = is_first;
                    return Ok(Taken::Refused);
                }
            },
            (State::Free | State::Thinking, _) => {}
        }
        Ok(Taken::On)
    }

    /// A grammar that has taken these bytes, where it can.
    fn begin(&self, grammar: &Matcher, bytes: &[u8]) -> Option<Box<Matcher>> {
        let mut matcher = Box::new(grammar.clone());
        let vocabulary = &self.constraint.0.vocabulary;
        let tokens = vocabulary.spell(bytes);
        let is_spelled = vocabulary.bytes(&tokens) == bytes;
        let taken = matcher.try_consume_tokens(&tokens).ok()?;
        (is_spelled && taken == tokens.len()).then_some(matcher)
    }
}

fn failed(field: &str, error: &impl fmt::Display) -> Failure {
    Failure::Invalid { field: field.to_owned(), message: format!("can't be held to any further: {}", told(error)) }
}
