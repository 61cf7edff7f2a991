//! What became of an ask that has no answer: whether it may have been carried out.

use std::{error::Error, iter::successors};

use crate::hello::Refusal;

/// Why there is no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LinkError {
    /// Nothing was done: the other node was not reached, or did not begin. It may be asked again, there or elsewhere.
    #[error("not asked: {0}")]
    NotSent(NotSent),
    /// It may have been done.
    #[error("the outcome is unknown: {0}")]
    Unknown(Unknown),
}

/// Why nothing was sent, or nothing begun.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotSent {
    /// There is no connection.
    #[error("no connection: {0}")]
    Away(String),
    /// The two do not work together.
    #[error("refused: {0}")]
    Refused(Refusal),
    /// Too much is under way to this node already.
    #[error("too much is under way")]
    Full,
    /// It is longer than may be sent.
    #[error("it is longer than {0} bytes")]
    TooLarge(usize),
    /// The other node says that it did not begin.
    #[error("it was not begun")]
    Unbegun,
    /// The time was over before anything was sent.
    #[error("no time was left")]
    Late,
    /// Too many nodes have passed it on.
    #[error("too many nodes have passed it on")]
    Loops,
    /// It can't be written as a request.
    #[error("it can't be sent: {0}")]
    Unsendable(String),
}

/// Why it may have been done.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unknown {
    /// The connection broke.
    #[error("the connection broke: {0}")]
    Broken(String),
    /// Nothing came in time.
    #[error("no answer in time")]
    Late,
    /// What came is no answer.
    #[error("the answer is nonsense")]
    Nonsense,
    /// It was begun, and came to no end.
    #[error("it was begun, and came to no end")]
    Unfinished,
}

impl LinkError {
    /// Whether what was asked may have been carried out.
    pub fn may_be_done(&self) -> bool {
        matches!(self, Self::Unknown(_))
    }

    /// A request can't be written.
    pub fn unsendable(why: &impl std::fmt::Display) -> Self {
        Self::NotSent(NotSent::Unsendable(why.to_string()))
    }

    /// Why a request that was sent has no answer.
    pub(crate) fn of(error: &hyper::Error) -> Self {
        if sources(error).any(is_refused) {
            Self::NotSent(NotSent::Unbegun)
        } else {
            Self::Unknown(Unknown::Broken(cause(error)))
        }
    }
}

impl From<NotSent> for LinkError {
    fn from(why: NotSent) -> Self {
        Self::NotSent(why)
    }
}

impl From<Unknown> for LinkError {
    fn from(why: Unknown) -> Self {
        Self::Unknown(why)
    }
}

fn sources<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    successors(Some(error), |&error| error.source())
}

/// HTTP/2 says itself what it did not begin with: a stream that was refused, and one after the last that a node which ends
/// carries out.
fn is_refused(error: &(dyn Error + 'static)) -> bool {
    error.downcast_ref::<h2::Error>().is_some_and(|error| {
        let left = error.is_go_away() && error.reason() == Some(h2::Reason::NO_ERROR);
        let refused = error.is_reset() && error.reason() == Some(h2::Reason::REFUSED_STREAM);
        error.is_remote() && (left || refused)
    })
}

/// What is at the root of an error.
pub(crate) fn cause(error: &(dyn Error + 'static)) -> String {
    sources(error).last().unwrap_or(error).to_string()
}
