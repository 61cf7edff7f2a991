//! Groups by session: those used last come first, and of each session the newest hour or day. An account may have a million
//! sessions, so a page finds its sessions by the days on which they were used, and sums these alone. It looks at a limited
//! number of them: with a filter, or among sessions that are used day by day, a page may be shorter than requested, even empty,
//! and still name the position of the next one.

use billing::Timestamp;
use sea_orm::Value;

use super::{By, Group, GroupPage, Grouping, Span, Sums, Time, Wanted, group, groups, read_sums};
use crate::{Ledger, LedgerError, sql::Sql};

/// Days of sessions that are looked at a time.
const LOOKED_AT: u64 = 2_000;
/// The most times that a page looks at some.
const LOOKS: usize = 4;

/// A session and a day on which it was used.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Used {
    day: Timestamp,
    session: String,
}

impl Wanted {
    /// The days of sessions before one, newest first: at most `most`, behind the first `skipped`.
    fn days_used(&self, before: &Used, most: u64, skipped: u64) -> Sql {
        let number = |number: u64| Value::from(i64::try_from(number).unwrap_or(i64::MAX));
        let mut sql = Sql::new(
            "SELECT DISTINCT starts_at, session FROM usage_session WHERE account_id = ? AND span = 24 AND starts_at >= ? \
             AND (starts_at, session) < (?, ?)",
            [self.account.0.into(), self.from.0.into(), before.day.0.into(), before.session.as_str().into()],
        );
        sql.session(&self.only, "usage_session");
        sql.add(" ORDER BY starts_at DESC, session DESC LIMIT ? OFFSET ?", [number(most), number(skipped)]);
        sql
    }

    /// Of the days of sessions that are looked at, those that are the last of their session, at most `most`.
    fn last_days(&self, before: &Used, most: u64) -> Sql {
        let most = i64::try_from(most).unwrap_or(i64::MAX);
        let mut sql = Sql::new("SELECT starts_at, session FROM (", []);
        sql.append(self.days_used(before, LOOKED_AT, 0));
        sql.add(") u WHERE NOT EXISTS ", []);
        let later = "v.starts_at > u.starts_at AND v.starts_at < ?";
        sql.append(self.others(later, [self.to.0.into()]));
        if !self.only.is_of_session() {
            sql.add(" AND EXISTS ", []);
            sql.append(self.others("v.starts_at = u.starts_at", []));
        }
        sql.add(" ORDER BY starts_at DESC, session DESC LIMIT ?", [most.into()]);
        sql
    }

    /// Rows of the same session that pass the filter.
    fn others(&self, when: &str, values: impl IntoIterator<Item = Value>) -> Sql {
        let mut sql = Sql::new(
            "(SELECT 1 FROM usage_session v WHERE v.account_id = ? AND v.span = 24 AND v.session = u.session AND ",
            [self.account.0.into()],
        );
        sql.add(when, values);
        sql.only(&self.only, "v");
        sql.add(")", []);
        sql
    }
}

/// The time that sums of a session are read by.
const fn span(grouping: &Grouping) -> Option<Span> {
    match grouping.time {
        Some(Time::Summed(span)) => Some(span),
        Some(Time::Minute) | None => None,
    }
}

fn used(row: &sea_orm::QueryResult) -> Result<Used, LedgerError> {
    Ok(Used { day: Timestamp(row.try_get_by_index(0)?), session: row.try_get_by_index(1)? })
}

