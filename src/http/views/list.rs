//! Lists: whole lists, and pages that say where the next page begins.

use serde::Serialize;
use utoipa::ToSchema;

use crate::service::page::Listed;

/// The name of a list.
const LIST: &str = "list";

/// A whole list.
#[derive(Debug, Serialize, ToSchema)]
pub struct List<T> {
    object: &'static str,
    data: Vec<T>,
    /// Always false: the list is whole. For clients of Anthropic's format.
    has_more: bool,
}

impl<T> List<T> {
    /// A list of these rows.
    pub fn of<R>(rows: impl IntoIterator<Item = R>) -> Self
    where
        T: From<R>,
    {
        Self { object: LIST, data: rows.into_iter().map(T::from).collect(), has_more: false }
    }
}

/// A page of a list.
#[derive(Debug, Serialize, ToSchema)]
pub struct Page<T> {
    object: &'static str,
    data: Vec<T>,
    /// The next page's `cursor`; null after the last page.
    #[schema(required)]
    next_cursor: Option<String>,
}

impl<T> Page<T> {
    /// A page with this spelling of its cursor.
    pub fn of<R, C>(listed: Listed<R, C>, cursor: impl FnOnce(C) -> String) -> Self
    where
        T: From<R>,
    {
        let Listed { rows, next } = listed;
        Self { object: LIST, data: rows.into_iter().map(T::from).collect(), next_cursor: next.map(cursor) }
    }
}

/// A page whose cursor is the id of its last row.
impl<T: From<R>, R> From<Listed<R>> for Page<T> {
    fn from(listed: Listed<R>) -> Self {
        Self::of(listed, |id| id.to_string())
    }
}
