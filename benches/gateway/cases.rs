//! The cases of the benchmark. Each has a gateway of its own, with a new ledger.

use std::{
    cell::OnceCell,
    env,
    fs::File,
    io::Write as _,
    path::Path,
    process::Command,
    time::{Duration, Instant},
};

use tokio::time::sleep;

use crate::{
    contest::{CROWD_EVERY, Contender, Contest, Meter, Turns, wake},
    farebox::{Database, Farebox},
    figures::{median, microseconds_each},
    load::{Target, agents_body, body, load, request, send},
    postgres::Postgres,
    process::{Process, processor},
    sockets,
    streams::{Delays, Pace},
};

const ACCOUNTS: usize = 50;
const DOLLARS: &str = "1000";
const FEW_DOLLARS: &str = "0.01";
/// An account with a cent is not used for longer: its cent would be spent.
const FEW_DOLLARS_LAST: Duration = Duration::from_millis(1_500);
const CONNECTIONS: usize = 64;
/// Turns of one connection have few requests, and need few turns.
const LATENCY_TURNS: usize = 5;
const CROWD: usize = 10_000;
/// The number of durable writes that are timed after each round of turns.
const APPENDS: usize = 100;
const APPENDED: [u8; 512] = [7; 512];
/// The number of streams timed to their first token, each way.
const STREAMS: usize = 500;
/// Streams that leave the machine idle, and those that do not.
const FEW_STREAMS: usize = 8;
const MANY_STREAMS: usize = 1_000;
const FAST: Pace = Pace { chunks: 200, every: Duration::from_millis(5) };
const USUAL: Pace = Pace { chunks: 200, every: Duration::from_millis(50) };
/// The body of an agent's turn, and how many are timed, each way.
const AGENTS_BYTES: usize = 1 << 20;
const TURNS_OF_AGENT: usize = 30;
/// The number of accounts whose memory is measured, after as many that fill the database's caches.
const REMEMBERED: usize = 5_000;

/// The accounts of a gateway that is looked at (`FAREBOX_BENCH_VIEWED` names another number), how long a turn of it lasts at
/// least, the pictures whose processor time is counted, and how long it is looked before what the idle gateway takes.
const VIEWED: usize = 100_000;
const VIEWED_FOR: Duration = Duration::from_secs(3);
const PICTURES: usize = 2_000;
const PICTURES_WITHIN: Duration = Duration::from_secs(2);
/// The share of a core below which the gateway is idle, and how often it is looked for that.
const QUIET: f64 = 0.03;
const MOST_LOOKS: usize = 30;

/// Where a case keeps its ledger.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Sqlite,
    Postgres,
}

/// One case.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Case {
    Throughput { on: Kind, accounts: usize, connections: usize },
    Latency,
    Hot,
    Balance,
    Disk,
    FirstToken,
    Chunks,
    Streams,
    Agent,
    Memory,
    IdleSockets,
    WatchedBalance,
    View,
}

/// All cases by their names, in the order in which they run.
pub(crate) const CASES: [(&str, Case); 18] = [
    ("sqlite-50-64", Case::Throughput { on: Kind::Sqlite, accounts: ACCOUNTS, connections: 64 }),
    ("sqlite-50-512", Case::Throughput { on: Kind::Sqlite, accounts: ACCOUNTS, connections: 512 }),
    ("sqlite-1-64", Case::Throughput { on: Kind::Sqlite, accounts: 1, connections: 64 }),
    ("sqlite-1-512", Case::Throughput { on: Kind::Sqlite, accounts: 1, connections: 512 }),
    ("postgres-50-64", Case::Throughput { on: Kind::Postgres, accounts: ACCOUNTS, connections: 64 }),
    ("postgres-50-512", Case::Throughput { on: Kind::Postgres, accounts: ACCOUNTS, connections: 512 }),
    ("latency", Case::Latency),
    ("hot", Case::Hot),
    ("balance", Case::Balance),
    ("disk", Case::Disk),
    ("first-token", Case::FirstToken),
    ("chunks", Case::Chunks),
    ("streams", Case::Streams),
    ("agent", Case::Agent),
    ("memory", Case::Memory),
    ("idle-sockets", Case::IdleSockets),
    ("watched-balance", Case::WatchedBalance),
    ("view", Case::View),
];

