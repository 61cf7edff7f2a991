//! The page for people on what becomes of a request that is asked of a provider of another format, made from the
//! formats' own tables (`docs/translation.md`).

use std::fmt::Write as _;

use super::{
    anthropic, cohere,
    feature::{Feature, Takes},
    gemini, mistral, openai,
};
use crate::inference::Format;

/// A provider's name, and its format's table.
type Column = (&'static str, fn(Feature) -> Takes);

/// The providers' formats.
const COLUMNS: [Column; 6] = [
    ("OpenAI", openai::takes),
    ("compatible with OpenAI", openai::compatible::takes),
    ("Anthropic", anthropic::takes),
    ("Google", gemini::takes),
    ("Mistral", mistral::takes),
    ("Cohere", cohere::takes),
];

/// The table for people, in Markdown.
pub fn page() -> String {
    let mut page = String::from(
        "# Translation\n\n\
         What becomes of a request that is asked of a model whose provider has another format than the request. A request in its\n\
         provider's own format passes as it came, but for earlier reasoning with the proof of another provider, which is left out.\n\
         `translated`: it is written in the provider's words. `left out`: the provider has no words for it and it asks for nothing\n\
         that an answer would lack. `refused`: the request is answered 400, with the field.\n\
         A field that no row names is refused too, unless it asks for nothing. This page is made from the gateway's own tables.\n\n| of a request | field of a chat |",
    );
    for (name, _) in COLUMNS {
        // Writing to a text can't fail.
        let _ = write!(page, " {name} |");
    }
    page.push_str("\n|---|---|---|---|---|---|---|---|\n");
    for feature in Feature::ALL {
        let _ = write!(page, "| {} | `{}` |", words(feature), feature.field(Format::OpenAiChat));
        for (_, takes) in COLUMNS {
            let _ = write!(page, " {} |", word(takes(feature)));
        }
        page.push('\n');
    }
    page
}

const fn word(takes: Takes) -> &'static str {
    match takes {
        Takes::Mapped => "translated",
        Takes::Left => "left out",
        Takes::Refused => "refused",
    }
}

/// A feature in words.
const fn words(feature: Feature) -> &'static str {
    match feature {
        Feature::TextPrompt => "a raw text to be continued",
        Feature::LaterInstructions => "instructions after the first message of somebody else",
        Feature::AuthorName => "the name of a message's author",
        Feature::ImageData => "an image within the request",
        Feature::ImageUrl => "an image at an address",
        Feature::ImageId => "an image kept at a provider",
        Feature::MadeImage => "an image that the model made earlier",
        Feature::Audio => "sound",
        Feature::FileData => "a file within the request",
        Feature::FileUrl => "a file at an address",
        Feature::FileId => "a file kept at a provider",
        Feature::Reasoning => "earlier reasoning",
        Feature::SignedReasoning => "earlier reasoning with its provider's proof",
        Feature::Refusal => "an earlier refusal",
        Feature::Prefix => "a message from which the answer goes on (`prefix`)",
        Feature::CustomTool => "a tool with free text as its input",
        Feature::StrictTool => "a tool whose arguments must fit their schema",
        Feature::NoTool => "no tool may be called",
        Feature::AnyTool => "a tool must be called",
        Feature::NamedTool => "a certain tool must be called",
        Feature::SingleCall => "one call at a time",
        Feature::ResultMedia => "a tool's result with more than text",
        Feature::FailedResult => "a tool's result that is an error",
        Feature::JsonObject => "an answer that is a JSON object",
        Feature::JsonSchema => "an answer that fits a JSON schema",
        Feature::Effort => "how much to reason, in a word",
        Feature::ReasoningTokens => "how much to reason, in tokens",
        Feature::Temperature => "temperature",
        Feature::TopP => "nucleus sampling",
        Feature::TopK => "the most likely tokens alone",
        Feature::Seed => "seed",
        Feature::FrequencyPenalty => "penalty of frequent tokens",
        Feature::PresencePenalty => "penalty of tokens that are there",
        Feature::LogitBias => "biases of tokens",
        Feature::Stop => "texts that end the answer",
        Feature::Choices => "several answers",
        Feature::Logprobs => "log probabilities",
        Feature::CacheMark => "a mark up to which to cache",
        Feature::EndUser => "the person behind the request",
    }
}

#[cfg(test)]
mod tests;
