//! One connection to a node, opened again whenever it breaks.

use std::{
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Duration,
};

use http::{Request, Response, StatusCode};
use hyper::{
    body::Incoming,
    client::conn::http2::{Builder, SendRequest},
};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use runtime::node::NodeId;
use tokio::{
    sync::watch,
    task::JoinHandle,
    time::{Instant, sleep, timeout, timeout_at},
};

use super::{Counts, Task, post, read};
use crate::{
    Common,
    body::Sent,
    error::{LinkError, NotSent, Unknown, cause},
    hello::{Hello, Refusal},
    io,
    options::HEADERS,
    path,
    proof::{Begun, LENGTH, Side, random},
};

/// The first wait between two tries to connect.
const FIRST_WAIT: Duration = Duration::from_millis(50);
/// Bytes of one answer that are read before they are wanted.
const READ_AHEAD: u32 = 64 << 10;
/// The most bytes that HTTP/2 lets be under way on a connection.
const MOST_AHEAD: usize = (1 << 31) - 1;

/// How a connection stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Standing {
    /// It is being made.
    Connecting,
    /// It is there.
    Connected {
        /// For how long.
        since: Duration,
        /// The other node's program.
        program: String,
    },
    /// It could not be made, and is tried again.
    Away(String),
    /// The two nodes do not work together. It is tried again.
    Refused(Refusal),
}

#[derive(Debug, Clone)]
pub(crate) enum State {
    Connecting,
    Connected(Arc<Connected>),
    Away(String),
    Refused(Refusal),
}

impl State {
    pub(crate) fn standing(&self) -> Standing {
        match self {
            Self::Connecting => Standing::Connecting,
            Self::Connected(connected) => Standing::Connected {
                since: connected.since.elapsed(),
                program: connected.hello.identity.program.clone(),
            },
            Self::Away(why) => Standing::Away(why.clone()),
            Self::Refused(refusal) => Standing::Refused(refusal.clone()),
        }
    }
}

#[derive(Debug)]
pub(crate) struct Connected {
    requests: SendRequest<Sent>,
    hello: Hello,
    since: Instant,
}

impl Connected {
    /// Sends a request, and waits for the head of its answer.
    pub(crate) async fn send(&self, request: Request<Sent>, end: Instant) -> Result<Response<Incoming>, LinkError> {
        send(&self.requests, request, end).await
    }
}

async fn send(
    requests: &SendRequest<Sent>,
    request: Request<Sent>,
    end: Instant,
) -> Result<Response<Incoming>, LinkError> {
    let answer = requests.clone().try_send_request(request);
    let mut failed = match timeout_at(end, answer).await {
        Err(_) => return Err(Unknown::Late.into()),
        Ok(Ok(response)) => return Ok(response),
        Ok(Err(failed)) => failed,
    };
    // A request that is given back was never sent.
    let was_sent = failed.take_message().is_none();
    Err(if was_sent { LinkError::of(failed.error()) } else { NotSent::Away(cause(failed.error())).into() })
}

/// The connection, once it is there. Nobody waits for a node that is known to be away.
pub(crate) async fn connected(state: &mut watch::Receiver<State>, end: Instant) -> Result<Arc<Connected>, NotSent> {
    loop {
        match &*state.borrow_and_update() {
            State::Connected(connected) if !connected.requests.is_closed() => return Ok(Arc::clone(connected)),
            // Closed, and not noticed yet.
            State::Connected(_) | State::Connecting => {}
            State::Away(why) => return Err(NotSent::Away(why.clone())),
            State::Refused(refusal) => return Err(NotSent::Refused(refusal.clone())),
        }
        match timeout_at(end, state.changed()).await {
            Ok(Ok(())) => {}
            Ok(Err(_)) => return Err(NotSent::Away("the node is forgotten".to_owned())),
            Err(_) => return Err(NotSent::Late),
        }
    }
}

/// Why there is no connection.
enum Failed {
    Away(String),
    Refused(Refusal),
}

impl From<LinkError> for Failed {
    fn from(error: LinkError) -> Self {
        Self::Away(error.to_string())
    }
}

