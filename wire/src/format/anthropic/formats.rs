//! Messages as a [`ClientFormat`], and Anthropic as a [`ProviderFormat`].

use std::borrow::Cow;

use super::{Writer, read_messages, reader, translate};
use crate::{
    fields::{BadRequest, Fields},
    format::{
        AnswerReader, ClientFormat, ErrorShape, KeyHeader, ProviderCall, ProviderFormat, Upstream, feature,
        openai::faults::read_named_refusal,
        prepare::{loosen, prepare},
        proof,
    },
    inference::{Event, Failure, Format, ProviderError, Request},
    usage::Tier,
};

const MESSAGES: &str = "/messages";
const COUNT: &str = "/messages/count_tokens";
/// The header without which the provider refuses a call, and its values: the one that has taken every field for years,
/// and the newest, which takes no sampling fields.
const VERSION: &str = "anthropic-version";
pub(super) const OLD: &str = "2023-06-01";
pub(super) const NEW: &str = "2026-10-21";
/// The fewest tokens of reasoning that can be asked for.
pub(super) const LEAST_THOUGHT: u32 = 1_024;

/// Messages, as clients ask for them.
#[derive(Debug)]
pub enum Messages {}

impl ClientFormat for Messages {
    type Writer = Writer;
    const ERRORS: ErrorShape = ErrorShape::Anthropic;

    fn read(body: &[u8]) -> Result<Request, BadRequest> {
        read_messages(body)
    }

    fn writer(request: &Request, id: &str, _created: i64) -> Writer {
        Writer::new(request, id)
    }
}

/// Anthropic.
#[derive(Debug)]
pub struct Anthropic;

impl Anthropic {
    /// A client's own body, with the provider's name of the model, and its headers.
    fn own(path: &'static str, mut request: Request, model: &str) -> ProviderCall {
        if model != request.model {
            request.source.body.set("model", model);
        }
        proof::leave_foreign(&mut request);
        let mut call = ProviderCall::forwarded(path, request);
        if !call.headers.iter().any(|(name, _)| name == VERSION) {
            call.headers.push((Cow::Borrowed(VERSION), Cow::Borrowed(OLD)));
        }
        call
    }
}

impl ProviderFormat for Anthropic {
    fn paths(&self) -> &'static [&'static str] {
        &[MESSAGES, COUNT]
    }

    fn version(&self) -> Option<&'static str> {
        Some("/v1")
    }

    fn key_header(&self) -> KeyHeader {
        KeyHeader::Named("x-api-key")
    }

    fn call(&self, mut request: Request, upstream: &Upstream<'_>) -> Result<ProviderCall, Failure> {
        if request.source.format == Format::AnthropicMessages {
            let mut call = Self::own(MESSAGES, request, upstream.model);
            set_tier(&mut call.body, upstream);
            return Ok(call);
        }
        feature::check(&request, "Anthropic", translate::takes)?;
        prepare(&mut request, upstream)?;
        loosen(&mut request);
        let mut body = translate::body(&request, upstream)?;
        set_tier(&mut body, upstream);
        let version = if translate::samples(&request) { OLD } else { NEW };
        let mut call = ProviderCall::translated(Format::AnthropicMessages, request.stream, MESSAGES.into(), body);
        call.headers.push((Cow::Borrowed(VERSION), Cow::Borrowed(version)));
        Ok(call)
    }

    fn count(&self, request: Request, model: &str) -> Option<ProviderCall> {
        let is_own = request.source.format == Format::AnthropicMessages;
        is_own.then(|| ProviderCall { is_streamed: false, ..Self::own(COUNT, request, model) })
    }

    fn limit(&self, call: &mut ProviderCall, tokens: u32) {
        call.body.set("max_tokens", &tokens);
        keep_thought_within(&mut call.body, tokens);
    }

    fn reader(&self, _format: Format) -> Box<dyn AnswerReader> {
        Box::<reader::Reader>::default()
    }

    fn read_whole(&self, _format: Format, body: &[u8]) -> Vec<Event> {
        reader::read_whole(body)
    }

    fn read_refusal(&self, status: u16, body: &[u8]) -> ProviderError {
        read_named_refusal(status, body)
    }
}

