//! The usage of an answer as this format's clients read it: the cache's tokens stand beside the input, and the cost
//! within it.

use serde::Serialize;

use crate::{
    format::{Particulars, Receipt, receipt::UsageObject},
    inference::Usage,
};

/// More bytes than an answer's usage and particulars take.
pub(super) const ROOM: usize = 1_024;

/// The fields added to an answer.
#[derive(Serialize)]
pub(super) struct Gain<'a> {
    pub(super) usage: UsageObject<'a, PricedUsage<'a>>,
    pub(super) farebox: &'a Particulars,
}

/// The usage object of an answer whose tokens were counted here.
#[derive(Serialize)]
pub(super) struct PricedUsage<'a> {
    input_tokens: u64,
    cache_creation_input_tokens: u64,
    cache_read_input_tokens: u64,
    output_tokens: u64,
    cost: &'a str,
}

/// The usage object of an answer with this usage and receipt.
pub(super) fn usage<'a>(usage: &Usage, receipt: &'a Receipt) -> UsageObject<'a, PricedUsage<'a>> {
    let cache = usage.cached_input.saturating_add(usage.cache_write);
    receipt.usage_object(PricedUsage {
        input_tokens: usage.input.saturating_sub(cache),
        cache_creation_input_tokens: usage.cache_write,
        cache_read_input_tokens: usage.cached_input,
        output_tokens: usage.output,
        cost: &receipt.cost,
    })
}
