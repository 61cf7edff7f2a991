//! Settings: built-in defaults, then `config/farebox.toml`, then `FAREBOX_...` variables, then flags; each overrides
//! the one before. Only this module reads the environment; the rest of the gateway gets a [`Settings`]. An unknown key
//! is refused with its nearest neighbour, and a value out of range with its key: no setting is silently ignored.

mod cluster;
mod hub;
mod keys;
mod layers;
mod oidc;
mod people;
mod pools;
mod providers;
mod proxies;
mod settings;
mod traces;
mod validate;

use std::env;
use std::ffi::OsString;
use std::path::PathBuf;

pub use cluster::{Cluster, Tls};
pub use hub::Hub;
pub use keys::known_keys;
pub use layers::Overrides;
pub use oidc::{Issuer, Issuers};
pub use people::{Letters, People, SignUp};
pub use pools::{Bytes, Device as PoolDevice, Pools};
pub use providers::{ApiFormat, KNOWN as KNOWN_PROVIDERS, Provider, Providers};
pub use settings::{
    CacheScope, Clock, Concurrency, Database, Device, ErrorForm, Http, Limits, Log, LogFormat, Lookup, MetricsAt,
    Overdraft, Payments, Prices, Processor, Redis, Runtime, Secret, ServerUrl, Settings, Stripe, Webhooks,
};
pub use traces::Traces;

/// The path of the settings file, unless `--config` or `FAREBOX_CONFIG` gives another.
pub const DEFAULT_FILE: &str = "config/farebox.toml";

/// Why settings can't be loaded. Each error names the place of the fault and the remedy.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum ConfigError {
    /// The requested settings file is missing, or is not TOML.
    #[error("the settings file {path} cannot be used: {reason}")]
    File {
        /// The file.
        path: String,
        /// The reason.
        reason: String,
    },
    /// A key that is no setting.
    #[error("unknown setting `{key}` in {source_name}{}", nearest.as_ref().map(|near| format!("; did you mean `{near}`?")).unwrap_or_default())]
    Unknown {
        /// The key as written.
        key: String,
        /// The file, the environment or the flags.
        source_name: String,
        /// The known key most like the unknown one.
        nearest: Option<String>,
    },
    /// A value with a wrong type or out of range.
    #[error("setting `{key}`: {reason}")]
    Invalid {
        /// The key.
        key: String,
        /// What the value must be.
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
    ///
    /// # Errors
    ///
    /// The file can't be read, or a setting is unknown or invalid. The error names the setting and where it comes from.
    pub fn load(overrides: &Overrides) -> Result<Self, ConfigError> {
        let variables: Vec<(String, String)> = env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
            .collect();
        Self::load_from(overrides, &variables)
    }

    /// The same, with the environment passed in.
    ///
    /// # Errors
    ///
    /// As for [`Self::load`].
    pub fn load_from(overrides: &Overrides, variables: &[(String, String)]) -> Result<Self, ConfigError> {
        let mut settings = layers::extract(overrides, variables)?;
        settings.hub.fill_in(variables);
        validate::check(&settings)?;
        Ok(settings)
    }

    /// The proxies whose word about a client's address counts.
    pub fn trusted_proxies(&self) -> Vec<ipnet::IpNet> {
        // Each was read when the settings were checked.
        proxies::read(&self.http.trusted_proxies).unwrap_or_default()
    }
}

/// The folder of downloads: `FAREBOX_CACHE`, or `farebox` in the user's cache folder.
///
/// # Errors
///
/// None of `FAREBOX_CACHE`, `XDG_CACHE_HOME` and `HOME` is set ([`NoCache`](ConfigError::NoCache)).
pub fn cache_folder() -> Result<PathBuf, ConfigError> {
    let named = |name: &str| env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    named("FAREBOX_CACHE")
        .or_else(|| named("XDG_CACHE_HOME").map(|folder| folder.join("farebox")))
        .or_else(|| named("HOME").map(|folder| folder.join(".cache/farebox")))
        .ok_or(ConfigError::NoCache)
}

/// The program and the arguments with which this process is started again, to take its own place. The program is what the
/// process was called by: behind that name there may be a newer one by now.
pub fn again() -> (PathBuf, Vec<OsString>) {
    let mut called = env::args_os();
    (called.next().map_or_else(|| "farebox".into(), PathBuf::from), replacing(called))
}

fn replacing(arguments: impl Iterator<Item = OsString>) -> Vec<OsString> {
    let kept = arguments.filter(|argument| argument != "--take-over" && argument != "--replace");
    kept.chain(["--replace".into()]).collect()
}

/// The platform of this build: the operating system and the processor.
pub fn machine() -> (&'static str, &'static str) {
    (env::consts::OS, env::consts::ARCH)
}

#[cfg(test)]
mod tests;
