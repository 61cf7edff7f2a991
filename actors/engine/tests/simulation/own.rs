//! What a story knows of each request by itself, beside the scheduler.

use engine::schedule::{JobId, SequenceId, Share};

/// A position of the cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Cell {
    pub(super) token: u32,
    pub(super) account: u128,
    pub(super) in_piece: bool,
}

/// One sequence as its request knows it.
#[derive(Debug)]
pub(super) struct Own {
    pub(super) job: JobId,
    pub(super) share: Share,
    pub(super) tokens: Vec<u32>,
    pub(super) prompt: usize,
    pub(super) limit: usize,
    /// Positions that are read.
    pub(super) read: usize,
    /// Positions that were read for it, at the most.
    pub(super) furthest: usize,
    pub(super) is_parked: bool,
    /// Whether its time is billed.
    pub(super) is_billed: bool,
    pub(super) was_placed: bool,
    pub(super) after: Option<SequenceId>,
    /// Its text repeats after so many tokens, with deviations. 0: it does not.
    pub(super) period: usize,
    /// Tokens that were read since it could have had a place.
    pub(super) passed_over: usize,
    /// Tokens of its account that were to be read before it, and its own.
    pub(super) ahead: usize,
}

impl Own {
    /// Whether a token was written.
    pub(super) fn has_written(&self) -> bool {
        self.tokens.len() > self.prompt
    }

    /// Whether it needs one token's step alone.
    pub(super) fn writes(&self) -> bool {
        self.has_written() && self.tokens.len() == self.read + 1
    }

    /// The token that the model chooses next.
    pub(super) fn next(&self) -> u32 {
        let at = self.tokens.len();
        let token = match self.period {
            // Answers to one prompt are alike, up to a point.
            0 if at.is_multiple_of(7) => at + self.limit,
            0 => at,
            _ if at.is_multiple_of(13) => 5_000 + at,
            period => at % period,
        };
        u32::try_from(token).unwrap_or(0)
    }
}

/// A step that verified a draft, while its tokens are chosen.
#[derive(Debug)]
pub(super) struct Verified {
    pub(super) id: SequenceId,
    pub(super) tokens: Vec<u32>,
    /// The row whose scores are next.
    pub(super) row: usize,
}
