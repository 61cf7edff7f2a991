//! A worker with a stand-in for its encoder: a text's vector is its first token, and each run is told.

use std::sync::mpsc::{Receiver as Told, Sender as Tell, channel as tell_channel};

use std::sync::Arc;

use tokio::sync::mpsc;

use super::*;
use crate::{network::NetworkError, sink::StopSignal, worker::Refused};

/// Tells the first tokens of each run, and waits for a word before it goes on.
struct Echo {
    runs: Tell<Vec<u32>>,
    go: Told<Outcome>,
}

enum Outcome {
    Good,
    Fails,
    Panics,
}

impl Encode for Echo {
    fn encode(&mut self, texts: &[&[u32]], dimensions: Option<usize>) -> Result<Vec<Vec<f32>>, NetworkError> {
        let first: Vec<u32> = texts.iter().map(|text| text[0]).collect();
        self.runs.send(first.clone()).unwrap();
        match self.go.recv().unwrap() {
            #[expect(clippy::cast_precision_loss, reason = "small numbers")]
            Outcome::Good => Ok(first.iter().map(|&token| vec![token as f32; dimensions.unwrap_or(2)]).collect()),
            Outcome::Fails => Err(NetworkError::Runtime("out of order".to_owned())),
            Outcome::Panics => panic!("beside itself"),
        }
    }
}

struct Stage {
    handle: EncoderHandle,
    runs: Told<Vec<u32>>,
    go: Tell<Outcome>,
    exit: Told<Exit<PreparedTexts>>,
}

fn stage(queue: usize) -> Stage {
    let ((runs, told), (go, gone), (exits, exit)) = (tell_channel(), tell_channel(), tell_channel());
    let tell_exit = move |exit| drop(exits.send(exit));
    let handle = EncoderHandle::spawn("m", Echo { runs, go: gone }, queue, tell_exit).unwrap();
    Stage { handle, runs: told, go, exit }
}

/// A job with texts of these first tokens and lengths.
fn job(
    texts: &[(u32, usize)],
    dimensions: Option<usize>,
) -> (Job<PreparedTexts>, mpsc::Receiver<Event>, Arc<StopSignal>) {
    let (events, told) = mpsc::channel(16);
    let stop = StopSignal::new();
    let texts = texts.iter().map(|&(first, length)| vec![first; length]).collect();
    (
        Job {
            asked: PreparedTexts { texts, dimensions },
            share: Share { of: 1, weight: 1 },
            events,
            stop: Arc::clone(&stop),
        },
        told,
        stop,
    )
}

fn events(told: &mut mpsc::Receiver<Event>) -> Vec<Event> {
    std::iter::from_fn(|| told.blocking_recv()).collect()
}

fn vectors(events: &[Event]) -> Vec<Vec<f32>> {
    let delta = events.iter().find_map(|event| if let Event::Delta(delta) = event { Some(delta) } else { None });
    delta.unwrap().vectors().unwrap().to_vec()
}

#[test]
fn jobs_that_wait_share_a_run_and_each_gets_its_vectors_in_order() {
    let Stage { handle, runs, go, exit } = stage(8);
    let (first, mut first_told, _) = job(&[(1, 4)], None);
    handle.submit(first).unwrap();
    assert_eq!(runs.recv().unwrap(), [1]);
    // These come while the first runs.
    let (second, mut second_told, _) = job(&[(20, 9), (21, 3), (22, 5)], None);
    let (third, mut third_told, _) = job(&[(30, 4)], None);
    let (shorter, mut shorter_told, _) = job(&[(40, 4)], Some(1));
    for job in [second, third, shorter] {
        handle.submit(job).unwrap();
    }
    assert_eq!(handle.observe().queued, 3);
    go.send(Outcome::Good).unwrap();
    assert_eq!(runs.recv().unwrap(), [21, 22, 20, 30], "the shortest texts of a job come first");
    go.send(Outcome::Good).unwrap();
    assert_eq!(runs.recv().unwrap(), [40], "vectors of another length are another run");
    go.send(Outcome::Good).unwrap();
    let told = events(&mut first_told);
    assert_eq!((&told[0], &told[1]), (&Event::Started, &Event::Second(1)));
    assert_eq!(told[3], Event::Usage(Usage { input: 4, ..Usage::default() }));
    assert!(matches!(told[4], Event::Finished { .. }) && told.len() == 5, "{told:?}");
    assert_eq!(vectors(&events(&mut second_told)), [[20.0, 20.0], [21.0, 21.0], [22.0, 22.0]]);
    assert_eq!(vectors(&events(&mut third_told)), [[30.0, 30.0]]);
    assert_eq!(vectors(&events(&mut shorter_told)), [[40.0]]);
    let seen = handle.observe();
    assert_eq!((seen.queued, seen.running, seen.jobs, seen.tokens), (0, 0, 4, 29));
    drop(handle);
    assert_eq!(exit.recv().unwrap().reason, ExitReason::Stopped);
}

