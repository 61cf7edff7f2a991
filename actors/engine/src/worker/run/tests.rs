use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self as sync, channel};
use std::sync::{Arc, Condvar, Mutex};

use tokio::sync::mpsc;
use wire::inference::{Event, Generation, OutputLimit, Sampling, Usage};

use super::*;
use crate::network::Abilities;
use crate::schedule::{CacheScope, Row};
use crate::tokenizer::Tokenizer;
use crate::worker::{EngineHandle, Refused, Share, Stop, StopSignal};

/// Letters are tokens. A sequence's next letter is the one after its last.
const LETTERS: u32 = 26;

/// What a puppet does, and has done.
#[derive(Default)]
struct Script {
    /// Milliseconds since the beginning. Steps alone take time.
    now: AtomicU64,
    is_open: Mutex<bool>,
    opened: Condvar,
    steps: Mutex<Vec<Ran>>,
    /// The letters before which a step fails, panics, and gives scores that are no numbers.
    fails: Option<u32>,
    panics: Option<u32>,
    breaks: Option<u32>,
    /// Whether its memory can't be reached after a failed step.
    loses: bool,
    /// The tokens that it verifies at once.
    verified: usize,
}

/// A step: when it ran, and which letter each of its sequences began with.
#[derive(Debug, Clone)]
struct Ran {
    from_ms: u64,
    to_ms: u64,
    first_letters: Vec<u32>,
}

impl Script {
    fn open(&self) {
        *self.is_open.lock().unwrap() = true;
        self.opened.notify_all();
    }

    fn run(&self, rows: &[(usize, &[u32])]) -> Result<(), NetworkError> {
        let guard = self.is_open.lock().unwrap();
        drop(self.opened.wait_while(guard, |is_open| !*is_open).unwrap());
        let tokens = rows.iter().map(|(_, tokens)| tokens.len() as u64).sum::<u64>();
        let from_ms = self.now.fetch_add(37 + 11 * tokens, Ordering::SeqCst);
        let letter = |past: usize, token: u32| (token + LETTERS * 999 - u32::try_from(past).unwrap()) % LETTERS;
        let first_letters = rows.iter().map(|(past, tokens)| letter(*past, tokens[0])).collect();
        self.steps.lock().unwrap().push(Ran { from_ms, to_ms: from_ms + 37 + 11 * tokens, first_letters });
        let has = |letter: Option<u32>| letter.is_some_and(|it| rows.iter().any(|(_, tokens)| tokens.contains(&it)));
        assert!(!has(self.panics), "as told");
        if has(self.fails) { Err(NetworkError::Runtime("as told".to_owned())) } else { Ok(()) }
    }
}

struct Puppet {
    script: Arc<Script>,
    scores: Vec<Vec<f32>>,
}

impl Puppet {
    fn score(&mut self, last: impl Iterator<Item = u32>) {
        let breaks = self.script.breaks;
        let row = |letter: u32| {
            let mut row = vec![0.0; LETTERS as usize];
            row[((letter + 1) % LETTERS) as usize] = if breaks == Some(letter) { f32::NAN } else { 9.0 };
            row
        };
        self.scores = last.map(row).collect();
    }
}

impl Network for Puppet {
    fn abilities(&self) -> Abilities {
        let verified = self.script.verified;
        Abilities { most_places: usize::MAX, position_bytes: 1, reuses: true, keeps_blocks: true, verified }
    }

    fn change(&mut self, _: Change) -> Result<(), NetworkError> {
        Ok(())
    }

    fn read(
        &mut self,
        _: usize,
        past: usize,
        tokens: &[u32],
        rows: Option<&mut Vec<Vec<f32>>>,
    ) -> Result<(), NetworkError> {
        self.script.run(&[(past, tokens)])?;
        self.score(tokens.iter().copied());
        if let Some(rows) = rows {
            rows.extend(self.scores.iter().cloned());
        }
        self.scores.drain(..tokens.len() - 1);
        Ok(())
    }

    fn write(&mut self, rows: &[Row]) -> Result<(), NetworkError> {
        let tokens: Vec<(usize, [u32; 1])> = rows.iter().map(|row| (row.past, [row.token])).collect();
        let all: Vec<(usize, &[u32])> = tokens.iter().map(|(past, token)| (*past, &token[..])).collect();
        self.script.run(&all)?;
        self.score(rows.iter().map(|row| row.token));
        Ok(())
    }

