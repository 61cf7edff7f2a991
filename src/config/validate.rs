//! Checks that types can't express: the range of each number, the scheme of each address, and settings that need each
//! other.

use std::ops::RangeInclusive;

use engine::device::Device as Kind;
use tracing_subscriber::EnvFilter;

use super::{Clock, ConfigError, Device, Processor, Secret, Settings};

const KIB: u64 = 1024;
const GIB: u64 = 1024 * 1024 * 1024;
const QUEUE: RangeInclusive<u64> = 1..=1_000_000;

/// The first setting with an invalid value, by its key.
pub(super) fn check(settings: &Settings) -> Result<(), ConfigError> {
    ranges(settings)?;
    addresses(settings)?;
    secrets(settings)?;
    together(settings)?;
    devices(settings)?;
    if settings.data_dir.as_os_str().is_empty() {
        return Err(ConfigError::invalid("data_dir", "must name a folder"));
    }
    EnvFilter::try_new(&settings.log.level)
        .map_err(|error| ConfigError::invalid("log.level", error.to_string()))
        .map(drop)
}

fn ranges(settings: &Settings) -> Result<(), ConfigError> {
    let limits = &settings.limits;
    let wide = |number: usize| u64::try_from(number).unwrap_or(u64::MAX);
    let workers = settings.http.workers.map_or(1, |workers| wide(workers.get()));
    let threads = settings.runtime.threads.map_or(1, |threads| wide(threads.get()));
    let numbers = [
        ("limits.body_bytes", wide(limits.body_bytes), KIB..=GIB),
        ("limits.long_body_bytes", wide(limits.long_body_bytes), KIB..=GIB),
        ("limits.pool_queue", wide(limits.pool_queue), QUEUE),
        ("limits.live_buffer_bytes", wide(limits.live_buffer_bytes), KIB..=GIB),
        ("limits.live_replay_bytes", wide(limits.live_replay_bytes), KIB..=GIB),
        ("limits.live_replay_seconds", limits.live_replay_seconds, 0..=86_400),
        ("limits.unread_bytes", wide(limits.unread_bytes), KIB..=1024 * GIB),
        ("limits.answers_bytes", wide(limits.answers_bytes), 0..=1024 * GIB),
        (
            "limits.bodies_bytes",
            wide(limits.bodies_bytes),
            wide(limits.body_bytes.max(limits.long_body_bytes))..=1024 * GIB,
        ),
        ("limits.body_seconds", limits.body_seconds, 1..=3600),
        ("limits.drains", wide(limits.drains), 0..=100_000),
        ("limits.address_per_minute", settings.limits.address_per_minute.into(), 0..=60_000_000),
        ("limits.drain_seconds", limits.drain_seconds, 0..=3600),
        ("limits.stop_seconds", limits.stop_seconds, 0..=3600),
        ("limits.notice_seconds", limits.notice_seconds, 0..=300),
        ("webhooks.timeout_seconds", settings.webhooks.timeout_seconds, 1..=60),
        ("http.workers", workers, 1..=1024),
        ("http.heartbeat_seconds", settings.http.heartbeat_seconds, 1..=60),
        ("runtime.threads", threads, 1..=1024),
        ("runtime.sequences", wide(settings.runtime.sequences.get()), 1..=256),
        ("runtime.cache_mib", settings.runtime.cache_mib, 1..=16 << 20),
        ("cluster.lease_seconds", settings.cluster.lease_seconds, 3..=300),
        ("cluster.renew_seconds", settings.cluster.renew_seconds, 1..=settings.cluster.lease_seconds / 3),
        ("hub.most_gib", settings.hub.most_gib, 1..=1 << 20),
        ("pools.wait_seconds", settings.pools.wait_seconds, 1..=3_600),
        ("pools.load_seconds", settings.pools.load_seconds, 1..=86_400),
        ("pools.queue_seconds", settings.pools.queue_seconds, 1..=86_400),
        ("pools.turn_seconds", settings.pools.turn_seconds, 1..=3_600),
        ("pools.idle_seconds", settings.pools.idle_seconds, 0..=31 * 86_400),
    ];
    let providers = settings.providers.all().flat_map(|(name, provider)| {
        [
            (format!("providers.{name}.retries"), u64::from(provider.retries), 0..=10),
            (format!("providers.{name}.calls"), wide(provider.calls), 1..=4_096),
            (format!("providers.{name}.first_byte_seconds"), provider.first_byte_seconds, 1..=3_600),
            (format!("providers.{name}.idle_seconds"), provider.idle_seconds, 1..=3_600),
        ]
    });
    let numbers = numbers.into_iter().map(|(key, number, range)| (key.to_owned(), number, range)).chain(providers);
    for (key, number, range) in numbers {
        if !range.contains(&number) {
            let (low, high) = (range.start(), range.end());
            return Err(ConfigError::invalid(&key, format!("{number} is not between {low} and {high}")));
        }
    }
    Ok(())
}

