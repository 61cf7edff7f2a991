//! What is told to all nodes at once, by channels: balances and revoked keys. Telling is a queue, and a task that sends what
//! waits, of each account the newest. Hearing is a connection of its own, which is asked all the time whether it is alive:
//! a Redis that freezes says nothing, as one where nothing happens does.

use std::{
    collections::HashMap,
    sync::{
        Arc, Weak,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use billing::ids::AccountId;
use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};
use futures::{StreamExt as _, future::join_all};
use redis::{
    Msg, RedisResult,
    aio::{PubSubSink, PubSubStream},
    cmd,
};
use runtime::node::NodeId;
use tokio::{
    sync::{broadcast, mpsc},
    task::JoinHandle,
    time::{MissedTickBehavior, interval, sleep, timeout},
};
use uuid::Uuid;

use crate::{
    Number, Revoked, Watch,
    registry::Registry,
    store::{Store, reason},
};

/// The most revocations that wait for one who hears them.
const REVOCATIONS: usize = 1_024;
/// The most that is sent together.
const TOGETHER: usize = 256;
/// Accounts of one subscription.
const SUBSCRIBED: usize = 500;

enum Telling {
    Balance(AccountId, Number, Bytes),
    /// A key, by its public part.
    Revoked(String),
}

struct Shared {
    telling: mpsc::Sender<Telling>,
    registry: Arc<Registry>,
    revoked: broadcast::Sender<Revoked>,
    is_sighted: AtomicBool,
    untold: Arc<AtomicU64>,
    tasks: [JoinHandle<()>; 2],
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

/// The channels of a ledger's nodes. Clones share them.
#[derive(Clone)]
pub(crate) struct Fanout(Arc<Shared>);

impl Fanout {
    pub(crate) fn start(store: &Arc<Store>, me: NodeId) -> Self {
        let registry = Arc::new(Registry::new(store.options.watched));
        let untold = Arc::<AtomicU64>::default();
        let (telling, waiting) = mpsc::channel(store.options.waiting);
        Self(Arc::new_cyclic(|shared| Shared {
            telling,
            registry: Arc::clone(&registry),
            revoked: broadcast::channel(REVOCATIONS).0,
            is_sighted: AtomicBool::new(false),
            untold: Arc::clone(&untold),
            tasks: [
                tokio::spawn(tell(Arc::clone(store), me, waiting, untold)),
                tokio::spawn(hear(Arc::clone(store), registry, Weak::clone(shared))),
            ],
        }))
    }

    pub(crate) fn tell_balance(&self, account: AccountId, number: Number, balance: Bytes) {
        self.queue(Telling::Balance(account, number, balance));
    }

    pub(crate) fn tell_revoked(&self, public: String) {
        self.queue(Telling::Revoked(public));
    }

    fn queue(&self, telling: Telling) {
        let is_lost = self.0.telling.try_send(telling).is_err();
        self.0.untold.fetch_add(u64::from(is_lost), Relaxed);
    }

    pub(crate) fn watch(&self, account: AccountId, from: NodeId) -> Option<Watch> {
        self.0.registry.watch(account, from)
    }

    pub(crate) fn revoked(&self) -> broadcast::Receiver<Revoked> {
        self.0.revoked.subscribe()
    }

    pub(crate) fn is_sighted(&self) -> bool {
        self.0.is_sighted.load(Relaxed)
    }

    pub(crate) fn untold(&self) -> u64 {
        self.0.untold.load(Relaxed)
    }

    pub(crate) fn watched(&self) -> usize {
        self.0.registry.count()
    }
}

impl Shared {
    fn see(&self, is_sighted: bool) {
        if self.is_sighted.swap(is_sighted, Relaxed) != is_sighted {
            // With nobody who hears it, it is heard by nobody.
            let _ = self.revoked.send(if is_sighted { Revoked::Sighted } else { Revoked::Blind });
        }
        if !is_sighted {
            self.registry.blind();
        }
    }
}

/// The channel of an account's balance, of revoked keys, and of nodes that speak.
fn of_balance(store: &Store, account: AccountId) -> String {
    store.name(format_args!("balance:{account}"))
}

fn of_revoked(store: &Store) -> String {
    store.name("revoked")
}

fn of_voices(store: &Store) -> String {
    store.name("voices")
}

fn write(number: Number, balance: &[u8]) -> Vec<u8> {
    let mut bytes = BytesMut::with_capacity(16 + balance.len());
    bytes.put_i64(number.epoch);
    bytes.put_u64(number.place);
    bytes.put_slice(balance);
    bytes.to_vec()
}

fn read(message: &[u8]) -> Option<(Number, Bytes)> {
    let mut bytes = Bytes::copy_from_slice(message);
    let (epoch, place) = (bytes.try_get_i64().ok()?, bytes.try_get_u64().ok()?);
    Some((Number { epoch, place }, bytes))
}

/// Sends what is to be told, until nobody tells anything any more, and says all the time how much could not be told.
async fn tell(store: Arc<Store>, me: NodeId, mut waiting: mpsc::Receiver<Telling>, untold: Arc<AtomicU64>) {
    let mut together = Vec::new();
    let mut speaks = interval(store.options.speak);
    speaks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            count = waiting.recv_many(&mut together, TOGETHER) => {
                if count == 0 {
                    return;
                }
                untold.fetch_add(send(&store, &mut together).await, Relaxed);
            }
            // It comes behind what was told before.
            _ = speaks.tick() => {
                let mut message = me.0.as_bytes().to_vec();
                message.put_u64(untold.load(Relaxed));
                let _: Option<i64> = store.call(cmd("PUBLISH").arg(of_voices(&store)).arg(message)).await;
            }
        }
    }
}

