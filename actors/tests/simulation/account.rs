//! An account's actor: the real `decide` and the real outbox, within a shell that does what the product's does. Mail is
//! handled in order; everything that leaves goes through the outbox.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use actors::{account::outbox::Outbox, journal::protocol::Pending};
use billing::{
    Nanos, Timestamp,
    account::Account,
    command::{Admit, Answer, Command, Fund, Refusal, Reply, Scale},
    decide::{Decision, decide},
    entry::UsageRecord,
    grant::Source,
    hold::{Hold, HoldRequest, Work},
    ids::{AccountId, GrantId, PaymentId, RequestId},
    payment::{Payment, PaymentStatus},
    reversal::Reversal,
};
use uuid::Uuid;

use crate::{
    check::{Checked, PERMITS, RELOAD, VOID, ensure},
    clients::Request,
    mutants::Mutant,
    owner::{Door, ForJournal, Life},
};

/// A question someone waits for.
pub(crate) type AskId = u64;

/// What waits in an actor's mailbox.
#[derive(Debug)]
pub(crate) enum Mail {
    Ask { id: AskId, command: Command },
    Enter { id: AskId, admit: Admit },
    Buy { id: AskId, payment: Payment },
    Committed(Result<u64, String>),
}

/// What has left an account.
#[derive(Debug)]
pub(crate) struct Departure {
    pub(crate) owner: u64,
    pub(crate) life: Life,
    pub(crate) account: AccountId,
    /// What it stands on.
    pub(crate) seq: u64,
    pub(crate) what: Leaves,
}

#[derive(Debug)]
pub(crate) enum Leaves {
    Answer(AskId, Box<Answer>),
    Bought(AskId, Box<Payment>),
    Charge(Box<Payment>),
    /// A live balance.
    Live,
}

/// What an actor works with.
pub(crate) struct Shell<'a> {
    pub(crate) owner: u64,
    pub(crate) now: Timestamp,
    pub(crate) journal: &'a mut VecDeque<ForJournal>,
    pub(crate) running: &'a BTreeSet<RequestId>,
    /// Requests whose clients wait no longer.
    pub(crate) left: &'a BTreeMap<AskId, Request>,
    pub(crate) door: &'a Door,
    pub(crate) mutant: Option<Mutant>,
}

/// What a request waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum For {
    Credits,
    Permits,
}

pub(crate) struct Actor {
    pub(crate) life: Life,
    /// The journal has decided all of earlier lives.
    pub(crate) is_opened: bool,
    pub(crate) account: Option<Box<Account>>,
    pub(crate) mailbox: VecDeque<Mail>,
    outbox: Outbox,
    /// Asked, not answered.
    pub(crate) asked: BTreeSet<AskId>,
    buyers: BTreeMap<PaymentId, AskId>,
    line: VecDeque<(AskId, Admit, For)>,
    /// Units of running open requests, as their answers said.
    permits: BTreeMap<RequestId, u32>,
    /// What a mutant has given back to grants that had expired.
    leaked: BTreeMap<GrantId, Nanos>,
    /// Must be rebuilt.
    pub(crate) has_failed: bool,
    /// It handles a command that takes credits back.
    is_taking_back: bool,
}

const fn is_open(work: Work) -> bool {
    matches!(work, Work::Open { .. })
}

const fn waits(refusal: &Refusal) -> Option<For> {
    match refusal {
        Refusal::InsufficientCredits { reload_due: true, .. } => Some(For::Credits),
        Refusal::ConcurrencyLimit { scale: Scale::Buying, .. } => Some(For::Permits),
        _ => None,
    }
}

impl Actor {
    pub(crate) fn new(life: Life) -> Self {
        Self {
            life,
            is_opened: false,
            account: None,
            mailbox: VecDeque::new(),
            outbox: Outbox::default(),
            asked: BTreeSet::new(),
            buyers: BTreeMap::new(),
            line: VecDeque::new(),
            permits: BTreeMap::new(),
            leaked: BTreeMap::new(),
            has_failed: false,
            is_taking_back: false,
        }
    }

    pub(crate) fn post(&mut self, mail: Mail) {
        if let Mail::Ask { id, .. } | Mail::Enter { id, .. } | Mail::Buy { id, .. } = &mail {
            self.asked.insert(*id);
        }
        self.mailbox.push_back(mail);
    }

    /// Nothing is pending: what is in memory must be on the disk.
    pub(crate) fn is_settled(&self) -> bool {
        self.outbox.is_settled() && !self.has_failed
    }

    pub(crate) fn is_waited_for(&self) -> bool {
        !self.line.is_empty()
    }

