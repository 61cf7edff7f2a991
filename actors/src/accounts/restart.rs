//! A new life of an account takes the place of one that works, and nobody notices: the old one hands over at a moment at which
//! nobody waits there for a purchase or in line, and passes on what still comes to it. The new one is read from the ledger once
//! everything that the old one sent is decided, as any life is.

use std::time::Duration;

use billing::ids::AccountId;
use runtime::mailbox;
use tokio::{sync::oneshot, time::timeout};

use super::{Accounts, Living};
use crate::account::Retire;

/// How long a moment is waited for at which nobody waits.
const WITHIN: Duration = Duration::from_secs(10);

/// Why an account was not restarted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotRestarted {
    /// Another node answers for it.
    #[error("another node answers for the account: ask there")]
    Elsewhere,
    /// It is not in memory, and is read from the ledger when it is next asked.
    #[error("the account is not in memory here: it is read from the ledger when it is next asked")]
    Asleep,
    /// Somebody waited there all the time.
    #[error("a purchase is under way, or requests wait in line there: try again")]
    Busy,
}

impl Accounts {
    /// Has a new life take the place of an account's.
    ///
    /// # Errors
    ///
    /// See [`NotRestarted`]: nothing was done.
    pub async fn restart(&self, id: AccountId) -> Result<(), NotRestarted> {
        if self.elsewhere().is_some_and(|elsewhere| !elsewhere.is_here(self.shard_of(id))) {
            return Err(NotRestarted::Elsewhere);
        }
        let living = self.accounts().get(&id).map(|Living { address, .. }| address.clone());
        let address = living.filter(actix::Addr::connected).ok_or(NotRestarted::Asleep)?;
        let own = self.clone();
        let succeed = Box::new(move || own.spawn(&mut own.accounts(), id).0);
        let (done, told) = oneshot::channel();
        // One for each operator who asks.
        mailbox::tell(&address, Retire { succeed, done });
        match timeout(WITHIN, told).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) | Err(_) => Err(NotRestarted::Busy),
        }
    }
}