/// Sends together what waits, of each account the newest balance. Gives how much could not be sent.
async fn send(store: &Store, together: &mut Vec<Telling>) -> u64 {
    let mut balances: HashMap<AccountId, (Number, Bytes)> = HashMap::new();
    let mut messages: Vec<(String, Vec<u8>)> = Vec::new();
    for telling in together.drain(..) {
        match telling {
            Telling::Revoked(public) => messages.push((of_revoked(store), public.into_bytes())),
            Telling::Balance(account, number, balance) => {
                let newest = balances.entry(account).or_insert_with(|| (number, balance.clone()));
                if number > newest.0 {
                    *newest = (number, balance);
                }
            }
        }
    }
    let newest = balances.into_iter();
    messages.extend(newest.map(|(account, (number, balance))| (of_balance(store, account), write(number, &balance))));
    let sending = messages.iter().map(async |(channel, message)| {
        let heard: Option<i64> = store.call(cmd("PUBLISH").arg(channel).arg(message)).await;
        u64::from(heard.is_none())
    });
    join_all(sending).await.into_iter().sum()
}

/// Hears what others tell, by one connection after the other.
async fn hear(store: Arc<Store>, registry: Arc<Registry>, shared: Weak<Shared>) {
    let (first, most) = store.options.rest;
    let mut rest = first;
    loop {
        let heard = listen(&store, &registry, &shared).await;
        let Some(shared) = shared.upgrade() else { return };
        let was_sighted = shared.is_sighted.load(Relaxed);
        shared.see(false);
        drop(shared);
        if let Err(why) = heard {
            tracing::debug!(why, "nothing is heard from Redis");
        }
        rest = if was_sighted { first } else { (rest * 2).min(most.max(first)) };
        sleep(rest).await;
    }
}

/// What comes of something of Redis, in this time.
async fn within<T>(limit: Duration, something: impl Future<Output = RedisResult<T>>) -> Result<T, String> {
    match timeout(limit, something).await {
        Ok(done) => done.map_err(|error| reason(&error)),
        Err(_) => Err("no answer in time".to_owned()),
    }
}

/// Any server of a cluster tells what is told at another.
async fn connect(store: &Store) -> Result<(PubSubSink, PubSubStream), String> {
    let mut why = "no server is named".to_owned();
    for client in store.clients() {
        let client = client.map_err(|error| reason(&error))?;
        match within(store.options.connect, client.get_async_pubsub()).await {
            Ok(connection) => return Ok(connection.split()),
            Err(reason) => why = reason,
        }
    }
    Err(why)
}

