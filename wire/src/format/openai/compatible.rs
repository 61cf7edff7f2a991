//! Servers that speak OpenAI's chat completions and no more of it (vLLM, Ollama, Groq, Together, ...). A chat, a
//! completion, an embedding, speech, a transcription or an image of a client passes as it came, and so does a reranking, which many of them offer as Jina does; any other request becomes a chat, in the words that such
//! servers have known for longest: `max_tokens`, `user`, the role `system`, no service tier.

use super::{
    OpenAi, formats, media,
    provider::{limit_fields, own_body},
    read_refusal,
    request::USUAL_COMPLETION,
    translate,
};
use crate::{
    fields::Fields,
    format::{
        AnswerReader, ProviderCall, ProviderFormat, Upstream, feature,
        feature::{Feature, Takes},
        prepare::{check_messages, loosen, prepare},
        rerank, vectors,
    },
    inference::{Event, Failure, Format, ProviderError, Request, Role, Work},
    usage::Tier,
};

const RERANK: &str = "/rerank";

/// A provider whose API is compatible with OpenAI's chat completions.
#[derive(Debug)]
pub struct OpenAiCompatible;

/// How such servers treat the features of requests in other formats.
pub(in crate::format) const fn takes(feature: Feature) -> Takes {
    match feature {
        Feature::CustomTool => Takes::Refused,
        other => translate::takes(other),
    }
}

/// The body of a chat for a request of another format.
///
/// # Errors
///
/// A part of the request that such a chat can't express.
pub(in crate::format) fn translated(mut request: Request, upstream: &Upstream<'_>) -> Result<Fields, Failure> {
    feature::check(&request, "such a provider", takes)?;
    if let Work::Conversation(conversation) = &mut request.work {
        let messages = conversation.messages.iter_mut();
        messages.filter(|message| message.role == Role::Developer).for_each(|message| message.role = Role::System);
    }
    let mut body = translate::body(&request, upstream);
    check_messages(&request, &body)?;
    for (newer, older) in [("max_completion_tokens", "max_tokens"), ("safety_identifier", "user")] {
        if let Some(value) = body.get(newer).map(str::to_owned) {
            body.remove(newer);
            body.set_json(older, value);
        }
    }
    Ok(body)
}

