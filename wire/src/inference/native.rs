//! A task of the native API (`POST /models/v2/{org}/{model}`): its name, and an input whose fields depend on it.

use crate::fields::Fields;

/// A native task.
#[derive(Debug, Clone, PartialEq)]
pub struct NativeTask {
    /// The task's name: `text-classification`, `token-classification`, ...
    pub name: String,
    /// Its input: the fields that the task has, as they came.
    pub input: Fields,
}
