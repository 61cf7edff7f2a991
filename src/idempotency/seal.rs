//! The encryption of kept answers: ChaCha20-Poly1305 under a key that BLAKE3 makes of the idempotency key (with its
//! scope, method and path), the operator's token and the request's id. Each such key seals one answer, so the nonce may
//! be fixed. Of these parts the database has only the request's id: a thief of the database reads no answer, however
//! simple a client's keys are.

use billing::ids::RequestId;
use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey};

use super::{Asked, KeptAnswer};

/// The operator's part of every seal.
#[derive(Clone)]
pub struct Sealer {
    pepper: [u8; 32],
}

impl Sealer {
    /// A sealer from the hash of the operator's token.
    pub fn new(token: &blake3::Hash) -> Self {
        Self { pepper: blake3::derive_key("farebox idempotency pepper", token.as_bytes()) }
    }

    fn key(&self, asked: &Asked, request_id: RequestId) -> Option<LessSafeKey> {
        let mut hasher = blake3::Hasher::new_keyed(&self.pepper);
        hasher.update(&asked.secret).update(request_id.0.as_bytes());
        UnboundKey::new(&CHACHA20_POLY1305, hasher.finalize().as_bytes()).ok().map(LessSafeKey::new)
    }

    /// Forty characters of a secret. A retry of the same request makes the same secret; nobody can without the
    /// request's key and the operator's token. A secret that is shown once can therefore be shown again.
    pub(super) fn secret(&self, asked: &Asked, request_id: RequestId) -> String {
        let mut hasher = blake3::Hasher::new_keyed(&self.pepper);
        hasher.update(b"shown once").update(&asked.secret).update(request_id.0.as_bytes());
        hasher.finalize().to_hex().chars().take(40).collect()
    }

    /// Seals an answer. `None` if the cipher refuses, which happens only far beyond the largest kept answer.
    pub(super) fn seal(&self, asked: &Asked, request_id: RequestId, answer: &KeptAnswer) -> Option<Vec<u8>> {
        let mut bytes = answer.encode();
        let key = self.key(asked, request_id)?;
        key.seal_in_place_append_tag(nonce(), Aad::from(asked.fingerprint), &mut bytes).ok()?;
        Some(bytes)
    }

    /// Opens an answer, if it was sealed for this request with this token.
    pub(super) fn open(&self, asked: &Asked, request_id: RequestId, mut bytes: Vec<u8>) -> Option<KeptAnswer> {
        let key = self.key(asked, request_id)?;
        let length = key.open_in_place(nonce(), Aad::from(asked.fingerprint), &mut bytes).ok()?.len();
        bytes.truncate(length);
        KeptAnswer::decode(bytes)
    }
}

/// The only nonce of each key.
fn nonce() -> Nonce {
    Nonce::assume_unique_for_key([0; 12])
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use uuid::Uuid;

    use super::super::{Call, Holder, Key, Repeat};
    use super::*;

    fn asked(key: &str, body: &str) -> Asked {
        let call = Call { method: "POST", path: "/", query: "", headers: [None; 3], body: body.as_bytes() };
        Asked::new(Holder::Operator, &Key::parse(key.as_bytes()).unwrap(), Repeat::Anew, call)
    }

    #[test]
    fn a_secret_is_made_again_by_the_same_request_only() {
        let (sealer, id) = (Sealer::new(&blake3::hash(b"token")), RequestId(Uuid::from_u128(7)));
        let secret = sealer.secret(&asked("key", "body"), id);
        assert_eq!((secret.len(), sealer.secret(&asked("key", "body"), id)), (40, secret.clone()));
        assert_ne!(sealer.secret(&asked("kez", "body"), id), secret);
        assert_ne!(sealer.secret(&asked("key", "body"), RequestId(Uuid::from_u128(8))), secret);
        assert_ne!(Sealer::new(&blake3::hash(b"another token")).secret(&asked("key", "body"), id), secret);
    }

    #[test]
    fn only_who_has_key_request_and_token_reads_an_answer() {
        let answer = KeptAnswer { status: 200, headers: Vec::new(), body: Bytes::from_static(b"fb_public_secret") };
        let (sealer, id) = (Sealer::new(&blake3::hash(b"token")), RequestId(Uuid::from_u128(7)));
        let sealed = sealer.seal(&asked("key", "body"), id, &answer).unwrap();
        assert!(!sealed.windows(6).any(|window| window == b"secret"));
        assert_eq!(sealer.open(&asked("key", "body"), id, sealed.clone()), Some(answer));
        assert_eq!(sealer.open(&asked("kez", "body"), id, sealed.clone()), None);
        assert_eq!(sealer.open(&asked("key", "bodz"), id, sealed.clone()), None);
        assert_eq!(sealer.open(&asked("key", "body"), RequestId(Uuid::from_u128(8)), sealed.clone()), None);
        let other = Sealer::new(&blake3::hash(b"another token"));
        assert_eq!(other.open(&asked("key", "body"), id, sealed.clone()), None);
        let mut broken = sealed;
        broken[0] ^= 1;
        assert_eq!(sealer.open(&asked("key", "body"), id, broken), None);
        assert_eq!(sealer.open(&asked("key", "body"), id, Vec::new()), None);
    }
}