/// What the cases share: the provider, the bare proxy, and PostgreSQL once a case needs it.
pub(crate) struct Bench {
    turns: usize,
    lasting: Duration,
    upstream: (Process, String),
    bare: (Process, String),
    postgres: OnceCell<Option<Postgres>>,
}

impl Bench {
    /// Starts this program as the provider and as the bare proxy (`role` names the kind of proxy).
    pub(crate) fn start(turns: usize, lasting: Duration, role: &str) -> Self {
        let own = env::current_exe().unwrap();
        let upstream = Process::start(Command::new(&own).arg("upstream"));
        let bare = Process::start(Command::new(&own).args([role, &upstream.1]));
        Self { turns, lasting, upstream, bare, postgres: OnceCell::new() }
    }

    pub(crate) async fn run(&self, case: Case) {
        match case {
            Case::Throughput { on, accounts, connections } => self.throughput(on, accounts, connections).await,
            Case::Latency => self.latency().await,
            Case::Hot => self.hot().await,
            Case::Balance => self.balance().await,
            Case::Disk => self.disk().await,
            Case::FirstToken => self.first_token().await,
            Case::Chunks => self.chunks().await,
            Case::Streams => self.streams().await,
            Case::Agent => self.agent().await,
            Case::Memory => self.memory().await,
            Case::View => self.view().await,
            Case::IdleSockets => {
                let Some(farebox) = self.farebox(Kind::Sqlite) else { return };
                sockets::idle(&farebox).await;
            }
            Case::WatchedBalance => {
                let Some(farebox) = self.farebox(Kind::Sqlite) else { return };
                sockets::watched(&farebox, self.turns).await;
            }
        }
    }

    /// Requests a second and processor time, beside the bare proxy's.
    async fn throughput(&self, on: Kind, accounts: usize, connections: usize) {
        let Some(farebox) = self.farebox(on) else { return };
        let target = farebox.accounts(accounts, DOLLARS).await;
        let ours = self.contender("farebox", &farebox, vec![target]);
        let contest = Contest::hold(vec![self.bare(), ours], self.turns(connections)).await;
        contest.print();
        contest.print_ratio(1, 0);
        let memory = |field| farebox.process().memory_kib(field);
        println!("  memory after load: {} KiB, at most {} KiB", memory("VmRSS"), memory("VmHWM"));
        farebox.audit().await;
    }

    /// What a request takes longer with one connection, beside what the disk takes.
    async fn latency(&self) {
        let sqlite = self.farebox(Kind::Sqlite);
        let postgres = self.farebox(Kind::Postgres);
        let mut contenders = vec![self.bare()];
        for (name, farebox) in [("farebox, SQLite", &sqlite), ("farebox, PostgreSQL", &postgres)] {
            if let Some(farebox) = farebox {
                let target = farebox.accounts(1, DOLLARS).await;
                contenders.push(self.contender(name, farebox, vec![target]));
            }
        }
        let count = contenders.len();
        let folder = sqlite.as_ref().unwrap().folder();
        let mut appends = Vec::new();
        let turns = Turns { count: self.turns.min(LATENCY_TURNS), ..self.turns(1) };
        let contest = Contest::hold_and(contenders, turns, || appends.extend(durable_appends(folder))).await;
        let append = median(appends);
        contest.print();
        println!("  a durable append (write and fdatasync of {} bytes): {append:.3} ms", APPENDED.len());
        for which in 1..count {
            let added = contest.print_added(which, 0);
            println!("  that is two durable appends and {:.2} ms", added - 2.0 * append);
        }
    }

    /// One busy account, while many others are idle or send a request now and then.
    async fn hot(&self) {
        let Some(farebox) = self.farebox(Kind::Sqlite) else { return };
        let hot = farebox.accounts(1, DOLLARS).await;
        let others = farebox.accounts(CROWD, DOLLARS).await;
        wake(&others).await;
        let idle = self.contender("others idle", &farebox, vec![hot.clone()]);
        let busy = Contender { crowd: Some(others), ..self.contender("others now and then", &farebox, vec![hot]) };
        println!("  {CROWD} others: one request each in {} s", CROWD_EVERY.as_secs());
        let contest = Contest::hold(vec![idle, busy], self.turns(CONNECTIONS)).await;
        contest.print();
        contest.print_ratio(1, 0);
        farebox.audit().await;
    }

