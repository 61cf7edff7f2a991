//! Pages of lists, newest first: where a page begins, the number of its rows, and where the next page begins. The
//! spelling of cursors is decided by callers.

use uuid::Uuid;

/// The most rows of a page.
pub const LARGEST: u64 = ledger::query::LARGEST_PAGE;

/// A requested page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Page<C = Uuid> {
    /// The page begins after this row; `None`: with the first row.
    pub before: Option<C>,
    /// The most rows.
    pub limit: u64,
}

/// A page of a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed<T, C = Uuid> {
    /// The page's rows.
    pub rows: Vec<T>,
    /// Where the next page begins; `None` after the last page.
    pub next: Option<C>,
}

impl Page {
    /// A page of rows. A full page may not be the last.
    pub(super) fn list<T>(self, rows: Vec<T>, id: impl Fn(&T) -> Uuid) -> Listed<T> {
        let is_full = rows.len() as u64 == self.limit;
        let next = rows.last().filter(|_| is_full).map(id);
        Listed { rows, next }
    }
}

impl<T, C> Listed<T, C> {
    /// The same page with mapped rows.
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
