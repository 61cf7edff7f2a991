//! A call as an HTTP request: its endpoint's address and headers, and the body written by its format.

use client::Body;
use http::{
    HeaderMap, Method, Request, Uri,
    header::{ACCEPT, ACCEPT_ENCODING, CONTENT_TYPE, HOST, HeaderName, HeaderValue, PROXY_AUTHORIZATION},
};
use wire::{format::ProviderCall, inference::Failure};

use super::{Call, Endpoint, Routes};

/// The most headers of a request: ours, and those that the connection needs.
const HEADERS: usize = 7;

/// The headers of every request by these routes, with the header that has the key.
pub(super) fn headers(routes: &Routes, key: Option<(HeaderName, HeaderValue)>) -> HeaderMap {
    let mut headers = HeaderMap::with_capacity(HEADERS);
    headers.insert(ACCEPT, HeaderValue::from_static("*/*"));
    // Without this header a server may choose any encoding.
    headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    let host = routes.host.clone().map(|host| (HOST, host));
    let proxy = routes.proxy_authorization.clone().map(|credentials| (PROXY_AUTHORIZATION, credentials));
    headers.extend([host, key, proxy].into_iter().flatten());
    headers
}

/// The request of a call.
pub(super) fn of(call: &Call) -> Result<Request<Body>, Failure> {
    let endpoint = &call.endpoint;
    let ProviderCall { path, headers: own, uploads, .. } = &*call.call;
    let (media_type, body) = call.call.body();
    let mut request = Request::new(Body::from(body));
    *request.method_mut() = Method::POST;
    *request.uri_mut() = address(endpoint, path)?;
    let headers = request.headers_mut();
    *headers = HeaderMap::clone(&endpoint.headers);
    if !uploads.is_empty() {
        let media_type = HeaderValue::from_str(&media_type);
        headers.insert(CONTENT_TYPE, media_type.map_err(|_| Failure::Transport("a form has no separator".into()))?);
    }
    for (name, value) in own {
        let header = name.parse::<HeaderName>().ok().zip(HeaderValue::from_str(value).ok());
        // The headers of every call stay: the key, and what describes the body and the answer's encoding.
        if let Some((name, value)) = header.filter(|(name, _)| !endpoint.headers.contains_key(name)) {
            headers.append(name, value);
        }
    }
    Ok(request)
}

/// The address of a call. The addresses of the usual paths are known.
fn address(endpoint: &Endpoint, path: &str) -> Result<Uri, Failure> {
    let Routes { base, addresses, .. } = &*endpoint.routes;
    match addresses.iter().find(|(known, _)| *known == path) {
        Some((_, address)) => Ok(address.clone()),
        None => client::address(&format!("{base}{path}"))
            .ok_or_else(|| Failure::Transport("the call's path is no part of an address".into())),
    }
}
