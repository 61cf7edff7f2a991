//! Calls of tools and thoughts, as models write them: the families of forms ([`family`]), the grammar of calls
//! ([`grammar`]), the reader of what a model writes ([`reader`]), and the words for a model whose template has none
//! ([`generic`]). Texts alone: no token and no scores are known here.

pub mod family;
pub(crate) mod generic;
pub(crate) mod grammar;
pub(crate) mod reader;
