//! The inputs and outputs of an account's machine, as plain data, and its driver's types: reply channels, watchers,
//! counters. The actor and the simulation are drivers.

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

/// The askers and watchers of an account, as the driver represents them.
pub trait Askers {
    /// The channel of one answer. Dropped unused, it tells the asker that the account is unavailable.
    type Reply<T>;
    /// A watcher of balances.
    type Watcher: Clone;
    /// Counts a message from its posting to its handling.
    type Counted;

    /// Whether an asker still waits for the answer.
    fn is_waited_for<T>(reply: &Self::Reply<T>) -> bool;
    /// Whether a watcher still watches.
    fn is_watching(watcher: &Self::Watcher) -> bool;
}

/// The time on the driver's clocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Moment {
    /// The ledger's time, which the rules of money use.
    pub ledger: Timestamp,
    /// Real time since the driver began, which nothing can set. The waiting line uses it.
    pub elapsed: Duration,
}

/// A message to an account. It waits until the account is loaded.
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
    /// Decide a request without running it.
    Preview(Admit, A::Reply<Answer>),
    /// Send balances from now on.
    Watch(A::Watcher),
    /// The card's owner must take a step.
    Waits(Waits),
}

impl<A: Askers> Input<A> {
    /// Whether an asker waits for the answer: then the account is not idle.
    pub(super) const fn is_question(&self) -> bool {
        match self {
            Self::Enter(..) | Self::Decide(..) | Self::Buy(..) | Self::Open(..) | Self::Look(_) | Self::Preview(..) => {
                true
            }
            Self::Watch(_) | Self::Waits(_) => false,
        }
    }
}

impl<A: Askers> Input<A> {
    /// The answer to an input that is not taken, if somebody waits for one. A watcher is dropped, and learns it so.
    pub(super) fn refused(self, error: &AccountError) -> Option<Departure<A>> {
        Some(match self {
            Self::Enter(_, reply) => Departure::Entered(reply, Err(error.clone())),
            Self::Decide(_, reply) | Self::Open(_, reply) | Self::Preview(_, reply) => {
                Departure::Answer(reply, Err(error.clone()))
            }
            Self::Buy(_, reply) => Departure::Bought(reply, Box::new(Err(error.clone()))),
            Self::Look(reply) => Departure::Picture(reply, Box::new(Err(error.clone()))),
            Self::Watch(_) | Self::Waits(_) => return None,
        })
    }
}

/// A message that leaves an account once everything that it depends on is durable.
pub enum Departure<A: Askers> {
    /// Whether a request is admitted.
    Entered(A::Reply<Entered>, Result<Entered, AccountError>),
    /// The result of a command.
    Answer(A::Reply<Answer>, Result<Answer, AccountError>),
    /// The result of a purchase.
    Bought(A::Reply<Bought>, Box<Result<Bought, AccountError>>),
    /// A picture of the account.
    Picture(A::Reply<Picture>, Box<Result<Picture, AccountError>>),
    /// Have a card charged.
    Charge(Box<Payment>),
    /// Inform a running request of its hold.
    Holds(RequestId, Amounts),
    /// Inform these watchers, and other nodes, of a balance. A slow watcher is to be dropped.
    Balance(Vec<A::Watcher>, Balance),
}

impl<A: Askers> Departure<A> {
    /// The departure's name.
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

/// An action for the driver.
pub enum Output<A: Askers> {
    /// Append this to the journal, and report with [`super::Machine::committed`] once it is durable or has failed.
    Append {
        /// The transition.
        transition: Box<Transition>,
        /// The ticket of the report.
        ticket: u64,
    },
    /// Release this departure now.
    Depart(Departure<A>),
    /// Call [`super::Machine::call_line`] after this time.
    CallLine {
        /// The time.
        after: Duration,
    },
    /// The hold of a request that runs nowhere was settled, or could not be: to be logged.
    Abandoned {
        /// The request.
        request_id: RequestId,
        /// The request's cost at its last checkpoint.
        accrued: Nanos,
        /// Whether the settlement was decided.
        settled: Result<(), AccountError>,
    },
    /// End this life: the machine takes no further input.
    Stop(Stop),
}

/// Why a life of an account ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Stop {
    /// Nothing is left to do, or there is no such account.
    Done,
    /// The account's rows could not be read.
    NotLoaded(String),
    /// An entry sent to the journal is not durable, or not known to be: the account's rows are its state.
    NotCommitted(String),
}

/// Takes a machine's outputs, in order.
pub trait Outputs<A: Askers> {
    /// Takes an output.
    fn put(&mut self, output: Output<A>);

    /// Takes departures that depend on nothing.
    fn put_all(&mut self, departures: impl IntoIterator<Item = Departure<A>>) {
        departures.into_iter().for_each(|departure| self.put(Output::Depart(departure)));
    }

    /// Notes that a message was handled.
    fn handled(&mut self, counted: A::Counted);
}