    fn verify(&mut self, _: usize, past: usize, tokens: &[u32]) -> Result<(), NetworkError> {
        self.script.run(&[(past, tokens)])?;
        self.score(tokens.iter().copied());
        Ok(())
    }

    fn scores(&self, row: usize) -> &[f32] {
        &self.scores[row]
    }

    fn clear(&mut self, _: usize) -> Result<(), NetworkError> {
        if self.script.loses { Err(NetworkError::Runtime("no such card".to_owned())) } else { Ok(()) }
    }
}

fn tokenizer() -> Arc<Tokenizer> {
    let folder = tempfile::tempdir().unwrap();
    let vocabulary: serde_json::Map<String, serde_json::Value> =
        ('a'..='z').enumerate().map(|(id, letter)| (letter.to_string(), id.into())).collect();
    let tokenizer = serde_json::json!({
        "version": "1.0", "added_tokens": [], "decoder": {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true},
        "model": {"type": "BPE", "vocab": vocabulary, "merges": []},
    });
    let write =
        |file: &str, json: &serde_json::Value| std::fs::write(folder.path().join(file), json.to_string()).unwrap();
    write("tokenizer.json", &tokenizer);
    write("config.json", &serde_json::json!({"max_position_embeddings": 4096}));
    Arc::new(Tokenizer::load(folder.path()).unwrap())
}

struct Stage {
    worker: EngineHandle,
    script: Arc<Script>,
    exits: sync::Receiver<Exit>,
}

/// A worker whose model waits before its first step until it is told to run.
fn stage(script: Script, settings: Settings) -> Stage {
    let script = Arc::new(script);
    let model = Model::new("puppet", tokenizer(), Puppet { script: Arc::clone(&script), scores: Vec::new() });
    let (exit, exits) = channel();
    let clock = Arc::clone(&script);
    let clock = move || Duration::from_millis(clock.now.load(Ordering::SeqCst));
    let worker = EngineHandle::spawn_at(model, settings, clock, move |end| exit.send(end).unwrap()).unwrap();
    Stage { worker, script, exits }
}

/// A prompt that begins with this letter, and the number of letters to write behind it.
fn job(first: u32, prompt: u32, limit: u32, capacity: usize) -> (Job, mpsc::Receiver<Event>) {
    let (events, receiver) = mpsc::channel(capacity);
    let generation = Generation {
        sampling: Sampling { temperature: Some(0.0), ..Sampling::default() },
        limit: Some(OutputLimit { tokens: limit, largest: limit, field: "max_tokens" }),
        ..Generation::default()
    };
    let prompt = (first..first + prompt).map(|letter| letter % LETTERS).collect();
    let asked = Prepared { generation, prompt, ..Prepared::default() };
    (Job { asked, share: Share { of: first.into(), weight: 1 }, events, stop: StopSignal::new() }, receiver)
}

fn submit(stage: &Stage, (job, receiver): (Job, mpsc::Receiver<Event>)) -> mpsc::Receiver<Event> {
    stage.worker.submit(job).unwrap();
    receiver
}

fn all(mut events: mpsc::Receiver<Event>) -> Vec<Event> {
    std::iter::from_fn(|| events.blocking_recv()).collect()
}

fn until(mut done: impl FnMut() -> bool) {
    while !done() {
        std::thread::yield_now();
    }
}

fn text(events: &[Event]) -> String {
    events
        .iter()
        .filter_map(|event| if let Event::Delta(delta) = event { Some(delta.text.as_str()) } else { None })
        .collect()
}

fn failure(events: &[Event]) -> String {
    match events.last() {
        Some(Event::Failed(Failure::Engine(text))) => text.clone(),
        other => panic!("{other:?}"),
    }
}

/// The milliseconds that are billed. Every second of them was told, in order.
fn billed_ms(events: &[Event]) -> u64 {
    let Some(Event::Finished { compute_ms }) = events.last() else { panic!("{events:?}") };
    let seconds: Vec<u32> = events
        .iter()
        .filter_map(|event| if let Event::Second(second) = event { Some(*second) } else { None })
        .collect();
    let due = u32::try_from(compute_ms.div_ceil(1_000)).unwrap();
    assert_eq!(seconds, (1..=due).collect::<Vec<_>>(), "{compute_ms} ms");
    *compute_ms
}

