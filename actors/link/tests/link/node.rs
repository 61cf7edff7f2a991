//! Nodes for tests: each serves others, and remembers what it was asked.

use std::{
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};

use bytes::Bytes;
use http::Response;
use link::{Answer, Ask, Cut, Forwarded, Handler, Hello, Identity, Link, Options, Peer, Sent, Tell, Tls};
use runtime::{clock::Clock, node::NodeId};
use tokio::{
    net::TcpListener,
    sync::{Notify, mpsc, oneshot},
    task::JoinHandle,
};
use uuid::Uuid;

pub(crate) const SECRET: &[u8] = b"thirty-two bytes of a test secret";
/// Long enough for anything that happens.
pub(crate) const SOON: Duration = Duration::from_secs(20);

pub(crate) fn id(number: u128) -> NodeId {
    NodeId(Uuid::from_u128(number))
}

pub(crate) fn identity(number: u128) -> Identity {
    Identity {
        node: id(number),
        protocol: 1,
        program: "1.0".into(),
        database: "postgres://db".into(),
        ledger: "ledger".into(),
        shards: 16,
    }
}

pub(crate) fn options() -> Options {
    Options { back_off: Duration::from_millis(100), ..Options::default() }
}

pub(crate) fn link(identity: Identity, options: Options) -> Link {
    Link::new(identity, SECRET, options, None, Clock::default()).unwrap()
}

pub(crate) fn ask(body: &'static str) -> Ask {
    Ask { shard: 3, epoch: 7, hops: 0, left: SOON, body: Bytes::from_static(body.as_bytes()) }
}

/// What a node was asked and told, and what it waits for.
#[derive(Default)]
pub(crate) struct Desk {
    pub(crate) asked: AtomicUsize,
    pub(crate) ended: AtomicUsize,
    pub(crate) told: Mutex<Vec<Tell>>,
    pub(crate) go_on: Notify,
    pub(crate) subscribers: Mutex<Vec<mpsc::Sender<Bytes>>>,
    pub(crate) pieces: Mutex<Vec<mpsc::Sender<Result<Bytes, Cut>>>>,
    pub(crate) forwarded: Mutex<Vec<(String, Option<std::net::IpAddr>, u8)>>,
    /// Closed once the request that is never answered is dropped.
    pub(crate) leaving: Mutex<Option<oneshot::Receiver<()>>>,
}

impl Handler for Desk {
    async fn ask(&self, from: &Hello, ask: Ask) -> Answer {
        self.asked.fetch_add(1, SeqCst);
        let answer = match &ask.body[..] {
            b"who" => Answer::Answered(from.identity.program.clone().into()),
            b"wait" => {
                self.go_on.notified().await;
                Answer::Answered(Bytes::from_static(b"waited"))
            }
            b"left" => Answer::Answered(ask.left.as_millis().to_string().into()),
            b"owner" => Answer::NotOwner { owner: Some(id(9)), epoch: ask.epoch + 1 },
            b"panic" => panic!("asked for"),
            _ => Answer::Answered(ask.body),
        };
        self.ended.fetch_add(1, SeqCst);
        answer
    }

    fn tell(&self, _: &Hello, tell: Tell) {
        self.told.lock().unwrap().push(tell);
    }

    async fn subscribe(&self, _: &Hello, ask: Ask) -> Result<mpsc::Receiver<Bytes>, Answer> {
        if ask.shard != 3 {
            return Err(Answer::NotOwner { owner: None, epoch: 0 });
        }
        let (sender, receiver) = mpsc::channel(4);
        self.subscribers.lock().unwrap().push(sender);
        Ok(receiver)
    }

    async fn forward(&self, _: &Hello, forwarded: Forwarded) -> Option<Response<Sent>> {
        let path = forwarded.request.uri().to_string();
        self.forwarded.lock().unwrap().push((path.clone(), forwarded.client, forwarded.hops));
        Some(match path.as_str() {
            "/never" => {
                let (_left, leaving) = oneshot::channel::<()>();
                *self.leaving.lock().unwrap() = Some(leaving);
                std::future::pending().await
            }
            "/nothing-new" => return None,
            "/stream" => {
                let (sender, receiver) = mpsc::channel(1);
                tokio::spawn(async move {
                    for piece in ["one", "two", "three"] {
                        let _ = sender.send(Ok(Bytes::from_static(piece.as_bytes()))).await;
                    }
                });
                Response::builder().header("x-streamed", "yes").body(Sent::Pieces(receiver)).unwrap()
            }
            "/flood" => {
                let (sender, receiver) = mpsc::channel(1);
                tokio::spawn(async move { while sender.send(Ok(Bytes::from(vec![0; 64 << 10]))).await.is_ok() {} });
                Response::new(Sent::Pieces(receiver))
            }
            "/cut" => {
                let (sender, receiver) = mpsc::channel(2);
                self.pieces.lock().unwrap().push(sender);
                Response::new(Sent::Pieces(receiver))
            }
            "/panic" => panic!("asked for"),
            _ => Response::builder()
                .status(418)
                .header("connection", "x-mine")
                .header("x-mine", "1")
                .body(Sent::Whole(forwarded.request.into_body()))
                .unwrap(),
        })
    }
}

/// A node that serves.
pub(crate) struct Node {
    pub(crate) desk: Arc<Desk>,
    pub(crate) link: Link,
    pub(crate) address: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    serving: JoinHandle<()>,
}

impl Node {
    pub(crate) async fn start(identity: Identity, options: Options) -> Self {
        Self::of(link(identity, options), "127.0.0.1:0").await
    }

    pub(crate) async fn with_tls(identity: Identity, tls: Tls) -> Self {
        let link = Link::new(identity, SECRET, options(), Some(tls), Clock::default()).unwrap();
        Self::of(link, "127.0.0.1:0").await
    }

    /// One that serves at an address.
    pub(crate) async fn of(link: Link, address: &str) -> Self {
        let listener = TcpListener::bind(address).await.unwrap();
        let address = listener.local_addr().unwrap();
        let desk = Arc::<Desk>::default();
        let (stop, stopped) = oneshot::channel::<()>();
        let (serving, handler) = (link.clone(), Arc::clone(&desk));
        let serving = tokio::spawn(async move {
            serving.serve(listener, handler, async { drop(stopped.await) }).await;
        });
        Self { desk, link, address, stop: Some(stop), serving }
    }

    /// Ends it as a program ends: what is under way is finished.
    pub(crate) async fn stop(mut self) {
        drop(self.stop.take());
        let _ = (&mut self.serving).await;
    }

    /// Ends it as a program that is killed.
    pub(crate) async fn kill(mut self) {
        self.serving.abort();
        let _ = (&mut self.serving).await;
    }
}

/// The way from one node to another.
pub(crate) fn way(from: &Link, to: u128, address: SocketAddr) -> Peer {
    from.peer(id(to), &address.to_string())
}

/// Waits until something is so.
pub(crate) async fn until(what: &str, is_so: impl Fn() -> bool) {
    let began = std::time::Instant::now();
    while !is_so() {
        assert!(began.elapsed() < SOON, "{what}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

/// The body of an answer.
pub(crate) fn said(answer: &Answer) -> &str {
    let Answer::Answered(body) = answer else { panic!("{answer:?}") };
    std::str::from_utf8(body).unwrap()
}
