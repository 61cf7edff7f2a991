//! Why an answer ended, in this format's words.

use crate::inference::FinishReason;

/// A reason as it is read.
pub(super) fn read(word: &str) -> FinishReason {
    match word {
        "COMPLETE" => FinishReason::Stop,
        "STOP_SEQUENCE" => FinishReason::StopText(None),
        "MAX_TOKENS" => FinishReason::Length,
        "TOOL_CALL" => FinishReason::ToolCalls,
        "ERROR_TOXIC" => FinishReason::ContentFilter,
        other => FinishReason::Other(other.to_owned()),
    }
}

/// A reason as it is written. An answer that was cut ended at a limit.
pub(super) fn word(finish: Option<&FinishReason>) -> &str {
    match finish {
        Some(FinishReason::Stop) => "COMPLETE",
        Some(FinishReason::StopText(_)) => "STOP_SEQUENCE",
        Some(FinishReason::Length) | None => "MAX_TOKENS",
        Some(FinishReason::ToolCalls) => "TOOL_CALL",
        Some(FinishReason::ContentFilter) => "ERROR_TOXIC",
        Some(FinishReason::Other(word)) => word,
    }
}
