//! What was measured of a request, what the model makes of it, and the tables of `docs/scaling.md`. The benchmark `nodes`
//! measures, and writes all three; a test holds them against one another.

use std::fmt::Write as _;

use serde::{Deserialize, Serialize};

use crate::model::{Demands, Outcome, Setting, elsewhere, run};

/// The lines of the page between which the tables stand.
pub(crate) const BEGIN: &str = "<!-- measured: make scaling -->\n";
pub(crate) const END: &str = "<!-- end of measured -->\n";
/// The simulation's seed.
const SEED: u64 = 1;
/// The rates whose needs are told, in requests a second.
const RATES: [f64; 3] = [100.0, 10_000.0, 1_000_000.0];
/// How busy cores may be, so that requests do not wait for one another.
const BUSY: f64 = 0.6;
/// The least part of a request's processor time that its client waits for.
const LEAST_PATH: f64 = 0.2;
/// The cores that may be busy with something else while it is measured: the system's own work.
const CALM: f64 = 0.25;
/// A machine, for those who count in machines.
const CORES_OF_A_MACHINE: f64 = 16.0;

/// One run of the measurement.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Measured {
    /// The build that was measured: `release` or `debug`.
    pub(crate) build: String,
    /// The machine's cores.
    pub(crate) cores: usize,
    /// The points, those of one node first, the fewest clients first.
    pub(crate) points: Vec<Point>,
}

/// A number of clients at a number of nodes. Processor times are microseconds a request.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Point {
    pub(crate) nodes: usize,
    pub(crate) clients: usize,
    /// Requests a second.
    pub(crate) rate: f64,
    /// Milliseconds.
    pub(crate) p50: f64,
    /// Milliseconds.
    pub(crate) p99: f64,
    pub(crate) node: f64,
    pub(crate) postgres: f64,
    /// Of the clients and the provider.
    pub(crate) others: f64,
    /// Of Redis.
    pub(crate) redis: f64,
    /// Commands of Redis, for each request.
    pub(crate) commands: f64,
    /// The cores that were busy with something else, on average.
    pub(crate) elsewhere: f64,
    /// Appends to logs, for each request.
    pub(crate) batches: f64,
    /// Milliseconds that an append takes.
    pub(crate) append: f64,
    /// Of PostgreSQL, for each request.
    pub(crate) statements: f64,
    /// Rows that the statements made, changed or read, for each request.
    pub(crate) rows: f64,
    /// Bytes of write-ahead log, for each request.
    pub(crate) wal: f64,
}

impl Point {
    fn processor(&self) -> f64 {
        self.node + self.postgres + self.redis + self.others
    }

    const fn setting(&self, cores: usize) -> Setting {
        Setting { cores, nodes: self.nodes, clients: self.clients }
    }
}

impl Measured {
    fn of_nodes(&self, is_it: impl Fn(usize) -> bool) -> Vec<&Point> {
        self.points.iter().filter(|point| is_it(point.nodes)).collect()
    }

    /// What a request and a batch take, from processor times and from the time of a request alone. No rate under load is used:
    /// that is what the model predicts.
    pub(crate) fn demands(&self) -> Demands {
        let (alone, several) = (self.of_nodes(|nodes| nodes == 1), self.of_nodes(|nodes| nodes > 1));
        // Many clients share a batch: what a request costs less then is what a batch costs.
        let (request, batch) = line(alone.iter().map(|point| (point.batches, point.processor())));
        // A request alone waits for nothing but its own work. What of its processor time is not in that is spent behind it.
        let first = alone[0];
        let append = first.append * 1_000.0;
        let rest = 1e6 / first.rate - first.batches * append;
        let path = rest.clamp(request * LEAST_PATH, request);
        let wait = (rest - path).max(0.0);
        // The same of what it takes more where most requests come to another node than their account's.
        let more = several.iter().map(|point| {
            let more = point.processor() - request - point.batches * batch;
            (point.batches, (more / elsewhere(point.nodes)).max(0.0))
        });
        let (forward, link) = line(more);
        let hop = several
            .first()
            .map_or(0.0, |point| ((1e6 / point.rate - 1e6 / first.rate) / elsewhere(point.nodes)).max(0.0));
        Demands { path, wait, behind: request - path, append, batch, forward, link, hop }
    }

    /// Whether the machine had nothing else to do. Otherwise it is no measurement.
    pub(crate) fn is_calm(&self) -> bool {
        self.points.iter().all(|point| point.elsewhere <= CALM)
    }

    /// What the model makes of each point.
    pub(crate) fn predicted(&self) -> Vec<(&Point, Outcome)> {
        let demands = self.demands();
        self.points.iter().map(|point| (point, run(demands, point.setting(self.cores), SEED))).collect()
    }

