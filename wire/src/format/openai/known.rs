//! The known request fields of chat completions and legacy completions, and the effect of each on a request's cost
//! where the gateway's key pays. One table: refusals of unpriced fields, the page for people (`docs/request-fields.md`)
//! and the tests are made from it.
//!
//! The safe reading: a field that is not in the table may cost anything, so it is refused by its name. With the
//! caller's own key at the provider this table is not consulted, and all fields pass.

mod check;

use super::responses;
use crate::{
    format::known::{Does, Known, table, table_of_routes},
    inference::Format,
};
pub(in crate::format) use check::terms;

/// The routes that have a field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum On {
    Chat,
    Completions,
    Both,
}

/// A known field.
#[derive(Debug, Clone, Copy)]
struct Field {
    name: &'static str,
    on: On,
    does: Does,
    /// A remark for people.
    note: &'static str,
}

const fn field(name: &'static str, on: On, does: Does, note: &'static str) -> Field {
    Field { name, on, does, note }
}

/// All known fields. Those without a note belong to OpenAI, or to servers that speak its format.
const FIELDS: [Field; 57] = {
    use Does::{Nothing, Output, Price, Prompt, Refused};
    use On::{Both, Chat, Completions};
    [
        field("model", Both, Nothing, "chooses whose prices count"),
        field("messages", Chat, Prompt, "their parts: see below"),
        field("prompt", Completions, Prompt, ""),
        field("suffix", Completions, Prompt, ""),
        field("tools", Chat, Prompt, "of type `function` and `custom`; hosted tools are refused"),
        field("functions", Chat, Prompt, ""),
        field("response_format", Chat, Prompt, "with its schema"),
        field("chat_template_kwargs", Chat, Prompt, ""),
        field("max_tokens", Both, Output, "of this and the next the larger counts"),
        field("max_completion_tokens", Chat, Output, ""),
        field("n", Both, Output, "every answer is paid for"),
        field("best_of", Completions, Output, "every answer is paid for"),
        field(
            "service_tier",
            Both,
            Price,
            "`auto` and `default`, both at the standard tier; `flex` and `priority` where the model has prices for them",
        ),
        field("prompt_cache_options", Chat, Price, "`ttl`: `30m` or `12h`"),
        field("audio", Chat, Refused, ""),
        field("modalities", Chat, Price, "`text` alone"),
        field("moderation", Chat, Refused, ""),
        field("prediction", Chat, Refused, "what is not used of it is billed as output, without a bound"),
        field("web_search_options", Chat, Refused, "each search has a fee"),
        field("stream", Both, Nothing, ""),
        field("stream_options", Both, Nothing, "`include_usage`, `include_obfuscation`, `continuous_usage_stats`"),
        field("temperature", Both, Nothing, ""),
        field("top_p", Both, Nothing, ""),
        field("top_k", Both, Nothing, ""),
        field("min_p", Both, Nothing, ""),
        field("typical_p", Both, Nothing, ""),
        field("frequency_penalty", Both, Nothing, ""),
        field("presence_penalty", Both, Nothing, ""),
        field("repetition_penalty", Both, Nothing, ""),
        field("logit_bias", Both, Nothing, ""),
        field("logprobs", Both, Nothing, ""),
        field("top_logprobs", Chat, Nothing, ""),
        field("seed", Both, Nothing, ""),
        field("random_seed", Both, Nothing, ""),
        field("stop", Both, Nothing, ""),
        field("stop_token_ids", Both, Nothing, ""),
        field("min_tokens", Both, Nothing, "at most the limit"),
        field("ignore_eos", Both, Nothing, "at most the limit"),
        field("skip_special_tokens", Both, Nothing, ""),
        field("echo", Completions, Nothing, "the prompt is read once"),
        field("tool_choice", Chat, Nothing, ""),
        field("function_call", Chat, Nothing, ""),
        field("parallel_tool_calls", Chat, Nothing, ""),
        field("reasoning_effort", Chat, Nothing, "reasoning counts in the output limit"),
        field("reasoning", Chat, Nothing, "reasoning counts in the output limit"),
        field("include_reasoning", Chat, Nothing, ""),
        field("reasoning_format", Chat, Nothing, ""),
        field("thinking", Chat, Nothing, "reasoning counts in the output limit"),
        field("enable_thinking", Chat, Nothing, ""),
        field("thinking_budget", Chat, Nothing, ""),
        field("verbosity", Chat, Nothing, ""),
        field("user", Both, Nothing, ""),
        field("safety_identifier", Chat, Nothing, ""),
        field("metadata", Chat, Nothing, ""),
        field("store", Chat, Nothing, "kept in the gateway's project at the provider"),
        field("prompt_cache_key", Chat, Nothing, ""),
        field("prompt_cache_retention", Chat, Nothing, "older models; costs nothing"),
    ]
};