fn devices(settings: &Settings) -> Result<(), ConfigError> {
    let mut kinds = Vec::new();
    for device in &settings.pools.device {
        let wrong = |reason: String| Err(ConfigError::invalid("pools.device", reason));
        if device.kind != Kind::Cpu && settings.runtime.device == Device::Cpu {
            return wrong(format!("`{}` is a card, and `runtime.device` is `cpu`", device.kind));
        }
        if kinds.contains(&device.kind) {
            return wrong(format!("`{}` is there twice", device.kind));
        }
        if device.memory.0 == 0 {
            return wrong(format!("`{}` has no memory", device.kind));
        }
        kinds.push(device.kind);
    }
    let has_card = kinds.is_empty() || kinds.iter().any(|kind| *kind != Kind::Cpu);
    if settings.runtime.device == Device::Cuda && !has_card {
        return Err(ConfigError::invalid("runtime.device", "is `cuda`, and `pools.device` names no card"));
    }
    Ok(())
}

/// Headers that every request has, and that no key can stand in.
const OF_HTTP: [&str; 10] = [
    "accept",
    "accept-encoding",
    "connection",
    "content-encoding",
    "content-length",
    "content-type",
    "host",
    "te",
    "transfer-encoding",
    "upgrade",
];

/// The most shards: each has a log, and an owner that takes it over one by one.
const MOST_SHARDS: u16 = 256;

fn addresses(settings: &Settings) -> Result<(), ConfigError> {
    settings.providers.check_names()?;
    begins("database.url", settings.database.url.as_str(), &["sqlite:", "postgres://", "postgresql://"])?;
    if settings.database.shards.get() > MOST_SHARDS {
        return Err(ConfigError::invalid("database.shards", format!("must be at most {MOST_SHARDS}")));
    }
    if let Some(missing) = settings.cluster.tls.missing() {
        let reason = "must be set where another setting of cluster.tls is";
        return Err(ConfigError::invalid(&format!("cluster.tls.{missing}"), reason));
    }
    if settings.cluster.tls.files().is_some() && settings.cluster.listen.is_none() {
        return Err(ConfigError::invalid("cluster.tls", "has no effect where cluster.listen is not set"));
    }
    if settings.cluster.listen.is_some() {
        // A file has one node: nothing is begun that can't go on.
        begins("database.url", settings.database.url.as_str(), &["postgres://", "postgresql://"])
            .map_err(|_| ConfigError::invalid("database.url", "must be PostgreSQL's where cluster.listen is set"))?;
        if settings.cluster.secret.as_ref().is_none_or(|secret| secret.expose().len() < 32) {
            return Err(ConfigError::invalid(
                "cluster.secret",
                "must have at least 32 bytes where cluster.listen is set",
            ));
        }
        // Retried requests are known by it, whichever node they come to.
        if settings.admin_token.is_none() {
            return Err(ConfigError::invalid(
                "admin_token",
                "must be set, to the same for all nodes, where cluster.listen is set",
            ));
        }
    }
    if let Some(url) = &settings.redis.url {
        let schemes = ["redis://", "rediss://", "redis-cluster://", "rediss-cluster://"];
        begins("redis.url", url.as_str(), &schemes)?;
    }
    if let Some(url) = &settings.traces.endpoint {
        begins("traces.endpoint", url.as_str(), &["http://", "https://"])?;
        if url.as_str().contains(['?', '#', '@']) {
            let reason = "must have no query, no fragment and no name; what opens the collector is in traces.headers";
            return Err(ConfigError::invalid("traces.endpoint", reason));
        }
    }
    if settings.traces.headers().is_none() {
        return Err(ConfigError::invalid("traces.headers", "is written NAME=VALUE,NAME=VALUE"));
    }
    for (name, provider) in settings.providers.all() {
        if let Some(url) = &provider.base_url {
            begins(&format!("providers.{name}.base_url"), url, &["http://", "https://"])?;
        }
        if provider.base_url.as_ref().is_some_and(|url| url.contains(['?', '#', '@'])) {
            let reason = "must have no query, no fragment and no name; the key is a setting of its own";
            return Err(ConfigError::invalid(&format!("providers.{name}.base_url"), reason));
        }
        if provider.key_header.as_ref().is_some_and(|header| OF_HTTP.iter().any(|own| own.eq_ignore_ascii_case(header)))
        {
            let reason = "is a header with a meaning of its own";
            return Err(ConfigError::invalid(&format!("providers.{name}.key_header"), reason));
        }
        let is_part = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
        if provider.key_header.as_ref().is_some_and(|header| header.is_empty() || !header.bytes().all(is_part)) {
            let key = format!("providers.{name}.key_header");
            return Err(ConfigError::invalid(&key, "must be the name of a header, such as api-key"));
        }
    }
    if let Some(url) = &settings.payments.stripe.base_url {
        begins("payments.stripe.base_url", url, &["http://", "https://"])?;
    }
    if let Some(url) = &settings.payments.stripe.script {
        begins("payments.stripe.script", url, &["http://", "https://"])?;
    }
    if let Some(url) = &settings.hub.address {
        begins("hub.address", url, &["http://", "https://"])?;
    }
    settings.people.check()?;
    super::proxies::read(&settings.http.trusted_proxies)?;
    origins(&settings.http.cors_origins)
}

