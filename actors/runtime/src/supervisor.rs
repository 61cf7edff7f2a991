//! Starts the actors of which there is one, and restarts them after a panic: actix's own `Supervisor` restarts actors
//! that were stopped, not actors that panicked. An actor's [`ExitGuard`] reports its end; an actor that was asked to
//! stop stays stopped. The pure [`BackOff`] decides how long to wait. Not supervised here: accounts, which `accounts`
//! makes anew on the next message, and the journal, which is a thread.

pub mod back_off;

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use actix::{
    Actor, ActorFutureExt, Addr, ArbiterHandle, AsyncContext, Context, Handler, Message, WrapFuture,
    dev::channel::{AddressReceiver, channel},
};

use back_off::BackOff;

use crate::{
    exit::ExitGuard,
    health::{BEAT, ExitReason, Health, Kind, Name, OfKind, Posted},
    mailbox::{self, Handle},
};

/// Asks for a new life of an actor. One a life.
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
    handle: Handle<A>,
    back_off: Mutex<BackOff>,
    /// The number of the life that has the place.
    current: Mutex<u64>,
}

impl<A: Actor + OfKind> Life<A> {
    /// The number of the life that has the place.
    fn current(&self) -> u64 {
        *self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Gives the place of a life to a new one, and returns its number; none where another has it already.
    fn succeed(&self, number: u64) -> Option<u64> {
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        if *current != number {
            return None;
        }
        *current += 1;
        Some(*current)
    }

    /// Notes that a life ended, and returns how long to wait before the next.
    fn ended(&self, began: Instant, reason: ExitReason) -> Duration {
        let mut back_off = self.back_off.lock().unwrap_or_else(PoisonError::into_inner);
        let wait = back_off.ended(began.elapsed());
        let (kind, name, ends) = (A::KIND.name(), self.name.as_str(), back_off.short_lives());
        tracing::warn!(actor = kind, name, ?reason, ends, wait_ms = wait.as_millis(), "started again after a wait");
        wait
    }
}

/// Starts an actor under supervision. `make` builds each of its lives. The handle gives the address of the current
/// life.
pub fn supervise<A: Actor<Context = Context<A>> + OfKind + Send>(
    supervisor: &Addr<Supervisor>,
    arbiter: ArbiterHandle,
    health: &Health,
    name: &str,
    make: impl Fn(ExitGuard) -> A + Send + Sync + 'static,
) -> Handle<A> {
    Vacancy::new(health, name).fill(supervisor, arbiter, make)
}

/// The place of an actor that is not started yet. Its handle exists already, and messages to it wait for the first
/// life. For actors that need each other: one is made with the other's handle.
pub struct Vacancy<A: Actor> {
    health: Health,
    name: String,
    handle: Handle<A>,
    mailbox: AddressReceiver<A>,
}

impl<A: Actor> std::fmt::Debug for Vacancy<A> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Vacancy").field("name", &self.name).finish_non_exhaustive()
    }
}

impl<A: Actor<Context = Context<A>> + OfKind + Send> Vacancy<A> {
    /// A place of this name.
    pub fn new(health: &Health, name: &str) -> Self {
        let (address, mailbox) = open_mailbox();
        Self { health: health.clone(), name: name.to_owned(), handle: Handle::new(address, health, name), mailbox }
    }

    /// The handle of the actor to come.
    pub const fn handle(&self) -> &Handle<A> {
        &self.handle
    }

    /// Starts the actor under supervision, as [`supervise`] does.
    pub fn fill(
        self,
        supervisor: &Addr<Supervisor>,
        arbiter: ArbiterHandle,
        make: impl Fn(ExitGuard) -> A + Send + Sync + 'static,
    ) -> Handle<A> {
        self.begun(supervisor, arbiter, make).handle.clone()
    }

    /// The same, with an actor of which a new life may take the place while it works, as [`supervise_replaceable`] does.
    pub fn fill_replaceable(
        self,
        supervisor: &Addr<Supervisor>,
        arbiter: ArbiterHandle,
        make: impl Fn(ExitGuard) -> A + Send + Sync + 'static,
    ) -> Handle<A>
    where
        A: Handler<Retire>,
    {
        let (health, name) = (self.health.clone(), self.name.clone());
        let life = self.begun(supervisor, arbiter, make);
        let handle = life.handle.clone();
        health.is_replaceable(A::KIND, &name, move || {
            let old = life.handle.address();
            let current = life.current();
            // One that has died is started again by the supervisor: two that began at once would both stay.
            if !old.connected() {
                return false;
            }
            let Some(next) = life.succeed(current) else { return false };
            let (address, mailbox) = open_mailbox();
            begin(&life, next, mailbox);
            life.handle.replace(address);
            mailbox::tell(&old, Retire);
            true
        });
        handle
    }

