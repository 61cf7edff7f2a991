//! Money on its way: payments pursued, webhooks heard, reversals taken, as the product's payment actor does it; and who is
//! told what when an account answers or does not.

use billing::{
    Nanos, Timestamp,
    command::{Answer, Command, Refusal},
    entry::Notice,
    ids::{AccountId, GrantId, PaymentId},
    payment::{Payment, PaymentStatus},
    time::DAY_MS,
};

use crate::{
    account::{AskId, Departure, Leaves, Mail},
    cards::{About, Delivery, Order, Outcome, Pursuit, Stage},
    check::{Checked, OUTBOX, ensure},
    mutants::Mutant,
    owner,
    world::{Who, World},
};

/// For how long the processor is trusted to know a charge again: a day, less what a last call may take.
pub(crate) const SAME_KEY_MS: i64 = DAY_MS - 5 * 60_000;
/// How long an order may be on its way.
const ON_ITS_WAY_MS: i64 = 4 * 60_000;
/// Times a grant that changed meanwhile is read again.
const TRIES: u32 = 5;

/// An answer, as its asker gets it.
pub(crate) enum Got {
    Answer(Box<Answer>),
    Bought(Box<Payment>),
}

/// A webhook that is being heard, or a reversal.
#[derive(Debug, Clone)]
pub(crate) struct Task {
    pub(crate) owner: u64,
    account: AccountId,
    payment: PaymentId,
    job: Job,
    /// What is done after that.
    then: Option<Job>,
    /// What an operator wants, who asks again where no answer comes.
    refund: Option<i64>,
    /// Told again, should it come to nothing.
    pub(crate) delivery: Option<Delivery>,
    signed_at: Timestamp,
    tries: u32,
    /// Whether its account is being asked.
    is_asking: bool,
    /// Whether all that its account was asked before is written.
    has_caught_up: bool,
}

#[derive(Debug, Clone)]
enum Job {
    /// What came of a charge.
    Apply(Outcome),
    /// An operator gives back so many hundredths of what is left.
    Refund(i64),
    /// So much of a payment is back with its card; the payment as it was read when the turn came.
    Reverse(Nanos, Option<Box<Payment>>),
}

impl World {
    /// Something left an account.
    pub(crate) fn departed(&mut self, departure: Departure) -> Checked {
        owner::departs(&departure, &self.disk)?;
        let Departure { owner, life, account, what, .. } = departure;
        let answered = |world: &mut Self, id: AskId| {
            let actor = world.owner(owner).and_then(|owner| owner.actors.get_mut(&account));
            if let Some(actor) = actor.filter(|actor| actor.life == life) {
                actor.asked.remove(&id);
            }
        };
        match what {
            Leaves::Live => {}
            Leaves::Charge(payment) => {
                let is_there = self.disk.rows(account).payments.contains_key(&payment.id);
                ensure(is_there, OUTBOX, || format!("{payment:?} is to be charged and is not on disk"))?;
                let pursuit = Pursuit { account, payment: *payment, stage: Stage::Asks, tries: 0 };
                if let Some(owner) = self.owner(owner) {
                    owner.pursuits.entry(pursuit.payment.id).or_insert(pursuit);
                }
            }
            Leaves::Answer(id, answer) => {
                answered(self, id);
                if let Some(request) = self.left.remove(&id) {
                    if answer.result.is_ok() {
                        self.admitted_late(&request);
                    }
                } else {
                    self.resolve(id, Ok(Got::Answer(answer)))?;
                }
            }
            Leaves::Bought(id, payment) => {
                answered(self, id);
                self.resolve(id, Ok(Got::Bought(payment)))?;
            }
        }
        Ok(())
    }

    /// An asker gets an answer, or learns that none will come.
    pub(crate) fn resolve(&mut self, id: AskId, got: Result<Got, ()>) -> Checked {
        let Some((owner, _, who)) = self.asks.remove(&id) else { return Ok(()) };
        match who {
            Who::Nobody => {}
            Who::Entering(request) => self.entered(id, request, got),
            Who::Settling(request) => self.settled(request, got)?,
            Who::Buying(account) => {
                if let Ok(Got::Bought(payment)) = got {
                    self.bought(account, &payment);
                }
            }
            Who::Pursuing(payment) => self.pursued(owner, payment, got),
            Who::Task(task) => self.task_answered(task, got),
            Who::Acting(act) => self.acted(act, got),
        }
        Ok(())
    }

