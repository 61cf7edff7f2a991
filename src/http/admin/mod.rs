//! The operator's routes, with the operator's token. A file is named as its path is. What a request makes has the request's id,
//! by which a retry under the same `Idempotency-Key` finds it after a crash. What is under an account and read is what its owner
//! reads elsewhere: [`super::account`].

pub mod accounts;
#[cfg(feature = "faults")]
pub mod faults;
pub mod grants;
pub mod keys;
pub mod operations;
pub mod payments;
