//! Many requests at once: whatever joins and leaves, each is answered as it would be alone, token for token.

use std::sync::Arc;

use engine::import;
use engine::model::Model;
use engine::network::Network;
use engine::onnx::Precision;
use engine::prepare::Prepared;
use engine::worker::{CacheScope, EngineHandle, Job, Observed, Settings, Share, StopSignal};
use serde_json::json;
use tokio::sync::mpsc;
use wire::inference::{Event, Generation, OutputLimit, Sampling};

use super::tiny::Tiny;
use super::{PROSE, SHARE, all, raw_with, text, usage};

/// A model's worker that may take so much at once.
pub(super) fn worker<N: Network>(mut model: Model<N>, sequences: usize, positions: usize) -> EngineHandle {
    let cache_bytes = positions * model.decoder().abilities().position_bytes;
    EngineHandle::spawn(model, Settings { sequences, cache_bytes, ..Settings::default() }, |_| {}).unwrap()
}

fn submit(worker: &EngineHandle, asked: Prepared, of: u128) -> mpsc::Receiver<Event> {
    let (events, receiver) = mpsc::channel(4096);
    worker.submit(Job { asked, share: Share { of, weight: 1 }, events, stop: StopSignal::new() }).unwrap();
    receiver
}

/// Prompts of many lengths, each with a limit, greedy or not.
pub(super) fn requests(tokens: &[u32], longest: usize, limits: &[u32]) -> Vec<Prepared> {
    let lengths = [1, 2, 17, 3, longest, 33, 5, longest / 2 + 1, 16, 12, 40, 7];
    let make = |(at, length): (usize, usize)| {
        let tokens_wanted = limits[at % limits.len()];
        let temperature = if at % 3 == 2 { 1.1 } else { 0.0 };
        let sampling = Sampling {
            temperature: Some(temperature),
            seed: Some(at as u64),
            // No end before the limit.
            logit_bias: vec![(0, -100.0), (2, -100.0), (256, -100.0), (258, -100.0)],
            ..Sampling::default()
        };
        let limit = OutputLimit { tokens: tokens_wanted, largest: tokens_wanted, field: "max_tokens" };
        let generation = Generation { sampling, limit: Some(limit), logprobs: Some(0), ..Generation::default() };
        let prompt = tokens[at * 7..at * 7 + length.max(1)].to_vec();
        Prepared { generation, prompt, ..Prepared::default() }
    };
    lengths.into_iter().enumerate().map(make).collect()
}

/// The tokens of an answer, each with its log probability.
fn written(events: &[Event]) -> Vec<(Vec<u8>, Option<f32>)> {
    let deltas = super::deltas(events, 0);
    deltas.into_iter().flat_map(|delta| delta.logprobs.iter().map(|it| (it.bytes.clone(), it.logprob))).collect()
}

/// Each alone, one after the other, and all together, in two mixes. Returns how far the log probabilities are apart.
pub(super) fn apart<N: Network>(
    make: impl Fn() -> Model<N>,
    sequences: usize,
    requests: &[Prepared],
    most_positions: usize,
) -> f32 {
    let alone = worker(make(), 1, most_positions);
    // Of accounts of their own, so that none begins with another's cache.
    let expected: Vec<_> =
        (0..).zip(requests).map(|(of, asked)| written(&all(submit(&alone, asked.clone(), of)))).collect();
    drop(alone);
    let mut apart = 0_f32;
    let together = worker(make(), sequences, most_positions);
    for round in 0..2 {
        let receivers: Vec<_> = (0..)
            .zip(requests)
            .map(|(of, asked)| {
                let receiver = submit(&together, asked.clone(), 100 * (round + 1) + of);
                if round == 1 && of % 4 == 3 {
                    // Later ones join while earlier ones write, unless a tiny model has written all of them already.
                    let waits = |seen: &Observed| seen.running < 2 && seen.running + seen.queued > 0;
                    while waits(&together.observe()) {
                        std::thread::yield_now();
                    }
                }
                receiver
            })
            .collect();
        for (at, (receiver, expected)) in receivers.into_iter().zip(&expected).enumerate() {
            let found = written(&all(receiver));
            let tokens = |list: &[(Vec<u8>, Option<f32>)]| list.iter().map(|it| it.0.clone()).collect::<Vec<_>>();
            assert_eq!(tokens(&found), tokens(expected), "request {at} in round {round}");
            for (one, other) in found.iter().zip(expected) {
                apart = apart.max((one.1.unwrap() - other.1.unwrap()).abs());
            }
        }
    }
    apart
}

#[test]
fn a_batch_answers_as_each_request_alone_does() {
    let tokenizer = super::model().tokenizer();
    let tokens = tokenizer.encode(PROSE, engine::tokenizer::Special::Added).unwrap();
    let requests = requests(&tokens, 150, &[12, 30, 5, 21]);
    let make = || Model::load(&super::runtime(), "smollm2", &super::imported(Precision::Packed), 2).unwrap();
    let apart = apart(make, 5, &requests, 100_000);
    println!("log probabilities at most {apart} apart");
    assert!(apart < 1e-6, "{apart}");
}

/// A tiny model's folder; it goes with what is returned.
fn tiny() -> (tempfile::TempDir, impl Fn() -> Model) {
    let root = tempfile::tempdir().unwrap();
    let (file, out) = (root.path().join("model.gguf"), root.path().join("out"));
    std::fs::write(&file, Tiny::new().bytes()).unwrap();
    import::import(&file, &out).unwrap();
    (root, move || Model::load(&super::runtime(), "tiny", &out, 1).unwrap())
}

