//! The simulation of who owns which shard: the product's own leases ([`actors::cluster::lease`]), with nodes that start,
//! end, die, are stopped and go on, whose clocks run unevenly, and a database that is away, whose clock is set, and whose
//! statements are late, lost before they are carried out or lost afterwards. Everything follows from one seed: no thread,
//! no clock, no database.
//!
//! `FAREBOX_TEST_SEEDS=100000` runs more seeds; `FAREBOX_TEST_SEED=17` runs that one and prints its events.

#![expect(clippy::panic, reason = "how a test fails")]

mod check;
mod database;
mod faults;
mod node;
mod quiet;
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
const SEEDS: u64 = 200;
/// The number of seeds within which a mutant must be caught.
const CAUGHT_WITHIN: u64 = 100;

/// Events that a failing story shows.
const SHOWN: usize = 80;

fn run_seed(seed: u64, mutant: Option<Mutant>) -> Result<Stats, String> {
    let run = |world: &mut World| {
        catch_unwind(AssertUnwindSafe(|| world.run())).unwrap_or_else(|_| Err("a panic".to_owned()))
    };
    let mut world = World::new(seed, mutant, false);
    if run(&mut world).is_ok() {
        return Ok(world.stats);
    }
    // Once more, to be told.
    let mut world = World::new(seed, mutant, true);
    run(&mut world).map(|()| world.stats).map_err(|why| format!("seed {seed}: {why}\n{}", world.story(SHOWN)))
}

fn run(seeds: &Range<u64>, mutant: Option<Mutant>) -> Result<Stats, String> {
    seeds::run(seeds, |seed| run_seed(seed, mutant), Stats::add)
}

#[test]
fn a_shard_is_used_by_one_node_at_a_time_and_soon_by_one() {
    if let Some(seed) = setting("FAREBOX_TEST_SEED") {
        let mut world = World::new(seed, None, true);
        let ended = world.run();
        println!("{}", world.story(usize::MAX));
        assert_eq!(ended, Ok(()), "seed {seed}");
        return;
    }
    let seeds = setting("FAREBOX_TEST_SEEDS").unwrap_or(SEEDS);
    let stats = run(&(0..seeds), None).unwrap_or_else(|why| panic!("{why}"));
    println!("{stats:?}");
    if seeds >= 200 {
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
