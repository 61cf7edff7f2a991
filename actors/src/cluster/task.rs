//! The task of a node among several: drives [`lease::Leases`](super::lease) with the ledger's statements and the time, and
//! carries out what it decides. It decides nothing itself.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use hints::Hints;
use ledger::{
    Ledger, LedgerError,
    log::Shard,
    nodes::{self, Nodes},
};
use link::Link;
use runtime::{clock::since_boot as now, node::NodeId};
use tokio::{
    sync::{Notify, mpsc, watch},
    task::AbortHandle,
};

use super::{
    clocks,
    hearing::{Hearing, is_alive},
    lease::{
        Command, Commands, Held, Lease, Leases, Member, Picture, Reading, Rules, Standing, Statement, Taken, Unknown,
        Why,
    },
    view::{Owner, View},
};
use crate::{accounts::Accounts, journal::Journal, sweeper};

/// How long after a failure a shard is begun again.
const AGAIN: Duration = Duration::from_millis(500);

/// Asks the member to read the rows again.
#[derive(Debug, Clone)]
pub(super) struct Nudge(Arc<Notify>);

impl Nudge {
    pub(super) fn new() -> Self {
        Self(Arc::new(Notify::new()))
    }

    /// The rows may have changed.
    pub(super) fn look(&self) {
        self.0.notify_one();
    }
}

/// What becomes of what the leases asked for.
pub(super) enum Event {
    /// Also by how many milliseconds the own clock is ahead of the database's.
    Read(Statement, Result<Reading, Unknown>, Option<i64>),
    Took(Statement, Shard, Taken),
    Released(Statement, Shard, Result<(), Unknown>),
    /// The shard's tables are up to its log, and its accounts can be asked.
    Begun(Held),
    Drained(Held),
    /// The shard's log has a row of somebody else.
    Intruded(Held),
    Leave,
}

/// What carries the leases' commands out.
pub(super) struct Task {
    /// What this node says of itself.
    pub(super) row: nodes::Node,
    pub(super) rules: Rules,
    pub(super) leases: Leases,
    pub(super) ledger: Arc<Ledger>,
    pub(super) accounts: Accounts,
    pub(super) journal: Arc<Journal>,
    pub(super) link: Link,
    pub(super) hints: Option<Hints>,
    pub(super) view: Arc<View>,
    pub(super) events: mpsc::UnboundedSender<Event>,
    /// The shards that are begun, or are being begun, and what does that.
    pub(super) begun: BTreeMap<Shard, Beginning>,
    pub(super) on_begin: Arc<dyn Fn() + Send + Sync>,
    pub(super) has_left: watch::Sender<bool>,
    pub(super) sees: watch::Sender<Option<Nodes>>,
    pub(super) hearing: Arc<Mutex<Hearing>>,
}

/// A shard that is begun, or handed over, and what does that.
pub(super) struct Beginning {
    held: Held,
    is_done: bool,
    task: AbortHandle,
}

impl Task {
    /// Leaves the shards to others while this node's clock is wrong and theirs are right.
    fn look_at_clock(&mut self, ahead_ms: i64, commands: &mut Commands) {
        self.row.ahead_ms = ahead_ms;
        let seen = self.sees.borrow();
        let others = seen.iter().flat_map(|seen| {
            let serves =
                |node: &&nodes::Node| node.id != self.row.id && !node.leaves && is_alive(node, seen, &self.rules);
            seen.nodes.iter().filter(serves).map(|node| node.ahead_ms)
        });
        let leaves = clocks::leaves(ahead_ms, others);
        drop(seen);
        let fault = clocks::fault(ahead_ms).filter(|_| leaves);
        if self.view.has_fault(fault.clone()) {
            if let Some(why) = fault {
                tracing::error!(why, "this node lets nothing in, and leaves its accounts to others");
            } else {
                tracing::warn!("this node's clock agrees with the database's again");
            }
        }
        self.leases.may_own(!leaves, now(), commands);
    }

