//! One story: an engine that is driven by the scheduler, its requests, and what must be true of them.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use engine::schedule::{
    Arrival, BlockId, CacheScope, Change, JobId, Joined, Limits, Plan, Row, Scheduler, SequenceId, Shape, Share, Step,
};

use crate::own::{Cell, Own, Verified};
use crate::random::Random;
use crate::stats::{Mutant, Stats};

/// Steps while requests arrive.
const STEPS: usize = 60;
/// No more requests come while so many sequences are there.
const MOST: usize = 16;

pub(crate) struct World {
    random: Random,
    mutant: Option<Mutant>,
    limits: Limits,
    scheduler: Scheduler,
    now: Duration,
    places: Vec<Vec<Option<Cell>>>,
    blocks: BTreeMap<BlockId, Vec<Cell>>,
    own: BTreeMap<SequenceId, Own>,
    /// The time billed to each job, by this story's own count.
    billed: BTreeMap<JobId, Duration>,
    jobs: u64,
    weights: [u32; 3],
    longest: i64,
    has_read: bool,
    verified: Option<Verified>,
    /// Jobs whose tokens may not be drafted.
    undrafted: BTreeSet<JobId>,
    stats: Stats,
}

type Checked = Result<(), String>;

fn check(holds: bool, what: impl FnOnce() -> String) -> Checked {
    if holds { Ok(()) } else { Err(what()) }
}

impl World {
    pub(crate) fn new(seed: u64, mutant: Option<Mutant>) -> Self {
        let mut random = Random::new(seed);
        let mut below = |end: i64| usize::try_from(random.below(end)).unwrap_or(0);
        let sequences = 1 + below(6);
        let grain = [4, 16][below(2)];
        let positions = grain * (1 + below(30));
        let limits = Limits {
            sequences,
            positions,
            grain,
            chunk: 0,
            chunk_beside: 2 + below(6),
            reuses: below(5) > 0,
            scope: [CacheScope::Account, CacheScope::Account, CacheScope::All, CacheScope::None][below(4)],
            block: [1, 4, 8][below(3)],
            blocks: [0, positions / 2, positions][below(3)],
            verified: [0, 2, 4, 5][below(4)],
            longest: 128,
        };
        let limits = Limits { chunk: limits.chunk_beside + below(25), ..limits };
        let limits = if limits.reuses { limits } else { Limits { sequences: 1, verified: 0, ..limits } };
        let weights = [1, 1, 3];
        let longest = [8, 24, 60][below(3)];
        Self {
            random,
            mutant,
            limits,
            scheduler: Scheduler::new(limits),
            now: Duration::from_secs(1),
            places: Vec::new(),
            blocks: BTreeMap::new(),
            own: BTreeMap::new(),
            billed: BTreeMap::new(),
            jobs: 0,
            weights,
            longest,
            has_read: false,
            verified: None,
            undrafted: BTreeSet::new(),
            stats: Stats::default(),
        }
    }

    pub(crate) fn run(mut self) -> Result<Stats, String> {
        for _ in 0..STEPS {
            self.turn()?;
            self.step(true)?;
        }
        // No more requests come, readers read, and nothing fails.
        let left: usize = self.own.values().map(|own| own.limit).sum();
        for _ in 0..100 + 4 * left {
            let parked: Vec<SequenceId> = self.own.iter().filter(|(_, own)| own.is_parked).map(|(id, _)| *id).collect();
            for id in parked {
                self.resume(id);
            }
            if self.own.is_empty() {
                let left = self.scheduler.len();
                check(left == 0, || format!("{left} sequences stay behind"))?;
                return Ok(self.stats);
            }
            self.step(false)?;
        }
        Err(format!("{} sequences are not served: {:?}", self.own.len(), self.own))
    }

    fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.random.below(i64::try_from(end).unwrap_or(1))).unwrap_or(0)
    }

    /// Time passes, and is billed to those who compute.
    fn pass(&mut self, most_ms: i64) {
        let passed = Duration::from_millis(self.random.between(0, most_ms).unsigned_abs());
        self.now += passed;
        for (job, billed) in &mut self.billed {
            if self.own.values().any(|own| own.job == *job && own.is_billed) {
                *billed += passed;
            }
        }
    }

    /// Something happens to the requests.
    fn turn(&mut self) -> Checked {
        self.pass(3);
        match self.random.below(100) {
            0..22 if self.own.len() < MOST => self.arrive(),
            22..26 => {
                let ids: Vec<SequenceId> = self.own.keys().copied().collect();
                if let Some(id) = self.random.pick(&ids) {
                    let job = self.own[&id].job;
                    self.stats.cancelled += 1;
                    let keeps = self.random.percent(80);
                    self.end_job(job, keeps);
                }
            }
            26..34 => {
                let ids: Vec<SequenceId> =
                    self.own.iter().filter(|(_, own)| !own.is_parked).map(|(id, _)| *id).collect();
                if let Some(id) = self.random.pick(&ids) {
                    self.stats.parked += 1;
                    if let Some(own) = self.own.get_mut(&id) {
                        (own.is_parked, own.is_billed) = (true, false);
                    }
                    if self.mutant != Some(Mutant::NotParked) {
                        self.scheduler.park(id, self.now);
                    }
                }
            }
            34..46 => {
                let ids: Vec<SequenceId> =
                    self.own.iter().filter(|(_, own)| own.is_parked).map(|(id, _)| *id).collect();
                if let Some(id) = self.random.pick(&ids) {
                    self.resume(id);
                }
            }
            46..50 => self.idle()?,
            _ => {}
        }
        Ok(())
    }

    /// Nothing comes for a while. Where there is no sequence, the cache is given back, and all that was kept in it.
    fn idle(&mut self) -> Checked {
        let later = self.now + Duration::from_secs(301);
        if !self.own.is_empty() {
            let change = self.scheduler.shrink(later);
            return check(change.is_none(), || format!("{change:?} beside {} sequences", self.own.len()));
        }
        self.close()?;
        let had = self.scheduler.shape();
        let early = self.scheduler.shrink(self.now);
        check(early.is_none(), || format!("{early:?} at once"))?;
        self.now = later;
        let change = self.scheduler.shrink(self.now);
        check(change.is_some() == (had != Shape::default()), || format!("{change:?} of {had:?}"))?;
        if let Some(change) = change {
            self.stats.shrunk += 1;
            self.change(change)?;
            check(self.places.is_empty(), || format!("{} places are left", self.places.len()))?;
        }
        Ok(())
    }

    fn resume(&mut self, id: SequenceId) {
        if self.mutant == Some(Mutant::NotResumed) {
            return;
        }
        if let Some(own) = self.own.get_mut(&id) {
            own.is_parked = false;
        }
        self.scheduler.resume(id);
    }

    fn arrive(&mut self) {
        for _ in 0..=self.below(3) {
            self.jobs += 1;
            let job = JobId(self.jobs);
            let account = self.below(3);
            let share = Share { of: account as u128, weight: self.weights[account] };
            let length = 1 + self.below(usize::try_from(self.longest).unwrap_or(1));
            // Prompts begin alike, whoever asks.
            let (same, salt) = (self.below(length + 1), self.random.below(1_000));
            let token = |at: usize| if at < same { at } else { at + 1_000 * usize::try_from(salt).unwrap_or(0) };
            let period = if self.random.percent(40) { 2 + self.below(6) } else { 0 };
            let token = |at: usize| if period > 0 { at % period } else { token(at) };
            let prompt: Vec<u32> = (0..length).map(|at| u32::try_from(token(at)).unwrap_or(0)).collect();
            let drafts = self.random.percent(80);
            if !drafts {
                self.undrafted.insert(job);
            }
            let rows = self.random.percent(5).then_some(3);
            let mut first = None;
            self.billed.insert(job, Duration::ZERO);
            for choice in 0..[1, 1, 1, 2, 4][self.below(5)] {
                let told = if self.mutant == Some(Mutant::OneAccount) { Share { of: 7, weight: 1 } } else { share };
                let arrival = Arrival {
                    job,
                    share: told,
                    prompt: prompt.clone(),
                    after: first,
                    rows: rows.filter(|_| choice == 0),
                    drafts,
                };
                let id = self.scheduler.arrive(arrival);
                let limit = length + 1 + self.below(usize::try_from(self.longest).unwrap_or(1));
                let before = self.own.values().filter(|own| own.share == share).map(|own| own.limit).sum::<usize>();
                let own = Own {
                    job,
                    share,
                    tokens: prompt.clone(),
                    prompt: length,
                    limit,
                    read: 0,
                    furthest: 0,
                    is_parked: false,
                    is_billed: false,
                    was_placed: false,
                    after: first,
                    period,
                    passed_over: 0,
                    ahead: before + limit,
                };
                self.own.insert(id, own);
                first = first.or(Some(id));
            }
        }
    }

    /// Ends a job, and compares what it is billed with this story's own count.
    fn end_job(&mut self, job: JobId, keeps: bool) {
        let ids: Vec<SequenceId> = self.own.iter().filter(|(_, own)| own.job == job).map(|(id, _)| *id).collect();
        for id in ids {
            self.own.remove(&id);
            self.leave(id, keeps);
        }
    }

    fn leave(&mut self, id: SequenceId, keeps: bool) {
        if self.mutant != Some(Mutant::NeverLeft) {
            self.scheduler.leave(id, keeps, self.now);
        }
    }

    /// Closes jobs whose sequences have ended.
    fn close(&mut self) -> Checked {
        let ended: Vec<JobId> =
            self.billed.keys().copied().filter(|job| self.own.values().all(|own| own.job != *job)).collect();
        for job in ended {
            let (found, expected) = (self.scheduler.close(job, self.now), self.billed.remove(&job));
            check(Some(found) == expected, || format!("{job:?} is billed {found:?}, and computed for {expected:?}"))?;
        }
        Ok(())
    }

    fn step(&mut self, may_fail: bool) -> Checked {
        self.close()?;
        let plan = self.scheduler.next(self.now);
        self.notice_places();
        let Some(plan) = plan else {
            let idle =
                self.own.values().all(|own| own.is_parked || own.after.is_some_and(|it| self.own.contains_key(&it)));
            self.pass(5);
            return check(idle, || format!("nothing is done for {:?}", self.own));
        };
        self.stats.steps += 1;
        let Plan { joined, changes, step } = plan;
        for change in changes {
            self.change(change)?;
        }
        let in_blocks: usize = self.blocks.values().map(Vec::len).sum();
        let in_places = self.places.iter().map(Vec::len).sum::<usize>();
        let is_alone = in_blocks == 0 && self.places.len() <= 1;
        let most = self.limits.positions;
        check(is_alone || in_places + in_blocks <= most, || {
            format!("{in_places} and {in_blocks} in blocks, of {most}")
        })?;
        check(in_blocks <= self.limits.blocks, || format!("{in_blocks} in blocks, of {}", self.limits.blocks))?;
        if may_fail && self.random.percent(1) {
            self.stats.lost += 1;
            self.places.clear();
            self.blocks.clear();
            let lost = self.scheduler.lost(self.now);
            return self.fail(&lost);
        }
        let forks = joined.iter().any(|joined| joined.is_forked);
        let has_joined = !joined.is_empty();
        for joined in joined {
            self.join(joined)?;
        }
        let Some(step) = step else {
            // Where nothing can run, nothing is chosen.
            self.has_read &= !has_joined;
            return Ok(());
        };
        // A sequence that forked just now writes from the next step on.
        self.has_read &= !forks;
        let ids = self.check_step(&step)?;
        self.pass(20);
        if may_fail && self.random.percent(2) {
            self.stats.failed += 1;
            if self.mutant == Some(Mutant::FailedUnheard) {
                self.scheduler.completed();
            } else {
                let failed = self.scheduler.failed(self.now);
                check(failed == ids, || format!("{failed:?} failed in a step of {ids:?}"))?;
                return self.fail(&ids);
            }
        } else {
            self.write_cells(&step);
            let standing = self.scheduler.completed();
            if let Step::Verify { id, tokens, .. } = step {
                self.verified = Some(Verified { id, tokens, row: 0 });
            }
            for id in standing {
                while self.wrote(id)? {
                    let job = self.own[&id].job;
                    if may_fail && self.random.percent(3) {
                        self.end_job(job, true);
                        break;
                    }
                    if self.mutant == Some(Mutant::RowsForgotten) {
                        break;
                    }
                }
            }
        }
        self.verified = None;
        Ok(())
    }

    /// Notes who lost a place.
    fn notice_places(&mut self) {
        for (id, own) in &mut self.own {
            let is_placed = self.scheduler.is_placed(*id);
            if own.was_placed && !is_placed {
                self.stats.sent_away += 1;
                own.is_billed = false;
                own.read = 0;
            }
            if is_placed {
                own.passed_over = 0;
            }
            own.was_placed = is_placed;
        }
    }

    /// The requests of these fail, with all their choices.
    fn fail(&mut self, ids: &[SequenceId]) -> Checked {
        for id in ids {
            check(self.own.contains_key(id), || format!("{id:?} failed, and had ended"))?;
        }
        let jobs: Vec<JobId> = ids.iter().filter_map(|id| self.own.get(id)).map(|own| own.job).collect();
        for job in jobs {
            self.end_job(job, false);
        }
        Ok(())
    }

    fn change(&mut self, change: Change) -> Checked {
        let lost =
            |places: &mut Vec<Vec<Option<Cell>>>, place: usize| places[place].iter_mut().for_each(|it| *it = None);
        match change {
            Change::Arrange(Shape { places, positions }) => {
                if places == 0 {
                    self.blocks.clear();
                }
                let Limits { sequences, positions: most, .. } = self.limits;
                check(places <= sequences, || format!("{places} places, of {sequences}"))?;
                check(places == 1 || places * positions <= most, || format!("{places} of {positions}, of {most}"))?;
                self.places.resize(places, Vec::new());
                self.places.iter_mut().for_each(|place| place.resize(positions, None));
                if self.mutant == Some(Mutant::ArrangedEmpty) {
                    (0..places).for_each(|place| lost(&mut self.places, place));
                }
            }
            Change::Move { from, to, positions } => {
                if self.mutant != Some(Mutant::NotMoved) {
                    let cells = self.places[from][..positions].to_vec();
                    lost(&mut self.places, to);
                    self.places[to][..positions].copy_from_slice(&cells);
                }
                lost(&mut self.places, from);
            }
            Change::Swap { one, other, positions } => {
                let (first, second) = (self.places[one].clone(), self.places[other].clone());
                lost(&mut self.places, one);
                lost(&mut self.places, other);
                self.places[one][..positions].copy_from_slice(&second[..positions]);
                self.places[other][..positions].copy_from_slice(&first[..positions]);
            }
            Change::Copy { from, to, positions } => {
                check(from != to, || "a place is copied to itself".to_owned())?;
                lost(&mut self.places, to);
                if self.mutant != Some(Mutant::NotCopied) {
                    let cells = self.places[from][..positions].to_vec();
                    self.places[to][..positions].copy_from_slice(&cells);
                }
            }
            Change::Save { place, block, at, positions } => {
                let cells: Option<Vec<Cell>> = self.places[place][at..at + positions].iter().copied().collect();
                let cells = cells.ok_or_else(|| format!("{block:?} is made of what is not there"))?;
                self.stats.saved += 1;
                let before = self.blocks.insert(block, cells);
                check(before.is_none(), || format!("{block:?} is made twice"))?;
            }
            Change::Load { block, place, at, positions } => {
                let block = self.blocks.get(&block).ok_or_else(|| format!("{block:?} is not there"))?;
                self.stats.loaded += 1;
                if self.mutant != Some(Mutant::NotLoaded) {
                    for (to, from) in self.places[place][at..at + positions].iter_mut().zip(&block[..positions]) {
                        *to = Some(*from);
                    }
                }
            }
            Change::Drop(block) => {
                let gone = self.mutant != Some(Mutant::NotDropped) && self.blocks.remove(&block).is_none();
                check(!gone, || format!("{block:?} is given up, and is not there"))?;
            }
        }
        Ok(())
    }

    fn join(&mut self, Joined { id, reused, is_forked }: Joined) -> Checked {
        let Some(own) = self.own.get_mut(&id) else { return Err(format!("{id:?} joined, and had ended")) };
        check(!own.is_parked, || format!("{id:?} is parked, and got a place"))?;
        own.read = reused;
        own.furthest = own.furthest.max(reused);
        self.stats.reused += u64::from(reused > 0);
        if is_forked {
            self.stats.forked += 1;
            let whole = own.prompt;
            check(reused == whole && own.after.is_some(), || format!("{id:?} forked with {reused} of {whole}"))?;
            self.wrote(id)?;
        }
        Ok(())
    }

    /// What is at a place must be what a sequence has read, of its own account, and read in pieces where it is a prompt.
    fn holds(&self, id: SequenceId, own: &Own, place: usize, past: usize) -> Checked {
        let cells = self.places.get(place).ok_or_else(|| format!("there is no place {place}"))?;
        check(past < cells.len(), || format!("{past} positions of {}", cells.len()))?;
        for (at, (cell, token)) in cells.iter().zip(&own.tokens).take(past).enumerate() {
            let Some(cell) = cell else { return Err(format!("{id:?} lost position {at}")) };
            check(cell.token == *token, || format!("{id:?} has another's token at {at}"))?;
            let is_own = cell.account == own.share.of || self.limits.scope == CacheScope::All;
            check(is_own, || format!("{id:?} has another account's cache at {at}"))?;
            let wrong = at < own.prompt && !cell.in_piece && own.furthest <= own.prompt;
            check(!wrong, || format!("{id:?} begins with what was not read in a piece, at {at}"))?;
        }
        Ok(())
    }

    /// Checks a step, and returns its sequences. Those that read what they have not read before are billed from now on.
    fn check_step(&mut self, step: &Step) -> Result<Vec<SequenceId>, String> {
        let writers: Vec<SequenceId> = (self.own.iter())
            .filter(|(id, own)| !own.is_parked && own.writes() && self.scheduler.is_placed(**id))
            .map(|(id, _)| *id)
            .collect();
        let rows: Vec<(SequenceId, usize, usize, usize)> = match step {
            Step::Read { id, place, past, tokens, .. } => {
                let most = if writers.is_empty() { self.limits.chunk } else { self.limits.chunk_beside };
                check(tokens.len() <= most.max(3), || {
                    format!("{id:?} reads a piece of {} beside {writers:?}: {:?}", tokens.len(), self.own)
                })?;
                check(writers.is_empty() || !self.has_read, || format!("{writers:?} wait for two pieces"))?;
                vec![(*id, *place, *past, tokens.len())]
            }
            Step::Write(rows) => {
                rows.iter().enumerate().map(|(place, Row { id, past, .. })| (*id, place, *past, 1)).collect()
            }
            Step::Verify { id, place, past, tokens } => {
                self.check_draft(*id, *place, *past, tokens)?;
                vec![(*id, *place, *past, 1)]
            }
        };
        self.has_read = matches!(step, Step::Read { .. });
        self.stats.together += u64::from(rows.len() > 1);
        for (id, place, past, count) in &rows {
            let own = self.own.get(id).ok_or_else(|| format!("{id:?} runs, and had ended"))?;
            check(!own.is_parked, || format!("{id:?} runs, and is parked"))?;
            self.holds(*id, own, *place, *past)?;
            if let Step::Read { tokens, .. } = step {
                check(own.tokens[*past..].starts_with(tokens), || format!("{id:?} reads what it has not"))?;
                let alone = *count == 1 && own.prompt > 1 && !own.has_written();
                check(!alone, || format!("{id:?} reads one token of {} alone, at {past}", own.prompt))?;
            } else {
                check(past + 1 == own.tokens.len() && own.writes(), || format!("{id:?} writes behind {past}"))?;
            }
        }
        for (id, _, past, count) in &rows {
            if let Some(own) = self.own.get_mut(id) {
                check(own.read == *past, || format!("{id:?} has read {}, not {past}", own.read))?;
                own.read += count;
                own.is_billed |= *past >= own.furthest;
                own.furthest = own.furthest.max(past + count);
            }
        }
        self.count_passed_over(rows.iter().map(|(.., count)| count).sum())?;
        Ok(rows.into_iter().map(|(id, ..)| id).collect())
    }

    /// A draft is for one of two at most, all of which write and take turns.
    fn check_draft(&mut self, id: SequenceId, place: usize, past: usize, tokens: &[u32]) -> Checked {
        let Limits { verified, longest, .. } = self.limits;
        let running = self.own.iter().filter(|(id, own)| !own.is_parked && self.scheduler.is_placed(**id));
        let running: Vec<(SequenceId, bool)> =
            running.map(|(id, own)| (*id, own.writes() && !self.undrafted.contains(&own.job))).collect();
        check(running.len() <= 2 && running.iter().all(|(_, writes)| *writes), || {
            format!("a draft beside {running:?}")
        })?;
        check((2..=verified).contains(&tokens.len()), || format!("{} tokens are verified", tokens.len()))?;
        let end = self.places[place].len().min(longest);
        check(past + verified <= end, || format!("{id:?} is verified up to {} of {end}", past + verified))?;
        self.stats.verified += 1;
        self.stats.verified_of_two += u64::from(running.len() == 2);
        Ok(())
    }

    /// Nobody waits for ever. While an account's tokens before a sequence are read, others get by their weights, and
    /// what they had not got before.
    fn count_passed_over(&mut self, tokens: usize) -> Checked {
        let longest = usize::try_from(self.longest).unwrap_or(1) * 2;
        let owed = self.limits.sequences * longest + 256;
        let weights = self.weights.iter().sum::<u32>() as usize;
        let running: Vec<SequenceId> = self.own.keys().copied().collect();
        for (id, own) in &mut self.own {
            let follows = own.after.is_some_and(|first| running.contains(&first));
            if own.was_placed || own.is_parked || follows {
                own.passed_over = 0;
                continue;
            }
            own.passed_over += tokens;
            // Some of it is read twice, where memory is short.
            let bound = 2 * weights * (own.ahead + owed);
            check(own.passed_over <= bound, || {
                format!("{id:?} waits while {} tokens are read, with {} before it", own.passed_over, own.ahead)
            })?;
        }
        Ok(())
    }

    fn write_cells(&mut self, step: &Step) {
        match step {
            Step::Read { id, place, past, tokens, .. } => {
                let account = self.own[id].share.of;
                for (cell, token) in self.places[*place][*past..].iter_mut().zip(tokens) {
                    let in_piece = tokens.len() > 1 || self.own[id].prompt == 1;
                    *cell = Some(Cell { token: *token, account, in_piece });
                }
            }
            Step::Write(rows) => {
                for (place, Row { id, token, past }) in rows.iter().enumerate() {
                    let account = self.own[id].share.of;
                    self.places[place][*past] = Some(Cell { token: *token, account, in_piece: false });
                }
            }
            Step::Verify { id, place, past, tokens } => {
                let account = self.own[id].share.of;
                let cell = |token: &u32| Some(Cell { token: *token, account, in_piece: false });
                let count = if self.mutant == Some(Mutant::DraftNotWritten) { 1 } else { tokens.len() };
                let cells = &mut self.places[*place][*past..][..self.limits.verified];
                cells.fill(None);
                cells.iter_mut().zip(tokens).take(count).for_each(|(to, token)| *to = cell(token));
            }
        }
    }

    /// A sequence stands at its end: it writes a token, or has ended. Returns whether it stands at its end again.
    fn wrote(&mut self, id: SequenceId) -> Result<bool, String> {
        let Some(own) = self.own.get_mut(&id) else { return Err(format!("{id:?} writes, and had ended")) };
        if own.tokens.len() + 1 >= own.limit {
            self.own.remove(&id);
            self.stats.served += 1;
            self.leave(id, true);
            return Ok(false);
        }
        let token = own.next();
        own.tokens.push(token);
        let drafted = self.verified.as_mut().filter(|step| step.id == id).and_then(|step| {
            step.row += 1;
            step.tokens.get(step.row).copied()
        });
        let told = drafted.filter(|_| self.mutant == Some(Mutant::DraftTaken)).unwrap_or(token);
        let is_right = self.scheduler.written(id, told);
        check(is_right == (drafted == Some(told)), || {
            format!("{told} of {id:?} is right: {is_right}, for {drafted:?}")
        })?;
        self.stats.right += u64::from(is_right);
        self.stats.wrong += u64::from(drafted.is_some() && !is_right);
        if is_right {
            own.read += 1;
            own.furthest = own.furthest.max(own.read);
            self.count_passed_over(1)?;
        }
        Ok(is_right)
    }
}
