//! `GET /v1/usage.csv`: an account's ended requests with their exact costs, oldest first, for bookkeeping; with `group_by` the sums
//! of `GET /v1/usage` instead, all pages of them. It is written as fast as its reader takes it. A fault after the beginning can only cut it short: the connection then ends
//! without the transfer's proper end.

use std::borrow::Cow;

use actix_web::{HttpRequest, HttpResponse, http::header};
use billing::{Timestamp, timings::Timings};
use bytes::Bytes;
use futures::{StreamExt, stream};

use super::{sums_csv::Sums, usage::grouping};
use crate::{
    http::{arrival::Arrival, auth, error::ApiError, query::Query, respond::refuse, state::Shared},
    service::{
        ServiceError,
        export::Export,
        history::{Ended, Quantity, Range, Used},
        usage,
    },
};

const COLUMNS: &str = "request_id,started_at,ended_at,key_id,key_name,model,provider,ending,input_tokens,cached_input_tokens,\
                       cache_write_tokens,output_tokens,estimated,compute_ms,billed_seconds,base_cost,fee,cost,currency,price_version,quantities,session,admission_ms,load_ms,queue_ms,run_ms,first_ms\r\n";

/// The lines of the next page; `None` after the last page.
async fn lines(export: &mut Export) -> Result<Option<String>, ServiceError> {
    let Some(rows) = export.next().await? else { return Ok(None) };
    Ok(Some(rows.iter().map(|row| line(row, export.name_of(row.key_id))).collect()))
}

fn line(row: &Ended, key_name: &str) -> String {
    let used: &Used = &row.used;
    let ms = |of: fn(&Timings) -> Option<u64>| row.timings.as_ref().and_then(of).map(|ms| ms.to_string());
    let ms = |of| ms(of).unwrap_or_default();
    let fields = [
        row.id.to_string(),
        row.started_at.to_string(),
        row.ended_at.to_string(),
        row.key_id.map(|id| id.to_string()).unwrap_or_default(),
        field(key_name).into_owned(),
        field(&row.model).into_owned(),
        field(&row.provider).into_owned(),
        row.ending.clone(),
        used.input_tokens.to_string(),
        used.cached_input_tokens.to_string(),
        used.cache_write_tokens.to_string(),
        used.output_tokens.to_string(),
        used.estimated.to_string(),
        used.compute_ms.to_string(),
        used.billed_seconds.to_string(),
        row.base_cost.clone(),
        row.fee.clone(),
        row.cost.to_string(),
        "USD".to_owned(),
        row.price_version.to_string(),
        field(&quantities(row)).into_owned(),
        field(row.session.as_deref().unwrap_or_default()).into_owned(),
        ms(|of| Some(of.admission_ms)),
        ms(|of| Some(of.load_ms)),
        ms(|of| Some(of.queue_ms)),
        ms(|of| Some(of.run_ms)),
        ms(|of| of.first_ms),
    ];
    fields.join(",") + "\r\n"
}

/// The usage as one field: `tokens.input=12@0.00000015:0.0000018 tokens.output=...`, each with its amount, its price
/// and its cost before the fee.
fn quantities(row: &Ended) -> String {
    let one = |Quantity { key, amount, rate, cost }: &Quantity| match (rate, cost) {
        (Some(rate), Some(cost)) => format!("{key}={amount}@{rate}:{cost}"),
        (Some(_) | None, None) | (None, Some(_)) => format!("{key}={amount}"),
    };
    row.quantities.iter().map(one).collect::<Vec<_>>().join(" ")
}

/// A text as a field of RFC 4180. Spreadsheets read a field that begins like a formula as one, in quotes or not, so
/// such a text gets an apostrophe, which spreadsheets read as "this is text".
pub(super) fn field(text: &str) -> Cow<'_, str> {
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

/// What is read page by page.
enum Rows {
    /// Ended requests.
    Requests(Box<Export>),
    /// Sums.
    Sums(Box<Sums>),
}

impl Rows {
    /// The lines of the next page; `None` after the last page.
    async fn next(&mut self) -> Result<Option<String>, ServiceError> {
        match self {
            Self::Requests(export) => lines(export).await,
            Self::Sums(sums) => sums.next().await,
        }
    }
}

async fn begin(state: &Shared, request: &HttpRequest) -> Result<(String, Rows), ApiError> {
    let sight = auth::sight(state, request).await?;
    let query = Query::of(request, &["from", "to", "group_by", "model", "key_id", "member_id", "session"])?;
    let (account, only) = (sight.caller.account_id, query.only(&sight)?);
    let (columns, mut rows) = if let Some(text) = query.get("group_by") {
        let grouping = grouping(text)?;
        let (from, to) = query.range(state.service.now().plus_ms(1))?;
        let (from, to) = usage::whole(from, to, &grouping)?;
        let sums = Sums::new(state, Range { account, from, to, only }, grouping);
        (sums.columns(), Rows::Sums(Box::new(sums)))
    } else {
        let (from, to) = query.range(state.service.now())?;
        let range = Range { account, from: from.unwrap_or(Timestamp(0)), to, only };
        (COLUMNS.to_owned(), Rows::Requests(Box::new(Export::begin(&state.service, range).await?)))
    };
    let first = rows.next().await?.unwrap_or_default();
    Ok((columns + &first, rows))
}

/// `GET /v1/usage.csv`.
pub async fn usage_csv(state: Shared, request: HttpRequest) -> HttpResponse {
    let (first, rows) = match begin(&state, &request).await {
        Ok(begun) => begun,
        Err(error) => return refuse(&request, &error),
    };
    let others = stream::try_unfold(rows, |mut rows| async move {
        let next = rows.next().await.inspect_err(|error| tracing::error!(%error, "export cut short"))?;
        Ok(next.map(|lines| (Bytes::from(lines), rows)))
    });
    let body = stream::once(async { Ok::<_, ServiceError>(Bytes::from(first)) }).chain(others);
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
    use billing::{Nanos, ids::RequestId};
    use uuid::Uuid;

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
    fn a_line_has_a_field_for_each_column() {
        let at = Timestamp(1_795_521_600_000);
        let row = Ended {
            id: RequestId(Uuid::from_u128(1)),
            key_id: None,
            model: "m".into(),
            provider: "=p".into(),
            ending: "completed".into(),
            used: Used {
                input_tokens: 1,
                cached_input_tokens: 0,
                cache_write_tokens: 0,
                output_tokens: 2,
                reasoning_tokens: 0,
                estimated: false,
                compute_ms: 0,
                billed_seconds: 0,
            },
            base_cost: "0.0000012345".into(),
            fee: "0.00000002469".into(),
            cost: Nanos::new(1_259),
            unitemised_cost: None,
            quantities: vec![
                Quantity {
                    key: Key::INPUT,
                    amount: 1,
                    rate: "0.00000015".parse().ok(),
                    cost: Some("0.00000015".into()),
                },
                Quantity { key: Key::OUTPUT, amount: 2, rate: None, cost: None },
            ],
            price_version: 1,
            started_at: at,
            ended_at: at,
            session: Some("+1".into()),
            timings: Some(Timings { admission_ms: 1, load_ms: 0, queue_ms: 2, run_ms: 30, first_ms: None }),
        };
        let line = line(&row, "");
        assert_eq!(line.matches(',').count(), COLUMNS.matches(',').count());
        assert!(
            line.contains(",'=p,completed,1,0,0,2,false,0,0,0.0000012345,0.00000002469,0.000001259,USD,1,tokens.input=1@0.00000015:0.00000015 tokens.output=2,'+1,1,0,2,30,\r\n"),
            "{line}"
        );
    }
}
