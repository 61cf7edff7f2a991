//! Contenders that take turns under the same load, so that a machine that changes its speed by the second changes it for
//! all. Turns are short and many, and each begins with another contender.

use std::time::Duration;

use futures::{StreamExt as _, stream};
use tokio::{
    task::JoinSet,
    time::{interval, sleep},
};

use crate::{
    figures::{Spread, median, microseconds_each, rate},
    load::{Target, Turn, body, load, request, send},
    process::{processor, processor_with_children},
};

/// After each turn: what was left to be done behind the answers is done, and counted.
pub(crate) const PAUSE: Duration = Duration::from_millis(200);
/// The first requests that a crowd sends at once.
const WAKING: usize = 16;
const WARM_UP: Duration = Duration::from_millis(300);
/// How often each account of a crowd sends a request.
pub(crate) const CROWD_EVERY: Duration = Duration::from_mins(1);

/// Whose processor time is counted.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Meter {
    Process(u32),
    ProcessAndChildren(u32),
}

impl Meter {
    fn seconds(self) -> f64 {
        match self {
            Self::Process(id) => processor(id),
            Self::ProcessAndChildren(id) => processor_with_children(id),
        }
    }
}

/// What is measured beside others.
#[derive(Debug, Clone)]
pub(crate) struct Contender {
    pub(crate) name: &'static str,
    /// The turns take them in turn.
    pub(crate) targets: Vec<Target>,
    pub(crate) meters: Vec<(&'static str, Meter)>,
    /// Other accounts that send a request now and then, and whose answers are not timed.
    pub(crate) crowd: Option<Target>,
    /// What an operator looks at once a second meanwhile.
    pub(crate) look: Option<Look>,
}

/// What an operator looks at.
#[derive(Debug, Clone)]
pub(crate) struct Look {
    pub(crate) url: String,
    pub(crate) token: &'static str,
    /// Made before: that takes this process more than many looks take the gateway.
    pub(crate) client: reqwest::Client,
}

impl Look {
    /// Looks once.
    pub(crate) async fn once(&self) {
        let response = self.client.get(&self.url).bearer_auth(self.token).send().await.unwrap();
        assert_eq!(response.status(), 200);
        assert!(!response.bytes().await.unwrap().is_empty());
    }

    /// Looks in the middle of each second.
    async fn each_second(&self, lasting: Duration) {
        sleep(Duration::from_millis(500)).await;
        let mut ticks = interval(Duration::from_secs(1));
        for _ in 0..lasting.as_secs() {
            ticks.tick().await;
            self.once().await;
        }
    }
}

/// A contender's turn, with the microseconds of processor time a request by each of its meters.
#[derive(Debug, Clone)]
struct Taken {
    turn: Turn,
    processor: Vec<f64>,
    crowd: usize,
}

/// How many turns of what.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Turns {
    pub(crate) count: usize,
    pub(crate) lasting: Duration,
    pub(crate) connections: usize,
}

/// The turns of all contenders.
pub(crate) struct Contest {
    contenders: Vec<Contender>,
    taken: Vec<Vec<Taken>>,
    turns: Turns,
}

impl Contest {
    /// Has each contender take its turns.
    pub(crate) async fn hold(contenders: Vec<Contender>, turns: Turns) -> Self {
        Self::hold_and(contenders, turns, || {}).await
    }

    /// Has each contender take its turns, and does something else whenever all have taken one.
    pub(crate) async fn hold_and(contenders: Vec<Contender>, turns: Turns, mut then: impl FnMut()) -> Self {
        for contender in &contenders {
            load(&contender.targets[0], turns.connections, WARM_UP).await;
        }
        sleep(PAUSE).await;
        let mut taken = vec![Vec::new(); contenders.len()];
        for turn in 0..turns.count {
            for place in 0..contenders.len() {
                let which = (turn + place) % contenders.len();
                taken[which].push(take(&contenders[which], turn, turns).await);
            }
            then();
        }
        Self { contenders, taken, turns }
    }

