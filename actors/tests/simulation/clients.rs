//! Clients and operators: requests with their guards, purchases, settings, reversals asked for. What they are told they
//! believe: it must be so for good.

use billing::{
    Nanos, Timestamp,
    automatic::{AutoSettings, Switch},
    class::{SizeClass, Weighting},
    command::{Admit, Command, Fund, Refusal, Reply},
    entry::{Ending, UsageRecord},
    grant::Source,
    hold::{HoldRequest, Work},
    ids::{AccountId, GrantId, KeyId, PaymentId, RequestId},
    key::KeyLimits,
    payment::{Payment, PaymentStatus, Purpose},
    price::{Cost, Price, seconds},
    quantity::{Key, Quantities},
    subscription::FEE,
    time::DAY_MS,
};
use rust_decimal::Decimal;

use crate::{
    account::{AskId, Mail},
    check::{Checked, DURABLE, HOLD_FIRST, ensure},
    mutants::Mutant,
    tasks::Got,
    world::{Who, World},
};

/// How often settling is tried before it is left to recovery.
const ATTEMPTS: u32 = 5;

/// Where a request stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stage {
    Entering,
    Admitted,
    /// Sent upstream.
    Running,
    Settling(u32),
    /// Its settling failed so often.
    Retrying(u32),
}

/// A request and its guard.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    pub(crate) id: RequestId,
    pub(crate) account: AccountId,
    pub(crate) owner: u64,
    pub(crate) stage: Stage,
    key: Option<KeyId>,
    work: Work,
    tokens: Quantities,
    seconds: u64,
    started_at: Timestamp,
    /// What is settled, once it ends.
    record: Option<UsageRecord>,
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

    /// Goes back to where it costs no more than this; whether it had to.
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

    fn record(&self, ending: Ending, cost: Cost, now: Timestamp) -> UsageRecord {
        UsageRecord {
            request_id: self.id,
            key_id: self.key,
            model: "m".into(),
            provider: if self.work == Work::Closed { "openai" } else { "farebox" }.into(),
            ending,
            parts: match self.work {
                Work::Open { class, .. } => class.price().parts(&seconds(self.seconds).and(&self.tokens), cost.base),
                Work::Closed => price().parts(&self.tokens, cost.base),
            },
            estimated: false,
            compute_ms: self.seconds * 1_000,
            billed_seconds: self.seconds,
            cost,
            charged: cost.charged().unwrap_or_default(),
            price_version: 1,
            started_at: self.started_at,
            ended_at: now,
        }
    }
}

