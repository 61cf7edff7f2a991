//! The settings of the hub that open models are pulled from. Its own tools' variables are read too, so that a machine that
//! has them needs no others.

use serde::{Deserialize, Serialize};

use super::Secret;

/// The hub that is asked where no other is named.
const ADDRESS: &str = "https://huggingface.co";

/// Where open models are pulled from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Hub {
    /// Its address; `HF_ENDPOINT`, or else the Hugging Face hub's, where none is set.
    pub address: Option<String>,
    /// The token for gated and private repositories; `HF_TOKEN` where none is set.
    pub token: Option<Secret>,
    /// The most that one pull may download, in GiB.
    pub most_gib: u64,
}

impl Default for Hub {
    fn default() -> Self {
        Self { address: None, token: None, most_gib: 200 }
    }
}

impl Hub {
    /// The address of the hub.
    pub fn address(&self) -> &str {
        self.address.as_deref().unwrap_or(ADDRESS)
    }

    /// Takes what is not set from the variables of the hub's own tools.
    pub(super) fn fill_in(&mut self, variables: &[(String, String)]) {
        let named = |name: &str| {
            let found = variables.iter().find(|(variable, value)| variable == name && !value.trim().is_empty());
            found.map(|(_, value)| value.trim().to_owned())
        };
        self.address = self.address.take().or_else(|| named("HF_ENDPOINT"));
        self.token = self.token.take().or_else(|| named("HF_TOKEN").map(Secret::from));
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Overrides, Settings};

    #[test]
    fn the_hubs_own_variables_stand_behind_the_settings() {
        let load = |variables: &[(&str, &str)]| {
            let variables: Vec<_> =
                variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
            Settings::load_from(&Overrides::default(), &variables).unwrap().hub
        };
        assert_eq!(load(&[]).address(), "https://huggingface.co");
        let theirs = [("HF_ENDPOINT", "https://mirror.example"), ("HF_TOKEN", " hf_theirs\n")];
        let found = load(&theirs);
        assert_eq!((found.address(), found.token.as_ref().unwrap().expose()), ("https://mirror.example", "hf_theirs"));
        assert!(!format!("{found:?}").contains("hf_theirs"));
        let ours = [theirs[0], theirs[1], ("FAREBOX_HUB__ADDRESS", "http://a"), ("FAREBOX_HUB__TOKEN", "hf_ours")];
        let found = load(&ours);
        assert_eq!((found.address(), found.token.as_ref().unwrap().expose()), ("http://a", "hf_ours"));
    }
}
