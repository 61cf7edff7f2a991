//! `OpenAI`'s HTTP: addresses and headers ("API reference", `OpenAI`).

use reqwest::{
    Client, RequestBuilder,
    header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue},
};
use wire::{inference::Task, openai::provider_body};

use super::Call;

/// The request of a call.
pub(super) fn request(client: &Client, call: &Call) -> RequestBuilder {
    let url = match call.request.task {
        Task::Chat => &call.endpoint.chat,
        Task::Completion => &call.endpoint.completions,
    };
    let mut request = client.post(url.clone()).header(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    if let Some(authorization) = &call.endpoint.authorization {
        request = request.header(AUTHORIZATION, authorization.clone());
    }
    request.body(provider_body(&call.request, &call.upstream, call.limit))
}
