//! A call as an HTTP request: its endpoint's address and headers, and the body written by its format.

use client::Body;
use http::{
    HeaderMap, Method, Request,
    header::{ACCEPT, ACCEPT_ENCODING, AUTHORIZATION, CONTENT_TYPE, HOST, HeaderValue, PROXY_AUTHORIZATION},
};
use wire::{format::ProviderCall, inference::Failure};

use super::{Call, Routes};

/// The most headers of a request: ours, and those that the connection needs.
const HEADERS: usize = 7;

/// The headers of every request by these routes, with the header that has the key.
pub(super) fn headers(routes: &Routes, authorization: Option<HeaderValue>) -> HeaderMap {
    let mut headers = HeaderMap::with_capacity(HEADERS);
    headers.insert(ACCEPT, HeaderValue::from_static("*/*"));
    // Without this header a server may choose any encoding.
    headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    let known = [
        (HOST, routes.host.clone()),
        (AUTHORIZATION, authorization),
        (PROXY_AUTHORIZATION, routes.proxy_authorization.clone()),
    ];
    for (name, value) in known {
        if let Some(value) = value {
            headers.insert(name, value);
        }
    }
    headers
}

/// The request of a call.
pub(super) fn of(call: &Call) -> Result<Request<Body>, Failure> {
    let endpoint = &call.endpoint;
    let ProviderCall { path, body } = endpoint.format.call(&call.request, &call.upstream, call.limit)?;
    let address = endpoint.routes.addresses.iter().find(|(known, _)| *known == path);
    let (_, address) = address.ok_or_else(|| Failure::Transport(format!("{path} is not among the format's paths")))?;
    let mut request = Request::new(Body::from(body));
    *request.method_mut() = Method::POST;
    *request.uri_mut() = address.clone();
    *request.headers_mut() = HeaderMap::clone(&endpoint.headers);
    Ok(request)
}
