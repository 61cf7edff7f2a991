//! The plan of the next step: room is made for what has a place, places are given, and the step is chosen.

use std::time::Duration;

use super::blocks::Part;
use super::{Change, Joined, Kept, Place, Plan, Row, Scheduler, Sequence, SequenceId, Step};

/// Fewer positions than this are not worth a cache.
pub(super) const LEAST_REUSED: usize = 16;
/// A sequence joins others only where so many positions more than it needs are free, so that it does not have to leave
/// at once.
const MARGIN: usize = 32;

/// A cache that a sequence can begin with.
#[derive(Debug, Clone, Copy)]
struct Source {
    owner: Owner,
    positions: usize,
    is_forked: bool,
    /// Whether the sequence gets the cache itself, and not a copy.
    is_taken: bool,
}

/// A cache's owner; its place may change while a plan is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Owner {
    Sequence(SequenceId),
    /// A cache kept, by its number.
    Kept(u64),
    /// The blocks that the sequence's tokens begin with.
    Blocks,
}

impl Scheduler {
    /// Plans the next step. `None`: nothing can run now, and nothing changes. After a step the scheduler must be told
    /// [`completed`](Self::completed), [`failed`](Self::failed) or [`lost`](Self::lost).
    pub fn next(&mut self, now: Duration) -> Option<Plan> {
        let mut plan = Plan::default();
        self.draft = None;
        self.make_room(&mut plan.changes, now);
        self.admit(&mut plan, now);
        self.arrange(&mut plan.changes);
        if !self.placed().any(|(_, sequence)| !sequence.is_parked) {
            // What was given up must be told all the same.
            return (!plan.changes.is_empty()).then_some(plan);
        }
        plan.step = self.choose(&mut plan.changes, now);
        Some(plan)
    }

    /// Makes room for the next token of all that have a place.
    fn make_room(&mut self, changes: &mut Vec<Change>, now: Duration) {
        loop {
            let (count, longest) = self.demand();
            if self.fits(count, longest) {
                return;
            }
            if self.give_up_block(changes) || self.take_kept(None).is_some() {
                continue;
            }
            let Some(victim) = self.youngest_parked().or_else(|| self.youngest_but_one()) else { return };
            self.send_away(victim, now);
        }
    }

    fn youngest_parked(&self) -> Option<SequenceId> {
        self.placed().rev().find(|(_, sequence)| sequence.is_parked).map(|(id, _)| id)
    }

    /// The youngest with a place, unless it is the only one.
    fn youngest_but_one(&self) -> Option<SequenceId> {
        self.placed().skip(1).last().map(|(id, _)| id)
    }

    /// Gives up the block that was used least recently. Returns whether there was one.
    pub(super) fn give_up_block(&mut self, changes: &mut Vec<Change>) -> bool {
        let given_up = self.blocks.give_up();
        changes.extend(given_up.map(Change::Drop));
        given_up.is_some()
    }

    /// Frees the place of the cache that was kept longest, except one. Returns the place, and what is still in it.
    fn take_kept(&mut self, except: Option<u64>) -> Option<(usize, Kept)> {
        let kept = self.places.iter().enumerate().filter_map(|(at, place)| match place {
            Place::Kept(kept) if Some(kept.since) != except => Some((kept.since, at)),
            Place::Kept(_) | Place::Free | Place::Held(_) => None,
        });
        let (_, at) = kept.min()?;
        match std::mem::replace(&mut self.places[at], Place::Free) {
            Place::Kept(kept) => Some((at, kept)),
            Place::Free | Place::Held(_) => None,
        }
    }

    /// Keeps in blocks what can be used again of a cache, before its place is another's: as much as fits.
    fn keep_in_blocks(&mut self, place: usize, kept: &Kept, changes: &mut Vec<Change>) {
        let Some(owner) = self.limits.scope.owner(kept.of) else { return };
        let tokens = &kept.tokens[..kept.in_pieces.min(self.limits.blocks)];
        // What is shared with it goes last.
        let shared = self.blocks.find(owner, tokens);
        self.blocks.touch(&shared);
        while !self.blocks.has_room(owner, tokens) {
            if !self.give_up_block(changes) {
                return;
            }
        }
        let made = self.blocks.keep(owner, tokens);
        changes.extend(made.replaced.into_iter().map(Change::Drop));
        let save = |Part { block, at, positions }| Change::Save { place, block, at, positions };
        changes.extend(made.saved.into_iter().map(save));
    }

