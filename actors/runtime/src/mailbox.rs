//! How messages reach actors: [`ask`] and [`tell`], never actix's bare verbs. `Addr::send` is silently skipped when its
//! caller is dropped while the message waits, `do_send` ignores the mailbox's capacity, and `try_send` bounds what one clone of
//! an address sends, not what all of them do (all found by running them): so what waits is counted here, and bounded by the
//! count. An [`Ask`] carries its own reply channel, and counts as waiting until it is handled.

use std::{
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

use actix::{Actor, Addr, Context, Handler, Message, Recipient, dev::ToEnvelope};
use tokio::sync::oneshot;

use crate::health::{Counted, Health, OfKind, Posted};

/// A question with its reply channel.
#[derive(Debug)]
pub struct Ask<Q, R> {
    /// The question.
    pub question: Q,
    /// The channel of the answer. Dropped unused, it tells the asker that the actor is gone.
    pub reply: oneshot::Sender<R>,
    /// Counts the question as waiting.
    pub posted: Posted,
}

impl<Q: 'static, R: 'static> Message for Ask<Q, R> {
    type Result = ();
}

/// Why a question has no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AskError {
    /// The mailbox is full: the question was not posted.
    #[error("mailbox full")]
    Full,
    /// The actor died or was never there. The actor may have acted before it died.
    #[error("actor gone")]
    Gone,
    /// No answer in time. The actor may still act.
    #[error("no answer in time")]
    Late,
}

/// Asks an actor with a question that is counted already, and waits at most `deadline`. Once posted, the question is handled even if the asker goes away.
///
/// # Errors
///
/// [`Full`](AskError::Full) where the question was not posted: the caller may ask again. [`Gone`](AskError::Gone) or
/// [`Late`](AskError::Late) where the question may have been handled: the caller must look before it repeats an act.
pub async fn ask<A, Q, R>(address: &Addr<A>, posted: Posted, question: Q, deadline: Duration) -> Result<R, AskError>
where
    A: Actor + Handler<Ask<Q, R>> + OfKind,
    A::Context: ToEnvelope<A, Ask<Q, R>>,
    Q: Send + 'static,
    R: Send + 'static,
{
    if posted.depth() > A::MAILBOX {
        posted.refused();
        return Err(AskError::Full);
    }
    let (reply, answer) = oneshot::channel();
    let late_at = posted.at() + deadline;
    let letter = Ask { question, reply, posted: posted.named(name_of::<Q>()) };
    match address.try_send(letter) {
        Ok(()) => {}
        Err(actix::prelude::SendError::Full(letter)) => {
            letter.posted.refused();
            return Err(AskError::Full);
        }
        Err(actix::prelude::SendError::Closed(_)) => return Err(AskError::Gone),
    }
    match tokio::time::timeout_at(late_at.into(), answer).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(_)) => Err(AskError::Gone),
        Err(_) => Err(AskError::Late),
    }
}

/// A type's own name, without its path.
fn name_of<T>() -> &'static str {
    let path = std::any::type_name::<T>();
    let path = path.split('<').next().unwrap_or(path);
    path.rsplit("::").next().unwrap_or(path)
}

/// Posts a message whatever the mailbox's capacity, and does not wait. Only for messages whose number is bounded
/// elsewhere: the caller says where. The caller does not learn whether the actor is alive.
pub fn tell<A, M>(address: &Addr<A>, message: M)
where
    A: Actor<Context = Context<A>> + Handler<M>,
    M: Message + Send + 'static,
    M::Result: Send,
{
    address.do_send(message);
}

/// Posts to an actor of which only the message's type is known, as [`tell`] does.
pub fn tell_recipient<M>(recipient: &Recipient<M>, message: M)
where
    M: Message + Send + 'static,
    M::Result: Send,
{
    recipient.do_send(message);
}

/// Posts a message where the mailbox has room, and does not wait. Returns whether the message was posted.
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
pub struct Handle<A: Actor> {
    holder: Arc<RwLock<Addr<A>>>,
    counted: Counted,
}

impl<A: Actor> Clone for Handle<A> {
    fn clone(&self) -> Self {
        Self { holder: Arc::clone(&self.holder), counted: self.counted.clone() }
    }
}

impl<A: Actor + OfKind> Handle<A> {
    /// A handle of this name, pointing to this actor.
    pub fn new(address: Addr<A>, health: &Health, name: &str) -> Self {
        Self { holder: Arc::new(RwLock::new(address)), counted: health.ledger_of(A::KIND, name) }
    }

