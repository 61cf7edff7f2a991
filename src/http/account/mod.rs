//! Routes for an account's owner, except inference. Files are named as their paths are. Some routes serve operators
//! too, under an operator's path.

pub mod alerts;
pub mod automatic;
pub mod balance;
pub mod calendar;
pub mod history;
pub mod keys;
pub mod notifications;
pub mod payment_methods;
pub mod payments;
pub mod receipt;
pub mod requests;
pub mod subscription;
mod sums_csv;
pub mod trail;
pub mod usage;
pub mod usage_csv;
pub mod webhooks;