    /// Takes a sequence's place. It waits again, and reads again what it had read.
    fn send_away(&mut self, id: SequenceId, now: Duration) {
        self.compute(id, false, now);
        let Some(sequence) = self.sequences.get_mut(&id) else { return };
        (sequence.read, sequence.in_pieces) = (0, 0);
        if let Some(place) = sequence.place.take() {
            self.places[place] = Place::Free;
        }
        self.fair.wait_again(sequence.share.of, id);
    }

    /// Gives places to those whose turn it is, as long as there is room. Nobody overtakes one that must wait for room.
    fn admit(&mut self, plan: &mut Plan, now: Duration) {
        loop {
            let sequences = &self.sequences;
            let may = |id: SequenceId| {
                sequences.get(&id).is_some_and(|it| {
                    let first = it.after.and_then(|first| sequences.get(&first));
                    !it.is_parked && first.is_none_or(|first| first.furthest >= first.prompt)
                })
            };
            let Some(id) = self.fair.pick(may) else { return };
            if !self.seat(id, plan, now) {
                return;
            }
        }
    }

    /// Gives a sequence a place. Returns whether there was room.
    fn seat(&mut self, id: SequenceId, plan: &mut Plan, now: Duration) -> bool {
        let Some(needed) = self.sequences.get(&id).map(Sequence::needs) else { return false };
        let source = loop {
            let source = self.source(id);
            let (count, longest) = self.demand();
            let is_first = self.placed().next().is_none();
            let longest = longest.max(needed + if is_first { 0 } else { MARGIN });
            let count = count + usize::from(!source.is_some_and(|source| source.is_taken));
            let is_short = !self.fits(count, longest);
            if count <= self.limits.sequences && !is_short {
                break source;
            }
            if is_short && self.give_up_block(&mut plan.changes) {
                continue;
            }
            let taken = source.filter(|source| source.is_taken).and_then(|source| match source.owner {
                Owner::Kept(since) => Some(since),
                Owner::Sequence(_) | Owner::Blocks => None,
            });
            if let Some((place, kept)) = self.take_kept(taken) {
                if !is_short {
                    self.keep_in_blocks(place, &kept, &mut plan.changes);
                }
                continue;
            }
            let Some(parked) = self.youngest_parked() else { return false };
            self.send_away(parked, now);
        };
        let own = match source {
            Some(source) if source.is_taken => self.place_of(source.owner),
            Some(_) | None => self.places.iter().position(|place| matches!(place, Place::Free)),
        };
        let Some(own) = own else { return false };
        let before = std::mem::replace(&mut self.places[own], Place::Held(id));
        if let (Place::Kept(kept), Some(source)) = (&before, source)
            && kept.in_pieces > source.positions
        {
            // It goes on otherwise than what was kept.
            self.keep_in_blocks(own, kept, &mut plan.changes);
        }
        let Some(sequence) = self.sequences.get_mut(&id) else { return false };
        sequence.place = Some(own);
        self.fair.placed(sequence.share.of, id);
        let mut joined = Joined { id, reused: 0, is_forked: false };
        if let Some(source) = source {
            joined = Joined { id, reused: source.positions, is_forked: source.is_forked };
            if source.is_taken {
                self.begin_with(id, source.positions);
            } else if source.owner == Owner::Blocks {
                joined.reused = self.load_blocks(id, source.positions, &mut plan.changes);
            } else {
                // The new place must be there before it is written, and caches may move for that.
                self.arrange(&mut plan.changes);
                let to = self.sequences.get(&id).and_then(|sequence| sequence.place);
                if let (Some(from), Some(to)) = (self.place_of(source.owner), to) {
                    plan.changes.push(Change::Copy { from, to, positions: source.positions });
                    self.begin_with(id, source.positions);
                }
            }
        }
        plan.joined.push(joined);
        true
    }

