//! The sums of `GET /v1/usage` as CSV: a line for each group, in the order of that list.

use billing::Timestamp;

use super::{usage::names, usage_csv::field};
use crate::{
    http::state::Shared,
    service::{
        ServiceError,
        history::Range,
        page::{LARGEST, Page},
        usage::{self, By, Group, Grouping, Span},
    },
};

/// Behind what the sums are grouped by.
const SUMS: &str = "requests,failed,input_tokens,cached_input_tokens,cache_write_tokens,output_tokens,reasoning_tokens,compute_ms,\
                    billed_seconds,cost,currency\r\n";

/// Sums that are read page by page.
pub(super) struct Sums {
    state: Shared,
    range: Range,
    grouping: Grouping,
    place: Place,
}

enum Place {
    First,
    Behind(Group),
    End,
}

impl Sums {
    pub(super) fn new(state: &Shared, range: Range, grouping: Grouping) -> Self {
        Self { state: state.clone(), range, grouping, place: Place::First }
    }

    /// The line of the columns' names.
    pub(super) fn columns(&self) -> String {
        let name = |name| match name {
            "key" => "key_id",
            "member" => "member_id",
            other => other,
        };
        names(&self.grouping).into_iter().map(name).chain([SUMS]).collect::<Vec<_>>().join(",")
    }

    /// The lines of the next page; `None` after the last page. A page may be empty.
    ///
    /// # Errors
    ///
    /// The ledger can't be read just now. A repetition reads the same page.
    pub(super) async fn next(&mut self) -> Result<Option<String>, ServiceError> {
        let before = match &self.place {
            Place::First => None,
            Place::Behind(group) => Some(group.clone()),
            Place::End => return Ok(None),
        };
        let page = Page { before, limit: LARGEST };
        let found = usage::groups(&self.state.service, self.range.clone(), &self.grouping, page).await?;
        self.place = found.next.map_or(Place::End, Place::Behind);
        Ok(Some(found.rows.iter().map(|(group, sums)| line(&self.grouping, group, sums)).collect()))
    }
}

fn line(grouping: &Grouping, group: &Group, sums: &usage::Sums) -> String {
    let id = |id: Option<uuid::Uuid>| id.filter(|id| !id.is_nil()).map(|id| id.to_string()).unwrap_or_default();
    let time = |at: Timestamp| match grouping.span {
        Some(Span::Day) => at.date(),
        Some(Span::Hour | Span::Minute) | None => at.to_string(),
    };
    let by = grouping.by.iter().map(|by| match by {
        By::Model => field(group.model.as_deref().unwrap_or_default()).into_owned(),
        By::Provider => field(group.provider.as_deref().unwrap_or_default()).into_owned(),
        By::Key => id(group.key),
        By::Member => id(group.member),
        By::Session => field(group.session.as_deref().unwrap_or_default()).into_owned(),
    });
    let counts = [
        sums.requests,
        sums.failed,
        sums.input_tokens,
        sums.cached_input_tokens,
        sums.cache_write_tokens,
        sums.output_tokens,
        sums.reasoning_tokens,
        sums.compute_ms,
        sums.billed_seconds,
    ];
    let fields = group.starts_at.map(time).into_iter().chain(by).chain(counts.map(|count| count.to_string()));
    fields.chain([sums.cost.to_string(), "USD".to_owned()]).collect::<Vec<_>>().join(",") + "\r\n"
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::account::usage::grouping;
    use uuid::Uuid;

    #[test]
    fn a_line_has_what_it_is_grouped_by_and_no_formula() {
        let grouping = grouping("session,day,key,member").unwrap();
        let group = Group {
            starts_at: Some(Timestamp(86_400_000)),
            key: Some(Uuid::nil()),
            member: Some(Uuid::from_u128(1)),
            session: Some("=1".into()),
            ..Group::default()
        };
        let sums = usage::Sums { requests: 2, billed_seconds: 3, ..usage::Sums::default() };
        let line = line(&grouping, &group, &sums);
        assert_eq!(line, format!("1970-01-02,,{},'=1,2,0,0,0,0,0,0,0,3,0.00,USD\r\n", Uuid::from_u128(1)));
    }
}
