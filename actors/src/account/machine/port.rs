//! What goes into an account's machine and what comes out, as plain data, and what its driver lends it: the ways back to who
//! asks, and a place for outputs. The actor and the simulation are drivers.

use std::time::Duration;

use billing::{
    Nanos, Timestamp,
    account::Balance,
    command::{Admit, Answer, Command},
    entry::Transition,
    ids::RequestId,
    payment::Payment,
};

use super::super::{AccountError, Bought, Enter, Entered, Open, Picture, Waits};
use crate::running::Amounts;

/// Who asks an account and who watches it, as its driver knows them.
pub trait Askers {
    /// The way back of one answer. Dropped without one, its asker learns that the account is not there now.
    type Reply<T>;
    /// Someone who is told balances.
    type Watcher: Clone;
    /// What counts a message from when it was posted until it was handled.
    type Counted;

    /// Whether someone still waits for an answer.
    fn is_waited_for<T>(reply: &Self::Reply<T>) -> bool;
    /// Whether someone still watches.
    fn is_watching(watcher: &Self::Watcher) -> bool;
}

/// What the clocks show.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Moment {
    /// The ledger's time: the rules of money go by it.
    pub ledger: Timestamp,
    /// Time that really passed since the driver began, which nobody sets: those who wait in line go by it.
    pub elapsed: Duration,
}

/// What an account is asked or told. It waits until the account is loaded.
pub enum Input<A: Askers> {
    /// Let a request run.
    Enter(Enter, A::Reply<Entered>),
    /// Decide a command.
    Decide(Command, A::Reply<Answer>),
    /// Begin a purchase.
    Buy(Payment, A::Reply<Bought>),
    /// Open the account.
    Open(Open, A::Reply<Answer>),
    /// Show the account.
    Look(A::Reply<Picture>),
    /// Say what would come of a request.
    Preview(Admit, A::Reply<Answer>),
    /// Tell balances from now on.
    Watch(A::Watcher),
    /// A card's owner must act.
    Waits(Waits),
}

impl<A: Askers> Input<A> {
    /// Whether someone waits for an answer: such an account is not idle.
    pub(super) const fn is_question(&self) -> bool {
        match self {
            Self::Enter(..) | Self::Decide(..) | Self::Buy(..) | Self::Open(..) | Self::Look(_) | Self::Preview(..) => {
                true
            }
            Self::Watch(_) | Self::Waits(_) => false,
        }
    }
}

/// What leaves an account once all that it depends on is durable.
pub enum Departure<A: Askers> {
    /// Whether a request may run.
    Entered(A::Reply<Entered>, Result<Entered, AccountError>),
    /// What came of a command.
    Answer(A::Reply<Answer>, Result<Answer, AccountError>),
    /// What came of a purchase.
    Bought(A::Reply<Bought>, Box<Result<Bought, AccountError>>),
    /// A picture of the account.
    Picture(A::Reply<Picture>, Box<Result<Picture, AccountError>>),
    /// Have a card charged.
    Charge(Box<Payment>),
    /// Tell a running request what it holds.
    Holds(RequestId, Amounts),
    /// Tell those who watched when it came about a balance. One that does not keep up is to be dropped.
    Balance(Vec<A::Watcher>, Balance),
}

impl<A: Askers> Departure<A> {
    /// What it is.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Entered(..) => "entered",
            Self::Answer(..) => "answer",
            Self::Bought(..) => "bought",
            Self::Picture(..) => "picture",
            Self::Charge(_) => "charge",
            Self::Holds(..) => "holds",
            Self::Balance(..) => "balance",
        }
    }
}

/// What a machine wants done.
pub enum Output<A: Askers> {
    /// Have the journal write this, and report with [`super::Machine::committed`] once it is durable or will not be.
    Append {
        /// What.
        transition: Box<Transition>,
        /// What it is reported by.
        ticket: u64,
    },
    /// Let this out now.
    Depart(Departure<A>),
    /// Call [`super::Machine::call_line`] after so long.
    CallLine {
        /// How long.
        after: Duration,
    },
    /// The hold of a request that runs nowhere was settled, or could not be: worth a line in the log.
    Abandoned {
        /// Which request.
        request_id: RequestId,
        /// What it cost, by its last checkpoint.
        accrued: Nanos,
        /// Whether it could be decided.
        settled: Result<(), AccountError>,
    },
    /// End this life: nothing is asked of the machine any more.
    Stop(Stop),
}

/// Why a life of an account is to end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Stop {
    /// Nothing is left to do, or there is no such account.
    Done,
    /// Its rows could not be read.
    NotLoaded(String),
    /// What it had sent to the journal is not durable, or not known to be: its rows are its state.
    NotCommitted(String),
}

/// Where a machine's outputs go, in order.
pub trait Outputs<A: Askers> {
    /// Takes one.
    fn put(&mut self, output: Output<A>);

    /// A message was handled.
    fn handled(&mut self, counted: A::Counted);
}
