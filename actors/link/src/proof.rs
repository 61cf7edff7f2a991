//! How two nodes show each other that they have the same secret, without sending it: once, as a connection begins.
//!
//! Each side chooses a nonce, and proves itself by a keyed hash (HMAC-SHA-256) over both nonces, over what it says of
//! itself, and over what belongs to this TLS connection alone, where there is TLS. The side that connects proves itself
//! first: who has no secret learns nothing but a nonce. Nothing can be sent again at another time, as the nonces are
//! others then, and no clock is needed. After that the connection is trusted, and no request costs a hash; one for each
//! request would cost more, and protect its answer as little. So without TLS the network between the nodes must be
//! trusted not to change what it carries, as the way to the database must be.

use ring::{
    hmac::{self, HMAC_SHA256, Key, Tag},
    rand::{SecureRandom as _, SystemRandom},
};

/// The bytes of a nonce, of a proof, and of what belongs to a TLS connection.
pub(crate) const LENGTH: usize = 32;

pub(crate) type Nonce = [u8; LENGTH];

/// What belongs to one TLS connection, derived from its keys; zeros without TLS.
pub(crate) type Binding = [u8; LENGTH];

/// The label under which TLS derives it.
pub(crate) const LABEL: &[u8] = b"EXPORTER-farebox-link";

/// The secret that all nodes share.
#[derive(Clone)]
pub(crate) struct Secret(Key);

/// Who proves itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Side {
    Connects,
    Accepts,
}

/// What both sides know of a connection.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Begun {
    /// Of the side that connects.
    pub(crate) first: Nonce,
    /// Of the side that accepts.
    pub(crate) second: Nonce,
    pub(crate) binding: Binding,
}

impl Secret {
    pub(crate) fn new(secret: &[u8]) -> Self {
        Self(Key::new(HMAC_SHA256, secret))
    }

    /// Shows that this side has the secret, and that it said this.
    pub(crate) fn prove(&self, side: Side, begun: &Begun, said: &[u8]) -> Tag {
        hmac::sign(&self.0, &Self::text(side, begun, said))
    }

    /// Whether the other side has the secret, and said this. Takes the same time whatever is wrong.
    pub(crate) fn holds(&self, side: Side, begun: &Begun, said: &[u8], proof: &[u8]) -> bool {
        hmac::verify(&self.0, &Self::text(side, begun, said), proof).is_ok()
    }

    /// What is hashed: all but the last part have one length, so that no two texts are alike.
    fn text(side: Side, begun: &Begun, said: &[u8]) -> Vec<u8> {
        let who: &[u8; 8] = match side {
            Side::Connects => b"connects",
            Side::Accepts => b"accepts ",
        };
        [who, &begun.first[..], &begun.second, &begun.binding, said].concat()
    }
}

/// Numbers that nobody can foresee; none where this machine has no such numbers.
pub(crate) fn random<const N: usize>() -> Option<[u8; N]> {
    let mut bytes = [0; N];
    SystemRandom::new().fill(&mut bytes).ok().map(|()| bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_proof_is_of_one_secret_one_side_one_connection_and_one_text() {
        let (secret, other) = (Secret::new(b"one"), Secret::new(b"two"));
        let begun = Begun { first: [1; LENGTH], second: [2; LENGTH], binding: [0; LENGTH] };
        let proof = secret.prove(Side::Connects, &begun, b"hello");
        let proof = proof.as_ref();
        assert!(secret.holds(Side::Connects, &begun, b"hello", proof));
        assert!(!other.holds(Side::Connects, &begun, b"hello", proof));
        assert!(!secret.holds(Side::Accepts, &begun, b"hello", proof), "sent back as the own one");
        assert!(!secret.holds(Side::Connects, &begun, b"hullo", proof));
        assert!(!secret.holds(Side::Connects, &Begun { first: [3; LENGTH], ..begun }, b"hello", proof));
        assert!(!secret.holds(Side::Connects, &Begun { second: [3; LENGTH], ..begun }, b"hello", proof));
        assert!(!secret.holds(Side::Connects, &Begun { binding: [3; LENGTH], ..begun }, b"hello", proof));
        assert!(!secret.holds(Side::Connects, &begun, b"hello", &[]));
    }
}
