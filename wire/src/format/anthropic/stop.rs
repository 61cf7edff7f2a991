//! Why an answer ended, in this format's words.

use crate::inference::FinishReason;

/// A reason as it is read, with the stop text that is told beside it.
pub(super) fn read(word: &str, text: Option<String>) -> FinishReason {
    match word {
        "end_turn" => FinishReason::Stop,
        "stop_sequence" => FinishReason::StopText(text.map(String::into_boxed_str)),
        // A paused turn goes on when its answer is sent back.
        "max_tokens" | "model_context_window_exceeded" | "pause_turn" => FinishReason::Length,
        "tool_use" => FinishReason::ToolCalls,
        "refusal" => FinishReason::ContentFilter,
        other => FinishReason::Other(other.to_owned()),
    }
}

/// A reason as it is written.
pub(super) fn word(finish: &FinishReason) -> &str {
    match finish {
        FinishReason::Stop => "end_turn",
        FinishReason::StopText(_) => "stop_sequence",
        FinishReason::Length => "max_tokens",
        FinishReason::ToolCalls => "tool_use",
        FinishReason::ContentFilter => "refusal",
        FinishReason::Other(word) => word,
    }
}
