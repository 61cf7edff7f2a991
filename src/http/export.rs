//! `GET /v1/usage.csv`: an account's ended requests with their exact costs, oldest first, for people who keep books. It is
//! read from the ledger a page at a time, as fast as its reader takes it, so that it needs little memory however long it
//! is. Once it has begun, a fault can only cut it short: its connection then ends without the transfer's proper end.

use std::{borrow::Cow, collections::HashMap, sync::Arc};

use actix_web::{HttpRequest, HttpResponse, http::header};
use billing::{Timestamp, ids::AccountId};
use bytes::Bytes;
use futures::{StreamExt, stream};
use ledger::{
    Ledger, LedgerError,
    history::{EXPORT_PAGE, Position},
    query::{QuantityRow, RequestRow},
    usage::Only,
};
use uuid::Uuid;

use super::{arrival::Arrival, auth, error::ApiError, query::Query, respond::refuse, state::Shared};

const COLUMNS: &str = "request_id,started_at,ended_at,key_id,key_name,model,provider,ending,input_tokens,cached_input_tokens,\
                       cache_write_tokens,output_tokens,estimated,compute_ms,billed_seconds,base_cost,fee,cost,currency,price_version,quantities\r\n";

/// An export under way.
struct Export {
    ledger: Arc<Ledger>,
    account: AccountId,
    to: Timestamp,
    only: Only,
    keys: HashMap<Uuid, String>,
    /// Where the last page ended; none after the last one.
    after: Option<Position>,
}

impl Export {
    /// The lines of the next page; none where it has ended. Of one model or key they may be empty.
    async fn next(&mut self) -> Result<Option<String>, LedgerError> {
        let Some(after) = self.after else { return Ok(None) };
        let rows = self.ledger.export(self.account, after, self.to).await?;
        self.after = rows.last().filter(|_| rows.len() == EXPORT_PAGE).map(Position::of);
        let mut lines = String::new();
        for row in rows.iter().filter(|row| wanted(&self.only, row)) {
            lines.push_str(&line(row, &self.keys));
        }
        Ok(Some(lines))
    }
}

fn wanted(only: &Only, row: &RequestRow) -> bool {
    only.model.as_ref().is_none_or(|model| *model == row.model)
        && only.key.is_none_or(|key| key == row.key_id.unwrap_or_default())
}

fn line(row: &RequestRow, keys: &HashMap<Uuid, String>) -> String {
    let key_name = row.key_id.and_then(|id| keys.get(&id)).map_or("", String::as_str);
    let fields = [
        row.id.to_string(),
        row.started_at.to_string(),
        row.ended_at.to_string(),
        row.key_id.map(|id| id.to_string()).unwrap_or_default(),
        field(key_name).into_owned(),
        field(&row.model).into_owned(),
        field(&row.provider).into_owned(),
        row.ending.clone(),
        row.input_tokens.to_string(),
        row.cached_input_tokens.to_string(),
        row.cache_write_tokens.to_string(),
        row.output_tokens.to_string(),
        row.estimated.to_string(),
        row.compute_ms.to_string(),
        row.billed_seconds.to_string(),
        row.base_cost.clone(),
        row.fee.clone(),
        row.cost.to_string(),
        "USD".to_owned(),
        row.price_version.to_string(),
        field(&quantities(row)).into_owned(),
    ];
    fields.join(",") + "\r\n"
}

/// What was used, as one field: `tokens.input=12@0.00000015:0.0000018 tokens.output=...`, each with its amount, what one
/// costs and what it came to before the fee.
fn quantities(row: &RequestRow) -> String {
    let one = |QuantityRow { quantity, amount, rate, cost }: &QuantityRow| match (rate, cost) {
        (Some(rate), Some(cost)) => format!("{quantity}={amount}@{rate}:{cost}"),
        (Some(_) | None, None) | (None, Some(_)) => format!("{quantity}={amount}"),
    };
    row.quantities.iter().map(one).collect::<Vec<_>>().join(" ")
}

/// A text as a field of RFC 4180. A spreadsheet takes a field that begins like a formula for one, in quotes or not: such
/// a text gets an apostrophe before it, which spreadsheets read as "this is text".
fn field(text: &str) -> Cow<'_, str> {
    let formula = text.trim_start().starts_with(['=', '+', '-', '@', '\u{ff1d}', '\u{ff0b}', '\u{ff0d}', '\u{ff20}'])
        || text.starts_with(['\t', '\r', '\n']);
    let plain = !text.contains([',', ';', '"', '\r', '\n', '\t']) && text.trim() == text;
    match (formula, plain) {
        (false, true) => Cow::Borrowed(text),
        (true, true) => Cow::Owned(format!("'{text}")),
        (false, false) => Cow::Owned(format!("\"{}\"", text.replace('"', "\"\""))),
        (true, false) => Cow::Owned(format!("\"'{}\"", text.replace('"', "\"\""))),
    }
}

