//! A shared memory budget in bytes, taken and given back. A user that finds no room waits or is refused; nothing here
//! waits.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

/// A budget of bytes.
#[derive(Debug)]
pub struct Room {
    limit: usize,
    taken: AtomicUsize,
    /// The budget that this is a part of.
    whole: Option<Arc<Self>>,
}

impl Room {
    /// A budget of `limit` bytes.
    pub fn new(limit: usize) -> Arc<Self> {
        Arc::new(Self { limit, taken: AtomicUsize::new(0), whole: None })
    }

    /// A part of a budget, of `limit` bytes: what is taken of it is taken of the whole, too.
    pub fn within(whole: &Arc<Self>, limit: usize) -> Arc<Self> {
        Arc::new(Self { limit, taken: AtomicUsize::new(0), whole: Some(Arc::clone(whole)) })
    }

    /// Takes bytes. Returns whether there were enough; otherwise takes nothing.
    fn take_more(&self, bytes: usize) -> bool {
        let more = |taken: usize| taken.checked_add(bytes).filter(|taken| *taken <= self.limit);
        if self.taken.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).is_err() {
            return false;
        }
        let has_room = self.whole.as_ref().is_none_or(|whole| whole.take_more(bytes));
        if !has_room {
            self.taken.fetch_sub(bytes, Ordering::Relaxed);
        }
        has_room
    }

    fn give_back(&self, bytes: usize) {
        self.taken.fetch_sub(bytes, Ordering::Relaxed);
        if let Some(whole) = &self.whole {
            whole.give_back(bytes);
        }
    }

    /// The bytes taken.
    pub fn taken(&self) -> usize {
        self.taken.load(Ordering::Relaxed)
    }

    /// An empty share.
    pub fn share(self: &Arc<Self>) -> Share {
        Share { room: Arc::clone(self), bytes: 0 }
    }

    /// A share of `bytes`; `None` where too few are left.
    pub fn take(self: &Arc<Self>, bytes: usize) -> Option<Share> {
        let mut share = self.share();
        share.grow(bytes).then_some(share)
    }
}

/// A part of the budget, given back when it is dropped.
#[derive(Debug)]
pub struct Share {
    room: Arc<Room>,
    bytes: usize,
}

impl Share {
    /// Takes further bytes. Returns whether there were enough; otherwise takes nothing.
    pub fn grow(&mut self, bytes: usize) -> bool {
        let grown = self.room.take_more(bytes);
        self.bytes += if grown { bytes } else { 0 };
        grown
    }

    /// Gives bytes back, or all where the share has fewer.
    pub fn shrink(&mut self, bytes: usize) {
        let bytes = bytes.min(self.bytes);
        self.room.give_back(bytes);
        self.bytes -= bytes;
    }

    /// The bytes of the share.
    pub const fn bytes(&self) -> usize {
        self.bytes
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.shrink(self.bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_taken_is_bounded_and_given_back() {
        let room = Room::new(10);
        let mut one = room.take(6).unwrap();
        assert!(room.take(5).is_none());
        let two = room.take(4).unwrap();
        assert!(!one.grow(1) && !one.grow(usize::MAX));
        drop(two);
        assert!(one.grow(4));
        one.shrink(7);
        assert_eq!((one.bytes(), room.taken()), (3, 3));
        one.shrink(100);
        drop(one);
        assert_eq!(room.taken(), 0);
    }
}