    /// Fills a new place with the blocks that a sequence's tokens begin with. Returns the positions that it has then.
    fn load_blocks(&mut self, id: SequenceId, positions: usize, changes: &mut Vec<Change>) -> usize {
        // The place must be there before it is written. Where memory is short for it, some of the blocks may go.
        self.arrange(changes);
        let Some(sequence) = self.sequences.get(&id) else { return 0 };
        let Some(place) = sequence.place else { return 0 };
        let found = self.limits.scope.owner(sequence.share.of).map(|owner| self.blocks.find(owner, &sequence.tokens));
        let mut loaded = 0;
        for Part { block, at, positions: all } in found.into_iter().flatten() {
            let count = all.min(positions.saturating_sub(at));
            if count > 0 {
                changes.push(Change::Load { block, place, at, positions: count });
                loaded = at + count;
            }
        }
        self.begin_with(id, loaded);
        loaded
    }

    fn begin_with(&mut self, id: SequenceId, positions: usize) {
        if let Some(sequence) = self.sequences.get_mut(&id) {
            (sequence.read, sequence.in_pieces) = (positions, positions);
            sequence.furthest = sequence.furthest.max(positions);
        }
    }

    fn place_of(&self, owner: Owner) -> Option<usize> {
        self.places.iter().position(|place| match (place, owner) {
            (Place::Held(id), Owner::Sequence(wanted)) => *id == wanted,
            (Place::Kept(kept), Owner::Kept(wanted)) => kept.since == wanted,
            (Place::Free | Place::Held(_) | Place::Kept(_), _) => false,
        })
    }

    /// The cache that saves a sequence the most reading.
    fn source(&self, id: SequenceId) -> Option<Source> {
        let sequence = self.sequences.get(&id).filter(|_| self.limits.reuses)?;
        let is_new = sequence.furthest == 0 && sequence.tokens.len() == sequence.prompt;
        let prompt = &sequence.tokens[..sequence.prompt];
        // What is left must be nothing to read, or a piece, which has at least two tokens.
        let end = sequence.end();
        let most = if end < sequence.tokens.len() { end } else { end.saturating_sub(2) };
        let owner = self.limits.scope.owner(sequence.share.of).filter(|_| sequence.rows.is_none());
        let usable = |same: usize| {
            let positions = same.min(most);
            let positions = positions.saturating_sub(usize::from(positions + 1 == end));
            Some(positions).filter(|positions| *positions >= LEAST_REUSED)
        };
        let of_blocks = owner.and_then(|owner| {
            let found = self.blocks.find(owner, &sequence.tokens).iter().map(|part| part.positions).sum();
            Some(Source { owner: Owner::Blocks, positions: usable(found)?, is_forked: false, is_taken: false })
        });
        let of_place = |place: &Place| {
            let (held_by, job, of, tokens, in_pieces) = match place {
                Place::Free => return None,
                Place::Held(other) => {
                    let it = self.sequences.get(other)?;
                    (Owner::Sequence(*other), it.job, it.share.of, &it.tokens[..it.read], it.in_pieces)
                }
                Place::Kept(kept) => (Owner::Kept(kept.since), kept.job, kept.of, &kept.tokens[..], kept.in_pieces),
            };
            let is_kept = matches!(held_by, Owner::Kept(_));
            if is_new && sequence.after.is_some() && job == sequence.job && tokens.starts_with(prompt) {
                return Some(Source { owner: held_by, positions: prompt.len(), is_forked: true, is_taken: is_kept });
            }
            if owner.is_none() || self.limits.scope.owner(of) != owner {
                return None;
            }
            let same = sequence.tokens.iter().zip(tokens).take_while(|(one, other)| one == other).count();
            let positions = usable(same.min(in_pieces))?;
            let is_taken = is_kept && positions * 2 >= tokens.len();
            Some(Source { owner: held_by, positions, is_forked: false, is_taken })
        };
        let all = of_blocks.into_iter().chain(self.places.iter().filter_map(of_place));
        all.max_by_key(|source| (source.is_forked, source.positions, source.is_taken))
    }

