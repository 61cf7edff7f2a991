//! Clients: requests with their guards, and purchases. The answers that they get must stay true.

use std::time::Duration;

use actors::{
    account::{AccountError, Buy, Enter},
    admission::{
        Metered,
        bill::{Bill, LetIn, Settling, Tried},
    },
    running::Amounts,
};
use billing::{
    Nanos, Timestamp,
    automatic::Switch,
    class::{SizeClass, Weighting},
    command::{Admit, Command},
    entry::{Ending, UsageRecord},
    hold::{HoldRequest, Work},
    ids::{AccountId, PaymentId, RequestId},
    key::Names,
    payment::{Payment, PaymentStatus, Purpose},
    price::{Cost, Price, seconds},
    quantity::{Key, Quantities},
    session::Session,
    subscription::FEE,
};
use rust_decimal::Decimal;
use uuid::Uuid;

use crate::{
    answers::{Answered, Got},
    asks::Who,
    check::{Checked, DURABLE, HOLD_FIRST, PERMITS, ensure},
    marks::Mark,
    mutants::Mutant,
    owner,
    world::World,
};

/// The stage of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stage {
    Entering,
    Admitted,
    /// Sent to the provider or the engine.
    Running,
    /// It stands still, because its reader is slow, and gives its permit back.
    Parking,
    /// It has given its permit back.
    Parked,
    /// It has asked for its permit.
    Resuming,
    /// Its account has been asked to settle.
    Settling,
    /// It asks to settle again at this time.
    Waiting(Timestamp),
    /// It looks for its record in the tables, with this mark.
    Reading(Mark),
}

/// A request and its guard.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    pub(crate) id: RequestId,
    pub(crate) account: AccountId,
    pub(crate) owner: u64,
    pub(crate) stage: Stage,
    work: Work,
    tokens: Quantities,
    seconds: u64,
    /// The amounts that the account holds for the request.
    amounts: Amounts,
    bill: Bill,
    /// The record to settle, once the request ends, and the progress of settling.
    record: Option<UsageRecord>,
    settling: Settling,
}

fn price() -> Price {
    Price::per_million(Decimal::new(31, 1), Decimal::new(1_507, 2)).expect("a price")
}

impl Request {
    fn cost(&self) -> Cost {
        match self.work {
            Work::Open { class, .. } => class.cost(self.seconds),
            Work::Closed => price().cost(&self.tokens).expect("text has a price"),
        }
    }

    /// Whether it runs now.
    pub(crate) fn runs(&self) -> bool {
        self.stage == Stage::Running
    }

    /// Reduces the usage until the cost is within the claim. Returns whether that was needed.
    fn stop_within(&mut self, claimed: Nanos) -> bool {
        let is_beyond = |it: &Self| it.cost().charged().is_ok_and(|cost| cost > claimed);
        if !is_beyond(self) {
            return false;
        }
        match self.work {
            Work::Open { class, .. } => {
                self.seconds = class.seconds_paid_by(claimed);
            }
            Work::Closed => {
                let [input, mut output] = [Key::INPUT, Key::OUTPUT].map(|key| self.tokens.amount(key));
                while is_beyond(self) && output > 0 {
                    output -= output.div_ceil(16);
                    self.tokens = Quantities::plain(input, output);
                }
                if is_beyond(self) {
                    self.tokens = Quantities::NONE;
                }
            }
        }
        true
    }

    /// Records the usage.
    fn meter(&mut self, cost: Cost) {
        let (tokens, billed_seconds) = (self.tokens, self.seconds);
        let quantities = match self.work {
            Work::Open { .. } => seconds(billed_seconds).and(&tokens),
            Work::Closed => tokens,
        };
        let compute_ms = billed_seconds * 1_000;
        self.bill.meter(Metered { quantities, estimated: false, compute_ms, billed_seconds, cost });
    }
}

/// The session that a request names: every third one names none.
pub(crate) fn session_of(id: RequestId) -> Option<Session> {
    let number = id.0.as_u128();
    (!number.is_multiple_of(3)).then(|| Session::new(format!("ses {}", number % 5)).ok()).flatten()
}

