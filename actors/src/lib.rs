//! Everything that holds state: the actors, and what they stand on.

pub mod ledger;
