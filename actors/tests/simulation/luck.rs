//! The faults of writes: what is lost, late, refused or decided wrongly.

use billing::{Nanos, entry::Transition};

use crate::{mutants::Mutant, random::Random};

/// How a write fares.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Commit {
    Done,
    /// Written, and nobody is told.
    DoneUnheard,
    /// To be written later, and nobody is told.
    Late,
    /// Never written, and nobody is told.
    Lost,
    /// Not written, and its sender is told so.
    Refused,
}

/// Random faults of writes.
pub(crate) struct Luck<'a> {
    pub(crate) random: &'a mut Random,
    /// The percentage of writes that fail.
    pub(crate) trouble: i64,
    pub(crate) mutant: Option<Mutant>,
}

impl Luck<'_> {
    /// Whether something fails that fails once where writes fail so many times.
    pub(crate) fn strikes(&mut self, seldom: i64) -> bool {
        self.random.below(100 * seldom) < self.trouble
    }

    pub(crate) fn of_a_commit(&mut self) -> Commit {
        if !self.random.percent(self.trouble) {
            return Commit::Done;
        }
        match self.random.below(6) {
            0..3 => Commit::DoneUnheard,
            3 => Commit::Late,
            4 => Commit::Lost,
            _ => Commit::Refused,
        }
    }

    /// A mistake in the rules: a transition that breaks one.
    pub(crate) fn distort(&mut self, batch: &mut [Transition]) {
        if self.mutant.is_none_or(|it| it == Mutant::FaultsLogged) && self.strikes(4) {
            let count = i64::try_from(batch.len()).unwrap_or(1);
            let wrong = &mut batch[usize::try_from(self.random.below(count)).unwrap_or(0)];
            match wrong.lines.first_mut() {
                Some(line) => line.held += Nanos::new(1),
                None => wrong.header.debt = Nanos::new(-1),
            }
        }
    }
}
