//! Responses in the background (OpenAI API, "Background mode"): a request is admitted, answered at once, and goes on
//! without its client. Its events are remembered while it runs and for a while after, so that a stream of them begins
//! wherever its reader wants. What it said is kept as of any response; what a process that died did not finish has failed.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use actix_web::{HttpResponse, http::header::CACHE_CONTROL, rt};
use billing::ids::AccountId;
use bytes::Bytes;
use futures::stream;
use serde_json::Value;
use tokio::{
    sync::Notify,
    time::{sleep, timeout},
};
use wire::format::{AnswerWriter, openai::responses::kept};

use super::responses::Keeper;
use crate::http::{error::ApiError, surface::Answer};

/// The most responses that run in the background, of all accounts and of one.
const MOST: usize = 4_096;
const MOST_OF_ONE: usize = 256;
/// The most responses of one account that are remembered after their end.
const MOST_REMEMBERED: usize = 64;
/// The most bytes of events that are remembered of one response, and of all.
const LARGEST: usize = 8 << 20;
const LARGEST_OF_ALL: usize = 256 << 20;
/// How long events are remembered after the end.
const REMEMBERED: Duration = Duration::from_mins(5);

/// The responses in the background.
#[derive(Clone, Default)]
pub struct Backgrounds {
    all: Arc<Mutex<ById>>,
    /// The bytes of all remembered events.
    bytes: Arc<AtomicUsize>,
}

/// By account and id.
type ById = HashMap<(AccountId, String), Arc<Background>>;

/// A response in the background.
pub struct Background {
    progress: Mutex<Progress>,
    /// Notified of each event.
    moved: Notify,
    /// Ends the request as if its client had left; set once it runs.
    ends: Mutex<Option<Arc<Notify>>>,
    /// The bytes of all responses' events.
    bytes: Arc<AtomicUsize>,
    began: Instant,
}

/// What its owner wants of a response.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wish {
    /// That it goes on.
    GoOn,
    /// That it ends.
    Cancel,
    /// That it ends, and nothing of it is kept.
    Forget,
}

struct Progress {
    /// The events, by their numbers.
    events: Vec<Bytes>,
    bytes: usize,
    /// Whether there were more events than are remembered.
    is_cut: bool,
    wish: Wish,
    is_over: bool,
    /// The response as it is.
    response: Value,
}

impl Background {
    fn progress(&self) -> std::sync::MutexGuard<'_, Progress> {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The response as it is now.
    pub(super) fn response(&self) -> Value {
        self.progress().response.clone()
    }

    /// Cancels the response, unless it is over. It is charged as where a client leaves.
    pub(super) fn cancel(&self) -> Value {
        let mut progress = self.progress();
        if !progress.is_over && progress.wish == Wish::GoOn {
            progress.wish = Wish::Cancel;
            kept::cancel(&mut progress.response);
            self.end_request();
        }
        progress.response.clone()
    }

