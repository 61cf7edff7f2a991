//! What a request takes of its node, of PostgreSQL and of the log, by the number of clients; and what the capacity model makes
//! of that.

use std::{env, fs, path::Path, thread, time::Instant};

use tokio::time::sleep;

use crate::{
    Stage,
    contest::PAUSE,
    figures::{median, microseconds_each},
    load::{Target, load},
    measured::{Measured, Point},
    nodes::Nodes,
    process::{busy, processor, processor_with_children},
    redis::Redis,
};

const DOLLARS: &str = "100000";
const ACCOUNTS: usize = 120;
/// Nodes and clients of each point, those of one node first, the fewest clients first.
const POINTS: [(usize, usize); 8] = [(1, 1), (1, 4), (1, 16), (1, 64), (1, 256), (3, 1), (3, 16), (3, 64)];
/// The turns of each point, at most.
const TURNS: usize = 5;
const STATEMENTS: &str = "SELECT COALESCE(SUM(calls), 0) || ' ' || COALESCE(SUM(rows), 0) || ' ' || COALESCE(SUM(wal_bytes), 0) \
                          FROM pg_stat_statements WHERE dbid = (SELECT oid FROM pg_database WHERE datname = current_database())";

/// The statements that took PostgreSQL the most time: its share of all, microseconds a call, calls, and its beginning.
const LONGEST: &str = "SELECT string_agg(line, E'\\n') FROM (SELECT format('%s %%  %s us  %s calls  %s', \
                       round((100 * total_exec_time / sum(total_exec_time) OVER ())::numeric), \
                       round((1000 * mean_exec_time)::numeric), calls, left(regexp_replace(query, '\\s+', ' ', 'g'), 110)) line \
                       FROM pg_stat_statements WHERE dbid = (SELECT oid FROM pg_database WHERE datname = current_database()) \
                       ORDER BY total_exec_time DESC LIMIT 8) longest";

/// What counts on, as it stands.
#[derive(Debug, Clone, Copy, Default)]
struct Counts {
    node: f64,
    postgres: f64,
    others: f64,
    redis: f64,
    commands: f64,
    /// Of all processes, in seconds.
    busy: f64,
    appends: f64,
    append_seconds: f64,
    statements: f64,
    rows: f64,
    wal: f64,
}

/// Measures all points, prints them and what the model makes of them, and writes them if that is wanted.
pub(crate) async fn cost(stage: &Stage) {
    let mut points = Vec::new();
    for nodes in [1, 3] {
        let cluster = Nodes::start(stage, if nodes == 1 { "one" } else { "three" }, nodes).await;
        stage.postgres.ask(cluster.database(), "CREATE EXTENSION pg_stat_statements");
        let target = cluster.accounts(ACCOUNTS, DOLLARS).await;
        for (_, clients) in POINTS.into_iter().filter(|(of, _)| *of == nodes) {
            load(&target, clients, stage.options.lasting() / 2).await;
            let mut turns = Vec::new();
            for _ in 0..stage.options.turns().min(TURNS) {
                turns.push(turn(stage, &cluster, &target, clients).await);
            }
            points.push(middle(&turns));
        }
        println!("  PostgreSQL's time, {nodes} nodes:");
        for line in stage.postgres.ask(cluster.database(), LONGEST).lines() {
            println!("    {line}");
        }
        cluster.audit().await;
    }
    // A program that is named is a release.
    let is_debug = cfg!(debug_assertions) && env::var_os("FAREBOX_BENCH_PROGRAM").is_none();
    let build = if is_debug { "debug" } else { "release" };
    let cores = thread::available_parallelism().unwrap().get();
    let measured = Measured { build: build.into(), cores, points };
    println!("{}", measured.tables());
    if stage.options.write {
        let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs");
        let page = docs.join("scaling.md");
        let text = fs::read_to_string(&page).unwrap();
        fs::write(docs.join("scaling.json"), serde_json::to_string_pretty(&measured).unwrap() + "\n").unwrap();
        fs::write(&page, measured.put_into(&text).unwrap()).unwrap();
        println!("  written to {}", page.display());
    }
}

