//! The form of the cache, and where in it things are. All places have as many positions, so a long sequence is dear
//! beside many others: what counts is the number of places times the longest, and the blocks beside them.

use super::{Change, Place, Scheduler, Shape};

impl Scheduler {
    /// Whether so many places of so many positions are within the limit.
    pub(super) fn fits(&self, count: usize, longest: usize) -> bool {
        self.has_room(count, longest.next_multiple_of(self.limits.grain))
    }

    fn has_room(&self, places: usize, positions: usize) -> bool {
        // One sequence alone may have as many as it needs, once nothing is kept that it does not.
        (places <= 1 && self.blocks.positions() == 0) || places.saturating_mul(positions) <= self.beside_blocks()
    }

    /// The positions that places may have.
    fn beside_blocks(&self) -> usize {
        self.limits.positions.saturating_sub(self.blocks.positions())
    }

    /// The number of places in use, and the positions that the longest of them needs now.
    pub(super) fn demand(&self) -> (usize, usize) {
        let needs = self.places.iter().filter_map(|place| match place {
            Place::Free => None,
            Place::Held(id) => self.sequences.get(id).map(super::Sequence::needs),
            Place::Kept(kept) => Some(kept.tokens.len()),
        });
        needs.fold((0, 0), |(count, longest), needs| (count + 1, longest.max(needs)))
    }

    /// Gives the cache the form that is needed now. A cache that grows doubles, so that it is copied seldom.
    pub(super) fn arrange(&mut self, changes: &mut Vec<Change>) {
        let (count, longest) = self.demand();
        if count == 0 && self.shape == Shape::default() {
            return;
        }
        // There is one at least, as long as there is anything.
        let (count, longest) = (count.max(1), longest.max(1));
        while !self.fits(count, longest) && self.give_up_block(changes) {}
        let before = self.shape;
        let positions = if longest <= before.positions && self.has_room(count, before.positions) {
            before.positions
        } else {
            let needed = longest.next_multiple_of(self.limits.grain);
            let doubled = needed.max(before.positions * 2);
            if longest > before.positions && self.has_room(count, doubled) { doubled } else { needed }
        };
        let end =
            |places: &[Place]| places.iter().rposition(|place| !matches!(place, Place::Free)).map_or(0, |at| at + 1);
        let used = end(&self.places);
        let wanted = if used <= before.places { before.places } else { used.next_power_of_two() };
        let room = (self.beside_blocks() / positions.max(1)).max(count);
        let places = wanted.min(self.limits.sequences).min(room);
        if used > places {
            self.squeeze(changes);
        }
        let shape = Shape { places, positions };
        if shape != before {
            changes.push(Change::Arrange(shape));
            self.shape = shape;
        }
    }

    /// Moves the last places into those that are free before them.
    fn squeeze(&mut self, changes: &mut Vec<Change>) {
        let is_free = |place: &Place| matches!(place, Place::Free);
        while let Some(free) = self.places.iter().position(is_free) {
            match self.places.iter().rposition(|place| !is_free(place)) {
                Some(last) if last > free => self.relocate(last, free, changes),
                Some(_) | None => return,
            }
        }
    }

    /// Exchanges what is at two places.
    pub(super) fn relocate(&mut self, one: usize, other: usize, changes: &mut Vec<Change>) {
        let held = |place: &Place| match place {
            Place::Free => 0,
            Place::Held(id) => self.sequences.get(id).map_or(0, |sequence| sequence.read),
            Place::Kept(kept) => kept.tokens.len(),
        };
        let change = match (held(&self.places[one]), held(&self.places[other])) {
            (0, 0) => None,
            (positions, 0) => Some(Change::Move { from: one, to: other, positions }),
            (0, positions) => Some(Change::Move { from: other, to: one, positions }),
            (a, b) => Some(Change::Swap { one, other, positions: a.max(b) }),
        };
        changes.extend(change);
        self.places.swap(one, other);
        for at in [one, other] {
            if let Place::Held(id) = self.places[at]
                && let Some(sequence) = self.sequences.get_mut(&id)
            {
                sequence.place = Some(at);
            }
        }
    }
}
