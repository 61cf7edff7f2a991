//! Starts the actors there is one of, and starts them again after a panic: actix's own `Supervisor` restarts what was
//! stopped, not what panicked. It learns of an end by the actor's [`Obituary`]; one that was asked to stop stays stopped.
//! Accounts are not its own: the directory makes a new one on the next message. Nor is the journal, which is a thread.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use actix::{Actor, ActorFutureExt, Addr, ArbiterHandle, AsyncContext, Context, Handler, Message, WrapFuture};

use crate::{
    health::{BEAT, ExitReason, Health, Kind, Name, Obituary, OfKind, Posted},
    mailbox::{self, Post},
};

/// How long a new actor waits after the last one's end.
const BACK_OFF: Duration = Duration::from_millis(50);

/// An actor ended and should be there. One a life.
#[derive(Message)]
#[rtype(result = "()")]
struct Restart {
    start: Box<dyn FnOnce() + Send>,
    posted: Posted,
}

/// The actor.
#[derive(Debug)]
pub struct Supervisor {
    obituary: Obituary,
}

impl Supervisor {
    /// The supervisor.
    pub fn new(health: &Health) -> Self {
        Self { obituary: Obituary::new(health, Kind::Supervisor, Name::Text("supervisor".into()), |_| {}) }
    }
}

struct Life<A: Actor> {
    supervisor: Addr<Supervisor>,
    arbiter: ArbiterHandle,
    health: Health,
    name: String,
    make: Box<dyn Fn(Obituary) -> A + Send + Sync>,
    post: Mutex<Option<Post<A>>>,
}

/// Starts an actor under supervision. `make` builds each of its lives; the post gives the address of the current one.
pub fn supervise<A: Actor<Context = Context<A>> + OfKind + Send>(
    supervisor: &Addr<Supervisor>,
    arbiter: ArbiterHandle,
    health: &Health,
    name: &str,
    make: impl Fn(Obituary) -> A + Send + Sync + 'static,
) -> Post<A> {
    let life = Arc::new(Life {
        supervisor: supervisor.clone(),
        arbiter,
        health: health.clone(),
        name: name.to_owned(),
        make: Box::new(make),
        post: Mutex::new(None),
    });
    let mut slot = life.post.lock().unwrap_or_else(PoisonError::into_inner);
    let post = Post::new(begin(&life), health, name);
    *slot = Some(post.clone());
    drop(slot);
    post
}

fn begin<A: Actor<Context = Context<A>> + OfKind + Send>(life: &Arc<Life<A>>) -> Addr<A> {
    let next = Arc::clone(life);
    let obituary = Obituary::new(&life.health, A::KIND, Name::Text(life.name.clone()), move |reason| match reason {
        ExitReason::Stopped => {}
        ExitReason::Panicked | ExitReason::Failed => {
            let again = Arc::clone(&next);
            let start = Box::new(move || {
                if let Some(post) = &*again.post.lock().unwrap_or_else(PoisonError::into_inner) {
                    post.replace(begin(&again));
                }
            });
            let posted = next.health.posted(Supervisor::KIND);
            mailbox::tell(&next.supervisor, Restart { start, posted });
        }
    });
    let own = Arc::clone(life);
    A::start_in_arbiter(&life.arbiter, move |ctx| {
        let beating = Arc::clone(&own);
        beating.health.beats(A::KIND, &beating.name);
        // Through the actor's own context: one that is stuck gives no sign of life.
        ctx.run_interval(BEAT, move |_, _| beating.health.beats(A::KIND, &beating.name));
        (own.make)(obituary)
    })
}

impl OfKind for Supervisor {
    const KIND: Kind = Kind::Supervisor;
}

impl Actor for Supervisor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        let health = self.obituary.health().clone();
        health.beats(Self::KIND, Self::KIND.name());
        ctx.run_interval(BEAT, move |_, _| health.beats(Self::KIND, Self::KIND.name()));
    }
}

impl Handler<Restart> for Supervisor {
    type Result = ();

    fn handle(&mut self, Restart { start, posted }: Restart, ctx: &mut Self::Context) {
        let began = Instant::now();
        let wait = tokio::time::sleep(BACK_OFF).into_actor(self);
        ctx.spawn(wait.map(move |(), _: &mut Self, _| start()));
        posted.handled(began);
    }
}