impl World {
    /// A client sends a request.
    pub(crate) fn request(&mut self) -> bool {
        let Some(owner) = self.any_owner() else { return false };
        let account = self.any_account();
        // It tells which node runs the request.
        let mark = if self.is_alone { 0 } else { owner::name(owner).0.as_u128() };
        let id = RequestId(Uuid::from_u128(self.new_id().as_u128() | mark));
        let work = if self.random.percent(50) {
            let class = if self.random.percent(70) {
                SizeClass::B7
            } else {
                SizeClass::ALL[usize::try_from(self.random.below(5)).unwrap_or(0)]
            };
            Work::Open { class, units: class.weight(Weighting::Weighted) }
        } else {
            Work::Closed
        };
        let key = self.random.percent(60).then(|| self.key_of(account));
        let (minimum, expected) = (self.random.below(200_000_000), self.random.below(700_000_000));
        let worst = expected.max(minimum) + self.random.below(2_000_000_000);
        let hold =
            HoldRequest { minimum: Nanos::new(minimum), expected: Nanos::new(expected), worst_case: Nanos::new(worst) };
        let auto_scale = self.random.percent(30).then_some(Switch::On);
        let started_at = self.now_of(owner);
        let tokens = Quantities::plain(self.random.below(30_000).unsigned_abs(), 0);
        let admit = Admit {
            request_id: id,
            key_id: key,
            model: "m".into(),
            provider: if work == Work::Closed { "openai" } else { "farebox" }.into(),
            price_version: 1,
            work,
            hold,
            output: None,
            auto_scale,
            names: Names::default(),
            session: session_of(id),
        };
        let max_wait = if self.random.percent(50) { Duration::ZERO } else { self.some_wait() };
        let bill = Bill::asking(&admit, started_at);
        let enter = Enter { admit, max_wait };
        let request = Request {
            id,
            account,
            owner,
            stage: Stage::Entering,
            work,
            tokens,
            seconds: 0,
            amounts: Amounts::NOTHING,
            bill,
            record: None,
            settling: Settling::default(),
        };
        self.say(|| format!("request {id} of {account} enters at owner {owner}: {work:?}"));
        self.requests.insert(id, request);
        if let Some(owner) = self.owner(owner) {
            owner.running.insert(id);
        }
        self.ask(owner, account, Who::Entering(id), enter);
        true
    }

    /// How long a client lets its request wait in the queue.
    fn some_wait(&mut self) -> Duration {
        Duration::from_millis(self.random.between(1, 60_000).unsigned_abs())
    }

    /// Takes the outcome of an admission.
    pub(crate) fn entered(&mut self, id: RequestId, got: Got) {
        let Some(request) = self.requests.get_mut(&id) else { return };
        let entered = match got {
            Ok(Answered::Entered(entered)) => Ok(*entered),
            Ok(_) => Err(AccountError::Unavailable("the answer to another question".to_owned())),
            Err(error) => Err(error),
        };
        match request.bill.answered(entered) {
            Ok(LetIn { placed, place, .. }) => {
                (request.stage, request.amounts) = (Stage::Admitted, placed.amounts);
                self.stats.admitted += 1;
                self.stats.waited += u64::from(place.is_some());
            }
            Err(_) => self.drop_guard(id),
        }
    }

    /// A running request learns the amounts held for it.
    pub(crate) fn holds(&mut self, owner: u64, id: RequestId, amounts: Amounts) {
        if let Some(request) = self.requests.get_mut(&id).filter(|it| it.owner == owner) {
            request.amounts = amounts;
        }
    }

    fn forget(&mut self, id: RequestId) {
        self.requests.remove(&id);
        self.forget_running(id);
    }

    fn forget_running(&mut self, id: RequestId) {
        for owner in &mut self.owners {
            owner.running.remove(&id);
        }
    }

    /// Advances a request: it is sent, uses something, or ends.
    pub(crate) fn request_goes_on(&mut self) -> Checked<bool> {
        let works = |it: &&Request| {
            let is_able = match it.stage {
                Stage::Entering | Stage::Parking | Stage::Settling => false,
                Stage::Resuming => !self.is_resting,
                Stage::Waiting(until) => self.elapsed >= until,
                Stage::Reading(mark) => self.may_read(it.owner, mark),
                Stage::Admitted | Stage::Running | Stage::Parked => true,
            };
            is_able && self.is_awake(it.owner)
        };
        let able: Vec<RequestId> = self.requests.values().filter(works).map(|it| it.id).collect();
        let Some(id) = self.random.pick(&able) else { return Ok(false) };
        let chance = if self.is_resting { 60 } else { self.random.below(100) };
        match self.requests[&id].stage {
            Stage::Admitted if chance < 85 => self.dispatch(id)?,
            Stage::Running if (20..50).contains(&chance) && self.is_open(id) => self.park(id),
            Stage::Running if chance < 50 => self.use_more(id)?,
            Stage::Parked | Stage::Resuming if chance < 3 => self.end(id, Ending::ClientLeft),
            Stage::Parked | Stage::Resuming if chance >= 97 => self.drop_guard(id),
            Stage::Parked if chance < 85 => self.resume(id),
            Stage::Running if chance < 85 => self.end(id, Ending::Completed),
            Stage::Running if chance < 92 => self.drop_guard(id),
            Stage::Admitted | Stage::Running => self.end(id, Ending::Failed),
            Stage::Waiting(_) => self.settle(id),
            Stage::Reading(_) => self.read_record(id)?,
            Stage::Entering | Stage::Parking | Stage::Settling | Stage::Parked | Stage::Resuming => {}
        }
        Ok(true)
    }

