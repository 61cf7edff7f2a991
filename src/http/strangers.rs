//! The room of request bodies without a key (forms, and events of the card processor): some for all of them, and of that a part for
//! each network, so that whoever lets bodies come slowly keeps nobody else from signing in.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Arc, Mutex, PoisonError, Weak},
};

use super::addresses::network;
use crate::gateway::room::Room;

/// The most bytes of such bodies that are read at once, of all and of one network.
const ALL: usize = 16 << 20;
const EACH: usize = 1 << 20;
/// The networks that are told apart before those that send nothing any more are forgotten.
const TOLD_APART: usize = 1_024;

/// The room.
pub struct Strangers {
    all: Arc<Room>,
    /// Of networks that send something; a room is there as long as a body takes of it.
    each: Mutex<HashMap<IpAddr, Weak<Room>>>,
}

impl Default for Strangers {
    fn default() -> Self {
        Self { all: Room::new(ALL), each: Mutex::default() }
    }
}

impl Strangers {
    /// The room of bodies from this address.
    pub fn of(&self, address: Option<IpAddr>) -> Arc<Room> {
        let Some(network) = address.map(network) else { return Arc::clone(&self.all) };
        let mut each = self.each.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(room) = each.get(&network).and_then(Weak::upgrade) {
            return room;
        }
        if each.len() >= TOLD_APART {
            each.retain(|_, room| room.strong_count() > 0);
        }
        let room = Room::within(&self.all, EACH);
        each.insert(network, Arc::downgrade(&room));
        room
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_takes_its_part_and_leaves_others_theirs() {
        let strangers = Strangers::default();
        let of = |last: u8| strangers.of(Some(IpAddr::from([192, 0, 2, last])));
        let taken = of(1).take(EACH).unwrap();
        assert!(of(1).take(1).is_none(), "of another connection");
        let other = of(2).take(EACH).unwrap();
        drop(taken);
        assert!(of(1).take(EACH).is_some(), "given back");
        let many: Vec<_> = (10..100).filter_map(|last| of(last).take(EACH)).collect();
        assert_eq!(many.len(), ALL / EACH - 1, "all have a most, too");
        assert!(of(3).take(1).is_none() && strangers.of(None).take(1).is_none());
        drop((many, other));
        for last in 0..=u16::MAX {
            let [high, low] = last.to_be_bytes();
            let _ = strangers.of(Some(IpAddr::from([10, 0, high, low])));
        }
        assert!(strangers.each.lock().unwrap().len() <= TOLD_APART);
        assert!(strangers.of(None).take(ALL).is_some());
    }
}
