//! The side that accepts: connections that prove themselves, and what is asked on them.
//!
//! What is asked here is carried out to its end, also where the asking node is gone: it runs in a task of its own. A whole
//! request ends with its client, as it would have where it came in: it is dropped once the other node lets it go.

use std::{
    convert::Infallible,
    sync::{Arc, Mutex, OnceLock, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use hyper::{body::Incoming, server::conn::http2, service::service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{Notify, OwnedSemaphorePermit, Semaphore, mpsc::Receiver, watch},
    task::JoinSet,
    time::{sleep, timeout},
};

use crate::{
    Common, Link,
    body::{Out, Sent, framed, whole},
    forward::{self, Forwarded, Outcome},
    frame::{Answer, Ask, Tell},
    hello::{Hello, Refusal},
    io,
    options::HEADERS,
    path,
    peer::Task,
    proof::{Begun, Binding, LENGTH, Side, random},
};

/// How long a node that is full is to wait.
const BUSY: Duration = Duration::from_millis(50);
/// How long connections may take to finish what is under way when the node ends.
const FINISH: Duration = Duration::from_secs(5);
/// How long nothing is accepted after the system could not.
const REST: Duration = Duration::from_millis(50);

/// What a node does for others. It is asked by nodes that have proven themselves, who are named.
pub trait Handler: Send + Sync + 'static {
    /// Answers an ask.
    fn ask(&self, from: &Hello, ask: Ask) -> impl Future<Output = Answer> + Send;

    /// Hears a message. It must not wait: what can't be taken is dropped.
    fn tell(&self, from: &Hello, tell: Tell);

    /// Begins a subscription: its messages, until the sender is dropped; or why there is none.
    fn subscribe(&self, from: &Hello, ask: Ask) -> impl Future<Output = Result<Receiver<Bytes>, Answer>> + Send;

    /// Answers a request that came in at another node. It is dropped once its client has left there. None where it was not
    /// begun, as this node takes nothing new.
    fn forward(&self, from: &Hello, request: Forwarded) -> impl Future<Output = Option<Response<Sent>>> + Send;
}

impl Link {
    /// Serves the other nodes, until told to stop; then what is under way is finished, within a time.
    pub async fn serve<H: Handler>(
        &self,
        listener: TcpListener,
        handler: Arc<H>,
        stop: impl Future<Output = ()> + Send,
    ) {
        let places = Arc::new(Semaphore::new(self.common.options.connections));
        let (stopping, stopped) = watch::channel(false);
        let mut connections = JoinSet::new();
        let mut stop = std::pin::pin!(stop);
        loop {
            let accepted = tokio::select! {
                () = &mut stop => break,
                Some(_) = connections.join_next() => continue,
                accepted = listener.accept() => accepted,
            };
            match accepted {
                Ok((stream, _)) => {
                    // Who finds no place is gone at once, and tries again later.
                    let Ok(place) = Arc::clone(&places).try_acquire_owned() else { continue };
                    let (common, handler, stopped) = (Arc::clone(&self.common), Arc::clone(&handler), stopped.clone());
                    connections.spawn(async move {
                        serve_one(common, handler, stream, stopped).await;
                        drop(place);
                    });
                }
                Err(_) => sleep(REST).await,
            }
        }
        drop(listener);
        // Who is gone already needs no word.
        let _ = stopping.send(true);
        let finished = async { while connections.join_next().await.is_some() {} };
        if timeout(FINISH, finished).await.is_err() {
            connections.shutdown().await;
        }
    }
}

/// Serves a connection: to its end, or until it has not proven itself in time.
async fn serve_one<H: Handler>(
    common: Arc<Common>,
    handler: Arc<H>,
    stream: TcpStream,
    mut stopped: watch::Receiver<bool>,
) {
    let options = common.options.clone();
    let Ok(Ok((io, binding))) = timeout(options.connect, io::accept(stream, common.tls.as_ref())).await else { return };
    let connection = Arc::new(Connection {
        asks: Arc::new(Semaphore::new(options.asks)),
        subscriptions: Arc::new(Semaphore::new(options.subscriptions)),
        forwards: Arc::new(Semaphore::new(options.forwards)),
        common,
        handler,
        binding,
        begun: Mutex::new(None),
        from: OnceLock::new(),
        proven: Notify::new(),
    });
    let proven = Arc::clone(&connection);
    let service = service_fn(move |request| {
        let connection = Arc::clone(&connection);
        async move { Ok::<_, Infallible>(connection.answer(request).await) }
    });
    let serving = http2::Builder::new(TokioExecutor::new())
        .timer(TokioTimer::new())
        .keep_alive_interval(options.alive)
        .keep_alive_timeout(options.alive)
        .max_concurrent_streams(u32::try_from(options.streams()).unwrap_or(u32::MAX))
        .max_header_list_size(HEADERS)
        .serve_connection(TokioIo::new(io), service);
    let mut serving = std::pin::pin!(serving);
    tokio::select! {
        _ = &mut serving => return,
        () = proven.proven.notified() => {}
        () = sleep(options.connect) => return,
    }
    tokio::select! {
        _ = &mut serving => return,
        _ = stopped.wait_for(|stopped| *stopped) => serving.as_mut().graceful_shutdown(),
    }
    // It ends by itself once its streams have, or with the node.
    let _ = serving.await;
}

struct Connection<H> {
    common: Arc<Common>,
    handler: Arc<H>,
    binding: Binding,
    begun: Mutex<Option<Begun>>,
    /// Who it is, once that is proven.
    from: OnceLock<Arc<Hello>>,
    proven: Notify,
    asks: Arc<Semaphore>,
    subscriptions: Arc<Semaphore>,
    forwards: Arc<Semaphore>,
}

fn plain(status: StatusCode, body: impl Into<Bytes>) -> Response<Out> {
    let mut response = Response::new(Out::Sent(Sent::Whole(body.into())));
    *response.status_mut() = status;
    response
}

fn messages(answer: &Answer, messages: Receiver<Bytes>, place: Option<OwnedSemaphorePermit>) -> Response<Out> {
    Response::new(Out::Messages { head: Some(framed(&answer.write())), messages, _place: place })
}

impl<H: Handler> Connection<H> {
    async fn answer(&self, request: Request<Incoming>) -> Response<Out> {
        let most = self.common.options.body;
        let asked = request.uri().path().to_owned();
        if asked == path::BEGIN {
            return self.begin(request).await;
        }
        if asked == path::PROVE {
            return self.prove(request).await;
        }
        let Some(from) = self.from.get().cloned() else {
            return plain(StatusCode::UNAUTHORIZED, "this connection has not proven itself");
        };
        if asked.starts_with(path::FORWARD) {
            return self.forward(from, request).await;
        }
        // What was sent with an ask is longer than its body by its head.
        let Ok(body) = whole(request.into_body(), most.saturating_add(1_024)).await else {
            return plain(StatusCode::PAYLOAD_TOO_LARGE, "it is too long, or was cut");
        };
        match asked.as_str() {
            path::ASK => self.ask(from, body).await,
            path::TELL => self.tell(&from, body),
            path::SUBSCRIBE => self.subscribe(from, body).await,
            _ => plain(StatusCode::NOT_FOUND, "there is nothing here"),
        }
    }

    /// Answers a nonce with a nonce. A connection begins once.
    async fn begin(&self, request: Request<Incoming>) -> Response<Out> {
        let body = whole(request.into_body(), LENGTH).await.ok();
        let first = body.and_then(|body| <[u8; LENGTH]>::try_from(&body[..]).ok());
        let (Some(first), Some(second)) = (first, random()) else {
            return plain(StatusCode::BAD_REQUEST, "no nonce");
        };
        let mut begun = self.begun.lock().unwrap_or_else(PoisonError::into_inner);
        if begun.is_some() {
            return plain(StatusCode::CONFLICT, "it has begun");
        }
        *begun = Some(Begun { first, second, binding: self.binding });
        plain(StatusCode::OK, second.to_vec())
    }

    /// Looks at a proof and at what the other node says of itself, and answers with the own ones. There is one try.
    async fn prove(&self, request: Request<Incoming>) -> Response<Out> {
        let refuse = |refusal: &Refusal| {
            tracing::warn!(%refusal, "a node is refused");
            plain(StatusCode::FORBIDDEN, serde_json::to_vec(refusal).unwrap_or_default())
        };
        let body = whole(request.into_body(), 1 << 16).await.unwrap_or_default();
        let begun = self.begun.lock().unwrap_or_else(PoisonError::into_inner).take();
        let (Some(begun), Some((proof, said))) = (begun, body.split_at_checked(LENGTH)) else {
            return refuse(&Refusal::Secret);
        };
        if !self.common.secret.holds(Side::Connects, &begun, said, proof) {
            return refuse(&Refusal::Secret);
        }
        let Ok(theirs) = serde_json::from_slice::<Hello>(said) else {
            return plain(StatusCode::BAD_REQUEST, "what it says of itself can't be read");
        };
        if let Some(refusal) = self.common.objection(&theirs) {
            return refuse(&refusal);
        }
        let own = serde_json::to_vec(&self.common.hello()).unwrap_or_default();
        let proof = self.common.secret.prove(Side::Accepts, &begun, &[said, &own].concat());
        if self.from.set(Arc::new(theirs)).is_err() {
            return plain(StatusCode::CONFLICT, "it is proven");
        }
        self.proven.notify_one();
        plain(StatusCode::OK, [proof.as_ref(), &own].concat())
    }

    /// What speaks against an ask before it is looked at.
    fn objection(&self, ask: &Ask) -> Option<Answer> {
        if ask.hops > self.common.options.hops {
            Some(Answer::Loops)
        } else if ask.left.is_zero() {
            Some(Answer::Late)
        } else {
            None
        }
    }

    async fn ask(&self, from: Arc<Hello>, body: Bytes) -> Response<Out> {
        let Ok(ask) = Ask::read(body) else { return plain(StatusCode::BAD_REQUEST, "it is no ask") };
        if let Some(answer) = self.objection(&ask) {
            return plain(StatusCode::OK, answer.write());
        }
        let Ok(place) = Arc::clone(&self.asks).try_acquire_owned() else {
            return plain(StatusCode::OK, Answer::Busy(BUSY).write());
        };
        let handler = Arc::clone(&self.handler);
        let answering = tokio::spawn(async move {
            let answer = handler.ask(&from, ask).await;
            drop(place);
            answer
        });
        plain(StatusCode::OK, answering.await.unwrap_or(Answer::Broken).write())
    }

    fn tell(&self, from: &Hello, body: Bytes) -> Response<Out> {
        let Ok(tells) = Tell::read_all(body) else { return plain(StatusCode::BAD_REQUEST, "these are no messages") };
        for tell in tells {
            self.handler.tell(from, tell);
        }
        plain(StatusCode::NO_CONTENT, Bytes::new())
    }

    async fn subscribe(&self, from: Arc<Hello>, body: Bytes) -> Response<Out> {
        let Ok(ask) = Ask::read(body) else { return plain(StatusCode::BAD_REQUEST, "it is no ask") };
        let no = |answer: &Answer| messages(answer, tokio::sync::mpsc::channel(1).1, None);
        if let Some(answer) = self.objection(&ask) {
            return no(&answer);
        }
        let Ok(place) = Arc::clone(&self.subscriptions).try_acquire_owned() else { return no(&Answer::Busy(BUSY)) };
        let handler = Arc::clone(&self.handler);
        let beginning = tokio::spawn(async move { handler.subscribe(&from, ask).await });
        match beginning.await {
            Ok(Ok(told)) => messages(&Answer::Answered(Bytes::new()), told, Some(place)),
            Ok(Err(answer)) => no(&answer),
            Err(_) => no(&Answer::Broken),
        }
    }

    async fn forward(&self, from: Arc<Hello>, request: Request<Incoming>) -> Response<Out> {
        let (head, body) = request.into_parts();
        let Ok(place) = Arc::clone(&self.forwards).try_acquire_owned() else {
            return Outcome::Busy.response().map(Out::Sent);
        };
        let Ok(body) = whole(body, self.common.options.body).await else {
            return Outcome::TooLarge.response().map(Out::Sent);
        };
        let Some(forwarded) = forward::incoming(Request::from_parts(head, body)) else {
            return plain(StatusCode::BAD_REQUEST, "it is no request of a link");
        };
        if forwarded.hops > self.common.options.hops {
            return Outcome::Loops.response().map(Out::Sent);
        }
        let handler = Arc::clone(&self.handler);
        let mut answering = Task(tokio::spawn(async move {
            let response = handler.forward(&from, forwarded).await;
            drop(place);
            response
        }));
        match (&mut answering.0).await {
            Ok(Some(response)) => forward::answered(response).map(Out::Sent),
            Ok(None) => Outcome::Busy.response().map(Out::Sent),
            Err(_) => Outcome::Broken.response().map(Out::Sent),
        }
    }
}
