//! Ids of forms. What a form makes (a payment, a key, a card, credits) has the form's id, so that sent twice it makes one. An id is
//! one account's alone, and proves by itself that it was made here for that account: one that somebody made up, or took from a page
//! of another account, would name what is another's.

use billing::ids::{AccountId, RequestId};
use serde::Deserialize;
use uuid::Uuid;

use super::{error::ApiError, values::id};
use crate::{idempotency::Life, sealing::Sealer, service::acts::Origin};

/// Where the proof begins: before it stand the time and 26 random bits, and it has 48 bits.
const PROOF: usize = 10;

/// Makes and checks ids of forms.
#[derive(Debug)]
pub(in crate::http) struct Onces(Sealer);

/// The id that a form shows, which is not checked yet.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(transparent)]
pub(in crate::http) struct Once(Uuid);

impl Once {
    /// The id in a field of a form that is read field by field.
    ///
    /// # Errors
    ///
    /// It is missing, or no id.
    pub(in crate::http) fn of_field(text: Option<&str>) -> Result<Self, ApiError> {
        id("once", text.unwrap_or_default(), "must be the id of the form: open the page again").map(Self)
    }
}

impl Onces {
    /// Ids of gateways with the operator's token that this is the hash of.
    pub(in crate::http) fn new(token: &blake3::Hash) -> Self {
        Self(Sealer::new("farebox 2026-11-30 ids of forms", token))
    }

    /// The id of a form on a page of this account. Ids are in the order of time, as lists go by them.
    pub(in crate::http) fn make(&self, account: AccountId) -> Uuid {
        let (mut id, random) = (Uuid::now_v7().into_bytes(), Uuid::new_v4().into_bytes());
        // The version stays.
        id[6] = (id[6] & 0xf0) | (random[6] & 0x0f);
        id[7..PROOF].copy_from_slice(&random[7..PROOF]);
        self.prove(account, id)
    }

    /// The same id with the proof that it is this account's.
    fn prove(&self, account: AccountId, mut id: [u8; 16]) -> Uuid {
        let proof = self.0.hash(&[account.0.as_bytes(), &id[..PROOF]]);
        let length = id.len() - PROOF;
        id[PROOF..].copy_from_slice(&proof.as_bytes()[..length]);
        Uuid::from_bytes(id)
    }

    /// The request of a form of this account: its first attempt, or an operator's, which may be a repetition.
    ///
    /// # Errors
    ///
    /// The id was not made for this account.
    pub(in crate::http) fn origin(&self, account: AccountId, once: Once, life: Life) -> Result<Origin, ApiError> {
        let proven = self.prove(account, once.0.into_bytes());
        // This type compares in constant time.
        if blake3::hash(once.0.as_bytes()) != blake3::hash(proven.as_bytes()) {
            return Err(ApiError::invalid("once", "is not of a form of this account: open the page again"));
        }
        Ok(Origin { id: RequestId(once.0), life })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_good_for_its_account_alone_and_nobody_makes_one_up() {
        let onces = Onces::new(&blake3::hash(b"token"));
        let [one, two] = [1, 2].map(|id| AccountId(Uuid::from_u128(id)));
        let made = onces.make(one);
        assert_eq!(made.get_version_num(), 7);
        let is_good = |account, id| onces.origin(account, Once(id), Life::First).is_ok();
        assert!(is_good(one, made) && !is_good(two, made));
        for place in 0..16 {
            let mut other = made.into_bytes();
            other[place] ^= 1;
            assert!(!is_good(one, Uuid::from_bytes(other)), "{place}");
        }
        assert!(!is_good(one, Uuid::now_v7()) && !is_good(one, Uuid::nil()));
        assert!(Onces::new(&blake3::hash(b"other")).origin(one, Once(made), Life::First).is_err());
        let many: std::collections::HashSet<_> = (0..1_000).map(|_| onces.make(one)).collect();
        assert_eq!(many.len(), 1_000, "two pages at the same time have two");
    }
}
