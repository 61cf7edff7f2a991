//! Why something can't be had from a hub, in words that say what can be done. No error has the token, or an address that
//! may have one signed into it.

use std::{io, path::PathBuf};

/// Why something can't be had from a hub.
#[derive(Debug, thiserror::Error)]
pub enum HubError {
    /// The text is no name of a repository.
    #[error("{0:?} is no model of a hub: write hf:OWNER/NAME, hf:OWNER/NAME@REVISION or hf:OWNER/NAME:FILE")]
    Reference(String),
    /// The hub's address, or the token, can't be used.
    #[error("{0}")]
    Settings(String),
    /// There is no such repository, or its owner shows it to nobody without a token.
    #[error("{repository} is not on the hub, or is private{}", if *.with_token { " and not open to this token" } else { ": a private one needs a token (HF_TOKEN or hub.token)" })]
    NoRepository {
        /// The repository.
        repository: String,
        /// Whether a token was sent.
        with_token: bool,
    },
    /// The repository has no such revision.
    #[error("{repository} has no revision {revision}")]
    NoRevision {
        /// The repository.
        repository: String,
        /// What was asked for.
        revision: String,
    },
    /// The repository's owner wants terms to be accepted.
    #[error("{repository} is gated: accept its terms on its page of the hub{}", if *.with_token { ", with the account of this token" } else { ", and set that account's token (HF_TOKEN or hub.token)" })]
    Gated {
        /// The repository.
        repository: String,
        /// Whether a token was sent.
        with_token: bool,
    },
    /// The hub takes no token of this kind, or this one is not valid any more.
    #[error("the hub refuses the token, or wants one (HF_TOKEN or hub.token)")]
    Token,
    /// The hub has too many requests from here.
    #[error("the hub has too many requests from here; try again{}", seconds.map(|seconds| format!(" in {seconds} seconds")).unwrap_or_default())]
    Busy {
        /// How long it wants to be left alone, where it says so.
        seconds: Option<u64>,
    },
    /// The hub answers with a status that helps nobody.
    #[error("the hub answers {what} with status {status}")]
    Status {
        /// What was asked for.
        what: String,
        /// The status.
        status: u16,
    },
    /// The hub can't be reached, or the connection broke again and again.
    #[error("{what} can't be had: {reason}; what came so far is kept, and the same command goes on with it")]
    Unreachable {
        /// What was asked for.
        what: String,
        /// The reason.
        reason: String,
    },
    /// The hub redirects to where this program does not go.
    #[error("the hub redirects {what} {reason}")]
    Redirect {
        /// What was asked for.
        what: String,
        /// The reason.
        reason: &'static str,
    },
    /// An answer is not of the form that is known.
    #[error("the hub's answer is not understood: {0}")]
    Answer(String),
    /// A file's name would leave the folder, or is no name on this system.
    #[error("the repository has a file that can't be kept here by its name: {0:?}")]
    Name(String),
    /// More than is taken.
    #[error("{0}")]
    TooLarge(String),
    /// A file is not the one that the listing told of.
    #[error("{file} is not the file that the repository's list told of: {reason}")]
    Changed {
        /// The file.
        file: String,
        /// The difference.
        reason: String,
    },
    /// A file came whole, and is another.
    #[error("{file} came damaged: its checksum is {found}, not {expected}; nothing of it is kept")]
    Damaged {
        /// The file.
        file: String,
        /// The checksum of what came.
        found: String,
        /// The checksum that the hub told.
        expected: String,
    },
    /// The disk has no room.
    #[error("{path} has {free} bytes free, and {needed} are needed: {what}")]
    NoRoom {
        /// A folder of the disk.
        path: PathBuf,
        /// Bytes that are free.
        free: u64,
        /// Bytes that are needed.
        needed: u64,
        /// What for.
        what: String,
    },
    /// A file or folder here can't be used.
    #[error("{path}: {source}")]
    Io {
        /// The path.
        path: PathBuf,
        /// The reason.
        source: io::Error,
    },
}

impl HubError {
    /// The error of a path.
    pub(crate) fn io(path: &std::path::Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        |source| Self::Io { path, source }
    }
}
