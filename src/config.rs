//! Settings: built-in defaults, then `config/farebox.toml`, then `FAREBOX_...` variables, then flags, each over the one
//! before. This module alone reads the environment; the rest of the gateway is handed a [`Settings`]. A key nobody
//! knows is refused with its nearest neighbour, and a value out of range with its key: no setting is ignored in silence.

mod keys;
mod layers;
mod settings;
mod validate;

use std::env;
use std::path::PathBuf;

pub use keys::known_keys;
pub use layers::Overrides;
pub use settings::{
    Clock, Concurrency, Database, Device, ErrorForm, Http, Limits, Log, LogFormat, MetricsAt, Overdraft, Payments,
    Processor, Provider, Providers, Redis, Runtime, Secret, ServerUrl, Settings, Stripe, Webhooks,
};

/// Where the settings file is, unless `--config` or `FAREBOX_CONFIG` says otherwise.
pub const DEFAULT_FILE: &str = "config/farebox.toml";

/// Why there are no settings. Each says where the fault is and how to mend it.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum ConfigError {
    /// The settings file that was asked for is not there, or is not TOML.
    #[error("the settings file {path} cannot be used: {reason}")]
    File {
        /// The file.
        path: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A key that no setting has.
    #[error("unknown setting `{key}` in {source_name}{}", nearest.as_ref().map(|near| format!("; did you mean `{near}`?")).unwrap_or_default())]
    Unknown {
        /// As it was written.
        key: String,
        /// The file, the environment or the flags.
        source_name: String,
        /// The known key most like it.
        nearest: Option<String>,
    },
    /// A value of the wrong type, or out of its range.
    #[error("setting `{key}`: {reason}")]
    Invalid {
        /// The key.
        key: String,
        /// What it must be.
        reason: String,
    },
    /// Neither `FAREBOX_CACHE` nor a home folder names the cache.
    #[error("no cache folder: set FAREBOX_CACHE to a folder, or HOME")]
    NoCache,
}

impl ConfigError {
    pub(crate) fn invalid(key: &str, reason: impl Into<String>) -> Self {
        Self::Invalid { key: key.to_owned(), reason: reason.into() }
    }
}

impl Settings {
    /// Reads the file, this process's environment and the flags, and checks the result.
    pub fn load(overrides: &Overrides) -> Result<Self, ConfigError> {
        let variables: Vec<(String, String)> = env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
            .collect();
        Self::load_from(overrides, &variables)
    }

    /// The same, from an environment that is passed in.
    pub fn load_from(overrides: &Overrides, variables: &[(String, String)]) -> Result<Self, ConfigError> {
        let settings = layers::extract(overrides, variables)?;
        validate::check(&settings)?;
        Ok(settings)
    }

    /// What was set and changes nothing in this version, by its key.
    pub fn without_effect(&self) -> Vec<String> {
        validate::without_effect(self)
    }
}

/// Where downloads are kept: `FAREBOX_CACHE`, or `farebox` in the user's cache folder.
pub fn cache_folder() -> Result<PathBuf, ConfigError> {
    let named = |name: &str| env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    named("FAREBOX_CACHE")
        .or_else(|| named("XDG_CACHE_HOME").map(|folder| folder.join("farebox")))
        .or_else(|| named("HOME").map(|folder| folder.join(".cache/farebox")))
        .ok_or(ConfigError::NoCache)
}

/// What this was built for: the operating system and the processor.
pub fn machine() -> (&'static str, &'static str) {
    (env::consts::OS, env::consts::ARCH)
}

#[cfg(test)]
mod tests;
