//! Every key of the settings, and the kind of its value. The kind decides how variables and flags, which are only text,
//! are read; misspelt keys are compared with the known ones. Both are derived from [`Settings`], so that a setting is
//! added there and nowhere else.

use std::{borrow::Cow, sync::LazyLock};

use figment::{
    Figment, Profile, Provider as _,
    providers::Serialized,
    value::{Dict, Value},
};

use super::{Issuer, Settings, oidc, providers::KNOWN};

/// How the text of a variable is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// The text itself.
    Text,
    /// A whole number.
    Number,
    /// `true` or `false`.
    Switch,
    /// Texts separated by commas.
    List,
}

/// The known keys and their kinds.
pub(super) static KEYS: LazyLock<Vec<(String, Kind)>> = LazyLock::new(|| {
    let data = Serialized::defaults(Settings::default()).data();
    let defaults = data.ok().and_then(|mut data| data.remove(&Profile::Default)).unwrap_or_default();
    let mut keys = Vec::new();
    add(&mut keys, "", &defaults);
    // There is no issuer by default: what one has is known from a pattern.
    let pattern = Serialized::defaults(Issuer::default()).data();
    let pattern = pattern.ok().and_then(|mut data| data.remove(&Profile::Default)).unwrap_or_default();
    add(&mut keys, &format!("{}{PATTERN}.", oidc::BEGIN), &pattern);
    keys
});

/// The issuer that stands for all others.
const PATTERN: &str = "company";

/// The known keys, dotted as in the file's tables.
pub fn known_keys() -> impl Iterator<Item = &'static str> {
    KEYS.iter().map(|(key, _)| &**key)
}

fn add(keys: &mut Vec<(String, Kind)>, prefix: &str, values: &Dict) {
    for (name, value) in values {
        let key = format!("{prefix}{name}");
        match value {
            Value::Dict(_, inner) => add(keys, &format!("{key}."), inner),
            Value::Bool(..) => keys.push((key, Kind::Switch)),
            Value::Num(..) => keys.push((key, Kind::Number)),
            Value::Array(..) => keys.push((key, Kind::List)),
            Value::String(..) | Value::Char(..) => keys.push((key, Kind::Text)),
            // Without a default, the kind is found by trying values.
            Value::Empty(..) => {
                let kind = if takes_a_number(&key) { Kind::Number } else { Kind::Text };
                keys.push((key, kind));
            }
        }
    }
}

fn takes_a_number(key: &str) -> bool {
    let tried = Figment::from(Serialized::defaults(Settings::default())).merge(Serialized::default(key, 1_u64));
    tried.extract::<Settings>().is_ok()
}

/// Variables with the settings' prefix that are no settings: they are read elsewhere, or set by other programs.
const OTHER_VARIABLES: &[&str] = &["FAREBOX_CONFIG", "FAREBOX_CACHE", "FAREBOX_URL", "FAREBOX_API_KEY", "FAREBOX_PORT"];

/// The prefixes of the tests' variables, and of Kubernetes' for a service called `farebox`.
const OTHER_PREFIXES: &[&str] = &["FAREBOX_TEST_", "FAREBOX_SERVICE_", "FAREBOX_PORT_"];

/// The beginning of the settings of providers, which an operator may add under any name.
pub(super) const BEGIN: &str = "providers.";

/// A key as it stands among the known ones: a setting of any provider is one of the first, that of any issuer one of the
/// pattern.
fn as_known(key: &str) -> Cow<'_, str> {
    let of = |begin: &str| key.strip_prefix(begin).and_then(|rest| rest.split_once('.'));
    match (of(BEGIN), of(oidc::BEGIN)) {
        (Some((name, setting)), _) if !KNOWN.contains(&name) => Cow::Owned(format!("{BEGIN}{}.{setting}", KNOWN[0])),
        (_, Some((_, setting))) => Cow::Owned(format!("{}{PATTERN}.{setting}", oidc::BEGIN)),
        _ => Cow::Borrowed(key),
    }
}

pub(super) fn kind_of(key: &str) -> Option<Kind> {
    let key = as_known(key);
    KEYS.iter().find(|(known, _)| *known == key).map(|(_, kind)| *kind)
}

/// Whether a key is a table of settings.
pub(super) fn is_table(key: &str) -> bool {
    let is_named = |begin| key.strip_prefix(begin).is_some_and(|name| !name.contains('.'));
    is_named(BEGIN) || is_named(oidc::BEGIN) || KEYS.iter().any(|(known, _)| known.starts_with(&format!("{key}.")))
}

pub(super) fn is_other_variable(name: &str) -> bool {
    OTHER_VARIABLES.contains(&name) || OTHER_PREFIXES.iter().any(|prefix| name.starts_with(prefix))
}

/// The table of a key; empty where the key is in none.
fn table(key: &str) -> &str {
    key.rsplit_once('.').map_or("", |(table, _)| table)
}

/// The known key most like `key`, unless none is similar.
pub(super) fn nearest(key: &str) -> Option<String> {
    let known = as_known(key);
    let last = |dotted: &str| dotted.rsplit('.').next().unwrap_or_default().to_owned();
    let scored = KEYS.iter().map(|(near, _)| {
        // A right name in the wrong table counts as one wrong letter.
        let distance = if last(near) == last(key) { 1 } else { strsim::levenshtein(near, &known) };
        (distance, near)
    });
    let (distance, near) = scored.min()?;
    // A setting of the same table is told by the table's own name.
    let told = near.strip_prefix(table(&known)).map_or_else(|| near.clone(), |rest| format!("{}{rest}", table(key)));
    (distance <= 1 + key.len() / 4).then_some(told)
}
