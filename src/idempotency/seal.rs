//! The seal of a kept answer. Its key is made of the idempotency key (with its scope, method and path), the operator's token and
//! the request's id, and seals that answer alone. Of these parts the database has only the request's id: a thief of the
//! database reads no answer, however simple a client's keys are.

use billing::ids::RequestId;

use super::{Asked, KeptAnswer};
use crate::sealing::Sealer;

/// The operator's part of every seal, from the hash of the operator's token.
pub(super) fn sealer(token: &blake3::Hash) -> Sealer {
    Sealer::new("farebox idempotency pepper", token)
}

/// What the key of a request's answer is made of.
fn parts<'a>(asked: &'a Asked, request_id: &'a RequestId) -> [&'a [u8]; 2] {
    [&asked.secret, request_id.0.as_bytes()]
}

/// Forty characters of a secret. A retry of the same request makes the same secret; nobody can without the request's key and
/// the operator's token. A secret that is shown once can therefore be shown again.
pub(super) fn secret(sealer: &Sealer, asked: &Asked, request_id: RequestId) -> String {
    let [secret, id] = parts(asked, &request_id);
    sealer.hash(&[b"shown once", secret, id]).to_hex().chars().take(40).collect()
}

/// Seals an answer. `None` if the cipher refuses, which happens only far beyond the largest kept answer.
pub(super) fn seal(sealer: &Sealer, asked: &Asked, request_id: RequestId, answer: &KeptAnswer) -> Option<Vec<u8>> {
    sealer.seal_once(&parts(asked, &request_id), &asked.fingerprint, answer.encode())
}

/// Opens an answer, if it was sealed for this request with this token.
pub(super) fn open(sealer: &Sealer, asked: &Asked, request_id: RequestId, sealed: Vec<u8>) -> Option<KeptAnswer> {
    KeptAnswer::decode(sealer.open_once(&parts(asked, &request_id), &asked.fingerprint, sealed)?)
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use uuid::Uuid;

    use super::super::{Call, Holder, Key, Repeat};
    use super::*;

    fn of(token: &[u8]) -> Sealer {
        sealer(&blake3::hash(token))
    }

    fn asked(key: &str, body: &str) -> Asked {
        let call = Call { method: "POST", path: "/", query: "", headers: [None; 3], body: body.as_bytes() };
        Asked::new(Holder::Operator, &Key::parse(key.as_bytes()).unwrap(), Repeat::Anew, call)
    }

    #[test]
    fn a_secret_is_made_again_by_the_same_request_only() {
        let (sealer, id) = (of(b"token"), RequestId(Uuid::from_u128(7)));
        let first = secret(&sealer, &asked("key", "body"), id);
        assert_eq!((first.len(), secret(&sealer, &asked("key", "body"), id)), (40, first.clone()));
        assert_ne!(secret(&sealer, &asked("kez", "body"), id), first);
        assert_ne!(secret(&sealer, &asked("key", "body"), RequestId(Uuid::from_u128(8))), first);
        assert_ne!(secret(&of(b"another token"), &asked("key", "body"), id), first);
    }

    #[test]
    fn only_who_has_key_request_and_token_reads_an_answer() {
        let answer = KeptAnswer { status: 200, headers: Vec::new(), body: Bytes::from_static(b"fb_public_secret") };
        let (sealer, id) = (of(b"token"), RequestId(Uuid::from_u128(7)));
        let sealed = seal(&sealer, &asked("key", "body"), id, &answer).unwrap();
        assert!(!sealed.windows(6).any(|window| window == b"secret"));
        assert_eq!(open(&sealer, &asked("key", "body"), id, sealed.clone()), Some(answer));
        assert_eq!(open(&sealer, &asked("kez", "body"), id, sealed.clone()), None);
        assert_eq!(open(&sealer, &asked("key", "bodz"), id, sealed.clone()), None);
        assert_eq!(open(&sealer, &asked("key", "body"), RequestId(Uuid::from_u128(8)), sealed.clone()), None);
        let other = of(b"another token");
        assert_eq!(open(&other, &asked("key", "body"), id, sealed.clone()), None);
        let mut broken = sealed;
        broken[0] ^= 1;
        assert_eq!(open(&sealer, &asked("key", "body"), id, broken), None);
        assert_eq!(open(&sealer, &asked("key", "body"), id, Vec::new()), None);
    }
}
