//! An account's actor in the simulation: a mailbox around the product's own machine. It gives the machine its messages
//! and the time, keeps its output to the journal and its departures, and lets a witness observe. Mutants act here, on
//! the machine's input and output.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    rc::{Rc, Weak},
    time::Duration,
};

use actors::{
    account::machine::{self, Askers, Input, Machine, Moment, Output, Outputs, Stop},
    journal::protocol::Pending,
    running::{Running, Whereabouts},
};
use billing::{
    Nanos, Timestamp,
    account::Account,
    command::{Admit, Command, Fund},
    entry::{Transition, UsageRecord},
    grant::Source,
    hold::{HoldRequest, Work},
    ids::{AccountId, GrantId, PaymentId, RequestId},
    key::Names,
    payment::PaymentStatus,
};
use uuid::Uuid;

use crate::{
    check::{Checked, Violation},
    journal::{ForJournal, Life},
    mutants::Mutant,
    witness::{Witness, voided},
};

/// Seconds after which an idle account ends.
const LONG: u32 = 600;

/// The id of a question with a waiting caller.
pub(crate) type AskId = u64;

/// The reply channel of a question, at the machine's end.
pub(crate) struct Way {
    pub(crate) id: AskId,
    asker: Weak<()>,
    _here: Rc<()>,
}

/// The caller's end of a reply channel.
pub(crate) struct Waits {
    _here: Rc<()>,
    machine: Weak<()>,
}

impl Waits {
    /// Whether an answer may still come.
    pub(crate) fn has_hope(&self) -> bool {
        self.machine.strong_count() > 0
    }
}

/// Both ends of a reply channel.
pub(crate) fn way(id: AskId) -> (Way, Waits) {
    let (here, there) = (Rc::new(()), Rc::new(()));
    let (asker, machine) = (Rc::downgrade(&there), Rc::downgrade(&here));
    (Way { id, asker, _here: here }, Waits { _here: there, machine })
}

/// The channels of a machine's callers.
pub(crate) enum Ways {}

impl Askers for Ways {
    type Reply<T> = Way;
    type Watcher = Weak<()>;
    /// The id of the question.
    type Counted = AskId;

    fn is_waited_for<T>(reply: &Way) -> bool {
        reply.asker.strong_count() > 0
    }

    fn is_watching(watcher: &Weak<()>) -> bool {
        watcher.strong_count() > 0
    }
}

/// A message in an actor's mailbox.
#[expect(clippy::large_enum_variant, reason = "there are few, and each is read once")]
pub(crate) enum Mail {
    Input(Input<Ways>),
    Committed(Result<u64, String>),
}

impl Mail {
    pub(crate) fn brief(&self) -> String {
        match self {
            Self::Input(Input::Enter(enter, way)) => format!("{}: admit {}", way.id, enter.admit.request_id),
            Self::Input(Input::Decide(Command::Settle(usage), way)) => {
                format!("{}: settle {} for {}", way.id, usage.request_id, usage.charged)
            }
            Self::Input(Input::Decide(command, way)) => format!("{}: {command:?}", way.id),
            Self::Input(Input::Buy(payment, way)) => format!("{}: buy {payment:?}", way.id),
            Self::Input(Input::Open(_, way)) => format!("{}: open", way.id),
            Self::Input(Input::Look(way)) => format!("{}: look", way.id),
            Self::Input(Input::Preview(admit, way)) => format!("{}: preview {}", way.id, admit.request_id),
            Self::Input(Input::Watch(_)) => "watch".to_owned(),
            Self::Input(Input::Waits(waits)) => format!("{waits:?}"),
            Self::Committed(result) => format!("{result:?}"),
        }
    }
}

/// A departure from an account.
pub(crate) struct Departure {
    pub(crate) owner: u64,
    pub(crate) account: AccountId,
    /// The sequence number that the departure depends on.
    pub(crate) seq: u64,
    pub(crate) what: machine::Departure<Ways>,
}

/// The surroundings of an actor.
pub(crate) struct Shell<'a> {
    pub(crate) owner: u64,
    pub(crate) now: Moment,
    pub(crate) journal: &'a mut VecDeque<ForJournal>,
    pub(crate) running: &'a BTreeSet<RequestId>,
    pub(crate) others: &'a Running,
    pub(crate) departures: &'a mut Vec<Departure>,
    /// Requests whose holds were settled as abandoned, with the owner that did it.
    pub(crate) abandoned: &'a mut Vec<(u64, AccountId, RequestId)>,
    pub(crate) mutant: Option<Mutant>,
}

impl<'a> Shell<'a> {
    fn is(&self, mutant: Mutant) -> bool {
        self.mutant == Some(mutant)
    }