    /// Runs as long as the process.
    pub(super) async fn run(mut self, mut events: mpsc::UnboundedReceiver<Event>, nudge: Nudge) {
        let (news, mut told) = mpsc::channel(1);
        tokio::spawn(listen(Arc::clone(&self.ledger), news));
        loop {
            let mut commands = Commands::new();
            let wait = self.leases.due().saturating_sub(now());
            let heard = tokio::select! {
                biased;
                event = events.recv() => event,
                () = nudge.0.notified() => None,
                Some(()) = told.recv() => None,
                () = tokio::time::sleep(wait) => {
                    self.leases.tick(now(), &mut commands);
                    self.carry_out(commands);
                    continue;
                }
            };
            match heard {
                Some(event) => self.hear(event, &mut commands),
                None => self.leases.nudge(now(), &mut commands),
            }
            self.carry_out(commands);
        }
    }

    fn hear(&mut self, event: Event, commands: &mut Commands) {
        match event {
            Event::Read(statement, reading, ahead_ms) => {
                if let Some(ahead_ms) = ahead_ms {
                    self.look_at_clock(ahead_ms, commands);
                }
                self.leases.read(statement, reading.as_ref().map_err(|_| Unknown), now(), commands);
            }
            Event::Took(statement, shard, taken) => self.leases.took(statement, shard, taken, now(), commands),
            Event::Released(statement, shard, released) => {
                self.leases.released(statement, shard, released, now(), commands);
            }
            Event::Begun(held) => {
                if let Some(beginning) = self.begun.get_mut(&held.shard).filter(|beginning| beginning.held == held) {
                    beginning.is_done = true;
                    self.tell_owner(held);
                }
            }
            Event::Drained(held) => self.leases.drained(held, now(), commands),
            Event::Intruded(held) => self.leases.intruded(held, now(), commands),
            Event::Leave => self.leases.leave(now(), commands),
        }
    }

    fn carry_out(&mut self, commands: Commands) {
        for command in commands {
            match command {
                Command::Stop(held, why) => self.stop(held, why),
                Command::Begin(held) => self.begin(held),
                Command::Drain(held) => self.drain(held),
                Command::Beat { statement, standing, keep } => self.beat(statement, standing, &keep),
                Command::Look(statement) => self.look(statement),
                Command::Take(statement, lease) => self.take(statement, &lease),
                Command::Release(statement, held) => self.release(statement, held),
            }
        }
        self.show();
    }

    /// Shows until when each shard is answered for here.
    fn show(&self) {
        let is_begun =
            |held: Held| self.begun.get(&held.shard).is_some_and(|begun| begun.held == held && begun.is_done);
        let until: BTreeMap<_, _> = self.leases.answers(is_begun).collect();
        for shard in self.ledger.shards().all() {
            self.view.answers_until(shard, until.get(&shard).copied());
        }
        self.view.is_known(self.leases.known());
        if self.leases.has_left() {
            self.has_left.send_replace(true);
        }
    }

    /// Brings the tables up to a shard's log, then serves its accounts.
    fn begin(&mut self, held: Held) {
        self.forget(held.shard);
        let (ledger, journal, accounts) = (Arc::clone(&self.ledger), Arc::clone(&self.journal), self.accounts.clone());
        let (events, on_begin) = (self.events.clone(), Arc::clone(&self.on_begin));
        let begin = async move {
            accounts.gone(held.shard).await;
            // What an earlier use of the shard has sent is decided before the log is read: it may be on its way there, and
            // would else come behind rows that it does not know.
            if let Err(error) = journal.decided().await {
                tracing::warn!(shard = held.shard.0, %error, "a shard can't be served");
                return;
            }
            let tail = loop {
                match ledger.begin_shard(held.shard, held.epoch).await {
                    Ok(tail) => break tail,
                    Err(LedgerError::Fenced) => return,
                    Err(error) => {
                        tracing::error!(shard = held.shard.0, %error, "a shard can't be served yet");
                        tokio::time::sleep(AGAIN).await;
                    }
                }
            };
            journal.own(tail);
            tracing::info!(shard = held.shard.0, epoch = held.epoch, row = tail.head.seq, "a shard is served here");
            let _ = events.send(Event::Begun(held));
            sweeper::wake_unfinished(&accounts, held.shard).await;
            on_begin();
        };
        let task = tokio::task::spawn_local(begin).abort_handle();
        self.begun.insert(held.shard, Beginning { held, is_done: false, task });
    }

