//! The projector of an owner: it makes the tables from the rows that its journal has appended, of all shards, some at a time, merged
//! or one by one, and tries again what fails. A process that dies, or sleeps, may leave a transaction behind that
//! arrives later.

use std::collections::VecDeque;

use ledger::project::{Logged, lacking_of_all};

use crate::{
    check::{PROJECTED, TABLES},
    luck::{Commit, Luck},
    mutants::Mutant,
    owner::Owner,
    tables::{Manner, NotProjected, Tables},
    world::World,
};

/// Rows that were appended together, and the number of that append.
pub(crate) struct Appended {
    pub(crate) number: u64,
    pub(crate) rows: Vec<Logged>,
}

/// Rows that are projected together.
#[derive(Debug, Clone)]
pub(crate) struct Group {
    /// The number of the last of their appends.
    number: u64,
    pub(crate) rows: Vec<Logged>,
    pub(crate) manner: Manner,
}

/// The answer to a projection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Answer {
    Projected,
    Elsewhere,
    /// The rows may be in the tables, or still come into them.
    Unknown,
}

/// What the projector says of tables that do not belong to its log.
const ELSEWHERE: &str = "finds the tables of another log";

/// A group on its way to the tables and back.
enum Projecting {
    Sent(Group),
    Answered(Group, Answer),
}

#[derive(Default)]
pub(crate) struct Projector {
    /// Rows that are in the logs and not on their way to the tables.
    pub(crate) queue: VecDeque<Appended>,
    projecting: Option<Projecting>,
}

impl Projector {
    const fn is_sending(&self) -> bool {
        matches!(self.projecting, Some(Projecting::Sent(_)))
    }

    /// The transaction that is still on its way when the process dies.
    pub(crate) fn is_left(&mut self) -> Option<Group> {
        match self.projecting.take() {
            Some(Projecting::Sent(group)) => Some(group),
            Some(Projecting::Answered(..)) | None => None,
        }
    }

    fn takes(&mut self, most: usize, manner: Manner) -> bool {
        if self.projecting.is_some() || self.queue.is_empty() {
            return false;
        }
        let (mut number, mut rows) = (0, Vec::new());
        for appended in self.queue.drain(..most.min(self.queue.len())) {
            number = appended.number;
            rows.extend(appended.rows);
        }
        self.projecting = Some(Projecting::Sent(Group { number, rows, manner }));
        true
    }
}

impl Owner {
    /// The group on its way arrives at the tables. Returns a transaction that is still on its way.
    fn group_arrives(&mut self, tables: &mut Tables, luck: &mut Luck<'_>) -> Result<Option<Group>, NotProjected> {
        let projecting = &mut self.projector.projecting;
        let sent = projecting.take_if(|it| matches!(it, Projecting::Sent(_)));
        let Some(Projecting::Sent(group)) = sent else { return Ok(None) };
        let mutant = luck.mutant;
        let mut project = || match tables.project(&group.rows, group.manner, mutant) {
            Ok(()) => Ok(Answer::Projected),
            Err(NotProjected::Elsewhere) => Ok(Answer::Elsewhere),
            Err(refused @ NotProjected::Refused(..)) => Err(refused),
        };
        let mut late = None;
        let answer = match luck.of_a_commit() {
            Commit::Done => project()?,
            Commit::DoneUnheard => {
                project()?;
                Answer::Unknown
            }
            Commit::Late => {
                late = Some(group.clone());
                Answer::Unknown
            }
            Commit::Lost | Commit::Refused => Answer::Unknown,
        };
        self.projector.projecting = Some(Projecting::Answered(group, answer));
        Ok(late)
    }

    /// The projector hears how its group fared.
    fn group_is_heard(&mut self, tables: &mut Tables) -> Option<&'static str> {
        let projecting = &mut self.projector.projecting;
        let answered = projecting.take_if(|it| matches!(it, Projecting::Answered(..)));
        let Some(Projecting::Answered(Group { number, rows, manner }, answer)) = answered else { return None };
        if self.journal.is(Mutant::PlaceApart) && answer == Answer::Projected {
            tables.moves(&rows, |shard| shard);
        }
        // After anything else it looks how far the tables are.
        let left = if answer == Answer::Projected { Some(Vec::new()) } else { lacking_of_all(&rows, &tables.places) };
        let Some(rows) = left else { return Some(ELSEWHERE) };
        if rows.is_empty() {
            self.progress.projected(number);
            return Some("is done");
        }
        self.projector.projecting = Some(Projecting::Sent(Group { number, rows, manner }));
        Some("tries again")
    }
}

impl World {
    /// Advances a projector, or its group on the way to the tables and back.
    pub(crate) fn projector_goes_on(&mut self) -> bool {
        let sending = self.owners.iter().filter(|owner| owner.projector.is_sending());
        // A transaction that was sent arrives even if its owner sleeps.
        let sending: Vec<u64> = sending.map(|owner| owner.id).collect();
        if self.random.percent(40)
            && !self.is_down()
            && let Some(id) = self.random.pick(&sending)
        {
            return self.a_group_arrives(id);
        }
        let Some(id) = self.any_owner() else { return false };
        self.a_group_is_heard(id) || self.a_group_is_taken(id)
    }

    pub(crate) fn a_group_is_taken(&mut self, id: u64) -> bool {
        let most = usize::try_from(self.random.between(1, 6)).unwrap_or(1);
        let manner = self.some_manner();
        self.owner(id).is_some_and(|owner| owner.projector.takes(most, manner))
    }

    pub(crate) fn some_manner(&mut self) -> Manner {
        if self.random.percent(70) { Manner::Merged } else { Manner::OneByOne }
    }

    pub(crate) fn a_group_arrives(&mut self, id: u64) -> bool {
        let trouble = self.trouble_now();
        let mut luck = Luck { random: &mut self.random, trouble, mutant: self.mutant };
        let Some(owner) = self.owners.iter_mut().find(|it| it.id == id && it.projector.is_sending()) else {
            return false;
        };
        match owner.group_arrives(&mut self.disk.tables, &mut luck) {
            Ok(late) => self.late_groups.extend(late),
            Err(refused) => self.disk.breaks(PROJECTED, format!("{refused:?}")),
        }
        self.stats.projections += 1;
        let places: Vec<u64> = self.disk.tables.places.values().map(|place| place.seq).collect();
        self.say(|| format!("owner {id}: the projector's rows arrive, and the tables are at rows {places:?}"));
        true
    }

    pub(crate) fn a_group_is_heard(&mut self, id: u64) -> bool {
        let tables = &mut self.disk.tables;
        let Some(owner) = self.owners.iter_mut().find(|it| it.id == id) else { return false };
        let Some(said) = owner.group_is_heard(tables) else { return false };
        if said == ELSEWHERE {
            self.disk.breaks(TABLES, format!("owner {id} {said}"));
        }
        self.say(|| format!("owner {id}: the projector {said}"));
        true
    }

    /// A transaction arrives whose process has died or tried again.
    pub(crate) fn a_late_group_arrives(&mut self) -> bool {
        if self.is_down() {
            return false;
        }
        let Some(group) = self.late_groups.pop() else { return false };
        let projected = self.disk.tables.project(&group.rows, group.manner, self.mutant);
        self.stats.late_projections += u64::from(projected.is_ok());
        self.stats.too_late += u64::from(projected == Err(NotProjected::Elsewhere));
        self.say(|| format!("a late transaction arrives at the tables: {projected:?}"));
        if let Err(refused @ NotProjected::Refused(..)) = projected {
            self.disk.breaks(PROJECTED, format!("{refused:?}"));
        }
        true
    }
}
