//! The usage of an answer as this format's clients read it: the cache's tokens stand beside the input, and the cost
//! within it.

use serde::{Serialize, Serializer, ser::SerializeMap};

use crate::{
    fields::Pairs,
    format::{Particulars, Receipt},
    inference::Usage,
};

/// More bytes than an answer's usage and particulars take.
pub(super) const ROOM: usize = 1_024;

/// The fields added to an answer.
#[derive(Serialize)]
pub(super) struct Gain<'a> {
    pub(super) usage: UsageObject<'a>,
    pub(super) farebox: &'a Particulars,
}

/// The usage object of an answer, with its cost.
#[derive(Serialize)]
#[serde(untagged)]
pub(super) enum UsageObject<'a> {
    /// The provider's own object.
    Own(OwnUsage<'a>),
    /// An object in this gateway's words.
    Counted(PricedUsage<'a>),
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

#[derive(Serialize)]
pub(super) struct PricedUsage<'a> {
    input_tokens: u64,
    cache_creation_input_tokens: u64,
    cache_read_input_tokens: u64,
    output_tokens: u64,
    cost: &'a str,
}

/// The usage object of an answer with this usage and receipt.
pub(super) fn usage<'a>(usage: &Usage, receipt: &'a Receipt) -> UsageObject<'a> {
    if let Some(fields) = receipt.usage.as_deref().and_then(Pairs::of) {
        return UsageObject::Own(OwnUsage { fields, cost: &receipt.cost });
    }
    let cache = usage.cached_input.saturating_add(usage.cache_write);
    UsageObject::Counted(PricedUsage {
        input_tokens: usage.input.saturating_sub(cache),
        cache_creation_input_tokens: usage.cache_write,
        cache_read_input_tokens: usage.cached_input,
        output_tokens: usage.output,
        cost: &receipt.cost,
    })
}