    /// Ends what was begun of a shard, without waiting for anything.
    fn forget(&mut self, shard: Shard) {
        self.view.answers_until(shard, None);
        if let Some(beginning) = self.begun.remove(&shard) {
            beginning.task.abort();
        }
        self.journal.disown(shard);
        self.ledger.end_shard(shard);
        self.accounts.end(shard);
    }

    fn stop(&mut self, held: Held, why: Why) {
        let shard = held.shard.0;
        match why {
            Why::NotRenewed => {
                tracing::warn!(shard, "the lease of a shard was not renewed in time: it is not served here now");
            }
            Why::Lost => tracing::warn!(shard, "another node has taken a shard over"),
            Why::Intruded => tracing::warn!(shard, "a shard whose log another process writes is given back"),
            Why::DrainedLate => {
                tracing::warn!(shard, "a shard is handed over with work that its next owner does again");
            }
        }
        self.forget(held.shard);
    }

    /// Hands a shard over: its accounts finish what they have begun.
    fn drain(&mut self, held: Held) {
        self.view.answers_until(held.shard, None);
        let (accounts, journal, events) = (self.accounts.clone(), Arc::clone(&self.journal), self.events.clone());
        let ledger = Arc::clone(&self.ledger);
        let was_begun = self.begun.remove(&held.shard);
        let drain = async move {
            if let Some(beginning) = was_begun.filter(|beginning| !beginning.is_done) {
                beginning.task.abort();
            }
            accounts.leave(held.shard).await;
            if let Err(error) = journal.drained().await {
                tracing::warn!(shard = held.shard.0, %error, "the next owner brings the tables up to the log");
            }
            journal.disown(held.shard);
            ledger.end_shard(held.shard);
            tracing::info!(shard = held.shard.0, epoch = held.epoch, "a shard is handed over");
            let _ = events.send(Event::Drained(held));
        };
        let task = tokio::spawn(drain).abort_handle();
        // What comes too late is cut off as what was not begun.
        self.begun.insert(held.shard, Beginning { held, is_done: false, task });
    }

    /// Tells by Redis that a shard is owned here, for as long as the lease.
    fn tell_owner(&self, held: Held) {
        let Some(hints) = self.hints.clone() else { return };
        let owner = hints::Owner { node: NodeId(self.row.id), epoch: held.epoch, address: self.row.address.clone() };
        let lasts = self.rules.lease;
        tokio::spawn(async move { hints.tell_owner(held.shard.0, &owner, lasts).await });
    }

    fn beat(&mut self, statement: Statement, standing: Standing, keep: &[Held]) {
        for held in keep {
            self.tell_owner(*held);
        }
        self.row.beat = statement;
        self.row.leaves = standing == Standing::Leaving;
        let (row, lease_ms) = (self.row.clone(), self.lease_ms());
        let keep: Vec<_> = keep.iter().map(|held| (held.shard, held.epoch)).collect();
        self.read(statement, async move |ledger: Arc<Ledger>| ledger.beat(&row, &keep, lease_ms).await);
    }

    fn look(&self, statement: Statement) {
        self.read(statement, async move |ledger: Arc<Ledger>| Ok((ledger.nodes().await?, Vec::new())));
    }

