//! The log probabilities of a choice's tokens, as chats have them: `content`, and `refusal` of a refusal. A token of an odd shape
//! is left out, alone. Completions have others, which pass as they came.

use serde::Deserialize;

use crate::inference::TokenLogprob;

#[derive(Deserialize)]
struct Said {
    #[serde(default)]
    content: Option<Vec<Token>>,
}

/// A token with its bytes, where they are told.
#[derive(Deserialize)]
struct Token {
    #[serde(rename = "token")]
    text: String,
    #[serde(default)]
    bytes: Option<Vec<u8>>,
    #[serde(default)]
    logprob: Option<f32>,
    #[serde(default)]
    top_logprobs: Option<Vec<Token>>,
}

impl Token {
    fn parts(self) -> (String, Vec<u8>, Option<f32>) {
        let bytes = self.bytes.unwrap_or_else(|| self.text.clone().into_bytes());
        (self.text, bytes, self.logprob)
    }
}

/// What is said of the tokens of a text.
pub(super) fn read(json: &str) -> Vec<TokenLogprob> {
    if json == "null" {
        return Vec::new();
    }
    let tokens = serde_json::from_str::<Said>(json).ok().and_then(|said| said.content).unwrap_or_default();
    let mut offset = 0;
    let each = tokens.into_iter().map(|mut token| {
        let top = token.top_logprobs.take().unwrap_or_default().into_iter().map(Token::parts);
        let top = top.filter_map(|(token, bytes, logprob)| Some((token, bytes, logprob?))).collect();
        let (token, bytes, logprob) = token.parts();
        let at = offset;
        offset += token.chars().count();
        TokenLogprob { token, bytes, logprob, offset: at, top }
    });
    each.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tokens_of_a_chat_are_read_with_their_alternatives() {
        let said = r#"{"content":[{"token":"Hi","logprob":-0.5,"bytes":[72,105],"top_logprobs":[
            {"token":"Hi","logprob":-0.5,"bytes":[72,105]},{"token":"Ho","logprob":-1.5,"bytes":null}]},
            {"token":"!","logprob":-2.0}],"refusal":null}"#;
        let read = read(said);
        let top = vec![("Hi".to_owned(), b"Hi".to_vec(), -0.5), ("Ho".to_owned(), b"Ho".to_vec(), -1.5)];
        let first = TokenLogprob { token: "Hi".into(), bytes: b"Hi".to_vec(), logprob: Some(-0.5), offset: 0, top };
        assert_eq!(read[0], first);
        assert_eq!((&*read[1].token, &*read[1].bytes, read[1].offset, read[1].top.len()), ("!", &b"!"[..], 2, 0));
        for none in ["null", "{}", "7", r#"{"content":null}"#, r#"{"tokens":["a"],"token_logprobs":[-1.0]}"#] {
            assert_eq!(super::read(none), [], "{none}");
        }
    }
}