    fn dispatch(&mut self, id: RequestId) -> Checked {
        let request = self.requests.get_mut(&id).expect("it goes on");
        request.stage = Stage::Running;
        let account = request.account;
        let is_held = self.disk.rows(account).has_been_held(id);
        self.say(|| format!("request {id} is sent upstream"));
        self.dispatched.insert(id, account);
        ensure(is_held, HOLD_FIRST, || format!("{id} was sent upstream"))
    }

    fn is_open(&self, id: RequestId) -> bool {
        matches!(self.requests[&id].work, Work::Open { .. })
    }

    /// The request stands still, and gives its permit back.
    fn park(&mut self, id: RequestId) {
        // Where there is one process, the account handles it before what is asked later.
        let is_hasty = self.is_alone || self.mutant == Some(Mutant::ResumedBeforeParked);
        let request = self.requests.get_mut(&id).expect("it goes on");
        request.stage = if is_hasty { Stage::Parked } else { Stage::Parking };
        let (owner, account) = (request.owner, request.account);
        self.say(|| format!("request {id} is parked"));
        self.stats.parked += 1;
        let command = Command::Park { request_id: id };
        if self.is_alone {
            self.post(owner, account, command);
        } else {
            self.ask(owner, account, Who::Parking(id), command);
        }
        if is_hasty {
            self.reads_on(id);
        }
    }

    /// The reader of a parked request often goes on at once.
    fn reads_on(&mut self, id: RequestId) {
        if !self.is_resting && self.random.percent(50) {
            self.resume(id);
        }
    }

    /// What the request has asked to give its permit back is handled, or nobody knows: only now it may take it again.
    pub(crate) fn is_parked(&mut self, id: RequestId) {
        if let Some(request) = self.requests.get_mut(&id).filter(|it| it.stage == Stage::Parking) {
            request.stage = Stage::Parked;
            self.reads_on(id);
        }
    }

    /// The request asks for its permit, and runs once it has it.
    fn resume(&mut self, id: RequestId) {
        let request = self.requests.get_mut(&id).expect("it goes on");
        request.stage = Stage::Resuming;
        let (owner, account) = (request.owner, request.account);
        self.ask(owner, account, Who::Resuming(id), Command::Resume { request_id: id });
    }

    /// Takes the answer to a request that asked for its permit. One without an answer asks again.
    pub(crate) fn resumed(&mut self, id: RequestId, got: Got) {
        let Some(request) = self.requests.get_mut(&id).filter(|it| it.stage == Stage::Resuming) else { return };
        match got {
            Ok(Answered::Command(answer)) if answer.result.is_ok() => {
                request.stage = Stage::Running;
                self.stats.resumed += 1;
            }
            // Its hold was ended elsewhere.
            Ok(_) => self.drop_guard(id),
            Err(_) => request.stage = Stage::Parked,
        }
    }

    fn use_more(&mut self, id: RequestId) -> Checked {
        let account = self.requests[&id].account;
        let hold = self.disk.rows(account).holds.get(&id);
        ensure(hold.is_none_or(|hold| !hold.is_parked), PERMITS, || format!("{id} runs, and gave its permit back"))?;
        let (tokens, seconds) =
            (self.random.below(20_000).unsigned_abs(), self.random.between(1, 3_000).unsigned_abs());
        let slice = Nanos::new(self.random.below(300_000_000));
        let request = self.requests.get_mut(&id).expect("it goes on");
        match request.work {
            Work::Open { .. } => request.seconds += seconds,
            Work::Closed => request.tokens.add(Key::OUTPUT, tokens),
        }
        self.stop_at_limit(id);
        let request = self.requests.get_mut(&id).expect("it goes on");
        let cost = request.cost();
        request.meter(cost);
        let accrued = cost.charged().unwrap_or_default();
        let (owner, account) = (request.owner, request.account);
        self.post(owner, account, Command::Accrue { request_id: id, accrued, slice });
        Ok(())
    }

    /// Stops a request at its key's limits, as far as they are durable: the engine is stopped, or the output limit that
    /// was sent ends it.
    fn stop_at_limit(&mut self, id: RequestId) {
        if self.mutant == Some(Mutant::LimitAtAdmissionOnly) {
            return;
        }
        let Some(request) = self.requests.get_mut(&id) else { return };
        if let Some(claimed) = request.amounts.claimed
            && request.stop_within(claimed)
        {
            self.stats.key_stops += 1;
        }
    }

