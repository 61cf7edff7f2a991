//! Card processors: what charges a card. The payment actor retries and settles; these only carry one charge out.

pub mod sandbox;

/// What a processor said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// Paid.
    Succeeded,
    /// Declined, with the network's word for why.
    Declined(String),
}
