//! Measures what drafting by prompt look-up is worth: tokens a second of one stream, and of two, compared with the same
//! engine without it, for prompts that ask for an edited text and for others. And what a conversation's next turn costs:
//! its time to the first token, of a cold one's. All cases alternate in rounds of one run.
//!
//!     cargo run --release -p engine --example lookup_ratio -- <libonnxruntime.so> <file.gguf> [threads] [rounds]

#[expect(dead_code, reason = "the bare session is for other measurements")]
mod ratio;

use std::sync::Arc;
use std::time::Instant;

use engine::model::{Lookup, Model};
use engine::prepare::Prepared;
use engine::runtime::Runtime;
use engine::tokenizer::{Special, Tokenizer};
use engine::worker::{EngineHandle, Job, Settings, Share, StopSignal};
use tokio::sync::mpsc;
use wire::inference::{Event, Generation};

use ratio::{Outcome, Stage, greedy};

const TOKENS: u32 = 128;
/// Tokens that a conversation has had before its next turn: the prompt's and the answer's.
const SEEN: (usize, u32) = (940, 60);
const TEXT: &str = "The lighthouse keeper climbs the stairs each evening. He carries oil and matches up to the lamp. The lamp \
    is old, but its light reaches far over the water. Ships see it and keep away from the rocks. In winter the storms are \
    loud, and the keeper reads by the fire until morning. His sister visits him on Sundays with bread, fruit and letters. \
    They talk about the town, the harbour and the price of fish, and in the afternoon she takes the boat home.";

fn main() -> Outcome<()> {
    ratio::run("lookup_ratio", measure)
}

/// A case: its name, its prompt, and how its tokens are chosen.
struct Case {
    name: &'static str,
    prompt: String,
    temperature: f32,
    is_edit: bool,
}

fn cases() -> Vec<Case> {
    let user = |text: &str| format!("<|im_start|>user\n{text}<|im_end|>\n<|im_start|>assistant\n");
    let edit = |name, what: &str| {
        let prompt = user(&format!("{what}\n\n{TEXT}"));
        Case { name, prompt, temperature: 0.0, is_edit: true }
    };
    let other = |name, text: &str, temperature| Case { name, prompt: user(text), temperature, is_edit: false };
    vec![
        edit("edit: a word", "Copy this text, but write \"brother\" in place of \"sister\":"),
        edit("edit: mistakes", "Correct the spelling mistakes in this text and repeat it:"),
        other("explain", "Why is the sky blue?", 0.0),
        other("explain, drawn", "Why is the sky blue?", 1.0),
        other("story", "Tell a story about a dog and a river.", 0.0),
        other("story, drawn", "Tell a story about a dog and a river.", 1.0),
        other("code, drawn", "Write a Python function that sorts a list of words by length.", 0.8),
        other("about a text", &format!("What does the keeper do, and who visits him?\n\n{TEXT}"), 0.0),
    ]
}

struct Engine {
    worker: EngineHandle,
    tokenizer: Arc<Tokenizer>,
    streams: u128,
}

/// A stream's text, and when each piece of it came.
type Streamed = (String, Vec<Instant>);

impl Engine {
    fn load(stage: &Stage, runtime: &Runtime, lookup: Lookup) -> Outcome<Self> {
        let tokenizer = Arc::new(Tokenizer::load(&stage.folder)?);
        let model = Model::speaking(Arc::clone(&tokenizer), runtime, "measured", &stage.folder, stage.threads, lookup)?;
        Ok(Self { worker: EngineHandle::spawn(model, Settings::default(), |_| {})?, tokenizer, streams: 0 })
    }

    fn stream(&self, of: u128, prompt: Vec<u32>, generation: Generation) -> Outcome<mpsc::Receiver<Event>> {
        let (events, receiver) = mpsc::channel(1_024);
        let asked = Prepared { generation, prompt, ..Prepared::default() };
        let job = Job { asked, share: Share { of, weight: 1 }, events, stop: StopSignal::new() };
        self.worker.submit(job).map_err(|refused| format!("{refused:?}"))?;
        Ok(receiver)
    }

    /// So many streams of a case at once, each of an account of its own.
    fn run(&mut self, case: &Case, count: u64) -> Outcome<Vec<Streamed>> {
        let prompt = self.tokenizer.encode(&case.prompt, Special::Added)?;
        let mut streams = Vec::new();
        for seed in 0..count {
            self.streams += 1;
            let mut generation = greedy(TOKENS);
            generation.sampling.temperature = Some(case.temperature);
            generation.sampling.seed = Some(seed);
            let receiver = self.stream(self.streams, prompt.clone(), generation)?;
            streams.push(std::thread::spawn(move || received(receiver)));
        }
        streams.into_iter().map(|stream| stream.join().map_err(|_| "a reader panicked".into())).collect()
    }
}

