//! Quantities: the amounts that a request used, by key. A small list in the order of its keys. Each key occurs once,
//! with an amount above zero; amounts of the same key are summed. The list is held in place without an allocation,
//! because a meter makes one for each event of an answer. No price is known here.

mod key;

pub use key::{Band, Cache, Direction, Key, Kind, Modality, NoKey, Resolution, ServiceTier};

/// The most quantities of one request: enough for the richest known format.
pub const MOST: usize = 12;

/// The quantities of one request.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Quantities {
    /// The keys in order. Unused places are [`Key::INPUT`].
    keys: [Key; MOST],
    /// The amount of each key. Unused places are 0.
    amounts: [u64; MOST],
    length: usize,
    /// The input tokens of the largest prompt; `None` where all input was one prompt.
    prompt: Option<u64>,
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
    /// No quantities.
    pub const NONE: Self = Self { keys: [Key::INPUT; MOST], amounts: [0; MOST], length: 0, prompt: None };

    /// Uncached input tokens and output tokens of text.
    pub fn plain(input: u64, output: u64) -> Self {
        [(Key::INPUT, input), (Key::OUTPUT, output)].into_iter().collect()
    }

    /// Adds an amount of a key. Sums saturate. Where the list is full, which no known format causes, the amount is
    /// added to a key of the same kind and direction, so that it is not lost.
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

    /// The quantities of an answer that was made in several turns, each with a prompt of its own, of which the largest
    /// had this many tokens. The context band is the largest prompt's, never that of their sum.
    #[must_use]
    pub const fn with_largest_prompt(self, tokens: u64) -> Self {
        Self { prompt: Some(tokens), ..self }
    }

    /// The same quantities, none of whose prompts is taken to have had more than so many tokens.
    #[must_use]
    pub fn with_prompts_of_at_most(self, tokens: u64) -> Self {
        if self.largest_prompt() > tokens { self.with_largest_prompt(tokens) } else { self }
    }

    /// The input tokens of the largest prompt.
    pub fn largest_prompt(&self) -> u64 {
        let input = self.sum(|key| key.is_tokens(Direction::Input));
        self.prompt.map_or(input, |prompt| prompt.min(input))
    }

    /// The sum of both.
    #[must_use]
    pub fn and(mut self, other: &Self) -> Self {
        self.prompt = self.prompt.max(other.prompt);
        other.iter().for_each(|(key, amount)| self.add(key, amount));
        self
    }

    /// Each key with its amount, in order.
    pub fn iter(&self) -> impl Iterator<Item = (Key, u64)> {
        self.keys.iter().copied().zip(self.amounts.iter().copied()).take(self.length)
    }

    /// The amount of one key.
    pub fn amount(&self, key: Key) -> u64 {
        self.sum(|known| known == key)
    }

    /// The sum of all amounts whose keys match.
    pub fn sum(&self, is_like: impl Fn(Key) -> bool) -> u64 {
        self.iter().filter(|(key, _)| is_like(*key)).fold(0, |sum, (_, amount)| sum.saturating_add(amount))
    }

    /// Whether there are no quantities.
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

    /// Random quantities, few enough that the sum of three fits.
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
