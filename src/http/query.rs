//! Query strings of lists. Each parameter must be known, valid and given once; otherwise the error names it.

use actix_web::{HttpRequest, web};
use billing::{Timestamp, key::Scope, time::DAY_MS};
use uuid::Uuid;

use super::{auth::Sight, error::ApiError, values::text_fault};
use crate::{
    gateway::session,
    service::{
        page::{LARGEST as LARGEST_PAGE, Page},
        usage::Only,
    },
};

/// The default page size.
const USUAL_PAGE: u64 = 50;

/// A query string's parameters.
#[derive(Debug)]
pub struct Query(Vec<(String, String)>);

impl Query {
    /// The query of a request, with these known parameters.
    ///
    /// # Errors
    ///
    /// A parameter is unknown, given twice or empty, or the query can't be decoded. The error names the parameter.
    pub fn of(request: &HttpRequest, known: &[&str]) -> Result<Self, ApiError> {
        Self::parse(request.query_string(), known)
    }

    /// The query of a page's form, whose fields are sent empty where nothing is filled in.
    ///
    /// # Errors
    ///
    /// A parameter is unknown or given twice, or the query can't be decoded. The error names the parameter.
    pub fn of_form(request: &HttpRequest, known: &[&str]) -> Result<Self, ApiError> {
        let is_filled = |pair: &&str| !pair.is_empty() && !pair.ends_with('=');
        let filled: Vec<&str> = request.query_string().split('&').filter(is_filled).collect();
        Self::parse(&filled.join("&"), known)
    }

    fn parse(text: &str, known: &[&str]) -> Result<Self, ApiError> {
        let pairs = web::Query::<Vec<(String, String)>>::from_query(text);
        let pairs = pairs.map_err(|error| ApiError::invalid("query", error))?.into_inner();
        for (place, (name, value)) in pairs.iter().enumerate() {
            if !known.contains(&name.as_str()) {
                let name: String = name.chars().take(100).collect();
                let there = match known {
                    [] => "there are none".to_owned(),
                    [one] => format!("there is {one}"),
                    many => format!("there are {}", many.join(", ")),
                };
                return Err(ApiError::invalid(&name, format!("is not a parameter here; {there}")));
            }
            if pairs.iter().take(place).any(|(earlier, _)| earlier == name) {
                return Err(ApiError::invalid(name, "is given twice"));
            }
            text_fault(value).map_or(Ok(()), |fault| Err(ApiError::invalid(name, fault)))?;
        }
        Ok(Self(pairs))
    }

    /// A parameter's text.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(given, _)| given == name).map(|(_, value)| value.as_str())
    }

    /// `limit`: the most rows of a page.
    ///
    /// # Errors
    ///
    /// `limit` is not a whole number, or is out of range.
    pub fn limit(&self) -> Result<u64, ApiError> {
        let Some(text) = self.get("limit") else { return Ok(USUAL_PAGE) };
        let limit = text.parse().ok().filter(|limit| (1..=LARGEST_PAGE).contains(limit));
        limit.ok_or_else(|| ApiError::invalid("limit", format!("must be a whole number from 1 to {LARGEST_PAGE}")))
    }

    /// `limit` and `cursor`, for lists whose cursor is an id.
    ///
    /// # Errors
    ///
    /// `limit` is invalid, or `cursor` is not an id.
    pub fn page(&self) -> Result<Page, ApiError> {
        Ok(Page { before: self.cursor_id()?, limit: self.limit()? })
    }

    fn cursor_id(&self) -> Result<Option<Uuid>, ApiError> {
        let id = |text| Uuid::parse_str(text).map_err(|_| bad_cursor());
        self.get("cursor").map(id).transpose()
    }

    /// `model` and `session`, and `key_id` and `member_id`, which may be `none`. A caller that may see one key's usage alone gets
    /// that key.
    ///
    /// # Errors
    ///
    /// `key_id` or `member_id` is neither an id nor `none`, or `key_id` is another key than the only one whose use the caller may
    /// see.
    pub fn only(&self, sight: &Sight) -> Result<Only, ApiError> {
        let id = |name: &'static str, rule| match self.get(name) {
            None => Ok(None),
            Some("none") => Ok(Some(Uuid::nil())),
            Some(id) => Uuid::parse_str(id).map(Some).map_err(|_| ApiError::invalid(name, rule)),
        };
        let asked = id("key_id", "must be a key's id, or none")?;
        let member = id("member_id", "must be a member's id, or none")?;
        let key = match (asked, sight.only) {
            (Some(asked), Some(own)) if asked != own.0 => return Err(ApiError::out_of_scope(Scope::Read)),
            (asked, own) => asked.or(own.map(|own| own.0)),
        };
        let session = self.get("session").and_then(session::filter);
        Ok(Only { model: self.get("model").map(str::to_owned), key, member, session })
    }

    /// `from` and `to`; `to` is now by default. A date as `to` includes that whole day.
    ///
    /// # Errors
    ///
    /// A time is invalid, or `from` is not before `to`.
    pub fn range(&self, now: Timestamp) -> Result<(Option<Timestamp>, Timestamp), ApiError> {
        let from = self.get("from").map(|text| instant("from", text)).transpose()?;
        let to = match self.get("to") {
            Some(text) => match Timestamp::from_date(text) {
                Some(day) => day.plus_ms(DAY_MS),
                None => instant("to", text)?,
            },
            None => now,
        };
        if from.is_some_and(|from| from >= to) {
            return Err(ApiError::invalid("from", format!("must be before to, which is {to}")));
        }
        Ok((from, to))
    }
}

