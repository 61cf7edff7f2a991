//! The cost of a request, as clients of every format read it.

use serde::{Serialize, Serializer, ser::SerializeMap};

use crate::fields::Pairs;

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

impl Receipt {
    /// The usage object of an answer, where `counted` is the one of the tokens counted here.
    pub(super) fn usage_object<T>(&self, counted: T) -> UsageObject<'_, T> {
        match self.usage.as_deref().and_then(Pairs::of) {
            Some(fields) => UsageObject::Own(OwnUsage { fields, cost: &self.cost }),
            None => UsageObject::Counted(counted),
        }
    }
}

/// The usage object of an answer, with its cost.
#[derive(Serialize)]
#[serde(untagged)]
pub(super) enum UsageObject<'a, T> {
    /// The provider's own object.
    Own(OwnUsage<'a>),
    /// An object counted by this gateway.
    Counted(T),
}

/// A provider's usage object with the cost charged here, which replaces any cost that the provider reports.
pub(super) struct OwnUsage<'a> {
    fields: Pairs<'a>,
    cost: &'a str,
}

impl Serialize for OwnUsage<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        self.fields.write_but("cost", &mut map)?;
        map.serialize_entry("cost", self.cost)?;
        map.end()
    }
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
    /// Units of search and ranking, where they are billed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub search_units: Option<u64>,
    /// The rule of Farebox that ended the answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stop: Option<String>,
}
