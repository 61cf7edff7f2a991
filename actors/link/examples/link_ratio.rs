//! What the link adds to HTTP/2: asks over a link, beside the same bodies over a bare connection of hyper, in turns, in one
//! process. `cargo run --release -p link --example link_ratio` prints the time of an ask of each, alone and with many under
//! way, and their ratios.

use std::{
    convert::Infallible,
    error::Error,
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt as _, Full};
use hyper::{
    body::Incoming,
    client::conn::http2::{SendRequest, handshake},
    server::conn::http2,
    service::service_fn,
};
use hyper_util::rt::{TokioExecutor, TokioIo};
use link::{Answer, Ask, Forwarded, Handler, Hello, Identity, Link, Options, Peer, Sent, Tell};
use runtime::{clock::Clock, node::NodeId};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::mpsc::{self, Receiver},
    task::JoinSet,
};
use uuid::Uuid;

const SECRET: &[u8] = b"a secret of a measurement, not short";
/// Bytes of a question and of its answer, as of an admission.
const BODY: usize = 400;
/// Asks of one turn, and turns.
const ASKS: usize = 4_000;
const TURNS: usize = 7;

type Failed = Box<dyn Error + Send + Sync>;

struct Echo;

impl Handler for Echo {
    async fn ask(&self, _: &Hello, ask: Ask) -> Answer {
        Answer::Answered(ask.body)
    }

    fn tell(&self, _: &Hello, _: Tell) {}

    async fn subscribe(&self, _: &Hello, _: Ask) -> Result<Receiver<Bytes>, Answer> {
        Ok(mpsc::channel(1).1)
    }

    async fn forward(&self, _: &Hello, forwarded: Forwarded) -> Option<Response<Sent>> {
        Some(Response::new(Sent::Whole(forwarded.request.into_body())))
    }
}

fn node(number: u128) -> Result<Link, Failed> {
    let identity = Identity {
        node: NodeId(Uuid::from_u128(number)),
        protocol: 1,
        program: "1".into(),
        database: "d".into(),
        ledger: "l".into(),
        shards: 16,
    };
    Ok(Link::new(identity, SECRET, Options::default(), None, Clock::default())?)
}

async fn linked() -> Result<Peer, Failed> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?.to_string();
    let server = node(1)?;
    tokio::spawn(async move { server.serve(listener, Arc::new(Echo), std::future::pending()).await });
    Ok(node(2)?.peer(NodeId(Uuid::from_u128(1)), &address))
}

async fn echo(request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    let body = request.into_body().collect().await.map(http_body_util::Collected::to_bytes);
    Ok(Response::new(Full::new(body.unwrap_or_default())))
}

async fn bare() -> Result<SendRequest<Full<Bytes>>, Failed> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    tokio::spawn(async move {
        if let Ok((stream, _)) = listener.accept().await {
            let _ = stream.set_nodelay(true);
            let mut server = http2::Builder::new(TokioExecutor::new());
            server.max_concurrent_streams(4_096);
            let _ = server.serve_connection(TokioIo::new(stream), service_fn(echo)).await;
        }
    });
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    let (requests, serving) = handshake(TokioExecutor::new(), TokioIo::new(stream)).await?;
    tokio::spawn(serving);
    Ok(requests)
}

/// A side that is measured.
#[derive(Clone)]
enum Side {
    Bare(SendRequest<Full<Bytes>>),
    Link(Peer),
}

impl Side {
    async fn ask(&mut self, body: Bytes) -> Result<usize, Failed> {
        match self {
            Self::Bare(requests) => {
                let request = Request::post("http://node/echo").body(Full::new(body))?;
                let answer = requests.send_request(request).await?;
                Ok(answer.into_body().collect().await?.to_bytes().len())
            }
            Self::Link(peer) => {
                let ask = Ask { shard: 1, epoch: 1, hops: 0, left: Duration::from_secs(10), body };
                match peer.ask(ask).await? {
                    Answer::Answered(body) => Ok(body.len()),
                    answer => Err(format!("{answer:?}").into()),
                }
            }
        }
    }

    /// The time of one ask, where so many are under way.
    async fn turn(&self, at_once: usize) -> Result<Duration, Failed> {
        let body = Bytes::from(vec![b'x'; BODY]);
        let began = Instant::now();
        let mut asking = JoinSet::new();
        for _ in 0..at_once {
            let (mut side, body) = (self.clone(), body.clone());
            asking.spawn(async move {
                for _ in 0..ASKS / at_once {
                    if side.ask(body.clone()).await? != BODY {
                        return Err::<_, Failed>("it is cut".into());
                    }
                }
                Ok(())
            });
        }
        while let Some(done) = asking.join_next().await {
            done??;
        }
        Ok(began.elapsed() / u32::try_from(ASKS)?)
    }
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times.get(times.len() / 2).copied().unwrap_or_default()
}

#[tokio::main]
async fn main() -> Result<(), Failed> {
    let sides = [Side::Bare(bare().await?), Side::Link(linked().await?)];
    for at_once in [1, 16, 256] {
        let mut times = [Vec::new(), Vec::new()];
        for turn in 0..=TURNS {
            for (side, times) in sides.iter().zip(&mut times) {
                let time = side.turn(at_once).await?;
                // The first is to warm up.
                if turn > 0 {
                    times.push(time);
                }
            }
        }
        let [bare, link] = times.map(median);
        let ratio = link.as_secs_f64() / bare.as_secs_f64();
        println!("{at_once:>4} at once: hyper {bare:?} an ask, the link {link:?}, {ratio:.2} times as long");
    }
    Ok(())
}
