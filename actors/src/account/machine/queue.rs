//! The line of requests that wait to be admitted: for credits or permits that are being bought, or, where their client
//! allows it, for a permit or the rate limit; and of running requests that wait for the permit that they gave back. First
//! come, first served: no request that needs a permit overtakes another that does. The line knows no rule and no clock; it tells which requests may be tried again, and the machine
//! tries them. Its times are those of [`Moment::elapsed`](super::port::Moment).

use std::{collections::VecDeque, time::Duration};

use billing::{
    command::{Admit, Answer, Refusal, Scale},
    ids::RequestId,
};

use super::{super::Entered, port::Askers};

/// The most waiting requests of one account, those excepted that run already.
pub const LINE: usize = 256;
/// How long a request waits for a purchase in flight (design, chapter 2.8).
pub const PURCHASE: Duration = Duration::from_secs(10);

/// The resource that a request waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum For {
    /// Credits.
    Credits,
    /// Permits.
    Permits,
    /// The rate limit, which has room again after this time.
    Rate(Duration),
}

/// What a waiting request asks for.
pub(super) enum Wish<A: Askers> {
    /// To be admitted.
    Enter(Admit, A::Reply<Entered>),
    /// To go on: it runs, and gave its permit back.
    Resume(RequestId, A::Reply<Answer>),
}

/// A request that waits.
pub(super) struct Visitor<A: Askers> {
    pub(super) wish: Wish<A>,
    pub(super) came_at: Duration,
    /// The longest wait that the client allows.
    pub(super) max_wait: Duration,
    /// The request's place in the line when it joined.
    pub(super) place: Option<usize>,
}

impl<A: Askers> Visitor<A> {
    /// The resource that a refused request may wait for, and until when, if there is an end. A request that runs waits for
    /// its permit as long as it is waited for.
    pub(super) fn waits(&self, refusal: &Refusal) -> Option<(For, Option<Duration>)> {
        let asked_for = |what| (!self.max_wait.is_zero()).then_some((what, Some(self.came_at + self.max_wait)));
        let purchase = Some(self.came_at + PURCHASE.max(self.max_wait));
        match (refusal, &self.wish) {
            (Refusal::ConcurrencyLimit { .. }, Wish::Resume(..)) => Some((For::Permits, None)),
            (_, Wish::Resume(..)) => None,
            (Refusal::InsufficientCredits { reload_due: true, .. }, _) => Some((For::Credits, purchase)),
            (Refusal::ConcurrencyLimit { scale: Scale::Buying, .. }, _) => Some((For::Permits, purchase)),
            (Refusal::ConcurrencyLimit { .. }, _) => asked_for(For::Permits),
            (Refusal::RateLimit { retry_after_ms, .. }, _) => {
                asked_for(For::Rate(Duration::from_millis(retry_after_ms.unsigned_abs())))
            }
            _ => None,
        }
    }

    fn is_waited_for(&self) -> bool {
        match &self.wish {
            Wish::Enter(_, reply) => A::is_waited_for(reply),
            Wish::Resume(_, reply) => A::is_waited_for(reply),
        }
    }
}

struct Waiting<A: Askers> {
    visitor: Visitor<A>,
    what: For,
    until: Option<Duration>,
}

/// The line.
pub(super) struct Queue<A: Askers>(VecDeque<Waiting<A>>);

impl<A: Askers> Default for Queue<A> {
    fn default() -> Self {
        Self(VecDeque::new())
    }
}

impl<A: Askers> Queue<A> {
    /// Ends the line: whoever waits in it leaves.
    pub(super) fn leave(&mut self) -> impl Iterator<Item = Visitor<A>> {
        std::mem::take(&mut self.0).into_iter().map(|waiting| waiting.visitor)
    }

    /// The number of waiting requests.
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether a request waits for a permit.
    pub(super) fn has_permits_wanted(&self) -> bool {
        self.0.iter().any(|waiting| waiting.what == For::Permits)
    }

    /// Adds a request at the end. Returns the request where the line is full. There is room for those that run, which are
    /// bounded by what their account may use.
    pub(super) fn join(
        &mut self,
        mut visitor: Visitor<A>,
        what: For,
        until: Option<Duration>,
    ) -> Result<(), Box<Visitor<A>>> {
        if self.0.len() >= LINE && matches!(visitor.wish, Wish::Enter(..)) {
            return Err(Box::new(visitor));
        }
        visitor.place.get_or_insert(self.0.len() + 1);
        self.0.push_back(Waiting { visitor, what, until });
        Ok(())
    }

    /// Takes all requests out, in order, to be tried again.
    pub(super) fn call(&mut self) -> Trial<A> {
        Trial { left: std::mem::take(&mut self.0), blocked: Vec::new() }
    }
}

/// The line while its requests are tried.
pub(super) struct Trial<A: Askers> {
    left: VecDeque<Waiting<A>>,
    blocked: Vec<For>,
}

/// The next request of a trial.
pub(super) enum Next<A: Askers> {
    /// To be tried. Refused again, the request keeps waiting.
    Try(Visitor<A>),
    /// The wait is over: the request gets the refusal of now.
    Late(Visitor<A>),
}

impl<A: Askers> Trial<A> {
    /// The next request to try. Requests behind one that was refused for the same resource keep their places untried.
    pub(super) fn next(&mut self, line: &mut Queue<A>, now: Duration) -> Option<Next<A>> {
        while let Some(waiting) = self.left.pop_front() {
            if !waiting.visitor.is_waited_for() {
                // The client has left.
            } else if waiting.until.is_some_and(|until| now >= until) {
                return Some(Next::Late(waiting.visitor));
            } else if self.is_blocked(waiting.what) {
                line.0.push_back(waiting);
            } else {
                return Some(Next::Try(waiting.visitor));
            }
        }
        None
    }

    /// Puts a request back that was refused again.
    pub(super) fn keep(&mut self, line: &mut Queue<A>, visitor: Visitor<A>, what: For, until: Option<Duration>) {
        self.blocked.push(what);
        line.0.push_back(Waiting { visitor, what, until });
    }

    fn is_blocked(&self, what: For) -> bool {
        self.blocked.iter().any(|blocked| std::mem::discriminant(blocked) == std::mem::discriminant(&what))
    }
}
