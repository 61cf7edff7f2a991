//! One process after another on the same machine, without a refused connection. A process that serves has an [`offer`] in
//! its data folder: a socket, where a successor asks for the listening sockets themselves. The successor gets ready, says so,
//! and then waits for the [`predecessor`]'s end, or, where nodes share the ledger, already serves. The listening sockets are
//! the same in both, so what comes in between waits in their queues, and nothing is lost as one of the two closes them.
//! Neither knows what is served.

pub(super) mod offer;
mod passing;
pub(super) mod predecessor;

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use serde::{Deserialize, Serialize};

/// The version of what the two say to each other. A program that says something else is refused.
const PROTOCOL: u32 = 1;
/// How long either waits for a word of the other that needs no work.
const WORD_WITHIN: Duration = Duration::from_secs(5);
/// The longest message.
const LONGEST: usize = 4_096;
/// The most sockets that are passed on.
const MOST: usize = 8;

/// What the successor says first.
#[derive(Debug, Serialize, Deserialize)]
struct Asks {
    protocol: u32,
}

/// What is offered, along with the sockets themselves.
#[derive(Debug, Serialize, Deserialize)]
struct Offered {
    protocol: u32,
    /// What each socket is for, in the order in which they come.
    sockets: Vec<Use>,
    /// Whether the service manager holds the socket for requests, too.
    is_held: bool,
}

/// What a listening socket is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Use {
    /// Requests.
    Http,
    /// Metrics, where they have an address of their own.
    Metrics,
    /// The next successor.
    Offer,
}

/// What the successor says once nothing but the ledger is missing.
#[derive(Debug, Serialize, Deserialize)]
struct IsPrepared {
    prepared: bool,
}

/// The path of the socket at which a process that uses this data folder is succeeded.
pub(super) fn path_in(data_dir: &Path) -> PathBuf {
    data_dir.join("successor.sock")
}
