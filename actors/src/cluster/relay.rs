//! Requests to open models that other nodes run: what each node says of its models, and the way of a whole request to one of
//! them and back. Which node serves a request is [`place`](super::place)'s rule; what a request is, only its reader knows.

use std::{
    collections::BTreeMap,
    net::IpAddr,
    sync::{Arc, OnceLock, PoisonError, RwLock},
    time::{Duration, Instant},
};

use billing::ids::RequestId;
use bytes::Bytes;
use futures::future::BoxFuture;
use hints::Hints;
use http::{Request, Response};
use ledger::{
    log::Shard,
    nodes::{self, Nodes},
};
use link::{Forwarded, Link, LinkError, NotSent, Pieces, Sent, Tell};
use runtime::node::NodeId;
use tokio::sync::watch;

use super::{Cluster, hearing::is_alive, lease::Rules, neighbours::News, place::Offer};
use crate::running::Running;

/// How often a node says what it has, where nothing changed: what is told may be lost.
const TOLD_EACH: Duration = Duration::from_secs(1);
/// How long is believed what a node has said. One that is gone is known by its connection.
const BELIEVED: Duration = Duration::from_secs(10);
/// The longest until another node's answer begins. It may wait for memory, load a model and compute without a word; that its
/// node is gone is known by its connection.
const LONGEST: Duration = Duration::from_hours(24);
/// The nodes that may pass a request on. One that was passed on is served or refused.
const HOPS: u8 = 1;

/// What a node said last.
#[derive(Debug)]
struct Told {
    at: Instant,
    offers: Vec<Offer>,
}

/// What all nodes say of their models.
#[derive(Debug)]
pub(super) struct Offers {
    own: watch::Sender<Arc<[Offer]>>,
    others: RwLock<BTreeMap<NodeId, Told>>,
}

impl Offers {
    pub(super) fn new() -> Self {
        Self { own: watch::Sender::new(Arc::new([])), others: RwLock::default() }
    }

    /// What another node has from now on.
    pub(super) fn hear(&self, node: NodeId, offers: Vec<Offer>) {
        let mut others = self.others.write().unwrap_or_else(PoisonError::into_inner);
        others.retain(|_, told| told.at.elapsed() < BELIEVED);
        others.insert(node, Told { at: Instant::now(), offers });
    }

    /// Those of these nodes of which nothing was heard lately.
    fn unheard(&self, nodes: impl Iterator<Item = NodeId>) -> Vec<NodeId> {
        let others = self.others.read().unwrap_or_else(PoisonError::into_inner);
        let is_heard = |node: &NodeId| others.get(node).is_some_and(|told| told.at.elapsed() < BELIEVED);
        nodes.filter(|node| !is_heard(node)).collect()
    }

    /// What other nodes say of the models that are wanted.
    fn of_others(&self, wants: impl Fn(&Offer) -> bool) -> Vec<(NodeId, Offer)> {
        let others = self.others.read().unwrap_or_else(PoisonError::into_inner);
        let believed = others.iter().filter(|(_, told)| told.at.elapsed() < BELIEVED);
        let offers = believed.flat_map(|(node, told)| told.offers.iter().map(|offer| (*node, offer)));
        offers.filter(|(_, offer)| wants(offer)).map(|(node, offer)| (node, offer.clone())).collect()
    }

    fn has_any(&self) -> bool {
        let others = self.others.read().unwrap_or_else(PoisonError::into_inner);
        others.values().any(|told| !told.offers.is_empty())
    }
}

/// Tells all nodes of a view what this one has: when that changes, and now and then. Runs as long as the process. Redis has
/// it too, where there is one: a node that has just come, or that the link does not reach, reads there what others have.
pub(super) async fn tell_offers(
    offers: Arc<Offers>,
    (link, hints): (Link, Option<Hints>),
    (me, rules): (NodeId, Rules),
    mut seen: watch::Receiver<Option<Nodes>>,
) {
    let mut own = offers.own.subscribe();
    loop {
        let now = Arc::clone(&own.borrow_and_update());
        let nodes = seen.borrow_and_update().as_ref().map(|seen| {
            let lives = |node: &&nodes::Node| node.id != me.0 && !node.leaves && is_alive(node, seen, &rules);
            seen.nodes.iter().filter(lives).cloned().collect::<Vec<_>>()
        });
        let nodes = nodes.unwrap_or_default();
        if let Ok(body) = serde_json::to_vec(&News::Models(now.to_vec())) {
            let body = Bytes::from(body);
            for node in &nodes {
                let news = Tell { shard: Shard::FIRST.0, epoch: 0, body: body.clone() };
                // Its way may be full: it is told again.
                let _ = link.peer(NodeId(node.id), &node.address).tell(news);
            }
        }
        // Behind the link, which need not wait for it.
        if let Some(hints) = &hints {
            by_redis(hints, &offers, me, &now, &nodes).await;
        }
        tokio::select! {
            changed = own.changed() => if changed.is_err() { return },
            changed = seen.changed() => if changed.is_err() { return },
            () = tokio::time::sleep(TOLD_EACH) => {}
        }
    }
}

