//! Compact JWS (RFC 7515) with `EdDSA`: a header, a payload and a signature, each in base64url, between dots. A header names
//! its key (`kid`) and the kind of its payload (`typ`), so that what is one kind never passes for another.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use ring::signature::{ED25519, UnparsedPublicKey};
use serde::Deserialize;
use serde_json::json;

use super::jwks::{Keys, PublicKey};

/// The algorithm of all that is signed here (RFC 8037).
const EDDSA: &str = "EdDSA";

/// A JWS whose signature is right.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Opened {
    /// The kind of the payload.
    pub typ: String,
    /// The id of the key that signed.
    pub kid: String,
    /// The payload.
    pub payload: Vec<u8>,
}

/// Why a text is no JWS of these keys.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// The text is not made of three parts in base64url, or its header is not one.
    #[error("it is no compact JWS: {0}")]
    Malformed(&'static str),
    /// Another algorithm, or none.
    #[error("its algorithm is {0:?}, and not EdDSA")]
    Algorithm(String),
    /// The header has demands that this program does not know.
    #[error("its header demands what this program does not know (crit)")]
    Demanding,
    /// None of the keys has this id.
    #[error("it names the key {0:?}, which is none of the {1} keys that are trusted")]
    UnknownKey(String, usize),
    /// The signature is not the key's.
    #[error("its signature is wrong: it was changed, or another key signed it")]
    Signature,
}

#[derive(Deserialize)]
struct Header {
    #[serde(default)]
    alg: String,
    #[serde(default)]
    kid: String,
    #[serde(default)]
    typ: String,
    crit: Option<serde_json::Value>,
}

/// Signs a payload by a function over the bytes that are signed.
pub(super) fn write(public: &PublicKey, typ: &str, payload: &[u8], sign: impl FnOnce(&[u8]) -> Vec<u8>) -> String {
    let header = json!({"alg": EDDSA, "kid": public.thumbprint(), "typ": typ}).to_string();
    let mut text = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(payload));
    let signature = sign(text.as_bytes());
    text.push('.');
    text.push_str(&URL_SAFE_NO_PAD.encode(signature));
    text
}

/// Checks a JWS, and opens it.
///
/// # Errors
///
/// The reason why it is not trusted.
pub fn open(text: &str, keys: &Keys) -> Result<Opened, Refused> {
    let malformed = Refused::Malformed;
    let (signed, signature) = text.rsplit_once('.').ok_or(malformed("it has not three parts"))?;
    let (header, payload) = signed.split_once('.').ok_or(malformed("it has not three parts"))?;
    let decode = |part: &str, why| URL_SAFE_NO_PAD.decode(part).map_err(|_| malformed(why));
    let header = decode(header, "its header is not base64url")?;
    let header: Header = serde_json::from_slice(&header).map_err(|_| malformed("its header is not one"))?;
    if header.alg != EDDSA {
        return Err(Refused::Algorithm(header.alg));
    }
    if header.crit.is_some() {
        return Err(Refused::Demanding);
    }
    let Some(key) = keys.find(&header.kid) else { return Err(Refused::UnknownKey(header.kid, keys.len())) };
    let signature = decode(signature, "its signature is not base64url")?;
    let key = UnparsedPublicKey::new(&ED25519, key.bytes());
    key.verify(signed.as_bytes(), &signature).map_err(|_| Refused::Signature)?;
    let payload = decode(payload, "its payload is not base64url")?;
    Ok(Opened { typ: header.typ, kid: header.kid, payload })
}

/// Checks a JWS of one kind, and returns its payload, which is text.
///
/// # Errors
///
/// The reason why it is not trusted, in words.
pub fn text_of(text: &str, typ: &str, keys: &Keys) -> Result<String, String> {
    let opened = open(text, keys).map_err(|why| why.to_string())?;
    if opened.typ != typ {
        return Err(format!("it is signed as {:?}, and not as {typ:?}", opened.typ));
    }
    String::from_utf8(opened.payload).map_err(|_| "its payload is no text".to_owned())
}

#[cfg(test)]
mod tests {
    use ring::signature::{Ed25519KeyPair, KeyPair as _};

    use super::*;

    fn signed() -> (String, Keys) {
        let pair = Ed25519KeyPair::from_seed_unchecked(&[7; 32]).unwrap();
        let public = PublicKey::new(pair.public_key().as_ref()).unwrap();
        let text = write(&public, "a+jws", b"{\"amount\":\"1.00\"}", |signed| pair.sign(signed).as_ref().to_vec());
        let mut keys = Keys::default();
        keys.add(public);
        (text, keys)
    }

    fn with_header(header: &str) -> String {
        let (text, _) = signed();
        format!("{}.{}", URL_SAFE_NO_PAD.encode(header), text.split_once('.').unwrap().1)
    }

    #[test]
    fn what_was_signed_is_opened() {
        let (text, keys) = signed();
        let opened = open(&text, &keys).unwrap();
        assert_eq!((opened.typ.as_str(), &opened.payload[..]), ("a+jws", &b"{\"amount\":\"1.00\"}"[..]));
    }

    #[test]
    fn no_byte_can_be_changed_removed_or_added() {
        let (text, keys) = signed();
        let letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.=";
        for at in 0..text.len() {
            for letter in letters.chars() {
                let mut other = text.clone();
                other.replace_range(at..=at, &letter.to_string());
                assert!(other == text || open(&other, &keys).is_err(), "{at}: {letter}");
            }
            let mut shorter = text.clone();
            shorter.remove(at);
            assert!(open(&shorter, &keys).is_err(), "{at}");
        }
        for more in [".", "=", "A", "\n"] {
            assert!(open(&(text.clone() + more), &keys).is_err(), "{more:?}");
        }
    }

    #[test]
    fn another_algorithm_is_refused_before_its_signature_is_looked_at() {
        let (_, keys) = signed();
        let kid = keys.iter().next().unwrap().thumbprint();
        let refused = |header: &str| open(&with_header(header), &keys).unwrap_err();
        assert_eq!(refused(r#"{"alg":"none"}"#), Refused::Algorithm("none".into()));
        assert_eq!(refused(&format!(r#"{{"alg":"HS256","kid":"{kid}"}}"#)), Refused::Algorithm("HS256".into()));
        assert_eq!(refused(&format!(r#"{{"alg":"EdDSA","kid":"{kid}","crit":["b64"]}}"#)), Refused::Demanding);
        assert_eq!(refused(r#"{"alg":"EdDSA","kid":"x"}"#), Refused::UnknownKey("x".into(), 1));
        assert_eq!(refused(&format!(r#"{{"alg":"EdDSA","kid":"{kid}"}}"#)), Refused::Signature);
    }
}