/// Keeps a connection to a node.
pub(crate) async fn keep(
    common: Arc<Common>,
    node: NodeId,
    address: String,
    state: watch::Sender<State>,
    counts: Arc<Counts>,
) {
    let first_wait = FIRST_WAIT.min(common.options.back_off);
    let mut wait = first_wait;
    loop {
        let opened = timeout(common.options.connect, open(&common, node, &address)).await;
        match opened.unwrap_or_else(|_| Err(Failed::Away("no connection in time".to_owned()))) {
            Ok((connected, mut serving)) => {
                counts.connections.fetch_add(1, Relaxed);
                let since = connected.since;
                state.send_replace(State::Connected(Arc::new(connected)));
                // How it broke is told to those whose answers are missing.
                let _ = (&mut serving.0).await;
                if since.elapsed() > common.options.back_off {
                    wait = first_wait;
                    state.send_replace(State::Connecting);
                    continue;
                }
                state.send_replace(State::Away("the connection broke at once".to_owned()));
            }
            Err(Failed::Away(why)) => drop(state.send_replace(State::Away(why))),
            Err(Failed::Refused(refusal)) => {
                let before = state.send_replace(State::Refused(refusal.clone()));
                if !matches!(before, State::Refused(before) if before == refusal) {
                    tracing::warn!(%node, address, %refusal, "a node is not worked with");
                }
            }
        }
        sleep(jittered(wait)).await;
        wait = (wait * 2).min(common.options.back_off);
    }
}

/// A wait that differs from node to node, so that they do not all come at once.
fn jittered(wait: Duration) -> Duration {
    let part = random::<1>().map_or(128, |[byte]| u32::from(byte));
    wait * 3 / 4 + wait * part / 512
}

/// Opens a connection, and has both sides prove themselves.
async fn open(common: &Common, node: NodeId, address: &str) -> Result<(Connected, Task), Failed> {
    let away = |error: &(dyn std::error::Error + 'static)| Failed::Away(cause(error));
    let (io, binding) = io::connect(address, common.tls.as_ref()).await.map_err(|error| away(&error))?;
    // So much that answers which nobody reads, as many as there may be, do not stop the others.
    let all = (common.options.streams() * READ_AHEAD as usize).min(MOST_AHEAD);
    let (requests, serving) = Builder::new(TokioExecutor::new())
        .timer(TokioTimer::new())
        .keep_alive_interval(common.options.alive)
        .keep_alive_timeout(common.options.alive)
        .keep_alive_while_idle(true)
        .initial_stream_window_size(READ_AHEAD)
        .initial_connection_window_size(u32::try_from(all).unwrap_or(READ_AHEAD))
        .max_header_list_size(HEADERS)
        .handshake(TokioIo::new(io))
        .await
        .map_err(|error| away(&error))?;
    let serving: JoinHandle<()> = tokio::spawn(async move { drop(serving.await) });
    let serving = Task(serving);
    let end = Instant::now() + common.options.connect;
    let first = random().ok_or_else(|| Failed::Away("this machine has no random numbers".to_owned()))?;
    let ask = async |path, body: Vec<u8>| {
        let response = send(&requests, post(path, body.into())?, end).await?;
        let status = response.status();
        Ok::<_, LinkError>((status, read(response, 1 << 16, end).await?))
    };
    let nonsense = || Failed::Away("what answers there is no node".to_owned());
    let (status, second) = ask(path::BEGIN, first.to_vec()).await?;
    let second = <[u8; LENGTH]>::try_from(&second[..]).ok().filter(|_| status == StatusCode::OK);
    let begun = Begun { first, second: second.ok_or_else(nonsense)?, binding };
    let own = serde_json::to_vec(&common.hello()).unwrap_or_default();
    let proof = common.secret.prove(Side::Connects, &begun, &own);
    let (status, answer) = ask(path::PROVE, [proof.as_ref(), &own].concat()).await?;
    if status == StatusCode::FORBIDDEN {
        return Err(serde_json::from_slice(&answer).map_or_else(|_| nonsense(), Failed::Refused));
    }
    let (proof, said) = answer.split_at_checked(LENGTH).filter(|_| status == StatusCode::OK).ok_or_else(nonsense)?;
    if !common.secret.holds(Side::Accepts, &begun, &[&own, said].concat(), proof) {
        return Err(Failed::Refused(Refusal::Secret));
    }
    let hello: Hello = serde_json::from_slice(said).map_err(|_| nonsense())?;
    let objection = common.objection(&hello).or_else(|| {
        let other = hello.identity.node;
        (other != node).then_some(Refusal::Another(other))
    });
    match objection {
        Some(refusal) => Err(Failed::Refused(refusal)),
        None => Ok((Connected { requests, hello, since: Instant::now() }, serving)),
    }
}
