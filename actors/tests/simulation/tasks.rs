//! Money on its way: payments pursued, webhooks heard, reversals taken, as the product's payment actor does it; and who is
//! told what when an account answers or does not.

use actors::account::{
    AccountError, Bought, Entered,
    machine::{self, Input},
};
use billing::{
    Nanos, Timestamp,
    command::{Answer, Command, Refusal, Reverse},
    entry::Notice,
    ids::{AccountId, GrantId, PaymentId, ReversalId},
    payment::{Payment, PaymentStatus},
    reversal::{Kind, Listing, News, Reversal, State},
    time::DAY_MS,
};

use crate::{
    account::{AskId, Departure},
    cards::{About, Delivery, Order, Outcome, Pursuit, Stage},
    check::{Checked, OUTBOX, ensure},
    mutants::Mutant,
    world::{Asked, Who, World},
};

/// For how long the processor is trusted to know a charge again: a day, less what a last call may take.
pub(crate) const SAME_KEY_MS: i64 = DAY_MS - 5 * 60_000;
/// How long an order may be on its way.
const ON_ITS_WAY_MS: i64 = 4 * 60_000;
/// Times a grant that changed meanwhile is read again.
const TRIES: u32 = 5;

/// An answer, as its asker gets it.
pub(crate) enum Answered {
    Entered(Box<Entered>),
    Command(Box<Answer>),
    Bought(Box<Bought>),
}

/// What comes of a question.
pub(crate) type Got = Result<Answered, AccountError>;

/// A webhook that is being heard, or a reversal.
#[derive(Debug, Clone)]
pub(crate) struct Task {
    pub(crate) owner: u64,
    account: AccountId,
    payment: PaymentId,
    job: Job,
    /// What is done after that.
    then: Option<Job>,
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
    /// An operator's refund is written down: of so many hundredths of what is left.
    Begin(ReversalId, i64),
    /// The processor is asked for it, until it answers.
    AskRefund(Box<Reversal>),
    /// What stands of refunds and disputes, and whether it is all.
    Tell(Vec<News>, Listing),
}

impl World {
    /// Something left an account: it must stand on what is durable.
    pub(crate) fn departed(&mut self, departure: Departure) -> Checked {
        let Departure { owner, account, seq, what } = departure;
        let durable = self.disk.rows(account).header.seq;
        let name = what.name();
        ensure(durable >= seq, OUTBOX, || {
            format!("{name} of {account} at {seq} left while the journal was at {durable}")
        })?;
        match what {
            machine::Departure::Balance(..) | machine::Departure::Picture(..) => {}
            machine::Departure::Holds(id, amounts) => self.holds(owner, id, amounts),
            machine::Departure::Charge(payment) => {
                let is_there = self.disk.rows(account).payments.contains_key(&payment.id);
                ensure(is_there, OUTBOX, || format!("{payment:?} is to be charged and is not on disk"))?;
                let pursuit = Pursuit { account, payment: *payment, stage: Stage::Asks, tries: 0 };
                if let Some(owner) = self.owner(owner) {
                    owner.pursuits.entry(pursuit.payment.id).or_insert(pursuit);
                }
            }
            machine::Departure::Entered(way, entered) => {
                self.resolve(way.id, entered.map(|it| Answered::Entered(Box::new(it))))?;
            }
            machine::Departure::Answer(way, answer) => {
                self.resolve(way.id, answer.map(|it| Answered::Command(Box::new(it))))?;
            }
            machine::Departure::Bought(way, bought) => {
                self.resolve(way.id, (*bought).map(|it| Answered::Bought(Box::new(it))))?;
            }
        }
        Ok(())
    }

