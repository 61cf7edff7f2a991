//! Reads requests of `generateContent`. The model stands in the path, and not in the body, which says nothing either of
//! whether a stream is wanted. Farebox's own fields are taken out of the body. Members that have no place in the neutral
//! words are listed as unread.

use super::{
    config, declarations,
    spelling::{field, refuse_twice},
    turns,
};
use crate::{
    fields::{BadRequest, Fields, text_of},
    format::{
        openai::reading::all_of,
        own::{self, Own},
    },
    inference::{Conversation, Format, Request, Source, Unread, Work},
};

/// The field that names a model, and what stands before a name.
pub(super) const MODEL: &str = "model";
const COLLECTION: &str = "models/";

/// Reads a request for this model; without one, for the model that the body names.
///
/// # Errors
///
/// The first field with a wrong value. The error is for the client, and names the field.
pub fn read_generate(body: &[u8], model: Option<&str>, stream: bool) -> Result<Request, BadRequest> {
    read(Fields::of_client(body)?, model, stream)
}

/// Reads a request whose tokens are to be counted: the turns alone, or a whole request within it.
///
/// # Errors
///
/// As for [`read_generate`].
pub fn read_to_count(body: &[u8], model: &str) -> Result<Request, BadRequest> {
    const WHOLE: &str = "generateContentRequest";
    let body = Fields::of_client(body)?;
    refuse_twice(&body)?;
    let Some(json) = field(&body, WHOLE) else { return read(body, Some(model), false) };
    if let Some(name) = body.names().find(|name| super::spelling::camel(name) != WHOLE && body.present(name).is_some())
    {
        return Err(BadRequest::new(name, format!("can't stand beside {WHOLE}")));
    }
    let whole = Fields::parse(json.as_bytes()).map_err(|_| BadRequest::new(WHOLE, "must be an object"))?;
    read(whole, Some(model), false)
}

fn read(mut body: Fields, model: Option<&str>, stream: bool) -> Result<Request, BadRequest> {
    let Own { max_cost, auto_scale, fallbacks } = own::take(&mut body)?;
    refuse_twice(&body)?;
    let model = take_model(&mut body, model)?;
    let mut unread = Vec::new();
    let conversation = conversation(&body, &mut unread)?;
    let (work, source) = (Work::Conversation(Box::new(conversation)), Source::of(Format::Gemini, body));
    let unread = all_of(unread)?;
    Ok(Request { model, work, stream, max_cost, auto_scale, fallbacks, end_user: None, unread, source })
}

/// The model of the path, or else of the body, which must not name another one. The body keeps none: its provider knows
/// the model by another name.
///
/// # Errors
///
/// There is none, or the body names another one.
pub(super) fn take_model(body: &mut Fields, model: Option<&str>) -> Result<String, BadRequest> {
    let named = body.string(MODEL)?.map(|name| name.strip_prefix(COLLECTION).map(str::to_owned).unwrap_or(name));
    let name = match (model, named) {
        (Some(model), Some(named)) if model != named => {
            return Err(BadRequest::new(MODEL, "is not the model that the path names"));
        }
        (Some(model), _) => model.to_owned(),
        (None, Some(named)) => named,
        (None, None) => return Err(BadRequest::new(MODEL, "is required")),
    };
    body.remove(MODEL);
    own::named(name)
}

/// Whether the model's name within a body, such as in `requests[].model`, is this one.
pub(super) fn is_named(json: &str, model: &str) -> bool {
    text_of(json).is_some_and(|name| name.strip_prefix(COLLECTION).unwrap_or(&name) == model)
}

fn conversation(body: &Fields, unread: &mut Vec<Unread>) -> Result<Conversation, BadRequest> {
    let mut conversation = Conversation::default();
    if let Some(json) = field(body, "systemInstruction") {
        conversation.messages.extend(turns::system(json, unread)?);
    }
    let contents = field(body, "contents").ok_or_else(|| BadRequest::new("contents", "is required"))?;
    conversation.messages.extend(turns::read(contents, unread)?);
    if let Some(json) = field(body, "generationConfig") {
        config::read(json, &mut conversation, unread)?;
    }
    declarations::read(body, &mut conversation, unread)?;
    Ok(conversation)
}

#[cfg(test)]
mod tests {
    use proptest::{collection, prelude::*, sample::select};
    use serde_json::{Value, json};

    use super::*;
    use crate::format::{
        self, ProviderFormat, Upstream,
        anthropic::Anthropic,
        cohere::Cohere,
        gemini::Gemini,
        mistral::Mistral,
        openai::{OpenAi, OpenAiCompatible},
    };

    fn with(more: &Value) -> Result<Request, BadRequest> {
        let mut body = json!({"contents": [{"parts": [{"text": "x"}]}]});
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        read_generate(body.to_string().as_bytes(), Some("openai/m"), true)
    }

