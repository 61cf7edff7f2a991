//! The nodes that share the ledger, its shards, and who has which open models.

use actix_web::{HttpRequest, HttpResponse};

use super::{
    kit::{Content, number, text, verdict},
    page::visited,
    text::{gib, second},
};
use crate::http::{state::Shared, views::nodes::NodeList};

/// `GET /operator/nodes`.
pub(super) async fn nodes(state: Shared, request: HttpRequest) -> HttpResponse {
    let make = async || Ok(of(&NodeList::of(state.cluster.as_deref(), state.hints.as_ref())));
    visited(&state, &request, "Nodes", make).await
}

fn of(list: &NodeList) -> Content {
    if !list.shared {
        return Content::default().says("This process owns the whole ledger: there are no other nodes.");
    }
    let nodes = list.nodes.iter().map(|node| {
        let name = if node.here { format!("{} (this one)", node.name) } else { node.name.clone() };
        vec![
            text(name),
            verdict(node.state),
            number(node.shards),
            text(&node.address),
            text(node.link.clone().unwrap_or_else(|| "–".to_owned())),
            number(format!("{} ms", node.clock_ahead_ms)),
            text(second(node.since)),
            text(second(node.heard_at)),
            text(&node.version),
        ]
    });
    let name_of = |id: uuid::Uuid| {
        list.nodes.iter().find(|node| node.id == id).map_or_else(|| id.to_string(), |node| node.name.clone())
    };
    let shards = list.shards.iter().map(|shard| {
        vec![
            number(shard.shard),
            text(shard.node.map_or_else(|| "nobody".to_owned(), name_of)),
            number(shard.epoch),
            text(shard.expires_at.map_or_else(|| "–".to_owned(), second)),
            number(shard.behind),
        ]
    });
    let models = list.models.iter().map(|model| {
        vec![
            text(&model.model),
            text(name_of(model.node)),
            verdict(model.state),
            number(model.waiting),
            number(gib(model.free_bytes)),
        ]
    });
    let redis = list.redis.as_ref().map_or_else(
        || "No Redis is set: nodes ask each other and the database.".to_owned(),
        |redis| {
            format!(
                "Redis is {}; {} calls answered, {} failed, {} not told.",
                redis.state, redis.answered, redis.failed, redis.untold
            )
        },
    );
    Content::default()
        .table(
            ("nodes", "Nodes"),
            redis,
            &["Node", "State", "Shards", "Address", "Way to it", "Clock ahead", "Since", "Heard", "Version"],
            nodes.collect(),
        )
        .table(
            ("shards", "Shards"),
            "",
            &["Shard", "Owner", "Epoch", "Until, unless renewed", "Rows behind"],
            shards.collect(),
        )
        .table(
            ("models", "Open models of each node"),
            "",
            &["Model", "Node", "State", "Waiting", "Free memory"],
            models.collect(),
        )
}
