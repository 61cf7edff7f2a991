//! The other nodes: asks their accounts over the link, and answers their questions to accounts of this node.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use billing::ids::AccountId;
use bytes::Bytes;
use futures::future::BoxFuture;
use hints::{Hints, Revoked};
use http::Response;
use ledger::{Ledger, log::Shard, nodes::Nodes};
use link::{Answer, Ask, Forwarded, Handler, Hello, Link, LinkError, NotSent, Refusal, Sent, Subscription, Tell};
use runtime::node::NodeId;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use tokio::sync::{
    broadcast::error::RecvError,
    mpsc::{self, Receiver},
    watch,
};

use super::{
    balances,
    place::Offer,
    relay::{Desk, Offers},
    task::Nudge,
    view::{Owner, View},
};
use crate::{
    account::{AccountError, Live, Question, Said},
    accounts::{Accounts, Elsewhere},
    journal::Journal,
};

/// The version of what nodes ask each other. Raised when a question or an answer changes its form or its meaning.
pub const PROTOCOL: u32 = 1;

/// What one node asks another.
#[derive(Debug, Serialize, Deserialize)]
enum Call {
    /// A question to an account.
    Account(AccountId, Question),
    /// The version of a price book, by its hash and its text: a new one gets one. Asked of the first shard's owner.
    Prices(String, String),
}

/// What one node tells all others. It may be lost: what it says is found otherwise, later.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum News {
    /// A key is revoked, by its public part.
    Revoked(String),
    /// The open models that the node has, all of them.
    Models(Vec<Offer>),
}

/// How long a subscription may take to begin.
const BEGINS: Duration = Duration::from_secs(2);

/// Tells all nodes of a view what happens to keys here, until the process ends: by the link, and by Redis, which may reach
/// nodes that the link does not.
pub(super) async fn tell_all(
    ledger: Arc<Ledger>,
    link: Link,
    hints: Option<Hints>,
    me: NodeId,
    mut seen: watch::Receiver<Option<Nodes>>,
) {
    let mut revoked = ledger.revocations_here();
    loop {
        let public = match revoked.recv().await {
            Ok(public) => public,
            // Their caches forget keys by themselves, a little later.
            Err(RecvError::Lagged(missed)) => {
                tracing::warn!(missed, "revocations that other nodes were not told of");
                continue;
            }
            Err(RecvError::Closed) => return,
        };
        if let Some(hints) = &hints {
            hints.tell_revoked(public.clone());
        }
        let Ok(body) = serde_json::to_vec(&News::Revoked(public)) else { continue };
        let nodes = seen.borrow_and_update().as_ref().map(|seen| seen.nodes.clone()).unwrap_or_default();
        for node in nodes.iter().filter(|node| node.id != me.0) {
            let news = Tell { shard: Shard::FIRST.0, epoch: 0, body: body.clone().into() };
            if let Err(error) = link.peer(NodeId(node.id), &node.address).tell(news) {
                tracing::debug!(node = %node.id, %error, "a node was not told");
            }
        }
    }
}

/// Hears by Redis what happens to keys at other nodes, until the process ends.
pub(super) async fn hear_all(ledger: Arc<Ledger>, hints: Hints) {
    let mut revoked = hints.revoked();
    loop {
        match revoked.recv().await {
            Ok(Revoked::Key(public)) => ledger.revoked_elsewhere(public),
            // The link tells the same.
            Ok(Revoked::Blind | Revoked::Sighted) | Err(RecvError::Lagged(_)) => {}
            Err(RecvError::Closed) => return,
        }
    }
}

/// Asks other nodes.
#[derive(Clone)]
pub(super) struct Neighbours {
    me: NodeId,
    link: Link,
    hints: Option<Hints>,
    view: Arc<View>,
    nudge: Nudge,
}

impl std::fmt::Debug for Neighbours {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Neighbours").field("me", &self.me).finish_non_exhaustive()
    }
}

impl Neighbours {
    pub(super) const fn new(me: NodeId, link: Link, hints: Option<Hints>, view: Arc<View>, nudge: Nudge) -> Self {
        Self { me, link, hints, view, nudge }
    }

    pub(super) const fn hints(&self) -> Option<&Hints> {
        self.hints.as_ref()
    }

