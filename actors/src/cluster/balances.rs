//! Balances beyond this process. Each balance of an account here is told by Redis to the nodes that watch the account, where
//! there is a Redis; a node that does not hear all of that subscribes at the account's owner by the link. Either way a
//! watcher has the present balance first, and never an older one after a newer one.

use std::sync::Arc;

use billing::{account::Balance, ids::AccountId};
use bytes::Bytes;
use hints::{Hints, Number, Told, Watch};
use ledger::{Ledger, log::Shard};
use link::{Ask, Subscription};
use tokio::sync::mpsc;

use super::{neighbours::Neighbours, view::Owner};
use crate::{
    account::Live,
    accounts::{Accounts, BEHIND},
    context::Announces,
};

/// Tells balances of accounts here by Redis.
pub(super) struct ByRedis {
    pub(super) hints: Hints,
    pub(super) ledger: Arc<Ledger>,
}

impl Announces for ByRedis {
    fn balance(&self, account_id: AccountId, place: u64, balance: &Balance) {
        // What is not owned any more is told by its owner.
        let Some(epoch) = self.ledger.epoch(self.ledger.shards().of(account_id)) else { return };
        if let Ok(balance) = serde_json::to_vec(balance) {
            self.hints.tell_balance(account_id, Number { epoch, place }, balance.into());
        }
    }
}

/// A balance as the link carries it.
type Numbered = (i64, u64, Balance);

/// Tells another node the balances of an account here, until the account moves or the other node hears no more.
pub(super) fn tell(accounts: &Accounts, account_id: AccountId, epoch: i64) -> mpsc::Receiver<Bytes> {
    let (own, mut heard) = mpsc::channel(BEHIND);
    accounts.watch_here(account_id, own);
    let (tells, told) = mpsc::channel(BEHIND);
    tokio::spawn(async move {
        loop {
            let live = tokio::select! {
                live = heard.recv() => live,
                () = tells.closed() => return,
            };
            let Some(Live::Balance { place, balance }) = live else { return };
            let Ok(message) = serde_json::to_vec(&(epoch, place, &*balance)) else { return };
            // One that is too slow begins again, with the balance of then.
            if tells.try_send(message.into()).is_err() {
                return;
            }
        }
    });
    told
}

/// A watch of another node's account.
struct Watching {
    neighbours: Neighbours,
    shard: Shard,
    account_id: AccountId,
    owner: Owner,
    watcher: mpsc::Sender<Live>,
    by_redis: Option<Watch>,
    /// Whether all is heard by Redis.
    is_sighted: bool,
    by_link: Option<Subscription>,
    /// Whether the link is needed: until the present balance is known, or as long as not all is heard by Redis.
    needs_link: bool,
    newest: Option<Number>,
}

/// What ends a watch.
enum End {
    /// The account may be elsewhere.
    Moved,
    /// The watcher was too slow, or has gone.
    Left,
}

/// Tells the balances of another node's account to a watcher. No, where the watcher was too slow or has gone.
pub(super) async fn watch(
    neighbours: Neighbours,
    shard: Shard,
    account_id: AccountId,
    watcher: mpsc::Sender<Live>,
) -> bool {
    let Some(owner) = neighbours.other_owner(shard) else { return !watcher.is_closed() };
    let by_redis = neighbours.hints().and_then(|hints| hints.watch(account_id, owner.node));
    let watching = Watching {
        neighbours,
        shard,
        account_id,
        owner,
        watcher,
        by_redis,
        is_sighted: false,
        by_link: None,
        needs_link: true,
        newest: None,
    };
    matches!(watching.run().await, End::Moved)
}

impl Watching {
    async fn run(mut self) -> End {
        let mut moves = self.neighbours.moves();
        loop {
            if self.needs_link && self.by_link.is_none() {
                match self.subscribe().await {
                    Some(subscription) => self.by_link = Some(subscription),
                    None => return End::Moved,
                }
            }
            let numbered = tokio::select! {
                told = next_told(&mut self.by_redis) => self.hear(told),
                message = next_message(&mut self.by_link) => match message {
                    Some(numbered) => {
                        // The present balance, from which on Redis tells all.
                        self.needs_link = !self.is_sighted;
                        if !self.needs_link {
                            self.by_link = None;
                        }
                        Some(numbered)
                    }
                    None => return End::Moved,
                },
                changed = moves.changed() => {
                    if changed.is_err() || self.neighbours.other_owner(self.shard).as_ref() != Some(&self.owner) {
                        return End::Moved;
                    }
                    None
                }
                () = self.watcher.closed() => return End::Left,
            };
            if let Some((epoch, place, balance)) = numbered
                && !self.show(Number { epoch, place }, balance)
            {
                return End::Left;
            }
        }
    }

    /// Shows a balance, if it is newer than all before; no, where the watcher was too slow.
    fn show(&mut self, number: Number, balance: Balance) -> bool {
        if self.newest.is_some_and(|newest| newest >= number) {
            return true;
        }
        self.newest = Some(number);
        self.watcher.try_send(Live::Balance { place: number.place, balance: Arc::new(balance) }).is_ok()
    }

    fn hear(&mut self, told: Option<Told>) -> Option<Numbered> {
        match told {
            Some(Told::Balance(number, balance)) => {
                let balance = serde_json::from_slice(&balance).ok()?;
                return Some((number.epoch, number.place, balance));
            }
            Some(Told::Sighted) => {
                self.is_sighted = true;
                // What the link told before may be older than the first that Redis tells: a new subscription begins with
                // the balance of now.
                self.by_link = None;
                self.needs_link = true;
            }
            Some(Told::Blind) => {
                self.is_sighted = false;
                self.needs_link = true;
            }
            None => {
                self.by_redis = None;
                self.is_sighted = false;
                self.needs_link = true;
            }
        }
        None
    }

    async fn subscribe(&self) -> Option<Subscription> {
        let body = serde_json::to_vec(&self.account_id).ok()?;
        self.neighbours.subscribe(self.shard, &self.owner, body.into()).await
    }
}

/// What Redis tells next; never, where it is not listened to.
async fn next_told(watch: &mut Option<Watch>) -> Option<Told> {
    match watch {
        Some(watch) => watch.next().await,
        None => std::future::pending().await,
    }
}

/// What the link tells next; never, where nothing is subscribed. None, where it ended or is not understood.
async fn next_message(subscription: &mut Option<Subscription>) -> Option<Numbered> {
    match subscription {
        Some(subscription) => serde_json::from_slice(&subscription.next().await.ok()??).ok(),
        None => std::future::pending().await,
    }
}

/// Reads what a subscription asks for.
pub(super) fn asked(ask: &Ask) -> Option<AccountId> {
    serde_json::from_slice(&ask.body).ok()
}
