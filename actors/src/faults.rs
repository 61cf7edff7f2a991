//! Faults that tests and developers ask for: an actor dies of a panic, and must come back by itself, or stands still with its
//! thread. Only builds with the
//! feature `faults` have them. The journal is a thread and takes no message: [`crate::journal::Journal::panic`].

use std::time::Duration;

use actix::{Handler, Message};

use crate::{
    account::AccountActor, delivery::DeliveryActor, payment::PaymentActor, pool::PoolActor, provider::ProviderActor,
};

/// Has an actor die of a panic.
#[derive(Debug, Clone, Copy, Message)]
#[rtype(result = "()")]
pub struct Panic;

/// Has an actor stand still for so long, and its thread with it.
#[derive(Debug, Clone, Copy, Message)]
#[rtype(result = "()")]
pub struct Freeze(pub Duration);

macro_rules! dies {
    ($($actor:ty),+) => {$(
        impl Handler<Panic> for $actor {
            type Result = ();

            fn handle(&mut self, _: Panic, _: &mut Self::Context) {
                panic!("asked to panic");
            }
        }

        impl Handler<Freeze> for $actor {
            type Result = ();

            fn handle(&mut self, Freeze(span): Freeze, _: &mut Self::Context) {
                std::thread::sleep(span);
            }
        }
    )+};
}

dies!(AccountActor, DeliveryActor, PaymentActor, PoolActor, ProviderActor);
