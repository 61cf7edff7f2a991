//! How actors are spoken to: [`ask`] and [`tell`], never actix's bare verbs. `Addr::send` is silently skipped when its
//! caller is dropped while the message waits, and `do_send` ignores the mailbox's capacity (both found by running them).
//! An [`Ask`] carries its own reply channel, and the time it was posted.

use std::{
    sync::{Arc, PoisonError, RwLock},
    time::{Duration, Instant},
};

use actix::{Actor, Addr, Context, Handler, Message, dev::ToEnvelope};
use tokio::sync::oneshot;

/// A question with the way back.
#[derive(Debug)]
pub struct Ask<Q, R> {
    /// What is asked.
    pub question: Q,
    /// Where the answer goes; dropped without one, the asker learns that the actor is gone.
    pub reply: oneshot::Sender<R>,
    /// When it was posted.
    pub posted_at: Instant,
}

impl<Q: 'static, R: 'static> Message for Ask<Q, R> {
    type Result = ();
}

/// Why there is no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AskError {
    /// The mailbox is full: it was not posted.
    #[error("mailbox full")]
    Full,
    /// The actor died or was never there. It may have acted before it died.
    #[error("actor gone")]
    Gone,
    /// No answer in time. It may still act.
    #[error("no answer in time")]
    Late,
}

/// Asks an actor, and waits at most `deadline`. Once posted, the question is handled even if the asker goes away.
pub async fn ask<A, Q, R>(address: &Addr<A>, question: Q, deadline: Duration) -> Result<R, AskError>
where
    A: Actor + Handler<Ask<Q, R>>,
    A::Context: ToEnvelope<A, Ask<Q, R>>,
    Q: Send + 'static,
    R: Send + 'static,
{
    let (reply, answer) = oneshot::channel();
    let posted_at = Instant::now();
    let letter = Ask { question, reply, posted_at };
    match address.try_send(letter) {
        Ok(()) => {}
        Err(actix::prelude::SendError::Full(_)) => return Err(AskError::Full),
        Err(actix::prelude::SendError::Closed(_)) => return Err(AskError::Gone),
    }
    match tokio::time::timeout_at((posted_at + deadline).into(), answer).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(_)) => Err(AskError::Gone),
        Err(_) => Err(AskError::Late),
    }
}

/// Posts a message whatever the mailbox's capacity, and does not wait. Only where the number of such messages is bounded
/// by something else: the caller says by what. Whether the actor is there is not known.
pub fn tell<A, M>(address: &Addr<A>, message: M)
where
    A: Actor<Context = Context<A>> + Handler<M>,
    M: Message + Send + 'static,
    M::Result: Send,
{
    address.do_send(message);
}

/// Posts a message where there is room, and does not wait. Whether it was posted.
pub fn offer<A, M>(address: &Addr<A>, message: M) -> bool
where
    A: Actor<Context = Context<A>> + Handler<M>,
    M: Message + Send + 'static,
    M::Result: Send,
{
    address.try_send(message).is_ok()
}

/// The address of an actor that may be replaced by a new one.
#[derive(Debug)]
pub struct Post<A: Actor>(Arc<RwLock<Addr<A>>>);

impl<A: Actor> Clone for Post<A> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<A: Actor> Post<A> {
    /// A post held by this actor.
    pub fn new(address: Addr<A>) -> Self {
        Self(Arc::new(RwLock::new(address)))
    }

    /// Who holds it now.
    pub fn address(&self) -> Addr<A> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Gives it to a new actor.
    pub fn replace(&self, address: Addr<A>) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = address;
    }
}
