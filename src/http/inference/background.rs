//! Responses in the background (OpenAI API, "Background mode"): a request is admitted, answered at once, and goes on
//! without its client. Its events are remembered while it runs and for a while after, so that a stream of them begins
//! wherever its reader wants. What it said is kept as of any response; what a process that died did not finish has failed.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
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
use crate::{
    gateway::serve::Started,
    http::{error::ApiError, state::Detached, surface::Answer},
};

/// The most responses in the background, of all accounts and of one.
const MOST: usize = 4_096;
const MOST_OF_ONE: usize = 256;
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
    /// Ends the request as if its client had left.
    cancel: Arc<Notify>,
    /// The bytes of all responses' events.
    bytes: Arc<AtomicUsize>,
}

struct Progress {
    /// The events, by their numbers.
    events: Vec<Bytes>,
    bytes: usize,
    /// Whether there were more events than are remembered.
    is_cut: bool,
    is_cancelled: bool,
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

    /// Cancels the response, unless it is over. What was made is charged.
    pub(super) fn cancel(&self) -> Value {
        let mut progress = self.progress();
        if !progress.is_over && !std::mem::replace(&mut progress.is_cancelled, true) {
            kept::cancel(&mut progress.response);
            self.cancel.notify_one();
        }
        progress.response.clone()
    }

    /// Takes the texts of one or more events.
    fn take(&self, text: &str) {
        let mut progress = self.progress();
        for event in text.split_inclusive("\n\n").filter(|event| event.starts_with("event: response.")) {
            if let Some(response) = kept::response_of_event(event) {
                progress.response = response;
                if progress.is_cancelled {
                    kept::cancel(&mut progress.response);
                }
            }
            if progress.is_cut {
                continue;
            }
            progress.bytes += event.len();
            let all = self.bytes.fetch_add(event.len(), Ordering::Relaxed) + event.len();
            if progress.bytes > LARGEST || all > LARGEST_OF_ALL {
                self.forget(&mut progress);
            } else {
                progress.events.push(Bytes::copy_from_slice(event.as_bytes()));
            }
        }
        drop(progress);
        self.moved.notify_waiters();
    }

    fn end(&self) {
        self.progress().is_over = true;
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
        let begun = (Arc::clone(self), from);
        let texts = stream::unfold(begun, move |(background, number)| async move {
            let event = background.wait_for(number, heartbeat).await?;
            let (event, next) = event.map_or((Bytes::from_static(KEEP_ALIVE), number), |event| (event, number + 1));
            Some((Ok::<_, actix_web::Error>(event), (background, next)))
        });
        let mut response = HttpResponse::Ok();
        response.insert_header((CACHE_CONTROL, "no-store")).content_type("text/event-stream");
        Ok(response.streaming(texts))
    }
}

const KEEP_ALIVE: &[u8] = b"event: keepalive\ndata: {\"type\":\"keepalive\"}\n\n";

impl Backgrounds {
    fn all(&self) -> std::sync::MutexGuard<'_, ById> {
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A response of an account that runs, or ended a short while ago.
    pub(super) fn find(&self, account: AccountId, id: &str) -> Option<Arc<Background>> {
        self.all().get(&(account, id.to_owned())).cloned()
    }

    /// Whether there is room for one more.
    ///
    /// # Errors
    ///
    /// There is not.
    pub(super) fn room(&self, account: AccountId) -> Result<(), ApiError> {
        let all = self.all();
        let running = |background: &Arc<Background>| !background.progress().is_over;
        let of_one = all.iter().filter(|((of, _), background)| *of == account && running(background)).count();
        if all.len() >= MOST || of_one >= MOST_OF_ONE {
            return Err(ApiError::overloaded("Too many responses are made in the background just now."));
        }
        Ok(())
    }

    /// Lets a request that was admitted go on by itself. `queued` is the response before it begins. It is kept before it
    /// runs, and again when it is over.
    pub(super) async fn run<W: AnswerWriter>(
        &self,
        id: String,
        queued: Value,
        (writer, started): (W, Started),
        (keeper, detached): (Keeper, Detached),
    ) -> Arc<Background> {
        keeper.clone().keep(queued.to_string()).await;
        let place = (keeper.account(), id);
        let Started { updates, cancel, .. } = started;
        let progress = Progress {
            events: Vec::new(),
            bytes: 0,
            is_cut: false,
            is_cancelled: false,
            is_over: false,
            response: queued,
        };
        let (progress, bytes) = (Mutex::new(progress), Arc::clone(&self.bytes));
        let background = Arc::new(Background { progress, moved: Notify::new(), cancel, bytes });
        self.all().insert(place.clone(), Arc::clone(&background));
        let (all, running) = (self.clone(), Arc::clone(&background));
        rt::spawn(async move {
            let mut answer = Answer::new(writer, updates, keeper.request_id());
            let (end, of_end) = (keeper.clone(), Arc::clone(&running));
            answer.keep(move |response| async move {
                let response = of_end.with_fate(&response);
                end.keep(response).await;
            });
            while let Some(text) = answer.next().await {
                running.take(&text);
            }
            if !answer.has_kept() {
                keeper.keep(running.response().to_string()).await;
            }
            running.end();
            drop(detached);
            sleep(REMEMBERED).await;
            running.forget(&mut running.progress());
            all.all().remove(&place);
        });
        background
    }
}

impl Background {
    /// A complete response, cancelled where that was asked for.
    fn with_fate(&self, response: &str) -> String {
        let is_cancelled = self.progress().is_cancelled;
        match serde_json::from_str(response) {
            Ok(mut whole) if is_cancelled => {
                kept::cancel(&mut whole);
                whole.to_string()
            }
            _ => response.to_owned(),
        }
    }
}
