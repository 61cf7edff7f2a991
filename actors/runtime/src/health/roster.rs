//! Actors by name: since when each lives, how its last lives ended, its last sign of life, and its trouble. Accounts
//! are not listed: there are too many. Names and restarts are bounded.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use billing::Timestamp;

use super::{
    ExitReason, Kind, Vitals,
    verdict::{Facts, Part, Restart, SeenPart, Trouble, Verdict},
};

/// The most names. Later actors are counted with their kind only.
const MOST_NAMES: usize = 1_000;
/// The most restarts remembered of each actor.
const MOST_RESTARTS: usize = 20;
/// The most parts remembered of each actor.
const MOST_PARTS: usize = 100;

/// One named actor.
pub(super) struct Member {
    pub(super) kind: Kind,
    pub(super) name: String,
    pub(super) vitals: Arc<Vitals>,
    /// Restarts in all.
    pub(super) restarts: u64,
    /// The number of the current life: the late end of an earlier life changes nothing.
    life: u64,
    alive_since: Option<Timestamp>,
    ended: Option<(Timestamp, ExitReason)>,
    beat_at: Option<Timestamp>,
    trouble: Option<Trouble>,
    /// The parts in trouble.
    pub(super) parts: Vec<SeenPart>,
    well_since: Option<Timestamp>,
    last_restarts: VecDeque<Restart>,
}

impl Member {
    pub(super) fn facts(&self) -> Facts {
        Facts {
            alive_since: self.alive_since,
            ended: self.ended,
            beat_at: self.beat_at,
            trouble: self.trouble.clone(),
            well_since: self.well_since,
            restarts: self.last_restarts.iter().copied().collect(),
        }
    }
}

/// The roster, in the order in which names came.
#[derive(Default)]
pub(super) struct Roster(Mutex<Vec<Member>>);

impl Roster {
    pub(super) fn members(&self) -> MutexGuard<'_, Vec<Member>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Does something with a member, and adds the member where it is new. Does nothing where the roster is full.
    fn with<T>(
        &self,
        (kind, name): (Kind, &str),
        new: impl FnOnce() -> Arc<Vitals>,
        work: impl FnOnce(&mut Member) -> T,
    ) -> Option<T> {
        let mut members = self.members();
        if let Some(member) = members.iter_mut().find(|member| member.kind == kind && member.name == name) {
            return Some(work(member));
        }
        if members.len() >= MOST_NAMES {
            return None;
        }
        members.push(Member {
            kind,
            name: name.to_owned(),
            vitals: new(),
            restarts: 0,
            life: 0,
            alive_since: None,
            ended: None,
            beat_at: None,
            trouble: None,
            parts: Vec::new(),
            well_since: None,
            last_restarts: VecDeque::new(),
        });
        members.last_mut().map(work)
    }

    /// The vitals of a member, which is added where it is new.
    pub(super) fn vitals(&self, whose: (Kind, &str), new: impl FnOnce() -> Arc<Vitals>) -> Option<Arc<Vitals>> {
        self.with(whose, new, |member| Arc::clone(&member.vitals))
    }

    /// Notes a new life, and returns its number.
    pub(super) fn born(&self, whose: (Kind, &str), new: impl FnOnce() -> Arc<Vitals>, now: Timestamp) -> Option<u64> {
        self.with(whose, new, |member| {
            member.life += 1;
            member.alive_since = Some(now);
            if let Some((_, reason)) = member.ended.take() {
                member.restarts += 1;
                if member.last_restarts.len() >= MOST_RESTARTS {
                    member.last_restarts.pop_front();
                }
                member.last_restarts.push_back(Restart { at: now, reason });
            }
            member.life
        })
    }

    /// Notes the end of a life. An actor that was asked to stop is not missed.
    pub(super) fn died(&self, (kind, name): (Kind, &str), life: u64, reason: ExitReason, now: Timestamp) {
        let mut members = self.members();
        let whose = |member: &Member| member.kind == kind && member.name == name && member.life == life;
        let Some(place) = members.iter().position(whose) else { return };
        match reason {
            ExitReason::Stopped => drop(members.remove(place)),
            ExitReason::Panicked | ExitReason::Failed => {
                members[place].alive_since = None;
                members[place].ended = Some((now, reason));
            }
        }
    }

    /// Notes a sign of life of a listed actor.
    pub(super) fn beats(&self, (kind, name): (Kind, &str), now: Timestamp) {
        let mut members = self.members();
        if let Some(member) = members.iter_mut().find(|member| member.kind == kind && member.name == name) {
            member.beat_at = Some(now);
        }
    }

