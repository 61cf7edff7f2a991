//! The simulation: the product's own machines (the account's with `decide` in it, the journal's protocol, a request's
//! bill, a payment's pursuit, the supervisor's back-off, the log's chain and its bodies, the leases and what nodes know of
//! one another), with several nodes that own several shards, crash, sleep, leave and are taken over, or with one process
//! alone, logs whose appends fail or have unknown outcomes, tables that are made from them behind the answers, cards that
//! answer late, twice or never, webhooks that repeat and come in any order, and clocks that are set. Everything follows from one seed: no thread, no clock, no I/O.
//!
//! `FAREBOX_TEST_SEEDS=100000` runs more seeds; `FAREBOX_TEST_SEED=17` runs that one and prints its events;
//! `FAREBOX_TEST_MUTANT=NoFence` looks for that mutant alone.

#![expect(clippy::expect_used, clippy::panic, reason = "how a test fails")]

mod account;
mod acts;
mod answers;
mod asks;
mod breakers;
mod cards;
mod check;
mod clients;
mod clocks;
#[path = "../cluster/database.rs"]
#[expect(dead_code, reason = "the leases' simulation has more faults")]
mod database;
mod disk;
mod journal;
mod keys;
mod lives;
mod log;
mod luck;
mod marks;
mod mutants;
mod nodes;
mod operators;
mod owner;
mod projector;
mod pursuits;
mod random;
mod rest;
mod rows;
mod start;
mod states;
mod stats;
mod tables;
mod tasks;
mod witness;
mod world;

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    time::Instant,
};

use check::{Checked, SOUND, Violation};
use mutants::Mutant;
use stats::Stats;
use world::{Story, World};

/// The default number of seeds: what a debug build runs in some minutes.
const SEEDS: u64 = 5_000;
/// Events of one seed before it comes to rest.
const STEPS: u32 = 1_200;
/// The number of seeds within which a mutant must be caught.
const CAUGHT_WITHIN: u64 = 500;
/// Events shown of a failing seed.
const SHOWN: usize = 40;

fn setting(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap_or_else(|_| panic!("{name} is not a number: {text}")))
}

/// Runs one seed. A failed assertion of the rules counts as a violation.
fn run(world: &mut World) -> Checked {
    catch_unwind(AssertUnwindSafe(|| world.run(STEPS))).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
        Err(Violation { rule: SOUND, what: text.unwrap_or_default() })
    })
}

fn run_seed(seed: u64, mutant: Option<Mutant>) -> Result<Stats, Violation> {
    let mut world = World::new(seed, mutant, Story::Untold);
    run(&mut world).map(|()| world.stats)
}

/// Runs the same seed again, and returns its events.
fn story(seed: u64, mutant: Option<Mutant>, shown: usize) -> String {
    let mut world = World::new(seed, mutant, Story::Told);
    let end = match run(&mut world) {
        Ok(()) => "and all was well".to_owned(),
        Err(Violation { rule, what }) => format!("broken: {rule}: {what}"),
    };
    let first = world.events.len().saturating_sub(shown);
    format!("{}\n{end}", world.events[first..].join("\n"))
}

/// Runs seeds on one thread for each processor. Returns the counts of all of them, or the first failing seed.
fn run_seeds(seeds: std::ops::Range<u64>) -> Result<Stats, u64> {
    let threads = std::thread::available_parallelism().map_or(1, |count| count.get() as u64);
    let run_some = |first: u64| {
        let mut all = Stats::default();
        for seed in seeds.clone().filter(|seed| seed % threads == first) {
            match run_seed(seed, None) {
                Ok(stats) => all.add(&stats),
                Err(_) => return Err(seed),
            }
        }
        Ok(all)
    };
    std::thread::scope(|scope| {
        let running: Vec<_> = (0..threads).map(|first| scope.spawn(move || run_some(first))).collect();
        let mut all = Ok(Stats::default());
        for thread in running {
            match (thread.join().expect("a seed's panic is caught"), &mut all) {
                (Ok(stats), Ok(all)) => all.add(&stats),
                (Err(seed), Err(first)) => *first = seed.min(*first),
                (Err(seed), all @ Ok(_)) => *all = Err(seed),
                (Ok(_), Err(_)) => {}
            }
        }
        all
    })
}

#[test]
fn the_invariants_hold_in_every_seed() {
    if let Some(seed) = setting("FAREBOX_TEST_SEED") {
        let story = story(seed, None, usize::MAX);
        assert!(story.ends_with("all was well"), "seed {seed}:\n{story}");
        println!("{story}");
        return;
    }
    let seeds = setting("FAREBOX_TEST_SEEDS").unwrap_or(SEEDS);
    let began = Instant::now();
    let all = run_seeds(0..seeds).unwrap_or_else(|seed| {
        panic!("seed {seed} failed (FAREBOX_TEST_SEED={seed} tells all of it):\n{}", story(seed, None, SHOWN))
    });
    println!("{seeds} seeds in {:.1} s", began.elapsed().as_secs_f64());
    for (name, count) in all.named() {
        println!("{count:>9} {name}");
        assert!(seeds < SEEDS || count > 0, "none of {seeds} seeds had any: {name}");
    }
}

/// Runs seeds until a mutant is caught by its invariant. Returns that seed, and the number of seeds that failed
/// otherwise before.
fn catch(mutant: Mutant) -> Result<(u64, u64), String> {
    let (reason, others) = mutant.breaks();
    let mut failed = 0;
    for seed in 0..CAUGHT_WITHIN {
        let Err(Violation { rule, what }) = run_seed(seed, Some(mutant)) else { continue };
        if rule == reason {
            return Ok((seed, failed));
        }
        failed += 1;
        if !others.contains(&rule) {
            let story = story(seed, Some(mutant), SHOWN);
            let caught = format!("{mutant:?} was caught by another invariant in seed {seed}: {rule}: {what}");
            return Err(format!("{caught}\n{story}"));
        }
    }
    Err(format!("{mutant:?} did not break \"{reason}\" within {CAUGHT_WITHIN} seeds"))
}

#[test]
fn every_mutant_is_caught_for_its_reason() {
    let (mut missed, only) = (Vec::new(), std::env::var("FAREBOX_TEST_MUTANT").ok());
    let is_wanted = |mutant: &Mutant| only.as_ref().is_none_or(|only| *only == format!("{mutant:?}"));
    let wanted: Vec<Mutant> = Mutant::ALL.into_iter().filter(is_wanted).collect();
    assert!(!wanted.is_empty(), "FAREBOX_TEST_MUTANT is no mutant: {only:?}");
    for mutant in wanted {
        match catch(mutant) {
            Ok((seed, failed)) => {
                println!("{mutant:?}: seed {seed}, after {failed} that broke otherwise: {}", mutant.breaks().0);
            }
            Err(why) => missed.push(why),
        }
    }
    assert!(missed.is_empty(), "{}", missed.join("\n"));
}
