//! Counts tokens of closed models with OpenAI's own encodings by `tiktoken`, built on first use. Counts are exact for
//! texts of words. A very long text without words gets an upper bound (a token is at least one byte), which only makes
//! a hold larger. Other providers' encodings are their own: what is held for their prompts has a margin ([`margin`]).

mod image;
mod memo;
mod pairs;

pub use pairs::Pairs;
use tiktoken::CoreBpe;

use crate::{
    format::{anthropic, cohere, gemini, openai::known},
    inference::{
        Content, EmbeddingInput, Format, Message, Part, Reasoning, Request, ToolCall, ToolResult, Unread, Work,
    },
};

/// Longer texts are counted in windows of this length, and bounded where they have no words. A window of prose takes
/// half a millisecond; one without words about 80 (a megabyte of random letters takes a third of a second).
const LARGEST_COUNTED: usize = 256 * 1_024;
/// Tokens around each message and before the answer ("How to count tokens with tiktoken", OpenAI cookbook).
const PER_MESSAGE: u64 = 3;
const PER_ANSWER: u64 = 3;
/// The most tokens around a tool call.
const PER_CALL: u64 = 8;

/// The name of a model's encoding.
fn encoding_of(model: &str) -> &'static str {
    let is_older = model.starts_with("gpt-3.5") || model == "gpt-4" || model.starts_with("gpt-4-");
    if is_older { "cl100k_base" } else { "o200k_base" }
}