impl ProviderFormat for OpenAiCompatible {
    fn paths(&self) -> &'static [&'static str] {
        &[
            formats::CHAT,
            formats::COMPLETIONS,
            formats::EMBEDDINGS,
            RERANK,
            media::SPEECH,
            media::TRANSCRIPTIONS,
            media::TRANSLATIONS,
            media::IMAGES,
            media::EDITS,
        ]
    }

    fn call(&self, mut request: Request, upstream: &Upstream<'_>) -> Result<ProviderCall, Failure> {
        let path = match request.source.format {
            Format::OpenAiChat => formats::CHAT,
            Format::OpenAiCompletions => formats::COMPLETIONS,
            Format::OpenAiEmbeddings => formats::EMBEDDINGS,
            Format::CohereEmbed | Format::GeminiEmbeddings => {
                return vectors::openai(formats::EMBEDDINGS, &request, upstream);
            }
            Format::OpenAiSpeech | Format::OpenAiTranscriptions | Format::OpenAiImages => {
                return Ok(media::call(request, upstream));
            }
            Format::Rerank => return Ok(rerank::compatible(RERANK, request, upstream)),
            Format::OpenAiResponses | Format::AnthropicMessages | Format::Gemini | Format::Mistral | Format::Cohere => {
                let is_streamed = request.stream;
                prepare(&mut request, upstream)?;
                loosen(&mut request);
                let body = translated(request, upstream)?;
                return Ok(ProviderCall::translated(Format::OpenAiChat, is_streamed, formats::CHAT.into(), body));
            }
        };
        let mut call = ProviderCall::forwarded(path, own_body(request, upstream.model));
        let is_limited = ["max_tokens", "max_completion_tokens"].iter().any(|name| call.body.present(name).is_some());
        if call.format == Format::OpenAiCompletions && !is_limited {
            // Each server has a usual limit of its own, or none. The hold is for OpenAI's.
            call.body.set("max_tokens", &USUAL_COMPLETION);
        }
        // Each server has words of its own for the usual tier, and none that all would take.
        if upstream.tier == Some(Tier::Standard) {
            call.body.remove("service_tier");
        }
        Ok(call)
    }

    fn limit(&self, call: &mut ProviderCall, tokens: u32) {
        let is_new = call.body.present("max_completion_tokens").is_some();
        let fields = match call.format {
            Format::OpenAiChat | Format::OpenAiCompletions if !is_new => &["max_tokens"],
            format => limit_fields(format, &call.body),
        };
        for field in fields {
            call.body.set(field, &tokens);
        }
    }

    fn reader(&self, format: Format) -> Box<dyn AnswerReader> {
        OpenAi.reader(format)
    }

    fn read_whole(&self, format: Format, body: &[u8]) -> Vec<Event> {
        match format {
            Format::Rerank => rerank::read_answer(body),
            other => OpenAi.read_whole(other, body),
        }
    }

    fn read_refusal(&self, status: u16, body: &[u8]) -> ProviderError {
        read_refusal(status, body)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::format::{
        anthropic::read_messages,
        openai::{read_chat, read_completion, read_response},
    };

    const UPSTREAM: Upstream<'_> = Upstream { model: "up", max_output: 99, tier: Some(Tier::Standard) };

    fn sent(request: Request) -> (String, Value) {
        let mut call = OpenAiCompatible.call(request, &UPSTREAM).unwrap();
        OpenAiCompatible.limit(&mut call, 5);
        (call.path.into_owned(), serde_json::from_str(&call.body.to_json()).unwrap())
    }

    #[test]
    fn requests_of_other_formats_are_chats_in_the_oldest_words() {
        let response = json!({"model": "m", "instructions": "i", "input": "x", "max_output_tokens": 9, "user": "u"});
        let message = json!({"model": "m", "system": "i", "messages": [{"role": "user", "content": "x"}], "max_tokens": 9,
            "metadata": {"user_id": "u"}});
        let expected = json!({"model": "up", "max_tokens": 5, "user": "u", "messages": [
            {"role": "system", "content": "i"}, {"role": "user", "content": "x"}]});
        for request in [read_response(response.to_string().as_bytes()), read_messages(message.to_string().as_bytes())] {
            assert_eq!(sent(request.unwrap()), ("/chat/completions".to_owned(), expected.clone()));
        }
    }

    #[test]
    fn a_chat_passes_as_it_came_with_the_field_that_it_limits_itself_by() {
        let of = |fields: &str| {
            let body = format!(r#"{{"model":"m","messages":[{{"role":"developer","content":"x"}}]{fields}}}"#);
            sent(read_chat(body.as_bytes()).unwrap()).1
        };
        let with = |more: Value| {
            let mut whole = json!({"model": "up", "messages": [{"role": "developer", "content": "x"}]});
            whole.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            whole
        };
        assert_eq!(of(r#","service_tier":"auto","top_k":4"#), with(json!({"top_k": 4, "max_tokens": 5})));
        assert_eq!(of(r#","max_completion_tokens":9"#), with(json!({"max_completion_tokens": 5})));
    }

    #[test]
    fn a_completion_without_a_limit_has_openais() {
        let limit = |fields: &str| {
            let body = format!(r#"{{"model":"m","prompt":"x"{fields}}}"#);
            let request = read_completion(body.as_bytes()).unwrap();
            let planned = request.generation().unwrap().limit.unwrap().largest;
            let call = OpenAiCompatible.call(request, &UPSTREAM).unwrap();
            let sent: Value = serde_json::from_str(&call.body.to_json()).unwrap();
            (planned, sent["max_tokens"].as_u64(), sent["max_completion_tokens"].as_u64())
        };
        assert_eq!(limit(""), (16, Some(16), None));
        assert_eq!(limit(r#","max_tokens":null"#), (16, Some(16), None));
        assert_eq!(limit(r#","max_tokens":40"#), (40, Some(40), None));
        assert_eq!(limit(r#","max_completion_tokens":40"#), (40, None, Some(40)));
    }

    #[test]
    fn a_tool_of_free_text_is_refused_by_its_field() {
        let body = json!({"model": "m", "input": "x", "tools": [{"type": "custom", "name": "t"}]});
        let refused = OpenAiCompatible.call(read_response(body.to_string().as_bytes()).unwrap(), &UPSTREAM);
        assert!(matches!(&refused, Err(Failure::Invalid { field, .. }) if field.starts_with("tools")), "{refused:?}");
    }
}
