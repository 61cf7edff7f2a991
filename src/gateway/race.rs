//! Which of the models of an alias is asked first where that is the fastest: by the exponentially weighted mean of the time to
//! the first piece of a streamed answer, or to a whole one. A model of which nothing is known is asked first, by one request
//! at a time and not by all; a small share of requests asks another than the fastest, so that one that has become faster is
//! found. A session stays with the model that answered it last: its provider has what came before in its cache. Nothing of it
//! outlives the process. [`order`] is pure: the time and the luck are passed in.

use std::{
    collections::HashMap,
    hash::{DefaultHasher, Hash, Hasher},
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use quick_cache::unsync::Cache;
use uuid::Uuid;

use crate::catalogue::aliases::{Aliases, By};

/// The weight of the newest time in a mean: the last ten or so count.
const WEIGHT: f64 = 0.2;
/// The share of requests that ask another model than the fastest.
const EXPLORED: f64 = 0.05;
/// How long a model that was asked for the first time may take before another request asks it too.
const TRIED_FOR: Duration = Duration::from_secs(5);
/// The mean of a model that fails is doubled, from this to that, in milliseconds.
const FAILED_MS: f64 = 1_000.0;
const SLOWEST_MS: f64 = 600_000.0;
/// The most sessions that are remembered, and how long each is after its last answer. Providers' caches live no longer.
const MOST_SESSIONS: usize = 16_384;
const REMEMBERED: Duration = Duration::from_hours(1);

/// What is known of a model.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
struct Pace {
    /// The mean time, in milliseconds; `None` before the first.
    mean_ms: Option<f64>,
    /// When it was last asked for the first time.
    tried_at: Option<Instant>,
}

impl Pace {
    fn answered(&mut self, took: Duration) {
        let ms = took.as_secs_f64() * 1_000.0;
        self.mean_ms = Some(self.mean_ms.map_or(ms, |mean| WEIGHT.mul_add(ms - mean, mean)));
    }

    /// A failure costs its time and another attempt's.
    fn failed(&mut self, took: Duration) {
        let ms = took.as_secs_f64() * 1_000.0;
        let worse = self.mean_ms.map_or(ms, |mean| (mean * 2.0).max(ms));
        self.mean_ms = Some(worse.clamp(FAILED_MS, SLOWEST_MS));
    }

    /// Whether it is not known, and not being tried.
    fn is_wanted(&self, now: Instant) -> bool {
        self.mean_ms.is_none() && self.tried_at.is_none_or(|at| now.saturating_duration_since(at) >= TRIED_FOR)
    }
}

/// The places of models in the order in which they are asked: `kept` is the one of the session, and `luck` is from 0 up to 1.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    reason = "small numbers"
)]
fn order(paces: &[Pace], kept: Option<usize>, luck: f64, now: Instant) -> Vec<usize> {
    let rank = |place: usize| match paces[place] {
        Pace { mean_ms: Some(ms), .. } => (1, ms),
        pace if pace.is_wanted(now) => (0, 0.0),
        Pace { .. } => (2, 0.0),
    };
    let mut order: Vec<usize> = (0..paces.len()).collect();
    order.sort_by(|one, other| {
        let ((one, one_ms), (other, other_ms)) = (rank(*one), rank(*other));
        one.cmp(&other).then(one_ms.total_cmp(&other_ms))
    });
    let pick = |share: f64, count: usize| ((share * count as f64) as usize).min(count.saturating_sub(1));
    let first = match order.first().map(|first| rank(*first).0) {
        _ if kept.is_some() => kept.and_then(|kept| order.iter().position(|place| *place == kept)),
        Some(1) if luck < EXPLORED && order.len() > 1 => Some(1 + pick(luck / EXPLORED, order.len() - 1)),
        // All are being tried for the first time: each gets its share meanwhile.
        Some(2) => Some(pick(luck, order.len())),
        _ => None,
    };
    if let Some(first) = first {
        order[..=first].rotate_right(1);
    }
    order
}

/// What a request asks an alias for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lane {
    /// The number of its session with the alias; `None` where it names no session.
    session: Option<u64>,
    /// Whether the answer is streamed.
    is_streamed: bool,
}

impl Lane {
    /// The lane of a request to an alias; `affinity` is its session's number, where it names one.
    pub(super) fn new(alias: &str, affinity: Option<u64>, is_streamed: bool) -> Self {
        let session = affinity.map(|affinity| {
            let mut hasher = DefaultHasher::new();
            (alias, affinity).hash(&mut hasher);
            hasher.finish()
        });
        Self { session, is_streamed }
    }
}

