//! Calls of the command line to Farebox itself.

use reqwest::{Client, Method, redirect::Policy};

/// Makes one JSON call, and returns its status and answer.
///
/// # Errors
///
/// The reason in words where the method or the address is malformed, the gateway did not answer, or the answer is not
/// JSON. An error status is no error here: its answer is returned.
pub async fn call_json(
    method: &str,
    url: &str,
    token: &str,
    body: Option<&serde_json::Value>,
) -> Result<(u16, serde_json::Value), String> {
    // Another crypto provider may be installed already; either serves.
    let _ = rustls::crypto::ring::default_provider().install_default();
    // No proxy: it would read the operator's token.
    let client = Client::builder()
        .no_proxy()
        .connect_timeout(std::time::Duration::from_secs(10))
        .redirect(Policy::none())
        .build()
        .map_err(|error| error.to_string())?;
    let method = Method::from_bytes(method.as_bytes()).map_err(|error| error.to_string())?;
    let mut request = client.request(method, url).bearer_auth(token);
    if let Some(body) = body {
        request = request.json(body);
    }
    let response = request.send().await.map_err(|error| error.to_string())?;
    let status = response.status().as_u16();
    Ok((status, response.json().await.map_err(|error| error.to_string())?))
}
