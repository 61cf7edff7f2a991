//! The way to one node: what is asked of it, told and forwarded, each within its bounds.

use std::{
    net::IpAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use hyper::body::Incoming;
use runtime::node::NodeId;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, mpsc, watch},
    task::JoinHandle,
    time::{Instant, timeout_at},
};

use crate::{
    Common,
    body::{Cut, Messages, Pieces, Sent, whole},
    error::{LinkError, NotSent, Unknown},
    forward::{self, Outcome},
    frame::{Answer, Ask, Tell},
    path,
};

mod connection;
mod tells;

pub use connection::Standing;
use connection::{Connected, State};

/// The name that all nodes have in requests.
const AUTHORITY: &str = "node";

/// Ends a task with its owner.
#[derive(Debug)]
pub(crate) struct Task<T = ()>(pub(crate) JoinHandle<T>);

impl<T> Drop for Task<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Counts of what has become of asks and messages.
#[derive(Debug, Default)]
struct Counts {
    answered: AtomicU64,
    not_sent: AtomicU64,
    unknown: AtomicU64,
    told: AtomicU64,
    lost: AtomicU64,
    connections: AtomicU64,
}

/// How the way to a node fares.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerHealth {
    /// The node.
    pub node: NodeId,
    /// Where it listens.
    pub address: String,
    /// The connection.
    pub standing: Standing,
    /// Asks and requests that were answered.
    pub answered: u64,
    /// Those that were not sent, or not begun.
    pub not_sent: u64,
    /// Those whose outcome is unknown.
    pub unknown: u64,
    /// Messages that were told.
    pub told: u64,
    /// Messages that were lost.
    pub lost: u64,
    /// Connections that were made.
    pub connections: u64,
    /// Asks that are under way.
    pub under_way: usize,
}

struct Inner {
    common: Arc<Common>,
    node: NodeId,
    address: String,
    state: watch::Receiver<State>,
    counts: Arc<Counts>,
    asks: Arc<Semaphore>,
    subscriptions: Arc<Semaphore>,
    forwards: Arc<Semaphore>,
    tells: mpsc::Sender<tells::Waiting>,
    _tasks: [Task; 2],
}

/// The way to a node. Clones share it; with the last one, and once the link has forgotten the node, its connection ends.
#[derive(Clone)]
pub struct Peer(Arc<Inner>);

/// A subscription has not begun.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotSubscribed {
    /// The other node says why.
    #[error("there is none: {0:?}")]
    Answer(Answer),
    /// It was not asked, or did not answer.
    #[error(transparent)]
    Link(#[from] LinkError),
}

/// Messages from another node, as they come. It ends when it is dropped.
#[derive(Debug)]
pub struct Subscription {
    messages: Messages,
    _place: OwnedSemaphorePermit,
}

impl Subscription {
    /// The next message; none once the other node has ended the subscription.
    ///
    /// # Errors
    ///
    /// Where the connection broke: messages may have been lost.
    pub async fn next(&mut self) -> Result<Option<Bytes>, Cut> {
        self.messages.next().await
    }
}

impl Peer {
    /// Opens the way to a node, and keeps it open.
    pub(crate) fn open(common: Arc<Common>, node: NodeId, address: &str) -> Self {
        let counts = Arc::<Counts>::default();
        let (state, states) = watch::channel(State::Connecting);
        let (tells, waiting) = mpsc::channel(common.options.tells);
        let connecting = connection::keep(Arc::clone(&common), node, address.to_owned(), state, Arc::clone(&counts));
        let telling = tells::pour(Arc::clone(&common), waiting, states.clone(), Arc::clone(&counts));
        let options = &common.options;
        Self(Arc::new(Inner {
            node,
            address: address.to_owned(),
            state: states,
            asks: Arc::new(Semaphore::new(options.asks)),
            subscriptions: Arc::new(Semaphore::new(options.subscriptions)),
            forwards: Arc::new(Semaphore::new(options.forwards)),
            tells,
            _tasks: [Task(tokio::spawn(connecting)), Task(tokio::spawn(telling))],
            counts,
            common,
        }))
    }

