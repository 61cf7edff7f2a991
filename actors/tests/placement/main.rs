//! The simulation of the pools' memory: the product's own placement, with engines that load, fail, hang, panic and end
//! late, requests that come in bursts and leave, models that are imported anew or never fit, pools that die, and operators
//! that load, unload, pin and drain. Everything follows from one seed: no thread, no clock, no model.
//!
//! `FAREBOX_TEST_SEEDS=100000` runs more seeds; `FAREBOX_TEST_SEED=17` runs that one and prints its events.

#![expect(clippy::panic, reason = "how a test fails")]

mod check;
#[path = "../simulation/random.rs"]
mod random;
#[path = "../simulation/seeds.rs"]
mod seeds;
mod world;

use std::{
    ops::Range,
    panic::{AssertUnwindSafe, catch_unwind},
};

use check::Stats;
use seeds::setting;
use world::{Mutant, World};

/// The default number of seeds: what a debug build runs in some seconds.
const SEEDS: u64 = 4_000;
/// The number of seeds within which a mutant must be caught.
const CAUGHT_WITHIN: u64 = 300;

/// Events that a failing story shows.
const SHOWN: usize = 60;

fn run_seed(seed: u64, mutant: Option<Mutant>) -> Result<Stats, String> {
    let mut world = World::new(seed, mutant);
    let told = catch_unwind(AssertUnwindSafe(|| world.run())).unwrap_or_else(|_| Err("a panic".to_owned()));
    told.map(|()| world.stats).map_err(|why| format!("seed {seed}: {why}\n{}", world.story(SHOWN)))
}

fn run(seeds: &Range<u64>, mutant: Option<Mutant>) -> Result<Stats, String> {
    seeds::run(seeds, |seed| run_seed(seed, mutant), Stats::add)
}

#[test]
fn every_request_is_answered_and_no_device_holds_more_than_it_has() {
    if let Some(seed) = setting("FAREBOX_TEST_SEED") {
        let mut world = World::new(seed, None);
        let ended = world.run();
        println!("{}", world.story(usize::MAX));
        assert_eq!(ended, Ok(()), "seed {seed}");
        return;
    }
    let seeds = setting("FAREBOX_TEST_SEEDS").unwrap_or(SEEDS);
    let stats = run(&(0..seeds), None).unwrap_or_else(|why| panic!("{why}"));
    println!("{stats:?}");
    if seeds >= 1_000 {
        stats.assert_told(seeds);
    }
}

#[test]
fn what_breaks_a_rule_is_noticed() {
    for mutant in Mutant::ALL {
        let found = run(&(0..CAUGHT_WITHIN), Some(mutant));
        let why = found.err().unwrap_or_else(|| panic!("{mutant:?} is not noticed"));
        println!("{mutant:?}: {}", why.lines().next().unwrap_or_default());
    }
}
