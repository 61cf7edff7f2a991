//! Pursuits of payments: the product's own pursuits, and their steps, carried out with a processor and a network that
//! lose messages. A pursuit lives with its owner's payment actor.

use actors::{
    account::{AccountError, Waits, machine::Input},
    payment::pursuit::{self, AnswerMeaning, Chargeable, Pursuit, ReportResult, SAME_KEY_MS, Step, Telling},
};
use billing::{
    Timestamp,
    command::Answer,
    ids::{AccountId, GrantId, PaymentId},
    payment::Payment,
};
use cards::{CardError, ChargeOutcome, Refunded};

use crate::{
    answers::{Answered, Got},
    asks::Who,
    cards::{Order, Would},
    marks::Mark,
    mutants::Mutant,
    world::World,
};

/// The longest time that an order is on its way.
const ON_ITS_WAY_MS: i64 = 4 * 60_000;

/// A payment pursued to its end: the product's pursuit, and its next step.
#[derive(Debug, Clone)]
pub(crate) struct Chase {
    pub(crate) account: AccountId,
    pub(crate) payment: Payment,
    pub(crate) pursuit: Pursuit,
    pub(crate) step: Step,
    /// Whether the account has been told.
    pub(crate) is_telling: bool,
    /// The account's answer, and what the tables must have before it is understood.
    heard: Option<(Answer, Mark)>,
    pub(crate) tries: u32,
}

impl Chase {
    pub(crate) fn new(account: AccountId, payment: Payment, now: Timestamp) -> Self {
        let mut pursuit = Pursuit::new(&payment, Chargeable::Yes);
        let step = pursuit.next(now);
        Self { account, payment, pursuit, step, is_telling: false, heard: None, tries: 0 }
    }

    /// Whether the pursuit can advance now.
    pub(crate) fn is_able(&self, now: Timestamp) -> bool {
        !self.is_telling && self.waits_until().is_none_or(|until| now >= until)
    }

    pub(crate) const fn waits_until(&self) -> Option<Timestamp> {
        match &self.step {
            Step::Wait { until, .. } => Some(*until),
            _ => None,
        }
    }

    /// The product acts right after its decision. A step decided long ago is decided again as of now.
    fn is_about_to_ask(&mut self, now: Timestamp, mutant: Option<Mutant>) {
        if matches!(self.step, Step::Charge | Step::Find) {
            self.step = self.pursuit.next(now);
        }
        if mutant == Some(Mutant::ChargeBlindly) && self.step == Step::Find {
            self.step = Step::Charge;
        }
    }

    /// Takes an event about the payment.
    pub(crate) fn is_nudged(&mut self, now: Timestamp) {
        if let Step::Wait { is_nudged: true, .. } = self.step {
            self.step = self.pursuit.next(now);
        }
    }
}

impl World {
    /// Advances a payment's pursuit.
    pub(crate) fn pursuit_goes_on(&mut self) -> bool {
        let mutant = self.mutant;
        let world = &*self;
        let able: Vec<(u64, PaymentId)> = world
            .owners
            .iter()
            .filter(|owner| !owner.is_paused)
            .flat_map(|owner| {
                let now = world.now_of(owner.id);
                let is_able = move |it: &Chase| match &it.heard {
                    Some((_, mark)) => world.may_read(owner.id, *mark),
                    None => it.is_able(now),
                };
                owner.pursuits.iter().filter(move |(_, it)| is_able(it)).map(|(id, _)| (owner.id, *id))
            })
            .collect();
        let Some((owner, id)) = self.random.pick(&able) else { return false };
        let now = self.now_of(owner);
        let Some(chase) = self.chase(owner, id) else { return false };
        if let Some((answer, _)) = chase.heard.take() {
            self.is_heard(owner, id, answer);
            return true;
        }
        chase.tries += 1;
        chase.is_about_to_ask(now, mutant);
        let chase = chase.clone();
        self.take_step(owner, &chase);
        true
    }

    pub(crate) fn chase(&mut self, owner: u64, id: PaymentId) -> Option<&mut Chase> {
        self.owner(owner)?.pursuits.get_mut(&id)
    }

    /// Carries out a pursuit's next step. The order or its answer may be late or lost.
    fn take_step(&mut self, owner: u64, chase: &Chase) {
        let (id, account, now) = (chase.payment.id, chase.account, self.now_of(owner));
        // Much is lost when the processor is about to forget the key.
        let left = chase.payment.created_at.plus_ms(SAME_KEY_MS).ms_since(now);
        let chance = if (0..60_000).contains(&left) { 80 } else { 25 };
        let is_lost = !self.is_resting && self.random.percent(chance);
        let answer = match &chase.step {
            Step::Charge => self.ask_processor(chase, is_lost),
            Step::Find => {
                self.stats.looked_up += 1;
                let found =
                    if is_lost { Err(CardError::Unavailable("lost".to_owned())) } else { Ok(self.cards.find(id)) };
                self.say(|| format!("payment {id} is looked up: {found:?}"));
                self.goes_on(owner, id, |pursuit| pursuit.found(found, now));
                return;
            }
            Step::Look(name) => self.cards.look(name),
            Step::Cancel(name) => self.cards.cancel(name),
            Step::TellOwner(action) => {
                self.stats.owners_asked += 1;
                let waits = Waits { payment_id: id, action: action.clone() };
                self.mail(owner, account, Input::Waits(waits));
                self.goes_on(owner, id, |pursuit| pursuit.next(now));
                return;
            }
            Step::Tell(outcome) => {
                self.tell_account(owner, chase, outcome);
                return;
            }
            Step::Wait { .. } => {
                self.goes_on(owner, id, |pursuit| pursuit.next(now));
                return;
            }
            Step::End => {
                if let Some(owner) = self.owner(owner) {
                    owner.pursuits.remove(&id);
                }
                return;
            }
        };
        self.say(|| {
            format!("payment {id}: {:?}: {answer:?}{}", chase.step, if is_lost { ", not answered" } else { "" })
        });
        let answer = if is_lost { ChargeOutcome::Unknown { why: "lost".to_owned() } } else { answer };
        self.goes_on(owner, id, |pursuit| pursuit.answered(answer, now));
    }