    /// The response is made by a request that `ends` ends; one that is not wanted any more is ended at once.
    pub(super) fn runs(&self, ends: &Arc<Notify>) {
        *self.ends.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(ends));
        let wish = self.progress().wish;
        if wish != Wish::GoOn {
            self.end_request();
        }
    }

    fn end_request(&self) {
        if let Some(ends) = &*self.ends.lock().unwrap_or_else(PoisonError::into_inner) {
            ends.notify_one();
        }
    }

    /// Takes the texts of one or more events. Of a cancelled response none is shown but the last.
    fn take(&self, text: &str) {
        let mut progress = self.progress();
        for event in text.split_inclusive("\n\n").filter(|event| event.starts_with("event: response.")) {
            if let Some(response) = kept::response_of_event(event) {
                progress.response = response;
                if progress.wish == Wish::Cancel {
                    kept::cancel(&mut progress.response);
                }
            }
            if progress.wish == Wish::GoOn {
                self.remember(&mut progress, Bytes::copy_from_slice(event.as_bytes()));
            }
        }
        drop(progress);
        self.moved.notify_waiters();
    }

    fn remember(&self, progress: &mut Progress, event: Bytes) {
        if progress.is_cut {
            return;
        }
        progress.bytes += event.len();
        let all = self.bytes.fetch_add(event.len(), Ordering::Relaxed) + event.len();
        if progress.bytes > LARGEST || all > LARGEST_OF_ALL {
            self.forget(progress);
        } else {
            progress.events.push(event);
        }
    }

    fn end(&self) {
        let mut progress = self.progress();
        if progress.wish == Wish::Cancel {
            let last = kept::cancelled_event(progress.events.len(), &progress.response);
            self.remember(&mut progress, Bytes::from(last));
        }
        progress.is_over = true;
        drop(progress);
        self.moved.notify_waiters();
    }

    /// The event with a number: `None` where none will come, `Some(None)` where none came for so long.
    async fn wait_for(&self, number: usize, longest: Duration) -> Option<Option<Bytes>> {
        loop {
            let moved = self.moved.notified();
            {
                let progress = self.progress();
                match progress.events.get(number) {
                    Some(event) => return Some(Some(event.clone())),
                    None if progress.is_over || progress.is_cut => return None,
                    None => {}
                }
            }
            if timeout(longest, moved).await.is_err() {
                return Some(None);
            }
        }
    }

    /// Forgets the events.
    fn forget(&self, progress: &mut Progress) {
        self.bytes.fetch_sub(std::mem::take(&mut progress.bytes), Ordering::Relaxed);
        (progress.is_cut, progress.events) = (true, Vec::new());
    }

    /// The events from a number on, as a stream.
    ///
    /// # Errors
    ///
    /// They are not remembered.
    pub(super) fn stream(self: &Arc<Self>, from: usize, heartbeat: Duration) -> Result<HttpResponse, ApiError> {
        if self.progress().is_cut {
            return Err(ApiError::invalid("stream", "has more events than are remembered; read the response whole"));
        }
        let begun = (Arc::clone(self), Some(from));
        let texts = stream::unfold(begun, move |(background, number)| async move {
            let number = number?;
            let (event, next) = match background.wait_for(number, heartbeat).await {
                Some(Some(event)) => (event, Some(number + 1)),
                Some(None) => (Bytes::from_static(KEEP_ALIVE), Some(number)),
                // What is not remembered must not look complete.
                None if background.progress().is_cut => (Bytes::from_static(CUT), None),
                None => return None,
            };
            Some((Ok::<_, actix_web::Error>(event), (background, next)))
        });
        let mut response = HttpResponse::Ok();
        response.insert_header((CACHE_CONTROL, "no-store")).content_type("text/event-stream");
        Ok(response.streaming(texts))
    }
}

/// The end of a stream with more events than are remembered.
const CUT: &[u8] =
    b"event: error\ndata: {\"type\":\"error\",\"code\":\"events_forgotten\",\"message\":\"There are more \
    events than are remembered: read the response whole.\",\"param\":null}\n\n";
const KEEP_ALIVE: &[u8] = b"event: keepalive\ndata: {\"type\":\"keepalive\"}\n\n";

impl Backgrounds {
    fn all(&self) -> std::sync::MutexGuard<'_, ById> {
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A response of an account that runs, or ended a short while ago.
    pub(super) fn find(&self, account: AccountId, id: &str) -> Option<Arc<Background>> {
        self.all().get(&(account, id.to_owned())).cloned()
    }

    /// A place for one more.
    ///
    /// # Errors
    ///
    /// There is no room.
    pub(super) fn enter(&self, account: AccountId, id: String, queued: Value) -> Result<Entered, ApiError> {
        let mut all = self.all();
        let mut ended: Vec<(Instant, (AccountId, String))> = Vec::new();
        let (mut running, mut running_of_one) = (0, 0);
        for (place, background) in all.iter() {
            let is_over = background.progress().is_over;
            running += usize::from(!is_over);
            running_of_one += usize::from(!is_over && place.0 == account);
            if is_over && place.0 == account {
                ended.push((background.began, place.clone()));
            }
        }
        if running >= MOST || running_of_one >= MOST_OF_ONE {
            return Err(ApiError::overloaded("Too many responses are made in the background just now."));
        }
        if ended.len() >= MOST_REMEMBERED {
            // An account's own oldest make room.
            ended.sort_unstable();
            for (_, place) in ended.drain(..=ended.len() - MOST_REMEMBERED) {
                if let Some(old) = all.remove(&place) {
                    old.forget(&mut old.progress());
                }
            }
        }
        let progress = Progress {
            events: Vec::new(),
            bytes: 0,
            is_cut: false,
            wish: Wish::GoOn,
            is_over: false,
            response: queued,
        };
        let background = Arc::new(Background {
            progress: Mutex::new(progress),
            moved: Notify::new(),
            ends: Mutex::default(),
            bytes: Arc::clone(&self.bytes),
            began: Instant::now(),
        });
        let place = (account, id);
        all.insert(place.clone(), Arc::clone(&background));
        Ok(Entered { all: self.clone(), place, background })
    }

