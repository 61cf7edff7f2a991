//! Why an answer ended, in this format's words: one place for both directions.

use crate::inference::FinishReason;

/// Reasons of a candidate that is no answer: the model called what is not there, or wrote what can't be read.
pub(super) const FAULTS: [&str; 5] =
    [MALFORMED, "MALFORMED_RESPONSE", "UNEXPECTED_TOOL_CALL", "TOO_MANY_TOOL_CALLS", "MISSING_THOUGHT_SIGNATURE"];
/// A call whose arguments can't be read.
pub(super) const MALFORMED: &str = "MALFORMED_FUNCTION_CALL";
/// Reasons of filters.
const FILTERS: [&str; 10] = [
    "SAFETY",
    "RECITATION",
    "LANGUAGE",
    "BLOCKLIST",
    "PROHIBITED_CONTENT",
    "SPII",
    "IMAGE_SAFETY",
    "IMAGE_PROHIBITED_CONTENT",
    "IMAGE_RECITATION",
    "MODEL_ARMOR",
];

/// A reason as it is read; `has_calls` says whether the model called tools.
pub(super) fn read(word: &str, has_calls: bool) -> FinishReason {
    match word {
        "STOP" if has_calls => FinishReason::ToolCalls,
        "STOP" => FinishReason::Stop,
        "MAX_TOKENS" | "CONTINUATION" => FinishReason::Length,
        word if FILTERS.contains(&word) => FinishReason::ContentFilter,
        other => FinishReason::Other(other.to_owned()),
    }
}

/// A reason as it is written. Clients know the words of a list alone.
pub(super) fn word(finish: &FinishReason) -> &'static str {
    match finish {
        FinishReason::Stop | FinishReason::StopText(_) | FinishReason::ToolCalls => "STOP",
        FinishReason::Length => "MAX_TOKENS",
        FinishReason::ContentFilter => "SAFETY",
        FinishReason::Other(word) => FAULTS.into_iter().find(|known| known == word).unwrap_or("OTHER"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_as_it_was() {
        for finish in [FinishReason::Stop, FinishReason::Length, FinishReason::ContentFilter] {
            assert_eq!(read(word(&finish), false), finish);
        }
        assert_eq!(read(word(&FinishReason::ToolCalls), true), FinishReason::ToolCalls);
        assert_eq!(word(&FinishReason::Other("pause".into())), "OTHER");
        assert_eq!(word(&read(MALFORMED, false)), MALFORMED);
    }
}