    /// What the operator's view costs where there are many accounts: the same load with one picture a second and without, and
    /// the processor time of one picture.
    async fn view(&self) {
        let Some(farebox) = self.farebox(Kind::Sqlite) else { return };
        let viewed = env::var("FAREBOX_BENCH_VIEWED").map_or(VIEWED, |text| text.parse().unwrap());
        let target = farebox.accounts(ACCOUNTS, DOLLARS).await;
        farebox.used_accounts(viewed).await;
        let look = farebox.looking_at("overview");
        println!("  {viewed} accounts, each just used; looked at once a second, or not");
        let unseen = self.contender("unseen", &farebox, vec![target.clone()]);
        let seen = Contender { look: Some(look.clone()), ..self.contender("seen", &farebox, vec![target]) };
        // So long that the pictures of a turn are one a second.
        let turns = Turns { lasting: self.lasting.max(VIEWED_FOR), ..self.turns(CONNECTIONS) };
        let contest = Contest::hold(vec![unseen, seen], turns).await;
        contest.print();
        contest.print_ratio(1, 0);
        let used = || processor(farebox.process().id());
        // What the load has left is done before.
        let mut idle = f64::MAX;
        for _ in 0..MOST_LOOKS {
            let before = used();
            sleep(PICTURES_WITHIN).await;
            idle = used() - before;
            if idle < QUIET * PICTURES_WITHIN.as_secs_f64() {
                break;
            }
        }
        let before = used();
        let began = Instant::now();
        for _ in 0..PICTURES {
            look.once().await;
        }
        let idle_meanwhile = idle * began.elapsed().as_secs_f64() / PICTURES_WITHIN.as_secs_f64();
        let picture = microseconds_each(used() - before - idle_meanwhile, PICTURES);
        println!("  a picture takes {picture:.0} us of processor: {:.2} % of a core at one a second", picture / 1e4);
        farebox.audit().await;
    }

    /// The same load on accounts with little and with much. Each turn has new ones, as a cent is soon spent.
    async fn balance(&self) {
        let Some(farebox) = self.farebox(Kind::Sqlite) else { return };
        let turns = Turns { lasting: self.lasting.min(FEW_DOLLARS_LAST), ..self.turns(CONNECTIONS) };
        let mut contenders = Vec::new();
        for (name, dollars) in [("1000 dollars", DOLLARS), ("0.01 dollars", FEW_DOLLARS)] {
            let mut targets = Vec::new();
            for _ in 0..turns.count {
                targets.push(farebox.accounts(ACCOUNTS, dollars).await);
            }
            contenders.push(self.contender(name, &farebox, targets));
        }
        let contest = Contest::hold(contenders, turns).await;
        contest.print();
        contest.print_ratio(1, 0);
        farebox.audit().await;
    }

    /// The bytes that a closed request leaves on the disk.
    async fn disk(&self) {
        for on in [Kind::Sqlite, Kind::Postgres] {
            let Some(mut farebox) = self.farebox(on) else { continue };
            let accounts = farebox.accounts(ACCOUNTS, DOLLARS).await;
            farebox.stop();
            let before = self.bytes_of(&farebox);
            farebox.resume();
            let target = Target { urls: vec![farebox.url.clone()], ..accounts };
            let requests = load(&target, CONNECTIONS, 4 * self.lasting).await.requests;
            farebox.stop();
            let grown = self.bytes_of(&farebox).saturating_sub(before);
            let each = grown / u64::try_from(requests).unwrap();
            println!("  {on:?}: {each} bytes a request ({grown} of {requests} requests)");
        }
    }

