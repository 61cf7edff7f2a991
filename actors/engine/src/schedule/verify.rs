//! Steps that verify drafts: when one is worth it, and which of its tokens stay.

use std::collections::VecDeque;

use super::{Scheduler, SequenceId, Step};

/// More sequences than this are written faster together.
const MOST: usize = 2;

/// What a step verifies.
#[derive(Debug)]
pub(super) struct Draft {
    id: SequenceId,
    /// Tokens that are in the cache behind the last one, and were not chosen yet.
    left: VecDeque<u32>,
    /// How many of them were chosen.
    right: usize,
}

impl Draft {
    pub(super) fn is_of(&self, id: SequenceId) -> bool {
        self.id == id
    }
}

impl Scheduler {
    /// A step that verifies a draft, where no more than two run, all of them write, and each has one: so the others do not
    /// wait for one that is faster. They take turns.
    pub(super) fn verify_step(&mut self) -> Option<Step> {
        let rows = self.limits.verified;
        let end = self.shape.positions.min(self.limits.longest);
        if rows < 2 {
            return None;
        }
        let mut running = self.placed().filter(|(_, it)| !it.is_parked);
        let all: Vec<_> = running.by_ref().take(MOST).collect();
        let drafts = all.iter().map(|(id, it)| {
            let drafter = it.drafter.filter(|_| it.writes() && it.read + rows <= end)?;
            Some((*id, drafter.draft(&it.tokens, rows - 1))).filter(|(_, draft)| !draft.is_empty())
        });
        let drafts = drafts.collect::<Option<Vec<_>>>().filter(|_| running.next().is_none())?;
        drop(running);
        let other = drafts.iter().position(|(id, _)| Some(*id) != self.verified).unwrap_or(0);
        let (id, draft) = drafts.into_iter().nth(other)?;
        let sequence = self.sequences.get(&id)?;
        let tokens = sequence.tokens.last().into_iter().chain(&draft).copied().collect();
        let step = Step::Verify { id, place: sequence.place?, past: sequence.read, tokens };
        self.verified = Some(id);
        self.draft = Some(Draft { id, left: draft.into(), right: 0 });
        Some(step)
    }

    /// Compares a token that was chosen with the one that was drafted there, which is in the cache.
    pub(super) fn compare(&mut self, id: SequenceId, token: u32) -> bool {
        let Some(mut draft) = self.draft.take_if(|draft| draft.is_of(id)) else { return false };
        let Some(sequence) = self.sequences.get_mut(&id) else { return false };
        if draft.left.front() == Some(&token) {
            draft.left.pop_front();
            draft.right += 1;
            sequence.read += 1;
            let new = sequence.read_further();
            self.fair.charge(sequence.share.of, new);
            self.draft = Some(draft);
            return true;
        }
        if let Some(drafter) = &mut sequence.drafter {
            drafter.judge(draft.right);
        }
        false
    }
}
