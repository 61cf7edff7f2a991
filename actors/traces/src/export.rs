//! The export of spans: batches of them go to a collector by OTLP over HTTP, with the client that calls everything else.

use std::{
    collections::HashMap,
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use client::{CallError, Client};
use http::{HeaderName, HeaderValue, Request, Response};
use opentelemetry::KeyValue;
use opentelemetry_http::{HttpClient, HttpError};
use opentelemetry_otlp::{Protocol, SpanExporter as Otlp, WithExportConfig as _, WithHttpConfig as _};
use opentelemetry_sdk::{
    Resource,
    error::OTelSdkResult,
    trace::{BatchConfigBuilder, BatchSpanProcessor, SpanData, SpanExporter},
};
use tokio::runtime::Handle;

/// The path of traces below a collector's address (OTLP/HTTP).
const PATH: &str = "/v1/traces";
/// Spans that wait, at most: some four hundred requests' a second for five seconds.
const QUEUE: usize = 16_384;
/// Spans that are sent at once.
const BATCH: usize = 512;
/// How long a span waits for others.
const DELAY: Duration = Duration::from_secs(1);
/// How long a batch may take.
const LIMIT: Duration = Duration::from_secs(10);
/// The longest answer of a collector that is read.
const ANSWER: usize = 64 << 10;

/// Where spans go.
#[derive(Debug)]
pub struct Options {
    /// The collector's address; its path of traces is added.
    pub endpoint: String,
    /// Headers of each batch: what opens the collector.
    pub headers: Vec<(String, String)>,
    /// The part of traces begun here that is kept, from 0 to 1.
    pub ratio: f64,
    /// The name of the service, as its operator calls it.
    pub service: String,
    /// The program's version.
    pub version: String,
    /// This process among those of the service.
    pub instance: String,
}

/// Why spans can't be exported.
#[derive(Debug, thiserror::Error)]
pub enum Unusable {
    /// The address is none.
    #[error("the collector's address must be an http or https address")]
    Endpoint,
    /// A header is none. Its value is a secret, so that it is not told.
    #[error("the header {0:?} is no header, or its value is none")]
    Header(String),
    /// This machine's way to check certificates can't be had.
    #[error("no client can be made: {0}")]
    Client(#[from] client::TlsError),
    /// The exporter can't be made.
    #[error("the exporter can't be made: {0}")]
    Exporter(#[from] opentelemetry_otlp::ExporterBuildError),
}

/// What takes spans that have ended, and sends them in batches, from a thread of its own.
pub(super) fn batches(options: Options) -> Result<BatchSpanProcessor, Unusable> {
    let endpoint = format!("{}{PATH}", options.endpoint.trim_end_matches('/'));
    if client::address(&endpoint).is_none() {
        return Err(Unusable::Endpoint);
    }
    for (name, value) in &options.headers {
        if name.parse::<HeaderName>().is_err() || HeaderValue::from_str(value).is_err() {
            return Err(Unusable::Header(name.clone()));
        }
    }
    let mut exporter = Otlp::builder()
        .with_http()
        .with_http_client(Sender { client: Client::new(client::Options::default())?, runtime: Handle::current() })
        .with_protocol(Protocol::HttpBinary)
        .with_endpoint(endpoint)
        .with_headers(HashMap::from_iter(options.headers))
        .with_timeout(LIMIT)
        .build()?;
    exporter.set_resource(
        &Resource::builder_empty()
            .with_attributes([
                KeyValue::new("service.name", options.service),
                KeyValue::new("service.version", options.version),
                KeyValue::new("service.instance.id", options.instance),
            ])
            .build(),
    );
    let config = BatchConfigBuilder::default()
        .with_max_queue_size(QUEUE)
        .with_max_export_batch_size(BATCH)
        .with_scheduled_delay(DELAY)
        .build();
    let counted = Counted { exporter, is_away: AtomicBool::new(false) };
    Ok(BatchSpanProcessor::builder(counted).with_batch_config(config).build())
}

/// An exporter that counts what became of spans, and says once that the collector is away, and once that it is back.
#[derive(Debug)]
struct Counted {
    exporter: Otlp,
    is_away: AtomicBool,
}

impl SpanExporter for Counted {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let count = batch.len() as u64;
        let exported = self.exporter.export(batch).await;
        let outcome = if exported.is_ok() { "exported" } else { "lost" };
        metrics::counter!("farebox_spans_total", "outcome" => outcome).increment(count);
        let was_away = self.is_away.swap(exported.is_err(), Ordering::Relaxed);
        match &exported {
            Err(error) if !was_away => {
                tracing::warn!(%error, "spans can't be exported, and are lost");
            }
            Ok(()) if was_away => tracing::info!("spans are exported again"),
            Err(_) | Ok(()) => {}
        }
        exported
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.exporter.shutdown_with_timeout(timeout)
    }
}

/// Our client as the exporter wants one. The exporter's thread has no runtime, so that the process's sends.
struct Sender {
    client: Client,
    runtime: Handle,
}

impl std::fmt::Debug for Sender {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sender").finish_non_exhaustive()
    }
}

#[async_trait]
impl HttpClient for Sender {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let client = self.client.clone();
        let request = request.map(client::Body::new);
        let sending = self.runtime.spawn(async move { client.call(request, LIMIT, ANSWER).await });
        // A runtime that ends drops what it has: the process ends.
        let answered: Result<_, CallError> = sending.await?;
        Ok(answered?)
    }
}