/// Browsers send an origin as scheme, host and port, and compare it as text.
fn origins(origins: &[String]) -> Result<(), ConfigError> {
    let is_origin = |text: &str| {
        let rest = text.split_once("://").filter(|(scheme, _)| !scheme.is_empty()).map(|(_, rest)| rest);
        let fits = |b: u8| b.is_ascii_graphic() && !b.is_ascii_uppercase() && !b"/?#@*".contains(&b);
        rest.is_some_and(|rest| !rest.is_empty() && rest.bytes().all(fits))
    };
    let is_any = |text: &String| text == "*";
    if origins.len() > 1 && origins.iter().any(is_any) {
        return Err(ConfigError::invalid("http.cors_origins", "`*` is all, and stands alone"));
    }
    if let Some(wrong) = origins.iter().find(|text| !is_any(text) && !is_origin(text)) {
        let reason =
            format!("`{wrong}` is no origin such as https://app.example.com, without a path, in small letters");
        return Err(ConfigError::invalid("http.cors_origins", reason));
    }
    Ok(())
}

/// The value is not in the error: an address may hold a password.
fn begins(key: &str, url: &str, schemes: &[&str]) -> Result<(), ConfigError> {
    let complete = schemes.iter().any(|scheme| url.strip_prefix(scheme).is_some_and(|rest| !rest.is_empty()));
    if complete {
        return Ok(());
    }
    Err(ConfigError::invalid(key, format!("must be an address that begins with {}", schemes.join(" or "))))
}

fn secrets(settings: &Settings) -> Result<(), ConfigError> {
    let stripe = &settings.payments.stripe;
    let mut found = vec![
        ("admin_token".to_owned(), &settings.admin_token),
        ("payments.stripe.secret_key".to_owned(), &stripe.secret_key),
        ("payments.stripe.webhook_secret".to_owned(), &stripe.webhook_secret),
        ("traces.headers".to_owned(), &settings.traces.headers),
    ];
    found.extend(
        settings.providers.all().map(|(name, provider)| (format!("providers.{name}.api_key"), &provider.api_key)),
    );
    let all: Vec<_> = settings.providers.all().collect();
    for (name, provider) in &all {
        for secret in provider.api_key.iter().chain(&provider.keys) {
            let weight = secret.expose().rsplit_once('*').map(|(key, weight)| !key.is_empty() && is_weight(weight));
            if weight == Some(false) {
                let key = format!("providers.{name}.keys");
                return Err(ConfigError::invalid(
                    &key,
                    "a key is written KEY or KEY*WEIGHT, with a whole number from 1",
                ));
            }
        }
    }
    let lists = all.iter().flat_map(|(name, provider)| {
        provider.keys.iter().map(move |key| (format!("providers.{name}.keys"), Some(key.clone())))
    });
    let lists: Vec<_> = lists.collect();
    found.extend(lists.iter().map(|(key, secret)| (key.clone(), secret)));
    for (key, secret) in found {
        // Other characters can't stand in an HTTP header, so the secret could never be sent or matched.
        let fits =
            |secret: &Secret| !secret.expose().is_empty() && secret.expose().bytes().all(|b| b.is_ascii_graphic());
        if secret.as_ref().is_some_and(|secret| !fits(secret)) {
            return Err(ConfigError::invalid(&key, "must be visible ASCII characters without spaces, at least one"));
        }
    }
    Ok(())
}

/// Whether a key is one of those that Stripe means for browsers.
fn is_publishable(key: &str) -> bool {
    let rest = key.strip_prefix("pk_").unwrap_or_default();
    !rest.is_empty() && rest.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

fn is_weight(text: &str) -> bool {
    text.parse::<u32>().is_ok_and(|weight| weight >= 1)
}

fn together(settings: &Settings) -> Result<(), ConfigError> {
    let stripe = &settings.payments.stripe;
    match settings.payments.processor {
        Processor::Stripe if settings.clock != Clock::System => {
            Err(ConfigError::invalid("clock", "`test` works with `payments.processor` = `sandbox` only"))
        }
        Processor::Stripe if stripe.secret_key.is_none() => {
            Err(ConfigError::invalid("payments.stripe.secret_key", "is needed by `payments.processor` = `stripe`"))
        }
        Processor::Stripe if stripe.webhook_secret.is_none() => {
            Err(ConfigError::invalid("payments.stripe.webhook_secret", "is needed by `payments.processor` = `stripe`"))
        }
        // Browsers get this key: another one would be given away.
        Processor::Stripe if stripe.publishable_key.as_ref().is_some_and(|key| !is_publishable(key)) => {
            let rule = "begins with `pk_`: it is shown to browsers, and no other key may be";
            Err(ConfigError::invalid("payments.stripe.publishable_key", rule))
        }
        Processor::Sandbox | Processor::Stripe => Ok(()),
    }
}