impl World {
    /// A client sends a request.
    pub(crate) fn request(&mut self) -> bool {
        let Some(owner) = self.any_owner() else { return false };
        let account = self.any_account();
        let id = RequestId(self.new_id());
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
        let key = self.random.percent(40).then(|| self.key_of(account));
        let (minimum, expected) = (self.random.below(200_000_000), self.random.below(700_000_000));
        let worst = expected.max(minimum) + self.random.below(2_000_000_000);
        let hold =
            HoldRequest { minimum: Nanos::new(minimum), expected: Nanos::new(expected), worst_case: Nanos::new(worst) };
        let auto_scale = self.random.percent(30).then_some(Switch::On);
        let started_at = self.now_of(owner);
        let tokens = Quantities::plain(self.random.below(30_000).unsigned_abs(), 0);
        let request = Request {
            id,
            account,
            owner,
            stage: Stage::Entering,
            key,
            work,
            tokens,
            seconds: 0,
            started_at,
            record: None,
        };
        self.say(|| format!("request {id} of {account} enters at owner {owner}: {work:?}"));
        self.requests.insert(id, request);
        if let Some(owner) = self.owner(owner) {
            owner.running.insert(id);
        }
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
        };
        self.ask(owner, account, Who::Entering(id), |id| Mail::Enter { id, admit });
        true
    }

    /// What comes of entering.
    pub(crate) fn entered(&mut self, ask: AskId, id: RequestId, got: Result<Got, ()>) {
        let Some(request) = self.requests.get_mut(&id) else { return };
        let Ok(Got::Answer(answer)) = got else {
            // Late or lost: if a hold was placed after all, its guard, dropped unread, gives it back.
            let request = self.requests.remove(&id);
            self.forget_running(id);
            self.left.extend(request.map(|request| (ask, request)));
            return;
        };
        if let Ok(Reply::Admitted { .. }) = answer.result {
            request.stage = Stage::Admitted;
            self.stats.admitted += 1;
        } else {
            self.requests.remove(&id);
            self.forget_running(id);
        }
    }

    /// A guard that nobody waited for is dropped.
    pub(crate) fn admitted_late(&mut self, request: &Request) {
        let now = self.now_of(request.owner);
        let record = request.record(Ending::Failed, Cost::default(), now);
        self.post(request.owner, request.account, Command::Settle(record));
        self.forget_running(request.id);
    }

    fn forget_running(&mut self, id: RequestId) {
        for owner in &mut self.owners {
            owner.running.remove(&id);
        }
    }

    /// A request goes on: it is sent upstream, uses something, ends.
    pub(crate) fn request_goes_on(&mut self) -> Checked<bool> {
        let works =
            |it: &&Request| !matches!(it.stage, Stage::Entering | Stage::Settling(_)) && self.is_awake(it.owner);
        let able: Vec<RequestId> = self.requests.values().filter(works).map(|it| it.id).collect();
        let Some(id) = self.random.pick(&able) else { return Ok(false) };
        let chance = if self.is_resting { 60 } else { self.random.below(100) };
        match self.requests[&id].stage {
            Stage::Admitted if chance < 85 => self.dispatch(id)?,
            Stage::Running if chance < 50 => self.use_more(id),
            Stage::Running if chance < 85 => self.end(id, Ending::Completed),
            Stage::Running if chance < 92 => self.drop_guard(id),
            Stage::Admitted | Stage::Running => self.end(id, Ending::Failed),
            Stage::Retrying(tries) => self.settle(id, tries),
            Stage::Entering | Stage::Settling(_) => {}
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

    fn use_more(&mut self, id: RequestId) {
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
        let accrued = request.cost().charged().unwrap_or_default();
        let (owner, account) = (request.owner, request.account);
        self.post(owner, account, Command::Accrue { request_id: id, accrued, slice });
    }

    /// Its engine is stopped, or the limit that was sent upstream ends it, where it comes to what its key's limits let it come
    /// to: as far as that is durable.
    fn stop_at_limit(&mut self, id: RequestId) {
        let Some(request) = self.requests.get_mut(&id) else { return };
        let claimed = self.disk.rows(request.account).holds.get(&id).and_then(|hold| hold.claimed);
        if self.mutant == Some(Mutant::LimitAtAdmissionOnly) {
            return;
        }
        if let Some(claimed) = claimed
            && request.stop_within(claimed)
        {
            self.stats.key_stops += 1;
        }
    }

    fn end(&mut self, id: RequestId, ending: Ending) {
        let owner = self.requests[&id].owner;
        let now = self.now_of(owner);
        let request = self.requests.get_mut(&id).expect("it goes on");
        if request.stage == Stage::Running && request.seconds == 0 {
            request.seconds = 1;
        }
        self.stop_at_limit(id);
        let request = self.requests.get_mut(&id).expect("it goes on");
        let cost = if ending == Ending::Completed { request.cost() } else { Cost::default() };
        request.record = Some(request.record(ending, cost, now));
        self.settle(id, 0);
    }

    fn settle(&mut self, id: RequestId, tries: u32) {
        let request = self.requests.get_mut(&id).expect("it goes on");
        request.stage = Stage::Settling(tries);
        let record = request.record.clone().expect("it ended");
        let (owner, account) = (request.owner, request.account);
        self.say(|| format!("request {id} is settled for {}, try {tries}", record.charged));
        self.ask(owner, account, Who::Settling(id), |id| Mail::Ask { id, command: Command::Settle(record) });
    }

    /// Its task panicked: what was metered is charged.
    fn drop_guard(&mut self, id: RequestId) {
        self.stop_at_limit(id);
        let Some(request) = self.requests.remove(&id) else { return };
        let now = self.now_of(request.owner);
        let record = request.record(Ending::Failed, request.cost(), now);
        self.say(|| format!("the guard of {id} is dropped"));
        self.post(request.owner, request.account, Command::Settle(record));
        self.forget_running(id);
    }

    /// What comes of settling.
    pub(crate) fn settled(&mut self, id: RequestId, got: Result<Got, ()>) -> Checked {
        let Some(request) = self.requests.get_mut(&id) else { return Ok(()) };
        let (Stage::Settling(tries), account) = (request.stage, request.account) else { return Ok(()) };
        let charged = request.record.as_ref().map_or(Nanos::ZERO, |record| record.charged);
        match got {
            Err(()) if tries + 1 < ATTEMPTS => {
                request.stage = Stage::Retrying(tries + 1);
                return Ok(());
            }
            Ok(Got::Answer(answer)) => {
                let recorded = self.disk.rows(account).charged(id);
                let is_settled = match answer.result {
                    Ok(_) => true,
                    // An earlier try was committed before its actor died.
                    Err(Refusal::NoHold(_)) => tries > 0 && recorded == Some(charged),
                    Err(_) => false,
                };
                if is_settled {
                    self.say(|| format!("the client of {id} is told that it cost {charged}"));
                    ensure(recorded == Some(charged), DURABLE, || {
                        format!("{id} cost {charged}, on disk {recorded:?}")
                    })?;
                    self.told.entry(account).or_default().push((id, charged));
                    self.stats.settled += 1;
                }
            }
            Err(()) | Ok(Got::Bought(..)) => {}
        }
        self.requests.remove(&id);
        self.forget_running(id);
        Ok(())
    }

    fn key_of(&mut self, account: AccountId) -> KeyId {
        KeyId(uuid::Uuid::from_u128(account.0.as_u128() * 10 + 1 + u128::from(self.random.percent(30))))
    }

    /// Someone does something with money.
    pub(crate) fn someone_acts(&mut self) -> bool {
        let Some(owner) = self.any_owner() else { return false };
        let account = self.any_account();
        match self.random.below(100) {
            0..20 => self.buy(owner, account, Purpose::Purchase),
            20..28 => self.buy(owner, account, Purpose::Subscription),
            28..31 => self.operate(owner, account, Command::CancelSubscription),
            31..33 => self.operate(owner, account, Command::ResumeSubscription),
            33..53 => {
                let settings = self.settings();
                self.operate(owner, account, Command::SetAutomatic(settings.into()));
            }
            53..65 => self.give(owner, account),
            65..70 => self.give_again(owner),
            70..74 => self.act_once(owner, account),
            74..78 => {
                let grants: Vec<GrantId> = self.disk.rows(account).grants.keys().copied().collect();
                let Some(grant_id) = self.random.pick(&grants) else { return false };
                let amount = self.random.percent(50).then(|| Nanos::new(self.random.below(2_000_000_000)));
                self.operate(owner, account, Command::VoidGrant { grant_id, amount });
            }
            78..84 => self.limit_key(owner, account),
            84..91 => return self.refund(owner, account),
            91..95 => return self.dispute(account),
            _ => return self.reversal_moves_on(account),
        }
        true
    }

    fn operate(&mut self, owner: u64, account: AccountId, command: Command) {
        self.say(|| format!("owner {owner} is asked by {account}: {command:?}"));
        self.post(owner, account, command);
    }

    fn settings(&mut self) -> AutoSettings {
        let amount = Nanos::dollars(self.random.between(1, 12));
        let most = amount + Nanos::dollars(self.random.below(30));
        AutoSettings {
            reload: Switch::from_bool(self.random.percent(75)),
            threshold: Nanos::dollars(self.random.below(5)),
            amount,
            monthly_max: most,
            scale: Switch::from_bool(self.random.percent(50)),
            monthly_spend: Nanos::dollars(self.random.below(60)),
            method: None,
        }
    }

    fn buy(&mut self, owner: u64, account: AccountId, purpose: Purpose) {
        let id = PaymentId(self.new_id());
        let amount = match purpose {
            Purpose::Subscription => FEE,
            _ => Nanos::dollars(self.random.between(1, 40)),
        };
        let payment = Payment::new(id, purpose, amount, "card".to_owned(), self.now_of(owner));
        self.say(|| format!("{account} buys {purpose:?} of {amount} at owner {owner}: {id}"));
        self.ask(owner, account, Who::Buying(account), |id| Mail::Buy { id, payment });
    }

    /// What a buyer is told.
    pub(crate) fn bought(&mut self, account: AccountId, payment: &Payment) {
        if payment.status == PaymentStatus::Succeeded {
            self.told_paid.push((account, payment.id));
        }
    }

    fn give(&mut self, owner: u64, account: AccountId) {
        let source =
            [Source::Promo, Source::Goodwill, Source::Free][usize::try_from(self.random.below(3)).unwrap_or(0)];
        let days = if self.random.percent(50) { self.random.between(1, 5) } else { 28 };
        let fund = Fund {
            grant_id: GrantId(self.new_id()),
            source,
            source_key: format!("gift {}", self.random.below(1_000)),
            amount: Nanos::new(self.random.between(1, 6_000_000_000)),
            paid: Nanos::ZERO,
            expires_at: Some(self.now_of(owner).plus_ms(days * DAY_MS)),
            subscribed_until: None,
        };
        self.gifts.push((account, fund.clone()));
        self.operate(owner, account, Command::Fund(fund));
    }

    /// An operator who was not answered asks again, with the same key.
    fn give_again(&mut self, owner: u64) {
        if let Some((account, fund)) = self.random.pick(&self.gifts) {
            let expires_at = Some(self.now_of(owner).plus_ms(DAY_MS));
            let fund = Fund { grant_id: GrantId(self.new_id()), expires_at, ..fund };
            self.operate(owner, account, Command::Fund(fund));
        }
    }

    fn limit_key(&mut self, owner: u64, account: AccountId) {
        let key_id = self.key_of(account);
        let most = |random: &mut crate::random::Random| Some(Nanos::dollars(random.below(9)));
        let limits =
            KeyLimits { amounts: [most(&mut self.random), None, None, most(&mut self.random)], models: Vec::new() };
        // A key's limits are made with it, before it is ever used, by who owns the ledger.
        let epoch = self.disk.epoch;
        if self.owner(owner).is_none_or(|it| it.epoch != epoch) {
            return;
        }
        if self.disk.rows(account).keys.contains_key(&key_id) || self.is_key_used(account, key_id) {
            return;
        }
        self.disk.limit(account, key_id, limits.clone());
        self.operate(owner, account, Command::LimitKey { key_id, limits: Some(limits), spent: [Nanos::ZERO; 4] });
    }

    fn is_key_used(&self, account: AccountId, key: KeyId) -> bool {
        let rows = self.disk.rows(account);
        self.requests.values().any(|it| it.key == Some(key))
            || self.left.values().any(|it| it.key == Some(key))
            || rows.holds.values().any(|it| it.key_id == Some(key))
            || rows.usage.iter().any(|it| it.key_id == Some(key))
    }
}
