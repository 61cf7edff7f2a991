use serde_json::{Value, json};

use super::*;
use crate::{
    fields::Fields,
    format::{
        ProviderFormat, Upstream, anthropic::Anthropic, cohere::Cohere, gemini::Gemini, known::assert_page,
        mistral::Mistral, openai::read_chat,
    },
    inference::{Content, Conversation, Failure, File, Image, Media, Request, Work},
};

#[test]
fn the_page_for_people_is_the_tables() {
    assert_page("translation.md", &page());
}

/// A chat that does not use a feature, and what makes it use it: fields, and a change that no field of a chat makes.
struct Example {
    plain: Value,
    with: Value,
    change: fn(&mut Conversation),
}

#[expect(clippy::needless_pass_by_value, reason = "it is made where it is said")]
fn said(content: Value) -> Value {
    json!({"messages": [{"role": "user", "content": content}]})
}

#[expect(clippy::needless_pass_by_value, reason = "it is made where it is said")]
fn with_part(part: Value) -> Value {
    said(json!([{"type": "text", "text": "x"}, part]))
}

/// The contents of the first message, to be changed.
fn media(conversation: &mut Conversation) -> &mut Media {
    match &mut conversation.messages[0].parts[1].content {
        Content::Image(Image { media, .. }) | Content::File(File { media: Some(media), .. }) => media,
        other => panic!("{other:?}"),
    }
}