/// Why an order is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Intent {
    /// To ask the models.
    Run,
    /// To tell what that would cost.
    Quote,
}

/// The paces of all models that an alias asks by them, and the sessions of such aliases.
pub struct Race {
    /// Of each model the pace of streams and of whole answers.
    paces: HashMap<String, Mutex<[Pace; 2]>>,
    sessions: Mutex<Cache<u64, (Box<str>, Instant)>>,
}

impl std::fmt::Debug for Race {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Race").field("paces", &self.paces).finish_non_exhaustive()
    }
}

impl Race {
    /// A race in which nothing is known yet.
    pub fn of(aliases: &Aliases) -> Self {
        let models = aliases.ways().filter(|way| way.by == By::Latency).flat_map(|way| &way.models);
        let paces = models.map(|model| (model.clone(), Mutex::default())).collect();
        Self { paces, sessions: Mutex::new(Cache::new(MOST_SESSIONS)) }
    }

    /// The places of models in the order in which a request asks them.
    pub(super) fn order(&self, models: &[&str], lane: Lane, intent: Intent, now: Instant) -> Vec<usize> {
        let pace = |model: &&str| self.with(model, lane, |pace| *pace).unwrap_or_default();
        let paces: Vec<Pace> = models.iter().map(pace).collect();
        let kept = lane.session.and_then(|session| {
            let sessions = self.sessions.lock().unwrap_or_else(PoisonError::into_inner);
            let (model, at) = sessions.peek(&session)?;
            let is_fresh = now.saturating_duration_since(*at) < REMEMBERED;
            models.iter().position(|known| is_fresh && **known == **model)
        });
        let luck = match (intent, lane.session) {
            (Intent::Quote, None) => 1.0,
            // The first turns of a session that come together go one way.
            (_, Some(session)) => luck(session),
            // The first two bits are the same in all.
            (Intent::Run, None) => luck(Uuid::new_v4().as_u64_pair().1 << 2),
        };
        let order = order(&paces, kept, luck, now);
        if let (Intent::Run, Some(first)) = (intent, order.first()) {
            self.with(models[*first], lane, |pace| pace.tried_at = Some(now));
        }
        order
    }

    /// Notes that a model answered after so long.
    pub fn answered(&self, lane: Lane, model: &str, took: Duration, now: Instant) {
        self.with(model, lane, |pace| pace.answered(took));
        if let Some(session) = lane.session {
            let mut sessions = self.sessions.lock().unwrap_or_else(PoisonError::into_inner);
            sessions.insert(session, (model.into(), now));
        }
    }

    /// Notes that a model was asked and did not answer.
    pub fn failed(&self, lane: Lane, model: &str, took: Duration) {
        self.with(model, lane, |pace| pace.failed(took));
    }

    fn with<T>(&self, model: &str, lane: Lane, work: impl FnOnce(&mut Pace) -> T) -> Option<T> {
        let mut paces = self.paces.get(model)?.lock().unwrap_or_else(PoisonError::into_inner);
        Some(work(&mut paces[usize::from(!lane.is_streamed)]))
    }
}

