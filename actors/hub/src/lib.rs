//! A hub of open models, by the HTTP interface of the Hugging Face hub: what a repository has at a revision, and the
//! files of it, downloaded into a folder. A revision is resolved to a commit once, and everything after is of that commit.
//! Nothing that a hub says is trusted: names of files can't leave their folder, sizes and counts are bounded, every file
//! is held against its checksum, and the token goes to the hub itself alone, not where it redirects to. What the files
//! are is not known here.

// Callers of this crate learn from its rustdoc when a function fails; crates whose rustdoc lacks that do not warn yet.
#![warn(clippy::missing_errors_doc, clippy::missing_panics_doc)]

mod download;
mod error;
mod exchange;
mod listing;
mod reference;
mod space;
mod sum;
mod workspace;

pub use download::Progress;
pub use error::HubError;
pub use exchange::{Hub, Patience};
pub use listing::{RemoteFile, Repository};
pub use reference::Reference;
pub use space::{check_room, free};
pub use sum::{Sum, sha256};
pub use workspace::Workspace;