    /// A payment's pursuit goes on.
    pub(crate) fn pursuit_goes_on(&mut self) -> bool {
        let waits = |it: &Pursuit| !matches!(it.stage, Stage::Tells(..));
        let able: Vec<(u64, PaymentId)> = self
            .owners
            .iter()
            .filter(|owner| !owner.is_paused)
            .flat_map(|owner| owner.pursuits.iter().map(move |(id, it)| (owner.id, *id, it)))
            .filter(|(.., it)| waits(it))
            .map(|(owner, id, _)| (owner, id))
            .collect();
        let Some((owner, id)) = self.random.pick(&able) else { return false };
        let now = self.now_of(owner);
        let Some(pursuit) = self.owner(owner).and_then(|it| it.pursuits.get_mut(&id)) else { return false };
        pursuit.tries += 1;
        let pursuit = pursuit.clone();
        let stage = match pursuit.stage {
            Stage::Asks => self.ask_processor(&pursuit, now),
            Stage::Knows(outcome) => {
                let command = self.ended(id, outcome, None);
                let ask = self.ask(owner, pursuit.account, Who::Pursuing(id), |id| Mail::Ask { id, command });
                Stage::Tells(ask, outcome)
            }
            stage @ Stage::Tells(..) => stage,
        };
        if let Some(pursuit) = self.owner(owner).and_then(|it| it.pursuits.get_mut(&id)) {
            pursuit.stage = stage;
        }
        true
    }

    /// Charges, or looks up where it is too late for that. The order or its answer may be late or lost.
    fn ask_processor(&mut self, pursuit: &Pursuit, now: Timestamp) -> Stage {
        let Pursuit { payment, tries, .. } = pursuit;
        let id = payment.id;
        let is_lost = !self.is_resting && self.random.percent(25);
        if now >= payment.created_at.plus_ms(SAME_KEY_MS) {
            let found = self.cards.find(id).unwrap_or(Outcome::Declined("never_charged"));
            self.say(|| format!("payment {id} is looked up: {found:?}"));
            return if is_lost { Stage::Asks } else { Stage::Knows(found) };
        }
        let key = match self.mutant {
            Some(Mutant::NewKeyPerTry) => format!("{id} {tries}"),
            _ => id.to_string(),
        };
        let order = Order { payment: id, amount: payment.amount, key, sent_at: self.elapsed };
        if is_lost && self.random.percent(50) {
            self.say(|| format!("the order of payment {id} is late"));
            self.cards.late.push(order);
            return Stage::Asks;
        }
        let outcome = self.charge(&order);
        self.say(|| format!("payment {id} is charged: {outcome:?}{}", if is_lost { ", not answered" } else { "" }));
        if is_lost { Stage::Asks } else { Stage::Knows(outcome) }
    }

    fn charge(&mut self, order: &Order) -> Outcome {
        let would = if self.random.percent(70) { Outcome::Succeeded } else { Outcome::Declined("card_declined") };
        let at = if self.has_wild_clock { Timestamp(0) } else { self.elapsed };
        self.cards.charge(order, at, would)
    }

    /// An order that nobody waits for arrives, unless it took too long.
    pub(crate) fn late_order_arrives(&mut self) -> bool {
        let Some(order) = self.cards.late.pop() else { return false };
        if self.elapsed < order.sent_at.plus_ms(ON_ITS_WAY_MS) {
            let outcome = self.charge(&order);
            self.say(|| format!("the late order of payment {} arrives: {outcome:?}", order.payment));
        }
        true
    }

    fn ended(&mut self, payment_id: PaymentId, outcome: Outcome, notice: Option<Notice>) -> Command {
        let command = match outcome {
            Outcome::Succeeded => Command::PaymentSucceeded {
                payment_id,
                grant_id: GrantId(self.new_id()),
                reference: Some("charge".to_owned()),
            },
            Outcome::Declined(code) => Command::PaymentDeclined { payment_id, decline_code: code.to_owned() },
        };
        noticed(notice, command)
    }

    fn pursued(&mut self, owner: u64, id: PaymentId, got: Result<Got, ()>) {
        let Some(pursuit) = self.owner(owner).and_then(|it| it.pursuits.get_mut(&id)) else { return };
        let Stage::Tells(_, outcome) = pursuit.stage else { return };
        let account = pursuit.account;
        let Ok(Got::Answer(answer)) = got else {
            pursuit.stage = Stage::Knows(outcome);
            return;
        };
        match answer.result {
            Ok(_) => {}
            Err(Refusal::NoPayment(_)) => self.refund_if_declined(account, id, outcome),
            Err(_) => {
                pursuit.stage = Stage::Asks;
                return;
            }
        }
        if let Some(owner) = self.owner(owner) {
            owner.pursuits.remove(&id);
        }
    }

    /// Money that came for a payment that was told declined goes back.
    fn refund_if_declined(&mut self, account: AccountId, id: PaymentId, outcome: Outcome) {
        let stored = self.disk.rows(account).payments.get(&id);
        let Some(stored) = stored.filter(|it| it.status == PaymentStatus::Declined) else { return };
        if outcome == Outcome::Succeeded {
            let amount = stored.amount;
            self.stats.refunded_late += 1;
            self.cards.refund(id, amount, &format!("late-{id}"));
        }
    }

