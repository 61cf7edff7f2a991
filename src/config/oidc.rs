//! The settings of issuers by whose word people sign in (OpenID Connect), each under a name that the operator chooses: it is in the
//! address that the issuer sends browsers back to.

use std::collections::BTreeMap;

use oidc::Algorithm;
use serde::{Deserialize, Serialize};

use super::{ConfigError, Secret};

/// The beginning of the settings of issuers.
pub(super) const BEGIN: &str = "people.oidc.";
/// The longest name of an issuer.
const LONGEST_NAME: usize = 32;
/// The longest words on a button, in characters.
const LONGEST_LABEL: usize = 60;

/// Issuers, by name.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Issuers(BTreeMap<String, Issuer>);

/// One issuer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Issuer {
    /// Its address, as it calls itself; discovery is below it.
    pub issuer: String,
    /// Whom it knows this gateway as.
    pub client_id: String,
    /// What proves that; none for a client that has none.
    pub client_secret: Option<Secret>,
    /// What it is called on buttons; its name by default.
    pub label: Option<String>,
    /// What is asked for beside `openid`.
    pub scopes: Vec<String>,
    /// The domains of e-mail addresses that it may speak for; with none, all.
    pub domains: Vec<String>,
    /// Whether somebody who is not known here comes in by its word, with a new account.
    pub sign_up: bool,
    /// The algorithms by which its ID tokens may be signed.
    pub algorithms: Vec<Algorithm>,
}

impl Default for Issuer {
    fn default() -> Self {
        Self {
            issuer: String::new(),
            client_id: String::new(),
            client_secret: None,
            label: None,
            scopes: vec!["email".to_owned(), "profile".to_owned()],
            domains: Vec::new(),
            sign_up: false,
            algorithms: vec![Algorithm::Rs256, Algorithm::Ps256, Algorithm::Es256, Algorithm::Es384, Algorithm::EdDsa],
        }
    }
}

impl Issuers {
    /// All issuers by name.
    pub fn all(&self) -> impl Iterator<Item = (&str, &Issuer)> {
        self.0.iter().map(|(name, issuer)| (&**name, issuer))
    }

    /// Checks what types can't express.
    pub(super) fn check(&self) -> Result<(), ConfigError> {
        let is_part = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'_';
        for (name, issuer) in self.all() {
            let key = format!("{BEGIN}{name}");
            if name.is_empty() || name.len() > LONGEST_NAME || !name.bytes().all(is_part) {
                let reason = format!(
                    "a name of an issuer has 1 to {LONGEST_NAME} small letters, digits, hyphens and underscores"
                );
                return Err(ConfigError::invalid(&key, reason));
            }
            issuer.check().map_err(|(setting, reason)| ConfigError::invalid(&format!("{key}.{setting}"), reason))?;
        }
        Ok(())
    }
}

impl Issuer {
    /// The setting that is wrong, and what it must be.
    fn check(&self) -> Result<(), (&'static str, &'static str)> {
        if !is_address(&self.issuer) {
            return Err((
                "issuer",
                "must be the issuer's address, such as https://accounts.example.com, without a query; http:// for this \
                 machine alone",
            ));
        }
        if self.client_id.is_empty() || self.client_id.chars().any(char::is_control) {
            return Err(("client_id", "is required: whom the issuer knows this gateway as"));
        }
        let is_label = |label: &String| {
            let length = label.chars().count();
            (1..=LONGEST_LABEL).contains(&length) && !label.chars().any(char::is_control)
        };
        if self.label.as_ref().is_some_and(|label| !is_label(label)) {
            return Err(("label", "must have 1 to 60 characters, none of them a control character"));
        }
        // RFC 6749, section 3.3.
        let is_scope = |scope: &String| {
            !scope.is_empty() && scope.bytes().all(|b| b.is_ascii_graphic() && b != b'"' && b != b'\\')
        };
        if !self.scopes.iter().all(is_scope) {
            return Err(("scopes", "must be scopes of the issuer, such as email"));
        }
        let is_domain = |domain: &String| {
            let is_part = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'.';
            !domain.is_empty() && domain.bytes().all(is_part)
        };
        if !self.domains.iter().all(is_domain) {
            return Err(("domains", "must be domains such as example.com, in small letters"));
        }
        if self.algorithms.is_empty() {
            return Err(("algorithms", "must name at least one"));
        }
        Ok(())
    }
}

