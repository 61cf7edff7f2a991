//! Google's Gemini API ("Generating content", Gemini API reference), as a [`ProviderFormat`]: `generateContent` and
//! `streamGenerateContent`. No client asks in this format here.

mod answer;
mod contents;
mod reasoning;
mod refusal;
#[cfg(test)]
mod tests;
mod translate;
mod usage;

use serde_json::{Map, Value};

use super::{
    AnswerReader, KeyHeader, ProviderCall, ProviderFormat, Upstream, feature,
    incoming::{Incoming, read_all},
    pairing::pair,
    vectors,
};
use crate::inference::{Event, Failure, Format, ProviderError, Request};
use answer::Answer;
pub use translate::takes;

/// A provider that speaks it.
#[derive(Debug)]
pub struct Gemini;

impl ProviderFormat for Gemini {
    /// Every model has paths of its own, below this one.
    fn paths(&self) -> &'static [&'static str] {
        &["/models"]
    }

    fn version(&self) -> Option<&'static str> {
        Some("/v1beta")
    }

    fn key_header(&self) -> KeyHeader {
        KeyHeader::Named("x-goog-api-key")
    }

    fn call(&self, mut request: Request, upstream: &Upstream<'_>) -> Result<ProviderCall, Failure> {
        if matches!(request.source.format, Format::OpenAiEmbeddings | Format::CohereEmbed) {
            return vectors::google(&request, upstream);
        }
        feature::check(&request, "Google", takes)?;
        pair(&mut request)?;
        let has_no_place = matches!(request.source.format, Format::AnthropicMessages | Format::Cohere);
        if has_no_place && upstream.model.contains("-image") {
            let message =
                "answers with images, for which this route has no place; ask it as a chat of OpenAI's".to_owned();
            return Err(Failure::Invalid { field: "model".to_owned(), message });
        }
        let body = translate::body(&request, upstream)?;
        let method = if request.stream { "streamGenerateContent?alt=sse" } else { "generateContent" };
        let path = format!("/models/{}:{method}", upstream.model);
        Ok(ProviderCall::translated(Format::Gemini, request.stream, path.into(), body))
    }

    fn limit(&self, call: &mut ProviderCall, tokens: u32) {
        const FIELD: &str = "generationConfig";
        let mut config: Map<String, Value> = call.body.read(FIELD, "an object").ok().flatten().unwrap_or_default();
        config.insert("maxOutputTokens".into(), tokens.into());
        call.body.set(FIELD, &config);
    }

    fn reader(&self, _format: Format) -> Box<dyn AnswerReader> {
        Box::new(Incoming::new(Answer::default()))
    }

    fn read_whole(&self, _format: Format, body: &[u8]) -> Vec<Event> {
        vectors::answer(body).unwrap_or_else(|| read_all(Answer::default(), body))
    }

    fn read_refusal(&self, status: u16, body: &[u8]) -> ProviderError {
        refusal::read(status, body)
    }
}
