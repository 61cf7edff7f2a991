//! A collector of traces, which takes OTLP over HTTP as the protocol's specification writes it, and nothing else: one path,
//! protobuf, messages that can be read whole. It keeps every byte that it is sent, too.

use std::{
    collections::HashMap,
    io::{Read as _, Write as _},
    net::{TcpListener, TcpStream},
    sync::{Arc, Mutex},
    thread,
    time::{Duration, Instant},
};

use opentelemetry_proto::tonic::{
    collector::trace::v1::ExportTraceServiceRequest,
    common::v1::{KeyValue, any_value::Value},
    trace::v1::span::SpanKind,
};
use prost::Message as _;

/// A span, as it came.
#[derive(Debug, Clone)]
pub(crate) struct Span {
    pub(crate) name: String,
    pub(crate) kind: SpanKind,
    /// In small hexadecimal letters, as the context's header has them.
    pub(crate) trace: String,
    pub(crate) id: String,
    pub(crate) parent: String,
    /// Nanoseconds since 1970.
    pub(crate) times: (u64, u64),
    pub(crate) has_failed: bool,
    attributes: HashMap<String, String>,
}

impl Span {
    /// An attribute, as text; empty where it has none of the name.
    pub(crate) fn of(&self, key: &str) -> &str {
        self.attributes.get(key).map_or("", String::as_str)
    }
}

#[derive(Default)]
struct Seen {
    spans: Vec<Span>,
    services: Vec<String>,
    bytes: Vec<u8>,
    faults: Vec<String>,
}

/// The collector, gone with the test's process.
pub(crate) struct Collector {
    url: String,
    seen: Arc<Mutex<Seen>>,
}

impl Collector {
    /// It takes batches that show this header alone.
    pub(crate) fn start(header: (&'static str, &'static str)) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let seen = Arc::<Mutex<Seen>>::default();
        let own = Arc::clone(&seen);
        thread::spawn(move || {
            for connection in listener.incoming().map_while(Result::ok) {
                let own = Arc::clone(&own);
                thread::spawn(move || serve(connection, header, &own));
            }
        });
        Self { url, seen }
    }

    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// Everything that it was sent.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        self.seen.lock().unwrap().bytes.clone()
    }

    /// The spans of a trace, once this one is among them and its end was sent: a trace's spans may come in several batches.
    pub(crate) async fn trace(&self, is_root: impl Fn(&Span) -> bool) -> Vec<Span> {
        let began = Instant::now();
        loop {
            {
                let seen = self.seen.lock().unwrap();
                assert!(seen.faults.is_empty(), "{:?}", seen.faults);
                assert!(seen.services.iter().all(|service| service == "farebox-in-a-test"), "{:?}", seen.services);
                if let Some(root) = seen.spans.iter().find(|span| is_root(span)) {
                    let of_trace = seen.spans.iter().filter(|span| span.trace == root.trace);
                    return of_trace.cloned().collect();
                }
            }
            assert!(began.elapsed() < Duration::from_secs(30), "no such span: {:?}", self.seen.lock().unwrap().spans);
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

/// Serves a connection's requests, one after the other.
fn serve(mut connection: TcpStream, (name, value): (&str, &str), seen: &Mutex<Seen>) {
    let mut bytes = Vec::new();
    while let Some((head, body)) = next(&mut connection, &mut bytes) {
        let head = head.to_ascii_lowercase();
        let shown = format!("\r\n{name}: {value}\r\n");
        let is_otlp = head.starts_with("post /v1/traces http/1.1\r\n")
            && head.contains("\r\ncontent-type: application/x-protobuf\r\n")
            && head.contains(&shown);
        let fault = if is_otlp {
            let mut seen = seen.lock().unwrap();
            seen.bytes.extend_from_slice(head.as_bytes());
            seen.bytes.extend_from_slice(&body);
            match ExportTraceServiceRequest::decode(&*body) {
                Ok(request) => {
                    take(request, &mut seen);
                    None
                }
                Err(error) => Some(error.to_string()),
            }
        } else {
            Some(head.clone())
        };
        let status = if fault.is_none() { "200 OK" } else { "400 Bad Request" };
        seen.lock().unwrap().faults.extend(fault);
        let answer = format!("HTTP/1.1 {status}\r\ncontent-type: application/x-protobuf\r\ncontent-length: 0\r\n\r\n");
        if connection.write_all(answer.as_bytes()).is_err() {
            return;
        }
    }
}

/// The next request's head, with the line that ends it, and its body.
fn next(connection: &mut TcpStream, bytes: &mut Vec<u8>) -> Option<(String, Vec<u8>)> {
    loop {
        if let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
            let head = String::from_utf8(bytes[..end + 2].to_vec()).ok()?;
            let length =
                head.lines().find_map(|line| line.to_ascii_lowercase().strip_prefix("content-length: ")?.parse().ok());
            let whole = end + 4 + length.unwrap_or(0);
            if bytes.len() >= whole {
                let body = bytes[end + 4..whole].to_vec();
                bytes.drain(..whole);
                return Some((head, body));
            }
        }
        let mut piece = [0; 16_384];
        match connection.read(&mut piece) {
            Ok(count) if count > 0 => bytes.extend_from_slice(&piece[..count]),
            _ => return None,
        }
    }
}

fn text(value: &Value) -> String {
    match value {
        Value::StringValue(text) => text.clone(),
        Value::IntValue(number) => number.to_string(),
        Value::ArrayValue(list) => {
            let texts = list.values.iter().filter_map(|value| value.value.as_ref()).map(text);
            texts.collect::<Vec<_>>().join(",")
        }
        other => format!("{other:?}"),
    }
}

fn named(attributes: &[KeyValue]) -> HashMap<String, String> {
    let pair = |pair: &KeyValue| {
        let value = pair.value.as_ref().and_then(|value| value.value.as_ref());
        (pair.key.clone(), value.map(text).unwrap_or_default())
    };
    attributes.iter().map(pair).collect()
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").unwrap();
        text
    })
}

fn take(request: ExportTraceServiceRequest, seen: &mut Seen) {
    for of_resource in request.resource_spans {
        let resource = named(&of_resource.resource.unwrap_or_default().attributes);
        seen.services.push(resource.get("service.name").cloned().unwrap_or_default());
        for span in of_resource.scope_spans.into_iter().flat_map(|scope| scope.spans) {
            assert!(span.start_time_unix_nano <= span.end_time_unix_nano, "{span:?}");
            seen.spans.push(Span {
                kind: span.kind(),
                trace: hex(&span.trace_id),
                id: hex(&span.span_id),
                parent: hex(&span.parent_span_id),
                times: (span.start_time_unix_nano, span.end_time_unix_nano),
                has_failed: span.status.as_ref().is_some_and(|status| status.code == 2),
                attributes: named(&span.attributes),
                name: span.name,
            });
        }
    }
}
