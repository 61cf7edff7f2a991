//! What a request to an open model may ask for. [`fields`] is the one list of known fields, from which the refusals,
//! the table in `docs/open-models.md` and the tests are made; [`messages`] does the same within conversations. A field
//! that would change an answer and is not honoured is refused by its name before anything is held. Otherwise the answer
//! would be billed as if the field were absent.

mod fields;
mod messages;
mod of_messages;

use std::borrow::Cow;

use wire::{
    format::{
        feature::{self, Feature, Takes},
        own_texts,
    },
    inference::{Failure, Format, Request, Work},
};

/// A field that is not honoured, and the reason.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Unable {
    pub(super) field: Cow<'static, str>,
    pub(super) message: String,
}

impl Unable {
    fn new(field: impl Into<Cow<'static, str>>, message: impl Into<String>) -> Self {
        Self { field: field.into(), message: message.into() }
    }
}

impl From<Unable> for Failure {
    fn from(unable: Unable) -> Self {
        Self::Invalid { field: unable.field.into_owned(), message: unable.message }
    }
}

/// Refuses fields that an open model would ignore.
pub(super) fn check_open(request: &Request) -> Result<(), Failure> {
    if matches!(request.work, Work::Embedding(_)) {
        return own_texts(request).map(drop);
    }
    match request.source.format {
        Format::OpenAiChat | Format::OpenAiCompletions | Format::AnthropicMessages => {
            messages::check(request)?;
            request.source.body.names().try_for_each(|name| fields::check(request, name))?;
            Ok(())
        }
        // Read to neutral words, as for a provider of another format.
        Format::OpenAiResponses
        | Format::OpenAiEmbeddings
        | Format::OpenAiSpeech
        | Format::OpenAiTranscriptions
        | Format::OpenAiImages
        | Format::Gemini
        | Format::GeminiEmbeddings
        | Format::Mistral
        | Format::Cohere
        | Format::CohereEmbed
        | Format::Rerank => feature::check(request, "this gateway", takes),
    }
}

/// What open models honour of requests in other formats than chat completions.
const fn takes(feature: Feature) -> Takes {
    match feature {
        // A text model reads its own earlier words; whose thoughts they were changes no answer.
        Feature::LaterInstructions
        | Feature::Reasoning
        | Feature::Refusal
        | Feature::NoTool
        | Feature::StrictTool
        | Feature::AnyTool
        | Feature::NamedTool
        | Feature::SingleCall
        | Feature::Temperature
        | Feature::TopP
        | Feature::TopK
        | Feature::Seed
        | Feature::FrequencyPenalty
        | Feature::PresencePenalty
        | Feature::LogitBias
        | Feature::Stop
        | Feature::Choices
        | Feature::Logprobs
        | Feature::JsonObject
        | Feature::JsonSchema => Takes::Mapped,
        Feature::AuthorName
        | Feature::SignedReasoning
        | Feature::FailedResult
        | Feature::CacheMark
        | Feature::EndUser => Takes::Left,
        Feature::TextPrompt
        | Feature::Prefix
        | Feature::ImageData
        | Feature::ImageUrl
        | Feature::ImageId
        | Feature::MadeImage
        | Feature::Audio
        | Feature::FileData
        | Feature::FileUrl
        | Feature::FileId
        | Feature::CustomTool
        | Feature::ResultMedia
        | Feature::Effort
        | Feature::ReasoningTokens => Takes::Refused,
    }
}

#[cfg(test)]
mod tests {
    use wire::{
        format::openai::{read_chat, read_completion, read_response},
        inference::Task,
    };

    use super::*;