async fn turn(stage: &Stage, nodes: &Nodes, target: &Target, clients: usize) -> Point {
    sleep(PAUSE).await;
    let (before, began) = (counts(stage, nodes).await, Instant::now());
    let taken = load(target, clients, stage.options.lasting()).await;
    // What was left to be done behind the answers is counted.
    sleep(PAUSE).await;
    let (after, during) = (counts(stage, nodes).await, began.elapsed().as_secs_f64());
    let of = |count: fn(&Counts) -> f64| count(&after) - count(&before);
    let own = of(|counts| counts.node + counts.postgres + counts.redis + counts.others);
    let processor = |seconds: f64| microseconds_each(seconds, taken.requests);
    let each = |count: f64| microseconds_each(count, taken.requests) / 1e6;
    Point {
        nodes: nodes.members.len(),
        clients,
        rate: taken.rate,
        p50: taken.p50,
        p99: taken.p99,
        node: processor(of(|counts| counts.node)),
        postgres: processor(of(|counts| counts.postgres)),
        others: processor(of(|counts| counts.others)),
        redis: processor(of(|counts| counts.redis)),
        commands: each(of(|counts| counts.commands)),
        elsewhere: (of(|counts| counts.busy) - own).max(0.0) / during,
        batches: each(of(|counts| counts.appends)),
        append: of(|counts| counts.append_seconds) / of(|counts| counts.appends).max(1.0) * 1_000.0,
        statements: each(of(|counts| counts.statements)),
        rows: each(of(|counts| counts.rows)),
        wal: each(of(|counts| counts.wal)),
    }
}

async fn counts(stage: &Stage, nodes: &Nodes) -> Counts {
    let mut counts = Counts {
        postgres: processor_with_children(stage.postgres.id()),
        others: processor(std::process::id()) + processor(stage.upstream.0.id()),
        busy: busy(),
        redis: stage.redis.as_ref().map_or(0.0, |redis| processor(redis.id())),
        commands: stage.redis.as_ref().map_or(0.0, Redis::commands),
        ..Counts::default()
    };
    for node in &nodes.members {
        counts.node += processor(node.process().id());
        let metrics = node.metrics().await;
        counts.appends += metric(&metrics, "farebox_journal_commit_seconds_count");
        counts.append_seconds += metric(&metrics, "farebox_journal_commit_seconds_sum");
    }
    let told = stage.postgres.ask(nodes.database(), STATEMENTS);
    let mut numbers = told.split(' ').map(|number| number.parse::<f64>().unwrap());
    let mut next = || numbers.next().unwrap();
    (counts.statements, counts.rows, counts.wal) = (next(), next(), next());
    counts
}

/// The sum of a metric's lines.
fn metric(metrics: &str, name: &str) -> f64 {
    let lines = metrics.lines().filter(|line| line.starts_with(name));
    lines.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum()
}

/// The median of each figure.
fn middle(turns: &[Point]) -> Point {
    let of = |figure: fn(&Point) -> f64| median(turns.iter().map(figure));
    Point {
        nodes: turns[0].nodes,
        clients: turns[0].clients,
        rate: of(|point| point.rate),
        p50: of(|point| point.p50),
        p99: of(|point| point.p99),
        node: of(|point| point.node),
        postgres: of(|point| point.postgres),
        others: of(|point| point.others),
        redis: of(|point| point.redis),
        commands: of(|point| point.commands),
        elsewhere: of(|point| point.elsewhere),
        batches: of(|point| point.batches),
        append: of(|point| point.append),
        statements: of(|point| point.statements),
        rows: of(|point| point.rows),
        wal: of(|point| point.wal),
    }
}
