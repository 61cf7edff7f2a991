//! Answers to clients: typed structs, which JSON, the OpenAPI document and pages share. Each is made from a service's
//! answer. Services decide the content; views decide its spelling.

pub mod account;
pub mod acts;
pub mod admin;
pub mod alerts;
pub mod cards;
pub mod cohere_models;
pub mod history;
pub mod keys;
pub mod list;
pub mod models;
pub mod money;
pub mod nodes;
pub mod operations;
pub mod overview;
pub mod payments;
pub mod people;
pub mod pools;
pub mod receipt;
pub mod request_receipt;
pub mod running;
pub mod scalar;
pub mod signed;
pub mod trail;
pub mod treasury;
pub mod usage;
pub mod webhooks;

pub use list::{List, Page};
pub use scalar::{Dollars, Time};
