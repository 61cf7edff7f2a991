//! Hints by real Redis servers, which are flushed, stopped, frozen and replaced by what talks nonsense.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test that can't go on has failed")]

mod clusters;
mod server;
mod telling;
mod trouble;
mod uses;