/// Whether an issuer can have this address: behind TLS, unless it is this machine.
fn is_address(text: &str) -> bool {
    let (scheme, rest) = text.split_once("://").unwrap_or_default();
    let host = rest.split('/').next().unwrap_or_default();
    let is_plain = rest.bytes().all(|b| b.is_ascii_graphic() && !b"?#@".contains(&b));
    let name = host.rsplit_once(':').map_or(host, |(name, _)| name);
    let is_here = ["localhost", "127.0.0.1", "[::1]"].contains(&name) || host == "[::1]";
    !host.is_empty() && is_plain && (scheme == "https" || (scheme == "http" && is_here))
}

#[cfg(test)]
mod tests {
    use super::super::{Overrides, Settings};
    use super::*;

    fn load(file: &[(&str, &str)]) -> Result<Settings, String> {
        let set = file.iter().map(|(key, value)| format!("{key}={value}")).collect();
        Settings::load_from(&Overrides { set, ..Overrides::default() }, &[]).map_err(|error| error.to_string())
    }

    const GOOD: [(&str, &str); 4] = [
        ("people.url", "https://box.example.com"),
        ("people.oidc.work.issuer", "https://accounts.example.com"),
        ("people.oidc.work.client_id", "farebox"),
        ("people.oidc.work.client_secret", "hush-hush"),
    ];

    #[test]
    fn an_issuer_of_any_name_has_an_address_and_a_client() {
        let variables = [("FAREBOX_PEOPLE__OIDC__HOME__ISSUER".to_owned(), "http://localhost:9/realms/x".to_owned())];
        let set = GOOD.map(|(key, value)| format!("{key}={value}")).to_vec();
        let set = [set, vec!["people.oidc.home.client_id=box".to_owned()]].concat();
        let settings = Settings::load_from(&Overrides { set, ..Overrides::default() }, &variables).unwrap();
        let issuers: Vec<_> = settings.people.oidc.all().collect();
        assert_eq!(issuers.iter().map(|(name, _)| *name).collect::<Vec<_>>(), ["home", "work"]);
        assert_eq!(issuers[0].1.scopes, ["email", "profile"]);
        assert!(!format!("{settings:?}").contains("hush-hush"));
        let more = [("people.oidc.work.algorithms", "RS256,EdDSA"), ("people.passwords", "false")];
        let settings = load(&[&GOOD[..], &more].concat()).unwrap();
        let (_, work) = settings.people.oidc.all().next().unwrap();
        assert_eq!(work.algorithms, [Algorithm::Rs256, Algorithm::EdDsa]);
        for (key, value, told) in [
            ("people.oidc.work.issuer", "http://accounts.example.com", "people.oidc.work.issuer"),
            ("people.oidc.work.issuer", "https://me@accounts.example.com", "people.oidc.work.issuer"),
            ("people.oidc.work.issuer", "https://accounts.example.com/?x", "people.oidc.work.issuer"),
            ("people.oidc.work.issuer", "", "people.oidc.work.issuer"),
            ("people.oidc.other.client_id", "x", "people.oidc.other.issuer"),
            ("people.oidc.work.algorithms", "HS256", "people.oidc.work.algorithms"),
            ("people.oidc.work.algorithms", "none", "people.oidc.work.algorithms"),
            ("people.oidc.work.algorithms", ",", "people.oidc.work.algorithms"),
            ("people.oidc.work.domains", "Example.com", "people.oidc.work.domains"),
            ("people.oidc.work.label", "a\nb", "people.oidc.work.label"),
            ("people.oidc.work.scopes", "a b\"", "people.oidc.work.scopes"),
            ("people.oidc.work.client_secre", "x", "people.oidc.work.client_secret"),
            ("people.oidc.WORK.issuer", "https://x", "people.oidc.WORK"),
        ] {
            let said = load(&[&GOOD[..], &[(key, value)]].concat()).unwrap_err();
            assert!(said.contains(told) && !said.contains("hush"), "{key}={value}: {said}");
        }
        assert!(load(&GOOD[1..]).unwrap_err().contains("people.url"));
        assert!(load(&[("people.passwords", "false")]).unwrap_err().contains("people.passwords"));
    }
}
