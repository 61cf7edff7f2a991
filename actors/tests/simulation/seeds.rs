//! Runs the seeds of a simulation on all processors.

use std::{num::NonZeroUsize, ops::Range, thread};

/// A number that the environment sets.
pub(crate) fn setting(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap_or_else(|_| panic!("{name} is not a number: {text}")))
}

/// Runs seeds on one thread for each processor, and adds up what they tell. The first that fails on a thread ends it.
pub(crate) fn run<S: Default + Send>(
    seeds: &Range<u64>,
    one: impl Fn(u64) -> Result<S, String> + Sync,
    add: impl Fn(&mut S, &S) + Sync,
) -> Result<S, String> {
    let threads = thread::available_parallelism().map_or(1, NonZeroUsize::get) as u64;
    let both = |mut all: S, one: Result<S, String>| {
        add(&mut all, &one?);
        Ok(all)
    };
    let each =
        &|thread: u64| seeds.clone().filter(|seed| seed % threads == thread).map(&one).try_fold(S::default(), both);
    thread::scope(|scope| {
        let running: Vec<_> = (0..threads).map(|thread| scope.spawn(move || each(thread))).collect();
        let mut ended = running.into_iter().map(|thread| thread.join().unwrap_or_else(|_| Err("a panic".to_owned())));
        ended.try_fold(S::default(), both)
    })
}
