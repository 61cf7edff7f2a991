//! Sentencepiece's vocabularies: a small one, whose encodings a second implementation (the rule itself: join the two
//! neighbours whose piece has the best score, until none is left) must give too; and what is no such vocabulary, refused.

use engine::tokenizer::{Special, Tokenizer};

use super::proof::import_bytes;
use super::tiny::{Tiny, Value};

const PIECES: [&str; 24] = [
    "\u{2581}",
    "a",
    "b",
    "c",
    "d",
    "é",
    "ab",
    "abc",
    "bc",
    "\u{2581}a",
    "\u{2581}ab",
    "cd",
    "dd",
    "\u{2581}\u{2581}",
    "ddd",
    "abcd",
    "éa",
    "\u{2581}dd",
    "bcd",
    "da",
    "aa",
    "aaa",
    "dab",
    "c\u{2581}",
];
const FIRST: usize = 3 + 256;

fn tokens() -> Vec<String> {
    let bytes = (0..256).map(|byte| format!("<0x{byte:02X}>"));
    let named = ["<unk>", "<s>", "</s>"].map(str::to_owned);
    named.into_iter().chain(bytes).chain(PIECES.map(str::to_owned)).chain(["<|turn|>".to_owned()]).collect()
}

/// Scores in no order of the ids.
fn scores() -> Vec<f32> {
    let score = |at: usize| -f32::from(u8::try_from((at * 7 + 3) % 25).unwrap());
    (0..tokens().len()).map(|id| id.checked_sub(FIRST).map_or(0.0, score)).collect()
}

fn file() -> Tiny {
    let types = [&[2, 3, 3][..], &[6; 256], &[1; PIECES.len()], &[4]].concat();
    Tiny::new()
        .resized(tokens().len())
        .text("tokenizer.ggml.model", "llama")
        .without("tokenizer.ggml.pre")
        .without("tokenizer.ggml.merges")
        .key("tokenizer.ggml.tokens", Value::Texts(tokens()))
        .key("tokenizer.ggml.scores", Value::Floats(scores()))
        .key("tokenizer.ggml.token_type", Value::Ints(types))
        .key("tokenizer.ggml.bos_token_id", Value::U32(1))
        .key("tokenizer.ggml.eos_token_id", Value::U32(2))
}

fn tokenizer(file: &Tiny) -> Tokenizer {
    let (_root, imported) = import_bytes(&file.bytes());
    Tokenizer::load(&imported.unwrap()).unwrap()
}

/// The second implementation, of a text without special tokens.
fn expected(text: &str, prefix: &str) -> Vec<u32> {
    let all = tokens();
    let id = |piece: &str| all[FIRST..].iter().position(|other| other == piece).map(|at| at + FIRST);
    let written = format!("{prefix}{text}").replace(' ', "\u{2581}");
    let mut parts: Vec<String> = written.chars().map(|character| character.to_string()).collect();
    loop {
        let joined = |at: usize| id(&format!("{}{}", parts[at], parts[at + 1])).map(|id| (scores()[id], at));
        let best = (0..parts.len().saturating_sub(1)).filter_map(joined);
        let better = |a: (f32, usize), b: (f32, usize)| if b.0 > a.0 { b } else { a };
        let Some((_, at)) = best.reduce(better) else { break };
        let right = parts.remove(at + 1);
        parts[at].push_str(&right);
    }
    let ids = parts.iter().flat_map(|part| match id(part) {
        Some(id) => vec![id],
        None => part.bytes().map(|byte| 3 + usize::from(byte)).collect(),
    });
    ids.map(|id| u32::try_from(id).unwrap()).collect()
}

/// Texts of the pieces' characters and some others.
fn texts() -> Vec<String> {
    let alphabet: Vec<char> = "abcd é\n🦀x".chars().collect();
    let mut state = 9_u64;
    let mut random = |below: usize| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(state >> 33).unwrap() % below
    };
    (0..300).map(|_| (0..=random(24)).map(|_| alphabet[random(alphabet.len())]).collect()).collect()
}

#[test]
fn pieces_are_joined_by_their_scores() {
    for (flag, prefix) in [(None, " "), (Some(true), " "), (Some(false), "")] {
        let file = flag.map_or(file(), |flag| file().key("tokenizer.ggml.add_space_prefix", Value::Flag(flag)));
        let tokenizer = tokenizer(&file);
        for text in texts() {
            let found = tokenizer.encode(&text, Special::Added).unwrap();
            assert_eq!(found[0], 1, "a prompt begins with the beginning token unless the file says otherwise");
            assert_eq!(found[1..], expected(&text, prefix), "{text:?}");
            let bytes: Vec<u8> = found.iter().flat_map(|token| tokenizer.bytes(*token).to_vec()).collect();
            assert_eq!(String::from_utf8(bytes).unwrap(), format!("{prefix}{text}"), "it comes back");
        }
        let marked = tokenizer.encode("ab<|turn|>ab</s>", Special::InText).unwrap();
        let turn = u32::try_from(tokens().len() - 1).unwrap();
        let part = expected("ab", prefix);
        assert_eq!(marked, [&part[..], &[turn], &part, &[2]].concat(), "a text begins anew behind a special token");
    }
}

#[test]
fn a_vocabulary_of_pieces_that_is_none_is_refused() {
    let all = tokens();
    let types = |change: fn(&mut Vec<i32>)| {
        let mut types = [&[2, 3, 3][..], &[6; 256], &[1; PIECES.len()], &[4]].concat();
        change(&mut types);
        file().key("tokenizer.ggml.token_type", Value::Ints(types))
    };
    for (file, said) in [
        (file().without("tokenizer.ggml.scores"), "tokenizer.ggml.scores is missing"),
        (file().key("tokenizer.ggml.scores", Value::Floats(vec![0.0; 7])), "7 scores"),
        (file().key("tokenizer.ggml.scores", Value::Ints(vec![0; all.len()])), "must be a list of floats"),
        (file().key("tokenizer.ggml.scores", Value::Floats(vec![f32::NAN; all.len()])), "is no number"),
        (file().text("tokenizer.ggml.pre", "llama-bpe"), "llama-bpe with sentencepiece"),
        (file().key("tokenizer.ggml.add_space_prefix", Value::U32(1)), "add_space_prefix must be true or false"),
        (types(|types| types[3 + 65] = 1), "<0x41>"),
        (types(|types| types[FIRST] = 6), "has type 6"),
        (types(|types| types[FIRST] = 9), "has type 9"),
        (file().text("tokenizer.ggml.model", "bert"), "model bert"),
    ] {
        let message = import_bytes(&file.bytes()).1.unwrap_err();
        assert!(message.contains(said), "{said}: {message}");
    }
    let mut long = tokens();
    long[FIRST] = "a".repeat(300);
    let message = import_bytes(&file().key("tokenizer.ggml.tokens", Value::Texts(long)).bytes()).1.unwrap_err();
    assert!(message.contains("300 bytes"), "{message}");
    let bytes = Tiny::new().key("tokenizer.ggml.token_type", Value::Ints([vec![6], vec![1; 258]].concat()));
    assert!(import_bytes(&bytes.bytes()).1.unwrap_err().contains("has type 6"), "byte-level BPE has no such tokens");
}