#[expect(clippy::expect_used, reason = "the vocabularies are part of the program")]
fn encoding(name: &'static str) -> &'static CoreBpe {
    tiktoken::get_encoding(name).expect("built-in vocabulary")
}

/// How models of OpenAI's begin.
const OPENAIS: [&str; 10] =
    ["gpt-", "chatgpt-", "o1", "o3", "o4", "codex-", "computer-use-", "text-", "davinci-", "babbage-"];
/// Tokens of other encodings for a token of OpenAI's, at most: they take up to half as many again for English and code,
/// and more for other languages.
const MARGIN: u64 = 2;

/// By how much a count is multiplied for a bound of what a model's own encoding would count.
pub fn margin(model: &str) -> u64 {
    if OPENAIS.iter().any(|begin| model.starts_with(begin)) { 1 } else { MARGIN }
}

/// Tokens of a text for a model: at least the true number for OpenAI's, an estimate for others.
pub fn count_text(model: &str, text: &str) -> u64 {
    if text.is_empty() {
        return 0;
    }
    let name = encoding_of(model);
    memo::remembered(name, text, || count_in_windows(encoding(name), text, LARGEST_COUNTED))
}

/// Counts a text window by window. Each window ends before a space that follows a word, where both encodings always
/// begin a new token: the sum is exact. A window without such a space counts as its bytes.
fn count_in_windows(encoding: &CoreBpe, text: &str, window: usize) -> u64 {
    let (mut rest, mut tokens) = (text, 0);
    while rest.len() > window {
        let end = rest.floor_char_boundary(window);
        let (part, is_counted) = match rest[..end].rmatch_indices(' ').find(|(place, _)| ends_word(rest, *place)) {
            Some((place, _)) => (place, true),
            None => (first_word_end(rest, end), false),
        };
        let (head, tail) = rest.split_at(part);
        tokens += if is_counted { encoding.count(head) as u64 } else { head.len() as u64 };
        rest = tail;
    }
    tokens + encoding.count(rest) as u64
}

/// Whether a word ends at a place.
fn ends_word(text: &str, place: usize) -> bool {
    text[..place].chars().next_back().is_some_and(|last| !last.is_whitespace())
}

/// The end of the first word from a place on, before a space.
fn first_word_end(text: &str, begin: usize) -> usize {
    let mut spaces = text[begin..].match_indices(' ').map(|(place, _)| begin + place);
    spaces.find(|place| ends_word(text, *place)).unwrap_or(text.len())
}

/// Prompt tokens of a request. Images count at their largest. Parts of other kinds, unread members and tool definitions
/// count as their JSON. Content without text is not counted: [`known::terms`] reports it. Work other than text has the
/// text that goes with it; sound is not counted.
pub fn count_prompt(request: &Request, model: &str) -> u64 {
    let prompt = match &request.work {
        Work::Text(text) => count_text(model, &text.prompt),
        Work::Conversation(conversation) => {
            let messages: u64 = conversation.messages.iter().map(|message| count_message(model, message)).sum();
            let of_prompt = ["messages", "system", "input", "contents"];
            let is_read = |unread: &&Unread| of_prompt.iter().any(|place| unread.at.starts_with(place));
            let unread = request.unread.iter().filter(is_read);
            messages + PER_ANSWER + unread.map(|unread| count_text(model, &unread.json)).sum::<u64>()
        }
        Work::Embedding(embedding) => {
            return embedding.inputs.iter().map(|input| count_input(input, model)).sum();
        }
        Work::Rerank(rerank) => return Pairs::count(rerank, model).tokens(),
        Work::Image(images) => return count_text(model, &images.prompt),
        Work::Speech(speech) => {
            return count_text(model, &speech.input) + count_some(model, speech.instructions.as_ref());
        }
        Work::Transcription(transcription) => return count_some(model, transcription.prompt.as_ref()),
        Work::Decision(_) | Work::Native(_) => return 0,
    };
    let json = |field| request.source.body.present(field).map_or(0, |json| count_text(model, json));
    let spelled = |field| gemini::field(&request.source.body, field).map_or(0, |json| count_text(model, json));
    let beside: u64 = match request.source.format {
        Format::AnthropicMessages => anthropic::known::counted_beside().map(json).sum(),
        Format::Cohere => cohere::known::counted_beside().map(json).sum(),
        Format::Gemini => gemini::known::counted_beside().into_iter().map(spelled).sum(),
        format => known::counted_beside(format).into_iter().map(json).sum(),
    };
    prompt + beside
}

/// Tokens of an input that becomes a vector. Media count as nothing here: their models are not called yet.
fn count_input(input: &EmbeddingInput, model: &str) -> u64 {
    match input {
        EmbeddingInput::Text(text) => count_text(model, text),
        EmbeddingInput::Tokens(tokens) => tokens.len() as u64,
        EmbeddingInput::Media(_) => 0,
    }
}

fn count_message(model: &str, message: &Message) -> u64 {
    PER_MESSAGE + 1 + count_some(model, message.name.as_ref()) + count_parts(model, &message.parts)
}

/// Tokens of a message's parts, with one token for a separator between two parts.
fn count_parts(model: &str, parts: &[Part]) -> u64 {
    let between = if parts.len() > 1 { parts.len() as u64 } else { 0 };
    between + parts.iter().map(|part| count_part(model, &part.content)).sum::<u64>()
}

fn count_part(model: &str, content: &Content) -> u64 {
    match content {
        Content::Text(text) | Content::Refusal(text) => count_text(model, text),
        Content::Image(image) => image::most_tokens(model, image),
        Content::Reasoning(Reasoning { text, signature }) => {
            count_text(model, text) + count_some(model, signature.as_ref())
        }
        Content::ToolCall(ToolCall { id, name, arguments, kind: _ }) => {
            PER_CALL + count_some(model, id.as_ref()) + count_text(model, name) + count_text(model, arguments)
        }
        Content::ToolResult(ToolResult { call_id, name, parts, is_error: _ }) => {
            count_some(model, call_id.as_ref()) + count_some(model, name.as_ref()) + count_parts(model, parts)
        }
        // Content without text, and content that is counted among the unread members.
        Content::Audio(_) | Content::File(_) | Content::Unknown { .. } => 0,
    }
}

fn count_some(model: &str, text: Option<&String>) -> u64 {
    text.map_or(0, |text| count_text(model, text))
}

#[cfg(test)]
mod tests {
    use proptest::{collection, prelude::*, sample::select};

    use super::*;
    use crate::format::openai::read_chat;

    #[test]
    fn models_of_other_providers_have_a_margin() {
        for (model, expected) in [
            ("gpt-6-sol", 1),
            ("o3-mini", 1),
            ("chatgpt-4o-latest", 1),
            ("gemini-3.8-flash", 2),
            ("claude-opus-5-5", 2),
            ("mistral-medium-3-5", 2),
            ("open-mistral-7b", 2),
            ("command-a-03-2025", 2),
        ] {
            assert_eq!(margin(model), expected, "{model}");
        }
    }

    #[test]
    fn texts_are_counted_as_openai_counts_them() {
        assert_eq!(count_text("gpt-4o", "hello world"), 2);
        assert_eq!(count_text("gpt-4", "antidisestablishmentarianism"), 6);
        assert_eq!(count_text("gpt-4o", ""), 0);
    }

    /// Texts with everything that splits words: cases, contractions, numbers, combining marks, spaces of all kinds.
    fn text() -> impl Strategy<Value = String> {
        let words = [
            "hello",
            "World",
            "I'LL",
            "don't",
            "’s",
            "1234567",
            "٣",
            " ",
            "  ",
            "\t",
            "\r\n",
            "\n\n",
            "\u{a0}",
            "\u{2003}",
            "日本語",
            "हिन्दी",
            "e\u{301}",
            "Ǆ",
            "ß",
            "👩\u{200d}👧",
            "!!",
            "...",
            "//",
            "_x",
            "}",
            "<|endoftext|>",
        ];
        let part =
            prop_oneof![9 => select(words.to_vec()).prop_map(str::to_owned), 1 => any::<char>().prop_map(String::from)];
        collection::vec(part, 0..24).prop_map(|parts| parts.concat())
    }

    proptest! {
        #[test]
        fn another_library_counts_the_same(text in text()) {
            let count = |encoding: &tiktoken_rs::CoreBPE| encoding.encode_ordinary(&text).len() as u64;
            prop_assert_eq!(count_text("gpt-4o", &text), count(tiktoken_rs::o200k_base_singleton()));
            prop_assert_eq!(count_text("gpt-4", &text), count(tiktoken_rs::cl100k_base_singleton()));
        }
    }

    fn prompt(fields: &str) -> u64 {
        let request = read_chat(format!(r#"{{"model":"gpt-4o",{fields}}}"#).as_bytes());
        count_prompt(&request.unwrap(), "gpt-4o")
    }

    #[test]
    fn an_image_is_counted_at_its_largest_and_not_as_text() {
        let of = |url: &str| {
            let parts = format!(
                r#"[{{"type":"text","text":"hello world"}},{{"type":"image_url","image_url":{{"url":"{url}"}}}}]"#
            );
            prompt(&format!(r#""messages":[{{"role":"user","content":{parts}}}]"#))
        };
        let inline = of(&format!("data:image/png;base64,{}", "iVBORw0KGgo".repeat(100_000)));
        assert_eq!(inline, 7 + (2 + 1) + (1_445 + 1));
        assert_eq!(of("https://example.com/a.png"), inline);
    }

    #[test]
    fn what_is_read_beside_the_messages_is_counted() {
        let with = |field: &str| {
            let definition = r#"[{"name":"weather","description":"what the sky does","parameters":{}}]"#;
            prompt(&format!(r#""messages":[{{"role":"user","content":"hi"}}],"{field}":{definition}"#))
        };
        assert!(with("user") + 10 < with("tools"));
        for counted in ["functions", "response_format", "suffix"] {
            assert_eq!(with(counted), with("tools"), "{counted}");
        }
    }

    proptest! {
        #[test]
        fn windows_never_count_less(text in text(), window in 4_usize..40) {
            for model in ["gpt-4o", "gpt-4"] {
                let encoding = encoding(encoding_of(model));
                let (whole, windows) = (encoding.count(&text) as u64, count_in_windows(encoding, &text, window));
                prop_assert!(windows >= whole, "{} < {}", windows, whole);
            }
        }
    }

    #[test]
    fn a_huge_text_of_words_is_counted_and_one_without_is_bounded_from_above() {
        let words = "word ".repeat(60_000);
        assert_eq!(count_text("gpt-4o", &words), encoding(encoding_of("gpt-4o")).count(&words) as u64);
        let letters = "é".repeat(200_000);
        assert_eq!(count_text("gpt-4o", &letters), letters.len() as u64);
        assert_eq!(count_text("gpt-4o", &(letters + &words)), 400_004 + 60_000);
    }
}
