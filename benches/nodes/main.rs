//! Several nodes with one ledger in PostgreSQL, beside one on the same cores: what a forward adds, a hot account beside many,
//! how soon the accounts of a node that died or left are served by others, how soon a balance is at sockets of other nodes,
//! and what coordination costs. `cost` measures what a request takes of each part, as the capacity model wants it.
//!
//! `cargo bench --bench nodes` runs all cases; `cargo bench --bench nodes -- forward drain --turns 3` those whose names begin
//! so. `FAREBOX_BENCH_PROGRAM` names another program to measure than the one that is built with it. `-- cost --write` (`make
//! scaling`) writes what it measured to `docs/scaling.json`, and its tables into `docs/scaling.md`.

#![expect(clippy::unwrap_used, reason = "a benchmark that cannot go on has failed")]

#[path = "../gateway/contest.rs"]
mod contest;
mod cost;
#[path = "../gateway/farebox.rs"]
#[expect(dead_code, reason = "the other benchmark does more with one")]
mod farebox;
#[path = "../gateway/figures.rs"]
mod figures;
#[path = "../gateway/load.rs"]
#[expect(dead_code, reason = "the other benchmark sends agents' turns, too")]
mod load;
#[path = "../../tests/capacity/measured.rs"]
mod measured;
#[path = "../../tests/capacity/model.rs"]
mod model;
mod moves;
mod nodes;
#[path = "../gateway/postgres.rs"]
#[expect(dead_code, reason = "the other benchmark counts bytes, too")]
mod postgres;
#[path = "../gateway/process.rs"]
#[expect(dead_code, reason = "the other benchmark measures memory, too")]
mod process;
mod redis;
#[path = "../gateway/servers.rs"]
#[expect(dead_code, reason = "the other benchmark has a bare proxy, too")]
mod servers;
mod steady;
#[path = "../gateway/streams.rs"]
#[expect(dead_code, reason = "the provider knows of streams")]
mod streams;

use std::{
    env,
    path::Path,
    process::Command,
    thread,
    time::{Duration, Instant},
};

use clap::Parser;
use postgres::Postgres;
use process::Process;
use redis::Redis;

/// What several nodes cost, beside one.
#[derive(Debug, Clone, Parser)]
pub(crate) struct Options {
    /// The beginnings of the names of the cases that run; all by default
    cases: Vec<String>,
    /// The turns of each case
    #[arg(long, default_value_t = 9, value_parser = clap::value_parser!(u32).range(1..))]
    turns: u32,
    /// How long a turn lasts
    #[arg(long, default_value_t = 1.2)]
    seconds: f64,
    /// The accounts beside the hot one
    #[arg(long, default_value_t = 10_000)]
    crowd: usize,
    /// Writes what `cost` measured to docs/scaling.json and docs/scaling.md
    #[arg(long)]
    write: bool,
    /// Names the cases
    #[arg(long)]
    list: bool,
    /// Cargo says so
    #[arg(long, hide = true)]
    bench: bool,
}

impl Options {
    fn turns(&self) -> usize {
        self.turns.try_into().unwrap()
    }

    fn lasting(&self) -> Duration {
        Duration::from_secs_f64(self.seconds)
    }
}

/// What the cases share: the provider, PostgreSQL, and Redis where it is installed.
pub(crate) struct Stage {
    options: Options,
    upstream: (Process, String),
    postgres: Postgres,
    redis: Option<Redis>,
}

/// The cases by their names, in the order in which they run.
const CASES: [&str; 8] = ["forward", "hot", "three", "redis", "takeover", "drain", "sockets", "cost"];

async fn orchestrate(options: Options) {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let Some(postgres) = Postgres::start_with(&["shared_preload_libraries=pg_stat_statements"]) else {
        println!("SKIPPED: PostgreSQL is not installed");
        return;
    };
    let upstream = Process::start(Command::new(env::current_exe().unwrap()).arg("upstream"));
    let cores = thread::available_parallelism().unwrap();
    println!("{} turns of {} s on {cores} cores", options.turns, options.seconds);
    println!("farebox: {}", Path::new(&farebox::program()).display());
    let chosen: Vec<&str> = CASES
        .into_iter()
        .filter(|name| options.cases.is_empty() || options.cases.iter().any(|case| name.starts_with(case)))
        .collect();
    let redis = Redis::start();
    if redis.is_none() {
        println!("without Redis: it is not installed");
    }
    let stage = Stage { options, upstream, postgres, redis };
    for name in chosen {
        let began = Instant::now();
        println!("{name}");
        match name {
            "forward" => steady::forward(&stage).await,
            "hot" => steady::hot(&stage).await,
            "three" => steady::three(&stage).await,
            "redis" => steady::without_redis(&stage).await,
            "takeover" => moves::takeover(&stage).await,
            "drain" => moves::drain(&stage).await,
            "sockets" => moves::sockets(&stage).await,
            _ => cost::cost(&stage).await,
        }
        println!("  took {:.0} s", began.elapsed().as_secs_f64());
    }
}

fn main() {
    if env::args().nth(1).as_deref() == Some("upstream") {
        return servers::upstream();
    }
    let options = Options::parse();
    let known = |case: &&String| !CASES.iter().any(|name| name.starts_with(case.as_str()));
    let unknown = options.cases.iter().find(known);
    if let Some(unknown) = unknown {
        eprintln!("no case begins with `{unknown}`");
    }
    if options.list || unknown.is_some() {
        for name in CASES {
            println!("{name}");
        }
        std::process::exit(i32::from(unknown.is_some()));
    }
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(orchestrate(options));
}