/// Asks for the usual service tier; without the word, what a project has bought of the dearer one is used.
fn set_tier(body: &mut Fields, upstream: &Upstream<'_>) {
    if matches!(upstream.tier, Some(Tier::Standard | Tier::Us)) {
        body.set("service_tier", "standard_only");
    }
}

/// Lowers the bound of reasoning below the limit: the provider refuses one that is not.
fn keep_thought_within(body: &mut Fields, tokens: u32) {
    let thinking = body.object("thinking", "an object").ok().flatten();
    let budget = thinking.and_then(|thinking| thinking.whole("budget_tokens", 0, u64::MAX).ok().flatten());
    if budget.is_none_or(|budget| budget < tokens.into()) {
        return;
    }
    let thinking = match tokens.checked_sub(1) {
        Some(budget) if budget >= LEAST_THOUGHT => serde_json::json!({"type": "enabled", "budget_tokens": budget}),
        _ => serde_json::json!({"type": "disabled"}),
    };
    body.set("thinking", &thinking);
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::format::openai::read_chat;

    const UPSTREAM: Upstream<'_> = Upstream { model: "claude-x", max_output: 900, tier: None };

    fn header<'a>(call: &'a ProviderCall, name: &str) -> Option<&'a str> {
        call.headers.iter().find(|(known, _)| known == name).map(|(_, value)| &**value)
    }

    #[test]
    fn a_clients_bytes_query_and_headers_pass_and_the_model_is_named_as_its_provider_does() {
        let text = r#"{ "model" : "claude-x","max_tokens":9, "messages": [ {"role":"user","content":"h\u00e9"} ],
            "system":[{"type":"text","text":"s","cache_control":{"type":"ephemeral"}}],"new":[1] }"#;
        let mut request = read_messages(text.as_bytes()).unwrap();
        request.source.query = Some("beta=true".into());
        request.source.headers = vec![("anthropic-beta".into(), "a,b".into()), (VERSION.into(), NEW.into())];
        let call = Anthropic.call(request.clone(), &UPSTREAM).unwrap();
        assert_eq!((&*call.path, call.body.to_json()), ("/messages?beta=true", text.to_owned()));
        assert_eq!((header(&call, "anthropic-beta"), header(&call, VERSION)), (Some("a,b"), Some(NEW)));
        request.source.headers.clear();
        let other = Anthropic.call(request.clone(), &Upstream { model: "other", ..UPSTREAM }).unwrap();
        assert_eq!(other.body.to_json(), text.replace("\"claude-x\"", "\"other\""));
        assert_eq!(header(&other, VERSION), Some(OLD));
        let count = Anthropic.count(request, "claude-x").unwrap();
        assert_eq!(&*count.path, "/messages/count_tokens?beta=true");
    }

    #[test]
    fn a_request_of_another_format_gets_the_version_that_takes_its_fields() {
        let of = |more: &str| {
            let body = format!(r#"{{"model":"m","messages":[{{"role":"user","content":"x"}}]{more}}}"#);
            let call = Anthropic.call(read_chat(body.as_bytes()).unwrap(), &UPSTREAM).unwrap();
            header(&call, VERSION).unwrap().to_owned()
        };
        assert_eq!((of(""), of(r#","temperature":0.5"#), of(r#","top_p":0.5"#)), (NEW.into(), OLD.into(), OLD.into()));
    }

    #[test]
    fn a_lower_limit_keeps_the_reasoning_below_it() {
        let of = |budget: u32, limit: u32| {
            let thinking = json!({"type": "enabled", "budget_tokens": budget});
            let body = json!({"model": "m", "max_tokens": 9_000, "thinking": thinking, "messages": [{"role": "user", "content": "x"}]});
            let mut call = Anthropic.call(read_messages(body.to_string().as_bytes()).unwrap(), &UPSTREAM).unwrap();
            Anthropic.limit(&mut call, limit);
            let body: Value = serde_json::from_str(&call.body.to_json()).unwrap();
            (body["max_tokens"].clone(), body["thinking"].clone())
        };
        assert_eq!(of(4_000, 5_000).1["budget_tokens"], 4_000);
        assert_eq!(of(4_000, 4_000), (json!(4_000), json!({"type": "enabled", "budget_tokens": 3_999})));
        assert_eq!(of(4_000, 1_024).1, json!({"type": "disabled"}));
        assert_eq!(of(4_000, 1).1, json!({"type": "disabled"}));
    }
}