#[test]
fn a_job_with_many_texts_takes_turns_with_others() {
    let Stage { handle, runs, go, .. } = stage(8);
    let (many, mut many_told, _) = job(&[(1, 4_000), (2, 4_000), (3, 4_000)], None);
    handle.submit(many).unwrap();
    assert_eq!(runs.recv().unwrap(), [1]);
    let (other, mut other_told, _) = job(&[(9, 4_000)], None);
    handle.submit(other).unwrap();
    let mut order = Vec::new();
    for _ in 0..3 {
        go.send(Outcome::Good).unwrap();
        order.extend(runs.recv().unwrap());
    }
    go.send(Outcome::Good).unwrap();
    assert_eq!(order, [2, 9, 3], "the other came while the first was running and had turned");
    assert_eq!(vectors(&events(&mut many_told)).len(), 3);
    assert_eq!(vectors(&events(&mut other_told)).len(), 1);
}

#[test]
fn a_failed_run_fails_its_jobs_and_no_other() {
    let Stage { handle, runs, go, .. } = stage(8);
    let (first, mut first_told, _) = job(&[(1, 4)], None);
    handle.submit(first).unwrap();
    runs.recv().unwrap();
    let (second, mut second_told, _) = job(&[(2, 4)], None);
    handle.submit(second).unwrap();
    go.send(Outcome::Fails).unwrap();
    runs.recv().unwrap();
    go.send(Outcome::Good).unwrap();
    let told = events(&mut first_told);
    assert!(matches!(told.last(), Some(Event::Failed(Failure::Engine(_)))), "{told:?}");
    assert_eq!(vectors(&events(&mut second_told)).len(), 1);
}

#[test]
fn who_leaves_is_not_waited_for_and_what_is_not_paid_for_ends() {
    let Stage { handle, runs, go, .. } = stage(8);
    let (first, mut first_told, stop) = job(&[(1, 4_000), (2, 4_000)], None);
    handle.submit(first).unwrap();
    runs.recv().unwrap();
    let (left, left_told, _) = job(&[(3, 4_000)], None);
    handle.submit(left).unwrap();
    drop(left_told);
    stop.set(crate::sink::Stop::MaxCost);
    let (last, mut last_told, _) = job(&[(4, 4_000)], None);
    handle.submit(last).unwrap();
    go.send(Outcome::Good).unwrap();
    assert_eq!(runs.recv().unwrap(), [4], "the others have ended");
    go.send(Outcome::Good).unwrap();
    let told = events(&mut first_told);
    assert!(
        matches!(told.last(), Some(Event::Failed(Failure::Invalid { field, .. })) if field == "max_cost"),
        "{told:?}"
    );
    assert_eq!(vectors(&events(&mut last_told)).len(), 1);
}

#[test]
fn a_panic_ends_the_worker_and_gives_back_what_never_began() {
    let Stage { handle, runs, go, exit } = stage(2);
    let (first, mut first_told, _) = job(&[(1, 4_000)], None);
    handle.submit(first).unwrap();
    runs.recv().unwrap();
    let waiting: Vec<_> = (0..2).map(|_| job(&[(2, 4_000)], None)).collect();
    let mut told = Vec::new();
    for (job, events, _) in waiting {
        handle.submit(job).unwrap();
        told.push(events);
    }
    let (more, ..) = job(&[(3, 4)], None);
    assert!(matches!(handle.submit(more), Err(Refused::Full(_))));
    go.send(Outcome::Panics).unwrap();
    let exit = exit.recv().unwrap();
    assert_eq!((exit.reason, exit.jobs.len()), (ExitReason::Panicked("beside itself".to_owned()), 2));
    let ended = events(&mut first_told);
    assert!(
        matches!(ended.last(), Some(Event::Failed(Failure::Engine(why))) if why.contains("beside itself")),
        "{ended:?}"
    );
    assert!(!handle.observe().alive);
    let (late, ..) = job(&[(3, 4)], None);
    assert!(matches!(handle.submit(late), Err(Refused::Ended(_))));
}