    fn read<F>(&self, statement: Statement, read: impl FnOnce(Arc<Ledger>) -> F + Send + 'static)
    where
        F: Future<Output = Result<(Nodes, Vec<(Shard, i64)>), LedgerError>> + Send,
    {
        let (ledger, events, within) = (Arc::clone(&self.ledger), self.events.clone(), self.rules.renew);
        let (view, link, sees) = (Arc::clone(&self.view), self.link.clone(), self.sees.clone());
        let running = self.accounts.running().clone();
        let (me, rules, hearing) = (self.row.id, self.rules, Arc::clone(&self.hearing));
        let clock = self.accounts.clock().clone();
        tokio::spawn(async move {
            let (before, mut ahead_ms) = (clock.now(), None);
            let reading = match tokio::time::timeout(within, read(ledger)).await {
                Ok(Ok((nodes, renewed))) => {
                    ahead_ms = Some(clocks::ahead_ms(before, nodes.now, clock.now()));
                    let reading = reading(&nodes, renewed);
                    // Held while it is shown: no older one is shown after it.
                    let mut hearing = hearing.lock().unwrap_or_else(PoisonError::into_inner);
                    if hearing.read(statement, &nodes, now(), &rules) {
                        show_owners(&view, &link, &nodes, |node| !hearing.may_live(node.id, &rules));
                        running.others(hearing.others(NodeId(me), &rules));
                        sees.send_replace(Some(nodes));
                    }
                    Ok(reading)
                }
                Ok(Err(error)) => {
                    tracing::warn!(%error, "leases can't be read or renewed now");
                    Err(Unknown)
                }
                Err(_) => Err(Unknown),
            };
            let _ = events.send(Event::Read(statement, reading, ahead_ms));
        });
    }

    fn take(&self, statement: Statement, lease: &Lease) {
        let seen = nodes::Lease {
            shard: lease.shard,
            node: lease.owner.map(|owner| owner.0),
            epoch: lease.epoch,
            expires_at: lease.expires_at,
            version: lease.version,
            behind: 0,
        };
        let (ledger, events, me, lease_ms) =
            (Arc::clone(&self.ledger), self.events.clone(), self.row.id, self.lease_ms());
        let within = self.rules.renew;
        tokio::spawn(async move {
            let taken = match tokio::time::timeout(within, ledger.take_shard(me, seen, lease_ms)).await {
                Ok(Ok(Some(epoch))) => Taken::Taken(epoch),
                Ok(Ok(None)) => Taken::Refused,
                Ok(Err(_)) | Err(_) => Taken::Unknown,
            };
            let _ = events.send(Event::Took(statement, seen.shard, taken));
        });
    }

    fn release(&mut self, statement: Statement, held: Held) {
        self.begun.remove(&held.shard);
        let (ledger, events, me) = (Arc::clone(&self.ledger), self.events.clone(), self.row.id);
        let within = self.rules.renew;
        tokio::spawn(async move {
            let released = tokio::time::timeout(within, ledger.release_shard(me, held.shard, held.epoch)).await;
            let released = if matches!(released, Ok(Ok(()))) { Ok(()) } else { Err(Unknown) };
            let _ = events.send(Event::Released(statement, held.shard, released));
        });
    }

    fn lease_ms(&self) -> i64 {
        i64::try_from(self.rules.lease.as_millis()).unwrap_or(i64::MAX)
    }
}

/// Hears from other nodes that leases have changed. Without that they are read when it is time.
async fn listen(ledger: Arc<Ledger>, news: mpsc::Sender<()>) {
    loop {
        if let Err(error) = ledger.hear_nodes(&news).await {
            tracing::debug!(%error, "nothing is heard of leases");
        }
        if news.is_closed() {
            return;
        }
        tokio::time::sleep(AGAIN).await;
    }
}

fn reading(nodes: &Nodes, renewed: Vec<(Shard, i64)>) -> Reading {
    let member = |node: &nodes::Node| Member {
        node: NodeId(node.id),
        standing: if node.leaves { Standing::Leaving } else { Standing::Serving },
        beat: node.beat,
        beat_at: node.beat_at,
    };
    let lease = |lease: &nodes::Lease| Lease {
        shard: lease.shard,
        owner: lease.node.map(NodeId),
        epoch: lease.epoch,
        expires_at: lease.expires_at,
        version: lease.version,
    };
    let picture = Picture {
        now: nodes.now,
        members: nodes.nodes.iter().map(member).collect(),
        leases: nodes.leases.iter().map(lease).collect(),
    };
    Reading { picture, renewed: renewed.into_iter().map(|(shard, epoch)| Held { shard, epoch }).collect() }
}

/// Shows who owns each shard, and forgets the ways to nodes that are gone.
fn show_owners(view: &View, link: &Link, nodes: &Nodes, is_gone: impl Fn(&nodes::Node) -> bool) {
    for lease in &nodes.leases {
        let owner = lease.node.map(|id| {
            let address = nodes.nodes.iter().find(|node| node.id == id).map(|node| node.address.clone());
            Owner { node: NodeId(id), epoch: lease.epoch, address: address.unwrap_or_default() }
        });
        view.is_owned_by(lease.shard, owner);
    }
    for gone in nodes.nodes.iter().filter(|node| is_gone(node)) {
        link.forget(NodeId(gone.id));
    }
}
