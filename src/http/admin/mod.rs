//! The operator's routes, which require the operator's token. Files are named as their paths are. An object that a
//! request creates has the request's id, by which a retry under the same `Idempotency-Key` finds it after a crash.
//! Lists under an account show what its owner sees elsewhere: [`super::account`].

pub mod accounts;
pub mod acts;
#[cfg(feature = "faults")]
pub mod faults;
pub mod grants;
pub mod keys;
pub mod models;
pub mod nodes;
pub mod operations;
pub mod overview;
pub mod payments;
pub mod people;
pub mod requests;
