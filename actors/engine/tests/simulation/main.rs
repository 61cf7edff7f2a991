//! The simulation of an engine: the product's own scheduler, with a cache that only remembers what was written where.
//! Requests of several accounts arrive in bursts, share beginnings, are cancelled, have slow readers; memory is short;
//! steps fail, and caches are lost. Everything follows from one seed: no thread, no clock, no model.
//!
//! `FAREBOX_TEST_SEEDS=100000` runs more seeds; `FAREBOX_TEST_SEED=17` runs that one.

#![expect(clippy::panic, reason = "how a test fails")]

mod own;
#[path = "../../../tests/simulation/random.rs"]
mod random;
#[path = "../../../tests/simulation/seeds.rs"]
mod seeds;
mod stats;
mod world;

use std::{
    ops::Range,
    panic::{AssertUnwindSafe, catch_unwind},
};

use seeds::setting;
use stats::{Mutant, Stats};
use world::World;

/// The default number of seeds.
const SEEDS: u64 = 20_000;
/// The number of seeds within which a mutant must be caught.
const CAUGHT_WITHIN: u64 = 300;

fn run(seeds: &Range<u64>, mutant: Option<Mutant>) -> Result<Stats, String> {
    let one = |seed| {
        let told = catch_unwind(AssertUnwindSafe(|| World::new(seed, mutant).run()));
        told.unwrap_or_else(|_| Err("a panic".to_owned())).map_err(|why| format!("seed {seed}: {why}"))
    };
    seeds::run(seeds, one, Stats::add)
}

#[test]
fn all_are_served_in_any_story() {
    let seeds = match setting("FAREBOX_TEST_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..setting("FAREBOX_TEST_SEEDS").unwrap_or(SEEDS),
    };
    let count = seeds.end - seeds.start;
    let stats = run(&seeds, None).unwrap_or_else(|why| panic!("{why}"));
    println!("{stats:?}");
    if count >= 100 {
        stats.assert_told(count);
    }
}

#[test]
fn the_faults_of_an_engine_are_noticed() {
    for mutant in Mutant::ALL {
        assert!(run(&(0..CAUGHT_WITHIN), Some(mutant)).is_err(), "{mutant:?} is not noticed");
    }
}
