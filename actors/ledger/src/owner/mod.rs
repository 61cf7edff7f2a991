//! Ownership of a ledger: one process at a time may write. With SQLite the operating system holds a lock file, which is
//! released with the process; with PostgreSQL a session that stays open holds a lock. Both only prevent a second
//! process from starting. The lease's epoch, which every commit carries, is what stops an owner that was taken over.

pub(super) mod lock;
pub(super) mod session;

use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

/// How to claim a ledger.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Claim {
    /// Only if no living process owns it.
    IfFree,
    /// Even from a living owner, which is fenced.
    TakeOver,
    /// Beside other nodes: shards are taken one by one, by leases. Only in PostgreSQL.
    Share,
}

/// An owner, as written in the lease.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Owner {
    /// The process id.
    pub(super) pid: u32,
    /// The name of the machine, if it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) host: Option<String>,
    /// The lock file, with SQLite.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) lock: Option<std::path::PathBuf>,
    /// When the owner was last seen, in milliseconds of UTC. For information only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) seen_at: Option<u64>,
}

impl Owner {
    /// This process.
    pub(super) fn here(lock: Option<&std::path::Path>) -> Self {
        let host = std::fs::read_to_string("/proc/sys/kernel/hostname").ok().map(|name| name.trim().to_owned());
        Self {
            pid: std::process::id(),
            host: host.filter(|name| !name.is_empty()),
            lock: lock.map(Into::into),
            seen_at: None,
        }
    }

    /// This owner, seen now.
    pub(super) fn seen_now(&self) -> Self {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self { seen_at: u64::try_from(since.as_millis()).ok(), ..self.clone() }
    }

    /// The text in the lease.
    pub(super) fn text(&self) -> String {
        serde_json::to_string(self).unwrap_or_else(|_| format!("process {}", self.pid))
    }

    /// Reads an owner from a lease; `None` if an earlier version wrote it.
    pub(super) fn parse(text: &str) -> Option<Self> {
        serde_json::from_str(text).ok()
    }
}

impl std::fmt::Display for Owner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "process {}", self.pid)?;
        if let Some(host) = &self.host {
            write!(f, " on {host}")?;
        }
        Ok(())
    }
}

/// The message for a process that finds a living owner.
pub(super) fn in_use(owner: &str) -> String {
    format!(
        "{owner} owns this ledger and is alive. Stop it first; or, to take the ledger from it, start with --take-over \
         (it stops, and what runs there is settled here)"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_owner_is_read_back_from_a_lease_and_older_leases_name_none() {
        let owner = Owner::here(Some(std::path::Path::new("/x/farebox.db.lock")));
        assert_eq!(Owner::parse(&owner.text()), Some(owner.clone()));
        assert!(owner.to_string().contains(&std::process::id().to_string()));
        assert_eq!(Owner::parse("process 12"), None);
    }
}
