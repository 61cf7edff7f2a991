//! How many shards each node should have, and which of the free ones are whose. All nodes that read the same rows come to
//! the same, so they need not talk about it; where they read different ones, the database gives a shard to one of them.

use std::{cmp::Reverse, collections::BTreeMap};

use ledger::log::Shard;
use runtime::node::NodeId;

/// How many shards each of these nodes should have, who have so many now: each the same number, or one more. The ones more
/// go to those who have them, so that nothing moves for the sake of a remainder.
pub(super) fn targets(counts: &BTreeMap<NodeId, usize>, shards: usize) -> BTreeMap<NodeId, usize> {
    let Some(floor) = shards.checked_div(counts.len()) else { return BTreeMap::new() };
    let remainder = shards % counts.len();
    let mut nodes: Vec<(NodeId, usize)> = counts.iter().map(|(node, count)| (*node, *count)).collect();
    // Who has more than the even share is equal to who has just one more: otherwise the order changes while shards are
    // handed over, and with it who should have what.
    nodes.sort_by_key(|(node, count)| (Reverse((*count).min(floor + 1)), *node));
    nodes.iter().enumerate().map(|(place, (node, _))| (*node, floor + usize::from(place < remainder))).collect()
}

/// Which of the free shards a node takes: those who lack some are served in the order of their names.
pub(super) fn part(
    free: &[Shard],
    counts: &BTreeMap<NodeId, usize>,
    targets: &BTreeMap<NodeId, usize>,
    node: NodeId,
) -> Vec<Shard> {
    let lack = |node: &NodeId| {
        let target = targets.get(node).copied().unwrap_or(0);
        target.saturating_sub(counts.get(node).copied().unwrap_or(0))
    };
    let before: usize = counts.keys().take_while(|other| **other < node).map(lack).sum();
    free.iter().copied().skip(before).take(lack(&node)).collect()
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    fn counts(of: &[usize]) -> BTreeMap<NodeId, usize> {
        (1..).map(|id| NodeId(Uuid::from_u128(id))).zip(of.iter().copied()).collect()
    }

    fn shares(of: &[usize], shards: usize) -> Vec<usize> {
        targets(&counts(of), shards).into_values().collect()
    }

    #[test]
    fn shares_are_even_and_a_remainder_stays_where_it_is() {
        assert_eq!(shares(&[16], 16), [16]);
        assert_eq!(shares(&[16, 0], 16), [8, 8]);
        assert_eq!(shares(&[5, 5, 6], 16), [5, 5, 6]);
        assert_eq!(shares(&[5, 6, 5], 16), [5, 6, 5]);
        assert_eq!(shares(&[8, 8, 0], 16), [6, 5, 5]);
        assert_eq!(shares(&[6, 7, 2], 16), [6, 5, 5], "as it was before one was handed over");
        assert_eq!(shares(&[0, 1, 0], 1), [0, 1, 0]);
        assert_eq!(shares(&[0, 0, 0, 0], 2), [1, 1, 0, 0]);
        assert!(shares(&[], 16).is_empty());
    }

    #[test]
    fn every_free_shard_is_one_nodes() {
        let free: Vec<Shard> = (0..5).map(Shard).collect();
        let counts = counts(&[4, 3, 4]);
        let targets = targets(&counts, 16);
        let mut all: Vec<Shard> = counts.keys().flat_map(|node| part(&free, &counts, &targets, *node)).collect();
        all.sort();
        assert_eq!(all, free);
    }
}