/// The effect of a message's part, by its type.
const PARTS: [Known; 6] = [
    ("text", Does::Prompt, ""),
    ("refusal", Does::Prompt, ""),
    ("thinking", Does::Prompt, "what a model thought, given back to it"),
    ("image_url", Does::Prompt, "at the largest that the model reads of one"),
    (
        "file",
        Does::Prompt,
        "`file_data` alone, taken as the model's whole context; a `file_id` is the gateway's, and refused",
    ),
    ("input_audio", Does::Refused, ""),
];

/// A field of a route by its name.
fn find(format: Format, name: &str) -> Option<&'static Field> {
    let is_here = |field: &&Field| match field.on {
        On::Both => true,
        On::Chat => format == Format::OpenAiChat,
        On::Completions => format == Format::OpenAiCompletions,
    };
    FIELDS.iter().filter(is_here).find(|field| field.name == name)
}

/// Names of the fields that are counted with a prompt in this format, besides its messages.
pub fn counted_beside(format: Format) -> Vec<&'static str> {
    let is_beside = |field: &&Field| field.does == Does::Prompt && !["messages", "prompt"].contains(&field.name);
    match format {
        Format::OpenAiResponses => responses::known::counted_beside().collect(),
        Format::OpenAiEmbeddings
        | Format::OpenAiSpeech
        | Format::OpenAiTranscriptions
        | Format::OpenAiImages
        | Format::GeminiEmbeddings
        | Format::CohereEmbed
        | Format::Rerank => Vec::new(),
        _ => FIELDS.iter().filter(is_beside).map(|field| field.name).collect(),
    }
}

/// The table for people, in Markdown.
pub fn page() -> String {
    let mut page = String::from(
        "# Request fields of closed models\n\n\
         What each field of `/v1/chat/completions`, `/v1/completions` and `/v1/responses` does to what a request costs, where the gateway's key pays.\n\
         A field that is not listed is refused by its name: it may cost anything. With your own key (`provider-key`) all fields pass\n\
         as they came, and nothing is charged. This page is made from the gateway's own table.\n\n\
",
    );
    page.push_str(&table_of_routes(FIELDS.into_iter().map(|Field { name, on, does, note }| {
        let on = match on {
            On::Chat => "chat",
            On::Completions => "completions",
            On::Both => "both",
        };
        (on, (name, does, note))
    })));
    page.push_str("\nParts of a message, by `type`; others are refused:\n\n");
    page.push_str(&table("part", &PARTS));
    page.push_str("\n## Responses\n\nThe fields of `/v1/responses`:\n\n");
    page.push_str(&responses::known::table());
    page
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::known::{assert_listed_once, assert_page};

    #[test]
    fn a_name_is_listed_once() {
        assert_listed_once(FIELDS.map(|field| field.name));
        assert!(find(Format::OpenAiCompletions, "messages").is_none() && find(Format::OpenAiChat, "suffix").is_none());
        assert_eq!(find(Format::OpenAiChat, "n").map(|field| field.does), Some(Does::Output));
    }

    #[test]
    fn the_page_for_people_is_the_table() {
        assert_page("request-fields.md", &page());
    }
}
