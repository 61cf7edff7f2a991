//! Log probabilities and scores of the small model: a prompt's own, an answer's, and the failure on scores that are not
//! finite numbers.

use engine::import;
use engine::model::Model;
use engine::worker::{EngineHandle, Job, Settings, StopSignal};
use serde_json::{Value, json};
use tokio::sync::mpsc;
use wire::inference::{Event, Failure, Request, TokenLogprob};

use super::tiny::Tiny;
use super::{all, deltas, finish, raw_with, text, usage};

/// The answers of a file's model to some requests, one after the other.
fn answers(tiny: &Tiny, requests: &[Request]) -> Vec<Vec<Event>> {
    let root = tempfile::tempdir().unwrap();
    let (file, out) = (root.path().join("model.gguf"), root.path().join("out"));
    std::fs::write(&file, tiny.bytes()).unwrap();
    import::import(&file, &out).unwrap();
    let model = Model::load(&super::runtime(), "tiny", &out, 1).unwrap();
    let tokenizer = model.tokenizer();
    let worker = EngineHandle::spawn(model, Settings::default(), |_| {}).unwrap();
    let run = |request: &Request| {
        let (events, receiver) = mpsc::channel(4096);
        let asked = tokenizer.prepare(request).unwrap();
        worker.submit(Job { asked, share: super::SHARE, events, stop: StopSignal::new() }).unwrap();
        all(receiver)
    };
    requests.iter().map(run).collect()
}

fn logprobs(events: &[Event], choice: u32) -> Vec<TokenLogprob> {
    deltas(events, choice).into_iter().flat_map(|delta| delta.logprobs.clone()).collect()
}

#[test]
fn a_repeated_prompt_has_its_own_log_probabilities() {
    let prompt = "Once, é";
    let tiny = Tiny::new();
    let with = |fields: Value| {
        let mut all = json!({"logit_bias": {"256": -100}, "logprobs": 2, "echo": true, "max_tokens": 3, "n": 2});
        all.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        raw_with(prompt, &all)
    };
    let asked = with(json!({}));
    let (alone, plain) = (with(json!({"max_tokens": 0, "n": 1})), with(json!({"echo": false, "n": 1})));
    let found = answers(&tiny, &[asked, alone, plain]);
    let expected = tiny.expected(&prompt.bytes().map(u32::from).collect::<Vec<_>>(), 1.0);
    for (events, choice, written) in [(&found[0], 0, 3), (&found[0], 1, 3), (&found[1], 0, 0)] {
        let listed = logprobs(events, choice);
        assert_eq!(listed.len(), prompt.len() + written);
        assert_eq!((listed[0].logprob, listed[0].top.len()), (None, 0), "nothing comes before it");
        let bytes = prompt.as_bytes();
        for (at, one) in listed.iter().enumerate().take(bytes.len()).skip(1) {
            assert_eq!((&one.bytes[..], one.top.len()), (&bytes[at..=at], 2));
            let wanted = expected[at - 1][usize::from(bytes[at])];
            assert!((f64::from(one.logprob.unwrap()) - wanted).abs() < 1e-3, "{at}: {one:?} {wanted}");
        }
        let offsets: Vec<usize> = listed.iter().map(|one| one.offset).collect();
        assert_eq!(offsets[..8], [0, 1, 2, 3, 4, 5, 6, 6], "two bytes of one character begin with it");
        assert!(text(events, choice).starts_with(prompt));
        if written > 0 {
            assert_eq!(offsets[8], 7, "the answer's come behind the prompt's");
        }
    }
    assert_eq!((usage(&found[1]).input, usage(&found[1]).output), (8, 0));
    assert!(finish(&found[1], 0).0.is_some());
    let plain = logprobs(&found[2], 0);
    assert_eq!((plain.len(), plain[0].offset), (3, 0), "without the prompt they begin with the answer");
    assert_eq!(plain[0].logprob, logprobs(&found[0], 0)[8].logprob);
}

#[test]
fn scores_that_are_no_numbers_fail_their_request_and_the_engine_lives_on() {
    // Finite weights whose products are not.
    let broken = Tiny::new().change("output.weight", |weights| weights[65 * 32..66 * 32].fill(3e38));
    let short = |prompt: &str| raw_with(prompt, &json!({"max_tokens": 2}));
    let listed = raw_with("ab", &json!({"max_tokens": 2, "echo": true, "logprobs": 1}));
    for events in answers(&broken, &[short("xA"), listed, short("b")]) {
        assert!(matches!(events.last(), Some(Event::Failed(Failure::NotFinite))), "{events:?}");
        assert!(deltas(&events, 0).is_empty());
    }
}
