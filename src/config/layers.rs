//! The four layers of settings and their merge. Each layer becomes a nested dictionary, is checked for unknown keys,
//! and is merged by figment. Text from variables and flags is read by the kind of its key, so a token of digits stays
//! text.

use std::fs;
use std::path::{Path, PathBuf};

use figment::providers::Serialized;
use figment::value::{Dict, Map, Value};
use figment::{Figment, Metadata, Profile, Provider};

use super::keys::{self, Kind};
use super::{ConfigError, DEFAULT_FILE, Settings};
use crate::words;

const PREFIX: &str = "FAREBOX_";

/// Flags: what the command line says over everything else.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct Overrides {
    /// Settings file
    #[arg(long, global = true, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Address and port to listen on
    #[arg(long, global = true, value_name = "ADDRESS")]
    pub listen: Option<String>,
    /// Database URL: a sqlite: file or a postgres: server
    #[arg(long, global = true, value_name = "URL")]
    pub database_url: Option<String>,
    /// Folder for Farebox's data
    #[arg(long, global = true, value_name = "FOLDER")]
    pub data_dir: Option<String>,
    /// Log level: error, warn, info, debug or trace
    #[arg(long, global = true, value_name = "LEVEL")]
    pub log_level: Option<String>,
    /// Log format
    #[arg(long, global = true, value_name = "FORMAT", value_parser = ["text", "json"])]
    pub log_format: Option<String>,
    /// Any other setting, such as limits.drains=8; may be repeated
    #[arg(long = "set", global = true, value_name = "KEY=VALUE")]
    pub set: Vec<String>,
}

/// One layer, ready to merge.
struct Layer {
    name: &'static str,
    values: Dict,
}

impl Provider for Layer {
    fn metadata(&self) -> Metadata {
        Metadata::named(self.name)
    }

    fn data(&self) -> Result<Map<Profile, Dict>, figment::Error> {
        Ok(Profile::Default.collect(self.values.clone()))
    }
}

/// All four layers as one.
pub(super) fn extract(overrides: &Overrides, variables: &[(String, String)]) -> Result<Settings, ConfigError> {
    let mut figment = Figment::from(Serialized::defaults(Settings::default()));
    if let Some(file) = file_layer(overrides, variables)? {
        figment = figment.merge(file);
    }
    figment = figment.merge(variables_layer(variables)?).merge(flags_layer(overrides)?);
    figment.extract().map_err(|error| {
        let reason = words::plain(&error.kind.to_string());
        let reason = match &error.metadata {
            Some(metadata) => format!("{reason} (from {})", metadata.name),
            None => reason,
        };
        ConfigError::invalid(&error.path.join("."), reason)
    })
}