#[test]
fn a_job_runs_from_started_to_finished() {
    let stage = stage(Script::default(), Settings::default());
    let events = submit(&stage, job(0, 3, 4, 64));
    stage.script.open();
    let events = all(events);
    assert_eq!(events[..2], [Event::Started, Event::Second(1)]);
    assert_eq!(text(&events), "defg");
    assert_eq!(events[events.len() - 2], Event::Usage(Usage { input: 3, output: 4, ..Usage::default() }));
    until(|| stage.worker.observe().running == 0);
    let observed = stage.worker.observe();
    assert_eq!((observed.tokens, observed.jobs, observed.queued, observed.alive), (4, 1, 0, true));
}

#[test]
fn eight_sequences_are_billed_for_the_steps_between_their_first_and_their_last_to_the_millisecond() {
    let stage = stage(Script::default(), Settings { sequences: 8, ..Settings::default() });
    // Of many lengths: some join while others write, and twelve do not fit at once.
    let jobs = [
        (3, 60),
        (40, 70),
        (1, 90),
        (200, 30),
        (7, 80),
        (300, 20),
        (2, 95),
        (19, 50),
        (90, 60),
        (5, 75),
        (33, 1),
        (8, 30),
    ];
    let receivers: Vec<_> =
        (0..).zip(jobs).map(|(at, (prompt, limit))| submit(&stage, job(at, prompt, limit, 256))).collect();
    stage.script.open();
    let events: Vec<Vec<Event>> = receivers.into_iter().map(all).collect();
    let steps = stage.script.steps.lock().unwrap().clone();
    assert_eq!(steps.iter().map(|step| step.first_letters.len()).max(), Some(8), "all places are used");
    for (letter, events) in (0..).zip(&events) {
        let own: Vec<&Ran> = steps.iter().filter(|step| step.first_letters.contains(&letter)).collect();
        assert_eq!(billed_ms(events), own[own.len() - 1].to_ms - own[0].from_ms, "the one that began with {letter}");
    }
    // One piece of a prompt at most between two steps that write.
    let reads = |step: &Ran| step.first_letters.len() == 1 && step.to_ms - step.from_ms > 37 + 11;
    let longest = steps.iter().filter(|step| reads(step)).map(|step| step.to_ms - step.from_ms).max();
    assert_eq!(longest, Some(37 + 11 * 16), "pieces are short while others write");
}

#[test]
fn drafts_that_are_right_save_steps_and_what_is_billed_is_the_time_of_the_steps() {
    let limits = [70, 90];
    let answers = |verified: usize| {
        let stage = stage(Script { verified, ..Script::default() }, Settings::default());
        let jobs = (0..).zip(limits).map(|(letter, limit)| submit(&stage, job(letter, 60, limit, 256)));
        let receivers: Vec<_> = jobs.collect();
        stage.script.open();
        let events: Vec<Vec<Event>> = receivers.into_iter().map(all).collect();
        let steps = stage.script.steps.lock().unwrap().clone();
        for (letter, events) in (0..).zip(&events) {
            let own: Vec<&Ran> = steps.iter().filter(|step| step.first_letters.contains(&letter)).collect();
            assert_eq!(
                billed_ms(events),
                own[own.len() - 1].to_ms - own[0].from_ms,
                "the one that began with {letter}"
            );
        }
        let texts: Vec<String> = events.iter().map(|events| text(events)).collect();
        (texts, steps.len(), stage.worker.observe().drafted)
    };
    let (expected, steps, none) = answers(0);
    assert_eq!((expected[0].len(), expected[1].len(), none), (70, 90, 0));
    let (texts, fewer, drafted) = answers(4);
    assert_eq!(texts, expected);
    assert!(fewer * 3 < steps * 2 && drafted > 100, "{fewer} steps of {steps}, {drafted} drafted");
}

