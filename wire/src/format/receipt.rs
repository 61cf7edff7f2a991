//! What a request cost, as its client is told in every format.

use serde::Serialize;

/// What a request cost, for its client.
#[derive(Debug, Clone, PartialEq)]
pub struct Receipt {
    /// Dollars.
    pub cost: String,
    /// The `farebox` object.
    pub farebox: Particulars,
    /// The provider's own usage object, where it sent one that is believed: the client gets it whole, with the cost.
    pub usage: Option<Box<str>>,
}

/// The `farebox` object of an answer. Amounts are dollars.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Particulars {
    /// The request.
    pub request_id: String,
    /// Who ran it.
    pub provider: String,
    /// Exact cost before the fee.
    pub base_cost: String,
    /// Exact fee.
    pub fee: String,
    /// Whether tokens were counted here.
    pub estimated: bool,
    /// What is left.
    pub balance: String,
    /// Open models: milliseconds of compute.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub compute_ms: Option<u64>,
    /// Open models: seconds billed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub billed_seconds: Option<u64>,
    /// Which rule of Farebox's ended it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stop: Option<String>,
}
