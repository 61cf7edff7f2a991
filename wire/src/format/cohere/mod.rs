//! Cohere's API, version 2, as a [`ProviderFormat`] ("Chat", "Embed", "Rerank", Cohere API reference). Of these, clients here
//! ask in that of reranking alone.

mod answer;
mod translate;

use super::{
    AnswerReader, ProviderCall, ProviderFormat, Upstream, feature,
    incoming::{Incoming, read_all},
    openai::read_refusal,
    pairing::pair,
    rerank, vectors,
};
use crate::inference::{Event, Failure, Format, ProviderError, Request, Work};
use answer::Answer;
pub use translate::takes;

const CHAT: &str = "/chat";
const RERANK: &str = "/rerank";

/// A provider that speaks it.
#[derive(Debug)]
pub struct Cohere;

impl ProviderFormat for Cohere {
    fn paths(&self) -> &'static [&'static str] {
        &[CHAT, RERANK]
    }

    fn version(&self) -> Option<&'static str> {
        Some("/v2")
    }

    fn call(&self, mut request: Request, upstream: &Upstream<'_>) -> Result<ProviderCall, Failure> {
        if let Work::Embedding(_) = request.work {
            return vectors::cohere(&request, upstream);
        }
        if request.source.format == Format::Rerank {
            return Ok(rerank::cohere(RERANK, request, upstream));
        }
        feature::check(&request, "Cohere", takes)?;
        pair(&mut request)?;
        let body = translate::body(&request, upstream)?;
        Ok(ProviderCall::translated(Format::Cohere, request.stream, CHAT.into(), body))
    }

    fn limit(&self, call: &mut ProviderCall, tokens: u32) {
        call.body.set("max_tokens", &tokens);
    }

    fn reader(&self, _format: Format) -> Box<dyn AnswerReader> {
        Box::new(Incoming::new(Answer::default()))
    }

    fn read_whole(&self, format: Format, body: &[u8]) -> Vec<Event> {
        if format == Format::Rerank {
            return rerank::read_answer(body);
        }
        vectors::answer(body).unwrap_or_else(|| read_all(Answer::default(), body))
    }

    fn read_refusal(&self, status: u16, body: &[u8]) -> ProviderError {
        read_refusal(status, body)
    }
}

#[cfg(test)]
mod tests;
