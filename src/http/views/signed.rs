//! What is signed: an answer that carries itself as a JWS, and the public keys.

use serde::Serialize;
use utoipa::ToSchema;

use crate::signing::{
    Signer,
    jwks::{Keys, PublicKey},
};

/// An answer with a field for its own JWS, whose payload is the answer without that field.
pub trait Signed: Serialize {
    /// The `typ` of the JWS.
    const TYP: &'static str;

    /// The field. It is left out of the answer while it is empty.
    fn jws(&mut self) -> &mut String;

    /// Signs the answer.
    ///
    /// # Errors
    ///
    /// The answer can't be written as JSON.
    fn signed(mut self, signer: &Signer) -> serde_json::Result<Self>
    where
        Self: Sized,
    {
        self.jws().clear();
        let payload = serde_json::to_vec(&self)?;
        *self.jws() = signer.sign(Self::TYP, &payload);
        Ok(self)
    }
}

/// A JWKS (RFC 7517).
#[derive(Debug, Serialize, ToSchema)]
pub struct Jwks {
    /// All keys that ever signed here, oldest first.
    keys: Vec<Jwk>,
}

/// A public key of Ed25519 (RFC 8037).
#[derive(Debug, Serialize, ToSchema)]
struct Jwk {
    kty: &'static str,
    crv: &'static str,
    /// The key, in base64url.
    x: String,
    /// The key's thumbprint (RFC 7638).
    kid: String,
    alg: &'static str,
    #[serde(rename = "use")]
    used_for: &'static str,
}

impl Jwks {
    /// These keys.
    pub fn of(keys: &Keys) -> Self {
        Self { keys: keys.iter().map(Jwk::from).collect() }
    }
}

impl From<&PublicKey> for Jwk {
    fn from(key: &PublicKey) -> Self {
        let (x, kid) = (key.x(), key.thumbprint());
        Self { kty: "OKP", crv: "Ed25519", x, kid, alg: "EdDSA", used_for: "sig" }
    }
}
