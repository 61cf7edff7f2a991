//! Calls of the command line to Farebox itself.

use std::time::Duration;

use client::{Body, Client, Options};
use http::{
    Request,
    header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE},
};
use serde_json::Value;

/// Far longer than anything asked may take: a model's import is waited for.
const CALL: Duration = Duration::from_hours(24 * 7);
/// An answer, at most: far more than a page of any list.
const LARGEST_ANSWER: usize = 256 << 20;

/// One JSON call: its status and answer.
///
/// # Errors
///
/// Why there is no answer, in words.
pub async fn call_json(method: &str, url: &str, token: &str, body: Option<&Value>) -> Result<(u16, Value), String> {
    // What is near is never asked for through a proxy: it would read the operator's token.
    let options = Options { proxies: client::no_proxies(), ..Options::default() };
    let client = Client::new(options).map_err(|error| error.to_string())?;
    let address = client::address(url).ok_or_else(|| format!("{url} is no address"))?;
    let authorization = client::bearer(token).ok_or("the token can't be sent")?;
    let mut request = Request::builder().method(method).uri(address).header(ACCEPT, "*/*");
    if body.is_some() {
        request = request.header(CONTENT_TYPE, "application/json");
    }
    let body = Body::from(body.map(Value::to_string).unwrap_or_default());
    let request = request.header(AUTHORIZATION, authorization).body(body).map_err(|error| error.to_string())?;
    let unsent = |_| format!("error sending request for url ({url})");
    let (head, body) = client.send(request, CALL).await.map_err(unsent)?.into_parts();
    let unread = || format!("error decoding response body for url ({url})");
    let body = client::collect(body, LARGEST_ANSWER, CALL).await.map_err(|_| unread())?;
    Ok((head.status.as_u16(), serde_json::from_slice(&body).map_err(|_| unread())?))
}
