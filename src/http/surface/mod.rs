//! An answer on its way to its client, in whatever format and by whatever transport: [`Answer`] is the one loop over a
//! request's updates, generic over what writes them. [`whole`](Answer::whole) answers, [streams](stream) and the live socket
//! read it; none of them knows a format, and the loop knows no transport.

pub mod head;
pub mod stream;

use serde_json::Value;
use wire::{
    format::{AnswerWriter, End, ErrorShape, Particulars, Receipt},
    inference::{Delta, Failure},
};

use super::error::{ApiError, Shape};
use crate::gateway::{
    serve::{Done, ServeError, Update},
    stages::Stages,
    watch::Watcher,
};

/// Why a stream was cut that was not read.
const UNREAD: &str = "the answer was not read in time, and is charged as far as it was made";

/// An answer that is being made.
pub struct Answer<W> {
    writer: W,
    updates: Watcher,
    /// For errors.
    request_id: String,
    /// An update that was read ahead.
    ahead: Option<Update>,
    /// Whether its last word was written.
    is_over: bool,
}

/// An answer that was made whole.
pub struct Whole {
    /// The body.
    pub body: Vec<u8>,
    /// What it cost.
    pub receipt: Receipt,
    /// How it ended.
    pub done: Box<Done>,
}

impl<W: AnswerWriter> Answer<W> {
    /// Of a request whose updates are these.
    pub const fn new(writer: W, updates: Watcher, request_id: String) -> Self {
        Self { writer, updates, request_id, ahead: None, is_over: false }
    }

    /// What is written next; none after the last word. Dropped while it waits, nothing is lost.
    pub async fn next(&mut self) -> Option<String> {
        while !self.is_over {
            let update = match self.ahead.take() {
                Some(update) => update,
                None => self.updates.next().await.unwrap_or_else(unread),
            };
            if let Some(text) = self.write(update) {
                return Some(text);
            }
        }
        None
    }

    /// A sign of life, where the format has one.
    pub fn silence(&self) -> Option<String> {
        self.writer.silence()
    }

    /// Waits until there is something to write, which fails where the request does before that. Where its time went until
    /// then, once that is known. Dropped while it waits, nothing is lost but that time.
    ///
    /// # Errors
    ///
    /// The request failed before there was anything to write.
    pub async fn begun(&mut self) -> Result<Option<Stages>, ApiError> {
        let mut stages = None;
        while self.ahead.is_none() {
            match self.updates.next().await.unwrap_or_else(unread) {
                Update::Failed(error) => return Err((*error).into()),
                Update::Begun(begun) => stages = Some(*begun),
                Update::Cost { .. } => {}
                Update::Done(done) => {
                    stages = stages.or(Some(done.stages));
                    self.ahead = Some(Update::Done(done));
                }
                update @ Update::Delta(_) => self.ahead = Some(update),
            }
        }
        Ok(stages)
    }

    /// All of it as one body.
    ///
    /// # Errors
    ///
    /// The request failed, or its task ended without an answer.
    pub async fn whole(mut self) -> Result<Whole, ApiError> {
        let mut deltas: Vec<Delta> = Vec::new();
        loop {
            match self.updates.next().await {
                Some(Update::Delta(delta)) => deltas.push(*delta),
                Some(Update::Begun(_) | Update::Cost { .. }) => {}
                Some(Update::Done(mut done)) => {
                    deltas.append(&mut done.whole);
                    let end = end(&done);
                    let body = self.writer.whole(deltas, &end);
                    return Ok(Whole { body, receipt: end.receipt, done });
                }
                Some(Update::Failed(error)) => return Err((*error).into()),
                None => return Err(ApiError::internal(&"a request's task ended without an answer")),
            }
        }
    }

    fn write(&mut self, update: Update) -> Option<String> {
        self.is_over = matches!(update, Update::Done(_) | Update::Failed(_));
        match update {
            Update::Delta(delta) => self.writer.delta(*delta),
            // Told in the head.
            Update::Begun(_) => None,
            Update::Cost { cost, billed_seconds } => self.writer.cost(&cost.to_string(), billed_seconds),
            Update::Done(done) => Some(self.writer.end(&end(&done))),
            Update::Failed(error) => {
                let error = written_error::<W>(&ApiError::from(*error), &self.request_id);
                Some(self.writer.failed(&error))
            }
        }
    }
}

/// An error as a writer's clients read it in an answer that had begun.
pub fn written_error<W: AnswerWriter>(error: &ApiError, request_id: &str) -> Value {
    let shape = match W::ERRORS {
        ErrorShape::Phrase => Shape::Native,
        ErrorShape::Object => Shape::Object,
    };
    error.body(shape, request_id)
}

/// What ends without its end is not to look whole.
fn unread() -> Update {
    Update::Failed(Box::new(ServeError::Failed(Failure::Overloaded(UNREAD.into()))))
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
        stop: done.stop.clone(),
    };
    Receipt { cost: record.charged.to_string(), farebox, usage: done.reported.clone() }
}