fn instant(name: &str, text: &str) -> Result<Timestamp, ApiError> {
    // An unescaped + of an offset is a space in a query.
    let offset = text.len().checked_sub(6).filter(|at| *at > 10 && text.as_bytes().get(*at) == Some(&b' '));
    let text = match offset.and_then(|at| text.split_at_checked(at)) {
        Some((time, offset)) => format!("{time}+{}", offset.trim_start()),
        None => text.to_owned(),
    };
    text.parse().map_err(|error| ApiError::invalid(name, error))
}

/// The error for a cursor that is not of this list.
pub fn bad_cursor() -> ApiError {
    ApiError::invalid("cursor", "must be the next_cursor of this list's last page")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gateway::serve::Caller;
    use billing::{
        ids::{AccountId, KeyId},
        key::Scopes,
    };

    const NAMES: &[&str] = &["from", "to", "model", "key_id", "member_id", "session", "limit", "cursor"];

    fn query(text: &str) -> Query {
        Query::parse(text, NAMES).unwrap()
    }

    #[test]
    fn what_is_unknown_twice_or_empty_is_named() {
        for (text, field) in
            [("form=1", "form"), ("limit=1&limit=2", "limit"), ("model=", "model"), ("model=%00", "model")]
        {
            let error = Query::parse(text, NAMES).unwrap_err();
            assert!(error.message().starts_with(field), "{text}: {}", error.message());
        }
        for limit in ["0", "201", "-1", "1.5", "99999999999999999999", "x"] {
            assert!(query(&format!("limit={limit}")).limit().is_err(), "{limit}");
        }
        let (account_id, own) = (AccountId(Uuid::from_u128(1)), KeyId(Uuid::from_u128(2)));
        let all = Sight { caller: Caller { account_id, key_id: own, scopes: Scopes::ALL }, only: None };
        assert!(query("key_id=1").only(&all).is_err());
        assert_eq!(query("").only(&all).unwrap().key, None);
        let one = Sight { only: Some(own), ..all };
        assert_eq!(query("").only(&one).unwrap().key, Some(own.0));
        assert_eq!(query(&format!("key_id={own}")).only(&one).unwrap().key, Some(own.0));
        for other in [Uuid::from_u128(3).to_string().as_str(), "none"] {
            assert!(query(&format!("key_id={other}")).only(&all).is_ok());
            assert!(query(&format!("key_id={other}")).only(&one).is_err(), "{other}");
        }
        let member = |text: &str| query(text).only(&one).map(|only| only.member);
        assert!(member("member_id=none").is_ok_and(|id| id == Some(Uuid::nil())));
        assert!(member("member_id=me").is_err());
        let session = query(&format!("session={}", "x".repeat(300))).only(&all).unwrap().session.unwrap();
        assert!(session.starts_with("blake3:"), "{session}: as it is kept");
        assert!(query("cursor=1").cursor_id().is_err());
        assert_eq!(query("model=a%2Fb+c").get("model"), Some("a/b c"));
    }

    #[test]
    fn a_range_is_read_and_checked() {
        let now = Timestamp(1_795_521_600_000);
        let range = |text: &str| query(text).range(now);
        assert_eq!(range("").unwrap(), (None, now));
        let day = now.floor(DAY_MS);
        assert_eq!(range("from=2026-11-24&to=2026-11-24").unwrap(), (Some(day), day.plus_ms(DAY_MS)));
        for offset in ["%2B", "+"] {
            let text = format!("from=2026-11-24T02:00:00{offset}02:00");
            assert_eq!(range(&text).unwrap().0, Some(day), "{text}");
        }
        for text in [
            "from=2026-11-25",
            "from=2026-11-24&to=2026-11-23",
            "from=x",
            "from=2026-11-24T00:00:00",
            "from=\u{e9}+12345",
            "from=9999-12-31T23:59:59-01:00",
            "from=10000-01-01",
        ] {
            assert!(range(text).unwrap_err().message().starts_with("from"), "{text}");
        }
        assert!(range("to=2026-02-30").unwrap_err().message().starts_with("to"));
    }
}
