//! Caches that are kept without a place: a tree of blocks of tokens for each account that may share them. Conversations
//! that begin alike share the blocks of that beginning, and the longest beginning of a prompt is found, to the token. What
//! was used least recently goes first, from the ends inwards. Only what is where is known here; the values are the
//! network's.

use std::cmp::Reverse;
use std::collections::BTreeMap;

/// A block's name. No two have the same one, ever.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BlockId(pub u64);

#[derive(Debug)]
struct Block {
    of: u128,
    parent: Option<BlockId>,
    /// As many as a block has; fewer at the end of what was kept, and nothing is behind those.
    tokens: Vec<u32>,
    /// Where its first token stands.
    at: usize,
    /// The blocks behind it.
    children: usize,
    /// Blocks are given up in the order of this number.
    used: u64,
}

/// Positions that a block has, or is to have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Part {
    pub(super) block: BlockId,
    /// Where they begin.
    pub(super) at: usize,
    pub(super) positions: usize,
}

/// What changes where tokens are kept.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Kept {
    /// Blocks that are new.
    pub(super) saved: Vec<Part>,
    /// Blocks that longer ones replace.
    pub(super) replaced: Vec<BlockId>,
}

/// The tree.
#[derive(Debug)]
pub(super) struct Blocks {
    /// Tokens of a block.
    size: usize,
    /// The most positions of all together.
    most: usize,
    all: BTreeMap<BlockId, Block>,
    /// The blocks behind a block, and those that an account's prompts begin with.
    behind: BTreeMap<(u128, Option<BlockId>), Vec<BlockId>>,
    positions: usize,
    named: u64,
    uses: u64,
}

impl Blocks {
    /// An empty tree, of blocks of so many tokens, and at most so many positions in all.
    pub(super) fn new(size: usize, most: usize) -> Self {
        let (all, behind) = (BTreeMap::new(), BTreeMap::new());
        Self { size: size.max(1), most, all, behind, positions: 0, named: 0, uses: 0 }
    }

    /// The positions of all blocks.
    pub(super) const fn positions(&self) -> usize {
        self.positions
    }

    /// The blocks that one begins with, or those behind one.
    fn behind(&self, of: u128, parent: Option<BlockId>) -> impl Iterator<Item = (BlockId, &Block)> {
        let ids = self.behind.get(&(of, parent)).into_iter().flatten();
        ids.filter_map(|id| Some((*id, self.all.get(id)?)))
    }

    /// The longest beginning of tokens that is kept for an account, block by block.
    pub(super) fn find(&self, of: u128, tokens: &[u32]) -> Vec<Part> {
        let (mut found, mut parent, mut at) = (Vec::new(), None, 0);
        loop {
            let alike = |(id, block): (BlockId, &Block)| {
                let same = block.tokens.iter().zip(&tokens[at..]).take_while(|(one, other)| one == other).count();
                (same, id, same == block.tokens.len())
            };
            match self.behind(of, parent).map(alike).max() {
                Some((positions @ 1.., block, is_whole)) => {
                    found.push(Part { block, at, positions });
                    (parent, at) = (Some(block), at + positions);
                    if !is_whole {
                        return found;
                    }
                }
                Some(_) | None => return found,
            }
        }
    }

    /// Notes that blocks are used now.
    pub(super) fn touch(&mut self, parts: &[Part]) {
        self.uses += 1;
        for part in parts {
            if let Some(block) = self.all.get_mut(&part.block) {
                block.used = self.uses;
            }
        }
    }

    /// The block that has a piece of tokens, behind a block.
    fn with(&self, of: u128, parent: Option<BlockId>, piece: &[u32]) -> Option<BlockId> {
        self.behind(of, parent).find(|(_, block)| block.tokens.starts_with(piece)).map(|(id, _)| id)
    }

    /// Whether tokens may be kept: what of them is new has room.
    pub(super) fn has_room(&self, of: u128, tokens: &[u32]) -> bool {
        let (mut parent, mut new) = (None, tokens.len());
        for piece in tokens.chunks(self.size) {
            match self.with(of, parent, piece) {
                Some(id) => (parent, new) = (Some(id), new - piece.len()),
                None => break,
            }
        }
        self.positions + new <= self.most
    }

