//! Ended requests in the order of their end: newest first for pages, oldest first for an export. New records appear at
//! the front, so that pages do not shift while a reader goes on.
//!
//! With a filter by model, key or member, a page searches only the hours in which there is something to find, and only a limited
//! number of records. Such a page may be shorter than requested, even empty, and still name the position of the next one. The
//! requests of a session are found by an index of their own.

use billing::{Timestamp, ids::AccountId, time::HOUR_MS};
use sea_orm::QueryResult;
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
    /// The newest records before a position, at most `most`, of all models, keys and members.
    fn newest(&self, columns: &str, before: Position, most: i64) -> Sql {
        let text = format!(
            "SELECT {columns} FROM usage_record WHERE account_id = ? AND ended_at >= ? AND (ended_at, request_id) < (?, ?)"
        );
        let Position { ended_at, id } = before;
        let mut sql = Sql::new(&text, [self.account.0.into(), self.from.0.into(), ended_at.0.into(), id.into()]);
        sql.session(self.only, "usage_record");
        sql.add(" ORDER BY ended_at DESC, request_id DESC LIMIT ?", [most.into()]);
        sql
    }
}

/// The newest requests before a position, at most `most`. With `out_of`, only that many records are searched.
pub(super) fn newest(search: &Search<'_>, before: Position, most: i64, out_of: Option<i64>) -> Sql {
    let Some(out_of) = out_of else { return search.newest(REQUEST, before, most) };
    let mut sql = Sql::new(&format!("SELECT {REQUEST} FROM ("), []);
    sql.append(search.newest(REQUEST, before, out_of));
    sql.add(") r WHERE 1 = 1", []);
    sql.records(search.only, "r");
    sql.add(" ORDER BY ended_at DESC, request_id DESC LIMIT ?", [most.into()]);
    sql
}

/// The end of the record that is so many before a position, counted from 1, and its id; none where there are fewer.
pub(super) fn at_place(search: &Search<'_>, before: Position, place: i64) -> Sql {
    let mut sql = search.newest("ended_at, request_id", before, 1);
    sql.add(" OFFSET ?", [(place - 1).into()]);
    sql
}

/// Requests that ended after a position and before `to`, oldest first, each with 1 if it passes the filter, and 0 else.
pub(super) fn oldest(account: AccountId, only: &Only, after: Position, to: Timestamp) -> Sql {
    let mut sql = Sql::new(&format!("SELECT {REQUEST}, CAST(CASE WHEN 1 = 1"), []);
    sql.records(only, "r");
    sql.session(only, "r");
    let text = format!(
        " THEN 1 ELSE 0 END AS BIGINT) AS is_wanted FROM (SELECT {REQUEST} FROM usage_record WHERE account_id = ? \
         AND (ended_at, request_id) > (?, ?) AND ended_at < ? ORDER BY ended_at, request_id LIMIT {EXPORT_PAGE}) r \
         ORDER BY ended_at, request_id"
    );
    sql.add(&text, [account.0.into(), after.ended_at.0.into(), after.id.into(), to.0.into()]);
    sql
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
        if only.is_of_session() {
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
            let last = self.row_of(at_place(&search, position, LOOKED_AT)).await?;
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

    /// The next page of an export: of the next [`EXPORT_PAGE`] requests that ended after a position and before `to`, oldest
    /// first, those that pass the filter; and the position of the next page, if there is one.
    ///
    /// # Errors
    ///
    /// The database can't be read now: try again later. A row is [`LedgerError::Corrupt`]: an operator must examine the
    /// database.
    pub async fn export(
        &self,
        account: AccountId,
        only: &Only,
        after: Position,
        to: Timestamp,
    ) -> Result<RequestPage, LedgerError> {
        let found = self.rows_of(oldest(account, only, after, to)).await?;
        let read = |row: &QueryResult| Ok((request(row)?, row.try_get::<i64>("", "is_wanted")? == 1));
        let found = found.iter().map(read).collect::<Result<Vec<_>, LedgerError>>()?;
        let next = found.last().filter(|_| found.len() == EXPORT_PAGE).map(|(row, _)| Position::of(row));
        let rows = found.into_iter().filter_map(|(row, is_wanted)| is_wanted.then_some(row)).collect();
        Ok(RequestPage { rows, next })
    }
}

/// A page of the rows found. The next page begins after its last row, or where the search stopped.
fn filled(mut rows: Vec<RequestRow>, limit: usize, stopped: Option<Position>) -> RequestPage {
    let next = if rows.len() > limit { rows.get(limit - 1).map(Position::of) } else { stopped };
    rows.truncate(limit);
    RequestPage { rows, next }
}