    /// Where a request is, as far as its node knows. A mutant claims that every request runs there.
    fn whereabouts(&self) -> impl Fn(RequestId) -> Whereabouts + use<'a> {
        let (running, others, is_blind) = (self.running, self.others, self.is(Mutant::HoldsForgotten));
        let is_alone = self.is(Mutant::OthersForgotten);
        move |id| match others.whereabouts(id) {
            _ if is_blind || running.contains(&id) => Whereabouts::Runs,
            Whereabouts::Elsewhere if is_alone => Whereabouts::Gone,
            whereabouts => whereabouts,
        }
    }
}

pub(crate) struct Actor {
    pub(crate) life: Life,
    /// Set once the journal has decided everything of earlier lives: the row of the log that the tables must have
    /// before the account is read.
    pub(crate) reads_from: Option<u64>,
    pub(crate) machine: Machine<Ways>,
    pub(crate) mailbox: VecDeque<Mail>,
    /// When to try the queue again, in time that has really passed.
    alarms: Vec<Duration>,
    /// The watcher of the account.
    viewer: Option<Rc<()>>,
    seen: Seen,
}

/// The record of a machine's actions.
#[derive(Default)]
struct Seen {
    witness: Witness,
    /// The credits that a mutant has released to expired grants.
    leaked: BTreeMap<GrantId, Nanos>,
    stopped: Option<Stop>,
    /// The last ticket.
    sent: u64,
    /// The number of a mutant's questions.
    unheard: AskId,
    /// Whether the actor handles a mutant's purchase after credits were taken back.
    is_taking_back: bool,
}

impl Actor {
    pub(crate) fn new(life: Life) -> Self {
        Self {
            life,
            reads_from: None,
            machine: Machine::new(life.account),
            mailbox: VecDeque::new(),
            alarms: Vec::new(),
            viewer: None,
            seen: Seen::default(),
        }
    }

    /// Whether nothing is pending, so that memory must equal the disk.
    pub(crate) fn is_settled(&self) -> bool {
        self.machine.is_settled() && self.seen.stopped.is_none()
    }

    /// Whether this life has ended.
    pub(crate) const fn has_stopped(&self) -> bool {
        self.seen.stopped.is_some()
    }

    /// When the queue is next tried again.
    pub(crate) fn next_alarm(&self) -> Option<Duration> {
        self.alarms.iter().min().copied()
    }

    /// Runs an action of the machine under the witness.
    fn drive(
        &mut self,
        shell: &mut Shell<'_>,
        is_void: bool,
        does: impl FnOnce(&mut Machine<Ways>, &mut Hands<'_, '_>),
    ) -> Checked {
        self.seen.witness.begins(is_void);
        let (now, is_early) = (shell.now, shell.is(Mutant::AcknowledgeBeforeDurable));
        let mut hands = Hands { life: self.life, alarms: &mut self.alarms, seen: &mut self.seen, shell, broken: None };
        does(&mut self.machine, &mut hands);
        if is_early {
            let sent = hands.seen.sent;
            self.machine.committed(Ok(sent), &mut hands);
        }
        if let Some(violation) = hands.broken {
            return Err(violation);
        }
        if let Some(account) = self.machine.account() {
            self.seen.witness.handled(account, now.ledger)?;
        }
        Ok(())
    }

    fn give(&mut self, shell: &mut Shell<'_>, does: impl FnOnce(&mut Machine<Ways>, &mut Hands<'_, '_>)) -> Checked {
        self.drive(shell, false, does)
    }

    /// Takes the account's rows, or the failure to read them.
    pub(crate) fn loaded(&mut self, loaded: Result<Account, String>, shell: &mut Shell<'_>) -> Checked {
        if let Ok(account) = &loaded {
            self.seen.witness.loaded(account);
        }
        let (now, whereabouts) = (shell.now, shell.whereabouts());
        self.give(shell, |machine, hands| machine.loaded(loaded.map(Some), whereabouts, now, hands))
    }

    pub(crate) fn tick(&mut self, shell: &mut Shell<'_>) -> Checked {
        let (now, whereabouts) = (shell.now, shell.whereabouts());
        self.give(shell, |machine, hands| machine.tick(whereabouts, now, hands))
    }

    /// Leaves the account to another node.
    pub(crate) fn leaves(&mut self, shell: &mut Shell<'_>) -> Checked {
        let is_early = shell.is(Mutant::LeavesBeforeDurable);
        self.give(shell, |machine, hands| {
            machine.leave_to_others(hands);
            if is_early {
                let sent = hands.seen.sent;
                machine.committed(Ok(sent), hands);
            }
        })
    }

    /// Tries the queue again at an alarm.
    pub(crate) fn call_line(&mut self, shell: &mut Shell<'_>) -> Checked {
        let now = shell.now;
        self.alarms.retain(|at| *at > now.elapsed);
        self.give(shell, |machine, hands| machine.call_line(now, hands))
    }