    #[test]
    fn a_request_is_read_and_ours_is_taken_out() {
        let request = with(&json!({"max_cost": 0.5, "models": ["b"], "model": "models/openai/m", "new": 1,
            "system_instruction": {"parts": {"text": "be brief"}}, "generation_config": {"maxOutputTokens": 9}}))
        .unwrap();
        assert_eq!((&*request.model, request.stream, request.max_cost.as_deref()), ("openai/m", true, Some("0.5")));
        assert_eq!((request.fallbacks.len(), request.generation().unwrap().limit.unwrap().tokens), (1, 9));
        let body = request.source.body.to_json();
        assert!(!body.contains("max_cost") && !body.contains("models/") && body.contains("\"new\":1"), "{body}");
        let Work::Conversation(conversation) = &request.work else { panic!() };
        assert_eq!(conversation.messages.len(), 2);
        let other = request.for_model("c".into());
        assert_eq!((&*other.model, other.source.body.to_json()), ("c", body), "no model stands in the body");
    }

    #[test]
    fn a_wrong_field_is_refused_by_its_name() {
        for (more, field) in [
            (json!({"contents": null}), "contents"),
            (json!({"model": "models/other"}), "model"),
            (json!({"model": 7}), "model"),
            (json!({"generationConfig": []}), "generationConfig"),
            (json!({"generationConfig": {}, "generation_config": {}}), "generationConfig"),
            (json!({"systemInstruction": "x"}), "systemInstruction"),
            (json!({"max_cost": []}), "max_cost"),
            (json!({"farebox_x": 1}), "farebox_x"),
        ] {
            assert_eq!(with(&more).unwrap_err().field, field, "{more}");
        }
        assert_eq!(read_generate(br#"{"contents":[{}]}"#, None, false).unwrap_err().field, "model");
        assert_eq!(read_generate(br#"{"contents":[{}]}"#, Some(""), false).unwrap_err().field, "model");
    }

    #[test]
    fn what_is_counted_is_the_turns_or_a_whole_request() {
        let turns = json!([{"parts": [{"text": "x"}]}]);
        let of = |body: Value| read_to_count(body.to_string().as_bytes(), "m");
        let whole = json!({"generateContentRequest": {"model": "models/m", "contents": turns, "tools": []}});
        assert_eq!(of(whole).unwrap().source.body.to_json(), json!({"contents": turns, "tools": []}).to_string());
        assert!(of(json!({"contents": turns})).is_ok());
        let both = json!({"generateContentRequest": {"contents": turns}, "contents": turns});
        assert_eq!(of(both).unwrap_err().field, "contents");
        assert_eq!(of(json!({"generate_content_request": []})).unwrap_err().field, "generateContentRequest");
    }

    /// Odd values under the names of this format.
    fn odd() -> impl Strategy<Value = Value> {
        let names = [
            "parts",
            "role",
            "text",
            "thought",
            "thoughtSignature",
            "inline_data",
            "mimeType",
            "data",
            "fileData",
            "fileUri",
            "functionCall",
            "functionResponse",
            "name",
            "args",
            "response",
            "id",
            "functionDeclarations",
            "parameters",
            "type",
            "items",
            "thinkingConfig",
            "thinkingBudget",
            "maxOutputTokens",
            "stopSequences",
            "responseSchema",
            "topK",
            "seed",
            "functionCallingConfig",
            "mode",
            "threshold",
            "nullable",
            "anyOf",
        ];
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            select(vec!["model", "user", "x", "ANY", "image/png", "AAAA", "OBJECT", "YW50aHJvcGljOng="])
                .prop_map(Value::from),
        ];
        leaf.prop_recursive(5, 60, 5, move |inner| {
            prop_oneof![
                collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                collection::vec((select(names.to_vec()), inner), 0..5).prop_map(|pairs| Value::Object(
                    pairs.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
                )),
            ]
        })
    }

    proptest! {
        #[test]
        fn no_body_panics_here_or_on_its_way_to_any_provider(parts in collection::vec(odd(), 0..3), config in odd(), tools in odd(), other in odd()) {
            let said = json!({"parts": [{"text": "x"}]});
            let body = json!({"contents": [said, {"role": "model", "parts": parts}], "generation_config": config, "tools": tools,
                "toolConfig": other, "safetySettings": other});
            for body in [body, json!({"contents": other})] {
                let Ok(request) = read_generate(body.to_string().as_bytes(), Some("m"), true) else { continue };
                let _ = format::terms(&request);
                let _ = crate::tokens::count_prompt(&request, "m");
                let providers: [&dyn ProviderFormat; 6] = [&Gemini, &OpenAi, &OpenAiCompatible, &Anthropic, &Mistral, &Cohere];
                for provider in providers {
                    let _ = provider.call(request.clone(), &Upstream { model: "m", max_output: 9, tier: None });
                }
            }
        }
    }
}
