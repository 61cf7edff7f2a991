//! Attempts to serve a request that may run on several models. The request's record has those that came before the one that it
//! records, so that a receipt tells by which way the answer came and what was charged on it.

use serde::{Deserialize, Serialize};
use std::{borrow::Cow, sync::Arc};

use crate::{ids::RequestId, nanos::Nanos, time::Timestamp};

/// The most attempts that a record has: as many as a request may name models, and more.
pub const MOST_ATTEMPTS: usize = 16;
/// The longest name of a model in one, in bytes: names that no model has come from callers.
const LONGEST_NAME: usize = 256;

/// An attempt to serve a request with a model, after which another one was asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attempt {
    /// The request's id in that attempt, under which it has a record of its own; `None` where nothing was held for it.
    pub request_id: Option<RequestId>,
    /// The model's name.
    pub model: Arc<str>,
    /// The provider, or `farebox` for an open model; `None` where there is no such model.
    pub provider: Option<Arc<str>>,
    /// The HTTP status that it would have been answered with.
    pub status: u16,
    /// The code of the error: `provider_error`.
    pub code: Cow<'static, str>,
    /// When it began.
    pub started_at: Timestamp,
    /// When it had failed.
    pub ended_at: Timestamp,
    /// What it was charged, by its own record.
    pub charged: Nanos,
}

/// A model's name, as long as a record keeps it.
pub fn kept_name(name: &str) -> Arc<str> {
    let end = (0..=LONGEST_NAME.min(name.len())).rev().find(|end| name.is_char_boundary(*end)).unwrap_or(0);
    name[..end].into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_name_is_cut_between_characters() {
        assert_eq!(&*kept_name("gpt-4o"), "gpt-4o");
        assert_eq!(kept_name(&"x".repeat(300)).len(), LONGEST_NAME);
        assert_eq!(kept_name(&format!("x{}", "é".repeat(300))).len(), LONGEST_NAME - 1);
    }
}
