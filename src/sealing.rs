//! The encryption of what is kept beside the log: ChaCha20-Poly1305 under keys that BLAKE3 makes of the operator's token and of
//! what the kept thing belongs to. A key's parts are never in the database together: a thief of it reads nothing. Knows neither
//! what is kept nor for whom.

use ring::{
    aead::{Aad, CHACHA20_POLY1305, LessSafeKey, NONCE_LEN, Nonce, UnboundKey},
    rand::{SecureRandom, SystemRandom},
};

/// The nonce of keys that seal once.
const ONLY: [u8; NONCE_LEN] = [0; NONCE_LEN];

/// The operator's part of every seal of one purpose.
#[derive(Debug, Clone)]
pub struct Sealer {
    pepper: [u8; 32],
    random: SystemRandom,
}

impl Sealer {
    /// A sealer from the hash of the operator's token. A purpose's keys are no other's.
    pub fn new(purpose: &'static str, token: &blake3::Hash) -> Self {
        Self { pepper: blake3::derive_key(purpose, token.as_bytes()), random: SystemRandom::new() }
    }

    /// The hash of these parts under the operator's: nobody makes it without the token. The parts must tell themselves apart.
    pub fn hash(&self, parts: &[&[u8]]) -> blake3::Hash {
        let mut hasher = blake3::Hasher::new_keyed(&self.pepper);
        for part in parts {
            hasher.update(part);
        }
        hasher.finalize()
    }

    fn key(&self, parts: &[&[u8]]) -> Option<LessSafeKey> {
        UnboundKey::new(&CHACHA20_POLY1305, self.hash(parts).as_bytes()).ok().map(LessSafeKey::new)
    }

    /// Seals a text with the key of these parts, which may seal others. `None` if the cipher refuses, which happens only far
    /// beyond the largest text that is kept.
    pub fn seal(&self, parts: &[&[u8]], text: &[u8]) -> Option<Vec<u8>> {
        let mut nonce = [0; NONCE_LEN];
        self.random.fill(&mut nonce).ok()?;
        let mut sealed = text.to_vec();
        let unique = Nonce::assume_unique_for_key(nonce);
        self.key(parts)?.seal_in_place_append_tag(unique, Aad::empty(), &mut sealed).ok()?;
        Some([&nonce[..], &sealed].concat())
    }

    /// Opens what [`Self::seal`] sealed with the key of these parts; `None` if it did not.
    pub fn open(&self, parts: &[&[u8]], mut sealed: Vec<u8>) -> Option<Vec<u8>> {
        let (nonce, rest) = sealed.split_first_chunk_mut::<NONCE_LEN>()?;
        let unique = Nonce::assume_unique_for_key(*nonce);
        let length = self.key(parts)?.open_in_place(unique, Aad::empty(), rest).ok()?.len();
        sealed.drain(..NONCE_LEN);
        sealed.truncate(length);
        Some(sealed)
    }

    /// Seals a text with the key of these parts, which seals nothing else, so that its nonce may be fixed. It is opened only
    /// for the same `about`.
    pub fn seal_once(&self, parts: &[&[u8]], about: &[u8], mut text: Vec<u8>) -> Option<Vec<u8>> {
        let only = Nonce::assume_unique_for_key(ONLY);
        self.key(parts)?.seal_in_place_append_tag(only, Aad::from(about), &mut text).ok()?;
        Some(text)
    }

    /// Opens what [`Self::seal_once`] sealed so; `None` if it did not.
    pub fn open_once(&self, parts: &[&[u8]], about: &[u8], mut sealed: Vec<u8>) -> Option<Vec<u8>> {
        let only = Nonce::assume_unique_for_key(ONLY);
        let length = self.key(parts)?.open_in_place(only, Aad::from(about), &mut sealed).ok()?.len();
        sealed.truncate(length);
        Some(sealed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_who_has_purpose_token_and_parts_opens_what_was_sealed() {
        let of = |purpose, token: &[u8]| Sealer::new(purpose, &blake3::hash(token));
        let (sealer, parts) = (of("one", b"token"), [&b"account"[..], b"id"]);
        let (sealed, again) = (sealer.seal(&parts, b"a secret").unwrap(), sealer.seal(&parts, b"a secret").unwrap());
        assert_ne!(sealed, again, "each has a nonce of its own");
        assert!(!sealed.windows(6).any(|window| window == b"secret"));
        assert_eq!(sealer.open(&parts, sealed.clone()).as_deref(), Some(&b"a secret"[..]));
        assert_eq!(sealer.open(&[b"another", b"id"], sealed.clone()), None);
        for other in [of("two", b"token"), of("one", b"other")] {
            assert_eq!(other.open(&parts, sealed.clone()), None);
        }
        let mut broken = sealed;
        broken[NONCE_LEN] ^= 1;
        assert_eq!(sealer.open(&parts, broken), None);
        assert_eq!(sealer.open(&parts, vec![0; NONCE_LEN]), None);
        let once = sealer.seal_once(&parts, b"asked", b"a secret".to_vec()).unwrap();
        assert_eq!(sealer.open_once(&parts, b"asked", once.clone()).as_deref(), Some(&b"a secret"[..]));
        assert_eq!(sealer.open_once(&parts, b"askee", once.clone()), None);
        assert_eq!(sealer.open(&parts, once), None, "the two kinds are no other's");
    }
}
