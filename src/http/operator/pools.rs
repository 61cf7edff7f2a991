//! Devices and open models, and the providers of closed ones.

use actix_web::{HttpRequest, HttpResponse};

use super::{
    acts,
    kit::{Cell, Content, bar, link, number, text, verdict},
    overview::of_minute,
    page::visited,
    text::{gib, ms_or, second},
};
use crate::http::{
    admin::overview::picture,
    state::Shared,
    views::{
        overview::Provider,
        pools::{Device, PoolModel, Pools},
    },
};

/// `GET /operator/pools`.
pub(super) async fn pools(state: Shared, request: HttpRequest) -> HttpResponse {
    visited(&state, &request, "Pools", async || Ok(of_pools(&picture(&state).pools))).await
}

fn of_pools(pools: &Pools) -> Content {
    Content::default()
        .table(
            ("devices", "Devices"),
            "",
            &["Device", "Size classes", "Memory that models have"],
            pools.devices.iter().map(device).collect(),
        )
        .table(
            ("models", "Open models that are in memory, or were asked for"),
            "",
            &[
                "Model",
                "Class",
                "State",
                "Why",
                "Device",
                "Memory",
                "Runs",
                "In its engine",
                "Waits for it",
                "Tokens/s",
                "First token",
                "Unused for",
                "Acts",
            ],
            pools.models.iter().map(model).collect(),
        )
        .links(vec![link("Load a model", "/operator/acts?act=load"), link("What operators did", "/operator/acts")])
}

fn device(device: &Device) -> Vec<Cell> {
    let words = format!("{} of {}", gib(device.used_bytes), gib(device.memory_bytes));
    vec![text(&device.name), text(device.classes.join(", ")), bar(words, device.used_bytes, device.memory_bytes)]
}

fn model(model: &PoolModel) -> Vec<Cell> {
    let float = |number: Option<f64>| number.map_or_else(|| "–".to_owned(), |number| format!("{number:.1}"));
    let state = if model.pinned { format!("{}, pinned", model.state) } else { model.state.to_owned() };
    vec![
        text(&model.id),
        text(model.class),
        Cell { text: state, ..verdict(model.state) },
        text(model.why.clone().unwrap_or_default()),
        text(model.device.clone().unwrap_or_else(|| "–".to_owned())),
        number(gib(model.bytes)),
        number(model.running),
        number(model.queued),
        number(model.waiting),
        number(float(model.tokens_per_second)),
        number(model.time_to_first_token_ms.map_or_else(|| "–".to_owned(), |ms| format!("{ms:.0} ms"))),
        number(ms_or(model.unused_ms)),
        acts::of_model(&model.id, model.state),
    ]
}

/// `GET /operator/providers`.
pub(super) async fn providers(state: Shared, request: HttpRequest) -> HttpResponse {
    visited(&state, &request, "Providers", async || Ok(of_providers(&picture(&state).providers))).await
}

fn of_providers(providers: &[Provider]) -> Content {
    let parts = providers.iter().flat_map(|provider| {
        provider.models.iter().map(|part| {
            let tried = part.tried_at.map_or_else(|| "–".to_owned(), second);
            vec![text(&provider.name), text(&part.name), verdict(part.verdict), text(&part.why), text(tried)]
        })
    });
    Content::default()
        .table(
            ("providers", "Providers"),
            "The numbers are of the last minute. An open circuit lets one call through every few seconds, until one is answered.",
            &[
                "Provider", "Circuit", "Why", "Keys", "Calls", "Act", "Answered", "Clients left", "Failed",
                "First piece, half", "99 of 100", "Whole, half", "99 of 100",
            ],
            providers.iter().map(provider).collect(),
        )
        .table(
            ("provider-models", "Models in trouble"),
            "",
            &["Provider", "Model", "Verdict", "Why", "Tried again"],
            parts.collect(),
        )
        .links(vec![link("What operators did", "/operator/acts")])
}

fn provider(provider: &Provider) -> Vec<Cell> {
    let head = vec![
        link(&provider.name, format!("/operator/actors/provider/{}", acts::encoded(&provider.name))),
        verdict(provider.circuit),
        text(provider.why.clone().unwrap_or_default()),
        number(provider.keys),
        number(format!("{} of {}", provider.running, provider.most)),
        acts::of_provider(&provider.name, provider.circuit == "paused"),
    ];
    [head, of_minute(&provider.minute)].concat()
}
