//! Whose balances are heard in full. Each node says at short times how many balances it could not tell so far. Where that
//! number changes, or a node is silent, watchers of its accounts have missed something, and are blind for a moment at
//! least: a Redis that reaches the watchers may not reach the node that has something to tell.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use runtime::node::NodeId;
use tokio::sync::watch;

/// The most nodes that are listened to. Those beyond them are never heard in full.
const NODES: usize = 4_096;

/// How a node is heard: in full since a moment with this number, or not at all.
pub(crate) type Heard = Option<u64>;

struct Voice {
    /// How many balances the node could not tell, as it said last, and when that was.
    last: Option<(u64, Instant)>,
    /// The number of times that something was missed.
    gaps: u64,
    heard: watch::Sender<Heard>,
}

impl Default for Voice {
    fn default() -> Self {
        Self { last: None, gaps: 0, heard: watch::Sender::new(None) }
    }
}

/// The voices of all nodes.
#[derive(Default)]
pub(crate) struct Voices(Mutex<HashMap<NodeId, Voice>>);

impl std::fmt::Debug for Voices {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Voices").finish_non_exhaustive()
    }
}

impl Voices {
    fn with<T>(&self, act: impl FnOnce(&mut HashMap<NodeId, Voice>) -> T) -> T {
        act(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// How a node is heard from now on.
    pub(crate) fn of(&self, node: NodeId) -> watch::Receiver<Heard> {
        self.with(|voices| voices.entry(node).or_default().heard.subscribe())
    }

    /// A node spoke: so many balances it could not tell.
    pub(crate) fn spoke(&self, node: NodeId, untold: u64, now: Instant) {
        self.with(|voices| {
            if !voices.contains_key(&node) && voices.len() >= NODES {
                return;
            }
            let voice = voices.entry(node).or_default();
            if voice.last.is_some_and(|(before, _)| before != untold) {
                voice.gaps += 1;
            }
            voice.last = Some((untold, now));
            let heard = Some(voice.gaps);
            voice.heard.send_if_modified(|was| std::mem::replace(was, heard) != heard);
        });
    }

    /// Nodes that have been silent for so long are not heard; those that nobody listens to are forgotten.
    pub(crate) fn listen(&self, now: Instant, silence: Duration) {
        self.with(|voices| {
            voices.retain(|_, voice| {
                if voice.last.is_some_and(|(_, at)| now.saturating_duration_since(at) < silence) {
                    return true;
                }
                if voice.last.take().is_some() {
                    voice.gaps += 1;
                    voice.heard.send_replace(None);
                }
                voice.heard.receiver_count() > 0
            });
        });
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    const ONE: NodeId = NodeId(Uuid::from_u128(1));
    const SILENCE: Duration = Duration::from_secs(1);

    #[test]
    fn a_node_is_heard_in_full_until_it_could_not_tell_or_is_silent() {
        let (voices, began) = (Voices::default(), Instant::now());
        let heard = voices.of(ONE);
        let at = |ms| began + Duration::from_millis(ms);
        let now = || *heard.borrow();
        assert_eq!(now(), None, "it has not spoken yet");
        voices.spoke(ONE, 7, at(0));
        assert_eq!(now(), Some(0), "what it could not tell before is nothing to us");
        voices.spoke(ONE, 7, at(500));
        assert_eq!(now(), Some(0));
        voices.spoke(ONE, 8, at(600));
        assert_eq!(now(), Some(1), "something was missed");
        voices.listen(at(1_500), SILENCE);
        assert_eq!(now(), Some(1));
        voices.listen(at(1_600), SILENCE);
        assert_eq!(now(), None, "it is silent");
        voices.spoke(ONE, 8, at(1_700));
        assert_eq!(now(), Some(2), "what it said meanwhile was missed");
    }

    #[test]
    fn nodes_that_nobody_listens_to_are_forgotten_and_bounded() {
        let (voices, now) = (Voices::default(), Instant::now());
        let heard = voices.of(ONE);
        for number in 2..NODES as u128 + 10 {
            voices.spoke(NodeId(Uuid::from_u128(number)), 0, now);
        }
        assert_eq!(voices.with(|voices| voices.len()), NODES);
        voices.listen(now + SILENCE, SILENCE);
        assert_eq!(voices.with(|voices| voices.len()), 1, "the one that is listened to");
        drop(heard);
        voices.listen(now + SILENCE, SILENCE);
        assert_eq!(voices.with(|voices| voices.len()), 0);
    }
}