    /// Whether it may end for want of work.
    pub(crate) fn is_idle(&self) -> bool {
        let runs = self.account.as_ref().is_none_or(|account| account.holds().next().is_some());
        !runs && self.is_settled() && self.mailbox.is_empty() && self.asked.is_empty()
    }

    fn leave(&mut self, what: Leaves, shell: &Shell<'_>) {
        let seq = self.account.as_ref().map_or(0, |account| account.header.seq);
        let Life { account, .. } = self.life;
        let departure = Departure { owner: shell.owner, life: self.life, account, seq, what };
        let door = shell.door.clone();
        let is_early = shell.mutant == Some(Mutant::ChargeBeforeDurable) && matches!(departure.what, Leaves::Charge(_));
        let go = move || door.send(departure).expect("the world listens");
        if is_early { go() } else { self.outbox.leave(go) }
    }

    /// Its rows are here: abandoned holds are settled, unanswered payments taken up.
    pub(crate) fn loaded(&mut self, account: Account, shell: &mut Shell<'_>) -> Checked {
        let mut holds: Vec<Hold> = account.holds().cloned().collect();
        holds.sort_by_key(|hold| hold.request_id);
        let mut payments: Vec<Payment> = account.pending_payments().cloned().collect();
        payments.sort_by_key(|payment| payment.id);
        for hold in &holds {
            if let Work::Open { units, .. } = hold.work {
                self.permits.insert(hold.request_id, units.0);
            }
        }
        self.account = Some(Box::new(account));
        if shell.mutant != Some(Mutant::HoldsForgotten) {
            for hold in holds.iter().filter(|hold| !shell.running.contains(&hold.request_id)) {
                self.settle_abandoned(hold, shell)?;
            }
        }
        for payment in payments {
            self.leave(Leaves::Charge(Box::new(payment)), shell);
        }
        Ok(())
    }

    pub(crate) fn handle(&mut self, mail: Mail, shell: &mut Shell<'_>) -> Checked {
        match mail {
            Mail::Committed(Ok(ticket)) => self.outbox.opened(ticket),
            Mail::Committed(Err(_)) => self.has_failed = true,
            Mail::Ask { id, command } => self.command(id, command, shell)?,
            Mail::Enter { id, admit } => self.enter(id, admit, shell)?,
            Mail::Buy { id, payment } => self.buy(id, payment, shell)?,
        }
        Ok(())
    }

    fn decide(&mut self, command: Command, shell: &mut Shell<'_>) -> Checked<Answer> {
        let account = self.account.as_mut().expect("only a loaded account decides");
        let subject = match &command {
            Command::Admit(admit) => Some((admit.request_id, admit.work)),
            Command::Settle(usage) => account.hold(usage.request_id).map(|hold| (hold.request_id, hold.work)),
            _ => None,
        };
        let (voided, voids) = (voided(&command), matches!(command, Command::VoidGrant { .. }));
        let command =
            if shell.mutant == Some(Mutant::VoidMissesHeld) { void_available(account, command) } else { command };
        let Decision { transition, answer } = decide(account, command, shell.now);
        if let (Some(id), Ok(_)) = (voided, &answer.result)
            && let Some(grant) = account.grants().iter().find(|grant| grant.id == id)
        {
            let is_void = grant.available == Nanos::ZERO && grant.recall == grant.held;
            ensure(is_void, VOID, || format!("{grant:?} was voided"))?;
        }
        let begins = |it: &Payment| it.status == PaymentStatus::Pending && it.purpose.is_automatic();
        let has_begun = transition.as_ref().is_some_and(|it| it.payments.iter().any(begins));
        let has_taken = transition.as_ref().is_some_and(|it| {
            let is_new = |row: &Reversal| row.state.stands() && row.changed_at.is_none();
            it.reversals.iter().any(is_new) || voids && answer.result.is_ok()
        });
        let is_paused = account.automatic().is_none_or(|it| it.state.paused_at.is_some());
        ensure(is_paused || !has_taken, RELOAD, || format!("not paused: {transition:?}"))?;
        let may_begin = !has_begun || !is_paused && !self.is_taking_back;
        ensure(may_begin, RELOAD, || format!("credits were taken back: {transition:?}"))?;
        if let Some((id, work)) = subject {
            match (&answer.result, work) {
                (Ok(Reply::Admitted { units_allowed, .. }), Work::Open { units, .. }) => {
                    self.permits.insert(id, units.0);
                    let used = self.permits.values().sum::<u32>();
                    let may = used <= units_allowed.0 || self.permits.len() == 1;
                    ensure(may, PERMITS, || format!("{used} units run, {units_allowed} are allowed"))?;
                }
                (Ok(Reply::Settled { .. }), Work::Open { .. }) => {
                    self.permits.remove(&id);
                    if shell.mutant == Some(Mutant::PermitNotReleased) {
                        keep_permit(account, work, shell.now);
                    }
                }
                _ => {}
            }
        }
        let (used, running) = (account.balance(shell.now).units_used.0, self.permits.values().sum::<u32>());
        ensure(used == running, PERMITS, || format!("{used} units are in use, {running} run"))?;
        if let Some(mut transition) = transition {
            if let Some(mutant) = shell.mutant {
                mutant.distort(&mut transition, &mut self.leaked);
            }
            let payments = transition.payments.clone();
            let ticket = self.outbox.next_ticket();
            let Life { incarnation, .. } = self.life;
            let entry = Pending { transition, ticket, incarnation, sender: self.life };
            shell.journal.push_back(ForJournal::Append(Box::new(entry)));
            if shell.mutant == Some(Mutant::AcknowledgeBeforeDurable) {
                self.outbox.opened(ticket);
            }
            self.leave(Leaves::Live, shell);
            for payment in payments {
                self.follow(payment, shell);
            }
        }
        Ok(answer)
    }