    /// The other node that owns a shard, if that is known. Where it is not, the rows are read again.
    pub(super) fn other_owner(&self, shard: Shard) -> Option<Owner> {
        let owner = self.view.owner(shard).filter(|owner| owner.node != self.me && !owner.address.is_empty());
        if owner.is_none() {
            self.look(shard);
        }
        owner
    }

    /// Changes whenever a shard has another owner.
    pub(super) fn moves(&self) -> watch::Receiver<()> {
        self.view.moves()
    }

    /// A shard's owner may have changed: the rows are read again, and Redis may know it before.
    fn look(&self, shard: Shard) {
        self.nudge.look();
        let Some(hints) = self.hints.clone() else { return };
        let view = Arc::clone(&self.view);
        tokio::spawn(async move {
            if let Some(hints::Owner { node, epoch, address }) = hints.owner(shard.0).await {
                view.is_owned_by(shard, Some(Owner { node, epoch, address }));
            }
        });
    }

    /// Subscribes at a node that owns a shard.
    pub(super) async fn subscribe(&self, shard: Shard, at: &Owner, body: Bytes) -> Option<Subscription> {
        let ask = Ask { shard: shard.0, epoch: at.epoch, hops: 0, left: BEGINS, body };
        match self.link.peer(at.node, &at.address).subscribe(ask).await {
            Ok(subscription) => Some(subscription),
            Err(error) => {
                tracing::debug!(node = %at.node, ?error, "nothing is heard of an account");
                self.look(shard);
                None
            }
        }
    }

    /// The version of a price book, from the node that owns the first shard.
    ///
    /// # Errors
    ///
    /// As for a question to an account; a book has one version, so repeating the call is safe.
    pub(super) async fn price_version(
        &self,
        hash: String,
        text: String,
        within: Duration,
    ) -> Result<i64, AccountError> {
        self.call(Shard::FIRST, &Call::Prices(hash, text), within).await
    }

    /// Asks the node that owns a shard.
    async fn call<T: DeserializeOwned>(&self, shard: Shard, call: &Call, within: Duration) -> Result<T, AccountError> {
        // It is nobody's otherwise, or becomes this node's.
        let Some(Owner { node, epoch, address }) = self.other_owner(shard) else { return Err(AccountError::Moved) };
        let body = serde_json::to_vec(call).map_err(|error| unavailable(&error))?;
        let ask = Ask { shard: shard.0, epoch, hops: 0, left: within, body: body.into() };
        match self.link.peer(node, &address).ask(ask).await {
            Ok(Answer::Answered(body)) => {
                serde_json::from_slice::<Result<T, AccountError>>(&body).map_err(|error| unavailable(&error))?
            }
            Ok(Answer::NotOwner { .. }) => {
                self.look(shard);
                Err(AccountError::Moved)
            }
            Ok(Answer::Busy(_)) => Err(AccountError::Overloaded),
            Ok(Answer::Late) => Err(AccountError::Unavailable("another node had no time left to answer".into())),
            Ok(Answer::Loops) => Err(AccountError::Unavailable("nodes pass a question in a circle".into())),
            Ok(Answer::Broken) => Err(AccountError::Unavailable("another node came to no answer".into())),
            // It is told in the log once, by the link. Another process in a node's place is none: the rows are read again.
            Err(LinkError::NotSent(NotSent::Refused(refusal)))
                if !matches!(refusal, Refusal::Another(_) | Refusal::Itself) =>
            {
                Err(AccountError::Apart(refusal.to_string()))
            }
            Err(error @ LinkError::NotSent(_)) => {
                tracing::debug!(%node, %error, "a node was not asked");
                self.look(shard);
                Err(AccountError::Moved)
            }
            Err(error @ LinkError::Unknown(_)) => Err(unavailable(&error)),
        }
    }
}

impl Elsewhere for Neighbours {
    fn is_here(&self, shard: Shard) -> bool {
        self.view.is_here(shard)
    }

    fn is_known_since(&self, from: Duration) -> bool {
        self.view.is_known_since(from)
    }

    fn fault(&self) -> Option<String> {
        self.view.fault()
    }

