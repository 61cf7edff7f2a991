//! What an answer may be, token by token: from a JSON schema or the calls of tools to a grammar, and from a grammar to the
//! tokens that may follow. The work is the crate `llguidance`'s, which is known nowhere else; what it is given is bounded
//! first ([`schema`]), and compiled before a request is queued. It fetches nothing: a schema's references point into the
//! schema.

mod compiled;
mod constraint;
pub mod measured;
mod meeting;
mod schema;
mod vocabulary;

pub use constraint::Constraint;
pub(crate) use constraint::{Beginning, Grammars, Guide, Mask, Taken};
pub(crate) use schema::{Strictness, bounded};
pub(crate) use vocabulary::{Vocabulary, marked, on_a_large_stack};