/// Tells by Redis what this node has, and reads there what nodes have of which nothing was heard.
async fn by_redis(hints: &Hints, offers: &Offers, me: NodeId, own: &[Offer], nodes: &[nodes::Node]) {
    if let Ok(text) = serde_json::to_vec(own) {
        hints.tell_runs(me, &text, BELIEVED).await;
    }
    let unheard = offers.unheard(nodes.iter().map(|node| NodeId(node.id)));
    if unheard.is_empty() {
        return;
    }
    for (node, told) in unheard.iter().zip(hints.runs(&unheard).await) {
        if let Some(told) = told.and_then(|told| serde_json::from_slice(&told).ok()) {
            offers.hear(*node, told);
        }
    }
}

/// What serves the requests that other nodes pass on.
pub trait Relays: Send + Sync {
    /// Serves a request as if it had come in here; dropped once its client has left. None where nothing new is taken.
    fn serve(&self, request: Forwarded) -> BoxFuture<'static, Option<Response<Sent>>>;
}

/// The place of what serves them, which is there once HTTP is.
pub(super) type Desk = OnceLock<Arc<dyn Relays>>;

impl Cluster {
    /// Has requests that other nodes pass on served from now on.
    pub fn serve_relays(&self, relays: Arc<dyn Relays>) {
        // A second call changes nothing.
        let _ = self.desk.set(relays);
    }

    /// What this node has, as the others are told.
    pub fn offer(&self, offers: Vec<Offer>) {
        self.offers.own.send_if_modified(|known| {
            let is_new = **known != *offers;
            if is_new {
                *known = offers.into();
            }
            is_new
        });
    }

    /// Whether another node has open models.
    pub fn hears_offers(&self) -> bool {
        self.offers.has_any()
    }

    /// What other nodes that live say of the models that are wanted.
    pub fn offers(&self, wants: impl Fn(&Offer) -> bool) -> Vec<(NodeId, Offer)> {
        let mut offers = self.offers.of_others(wants);
        if !offers.is_empty() {
            let others = self.others();
            offers.retain(|(node, _)| others.contains(node));
        }
        offers
    }

    /// The other node that runs a request, or has run it, if it lives.
    pub fn node_of(&self, id: RequestId) -> Option<NodeId> {
        self.others().into_iter().find(|node| Running::is_of(id, *node))
    }

    /// The other nodes that live, and do not end.
    pub fn others(&self) -> Vec<NodeId> {
        self.living().into_iter().filter(|(_, leaves)| !leaves).map(|(node, _)| node).collect()
    }

    /// What all nodes that live have, this one among them.
    pub fn all_offers(&self) -> Vec<(NodeId, Offer)> {
        let own = Arc::clone(&self.offers.own.borrow());
        own.iter().map(|offer| (self.me(), offer.clone())).chain(self.offers(|_| true)).collect()
    }

    /// Passes a request on to another node, and gives its answer as it comes. Dropping the answer, or the wait for it, ends
    /// the request there.
    ///
    /// # Errors
    ///
    /// Where there is none; the error says whether the request may have been carried out.
    pub async fn relay(
        &self,
        node: NodeId,
        request: Request<Bytes>,
        client: Option<IpAddr>,
    ) -> Result<Response<Pieces>, LinkError> {
        let address = self.seen.borrow().as_ref().and_then(|seen| {
            let found = seen.nodes.iter().find(|known| known.id == node.0)?;
            Some(found.address.clone())
        });
        let address = address.ok_or_else(|| NotSent::Away("the node is not known".to_owned()))?;
        self.link.peer(node, &address).forward(request, client, HOPS, LONGEST).await
    }
}

#[cfg(test)]
mod tests {
    use billing::class::SizeClass;
    use uuid::Uuid;

    use super::*;
    use crate::pool::placement::Standing;

    fn offer(model: &str) -> Offer {
        Offer {
            model: model.into(),
            task: "generation".into(),
            class: SizeClass::B7,
            parameters: 1,
            context: 1,
            standing: Standing::Cold,
            waiting: 0,
            has_room: true,
            free: 1,
        }
    }

    #[test]
    fn what_a_node_says_takes_the_place_of_what_it_said() {
        let (offers, [one, two]) = (Offers::new(), [1, 2].map(|number| NodeId(Uuid::from_u128(number))));
        assert!(!offers.has_any());
        offers.hear(one, vec![offer("a"), offer("b")]);
        offers.hear(two, vec![offer("a")]);
        let of_a = |offers: &Offers| {
            let found = offers.of_others(|offer| &*offer.model == "a");
            found.into_iter().map(|(node, _)| node).collect::<Vec<_>>()
        };
        assert_eq!(of_a(&offers), [one, two]);
        offers.hear(one, vec![offer("b")]);
        assert_eq!((of_a(&offers), offers.has_any()), (vec![two], true));
        offers.hear(one, Vec::new());
        offers.hear(two, Vec::new());
        assert!(!offers.has_any());
        let old = Instant::now().checked_sub(BELIEVED).unwrap();
        offers.hear(two, vec![offer("a")]);
        offers.others.write().unwrap().get_mut(&two).unwrap().at = old;
        assert!(of_a(&offers).is_empty(), "it has said nothing for long");
        assert_eq!(offers.unheard([one, two].into_iter()), [two], "it is looked for in Redis");
    }
}
