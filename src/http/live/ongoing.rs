//! Requests of live sockets that outlive them. Such a request runs by itself, and its frames are remembered: while it
//! runs and for a while after, bounded in bytes, the oldest first to go. A socket of the same holder reads them from any
//! number on, so that nothing is lost and nothing comes twice; what is not remembered any more is said by its number.

use std::{
    collections::{HashMap, VecDeque},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use actix_web::rt;
use billing::ids::{AccountId, RequestId};
use tokio::{sync::Notify, time::sleep};
use wire::format::live::numbered;

use crate::{http::error::ApiError, idempotency::Holder};

/// The most such requests that run, of all accounts and of one.
const MOST: usize = 4_096;
const MOST_OF_ONE: usize = 256;
/// The most of one account that are remembered after their end.
const MOST_REMEMBERED: usize = 64;
/// The most bytes that are remembered of one request, and of all.
const LARGEST: usize = 8 << 20;
const LARGEST_OF_ALL: usize = 256 << 20;

/// Whose request, and which.
type Place = (Holder, String);

/// The requests, shared by clones.
#[derive(Clone)]
pub struct Ongoings {
    all: Arc<Mutex<HashMap<Place, Arc<Ongoing>>>>,
    /// The bytes of all remembered frames.
    bytes: Arc<AtomicUsize>,
    /// The most bytes of one account.
    most: usize,
    /// How long frames are remembered after the end.
    remembered: Duration,
}

/// A request that outlives its sockets.
pub(super) struct Ongoing {
    progress: Mutex<Progress>,
    /// Notified of each frame, and of the end.
    moved: Notify,
    /// Ends the request early.
    pub(super) cancel: Arc<Notify>,
    /// The bytes of all requests, and of its account.
    bytes: [Arc<AtomicUsize>; 2],
    most: usize,
    began: Instant,
}

#[derive(Default)]
struct Progress {
    frames: VecDeque<Arc<str>>,
    /// How many frames were dropped.
    dropped: u64,
    bytes: usize,
    /// The request's own id, once it is admitted.
    request_id: Option<RequestId>,
    is_over: bool,
}

impl Progress {
    /// The number of the last frame.
    fn last(&self) -> u64 {
        self.dropped + self.frames.len() as u64
    }
}

/// What there is of a frame.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Next {
    Frame(Arc<str>),
    /// It is not remembered; this is the first that is.
    Forgotten(u64),
    /// There are no more.
    Over,
}

impl Ongoing {
    fn progress(&self) -> MutexGuard<'_, Progress> {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Remembers a frame, under its number.
    pub(super) fn push(&self, frame: &str) {
        let mut progress = self.progress();
        let frame: Arc<str> = numbered(frame, progress.last() + 1).into();
        self.take(&mut progress, frame.len());
        progress.frames.push_back(frame);
        // The newest is there for those who follow, whatever its size.
        while progress.frames.len() > 1 && self.is_too_much(&progress) {
            self.drop_first(&mut progress);
        }
        drop(progress);
        self.moved.notify_waiters();
    }

    fn is_too_much(&self, progress: &Progress) -> bool {
        let [all, own] = self.bytes.each_ref().map(|bytes| bytes.load(Ordering::Relaxed));
        progress.bytes > LARGEST || own > self.most || all > LARGEST_OF_ALL
    }

    fn take(&self, progress: &mut Progress, bytes: usize) {
        progress.bytes += bytes;
        for counter in &self.bytes {
            counter.fetch_add(bytes, Ordering::Relaxed);
        }
    }

    fn drop_first(&self, progress: &mut Progress) {
        let Some(first) = progress.frames.pop_front() else { return };
        progress.dropped += 1;
        progress.bytes -= first.len();
        for counter in &self.bytes {
            counter.fetch_sub(first.len(), Ordering::Relaxed);
        }
    }

    fn forget(&self) {
        let mut progress = self.progress();
        while !progress.frames.is_empty() {
            self.drop_first(&mut progress);
        }
    }

    /// Notes the request's own id.
    pub(super) fn is_request(&self, id: RequestId) {
        self.progress().request_id = Some(id);
    }

    fn end(&self) {
        self.progress().is_over = true;
        self.moved.notify_waiters();
    }

    /// The request's own id, once it is admitted.
    pub(super) fn request_id(&self) -> Option<RequestId> {
        self.progress().request_id
    }

    /// All frames; none where some are not remembered.
    pub(super) fn all(&self) -> Option<Vec<Arc<str>>> {
        let progress = self.progress();
        (progress.dropped == 0).then(|| progress.frames.iter().cloned().collect())
    }