    /// What the gateway adds to the time to the first token, one stream at a time.
    async fn first_token(&self) {
        let Some(farebox) = self.farebox(Kind::Sqlite) else { return };
        let accounts = farebox.accounts(1, DOLLARS).await;
        let (client, body) = (reqwest::Client::new(), body(true));
        let (mut direct, mut through) = (Vec::new(), Vec::new());
        for _ in 0..STREAMS {
            for (url, times) in [(&self.upstream.1, &mut direct), (&farebox.url, &mut through)] {
                let sent = Instant::now();
                let mut response = request(&client, url, &accounts.keys[0], &body).send().await.unwrap();
                assert_eq!(response.status(), 200);
                assert!(response.chunk().await.unwrap().is_some());
                times.push(sent.elapsed().as_secs_f64() * 1_000.0);
                while response.chunk().await.unwrap().is_some() {}
            }
        }
        direct.sort_by(f64::total_cmp);
        through.sort_by(f64::total_cmp);
        let at = |place: usize| through[STREAMS * place / 100] - direct[STREAMS * place / 100];
        println!("  added: {:.2} ms at the median, {:.2} ms at the 99th percentile", at(50), at(99));
        farebox.audit().await;
    }

    /// What the gateway adds to the time of each chunk of a few streams.
    async fn chunks(&self) {
        let Some(farebox) = self.farebox(Kind::Sqlite) else { return };
        let through = farebox.accounts(1, DOLLARS).await;
        let (mut direct, mut delayed) = (Delays::none(), Delays::none());
        let used = || processor(farebox.process().id());
        let used_before = used();
        for _ in 0..self.turns {
            direct.join(Delays::measure(&self.provider(), FEW_STREAMS, FAST).await);
            delayed.join(Delays::measure(&through, FEW_STREAMS, FAST).await);
        }
        println!("  {FEW_STREAMS} streams, a chunk each {} ms", FAST.every.as_millis());
        println!("  direct    {direct}\n  farebox   {delayed}");
        let added = |percent| delayed.at(percent) - direct.at(percent);
        let chunk = microseconds_each(used() - used_before, self.turns * FEW_STREAMS * FAST.chunks);
        let (p50, p99) = (added(50), added(99));
        println!(
            "  added: {p50:.0} us at the median, {p99:.0} us at the 99th percentile; {chunk:.1} us of processor a chunk"
        );
        farebox.audit().await;
    }

    /// A thousand streams at a time: the delay of their chunks, and the memory of each.
    async fn streams(&self) {
        let Some(farebox) = self.farebox(Kind::Sqlite) else { return };
        let through = farebox.accounts(ACCOUNTS, DOLLARS).await;
        // What is made once is made before.
        Delays::measure(&through, MANY_STREAMS / 10, Pace { chunks: 20, ..USUAL }).await;
        let direct = Delays::measure(&self.provider(), MANY_STREAMS, USUAL).await;
        let memory = |field| farebox.process().memory_kib(field);
        let before = memory("VmRSS");
        let used = || processor(farebox.process().id());
        let used_before = used();
        let running = async {
            sleep(USUAL.lasting() / 2).await;
            memory("VmRSS")
        };
        let (delayed, running) = tokio::join!(Delays::measure(&through, MANY_STREAMS, USUAL), running);
        let [most, running] =
            [memory("VmHWM"), running].map(|memory| memory.saturating_sub(before) * 1_024 / MANY_STREAMS as u64);
        println!("  {MANY_STREAMS} streams, a chunk each {} ms", USUAL.every.as_millis());
        println!("  direct    {direct}\n  farebox   {delayed}");
        let chunk = microseconds_each(used() - used_before, MANY_STREAMS * USUAL.chunks);
        println!(
            "  {most} bytes of memory a stream at most, {running} while all run; {chunk:.1} us of processor a chunk"
        );
        farebox.audit().await;
    }

