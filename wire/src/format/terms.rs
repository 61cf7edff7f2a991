//! The terms that a request's price depends on, besides its counts: one answer for all formats of clients. Each format
//! has a table of its own; a field that is in no table may cost anything, so it is refused by its name.

use super::{
    anthropic, cohere, gemini,
    openai::{self, known, responses},
    rerank,
};
use crate::{
    fields::{BadRequest, refuse_twins},
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
    let body = &request.source.body;
    // Of a name that comes twice at the top one value is written alone. What lies deeper goes as it came.
    body.names().try_for_each(|name| refuse_twins(body.get(name).unwrap_or("null"), name))?;
    match request.source.format {
        Format::OpenAiChat | Format::OpenAiCompletions => known::terms(request),
        Format::OpenAiResponses => responses::known::terms(request),
        Format::OpenAiEmbeddings => openai::terms_of_embeddings(request),
        Format::OpenAiSpeech | Format::OpenAiTranscriptions | Format::OpenAiImages => openai::terms_of_media(request),
        Format::AnthropicMessages => anthropic::known::terms(request),
        Format::Cohere | Format::CohereEmbed => cohere::known::terms(request),
        Format::Rerank => rerank::terms(request),
        Format::Gemini => gemini::known::terms(request),
        Format::GeminiEmbeddings => gemini::terms_of_embeddings(request),
        Format::Mistral => Err(BadRequest::new("body", "has a format in which clients do not ask here")),
    }
}

/// Bounds the provider's own tools, where the request does not.
pub fn bound(request: &mut Request) {
    if request.source.format == Format::OpenAiResponses {
        responses::known::bound(request);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::{
        anthropic::read_messages,
        openai::{read_chat, read_response},
    };

    #[test]
    fn what_comes_twice_where_money_depends_on_it_is_refused_by_its_place() {
        let messages = |more: &str| {
            let body = format!(r#"{{"model":"m","max_tokens":9,"messages":[{{"role":"user","content":"x"}}],{more}}}"#);
            terms(&read_messages(body.as_bytes()).unwrap()).unwrap_err().field
        };
        let search = r#""type":"web_search_20260318","name":"w""#;
        assert_eq!(messages(&format!(r#""tools":[{{{search},"max_uses":900,"max_uses":1}}]"#)), "tools[0].max_uses");
        assert_eq!(messages(&format!(r#""tools":[{{"type":"custom",{search}}}]"#)), "tools[0].type");
        assert_eq!(messages(r#""thinking":{"type":"adaptive","type":"disabled"}"#), "thinking.type");
        assert_eq!(messages(r#""cache_control":{"type":"ephemeral","ttl":"1h","ttl":"5m"}"#), "cache_control.ttl");
        let marked = r#""system":[{"type":"text","text":"x","cache_control":{"ttl":"1h","ttl":"5m"}}]"#;
        assert_eq!(messages(marked), "system[0].cache_control.ttl");
        let response = r#"{"model":"m","input":"x","tools":[{"type":"web_search","type":"function","name":"f"}]}"#;
        assert_eq!(terms(&read_response(response.as_bytes()).unwrap()).unwrap_err().field, "tools[0].type");
        let chat = r#"{"model":"m","messages":[{"role":"user","content":[{"type":"file","file":{"file_data":"x","file_id":"f","file_id":1}}]}]}"#;
        let field = terms(&read_chat(chat.as_bytes()).unwrap()).unwrap_err().field;
        assert_eq!(field, "messages[0].content[0].file.file_id");
        let top = r#"{"model":"m","max_tokens":1,"max_tokens":2,"messages":[{"role":"user","content":"x"}]}"#;
        assert!(terms(&read_chat(top.as_bytes()).unwrap()).is_ok(), "one value alone is written");
    }
}
