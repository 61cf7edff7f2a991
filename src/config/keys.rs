//! Every key a setting may have, and the kind of its value: what variables and flags, which are only text, are read as,
//! and what a misspelt key is compared with. A test keeps this list and [`super::Settings`] equal.

/// What the text of a variable is read as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// As it is.
    Text,
    /// A whole number.
    Number,
    /// `true` or `false`.
    Switch,
    /// Texts with commas between them.
    List,
}

/// The known keys, dotted as in the file's tables.
pub const KEYS: &[(&str, Kind)] = &[
    ("listen", Kind::Text),
    ("data_dir", Kind::Text),
    ("admin_token", Kind::Text),
    ("clock", Kind::Text),
    ("faults", Kind::Switch),
    ("database.url", Kind::Text),
    ("redis.url", Kind::Text),
    ("limits.body_bytes", Kind::Number),
    ("limits.overdraft", Kind::Text),
    ("limits.concurrency", Kind::Text),
    ("limits.pool_queue", Kind::Number),
    ("limits.live_buffer_bytes", Kind::Number),
    ("limits.unread_bytes", Kind::Number),
    ("limits.bodies_bytes", Kind::Number),
    ("limits.body_seconds", Kind::Number),
    ("limits.drains", Kind::Number),
    ("limits.drain_seconds", Kind::Number),
    ("limits.stop_seconds", Kind::Number),
    ("providers.openai.api_key", Kind::Text),
    ("providers.openai.base_url", Kind::Text),
    ("providers.anthropic.api_key", Kind::Text),
    ("providers.anthropic.base_url", Kind::Text),
    ("providers.google.api_key", Kind::Text),
    ("providers.google.base_url", Kind::Text),
    ("providers.mistral.api_key", Kind::Text),
    ("providers.mistral.base_url", Kind::Text),
    ("providers.cohere.api_key", Kind::Text),
    ("providers.cohere.base_url", Kind::Text),
    ("payments.processor", Kind::Text),
    ("payments.stripe.secret_key", Kind::Text),
    ("payments.stripe.webhook_secret", Kind::Text),
    ("payments.stripe.base_url", Kind::Text),
    ("webhooks.allow_private", Kind::Switch),
    ("webhooks.timeout_seconds", Kind::Number),
    ("runtime.onnxruntime", Kind::Text),
    ("runtime.device", Kind::Text),
    ("runtime.threads", Kind::Number),
    ("runtime.models_dir", Kind::Text),
    ("log.level", Kind::Text),
    ("log.format", Kind::Text),
    ("http.workers", Kind::Number),
    ("http.error_form", Kind::Text),
    ("http.cors_origins", Kind::List),
    ("http.heartbeat_seconds", Kind::Number),
    ("http.metrics", Kind::Text),
];

/// Variables that begin like settings and are not: read elsewhere, or put there by others.
const OTHER_VARIABLES: &[&str] = &["FAREBOX_CONFIG", "FAREBOX_CACHE", "FAREBOX_URL", "FAREBOX_API_KEY", "FAREBOX_PORT"];

/// The tests' own, and what Kubernetes sets for a service called `farebox`.
const OTHER_PREFIXES: &[&str] = &["FAREBOX_TEST_", "FAREBOX_SERVICE_", "FAREBOX_PORT_"];

pub(super) fn kind_of(key: &str) -> Option<Kind> {
    KEYS.iter().find(|(known, _)| *known == key).map(|(_, kind)| *kind)
}

pub(super) fn is_other_variable(name: &str) -> bool {
    OTHER_VARIABLES.contains(&name) || OTHER_PREFIXES.iter().any(|prefix| name.starts_with(prefix))
}

/// The known key most like `key`, unless none is much like it.
pub(super) fn nearest(key: &str) -> Option<String> {
    let last = |dotted: &str| dotted.rsplit('.').next().unwrap_or_default().to_owned();
    let scored = KEYS.iter().map(|(known, _)| {
        // A right name in the wrong table is as near as one letter off.
        let distance = if last(known) == last(key) { 1 } else { strsim::levenshtein(known, key) };
        (distance, *known)
    });
    let (distance, known) = scored.min()?;
    (distance <= 1 + key.len() / 4).then(|| known.to_owned())
}
