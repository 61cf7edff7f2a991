//! Calls to Farebox itself, by the command line.

use reqwest::{Client, Method, redirect::Policy};

/// One JSON call: its status and answer.
pub async fn call_json(
    method: &str,
    url: &str,
    token: &str,
    body: Option<&serde_json::Value>,
) -> Result<(u16, serde_json::Value), String> {
    // Another provider may have been installed before; either will do.
    let _ = rustls::crypto::ring::default_provider().install_default();
    // What is near is never asked for through a proxy: it would read the operator's token.
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
