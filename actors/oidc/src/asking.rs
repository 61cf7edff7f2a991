//! The library's questions by our own client, which follows no redirect.

use std::pin::Pin;

use bytes::Bytes;
use client::{Body, CallError, Client};
use http::{HeaderValue, Request, Response, header::USER_AGENT};
use openidconnect::{AsyncHttpClient, HttpRequest, HttpResponse};

use crate::{LARGEST, WITHIN};

const AGENT: HeaderValue = HeaderValue::from_static(concat!("farebox/", env!("CARGO_PKG_VERSION")));

/// What asks.
pub(crate) struct Asked<'a>(&'a Client);

impl<'a> Asked<'a> {
    /// By this client.
    pub(crate) const fn by(client: &'a Client) -> Self {
        Self(client)
    }
}

impl<'c> AsyncHttpClient<'c> for Asked<'c> {
    type Error = CallError;
    type Future = Pin<Box<dyn Future<Output = Result<HttpResponse, CallError>> + Send + 'c>>;

    fn call(&'c self, request: HttpRequest) -> Self::Future {
        Box::pin(async move {
            let (mut head, body) = request.into_parts();
            head.headers.insert(USER_AGENT, AGENT);
            let request = Request::from_parts(head, Body::from(Bytes::from(body)));
            let (head, body) = self.0.call(request, WITHIN, LARGEST).await?.into_parts();
            Ok(Response::from_parts(head, body.to_vec()))
        })
    }
}
