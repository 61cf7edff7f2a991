//! `OpenAI`'s HTTP: addresses and headers ("API reference", `OpenAI`).

use bytes::Bytes;
use http_body_util::Full;
use hyper::{
    HeaderMap, Method, Request,
    header::{ACCEPT, ACCEPT_ENCODING, AUTHORIZATION, CONTENT_TYPE, HOST, HeaderValue, PROXY_AUTHORIZATION},
};
use wire::{format::openai::provider_body, inference::Task};

use super::Call;

/// The most headers of a request: ours, and those that its connection needs.
const HEADERS: usize = 7;

/// The request of a call.
pub(super) fn request(call: &Call) -> Request<Full<Bytes>> {
    let endpoint = &call.endpoint;
    let mut headers = HeaderMap::with_capacity(HEADERS);
    headers.insert(ACCEPT, HeaderValue::from_static("*/*"));
    // Without it a server may choose any.
    headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    let routes = &endpoint.routes;
    let known = [
        (HOST, &routes.host),
        (AUTHORIZATION, &endpoint.authorization),
        (PROXY_AUTHORIZATION, &routes.proxy_authorization),
    ];
    for (name, value) in known {
        if let Some(value) = value {
            headers.insert(name, value.clone());
        }
    }
    let mut request = Request::new(Full::from(provider_body(&call.request, &call.upstream, call.limit)));
    *request.method_mut() = Method::POST;
    *request.uri_mut() = match call.request.task {
        Task::Chat => routes.chat.clone(),
        Task::Completion => routes.completions.clone(),
    };
    *request.headers_mut() = headers;
    request
}