    /// Checks that the frames after this number can be read.
    ///
    /// # Errors
    ///
    /// Some are not remembered, or there never was a frame of this number.
    pub(super) fn check(&self, after: u64) -> Result<(), ApiError> {
        let progress = self.progress();
        if after > progress.last() {
            return Err(ApiError::invalid("after", format!("is no frame: the last one was {}", progress.last())));
        }
        if after < progress.dropped { Err(forgotten(progress.dropped + 1)) } else { Ok(()) }
    }

    /// The frame with a number, once it is there.
    pub(super) async fn next(&self, number: u64) -> Next {
        loop {
            let moved = self.moved.notified();
            {
                let progress = self.progress();
                let Some(place) = number.checked_sub(progress.dropped + 1) else {
                    return Next::Forgotten(progress.dropped + 1);
                };
                let place = usize::try_from(place).unwrap_or(usize::MAX);
                match progress.frames.get(place) {
                    Some(frame) => return Next::Frame(Arc::clone(frame)),
                    None if progress.is_over => return Next::Over,
                    None => {}
                }
            }
            moved.await;
        }
    }
}

/// The error where frames are not remembered any more; `first` is the first that is.
pub(super) fn forgotten(first: u64) -> ApiError {
    ApiError::frames_forgotten(first)
}

/// The error where an id names a request already.
pub(super) fn taken() -> ApiError {
    ApiError::conflict("id: names a request that runs or is remembered: resume it, or take another id")
}

const fn account(holder: &Holder) -> Option<AccountId> {
    match holder {
        Holder::Operator => None,
        Holder::Account(account) | Holder::LimitedKey(account, _) => Some(*account),
    }
}

