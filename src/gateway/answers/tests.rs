//! What is kept of answers, and how much memory that takes.

use wire::{inference::Usage, usage::Report};

use super::*;
use crate::single_flight::Waited;

const KEY: Key = [7; 32];
const ROOM: usize = 1 << 20;

fn answers() -> Answers {
    Answers::new(ROOM)
}

/// The recorder of the first request with the key, whose answer has so many choices.
fn first(answers: &Answers, key: Key, ends: usize) -> Recorder {
    match answers.look(key, ends, Duration::MAX) {
        Ok(Found::Nothing(recorder)) => recorder,
        _ => panic!("there is an answer, or a run"),
    }
}

fn is_kept(answers: &Answers, key: Key) -> bool {
    matches!(answers.look(key, 1, Duration::MAX), Ok(Found::Answer(..)))
}

fn text(choice: u32, text: &str) -> Event {
    Event::Delta(Delta { choice, text: text.into(), ..Delta::default() })
}

fn end(choice: u32) -> Event {
    Event::Delta(Delta { choice, finish: Some(FinishReason::Stop), ..Delta::default() })
}

const COUNTED: Event = Event::Usage(Usage { input: 1, cached_input: 0, cache_write: 0, output: 1, reasoning: 0 });
const FINISHED: Event = Event::Finished { compute_ms: 9 };

#[test]
fn an_answer_is_kept_once_each_of_its_choices_has_ended() {
    for (ends, events, expected) in [
        (1, vec![text(0, "a"), end(0), COUNTED, FINISHED], true),
        (2, vec![text(0, "a"), text(1, "b"), end(0), end(1), COUNTED, FINISHED], true),
        // An engine whose reader left: it stops, counts and finishes.
        (1, vec![text(0, "a"), COUNTED, FINISHED], false),
        (2, vec![text(0, "a"), end(0), COUNTED, FINISHED], false),
        (2, vec![end(0), end(0), COUNTED, FINISHED], false),
        (1, vec![text(0, "a"), end(0), FINISHED], false),
        (1, vec![COUNTED, FINISHED], false),
        // Vectors have no end of their own.
        (
            0,
            vec![text(0, ""), Event::Reported(Box::new(Report { input: Some(1), ..Report::default() })), FINISHED],
            true,
        ),
    ] {
        let answers = answers();
        let mut recorder = first(&answers, KEY, ends);
        for event in &events {
            recorder.note(event);
        }
        drop(recorder);
        assert_eq!(is_kept(&answers, KEY), expected, "{events:?}");
    }
}

#[tokio::test]
async fn nobody_waits_for_an_answer_that_will_not_be_kept() {
    let filtered = Event::Delta(Delta { finish: Some(FinishReason::ContentFilter), ..Delta::default() });
    for event in [filtered, text(0, &"x".repeat(ROOM))] {
        let answers = answers();
        let mut recorder = first(&answers, KEY, 1);
        let wait = || answers.look(KEY, 1, Duration::MAX).err().unwrap_or_else(|| panic!("nothing runs"));
        let (early, late) = (wait(), wait());
        recorder.note(&text(0, "a"));
        assert_eq!(early.until_published(Duration::from_millis(1)).await, Waited::TooLong, "it runs");
        recorder.note(&event);
        let told = late.until_published(Duration::from_mins(1)).await;
        assert_eq!(told, Waited::LookAgain, "it is not awaited any more: {event:?}");
        let next = first(&answers, KEY, 1);
        // The end of the first run is not the end of the next one.
        drop(recorder);
        assert!(answers.look(KEY, 1, Duration::MAX).is_err());
        drop(next);
    }
}

#[test]
fn answers_that_run_share_the_memory_too() {
    let (answers, piece) = (answers(), text(0, &"x".repeat(ROOM / 16)));
    let mut running: Vec<_> = (0..64).map(|key| first(&answers, [key; 32], 1)).collect();
    let room = Arc::clone(&answers.lock().recording);
    for recorder in &mut running {
        recorder.note(&piece);
    }
    assert!(room.taken() > 0 && room.taken() <= ROOM / RECORDING, "{}", room.taken());
    for recorder in &mut running {
        for event in [end(0), COUNTED, FINISHED] {
            recorder.note(&event);
        }
    }
    drop(running);
    assert_eq!(room.taken(), 0);
    let kept = (0..64).filter(|key| is_kept(&answers, [*key; 32])).count();
    assert!((1..=4).contains(&kept), "{kept}");
}
