//! What two nodes tell each other before anything else, and what must be alike for them to work together.

use std::time::Duration;

use runtime::node::NodeId;
use serde::{Deserialize, Serialize};

/// What a node is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// Its name.
    pub node: NodeId,
    /// The version of what nodes tell each other: what both must have alike. Raised when a message changes its meaning.
    pub protocol: u32,
    /// The version of the program, for people: nodes of two versions work together while one replaces the other.
    pub program: String,
    /// Which database it has.
    pub database: String,
    /// Which ledger: the log's own name.
    pub ledger: String,
    /// Into how many shards accounts are divided.
    pub shards: u32,
}

/// What a node says as a connection begins.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// What it is.
    #[serde(flatten)]
    pub identity: Identity,
    /// Its clock, in milliseconds of UTC.
    pub clock_ms: i64,
}

/// Why a node does not work together with another.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(rename_all = "snake_case")]
pub enum Refusal {
    /// It has another secret, or none.
    #[error("another secret")]
    Secret,
    /// It speaks otherwise.
    #[error("another version of the link: {theirs} (program {program}), not {ours}")]
    Protocol {
        /// The version of who refuses.
        ours: u32,
        /// The version of who is refused.
        theirs: u32,
        /// The program of who is refused.
        program: String,
    },
    /// It has another database.
    #[error("another database")]
    Database,
    /// It has another ledger.
    #[error("another ledger")]
    Ledger,
    /// It divides accounts otherwise.
    #[error("{theirs} shards, not {ours}")]
    Shards {
        /// The number of who refuses.
        ours: u32,
        /// The number of who is refused.
        theirs: u32,
    },
    /// Its clock is too far from the own one.
    #[error("another clock: {apart_ms} ms apart")]
    Clock {
        /// How far.
        apart_ms: u64,
    },
    /// The address leads to the node itself.
    #[error("the address is the node's own")]
    Itself,
    /// At the address is another node than was asked for: a process has ended, and another has its place.
    #[error("another node: {0}")]
    Another(NodeId),
}

/// What speaks against working together with a node that says this, of what it and this node are. Its clock may be so far
/// away.
pub(crate) fn objection(own: &Hello, theirs: &Hello, most_apart: Duration) -> Option<Refusal> {
    let (ours, other) = (&own.identity, &theirs.identity);
    let apart_ms = own.clock_ms.abs_diff(theirs.clock_ms);
    if ours.node == other.node {
        Some(Refusal::Itself)
    } else if ours.protocol != other.protocol {
        Some(Refusal::Protocol { ours: ours.protocol, theirs: other.protocol, program: other.program.clone() })
    } else if ours.database != other.database {
        Some(Refusal::Database)
    } else if ours.ledger != other.ledger {
        Some(Refusal::Ledger)
    } else if ours.shards != other.shards {
        Some(Refusal::Shards { ours: ours.shards, theirs: other.shards })
    } else if u128::from(apart_ms) > most_apart.as_millis() {
        Some(Refusal::Clock { apart_ms })
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    #[test]
    fn each_difference_has_its_name() {
        let identity = Identity {
            node: NodeId(Uuid::from_u128(1)),
            protocol: 1,
            program: "1.0".into(),
            database: "d".into(),
            ledger: "l".into(),
            shards: 16,
        };
        let hello = |identity: &Identity, clock_ms| Hello { identity: identity.clone(), clock_ms };
        let own = hello(&identity, 10_000);
        let other = Identity { node: NodeId(Uuid::from_u128(2)), ..identity.clone() };
        let against = |other: Identity, clock_ms| objection(&own, &hello(&other, clock_ms), Duration::from_secs(5));
        assert_eq!(against(other.clone(), 15_000), None);
        assert_eq!(against(Identity { program: "1.1".into(), ..other.clone() }, 10_000), None);
        assert_eq!(against(identity.clone(), 10_000), Some(Refusal::Itself));
        assert_eq!(against(other.clone(), 15_001), Some(Refusal::Clock { apart_ms: 5_001 }));
        assert_eq!(against(other.clone(), 4_999), Some(Refusal::Clock { apart_ms: 5_001 }));
        let changed = |change: fn(&mut Identity)| {
            let mut other = other.clone();
            change(&mut other);
            against(other, 10_000)
        };
        let protocol = Refusal::Protocol { ours: 1, theirs: 2, program: "1.0".into() };
        assert_eq!(changed(|it| it.protocol = 2), Some(protocol));
        assert_eq!(changed(|it| it.database = "e".into()), Some(Refusal::Database));
        assert_eq!(changed(|it| it.ledger = "m".into()), Some(Refusal::Ledger));
        assert_eq!(changed(|it| it.shards = 8), Some(Refusal::Shards { ours: 16, theirs: 8 }));
    }
}
