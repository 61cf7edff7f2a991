//! An answer to a client, in any format and over any transport. [`Answer`] is the one loop over a request's updates,
//! generic over its writer. [`whole`](Answer::whole) answers, [streams](stream) and the live socket read it. They know
//! no format, and the loop knows no transport.

pub mod head;
pub mod sound;
pub mod stream;

use actix_web::rt::task::JoinHandle;
use billing::ids::RequestId;
use futures::{FutureExt, future::LocalBoxFuture};
use serde_json::Value;
use wire::{
    format::{AnswerWriter, End, ErrorShape, Particulars, Receipt, WholeWriter},
    inference::{Delta, Failure},
};

use super::error::{ApiError, Shape};
use crate::gateway::{
    serve::{Begun, Done, ServeError, Update},
    watch::Watcher,
};

/// The reason where a stream was cut because it was not read.
const UNREAD: &str = "the answer was not read in time, and is charged as far as it was made";

/// An answer in progress.
pub struct Answer<W> {
    writer: W,
    /// The start of the request, while it waits for an equal one.
    starting: Option<Starting>,
    updates: Watcher,
    /// The request's id, for errors.
    request_id: RequestId,
    /// An update that was read ahead.
    ahead: Option<Update>,
    /// Whether the end was written.
    is_over: bool,
    /// How the whole answer is kept.
    keep: Option<Keep>,
    /// Whether an answer of a name is kept already, until it is known of this one's, and while that is looked up.
    is_taken: Option<IsTaken>,
    naming: Option<LocalBoxFuture<'static, bool>>,
    /// The end, which waits until the answer is kept.
    last: Option<String>,
    keeping: Option<JoinHandle<()>>,
}

/// The start of a request, which has its updates in the end.
pub type Starting = LocalBoxFuture<'static, Result<Watcher, Box<ServeError>>>;

/// Keeps a whole answer.
type Keep = Box<dyn FnOnce(String) -> LocalBoxFuture<'static, ()>>;

/// Tells whether an answer of this name is kept already.
type IsTaken = Box<dyn FnOnce(String) -> LocalBoxFuture<'static, bool>>;

/// A complete answer.
pub struct Whole {
    /// The body.
    pub body: Vec<u8>,
    /// Its media type.
    pub media_type: &'static str,
    /// The cost.
    pub receipt: Receipt,
    /// The end of the request.
    pub done: Box<Done>,
}

impl<W: AnswerWriter> Answer<W> {
    /// The answer of a request with these updates.
    pub const fn new(writer: W, updates: Watcher, request_id: RequestId) -> Self {
        Self {
            writer,
            starting: None,
            updates,
            request_id,
            ahead: None,
            is_over: false,
            keep: None,
            is_taken: None,
            naming: None,
            last: None,
            keeping: None,
        }
    }

    /// The answer of a request that has not started yet.
    pub fn of_start(writer: W, starting: Starting, request_id: RequestId) -> Self {
        Self { starting: Some(starting), ..Self::new(writer, Watcher::of_none(), request_id) }
    }

    /// The answer of a request that failed before there was anything to write.
    pub fn failed(writer: W, error: Box<ServeError>, request_id: RequestId) -> Self {
        Self { ahead: Some(Update::Failed(error)), ..Self::new(writer, Watcher::of_none(), request_id) }
    }

