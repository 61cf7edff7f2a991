//! What goes wrong with several nodes: connections that are cut, delayed, frozen, or that lose an answer; PostgreSQL that is
//! restarted; nodes that reach only some of what they need; owners that change as something is due. After each story
//! nothing that was acknowledged is lost, nothing is charged twice, and the books balance.

mod appends;
mod clocks;
mod owners;
mod partitions;
mod restarts;
mod rolling;
mod strangers;