    fn ask(
        &self,
        shard: Shard,
        account_id: AccountId,
        question: Question,
        within: Duration,
    ) -> BoxFuture<'static, Result<Said, AccountError>> {
        let neighbours = self.clone();
        Box::pin(async move { neighbours.call(shard, &Call::Account(account_id, question), within).await })
    }

    fn watch(&self, shard: Shard, account_id: AccountId, watcher: mpsc::Sender<Live>) -> BoxFuture<'static, bool> {
        Box::pin(balances::watch(self.clone(), shard, account_id, watcher))
    }
}

fn unavailable(error: &impl std::fmt::Display) -> AccountError {
    AccountError::Unavailable(error.to_string())
}

/// Answers other nodes.
pub(super) struct Answers {
    pub(super) accounts: Accounts,
    pub(super) journal: Arc<Journal>,
    pub(super) view: Arc<View>,
    /// The nodes of this ledger, as they were read last.
    pub(super) seen: watch::Receiver<Option<Nodes>>,
    pub(super) nudge: Nudge,
    /// The node that was told last that it is none of this ledger's.
    pub(super) stranger: Mutex<Option<NodeId>>,
    pub(super) offers: Arc<Offers>,
    pub(super) desk: Arc<Desk>,
}

impl Answers {
    /// Whether a node is one of this ledger's: each writes its row before it asks anybody. One that has the secret and has
    /// not is a node of another database, such as a copy of this one that names the same addresses.
    fn knows(&self, from: &Hello) -> bool {
        let node = from.identity.node;
        if self.seen.borrow().as_ref().is_some_and(|seen| seen.nodes.iter().any(|row| row.id == node.0)) {
            return true;
        }
        // It may have come since.
        self.nudge.look();
        let before = self.stranger.lock().unwrap_or_else(PoisonError::into_inner).replace(node);
        if before != Some(node) {
            tracing::warn!(%node, "a node asks that is not, or not yet, in this database: it is answered nothing");
        }
        false
    }

    async fn answered(&self, ask: Ask) -> Option<Bytes> {
        let said = match serde_json::from_slice(&ask.body) {
            Ok(Call::Account(id, question)) => serde_json::to_vec(&self.accounts.answer(id, question, ask.left).await),
            Ok(Call::Prices(hash, text)) => {
                let version = self.journal.price_version(hash, text).await;
                serde_json::to_vec(&version.map_err(|error| unavailable(&error)))
            }
            Err(error) => {
                tracing::warn!(%error, "another node asks what is not understood");
                return None;
            }
        };
        said.ok().map(Bytes::from)
    }

    fn not_owner(&self, shard: i64) -> Answer {
        let owner = self.view.owner(Shard(shard));
        let epoch = owner.as_ref().map_or(0, |owner| owner.epoch);
        Answer::NotOwner { owner: owner.map(|owner| owner.node), epoch }
    }
}

impl Handler for Answers {
    async fn ask(&self, from: &Hello, ask: Ask) -> Answer {
        let shard = ask.shard;
        if !self.knows(from) || !self.view.is_here(Shard(shard)) {
            return self.not_owner(shard);
        }
        match self.answered(ask).await {
            Some(body) => Answer::Answered(body),
            None => Answer::Broken,
        }
    }

    fn tell(&self, from: &Hello, tell: Tell) {
        match serde_json::from_slice(&tell.body) {
            Ok(News::Revoked(public)) => self.accounts.ledger().revoked_elsewhere(public),
            Ok(News::Models(offers)) => self.offers.hear(from.identity.node, offers),
            Err(error) => {
                tracing::warn!(node = %from.identity.node, %error, "another node tells what is not understood");
            }
        }
    }

    async fn subscribe(&self, from: &Hello, ask: Ask) -> Result<Receiver<Bytes>, Answer> {
        let shard = Shard(ask.shard);
        let is_here = self.view.is_here(shard) && self.knows(from);
        let epoch = self.accounts.ledger().epoch(shard).filter(|_| is_here);
        let Some(epoch) = epoch else { return Err(self.not_owner(ask.shard)) };
        match balances::asked(&ask).filter(|account_id| self.accounts.shard_of(*account_id) == shard) {
            Some(account_id) => Ok(balances::tell(&self.accounts, account_id, epoch)),
            None => Err(Answer::Broken),
        }
    }

    async fn forward(&self, from: &Hello, request: Forwarded) -> Option<Response<Sent>> {
        if !self.knows(from) {
            return None;
        }
        self.desk.get()?.serve(request).await
    }
}