impl Ongoings {
    /// None yet. So many bytes of one account are remembered, and for so long after the end.
    pub fn new(most: usize, remembered: Duration) -> Self {
        Self { all: Arc::default(), bytes: Arc::default(), most, remembered }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Place, Arc<Ongoing>>> {
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The request that its holder gave this id.
    pub(super) fn find(&self, holder: Holder, id: &str) -> Option<Arc<Ongoing>> {
        self.lock().get(&(holder, id.to_owned())).cloned()
    }

    /// Whether a request runs, by the id that it has with us.
    pub(super) fn runs(&self, holder: Holder, id: RequestId) -> bool {
        self.lock().iter().any(|((of, _), ongoing)| {
            let progress = ongoing.progress();
            *of == holder && progress.request_id == Some(id) && !progress.is_over
        })
    }

    /// Whether a request runs that somebody else has detached, by the id that it has with us.
    pub(super) fn runs_for_another(&self, holder: Holder, id: RequestId) -> bool {
        let is_it = |ongoing: &Ongoing| {
            let progress = ongoing.progress();
            progress.request_id == Some(id) && !progress.is_over
        };
        self.lock().iter().any(|((of, _), ongoing)| *of != holder && is_it(ongoing))
    }

    /// A place for one more.
    ///
    /// # Errors
    ///
    /// Its id names one that is remembered, or there is no room.
    pub(super) fn enter(&self, holder: Holder, id: String) -> Result<Entered, ApiError> {
        let mut all = self.lock();
        let place = (holder, id);
        if all.contains_key(&place) {
            return Err(taken());
        }
        let (mut running, mut running_of_one, mut own) = (0, 0, None);
        let mut ended: Vec<(Instant, Place)> = Vec::new();
        for (other, ongoing) in all.iter() {
            let (is_over, is_own) = (ongoing.progress().is_over, account(&other.0) == account(&holder));
            running += usize::from(!is_over);
            if is_own {
                running_of_one += usize::from(!is_over);
                own = Some(Arc::clone(&ongoing.bytes[1]));
                ended.extend(is_over.then(|| (ongoing.began, other.clone())));
            }
        }
        if running >= MOST || running_of_one >= MOST_OF_ONE {
            return Err(ApiError::overloaded("Too many requests outlive their sockets just now."));
        }
        if ended.len() >= MOST_REMEMBERED {
            // An account's own oldest make room.
            ended.sort_unstable_by_key(|(began, _)| *began);
            for (_, place) in ended.drain(..=ended.len() - MOST_REMEMBERED) {
                if let Some(old) = all.remove(&place) {
                    old.forget();
                }
            }
        }
        let ongoing = Arc::new(Ongoing {
            progress: Mutex::default(),
            moved: Notify::new(),
            cancel: Arc::default(),
            bytes: [Arc::clone(&self.bytes), own.unwrap_or_default()],
            most: self.most,
            began: Instant::now(),
        });
        all.insert(place.clone(), Arc::clone(&ongoing));
        Ok(Entered { all: self.clone(), place, ongoing })
    }
}

/// The place of a request. Dropped, it is over and forgotten.
pub(super) struct Entered {
    all: Ongoings,
    place: Place,
    ongoing: Arc<Ongoing>,
}

impl Entered {
    pub(super) fn ongoing(&self) -> &Arc<Ongoing> {
        &self.ongoing
    }

    /// Notes the end, and remembers the frames for a while.
    pub(super) fn end(self) {
        self.ongoing.end();
        let remembered = self.all.remembered;
        if !remembered.is_zero() {
            rt::spawn(async move {
                sleep(remembered).await;
                drop(self);
            });
        }
    }
}

impl Drop for Entered {
    fn drop(&mut self) {
        // One whose task died has no last frame, and must not be waited for.
        self.ongoing.end();
        let mut all = self.all.lock();
        if all.get(&self.place).is_some_and(|there| Arc::ptr_eq(there, &self.ongoing)) {
            all.remove(&self.place);
        }
    }
}

impl Drop for Ongoing {
    fn drop(&mut self) {
        self.forget();
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    fn holder(id: u128) -> Holder {
        Holder::Account(AccountId(Uuid::from_u128(id)))
    }

    fn ongoings(most: usize) -> Ongoings {
        Ongoings::new(most, Duration::from_mins(1))
    }

    #[tokio::test]
    async fn frames_are_read_from_any_number_until_the_end() {
        let all = ongoings(1 << 20);
        let entered = all.enter(holder(1), "a".into()).unwrap();
        for n in 1..=3 {
            entered.ongoing().push(&format!("{{\"n\":{n}}}"));
        }
        let found = all.find(holder(1), "a").unwrap();
        assert!(all.find(holder(2), "a").is_none(), "another's id");
        let Next::Frame(frame) = found.next(2).await else { panic!() };
        assert_eq!(&*frame, r#"{"n":2,"seq":2}"#);
        assert!(found.check(3).is_ok() && found.check(4).is_err());
        let (waiting, pushing) = tokio::join!(found.next(4), async { entered.ongoing().push("{\"n\":4}") });
        let ((), Next::Frame(frame)) = (pushing, waiting) else { panic!() };
        assert_eq!(&*frame, r#"{"n":4,"seq":4}"#);
        assert!(all.enter(holder(1), "a".into()).is_err(), "it is taken");
        drop(entered);
        assert_eq!(found.next(5).await, Next::Over);
        assert!(all.enter(holder(1), "a".into()).is_ok(), "it is forgotten");
    }

    #[tokio::test]
    async fn what_is_not_remembered_is_said_and_gives_its_bytes_back() {
        let all = ongoings(100);
        let frame = format!("{{\"text\":\"{}\"}}", "x".repeat(20));
        let [first, second] = ["a", "b"].map(|id| all.enter(holder(1), id.into()).unwrap());
        for _ in 0..5 {
            first.ongoing().push(&frame);
            second.ongoing().push(&frame);
        }
        assert!(all.bytes.load(Ordering::Relaxed) <= 150, "both together, but for the newest");
        assert_eq!(second.ongoing().next(1).await, Next::Forgotten(5));
        let refused = second.ongoing().check(1).unwrap_err();
        assert_eq!((refused.status().as_u16(), second.ongoing().check(4).is_ok()), (410, true));
        assert!(second.ongoing().all().is_none());
        drop((first, second));
        assert_eq!(all.bytes.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn an_account_fills_its_own_room_alone_and_what_ended_takes_none() {
        let all = ongoings(1 << 20);
        let enter = |of, id: usize| all.enter(holder(of), id.to_string());
        let running: Vec<_> = (0..MOST_OF_ONE).map(|id| enter(1, id).unwrap()).collect();
        assert!(enter(1, 9_999).is_err() && enter(2, 0).is_ok());
        for entered in &running {
            entered.ongoing().end();
        }
        let again: Vec<_> = (1_000..1_000 + MOST_OF_ONE).map(|id| enter(1, id).unwrap()).collect();
        let remembered = (0..MOST_OF_ONE).filter(|id| all.find(holder(1), &id.to_string()).is_some()).count();
        assert!(remembered < MOST_REMEMBERED, "{remembered}: the oldest made room");
        drop((running, again));
        assert!(all.lock().is_empty());
    }
}
