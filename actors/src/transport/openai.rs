//! `OpenAI`'s HTTP: addresses and headers ("API reference", `OpenAI`).

use reqwest::{Client, RequestBuilder, header::CONTENT_TYPE};
use wire::{inference::Task, openai::provider_body};

use super::Call;

/// The request of a call.
pub(super) fn request(client: &Client, call: &Call) -> RequestBuilder {
    let route = match call.request.task {
        Task::Chat => "chat/completions",
        Task::Completion => "completions",
    };
    client
        .post(format!("{}/{route}", call.endpoint.base_url.trim_end_matches('/')))
        .bearer_auth(&call.endpoint.api_key)
        .header(CONTENT_TYPE, "application/json")
        .body(provider_body(&call.request, &call.upstream, call.limit))
}
