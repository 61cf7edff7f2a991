//! Which node serves a request to an open model: a pure rule over what each node says of the model. Nothing of the request
//! is known here.
//!
//! It is served where it came in if the model is in memory there, or has room; else where it is in memory and the fewest
//! wait; else where it has room; else where it can be loaded once others make room. A node that has the model and can't run
//! it comes last, so that the request is refused there with the reason.

use std::{cmp::Reverse, sync::Arc};

use billing::class::SizeClass;
use runtime::node::NodeId;
use serde::{Deserialize, Serialize};

use crate::pool::placement::Standing;

/// An open model, as a node tells the others what it has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Offer {
    /// The model's name.
    pub model: Arc<str>,
    /// What it does, as catalogues name it.
    pub task: Box<str>,
    /// Its size class.
    pub class: SizeClass,
    /// The number of its parameters.
    pub parameters: u64,
    /// The most tokens that it reads and writes.
    pub context: u32,
    /// How it stands there.
    pub standing: Standing,
    /// Requests that wait there, for the model or behind others.
    pub waiting: usize,
    /// Whether a device that serves it has room for it now.
    pub has_room: bool,
    /// Bytes that are free on the devices that serve it.
    pub free: u64,
}

/// Where a request may be served.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Spot {
    /// At the node that it came to.
    Here,
    /// At another.
    There(NodeId),
}

/// How well a spot suits; the least suits best.
type Rank = (u8, usize, Reverse<u64>);

fn rank(offer: &Offer, is_here: bool) -> Rank {
    let (is_in_memory, can_run) = match offer.standing {
        Standing::Warm | Standing::Loading => (true, true),
        Standing::Cold => (false, true),
        Standing::Failed | Standing::Unavailable => (false, false),
    };
    let kind = match (is_here, can_run, is_in_memory, offer.has_room) {
        (true, true, true, _) | (true, true, _, true) => 0,
        (false, true, true, _) => 1,
        (false, true, false, true) => 2,
        (true, true, false, false) => 3,
        (false, true, false, false) => 4,
        (true, false, ..) => 5,
        (false, false, ..) => 6,
    };
    (kind, offer.waiting, Reverse(offer.free))
}

/// The spots of a request to a model, the best first: each is tried where the one before takes nothing new. Empty where no
/// node has the model.
pub fn spots(here: Option<&Offer>, others: &[(NodeId, Offer)]) -> Vec<Spot> {
    let here = here.map(|offer| (rank(offer, true), Spot::Here, 0));
    let there = others.iter().map(|(node, offer)| (rank(offer, false), Spot::There(*node), node.0.as_u128()));
    let mut spots: Vec<_> = here.into_iter().chain(there).collect();
    spots.sort_by_key(|(rank, _, number)| (*rank, *number));
    spots.into_iter().map(|(_, spot, _)| spot).collect()
}

/// How a model stands where it stands best.
pub fn best(offers: impl Iterator<Item = Standing>) -> Option<Standing> {
    offers.min_by_key(|standing| match standing {
        Standing::Warm => 0,
        Standing::Loading => 1,
        Standing::Cold => 2,
        Standing::Failed => 3,
        Standing::Unavailable => 4,
    })
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::{
        Spot::{Here, There},
        Standing::{Cold, Failed, Loading, Unavailable, Warm},
        *,
    };

    const fn node(number: u128) -> NodeId {
        NodeId(Uuid::from_u128(number))
    }

    const ONE: Spot = There(node(1));
    const TWO: Spot = There(node(2));

    /// How it stands, who waits, whether it has room, and what is free.
    type Told = (Standing, usize, bool, u64);

    fn offer((standing, waiting, has_room, free): Told) -> Offer {
        Offer {
            model: "m".into(),
            task: "generation".into(),
            class: SizeClass::B7,
            parameters: 1,
            context: 1,
            standing,
            waiting,
            has_room,
            free,
        }
    }

    /// What it shows, what is told here and by two others, and the spots.
    type Case = (&'static str, Option<Told>, Option<Told>, Option<Told>, &'static [Spot]);

    #[test]
    fn a_request_is_served_where_its_model_is_soonest_there() {
        let cases: [Case; 14] = [
            ("nobody has it", None, None, None, &[]),
            ("here alone", Some((Cold, 0, false, 0)), None, None, &[Here]),
            ("here in memory", Some((Warm, 9, false, 0)), Some((Warm, 0, true, 9)), None, &[Here, ONE]),
            ("here on its way", Some((Loading, 9, false, 0)), Some((Warm, 0, true, 9)), None, &[Here, ONE]),
            ("here with room", Some((Cold, 0, true, 1)), Some((Warm, 0, true, 9)), None, &[Here, ONE]),
            ("no room here", Some((Cold, 0, false, 1)), Some((Warm, 5, false, 0)), None, &[ONE, Here]),
            ("elsewhere alone", None, Some((Cold, 0, false, 0)), None, &[ONE]),
            ("the shorter line", None, Some((Warm, 2, true, 9)), Some((Warm, 1, false, 0)), &[TWO, ONE]),
            ("of equal lines the freer one", None, Some((Warm, 1, true, 1)), Some((Warm, 1, true, 2)), &[TWO, ONE]),
            ("of equals always the same", None, Some((Warm, 1, true, 1)), Some((Warm, 1, true, 1)), &[ONE, TWO]),
            ("in memory before room", None, Some((Cold, 0, true, 9)), Some((Warm, 7, false, 0)), &[TWO, ONE]),
            (
                "room before a turn here",
                Some((Cold, 0, false, 0)),
                Some((Cold, 0, true, 1)),
                Some((Cold, 0, false, 0)),
                &[ONE, Here, TWO],
            ),
            (
                "out of service here",
                Some((Unavailable, 0, true, 9)),
                Some((Cold, 0, false, 0)),
                Some((Failed, 0, true, 9)),
                &[ONE, Here, TWO],
            ),
            ("refused where it came in", Some((Failed, 0, true, 9)), Some((Failed, 0, true, 9)), None, &[Here, ONE]),
        ];
        for (what, here, first, second, expected) in cases {
            let others = [(node(1), first), (node(2), second)];
            let others: Vec<_> = others.into_iter().filter_map(|(node, told)| Some((node, offer(told?)))).collect();
            assert_eq!(spots(here.map(offer).as_ref(), &others), expected, "{what}");
        }
    }

    #[test]
    fn a_model_stands_as_it_stands_best() {
        assert_eq!(best([Cold, Unavailable, Loading].into_iter()), Some(Loading));
        assert_eq!(best([Failed, Unavailable].into_iter()), Some(Failed));
        assert_eq!(best([Cold, Warm].into_iter()), Some(Warm));
        assert_eq!(best(std::iter::empty()), None);
    }
}
