//! The lives of processes and their payment actors: they sleep, are taken over, die, and start again.

use crate::{
    owner::Owner,
    pursuits::Chase,
    world::{Who, World},
};

impl World {
    /// An owner sleeps or wakes up. Older owners sleep more.
    pub(crate) fn an_owner_sleeps(&mut self) -> bool {
        let ids: Vec<u64> = self.owners.iter().map(|owner| owner.id).collect();
        let asleep: Vec<u64> = self.owners.iter().filter(|owner| owner.is_paused).map(|owner| owner.id).collect();
        let wakes = !asleep.is_empty() && self.random.percent(60);
        let Some(id) = self.random.pick(if wakes { &asleep } else { &ids }) else { return false };
        let Some(owner) = self.owner(id) else { return false };
        owner.is_paused = !owner.is_paused;
        let is_paused = owner.is_paused;
        self.say(|| format!("owner {id} {}", if is_paused { "sleeps" } else { "goes on" }));
        true
    }

    /// Starts a new owner. The previous one may sleep through it.
    pub(crate) fn take_over(&mut self) {
        let is_paused = self.random.percent(50);
        if let Some(last) = self.owners.last_mut() {
            last.is_paused |= is_paused;
        }
        self.born += 1;
        let (id, epoch, time) = (self.born, self.disk.take_over(), self.time);
        self.owners.push(Owner::new(id, epoch, [time, self.elapsed], self.mutant));
        self.stats.takeovers += 1;
        self.say(|| format!("owner {id} takes over with epoch {epoch}"));
    }

    pub(crate) fn an_owner_crashes(&mut self) -> bool {
        let fenced: Vec<u64> = self.owners.iter().filter(|it| it.is_fenced).map(|it| it.id).collect();
        let all: Vec<u64> = self.owners.iter().map(|it| it.id).collect();
        let Some(id) = self.random.pick(if fenced.is_empty() { &all } else { &fenced }) else { return false };
        self.end_owner(id);
        if self.owners.iter().all(|owner| owner.epoch != self.disk.epoch) {
            self.take_over();
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
        self.asks.retain(|_, asked| asked.owner != id);
        self.acts.values_mut().for_each(|act| act.is_left_by(id));
        self.tasks_are_lost(id);
    }

    /// What a process has sent to the disk may still arrive after its death.
    fn leaves_behind(&mut self, id: u64) {
        let (has_row, has_group) = (self.random.percent(30), self.random.percent(50));
        let Some(owner) = self.owner(id) else { return };
        let (row, group) = (owner.journal.is_left(), owner.projector.is_left());
        self.late_rows.extend(row.filter(|_| has_row));
        self.late_groups.extend(group.filter(|_| has_group));
    }

    /// The payment actor panics, and loses everything that it carried.
    pub(crate) fn cards_actor_panics(&mut self) -> bool {
        let (Some(id), elapsed) = (self.any_owner(), self.elapsed) else { return false };
        let Some(owner) = self.owner(id).filter(|owner| owner.has_payments()) else { return false };
        let wait = owner.payments_die(elapsed);
        self.stats.restarts += 1;
        self.say(|| format!("owner {id}: the payment actor panics, and is started again in {wait:?}"));
        self.asks.retain(|_, asked| asked.owner != id || !matches!(asked.who, Who::Pursuing(_) | Who::Task(_)));
        self.tasks_are_lost(id);
        true
    }

    /// The payment actor begins a life, and takes up pending payments.
    pub(crate) fn cards_actor_starts(&mut self) -> bool {
        let elapsed = self.elapsed;
        let is_due = |it: &&Owner| {
            !it.is_paused && it.may_read(it.mark()) && it.payments_start().is_some_and(|at| at <= elapsed)
        };
        let due: Vec<u64> = self.owners.iter().filter(is_due).map(|owner| owner.id).collect();
        let Some(id) = self.random.pick(&due) else { return false };
        let now = self.now_of(id);
        let rows = self.disk.tables.accounts.iter();
        let payments = rows.flat_map(|(account, rows)| rows.pending().map(move |payment| (*account, payment)));
        let pending: Vec<Chase> =
            payments.map(|(account, payment)| Chase::new(account, payment.clone(), now)).collect();
        if let Some(owner) = self.owner(id) {
            owner.payments_begin(elapsed);
            owner.pursuits = pending.into_iter().map(|it| (it.payment.id, it)).collect();
        }
        self.take_up_refunds(id);
        true
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
