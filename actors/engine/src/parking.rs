//! How an engine and a request's task settle that the request stands still. The engine parks it when its reader is slow.
//! While it is parked its task may give its permit back; then the engine does not go on before the task lets it. Where
//! the task did not, the engine goes on by itself. No account is known here, and no scheduler.

use std::sync::atomic::{AtomicU8, Ordering};

use tokio::sync::Notify;

/// The state of a request, as both sides see it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
enum State {
    /// It may run.
    Runs = 0,
    /// It stands still, and has its permit.
    Parked = 1,
    /// It stands still, and its permit was given back.
    GivenBack = 2,
    /// The same, and its reader has room again: it would go on.
    Wants = 3,
}

/// The agreement of one request.
#[derive(Debug, Default)]
pub struct Parking {
    state: AtomicU8,
    /// Notified when the engine changed the state.
    changed: Notify,
}

impl Parking {
    fn is(&self, state: State) -> bool {
        self.state.load(Ordering::Acquire) == state as u8
    }

    /// Changes the state, if it is the one that is expected.
    fn turn(&self, from: State, to: State) -> bool {
        self.state.compare_exchange(from as u8, to as u8, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }

    async fn becomes(&self, state: State) {
        loop {
            // Made before the state is looked at, so that no change is missed.
            let changed = self.changed.notified();
            if self.is(state) {
                return;
            }
            changed.await;
        }
    }

    /// The engine has parked the request: no step of it is on its way.
    pub fn park(&self) {
        if self.turn(State::Runs, State::Parked) {
            self.changed.notify_waiters();
        }
    }

    /// The reader of a parked request has room again. Returns whether the request may go on now. Where its permit was given
    /// back the task learns that it is wanted, and this is asked again until the task has let the request go on.
    pub fn may_go_on(&self) -> bool {
        if self.turn(State::Parked, State::Runs) {
            return true;
        }
        if self.turn(State::GivenBack, State::Wants) {
            self.changed.notify_waiters();
        }
        self.is(State::Runs)
    }

    /// Completes once the request is parked and has its permit.
    pub async fn parked(&self) {
        self.becomes(State::Parked).await;
    }

    /// Notes that the permit is about to be given back. Returns whether it may be: the request still stands still.
    pub fn give_back(&self) -> bool {
        self.turn(State::Parked, State::GivenBack)
    }

    /// Completes once a request whose permit was given back would go on.
    pub async fn wanted(&self) {
        self.becomes(State::Wants).await;
    }

    /// The permit is there again: the engine lets the request go on.
    pub fn go_on(&self) {
        self.turn(State::Wants, State::Runs);
    }
}

#[cfg(test)]
mod tests {
    use std::{
        pin::{Pin, pin},
        task::{Context, Poll, Waker},
    };

    use super::*;

    fn is_ready(future: &mut Pin<&mut impl Future<Output = ()>>) -> bool {
        future.as_mut().poll(&mut Context::from_waker(Waker::noop())) == Poll::Ready(())
    }

    #[test]
    fn a_request_whose_permit_is_kept_goes_on_by_itself() {
        let parking = Parking::default();
        let mut parked = pin!(parking.parked());
        assert!(!is_ready(&mut parked) && !parking.give_back(), "it runs");
        parking.park();
        assert!(is_ready(&mut parked));
        assert!(parking.may_go_on() && !parking.give_back(), "it runs again");
    }

    #[test]
    fn a_request_whose_permit_was_given_back_goes_on_once_its_task_lets_it() {
        let parking = Parking::default();
        parking.park();
        let mut wanted = pin!(parking.wanted());
        assert!(parking.give_back() && !parking.give_back(), "once");
        parking.go_on();
        assert!(!is_ready(&mut wanted), "its reader is slow");
        assert!(!parking.may_go_on() && !parking.may_go_on());
        assert!(is_ready(&mut wanted));
        parking.park();
        assert!(!parking.may_go_on(), "it has no permit");
        parking.go_on();
        assert!(parking.may_go_on());
    }
}
