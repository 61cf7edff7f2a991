//! Answers as clients read them: typed structs, which JSON, the OpenAPI document and pages share. Each is made of what the
//! services answer; what it says is decided there, how it is spelled is decided here.

pub mod account;
pub mod admin;
pub mod cards;
pub mod history;
pub mod keys;
pub mod list;
pub mod models;
pub mod money;
pub mod operations;
pub mod payments;
pub mod receipt;
pub mod scalar;
pub mod usage;
pub mod webhooks;

pub use list::{List, Page};
pub use scalar::{Dollars, Time};
