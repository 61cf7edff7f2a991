//! One provider's actor: it gets the results of calls, keeps the circuit breaker, and publishes on its
//! [`ProviderHandle`] which calls may be made. Requests call through the handle and never wait for the actor. If the
//! actor dies, calls go on as last published.

mod breaker;
mod handle;
mod keys;
mod refusal;
mod retry;
mod secrets;

use std::time::{Duration, Instant};

use actix::{Actor, AsyncContext, Context, Handler, Message, SpawnHandle};

use breaker::Breaker;
use handle::Circuit;
pub use handle::{MOST_CALLS, ProviderHandle, ProviderSettings};
pub use keys::{WeightedKey, shares};
pub use refusal::is_spent;
use runtime::exit::ExitGuard;
use runtime::health::{Health, Kind, OfKind, Posted, Verdict};

/// The most messages in the mailbox: one a running call, which [`MOST_CALLS`] bounds.
const MAILBOX: usize = MOST_CALLS;
/// More failures in a row than by chance.
const TROUBLING: u32 = 3;
/// How long a failing provider is not called.
const OPEN_FOR: Duration = Duration::from_secs(5);

/// A call ended.
#[derive(Debug, Message)]
#[rtype(result = "()")]
struct Ended {
    failed: bool,
    posted: Posted,
}

/// The actor.
#[derive(Debug)]
pub struct ProviderActor {
    handle: ProviderHandle,
    breaker: Breaker,
    /// The timer that half opens the circuit, while it is open.
    trial: Option<SpawnHandle>,
    health: Health,
    _exit: ExitGuard,
}

impl ProviderActor {
    /// A new life, in which all calls go through again.
    pub fn new(handle: ProviderHandle, health: Health, exit: ExitGuard) -> Self {
        Self { handle, breaker: Breaker::default(), trial: None, health, _exit: exit }
    }

    /// The provider's trouble, if there is any.
    fn trouble(&self) -> Option<(Verdict, String)> {
        let failures = self.breaker.failures();
        if self.breaker.is_open() {
            let seconds = OPEN_FOR.as_secs();
            let why = format!("{failures} calls in a row failed: it is left alone, and tried every {seconds} s");
            return Some((Verdict::Down, why));
        }
        if failures >= TROUBLING {
            return Some((Verdict::Degraded, format!("the last {failures} calls failed")));
        }
        if !self.handle.has_key() {
            return Some((Verdict::Ok, "it has no API key here: callers send their own".to_owned()));
        }
        None
    }

    /// Publishes the breaker's state. While the breaker is open, one call is let through at the end of each period,
    /// until a call has succeeded.
    fn publish(&mut self, ctx: &mut Context<Self>) {
        self.health.trouble(Kind::Provider, self.handle.name(), self.trouble());
        if !self.breaker.is_open() {
            self.handle.publish(Circuit::Closed, self.breaker.is_troubled());
            if let Some(trial) = self.trial.take() {
                ctx.cancel_future(trial);
            }
        } else if self.trial.is_none() {
            self.handle.publish(Circuit::Open, true);
            self.trial = Some(ctx.run_interval(OPEN_FOR, |actor, _| actor.handle.publish(Circuit::HalfOpen, true)));
        }
    }
}

impl OfKind for ProviderActor {
    const KIND: Kind = Kind::Provider;
}

impl Actor for ProviderActor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        ctx.set_mailbox_capacity(MAILBOX);
        self.handle.attend(ctx.address(), self.health.clone());
        self.publish(ctx);
    }
}

impl Handler<Ended> for ProviderActor {
    type Result = ();

    fn handle(&mut self, ended: Ended, ctx: &mut Self::Context) {
        let began = Instant::now();
        self.breaker.note(ended.failed);
        self.publish(ctx);
        ended.posted.handled(began);
    }
}

#[cfg(test)]
mod tests {
    use super::{handle::Purpose, *};
    use upstream::Timeouts;
    use wire::inference::Failure;

    fn handle() -> ProviderHandle {
        line_with(Some("sk"))
    }

    fn line_with(key: Option<&str>) -> ProviderHandle {
        ProviderHandle::new(ProviderSettings {
            format: &wire::format::openai::OpenAi,
            name: "test".into(),
            key_header: None,
            base_url: "http://127.0.0.1:9".into(),
            keys: key.and_then(WeightedKey::parse).into_iter().collect(),
            retries: 0,
            most_calls: MOST_CALLS,
            timeouts: Timeouts::default(),
        })
    }

    #[actix::test]
    async fn a_provider_that_keeps_failing_is_left_alone_then_tried() {
        let (handle, health) = (handle(), Health::default());
        let actor = ProviderActor::new(
            handle.clone(),
            health.clone(),
            ExitGuard::new(&health, Kind::Provider, runtime::health::Name::Text("t".into()), |_| {}),
        )
        .start();
        for failed in std::iter::repeat_n(true, 20) {
            actor.send(Ended { failed, posted: health.posted(Kind::Provider) }).await.unwrap();
        }
        assert!(handle.begin(None, 0, Purpose::Answer).is_err());
        handle.publish(Circuit::HalfOpen, true);
        assert!(handle.begin(None, 0, Purpose::Count).is_err(), "a count is no trial");
        assert!(handle.begin(None, 0, Purpose::Answer).is_ok());
        assert!(handle.begin(None, 0, Purpose::Answer).is_err(), "one call until it is known to work");
        actor.send(Ended { failed: false, posted: health.posted(Kind::Provider) }).await.unwrap();
        assert!(handle.begin(None, 0, Purpose::Answer).is_ok());
        assert_eq!(handle.running(), 0);
    }

    #[test]
    fn a_key_is_needed_ours_or_the_callers() {
        let handle = line_with(None);
        let Err(Failure::Invalid { field, message }) = handle.begin(None, 0, Purpose::Answer) else {
            panic!("called without a key")
        };
        assert_eq!((&*field, message.contains("test")), ("provider-key", true), "{message}");
        assert!(matches!(handle.begin(Some("a\nb"), 0, Purpose::Answer), Err(Failure::Invalid { .. })));
        assert!(handle.begin(Some("sk-own"), 0, Purpose::Answer).is_ok());
    }

    #[test]
    fn calls_are_bounded() {
        let handle = handle();
        let calls: Vec<_> = (0..MOST_CALLS).map(|_| handle.begin(None, 0, Purpose::Answer).unwrap()).collect();
        assert_eq!(handle.running(), MOST_CALLS);
        assert!(handle.begin(None, 0, Purpose::Answer).is_err());
        let counts: Vec<_> = (0..MOST_CALLS / 8).map(|_| handle.begin(None, 0, Purpose::Count).unwrap()).collect();
        assert!(handle.begin(None, 0, Purpose::Count).is_err());
        drop(calls);
        assert!(handle.begin(None, 0, Purpose::Answer).is_ok(), "counts take no place from answers");
        drop(counts);
        assert_eq!(handle.running(), 0);
    }
}
