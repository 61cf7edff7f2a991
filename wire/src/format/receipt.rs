//! The cost of a request, as clients of every format read it.

use serde::Serialize;

/// The cost of a request, for its client.
#[derive(Debug, Clone, PartialEq)]
pub struct Receipt {
    /// The cost in dollars.
    pub cost: String,
    /// The `farebox` object.
    pub farebox: Particulars,
    /// The provider's own usage object, where it sent a believed one in the client's format: the client gets the whole
    /// object, with the cost.
    pub usage: Option<Box<str>>,
}

/// The `farebox` object of an answer. Amounts are dollars.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Particulars {
    /// The request's id.
    pub request_id: String,
    /// The provider that ran the request.
    pub provider: String,
    /// The exact cost before the fee, in dollars.
    pub base_cost: String,
    /// The exact fee, in dollars.
    pub fee: String,
    /// Whether the tokens were counted by this gateway.
    pub estimated: bool,
    /// The account's balance afterwards, in dollars.
    pub balance: String,
    /// Open models: milliseconds of compute.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub compute_ms: Option<u64>,
    /// Open models: seconds billed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub billed_seconds: Option<u64>,
    /// The rule of Farebox that ended the answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stop: Option<String>,
}
