//! Reasoning that a provider hides: it gives data in place of words. In the neutral words that is reasoning without
//! text, whose proof begins with a word of ours.

/// The beginning of such a proof: the provider's data follows.
pub(super) const HIDDEN: &str = "redacted_thinking:";

/// The proof that stands for this data.
pub(super) fn hidden(data: &str) -> String {
    [HIDDEN, data].concat()
}