#[test]
fn a_draft_ends_where_its_answer_does() {
    let stage = stage(Script { verified: 4, breaks: Some(20), ..Script::default() }, Settings::default());
    let endless = job(0, 60, 4_000, 4_096);
    let stop = Arc::clone(&endless.0.stop);
    stop.set(Stop::MaxCost);
    let stopped = submit(&stage, endless);
    // Its 23rd letter is the one whose scores are no numbers; no other letter is written behind it.
    let broken = submit(&stage, job(0, 50, 200, 256));
    stage.script.open();
    assert_eq!(text(&all(stopped)), "");
    let broken = all(broken);
    assert!(matches!(broken.last(), Some(Event::Failed(Failure::NotFinite))), "{broken:?}");
    assert_eq!(text(&broken), "yzabcdefghijklmnopqrstu");
    // The place is clean, and others go on in it.
    assert_eq!(text(&all(submit(&stage, job(21, 5, 3, 64)))), "abc");
}

#[test]
fn a_slow_reader_is_parked_and_not_billed_and_gets_all_in_the_end() {
    let stage = stage(Script::default(), Settings { sequences: 2, ..Settings::default() });
    let slow = submit(&stage, job(0, 2, 100, 8));
    let receivers: Vec<_> = (1..6).map(|letter| submit(&stage, job(letter, 3, 50, 256))).collect();
    stage.script.open();
    for (letter, receiver) in (1..).zip(receivers) {
        assert_eq!(text(&all(receiver)).len(), 50, "the one that began with {letter}");
    }
    until(|| stage.worker.observe().running == 1);
    let resumed = stage.script.now.load(Ordering::SeqCst);
    let events = all(slow);
    assert_eq!(text(&events).len(), 100);
    let steps = stage.script.steps.lock().unwrap().clone();
    let own = |step: &&Ran| step.first_letters.contains(&0);
    // While it was not parked, it was in each step but in those that read others' prompts.
    let (before, after): (Vec<&Ran>, Vec<&Ran>) = steps.iter().filter(own).partition(|step| step.to_ms <= resumed);
    // It had to leave its place to others, and reading again is free.
    let (again, after) = after.split_first().unwrap();
    assert!(again.to_ms - again.from_ms > 37 + 11, "{again:?}");
    let after: u64 = after.iter().map(|step| step.to_ms - step.from_ms).sum();
    assert_eq!(billed_ms(&events), before[before.len() - 1].to_ms - before[0].from_ms + after);
}

#[test]
fn a_parked_job_whose_permit_was_given_back_goes_on_when_it_is_let() {
    let stage = stage(Script::default(), Settings { sequences: 2, ..Settings::default() });
    let (job, mut events) = job(0, 2, 100, 8);
    let stop = Arc::clone(&job.stop);
    stage.worker.submit(job).unwrap();
    stage.script.open();
    until(|| stop.parking().give_back());
    let stood_at = stage.script.now.load(Ordering::SeqCst);
    let mut before = vec![events.blocking_recv().unwrap()];
    until(|| events.try_recv().map(|event| before.push(event)).is_err() && events.is_empty());
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(stop.parking().wanted());
    // What was kept back has come meanwhile.
    before.extend(std::iter::from_fn(|| events.try_recv().ok()));
    assert_eq!(text(&all(submit(&stage, self::job(1, 3, 50, 256)))).len(), 50, "others run meanwhile");
    assert!(events.try_recv().is_err(), "it does not run without its permit");
    stop.parking().go_on();
    let events: Vec<Event> = before.into_iter().chain(all(events)).collect();
    assert_eq!(text(&events).len(), 100);
    let own = |step: &&Ran| step.first_letters.contains(&0) && step.to_ms > stood_at;
    let steps = stage.script.steps.lock().unwrap().clone();
    let others_end = steps.iter().filter(|step| step.first_letters.contains(&1)).map(|step| step.to_ms).max().unwrap();
    assert!(steps.iter().filter(own).all(|step| step.from_ms >= others_end), "not a step too early");
}

#[test]
fn a_parked_job_that_is_cancelled_ends_without_its_permit() {
    let stage = stage(Script::default(), Settings::default());
    let (job, events) = job(0, 2, 100, 8);
    let stop = Arc::clone(&job.stop);
    stage.worker.submit(job).unwrap();
    stage.script.open();
    until(|| stop.parking().give_back());
    let stood_at = stage.script.now.load(Ordering::SeqCst);
    stop.set(Stop::Cancelled);
    let events = all(events);
    assert!(matches!(events.last(), Some(Event::Finished { .. })), "{events:?}");
    assert_eq!(stage.script.now.load(Ordering::SeqCst), stood_at, "nothing was computed for it");
}

