//! Stories told to the real binary over HTTP, one file each. `support` starts what they need: the gateway, PostgreSQL,
//! Redis, each private to the run and gone with it. Run one with `cargo test --test e2e health`.
#![expect(clippy::unwrap_used, reason = "a story that cannot go on has failed")]

mod acts;
mod admission;
mod anthropic;
mod archive;
mod audit;
mod authority;
mod backup;
mod closed;
mod completions;
mod edge;
mod health;
mod idempotency;
mod imported;
mod key_limits;
mod open;
mod openapi;
mod operator;
mod oracle;
mod overspend;
mod ownership;
mod payments;
mod permits;
mod plans;
mod priced;
mod provider_events;
mod quote;
mod readiness;
mod readme;
mod rebuild;
mod receipts;
mod refusals;
mod reported;
mod reversals;
mod sdk;
mod servers;
mod sockets;
mod stalled;
mod stopping;
mod strangers;
mod streams;
mod stripe;
#[allow(dead_code, reason = "each story takes what it needs")]
mod support;
mod tls;
mod upgrade;
mod usage;
mod usage_size;
mod webhooks;
mod whose;
