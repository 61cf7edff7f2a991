//! A queueing model of Farebox, simulated: clients that ask one after the other, cores, and a journal that makes what waits
//! durable in one write. It is pure: what it says depends on its parameters and a seed alone.
//!
//! A request takes five steps: processor time, a durable hold, processor time, a durable capture, processor time. A journal
//! writes one batch at a time, of all that has come to it meanwhile. What is done behind a request's back (the tables are
//! made, the disk is written to) makes no request wait, but takes cores, which all work takes in the order of arrival. The
//! provider and the clients are on the same machine here, and their processor time is part of a request's.

use std::{
    cmp::Reverse,
    collections::{BinaryHeap, VecDeque},
};

/// What one request and one batch take, in microseconds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Demands {
    /// The processor time of a request that its client waits for.
    pub(crate) path: f64,
    /// What a request waits for beside processors and its batches: threads that are woken, messages on their way.
    pub(crate) wait: f64,
    /// The processor time of a request that nobody waits for.
    pub(crate) behind: f64,
    /// The time until a batch is durable, on an idle machine.
    pub(crate) append: f64,
    /// The processor time of a batch, wherever it is spent.
    pub(crate) batch: f64,
    /// The processor time that it takes more to have a request's account at another node.
    pub(crate) forward: f64,
    /// The processor time that a batch takes more whose requests all are at other nodes: their answers go out together.
    pub(crate) link: f64,
    /// How much longer a request takes whose account is at another node, on an idle machine.
    pub(crate) hop: f64,
}

impl Demands {
    /// The processor time of a batch before it is durable. What is known is that it is no more than the batch's, and no more than
    /// the time until it is durable; half of that is a guess, to which little is sensitive: a batch waits for cores longer.
    const fn at_once(&self) -> f64 {
        self.batch.min(self.append) / 2.0
    }
}

/// A place where it is run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Setting {
    /// The cores of the machine.
    pub(crate) cores: usize,
    /// The nodes, each with a journal of its own. Accounts are spread evenly, and so are requests.
    pub(crate) nodes: usize,
    /// Clients, each with one request at a time.
    pub(crate) clients: usize,
}

/// What came of it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Outcome {
    /// Requests a second.
    pub(crate) rate: f64,
    /// The median of the requests' milliseconds.
    pub(crate) p50: f64,
}

/// The steps of a request.
const CPU: [usize; 3] = [0, 2, 4];
const STEPS: usize = 5;
/// Requests that are not counted, for each client, while it settles.
const WARM_UP: usize = 20;
/// Requests that are counted, at least.
const COUNTED: usize = 20_000;

/// Numbers that look random: splitmix64.
struct Random(u64);

impl Random {
    const fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Between 0 and 1, neither of them.
    #[expect(clippy::cast_precision_loss, reason = "53 bits fit")]
    fn unit(&mut self) -> f64 {
        ((self.next() >> 11) as f64 + 0.5) / (1_u64 << 53) as f64
    }

    /// A time of this mean: the sum of four exponential ones, half as uneven as one.
    fn time(&mut self, mean: f64) -> f64 {
        (0..4).map(|_| -self.unit().ln()).sum::<f64>() * mean / 4.0
    }

    fn below(&mut self, count: usize) -> usize {
        usize::try_from(self.next() % u64::try_from(count).unwrap_or(u64::MAX)).unwrap_or(0)
    }
}

/// What takes a core.
#[derive(Debug, Clone, Copy)]
enum Work {
    /// A step of a client's request.
    Step(usize),
    /// What of a node's batch is done before it is durable.
    Batch(usize),
    /// What nobody waits for.
    Behind,
}

/// What happens at a time.
#[derive(Debug, Clone, Copy)]
enum Event {
    /// A core is done with it.
    Done(Work),
    /// The disk has a node's batch.
    Durable(usize),
    /// A client's request is at its node.
    Begun(usize),
    /// A client's question is at its account's node.
    Arrived(usize),
}

/// A time as it is sorted: in nanoseconds.
type At = (u64, u64);

#[derive(Debug, Default)]
struct Journal {
    waiting: Vec<usize>,
    writing: Vec<usize>,
}

struct Client {
    step: usize,
    owner: usize,
    is_forwarded: bool,
    began: f64,
    asked: usize,
}

/// The simulation's state.
struct Machine {
    demands: Demands,
    setting: Setting,
    random: Random,
    now: f64,
    count: u64,
    events: BinaryHeap<Reverse<(At, usize)>>,
    happening: Vec<Event>,
    free: usize,
    queue: VecDeque<(Work, f64)>,
    journals: Vec<Journal>,
    clients: Vec<Client>,
    times: Vec<f64>,
    counted_from: f64,
}

/// Runs it.
pub(crate) fn run(demands: Demands, setting: Setting, seed: u64) -> Outcome {
    let client = |_| Client { step: 0, owner: 0, is_forwarded: false, began: 0.0, asked: 0 };
    let mut machine = Machine {
        demands,
        setting,
        random: Random(seed),
        now: 0.0,
        count: 0,
        events: BinaryHeap::new(),
        happening: Vec::new(),
        free: setting.cores,
        queue: VecDeque::new(),
        journals: (0..setting.nodes).map(|_| Journal::default()).collect(),
        clients: (0..setting.clients).map(client).collect(),
        times: Vec::new(),
        counted_from: 0.0,
    };
    for client in 0..setting.clients {
        machine.ask(client);
    }
    while machine.times.len() < COUNTED.max(setting.clients * 20) {
        machine.step();
    }
    machine.outcome()
}

