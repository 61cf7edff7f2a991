//! Webhooks and reversals, handled like the product's payment actor, with its decisions.

use actors::payment::{
    pursuit::{self, BackOff, ReportResult, Telling},
    reversing::{self, Asking, Beginning, Delivered, Hearing, Readings},
};
use billing::{
    Nanos, Timestamp,
    command::{Answer, Command, Reverse},
    entry::Notice,
    ids::{AccountId, GrantId, PaymentId, ReversalId},
    payment::{Payment, PaymentStatus},
    reversal::{Listing, News, Reversal},
};
use cards::{ChargeOutcome, RefundOrder, Refunded};

use crate::{
    answers::{Answered, Got},
    asks::Who,
    cards::{About, Delivery},
    marks::Mark,
    mutants::Mutant,
    owner::Owner,
    world::World,
};

/// A webhook being handled, or a reversal.
#[derive(Debug, Clone)]
pub(crate) struct Task {
    pub(crate) owner: u64,
    account: AccountId,
    payment: PaymentId,
    job: Job,
    /// The job after the current one.
    then: Option<Job>,
    /// The event, to be delivered again if the task fails.
    pub(crate) delivery: Option<Delivery>,
    signed_at: Timestamp,
    /// The refund to request, and the wait before it is requested again.
    refund: Option<Box<Reversal>>,
    back_off: BackOff,
    pub(crate) waits_until: Option<Timestamp>,
    readings: Readings,
    /// Whether the account has been asked.
    is_asking: bool,
    /// The account's answer, until it is understood.
    heard: Option<Box<Answer>>,
    /// What the tables must have before the task reads them.
    reads_from: Mark,
    /// Whether everything that the account was asked before is durable.
    has_caught_up: bool,
}

#[derive(Debug, Clone)]
enum Job {
    /// Report the outcome of a charge to the account.
    Apply(ChargeOutcome),
    /// Write down an operator's refund, of a percentage of the remaining amount.
    Begin(ReversalId, i64),
    /// Request the refund from the processor until it answers.
    AskRefund(Box<Reversal>),
    /// Report refunds and disputes to the account, and whether the list is complete.
    Tell(Vec<News>, Listing),
}

impl World {
    /// Delivers an event to an owner. Another delivery of it may follow.
    pub(crate) fn webhook_arrives(&mut self) -> bool {
        let hearing: Vec<u64> = self.hearing();
        let Some(owner) = self.random.pick(&hearing) else { return false };
        if self.cards.deliveries.is_empty() || !self.may_read(owner, self.mark_of(owner)) {
            return false;
        }
        let place = self.random.below(i64::try_from(self.cards.deliveries.len()).unwrap_or(1));
        let delivery = self.cards.deliveries.remove(usize::try_from(place).unwrap_or(0));
        let signed_at = self.elapsed;
        let Some(account) = self.owner_of_payment(delivery.payment) else { return true };
        let is_return = delivery.about == About::Return;
        if !self.is_resting && self.random.percent(25) {
            self.cards.deliveries.push(delivery.clone());
            self.stats.repeated_webhooks += 1;
        }
        // Reversals often come twice, to two nodes at once.
        if let Some(other) = self.random.pick(&hearing).filter(|_| is_return && !self.is_resting) {
            self.is_delivered(other, account, delivery.clone(), signed_at);
        }
        self.is_delivered(owner, account, delivery, signed_at);
        true
    }

    /// An event is handled at an owner.
    fn is_delivered(&mut self, owner: u64, account: AccountId, delivery: Delivery, signed_at: Timestamp) {
        let before = self.disk.tables.signed_at(&delivery.event);
        match reversing::delivered(before, signed_at) {
            Delivered::First => {}
            Delivered::Again => {
                self.disk.tables.note(&delivery.event, signed_at);
                return;
            }
            Delivered::Replayed => return,
        }
        let payment = delivery.payment;
        // The current state is fetched, because events may come out of order.
        let Some(outcome) = self.cards.find(payment) else { return };
        let is_again = self.mutant == Some(Mutant::ReversalCountedTwice);
        let then = (delivery.about == About::Return).then(|| {
            let mut news = self.cards.news(payment);
            for told in news.iter_mut().filter(|_| is_again) {
                // A different reference with each delivery.
                told.reference = told.reference.as_ref().map(|name| format!("{name} of {}", delivery.event));
            }
            Job::Tell(news, Listing::All)
        });
        self.say(|| format!("owner {owner} hears {delivery:?}: {outcome:?}, {then:?}"));
        let task = self.new_task(owner, account, payment, Job::Apply(outcome));
        if let Some(task) = self.tasks.get_mut(&task) {
            (task.then, task.delivery) = (then, Some(delivery));
        }
    }

