//! The other nodes: asks their accounts over the link, and answers their questions to accounts of this node.

use std::{sync::Arc, time::Duration};

use billing::ids::AccountId;
use bytes::Bytes;
use futures::future::BoxFuture;
use http::Response;
use ledger::{Ledger, log::Shard, nodes::Nodes};
use link::{Answer, Ask, Forwarded, Handler, Hello, Link, LinkError, Sent, Tell};
use runtime::node::NodeId;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use tokio::sync::{broadcast::error::RecvError, mpsc::Receiver, watch};

use super::{
    place::Offer,
    relay::{Desk, Offers},
    task::Nudge,
    view::{Owner, View},
};
use crate::{
    account::{AccountError, Question, Said},
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

/// Tells all nodes of a view what happens to keys here, until the process ends.
pub(super) async fn tell_all(ledger: Arc<Ledger>, link: Link, me: NodeId, mut seen: watch::Receiver<Option<Nodes>>) {
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

/// Asks other nodes.
#[derive(Clone)]
pub(super) struct Neighbours {
    me: NodeId,
    link: Link,
    view: Arc<View>,
    nudge: Nudge,
}

impl std::fmt::Debug for Neighbours {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Neighbours").field("me", &self.me).finish_non_exhaustive()
    }
}

impl Neighbours {
    pub(super) const fn new(me: NodeId, link: Link, view: Arc<View>, nudge: Nudge) -> Self {
        Self { me, link, view, nudge }
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
        let owner = self.view.owner(shard).filter(|owner| owner.node != self.me && !owner.address.is_empty());
        let Some(Owner { node, epoch, address }) = owner else {
            // It is nobody's, or becomes this node's.
            self.nudge.look();
            return Err(AccountError::Moved);
        };
        let body = serde_json::to_vec(call).map_err(|error| unavailable(&error))?;
        let ask = Ask { shard: shard.0, epoch, hops: 0, left: within, body: body.into() };
        match self.link.peer(node, &address).ask(ask).await {
            Ok(Answer::Answered(body)) => {
                serde_json::from_slice::<Result<T, AccountError>>(&body).map_err(|error| unavailable(&error))?
            }
            Ok(Answer::NotOwner { .. }) => {
                self.nudge.look();
                Err(AccountError::Moved)
            }
            Ok(Answer::Busy(_)) => Err(AccountError::Overloaded),
            Ok(Answer::Late) => Err(AccountError::Unavailable("another node had no time left to answer".into())),
            Ok(Answer::Loops) => Err(AccountError::Unavailable("nodes pass a question in a circle".into())),
            Ok(Answer::Broken) => Err(AccountError::Unavailable("another node came to no answer".into())),
            Err(error @ LinkError::NotSent(_)) => {
                tracing::debug!(%node, %error, "a node was not asked");
                self.nudge.look();
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
}

fn unavailable(error: &impl std::fmt::Display) -> AccountError {
    AccountError::Unavailable(error.to_string())
}

/// Answers other nodes.
pub(super) struct Answers {
    pub(super) accounts: Accounts,
    pub(super) journal: Arc<Journal>,
    pub(super) view: Arc<View>,
    pub(super) offers: Arc<Offers>,
    pub(super) desk: Arc<Desk>,
}

impl Answers {
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
    async fn ask(&self, _: &Hello, ask: Ask) -> Answer {
        let shard = ask.shard;
        if !self.view.is_here(Shard(shard)) {
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

    async fn subscribe(&self, _: &Hello, ask: Ask) -> Result<Receiver<Bytes>, Answer> {
        Err(self.not_owner(ask.shard))
    }

    async fn forward(&self, _: &Hello, request: Forwarded) -> Option<Response<Sent>> {
        self.desk.get()?.serve(request).await
    }
}