impl Machine {
    #[expect(clippy::cast_precision_loss, reason = "counts of a simulation")]
    fn outcome(mut self) -> Outcome {
        let during = self.now - self.counted_from;
        self.times.sort_by(f64::total_cmp);
        let p50 = self.times.get(self.times.len() / 2).copied().unwrap_or_default() / 1_000.0;
        Outcome { rate: self.times.len() as f64 / during * 1e6, p50 }
    }

    fn step(&mut self) {
        let Some(Reverse((at, place))) = self.events.pop() else { return };
        self.now = nanoseconds_to_micro(at.0);
        match self.happening[place] {
            Event::Begun(client) => self.begin(client),
            Event::Arrived(client) => {
                let owner = self.clients[client].owner;
                self.journals[owner].waiting.push(client);
                self.write(owner);
            }
            Event::Durable(node) => {
                for client in std::mem::take(&mut self.journals[node].writing) {
                    self.advance(client);
                }
                self.write(node);
            }
            Event::Done(work) => {
                self.free += 1;
                match work {
                    Work::Step(client) => self.advance(client),
                    Work::Behind => {}
                    Work::Batch(node) => self.written(node),
                }
                self.dispatch();
            }
        }
    }

    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "times are small and positive")]
    fn after(&mut self, micro: f64, event: Event) {
        self.count += 1;
        let at = ((self.now + micro) * 1_000.0) as u64;
        self.happening.push(event);
        self.events.push(Reverse(((at, self.count), self.happening.len() - 1)));
    }

    /// A client's next request begins.
    fn ask(&mut self, client: usize) {
        let nodes = self.setting.nodes;
        let (owner, entered) = (self.random.below(nodes), self.random.below(nodes));
        let asking = &mut self.clients[client];
        (asking.step, asking.owner, asking.is_forwarded, asking.began) = (0, owner, owner != entered, self.now);
        asking.asked += 1;
        let wait = self.random.time(self.demands.wait);
        self.after(wait, Event::Begun(client));
    }

    /// The step at which a client's request is begins.
    fn begin(&mut self, client: usize) {
        let Client { step, owner, is_forwarded, .. } = self.clients[client];
        if CPU.contains(&step) {
            let time = self.random.time(self.demands.path / 3.0);
            self.work(Work::Step(client), time);
        } else if is_forwarded {
            // A request asks its account's node twice.
            let hop = self.random.time(self.demands.hop / 2.0);
            self.after(hop, Event::Arrived(client));
        } else {
            self.journals[owner].waiting.push(client);
            self.write(owner);
        }
    }

    /// A node's journal begins a batch, if it has none and something waits.
    fn write(&mut self, node: usize) {
        let journal = &mut self.journals[node];
        if journal.writing.is_empty() && !journal.waiting.is_empty() {
            journal.writing = std::mem::take(&mut journal.waiting);
            let time = self.random.time(self.demands.at_once());
            self.work(Work::Batch(node), time);
        }
    }

    /// A node's batch is on its way to the disk; what else there is to it is done behind it.
    fn written(&mut self, node: usize) {
        let Demands { append, batch, link, .. } = self.demands;
        let wait = self.random.time(append - self.demands.at_once());
        self.after(wait, Event::Durable(node));
        let rest = batch - self.demands.at_once() + link * elsewhere(self.setting.nodes);
        let behind = self.random.time(rest);
        self.work(Work::Behind, behind);
    }

    fn work(&mut self, work: Work, time: f64) {
        self.queue.push_back((work, time));
        self.dispatch();
    }

    fn dispatch(&mut self) {
        while self.free > 0 {
            let Some((work, time)) = self.queue.pop_front() else { return };
            self.free -= 1;
            self.after(time, Event::Done(work));
        }
    }

    fn advance(&mut self, client: usize) {
        self.clients[client].step += 1;
        if self.clients[client].step < STEPS {
            self.begin(client);
            return;
        }
        let forward = if self.clients[client].is_forwarded { self.demands.forward } else { 0.0 };
        let behind = self.random.time(self.demands.behind + forward);
        self.work(Work::Behind, behind);
        if self.clients[client].asked > WARM_UP {
            if self.times.is_empty() {
                self.counted_from = self.now;
            }
            self.times.push(self.now - self.clients[client].began);
        }
        self.ask(client);
    }
}

/// The part of requests whose account is at another node than the one that they come to.
#[expect(clippy::cast_precision_loss, reason = "a handful of nodes")]
pub(crate) fn elsewhere(nodes: usize) -> f64 {
    1.0 - 1.0 / nodes as f64
}

#[expect(clippy::cast_precision_loss, reason = "a simulation lasts minutes")]
fn nanoseconds_to_micro(at: u64) -> f64 {
    at as f64 / 1_000.0
}