    /// The address of the current actor.
    pub fn address(&self) -> Addr<A> {
        self.holder.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Points the handle to a new actor.
    pub fn replace(&self, address: Addr<A>) {
        *self.holder.write().unwrap_or_else(PoisonError::into_inner) = address;
    }

    /// Counts a message that is posted now.
    pub fn posted(&self) -> Posted {
        self.counted.posted()
    }

    /// Asks the current actor, as [`ask`] does.
    ///
    /// # Errors
    ///
    /// As for [`ask`].
    pub async fn ask<Q, R>(&self, question: Q, deadline: Duration) -> Result<R, AskError>
    where
        A: Handler<Ask<Q, R>>,
        A::Context: ToEnvelope<A, Ask<Q, R>>,
        Q: Send + 'static,
        R: Send + 'static,
    {
        ask(&self.address(), self.posted(), question, deadline).await
    }
}

#[cfg(test)]
mod tests {
    use std::{sync::mpsc, time::Instant};

    use super::*;
    use crate::health::{Kind, Waiting};

    const DEADLINE: Duration = Duration::from_secs(10);

    /// Answers when a test lets it.
    struct Clerk(mpsc::Receiver<Work>);

    enum Work {
        Answer,
        Die,
    }

    impl OfKind for Clerk {
        const KIND: Kind = Kind::Payment;
        const MAILBOX: usize = 8;
    }

    impl Actor for Clerk {
        type Context = Context<Self>;
    }

    impl Handler<Ask<(), ()>> for Clerk {
        type Result = ();

        fn handle(&mut self, Ask { question: (), reply, posted }: Ask<(), ()>, _: &mut Self::Context) {
            let began = Instant::now();
            match self.0.recv().unwrap() {
                Work::Answer => {
                    posted.handled(began);
                }
                Work::Die => panic!("told to die"),
            }
            reply.send(()).unwrap();
        }
    }

    #[actix::test]
    async fn a_mailbox_is_full_whoever_asks_and_has_room_again() {
        let health = Health::default();
        let (work, orders) = mpsc::channel();
        let elsewhere = actix::Arbiter::new();
        let address = Clerk::start_in_arbiter(&elsewhere.handle(), |_| Clerk(orders));
        let post = Handle::new(address.clone(), &health, "clerk");
        // Each asks by a clone of the address.
        let asked: Vec<_> = (0..20)
            .map(|_| {
                let post = post.clone();
                tokio::spawn(async move { post.ask((), DEADLINE).await })
            })
            .collect();
        let until = Instant::now() + DEADLINE;
        while health.observe_kind(Kind::Payment).refused < 12 {
            assert!(Instant::now() < until, "{:?}", health.observe_kind(Kind::Payment));
            tokio::task::yield_now().await;
        }
        assert_eq!(health.observe_kind(Kind::Payment).mailbox_depth, 8);
        (0..9).for_each(|_| work.send(Work::Answer).unwrap());
        let mut full = 0;
        for asked in asked {
            full += usize::from(asked.await.unwrap() == Err(AskError::Full));
        }
        assert_eq!((full, post.ask((), DEADLINE).await), (12, Ok(())));
        let waiting = Waiting::default();
        let posted: Vec<_> = (0..5).map(|_| health.posted_to(Kind::Account, &waiting)).collect();
        assert_eq!(health.depths(Kind::Account)[..3], [0, 1, 0], "one has four to seven");
        assert_eq!(posted[0].depth(), 5);
        drop(posted);
        assert_eq!(health.depths(Kind::Account).iter().sum::<i64>(), 0);
    }

    #[actix::test]
    async fn what_waits_is_counted_until_it_was_handled_or_lost() {
        let health = Health::default();
        let seen = || {
            let seen = health.observe_kind(Kind::Payment);
            (seen.mailbox_depth, seen.handled)
        };
        let (work, orders) = mpsc::channel();
        let elsewhere = actix::Arbiter::new();
        let post = Handle::new(Clerk::start_in_arbiter(&elsewhere.handle(), |_| Clerk(orders)), &health, "clerk");
        let asked: Vec<_> = (0..4)
            .map(|_| {
                let post = post.clone();
                tokio::spawn(async move { post.ask((), DEADLINE).await })
            })
            .collect();
        while seen().0 < 4 {
            tokio::task::yield_now().await;
        }
        assert_eq!(seen(), (4, 0));
        assert!(health.observe_kind(Kind::Payment).last_message_ms.is_none());
        work.send(Work::Answer).unwrap();
        work.send(Work::Die).unwrap();
        let mut answers = Vec::new();
        for asked in asked {
            answers.push(asked.await.unwrap());
        }
        answers.sort_by_key(Result::is_err);
        assert_eq!(answers, [Ok(()), Err(AskError::Gone), Err(AskError::Gone), Err(AskError::Gone)]);
        // The mailbox is gone with its actor, and each waiting message after its answer.
        let until = Instant::now() + DEADLINE;
        while seen() != (0, 1) {
            assert!(Instant::now() < until, "{:?}", seen());
            tokio::task::yield_now().await;
        }
        assert!(health.observe_kind(Kind::Payment).last_message_ms.is_some());
        assert_eq!(health.observe_kind(Kind::Payment).lost, 3, "dead letters");
    }
}