impl Ledger {
    /// A page of sessions after `last`. The range is of whole days.
    pub(super) async fn newest_sessions(
        &self,
        wanted: &Wanted,
        grouping: &Grouping,
        last: Option<&Group>,
        limit: u64,
    ) -> Result<GroupPage, LedgerError> {
        let most = usize::try_from(limit).unwrap_or(usize::MAX);
        let mut rows = Vec::new();
        let mut before = Used { day: wanted.to, session: String::new() };
        if let Some(Group { used_on: Some(day), session: Some(session), .. }) = last {
            before = Used { day: *day, session: session.clone() };
            let is_more_of_it = grouping.time.is_some() || grouping.by != [By::Session];
            if let Some(last) = last.filter(|last| is_more_of_it && last.is_whole(grouping)) {
                rows = self.of_sessions(wanted, grouping, std::slice::from_ref(&before), Some(last)).await?;
            }
        }
        for _ in 0..LOOKS {
            if rows.len() > most {
                break;
            }
            let left = limit + 1 - u64::try_from(rows.len()).unwrap_or(limit);
            let found = self.rows_of(wanted.last_days(&before, left)).await?;
            let found = found.iter().map(used).collect::<Result<Vec<_>, _>>()?;
            // Most sessions have few groups: more of them are summed at once the more are needed.
            let (mut next, mut together) = (0, if grouping.time.is_some() { 1 } else { found.len() });
            while next < found.len() && rows.len() <= most {
                let some = &found[next..found.len().min(next + together)];
                rows.extend(self.of_sessions(wanted, grouping, some, None).await?);
                (next, together) = (next + some.len(), together * 2);
            }
            if rows.len() > most {
                break;
            }
            let stopped = self.rows_of(wanted.days_used(&before, 1, LOOKED_AT - 1)).await?;
            match stopped.first() {
                Some(row) => before = used(row)?,
                None => return Ok(GroupPage { rows, next: None }),
            }
        }
        let next = if rows.len() > most {
            rows.truncate(most);
            rows.last().map(|(group, _)| group.clone())
        } else {
            let Used { day, session } = before;
            Some(Group { used_on: Some(day), session: Some(session), ..Group::default() })
        };
        Ok(GroupPage { rows, next })
    }

    /// The groups of these sessions, in their order; of one session those behind `last`.
    async fn of_sessions(
        &self,
        wanted: &Wanted,
        grouping: &Grouping,
        sessions: &[Used],
        last: Option<&Group>,
    ) -> Result<Vec<(Group, Sums)>, LedgerError> {
        let names: Vec<String> = sessions.iter().map(|used| used.session.clone()).collect();
        let found = self.rows_of(groups(grouping, wanted.source(span(grouping), &names), last, None)).await?;
        let mut rows = Vec::with_capacity(found.len());
        for row in &found {
            let group = group(row, grouping)?;
            let place = sessions.iter().position(|used| Some(&used.session) == group.session.as_ref());
            let place = place.ok_or_else(|| LedgerError::Corrupt("a session that was not asked for".to_owned()))?;
            let group = Group { used_on: Some(sessions[place].day), ..group };
            rows.push((place, (group, read_sums(row)?)));
        }
        rows.sort_by_key(|(place, _)| *place);
        Ok(rows.into_iter().map(|(_, row)| row).collect())
    }
}

#[cfg(test)]
mod tests {
    use billing::{ids::AccountId, time::DAY_MS};
    use uuid::Uuid;

    use super::{super::Only, *};
    use crate::{sql::tests::plan, tests::new_ledger};

    #[tokio::test]
    async fn sessions_are_found_in_order_by_an_index() {
        let (ledger, _folder) = new_ledger().await;
        let before = Used { day: Timestamp(9 * DAY_MS), session: "s".into() };
        let (model, key) = (Some("m".to_owned()), Some(Uuid::from_u128(2)));
        for only in [
            Only::default(),
            Only { model, key, member: key, ..Only::default() },
            Only { member: Some(Uuid::nil()), ..Only::default() },
        ] {
            let (from, to) = (Timestamp(0), Timestamp(30 * DAY_MS));
            let wanted = Wanted { account: AccountId(Uuid::from_u128(1)), from, to, only };
            for sql in [wanted.days_used(&before, 50, 9), wanted.last_days(&before, 50)] {
                let plan = plan(&ledger, sql).await;
                assert!(plan.contains("SEARCH usage_session USING COVERING INDEX usage_session_time"), "{plan}");
                assert!(!plan.contains("SCAN usage"), "{plan}");
            }
            let days = plan(&ledger, wanted.days_used(&before, 50, 9)).await;
            assert!(!days.contains("TEMP B-TREE"), "read in order, up to its limit: {days}");
            let names = ["a".to_owned(), "b".to_owned()];
            let mut sums = Sql::new("SELECT *", []);
            sums.append(wanted.source(None, &names));
            let plan = plan(&ledger, sums).await;
            assert!(!plan.contains("SCAN usage") && plan.contains("session=?"), "{plan}");
        }
    }
}