#[test]
fn a_full_queue_gives_the_job_back() {
    let stage = stage(Script::default(), Settings { queue: 1, sequences: 1, ..Settings::default() });
    let first = submit(&stage, job(0, 1, 3, 64));
    until(|| stage.worker.observe().running == 1);
    let second = submit(&stage, job(1, 1, 3, 64));
    match stage.worker.submit(job(2, 1, 3, 64).0) {
        Err(Refused::Full(job)) => assert_eq!(job.asked.prompt, [2]),
        other => panic!("{other:?}"),
    }
    assert_eq!(stage.worker.observe().queued, 1);
    stage.script.open();
    assert_eq!((text(&all(first)), text(&all(second))), ("bcd".to_owned(), "cde".to_owned()));
}

#[test]
fn a_step_that_fails_fails_with_all_that_were_in_it_and_the_worker_lives_on() {
    let stage =
        stage(Script { fails: Some(20), ..Script::default() }, Settings { sequences: 3, ..Settings::default() });
    // The second gets to letter 20 while the first writes; the third joins later.
    let receivers = [job(0, 4, 60, 256), job(14, 3, 60, 256), job(0, 2, 9, 256)].map(|job| submit(&stage, job));
    let waits = submit(&stage, job(0, 300, 9, 256));
    stage.script.open();
    let [first, second, _] = receivers.map(all);
    assert_eq!((failure(&first), failure(&second)), (failure(&second), "ONNX Runtime: as told".to_owned()));
    assert!(!text(&first).is_empty());
    assert!(failure(&all(waits)).contains("as told"), "its prompt has the letter");
    let after = all(submit(&stage, job(0, 2, 9, 64)));
    assert_eq!(text(&after), "cdefghijk");
    assert!(stage.worker.observe().alive);
}

#[test]
fn a_device_that_is_lost_ends_the_worker_and_those_that_never_began_are_given_back() {
    let script = Script { fails: Some(20), loses: true, ..Script::default() };
    let stage = stage(script, Settings { sequences: 2, ..Settings::default() });
    let [first, second] = [job(14, 3, 60, 256), job(0, 4, 60, 256)].map(|job| submit(&stage, job));
    let _third = submit(&stage, job(0, 2, 3, 64));
    stage.script.open();
    let told = [first, second].map(|receiver| failure(&all(receiver)));
    assert!(told.iter().any(|told| told == "ONNX Runtime: as told"), "{told:?}");
    let exit = stage.exits.recv().unwrap();
    assert_eq!(exit.reason, ExitReason::Lost("ONNX Runtime: no such card".to_owned()));
    assert_eq!(exit.jobs.len(), 1);
    assert!(!stage.worker.observe().alive);
}

#[test]
fn scores_that_are_no_numbers_fail_their_sequence_alone() {
    let stage = stage(Script { breaks: Some(20), ..Script::default() }, Settings::default());
    let [bad, good] = [job(14, 3, 60, 256), job(0, 3, 15, 256)].map(|job| submit(&stage, job));
    stage.script.open();
    let bad = all(bad);
    assert!(matches!(bad.last(), Some(Event::Failed(Failure::NotFinite))), "{bad:?}");
    assert_eq!((text(&bad), text(&all(good))), ("rstu".to_owned(), "defghijklmnopqr".to_owned()));
}

#[test]
fn a_model_that_panics_ends_its_worker_and_those_that_never_began_are_given_back() {
    let stage =
        stage(Script { panics: Some(20), ..Script::default() }, Settings { sequences: 2, ..Settings::default() });
    let [first, second] = [job(14, 3, 60, 256), job(0, 4, 60, 256)].map(|job| submit(&stage, job));
    let _third = submit(&stage, job(0, 2, 3, 64));
    stage.script.open();
    assert_eq!(failure(&all(first)), "the engine panicked: as told");
    assert_eq!(failure(&all(second)), "the engine panicked: as told");
    let exit = stage.exits.recv().unwrap();
    assert_eq!(exit.reason, ExitReason::Panicked("as told".to_owned()));
    assert_eq!(exit.jobs.iter().map(|job| job.asked.prompt.clone()).collect::<Vec<_>>(), [[0, 1]]);
    assert!(!stage.worker.observe().alive);
    assert!(matches!(stage.worker.submit(job(0, 1, 1, 64).0), Err(Refused::Ended(_))));
}