    /// Has nothing of a response remembered or kept, and ends it where it runs. Returns whether it was there.
    pub(super) fn forget(&self, account: AccountId, id: &str) -> bool {
        let Some(background) = self.all().remove(&(account, id.to_owned())) else { return false };
        let mut progress = background.progress();
        progress.wish = Wish::Forget;
        if !progress.is_over {
            background.end_request();
        }
        background.forget(&mut progress);
        drop(progress);
        background.moved.notify_waiters();
        true
    }
}

/// The place of a response. Dropped, it is free.
pub(super) struct Entered {
    all: Backgrounds,
    place: (AccountId, String),
    background: Arc<Background>,
}

impl Entered {
    /// The response.
    pub(super) fn background(&self) -> Arc<Background> {
        Arc::clone(&self.background)
    }

    /// Follows a request that was admitted to its end, and keeps what it said.
    pub(super) async fn follow<W: AnswerWriter>(self, mut answer: Answer<W>, keeper: Arc<Keeper>) {
        let (end, of_end) = (Arc::clone(&keeper), self.background());
        answer.keep(move |response| async move {
            if let Some(response) = of_end.to_keep(&response) {
                end.keep(response).await;
            }
        });
        while let Some(text) = answer.next().await {
            self.background.take(&text);
        }
        if !answer.has_kept() {
            let response = self.background.response().to_string();
            if let Some(response) = self.background.to_keep(&response) {
                keeper.keep(response).await;
            }
        }
        self.background.end();
        let wish = self.background.progress().wish;
        if wish == Wish::Forget {
            keeper.forget(&self.place.1).await;
        }
        rt::spawn(async move {
            sleep(REMEMBERED).await;
            drop(self);
        });
    }
}

impl Drop for Entered {
    fn drop(&mut self) {
        let mut all = self.all.all();
        if all.get(&self.place).is_some_and(|there| Arc::ptr_eq(there, &self.background)) {
            all.remove(&self.place);
        }
        drop(all);
        self.background.forget(&mut self.background.progress());
    }
}

impl Background {
    /// A complete response as it is kept: cancelled where that was asked for. `None` where its owner deleted it.
    fn to_keep(&self, response: &str) -> Option<String> {
        let wish = self.progress().wish;
        match (wish, serde_json::from_str(response)) {
            (Wish::Forget, _) => None,
            (Wish::Cancel, Ok(mut whole)) => {
                kept::cancel(&mut whole);
                Some(whole.to_string())
            }
            (Wish::GoOn, _) | (Wish::Cancel, Err(_)) => Some(response.to_owned()),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use uuid::Uuid;

    use super::*;

    #[test]
    fn an_account_fills_its_own_room_alone_and_what_ended_takes_none() {
        let all = Backgrounds::default();
        let [one, other] = [1, 2].map(|id| AccountId(Uuid::from_u128(id)));
        let enter = |account, id: usize| all.enter(account, id.to_string(), json!({}));
        let running: Vec<_> = (0..MOST_OF_ONE).map(|id| enter(one, id).unwrap()).collect();
        assert!(enter(one, 9_999).is_err() && enter(other, 0).is_ok());
        for entered in &running {
            entered.background.end();
        }
        let again: Vec<_> = (1_000..1_000 + MOST_OF_ONE).map(|id| enter(one, id).unwrap()).collect();
        let remembered = (0..MOST_OF_ONE).filter(|id| all.find(one, &id.to_string()).is_some()).count();
        assert!(remembered < MOST_REMEMBERED, "{remembered}: the oldest made room");
        drop((running, again));
        assert!(all.all().is_empty() && all.bytes.load(Ordering::Relaxed) == 0);
    }

    #[test]
    fn a_response_that_was_cancelled_or_deleted_shows_no_more() {
        let all = Backgrounds::default();
        let account = AccountId(Uuid::from_u128(1));
        let entered = all.enter(account, "r".into(), json!({"status": "queued"})).unwrap();
        let background = entered.background();
        let event = |number: u32| format!("event: response.x\ndata: {{\"sequence_number\":{number}}}\n\n");
        background.take(&(event(0) + &event(1)));
        assert_eq!(background.cancel()["status"], "cancelled");
        background.take(&event(2));
        background.take("event: response.completed\ndata: {\"response\":{\"status\":\"completed\",\"usage\":7}}\n\n");
        background.end();
        let events = background.progress().events.clone();
        let last = kept::response_of_event(std::str::from_utf8(&events[2]).unwrap()).unwrap();
        assert_eq!((events.len(), &last["status"], &last["usage"]), (3, &json!("cancelled"), &json!(7)));
        assert!(background.to_keep(r#"{"status":"completed"}"#).unwrap().contains("cancelled"));
        assert!(all.forget(account, "r") && !all.forget(account, "r"));
        assert_eq!(background.to_keep("{}"), None);
    }
}
