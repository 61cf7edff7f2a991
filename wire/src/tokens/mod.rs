//! Counting tokens of closed models in OpenAI's own encodings, built on first use from the vocabularies in `tiktoken-rs`.
//! In linear time, and exact but for words of more than 64 KiB, whose bytes are counted: a hold is only too large for it.

mod encoding;
mod split;

use std::sync::OnceLock;

use crate::inference::{Prompt, TextRequest};
use encoding::Encoding;
use split::Rules;

/// Tokens around each message and before the answer ("How to count tokens with tiktoken", OpenAI cookbook).
const PER_MESSAGE: u64 = 3;
const PER_ANSWER: u64 = 3;

fn encoding(model: &str) -> &'static Encoding {
    static CL100K: OnceLock<Encoding> = OnceLock::new();
    static O200K: OnceLock<Encoding> = OnceLock::new();
    #[expect(clippy::expect_used, reason = "the vocabularies are part of the program")]
    if model.starts_with("gpt-3.5") || model == "gpt-4" || model.starts_with("gpt-4-") {
        CL100K.get_or_init(|| Encoding::new(Rules::Cl100k, &tiktoken_rs::cl100k_base().expect("built-in vocabulary")))
    } else {
        O200K.get_or_init(|| Encoding::new(Rules::O200k, &tiktoken_rs::o200k_base().expect("built-in vocabulary")))
    }
}

/// Tokens of a text for a model, at least as many as there are.
pub fn count_text(model: &str, text: &str) -> u64 {
    if text.is_empty() { 0 } else { encoding(model).count(text) as u64 }
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
    use std::sync::LazyLock;

    use proptest::prelude::*;
    use tiktoken_rs::CoreBPE;

    use super::*;

    static CL100K: LazyLock<CoreBPE> = LazyLock::new(|| tiktoken_rs::cl100k_base().unwrap());
    static O200K: LazyLock<CoreBPE> = LazyLock::new(|| tiktoken_rs::o200k_base().unwrap());

    /// Counts as OpenAI's own algorithm does.
    fn assert_exact(text: &str) {
        for (model, reference) in [("gpt-4", &*CL100K), ("gpt-4o", &*O200K)] {
            assert_eq!(count_text(model, text), reference.encode_ordinary(text).len() as u64, "{model}: {text:?}");
        }
    }

    #[test]
    fn texts_are_counted_as_openai_counts_them() {
        assert_eq!(count_text("gpt-4o", "hello world"), 2);
        assert_eq!(count_text("gpt-4", "antidisestablishmentarianism"), 6);
        assert_eq!(count_text("gpt-4o", ""), 0);
        assert_eq!(count_text("gpt-4o", "Hello, who are you?"), 6);
        for text in [
            "I'm sure they'LL say it'ſ, won't they? 'tis DON'T'S",
            "fn main() {\r\n\tprintln!(\"{}\", 1_000_000);\r\n}\r\n\r\n   \n  ",
            "https://example.com/a/b//c?d=1&e=2\n/\n//x ... !!\n\n",
            "日本語のテキストABCと한국어와中文，１２３４５ و العربية עברית हिन्दी ไทย",
            "e\u{301}E\u{301}A\u{301}B \u{301}x \u{301} HTTPServer camelCase ǅungla ʰX ªB",
            "👩‍👩‍👧‍👦🇩🇪🤦🏽‍♂️ \u{a0}\u{3000}\u{2028}x \u{85}\u{b}\u{c}",
            " \t \t  x   y \n \n z \n",
        ] {
            assert_exact(text);
            for (at, _) in text.char_indices() {
                assert_exact(&text[at..]);
                assert_exact(&text[..at]);
            }
        }
        assert_exact(&"aab".repeat(500));
        assert_exact(&"=".repeat(1_000));
        assert_exact(&" ".repeat(1_000));
    }

    #[test]
    fn a_long_text_is_counted_and_an_endless_word_bounded_from_above() {
        assert_eq!(count_text("gpt-4o", &" word".repeat(200_000)), 200_000);
        let endless = "a".repeat(100_000);
        assert_eq!(count_text("gpt-4o", &endless), endless.len() as u64);
    }

    proptest! {
        #[test]
        fn any_text_is_counted_exactly(
            text in r"(\PC|[a-z]{1,9}|[A-Z]{1,3}|[0-9]| |'|\s|[\r\n]|\p{M}|\p{Lo}|\p{Lu}|\p{Ll}|\p{N}|\p{P}|'(?i:s|ll|re)){0,40}"
        ) {
            assert_exact(&text);
        }
    }
}