    /// Has the whole answer kept before its end is sent, where its format has such answers.
    pub fn keep<F: Future<Output = ()> + 'static>(&mut self, keep: impl FnOnce(String) -> F + 'static) {
        self.keep = Some(Box::new(|answer| keep(answer).boxed_local()));
    }

    /// Has an answer of its provider's name under ours where one of that name is kept already.
    pub fn unless<F: Future<Output = bool> + 'static>(&mut self, is_taken: impl FnOnce(String) -> F + 'static) {
        self.is_taken = Some(Box::new(|name| is_taken(name).boxed_local()));
    }

    /// Looks up the name that the provider tells in one of these pieces.
    fn look_up<'d>(&mut self, deltas: impl IntoIterator<Item = &'d Delta>) {
        if self.is_taken.is_some()
            && let Some(name) = deltas.into_iter().find_map(|delta| self.writer.named(delta))
        {
            self.naming = self.is_taken.take().map(|is_taken| is_taken(name));
        }
    }

    /// Gives the answer our name where its provider's is taken. Dropping the future while it waits loses nothing.
    async fn until_named(&mut self) {
        if let Some(naming) = &mut self.naming {
            if naming.await {
                self.writer.rename();
            }
            self.naming = None;
        }
    }

    /// Whether the whole answer was kept.
    pub const fn has_kept(&self) -> bool {
        self.keep.is_none()
    }

    /// Begins to keep the answer, where that is wanted. It goes on when the client leaves.
    fn begin_to_keep(&mut self) {
        if let Some(answer) = self.writer.kept()
            && let Some(keep) = self.keep.take()
        {
            self.keeping = Some(actix_web::rt::spawn(keep(answer)));
        }
    }

    /// Waits until the answer is kept. Dropping the future while it waits loses nothing.
    async fn until_kept(&mut self) {
        if let Some(keeping) = &mut self.keeping {
            // A panic there is told by its task; the answer is sent all the same.
            let _ = keeping.await;
            self.keeping = None;
        }
    }

    /// The next update. Dropping the future while it waits loses nothing.
    async fn update(&mut self) -> Update {
        if let Some(starting) = &mut self.starting {
            let started = starting.await;
            self.starting = None;
            match started {
                Ok(updates) => self.updates = updates,
                Err(error) => return Update::Failed(error),
            }
        }
        self.updates.next().await.unwrap_or_else(unread)
    }

    /// The next text to write; `None` after the end. Dropping the future while it waits loses nothing.
    pub async fn next(&mut self) -> Option<String> {
        while !self.is_over {
            let update = match self.ahead.take() {
                Some(update) => update,
                None => self.update().await,
            };
            if let Update::Delta(delta) = &update {
                self.look_up([&**delta]);
            }
            if self.naming.is_some() {
                self.ahead = Some(update);
                self.until_named().await;
                continue;
            }
            if let Some(text) = self.write(update) {
                if !self.is_over {
                    return Some(text);
                }
                self.last = Some(text);
                self.begin_to_keep();
            }
        }
        self.until_kept().await;
        self.last.take()
    }

    /// A keep-alive, where the format has one.
    pub fn silence(&self) -> Option<String> {
        self.writer.silence()
    }

    /// Waits until there is something to write. Returns what is known of the answer's beginning. Dropping the future while
    /// it waits loses nothing but that.
    ///
    /// # Errors
    ///
    /// The request failed before there was anything to write.
    pub async fn begun(&mut self) -> Result<Option<Begun>, Box<ServeError>> {
        let mut known = None;
        while self.ahead.is_none() {
            match self.update().await {
                Update::Failed(error) => return Err(error),
                Update::Begun(begun) => known = Some(*begun),
                Update::Cost { .. } => {}
                Update::Done(mut done) => {
                    let (stages, headers) = (done.stages, std::mem::take(&mut done.headers));
                    known = known.or(Some(Begun { stages, headers }));
                    self.ahead = Some(Update::Done(done));
                }
                update @ Update::Delta(_) => self.ahead = Some(update),
            }
        }
        Ok(known)
    }

    fn write(&mut self, update: Update) -> Option<String> {
        self.is_over = matches!(update, Update::Done(_) | Update::Failed(_));
        match update {
            Update::Delta(delta) => self.writer.delta(*delta),
            // The head reports this.
            Update::Begun(_) => None,
            Update::Cost { cost, billed_seconds } => self.writer.cost(&cost.to_string(), billed_seconds),
            Update::Done(done) => Some(self.writer.end(&end(&done))),
            Update::Failed(error) => {
                if let ServeError::FailedAndCharged { charge: Some(done), .. } = &*error {
                    self.writer.charged(&end(done));
                }
                let error = written_error::<W>(&ApiError::from(*error), &self.request_id.to_string());
                Some(self.writer.failed(&error))
            }
        }
    }
}

impl<W: WholeWriter> Answer<W> {
    /// The whole answer as one body.
    ///
    /// # Errors
    ///
    /// The request failed, or its task ended without an answer.
    pub async fn whole(mut self) -> Result<Whole, Box<ServeError>> {
        let mut deltas: Vec<Delta> = Vec::new();
        loop {
            match self.updates.next().await {
                Some(Update::Delta(delta)) => deltas.push(*delta),
                Some(Update::Begun(_) | Update::Cost { .. }) => {}
                Some(Update::Done(mut done)) => {
                    deltas.append(&mut done.whole);
                    let end = end(&done);
                    self.look_up(&deltas);
                    self.until_named().await;
                    let body = self.writer.whole(deltas, &end);
                    self.begin_to_keep();
                    self.until_kept().await;
                    let media_type = self.writer.media_type();
                    return Ok(Whole { body, media_type, receipt: end.receipt, done });
                }
                Some(Update::Failed(error)) => return Err(error),
                None => {
                    let why = "a request's task ended without an answer".to_owned();
                    // Its guard charges what was noted last.
                    return Err(Box::new(ServeError::FailedAndCharged { failure: Failure::Engine(why), charge: None }));
                }
            }
        }
    }
}

/// An error inside an answer that has begun, in the shape that clients of the format read.
pub fn written_error<W: AnswerWriter>(error: &ApiError, request_id: &str) -> Value {
    written(W::ERRORS, error, request_id)
}

/// The same in a shape.
pub fn written(shape: ErrorShape, error: &ApiError, request_id: &str) -> Value {
    let shape = match shape {
        ErrorShape::Phrase => Shape::Native,
        ErrorShape::Object => Shape::Object,
        ErrorShape::Anthropic => Shape::AnthropicObject,
        ErrorShape::Cohere => Shape::Cohere,
        ErrorShape::Google => Shape::GoogleObject,
    };
    error.body(shape, request_id)
}

/// A stream that ends without its end must not look complete. What was made of it is charged, so no other model is asked.
fn unread() -> Update {
    let failure = Failure::Overloaded(UNREAD.into());
    Update::Failed(Box::new(ServeError::FailedAndCharged { failure, charge: None }))
}

fn end(done: &Done) -> End {
    End { usage: done.usage, receipt: receipt(done), is_cut: done.is_cut() }
}

fn receipt(done: &Done) -> Receipt {
    let record = &done.record;
    let farebox = Particulars {
        request_id: record.request_id.to_string(),
        provider: record.provider.to_string(),
        base_cost: record.cost.base.normalize().to_string(),
        fee: record.cost.fee.normalize().to_string(),
        estimated: record.estimated,
        balance: done.balance.available.to_string(),
        compute_ms: done.is_open().then_some(record.compute_ms),
        billed_seconds: done.is_open().then_some(record.billed_seconds),
        search_units: Some(done.search_units).filter(|units| *units > 0),
        stop: done.stop.clone(),
    };
    Receipt { cost: record.charged.to_string(), farebox, usage: done.reported.clone() }
}
