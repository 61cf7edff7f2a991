//! Which names an object may have, in one word. A request's reader asks for some thirty names, of which a body has three
//! or four: nearly all look-ups end here, before a name is compared.

/// A bit for each name, chosen by its length and its ends. Names may share a bit.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Hint(u64);

impl Hint {
    #[inline]
    const fn bit(name: &str) -> u64 {
        let (first, last) = match name.as_bytes() {
            [] => (0, 0),
            [first, .., last] => (*first, *last),
            [only] => (*only, *only),
        };
        // Lengths above a byte share their bits, which costs a comparison.
        let ends = u32::from_be_bytes([0, first, last, name.len().to_le_bytes()[0]]);
        // The upper bits of this product (the golden ratio's) depend on all of the factor.
        1 << (ends.wrapping_mul(0x9E37_79B1) >> (u32::BITS - 6))
    }

    /// Notes a name. Returns whether the object may have had it already.
    pub(super) const fn note(&mut self, name: &str) -> bool {
        let was_noted = self.may_have(name);
        self.0 |= Self::bit(name);
        was_noted
    }

    /// Whether the object may have a name; false where it has none such.
    #[inline]
    pub(super) const fn may_have(self, name: &str) -> bool {
        self.0 & Self::bit(name) != 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_noted_name_is_never_denied_and_few_others_are_taken_for_it() {
        let known = ["model", "messages", "max_tokens", "temperature", ""];
        let mut hint = Hint::default();
        assert!(known.iter().all(|name| !hint.may_have(name)));
        assert!(known.iter().all(|name| !hint.note(name)), "they have bits of their own");
        assert!(known.iter().all(|name| hint.may_have(name) && hint.note(name)));
        let others =
            ["stream", "stop", "n", "top_p", "top_k", "seed", "tools", "user", "logprobs", "max_cost", "autoScale"];
        let taken = others.iter().filter(|name| hint.may_have(name)).count();
        assert!(taken <= 2, "{taken}");
        assert_ne!(Hint::bit(&"a".repeat(300)), 0);
    }
}
