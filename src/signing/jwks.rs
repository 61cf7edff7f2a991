//! Public keys of Ed25519, and lists of them as a JWKS (RFC 7517, RFC 8037). A key's id is always its thumbprint (RFC 7638),
//! whatever a list calls it.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use ring::digest::{SHA256, digest};
use serde::Deserialize;
use serde_json::{Value, json};

/// The most keys that are read of a list.
const MOST: usize = 1_000;

/// A public key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublicKey([u8; 32]);

impl PublicKey {
    /// The key of these bytes; `None` if they are not 32.
    pub fn new(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self)
    }

    /// The bytes.
    pub const fn bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// The bytes as a JWK has them.
    pub fn x(&self) -> String {
        URL_SAFE_NO_PAD.encode(self.0)
    }

    /// The key's id: the hash of its required members, in the order of their names.
    pub fn thumbprint(&self) -> String {
        let members = format!(r#"{{"crv":"Ed25519","kty":"OKP","x":"{}"}}"#, self.x());
        URL_SAFE_NO_PAD.encode(digest(&SHA256, members.as_bytes()).as_ref())
    }
}

/// A list of public keys, oldest first.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Keys(Vec<PublicKey>);

/// A key of a list, as far as this program reads it.
#[derive(Deserialize)]
struct Listed {
    kty: String,
    #[serde(default)]
    crv: String,
    #[serde(default)]
    x: String,
}

#[derive(Deserialize)]
struct List {
    keys: Vec<Listed>,
}

impl Keys {
    /// Reads a JWKS. Keys of other kinds are left out.
    ///
    /// # Errors
    ///
    /// The text is no JWKS, or a key of this kind is malformed.
    pub fn read(text: &str) -> Result<Self, String> {
        let list: List = serde_json::from_str(text).map_err(|error| format!("not a JWKS: {error}"))?;
        let mut keys = Self::default();
        for key in list.keys.iter().take(MOST).filter(|key| key.kty == "OKP" && key.crv == "Ed25519") {
            let bytes = URL_SAFE_NO_PAD.decode(&key.x).ok();
            let key = bytes.and_then(|bytes| PublicKey::new(&bytes));
            keys.add(key.ok_or("not a JWKS: a key of Ed25519 is not 32 bytes")?);
        }
        Ok(keys)
    }

    /// Adds a key, and returns whether it is new.
    pub fn add(&mut self, key: PublicKey) -> bool {
        let is_new = !self.0.contains(&key);
        self.0.extend(is_new.then_some(key));
        is_new
    }

    /// The key with an id.
    pub fn find(&self, id: &str) -> Option<&PublicKey> {
        self.0.iter().find(|key| key.thumbprint() == id)
    }

    /// The keys.
    pub fn iter(&self) -> impl Iterator<Item = &PublicKey> {
        self.0.iter()
    }

    /// The number of keys.
    pub const fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is no key.
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The list as a JWKS.
    pub fn to_json(&self) -> Value {
        let key = |key: &PublicKey| json!({"kty": "OKP", "crv": "Ed25519", "x": key.x(), "kid": key.thumbprint(), "alg": "EdDSA", "use": "sig"});
        json!({"keys": self.0.iter().map(key).collect::<Vec<_>>()})
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_of_other_kinds_are_left_out_and_names_do_not_count() {
        let x = "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo";
        let text = json!({"keys": [
            {"kty": "RSA", "n": "x", "e": "AQAB"},
            {"kty": "OKP", "crv": "X25519", "x": x},
            {"kty": "OKP", "crv": "Ed25519", "x": x, "kid": "another"},
            {"kty": "OKP", "crv": "Ed25519", "x": x},
        ]});
        let keys = Keys::read(&text.to_string()).unwrap();
        assert_eq!(keys.len(), 1);
        assert!(keys.find("another").is_none());
        assert!(keys.find("kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k").is_some());
        for wrong in ["", "[]", r#"{"keys": [{"kty": "OKP", "crv": "Ed25519", "x": "AAAA"}]}"#] {
            assert!(Keys::read(wrong).is_err(), "{wrong}");
        }
    }
}
