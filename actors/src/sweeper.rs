//! Work that is due without a request: credits that expire, and holds and payments left by a process that died. The
//! sweeper only wakes the accounts concerned; they decide. It is also the only timer of all live accounts.

use std::{
    collections::HashSet,
    time::{Duration, Instant},
};

use actix::{Actor, ActorContext, ActorFutureExt, AsyncContext, Context, Handler, WrapFuture};
use billing::{Timestamp, command::Command, ids::AccountId};
use futures::{StreamExt, stream};
use ledger::{Ledger, LedgerError, idempotency::KeyChange, log::Shard};
use runtime::exit::ExitGuard;
use runtime::health::{Kind, OfKind, Verdict};
use runtime::supervisor::Retire;

use crate::accounts::Accounts;

/// How often the sweeper looks.
const EVERY: Duration = Duration::from_secs(1);
/// The most accounts read at once.
const MOST: u64 = 1_000;
/// Accounts woken at once: enough to share batches, few enough to leave room for requests.
const AT_ONCE: usize = 64;
/// Idempotency keys deleted in one transaction, and transactions a look: each is short, and a day's keys fit.
const KEYS: u32 = 200;
const KEY_BATCHES: u32 = 20;

/// The actor.
#[derive(Debug)]
pub struct Sweeper {
    accounts: Accounts,
    looking: bool,
    ticking: bool,
    started: bool,
    _exit: ExitGuard,
}

impl Sweeper {
    /// A new life.
    pub const fn new(accounts: Accounts, exit: ExitGuard) -> Self {
        Self { accounts, looking: false, ticking: false, started: false, _exit: exit }
    }

    fn tick(&mut self, ctx: &mut Context<Self>) {
        if self.ticking {
            return;
        }
        self.ticking = true;
        let accounts = self.accounts.clone();
        let work = async move { accounts.tick().await };
        ctx.spawn(work.into_actor(self).map(|(), actor, _| actor.ticking = false));
    }

    fn fares(&self, trouble: Option<(Verdict, String)>) {
        self.accounts.health().trouble(Self::KIND, Self::KIND.name(), trouble);
    }

    fn look(&mut self, ctx: &mut Context<Self>) {
        if self.looking {
            return;
        }
        self.looking = true;
        let (accounts, first) = (self.accounts.clone(), !self.started);
        let began = Instant::now();
        let work = async move {
            let ledger = accounts.ledger();
            if first {
                wake(&accounts, ledger.unfinished_accounts().await?).await;
            }
            // An account that could not be swept stays due: it is tried again at the next look, not at once.
            let mut seen = HashSet::new();
            loop {
                let due = ledger.due_accounts(accounts.clock().now(), MOST).await?;
                let fresh: Vec<_> = due.into_iter().filter(|account| seen.insert(*account)).collect();
                if fresh.is_empty() {
                    break;
                }
                wake(&accounts, fresh).await;
            }
            forget_keys(ledger, accounts.clock().now()).await
        };
        ctx.spawn(work.into_actor(self).map(move |result, actor, _| {
            actor.looking = false;
            match result {
                Ok(()) => {
                    actor.started = true;
                    actor.fares(None);
                }
                Err(error) => {
                    tracing::warn!(%error, "the sweeper could not look");
                    actor.fares(Some((Verdict::Degraded, format!("it could not look: {error}"))));
                }
            }
            actor.accounts.health().acted(Kind::Sweeper, began);
        }));
    }
}

/// Wakes the accounts of a shard that have unfinished work: they settle what an earlier owner left.
pub(crate) async fn wake_unfinished(accounts: &Accounts, shard: Shard) {
    let shards = accounts.ledger().shards();
    match accounts.ledger().unfinished_accounts().await {
        Ok(unfinished) => wake(accounts, unfinished.into_iter().filter(|id| shards.of(*id) == shard).collect()).await,
        Err(error) => tracing::warn!(shard = shard.0, %error, "unfinished work is taken up when it is due"),
    }
}

async fn wake(accounts: &Accounts, asleep: Vec<AccountId>) {
    let sweep = |account| async move {
        if let Err(error) = accounts.decide(account, Command::Sweep).await {
            tracing::warn!(account.id = %account, %error, "not swept");
        }
    };
    stream::iter(asleep).for_each_concurrent(AT_ONCE, sweep).await;
}

/// Deletes idempotency keys that are a day old, and responses that are kept no longer.
async fn forget_keys(ledger: &Ledger, now: Timestamp) -> Result<(), LedgerError> {
    for _ in 0..KEY_BATCHES {
        if ledger.change_key(KeyChange::Sweep { now, limit: KEYS }).await? < u64::from(KEYS) {
            break;
        }
    }
    ledger.sweep_responses(now, KEYS).await?;
    Ok(())
}

impl OfKind for Sweeper {
    const KIND: Kind = Kind::Sweeper;
}

impl Actor for Sweeper {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        self.look(ctx);
        ctx.run_interval(EVERY, Self::look);
        ctx.run_interval(EVERY, Self::tick);
    }
}

impl Handler<Retire> for Sweeper {
    type Result = ();

    fn handle(&mut self, _: Retire, ctx: &mut Self::Context) {
        ctx.stop();
    }
}