    pub(crate) fn handle(&mut self, mail: Mail, shell: &mut Shell<'_>) -> Checked {
        match mail {
            Mail::Committed(result) => self.give(shell, |machine, hands| machine.committed(result, hands)),
            Mail::Input(input) => {
                let void = whole_void(&input);
                let input = self.mistake(input, shell)?;
                self.input(input, shell)?;
                if let (Some((ask, grant)), Some(account)) = (void, self.machine.account()) {
                    self.seen.witness.voided(ask, grant, account);
                }
                self.overdo(shell)
            }
        }
    }

    fn input(&mut self, input: Input<Ways>, shell: &mut Shell<'_>) -> Checked {
        let (now, ask, is_void) = (shell.now, asked(&input), is_void(&input));
        self.drive(shell, is_void, |machine, hands| machine.handle(input, ask, now, hands))
    }

    /// Adds a watcher.
    pub(crate) fn is_watched(&mut self, shell: &mut Shell<'_>) -> Checked {
        let viewer = Rc::new(());
        let watcher = Rc::downgrade(&viewer);
        self.viewer = Some(viewer);
        self.seen.witness.watched();
        self.input(Input::Watch(watcher), shell)
    }

    /// Leaves the account alone: its watcher is gone, and seconds pass until it ends or has work.
    pub(crate) fn is_left_alone(&mut self, shell: &mut Shell<'_>) -> Checked {
        self.viewer = None;
        for _ in 0..LONG {
            if self.has_stopped() {
                break;
            }
            self.tick(shell)?;
        }
        Ok(())
    }

    /// Sends a command without waiting for its answer.
    fn ask_unheard(&mut self, command: Command, shell: &mut Shell<'_>) -> Checked {
        self.seen.unheard += 1;
        let id = AskId::MAX - self.seen.unheard;
        self.input(Input::Decide(command, way(id).0), shell)
    }

    /// Applies mutants that change the input, or first run a command that would be refused.
    fn mistake(&mut self, input: Input<Ways>, shell: &mut Shell<'_>) -> Checked<Input<Ways>> {
        let (Some(mutant), Some(account)) = (shell.mutant, self.machine.account()) else { return Ok(input) };
        let Input::Decide(command, way) = input else { return Ok(input) };
        let (command, first) = match (mutant, command) {
            (Mutant::PermitNotTakenAgain, Command::Resume { .. }) => (Command::Sweep, None),
            (Mutant::VoidMissesHeld, command) => (void_available(account, command), None),
            (Mutant::NoCaptureUniqueness, Command::Settle(usage)) => {
                let is_over = account.hold(usage.request_id).is_none();
                let again = is_over.then(|| Command::Admit(readmission(&usage)));
                (Command::Settle(usage), again)
            }
            (Mutant::NoPaymentDeduplication, command) => {
                let again = succeeded(&command).filter(|(payment, _)| account.pending_payment(*payment).is_none());
                let again = again.map(|(payment, grant)| Command::Fund(second_grant(payment, grant)));
                (command, again)
            }
            (_, command) => (command, None),
        };
        if let Some(first) = first {
            self.ask_unheard(first, shell)?;
        }
        Ok(Input::Decide(command, way))
    }

    /// Applies mutants that do more than they were asked to.
    fn overdo(&mut self, shell: &mut Shell<'_>) -> Checked {
        if shell.is(Mutant::ReloadOnRefund) && self.seen.witness.at_hand.has_taken {
            let settings = self.machine.account().and_then(Account::automatic).map(|it| it.settings.clone());
            if let Some(settings) = settings {
                self.seen.is_taking_back = true;
                self.ask_unheard(Command::SetAutomatic(settings.into()), shell)?;
                self.seen.is_taking_back = false;
            }
        }
        let is_frozen = self.machine.account().is_some_and(|account| account.header.frozen_at.is_some());
        if shell.is(Mutant::FrozenAdmits) && is_frozen {
            // In memory alone.
            let now = shell.now;
            self.machine.handle(Input::Decide(Command::Unfreeze, way(0).0), None, now, &mut Nowhere);
            return Ok(());
        }
        if shell.is(Mutant::PermitNotReleased)
            && let Some((id, work)) = self.seen.witness.at_hand.ended.pop()
        {
            // A permit that is never released: a hold in memory only.
            let now = shell.now;
            let mut nowhere = Nowhere;
            let ghost = Input::Decide(Command::Admit(ghost(id, work)), way(0).0);
            self.machine.handle(ghost, None, now, &mut nowhere);
            return self.give(shell, |_, _| {});
        }
        Ok(())
    }
}

