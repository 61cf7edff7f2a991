//! Statements composed of parts, each with the values of its placeholders.

use sea_orm::Value;

use super::usage::Only;

/// SQL with its values, in the order of its `?`.
#[derive(Debug)]
pub(super) struct Sql {
    pub(super) text: String,
    pub(super) values: Vec<Value>,
}

impl Sql {
    /// The first part.
    pub(super) fn new(text: &str, values: impl IntoIterator<Item = Value>) -> Self {
        Self { text: text.to_owned(), values: values.into_iter().collect() }
    }

    /// Adds a part.
    pub(super) fn add(&mut self, text: &str, values: impl IntoIterator<Item = Value>) {
        self.text.push_str(text);
        self.values.extend(values);
    }

    /// Adds a whole statement as a part.
    pub(super) fn append(&mut self, other: Self) {
        self.add(&other.text, other.values);
    }

    /// Adds conditions on the model, the key and whose it is, by the columns of the table or the alias `of`, in the form of the
    /// sums: the nil id means no key. A session is no column of most sums: see [`Sql::session`].
    pub(super) fn only(&mut self, only: &Only, of: &str) {
        if let Some(model) = &only.model {
            self.add(&format!(" AND {of}.model = ?"), [model.as_str().into()]);
        }
        if let Some(key) = only.key {
            self.add(&format!(" AND {of}.key_id = ?"), [key.into()]);
        }
        match only.member {
            None => {}
            Some(nil) if nil.is_nil() => self.add(
                &format!(
                    " AND NOT EXISTS (SELECT 1 FROM key_maker m WHERE m.key_id = {of}.key_id) \
                     AND NOT EXISTS (SELECT 1 FROM person p WHERE p.id = {of}.key_id)"
                ),
                [],
            ),
            // On the pages the person stands where a key would.
            Some(person) => self.add(
                &format!(" AND ({of}.key_id = ? OR {of}.key_id IN (SELECT key_id FROM key_maker WHERE person_id = ?))"),
                [person.into(), person.into()],
            ),
        }
    }

    /// The same for records, which have no key as NULL.
    pub(super) fn records(&mut self, only: &Only, of: &str) {
        if only.key.is_some_and(|key| key.is_nil()) {
            self.add(&format!(" AND {of}.key_id IS NULL"), []);
            self.only(&Only { key: None, ..only.clone() }, of);
        } else {
            self.only(only, of);
        }
    }

    /// Adds the condition on the session, by the column of the table or the alias `of`.
    pub(super) fn session(&mut self, only: &Only, of: &str) {
        if let Some(session) = &only.session {
            self.add(&format!(" AND {of}.session = ?"), [session.as_str().into()]);
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use billing::{
        Timestamp,
        ids::AccountId,
        time::{DAY_MS, HOUR_MS},
    };
    use uuid::Uuid;

    use super::*;
    use crate::{
        Ledger,
        history::{self, Position, Search},
        rollup::Span,
        tests::new_ledger,
        usage::{By, Group, Grouping, Time, Wanted},
    };

    /// SQLite's query plan, one step a line.
    pub(crate) async fn plan(ledger: &Ledger, sql: Sql) -> String {
        let rows = ledger.rows(&format!("EXPLAIN QUERY PLAN {}", sql.text), sql.values).await.unwrap();
        let steps = rows.iter().map(|row| row.try_get::<String>("", "detail").unwrap());
        steps.collect::<Vec<_>>().join("\n")
    }

    #[tokio::test]
    async fn every_page_finds_its_rows_by_an_index() {
        let (ledger, _folder) = new_ledger().await;
        let account = AccountId(Uuid::from_u128(1));
        let (model, key) = (Some("m".to_owned()), Some(Uuid::from_u128(2)));
        let session = Some("s".to_owned());
        let filters = [
            (Only { session: session.clone(), ..Only::default() }, "PRIMARY KEY"),
            (Only { member: key, ..Only::default() }, "PRIMARY KEY"),
            (Only { member: Some(Uuid::nil()), ..Only::default() }, "PRIMARY KEY"),
            (Only::default(), "PRIMARY KEY"),
            (Only { model: model.clone(), ..Only::default() }, "usage_rollup_model"),
            (Only { key, ..Only::default() }, "usage_rollup_key"),
        ];
        for (only, index) in &filters {
            let (from, to) = (Timestamp(5 * HOUR_MS), Timestamp(365 * DAY_MS));
            let wanted = Wanted { account, from, to, only: only.clone() };
            let (sums, ended) = match only.session {
                Some(_) => ("SEARCH usage_session USING", "usage_record_session"),
                None => ("SEARCH usage_rollup USING", "usage_record_ended"),
            };
            for span in [None, Some(Span::Hour), Some(Span::Day)] {
                for by in [vec![By::Model, By::Key], vec![By::Model, By::Member]] {
                    let grouping = Grouping { time: span.map(Time::Summed), by };
                    let starts_at = span.map(|_| Timestamp(30 * DAY_MS));
                    let last = Group { starts_at, model: model.clone(), key, member: key, ..Group::default() };
                    for last in [None, Some(&last)] {
                        let plan = plan(&ledger, wanted.page(&grouping, span, last, 50)).await;
                        assert!(!plan.contains("SCAN usage") && !plan.contains("SCAN key_maker"), "{plan}");
                        assert!(plan.contains(sums), "{plan}");
                    }
                }
            }
            for span in Span::ALL {
                let plan = plan(&ledger, wanted.spans_used(span, 50)).await;
                assert!(plan.contains(sums) && plan.contains(index), "{plan}");
                assert!(!plan.contains("TEMP B-TREE"), "read in order, up to its limit: {plan}");
            }
            let search = Search { account, from: wanted.from, only: &wanted.only };
            let before = Position::before(wanted.to);
            for sql in [
                history::newest(&search, before, 50, None),
                history::newest(&search, before, 50, Some(500)),
                history::at_place(&search, before, 500),
            ] {
                let plan = plan(&ledger, sql).await;
                assert!(plan.contains("SEARCH usage_record USING") && plan.contains(ended), "{plan}");
                assert!(!plan.contains("SCAN usage") && !plan.contains("RIGHT PART"), "{plan}");
            }
            for sql in [history::oldest(account, only, before, wanted.to)] {
                let plan = plan(&ledger, sql).await;
                assert!(plan.contains("SEARCH usage_record USING") && plan.contains("usage_record_ended"), "{plan}");
                assert!(!plan.contains("SCAN usage") && !plan.contains("RIGHT PART"), "{plan}");
            }
        }
    }
}
