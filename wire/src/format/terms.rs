//! The terms that a request's price depends on, besides its counts: one answer for all formats of clients. Each format
//! has a table of its own; a field that is in no table may cost anything, so it is refused by its name.

use super::{
    anthropic,
    openai::{self, known, responses},
    rerank,
};
use crate::{
    fields::BadRequest,
    inference::{Format, Request},
    usage::Tier,
};

/// The terms that a request's price depends on, besides its counts.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Terms {
    /// A part of the prompt can't be counted here: the prompt may fill the model's whole context.
    pub is_uncountable: bool,
    /// The provider is asked to keep its cache for longer than usual.
    pub keeps_long: bool,
    /// The service tier asked for, where it is not the usual one: the field, and the tier; `None` for a word that is not
    /// known.
    pub tier: Option<(&'static str, Option<Tier>)>,
    /// Tokens that the provider may add to the prompt itself.
    pub more_input: u64,
    /// How often the provider may read the conversation again, for tools that it runs itself.
    pub turns: u64,
    /// The most searches of the web.
    pub web_searches: u64,
    /// The most pages of the web that are fetched.
    pub web_fetches: u64,
}

/// The terms that a request's price depends on.
///
/// # Errors
///
/// The first part of the request without a known price: a field, a value, or a member of a message. The error is for
/// the client; with the client's own provider key the part would pass.
pub fn terms(request: &Request) -> Result<Terms, BadRequest> {
    match request.source.format {
        Format::OpenAiChat | Format::OpenAiCompletions => known::terms(request),
        Format::OpenAiResponses => responses::known::terms(request),
        Format::OpenAiEmbeddings => openai::terms_of_embeddings(request),
        Format::AnthropicMessages => anthropic::known::terms(request),
        Format::Rerank => rerank::terms(request),
        Format::Gemini | Format::Mistral | Format::Cohere => {
            Err(BadRequest::new("body", "has a format in which clients do not ask here"))
        }
    }
}

/// Bounds the provider's own tools, where the request does not.
pub fn bound(request: &mut Request) {
    if request.source.format == Format::OpenAiResponses {
        responses::known::bound(request);
    }
}