    /// An asker gets an answer, or learns that none will come.
    pub(crate) fn resolve(&mut self, id: AskId, got: Got) -> Checked {
        let Some(Asked { owner, who, .. }) = self.asks.remove(&id) else { return Ok(()) };
        match who {
            Who::Entering(request) => self.entered(request, got),
            Who::Settling(request) => self.settled(request, got)?,
            Who::Buying(account) => {
                if let Ok(Answered::Bought(bought)) = got {
                    self.bought(account, &bought.payment);
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
                self.ask(owner, pursuit.account, Who::Pursuing(id), |way| Input::Decide(command, way));
                Stage::Tells(outcome)
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

    fn pursued(&mut self, owner: u64, id: PaymentId, got: Got) {
        let Some(pursuit) = self.owner(owner).and_then(|it| it.pursuits.get_mut(&id)) else { return };
        let Stage::Tells(outcome) = pursuit.stage else { return };
        let account = pursuit.account;
        let Ok(Answered::Command(answer)) = got else {
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
            self.cards.refund(id, amount, &format!("late-{id}"), None);
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
        let is_again = self.mutant == Some(Mutant::ReversalCountedTwice);
        let then = (delivery.about == About::Return).then(|| {
            let mut news = self.cards.news(payment);
            for told in news.iter_mut().filter(|_| is_again) {
                // Another name each time it is told.
                told.reference = told.reference.as_ref().map(|name| format!("{name} of {}", delivery.event));
            }
            Job::Tell(news, Listing::All)
        });
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
            delivery: None,
            signed_at: self.elapsed,
            tries: 0,
            is_asking: false,
            has_caught_up: false,
        };
        self.tasks.insert(id, task);
        id
    }

    /// An operator gives some of a payment back.
    pub(crate) fn refund(&mut self, owner: u64, account: AccountId) -> bool {
        let is_left = |it: &&Payment| it.status == PaymentStatus::Succeeded && it.reversed < it.amount;
        let payments: Vec<PaymentId> =
            self.disk.rows(account).payments.values().filter(is_left).map(|it| it.id).collect();
        let Some(payment) = self.random.pick(&payments) else { return false };
        let percent = if self.random.percent(50) { 100 } else { self.random.between(1, 99) };
        self.say(|| format!("owner {owner} is to refund {percent} % of {payment}"));
        let id = ReversalId(self.new_id());
        self.new_task(owner, account, payment, Job::Begin(id, percent));
        true
    }

    /// A payment's bank takes some of it back.
    pub(crate) fn dispute(&mut self, account: AccountId) -> bool {
        let payments: Vec<PaymentId> = self.disk.rows(account).payments.keys().copied().collect();
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
        let payments: Vec<PaymentId> = self.disk.rows(account).payments.keys().copied().collect();
        let Some(payment) = self.random.pick(&payments) else { return false };
        let which = usize::try_from(self.random.below(8)).unwrap_or(0);
        let is_good = self.random.percent(60);
        let Some(state) = self.cards.move_on(payment, which, is_good) else { return false };
        self.say(|| format!("something of payment {payment} is {}", state.name()));
        self.stats.restored += u64::from(!state.stands());
        true
    }

    /// A new life of the payment actor, or of its process, takes up refunds that were not answered.
    pub(crate) fn refunds_are_taken_up(&mut self) -> bool {
        let Some(owner) = self.any_owner() else { return false };
        let unanswered: Vec<(AccountId, Reversal)> = self
            .disk
            .accounts
            .iter()
            .flat_map(|(account, rows)| rows.unanswered().map(move |row| (*account, row.clone())))
            .filter(|(_, row)| !self.is_carried(row.id))
            .collect();
        let is_some = !unanswered.is_empty();
        for (account, row) in unanswered {
            self.new_task(owner, account, row.payment_id, Job::AskRefund(Box::new(row)));
        }
        is_some
    }

    fn is_carried(&self, id: ReversalId) -> bool {
        self.tasks.values().any(|task| match &task.job {
            Job::Begin(begun, _) => *begun == id,
            Job::AskRefund(row) => row.id == id,
            Job::Tell(news, _) => news.iter().any(|told| told.id == Some(id)) && task.delivery.is_none(),
            Job::Apply(_) => false,
        })
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
            Job::AskRefund(row) => {
                self.ask_for_refund(id, row);
                return true;
            }
            Job::Begin(..) | Job::Tell(..) => {
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
        self.ask(task.owner, task.account, Who::Task(id), |way| Input::Decide(command, way));
        true
    }

    /// The processor is asked for a refund under its id. The order or its answer may be lost.
    fn ask_for_refund(&mut self, id: u64, row: &Reversal) {
        let is_lost = !self.is_resting && self.random.percent(25);
        if is_lost && self.random.percent(50) {
            return;
        }
        let answer = self.cards.refund(row.payment_id, row.amount, &row.id.to_string(), Some(row.id));
        self.say(|| format!("{row} is asked for: {answer:?}{}", if is_lost { ", not answered" } else { "" }));
        if is_lost {
            return;
        }
        let (reference, state) = answer.map_or((None, State::Failed), |(name, state)| (Some(name), state));
        let news = News { id: Some(row.id), kind: Kind::Refund, reference, amount: row.amount, state };
        if let Some(task) = self.tasks.get_mut(&id) {
            task.job = Job::Tell(vec![news], Listing::Some);
            self.stats.refunded += 1;
        }
    }

    /// What an account is told of its payment's refunds and disputes, as its rows stand when the turn has come.
    fn reversal(&mut self, id: u64, task: &Task) -> Option<Command> {
        let rows = self.disk.rows(task.account);
        let payment = rows.payments.get(&task.payment).cloned()?;
        if payment.status != PaymentStatus::Succeeded {
            let is_declined = payment.status == PaymentStatus::Declined;
            // Declined, it brought no credits to take; pending, it is told again once it is paid.
            self.end_task(id, if is_declined { Heard::Yes } else { Heard::No });
            return None;
        }
        let (news, listing) = match &task.job {
            Job::Tell(news, listing) => (news.clone(), *listing),
            Job::Begin(refund, percent) => {
                let left = payment.amount - payment.reversed;
                let amount = Nanos::new((left.get() / 100 * percent).max(1));
                if amount > left {
                    self.end_task(id, Heard::No);
                    return None;
                }
                let state = State::Pending;
                let news = News { id: Some(*refund), kind: Kind::Refund, reference: None, amount, state };
                (vec![news], Listing::Some)
            }
            Job::Apply(_) | Job::AskRefund(_) => return None,
        };
        let grant = rows.grant_of(&payment.grant_key()).cloned().map(Box::new);
        let (known, paid_until) = (rows.known(payment.id), rows.paid_until(Some(payment.id)));
        Some(Command::Reverse(Box::new(Reverse {
            payment,
            grant,
            known,
            news,
            listing,
            card: Some("card".to_owned()),
            paid_until,
        })))
    }

    fn has_turn(&self, id: u64, task: &Task) -> bool {
        let turn = self.owners.iter().find(|owner| owner.id == task.owner).and_then(|owner| owner.turn);
        matches!(task.job, Job::Apply(_) | Job::AskRefund(_)) || turn.is_none_or(|turn| turn == id)
    }

    fn task_answered(&mut self, id: u64, got: Got) {
        let Some(task) = self.tasks.get_mut(&id) else { return };
        task.is_asking = false;
        task.tries += 1;
        let (account, payment, tries) = (task.account, task.payment, task.tries);
        let Ok(Answered::Command(answer)) = got else {
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
            (Job::Begin(..) | Job::Tell(..), _) if !is_read => task.has_caught_up = true,
            // It is written down: the processor is asked for it.
            (Job::Begin(refund, _), Ok(_)) => {
                let refund = *refund;
                match self.disk.rows(account).reversals.get(&(payment, refund)).cloned() {
                    Some(row) => {
                        task.job = Job::AskRefund(Box::new(row));
                        self.give_turn(id);
                    }
                    None => self.end_task(id, Heard::No),
                }
            }
            (_, Ok(_)) => self.end_task(id, Heard::Yes),
            // Read again, once what changed it is written.
            (Job::Begin(..) | Job::Tell(..), Err(Refusal::GrantMoved(_) | Refusal::CycleMoved(_)))
                if tries <= TRIES =>
            {
                task.has_caught_up = false;
            }
            (_, Err(_)) => self.end_task(id, Heard::No),
        }
    }

    fn give_turn(&mut self, id: u64) {
        for owner in self.owners.iter_mut().filter(|owner| owner.turn == Some(id)) {
            owner.turn = None;
        }
    }

    fn end_task(&mut self, id: u64, heard: Heard) {
        let Some(task) = self.tasks.remove(&id) else { return };
        if let Some(owner) = self.owner(task.owner).filter(|owner| owner.turn == Some(id)) {
            owner.turn = None;
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