    /// The node.
    pub fn node(&self) -> NodeId {
        self.0.node
    }

    /// Where it listens.
    pub fn address(&self) -> &str {
        &self.0.address
    }

    /// Asks, and waits for the answer as long as the ask may take.
    ///
    /// # Errors
    ///
    /// Where there is none; the error says whether the ask may have been carried out.
    pub async fn ask(&self, ask: Ask) -> Result<Answer, LinkError> {
        let answered = self.try_ask(ask).await;
        self.count(&answered);
        answered
    }

    async fn try_ask(&self, ask: Ask) -> Result<Answer, LinkError> {
        let end = self.check(&ask)?;
        if ask.hops > self.0.common.options.hops {
            return Ok(Answer::Loops);
        }
        let _place = self.0.asks.try_acquire().map_err(|_| NotSent::Full)?;
        let connected = self.connected(end).await?;
        let left = end.saturating_duration_since(Instant::now());
        let request = post(path::ASK, Ask { left, ..ask }.write())?;
        let (status, body) = self.exchange(&connected, request, end).await?;
        let answer = Answer::read(body).ok().filter(|_| status == StatusCode::OK);
        match answer.ok_or(Unknown::Nonsense)? {
            Answer::Broken => Err(Unknown::Unfinished.into()),
            answer => Ok(answer),
        }
    }

    /// Tells something. It waits in a queue, and may be lost.
    ///
    /// # Errors
    ///
    /// Where it is lost already: the queue is full, or it is too long.
    pub fn tell(&self, tell: Tell) -> Result<(), NotSent> {
        let most = self.0.common.options.body;
        let told = if tell.length() > most {
            Err(NotSent::TooLarge(most))
        } else {
            self.0.tells.try_send((Instant::now(), tell)).map_err(|_| NotSent::Full)
        };
        self.0.counts.lost.fetch_add(u64::from(told.is_err()), Relaxed);
        told
    }

    /// Subscribes to messages. The ask's time is for the beginning alone.
    ///
    /// # Errors
    ///
    /// Where it has not begun.
    pub async fn subscribe(&self, ask: Ask) -> Result<Subscription, NotSubscribed> {
        let end = self.check(&ask)?;
        let place =
            Arc::clone(&self.0.subscriptions).try_acquire_owned().map_err(|_| LinkError::from(NotSent::Full))?;
        let connected = self.connected(end).await?;
        let left = end.saturating_duration_since(Instant::now());
        let request = post(path::SUBSCRIBE, Ask { left, ..ask }.write()).map_err(LinkError::from)?;
        let response = connected.send(request, end).await?;
        let nonsense = || LinkError::from(Unknown::Nonsense);
        if response.status() != StatusCode::OK {
            return Err(nonsense().into());
        }
        let mut messages = Messages::new(self.pieces(response.into_body()), self.0.common.options.body);
        let first = timeout_at(end, messages.next()).await.map_err(|_| LinkError::from(Unknown::Late))?;
        let first = first.map_err(|cut| LinkError::from(Unknown::Broken(cut.0)))?.ok_or_else(nonsense)?;
        match Answer::read(first).map_err(|_| nonsense())? {
            Answer::Answered(_) => Ok(Subscription { messages, _place: place }),
            answer => Err(NotSubscribed::Answer(answer)),
        }
    }

    /// Passes a whole request on, of this client, and gives the answer as it comes. The time is for its head.
    ///
    /// # Errors
    ///
    /// Where there is none; the error says whether the request may have been carried out.
    pub async fn forward(
        &self,
        request: Request<Bytes>,
        client: Option<IpAddr>,
        hops: u8,
        left: Duration,
    ) -> Result<Response<Pieces>, LinkError> {
        let answered = self.try_forward(request, client, hops, left).await;
        self.count(&answered);
        answered
    }

