//! Who gets the next place: a deficit round robin over accounts (Shreedhar and Varghese, 1996), where an answer's
//! length is not known beforehand. So an account pays for each token as it is read or written, and may be served while
//! its deficit counter is above zero. Where no waiting account's is, all are raised by their weights. Within an account
//! it is first come, first served.

use std::collections::{BTreeMap, VecDeque};

use super::{SequenceId, Share};

/// Tokens by which an account of weight 1 is raised.
const QUANTUM: i64 = 256;

#[derive(Debug)]
struct Account {
    weight: i64,
    /// Tokens that it may still use in this round; below zero where answers were long.
    deficit: i64,
    waiting: VecDeque<SequenceId>,
    /// Its sequences, with and without a place.
    sequences: usize,
}

/// The line for places.
#[derive(Debug, Default)]
pub(super) struct Fair {
    accounts: BTreeMap<u128, Account>,
    /// Accounts with sequences, in the order of their turns.
    ring: VecDeque<u128>,
}

impl Fair {
    /// A sequence arrives, and waits.
    pub(super) fn arrive(&mut self, share: Share, id: SequenceId) {
        let account = self.accounts.entry(share.of).or_insert_with(|| {
            self.ring.push_back(share.of);
            Account { weight: 1, deficit: 0, waiting: VecDeque::new(), sequences: 0 }
        });
        account.weight = i64::from(share.weight.max(1));
        account.sequences += 1;
        account.waiting.push_back(id);
    }

    /// A sequence lost its place, and waits before those of its account that came later.
    pub(super) fn wait_again(&mut self, of: u128, id: SequenceId) {
        if let Some(account) = self.accounts.get_mut(&of) {
            let at = account.waiting.partition_point(|other| *other < id);
            account.waiting.insert(at, id);
        }
    }

    /// A sequence has ended. An account without any is forgotten, with what it had left.
    pub(super) fn leave(&mut self, of: u128, id: SequenceId) {
        let Some(account) = self.accounts.get_mut(&of) else { return };
        account.waiting.retain(|other| *other != id);
        account.sequences -= 1;
        if account.sequences == 0 {
            self.accounts.remove(&of);
            self.ring.retain(|other| *other != of);
        }
    }

    /// An account's sequences have used tokens.
    pub(super) fn charge(&mut self, of: u128, tokens: usize) {
        if let Some(account) = self.accounts.get_mut(&of) {
            account.deficit = account.deficit.saturating_sub(i64::try_from(tokens).unwrap_or(i64::MAX));
        }
    }

    /// The sequence whose turn it is, of those that may have a place. It stays its turn until it is [`Self::placed`].
    pub(super) fn pick(&mut self, may: impl Fn(SequenceId) -> bool) -> Option<SequenceId> {
        let first = |account: &Account| account.waiting.iter().copied().find(|id| may(*id));
        let in_turn = |accounts: &BTreeMap<u128, Account>| {
            let waiting = self.ring.iter().filter_map(|of| accounts.get(of)).filter_map(|it| Some((it, first(it)?)));
            waiting.map(|(account, id)| (account.deficit, account.weight, id)).collect::<Vec<_>>()
        };
        let waiting = in_turn(&self.accounts);
        if let Some((.., id)) = waiting.iter().find(|(deficit, ..)| *deficit > 0) {
            return Some(*id);
        }
        // Everybody is raised by as many rounds as the first one needs to come above zero.
        let rounds = waiting.iter().map(|(deficit, weight, _)| -deficit / (weight * QUANTUM) + 1).min()?;
        for account in self.accounts.values_mut().filter(|account| first(account).is_some()) {
            account.deficit += rounds * account.weight * QUANTUM;
        }
        in_turn(&self.accounts).iter().find(|(deficit, ..)| *deficit > 0).map(|(.., id)| *id)
    }

    /// A sequence got its place; its account's next turn comes behind the others'.
    pub(super) fn placed(&mut self, of: u128, id: SequenceId) {
        if let Some(account) = self.accounts.get_mut(&of) {
            account.waiting.retain(|other| *other != id);
        }
        if let Some(at) = self.ring.iter().position(|other| *other == of) {
            self.ring.remove(at);
            self.ring.push_back(of);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Serves sequences of these lengths, one after the other, while both accounts always wait. Returns what each got.
    fn served(weights: [u32; 2], lengths: [usize; 2], count: usize) -> [usize; 2] {
        let (mut fair, mut got, mut next) = (Fair::default(), [0; 2], 0);
        let mut arrive = |fair: &mut Fair, of: usize| {
            next += 1;
            fair.arrive(Share { of: of as u128, weight: weights[of] }, SequenceId(next * 2 + of as u64));
        };
        for of in 0..2 {
            arrive(&mut fair, of);
        }
        for _ in 0..count {
            let id = fair.pick(|_| true).unwrap();
            assert_eq!(fair.pick(|_| true), Some(id), "its turn lasts");
            let of = usize::from(id.0 % 2 == 1);
            arrive(&mut fair, of);
            fair.placed(of as u128, id);
            fair.charge(of as u128, lengths[of]);
            fair.leave(of as u128, id);
            got[of] += lengths[of];
        }
        got
    }

    #[test]
    fn accounts_get_tokens_by_their_weights_whatever_the_length_of_their_answers() {
        for (weights, lengths, of_first) in
            [([1, 1], [1_000, 100], 0.5), ([3, 1], [100, 100], 0.75), ([2, 1], [40, 3_000], 2.0 / 3.0)]
        {
            let got = served(weights, lengths, 20_000);
            #[expect(clippy::cast_precision_loss, reason = "small numbers")]
            let share = got[0] as f64 / (got[0] + got[1]) as f64;
            assert!((share - of_first).abs() < 0.02, "{weights:?} {lengths:?}: {share}");
        }
    }

    #[test]
    fn the_one_that_may_not_is_passed_over_and_keeps_its_place() {
        let mut fair = Fair::default();
        let share = |of| Share { of, weight: 1 };
        for (of, id) in [(1, 1), (1, 2), (2, 3)] {
            fair.arrive(share(of), SequenceId(id));
        }
        assert_eq!(fair.pick(|id| id != SequenceId(1)), Some(SequenceId(2)));
        assert_eq!(fair.pick(|_| true), Some(SequenceId(1)));
        fair.placed(1, SequenceId(1));
        assert_eq!(fair.pick(|_| true), Some(SequenceId(3)), "one for each in turn");
        fair.placed(2, SequenceId(3));
        fair.wait_again(1, SequenceId(1));
        assert_eq!(fair.pick(|_| true), Some(SequenceId(1)), "before those that came later");
        assert_eq!(fair.pick(|_| false), None);
    }
}