    /// Keeps tokens, for which there must be room.
    pub(super) fn keep(&mut self, of: u128, tokens: &[u32]) -> Kept {
        let (mut kept, mut path) = (Kept::default(), Vec::new());
        let (mut parent, mut at) = (None, 0);
        for piece in tokens.chunks(self.size) {
            let there = self.with(of, parent, piece);
            let block = there.unwrap_or_else(|| self.insert(of, parent, (at, piece), &mut kept.replaced));
            let part = Part { block, at, positions: piece.len() };
            path.push(part);
            if there.is_none() {
                kept.saved.push(part);
            }
            (parent, at) = (Some(block), at + piece.len());
        }
        self.touch(&path);
        kept
    }

    fn insert(
        &mut self,
        of: u128,
        parent: Option<BlockId>,
        (at, piece): (usize, &[u32]),
        replaced: &mut Vec<BlockId>,
    ) -> BlockId {
        let is_shorter = |block: &Block| piece.starts_with(&block.tokens);
        let shorter: Vec<BlockId> =
            self.behind(of, parent).filter(|(_, block)| is_shorter(block)).map(|(id, _)| id).collect();
        for id in shorter {
            self.remove(id);
            replaced.push(id);
        }
        self.named += 1;
        let id = BlockId(self.named);
        self.all.insert(id, Block { of, parent, tokens: piece.to_vec(), at, children: 0, used: 0 });
        self.behind.entry((of, parent)).or_default().push(id);
        if let Some(parent) = parent.and_then(|parent| self.all.get_mut(&parent)) {
            parent.children += 1;
        }
        self.positions += piece.len();
        id
    }

    /// Gives up the block that was used least recently, of those that nothing is behind.
    pub(super) fn give_up(&mut self) -> Option<BlockId> {
        let ends = self.all.iter().filter(|(_, block)| block.children == 0);
        let id = ends.min_by_key(|(id, block)| (block.used, Reverse(block.at), **id)).map(|(id, _)| *id)?;
        self.remove(id);
        Some(id)
    }

    fn remove(&mut self, id: BlockId) {
        let Some(block) = self.all.remove(&id) else { return };
        self.positions -= block.tokens.len();
        if let Some(parent) = block.parent.and_then(|parent| self.all.get_mut(&parent)) {
            parent.children -= 1;
        }
        let place = (block.of, block.parent);
        if let Some(behind) = self.behind.get_mut(&place) {
            behind.retain(|other| *other != id);
            if behind.is_empty() {
                self.behind.remove(&place);
            }
        }
    }