    fn begun(
        self,
        supervisor: &Addr<Supervisor>,
        arbiter: ArbiterHandle,
        make: impl Fn(ExitGuard) -> A + Send + Sync + 'static,
    ) -> Arc<Life<A>> {
        let Self { health, name, handle, mailbox } = self;
        let life = Arc::new(Life {
            supervisor: supervisor.clone(),
            arbiter,
            health,
            name,
            make: Box::new(make),
            handle,
            back_off: Mutex::default(),
            current: Mutex::default(),
        });
        begin(&life, life.current(), mailbox);
        life
    }
}

/// How long a life whose place was taken goes on at least, if it is asked for answers: who had its address before may post still.
pub const LINGERS: Duration = Duration::from_secs(1);

/// Asks an actor to end, once it has handled what was posted before: a new life has taken its place.
#[derive(Debug, Clone, Copy, Message)]
#[rtype(result = "()")]
pub struct Retire;

/// Starts an actor under supervision, as [`supervise`] does, of which a new life may take the place while it works
/// ([`Health::replace`]): the new life is there before the old one ends, and the old one handles what it was asked before. For
/// actors of which two may live side by side for a moment. One that is asked for answers ends [`LINGERS`] later at the earliest.
pub fn supervise_replaceable<A: Actor<Context = Context<A>> + OfKind + Send + Handler<Retire>>(
    supervisor: &Addr<Supervisor>,
    arbiter: ArbiterHandle,
    health: &Health,
    name: &str,
    make: impl Fn(ExitGuard) -> A + Send + Sync + 'static,
) -> Handle<A> {
    Vacancy::new(health, name).fill_replaceable(supervisor, arbiter, make)
}

/// The capacity of a mailbox until its actor sets another: actix's default.
const MAILBOX: usize = 16;

fn open_mailbox<A: Actor>() -> (Addr<A>, AddressReceiver<A>) {
    let (sender, receiver) = channel(MAILBOX);
    (Addr::new(sender), receiver)
}

