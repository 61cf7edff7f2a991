//! Faults that tests and developers ask for: an actor dies of a panic, and must come back by itself. Only builds with the
//! feature `faults` have them. The journal is a thread and takes no message: [`crate::journal::Journal::panic`].

use actix::{Handler, Message};

use crate::{
    account::AccountActor, delivery::DeliveryActor, payment::PaymentActor, pool::PoolActor, provider::ProviderActor,
};

/// Has an actor die of a panic.
#[derive(Debug, Clone, Copy, Message)]
#[rtype(result = "()")]
pub struct Panic;

macro_rules! dies {
    ($($actor:ty),+) => {$(
        impl Handler<Panic> for $actor {
            type Result = ();

            fn handle(&mut self, _: Panic, _: &mut Self::Context) {
                panic!("asked to panic");
            }
        }
    )+};
}

dies!(AccountActor, DeliveryActor, PaymentActor, PoolActor, ProviderActor);
