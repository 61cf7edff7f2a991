//! One provider's actor: it gets the results of calls, keeps the circuit breakers of its endpoint and of its models, and
//! publishes on its [`ProviderHandle`] which calls may be made. Requests call through the handle and never wait for the actor. If the
//! actor dies, calls go on as last published.

pub mod breaker;
pub mod gates;
mod handle;
mod keys;
mod refusal;
mod retry;
mod secrets;

use std::{sync::Arc, time::Instant};

use actix::{Actor, ActorContext, AsyncContext, Context, Handler, Message};

use breaker::{Breakers, OPEN_FOR, Outcome, Trouble};
use gates::Gates;
pub use handle::{MOST_CALLS, ProviderHandle, ProviderSettings};
pub use keys::{WeightedKey, shares};
pub use refusal::is_spent;
use runtime::exit::ExitGuard;
use runtime::health::{Health, Kind, OfKind, Part, Posted, Verdict};
use runtime::supervisor::Retire;

/// The most messages in the mailbox: one a running call, which [`MOST_CALLS`] bounds.
const MAILBOX: usize = MOST_CALLS;
/// The most models that a provider's own reasons name; all are listed as its parts.
const MOST_NAMED: usize = 3;

/// An attempt of a call ended.
#[derive(Debug, Message)]
#[rtype(result = "()")]
struct Ended {
    model: Arc<str>,
    outcome: Outcome,
    /// Why it failed.
    why: String,
    posted: Posted,
}

/// The actor.
#[derive(Debug)]
pub struct ProviderActor {
    handle: ProviderHandle,
    breakers: Breakers,
    health: Health,
    _exit: ExitGuard,
}

impl ProviderActor {
    /// A new life, in which all calls go through again.
    pub fn new(handle: ProviderHandle, health: Health, exit: ExitGuard) -> Self {
        Self { handle, breakers: Breakers::default(), health, _exit: exit }
    }

    /// The provider's trouble, if there is any, and its models'.
    fn trouble(&self, gates: &Gates, now: Instant) -> (Option<(Verdict, String)>, Vec<Part>) {
        let (mut worst, mut reasons, mut parts, mut unnamed) = (Verdict::Ok, Vec::new(), Vec::new(), 0_usize);
        for trouble in self.breakers.troubles(gates) {
            let verdict = if trouble.left_alone.is_some() { Verdict::Down } else { Verdict::Degraded };
            let why = words(&trouble);
            let Some(model) = trouble.model else {
                (worst, reasons) = (verdict, vec![why]);
                continue;
            };
            // The other models answer.
            worst = worst.max(Verdict::Degraded);
            if parts.len() < MOST_NAMED {
                reasons.push(format!("{model}: {why}"));
            } else {
                unnamed += 1;
            }
            let ago = |at: Instant| now.saturating_duration_since(at);
            parts.push(Part {
                name: model.to_string(),
                verdict,
                why,
                since_ago: trouble.left_alone.map(|(since, _)| ago(since)),
                tried_in: trouble.left_alone.map(|(_, at)| at.saturating_duration_since(now)),
            });
        }
        if unnamed > 0 {
            reasons.push(format!("and {unnamed} models more"));
        }
        if worst == Verdict::Ok && !self.handle.has_key() {
            reasons.push("it has no API key here: callers send their own".to_owned());
        }
        ((!reasons.is_empty()).then(|| (worst, reasons.join("; "))), parts)
    }

    /// Publishes the breakers' state.
    fn publish(&self) {
        self.handle.publish(|before| self.breakers.gates(before));
        let (trouble, parts) = self.trouble(&self.handle.gates(), Instant::now());
        self.health.trouble(Kind::Provider, self.handle.name(), trouble);
        self.health.parts(Kind::Provider, self.handle.name(), parts);
    }
}

/// A trouble in words.
fn words(Trouble { model, failures, why, left_alone }: &Trouble) -> String {
    let failed = if model.is_some() { "failed" } else { "did not reach it" };
    let tried = if left_alone.is_some() {
        format!(": it is left alone, and tried every {} s", OPEN_FOR.as_secs())
    } else {
        String::new()
    };
    format!("the last {failures} calls {failed} ({why}){tried}")
}

impl OfKind for ProviderActor {
    const KIND: Kind = Kind::Provider;
}

impl Actor for ProviderActor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        ctx.set_mailbox_capacity(MAILBOX);
        self.handle.attend(ctx.address(), self.health.clone());
        self.publish();
    }
}

impl Handler<Ended> for ProviderActor {
    type Result = ();

    fn handle(&mut self, ended: Ended, _: &mut Self::Context) {
        let Ended { model, outcome, why, mut posted } = ended;
        let began = posted.begins();
        self.breakers.note(&model, outcome, why, began);
        self.publish();
        posted.handled(began);
    }
}

impl Handler<Retire> for ProviderActor {
    type Result = ();

    fn handle(&mut self, _: Retire, ctx: &mut Self::Context) {
        ctx.stop();
    }
}

