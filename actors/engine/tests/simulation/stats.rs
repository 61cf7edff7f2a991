//! What has happened in stories, and the faults that they must notice.

/// A fault that the story must notice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mutant {
    /// A slow reader's sequence is not parked, although nothing is billed while a reader is slow.
    NotParked,
    /// A cache that gets a new form loses what is in it.
    ArrangedEmpty,
    /// A sequence that begins with another's cache does not get it.
    NotCopied,
    /// Places change without their caches.
    NotMoved,
    /// A step that failed passes for one that was done.
    FailedUnheard,
    /// A sequence that ended keeps its place.
    NeverLeft,
    /// All requests pass for one account's.
    OneAccount,
    /// A parked sequence is forgotten.
    NotResumed,
    /// A drafted token passes for the one that was chosen.
    DraftTaken,
    /// A step that verifies writes its first token alone.
    DraftNotWritten,
    /// The scores behind a drafted token that was right are forgotten.
    RowsForgotten,
    /// A sequence that begins with blocks does not get them.
    NotLoaded,
    /// Blocks that are given up stay.
    NotDropped,
}

impl Mutant {
    pub(crate) const ALL: [Self; 13] = [
        Self::NotParked,
        Self::ArrangedEmpty,
        Self::NotCopied,
        Self::NotMoved,
        Self::FailedUnheard,
        Self::NeverLeft,
        Self::OneAccount,
        Self::NotResumed,
        Self::DraftTaken,
        Self::DraftNotWritten,
        Self::RowsForgotten,
        Self::NotLoaded,
        Self::NotDropped,
    ];
}

/// Counts of what has happened, so that a story that never gets anywhere does not pass.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Stats {
    pub(super) steps: u64,
    pub(super) served: u64,
    pub(super) cancelled: u64,
    pub(super) failed: u64,
    pub(super) lost: u64,
    pub(super) parked: u64,
    pub(super) sent_away: u64,
    pub(super) forked: u64,
    pub(super) reused: u64,
    pub(super) together: u64,
    pub(super) verified: u64,
    pub(super) verified_of_two: u64,
    pub(super) right: u64,
    pub(super) wrong: u64,
    pub(super) shrunk: u64,
    pub(super) saved: u64,
    pub(super) loaded: u64,
}

impl Stats {
    pub(crate) fn add(&mut self, other: &Self) {
        let pairs = [
            (&mut self.steps, other.steps),
            (&mut self.served, other.served),
            (&mut self.cancelled, other.cancelled),
            (&mut self.failed, other.failed),
            (&mut self.lost, other.lost),
            (&mut self.parked, other.parked),
            (&mut self.sent_away, other.sent_away),
            (&mut self.forked, other.forked),
            (&mut self.reused, other.reused),
            (&mut self.together, other.together),
            (&mut self.verified, other.verified),
            (&mut self.verified_of_two, other.verified_of_two),
            (&mut self.right, other.right),
            (&mut self.wrong, other.wrong),
            (&mut self.shrunk, other.shrunk),
            (&mut self.saved, other.saved),
            (&mut self.loaded, other.loaded),
        ];
        for (sum, more) in pairs {
            *sum += more;
        }
    }

    /// Asserts that in so many stories everything has happened.
    pub(crate) fn assert_told(&self, stories: u64) {
        let all = [
            (self.steps, 50),
            (self.served, 3),
            (self.together, 5),
            (self.cancelled, 1),
            (self.parked, 1),
            (self.forked, 1),
            (self.reused, 1),
        ];
        assert!(all.iter().all(|(count, each)| *count >= each * stories), "{self:?}");
        let drafts = [self.verified, self.verified_of_two, self.right, self.wrong];
        let seldom = [&[self.failed, self.lost, self.sent_away, self.saved, self.loaded], &drafts[..]].concat();
        assert!(seldom.iter().all(|count| *count * 10 >= stories), "{self:?}");
        assert!(self.shrunk * 100 >= stories, "{self:?}");
    }
}
