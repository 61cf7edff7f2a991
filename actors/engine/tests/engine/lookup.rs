//! Drafts from what a sequence has: what is verified several tokens at a time is equal to the bit to what is written one
//! by one.

use std::path::Path;
use std::sync::Arc;

use engine::decoder::Decoder;
use engine::import;
use engine::model::{Lookup, Model};
use engine::network::Network;
use engine::onnx::Precision;
use engine::schedule::{Change, Row, SequenceId, Shape};
use engine::tokenizer::Tokenizer;
use engine::worker::{EngineHandle, Job, Settings, Share, StopSignal};

use serde_json::{Value, json};
use tokio::sync::mpsc;
use wire::inference::{Event, Request};

use super::families::families;

fn load(folder: &Path, threads: usize) -> Decoder {
    Decoder::load_exact(&super::runtime(), &folder.join(import::MODEL_FILE), threads).unwrap()
}

/// The bits of the scores after each of these tokens, behind so many that were read in one piece; and of two more after
/// that, written one by one.
fn bits(decoder: &mut Decoder, before: &[u32], tokens: &[u32], together: bool) -> Vec<Vec<u32>> {
    decoder.change(Change::Arrange(Shape { places: 3, positions: 512 })).unwrap();
    decoder.read(1, 0, before, None).unwrap();
    let mut found = Vec::new();
    let mut past = before.len();
    let bits = |scores: &[f32]| scores.iter().map(|score| score.to_bits()).collect::<Vec<_>>();
    let write = |decoder: &mut Decoder, past: usize, token: u32| {
        // A row is of the first place.
        decoder.change(Change::Swap { one: 0, other: 1, positions: past }).unwrap();
        decoder.write(&[Row { id: SequenceId(1), token, past }]).unwrap();
        decoder.change(Change::Swap { one: 0, other: 1, positions: past + 1 }).unwrap();
        bits(decoder.scores(0))
    };
    let most = decoder.abilities().verified;
    for run in tokens.chunks(most) {
        if together {
            decoder.verify(1, past, run).unwrap();
            found.extend((0..run.len()).map(|row| bits(decoder.scores(row))));
        } else {
            found.extend(run.iter().zip(past..).map(|(token, past)| write(decoder, past, *token)));
        }
        past += run.len();
    }
    found.extend(tokens.iter().take(2).zip(past..).map(|(token, past)| write(decoder, past, *token)));
    found
}

#[test]
fn several_tokens_at_once_have_the_bits_of_one_at_a_time() {
    let mut decoder = load(&super::imported(Precision::Packed), 2);
    assert_eq!(decoder.abilities().verified, 4, "on machines that are tested on");
    let tokens: Vec<u32> = (0..400_u32).map(|at| at * 7_919 % 49_000).collect();
    for (before, count) in [(2, 4), (5, 3), (40, 9), (130, 2), (255, 4), (300, 8), (388, 1)] {
        let (before, rest) = tokens.split_at(before);
        let [one, other] = [true, false].map(|together| bits(&mut decoder, before, &rest[..count], together));
        assert!(one == other, "{count} tokens behind {}", before.len());
    }
}

#[test]
fn every_architecture_is_verified_to_the_bit_or_not_at_all() {
    let mut verified = Vec::new();
    for (what, family) in families() {
        let (_root, imported) = super::proof::import_bytes(&family.file().bytes());
        let mut decoder = load(&imported.unwrap(), 1);
        if decoder.abilities().verified > 0 {
            let tokens: Vec<u32> = (0..60).map(|at| at * 37 % 251).collect();
            for before in [2, 13, 33] {
                let (before, rest) = tokens.split_at(before);
                let [one, other] = [true, false].map(|together| bits(&mut decoder, before, &rest[..15], together));
                assert!(one == other, "{what} behind {}", before.len());
            }
            verified.push(what);
        }
    }
    println!("verified: {verified:?}");
    assert!(verified.len() * 2 > families().len(), "{verified:?}");
}

#[test]
fn what_is_not_of_this_form_is_not_verified() {
    let model = Model::load(&super::runtime(), "exact", &super::imported(Precision::Packed), 1);
    assert_eq!(model.unwrap().decoder().abilities().verified, 0, "not asked for");
}

/// A worker whose answers are drafted, or not.
fn worker(lookup: Lookup) -> EngineHandle {
    let folder = super::imported(Precision::Packed);
    let tokenizer = Arc::new(Tokenizer::load(&folder).unwrap());
    let model = Model::speaking(tokenizer, &super::runtime(), "smollm2", &folder, 2, lookup).unwrap();
    EngineHandle::spawn(model, Settings::default(), |_| {}).unwrap()
}

