//! Card charges: takes a pending payment whose row is durable, has the processor charge it, and tells the account what
//! came of it. Knows no rule of money. A payment repeated (after a crash) is charged under the same id.

use std::time::Instant;

use actix::{Actor, AsyncContext, Context, Handler, Message};
use billing::{command::Command, ids::AccountId, payment::Payment};

use crate::{
    account,
    card::{Outcome, sandbox},
    directory::Directory,
    health::{Kind, Obituary},
};

/// Charge this, and tell its account. Bounded by the accounts' pending payments.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct Charge {
    /// Whose.
    pub account_id: AccountId,
    /// What.
    pub payment: Payment,
}

/// Where to find accounts: set once both are there.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct Meet(pub Directory);

/// The actor.
#[derive(Debug)]
pub struct PaymentActor {
    directory: Option<Directory>,
    /// Charges that came before the directory.
    early: Vec<Charge>,
    _obituary: Obituary,
}

impl PaymentActor {
    /// A new life.
    pub const fn new(directory: Option<Directory>, obituary: Obituary) -> Self {
        Self { directory, early: Vec::new(), _obituary: obituary }
    }
}

impl Actor for PaymentActor {
    type Context = Context<Self>;
}

impl Handler<Meet> for PaymentActor {
    type Result = ();

    fn handle(&mut self, Meet(directory): Meet, ctx: &mut Self::Context) {
        self.directory = Some(directory);
        for charge in self.early.drain(..) {
            ctx.notify(charge);
        }
    }
}

impl Handler<Charge> for PaymentActor {
    type Result = ();

    fn handle(&mut self, charge: Charge, _: &mut Self::Context) {
        let began = Instant::now();
        let Some(directory) = &self.directory else {
            self.early.push(charge);
            return;
        };
        let payment_id = charge.payment.id;
        let command = match sandbox::charge(&charge.payment.method) {
            Outcome::Succeeded => {
                let grant_id = account::new_grant_id();
                Command::PaymentSucceeded { payment_id, grant_id, reference: None }
            }
            Outcome::Declined(decline_code) => Command::PaymentDeclined { payment_id, decline_code },
        };
        directory.post(charge.account_id, command);
        directory.health().handled(Kind::Payment, began, began);
    }
}