    fn end(&mut self, id: RequestId, ending: Ending) {
        let now = self.now_of(self.requests[&id].owner);
        let request = self.requests.get_mut(&id).expect("it goes on");
        if request.stage == Stage::Running && request.seconds == 0 {
            request.seconds = 1;
        }
        self.stop_at_limit(id);
        let request = self.requests.get_mut(&id).expect("it goes on");
        let cost = if ending == Ending::Completed { request.cost() } else { Cost::default() };
        request.meter(cost);
        request.record = Some(request.bill.ended(ending, request.amounts.held, now));
        self.try_to_settle(id);
    }

    /// Asks the account to settle, at once or after a wait; gives up after too many attempts.
    fn try_to_settle(&mut self, id: RequestId) {
        let elapsed = self.elapsed;
        let request = self.requests.get_mut(&id).expect("it goes on");
        match request.settling.next_wait() {
            None => self.forget(id),
            Some(Duration::ZERO) => self.settle(id),
            Some(wait) => {
                request.stage = Stage::Waiting(elapsed.plus_ms(i64::try_from(wait.as_millis()).unwrap_or(i64::MAX)));
            }
        }
    }

    fn settle(&mut self, id: RequestId) {
        let request = self.requests.get_mut(&id).expect("it goes on");
        request.stage = Stage::Settling;
        let record = request.record.clone().expect("it ended");
        let (owner, account) = (request.owner, request.account);
        self.say(|| format!("request {id} is settled for {}", record.charged));
        self.ask(owner, account, Who::Settling(id), Command::Settle(record));
    }

    /// Drops the guard because the task panicked or gave up: the metered cost is charged.
    fn drop_guard(&mut self, id: RequestId) {
        let Some(owner) = self.requests.get(&id).map(|request| request.owner) else { return };
        let now = self.now_of(owner);
        let Some(request) = self.requests.get_mut(&id) else { return };
        let record = request.bill.abandoned(request.amounts.held, now);
        let is_over = record.is_none();
        (request.record, request.settling) = (record, Settling::default());
        self.say(|| format!("the guard of {id} is dropped"));
        if is_over {
            self.forget(id);
        } else {
            // Nobody waits, and it counts as running no more; it is settled all the same.
            self.forget_running(id);
            self.try_to_settle(id);
        }
    }

    /// Takes the outcome of a settlement.
    pub(crate) fn settled(&mut self, id: RequestId, got: Got) -> Checked {
        let Some(request) = self.requests.get(&id).filter(|it| it.stage == Stage::Settling) else { return Ok(()) };
        let (owner, settling) = (request.owner, request.settling);
        let answer = got.and_then(|answered| match answered {
            Answered::Command(answer) => Ok(*answer),
            _ => Err(AccountError::Unavailable("the answer to another question".to_owned())),
        });
        match settling.tried(&answer) {
            Tried::Again(_) => self.try_to_settle(id),
            Tried::Settled => self.is_settled(id)?,
            Tried::IfRecorded(_) => {
                let mark = self.mark_of(owner);
                if let Some(request) = self.requests.get_mut(&id) {
                    request.stage = Stage::Reading(mark);
                }
            }
            Tried::Refused(_) => self.forget(id),
        }
        Ok(())
    }

    /// Looks for the record of a request that its account does not know any more.
    fn read_record(&mut self, id: RequestId) -> Checked {
        let request = &self.requests[&id];
        let recorded = self.disk.tables.rows(request.account).charged(id);
        if recorded.is_some() && recorded == request.record.as_ref().map(|record| record.charged) {
            return self.is_settled(id);
        }
        self.forget(id);
        Ok(())
    }

    /// Tells a client the cost of its request.
    fn is_settled(&mut self, id: RequestId) -> Checked {
        let request = &self.requests[&id];
        let account = request.account;
        let charged = request.record.as_ref().map_or(Nanos::ZERO, |record| record.charged);
        let recorded = self.disk.rows(account).charged(id);
        self.say(|| format!("the client of {id} is told that it cost {charged}"));
        ensure(recorded == Some(charged), DURABLE, || format!("{id} cost {charged}, in the log {recorded:?}"))?;
        self.told.entry(account).or_default().push((id, charged));
        self.stats.settled += 1;
        self.forget(id);
        Ok(())
    }

    /// A client buys something.
    pub(crate) fn buy(&mut self, owner: u64, account: AccountId, purpose: Purpose) {
        let id = PaymentId(self.new_id());
        let amount = match purpose {
            Purpose::Subscription => FEE,
            _ => Nanos::dollars(self.random.between(1, 40)),
        };
        let payment = Payment::new(id, purpose, amount, "card".to_owned(), self.now_of(owner));
        self.say(|| format!("{account} buys {purpose:?} of {amount} at owner {owner}: {id}"));
        self.ask(owner, account, Who::Buying(account), Buy(payment));
    }

    /// Takes a buyer's answer.
    pub(crate) fn bought(&mut self, account: AccountId, payment: &Payment) {
        if payment.status == PaymentStatus::Succeeded {
            self.told_paid.push((account, payment.id));
        }
    }
}