/// A number from 0 up to 1, of random bits.
fn luck(bits: u64) -> f64 {
    f64::from(u32::try_from(bits >> u32::BITS).unwrap_or(0)) / (f64::from(u32::MAX) + 1.0)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn pace(mean_ms: Option<f64>) -> Pace {
        Pace { mean_ms, tried_at: None }
    }

    const NO_LUCK: f64 = 0.99;

    #[test]
    fn the_fastest_is_first_and_what_is_not_known_before_it() {
        let now = Instant::now();
        let known = [pace(Some(300.0)), pace(Some(100.0)), pace(Some(200.0))];
        assert_eq!(order(&known, None, NO_LUCK, now), [1, 2, 0]);
        assert_eq!(order(&known, Some(0), NO_LUCK, now), [0, 1, 2], "the session's");
        assert_eq!(order(&known, Some(0), 0.0, now), [0, 1, 2], "however lucky");
        assert_eq!(order(&[known[0], pace(None), known[1]], None, 0.0, now), [1, 2, 0]);
        let tried = Pace { mean_ms: None, tried_at: Some(now) };
        assert_eq!(order(&[tried, known[0], known[1]], None, NO_LUCK, now), [2, 1, 0], "one request tries it");
        assert_eq!(order(&[tried, known[0]], None, NO_LUCK, now + TRIED_FOR), [0, 1], "it never answered");
        assert_eq!(order(&[pace(Some(5.0)), pace(Some(5.0))], None, NO_LUCK, now), [0, 1], "as they are listed");
        assert_eq!(order(&[], None, 0.0, now), [] as [usize; 0]);
        assert_eq!(order(&[known[0]], None, 0.0, now), [0]);
    }

    #[test]
    fn a_mean_follows_the_newest_and_a_failure_doubles_it() {
        let mut pace = Pace::default();
        pace.answered(Duration::from_millis(100));
        assert_eq!(pace.mean_ms, Some(100.0));
        pace.answered(Duration::from_millis(200));
        assert_eq!(pace.mean_ms, Some(120.0));
        for _ in 0..40 {
            pace.answered(Duration::from_secs(2));
        }
        assert!(pace.mean_ms.is_some_and(|mean| (1_990.0..2_000.0).contains(&mean)), "{pace:?}");
        pace.failed(Duration::from_millis(1));
        assert!(pace.mean_ms.is_some_and(|mean| mean > 3_900.0), "{pace:?}");
        let mut unknown = Pace::default();
        unknown.failed(Duration::ZERO);
        assert_eq!(unknown.mean_ms, Some(FAILED_MS));
        (0..30).for_each(|_| unknown.failed(Duration::ZERO));
        assert_eq!(unknown.mean_ms, Some(SLOWEST_MS));
    }

    fn race() -> Race {
        let aliases = ["fast=fastest a|b|c", "other=b>c"].map(str::to_owned);
        Race::of(&Aliases::read(&aliases).unwrap())
    }

    #[test]
    fn a_crowd_does_not_try_one_model_at_once() {
        let (race, now, mut first) = (race(), Instant::now(), [0; 3]);
        for _ in 0..300 {
            let lane = Lane::new("fast", None, true);
            first[race.order(&["a", "b", "c"], lane, Intent::Run, now)[0]] += 1;
        }
        assert!(first.iter().all(|count| (50..150).contains(count)), "{first:?}");
        assert_eq!(race.order(&["x", "a"], Lane::new("fast", None, true), Intent::Quote, now).len(), 2);
    }

    #[test]
    fn a_session_stays_where_it_was_answered_last_for_a_while() {
        let (race, now) = (race(), Instant::now());
        let ms = Duration::from_millis;
        let lane = |session: Option<u64>| Lane::new("fast", session, true);
        let first = |lane, now| race.order(&["a", "b", "c"], lane, Intent::Quote, now)[0];
        for (model, took) in [("a", 500), ("b", 100), ("c", 300)] {
            race.answered(lane(None), model, ms(took), now);
        }
        assert_eq!(first(lane(None), now), 1);
        race.answered(lane(Some(7)), "a", ms(500), now);
        assert_eq!(first(lane(Some(7)), now), 0);
        assert_eq!(first(Lane::new("other", Some(7), true), now), 1, "another alias");
        race.answered(lane(Some(7)), "c", ms(300), now);
        assert_eq!(first(lane(Some(7)), now), 2, "the one that answered for it");
        assert_eq!(first(lane(Some(7)), now + REMEMBERED), 1);
        // Whole answers have paces of their own.
        assert_eq!(race.order(&["a", "b"], Lane::new("fast", None, false), Intent::Quote, now), [0, 1]);
    }

    proptest! {
        /// From a seed: most ask the fastest, a few the others, and once another is the fastest, most ask that.
        #[test]
        fn most_ask_the_fastest_and_a_change_is_found(seed in any::<u64>(), speeds in prop::array::uniform3(20..2_000_u32)) {
            let (mut paces, began, mut random) = ([Pace::default(); 3], Instant::now(), seed);
            let mut next = || {
                // Splitmix64.
                random = random.wrapping_add(0x9e37_79b9_7f4a_7c15);
                let mixed = (random ^ random >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
                luck((mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb))
            };
            for speeds in [speeds, [speeds[1], speeds[2], speeds[0]]] {
                let mut first = [0_u32; 3];
                for turn in 0..4_000_u64 {
                    let place = order(&paces, None, next(), began + Duration::from_millis(turn))[0];
                    // As slow as it is, and up to a tenth more.
                    let took = f64::from(speeds[place]) * 0.1_f64.mul_add(next(), 1.0);
                    paces[place].answered(Duration::from_secs_f64(took / 1_000.0));
                    first[place] += u32::from(turn >= 2_000);
                }
                let fastest = *speeds.iter().min().unwrap();
                for (place, count) in first.iter().enumerate() {
                    // Equal within the noise is equally good.
                    let is_best = speeds[place] * 10 <= fastest * 12;
                    prop_assert!(is_best || *count < 160, "{speeds:?}: {first:?}");
                    prop_assert!(*count > 10 || is_best, "{speeds:?}: {first:?}");
                }
            }
        }
    }
}