    /// A payment that was begun is charged; one that ended is told to who waits for it.
    fn follow(&mut self, payment: Payment, shell: &Shell<'_>) {
        if payment.status == PaymentStatus::Pending {
            self.leave(Leaves::Charge(Box::new(payment)), shell);
        } else if let Some(buyer) = self.buyers.remove(&payment.id) {
            self.leave(Leaves::Bought(buyer, Box::new(payment)), shell);
        }
    }

    fn settle_abandoned(&mut self, hold: &Hold, shell: &mut Shell<'_>) -> Checked {
        let record = UsageRecord::abandoned(hold, shell.now);
        self.decide(Command::Settle(record), shell).map(drop)
    }

    fn enter(&mut self, id: AskId, admit: Admit, shell: &mut Shell<'_>) -> Checked {
        if is_open(admit.work) && self.line.iter().any(|(.., what)| *what == For::Permits) {
            let account = self.account.as_ref().expect("only a loaded account is entered");
            let balance = account.balance(shell.now);
            let refusal = Refusal::ConcurrencyLimit {
                allowed: balance.tier.units,
                used: balance.units_used,
                needed: if let Work::Open { units, .. } = admit.work { units } else { balance.units_used },
                next: None,
                scale: Scale::Off,
            };
            self.leave(Leaves::Answer(id, Box::new(Answer { result: Err(refusal), balance })), shell);
            return Ok(());
        }
        let answer = self.decide(Command::Admit(admit.clone()), shell)?;
        match answer.result.as_ref().err().and_then(waits) {
            Some(what) => self.line.push_back((id, admit, what)),
            None => self.leave(Leaves::Answer(id, Box::new(answer)), shell),
        }
        Ok(())
    }

    /// Tries those that wait, in order; who is behind one refused for the same thing waits on.
    fn call_line(&mut self, shell: &mut Shell<'_>) -> Checked {
        let mut blocked = Vec::new();
        for (id, admit, what) in std::mem::take(&mut self.line) {
            if shell.left.contains_key(&id) {
                self.asked.remove(&id);
                continue;
            }
            if blocked.contains(&what) {
                self.line.push_back((id, admit, what));
                continue;
            }
            let answer = self.decide(Command::Admit(admit.clone()), shell)?;
            match answer.result.as_ref().err().and_then(waits) {
                Some(what) => {
                    blocked.push(what);
                    self.line.push_back((id, admit, what));
                }
                None => self.leave(Leaves::Answer(id, Box::new(answer)), shell),
            }
        }
        Ok(())
    }

    /// The first in line has waited long enough.
    pub(crate) fn give_up_waiting(&mut self, shell: &mut Shell<'_>) -> Checked {
        if let Some((id, admit, _)) = self.line.pop_front() {
            let answer = self.decide(Command::Admit(admit), shell)?;
            self.leave(Leaves::Answer(id, Box::new(answer)), shell);
        }
        Ok(())
    }

    fn command(&mut self, id: AskId, command: Command, shell: &mut Shell<'_>) -> Checked {
        let may_let_in = !matches!(command, Command::Accrue { .. });
        let mut answer = self.decide(command.clone(), shell)?;
        if shell.mutant == Some(Mutant::ReloadOnRefund) && takes_back(&command) && answer.result.is_ok() {
            self.resume(shell)?;
        }
        if let (Some(mutant), Err(refusal)) = (shell.mutant, &answer.result) {
            answer = self.disobey(mutant, command, refusal.clone(), answer, shell)?;
        }
        if may_let_in {
            self.call_line(shell)?;
        }
        self.leave(Leaves::Answer(id, Box::new(answer)), shell);
        Ok(())
    }