fn received(mut receiver: mpsc::Receiver<Event>) -> Streamed {
    let mut streamed = Streamed::default();
    while let Some(event) = receiver.blocking_recv() {
        if let Event::Delta(delta) = event {
            streamed.0.push_str(&delta.text);
            streamed.1.push(Instant::now());
        }
    }
    streamed
}

/// Seconds from the first to the last piece of all streams.
fn seconds(streams: &[Streamed]) -> f64 {
    let from = streams.iter().filter_map(|stream| stream.1.first()).min();
    let to = streams.iter().filter_map(|stream| stream.1.last()).max();
    from.zip(to).map_or(f64::NAN, |(from, to)| (*to - *from).as_secs_f64())
}

fn measure(stage: &Stage) -> Outcome<()> {
    let runtime = Runtime::load(&stage.library)?;
    let [mut with, mut without] =
        [Engine::load(stage, &runtime, Lookup::Auto)?, Engine::load(stage, &runtime, Lookup::Off)?];
    let cases = cases();
    let mut found = vec![[Vec::new(), Vec::new()]; cases.len()];
    let mut turns = Vec::new();
    for round in 1..=stage.rounds {
        for (case, found) in cases.iter().zip(&mut found) {
            let counts = if case.is_edit { 1..=2 } else { 1..=1 };
            for (count, found) in counts.zip(found.iter_mut()) {
                // Who comes first is not the same in each round.
                let mut timed = [0.0; 2];
                let mut texts = [Vec::new(), Vec::new()];
                for at in [round % 2, (round + 1) % 2] {
                    let engine = if at == 0 { &mut with } else { &mut without };
                    let streams = engine.run(case, count)?;
                    timed[at] = seconds(&streams);
                    texts[at] = streams.into_iter().map(|stream| stream.0).collect();
                }
                if texts[0] != texts[1] {
                    return Err(format!("{}: {:?} with drafts, {:?} without", case.name, texts[0], texts[1]).into());
                }
                found.push(timed[1] / timed[0]);
            }
        }
        turns.push(next_turn(&mut with)?);
        println!("round {round} of {}", stage.rounds);
    }
    println!(
        "{} threads, medians of {} rounds: tokens a second with drafts, of those without",
        stage.threads, stage.rounds
    );
    let mut worst = [f64::INFINITY; 2];
    for (case, [one, two]) in cases.iter().zip(found) {
        let one = median(one);
        let of_two = if case.is_edit { format!("; of two streams {:.3}", median(two)) } else { String::new() };
        worst[usize::from(case.is_edit)] = worst[usize::from(case.is_edit)].min(one);
        println!("  {:<16} {one:.3}{of_two}", case.name);
    }
    println!("  the worst of edits {:.2}, of others {:.3}", worst[1], worst[0]);
    println!("first token of the next turn, of a cold one: {:.3}", median(turns));
    let drafted = with.worker.observe();
    println!("{} of {} tokens were drafted", drafted.drafted, drafted.tokens);
    Ok(())
}

/// The time to the first token of a conversation's next turn, of that of another account that says all of it anew.
fn next_turn(engine: &mut Engine) -> Outcome<f64> {
    let mut prompt = engine.tokenizer.encode(&format!("{TEXT} ").repeat(12), Special::Added)?;
    prompt.truncate(SEEN.0);
    engine.streams += 2;
    let of = engine.streams;
    let (answer, _) = received(engine.stream(of, prompt.clone(), greedy(SEEN.1))?);
    prompt.extend(engine.tokenizer.encode(&answer, Special::Added)?);
    prompt.extend(engine.tokenizer.encode(" And what did they say about the price of fish?", Special::Added)?);
    let first = |of: u128| {
        let from = Instant::now();
        let (_, times) = received(engine.stream(of, prompt.clone(), greedy(1))?);
        Ok::<_, Box<dyn std::error::Error>>((*times.first().ok_or("no token")? - from).as_secs_f64())
    };
    let warm = first(of)?;
    Ok(warm / first(of - 1)?)
}

fn median(mut all: Vec<f64>) -> f64 {
    all.sort_by(f64::total_cmp);
    all[all.len() / 2]
}
