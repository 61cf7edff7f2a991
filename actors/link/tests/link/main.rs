//! The link by real sockets: what nodes are to each other, and what becomes of asks when the way between them fails.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test that can't go on has failed")]

mod asking;
mod forwarding;
mod joining;
mod node;
mod proxy;
mod telling;
mod trouble;
