//! The cost of billing, beside a bare actix-web and reqwest proxy that takes turns with Farebox under the same load:
//! requests a second, added latency and processor time of closed, non-streamed chat (durable hold, call, durable
//! capture) on SQLite and PostgreSQL; one busy account beside many; little credit and much; bytes on disk; the time added
//! to the first token and to each chunk; a thousand streams; an agent's turn of a megabyte; the memory of accounts; the
//! operator's view of many accounts. It starts itself as the provider and as the bare proxy.
//!
//! `cargo bench --bench gateway` runs all cases. `cargo bench --bench gateway -- sqlite-50 latency --turns 3` runs those
//! whose names begin so. `FAREBOX_BENCH_PROGRAM` names another program to measure than the one that is built with it.

#![expect(clippy::unwrap_used, reason = "a benchmark that cannot go on has failed")]

mod cases;
mod contest;
#[expect(dead_code, reason = "the benchmark of nodes asks more of one")]
mod farebox;
mod figures;
mod load;
#[expect(dead_code, reason = "the benchmark of nodes asks it more")]
mod postgres;
#[expect(dead_code, reason = "the benchmark of nodes counts what others take")]
mod process;
mod servers;
mod sockets;
mod streams;

use std::{
    env,
    path::Path,
    thread,
    time::{Duration, Instant},
};

use cases::{Bench, CASES};
use clap::Parser;

/// What a request costs, beside a bare proxy.
#[derive(Debug, Parser)]
struct Options {
    /// The beginnings of the names of the cases that run; all by default
    cases: Vec<String>,
    /// The turns of each case
    #[arg(long, default_value_t = 9, value_parser = clap::value_parser!(u32).range(1..))]
    turns: u32,
    /// How long a turn lasts
    #[arg(long, default_value_t = 1.2)]
    seconds: f64,
    /// A bare proxy whose workers have an HTTP client each, instead of one that they share
    #[arg(long)]
    client_per_worker: bool,
    /// Names the cases
    #[arg(long)]
    list: bool,
    /// Cargo says so
    #[arg(long, hide = true)]
    bench: bool,
}

const SHARED: &str = "proxy-with-one-client";
const PER_WORKER: &str = "proxy-with-a-client-per-worker";

async fn orchestrate(options: Options) {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let chosen = |name: &str| options.cases.is_empty() || options.cases.iter().any(|case| name.starts_with(case));
    let role = if options.client_per_worker { PER_WORKER } else { SHARED };
    let (began, lasting) = (Instant::now(), Duration::from_secs_f64(options.seconds));
    let cores = thread::available_parallelism().unwrap();
    println!("{} turns of {} s on {cores} cores; bare: {role}", options.turns, options.seconds);
    println!("farebox: {}", Path::new(&farebox::program()).display());
    let bench = Bench::start(options.turns.try_into().unwrap(), lasting, role);
    for (name, case) in CASES.into_iter().filter(|(name, _)| chosen(name)) {
        let began = Instant::now();
        println!("{name}");
        bench.run(case).await;
        println!("  took {:.0} s", began.elapsed().as_secs_f64());
    }
    println!("all of it took {:.0} s", began.elapsed().as_secs_f64());
}

fn main() {
    let arguments: Vec<String> = env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["upstream"] => return servers::upstream(),
        [role @ (SHARED | PER_WORKER), to] => return servers::proxy(to, *role == PER_WORKER),
        _ => {}
    }
    let options = Options::parse();
    let known = |case: &&String| !CASES.iter().any(|(name, _)| name.starts_with(case.as_str()));
    let unknown = options.cases.iter().find(known);
    if let Some(unknown) = unknown {
        eprintln!("no case begins with `{unknown}`");
    }
    if options.list || unknown.is_some() {
        for (name, _) in CASES {
            println!("{name}");
        }
        std::process::exit(i32::from(unknown.is_some()));
    }
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(orchestrate(options));
}
