//! Groups by the minute. There are no sums of minutes: a page reads records, newest first, in the hours in which there is
//! something to find, and only a limited number of them. So a page may be shorter than requested, even empty, and still name
//! the position of the next one. A minute is listed whole, however many records it has.

use billing::{Timestamp, time::HOUR_MS};
use uuid::Uuid;

use super::{By, Group, GroupPage, Grouping, SUMMED, Wanted, filled, groups};
use crate::{
    Ledger, LedgerError,
    history::{Position, Search, at_place},
    rollup::Span,
    sql::Sql,
};

const MINUTE_MS: i64 = 60_000;
/// Records that are read at a time.
const LOOKED_AT: i64 = 2_000;
/// The most times that a page reads some.
const LOOKS: usize = 4;

impl Wanted {
    /// The groups of the range's records, and one more than the limit.
    fn minutes(&self, grouping: &Grouping, last: Option<&Group>, limit: u64) -> Sql {
        let sums = SUMMED[2..].join(", ");
        let mut sql = Sql::new(
            &format!(
                " FROM (SELECT ended_at - ended_at % {MINUTE_MS} AS begins, model, provider, COALESCE(key_id, ?) AS key_id, \
                 session, 1 AS requests, CASE WHEN ending = 'completed' OR ending = 'client_left' THEN 0 ELSE 1 END AS failed, \
                 {sums} FROM usage_record WHERE account_id = ? AND ended_at >= ? AND ended_at < ?"
            ),
            [Uuid::nil().into(), self.account.0.into(), self.from.0.into(), self.to.0.into()],
        );
        sql.records(&self.only, "usage_record");
        sql.session(&self.only, "usage_record");
        if grouping.has(By::Session) && self.only.session.is_none() {
            sql.add(" AND session IS NOT NULL", []);
        }
        sql.add(") t", []);
        groups(grouping, sql, last, Some(limit))
    }
}

impl Ledger {
    /// A page of minutes after `last`.
    pub(super) async fn newest_minutes(
        &self,
        wanted: &Wanted,
        grouping: &Grouping,
        last: Option<&Group>,
        limit: u64,
    ) -> Result<GroupPage, LedgerError> {
        // All from here on is on earlier pages, but for what is left of the last one's last minute.
        let mut end = match last.and_then(|last| Some((last, last.starts_at?))) {
            Some((last, at)) if last.is_whole(grouping) && !grouping.by.is_empty() => at.plus_ms(MINUTE_MS),
            Some((_, at)) => at,
            None => wanted.to,
        };
        end = end.min(wanted.to);
        let mut rows = Vec::new();
        for _ in 0..LOOKS {
            let until = Wanted { to: end, ..wanted.clone() };
            let used = self.spans_used(&until, Span::Hour, 1).await?;
            let Some(hour) = used.first() else { return filled(&rows, grouping, limit, None) };
            end = end.min(hour.plus_ms(HOUR_MS));
            let search = Search { account: wanted.account, from: wanted.from, only: &wanted.only };
            let oldest = self.row_of(at_place(&search, Position::before(end), LOOKED_AT)).await?;
            let from = match oldest {
                None => wanted.from,
                Some(row) => whole_minutes(Timestamp(row.try_get_by_index(0)?), end).max(wanted.from),
            };
            let looked_at = Wanted { from, to: end, ..wanted.clone() };
            let left = limit - u64::try_from(rows.len()).unwrap_or(limit).min(limit);
            rows.extend(self.rows_of(looked_at.minutes(grouping, last, left)).await?);
            if u64::try_from(rows.len()).unwrap_or(u64::MAX) > limit || from <= wanted.from {
                return filled(&rows, grouping, limit, None);
            }
            end = from;
        }
        filled(&rows, grouping, limit, Some(Group { starts_at: Some(end), ..Group::default() }))
    }
}

/// The beginning of the whole minutes before `end` whose records are no older than one that ended `at`: those after its minute,
/// or its minute too if there is no other.
fn whole_minutes(at: Timestamp, end: Timestamp) -> Timestamp {
    let minute = at.floor(MINUTE_MS);
    if minute.plus_ms(MINUTE_MS) < end { minute.plus_ms(MINUTE_MS) } else { minute }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_minute_is_never_cut() {
        let minute = |number: i64| Timestamp(number * MINUTE_MS);
        assert_eq!(whole_minutes(minute(5), minute(9)), minute(6));
        assert_eq!(whole_minutes(minute(5).plus_ms(1), minute(9)), minute(6));
        assert_eq!(whole_minutes(minute(8), minute(9)), minute(8), "all that is looked at is of one minute");
        assert_eq!(whole_minutes(minute(8).plus_ms(59_999), minute(9)), minute(8));
    }
}