    /// An event is told to some owner; another delivery of it may follow.
    pub(crate) fn webhook_arrives(&mut self) -> bool {
        let Some(owner) = self.any_owner() else { return false };
        if self.cards.deliveries.is_empty() {
            return false;
        }
        let place = self.random.below(i64::try_from(self.cards.deliveries.len()).unwrap_or(1));
        let delivery = self.cards.deliveries.remove(usize::try_from(place).unwrap_or(0));
        let signed_at = self.elapsed;
        let Some(account) = self.owner_of_payment(delivery.payment) else { return true };
        if !self.is_resting && self.random.percent(25) {
            self.cards.deliveries.push(delivery.clone());
            self.stats.repeated_webhooks += 1;
        }
        if let Some(before) = self.disk.webhooks.get(&delivery.event) {
            // The same delivery is refused, a later one only noted.
            if *before < signed_at {
                self.disk.note(&delivery.event, signed_at);
            }
            return true;
        }
        let payment = delivery.payment;
        // What stands now is fetched: order is not trusted.
        let Some(outcome) = self.cards.find(payment) else { return true };
        let then = (delivery.about == About::Return).then(|| Job::Reverse(self.cards.returned(payment), None));
        self.say(|| format!("owner {owner} hears {delivery:?}: {outcome:?}, {then:?}"));
        let task = self.new_task(owner, account, payment, Job::Apply(outcome));
        if let Some(task) = self.tasks.get_mut(&task) {
            (task.then, task.delivery) = (then, Some(delivery));
        }
        true
    }

    fn owner_of_payment(&self, id: PaymentId) -> Option<AccountId> {
        self.disk.accounts.iter().find(|(_, rows)| rows.payments.contains_key(&id)).map(|(account, _)| *account)
    }

    fn new_task(&mut self, owner: u64, account: AccountId, payment: PaymentId, job: Job) -> u64 {
        self.serial += 1;
        let id = u64::try_from(self.serial).unwrap_or(u64::MAX);
        let task = Task {
            owner,
            account,
            payment,
            job,
            then: None,
            refund: None,
            delivery: None,
            signed_at: self.elapsed,
            tries: 0,
            is_asking: false,
            has_caught_up: self.mutant == Some(Mutant::ReversalReadsEarly),
        };
        self.tasks.insert(id, task);
        id
    }

    fn new_refund(&mut self, owner: u64, account: AccountId, payment: PaymentId, percent: i64) {
        let task = self.new_task(owner, account, payment, Job::Refund(percent));
        if let Some(task) = self.tasks.get_mut(&task) {
            task.refund = Some(percent);
        }
    }

    /// An operator gives some of a payment back.
    pub(crate) fn refund(&mut self, owner: u64, account: AccountId) -> bool {
        let is_left = |it: &&Payment| it.status == PaymentStatus::Succeeded && it.reversed < it.amount;
        let payments: Vec<PaymentId> =
            self.disk.rows(account).payments.values().filter(is_left).map(|it| it.id).collect();
        let Some(payment) = self.random.pick(&payments) else { return false };
        let percent = if self.random.percent(50) { 100 } else { self.random.between(1, 99) };
        self.say(|| format!("owner {owner} is to refund {percent} % of {payment}"));
        self.new_refund(owner, account, payment, percent);
        true
    }

    pub(crate) fn charge_back(&mut self, account: AccountId) -> bool {
        let payments: Vec<PaymentId> = self.disk.rows(account).payments.keys().copied().collect();
        let Some(payment) = self.random.pick(&payments) else { return false };
        let is_back = self.cards.charge_back(payment);
        if is_back {
            self.say(|| format!("payment {payment} is charged back"));
            self.stats.reversed += 1;
        }
        is_back
    }

    /// A webhook or a reversal goes on: its account is asked, when it is its turn.
    pub(crate) fn task_goes_on(&mut self) -> bool {
        let able: Vec<u64> = self
            .tasks
            .iter()
            .filter(|(id, it)| !it.is_asking && self.is_awake(it.owner) && self.has_turn(**id, it))
            .map(|(id, _)| *id)
            .collect();
        let Some(id) = self.random.pick(&able) else { return false };
        let Some(task) = self.tasks.get(&id).cloned() else { return false };
        // Noted with the last of what it changes.
        let notice = task.delivery.as_ref().filter(|_| task.then.is_none()).map(|delivery| Notice {
            processor: "cards",
            id: delivery.event.clone(),
            kind: format!("{:?}", delivery.about),
            signed_at: task.signed_at,
        });
        let command = match &task.job {
            Job::Apply(outcome) => self.ended(task.payment, *outcome, notice),
            Job::Refund(_) | Job::Reverse(..) => {
                if let Some(owner) = self.owner(task.owner) {
                    owner.turn = Some(id);
                }
                if task.has_caught_up {
                    let Some(command) = self.reversal(id, &task) else { return true };
                    noticed(notice, command)
                } else {
                    Command::Sweep
                }
            }
        };
        if let Some(task) = self.tasks.get_mut(&id) {
            task.is_asking = true;
        }
        self.ask(task.owner, task.account, Who::Task(id), |id| Mail::Ask { id, command });
        true
    }