    async fn try_forward(
        &self,
        request: Request<Bytes>,
        client: Option<IpAddr>,
        hops: u8,
        left: Duration,
    ) -> Result<Response<Pieces>, LinkError> {
        let end = Instant::now() + left;
        let most = self.0.common.options.body;
        if left.is_zero() {
            return Err(NotSent::Late.into());
        }
        if hops > self.0.common.options.hops {
            return Err(NotSent::Loops.into());
        }
        if request.body().len() > most {
            return Err(NotSent::TooLarge(most).into());
        }
        let request = forward::outgoing(request, client, hops, AUTHORITY)?;
        let _place = self.0.forwards.try_acquire().map_err(|_| NotSent::Full)?;
        let connected = self.connected(end).await?;
        let mut response = connected.send(request, end).await?;
        match Outcome::take(response.headers_mut()).ok_or(Unknown::Nonsense)? {
            Outcome::Answered => Ok(response.map(|body| self.pieces(body))),
            Outcome::Loops => Err(NotSent::Loops.into()),
            Outcome::Busy => Err(NotSent::Full.into()),
            Outcome::TooLarge => Err(NotSent::TooLarge(most).into()),
            Outcome::Broken => Err(Unknown::Unfinished.into()),
        }
    }

    fn pieces(&self, body: Incoming) -> Pieces {
        Pieces { body, _way: self.clone() }
    }

    /// How the way fares.
    pub fn health(&self) -> PeerHealth {
        let (inner, counts) = (&self.0, &self.0.counts);
        PeerHealth {
            node: inner.node,
            address: inner.address.clone(),
            standing: inner.state.borrow().standing(),
            answered: counts.answered.load(Relaxed),
            not_sent: counts.not_sent.load(Relaxed),
            unknown: counts.unknown.load(Relaxed),
            told: counts.told.load(Relaxed),
            lost: counts.lost.load(Relaxed),
            connections: counts.connections.load(Relaxed),
            under_way: inner.common.options.asks - inner.asks.available_permits(),
        }
    }

    fn count<T>(&self, answered: &Result<T, LinkError>) {
        let count = match answered {
            Ok(_) => &self.0.counts.answered,
            Err(LinkError::NotSent(_)) => &self.0.counts.not_sent,
            Err(LinkError::Unknown(_)) => &self.0.counts.unknown,
        };
        count.fetch_add(1, Relaxed);
    }

    /// Until when an ask may take, if it may be sent at all.
    fn check(&self, ask: &Ask) -> Result<Instant, LinkError> {
        let most = self.0.common.options.body;
        if ask.body.len() > most {
            Err(NotSent::TooLarge(most).into())
        } else if ask.left.is_zero() {
            Err(NotSent::Late.into())
        } else {
            Ok(Instant::now() + ask.left)
        }
    }

    async fn connected(&self, end: Instant) -> Result<Arc<Connected>, LinkError> {
        Ok(connection::connected(&mut self.0.state.clone(), end).await?)
    }

    /// Sends a request, and reads the whole of its answer.
    async fn exchange(
        &self,
        connected: &Connected,
        request: Request<Sent>,
        end: Instant,
    ) -> Result<(StatusCode, Bytes), LinkError> {
        let response = connected.send(request, end).await?;
        let (status, body) = (response.status(), read(response, self.0.common.options.body, end).await?);
        Ok((status, body))
    }
}

/// A request of the link.
fn post(path: &str, body: Bytes) -> Result<Request<Sent>, NotSent> {
    let unsendable = |error: http::Error| NotSent::Unsendable(error.to_string());
    let uri = forward::uri(AUTHORITY, path).map_err(unsendable)?;
    Request::post(uri).body(Sent::Whole(body)).map_err(unsendable)
}

/// The whole body of an answer.
async fn read(response: Response<Incoming>, most: usize, end: Instant) -> Result<Bytes, LinkError> {
    let body = whole(response.into_body(), most.saturating_add(1_024));
    let body = timeout_at(end, body).await.map_err(|_| Unknown::Late)?;
    Ok(body.map_err(|cut| Unknown::Broken(cut.0))?)
}