    fn goes_on(&mut self, owner: u64, id: PaymentId, reports: impl FnOnce(&mut Pursuit) -> Step) {
        if let Some(chase) = self.chase(owner, id) {
            (chase.step, chase.is_telling) = (reports(&mut chase.pursuit), false);
        }
    }

    fn ask_processor(&mut self, chase: &Chase, is_lost: bool) -> ChargeOutcome {
        let Chase { payment, tries, .. } = chase;
        let id = payment.id;
        let key = match self.mutant {
            Some(Mutant::NewKeyPerTry) => format!("{id} {tries}"),
            _ => id.to_string(),
        };
        let order = Order { payment: id, amount: payment.amount, key, sent_at: self.elapsed };
        if is_lost && self.random.percent(50) {
            self.say(|| format!("the order of payment {id} is late"));
            self.cards.late.push(order);
            return ChargeOutcome::Unknown { why: "late".to_owned() };
        }
        self.charge(&order)
    }

    fn tell_account(&mut self, owner: u64, chase: &Chase, outcome: &ChargeOutcome) {
        let (id, now) = (chase.payment.id, self.now_of(owner));
        let grant_id = GrantId(self.new_id());
        match pursuit::telling(&chase.payment, outcome, grant_id, None) {
            Telling::Command(command) => {
                self.ask(owner, chase.account, Who::Pursuing(id), command);
                if let Some(chase) = self.chase(owner, id) {
                    chase.is_telling = true;
                }
            }
            Telling::Nothing | Telling::AnotherAmount { .. } => {
                self.goes_on(owner, id, |pursuit| pursuit.reported(ReportResult::Open, now));
            }
        }
    }

    fn charge(&mut self, order: &Order) -> ChargeOutcome {
        let would = match self.random.below(100) {
            0..65 => Would::Succeed,
            65..90 => Would::Decline,
            _ => Would::Ask,
        };
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

    /// Takes the account's answer to an outcome.
    pub(crate) fn pursued(&mut self, owner: u64, id: PaymentId, got: Got) {
        let now = self.now_of(owner);
        let mark = self.mark_of(owner);
        let Some(chase) = self.chase(owner, id).filter(|chase| matches!(chase.step, Step::Tell(_))) else { return };
        let told = match got {
            Ok(Answered::Command(answer)) => {
                chase.heard = Some((*answer, mark));
                return;
            }
            Err(AccountError::NoAccount) => ReportResult::Ended,
            Ok(_) | Err(_) => ReportResult::NotYet,
        };
        self.goes_on(owner, id, |pursuit| pursuit.reported(told, now));
    }

    /// Understands the account's answer.
    fn is_heard(&mut self, owner: u64, id: PaymentId, answer: Answer) {
        let now = self.now_of(owner);
        let Some(chase) = self.chase(owner, id) else { return };
        let Step::Tell(outcome) = chase.step.clone() else { return };
        let (account, payment) = (chase.account, chase.payment.clone());
        let told = self.is_told(account, &payment, &outcome, answer);
        self.goes_on(owner, id, |pursuit| pursuit.reported(told, now));
    }

    /// What follows from an account's answer to an outcome. Money that came for a payment already declined is refunded.
    pub(crate) fn is_told(
        &mut self,
        account: AccountId,
        payment: &Payment,
        outcome: &ChargeOutcome,
        answer: Answer,
    ) -> ReportResult {
        match pursuit::meaning_of(payment, outcome, answer) {
            AnswerMeaning::Ended | AnswerMeaning::EndedBefore => ReportResult::Ended,
            AnswerMeaning::Refused(_) => ReportResult::NotYet,
            AnswerMeaning::PaidAfterItEnded(late) => {
                let stored = self.disk.tables.rows(account).payments.get(&payment.id);
                if !stored.is_some_and(pursuit::goes_back) {
                    return ReportResult::Ended;
                }
                self.stats.refunded_late += 1;
                match self.cards.refund(&late) {
                    Refunded::Made { .. } => ReportResult::Ended,
                    Refunded::Refused { .. } | Refunded::Unknown { .. } => ReportResult::NotYet,
                }
            }
        }
    }

    /// A card's owner confirms a charge, correctly or not.
    pub(crate) fn cards_owner_acts(&mut self) -> bool {
        let waiting = self.cards.waiting();
        let Some(payment) = self.random.pick(&waiting) else { return false };
        let is_good = self.random.percent(70);
        self.cards.owner_acts(payment, is_good)
    }
}
