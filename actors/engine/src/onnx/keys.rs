//! The metadata of one architecture: its keys, which begin with the architecture's name, read as checked numbers. An
//! error names the key.

use std::io::{Read, Seek};

use super::architecture::Architecture;
use super::shape::ExportError;
use crate::gguf::{Gguf, GgufError, Value};

/// The keys of an architecture in a file.
pub(super) struct Keys<'a, R> {
    pub(super) file: &'a Gguf<R>,
    pub(super) architecture: Architecture,
}

/// The error of a key that is not there, or has another type.
pub(super) fn missing(key: &str) -> ExportError {
    ExportError::Gguf(GgufError::Missing(key.to_owned()))
}

/// The error of a value that can't be computed with.
pub(super) fn unsupported(what: String) -> ExportError {
    ExportError::Unsupported(what)
}

impl<R: Read + Seek> Keys<'_, R> {
    /// The whole name of a key.
    pub(super) fn name(&self, key: &str) -> String {
        format!("{}.{key}", self.architecture.name())
    }

    pub(super) fn value(&self, key: &str) -> Option<&Value> {
        self.file.value(&self.name(key))
    }

    /// A whole number, or a list with one number for each layer, all the same.
    pub(super) fn number(&self, key: &str) -> Result<Option<usize>, ExportError> {
        let name = self.name(key);
        let Some(value) = self.file.value(&name) else { return Ok(None) };
        if let Value::Integers(each) = value {
            return match each.split_first() {
                Some((first, others)) if others.iter().all(|other| other == first) => {
                    usize::try_from(*first).map(Some).map_err(|_| missing(&name))
                }
                _ => Err(unsupported(format!("{name} differs between layers"))),
            };
        }
        let number = self.file.number(&name).and_then(|number| usize::try_from(number).ok());
        number.map(Some).ok_or_else(|| missing(&name))
    }

    pub(super) fn needed(&self, key: &str) -> Result<usize, ExportError> {
        self.number(key)?.ok_or_else(|| missing(&self.name(key)))
    }

    /// A finite number that is not negative.
    pub(super) fn float(&self, key: &str) -> Result<Option<f64>, ExportError> {
        let name = self.name(key);
        if self.file.value(&name).is_none() {
            return Ok(None);
        }
        let number = self.file.float(&name).ok_or_else(|| missing(&name))?;
        if number.is_finite() && number >= 0.0 {
            Ok(Some(number))
        } else {
            Err(unsupported(format!("{name} is {number}")))
        }
    }

    /// A finite number above 0.
    pub(super) fn positive(&self, key: &str) -> Result<Option<f64>, ExportError> {
        let number = self.float(key)?;
        if number == Some(0.0) { Err(unsupported(format!("{} is 0", self.name(key)))) } else { Ok(number) }
    }
}
