//! What must happen though nobody asks: credits that expire, holds and payments left behind by a process that died. It
//! only wakes the accounts concerned; they decide.

use std::time::{Duration, Instant};

use actix::{Actor, ActorFutureExt, AsyncContext, Context, WrapFuture};
use billing::{Timestamp, command::Command};

use crate::{
    directory::Directory,
    health::{Kind, Obituary},
    ledger::{Ledger, LedgerError, idempotency::KeyChange},
};

/// How often it looks.
const EVERY: Duration = Duration::from_secs(1);
/// Accounts woken at once, at most.
const MOST: u64 = 500;
/// Idempotency keys deleted in one transaction, and transactions a look, at most: each is short, and a day's keys fit.
const KEYS: u32 = 200;
const KEY_BATCHES: u32 = 20;

/// The actor.
#[derive(Debug)]
pub struct Sweeper {
    directory: Directory,
    looking: bool,
    started: bool,
    _obituary: Obituary,
}

impl Sweeper {
    /// A new life.
    pub const fn new(directory: Directory, obituary: Obituary) -> Self {
        Self { directory, looking: false, started: false, _obituary: obituary }
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
            forget_keys(ledger, directory.clock().now()).await
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

/// Frees idempotency keys that were kept for their day.
async fn forget_keys(ledger: &Ledger, now: Timestamp) -> Result<(), LedgerError> {
    for _ in 0..KEY_BATCHES {
        if ledger.change_key(KeyChange::Sweep { now, limit: KEYS }).await? < u64::from(KEYS) {
            break;
        }
    }
    Ok(())
}

impl Actor for Sweeper {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        self.look(ctx);
        ctx.run_interval(EVERY, Self::look);
    }
}
