//! Who watches an account's balance, wherever the account is.

use std::time::Duration;

use billing::ids::AccountId;
use tokio::sync::mpsc;

use super::Accounts;
use crate::account::{Live, Subscribe};

/// Balances that a watcher may be behind.
pub(crate) const BEHIND: usize = 16;
/// How long after an account moved it is watched again.
const AGAIN: Duration = Duration::from_millis(50);

impl Accounts {
    /// Watches the balance of an account, wherever it is. A slow watcher is dropped, and learns it by its channel's end.
    pub fn watch(&self, id: AccountId, watcher: mpsc::Sender<Live>) {
        let Some(elsewhere) = self.elsewhere().cloned() else { return self.watch_here(id, watcher) };
        let (accounts, shard) = (self.clone(), self.shard_of(id));
        tokio::spawn(async move {
            while if elsewhere.is_here(shard) {
                accounts.pass_on(id, &watcher).await
            } else {
                elsewhere.watch(shard, id, watcher.clone()).await
            } {
                tokio::time::sleep(AGAIN).await;
            }
        });
    }

    /// Watches the balance of an account of this process, until it moves.
    pub(crate) fn watch_here(&self, id: AccountId, watcher: mpsc::Sender<Live>) {
        self.tell(id, Subscribe(watcher));
    }

    /// Passes balances of this process on until the account moves; no, where the watcher was too slow or has gone.
    async fn pass_on(&self, id: AccountId, watcher: &mpsc::Sender<Live>) -> bool {
        let (own, mut heard) = mpsc::channel(BEHIND);
        self.watch_here(id, own);
        loop {
            tokio::select! {
                live = heard.recv() => {
                    let Some(live) = live else { return true };
                    if watcher.try_send(live).is_err() {
                        return false;
                    }
                }
                () = watcher.closed() => return false,
            }
        }
    }
}
