//! Ended requests in the order of their end: newest first for pages, oldest first for an export. New records appear at
//! the front, so that pages do not shift while a reader goes on.
//!
//! With a filter by model or key, a page searches only the hours in which the model or key was used, and only a limited
//! number of records. Such a page may be shorter than requested, even empty, and still name the position of the next
//! one.

use billing::{Timestamp, ids::AccountId, time::HOUR_MS};
use uuid::Uuid;

use super::{
    Ledger, LedgerError,
    query::{LARGEST_PAGE, REQUEST, RequestRow, request},
    rollup::Span,
    sql::Sql,
    usage::{Only, Wanted},
};

/// A position in the order of ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    /// When the request ended.
    pub ended_at: Timestamp,
    /// The request's id.
    pub id: Uuid,
}

impl Position {
    /// The position before all requests that ended at this time or later.
    pub const fn before(ended_at: Timestamp) -> Self {
        Self { ended_at, id: Uuid::nil() }
    }

    /// The position of a request.
    pub const fn of(row: &RequestRow) -> Self {
        Self { ended_at: row.ended_at, id: row.id }
    }
}

/// A page of requests.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestPage {
    /// The requests.
    pub rows: Vec<RequestRow>,
    /// The position of the next page, if there is one.
    pub next: Option<Position>,
}

/// The most requests in one page of an export.
pub const EXPORT_PAGE: usize = 1_000;
/// Records that a filtered page searches at a time.
const LOOKED_AT: i64 = 500;
/// The most searches of a filtered page. Each begins at the end of an hour in which there is something to find.
const LOOKS: usize = 6;

/// A search.
pub(super) struct Search<'a> {
    pub(super) account: AccountId,
    /// The earliest end.
    pub(super) from: Timestamp,
    pub(super) only: &'a Only,
}

impl Search<'_> {
    /// The newest records before a position, at most `most`, without the filter.
    fn newest(&self, columns: &str, before: Position, most: i64) -> Sql {
        let text = format!(
            "SELECT {columns} FROM usage_record WHERE account_id = ? AND ended_at >= ? AND (ended_at, request_id) < (?, ?) \
             ORDER BY ended_at DESC, request_id DESC LIMIT ?"
        );
        let Position { ended_at, id } = before;
        Sql::new(&text, [self.account.0.into(), self.from.0.into(), ended_at.0.into(), id.into(), most.into()])
    }
}

/// The newest requests before a position, at most `most`. With `out_of`, only that many records are searched.
pub(super) fn newest(search: &Search<'_>, before: Position, most: i64, out_of: Option<i64>) -> Sql {
    let Some(out_of) = out_of else { return search.newest(REQUEST, before, most) };
    let mut sql = Sql::new(&format!("SELECT {REQUEST} FROM ("), []);
    sql.append(search.newest(REQUEST, before, out_of));
    sql.add(") t WHERE 1 = 1", []);
    if search.only.key == Some(Uuid::nil()) {
        sql.add(" AND key_id IS NULL", []);
        sql.only(&Only { key: None, ..search.only.clone() });
    } else {
        sql.only(search.only);
    }
    sql.add(" ORDER BY ended_at DESC, request_id DESC LIMIT ?", [most.into()]);
    sql
}

/// The last record of one search of a filtered page; none where there were fewer records.
pub(super) fn last_looked_at(search: &Search<'_>, before: Position) -> Sql {
    let mut sql = search.newest("ended_at, request_id", before, 1);
    sql.add(" OFFSET ?", [(LOOKED_AT - 1).into()]);
    sql
}

/// Requests that ended after a position and before `to`, oldest first.
pub(super) fn oldest(account: AccountId, after: Position, to: Timestamp) -> Sql {
    let text = format!(
        "SELECT {REQUEST} FROM usage_record WHERE account_id = ? AND (ended_at, request_id) > (?, ?) AND ended_at < ? \
         ORDER BY ended_at, request_id LIMIT {EXPORT_PAGE}"
    );
    Sql::new(&text, [account.0.into(), after.ended_at.0.into(), after.id.into(), to.0.into()])
}

impl Ledger {
    /// An account's ended requests, newest first, from `wanted.from` and before `wanted.to`. `before` is the end of the
    /// last page.
    ///
    /// # Errors
    ///
    /// The database can't be read now: try again later. A row is [`LedgerError::Corrupt`]: an operator must examine the
    /// database.
    pub async fn requests(
        &self,
        wanted: &Wanted,
        before: Option<Position>,
        limit: u64,
    ) -> Result<RequestPage, LedgerError> {
        let limit = usize::try_from(limit.clamp(1, LARGEST_PAGE)).unwrap_or(1);
        let end = Position::before(wanted.to);
        let before = before.map_or(end, |before| before.min(end));
        let Wanted { account, from, ref only, .. } = *wanted;
        let search = Search { account, from, only };
        if *only == Only::default() {
            let rows = self.newest(&search, before, limit + 1, None).await?;
            return Ok(filled(rows, limit, None));
        }
        let (mut found, mut position) = (Vec::new(), before);
        for _ in 0..LOOKS {
            // The hour of the position is searched as well.
            let until = Wanted { to: position.ended_at.plus_ms(1), ..wanted.clone() };
            let used = self.spans_used(&until, Span::Hour, 1).await?;
            let Some(hour) = used.first() else { return Ok(filled(found, limit, None)) };
            position = position.min(Position::before(hour.plus_ms(HOUR_MS)));
            found.extend(self.newest(&search, position, limit + 1 - found.len(), Some(LOOKED_AT)).await?);
            if found.len() > limit {
                break;
            }
            let last = self.row_of(last_looked_at(&search, position)).await?;
            let Some(last) = last else { return Ok(filled(found, limit, None)) };
            position = Position { ended_at: Timestamp(last.try_get_by_index(0)?), id: last.try_get_by_index(1)? };
        }
        Ok(filled(found, limit, Some(position)))
    }

    /// The newest requests before a position, at most `most`. With `out_of`, only that many records are searched.
    async fn newest(
        &self,
        search: &Search<'_>,
        before: Position,
        most: usize,
        out_of: Option<i64>,
    ) -> Result<Vec<RequestRow>, LedgerError> {
        let most = i64::try_from(most).unwrap_or(i64::MAX);
        self.rows_of(newest(search, before, most, out_of)).await?.iter().map(request).collect()
    }

    /// The next page of an export: requests that ended after a position and before `to`, oldest first, up to
    /// [`EXPORT_PAGE`].
    ///
    /// # Errors
    ///
    /// The database can't be read now: try again later. A row is [`LedgerError::Corrupt`]: an operator must examine the
    /// database.
    pub async fn export(
        &self,
        account: AccountId,
        after: Position,
        to: Timestamp,
    ) -> Result<Vec<RequestRow>, LedgerError> {
        self.rows_of(oldest(account, after, to)).await?.iter().map(request).collect()
    }
}

/// A page of the rows found. The next page begins after its last row, or where the search stopped.
fn filled(mut rows: Vec<RequestRow>, limit: usize, stopped: Option<Position>) -> RequestPage {
    let next = if rows.len() > limit { rows.get(limit - 1).map(Position::of) } else { stopped };
    rows.truncate(limit);
    RequestPage { rows, next }
}
