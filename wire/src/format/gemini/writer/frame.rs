//! The usage of an answer as this format's clients read it, with the cost within it, and how answers of a stream stand
//! one after the other: as server-sent events, or as the entries of one JSON array.

use serde::Serialize;

use crate::{
    format::{End, Particulars, receipt::UsageObject},
    inference::Usage,
    sse,
};

/// The names of the fields added to an answer.
pub(super) const GAINED: [&str; 2] = ["usageMetadata", "farebox"];
/// More bytes than an answer's usage and particulars take.
pub(super) const ROOM: usize = 1_024;

/// The fields added to an answer.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Gain<'a> {
    usage_metadata: UsageObject<'a, PricedUsage<'a>>,
    farebox: &'a Particulars,
}

/// The usage object of an answer whose tokens were counted here.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct PricedUsage<'a> {
    prompt_token_count: u64,
    #[serde(skip_serializing_if = "is_zero")]
    cached_content_token_count: u64,
    candidates_token_count: u64,
    #[serde(skip_serializing_if = "is_zero")]
    thoughts_token_count: u64,
    total_token_count: u64,
    cost: &'a str,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for it")]
const fn is_zero(count: &u64) -> bool {
    *count == 0
}

impl<'a> Gain<'a> {
    pub(super) fn of(end: &'a End) -> Self {
        let Usage { input, cached_input, cache_write: _, output, reasoning } = end.usage;
        let usage = end.receipt.usage_object(PricedUsage {
            prompt_token_count: input,
            cached_content_token_count: cached_input,
            candidates_token_count: output.saturating_sub(reasoning),
            thoughts_token_count: reasoning.min(output),
            total_token_count: input.saturating_add(output),
            cost: &end.receipt.cost,
        });
        Self { usage_metadata: usage, farebox: &end.receipt.farebox }
    }
}

/// How the answers of a stream stand one after the other.
pub trait Framing: 'static {
    /// The media type.
    const TYPE: &'static str;

    /// An answer; `is_first` says whether none came before it.
    fn piece(json: &str, is_first: bool) -> String;

    /// The end of the stream, behind the last answer.
    const END: &'static str;
}

/// Server-sent events, which clients ask for with `alt=sse`.
#[derive(Debug)]
pub enum Events {}

/// The entries of one array, which clients get that ask for nothing else.
#[derive(Debug)]
pub enum Entries {}

impl Framing for Events {
    const TYPE: &'static str = "text/event-stream";
    const END: &'static str = "";

    fn piece(json: &str, _: bool) -> String {
        sse::encode(json)
    }
}

impl Framing for Entries {
    const TYPE: &'static str = "application/json";
    const END: &'static str = "\n]";

    fn piece(json: &str, is_first: bool) -> String {
        [if is_first { "[" } else { ",\n" }, json].concat()
    }
}
