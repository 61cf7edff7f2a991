//! Gemma 3 of 270M, a real file: windows of 512 positions, two rotations, norms everywhere, blocks of four kinds, and
//! sentencepiece's 262,144 pieces. Its tokens and scores are compared with another implementation's, which `gemma.json`
//! names: the scores of a text longer than the windows, read at once and token by token.

use std::path::PathBuf;
use std::sync::OnceLock;

use engine::accuracy;
use engine::device::Device;
use engine::import::MODEL_FILE;
use engine::model::Model;
use engine::onnx::Precision;
use engine::tokenizer::{Special, Tokenizer};
use engine::worker::{EngineHandle, Job, Settings, StopSignal};
use serde::Deserialize;
use serde_json::json;
use tokio::sync::mpsc;

use super::{SHARE, all, deltas, raw_with, text};

/// What the other implementation says.
#[derive(Deserialize)]
struct Expected {
    made_by: String,
    strings: Vec<(String, Vec<u32>)>,
    tokens: Vec<u32>,
    /// The likeliest next token at each position, and its log probability.
    top: Vec<u32>,
    logprob: Vec<f64>,
    /// The log probability of the token that follows.
    next: Vec<f64>,
}

fn expected() -> Expected {
    let expected: Expected = serde_json::from_str(include_str!("gemma.json")).unwrap();
    assert!(expected.made_by.contains("llama.cpp"));
    expected
}

fn folder() -> PathBuf {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    let make = || super::kept("gemma-3", &super::fetched("gemma", "models/gemma-3-270m/model.gguf"), Precision::Packed);
    FOLDER.get_or_init(make).clone()
}

fn model() -> Model {
    Model::load(&super::runtime(), "gemma", &folder(), 2).unwrap()
}

/// The log probabilities of a row of scores.
fn logprobs(row: &[f32]) -> Vec<f64> {
    let most = row.iter().fold(f32::NEG_INFINITY, |most, score| most.max(*score));
    let total: f64 = row.iter().map(|score| f64::from(score - most).exp()).sum();
    row.iter().map(|score| f64::from(score - most) - total.ln()).collect()
}

#[expect(clippy::cast_precision_loss, reason = "small counts")]
fn mean(numbers: &[f64]) -> f64 {
    numbers.iter().sum::<f64>() / numbers.len() as f64
}

#[test]
fn tokens_and_scores_are_those_of_another_implementation() {
    let expected = expected();
    let tokenizer = Tokenizer::load(&folder()).unwrap();
    assert!(tokenizer.has_token(262_143) && !tokenizer.has_token(262_144) && !tokenizer.chats());
    for (text, ids) in &expected.strings {
        assert_eq!(&tokenizer.encode(text, Special::Added).unwrap(), ids, "{text:?}");
        let bytes: Vec<u8> = ids.iter().flat_map(|token| tokenizer.bytes(*token).to_vec()).collect();
        let is_marked = ids[1..].iter().any(|token| tokenizer.bytes(*token).is_empty());
        // A low line of its own is a space to sentencepiece.
        let written = text.replace('\u{2581}', " ");
        assert!(is_marked || bytes == written.as_bytes(), "{text:?} comes back");
    }
    let tokens = &expected.tokens;
    assert!(tokens.len() > 600, "longer than the windows");
    let mut model = model();
    let mut same = Vec::new();
    let mut apart = Vec::new();
    // In two steps of which each has less than 400 MB of scores; the second begins before the windows end.
    let mut sequence = super::Sequence::new(model.decoder(), 1_024);
    let mut compare = |from: usize, rows: &[Vec<f32>]| {
        for (at, row) in rows.iter().enumerate().map(|(index, row)| (from + index, row)) {
            let found = logprobs(row);
            let top = (0..row.len()).max_by(|a, b| row[*a].total_cmp(&row[*b])).unwrap();
            same.push(f64::from(u8::from(top == expected.top[at] as usize)));
            apart.push((found[expected.top[at] as usize] - expected.logprob[at]).abs());
            if let (Some(next), Some(token)) = (expected.next.get(at), tokens.get(at + 1)) {
                apart.push((found[*token as usize] - next).abs());
            }
        }
    };
    for (index, piece) in tokens[..590].chunks(100).enumerate() {
        compare(index * 100, &sequence.read_rows(piece));
    }
    for at in 590..tokens.len() {
        compare(at, &[sequence.read(&tokens[at..=at])]);
    }
    let (same, apart) = (mean(&same), mean(&apart));
    println!("{} positions: same likeliest token {same:.3}, {apart:.4} nats apart in the mean", tokens.len());
    assert!(same > 0.95 && apart < 0.08, "{same} {apart}");
}

#[test]
fn a_text_goes_on() {
    let model = model();
    let tokenizer = model.tokenizer();
    let worker = EngineHandle::spawn(model, Settings::default(), |_| {}).unwrap();
    let asked = raw_with("Monday, Tuesday, Wednesday,", &json!({"model": "gemma", "max_tokens": 6}));
    let (events, receiver) = mpsc::channel(4096);
    worker
        .submit(Job { asked: tokenizer.prepare(&asked).unwrap(), share: SHARE, events, stop: StopSignal::new() })
        .unwrap();
    let events = all(receiver);
    let answer = text(&events, 0);
    println!("{answer}");
    assert!(answer.starts_with(" Thursday, Friday"), "{answer:?}");
    assert!(!deltas(&events, 0).is_empty());
}

/// Its sums over layers are beyond half precision, so they stay in 32-bit floats: all in halves, 29 of 100 first tokens are
/// others.
#[test]
fn in_half_precision_it_agrees_with_floats() {
    let found = accuracy::measure_half(&super::runtime(), &folder(), MODEL_FILE, Device::Cpu, 2).unwrap();
    println!("{found:?}");
    assert!(found.suffices(), "{found:?}");
}
