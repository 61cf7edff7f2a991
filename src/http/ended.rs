//! Sessions that have ended before their cookies do. Of sessions by an API key and of operators' nothing is stored while they last:
//! a cookie that was copied would go on. So those that were signed out of are remembered until no cookie of theirs can be good:
//! here, and in the ledger, where the other nodes and the next process read them.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use billing::Timestamp;
use tokio::{sync::Notify, time::sleep};
use uuid::Uuid;

use super::state::Shared;
use crate::service::people::sessions::{self, EndedSession, MOST_ENDED};

/// How soon another node's are known here.
const LOOKED_AT: Duration = Duration::from_secs(5);
/// How much longer than its last cookie a session is remembered: another node may renew one until it hears of the end.
const LONGER_MS: i64 = 60 * 60 * 1_000;
/// How far back they are read again, in milliseconds: clocks differ, and what is written at the same time is read late.
const AGAIN_MS: i64 = 5 * 60 * 1_000;
/// The most that are remembered here, of all owners ([`MOST_ENDED`] of each); beyond it those that are over first are forgotten.
const MOST: usize = 100_000;

/// The sessions that have ended, shared by clones.
#[derive(Debug, Clone, Default)]
pub struct Ended(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    all: Mutex<HashMap<Uuid, Kept>>,
    /// Notified as there are more.
    more: Notify,
}

/// One that has ended.
#[derive(Debug, Clone)]
struct Kept {
    session: EndedSession,
    is_written: bool,
}

impl Ended {
    fn lock(&self) -> MutexGuard<'_, HashMap<Uuid, Kept>> {
        self.0.all.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether a session has ended.
    pub fn has(&self, id: Uuid) -> bool {
        self.lock().contains_key(&id)
    }

    /// Resolves once a session has ended. Dropping the future while it waits loses nothing.
    pub async fn over(&self, id: Uuid) {
        loop {
            let more = self.0.more.notified();
            if self.has(id) {
                return;
            }
            more.await;
        }
    }

    /// Ends a session, whose cookies are good for so long at most. `owner` says whose it is: of each the newest are kept.
    pub(super) fn end(&self, id: Uuid, owner: String, now: Timestamp, lasts_ms: i64) {
        let mut all = self.lock();
        let of_owner = all.values().filter(|kept| kept.session.owner == owner);
        let mut own: Vec<_> = of_owner.map(|kept| (kept.session.at, kept.session.id)).collect();
        own.sort_unstable();
        for (_, old) in own.iter().take((own.len() + 1).saturating_sub(MOST_ENDED)) {
            all.remove(old);
        }
        drop(all);
        let session = EndedSession { id, owner, at: now, until: now.plus_ms(lasts_ms + LONGER_MS) };
        self.keep([Kept { session, is_written: false }], now);
    }

    fn keep(&self, more: impl IntoIterator<Item = Kept>, now: Timestamp) {
        let mut all = self.lock();
        for kept in more {
            // What was read is written.
            let is_written = kept.is_written || all.get(&kept.session.id).is_some_and(|before| before.is_written);
            all.insert(kept.session.id, Kept { is_written, ..kept });
        }
        all.retain(|_, kept| kept.session.until > now);
        if all.len() > MOST {
            let mut ends: Vec<_> = all.values().map(|kept| (kept.session.until, kept.session.id)).collect();
            ends.sort_unstable();
            for (_, id) in ends.drain(..all.len() - MOST) {
                all.remove(&id);
            }
        }
        drop(all);
        self.0.more.notify_waiters();
    }

    fn unwritten(&self) -> Vec<EndedSession> {
        self.lock().values().filter(|kept| !kept.is_written).map(|kept| kept.session.clone()).collect()
    }
}

/// Writes into the ledger which sessions have ended here. What can't be written just now is written later: here they have ended.
pub(super) async fn write(state: &Shared) {
    for session in state.ended.unwritten() {
        match sessions::note_ended(&state.service, &session).await {
            Ok(()) => state.ended.keep([Kept { session, is_written: true }], state.service.now()),
            Err(error) => {
                tracing::warn!(%error, "that a session has ended is not written yet");
                return;
            }
        }
    }
}

/// Learns which sessions have ended, and tells the others, for as long as the process lives.
pub async fn follow(state: Shared) {
    let mut since = Timestamp(0);
    loop {
        write(&state).await;
        let now = state.service.now();
        match sessions::ended_since(&state.service, since).await {
            Ok(read) => {
                state.ended.keep(read.into_iter().map(|session| Kept { session, is_written: true }), now);
                since = now.plus_ms(-AGAIN_MS);
            }
            Err(error) => tracing::debug!(%error, "which sessions have ended can't be read just now"),
        }
        sleep(LOOKED_AT).await;
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;

    use super::*;

    #[test]
    fn a_session_that_has_ended_is_known_until_its_cookies_are_over() {
        let (ended, id, now) = (Ended::default(), Uuid::from_u128(1), Timestamp(1_000));
        assert!(!ended.has(id) && ended.over(id).now_or_never().is_none());
        ended.end(id, "operator".into(), now, 5_000);
        assert!(ended.has(id) && ended.over(id).now_or_never().is_some());
        assert_eq!(ended.unwritten().len(), 1);
        let read = ended.unwritten().remove(0);
        ended.keep([Kept { session: read, is_written: true }], now);
        assert!(ended.unwritten().is_empty());
        ended.end(id, "operator".into(), now, 5_000);
        assert!(ended.unwritten().is_empty(), "it is written once");
        ended.keep([], now.plus_ms(5_000));
        assert!(ended.has(id), "another node may have renewed it meanwhile");
        ended.keep([], now.plus_ms(5_000 + LONGER_MS));
        assert!(!ended.has(id));
        // Who signs out again and again forgets none of another's.
        ended.end(id, "operator".into(), now, 5_000);
        for other in 0..2 * MOST_ENDED as u128 {
            ended.end(Uuid::from_u128(100 + other), "key a".into(), now, 5_000);
        }
        assert!(ended.has(id) && ended.lock().len() == MOST_ENDED + 1);
    }

    #[tokio::test]
    async fn who_waits_is_told() {
        let (ended, id) = (Ended::default(), Uuid::from_u128(1));
        let ending = async {
            ended.end(Uuid::from_u128(2), "operator".into(), Timestamp(0), 5_000);
            tokio::task::yield_now().await;
            ended.end(id, "operator".into(), Timestamp(0), 5_000);
        };
        tokio::join!(ended.over(id), ending);
    }
}
