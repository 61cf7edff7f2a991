//! The end of a seed: faults stop, everything comes to rest, and the answers given to clients are compared with the
//! disk.

use billing::{
    Nanos,
    command::Command,
    ids::{AccountId, PaymentId},
    payment::{Payment, PaymentStatus},
};

use crate::{
    account::Actor,
    acts::Act,
    check::{self, CARDS, Checked, DURABLE, ENDED, PERMITS, ensure},
    owner::Owner,
    rows::Rows,
    stats::count,
    world::World,
};

/// Messages that are handled between two batches.
const MAIL: usize = 8;

impl World {
    /// Runs without faults, with a working network and disk, until nothing is left to do.
    pub(crate) fn rest(&mut self) -> Checked {
        self.say(|| "troubles end".to_owned());
        self.is_resting = true;
        if self.owners.iter().all(|owner| owner.is_leaving) {
            self.a_node_comes();
        }
        self.owners.iter_mut().for_each(|owner| owner.is_paused = false);
        self.clocks_are_set();
        let owner = self.owners[0].id;
        // Leases end, and who was not heard of counts as gone.
        self.rests_at = self.lease_ms + 30_000;
        for _ in 0..7 {
            self.quieten()?;
            // Holds that nobody settled are abandoned after half an hour, or two more where another node may know of them.
            self.time = self.time.plus_ms(31 * 60_000 + self.skew_ms.abs());
            self.elapsed = self.elapsed.plus_ms(31 * 60_000);
            let all: Vec<AccountId> = self.disk.truth.keys().copied().collect();
            for account in all {
                self.post(owner, account, Command::Sweep);
            }
            self.quieten()?;
            let its = |owner: &Owner| owner.actors.keys().map(|account| (owner.id, *account)).collect::<Vec<_>>();
            for actor in self.owners.iter().flat_map(its).collect::<Vec<_>>() {
                self.act(actor, Actor::tick)?;
                self.checked()?;
            }
            self.quieten()?;
            if self.is_done() {
                break;
            }
        }
        self.came_to_rest()
    }

    fn is_done(&self) -> bool {
        let is_done = |rows: &Rows| {
            let is_paid = rows.payments.values().all(|it| it.status != PaymentStatus::Pending);
            rows.holds.is_empty() && is_paid && rows.unanswered().next().is_none()
        };
        self.disk.truth.values().all(is_done)
            && self.acts.values().all(Act::is_over)
            && self.cards.deliveries.is_empty()
    }

    /// Does everything that can be done now.
    fn quieten(&mut self) -> Checked {
        for _ in 0..10_000 {
            let mut is_busy = false;
            let ids: Vec<u64> = self.owners.iter().map(|owner| owner.id).collect();
            for id in ids {
                is_busy |= self.owner(id).is_some_and(Owner::journal_handles);
                is_busy |= self.a_batch_is_taken(id);
                is_busy |= self.a_batch_arrives(id);
                is_busy |= self.a_batch_is_heard(id);
                is_busy |= self.owner(id).is_some_and(Owner::batch_is_reported);
                is_busy |= self.a_group_is_taken(id);
                is_busy |= self.a_group_arrives(id);
                is_busy |= self.a_group_is_heard(id);
            }
            self.leases_go_on()?;
            is_busy |= !self.all_are_served() || self.lease_ms < self.rests_at;
            is_busy |= self.a_start_goes_on()?;
            is_busy |= self.a_drain_goes_on()?;
            is_busy |= self.a_question_arrives()?;
            is_busy |= self.a_question_is_asked_again()?;
            is_busy |= self.a_late_row_arrives();
            is_busy |= self.a_late_group_arrives();
            // Many messages before the next batch make it large.
            for _ in 0..MAIL {
                is_busy |= self.mail_is_handled()?;
            }
            is_busy |= self.an_account_loads()?;
            self.checked()?;
            is_busy |= self.request_goes_on()?;
            is_busy |= self.cards_actor_starts();
            is_busy |= self.pursuit_goes_on();
            is_busy |= self.task_goes_on();
            is_busy |= self.act_goes_on();
            is_busy |= self.late_order_arrives();
            is_busy |= self.webhook_arrives();
            is_busy |= !is_busy && self.refunds_are_taken_up();
            is_busy |= self.an_alarm_rings()?;
            // An owner's hour is long if a clock was set back by weeks.
            is_busy |= !is_busy && self.has_wild_clock && self.cards_owner_acts();
            is_busy |= !is_busy && self.time_passes();
            self.checked()?;
            if !is_busy {
                return Ok(());
            }
        }
        ensure(false, ENDED, || "it never comes to rest".to_owned())
    }

    /// Checks the state at rest.
    fn came_to_rest(&mut self) -> Checked {
        self.disk.is_whole()?;
        for (id, rows) in &self.disk.truth {
            check::rows(*id, rows)?;
            ensure(rows.holds.is_empty(), ENDED, || format!("{id} still holds {:?}", rows.holds))?;
            for payment in rows.payments.values() {
                self.cards_agree(payment)?;
            }
            count(&mut self.stats, rows);
        }
        for owner in &self.owners {
            ensure(owner.leaving.is_empty(), ENDED, || {
                format!("{} lives that left wait for the journal's word for ever", owner.leaving.len())
            })?;
            let owned = owner.actors.iter().filter(|(id, _)| owner.owns(self.disk.shard_of(**id)).is_some());
            for account in owned.filter_map(|(_, actor)| actor.machine.account()) {
                let used = account.balance(self.now_of(owner.id)).units_used.0;
                ensure(used == 0, PERMITS, || format!("{used} units of {} are in use at rest", account.id))?;
            }
            let (remembered, live) = (owner.journal.remembers(), owner.actors.len());
            ensure(remembered <= live, ENDED, || {
                format!("the journal remembers {remembered} accounts, of which {live} live")
            })?;
        }
        for (request, account) in &self.dispatched {
            let is_recorded = self.disk.rows(*account).charged(*request).is_some();
            ensure(is_recorded, ENDED, || format!("{request} was sent upstream and has no record"))?;
        }
        for (account, payment) in &self.told_paid {
            let stored = self.disk.rows(*account).payments.get(payment);
            let is_paid = stored.is_some_and(|it| it.status == PaymentStatus::Succeeded);
            ensure(is_paid, DURABLE, || format!("{payment} was told to be paid, on disk {stored:?}"))?;
        }
        let known = |id: &PaymentId| self.disk.truth.values().any(|rows| rows.payments.contains_key(id));
        let unknown = self.cards.charges.keys().find(|id| !known(id));
        ensure(unknown.is_none(), CARDS, || format!("{unknown:?} was charged and is not on disk"))
    }

    /// Checks a payment's card: charged once if the payment succeeded, less reversals; otherwise nothing stayed
    /// charged.
    fn cards_agree(&self, payment: &Payment) -> Checked {
        let charges = self.cards.charges.get(&payment.id);
        let paid: Vec<(Nanos, Nanos)> = charges
            .into_iter()
            .flatten()
            .filter(|charge| charge.is_paid())
            .map(|charge| (charge.amount, charge.returned()))
            .collect();
        let agrees = match payment.status {
            PaymentStatus::Succeeded => paid == [(payment.amount, payment.reversed)],
            PaymentStatus::Declined => paid.iter().all(|(amount, returned)| amount == returned) && paid.len() <= 1,
            PaymentStatus::Pending => false,
        };
        ensure(agrees, CARDS, || format!("charged and returned {paid:?} for {payment:?}"))
    }
}