#[test]
fn a_job_that_panics_in_its_own_part_fails_alone() {
    let script = Arc::new(Script::default());
    script.open();
    let model = Model::new("puppet", tokenizer(), Puppet { script: Arc::clone(&script), scores: Vec::new() });
    let limits = Limits {
        sequences: 4,
        positions: 4_096,
        grain: 16,
        chunk: 8,
        chunk_beside: 8,
        reuses: true,
        scope: CacheScope::Account,
        block: 4,
        blocks: 2_048,
        verified: 0,
        longest: usize::MAX,
    };
    let (sender, jobs) = channel();
    let shared = Shared {
        model: "puppet".to_owned(),
        queue: Mutex::new(None),
        queued: 2.into(),
        running: 0.into(),
        closing: false.into(),
        tokens: 0.into(),
        drafted: 0.into(),
        jobs: 0.into(),
        beats: 0.into(),
    };
    let mut engine = Engine {
        model,
        scheduler: Scheduler::new(limits),
        answers: BTreeMap::new(),
        sequences: HashMap::new(),
        begun: 0,
        lost: None,
        clock: || Duration::ZERO,
        shared: &shared,
    };
    let [(bad, bad_events), (good, good_events)] = [job(0, 2, 9, 64), job(5, 2, 9, 64)];
    for job in [bad, good] {
        sender.send(job).unwrap();
    }
    for _ in 0..4 {
        assert!(engine.turn(&jobs));
    }
    let id = *engine.sequences.keys().min().unwrap();
    engine.took(id, 0, catch_unwind(|| panic!("as told")));
    while !engine.answers.is_empty() {
        assert!(engine.turn(&jobs));
    }
    drop(engine);
    assert_eq!(failure(&all(bad_events)), "the engine panicked: as told");
    assert_eq!(text(&all(good_events)).len(), 9);
    let count = |count: &std::sync::atomic::AtomicUsize| count.load(Ordering::SeqCst);
    assert_eq!((count(&shared.queued), count(&shared.running)), (0, 0));
}

#[test]
fn a_cancelled_job_still_reports_what_it_used_and_a_reader_who_leaves_cancels_its_own() {
    let stage = stage(Script::default(), Settings::default());
    let (endless, mut events) = job(0, 2, 4_000, 4_096);
    let stop = Arc::clone(&endless.stop);
    stage.worker.submit(endless).unwrap();
    let left = submit(&stage, job(3, 2, 4_000, 4_096));
    let waiting = job(9, 2, 5, 64);
    waiting.0.stop.set(Stop::MaxCost);
    let waiting = submit(&stage, waiting);
    stage.script.open();
    until(|| stage.worker.observe().tokens > 10);
    drop(left);
    until(|| stage.worker.observe().running == 1);
    stop.set(Stop::Cancelled);
    let mut seen = Vec::new();
    while let Some(event) = events.blocking_recv() {
        seen.push(event);
    }
    let [.., Event::Usage(usage), Event::Finished { .. }] = &seen[..] else { panic!("{seen:?}") };
    assert!(usage.output > 2);
    until(|| stage.worker.observe().running == 0);
    // It was told to stop before it began.
    let waiting = all(waiting);
    let [Event::Delta(delta), Event::Usage(_), Event::Finished { compute_ms: 0 }] = &waiting[..] else {
        panic!("{waiting:?}")
    };
    assert_eq!(delta.farebox_stop.as_deref(), Some("max_cost"));
}

#[test]
fn dropping_the_handle_stops_what_runs_and_gives_the_rest_back() {
    let stage = stage(Script::default(), Settings { sequences: 1, ..Settings::default() });
    let endless = submit(&stage, job(0, 2, 4_000, 4_096));
    let _waiting = submit(&stage, job(1, 2, 3, 64));
    stage.script.open();
    until(|| stage.worker.observe().tokens > 10);
    let Stage { worker, exits, .. } = stage;
    drop(worker);
    let events = all(endless);
    assert!(failure(&events).contains("ended"), "no whole answer: {events:?}");
    let exit = exits.recv_timeout(Duration::from_secs(10)).unwrap();
    assert_eq!((exit.reason, exit.jobs.len()), (ExitReason::Stopped, 1));
}