    /// The tables of the page.
    pub(crate) fn tables(&self) -> String {
        let mut page = format!(
            "\nMeasured on {} cores, which the clients and the provider share ({} build).\n\n",
            self.cores, self.build
        );
        if !self.is_calm() {
            page +=
                "**The machine was busy with something else: these figures are only an example of the tables.**\n\n";
        }
        page += "| nodes | clients | requests/s | node | PostgreSQL | Redis | clients and provider | all else | appends | append | statements | rows | WAL | commands of Redis |\n";
        page += "|---|---|---|---|---|---|---|---|---|---|---|---|---|---|\n";
        for point in &self.points {
            let _ = writeln!(
                page,
                "| {} | {} | {:.0} | {:.0} us | {:.0} us | {:.0} us | {:.0} us | {:.2} cores | {:.2} | {:.2} ms | {:.1} | {:.1} | {:.0} bytes | {:.1} |",
                point.nodes,
                point.clients,
                point.rate,
                point.node,
                point.postgres,
                point.redis,
                point.others,
                point.elsewhere,
                point.batches,
                point.append,
                point.statements,
                point.rows,
                point.wal,
                point.commands
            );
        }
        let Demands { path, wait, behind, append, batch, forward, link, hop } = self.demands();
        let _ = writeln!(
            page,
            "\nFrom that the model has, in us: a request waits for {path:.0} of processor time and {wait:.0} beside it, and {behind:.0} are spent behind it; a \
             batch is durable after {append:.0}, and takes {batch:.0} of processor time. Where an account is at another node, a request \
             takes {hop:.0} longer, {forward:.0} of processor time more, and a batch {link:.0}.\n"
        );
        page += "| nodes | clients | measured/s | model/s | ratio | measured p50 | model p50 | ratio |\n|---|---|---|---|---|---|---|---|\n";
        for (point, outcome) in self.predicted() {
            let _ = writeln!(
                page,
                "| {} | {} | {:.0} | {:.0} | {:.2} | {:.2} ms | {:.2} ms | {:.2} |",
                point.nodes,
                point.clients,
                point.rate,
                outcome.rate,
                outcome.rate / point.rate,
                point.p50,
                outcome.p50,
                outcome.p50 / point.p50
            );
        }
        page + "\n" + &self.needs()
    }

    /// What rates take, from the busiest point of one node and what a forward costs.
    fn needs(&self) -> String {
        let alone = self.of_nodes(|nodes| nodes == 1);
        let busiest = alone[alone.len() - 1];
        let Demands { forward, link, .. } = self.demands();
        let forward = forward + busiest.batches * link;
        let mut page = String::from(
            "| requests/s | cores of nodes | machines of 16 cores | cores of PostgreSQL | servers of 16 cores | rows/s | WAL | WAL a day |\n\
             |---|---|---|---|---|---|---|---|\n",
        );
        for rate in RATES {
            let cores = |each: f64| rate * each / 1e6 / BUSY;
            let machines = |cores: f64| (cores / CORES_OF_A_MACHINE).ceil();
            // Where there is more than one node, nearly every account is at another one.
            let alone = cores(busiest.node);
            let node = if machines(alone) > 1.0 { cores(busiest.node + forward) } else { alone };
            let (postgres, wal) = (cores(busiest.postgres), rate * busiest.wal / 1e6);
            let _ = writeln!(
                page,
                "| {rate:.0} | {node:.1} | {:.0} | {postgres:.1} | {:.0} | {:.0} | {wal:.1} MB/s | {:.2} TB |",
                machines(node),
                machines(postgres),
                rate * busiest.rows,
                wal * 86_400.0 / 1e6
            );
        }
        page
    }

    /// The page with these tables instead of those that it has.
    pub(crate) fn put_into(&self, page: &str) -> Option<String> {
        let (before, rest) = page.split_once(BEGIN)?;
        let (_, after) = rest.split_once(END)?;
        Some(format!("{before}{BEGIN}{}{END}{after}", self.tables()))
    }
}

/// The line that is nearest to these points: where it begins, and how it rises. It does not fall.
fn line(points: impl Iterator<Item = (f64, f64)>) -> (f64, f64) {
    let points: Vec<(f64, f64)> = points.collect();
    let mean = |of: fn(&(f64, f64)) -> f64| points.iter().map(of).sum::<f64>() / count(points.len().max(1));
    let (x, y) = (mean(|point| point.0), mean(|point| point.1));
    let spread: f64 = points.iter().map(|point| (point.0 - x).powi(2)).sum();
    let both: f64 = points.iter().map(|point| (point.0 - x) * (point.1 - y)).sum();
    let rise = if spread > 0.0 { (both / spread).max(0.0) } else { 0.0 };
    ((y - x * rise).max(0.0), rise)
}

#[expect(clippy::cast_precision_loss, reason = "a handful")]
fn count(number: usize) -> f64 {
    number as f64
}