#[test]
fn a_batch_that_is_short_of_memory_answers_the_same() {
    let (_root, make) = tiny();
    let tokens: Vec<u32> = (0..200).map(|at| at * 31 % 256).collect();
    // Room for two of 256 positions: most must wait, and some are sent away and read again.
    let apart = apart(make, 6, &requests(&tokens, 60, &[60, 20, 64, 7]), 512);
    assert!(apart < 1e-3, "{apart}");
}

#[test]
fn a_prompt_read_before_is_not_read_again_and_answered_the_same() {
    let model = super::model();
    let tokenizer = model.tokenizer();
    let worker = worker(model, 4, 100_000);
    let ask = |of: u128, prompt: &str| {
        let asked = tokenizer.prepare(&raw_with(prompt, &json!({"max_tokens": 12}))).unwrap();
        all(submit(&worker, asked, of))
    };
    let first = ask(1, PROSE);
    assert_eq!(usage(&first).cached_input, 0);
    let again = ask(1, PROSE);
    let (input, cached) = (usage(&again).input, usage(&again).cached_input);
    assert_eq!((input, cached), (usage(&first).input, input - 2), "all but the last piece");
    assert_eq!(text(&again, 0), text(&first, 0));
    let other = ask(2, PROSE);
    assert_eq!(usage(&other).cached_input, 0, "caches are not shared between accounts");
    assert_eq!(text(&other, 0), text(&first, 0));
    // The next turn of a conversation: the answer before it was not read as a prompt, so it is read now.
    let longer = format!("{PROSE}{} And then", text(&first, 0));
    let next = ask(1, &longer);
    assert!(usage(&next).cached_input > input - 16 && usage(&next).cached_input < usage(&next).input, "{next:?}");
    assert_eq!(text(&next, 0), text(&ask(3, &longer), 0));
}

/// Prompts with a beginning that all have, and an end of their own.
fn alike(count: u32) -> Vec<Prepared> {
    let one = |own: u32| {
        let common = (0..80).map(|at| at * 31 % 250);
        let prompt: Vec<u32> = common.chain((0..30).map(|at| (at * 7 + own * 13) % 250)).collect();
        Prepared { prompt, ..requests(&[1; 200], 1, &[6])[0].clone() }
    };
    (0..count).map(one).collect()
}

#[test]
fn conversations_beyond_the_places_begin_with_what_they_share_and_are_answered_to_the_bit() {
    let (_root, make) = tiny();
    let asks = alike(6);
    let cold = worker(make(), 2, 4_096);
    let expected: Vec<_> =
        (10..).zip(&asks).map(|(of, asked)| written(&all(submit(&cold, asked.clone(), of)))).collect();
    let kept = worker(make(), 2, 4_096);
    for round in 0..2 {
        for (at, (asked, expected)) in asks.iter().zip(&expected).enumerate() {
            let events = all(submit(&kept, asked.clone(), 1));
            assert_eq!(&written(&events), expected, "request {at} in round {round}");
            let cached = usage(&events).cached_input;
            match (round, at) {
                (0, 0) => assert_eq!(cached, 0),
                (0, _) => assert!((80..=108).contains(&cached), "{cached}: what they share"),
                (_, _) => assert_eq!(cached, 108, "all but the last piece, though there are two places"),
            }
        }
    }
}

#[test]
fn the_setting_says_whose_caches_a_prompt_may_begin_with() {
    let (_root, make) = tiny();
    let asked = &alike(1)[0];
    for (cache_scope, own, others) in
        [(CacheScope::Account, 108, 0), (CacheScope::All, 108, 108), (CacheScope::None, 0, 0)]
    {
        let settings = Settings { sequences: 2, cache_scope, ..Settings::default() };
        let worker = EngineHandle::spawn(make(), settings, |_| {}).unwrap();
        let cached = |of| usage(&all(submit(&worker, asked.clone(), of))).cached_input;
        assert_eq!([cached(1), cached(1), cached(2)], [0, own, others], "{cache_scope:?}");
    }
}

#[test]
fn one_that_is_never_read_holds_nobody_up() {
    let (_root, make) = tiny();
    let model = make();
    let tokenizer = Arc::clone(&model.tokenizer());
    let worker = worker(model, 2, 4096);
    let ask = |capacity: usize| {
        let (events, receiver) = mpsc::channel(capacity);
        let fields = json!({"max_tokens": 60, "logit_bias": {"256": -100, "258": -100}});
        let asked = tokenizer.prepare(&raw_with("ab", &fields)).unwrap();
        worker.submit(Job { asked, share: SHARE, events, stop: StopSignal::new() }).unwrap();
        receiver
    };
    let slow: Vec<_> = (0..3).map(|_| ask(4)).collect();
    for _ in 0..5 {
        assert_eq!(usage(&all(ask(256))).output, 60);
    }
    let seconds = |events: &[Event]| events.iter().filter(|event| matches!(event, Event::Second(_))).count();
    for events in slow.into_iter().map(all) {
        assert_eq!(usage(&events).output, 60, "parked, and whole in the end");
        assert_eq!(seconds(&events), 1, "waiting for a reader is free");
    }
}
