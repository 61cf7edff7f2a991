//! Quantities: what was used of what, whoever measured it. A small list in the order of its keys, each of which is there
//! once and with more than nothing: so they are disjoint, and what is said twice is summed. Held in place, without an
//! allocation: a meter makes one for each piece of an answer. Knows no price.

mod key;

pub use key::{Band, Cache, Direction, Key, Kind, Modality, NoKey, Resolution, ServiceTier};

/// Quantities of one request, at most: what the richest of the known formats can report.
pub const MOST: usize = 12;

/// What was used.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Quantities {
    /// Its keys, in order; what is behind the last one is [`Key::INPUT`].
    keys: [Key; MOST],
    /// How much of each; what is behind the last one is nothing.
    amounts: [u64; MOST],
    length: usize,
}

impl Default for Quantities {
    fn default() -> Self {
        Self::NONE
    }
}

impl std::fmt::Debug for Quantities {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_map().entries(self.iter().map(|(key, amount)| (key.to_string(), amount))).finish()
    }
}

impl Quantities {
    /// Nothing.
    pub const NONE: Self = Self { keys: [Key::INPUT; MOST], amounts: [0; MOST], length: 0 };

    /// Tokens of text that met no cache, and tokens of text that were written.
    pub fn plain(input: u64, output: u64) -> Self {
        [(Key::INPUT, input), (Key::OUTPUT, output)].into_iter().collect()
    }

    /// Adds so much of something. Sums stop at the largest number there is. What there is no room for, which no format can
    /// report, is added to what is counted as it is and went the same way, so that it is not lost.
    pub fn add(&mut self, key: Key, amount: u64) {
        if amount == 0 {
            return;
        }
        let place = self.keys.iter().take(self.length).position(|known| *known >= key).unwrap_or(self.length);
        let is_there = place < self.length && self.keys[place] == key;
        if is_there || self.length == MOST {
            let is_like = |known: &Key| (known.kind, known.direction) == (key.kind, key.direction);
            let like = if is_there { Some(place) } else { self.keys.iter().rposition(is_like) };
            if let Some(amounts) = like.and_then(|place| self.amounts.get_mut(place)) {
                *amounts = amounts.saturating_add(amount);
            }
            return;
        }
        self.keys.copy_within(place..self.length, place + 1);
        self.amounts.copy_within(place..self.length, place + 1);
        (self.keys[place], self.amounts[place]) = (key, amount);
        self.length += 1;
    }

    /// Both together.
    #[must_use]
    pub fn and(mut self, other: &Self) -> Self {
        other.iter().for_each(|(key, amount)| self.add(key, amount));
        self
    }

    /// Each with how much there is of it, in order.
    pub fn iter(&self) -> impl Iterator<Item = (Key, u64)> {
        self.keys.iter().copied().zip(self.amounts).take(self.length)
    }

    /// How much there is of one.
    pub fn amount(&self, key: Key) -> u64 {
        self.sum(|known| known == key)
    }

    /// How much there is of all that are like this.
    pub fn sum(&self, is_like: impl Fn(Key) -> bool) -> u64 {
        self.iter().filter(|(key, _)| is_like(*key)).fold(0, |sum, (_, amount)| sum.saturating_add(amount))
    }

    /// Whether there is nothing.
    pub const fn is_empty(&self) -> bool {
        self.length == 0
    }
}

impl FromIterator<(Key, u64)> for Quantities {
    fn from_iter<I: IntoIterator<Item = (Key, u64)>>(quantities: I) -> Self {
        let mut all = Self::NONE;
        quantities.into_iter().for_each(|(key, amount)| all.add(key, amount));
        all
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use proptest::prelude::*;

    use super::{key::tests::key, *};

    /// Quantities, few enough that three of them have room together.
    fn quantities() -> impl Strategy<Value = Quantities> {
        proptest::collection::vec((key(), prop_oneof![0_u64..1_000, any::<u64>()]), 0..MOST / 3)
            .prop_map(|all| all.into_iter().collect())
    }

    proptest! {
        #[test]
        fn together_they_are_the_same_in_whatever_order(a in quantities(), b in quantities(), c in quantities()) {
            prop_assert_eq!(a.and(&b), b.and(&a));
            prop_assert_eq!(a.and(&b).and(&c), a.and(&b.and(&c)));
            prop_assert_eq!(a.and(&Quantities::NONE), a);
            let all = a.and(&b).and(&c);
            for (key, amount) in all.iter() {
                let parts = [a, b, c].iter().fold(0_u64, |sum, part| sum.saturating_add(part.amount(key)));
                prop_assert_eq!(amount, parts);
            }
            let keys: Vec<_> = all.iter().map(|(key, _)| key).collect();
            prop_assert!(keys.is_sorted_by(|a, b| a < b), "{keys:?}");
            prop_assert!(all.iter().all(|(_, amount)| amount > 0));
        }
    }

    #[test]
    fn what_has_no_room_is_not_lost() {
        let band = |above| Key::INPUT.in_band(Band(above));
        let mut all: Quantities = (1..=12).map(|above| (band(above), 1)).collect();
        all.add(band(99), 5);
        all.add(Key::INPUT, 3);
        assert_eq!((all.iter().count(), all.sum(|_| true)), (MOST, 20));
        assert_eq!((all.amount(band(12)), all.amount(band(11))), (9, 1));
    }
}