    /// Owners with a living payment actor.
    fn hearing(&self) -> Vec<u64> {
        let is_able = |owner: &&Owner| !owner.is_paused && owner.has_payments();
        let able = self.owners.iter().filter(is_able);
        able.map(|owner| owner.id).collect()
    }

    fn owner_of_payment(&self, id: PaymentId) -> Option<AccountId> {
        self.disk.tables.accounts.iter().find(|(_, rows)| rows.payments.contains_key(&id)).map(|(account, _)| *account)
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
            delivery: None,
            signed_at: self.elapsed,
            refund: None,
            back_off: BackOff::default(),
            waits_until: None,
            readings: Readings::default(),
            is_asking: false,
            heard: None,
            reads_from: self.mark_of(owner),
            has_caught_up: false,
        };
        self.tasks.insert(id, task);
        id
    }

    /// An operator refunds part of a payment.
    pub(crate) fn refund(&mut self, owner: u64, account: AccountId) -> bool {
        if !self.hearing().contains(&owner) {
            return false;
        }
        let is_left = |it: &&Payment| it.status == PaymentStatus::Succeeded && it.reversed < it.amount;
        let payments: Vec<PaymentId> =
            self.disk.tables.rows(account).payments.values().filter(is_left).map(|it| it.id).collect();
        let Some(payment) = self.random.pick(&payments) else { return false };
        let percent = if self.random.percent(50) { 100 } else { self.random.between(1, 99) };
        self.say(|| format!("owner {owner} is to refund {percent} % of {payment}"));
        let id = ReversalId(self.new_id());
        self.new_task(owner, account, payment, Job::Begin(id, percent));
        true
    }

    /// A bank disputes part of a payment.
    pub(crate) fn dispute(&mut self, account: AccountId) -> bool {
        let payments: Vec<PaymentId> = self.disk.tables.rows(account).payments.keys().copied().collect();
        let Some(payment) = self.random.pick(&payments) else { return false };
        let percent = if self.random.percent(60) { 100 } else { self.random.between(1, 120) };
        let is_disputed = self.cards.dispute(payment, percent);
        if is_disputed {
            self.say(|| format!("{percent} % of payment {payment} are disputed"));
            self.stats.reversed += 1;
        }
        is_disputed
    }

    /// A refund fails, or a dispute is lost or won.
    pub(crate) fn reversal_moves_on(&mut self, account: AccountId) -> bool {
        let payments: Vec<PaymentId> = self.disk.tables.rows(account).payments.keys().copied().collect();
        let Some(payment) = self.random.pick(&payments) else { return false };
        let which = usize::try_from(self.random.below(8)).unwrap_or(0);
        let is_good = self.random.percent(60);
        let Some(state) = self.cards.move_on(payment, which, is_good) else { return false };
        self.say(|| format!("something of payment {payment} is {}", state.name()));
        self.stats.restored += u64::from(!state.stands());
        true
    }

    /// The payment actor takes up unanswered refunds: at its start, or a while after one could not be written.
    pub(crate) fn refunds_are_taken_up(&mut self) -> bool {
        let hearing = self.hearing();
        let Some(owner) = self.random.pick(&hearing) else { return false };
        self.may_read(owner, self.mark_of(owner)) && self.take_up_refunds(owner)
    }

    pub(crate) fn take_up_refunds(&mut self, owner: u64) -> bool {
        let unanswered: Vec<(AccountId, Reversal)> = self
            .disk
            .tables
            .accounts
            .iter()
            .flat_map(|(account, rows)| rows.unanswered().map(move |row| (*account, row.clone())))
            .filter(|(account, row)| self.owns(owner, *account) && !self.is_carried(owner, row.id))
            .collect();
        let is_some = !unanswered.is_empty();
        for (account, row) in unanswered {
            self.new_task(owner, account, row.payment_id, Job::AskRefund(Box::new(row)));
        }
        is_some
    }

    fn owns(&self, owner: u64, account: AccountId) -> bool {
        let shard = self.disk.shard_of(account);
        self.owners.iter().any(|it| it.id == owner && it.owns(shard).is_some())
    }

    /// Whether an owner's payment actor carries a refund.
    fn is_carried(&self, owner: u64, id: ReversalId) -> bool {
        self.tasks.values().filter(|task| task.owner == owner).any(|task| match &task.job {
            Job::Begin(begun, _) => *begun == id,
            Job::AskRefund(row) => row.id == id,
            Job::Tell(news, _) => news.iter().any(|told| told.id == Some(id)) && task.delivery.is_none(),
            Job::Apply(_) => false,
        })
    }

    /// Advances a webhook or a reversal: asks its account, in its turn.
    pub(crate) fn task_goes_on(&mut self) -> bool {
        let able: Vec<u64> = self
            .tasks
            .iter()
            .filter(|(id, it)| !it.is_asking && self.is_awake(it.owner) && self.has_turn(**id, it))
            .filter(|(_, it)| it.waits_until.is_none_or(|until| self.now_of(it.owner) >= until))
            .filter(|(_, it)| self.may_read(it.owner, it.reads_from))
            .map(|(id, _)| *id)
            .collect();
        let Some(id) = self.random.pick(&able) else { return false };
        if let Some(answer) = self.tasks.get_mut(&id).and_then(|task| task.heard.take()) {
            self.task_heard(id, *answer);
            return true;
        }
        let Some(task) = self.tasks.get(&id).cloned() else { return false };
        // The event is written with the last of its effects.
        let notice = task.delivery.as_ref().filter(|_| task.then.is_none()).map(|delivery| Notice {
            processor: "cards".into(),
            id: delivery.event.clone(),
            kind: format!("{:?}", delivery.about),
            signed_at: task.signed_at,
        });
        let command = match &task.job {
            Job::Apply(outcome) => {
                let grant_id = GrantId(self.new_id());
                let Some(payment) = self.disk.tables.rows(task.account).payments.get(&task.payment) else {
                    return false;
                };
                match pursuit::telling(payment, outcome, grant_id, notice) {
                    Telling::Command(command) => command,
                    // The pursuit waits for the card's owner.
                    Telling::Nothing | Telling::AnotherAmount { .. } => {
                        self.is_applied(id);
                        return true;
                    }
                }
            }
            Job::AskRefund(row) => {
                self.ask_for_refund(id, &task, row);
                return true;
            }
            Job::Begin(..) | Job::Tell(..) => {
                if let Some(owner) = self.owner(task.owner) {
                    owner.turn = Some(id);
                }
                if task.has_caught_up {
                    let Some(command) = self.reversal(id, &task) else { return true };
                    pursuit::noticed(notice, command)
                } else {
                    Command::Sweep
                }
            }
        };
        if let Some(task) = self.tasks.get_mut(&id) {
            task.is_asking = true;
        }
        self.ask(task.owner, task.account, Who::Task(id), command);
        true
    }

    /// Requests a refund from the processor under its id, or looks it up. The order or its answer may be lost.
    fn ask_for_refund(&mut self, id: u64, task: &Task, row: &Reversal) {
        let now = self.now_of(task.owner);
        let payment = self.disk.tables.rows(task.account).payments.get(&row.payment_id);
        let Some(reference) = payment.and_then(|payment| payment.reference.clone()) else { return };
        let order = RefundOrder { key: row.id.to_string(), id: Some(row.id), reference, amount: row.amount };
        let is_lost = !self.is_resting && self.random.percent(25);
        let answer = match reversing::asking(row, now) {
            _ if is_lost && self.random.percent(50) => Refunded::Unknown { why: "the order is lost".to_owned() },
            Asking::Refund => self.cards.refund(&order),
            Asking::Find => reversing::found(self.cards.find_refund(&order)),
        };
        self.say(|| format!("{row} is asked for: {answer:?}{}", if is_lost { ", not answered" } else { "" }));
        let answer = if is_lost { Refunded::Unknown { why: "lost".to_owned() } } else { answer };
        let news = reversing::news(row, &answer);
        self.stats.refunded += u64::from(news.is_some());
        let Some(task) = self.tasks.get_mut(&id) else { return };
        match news {
            Some(news) => {
                (task.job, task.refund) = (Job::Tell(vec![news], Listing::Some), Some(Box::new(row.clone())));
                (task.has_caught_up, task.readings) = (false, Readings::default());
            }
            None => task.waits_until = Some(task.back_off.next(now)),
        }
    }

    /// The command for a payment's refunds and disputes, by the rows at the time of the task's turn.
    fn reversal(&mut self, id: u64, task: &Task) -> Option<Command> {
        let rows = self.disk.tables.rows(task.account);
        let payment = rows.payments.get(&task.payment).cloned()?;
        let known = rows.known(payment.id);
        let (news, listing) = match &task.job {
            Job::Tell(news, listing) => {
                let heard = match reversing::hearing(payment.status) {
                    Hearing::Now => None,
                    Hearing::Never => Some(Noted::Yes),
                    Hearing::Later => Some(Noted::No),
                };
                if let Some(heard) = heard {
                    self.end_task(id, heard);
                    return None;
                }
                (news.clone(), *listing)
            }
            Job::Begin(refund, percent) => {
                let left = payment.amount - payment.reversed;
                let wanted = Nanos::new((left.get() / 100 * percent).max(1));
                match reversing::begin(&payment, &known, *refund, Some(wanted)) {
                    Ok(Beginning::New(news)) => (vec![news], Listing::Some),
                    Ok(Beginning::Known(row)) => {
                        self.is_begun(id, row);
                        return None;
                    }
                    Err(_) => {
                        self.end_task(id, Noted::No);
                        return None;
                    }
                }
            }
            Job::Apply(_) | Job::AskRefund(_) => return None,
        };
        let rows = self.disk.tables.rows(task.account);
        let grant = rows.grant_of(&payment.grant_key()).cloned().map(Box::new);
        let paid_until = rows.paid_until(Some(payment.id));
        Some(Command::Reverse(Box::new(Reverse {
            payment,
            grant,
            known,
            news,
            listing,
            card: Some("card".to_owned()),
            paid_until,
            revision: Some(rows.header.revision).filter(|_| self.mutant != Some(Mutant::ReversedUnnamed)),
        })))
    }

    fn has_turn(&self, id: u64, task: &Task) -> bool {
        let turn = self.owners.iter().find(|owner| owner.id == task.owner).and_then(|owner| owner.turn);
        matches!(task.job, Job::Apply(_) | Job::AskRefund(_)) || turn.is_none_or(|turn| turn == id)
    }

    /// Takes an account's answer. It is understood once the tables have what the account knows.
    pub(crate) fn task_answered(&mut self, id: u64, got: Got) {
        let Some(mark) = self.tasks.get(&id).map(|task| self.mark_of(task.owner)) else { return };
        let Some(task) = self.tasks.get_mut(&id) else { return };
        (task.is_asking, task.reads_from) = (false, mark);
        match got {
            Ok(Answered::Command(answer)) => task.heard = Some(answer),
            Ok(_) | Err(_) => self.end_task(id, Noted::No),
        }
    }

    fn task_heard(&mut self, id: u64, answer: Answer) {
        let Some(task) = self.tasks.get_mut(&id) else { return };
        if let Job::Apply(outcome) = &task.job {
            let (account, payment, outcome) = (task.account, task.payment, outcome.clone());
            let Some(payment) = self.disk.tables.rows(account).payments.get(&payment).cloned() else { return };
            match self.is_told(account, &payment, &outcome, answer) {
                ReportResult::Ended | ReportResult::Open => self.is_applied(id),
                ReportResult::NotYet => self.end_task(id, Noted::No),
            }
            return;
        }
        if !task.has_caught_up {
            // Now the rows can be read.
            task.has_caught_up = true;
            return;
        }
        match answer.result {
            Ok(_) => match &task.job {
                // The refund is durable, so it is requested from the processor.
                Job::Begin(refund, _) => {
                    let row = self.disk.tables.rows(task.account).reversals.get(&(task.payment, *refund)).cloned();
                    match row {
                        Some(row) => self.is_begun(id, row),
                        None => self.end_task(id, Noted::No),
                    }
                }
                Job::Apply(_) | Job::AskRefund(_) | Job::Tell(..) => self.end_task(id, Noted::Yes),
            },
            // Read again, once the concurrent change is durable.
            Err(refusal) if task.readings.again(&refusal) => task.has_caught_up = false,
            Err(_) => self.end_task(id, Noted::No),
        }
    }

    /// The outcome of a charge was reported: continue with the next job.
    fn is_applied(&mut self, id: u64) {
        match self.tasks.get_mut(&id).map(|task| (task.then.take(), task)) {
            Some((Some(then), task)) => task.job = then,
            Some((None, _)) => self.end_task(id, Noted::Yes),
            None => {}
        }
    }

    fn is_begun(&mut self, id: u64, row: Reversal) {
        if let Some(task) = self.tasks.get_mut(&id) {
            task.job = Job::AskRefund(Box::new(row));
        }
        self.give_turn(id);
    }

    fn give_turn(&mut self, id: u64) {
        for owner in self.owners.iter_mut().filter(|owner| owner.turn == Some(id)) {
            owner.turn = None;
        }
    }

    fn end_task(&mut self, id: u64, heard: Noted) {
        self.give_turn(id);
        let Some(mut task) = self.tasks.remove(&id) else { return };
        let now = self.now_of(task.owner);
        if let (Noted::No, Some(row)) = (heard, task.refund.take()) {
            // The processor's answer could not be reported: request the refund again after a wait.
            task.job = Job::AskRefund(row);
            task.waits_until = Some(task.back_off.next(now));
            self.tasks.insert(id, task);
            return;
        }
        let Some(delivery) = task.delivery else { return };
        match heard {
            Noted::Yes => {
                self.disk.tables.note(&delivery.event, task.signed_at);
                if let Some(chase) = self.chase(task.owner, task.payment) {
                    chase.is_nudged(now);
                }
            }
            Noted::No => self.cards.deliveries.push(delivery),
        }
    }
}

/// Whether a webhook had its effect.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Noted {
    Yes,
    No,
}
