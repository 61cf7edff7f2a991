//! What an account's owner asks for with a key, but for inference. A file is named as its path is; under an operator's path some
//! of these show the same to operators.

pub mod automatic;
pub mod balance;
pub mod history;
pub mod keys;
pub mod payment_methods;
pub mod payments;
pub mod receipt;
pub mod subscription;
pub mod usage;
pub mod usage_csv;
pub mod webhooks;
