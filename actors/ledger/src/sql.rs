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

    /// Adds conditions on a model or a key, in the form of the sums: the nil id means no key.
    pub(super) fn only(&mut self, only: &Only) {
        if let Some(model) = &only.model {
            self.add(" AND model = ?", [model.as_str().into()]);
        }
        if let Some(key) = only.key {
            self.add(" AND key_id = ?", [key.into()]);
        }
    }
}

#[cfg(test)]
mod tests {
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
        usage::{By, Group, Grouping, Wanted},
    };

    /// SQLite's query plan, one step a line.
    async fn plan(ledger: &Ledger, sql: Sql) -> String {
        let rows = ledger.rows(&format!("EXPLAIN QUERY PLAN {}", sql.text), sql.values).await.unwrap();
        let steps = rows.iter().map(|row| row.try_get::<String>("", "detail").unwrap());
        steps.collect::<Vec<_>>().join("\n")
    }

    #[tokio::test]
    async fn every_page_finds_its_rows_by_an_index() {
        let (ledger, _folder) = new_ledger().await;
        let account = AccountId(Uuid::from_u128(1));
        let (model, key) = (Some("m".to_owned()), Some(Uuid::from_u128(2)));
        let filters = [
            (Only::default(), "PRIMARY KEY"),
            (Only { model: model.clone(), key: None }, "usage_rollup_model"),
            (Only { model: None, key }, "usage_rollup_key"),
        ];
        for (only, index) in &filters {
            let only = only.clone();
            let wanted = Wanted { account, from: Timestamp(5 * HOUR_MS), to: Timestamp(365 * DAY_MS), only };
            for span in [None, Some(Span::Hour), Some(Span::Day)] {
                let grouping = Grouping { span, by: vec![By::Model, By::Key] };
                let starts_at = span.map(|_| Timestamp(30 * DAY_MS));
                let last = Group { starts_at, model: model.clone(), provider: None, key };
                for last in [None, Some(&last)] {
                    let plan = plan(&ledger, wanted.page(&grouping, last, 50)).await;
                    assert!(!plan.contains("SCAN usage"), "{plan}");
                    assert!(plan.contains("SEARCH usage_rollup USING"), "{plan}");
                }
            }
            for span in Span::ALL {
                let plan = plan(&ledger, wanted.spans_used(span, 50)).await;
                assert!(plan.contains("SEARCH usage_rollup USING") && plan.contains(index), "{plan}");
                assert!(!plan.contains("TEMP B-TREE"), "read in order, up to its limit: {plan}");
            }
            let search = Search { account, from: wanted.from, only: &wanted.only };
            let before = Position::before(wanted.to);
            for sql in [
                history::newest(&search, before, 50, None),
                history::newest(&search, before, 50, Some(500)),
                history::last_looked_at(&search, before),
                history::oldest(account, before, wanted.to),
            ] {
                let plan = plan(&ledger, sql).await;
                assert!(plan.contains("SEARCH usage_record USING") && plan.contains("usage_record_ended"), "{plan}");
                assert!(!plan.contains("SCAN usage") && !plan.contains("RIGHT PART"), "{plan}");
            }
        }
    }
}
