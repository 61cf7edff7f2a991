//! Requests that came in at another node, answered by the same routes as any other. They run on threads of their own, as
//! handlers stay with their thread.

use std::{
    net::SocketAddr,
    pin::{Pin, pin},
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use actix_http::Request;
use actix_rt::Arbiter;
use actix_service::{Service, ServiceFactory as _, map_config};
use actix_web::{
    App, Error, HttpMessage as _, HttpResponse,
    body::{BoxBody, MessageBody as _},
    dev::{AppConfig, Payload, ServiceResponse},
    http::{
        Method, Uri,
        header::{CONTENT_LENGTH, HeaderName, HeaderValue},
    },
    middleware::from_fn,
    web::ServiceConfig,
};
use actors::cluster::{Cut, Forwarded, Sent, relay::Relays};
use bytes::Bytes;
use futures::future::BoxFuture;
use tokio::sync::{
    mpsc::{self, UnboundedReceiver, UnboundedSender},
    oneshot,
};

use crate::http::{
    edge,
    error::{ApiError, Shape},
    live::relayed::{self, Cancels},
    routes,
    state::{Counted, Shared},
    traced,
};

/// The most pieces of an answer that wait for the other node. Few, because a piece may be as large as an answer.
const PIECES: usize = 2;

/// The mark of a request that another node passed on.
pub(in crate::http) struct Relayed;

/// An answer for another node.
type Answer = ::http::Response<Sent>;

/// A request, and where its answer goes.
struct Work {
    request: Forwarded,
    reply: oneshot::Sender<Answer>,
}

/// The threads that serve.
struct Desk {
    state: Shared,
    /// Bounded by the requests that the link takes from each node.
    threads: Vec<UnboundedSender<Work>>,
    next: AtomicUsize,
}

/// Serves what other nodes pass on, on so many threads.
pub fn serve(state: &Shared, threads: usize) -> Arc<dyn Relays> {
    let cancels = Cancels::default();
    let start = |_| {
        let (sender, works) = mpsc::unbounded_channel();
        let (state, cancels) = (state.clone(), cancels.clone());
        Arbiter::new().spawn_fn(move || drop(actix_rt::spawn(work(state, cancels, works))));
        sender
    };
    Arc::new(Desk {
        state: state.clone(),
        threads: (0..threads.max(1)).map(start).collect(),
        next: AtomicUsize::new(0),
    })
}

impl Relays for Desk {
    fn serve(&self, request: Forwarded) -> BoxFuture<'static, Option<Answer>> {
        let (reply, answered) = oneshot::channel();
        let thread = self.next.fetch_add(1, Ordering::Relaxed) % self.threads.len();
        let is_taken = self.state.takes_work() && self.threads[thread].send(Work { request, reply }).is_ok();
        Box::pin(async move {
            if !is_taken {
                return None;
            }
            Some(answered.await.unwrap_or_else(|_| failed(&ApiError::internal(&"a request's handler died"))))
        })
    }
}

/// An error that no handler has answered with.
fn failed(error: &ApiError) -> Answer {
    let body = Bytes::from(error.body(Shape::Object, "").to_string());
    let mut answer = ::http::Response::new(Sent::Whole(body));
    *answer.status_mut() = ::http::StatusCode::from_u16(error.status().as_u16()).unwrap_or_default();
    answer.headers_mut().insert("content-type", ::http::HeaderValue::from_static("application/json"));
    answer
}

/// Serves on this thread, as long as the process runs.
async fn work(state: Shared, cancels: Cancels, mut works: UnboundedReceiver<Work>) {
    let own = |app: &mut ServiceConfig| relayed::configure(app, &cancels);
    let app = App::new()
        .wrap(from_fn(edge::edge))
        .wrap(from_fn(traced::traced))
        .configure(own)
        .configure(|app| routes::configure(app, &state));
    let app = map_config(app, |()| AppConfig::default()).new_service(()).await;
    let Ok(app) = app.map(Rc::new) else { return tracing::error!("other nodes' requests can't be served") };
    while let Some(Work { request, reply }) = works.recv().await {
        actix_rt::spawn(one(Rc::clone(&app), request, reply, state.count_detached()));
    }
}

/// Serves one request, unless its client leaves before.
async fn one<S>(app: Rc<S>, forwarded: Forwarded, mut reply: oneshot::Sender<Answer>, detached: Counted)
where
    S: Service<Request, Response = ServiceResponse<BoxBody>, Error = Error>,
{
    let request = match request(forwarded) {
        Ok(request) => request,
        Err(error) => return drop(reply.send(failed(&error))),
    };
    let mut answering = pin!(app.call(request));
    let response = tokio::select! {
        answered = &mut answering => match answered {
            Ok(response) => response.into_parts().1,
            Err(error) => HttpResponse::from_error(error),
        },
        () = reply.closed() => return,
    };
    let (head, body) = response.into_parts();
    let mut answer = ::http::Response::new(());
    *answer.status_mut() = ::http::StatusCode::from_u16(head.status().as_u16()).unwrap_or_default();
    for (name, value) in head.headers() {
        let name = ::http::HeaderName::from_bytes(name.as_str().as_bytes());
        if let (Ok(name), Ok(value)) = (name, ::http::HeaderValue::from_bytes(value.as_bytes())) {
            answer.headers_mut().append(name, value);
        }
    }
    match body.try_into_bytes() {
        Ok(whole) => drop(reply.send(answer.map(|()| Sent::Whole(whole)))),
        Err(body) => {
            let (sender, pieces) = mpsc::channel(PIECES);
            if reply.send(answer.map(|()| Sent::Pieces(pieces))).is_ok() {
                pour(body, sender).await;
            }
        }
    }
    // Until here a node that ends waits for the answer.
    drop(detached);
}

/// Hands the pieces of an answer on, until its client leaves.
async fn pour(mut body: BoxBody, pieces: mpsc::Sender<Result<Bytes, Cut>>) {
    loop {
        let next = std::future::poll_fn(|context| Pin::new(&mut body).poll_next(context));
        let piece = tokio::select! {
            piece = next => piece,
            () = pieces.closed() => return,
        };
        let (piece, is_last) = match piece {
            None => return,
            Some(Ok(piece)) => (Ok(piece), false),
            Some(Err(error)) => (Err(Cut(error.to_string())), true),
        };
        if pieces.send(piece).await.is_err() || is_last {
            return;
        }
    }
}

/// The request as the server reads one from a connection.
fn request(forwarded: Forwarded) -> Result<Request, ApiError> {
    let Forwarded { request, client, .. } = forwarded;
    let (head, body) = request.into_parts();
    let length = body.len();
    let mut same = Request::with_payload(Payload::from(body));
    let own = same.head_mut();
    own.method = Method::from_bytes(head.method.as_str().as_bytes()).map_err(|error| ApiError::internal(&error))?;
    own.uri = head.uri.to_string().parse::<Uri>().map_err(|error| ApiError::internal(&error))?;
    own.peer_addr = client.map(|client| SocketAddr::new(client, 0));
    for (name, value) in &head.headers {
        let name = HeaderName::from_bytes(name.as_str().as_bytes()).map_err(|error| ApiError::internal(&error))?;
        let value = HeaderValue::from_bytes(value.as_bytes()).map_err(|error| ApiError::internal(&error))?;
        own.headers.append(name, value);
    }
    if length > 0 {
        own.headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
    }
    same.extensions_mut().insert(Relayed);
    Ok(same)
}
