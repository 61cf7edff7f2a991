//! The lives of processes and their payment actors: they come, sleep, leave, die, and start again.

use actors::cluster::{clocks::MOST_APART, lease::Commands};
use ledger::log::Shard;

use crate::{
    asks::{Asked, Who},
    check::Checked,
    owner::Owner,
    pursuits::Chase,
    world::World,
};

impl World {
    /// An owner sleeps or wakes up: often one that is about to append something.
    pub(crate) fn an_owner_sleeps(&mut self) -> Checked<bool> {
        let ids: Vec<u64> = self.owners.iter().map(|owner| owner.id).collect();
        let busy: Vec<u64> =
            self.owners.iter().filter(|it| !it.is_paused && it.journal.is_busy()).map(|owner| owner.id).collect();
        let ids = if busy.is_empty() { ids } else { busy };
        let asleep: Vec<u64> = self.owners.iter().filter(|owner| owner.is_paused).map(|owner| owner.id).collect();
        let wakes = !asleep.is_empty() && self.random.percent(75);
        let Some(id) = self.random.pick(if wakes { &asleep } else { &ids }) else { return Ok(false) };
        let Some(owner) = self.owner(id) else { return Ok(false) };
        owner.is_paused = !owner.is_paused;
        let is_paused = owner.is_paused;
        self.say(|| format!("owner {id} {}", if is_paused { "sleeps" } else { "goes on" }));
        // Whatever it has in its hands goes on before it hears of anything, also of the time.
        self.are_alone()?;
        if !is_paused && self.random.percent(50) {
            self.a_batch_is_taken(id);
            self.a_batch_arrives(id);
        }
        Ok(true)
    }

    /// A node comes, and takes shards as its leases say.
    pub(crate) fn a_node_comes(&mut self) {
        self.born += 1;
        let id = self.born;
        if self.owners.is_empty() {
            self.latest = self.time;
        }
        let mut owner = Owner::new(id, self.disk.shards, self.elapsed, self.lease_ms, self.mutant);
        owner.is_alone = self.is_alone;
        // No two clocks are further apart than nodes' may be.
        let most = i64::try_from(MOST_APART.as_millis()).unwrap_or(0) / 2;
        owner.ahead_ms = self.random.between(-most, most);
        if self.is_alone {
            // Nobody else has it: it is taken without a lease.
            self.disk.takes_all(self.lease_ms, owner.node).into_iter().for_each(|held| owner.begins(held));
        } else {
            owner.others.is_node(owner.node);
        }
        self.owners.push(owner);
        self.say(|| format!("owner {id} comes"));
    }

    /// A node is told to leave: it hands its shards over, and finishes its requests.
    pub(crate) fn a_node_leaves(&mut self) -> bool {
        let Some(id) = self.any_owner().filter(|_| !self.is_alone) else { return false };
        let lease_ms = self.lease_ms;
        let Some(owner) = self.owner(id).filter(|owner| !owner.is_leaving) else { return false };
        owner.is_leaving = true;
        let (mut commands, now) = (Commands::new(), owner.clock(lease_ms));
        owner.leases.leave(now, &mut commands);
        self.stats.left_nodes += 1;
        self.say(|| format!("owner {id} is told to leave"));
        self.carry_out(id, commands);
        true
    }

    /// A process dies: one that has left before all others.
    pub(crate) fn an_owner_crashes(&mut self) -> bool {
        let left: Vec<u64> = self.owners.iter().filter(|it| it.leases.has_left()).map(|it| it.id).collect();
        let all: Vec<u64> = self.owners.iter().map(|it| it.id).collect();
        let Some(id) = self.random.pick(if left.is_empty() { &all } else { &left }) else { return false };
        self.end_owner(id);
        if self.random.percent(20) {
            // The power is out.
            while let Some(id) = self.owners.last().map(|owner| owner.id) {
                self.end_owner(id);
            }
        }
        if self.owners.iter().all(|owner| owner.is_leaving) {
            self.a_node_comes();
        }
        true
    }