#[cfg(test)]
mod tests {
    use super::{breaker::OPENS_AFTER, handle::Purpose, *};
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
            takes_own_keys: true,
            base_url: "http://127.0.0.1:9".into(),
            keys: key.and_then(WeightedKey::parse).into_iter().collect(),
            retries: 0,
            most_calls: MOST_CALLS,
            timeouts: Timeouts::default(),
        })
    }

    fn model(name: &str) -> Arc<str> {
        name.into()
    }

    async fn fail(actor: &actix::Addr<ProviderActor>, health: &Health, times: u32, name: &str, outcome: Outcome) {
        for _ in 0..times {
            let posted = health.posted(Kind::Provider);
            actor.send(Ended { model: model(name), outcome, why: "HTTP 503".into(), posted }).await.unwrap();
        }
    }

    /// Makes every trial due.
    fn wait(handle: &ProviderHandle) {
        handle.publish(|before| before.due(Instant::now()));
    }

    #[actix::test]
    async fn a_model_or_an_endpoint_that_keeps_failing_is_left_alone_then_tried() {
        let (handle, health) = (handle(), Health::default());
        let name = runtime::health::Name::Text("test".into());
        let exit = ExitGuard::new(&health, Kind::Provider, name, |_| {});
        let actor = ProviderActor::new(handle.clone(), health.clone(), exit).start();
        let begin = |name: &str, purpose| handle.begin(&model(name), None, 0, purpose).map(drop);
        let seen = || health.seen().into_iter().find(|seen| seen.name == "test").unwrap();
        fail(&actor, &health, OPENS_AFTER, "a", Outcome::ModelFailed).await;
        let Err(Failure::LeftAlone { whom, seconds }) = begin("a", Purpose::Answer) else { panic!("it is called") };
        assert!(whom == "a at test" && (1..=OPEN_FOR.as_secs() + 1).contains(&seconds), "{whom} {seconds}");
        assert!(begin("b", Purpose::Answer).is_ok(), "another model");
        let told = seen();
        assert_eq!((told.verdict, told.parts.len()), (Verdict::Degraded, 1));
        let part = &told.parts[0];
        assert_eq!((&*part.name, part.verdict, part.tried_at > Some(part.since)), ("a", Verdict::Down, true));
        assert_eq!(part.why, "the last 20 calls failed (HTTP 503): it is left alone, and tried every 5 s");
        wait(&handle);
        assert!(begin("a", Purpose::Count).is_err(), "a count is no trial");
        assert!(begin("a", Purpose::Answer).is_ok());
        assert!(begin("a", Purpose::Answer).is_err(), "one call until it is known to work");
        fail(&actor, &health, 1, "a", Outcome::Answered).await;
        assert!(begin("a", Purpose::Answer).is_ok());
        assert_eq!((seen().verdict, seen().parts.len()), (Verdict::Ok, 0));
        fail(&actor, &health, OPENS_AFTER, "a", Outcome::Unreached).await;
        let Err(Failure::LeftAlone { whom, .. }) = begin("b", Purpose::Answer) else { panic!("it is called") };
        assert_eq!((&*whom, seen().verdict), ("test", Verdict::Down));
        wait(&handle);
        assert!(begin("b", Purpose::Answer).is_ok());
        fail(&actor, &health, 1, "b", Outcome::Refused).await;
        assert!(begin("a", Purpose::Answer).is_ok() && begin("b", Purpose::Answer).is_ok(), "it was reached");
        assert_eq!(handle.running(), 0);
    }

    #[actix::test]
    async fn a_new_life_lets_all_calls_through_and_names_a_few_of_many() {
        let (handle, health) = (handle(), Health::default());
        let start = || {
            let name = runtime::health::Name::Text("test".into());
            let exit = ExitGuard::new(&health, Kind::Provider, name, |_| {});
            ProviderActor::new(handle.clone(), health.clone(), exit).start()
        };
        let actor = start();
        for name in ["a", "b", "c", "d", "e"] {
            fail(&actor, &health, OPENS_AFTER, name, Outcome::ModelFailed).await;
        }
        let told = health.seen().into_iter().find(|seen| seen.name == "test").unwrap();
        assert_eq!(told.parts.len(), 5);
        assert!(told.reasons[0].ends_with("; and 2 models more"), "{:?}", told.reasons);
        assert!(handle.begin(&model("a"), None, 0, Purpose::Answer).is_err());
        fail(&start(), &health, 0, "a", Outcome::Answered).await;
        let other = start();
        fail(&other, &health, 1, "a", Outcome::Refused).await;
        assert!(handle.begin(&model("a"), None, 0, Purpose::Answer).is_ok());
    }

    #[test]
    fn a_key_is_needed_ours_or_the_callers() {
        let handle = line_with(None);
        let Err(Failure::Invalid { field, message }) = handle.begin(&model("m"), None, 0, Purpose::Answer) else {
            panic!("called without a key")
        };
        assert_eq!((&*field, message.contains("test")), ("provider-key", true), "{message}");
        assert!(matches!(handle.begin(&model("m"), Some("a\nb"), 0, Purpose::Answer), Err(Failure::Invalid { .. })));
        assert!(handle.begin(&model("m"), Some("sk-own"), 0, Purpose::Answer).is_ok());
    }

    #[test]
    fn calls_are_bounded() {
        let handle = handle();
        let calls: Vec<_> =
            (0..MOST_CALLS).map(|_| handle.begin(&model("m"), None, 0, Purpose::Answer).unwrap()).collect();
        assert_eq!(handle.running(), MOST_CALLS);
        assert!(handle.begin(&model("m"), None, 0, Purpose::Answer).is_err());
        let counts: Vec<_> =
            (0..MOST_CALLS / 8).map(|_| handle.begin(&model("m"), None, 0, Purpose::Count).unwrap()).collect();
        assert!(handle.begin(&model("m"), None, 0, Purpose::Count).is_err());
        drop(calls);
        assert!(handle.begin(&model("m"), None, 0, Purpose::Answer).is_ok(), "counts take no place from answers");
        drop(counts);
        assert_eq!(handle.running(), 0);
    }
}