    /// Sets a member's trouble; `None` clears it.
    pub(super) fn trouble(
        &self,
        whose: (Kind, &str),
        new: impl FnOnce() -> Arc<Vitals>,
        trouble: Option<(Verdict, String)>,
        now: Timestamp,
    ) {
        self.with(whose, new, |member| {
            member.trouble = match (trouble, member.trouble.take()) {
                (None, None) => None,
                (None, Some(_)) => {
                    member.well_since = Some(now);
                    None
                }
                (Some((verdict, why)), Some(before)) if before.verdict == verdict => Some(Trouble { why, ..before }),
                (Some((verdict, why)), _) => Some(Trouble { verdict, why, since: now }),
            };
        });
    }

    /// Sets a member's parts that are in trouble.
    pub(super) fn parts(
        &self,
        whose: (Kind, &str),
        new: impl FnOnce() -> Arc<Vitals>,
        parts: Vec<Part>,
        now: Timestamp,
    ) {
        self.with(whose, new, |member| {
            let before = std::mem::take(&mut member.parts);
            let seen = |part: Part| {
                let before = before.iter().find(|before| before.name == part.name);
                SeenPart::of(part, before, now)
            };
            member.parts = parts.into_iter().take(MOST_PARTS).map(seen).collect();
        });
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn new() -> Arc<Vitals> {
        Arc::new(Vitals::new(Kind::Pool, std::time::Instant::now(), Arc::default()))
    }

    const POOL: (Kind, &str) = (Kind::Pool, "7B");

    fn facts(roster: &Roster) -> Facts {
        roster.members()[0].facts()
    }

    #[test]
    fn restarts_are_counted_and_the_last_of_them_remembered() {
        let roster = Roster::default();
        for at in 1..=50 {
            let life = roster.born(POOL, new, Timestamp(at)).unwrap();
            roster.died(POOL, life, ExitReason::Panicked, Timestamp(at));
        }
        assert_eq!(facts(&roster).ended, Some((Timestamp(50), ExitReason::Panicked)));
        let life = roster.born(POOL, new, Timestamp(60)).unwrap();
        let seen = facts(&roster);
        assert_eq!((seen.ended, seen.alive_since, seen.restarts.len()), (None, Some(Timestamp(60)), MOST_RESTARTS));
        assert_eq!(roster.members()[0].restarts, 50);
        roster.died(POOL, life - 1, ExitReason::Failed, Timestamp(61));
        assert!(facts(&roster).ended.is_none(), "an earlier life that ends late");
        roster.died(POOL, life, ExitReason::Stopped, Timestamp(62));
        assert!(roster.members().is_empty());
    }

    #[test]
    fn trouble_keeps_its_beginning_while_it_is_as_bad() {
        let roster = Roster::default();
        let say = |verdict: Option<Verdict>, at| {
            roster.trouble(POOL, new, verdict.map(|verdict| (verdict, format!("at {at}"))), Timestamp(at));
            facts(&roster).trouble.map(|trouble| (trouble.since.0, trouble.why))
        };
        assert_eq!(say(Some(Verdict::Degraded), 1), Some((1, "at 1".into())));
        assert_eq!(say(Some(Verdict::Degraded), 2), Some((1, "at 2".into())));
        assert_eq!(say(Some(Verdict::Down), 3), Some((3, "at 3".into())));
        assert_eq!(say(None, 4), None);
        assert_eq!(say(None, 5), None);
        assert_eq!(facts(&roster).well_since, Some(Timestamp(4)));
    }

    #[test]
    fn parts_in_trouble_keep_their_beginning_and_are_bounded() {
        let roster = Roster::default();
        let part = |name: String, verdict, tried: Option<u64>| Part {
            name,
            verdict,
            why: "it fails".into(),
            since_ago: tried.map(|_| Duration::from_millis(3)),
            tried_in: tried.map(Duration::from_millis),
        };
        let say = |parts, at| {
            roster.parts(POOL, new, parts, Timestamp(at));
            let members = roster.members();
            members[0].parts.iter().map(|seen| (seen.since.0, seen.tried_at.map(|at| at.0))).collect::<Vec<_>>()
        };
        let one = |verdict, tried| vec![part("a".into(), verdict, tried)];
        assert_eq!(say(one(Verdict::Degraded, None), 10), [(10, None)]);
        assert_eq!(say(one(Verdict::Degraded, None), 20), [(10, None)]);
        assert_eq!(say(one(Verdict::Down, Some(5)), 30), [(27, Some(35))]);
        assert_eq!(say(one(Verdict::Down, Some(5)), 40), [(27, Some(45))]);
        let many = (0..MOST_PARTS + 5).map(|name| part(name.to_string(), Verdict::Down, None)).collect();
        assert_eq!(say(many, 50).len(), MOST_PARTS);
        assert_eq!(say(Vec::new(), 60), []);
    }

    #[test]
    fn names_are_bounded() {
        let roster = Roster::default();
        let born = |name: usize| roster.born((Kind::Engine, &name.to_string()), new, Timestamp(0));
        assert!((0..MOST_NAMES).all(|name| born(name).is_some()));
        assert!(born(MOST_NAMES).is_none() && born(0).is_some());
    }
}
