//! What must happen though nobody asks: credits that expire, holds and payments left behind by a process that died. It
//! only wakes the accounts concerned; they decide. It is also the one timer of all accounts that live.

use std::time::{Duration, Instant};

use actix::{Actor, ActorFutureExt, AsyncContext, Context, WrapFuture};
use billing::command::Command;

use crate::{
    directory::Directory,
    health::{Kind, Obituary},
};

/// How often it looks.
const EVERY: Duration = Duration::from_secs(1);
/// Accounts woken at once, at most.
const MOST: u64 = 500;

/// The actor.
#[derive(Debug)]
pub struct Sweeper {
    directory: Directory,
    looking: bool,
    ticking: bool,
    started: bool,
    _obituary: Obituary,
}

impl Sweeper {
    /// A new life.
    pub const fn new(directory: Directory, obituary: Obituary) -> Self {
        Self { directory, looking: false, ticking: false, started: false, _obituary: obituary }
    }

    fn tick(&mut self, ctx: &mut Context<Self>) {
        if self.ticking {
            return;
        }
        self.ticking = true;
        let directory = self.directory.clone();
        let work = async move { directory.tick().await };
        ctx.spawn(work.into_actor(self).map(|(), actor, _| actor.ticking = false));
    }

    fn look(&mut self, ctx: &mut Context<Self>) {
        if self.looking {
            return;
        }
        self.looking = true;
        let (directory, first) = (self.directory.clone(), !self.started);
        let began = Instant::now();
        let work = async move {
            let ledger = directory.ledger();
            let mut due = ledger.due_accounts(directory.clock().now(), MOST).await?;
            if first {
                due.extend(ledger.unfinished_accounts().await?);
            }
            for account in due {
                // One at a time, so that a sweep never crowds out requests.
                if let Err(error) = directory.decide(account, Command::Sweep).await {
                    tracing::warn!(account.id = %account, %error, "not swept");
                }
            }
            Ok::<_, crate::ledger::LedgerError>(())
        };
        ctx.spawn(work.into_actor(self).map(move |result, actor, _| {
            actor.looking = false;
            match result {
                Ok(()) => actor.started = true,
                Err(error) => tracing::warn!(%error, "the sweeper could not look"),
            }
            actor.directory.health().handled(Kind::Sweeper, began, began);
        }));
    }
}

impl Actor for Sweeper {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        self.look(ctx);
        ctx.run_interval(EVERY, Self::look);
        ctx.run_interval(EVERY, Self::tick);
    }
}
