//! How messages reach actors: [`ask`] and [`tell`], never actix's bare verbs. `Addr::send` is silently skipped when its
//! caller is dropped while the message waits, `do_send` ignores the mailbox's capacity, and `try_send` bounds what one clone of
//! an address sends, not what all of them do (all found by running them): so what waits is counted here, and bounded by the
//! count. An [`Ask`] carries its own reply channel, and counts as waiting until it is handled.

use std::{
    sync::{Arc, PoisonError, RwLock},
    time::{Duration, Instant},
};

use actix::{Actor, Addr, Context, Handler, Message, Recipient, dev::ToEnvelope};
use tokio::sync::oneshot;

use crate::health::{Counted, Health, OfKind, Posted};

/// A question with its reply channel. Opened, it is its actor's to answer. Dropped unopened, as its actor ended before it came to
/// it, it goes back to its asker: nothing was done of it.
#[derive(Debug)]
pub struct Ask<Q, R> {
    /// None once it is opened.
    letter: Option<Letter<Q, R>>,
}

#[derive(Debug)]
struct Letter<Q, R> {
    question: Q,
    reply: oneshot::Sender<R>,
    /// None where the asker has the question itself.
    back: Option<oneshot::Sender<Q>>,
    posted: Posted,
}

impl<Q, R> Ask<Q, R> {
    /// A question that does not go back.
    pub const fn of(question: Q, reply: oneshot::Sender<R>, posted: Posted) -> Self {
        Self { letter: Some(Letter { question, reply, back: None, posted }) }
    }

    /// The question, the channel of its answer, and what counts it as waiting. Dropped unused, the channel tells the asker that the
    /// actor is gone.
    ///
    /// # Panics
    ///
    /// It was opened before, which nobody can who has it.
    pub fn open(mut self) -> (Q, oneshot::Sender<R>, Posted) {
        let letter = self.letter.take();
        let Some(Letter { question, reply, posted, back: _ }) = letter else { unreachable!("opening takes it") };
        (question, reply, posted)
    }
}

impl<Q, R> Drop for Ask<Q, R> {
    fn drop(&mut self) {
        let Some(Letter { question, reply, back, posted }) = self.letter.take() else { return };
        if back.is_some_and(|back| back.send(question).is_ok()) {
            posted.goes_back();
        }
        // The asker looks for the question once this is closed.
        drop(reply);
    }
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
    /// There is nobody to ask: the question was not handled.
    #[error("nobody to ask")]
    Nobody,
}

/// The most lives of an actor that are asked: each but the last had ended before it came to the question.
const LIVES: usize = 3;

/// Asks an actor, and waits at most `deadline`. `find` finds its address, and counts the question as waiting there; it may say that
/// there is nobody to ask. Once posted, the question is handled even if the asker goes away. Where the actor ends before it comes
/// to it, its next life is asked.
///
/// # Errors
///
/// [`Full`](AskError::Full) or [`Nobody`](AskError::Nobody) where the question was not handled: the caller may ask again.
/// [`Gone`](AskError::Gone) or [`Late`](AskError::Late) where the question may have been handled: the caller must look before
/// it repeats an act.
pub async fn ask<A, Q, R>(
    find: impl Fn() -> Option<(Addr<A>, Posted)>,
    mut question: Q,
    deadline: Duration,
) -> Result<R, AskError>
where
    A: Actor + Handler<Ask<Q, R>> + OfKind,
    A::Context: ToEnvelope<A, Ask<Q, R>>,
    Q: Send + 'static,
    R: Send + 'static,
{
    let late_at = Instant::now() + deadline;
    for _ in 0..LIVES {
        let Some((address, posted)) = find() else { return Err(AskError::Nobody) };
        if posted.depth() > A::MAILBOX {
            posted.refused();
            return Err(AskError::Full);
        }
        if !address.connected() {
            break;
        }
        let ((reply, answer), (back, mut returned)) = (oneshot::channel(), oneshot::channel());
        let letter = Letter { question, reply, back: Some(back), posted: posted.named(name_of::<Q>()) };
        if let Err(actix::prelude::SendError::Full(mut ask)) = address.try_send(Ask { letter: Some(letter) }) {
            if let Some(letter) = ask.letter.take() {
                letter.posted.refused();
            }
            return Err(AskError::Full);
        }
        match tokio::time::timeout_at(late_at.into(), answer).await {
            Ok(Ok(answer)) => return Ok(answer),
            Ok(Err(_)) => question = returned.try_recv().map_err(|_| AskError::Gone)?,
            Err(_) => return Err(AskError::Late),
        }
    }
    Err(AskError::Gone)
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
        ask(|| Some((self.address(), self.posted())), question, deadline).await
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

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

        fn handle(&mut self, ask: Ask<(), ()>, _: &mut Self::Context) {
            let ((), reply, posted) = ask.open();
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
    async fn what_an_actor_had_not_opened_as_it_ended_its_next_life_is_asked_and_what_it_had_is_not() {
        let health = Health::default();
        let elsewhere = actix::Arbiter::new();
        let (work, orders) = mpsc::channel();
        let first = Clerk::start_in_arbiter(&elsewhere.handle(), |_| Clerk(orders));
        let post = Handle::new(first, &health, "clerk");
        let asked: Vec<_> = (0..4)
            .map(|_| {
                let post = post.clone();
                tokio::spawn(async move { post.ask((), DEADLINE).await })
            })
            .collect();
        while health.observe_kind(Kind::Payment).mailbox_depth < 4 {
            tokio::task::yield_now().await;
        }
        // Its successor is there before it dies.
        let (next_work, orders) = mpsc::channel();
        let again = actix::Arbiter::new();
        post.replace(Clerk::start_in_arbiter(&again.handle(), |_| Clerk(orders)));
        (0..3).for_each(|_| next_work.send(Work::Answer).unwrap());
        work.send(Work::Die).unwrap();
        let mut answers = Vec::new();
        for asked in asked {
            answers.push(asked.await.unwrap());
        }
        answers.sort_by_key(Result::is_err);
        assert_eq!(answers, [Ok(()), Ok(()), Ok(()), Err(AskError::Gone)]);
        let seen = health.observe_kind(Kind::Payment);
        assert_eq!((seen.lost, seen.handled, seen.mailbox_depth), (1, 3, 0));
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