    /// Prints each contender's medians.
    pub(crate) fn print(&self) {
        for (contender, taken) in self.contenders.iter().zip(&self.taken) {
            let of = |figure: fn(&Turn) -> f64| median(taken.iter().map(|taken| figure(&taken.turn)));
            let (rate, p50, p99) = (of(|turn| turn.rate), of(|turn| turn.p50), of(|turn| turn.p99));
            print!(
                "  {:<19} {rate:.0} requests/s, p50 {p50:.2} ms, p99 {p99:.2} ms; processor a request:",
                contender.name
            );
            for (place, (process, _)) in contender.meters.iter().enumerate() {
                print!(" {process} {:.0} us", median(taken.iter().map(|taken| taken.processor[place])));
            }
            println!("{}", self.crowd(taken));
        }
    }

    fn crowd(&self, taken: &[Taken]) -> String {
        let requests: usize = taken.iter().map(|taken| taken.crowd).sum();
        let during = self.turns.lasting * u32::try_from(taken.len()).unwrap();
        if requests == 0 { String::new() } else { format!("; the others {:.0} requests/s", rate(requests, during)) }
    }

    /// Prints the ratio of two contenders' requests a second, turn by turn.
    pub(crate) fn print_ratio(&self, of: usize, to: usize) {
        let pairs = self.taken[of].iter().zip(&self.taken[to]);
        let ratios: Vec<f64> = pairs.map(|(of, to)| of.turn.rate / to.turn.rate).collect();
        let turns: Vec<String> = ratios.iter().map(|ratio| format!("{ratio:.2}")).collect();
        println!("  ratio of {} to {}: {}", self.contenders[of].name, self.contenders[to].name, Spread::of(ratios));
        println!("  its turns: {}", turns.join(" "));
    }

    /// Prints the milliseconds that one contender's median request takes longer than another's, and answers their median.
    pub(crate) fn print_added(&self, of: usize, to: usize) -> f64 {
        let pairs = self.taken[of].iter().zip(&self.taken[to]);
        let added: Vec<f64> = pairs.map(|(of, to)| of.turn.p50 - to.turn.p50).collect();
        let median = median(added.iter().copied());
        println!(
            "  added by {} to {} in ms: {}",
            self.contenders[of].name,
            self.contenders[to].name,
            Spread::of(added)
        );
        median
    }
}

async fn take(contender: &Contender, turn: usize, turns: Turns) -> Taken {
    let seconds = || contender.meters.iter().map(|(_, meter)| meter.seconds()).collect::<Vec<f64>>();
    let target = &contender.targets[turn % contender.targets.len()];
    let before = seconds();
    let measured = load(target, turns.connections, turns.lasting);
    let looked = async {
        if let Some(look) = &contender.look {
            look.each_second(turns.lasting).await;
        }
    };
    let ((turn, crowd), ()) = match &contender.crowd {
        None => tokio::join!(async { (measured.await, 0) }, looked),
        Some(target) => tokio::join!(async { tokio::join!(measured, crowd(target, turn, turns.lasting)) }, looked),
    };
    sleep(PAUSE).await;
    let used = seconds().into_iter().zip(before).map(|(after, before)| after - before);
    Taken { turn, processor: used.map(|used| microseconds_each(used, turn.requests + crowd)).collect(), crowd }
}

/// Has each account of a crowd send its first request: what is measured is accounts that are there, not their loading.
pub(crate) async fn wake(crowd: &Target) {
    let (client, body) = (reqwest::Client::new(), body(false));
    let sent =
        crowd.keys.iter().zip(crowd.urls.iter().cycle()).map(|(key, url)| send(request(&client, url, key, &body)));
    stream::iter(sent).buffer_unordered(WAKING).collect::<Vec<_>>().await;
}

/// Each account sends a request now and then: in this turn some do, in the next turn others. Answers their number.
async fn crowd(target: &Target, turn: usize, lasting: Duration) -> usize {
    let every = CROWD_EVERY / u32::try_from(target.keys.len()).unwrap();
    let count = usize::try_from(lasting.as_nanos() / every.as_nanos()).unwrap();
    let (client, body, mut ticks, mut calls) = (reqwest::Client::new(), body(false), interval(every), JoinSet::new());
    for (key, url) in target.keys.iter().cycle().zip(target.urls.iter().cycle()).skip(turn * count).take(count) {
        ticks.tick().await;
        calls.spawn(send(request(&client, url, key, &body)));
    }
    calls.join_all().await.len()
}
