//! The threads that run tasks: how much of their time each is busy, and how late it turns to what is ready. A task on each
//! wakes a few times a second and notes when. Where it does not come to run, the thread is blocked: all that lives there
//! waits, and other threads see since when.

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use tokio::runtime::Handle;

/// How often the task on each thread wakes.
const TURN: Duration = Duration::from_millis(200);
/// A thread that has not turned for so long counts as blocked.
const BLOCKED: Duration = Duration::from_millis(500);

/// What is noted of a thread, by its own task.
#[derive(Debug)]
struct Pulse {
    began: Instant,
    /// Microseconds from `began` to its last turn.
    turned_us: AtomicU64,
    /// How late the last turn was, in microseconds.
    late_us: AtomicU64,
    /// Thousandths of the time that it was busy, in which the last turn counts a quarter.
    busy_permille: AtomicU64,
}

/// One thread.
#[derive(Debug)]
struct Executor {
    name: String,
    pulse: Arc<Pulse>,
}

/// A thread that runs tasks, as it was seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SeenExecutor {
    /// Its name.
    pub name: String,
    /// Thousandths of the time that it is busy, of late.
    pub busy_permille: u64,
    /// How long what is ready waits for it, in microseconds.
    pub late_us: u64,
    /// For how many milliseconds it has been blocked; `None` where it is not.
    pub blocked_ms: Option<u64>,
}

#[derive(Debug)]
struct Inner {
    began: Instant,
    executors: Mutex<Vec<Executor>>,
}

/// All threads that run tasks, shared by clones.
#[derive(Debug, Clone)]
pub struct Executors(Arc<Inner>);

/// Takes a thread off the list that is no more.
struct Listed(Executors, Arc<Pulse>);

impl Drop for Listed {
    fn drop(&mut self) {
        self.0.list().retain(|executor| !Arc::ptr_eq(&executor.pulse, &self.1));
    }
}

impl Executors {
    /// None yet. Times count from `began`.
    pub(crate) fn new(began: Instant) -> Self {
        Self(Arc::new(Inner { began, executors: Mutex::default() }))
    }

    fn list(&self) -> MutexGuard<'_, Vec<Executor>> {
        self.0.executors.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Watches the thread that calls this, until its runtime ends. A thread without one is not watched.
    pub fn watch(&self, name: impl Into<String>) {
        let Ok(handle) = Handle::try_current() else { return };
        let began = self.0.began;
        let number = || AtomicU64::new(0);
        let pulse = Arc::new(Pulse { began, turned_us: number(), late_us: number(), busy_permille: number() });
        pulse.turned_us.store(micros(began.elapsed()), Ordering::Relaxed);
        self.list().push(Executor { name: name.into(), pulse: Arc::clone(&pulse) });
        let listed = Listed(self.clone(), Arc::clone(&pulse));
        let own = handle.clone();
        own.spawn(async move {
            let _listed = listed;
            let mut before = (Instant::now(), busy(&handle));
            loop {
                tokio::time::sleep(TURN).await;
                let now = (Instant::now(), busy(&handle));
                pulse.turned(now.0, now.0 - before.0, now.1.saturating_sub(before.1));
                before = now;
            }
        });
    }

    /// All of them, in the order in which they began.
    pub fn seen(&self) -> Vec<SeenExecutor> {
        let now = self.0.began.elapsed();
        self.list().iter().map(|executor| executor.pulse.seen(&executor.name, now)).collect()
    }
}

/// How long a runtime's threads have been busy.
fn busy(handle: &Handle) -> Duration {
    let metrics = handle.metrics();
    (0..metrics.num_workers()).map(|worker| metrics.worker_total_busy_duration(worker)).sum()
}

impl Pulse {
    /// Notes a turn after so long, of which the thread was busy for so long.
    fn turned(&self, at: Instant, passed: Duration, busy: Duration) {
        self.turned_us.store(micros(at.saturating_duration_since(self.began)), Ordering::Relaxed);
        self.late_us.store(micros(passed.saturating_sub(TURN)), Ordering::Relaxed);
        let share = (micros(busy) * 1_000 / micros(passed).max(1)).min(1_000);
        let before = self.busy_permille.load(Ordering::Relaxed);
        self.busy_permille.store((before * 3 + share) / 4, Ordering::Relaxed);
    }

    fn seen(&self, name: &str, now: Duration) -> SeenExecutor {
        let silent = now.saturating_sub(Duration::from_micros(self.turned_us.load(Ordering::Relaxed)));
        let blocked = (silent > BLOCKED).then_some(silent);
        SeenExecutor {
            name: name.to_owned(),
            busy_permille: if blocked.is_some() { 1_000 } else { self.busy_permille.load(Ordering::Relaxed) },
            late_us: blocked.map_or_else(|| self.late_us.load(Ordering::Relaxed), micros),
            blocked_ms: blocked.map(|silent| u64::try_from(silent.as_millis()).unwrap_or(u64::MAX)),
        }
    }
}

fn micros(span: Duration) -> u64 {
    u64::try_from(span.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_that_does_not_turn_is_seen_by_others_and_gone_with_its_runtime() {
        let executors = Executors::new(Instant::now());
        let own = executors.clone();
        let (go_on, waits) = std::sync::mpsc::channel::<()>();
        let blocked = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async move {
                own.watch("one");
                tokio::time::sleep(TURN * 2).await;
                waits.recv().unwrap();
            });
        });
        let began = Instant::now();
        let blocked_ms = loop {
            if let Some(ms) = executors.seen().first().and_then(|seen| seen.blocked_ms) {
                break ms;
            }
            assert!(began.elapsed() < Duration::from_secs(30), "{:?}", executors.seen());
            std::thread::yield_now();
        };
        assert!(u128::from(blocked_ms) >= BLOCKED.as_millis());
        let seen = executors.seen();
        assert_eq!((seen.len(), &*seen[0].name, seen[0].busy_permille), (1, "one", 1_000));
        go_on.send(()).unwrap();
        blocked.join().unwrap();
        assert_eq!(executors.seen(), []);
    }

    #[test]
    fn the_share_of_busy_time_is_of_late() {
        let began = Instant::now();
        let number = || AtomicU64::new(0);
        let pulse = Pulse { began, turned_us: number(), late_us: number(), busy_permille: number() };
        let ms = Duration::from_millis;
        for turn in 1..=30_u32 {
            pulse.turned(began + ms(250) * turn, ms(250), ms(125));
        }
        let seen = pulse.seen("one", ms(250) * 30);
        assert!((490..=500).contains(&seen.busy_permille), "{seen:?}");
        assert_eq!((seen.late_us, seen.blocked_ms), (50_000, None));
    }
}
