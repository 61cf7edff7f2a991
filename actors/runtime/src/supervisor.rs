//! Starts the actors there is one of, and starts them again after a panic: actix's own `Supervisor` restarts what was
//! stopped, not what panicked. It learns of an end by the actor's [`ExitGuard`]; one that was asked to stop stays stopped.
//! How long it waits is the pure [`BackOff`]'s to say. Accounts are not its own: the directory makes a new one on the next
//! message. Nor is the journal, which is a thread.

pub mod back_off;

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use actix::{Actor, ActorFutureExt, Addr, ArbiterHandle, AsyncContext, Context, Handler, Message, WrapFuture};

use back_off::BackOff;

use crate::{
    exit::ExitGuard,
    health::{BEAT, ExitReason, Health, Kind, Name, OfKind, Posted},
    mailbox::{self, Handle},
};

/// An actor ended and should be there. One a life.
#[derive(Message)]
#[rtype(result = "()")]
struct Restart {
    wait: Duration,
    start: Box<dyn FnOnce() + Send>,
    posted: Posted,
}

/// The actor.
#[derive(Debug)]
pub struct Supervisor {
    exit: ExitGuard,
}

impl Supervisor {
    /// The supervisor.
    pub fn new(health: &Health) -> Self {
        Self { exit: ExitGuard::new(health, Kind::Supervisor, Name::Text("supervisor".into()), |_| {}) }
    }
}

struct Life<A: Actor> {
    supervisor: Addr<Supervisor>,
    arbiter: ArbiterHandle,
    health: Health,
    name: String,
    make: Box<dyn Fn(ExitGuard) -> A + Send + Sync>,
    post: Mutex<Option<Handle<A>>>,
    back_off: Mutex<BackOff>,
}

impl<A: Actor + OfKind> Life<A> {
    /// Notes that a life ended; how long to wait before the next.
    fn ended(&self, began: Instant, reason: ExitReason) -> Duration {
        let mut back_off = self.back_off.lock().unwrap_or_else(PoisonError::into_inner);
        let wait = back_off.ended(began.elapsed());
        let (kind, name, ends) = (A::KIND.name(), self.name.as_str(), back_off.short_lives());
        tracing::warn!(actor = kind, name, ?reason, ends, wait_ms = wait.as_millis(), "started again after a wait");
        wait
    }
}

/// Starts an actor under supervision. `make` builds each of its lives; the post gives the address of the current one.
pub fn supervise<A: Actor<Context = Context<A>> + OfKind + Send>(
    supervisor: &Addr<Supervisor>,
    arbiter: ArbiterHandle,
    health: &Health,
    name: &str,
    make: impl Fn(ExitGuard) -> A + Send + Sync + 'static,
) -> Handle<A> {
    let life = Arc::new(Life {
        supervisor: supervisor.clone(),
        arbiter,
        health: health.clone(),
        name: name.to_owned(),
        make: Box::new(make),
        post: Mutex::new(None),
        back_off: Mutex::default(),
    });
    let mut slot = life.post.lock().unwrap_or_else(PoisonError::into_inner);
    let post = Handle::new(begin(&life), health, name);
    *slot = Some(post.clone());
    drop(slot);
    post
}

fn begin<A: Actor<Context = Context<A>> + OfKind + Send>(life: &Arc<Life<A>>) -> Addr<A> {
    let (next, began) = (Arc::clone(life), Instant::now());
    let exit = ExitGuard::new(&life.health, A::KIND, Name::Text(life.name.clone()), move |reason| match reason {
        ExitReason::Stopped => {}
        ExitReason::Panicked | ExitReason::Failed => {
            let (again, wait) = (Arc::clone(&next), next.ended(began, reason));
            let start = Box::new(move || {
                if let Some(post) = &*again.post.lock().unwrap_or_else(PoisonError::into_inner) {
                    post.replace(begin(&again));
                }
            });
            let posted = next.health.posted(Supervisor::KIND);
            mailbox::tell(&next.supervisor, Restart { wait, start, posted });
        }
    });
    let own = Arc::clone(life);
    A::start_in_arbiter(&life.arbiter, move |ctx| {
        let beating = Arc::clone(&own);
        beating.health.beats(A::KIND, &beating.name);
        // Through the actor's own context: one that is stuck gives no sign of life.
        ctx.run_interval(BEAT, move |_, _| beating.health.beats(A::KIND, &beating.name));
        (own.make)(exit)
    })
}

impl OfKind for Supervisor {
    const KIND: Kind = Kind::Supervisor;
}

impl Actor for Supervisor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        let health = self.exit.health().clone();
        health.beats(Self::KIND, Self::KIND.name());
        ctx.run_interval(BEAT, move |_, _| health.beats(Self::KIND, Self::KIND.name()));
    }
}

impl Handler<Restart> for Supervisor {
    type Result = ();

    fn handle(&mut self, Restart { wait, start, posted }: Restart, ctx: &mut Self::Context) {
        let began = Instant::now();
        let wait = tokio::time::sleep(wait).into_actor(self);
        ctx.spawn(wait.map(move |(), _: &mut Self, _| start()));
        posted.handled(began);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    /// Dies as it starts, for as long as it is to.
    struct Unlucky {
        is_dying: bool,
        _exit: ExitGuard,
    }

    impl OfKind for Unlucky {
        const KIND: Kind = Kind::Payment;
    }

    impl Actor for Unlucky {
        type Context = Context<Self>;

        fn started(&mut self, _: &mut Self::Context) {
            assert!(!self.is_dying, "unlucky");
        }
    }

    #[actix::test]
    async fn one_that_dies_at_start_is_started_ever_later_until_it_lives() {
        const DEATHS: usize = 5;
        let health = Health::default();
        let chief = Supervisor::new(&health).start();
        let (lives, counted) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let seen = Arc::clone(&counted);
        let make = move |exit| {
            seen.fetch_add(1, Ordering::SeqCst);
            Unlucky { is_dying: lives.fetch_add(1, Ordering::SeqCst) < DEATHS, _exit: exit }
        };
        let began = Instant::now();
        let elsewhere = actix::Arbiter::new();
        let post = supervise(&chief, elsewhere.handle(), &health, "unlucky", make);
        while counted.load(Ordering::SeqCst) <= DEATHS || !post.address().connected() {
            assert!(began.elapsed() < Duration::from_secs(30), "{} lives", counted.load(Ordering::SeqCst));
            tokio::task::yield_now().await;
        }
        // 50, 100, 200, 400 and 800 ms.
        assert!(began.elapsed() >= back_off::FIRST * 31, "{:?}", began.elapsed());
        assert_eq!(health.observe_kind(Kind::Payment).panics, DEATHS as u64);
    }
}