/// Receives a machine's output.
struct Hands<'a, 'b> {
    life: Life,
    alarms: &'a mut Vec<Duration>,
    seen: &'a mut Seen,
    shell: &'a mut Shell<'b>,
    broken: Option<Violation>,
}

impl Outputs<Ways> for Hands<'_, '_> {
    fn put(&mut self, output: Output<Ways>) {
        let taken = match output {
            Output::Append { transition, ticket } => self.append(transition, ticket),
            Output::Depart(departure) => self.depart(departure),
            Output::CallLine { after } => {
                self.alarms.push(self.shell.now.elapsed + after);
                Ok(())
            }
            Output::Abandoned { request_id, .. } => {
                self.shell.abandoned.push((self.shell.owner, self.life.account, request_id));
                Ok(())
            }
            Output::Stop(stop) => {
                self.seen.stopped = Some(stop);
                Ok(())
            }
        };
        if let Err(violation) = taken {
            self.broken.get_or_insert(violation);
        }
    }

    fn handled(&mut self, ask: AskId) {
        self.seen.witness.answered(ask);
    }
}

impl Hands<'_, '_> {
    fn append(&mut self, mut transition: Box<Transition>, ticket: u64) -> Checked {
        self.seen.witness.sent(&transition, self.seen.is_taking_back)?;
        self.seen.sent = ticket;
        if let Some(mutant) = self.shell.mutant {
            mutant.distort(&mut transition, &mut self.seen.leaked);
        }
        let begun = transition.payments.iter().filter(|payment| payment.status == PaymentStatus::Pending);
        let early: Vec<_> = begun.filter(|_| self.shell.is(Mutant::ChargeBeforeDurable)).cloned().collect();
        let Life { incarnation, .. } = self.life;
        let entry = Pending { transition, ticket, incarnation, sender: self.life };
        self.shell.journal.push_back(ForJournal::Append(Box::new(entry)));
        early.into_iter().try_for_each(|payment| self.depart(machine::Departure::Charge(Box::new(payment))))
    }

    fn depart(&mut self, what: machine::Departure<Ways>) -> Checked {
        let seq = self.seen.witness.departs(&what)?;
        let Life { account, .. } = self.life;
        self.shell.departures.push(Departure { owner: self.shell.owner, account, seq, what });
        Ok(())
    }
}

/// Discards the output of a mutant.
struct Nowhere;

impl Outputs<Ways> for Nowhere {
    fn put(&mut self, _: Output<Ways>) {}

    fn handled(&mut self, _: AskId) {}
}

/// The question of an input, if somebody waits for its answer.
pub(crate) fn asked(input: &Input<Ways>) -> Option<AskId> {
    match input {
        Input::Enter(_, way)
        | Input::Decide(_, way)
        | Input::Buy(_, way)
        | Input::Open(_, way)
        | Input::Look(way)
        | Input::Preview(_, way) => Some(way.id),
        Input::Watch(_) | Input::Waits(_) => None,
    }
}

fn is_void(input: &Input<Ways>) -> bool {
    matches!(input, Input::Decide(Command::VoidGrant { .. }, _))
}

fn whole_void(input: &Input<Ways>) -> Option<(AskId, GrantId)> {
    match input {
        Input::Decide(command, way) => voided(command).map(|grant| (way.id, grant)),
        _ => None,
    }
}

/// The payment that a command completes, and its grant.
fn succeeded(command: &Command) -> Option<(PaymentId, GrantId)> {
    match command {
        Command::Notified { command, .. } => succeeded(command),
        Command::PaymentSucceeded { payment_id, grant_id, .. } => Some((*payment_id, *grant_id)),
        _ => None,
    }
}

/// An operator's void as it once was: of the available credits only.
fn void_available(account: &Account, command: Command) -> Command {
    let Some(grant_id) = voided(&command) else { return command };
    let available = account.grants().iter().find(|grant| grant.id == grant_id).map(|grant| grant.available);
    match available.filter(|available| available.is_positive()) {
        Some(available) => Command::VoidGrant { grant_id, amount: Some(available) },
        None => command,
    }
}

fn ghost(ended: RequestId, work: Work) -> Admit {
    Admit {
        request_id: RequestId(Uuid::from_u128(u128::MAX - ended.0.as_u128())),
        key_id: None,
        model: "ghost".into(),
        provider: "farebox".into(),
        price_version: 1,
        work,
        hold: HoldRequest::FREE,
        output: None,
        auto_scale: None,
        names: Names::default(),
        session: None,
    }
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
        names: Names::default(),
        session: None,
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

/// A machine's time, with the time that has really passed.
pub(crate) fn moment(ledger: Timestamp, elapsed: Timestamp) -> Moment {
    Moment { ledger, elapsed: Duration::from_millis(elapsed.0.unsigned_abs()) }
}