    #[test]
    fn what_other_formats_ask_for_and_a_text_model_can_t_is_refused_by_their_names() {
        let of = |fields: &str| {
            let body = format!(r#"{{"model":"m","input":"x"{fields}}}"#);
            check_open(&read_response(body.as_bytes()).unwrap()).map_err(field)
        };
        for (fields, field) in [
            (r#","tools":[{"type":"custom","name":"f"}]"#, "tools"),
            (r#","tools":[{"type":"web_search"}]"#, "tools[0].type"),
            (r#","reasoning":{"effort":"high"}"#, "reasoning.effort"),
            (r#","previous_response_id":"r""#, "previous_response_id"),
            (r#","input":[{"role":"user","content":[{"type":"input_image","image_url":"https://x/y.png"}]}]"#, "input"),
        ] {
            assert_eq!(of(fields).unwrap_err(), field, "{fields}");
        }
        let all = r#","instructions":"be brief","temperature":0.5,"max_output_tokens":5,"store":false,"user":"u",
            "tools":[{"type":"function","name":"f"}],"tool_choice":"none","reasoning":{"effort":null},
            "text":{"format":{"type":"json_object"}}"#;
        assert_eq!(of(all), Ok(()));
        let tools = r#","tools":[{"type":"function","name":"f","strict":true}],"tool_choice":"required","parallel_tool_calls":false"#;
        assert_eq!(of(tools), Ok(()));
    }

    fn field(failure: Failure) -> String {
        let Failure::Invalid { field, .. } = failure else { panic!("{failure}") };
        field
    }

    fn check(task: Task, fields: &str) -> Result<(), Failure> {
        let (prompt, read): (_, fn(&[u8]) -> _) = match task {
            Task::Completion => (r#""prompt":"x""#, read_completion),
            _ => (r#""messages":[{"role":"user","content":"x"}]"#, read_chat),
        };
        let body = format!(r#"{{"model":"m",{prompt}{fields}}}"#);
        check_open(&read(body.as_bytes()).unwrap())
    }

    #[test]
    fn what_would_be_ignored_is_refused_by_name() {
        let tool = r#"[{"type":"function","function":{"name":"f"}}]"#;
        let content =
            |part: &str| format!(r#","messages":[{{"role":"user","content":[{{"type":"text","text":"x"}},{part}]}}]"#);
        for (fields, field) in [
            (r#","response_format":{"type":"json_object","schema":{}}"#.to_owned(), "response_format.schema"),
            (r#","response_format":{"type":"grammar"}"#.to_owned(), "response_format"),
            (r#","response_format":"json_object""#.to_owned(), "response_format"),
            (
                r#","response_format":{"type":"json_schema","json_schema":{"schema":{},"mode":1}}"#.to_owned(),
                "response_format.json_schema.mode",
            ),
            (r#","response_format":{"type":"json_schema","json_schema":{}}"#.to_owned(), "response_format"),
            (r#","response_format":{"type":"text","schema":{}}"#.to_owned(), "response_format.schema"),
            (r#","tools":[{"type":"web_search"}]"#.to_owned(), "tools[0].type"),
            (r#","tools":{"type":"function"}"#.to_owned(), "tools"),
            (format!(r#","tools":{tool},"tool_choice":"sometimes""#), "tool_choice"),
            (r#","functions":[{"name":"f"}]"#.to_owned(), "functions"),
            (r#","functions":[],"function_call":{"name":"f"}"#.to_owned(), "function_call"),
            (r#","modalities":["text","audio"]"#.to_owned(), "modalities"),
            (r#","modalities":"audio""#.to_owned(), "modalities"),
            (r#","web_search_options":{}"#.to_owned(), "web_search_options"),
            (
                r#","stream":true,"stream_options":{"include_usage":true,"continuous_usage_stats":true}"#.to_owned(),
                "stream_options.continuous_usage_stats",
            ),
            (r#","stream":true,"stream_options":{"include_usgae":true}"#.to_owned(), "stream_options.include_usgae"),
            (r#","prompt":"x""#.to_owned(), "prompt"),
            (r#","echo":true"#.to_owned(), "echo"),
            (content(r#"{"type":"image_url","image_url":{"url":"https://x/y.png"}}"#), "messages"),
            (content(r#"{"type":"input_audio","input_audio":{"data":"","format":"wav"}}"#), "messages"),
            (content(r#"{"type":"file","file":{}}"#), "messages"),
            (content(r#"{"type":"text"}"#), "messages[0].content"),
            (content(r#"{"type":"text","text":5}"#), "messages[0].content"),
            (content(r#"{"type":"text","text":"x","image":"y"}"#), "messages[0].content[1].image"),
            (r#","messages":[{"role":"user","content":"x","prefix":true}]"#.to_owned(), "messages[0].prefix"),
            (
                r#","messages":[{"role":"user","content":"x"},{"role":"assistant","content":"x","audio":{"id":"a"}}]"#
                    .to_owned(),
                "messages[1].audio",
            ),
            (r#","messages":[{"role":"user","content":"x","name":7}]"#.to_owned(), "messages[0].name"),
            (
                r#","messages":[{"role":"user","content":"x","tool_calls":[{}]}]"#.to_owned(),
                "messages[0].tool_calls[0]",
            ),
            (
                r#","messages":[{"role":"user","content":"x","tool_calls":[{"function":{"name":"f"}}]}]"#.to_owned(),
                "messages[0].tool_calls",
            ),
            (
                r#","messages":[{"role":"assistant","content":"x","tool_calls":{}}]"#.to_owned(),
                "messages[0].tool_calls",
            ),
        ] {
            assert_eq!(self::field(check(Task::Chat, &fields).unwrap_err()), field, "{fields}");
        }
        for (fields, field) in [
            (r#","suffix":"end""#, "suffix"),
            (r#","best_of":2"#, "best_of"),
            (r#","response_format":{"type":"json_object"}"#, "response_format"),
            (r#","tools":[{"type":"function","function":{"name":"f"}}]"#, "tools"),
            (r#","tool_choice":"required""#, "tool_choice"),
            (r#","messages":[]"#, "messages"),
            (r#","top_logprobs":2"#, "top_logprobs"),
        ] {
            assert_eq!(self::field(check(Task::Completion, fields).unwrap_err()), field, "{fields}");
        }
    }

    #[test]
    fn what_asks_for_nothing_more_than_text_runs() {
        let tool = r#"[{"type":"function","function":{"name":"f"}}]"#;
        for fields in [
            String::new(),
            r#","response_format":{"type":"json_object"}"#.to_owned(),
            r#","response_format":{"type":"json_schema","json_schema":{"name":"n","schema":{},"strict":true}}"#.to_owned(),
            r#","response_format":{"type":"text"},"modalities":["text"],"tools":[],"functions":null"#.to_owned(),
            r#","tool_choice":"auto","function_call":"auto","response_format":null"#.to_owned(),
            r#","temperature":null,"frequency_penalty":0,"n":1,"top_k":-1,"logprobs":false,"tool_choice":"none""#.to_owned(),
            r#","user":"u","metadata":{"a":"b"},"store":true,"service_tier":"auto","parallel_tool_calls":false"#.to_owned(),
            r#","min_p":0.0,"repetition_penalty":1,"stop_token_ids":[],"chat_template_kwargs":{},"echo":false"#.to_owned(),
            r#","stream":true,"stream_options":{"include_usage":true,"include_obfuscation":false}"#.to_owned(),
            format!(r#","tools":{tool},"tool_choice":"none""#),
            format!(r#","tools":{tool}"#),
            format!(r#","tools":{tool},"tool_choice":"required","parallel_tool_calls":false"#),
            format!(r#","tools":{tool},"tool_choice":{{"type":"function","function":{{"name":"f"}}}}"#),
            r#","tools":[{"type":"web_search"}],"tool_choice":"none""#.to_owned(),
            r#","functions":[{"name":"f"}],"function_call":"none""#.to_owned(),
            r#","messages":[{"role":"assistant","content":[{"type":"refusal","refusal":"no"},{"type":"text","text":"x","cache_control":{"type":"ephemeral"}}]}]"#.to_owned(),
            r#","messages":[{"role":"user","content":"x","name":"ada"},{"role":"assistant","content":null,"refusal":"no","annotations":[],"audio":null,"tool_calls":null,"function_call":null}]"#.to_owned(),
            r#","messages":[{"role":"tool","content":"x","tool_call_id":"1"},{"role":"assistant","content":"x","reasoning_content":"hm","prefix":false}]"#.to_owned(),
        ] {
            assert_eq!(check(Task::Chat, &fields), Ok(()), "{fields}");
        }
        for fields in [r#","n":2,"best_of":2,"suffix":"""#, r#","suffix":null,"best_of":null,"echo":true,"logprobs":0"#]
        {
            assert_eq!(check(Task::Completion, fields), Ok(()), "{fields}");
        }
    }
}
