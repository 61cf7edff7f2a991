//! Pages of lists, newest first: where one begins, how many rows it holds, and where the next one begins. How a cursor is
//! written is its reader's business.

use uuid::Uuid;

/// The most rows a page can hold.
pub const LARGEST: u64 = ledger::query::LARGEST_PAGE;

/// A page that is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Page<C = Uuid> {
    /// Rows before this one; none: from the first.
    pub before: Option<C>,
    /// How many, at most.
    pub limit: u64,
}

/// A page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed<T, C = Uuid> {
    /// Its rows.
    pub rows: Vec<T>,
    /// Where the next one begins; none after the last.
    pub next: Option<C>,
}

impl Page {
    /// Rows as a page: one that is full may not be the last.
    pub(super) fn list<T>(self, rows: Vec<T>, id: impl Fn(&T) -> Uuid) -> Listed<T> {
        let is_full = rows.len() as u64 == self.limit;
        let next = rows.last().filter(|_| is_full).map(id);
        Listed { rows, next }
    }
}

impl<T, C> Listed<T, C> {
    /// The same page of something else.
    pub fn map<U>(self, each: impl FnMut(T) -> U) -> Listed<U, C> {
        Listed { rows: self.rows.into_iter().map(each).collect(), next: self.next }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_page_says_where_the_next_begins() {
        let ids: Vec<Uuid> = (1..=2).map(Uuid::from_u128).collect();
        let page = |limit| Page { before: None, limit }.list(ids.clone(), |id| *id).next;
        assert_eq!((page(2), page(3)), (Some(ids[1]), None));
        assert_eq!(Page { before: None, limit: 5 }.list(Vec::new(), |id: &Uuid| *id).next, None);
    }
}