/// Begins a life that reads this mailbox. If it dies, and no other has taken its place, the next one is started.
fn begin<A: Actor<Context = Context<A>> + OfKind + Send>(
    life: &Arc<Life<A>>,
    number: u64,
    mailbox: AddressReceiver<A>,
) {
    let (next, began) = (Arc::clone(life), Instant::now());
    let exit = ExitGuard::new(&life.health, A::KIND, Name::Text(life.name.clone()), move |reason| match reason {
        ExitReason::Stopped => {}
        ExitReason::Panicked | ExitReason::Failed if next.current() != number => {
            tracing::warn!(actor = A::KIND.name(), name = next.name, ?reason, "died after another life had its place");
        }
        ExitReason::Panicked | ExitReason::Failed => {
            let (again, wait) = (Arc::clone(&next), next.ended(began, reason));
            let start = Box::new(move || {
                let Some(following) = again.succeed(number) else { return };
                let (address, mailbox) = open_mailbox();
                begin(&again, following, mailbox);
                again.handle.replace(address);
            });
            let posted = next.health.posted(Supervisor::KIND).named("Restart");
            mailbox::tell(&next.supervisor, Restart { wait, start, posted });
        }
    });
    let own = Arc::clone(life);
    life.arbiter.spawn_fn(move || {
        let mut ctx = Context::with_receiver(mailbox);
        let beating = Arc::clone(&own);
        beating.health.beats(A::KIND, &beating.name);
        // Through the actor's own context: a stuck actor gives no sign of life.
        ctx.run_interval(BEAT, move |_: &mut A, _| beating.health.beats(A::KIND, &beating.name));
        ctx.run((own.make)(exit));
    });
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

    fn handle(&mut self, Restart { wait, start, mut posted }: Restart, ctx: &mut Self::Context) {
        let began = posted.begins();
        let wait = tokio::time::sleep(wait).into_actor(self);
        ctx.spawn(wait.map(move |(), _: &mut Self, _| start()));
        posted.handled(began);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    /// Panics as it starts, for a number of lives.
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

    /// Returns how many messages it handled.
    struct Counter {
        told: Arc<AtomicUsize>,
        _exit: ExitGuard,
    }

    #[derive(Message)]
    #[rtype(result = "()")]
    struct Told;

    impl OfKind for Counter {
        const KIND: Kind = Kind::Payment;
    }

    impl Actor for Counter {
        type Context = Context<Self>;
    }

    impl Handler<Told> for Counter {
        type Result = ();

        fn handle(&mut self, _: Told, _: &mut Self::Context) {
            self.told.fetch_add(1, Ordering::SeqCst);
        }
    }

    #[actix::test]
    async fn what_a_vacancy_is_told_waits_for_the_first_life() {
        const MORE_THAN_FITS: usize = MAILBOX * 4;
        let (health, told) = (Health::default(), Arc::new(AtomicUsize::new(0)));
        let chief = Supervisor::new(&health).start();
        let vacancy = Vacancy::<Counter>::new(&health, "counter");
        for _ in 0..MORE_THAN_FITS {
            mailbox::tell(&vacancy.handle().address(), Told);
        }
        let counted = Arc::clone(&told);
        let make = move |exit| Counter { told: Arc::clone(&counted), _exit: exit };
        let _handle = vacancy.fill(&chief, actix::Arbiter::current(), make);
        let began = Instant::now();
        while told.load(Ordering::SeqCst) < MORE_THAN_FITS {
            assert!(began.elapsed() < Duration::from_secs(10), "{} told", told.load(Ordering::SeqCst));
            tokio::task::yield_now().await;
        }
    }

    impl Handler<Retire> for Counter {
        type Result = ();

        fn handle(&mut self, _: Retire, ctx: &mut Self::Context) {
            actix::ActorContext::stop(ctx);
        }
    }

    #[actix::test]
    async fn a_new_life_takes_the_place_of_one_that_handles_what_it_was_told_before() {
        const EACH: usize = MAILBOX * 4;
        let (health, told) = (Health::default(), Arc::new(AtomicUsize::new(0)));
        let chief = Supervisor::new(&health).start();
        let counted = Arc::clone(&told);
        let make = move |exit| Counter { told: Arc::clone(&counted), _exit: exit };
        let handle = supervise_replaceable(&chief, actix::Arbiter::current(), &health, "counter", make);
        let began = Instant::now();
        let live = || health.observe_kind(Kind::Payment).live;
        for round in 1..=3 {
            let old = handle.address();
            for _ in 0..EACH {
                mailbox::tell(&old, Told);
            }
            health.replace(Kind::Payment, "counter").unwrap();
            assert!(handle.address() != old, "who asks from now on asks the new life");
            mailbox::tell(&handle.address(), Told);
            while told.load(Ordering::SeqCst) < round * (EACH + 1) || live() != 1 {
                assert!(began.elapsed() < Duration::from_secs(10), "{} told", told.load(Ordering::SeqCst));
                tokio::task::yield_now().await;
            }
        }
        let seen = health.seen();
        let seen = seen.iter().find(|seen| seen.name == "counter").unwrap();
        assert_eq!((seen.verdict, seen.restarts, seen.observed.lost), (crate::health::Verdict::Ok, 0, 0));
        assert_eq!(health.replace(Kind::Payment, "other"), Err(crate::health::NotReplaced::Unknown));
    }

    #[derive(Message)]
    #[rtype(result = "()")]
    struct Die;

    impl Handler<Die> for Counter {
        type Result = ();

        fn handle(&mut self, _: Die, _: &mut Self::Context) {
            panic!("told to die");
        }
    }

    #[actix::test]
    async fn a_life_that_dies_after_another_has_its_place_has_no_successor() {
        let (health, told, made) = (Health::default(), Arc::default(), Arc::new(AtomicUsize::new(0)));
        let chief = Supervisor::new(&health).start();
        let (counted, lives) = (Arc::clone(&told), Arc::clone(&made));
        let make = move |exit| {
            lives.fetch_add(1, Ordering::SeqCst);
            Counter { told: Arc::clone(&counted), _exit: exit }
        };
        let handle = supervise_replaceable(&chief, actix::Arbiter::current(), &health, "counter", make);
        mailbox::tell(&handle.address(), Die);
        health.replace(Kind::Payment, "counter").unwrap();
        let new = handle.address();
        tokio::time::sleep(back_off::FIRST * 4).await;
        let observed = health.observe_kind(Kind::Payment);
        assert_eq!((observed.panics, observed.live, made.load(Ordering::SeqCst)), (1, 1, 2));
        assert!(handle.address() == new && new.connected());
        mailbox::tell(&new, Die);
        let began = Instant::now();
        while made.load(Ordering::SeqCst) < 3 || told.load(Ordering::SeqCst) < 1 {
            assert!(began.elapsed() < Duration::from_secs(10), "the one that has the place is started again");
            mailbox::tell(&handle.address(), Told);
            tokio::time::sleep(Duration::from_millis(5)).await;
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