/// An example of each feature; `None` for one that chats do not have.
fn example(feature: Feature, provider: &str) -> Option<Example> {
    let tool = |strict: bool| json!({"type": "function", "function": {"name": "f", "strict": strict}});
    let tools = json!({"tools": [tool(false)]});
    let choosing = |choice: Value| json!({"tools": [tool(false)], "tool_choice": choice});
    let call = json!({"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}});
    let called = |content: Value| {
        json!({"messages": [{"role": "user", "content": "x"}, {"role": "assistant", "tool_calls": [call]},
            {"role": "tool", "tool_call_id": "c", "content": content}]})
    };
    let answered = |content: Value| json!({"messages": [{"role": "user", "content": "x"}, {"role": "assistant", "content": content}]});
    let text = json!({"type": "text", "text": "x"});
    let picture = json!({"type": "image_url", "image_url": {"url": "data:image/png;base64,AA"}});
    let file = json!({"type": "file", "file": {"file_data": "data:application/pdf;base64,AA", "filename": "a.pdf"}});
    let field = |name: &str, value: Value| (json!({}), json!({name: value}));
    let mut change: fn(&mut Conversation) = |_| {};
    let (plain, with) = match feature {
        Feature::TextPrompt => return None,
        Feature::LaterInstructions => (
            said(json!("x")),
            json!({"messages": [{"role": "user", "content": "x"}, {"role": "system", "content": "y"}]}),
        ),
        Feature::AuthorName => {
            (said(json!("x")), json!({"messages": [{"role": "user", "name": "ada", "content": "x"}]}))
        }
        Feature::ImageData => (said(json!([text])), with_part(picture)),
        Feature::ImageUrl => {
            (said(json!([text])), with_part(json!({"type": "image_url", "image_url": {"url": "https://x/y.png"}})))
        }
        Feature::ImageId => {
            change = |conversation| *media(conversation) = Media::Id("id".into());
            (said(json!([text])), with_part(picture))
        }
        Feature::MadeImage => {
            let with = json!({"messages": [{"role": "user", "content": "x"}, {"role": "assistant", "content": "y", "images": [picture]}]});
            (answered(json!("y")), with)
        }
        Feature::Audio => (
            said(json!([text])),
            with_part(json!({"type": "input_audio", "input_audio": {"data": "AA", "format": "wav"}})),
        ),
        Feature::FileData => (said(json!([text])), with_part(file)),
        Feature::FileUrl => {
            change = |conversation| *media(conversation) = Media::Url("https://x/y.pdf".into());
            (said(json!([text])), with_part(file))
        }
        Feature::FileId => {
            change = |conversation| *media(conversation) = Media::Id("id".into());
            (said(json!([text])), with_part(file))
        }
        Feature::Reasoning => {
            let with = json!({"messages": [{"role": "user", "content": "x"},
                {"role": "assistant", "reasoning_content": "hm", "content": "y"}]});
            (answered(json!("y")), with)
        }
        Feature::SignedReasoning => {
            let thought = json!({"type": "thinking", "thinking": "hm", "signature": if provider == "Google" { "google:s" } else { "s" }});
            (answered(json!("y")), answered(json!([thought, {"type": "text", "text": "y"}])))
        }
        Feature::Refusal => (answered(json!("y")), answered(json!([{"type": "refusal", "refusal": "no"}]))),
        Feature::CustomTool => field("tools", json!([{"type": "custom", "custom": {"name": "run"}}])),
        Feature::StrictTool => (tools, json!({"tools": [tool(true)]})),
        Feature::NoTool => (tools, choosing(json!("none"))),
        Feature::AnyTool => (tools, choosing(json!("required"))),
        Feature::NamedTool => (tools, choosing(json!({"type": "function", "function": {"name": "f"}}))),
        Feature::SingleCall => (tools, json!({"tools": [tool(false)], "parallel_tool_calls": false})),
        Feature::ResultMedia => (called(json!("x")), called(json!([text, picture]))),
        Feature::FailedResult => {
            change = |conversation| {
                let Content::ToolResult(result) = &mut conversation.messages[2].parts[0].content else { panic!() };
                result.is_error = true;
            };
            (called(json!("x")), called(json!("x")))
        }
        Feature::JsonObject => field("response_format", json!({"type": "json_object"})),
        Feature::JsonSchema => {
            field("response_format", json!({"type": "json_schema", "json_schema": {"name": "n", "schema": {}}}))
        }
        Feature::Effort => field("reasoning_effort", json!("low")),
        Feature::ReasoningTokens => {
            change = |conversation| conversation.reasoning.max_tokens = Some(2_000);
            (json!({}), json!({}))
        }
        Feature::Temperature => field("temperature", json!(0.5)),
        Feature::TopP => field("top_p", json!(0.5)),
        Feature::TopK => field("top_k", json!(5)),
        Feature::Seed => field("seed", json!(5)),
        Feature::FrequencyPenalty => field("frequency_penalty", json!(0.5)),
        Feature::PresencePenalty => field("presence_penalty", json!(0.5)),
        Feature::LogitBias => field("logit_bias", json!({"5": 1})),
        Feature::Stop => field("stop", json!("x")),
        Feature::Choices => field("n", json!(2)),
        Feature::Logprobs => field("logprobs", json!(true)),
        Feature::Prefix => {
            let with = json!({"role": "assistant", "content": "It is", "prefix": true});
            let plain = json!({"role": "assistant", "content": "It is"});
            let said = |message: Value| json!({"messages": [{"role": "user", "content": "x"}, message]});
            (said(plain), said(with))
        }
        Feature::CacheMark => {
            let marked = json!([{"type": "text", "text": "x", "cache_control": {"type": "ephemeral"}}]);
            (said(json!([text])), said(marked))
        }
        Feature::EndUser => field("user", json!("ada")),
    };
    Some(Example { plain, with, change })
}

fn request(fields: &Value) -> Request {
    let mut body = json!({"model": "m", "messages": [{"role": "user", "content": "hi"}]});
    body.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    read_chat(body.to_string().as_bytes()).unwrap()
}

fn written(provider: &str, request: Request) -> Result<Fields, Failure> {
    let upstream = Upstream { model: "m", max_output: 50_000, tier: None };
    let format: &dyn ProviderFormat = match provider {
        "OpenAI" => return openai::translated(&request, &upstream),
        "compatible with OpenAI" => return openai::compatible::translated(request, &upstream),
        "Anthropic" => &Anthropic,
        "Google" => &Gemini,
        "Mistral" => &Mistral,
        "Cohere" => &Cohere,
        other => panic!("{other}"),
    };
    format.call(request, &upstream).map(|call| call.body)
}

#[test]
fn each_feature_is_treated_as_the_tables_say() {
    for (provider, takes) in COLUMNS {
        for feature in Feature::ALL {
            let Some(Example { plain, with, change }) = example(feature, provider) else { continue };
            let mut with = request(&with);
            let Work::Conversation(conversation) = &mut with.work else { panic!() };
            change(conversation);
            let said = format!("{provider}: {feature:?}: {with:?}");
            let (plain, with) = (written(provider, request(&plain)).unwrap(), written(provider, with));
            match (takes(feature), with) {
                (Takes::Mapped, Ok(with)) => assert_ne!(plain.to_json(), with.to_json(), "{said}"),
                (Takes::Left, Ok(with)) => assert_eq!(plain.to_json(), with.to_json(), "{said}"),
                (Takes::Refused, Err(Failure::Invalid { field, .. })) => {
                    assert!(field.starts_with(feature.field(Format::OpenAiChat)), "{field}: {said}");
                }
                (takes, with) => panic!("{takes:?}, but {with:?}: {said}"),
            }
        }
    }
}

#[test]
fn two_features_together_are_asked_or_refused_by_one_of_their_names() {
    for (provider, _) in COLUMNS {
        for (first, second) in Feature::ALL.into_iter().flat_map(|first| Feature::ALL.map(|second| (first, second))) {
            let (Some(one), Some(two)) = (example(first, provider), example(second, provider)) else { continue };
            let mut fields = one.with;
            fields.as_object_mut().unwrap().extend(two.with.as_object().unwrap().clone());
            if let Err(failure) = written(provider, request(&fields)) {
                let Failure::Invalid { field, .. } = &failure else { panic!("{failure:?}") };
                let is_of = |feature: Feature| field.starts_with(feature.field(Format::OpenAiChat));
                assert!(is_of(first) || is_of(second), "{provider}: {first:?}, {second:?}: {failure}");
            }
        }
    }
}