fn file_layer(overrides: &Overrides, variables: &[(String, String)]) -> Result<Option<Layer>, ConfigError> {
    let named = variables.iter().find(|(name, value)| name == "FAREBOX_CONFIG" && !value.is_empty());
    let asked = overrides.config.clone().or_else(|| named.map(|(_, value)| PathBuf::from(value)));
    let path = asked.clone().unwrap_or_else(|| PathBuf::from(DEFAULT_FILE));
    let refused = |reason: String| ConfigError::File { path: path.display().to_string(), reason };
    match fs::read_to_string(&path) {
        Ok(text) => {
            let values: Dict = toml::from_str(&text).map_err(|error| refused(error.to_string()))?;
            refuse_unknown(&values, &path)?;
            Ok(Some(Layer { name: "the settings file", values }))
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound && asked.is_none() => Ok(None),
        Err(error) => Err(refused(error.to_string())),
    }
}

fn refuse_unknown(values: &Dict, path: &Path) -> Result<(), ConfigError> {
    for key in dotted(values) {
        if keys::kind_of(&key).is_none() && !keys::is_table(&key) {
            return Err(unknown(&key, keys::nearest(&key), path.display().to_string()));
        }
    }
    Ok(())
}

fn unknown(key: &str, nearest: Option<String>, source_name: String) -> ConfigError {
    ConfigError::Unknown { key: key.to_owned(), source_name, nearest }
}

/// The full names of the keys in a nested dictionary. An empty table counts as a key.
fn dotted(values: &Dict) -> Vec<String> {
    let mut found = Vec::new();
    for (name, value) in values {
        match value.as_dict() {
            Some(inner) if !inner.is_empty() => {
                found.extend(dotted(inner).into_iter().map(|key| format!("{name}.{key}")));
            }
            Some(_) | None => found.push(name.clone()),
        }
    }
    found
}

/// `FAREBOX_LIMITS__DRAINS` is `limits.drains`. An empty variable is ignored, because compose files leave some empty.
fn variables_layer(variables: &[(String, String)]) -> Result<Layer, ConfigError> {
    let mut values = Dict::new();
    for (name, value) in variables.iter().filter(|(name, value)| name.starts_with(PREFIX) && !value.is_empty()) {
        if keys::is_other_variable(name) {
            continue;
        }
        let key = name[PREFIX.len()..].to_lowercase().replace("__", ".");
        let Some(kind) = keys::kind_of(&key) else {
            let nearest = keys::nearest(&key).map(|near| variable(&near));
            return Err(unknown(name, nearest, "the environment".to_owned()));
        };
        insert(&mut values, &key, read(&key, kind, value)?);
    }
    Ok(Layer { name: "the environment", values })
}

fn variable(key: &str) -> String {
    format!("{PREFIX}{}", key.to_uppercase().replace('.', "__"))
}

fn flags_layer(overrides: &Overrides) -> Result<Layer, ConfigError> {
    let mut values = Dict::new();
    for pair in &overrides.set {
        let Some((key, value)) = pair.split_once('=') else {
            return Err(ConfigError::invalid(pair, "--set takes KEY=VALUE"));
        };
        let Some(kind) = keys::kind_of(key) else {
            return Err(unknown(key, keys::nearest(key), "the flags".to_owned()));
        };
        insert(&mut values, key, read(key, kind, value)?);
    }
    let named = [
        ("listen", &overrides.listen),
        ("database.url", &overrides.database_url),
        ("data_dir", &overrides.data_dir),
        ("log.level", &overrides.log_level),
        ("log.format", &overrides.log_format),
    ];
    for (key, value) in named {
        if let Some(value) = value {
            insert(&mut values, key, Value::from(value.as_str()));
        }
    }
    Ok(Layer { name: "the flags", values })
}

fn read(key: &str, kind: Kind, text: &str) -> Result<Value, ConfigError> {
    match kind {
        Kind::Text => Ok(Value::from(text)),
        Kind::Number => text
            .parse::<u64>()
            .map(Value::from)
            .map_err(|_| ConfigError::invalid(key, format!("`{text}` is not a whole number"))),
        // As the file has it.
        Kind::List if text.trim_start().starts_with('[') => {
            let texts: Vec<String> = serde_json::from_str(text).map_err(|_| {
                ConfigError::invalid(
                    key,
                    format!("`{text}` is no list of texts in double quotes; or write them with commas alone"),
                )
            })?;
            Ok(Value::from(texts))
        }
        Kind::List => {
            let texts = text.split(',').map(str::trim).filter(|text| !text.is_empty());
            Ok(Value::from(texts.map(Value::from).collect::<Vec<_>>()))
        }
        Kind::Switch => text
            .parse::<bool>()
            .map(Value::from)
            .map_err(|_| ConfigError::invalid(key, format!("`{text}` is neither true nor false"))),
    }
}

fn insert(values: &mut Dict, key: &str, value: Value) {
    match key.split_once('.') {
        None => {
            values.insert(key.to_owned(), value);
        }
        Some((table, rest)) => {
            let inner = values.entry(table.to_owned()).or_insert_with(|| Value::from(Dict::new()));
            if let Value::Dict(_, inner) = inner {
                insert(inner, rest, value);
            }
        }
    }
}