    /// A mutant that goes on buying after credits were taken back.
    fn resume(&mut self, shell: &mut Shell<'_>) -> Checked {
        let settings = self.account.as_ref().and_then(|account| account.automatic()).map(|it| it.settings.clone());
        if let Some(settings) = settings {
            self.is_taking_back = true;
            self.decide(Command::SetAutomatic(settings.into()), shell)?;
            self.is_taking_back = false;
        }
        Ok(())
    }

    /// Mutants that do what was refused.
    fn disobey(
        &mut self,
        mutant: Mutant,
        command: Command,
        refusal: Refusal,
        answer: Answer,
        shell: &mut Shell<'_>,
    ) -> Checked<Answer> {
        let command = match command {
            Command::Notified { command, .. } => *command,
            command => command,
        };
        match (mutant, command, refusal) {
            (Mutant::NoCaptureUniqueness, Command::Settle(usage), Refusal::NoHold(_)) => {
                self.decide(Command::Admit(readmission(&usage)), shell)?;
                self.decide(Command::Settle(usage), shell)
            }
            (
                Mutant::NoPaymentDeduplication,
                Command::PaymentSucceeded { payment_id, grant_id, .. },
                Refusal::NoPayment(_),
            ) => self.decide(Command::Fund(second_grant(payment_id, grant_id)), shell),
            _ => Ok(answer),
        }
    }

    fn buy(&mut self, id: AskId, payment: Payment, shell: &mut Shell<'_>) -> Checked {
        self.buyers.insert(payment.id, id);
        let answer = self.decide(Command::BeginPayment(payment.clone()), shell)?;
        if answer.result.is_err() && self.buyers.remove(&payment.id).is_some() {
            self.leave(Leaves::Bought(id, Box::new(payment)), shell);
        }
        Ok(())
    }

    pub(crate) fn tick(&mut self, shell: &mut Shell<'_>) -> Checked {
        let Some(account) = &self.account else { return Ok(()) };
        if account.next_wake().is_none_or(|at| at > shell.now) {
            return Ok(());
        }
        let is_late = |hold: &&Hold| hold.deadline <= shell.now && !shell.running.contains(&hold.request_id);
        let mut late: Vec<Hold> = account.holds().filter(is_late).cloned().collect();
        late.sort_by_key(|hold| hold.request_id);
        if shell.mutant != Some(Mutant::HoldsForgotten) {
            for hold in &late {
                self.settle_abandoned(hold, shell)?;
            }
        }
        self.decide(Command::Sweep, shell).map(drop)
    }
}

/// The grant that a command voids whole.
fn voided(command: &Command) -> Option<GrantId> {
    match command {
        Command::VoidGrant { grant_id, amount: None } => Some(*grant_id),
        _ => None,
    }
}

fn takes_back(command: &Command) -> bool {
    match command {
        Command::Notified { command, .. } => takes_back(command),
        Command::Reverse(_) | Command::VoidGrant { .. } => true,
        _ => false,
    }
}

/// What an operator's void was: of what is available alone.
fn void_available(account: &Account, command: Command) -> Command {
    let Some(grant_id) = voided(&command) else { return command };
    let available = account.grants().iter().find(|grant| grant.id == grant_id).map(|grant| grant.available);
    match available.filter(|available| available.is_positive()) {
        Some(available) => Command::VoidGrant { grant_id, amount: Some(available) },
        None => command,
    }
}

/// A permit that nobody gives back: a hold that is only in memory.
fn keep_permit(account: &mut Account, work: Work, now: Timestamp) {
    let seq = account.header.seq;
    let id = RequestId(Uuid::from_u128(u128::MAX - u128::from(seq)));
    let ghost = Admit {
        request_id: id,
        key_id: None,
        model: "ghost".into(),
        provider: "farebox".into(),
        price_version: 1,
        work,
        hold: HoldRequest::FREE,
        output: None,
        auto_scale: None,
    };
    decide(account, Command::Admit(ghost), now);
    account.header.seq = seq;
}

fn readmission(usage: &UsageRecord) -> Admit {
    Admit {
        request_id: usage.request_id,
        key_id: usage.key_id,
        model: usage.model.clone(),
        provider: usage.provider.clone(),
        price_version: usage.price_version,
        work: Work::Closed,
        hold: HoldRequest::FREE,
        output: None,
        auto_scale: None,
    }
}

fn second_grant(payment: PaymentId, grant_id: GrantId) -> Fund {
    Fund {
        grant_id,
        source: Source::Purchase,
        source_key: format!("{payment} again"),
        amount: Nanos::dollars(10),
        paid: Nanos::dollars(10),
        expires_at: None,
        subscribed_until: None,
    }
}
