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
/// An answer of anyone, at most.
const LARGEST_FOREIGN: usize = 1 << 20;
/// How long anyone may take to answer.
const FOREIGN: Duration = Duration::from_secs(30);

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

/// Reads JSON from an address of anyone, also through a proxy, with no credentials: its status and answer.
///
/// # Errors
///
/// Why there is no answer, in words.
pub async fn read_json(url: &str) -> Result<(u16, Value), String> {
    let client = Client::new(Options::default()).map_err(|error| error.to_string())?;
    let address = client::address(url).ok_or_else(|| format!("{url} is no address"))?;
    let request = Request::builder().uri(address).header(ACCEPT, "application/json").body(Body::default());
    let request = request.map_err(|error| error.to_string())?;
    let unsent = |_| format!("error sending request for url ({url})");
    let (head, body) = client.send(request, FOREIGN).await.map_err(unsent)?.into_parts();
    let unread = || format!("error decoding response body for url ({url})");
    let body = client::collect(body, LARGEST_FOREIGN, FOREIGN).await.map_err(|_| unread())?;
    Ok((head.status.as_u16(), serde_json::from_slice(&body).map_err(|_| unread())?))
}