    /// An agent's turn of a megabyte: what it takes longer, and the memory that it takes.
    async fn agent(&self) {
        let Some(farebox) = self.farebox(Kind::Sqlite) else { return };
        let through = farebox.accounts(1, DOLLARS).await;
        let (client, body) = (reqwest::Client::new(), agents_body(AGENTS_BYTES));
        let length = serde_json::to_vec(&body).unwrap().len();
        // What is made once is made before: the vocabulary that counts its tokens.
        send(request(&client, through.url(), &through.keys[0], &body)).await;
        let before = farebox.process().memory_kib("VmRSS");
        let targets = [self.bare().targets.remove(0), through];
        let mut times = [Vec::new(), Vec::new()];
        for _ in 0..TURNS_OF_AGENT {
            for (target, times) in targets.iter().zip(&mut times) {
                let request = request(&client, target.url(), &target.keys[0], &body);
                let sent = Instant::now();
                send(request).await;
                times.push(sent.elapsed().as_secs_f64() * 1_000.0);
            }
        }
        let [bare, ours] = times.map(median);
        let most = farebox.process().memory_kib("VmHWM").saturating_sub(before) * 1_024;
        println!("  {length} bytes: bare {bare:.2} ms, farebox {ours:.2} ms, added {:.2} ms", ours - bare);
        println!("  at most {most} bytes more memory, in {TURNS_OF_AGENT} turns one after the other");
        farebox.audit().await;
    }

    fn provider(&self) -> Target {
        Target { urls: vec![self.upstream.1.clone()], keys: vec!["sk-bench".into()] }
    }

    /// The memory of the gateway alone, and of accounts.
    async fn memory(&self) {
        let Some(farebox) = self.farebox(Kind::Sqlite) else { return };
        let resident = || farebox.process().memory_kib("VmRSS");
        println!("  idle, without a model: {} KiB", resident());
        farebox.used_accounts(REMEMBERED).await;
        let before = resident();
        farebox.used_accounts(REMEMBERED).await;
        let grown = resident().saturating_sub(before) * 1_024;
        println!("  an account that was just used: {} bytes (of {REMEMBERED})", grown / REMEMBERED as u64);
        farebox.audit().await;
    }

    fn turns(&self, connections: usize) -> Turns {
        Turns { count: self.turns, lasting: self.lasting, connections }
    }

    /// A gateway, or none where its database is not to be had.
    fn farebox(&self, on: Kind) -> Option<Farebox> {
        let database = match on {
            Kind::Sqlite => Database::Sqlite,
            Kind::Postgres => Database::Postgres(self.postgres()?.fresh_database()),
        };
        Some(Farebox::start(&self.upstream.1, database))
    }

    fn postgres(&self) -> Option<&Postgres> {
        let postgres = self.postgres.get_or_init(Postgres::start).as_ref();
        if postgres.is_none() {
            println!("  SKIPPED on PostgreSQL: it is not installed");
        }
        postgres
    }

    fn bare(&self) -> Contender {
        let target = Target { urls: vec![self.bare.1.clone()], keys: vec!["sk-bench".into()] };
        let meters = vec![("proxy", Meter::Process(self.bare.0.id()))];
        Contender { name: "bare", targets: vec![target], meters, crowd: None, look: None }
    }

    fn contender(&self, name: &'static str, farebox: &Farebox, targets: Vec<Target>) -> Contender {
        let mut meters = vec![("farebox", Meter::Process(farebox.process().id()))];
        if let (Database::Postgres(_), Some(Some(postgres))) = (farebox.database(), self.postgres.get()) {
            meters.push(("PostgreSQL", Meter::ProcessAndChildren(postgres.id())));
        }
        Contender { name, targets, meters, crowd: None, look: None }
    }

    fn bytes_of(&self, farebox: &Farebox) -> u64 {
        let tables = match (farebox.database(), self.postgres.get()) {
            (Database::Postgres(url), Some(Some(postgres))) => postgres.bytes_of(url),
            _ => 0,
        };
        farebox.bytes_in_folder() + tables
    }
}

/// The milliseconds of small writes at the end of a file, each of which waits for the disk.
fn durable_appends(folder: &Path) -> Vec<f64> {
    let mut file = File::options().create(true).append(true).open(folder.join("appends")).unwrap();
    let append = |_| {
        let began = Instant::now();
        file.write_all(&APPENDED).unwrap();
        file.sync_data().unwrap();
        began.elapsed().as_secs_f64() * 1_000.0
    };
    (0..APPENDS).map(append).collect()
}
