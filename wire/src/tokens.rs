//! Counting tokens of closed models: OpenAI's own encodings by `tiktoken`, built on first use. Exact where the text is of
//! ordinary size; for very long texts an upper bound (a token is at least one byte), which only makes a hold larger.

use tiktoken::CoreBpe;

use crate::inference::{Prompt, TextRequest};

/// Longer texts are bounded rather than counted: prose of this length takes half a millisecond, what has no words (a
/// megabyte of random letters takes a third of a second) about 80.
const LARGEST_COUNTED: usize = 256 * 1_024;
/// Tokens around each message and before the answer ("How to count tokens with tiktoken", OpenAI cookbook).
const PER_MESSAGE: u64 = 3;
const PER_ANSWER: u64 = 3;

#[expect(clippy::expect_used, reason = "the vocabularies are part of the program")]
fn encoding(model: &str) -> &'static CoreBpe {
    let is_older = model.starts_with("gpt-3.5") || model == "gpt-4" || model.starts_with("gpt-4-");
    tiktoken::get_encoding(if is_older { "cl100k_base" } else { "o200k_base" }).expect("built-in vocabulary")
}

/// Tokens of a text for a model, at least as many as there are.
pub fn count_text(model: &str, text: &str) -> u64 {
    if text.is_empty() {
        return 0;
    }
    if text.len() > LARGEST_COUNTED {
        return text.len() as u64;
    }
    encoding(model).count(text) as u64
}

/// Prompt tokens of a request. Parts that are not text (images, tool definitions) are counted by their JSON.
pub fn count_prompt(request: &TextRequest, model: &str) -> u64 {
    let prompt = match &request.prompt {
        Prompt::Text(text) => count_text(model, text),
        Prompt::Messages(messages) => {
            let each = messages.iter().map(|message| {
                let rest = if message.rest.is_empty() { 0 } else { count_json(model, &message.rest) };
                let content = match &message.content {
                    serde_json::Value::Null => 0,
                    serde_json::Value::String(text) => count_text(model, text),
                    other => count_text(model, &other.to_string()),
                };
                PER_MESSAGE + 1 + content + rest
            });
            each.sum::<u64>() + PER_ANSWER
        }
    };
    let tools = request.body.get("tools").map_or(0, |tools| count_text(model, tools));
    let format = request.body.get("response_format").map_or(0, |format| count_text(model, format));
    prompt + tools + format
}

fn count_json(model: &str, map: &serde_json::Map<String, serde_json::Value>) -> u64 {
    map.values().map(|value| count_text(model, &value.to_string())).sum()
}

#[cfg(test)]
mod tests {
    use proptest::{collection, prelude::*, sample::select};

    use super::*;

    #[test]
    fn texts_are_counted_as_openai_counts_them() {
        assert_eq!(count_text("gpt-4o", "hello world"), 2);
        assert_eq!(count_text("gpt-4", "antidisestablishmentarianism"), 6);
        assert_eq!(count_text("gpt-4o", ""), 0);
    }

    /// Texts of what splits words: cases, contractions, numbers, marks that combine, spaces of all kinds.
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

    #[test]
    fn a_huge_text_is_bounded_from_above() {
        let text = "word ".repeat(60_000);
        assert_eq!(count_text("gpt-4o", &text), text.len() as u64);
    }
}