    /// Ends a process with everything in it: its requests, its pursuits, and its callers.
    pub(crate) fn end_owner(&mut self, id: u64) {
        self.say(|| format!("owner {id} dies"));
        self.stats.crashes += 1;
        self.leaves_behind(id);
        self.owners.retain(|owner| owner.id != id);
        self.requests.retain(|_, request| request.owner != id);
        self.asks.retain(|_, (asked, _)| asked.owner != id);
        self.moved.retain(|asked| asked.owner != id);
        // What it was asked by others is answered by nobody.
        self.has_ended = true;
        self.acts.values_mut().for_each(|act| act.is_left_by(id));
        self.tasks_are_lost(id);
    }

    /// What a process has sent to the disk may still arrive after its death.
    fn leaves_behind(&mut self, id: u64) {
        let (has_row, has_group) = (self.random.percent(30), self.random.percent(50));
        let Some(owner) = self.owner(id) else { return };
        let (rows, group) = (owner.journal.is_left(), owner.projector.is_left());
        self.late_rows.extend(rows.filter(|_| has_row));
        self.late_groups.extend(group.filter(|_| has_group));
    }

    /// The payment actor panics, and loses everything that it carried.
    pub(crate) fn cards_actor_panics(&mut self) -> bool {
        let (Some(id), elapsed) = (self.any_owner(), self.elapsed) else { return false };
        let Some(owner) = self.owner(id).filter(|owner| owner.has_payments()) else { return false };
        let wait = owner.payments_die(elapsed);
        self.stats.restarts += 1;
        self.say(|| format!("owner {id}: the payment actor panics, and is started again in {wait:?}"));
        let is_its = |asked: &Asked| asked.owner == id && matches!(asked.who, Who::Pursuing(_) | Who::Task(_));
        self.asks.retain(|_, (asked, _)| !is_its(asked));
        self.moved.retain(|asked| !is_its(asked));
        self.tasks_are_lost(id);
        true
    }

    /// The payment actor begins a life, and takes up pending payments.
    pub(crate) fn cards_actor_starts(&mut self) -> bool {
        let elapsed = self.elapsed;
        let is_due = |it: &&Owner| {
            !it.is_paused
                && it.takes_requests()
                && it.may_read(it.mark())
                && it.payments_start().is_some_and(|at| at <= elapsed)
        };
        let due: Vec<u64> = self.owners.iter().filter(is_due).map(|owner| owner.id).collect();
        let Some(id) = self.random.pick(&due) else { return false };
        if let Some(owner) = self.owner(id) {
            owner.payments_begin(elapsed);
            owner.pursuits.clear();
        }
        for shard in self.disk.shards.all() {
            self.takes_up_payments(id, shard);
        }
        self.take_up_refunds(id);
        true
    }

    /// The payment actor takes up the pending payments of a shard that its node owns.
    pub(crate) fn takes_up_payments(&mut self, id: u64, shard: Shard) {
        let now = self.now_of(id);
        let rows = self.disk.tables.accounts.iter().filter(|(account, _)| self.disk.shard_of(**account) == shard);
        let payments = rows.flat_map(|(account, rows)| rows.pending().map(move |payment| (*account, payment)));
        let pending: Vec<Chase> =
            payments.map(|(account, payment)| Chase::new(account, payment.clone(), now)).collect();
        let Some(owner) = self.owner(id).filter(|owner| owner.owns(shard).is_some() && owner.has_payments()) else {
            return;
        };
        for chase in pending {
            owner.pursuits.entry(chase.payment.id).or_insert(chase);
        }
    }

    /// Drops a payment actor's tasks. The processor gets no answer to its events, and sends them again.
    fn tasks_are_lost(&mut self, owner: u64) {
        let lost: Vec<u64> = self.tasks.iter().filter(|(_, task)| task.owner == owner).map(|(id, _)| *id).collect();
        for task in lost {
            let task = self.tasks.remove(&task);
            self.cards.deliveries.extend(task.and_then(|task| task.delivery));
        }
    }
}