/// Hears by one connection, until it fails.
async fn listen(store: &Arc<Store>, registry: &Arc<Registry>, shared: &Weak<Shared>) -> Result<(), String> {
    let limit = store.options.connect;
    let (mut sink, mut messages) = connect(store).await?;
    let (of_revoked, of_voices) = (of_revoked(store), of_voices(store));
    within(limit, sink.subscribe(&[&of_revoked, &of_voices])).await?;
    subscribe(store, registry, &mut sink, &registry.take_all()).await?;
    if let Some(shared) = shared.upgrade() {
        shared.see(true);
    }
    let mut alive = interval(store.options.alive);
    alive.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let prefix = store.name("balance:");
    loop {
        tokio::select! {
            message = messages.next() => match message {
                Some(message) if message.get_channel_name() == of_voices => hear_voice(&message, registry),
                Some(message) => take(&message, &of_revoked, &prefix, registry, shared),
                None => return Err("the connection broke".to_owned()),
            },
            () = registry.changed.notified() => change(store, registry, &mut sink).await?,
            _ = alive.tick() => {
                // What it answers is nothing to us; that it does in time is.
                let _: redis::Value = within(limit, sink.ping()).await?;
                registry.voices.listen(Instant::now(), store.options.silence);
            }
        }
    }
}

/// Subscribes to accounts, which are sighted once that is confirmed.
async fn subscribe(store: &Store, registry: &Registry, sink: &mut PubSubSink, of: &[AccountId]) -> Result<(), String> {
    for some in of.chunks(SUBSCRIBED) {
        let channels: Vec<String> = some.iter().map(|account| of_balance(store, *account)).collect();
        within(store.options.connect, sink.subscribe(&channels)).await?;
        registry.sighted(some);
    }
    Ok(())
}

async fn change(store: &Store, registry: &Registry, sink: &mut PubSubSink) -> Result<(), String> {
    let (new, gone): (Vec<_>, Vec<_>) = registry.take_changed().into_iter().partition(|(_, is_watched)| *is_watched);
    let accounts = |of: Vec<(AccountId, bool)>| of.into_iter().map(|(account, _)| account).collect::<Vec<_>>();
    for some in accounts(gone).chunks(SUBSCRIBED) {
        let channels: Vec<String> = some.iter().map(|account| of_balance(store, *account)).collect();
        within(store.options.connect, sink.unsubscribe(&channels)).await?;
    }
    subscribe(store, registry, sink, &accounts(new)).await
}

/// Takes what a node says of itself. What is none of ours is nothing.
fn hear_voice(message: &Msg, registry: &Registry) {
    let Some((node, mut untold)) = message.get_payload_bytes().split_first_chunk::<16>() else { return };
    if let Ok(untold) = untold.try_get_u64() {
        registry.voices.spoke(NodeId(Uuid::from_bytes(*node)), untold, Instant::now());
    }
}

/// Takes a message. What is none of ours is nothing.
fn take(message: &Msg, of_revoked: &str, prefix: &str, registry: &Registry, shared: &Weak<Shared>) {
    let channel = message.get_channel_name();
    let payload = message.get_payload_bytes();
    if channel == of_revoked {
        if let (Ok(public), Some(shared)) = (std::str::from_utf8(payload), shared.upgrade()) {
            let _ = shared.revoked.send(Revoked::Key(public.to_owned()));
        }
        return;
    }
    let account = channel.strip_prefix(prefix).and_then(|account| Uuid::parse_str(account).ok());
    if let (Some(account), Some((number, balance))) = (account, read(payload)) {
        registry.heard(AccountId(account), number, balance);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_balance_is_read_as_it_was_written() {
        let number = Number { epoch: 3, place: 1 << 40 };
        assert_eq!(read(&write(number, b"b")), Some((number, Bytes::from_static(b"b"))));
        assert_eq!(read(&write(number, b"")), Some((number, Bytes::new())));
        assert_eq!(read(&[0; 15]), None);
    }
}