    /// Forgets all of them.
    pub(super) fn clear(&mut self) {
        self.all.clear();
        self.behind.clear();
        self.positions = 0;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SIZE: usize = 4;

    /// What each block ends: the tokens from the first one on.
    fn paths(blocks: &Blocks) -> Vec<(u128, BlockId, Vec<u32>)> {
        let path = |(id, block): (&BlockId, &Block)| {
            let (mut path, mut parent) = (block.tokens.clone(), block.parent);
            while let Some(before) = parent.map(|id| &blocks.all[&id]) {
                path.splice(0..0, before.tokens.iter().copied());
                parent = before.parent;
            }
            (block.of, *id, path)
        };
        blocks.all.iter().map(path).collect()
    }

    /// The longest beginning that any of what is kept has.
    fn longest(blocks: &Blocks, of: u128, tokens: &[u32]) -> usize {
        let alike = |path: &[u32]| path.iter().zip(tokens).take_while(|(one, other)| one == other).count();
        let own = paths(blocks).into_iter().filter(|(owner, ..)| *owner == of);
        own.map(|(_, _, path)| alike(&path)).max().unwrap_or(0)
    }

    fn assert_sound(blocks: &Blocks) {
        let paths = paths(blocks);
        assert_eq!(blocks.positions(), blocks.all.values().map(|block| block.tokens.len()).sum::<usize>());
        assert!(blocks.positions() <= blocks.most);
        for (of, id, path) in &paths {
            let block = &blocks.all[id];
            assert!(block.children == 0 || block.tokens.len() == SIZE, "nothing is behind a short one");
            assert_eq!((block.of, block.at + block.tokens.len()), (*of, path.len()));
            let doubles = paths.iter().filter(|(owner, _, other)| owner == of && other == path).count();
            assert_eq!(doubles, 1, "what is alike is kept once");
        }
    }

    #[derive(Debug, Clone)]
    enum Act {
        Keep(u128, Vec<u32>),
        Use(u128, Vec<u32>),
        GiveUp,
    }

    fn act() -> impl Strategy<Value = Act> {
        // Few letters, so that much begins alike.
        let tokens = || prop::collection::vec(0..2_u32, 0..14);
        prop_oneof![
            3 => (0..2_u128, tokens()).prop_map(|(of, tokens)| Act::Keep(of, tokens)),
            2 => (0..2_u128, tokens()).prop_map(|(of, tokens)| Act::Use(of, tokens)),
            1 => Just(Act::GiveUp),
        ]
    }

    proptest! {
        #[test]
        fn the_longest_beginning_is_found_as_by_looking_at_all(acts in prop::collection::vec(act(), 1..40), most in 8..60_usize) {
            let mut blocks = Blocks::new(SIZE, most);
            let mut values: BTreeMap<BlockId, Vec<u32>> = BTreeMap::new();
            for act in acts {
                match act {
                    Act::Keep(of, tokens) if blocks.has_room(of, &tokens) => {
                        let kept = blocks.keep(of, &tokens);
                        for id in kept.replaced {
                            prop_assert!(values.remove(&id).is_some());
                        }
                        for part in kept.saved {
                            let saved = tokens[part.at..part.at + part.positions].to_vec();
                            prop_assert!(values.insert(part.block, saved).is_none());
                        }
                        prop_assert_eq!(longest(&blocks, of, &tokens), tokens.len());
                    }
                    Act::Keep(..) => {}
                    Act::Use(of, tokens) => {
                        let found = blocks.find(of, &tokens);
                        // What is found, with the values that were saved, is the beginning.
                        let read: Vec<u32> = found.iter().flat_map(|part| values[&part.block][..part.positions].to_vec()).collect();
                        prop_assert_eq!(&read[..], &tokens[..read.len()]);
                        prop_assert_eq!(read.len(), longest(&blocks, of, &tokens));
                        blocks.touch(&found);
                    }
                    Act::GiveUp => {
                        let before = blocks.positions();
                        if let Some(id) = blocks.give_up() {
                            prop_assert!(values.remove(&id).is_some() && blocks.positions() < before);
                        }
                    }
                }
                assert_sound(&blocks);
                prop_assert_eq!(values.len(), blocks.all.len());
            }
            while blocks.give_up().is_some() {}
            prop_assert_eq!((blocks.positions(), blocks.behind.len()), (0, 0));
        }
    }

    #[test]
    fn what_was_used_least_recently_goes_first_from_its_end() {
        let mut blocks = Blocks::new(SIZE, 100);
        let (first, second) = ([1, 1, 1, 1, 2, 2, 2, 2, 3], [1, 1, 1, 1, 7, 7, 7, 7]);
        let saved: Vec<BlockId> = blocks.keep(1, &first).saved.iter().map(|part| part.block).collect();
        let other: Vec<BlockId> = blocks.keep(1, &second).saved.iter().map(|part| part.block).collect();
        assert_eq!((saved.len(), other.len()), (3, 1), "they share their beginning");
        let found = blocks.find(1, &first);
        blocks.touch(&found);
        let order: Vec<BlockId> = std::iter::from_fn(|| blocks.give_up()).collect();
        assert_eq!(order, [other[0], saved[2], saved[1], saved[0]]);
        blocks.keep(1, &first);
        assert!(blocks.find(2, &first).is_empty(), "another's are not found");
    }
}
