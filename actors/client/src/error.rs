//! What became of a request that has no answer: what its caller can do next depends on how far it came. Reasons have no
//! address in them: an address may carry what should not be shown.

use std::{
    error::Error,
    io::ErrorKind::{self, BrokenPipe, ConnectionReset, TimedOut},
    iter::successors,
    net::IpAddr,
};

use hyper_util::client::legacy;

use crate::names::Forbidden;

/// Why there is no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CallError {
    /// Nothing was sent: there was no connection in time.
    #[error("no connection in time")]
    ConnectTimeout,
    /// Nothing was sent: the name leads to an address that may not be called.
    #[error("the name leads to {0}, which may not be called")]
    Forbidden(IpAddr),
    /// Nothing was sent: connecting failed.
    #[error("connecting: {0}")]
    Connect(String),
    /// The server says that it did not begin with it.
    #[error("the connection: {0}")]
    Unbegun(String),
    /// The connection was closed before an answer began: it may have been done.
    #[error("the connection: {0}")]
    Closed(String),
    /// The connection broke: it may have been done.
    #[error("the connection: {0}")]
    Broken(String),
    /// What was sent was not received for so long that the system gave the connection up: it may have been done.
    #[error("the connection: {0}")]
    Unreceived(String),
    /// Nothing came in time: it may have been done.
    #[error("no answer in time")]
    Timeout,
    /// An answer came, and is longer than so many bytes.
    #[error("the answer is larger than {0} bytes")]
    TooLarge(usize),
}

impl CallError {
    /// Why a request has no answer.
    pub(crate) fn of_request(error: &legacy::Error) -> Self {
        if error.is_connect() {
            let forbidden = sources(error).find_map(|source| source.downcast_ref::<Forbidden>());
            return match forbidden {
                Some(Forbidden(address)) => Self::Forbidden(*address),
                None if has(error, &[TimedOut]) => Self::ConnectTimeout,
                None => Self::Connect(cause(error)),
            };
        }
        if sources(error).any(is_refused) {
            Self::Unbegun(cause(error))
        } else if has(error, &[BrokenPipe, ConnectionReset]) || sources(error).any(is_closed) {
            Self::Closed(cause(error))
        } else {
            Self::broken(error)
        }
    }

    /// Why the rest of an answer is missing.
    pub(crate) fn of_body(error: &hyper::Error) -> Self {
        Self::broken(error)
    }

    fn broken(error: &(dyn Error + 'static)) -> Self {
        if has(error, &[TimedOut]) { Self::Unreceived(cause(error)) } else { Self::Broken(cause(error)) }
    }
}

fn sources<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    successors(Some(error), |&error| error.source())
}

fn has(error: &(dyn Error + 'static), kinds: &[ErrorKind]) -> bool {
    let mut io = sources(error).filter_map(|source| source.downcast_ref::<std::io::Error>());
    io.any(|error| kinds.contains(&error.kind()))
}

fn is_closed(error: &(dyn Error + 'static)) -> bool {
    error.downcast_ref::<hyper::Error>().is_some_and(hyper::Error::is_incomplete_message)
}

/// HTTP/2 says itself what it did not begin with.
fn is_refused(error: &(dyn Error + 'static)) -> bool {
    error.downcast_ref::<h2::Error>().is_some_and(|error| {
        let left = error.is_go_away() && error.reason() == Some(h2::Reason::NO_ERROR);
        let refused = error.is_reset() && error.reason() == Some(h2::Reason::REFUSED_STREAM);
        error.is_remote() && (left || refused)
    })
}

fn cause(error: &(dyn Error + 'static)) -> String {
    sources(error).last().unwrap_or(error).to_string()
}
