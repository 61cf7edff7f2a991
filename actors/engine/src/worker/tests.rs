use std::sync::mpsc as sync;
use std::time::Duration;

use tokio::sync::mpsc;
use wire::inference::Delta;

use super::*;

/// Answers as the prompt instructs.
struct Puppet {
    gate: sync::Receiver<()>,
}

impl Answer for Puppet {
    fn name(&self) -> &'static str {
        "puppet"
    }

    fn answer(&mut self, asked: &Prepared, sink: &mut Sink) -> Result<Usage, Failure> {
        let text = asked.echo.clone().unwrap_or_default();
        let mut usage = Usage::default();
        match text.as_str() {
            "panic" => panic!("as told"),
            "fail" => return Err(Failure::Engine("as told".to_owned())),
            "wait" => self.gate.recv().unwrap_or_default(),
            _ => {}
        }
        while usage.output < 1_000_000 && sink.step().is_ok() {
            usage.output += 1;
            sink.token();
            if text != "endless" {
                sink.delta(Delta { text: text.clone(), ..Delta::default() });
                break;
            }
            std::thread::yield_now();
        }
        Ok(usage)
    }
}

/// The instruction to the puppet stands in place of a prompt's text.
fn request(text: &str) -> Prepared {
    Prepared { echo: Some(text.to_owned()), prompt: vec![0], ..Prepared::default() }
}

fn job(text: &str) -> (Job, mpsc::Receiver<Event>) {
    let (events, receiver) = mpsc::channel(64);
    (Job { asked: request(text), events, stop: StopSignal::new() }, receiver)
}

struct Stage {
    worker: EngineHandle,
    gate: sync::Sender<()>,
    exits: sync::Receiver<Exit>,
}

fn stage(capacity: usize) -> Stage {
    let (gate, opened) = sync::channel();
    let (exit, exits) = sync::channel();
    let worker = EngineHandle::spawn(Puppet { gate: opened }, capacity, move |end| exit.send(end).unwrap()).unwrap();
    Stage { worker, gate, exits }
}

fn all(mut events: mpsc::Receiver<Event>) -> Vec<Event> {
    std::iter::from_fn(|| events.blocking_recv()).collect()
}

fn until(mut done: impl FnMut() -> bool) {
    while !done() {
        std::thread::yield_now();
    }
}

#[test]
fn a_job_runs_from_started_to_finished() {
    let stage = stage(1);
    let (job, events) = job("hello");
    stage.worker.submit(job).unwrap();
    let events = all(events);
    assert_eq!(events[..2], [Event::Started, Event::Second(1)]);
    assert!(matches!(&events[2], Event::Delta(delta) if delta.text == "hello"));
    assert_eq!(events[3], Event::Usage(Usage { output: 1, ..Usage::default() }));
    assert!(matches!(events[4], Event::Finished { compute_ms } if compute_ms < 1000));
    until(|| !stage.worker.observe().running);
    let observed = stage.worker.observe();
    assert_eq!((observed.tokens, observed.jobs, observed.queued, observed.alive), (1, 1, 0, true));
}

#[test]
fn a_full_queue_gives_the_job_back() {
    let stage = stage(1);
    let (first, first_events) = job("wait");
    stage.worker.submit(first).unwrap();
    until(|| stage.worker.observe().running);
    let (second, second_events) = job("second");
    stage.worker.submit(second).unwrap();
    let (third, _events) = job("third");
    match stage.worker.submit(third) {
        Err(Refused::Full(job)) => assert_eq!(job.asked, request("third")),
        other => panic!("{other:?}"),
    }
    assert_eq!(stage.worker.observe().queued, 1);
    stage.gate.send(()).unwrap();
    assert!(matches!(all(first_events).last(), Some(Event::Finished { .. })));
    assert!(matches!(all(second_events).last(), Some(Event::Finished { .. })));
}

#[test]
fn a_panic_fails_its_job_ends_the_worker_and_gives_the_others_back() {
    let stage = stage(4);
    let (first, first_events) = job("wait");
    stage.worker.submit(first).unwrap();
    until(|| stage.worker.observe().running);
    let (bad, bad_events) = job("panic");
    let (other, _other_events) = job("other");
    stage.worker.submit(bad).unwrap();
    stage.worker.submit(other).unwrap();
    stage.gate.send(()).unwrap();
    assert!(matches!(all(first_events).last(), Some(Event::Finished { .. })));
    assert!(matches!(all(bad_events).last(), Some(Event::Failed(Failure::Engine(text))) if text.contains("as told")));
    let exit = stage.exits.recv().unwrap();
    assert_eq!(exit.reason, ExitReason::Panicked("as told".to_owned()));
    assert_eq!(exit.jobs.len(), 1);
    assert_eq!(exit.jobs[0].asked, request("other"));
    assert!(!stage.worker.observe().alive);
    let (late, _events) = job("late");
    assert!(matches!(stage.worker.submit(late), Err(Refused::Ended(_))));
}

#[test]
fn a_failure_is_an_event_and_the_worker_lives_on() {
    let stage = stage(2);
    let (bad, bad_events) = job("fail");
    let (good, good_events) = job("good");
    stage.worker.submit(bad).unwrap();
    stage.worker.submit(good).unwrap();
    assert_eq!(all(bad_events), [Event::Failed(Failure::Engine("as told".to_owned()))]);
    assert!(matches!(all(good_events).last(), Some(Event::Finished { .. })));
}

#[test]
fn a_cancelled_job_still_reports_what_it_used() {
    let stage = stage(1);
    let (endless, events) = job("endless");
    let stop = Arc::clone(&endless.stop);
    stage.worker.submit(endless).unwrap();
    until(|| stage.worker.observe().tokens > 10);
    stop.set(Stop::Cancelled);
    let events = all(events);
    let [.., Event::Usage(usage), Event::Finished { .. }] = &events[..] else { panic!("{events:?}") };
    assert!(usage.output > 10);
}

#[test]
fn a_reader_who_leaves_cancels_the_job() {
    let stage = stage(1);
    let (endless, events) = job("endless");
    stage.worker.submit(endless).unwrap();
    until(|| stage.worker.observe().tokens > 10);
    drop(events);
    until(|| !stage.worker.observe().running);
    assert!(stage.worker.observe().alive);
}

#[test]
fn dropping_the_handle_stops_what_runs_and_gives_the_rest_back() {
    let Stage { worker, gate: _gate, exits } = stage(2);
    let (endless, events) = job("endless");
    let (waiting, _waiting_events) = job("waiting");
    worker.submit(endless).unwrap();
    until(|| worker.observe().tokens > 10);
    worker.submit(waiting).unwrap();
    drop(worker);
    let events = all(events);
    assert!(matches!(events.last(), Some(Event::Failed(Failure::Engine(_)))), "no whole answer: {events:?}");
    let exit = exits.recv_timeout(Duration::from_secs(10)).unwrap();
    assert_eq!((exit.reason, exit.jobs.len()), (ExitReason::Stopped, 1));
}