async fn begin(state: &Shared, request: &HttpRequest) -> Result<(String, Export), ApiError> {
    let sight = auth::sight(state, request).await?;
    let account = sight.caller.account_id;
    let query = Query::of(request, &["from", "to", "model", "key_id"])?;
    let now = state.gateway.clock().now();
    let (from, to) = query.range(now)?;
    let ledger = Arc::clone(state.gateway.accounts.ledger());
    let keys = ledger.keys(account).await?.into_iter().map(|key| (key.id.0, key.name)).collect();
    let after = Some(Position::before(from.unwrap_or(Timestamp(0))));
    // What ends from now on is not in it, or it might never end.
    let to = to.min(now);
    let mut export = Export { ledger, account, to, only: query.only(&sight)?, keys, after };
    let first = export.next().await?.unwrap_or_default();
    Ok((format!("{COLUMNS}{first}"), export))
}

/// `GET /v1/usage.csv`.
pub async fn usage_csv(state: Shared, request: HttpRequest) -> HttpResponse {
    let (first, export) = match begin(&state, &request).await {
        Ok(begun) => begun,
        Err(error) => return refuse(&request, &error),
    };
    let others = stream::try_unfold(export, |mut export| async move {
        let next = export.next().await.inspect_err(|error| tracing::error!(%error, "export cut short"))?;
        Ok(next.map(|lines| (Bytes::from(lines), export)))
    });
    let body = stream::once(async { Ok::<_, LedgerError>(Bytes::from(first)) }).chain(others);
    HttpResponse::Ok()
        .content_type("text/csv; charset=utf-8; header=present")
        .insert_header((header::CONTENT_DISPOSITION, "attachment; filename=\"usage.csv\""))
        .insert_header((header::CACHE_CONTROL, "no-store"))
        .insert_header(("x-request-id", Arrival::of(&request).id.to_string()))
        .streaming(body)
}

#[cfg(test)]
mod tests {
    use billing::quantity::Key;

    use super::*;

    #[test]
    fn a_field_is_quoted_where_it_must_be_and_never_a_formula() {
        for (text, written) in [
            ("gpt-4o-mini", "gpt-4o-mini"),
            ("", ""),
            ("a,b", "\"a,b\""),
            ("say \"hi\"", "\"say \"\"hi\"\"\""),
            ("two\r\nlines", "\"two\r\nlines\""),
            ("=1+1", "'=1+1"),
            ("@SUM(A1)", "'@SUM(A1)"),
            ("-2", "'-2"),
            (" +2", "\"' +2\""),
            ("\t=1", "\"'\t=1\""),
            ("=HYPERLINK(\"x\",\"y\")", "\"'=HYPERLINK(\"\"x\"\",\"\"y\"\")\""),
            ("\u{ff1d}1", "'\u{ff1d}1"),
        ] {
            assert_eq!(field(text), written, "{text:?}");
        }
    }

    #[test]
    fn only_what_is_asked_for_is_wanted() {
        let at = Timestamp(1_795_521_600_000);
        let row = RequestRow {
            id: Uuid::from_u128(1),
            key_id: None,
            model: "m".into(),
            provider: "=p".into(),
            ending: "completed".into(),
            input_tokens: 1,
            cached_input_tokens: 0,
            cache_write_tokens: 0,
            output_tokens: 2,
            reasoning_tokens: 0,
            estimated: false,
            compute_ms: 0,
            billed_seconds: 0,
            base_cost: "0.0000012345".into(),
            fee: "0.00000002469".into(),
            cost: billing::Nanos::new(1_259),
            unitemised_cost: None,
            quantities: vec![
                QuantityRow {
                    quantity: Key::INPUT,
                    amount: 1,
                    rate: "0.00000015".parse().ok(),
                    cost: Some("0.00000015".into()),
                },
                QuantityRow { quantity: Key::OUTPUT, amount: 2, rate: None, cost: None },
            ],
            price_version: 1,
            started_at: at,
            ended_at: at,
        };
        let only = |model: Option<&str>, key: Option<u128>| Only {
            model: model.map(Into::into),
            key: key.map(Uuid::from_u128),
        };
        for (only, is) in [
            (only(None, None), true),
            (only(Some("m"), None), true),
            (only(Some("n"), None), false),
            (only(None, Some(0)), true),
            (only(None, Some(7)), false),
        ] {
            assert_eq!(wanted(&only, &row), is, "{only:?}");
        }
        let line = line(&row, &HashMap::new());
        assert_eq!(line.matches(',').count(), COLUMNS.matches(',').count());
        assert!(
            line.contains(",'=p,completed,1,0,0,2,false,0,0,0.0000012345,0.00000002469,0.000001259,USD,1,tokens.input=1@0.00000015:0.00000015 tokens.output=2\r\n"),
            "{line}"
        );
    }
}