    /// What an account is told of money that is back, or is given back here and now.
    fn reversal(&mut self, id: u64, task: &Task) -> Option<Command> {
        let rows = self.disk.rows(task.account);
        let kept = if let Job::Reverse(_, kept) = &task.job { kept.clone() } else { None };
        let payment = kept.or_else(|| rows.payments.get(&task.payment).cloned().map(Box::new))?;
        let total = match (payment.status, &task.job) {
            // It brought no credits to take.
            (PaymentStatus::Declined | PaymentStatus::Pending, _) | (_, Job::Apply(_)) => {
                self.end_task(id, Heard::Yes);
                return None;
            }
            (PaymentStatus::Succeeded, Job::Reverse(total, _)) => (*total).min(payment.amount),
            (PaymentStatus::Succeeded, Job::Refund(percent)) => {
                let left = payment.amount - payment.reversed;
                let amount = Nanos::new((left.get() / 100 * percent).max(1));
                let key = format!("{}-{}", payment.id, payment.reversed.get());
                if amount > left || !self.cards.refund(payment.id, amount, &key) {
                    self.end_task(id, Heard::No);
                    return None;
                }
                self.say(|| format!("{amount} of {payment:?} are given back"));
                payment.reversed + amount
            }
        };
        let grant = self.disk.rows(task.account).grant_of(&payment.grant_key()).cloned().map(Box::new);
        if let Some(task) = self.tasks.get_mut(&id) {
            task.job = Job::Reverse(total, Some(payment.clone()));
        }
        Some(Command::PaymentReversed { payment, grant, total })
    }

    fn has_turn(&self, id: u64, task: &Task) -> bool {
        let turn = self.owners.iter().find(|owner| owner.id == task.owner).and_then(|owner| owner.turn);
        matches!(task.job, Job::Apply(_)) || turn.is_none_or(|turn| turn == id)
    }

    fn task_answered(&mut self, id: u64, got: Result<Got, ()>) {
        let Some(task) = self.tasks.get_mut(&id) else { return };
        task.is_asking = false;
        task.tries += 1;
        let (account, payment, tries) = (task.account, task.payment, task.tries);
        let Ok(Got::Answer(answer)) = got else {
            self.end_task(id, Heard::No);
            return;
        };
        let is_read = task.has_caught_up;
        match (&task.job, &answer.result) {
            (Job::Apply(outcome), result @ (Ok(_) | Err(Refusal::NoPayment(_)))) => {
                let (outcome, is_over) = (*outcome, result.is_err());
                let then = task.then.take();
                let is_last = then.is_none();
                if let Some(then) = then {
                    (task.job, task.tries) = (then, 0);
                }
                if is_over {
                    self.refund_if_declined(account, payment, outcome);
                }
                if is_last {
                    self.end_task(id, Heard::Yes);
                }
            }
            // Now it can be read.
            (Job::Refund(_) | Job::Reverse(..), _) if !is_read => task.has_caught_up = true,
            (_, Ok(_)) => self.end_task(id, Heard::Yes),
            (Job::Reverse(..), Err(Refusal::GrantMoved(_))) if tries <= TRIES => {}
            (_, Err(_)) => self.end_task(id, Heard::No),
        }
    }

    fn end_task(&mut self, id: u64, heard: Heard) {
        let Some(task) = self.tasks.remove(&id) else { return };
        if let Some(owner) = self.owner(task.owner).filter(|owner| owner.turn == Some(id)) {
            owner.turn = None;
        }
        if let (Some(percent), Heard::No) = (task.refund, heard)
            && self.random.percent(70)
        {
            self.new_refund(task.owner, task.account, task.payment, percent);
        }
        if let Some(delivery) = task.delivery {
            match heard {
                Heard::Yes => self.disk.note(&delivery.event, task.signed_at),
                Heard::No => self.cards.deliveries.push(delivery),
            }
        }
    }
}

/// Whether a webhook came to something.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Heard {
    Yes,
    No,
}

fn noticed(notice: Option<Notice>, command: Command) -> Command {
    match notice {
        Some(notice) => Command::Notified { notice, command: Box::new(command) },
        None => command,
    }
}
