//! The known request fields of chat completions and legacy completions, and the effect of each on a request's cost
//! where the gateway's key pays. One table: refusals of unpriced fields, the page for people (`docs/request-fields.md`)
//! and the tests are made from it.
//!
//! The safe reading: a field that is not in the table may cost anything, so it is refused by its name. With the
//! caller's own key at the provider this table is not consulted, and all fields pass.

mod check;

use std::fmt::Write as _;

use super::responses;
use crate::inference::Format;
pub(in crate::format) use check::terms;

/// The effect of a field on a request's cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Does {
    /// No effect.
    Nothing,
    /// The field is read with the prompt, and counted with it.
    Prompt,
    /// The field bounds or multiplies the output.
    Output,
    /// The field chooses among prices; only values with a known price are accepted.
    Price,
    /// The field's cost has no price here, or no bound: the field is refused.
    Refused,
    /// The field asks for what the gateway keeps. It is answered before the body is read, and no provider gets it.
    Kept,
}

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
const PARTS: [(&str, Does, &str); 6] = [
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
         | field | routes | cost | note |\n|---|---|---|---|\n",
    );
    for Field { name, on, does, note } in FIELDS {
        let on = match on {
            On::Chat => "chat",
            On::Completions => "completions",
            On::Both => "both",
        };
        // Writing to a text can't fail.
        let _ = writeln!(page, "| `{name}` | {on} | {} | {note} |", does.word());
    }
    page.push_str("\nParts of a message, by `type`; others are refused:\n\n| part | cost | note |\n|---|---|---|\n");
    for (name, does, note) in PARTS {
        let _ = writeln!(page, "| `{name}` | {} | {note} |", does.word());
    }
    page.push_str("\n## Responses\n\nThe fields of `/v1/responses`:\n\n");
    page.push_str(&responses::known::table());
    page
}

impl Does {
    /// The effect, for people.
    pub(in crate::format) const fn word(self) -> &'static str {
        match self {
            Self::Nothing => "none",
            Self::Prompt => "counted with the prompt",
            Self::Output => "bounds or multiplies the output",
            Self::Price => "values with a known price are taken",
            Self::Refused => "refused: no price",
            Self::Kept => "none: answered here",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_listed_once() {
        for (place, field) in FIELDS.iter().enumerate() {
            assert!(!FIELDS[..place].iter().any(|other| other.name == field.name), "{}", field.name);
        }
        assert!(find(Format::OpenAiCompletions, "messages").is_none() && find(Format::OpenAiChat, "suffix").is_none());
        assert_eq!(find(Format::OpenAiChat, "n").map(|field| field.does), Some(Does::Output));
    }

    #[test]
    fn the_page_for_people_is_the_table() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/request-fields.md");
        let written = std::fs::read_to_string(path).unwrap_or_default();
        if std::env::var_os("FAREBOX_TEST_WRITE").is_some() {
            std::fs::write(path, page()).unwrap();
        }
        assert_eq!(written, page(), "run this test with FAREBOX_TEST_WRITE=1 to write docs/request-fields.md");
    }
}