    /// The next step. What computes in it computes from now on.
    fn choose(&mut self, changes: &mut Vec<Change>, now: Duration) -> Option<Step> {
        let writes = self.placed().any(|(_, it)| !it.is_parked && it.writes());
        // One that forked just now will write.
        let will_write = writes || self.placed().any(|(_, it)| it.read == it.tokens.len());
        let step = match self.reader() {
            Some(id) if !writes || !self.has_read => self.read_step(id, will_write),
            Some(_) | None if writes => {
                let verify = self.verify_step();
                Some(verify.unwrap_or_else(|| Step::Write(self.write_step(changes))))
            }
            Some(_) | None => None,
        };
        let planned: Vec<(SequenceId, usize)> = match &step {
            None => Vec::new(),
            Some(Step::Read { id, tokens, .. }) => vec![(*id, tokens.len())],
            Some(Step::Write(rows)) => rows.iter().map(|row| (row.id, 1)).collect(),
            // Of the others it shows later how many are right.
            Some(Step::Verify { id, .. }) => vec![(*id, 1)],
        };
        self.has_read = matches!(step, Some(Step::Read { .. }));
        for (id, _) in &planned {
            // What is read again is not billed.
            let is_new = self.sequences.get(id).is_some_and(|it| it.read >= it.furthest);
            if is_new {
                self.compute(*id, true, now);
            }
        }
        self.planned = step.is_some().then_some(planned);
        step
    }

    /// Whose prompt is read next: in turns the oldest's, and the one's that has the least to read.
    fn reader(&self) -> Option<SequenceId> {
        let reads = |(_, it): &(SequenceId, &Sequence)| !it.is_parked && !it.writes() && it.to_read() > 0;
        let mut readers = self.placed().filter(reads);
        let found =
            if self.pieces.is_multiple_of(2) { readers.next() } else { readers.min_by_key(|(_, it)| it.to_read()) };
        found.map(|(id, _)| id)
    }

    fn read_step(&mut self, id: SequenceId, is_beside: bool) -> Option<Step> {
        self.pieces += 1;
        let sequence = self.sequences.get(&id)?;
        let most = if is_beside { self.limits.chunk_beside } else { self.limits.chunk };
        let (left, most) = (sequence.to_read(), most.min(sequence.rows.unwrap_or(usize::MAX)).max(2));
        // No piece of one token, unless it is all that there is to read.
        let count = match left {
            _ if left <= most => left,
            _ if left == most + 1 && most > 2 => most - 1,
            _ if left == most + 1 => left,
            _ => most,
        };
        let tokens = sequence.tokens[sequence.read..sequence.read + count].to_vec();
        // Rows are wanted of the prompt, and only once.
        let rows = sequence.rows.is_some() && sequence.read >= sequence.furthest;
        Some(Step::Read { id, place: sequence.place?, past: sequence.read, tokens, rows })
    }

    /// The rows of those that write, which get the first places.
    fn write_step(&mut self, changes: &mut Vec<Change>) -> Vec<Row> {
        let is_writing = |scheduler: &Self, place: usize| match scheduler.places[place] {
            Place::Held(id) => scheduler.sequences.get(&id).is_some_and(|it| !it.is_parked && it.writes()),
            Place::Free | Place::Kept(_) => false,
        };
        let count = (0..self.places.len()).filter(|place| is_writing(self, *place)).count();
        let mut last = self.places.len();
        for place in 0..count {
            if is_writing(self, place) {
                continue;
            }
            loop {
                last -= 1;
                if is_writing(self, last) {
                    break;
                }
            }
            self.relocate(last, place, changes);
        }
        let rows = self.places[..count].iter().filter_map(|place| match place {
            Place::Held(id) => {
                let sequence = self.sequences.get(id)?;
                Some(Row { id: *id, token: *sequence.tokens.last()?, past: sequence.read })
            }
            Place::Free | Place::Kept(_) => None,
        });
        rows.collect()
    }
}