fn submit(worker: &EngineHandle, request: &Request, of: u128) -> mpsc::Receiver<Event> {
    let (events, receiver) = mpsc::channel(4096);
    let asked = super::worker().1.prepare(request).unwrap();
    worker.submit(Job { asked, share: Share { of, weight: 1 }, events, stop: StopSignal::new() }).unwrap();
    receiver
}

/// What a choice's reader gets: the text, and of each token its log probability's bits and those of the likeliest.
fn told(events: &[Event], choice: u32) -> (String, Vec<Value>) {
    let logprobs = super::deltas(events, choice).into_iter().flat_map(|delta| &delta.logprobs);
    let each = logprobs.map(|it| {
        json!([it.token, it.logprob.map(f32::to_bits), it.top.iter().map(|top| top.2.to_bits()).collect::<Vec<_>>()])
    });
    (super::text(events, choice), each.collect())
}

const TEXT: &str = "The lighthouse keeper climbs the stairs each evening. He carries oil and matches. The lamp is old, but its \
light reaches far. Ships see it and keep away from the rocks. In winter the storms are loud. The keeper reads by the fire.";

/// Requests of many kinds, some of which repeat what they read.
fn requests() -> Vec<Request> {
    let edit = |what: &str| format!("{what}\n\n{TEXT}");
    let fields = [
        json!({"max_tokens": 70, "logprobs": true, "top_logprobs": 2}),
        json!({"max_tokens": 60, "temperature": 0.7, "seed": 5, "logprobs": true}),
        json!({"max_tokens": 60, "temperature": 1.0, "top_p": 0.9, "seed": 9, "frequency_penalty": 0.4, "logprobs": true}),
        json!({"max_tokens": 40, "n": 2, "temperature": 0.6, "seed": 2, "logprobs": true}),
        json!({"max_tokens": 60, "stop": ["winter"], "presence_penalty": 0.3, "logprobs": true}),
    ];
    let prompts = [
        edit("Repeat this text word by word."),
        edit("Repeat this text, but write tower for lighthouse."),
        "List the numbers from 1 to 40.".to_owned(),
        "Why is the sky blue?".to_owned(),
        "Write a poem about rain.".to_owned(),
    ];
    let pairs = (0..prompts.len() * fields.len()).step_by(2).map(|at| (&prompts[at / 5], &fields[at % 5]));
    let chats = pairs.map(|(prompt, fields)| super::chat_with(prompt, fields));
    let raw = super::raw_with(&format!("{TEXT}\n\n{}", &TEXT[..60]), &json!({"max_tokens": 80, "logprobs": 2}));
    chats.chain([raw]).collect()
}

#[test]
fn answers_are_the_same_to_the_bit_with_drafts_and_without() {
    let (with, without) = (worker(Lookup::Auto), worker(Lookup::Off));
    let requests = requests();
    let all = |worker: &EngineHandle, request: &Request, of: usize| super::all(submit(worker, request, of as u128));
    let expected: Vec<_> = requests.iter().enumerate().map(|(of, request)| all(&without, request, of)).collect();
    let compare = |found: &[Event], at: usize, how: &str| {
        for choice in 0..2 {
            assert_eq!(told(found, choice), told(&expected[at], choice), "request {at}, {how}");
        }
        assert_eq!(super::usage(found), super::usage(&expected[at]), "request {at}, {how}");
        assert_eq!(super::finish(found, 0), super::finish(&expected[at], 0), "request {at}, {how}");
    };
    for (at, request) in requests.iter().enumerate() {
        compare(&all(&with, request, at), at, "alone");
    }
    let alone = with.observe();
    assert!(alone.drafted * 10 > alone.tokens, "{alone:?}");
    assert_eq!(without.observe().drafted, 0);
    // Two at a time, and one more that joins midway.
    for first in (0..requests.len() - 2).step_by(4) {
        let receivers = [0, 1].map(|at| submit(&with, &requests[first + at], (1_000 + first + at) as u128));
        let before = with.observe().tokens;
        while with.observe().tokens < before + 20 && with.observe().running > 0 {
            std::thread::yield_now();
        }
        let third = submit(&with, &requests[first + 2], (1_000 + first + 2) as u128);
        for (at, receiver) in (first..).zip(receivers.into_iter().chain([third])) {
            compare(&super::all(receiver), at, "beside others");
        }
    }
    println!("{:?}", with.observe());
}
