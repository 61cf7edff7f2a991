//! The closed providers that are called: the format and the address of each, and the actor that watches it.

use std::{collections::HashMap, time::Duration};

use actors::provider::{ProviderActor, ProviderHandle, ProviderSettings, WeightedKey};
use runtime::{
    health::Health,
    supervisor::{Supervisor, supervise_replaceable},
};
use upstream::Timeouts;
use wire::format::{
    ProviderFormat,
    anthropic::Anthropic,
    cohere::Cohere,
    gemini::Gemini,
    mistral::Mistral,
    openai::{OpenAi, OpenAiCompatible},
};

use crate::config::{self, ApiFormat, Settings};

/// A provider whose address and format are known.
struct Known {
    name: &'static str,
    address: &'static str,
    format: &'static dyn ProviderFormat,
}

/// The known providers. Others are named in the settings, with their address.
const KNOWN: [Known; 5] = [
    Known { name: "openai", address: "https://api.openai.com/v1", format: &OpenAi },
    Known { name: "anthropic", address: "https://api.anthropic.com", format: &Anthropic },
    Known { name: "google", address: "https://generativelanguage.googleapis.com", format: &Gemini },
    Known { name: "mistral", address: "https://api.mistral.ai", format: &Mistral },
    Known { name: "cohere", address: "https://api.cohere.com", format: &Cohere },
];

/// Starts each provider's actor, and returns their handles by name.
pub(super) fn start(
    settings: &Settings,
    chief: &actix::Addr<Supervisor>,
    arbiter: &actix::ArbiterHandle,
    health: &Health,
) -> HashMap<String, ProviderHandle> {
    let start = |(name, set): (&str, &config::Provider)| {
        let known = KNOWN.iter().find(|known| known.name == name);
        let spoken = known.map_or(&OpenAiCompatible as &'static dyn ProviderFormat, |known| known.format);
        let handle = ProviderHandle::new(ProviderSettings {
            name: name.into(),
            format: set.format.map_or(spoken, format),
            // The settings are checked: a provider that is not known has an address.
            base_url: set.base_url.clone().or_else(|| Some(known?.address.to_owned())).unwrap_or_default(),
            key_header: set.key_header.clone(),
            keys: set.api_key.iter().chain(&set.keys).filter_map(|key| WeightedKey::parse(key.expose())).collect(),
            takes_own_keys: set.takes_own_keys(name),
            retries: set.retries,
            most_calls: set.calls,
            timeouts: Timeouts {
                first_byte: Duration::from_secs(set.first_byte_seconds),
                idle: Duration::from_secs(set.idle_seconds),
            },
        });
        let (published, vitals) = (handle.clone(), health.clone());
        let make = move |exit| ProviderActor::new(published.clone(), vitals.clone(), exit);
        supervise_replaceable(chief, arbiter.clone(), health, name, make);
        (name.to_owned(), handle)
    };
    settings.providers.all().map(start).collect()
}

fn format(named: ApiFormat) -> &'static dyn ProviderFormat {
    match named {
        ApiFormat::OpenAi => &OpenAi,
        ApiFormat::OpenAiCompatible => &OpenAiCompatible,
        ApiFormat::Anthropic => &Anthropic,
        ApiFormat::Google => &Gemini,
        ApiFormat::Mistral => &Mistral,
        ApiFormat::Cohere => &Cohere,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{KNOWN_PROVIDERS, Providers};

    #[test]
    fn every_provider_has_settings_and_its_address_in_the_example_file() {
        assert_eq!(KNOWN.map(|known| known.name), KNOWN_PROVIDERS);
        let file = include_str!("../../config/farebox.toml");
        for Known { name, address, .. } in KNOWN {
            assert!(Providers::default().named(name).is_some(), "{name}");
            let section = file.split(&format!("[providers.{name}]")).nth(1).unwrap().split("\n[").next().unwrap();
            let shown = section.lines().find_map(|line| line.strip_prefix("# base_url = "));
            assert_eq!(shown, Some(format!("{address:?}").as_str()));
        }
    }
}
