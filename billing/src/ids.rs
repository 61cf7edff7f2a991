//! Ids as newtypes over UUIDs, so that a grant's id can't be passed for a request's.

use std::{
    collections::HashMap,
    hash::{BuildHasherDefault, Hasher},
};

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::time::Timestamp;

macro_rules! id {
    ($(#[$doc:meta] $name:ident),+ $(,)?) => {$(
        #[$doc]
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub Uuid);

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                self.0.fmt(f)
            }
        }
    )+};
}

id! {
    /// An account's id.
    AccountId,
    /// A grant's id.
    GrantId,
    /// A request's id, also its hold's.
    RequestId,
    /// A payment's id, also the card network's idempotency key.
    PaymentId,
    /// An API key's id.
    KeyId,
    /// The id of a refund or a dispute of a payment.
    ReversalId,
    /// A person's id.
    PersonId,
}

impl RequestId {
    /// When the id was made, in milliseconds since 1970 by its maker's clock (RFC 9562, version 7); none of an id that does not
    /// say.
    pub fn begun_ms(self) -> Option<i64> {
        let (seconds, nanos) = self.0.get_timestamp()?.to_unix();
        i64::try_from(seconds.checked_mul(1_000)?.checked_add(u64::from(nanos) / 1_000_000)?).ok()
    }
}

/// A map by ids that this program made itself.
pub type IdMap<I, V> = HashMap<I, V, BuildHasherDefault<IdHasher>>;

/// Hashes an id of this program's own, whose bits are random already. Nobody outside chooses such ids, so nobody can choose
/// many with one hash.
#[derive(Debug, Clone, Copy, Default)]
pub struct IdHasher(u64);

impl Hasher for IdHasher {
    fn write(&mut self, bytes: &[u8]) {
        for part in bytes.chunks(size_of::<u64>()) {
            let mut number = [0; size_of::<u64>()];
            number[..part.len()].copy_from_slice(part);
            self.write_u64(u64::from_le_bytes(number));
        }
    }

    fn write_u64(&mut self, number: u64) {
        // The upper bits of the product depend on all of the number, and are folded onto the lower ones.
        let product = (self.0.rotate_left(5) ^ number).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        self.0 = product ^ product >> 32;
    }

    /// The length of an id, which all have.
    fn write_usize(&mut self, _: usize) {}

    fn finish(&self) -> u64 {
        self.0
    }
}

impl ReversalId {
    /// The id of a reversal that the processor reported first. The same payment, kind and processor's id always give
    /// the same id.
    pub(crate) fn of(payment: PaymentId, kind: &str, reference: &str) -> Self {
        // The hash of Fowler, Noll and Vo (FNV-1a, 64 bits).
        let name = kind.bytes().chain([0]).chain(reference.bytes());
        let hash =
            name.fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
        let bytes = payment.0.as_u64_pair();
        let low = mixed(bytes.1 ^ hash);
        let high = mixed(bytes.0 ^ low);
        let version = (high & !0xf000) | 0x8000;
        Self(Uuid::from_u64_pair(version, 0b10 << 62 | low >> 2))
    }
}

/// An id for an object that the rules create: a UUID v7 (RFC 9562) with this timestamp. Its random bits come from the
/// account and a number that the account uses once. A repeated decision gives the same id.
pub(crate) fn derived(account: AccountId, at: Timestamp, number: u64) -> Uuid {
    let bytes = account.0.as_u64_pair();
    let low = mixed(bytes.1 ^ number.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    let high = mixed(bytes.0 ^ low);
    let ms = u128::from(at.0.unsigned_abs()) & ((1 << 48) - 1);
    let bits = ms << 80 | 0x7 << 76 | u128::from(high & 0xfff) << 64 | 0b10 << 62 | u128::from(low >> 2);
    Uuid::from_u128(bits)
}

/// Steele, Lea and Flood's `SplitMix64` finalizer ("Fast Splittable Pseudorandom Number Generators"): a bijection.
const fn mixed(number: u64) -> u64 {
    let number = (number ^ number >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let number = (number ^ number >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    number ^ number >> 31
}

#[cfg(test)]
mod tests {
    use std::{collections::HashSet, hash::BuildHasher};

    use super::*;

    #[test]
    fn hashes_of_ids_differ_in_their_upper_and_lower_bits() {
        let account = AccountId(Uuid::from_u128(77));
        let ids = (0..1_000).map(|number| derived(account, Timestamp(1_795_512_896_789), number));
        let hashes: Vec<u64> =
            ids.map(|id| BuildHasherDefault::<IdHasher>::default().hash_one(RequestId(id))).collect();
        for shift in [0, 54] {
            let buckets: HashSet<u64> = hashes.iter().map(|hash| hash >> shift & 0x3ff).collect();
            // Of 1,024 buckets, 1,000 random numbers take 638 on average.
            assert!((590..690).contains(&buckets.len()), "{shift}: {}", buckets.len());
        }
    }

    #[test]
    fn derived_ids_are_ordered_by_time_and_differ() {
        let account = AccountId(Uuid::from_u128(77));
        let id = derived(account, Timestamp(1_795_512_896_789), 1);
        assert_eq!((id.get_version_num(), id.get_variant()), (7, uuid::Variant::RFC4122));
        assert_eq!(RequestId(id).begun_ms(), Some(1_795_512_896_789));
        assert_eq!(RequestId(Uuid::from_u128(9)).begun_ms(), None);
        assert!(id < derived(account, Timestamp(1_795_512_896_790), 1));
        assert_ne!(id, derived(account, Timestamp(1_795_512_896_789), 2));
        assert_ne!(id, derived(AccountId(Uuid::from_u128(78)), Timestamp(1_795_512_896_789), 1));
        assert_eq!(id, derived(account, Timestamp(1_795_512_896_789), 1));
    }
}
