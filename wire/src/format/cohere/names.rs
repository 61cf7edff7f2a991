//! The fields of features, as clients of this format name them.

use crate::{format::feature::Feature, inference::Format};

/// A feature's field.
pub(in crate::format) const fn field(feature: Feature) -> &'static str {
    match feature {
        Feature::StrictTool => "strict_tools",
        Feature::Effort | Feature::ReasoningTokens => "thinking",
        Feature::TopP => "p",
        Feature::TopK => "k",
        Feature::Stop => "stop_sequences",
        other => other.field(Format::OpenAiChat),
    }
}
